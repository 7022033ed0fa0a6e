//! `pause`.

use sessile_model::SessionRecord;

use crate::client::Daemon;
use crate::failure::{Outcome, Status};
use crate::output::{print_json, say};
use crate::selector::SessionSelector;

/// Freeze a session's apps
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile pause amber")]
pub struct Args {
    /// The session
    session: SessionSelector,
}

impl Args {
    /// Does it.
    pub fn run(self, json: bool) -> Outcome {
        let daemon = Daemon::reach()?;
        let () = daemon.post(&self.session.path("/pause"), &serde_json::json!({}))?;
        if json {
            print_json(&daemon.get::<SessionRecord>(&self.session.path(""))?)?;
        } else {
            say(&format!("{} paused", self.session));
        }
        Ok(Status::OK)
    }
}
