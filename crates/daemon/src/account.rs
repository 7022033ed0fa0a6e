//! The account of a session whose processes died before they could wipe it.
//!
//! What a keeper's wipe would have overwritten is plain here: nothing was. The receipt says for
//! each step what that means and what may therefore remain.

use sessile_model::property::Property;
use sessile_model::receipt::{ClaimLevel, Receipt, Residue, WipeEvidence, WipeLine, WipeStep};
use sessile_model::record::Grant;
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

/// The receipt of a session that was lost.
pub fn receipt_of(
    record: &SessionRecord,
    loss: &Loss,
    remains: &Remains,
    began: Timestamp,
    now: Timestamp,
    program: &str,
) -> Receipt {
    let weaker = |p: &Property| !record.properties.of(*p).weaker_because.is_empty();
    Receipt {
        session: record.id,
        outcome: Outcome::Failed { component: loss.component, cause: loss.cause.clone() },
        created_at: record.created_at,
        wipe_started_at: began,
        ended_at: now,
        claim_level: ClaimLevel::L1,
        steps: WipeStep::ALL.into_iter().map(|step| line(step, loss.component, remains)).collect(),
        residue: residue(loss.component),
        outside: record.grants.iter().cloned().map(Grant::without_paths).collect(),
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

fn residue(lost: Component) -> Vec<Residue> {
    let mend = (lost != Component::Host).then(|| "boot with init_on_free=1".to_owned());
    let freed =
        |what: &str, why: &str| Residue { what: what.to_owned(), why: why.to_owned(), mend: mend.clone() };
    let swap = "encrypt swap, or turn it off";
    vec![
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
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::tests::record;

    fn account(component: Component, removed: Result<u32, String>) -> Receipt {
        let record = record(1, Some("fox"), sessile_model::State::Active);
        let loss = Loss { component, cause: "gone".into() };
        let (began, now) = (Timestamp::from_millis(1), Timestamp::from_millis(2));
        receipt_of(&record, &loss, &Remains { removed }, began, now, "test")
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
    fn remains_that_stay_are_a_failure() {
        assert!(account(Component::Anchor, Ok(0)).is_clean());
        assert!(!account(Component::Anchor, Err("busy".into())).is_clean());
    }
}
