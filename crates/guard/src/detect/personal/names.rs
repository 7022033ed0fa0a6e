//! Names of persons, where the words around say that it is one; and numbers of papers.

use std::sync::OnceLock;

use super::personal;
use crate::detect::Local;
use crate::detect::words::Words;

/// What follows it.
#[derive(Clone, Copy)]
enum Next {
    /// A name of one to three words.
    Name,
    /// A family name after a title.
    Titled,
    /// A number of a driving licence or a passport.
    Paper(&'static str),
}

const WORDS: &[(&str, Next)] = &[
    ("name is ", Next::Name),
    ("name's ", Next::Name),
    ("last name? ", Next::Name),
    ("first name? ", Next::Name),
    ("your name? ", Next::Name),
    ("partner's name ", Next::Name),
    ("husband's name ", Next::Name),
    ("wife's name ", Next::Name),
    ("under the name ", Next::Name),
    ("call me ", Next::Name),
    ("full name: ", Next::Name),
    ("first name: ", Next::Name),
    ("last name: ", Next::Name),
    ("customer name: ", Next::Name),
    ("patient: ", Next::Name),
    ("patient name: ", Next::Name),
    ("ich heiße ", Next::Name),
    ("mein name ist ", Next::Name),
    ("je m'appelle ", Next::Name),
    ("me llamo ", Next::Name),
    ("mi nombre es ", Next::Name),
    ("mi chiamo ", Next::Name),
    ("meu nome é ", Next::Name),
    ("mr. ", Next::Titled),
    ("mrs. ", Next::Titled),
    ("ms. ", Next::Titled),
    ("miss ", Next::Titled),
    ("dr. ", Next::Titled),
    ("prof. ", Next::Titled),
    ("mr ", Next::Titled),
    ("mrs ", Next::Titled),
    ("ms ", Next::Titled),
    ("herr ", Next::Titled),
    ("frau ", Next::Titled),
    ("monsieur ", Next::Titled),
    ("madame ", Next::Titled),
    ("señor ", Next::Titled),
    ("señora ", Next::Titled),
    ("driver's license", Next::Paper("drivers_license")),
    ("drivers license", Next::Paper("drivers_license")),
    ("driving licence", Next::Paper("drivers_license")),
    ("driver license", Next::Paper("drivers_license")),
    ("passport number", Next::Paper("passport")),
    ("passport no", Next::Paper("passport")),
    ("passport is", Next::Paper("passport")),
];

/// Capitalised words that are no names.
const NO_NAMES: [&str; 32] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
    "The",
    "This",
    "That",
    "I",
    "It",
    "If",
    "A",
    "An",
    "And",
    "But",
    "Not",
    "At",
    "On",
    "Please",
    "Back",
    "Today",
    "Tomorrow",
    "When",
    "Where",
    "What",
    "Who",
    "How",
    "You",
    "We",
    "They",
];

/// Looks for names.
pub fn scan(text: &str, found: &mut Vec<Local>) {
    static FINDER: OnceLock<Words> = OnceLock::new();
    let finder = FINDER.get_or_init(|| Words::new(WORDS.iter().map(|(word, _)| word)));
    let bytes = text.as_bytes();
    finder.leftmost(bytes, |hit| {
        let (start, end) = (hit.span().start, hit.span().end);
        let whole = start == 0 || !(bytes[start - 1].is_ascii_alphanumeric() || bytes[start - 1] >= 0x80);
        if !whole {
            return;
        }
        match WORDS[hit.word].1 {
            Next::Name => name(text, end, 3, 0.8, found),
            // In other languages and in writing, `ms` and `miss` are words.
            Next::Titled => {
                if bytes[start].is_ascii_uppercase() || text[start..end].contains('.') {
                    name(text, end, 3, 0.85, found);
                }
            }
            Next::Paper(kind) => paper(bytes, end, kind, found),
        }
    });
}

/// One to three capitalised words.
fn name(text: &str, from: usize, most: usize, confidence: f32, found: &mut Vec<Local>) {
    let (mut end, mut here) = (from, from);
    for count in 0..most {
        let rest = &text[here..];
        let word: &str = &rest[..rest
            .find(|c: char| !(c.is_alphabetic() || matches!(c, '\'' | '’' | '-')))
            .unwrap_or(rest.len())];
        let capital = word.chars().next().is_some_and(char::is_uppercase);
        let shouted = word.chars().count() > 3 && word.chars().all(char::is_uppercase);
        if !capital || shouted || word.len() < 2 || NO_NAMES.contains(&word) {
            break;
        }
        let word = word.strip_suffix("'s").unwrap_or(word);
        end = here + word.len();
        here = end + usize::from(text[end..].starts_with(' '));
        if here == end || count + 1 == most {
            break;
        }
    }
    if end > from {
        found.push(personal("name", from, end, confidence, "the words before it say that a name follows"));
    }
}

/// The number of a paper, within a few words.
fn paper(bytes: &[u8], from: usize, kind: &'static str, found: &mut Vec<Local>) {
    let limit = bytes.len().min(from + 32);
    let mut at = from;
    while at < limit {
        let length = bytes[at..].iter().take(20).take_while(|b| b.is_ascii_alphanumeric()).count();
        let digits = bytes[at..at + length].iter().filter(|b| b.is_ascii_digit()).count();
        if (6..=14).contains(&length) && digits * 2 > length {
            found.push(personal(kind, at, at + length, 0.8, "the words before it say what it numbers"));
            return;
        }
        at += length.max(1);
    }
}
