//! What must be true of the effects of every call, and of the machine after it.

use std::collections::BTreeSet;

use sessile_model::receipt::{WipeLine, WipeStep};
use sessile_model::record::Grant;
use sessile_model::{Property, State};
use sessile_session::{Effect, Fact, Note};

use crate::reference::Owed;
use crate::run::Run;

impl Run {
    /// What is asked must be what is newly owed, each once.
    pub(crate) fn check_acts(
        &mut self,
        effects: &[Effect],
        expected: &BTreeSet<Owed>,
        probes: bool,
    ) -> Result<(), String> {
        let bringup = self.reference.state() == State::Bringup;
        let mut asked = Vec::new();
        let mut probed = Vec::new();
        for effect in effects {
            asked.push(match effect {
                Effect::CutRoute | Effect::Journal(_) | Effect::Checkpoint | Effect::RecordChanged => {
                    continue;
                }
                Effect::Do(step) => Owed::Do(*step),
                Effect::Undo(step) => Owed::Undo(*step),
                Effect::Probe(property) => {
                    probed.push(*property);
                    if !bringup {
                        continue;
                    }
                    Owed::Verdict(*property)
                }
                Effect::StartMain => Owed::StartMain,
                Effect::Freeze { turn } => {
                    self.hold(true, *turn, effects)?;
                    Owed::Freeze
                }
                Effect::Thaw { turn } => {
                    self.hold(false, *turn, effects)?;
                    Owed::Thaw
                }
                Effect::Wipe { step, attempt, grace } => Owed::Wipe(*step, *attempt, *grace),
                Effect::Finish => Owed::Finish,
            });
        }
        let set: BTreeSet<Owed> = asked.iter().copied().collect();
        if set.len() != asked.len() || set != *expected {
            return Err(format!("asked for {asked:?}, owed {expected:?}"));
        }
        let all: &[Property] = if probes { &Property::ALL } else { &[] };
        if !bringup && probed != all {
            return Err(format!("probed {probed:?}, expected {all:?}"));
        }
        let now = self.now();
        if !probed.is_empty() && !self.reference.asked_to_probe(&probed, now) {
            return Err("probes go on although one has been silent for too long".into());
        }
        Ok(())
    }

    /// A number may be asked with again only when a new keeper asks again.
    fn hold(&mut self, freeze: bool, turn: u32, effects: &[Effect]) -> Result<(), String> {
        let restarted = effects
            .iter()
            .any(|e| matches!(e, Effect::Journal(entry) if entry.fact == Fact::KeeperRestarted));
        if self.reference.asked_to_hold(freeze, turn) || restarted {
            Ok(())
        } else {
            Err(format!("turn {turn} was used before"))
        }
    }

    /// Route, journal, checkpoint, acts, record.
    pub(crate) fn check_order(&self, effects: &[Effect]) -> Result<(), String> {
        let class = |effect: &Effect| match effect {
            Effect::CutRoute => 0,
            Effect::Journal(_) => 1,
            Effect::Checkpoint => 2,
            Effect::Do(_)
            | Effect::Undo(_)
            | Effect::Probe(_)
            | Effect::StartMain
            | Effect::Freeze { .. }
            | Effect::Thaw { .. }
            | Effect::Wipe { .. }
            | Effect::Finish => 3,
            Effect::RecordChanged => 4,
        };
        if effects.is_sorted_by_key(class) {
            Ok(())
        } else {
            Err(format!("effects out of order: {effects:?}"))
        }
    }

    pub(crate) fn check_journal(
        &self,
        effects: &[Effect],
        was: State,
        is: State,
        wiped: usize,
    ) -> Result<(), String> {
        let facts = || {
            effects
                .iter()
                .filter_map(|e| if let Effect::Journal(entry) = e { Some(&entry.fact) } else { None })
        };
        if was != is && !facts().any(|f| *f == Fact::Became { state: is }) {
            return Err(format!("became {is} without a word in the journal"));
        }
        let lines = facts().filter(|f| matches!(f, Fact::Wiped { .. })).count();
        if lines != self.reference.wiped.len() - wiped {
            return Err(format!("{lines} lines of the wipe journaled"));
        }
        let secret = facts()
            .any(|f| matches!(f, Fact::Noted(Note::Granted { grant: Grant::Tools { path: Some(_) } })));
        if secret { Err("a path was journaled".into()) } else { Ok(()) }
    }

    pub(crate) fn check_checkpoint(&self, effects: &[Effect], changed: bool) -> Result<(), String> {
        let written = effects.contains(&Effect::Checkpoint);
        if self.reference.wiped.len() >= WipeStep::OverwriteRings as usize {
            return if written {
                Err("the checkpoint is written during its overwriting".into())
            } else {
                Ok(())
            };
        }
        if changed && !written { Err("a change was not checkpointed".into()) } else { Ok(()) }
    }

    pub(crate) fn agree(&self) -> Result<(), String> {
        let (session, reference) = (&self.session, &self.reference);
        if session.state() != reference.state() {
            return Err(format!("is {}, expected {}", session.state(), reference.state()));
        }
        if session.outcome() != reference.outcome() {
            return Err(format!("outcome {:?}, expected {:?}", session.outcome(), reference.outcome()));
        }
        if session.clients() != reference.clients() {
            return Err(format!("{} clients, expected {}", session.clients(), reference.clients()));
        }
        let line = |line: &WipeLine| (line.step, line.evidence.clone());
        let expected = WipeStep::ALL.into_iter().zip(reference.wiped.iter().cloned());
        if !session.wipe_lines().iter().map(line).eq(expected) {
            return Err("the wipe's lines are not what was reported".into());
        }
        if session.state() == State::Active && session.next_deadline().is_none() && self.reference.moves() {
            return Err("an active session does not want to be probed".into());
        }
        Ok(())
    }
}
