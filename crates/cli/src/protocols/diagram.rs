//! A protocol as a sequence diagram: its rows, and these as text.
//!
//! Time goes down. Each role has a line; choices and rounds are brackets at the left margin.

use sessile_protocol::machine::Role;
use sessile_protocol::{Act, Outline, Stage};

use super::bound;

/// One row of a diagram. A depth counts the brackets that are around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// An arrow from one role to another.
    Arrow { depth: usize, from: usize, to: usize, text: String },
    /// A bracket begins.
    Open { depth: usize, text: String },
    /// Another branch of the bracket that is open at this depth.
    Branch { depth: usize, text: String },
    /// A bracket ends.
    Close { depth: usize },
    /// Back to the beginning of a bracket.
    Back { depth: usize, text: String },
}

/// The rows of a protocol.
pub fn rows(outline: &Outline) -> Vec<Row> {
    let mut rows = Vec::new();
    add(outline, &outline.body, 0, &mut rows);
    rows
}

/// How much room brackets and their texts take at the left, when a bracket and a text are so wide.
pub fn margin(rows: &[Row], bracket: usize, width: impl Fn(&str) -> usize) -> usize {
    let wide = |row: &Row| match row {
        Row::Open { depth, text } | Row::Branch { depth, text } | Row::Back { depth, text } => {
            bracket * (depth + 1) + width(text)
        }
        Row::Arrow { .. } | Row::Close { .. } => 0,
    };
    rows.iter().map(wide).max().unwrap_or(0)
}

fn add(outline: &Outline, body: &[Stage], depth: usize, rows: &mut Vec<Row>) {
    for stage in body {
        match stage {
            Stage::Meeting { act, from, to, message, within, late } => {
                let mut text = match act {
                    Act::Connect | Act::Accept => format!("connect {message}"),
                    Act::Disconnect => "disconnect".to_owned(),
                    Act::Send | Act::Receive => message.to_string(),
                };
                if let Some(within) = within {
                    text += &format!(" within {}", bound(*within));
                }
                if *late {
                    text += " when time is over";
                }
                rows.push(Row::Arrow { depth, from: place(*from), to: place(*to), text });
            }
            Stage::Choice { at, branches } => {
                for (number, branch) in branches.iter().enumerate() {
                    rows.push(match number {
                        0 => Row::Open { depth, text: format!("{} chooses", outline.roles[place(*at)]) },
                        _ => Row::Branch { depth, text: "or".to_owned() },
                    });
                    add(outline, branch, depth + 1, rows);
                }
                rows.push(Row::Close { depth });
            }
            Stage::Round { number, body } => {
                rows.push(Row::Open { depth, text: format!("round {number}") });
                add(outline, body, depth + 1, rows);
                rows.push(Row::Close { depth });
            }
            Stage::Again { number } => rows.push(Row::Back { depth, text: format!("round {number} again") }),
        }
    }
}

fn place(role: Role) -> usize {
    usize::from(role.0)
}

/// Where the lines of roles are, when names and the texts of arrows are so many wide and `margin` is
/// around each text.
pub fn columns(roles: &[Box<str>], rows: &[Row], width: impl Fn(&str) -> usize, margin: usize) -> Vec<usize> {
    let mut columns = Vec::with_capacity(roles.len());
    for (at, role) in roles.iter().enumerate() {
        let half = width(role).div_ceil(2);
        let beside = match at {
            0 => half,
            _ => columns[at - 1] + width(&roles[at - 1]).div_ceil(2) + half + margin,
        };
        let fits = |row: &Row| match row {
            Row::Arrow { from, to, text, .. } if *from.max(to) == at && from != to => {
                Some(columns[*from.min(to)] + width(text) + 2 * margin)
            }
            Row::Arrow { .. }
            | Row::Open { .. }
            | Row::Branch { .. }
            | Row::Close { .. }
            | Row::Back { .. } => None,
        };
        columns.push(rows.iter().filter_map(fits).max().unwrap_or(0).max(beside));
    }
    columns
}

/// The diagram as text.
pub fn text(outline: &Outline) -> String {
    let rows = rows(outline);
    let width = |text: &str| text.chars().count();
    let left = match margin(&rows, 2, width) {
        0 => 0,
        margin => margin + 2,
    };
    let columns: Vec<usize> =
        columns(&outline.roles, &rows, width, 4).iter().map(|column| left + column).collect();
    let mut names = Vec::new();
    for (role, column) in outline.roles.iter().zip(&columns) {
        write(&mut names, column - width(role) / 2, role);
    }
    let mut text = line(&names);
    for row in &rows {
        let mut cells = Vec::new();
        for column in &columns {
            write(&mut cells, *column, "│");
        }
        match row {
            Row::Arrow { depth, from, to, text } => {
                brackets(&mut cells, *depth);
                arrow(&mut cells, columns[*from], columns[*to], text);
            }
            Row::Open { depth, text } => head(&mut cells, *depth, &format!("┌─ {text}")),
            Row::Branch { depth, text } => head(&mut cells, *depth, &format!("├─ {text}")),
            Row::Close { depth } => head(&mut cells, *depth, "└─"),
            Row::Back { depth, text } => {
                brackets(&mut cells, *depth);
                write(&mut cells, 2 * depth, &format!("↑ {text}"));
            }
        }
        text += &line(&cells);
    }
    text
}

/// The brackets that are around a row.
fn brackets(cells: &mut Vec<char>, depth: usize) {
    for outer in 0..depth {
        write(cells, 2 * outer, "│");
    }
}

fn head(cells: &mut Vec<char>, depth: usize, text: &str) {
    brackets(cells, depth);
    write(cells, 2 * depth, text);
}

/// `├─ text ──▶│`, or to the left; the text is nearer to who begins.
fn arrow(cells: &mut Vec<char>, from: usize, to: usize, text: &str) {
    let (left, right) = (from.min(to), from.max(to));
    write(cells, left, &"─".repeat(right - left));
    if from < to {
        write(cells, left, &format!("├─ {text} "));
        write(cells, right - 1, "▶│");
    } else {
        write(cells, left, "│◀");
        write(cells, right - text.chars().count() - 3, &format!(" {text} ─┤"));
    }
}

/// Puts text over what is there.
fn write(cells: &mut Vec<char>, at: usize, text: &str) {
    for (offset, character) in text.chars().enumerate() {
        if cells.len() <= at + offset {
            cells.resize(at + offset + 1, ' ');
        }
        cells[at + offset] = character;
    }
}

fn line(cells: &[char]) -> String {
    cells.iter().collect::<String>().trim_end().to_owned() + "\n"
}

#[cfg(test)]
pub mod tests {
    use sessile_protocol::{Limits, NoImports, Source, outline};

    use super::*;

    /// The protocol of the page on protocols.
    pub const TALK: &str = "module talk;
type <rust> \"String\" from \"std\" as Text;
global protocol Talk(role User, role Agent) {
    rec Round {
        prompt(Text) from User to Agent;
        rec More {
            choice at Agent { part(Text) from Agent to User within 30s; continue More; }
            or { done() from Agent to User within 30s; continue Round; }
            or late { sorry() from Agent to User; }
        }
    }
}";

    pub fn outlined(text: &str) -> Outline {
        let source = Source { name: "p", text };
        outline(&source, &mut NoImports, None, Limits::default()).unwrap()
    }

    #[test]
    fn a_protocol_is_a_diagram() {
        insta::assert_snapshot!(text(&outlined(TALK)), @r"
                               User                             Agent
        ┌─ round 1               │                                │
        │                        ├─ prompt(Text) ────────────────▶│
        │ ┌─ round 2             │                                │
        │ │ ┌─ Agent chooses     │                                │
        │ │ │                    │◀─────── part(Text) within 30s ─┤
        │ │ │ ↑ round 2 again    │                                │
        │ │ ├─ or                │                                │
        │ │ │                    │◀─────────── done() within 30s ─┤
        │ │ │ ↑ round 1 again    │                                │
        │ │ ├─ or                │                                │
        │ │ │                    │◀─── sorry() when time is over ─┤
        │ │ └─                   │                                │
        │ └─                     │                                │
        └─                       │                                │
        ");
    }

    #[test]
    fn arrows_pass_roles_between() {
        let wide = "module p; global protocol P(role A, role Between, role C) {
            a() from A to Between; a_message_that_is_rather_long() from A to C; b() from C to A; c() from C to Between;
        }";
        insta::assert_snapshot!(text(&outlined(wide)), @r"
        A       Between                        C
        ├─ a() ───▶│                           │
        ├─ a_message_that_is_rather_long() ───▶│
        │◀─────────────────────────────── b() ─┤
        │          │◀──────────────────── c() ─┤
        ");
    }
}
