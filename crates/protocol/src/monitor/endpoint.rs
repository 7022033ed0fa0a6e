//! The side that signs: a participant's key and how far its messages have come.

use std::collections::BTreeMap;

use thiserror::Error;

use super::seal::{Position, Seal, SecretKey, Statement};
use super::setup::SessionId;
use crate::codec::Digest;
use crate::machine::Signature;

/// What a role signs its messages with. It is moved on only by what the monitor took: a message
/// that was refused, or has to wait, used up no sequence, and is signed again as the same.
#[derive(Debug)]
pub struct Endpoint {
    key: SecretKey,
    session: SessionId,
    plan: Digest,
    epoch: u64,
    role: Box<str>,
    positions: BTreeMap<Box<str>, Position>,
}

/// A message that was signed, and has yet to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    to: Box<str>,
    after: Position,
    /// What goes to the monitor along with the message.
    pub seal: Seal,
}

/// The monitor is neither where it was before the message nor where it would be after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the messages towards this role have come elsewhere than signed here")]
pub struct Diverged;

impl Endpoint {
    /// A role at the beginning of a session.
    pub fn new(key: SecretKey, session: SessionId, plan: Digest, epoch: u64, role: &str) -> Self {
        Self { key, session, plan, epoch, role: role.into(), positions: BTreeMap::new() }
    }

    /// Takes over where the monitor says that messages to a role have come: for who begins in the
    /// middle of a session, after a delegation or in a process of its own.
    pub fn resume(&mut self, to: &str, position: Position) {
        self.positions.insert(to.into(), position);
    }

    /// Signs for another epoch from now on. What was signed and not yet taken is signed again.
    pub fn enter(&mut self, epoch: u64) {
        self.epoch = epoch;
    }

    /// Where messages to this role have come.
    pub fn position(&self, to: &str) -> Position {
        let first = || Position::first(self.session, self.plan, &self.role, to);
        self.positions.get(to).copied().unwrap_or_else(first)
    }

    /// Signs a message. Signing again gives the same, until one was taken.
    pub fn seal(&self, to: &str, message: &Signature, payload: &[u8]) -> Sealed {
        let statement = Statement {
            session: self.session,
            plan: self.plan,
            epoch: self.epoch,
            from: &self.role,
            to,
            position: self.position(to),
            message,
            payload: Digest::of(payload),
        };
        let after = statement.after(statement.link());
        Sealed { to: to.into(), after, seal: statement.seal(&self.key) }
    }

    /// The monitor took it.
    pub fn taken(&mut self, sealed: Sealed) {
        self.positions.insert(sealed.to, sealed.after);
    }

    /// Finds out whether a message was taken whose answer was lost, from where the monitor says
    /// that messages to that role have come.
    ///
    /// # Errors
    /// When they have come somewhere else.
    pub fn settle(&mut self, sealed: Sealed, position: Position) -> Result<bool, Diverged> {
        if position == sealed.after {
            self.taken(sealed);
            Ok(true)
        } else if position == self.position(&sealed.to) {
            Ok(false)
        } else {
            Err(Diverged)
        }
    }
}
