//! What an app's output did to the client's terminal, so that leaving can undo it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::modes::private;
use crate::pens::MAX_PENS;

/// Longest control sequence that is looked at; a longer one is passed on unlooked.
const MAX_SEQUENCE: usize = 64;
/// DEC private modes that are on in a terminal that nobody changed: wrapping, visible cursor.
const ON_BY_DEFAULT: [u16; 2] = [7, 25];
/// The private modes that switch to the alternate screen.
const ALTERNATE: [u16; 3] = [47, 1047, 1049];
/// Bytes of an operating system command that are looked at.
const COMMAND: usize = 32;
/// The last ANSI mode that terminals know (LNM).
const MAX_ANSI: u16 = 20;
/// Titles that are taken back at most.
const MAX_TITLES: u16 = 10;
/// Changed private modes that are remembered beside those; no terminal knows nearly as many.
const MAX_CHANGED: usize = 256;

/// Follows control sequences through the output, wherever it is cut into pieces.
/// They can be handed on to another process in the middle, as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TerminalModes {
    parser: Parser,
    /// Private modes that are not as they were.
    changed: BTreeSet<u16>,
    /// The alternate screen is shown.
    alternate: bool,
    /// Levels of the kitty keyboard protocol pushed and not popped, on the main screen and the other.
    keyboard: [u16; 2],
    /// Its flags were set without a push.
    keyboard_flags: bool,
    /// Titles of the window that were put aside, our own among them, less those taken back.
    titles: u16,
    /// The same of icons' titles: terminals keep them apart (XTWINOPS 22 and 23, `ctlseqs` of xterm).
    icons: u16,
    /// Pens that were put aside, less those taken back.
    pens: u16,
    /// Operating system commands that changed something, by number.
    commands: BTreeSet<u16>,
    /// ANSI modes that were switched on.
    ansi: BTreeSet<u16>,
    /// Another character set was shifted in.
    shifted: bool,
    /// xterm's modifyOtherKeys.
    other_keys: bool,
    keypad: bool,
    scroll_region: bool,
    cursor_style: bool,
    charset: bool,
    /// `charset` and `shifted`, as they were when the cursor was put aside.
    put_aside: (bool, bool),
    /// What is written is spared from erasing.
    spared: bool,
    /// What was changed stays so: see [`Self::at_worst`].
    #[serde(skip)]
    at_worst: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Parser {
    #[default]
    Text,
    Escape,
    /// Behind `ESC (` and its like.
    Charset,
    /// In an operating system command, as far as it tells what it changes.
    Command(Vec<u8>),
    Control(Vec<u8>),
    /// In a control sequence that is too long to matter.
    Skipping,
}

impl TerminalModes {
    /// Of a terminal whose title was put aside.
    pub fn with_title_put_aside() -> Self {
        Self { titles: 1, icons: 1, ..Self::default() }
    }

    /// Whether the alternate screen is shown.
    pub fn shows_alternate(&self) -> bool {
        self.alternate
    }

    /// Whether text goes on in the next row where one is full.
    pub(crate) fn wraps(&self) -> bool {
        !self.changed.contains(&private::AUTOWRAP)
    }

    /// Whether rows are counted from the first within the margins.
    pub(crate) fn has_origin(&self) -> bool {
        self.changed.contains(&private::ORIGIN)
    }

    /// Everything that is changed now or at any moment of this output.
    pub fn at_worst(&self, output: &[u8]) -> Self {
        let mut worst = Self { at_worst: true, ..self.clone() };
        worst.watch(output);
        worst
    }

    /// Whether this output changes nothing, at no moment: most of what is typed and shown.
    pub fn is_unchanged_by(&self, output: &[u8]) -> bool {
        self.is_between_sequences() && !output.iter().any(|byte| matches!(byte, 0x1b | 0x0e | 0x0f))
    }

    /// Whether the output so far has ended every sequence that it has begun.
    pub fn is_between_sequences(&self) -> bool {
        matches!(self.parser, Parser::Text)
    }

    /// Takes note of output on its way to the terminal.
    pub fn watch(&mut self, output: &[u8]) {
        for &byte in output {
            self.parser = match (std::mem::take(&mut self.parser), byte) {
                (Parser::Command(text), 0x1b) => {
                    self.command(&text);
                    Parser::Escape
                }
                (_, 0x1b) => Parser::Escape,
                (Parser::Text, _) => {
                    if byte == 0x0e || byte == 0x0f {
                        self.shifted = byte == 0x0e || self.stays(self.shifted);
                    }
                    Parser::Text
                }
                (Parser::Command(text), 0x07 | 0x18 | 0x1a) => {
                    self.command(&text);
                    Parser::Text
                }
                (Parser::Command(mut text), byte) => {
                    if text.len() < COMMAND {
                        text.push(byte);
                    }
                    Parser::Command(text)
                }
                (Parser::Escape, b'[') => Parser::Control(Vec::new()),
                (Parser::Escape, b']') => Parser::Command(Vec::new()),
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
            b'7' => self.put_aside = (self.charset, self.shifted),
            b'8' => {
                self.charset = self.put_aside.0 || self.stays(self.charset);
                self.shifted = self.put_aside.1 || self.stays(self.shifted);
            }
            b'=' => self.keypad = true,
            b'>' => self.keypad = self.stays(self.keypad),
            b'n' | b'o' => self.shifted = true,
            b'V' => self.spared = true,
            b'W' => self.spared = self.stays(self.spared),
            // A full reset; what was put aside may outlive it.
            b'c' if !self.at_worst => {
                *self = Self { titles: self.titles, icons: self.icons, ..Self::default() };
            }
            _ => {}
        }
    }

    fn control(&mut self, parameters: &[u8], last: u8) {
        match (parameters.first(), last) {
            (Some(b'?'), b'h' | b'l') => {
                for mode in numbers(&parameters[1..]) {
                    if ALTERNATE.contains(&mode) {
                        self.alternate = last == b'h';
                    }
                    if ON_BY_DEFAULT.contains(&mode) != (last == b'h') {
                        if self.changed.len() < MAX_CHANGED || ALTERNATE.contains(&mode) {
                            self.changed.insert(mode);
                        }
                    } else if !self.at_worst {
                        self.changed.remove(&mode);
                    }
                }
            }
            (Some(b'?' | b'>' | b'<'), b't') => {}
            (_, b't') => {
                let mut numbers = numbers(parameters);
                let (operation, which) = (numbers.next(), numbers.next().unwrap_or(0));
                let of = |kind: u16| u16::from(which == 0 || which == kind);
                match operation {
                    Some(22) => {
                        self.icons = self.icons.saturating_add(of(1));
                        self.titles = self.titles.saturating_add(of(2));
                    }
                    Some(23) if !self.at_worst => {
                        self.icons = self.icons.saturating_sub(of(1));
                        self.titles = self.titles.saturating_sub(of(2));
                    }
                    Some(_) | None => {}
                }
            }
            (Some(first), b'h' | b'l') if first.is_ascii_digit() => {
                for mode in numbers(parameters).filter(|&mode| mode <= MAX_ANSI) {
                    if last == b'h' {
                        self.ansi.insert(mode);
                    } else if !self.at_worst {
                        self.ansi.remove(&mode);
                    }
                }
            }
            (_, b'{' | b'p') if parameters.last() == Some(&b'#') => self.pens = self.pens.saturating_add(1),
            (_, b'}' | b'q') if parameters.last() == Some(&b'#') => {
                self.pens = self.pens.saturating_sub(u16::from(!self.at_worst));
            }
            (Some(b'>'), b'u') => {
                let levels = &mut self.keyboard[usize::from(self.alternate)];
                *levels = levels.saturating_add(1);
            }
            (Some(b'='), b'u') => self.keyboard_flags = true,
            (Some(b'<'), b'u') if !self.at_worst => {
                let popped = numbers(&parameters[1..]).next().unwrap_or(1).max(1);
                let levels = &mut self.keyboard[usize::from(self.alternate)];
                *levels = levels.saturating_sub(popped);
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
            (_, b'q') if parameters.last() == Some(&b'"') => {
                self.spared = parameters == b"1\"" || self.stays(self.spared);
            }
            (_, b'p') if parameters == b"!" && !self.at_worst => {
                let alternate = self.changed.iter().copied().filter(|m| ALTERNATE.contains(m)).collect();
                *self = Self {
                    changed: alternate,
                    alternate: self.alternate,
                    keyboard: self.keyboard,
                    titles: self.titles,
                    icons: self.icons,
                    pens: self.pens,
                    commands: std::mem::take(&mut self.commands),
                    ..Self::default()
                };
            }
            _ => {}
        }
    }

    /// An operating system command that came to its end, or began as this.
    fn command(&mut self, text: &[u8]) {
        let mut parts = text.split(|&byte| byte == b';');
        let number = parts.next().and_then(|number| std::str::from_utf8(number).ok()?.parse::<u16>().ok());
        let second = parts.next().unwrap_or_default();
        match number {
            // Colours, where they are set and not asked for; a palette's number stands before.
            Some(4) if parts.next() != Some(b"?") => drop(self.commands.insert(4)),
            Some(number @ 10..=19) if second != b"?" => drop(self.commands.insert(number)),
            Some(104) if !self.at_worst => drop(self.commands.remove(&4)),
            Some(number @ 110..=119) if !self.at_worst => drop(self.commands.remove(&(number - 100))),
            // The pointer's shape, and progress that is shown beside the title.
            Some(22) => drop(self.commands.insert(22)),
            Some(9) if second == b"4" => drop(self.commands.insert(9)),
            // A link that text would go on in.
            Some(8) if parts.next().is_some_and(|uri| !uri.is_empty()) => drop(self.commands.insert(8)),
            Some(8) if !self.at_worst => drop(self.commands.remove(&8)),
            Some(_) | None => {}
        }
    }

    /// Takes back the titles that are put aside on top of the first, which is the terminal's own: a
    /// [dump](crate::Terminal::dump) puts aside the app's, though the terminal may have them from an earlier one.
    pub fn before_dump(&self) -> Vec<u8> {
        restored(self.titles.saturating_sub(1), self.icons.saturating_sub(1))
    }

    /// Whether something that is changed stays so although output undoes it.
    fn stays(&self, changed: bool) -> bool {
        self.at_worst && changed
    }

    /// The bytes that give the terminal back as it was.
    pub fn undo(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.is_between_sequences() {
            // CAN ends a sequence that was cut off.
            out.push(0x18);
        }
        out.extend_from_slice(&restored(self.titles, self.icons));
        for &number in &self.commands {
            let undo = match number {
                4 => "104".to_owned(),
                8 => "8;;".to_owned(),
                9 => "9;4;0".to_owned(),
                22 => "22;".to_owned(),
                color => format!("{}", color + 100),
            };
            out.extend_from_slice(format!("\x1b]{undo}\x1b\\").as_bytes());
        }
        if self.keyboard_flags {
            out.extend_from_slice(b"\x1b[=0u");
        }
        let pop = |levels: u16| match levels {
            0 => String::new(),
            levels => format!("\x1b[<{levels}u"),
        };
        out.extend_from_slice(pop(self.keyboard[usize::from(self.alternate)]).as_bytes());
        for mode in &self.ansi {
            out.extend_from_slice(format!("\x1b[{mode}l").as_bytes());
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
        if self.alternate {
            out.extend_from_slice(pop(self.keyboard[0]).as_bytes());
        }
        if self.shifted {
            out.push(0x0f);
        }
        if self.spared {
            out.extend_from_slice(b"\x1b[0\"q\x1bW");
        }
        if self.cursor_style {
            out.extend_from_slice(b"\x1b[0 q");
        }
        for _ in 0..self.pens.min(MAX_PENS as u16) {
            out.extend_from_slice(b"\x1b[#}");
        }
        if self.charset {
            out.extend_from_slice(b"\x1b(B");
        }
        out.extend_from_slice(b"\x1b[0m");
        out
    }
}

/// What takes back so many titles of windows and of icons.
fn restored(titles: u16, icons: u16) -> Vec<u8> {
    let (titles, icons) = (titles.min(MAX_TITLES), icons.min(MAX_TITLES));
    let both = titles.min(icons);
    let each = [(both, 0), (icons - both, 1), (titles - both, 2)];
    each.map(|(count, which)| format!("\x1b[23;{which}t").repeat(count.into())).concat().into_bytes()
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
        assert_eq!(after(b"\x1b[?1049h\x1b[>1u\x1b[?1049l\x1b[=3u\x1b[4h\x0e"), "^[=0u^[4l\u{f}^[0m");
        assert_eq!(after(b"\x1b[>1u\x1b[>1u\x1b[?1049h\x1b[>1u"), "^[<1u^[?1049l^[<2u^[0m");
        assert_eq!(after(b"\x1b[?69h\x1b[2;4s\x1bn\x1b[1\"q\x1b[0\"q"), "^[?69l\u{f}^[0m");
        assert_eq!(after(b"\x1b[1\"qx"), "^[0\"q^W^[0m");
        assert_eq!(after(b"\x1bVx\x1b[!p\x1bVx"), "^[0\"q^W^[0m");
        assert_eq!(after(b"\x1b[?1h\x1bc"), "^[0m");
        assert_eq!(after(b"\x1b[#{\x1b[1;30#p\x1b[#{\x1b[#}\x1b[#q\x1b[!p"), "^[#}^[0m");
        assert_eq!(after(b"\x1b[?1049h\x1b[?1h\x1b[!p"), "^[?1049l^[0m");
        assert_eq!(after(b"\x1b(0\x0e\x1b7\x1b(B\x0fx\x1b8"), "\u{f}^(B^[0m");
        assert_eq!(after(b"\x1b7\x1b(0x\x1b8"), "^[0m");
    }

    #[test]
    fn what_commands_changed_is_changed_back() {
        assert_eq!(
            after(b"\x1b]11;#000000\x07\x1b]4;1;red\x1b\\\x1b]8;;http://a/\x07x\x1b]22;text\x07\x1b]9;4;1;50\x07"),
            "^]104^\\^]8;;^\\^]9;4;0^\\^]111^\\^]22;^\\^[0m"
        );
        let asks =
            b"\x1b]11;?\x07\x1b]4;1;?\x07\x1b]8;;http://a/\x07x\x1b]8;;\x07\x1b]0;title\x07\x1b]9;done\x07";
        assert_eq!(after(asks), "^[0m");
        assert_eq!(after(b"\x1b]10;red\x07\x1b]110\x07"), "^[0m");
        let mut modes = TerminalModes::with_title_put_aside();
        modes.watch(b"\x1b[22;0t\x1b]2;app\x07\x1bc");
        assert_eq!(shown(modes.undo()), "^[23;0t^[23;0t^[0m");
        modes.watch(b"\x1b[23;0t");
        assert_eq!(shown(modes.undo()), "^[23;0t^[0m");
        // An app that takes icons' titles back that it was not seen to put aside.
        modes.watch(b"\x1b[22;2t\x1b[23;2t\x1b[23;1t\x1b[22;2t\x1b[22;1t\x1b[23;2t\x1b[23;1t");
        assert_eq!(shown(modes.undo()), "^[23;2t^[0m");
        modes.watch(b"\x1b[22t\x1b[22;1t");
        assert_eq!(shown(modes.undo()), "^[23;0t^[23;0t^[0m");
        assert_eq!(shown(modes.before_dump()), "^[23;0t");
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

    #[test]
    fn they_go_on_elsewhere_in_the_middle_of_a_sequence() {
        let output = b"\x1b[?1049h\x1b[>1u\x1b]11;#000000\x07\x1b[?25l\x0e\x1b[4h";
        for at in 0..output.len() {
            let mut modes = TerminalModes::with_title_put_aside();
            modes.watch(&output[..at]);
            let mut on: TerminalModes =
                serde_json::from_str(&serde_json::to_string(&modes).unwrap()).unwrap();
            assert_eq!(on, modes, "at {at}");
            on.watch(&output[at..]);
            modes.watch(&output[at..]);
            assert_eq!(on.undo(), modes.undo(), "at {at}");
        }
        assert_eq!(serde_json::from_str::<TerminalModes>("{}").unwrap(), TerminalModes::default());
    }

    #[test]
    fn plain_text_changes_nothing() {
        let mut modes = TerminalModes::default();
        assert!(modes.is_unchanged_by("ls \u{f6}\r\n".as_bytes()));
        assert!(!modes.is_unchanged_by(b"\x1b[0m") && !modes.is_unchanged_by(b"\x0e"));
        modes.watch(b"\x1b[");
        assert!(!modes.is_unchanged_by(b"4h"));
    }
}
