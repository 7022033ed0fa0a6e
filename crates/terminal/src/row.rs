//! One row of a screen.

use crate::cell::Cell;
use crate::tables::StyleId;

/// As many cells as the screen has columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    cells: Box<[Cell]>,
    /// From here on all cells are blank in the default style.
    used: usize,
    /// The text goes on in the next row, which is not blank, without a line break.
    pub(crate) wrapped: bool,
}

impl Row {
    pub(crate) fn new(columns: usize) -> Self {
        Self { cells: vec![Cell::BLANK; columns].into(), used: 0, wrapped: false }
    }

    /// A row of these cells, cut or filled to so many columns.
    pub(crate) fn of(mut cells: Vec<Cell>, columns: usize, wrapped: bool) -> Self {
        let used = cells.len().min(columns);
        cells.resize(columns, Cell::BLANK);
        Self { cells: cells.into(), used, wrapped }
    }

    pub(crate) fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// The cells up to the last that is not blank in the default style.
    pub(crate) fn trimmed(&self) -> &[Cell] {
        let used = &self.cells[..self.used];
        let end = used.iter().rposition(|&cell| cell != Cell::BLANK).map_or(0, |last| last + 1);
        &used[..end]
    }

    pub(crate) fn is_blank(&self) -> bool {
        self.trimmed().is_empty()
    }

    pub(crate) fn get(&self, column: usize) -> Cell {
        self.cells[column]
    }

    /// Every cell that may be other than blank, to be changed in place.
    pub(crate) fn used_mut(&mut self) -> &mut [Cell] {
        &mut self.cells[..self.used]
    }

    /// Columns `from..to` to be written over. The halves of wide characters that stand over the
    /// edges become spaces.
    pub(crate) fn overwrite(&mut self, from: usize, to: usize) -> &mut [Cell] {
        if self.cells[from].is_spacer() {
            self.blot(from - 1);
        }
        if self.cells[to - 1].is_wide() && to < self.cells.len() {
            self.blot(to);
        }
        self.used = self.used.max(to);
        if to == self.cells.len() {
            self.wrapped = false;
        }
        &mut self.cells[from..to]
    }

    /// Its text no longer goes on in the next row.
    pub(crate) fn part(&mut self) {
        self.wrapped = false;
        let last = self.cells.len() - 1;
        if self.cells[last].is_leading() {
            self.blot(last);
        }
    }

    /// A space in the same style.
    pub(crate) fn blot(&mut self, column: usize) {
        self.cells[column] = Cell::ascii(b' ', self.cells[column].style);
        self.used = self.used.max(column + 1);
    }

    /// Changes one cell without touching its neighbours.
    pub(crate) fn replace(&mut self, column: usize, cell: Cell) {
        self.cells[column] = cell;
        self.used = self.used.max(column + 1);
    }

    /// Erases columns `from..to`.
    pub(crate) fn erase(&mut self, from: usize, to: usize, style: StyleId) {
        if from >= to {
            return;
        }
        let used = self.used;
        self.overwrite(from, to).fill(Cell::erased(style));
        if style == StyleId::DEFAULT {
            self.used = if to >= used { used.min(from) } else { used };
        }
    }

    /// Erases all of it.
    pub(crate) fn clear(&mut self, style: StyleId) {
        if style == StyleId::DEFAULT {
            self.cells[..self.used].fill(Cell::BLANK);
            self.used = 0;
        } else {
            self.cells.fill(Cell::erased(style));
            self.used = self.cells.len();
        }
        self.wrapped = false;
    }

    /// Moves the cells from a column on to the right and erases what becomes free.
    pub(crate) fn insert(&mut self, column: usize, count: usize, style: StyleId) {
        let columns = self.cells.len();
        let count = count.min(columns - column);
        if self.cells[column].is_spacer() {
            self.blot(column - 1);
            self.blot(column);
        }
        self.cells[column..].rotate_right(count);
        self.cells[column..column + count].fill(Cell::erased(style));
        self.mend_last();
        self.settle();
    }

    /// Takes cells away from a column on; what follows moves left, the end is erased.
    pub(crate) fn delete(&mut self, column: usize, count: usize, style: StyleId) {
        let columns = self.cells.len();
        let count = count.min(columns - column);
        if self.cells[column].is_spacer() {
            self.blot(column - 1);
        }
        if column + count < columns && self.cells[column + count].is_spacer() {
            self.blot(column + count);
        }
        self.cells[column..].rotate_left(count);
        self.cells[columns - count..].fill(Cell::erased(style));
        self.settle();
    }

    /// A wide character whose right half was moved out is a space.
    fn mend_last(&mut self) {
        let last = self.cells.len() - 1;
        if self.cells[last].is_wide() {
            self.blot(last);
        }
    }

    fn settle(&mut self) {
        self.wrapped = false;
        self.used = self.cells.iter().rposition(|&cell| cell != Cell::BLANK).map_or(0, |last| last + 1);
        // A marker for a character that did not fit means nothing any more.
        for cell in &mut self.cells[..self.used] {
            if cell.is_leading() {
                *cell = Cell::ascii(b' ', cell.style);
            }
        }
    }
}
