//! The steps of bring-up, in their order, and what undoes each of them.

use std::fmt;

use serde::{Deserialize, Serialize};
use sessile_model::receipt::WipeStep;
use sessile_model::state::Component;

/// One step of bring-up. Carrying out a step that was already done, wholly or in part, must end
/// as if it was done once: after a keeper's death the step in flight is asked for again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BringupStep {
    /// Looks at what this machine gives and refuses what it cannot.
    Preflight,
    /// Writes the intent to open to the journal, ids only.
    JournalIntent,
    /// Makes the control group.
    Cgroup,
    /// Makes the keys.
    Keys,
    /// Makes session storage.
    Storage,
    /// Opens the route, or makes sure that there is none.
    Route,
    /// Makes the main app's sandbox; nothing of the user's runs in it yet.
    Sandbox,
}

impl BringupStep {
    /// Every step, in order.
    pub const ALL: [Self; 7] = [
        Self::Preflight,
        Self::JournalIntent,
        Self::Cgroup,
        Self::Keys,
        Self::Storage,
        Self::Route,
        Self::Sandbox,
    ];

    /// The step after this one; `None` after the last, where verification follows.
    pub const fn next(self) -> Option<Self> {
        match self {
            Self::Preflight => Some(Self::JournalIntent),
            Self::JournalIntent => Some(Self::Cgroup),
            Self::Cgroup => Some(Self::Keys),
            Self::Keys => Some(Self::Storage),
            Self::Storage => Some(Self::Route),
            Self::Route => Some(Self::Sandbox),
            Self::Sandbox => None,
        }
    }

    /// The component that is said to have failed when this step does.
    pub const fn component(self) -> Component {
        match self {
            Self::Preflight => Component::Preflight,
            Self::JournalIntent => Component::Journal,
            Self::Cgroup => Component::Cgroup,
            Self::Keys => Component::Keys,
            Self::Storage => Component::Storage,
            Self::Route => Component::Route,
            Self::Sandbox => Component::Sandbox,
        }
    }

    /// The steps of the wipe that release what this step opened. Preflight opens nothing.
    pub const fn undone_by(self) -> &'static [WipeStep] {
        match self {
            Self::Preflight => &[],
            Self::JournalIntent => &[WipeStep::FinaliseAudit],
            Self::Cgroup => &[WipeStep::RemoveTraces],
            Self::Keys => &[WipeStep::DestroyKeys],
            Self::Storage => &[WipeStep::OverwriteStorage, WipeStep::UnmountStorage],
            Self::Route => &[WipeStep::CutRoute, WipeStep::RetireRoute],
            Self::Sandbox => &[WipeStep::Kill, WipeStep::UnmountApps],
        }
    }
}

impl fmt::Display for BringupStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.component().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_walks_through_all_in_order() {
        let mut walked = vec![BringupStep::Preflight];
        while let Some(step) = walked.last().unwrap().next() {
            walked.push(step);
        }
        assert_eq!(walked, BringupStep::ALL);
    }

    #[test]
    fn every_step_that_opens_something_is_undone_by_the_wipe() {
        for step in BringupStep::ALL {
            assert_eq!(step.undone_by().is_empty(), step == BringupStep::Preflight, "{step}");
        }
    }
}
