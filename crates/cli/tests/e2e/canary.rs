//! Patterns in every place that an app can put data are found while the session runs, and are
//! gone at each checkpoint of the wipe; with a step left out, they are not.

use serde_json::Value;
use sessile_model::receipt::WipeStep;

use crate::support::World;
use crate::support::plants::{Finding, PLANTS};
use crate::support::rehearsal::{Rehearsal, Stop};
use crate::wipe::receipt;

/// When it is looked, what must have been done by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Checkpoint {
    /// After the scrub and before the kill: the frozen apps' memory and open files.
    Apps,
    /// After the kill: the processes.
    Processes,
    /// After the overwriting and before the unmounting: the storage.
    Storage,
    /// When all is done: the keeper and the anchor, just before they go.
    Keeper,
    /// After the end: what says that it was done.
    Receipt,
}

impl Checkpoint {
    /// The step before which the keeper stops for it.
    const fn stop(self) -> Option<Stop> {
        match self {
            Self::Apps => Some(Stop::Before(WipeStep::Kill)),
            Self::Processes => Some(Stop::Before(WipeStep::UnmountApps)),
            Self::Storage => Some(Stop::Before(WipeStep::UnmountStorage)),
            Self::Keeper => Some(Stop::Before(WipeStep::Verify)),
            Self::Receipt => None,
        }
    }
}

/// For every step: where its absence shows, and as what. Steps that have no work of their own in a
/// session without a route show nothing.
const fn seen(step: WipeStep) -> Option<(Checkpoint, &'static [&'static str])> {
    Some(match step {
        WipeStep::Freeze => (Checkpoint::Apps, &["an app that is"]),
        WipeStep::ScrubOpenFiles => (Checkpoint::Apps, &["unlinked", "memfd"]),
        WipeStep::ScrubMemory => (
            Checkpoint::Apps,
            &["heap", "environment", "shared", "read-only", "no-access", "shared-read-only"],
        ),
        WipeStep::Kill => (Checkpoint::Processes, &["an app"]),
        WipeStep::UnmountApps => (Checkpoint::Storage, &["an app's namespace"]),
        WipeStep::OverwriteStorage => (Checkpoint::Storage, &["home", "temporary", "piped"]),
        WipeStep::UnmountStorage => (Checkpoint::Keeper, &["name", "a descriptor of the anchor"]),
        WipeStep::OverwriteRings => (Checkpoint::Keeper, &["terminal", "typed", "piped", "line"]),
        // Secret memory cannot be searched, so that what is seen is that it is still there.
        WipeStep::DestroyKeys => (Checkpoint::Keeper, &["a descriptor of the anchor"]),
        WipeStep::RemoveTraces => (Checkpoint::Keeper, &["the runtime folder"]),
        WipeStep::RefuseAttaches => (Checkpoint::Receipt, &["refuse_attaches"]),
        WipeStep::SignalApps => (Checkpoint::Receipt, &["signal_apps"]),
        WipeStep::FinaliseAudit => (Checkpoint::Receipt, &["finalise_audit"]),
        WipeStep::Verify => (Checkpoint::Receipt, &["verify"]),
        WipeStep::CutRoute | WipeStep::RetireRoute => return None,
    })
}

for_root_and_user! {
    fn nothing_is_left_at_any_checkpoint(world) {
        use Checkpoint::{Apps, Keeper, Processes, Storage};
        let mut stops: Vec<Stop> =
            [Apps, Processes, Storage, Keeper].into_iter().filter_map(Checkpoint::stop).collect();
        stops.push(Stop::Gone);
        let mut rehearsal = Rehearsal::new(world, &stops, &[]);
        rehearsal.sees_every_plant();

        rehearsal.begin_end();
        rehearsal.reach(stops[0]);
        only_residue(world, "apps", &rehearsal.apps());
        rehearsal.go_on();
        rehearsal.reach(stops[1]);
        nothing("processes", &rehearsal.processes());
        rehearsal.go_on();
        rehearsal.reach(stops[2]);
        only_residue(world, "storage", &rehearsal.storage_at_rest());
        rehearsal.go_on();
        rehearsal.reach(stops[3]);
        nothing("keeper and anchor", &rehearsal.keeper_and_anchor());
        rehearsal.go_on();
        rehearsal.reach(stops[4]);
        nothing("keeper at its end", &rehearsal.keeper_at_its_end());
        rehearsal.finish_end();
        rehearsal.sees_a_stray_file();
        nothing("after the end", &rehearsal.after_the_end());

        let receipt = receipt(world, &rehearsal.id);
        nothing("receipt", &undone(&receipt));
        let steps = receipt["steps"].as_array().unwrap();
        assert!(steps.iter().all(|line| line["evidence"]["kind"] != "failed"), "{receipt:#}");
        for what in PLANTS.iter().filter_map(|plant| plant.residue_in(world)) {
            let lines = receipt["residue"].as_array().unwrap();
            assert!(lines.iter().any(|line| line["what"] == what), "{what} is not said: {receipt:#}");
        }
        rehearsal.close();
    }

    fn a_step_before_the_kill_left_out_is_seen(world) {
        each_left_out_is_seen(world, Checkpoint::Apps);
    }

    fn the_kill_left_out_is_seen(world) {
        each_left_out_is_seen(world, Checkpoint::Processes);
    }

    fn a_step_before_the_unmounting_left_out_is_seen(world) {
        each_left_out_is_seen(world, Checkpoint::Storage);
    }

    fn a_later_step_left_out_is_seen(world) {
        each_left_out_is_seen(world, Checkpoint::Keeper);
    }

    fn a_step_left_out_is_not_claimed(world) {
        each_left_out_is_seen(world, Checkpoint::Receipt);
    }
}

/// Leaves out each step whose absence shows at this checkpoint, in a session of its own.
#[track_caller]
fn each_left_out_is_seen(world: &World, checkpoint: Checkpoint) {
    for step in WipeStep::ALL {
        let Some((_, expected)) = seen(step).filter(|(at, _)| *at == checkpoint) else { continue };
        let stop: Vec<Stop> = checkpoint.stop().into_iter().collect();
        let mut rehearsal = Rehearsal::new(world, &stop, &[step]);
        rehearsal.begin_end();
        if let Some(stop) = checkpoint.stop() {
            rehearsal.reach(stop);
        }
        let early = match checkpoint {
            Checkpoint::Apps => rehearsal.apps(),
            Checkpoint::Processes => rehearsal.processes(),
            Checkpoint::Storage => rehearsal.storage_at_rest(),
            Checkpoint::Keeper => rehearsal.keeper_and_anchor(),
            Checkpoint::Receipt => Vec::new(),
        };
        rehearsal.finish_end();
        let receipt = receipt(world, &rehearsal.id);
        let found = if checkpoint == Checkpoint::Receipt { undone(&receipt) } else { early };
        for what in expected {
            assert!(
                found.iter().any(|finding| finding.what.starts_with(what)),
                "without {}, {what} is not seen at {checkpoint:?}, but {found:#?}",
                step.as_str()
            );
        }
        let line = |line: &&Value| line["step"] == step.as_str();
        let claimed = receipt["steps"].as_array().unwrap().iter().find(line).unwrap();
        assert_eq!(claimed["evidence"]["kind"], "nothing_to_do", "it is claimed all the same");
        rehearsal.close();
    }
}

/// Steps of which the receipt says that there was nothing to do, although there was.
fn undone(receipt: &Value) -> Vec<Finding> {
    let steps = receipt["steps"].as_array().unwrap();
    let undone = |step: &WipeStep| {
        let kind =
            |line: &Value| line["step"] == step.as_str() && line["evidence"]["kind"] != "nothing_to_do";
        seen(*step).is_some() && !steps.iter().any(kind)
    };
    let missing = WipeStep::ALL.into_iter().filter(undone);
    missing.map(|step| Finding::trace(step.as_str(), "nothing to do")).collect()
}

#[track_caller]
fn nothing(place: &str, found: &[Finding]) {
    assert!(found.is_empty(), "{place}: {found:#?}");
}

/// Checks that only what the receipt calls residue was found.
#[track_caller]
fn only_residue(world: &World, place: &str, found: &[Finding]) {
    let stays = |finding: &&Finding| {
        PLANTS.iter().any(|plant| plant.name == finding.what && plant.residue_in(world).is_some())
    };
    let (residue, other): (Vec<&Finding>, Vec<&Finding>) = found.iter().partition(stays);
    assert!(other.is_empty(), "{place}: {other:#?}");
    assert!(!residue.is_empty(), "{place}: what cannot be overwritten is not seen");
}
