//! The step from one state to the next: bring-up, and the ways out of every state.

use sessile_model::property::PropertyStatus;
use sessile_model::state::{Component, EndedBy, Outcome, State};
use sessile_model::{Millis, Property, Timestamp};

use crate::effect::{Effect, Effects, Plan};
use crate::entry::{Entry, Fact};
use crate::event::Event;
use crate::running::{Main, Probes, Running};
use crate::session::{Bringup, Facts, Session, Stage};
use crate::step::BringupStep;
use crate::teardown::Teardown;

impl Session {
    /// Takes in one event at this time and queues what is to be done about it. An event that does
    /// not fit the state changes nothing.
    #[must_use = "the session goes on as the returned value"]
    pub fn advance(self, event: Event, now: Timestamp, effects: &mut Effects) -> Self {
        let Self { mut facts, stage, .. } = self;
        let mut call = Call { facts: &mut facts, now, plan: Plan::default() };
        let stage = match stage {
            Stage::Bringup { bringup } => call.bringup(bringup, event),
            Stage::Active { run, freezing } => call.active(run, freezing, event),
            Stage::Paused { run, thawing } => call.paused(run, thawing, event),
            Stage::Ending { outcome, teardown } => call.ending(outcome, teardown, event),
            Stage::Failed { component, cause, teardown } => call.failed(component, cause, teardown, event),
            Stage::Closed { outcome, receipt } => {
                if event == Event::KeeperRestarted {
                    call.plan.act(Effect::Finish);
                }
                Stage::Closed { outcome, receipt }
            }
        };
        let Call { mut plan, .. } = call;
        if !stage.has_checkpoint() {
            plan.without_checkpoint();
        }
        plan.emit(effects);
        Self::assemble(facts, stage)
    }
}

/// One call of [`Session::advance`] while it is worked out.
pub(crate) struct Call<'a> {
    pub(crate) facts: &'a mut Facts,
    pub(crate) now: Timestamp,
    pub(crate) plan: Plan,
}

impl Call<'_> {
    pub(crate) fn journal(&mut self, fact: Fact) {
        self.plan.journal(Entry { at: self.now, fact });
    }

    pub(crate) fn became(&mut self, state: State) {
        self.journal(Fact::Became { state });
    }

    // Bring-up.

    pub(crate) fn bringup(&mut self, bringup: Bringup, event: Event) -> Stage {
        match event {
            Event::StepDone { step } if bringup == (Bringup::Step { step }) => {
                self.journal(Fact::StepDone { step });
                self.next_step(step)
            }
            Event::StepFailed { step, cause } if bringup == (Bringup::Step { step }) => {
                self.journal(Fact::StepFailed { step });
                self.fail(step.component(), cause, Some(step))
            }
            Event::Probed { property, status } => self.verified(bringup, property, status),
            Event::EndRequested { by, .. } => self.cancel(bringup, by),
            Event::Tick => match self.facts.ttl_deadline() {
                Some(deadline) if self.now >= deadline => self.cancel(bringup, EndedBy::TimeToLive),
                Some(_) | None => self.verify_again(bringup),
            },
            Event::AnchorDied => {
                let in_flight = in_flight(&bringup);
                self.fail(Component::Anchor, ANCHOR_DIED.to_owned(), in_flight)
            }
            Event::ComponentFailed { component, cause } => {
                let in_flight = in_flight(&bringup);
                self.fail(component, cause, in_flight)
            }
            Event::Noted(note) => {
                self.journal(Fact::Noted(note.without_paths()));
                Stage::Bringup { bringup }
            }
            Event::Violated { violation, .. } => {
                self.journal(Fact::Violated { violation });
                Stage::Bringup { bringup }
            }
            Event::KeeperRestarted => {
                self.journal(Fact::KeeperRestarted);
                match bringup {
                    Bringup::Step { step } => {
                        self.plan.act(Effect::Do(step));
                        Stage::Bringup { bringup }
                    }
                    Bringup::Verifying { awaiting, mut probes } => {
                        probes.forget();
                        self.verify(awaiting, probes)
                    }
                }
            }
            // Late or doubled, or about what a session has only once it is active.
            Event::StepDone { .. }
            | Event::StepFailed { .. }
            | Event::UndoDone { .. }
            | Event::AppStarted { .. }
            | Event::AppExited { .. }
            | Event::ClientAttached
            | Event::ClientDetached
            | Event::Activity
            | Event::PauseRequested
            | Event::ResumeRequested
            | Event::Frozen { .. }
            | Event::FreezeFailed { .. }
            | Event::Thawed { .. }
            | Event::ThawFailed { .. }
            | Event::Collected
            | Event::WipeStepDone { .. } => Stage::Bringup { bringup },
        }
    }

    fn next_step(&mut self, done: BringupStep) -> Stage {
        match done.next() {
            Some(step) => {
                self.plan.act(Effect::Do(step));
                Stage::Bringup { bringup: Bringup::Step { step } }
            }
            None => self.verify(Property::ALL.to_vec(), Probes::begin(self.now)),
        }
    }

    /// Asks about the properties that are not verified yet.
    fn verify(&mut self, awaiting: Vec<Property>, mut probes: Probes) -> Stage {
        match probes.ask(&awaiting, self.now) {
            Some(property) => self.fail(Component::Verification, silent(property), None),
            None => {
                self.ask_about(&awaiting);
                Stage::Bringup { bringup: Bringup::Verifying { awaiting, probes } }
            }
        }
    }

    /// Asks again about what was not answered in time.
    fn verify_again(&mut self, bringup: Bringup) -> Stage {
        match bringup {
            Bringup::Verifying { awaiting, probes } if probes.are_due(self.now) => {
                self.verify(awaiting, probes)
            }
            other @ (Bringup::Verifying { .. } | Bringup::Step { .. }) => Stage::Bringup { bringup: other },
        }
    }

    pub(crate) fn ask_about(&mut self, properties: &[Property]) {
        for &property in properties {
            self.plan.act(Effect::Probe(property));
        }
    }

    /// Takes in a finding; the last good one makes the session active.
    fn verified(&mut self, bringup: Bringup, property: Property, status: PropertyStatus) -> Stage {
        let (mut awaiting, probes) = match bringup {
            Bringup::Verifying { awaiting, probes } if awaiting.contains(&property) => (awaiting, probes),
            other @ (Bringup::Verifying { .. } | Bringup::Step { .. }) => {
                return Stage::Bringup { bringup: other };
            }
        };
        let good = self.facts.opening.accepts(property, &status);
        self.stand(property, status);
        if !good {
            return self.fail(Component::Verification, broken(property), None);
        }
        awaiting.retain(|&p| p != property);
        if !awaiting.is_empty() {
            return Stage::Bringup { bringup: Bringup::Verifying { awaiting, probes } };
        }
        self.facts.last_activity = self.now;
        self.became(State::Active);
        let main = if self.facts.opening.has_command() {
            self.plan.act(Effect::StartMain);
            Main::Starting
        } else {
            Main::None
        };
        Stage::Active { run: Running::begin(main, self.now), freezing: None }
    }

    /// Remembers a finding; journals it when the property's standing has changed.
    pub(crate) fn stand(&mut self, property: Property, status: PropertyStatus) {
        let before = self.facts.properties.of(property);
        let weaker = !status.weaker_because.is_empty();
        let changed = before.holds != status.holds
            || before.weaker_because != status.weaker_because
            || *before == PropertyStatus::default();
        if changed {
            self.journal(Fact::Verified { property, holds: status.holds, weaker });
        }
        self.facts.properties.replace(property, status);
    }

    fn cancel(&mut self, bringup: Bringup, by: EndedBy) -> Stage {
        let by = if by == EndedBy::Operator { EndedBy::Cancelled } else { by };
        // Nothing of the user's runs yet: there is nobody to give time to.
        self.end(Outcome::Cancelled { by }, Millis(0), in_flight(&bringup))
    }

    // The ways out, shared by every state.

    pub(crate) fn end(&mut self, outcome: Outcome, grace: Millis, in_flight: Option<BringupStep>) -> Stage {
        self.journal(Fact::TearingDown { outcome: outcome.clone() });
        self.became(State::Ending);
        let teardown = Teardown::begin(in_flight, grace, self.now, &mut self.plan);
        Stage::Ending { outcome, teardown }
    }

    /// Cuts the route, then tears down without leaving apps any time.
    pub(crate) fn fail(
        &mut self,
        component: Component,
        cause: String,
        in_flight: Option<BringupStep>,
    ) -> Stage {
        self.failing(component, &cause);
        let teardown = Teardown::begin(in_flight, Millis(0), self.now, &mut self.plan);
        Stage::Failed { component, cause, teardown }
    }

    pub(crate) fn failing(&mut self, component: Component, cause: &str) {
        self.plan.cut_route();
        let outcome = Outcome::Failed { component, cause: cause.to_owned() };
        self.journal(Fact::TearingDown { outcome });
        self.became(State::Failed);
    }
}

pub(crate) const ANCHOR_DIED: &str = "the process that holds the session died";

pub(crate) fn broken(property: Property) -> String {
    format!("{property} does not hold")
}

pub(crate) fn silent(property: Property) -> String {
    format!("the probe of {property} gives no answer")
}

/// The step that may open something while it is not undone. Probes open nothing.
fn in_flight(bringup: &Bringup) -> Option<BringupStep> {
    match bringup {
        Bringup::Step { step } => Some(*step),
        Bringup::Verifying { .. } => None,
    }
}
