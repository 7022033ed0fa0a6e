//! `guard-terminal`: the process beside an attached client that outlives its `kill -9`.

use crate::attachment::{SavedModes, guard};
use crate::failure::{Failure, Outcome, Status};

/// Give a terminal back when the client on it was killed; started by the client
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The terminal's modes before the client changed them
    saved: SavedModes,
}

impl Args {
    /// Waits for the client's end and gives the terminal back.
    pub fn run(self) -> Outcome {
        guard(self.saved).map_err(|e| Failure::system("give the terminal back", &e))?;
        Ok(Status::OK)
    }
}
