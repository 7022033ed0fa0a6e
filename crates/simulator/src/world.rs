//! The fake world: what a keeper would hold, and what becomes of each effect.
//!
//! It keeps the resources of one session, carries out effects late, and knows what is physically
//! wrong whoever asked for it: an app that runs before all was verified, storage unmounted under
//! living processes, something still open that no receipt mentions.

use std::collections::{BTreeMap, BTreeSet};

use sessile_model::receipt::{WipeEvidence, WipeStep};
use sessile_model::state::{Component, Exit};
use sessile_model::{AppName, ByteSize, Property, PropertyStatus};
use sessile_session::{BringupStep, Effect, Event, Opening};

use crate::physics::{CLOSES, OPENS, Resource};
use crate::prng::Prng;
use crate::stats::Stats;
use crate::wrong::Wrong;

/// An effect on its way.
#[derive(Clone, Debug)]
struct Operation {
    due: i64,
    effect: Effect,
}

/// The world of one session.
#[derive(Debug)]
pub struct World {
    opening: Opening,
    pub(crate) rng: Prng,
    /// Whether steps may fail, be slow, or be answered twice.
    pub(crate) faults: Faults,
    pub(crate) now: i64,
    pub(crate) open: BTreeSet<Resource>,
    /// Apps that run, and when they will exit by themselves.
    pub(crate) apps: BTreeMap<AppName, i64>,
    /// Exits that happened, for a new keeper to find.
    exits: Vec<(AppName, Exit)>,
    main_began: bool,
    pub(crate) frozen: bool,
    pub(crate) anchor_dead: bool,
    /// Properties whose probe gave a good answer that was delivered.
    found_good: BTreeSet<Property>,
    deaf: Option<Property>,
    operations: Vec<Operation>,
    inbox: Vec<(i64, Event)>,
    delivered: Vec<Event>,
    /// The evidence last given for each step of the wipe.
    pub(crate) evidence: BTreeMap<WipeStep, WipeEvidence>,
    /// Whether the checkpoint's memory has been overwritten.
    pub(crate) checkpoint_gone: bool,
    pub(crate) wrong: Wrong,
    pub(crate) stats: Stats,
}

/// Which faults may happen; used to find a shorter way to a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// Steps fail.
    pub failures: bool,
    /// Steps take long.
    pub slowness: bool,
    /// Outcomes come twice, late and out of order.
    pub doubles: bool,
    /// The keeper dies.
    pub crashes: bool,
    /// The anchor dies and components fail.
    pub deaths: bool,
    /// The clock jumps.
    pub jumps: bool,
    /// Clients come, ask and go.
    pub clients: bool,
}

impl Faults {
    /// All of them.
    pub const ALL: Self = Self {
        failures: true,
        slowness: true,
        doubles: true,
        crashes: true,
        deaths: true,
        jumps: true,
        clients: true,
    };
    /// None, for the last stretch.
    pub const NONE: Self = Self {
        failures: false,
        slowness: false,
        doubles: false,
        crashes: false,
        deaths: false,
        jumps: false,
        clients: false,
    };
}

impl World {
    pub(crate) fn new(opening: Opening, rng: Prng, faults: Faults, wrong: Wrong, now: i64) -> Self {
        Self {
            opening,
            rng,
            faults,
            now,
            open: BTreeSet::new(),
            apps: BTreeMap::new(),
            exits: Vec::new(),
            main_began: false,
            frozen: false,
            anchor_dead: false,
            found_good: BTreeSet::new(),
            deaf: None,
            operations: Vec::new(),
            inbox: Vec::new(),
            delivered: Vec::new(),
            evidence: BTreeMap::new(),
            checkpoint_gone: false,
            wrong,
            stats: Stats::default(),
        }
    }

    fn fails(&mut self, one_in: u64) -> bool {
        let fails = self.rng.one_in(one_in);
        self.faults.failures && fails
    }

    /// Puts an outcome on its way to the keeper; sometimes twice.
    fn tell(&mut self, event: Event) {
        let jitter = self.rng.between(0, 20);
        if self.rng.one_in(8) && self.faults.doubles {
            self.stats.doubled += 1;
            let later = self.rng.between(0, 3_000);
            self.inbox.push((self.now + later, event.clone()));
        }
        self.inbox.push((self.now + jitter, event));
    }

    /// Puts an app's start or exit on its way. Those of one app keep their order.
    fn tell_in_order(&mut self, event: Event) {
        self.inbox.push((self.now, event));
    }

    /// When something happens next by itself.
    pub(crate) fn next_due(&self) -> Option<i64> {
        let operations = self.operations.iter().map(|o| o.due);
        let inbox = self.inbox.iter().map(|(due, _)| *due);
        let exits = self.apps.values().copied().filter(|_| !self.frozen);
        operations.chain(inbox).chain(exits).min()
    }

    /// Whether an outcome is on its way or an effect is being carried out.
    pub(crate) fn is_busy(&self) -> bool {
        !self.operations.is_empty() || !self.inbox.is_empty()
    }

    /// The next outcome that has arrived by now, if one has.
    pub(crate) fn arrive(&mut self) -> Option<Event> {
        let due = |i: &usize| self.inbox[*i].0 <= self.now;
        // The first pushed wins a tie, so that starts stay before exits.
        let index = (0..self.inbox.len()).filter(due).min_by_key(|&i| (self.inbox[i].0, i))?;
        let (_, event) = self.inbox.remove(index);
        self.delivered.push(event.clone());
        Some(event)
    }

    /// An outcome that was delivered before, for delivery once more. Starts, exits and clients
    /// are not outcomes.
    pub(crate) fn stale(&mut self) -> Option<Event> {
        if self.delivered.is_empty() {
            return None;
        }
        let index = self.rng.below(self.delivered.len() as u64) as usize;
        let event = self.delivered[index].clone();
        let again = match &event {
            Event::StepDone { .. }
            | Event::StepFailed { .. }
            | Event::UndoDone { .. }
            | Event::Frozen { .. }
            | Event::FreezeFailed { .. }
            | Event::Thawed { .. }
            | Event::ThawFailed { .. }
            | Event::WipeStepDone { .. } => true,
            Event::Probed { .. }
            | Event::AppStarted { .. }
            | Event::AppExited { .. }
            | Event::ClientAttached
            | Event::ClientDetached
            | Event::Activity
            | Event::EndRequested { .. }
            | Event::PauseRequested
            | Event::ResumeRequested
            | Event::Collected
            | Event::Noted(_)
            | Event::Violated { .. }
            | Event::AnchorDied
            | Event::ComponentFailed { .. }
            | Event::Tick
            | Event::KeeperRestarted => false,
        };
        again.then_some(event)
    }

    /// The keeper was told this finding.
    pub(crate) fn heard(&mut self, event: &Event) {
        if let Event::Probed { property, status } = event
            && self.opening.accepts(*property, status)
        {
            self.found_good.insert(*property);
        }
    }

    /// Accepts an effect that has an answer; cutting the route happens at once.
    pub(crate) fn begin(&mut self, effect: Effect) {
        if effect == Effect::CutRoute {
            self.open.remove(&Resource::Route);
            self.operations.retain(|o| o.effect != Effect::Do(BringupStep::Route));
            return;
        }
        match effect {
            // The wipe calls off what it would otherwise race with, and its own earlier asks.
            Effect::Wipe { .. } => self.operations.retain(|o| {
                !matches!(
                    o.effect,
                    Effect::StartMain | Effect::Freeze { .. } | Effect::Thaw { .. } | Effect::Wipe { .. }
                )
            }),
            Effect::Freeze { .. } | Effect::Thaw { .. } => {
                self.operations.retain(|o| !matches!(o.effect, Effect::Freeze { .. } | Effect::Thaw { .. }))
            }
            Effect::CutRoute
            | Effect::Journal(_)
            | Effect::Checkpoint
            | Effect::Do(_)
            | Effect::Undo(_)
            | Effect::Probe(_)
            | Effect::StartMain
            | Effect::RecordChanged
            | Effect::Finish => {}
        }
        let slow = self.rng.one_in(12);
        let mut took = self.rng.between(0, 40);
        if slow && self.faults.slowness {
            took = self.rng.between(2_000, 120_000);
            self.stats.slow += 1;
        }
        self.operations.push(Operation { due: self.now + took, effect });
    }

    /// Carries out everything that is due.
    ///
    /// # Errors
    /// What is physically wrong.
    pub(crate) fn turn(&mut self) -> Result<(), String> {
        while let Some(index) = (0..self.operations.len())
            .filter(|&i| self.operations[i].due <= self.now)
            .min_by_key(|&i| (self.operations[i].due, i))
        {
            let operation = self.operations.remove(index);
            self.carry_out(operation.effect)?;
        }
        let over: Vec<AppName> = self
            .apps
            .iter()
            .filter(|(_, due)| **due <= self.now && !self.frozen)
            .map(|(a, _)| a.clone())
            .collect();
        for app in over {
            self.apps.remove(&app);
            let code = self.rng.below(3) as u8;
            self.exit(app, Exit::Code { code });
        }
        Ok(())
    }

    fn exit(&mut self, app: AppName, exit: Exit) {
        self.exits.push((app.clone(), exit.clone()));
        self.tell_in_order(Event::AppExited { app, exit });
    }

    /// Starts a further app.
    pub(crate) fn exec(&mut self, app: AppName) -> Result<(), String> {
        self.run_app(app)
    }

    fn run_app(&mut self, app: AppName) -> Result<(), String> {
        if self.found_good.len() < 4 {
            return Err(format!("{app} runs before all four properties were found good"));
        }
        if !self.open.contains(&Resource::Roots) {
            return Err(format!("{app} runs without a sandbox"));
        }
        let life =
            if self.rng.one_in(3) { self.rng.between(0, 500) } else { self.rng.between(1_000, 400_000) };
        self.apps.insert(app.clone(), self.now + life);
        self.tell_in_order(Event::AppStarted { app });
        Ok(())
    }

    fn carry_out(&mut self, effect: Effect) -> Result<(), String> {
        match effect {
            Effect::Do(step) => self.do_step(step),
            Effect::Undo(step) => self.undo(step),
            Effect::Probe(property) => self.probe(property),
            Effect::StartMain => self.start_main()?,
            Effect::Freeze { turn } => {
                if self.fails(20) {
                    self.tell(Event::FreezeFailed { turn });
                } else {
                    self.frozen = true;
                    self.tell(Event::Frozen { turn });
                }
            }
            Effect::Thaw { turn } => {
                if self.fails(30) {
                    self.tell(Event::ThawFailed { turn, cause: "still frozen".into() });
                } else {
                    self.frozen = false;
                    self.tell(Event::Thawed { turn });
                }
            }
            Effect::Wipe { step, attempt, grace } => {
                if step == WipeStep::SignalApps && grace.0 > 0 {
                    self.frozen = false;
                }
                self.wipe(step, attempt)?;
            }
            Effect::CutRoute
            | Effect::Journal(_)
            | Effect::Checkpoint
            | Effect::RecordChanged
            | Effect::Finish => {
                return Err(format!("{effect:?} has no outcome"));
            }
        }
        Ok(())
    }

    fn opens(step: BringupStep) -> &'static [Resource] {
        OPENS[step as usize].1
    }

    fn do_step(&mut self, step: BringupStep) {
        let parts = Self::opens(step);
        if self.fails(40) || (self.anchor_dead && step >= BringupStep::Keys) {
            let made = self.rng.below(parts.len() as u64 + 1) as usize;
            self.open.extend(&parts[..made]);
            self.stats.step_failures += 1;
            self.tell(Event::StepFailed { step, cause: format!("{step} could not be made") });
        } else {
            self.open.extend(parts);
            self.tell(Event::StepDone { step });
        }
    }

    fn undo(&mut self, step: BringupStep) {
        self.stats.undone += 1;
        if self.wrong != Wrong::UndoesWithoutStopping {
            self.operations.retain(|o| o.effect != Effect::Do(step));
        }
        for part in Self::opens(step) {
            self.open.remove(part);
        }
        self.tell(Event::UndoDone { step });
    }

    fn probe(&mut self, property: Property) {
        if self.fails(400) {
            self.deaf = Some(property);
        }
        if self.deaf == Some(property) && self.faults.failures {
            return;
        }
        let weak = self.opening.accept_weaker.contains(&property);
        let mut status = PropertyStatus { holds: true, ..PropertyStatus::default() };
        if weak {
            status.weaker_because.push("this machine".into());
            status.holds = self.rng.one_in(2);
        }
        if self.fails(150) {
            status = PropertyStatus::default();
        }
        self.tell(Event::Probed { property, status });
    }

    fn start_main(&mut self) -> Result<(), String> {
        let main = AppName::main();
        if self.main_began {
            // A new keeper asks again and finds it, or its exit.
            let known = self.exits.iter().find(|(app, _)| *app == main).cloned();
            match known {
                Some((app, exit)) => self.tell_in_order(Event::AppExited { app, exit }),
                None => self.tell_in_order(Event::AppStarted { app: main }),
            }
            return Ok(());
        }
        if self.anchor_dead || !self.open.contains(&Resource::Roots) {
            return Ok(());
        }
        self.main_began = true;
        if self.fails(15) {
            self.exit(main, Exit::NotStarted { errno: 2 });
            return Ok(());
        }
        self.run_app(main)
    }

    fn wipe(&mut self, step: WipeStep, attempt: u8) -> Result<(), String> {
        if self.operations.iter().any(|o| matches!(o.effect, Effect::Do(_))) {
            return Err(format!("{} while a step of bring-up is still under way", step.as_str()));
        }
        self.physics(step)?;
        let needs_anchor = matches!(
            step,
            WipeStep::Freeze | WipeStep::ScrubOpenFiles | WipeStep::ScrubMemory | WipeStep::UnmountApps
        );
        let evidence = if self.anchor_dead && needs_anchor {
            if step == WipeStep::UnmountApps {
                // The kernel has taken the mounts away with their namespaces.
                self.open.remove(&Resource::Roots);
            }
            WipeEvidence::NotPossible { why: "the anchor is dead".into() }
        } else if self.fails(20) {
            self.stats.wipe_failures += 1;
            WipeEvidence::Failed { why: "busy".into() }
        } else {
            self.close(step)
        };
        self.evidence.insert(step, evidence.clone());
        let took_us = self.rng.below(10_000);
        self.tell(Event::WipeStepDone { step, attempt, evidence, took_us });
        Ok(())
    }

    fn close(&mut self, step: WipeStep) -> WipeEvidence {
        if step == WipeStep::Kill {
            let running: Vec<AppName> = std::mem::take(&mut self.apps).into_keys().collect();
            for app in running {
                self.exit(app, Exit::Signal { signal: 9 });
            }
        }
        if step == WipeStep::Freeze {
            self.frozen = true;
        }
        if step == WipeStep::OverwriteRings {
            self.checkpoint_gone = true;
        }
        let resource = CLOSES.iter().find(|(closing, _)| *closing == step).map(|(_, resource)| *resource);
        match resource {
            Some(Resource::Keys) if self.wrong == Wrong::ForgetsKeys => {
                WipeEvidence::Overwritten { bytes: ByteSize(32), objects: 1 }
            }
            Some(resource) if self.open.remove(&resource) => {
                WipeEvidence::Overwritten { bytes: ByteSize(1), objects: 1 }
            }
            Some(_) | None => WipeEvidence::NothingToDo,
        }
    }

    /// The keeper dies: what it carried out is half done, what it was about to hear is lost.
    pub(crate) fn lose_keeper(&mut self) {
        for operation in std::mem::take(&mut self.operations) {
            match operation.effect {
                Effect::Do(step) => {
                    let parts = Self::opens(step);
                    let made = self.rng.below(parts.len() as u64 + 1) as usize;
                    self.open.extend(&parts[..made]);
                }
                Effect::Wipe { step: WipeStep::OverwriteRings, .. } => {
                    self.checkpoint_gone |= self.rng.one_in(2);
                }
                Effect::Freeze { .. } => self.frozen |= self.rng.one_in(2),
                Effect::Thaw { .. } => self.frozen &= self.rng.one_in(2),
                Effect::Wipe { .. }
                | Effect::Undo(_)
                | Effect::Probe(_)
                | Effect::StartMain
                | Effect::CutRoute
                | Effect::Journal(_)
                | Effect::Checkpoint
                | Effect::RecordChanged
                | Effect::Finish => {}
            }
        }
        self.inbox.clear();
        self.delivered.clear();
    }

    /// What a new keeper finds and reports.
    pub(crate) fn adopt(&mut self) {
        for app in self.apps.keys().cloned().collect::<Vec<_>>() {
            self.tell_in_order(Event::AppStarted { app });
        }
        for (app, exit) in self.exits.clone() {
            self.tell_in_order(Event::AppExited { app, exit });
        }
        if self.anchor_dead {
            self.tell_in_order(Event::AnchorDied);
        }
    }

    /// The anchor dies, and the apps with it.
    pub(crate) fn lose_anchor(&mut self) {
        self.anchor_dead = true;
        self.open.remove(&Resource::Processes);
        let running: Vec<AppName> = std::mem::take(&mut self.apps).into_keys().collect();
        for app in running {
            self.exits.push((app, Exit::Signal { signal: 9 }));
        }
        self.tell(Event::AnchorDied);
    }

    /// A component breaks.
    pub(crate) fn break_component(&mut self) {
        let component =
            self.rng.pick(&[Component::Sandbox, Component::Route, Component::Storage, Component::Cgroup]);
        self.tell(Event::ComponentFailed { component, cause: "it stopped".into() });
    }

    /// Whether the way out is closed.
    pub(crate) fn route_is_cut(&self) -> bool {
        !self.open.contains(&Resource::Route)
    }
}
