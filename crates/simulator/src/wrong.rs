//! Deliberate mistakes, to show that the simulator sees them.

use sessile_model::receipt::WipeStep;
use sessile_session::{BringupStep, Effect, Event};

/// One mistake of the driver or, by tampering with what it asks, of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Wrong {
    /// No mistake.
    #[default]
    Nothing,
    /// Driver: says that keys were overwritten but leaves them.
    ForgetsKeys,
    /// Driver: answers an undo without stopping the step.
    UndoesWithoutStopping,
    /// Driver: starts the main command once the sandbox stands.
    StartsMainEarly,
    /// Driver: carries out the kill when asked to unmount, and the other way round.
    SwapsWipeSteps,
    /// Driver: restores the machine after a crash without telling it.
    RestoresSilently,
    /// Machine: does not cut the route on failure.
    LeavesRouteOpen,
    /// Machine: cuts the route, but journals first.
    CutsRouteLate,
    /// Machine: asks for the wipe's next step without waiting for the evidence.
    RunsAhead,
    /// Machine: skips the undo of the step in flight.
    SkipsUndo,
    /// Machine: asks for a step of bring-up twice.
    AsksTwice,
    /// Machine: forgets to journal a step of the wipe.
    ForgetsJournal,
    /// Machine: writes the checkpoint after it was overwritten.
    WritesDeadCheckpoint,
    /// Machine: never asks for the last step of the wipe.
    NeverFinishes,
}

impl Wrong {
    /// Every mistake.
    pub const ALL: [Self; 13] = [
        Self::ForgetsKeys,
        Self::UndoesWithoutStopping,
        Self::StartsMainEarly,
        Self::SwapsWipeSteps,
        Self::RestoresSilently,
        Self::LeavesRouteOpen,
        Self::CutsRouteLate,
        Self::RunsAhead,
        Self::SkipsUndo,
        Self::AsksTwice,
        Self::ForgetsJournal,
        Self::WritesDeadCheckpoint,
        Self::NeverFinishes,
    ];

    /// The machine's mistakes: changes what it asks, before anybody looks.
    pub(crate) fn tamper(self, effects: &mut Vec<Effect>) {
        match self {
            Self::Nothing
            | Self::ForgetsKeys
            | Self::UndoesWithoutStopping
            | Self::StartsMainEarly
            | Self::SwapsWipeSteps
            | Self::RestoresSilently => {}
            Self::LeavesRouteOpen => effects.retain(|e| *e != Effect::CutRoute),
            Self::CutsRouteLate => {
                if effects.first() == Some(&Effect::CutRoute) {
                    effects.rotate_left(1);
                }
            }
            Self::RunsAhead => {
                for effect in effects {
                    if let Effect::Wipe { step, .. } = effect
                        && *step == WipeStep::Freeze
                    {
                        *step = WipeStep::ScrubOpenFiles;
                    }
                }
            }
            Self::SkipsUndo => {
                effects.retain(|e| !matches!(e, Effect::Undo(_)));
            }
            Self::AsksTwice => {
                if effects.contains(&Effect::Do(BringupStep::Storage)) {
                    effects.push(Effect::Do(BringupStep::Storage));
                }
            }
            Self::ForgetsJournal => effects.retain(|e| match e {
                Effect::Journal(entry) => !matches!(
                    &entry.fact,
                    sessile_session::Fact::Wiped { line } if line.step == WipeStep::DestroyKeys
                ),
                Effect::CutRoute
                | Effect::Checkpoint
                | Effect::Do(_)
                | Effect::Undo(_)
                | Effect::Probe(_)
                | Effect::StartMain
                | Effect::Freeze { .. }
                | Effect::Thaw { .. }
                | Effect::Wipe { .. }
                | Effect::RecordChanged
                | Effect::Finish => true,
            }),
            Self::WritesDeadCheckpoint => {
                let late =
                    |e: &Effect| matches!(e, Effect::Wipe { step, .. } if *step > WipeStep::OverwriteRings);
                if let Some(index) = effects.iter().position(late) {
                    effects.insert(index, Effect::Checkpoint);
                }
            }
            Self::NeverFinishes => {
                effects.retain(|e| !matches!(e, Effect::Wipe { step: WipeStep::Verify, .. }))
            }
        }
    }

    /// The driver's mistakes: carries out something else than it was asked.
    pub(crate) fn mislead(self, effect: Effect, out: &mut Vec<Effect>) {
        if let Effect::Wipe { step, attempt, grace } = effect
            && self == Self::SwapsWipeSteps
        {
            let step = if step == WipeStep::Kill {
                WipeStep::UnmountApps
            } else if step == WipeStep::UnmountApps {
                WipeStep::Kill
            } else {
                step
            };
            out.push(Effect::Wipe { step, attempt, grace });
            return;
        }
        if self == Self::StartsMainEarly && matches!(effect, Effect::Probe(_)) {
            out.push(Effect::StartMain);
        }
        out.push(effect);
    }

    /// Whether a new keeper tells the machine that it is new.
    pub(crate) fn tells_restart(self, event: &Event) -> bool {
        self != Self::RestoresSilently || *event != Event::KeeperRestarted
    }
}
