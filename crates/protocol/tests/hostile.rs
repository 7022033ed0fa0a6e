//! Files that are made to cost much cost no more than the limits say.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;

use sessile_protocol::{Code, Discipline, Limits, NoImports, Source, check, check_all};

const MEBIBYTE: usize = 1 << 20;

/// What becomes of a text. Every step is counted: that it ends at all is what is tested.
fn outcome(text: &str, limits: Limits, discipline: Discipline) -> Result<u64, Code> {
    let source = Source { name: "p.scr", text };
    let checked = check(&source, &mut NoImports, None, discipline, limits);
    match checked {
        Ok((_, report)) => {
            assert!(report.steps <= limits.steps);
            Ok(report.steps)
        }
        Err(diagnostics) => {
            assert!(diagnostics.len() <= 20, "{} diagnostics", diagnostics.len());
            let shown: usize = diagnostics.iter().map(|diagnostic| diagnostic.to_string().len()).sum();
            assert!(shown < MEBIBYTE, "{shown} bytes of diagnostics");
            Err(diagnostics[0].code)
        }
    }
}

fn repeat(part: &str) -> String {
    part.repeat(MEBIBYTE / part.len())
}

fn protocol(body: &str) -> String {
    let mut text = format!("module p; global protocol P(role A, role B, role C) {{ {body} }}");
    text.truncate(MEBIBYTE);
    text
}

#[test]
fn a_mebibyte_of_anything_is_answered_within_the_limits() {
    let many_roles: String = (0..100_000).map(|i| format!("role R{i},")).collect();
    let texts = [
        repeat("\0"),
        repeat("\u{1F600}"),
        repeat("a"),
        repeat("a "),
        repeat("/*"),
        repeat("//"),
        repeat("\""),
        repeat("module p;"),
        format!("module {}", repeat("a.")),
        format!("module p;{}", &repeat("import p as q;")[9..]),
        format!("module p;{}", &repeat("type<a>\"b\"from\"c\"as d;")[9..]),
        format!("module p; global protocol P({}", &many_roles[..MEBIBYTE - 64]),
        protocol(&repeat("{")),
        protocol(&repeat("rec X {")),
        protocol(&repeat("choice at A {")),
        protocol(&repeat("m() from A to B;")),
        protocol(&repeat("m() from A to Z;")),
        protocol(&repeat("m() from A to B; continue X;")),
        protocol(&format!("m({}) from A to B;", repeat("T,"))),
        protocol(&format!("m() from A to {};", repeat("B,"))),
        protocol(&format!("do P<{}>(A, B, C);", repeat("m(),"))),
        protocol(&format!("choice at A {{ }} {}", repeat("or { m() from A to B; }"))),
        protocol(&repeat("do P(B, C, A);")),
    ];
    for text in texts {
        for discipline in [Discipline::Complete, Discipline::Scribble] {
            let code = outcome(&text, Limits::default(), discipline).unwrap_err();
            assert_ne!(code, Code::Unknown, "{}", &text[..text.len().min(60)].escape_debug());
        }
    }
}

/// A protocol that is small and means much: `do` doubles it at each step.
fn doubling(times: usize) -> String {
    let mut text = "module p; global protocol P(role A, role B) { do P0(A, B); }".to_owned();
    for i in 0..times {
        write!(text, "aux global protocol P{i}(role A, role B) {{ do P{0}(A, B); do P{0}(B, A); }}", i + 1)
            .unwrap();
    }
    write!(text, "aux global protocol P{times}(role A, role B) {{ m() from A to B; }}").unwrap();
    text
}

#[test]
fn what_do_takes_in_is_counted() {
    for discipline in [Discipline::Complete, Discipline::Scribble] {
        assert!(outcome(&doubling(6), Limits::default(), discipline).is_ok());
        assert_eq!(outcome(&doubling(40), Limits::default(), discipline), Err(Code::TooLarge));
        assert_eq!(outcome(&doubling(100), Limits::default(), discipline), Err(Code::TooDeep));
    }
}

#[test]
fn nesting_costs_no_stack() {
    let nested = |deep: usize, open: &str| {
        let body = format!("{} m() from A to B; {}", open.repeat(deep), "}".repeat(deep));
        format!("module p; global protocol P(role A, role B) {{ {body} }}")
    };
    let limits = Limits { nesting: usize::MAX, ..Limits::default() };
    for open in ["choice at A {", "rec X {", "rec X { choice at A { m() from A to B; continue X; } or {"] {
        let each = open.matches('{').count() - open.matches('}').count();
        for discipline in [Discipline::Complete, Discipline::Scribble] {
            let deepest = nested(120 / each, open);
            let code = outcome(&deepest, limits, discipline).err();
            assert_ne!(code, Some(Code::TooDeep), "{open}");
            assert_eq!(outcome(&nested(10_000 / each, open), limits, discipline), Err(Code::TooDeep));
        }
    }
}

/// Pairs of roles that talk without regard for each other: the states of all multiply.
fn independent(pairs: usize) -> String {
    let roles: Vec<String> = (0..2 * pairs).map(|i| format!("role R{i}")).collect();
    let mut body = String::new();
    for step in 0..6 {
        for pair in 0..pairs {
            write!(body, "m{step}() from R{} to R{};", 2 * pair, 2 * pair + 1).unwrap();
        }
    }
    format!("module p; global protocol P({}) {{ {body} }}", roles.join(", "))
}

/// C hears zeros and ones, and not when the last ones begin: for all it knows, any of them may have been
/// the first of the last. Its subsets double with each.
fn subsets(last: usize) -> String {
    let bit = |bit: u8, next: &str| format!("{bit}() from A to B; {bit}() from B to C; {next}");
    let rest = format!("choice at A {{ {} }} or {{ {} }}", bit(0, ""), bit(1, "")).repeat(last);
    let (zero, one) = (bit(0, "continue X;"), bit(1, "continue X;"));
    protocol(&format!(
        "rec X {{ choice at A {{ {zero} }} or {{ {one} }} or {{ 2() from A to B; 1() from B to C; {rest} }} }}"
    ))
}

#[test]
fn a_limit_that_is_reached_is_no_acceptance() {
    assert!(outcome(&independent(2), Limits::default(), Discipline::Scribble).is_ok());
    assert_eq!(outcome(&independent(16), Limits::default(), Discipline::Scribble), Err(Code::Unknown));
    // The complete discipline looks at roles one by one, and at all subsets of what each may know.
    assert!(outcome(&independent(16), Limits::default(), Discipline::Complete).is_ok());
    assert!(outcome(&subsets(5), Limits::default(), Discipline::Complete).is_ok());
    assert_eq!(outcome(&subsets(24), Limits::default(), Discipline::Complete), Err(Code::Unknown));

    for (text, discipline) in [(subsets(5), Discipline::Complete), (independent(2), Discipline::Scribble)] {
        let steps = outcome(&text, Limits::default(), discipline).unwrap();
        for tenth in 1..10 {
            let limits = Limits { steps: steps * tenth / 10, ..Limits::default() };
            assert_eq!(outcome(&text, limits, discipline), Err(Code::Unknown), "{tenth}/10");
        }
        let limits = Limits { states: 3, ..Limits::default() };
        assert_eq!(outcome(&text, limits, discipline), Err(Code::Unknown));
    }
}

#[test]
fn each_limit_holds() {
    let small = Limits { bytes: 1000, modules: 2, nesting: 4, statements: 10, roles: 3, ..Limits::default() };
    let cases = [
        (protocol(&"m() from A to B;".repeat(100)), Code::TooLarge),
        (protocol(&"m() from A to B;".repeat(11)), Code::TooLarge),
        (protocol("rec X { rec Y { rec Z { rec W { m() from A to B; } } } }"), Code::TooDeep),
        (independent(2), Code::TooLarge),
    ];
    for (text, code) in cases {
        assert_eq!(outcome(&text, small, Discipline::Complete), Err(code), "{text}");
    }
    let mut endless = |module: &str| Some(format!("module {module}; import {module}x;"));
    let source = Source { name: "p.scr", text: "module p; import px;" };
    let refused = check_all(&source, &mut endless, Discipline::Complete, small).unwrap_err();
    assert_eq!(refused[0].code, Code::TooLarge);
}
