//! Texts made of a text: what it says once disguises are taken off and encodings are undone. Each
//! knows from which bytes of the original every byte of it comes.

mod bases;
mod confusables;
mod decode;
mod normalise;
mod numbers;
mod views;

use core::ops::Range;
use std::borrow::Cow;

pub use bases::gzip_body;
pub use confusables::latin;
pub use decode::unfold;
pub use normalise::normalise;
pub use views::views;

/// Most layers made of one text.
pub const MOST_LAYERS: usize = 48;
/// How often encodings are undone one after the other.
pub const MOST_DEPTH: u8 = 3;
/// Most bytes of all decoded layers of a text together.
pub const MOST_DECODED: usize = 1 << 20;

/// A text and where it comes from.
#[derive(Clone, Debug)]
pub struct Layer<'a> {
    /// What it says.
    pub text: Cow<'a, str>,
    /// How often something was undone to come here.
    pub depth: u8,
    /// How it is written in the layer it was made of.
    pub coding: &'static str,
    origin: Origin,
}

/// Where the bytes of a layer come from.
#[derive(Clone, Debug)]
enum Origin {
    /// The layer is the original.
    Itself,
    /// For each byte the bytes of the original it comes from.
    Spans(Vec<(u32, u32)>),
}

impl<'a> Layer<'a> {
    /// The original itself.
    pub const fn original(text: &'a str) -> Self {
        Self { text: Cow::Borrowed(text), depth: 0, coding: "", origin: Origin::Itself }
    }

    /// A layer made of this one: bytes, and for each the bytes of this layer that it comes from.
    /// What is no text in it is replaced, so that it separates what stands beside it.
    fn made(&self, made: &Made, coding: &'static str) -> Layer<'static> {
        let (mut text, mut spans) =
            (String::with_capacity(made.bytes.len()), Vec::with_capacity(made.bytes.len()));
        let mut push = |c: char, places: &[(u32, u32)], text: &mut String| {
            let start = places.iter().map(|(start, _)| *start).min().unwrap_or(0);
            let end = places.iter().map(|(_, end)| *end).max().unwrap_or(0);
            let span = self.origin_of(start as usize..end as usize);
            text.push(c);
            let span =
                (u32::try_from(span.start).unwrap_or(u32::MAX), u32::try_from(span.end).unwrap_or(u32::MAX));
            spans.extend(core::iter::repeat_n(span, c.len_utf8()));
        };
        let mut at = 0;
        for chunk in made.bytes.utf8_chunks() {
            for c in chunk.valid().chars() {
                let places = &made.places[at..at + c.len_utf8()];
                push(if c.is_control() && !c.is_whitespace() { '\u{1}' } else { c }, places, &mut text);
                at += c.len_utf8();
            }
            if !chunk.invalid().is_empty() {
                push('\u{1}', &made.places[at..at + chunk.invalid().len()], &mut text);
                at += chunk.invalid().len();
            }
        }
        Layer { text: Cow::Owned(text), depth: self.depth + 1, coding, origin: Origin::Spans(spans) }
    }

    /// The bytes of the original that these bytes come from.
    pub fn origin_of(&self, span: Range<usize>) -> Range<usize> {
        match &self.origin {
            Origin::Itself => span,
            Origin::Spans(spans) => {
                let within = &spans[span.start.min(spans.len())..span.end.min(spans.len())];
                let start = within.iter().map(|(start, _)| *start).min();
                let end = within.iter().map(|(_, end)| *end).max();
                match (start, end) {
                    (Some(start), Some(end)) => start as usize..end as usize,
                    _ => 0..0,
                }
            }
        }
    }
}

/// Bytes that were decoded, each with the bytes of the encoded text it comes from.
#[derive(Clone, Debug, Default)]
struct Made {
    bytes: Vec<u8>,
    places: Vec<(u32, u32)>,
}

impl Made {
    fn push(&mut self, byte: u8, from: usize, to: usize) {
        self.bytes.push(byte);
        self.places.push((u32::try_from(from).unwrap_or(u32::MAX), u32::try_from(to).unwrap_or(u32::MAX)));
    }

    fn push_char(&mut self, c: char, from: usize, to: usize) {
        let mut buffer = [0; 4];
        for byte in c.encode_utf8(&mut buffer).bytes() {
            self.push(byte, from, to);
        }
    }

    fn reads(&self) -> bool {
        reads(&self.bytes)
    }
}

/// Whether bytes read as text: nearly all of them printable.
fn reads(bytes: &[u8]) -> bool {
    if bytes.len() < 5 {
        return false;
    }
    let mut printable = 0;
    for chunk in bytes.utf8_chunks() {
        printable += chunk
            .valid()
            .chars()
            .filter(|c| !c.is_control() || c.is_whitespace())
            .map(char::len_utf8)
            .sum::<usize>();
    }
    printable * 100 >= bytes.len() * 88
}
