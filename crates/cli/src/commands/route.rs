//! `route`: what can be done about a session's way out.

use crate::client::Daemon;
use crate::failure::{Outcome, Status};
use crate::output::{print_json, say};
use crate::selector::SessionSelector;

/// Take on a new identity on a session's route
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile route amber --new-identity       other circuits from now on; open connections end

Only the route tor has an identity of its own: with direct everybody sees this host's address, with
socks5 the proxy's. It is noted in the session's journal. `sessile net` shows a session's route.")]
pub struct Args {
    /// The session
    session: SessionSelector,
    /// Use other circuits from now on, and end the connections over the old ones
    #[arg(long, required = true)]
    new_identity: bool,
}

impl Args {
    /// Does it.
    pub fn run(self, json: bool) -> Outcome {
        let daemon = Daemon::reach()?;
        let () = daemon.post(&self.session.path("/identity"), &serde_json::json!({}))?;
        if json {
            print_json(&serde_json::json!({ "renewed": self.new_identity }))?;
        } else {
            say(&format!("{} has a new identity on its route", self.session));
        }
        Ok(Status::OK)
    }
}
