//! The screen model of one terminal, behind the few questions the keeper asks of it.

mod sieve;

use std::panic::{AssertUnwindSafe, catch_unwind};

use sessile_model::api;
use sessile_model::spec::WindowSize;

pub use self::sieve::Sieve;

/// What a terminal shows, fed with the bytes its app wrote.
pub struct ScreenModel {
    parser: vt100::Parser<Title>,
    sieve: Sieve,
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
        Self { parser: fresh(size), sieve: Sieve::default(), offset }
    }

    /// Ring offset up to which the model has been fed.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Feeds bytes that start at ring offset `start`.
    pub fn feed(&mut self, start: u64, bytes: &[u8]) {
        let (rows, cols) = self.parser.screen().size();
        let (parser, sieve) = (&mut self.parser, &mut self.sieve);
        // The parser is not ours: if hostile bytes make it panic, the screen starts afresh and the
        // session goes on.
        let feed = || sieve.pass(bytes, rows.max(cols), |part| parser.process(part));
        if catch_unwind(AssertUnwindSafe(feed)).is_err() {
            self.begin_anew(WindowSize { cols, rows });
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
            self.begin_anew(size);
        }
    }

    /// After a panic neither the parser nor the sieve knows where in the bytes it is.
    fn begin_anew(&mut self, size: WindowSize) {
        self.parser = fresh(size);
        self.sieve = Sieve::default();
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hostile_counts_cost_no_more_than_the_screen() {
        let mut model = ScreenModel::new(WindowSize { cols: 80, rows: 24 }, 0);
        // Without a limit, this is hours of work.
        let flood = b"\x1b[65535@\x1b[65535L\x1b[65535T".repeat(4000);
        model.feed(0, &flood);
        model.feed(0, b"\x1b[Hhere");
        assert!(model.text().starts_with("here"), "{}", model.text());
    }

    #[test]
    fn after_a_panic_of_the_parser_everything_begins_anew() {
        let mut model = ScreenModel::new(WindowSize { cols: 1, rows: 1 }, 0);
        // A wide character on a narrow screen is too much for the parser; what follows is begun.
        model.feed(0, "\u{4f60}\x1b[6".as_bytes());
        assert_eq!(format!("{:?}", model.sieve), format!("{:?}", Sieve::default()));
        model.feed(6, b"x");
        assert_eq!((model.text().as_str(), model.offset()), ("x", 7));
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
