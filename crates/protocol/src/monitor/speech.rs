//! Sending.
//!
//! It is decided in one function that changes nothing, and carried out in another that cannot fail:
//! a refusal leaves everything as it was.

use std::time::Duration;

use thiserror::Error;

use super::event::{Code, Offending, Payload, Sealing, Status, Violation, What};
use super::seal::{Position, Seal, Statement, is_signed};
use super::setup::{Authentication, Buffer, Handler, OnViolation, SessionId, WhenFull};
use super::{Monitor, Queued, REMEMBERED};
use crate::codec::Digest;
use crate::machine::{Direction, Message, Role};
use crate::plan::{EdgeId, Place};

/// A message that somebody wants to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// As whom.
    pub from: Role,
    /// To whom.
    pub to: Role,
    /// Which.
    pub message: Message,
    /// What it carries.
    pub payload: Payload,
    /// What shows who sent it, where messages are signed.
    pub seal: Option<Box<Seal>>,
}

/// What became of a message that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It waits for its receiver.
    Queued,
    /// It waits for its receiver in place of the one before, which was not yet read.
    Replaced,
    /// It is lost, on a channel that may lose it. The sender is where it was.
    Lost,
}

/// Why a message is not sent. Nothing has changed, unless it is a violation and the setup says that
/// these end the session.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SendError {
    /// There is no room. Who receives from there is told whom to wake.
    #[error("there is no room for it yet")]
    Full,
    /// There is no room, and nobody waits for it.
    #[error("there is no room for it")]
    Overflow,
    /// The session is over, or drains.
    #[error("nothing is sent in this session any more")]
    Ended,
    /// The payload is too long.
    #[error("a payload has at most {longest} bytes")]
    TooLong {
        /// How long it may be.
        longest: u32,
    },
    /// There is no such role.
    #[error("there is no role {}", .0.0)]
    UnknownRole(Role),
    /// There is no such message.
    #[error("there is no message {}", .0.0)]
    UnknownMessage(Message),
    /// Several messages with this label may be sent.
    #[error("several messages have this label")]
    Ambiguous,
    /// Its signature is good, but an epoch has begun since: it is to be signed again.
    #[error("it was signed before epoch {current} began")]
    Stale {
        /// The epoch now.
        current: u64,
    },
    /// Its signature is good, but another by the same key took its place: it is to be signed again.
    #[error("another message by the same key took its place")]
    Overtaken,
    /// Its channel passes the guard: it is admitted, inspected and committed, not just sent.
    #[error("it has to pass the guard")]
    Guarded,
    /// It is signed, and nobody here has a key.
    #[error("messages of this session are not signed")]
    NotSigned,
    /// The protocol does not allow it, or its seal does not fit.
    #[error("{0}")]
    Violation(Box<Violation>),
}

/// A message that may be sent as things stand. It holds nothing: whatever happens meanwhile happens,
/// and [`Monitor::commit`] then asks again.
#[derive(Debug, Clone)]
pub struct Admitted {
    line: Line,
    decision: Decision,
    session: SessionId,
    /// What determines the state that it was admitted in.
    stamp: (u64, Duration),
    delivered: Option<Payload>,
}

impl Admitted {
    /// The message.
    pub fn line(&self) -> &Line {
        &self.line
    }

    /// What would become of it.
    pub fn outcome(&self) -> Sent {
        match self.decision.room {
            Room::Enough | Room::Made(_) => Sent::Queued,
            Room::Replaces => Sent::Replaced,
            Room::None => Sent::Lost,
        }
    }

    /// Has the receiver get another payload than was sent, with something left out of it.
    #[must_use]
    pub fn delivering(self, payload: Payload) -> Self {
        Self { delivered: Some(payload), ..self }
    }
}

/// What was made sure of where messages are signed.
#[derive(Debug, Clone, Copy)]
struct Signed {
    payload: Digest,
    link: Digest,
}

#[derive(Debug, Clone)]
struct Decision {
    next: Place,
    edge: EdgeId,
    room: Room,
    signed: Option<Box<Signed>>,
}

/// Where a message goes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Room {
    Enough,
    /// The buffer grows to this first.
    Made(u32),
    Replaces,
    /// Nowhere: it is lost.
    None,
}

impl Monitor {
    /// Whether a message may be sent. Changes nothing.
    ///
    /// # Errors
    /// As [`send`](Self::send), and nothing ends the session.
    pub fn admit(&self, line: Line) -> Result<Admitted, SendError> {
        let decision = self.decide(&line)?;
        let (session, stamp) = (self.setup.session, (self.count, self.now));
        Ok(Admitted { line, decision, session, stamp, delivered: None })
    }

    /// Sends a message that was admitted, if it still is: after [`admit`](Self::admit) with nothing
    /// between, it is.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn commit(&mut self, admitted: Admitted) -> Result<Sent, SendError> {
        let Admitted { line, decision, session, stamp, delivered } = admitted;
        let longest = self.setup.longest_payload;
        if delivered.as_ref().is_some_and(|payload| payload.bytes().len() > longest as usize) {
            return Err(SendError::TooLong { longest });
        }
        let decision = if session == self.setup.session && stamp == (self.count, self.now) {
            Ok(decision)
        } else {
            self.decide(&line)
        };
        self.carry_out(line, decision, delivered)
    }

    /// Sends a message that passes no guard.
    ///
    /// # Errors
    /// When it is not admitted. Then nothing has changed, but that a violation ends the session
    /// where the setup says so.
    pub fn send(&mut self, line: Line) -> Result<Sent, SendError> {
        let decision = self.decide(&line).and_then(|decision| {
            match self.setup.channels[decision.edge.0 as usize].handler {
                Handler::Queue | Handler::Command => Ok(decision),
                Handler::Guard => Err(SendError::Guarded),
            }
        });
        self.carry_out(line, decision, None)
    }

    /// The message that a label means when a role says it to another: one that it may say there
    /// now, else any of that name.
    ///
    /// # Errors
    /// When there are several, or none; that is a violation.
    pub fn message_called(&self, from: Role, to: Role, label: &str) -> Result<Message, SendError> {
        /// How much of what was said is kept.
        const KEPT: usize = 64;
        let known = self.plan.messages_called(label);
        let mut offered = self.offered(from).filter(|offer| {
            offer.direction == Direction::Send && offer.peer == to && known.contains(&offer.message)
        });
        match (offered.next(), offered.next(), known.first()) {
            (Some(_), Some(_), _) => Err(SendError::Ambiguous),
            (Some(only), None, _) => Ok(only.message),
            (None, _, Some(any)) => Ok(*any),
            (None, _, None) => {
                let label = label.chars().take(KEPT).collect::<String>().into();
                let offending = Offending::SaidUnknown { to, label };
                Err(SendError::Violation(self.violation(Code::UnknownMessage, from, offending)))
            }
        }
    }

    /// Does with a violation that was only found, by [`admit`](Self::admit) or otherwise, what the
    /// setup says: nothing, or the session ends.
    pub fn refused(&mut self, violation: &Violation) {
        let policy = match self.setup.authentication {
            Authentication::Signed { on_forgery } if violation.code.is_forgery() => on_forgery,
            Authentication::Signed { .. } | Authentication::Unsigned => self.setup.on_violation,
        };
        if policy == OnViolation::Fault || violation.code == Code::Incoherent {
            self.fault(violation);
        }
    }

    /// Sends again what a log says was sent, as what was signed for a payload with this digest.
    pub(super) fn resend(&mut self, line: Line, signed: Option<Digest>) -> Result<Sent, SendError> {
        let decision = self.decide_as(&line, |monitor| match (line.seal.as_deref(), signed) {
            (Some(seal), Some(payload)) => {
                let statement = monitor.states(&line, seal, payload)?;
                if seal.epoch != monitor.epoch {
                    return Err(SendError::Stale { current: monitor.epoch });
                }
                Ok(Some(Box::new(Signed { payload, link: statement.link() })))
            }
            _ => monitor.authenticate(&line),
        });
        self.carry_out(line, decision, None)
    }

    fn decide(&self, line: &Line) -> Result<Decision, SendError> {
        self.decide_as(line, |monitor| monitor.authenticate(line))
    }

    #[inline]
    fn decide_as(
        &self,
        line: &Line,
        authenticate: impl FnOnce(&Self) -> Result<Option<Box<Signed>>, SendError>,
    ) -> Result<Decision, SendError> {
        let (from, to, message) = (line.from, line.to, line.message);
        let seats = self.seats.len();
        if usize::from(to.0) >= seats {
            return Err(SendError::UnknownRole(to));
        }
        let seat = self.seats.get(usize::from(from.0)).ok_or(SendError::UnknownRole(from))?;
        if self.status != Status::Active {
            return Err(SendError::Ended);
        }
        let longest = self.setup.longest_payload;
        if line.payload.bytes().len() > longest as usize {
            return Err(SendError::TooLong { longest });
        }
        let signed = authenticate(self)?;
        let Some(step) = self.plan.step(seat.place, Direction::Send, to, message) else {
            if message.0 as usize >= self.plan.messages().len() {
                return Err(SendError::UnknownMessage(message));
            }
            return Err(self.said(Code::NotOffered, line));
        };
        match (step.late, self.has_expired(from)) {
            (false, false) | (true, true) => {}
            (true, false) => return Err(self.said(Code::TooEarly, line)),
            (false, true) => return Err(self.said(Code::TooLate, line)),
        }
        Ok(Decision { next: step.next, edge: step.edge, room: self.room(step.edge)?, signed })
    }

    #[inline]
    fn authenticate(&self, line: &Line) -> Result<Option<Box<Signed>>, SendError> {
        match (self.setup.authentication, line.seal.as_deref()) {
            (Authentication::Unsigned, None) => Ok(None),
            (Authentication::Unsigned, Some(_)) => Err(SendError::NotSigned),
            (Authentication::Signed { .. }, None) => Err(self.said(Code::Unsigned, line)),
            (Authentication::Signed { .. }, Some(seal)) => self.verify(line, seal).map(Some),
        }
    }

    fn verify(&self, line: &Line, seal: &Seal) -> Result<Box<Signed>, SendError> {
        let payload = Digest::of(line.payload.bytes());
        let statement = match self.states(line, seal, payload) {
            Err(SendError::Violation(violation))
                if violation.code == Code::Replayed && self.is_overtaken(line, seal, payload) =>
            {
                return Err(SendError::Overtaken);
            }
            stated => stated?,
        };
        let link = statement.link();
        let key = self.seats[usize::from(line.from.0)].key.as_ref();
        if !key.is_some_and(|key| is_signed(link, key, &seal.signature)) {
            return Err(self.said(Code::Forged, line));
        }
        // A good signature that crossed an epoch's beginning on its way is nobody's fault.
        if seal.epoch < self.epoch {
            Err(SendError::Stale { current: self.epoch })
        } else {
            Ok(Box::new(Signed { payload, link }))
        }
    }

    /// What a seal states of a message, if it is what can be stated of the next one.
    pub(super) fn states(
        &self,
        line: &Line,
        seal: &Seal,
        payload: Digest,
    ) -> Result<Statement<'_>, SendError> {
        let name = |role: Role| &*self.plan.roles()[usize::from(role.0)];
        let (session, plan) = (self.setup.session, self.plan.hash());
        let (from, to) = (name(line.from), name(line.to));
        let position =
            self.position(line.from, line.to).unwrap_or_else(|| Position::first(session, plan, from, to));
        let Some(message) = self.plan.messages().get(line.message.0 as usize) else {
            return Err(SendError::UnknownMessage(line.message));
        };
        let amiss = [
            (seal.session != session, Code::OtherSession),
            (seal.epoch > self.epoch, Code::OtherEpoch),
            (seal.position.sequence < position.sequence, Code::Replayed),
            (seal.position.sequence > position.sequence, Code::Reordered),
            (seal.position.link != position.link, Code::Unlinked),
        ];
        match amiss.iter().find(|(amiss, _)| *amiss) {
            Some((_, code)) => Err(self.said(*code, line)),
            None => Ok(Statement { session, plan, epoch: seal.epoch, from, to, position, message, payload }),
        }
    }

    #[inline]
    pub(super) fn room(&self, edge: EdgeId) -> Result<Room, SendError> {
        let (way, channel) = (&self.ways[edge.0 as usize], &self.setup.channels[edge.0 as usize]);
        let when_full = match channel.buffer {
            Buffer::Latest if way.queue.is_empty() => return Ok(Room::Enough),
            Buffer::Latest => return Ok(Room::Replaces),
            Buffer::Fifo { when_full, .. } => when_full,
        };
        if way.queue.len() < way.capacity as usize {
            return Ok(Room::Enough);
        }
        match when_full {
            WhenFull::Block => Err(SendError::Full),
            WhenFull::Error => Err(SendError::Overflow),
            WhenFull::Grow { max } if way.capacity < max => Ok(Room::Made((way.capacity * 2).min(max))),
            WhenFull::Grow { .. } => Err(SendError::Full),
            WhenFull::Drop => Ok(Room::None),
        }
    }

    fn carry_out(
        &mut self,
        line: Line,
        decision: Result<Decision, SendError>,
        delivered: Option<Payload>,
    ) -> Result<Sent, SendError> {
        let Decision { next, edge, room, signed } = match decision {
            Ok(decision) => decision,
            Err(error) => {
                if let SendError::Violation(violation) = &error {
                    self.refused(violation);
                }
                return Err(error);
            }
        };
        let way = &mut self.ways[edge.0 as usize];
        let sent = match room {
            Room::None => return Ok(Sent::Lost),
            Room::Enough => Sent::Queued,
            Room::Made(capacity) => {
                way.capacity = capacity;
                Sent::Queued
            }
            Room::Replaces => {
                way.queue.clear();
                self.waiting -= 1;
                Sent::Replaced
            }
        };
        let (payload, sequence) = (delivered.unwrap_or(line.payload), way.sequence);
        way.sequence += 1;
        if let Some(signed) = &signed {
            if way.links.len() == REMEMBERED {
                way.links.pop_front();
            }
            way.links.push_back(signed.link);
        }
        way.queue.push_back(Queued { message: line.message, sequence, payload: payload.clone() });
        self.waiting += 1;
        self.enter(line.from, next);
        let sealing =
            line.seal.zip(signed).map(|(seal, signed)| Sealing { seal: *seal, payload: signed.payload });
        self.emit(What::Sent {
            from: line.from,
            to: line.to,
            message: line.message,
            sequence,
            payload,
            sealing: sealing.map(Box::new),
        });
        self.complete();
        Ok(sent)
    }

    #[cold]
    pub(super) fn said(&self, code: Code, line: &Line) -> SendError {
        let offending = Offending::Said { to: line.to, message: line.message };
        SendError::Violation(self.violation(code, line.from, offending))
    }

    pub(super) fn violation(&self, code: Code, role: Role, offending: Offending) -> Box<Violation> {
        Box::new(Violation { code, role, expected: self.expected(role), offending })
    }
}
