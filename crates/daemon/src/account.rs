//! The account of a session whose processes died before they could wipe it.
//!
//! The steps that a keeper had taken are in its log, and the receipt repeats them. For every other
//! step it says what it means that nobody took it, and what may therefore remain.

use sessile_journal::audit::Audit;
use sessile_journal::store::StoredEntry;
use sessile_model::guarding::GuardReceipt;
use sessile_model::property::Property;
use sessile_model::receipt::{ClaimLevel, Receipt, Residue, WipeEvidence, WipeLine, WipeStep};
use sessile_model::record::{Grant, RecordingState};
use sessile_model::state::{Component, Outcome};
use sessile_model::{SessionRecord, Timestamp};

/// How a session was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// What failed.
    pub component: Component,
    /// What happened to it, in a sentence.
    pub cause: String,
}

/// What was found and done about the remains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remains {
    /// Mounts, files and folders removed, or why not.
    pub removed: Result<u32, String>,
}

/// What the session's own log tells of its wipe.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// When its teardown began.
    pub began: Option<Timestamp>,
    /// Its outcome, as last decided.
    pub outcome: Option<Outcome>,
    /// The steps that were complete.
    pub lines: Vec<WipeLine>,
}

impl Told {
    /// Reads the entries of a log, of which some kinds are understood and others passed over.
    pub fn by(entries: &[StoredEntry]) -> Self {
        let mut told = Self::default();
        for entry in entries {
            let Some(fact) = entry.kind.get("fact") else { continue };
            let part = |name: &str| fact.get(name).cloned().unwrap_or_default();
            match fact.get("fact").and_then(serde_json::Value::as_str) {
                Some("tearing_down") => {
                    told.began = told.began.or(entry.at);
                    told.outcome = serde_json::from_value(part("outcome")).ok();
                }
                // A line that was journaled twice was taken twice; the later one stands.
                Some("wiped") => told.lines.extend(serde_json::from_value::<WipeLine>(part("line")).ok()),
                Some(_) | None => {}
            }
        }
        told
    }

    fn line(&self, step: WipeStep) -> Option<&WipeLine> {
        self.lines.iter().rev().find(|line| line.step == step)
    }

    /// Whether a step was taken and did what it is for.
    fn is_done(&self, step: WipeStep) -> bool {
        self.line(step).is_some_and(|line| {
            !matches!(line.evidence, WipeEvidence::Failed { .. } | WipeEvidence::NotPossible { .. })
        })
    }

    /// Whether only the last looks were missing, which the daemon can take as well.
    fn is_whole(&self) -> bool {
        let own = |step: &WipeStep| matches!(step, WipeStep::RemoveTraces | WipeStep::Verify);
        WipeStep::ALL.iter().all(|step| own(step) || self.line(*step).is_some())
    }
}

/// What is left of a lost session's guard: nothing was overwritten, and this is where its audit ends.
pub fn guard_of(audit: &Audit) -> GuardReceipt {
    GuardReceipt { overwritten: 0, ended: false, entries: audit.entries(), head: audit.head() }
}

/// The receipt of a session that was lost.
pub fn receipt_of(
    record: &SessionRecord,
    loss: &Loss,
    (told, guard): (&Told, Option<GuardReceipt>),
    remains: &Remains,
    began: Timestamp,
    now: Timestamp,
    program: &str,
) -> Receipt {
    let weaker = |p: &Property| !record.properties.of(*p).weaker_because.is_empty();
    let failed = || Outcome::Failed { component: loss.component, cause: loss.cause.clone() };
    let as_told = told.outcome.clone().filter(|_| told.is_whole() && remains.removed.is_ok());
    let step = |step| match told.line(step) {
        Some(line) => line.clone(),
        None => line(step, loss.component, remains),
    };
    let is_wiped = told
        .line(WipeStep::OverwriteStorage)
        .is_some_and(|line| matches!(line.evidence, WipeEvidence::Overwritten { .. }));
    let (mut recordings, outside) = Receipt::apart(record.grants.iter().cloned());
    for grant in &mut recordings {
        if let Grant::Recording { state, .. } = grant {
            *state = if is_wiped { RecordingState::Wiped } else { RecordingState::Freed };
        }
    }
    Receipt {
        session: record.id,
        outcome: as_told.unwrap_or_else(failed),
        outcome_detail: None,
        created_at: record.created_at,
        wipe_started_at: told.began.unwrap_or(began),
        ended_at: now,
        claim_level: ClaimLevel::L1,
        steps: WipeStep::ALL.into_iter().map(step).collect(),
        residue: residue(loss.component, told, guard.is_some()),
        outside,
        recordings,
        guard,
        weaker: Property::ALL.into_iter().filter(weaker).collect(),
        program: program.to_owned(),
    }
}

fn line(step: WipeStep, lost: Component, remains: &Remains) -> WipeLine {
    let host = lost == Component::Host;
    let not_possible = |why: &str| WipeEvidence::NotPossible { why: why.to_owned() };
    let died = if host {
        "the host stopped or restarted; its memory was not overwritten by this program"
    } else {
        "the processes that held it were dead; the kernel freed it, nothing overwrote it"
    };
    let evidence = match step {
        WipeStep::RefuseAttaches => WipeEvidence::Refused { clients: 0 },
        WipeStep::SignalApps => not_possible("the apps died with the process that was their parent"),
        WipeStep::Freeze => WipeEvidence::NothingToDo,
        WipeStep::Kill => {
            not_possible("the kernel killed the apps when their parent died; they were not counted")
        }
        WipeStep::CutRoute => not_possible("the way out closed when the processes that held it died"),
        WipeStep::RetireRoute | WipeStep::FinaliseAudit => WipeEvidence::NothingToDo,
        WipeStep::ScrubOpenFiles
        | WipeStep::ScrubMemory
        | WipeStep::OverwriteStorage
        | WipeStep::OverwriteRings
        | WipeStep::DestroyKeys => not_possible(died),
        WipeStep::UnmountApps | WipeStep::UnmountStorage => {
            not_possible("the kernel unmounts with the namespace; it was not watched")
        }
        WipeStep::RemoveTraces => match &remains.removed {
            Ok(0) => WipeEvidence::NothingToDo,
            Ok(count) => WipeEvidence::Removed { count: *count },
            Err(why) => WipeEvidence::Failed { why: why.clone() },
        },
        WipeStep::Verify => match &remains.removed {
            Ok(_) => WipeEvidence::NothingFound { places: vec!["the session's runtime folder".to_owned()] },
            Err(_) => WipeEvidence::Failed { why: "the session's runtime folder is still there".to_owned() },
        },
    };
    WipeLine { step, app: None, evidence, took_us: 0 }
}

fn residue(lost: Component, told: &Told, has_guard: bool) -> Vec<Residue> {
    let mend = (lost != Component::Host).then(|| "boot with init_on_free=1".to_owned());
    let freed =
        |what: &str, why: &str| Residue { what: what.to_owned(), why: why.to_owned(), mend: mend.clone() };
    let swap = "encrypt swap, or turn it off";
    let overwritten = |residue: &Residue| match residue.what.as_str() {
        "apps' memory" => told.is_done(WipeStep::ScrubMemory),
        "session storage" => told.is_done(WipeStep::OverwriteStorage),
        "terminal output" => told.is_done(WipeStep::OverwriteRings),
        "keys" => told.is_done(WipeStep::DestroyKeys),
        _ => false,
    };
    let mut all = vec![
        freed(
            "apps' memory",
            "it was freed when they died, and freed pages keep their content until they are used again",
        ),
        freed("session storage", "its pages were freed with its last mount and not overwritten"),
        freed("terminal output", "the rings were freed and not overwritten"),
        freed(
            "keys",
            "their memory was freed with the last descriptor; secret memory is cleared by the kernel, locked memory is not",
        ),
        Residue {
            what: "swap".to_owned(),
            why: "pages that were swapped out stay on the swap device".to_owned(),
            mend: Some(swap.to_owned()),
        },
    ];
    all.retain(|residue| !overwritten(residue));
    if has_guard {
        all.push(freed(
            "the guard's memory",
            "its guard was killed, or died, before it could overwrite what it knew",
        ));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::tests::record;

    fn account(component: Component, removed: Result<u32, String>) -> Receipt {
        let record = record(1, Some("fox"), sessile_model::State::Active);
        let loss = Loss { component, cause: "gone".into() };
        let (began, now) = (Timestamp::from_millis(1), Timestamp::from_millis(2));
        receipt_of(&record, &loss, (&Told::default(), None), &Remains { removed }, began, now, "test")
    }

    #[test]
    fn nothing_is_claimed_that_was_not_done() {
        for component in [Component::Anchor, Component::Keeper, Component::Host] {
            let receipt = account(component, Ok(3));
            assert_eq!(receipt.steps.len(), WipeStep::ALL.len());
            for line in &receipt.steps {
                let claims = matches!(
                    line.evidence,
                    WipeEvidence::Overwritten { .. }
                        | WipeEvidence::KeyDestroyed { .. }
                        | WipeEvidence::Killed { .. }
                );
                assert!(!claims, "{line:?}");
            }
            assert!(!receipt.residue.is_empty());
            assert_eq!(receipt.claim_level, ClaimLevel::L1);
        }
    }

    #[test]
    fn what_the_log_tells_is_repeated() {
        let entry = |fact: serde_json::Value| {
            let kind = serde_json::json!({"fact": fact});
            StoredEntry { sequence: 1, at: Some(Timestamp::from_millis(7)), kind }
        };
        let outcome = serde_json::json!({"kind": "ended", "by": "operator"});
        let mut entries = vec![entry(serde_json::json!({"fact": "tearing_down", "outcome": outcome}))];
        let steps = WipeStep::ALL.into_iter().filter(|step| *step < WipeStep::RemoveTraces);
        let lines: Vec<WipeLine> = steps
            .map(|step| WipeLine { step, app: None, evidence: WipeEvidence::NothingToDo, took_us: 5 })
            .collect();
        entries.extend(lines.iter().map(|line| entry(serde_json::json!({"fact": "wiped", "line": line}))));
        let record = record(1, Some("fox"), sessile_model::State::Ending);
        let loss = Loss { component: Component::Keeper, cause: "gone".into() };
        let now = Timestamp::from_millis(9);
        let account = |entries: &[StoredEntry], removed| {
            receipt_of(&record, &loss, (&Told::by(entries), None), &Remains { removed }, now, now, "test")
        };
        let whole = account(&entries, Ok(0));
        assert!(matches!(whole.outcome, Outcome::Ended { .. }));
        assert_eq!(whole.steps[..lines.len()], lines);
        assert_eq!(whole.wipe_started_at, Timestamp::from_millis(7));
        assert!(whole.residue.iter().all(|residue| residue.what == "swap"));
        // One step fewer, or remains: the loss is the outcome.
        entries.pop();
        assert!(matches!(account(&entries, Ok(0)).outcome, Outcome::Failed { .. }));
        entries.push(entry(serde_json::json!({"fact": "wiped", "line": lines.last()})));
        assert!(matches!(account(&entries, Err("busy".into())).outcome, Outcome::Failed { .. }));
    }

    #[test]
    fn remains_that_stay_are_a_failure() {
        assert!(account(Component::Anchor, Ok(0)).is_clean());
        assert!(!account(Component::Anchor, Err("busy".into())).is_clean());
    }
}
