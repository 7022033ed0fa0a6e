//! Answers to what an app asks of its terminal, for when no other terminal answers.

use std::ops::Range;

use crate::modes::private;
use crate::state::State;

/// Most bytes of answers that wait for who takes them; beyond, questions go unanswered.
const MAX_WAITING: usize = 4 << 10;

/// A question, by the bytes that ask it, and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Where in what was fed the question stands.
    pub question: Range<u64>,
    /// What a terminal writes back.
    pub bytes: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Answers {
    waiting: Vec<Answer>,
    bytes: usize,
    /// Where the sequence that is being carried out stands.
    pub(crate) sequence: Range<u64>,
}

impl Answers {
    fn give(&mut self, bytes: String) {
        self.bytes += bytes.len();
        if self.bytes <= MAX_WAITING {
            self.waiting.push(Answer { question: self.sequence.clone(), bytes: bytes.into_bytes() });
        }
    }

    pub(crate) fn take(&mut self) -> Vec<Answer> {
        self.bytes = 0;
        std::mem::take(&mut self.waiting)
    }
}

impl State {
    /// DA: what kind of terminal this is (a VT220 with colours).
    pub(crate) fn answer_attributes(&mut self, kind: Option<u8>) {
        self.answers.give(match kind {
            None => "\x1b[?62;22c".to_owned(),
            Some(b'>') => "\x1b[>1;10;0c".to_owned(),
            Some(b'=') => "\x1bP!|00000000\x1b\\".to_owned(),
            Some(_) => return,
        });
    }

    /// DSR: how it is, and where the cursor.
    pub(crate) fn answer_status(&mut self, private: bool, number: u16) {
        let cursor = self.screen().cursor;
        let top = if self.modes.private(private::ORIGIN) { self.margins.0 } else { 0 };
        let (row, column) = (cursor.row.saturating_sub(top) + 1, cursor.column + 1);
        self.answers.give(match (private, number) {
            (false, 5) => "\x1b[0n".to_owned(),
            (false, 6) => format!("\x1b[{row};{column}R"),
            (true, 6) => format!("\x1b[?{row};{column};1R"),
            _ => return,
        });
    }

    /// DECRQM: whether a mode is set.
    pub(crate) fn answer_mode(&mut self, private: bool, number: u16) {
        let (prefix, report) = if private {
            let screen = matches!(number, 47 | 1047 | 1049);
            let shown = 2 - u8::from(self.on_alternate);
            ("?", if screen { shown } else { self.modes.report_private(number) })
        } else {
            ("", self.modes.report_ansi(number))
        };
        self.answers.give(format!("\x1b[{prefix}{number};{report}$y"));
    }

    /// XTVERSION.
    pub(crate) fn answer_version(&mut self) {
        self.answers.give(format!("\x1bP>|sessile({})\x1b\\", env!("CARGO_PKG_VERSION")));
    }

    /// The kitty keyboard protocol's flags.
    pub(crate) fn answer_keyboard(&mut self) {
        let flags = self.keyboard[usize::from(self.on_alternate)].last().copied().unwrap_or(0);
        self.answers.give(format!("\x1b[?{flags}u"));
    }

    /// The size in cells.
    pub(crate) fn answer_size(&mut self) {
        let (rows, columns) = (self.rows, self.columns);
        self.answers.give(format!("\x1b[8;{rows};{columns}t"));
    }

    /// DECRQSS: a setting, as the sequence that makes it.
    pub(crate) fn answer_setting(&mut self, setting: &[u8]) {
        let value = match setting {
            b"m" => {
                let mut text = String::new();
                self.screen().cursor.pen.write(&mut text);
                text.split_off(2)
            }
            b"r" => format!("{};{}r", self.margins.0 + 1, self.margins.1),
            b" q" => format!("{} q", self.cursor_shape),
            _ => {
                self.answers.give("\x1bP0$r\x1b\\".to_owned());
                return;
            }
        };
        self.answers.give(format!("\x1bP1$r{value}\x1b\\"));
    }

    /// XTGETTCAP: no capability is known.
    pub(crate) fn answer_capability(&mut self) {
        self.answers.give("\x1bP0+r\x1b\\".to_owned());
    }

    /// A colour, where the app itself has set it; what it is at first only a real terminal knows.
    pub(crate) fn answer_color(&mut self, number: &str, spec: Option<Box<str>>) {
        if let Some(spec) = spec.as_deref().and_then(crate::palette::as_rgb) {
            self.answers.give(format!("\x1b]{number};{spec}\x1b\\"));
        }
    }
}
