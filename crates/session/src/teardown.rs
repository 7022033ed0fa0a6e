//! From the decision to end, or the failure, to the receipt.

use serde::{Deserialize, Serialize};
use sessile_model::receipt::{WipeEvidence, WipeStep};
use sessile_model::{Millis, Timestamp};

use crate::effect::{Effect, Plan};
use crate::entry::{Entry, Fact};
use crate::step::BringupStep;
use crate::wipe::{Progress, Wipe, WipeReceipt};

/// How far a teardown is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Teardown {
    /// A step of bring-up that failed or was called off releases what it left half made, so that
    /// it cannot open anything behind the wipe's back.
    Undoing { step: BringupStep, grace: Millis, since: Timestamp },
    /// What the completed steps opened is released by the wipe.
    Wiping { grace: Millis, wipe: Wipe },
}

/// What an event did to a teardown.
pub(crate) enum Torn {
    /// It goes on.
    Further(Teardown),
    /// It is complete.
    Down(WipeReceipt),
}

impl Teardown {
    /// Begins, with the step of bring-up that is in flight, if one is.
    pub(crate) fn begin(
        in_flight: Option<BringupStep>,
        grace: Millis,
        now: Timestamp,
        plan: &mut Plan,
    ) -> Self {
        let teardown = match in_flight {
            Some(step) => Self::Undoing { step, grace, since: now },
            None => Self::Wiping { grace, wipe: Wipe::begin(now) },
        };
        teardown.ask(plan);
        teardown
    }

    /// Asks for what is awaited: the first time, or again.
    pub(crate) fn ask(&self, plan: &mut Plan) {
        match self {
            Self::Undoing { step, .. } => plan.act(Effect::Undo(*step)),
            Self::Wiping { grace, wipe } => {
                let step = wipe.step();
                let grace = if step == WipeStep::SignalApps { *grace } else { Millis(0) };
                plan.act(Effect::Wipe { step, attempt: wipe.attempt(), grace });
            }
        }
    }

    /// Leaves apps no more time than this; and whether that is less than they had.
    pub(crate) fn shorten(mut self, most: Millis) -> (Self, bool) {
        let (Self::Undoing { grace, .. } | Self::Wiping { grace, .. }) = &mut self;
        let shorter = most < *grace;
        *grace = most.min(*grace);
        (self, shorter)
    }

    /// Asks again if apps are being waited for, for the shorter time.
    pub(crate) fn ask_to_hurry(&self, plan: &mut Plan) {
        match self {
            Self::Wiping { wipe, .. } if wipe.step() == WipeStep::SignalApps => self.ask(plan),
            Self::Wiping { .. } | Self::Undoing { .. } => {}
        }
    }

    /// Whether apps may still run.
    pub(crate) fn apps_may_run(&self) -> bool {
        match self {
            Self::Undoing { .. } => false,
            Self::Wiping { wipe, .. } => wipe.apps_may_run(),
        }
    }

    /// Whether the checkpoint may still be written.
    pub(crate) fn has_checkpoint(&self) -> bool {
        match self {
            Self::Undoing { .. } => true,
            Self::Wiping { wipe, .. } => wipe.has_checkpoint(),
        }
    }

    /// Takes in the two outcomes a teardown waits for; its owner has looked at all others.
    pub(crate) fn advance(self, outcome: Step, now: Timestamp, plan: &mut Plan) -> Torn {
        match (self, outcome) {
            (Self::Undoing { step, grace, since }, Step::Undone(undone)) if undone == step => {
                plan.journal(Entry { at: now, fact: Fact::StepUndone { step } });
                let next = Self::Wiping { grace, wipe: Wipe::begin(since) };
                next.ask(plan);
                Torn::Further(next)
            }
            (Self::Wiping { grace, wipe }, Step::Wiped(event)) => Self::wiped(grace, wipe, event, now, plan),
            (same @ Self::Undoing { .. }, Step::Undone(_) | Step::Wiped(_))
            | (same @ Self::Wiping { .. }, Step::Undone(_)) => Torn::Further(same),
        }
    }

    fn wiped(grace: Millis, wipe: Wipe, done: WipeDone, now: Timestamp, plan: &mut Plan) -> Torn {
        let WipeDone { step, attempt, evidence, took_us } = done;
        match wipe.done(step, attempt, evidence, took_us, now) {
            Progress::Unmoved(wipe) => Torn::Further(Self::Wiping { grace, wipe }),
            Progress::Again(wipe) => {
                plan.remember();
                let again = Self::Wiping { grace, wipe };
                again.ask(plan);
                Torn::Further(again)
            }
            Progress::Next(wipe) => {
                if let Some(line) = wipe.lines().last() {
                    plan.journal(Entry { at: now, fact: Fact::Wiped { line: line.clone() } });
                }
                let next = Self::Wiping { grace, wipe };
                next.ask(plan);
                Torn::Further(next)
            }
            Progress::Complete(receipt) => {
                if let Some(line) = receipt.lines().last() {
                    plan.journal(Entry { at: now, fact: Fact::Wiped { line: line.clone() } });
                }
                Torn::Down(receipt)
            }
        }
    }
}

/// An outcome that a teardown may wait for.
pub(crate) enum Step {
    /// A step of bring-up was undone.
    Undone(BringupStep),
    /// A step of the wipe has its evidence.
    Wiped(WipeDone),
}

/// The body of [`Event::WipeStepDone`](crate::Event::WipeStepDone).
pub(crate) struct WipeDone {
    pub(crate) step: WipeStep,
    pub(crate) attempt: u8,
    pub(crate) evidence: WipeEvidence,
    pub(crate) took_us: u64,
}
