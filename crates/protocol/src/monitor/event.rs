//! What happened in a session, and what it is now.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::seal::{PublicKey, Seal};
use super::setup::{Participant, SessionId, Setup};
use crate::codec::Digest;
use crate::machine::{Direction, Message, Role};

/// What a message carries. Shared, and cheap to clone.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Payload(Option<Arc<[u8]>>);

impl Payload {
    /// Nothing.
    pub const EMPTY: Self = Self(None);

    /// These bytes.
    pub fn new(bytes: &[u8]) -> Self {
        Self((!bytes.is_empty()).then(|| bytes.into()))
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.bytes().len())
    }
}

/// Something that happened. All of a session's events, in their order, are its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The how-manieth of the session, from 0.
    pub index: u64,
    /// When, in the session's time.
    pub at: Duration,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The session was opened.
    Opened {
        /// The hash of its plan.
        plan: Digest,
        /// With what.
        setup: Arc<Setup>,
    },
    /// A message was admitted and now waits for its receiver.
    Sent {
        /// Who sent it.
        from: Role,
        /// Who receives it.
        to: Role,
        /// Which message.
        message: Message,
        /// The how-manieth from that role to that other.
        sequence: u64,
        /// What the receiver gets.
        payload: Payload,
        /// Where messages are signed: what shows who sent it.
        sealing: Option<Box<Sealing>>,
    },
    /// A message was received.
    Received {
        /// Who sent it.
        from: Role,
        /// Who received it.
        to: Role,
        /// Which message.
        message: Message,
        /// The how-manieth from that role to that other.
        sequence: u64,
    },
    /// A role is known by a key from now on: by this one, until the role is delegated.
    Introduced {
        /// The role.
        role: Role,
        /// Its key.
        key: PublicKey,
    },
    /// What was signed before is no longer taken.
    EpochAdvanced {
        /// The new epoch.
        epoch: u64,
        /// Why.
        cause: Cause,
    },
    /// The session is over.
    Closed {
        /// What was sent and never received.
        lost: Box<[Lost]>,
    },
    /// The session was ended by a violation.
    Faulted {
        /// Which.
        violation: Box<Violation>,
        /// What was sent and never received.
        lost: Box<[Lost]>,
    },
}

/// A seal that was verified, and what it was verified for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealing {
    /// The seal.
    pub seal: Seal,
    /// The digest of the payload that was signed; the guard may have delivered another.
    pub payload: Digest,
}

/// Why an epoch began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// Nothing can happen any more: every role is done, or those that are not listen in vain.
    Completed,
    /// Somebody closes the session.
    Closing {
        /// Who.
        by: By,
        /// How.
        how: Close,
    },
    /// Another participant speaks for a role.
    Delegated(Box<Delegation>),
}

/// Who closes or delegates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Whoever runs the session.
    Operator,
    /// A role, that is whoever speaks for it.
    Role(Role),
}

/// How a session is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// Nothing more is sent; what was sent is received first, as far as it can be.
    Drain,
    /// At once.
    Abort,
}

/// The receipt of a delegation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegation {
    /// The session.
    pub session: SessionId,
    /// Whose role it was to give.
    pub by: By,
    /// Which role.
    pub role: Role,
    /// Who spoke for it.
    pub from: Participant,
    /// Who speaks for it from now on.
    pub to: Participant,
    /// The new key, where messages are signed and it is known already.
    pub key: Option<PublicKey>,
    /// The epoch that begins with it.
    pub epoch: u64,
    /// The hash of the session's state before it.
    pub state: Digest,
}

/// A message that was sent and never received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// Who sent it.
    pub from: Role,
    /// For whom it was.
    pub to: Role,
    /// Which message.
    pub message: Message,
    /// The how-manieth from that role to that other.
    pub sequence: u64,
}

/// What a session is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// It goes on.
    Active,
    /// Nothing more is sent; what was sent is received.
    Draining {
        /// Who closes it.
        by: By,
    },
    /// It is over.
    Closed {
        /// Who closed it; `None` when nothing could happen any more.
        by: Option<By>,
    },
    /// It was ended at once.
    Cancelled {
        /// By whom.
        by: By,
    },
    /// It was ended by a violation.
    Faulted {
        /// Which.
        violation: Box<Violation>,
    },
}

/// Something that the protocol does not allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Of which kind.
    pub code: Code,
    /// Whose.
    pub role: Role,
    /// What was expected of the role.
    pub expected: Box<[Expected]>,
    /// What happened instead.
    pub offending: Offending,
}

/// A step that a role might have taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Whether it sends or receives.
    pub direction: Direction,
    /// To or from whom.
    pub peer: Role,
    /// What.
    pub message: Message,
}

/// What happened instead of what was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offending {
    /// It said something.
    Said {
        /// To whom.
        to: Role,
        /// What.
        message: Message,
    },
    /// It said something that no message of the protocol is called.
    SaidUnknown {
        /// To whom.
        to: Role,
        /// The first bytes of what it said.
        label: Box<str>,
    },
    /// It wanted to hear something.
    Listened {
        /// From whom, if it said so.
        from: Option<Role>,
    },
    /// It said nothing.
    Silence {
        /// For how long it might.
        within: Duration,
    },
    /// Something arrived.
    Arrived {
        /// From whom.
        from: Role,
        /// What.
        message: Message,
    },
}

/// Kinds of violation. The names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The protocol does not offer it, here and now.
    NotOffered,
    /// The protocol has no such message.
    UnknownMessage,
    /// It is offered only when a deadline has passed.
    TooEarly,
    /// It was offered until a deadline passed.
    TooLate,
    /// A deadline passed, and the protocol says nothing of that.
    Deadline,
    /// What arrived is nothing that the receiver can receive. A checked protocol has none of these.
    Incoherent,
    /// It is not signed.
    Unsigned,
    /// It was signed for another session.
    OtherSession,
    /// It was signed for an epoch that there is not yet.
    OtherEpoch,
    /// A message with its sequence was taken already.
    Replayed,
    /// Messages before it are missing.
    Reordered,
    /// It states another predecessor than it has.
    Unlinked,
    /// The signature is not its sender's.
    Forged,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 13] = [
        Self::NotOffered,
        Self::UnknownMessage,
        Self::TooEarly,
        Self::TooLate,
        Self::Deadline,
        Self::Incoherent,
        Self::Unsigned,
        Self::OtherSession,
        Self::OtherEpoch,
        Self::Replayed,
        Self::Reordered,
        Self::Unlinked,
        Self::Forged,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotOffered => "not-offered",
            Self::UnknownMessage => "unknown-message",
            Self::TooEarly => "too-early",
            Self::TooLate => "too-late",
            Self::Deadline => "deadline",
            Self::Incoherent => "incoherent",
            Self::Unsigned => "unsigned",
            Self::OtherSession => "other-session",
            Self::OtherEpoch => "other-epoch",
            Self::Replayed => "replayed",
            Self::Reordered => "reordered",
            Self::Unlinked => "unlinked",
            Self::Forged => "forged",
        }
    }

    /// Whether it says that the seal does not fit, rather than what was said.
    pub fn is_forgery(self) -> bool {
        match self {
            Self::NotOffered
            | Self::UnknownMessage
            | Self::TooEarly
            | Self::TooLate
            | Self::Deadline
            | Self::Incoherent => false,
            Self::Unsigned
            | Self::OtherSession
            | Self::OtherEpoch
            | Self::Replayed
            | Self::Reordered
            | Self::Unlinked
            | Self::Forged => true,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.code {
            Code::NotOffered => "the protocol does not offer that here",
            Code::UnknownMessage => "the protocol has no such message",
            Code::TooEarly => "that is offered only after a deadline",
            Code::TooLate => "the deadline for that has passed",
            Code::Deadline => "a deadline has passed",
            Code::Incoherent => "what arrived cannot be received",
            Code::Unsigned => "the message is not signed",
            Code::OtherSession => "the message was signed for another session",
            Code::OtherEpoch => "the message was signed for another epoch",
            Code::Replayed => "the message was taken already",
            Code::Reordered => "messages before it are missing",
            Code::Unlinked => "the message follows another than it should",
            Code::Forged => "the signature is not the sender's",
        };
        write!(f, "{}: {what}", self.code)
    }
}
