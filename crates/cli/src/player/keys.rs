//! What is typed while a recording plays, told from what a terminal answers to it.

/// A key that means something to the player.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Space.
    Pause,
    /// A full stop.
    Step,
    /// The right arrow.
    Forward,
    /// The left arrow.
    Back,
    /// `q` or ctrl-c.
    Quit,
}

/// Follows what the terminal sends, byte by byte. Sequences other than the arrows mean nothing:
/// replayed output may ask the terminal for things or switch its mouse on.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyParser(State);

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Plain,
    Escape,
    /// Behind `ESC O`.
    Single,
    /// Behind `ESC [`; whether a parameter came.
    Control(bool),
    /// In the rest of a mouse report.
    Mouse(u8),
    /// In a string, up to BEL or ST.
    Text,
}

impl KeyParser {
    /// Takes a byte; the key that it completes, where it does.
    pub fn take(&mut self, byte: u8) -> Option<Key> {
        let (state, key) = match (self.0, byte) {
            (State::Mouse(left), _) => (if left > 1 { State::Mouse(left - 1) } else { State::Plain }, None),
            (State::Text, 0x07) => (State::Plain, None),
            (_, 0x1b) => (State::Escape, None),
            (State::Text, _) => (State::Text, None),
            (State::Plain, b' ') => (State::Plain, Some(Key::Pause)),
            (State::Plain, b'.') => (State::Plain, Some(Key::Step)),
            (State::Plain, b'q' | 0x03) => (State::Plain, Some(Key::Quit)),
            (State::Plain, _) => (State::Plain, None),
            (State::Escape, b'[') => (State::Control(false), None),
            (State::Escape, b'O') => (State::Single, None),
            (State::Escape, b']' | b'P' | b'_' | b'^') => (State::Text, None),
            (State::Escape, _) => (State::Plain, None),
            (State::Single | State::Control(false), b'C') => (State::Plain, Some(Key::Forward)),
            (State::Single | State::Control(false), b'D') => (State::Plain, Some(Key::Back)),
            (State::Single, _) => (State::Plain, None),
            (State::Control(false), b'M') => (State::Mouse(3), None),
            (State::Control(_), 0x40..=0x7e) => (State::Plain, None),
            (State::Control(_), _) => (State::Control(true), None),
        };
        self.0 = state;
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(bytes: &[u8]) -> Vec<Key> {
        let mut parser = KeyParser::default();
        bytes.iter().filter_map(|&byte| parser.take(byte)).collect()
    }

    #[test]
    fn keys_are_told_from_answers() {
        assert_eq!(typed(b" .q\x03x"), [Key::Pause, Key::Step, Key::Quit, Key::Quit]);
        assert_eq!(typed(b"\x1b[C\x1b[D\x1bOC\x1bOD"), [Key::Forward, Key::Back, Key::Forward, Key::Back]);
        for answer in [
            &b"\x1b[?1;2c"[..],
            b"\x1b[24;80R",
            b"\x1b[1;5C",
            b"\x1bP>|some q. 1\x1b\\",
            b"\x1b]10;rgb: q\x07",
            b"\x1b[M q.",
            b"\x1b[<0;10;10M",
            b"\x1bq",
        ] {
            assert_eq!(typed(answer), [], "{}", answer.escape_ascii());
            assert_eq!(typed(&[answer, b"q"].concat()), [Key::Quit], "{}", answer.escape_ascii());
        }
    }
}
