//! Session types: what all roles do together, and what one role does, with every `do` taken in.

use std::collections::HashMap;
use std::time::Duration;

use crate::diagnostic::Span;
use crate::syntax::{Symbol, Symbols};

/// A role by its place in the protocol's header.
pub(crate) type RoleId = u16;

/// One step of a session type, of all roles or of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node<A> {
    Act(A),
    Choice {
        subject: RoleId,
        branches: Vec<Vec<Node<A>>>,
        span: Span,
    },
    /// Each has a variable of its own.
    Recursion {
        variable: u32,
        body: Vec<Node<A>>,
    },
    Continue {
        variable: u32,
        span: Span,
    },
}

/// A message by its place in [`Messages`].
pub(crate) type MessageId = u32;

/// What a message is called and carries.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Label {
    /// Of a literal; `None` where it is empty.
    Literal(Option<Symbol>, Vec<Symbol>),
    /// Of a declared signature, or a parameter for one.
    Named(Symbol),
}

/// The longest payload that is shown in full.
const MOST_SHOWN: usize = 64;

/// Every message of a protocol, once.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    labels: Vec<Label>,
    numbers: HashMap<Label, MessageId>,
}

impl Messages {
    pub(crate) fn intern(&mut self, label: Label) -> MessageId {
        if let Some(number) = self.numbers.get(&label) {
            return *number;
        }
        let number = self.labels.len() as MessageId;
        self.labels.push(label.clone());
        self.numbers.insert(label, number);
        number
    }

    pub(crate) fn label(&self, message: MessageId) -> &Label {
        &self.labels[message as usize]
    }

    /// Whether receivers tell both apart by their labels alone.
    pub(crate) fn same_label(&self, one: MessageId, other: MessageId) -> bool {
        match (self.label(one), self.label(other)) {
            (Label::Literal(one, _), Label::Literal(other, _)) => one == other,
            (Label::Named(one), Label::Named(other)) => one == other,
            (Label::Literal(..), Label::Named(_)) | (Label::Named(_), Label::Literal(..)) => false,
        }
    }

    /// The message as the file writes it.
    pub(crate) fn shown(&self, message: MessageId, symbols: &Symbols) -> String {
        match self.label(message) {
            Label::Named(name) => symbols.text(*name).to_owned(),
            Label::Literal(label, payload) => {
                let most = payload.len().min(MOST_SHOWN);
                let mut names: Vec<&str> = payload[..most].iter().map(|name| symbols.text(*name)).collect();
                if most < payload.len() {
                    names.push("…");
                }
                format!("{}({})", label.map_or("", |name| symbols.text(name)), names.join(", "))
            }
        }
    }
}

/// How two roles meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Meeting {
    Message,
    Connect,
    Disconnect,
}

/// What two roles do together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interaction {
    pub meeting: Meeting,
    pub from: RoleId,
    pub to: RoleId,
    pub message: MessageId,
    pub within: Option<Duration>,
    /// The first of a branch for when the time is over.
    pub late: bool,
    pub span: Span,
}

/// What all roles do.
pub(crate) type Global = Vec<Node<Interaction>>;

/// A protocol of its own, with every `do` taken in.
#[derive(Debug)]
pub(crate) struct Whole {
    pub name: Symbol,
    pub roles: Vec<Symbol>,
    pub explicit: bool,
    pub body: Global,
    pub messages: Messages,
    /// Where it is named.
    pub span: Span,
}

impl Whole {
    pub(crate) fn role<'a>(&self, role: RoleId, symbols: &'a Symbols) -> &'a str {
        symbols.text(self.roles[usize::from(role)])
    }
}

/// Calls with every node, outer ones first.
pub(crate) fn visit<A>(body: &[Node<A>], call: &mut impl FnMut(&Node<A>)) {
    for node in body {
        call(node);
        match node {
            Node::Act(_) | Node::Continue { .. } => {}
            Node::Choice { branches, .. } => branches.iter().for_each(|branch| visit(branch, call)),
            Node::Recursion { body, .. } => visit(body, call),
        }
    }
}

/// Whether a `continue` of the body goes to the variable.
pub(crate) fn continues<A>(body: &[Node<A>], to: u32) -> bool {
    let mut found = false;
    visit(body, &mut |node| {
        if let Node::Continue { variable, .. } = node {
            found |= *variable == to;
        }
    });
    found
}

/// Without recursions that nothing comes back to, and without empty branches: but what lies in such
/// a recursion stays as it is, as in the reference tool.
pub(crate) fn prune<A>(body: Vec<Node<A>>) -> Vec<Node<A>> {
    let mut pruned = Vec::with_capacity(body.len());
    for node in body {
        match node {
            Node::Act(_) | Node::Continue { .. } => pruned.push(node),
            Node::Choice { subject, branches, span } => {
                let branches: Vec<Vec<Node<A>>> =
                    branches.into_iter().map(prune).filter(|branch| !branch.is_empty()).collect();
                if !branches.is_empty() {
                    pruned.push(Node::Choice { subject, branches, span });
                }
            }
            Node::Recursion { variable, body } => {
                if continues(&body, variable) {
                    pruned.push(Node::Recursion { variable, body: prune(body) });
                } else {
                    pruned.extend(body);
                }
            }
        }
    }
    pruned
}
