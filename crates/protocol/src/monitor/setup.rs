//! What a session is opened with, and whether it may be.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use super::seal::PublicKey;
use crate::machine::Role;
use crate::plan::{Edge, EdgeId, Plan, Verdict};

/// Most messages that a buffer may hold.
pub const MOST_QUEUED: u32 = 1 << 16;
/// Longest name of a participant, in bytes.
pub const LONGEST_NAME: usize = 256;

/// A session's id, which is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionId(pub [u8; 16]);

/// Who speaks for a role: an app, an operator.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Participant(Arc<str>);

impl Participant {
    /// The participant of this name.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Participant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who speaks for a role, and by which key they are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The role.
    pub role: Role,
    /// Who speaks for it.
    pub participant: Participant,
    /// The key that their messages are verified with, where messages are signed and it is known already;
    /// else it is [introduced](super::Monitor::introduce) with the first of them.
    pub key: Option<PublicKey>,
}

/// How messages get from one role to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channel {
    /// Who sends.
    pub from: Role,
    /// Who receives.
    pub to: Role,
    /// What the messages pass.
    pub handler: Handler,
    /// Where they wait for the receiver.
    pub buffer: Buffer,
    /// Whether a message may be lost when there is no room.
    pub lossy: bool,
}

/// What a channel's messages pass on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handler {
    /// Nothing but the buffer.
    Queue,
    /// The guard: they are inspected between being admitted and being queued.
    Guard,
    /// A command outside, which speaks for the receiver.
    Command,
}

/// Where messages wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Buffer {
    /// All of them, in order.
    Fifo {
        /// How many at first; at least one, at most [`MOST_QUEUED`].
        capacity: u32,
        /// What happens to one more.
        when_full: WhenFull,
    },
    /// The last one alone: what is not yet read is replaced.
    Latest,
}

/// What happens to a message for which there is no room. In each case it is decided before
/// anything has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// The sender waits, and is woken when there is room.
    Block,
    /// It is an error.
    Error,
    /// Room is made, twice as much each time. At the limit, the sender waits.
    Grow {
        /// Never more than this; at most [`MOST_QUEUED`].
        max: u32,
    },
    /// It is lost, and the sender is where it was. Only where the channel is lossy.
    Drop,
}

/// A role that may close the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closer {
    /// The role.
    pub role: Role,
    /// Whether it may do so without draining.
    pub may_abort: bool,
}

/// What is made of a violation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnViolation {
    /// It is refused, and changes nothing.
    Refuse,
    /// It ends the session.
    Fault,
}

/// Whether messages are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// They are not: whoever hands them over vouches for them.
    Unsigned,
    /// Each is, by the key of its sender. One whose key is not known yet says nothing before it is.
    Signed {
        /// What is made of a message whose seal does not fit.
        on_forgery: OnViolation,
    },
}

/// What a session is opened with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// The session.
    pub session: SessionId,
    /// One for each role. A participant speaks for one role: two persons are two.
    pub bindings: Vec<Binding>,
    /// One for each of the plan's edges.
    pub channels: Vec<Channel>,
    /// Which roles may close it. An operator always may.
    pub closers: Vec<Closer>,
    /// What is made of what the protocol does not offer.
    pub on_violation: OnViolation,
    /// Whether messages are signed.
    pub authentication: Authentication,
    /// How long a payload may be, in bytes.
    pub longest_payload: u32,
}

/// Why a session is not opened. Nothing of it is left.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpenError {
    /// The protocol is not proved safe.
    #[error("the protocol is not proved safe")]
    Unproved,
    /// There are more or fewer bindings than roles.
    #[error("{given} of {needed} roles are bound")]
    Arity {
        /// How many roles there are.
        needed: usize,
        /// How many bindings.
        given: usize,
    },
    /// A binding, a channel or a closer names a role that there is not.
    #[error("there is no role {}", .0.0)]
    UnknownRole(Role),
    /// A role is bound twice, and another not at all.
    #[error("role {0} is bound twice")]
    BoundTwice(Box<str>),
    /// Somebody speaks for two roles.
    #[error("{0} would speak for two roles")]
    TwoRoles(Participant),
    /// A name is empty or too long.
    #[error("a participant's name has 1 to {LONGEST_NAME} bytes")]
    Name,
    /// Messages are not signed, and a participant has a key.
    #[error("{0} has a key and messages are not signed")]
    Key(Participant),
    /// Two participants have the same key.
    #[error("{0} has another participant's key")]
    KeyTwice(Participant),
    /// Nothing takes the messages from one role to another.
    #[error("nothing handles what {from} sends to {to}")]
    Unhandled {
        /// Who sends.
        from: Box<str>,
        /// Who receives.
        to: Box<str>,
    },
    /// A channel is there twice, or the protocol never uses it.
    #[error("the protocol has no further channel from {from} to {to}")]
    UnusedChannel {
        /// Who sends.
        from: Box<str>,
        /// Who receives.
        to: Box<str>,
    },
    /// A buffer has no room, or too much.
    #[error("a buffer holds 1 to {MOST_QUEUED} messages, and grows to no less than it began with")]
    Capacity,
    /// Messages would be lost on a channel that is not lossy.
    #[error("what {from} sends to {to} may not be lost")]
    NotLossy {
        /// Who sends.
        from: Box<str>,
        /// Who receives.
        to: Box<str>,
    },
    /// Messages would be replaced where that makes a difference to the receiver.
    #[error("what {from} sends to {to} may not be replaced: it differs, or leads the receiver further")]
    NotReplaceable {
        /// Who sends.
        from: Box<str>,
        /// Who receives.
        to: Box<str>,
    },
}

impl Setup {
    /// Checks that a session may be opened, and puts bindings and channels into the plan's order.
    pub(super) fn admit(&mut self, plan: &Plan) -> Result<(), OpenError> {
        if plan.verdict() == Verdict::Unknown {
            return Err(OpenError::Unproved);
        }
        self.admit_bindings(plan)?;
        self.admit_channels(plan)?;
        match self.closers.iter().find(|closer| plan.start(closer.role).is_none()) {
            Some(closer) => Err(OpenError::UnknownRole(closer.role)),
            None => Ok(()),
        }
    }

    fn admit_bindings(&mut self, plan: &Plan) -> Result<(), OpenError> {
        let (needed, given) = (plan.roles().len(), self.bindings.len());
        if let Some(binding) = self.bindings.iter().find(|binding| plan.start(binding.role).is_none()) {
            return Err(OpenError::UnknownRole(binding.role));
        }
        self.bindings.sort_by_key(|binding| binding.role);
        if let Some(pair) = self.bindings.windows(2).find(|pair| pair[0].role == pair[1].role) {
            return Err(OpenError::BoundTwice(name(plan, pair[0].role)));
        }
        if needed != given {
            return Err(OpenError::Arity { needed, given });
        }
        let signed = self.is_signed();
        for (index, binding) in self.bindings.iter().enumerate() {
            let participant = &binding.participant;
            if !(1..=LONGEST_NAME).contains(&participant.name().len()) {
                return Err(OpenError::Name);
            }
            if binding.key.is_some() && !signed {
                return Err(OpenError::Key(participant.clone()));
            }
            for other in &self.bindings[..index] {
                if other.participant == *participant {
                    return Err(OpenError::TwoRoles(participant.clone()));
                }
                if binding.key.is_some() && other.key == binding.key {
                    return Err(OpenError::KeyTwice(participant.clone()));
                }
            }
        }
        Ok(())
    }

    fn admit_channels(&mut self, plan: &Plan) -> Result<(), OpenError> {
        self.channels.sort_by_key(|channel| (channel.from, channel.to));
        let mut channels = self.channels.iter();
        for (index, &Edge { from, to }) in (0u32..).zip(plan.edges()) {
            let channel = channels.next().filter(|channel| (channel.from, channel.to) <= (from, to));
            let Some(channel) = channel else {
                return Err(OpenError::Unhandled { from: name(plan, from), to: name(plan, to) });
            };
            if (channel.from, channel.to) != (from, to) {
                return Err(unused(plan, channel));
            }
            channel.admit(plan, EdgeId(index))?;
        }
        channels.next().map_or(Ok(()), |channel| Err(unused(plan, channel)))
    }

    /// Whether messages are signed.
    pub fn is_signed(&self) -> bool {
        match self.authentication {
            Authentication::Unsigned => false,
            Authentication::Signed { .. } => true,
        }
    }
}

impl Channel {
    /// One for each of a plan's edges, alike, and none of them lossy.
    pub fn each(plan: &Plan, handler: Handler, buffer: Buffer) -> Vec<Self> {
        let channel = |&Edge { from, to }| Self { from, to, handler, buffer, lossy: false };
        plan.edges().iter().map(channel).collect()
    }

    fn admit(&self, plan: &Plan, edge: EdgeId) -> Result<(), OpenError> {
        let (from, to) = (self.from, self.to);
        match self.buffer {
            Buffer::Latest if plan.is_replaceable(edge) => Ok(()),
            Buffer::Latest => Err(OpenError::NotReplaceable { from: name(plan, from), to: name(plan, to) }),
            Buffer::Fifo { capacity, when_full } => {
                let holds = |range: std::ops::RangeInclusive<u32>, count| {
                    if range.contains(&count) { Ok(()) } else { Err(OpenError::Capacity) }
                };
                holds(1..=MOST_QUEUED, capacity)?;
                match when_full {
                    WhenFull::Grow { max } => holds(capacity..=MOST_QUEUED, max),
                    WhenFull::Drop if !self.lossy => {
                        Err(OpenError::NotLossy { from: name(plan, from), to: name(plan, to) })
                    }
                    WhenFull::Block | WhenFull::Error | WhenFull::Drop => Ok(()),
                }
            }
        }
    }
}

fn unused(plan: &Plan, channel: &Channel) -> OpenError {
    match [channel.from, channel.to].into_iter().find(|role| plan.start(*role).is_none()) {
        Some(role) => OpenError::UnknownRole(role),
        None => OpenError::UnusedChannel { from: name(plan, channel.from), to: name(plan, channel.to) },
    }
}

fn name(plan: &Plan, role: Role) -> Box<str> {
    plan.roles()[usize::from(role.0)].clone()
}
