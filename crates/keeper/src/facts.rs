//! What the keeper knows of its session besides the machine: what the record shows and what a
//! successor needs. Serialised into the checkpoint, so no value of an environment variable is in
//! it.

use serde::{Deserialize, Serialize};
use sessile_model::ids::{AppName, SessionId};
use sessile_model::quantity::Timestamp;
use sessile_model::receipt::{ClaimLevel, Residue};
use sessile_model::record::Grant;
use sessile_model::spec::{Spec, WindowSize};
use sessile_model::state::Exit;
use sessile_terminal::Commands;

use crate::agent::AgentFacts;
use crate::channels::TalkFacts;
use crate::guard::{GuardFacts, Watched};
use crate::route::RouteFacts;

/// The session's own facts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Facts {
    /// Its id.
    pub id: SessionId,
    /// What was asked for; environment values are elsewhere.
    pub spec: Spec,
    /// First of its host user ids, for a root session.
    pub subordinate_base: Option<u32>,
    /// Where the host's tor is, for the route of that name.
    #[serde(default)]
    pub tor: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When input, output or a client was last seen.
    pub last_activity: Timestamp,
    /// When the wipe began.
    pub wipe_started_at: Option<Timestamp>,
    /// What it was given from outside.
    pub grants: Vec<Grant>,
    /// How far the wipe's claim reaches here.
    pub claim_level: ClaimLevel,
    /// What may remain on this machine whatever is done.
    pub residue: Vec<Residue>,
    /// Whether the kernel keeps session storage out of swap.
    pub storage_noswap: bool,
    /// Number of the next stream in the anchor's store.
    pub next_io: u32,
    /// Its sandboxes.
    pub apps: Vec<AppFacts>,
    /// Its commands.
    pub tasks: Vec<TaskFacts>,
    /// What became of its log that a user should know.
    #[serde(default)]
    pub notices: Vec<String>,
    /// Processes that the memory cap is known to have killed.
    #[serde(default)]
    pub memory_kills: u64,
    /// What the record says of its conversation.
    #[serde(default)]
    pub talk: TalkFacts,
    /// What the record says of its guard, where it has one.
    #[serde(default)]
    pub guard: Option<GuardFacts>,
    /// What passed its guard and what did not, as the record says it of a session that ends.
    #[serde(default)]
    pub watched: Option<Watched>,
    /// Apps that are given an SSH agent.
    #[serde(default)]
    pub agents: Vec<AgentFacts>,
    /// How many signatures were asked about: no question has the number of another.
    #[serde(default)]
    pub signature_questions: u32,
    /// What a gateway leaves to the next one.
    #[serde(default)]
    pub route: RouteFacts,
}

/// One sandbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AppFacts {
    /// Its name.
    pub name: AppName,
    /// Process id of its init on the host.
    pub pid: u32,
    /// Number of its next task.
    pub next_task: u32,
    /// The Landlock version it is confined by; 0 for none.
    pub landlock_abi: u8,
    /// Nothing of what it sends is redirected: it reaches hosts by a proxy alone.
    #[serde(default)]
    pub explicit: bool,
}

/// One command.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskFacts {
    /// Its name.
    pub name: AppName,
    /// The app in whose sandbox it runs.
    pub app: AppName,
    /// Its number with that app's init.
    pub number: u32,
    /// Its command.
    pub argv: Vec<String>,
    /// Its process id inside.
    pub inner_pid: Option<u32>,
    /// How it ended, if it did and the machine was told.
    pub exit: Option<Exit>,
    /// When it ended.
    pub exited_at: Option<Timestamp>,
    /// Whether its end and output reached someone.
    pub collected: bool,
    /// Its terminal or pipes.
    pub streams: StreamFacts,
    /// What its exit does not say.
    #[serde(default)]
    pub note: Option<String>,
    /// What the shell on its terminal said of its commands.
    #[serde(default)]
    pub commands: Commands,
}

/// A task's terminal or pipes, as numbers in the anchor's store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum StreamFacts {
    /// A pseudo-terminal.
    Terminal {
        /// Its number.
        io: u32,
        /// Its size.
        size: WindowSize,
    },
    /// Three pipes.
    Pipes {
        /// Number of standard output; standard input is its `sink`.
        out: u32,
        /// Number of standard error.
        err: u32,
    },
}

impl StreamFacts {
    /// All its numbers.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u32> + use<> {
        let (first, second) = match *self {
            Self::Terminal { io, .. } => (io, None),
            Self::Pipes { out, err } => (out, Some(err)),
        };
        [Some(first), second].into_iter().flatten()
    }
}
