//! What is shown, for people and programs that are no terminal.

use sessile_model::api::{ScreenRow, ScreenRun};

use crate::attributes::{Attributes, Color, Style, Underline};
use crate::cell::Cell;
use crate::modes::private;
use crate::row::Row;
use crate::tables::Tables;
use crate::terminal::Terminal;

impl Terminal {
    /// The text of the screen, one line per row, without blanks at the ends of rows.
    #[must_use]
    pub fn text(&self) -> String {
        let rows: Vec<String> = self
            .state
            .screen()
            .rows
            .iter()
            .map(|row| self.row_text(row.trimmed()).trim_end().to_owned())
            .collect();
        rows.join("\n")
    }

    /// The text of the screen with the spaces that were written at the ends of rows.
    #[must_use]
    pub fn untrimmed_text(&self) -> String {
        let rows: Vec<String> =
            self.state.screen().rows.iter().map(|row| self.row_text(row.trimmed())).collect();
        rows.join("\n")
    }

    /// How many lines that scrolled off the main screen are kept.
    #[must_use]
    pub fn history_lines(&self) -> usize {
        self.state.history.len()
    }

    /// The last of these lines as data, the oldest first: as many as there may be, and as fit so many
    /// bytes as JSON. What was wrapped is one line; the last may go on in the screen's first row.
    #[must_use]
    pub fn history_grid(&self, lines: usize, mut bytes: usize) -> Vec<ScreenRow> {
        let mut rows = Vec::new();
        for line in self.state.history.lines_back().take(lines) {
            let mut tables = Tables::new();
            let mut cells = crate::history::decode(&line, &mut tables);
            let end = cells.iter().rposition(|&cell| cell != Cell::BLANK).map_or(0, |last| last + 1);
            cells.truncate(end);
            let row = ScreenRow {
                runs: runs(&tables, &cells),
                wrapped: rows.is_empty() && self.state.history.is_open(),
            };
            let Some(left) = bytes.checked_sub(row.runs.iter().map(weight).sum::<usize>() + EMPTY) else {
                break;
            };
            bytes = left;
            rows.push(row);
        }
        rows.reverse();
        rows
    }

    /// The lines that scrolled off the main screen, the oldest first; what was wrapped is one line.
    #[must_use]
    pub fn history(&self) -> Vec<String> {
        let mut tables = Tables::new();
        let cells = |line: &[u8], tables: &mut _| crate::history::decode(line, tables);
        self.state
            .history
            .lines()
            .map(|line| {
                let cells = cells(&line, &mut tables);
                let mut text = String::new();
                cells
                    .iter()
                    .filter(|cell| !cell.is_leading())
                    .for_each(|&cell| write_cell(&tables, cell, &mut text));
                text.truncate(text.trim_end().len());
                text
            })
            .collect()
    }

    /// Row and column of the cursor, from 0.
    #[must_use]
    pub fn cursor(&self) -> (u16, u16) {
        let cursor = self.state.screen().cursor;
        (cursor.row as u16, cursor.column as u16)
    }

    /// Whether the cursor is shown.
    #[must_use]
    pub fn cursor_is_visible(&self) -> bool {
        self.state.modes.private(private::SHOW_CURSOR)
    }

    /// Whether the alternate screen is shown.
    #[must_use]
    pub fn is_alternate(&self) -> bool {
        self.state.on_alternate
    }

    /// Whether a private mode is set.
    #[must_use]
    pub fn mode(&self, number: u16) -> bool {
        self.state.modes.private(number)
    }

    /// The window's title.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.state.titles.current
    }

    /// The screen as data: rows of runs of text in one style.
    #[must_use]
    pub fn grid(&self) -> Vec<ScreenRow> {
        let row =
            |row: &Row| ScreenRow { runs: runs(&self.state.tables, row.trimmed()), wrapped: row.wrapped };
        self.state.screen().rows.iter().map(row).collect()
    }

    fn row_text(&self, cells: &[Cell]) -> String {
        let mut text = String::with_capacity(cells.len());
        cells.iter().for_each(|&cell| write_cell(&self.state.tables, cell, &mut text));
        text
    }
}

/// Most bytes of an empty row or an empty run as JSON.
const EMPTY: usize = 320;

/// Most bytes of a run as JSON: a character is escaped to no more than twice its bytes.
fn weight(run: &ScreenRun) -> usize {
    EMPTY + 2 * (run.text.len() + run.link.as_ref().map_or(0, String::len))
}

fn runs(tables: &Tables, cells: &[Cell]) -> Vec<ScreenRun> {
    let mut runs: Vec<ScreenRun> = Vec::new();
    let mut current = None;
    for &cell in cells {
        if current != Some(cell.style) {
            current = Some(cell.style);
            runs.push(run(tables, tables.style(cell.style)));
        }
        if let Some(run) = runs.last_mut() {
            write_cell(tables, cell, &mut run.text);
        }
    }
    runs
}

fn run(tables: &Tables, style: Style) -> ScreenRun {
    let named = Attributes::ALL.into_iter().filter(|(attribute, ..)| style.attributes.contains(*attribute));
    let underline = match style.underline {
        Underline::None => None,
        Underline::Single => Some("underline"),
        Underline::Double => Some("double-underline"),
        Underline::Curly => Some("curly-underline"),
        Underline::Dotted => Some("dotted-underline"),
        Underline::Dashed => Some("dashed-underline"),
    };
    ScreenRun {
        text: String::new(),
        foreground: color_name(style.foreground),
        background: color_name(style.background),
        attributes: named.map(|(_, _, name)| name).chain(underline).map(str::to_owned).collect(),
        link: tables.link(style.link).map(|link| link.uri.to_string()),
    }
}

fn color_name(color: Color) -> Option<String> {
    match color {
        Color::Default => None,
        Color::Indexed(index) => Some(index.to_string()),
        Color::Rgb(red, green, blue) => Some(format!("#{red:02x}{green:02x}{blue:02x}")),
    }
}

fn write_cell(tables: &crate::tables::Tables, cell: Cell, out: &mut String) {
    if cell.is_blank() || cell.is_leading() {
        out.push(' ');
    }
    tables.write_text(cell, out);
}
