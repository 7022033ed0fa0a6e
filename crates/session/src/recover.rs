//! A session rebuilt from its journal, when its checkpoint is gone.

use sessile_model::property::{Properties, PropertyStatus};
use sessile_model::receipt::WipeLine;
use sessile_model::state::{Component, Outcome, State};
use sessile_model::{Millis, Property, Timestamp};
use thiserror::Error;

use crate::effect::{Effect, Effects, Plan};
use crate::entry::{Entry, Fact};
use crate::opening::Opening;
use crate::session::{Facts, Session, Stage};
use crate::teardown::Teardown;
use crate::wipe::{Progress, Wipe};

/// Why a session cannot be rebuilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unrecoverable {
    /// The journal does not say how it was opened.
    #[error("the journal does not begin with the opening of a session")]
    NeverOpened,
}

/// What a journal tells of a session.
struct Told {
    opening: Opening,
    opened_at: Timestamp,
    properties: Properties,
    /// When the teardown began, and its outcome as last decided.
    teardown: Option<(Timestamp, Outcome)>,
    lines: Vec<(Timestamp, WipeLine)>,
}

impl Session {
    /// Rebuilds a session from its journal: without a checkpoint it can only be wiped. A wipe
    /// that had begun goes on behind its last journaled line; any other session has failed for
    /// the given reason. Asks for what is to be done next, like a restart of the keeper.
    ///
    /// # Errors
    /// [`Unrecoverable`] when the journal does not contain the opening.
    pub fn recover<'a>(
        entries: impl IntoIterator<Item = &'a Entry>,
        component: Component,
        cause: &str,
        now: Timestamp,
        effects: &mut Effects,
    ) -> Result<Self, Unrecoverable> {
        let told = read(entries)?;
        let mut plan = Plan::default();
        plan.journal(Entry { at: now, fact: Fact::KeeperRestarted });
        let (started_at, outcome) = told.teardown.unwrap_or_else(|| {
            let outcome = Outcome::Failed { component, cause: cause.to_owned() };
            plan.journal(Entry { at: now, fact: Fact::TearingDown { outcome: outcome.clone() } });
            plan.journal(Entry { at: now, fact: Fact::Became { state: State::Failed } });
            (now, outcome)
        });
        let stage = replay(Wipe::begin(started_at), outcome, told.lines, &mut plan);
        if !stage.has_checkpoint() {
            plan.without_checkpoint();
        }
        plan.emit(effects);
        let facts = Facts {
            opening: told.opening,
            opened_at: told.opened_at,
            last_activity: started_at,
            properties: told.properties,
        };
        Ok(Self::assemble(facts, stage))
    }
}

fn read<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Result<Told, Unrecoverable> {
    let mut entries = entries.into_iter();
    let mut told = entries
        .find_map(|entry| match &entry.fact {
            Fact::Opened { opening } => Some(Told {
                opening: opening.clone(),
                opened_at: entry.at,
                properties: Properties::default(),
                teardown: None,
                lines: Vec::new(),
            }),
            Fact::StepDone { .. }
            | Fact::StepFailed { .. }
            | Fact::StepUndone { .. }
            | Fact::Verified { .. }
            | Fact::Became { .. }
            | Fact::AppStarted { .. }
            | Fact::AppExited { .. }
            | Fact::Attached { .. }
            | Fact::Detached { .. }
            | Fact::Noted(_)
            | Fact::Violated { .. }
            | Fact::KeeperRestarted
            | Fact::TearingDown { .. }
            | Fact::Wiped { .. }
            | Fact::Closed { .. } => None,
        })
        .ok_or(Unrecoverable::NeverOpened)?;
    for entry in entries {
        match &entry.fact {
            Fact::Verified { property, holds, weaker } => {
                told.properties.replace(*property, journaled(*property, *holds, *weaker));
            }
            Fact::TearingDown { outcome } => {
                let since = told.teardown.as_ref().map_or(entry.at, |(since, _)| *since);
                told.teardown = Some((since, outcome.clone()));
            }
            Fact::Wiped { line } => told.lines.push((entry.at, line.clone())),
            Fact::Opened { .. }
            | Fact::StepDone { .. }
            | Fact::StepFailed { .. }
            | Fact::StepUndone { .. }
            | Fact::Became { .. }
            | Fact::AppStarted { .. }
            | Fact::AppExited { .. }
            | Fact::Attached { .. }
            | Fact::Detached { .. }
            | Fact::Noted(_)
            | Fact::Violated { .. }
            | Fact::KeeperRestarted
            | Fact::Closed { .. } => {}
        }
    }
    Ok(told)
}

/// A finding as far as the journal keeps it.
fn journaled(property: Property, holds: bool, weaker: bool) -> PropertyStatus {
    let weaker_because = if weaker { vec![format!("{property} was accepted as weaker")] } else { Vec::new() };
    PropertyStatus { holds, evidence: Vec::new(), weaker_because }
}

fn replay(mut wipe: Wipe, outcome: Outcome, lines: Vec<(Timestamp, WipeLine)>, plan: &mut Plan) -> Stage {
    for (at, line) in lines {
        wipe = match wipe.replay(line, at) {
            Progress::Unmoved(wipe) | Progress::Again(wipe) | Progress::Next(wipe) => wipe,
            Progress::Complete(receipt) => {
                plan.act(Effect::Finish);
                return Stage::Closed { outcome, receipt };
            }
        };
    }
    let teardown = Teardown::Wiping { grace: Millis(0), wipe };
    teardown.ask(plan);
    match outcome {
        Outcome::Failed { component, cause } => {
            plan.cut_route();
            Stage::Failed { component, cause, teardown }
        }
        ended @ (Outcome::Ended { .. } | Outcome::Cancelled { .. } | Outcome::Faulted { .. }) => {
            Stage::Ending { outcome: ended, teardown }
        }
    }
}
