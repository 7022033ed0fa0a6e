//! Lines that were said, so that each is said once however often its sender tries.
//!
//! A token stands for one line: who says what to whom, with which payload and seal. Only that line is
//! acknowledged again; whatever else comes with its token is judged as if nothing had been said with it.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use sessile_protocol::machine::Role;
use sessile_protocol::monitor::{Line, SendError};
use sha2::{Digest as _, Sha256};

use super::{Channels, LineError, Sealed, Token, seals};

/// Of how many lines it is known that they were said, should they be said again.
const REMEMBERED: usize = 256;

/// Tells lines apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    token: Token,
    /// Of who says what to whom.
    line: [u8; 32],
    /// Of what shows who says it.
    seal: [u8; 32],
}

/// How long a mark is in the log.
const MARK_BYTES: usize = 16 + 32 + 32;

impl Mark {
    /// Of a line from one role to another, with its label and its payload.
    pub(super) fn of(
        (role, to): (&str, &str),
        (label, payload): (&str, &[u8]),
        (token, sealed): (Token, Option<&Sealed>),
    ) -> Self {
        let line = hash(&[role.as_bytes(), to.as_bytes(), label.as_bytes(), payload]);
        Self { token, line, seal: sealed.map_or([0; 32], |sealed| hash(&sealed.fields())) }
    }

    /// As the log has it.
    pub(super) fn encoded(&self) -> [u8; MARK_BYTES] {
        let mut bytes = [0; MARK_BYTES];
        bytes[..16].copy_from_slice(&self.token.0);
        bytes[16..48].copy_from_slice(&self.line);
        bytes[48..].copy_from_slice(&self.seal);
        bytes
    }

    /// What the log has.
    pub(super) fn decoded(bytes: &[u8]) -> Option<Self> {
        let (token, rest) = bytes.split_first_chunk::<16>()?;
        let (line, rest) = rest.split_first_chunk::<32>()?;
        Some(Self { token: Token(*token), line: *line, seal: rest.try_into().ok()? })
    }
}

/// Fields behind their lengths, so that no two rows of them are the same bytes.
fn hash(fields: &[impl AsRef<[u8]>]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for field in fields {
        hash.update((field.as_ref().len() as u64).to_be_bytes());
        hash.update(field);
    }
    hash.finalize().into()
}

/// The last lines that were said, each with the how-manieth it was.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Repeats(VecDeque<(Mark, u64)>);

impl Repeats {
    /// Keeps that a line was said.
    pub(super) fn remember(&mut self, mark: Mark, sequence: u64) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back((mark, sequence));
    }

    pub(super) fn with(&self, token: Token) -> Option<(Mark, u64)> {
        self.0.iter().find(|(mark, _)| mark.token == token).copied()
    }
}

impl Channels {
    /// The how-manieth a line was, if it was said before; `None` if nothing was said with its token.
    ///
    /// # Errors
    /// When another line was said with its token. A violation is one as without the token.
    pub(super) fn repeated(
        &mut self,
        (from, to): (Role, Role),
        (label, payload): (&str, &[u8]),
        (token, sealed): (Token, Option<&Sealed>),
    ) -> Result<Option<u64>, LineError> {
        let Some((known, sequence)) = self.said.with(token) else { return Ok(None) };
        let role = self.name(from).to_owned();
        let mark = Mark::of((&role, self.name(to)), (label, payload), (token, sealed));
        if mark == known {
            return Ok(Some(sequence));
        }
        let again = if mark.line == known.line { Ok(Some(sequence)) } else { Err(LineError::Used) };
        let judged = match self.monitor.message_called(from, to, label) {
            Ok(message) => {
                if sealed.is_some() && !self.is_known_by(from, sealed)? {
                    return Err(LineError::Used);
                }
                let (payload, seal) = seals::sealed_payload(payload, sealed);
                self.monitor.admit(Line { from, to, message, payload, seal }).map(drop)
            }
            Err(error) => Err(error),
        };
        match judged {
            Err(SendError::Violation(violation)) if again.is_err() || violation.code.is_forgery() => {
                self.refuse(&violation);
                self.settle(&[])?;
                Err(self.unsaid(SendError::Violation(violation), &role, to, label))
            }
            // It is who it says it is: the same words, signed again.
            Ok(())
            | Err(
                SendError::Violation(_)
                | SendError::Full
                | SendError::Overflow
                | SendError::Stale { .. }
                | SendError::Overtaken,
            ) => again,
            Err(
                error @ (SendError::Ended
                | SendError::TooLong { .. }
                | SendError::UnknownRole(_)
                | SendError::UnknownMessage(_)
                | SendError::Ambiguous
                | SendError::Guarded
                | SendError::NotSigned),
            ) => Err(self.unsaid(error, &role, to, label)),
        }
    }
}
