//! How a message is signed, and how its signature is verified.
//!
//! Every endpoint has an Ed25519 key (RFC 8032) of its own, which stays on its side; the monitor
//! has the public half. What is signed says everything about a message: a signature fits one place
//! in one session. The encoding is canonical (integers big-endian, texts and byte strings behind
//! their length in 32 bits, lists behind their count in 32 bits):
//!
//! | field | form |
//! |---|---|
//! | `sessile protocol statement 1` | text |
//! | session | byte string |
//! | hash of the plan | byte string |
//! | epoch | 64 bits |
//! | sender's role | text |
//! | receiver's role | text |
//! | sequence, from 0 for each direction between two roles | 64 bits |
//! | label | text |
//! | payload types | list of texts |
//! | SHA-256 of the payload | byte string |
//! | link | byte string |
//!
//! The SHA-256 of this is the message's *link*: the next message of the same direction states it,
//! so none can be left out, added or exchanged. The first states the SHA-256 of
//! `sessile protocol edge 1` (text), session, hash of the plan, sender's and receiver's role, in the
//! same form. Signed are the 26 bytes `sessile protocol message 1` and then the message's link.

use std::fmt;
use std::sync::Arc;

use ed25519_dalek::{Signature as Ed25519, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::setup::SessionId;
use crate::codec::{Digest, Sink as _};
use crate::machine::Signature;

const DOMAIN: &[u8; 26] = b"sessile protocol message 1";

/// The key by which a participant's messages are known. Shared, and cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(pub(super) Arc<VerifyingKey>);

/// The bytes are no key that could tell one signer from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a usable Ed25519 key")]
pub struct InvalidKey;

impl PublicKey {
    /// The key of these bytes.
    ///
    /// # Errors
    /// When they are no point of the curve, or one of small order, which verifies anything.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, InvalidKey> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| InvalidKey)?;
        if key.is_weak() { Err(InvalidKey) } else { Ok(Self(Arc::new(key))) }
    }

    /// Its bytes.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", Digest(self.to_bytes()))
    }
}

/// The key that a participant signs with; overwritten when it is dropped.
pub struct SecretKey(pub(super) SigningKey);

impl SecretKey {
    /// The key that these random bytes make.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// What others know it by.
    pub fn public(&self) -> PublicKey {
        PublicKey(Arc::new(self.0.verifying_key()))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {:?})", self.public())
    }
}

/// How far the messages of one direction between two roles have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The next message's sequence.
    pub sequence: u64,
    /// The last message's link.
    pub link: Digest,
}

impl Position {
    /// Before the first message.
    pub fn first(session: SessionId, plan: Digest, from: &str, to: &str) -> Self {
        let mut out = Sha256::new();
        out.text("sessile protocol edge 1");
        out.bytes(&session.0);
        out.bytes(&plan.0);
        out.text(from);
        out.text(to);
        Self { sequence: 0, link: Digest(out.finalize().into()) }
    }
}

/// What goes along with a signed message, beside the message itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// For which session it was signed.
    pub session: SessionId,
    /// In which epoch.
    pub epoch: u64,
    /// As the how-manieth of its direction.
    pub position: Position,
    /// The signature.
    pub signature: [u8; 64],
}

/// What is signed.
#[derive(Debug, Clone, Copy)]
pub struct Statement<'a> {
    /// The session.
    pub session: SessionId,
    /// The plan's hash.
    pub plan: Digest,
    /// The epoch.
    pub epoch: u64,
    /// The sender's role.
    pub from: &'a str,
    /// The receiver's role.
    pub to: &'a str,
    /// Where in its direction the message stands.
    pub position: Position,
    /// The message's label and payload types.
    pub message: &'a Signature,
    /// The payload's digest.
    pub payload: Digest,
}

impl Statement<'_> {
    /// The message's link, which the next message states.
    pub fn link(&self) -> Digest {
        let mut out = Sha256::new();
        out.text("sessile protocol statement 1");
        out.bytes(&self.session.0);
        out.bytes(&self.plan.0);
        out.u64(self.epoch);
        out.text(self.from);
        out.text(self.to);
        out.u64(self.position.sequence);
        out.text(&self.message.label);
        out.count(self.message.payload.len());
        self.message.payload.iter().for_each(|name| out.text(name));
        out.bytes(&self.payload.0);
        out.bytes(&self.position.link.0);
        Digest(out.finalize().into())
    }

    /// Where its direction stands after it, whose link is `link`.
    pub fn after(&self, link: Digest) -> Position {
        Position { sequence: self.position.sequence.saturating_add(1), link }
    }

    /// Signs it.
    pub fn seal(&self, key: &SecretKey) -> Seal {
        Seal {
            session: self.session,
            epoch: self.epoch,
            position: self.position,
            signature: key.0.sign(&signed(self.link())).to_bytes(),
        }
    }

    /// Whether this signature of it is by this key.
    pub fn is_signed_by(&self, key: &PublicKey, signature: &[u8; 64]) -> bool {
        is_signed(self.link(), key, signature)
    }
}

/// Whether this signature of the message with this link is by this key.
pub(super) fn is_signed(link: Digest, key: &PublicKey, signature: &[u8; 64]) -> bool {
    key.0.verify_strict(&signed(link), &Ed25519::from_bytes(signature)).is_ok()
}

fn signed(link: Digest) -> [u8; 58] {
    let mut bytes = [0; 58];
    bytes[..26].copy_from_slice(DOMAIN);
    bytes[26..].copy_from_slice(&link.0);
    bytes
}
