//! What the machine asks of its driver.

use sessile_model::receipt::WipeStep;
use sessile_model::{Millis, Property};

use crate::entry::Entry;
use crate::event::Turn;
use crate::step::BringupStep;

/// Something to carry out. Each may be asked for again after a keeper's death and must then end
/// as if it was asked for once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Cut the route at once, before anything else, and stop a [`BringupStep::Route`] that is under
    /// way from opening one. Has no answer: the wipe's own step confirms.
    CutRoute,
    /// Write and sync one entry to the journal.
    Journal(Entry),
    /// Write the snapshot of the session as it is now. Comes after the entries and before
    /// everything that has an answer; never once the wipe has begun to overwrite the checkpoint.
    Checkpoint,
    /// Carry out a step of bring-up. Answered by `StepDone` or `StepFailed`.
    Do(BringupStep),
    /// Stop a step of bring-up that failed or is called off, and release what it left half made.
    /// Answered by `UndoDone`. The wipe begins after that.
    Undo(BringupStep),
    /// Probe a property from inside. Answered by `Probed`.
    Probe(Property),
    /// Start the main command. Answered by `AppStarted`, or by `AppExited` if it cannot be.
    StartMain,
    /// Freeze the apps. Answered by `Frozen` or `FreezeFailed`. Takes the place of an earlier ask
    /// to freeze or thaw that is not carried out yet.
    Freeze {
        /// To be repeated in the answer.
        turn: Turn,
    },
    /// Thaw the apps. Answered by `Thawed` or `ThawFailed`. Takes the place of an earlier ask to
    /// freeze or thaw that is not carried out yet.
    Thaw {
        /// To be repeated in the answer.
        turn: Turn,
    },
    /// Carry out a step of the wipe. Answered by `WipeStepDone`. Calls off a start, freeze or thaw
    /// that is not carried out yet, and takes the place of an earlier ask for the same step.
    Wipe {
        /// The step.
        step: WipeStep,
        /// 1, or 2 when the first attempt failed. To be repeated in the answer.
        attempt: u8,
        /// For [`WipeStep::SignalApps`]: how long to wait for the apps; apps that are paused are
        /// thawed for it unless this is zero. Asked for again with less when there is less time.
        /// Zero for every other step.
        grace: Millis,
    },
    /// The record that clients follow has changed.
    RecordChanged,
    /// The session is closed: sign the receipt, hand it out, exit.
    Finish,
}

/// Effects in the order in which they are to be carried out. The machine only adds; only the
/// driver drains, after every call.
#[derive(Debug, Default)]
pub struct Effects {
    queue: Vec<Effect>,
}

impl Effects {
    /// None yet.
    pub const fn new() -> Self {
        Self { queue: Vec::new() }
    }

    /// Takes all of them, in order.
    pub fn drain(&mut self) -> impl Iterator<Item = Effect> + '_ {
        self.queue.drain(..)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

/// The effects of one call, sorted into their classes while the transition is worked out.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    cut_route: Option<Effect>,
    entries: Vec<Entry>,
    checkpoint: Option<Effect>,
    record: Option<Effect>,
    acts: Vec<Effect>,
}

impl Plan {
    /// Cuts the route before everything else.
    pub(crate) fn cut_route(&mut self) {
        self.cut_route = Some(Effect::CutRoute);
    }

    /// Journals an entry, which also changes the checkpoint and the record.
    pub(crate) fn journal(&mut self, entry: Entry) {
        self.entries.push(entry);
        self.changed();
    }

    /// The snapshot and the record have changed.
    pub(crate) fn changed(&mut self) {
        self.checkpoint = Some(Effect::Checkpoint);
        self.record = Some(Effect::RecordChanged);
    }

    /// The snapshot, but nothing in the record, has changed.
    pub(crate) fn remember(&mut self) {
        self.checkpoint = Some(Effect::Checkpoint);
    }

    /// The checkpoint is gone: nothing may be written to it any more.
    pub(crate) fn without_checkpoint(&mut self) {
        self.checkpoint = None;
    }

    /// Asks for something that has an answer.
    pub(crate) fn act(&mut self, effect: Effect) {
        self.acts.push(effect);
    }

    /// Appends them in their final order.
    pub(crate) fn emit(self, effects: &mut Effects) {
        effects.queue.extend(self.cut_route);
        effects.queue.extend(self.entries.into_iter().map(Effect::Journal));
        effects.queue.extend(self.checkpoint);
        effects.queue.extend(self.acts);
        effects.queue.extend(self.record);
    }
}
