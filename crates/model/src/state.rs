//! Lifecycle states, phases and outcomes as the record shows them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::AppName;

/// Where a session is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum State {
    /// Being assembled; nothing runs yet.
    Bringup,
    /// All four properties hold; apps run.
    Active,
    /// Apps are frozen.
    Paused,
    /// Refuses new work; the wipe is in progress.
    Ending,
    /// A component failed; the route is cut and the wipe is in progress.
    Failed,
    /// Wiped; a receipt exists. Final.
    Closed,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bringup => "bringup",
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Ending => "ending",
            Self::Failed => "failed",
            Self::Closed => "closed",
        })
    }
}

/// The seeds' other names for the states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Phase {
    /// Being assembled.
    Creating,
    /// Ready, nothing in flight.
    Active,
    /// Ready, with messages in flight.
    Processing,
    /// Frozen.
    Paused,
    /// Being wiped.
    Terminating,
    /// Wiped.
    Terminated,
}

/// Who or what asked for the end of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum EndedBy {
    /// An operator's `end`.
    Operator,
    /// The main command exited while a client watched.
    MainExited,
    /// The time to live passed.
    TimeToLive,
    /// Nothing happened for the idle timeout.
    IdleTimeout,
    /// Nobody collected the result in time.
    Linger,
    /// An operator's `end` before the session was active.
    Cancelled,
}

/// How a session came to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Outcome {
    /// It ended as asked.
    Ended {
        /// Who or what asked.
        by: EndedBy,
    },
    /// It was called off before it was active.
    Cancelled {
        /// Who or what asked.
        by: EndedBy,
    },
    /// Its protocol was violated and the specification said to end it then.
    Faulted {
        /// The violation: its stable code, whose it is, and what was said by its name alone.
        violation: String,
    },
    /// A component it needs failed.
    Failed {
        /// Which one.
        component: Component,
        /// What happened to it, in a sentence without secrets or paths.
        cause: String,
    },
}

/// What a session is made of, for saying which part failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Component {
    /// The check of what this machine gives.
    Preflight,
    /// The journal.
    Journal,
    /// The control group.
    Cgroup,
    /// Keys and the memory that holds them.
    Keys,
    /// Session storage.
    Storage,
    /// The route.
    Route,
    /// An app's sandbox.
    Sandbox,
    /// The probes of the four properties.
    Verification,
    /// The process that holds what cannot be reopened.
    Anchor,
    /// The process that runs the session.
    Keeper,
    /// The host itself.
    Host,
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Preflight => "preflight",
            Self::Journal => "journal",
            Self::Cgroup => "cgroup",
            Self::Keys => "keys",
            Self::Storage => "storage",
            Self::Route => "route",
            Self::Sandbox => "sandbox",
            Self::Verification => "verification",
            Self::Anchor => "anchor",
            Self::Keeper => "keeper",
            Self::Host => "host",
        })
    }
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Exit {
    /// It returned a code.
    Code {
        /// 0 to 255.
        code: u8,
    },
    /// A signal ended it.
    Signal {
        /// The signal's number.
        signal: u8,
    },
    /// It could not be started.
    NotStarted {
        /// The system's error number from `execve`.
        errno: i32,
    },
}

impl Exit {
    /// The code a shell would report: the code, 128 + signal, 127 for not found, 126 otherwise.
    pub const fn shell_code(&self) -> u8 {
        match self {
            Self::Code { code } => *code,
            Self::Signal { signal } => signal.wrapping_add(128),
            Self::NotStarted { errno: 2 | 20 } => 127,
            Self::NotStarted { .. } => 126,
        }
    }

    /// Decodes a status word of `wait(2)`.
    pub const fn from_wait_status(status: i32) -> Self {
        let signal = (status & 0x7f) as u8;
        if signal == 0 { Self::Code { code: ((status >> 8) & 0xff) as u8 } } else { Self::Signal { signal } }
    }
}

/// One program's end, named by its app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AppExit {
    /// The app.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub app: AppName,
    /// How its command ended.
    pub exit: Exit,
}
