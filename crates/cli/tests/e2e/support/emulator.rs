//! An independent terminal emulator: what a person would see of the bytes that a client wrote.

use alacritty_terminal::event::VoidListener;
use alacritty_terminal::grid::Dimensions;
use alacritty_terminal::index::{Column, Line};
use alacritty_terminal::term::cell::Flags;
use alacritty_terminal::term::{Config, Term};
use alacritty_terminal::vte::ansi::Processor;

struct Size {
    columns: usize,
    rows: usize,
}

impl Dimensions for Size {
    fn total_lines(&self) -> usize {
        self.rows
    }

    fn screen_lines(&self) -> usize {
        self.rows
    }

    fn columns(&self) -> usize {
        self.columns
    }
}

/// Text, attributes, cursor and modes after these bytes, a line each.
pub fn seen(bytes: &[u8], columns: usize, rows: usize) -> Vec<String> {
    seen_resized(&[((columns, rows), bytes)])
}

/// Cells of a screen, each with its attributes, and the cursor's row and column.
#[derive(Debug, PartialEq, Eq)]
pub struct Picture {
    pub cells: Vec<Vec<String>>,
    pub cursor: (usize, usize),
}

/// What is shown after these bytes.
pub fn picture(bytes: &[u8], columns: usize, rows: usize) -> Picture {
    let term = emulated(&[((columns, rows), bytes)]);
    let cell = |row: usize, column: usize| {
        let cell = &term.grid()[Line(row as i32)][Column(column)];
        format!("{} {:?} {:?} {:?}", cell.c, cell.fg, cell.bg, cell.flags - Flags::WRAPLINE)
    };
    let cells = (0..rows).map(|row| (0..columns).map(|column| cell(row, column)).collect()).collect();
    let cursor = term.grid().cursor.point;
    Picture { cells, cursor: (cursor.line.0 as usize, cursor.column.0) }
}

/// The same of a window that had these sizes, one after the other, while it was given these bytes.
pub fn seen_resized(parts: &[((usize, usize), &[u8])]) -> Vec<String> {
    let term = emulated(parts);
    let (columns, rows) = parts[parts.len() - 1].0;
    let mut lines: Vec<String> = (0..rows)
        .map(|row| {
            let mut line = String::new();
            let mut style = String::new();
            for column in 0..columns {
                let cell = &term.grid()[Line(row as i32)][Column(column)];
                let flags = cell.flags - (Flags::WRAPLINE | Flags::WIDE_CHAR | Flags::WIDE_CHAR_SPACER);
                let is = format!("<{:?} {:?} {:?}>", cell.fg, cell.bg, flags);
                if is != style {
                    line.push_str(&is);
                    style = is;
                }
                line.push(if cell.c == '\t' { ' ' } else { cell.c });
                line.extend(cell.zerowidth().into_iter().flatten());
            }
            line
        })
        .collect();
    let cursor = &term.grid().cursor;
    lines.push(format!("cursor {:?} waits {}", cursor.point, cursor.input_needs_wrap));
    lines.push(format!("modes {:?}, {:?}", term.mode(), term.cursor_style()));
    lines
}

fn emulated(parts: &[((usize, usize), &[u8])]) -> Term<VoidListener> {
    let config = Config { kitty_keyboard: true, ..Config::default() };
    let (columns, rows) = parts[0].0;
    let mut term = Term::new(config, &Size { columns, rows }, VoidListener);
    let mut processor: Processor = Processor::new();
    for &((columns, rows), bytes) in parts {
        term.resize(Size { columns, rows });
        processor.advance(&mut term, bytes);
    }
    processor.stop_sync(&mut term);
    term
}
