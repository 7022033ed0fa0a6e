//! A terminal written out: bytes that make any other of the same size show and be the same, so that
//! what the app writes from there on can follow.
//!
//! Written with what terminals have in common. Rows that were wrapped are written so that the other
//! terminal wraps them too. What cannot be written is said at the place.

use std::fmt::Write as _;

use crate::attributes::{Color, Protection, Style};
use crate::cell::Cell;
use crate::modes::{Modes, private};
use crate::pens::Pens;
use crate::row::Row;
use crate::screen::{Cursor, SavedCursor, Screen};
use crate::state::{State, default_tabs};
use crate::tables::{StyleId, Tables};
use crate::terminal::Terminal;
use crate::width::width;

/// What else than the screens a dump has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scrollback {
    /// The lines that scrolled off, too.
    With,
    /// The screens alone.
    Without,
}

impl Terminal {
    /// Bytes after which a terminal of this size shows what this one shows, and to which the app's
    /// next bytes fit: a sequence or a character that has begun is begun.
    #[must_use]
    pub fn dump(&self, scrollback: Scrollback) -> Vec<u8> {
        let mut bytes = self.dump_before_sequence(scrollback);
        bytes.extend(self.scanner.prefix());
        bytes
    }

    /// The same without the sequence or character that has begun.
    #[must_use]
    pub fn dump_before_sequence(&self, scrollback: Scrollback) -> Vec<u8> {
        let state = &self.state;
        let (history, tables) = match scrollback {
            Scrollback::With => self.history_rows(),
            Scrollback::Without => (Vec::new(), state.tables.clone()),
        };
        let mut writer = Writer::new(&tables);
        writer.prepare(state);
        if let Some(alternate) = &state.alternate
            && !state.on_alternate
        {
            let is_filled = alternate.rows.iter().any(|row| !row.is_blank());
            if is_filled || alternate.saved != SavedCursor::default() || state.keyboard[1] != [0] {
                // They are there again when the alternate screen is; its rows only by its older mode.
                let mode = if is_filled { 47 } else { 1049 };
                let _ = write!(writer.out, "\x1b[?{mode}h");
                writer.keyboard(&state.keyboard[1]);
                writer.saved_cursor(alternate);
                if is_filled {
                    writer.begin_screen();
                    writer.rows(&[], &alternate.rows);
                }
                if mode == 1049 {
                    // It brings back the pen of before: none.
                    writer.style(Style::default());
                }
                let _ = write!(writer.out, "\x1b[?{mode}l");
            }
        }
        self.write_tabs(&mut writer);
        // Before the rows: for it something may be written in a last column.
        writer.saved_cursor(&state.main);
        writer.begin_screen();
        writer.rows(&history, &state.main.rows);
        writer.keyboard(&state.keyboard[0]);
        if state.on_alternate {
            if state.main.saved.origin {
                writer.text("\x1b[?6h");
            }
            writer.cursor(&state.main, state.main.cursor, None);
            writer.charsets(state.main.cursor);
            let saves = state.main.saved.cursor == state.main.cursor;
            writer.text(if saves { "\x1b[?1049h" } else { "\x1b[?47h" });
            writer.widen();
            writer.text("\x1b[?6l");
            writer.plain_charsets();
            writer.saved_cursor(state.screen());
            writer.begin_screen();
            writer.rows(&[], &state.screen().rows);
            writer.keyboard(&state.keyboard[1]);
        }
        self.write_rest(&mut writer);
        writer.out.into_bytes()
    }

    fn write_tabs(&self, writer: &mut Writer<'_>) {
        let state = &self.state;
        if state.tabs == default_tabs(state.tabs.len()) {
            writer.text("\x1b[?5W");
            return;
        }
        writer.text("\x1b[3g");
        for column in (0..state.columns).filter(|&column| state.tabs[column]) {
            let _ = write!(writer.out, "\x1b[{}G\x1bH", column + 1);
        }
    }

    /// Cursor, modes and what else is not on the screens.
    fn write_rest(&self, writer: &mut Writer<'_>) {
        let state = &self.state;
        let screen = state.screen();
        if let Some(last) = state.last.filter(|_| !screen.cursor.wraps) {
            writer.last_character(screen, last);
        }
        state.pens.write(|style, push| {
            writer.style(style);
            writer.text(push);
        });
        if state.margins != (0, state.rows) {
            let (top, bottom) = state.margins;
            let _ = write!(writer.out, "\x1b[{};{bottom}r", top + 1);
        }
        let allow = if state.modes.private(private::SIDES) { "\x1b[?69h" } else { "" };
        writer.text(allow);
        if state.has_sides() {
            let (left, right) = state.sides;
            let _ = write!(writer.out, "\x1b[{};{right}s", left + 1);
        }
        if state.modes.private(private::ORIGIN) {
            writer.text("\x1b[?6h");
        }
        if screen.cursor.wraps && !state.modes.private(private::AUTOWRAP) {
            // Written as the app did: a terminal may tell a cursor that waits to wrap from one that will not.
            writer.text("\x1b[?7l");
        }
        writer.cursor(screen, screen.cursor, Some(state));
        if writer.widen() {
            writer.text(allow);
        }
        writer.charsets(screen.cursor);
        let written = [private::ORIGIN, private::SIDES, private::SYNCHRONIZED];
        state.modes.write(&written, &mut writer.out);
        if state.changes_rectangles {
            writer.text("\x1b[2*x");
        }
        if state.keypad {
            writer.text("\x1b=");
        }
        if let Some(level) = state.modify_keys {
            let _ = write!(writer.out, "\x1b[>4;{level}m");
        }
        if state.cursor_shape != 0 {
            let _ = write!(writer.out, "\x1b[{} q", state.cursor_shape);
        }
        for title in &state.titles.pushed {
            let _ = write!(writer.out, "\x1b]2;{title}\x1b\\\x1b[22;2t");
        }
        if !(state.titles.current.is_empty() && state.titles.pushed.is_empty()) {
            let _ = write!(writer.out, "\x1b]2;{}\x1b\\", state.titles.current);
        }
        for (index, color) in &state.palette {
            let _ = write!(writer.out, "\x1b]4;{index};{color}\x1b\\");
        }
        for (number, color) in &state.dynamic {
            let _ = write!(writer.out, "\x1b]{number};{color}\x1b\\");
        }
        if state.modes.private(private::SYNCHRONIZED) {
            writer.text("\x1b[?2026h");
        }
        if let Some(set) = state.single_shift {
            writer.text(if set == 2 { "\x1bN" } else { "\x1bO" });
        }
    }
}

/// What is written, and in which style it is at that point.
pub(crate) struct Writer<'a> {
    pub(crate) out: String,
    pub(crate) tables: &'a Tables,
    style: Style,
    /// There is a right margin for a cursor that waits behind it.
    is_narrow: bool,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(tables: &'a Tables) -> Self {
        Self { out: String::with_capacity(4096), tables, style: Style::default(), is_narrow: false }
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.out.push_str(text);
    }

    /// Whatever the other terminal was: the main screen, nothing set. Modes that were put aside are so
    /// by being set.
    fn prepare(&mut self, state: &State) {
        self.text("\x1b[?1049l");
        if let Some(level) = state.level {
            let _ = write!(self.out, "\x1b[{level};1\"p");
        }
        for (number, &on) in &state.saved_modes {
            let _ = write!(self.out, "\x1b[?{number}{}\x1b[?{number}s", if on { 'h' } else { 'l' });
        }
        Modes::write_initial(&mut self.out);
        Pens::write_none(&mut self.out);
        self.text("\x1b[r\x1b[<32u\x1b[>4m\x1b>\x1b[0 q\x1b[m\x1b[0\"q\x1b[0*x\x1b]8;;\x1b\\");
        self.plain_charsets();
    }

    fn plain_charsets(&mut self) {
        self.text("\x1b(B\x1b)B\x1b*B\x1b+B\x0f");
    }

    fn charsets(&mut self, cursor: Cursor) {
        let charsets = cursor.charsets;
        if charsets.has_national() {
            self.text("\x1b[?42h");
        }
        for (intermediate, set) in "()*+".chars().zip(charsets.sets) {
            let _ = write!(self.out, "\x1b{intermediate}{}", set.designator());
        }
        if charsets.has_national() {
            self.text("\x1b[?42l");
        }
        self.text(["\x0f", "\x0e", "\x1bn", "\x1bo"][charsets.active]);
    }

    pub(crate) fn style(&mut self, style: Style) {
        if style.link != self.style.link {
            match self.tables.link(style.link) {
                None => self.text("\x1b]8;;\x1b\\"),
                Some(link) if link.id.is_empty() => {
                    let _ = write!(self.out, "\x1b]8;;{}\x1b\\", link.uri);
                }
                Some(link) => {
                    let _ = write!(self.out, "\x1b]8;id={};{}\x1b\\", link.id, link.uri);
                }
            }
            self.style.link = style.link;
        }
        if style.protection != self.style.protection {
            self.text(match style.protection {
                Protection::None => "\x1b[0\"q",
                Protection::Selective => "\x1b[1\"q",
                Protection::Ordinary => "\x1bV",
            });
            self.style.protection = style.protection;
        }
        if style != self.style {
            style.write(&mut self.out);
            self.style = style;
        }
    }

    fn begin_screen(&mut self) {
        self.style(Style::default());
        // A rectangle of all of it has also what is spared from ordinary erasing.
        self.text("\x1b[$z\x1b[H\x1b[J");
    }

    /// Rows from the top of an empty screen on; those of the history scroll off it.
    fn rows(&mut self, history: &[Row], screen: &[Row]) {
        let filled = screen.iter().rposition(|row| !row.is_blank()).map_or(0, |last| last + 1);
        let shown = if history.is_empty() { &screen[..filled] } else { screen };
        let mut rows = history.iter().chain(shown).peekable();
        // The cursor stands past the end of the row before, and text goes on from there.
        let mut goes_on = false;
        while let Some(row) = rows.next() {
            self.row(row, goes_on);
            let Some(next) = rows.peek() else { break };
            goes_on = row.wrapped;
            if !goes_on {
                self.clear_background();
                self.text("\r\n");
                continue;
            }
            let first = next.get(0);
            let last = row.get(row.cells().len() - 1);
            let wraps_by_itself = !first.is_blank()
                && (!last.is_leading() || first.is_wide() && first.style == last.style)
                && self.tables.style(first.style).background == Color::Default;
            if !wraps_by_itself {
                self.wrap_by_another(last, next);
                goes_on = false;
            }
        }
    }

    /// Makes the other terminal wrap before a row that does not begin with what can be written
    /// there at once: something else is, which is then written over or erased. The row is never
    /// blank, for then nothing would go on in it.
    fn wrap_by_another(&mut self, last: Cell, next: &Row) {
        if last.is_leading() {
            self.style(self.tables.style(last.style));
            self.text("\u{3000}");
            if self.style.background != Color::Default {
                self.style(Style::default());
                self.text("\x1b[K");
            }
            self.text("\r");
            return;
        }
        self.style(Style::default());
        self.text(" \r");
        let written = |&(_, cell): &(usize, &Cell)| !cell.is_blank() || cell.style != StyleId::DEFAULT;
        if let Some((column, &cell)) = next.cells().iter().enumerate().find(written).filter(|&(at, _)| at > 0)
        {
            let _ = write!(self.out, "\x1b[{column}C");
            self.style(self.tables.style(cell.style));
            if cell.is_blank() {
                self.text("\x1b[X");
            }
            self.tables.write_text(cell, &mut self.out);
            self.style(Style::default());
            self.text("\r\x1b[X");
        }
    }

    /// What scrolls in is filled with the background.
    fn clear_background(&mut self) {
        if self.style.background != Color::Default {
            self.style(Style::default());
        }
    }

    fn row(&mut self, row: &Row, goes_on: bool) {
        let cells = if row.wrapped { row.cells() } else { row.trimmed() };
        let last = row.cells().len() - 1;
        let mut at = 0;
        while at < cells.len() {
            let cell = cells[at];
            let style = self.tables.style(cell.style);
            if cell.is_leading() {
                // The wide character that follows leaves it; otherwise it is a blank.
                if !row.wrapped {
                    self.style(style);
                    self.text(" ");
                }
                at += 1;
            } else if cell.is_blank() && !(row.wrapped && at == last) && !(goes_on && at == 0) {
                let end = if row.wrapped { last } else { cells.len() };
                let length = cells[at..end].iter().take_while(|&&other| other == cell).count();
                self.gap(style, length, at + length > last);
                at += length;
            } else {
                self.style(style);
                if cell.is_blank() {
                    self.text(" ");
                }
                self.tables.write_text(cell, &mut self.out);
                at += 1;
            }
        }
    }

    /// Cells that were not written.
    fn gap(&mut self, style: Style, length: usize, to_the_end: bool) {
        if style != Style::default() {
            self.style(style);
            let _ = if to_the_end { write!(self.out, "\x1b[K") } else { write!(self.out, "\x1b[{length}X") };
        }
        if !to_the_end {
            let _ = write!(self.out, "\x1b[{length}C");
        }
    }

    fn saved_cursor(&mut self, screen: &Screen) {
        let saved = screen.saved;
        if saved.origin {
            self.text("\x1b[?6h");
        }
        self.cursor(screen, saved.cursor, None);
        self.charsets(saved.cursor);
        self.text("\x1b7");
        self.plain_charsets();
        self.widen();
        if saved.origin {
            self.text("\x1b[?6l");
        }
    }

    /// Without the right margin that [`Writer::cursor`] needed, if it did.
    fn widen(&mut self) -> bool {
        let was_narrow = std::mem::take(&mut self.is_narrow);
        if was_narrow {
            self.text("\x1b[?69l");
        }
        was_narrow
    }

    /// The cursor at its place, with its pen, within the margins of a state or without any.
    fn cursor(&mut self, screen: &Screen, cursor: Cursor, within: Option<&State>) {
        let ((top, _), (left, _)) = within.map_or(((0, 0), (0, 0)), State::addressed);
        let row = cursor.row.saturating_sub(top) + 1;
        if cursor.wraps {
            // Only what is written in the last column, or in the last before the right margin, makes
            // it wait for the next row.
            let has_sides = within.is_some_and(State::has_sides);
            if !has_sides && cursor.column + 1 < screen.columns {
                let _ = write!(self.out, "\x1b[?69h\x1b[1;{}s", cursor.column + 1);
                self.is_narrow = true;
            }
            let cells = screen.rows[cursor.row].cells();
            let from = cursor.column - usize::from(cells[cursor.column].is_spacer());
            let _ = write!(self.out, "\x1b[{row};{}H", from - left + 1);
            self.style(self.tables.style(cells[from].style));
            if cells[from].is_blank() {
                // Erased since. A terminal that then no longer waits would not have done so before.
                self.text(" \x1b[X");
            } else if cells[from].is_leading() || from == cursor.column && cells[from].is_wide() {
                // Neither is there where a cursor is put aside: the rows are written later.
                self.text(" ");
            } else {
                self.tables.write_text(cells[from], &mut self.out);
            }
        } else {
            let _ = write!(self.out, "\x1b[{row};{}H", cursor.column.saturating_sub(left) + 1);
        }
        self.style(cursor.pen);
    }

    fn keyboard(&mut self, flags: &[u8]) {
        if let Some((base, pushed)) = flags.split_first() {
            if *base != 0 {
                let _ = write!(self.out, "\x1b[={base}u");
            }
            for flags in pushed {
                let _ = write!(self.out, "\x1b[>{flags}u");
            }
        }
    }

    /// Makes a character the one that was written last, for REP: where it stands already, or where
    /// nothing does. On a screen that has neither, it is not done.
    fn last_character(&mut self, screen: &Screen, character: char) {
        let width = width(character);
        let last = screen.columns - 1;
        let usable = |column: usize| column > 1 && column + width <= last;
        let find = |wanted: &dyn Fn(&[Cell], usize) -> bool| {
            let rows = screen.rows.iter().enumerate();
            let mut found = rows.filter_map(|(number, row)| {
                let cells = row.cells();
                (0..last)
                    .find(|&column| usable(column) && wanted(cells, column))
                    .map(|column| (number, column))
            });
            found.next()
        };
        let cursor = screen.cursor;
        let before = cursor.column.checked_sub(width.max(1)).map(|column| (cursor.row, column));
        let stands = |cells: &[Cell], column: usize| cells[column].character() == Some(character);
        let place = before
            .filter(|&(row, column)| usable(column) && stands(screen.rows[row].cells(), column))
            .or_else(|| find(&stands));
        if width == 0 {
            return;
        }
        if let Some((row, column)) = place {
            let _ = write!(self.out, "\x1b[{};{}H", row + 1, column + 1);
            self.style(self.tables.style(screen.rows[row].get(column).style));
            self.out.push(character);
        } else if let Some((row, column)) =
            find(&|cells, column| cells[column..column + width] == [Cell::BLANK; 2][..width])
        {
            self.style(Style::default());
            let at = (row + 1, column + 1);
            let _ = write!(self.out, "\x1b[{0};{1}H{character}\x1b[{0};{1}H\x1b[{width}X", at.0, at.1);
        }
    }
}
