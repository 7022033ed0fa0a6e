//! What the journal keeps of a session: ids and kinds, never content.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sessile_model::api::Verdict;
use sessile_model::protocol::{Closing, Speaker};
use sessile_model::receipt::WipeLine;
use sessile_model::record::Grant;
use sessile_model::state::{Exit, Outcome};
use sessile_model::{AppName, Property, State, Timestamp};

use crate::opening::Opening;
use crate::step::BringupStep;

/// One line of a session's journal. A line may appear twice in a row after a keeper's death.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub fact: Fact,
}

/// Something that a session's protocol does not allow. What was to be said is in it by name alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Whose: the role's name.
    pub role: String,
    /// Of which kind: the monitor's name of it, such as `not-offered`.
    pub code: String,
    /// What was to be said; `None` where somebody listened, or said nothing.
    pub label: Option<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { role, code, label } = self;
        match label {
            Some(label) => write!(f, "{code}: {role} says {label}"),
            // A time that is over is nothing that somebody did.
            None if code == "deadline" => write!(f, "{code}: {role}"),
            None => write!(f, "{code}: {role} listens"),
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", tag = "fact", rename_all = "snake_case")]
pub enum Fact {
    /// The session was asked for.
    Opened {
        /// What the lifecycle depends on.
        opening: Opening,
    },
    /// A step of bring-up was carried out.
    StepDone {
        /// The step.
        step: BringupStep,
    },
    /// A step of bring-up failed.
    StepFailed {
        /// The step.
        step: BringupStep,
    },
    /// What a failed or called-off step left half made was released.
    StepUndone {
        /// The step.
        step: BringupStep,
    },
    /// A property was verified for the first time, or its standing changed.
    Verified {
        /// The property.
        property: Property,
        /// Whether it holds.
        holds: bool,
        /// Whether it is weaker than defined.
        weaker: bool,
    },
    /// The state changed.
    Became {
        /// The new state.
        state: State,
    },
    /// An app's command started.
    AppStarted {
        /// The app.
        app: AppName,
    },
    /// An app's command ended.
    AppExited {
        /// The app.
        app: AppName,
        /// How.
        exit: Exit,
    },
    /// A client attached.
    Attached {
        /// Clients attached now.
        clients: u32,
    },
    /// A client went away.
    Detached {
        /// Clients attached now.
        clients: u32,
    },
    /// A role wanted to say or to hear what the session's protocol does not allow.
    Violated {
        /// Whose, of which kind, about what.
        violation: Violation,
    },
    /// A new keeper took over.
    KeeperRestarted,
    /// The teardown began with this outcome, or its outcome became this.
    TearingDown {
        /// How the session comes to its end.
        outcome: Outcome,
    },
    /// A step of the wipe is complete.
    Wiped {
        /// Its line in the receipt.
        line: WipeLine,
    },
    /// The session is closed.
    Closed {
        /// How it came to its end.
        outcome: Outcome,
    },
    /// Something happened beside the session's own course.
    #[serde(untagged, skip_deserializing)]
    Noted(Note),
}

impl Serialize for Fact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Fact {
    /// Notes stand among the facts by their own names. What is neither is refused by its name.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        Self::deserialize(&value).or_else(|fact| {
            let note = Note::deserialize(&value).map(Self::Noted);
            note.map_err(|note| D::Error::custom(format_args!("{fact}; as a note: {note}")))
        })
    }
}

/// What happened beside the session's own course, which it does not change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub enum Note {
    /// Something from outside was granted, or something was given out.
    Granted {
        /// What, without paths.
        grant: Grant,
    },
    /// A question about a connection was settled.
    Answered {
        /// Its number.
        question: u32,
        /// How.
        verdict: Verdict,
        /// For the rest of the session.
        always: bool,
        /// Nobody answered in time.
        timed_out: bool,
        /// Why, in the words of whoever answered.
        why: Option<String>,
    },
    /// Somebody typed into an app, until it left.
    Typed {
        /// The app, or `APP.N` for a further command in its sandbox.
        app: AppName,
        /// The client's number; none for requests that type without being attached.
        client: Option<u64>,
        /// How many bytes.
        bytes: u64,
    },
    /// The route took on a new identity.
    IdentityRenewed,
    /// Another speaks for a role of the session's protocol.
    Delegated {
        /// The role's name.
        role: String,
        /// Who gave it: `operator`, or the role that gave itself; empty in entries of an earlier version.
        #[serde(default)]
        by: String,
        /// Who spoke for it.
        from: Speaker,
        /// Who speaks for it now.
        to: Speaker,
        /// Delegations and closings of the conversation so far.
        epoch: u64,
    },
    /// The session's conversation was closed before its end.
    TalkClosed {
        /// The role that did; none for an operator.
        role: Option<String>,
        /// Whether what was said could still be heard.
        how: Closing,
    },
}

impl Note {
    /// The same without the paths of what was granted.
    #[must_use]
    pub fn without_paths(self) -> Self {
        match self {
            Self::Granted { grant } => Self::Granted { grant: grant.without_paths() },
            other @ (Self::Answered { .. }
            | Self::Typed { .. }
            | Self::IdentityRenewed
            | Self::Delegated { .. }
            | Self::TalkClosed { .. }) => other,
        }
    }
}
