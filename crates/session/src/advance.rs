//! What each event does in each state.

use sessile_model::property::PropertyStatus;
use sessile_model::state::{Component, EndedBy, Exit, Outcome, State};
use sessile_model::{AppName, Millis, Property, Timestamp};

use crate::effect::{Effect, Effects, Plan};
use crate::entry::{Entry, Fact};
use crate::event::Event;
use crate::running::{Main, Running};
use crate::session::{Bringup, DEFAULT_GRACE, Facts, Session, Stage, result_waits};
use crate::step::BringupStep;
use crate::teardown::{Step, Teardown, Torn, WipeDone};

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
struct Call<'a> {
    facts: &'a mut Facts,
    now: Timestamp,
    plan: Plan,
}

impl Call<'_> {
    fn journal(&mut self, fact: Fact) {
        self.plan.journal(Entry { at: self.now, fact });
    }

    fn became(&mut self, state: State) {
        self.journal(Fact::Became { state });
    }

    // Bring-up.

    fn bringup(&mut self, bringup: Bringup, event: Event) -> Stage {
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
                Some(_) | None => Stage::Bringup { bringup },
            },
            Event::AnchorDied => {
                let in_flight = in_flight(&bringup);
                self.fail(Component::Anchor, ANCHOR_DIED.to_owned(), in_flight)
            }
            Event::ComponentFailed { component, cause } => {
                let in_flight = in_flight(&bringup);
                self.fail(component, cause, in_flight)
            }
            Event::Granted { grant } => {
                self.journal(Fact::Granted { grant: grant.without_paths() });
                Stage::Bringup { bringup }
            }
            Event::KeeperRestarted => {
                self.journal(Fact::KeeperRestarted);
                match &bringup {
                    Bringup::Step { step } => self.plan.act(Effect::Do(*step)),
                    Bringup::Verifying { awaiting } => {
                        for &property in awaiting {
                            self.plan.act(Effect::Probe(property));
                        }
                    }
                }
                Stage::Bringup { bringup }
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
        let bringup = match done.next() {
            Some(step) => {
                self.plan.act(Effect::Do(step));
                Bringup::Step { step }
            }
            None => {
                for property in Property::ALL {
                    self.plan.act(Effect::Probe(property));
                }
                Bringup::Verifying { awaiting: Property::ALL.to_vec() }
            }
        };
        Stage::Bringup { bringup }
    }

    /// Takes in a finding; the last good one makes the session active.
    fn verified(&mut self, bringup: Bringup, property: Property, status: PropertyStatus) -> Stage {
        let mut awaiting = match bringup {
            Bringup::Verifying { awaiting } if awaiting.contains(&property) => awaiting,
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
            return Stage::Bringup { bringup: Bringup::Verifying { awaiting } };
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

    fn cancel(&mut self, bringup: Bringup, by: EndedBy) -> Stage {
        let by = if by == EndedBy::Operator { EndedBy::Cancelled } else { by };
        // Nothing of the user's runs yet: there is nobody to give time to.
        self.end(Outcome::Cancelled { by }, Millis(0), in_flight(&bringup))
    }

    // Active and paused.

    fn active(&mut self, mut run: Running, freezing: Option<u32>, event: Event) -> Stage {
        match event {
            Event::PauseRequested if freezing.is_none() => {
                let turn = run.next_turn();
                self.plan.remember();
                self.plan.act(Effect::Freeze { turn });
                Stage::Active { run, freezing: Some(turn) }
            }
            // The freeze may be half done: only a thaw tells where it stands.
            Event::ResumeRequested if freezing.is_some() => self.thaw(run),
            Event::Frozen { turn } if freezing == Some(turn) => {
                self.became(State::Paused);
                run.probes.forget();
                Stage::Paused { run, thawing: None }
            }
            Event::FreezeFailed { turn } if freezing == Some(turn) => {
                self.plan.remember();
                self.probe(run)
            }
            Event::Tick => self.tick(run, freezing),
            Event::KeeperRestarted => {
                self.adopt(&mut run);
                match freezing {
                    Some(turn) => {
                        self.plan.act(Effect::Freeze { turn });
                        Stage::Active { run, freezing }
                    }
                    None => self.probe(run),
                }
            }
            Event::PauseRequested
            | Event::ResumeRequested
            | Event::Frozen { .. }
            | Event::FreezeFailed { .. }
            | Event::Thawed { .. }
            | Event::ThawFailed { .. } => Stage::Active { run, freezing },
            either => match self.either(run, either) {
                Either::Stays(run) => Stage::Active { run, freezing },
                Either::Leaves(stage) => stage,
            },
        }
    }

    fn paused(&mut self, mut run: Running, thawing: Option<u32>, event: Event) -> Stage {
        match event {
            Event::ResumeRequested if thawing.is_none() => self.thaw(run),
            // The thaw may be half done: only a freeze tells where it stands.
            Event::PauseRequested if thawing.is_some() => {
                let turn = run.next_turn();
                self.became(State::Active);
                self.plan.act(Effect::Freeze { turn });
                Stage::Active { run, freezing: Some(turn) }
            }
            Event::Thawed { turn } if thawing == Some(turn) => {
                self.facts.last_activity = self.now;
                self.became(State::Active);
                self.probe(run)
            }
            Event::ThawFailed { turn, cause } if thawing == Some(turn) => {
                self.fail(Component::Cgroup, cause, None)
            }
            Event::Tick => match self.deadline(&run, false) {
                Some(by) => self.end(Outcome::Ended { by }, DEFAULT_GRACE, None),
                None => Stage::Paused { run, thawing },
            },
            Event::KeeperRestarted => {
                self.adopt(&mut run);
                match thawing {
                    Some(turn) => {
                        self.plan.act(Effect::Thaw { turn });
                        Stage::Paused { run, thawing }
                    }
                    // A freeze that a process had to keep up stopped with the old keeper.
                    None => {
                        let turn = run.next_turn();
                        self.plan.act(Effect::Freeze { turn });
                        Stage::Paused { run, thawing: None }
                    }
                }
            }
            Event::PauseRequested
            | Event::ResumeRequested
            | Event::Frozen { .. }
            | Event::FreezeFailed { .. }
            | Event::Thawed { .. }
            | Event::ThawFailed { .. } => Stage::Paused { run, thawing },
            either => match self.either(run, either) {
                Either::Stays(run) => Stage::Paused { run, thawing },
                Either::Leaves(stage) => stage,
            },
        }
    }

    /// What is the same whether apps are frozen or not.
    fn either(&mut self, mut run: Running, event: Event) -> Either {
        match event {
            Event::Probed { property, status } => {
                run.probes.answered(property);
                let good = self.facts.opening.accepts(property, &status);
                self.stand(property, status);
                if !good {
                    return Either::Leaves(self.fail(Component::Verification, broken(property), None));
                }
                Either::Stays(run)
            }
            Event::AppStarted { app } => {
                if run.started(&app) {
                    self.facts.last_activity = self.now;
                    self.journal(Fact::AppStarted { app });
                }
                Either::Stays(run)
            }
            Event::AppExited { app, exit } => self.exited(run, app, exit),
            Event::ClientAttached => {
                run.clients = run.clients.saturating_add(1);
                self.facts.last_activity = self.now;
                self.journal(Fact::Attached { clients: run.clients });
                Either::Stays(run)
            }
            Event::ClientDetached => {
                if let Some(clients) = run.clients.checked_sub(1) {
                    run.clients = clients;
                    self.facts.last_activity = self.now;
                    self.journal(Fact::Detached { clients });
                }
                Either::Stays(run)
            }
            Event::Activity => {
                self.facts.last_activity = self.now;
                Either::Stays(run)
            }
            Event::EndRequested { by, grace } => Either::Leaves(self.end(Outcome::Ended { by }, grace, None)),
            Event::Collected if result_waits(&self.facts.opening, &run) => {
                let outcome = Outcome::Ended { by: EndedBy::MainExited };
                Either::Leaves(self.end(outcome, DEFAULT_GRACE, None))
            }
            Event::Granted { grant } => {
                self.journal(Fact::Granted { grant: grant.without_paths() });
                Either::Stays(run)
            }
            Event::AnchorDied => Either::Leaves(self.fail(Component::Anchor, ANCHOR_DIED.to_owned(), None)),
            Event::ComponentFailed { component, cause } => Either::Leaves(self.fail(component, cause, None)),
            // Late or doubled, about another state, or looked at by the caller.
            Event::StepDone { .. }
            | Event::StepFailed { .. }
            | Event::UndoDone { .. }
            | Event::Collected
            | Event::PauseRequested
            | Event::ResumeRequested
            | Event::Frozen { .. }
            | Event::FreezeFailed { .. }
            | Event::Thawed { .. }
            | Event::ThawFailed { .. }
            | Event::WipeStepDone { .. }
            | Event::Tick
            | Event::KeeperRestarted => Either::Stays(run),
        }
    }

    /// An app's exit: the main command's ends a session that someone watches.
    fn exited(&mut self, mut run: Running, app: AppName, exit: Exit) -> Either {
        let was_waiting = run.has_result();
        if !run.exited(&app, &exit, self.now) {
            return Either::Stays(run);
        }
        self.facts.last_activity = self.now;
        self.journal(Fact::AppExited { app, exit });
        if !was_waiting && run.clients > 0 && result_waits(&self.facts.opening, &run) {
            let outcome = Outcome::Ended { by: EndedBy::MainExited };
            return Either::Leaves(self.end(outcome, DEFAULT_GRACE, None));
        }
        Either::Stays(run)
    }

    fn thaw(&mut self, mut run: Running) -> Stage {
        let turn = run.next_turn();
        self.plan.remember();
        self.plan.act(Effect::Thaw { turn });
        Stage::Paused { run, thawing: Some(turn) }
    }

    fn tick(&mut self, run: Running, freezing: Option<u32>) -> Stage {
        if let Some(by) = self.deadline(&run, true) {
            return self.end(Outcome::Ended { by }, DEFAULT_GRACE, None);
        }
        if freezing.is_none() && run.probes.are_due(self.now) {
            return self.probe(run);
        }
        Stage::Active { run, freezing }
    }

    /// The deadline that has passed, if one has. Apps that are paused are not idle.
    fn deadline(&self, run: &Running, idle_counts: bool) -> Option<EndedBy> {
        let idle = self.facts.idle_deadline(run).filter(|_| idle_counts);
        [
            (self.facts.ttl_deadline(), EndedBy::TimeToLive),
            (self.facts.linger_deadline(run), EndedBy::Linger),
            (idle, EndedBy::IdleTimeout),
        ]
        .into_iter()
        .find_map(|(deadline, by)| deadline.filter(|&d| self.now >= d).map(|_| by))
    }

    /// Asks for all four probes; a property that has been silent too long is broken.
    fn probe(&mut self, mut run: Running) -> Stage {
        if let Some(property) = run.probes.ask(self.now) {
            return self.fail(
                Component::Verification,
                format!("the probe of {property} gives no answer"),
                None,
            );
        }
        for property in Property::ALL {
            self.plan.act(Effect::Probe(property));
        }
        Stage::Active { run, freezing: None }
    }

    /// What a new keeper finds different: its clients are gone, the main command may not have
    /// been started.
    fn adopt(&mut self, run: &mut Running) {
        self.journal(Fact::KeeperRestarted);
        run.clients = 0;
        run.probes.forget();
        self.facts.last_activity = self.now;
        if run.main == Main::Starting {
            self.plan.act(Effect::StartMain);
        }
    }

    /// Remembers a finding; journals it when the property's standing has changed.
    fn stand(&mut self, property: Property, status: PropertyStatus) {
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

    // Teardown.

    fn end(&mut self, outcome: Outcome, grace: Millis, in_flight: Option<BringupStep>) -> Stage {
        self.journal(Fact::TearingDown { outcome: outcome.clone() });
        self.became(State::Ending);
        let teardown = Teardown::begin(in_flight, grace, self.now, &mut self.plan);
        Stage::Ending { outcome, teardown }
    }

    /// Cuts the route, then tears down without leaving apps any time.
    fn fail(&mut self, component: Component, cause: String, in_flight: Option<BringupStep>) -> Stage {
        self.failing(component, &cause);
        let teardown = Teardown::begin(in_flight, Millis(0), self.now, &mut self.plan);
        Stage::Failed { component, cause, teardown }
    }

    fn failing(&mut self, component: Component, cause: &str) {
        self.plan.cut_route();
        let outcome = Outcome::Failed { component, cause: cause.to_owned() };
        self.journal(Fact::TearingDown { outcome });
        self.became(State::Failed);
    }

    fn ending(&mut self, outcome: Outcome, teardown: Teardown, event: Event) -> Stage {
        match event {
            Event::UndoDone { step } => self.torn(outcome, teardown, Step::Undone(step)),
            Event::WipeStepDone { step, attempt, evidence, took_us } => {
                let done = WipeDone { step, attempt, evidence, took_us };
                self.torn(outcome, teardown, Step::Wiped(done))
            }
            Event::EndRequested { grace, .. } => {
                let teardown = teardown.hurry(grace, &mut self.plan);
                Stage::Ending { outcome, teardown }
            }
            Event::Probed { property, status } if teardown.apps_may_run() => {
                let good = self.facts.opening.accepts(property, &status);
                self.stand(property, status);
                if good {
                    return Stage::Ending { outcome, teardown };
                }
                self.fail_midway(Component::Verification, broken(property), teardown)
            }
            Event::ComponentFailed { component, cause } if teardown.apps_may_run() => {
                self.fail_midway(component, cause, teardown)
            }
            Event::AnchorDied => self.fail_midway(Component::Anchor, ANCHOR_DIED.to_owned(), teardown),
            Event::Granted { grant } => {
                self.journal(Fact::Granted { grant: grant.without_paths() });
                Stage::Ending { outcome, teardown }
            }
            Event::KeeperRestarted => {
                self.journal(Fact::KeeperRestarted);
                teardown.ask(&mut self.plan);
                Stage::Ending { outcome, teardown }
            }
            // Work that was refused, or outcomes that no longer matter: the wipe's own steps
            // report what they find.
            Event::StepDone { .. }
            | Event::StepFailed { .. }
            | Event::Probed { .. }
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
            | Event::ComponentFailed { .. }
            | Event::Tick => Stage::Ending { outcome, teardown },
        }
    }

    /// An end as asked becomes a failure: the wipe goes on where it is, without more time for
    /// apps, and what is in flight is asked for again because its carrier may be gone.
    fn fail_midway(&mut self, component: Component, cause: String, teardown: Teardown) -> Stage {
        self.failing(component, &cause);
        let mut quiet = Plan::default();
        let teardown = teardown.hurry(Millis(0), &mut quiet);
        teardown.ask(&mut self.plan);
        Stage::Failed { component, cause, teardown }
    }

    fn failed(&mut self, component: Component, cause: String, teardown: Teardown, event: Event) -> Stage {
        match event {
            Event::UndoDone { step } => self.torn_failed(component, cause, teardown, Step::Undone(step)),
            Event::WipeStepDone { step, attempt, evidence, took_us } => {
                let done = WipeDone { step, attempt, evidence, took_us };
                self.torn_failed(component, cause, teardown, Step::Wiped(done))
            }
            // The first failure stays the cause; what is in flight may have lost its carrier.
            Event::AnchorDied => {
                teardown.ask(&mut self.plan);
                Stage::Failed { component, cause, teardown }
            }
            Event::Granted { grant } => {
                self.journal(Fact::Granted { grant: grant.without_paths() });
                Stage::Failed { component, cause, teardown }
            }
            Event::KeeperRestarted => {
                self.plan.cut_route();
                self.journal(Fact::KeeperRestarted);
                teardown.ask(&mut self.plan);
                Stage::Failed { component, cause, teardown }
            }
            // A failure stays one, whoever asks for the end or whatever else breaks.
            Event::StepDone { .. }
            | Event::StepFailed { .. }
            | Event::Probed { .. }
            | Event::AppStarted { .. }
            | Event::AppExited { .. }
            | Event::ClientAttached
            | Event::ClientDetached
            | Event::Activity
            | Event::EndRequested { .. }
            | Event::PauseRequested
            | Event::ResumeRequested
            | Event::Frozen { .. }
            | Event::FreezeFailed { .. }
            | Event::Thawed { .. }
            | Event::ThawFailed { .. }
            | Event::Collected
            | Event::ComponentFailed { .. }
            | Event::Tick => Stage::Failed { component, cause, teardown },
        }
    }

    fn torn(&mut self, outcome: Outcome, teardown: Teardown, step: Step) -> Stage {
        match teardown.advance(step, self.now, &mut self.plan) {
            Torn::Further(teardown) => Stage::Ending { outcome, teardown },
            Torn::Down(receipt) => self.close(outcome, receipt),
        }
    }

    fn torn_failed(&mut self, component: Component, cause: String, teardown: Teardown, step: Step) -> Stage {
        match teardown.advance(step, self.now, &mut self.plan) {
            Torn::Further(teardown) => Stage::Failed { component, cause, teardown },
            Torn::Down(receipt) => self.close(Outcome::Failed { component, cause }, receipt),
        }
    }

    fn close(&mut self, outcome: Outcome, receipt: crate::wipe::WipeReceipt) -> Stage {
        self.became(State::Closed);
        self.journal(Fact::Closed { outcome: outcome.clone() });
        self.plan.act(Effect::Finish);
        Stage::Closed { outcome, receipt }
    }
}

/// What an event did to a session whose apps exist.
enum Either {
    /// It stays active, or paused.
    Stays(Running),
    /// It is torn down.
    Leaves(Stage),
}

const ANCHOR_DIED: &str = "the process that holds the session died";

fn broken(property: Property) -> String {
    format!("{property} does not hold")
}

/// The step that may open something while it is not undone. Probes open nothing.
fn in_flight(bringup: &Bringup) -> Option<BringupStep> {
    match bringup {
        Bringup::Step { step } => Some(*step),
        Bringup::Verifying { .. } => None,
    }
}
