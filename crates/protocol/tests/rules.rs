//! What is refused, with which code, where, and with which run.

#![allow(clippy::unwrap_used)]

use sessile_protocol::machine::{Choice, Direction};
use sessile_protocol::{Code, Diagnostic, Discipline, Limits, NoImports, Source, check, check_all};

use Discipline::{Complete, Scribble};

fn problem(text: &str, discipline: Discipline) -> Option<Diagnostic> {
    let source = Source { name: "p.scr", text };
    let checked = check(&source, &mut NoImports, None, discipline, Limits::default());
    checked.err().map(|diagnostics| diagnostics[0].clone())
}

/// The code of the first thing that is wrong with a protocol of roles A, B, C and perhaps D.
fn code(body: &str, discipline: Discipline) -> Option<Code> {
    let fourth = if body.contains('D') { ", role D" } else { "" };
    let third = if body.contains('C') || body.contains('D') { ", role C" } else { "" };
    let text = format!("module p; global protocol P(role A, role B{third}{fourth}) {{ {body} }}");
    problem(&text, discipline).map(|problem| problem.code)
}

#[test]
fn what_is_no_scribble_is_refused_where_it_begins_to_be() {
    let cases = [
        ("", "1:1", "`module` should stand here, but the file ends"),
        ("module p", "1:9", "`;` should stand here, but the file ends"),
        ("module p; global protocol P(role A) { m() from A to B }", "1:55", "`;` should"),
        ("module p; global protocol P() { }", "1:29", "`role` should stand here, but there is `)`"),
        ("module p; protocol P(role A) { }", "1:11", "`global` should"),
        ("module p; global protocol choice(role A) { }", "1:27", "a name should"),
        ("module p; /* open", "1:11", "a comment does not end"),
        ("module p; é", "1:11", "stands for nothing"),
        ("module p; type <java> \"a b\" from \"c\" as T;", "1:23", "ends with a quote"),
        ("module p; global protocol P(role A) { m() from A to B within 5; }", "1:62", "a duration"),
        ("module p; global protocol P(role A) { m() from A to B within s; }", "1:62", "a duration"),
        ("module p; global protocol P(role A) { m() from A to B within 0s; }", "1:62", "a duration"),
    ];
    for (text, place, message) in cases {
        let problem = problem(text, Complete).unwrap();
        assert_eq!(problem.code, Code::Syntax, "{text}");
        let shown = problem.place.as_ref().map(|place| format!("{}:{}", place.line, place.column));
        assert_eq!(shown.unwrap(), place, "{text}: {problem}");
        assert!(problem.message.contains(message), "{text}: {problem}");
    }
}

#[test]
fn names_are_looked_up() {
    let cases = [
        ("module q; global protocol P(role A, role B) { m() from A to B; }", Code::ModuleName),
        ("module p; import r; global protocol P(role A, role B) { m() from A to B; }", Code::MissingModule),
        ("module p; import p; global protocol P(role A, role B) { m() from A to B; }", Code::DuplicateModule),
        ("module p; global protocol P(role A, role B) { m() from A to C; }", Code::UnknownRole),
        ("module p; global protocol P(role A, role B) { m() from A to A; }", Code::ToItself),
        ("module p; global protocol P(role A, role A) { m() from A to A; }", Code::DuplicateRole),
        ("module p; global protocol P(role A, role B) { m(T) from A to B; }", Code::UnknownName),
        ("module p; global protocol P(role A, role B) { M from A to B; }", Code::UnknownName),
        ("module p; global protocol P<sig T>(role A, role B) { m(T) from A to B; }", Code::WrongKind),
        ("module p; global protocol P(role A, role B) { continue X; }", Code::UnboundRecursion),
        ("module p; global protocol P(role A, role B) { do Q(A, B); }", Code::UnknownProtocol),
        ("module p; global protocol P(role A, role B) { do P(A, A); }", Code::DuplicateRole),
        ("module p; global protocol P(role A, role B) { do P<m()>(A, B); }", Code::Arity),
        ("module p; global protocol P(role A, role B) { m() from A to B, C; }", Code::UnknownRole),
        ("module p; global protocol P(role A, role B) { m(P@C) from A to B; }", Code::UnknownRole),
        ("module p; global protocol P(role A, role B) { wrap A to B; }", Code::Unsupported),
        (
            "module p; global protocol P(role A, role B) { par { m() from A to B; } and { n() from B to A; } }",
            Code::Unsupported,
        ),
        ("module p; global protocol P(role A, role B, role C) { m() from A to B; }", Code::UnusedRole),
        (
            "module p; global protocol P(role A, role B) { } global protocol P(role A, role B) { }",
            Code::DuplicateDeclaration,
        ),
    ];
    for (text, code) in cases {
        assert_eq!(problem(text, Complete).map(|problem| problem.code), Some(code), "{text}");
    }
}

#[test]
fn payloads_may_name_protocols_and_parameters_are_passed() {
    let text = "module p; type <rust> \"u8\" from \"core\" as Byte;
        global protocol P(role A, role B) { do Q<Byte, go(Byte)>(B, A); (P@B) from A to B; }
        aux global protocol Q<type T, sig M>(role X, role Y) { 1st(T) from X to Y; M from Y to X; }";
    let source = Source { name: "p.scr", text };
    let (protocol, _) = check(&source, &mut NoImports, None, Complete, Limits::default()).unwrap();
    let messages: Vec<String> = protocol
        .messages
        .iter()
        .map(|message| format!("{}({})", message.label, message.payload.join(",")))
        .collect();
    assert_eq!(messages, ["1st(Byte)", "go(Byte)", "(p.P@B)"]);
}

#[test]
fn branches_must_tell_who_needs_to_know() {
    // C must send 2 or nothing, and never hears which.
    let untold = "choice at A { 1() from A to B; 2() from C to B; } or { 3() from A to B; }";
    assert_eq!(code(untold, Complete), Some(Code::SendValidity));
    assert_eq!(code(untold, Scribble), Some(Code::NotEnabled));
    let told = "choice at A { 1() from A to B; 1() from A to C; 2() from C to B; }
        or { 3() from A to B; 3() from A to C; }";
    assert_eq!(code(told, Complete), None);
    assert_eq!(code(told, Scribble), None);
    // B hears from A first, or from C first; what C sends may come from either branch.
    let races = "choice at A { 1() from A to B; 2() from A to C; 3() from C to B; }
        or { 2() from A to C; 3() from C to B; 1() from A to B; }";
    assert_eq!(code(races, Complete), Some(Code::ReceiveValidity));
    // In the first branch C sends 3 only after B has sent x: B cannot mistake it.
    let turns = "choice at A { 1() from A to B; x() from B to C; 3() from C to B; }
        or { 2() from A to C; 3() from C to B; }";
    assert_eq!(code(turns, Complete), None);
    // In the first branch 5 comes before 3: B finds 5 and not 3 in the queue from C.
    let queued = "choice at A { 1() from A to B; 4() from A to C; 5() from C to B; 3() from C to B; }
        or { 2() from A to C; 3() from C to B; }";
    assert_eq!(code(queued, Complete), None);
}

#[test]
fn choices_are_made_by_one_sender() {
    let other = "choice at A { 1() from A to B; } or { 2() from B to A; }";
    assert_eq!(code(other, Complete), Some(Code::NotSenderDriven));
    let round = "rec X { 1() from A to B; choice at B { 2() from B to A; } or { continue X; } }";
    assert_eq!(code(round, Complete), Some(Code::NotSenderDriven));
    let silent = "choice at A { 1() from A to B; } or { }";
    assert_eq!(code(silent, Complete), Some(Code::NotSenderDriven));
    let alike = "choice at A { 1() from A to B; 2() from A to B; } or { 1() from A to B; }";
    assert_eq!(code(alike, Complete), Some(Code::SameBeginning));
    let differ = "choice at A { 1() from A to B; 2() from B to A; } or { 1() from A to C; 3() from C to A; }";
    assert_eq!(code(differ, Complete), None);
    assert_eq!(code("rec X { continue X; } 1() from A to B;", Complete), Some(Code::Unreachable));
    assert_eq!(code("1() from A to B; rec X { continue X; }", Complete), Some(Code::Unguarded));
    let after = "rec X { 1() from A to B; continue X; } 2() from A to B;";
    assert_eq!(code(after, Complete), Some(Code::Unreachable));
    assert_eq!(code(after, Scribble), Some(Code::Unreachable));
}

#[test]
fn a_problem_comes_with_the_shortest_run() {
    let text = "module p;
global protocol P(role A, role B) {
	choice at A { 1() from A to B; 2() from B to A; } or { 1() from A to B; 3() from B to A; }
}";
    let shown = problem(text, Scribble).unwrap().to_string();
    let expected = "error[P040]: 3() comes from B and A cannot take it
 --> p.scr:3:33
  |
3 | \tchoice at A { 1() from A to B; 2() from B to A; } or { 1() from A to B; 3() from B to A; }
  | \t                               ^^^^^^^^^^^^^^^^
  = shortest run that shows it:
      1. A sends 1() to B
      2. B receives 1() from A
      3. B sends 3() to A
  = help: make the branches tell the receiver which was taken";
    assert_eq!(shown, expected);

    let text = "module p; global protocol P(role A, role B, role C) {
	choice at A { 1() from A to B; 2() from C to B; } or { 3() from A to B; }
}";
    let problem = problem(text, Complete).unwrap();
    let run: Vec<String> = problem.trace.iter().map(ToString::to_string).collect();
    assert_eq!(problem.code, Code::SendValidity);
    assert_eq!(run, ["A sends 3() to B", "C sends 2() to B"]);
}

/// The page on protocols shows a protocol, and what is said of another.
#[test]
fn what_the_page_shows_is_so() {
    let page = include_str!("../../../docs/protocol.md");
    let mut examples = page.split("```text\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let source = Source { name: "talk.scr", text: examples.next().unwrap() };
    for discipline in [Complete, Scribble] {
        let checked = check(&source, &mut NoImports, None, discipline, Limits::default());
        assert_eq!(checked.map(|(protocol, _)| protocol.roles.len()), Ok(2));
    }
    let text = "module p;\nglobal protocol P(role A, role B) {
    choice at A { 1() from A to B; 2() from B to A; } or { 1() from A to B; 3() from B to A; }\n}";
    assert_eq!(problem(text, Scribble).unwrap().to_string(), examples.next().unwrap().trim_end());
    for code in [
        "P001", "P004", "P010", "P022", "P030", "P036", "P040", "P045", "P050", "P054", "P060", "P061",
        "P099",
    ] {
        assert!(page.contains(code), "{code}");
    }
}

#[test]
fn scribble_tells_what_goes_wrong() {
    let cases = [
        (
            "choice at A { 1() from A to B; 1() from B to C; } or { 2() from A to B; } 2() from C to B;",
            Code::Deadlock,
        ),
        ("choice at A { 1() from A to B; } or { 1() from A to B; 2() from A to B; }", Code::Unfinished),
        (
            "1() from A to B; choice at B { rec X { 2() from B to C; continue X; } } or { 3() from B to C; }
          4() from C to A;",
            Code::Starved,
        ),
        (
            "1() from A to B; choice at B { rec X { 2() from B to C; continue X; } } or { 3() from B to C; }
          4() from A to C;",
            Code::NeverReceived,
        ),
        (
            "choice at A { 1() from A to B; 1() from A to C; 2() from B to C; 3() from C to B; }
          or { 2() from A to B; 2() from B to C; 4() from C to B; }",
            Code::InconsistentChoice,
        ),
        (
            "rec X { 2() from A to B; choice at A { 1() from A to C; continue X; }
          or { 2() from A to B; 2() from A to C; } }",
            Code::Orphan,
        ),
        // For C nothing comes back: what follows is not behind a `continue`.
        (
            "rec X { choice at A { 1() from A to B; continue X; } or { 2() from A to B; } } 3() from A to C;",
            Code::Starved,
        ),
    ];
    for (body, expected) in cases {
        assert_eq!(code(body, Scribble), Some(expected), "{body}");
    }
}

#[test]
fn connections_are_checked_and_not_yet_held_to() {
    let judge = |body: &str| {
        let text = format!("module p; explicit global protocol P(role A, role B, role C) {{ {body} }}");
        let source = Source { name: "p.scr", text: &text };
        let judgements = check_all(&source, &mut NoImports, Scribble, Limits::default()).unwrap();
        judgements[0].problem.as_ref().map(|problem| problem.code)
    };
    let optional = "connect A to B;
        choice at A { 1() from A to B; m() connect B to C; 2() from C to B; disconnect B and C; }
        or { 3() from A to B; } disconnect A and B;";
    assert_eq!(judge(optional), None);
    assert_eq!(judge("1() from A to B; 2() from B to C;"), Some(Code::Connection));
    assert_eq!(judge("connect A to B; connect A to B; connect B to C;"), Some(Code::Connection));
    // B does not close its side, and C is never connected to: it need not be.
    assert_eq!(
        judge("connect A to B; disconnect A and B; disconnect A and B; connect A to C;"),
        Some(Code::Connection)
    );
    let text = format!("module p; explicit global protocol P(role A, role B, role C) {{ {optional} }}");
    assert_eq!(problem(&text, Scribble).unwrap().code, Code::Unsupported);
    assert_eq!(problem(&text, Complete).unwrap().code, Code::OutsideDiscipline);
}

#[test]
fn machines_are_one_for_each_role() {
    let text = "module p; global protocol Talk(role User, role Agent) {
        rec Round { prompt() from User to Agent;
            rec More { choice at Agent { part() from Agent to User; continue More; }
                or { done() from Agent to User; continue Round; } } } }";
    for discipline in [Complete, Scribble] {
        let source = Source { name: "p.scr", text };
        let (protocol, report) = check(&source, &mut NoImports, None, discipline, Limits::default()).unwrap();
        assert_eq!(&*protocol.name, "Talk");
        assert_eq!(protocol.machines.len(), 2);
        assert_eq!(report.module, "p");
        assert!(report.waiting.is_empty());
        let shape = |choice: &Choice| {
            let step = |step: &sessile_protocol::machine::Step| {
                let label = &protocol.messages[step.message.0 as usize].label;
                let sign = if step.direction == Direction::Send { '!' } else { '?' };
                format!("{sign}{label}→{}", step.next.0)
            };
            choice.steps.iter().map(step).collect::<Vec<_>>().join(" ")
        };
        let user: Vec<String> = protocol.machines[0].states.iter().map(shape).collect();
        let agent: Vec<String> = protocol.machines[1].states.iter().map(shape).collect();
        assert_eq!(user, ["!prompt→1", "?part→1 ?done→0"]);
        assert_eq!(agent, ["?prompt→1", "!part→1 !done→0"]);
    }
}

#[test]
fn a_role_that_may_be_left_waiting_is_told() {
    let text = "module p; global protocol P(role A, role B, role C) {
        choice at A { 1() from A to B; 2() from B to C; } or { 3() from A to B; } }";
    let source = Source { name: "p.scr", text };
    let (protocol, report) = check(&source, &mut NoImports, Some("P"), Complete, Limits::default()).unwrap();
    let waiting: Vec<&str> =
        report.waiting.iter().map(|(role, _)| &*protocol.roles[usize::from(role.0)]).collect();
    assert_eq!(waiting, ["C"]);
}

#[test]
fn modules_are_imported_by_full_name_or_alias() {
    let text = "module p; import lib.Talk as T; import lib.Other;
        global protocol P(role A, role B) { do T.Hello(A, B); do lib.Other.Bye<lib.Other.Word>(B, A); }";
    let mut loader = |module: &str| match module {
        "lib.Talk" => Some(
            "module lib.Talk; aux global protocol Hello(role X, role Y) { hello() from X to Y; }".to_owned(),
        ),
        "lib.Other" => Some(
            "module lib.Other; import lib.Talk; type <rust> \"u8\" from \"core\" as Word;
            aux global protocol Bye<type W>(role X, role Y) { do lib.Talk.Hello(Y, X); bye(W) from X to Y; }"
                .to_owned(),
        ),
        _ => None,
    };
    let source = Source { name: "p.scr", text };
    let (protocol, _) = check(&source, &mut loader, None, Complete, Limits::default()).unwrap();
    let payloads: Vec<&str> = protocol.messages.iter().flat_map(|m| m.payload.iter().map(|p| &**p)).collect();
    assert_eq!(payloads, ["lib.Other.Word"]);
    assert_eq!(protocol.machines[0].states.len(), 4);
}

#[test]
fn the_protocol_is_chosen_by_name() {
    let text = "module p; global protocol P(role A, role B) { 1() from A to B; }
        global protocol Q(role A, role B) { 2() from B to A; }";
    let source = Source { name: "p.scr", text };
    let named = |name| check(&source, &mut NoImports, name, Complete, Limits::default());
    assert_eq!(&*named(Some("Q")).unwrap().0.name, "Q");
    for (name, message) in
        [(None, "name the protocol: there are P, Q"), (Some("R"), "no protocol R: there are P, Q")]
    {
        let problem = named(name).unwrap_err().remove(0);
        assert_eq!((problem.code, &*problem.message), (Code::UnknownProtocol, message));
    }
}
