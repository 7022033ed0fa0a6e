//! `show`: one session's record.

use sessile_model::SessionRecord;

use super::text::{details, now};
use crate::client::Daemon;
use crate::failure::{Outcome, Status};
use crate::output::{print, print_json};
use crate::selector::SessionSelector;

/// Show a session: its state, apps, grants, properties with their evidence, usage
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile show amber-otter
  sessile show amber --json | jq .properties

An app's `exit` is null while it runs, and for good where it died together with the anchor and the
keeper that would have seen how; its `note` then says so. A `note` also tells of the memory cap.

Memory and processor time are what the session's control group counts. Without one they are summed
over the apps' processes: each one's proportional share (PSS) of memory, and its processor time with
that of the children it waited for.")]
pub struct Args {
    /// The session
    session: SessionSelector,
}

impl Args {
    /// Prints it.
    pub fn run(self, json: bool) -> Outcome {
        let record: SessionRecord = Daemon::reach()?.get(&self.session.path(""))?;
        if json {
            print_json(&record)?;
        } else {
            print(&details(&record, now()))?;
        }
        Ok(Status::OK)
    }
}
