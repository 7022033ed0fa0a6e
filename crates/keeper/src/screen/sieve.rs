//! What is let through to the terminal parser: everything but what would cost it memory or time
//! out of proportion to its length.
//!
//! The parser keeps an operating system command (OSC) whole in memory until its end, and carries
//! out a count of a control sequence (CSI) one by one, however large: eight bytes could keep it
//! busy for seconds. So strings are cut, and numbers are taken down to the largest that still
//! makes a difference on a screen of that size. The states are those of ECMA-48 as far as they
//! tell where strings and numbers begin and end.

/// Longest OSC handed to the parser, in bytes.
const MAX_STRING: usize = 16 << 10;
/// Largest number that is always let through: that of a colour.
const MAX_COLOUR: u16 = 255;

/// Follows the bytes of one terminal.
#[derive(Debug, Default)]
pub struct Sieve {
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    /// After ESC.
    Escape,
    /// Within a string of so many bytes.
    Inside(usize),
    /// Within a control sequence, before its first byte.
    Entry,
    /// Within a control sequence whose numbers are counts.
    Counts(Option<Number>),
    /// Within one whose numbers mean something else, or that is ignored.
    Other,
}

/// A number that has not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Number {
    value: u32,
    /// Where it starts in the bytes at hand; `None`: its digits are held back.
    start: Option<usize>,
}

impl State {
    fn after(self, byte: u8, at: usize) -> Self {
        match (self, byte) {
            (_, 0x1b) => Self::Escape,
            // CAN and SUB end everything.
            (_, 0x18 | 0x1a) | (Self::Ground, _) => Self::Ground,
            (Self::Inside(_), 0x07) => Self::Ground,
            (Self::Inside(length), _) => Self::Inside(length.saturating_add(1)),
            // Other controls are carried out in the middle of a sequence; the rest is ignored there.
            (state, 0x00..0x20 | 0x7f..) => state,
            (Self::Escape, b']') => Self::Inside(0),
            (Self::Escape, b'[') => Self::Entry,
            (Self::Escape, _) => Self::Ground,
            (Self::Entry | Self::Counts(_) | Self::Other, b'@'..) => Self::Ground,
            (Self::Entry, b'0'..=b'9') => Self::Counts(Some(Number::new(byte, at))),
            (Self::Counts(number), b'0'..=b'9') => {
                Self::Counts(Some(number.map_or(Number::new(byte, at), |number| number.with(byte))))
            }
            (Self::Entry | Self::Counts(_), b':' | b';') => Self::Counts(None),
            // Private sequences, and those whose counts the parser does not carry out.
            (Self::Entry | Self::Counts(_) | Self::Other, _) => Self::Other,
        }
    }

    fn is_surplus(self) -> bool {
        matches!(self, Self::Inside(length) if length > MAX_STRING)
    }

    fn number(self) -> Option<Number> {
        match self {
            Self::Counts(number) => number,
            Self::Ground | Self::Escape | Self::Inside(_) | Self::Entry | Self::Other => None,
        }
    }
}

impl Number {
    fn new(digit: u8, at: usize) -> Self {
        Self { value: u32::from(digit - b'0'), start: Some(at) }
    }

    fn with(self, digit: u8) -> Self {
        Self { value: self.value.saturating_mul(10).saturating_add(u32::from(digit - b'0')), ..self }
    }
}

impl Sieve {
    /// Hands on what may pass, in few parts. The screen's longer side is `side` cells.
    pub fn pass(&mut self, bytes: &[u8], side: u16, mut on: impl FnMut(&[u8])) {
        let most = u32::from(side.max(MAX_COLOUR));
        // Bytes before `from` have been handed on or left out.
        let mut from = 0;
        for (at, &byte) in bytes.iter().enumerate() {
            let was = self.state;
            self.state = was.after(byte, at);
            match (was.is_surplus(), self.state.is_surplus()) {
                (false, true) => on(&bytes[from..at]),
                (true, false) => from = at,
                (false, false) | (true, true) => {}
            }
            match (was.number(), self.state.number()) {
                (Some(_), Some(_)) => from = self.hold_back(bytes, from, at, &mut on),
                (Some(number), None) => from = end(number, bytes, from, at, most, &mut on),
                (None, _) => {}
            }
        }
        if self.state.is_surplus() {
            return;
        }
        match self.state.number() {
            // The rest of it comes later: only then is it known how large it is.
            Some(Number { start: Some(start), value }) => {
                on(&bytes[from..start]);
                self.state = State::Counts(Some(Number { value, start: None }));
            }
            Some(Number { start: None, .. }) => {}
            None => on(&bytes[from..]),
        }
    }

    /// A byte within a number: one that is no digit splits it, so its digits are held back.
    fn hold_back(&mut self, bytes: &[u8], from: usize, at: usize, on: &mut impl FnMut(&[u8])) -> usize {
        let State::Counts(Some(number)) = &mut self.state else { return from };
        let is_digit = bytes[at].is_ascii_digit();
        match number.start {
            Some(_) if is_digit => return from,
            Some(start) => on(&bytes[from..start]),
            None => {}
        }
        number.start = None;
        if !is_digit {
            on(&bytes[at..=at]);
        }
        at + 1
    }
}

/// Hands on a number that ends before `at`, as it is or taken down to `most`.
fn end(number: Number, bytes: &[u8], from: usize, at: usize, most: u32, on: &mut impl FnMut(&[u8])) -> usize {
    match number.start {
        Some(_) if number.value <= most => return from,
        Some(start) => on(&bytes[from..start]),
        None => {}
    }
    on(number.value.min(most).to_string().as_bytes());
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(parts: &[&[u8]]) -> Vec<u8> {
        let mut sieve = Sieve::default();
        let mut out = Vec::new();
        for part in parts {
            sieve.pass(part, 300, |bytes| out.extend_from_slice(bytes));
        }
        out
    }

    #[test]
    fn an_endless_string_is_cut_and_what_follows_is_not() {
        let long = vec![b'A'; 3 * MAX_STRING];
        for start in [&b"a\x1b]0;"[..], b"a\x1b\x07]0;", b"a\x1b\x7f\x00]0;"] {
            let out = passed(&[start, &long, &long, b"\x07after"]);
            assert!(out.len() < 2 * MAX_STRING && out.starts_with(start) && out.ends_with(b"\x07after"));
        }
    }

    #[test]
    fn counts_are_taken_down_to_the_screen() {
        for (bytes, expected) in [
            (&b"\x1b[65535@x"[..], &b"\x1b[300@x"[..]),
            (b"\x1b[5;99999999999999999999Hx", b"\x1b[5;300Hx"),
            (b"\x1b[1:70000;9L", b"\x1b[1:300;9L"),
            (b"a\x1b[6\x07553\x7f5Tb", b"a\x1b[\x07\x7f300Tb"),
            (b"a\x1b\x07[65535L", b"a\x1b\x07[300L"),
            (b"\x1b[65535\x1b[400L", b"\x1b[300\x1b[300L"),
        ] {
            assert_eq!(passed(&[bytes]).escape_ascii().to_string(), expected.escape_ascii().to_string());
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            let whole = passed(&single);
            assert!(whole.ends_with(&expected[expected.len() - 1..]), "{}", whole.escape_ascii());
            assert!(!whole.windows(4).any(|w| w.iter().all(u8::is_ascii_digit)), "{}", whole.escape_ascii());
        }
    }

    #[test]
    fn what_is_ordinary_passes_unchanged() {
        let ordinary =
            b"\x1b]0;title\x07text \x1b[31m]\x1b]8;;x\x1b\\link\x1b[?2004h\x1b[38;5;255m\x1b[>4;2000m\
            65535@\x1b(B\x1b[ 65535q\x1b[H\x1b[;5H\xc2\x9b65535@\x1bP65535@\x1b\\";
        assert_eq!(passed(&[ordinary]), ordinary);
        let single: Vec<&[u8]> = ordinary.chunks(1).collect();
        assert_eq!(passed(&single), ordinary);
    }
}
