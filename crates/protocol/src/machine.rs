//! What a checked protocol asks of each role: one finite machine a role.
//!
//! The checker makes these; the monitor compiles them to tables. A machine is a communicating
//! finite state machine (Brand and Zafiropulo, 1983) over reliable FIFO queues, one for each
//! ordered pair of roles.

use std::time::Duration;

/// A checked protocol: its roles, its messages, and a machine for each role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocol {
    /// As the file names it, without its module.
    pub name: Box<str>,
    /// In the order of the declaration. [`Role`] counts in here.
    pub roles: Vec<Box<str>>,
    /// Each once. [`Message`] counts in here.
    pub messages: Vec<Signature>,
    /// One for each role, in the order of `roles`.
    pub machines: Vec<Machine>,
}

/// A role by its place in [`Protocol::roles`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Role(pub u16);

/// A message by its place in [`Protocol::messages`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Message(pub u32);

/// A state by its place in [`Machine::states`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State(pub u32);

/// What a message is called and carries.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature {
    /// May be empty.
    pub label: Box<str>,
    /// Names of payload types, in order.
    pub payload: Vec<Box<str>>,
}

/// What one role may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// The first is where the role begins.
    pub states: Vec<Choice>,
}

/// What a role may do in one state. Without steps, the role is done.
///
/// The steps of one state are all sends or all receives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Choice {
    /// No two have the same peer and message.
    pub steps: Vec<Step>,
    /// How long after the state was entered a step that is not `late` may be taken. Time in
    /// which the session is paused does not count.
    pub within: Option<Duration>,
}

/// One thing a role may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Whether the role sends or receives.
    pub direction: Direction,
    /// To or from whom.
    pub peer: Role,
    /// What.
    pub message: Message,
    /// Where the role is afterwards.
    pub next: State,
    /// Of the branch that is taken when `within` has passed: offered then, and not before.
    pub late: bool,
}

/// Whether a role sends or receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// To the peer.
    Send,
    /// From the peer.
    Receive,
}
