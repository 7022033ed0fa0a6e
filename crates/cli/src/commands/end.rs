//! `end`: ends sessions, wiped.

use std::collections::BTreeSet;

use sessile_model::api;
use sessile_model::problem::ProblemKind;
use sessile_model::quantity::Millis;
use sessile_model::receipt::{Receipt, SignedReceipt};
use sessile_model::state::{Outcome as SessionOutcome, State};
use sessile_model::{SessionId, SessionRecord};

use super::parting::failed_steps;
use super::text::outcome_sentence;
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

Returns when the wipe is complete: 75 for a session that failed before or meanwhile. With --json: an array of signed receipts.")]
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
                    let ended = Ended::read(name.clone(), record.id, &signed);
                    if let Some(failure) = ended.failure() {
                        problems.push((name, failure));
                    } else if !json {
                        say(&ended.sentence());
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

/// A session that has ended, as its receipt tells.
struct Ended {
    name: String,
    id: SessionId,
    receipt: Option<Receipt>,
}

impl Ended {
    fn read(name: String, id: SessionId, signed: &SignedReceipt) -> Self {
        let receipt = signed.payload_bytes().ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self { name, id, receipt }
    }

    fn failed_steps(&self) -> Vec<String> {
        self.receipt.as_ref().map(failed_steps).unwrap_or_default()
    }

    /// That the session failed before or while it was ended.
    fn failure(&self) -> Option<Failure> {
        let receipt = self.receipt.as_ref()?;
        if !matches!(receipt.outcome, SessionOutcome::Failed { .. }) {
            return None;
        }
        let how = outcome_sentence(&receipt.outcome, receipt.outcome_detail.as_deref());
        let failed = self.failed_steps();
        let wiped = match failed.is_empty() {
            true => "its receipt tells what was erased".to_owned(),
            false => format!("its wipe failed in part: {}", failed.join("; ")),
        };
        let text = format!("the session {} {how}; {wiped}", self.name);
        Some(Failure::new(ProblemKind::Failed, text).hint(format!("sessile receipt {}", self.id.short())))
    }

    /// One line about an end, with what the wipe could not do.
    fn sentence(&self) -> String {
        let (name, short, failed) = (&self.name, self.id.short(), self.failed_steps());
        match failed.is_empty() {
            true => format!("{name} ended, wiped; receipt: sessile receipt {short}"),
            false => format!(
                "warning: {name} ended, but its wipe failed in part: {}; see: sessile receipt {short}",
                failed.join("; "),
            ),
        }
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
        Some(kind) => Err(Failure::new(kind, format!("{count} sessions could not be ended, or failed"))),
        None => Ok(Status::OK),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_problems_become_one_status() {
        assert!(conclude(vec![]).is_ok());
        let problem = || Failure::new(ProblemKind::Conflict, "x");
        let Err(Failure::Problem(p)) = conclude(vec![("a".into(), problem()), ("b".into(), problem())])
        else {
            panic!()
        };
        assert_eq!(
            (p.kind, p.detail.as_str()),
            (ProblemKind::Conflict, "2 sessions could not be ended, or failed")
        );
    }
}
