//! A local client of a keeper: its terminal or streams on one side, frames on the other.
//!
//! ```text
//!            ┌────────── keeper lost ──────────┐
//!            ▼                                 │
//!  connect ─► Joining ──── Attached ────► Joined ──► Parting
//!            │  └── keeper lost: again, and the daemon is asked to start another
//!            └── nobody listens: Lost
//! ```
//!
//! A keeper of this version is handed the terminal and writes to it itself (`handing`); what is said here
//! of output is then of pipes, and of terminals that it cannot open.
//!
//! Through a socket that leads elsewhere the same frames come by WebSocket (`remote`).
//!
//! One `poll` loop. The keeper's socket is held by the anchor too, so that a client that connects
//! while no keeper runs waits there for the next one.

mod away;
mod conversation;
mod guardian;
mod handing;
mod input;
mod link;
mod remote;
mod signals;
mod sink;
mod terminal;

use std::path::PathBuf;

use sessile_model::api;
use sessile_model::ids::{AppName, SessionId};
use sessile_model::receipt::SignedReceipt;
use sessile_model::state::Exit;
use signal_hook::consts::{
    SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH,
};

use crate::client::Daemon;
use crate::failure::Failure;
use crate::keys::DetachKey;
use crate::selector::SessionSelector;
pub use away::Way;
use conversation::Conversation;
pub use guardian::{SavedModes, guard};
pub use signals::Signals;
pub use sink::{Sink, Written};
pub use terminal::{Guarded, RawMode, size as terminal_size};

/// What to attach to.
#[derive(Clone, Debug)]
pub struct Target {
    /// The session.
    pub session: SessionId,
    /// The way to its keeper.
    pub way: Way,
    /// The app or task; the main one when absent.
    pub app: Option<AppName>,
}

impl Target {
    /// Asks the daemon for leave to attach.
    ///
    /// # Errors
    /// The daemon's problem.
    pub fn ask(daemon: &Daemon, session: &SessionSelector, app: Option<AppName>) -> Result<Self, Failure> {
        Ok(Self::given(Self::leave(daemon, session, || {})?, app))
    }

    /// Asks the daemon for leave to attach to a session, with something to do while it answers.
    ///
    /// # Errors
    /// The daemon's problem.
    pub fn leave(
        daemon: &Daemon,
        session: &SessionSelector,
        meanwhile: impl FnOnce(),
    ) -> Result<api::Attachment, Failure> {
        daemon.post_at_once(&session.path("/attachments"), meanwhile)
    }

    /// What the daemon gave leave for.
    pub fn given(leave: api::Attachment, app: Option<AppName>) -> Self {
        Self { session: leave.session, way: Way::Keeper(leave.socket.into()), app }
    }

    /// The same, through a daemon's socket that leads elsewhere.
    #[must_use]
    pub fn by(self, remote: Option<PathBuf>) -> Self {
        Self { way: remote.map_or(self.way, Way::Remote), ..self }
    }
}

/// How to attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Our terminal shows the app's.
    Terminal {
        /// The key that leaves.
        detach_key: DetachKey,
        /// Watch only.
        read_only: bool,
        /// Take over typing.
        exclusive: bool,
        /// Show all output from its start, instead of drawing the screen.
        from_start: bool,
    },
    /// Our streams are the app's.
    Streams {
        /// SIGTERM and SIGHUP are for us, not for the app.
        returning: bool,
    },
    /// Output from this offset on, on standard output.
    Follow {
        /// The first offset.
        since: u64,
    },
}

/// When the attachment is over, once the app's command has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// At once.
    Exited,
    /// When the session is wiped, if the command's end ends it.
    Settled,
}

/// How it came to an end.
#[derive(Debug)]
pub enum Parting {
    /// The user left.
    Detached,
    /// The command ended, and with it perhaps the session.
    Exited {
        /// How.
        exit: Exit,
        /// The session's receipt, when it ended.
        receipt: Option<Box<SignedReceipt>>,
    },
    /// The session ended.
    Closed(Box<SignedReceipt>),
    /// The keeper ended the attachment.
    Dismissed(String),
    /// A signal told this process to end.
    Signalled(i32),
    /// Nobody reads our output any more.
    Unread,
    /// The keeper is gone for good.
    Lost(Option<Exit>),
}

/// Attaches and stays until it is over. The terminal is as before when this returns.
///
/// # Errors
/// When the keeper refuses, or speaks another language.
pub fn attach(target: &Target, mode: &Mode, until: Until) -> Result<Parting, Failure> {
    attach_guarded(target, mode, until, None)
}

/// As [`attach`], with the guardian of the terminal that was posted before.
///
/// # Errors
/// As [`attach`].
pub fn attach_guarded(
    target: &Target,
    mode: &Mode,
    until: Until,
    guarded: Option<Guarded>,
) -> Result<Parting, Failure> {
    let caught: &[i32] = match mode {
        Mode::Terminal { .. } => &[SIGWINCH, SIGTERM, SIGHUP, SIGINT, SIGTSTP, SIGCONT],
        Mode::Streams { .. } => &[SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGALRM],
        Mode::Follow { .. } => &[],
    };
    let signals = Signals::catch(caught).map_err(|e| Failure::system("catch signals", &e))?;
    let mut conversation = Conversation::begin(target, mode, until)?;
    if matches!(mode, Mode::Terminal { .. }) {
        let raw = guarded.map_or_else(RawMode::enter, Guarded::make_raw);
        conversation.show_on(raw.map_err(|e| Failure::system("use the terminal", &e))?)?;
    } else {
        // Pipes change no terminal.
        drop(guarded);
    }
    let parting = conversation.run(signals);
    conversation.leave(&parting);
    parting
}
