//! What an app's output did to the client's terminal, so that leaving can undo it.

use std::collections::BTreeSet;

/// Longest control sequence that is looked at; a longer one is passed on unlooked.
const MAX_SEQUENCE: usize = 64;
/// DEC private modes that are on in a terminal that nobody changed: wrapping, visible cursor.
const ON_BY_DEFAULT: [u16; 2] = [7, 25];
/// The private modes that switch to the alternate screen.
const ALTERNATE: [u16; 3] = [47, 1047, 1049];

/// Follows control sequences through the output, wherever it is cut into pieces.
#[derive(Debug, Default)]
pub struct TerminalModes {
    parser: Parser,
    /// Private modes that are not as they were.
    changed: BTreeSet<u16>,
    /// Levels of the kitty keyboard protocol pushed and not popped.
    keyboard: u16,
    /// xterm's modifyOtherKeys.
    other_keys: bool,
    keypad: bool,
    scroll_region: bool,
    cursor_style: bool,
    charset: bool,
}

#[derive(Debug, Default)]
enum Parser {
    #[default]
    Text,
    Escape,
    /// Behind `ESC (` and its like.
    Charset,
    Control(Vec<u8>),
    /// In a control sequence that is too long to matter.
    Skipping,
}

impl TerminalModes {
    /// Takes note of output on its way to the terminal.
    pub fn watch(&mut self, output: &[u8]) {
        for &byte in output {
            self.parser = match (std::mem::take(&mut self.parser), byte) {
                (_, 0x1b) => Parser::Escape,
                (Parser::Text, _) => Parser::Text,
                (Parser::Escape, b'[') => Parser::Control(Vec::new()),
                (Parser::Escape, b'(' | b')') => Parser::Charset,
                (Parser::Escape, byte) => {
                    self.escape(byte);
                    Parser::Text
                }
                (Parser::Charset, byte) => {
                    self.charset = byte != b'B';
                    Parser::Text
                }
                (Parser::Control(parameters), 0x40..=0x7e) => {
                    self.control(&parameters, byte);
                    Parser::Text
                }
                (Parser::Control(mut parameters), byte) if parameters.len() < MAX_SEQUENCE => {
                    parameters.push(byte);
                    Parser::Control(parameters)
                }
                (Parser::Control(_), _) => Parser::Skipping,
                (Parser::Skipping, 0x40..=0x7e) => Parser::Text,
                (Parser::Skipping, _) => Parser::Skipping,
            };
        }
    }

    fn escape(&mut self, byte: u8) {
        match byte {
            b'=' => self.keypad = true,
            b'>' => self.keypad = false,
            b'c' => *self = Self::default(),
            _ => {}
        }
    }

    fn control(&mut self, parameters: &[u8], last: u8) {
        match (parameters.first(), last) {
            (Some(b'?'), b'h' | b'l') => {
                for mode in numbers(&parameters[1..]) {
                    if ON_BY_DEFAULT.contains(&mode) == (last == b'h') {
                        self.changed.remove(&mode);
                    } else {
                        self.changed.insert(mode);
                    }
                }
            }
            (Some(b'>'), b'u') => self.keyboard = self.keyboard.saturating_add(1),
            (Some(b'<'), b'u') => {
                let levels = numbers(&parameters[1..]).next().unwrap_or(1).max(1);
                self.keyboard = self.keyboard.saturating_sub(levels);
            }
            (Some(b'>'), b'm') => {
                let mut n = numbers(&parameters[1..]);
                if n.next() == Some(4) {
                    self.other_keys = n.next().unwrap_or(0) != 0;
                }
            }
            (_, b'r') if parameters.iter().all(|b| b.is_ascii_digit() || *b == b';') => {
                self.scroll_region = !parameters.is_empty();
            }
            (_, b'q') if parameters.last() == Some(&b' ') => {
                self.cursor_style = numbers(&parameters[..parameters.len() - 1]).next().unwrap_or(0) != 0;
            }
            (_, b'p') if parameters == b"!" => {
                let alternate = self.changed.iter().copied().filter(|m| ALTERNATE.contains(m)).collect();
                *self = Self { changed: alternate, keyboard: self.keyboard, ..Self::default() };
            }
            _ => {}
        }
    }

    /// The bytes that give the terminal back as it was, and forgets the changes.
    pub fn undo(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        if !matches!(self.parser, Parser::Text) {
            // CAN ends a sequence that was cut off.
            out.push(0x18);
        }
        if self.keyboard > 0 {
            out.extend_from_slice(format!("\x1b[<{}u", self.keyboard).as_bytes());
        }
        if self.other_keys {
            out.extend_from_slice(b"\x1b[>4;0m");
        }
        if self.keypad {
            out.extend_from_slice(b"\x1b>");
        }
        if self.scroll_region {
            // Resetting the region moves the cursor home.
            out.extend_from_slice(b"\x1b7\x1b[r\x1b8");
        }
        // The alternate screen goes last: what it saved comes back on leaving it.
        let (last, first): (Vec<u16>, Vec<u16>) = self.changed.iter().partition(|m| ALTERNATE.contains(m));
        for mode in first.into_iter().chain(last) {
            let letter = if ON_BY_DEFAULT.contains(&mode) { 'h' } else { 'l' };
            out.extend_from_slice(format!("\x1b[?{mode}{letter}").as_bytes());
        }
        if self.cursor_style {
            out.extend_from_slice(b"\x1b[0 q");
        }
        if self.charset {
            out.extend_from_slice(b"\x1b(B");
        }
        out.extend_from_slice(b"\x1b[0m");
        *self = Self::default();
        out
    }
}

fn numbers(parameters: &[u8]) -> impl Iterator<Item = u16> {
    parameters.split(|&b| b == b';').filter_map(|n| std::str::from_utf8(n).ok()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(output: &[u8]) -> String {
        let mut modes = TerminalModes::default();
        modes.watch(output);
        let mut bytewise = TerminalModes::default();
        output.iter().for_each(|b| bytewise.watch(&[*b]));
        let undo = modes.undo();
        assert_eq!(undo, bytewise.undo());
        String::from_utf8(undo).unwrap().replace('\x1b', "^")
    }

    #[test]
    fn what_was_switched_on_is_switched_off() {
        assert_eq!(after(b"plain \x1b[31mred"), "^[0m");
        assert_eq!(
            after(b"\x1b[?1049h\x1b[?25l\x1b[?1000;1006h\x1b[?2004h"),
            "^[?25h^[?1000l^[?1006l^[?2004l^[?1049l^[0m"
        );
        assert_eq!(after(b"\x1b[?1049h\x1b[?1049l\x1b[?25l\x1b[?25h"), "^[0m");
        assert_eq!(
            after(b"\x1b[>1u\x1b[>5u\x1b[<u\x1b=\x1b[2;20r\x1b[5 q\x1b(0\x1b[>4;2m"),
            "^[<1u^[>4;0m^>^7^[r^8^[0 q^(B^[0m"
        );
        assert_eq!(after(b"\x1b[?1h\x1bc"), "^[0m");
        assert_eq!(after(b"\x1b[?1049h\x1b[?1h\x1b[!p"), "^[?1049l^[0m");
    }

    #[test]
    fn cut_off_and_endless_sequences_do_no_harm() {
        assert_eq!(after(b"\x1b[?10"), "\u{18}^[0m");
        let mut long = b"\x1b[?".to_vec();
        long.extend([b'1'; 1 << 16]);
        long.extend(b"h\x1b[?2004h");
        assert_eq!(after(&long), "^[?2004l^[0m");
        assert_eq!(after(b"\x1b[?99999999h\x1b[?;;h\x1b[?\xffh"), "^[0m");
    }
}
