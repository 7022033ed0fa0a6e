//! Protocols as one graph of messages, and the machines that it asks of each role.
//!
//! Written apart from the product's checker: a protocol is well-formed by construction when every
//! role has a machine, by a projection that merges what a role cannot tell apart.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sessile_protocol::machine::{
    Choice, Direction, Machine, Message, Protocol, Role, Signature, State, Step,
};

/// A protocol seen from above. The first node is where it begins.
#[derive(Debug, Clone, Default)]
pub struct Global {
    pub roles: u16,
    pub messages: u32,
    pub nodes: Vec<Node>,
    /// For each role, the nodes after which it does nothing any more and nothing ends.
    pub idle: Vec<BTreeSet<usize>>,
}

/// Stands in a frontier for all nodes after which a role is idle.
const IDLE: usize = usize::MAX;

/// A message between two roles, one of several: what is said decides where it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    End,
    Message { from: Role, to: Role, branches: Vec<(Message, usize)>, deadline: Option<Deadline> },
}

/// How long the sender may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    pub within: Duration,
    /// Whether the last branch is for when it has passed.
    pub late: bool,
}

impl Node {
    pub fn message(from: Role, to: Role, branches: Vec<(Message, usize)>) -> Self {
        Self::Message { from, to, branches, deadline: None }
    }
}

/// What a role does first from any of these nodes on, whatever the others do before.
pub type Action = (Direction, Role, Message);

impl Global {
    /// Finds out who is idle where, once all nodes are there.
    pub fn settle(&mut self) {
        let idle = |role| {
            let mut idle: BTreeSet<usize> = (0..self.nodes.len()).collect();
            loop {
                let acts = |node: &usize| match &self.nodes[*node] {
                    Node::End => true,
                    Node::Message { from, to, branches, .. } => {
                        [*from, *to].contains(&Role(role))
                            || branches.iter().any(|(_, next)| !idle.contains(next))
                    }
                };
                let rest: BTreeSet<usize> = idle.iter().copied().filter(|node| !acts(node)).collect();
                if rest == idle {
                    return idle;
                }
                idle = rest;
            }
        };
        self.idle = (0..self.roles).map(idle).collect();
    }

    /// The nodes at which a role does something, or all ends, from these on.
    pub fn frontier(&self, role: Role, nodes: &BTreeSet<usize>) -> BTreeSet<usize> {
        let (mut seen, mut open, mut frontier) =
            (BTreeSet::new(), Vec::from_iter(nodes.iter().copied()), BTreeSet::new());
        while let Some(node) = open.pop() {
            if !seen.insert(node) {
                continue;
            }
            if self.idle[usize::from(role.0)].contains(&node) {
                frontier.insert(IDLE);
                continue;
            }
            match &self.nodes[node] {
                Node::Message { from, to, branches, .. } if *from != role && *to != role => {
                    open.extend(branches.iter().map(|(_, next)| *next));
                }
                Node::Message { .. } | Node::End => drop(frontier.insert(node)),
            }
        }
        frontier
    }

    /// What a role may do at a frontier, and from where it then goes on.
    pub fn actions(&self, role: Role, frontier: &BTreeSet<usize>) -> BTreeMap<Action, BTreeSet<usize>> {
        let mut actions: BTreeMap<Action, BTreeSet<usize>> = BTreeMap::new();
        for node in frontier {
            let Some(Node::Message { from, to, branches, .. }) = self.nodes.get(*node) else { continue };
            for (message, next) in branches {
                let action = if *from == role {
                    (Direction::Send, *to, *message)
                } else {
                    (Direction::Receive, *from, *message)
                };
                actions.entry(action).or_default().insert(*next);
            }
        }
        actions
    }

    /// The deadline of what a role sends at a frontier, and the message that is sent after it.
    pub fn deadline(&self, role: Role, frontier: &BTreeSet<usize>) -> Option<(Duration, Option<Message>)> {
        match self.nodes.get(*frontier.first()?)? {
            Node::Message { from, branches, deadline: Some(deadline), .. } if *from == role => {
                let late = branches.last().filter(|_| deadline.late);
                Some((deadline.within, late.map(|(message, _)| *message)))
            }
            Node::Message { .. } | Node::End => None,
        }
    }

    /// Whether the role knows what to do at a frontier: it sends at one node alone, or it receives
    /// from one peer at all of them, or all ends.
    fn is_clear(&self, role: Role, frontier: &BTreeSet<usize>) -> bool {
        let mut peers = BTreeSet::new();
        for node in frontier {
            match self.nodes.get(*node).unwrap_or(&Node::End) {
                Node::Message { from, .. } if *from == role => peers.insert(None),
                Node::Message { from, .. } => peers.insert(Some(*from)),
                Node::End => return frontier.len() == 1,
            };
        }
        peers.len() <= 1 && (frontier.len() <= 1 || !peers.contains(&None))
    }

    /// The machine of a role, if it always knows what to do.
    pub fn project(&self, role: Role) -> Option<Machine> {
        let start = self.frontier(role, &BTreeSet::from([0]));
        let (mut numbers, mut order, mut states) =
            (BTreeMap::from([(start.clone(), 0)]), vec![start], Vec::new());
        while let Some(frontier) = order.get(states.len()).cloned() {
            if !self.is_clear(role, &frontier) {
                return None;
            }
            let deadline = self.deadline(role, &frontier);
            let last = deadline.and_then(|(_, late)| late);
            let mut steps = Vec::new();
            for ((direction, peer, message), next) in self.actions(role, &frontier) {
                let next = self.frontier(role, &next);
                let fresh = numbers.len() as u32;
                let number = *numbers.entry(next.clone()).or_insert_with(|| {
                    order.push(next);
                    fresh
                });
                let late = last == Some(message);
                steps.push(Step { direction, peer, message, next: State(number), late });
            }
            states.push(Choice { steps, within: deadline.map(|(within, _)| within) });
        }
        Some(Machine { states })
    }

    pub fn signatures(&self) -> Vec<Signature> {
        (0..self.messages)
            .map(|message| Signature { label: format!("m{message}").into(), payload: Vec::new() })
            .collect()
    }

    /// The protocol with a machine for each role.
    pub fn protocol(&self) -> Option<Protocol> {
        Some(Protocol {
            name: "Made".into(),
            roles: (0..self.roles).map(|role| format!("r{role}").into()).collect(),
            messages: self.signatures(),
            machines: (0..self.roles).map(|role| self.project(Role(role))).collect::<Option<_>>()?,
        })
    }
}
