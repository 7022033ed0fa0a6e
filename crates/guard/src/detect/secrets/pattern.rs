//! Patterns of tokens: literals and counted classes, matched at one place without backtracking.
//!
//! | written | means |
//! |---|---|
//! | `[a-z_]` | one of these bytes |
//! | `\d` `\h` `\H` | a digit; a hexadecimal digit in small letters; in any |
//! | `\l` `\u` `\a` `\w` | digits with small letters; with capitals; with both; those and `_` |
//! | `\b` `\s` | the alphabet of base64; of base64url |
//! | `\x` before anything else | that byte itself |
//! | `{n}` `{n,m}` `{n,}` `?` | how often the byte or class before stands there |
//!
//! Each part takes as much as it can and gives nothing back, so matching is linear in what is read.

/// Most bytes that an open count takes.
const OPEN: u32 = 4096;

/// A set of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class([u64; 4]);

impl Class {
    const fn empty() -> Self {
        Self([0; 4])
    }

    fn add(&mut self, from: u8, to: u8) {
        for byte in from..=to {
            self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
        }
    }

    /// Whether the byte belongs to it.
    #[inline]
    pub const fn has(&self, byte: u8) -> bool {
        self.0[(byte >> 6) as usize] >> (byte & 63) & 1 == 1
    }

    fn shorthand(letter: u8) -> Option<Self> {
        let ranges: &[(u8, u8)] = match letter {
            b'd' => &[(b'0', b'9')],
            b'h' => &[(b'0', b'9'), (b'a', b'f')],
            b'H' => &[(b'0', b'9'), (b'a', b'f'), (b'A', b'F')],
            b'l' => &[(b'0', b'9'), (b'a', b'z')],
            b'u' => &[(b'0', b'9'), (b'A', b'Z')],
            b'a' => &[(b'0', b'9'), (b'a', b'z'), (b'A', b'Z')],
            b'w' => &[(b'0', b'9'), (b'a', b'z'), (b'A', b'Z'), (b'_', b'_')],
            b'b' => &[(b'0', b'9'), (b'a', b'z'), (b'A', b'Z'), (b'+', b'+'), (b'/', b'/')],
            b's' => &[(b'0', b'9'), (b'a', b'z'), (b'A', b'Z'), (b'-', b'-'), (b'_', b'_')],
            _ => return None,
        };
        let mut class = Self::empty();
        for (from, to) in ranges {
            class.add(*from, *to);
        }
        Some(class)
    }
}

#[derive(Clone, Copy, Debug)]
struct Part {
    class: Class,
    least: u32,
    most: u32,
}

/// A pattern ready to be matched.
#[derive(Clone, Debug)]
pub struct Pattern {
    parts: Vec<Part>,
    prefix: String,
    wordy_start: bool,
}

impl Pattern {
    /// Reads a pattern of our own tables.
    ///
    /// # Panics
    /// When it is malformed: the tables are constants, and a test reads each.
    pub fn new(written: &str) -> Self {
        let bytes = written.as_bytes();
        let (mut parts, mut prefix, mut literal) = (Vec::new(), String::new(), true);
        let mut at = 0;
        while at < bytes.len() {
            let (class, byte, used) = class_at(&bytes[at..]);
            at += used;
            let (least, most, used) = count_at(&bytes[at..]);
            at += used;
            literal &= byte.is_some() && least == 1 && most == 1;
            if let (true, Some(byte)) = (literal, byte) {
                prefix.push(char::from(byte));
            }
            parts.push(Part { class, least, most });
        }
        assert!(!parts.is_empty(), "an empty pattern");
        let wordy_start = prefix.as_bytes().first().is_none_or(|b| b.is_ascii_alphanumeric());
        Self { parts, prefix, wordy_start }
    }

    /// The literal it begins with, which may be empty.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether a byte belongs to its first part.
    pub fn begins_with(&self, byte: u8) -> bool {
        self.parts[0].class.has(byte)
    }

    /// Where a match that starts at `at` ends, if one does: what stands beside it must not
    /// continue its first or last part.
    #[inline]
    pub fn ends(&self, text: &[u8], at: usize) -> Option<usize> {
        if self.wordy_start && at > 0 && (text[at - 1].is_ascii_alphanumeric() || text[at - 1] == b'_') {
            // An escaped line break or tab ends with a letter.
            let escape = at > 1 && text[at - 2] == b'\\' && matches!(text[at - 1], b'n' | b't' | b'r');
            if !escape {
                return None;
            }
        }
        self.ends_inside(text, at)
    }

    /// As `ends`, whatever stands before it.
    #[inline]
    pub fn ends_inside(&self, text: &[u8], at: usize) -> Option<usize> {
        let mut here = at;
        for part in &self.parts {
            let mut taken = 0;
            while taken < part.most && here < text.len() && part.class.has(text[here]) {
                here += 1;
                taken += 1;
            }
            if taken < part.least {
                return None;
            }
        }
        let last = self.parts.last()?;
        match text.get(here) {
            Some(byte) if last.class.has(*byte) && byte.is_ascii_alphanumeric() => None,
            Some(byte) if last.most != last.least && last.class.has(*byte) => None,
            Some(byte)
                if byte.is_ascii_alphanumeric() && here > 0 && text[here - 1].is_ascii_alphanumeric() =>
            {
                None
            }
            _ => Some(here),
        }
    }
}

/// A byte or class at the start, and how much of the pattern it takes.
fn class_at(bytes: &[u8]) -> (Class, Option<u8>, usize) {
    let single = |byte: u8| {
        let mut class = Class::empty();
        class.add(byte, byte);
        class
    };
    match bytes[0] {
        b'\\' => match Class::shorthand(bytes[1]) {
            Some(class) => (class, None, 2),
            None => (single(bytes[1]), Some(bytes[1]), 2),
        },
        b'[' => {
            let mut class = Class::empty();
            let mut at = 1;
            while bytes[at] != b']' {
                if bytes[at] == b'\\' {
                    match Class::shorthand(bytes[at + 1]) {
                        Some(short) => class.0.iter_mut().zip(short.0).for_each(|(word, more)| *word |= more),
                        None => class.add(bytes[at + 1], bytes[at + 1]),
                    }
                    at += 2;
                } else if bytes[at + 1] == b'-' && bytes[at + 2] != b']' {
                    class.add(bytes[at], bytes[at + 2]);
                    at += 3;
                } else {
                    class.add(bytes[at], bytes[at]);
                    at += 1;
                }
            }
            (class, None, at + 1)
        }
        byte => (single(byte), Some(byte), 1),
    }
}

/// The count at the start, if there is one, and how much of the pattern it takes.
fn count_at(bytes: &[u8]) -> (u32, u32, usize) {
    match bytes.first() {
        Some(b'?') => (0, 1, 1),
        Some(b'{') => {
            let number = |from: usize| {
                let digits = bytes[from..].iter().take_while(|b| b.is_ascii_digit());
                digits.fold((0u32, from), |(n, at), b| (n * 10 + u32::from(b - b'0'), at + 1))
            };
            let (least, at) = number(1);
            if bytes[at] == b'}' {
                return (least, least, at + 1);
            }
            let (most, end) = number(at + 1);
            assert_eq!(bytes[end], b'}', "a count ends with a brace");
            (least, if end == at + 1 { OPEN } else { most }, end + 1)
        }
        _ => (1, 1, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_takes_what_it_says_and_no_longer_run() {
        let pattern = Pattern::new(r"tok_[a-c]{2}-\d{3,4}x?");
        assert_eq!(pattern.prefix(), "tok_");
        assert_eq!(pattern.ends(b"tok_ab-123", 0), Some(10));
        assert_eq!(pattern.ends(b"=tok_ab-1234x;", 1), Some(13));
        assert_eq!(pattern.ends(b"tok_ab-12345", 0), None);
        assert_eq!(pattern.ends(b"tok_ad-123", 0), None);
        assert_eq!(pattern.ends(b"stok_ab-123", 1), None);
        assert_eq!(pattern.ends(b"\\ntok_ab-123", 2), Some(12));
        assert_eq!(pattern.ends(b"tok_ab-12", 0), None);
    }

    #[test]
    fn an_open_count_ends_at_what_does_not_belong_to_it() {
        let pattern = Pattern::new(r"\h{4,}");
        assert_eq!(pattern.prefix(), "");
        assert_eq!(pattern.ends(b"beef beef", 0), Some(4));
        assert_eq!(pattern.ends(b"beefy", 0), None);
        assert_eq!(pattern.ends(b"bee", 0), None);
    }
}
