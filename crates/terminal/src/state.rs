//! Everything a terminal is but its parser: what text and controls do to it.

use std::collections::BTreeMap;

use crate::answers::Answers;
use crate::attributes::Style;
use crate::cell::Cell;
use crate::history::History;
use crate::marks::Marks;
use crate::modes::{Modes, ansi, private};
use crate::pens::Pens;
use crate::row::Row;
use crate::screen::{Cursor, Screen};
use crate::tables::{StyleId, Tables};
use crate::titles::Titles;
use crate::tokens::Tokens;
use crate::width::width;

#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) main: Screen,
    /// There from its first use on.
    pub(crate) alternate: Option<Box<Screen>>,
    pub(crate) on_alternate: bool,
    pub(crate) history: History,
    pub(crate) tables: Tables,
    /// The pen's number, once something was written with it.
    pen: Option<StyleId>,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// First row of the scrolling region, and the one after its last.
    pub(crate) margins: (usize, usize),
    /// First column of the region, and the one after its last. Others than the screen's only in
    /// left and right margin mode.
    pub(crate) sides: (usize, usize),
    /// Attributes of a rectangle are changed in it alone, not in the text from its first cell to its last.
    pub(crate) changes_rectangles: bool,
    /// The terminal that the app asked to have (DECSCL), from the VT220 on. Only then its selective
    /// erasing is carried out, which most terminals pass over.
    pub(crate) level: Option<u8>,
    /// Something was ever spared from ordinary erasing.
    pub(crate) spares: bool,
    pub(crate) modes: Modes,
    /// Private modes put aside, as they were.
    pub(crate) saved_modes: BTreeMap<u16, bool>,
    pub(crate) keypad: bool,
    /// Kitty keyboard flags of the main and the alternate screen, the current ones last.
    pub(crate) keyboard: [Vec<u8>; 2],
    /// xterm's modifyOtherKeys.
    pub(crate) modify_keys: Option<u8>,
    /// Per column; may be longer than a row.
    pub(crate) tabs: Vec<bool>,
    /// As DECSCUSR numbers them; 0: the terminal's own.
    pub(crate) cursor_shape: u8,
    pub(crate) titles: Titles,
    pub(crate) pens: Pens,
    /// Colours that were changed, as they were written: of the palette, and dynamic ones from 10 on.
    pub(crate) palette: BTreeMap<u8, Box<str>>,
    pub(crate) dynamic: BTreeMap<u8, Box<str>>,
    /// The character set that the next character alone is of.
    pub(crate) single_shift: Option<usize>,
    /// What REP repeats.
    pub(crate) last: Option<char>,
    pub(crate) answers: Answers,
    pub(crate) marks: Marks,
    pub(crate) tokens: Tokens,
    /// A device control string that is being read: which, and its text.
    pub(crate) device_string: Option<(char, Vec<u8>)>,
    /// The string that is being read is too long; it does nothing.
    pub(crate) string_is_cut: bool,
}

impl State {
    pub(crate) fn new(rows: usize, columns: usize, history: usize) -> Self {
        Self {
            main: Screen::new(rows, columns),
            alternate: None,
            on_alternate: false,
            history: History::new(history),
            tables: Tables::new(),
            pen: Some(StyleId::DEFAULT),
            rows,
            columns,
            margins: (0, rows),
            sides: (0, columns),
            changes_rectangles: false,
            level: None,
            spares: false,
            modes: Modes::default(),
            saved_modes: BTreeMap::new(),
            keypad: false,
            keyboard: [vec![0], vec![0]],
            modify_keys: None,
            tabs: default_tabs(columns),
            cursor_shape: 0,
            titles: Titles::default(),
            pens: Pens::default(),
            palette: BTreeMap::new(),
            dynamic: BTreeMap::new(),
            single_shift: None,
            last: None,
            answers: Answers::default(),
            marks: Marks::default(),
            tokens: Tokens::default(),
            device_string: None,
            string_is_cut: false,
        }
    }

    /// The screen that is shown.
    pub(crate) fn screen(&self) -> &Screen {
        match &self.alternate {
            Some(alternate) if self.on_alternate => alternate,
            Some(_) | None => &self.main,
        }
    }

    pub(crate) fn screen_mut(&mut self) -> &mut Screen {
        match &mut self.alternate {
            Some(alternate) if self.on_alternate => alternate,
            Some(_) | None => &mut self.main,
        }
    }

    /// The screen that is shown, and what its cells name.
    pub(crate) fn screen_and_tables(&mut self) -> (&mut Screen, &Tables) {
        let screen = match &mut self.alternate {
            Some(alternate) if self.on_alternate => alternate,
            Some(_) | None => &mut self.main,
        };
        (screen, &self.tables)
    }

    /// The pen was changed, or the cursor that has it.
    pub(crate) fn pen_changed(&mut self) {
        self.pen = None;
    }

    pub(crate) fn pen(&mut self) -> StyleId {
        if let Some(pen) = self.pen {
            return pen;
        }
        if self.tables.are_large() {
            self.clear_tables();
        }
        let style = self.screen().cursor.pen;
        let pen = self.tables.intern(style);
        self.pen = Some(pen);
        pen
    }

    /// The style that erasing leaves.
    pub(crate) fn erased(&mut self) -> StyleId {
        let style = self.screen().cursor.pen.erased();
        if style == Style::default() { StyleId::DEFAULT } else { self.tables.intern(style) }
    }

    /// Forgets styles, links and clusters that no cell has any more.
    pub(crate) fn clear_tables(&mut self) {
        let Self { main, alternate, tables, .. } = self;
        let mut screens: Vec<&mut Screen> = vec![main];
        screens.extend(alternate.as_deref_mut());
        let screens = std::cell::RefCell::new(screens);
        tables.clear(
            |keep| {
                for screen in screens.borrow_mut().iter_mut() {
                    for row in &mut screen.rows {
                        row.used_mut().iter_mut().for_each(&mut *keep);
                    }
                }
            },
            |keep| {
                for screen in screens.borrow_mut().iter_mut() {
                    keep(&mut screen.cursor.pen);
                    keep(&mut screen.saved.cursor.pen);
                }
            },
        );
        self.pen = None;
    }

    /// Writes printable ASCII.
    pub(crate) fn print_ascii(&mut self, mut text: &[u8]) {
        let Some(&last) = text.last() else { return };
        let is_plain = self.screen().cursor.charsets.is_plain() && self.single_shift.is_none();
        if self.modes.ansi(ansi::INSERT) || !is_plain {
            text.iter().for_each(|&byte| self.print(char::from(byte)));
            return;
        }
        self.last = Some(char::from(last));
        let pen = self.pen();
        while !text.is_empty() {
            self.wrap_if_due();
            let column = self.screen().cursor.column;
            let count = text.len().min(self.edge(column) - column);
            let (now, later) = text.split_at(count);
            for (cell, &byte) in self.overwrite(column, column + count, None).iter_mut().zip(now) {
                *cell = Cell::ascii(byte, pen);
            }
            self.advance(count);
            text = later;
        }
    }

    /// Writes one character.
    pub(crate) fn print(&mut self, character: char) {
        let single_shift = self.single_shift.take();
        let character = self.screen().cursor.charsets.map(character, single_shift);
        self.last = Some(character);
        let width = width(character);
        if width == 0 {
            self.combine(character);
            return;
        }
        let pen = self.pen();
        let cursor = self.screen().cursor;
        if !cursor.wraps
            && cursor.column + width < self.sides.1
            && cursor.column > 1
            && !self.modes.ansi(ansi::INSERT)
        {
            // Nothing out of the ordinary: within the row, and nothing of the row above in sight.
            let screen = self.screen_mut();
            let cells = screen.rows[cursor.row].overwrite(cursor.column, cursor.column + width);
            write(cells, character, pen);
            screen.cursor.column += width;
            return;
        }
        self.wrap_if_due();
        let column = self.screen().cursor.column;
        if width == 2 && column + 1 >= self.edge(column) {
            if !self.modes.private(private::AUTOWRAP) || self.columns < 2 {
                self.screen_mut().cursor.wraps = true;
                self.part_behind();
                return;
            }
            if !self.has_sides() {
                self.overwrite(column, column + 1, None)[0] = Cell::leading(pen);
            }
            self.screen_mut().cursor.wraps = true;
            self.wrap_if_due();
        }
        let column = self.screen().cursor.column;
        let end = self.sides.1;
        if self.modes.ansi(ansi::INSERT) && self.is_within_sides(column) && column + width < end {
            self.edit(|row, _| row.insert(column, end, width, StyleId::DEFAULT));
        }
        let wide = (width == 2).then(|| Cell::wide(character, pen));
        let cells = self.overwrite(column, column + width, wide);
        write(cells, character, pen);
        self.advance(width);
    }

    fn advance(&mut self, count: usize) {
        let edge = self.edge(self.screen().cursor.column);
        let cursor = &mut self.screen_mut().cursor;
        cursor.column += count;
        if cursor.column >= edge {
            cursor.column = edge - 1;
            cursor.wraps = true;
        }
    }

    /// Adds a character of no width to the one before the cursor.
    fn combine(&mut self, character: char) {
        let cursor = self.screen().cursor;
        let mut column = if cursor.wraps { cursor.column } else { cursor.column.saturating_sub(1) };
        let row = &self.screen().rows[cursor.row];
        if row.get(column).is_spacer() {
            column -= 1;
        }
        let cell = self.tables.combine(row.get(column), character);
        self.screen_mut().rows[cursor.row].replace(column, cell);
        if self.tables.are_large() {
            self.clear_tables();
        }
    }

    /// Goes to the next row when the last column was written and another character comes.
    pub(crate) fn wrap_if_due(&mut self) {
        if !self.screen().cursor.wraps || !self.modes.private(private::AUTOWRAP) {
            return;
        }
        let last = self.columns - 1;
        let is_last = self.screen().cursor.column == last && !self.has_sides();
        // Below the scroll region there may be no next row: the text begins this one anew.
        let has_next = self.screen().cursor.row + 1 < self.rows || self.margins.1 == self.rows;
        let row = self.screen_mut().row_mut();
        if !is_last {
            // What goes on in another column is not one line.
            if row.wrapped {
                row.part();
            }
        } else if has_next {
            // From a cell that was erased meanwhile no text goes on.
            row.wrapped = !row.get(last).is_blank();
        } else {
            row.part();
        }
        self.line_feed();
        let left = self.sides.0;
        let cursor = &mut self.screen_mut().cursor;
        cursor.column = left;
        cursor.wraps = false;
    }

    /// Down by one row, at the bottom of the region by scrolling.
    pub(crate) fn line_feed(&mut self) {
        let Cursor { row, column, .. } = self.screen().cursor;
        if row + 1 == self.margins.1 {
            if self.is_within_sides(column) {
                self.scroll_up(self.margins.0, 1);
            }
        } else if row + 1 < self.rows {
            self.screen_mut().cursor.row += 1;
        }
    }

    /// Scrolls the region from a row on; what leaves the main screen at its top becomes history.
    pub(crate) fn scroll_up(&mut self, top: usize, count: usize) {
        let bottom = self.margins.1;
        let count = count.min(bottom.saturating_sub(top));
        if count == 0 {
            return;
        }
        if self.has_sides() {
            self.scroll_columns(top, count, false);
            return;
        }
        let style = self.erased();
        self.screen_mut().part(top, bottom);
        if top == 0 && !self.on_alternate {
            for row in &self.main.rows[..count] {
                self.history.push(row, &self.tables);
            }
        }
        if top > 0 {
            self.unlead(top);
        }
        self.screen_mut().scroll_up(top, bottom, count, style);
    }

    pub(crate) fn scroll_down(&mut self, top: usize, count: usize) {
        let bottom = self.margins.1;
        let count = count.min(bottom.saturating_sub(top));
        if count > 0 && self.has_sides() {
            self.scroll_columns(top, count, true);
        } else if count > 0 {
            let style = self.erased();
            self.screen_mut().part(top, bottom);
            self.screen_mut().scroll_down(top, bottom, count, style);
            self.part(top);
        }
    }

    /// Clears rows `from..to`.
    pub(crate) fn clear(&mut self, from: usize, to: usize) {
        let style = self.erased();
        self.screen_mut().rows[from..to].iter_mut().for_each(|row| row.clear(style));
        if from < to {
            self.part(from);
        }
    }

    /// Changes the cursor's row.
    pub(crate) fn edit(&mut self, change: impl FnOnce(&mut Row, StyleId)) {
        self.edit_row(self.screen().cursor.row, change);
    }

    /// Changes a row.
    pub(crate) fn edit_row(&mut self, row: usize, change: impl FnOnce(&mut Row, StyleId)) {
        let style = self.erased();
        change(&mut self.screen_mut().rows[row], style);
        if self.screen().rows[row].is_blank() {
            self.part(row);
        } else if !self.screen().rows[row].get(0).is_wide() {
            self.unlead(row);
        }
    }

    /// Columns `from..to` of the cursor's row to be written over, perhaps by a wide character.
    fn overwrite(&mut self, from: usize, to: usize, by: Option<Cell>) -> &mut [Cell] {
        let row = self.screen().cursor.row;
        let first = self.screen().rows[row].get(0);
        let stays = by.is_some_and(|wide| from == 0 && wide.style == first.style);
        if from <= 1 && !stays && first.is_wide() {
            self.unlead(row);
        }
        self.screen_mut().rows[row].overwrite(from, to)
    }

    /// The wide character that did not fit the row above is no longer there.
    fn unlead(&mut self, row: usize) {
        let last = self.columns - 1;
        if row == 0 {
            if !self.on_alternate {
                self.history.unlead(&self.tables);
            }
        } else if self.screen().rows[row - 1].get(last).is_leading() {
            self.screen_mut().rows[row - 1].blot(last);
        }
    }

    /// What stands above a row no longer goes on in it.
    pub(crate) fn part(&mut self, row: usize) {
        if row > 0 {
            self.screen_mut().rows[row - 1].part();
        } else if !self.on_alternate {
            self.history.close(&self.tables);
        }
    }

    /// A cursor that comes to stand behind a row's last character ends its text there: whether it
    /// goes on is up to what is written next. A dump cannot tell otherwise.
    pub(crate) fn part_behind(&mut self) {
        let last = self.columns - 1;
        let screen = self.screen_mut();
        if !screen.cursor.wraps {
            return;
        }
        let column = screen.cursor.column;
        let row = screen.row_mut();
        if column == last && row.wrapped {
            row.part();
        } else if row.get(column).is_wide() {
            // Over the right margin there is no place behind a character.
            screen.cursor.wraps = false;
        }
    }

    /// Carries out a control character (C0).
    pub(crate) fn control(&mut self, byte: u8) {
        match byte {
            0x08 if self.columns > 1 => self.go_left(1),
            0x09 => {
                // A tab after the last column goes to the next row, as a character does; in a mode
                // of xterm's it is then still carried out there.
                if self.screen().cursor.wraps && self.modes.private(private::AUTOWRAP) {
                    self.line_feed();
                    self.carriage_return();
                    if self.modes.private(private::MORE_FIX) {
                        self.tab_forward(1);
                    }
                } else if !self.screen().cursor.wraps {
                    self.tab_forward(1);
                }
            }
            0x0a..=0x0c => {
                self.line_feed();
                if self.modes.ansi(ansi::NEW_LINE) {
                    self.carriage_return();
                }
                self.part_behind();
            }
            0x0d => self.carriage_return(),
            0x0e => self.screen_mut().cursor.charsets.active = 1,
            0x0f => self.screen_mut().cursor.charsets.active = 0,
            _ => {}
        }
    }

    /// Shows the other screen. The alternate one starts empty with the main one's cursor, which is
    /// saved for when it comes back.
    pub(crate) fn show_alternate(&mut self, on: bool) {
        if on == self.on_alternate {
            return;
        }
        if on {
            self.main.saved.cursor = self.main.cursor;
            self.main.saved.origin = self.modes.private(private::ORIGIN);
            let (rows, columns) = (self.rows, self.columns);
            let alternate = self.alternate.get_or_insert_with(|| Box::new(Screen::new(rows, columns)));
            alternate.cursor = self.main.cursor;
            self.on_alternate = true;
            self.clear(0, rows);
        }
        self.on_alternate = on;
        self.settle_cursor();
        self.pen_changed();
    }

    /// RIS: everything as at first, history too.
    pub(crate) fn reset(&mut self) {
        let fresh = Self::new(self.rows, self.columns, 0);
        let old = std::mem::replace(self, fresh);
        (self.history, self.answers, self.marks) = (old.history, old.answers, old.marks);
        self.history.clear();
    }
}

/// Writes a character into as many cells as it takes.
fn write(cells: &mut [Cell], character: char, pen: StyleId) {
    match cells {
        [cell] => *cell = Cell::new(character, pen),
        [cell, spacer, ..] => {
            *cell = Cell::wide(character, pen);
            *spacer = Cell::spacer(pen);
        }
        [] => {}
    }
}

/// A stop every eight columns.
pub(crate) fn default_tabs(columns: usize) -> Vec<bool> {
    (0..columns).map(|column| column % 8 == 0).collect()
}
