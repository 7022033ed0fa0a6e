//! `within` and `or late`.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use sessile_protocol::machine::{Choice, Protocol};
use sessile_protocol::{Code, Discipline, Limits, NoImports, Source, check};

const BOTH: [Discipline; 2] = [Discipline::Complete, Discipline::Scribble];

fn checked(body: &str, discipline: Discipline) -> Result<Protocol, Code> {
    let third = if body.contains('C') { ", role C" } else { "" };
    let text = format!("module p; global protocol P(role A, role B{third}) {{ {body} }}");
    let source = Source { name: "p.scr", text: &text };
    let checked = check(&source, &mut NoImports, None, discipline, Limits::default());
    checked.map(|(protocol, _)| protocol).map_err(|diagnostics| diagnostics[0].code)
}

/// For each step of a state its label, and whether it is for when the time is over.
fn shape(protocol: &Protocol, choice: &Choice) -> Vec<(String, bool)> {
    let label = |message: usize| protocol.messages[message].label.to_string();
    choice.steps.iter().map(|step| (label(step.message.0 as usize), step.late)).collect()
}

#[test]
fn a_bound_is_the_senders_and_the_late_branch_is_marked() {
    let body = "choice at A { yes() from A to B within 30s; } or { no() from A to B within 30s; }
        or late { gone() from A to B; }";
    for discipline in BOTH {
        let protocol = checked(body, discipline).unwrap();
        let sender = &protocol.machines[0].states[0];
        assert_eq!(sender.within, Some(Duration::from_secs(30)));
        let steps = [("yes".to_owned(), false), ("no".to_owned(), false), ("gone".to_owned(), true)];
        assert_eq!(shape(&protocol, sender), steps);
        let receiver = &protocol.machines[1].states[0];
        assert_eq!(receiver.within, None);
        assert!(receiver.steps.iter().all(|step| !step.late));
    }
}

#[test]
fn a_single_message_may_be_bounded_and_units_are_read() {
    for (text, ms) in [("250ms", 250), ("5s", 5_000), ("2m", 120_000), ("1h", 3_600_000)] {
        let protocol = checked(&format!("m() from A to B within {text};"), Discipline::Complete).unwrap();
        assert_eq!(protocol.machines[0].states[0].within, Some(Duration::from_millis(ms)), "{text}");
    }
}

#[test]
fn the_late_branch_goes_on_like_any_other() {
    let body = "rec Round { ask() from A to B;
        choice at B { answer() from B to A within 1m; continue Round; }
        or late { sorry() from B to A; } }";
    for discipline in BOTH {
        let protocol = checked(body, discipline).unwrap();
        let answering = &protocol.machines[1].states[1];
        assert_eq!(answering.within, Some(Duration::from_secs(60)));
        assert!(protocol.machines[1].states[answering.steps[1].next.0 as usize].steps.is_empty());
    }
}

#[test]
fn bounds_of_one_choice_are_one_bound() {
    let cases = [
        // Different, or only sometimes.
        ("choice at A { 1() from A to B within 1s; } or { 2() from A to B within 2s; }", Code::Deadlines),
        ("choice at A { 1() from A to B within 1s; } or { 2() from A to B; }", Code::Deadlines),
        // Nothing says when it is late.
        ("choice at A { 1() from A to B; } or late { 2() from A to B; }", Code::Deadlines),
        // A late branch begins with a message of who chooses, without a bound of its own.
        ("choice at A { 1() from A to B within 1s; } or late { }", Code::Late),
        ("choice at A { 1() from A to B within 1s; } or late { 2() from A to B within 1s; }", Code::Late),
        ("choice at A { 1() from A to B within 1s; } or late { 2() from B to A; }", Code::Late),
        (
            "choice at A { 1() from A to B within 1s; } or late { 2() from A to B; } or late { 3() from A to B; }",
            Code::Late,
        ),
        ("choice at A { } or late { 2() from A to B; }", Code::Late),
    ];
    for discipline in BOTH {
        for (body, code) in cases {
            // In the complete discipline, an empty branch is wrong for another reason too.
            let expected = match (body.contains("A { }"), discipline) {
                (true, Discipline::Complete) => Code::NotSenderDriven,
                (_, Discipline::Complete | Discipline::Scribble) => code,
            };
            assert_eq!(checked(body, discipline).unwrap_err(), expected, "{body}");
        }
    }
}

#[test]
fn a_message_that_the_sender_cannot_tell_apart_has_one_bound() {
    // For C both branches are one: it sends 2 in both, with other bounds.
    let body = "choice at A { 1() from A to B; 2() from C to A within 1s; }
        or { 3() from A to B; 2() from C to A within 2s; }";
    assert_eq!(checked(body, Discipline::Complete).unwrap_err(), Code::Deadlines);
    let same = body.replace("2s", "1s");
    assert!(checked(&same, Discipline::Complete).is_ok());
}

#[test]
fn one_message_in_two_branches_has_one_bound() {
    // Both branches lead to the same place: none of the bounds gets lost.
    let body = "rec X { choice at A { m() from A to B within 1s; continue X; }
        or { m() from A to B within 2s; continue X; } or { n() from A to B within 1s; } }";
    assert_eq!(checked(body, Discipline::Scribble).unwrap_err(), Code::Deadlines);
    assert!(checked(&body.replace("2s", "1s"), Discipline::Scribble).is_ok());
}

#[test]
fn states_that_differ_in_their_bounds_alone_stay_two() {
    let body = "rec X { m() from A to B within 1s; m() from A to B within 2s; continue X; }";
    let protocol = checked(body, Discipline::Complete).unwrap();
    let bounds: Vec<Option<Duration>> = protocol.machines[0].states.iter().map(|s| s.within).collect();
    assert_eq!(bounds, [Some(Duration::from_secs(1)), Some(Duration::from_secs(2))]);
    assert_eq!(protocol.machines[1].states.len(), 1);
}

#[test]
fn late_and_within_are_names_elsewhere() {
    let body = "within() from A to B; rec late { late() from B to A; continue late; }";
    assert!(checked(body, Discipline::Complete).is_ok());
}
