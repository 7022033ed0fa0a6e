//! The session: its variants, what they show, and what they admit.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sessile_model::property::Properties;
use sessile_model::receipt::WipeLine;
use sessile_model::state::{Component, Exit, Outcome, Phase, State};
use sessile_model::{Millis, Property, Timestamp};

use crate::admission::{Admission, Denied, Request};
use crate::effect::{Effect, Effects, Plan};
use crate::entry::{Entry, Fact};
use crate::event::Turn;
use crate::opening::{MainCommand, Opening};
use crate::running::{Probes, Running};
use crate::step::BringupStep;
use crate::teardown::Teardown;
use crate::wipe::WipeReceipt;

/// Time apps get to save when nobody said how much.
pub const DEFAULT_GRACE: Millis = Millis(10_000);

/// One session's life. Its serialised form is the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    version: SnapshotVersion,
    pub(crate) facts: Facts,
    pub(crate) stage: Stage,
}

/// What is true in every state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) opening: Opening,
    pub(crate) opened_at: Timestamp,
    pub(crate) last_activity: Timestamp,
    pub(crate) properties: Properties,
}

/// Where the session is, with what is only true there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum Stage {
    /// One step is in flight, or the probes are.
    Bringup { bringup: Bringup },
    /// Apps run; `freezing` is the ask to freeze that is in flight.
    Active { run: Running, freezing: Option<Turn> },
    /// Apps are frozen; `thawing` is the ask to thaw that is in flight.
    Paused { run: Running, thawing: Option<Turn> },
    /// Ends as asked.
    Ending { outcome: Outcome, teardown: Teardown },
    /// Ends because a component failed.
    Failed { component: Component, cause: String, teardown: Teardown },
    /// Wiped.
    Closed { outcome: Outcome, receipt: WipeReceipt },
}

/// What a bring-up waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Bringup {
    /// The outcome of a step.
    Step { step: BringupStep },
    /// Findings about these properties, in the order of [`Property::ALL`].
    Verifying { awaiting: Vec<Property>, probes: Probes },
}

impl Session {
    /// A new session: journals that it was opened and asks for the first step of bring-up.
    pub fn open(opening: Opening, now: Timestamp, effects: &mut Effects) -> Self {
        let mut plan = Plan::default();
        let first = BringupStep::ALL[0];
        plan.journal(Entry { at: now, fact: Fact::Opened { opening: opening.clone() } });
        plan.act(Effect::Do(first));
        plan.emit(effects);
        let facts = Facts { opening, opened_at: now, last_activity: now, properties: Properties::default() };
        Self::assemble(facts, Stage::Bringup { bringup: Bringup::Step { step: first } })
    }

    pub(crate) fn assemble(facts: Facts, stage: Stage) -> Self {
        Self { version: SnapshotVersion, facts, stage }
    }

    /// Whether this request may go on. Changes nothing.
    ///
    /// # Errors
    /// [`Denied`], which is safe to show, when the state does not allow it.
    pub fn admit(&self, request: &Request) -> Result<Admission, Denied> {
        match &self.stage {
            Stage::Bringup { .. } => admit_before(request),
            Stage::Active { run, freezing } => admit_active(run, *freezing, request),
            Stage::Paused { run, thawing } => admit_paused(run, *thawing, request),
            Stage::Ending { .. } | Stage::Failed { .. } => admit_after(request, Denied::Ending),
            Stage::Closed { .. } => admit_after(request, Denied::Closed),
        }
    }

    /// The state, as in the record.
    pub fn state(&self) -> State {
        self.stage.state()
    }

    /// The state in the words of chat systems.
    pub fn phase(&self) -> Phase {
        match self.state() {
            State::Bringup => Phase::Creating,
            State::Active => Phase::Active,
            State::Paused => Phase::Paused,
            State::Ending | State::Failed => Phase::Terminating,
            State::Closed => Phase::Terminated,
        }
    }

    /// How it ends or ended; `None` while that is open.
    pub fn outcome(&self) -> Option<Outcome> {
        match &self.stage {
            Stage::Bringup { .. } | Stage::Active { .. } | Stage::Paused { .. } => None,
            Stage::Ending { outcome, .. } | Stage::Closed { outcome, .. } => Some(outcome.clone()),
            Stage::Failed { component, cause, .. } => {
                Some(Outcome::Failed { component: *component, cause: cause.clone() })
            }
        }
    }

    /// The four properties as last probed.
    pub fn properties(&self) -> &Properties {
        &self.facts.properties
    }

    /// Properties that were last found weaker than defined, as accepted at open.
    pub fn weaker(&self) -> Vec<Property> {
        let weaker = |p: &Property| !self.facts.properties.of(*p).weaker_because.is_empty();
        Property::ALL.into_iter().filter(weaker).collect()
    }

    /// The wipe's complete lines, in order; none before it began.
    pub fn wipe_lines(&self) -> &[WipeLine] {
        match &self.stage {
            Stage::Bringup { .. } | Stage::Active { .. } | Stage::Paused { .. } => &[],
            Stage::Ending { teardown, .. } | Stage::Failed { teardown, .. } => match teardown {
                Teardown::Undoing { .. } => &[],
                Teardown::Wiping { wipe, .. } => wipe.lines(),
            },
            Stage::Closed { receipt, .. } => receipt.lines(),
        }
    }

    /// The complete wipe; `None` before the session is closed.
    pub fn wipe_receipt(&self) -> Option<&WipeReceipt> {
        match &self.stage {
            Stage::Closed { receipt, .. } => Some(receipt),
            Stage::Bringup { .. }
            | Stage::Active { .. }
            | Stage::Paused { .. }
            | Stage::Ending { .. }
            | Stage::Failed { .. } => None,
        }
    }

    /// What its life depends on.
    pub fn opening(&self) -> &Opening {
        &self.facts.opening
    }

    /// When it was opened.
    pub fn opened_at(&self) -> Timestamp {
        self.facts.opened_at
    }

    /// When input, output or a client was last seen.
    pub fn last_activity(&self) -> Timestamp {
        self.facts.last_activity
    }

    /// Clients attached now; zero once the session is being torn down.
    pub fn clients(&self) -> u32 {
        self.running().map_or(0, |run| run.clients)
    }

    /// How the main command ended, while apps exist or could.
    pub fn main_exit(&self) -> Option<&Exit> {
        self.running().and_then(Running::exit)
    }

    /// Whether the main command's result waits to be collected.
    pub fn has_result_to_collect(&self) -> bool {
        self.running().is_some_and(|run| result_waits(&self.facts.opening, run))
    }

    /// When to hand in a [`Event::Tick`](crate::Event::Tick) at the latest; `None`: never.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let ttl = self.facts.ttl_deadline();
        match &self.stage {
            Stage::Bringup { bringup: Bringup::Step { .. } } => ttl,
            Stage::Bringup { bringup: Bringup::Verifying { probes, .. } } => {
                Some(ttl.map_or(probes.due, |ttl| ttl.min(probes.due)))
            }
            Stage::Active { run, freezing } => {
                let probe = freezing.is_none().then_some(run.probes.due);
                let idle = self.facts.idle_deadline(run);
                [ttl, idle, self.facts.linger_deadline(run), probe].into_iter().flatten().min()
            }
            Stage::Paused { run, .. } => [ttl, self.facts.linger_deadline(run)].into_iter().flatten().min(),
            Stage::Ending { .. } | Stage::Failed { .. } | Stage::Closed { .. } => None,
        }
    }

    fn running(&self) -> Option<&Running> {
        match &self.stage {
            Stage::Active { run, .. } | Stage::Paused { run, .. } => Some(run),
            Stage::Bringup { .. } | Stage::Ending { .. } | Stage::Failed { .. } | Stage::Closed { .. } => {
                None
            }
        }
    }
}

impl Stage {
    pub(crate) fn state(&self) -> State {
        match self {
            Self::Bringup { .. } => State::Bringup,
            Self::Active { .. } => State::Active,
            Self::Paused { .. } => State::Paused,
            Self::Ending { .. } => State::Ending,
            Self::Failed { .. } => State::Failed,
            Self::Closed { .. } => State::Closed,
        }
    }

    /// Whether the checkpoint may still be written.
    pub(crate) fn has_checkpoint(&self) -> bool {
        match self {
            Self::Bringup { .. } | Self::Active { .. } | Self::Paused { .. } => true,
            Self::Ending { teardown, .. } | Self::Failed { teardown, .. } => teardown.has_checkpoint(),
            Self::Closed { .. } => false,
        }
    }
}

impl Facts {
    pub(crate) fn ttl_deadline(&self) -> Option<Timestamp> {
        self.opening.ttl.map(|ttl| self.opened_at.plus(ttl))
    }

    /// An attached client keeps a session from being idle.
    pub(crate) fn idle_deadline(&self, run: &Running) -> Option<Timestamp> {
        let timeout = self.opening.idle_timeout.filter(|_| run.clients == 0)?;
        Some(self.last_activity.plus(timeout))
    }

    pub(crate) fn linger_deadline(&self, run: &Running) -> Option<Timestamp> {
        match self.opening.command {
            MainCommand::Ends { linger } => run.result_since.map(|since| since.plus(linger)),
            MainCommand::None | MainCommand::Kept => None,
        }
    }
}

pub(crate) fn result_waits(opening: &Opening, run: &Running) -> bool {
    match opening.command {
        MainCommand::Ends { .. } => run.has_result(),
        MainCommand::None | MainCommand::Kept => false,
    }
}

fn admit_before(request: &Request) -> Result<Admission, Denied> {
    match request {
        Request::Show | Request::End => Ok(Admission::Granted),
        Request::Attach
        | Request::Input { .. }
        | Request::Exec
        | Request::Pause
        | Request::Resume
        | Request::Export
        | Request::Diff
        | Request::Apply
        | Request::Collect => Err(Denied::NotYetActive),
    }
}

fn admit_active(run: &Running, freezing: Option<Turn>, request: &Request) -> Result<Admission, Denied> {
    match request {
        Request::Show | Request::Attach | Request::Export | Request::Diff | Request::Apply | Request::End => {
            Ok(Admission::Granted)
        }
        Request::Exec if freezing.is_some() => Err(Denied::Paused),
        Request::Exec => Ok(Admission::Granted),
        Request::Input { app } => admit_input(run, app),
        Request::Pause if freezing.is_some() => Ok(Admission::Already),
        Request::Pause => Ok(Admission::Granted),
        Request::Resume if freezing.is_some() => Ok(Admission::Granted),
        Request::Resume => Ok(Admission::Already),
        Request::Collect => admit_collect(run),
    }
}

fn admit_paused(run: &Running, thawing: Option<Turn>, request: &Request) -> Result<Admission, Denied> {
    match request {
        Request::Show | Request::Attach | Request::Export | Request::Diff | Request::Apply | Request::End => {
            Ok(Admission::Granted)
        }
        Request::Exec | Request::Input { .. } => Err(Denied::Paused),
        Request::Pause if thawing.is_some() => Ok(Admission::Granted),
        Request::Pause => Ok(Admission::Already),
        Request::Resume if thawing.is_some() => Ok(Admission::Already),
        Request::Resume => Ok(Admission::Granted),
        Request::Collect => admit_collect(run),
    }
}

fn admit_after(request: &Request, denied: Denied) -> Result<Admission, Denied> {
    match request {
        Request::Show => Ok(Admission::Granted),
        // Granted while it ends, so that a second `end` can leave apps less time.
        Request::End if denied == Denied::Ending => Ok(Admission::Granted),
        Request::End => Ok(Admission::Already),
        Request::Attach
        | Request::Input { .. }
        | Request::Exec
        | Request::Pause
        | Request::Resume
        | Request::Export
        | Request::Diff
        | Request::Apply
        | Request::Collect => Err(denied),
    }
}

fn admit_input(run: &Running, app: &sessile_model::AppName) -> Result<Admission, Denied> {
    if run.apps.contains(app) { Ok(Admission::Granted) } else { Err(Denied::NotRunning { app: app.clone() }) }
}

/// Also where the session is kept: collecting is then done without ending anything.
fn admit_collect(run: &Running) -> Result<Admission, Denied> {
    if run.has_result() { Ok(Admission::Granted) } else { Err(Denied::NothingToCollect) }
}

/// The version of the snapshot's form; another one is refused when it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SnapshotVersion;

impl SnapshotVersion {
    const NUMBER: u32 = 1;
}

impl Serialize for SnapshotVersion {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u32(Self::NUMBER)
    }
}

impl<'de> Deserialize<'de> for SnapshotVersion {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match u32::deserialize(d)? {
            Self::NUMBER => Ok(Self),
            other => Err(serde::de::Error::custom(format_args!("snapshot version {other} is not known"))),
        }
    }
}
