//! Parts of rows: between left and right margins (VT420's), and rectangles ("Rectangular Area
//! Operations" of the VT420 and xterm).

use std::ops::Range;

use crate::attributes::{Attributes, Protection, Style, Underline};
use crate::cell::Cell;
use crate::parameters::Parameters;
use crate::row::Row;
use crate::state::State;
use crate::tables::StyleId;
use crate::width::width;

/// Some columns of some rows.
#[derive(Clone, Debug)]
struct Area {
    rows: Range<usize>,
    columns: Range<usize>,
}

/// The attributes that rectangles can be given.
const CHANGED: [u16; 9] = [0, 1, 4, 5, 7, 22, 24, 25, 27];

impl State {
    /// Scrolls the columns between the margins, in the rows from `top` to the bottom margin.
    pub(crate) fn scroll_columns(&mut self, top: usize, count: usize, down: bool) {
        let (left, right) = self.sides;
        let style = self.erased();
        let rows = top..self.margins.1;
        let kept = rows.len() - count;
        let mut moved = vec![Cell::BLANK; right - left];
        let screen = self.screen_mut();
        for step in 0..kept {
            let (from, to) = if down {
                (rows.end - 1 - count - step, rows.end - 1 - step)
            } else {
                (rows.start + count + step, rows.start + step)
            };
            moved.copy_from_slice(&screen.rows[from].cells()[left..right]);
            screen.rows[to].put(left, &moved);
        }
        let free = if down { rows.start..rows.start + count } else { rows.end - count..rows.end };
        screen.rows[free].iter_mut().for_each(|row| row.erase(left, right, style));
        self.part_rows(rows);
    }

    /// Inserts or deletes columns in all rows of the region, if the cursor is in it.
    pub(crate) fn shift_columns(&mut self, at: usize, count: usize, delete: bool) {
        let (cursor, (top, bottom), (_, right)) = (self.screen().cursor, self.margins, self.sides);
        if !(top..bottom).contains(&cursor.row) || !self.is_within_sides(cursor.column) {
            return;
        }
        let style = self.erased();
        for row in &mut self.screen_mut().rows[top..bottom] {
            if delete {
                row.delete(at, right, count, style);
            } else {
                row.insert(at, right, count, style);
            }
        }
        self.part_rows(top..bottom);
    }

    /// DECBI and DECFI: one column back or forward, at the margin by moving what is within them.
    pub(crate) fn index_columns(&mut self, forward: bool) {
        let (column, (left, right)) = (self.screen().cursor.column, self.sides);
        match forward {
            true if column + 1 == right => self.shift_columns(left, 1, true),
            true if column + 1 < self.columns => self.go_right(1),
            false if column == left => self.shift_columns(left, 1, false),
            false if column > 0 => self.go_to_column(self.place().1.saturating_sub(1)),
            _ => {}
        }
    }

    /// Text that was changed in parts of rows goes on from none of them to the next.
    fn part_rows(&mut self, rows: Range<usize>) {
        let first = rows.start;
        self.screen_mut().rows[rows].iter_mut().for_each(Row::part);
        self.part(first);
    }

    /// The rectangle that four parameters name: its first row and column, its last ones.
    fn area(&self, parameters: &Parameters, at: usize) -> Option<Area> {
        let ((top, bottom), (left, right)) = self.addressed();
        let range = |first: usize, last: usize, from: usize, to: usize| {
            let start = from + usize::from(parameters.number(first).max(1)) - 1;
            let end = match parameters.number(last) {
                0 => to,
                number => (from + usize::from(number)).min(to),
            };
            (start.min(to - 1) < end).then(|| start.min(to - 1)..end)
        };
        Some(Area { rows: range(at, at + 2, top, bottom)?, columns: range(at + 1, at + 3, left, right)? })
    }

    /// DECFRA: a rectangle of one character.
    pub(crate) fn fill_rectangle(&mut self, parameters: &Parameters) {
        let number = parameters.number(0);
        let Some(character) =
            char::from_u32(number.into()).filter(|_| matches!(number, 32..=126 | 160..=255))
        else {
            return;
        };
        let character = self.screen().cursor.charsets.map(character, None);
        let Some(area) = self.area(parameters, 1).filter(|_| width(character) == 1) else { return };
        let cell = Cell::new(character, self.pen());
        for row in &mut self.screen_mut().rows[area.rows.clone()] {
            row.overwrite(area.columns.start, area.columns.end).fill(cell);
        }
        self.part_rows(area.rows);
    }

    /// DECERA.
    pub(crate) fn erase_rectangle(&mut self, parameters: &Parameters) {
        let Some(area) = self.area(parameters, 0) else { return };
        let style = self.erased();
        for row in &mut self.screen_mut().rows[area.rows.clone()] {
            row.erase(area.columns.start, area.columns.end, style);
        }
        self.part_rows(area.rows);
    }

    /// DECSERA: what is not spared becomes spaces, which look as it did.
    pub(crate) fn wipe_rectangle(&mut self, parameters: &Parameters) {
        let Some(area) = self.area(parameters, 0) else { return };
        self.part_rows(area.rows.clone());
        let (screen, tables) = self.screen_and_tables();
        for row in &mut screen.rows[area.rows] {
            for column in area.columns.clone() {
                let cell = row.get(column);
                if tables.style(cell.style).protection != Protection::Selective && !cell.is_blank() {
                    row.overwrite(column, column + 1)[0] = Cell::ascii(b' ', cell.style);
                }
            }
        }
    }

    /// DECCRA: a rectangle copied to another place on the screen.
    pub(crate) fn copy_rectangle(&mut self, parameters: &Parameters) {
        let Some(from) = self.area(parameters, 0) else { return };
        let ((top, bottom), (left, right)) = self.addressed();
        let start = |index: usize| usize::from(parameters.number(index).max(1)) - 1;
        let (top, left) = (top + start(5), left + start(6));
        let height = from.rows.len().min(bottom.saturating_sub(top));
        let width = from.columns.len().min(right.saturating_sub(left));
        if height == 0 || width == 0 {
            return;
        }
        let columns = from.columns.start..from.columns.start + width;
        let screen = self.screen_mut();
        let copied: Vec<Cell> = screen.rows[from.rows.start..from.rows.start + height]
            .iter()
            .flat_map(|row| &row.cells()[columns.clone()])
            .copied()
            .collect();
        for (row, cells) in screen.rows[top..].iter_mut().zip(copied.chunks(width)) {
            row.put(left, cells);
        }
        self.part_rows(top..top + height);
    }

    /// DECCARA, and DECRARA where it toggles: attributes of what stands in a rectangle, or in the text
    /// from its first cell to its last.
    pub(crate) fn change_rectangle(&mut self, parameters: &Parameters, toggles: bool) {
        let Some(area) = self.area(parameters, 0) else { return };
        let selected: Vec<&[u16]> = parameters.iter().skip(4).filter(|p| CHANGED.contains(&p[0])).collect();
        let selected = if parameters.len() <= 4 { vec![&[0][..]] } else { selected };
        self.part_rows(area.rows.clone());
        if self.tables.are_large() {
            self.clear_tables();
        }
        let (columns, rows) = (self.columns, area.rows.clone());
        let (mut known, mut new) = (StyleId::DEFAULT, None);
        for number in area.rows {
            let (from, to) = if self.changes_rectangles {
                (area.columns.start, area.columns.end)
            } else {
                let is_last = number + 1 == rows.end;
                (
                    if number == rows.start { area.columns.start } else { 0 },
                    if is_last { area.columns.end } else { columns },
                )
            };
            for column in from..to {
                let cell = self.screen().rows[number].get(column);
                if cell.is_spacer() {
                    continue;
                }
                if new.is_none() || cell.style != known {
                    let style = changed(self.tables.style(cell.style), &selected, toggles);
                    (known, new) = (cell.style, Some(self.tables.intern(style)));
                }
                let Some(style) = new.filter(|&style| style != cell.style) else { continue };
                let row = &mut self.screen_mut().rows[number];
                // Attributes of a cell that nothing was written in are not kept.
                let cell = if cell.is_blank() { Cell::ascii(b' ', style) } else { cell.with_style(style) };
                row.replace(column, cell);
                if cell.is_wide() {
                    row.replace(column + 1, Cell::spacer(style));
                }
            }
        }
    }
}

/// A style with some of its attributes selected or toggled.
fn changed(mut style: Style, selected: &[&[u16]], toggles: bool) -> Style {
    if !toggles {
        for &parameter in selected {
            if parameter[0] == 0 {
                (style.attributes, style.underline) = reset(style);
            } else {
                style.select(std::iter::once(parameter));
            }
        }
        return style;
    }
    for parameter in selected {
        let all = parameter[0] == 0;
        for (attribute, number, _) in
            Attributes::ALL.into_iter().filter(|(_, number, _)| CHANGED.contains(number))
        {
            if all || parameter[0] == number {
                style.attributes.0 ^= attribute.0;
            }
        }
        if all || parameter[0] == 4 {
            style.underline =
                if style.underline == Underline::None { Underline::Single } else { Underline::None };
        }
    }
    style
}

/// Without those attributes that a rectangle can be given.
fn reset(style: Style) -> (Attributes, Underline) {
    let mut attributes = style.attributes;
    for (attribute, number, _) in Attributes::ALL {
        if CHANGED.contains(&number) {
            attributes.set(attribute, false);
        }
    }
    (attributes, Underline::None)
}
