//! What tests open sessions with.

use std::sync::Arc;

use sessile_protocol::machine::{Message, Protocol, Role};
use sessile_protocol::monitor::event::{Code, Event, Payload};
use sessile_protocol::monitor::seal::SecretKey;
use sessile_protocol::monitor::setup::{
    Authentication, Binding, Buffer, Channel, Handler, OnViolation, Participant, SessionId, Setup, WhenFull,
};
use sessile_protocol::monitor::{Line, Monitor, SendError, Sent};
use sessile_protocol::plan::{Plan, Verdict};

use crate::global::{Global, Node};

pub const A: Role = Role(0);
pub const B: Role = Role(1);
pub const C: Role = Role(2);

pub const BLOCK: WhenFull = WhenFull::Block;

pub fn fifo(capacity: u32, when_full: WhenFull) -> Buffer {
    Buffer::Fifo { capacity, when_full }
}

/// `(from, to, [(message, next node)])`; a node past the last is the end.
pub type Written<'a> = (Role, Role, &'a [(u32, usize)]);

pub fn global(nodes: &[Written]) -> Global {
    let end = nodes.len();
    let mut global = Global::default();
    for (from, to, branches) in nodes {
        global.roles = global.roles.max(from.0 + 1).max(to.0 + 1);
        let branches: Vec<_> = branches.iter().map(|(m, next)| (Message(*m), (*next).min(end))).collect();
        global.messages = branches.iter().map(|(m, _)| m.0 + 1).fold(global.messages, u32::max);
        global.nodes.push(Node::message(*from, *to, branches));
    }
    global.nodes.push(Node::End);
    global.settle();
    global
}

pub fn plan(protocol: &Protocol) -> Arc<Plan> {
    Arc::new(Plan::compile(protocol, Verdict::Proved).unwrap())
}

pub fn plan_of(nodes: &[Written]) -> Arc<Plan> {
    plan(&global(nodes).protocol().expect("it can be projected"))
}

/// A setup in which participants are called `p0`, `p1` and so on.
pub fn setup(plan: &Plan, buffer: Buffer) -> Setup {
    let binding = |index: usize| Binding {
        role: Role(index as u16),
        participant: Participant::new(&format!("p{index}")),
        key: None,
    };
    let mut channels = Channel::each(plan, Handler::Queue, buffer);
    channels.iter_mut().for_each(|channel| channel.lossy = buffer == fifo(1, WhenFull::Drop));
    Setup {
        session: SessionId([7; 16]),
        bindings: (0..plan.roles().len()).map(binding).collect(),
        channels,
        closers: Vec::new(),
        on_violation: OnViolation::Refuse,
        authentication: Authentication::Unsigned,
        longest_payload: 1 << 10,
    }
}

pub fn key(role: Role) -> SecretKey {
    SecretKey::from_seed(&[role.0 as u8 + 1; 32])
}

/// The same, with messages that are signed by [`key`].
pub fn signed(mut setup: Setup, on_forgery: OnViolation) -> Setup {
    setup.authentication = Authentication::Signed { on_forgery };
    setup.bindings.iter_mut().for_each(|binding| binding.key = Some(key(binding.role).public()));
    setup
}

pub fn open(plan: &Arc<Plan>, buffer: Buffer) -> Monitor {
    Monitor::open(plan, setup(plan, buffer)).unwrap()
}

pub fn line(from: Role, to: Role, message: u32) -> Line {
    Line { from, to, message: Message(message), payload: Payload::EMPTY, seal: None }
}

pub fn events(monitor: &mut Monitor) -> Vec<Event> {
    std::iter::from_fn(|| monitor.next_event()).collect()
}

/// What a refused message was.
pub fn code(result: Result<Sent, SendError>) -> Code {
    match result {
        Err(SendError::Violation(violation)) => violation.code,
        other => panic!("{other:?}"),
    }
}
