//! `guard-terminal`: the process beside an attached client that outlives its `kill -9`.
//!
//! Only clients start it, one for each attachment, so it is looked for before the command line is
//! parsed: making the parser takes longer than everything that a guardian does.

use std::ffi::OsString;

use sessile_model::ProblemKind;

use crate::attachment::{SavedModes, guard};
use crate::failure::{Failure, Outcome, Status};

/// What a client calls it by.
pub const NAME: &str = "guard-terminal";

/// Waits for the client's end and gives the terminal back, if that is what these arguments of the
/// process ask for.
pub fn run_if_asked(mut arguments: impl Iterator<Item = OsString>) -> Option<Outcome> {
    arguments.nth(1).filter(|command| command == NAME)?;
    let saved = arguments.next().and_then(|saved| saved.to_str()?.parse::<SavedModes>().ok());
    let Some(saved) = saved else {
        let detail =
            format!("{NAME} is started by clients, with the terminal's modes before they changed them");
        return Some(Err(Failure::new(ProblemKind::BadRequest, detail)));
    };
    Some(guard(saved).map(|()| Status::OK).map_err(|e| Failure::system("give the terminal back", &e)))
}
