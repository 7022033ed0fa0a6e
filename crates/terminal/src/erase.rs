//! Erasing: what is spared from it, and what is not.

use crate::attributes::Protection;
use crate::state::State;

impl State {
    /// ED, and DECSED where it is selective.
    pub(crate) fn erase_in_display(&mut self, what: u16, selective: bool) {
        let rows = self.rows;
        let row = self.screen().cursor.row;
        match what {
            0 => {
                let column = self.screen().cursor.column;
                self.erase_cells(row, column, self.columns, selective);
                self.erase_rows(row + 1, rows, selective);
            }
            1 => {
                self.erase_rows(0, row, selective);
                self.erase_in_line(1, selective);
            }
            2 => {
                if !self.on_alternate && !selective {
                    // What was there can be looked up afterwards.
                    let filled =
                        self.main.rows.iter().rposition(|row| !row.is_blank()).map_or(0, |last| last + 1);
                    for row in &self.main.rows[..filled] {
                        self.history.push(row, &self.tables);
                    }
                }
                self.erase_rows(0, rows, selective);
            }
            3 => self.history.clear(),
            _ => {}
        }
    }

    /// EL, and DECSEL where it is selective.
    pub(crate) fn erase_in_line(&mut self, what: u16, selective: bool) {
        let columns = self.columns;
        let cursor = self.screen().cursor;
        let (from, to) = match what {
            // The cursor is past the last column: nothing is to its right.
            0 if cursor.wraps && cursor.column + 1 == columns => return,
            0 => (cursor.column, columns),
            1 => (0, cursor.column + 1),
            2 => (0, columns),
            _ => return,
        };
        self.erase_cells(cursor.row, from, to, selective);
    }

    fn erase_rows(&mut self, from: usize, to: usize, selective: bool) {
        if selective || self.spares {
            (from..to).for_each(|row| self.erase_cells(row, 0, self.columns, selective));
        } else {
            self.clear(from, to);
        }
    }

    /// Erases columns `from..to` of a row but what is spared from this kind of erasing.
    pub(crate) fn erase_cells(&mut self, row: usize, from: usize, to: usize, selective: bool) {
        if !selective && !self.spares {
            self.edit_row(row, |row, style| row.erase(from, to, style));
            return;
        }
        let spared = if selective { Protection::Selective } else { Protection::Ordinary };
        let style = self.erased();
        let (screen, tables) = self.screen_and_tables();
        screen.rows[row].erase_but(from, to, style, |cell| tables.style(cell.style).protection == spared);
        self.edit_row(row, |_, _| {});
    }

    /// What is written from here on is spared from erasing of one kind or none.
    pub(crate) fn protect(&mut self, protection: Protection) {
        self.spares |= protection == Protection::Ordinary;
        self.screen_mut().cursor.pen.protection = protection;
        self.pen_changed();
    }
}
