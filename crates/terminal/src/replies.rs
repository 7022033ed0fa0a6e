//! What a terminal answers, as apps read it among what is typed.

use vte::{Params, Parser, Perform};

/// What an answer looks like, as far as it tells which question it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// A control sequence: what stands first in it (0: a number), and how it ends.
    Control {
        /// `?`, `>`, or 0.
        prefix: u8,
        /// Its last byte.
        last: u8,
        /// What it is about, by the number in it: which mode, which size. 0 where all are about the same.
        about: u16,
    },
    /// A device control string, by its intermediate and its last byte.
    Device {
        /// The intermediate.
        intermediate: u8,
        /// The byte before its text.
        last: u8,
    },
    /// An operating system command.
    Command {
        /// Its number.
        number: u16,
        /// Which colour, of those that are numbered.
        about: u16,
    },
}

impl Form {
    pub(crate) const fn control(prefix: u8, last: u8) -> Self {
        Self::control_about(prefix, last, 0)
    }

    pub(crate) const fn control_about(prefix: u8, last: u8, about: u16) -> Self {
        Self::Control { prefix, last, about }
    }

    pub(crate) const fn device(intermediate: u8, last: u8) -> Self {
        Self::Device { intermediate, last }
    }

    pub(crate) const fn command(number: u16) -> Self {
        Self::command_about(number, 0)
    }

    pub(crate) const fn command_about(number: u16, about: u16) -> Self {
        Self::Command { number, about }
    }
}

/// What an answer is about whose first number this is, as its question names it.
fn subject(prefix: u8, last: u8, first: u16) -> u16 {
    match (prefix, last) {
        // A window is open (1) or not (2).
        (0, b't') => {
            if first == 2 {
                1
            } else {
                first
            }
        }
        // DSR of DEC's own: each question has numbers of its own for how things are (VT510 manual).
        (b'?', b'n') => match first {
            10..=19 => 15,
            20 | 21 => 25,
            27 => 26,
            50..=55 => 55,
            57 => 56,
            70..=79 => 75,
            80..=89 => 85,
            other => other,
        },
        // DECRPM, XTQMODKEYS and XTSMGRAPHICS say what was asked.
        (_, b'y') | (b'>', b'm') | (b'?', b'S') => first,
        _ => 0,
    }
}

/// Something that came from a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// A sequence that may be an answer. Some keys look alike: F3 with a modifier, and where the
    /// cursor is.
    Sequence(Form),
    /// That its window has or has lost the focus.
    Focus,
    /// A key, or anything else that nobody asked for.
    Typed,
}

/// Longest sequence that is read; what is longer is typed.
const MAX_SEQUENCE: usize = 4 << 10;

/// Reads what a terminal says, wherever it is cut.
#[derive(Default)]
pub struct Replies {
    parser: Parser,
    said: Vec<Said>,
    /// Bytes read since something came to its end.
    open: usize,
}

impl std::fmt::Debug for Replies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replies").finish_non_exhaustive()
    }
}

impl Replies {
    /// What came to its end with these bytes. Of what is typed one after the other, one is told.
    pub fn read(&mut self, bytes: &[u8]) -> Vec<Said> {
        let Self { parser, said, open } = self;
        for piece in bytes.chunks(MAX_SEQUENCE) {
            let before = said.len();
            parser.advance(&mut Ear(said), piece);
            *open = if said.len() > before { 0 } else { *open + piece.len() };
            if *open > MAX_SEQUENCE {
                *parser = Parser::new();
                *open = 0;
                said.push(Said::Typed);
            }
        }
        std::mem::take(said)
    }
}

struct Ear<'a>(&'a mut Vec<Said>);

impl Ear<'_> {
    fn typed(&mut self) {
        if self.0.last() != Some(&Said::Typed) {
            self.0.push(Said::Typed);
        }
    }

    fn sequence(&mut self, form: Form) {
        self.0.push(Said::Sequence(form));
    }
}

impl Perform for Ear<'_> {
    fn print(&mut self, _: char) {
        self.typed();
    }

    fn execute(&mut self, _: u8) {
        self.typed();
    }

    fn csi_dispatch(&mut self, parameters: &Params, intermediates: &[u8], _: bool, action: char) {
        let prefix = intermediates.first().copied().filter(|byte| (b'<'..=b'?').contains(byte)).unwrap_or(0);
        match action {
            'I' | 'O' if prefix == 0 && parameters.len() <= 1 => self.0.push(Said::Focus),
            'c' | 'n' | 'R' | 'y' | 'u' | 't' | 'm' | 'S' | 'x' if prefix != b'<' => {
                let first = parameters.iter().next().and_then(|first| first.first()).copied().unwrap_or(0);
                let about = subject(prefix, action as u8, first);
                self.sequence(Form::control_about(prefix, action as u8, about));
            }
            _ => self.typed(),
        }
    }

    fn hook(&mut self, _: &Params, intermediates: &[u8], _: bool, action: char) {
        let intermediate = intermediates.first().copied().unwrap_or(0);
        self.sequence(Form::device(intermediate, u8::try_from(action).unwrap_or(0)));
    }

    fn osc_dispatch(&mut self, parameters: &[&[u8]], _: bool) {
        let read = |at: usize| std::str::from_utf8(parameters.get(at)?).ok()?.parse::<u16>().ok();
        match read(0) {
            // Of numbered colours, each is a matter of its own.
            Some(4) => self.sequence(Form::command_about(4, read(1).unwrap_or(0))),
            Some(number) => self.sequence(Form::command(number)),
            None => self.typed(),
        }
    }

    fn esc_dispatch(&mut self, intermediates: &[u8], _: bool, byte: u8) {
        // What ends a string comes this way, too.
        if !(byte == b'\\' && intermediates.is_empty()) {
            self.typed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DEFAULT_LINES, Terminal};

    /// Each answer has the form that its question promises, and reads as nothing else.
    #[test]
    fn answers_have_the_form_of_their_questions() {
        let questions = "\x1b[c\x1b[>c\x1b[=c\x1bZ\x1b[5n\x1b[6n\x1b[?6n\x1b[?25$p\x1b[4$p\x1b[>q\x1b[?u\x1b[18t\
                         \x1b[?15n\x1b[?25n\x1b[?26n\x1b[?53n\x1b[?55n\x1b[?56n\x1b[?75n\x1b[?85n\
                         \x1bP$qm\x1b\\\x1bP$qx\x1b\\\x1bP+q544e\x1b\\\x1b]11;red\x07\x1b]11;?\x07\x1b]4;3;#010203\x07\x1b]4;3;?\x1b\\";
        let mut terminal = Terminal::new(sessile_model::spec::WindowSize::default(), DEFAULT_LINES);
        let mut told = 0;
        for byte in questions.bytes() {
            terminal.feed(&[byte]);
            for question in terminal.take_questions() {
                if question.answer.is_empty() {
                    assert_eq!(question.form, Form::command(11), "red has no numbers here");
                    continue;
                }
                let said = Replies::default().read(&question.answer);
                assert_eq!(said, [Said::Sequence(question.form)], "{question:?}");
                let mut cut = Replies::default();
                let pieces: Vec<Said> = question.answer.iter().flat_map(|byte| cut.read(&[*byte])).collect();
                assert_eq!(pieces, said);
                told += 1;
            }
        }
        assert_eq!(told, 24);
    }

    /// However the bytes are cut, a question's place is that of all its bytes.
    #[test]
    fn a_question_is_where_its_bytes_are() {
        let text = b"\x1b]2;t\x1b\\ab\x1b]11;?\x1b\\c\x1b]2;cut\x1b[6nd\x1b[\r5n\x1b[1\x1b[5ne\x1bP+q5\x1b\\\x1b]4;1;?;2;?\x07";
        let wanted: [&[u8]; 7] = [
            b"\x1b]11;?\x1b\\",
            b"\x1b[6n",
            b"\x1b[\r5n",
            b"\x1b[5n",
            b"\x1bP+q5\x1b\\",
            b"\x1b]4;1;?;2;?\x07",
            b"\x1b]4;1;?;2;?\x07",
        ];
        for size in [1, 2, 3, 5, 7, text.len()] {
            let mut terminal = Terminal::new(sessile_model::spec::WindowSize::default(), DEFAULT_LINES);
            let (mut asked, mut fed) = (Vec::new(), 0);
            for piece in text.chunks(size) {
                terminal.feed(piece);
                fed += piece.len();
                let open = terminal.open_sequence().unwrap_or(fed as u64) as usize;
                for question in terminal.take_questions() {
                    assert!(question.at.end as usize <= open, "it was taken before it was over");
                    asked.push(question.at);
                }
                assert!(terminal.open_sequence().is_none_or(|start| text[start as usize] == 0x1b));
            }
            let asked: Vec<&[u8]> =
                asked.iter().map(|at| &text[at.start as usize..at.end as usize]).collect();
            assert_eq!(asked, wanted, "in pieces of {size}");
        }
    }

    #[test]
    fn a_terminal_counts_on_from_any_number() {
        let mut terminal = Terminal::new(sessile_model::spec::WindowSize::default(), DEFAULT_LINES);
        terminal.feed(b"drawn\x1b[6");
        terminal.count_from(1000);
        assert_eq!(terminal.open_sequence(), Some(997));
        terminal.feed(b"n");
        assert_eq!(terminal.take_questions()[0].at, 997..1001);
    }

    #[test]
    fn what_never_ends_is_typed() {
        let mut replies = Replies::default();
        assert_eq!(replies.read(b"\x1b]11;"), []);
        assert_eq!(replies.read(&[b'x'; 2 * MAX_SEQUENCE]), [Said::Typed]);
        assert_eq!(replies.read(b"\x1b[?1u"), [Said::Sequence(Form::control(b'?', b'u'))]);
    }

    #[test]
    fn keys_are_typed() {
        let read = |bytes: &[u8]| Replies::default().read(bytes);
        for keys in
            [&b"ls\r"[..], b"\x1b[A", b"\x1bOP", b"\x1b[15~", b"\x1b[<0;3;4M", b"\x03", "é".as_bytes()]
        {
            assert_eq!(read(keys), [Said::Typed], "{keys:?}");
        }
        assert_eq!(read(b"\x1b[I"), [Said::Focus]);
        assert_eq!(read(b"a\x1b[2;3Rb"), [Said::Typed, Said::Sequence(Form::control(0, b'R')), Said::Typed]);
    }
}
