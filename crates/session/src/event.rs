//! What can happen to a session.

use sessile_model::receipt::{WipeEvidence, WipeStep};
use sessile_model::state::{Component, EndedBy, Exit};
use sessile_model::{AppName, Millis, Property, PropertyStatus};

use crate::entry::{Note, Violation};
use crate::step::BringupStep;

/// Counts the times apps were asked to freeze or thaw, so that a late answer to an earlier ask
/// is told from the answer to the present one.
pub type Turn = u32;

/// What happened. Outcomes of effects come back as these and in no other way. An event that does
/// not fit the state (late, doubled, or about a step that is not in flight) changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// [`Effect::Do`](crate::Effect::Do) was carried out.
    StepDone {
        /// The step.
        step: BringupStep,
    },
    /// [`Effect::Do`](crate::Effect::Do) could not be carried out.
    StepFailed {
        /// The step.
        step: BringupStep,
        /// Why, in a sentence without secrets or paths.
        cause: String,
    },
    /// [`Effect::Undo`](crate::Effect::Undo) was carried out as far as it could be.
    UndoDone {
        /// The step.
        step: BringupStep,
    },
    /// A probe's finding; also one that could not run, which is reported as not holding.
    Probed {
        /// The property.
        property: Property,
        /// What was found.
        status: PropertyStatus,
    },
    /// An app's command runs. Reported before its exit (the main command's may come after it),
    /// and under a name that no earlier command had.
    AppStarted {
        /// The app, or `APP.N` for a further command in its sandbox.
        app: AppName,
    },
    /// An app's command ended, or could not be started ([`Exit::NotStarted`]).
    AppExited {
        /// The app.
        app: AppName,
        /// How.
        exit: Exit,
    },
    /// A client attached, after its request was admitted.
    ClientAttached,
    /// A client that had attached went away, however.
    ClientDetached,
    /// Input or output was seen. May be reported as rarely as once a second.
    Activity,
    /// Someone or something asks for the end.
    EndRequested {
        /// Who or what.
        by: EndedBy,
        /// Time that apps get to save.
        grace: Millis,
    },
    /// Apps shall be frozen.
    PauseRequested,
    /// Apps shall be thawed.
    ResumeRequested,
    /// [`Effect::Freeze`](crate::Effect::Freeze) was carried out.
    Frozen {
        /// The turn of the effect.
        turn: Turn,
    },
    /// [`Effect::Freeze`](crate::Effect::Freeze) could not be carried out; nothing is frozen.
    FreezeFailed {
        /// The turn of the effect.
        turn: Turn,
    },
    /// [`Effect::Thaw`](crate::Effect::Thaw) was carried out.
    Thawed {
        /// The turn of the effect.
        turn: Turn,
    },
    /// [`Effect::Thaw`](crate::Effect::Thaw) could not be carried out.
    ThawFailed {
        /// The turn of the effect.
        turn: Turn,
        /// Why, in a sentence without secrets or paths.
        cause: String,
    },
    /// The result of a lingering session reached someone.
    Collected,
    /// Something happened that is journaled and changes nothing else.
    Noted(Note),
    /// A role wanted to say or to hear what the session's protocol does not allow.
    Violated {
        /// What is journaled of it.
        violation: Violation,
        /// The session is one that this ends.
        ends: bool,
    },
    /// The anchor died, and the apps with it.
    AnchorDied,
    /// A component failed beyond recovery.
    ComponentFailed {
        /// Which one.
        component: Component,
        /// What happened to it, in a sentence without secrets or paths.
        cause: String,
    },
    /// [`Effect::Wipe`](crate::Effect::Wipe) was carried out, tried, or found impossible.
    WipeStepDone {
        /// The step.
        step: WipeStep,
        /// The attempt of the effect.
        attempt: u8,
        /// What there is to show for it.
        evidence: WipeEvidence,
        /// How long it took, in microseconds.
        took_us: u64,
    },
    /// Time passed: at the latest at [`Session::next_deadline`](crate::Session::next_deadline).
    Tick,
    /// A new keeper has restored this session from its snapshot and adopted what the anchor
    /// holds. Clients are gone; what was in flight is asked for again. After this, the driver
    /// reports every app that runs and every exit it finds, known or not, and the anchor's death
    /// if it is dead.
    KeeperRestarted,
}
