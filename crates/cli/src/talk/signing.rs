//! Saying a line that is signed: asked where it stands, signed there, said; and again where another was said first.

use std::time::Instant;

use sessile_model::hex;
use sessile_model::problem::ProblemKind;
use sessile_model::protocol::{LineSeal, Said, Say, Signing, Speaker, Stand, Standing};
use sessile_model::quantity::Millis;
use sessile_protocol::machine::Signature;
use sessile_protocol::monitor::seal::{Position, SecretKey, Statement};
use sessile_protocol::monitor::setup::SessionId;
use sessile_protocol::plan::Digest;

use super::{Talk, keys};
use crate::failure::Failure;
use crate::output::printable;
use crate::startup;

impl Talk {
    /// Says a line that carries this, signed where lines are. What it `stands` by may be known already.
    ///
    /// # Errors
    /// When it lacks a payload, is refused, or there is no key to sign it with.
    pub fn say(
        &self,
        mut line: Say,
        payload: Option<&[u8]>,
        known: Option<Standing>,
    ) -> Result<Said, Failure> {
        let stand = Stand { role: line.role.clone(), to: line.to.clone(), label: line.label.clone() };
        let until = line.timeout.map(|timeout| Instant::now() + timeout.as_duration());
        let mut standing = known.map_or_else(|| self.stand(&stand), Ok)?;
        let payload = match payload {
            None if !standing.payload.is_empty() => return Err(without(&line.label, &standing.payload)),
            payload => payload.unwrap_or_default(),
        };
        let key = match standing.signing {
            Signing::Unsigned => return self.say_once(&line),
            Signing::Signed => self.key_of(&standing.speaker)?,
        };
        loop {
            line.seal = Some(sealed(&key, &stand, &standing, payload).ok_or_else(unreadable)?);
            line.timeout = until.map(|until| {
                let left = until.saturating_duration_since(Instant::now()).as_millis();
                Millis(u64::try_from(left).unwrap_or(u64::MAX))
            });
            let failure = match self.say_once(&line) {
                Err(Failure::Problem(problem)) if problem.kind == ProblemKind::Conflict => {
                    Failure::Problem(problem)
                }
                said => return said,
            };
            // Several may speak as one role. Whoever was overtaken by another signs again.
            match self.stand(&stand) {
                Ok(now) if place(&now) != place(&standing) => standing = now,
                Ok(_) | Err(_) => return Err(failure),
            }
        }
    }

    /// The key of who speaks.
    fn key_of(&self, speaker: &Speaker) -> Result<SecretKey, Failure> {
        match self {
            Self::Inside(socket) => keys::load(&keys::of_app(socket)),
            Self::Outside(..) => keys::load_operator(&startup::folders()?.state, speaker),
        }
    }
}

/// What changes when another line is said, or a role handed over.
fn place(standing: &Standing) -> (u64, u64, &str) {
    (standing.epoch, standing.sequence, &standing.link)
}

/// The seal of a line; `None` when what is to be signed is unreadable.
fn sealed(key: &SecretKey, stand: &Stand, standing: &Standing, payload: &[u8]) -> Option<LineSeal> {
    let session = SessionId(hex::bytes(&standing.session)?);
    let (plan, link) = (Digest(hex::bytes(&standing.protocol)?), Digest(hex::bytes(&standing.link)?));
    let position = Position { sequence: standing.sequence, link };
    let message = Signature {
        label: stand.label.as_str().into(),
        payload: standing.payload.iter().map(|name| name.as_str().into()).collect(),
    };
    let public = hex::text(&key.public().to_bytes());
    let statement = Statement {
        session,
        plan,
        epoch: standing.epoch,
        from: &stand.role,
        to: &stand.to,
        position,
        message: &message,
        payload: Digest::of(payload),
    };
    let seal = statement.seal(key);
    Some(LineSeal {
        key: public,
        session: standing.session.clone(),
        epoch: seal.epoch,
        sequence: seal.position.sequence,
        link: standing.link.clone(),
        signature: hex::text(&seal.signature),
    })
}

fn without(label: &str, types: &[String]) -> Failure {
    let (label, types) = (printable(label), printable(&types.join(", ")));
    Failure::new(ProblemKind::BadRequest, format!("{label} carries {types}, and no payload is given"))
        .hint("an empty one is '', and - is standard input")
}

fn unreadable() -> Failure {
    Failure::new(ProblemKind::Internal, "the session's keeper said nothing that could be signed")
}
