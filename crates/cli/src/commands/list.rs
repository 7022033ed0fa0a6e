//! `ls`: the sessions there are.

use sessile_model::SessionRecord;

use super::text::{listing, now};
use crate::client::{Daemon, with_query};
use crate::failure::{Outcome, Status};
use crate::output::{print, print_json, say};

/// List sessions
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile ls
  sessile ls --all                         with those that are closed
  sessile ls --json | jq -r '.[].id'

Memory and processor time in use are null here where no control group counts them; `sessile show`
measures them over the session's processes.")]
pub struct Args {
    /// Show closed sessions too
    #[arg(long, short = 'a')]
    all: bool,
}

impl Args {
    /// Prints them.
    pub fn run(self, json: bool) -> Outcome {
        let daemon = Daemon::reach()?;
        let path = with_query("/v1/sessions", &[("all", self.all.then(|| "true".to_owned()))]);
        let records: Vec<SessionRecord> = daemon.get(&path)?;
        print_records(&records, "no sessions; `sessile run` opens one", json)
    }
}

/// Prints records as `ls` and `find` do, or says that there are `none`.
///
/// # Errors
/// When nobody reads them.
pub fn print_records(records: &[SessionRecord], none: &str, json: bool) -> Outcome {
    if json {
        print_json(&records)?;
    } else if records.is_empty() {
        say(none);
    } else {
        print(&listing(records, now()))?;
    }
    Ok(Status::OK)
}
