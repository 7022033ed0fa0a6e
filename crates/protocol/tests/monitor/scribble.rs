//! Protocols that were made up, written in Scribble and handed to the checker.

use std::fmt::Write as _;

use sessile_protocol::machine::{Message, Protocol};
use sessile_protocol::{Discipline, Limits, NoImports, Source, check};

use crate::global::{Global, Node};

/// A protocol in Scribble.
pub fn print(global: &Global) -> String {
    let roles: Vec<String> = (0..global.roles).map(|role| format!("role r{role}")).collect();
    let mut text = format!("module made; global protocol Made({}) {{", roles.join(", "));
    statements(global, 0, &mut Vec::new(), &mut text);
    text.push_str(" }");
    text
}

/// Each node is the beginning of a loop, whether or not anything leads back to it.
fn statements(global: &Global, node: usize, open: &mut Vec<usize>, text: &mut String) {
    let Node::Message { from, to, branches, deadline } = &global.nodes[node] else { return };
    if open.contains(&node) {
        write!(text, " continue X{node};").unwrap();
        return;
    }
    open.push(node);
    write!(text, " rec X{node} {{").unwrap();
    if branches.len() > 1 {
        write!(text, " choice at r{}", from.0).unwrap();
    }
    for (index, (message, next)) in branches.iter().enumerate() {
        let is_late = deadline.is_some_and(|deadline| deadline.late) && index + 1 == branches.len();
        if branches.len() > 1 {
            text.push_str(match (index, is_late) {
                (0, _) => " {",
                (_, false) => " or {",
                (_, true) => " or late {",
            });
        }
        write!(text, " m{}() from r{} to r{}", message.0, from.0, to.0).unwrap();
        if let Some(deadline) = deadline.filter(|_| !is_late) {
            write!(text, " within {}s", deadline.within.as_secs()).unwrap();
        }
        text.push(';');
        statements(global, *next, open, text);
        if branches.len() > 1 {
            text.push_str(" }");
        }
    }
    text.push_str(" }");
    open.pop();
}

/// What the checker makes of a protocol, with roles and messages numbered as they are here.
///
/// # Errors
/// With what the checker says against it.
pub fn checked(global: &Global) -> Result<Protocol, String> {
    let text = print(global);
    let source = Source { name: "made.scr", text: &text };
    let (mut protocol, _) = check(&source, &mut NoImports, None, Discipline::Complete, Limits::default())
        .map_err(|diagnostics| format!("{:?}\n{text}", diagnostics[0]))?;
    let number = |label: &str| Message(label[1..].parse().unwrap());
    for step in
        protocol.machines.iter_mut().flat_map(|machine| &mut machine.states).flat_map(|s| &mut s.steps)
    {
        step.message = number(&protocol.messages[step.message.0 as usize].label);
    }
    protocol.messages = global.signatures();
    assert!(protocol.roles.iter().enumerate().all(|(index, role)| **role == format!("r{index}")));
    Ok(protocol)
}
