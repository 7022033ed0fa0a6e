//! Protocols in Scribble, with what they import: the parser and both disciplines.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sessile_fuzz::plant;
use sessile_protocol::machine::{Direction, Protocol};
use sessile_protocol::{Diagnostic, Discipline, Limits, Source, check, check_all};

/// Little enough that an input that means much is soon over.
const LIMITS: Limits =
    Limits { bytes: 4096, modules: 4, nesting: 32, statements: 200, roles: 6, states: 2_000, steps: 200_000 };

fuzz_target!(init: plant(SEEDS), |bytes: &[u8]| scribble(&String::from_utf8_lossy(bytes)));

/// The main file and, after a line of dashes, the module that it imports.
const SEEDS: [&str; 4] = [
    "module p; global protocol P(role A, role B) { rec X { choice at A { 1(T) from A to B; continue X; }
     or { 2() from A to B; } } 3() from B to A; }",
    "module p; import m as M; type <rust> \"u8\" from \"core\" as T; global protocol P<sig S>(role A, role B) {
     do M.Q<T, 4(T)>(B, A); S from A to B; (P@B) from B to A; }
     \n---\nmodule m; aux global protocol Q<type U, sig V>(role X, role Y) { V from X to Y; 5(U) from Y to X; }",
    "module p; explicit global protocol P(role A, role B, role C) { connect A to B; m() connect B to C;
     6() from C to B; disconnect B and C; disconnect A and B; }",
    "module p; global protocol P(role A, role B) { choice at A { 7() from A to B within 5s; }
     or { 8() from A to B within 5s; } or late { 9() from A to B; } }",
];

fn scribble(text: &str) {
    let (main, imported) = text.split_once("\n---\n").unwrap_or((text, ""));
    let source = Source { name: "p.scr", text: main };
    let mut loader = |module: &str| (module == "m").then(|| imported.to_owned());
    for discipline in [Discipline::Complete, Discipline::Scribble] {
        let first = check(&source, &mut loader, None, discipline, LIMITS);
        let second = check(&source, &mut loader, None, discipline, LIMITS);
        assert_eq!(first, second, "a check says the same each time");
        match first {
            Ok((protocol, report)) => {
                assert!(report.steps <= LIMITS.steps);
                holds(&protocol);
            }
            Err(diagnostics) => shown(&diagnostics),
        }
        if let Ok(judgements) = check_all(&source, &mut loader, discipline, LIMITS) {
            shown(&judgements.into_iter().filter_map(|judgement| judgement.problem).collect::<Vec<_>>());
        }
    }
}

/// What a monitor relies on.
fn holds(protocol: &Protocol) {
    assert_eq!(protocol.roles.len(), protocol.machines.len());
    for (role, machine) in protocol.machines.iter().enumerate() {
        assert!(!machine.states.is_empty());
        for choice in &machine.states {
            let sends = choice.steps.iter().filter(|step| step.direction == Direction::Send).count();
            assert!(sends == 0 || sends == choice.steps.len(), "{choice:?}");
            assert!(choice.within.is_none() || sends > 0, "{choice:?}");
            assert!(choice.within.is_some() || choice.steps.iter().all(|step| !step.late), "{choice:?}");
            for (i, step) in choice.steps.iter().enumerate() {
                assert!((step.next.0 as usize) < machine.states.len());
                assert!((step.message.0 as usize) < protocol.messages.len());
                assert!(usize::from(step.peer.0) < protocol.roles.len());
                assert_ne!(usize::from(step.peer.0), role);
                let alike = |other: &&sessile_protocol::machine::Step| {
                    (other.peer, other.message) == (step.peer, step.message)
                };
                assert_eq!(choice.steps[..i].iter().find(alike), None);
            }
        }
    }
}

fn shown(diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        let text = diagnostic.to_string();
        assert!(text.starts_with(&format!("error[{}]", diagnostic.code)), "{text}");
        if let Some(place) = &diagnostic.place {
            assert!(place.line > 0 && place.column > 0 && place.width > 0, "{place:?}");
        }
    }
}
