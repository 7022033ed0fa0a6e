//! What an app asks of its terminal, and what this one answers when no other terminal does.

use std::ops::Range;

use crate::attributes::Protection;
use crate::modes::private;
use crate::replies::Form;
use crate::state::State;

/// Most bytes of answers that wait for who takes them; beyond, questions have none.
const MAX_WAITING: usize = 4 << 10;
/// Most questions that wait.
const MAX_QUESTIONS: usize = 4 << 10;

/// A question, by the bytes that ask it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Where in what was fed it stands.
    pub at: Range<u64>,
    /// What a terminal's answer to it looks like.
    pub form: Form,
    /// What a terminal writes back, where it can be known without one.
    pub answer: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Answers {
    waiting: Vec<Question>,
    bytes: usize,
    /// Where the sequence that is being carried out stands.
    pub(crate) sequence: Range<u64>,
}

impl Answers {
    fn give(&mut self, form: Form, answer: String) {
        if self.waiting.len() < MAX_QUESTIONS {
            self.bytes += answer.len();
            let answer = if self.bytes <= MAX_WAITING { answer.into_bytes() } else { Vec::new() };
            self.waiting.push(Question { at: self.sequence.clone(), form, answer });
        }
    }

    /// All but those that end here, where that is said.
    pub(crate) fn take(&mut self, but_at: Option<u64>) -> Vec<Question> {
        self.bytes = 0;
        let kept = but_at.and_then(|end| self.waiting.iter().position(|question| question.at.end == end));
        let kept = self.waiting.split_off(kept.unwrap_or(self.waiting.len()));
        std::mem::replace(&mut self.waiting, kept)
    }

    /// Where the first of those begins that end here.
    pub(crate) fn ending_at(&self, end: u64) -> Option<u64> {
        self.waiting.iter().find(|question| question.at.end == end).map(|question| question.at.start)
    }

    /// One more byte belongs to those that end here.
    fn extend(&mut self, end: u64) {
        for question in self.waiting.iter_mut().filter(|question| question.at.end == end) {
            question.at.end += 1;
        }
    }

    /// Takes note of the bytes of a sequence that are carried out next. `after_escape`: the one before
    /// them was ESC.
    pub(crate) fn place(&mut self, position: u64, bytes: &[u8], after_escape: bool) {
        let is_end = |byte: Option<&u8>| byte == Some(&b'\\');
        if after_escape && is_end(bytes.first()) {
            self.extend(position);
        }
        let begun = bytes.iter().rposition(|&byte| byte == 0x1b);
        // Another sequence may cut one off; `ESC \` ends a string.
        match begun {
            Some(at) if bytes.len() > at + 1 && !is_end(bytes.get(at + 1)) => {
                self.sequence.start = position + at as u64;
            }
            None if after_escape && !is_end(bytes.first()) => self.sequence.start = position - 1,
            Some(_) | None => {}
        }
        self.sequence.end = position + bytes.len() as u64;
    }
}

impl State {
    /// A question that only a real terminal can answer.
    pub(crate) fn asked(&mut self, form: Form) {
        self.answers.give(form, String::new());
    }

    /// DA: what kind of terminal this is (a VT220 with colours).
    pub(crate) fn answer_attributes(&mut self, kind: Option<u8>) {
        let (form, answer) = match kind {
            None => (Form::control(b'?', b'c'), "\x1b[?62;22c"),
            Some(b'>') => (Form::control(b'>', b'c'), "\x1b[>1;10;0c"),
            Some(_) => (Form::device(b'!', b'|'), "\x1bP!|00000000\x1b\\"),
        };
        self.answers.give(form, answer.to_owned());
    }

    /// DSR: how it is, and where the cursor.
    pub(crate) fn answer_status(&mut self, number: u16) {
        let (row, column) = self.place();
        let (form, answer) = match number {
            5 => (Form::control(0, b'n'), "\x1b[0n".to_owned()),
            6 => (Form::control(0, b'R'), format!("\x1b[{};{}R", row + 1, column + 1)),
            _ => return,
        };
        self.answers.give(form, answer);
    }

    /// DEC's own: where the cursor is, and of printer, keys, keyboard, pointer, line and sessions what
    /// is so of every terminal without them. `pid` names what a checksum is asked of.
    pub(crate) fn answer_private_status(&mut self, number: u16, pid: u16) {
        let (row, column) = self.place();
        let status = match number {
            6 => {
                let answer = format!("\x1b[?{};{};1R", row + 1, column + 1);
                return self.answers.give(Form::control(b'?', b'R'), answer);
            }
            63 => {
                let answer = format!("\x1bP{pid}!~0000\x1b\\");
                return self.answers.give(Form::device(b'!', b'~'), answer);
            }
            15 => "13",
            25 => "20",
            26 => "27;1;0;0",
            53 | 55 => "50",
            56 => "57;0",
            75 => "70",
            85 => "83",
            _ => "",
        };
        let answer = if status.is_empty() { String::new() } else { format!("\x1b[?{status}n") };
        // Sessions and lines are answered with the same numbers.
        let about = if number == 53 { 55 } else { number };
        self.answers.give(Form::control_about(b'?', b'n', about), answer);
    }

    /// DECRQM: whether a mode is set.
    pub(crate) fn answer_mode(&mut self, private: bool, number: u16) {
        let (prefix, report) = if private {
            let screen = matches!(number, 47 | 1047 | 1049);
            let shown = 2 - u8::from(self.on_alternate);
            let report = match number {
                _ if screen => shown,
                private::KEYPAD => 2 - u8::from(self.keypad),
                _ => self.modes.report_private(number),
            };
            ("?", report)
        } else {
            ("", self.modes.report_ansi(number))
        };
        let form = Form::control_about(if private { b'?' } else { 0 }, b'y', number);
        self.answers.give(form, format!("\x1b[{prefix}{number};{report}$y"));
    }

    /// XTVERSION.
    pub(crate) fn answer_version(&mut self) {
        let answer = format!("\x1bP>|sessile({})\x1b\\", env!("CARGO_PKG_VERSION"));
        self.answers.give(Form::device(b'>', b'|'), answer);
    }

    /// The kitty keyboard protocol's flags.
    pub(crate) fn answer_keyboard(&mut self) {
        let flags = self.keyboard[usize::from(self.on_alternate)].last().copied().unwrap_or(0);
        self.answers.give(Form::control(b'?', b'u'), format!("\x1b[?{flags}u"));
    }

    /// What a window says of itself: the size in cells; the rest only a real one knows.
    pub(crate) fn answer_window(&mut self, number: u16) {
        let (rows, columns) = (self.rows, self.columns);
        let answer = if number == 18 { format!("\x1b[8;{rows};{columns}t") } else { String::new() };
        // Cells of the screen and of the window; in pixels, 13 asks where it is and 14 to 16 how large.
        let about = number - 10;
        self.answers.give(Form::control_about(0, b't', about), answer);
    }

    /// DECRQSS: a setting, as the sequence that makes it.
    pub(crate) fn answer_setting(&mut self, setting: &[u8]) {
        let value = match setting {
            b"m" => {
                let mut text = String::new();
                self.screen().cursor.pen.write(&mut text);
                Some(text.split_off(2))
            }
            b"r" => Some(format!("{};{}r", self.margins.0 + 1, self.margins.1)),
            b"s" => Some(format!("{};{}s", self.sides.0 + 1, self.sides.1)),
            b"t" => Some(format!("{}t", self.rows)),
            b"$|" => Some(format!("{}$|", self.columns)),
            b"*|" => Some(format!("{}*|", self.rows)),
            b"*x" => Some(format!("{}*x", 2 * u8::from(self.changes_rectangles))),
            // Where nothing else was asked for, as the attributes say; with controls of seven bits.
            b"\"p" => Some(format!("{};1\"p", self.level.unwrap_or(62))),
            b"\"q" => {
                let protection = self.screen().cursor.pen.protection;
                Some(format!("{}\"q", u8::from(protection == Protection::Selective)))
            }
            // There is no status line.
            b"$}" | b"$~" => Some(format!("0{}", String::from_utf8_lossy(setting))),
            b" q" => Some(format!("{} q", self.cursor_shape)),
            _ => None,
        };
        let answer = value.map_or("\x1bP0$r\x1b\\".to_owned(), |value| format!("\x1bP1$r{value}\x1b\\"));
        self.answers.give(Form::device(b'$', b'r'), answer);
    }

    /// XTGETTCAP: no capability is known.
    pub(crate) fn answer_capability(&mut self) {
        self.answers.give(Form::device(b'+', b'r'), "\x1bP0+r\x1b\\".to_owned());
    }

    /// A colour, where the app itself has set it; what it is at first only a real terminal knows.
    pub(crate) fn answer_color(&mut self, command: u16, number: &str, spec: Option<Box<str>>) {
        let about = number.strip_prefix("4;").and_then(|index| index.parse().ok()).unwrap_or(0);
        let spec = spec.as_deref().and_then(crate::palette::as_rgb);
        let answer = spec.map_or_else(String::new, |spec| format!("\x1b]{number};{spec}\x1b\\"));
        self.answers.give(Form::command_about(command, about), answer);
    }
}
