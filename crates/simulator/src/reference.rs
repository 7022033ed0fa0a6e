//! The reference model: a session as a heap of facts, from which its state and what it owes
//! follow.
//!
//! It is written the other way round from the machine: it has no variants and no transitions. An
//! event only adds facts; [`Reference::state`] and [`Reference::owed`] are derived from all of
//! them. What the machine asks for must be exactly what is newly owed.

use std::collections::BTreeSet;

use sessile_model::receipt::{WipeEvidence, WipeStep};
use sessile_model::state::{Component, EndedBy, Exit, Outcome, State};
use sessile_model::{AppName, Millis, Property, PropertyStatus, Timestamp};
use sessile_session::{
    BringupStep, DEFAULT_GRACE, Entry, Event, Fact, MainCommand, Opening, PROBE_INTERVAL, Request,
    SILENT_PROBES, Turn,
};

/// Something the session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owed {
    /// A step of bring-up.
    Do(BringupStep),
    /// The undoing of one.
    Undo(BringupStep),
    /// A first finding.
    Verdict(Property),
    /// The start of the main command.
    StartMain,
    /// A freeze.
    Freeze,
    /// A thaw.
    Thaw,
    /// A step of the wipe, which attempt, and how long apps get.
    Wipe(WipeStep, u8, Millis),
    /// The receipt.
    Finish,
}

/// The facts.
#[derive(Clone, Debug)]
pub struct Reference {
    opening: Opening,
    opened: Timestamp,
    touched: Timestamp,
    steps: usize,
    good: BTreeSet<Property>,
    failure: Option<(Component, String)>,
    end: Option<Outcome>,
    undo: Option<BringupStep>,
    grace: Millis,
    /// The evidence of complete wipe steps, in order.
    pub wiped: Vec<WipeEvidence>,
    tried: bool,
    clients: u32,
    living: BTreeSet<AppName>,
    main_started: bool,
    main_exit: Option<Exit>,
    alone_since: Option<Timestamp>,
    frozen: bool,
    /// The latest ask to freeze (true) or thaw (false), while it is not answered.
    holding: Option<(bool, Turn)>,
    turns: BTreeSet<Turn>,
    silent: [u32; 4],
    probed_at: Timestamp,
}

impl Reference {
    /// A session that was just opened.
    pub fn open(opening: Opening, now: Timestamp) -> Self {
        Self {
            opening,
            opened: now,
            touched: now,
            steps: 0,
            good: BTreeSet::new(),
            failure: None,
            end: None,
            undo: None,
            grace: Millis(0),
            wiped: Vec::new(),
            tried: false,
            clients: 0,
            living: BTreeSet::new(),
            main_started: false,
            main_exit: None,
            alone_since: None,
            frozen: false,
            holding: None,
            turns: BTreeSet::new(),
            silent: [0; 4],
            probed_at: now,
        }
    }

    /// What a session without a checkpoint is, by its journal; `None` if that does not even say
    /// that it was opened.
    pub fn from_journal(journal: &[Entry], lost: (Component, &str), now: Timestamp) -> Option<Self> {
        let mut it: Option<Self> = None;
        for entry in journal {
            if let Fact::Opened { opening } = &entry.fact {
                it = it.or_else(|| Some(Self::open(opening.clone(), entry.at)));
            }
            let Some(it) = &mut it else { continue };
            if let Fact::TearingDown { outcome } = &entry.fact {
                it.end = Some(outcome.clone());
            }
            if let Fact::Wiped { line } = &entry.fact
                && WipeStep::ALL.get(it.wiped.len()) == Some(&line.step)
            {
                it.wiped.push(line.evidence.clone());
            }
        }
        let mut it = it?;
        if let Some(Outcome::Failed { component, cause }) = &it.end {
            it.failure = Some((*component, cause.clone()));
        } else if it.end.is_none() {
            it.failure = Some((lost.0, lost.1.to_owned()));
        }
        it.touched = now;
        Some(it)
    }

    /// The state that follows from the facts.
    pub fn state(&self) -> State {
        if self.wiped.len() == WipeStep::ALL.len() {
            State::Closed
        } else if self.failure.is_some() {
            State::Failed
        } else if self.end.is_some() {
            State::Ending
        } else if self.good.len() < 4 {
            State::Bringup
        } else if self.frozen {
            State::Paused
        } else {
            State::Active
        }
    }

    /// The outcome that follows from the facts.
    pub fn outcome(&self) -> Option<Outcome> {
        match &self.failure {
            Some((component, cause)) => Some(Outcome::Failed { component: *component, cause: cause.clone() }),
            None => self.end.clone(),
        }
    }

    /// Clients attached.
    pub fn clients(&self) -> u32 {
        if self.lives() { self.clients } else { 0 }
    }

    /// Everything that is waited for.
    pub fn owed(&self) -> BTreeSet<Owed> {
        let mut owed = BTreeSet::new();
        match self.state() {
            State::Closed => {
                owed.insert(Owed::Finish);
            }
            State::Failed | State::Ending => match self.undo {
                Some(step) => {
                    owed.insert(Owed::Undo(step));
                }
                None => {
                    let step = WipeStep::ALL[self.wiped.len()];
                    let grace = if step == WipeStep::SignalApps { self.grace } else { Millis(0) };
                    owed.insert(Owed::Wipe(step, 1 + u8::from(self.tried), grace));
                }
            },
            State::Bringup => match BringupStep::ALL.get(self.steps) {
                Some(&step) => {
                    owed.insert(Owed::Do(step));
                }
                None => {
                    owed.extend(
                        Property::ALL.into_iter().filter(|p| !self.good.contains(p)).map(Owed::Verdict),
                    );
                }
            },
            State::Active | State::Paused => {
                if self.has_command() && !self.main_started && self.main_exit.is_none() {
                    owed.insert(Owed::StartMain);
                }
                if let Some((freeze, _)) = self.holding {
                    owed.insert(if freeze { Owed::Freeze } else { Owed::Thaw });
                }
            }
        }
        owed
    }

    /// Whether a request may go on: `Some(true)`; is so already: `Some(false)`; or is refused.
    pub fn may(&self, request: &Request) -> Option<bool> {
        let yes = |when: bool| when.then_some(true);
        let toggles = |wish: bool| match self.holding {
            Some((wished, _)) => Some(wished != wish),
            None => Some(self.frozen != wish),
        };
        match request {
            Request::Show => Some(true),
            Request::End => Some(self.state() != State::Closed),
            Request::Attach | Request::Export | Request::Diff | Request::Apply => yes(self.lives()),
            Request::Exec => yes(self.lives() && self.moves()),
            Request::Input { app } => yes(self.lives() && !self.frozen && self.living.contains(app)),
            Request::Pause if self.lives() => toggles(true),
            Request::Resume if self.lives() => toggles(false),
            Request::Pause | Request::Resume => None,
            Request::Collect => yes(self.lives() && self.main_exit.is_some()),
        }
    }

    /// Properties that are to be probed again, were it to tick now.
    pub fn wants_probes(&self, now: Timestamp) -> Vec<Property> {
        if now < self.probed_at.plus(PROBE_INTERVAL) && now >= self.probed_at {
            return Vec::new();
        }
        match self.state() {
            State::Bringup if self.steps == BringupStep::ALL.len() => self.unverified(),
            State::Active if self.moves() => Property::ALL.to_vec(),
            State::Bringup
            | State::Active
            | State::Paused
            | State::Ending
            | State::Failed
            | State::Closed => Vec::new(),
        }
    }

    fn unverified(&self) -> Vec<Property> {
        Property::ALL.into_iter().filter(|p| !self.good.contains(p)).collect()
    }

    /// The machine asked to freeze or thaw. False if that number was used before.
    pub fn asked_to_hold(&mut self, freeze: bool, turn: Turn) -> bool {
        if let Some((wish, asked)) = &mut self.holding
            && *wish == freeze
        {
            *asked = turn;
        }
        let again = self.turns.contains(&turn);
        self.turns.insert(turn);
        !again
    }

    /// The machine asked for these probes. False if one has been silent for so long that it had
    /// to fail instead.
    pub fn asked_to_probe(&mut self, about: &[Property], now: Timestamp) -> bool {
        self.probed_at = now;
        for &property in about {
            self.silent[property as usize] += 1;
        }
        self.silent.iter().all(|&n| n <= u32::from(SILENT_PROBES))
    }

    fn has_command(&self) -> bool {
        self.opening.command != MainCommand::None
    }

    fn ends_by_exit(&self) -> bool {
        matches!(self.opening.command, MainCommand::Ends { .. })
    }

    fn lives(&self) -> bool {
        matches!(self.state(), State::Active | State::Paused)
    }

    fn torn(&self) -> bool {
        matches!(self.state(), State::Ending | State::Failed)
    }

    /// Apps are neither frozen nor about to be, nor about to be thawed.
    pub fn moves(&self) -> bool {
        !self.frozen && self.holding.is_none()
    }

    fn fine(&self, property: Property, status: &PropertyStatus) -> bool {
        let accepted = self.opening.accept_weaker.contains(&property);
        (status.weaker_because.is_empty() && status.holds) || (accepted && !status.weaker_because.is_empty())
    }

    fn fail(&mut self, component: Component, cause: &str) {
        if self.failure.is_none() && self.state() != State::Closed {
            if self.end.is_none() {
                self.called_off();
            }
            self.failure = Some((component, cause.to_owned()));
            self.grace = Millis(0);
        }
    }

    fn finish(&mut self, by: EndedBy, grace: Millis) {
        match self.state() {
            State::Bringup => {
                self.called_off();
                let by = if by == EndedBy::Operator { EndedBy::Cancelled } else { by };
                self.end = Some(Outcome::Cancelled { by });
                self.grace = Millis(0);
            }
            State::Active | State::Paused => {
                self.end = Some(Outcome::Ended { by });
                self.grace = grace;
            }
            State::Ending => self.grace = self.grace.min(grace),
            State::Failed | State::Closed => {}
        }
    }

    /// A step of bring-up that is under way when the end comes has to be undone first.
    fn called_off(&mut self) {
        self.undo = BringupStep::ALL.get(self.steps).copied();
    }

    /// Takes in one event.
    pub fn observe(&mut self, event: &Event, now: Timestamp) {
        match event {
            Event::StepDone { step } => {
                if self.owed().contains(&Owed::Do(*step)) {
                    self.steps += 1;
                }
            }
            Event::StepFailed { step, cause } => {
                if self.owed().contains(&Owed::Do(*step)) {
                    self.fail(step.component(), cause);
                }
            }
            Event::UndoDone { step } => {
                if self.owed().contains(&Owed::Undo(*step)) {
                    self.undo = None;
                }
            }
            Event::Probed { property, status } => self.probed(*property, status, now),
            Event::AppStarted { app } => self.app_started(app, now),
            Event::AppExited { app, exit } => self.app_exited(app, exit, now),
            Event::ClientAttached => {
                if self.lives() {
                    self.clients += 1;
                    self.touched = now;
                }
            }
            Event::ClientDetached => {
                if self.lives() && self.clients > 0 {
                    self.clients -= 1;
                    self.touched = now;
                }
            }
            Event::Activity => {
                if self.lives() {
                    self.touched = now;
                }
            }
            Event::EndRequested { by, grace } => self.finish(by.clone(), *grace),
            Event::PauseRequested | Event::ResumeRequested => {
                let (wish, request) = if *event == Event::PauseRequested {
                    (true, Request::Pause)
                } else {
                    (false, Request::Resume)
                };
                if self.may(&request) == Some(true) {
                    // A thaw is only ever asked of what counts as frozen, and the other way round.
                    self.frozen = !wish;
                    self.holding = Some((wish, Turn::MAX));
                }
            }
            Event::Frozen { turn } => {
                if self.lives() && self.holding == Some((true, *turn)) {
                    self.holding = None;
                    self.frozen = true;
                    self.silent = [0; 4];
                }
            }
            Event::FreezeFailed { turn } => {
                if self.lives() && self.holding == Some((true, *turn)) {
                    self.holding = None;
                    self.mute(&Property::ALL);
                }
            }
            Event::Thawed { turn } => {
                if self.lives() && self.holding == Some((false, *turn)) {
                    self.holding = None;
                    self.frozen = false;
                    self.touched = now;
                }
            }
            Event::ThawFailed { turn, cause } => {
                if self.lives() && self.holding == Some((false, *turn)) {
                    self.fail(Component::Cgroup, cause);
                }
            }
            Event::Collected => {
                if self.lives() && self.ends_by_exit() && self.main_exit.is_some() {
                    self.finish(EndedBy::MainExited, DEFAULT_GRACE);
                }
            }
            Event::Violated { violation, ends } => {
                if *ends && self.lives() {
                    self.end = Some(Outcome::Faulted { violation: violation.to_string() });
                    self.grace = Millis(0);
                }
            }
            Event::Noted(_) => {}
            Event::AnchorDied => self.fail(Component::Anchor, "the process that holds the session died"),
            Event::ComponentFailed { component, cause } => {
                if !self.torn() || self.apps_may_run() {
                    self.fail(*component, cause);
                }
            }
            Event::WipeStepDone { step, attempt, evidence, .. } => {
                let awaited = self.owed().iter().any(|owed| match owed {
                    Owed::Wipe(s, a, _) => s == step && a == attempt,
                    Owed::Do(_)
                    | Owed::Undo(_)
                    | Owed::Verdict(_)
                    | Owed::StartMain
                    | Owed::Freeze
                    | Owed::Thaw
                    | Owed::Finish => false,
                });
                if awaited {
                    let failed = matches!(evidence, WipeEvidence::Failed { .. });
                    if failed && !self.tried && !SAID_ONCE.contains(step) {
                        self.tried = true;
                    } else {
                        self.tried = false;
                        self.wiped.push(evidence.clone());
                    }
                }
            }
            Event::Tick => self.tick(now),
            Event::KeeperRestarted => {
                self.clients = 0;
                self.silent = [0; 4];
                self.touched = now;
            }
        }
    }

    fn apps_may_run(&self) -> bool {
        self.undo.is_none() && self.wiped.len() <= WipeStep::Kill as usize
    }

    fn probed(&mut self, property: Property, status: &PropertyStatus, now: Timestamp) {
        let asked = match self.state() {
            State::Bringup => self.owed().contains(&Owed::Verdict(property)),
            State::Active | State::Paused => true,
            State::Ending => self.apps_may_run(),
            State::Failed | State::Closed => false,
        };
        if !asked {
            return;
        }
        self.silent[property as usize] = 0;
        if !self.fine(property, status) {
            self.fail(Component::Verification, &format!("{property} does not hold"));
        } else if self.state() == State::Bringup {
            self.good.insert(property);
            if self.good.len() == 4 {
                self.touched = now;
                self.probed_at = now;
                self.silent = [0; 4];
            }
        }
    }

    fn app_started(&mut self, app: &AppName, now: Timestamp) {
        if !self.lives() {
            return;
        }
        if *app == AppName::main() {
            if !self.has_command() || self.main_started || self.main_exit.is_some() {
                return;
            }
            self.main_started = true;
        }
        self.alone_since = None;
        if self.living.insert(app.clone()) {
            self.touched = now;
        }
    }

    fn app_exited(&mut self, app: &AppName, exit: &Exit, now: Timestamp) {
        if !self.lives() {
            return;
        }
        let is_main = *app == AppName::main() && self.has_command() && self.main_exit.is_none();
        if !self.living.remove(app) && !is_main {
            return;
        }
        self.touched = now;
        if is_main {
            self.main_exit = Some(exit.clone());
        }
        if self.main_exit.is_some() && self.living.is_empty() {
            self.alone_since = Some(now);
        }
        if is_main && self.clients > 0 && self.ends_by_exit() {
            self.finish(EndedBy::MainExited, DEFAULT_GRACE);
        }
    }

    fn tick(&mut self, now: Timestamp) {
        let passed = |since: Timestamp, span: Option<Millis>| span.is_some_and(|s| now >= since.plus(s));
        if !self.lives() && self.state() != State::Bringup {
            return;
        }
        if passed(self.opened, self.opening.ttl) {
            return self.finish(EndedBy::TimeToLive, DEFAULT_GRACE);
        }
        if !self.lives() {
            return self.mute(&self.wants_probes(now));
        }
        if let (MainCommand::Ends { linger }, Some(since)) = (self.opening.command, self.alone_since)
            && passed(since, Some(linger))
        {
            return self.finish(EndedBy::Linger, DEFAULT_GRACE);
        }
        if !self.frozen && self.clients == 0 && passed(self.touched, self.opening.idle_timeout) {
            return self.finish(EndedBy::IdleTimeout, DEFAULT_GRACE);
        }
        self.mute(&self.wants_probes(now));
    }

    /// Before probes are asked for: a property that never answers does not hold.
    fn mute(&mut self, about: &[Property]) {
        let mute = about.iter().find(|&&p| self.silent[p as usize] >= u32::from(SILENT_PROBES));
        if let Some(property) = mute {
            self.fail(Component::Verification, &format!("the probe of {property} gives no answer"));
        }
    }
}

/// Steps of the wipe that are never tried again.
const SAID_ONCE: [WipeStep; 4] =
    [WipeStep::RefuseAttaches, WipeStep::SignalApps, WipeStep::RetireRoute, WipeStep::FinaliseAudit];
