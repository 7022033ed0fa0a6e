//! Another size. The main screen's lines are wrapped anew; what does not fit goes to the history
//! and comes back from it. The alternate screen is cut or extended: its app draws it again.
//!
//! Until something is fed, nothing is lost: when the size returns, so does what was there.

use sessile_model::spec::WindowSize;

use crate::cell::Cell;
use crate::history;
use crate::row::Row;
use crate::screen::{Cursor, SavedCursor, Screen};
use crate::state::State;
use crate::terminal::Terminal;

/// What the screens were before they were resized.
#[derive(Clone, Debug)]
pub(crate) struct Before {
    size: WindowSize,
    cursor: Cursor,
    saved: SavedCursor,
    margins: (usize, usize),
    sides: (usize, usize),
    alternate: Option<Box<Screen>>,
    /// Rows of the main screen that no longer fit below its cursor.
    below: Vec<Row>,
    /// Whether the cursor, and the saved one, stood behind a character in the last column.
    behind: [bool; 2],
}

impl Terminal {
    /// Follows the size of the window.
    pub fn resize(&mut self, size: WindowSize) {
        let size = WindowSize { rows: size.rows.max(1), cols: size.cols.max(1) };
        if size == self.size() {
            return;
        }
        // While there is a `Before` the tables are not cleared: its cells name what they hold.
        let state = &mut self.state;
        let mut before = self.before_resize.take().unwrap_or_else(|| {
            Box::new(Before {
                size: WindowSize { rows: state.rows as u16, cols: state.columns as u16 },
                cursor: state.main.cursor,
                saved: state.main.saved,
                margins: state.margins,
                sides: state.sides,
                alternate: state.alternate.clone(),
                below: Vec::new(),
                behind: [state.main.cursor.wraps, state.main.saved.cursor.wraps],
            })
        });
        let (rows, columns) = (usize::from(size.rows), usize::from(size.cols));
        let returns = (size == before.size).then_some(before.cursor.row);
        reflow(state, rows, columns, returns, &mut before);
        state.alternate = before.alternate.as_ref().map(|original| Box::new(fitted(original, rows, columns)));
        (state.rows, state.columns) = (rows, columns);
        (state.margins, state.sides) = ((0, rows), (0, columns));
        for column in state.tabs.len()..columns {
            state.tabs.push(column % 8 == 0);
        }
        if size == before.size {
            state.main.cursor = Cursor { pen: state.main.cursor.pen, ..before.cursor };
            state.main.saved = before.saved;
            (state.margins, state.sides) = (before.margins, before.sides);
        } else {
            self.before_resize = Some(before);
            state.main.clamp();
        }
        state.pen_changed();
    }
}

/// The same screen, cut or extended: at the top only as far as its cursor would be lost.
fn fitted(original: &Screen, rows: usize, columns: usize) -> Screen {
    if (original.rows.len(), original.columns) == (rows, columns) {
        return original.clone();
    }
    let skipped = (original.cursor.row + 1).saturating_sub(rows);
    let mut screen = Screen::new(rows, columns);
    for (row, old) in screen.rows.iter_mut().zip(&original.rows[skipped..]) {
        let mut cells: Vec<Cell> = old.cells().iter().copied().take(columns).collect();
        if let Some(last) = cells.last_mut().filter(|last| last.is_wide()) {
            *last = Cell::ascii(b' ', last.style);
        }
        *row = Row::of(cells, columns, old.wrapped && old.cells().len() == columns);
    }
    (screen.cursor, screen.saved) = (original.cursor, original.saved);
    screen.cursor.row -= skipped;
    screen.saved.cursor.row = screen.saved.cursor.row.saturating_sub(skipped);
    screen.clamp();
    screen
}

/// A line and where in it the two cursors are, or what they stand behind, by cells from its start.
#[derive(Default)]
struct Line {
    cells: Vec<Cell>,
    cursors: [Option<usize>; 2],
}

/// `returns` is the row in which the cursor is to be, where that is known.
fn reflow(state: &mut State, rows: usize, columns: usize, returns: Option<usize>, before: &mut Before) {
    let State { main, history, tables, .. } = state;
    let old_rows: Vec<Row> =
        std::mem::take(&mut main.rows).into_iter().chain(before.below.drain(..)).collect();
    let begun = if history.is_open() { history.pop(tables) } else { None };
    let mut lines =
        joined(&old_rows, begun.unwrap_or_default(), [main.cursor, main.saved.cursor], before.behind);
    // Empty lines below the cursor are only the rest of the screen.
    while lines.len() > 1
        && lines.last().is_some_and(|line| line.cells.is_empty() && line.cursors[0].is_none())
    {
        let cut = lines.pop().and_then(|line| line.cursors[1]);
        if let (Some(column), Some(last)) = (cut, lines.last_mut()) {
            last.cursors[1] = Some(column);
        }
    }
    let mut wrapped: Vec<Row> = Vec::new();
    for line in lines {
        let first = wrapped.len();
        let new = wrap(line.cells, columns);
        let cursors = [&mut main.cursor, &mut main.saved.cursor].into_iter().zip(before.behind);
        for ((cursor, behind), offset) in cursors.zip(line.cursors) {
            if let Some(offset) = offset {
                let (row, column) = place(offset, &new, columns);
                cursor.row = first + row;
                cursor.column = column + usize::from(behind);
                cursor.wraps = behind && cursor.column == columns;
                cursor.column = cursor.column.min(columns - 1);
            }
        }
        wrapped.extend(new);
    }
    while returns.map_or(wrapped.len() < rows, |row| main.cursor.row < row) {
        let Some(cells) = history.pop(tables) else { break };
        let new = wrap(cells, columns);
        main.cursor.row += new.len();
        main.saved.cursor.row += new.len();
        wrapped.splice(0..0, new);
    }
    let surplus = wrapped.len().saturating_sub(rows).min(main.cursor.row);
    let above = returns.map_or(surplus, |row| main.cursor.row.saturating_sub(row));
    for row in wrapped.drain(..above) {
        history.push(&row, tables);
    }
    main.cursor.row -= above;
    main.saved.cursor.row = main.saved.cursor.row.saturating_sub(above);
    before.below = wrapped.split_off(rows.min(wrapped.len()));
    wrapped.resize_with(rows, || Row::new(columns));
    (main.rows, main.columns) = (wrapped, columns);
}

/// Rows put together to lines; the first one goes on after `begun`.
fn joined(rows: &[Row], begun: Vec<Cell>, cursors: [Cursor; 2], behind: [bool; 2]) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut line = Line { cells: begun, cursors: [None; 2] };
    for (number, row) in rows.iter().enumerate() {
        for (at, (cursor, behind)) in line.cursors.iter_mut().zip(cursors.into_iter().zip(behind)) {
            if cursor.row == number {
                // The marker in the last column does not stay; what is before it does.
                let column = cursor.column + usize::from(cursor.wraps) - usize::from(behind);
                let marked = row.wrapped && column > 0 && row.get(column).is_leading();
                *at = Some(line.cells.len() + column - usize::from(marked));
            }
        }
        if row.wrapped {
            line.cells.extend_from_slice(row.cells());
            unlead(&mut line.cells);
        } else {
            line.cells.extend_from_slice(row.trimmed());
            lines.push(std::mem::take(&mut line));
        }
    }
    if !line.cells.is_empty() || line.cursors != [None; 2] {
        lines.push(line);
    }
    lines
}

/// The marker for a wide character that did not fit is no part of the line.
fn unlead(cells: &mut Vec<Cell>) {
    if cells.last().is_some_and(|last| last.is_leading()) {
        cells.pop();
    }
}

/// A line as rows of so many columns, at least one.
pub(crate) fn wrap(cells: Vec<Cell>, columns: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row: Vec<Cell> = Vec::with_capacity(columns);
    let mut cells = cells.into_iter().peekable();
    while let Some(mut cell) = cells.next() {
        if cell.is_leading() && cells.peek().is_some_and(|next| next.is_wide()) {
            continue;
        }
        if cell.is_wide() && columns < 2 {
            cell = Cell::ascii(b' ', cell.style);
            cells.next_if(|next| next.is_spacer());
        }
        if cell.is_wide() && row.len() + 1 == columns {
            row.push(Cell::leading(cell.style));
        }
        if row.len() == columns {
            rows.push(Row::of(std::mem::take(&mut row), columns, true));
        }
        row.push(cell);
    }
    rows.push(Row::of(row, columns, false));
    rows
}

/// Row and column to which a cell of a line went.
fn place(offset: usize, rows: &[Row], columns: usize) -> (usize, usize) {
    let mut start = 0;
    let last = rows.len() - 1;
    for (number, row) in rows[..last].iter().enumerate() {
        let length = columns - usize::from(row.get(columns - 1).is_leading());
        if offset < start + length {
            return (number, offset - start);
        }
        start += length;
    }
    (last, (offset - start).min(columns - 1))
}

impl Terminal {
    /// Lines of history as rows of the present width, the oldest first, and the tables they name.
    pub(crate) fn history_rows(&self) -> (Vec<Row>, crate::tables::Tables) {
        let mut tables = self.state.tables.clone();
        let mut rows = Vec::new();
        for line in self.state.history.lines() {
            rows.extend(wrap(history::decode(&line, &mut tables), self.state.columns));
        }
        if let Some(last) = rows.last_mut() {
            last.wrapped = self.state.history.is_open();
            if self.state.history.leads() {
                let style = self.state.main.rows[0].get(0).style;
                last.replace(self.state.columns - 1, Cell::leading(style));
            }
        }
        (rows, tables)
    }
}
