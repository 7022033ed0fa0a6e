//! `receipt`: the signed account of a wipe.

use std::path::PathBuf;

use sessile_model::guarding::GuardReceipt;
use sessile_model::problem::ProblemKind;
use sessile_model::receipt::{Receipt, SignedReceipt, WipeEvidence, WipeLine};
use sessile_vault::receipt::{PublicKey, verify};

use super::text::{grant_line, outcome_sentence};
use crate::client::Daemon;
use crate::failure::{Failure, Outcome, Status};
use crate::files;
use crate::output::{counted, print, print_json, printable, table};
use crate::selector::SessionSelector;

/// Bytes that a receipt's file may have.
const MAX_RECEIPT: usize = 16 << 20;

/// Show or verify a session's receipt
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile receipt 1a2b3c4d
  sessile receipt 1a2b3c4d --json > receipt.json
  sessile receipt --verify --file receipt.json --key ed25519:…   offline, anywhere

The signature is always checked. --key anchors it: without, the receipt is checked against the key
it carries, which shows that it was not altered since, but not who made it (\"unanchored\").
`sessile daemon status` prints this installation's key.")]
pub struct Args {
    /// The session
    #[arg(required_unless_present = "file")]
    session: Option<SessionSelector>,
    /// Read the receipt from a file; no daemon is needed
    #[arg(long, value_name = "FILE", conflicts_with = "session")]
    file: Option<PathBuf>,
    /// Only say whether it is good
    #[arg(long)]
    verify: bool,
    /// The installation's key that must have signed it
    #[arg(long, value_name = "KEY")]
    key: Option<PublicKey>,
}

impl Args {
    /// Checks the signature, prints the receipt.
    pub fn run(self, json: bool) -> Outcome {
        let signed = self.signed()?;
        let verified = verify(&signed, self.key.as_ref()).map_err(|e| {
            let why = std::error::Error::source(&e).map(|s| format!(": {s}")).unwrap_or_default();
            Failure::new(ProblemKind::Denied, format!("the receipt is not to be believed: {e}{why}"))
        })?;
        let clean = verified.receipt.is_clean();
        let anchor = if verified.anchored { "anchored" } else { "unanchored: its own key says so" };
        if json && self.verify {
            print_json(&serde_json::json!({
                "valid": true, "anchored": verified.anchored, "key": verified.key.to_string(), "clean": clean,
                "not_possible": verified.receipt.not_possible(),
            }))?;
        } else if json {
            print_json(&signed)?;
        } else if self.verify {
            let wipe = match (clean, verified.receipt.not_possible()) {
                (false, _) => "a step of the wipe FAILED".to_owned(),
                (true, 0) => "every step of the wipe did its work".to_owned(),
                (true, 1) => "1 step of the wipe was not possible".to_owned(),
                (true, count) => format!("{count} steps of the wipe were not possible"),
            };
            print(&format!("good signature by {} ({anchor})\n{wipe}\n", verified.key))?;
        } else {
            print(&text(&verified.receipt))?;
            print(&format!("\nsigned by {} ({anchor})\n", verified.key))?;
        }
        Ok(Status::OK)
    }

    fn signed(&self) -> Result<SignedReceipt, Failure> {
        match (&self.file, &self.session) {
            (Some(path), _) => {
                if path.is_dir() {
                    let detail = format!("{} is a folder, not a receipt", path.display());
                    return Err(Failure::new(ProblemKind::BadRequest, detail)
                        .hint("name the file: `sessile receipt SESSION --json > FILE` writes one"));
                }
                let bytes = files::bytes(path, MAX_RECEIPT)?;
                serde_json::from_slice(&bytes).map_err(|e| {
                    Failure::new(ProblemKind::BadRequest, format!("{} is not a receipt: {e}", path.display()))
                })
            }
            (None, Some(session)) => Daemon::reach()?.get(&session.path("/receipt")),
            (None, None) => Err(Failure::new(ProblemKind::BadRequest, "name a session or a --file")),
        }
    }
}

/// A receipt for people.
fn text(receipt: &Receipt) -> String {
    let how = outcome_sentence(&receipt.outcome, receipt.outcome_detail.as_deref());
    let mut out = format!("session {} {how}\n", receipt.session);
    out += &format!(
        "opened {}, wiped {} to {}\n",
        receipt.created_at, receipt.wipe_started_at, receipt.ended_at
    );
    out += &format!("claim level {:?}, by sessile {}\n\n", receipt.claim_level, printable(&receipt.program));
    out += &table(&receipt.steps.iter().map(row).collect::<Vec<_>>());
    if !receipt.weaker.is_empty() {
        let names: Vec<&str> = receipt.weaker.iter().map(|p| p.as_str()).collect();
        out += &format!("\nweaker than defined, as accepted at open: {}\n", names.join(", "));
    }
    if receipt.residue.is_empty() {
        out += "\nnothing may remain\n";
    } else {
        out += "\nwhat may remain:\n";
        for residue in &receipt.residue {
            out += &format!("  {}: {}\n", printable(&residue.what), printable(&residue.why));
            if let Some(mend) = &residue.mend {
                out += &format!("    to prevent it: {}\n", printable(mend));
            }
        }
    }
    if let Some(guard) = &receipt.guard {
        out += &format!("\n{}\n", guard_line(guard));
    }
    for recording in &receipt.recordings {
        out += &format!("\n{}\n", grant_line(recording));
    }
    if !receipt.outside.is_empty() {
        let grants = counted(receipt.outside.len() as u64, "grant", "grants");
        out += &format!("\noutside the session, not wiped: {grants} (see --json)\n");
    }
    out
}

fn guard_line(guard: &GuardReceipt) -> String {
    let process = if guard.ended { "overwrote its memory and ended" } else { "was killed" };
    format!(
        "the guard {process}; its registry and markings: {} bytes overwritten; its audit: {} (`sessile audit`)",
        guard.overwritten,
        counted(guard.entries, "entry", "entries")
    )
}

fn row(line: &WipeLine) -> Vec<String> {
    let app = line.app.as_ref().map(|a| format!(" {a}")).unwrap_or_default();
    vec![
        format!("{}{app}", line.step.as_str()),
        evidence(&line.evidence),
        format!("{}.{:03} ms", line.took_us / 1000, line.took_us % 1000),
    ]
}

fn evidence(evidence: &WipeEvidence) -> String {
    match evidence {
        WipeEvidence::Refused { clients } => {
            format!("refused from then on, {} told", counted(*clients, "client", "clients"))
        }
        WipeEvidence::Signalled { signalled, ended } => {
            format!("{signalled} signalled, {ended} ended by themselves")
        }
        WipeEvidence::NoRoute => "there was no way out".to_owned(),
        WipeEvidence::RouteCut => "route cut".to_owned(),
        WipeEvidence::Frozen { count, how } => {
            format!("{} frozen by {}", counted(*count, "process", "processes"), printable(how))
        }
        WipeEvidence::Overwritten { bytes, objects } => {
            format!("{bytes} overwritten in {}", counted(*objects, "object", "objects"))
        }
        WipeEvidence::Killed { count } => format!("{} killed", counted(*count, "process", "processes")),
        WipeEvidence::Unmounted { count } => format!("{} removed", counted(*count, "mount", "mounts")),
        WipeEvidence::KeyDestroyed { protected } => format!("key overwritten, of {}", printable(protected)),
        WipeEvidence::Retired { what } => format!("{} retired", printable(what)),
        WipeEvidence::Finalised { entries } => format!("closed at {}", counted(*entries, "entry", "entries")),
        WipeEvidence::Removed { count } => {
            format!("{} removed", counted(*count, "file or folder", "files and folders"))
        }
        WipeEvidence::NothingFound { places } => {
            format!("nothing found in {}", printable(&places.join(", ")))
        }
        WipeEvidence::NothingToDo => "nothing to do".to_owned(),
        WipeEvidence::NotPossible { why } => format!("not possible: {}", printable(why)),
        WipeEvidence::Failed { why } => format!("FAILED: {}", printable(why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sessile_model::SessionId;
    use sessile_model::quantity::{ByteSize, Timestamp};
    use sessile_model::receipt::{ClaimLevel, Residue, WipeStep};
    use sessile_model::state::{EndedBy, Outcome as SessionOutcome};

    fn receipt() -> Receipt {
        let at = Timestamp::from_millis(1_700_000_000_000);
        let line = |step, evidence| WipeLine { step, app: None, evidence, took_us: 1234 };
        Receipt {
            session: SessionId::new(at, [7; 10]),
            outcome: SessionOutcome::Ended { by: EndedBy::MainExited },
            outcome_detail: None,
            created_at: at,
            wipe_started_at: at,
            ended_at: at,
            claim_level: ClaimLevel::L1,
            steps: vec![
                line(WipeStep::Kill, WipeEvidence::Killed { count: 3 }),
                line(
                    WipeStep::OverwriteStorage,
                    WipeEvidence::Overwritten { bytes: ByteSize(1 << 20), objects: 9 },
                ),
                line(WipeStep::Verify, WipeEvidence::Failed { why: "found\x1b[2J".into() }),
            ],
            residue: vec![Residue {
                what: "swap".into(),
                why: "it is on".into(),
                mend: Some("swapoff -a".into()),
            }],
            outside: vec![],
            recordings: vec![],
            guard: None,
            weaker: vec![],
            program: "0.1.0".into(),
        }
    }

    #[test]
    fn the_text() {
        insta::assert_snapshot!(text(&receipt()), @r#"
        session 018bcfe5-6800-7707-8707-070707070707 ended (its command exited)
        opened 2023-11-14T22:13:20Z, wiped 2023-11-14T22:13:20Z to 2023-11-14T22:13:20Z
        claim level L1, by sessile 0.1.0

        kill               3 processes killed              1.234 ms
        overwrite_storage  1 MiB overwritten in 9 objects  1.234 ms
        verify             FAILED: found\u{1b}[2J          1.234 ms

        what may remain:
          swap: it is on
            to prevent it: swapoff -a
        "#);
    }

    #[test]
    fn a_file_is_verified_offline() {
        let dir = tempfile::tempdir().unwrap();
        let key_path = dir.path().join("installation.key");
        let key = sessile_vault::installation::InstallationKey::load_or_create(&key_path, &[9; 32]).unwrap();
        let mut signed = key.sign(&receipt());
        let path = dir.path().join("receipt.json");
        let run = |signed: &SignedReceipt, key: Option<PublicKey>| {
            std::fs::write(&path, serde_json::to_vec(signed).unwrap()).unwrap();
            Args { session: None, file: Some(path.clone()), verify: true, key }.run(false)
        };
        assert!(run(&signed, None).is_ok());
        assert!(run(&signed, Some(key.public())).is_ok());
        let other =
            sessile_vault::installation::InstallationKey::load_or_create(&dir.path().join("other"), &[8; 32])
                .unwrap();
        assert!(run(&signed, Some(other.public())).is_err());
        signed.payload.replace_range(8..9, "x");
        assert!(run(&signed, None).is_err());
    }
}
