//! What shows who says a line: read, and made known with a role's first.
//!
//! The keys are with those who sign. The keeper has their public halves, in the log.

use sessile_model::hex;
use sessile_model::protocol::{LineSeal, Signing, Speaker, Stand, Standing};
use sessile_protocol::machine::{Message, Role};
use sessile_protocol::monitor::event::Payload;
use sessile_protocol::monitor::seal::{Position, PublicKey, Seal};
use sessile_protocol::monitor::setup::{Authentication, SessionId};
use sessile_protocol::monitor::{IntroduceError, Line, SendError};
use sessile_protocol::plan::Digest;
use thiserror::Error;

use super::{Channels, LineError};

/// A line's seal, and by which key it is said to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    pub(super) seal: Box<Seal>,
    key: PublicKey,
}

impl Sealed {
    /// By which key it is said to be.
    pub fn key(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    /// All that it consists of.
    pub(super) fn fields(&self) -> [Vec<u8>; 6] {
        let Seal { session, epoch, position, signature } = &*self.seal;
        [
            self.key.to_bytes().to_vec(),
            session.0.to_vec(),
            epoch.to_be_bytes().to_vec(),
            position.sequence.to_be_bytes().to_vec(),
            position.link.0.to_vec(),
            signature.to_vec(),
        ]
    }
}

/// Something in a seal is not what it has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a seal's {0}")]
pub struct InvalidSeal(&'static str);

impl TryFrom<&LineSeal> for Sealed {
    type Error = InvalidSeal;

    fn try_from(seal: &LineSeal) -> Result<Self, InvalidSeal> {
        let key = hex::bytes(&seal.key).and_then(|bytes| PublicKey::from_bytes(&bytes).ok());
        let session = hex::bytes(&seal.session).ok_or(InvalidSeal("session is 32 hexadecimal digits"))?;
        let link = hex::bytes(&seal.link).ok_or(InvalidSeal("link is 64 hexadecimal digits"))?;
        let signature = hex::bytes(&seal.signature);
        Ok(Self {
            key: key.ok_or(InvalidSeal("key is an Ed25519 key in 64 hexadecimal digits"))?,
            seal: Box::new(Seal {
                session: SessionId(session),
                epoch: seal.epoch,
                position: Position { sequence: seal.sequence, link: Digest(link) },
                signature: signature.ok_or(InvalidSeal("signature is 128 hexadecimal digits"))?,
            }),
        })
    }
}

impl Channels {
    /// What a role signs with its next line to another.
    ///
    /// # Errors
    /// When somebody else speaks for it, or several messages have this label.
    pub fn standing(&self, asked: &Speaker, stand: &Stand) -> Result<Standing, LineError> {
        let (from, to) = (self.spoken(asked, &stand.role)?, self.role(&stand.to)?);
        let (session, plan) = (self.monitor.session(), self.plan.hash());
        let payload = match self.monitor.message_called(from, to, &stand.label) {
            Ok(message) => &*self.plan.messages()[message.0 as usize].payload,
            Err(SendError::Ambiguous) => return Err(LineError::Ambiguous(stand.label.clone())),
            // Whoever says it is told what is wrong.
            Err(_) => &[],
        };
        let first = || Position::first(session, plan, &stand.role, &stand.to);
        let position = self.monitor.position(from, to).unwrap_or_else(first);
        Ok(Standing {
            signing: self.signing(),
            speaker: asked.clone(),
            key: self.monitor.key(from).map(|key| hex::text(&key.to_bytes())),
            session: hex::text(&session.0),
            protocol: hex::text(&plan.0),
            epoch: self.monitor.epoch(),
            sequence: position.sequence,
            link: hex::text(&position.link.0),
            payload: payload.iter().map(ToString::to_string).collect(),
            free: false,
        })
    }

    /// The operators who are known by keys.
    pub fn keys_of_operators(&self) -> Vec<(Speaker, [u8; 32])> {
        let known = self.speakers.iter().filter(|(_, speaker)| matches!(speaker, Speaker::Operator(_)));
        let key = |role: &str| Some(self.monitor.key(self.plan.role(role)?)?.to_bytes());
        known.filter_map(|(role, speaker)| Some((speaker.clone(), key(role)?))).collect()
    }

    /// Makes sure that what has no type in the protocol has no payload.
    pub(super) fn carries(&self, message: Message, payload: &[u8]) -> Result<(), LineError> {
        let signature = &self.plan.messages()[message.0 as usize];
        match signature.payload.is_empty() && !payload.is_empty() {
            true => Err(LineError::CarriesNothing(signature.label.to_string())),
            false => Ok(()),
        }
    }

    /// Whether lines are signed.
    pub(super) fn signing(&self) -> Signing {
        match self.monitor.setup().authentication {
            Authentication::Signed { .. } => Signing::Signed,
            Authentication::Unsigned => Signing::Unsigned,
        }
    }

    /// Whether the role is known by the key that comes with a line, and not by none yet.
    pub(super) fn is_known_by(&self, from: Role, sealed: Option<&Sealed>) -> Result<bool, LineError> {
        match (self.signing(), self.monitor.key(from), sealed) {
            (Signing::Unsigned, _, Some(_)) => Err(LineError::NotSigned),
            (Signing::Signed, Some(known), Some(Sealed { key, .. })) if known != key => {
                Err(LineError::OtherKey(self.name(from).to_owned()))
            }
            (Signing::Signed, None, _) | (_, _, None) => Ok(false),
            (Signing::Signed, Some(_), Some(_)) => Ok(true),
        }
    }

    /// Sees to it that who says a line is known by the key that comes with it. Gives what is wrong with the
    /// line itself.
    pub(super) fn introduced(
        &mut self,
        line: &Line,
        sealed: Option<&Sealed>,
    ) -> Result<Option<SendError>, LineError> {
        let Some(Sealed { key, .. }) = sealed else { return Ok(None) };
        let role = || self.name(line.from).to_owned();
        match (self.signing(), self.monitor.key(line.from)) {
            (Signing::Unsigned, _) => return Err(LineError::NotSigned),
            (Signing::Signed, Some(known)) if known == key => return Ok(None),
            (Signing::Signed, Some(_)) => return Err(LineError::OtherKey(role())),
            (Signing::Signed, None) => {}
        }
        let role = role();
        match self.monitor.introduce(line, key.clone()) {
            Ok(()) => Ok(None),
            Err(IntroduceError::Message(error)) => Ok(Some(error)),
            Err(IntroduceError::HasKey) => Err(LineError::OtherKey(role)),
            Err(IntroduceError::AnothersKey) => Err(LineError::AnothersKey(role)),
            Err(IntroduceError::Withdrawn) => Err(LineError::Withdrawn(role)),
            Err(IntroduceError::NotSigned) => Err(LineError::NotSigned),
            Err(IntroduceError::Ended | IntroduceError::UnknownRole(_)) => Err(self.over(&role)),
        }
    }
}

/// A line's payload as the monitor has it, with its seal.
pub(super) fn sealed_payload(payload: &[u8], sealed: Option<&Sealed>) -> (Payload, Option<Box<Seal>>) {
    (Payload::new(payload), sealed.map(|sealed| sealed.seal.clone()))
}
