//! What is typed, and what is pasted.

use core::ops::Range;
use core::time::Duration;

use zeroize::Zeroize as _;

/// What of a mark may stand at the end of what was read.
const PART: usize = Pastes::MARKS[0].len() - 1;
/// So long after the last byte of a paste that has no end, the key is somebody's.
const PAUSE: Duration = Duration::from_secs(1);

/// Follows pastes through what is read of a terminal: a key that stands in one is text.
#[derive(Debug, Default)]
pub struct Pastes {
    inside: bool,
    /// The last bytes read, in which a mark may begin.
    end: Vec<u8>,
    /// When that was.
    read: Option<Duration>,
}

impl Pastes {
    /// What a terminal puts before and behind what is pasted, where an app asked for that (xterm's control sequences,
    /// "Bracketed Paste Mode").
    pub const MARKS: [&[u8]; 2] = [b"\x1b[200~", b"\x1b[201~"];

    /// Where the first of these keys, each as a terminal sends it, stands in what was typed, given what was typed
    /// before. `now` counts from any moment, always the same.
    pub fn find(&mut self, keys: &[String], typed: &[u8], now: Duration) -> Option<Range<usize>> {
        let paused = self.read.replace(now).is_none_or(|read| now.saturating_sub(read) > PAUSE);
        let key_of = |bytes: &[u8]| {
            let is_it = |key: &&String| !key.is_empty() && bytes.starts_with(key.as_bytes());
            keys.iter().find(is_it).map(String::len)
        };
        if self.inside && paused && keys.iter().any(|key| key.as_bytes() == typed) {
            self.inside = false;
        }
        let before = self.end.len();
        let mut bytes = [&self.end[..], typed].concat();
        let mut at = 0;
        let mut found = None;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if rest.starts_with(Self::MARKS[usize::from(self.inside)]) {
                self.inside = !self.inside;
                at += Self::MARKS[0].len();
            } else if at >= before
                && !self.inside
                && let Some(length) = key_of(rest)
            {
                found = Some(at - before..at - before + length);
                break;
            } else {
                at += 1;
            }
        }
        self.end.zeroize();
        self.end = bytes[bytes.len().saturating_sub(PART)..].to_vec();
        bytes.zeroize();
        found
    }
}

impl Drop for Pastes {
    fn drop(&mut self) {
        self.end.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(7);

    fn keys() -> [String; 2] {
        ["\x1c".to_owned(), "\x1b[92;5u".to_owned()]
    }

    #[test]
    fn a_key_is_found_wherever_it_stands() {
        for (typed, at) in [("\x1c", Some(0..1)), ("ab\x1b[92;5uc\x1c", Some(2..9)), ("ab", None), ("", None)]
        {
            assert_eq!(Pastes::default().find(&keys(), typed.as_bytes(), NOW), at, "{typed:?}");
        }
        assert_eq!(Pastes::default().find(&[String::new()], b"ab", NOW), None);
    }

    #[test]
    fn in_a_paste_it_is_text_however_that_is_cut() {
        let all = b"a\x1b[200~b\x1cc\x1b[92;5ud\x1b[201\x1c~\x1b[201~e\x1cf";
        let key = all.len() - 2;
        for first in 0..=key {
            for second in first..=key {
                let mut pastes = Pastes::default();
                assert_eq!(pastes.find(&keys(), &all[..first], NOW), None, "{first}");
                assert_eq!(pastes.find(&keys(), &all[first..second], NOW), None, "{first} {second}");
                let found = pastes.find(&keys(), &all[second..], NOW);
                assert_eq!(found, Some(key - second..key - second + 1), "{first} {second}");
            }
        }
    }

    #[test]
    fn of_a_paste_without_an_end_the_key_leaves_after_a_while() {
        let mut pastes = Pastes::default();
        assert_eq!(pastes.find(&keys(), b"\x1b[200~text", NOW), None);
        assert_eq!(pastes.find(&keys(), b"\x1c", NOW + PAUSE / 2), None);
        // Not alone, or not after a pause: it is of the paste still.
        assert_eq!(pastes.find(&keys(), b"a\x1c", NOW + PAUSE * 3), None);
        assert_eq!(pastes.find(&keys(), b"\x1c", NOW + PAUSE * 3 + PAUSE / 2), None);
        assert_eq!(pastes.find(&keys(), b"\x1c", NOW + PAUSE * 5), Some(0..1));
    }
}
