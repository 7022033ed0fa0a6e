//! An independent terminal, to compare with: what it shows, where its cursor is, its modes.
#![allow(dead_code, clippy::unwrap_used)]

use alacritty_terminal::event::VoidListener;
use alacritty_terminal::grid::Dimensions;
use alacritty_terminal::index::{Column, Line};
use alacritty_terminal::term::cell::{Cell, Flags};
use alacritty_terminal::term::{Config, Term, TermMode};
use alacritty_terminal::vte::ansi::{Color, NamedColor, Processor};
use sessile_model::api::ScreenRun;
use sessile_model::spec::WindowSize;
use sessile_terminal::{Scrollback, Terminal, Viewport};

pub struct Oracle {
    pub term: Term<VoidListener>,
    processor: Processor,
}

struct Dims(WindowSize);

impl Dimensions for Dims {
    fn total_lines(&self) -> usize {
        self.0.rows.into()
    }
    fn screen_lines(&self) -> usize {
        self.0.rows.into()
    }
    fn columns(&self) -> usize {
        self.0.cols.into()
    }
}

/// A cell as both terminals can say it.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    pub text: String,
    pub foreground: Option<String>,
    pub background: Option<String>,
    pub attributes: Vec<String>,
    pub link: Option<String>,
}

impl Oracle {
    pub fn new(size: WindowSize) -> Self {
        let config = Config { kitty_keyboard: true, ..Config::default() };
        Self { term: Term::new(config, &Dims(size), VoidListener), processor: Processor::new() }
    }

    pub fn feed(&mut self, bytes: &[u8]) {
        self.processor.advance(&mut self.term, bytes);
    }

    pub fn resize(&mut self, size: WindowSize) {
        self.term.resize(Dims(size));
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
            .map(|(_, name)| name.to_owned())
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
pub fn cells(terminal: &Terminal) -> Vec<Vec<Shown>> {
    let expand = |run: &ScreenRun, row: &mut Vec<Shown>| {
        for character in run.text.chars() {
            use unicode_width::UnicodeWidthChar as _;
            // As terminals take the few that are wider.
            let width = character.width().unwrap_or(0).min(2);
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
                    .filter(|name| !matches!(name.as_str(), "blink" | "overline"))
                    .cloned()
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
    terminal
        .grid()
        .iter()
        .map(|row| {
            let mut cells = Vec::new();
            row.runs.iter().for_each(|run| expand(run, &mut cells));
            cells.resize(terminal.size().cols.into(), blank.clone());
            cells
        })
        .collect()
}

/// What makes a window of a part of a screen differ from that part: text and attributes, the cursor where it
/// shows, and the modes that say what keys send.
pub fn difference_of_part(terminal: &Terminal, viewport: &Viewport, window: &Oracle) -> Option<String> {
    let (rows, columns) = (usize::from(viewport.window().rows), usize::from(viewport.window().cols));
    let (top, left) = (usize::from(viewport.origin().0), usize::from(viewport.origin().1));
    let blank = |like: Option<&Shown>| Shown {
        text: " ".to_owned(),
        foreground: like.and_then(|cell| cell.foreground.clone()),
        background: like.and_then(|cell| cell.background.clone()),
        attributes: like.map(|cell| cell.attributes.clone()).unwrap_or_default(),
        link: like.and_then(|cell| cell.link.clone()),
    };
    let screen = cells(terminal);
    let part: Vec<Vec<Shown>> = (top..top + rows)
        .map(|row| {
            let cell = |column| screen.get(row).and_then(|row| row.get(column));
            let is_right_half = |column| cell(column).is_some_and(|cell: &Shown| cell.text.is_empty());
            let shown = |column| match cell(column) {
                None => blank(None),
                Some(cell) if column == left && cell.text.is_empty() => blank(Some(cell)),
                Some(cell) if column + 1 == left + columns && is_right_half(column + 1) => blank(Some(cell)),
                Some(cell) => cell.clone(),
            };
            (left..left + columns).map(shown).collect()
        })
        .collect();
    if let Some(difference) = difference(&window.rows(), &part) {
        return Some(format!("{difference}, from {:?}", (top, left)));
    }
    let keys = |oracle: &Oracle| {
        let said = TermMode::APP_CURSOR
            | TermMode::APP_KEYPAD
            | TermMode::SHOW_CURSOR
            | TermMode::BRACKETED_PASTE
            | TermMode::FOCUS_IN_OUT
            | TermMode::LINE_FEED_NEW_LINE
            | TermMode::KITTY_KEYBOARD_PROTOCOL
            | TermMode::MOUSE_MODE;
        format!("{:?} {:?}", *oracle.term.mode() & said, oracle.term.cursor_style())
    };
    let mut whole = Oracle::new(terminal.size());
    whole.feed(&terminal.dump_before_sequence(Scrollback::Without));
    whole.feed(b"\x1b[?2026l");
    // Places are the same in both only where all is shown.
    let (seen, screen) = (viewport.window(), terminal.size());
    if seen.rows < screen.rows || seen.cols < screen.cols {
        whole.feed(b"\x1b[?1000;1002;1003l");
    }
    let alternate = [window, &whole].map(|oracle| oracle.term.mode().contains(TermMode::ALT_SCREEN));
    if alternate[0] != terminal.is_alternate() {
        return Some(format!("alternate screen: {}", alternate[0]));
    }
    // The older way to the alternate screen it does not know.
    if alternate[0] == alternate[1] && keys(window) != keys(&whole) {
        return Some(format!("modes {}, not {}", keys(window), keys(&whole)));
    }
    let (row, column, _) = window.cursor();
    let cursor = (usize::from(terminal.cursor().0), usize::from(terminal.cursor().1));
    let is_at_it = (top + row, left + column) == cursor;
    (terminal.cursor_is_visible() && !is_at_it)
        .then(|| format!("cursor {:?}, not {cursor:?}", (top + row, left + column)))
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
