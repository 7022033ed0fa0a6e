//! What each step opens and closes, what cannot work yet, and what has to be accounted for.

use sessile_model::receipt::{WipeEvidence, WipeLine, WipeStep};
use sessile_session::BringupStep;

use crate::world::World;

/// Something that is open and has to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// An open audit.
    Audit,
    /// A control group.
    Cgroup,
    /// Keys in memory.
    Keys,
    /// Plain bytes in storage.
    Data,
    /// The mount of storage.
    Mount,
    /// A way out.
    Route,
    /// A routing identity.
    RouteIdentity,
    /// Roots of apps.
    Roots,
    /// Processes.
    Processes,
}

/// What each step of bring-up opens.
pub(crate) const OPENS: [(BringupStep, &[Resource]); 7] = [
    (BringupStep::Preflight, &[]),
    (BringupStep::JournalIntent, &[Resource::Audit]),
    (BringupStep::Cgroup, &[Resource::Cgroup]),
    (BringupStep::Keys, &[Resource::Keys]),
    (BringupStep::Storage, &[Resource::Data, Resource::Mount]),
    (BringupStep::Route, &[Resource::Route, Resource::RouteIdentity]),
    (BringupStep::Sandbox, &[Resource::Roots, Resource::Processes]),
];

/// What each step of the wipe closes.
pub(crate) const CLOSES: [(WipeStep, Resource); 9] = [
    (WipeStep::CutRoute, Resource::Route),
    (WipeStep::Kill, Resource::Processes),
    (WipeStep::UnmountApps, Resource::Roots),
    (WipeStep::OverwriteStorage, Resource::Data),
    (WipeStep::UnmountStorage, Resource::Mount),
    (WipeStep::DestroyKeys, Resource::Keys),
    (WipeStep::RetireRoute, Resource::RouteIdentity),
    (WipeStep::FinaliseAudit, Resource::Audit),
    (WipeStep::RemoveTraces, Resource::Cgroup),
];

impl World {
    /// What no order given by anybody can make right.
    pub(crate) fn physics(&self, step: WipeStep) -> Result<(), String> {
        let excused = |earlier: WipeStep| {
            matches!(
                self.evidence.get(&earlier),
                Some(WipeEvidence::Failed { .. } | WipeEvidence::NotPossible { .. })
            )
        };
        let still =
            |resource: Resource, earlier: WipeStep| self.open.contains(&resource) && !excused(earlier);
        let wrong = match step {
            WipeStep::ScrubMemory | WipeStep::ScrubOpenFiles => {
                !self.apps.is_empty() && !self.frozen && !excused(WipeStep::Freeze)
            }
            WipeStep::Freeze => still(Resource::Route, WipeStep::CutRoute),
            WipeStep::UnmountApps => still(Resource::Processes, WipeStep::Kill),
            WipeStep::OverwriteStorage => {
                still(Resource::Processes, WipeStep::Kill) || still(Resource::Roots, WipeStep::UnmountApps)
            }
            WipeStep::UnmountStorage => still(Resource::Data, WipeStep::OverwriteStorage),
            WipeStep::RemoveTraces => still(Resource::Processes, WipeStep::Kill),
            WipeStep::RetireRoute => still(Resource::Route, WipeStep::CutRoute),
            WipeStep::RefuseAttaches
            | WipeStep::SignalApps
            | WipeStep::CutRoute
            | WipeStep::Kill
            | WipeStep::OverwriteRings
            | WipeStep::DestroyKeys
            | WipeStep::FinaliseAudit
            | WipeStep::Verify => false,
        };
        if wrong { Err(format!("{} cannot work yet", step.as_str())) } else { Ok(()) }
    }

    /// Whether everything is closed, or the receipt says why not.
    ///
    /// # Errors
    /// What the receipt does not account for.
    pub(crate) fn account(&self, lines: &[WipeLine]) -> Result<(), String> {
        let steps: Vec<WipeStep> = lines.iter().map(|line| line.step).collect();
        if steps != WipeStep::ALL {
            return Err(format!("the receipt's steps are {steps:?}"));
        }
        if !self.apps.is_empty() {
            let admitted = self.admits(lines, WipeStep::Kill);
            if !admitted {
                return Err("apps outlive the session".into());
            }
        }
        for (step, resource) in CLOSES {
            if self.open.contains(&resource) && !self.admits(lines, step) {
                return Err(format!("{resource:?} is still open and the receipt says nothing"));
            }
        }
        Ok(())
    }

    fn admits(&self, lines: &[WipeLine], step: WipeStep) -> bool {
        lines.iter().any(|line| {
            line.step == step
                && matches!(line.evidence, WipeEvidence::Failed { .. } | WipeEvidence::NotPossible { .. })
        })
    }
}
