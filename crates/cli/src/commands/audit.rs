//! `audit`: what a session's guard decided.

use sessile_journal::audit::{Chained, read};
use sessile_model::api::{AuditTrail, Verdict};
use sessile_model::guarding::{AuditEntry, Decided, Effect, NO_POLICY, Part};
use sessile_model::hex;
use sessile_model::problem::ProblemKind;
use sessile_model::receipt::SignedReceipt;
use sessile_vault::receipt::{PublicKey, verify};

use crate::client::Daemon;
use crate::failure::{Failure, Outcome, Status};
use crate::output::{counted, print, print_json, printable, table};
use crate::selector::SessionSelector;

/// Show or verify what a session's guard decided
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile audit desk
  sessile audit 1a2b3c4d --json
  sessile audit 1a2b3c4d --verify --key ed25519:…

It has ids, kinds, lengths and commitments, and nothing of what was said; it outlives the session. Each line
follows from the one before. --verify checks that, and, once the session has ended, that the signed receipt
knows the same last line. While it lives nothing is signed yet.")]
pub struct Args {
    /// The session
    session: SessionSelector,
    /// Only say whether it is whole
    #[arg(long)]
    verify: bool,
    /// The installation's key that must have signed the receipt
    #[arg(long, value_name = "KEY", requires = "verify")]
    key: Option<PublicKey>,
}

impl Args {
    /// Prints or verifies it.
    pub fn run(self, json: bool) -> Outcome {
        let daemon = Daemon::reach()?;
        let trail: Result<AuditTrail, Failure> = daemon.get(&self.session.path("/audit"));
        let trail = trail.map_err(|failure| self.removed(&daemon).unwrap_or(failure))?;
        let text: String = trail.lines.iter().map(|line| format!("{line}\n")).collect();
        let chained =
            read(text.as_bytes(), trail.session).map_err(|broken| unbelievable(&broken.to_string()))?;
        if self.verify {
            return self.verified(&daemon, &trail, &chained, json);
        }
        let entries: Result<Vec<AuditEntry>, _> =
            chained.entries.iter().map(|entry| serde_json::from_str(entry)).collect();
        let entries = entries.map_err(|e| unbelievable(&format!("an entry is of an unknown kind: {e}")))?;
        match json {
            true => print_json(&entries)?,
            false => print(&table(&entries.iter().map(row).collect::<Vec<_>>()))?,
        }
        Ok(Status::OK)
    }

    /// That there was an audit, where it is to be verified and there is none.
    fn removed(&self, daemon: &Daemon) -> Option<Failure> {
        let receipt: SignedReceipt =
            self.verify.then(|| daemon.get(&self.session.path("/receipt")).ok()).flatten()?;
        let guard =
            verify(&receipt, self.key.as_ref()).ok()?.receipt.guard.filter(|guard| guard.entries > 0)?;
        let count = counted(guard.entries, "entry", "entries");
        Some(unbelievable(&format!("the receipt knows of {count}, and nothing is there")))
    }

    fn verified(&self, daemon: &Daemon, trail: &AuditTrail, chained: &Chained, json: bool) -> Outcome {
        let head = hex::text(&chained.head);
        let receipt: Result<SignedReceipt, Failure> = daemon.get(&self.session.path("/receipt"));
        let signed = match receipt {
            Ok(receipt) => {
                let verified = verify(&receipt, self.key.as_ref())
                    .map_err(|e| unbelievable(&format!("its receipt is not to be believed: {e}")))?;
                let knows =
                    verified.receipt.guard.as_ref().filter(|_| verified.receipt.session == trail.session);
                match knows {
                    Some(guard) if guard.head == head && guard.entries == chained.entries.len() as u64 => {
                        Some(verified)
                    }
                    Some(_) => {
                        return Err(unbelievable(
                            "the receipt knows another last line: lines are missing or were added",
                        ));
                    }
                    None => {
                        return Err(unbelievable(
                            "its receipt knows of no audit: when the session was lost, its audit was not whole",
                        ));
                    }
                }
            }
            // It has not ended.
            Err(Failure::Problem(problem)) if problem.kind == ProblemKind::Conflict && self.key.is_none() => {
                None
            }
            Err(failure) => return Err(failure),
        };
        let count = chained.entries.len();
        if json {
            print_json(&serde_json::json!({
                "valid": true, "entries": count, "head": head, "signed": signed.is_some(),
                "anchored": signed.as_ref().is_some_and(|s| s.anchored), "key": signed.map(|s| s.key.to_string()),
            }))?;
            return Ok(Status::OK);
        }
        let by = match signed {
            Some(signed) if signed.anchored => format!("signed by {} (anchored)", signed.key),
            Some(signed) => format!("signed by {} (unanchored: its own key says so)", signed.key),
            None => "not signed yet: the session lives".to_owned(),
        };
        print(&format!("{} in a whole chain\n{by}\n", counted(count as u64, "entry", "entries")))?;
        Ok(Status::OK)
    }
}

fn unbelievable(why: &str) -> Failure {
    Failure::new(ProblemKind::Denied, format!("the audit is not to be believed: {why}"))
}

fn row(entry: &AuditEntry) -> Vec<String> {
    match entry {
        AuditEntry::Decided(decided) => {
            let Decided { number, at, from, to, label, by, bytes, found, effect, policies, because, .. } =
                &**decided;
            let effect = match effect {
                Effect::Pass => "passed",
                Effect::Redact => "redacted",
                Effect::Confirm => "held",
                Effect::Reject => "refused",
            };
            let part = |part: &Part| format!("{} ({} bytes)", part.kind, part.length);
            let found: Vec<String> = found.iter().map(part).collect();
            let what = format!("{label} from {from} ({by}) to {to}, {bytes} bytes");
            let what = what.trim_start();
            let by = match because {
                Some(because) => because.clone(),
                // One of before there were such words.
                None if policies.is_empty() => NO_POLICY.to_owned(),
                None => format!("by {}", policies.join(", ")),
            };
            vec![
                at.to_string(),
                number.to_string(),
                effect.to_owned(),
                printable(what),
                printable(&found.join(", ")),
                printable(&by),
            ]
        }
        AuditEntry::Answered { number, at, verdict, by, key, why } => {
            let by = match (by, key, why) {
                (Some(by), Some(_), _) => format!("{by}, signed"),
                (Some(by), None, _) => by.clone(),
                (None, _, Some(_)) => "nobody".to_owned(),
                (None, _, None) => "nobody, in time".to_owned(),
            };
            let why = why.as_deref().unwrap_or_default();
            let answered = match verdict {
                Verdict::Allow => "allowed",
                Verdict::Deny => "denied",
            };
            vec![at.to_string(), number.to_string(), answered.to_owned(), printable(&by), printable(why)]
        }
        AuditEntry::RiskReset { at, level, why } => {
            vec![
                at.to_string(),
                String::new(),
                "risk reset".to_owned(),
                format!("from {level}"),
                printable(why),
            ]
        }
    }
}
