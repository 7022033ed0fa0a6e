//! Whose key is whose.
//!
//! ```text
//!        introduced with the first message          delegated
//! no key ─────────────────────────────────→ a key ────────────→ another's, or none; this one is withdrawn
//! ```
//!
//! Who may speak for a role is known to whoever has the monitor. It hands over the first message together with
//! the key that it is signed by; from then on the role is known by that key, and by no other.

use thiserror::Error;

use super::event::{Code, Status, What};
use super::seal::{PublicKey, Seal, Statement, is_signed};
use super::setup::Participant;
use super::speech::{Line, SendError};
use super::{Monitor, Seat};
use crate::codec::Digest;
use crate::machine::Role;

/// How many keys of one role are withdrawn at most.
pub(super) const MOST_WITHDRAWN: usize = 64;

/// Why a key is not taken for a role's. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IntroduceError {
    /// Messages are not signed.
    #[error("messages of this session are not signed")]
    NotSigned,
    /// The session is over, or drains.
    #[error("nothing is sent in this session any more")]
    Ended,
    /// There is no such role.
    #[error("there is no role {}", .0.0)]
    UnknownRole(Role),
    /// It is known by another key already.
    #[error("the role is known by another key")]
    HasKey,
    /// The key is another role's.
    #[error("the key is another role's")]
    AnothersKey,
    /// The role was known by this key before, and it was withdrawn.
    #[error("the key was withdrawn from this role")]
    Withdrawn,
    /// What was to show that it is the sender's does not.
    #[error(transparent)]
    Message(SendError),
}

impl Monitor {
    /// The key that a role is known by, where messages are signed and it has said something.
    pub fn key(&self, role: Role) -> Option<&PublicKey> {
        self.seats.get(usize::from(role.0))?.key.as_ref()
    }

    /// Knows a role by this key from now on: the one that its first message is signed by. The message itself
    /// is not sent with that. Introducing the same key again changes nothing.
    ///
    /// # Errors
    /// When the key cannot be the role's, or the message is not signed by it.
    pub fn introduce(&mut self, line: &Line, key: PublicKey) -> Result<(), IntroduceError> {
        if self.key(line.from) == Some(&key) {
            return Ok(());
        }
        self.admit_key(line.from, &key)?;
        let seal = line.seal.as_deref().ok_or(IntroduceError::NotSigned)?;
        if seal.epoch < self.epoch {
            return Err(IntroduceError::Message(SendError::Stale { current: self.epoch }));
        }
        let payload = Digest::of(line.payload.bytes());
        let link = self.states(line, seal, payload).map_err(IntroduceError::Message)?.link();
        if !is_signed(link, &key, &seal.signature) {
            return Err(IntroduceError::Message(self.said(Code::Forged, line)));
        }
        self.acquaint(line.from, key)
    }

    pub(super) fn acquaint(&mut self, role: Role, key: PublicKey) -> Result<(), IntroduceError> {
        self.admit_key(role, &key)?;
        self.seats[usize::from(role.0)].key = Some(key.clone());
        self.emit(What::Introduced { role, key });
        Ok(())
    }

    fn admit_key(&self, role: Role, key: &PublicKey) -> Result<(), IntroduceError> {
        if !self.setup.is_signed() {
            return Err(IntroduceError::NotSigned);
        }
        if self.status != Status::Active {
            return Err(IntroduceError::Ended);
        }
        let seat = self.seats.get(usize::from(role.0)).ok_or(IntroduceError::UnknownRole(role))?;
        if seat.key.is_some() {
            return Err(IntroduceError::HasKey);
        }
        if self.seats.iter().any(|seat| seat.key.as_ref() == Some(key)) {
            return Err(IntroduceError::AnothersKey);
        }
        match seat.withdrawn.iter().any(|(_, withdrawn)| withdrawn == key) {
            true => Err(IntroduceError::Withdrawn),
            false => Ok(()),
        }
    }

    /// Whether a message at a place that is taken was signed by its sender's key for what another got before
    /// it: then it is nobody's fault, and no repetition.
    pub(super) fn is_overtaken(&self, line: &Line, seal: &Seal, payload: Digest) -> bool {
        let Some(edge) = self.plan.edge(line.from, line.to) else { return false };
        let way = &self.ways[edge.0 as usize];
        let first = way.sequence - way.links.len() as u64;
        let known = seal.position.sequence.checked_sub(first).and_then(|at| usize::try_from(at).ok());
        let Some(known) = known.and_then(|at| way.links.get(at)) else { return false };
        let Some(message) = self.plan.messages().get(line.message.0 as usize) else { return false };
        let [from, to] = [line.from, line.to].map(|role| &*self.plan.roles()[usize::from(role.0)]);
        let (session, plan, position) = (seal.session, self.plan.hash(), seal.position);
        let statement = Statement { session, plan, epoch: seal.epoch, from, to, position, message, payload };
        let (link, key) = (statement.link(), self.key(line.from));
        link != *known && key.is_some_and(|key| is_signed(link, key, &seal.signature))
    }
}

impl Seat {
    /// Has another speak from here on, or the same by another key.
    pub(super) fn pass_on(&mut self, to: Participant, key: Option<PublicKey>) {
        let before = std::mem::replace(&mut self.participant, to);
        if before != self.participant {
            // Who is given the role back may be known as before.
            self.withdrawn.retain(|(whose, _)| *whose != self.participant);
        }
        let withdrawn = std::mem::replace(&mut self.key, key);
        self.withdrawn.retain(|(_, other)| self.key.as_ref() != Some(other));
        self.withdrawn.extend(withdrawn.map(|withdrawn| (before, withdrawn)));
    }
}
