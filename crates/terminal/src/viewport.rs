//! What a terminal shows that has another size than the screen: a part of it, around the cursor; where it is larger, all
//! of it, from the first row and column on.
//!
//! It follows the cursor, as far as that is shown, and moves no more than it needs to, but to the first column
//! where that shows the cursor. It is drawn from the grid: no text wraps, and nothing scrolls. Only what is not as it was drawn last is written again.
//!
//! Of the modes those are followed that say what keys send. The mouse is left alone where not all is shown: what it
//! reports is places in the window, not on the screen.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sessile_model::spec::WindowSize;

use crate::attributes::{Protection, Style};
use crate::cell::Cell;
use crate::dump::Writer;
use crate::modes::{Modes, ansi, private};
use crate::notice::sentence;
use crate::row::Row;
use crate::state::State;
use crate::terminal::Terminal;

/// Private modes that say what the terminal sends, how wide clusters are, and whether the screen is inverted:
/// none that changes where text goes.
const FOLLOWED: [u16; 7] =
    [private::APPLICATION_CURSOR, 5, private::KEYPAD, private::FOCUS, private::BRACKETED_PASTE, 2027, 2031];
/// Private modes of the mouse, but those that count pixels.
const MOUSE: [u16; 7] = [9, 1000, 1002, 1003, 1005, 1006, 1015];
/// Takes back a level of the kitty keyboard, of which each screen has its own.
const POP_KEYBOARD: &str = "\x1b[<u";
/// A row without anything.
pub(crate) const BLANK: &str = "\x1b[K";
const CLEAR: &str = "\x1b[H\x1b[J";

/// A window on a screen that has another size, and what was drawn there last.
#[derive(Debug)]
pub struct Viewport {
    window: WindowSize,
    origin: (usize, usize),
    drawn: Option<Drawn>,
}

#[derive(Debug)]
struct Drawn {
    window: WindowSize,
    screen: WindowSize,
    on_alternate: bool,
    rows: Vec<String>,
    cursor: (usize, usize),
    settings: Settings,
}

/// What sets each thing that is not as it is at first, by what takes it back.
type Settings = BTreeMap<String, String>;

impl Viewport {
    /// In a window of this size, in which nothing is drawn yet.
    #[must_use]
    pub fn new(window: WindowSize) -> Self {
        let mut viewport = Self { window, origin: (0, 0), drawn: None };
        viewport.resize(window);
        viewport
    }

    /// Follows the window's size.
    pub fn resize(&mut self, window: WindowSize) {
        self.window = WindowSize { rows: window.rows.max(1), cols: window.cols.max(1) };
    }

    /// The window's size.
    #[must_use]
    pub fn window(&self) -> WindowSize {
        self.window
    }

    /// The screen's row and column that the window's first show, as last drawn.
    #[must_use]
    pub fn origin(&self) -> (u16, u16) {
        (self.origin.0 as u16, self.origin.1 as u16)
    }

    fn shows_all(&self, screen: WindowSize) -> bool {
        self.window.rows >= screen.rows && self.window.cols >= screen.cols
    }

    /// Whatever the window shows: all of it is drawn anew.
    pub fn forget(&mut self) {
        self.drawn = None;
    }

    /// What makes the window show its part as it is now, after everything that this has returned before. The
    /// notice stands in its last row.
    #[must_use]
    pub fn draw(&mut self, terminal: &Terminal, notice: Option<&str>) -> Vec<u8> {
        let state = &terminal.state;
        self.follow_cursor(state);
        let mut out = String::new();
        let mut drawn = match self.drawn.take() {
            Some(drawn) if (drawn.window, drawn.screen) == (self.window, terminal.size()) => drawn,
            before => {
                before.iter().for_each(|before| before.undo(&mut out));
                begin(&mut out);
                self.blank(terminal.size())
            }
        };
        drawn.switch(state.on_alternate, &mut out);
        drawn.change(settings(state, self.shows_all(terminal.size())), &mut out);
        let rows = self.rows(state, notice);
        let mut moved = false;
        for (number, (row, before)) in rows.iter().zip(&drawn.rows).enumerate() {
            if row != before {
                let _ = write!(out, "\x1b[{}H{row}", number + 1);
                moved = true;
            }
        }
        drawn.rows = rows;
        let cursor = self.cursor(state);
        if moved || !out.is_empty() || cursor != drawn.cursor {
            let _ = write!(out, "\x1b[{};{}H", cursor.0 + 1, cursor.1 + 1);
        }
        drawn.cursor = cursor;
        self.drawn = Some(drawn);
        out.into_bytes()
    }

    /// What takes back that which was drawn and set, so that a [dump](Terminal::dump) can follow.
    #[must_use]
    pub fn leave(&mut self) -> Vec<u8> {
        let mut out = String::new();
        self.drawn.take().iter().for_each(|drawn| drawn.undo(&mut out));
        out.into_bytes()
    }

    fn blank(&self, screen: WindowSize) -> Drawn {
        let rows = vec![BLANK.to_owned(); self.window.rows.into()];
        Drawn {
            window: self.window,
            screen,
            on_alternate: false,
            rows,
            cursor: (0, 0),
            settings: Settings::new(),
        }
    }

    /// Moves to where the cursor is. Where it is hidden it means nothing: it may be anywhere while an app draws.
    fn follow_cursor(&mut self, state: &State) {
        let cursor = state.screen().cursor;
        let is_shown = state.modes.private(private::SHOW_CURSOR);
        let (rows, columns) = (usize::from(self.window.rows), usize::from(self.window.cols));
        let (mut top, mut left) = self.origin;
        if is_shown {
            let follow =
                |origin: usize, at: usize, window: usize| origin.clamp((at + 1).saturating_sub(window), at);
            top = follow(top, cursor.row, rows);
            // Back from the end of a long row, what stands before the cursor is to be seen.
            let returns = cursor.column < left.min(columns);
            left = if returns { 0 } else { follow(left, cursor.column, columns) };
        }
        self.origin =
            (top.min(state.rows.saturating_sub(rows)), left.min(state.columns.saturating_sub(columns)));
    }

    /// Where the cursor stands in the window; at its edge where it is not in it, and then hidden.
    fn cursor(&self, state: &State) -> (usize, usize) {
        let cursor = state.screen().cursor;
        let place = |at: usize, origin: usize, window: u16| {
            at.saturating_sub(origin).min(usize::from(window.saturating_sub(1)))
        };
        (
            place(cursor.row, self.origin.0, self.window.rows),
            place(cursor.column, self.origin.1, self.window.cols),
        )
    }

    fn rows(&self, state: &State, notice: Option<&str>) -> Vec<String> {
        let columns = usize::from(self.window.cols);
        let mut writer = Writer::new(&state.tables);
        let screen = state.screen().rows.iter().skip(self.origin.0);
        let shown = screen.map(Some).chain(std::iter::repeat(None)).take(self.window.rows.into());
        let mut rows: Vec<String> = shown
            .map(|row| match row {
                Some(row) => part(row, self.origin.1, columns, &mut writer),
                None => BLANK.to_owned(),
            })
            .collect();
        if let (Some(notice), Some(last)) = (notice, rows.last_mut()) {
            *last = sentence(notice, columns);
        }
        rows
    }
}

impl Drawn {
    /// Shows the screen that the app shows, empty.
    fn switch(&mut self, to_alternate: bool, out: &mut String) {
        if to_alternate == self.on_alternate {
            return;
        }
        if self.settings.remove(POP_KEYBOARD).is_some() {
            out.push_str(POP_KEYBOARD);
        }
        out.push_str(if to_alternate { "\x1b[?1049h" } else { "\x1b[?1049l" });
        out.push_str(CLEAR);
        self.on_alternate = to_alternate;
        self.rows.fill(BLANK.to_owned());
    }

    fn change(&mut self, settings: Settings, out: &mut String) {
        let gone = self.settings.keys().filter(|undo| !settings.contains_key(*undo));
        gone.for_each(|undo| out.push_str(undo));
        let new = settings.iter().filter(|(undo, set)| self.settings.get(*undo) != Some(set));
        new.for_each(|(_, set)| out.push_str(set));
        self.settings = settings;
    }

    fn undo(&self, out: &mut String) {
        self.settings.keys().for_each(|undo| out.push_str(undo));
        if self.on_alternate {
            out.push_str("\x1b[?1049l");
        }
        out.push_str("\x1b[?7h");
    }
}

/// Whatever the window was: the main screen, empty, on which no text wraps.
fn begin(out: &mut String) {
    // What had begun before ends here.
    out.push_str("\x18\x1b[?1049l");
    Modes::write_initial(out);
    out.push_str("\x1b[r\x1b[<32u\x1b[>4m\x1b>\x1b[0 q\x1b[m\x1b[0\"q\x1b[0*x\x1b]8;;\x1b\\");
    out.push_str("\x1b(B\x1b)B\x1b*B\x1b+B\x0f\x1b[?7l");
    out.push_str(CLEAR);
}

fn settings(state: &State, shows_all: bool) -> Settings {
    let mut settings = Settings::new();
    let mut set = |undo: &str, set: String| settings.insert(undo.to_owned(), set);
    let mouse = MOUSE.into_iter().filter(|_| shows_all);
    for mode in FOLLOWED.into_iter().chain(mouse).filter(|&mode| state.modes.private(mode)) {
        set(&format!("\x1b[?{mode}l"), format!("\x1b[?{mode}h"));
    }
    if !state.modes.private(private::SHOW_CURSOR) {
        set("\x1b[?25h", "\x1b[?25l".to_owned());
    }
    if state.modes.ansi(ansi::NEW_LINE) {
        set("\x1b[20l", "\x1b[20h".to_owned());
    }
    if state.keypad {
        set("\x1b>", "\x1b=".to_owned());
    }
    if let Some(level) = state.modify_keys {
        set("\x1b[>4m", format!("\x1b[>4;{level}m"));
    }
    let flags = state.keyboard[usize::from(state.on_alternate)].last().copied().unwrap_or(0);
    if flags != 0 {
        set(POP_KEYBOARD, format!("{POP_KEYBOARD}\x1b[>{flags}u"));
    }
    if state.cursor_shape != 0 {
        set("\x1b[0 q", format!("\x1b[{} q", state.cursor_shape));
    }
    if !state.titles.current.is_empty() {
        set("\x1b]2;\x1b\\", format!("\x1b]2;{}\x1b\\", state.titles.current));
    }
    for (index, color) in &state.palette {
        set(&format!("\x1b]104;{index}\x1b\\"), format!("\x1b]4;{index};{color}\x1b\\"));
    }
    for (number, color) in &state.dynamic {
        set(&format!("\x1b]1{number}\x1b\\"), format!("\x1b]{number};{color}\x1b\\"));
    }
    settings
}

/// So many columns of a row from one on, in the default style at both ends. The half of a wide character that is
/// cut off leaves a blank.
fn part(row: &Row, from: usize, columns: usize, writer: &mut Writer<'_>) -> String {
    let cells = row.trimmed();
    let within = cells.get(from..cells.len().min(from + columns)).unwrap_or_default();
    let end = within.iter().rposition(|&cell| cell != Cell::BLANK).map_or(from, |last| from + last + 1);
    for at in from..end {
        let cell = cells[at];
        writer.style(Style { protection: Protection::None, ..writer.tables.style(cell.style) });
        let is_whole = |left: usize| cells[left].is_wide() && left >= from && left + 1 < from + columns;
        if cell.is_spacer() && at > 0 && is_whole(at - 1) {
            // Its left half has written it.
        } else if cell.is_spacer() || cell.is_blank() || cell.is_leading() || cell.is_wide() && !is_whole(at)
        {
            writer.text(" ");
        } else {
            writer.tables.write_text(cell, &mut writer.out);
        }
    }
    writer.style(Style::default());
    if end < from + columns {
        writer.text(BLANK);
    }
    std::mem::take(&mut writer.out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::DEFAULT_LINES;

    fn terminal(bytes: &str) -> Terminal {
        let mut terminal = Terminal::new(WindowSize { rows: 6, cols: 20 }, DEFAULT_LINES);
        terminal.feed(bytes.as_bytes());
        terminal
    }

    fn window() -> Viewport {
        Viewport::new(WindowSize { rows: 3, cols: 8 })
    }

    /// What such a window shows that was given these bytes.
    fn shown(bytes: &[u8]) -> Terminal {
        let mut terminal = Terminal::new(WindowSize { rows: 3, cols: 8 }, DEFAULT_LINES);
        terminal.feed(bytes);
        terminal
    }

    fn next(viewport: &mut Viewport, terminal: &Terminal) -> String {
        String::from_utf8(viewport.draw(terminal, None)).unwrap()
    }

    #[test]
    fn it_moves_no_more_than_the_cursor_makes_it() {
        let mut viewport = window();
        let mut terminal = terminal("0123456789abcdefghij\x1b[2;3H");
        assert_eq!(shown(&viewport.draw(&terminal, None)).text(), "01234567\n\n");
        assert_eq!(viewport.origin(), (0, 0));
        for (place, origin) in [
            ("1;8", (0, 0)),
            ("1;9", (0, 1)),
            ("4;3", (1, 1)),
            ("2;2", (1, 1)),
            ("6;20", (3, 12)),
            ("6;10", (3, 9)),
            ("6;3", (3, 0)),
            ("6;20", (3, 12)),
        ] {
            terminal.feed(format!("\x1b[{place}H").as_bytes());
            let _ = viewport.draw(&terminal, None);
            assert_eq!(viewport.origin(), origin, "{place}");
        }
        // Hidden, the cursor may be anywhere.
        terminal.feed(b"\x1b[?25l\x1b[H");
        let _ = viewport.draw(&terminal, None);
        assert_eq!(viewport.origin(), (3, 12));
        terminal.resize(WindowSize { rows: 5, cols: 16 });
        let _ = viewport.draw(&terminal, None);
        assert_eq!(viewport.origin(), (2, 8));
    }

    #[test]
    fn only_what_has_changed_is_drawn() {
        let mut viewport = window();
        let mut terminal = terminal("one\r\ntwo\r\n");
        let _ = viewport.draw(&terminal, None);
        assert_eq!(next(&mut viewport, &terminal), "");
        terminal.feed(b"x");
        assert_eq!(next(&mut viewport, &terminal), "\x1b[3Hx\x1b[K\x1b[3;2H");
        terminal.feed(b"\x1b[H");
        assert_eq!(next(&mut viewport, &terminal), "\x1b[1;1H");
        terminal.feed(b"\x1b[1;12Hunseen\x1b[H\x1b[?2004h\x1b[5 q");
        assert_eq!(next(&mut viewport, &terminal), "\x1b[5 q\x1b[?2004h\x1b[1;1H");
        terminal.feed(b"\x1b[?2004l\x1b[3 q\x1b[?1000h\x1b[?1006h");
        assert_eq!(next(&mut viewport, &terminal), "\x1b[?2004l\x1b[3 q\x1b[1;1H");
        viewport.forget();
        assert!(next(&mut viewport, &terminal).contains("two"));
    }

    #[test]
    fn a_larger_window_shows_all_of_it_in_its_corner() {
        let mut viewport = Viewport::new(WindowSize { rows: 8, cols: 30 });
        let mut window = Terminal::new(viewport.window(), 0);
        let mut terminal = terminal("0123456789abcdefghijwrapped\r\n\n\n\n\nlast\x1b[?1000h");
        window.feed(&viewport.draw(&terminal, None));
        assert_eq!(window.text(), "wrapped\n\n\n\n\nlast\n\n");
        assert!(window.mode(1000), "places are the same in both");
        terminal.feed(b"\x1b[H\x1b[44m\x1b[K\x1b[1;20Hxy");
        window.feed(&viewport.draw(&terminal, None));
        assert_eq!(window.text(), format!("{:19}x\ny\n\n\n\nlast\n\n", ""));
        let first: usize = window.grid()[0].runs.iter().map(|run| run.text.len()).sum();
        assert_eq!((first, window.cursor()), (20, (1, 1)), "its colour ends where the screen does");
    }

    #[test]
    fn halves_that_are_cut_off_are_blanks() {
        let mut viewport = window();
        let mut terminal = terminal("123456\u{4f60}\x1b[44m\u{597d}\x1b[m.\x1b[H");
        assert_eq!(shown(&viewport.draw(&terminal, None)).text(), "123456\u{4f60}\n\n");
        terminal.feed(b"\x1b[9G\x1b[10G");
        let bytes = viewport.draw(&terminal, None);
        assert_eq!((shown(&bytes).text(), viewport.origin().1), ("3456\u{4f60}\u{597d}\n\n".to_owned(), 2));
        terminal.feed(b"\x1b[9G\x1b[11G\x1b[12G\x1b[13G\x1b[14G\x1b[15G");
        assert_eq!(shown(&viewport.draw(&terminal, None)).text(), " \u{597d}.\n\n");
        terminal.feed(b"\x1b[H\x1b[9G");
        let _ = viewport.draw(&terminal, None);
        let bytes = viewport.draw(&terminal, None);
        assert_eq!(bytes, b"");
        viewport.forget();
        viewport.origin.1 = 1;
        let cut = shown(&viewport.draw(&terminal, None));
        assert_eq!(cut.text(), "23456\u{4f60}\n\n");
        let last = &cut.grid()[0].runs;
        assert_eq!((last[1].text.as_str(), last[1].background.as_deref()), (" ", Some("4")));
    }

    #[test]
    fn a_notice_stands_in_the_last_row_for_as_long_as_it_is_to() {
        let mut viewport = window();
        let terminal = terminal("1\r\n2\r\n3\x1b[H");
        let mut bytes = viewport.draw(&terminal, Some("too \x1b\u{4f60}small"));
        assert_eq!(shown(&bytes).text(), "1\n2\ntoo \u{4f60}sm");
        bytes.extend(viewport.draw(&terminal, Some("ok")));
        assert_eq!(shown(&bytes).text(), "1\n2\nok");
        let last = viewport.draw(&terminal, None);
        assert_eq!(last, b"\x1b[3H3\x1b[K\x1b[1;1H");
        // Where the window has more rows than the screen, it covers nothing.
        let mut tall = Viewport::new(WindowSize { rows: 8, cols: 8 });
        let mut window = Terminal::new(tall.window(), 0);
        window.feed(&tall.draw(&terminal, Some("ok")));
        assert_eq!(window.text(), "1\n2\n3\n\n\n\n\nok");
    }

    #[test]
    fn what_was_set_is_taken_back() {
        let mut viewport = window();
        let mut terminal = terminal(
            "\x1b[>1umain\x1b[?1049h\x1b[>5u\x1b[?1h\x1b=\x1b]2;title\x07\x1b]4;1;#ff0000\x07\x1b]11;red\x07",
        );
        let mut window = shown(&viewport.draw(&terminal, None));
        assert!(window.is_alternate() && window.mode(1) && window.title() == "title");
        assert_eq!(
            (&window.state.palette, &window.state.dynamic),
            (&terminal.state.palette, &terminal.state.dynamic)
        );
        assert_eq!(window.state.keyboard, [vec![0], vec![0, 5]]);
        terminal.feed(b"\x1b[?1049l");
        window.feed(&viewport.draw(&terminal, None));
        assert_eq!((window.text(), &window.state.keyboard), ("main\n\n".to_owned(), &[vec![0, 1], vec![0]]));
        // The same text on both: what is there of it has to be drawn again.
        terminal.feed(b"\x1b[?1049h\x1b[Hmain");
        window.feed(&viewport.draw(&terminal, None));
        assert_eq!(window.text(), "main\n\n");
        window.feed(&viewport.leave());
        assert!(!window.is_alternate() && !window.mode(1) && window.title().is_empty() && window.mode(7));
        assert!(window.state.palette.is_empty() && window.state.dynamic.is_empty() && !window.state.keypad);
        assert_eq!(window.state.keyboard, [vec![0], vec![0]]);
        assert_eq!(viewport.leave(), b"");
    }
}
