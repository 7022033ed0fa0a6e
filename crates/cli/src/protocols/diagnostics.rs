//! What is wrong with a protocol, on a terminal and as JSON.

use serde_json::{Value, json};
use sessile_protocol::Diagnostic;

/// Several lines that end with one, as compilers have them.
pub fn shown(diagnostic: &Diagnostic, coloured: bool) -> String {
    let text = harmless(&diagnostic.to_string());
    let text = if coloured { colour(&text) } else { text };
    text + "\n"
}

/// Whether a limit was reached before there was an answer.
pub fn is_undecided(diagnostic: &Diagnostic) -> bool {
    diagnostic.code.is_limit()
}

/// The diagnostic for programs.
pub fn described(diagnostic: &Diagnostic) -> Value {
    let place = diagnostic.place.as_ref().map(|place| {
        json!({ "file": place.file, "line": place.line, "column": place.column, "width": place.width })
    });
    json!({
        "code": diagnostic.code.text(),
        "message": diagnostic.message,
        "place": place,
        "run": diagnostic.trace.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "help": diagnostic.help,
    })
}

/// Text in which no character acts on the terminal or turns the direction of others. Each stays one
/// character, so that what points at the line below it still does.
fn harmless(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\t' => c,
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(c)).unwrap_or(char::REPLACEMENT_CHARACTER),
        '\x7f' => '\u{2421}',
        '\u{80}'..='\u{9f}'
        | '\u{61c}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
        _ => c,
    };
    text.chars().map(shown).collect()
}

const RED: &str = "\x1b[1;31m";
const BLUE: &str = "\x1b[1;34m";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

fn colour(text: &str) -> String {
    let lines = text.lines().enumerate().map(|(at, line)| if at == 0 { title(line) } else { below(line) });
    lines.collect::<Vec<_>>().join("\n")
}

/// `error[P001]: what is wrong`.
fn title(line: &str) -> String {
    match line.split_once(": ") {
        Some((kind, message)) => format!("{RED}{kind}{PLAIN}{BOLD}: {message}{PLAIN}"),
        None => format!("{RED}{line}{PLAIN}"),
    }
}

/// The margin is blue, and so is the arrow in front of the place; carets are red.
fn below(line: &str) -> String {
    let margin = line.len() - line.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit()).len();
    let (before, rest) = line.split_at(margin);
    for mark in ["-->", "|", "="] {
        let Some(said) = rest.strip_prefix(mark) else { continue };
        let is_caret = mark == "|" && before.trim().is_empty() && said.contains('^');
        let said = if is_caret { format!("{RED}{said}{PLAIN}") } else { said.to_owned() };
        return format!("{BLUE}{before}{mark}{PLAIN}{said}");
    }
    line.to_owned()
}

#[cfg(test)]
mod tests {
    use sessile_protocol::{Discipline, Limits, NoImports, Source, check};

    use super::*;

    fn wrong(text: &str) -> Diagnostic {
        let source = Source { name: "p.scr", text };
        let found = check(&source, &mut NoImports, None, Discipline::Complete, Limits::default());
        found.unwrap_err().remove(0)
    }

    const UNTOLD: &str = "module p;
global protocol P(role A, role B, role C) {
    choice at A { 1() from A to B; 1() from C to B; }
    or { 2() from A to B; 2() from C to B; }
}";

    #[test]
    fn colours_point_at_what_is_wrong() {
        let diagnostic = wrong("module p;\nglobal protocol P(role A) { m() from A to C; }");
        let visible = shown(&diagnostic, true).replace('\x1b', "<");
        insta::assert_snapshot!(visible, @r"
        <[1;31merror[P017]<[0m<[1m: C is no role of this protocol<[0m
        <[1;34m --><[0m p.scr:2:43
        <[1;34m  |<[0m
        <[1;34m2 |<[0m global protocol P(role A) { m() from A to C; }
        <[1;34m  |<[0m<[1;31m                                           ^<[0m
        <[1;34m  =<[0m help: declare the role in the protocol's header
        ");
    }

    #[test]
    fn programs_get_the_place_and_the_run() {
        insta::assert_json_snapshot!(described(&wrong(UNTOLD)), @r#"
        {
          "code": "P052",
          "message": "C may send 2(), but cannot know that it should",
          "place": {
            "file": "p.scr",
            "line": 4,
            "column": 27,
            "width": 16
          },
          "run": [
            "A sends 1() to B",
            "C sends 2() to B"
          ],
          "help": "send the role a message that tells the branches apart"
        }
        "#);
    }

    #[test]
    fn a_file_does_not_act_on_the_terminal() {
        let diagnostic =
            wrong("module p; /* \x1b[2J \u{202e} \u{9b}2J */ global protocol P(role A) { m() from A to C; }");
        for coloured in [false, true] {
            let text = shown(&diagnostic, coloured);
            assert!(text.contains("/* \u{241b}[2J \u{fffd} \u{fffd}2J */"), "{text}");
            assert!(!text.contains("\x1b[2J"), "{text}");
        }
        let plain = shown(&diagnostic, false);
        let rows: Vec<&str> = plain.lines().collect();
        let column = |row: &str, of: &str| row.chars().take_while(|c| !of.contains(*c)).count();
        let pointed = rows[3].chars().nth(column(rows[4], "^"));
        assert_eq!(pointed, Some('C'), "{plain}");
    }
}
