//! What each event does to a session that is being torn down: ending or failed.

use sessile_model::Millis;
use sessile_model::state::{Component, Outcome, State};

use crate::advance::{ANCHOR_DIED, Call, broken};
use crate::effect::Effect;
use crate::entry::Fact;
use crate::event::Event;
use crate::session::Stage;
use crate::teardown::{Step, Teardown, Torn, WipeDone};
use crate::wipe::WipeReceipt;

impl Call<'_> {
    pub(crate) fn ending(&mut self, outcome: Outcome, teardown: Teardown, event: Event) -> Stage {
        match event {
            Event::UndoDone { step } => self.torn(outcome, teardown, Step::Undone(step)),
            Event::WipeStepDone { step, attempt, evidence, took_us } => {
                let done = WipeDone { step, attempt, evidence, took_us };
                self.torn(outcome, teardown, Step::Wiped(done))
            }
            Event::EndRequested { grace, .. } => {
                let (teardown, shorter) = teardown.shorten(grace);
                if shorter {
                    self.plan.remember();
                    teardown.ask_to_hurry(&mut self.plan);
                }
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
            Event::Noted(note) => {
                self.journal(Fact::Noted(note.without_paths()));
                Stage::Ending { outcome, teardown }
            }
            Event::Violated { violation, .. } => {
                self.journal(Fact::Violated { violation });
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
        let (teardown, _) = teardown.shorten(Millis(0));
        teardown.ask(&mut self.plan);
        Stage::Failed { component, cause, teardown }
    }

    pub(crate) fn failed(
        &mut self,
        component: Component,
        cause: String,
        teardown: Teardown,
        event: Event,
    ) -> Stage {
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
            Event::Noted(note) => {
                self.journal(Fact::Noted(note.without_paths()));
                Stage::Failed { component, cause, teardown }
            }
            Event::Violated { violation, .. } => {
                self.journal(Fact::Violated { violation });
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

    fn close(&mut self, outcome: Outcome, receipt: WipeReceipt) -> Stage {
        self.became(State::Closed);
        self.journal(Fact::Closed { outcome: outcome.clone() });
        self.plan.act(Effect::Finish);
        Stage::Closed { outcome, receipt }
    }
}
