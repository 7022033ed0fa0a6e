//! `end`: ends sessions, wiped.

use std::collections::BTreeSet;

use sessile_model::api;
use sessile_model::quantity::Millis;
use sessile_model::receipt::{Receipt, SignedReceipt};
use sessile_model::state::State;
use sessile_model::{SessionId, SessionRecord};

use super::parting::failed_steps;
use crate::client::Daemon;
use crate::failure::{Failure, Outcome, Status};
use crate::output::{print_json, say};
use crate::selector::SessionSelector;

/// End sessions: apps get time to save, then everything is wiped
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile end amber
  sessile end amber birch --grace 30s
  sessile end --all

Returns when the wipe is complete. With --json: an array of signed receipts.")]
pub struct Args {
    /// The sessions
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    sessions: Vec<SessionSelector>,
    /// Every session that is not closed
    #[arg(long)]
    all: bool,
    /// Time that apps get to save [default: 10s]
    #[arg(long, value_name = "TIME")]
    grace: Option<Millis>,
}

impl Args {
    /// Ends them, side by side.
    pub fn run(self, json: bool) -> Outcome {
        // Started if need be: sessions outlive their daemon, and the new one finds them.
        let daemon = Daemon::reach()?;
        let records = self.records(&daemon)?;
        let paths = records.iter().map(|r| SessionSelector::from(r.id).path("/end")).collect();
        let answers = daemon.post_each::<SignedReceipt>(paths, &api::End { grace: self.grace })?;
        let mut receipts = Vec::new();
        let mut problems = Vec::new();
        for (record, answer) in records.iter().zip(answers) {
            let name = record.name.as_ref().map_or_else(|| record.id.short(), ToString::to_string);
            match answer {
                Ok(signed) => {
                    if !json {
                        say(&sentence(&name, record.id, &signed));
                    }
                    receipts.push(signed);
                }
                Err(failure) => problems.push((name, failure)),
            }
        }
        if json {
            print_json(&receipts)?;
        } else if records.is_empty() {
            say("no sessions");
        }
        conclude(problems)
    }

    fn records(&self, daemon: &Daemon) -> Result<Vec<SessionRecord>, Failure> {
        if self.all {
            let mut records: Vec<SessionRecord> = daemon.get("/v1/sessions")?;
            records.retain(|r| r.state != State::Closed);
            return Ok(records);
        }
        // All are looked up before any is ended: a mistyped name ends nothing.
        let mut seen = BTreeSet::new();
        let mut records = Vec::new();
        for session in &self.sessions {
            let record: SessionRecord = daemon.get(&session.path(""))?;
            if seen.insert(record.id) {
                records.push(record);
            }
        }
        Ok(records)
    }
}

/// One line about an end, with what the wipe could not do.
fn sentence(name: &str, id: SessionId, signed: &SignedReceipt) -> String {
    let receipt: Option<Receipt> = signed.payload_bytes().ok().and_then(|b| serde_json::from_slice(&b).ok());
    let failed = receipt.as_ref().map(failed_steps).unwrap_or_default();
    match failed.is_empty() {
        true => format!("{name} ended, wiped; receipt: sessile receipt {}", id.short()),
        false => format!(
            "warning: {name} ended, but its wipe failed in part: {}; see: sessile receipt {}",
            failed.join("; "),
            id.short()
        ),
    }
}

fn conclude(problems: Vec<(String, Failure)>) -> Outcome {
    let count = problems.len();
    let mut last = None;
    for (name, failure) in problems {
        match failure {
            Failure::Problem(problem) if count > 1 => {
                say(&format!("sessile: error: {name}: {}", problem.detail));
                last = Some(problem.kind);
            }
            other @ (Failure::Problem(_) | Failure::ClosedPipe) => return Err(other),
        }
    }
    match last {
        Some(kind) => Err(Failure::new(kind, format!("{count} sessions could not be ended"))),
        None => Ok(Status::OK),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sessile_model::problem::ProblemKind;

    #[test]
    fn several_problems_become_one_status() {
        assert!(conclude(vec![]).is_ok());
        let problem = || Failure::new(ProblemKind::Conflict, "x");
        let Err(Failure::Problem(p)) = conclude(vec![("a".into(), problem()), ("b".into(), problem())])
        else {
            panic!()
        };
        assert_eq!((p.kind, p.detail.as_str()), (ProblemKind::Conflict, "2 sessions could not be ended"));
    }
}
