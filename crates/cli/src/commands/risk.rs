//! `risk`: what a session's findings add up to.

use sessile_model::api::ResetRisk;
use sessile_model::guarding::GuardRecord;
use sessile_model::problem::ProblemKind;
use sessile_model::record::SessionRecord;

use crate::client::Daemon;
use crate::failure::{Failure, Outcome, Status};
use crate::output::{print, print_json, say};
use crate::selector::SessionSelector;

/// Show what a session's guard has found adds up to, or set it to nothing
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile risk desk
  sessile risk desk --reset --why 'a drill'

It goes from 0 to 100: what was found raises it, and what others said first most of all; it halves in ten
minutes. What is shown is as of the last finding. Policies may speak of it (`context.risk`). A reset is in the
session's audit.")]
pub struct Args {
    /// The session
    session: SessionSelector,
    /// Set it to nothing
    #[arg(long, requires = "why")]
    reset: bool,
    /// Why, for the audit
    #[arg(long, value_name = "TEXT", requires = "reset")]
    why: Option<String>,
}

impl Args {
    /// Shows or resets it.
    pub fn run(self, json: bool) -> Outcome {
        let daemon = Daemon::reach()?;
        if let Some(why) = self.why.filter(|_| self.reset) {
            let () = daemon.post(&self.session.path("/risk"), &ResetRisk { why })?;
        }
        let record: SessionRecord = daemon.get(&self.session.path(""))?;
        let none = || Failure::new(ProblemKind::Conflict, "the session has no guard");
        let GuardRecord { risk, sensitivity, .. } = record.guard.ok_or_else(none)?;
        if json {
            print_json(&serde_json::json!({ "risk": risk, "sensitivity": sensitivity }))?;
        } else if self.reset {
            say("the risk is set to nothing");
        } else {
            print(&format!("{risk} of 100\n"))?;
        }
        Ok(Status::OK)
    }
}
