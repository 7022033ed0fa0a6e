//! What a keeper is started with: its session's id, its folders, and the anchor's descriptors.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;
use sessile_anchor::inherit;
use sessile_anchor::link::Link;
use sessile_model::ids::SessionId;
use sessile_model::protocol::OPERATORS_FOLDER;
use thiserror::Error;

/// Descriptors by number, as ARCHITECTURE.md has them.
const LINK: i32 = 3;
const LISTENER: i32 = 4;
const IMAGE: i32 = 5;
const ANCHOR: i32 = 6;

/// A keeper's place in the world.
#[derive(Debug)]
pub struct Seat {
    /// Its session.
    pub id: SessionId,
    /// `RUNTIME/sessions/ID`.
    pub runtime: PathBuf,
    /// `STATE/sessions/ID`.
    pub state: PathBuf,
    /// The installation's signing key.
    pub installation_key: PathBuf,
    /// Keys that operators are known by.
    pub operators: PathBuf,
    /// Entry guards that sessions share.
    pub entry_guards: PathBuf,
    /// The link to the anchor.
    pub link: Link,
    /// Where clients connect.
    pub listener: OwnedFd,
    /// The anchor's image, from which inits are executed.
    pub image: OwnedFd,
    /// The anchor, as a pidfd.
    pub anchor: OwnedFd,
}

/// Why a process cannot be a keeper.
#[derive(Debug, Error)]
pub enum SeatError {
    /// It was started by hand.
    #[error("a keeper is started by an anchor: keeper SESSION_ID RUNTIME_DIR STATE_DIR")]
    Usage,
    /// A descriptor is missing.
    #[error("descriptor {number} was not handed down")]
    Descriptor {
        /// Its number.
        number: i32,
        /// What the system says.
        source: io::Error,
    },
}

impl Seat {
    /// Takes the place that arguments and descriptors describe.
    ///
    /// # Errors
    /// When this process was not started by an anchor.
    pub fn take(arguments: &[String]) -> Result<Self, SeatError> {
        let [_, id, runtime, state] = arguments else { return Err(SeatError::Usage) };
        let id: SessionId = id.parse().map_err(|_| SeatError::Usage)?;
        let descriptor =
            |number| inherit::take(number).map_err(|source| SeatError::Descriptor { number, source });
        Ok(Self {
            id,
            runtime: PathBuf::from(runtime).join("sessions").join(id.to_string()),
            state: PathBuf::from(state).join("sessions").join(id.to_string()),
            installation_key: PathBuf::from(state).join("installation.key"),
            operators: PathBuf::from(state).join(OPERATORS_FOLDER),
            entry_guards: PathBuf::from(state).join("entry-guards"),
            link: Link::from_fd(descriptor(LINK)?),
            listener: descriptor(LISTENER)?,
            image: descriptor(IMAGE)?,
            anchor: descriptor(ANCHOR)?,
        })
    }
}

/// Whether the peer is a process of our own user.
pub fn is_ours(socket: impl AsFd) -> bool {
    socket_peercred(socket).is_ok_and(|peer| peer.uid == geteuid())
}
