//! `wait`: until something happens.

use sessile_model::api::{Wait, Waited};
use sessile_model::ids::AppName;
use sessile_model::quantity::Millis;

use super::text;
use crate::client::Daemon;
use crate::failure::{Outcome, Status};
use crate::output::{print, print_json, printable};
use crate::selector::SessionSelector;

/// Wait for a pattern, for quiet, or for the command's end
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile wait amber --pattern '\\$ $' --timeout 10s
  sessile wait amber --quiet 300ms          no output for that long
  sessile wait amber --exit && echo done    (--exit is what it waits for by itself)

With several, the first that holds ends the wait. Exit code 124 when the timeout passes first.")]
pub struct Args {
    /// The session
    session: SessionSelector,
    /// The app, or task as `exec --json` names it [default: main]
    #[arg(long, value_name = "APP")]
    app: Option<AppName>,
    /// A regular expression on the screen or in new output
    #[arg(long, value_name = "RE")]
    pattern: Option<String>,
    /// No output for this long
    #[arg(long, value_name = "TIME")]
    quiet: Option<Millis>,
    /// The command has ended
    #[arg(long)]
    exit: bool,
    /// Give up after this long
    #[arg(long, value_name = "TIME")]
    timeout: Option<Millis>,
}

impl Args {
    /// Waits, and says what happened.
    pub fn run(self, json: bool) -> Outcome {
        let exit = self.exit || (self.pattern.is_none() && self.quiet.is_none());
        let wait =
            Wait { app: self.app, pattern: self.pattern, quiet: self.quiet, exit, timeout: self.timeout };
        let waited: Waited = Daemon::reach()?.post(&self.session.path("/wait"), &wait)?;
        if json {
            print_json(&waited)?;
        } else {
            print(&match &waited {
                Waited::Matched { text } => printable(text) + "\n",
                Waited::Quiet => "quiet\n".to_owned(),
                Waited::Exited { exit } => text::exit(exit) + "\n",
            })?;
        }
        Ok(Status::OK)
    }
}
