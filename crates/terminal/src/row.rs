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

    /// Moves the cells from a column up to `end` to the right and erases what becomes free.
    pub(crate) fn insert(&mut self, column: usize, end: usize, count: usize, style: StyleId) {
        let count = count.min(end - column);
        self.cut(end);
        self.cut(column);
        self.cells[column..end].rotate_right(count);
        self.cells[column..column + count].fill(Cell::erased(style));
        // A wide character whose right half was moved out is a space.
        if self.cells[end - 1].is_wide() {
            self.blot(end - 1);
        }
        self.settle();
    }

    /// Takes cells away from a column on; what follows up to `end` moves left, and leaves blanks.
    pub(crate) fn delete(&mut self, column: usize, end: usize, count: usize, style: StyleId) {
        let count = count.min(end - column);
        self.cut(end);
        self.cut(column);
        self.cut(column + count);
        self.cells[column..end].rotate_left(count);
        self.cells[end - count..end].fill(Cell::erased(style));
        self.settle();
    }

    /// A wide character that stands on both sides of an edge becomes spaces.
    fn cut(&mut self, column: usize) {
        if self.cells.get(column).is_some_and(|cell| cell.is_spacer()) {
            self.blot(column - 1);
            self.blot(column);
        }
    }

    /// Writes cells of another place over those from a column on. Halves of wide characters are
    /// spaces, and so is a marker for one that did not fit there.
    pub(crate) fn put(&mut self, column: usize, cells: &[Cell]) {
        let end = column + cells.len();
        self.overwrite(column, end).copy_from_slice(cells);
        for at in column..end {
            let half =
                at == column && self.cells[at].is_spacer() || at + 1 == end && self.cells[at].is_wide();
            if half || self.cells[at].is_leading() {
                self.blot(at);
            }
        }
    }

    /// Erases those of columns `from..to` that are not spared.
    pub(crate) fn erase_but(
        &mut self,
        from: usize,
        to: usize,
        style: StyleId,
        spared: impl Fn(Cell) -> bool,
    ) {
        let mut at = from;
        while at < to {
            let end = (at..to).find(|&column| spared(self.cells[column])).unwrap_or(to);
            self.erase(at, end, style);
            at = end + 1;
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
