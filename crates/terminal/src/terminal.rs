//! The terminal: bytes in, and where in them it is.

use sessile_model::spec::WindowSize;

use crate::answers::Answer;
use crate::marks::Mark;
use crate::parameters::Parameters;
use crate::scanner::Scanner;
use crate::state::State;

/// What a terminal shows and is, fed with the bytes an app writes.
///
/// Time and memory that bytes cost are in proportion to their number and to the size of the screen,
/// whatever they are.
pub struct Terminal {
    pub(crate) state: State,
    parser: vte::Parser,
    pub(crate) scanner: Scanner,
    /// Bytes fed.
    position: u64,
    /// As the screens were before they were resized; gone with the first byte fed after.
    pub(crate) before_resize: Option<Box<crate::resize::Before>>,
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terminal").field("position", &self.position).finish_non_exhaustive()
    }
}

impl Terminal {
    /// An empty terminal with so many lines of history at most.
    #[must_use]
    pub fn new(size: WindowSize, history: usize) -> Self {
        let (rows, columns) = (usize::from(size.rows.max(1)), usize::from(size.cols.max(1)));
        Self {
            state: State::new(rows, columns, history),
            parser: vte::Parser::new(),
            scanner: Scanner::default(),
            position: 0,
            before_resize: None,
        }
    }

    /// Rows and columns.
    #[must_use]
    pub fn size(&self) -> WindowSize {
        WindowSize { rows: self.state.rows as u16, cols: self.state.columns as u16 }
    }

    /// Feeds what an app wrote.
    pub fn feed(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.before_resize = None;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let used = if self.scanner.is_ground() { self.read_text(rest) } else { self.read_sequence(rest) };
            self.position += used as u64;
            rest = &rest[used..];
        }
    }

    /// How many bytes were fed.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Answers to what the app asked since they were last taken.
    pub fn take_answers(&mut self) -> Vec<Answer> {
        self.state.answers.take()
    }

    /// What a shell said of its commands since this was last taken.
    pub fn take_marks(&mut self) -> Vec<Mark> {
        self.state.marks.take()
    }

    /// Text and controls up to an escape. Returns how many bytes that was.
    fn read_text(&mut self, bytes: &[u8]) -> usize {
        if self.scanner.has_partial_character() {
            return self.finish_character(bytes);
        }
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            let rest = &bytes[at..];
            match byte {
                0x1b => {
                    self.state.answers.sequence.start = self.position + at as u64;
                    let Some((parameters, action, length)) =
                        rest.strip_prefix(b"\x1b[").and_then(Parameters::read)
                    else {
                        self.scanner.begin();
                        self.parser.advance(&mut self.state, &[byte]);
                        return at + 1;
                    };
                    at += 2 + length;
                    self.state.answers.sequence.end = self.position + at as u64;
                    self.state.control_sequence(&parameters, &[], char::from(action));
                }
                0x00..=0x1f | 0x7f => {
                    self.state.control(byte);
                    at += 1;
                }
                0x20.. => {
                    let length =
                        rest.iter().position(|&byte| byte < 0x20 || byte == 0x7f).unwrap_or(rest.len());
                    let run = &rest[..length];
                    if run.is_ascii() {
                        self.state.print_ascii(run);
                    } else {
                        self.characters(run, length == rest.len());
                    }
                    at += length;
                    if self.scanner.has_partial_character() {
                        return at;
                    }
                }
            }
        }
        at
    }

    /// Characters, some beyond ASCII. At the end of what was fed the last one may be cut.
    fn characters(&mut self, bytes: &[u8], is_end: bool) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let error = match std::str::from_utf8(rest) {
                Ok(text) => return self.print_text(text),
                Err(error) => error,
            };
            let (valid, invalid) = rest.split_at(error.valid_up_to());
            self.print_text(std::str::from_utf8(valid).unwrap_or_default());
            match error.error_len() {
                None if is_end => return self.scanner.hold_character(invalid),
                length => {
                    self.state.print(char::REPLACEMENT_CHARACTER);
                    rest = &invalid[length.unwrap_or(invalid.len())..];
                }
            }
        }
    }

    /// The rest of a character that was cut.
    fn finish_character(&mut self, bytes: &[u8]) -> usize {
        let mut used = 0;
        for &byte in bytes {
            let held = self.scanner.held().to_vec();
            let whole = [&held[..], &[byte]].concat();
            match std::str::from_utf8(&whole) {
                Ok(text) => {
                    self.scanner.release();
                    self.print_text(text);
                    return used + 1;
                }
                Err(error) if error.error_len().is_none() => {
                    self.scanner.hold_character(&whole);
                    used += 1;
                }
                Err(_) => {
                    // What was held is none; the byte is looked at anew.
                    self.scanner.release();
                    self.state.print(char::REPLACEMENT_CHARACTER);
                    return used;
                }
            }
        }
        used
    }

    fn print_text(&mut self, text: &str) {
        for character in text.chars() {
            // C1 controls in UTF-8: programs do not mean them.
            if !character.is_control() {
                self.state.print(character);
            }
        }
    }

    /// Bytes of an escape sequence up to its end.
    fn read_sequence(&mut self, bytes: &[u8]) -> usize {
        let (used, wanted) = self.scanner.scan(bytes);
        self.state.answers.sequence.end = self.position + used as u64;
        self.parser.advance(&mut self.state, &bytes[..wanted]);
        self.state.string_is_cut |= self.scanner.is_surplus();
        used
    }
}
