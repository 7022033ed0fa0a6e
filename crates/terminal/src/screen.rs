//! One of a terminal's two screens: its rows, its cursor, and the cursor that was saved.

use crate::attributes::Style;
use crate::charset::Charsets;
use crate::row::Row;
use crate::tables::StyleId;

/// Where and how the next character is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) row: usize,
    pub(crate) column: usize,
    /// The last column was written; the next character goes to the next row.
    pub(crate) wraps: bool,
    pub(crate) pen: Style,
    pub(crate) charsets: Charsets,
}

/// A cursor as DECSC saves it, together with origin mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SavedCursor {
    pub(crate) cursor: Cursor,
    pub(crate) origin: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Screen {
    pub(crate) rows: Vec<Row>,
    pub(crate) columns: usize,
    pub(crate) cursor: Cursor,
    pub(crate) saved: SavedCursor,
}

impl Screen {
    pub(crate) fn new(rows: usize, columns: usize) -> Self {
        Self {
            rows: (0..rows).map(|_| Row::new(columns)).collect(),
            columns,
            cursor: Cursor::default(),
            saved: SavedCursor::default(),
        }
    }

    pub(crate) fn row_mut(&mut self) -> &mut Row {
        &mut self.rows[self.cursor.row]
    }

    /// Moves rows `top..bottom` up and clears those that become free.
    pub(crate) fn scroll_up(&mut self, top: usize, bottom: usize, count: usize, style: StyleId) {
        let count = count.min(bottom - top);
        self.rows[top..bottom].rotate_left(count);
        self.rows[bottom - count..bottom].iter_mut().for_each(|row| row.clear(style));
    }

    /// Moves rows `top..bottom` down and clears those that become free.
    pub(crate) fn scroll_down(&mut self, top: usize, bottom: usize, count: usize, style: StyleId) {
        let count = count.min(bottom - top);
        self.rows[top..bottom].rotate_right(count);
        self.rows[top..top + count].iter_mut().for_each(|row| row.clear(style));
        self.rows[bottom - 1].part();
    }

    /// No text goes on over the edges of rows that are about to move.
    pub(crate) fn part(&mut self, top: usize, bottom: usize) {
        if top > 0 {
            self.rows[top - 1].part();
        }
        if bottom < self.rows.len() {
            self.rows[bottom - 1].part();
        }
    }

    /// Keeps cursors on a screen whose size is another, without margins.
    pub(crate) fn clamp(&mut self) {
        let (rows, columns) = (self.rows.len(), self.columns);
        for cursor in [&mut self.cursor, &mut self.saved.cursor] {
            if cursor.row >= rows || cursor.column >= columns {
                cursor.wraps = false;
            } else if cursor.wraps && cursor.column + 1 < columns {
                // What it stands behind is no longer in a last column.
                cursor.column += 1;
                cursor.wraps = false;
            }
            cursor.row = cursor.row.min(rows - 1);
            cursor.column = cursor.column.min(columns - 1);
        }
    }
}
