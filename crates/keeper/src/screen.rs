//! What one terminal shows, by offsets into its ring.

use sessile_model::api;
use sessile_model::spec::WindowSize;
use sessile_terminal::{Commands, DEFAULT_LINES, Question, Scrollback, Terminal, Viewport, private_mode};

use crate::saved_screen::Snapshot;

/// Most bytes of lines that scrolled off in one answer.
const MAX_HISTORY: usize = 4 << 20;

/// What a terminal shows, fed with the bytes its app wrote.
#[derive(Debug)]
pub struct ScreenModel {
    terminal: Terminal,
    /// Ring offset up to which the model has been fed.
    offset: u64,
    /// Ring offset at which its size changed last: what was written before fits no terminal of today's.
    resized_at: u64,
    /// What a shell said of its commands.
    commands: Commands,
    /// It has said more since that was last asked.
    commands_changed: bool,
}

impl ScreenModel {
    /// An empty screen that will be fed from this ring offset on.
    pub fn new(size: WindowSize, offset: u64) -> Self {
        let mut terminal = Terminal::new(size, DEFAULT_LINES);
        terminal.count_from(offset);
        Self { terminal, offset, resized_at: 0, commands: Commands::default(), commands_changed: false }
    }

    /// One as another was when it was saved.
    pub fn restore(saved: &Snapshot) -> Self {
        let mut model = Self::new(saved.size, saved.offset);
        model.terminal.feed(&saved.dump);
        model.terminal.take_questions();
        model.terminal.take_marks();
        model.terminal.take_tokens();
        model.terminal.count_from(saved.offset);
        // It may have changed just before it was saved.
        model.resized_at = saved.offset;
        model
    }

    /// Ring offset up to which the model has been fed.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Feeds bytes that start at ring offset `start`.
    pub fn feed(&mut self, start: u64, bytes: &[u8]) {
        if start != self.offset {
            self.terminal.count_from(start);
        }
        self.terminal.feed(bytes);
        self.offset = start + bytes.len() as u64;
        for mark in self.terminal.take_marks() {
            self.commands_changed |= self.commands.note(&mark);
        }
    }

    /// Whether the app asked to be told what is pasted (DECSET 2004).
    pub fn takes_pastes(&self) -> bool {
        self.terminal.mode(private_mode::BRACKETED_PASTE)
    }

    /// What a shell said of its commands.
    pub fn commands(&self) -> &Commands {
        &self.commands
    }

    /// Takes what a predecessor knew of them.
    pub fn remember(&mut self, commands: Commands) {
        self.commands = commands;
    }

    /// The shell has ended, and what it ran with it.
    pub fn end_commands(&mut self, status: Option<i32>) {
        self.commands_changed |= self.commands.end(self.offset, status);
    }

    /// Whether a shell said more since this was last asked.
    pub fn take_commands_changed(&mut self) -> bool {
        std::mem::take(&mut self.commands_changed)
    }

    /// What the app asked of its terminal in what was fed since, by ring offsets.
    pub fn take_questions(&mut self) -> Vec<Question> {
        self.terminal.take_questions()
    }

    /// The clients, by their numbers, whose terminals' output has come back.
    pub fn take_returned(&mut self) -> Vec<u64> {
        self.terminal.take_tokens()
    }

    /// Ring offset up to which it is known what is a question.
    pub fn understood(&self) -> u64 {
        self.terminal.open_sequence().unwrap_or(self.offset)
    }

    /// Follows the terminal's size, once this much has been written.
    pub fn resize(&mut self, size: WindowSize, written: u64) {
        self.terminal.resize(size);
        self.resized_at = written;
    }

    /// Ring offset from which on everything was written for its size.
    pub fn resized_at(&self) -> u64 {
        self.resized_at
    }

    /// The size.
    pub fn size(&self) -> WindowSize {
        self.terminal.size()
    }

    /// Bytes that make a terminal of the same size show the same. What the app writes from this
    /// offset on fits to them.
    pub fn dump(&self, scrollback: Scrollback) -> Vec<u8> {
        self.terminal.dump(scrollback)
    }

    /// The same as [`Self::dump`] at the offset that comes with it: where a sequence is not complete, at
    /// its beginning, so that nobody is given half a question. Not before `oldest`.
    pub fn dump_understood(&self, scrollback: Scrollback, oldest: u64) -> (u64, Vec<u8>) {
        match self.terminal.open_sequence().filter(|&start| start >= oldest) {
            Some(start) => (start, self.terminal.dump_before_sequence(scrollback)),
            None => (self.offset, self.dump(scrollback)),
        }
    }

    /// What makes a window show its part of the screen as it is now, and a notice in its last row.
    pub fn draw_part(&self, viewport: &mut Viewport, notice: Option<&str>) -> Vec<u8> {
        viewport.draw(&self.terminal, notice)
    }

    /// The text of the screen, one line per row, trailing blanks removed.
    pub fn text(&self) -> String {
        self.terminal.text()
    }

    /// The text of the screen with the blanks that were written at the ends of rows.
    pub fn untrimmed_text(&self) -> String {
        self.terminal.untrimmed_text()
    }

    /// The screen as the API shows it, with so many lines of what scrolled off.
    pub fn describe(&self, history: usize) -> api::Screen {
        let WindowSize { cols, rows } = self.size();
        api::Screen {
            cols,
            rows,
            lines: self.text().split('\n').map(str::to_owned).collect(),
            cursor: self.terminal.cursor(),
            cursor_visible: self.terminal.cursor_is_visible(),
            alternate: self.terminal.is_alternate(),
            title: self.terminal.title().to_owned(),
            offset: self.offset,
            grid: self.terminal.grid(),
            history: self.terminal.history_grid(history, MAX_HISTORY),
            history_lines: self.terminal.history_lines() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_at_an_offset_is_followed_by_the_bytes_from_there_on() {
        let size = WindowSize { cols: 20, rows: 4 };
        let bytes = "one\r\n\x1b[31mtw\u{f6}\x1b[m\r\nthree".as_bytes();
        let mut whole = ScreenModel::new(size, 0);
        whole.feed(0, bytes);
        for at in 0..bytes.len() {
            let mut model = ScreenModel::new(size, 0);
            model.feed(0, &bytes[..at]);
            let mut again = ScreenModel::new(size, model.offset());
            again.feed(0, &model.dump(Scrollback::With));
            again.feed(model.offset(), &bytes[at..]);
            assert_eq!(again.describe(9), whole.describe(9), "at {at}");
        }
    }
}
