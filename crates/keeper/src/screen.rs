//! What one terminal shows, by offsets into its ring.

use sessile_model::api;
use sessile_model::spec::WindowSize;
use sessile_terminal::{Commands, DEFAULT_LINES, Mark, Scrollback, Terminal};

/// Most bytes of lines that scrolled off in one answer.
const MAX_HISTORY: usize = 4 << 20;

/// What a terminal shows, fed with the bytes its app wrote.
#[derive(Debug)]
pub struct ScreenModel {
    terminal: Terminal,
    /// Ring offset up to which the model has been fed.
    offset: u64,
    /// What was asked before this ring offset was answered already.
    answered: u64,
    /// What a shell said of its commands.
    commands: Commands,
    /// It has said more since that was last asked.
    commands_changed: bool,
}

impl ScreenModel {
    /// An empty screen that will be fed from this ring offset on.
    pub fn new(size: WindowSize, offset: u64) -> Self {
        Self {
            terminal: Terminal::new(size, DEFAULT_LINES),
            offset,
            answered: 0,
            commands: Commands::default(),
            commands_changed: false,
        }
    }

    /// One that is fed again what another was fed up to `answered`.
    pub fn again(size: WindowSize, offset: u64, answered: u64) -> Self {
        Self { answered, ..Self::new(size, offset) }
    }

    /// Ring offset up to which the model has been fed.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Feeds bytes that start at ring offset `start`.
    pub fn feed(&mut self, start: u64, bytes: &[u8]) {
        let known = usize::try_from(self.answered.saturating_sub(start)).unwrap_or(usize::MAX);
        let (known, new) = bytes.split_at(known.min(bytes.len()));
        // The terminal counts what it is fed, whatever that was before.
        let base = start.wrapping_sub(self.terminal.position());
        self.terminal.feed(known);
        if !known.is_empty() {
            self.terminal.take_answers();
        }
        self.terminal.feed(new);
        self.offset = start + bytes.len() as u64;
        for Mark { kind, start, end, shell } in self.terminal.take_marks() {
            let (start, end) = (base.wrapping_add(start), base.wrapping_add(end));
            self.commands_changed |= self.commands.note(&Mark { kind, start, end, shell });
        }
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

    /// What a terminal answers to what the app asked in what was fed since.
    pub fn take_answers(&mut self) -> Vec<u8> {
        self.terminal.take_answers().into_iter().flat_map(|answer| answer.bytes).collect()
    }

    /// Follows the terminal's size.
    pub fn resize(&mut self, size: WindowSize) {
        self.terminal.resize(size);
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
