//! Sentences to a person, on a terminal that an app draws on.

use std::fmt::Write as _;

use sessile_model::spec::WindowSize;

use crate::undo::TerminalModes;
use crate::viewport::BLANK;
use crate::width::width;

/// What shows these sentences on a terminal of this size, of which that is changed. On the main screen each gets a
/// line of its own; on the alternate one, where every row is drawn on, they cover the last rows and the cursor stays:
/// what they cover, and the cursor that the app had put aside, come back with a [dump](crate::Terminal::dump). Only
/// where no sequence is begun.
#[must_use]
pub fn notices(texts: &[String], window: WindowSize, modes: &TerminalModes) -> Vec<u8> {
    let mut out = String::new();
    if !modes.shows_alternate() {
        texts.iter().for_each(|text| {
            let _ = write!(out, "\r\n{}\r\n", plain(text));
        });
        return out.into_bytes();
    }
    let rows = usize::from(window.rows);
    let texts = &texts[texts.len().saturating_sub(rows)..];
    // Rows are counted from the window's first, whatever the app's margins are.
    let (absolute, relative) = if modes.has_origin() { ("\x1b[?6l", "\x1b[?6h") } else { ("", "") };
    out.extend(["\x1b7", absolute]);
    for (row, text) in (1 + rows - texts.len()..).zip(texts) {
        let _ = write!(out, "\x1b[{row}H{}", sentence(text, window.cols.into()));
    }
    out.extend([relative, "\x1b8"]);
    out.into_bytes()
}

/// A sentence as a row.
pub(crate) fn sentence(text: &str, columns: usize) -> String {
    let mut left = columns;
    let fits = |character: &char| {
        let rest = left.checked_sub(width(*character));
        left = rest.unwrap_or(0);
        rest.is_some()
    };
    let text: String = plain(text).chars().take_while(fits).collect();
    format!("\x1b[0;7m{text}\x1b[m{}", if left > 0 { BLANK } else { "" })
}

/// No byte of it is more than text.
fn plain(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).collect()
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
        let (_, shown) = told("$ ", &["a\x1b[2Jb"]);
        assert_eq!(shown.text(), "$\na[2Jb\n");
    }

    #[test]
    fn on_the_other_they_cover_the_last_rows_and_no_more() {
        let (app, mut shown) =
            told("\x1b[?1049h1\r\n2\r\n3\x1b[2;3r\x1b[?6h\x1b[31m\x1b[1;4H", &["one", "another one"]);
        assert_eq!(shown.text(), "1\none\nanother");
        shown.feed(b"x");
        assert_eq!(shown.text(), "1\nonex\nanother");
        shown.feed(&app.dump(Scrollback::Without));
        assert_eq!(shown.dump(Scrollback::Without), app.dump(Scrollback::Without));
        let (_, shown) = told("\x1b[?1049h", &["1", "2", "3", "4"]);
        assert_eq!(shown.text(), "2\n3\n4");
    }
}
