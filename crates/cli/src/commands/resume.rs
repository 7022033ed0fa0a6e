//! `resume`.

use sessile_model::SessionRecord;

use crate::client::Daemon;
use crate::failure::{Outcome, Status};
use crate::output::{print_json, say};
use crate::selector::SessionSelector;

/// Let a paused session's apps go on
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile resume amber")]
pub struct Args {
    /// The session
    session: SessionSelector,
}

impl Args {
    /// Does it.
    pub fn run(self, json: bool) -> Outcome {
        let daemon = Daemon::reach()?;
        let () = daemon.post(&self.session.path("/resume"), &serde_json::json!({}))?;
        if json {
            print_json(&daemon.get::<SessionRecord>(&self.session.path(""))?)?;
        } else {
            say(&format!("{} resumed", self.session));
        }
        Ok(Status::OK)
    }
}
