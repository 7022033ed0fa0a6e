//! What each event does to a session whose apps exist: active or paused.

use sessile_model::state::{Component, EndedBy, Exit, Outcome, State};
use sessile_model::{AppName, Millis, Property};

use crate::advance::{ANCHOR_DIED, Call, broken, silent};
use crate::effect::Effect;
use crate::entry::Fact;
use crate::event::Event;
use crate::running::{Main, Running};
use crate::session::{DEFAULT_GRACE, Stage, result_waits};

/// What an event did to a session whose apps exist.
enum Either {
    /// It stays active, or paused.
    Stays(Running),
    /// It is torn down.
    Leaves(Stage),
}

impl Call<'_> {
    pub(crate) fn active(&mut self, mut run: Running, freezing: Option<u32>, event: Event) -> Stage {
        match event {
            Event::PauseRequested if freezing.is_none() => {
                let turn = run.next_turn();
                self.plan.remember();
                self.plan.act(Effect::Freeze { turn });
                Stage::Active { run, freezing: Some(turn) }
            }
            // The freeze may be half done: only a thaw tells where it stands.
            Event::ResumeRequested if freezing.is_some() => {
                self.became(State::Paused);
                self.thaw(run)
            }
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
            either @ (Event::Probed { .. }
            | Event::AppStarted { .. }
            | Event::AppExited { .. }
            | Event::ClientAttached
            | Event::ClientDetached
            | Event::Activity
            | Event::EndRequested { .. }
            | Event::Collected
            | Event::Noted(_)
            | Event::Violated { .. }
            | Event::AnchorDied
            | Event::ComponentFailed { .. }
            | Event::StepDone { .. }
            | Event::StepFailed { .. }
            | Event::UndoDone { .. }
            | Event::WipeStepDone { .. }) => match self.either(run, either) {
                Either::Stays(run) => Stage::Active { run, freezing },
                Either::Leaves(stage) => stage,
            },
        }
    }

    pub(crate) fn paused(&mut self, mut run: Running, thawing: Option<u32>, event: Event) -> Stage {
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
            either @ (Event::Probed { .. }
            | Event::AppStarted { .. }
            | Event::AppExited { .. }
            | Event::ClientAttached
            | Event::ClientDetached
            | Event::Activity
            | Event::EndRequested { .. }
            | Event::Collected
            | Event::Noted(_)
            | Event::Violated { .. }
            | Event::AnchorDied
            | Event::ComponentFailed { .. }
            | Event::StepDone { .. }
            | Event::StepFailed { .. }
            | Event::UndoDone { .. }
            | Event::WipeStepDone { .. }) => match self.either(run, either) {
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
            Event::Noted(note) => {
                self.journal(Fact::Noted(note.without_paths()));
                Either::Stays(run)
            }
            Event::Violated { violation, ends } => {
                let outcome = Outcome::Faulted { violation: violation.to_string() };
                self.journal(Fact::Violated { violation });
                match ends {
                    true => Either::Leaves(self.end(outcome, Millis(0), None)),
                    false => Either::Stays(run),
                }
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

    /// Asks for all four probes; a property that has been silent for too long is broken.
    fn probe(&mut self, mut run: Running) -> Stage {
        match run.probes.ask(&Property::ALL, self.now) {
            Some(property) => self.fail(Component::Verification, silent(property), None),
            None => {
                self.ask_about(&Property::ALL);
                Stage::Active { run, freezing: None }
            }
        }
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
}
