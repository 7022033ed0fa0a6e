//! From a log to the state that it tells of.

use std::sync::Arc;

use thiserror::Error;

use super::Monitor;
use super::event::{Cause, Event, Status, What};
use super::setup::OpenError;
use super::speech::Line;
use crate::codec::Digest;
use crate::plan::Plan;

/// Why a log tells of no session of this plan.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReplayError {
    /// It does not begin with an opening.
    #[error("the log does not begin with the opening of a session")]
    Beginning,
    /// It is of another plan.
    #[error("the log is of another protocol, {0}")]
    OtherPlan(Digest),
    /// The opening would not have been admitted.
    #[error("the log begins with an opening that is refused")]
    Open(#[from] OpenError),
    /// What it says did not happen there.
    #[error("event {index} cannot have happened there")]
    Impossible {
        /// Which event, from 0.
        index: u64,
    },
}

/// The session that a log tells of. Signatures are not verified again, their links are; everything
/// else is done again, and must come to the same events. What the last event of a torn log brought
/// about and the log does not have is [left to be taken](Monitor::next_event).
///
/// # Errors
/// When the log is not one of a session of this plan.
pub fn replay(plan: &Arc<Plan>, log: impl IntoIterator<Item = Event>) -> Result<Monitor, ReplayError> {
    let mut log = log.into_iter();
    let opened = log.next().ok_or(ReplayError::Beginning)?;
    let What::Opened { plan: hash, setup } = &opened.what else { return Err(ReplayError::Beginning) };
    if *hash != plan.hash() {
        return Err(ReplayError::OtherPlan(*hash));
    }
    let mut monitor = Monitor::open(plan, setup.as_ref().clone())?;
    if monitor.next_event().as_ref() != Some(&opened) {
        return Err(ReplayError::Impossible { index: 0 });
    }
    monitor.follow(log)?;
    Ok(monitor)
}

impl Monitor {
    /// Does again what a log says that happened after the present state.
    ///
    /// # Errors
    /// When it cannot have happened. The monitor is then somewhere before it, and of no use.
    pub fn follow(&mut self, log: impl IntoIterator<Item = Event>) -> Result<(), ReplayError> {
        for event in log {
            let impossible = ReplayError::Impossible { index: self.count };
            if self.events.is_empty() {
                self.redo(&event).ok_or_else(|| impossible.clone())?;
            }
            if self.next_event().as_ref() != Some(&event) {
                return Err(impossible);
            }
        }
        Ok(())
    }

    /// Does again what made an event; `None` when it could not.
    fn redo(&mut self, event: &Event) -> Option<()> {
        if event.at < self.now {
            return None;
        }
        self.now = event.at;
        match &event.what {
            What::Sent { from, to, message, payload, sealing, .. } => {
                let (seal, signed) = match sealing.as_deref() {
                    Some(sealing) => (Some(Box::new(sealing.seal.clone())), Some(sealing.payload)),
                    None => (None, None),
                };
                let line = Line { from: *from, to: *to, message: *message, payload: payload.clone(), seal };
                self.resend(line, signed).ok().map(drop)
            }
            What::Received { from, to, .. } => self.recv(*to, Some(*from)).ok().map(drop),
            What::EpochAdvanced { cause, .. } => match cause {
                Cause::Completed => None,
                Cause::Closing { by, how } => self.close(*by, *how).ok(),
                Cause::Delegated(given) => {
                    self.delegate(given.by, given.role, given.to.clone(), given.key.clone()).ok().map(drop)
                }
            },
            What::Faulted { violation, .. } => match self.status {
                Status::Active | Status::Draining { .. } => {
                    self.fault(violation);
                    Some(())
                }
                Status::Closed { .. } | Status::Cancelled { .. } | Status::Faulted { .. } => None,
            },
            What::Introduced { role, key } => self.acquaint(*role, key.clone()).ok(),
            What::Opened { .. } | What::Closed { .. } => None,
        }
    }
}
