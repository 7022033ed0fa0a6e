//! What clients may ask for in which state.

use sessile_model::{AppName, Problem, ProblemKind};
use thiserror::Error;

/// What a client asks for, as far as the lifecycle decides about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The record, the screen, output, or to wait for something.
    Show,
    /// To attach to an app.
    Attach,
    /// To type into an app.
    Input {
        /// The app, or `APP.N` for a further command in its sandbox.
        app: AppName,
    },
    /// To start a further command.
    Exec,
    /// To freeze the apps.
    Pause,
    /// To thaw the apps.
    Resume,
    /// To copy something out.
    Export,
    /// To see what a copied project changed.
    Diff,
    /// To write a copied project's changes back.
    Apply,
    /// To mark the result of a lingering session as collected.
    Collect,
    /// To end the session.
    End,
}

/// Leave to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may be done: hand in the event, or carry it out.
    Granted,
    /// It is so already, or on its way: there is nothing to hand in.
    Already,
}

/// Why a request is refused. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Denied {
    /// Bring-up is not complete.
    #[error("the session is still being assembled")]
    NotYetActive,
    /// Apps are frozen.
    #[error("the session is paused")]
    Paused,
    /// The wipe is in progress.
    #[error("the session is ending")]
    Ending,
    /// The session is wiped.
    #[error("the session is closed")]
    Closed,
    /// The app's command does not run.
    #[error("{app} is not running")]
    NotRunning {
        /// The app.
        app: AppName,
    },
    /// There is no result that waits to be collected.
    #[error("the session has no result that waits to be collected")]
    NothingToCollect,
}

impl Denied {
    /// The kind of problem this is.
    pub const fn kind(&self) -> ProblemKind {
        match self {
            Self::NotYetActive
            | Self::Paused
            | Self::Ending
            | Self::Closed
            | Self::NotRunning { .. }
            | Self::NothingToCollect => ProblemKind::Conflict,
        }
    }

    /// What to do next, where there is something.
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotYetActive => Some("try again when `sessile show` says active"),
            Self::Paused => Some("`sessile resume` thaws it"),
            Self::Closed => Some("`sessile receipt` shows what was erased"),
            Self::NotRunning { .. } => {
                Some("`sessile show` lists what runs; `sessile exec` starts a command")
            }
            Self::Ending | Self::NothingToCollect => None,
        }
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        let problem = Self::new(denied.kind(), denied.to_string());
        match denied.hint() {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    }
}
