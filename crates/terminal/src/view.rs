//! What is shown, for people and programs that are no terminal.

use serde::Serialize;

use crate::attributes::{Attributes, Color, Style, Underline};
use crate::cell::Cell;
use crate::modes::private;
use crate::row::Row;
use crate::terminal::Terminal;

/// The screen as data: rows of runs of text in one style.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Grid {
    /// Columns.
    pub columns: usize,
    /// The rows, the uppermost first.
    pub rows: Vec<GridRow>,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GridRow {
    /// Its text, from the left; what follows the last run is blank.
    pub runs: Vec<Run>,
    /// The text goes on in the next row without a line break.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub wrapped: bool,
}

/// Text in one style.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Run {
    /// The text; cells that were not written are spaces.
    pub text: String,
    /// Its colour: a palette's index or `#rrggbb`; none: the terminal's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub foreground: Option<String>,
    /// The colour behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub background: Option<String>,
    /// Bold and its like, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<&'static str>,
    /// Where a link leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

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

    /// The lines that scrolled off the main screen, the oldest first; what was wrapped is one line.
    #[must_use]
    pub fn history(&self) -> Vec<String> {
        let mut tables = crate::tables::Tables::new();
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

    /// The screen as data.
    #[must_use]
    pub fn grid(&self) -> Grid {
        let row = |row: &Row| GridRow { runs: self.runs(row), wrapped: row.wrapped };
        Grid { columns: self.state.columns, rows: self.state.screen().rows.iter().map(row).collect() }
    }

    fn runs(&self, row: &Row) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        let mut current = None;
        for &cell in row.trimmed() {
            if current != Some(cell.style) {
                current = Some(cell.style);
                runs.push(self.run(self.state.tables.style(cell.style)));
            }
            if let Some(run) = runs.last_mut() {
                write_cell(&self.state.tables, cell, &mut run.text);
            }
        }
        runs
    }

    fn run(&self, style: Style) -> Run {
        let named =
            Attributes::ALL.into_iter().filter(|(attribute, ..)| style.attributes.contains(*attribute));
        let underline = match style.underline {
            Underline::None => None,
            Underline::Single => Some("underline"),
            Underline::Double => Some("double-underline"),
            Underline::Curly => Some("curly-underline"),
            Underline::Dotted => Some("dotted-underline"),
            Underline::Dashed => Some("dashed-underline"),
        };
        Run {
            text: String::new(),
            foreground: color_name(style.foreground),
            background: color_name(style.background),
            attributes: named.map(|(_, _, name)| name).chain(underline).collect(),
            link: self.state.tables.link(style.link).map(|link| link.uri.to_string()),
        }
    }

    fn row_text(&self, cells: &[Cell]) -> String {
        let mut text = String::with_capacity(cells.len());
        cells.iter().for_each(|&cell| write_cell(&self.state.tables, cell, &mut text));
        text
    }

    /// Gives back memory that an idle terminal does not need.
    pub fn shrink(&mut self) {
        self.before_resize = None;
        self.state.clear_tables();
        self.state.history.shrink();
        if !self.state.on_alternate {
            self.state.alternate = None;
        }
    }

    /// Overwrites what was shown, titles and history.
    pub fn wipe(&mut self) {
        self.state.history.wipe();
        let size = self.size();
        for screen in std::iter::once(&mut self.state.main).chain(self.state.alternate.as_deref_mut()) {
            for row in &mut screen.rows {
                row.clear(crate::tables::StyleId::DEFAULT);
            }
        }
        *self = Self::new(size, 0);
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
