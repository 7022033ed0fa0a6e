//! A checked protocol as tables that a monitor steps through.
//!
//! A plan has one row for each state that a role can reach, and recursion is an edge between rows
//! like any other: nothing is unfolded while a session runs, and a step is found without
//! allocation. Rows are numbered in the order in which they are reached, so machines that differ
//! in the numbers of their states alone come to the same plan and the same [`Plan::hash`].

mod compile;

use std::time::Duration;

use thiserror::Error;

pub use crate::codec::Digest;
use crate::codec::Sink as _;
use crate::machine::{Direction, Message, Role, Signature, State};

/// Most roles of a plan.
pub const MOST_ROLES: usize = 256;
/// Most rows of a plan.
pub const MOST_ROWS: usize = 1 << 20;
/// Most steps of a plan.
pub const MOST_STEPS: usize = 1 << 22;

/// What the checker says of a protocol that it did not refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is proved safe.
    Proved,
    /// A bound was reached before it was proved. No session is opened with it.
    Unknown,
}

/// A row of a plan: a state of one role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub(crate) u32);

/// A pair of roles of which the first sends to the second, by its place in [`Plan::edges`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EdgeId(pub(crate) u32);

/// A pair of roles of which the first sends to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge {
    /// Who sends.
    pub from: Role,
    /// Who receives.
    pub to: Role,
}

/// What a role does in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing any more.
    Done,
    /// It sends one of the row's steps.
    Sends,
    /// It receives one of the row's steps.
    Receives,
}

/// A state of one role.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    first: u32,
    count: u32,
    /// What the role does here.
    pub kind: Kind,
    /// Of a row that sends: how long after it was entered its steps expire.
    pub within: Option<Duration>,
    /// Of a row that sends: whether it has steps for when they have expired.
    pub has_late: bool,
}

/// A step of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Peer, then message: what the steps of a row are sorted by.
    key: u64,
    /// Where the role is afterwards.
    pub next: Place,
    /// Which way the message goes.
    pub edge: EdgeId,
    /// Whether the step is offered only once the row's others have expired. Rows that receive
    /// have none: what was sent is received, whenever it is.
    pub late: bool,
}

impl Step {
    /// To or from whom.
    pub fn peer(&self) -> Role {
        Role((self.key >> 32) as u16)
    }

    /// What.
    pub fn message(&self) -> Message {
        Message(self.key as u32)
    }
}

fn key(peer: Role, message: Message) -> u64 {
    u64::from(peer.0) << 32 | u64::from(message.0)
}

/// A protocol as tables. Shared by its sessions in an `Arc`.
#[derive(Debug)]
pub struct Plan {
    name: Box<str>,
    verdict: Verdict,
    roles: Box<[Box<str>]>,
    messages: Box<[Signature]>,
    by_label: Box<[Message]>,
    starts: Box<[Place]>,
    rows: Box<[Row]>,
    steps: Box<[Step]>,
    edges: Box<[Edge]>,
    /// For each edge, whether an unread message may be replaced by the next.
    replaceable: Box<[bool]>,
    has_deadlines: bool,
    hash: Digest,
}

/// Why machines make no plan. Each is a mistake of what made the machines.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CompileError {
    /// There are more than [`MOST_ROLES`], [`MOST_ROWS`] or [`MOST_STEPS`].
    #[error("too many {0}")]
    TooMany(&'static str),
    /// Not one machine for each role.
    #[error("{machines} machines for {roles} roles")]
    Machines {
        /// How many roles there are.
        roles: usize,
        /// How many machines there are.
        machines: usize,
    },
    /// A role or a message is there twice.
    #[error("{0:?} is there twice")]
    Twice(Box<str>),
    /// A machine is wrong.
    #[error("{role}, state {}: {what}", .state.0)]
    Machine {
        /// Whose.
        role: Box<str>,
        /// In which state.
        state: State,
        /// What is wrong with it.
        what: WrongState,
    },
}

/// What is wrong with a state of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WrongState {
    /// A step names a state, a role or a message that there is not.
    #[error("a step leads nowhere")]
    Dangling,
    /// The role speaks to itself.
    #[error("the role speaks to itself")]
    Oneself,
    /// Sends and receives are mixed.
    #[error("sends and receives are mixed")]
    Mixed,
    /// Two steps have the same peer and message.
    #[error("two steps have the same peer and message")]
    Ambiguous,
    /// A step is for after a deadline that there is not, or all are.
    #[error("what may be sent late has no deadline, or nothing may be sent before it")]
    Late,
}

impl Plan {
    /// What the file calls the protocol.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the checker says of it.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The roles' names. [`Role`] counts in here.
    pub fn roles(&self) -> &[Box<str>] {
        &self.roles
    }

    /// The messages. [`Message`] counts in here.
    pub fn messages(&self) -> &[Signature] {
        &self.messages
    }

    /// Every pair of roles of which one can come to send to the other, sorted.
    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// The digest of everything in the plan but its verdict; the same in every run.
    pub fn hash(&self) -> Digest {
        self.hash
    }

    /// Whether any step expires.
    pub fn has_deadlines(&self) -> bool {
        self.has_deadlines
    }

    /// The role of this name.
    pub fn role(&self, name: &str) -> Option<Role> {
        let index = self.roles.iter().position(|role| **role == *name)?;
        u16::try_from(index).ok().map(Role)
    }

    /// Every message with this label, in the order of their payload types.
    pub fn messages_called(&self, label: &str) -> &[Message] {
        let called = |message: &Message| &*self.messages[message.0 as usize].label;
        let first = self.by_label.partition_point(|message| called(message) < label);
        let count = self.by_label[first..].partition_point(|message| called(message) == label);
        &self.by_label[first..first + count]
    }

    /// The edge between two roles, if anything is ever sent there.
    pub fn edge(&self, from: Role, to: Role) -> Option<EdgeId> {
        self.edges.binary_search(&Edge { from, to }).ok().map(|index| EdgeId(index as u32))
    }

    /// Whether on this edge an unread message may be replaced by the next: all have the same label,
    /// and the receiver is afterwards where it was before, however many it received.
    pub fn is_replaceable(&self, edge: EdgeId) -> bool {
        self.replaceable[edge.0 as usize]
    }

    /// Where a role begins.
    pub fn start(&self, role: Role) -> Option<Place> {
        self.starts.get(usize::from(role.0)).copied()
    }

    /// A state.
    pub fn row(&self, place: Place) -> &Row {
        &self.rows[place.0 as usize]
    }

    /// Everything that can be done in a state, sorted by peer and message.
    pub fn steps(&self, place: Place) -> &[Step] {
        let row = self.row(place);
        &self.steps[row.first as usize..][..row.count as usize]
    }

    /// The step of a state with this direction, peer and message.
    #[inline]
    pub fn step(&self, place: Place, direction: Direction, peer: Role, message: Message) -> Option<&Step> {
        let kind = match direction {
            Direction::Send => Kind::Sends,
            Direction::Receive => Kind::Receives,
        };
        if self.row(place).kind != kind {
            return None;
        }
        /// Up to here looking at each is faster than searching.
        const FEW: usize = 8;
        let (steps, wanted) = (self.steps(place), key(peer, message));
        if steps.len() <= FEW {
            return steps.iter().find(|step| step.key == wanted);
        }
        steps.binary_search_by_key(&wanted, |step| step.key).ok().map(|index| &steps[index])
    }

    /// Whether a role can come there.
    pub(crate) fn has_place(&self, role: Role, place: Place) -> bool {
        let index = usize::from(role.0);
        let end = self.starts.get(index + 1).map_or(self.rows.len() as u32, |place| place.0);
        self.starts.get(index).is_some_and(|start| (start.0..end).contains(&place.0))
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.text("sessile protocol plan 1");
        out.text(&self.name);
        out.count(self.roles.len());
        self.roles.iter().for_each(|role| out.text(role));
        out.count(self.messages.len());
        for message in &self.messages {
            out.text(&message.label);
            out.count(message.payload.len());
            message.payload.iter().for_each(|name| out.text(name));
        }
        self.starts.iter().for_each(|place| out.u32(place.0));
        out.count(self.rows.len());
        for index in 0..self.rows.len() as u32 {
            let row = self.row(Place(index));
            out.u8(match row.kind {
                Kind::Done => 0,
                Kind::Sends => 1,
                Kind::Receives => 2,
            });
            out.bool(row.within.is_some());
            out.duration(row.within.unwrap_or_default());
            out.count(row.count as usize);
            for step in self.steps(Place(index)) {
                out.u64(step.key);
                out.u32(step.next.0);
                out.bool(step.late);
            }
        }
        out
    }
}
