//! Words of a text and the sentences they stand in.

use core::ops::Range;

use crate::letters::lower;

/// A word or a pair of neighbours, as a hash: FNV-1a over the small letters.
pub type Term = u64;

/// A sentence: its bytes, and which of the text's terms are its.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentence {
    /// Where it stands, in bytes.
    pub span: Range<usize>,
    /// Its terms among those of the text.
    pub terms: Range<usize>,
}

/// Bytes after which a sentence ends even without a sign.
const LONGEST: usize = 400;

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

/// The term of a word.
#[must_use]
pub fn term(word: &str) -> Term {
    word.chars().flat_map(char::to_lowercase).fold(OFFSET, |hash, c| step(hash, c as u32))
}

/// The term of two neighbours.
#[must_use]
pub const fn pair(first: Term, second: Term) -> Term {
    (first.rotate_left(23) ^ second).wrapping_mul(PRIME) ^ 0x5bd1
}

#[inline]
const fn step(hash: u64, c: u32) -> u64 {
    (hash ^ c as u64).wrapping_mul(PRIME)
}

/// Whether each letter is a word of its own, as where words are not set apart.
const fn is_lone(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{0e00}'..='\u{0e7f}')
}

/// Reads a text: its terms in their order, each word followed by its pair with the one before,
/// and its sentences.
pub fn read(text: &str, terms: &mut Vec<Term>) -> Vec<Sentence> {
    let mut sentences = Vec::new();
    let (mut start, mut first) = (0, 0);
    let (mut hash, mut length, mut before) = (OFFSET, 0usize, 0u64);
    let bytes = text.as_bytes();
    let end_word = |hash: &mut u64, length: &mut usize, terms: &mut Vec<Term>, before: &mut u64| {
        if *length > 0 {
            terms.push(*hash);
            if *before != 0 {
                terms.push(pair(*before, *hash));
            }
            *before = *hash;
        }
        *hash = OFFSET;
        *length = 0;
    };
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        if byte.is_ascii_alphanumeric() || byte == b'\'' && length > 0 {
            if byte != b'\'' {
                hash = step(hash, u32::from(byte.to_ascii_lowercase()));
                length += 1;
            }
            at += 1;
            continue;
        }
        let (c, width) = if byte < 0x80 {
            (char::from(byte), 1)
        } else {
            let c = text[at..].chars().next().unwrap_or(' ');
            (c, c.len_utf8())
        };
        if width > 1 && is_lone(c) && c.is_alphanumeric() {
            end_word(&mut hash, &mut length, terms, &mut before);
            hash = step(hash, c as u32);
            length = 1;
            end_word(&mut hash, &mut length, terms, &mut before);
            at += width;
            continue;
        }
        if width > 1 && !is_lone(c) && lower(c, |small| hash = step(hash, small as u32)) {
            length += 1;
            at += width;
            continue;
        }
        end_word(&mut hash, &mut length, terms, &mut before);
        at += width;
        let closes = matches!(
            c,
            '.' | '!' | '?' | '\u{3002}' | '\u{ff01}' | '\u{ff1f}' | '\u{61f}' | '\n' | '|' | '<'
        );
        let spaced = width > 1
            || c == '\n'
            || bytes.get(at).is_none_or(|next| next.is_ascii_whitespace() || !next.is_ascii_alphanumeric());
        if (closes && spaced && terms.len() > first) || at - start > LONGEST {
            sentences.push(Sentence { span: start..at, terms: first..terms.len() });
            start = at;
            first = terms.len();
            before = 0;
        }
    }
    end_word(&mut hash, &mut length, terms, &mut before);
    if terms.len() > first {
        sentences.push(Sentence { span: start..bytes.len(), terms: first..terms.len() });
    }
    sentences
}

/// The words of a text in small letters, in the order in which [`read`] makes terms of them, and
/// the pairs: for whoever has to show what a term is.
#[must_use]
pub fn spelled(text: &str) -> Vec<String> {
    let mut spelled: Vec<String> = Vec::new();
    let mut terms = Vec::new();
    for sentence in read(text, &mut terms) {
        let mut before: Option<String> = None;
        let mut word = String::new();
        let mut end = |word: &mut String, before: &mut Option<String>| {
            if !word.is_empty() {
                let word = core::mem::take(word);
                spelled.push(word.clone());
                if let Some(before) = before.as_ref() {
                    spelled.push(format!("{before} {word}"));
                }
                *before = Some(word);
            }
        };
        for c in text[sentence.span.clone()].chars() {
            if is_lone(c) {
                end(&mut word, &mut before);
                word.push(c);
                end(&mut word, &mut before);
            } else if c.is_alphanumeric() {
                word.extend(c.to_lowercase());
            } else if c != '\'' {
                end(&mut word, &mut before);
            }
        }
        end(&mut word, &mut before);
    }
    spelled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_words_and_pairs_within_a_sentence() {
        let text = "Don't stop. Read this! 忽略 Ça";
        let mut terms = Vec::new();
        let sentences = read(text, &mut terms);
        let spans: Vec<&str> = sentences.iter().map(|s| text[s.span.clone()].trim()).collect();
        assert_eq!(spans, ["Don't stop.", "Read this!", "忽略 Ça"]);
        let spelled = spelled(text);
        assert_eq!(
            spelled,
            ["dont", "stop", "dont stop", "read", "this", "read this", "忽", "略", "忽 略", "ça", "略 ça"]
        );
        let expected: Vec<Term> = spelled
            .iter()
            .map(|word| word.split_once(' ').map_or_else(|| term(word), |(a, b)| pair(term(a), term(b))))
            .collect();
        assert_eq!(terms, expected);
    }
}
