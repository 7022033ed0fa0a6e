//! A value as it is looked for in texts, and where it stands whole.

use core::ops::Range;

use crate::layer::latin;

/// Shorter values stand in any text.
pub(super) const MIN_CHARS: usize = 6;
/// Values that are a choice among few, and stand in any text.
const ENUM_WORDS: &[&str] = &[
    "active",
    "always",
    "cancelled",
    "confirmed",
    "credit",
    "daily",
    "default",
    "disabled",
    "enabled",
    "failed",
    "female",
    "friday",
    "hidden",
    "inactive",
    "medium",
    "monday",
    "monthly",
    "normal",
    "number",
    "object",
    "pending",
    "personal",
    "private",
    "public",
    "saturday",
    "string",
    "success",
    "sunday",
    "thursday",
    "tuesday",
    "unknown",
    "urgent",
    "wednesday",
    "weekly",
    "yearly",
];

/// Shorter numbers are not looked for in another grouping, and no account's is longer.
const GROUPED: core::ops::RangeInclusive<usize> = 8..=64;

/// A value as it is looked for.
pub(super) struct Needle<'a> {
    pub exact: &'a str,
    pub folded: String,
}

impl<'a> Needle<'a> {
    pub fn new(value: &'a str) -> Self {
        let value = value.trim();
        let bare =
            ["https://", "http://"].iter().find_map(|scheme| value.strip_prefix(scheme)).unwrap_or(value);
        let exact = bare.strip_suffix('/').filter(|rest| !rest.is_empty()).unwrap_or(bare);
        Self { exact, folded: exact.to_ascii_lowercase() }
    }

    pub fn matches_nothing(&self) -> bool {
        self.exact.chars().count() < MIN_CHARS || ENUM_WORDS.contains(&self.folded.as_str())
    }

    /// Where it stands whole in a text, and in the same text in small letters: no longer word, address or
    /// path goes on around it.
    pub fn whole(&self, text: &str, folded: &str) -> Option<Range<usize>> {
        // What comes after a slash may tell upper case from lower case.
        let (needle, text) =
            if self.exact.contains('/') { (self.exact, text) } else { (self.folded.as_str(), folded) };
        text.match_indices(needle)
            .map(|(start, _)| start..start + needle.len())
            .find(|span| begins(&text[..span.start]) && ends(&text[span.end..]))
    }

    /// Where a number of an account or a telephone stands whole in a text in small letters, however its
    /// digits are grouped there.
    pub fn grouped(&self, folded: &str) -> Option<Range<usize>> {
        let needle: String = self.folded.chars().filter(|c| !separates(*c)).collect();
        let digits = needle.bytes().filter(u8::is_ascii_digit).count();
        let is_number =
            needle.strip_prefix('+').unwrap_or(&needle).bytes().all(|b| b.is_ascii_alphanumeric());
        if !GROUPED.contains(&needle.len()) || !is_number || digits * 2 < needle.len() {
            return None;
        }
        let starts = folded.match_indices(needle.chars().next()?).map(|(start, _)| start);
        let mut spans = starts.filter_map(|start| Some(start..start + regrouped(&folded[start..], &needle)?));
        // A group of digits beside it belongs to it.
        let is_digits =
            |word: Option<&str>| word.is_some_and(|word| word.contains(|c: char| c.is_ascii_digit()));
        spans.find(|span| {
            let (before, after) = (&folded[..span.start], &folded[span.end..]);
            begins(before)
                && ends(after)
                && !(before.ends_with(separates) && is_digits(before.split_whitespace().next_back()))
                && !(after.starts_with(separates) && is_digits(after.split_whitespace().next()))
        })
    }

    /// What it looks like, where letters of other scripts in it look like Latin ones.
    pub fn looks_like(&self) -> Option<String> {
        if self.exact.is_ascii() {
            return None;
        }
        let seen: String = self.folded.chars().map(|c| latin(c).unwrap_or(c)).collect();
        let seen = seen.to_ascii_lowercase();
        (seen != self.folded).then_some(seen)
    }

    /// Whether letters of other scripts stand in it for Latin ones beside Latin ones.
    pub fn is_disguised(&self) -> bool {
        let is_foreign = |c: char| {
            let mut parts = Vec::new();
            unicode_normalization::char::decompose_canonical(c, |part| parts.push(part));
            latin(c).is_some_and(|seen| seen.is_ascii_alphanumeric()) && !parts.iter().any(char::is_ascii)
        };
        self.exact.chars().any(is_foreign) && self.exact.chars().any(|c| c.is_ascii_alphabetic())
    }
}

/// What stands between the groups of a number.
fn separates(c: char) -> bool {
    matches!(c, ' ' | '-' | '(' | ')' | '\u{a0}')
}

/// How much of a text is this number, with single separators between groups of two digits and more.
fn regrouped(text: &str, needle: &str) -> Option<usize> {
    let mut rest = needle.chars().peekable();
    let (mut group, mut between) = (0, 0);
    for (at, c) in text.char_indices() {
        let Some(next) = rest.peek() else { return Some(at).filter(|_| group > 1) };
        if c == *next {
            rest.next();
            (group, between) = (group + 1, 0);
        } else if separates(c) && between < 2 && group != 1 {
            between += 1;
            group = 0;
        } else {
            return None;
        }
    }
    (rest.peek().is_none() && group > 1).then_some(text.len())
}

fn goes_on(c: char) -> bool {
    c.is_alphanumeric()
        || matches!(
            c,
            '_' | '-' | '.' | '@' | '/' | '\\' | '%' | '+' | '~' | '#' | '&' | '=' | '?' | '$' | ':'
        )
}

fn begins(before: &str) -> bool {
    let before = ["https://", "http://"]
        .iter()
        .find_map(|scheme| {
            before
                .len()
                .checked_sub(scheme.len())
                .filter(|at| before.is_char_boundary(*at) && before[*at..].eq_ignore_ascii_case(scheme))
        })
        .map_or(before, |at| &before[..at]);
    let mut back = before.chars().rev();
    match back.next() {
        None => true,
        // "#general", "@ann".
        Some('#' | '@') => back.next().is_none_or(|c| c.is_whitespace() || matches!(c, '(' | '"' | '\'')),
        Some(c) => !goes_on(c),
    }
}

fn ends(after: &str) -> bool {
    let after = after.strip_prefix('/').unwrap_or(after);
    let mut chars = after.chars();
    match chars.next() {
        None => true,
        // A sentence's end.
        Some('.' | ':' | '?') => {
            chars.next().is_none_or(|c| c.is_whitespace() || matches!(c, '"' | '\'' | ')' | ']'))
        }
        Some(c) => !goes_on(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stands_whole_or_not_at_all() {
        for (text, value, expected) in [
            ("Write to ann@corp.example.", "ann@corp.example", true),
            ("(ann@corp.example), please", "Ann@Corp.example", true),
            ("Post it in #general, \"@charlie\"", "general", true),
            ("Post it in #general, \"@charlie\"", "charlie", true),
            ("Ask Charlie's team", "charlie", true),
            ("See https://www.news.example/ for it", "www.news.example", true),
            ("See www.news.example: today", "https://www.news.example/", true),
            ("Is it www.news.example?", "http://www.news.example", true),
            ("See www.news.example/a", "www.news.example", false),
            ("See www.news.example/a", "www.news.example/A", false),
            ("See www.news.example", "news.example", false),
            ("See evil-news.example", "news.example", false),
            ("ann@corp.example", "corp.example", false),
            ("ann@corp.example.evil", "ann@corp.example", false),
            ("joann@corp.example", "ann@corp.example", false),
            ("https://user:www.news.example", "www.news.example", false),
            ("/srv/report/old", "/srv/report", false),
            ("reporting", "report", false),
            ("reporting on the report", "report", true),
        ] {
            let whole = Needle::new(value).whole(text, &text.to_ascii_lowercase());
            assert_eq!(whole.is_some(), expected, "{text:?} {value:?} {whole:?}");
        }
    }

    #[test]
    fn what_is_short_or_a_word_of_a_choice_matches_nothing() {
        for (value, expected) in
            [("Alice", true), ("Charlie", false), ("private", true), ("Monthly", true), ("", true)]
        {
            assert_eq!(Needle::new(value).matches_nothing(), expected, "{value}");
        }
    }

    #[test]
    fn a_number_is_the_same_however_it_is_grouped() {
        for (text, value, expected) in [
            ("Pay GB29 NWBK 6016 1331 9268 19, please", "GB29NWBK60161331926819", true),
            ("Pay GB29NWBK60161331926819", "gb29 nwbk 6016 1331 9268 19", true),
            ("Call +44 (20) 7946-0958.", "+442079460958", true),
            ("Call 020 7946 0958 now", "020-7946-0958", true),
            ("Pay GB29 NWBK 6016 1331 9268 19", "GB29NWBK6016133192", false),
            ("Pay GB29 NWBK 6016 1331 9268 19", "NWBK60161331926819", false),
            ("Pay GB29 NWBK 6016 1331 9268 18", "GB29NWBK60161331926819", false),
            ("Pay XGB29 NWBK 6016 1331 9268 19", "GB29NWBK60161331926819", false),
            ("Pay GB29 NWBK 6016 1331 9268 19-A", "GB29NWBK60161331926819", false),
            ("12 at 1 3 4 5 6 7 8 9", "13456789", false),
            ("On 12 12 2031 1400 hours", "12122031", false),
            ("ann meyer", "annmeyer", false),
            ("a1-b2-c3", "a1b2c3", false),
        ] {
            let span = Needle::new(value).grouped(&text.to_ascii_lowercase());
            assert_eq!(span.is_some(), expected, "{text:?} {value:?} {span:?}");
        }
    }

    #[test]
    fn what_looks_like_another_name() {
        for (value, disguised, seen) in [
            ("ann.meyer@corp.example", false, None),
            ("\u{430}nn.meyer@corp.example", true, Some("ann.meyer@corp.example")),
            ("\u{410}nn", true, Some("ann")),
            ("\u{441}\u{430}\u{440}\u{435}", false, Some("cape")),
            ("Garc\u{ed}a", false, Some("garcia")),
            ("J\u{fc}rgen", false, None),
        ] {
            let needle = Needle::new(value);
            assert_eq!((needle.is_disguised(), needle.looks_like().as_deref()), (disguised, seen), "{value}");
        }
    }
}
