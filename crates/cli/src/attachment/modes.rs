//! What an app's output did to the client's terminal, so that leaving can undo it.

use std::collections::BTreeSet;

/// Longest control sequence that is looked at; a longer one is passed on unlooked.
const MAX_SEQUENCE: usize = 64;
/// DEC private modes that are on in a terminal that nobody changed: wrapping, visible cursor.
const ON_BY_DEFAULT: [u16; 2] = [7, 25];
/// The private modes that switch to the alternate screen.
const ALTERNATE: [u16; 3] = [47, 1047, 1049];
/// Changed private modes that are remembered beside those; no terminal knows nearly as many.
const MAX_CHANGED: usize = 256;

/// Follows control sequences through the output, wherever it is cut into pieces.
#[derive(Clone, Debug, Default)]
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
    /// What was changed stays so: see [`Self::at_worst`].
    at_worst: bool,
}

#[derive(Clone, Debug, Default)]
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
    /// Everything that is changed now or at any moment of this output.
    pub fn at_worst(&self, output: &[u8]) -> Self {
        let mut worst = Self { at_worst: true, ..self.clone() };
        worst.watch(output);
        worst
    }

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
                    self.charset = byte != b'B' || self.stays(self.charset);
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
            b'>' => self.keypad = self.stays(self.keypad),
            b'c' if !self.at_worst => *self = Self::default(),
            _ => {}
        }
    }

    fn control(&mut self, parameters: &[u8], last: u8) {
        match (parameters.first(), last) {
            (Some(b'?'), b'h' | b'l') => {
                for mode in numbers(&parameters[1..]) {
                    if ON_BY_DEFAULT.contains(&mode) != (last == b'h') {
                        if self.changed.len() < MAX_CHANGED || ALTERNATE.contains(&mode) {
                            self.changed.insert(mode);
                        }
                    } else if !self.at_worst {
                        self.changed.remove(&mode);
                    }
                }
            }
            (Some(b'>'), b'u') => self.keyboard = self.keyboard.saturating_add(1),
            (Some(b'<'), b'u') if !self.at_worst => {
                let levels = numbers(&parameters[1..]).next().unwrap_or(1).max(1);
                self.keyboard = self.keyboard.saturating_sub(levels);
            }
            (Some(b'>'), b'm') => {
                let mut n = numbers(&parameters[1..]);
                if n.next() == Some(4) {
                    self.other_keys = n.next().unwrap_or(0) != 0 || self.stays(self.other_keys);
                }
            }
            (_, b'r') if parameters.iter().all(|b| b.is_ascii_digit() || *b == b';') => {
                self.scroll_region = !parameters.is_empty() || self.stays(self.scroll_region);
            }
            (_, b'q') if parameters.last() == Some(&b' ') => {
                let style = numbers(&parameters[..parameters.len() - 1]).next().unwrap_or(0);
                self.cursor_style = style != 0 || self.stays(self.cursor_style);
            }
            (_, b'p') if parameters == b"!" && !self.at_worst => {
                let alternate = self.changed.iter().copied().filter(|m| ALTERNATE.contains(m)).collect();
                *self = Self { changed: alternate, keyboard: self.keyboard, ..Self::default() };
            }
            _ => {}
        }
    }

    /// Whether something that is changed stays so although output undoes it.
    fn stays(&self, changed: bool) -> bool {
        self.at_worst && changed
    }

    /// The bytes that give the terminal back as it was.
    pub fn undo(&self) -> Vec<u8> {
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
        shown(undo)
    }

    fn shown(undo: Vec<u8>) -> String {
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
        let many: String = (2..=60_000).map(|mode| format!("\x1b[?{mode}h")).collect();
        let undo = after(many.as_bytes());
        assert!(undo.len() < 2400 && undo.ends_with("^[?47l^[?1047l^[?1049l^[0m"), "{undo}");
    }

    #[test]
    fn the_worst_is_what_any_moment_of_the_output_changed() {
        let mut modes = TerminalModes::default();
        modes.watch(b"\x1b[?1049h\x1b=");
        let passing = b"\x1b[?25l\x1b[5 qx\x1b[0 q\x1b[?25h\x1b[?1049l\x1b>\x1bc\x1b[!p";
        assert_eq!(shown(modes.at_worst(passing).undo()), "^>^[?25h^[?1049l^[0 q^[0m");
        assert_eq!(shown(modes.undo()), "^>^[?1049l^[0m");
        modes.watch(passing);
        assert_eq!(shown(modes.undo()), "^[0m");
    }
}
