//! Sentences to a person, on a terminal that an app draws on.

use std::fmt::Write as _;

use sessile_model::spec::WindowSize;

use crate::undo::TerminalModes;
use crate::viewport::BLANK;
use crate::width::width;

/// Put aside and taken back: the cursor, its pen, and which characters letters are (DECSC, DECRC).
const SAVE: &str = "\x1b7";
const RESTORE: &str = "\x1b8";
/// Letters are letters, whatever an app has made of them and of their colours.
const PLAIN: &str = "\x0f\x1b(B\x1b[m";

/// What shows these sentences on a terminal of this size, of which that is changed. On the main screen they get lines of
/// their own; on the alternate one, where every row is drawn on, they cover the last rows and the cursor stays. What they
/// cover, and the cursor that the app had put aside, come back with a [dump](crate::Terminal::dump). Only where no
/// sequence is begun.
#[must_use]
pub fn notices(texts: &[String], window: WindowSize, modes: &TerminalModes) -> Vec<u8> {
    let rows = usize::from(window.rows);
    let mut lines: Vec<String> = texts.iter().flat_map(|text| wrapped(text, window.cols.into())).collect();
    lines.drain(..lines.len().saturating_sub(rows));
    let mut out = String::new();
    if modes.shows_alternate() {
        // Rows are counted from the window's first, whatever the app's margins are.
        let (absolute, relative) = if modes.has_origin() { ("\x1b[?6l", "\x1b[?6h") } else { ("", "") };
        out.extend([SAVE, absolute, PLAIN]);
        for (row, line) in (1 + rows - lines.len()..).zip(&lines) {
            let _ = write!(out, "\x1b[{row}H{}", reversed(line, window.cols.into()));
        }
        out.extend([relative, RESTORE]);
    } else {
        // Room first, for a screen that scrolls takes no account of what is put aside.
        out.extend(lines.iter().map(|_| "\r\n"));
        if lines.len() > 1 {
            let _ = write!(out, "\x1b[{}A", lines.len() - 1);
        }
        // One line to who copies it, where the terminal breaks it.
        out.extend([SAVE, PLAIN, &lines.join(if modes.wraps() { "" } else { "\r\n" }), RESTORE]);
        out.extend(lines.iter().map(|_| "\r\n"));
    }
    out.into_bytes()
}

/// A sentence as a row: as much of it as there is room for.
pub(crate) fn sentence(text: &str, columns: usize) -> String {
    reversed(wrapped(text, columns).first().map_or("", String::as_str), columns)
}

fn reversed(line: &str, columns: usize) -> String {
    let is_full = line.chars().map(width).sum::<usize>() >= columns;
    format!("\x1b[7m{line}\x1b[m{}", if is_full { "" } else { BLANK })
}

/// Its lines, none wider than so many columns; no byte of it is more than text.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for character in text.chars().filter(|character| !character.is_control()) {
        let width = width(character);
        if used + width > columns && used > 0 {
            lines.push(String::new());
            used = 0;
        }
        if width <= columns
            && let Some(line) = lines.last_mut()
        {
            line.push(character);
            used += width;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Scrollback, Terminal};

    const WINDOW: WindowSize = WindowSize { rows: 3, cols: 8 };

    fn told(before: &str, texts: &[&str]) -> (Terminal, Terminal) {
        let mut app = Terminal::new(WINDOW, 0);
        app.feed(before.as_bytes());
        let mut modes = TerminalModes::default();
        modes.watch(before.as_bytes());
        let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
        let mut shown = Terminal::new(WINDOW, 0);
        shown.feed(before.as_bytes());
        let told = notices(&texts, WINDOW, &modes);
        shown.feed(&told);
        let before = modes.undo();
        modes.watch(&told);
        assert_eq!(modes.undo(), before, "all is as it was");
        (app, shown)
    }

    #[test]
    fn on_the_main_screen_they_have_lines() {
        for wraps in ["", "\x1b[?7l"] {
            let (_, shown) = told(wraps, &["two of them"]);
            assert_eq!(shown.text(), "two of t\nhem\n");
        }
        let (app, mut shown) = told("\x1b[31m\x1b(0x\x1b[4h", &["one", "two of them"]);
        shown.feed(&app.dump(Scrollback::Without));
        assert_eq!(shown.dump(Scrollback::Without), app.dump(Scrollback::Without));
        let (_, mut shown) = told("\x1b[31m\x1b(0", &["q"]);
        shown.feed(b"q");
        assert_eq!(shown.text(), "\nq\n\u{2500}");
        let (_, shown) = told("$ ", &["a\x1b[2Jb"]);
        assert_eq!(shown.text(), "$\na[2Jb\n");
    }

    #[test]
    fn on_the_other_they_cover_the_last_rows_and_no_more() {
        let (app, mut shown) =
            told("\x1b[?1049h1\r\n2\r\n3\x1b[2;3r\x1b[?6h\x1b[31m\x1b[1;4H", &["one", "another one"]);
        assert_eq!(shown.text(), "one\nanother\none");
        shown.feed(b"x");
        assert_eq!(shown.text(), "one\nanoxher\none");
        shown.feed(&app.dump(Scrollback::Without));
        assert_eq!(shown.dump(Scrollback::Without), app.dump(Scrollback::Without));
        let (_, shown) = told("\x1b[?1049h", &["1", "2", "3", "4"]);
        assert_eq!(shown.text(), "2\n3\n4");
    }
}
