//! A keeper that is away: one that is being replaced, or behind a connection that was lost.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use sessile_model::ProblemKind;
use sessile_model::ids::{AppName, SessionId};

use super::conversation::Conversation;
use super::handing::Joining;
use super::link::Link;
use super::sink::Sink;
use super::{Target, remote};
use crate::client::{Daemon, with_query};
use crate::failure::Failure;
use crate::output::say;
use crate::selector::SessionSelector;

/// How long a new connection waits before the daemon is asked to see to the keeper.
const NUDGE_AFTER: Duration = Duration::from_millis(300);
/// How long a daemon elsewhere may be away before that is said.
const SAY_AFTER: Duration = Duration::from_secs(2);
/// How long a keeper may take over what was typed.
const TAKES: Duration = Duration::from_secs(2);
/// How often it is looked whether the daemon has said what is wrong with a keeper.
const LOOK: Duration = Duration::from_millis(250);

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
            Way::Keeper(_) => {
                self.inquiry = Some(Inquiry::about(self.target.session, self.target.app.clone()));
            }
            Way::Remote(_) => {
                self.told_away = true;
                self.notice("the connection is lost; trying again")?;
            }
        }
        Ok(())
    }

    /// When a keeper that takes nothing of what was typed here is asked about.
    pub(super) fn untaken_until(&self) -> Option<Instant> {
        let (since, _) = self.untaken.filter(|(_, asked)| !asked)?;
        Some(since + TAKES)
    }

    /// Looks whether the keeper takes what was typed here. An app that reads nothing looks alike: then the keeper
    /// answers the daemon, and nothing is said.
    pub(super) fn look_at_untaken(&mut self, now: Instant) -> Result<(), Failure> {
        if !self.joined || self.target.way.remote().is_some() || !self.input.is_under_way() {
            self.untaken = None;
            return Ok(());
        }
        match self.untaken {
            Some((since, false)) if now >= since + TAKES => {
                self.untaken = Some((since, true));
                self.miss_keeper()
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Says what the daemon has found out about the keeper, if that is still silent.
    pub(super) fn hear_inquiry(&mut self, now: Instant) {
        let Some(inquiry) = self.inquiry.as_mut().filter(|inquiry| now >= inquiry.look) else { return };
        match inquiry.answer.try_recv() {
            Err(TryRecvError::Empty) => inquiry.look = now + LOOK,
            Err(TryRecvError::Disconnected) => self.inquiry = None,
            Ok(why) => {
                self.inquiry = None;
                if !self.joined || self.hand.hangs() || self.untaken.is_some() {
                    self.told_away = true;
                    // A keeper that is silent writes nothing to the terminal, though it has it.
                    let why = crate::output::printable(&why);
                    match &self.terminal {
                        Some(terminal) => terminal.tell(&why),
                        None => say(&format!("[sessile: {why}]")),
                    }
                }
            }
        }
    }

    /// The keeper is there again: where something was said meanwhile on this terminal, the screen is asked for
    /// afresh. Returns whether that begins another conversation.
    pub(super) fn wipe_notice(&mut self) -> Result<bool, Failure> {
        self.inquiry = None;
        if !std::mem::take(&mut self.told_away) || self.terminal.is_none() {
            return Ok(false);
        }
        if self.hand.was_given() {
            self.hand_over(true)?;
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

/// What the daemon is asked about a keeper that does not answer, beside the caller.
#[derive(Debug)]
pub struct Inquiry {
    answer: Receiver<String>,
    /// When to look for the answer.
    pub look: Instant,
}

impl Inquiry {
    /// Has the daemon (another, if it went away as well) see that the session has a keeper. What it does shows on
    /// the keeper's socket; of one that is there and answers nothing it says why.
    fn about(session: SessionId, app: Option<AppName>) -> Self {
        let (teller, answer) = channel();
        std::thread::spawn(move || {
            if let Some(why) = why_silent(&session.into(), app) {
                // Nobody may wait for it any more.
                let _ = teller.send(why);
            }
        });
        Self { answer, look: Instant::now() + LOOK }
    }
}

fn why_silent(session: &SessionSelector, app: Option<AppName>) -> Option<String> {
    let daemon = Daemon::reach().ok()?;
    let leave = Target::leave(&daemon, session, || {}).ok()?;
    if let Some(time) = leave.keeper_starts_in {
        return Some(format!(
            "the session's keeper died too often within a minute: the next one starts in {time}; what is typed waits for it"
        ));
    }
    // Only a keeper can answer this.
    let path = with_query(&session.path("/screen"), &[("app", app.map(|app| app.to_string()))]);
    let Err(Failure::Problem(problem)) = daemon.get::<serde_json::Value>(&path) else { return None };
    let is_silent = problem.kind == ProblemKind::Timeout;
    is_silent
        .then(|| [Some(problem.detail), problem.hint].into_iter().flatten().collect::<Vec<_>>().join("; "))
}
