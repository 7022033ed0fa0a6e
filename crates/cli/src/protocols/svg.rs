//! A sequence diagram as SVG: nothing in it is fetched or run.

use std::fmt::Write as _;

use sessile_protocol::Outline;

use super::diagram::{Row, columns, margin, rows};

/// Of one character, in the diagram's units.
const CHARACTER: usize = 8;
/// Of one row.
const ROW: usize = 26;
/// Of one bracket at the left.
const BRACKET: usize = 14;
/// Around everything.
const BORDER: usize = 16;
/// Of a role's box.
const BOX: usize = 28;

/// The diagram as a file of its own.
pub fn text(outline: &Outline) -> String {
    let rows = rows(outline);
    let width = |text: &str| text.chars().count() * CHARACTER;
    let left = BORDER + margin(&rows, BRACKET, width) + 8;
    let columns: Vec<usize> =
        columns(&outline.roles, &rows, width, 20).iter().map(|column| left + column).collect();
    let last = columns.last().zip(outline.roles.last()).map_or(0, |(at, name)| at + width(name) / 2 + 8);
    let right = last + BORDER;
    let bottom = BORDER + BOX + ROW * (rows.len() + 1);
    let mut svg = String::new();
    begin(&mut svg, right, bottom + BORDER, &format!("{}.{}", outline.module, outline.protocol));
    for (role, x) in outline.roles.iter().zip(&columns) {
        role_line(&mut svg, role, *x, width(role), bottom);
    }
    let mut open = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let y = BORDER + BOX + ROW * (at + 1);
        match row {
            Row::Arrow { from, to, text, .. } => arrow(&mut svg, columns[*from], columns[*to], y, text),
            Row::Open { depth, text } => {
                open.push(y);
                mark(&mut svg, *depth, y, text);
            }
            Row::Branch { depth, text } => mark(&mut svg, *depth, y, text),
            Row::Close { depth } => bracket(&mut svg, *depth, open.pop().unwrap_or(y), y),
            Row::Back { depth, text } => words(&mut svg, BORDER + BRACKET * depth + 8, y + 4, "start", text),
        }
    }
    svg + "</svg>\n"
}

fn begin(svg: &mut String, width: usize, height: usize, title: &str) {
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"monospace\" font-size=\"13\" stroke=\"#333\" fill=\"none\">\n\
         <title>{}</title>\n\
         <defs><marker id=\"head\" viewBox=\"0 0 10 10\" refX=\"10\" refY=\"5\" markerWidth=\"8\" \
         markerHeight=\"8\" orient=\"auto\"><path d=\"M0 0L10 5L0 10z\" fill=\"#333\" stroke=\"none\"/>\
         </marker></defs>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\" stroke=\"none\"/>",
        escaped(title)
    );
}

/// A role's box and the line below it.
fn role_line(svg: &mut String, role: &str, x: usize, width: usize, bottom: usize) {
    let (wide, top) = (width + 16, BORDER + BOX);
    let _ = writeln!(
        svg,
        "<rect x=\"{}\" y=\"{BORDER}\" width=\"{wide}\" height=\"{BOX}\" rx=\"3\" fill=\"#eef\"/>\n\
         <line x1=\"{x}\" y1=\"{top}\" x2=\"{x}\" y2=\"{bottom}\" stroke=\"#999\"/>",
        x.saturating_sub(wide / 2)
    );
    words(svg, x, BORDER + 18, "middle", role);
}

fn arrow(svg: &mut String, from: usize, to: usize, y: usize, text: &str) {
    words(svg, usize::midpoint(from, to), y - 5, "middle", text);
    let _ =
        writeln!(svg, "<line x1=\"{from}\" y1=\"{y}\" x2=\"{to}\" y2=\"{y}\" marker-end=\"url(#head)\"/>");
}

/// Where a bracket or a branch of it begins.
fn mark(svg: &mut String, depth: usize, y: usize, text: &str) {
    let x = BORDER + BRACKET * depth;
    let _ = writeln!(svg, "<line x1=\"{x}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\"/>", x + 6);
    words(svg, x + 10, y + 4, "start", text);
}

fn bracket(svg: &mut String, depth: usize, top: usize, bottom: usize) {
    let x = BORDER + BRACKET * depth;
    let _ = writeln!(svg, "<path d=\"M{x} {top}V{bottom}h6\"/>");
}

/// Words with a white edge, so that lines below them do not cross them out.
fn words(svg: &mut String, x: usize, y: usize, anchor: &str, text: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\" fill=\"#111\" stroke=\"#fff\" \
         stroke-width=\"3\" paint-order=\"stroke\">{}</text>",
        escaped(text)
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocols::diagram::tests::outlined;

    #[test]
    fn a_protocol_is_a_picture() {
        let small = "module p; global protocol P(role A, role B) {
            rec X { choice at A { more() from A to B; continue X; } or { end() from A to B; } }
        }";
        insta::assert_snapshot!(text(&outlined(small)), @r##"
        <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 290 294" width="290" height="294" font-family="monospace" font-size="13" stroke="#333" fill="none">
        <title>p.P</title>
        <defs><marker id="head" viewBox="0 0 10 10" refX="10" refY="5" markerWidth="8" markerHeight="8" orient="auto"><path d="M0 0L10 5L0 10z" fill="#333" stroke="none"/></marker></defs>
        <rect width="290" height="294" fill="#fff" stroke="none"/>
        <rect x="162" y="16" width="24" height="28" rx="3" fill="#eef"/>
        <line x1="174" y1="44" x2="174" y2="278" stroke="#999"/>
        <text x="174" y="34" text-anchor="middle" fill="#111" stroke="#fff" stroke-width="3" paint-order="stroke">A</text>
        <rect x="250" y="16" width="24" height="28" rx="3" fill="#eef"/>
        <line x1="262" y1="44" x2="262" y2="278" stroke="#999"/>
        <text x="262" y="34" text-anchor="middle" fill="#111" stroke="#fff" stroke-width="3" paint-order="stroke">B</text>
        <line x1="16" y1="70" x2="22" y2="70"/>
        <text x="26" y="74" text-anchor="start" fill="#111" stroke="#fff" stroke-width="3" paint-order="stroke">round 1</text>
        <line x1="30" y1="96" x2="36" y2="96"/>
        <text x="40" y="100" text-anchor="start" fill="#111" stroke="#fff" stroke-width="3" paint-order="stroke">A chooses</text>
        <text x="218" y="117" text-anchor="middle" fill="#111" stroke="#fff" stroke-width="3" paint-order="stroke">more()</text>
        <line x1="174" y1="122" x2="262" y2="122" marker-end="url(#head)"/>
        <text x="52" y="152" text-anchor="start" fill="#111" stroke="#fff" stroke-width="3" paint-order="stroke">round 1 again</text>
        <line x1="30" y1="174" x2="36" y2="174"/>
        <text x="40" y="178" text-anchor="start" fill="#111" stroke="#fff" stroke-width="3" paint-order="stroke">or</text>
        <text x="218" y="195" text-anchor="middle" fill="#111" stroke="#fff" stroke-width="3" paint-order="stroke">end()</text>
        <line x1="174" y1="200" x2="262" y2="200" marker-end="url(#head)"/>
        <path d="M30 96V226h6"/>
        <path d="M16 70V252h6"/>
        </svg>
        "##);
    }

    #[test]
    fn names_do_not_become_elements() {
        assert_eq!(escaped("a<b>&\""), "a&lt;b&gt;&amp;&quot;");
    }
}
