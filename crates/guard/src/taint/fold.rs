//! The canonical form in which texts and registered values are compared.

use core::cell::OnceCell;
use core::ops::Range;
use std::sync::LazyLock;

use unicode_normalization::char::decompose_compatible;

use crate::layer::latin;

/// Canonical letters of ASCII: one for each group of letters and digits that stand for each
/// other, 0 for what is left out.
const LETTERS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 128 {
        let b = byte as u8;
        table[byte] = match b {
            b'0' | b'o' | b'O' => b'o',
            b'1' | b'l' | b'L' | b'i' | b'I' | b'!' => b'l',
            b'2' | b'z' | b'Z' => b'z',
            b'3' | b'e' | b'E' => b'e',
            b'4' | b'a' | b'A' | b'@' => b'a',
            b'5' | b's' | b'S' | b'$' => b's',
            b'6' | b'9' | b'g' | b'G' => b'g',
            b'7' | b't' | b'T' => b't',
            b'8' | b'b' | b'B' => b'b',
            b'A'..=b'Z' => b.to_ascii_lowercase(),
            b'a'..=b'z' => b,
            _ => 0,
        };
        byte += 1;
    }
    table
};

/// Ways of exchanging letters: rot13, rot47, Atbash.
pub const EXCHANGES: [fn(char) -> char; 3] = [rot13, rot47, atbash];

fn rot13(c: char) -> char {
    match c {
        'a'..='m' | 'A'..='M' => (c as u8 + 13) as char,
        'n'..='z' | 'N'..='Z' => (c as u8 - 13) as char,
        _ => c,
    }
}

fn rot47(c: char) -> char {
    match c {
        '!'..='~' => ((c as u8 - 33 + 47) % 94 + 33) as char,
        _ => c,
    }
}

fn atbash(c: char) -> char {
    match c {
        'a'..='z' => (b'z' - (c as u8 - b'a')) as char,
        'A'..='Z' => (b'Z' - (c as u8 - b'A')) as char,
        _ => c,
    }
}

/// The canonical letters of a value.
pub fn letters(value: &str) -> Vec<u8> {
    Folded::new(value).letters().to_vec()
}

/// A text's canonical letters, and behind them the way back to where each comes from.
pub struct Folded<'a> {
    letters: Vec<u8>,
    /// Letters at the beginning that are not of this text but of the one before.
    carried: usize,
    text: &'a str,
    /// For every so many letters, where the character of the first begins, and how many letters
    /// stand before that character; found when first asked for.
    marks: OnceCell<Vec<(usize, usize)>>,
}

/// Letters from one mark to the next.
const MARK: usize = 256;

impl core::fmt::Debug for Folded<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Folded({} letters)", self.letters.len())
    }
}

impl Drop for Folded<'_> {
    fn drop(&mut self) {
        // As one block: letter by letter would cost what the search itself does.
        self.letters.fill(0);
        core::hint::black_box(&mut self.letters);
    }
}

impl<'a> Folded<'a> {
    /// Folds a text.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self::after(&[], text)
    }

    /// Folds a text that follows these letters.
    #[must_use]
    pub fn after(carried: &[u8], text: &'a str) -> Self {
        // A character of several bytes may become several letters.
        let mut letters = Vec::with_capacity(carried.len() + text.len() + 1);
        letters.extend_from_slice(carried);
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let run = ascii_run(&bytes[at..]);
            if run > 0 {
                // Every byte is written, those left out are overwritten.
                let before = letters.len();
                letters.resize(before + run, 0);
                let (room, mut count) = (&mut letters[before..], 0);
                for byte in &bytes[at..at + run] {
                    let letter = LETTERS[usize::from(*byte)];
                    room[count] = letter;
                    count += usize::from(letter != 0);
                }
                letters.truncate(before + count);
                at += run;
            } else {
                let c = text[at..].chars().next().unwrap_or('\0');
                wide(c, |letter| letters.push(letter));
                at += c.len_utf8();
            }
        }
        Self { letters, carried: carried.len(), text, marks: OnceCell::new() }
    }

    /// The canonical letters.
    #[must_use]
    pub fn letters(&self) -> &[u8] {
        &self.letters
    }

    /// How many of them are of the text before.
    #[must_use]
    pub const fn carried(&self) -> usize {
        self.carried
    }

    /// Every second letter, from the first or the second on: what is said with a letter between
    /// each two.
    #[must_use]
    pub fn every_second(&self, phase: usize) -> Vec<u8> {
        self.letters.iter().skip(phase).step_by(2).copied().collect()
    }

    /// The bytes of the character that a letter comes from; of what was carried, none before the
    /// text.
    fn place(&self, letter: usize) -> Range<usize> {
        let Some(letter) = letter.checked_sub(self.carried) else { return 0..0 };
        let marks = self.marks.get_or_init(|| {
            let (mut marks, mut count) = (Vec::new(), 0);
            for (at, c) in self.text.char_indices() {
                let next = count + count_of(c);
                while marks.len() * MARK < next {
                    marks.push((at, count));
                }
                count = next;
            }
            marks
        });
        let Some((from, mut count)) = marks.get(letter / MARK).copied() else {
            return self.text.len()..self.text.len();
        };
        for (at, c) in self.text[from..].char_indices() {
            count += count_of(c);
            if count > letter {
                return from + at..from + at + c.len_utf8();
            }
        }
        self.text.len()..self.text.len()
    }

    /// The bytes of the text that these letters come from; what was carried stands before it.
    #[must_use]
    pub fn span(&self, letters: &Range<usize>) -> Range<usize> {
        self.place(letters.start).start..self.place(letters.end - 1).end
    }

    /// Whether these letters stand close together and nothing continues them: as short values must.
    pub(super) fn stands_alone(&self, letters: &Range<usize>) -> bool {
        let span = self.span(letters);
        let tight = span.len() <= letters.len() + letters.len() / 3;
        let before = letters.start == 0 || self.place(letters.start - 1).end < span.start;
        let after = letters.end == self.letters.len() || self.place(letters.end).start > span.end;
        tight && before && after
    }
}

/// A text with its Latin letters moved on in the alphabet.
pub fn shifted(text: &str, by: u8) -> String {
    let turn = |c: char, first: u8| char::from((c as u8 - first + by) % 26 + first);
    text.chars()
        .map(|c| match c {
            'a'..='z' => turn(c, b'a'),
            'A'..='Z' => turn(c, b'A'),
            _ => c,
        })
        .collect()
}

/// How many canonical letters a character has.
fn count_of(c: char) -> usize {
    if c.is_ascii() {
        return usize::from(LETTERS[c as usize] != 0);
    }
    let mut count = 0;
    wide(c, |_| count += 1);
    count
}

/// How many bytes of ASCII these begin with.
fn ascii_run(bytes: &[u8]) -> usize {
    const BLOCK: usize = 16;
    let blocks = bytes.chunks_exact(BLOCK).take_while(|block| block.is_ascii()).count() * BLOCK;
    let rest = &bytes[blocks..];
    blocks + rest.iter().position(|byte| !byte.is_ascii()).unwrap_or(rest.len())
}

/// Characters below this one have their canonical letters in a table: two bytes of UTF-8.
const NEAR: u32 = 0x800;

/// The canonical letters of a character that is no ASCII.
fn wide(c: char, mut add: impl FnMut(u8)) {
    // Four letters each, 0 for none.
    static LETTERS_NEAR: LazyLock<Vec<[u8; 4]>> = LazyLock::new(|| {
        let near = (0..NEAR).map(|number| {
            let (mut letters, mut count) = ([0; 4], 0);
            decomposed(char::from_u32(number).unwrap_or('\0'), &mut |letter| {
                letters[count] = letter;
                count += 1;
            });
            letters
        });
        near.collect()
    });
    match LETTERS_NEAR.get(c as usize) {
        Some(letters) => letters.iter().take_while(|letter| **letter != 0).for_each(|letter| add(*letter)),
        None => decomposed(c, &mut add),
    }
}

fn decomposed(c: char, add: &mut dyn FnMut(u8)) {
    let mut each = |c: char| {
        if c.is_ascii() {
            let letter = LETTERS[c as usize];
            if letter != 0 {
                add(letter);
            }
        } else if c.is_alphanumeric() {
            // Letters of other scripts stand for themselves, by their last bits.
            add(0x80 | (c as u32 & 0x7f) as u8);
        }
    };
    match latin(c) {
        Some(latin) => each(latin),
        None => decompose_compatible(c, |part| {
            let part = latin(part).unwrap_or(part);
            if unicode_normalization::char::canonical_combining_class(part) == 0 {
                part.to_lowercase().for_each(&mut each);
            }
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_has_its_letters_wherever_it_stands() {
        for c in (0x80..0x3000).filter_map(char::from_u32) {
            let mut wanted = Vec::new();
            decomposed(c, &mut |letter| wanted.push(letter));
            for before in 0..40 {
                let text = format!("{}{c}b", "a".repeat(before));
                let told = [&vec![b'a'; before][..], &wanted, b"b"].concat();
                assert_eq!(Folded::new(&text).letters(), told, "{c:?} behind {before}");
            }
        }
    }
}
