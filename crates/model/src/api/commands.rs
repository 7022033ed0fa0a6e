//! A shell's commands, as the API shows them and waits for them.

use serde::{Deserialize, Serialize};

/// The answer to an [`Input`](super::Input) that asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Typed {
    /// Number of the command that ran when they were typed, else of the next one.
    pub command: u64,
    /// [`Commands::blanks`] when they were typed.
    pub blanks: u64,
    /// Whether it ran already.
    #[serde(default)]
    pub running: bool,
    /// Whether its lines were pasted as one command, since the shell takes pastes.
    #[serde(default)]
    pub pasted: bool,
}

/// `GET /v1/sessions/{id}/commands`: what the shell on a terminal said of its commands (OSC 133).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Commands {
    /// What the shell does.
    pub shell: ShellState,
    /// The number that the next command will have.
    pub next: u64,
    /// Times that a shell showed another prompt without having run a command.
    pub blanks: u64,
    /// Commands that run, the outermost first: each next one in a shell that the one before is.
    pub running: Vec<ShellCommand>,
    /// The last commands that ended, the latest last.
    pub finished: Vec<ShellCommand>,
}

/// What a shell does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ShellState {
    /// No shell has said anything.
    #[default]
    Unknown,
    /// It shows its prompt.
    Prompt,
    /// It runs a command.
    Running,
    /// A command has ended, and its prompt has not begun.
    Between,
}

/// One command of a shell. Its text is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ShellCommand {
    /// Counts up from 1.
    pub number: u64,
    /// Output offset at which the prompt before it begins.
    pub start: u64,
    /// Output offset of its first byte of output.
    pub output_from: u64,
    /// Output offset behind its last byte; `None` while it runs.
    pub output_to: Option<u64>,
    /// Its exit status; `None` while it runs and where the shell did not say it.
    pub exit: Option<i32>,
}

/// Which of a shell's commands a [`Wait`](super::Wait) is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AwaitedCommand {
    /// Its number; the one that runs, else the next one, when absent.
    pub number: Option<u64>,
    /// Gives up when [`Commands::blanks`] goes beyond this before it has begun.
    pub blanks: Option<u64>,
}
