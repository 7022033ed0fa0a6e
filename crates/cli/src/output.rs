//! Standard output and standard error.

use std::io::{self, IsTerminal, Write as _};

use serde::Serialize;
use sessile_model::problem::ProblemKind;

use crate::failure::Failure;

/// Writes text to standard output.
///
/// # Errors
/// [`Failure::ClosedPipe`] when nobody reads it any more.
pub fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes())
}

/// Writes bytes to standard output.
///
/// # Errors
/// As [`print`].
pub fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|e| {
        if e.kind() == io::ErrorKind::BrokenPipe {
            Failure::ClosedPipe
        } else {
            Failure::system("write the output", &e)
        }
    })
}

/// Writes a value as JSON to standard output.
///
/// # Errors
/// As [`print`].
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| Failure::new(ProblemKind::Internal, format!("cannot write JSON: {e}")))?;
    print(&(text + "\n"))
}

/// Says a sentence on standard error. That nobody listens is no reason to stop.
pub fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Whether what is written there may be coloured: a terminal, and `NO_COLOR` unset (no-color.org).
pub fn colours(to: &impl IsTerminal) -> bool {
    to.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// Text with everything that a terminal would act on, turns the direction of text or shows as nothing made
/// visible: names, titles and causes may come from inside a session.
pub fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            if c.is_control() || is_unseen(c) { c.escape_default().collect::<Vec<_>>() } else { vec![c] }
        })
        .collect()
}

/// Controls of direction, and what takes no room and joins no letters (Unicode Standard Annex 9; Unicode Technical
/// Standard 39).
fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Rows aligned in columns two blanks apart, without trailing blanks.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|r| r.get(column)).map(|c| c.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// A count and what it counts: `1 path`, `2 paths`.
pub fn counted(count: impl Into<u64>, one: &str, many: &str) -> String {
    match count.into() {
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned() {
        let rows = [vec!["NAME".into(), "ID".into()], vec!["amber-otter".into(), "1a2b".into()]];
        insta::assert_snapshot!(table(&rows), @r"
        NAME         ID
        amber-otter  1a2b
        ");
    }

    #[test]
    fn escape_sequences_are_made_visible() {
        assert_eq!(printable("a\x1b[2Jé"), "a\\u{1b}[2Jé");
    }

    #[test]
    fn one_is_singular() {
        let said = [0u64, 1, 2].map(|count| counted(count, "path", "paths"));
        assert_eq!(said, ["0 paths", "1 path", "2 paths"]);
    }
}
