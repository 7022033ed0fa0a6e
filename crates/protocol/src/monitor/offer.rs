//! What a role may say or hear next, and until when.

use std::time::Duration;

use super::event::{Expected, Status};
use super::{Monitor, direction};
use crate::machine::{Direction, Message, Role};
use crate::plan::{Kind, Row, Step};

/// Something that a role may do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// Whether it sends or receives.
    pub direction: Direction,
    /// To or from whom.
    pub peer: Role,
    /// What.
    pub message: Message,
    /// Whether it can be done now: there is room for the message, or it is the next to be received.
    pub ready: bool,
}

impl Monitor {
    /// What a role may say or hear next. Of what it may say, all and only this is admitted. Nothing
    /// once it is done, nor when the session is over; while it drains, only what has arrived is to be heard.
    pub fn offered(&self, role: Role) -> impl Iterator<Item = Offer> {
        let seat = self.seats.get(usize::from(role.0));
        let row = seat.map(|seat| self.plan.row(seat.place));
        let steps = seat.map(|seat| self.plan.steps(seat.place)).unwrap_or_default();
        let offers = row.is_some_and(|row| self.offers(row));
        let expired = self.has_expired(role);
        let drains = matches!(self.status, Status::Draining { .. });
        let offers = steps.iter().filter(move |step| offers && step.late == expired).map(move |step| Offer {
            direction: row.map_or(Direction::Receive, |row| direction(row.kind)),
            peer: step.peer(),
            message: step.message(),
            ready: self.is_ready(step, row),
        });
        offers.filter(move |offer| offer.ready || !drains)
    }

    fn is_ready(&self, step: &Step, row: Option<&Row>) -> bool {
        match row.map_or(Kind::Done, |row| row.kind) {
            Kind::Sends => self.room(step.edge).is_ok(),
            Kind::Receives => self.arrived(step.edge, step.message()).is_some(),
            Kind::Done => false,
        }
    }

    fn offers(&self, row: &Row) -> bool {
        match self.status {
            Status::Active => true,
            Status::Draining { .. } => row.kind == Kind::Receives,
            Status::Closed { .. } | Status::Cancelled { .. } | Status::Faulted { .. } => false,
        }
    }

    /// When what a role may say expires, if it does.
    pub fn deadline(&self, role: Role) -> Option<Duration> {
        let seat = self.seats.get(usize::from(role.0))?;
        seat.entered.checked_add(self.plan.row(seat.place).within?)
    }

    /// The next time at which something expires: when to [`tick`](Self::tick) at the latest.
    pub fn next_deadline(&self) -> Option<Duration> {
        if !self.plan.has_deadlines() || self.status != Status::Active {
            return None;
        }
        self.roles().filter_map(|role| self.deadline(role)).filter(|deadline| *deadline > self.now).min()
    }

    /// Whether the deadline of what a role may say has passed.
    #[inline]
    pub(super) fn has_expired(&self, role: Role) -> bool {
        self.plan.has_deadlines() && self.deadline(role).is_some_and(|deadline| deadline <= self.now)
    }

    pub(super) fn roles(&self) -> impl Iterator<Item = Role> + use<> {
        (0..self.seats.len() as u16).map(Role)
    }

    pub(super) fn expected(&self, role: Role) -> Box<[Expected]> {
        let expected =
            |offer: Offer| Expected { direction: offer.direction, peer: offer.peer, message: offer.message };
        self.offered(role).map(expected).collect()
    }
}
