//! What scrolled off the top, kept compactly.
//!
//! Kept are *lines*, not rows: what was wrapped stands together, so that another width changes
//! nothing here. A line is text in UTF-8 in which a few control bytes have a meaning: blank cells
//! and changes of style, which are written out, so that nothing here names an entry of a table.

use std::collections::VecDeque;

use crate::attributes::{Attributes, Color, Protection, Style, Underline};
use crate::cell::Cell;
use crate::row::Row;
use crate::tables::{StyleId, Tables};
use crate::width::width;

/// Most lines kept unless told otherwise.
pub const DEFAULT_LINES: usize = 2000;
/// Most bytes kept.
const MAX_BYTES: usize = 4 << 20;
/// Longest line; what goes beyond is a line of its own.
const MAX_LINE: usize = 64 << 10;

const BLANK: u8 = 0;
const STYLE: u8 = 1;

#[derive(Clone, Debug)]
pub(crate) struct History {
    bytes: VecDeque<u8>,
    lengths: VecDeque<u32>,
    /// The last line goes on in the screen's first row.
    open: bool,
    /// It does so with a wide character that did not fit.
    leads: bool,
    limit: usize,
    scratch: Vec<u8>,
}

impl History {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            bytes: VecDeque::new(),
            lengths: VecDeque::new(),
            open: false,
            leads: false,
            limit,
            scratch: Vec::new(),
        }
    }

    /// Whether the last line goes on in the screen's first row.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// Whether it does so with a wide character that did not fit the last row.
    pub(crate) fn leads(&self) -> bool {
        self.leads
    }

    /// The last line does not go on.
    pub(crate) fn close(&mut self, tables: &Tables) {
        self.unlead(tables);
        self.open = false;
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.limit);
    }

    /// Takes a row that leaves the screen at the top.
    pub(crate) fn push(&mut self, row: &Row, tables: &Tables) {
        if self.limit == 0 {
            return;
        }
        let mut cells = if row.wrapped { row.cells() } else { row.trimmed() };
        let leads = row.wrapped && cells.last().is_some_and(|last| last.is_leading());
        if leads {
            cells = &cells[..cells.len() - 1];
        }
        self.push_cells(cells, row.wrapped, tables);
        self.leads = leads && self.open;
    }

    /// The wide character that did not fit the last row is no longer there.
    pub(crate) fn unlead(&mut self, tables: &Tables) {
        if std::mem::take(&mut self.leads) {
            self.push_cells(&[Cell::ascii(b' ', StyleId::DEFAULT)], true, tables);
        }
    }

    /// Appends cells to the open line, or begins one.
    pub(crate) fn push_cells(&mut self, cells: &[Cell], open: bool, tables: &Tables) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        encode(cells, self.open, tables, &mut scratch);
        match self.lengths.back_mut() {
            Some(length) if self.open => *length += scratch.len() as u32,
            Some(_) | None => self.lengths.push_back(scratch.len() as u32),
        }
        self.bytes.extend(&scratch);
        self.scratch = scratch;
        self.open = open && self.lengths.back().is_some_and(|&length| (length as usize) < MAX_LINE);
        while self.lengths.len() > self.limit || self.bytes.len() > MAX_BYTES && self.lengths.len() > 1 {
            if let Some(length) = self.lengths.pop_front() {
                self.bytes.drain(..length as usize);
            }
        }
    }

    /// Takes the last line back.
    pub(crate) fn pop(&mut self, tables: &mut Tables) -> Option<Vec<Cell>> {
        let length = self.lengths.pop_back()?;
        let line: Vec<u8> = self.bytes.drain(self.bytes.len() - length as usize..).collect();
        (self.open, self.leads) = (false, false);
        Some(decode(&line, tables))
    }

    /// How many lines are kept.
    pub(crate) fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Every line as runs of text in one style, the latest first.
    pub(crate) fn lines_back(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        let mut end = self.bytes.len();
        self.lengths.iter().rev().map(move |&length| {
            let start = end - length as usize;
            let line = self.bytes.range(start..end).copied().collect();
            end = start;
            line
        })
    }

    /// Every line as runs of text in one style, the oldest first.
    pub(crate) fn lines(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        let mut start = 0;
        self.lengths.iter().map(move |&length| {
            let end = start + length as usize;
            let line = self.bytes.range(start..end).copied().collect();
            start = end;
            line
        })
    }
}

fn encode(cells: &[Cell], explicit: bool, tables: &Tables, out: &mut Vec<u8>) {
    let mut current = StyleId::DEFAULT;
    if explicit {
        write_style(Style::default(), tables, out);
    }
    let mut text = String::new();
    for &cell in cells {
        if cell.style != current && !cell.is_spacer() {
            current = cell.style;
            write_style(tables.style(current), tables, out);
        }
        if let Some(byte) = cell.plain() {
            out.push(byte);
        } else if cell.is_blank() {
            out.push(BLANK);
        } else if cell.is_leading() {
            out.push(b' ');
        } else if let Some(character) = cell.character() {
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        } else if !cell.is_spacer() {
            text.clear();
            tables.write_text(cell, &mut text);
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// The cells of an encoded line.
pub(crate) fn decode(line: &[u8], tables: &mut Tables) -> Vec<Cell> {
    let mut cells: Vec<Cell> = Vec::with_capacity(line.len());
    let mut style = StyleId::DEFAULT;
    let mut rest = line;
    while let Some(&byte) = rest.first() {
        match byte {
            BLANK => cells.push(Cell::erased(style)),
            STYLE => {
                let (read, length) = read_style(&rest[1..], tables);
                style = tables.intern(read);
                rest = &rest[1 + length..];
                continue;
            }
            _ => {
                let (character, length) = character(rest);
                rest = &rest[length..];
                match width(character) {
                    0 => {
                        let base = cells.iter_mut().rev().find(|cell| !cell.is_spacer());
                        if let Some(base) = base {
                            *base = tables.combine(*base, character);
                        }
                    }
                    1 => cells.push(Cell::new(character, style)),
                    _ => cells.extend([Cell::wide(character, style), Cell::spacer(style)]),
                }
                continue;
            }
        }
        rest = &rest[1..];
    }
    cells
}

/// The first character; the bytes are what `encode` wrote.
fn character(bytes: &[u8]) -> (char, usize) {
    let length = match bytes[0] {
        0..0x80 => 1,
        0x80..0xe0 => 2,
        0xe0..0xf0 => 3,
        0xf0.. => 4,
    };
    let text = std::str::from_utf8(&bytes[..length.min(bytes.len())]).unwrap_or("\u{fffd}");
    (text.chars().next().unwrap_or('\u{fffd}'), length.min(bytes.len()))
}

const HAS_FOREGROUND: u8 = 1;
const HAS_BACKGROUND: u8 = 2;
const HAS_UNDERLINE_COLOR: u8 = 4;
const HAS_ATTRIBUTES: u8 = 8;
const HAS_UNDERLINE: u8 = 16;
const HAS_LINK: u8 = 32;
const IS_SPARED: [(Protection, u8); 2] = [(Protection::Selective, 64), (Protection::Ordinary, 128)];

fn write_style(style: Style, tables: &Tables, out: &mut Vec<u8>) {
    let link = tables.link(style.link);
    let has = |is: bool, flag: u8| if is { flag } else { 0 };
    let spared = IS_SPARED.iter().find(|(protection, _)| *protection == style.protection);
    out.push(STYLE);
    out.push(
        has(style.foreground != Color::Default, HAS_FOREGROUND)
            | has(style.background != Color::Default, HAS_BACKGROUND)
            | has(style.underline_color != Color::Default, HAS_UNDERLINE_COLOR)
            | has(style.attributes != Attributes::default(), HAS_ATTRIBUTES)
            | has(style.underline != Underline::None, HAS_UNDERLINE)
            | has(link.is_some(), HAS_LINK)
            | spared.map_or(0, |(_, flag)| *flag),
    );
    for color in [style.foreground, style.background, style.underline_color] {
        match color {
            Color::Default => {}
            Color::Indexed(index) => out.extend([0, index]),
            Color::Rgb(red, green, blue) => out.extend([1, red, green, blue]),
        }
    }
    if style.attributes != Attributes::default() {
        out.push(style.attributes.0);
    }
    if style.underline != Underline::None {
        out.push(style.underline as u8);
    }
    if let Some(link) = link {
        for text in [&link.id, &link.uri] {
            out.extend((text.len() as u16).to_le_bytes());
            out.extend(text.as_bytes());
        }
    }
}

/// A style and the length of its bytes, which `write_style` wrote.
fn read_style(bytes: &[u8], tables: &mut Tables) -> (Style, usize) {
    let mut at = 0;
    let mut next = || {
        at += 1;
        bytes.get(at - 1).copied().unwrap_or(0)
    };
    let has = next();
    let mut color = |flag| match (has & flag != 0).then(&mut next) {
        None => Color::Default,
        Some(0) => Color::Indexed(next()),
        Some(_) => Color::Rgb(next(), next(), next()),
    };
    let (foreground, background) = (color(HAS_FOREGROUND), color(HAS_BACKGROUND));
    let underline_color = color(HAS_UNDERLINE_COLOR);
    let attributes = Attributes(if has & HAS_ATTRIBUTES != 0 { next() } else { 0 });
    let underline =
        if has & HAS_UNDERLINE != 0 { Underline::from_number(next().into()) } else { Underline::None };
    let spared = IS_SPARED.iter().find(|(_, flag)| has & flag != 0);
    let protection = spared.map_or(Protection::None, |(protection, _)| *protection);
    let mut link = 0;
    if has & HAS_LINK != 0 {
        let mut text = || {
            let length = usize::from(u16::from_le_bytes([next(), next()]));
            let bytes: Vec<u8> = (0..length).map(|_| next()).collect();
            String::from_utf8(bytes).unwrap_or_default()
        };
        let (id, uri) = (text(), text());
        link = tables.intern_link(&id, &uri);
    }
    (Style { foreground, background, underline_color, attributes, underline, protection, link }, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_back_as_it_was() {
        let mut tables = Tables::new();
        let link = tables.intern_link("7", "https://example.org/");
        let loud = tables.intern(Style {
            foreground: Color::Rgb(1, 2, 3),
            background: Color::Indexed(200),
            underline_color: Color::Indexed(2),
            attributes: Attributes::BOLD,
            underline: Underline::Curly,
            protection: Protection::Ordinary,
            link,
        });
        let accented = tables.combine(Cell::new('e', loud), '\u{301}');
        let cells = [
            Cell::ascii(b'a', StyleId::DEFAULT),
            Cell::BLANK,
            accented,
            Cell::erased(loud),
            Cell::wide('你', loud),
            Cell::spacer(loud),
            Cell::ascii(b'z', StyleId::DEFAULT),
        ];
        let mut history = History::new(10);
        history.push_cells(&cells[..3], true, &tables);
        history.push_cells(&cells[3..], false, &tables);
        assert_eq!(history.lines().count(), 1);
        let back = history.pop(&mut tables).unwrap();
        let shown = |cells: &[Cell], tables: &Tables| -> Vec<(String, Style)> {
            let text = |cell| {
                let mut text = String::new();
                tables.write_text(cell, &mut text);
                text
            };
            cells.iter().map(|&cell| (text(cell), tables.style(cell.style))).collect()
        };
        assert_eq!(shown(&back, &tables), shown(&cells, &tables));
    }

    #[test]
    fn only_so_much_is_kept() {
        let tables = Tables::new();
        let mut history = History::new(3);
        for byte in b'a'..=b'e' {
            history.push_cells(&[Cell::ascii(byte, StyleId::DEFAULT)], false, &tables);
        }
        assert_eq!(history.lines().collect::<Vec<_>>(), [b"c", b"d", b"e"]);
    }
}
