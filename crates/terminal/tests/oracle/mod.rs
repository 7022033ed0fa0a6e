//! An independent terminal, to compare with: what it shows, where its cursor is, its modes.
#![allow(dead_code)]

use alacritty_terminal::event::VoidListener;
use alacritty_terminal::grid::Dimensions;
use alacritty_terminal::index::{Column, Line};
use alacritty_terminal::term::cell::{Cell, Flags};
use alacritty_terminal::term::{Config, Term};
use alacritty_terminal::vte::ansi::{Color, NamedColor, Processor};
use sessile_terminal::{Grid, Run, Size};

pub struct Oracle {
    pub term: Term<VoidListener>,
    processor: Processor,
}

struct Dims(Size);

impl Dimensions for Dims {
    fn total_lines(&self) -> usize {
        self.0.rows.into()
    }
    fn screen_lines(&self) -> usize {
        self.0.rows.into()
    }
    fn columns(&self) -> usize {
        self.0.columns.into()
    }
}

/// A cell as both terminals can say it.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    pub text: String,
    pub foreground: Option<String>,
    pub background: Option<String>,
    pub attributes: Vec<&'static str>,
    pub link: Option<String>,
}

impl Oracle {
    pub fn new(size: Size) -> Self {
        let config = Config { kitty_keyboard: true, ..Config::default() };
        Self { term: Term::new(config, &Dims(size), VoidListener), processor: Processor::new() }
    }

    pub fn feed(&mut self, bytes: &[u8]) {
        self.processor.advance(&mut self.term, bytes);
    }

    /// What would be shown after a synchronized update that never ends.
    pub fn stop_sync(&mut self) {
        self.processor.stop_sync(&mut self.term);
    }

    pub fn rows(&self) -> Vec<Vec<Shown>> {
        self.rows_from(0)
    }

    pub fn history(&self) -> Vec<Vec<Shown>> {
        let rows = self.rows_from(-(self.term.history_size() as i32));
        rows[..self.term.history_size()].to_vec()
    }

    fn rows_from(&self, from: i32) -> Vec<Vec<Shown>> {
        let grid = self.term.grid();
        let lines = from..self.term.screen_lines() as i32;
        lines
            .map(|line| {
                (0..self.term.columns()).map(|column| shown(&grid[Line(line)][Column(column)])).collect()
            })
            .collect()
    }

    pub fn cursor(&self) -> (usize, usize, bool) {
        let cursor = &self.term.grid().cursor;
        (cursor.point.line.0 as usize, cursor.point.column.0, cursor.input_needs_wrap)
    }

    /// Modes, margins aside, which it does not tell.
    pub fn modes(&self) -> String {
        format!("{:?} {:?} {:?}", self.term.mode(), self.term.cursor_style(), self.pen())
    }

    fn pen(&self) -> Shown {
        let template = &self.term.grid().cursor.template;
        Shown { text: String::new(), ..shown(template) }
    }
}

fn shown(cell: &Cell) -> Shown {
    let mut text = String::new();
    if !cell.flags.contains(Flags::WIDE_CHAR_SPACER) {
        text.push(if cell.c == '\t' { ' ' } else { cell.c });
        text.extend(cell.zerowidth().into_iter().flatten());
    }
    let named = [
        (Flags::BOLD, "bold"),
        (Flags::DIM, "dim"),
        (Flags::ITALIC, "italic"),
        (Flags::INVERSE, "inverse"),
        (Flags::HIDDEN, "hidden"),
        (Flags::STRIKEOUT, "strike"),
        (Flags::UNDERLINE, "underline"),
        (Flags::DOUBLE_UNDERLINE, "double-underline"),
        (Flags::UNDERCURL, "curly-underline"),
        (Flags::DOTTED_UNDERLINE, "dotted-underline"),
        (Flags::DASHED_UNDERLINE, "dashed-underline"),
    ];
    Shown {
        text,
        foreground: color(cell.fg),
        background: color(cell.bg),
        attributes: named
            .into_iter()
            .filter(|(flag, _)| cell.flags.contains(*flag))
            .map(|(_, name)| name)
            .collect(),
        link: cell.hyperlink().map(|link| link.uri().to_owned()),
    }
}

fn color(color: Color) -> Option<String> {
    match color {
        Color::Named(NamedColor::Foreground | NamedColor::Background) => None,
        Color::Named(name) => Some((name as usize).to_string()),
        Color::Indexed(index) => Some(index.to_string()),
        Color::Spec(rgb) => Some(format!("#{:02x}{:02x}{:02x}", rgb.r, rgb.g, rgb.b)),
    }
}

/// A grid as cells, so that it can be compared.
pub fn cells(grid: &Grid) -> Vec<Vec<Shown>> {
    let expand = |run: &Run, row: &mut Vec<Shown>| {
        for character in run.text.chars() {
            use unicode_width::UnicodeWidthChar as _;
            let width = character.width().unwrap_or(0);
            if width == 0 {
                let base = row.iter_mut().rev().find(|cell| !cell.text.is_empty()).unwrap();
                base.text.push(character);
                continue;
            }
            let cell = Shown {
                text: character.to_string(),
                foreground: run.foreground.clone(),
                background: run.background.clone(),
                attributes: run
                    .attributes
                    .iter()
                    .copied()
                    .filter(|name| !matches!(*name, "blink" | "overline"))
                    .collect(),
                link: run.link.clone(),
            };
            row.push(cell.clone());
            if width == 2 {
                row.push(Shown { text: String::new(), ..cell });
            }
        }
    };
    let blank = Shown {
        text: " ".to_owned(),
        foreground: None,
        background: None,
        attributes: Vec::new(),
        link: None,
    };
    grid.rows
        .iter()
        .map(|row| {
            let mut cells = Vec::new();
            row.runs.iter().for_each(|run| expand(run, &mut cells));
            cells.resize(grid.columns, blank.clone());
            cells
        })
        .collect()
}

/// The first difference between two screens, in words.
pub fn difference(one: &[Vec<Shown>], other: &[Vec<Shown>]) -> Option<String> {
    if one.len() != other.len() {
        return Some(format!("{} rows and {}", one.len(), other.len()));
    }
    for (number, (left, right)) in one.iter().zip(other).enumerate() {
        if let Some(column) =
            (0..left.len().max(right.len())).find(|&column| left.get(column) != right.get(column))
        {
            return Some(format!(
                "row {number}, column {column}: {:?} and {:?}",
                left.get(column),
                right.get(column)
            ));
        }
    }
    None
}
