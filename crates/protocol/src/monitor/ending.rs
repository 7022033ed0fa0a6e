//! What happens to a session beside speech: time, delegation, its end.

use std::time::Duration;

use thiserror::Error;

use super::Monitor;
use super::event::{By, Cause, Close, Code, Delegation, Offending, Status, Violation};
use super::keys::MOST_WITHDRAWN;
use super::seal::PublicKey;
use super::setup::{LONGEST_NAME, Participant};
use crate::machine::Role;
use crate::plan::Kind;

/// Why a session is not closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CloseError {
    /// It is over, or drains already.
    #[error("the session is being closed, or over")]
    Ended,
    /// The role may not close it, or not in this way.
    #[error("the role may not close the session in this way")]
    NotAllowed,
}

/// Why a role is not delegated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DelegateError {
    /// The session is over.
    #[error("the session is over")]
    Ended,
    /// There is no such role.
    #[error("there is no role {}", .0.0)]
    UnknownRole(Role),
    /// A role delegates itself, and none other.
    #[error("a role gives itself away, and no other")]
    NotAllowed,
    /// The participant has another role; or this one, and no key that could be withdrawn.
    #[error("the participant speaks for a role already")]
    HasRole,
    /// The name is empty or too long.
    #[error("a participant's name has 1 to {LONGEST_NAME} bytes")]
    Name,
    /// The key is another's, or messages are not signed.
    #[error("a key of one's own may be given where messages are signed, and none otherwise")]
    Key,
    /// The role was given away too often.
    #[error("the role was given away {MOST_WITHDRAWN} times, and stays where it is")]
    TooOften,
}

impl Monitor {
    /// Tells the time. A time before the last one told is that one. What may be said in place of
    /// what has expired is offered from then on; where there is nothing of the kind, the session is
    /// ended as Faulted. Gives the roles that are now offered something else.
    pub fn tick(&mut self, now: Duration) -> Vec<Role> {
        let before = self.now;
        self.now = before.max(now);
        if !self.plan.has_deadlines() || self.status != Status::Active {
            return Vec::new();
        }
        let passed = |role: &Role| {
            self.deadline(*role).is_some_and(|deadline| before < deadline && deadline <= self.now)
        };
        let expired: Vec<Role> = self.roles().filter(|role| self.has_expired(*role)).collect();
        let silent = expired.iter().copied().filter(|role| !self.row_of(*role).has_late);
        match silent.min_by_key(|role| (self.deadline(*role), *role)) {
            None => expired.into_iter().filter(passed).collect(),
            Some(role) => {
                let within = self.row_of(role).within.unwrap_or_default();
                let violation = self.violation(Code::Deadline, role, Offending::Silence { within });
                self.fault(&violation);
                Vec::new()
            }
        }
    }

    /// Closes the session. While it drains, it can still be aborted.
    ///
    /// # Errors
    /// When it is over, or who closes it may not.
    pub fn close(&mut self, by: By, how: Close) -> Result<(), CloseError> {
        match (&self.status, how) {
            (Status::Active, Close::Drain | Close::Abort) | (Status::Draining { .. }, Close::Abort) => {}
            (Status::Draining { .. }, Close::Drain)
            | (Status::Closed { .. } | Status::Cancelled { .. } | Status::Faulted { .. }, _) => {
                return Err(CloseError::Ended);
            }
        }
        let may = match by {
            By::Operator => true,
            By::Role(role) => self
                .setup
                .closers
                .iter()
                .any(|closer| closer.role == role && (how == Close::Drain || closer.may_abort)),
        };
        if !may {
            return Err(CloseError::NotAllowed);
        }
        self.advance_epoch(Cause::Closing { by, how });
        match how {
            Close::Abort => self.end(Status::Cancelled { by }),
            Close::Drain => {
                self.status = Status::Draining { by };
                self.drained();
            }
        }
        Ok(())
    }

    /// Has another participant speak for a role, and says so in a receipt. The key of the one before is
    /// withdrawn; where the new one is not given, it is [introduced](Self::introduce) with the first message.
    /// Given to who speaks for it already, the role keeps its participant and loses its key.
    ///
    /// # Errors
    /// When the session is over, the role is not theirs to give, or the participant cannot have it.
    pub fn delegate(
        &mut self,
        by: By,
        role: Role,
        to: Participant,
        key: Option<PublicKey>,
    ) -> Result<Delegation, DelegateError> {
        let index = usize::from(role.0);
        let seat = self.seats.get(index).ok_or(DelegateError::UnknownRole(role))?;
        match self.status {
            Status::Active | Status::Draining { .. } => {}
            Status::Closed { .. } | Status::Cancelled { .. } | Status::Faulted { .. } => {
                return Err(DelegateError::Ended);
            }
        }
        match by {
            By::Operator => {}
            By::Role(giver) if giver == role => {}
            By::Role(_) => return Err(DelegateError::NotAllowed),
        }
        if !(1..=LONGEST_NAME).contains(&to.name().len()) {
            return Err(DelegateError::Name);
        }
        match self.role_of(&to) {
            Some(other) if other != role || seat.key.is_none() || seat.key == key => {
                return Err(DelegateError::HasRole);
            }
            Some(_) | None => {}
        }
        let is_taken = key.is_some() && self.seats.iter().any(|seat| seat.key == key);
        if is_taken || key.is_some() && !self.setup.is_signed() {
            return Err(DelegateError::Key);
        }
        if seat.withdrawn.len() >= MOST_WITHDRAWN {
            return Err(DelegateError::TooOften);
        }
        let delegation = Delegation {
            session: self.setup.session,
            by,
            role,
            from: seat.participant.clone(),
            to: to.clone(),
            key: key.clone(),
            epoch: self.epoch + 1,
            state: self.hash(),
        };
        self.seats[index].pass_on(to, key);
        self.advance_epoch(Cause::Delegated(Box::new(delegation.clone())));
        Ok(delegation)
    }

    /// Ends a session that drains, once nothing of what was sent can be received any more.
    #[inline]
    pub(super) fn drained(&mut self) {
        let Status::Draining { by } = self.status else { return };
        let can_receive = |role: Role| {
            let place = self.seats[usize::from(role.0)].place;
            self.plan.row(place).kind == Kind::Receives
                && self.plan.steps(place).iter().any(|step| self.arrived(step.edge, step.message()).is_some())
        };
        if !self.roles().any(can_receive) {
            self.end(Status::Closed { by: Some(by) });
        }
    }

    #[cold]
    pub(super) fn fault(&mut self, violation: &Violation) {
        match self.status {
            Status::Active | Status::Draining { .. } => {
                self.end(Status::Faulted { violation: Box::new(violation.clone()) });
            }
            Status::Closed { .. } | Status::Cancelled { .. } | Status::Faulted { .. } => {}
        }
    }

    fn row_of(&self, role: Role) -> &crate::plan::Row {
        self.plan.row(self.seats[usize::from(role.0)].place)
    }
}
