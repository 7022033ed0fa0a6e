//! Tokens that are written to other terminals and that nobody should see again: where one comes back
//! in what an app writes, that terminal shows what the app reads, or the app what the terminal shows.

/// The operating system command that carries one; no terminal knows it, and all pass over it.
pub(crate) const COMMAND: &[u8] = b"7717";
/// What stands before its number.
const PREFIX: &str = "sessile=";
/// Most tokens that wait for who takes them.
const MAX_WAITING: usize = 16;

#[derive(Clone, Debug, Default)]
pub(crate) struct Tokens(Vec<u64>);

impl Tokens {
    /// From the text of such a command.
    pub(crate) fn note(&mut self, text: &[u8]) {
        let number = text.strip_prefix(PREFIX.as_bytes()).and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(number) = number.and_then(|digits| u64::from_str_radix(digits, 16).ok())
            && self.0.len() < MAX_WAITING
        {
            self.0.push(number);
        }
    }

    pub(crate) fn take(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.0)
    }
}

/// The bytes of a token.
#[must_use]
pub fn token(number: u64) -> Vec<u8> {
    format!("\x1b]{};{PREFIX}{number:016x}\x1b\\", COMMAND.escape_ascii()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DEFAULT_LINES, Terminal};

    #[test]
    fn a_token_that_comes_back_is_known_and_shows_nothing() {
        let mut terminal = Terminal::new(sessile_model::spec::WindowSize::default(), DEFAULT_LINES);
        terminal.feed(&[b"one", &token(0xab)[..], b"two\x1b]7717;sessile=x\x07\x1b]7717\x07"].concat());
        assert_eq!(terminal.take_tokens(), [0xab]);
        assert_eq!(terminal.text().trim_end(), "onetwo");
        assert!(terminal.take_tokens().is_empty());
    }
}
