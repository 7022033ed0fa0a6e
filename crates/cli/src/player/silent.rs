//! What an app wrote, without what it asked of its terminal: this one's answers would be typed to whoever reads
//! it next.

use sessile_model::spec::WindowSize;
use sessile_terminal::Terminal;

/// Leaves questions out of output that comes in any pieces.
pub struct Silent {
    terminal: Terminal,
    /// Bytes that were fed.
    fed: u64,
    /// The last of them that are still to be given: they may become a question.
    held: Vec<u8>,
}

impl Default for Silent {
    fn default() -> Self {
        Self { terminal: Terminal::new(WindowSize::default(), 0), fed: 0, held: Vec::new() }
    }
}

impl Silent {
    /// Takes a piece, and gives what is to be written now.
    pub fn pass(&mut self, piece: &[u8]) -> Vec<u8> {
        let start = self.fed - self.held.len() as u64;
        self.held.extend_from_slice(piece);
        self.terminal.feed(piece);
        self.fed += piece.len() as u64;
        let length = self.held.len();
        let place = |at: u64| usize::try_from(at.saturating_sub(start)).unwrap_or(usize::MAX).min(length);
        let known = place(self.terminal.open_sequence().unwrap_or(self.fed));
        let mut shown = std::mem::take(&mut self.held);
        self.held = shown.split_off(known);
        for question in self.terminal.take_questions().iter().rev() {
            shown.drain(place(question.at.start).min(known)..place(question.at.end).min(known));
        }
        self.terminal.take_marks();
        self.terminal.take_tokens();
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_left_out_however_they_are_cut() {
        let text = b"one\x1b[6n two\x1b[31m red\x1b[m\x1b[c\x1b]11;?\x07 \xe4\xb8\xad\x1b[?u\x1b[>q\x1bP$qm\x1b\\ end\x1b[2;1H.";
        let expected = "one two\u{1b}[31m red\u{1b}[m \u{4e2d} end\u{1b}[2;1H.";
        for cut in 0..text.len() {
            let mut silent = Silent::default();
            let shown = [silent.pass(&text[..cut]), silent.pass(&text[cut..])].concat();
            assert_eq!(String::from_utf8(shown).as_deref(), Ok(expected), "at {cut}");
        }
        let mut silent = Silent::default();
        let shown: Vec<u8> = text.iter().flat_map(|byte| silent.pass(&[*byte])).collect();
        assert_eq!(String::from_utf8(shown).as_deref(), Ok(expected));
    }
}
