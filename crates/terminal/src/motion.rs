//! Where the cursor goes: within the screen, and within the margins where they hold it.

use crate::modes::private;
use crate::screen::Cursor;
use crate::state::State;

impl State {
    /// Left and right margins other than the screen's.
    pub(crate) fn has_sides(&self) -> bool {
        self.sides != (0, self.columns)
    }

    pub(crate) fn is_within_sides(&self, column: usize) -> bool {
        (self.sides.0..self.sides.1).contains(&column)
    }

    /// Behind the last column that text reaches from this one on.
    pub(crate) fn edge(&self, column: usize) -> usize {
        if column < self.sides.1 { self.sides.1 } else { self.columns }
    }

    /// First row and column that can be named, and the ones after the last: the region's in origin mode.
    pub(crate) fn addressed(&self) -> ((usize, usize), (usize, usize)) {
        if self.modes.private(private::ORIGIN) {
            (self.margins, self.sides)
        } else {
            ((0, self.rows), (0, self.columns))
        }
    }

    /// Row and column of the cursor as they are named.
    pub(crate) fn place(&self) -> (usize, usize) {
        let ((top, _), (left, _)) = self.addressed();
        let cursor = self.screen().cursor;
        (cursor.row.saturating_sub(top), cursor.column.saturating_sub(left))
    }

    /// To a place on the screen, or in the region where origin mode says so.
    pub(crate) fn go_to(&mut self, row: usize, column: usize) {
        let ((top, bottom), (left, right)) = self.addressed();
        let cursor = &mut self.screen_mut().cursor;
        cursor.row = row.saturating_add(top).min(bottom - 1);
        cursor.column = column.saturating_add(left).min(right - 1);
        cursor.wraps = false;
    }

    /// To another column of the same row.
    pub(crate) fn go_to_column(&mut self, column: usize) {
        let (_, (left, right)) = self.addressed();
        let cursor = &mut self.screen_mut().cursor;
        cursor.column = column.saturating_add(left).min(right - 1);
        cursor.wraps = false;
    }

    /// Up or down: not past the region's edge when it starts within.
    pub(crate) fn go_vertically(&mut self, by: isize) {
        let (top, bottom) = self.margins;
        let rows = self.rows;
        let cursor = &mut self.screen_mut().cursor;
        let limit = if by < 0 {
            if cursor.row >= top { top } else { 0 }
        } else if cursor.row < bottom {
            bottom - 1
        } else {
            rows - 1
        };
        let row = cursor.row.saturating_add_signed(by);
        cursor.row = if by < 0 { row.max(limit) } else { row.min(limit) };
        cursor.wraps = false;
    }

    /// Not past the right margin when it starts before it.
    pub(crate) fn go_right(&mut self, count: usize) {
        let edge = self.edge(self.screen().cursor.column);
        let cursor = &mut self.screen_mut().cursor;
        cursor.column = (cursor.column + count).min(edge - 1);
        cursor.wraps = false;
    }

    /// Not past the left margin when it starts behind it; in reverse-wraparound mode from there to
    /// the end of the row above, if that goes on in this one, and in its extended form in any case.
    pub(crate) fn go_left(&mut self, count: usize) {
        let wraps = self.modes.private(private::AUTOWRAP);
        let extended = wraps && self.modes.private(private::EXTENDED_REVERSE_WRAP);
        let reverse = extended || wraps && self.modes.private(private::REVERSE_WRAP);
        let (top, bottom) = self.margins;
        let Cursor { mut row, mut column, wraps, .. } = self.screen().cursor;
        let left = if column < self.sides.0 { 0 } else { self.sides.0 };
        let right = self.sides.1 - 1;
        // From behind the last column the first step is onto it.
        let mut steps = count - usize::from(reverse && wraps);
        while column < left + steps {
            let above = match row {
                _ if !reverse => None,
                row if row == top => extended.then_some(bottom - 1),
                row => row.checked_sub(1).filter(|&above| extended || self.screen().rows[above].wrapped),
            };
            let Some(above) = above else {
                (column, steps) = (left, 0);
                break;
            };
            steps -= column - left + 1;
            if (top..bottom).contains(&above) {
                // All around the region is where it was.
                steps %= (bottom - top) * (right - left + 1);
            }
            (row, column) = (above, right);
        }
        let cursor = &mut self.screen_mut().cursor;
        (cursor.row, cursor.column, cursor.wraps) = (row, column - steps, false);
    }

    /// From the left of the left margin to the first column.
    pub(crate) fn carriage_return(&mut self) {
        let left = self.sides.0;
        let cursor = &mut self.screen_mut().cursor;
        cursor.column = if cursor.column < left { 0 } else { left };
        cursor.wraps = false;
    }

    pub(crate) fn tab_forward(&mut self, count: usize) {
        let mut column = self.screen().cursor.column;
        let last = self.edge(column) - 1;
        for _ in 0..count.min(last) {
            column = (column + 1..last).find(|&stop| self.tabs[stop]).unwrap_or(last);
        }
        self.screen_mut().cursor.column = column;
    }

    pub(crate) fn tab_backward(&mut self, count: usize) {
        let (_, (left, _)) = self.addressed();
        let mut column = self.screen().cursor.column;
        for _ in 0..count.min(self.columns) {
            column = (left..column).rev().find(|&stop| self.tabs[stop]).unwrap_or(left);
        }
        let cursor = &mut self.screen_mut().cursor;
        cursor.column = column;
        cursor.wraps = false;
    }

    /// Up by one row, at the top of the region by scrolling.
    pub(crate) fn reverse_line_feed(&mut self) {
        let Cursor { row, column, .. } = self.screen().cursor;
        if row != self.margins.0 {
            self.screen_mut().cursor.row = row.saturating_sub(1);
        } else if self.is_within_sides(column) {
            self.scroll_down(self.margins.0, 1);
        }
    }

    pub(crate) fn save_cursor(&mut self) {
        let origin = self.modes.private(private::ORIGIN);
        let screen = self.screen_mut();
        screen.saved.cursor = screen.cursor;
        screen.saved.origin = origin;
    }

    pub(crate) fn restore_cursor(&mut self) {
        let screen = self.screen_mut();
        screen.cursor = screen.saved.cursor;
        let origin = screen.saved.origin;
        self.modes.set_private(private::ORIGIN, origin);
        self.settle_cursor();
        self.pen_changed();
    }

    /// A cursor that was put aside comes back to margins that may be others: in origin mode it is
    /// within them, and where there are margins, only behind one does it wait for the next row.
    pub(crate) fn settle_cursor(&mut self) {
        let ((top, bottom), (left, right)) = self.addressed();
        let (edge, has_sides) = (self.edge(self.screen().cursor.column), self.has_sides());
        let cursor = &mut self.screen_mut().cursor;
        cursor.wraps &= !has_sides || cursor.column + 1 == edge;
        if !(top..bottom).contains(&cursor.row) || !(left..right).contains(&cursor.column) {
            cursor.row = cursor.row.clamp(top, bottom - 1);
            cursor.column = cursor.column.clamp(left, right - 1);
            cursor.wraps = false;
        }
    }

    /// DECSTBM: rows from the top one to the bottom one, counted from 1.
    pub(crate) fn set_margins(&mut self, top: usize, bottom: u16) {
        let bottom = if bottom == 0 { self.rows } else { usize::from(bottom).min(self.rows) };
        if top < bottom || (top == bottom && self.rows == 1) {
            self.margins = (top - 1, bottom);
            self.go_to(0, 0);
        }
    }

    /// DECSLRM: columns from the left one to the right one, counted from 1.
    pub(crate) fn set_sides(&mut self, left: usize, right: u16) {
        let right = if right == 0 { self.columns } else { usize::from(right).min(self.columns) };
        if left < right {
            self.sides = (left - 1, right);
            self.go_to(0, 0);
        }
    }

    /// DECLRMM: left and right margins can be set; without, they are the screen's.
    pub(crate) fn allow_sides(&mut self, on: bool) {
        self.modes.set_private(private::SIDES, on);
        if !on {
            self.sides = (0, self.columns);
        }
    }
}
