//! Receiving: decided and carried out apart, as sending is.

use thiserror::Error;

use super::event::{By, Code, Offending, Payload, Status, Violation, What};
use super::speech::SendError;
use super::{Monitor, Queued};
use crate::machine::{Message, Role};
use crate::plan::{Kind, Step};

/// A message that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Who sent it.
    pub from: Role,
    /// Which.
    pub message: Message,
    /// The how-manieth from that role to this one.
    pub sequence: u64,
    /// What it carries.
    pub payload: Payload,
    /// Who may have waited for the room that it took.
    pub woken: Option<Role>,
}

/// A message that can be received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery<'a> {
    /// Who sent it.
    pub from: Role,
    /// Which.
    pub message: Message,
    /// The how-manieth from that role to this one.
    pub sequence: u64,
    /// What it carries.
    pub payload: &'a Payload,
}

/// Why nothing is received. Nothing has changed, unless it is a violation and the setup says that
/// these end the session.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecvError {
    /// Nothing has arrived yet.
    #[error("nothing has arrived yet")]
    Empty,
    /// The role is done.
    #[error("the role is done")]
    Done,
    /// The session is over, or drains and nothing is left.
    #[error("nothing is received in this session any more")]
    Ended,
    /// There is no such role.
    #[error("there is no role {}", .0.0)]
    UnknownRole(Role),
    /// The role is not to receive now, or not from there.
    #[error("{0}")]
    Violation(Box<Violation>),
}

impl Monitor {
    /// What a role would receive, from somebody or from whomever. Changes nothing: who writes it out
    /// before it counts as received looks first.
    ///
    /// # Errors
    /// As [`recv`](Self::recv), and nothing ends the session.
    pub fn peek(&self, role: Role, from: Option<Role>) -> Result<Delivery<'_>, RecvError> {
        let (step, queued) = self.find(role, from)?;
        let Queued { message, sequence, payload } = queued;
        Ok(Delivery { from: step.peer(), message: *message, sequence: *sequence, payload })
    }

    /// Receives a message, from somebody or from whomever: of several, from the role that was
    /// declared first.
    ///
    /// # Errors
    /// When there is none, or the role is not to receive. Then nothing has changed, but that a
    /// violation ends the session where the setup says so.
    pub fn recv(&mut self, role: Role, from: Option<Role>) -> Result<Received, RecvError> {
        let (next, edge, from) = match self.find(role, from) {
            Ok((step, _)) => (step.next, step.edge, step.peer()),
            Err(error) => {
                if let RecvError::Violation(violation) = &error {
                    self.refused(violation);
                }
                return Err(error);
            }
        };
        let was_full = matches!(self.room(edge), Err(SendError::Full));
        let queue = &mut self.ways[edge.0 as usize].queue;
        let Queued { message, sequence, payload } = queue.pop_front().expect("it was just looked at");
        self.waiting -= 1;
        self.enter(role, next);
        self.emit(What::Received { from, to: role, message, sequence });
        self.complete();
        self.drained();
        Ok(Received { from, message, sequence, payload, woken: was_full.then_some(from) })
    }

    #[inline]
    fn find(&self, role: Role, from: Option<Role>) -> Result<(&Step, &Queued), RecvError> {
        let seat = self.seats.get(usize::from(role.0)).ok_or(RecvError::UnknownRole(role))?;
        let (kind, steps) = (self.plan.row(seat.place).kind, self.plan.steps(seat.place));
        let drains = match self.status {
            Status::Active => false,
            Status::Draining { by: By::Operator | By::Role(_) } => true,
            Status::Closed { .. } | Status::Cancelled { .. } | Status::Faulted { .. } => {
                return Err(RecvError::Ended);
            }
        };
        match kind {
            Kind::Done => return Err(RecvError::Done),
            Kind::Sends if drains => return Err(RecvError::Ended),
            Kind::Sends => return Err(self.listened(role, from)),
            Kind::Receives => {}
        }
        let from_there = |step: &&Step| from.is_none_or(|from| step.peer() == from);
        for step in steps.iter().filter(from_there) {
            if let Some(queued) = self.arrived(step.edge, step.message()) {
                return Ok((step, queued));
            }
        }
        if !steps.iter().any(|step| from_there(&step)) {
            return Err(self.listened(role, from));
        }
        // Only when something else has come from everyone that is waited for, waiting is in vain.
        let heads = || steps.iter().map(|step| (step, self.ways[step.edge.0 as usize].queue.front()));
        match heads().next() {
            Some((step, Some(queued))) if heads().all(|(_, head)| head.is_some()) && from.is_none() => {
                let offending = Offending::Arrived { from: step.peer(), message: queued.message };
                Err(RecvError::Violation(self.violation(Code::Incoherent, role, offending)))
            }
            Some(_) | None if drains => Err(RecvError::Ended),
            Some(_) | None => Err(RecvError::Empty),
        }
    }

    #[cold]
    fn listened(&self, role: Role, from: Option<Role>) -> RecvError {
        RecvError::Violation(self.violation(Code::NotOffered, role, Offending::Listened { from }))
    }
}
