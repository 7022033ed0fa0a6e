//! A keeper that is away: one that is being replaced, or behind a connection that was lost.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sessile_model::ids::SessionId;

use super::conversation::Conversation;
use super::handing::Joining;
use super::link::Link;
use super::sink::Sink;
use super::{Target, remote};
use crate::client::Daemon;
use crate::failure::Failure;

/// How long a new connection waits before the daemon is asked to see to the keeper.
const NUDGE_AFTER: Duration = Duration::from_millis(300);
/// How long a daemon elsewhere may be away before that is said.
const SAY_AFTER: Duration = Duration::from_secs(2);

/// The way to a session's keeper.
#[derive(Clone, Debug)]
pub enum Way {
    /// Its own socket.
    Keeper(PathBuf),
    /// By WebSocket, through this socket of a daemon that may be elsewhere.
    Remote(PathBuf),
}

impl Way {
    /// Begins a connection.
    ///
    /// # Errors
    /// When nobody listens there, or the socket belongs to neither the caller nor root. A daemon elsewhere that is
    /// away is tried again beside the caller.
    pub fn open(&self, session: SessionId) -> io::Result<Link> {
        match self {
            Self::Keeper(socket) => Link::open(socket),
            Self::Remote(socket) => Link::over(remote::bridge(socket.clone(), session)?),
        }
    }

    /// The socket that leads elsewhere.
    pub fn remote(&self) -> Option<&Path> {
        match self {
            Self::Keeper(_) => None,
            Self::Remote(socket) => Some(socket),
        }
    }

    /// How long nobody needs to answer before something is done about it.
    pub fn patience(&self) -> Duration {
        match self {
            Self::Keeper(_) => NUDGE_AFTER,
            Self::Remote(_) => SAY_AFTER,
        }
    }
}

impl Conversation<'_> {
    /// Does something about a keeper that has not answered for so long.
    pub(super) fn miss_keeper(&mut self) -> Result<(), Failure> {
        match self.target.way {
            Way::Keeper(_) => nudge(self.target.session),
            Way::Remote(_) => {
                self.told_away = true;
                self.notice("the connection is lost; trying again")?;
            }
        }
        Ok(())
    }

    /// Where it was said on this terminal that the keeper was away, the screen is asked for afresh.
    pub(super) fn wipe_notice(&mut self) -> Result<bool, Failure> {
        if !std::mem::take(&mut self.told_away) || self.terminal.is_none() {
            return Ok(false);
        }
        let link = self.target.way.open(self.target.session);
        self.link = link.map_err(|e| Failure::system("connect again", &e))?;
        // What was under way is of before.
        self.out = Sink::default();
        self.join(Joining::Stopped)?;
        Ok(true)
    }
}

/// Has the daemon (another, if it went away as well) see that the session has a keeper. What it
/// says shows on the keeper's socket.
fn nudge(session: SessionId) {
    std::thread::spawn(move || {
        let leave = Daemon::reach().and_then(|d| Target::ask(&d, &session.into(), None));
        drop(leave);
    });
}
