//! The screen model of one terminal, behind the few questions the keeper asks of it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use sessile_model::api;
use sessile_model::spec::WindowSize;

/// What a terminal shows, fed with the bytes its app wrote.
pub struct ScreenModel {
    parser: vt100::Parser<Title>,
    strings: StringLimit,
    /// Ring offset up to which the model has been fed.
    offset: u64,
}

impl std::fmt::Debug for ScreenModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScreenModel").field("offset", &self.offset).finish_non_exhaustive()
    }
}

/// Keeps the window title, which the parser only reports.
#[derive(Default)]
struct Title(String);

/// Longest title kept, in bytes.
const MAX_TITLE: usize = 1024;

impl vt100::Callbacks for Title {
    fn set_window_title(&mut self, _: &mut vt100::Screen, title: &[u8]) {
        self.0 = String::from_utf8_lossy(&title[..title.len().min(MAX_TITLE)]).into_owned();
    }
}

impl ScreenModel {
    /// An empty screen that will be fed from this ring offset on.
    pub fn new(size: WindowSize, offset: u64) -> Self {
        Self { parser: fresh(size), strings: StringLimit::default(), offset }
    }

    /// Ring offset up to which the model has been fed.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Feeds bytes that start at ring offset `start`.
    pub fn feed(&mut self, start: u64, bytes: &[u8]) {
        let (parser, strings) = (&mut self.parser, &mut self.strings);
        // The parser is not ours: if hostile bytes make it panic, the screen starts afresh and the
        // session goes on.
        let feed = || strings.pass(bytes, |part| parser.process(part));
        if catch_unwind(AssertUnwindSafe(feed)).is_err() {
            self.parser = fresh(self.size());
        }
        self.offset = start + bytes.len() as u64;
    }

    /// Follows the terminal's size.
    pub fn resize(&mut self, size: WindowSize) {
        let parser = &mut self.parser;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let screen = parser.screen();
            let (row, _) = screen.cursor_position();
            if row >= size.rows && !screen.alternate_screen() {
                // The rows above scroll away, as on a real terminal, not those that were written
                // last.
                let rows = row + 1 - size.rows;
                parser.process(format!("\x1b[r\x1b[{rows}S\x1b[{};1H", size.rows).as_bytes());
            }
            parser.screen_mut().set_size(size.rows, size.cols);
        }));
        if outcome.is_err() {
            self.parser = fresh(size);
        }
    }

    /// The size.
    pub fn size(&self) -> WindowSize {
        let (rows, cols) = self.parser.screen().size();
        WindowSize { cols, rows }
    }

    /// Bytes that draw the screen on a terminal of the same size: reset, switch to the right
    /// screen, contents, attributes, modes, cursor, title.
    pub fn dump(&self) -> Vec<u8> {
        let screen = self.parser.screen();
        let mut out = Vec::with_capacity(4096);
        // Soft reset, default attributes, then the main or alternate screen.
        out.extend_from_slice(b"\x1b[!p\x1b[m\x1b[r");
        out.extend_from_slice(if screen.alternate_screen() { b"\x1b[?1049h" } else { b"\x1b[?1049l" });
        out.extend_from_slice(b"\x1b[H\x1b[2J");
        out.extend_from_slice(&screen.state_formatted());
        let title: String = self.parser.callbacks().0.chars().filter(|c| !c.is_control()).collect();
        if !title.is_empty() {
            out.extend_from_slice(format!("\x1b]2;{title}\x1b\\").as_bytes());
        }
        out
    }

    /// The text of the screen, one line per row, trailing blanks removed.
    pub fn text(&self) -> String {
        let screen = self.parser.screen();
        let (_, cols) = screen.size();
        let rows: Vec<String> = screen.rows(0, cols).map(|row| row.trim_end().to_owned()).collect();
        rows.join("\n")
    }

    /// The text of the screen with the blanks that were written at the ends of rows.
    pub fn untrimmed_text(&self) -> String {
        let screen = self.parser.screen();
        let (_, cols) = screen.size();
        screen.rows(0, cols).collect::<Vec<String>>().join("\n")
    }

    /// The screen as the API shows it.
    pub fn describe(&self) -> api::Screen {
        let screen = self.parser.screen();
        let (rows, cols) = screen.size();
        api::Screen {
            cols,
            rows,
            lines: screen.rows(0, cols).map(|row| row.trim_end().to_owned()).collect(),
            cursor: screen.cursor_position(),
            cursor_visible: !screen.hide_cursor(),
            alternate: screen.alternate_screen(),
            title: self.parser.callbacks().0.clone(),
            offset: self.offset,
        }
    }
}

fn fresh(size: WindowSize) -> vt100::Parser<Title> {
    vt100::Parser::new_with_callbacks(size.rows, size.cols, 0, Title::default())
}

/// Longest operating system command (OSC) handed to the parser, which keeps it whole in memory
/// until its end.
const MAX_STRING: usize = 16 << 10;

/// Leaves out what an endless OSC string has too much of.
#[derive(Debug, Default)]
struct StringLimit {
    state: StringState,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum StringState {
    #[default]
    Ground,
    /// After ESC.
    Escape,
    /// Within a string of so many bytes.
    Inside(usize),
}

impl StringLimit {
    /// Hands on everything but the surplus of strings, in as few parts as possible.
    fn pass(&mut self, bytes: &[u8], mut on: impl FnMut(&[u8])) {
        let mut from = 0;
        for (at, &byte) in bytes.iter().enumerate() {
            let was = self.state;
            self.state = match (was, byte) {
                (StringState::Escape, b']') => StringState::Inside(0),
                (_, 0x1b) => StringState::Escape,
                // BEL, CAN and SUB end a string; ESC begins its terminator.
                (StringState::Inside(_), 0x07 | 0x18 | 0x1a)
                | (StringState::Ground | StringState::Escape, _) => StringState::Ground,
                (StringState::Inside(length), _) => StringState::Inside(length.saturating_add(1)),
            };
            let surplus = |state| matches!(state, StringState::Inside(length) if length > MAX_STRING);
            match (surplus(was), surplus(self.state)) {
                (false, true) => on(&bytes[from..at]),
                (true, false) => from = at,
                (false, false) | (true, true) => {}
            }
        }
        let ends_in_surplus = matches!(self.state, StringState::Inside(length) if length > MAX_STRING);
        if !ends_in_surplus {
            on(&bytes[from..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn passed(parts: &[&[u8]]) -> Vec<u8> {
        let mut limit = StringLimit::default();
        let mut out = Vec::new();
        for part in parts {
            limit.pass(part, |bytes| out.extend_from_slice(bytes));
        }
        out
    }

    #[test]
    fn an_endless_string_is_cut_and_what_follows_is_not() {
        let long = vec![b'A'; 3 * MAX_STRING];
        let out = passed(&[b"a\x1b]0;", &long, &long, b"\x07after"]);
        assert!(out.len() < 2 * MAX_STRING && out.starts_with(b"a\x1b]0;") && out.ends_with(b"\x07after"));
        let ordinary = b"\x1b]0;title\x07text \x1b[31m]\x1b]8;;x\x1b\\link";
        assert_eq!(passed(&[ordinary]), ordinary);
    }

    #[test]
    fn shrinking_keeps_what_was_written_last() {
        let mut model = ScreenModel::new(WindowSize { cols: 20, rows: 30 }, 0);
        let text: String = (1..=29).map(|n| format!("line {n}\r\n")).collect();
        model.feed(0, format!("{text}last").as_bytes());
        model.resize(WindowSize { cols: 20, rows: 10 });
        assert!(model.text().ends_with("line 29\nlast"), "{}", model.text());
    }

    #[test]
    fn a_dump_redraws_the_screen() {
        let size = WindowSize { cols: 20, rows: 4 };
        let mut model = ScreenModel::new(size, 0);
        let bytes = b"\x1b]2;build\x07one\r\n\x1b[31mtwo\x1b[m\r\n\x1b[?2004h";
        model.feed(0, bytes);
        let mut again = ScreenModel::new(size, 0);
        again.feed(0, &model.dump());
        assert_eq!(model.text(), again.text());
        assert_eq!(model.describe().cursor, again.describe().cursor);
        assert_eq!(again.describe().title, "build");
        assert_eq!(model.offset(), bytes.len() as u64);
    }

    proptest! {
        #[test]
        fn hostile_bytes_and_sizes_do_no_harm(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
            cols in 1u16..200, rows in 1u16..100,
        ) {
            let mut model = ScreenModel::new(WindowSize { cols: 80, rows: 24 }, 0);
            model.feed(0, &bytes);
            model.resize(WindowSize { cols, rows });
            model.feed(bytes.len() as u64, &bytes);
            let _ = (model.dump(), model.text(), model.describe());
        }
    }
}
