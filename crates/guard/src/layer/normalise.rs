//! The same text without disguises: compatibility forms (NFKC), letters of other scripts inside
//! of Latin words, and what is not seen at all.

use unicode_normalization::char::{canonical_combining_class, decompose_compatible};

use super::{Layer, Made, latin};
use crate::letters::is_alphanumeric;

/// What a character becomes.
enum Plain {
    Itself,
    Nothing,
    /// A letter written in invisible ones.
    Hidden(char),
    /// A byte written in variation selectors.
    Byte(u8),
}

fn plain(c: char) -> Plain {
    match c {
        '\u{e0020}'..='\u{e007e}' => char::from_u32(c as u32 - 0xe0000).map_or(Plain::Nothing, Plain::Hidden),
        '\u{fe00}'..='\u{fe0f}' => Plain::Byte((c as u32 - 0xfe00) as u8),
        '\u{e0100}'..='\u{e01ef}' => Plain::Byte((c as u32 - 0xe0100 + 16) as u8),
        '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{3164}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e001f}'
        | '\u{e007f}' => Plain::Nothing,
        _ => Plain::Itself,
    }
}

/// The plain layer of a text; `None` where it is the text itself.
pub fn normalise<'a>(layer: &Layer<'a>) -> Option<Layer<'static>> {
    let text: &str = &layer.text;
    if text.is_ascii() || is_plain(text) { None } else { undisguised(layer) }
}

/// The plain layer of any text.
fn undisguised(layer: &Layer<'_>) -> Option<Layer<'static>> {
    let text: &str = &layer.text;
    let mut made = Made::default();
    let (mut changed, mut word_start, mut selectors) = (false, 0, 0usize);
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let end = at + c.len_utf8();
        if c.is_ascii() {
            made.push(c as u8, at, end);
            selectors = 0;
        } else {
            match plain(c) {
                Plain::Nothing => changed = true,
                Plain::Hidden(hidden) => {
                    made.push_char(hidden, at, end);
                    changed = true;
                }
                // One after a sign chooses its form; several in a row are text.
                Plain::Byte(byte) => {
                    changed = true;
                    selectors += 1;
                    let more = chars.peek().is_some_and(|(_, next)| matches!(plain(*next), Plain::Byte(_)));
                    if more || selectors > 1 {
                        made.push(byte, at, end);
                    }
                    continue;
                }
                Plain::Itself if ordinary(c) => made.push_char(c, at, end),
                Plain::Itself if canonical_combining_class(c) != 0 => changed = true,
                Plain::Itself => changed |= compatible(c, at, end, &mut made),
            }
            selectors = 0;
        }
        let next = chars.peek().is_none_or(|(_, next)| {
            !is_alphanumeric(*next)
                && matches!(plain(*next), Plain::Itself)
                && canonical_combining_class(*next) == 0
        });
        if next {
            changed |= latinise(&mut made, word_start);
            word_start = made.bytes.len();
        }
    }
    changed.then(|| {
        let mut plain = layer.made(&made, "plain");
        plain.depth = layer.depth;
        plain
    })
}

/// Whether it holds nothing but ASCII and ordinary letters, and no word that a lookalike may stand in.
fn is_plain(text: &str) -> bool {
    let (mut latin_word, mut lookalike) = (false, false);
    for c in text.chars() {
        if c.is_ascii() {
            if !c.is_ascii_alphanumeric() {
                (latin_word, lookalike) = (false, false);
                continue;
            }
            latin_word = true;
        } else if ordinary(c) {
            lookalike |= latin(c).is_some();
        } else {
            return false;
        }
        if latin_word && lookalike {
            return false;
        }
    }
    true
}

/// Letters of common scripts that are their own compatibility form, accents aside.
const fn ordinary(c: char) -> bool {
    matches!(c, '\u{c0}'..='\u{12f}' | '\u{391}'..='\u{3c9}' | '\u{400}'..='\u{481}' | '\u{5d0}'..='\u{5ea}'
        | '\u{621}'..='\u{64a}' | '\u{3041}'..='\u{3096}' | '\u{30a1}'..='\u{30fa}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}')
}

/// The compatibility form of a character; whether it is another one. Letters keep their accents.
fn compatible(c: char, from: usize, to: usize, made: &mut Made) -> bool {
    let (mut parts, mut count, mut accented) = (['\0'; 20], 0, false);
    decompose_compatible(c, |part| {
        accented |= canonical_combining_class(part) != 0;
        if count < parts.len() {
            parts[count] = part;
            count += 1;
        }
    });
    if accented || count == 1 && parts[0] == c {
        made.push_char(c, from, to);
        return false;
    }
    parts[..count].iter().for_each(|part| made.push_char(*part, from, to));
    true
}

/// Turns lookalikes in the word that begins at `from` into Latin letters if it has Latin letters
/// too: a word that is all in one script is what it is.
fn latinise(made: &mut Made, from: usize) -> bool {
    let word = &made.bytes[from..];
    if word.is_ascii() || !word.iter().any(u8::is_ascii_alphanumeric) {
        return false;
    }
    let Ok(text) = core::str::from_utf8(word) else { return false };
    if !text.chars().any(|c| latin(c).is_some()) {
        return false;
    }
    let mut plain = Made::default();
    for (at, c) in text.char_indices() {
        let (start, end) = made.places[from + at];
        plain.push_char(latin(c).unwrap_or(c), start as usize, end as usize);
    }
    made.bytes.truncate(from);
    made.places.truncate(from);
    made.bytes.append(&mut plain.bytes);
    made.places.append(&mut plain.places);
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn what_is_plain_at_a_glance_has_no_disguise(
            text in "[a-c1 '.\u{e9}\u{e8}\u{456}\u{430}\u{436}\u{43e}\u{454}\u{5e0}\u{ff}\u{d7}\u{f7}\u{142}\u{391}\u{3bf}\u{300}]{0,9}"
        ) {
            if is_plain(&text) {
                prop_assert!(undisguised(&Layer::original(&text)).is_none(), "{text:?}");
            }
        }
    }
}
