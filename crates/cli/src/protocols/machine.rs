//! One role's machine: as a table, for Graphviz, and for programs.

use serde_json::{Value, json};
use sessile_protocol::machine::{Choice, Direction, Machine, Message, Protocol, Role, State, Step};

use super::bound;
use crate::output::table;

/// A message as files write it.
pub fn message(protocol: &Protocol, message: Message) -> String {
    let signature = &protocol.messages[message.0 as usize];
    format!("{}({})", signature.label, signature.payload.join(", "))
}

/// A role's name.
pub fn role(protocol: &Protocol, role: Role) -> &str {
    &protocol.roles[usize::from(role.0)]
}

/// What a step is, with how long there is for it.
pub fn step(protocol: &Protocol, choice: &Choice, step: &Step) -> String {
    let (message, peer) = (message(protocol, step.message), role(protocol, step.peer));
    let what = match step.direction {
        Direction::Send => format!("sends {message} to {peer}"),
        Direction::Receive => format!("receives {message} from {peer}"),
    };
    match choice.within.map(bound) {
        None => what,
        Some(within) if step.late => format!("{what} when {within} are over"),
        Some(within) => format!("{what} within {within}"),
    }
}

/// Where the role may wait although nothing needs to come.
fn waits(waiting: &[(Role, State)], role: Role) -> Vec<u32> {
    waiting.iter().filter(|(waits, _)| *waits == role).map(|(_, state)| state.0).collect()
}

/// A row for each step, and one for each state without steps.
pub fn rows(protocol: &Protocol, waiting: &[(Role, State)], shown: Role) -> String {
    let machine = machine(protocol, shown);
    let waits = waits(waiting, shown);
    let mut rows = vec![["STATE", "WHAT IT DOES", "THEN"].map(str::to_owned).to_vec()];
    for (state, choice) in machine.states.iter().enumerate() {
        let number = state.to_string();
        if choice.steps.is_empty() {
            rows.push(vec![number.clone(), "is done".to_owned()]);
        }
        for taken in &choice.steps {
            let mut what = step(protocol, choice, taken);
            if waits.contains(&(state as u32)) {
                what += ", or is left waiting";
            }
            rows.push(vec![number.clone(), what, taken.next.0.to_string()]);
        }
    }
    table(&rows)
}

/// A graph for Graphviz. Where a role may be done there are two circles.
pub fn dot(protocol: &Protocol, waiting: &[(Role, State)], shown: Role) -> String {
    let machine = machine(protocol, shown);
    let waits = waits(waiting, shown);
    let title = format!("{}@{}", protocol.name, role(protocol, shown));
    let mut text = format!("digraph {} {{\n  rankdir = LR;\n  node [shape = circle];\n", quoted(&title));
    text += "  begin [shape = point];\n  begin -> 0;\n";
    for (state, choice) in machine.states.iter().enumerate() {
        if choice.steps.is_empty() || waits.contains(&(state as u32)) {
            text += &format!("  {state} [shape = doublecircle];\n");
        }
        for taken in &choice.steps {
            let label = quoted(&label(protocol, choice, taken));
            let style = if taken.late { ", style = dashed" } else { "" };
            text += &format!("  {state} -> {} [label = {label}{style}];\n", taken.next.0);
        }
    }
    text + "}\n"
}

/// A step as the field writes it: `B!m()` sends, `B?m()` receives.
fn label(protocol: &Protocol, choice: &Choice, step: &Step) -> String {
    let sign = match step.direction {
        Direction::Send => '!',
        Direction::Receive => '?',
    };
    let label = format!("{}{sign}{}", role(protocol, step.peer), message(protocol, step.message));
    match choice.within.map(bound) {
        None => label,
        Some(within) if step.late => format!("{label} after {within}"),
        Some(within) => format!("{label} within {within}"),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The machine for programs.
pub fn described(protocol: &Protocol, waiting: &[(Role, State)], shown: Role) -> Value {
    let waits = waits(waiting, shown);
    let steps = |choice: &Choice| -> Vec<Value> {
        let step = |step: &Step| {
            let act = match step.direction {
                Direction::Send => "send",
                Direction::Receive => "receive",
            };
            let signature = &protocol.messages[step.message.0 as usize];
            json!({
                "act": act,
                "peer": role(protocol, step.peer),
                "label": signature.label,
                "payload": signature.payload,
                "late": step.late,
                "next": step.next.0,
            })
        };
        choice.steps.iter().map(step).collect()
    };
    let state = |(number, choice): (usize, &Choice)| {
        json!({
            "steps": steps(choice),
            "within_ms": choice.within.map(|within| within.as_millis() as u64),
            "may_be_left_waiting": waits.contains(&(number as u32)),
        })
    };
    let states: Vec<Value> = machine(protocol, shown).states.iter().enumerate().map(state).collect();
    json!({ "protocol": protocol.name, "role": role(protocol, shown), "states": states })
}

fn machine(protocol: &Protocol, role: Role) -> &Machine {
    &protocol.machines[usize::from(role.0)]
}

#[cfg(test)]
mod tests {
    use sessile_protocol::{Discipline, Limits, NoImports, Source, check};

    use super::*;

    fn talk() -> (Protocol, Vec<(Role, State)>) {
        let source = Source { name: "talk.scr", text: crate::protocols::diagram::tests::TALK };
        let (protocol, report) =
            check(&source, &mut NoImports, None, Discipline::Complete, Limits::default()).unwrap();
        (protocol, report.waiting)
    }

    #[test]
    fn a_machine_is_a_table() {
        let (protocol, waiting) = talk();
        insta::assert_snapshot!(rows(&protocol, &waiting, Role(1)), @r"
        STATE  WHAT IT DOES                             THEN
        0      receives prompt(Text) from User          1
        1      sends part(Text) to User within 30s      1
        1      sends done() to User within 30s          0
        1      sends sorry() to User when 30s are over  2
        2      is done
        ");
    }

    #[test]
    fn a_machine_is_a_graph() {
        let (protocol, waiting) = talk();
        insta::assert_snapshot!(dot(&protocol, &waiting, Role(0)), @r#"
        digraph "Talk@User" {
          rankdir = LR;
          node [shape = circle];
          begin [shape = point];
          begin -> 0;
          0 -> 1 [label = "Agent!prompt(Text)"];
          1 -> 1 [label = "Agent?part(Text)"];
          1 -> 0 [label = "Agent?done()"];
          1 -> 2 [label = "Agent?sorry()"];
          2 [shape = doublecircle];
        }
        "#);
    }

    #[test]
    fn who_may_be_left_waiting_is_said() {
        let text = "module p; global protocol P(role A, role B, role C) {
            choice at A { a() from A to B; b() from B to C; } or { c() from A to B; }
        }";
        let source = Source { name: "p.scr", text };
        let (protocol, report) =
            check(&source, &mut NoImports, None, Discipline::Complete, Limits::default()).unwrap();
        insta::assert_snapshot!(rows(&protocol, &report.waiting, Role(2)), @r"
        STATE  WHAT IT DOES                             THEN
        0      receives b() from B, or is left waiting  1
        1      is done
        ");
        assert_eq!(described(&protocol, &report.waiting, Role(2))["states"][0]["may_be_left_waiting"], true);
        assert!(dot(&protocol, &report.waiting, Role(2)).contains("  0 [shape = doublecircle];"));
    }

    #[test]
    fn quotes_do_not_end_a_label() {
        assert_eq!(quoted(r#"a"\b"#), r#""a\"\\b""#);
    }
}
