//! One seed: a session is opened, lived in, broken and ended, and compared at every step.

use std::collections::BTreeSet;
use std::fmt;

use sessile_model::record::Grant;
use sessile_model::state::{Component, EndedBy, Outcome, State};
use sessile_model::{AppName, Millis, Property, Timestamp};
use sessile_session::{
    Admission, Effect, Effects, Entry, Event, MainCommand, Note, Opening, Request, Session, Violation,
};

use crate::prng::Prng;
use crate::reference::{Owed, Reference};
use crate::stats::Stats;
use crate::world::{Faults, World};
use crate::wrong::Wrong;

/// Noon of some day.
const START: i64 = 1_760_000_000_000;
/// Events within which a session has to be closed once its end was asked for and nothing breaks.
const PATIENCE: usize = 500;
const LOST: (Component, &str) = (Component::Keeper, "the checkpoint was lost");

/// A disagreement, and the way there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Replays it.
    pub seed: u64,
    /// Events handed to the machine until then.
    pub step: usize,
    /// What is wrong.
    pub what: String,
    /// The events and effects on the shortest way that was found.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} at event {}: {}", self.seed, self.step, self.what)?;
        for line in &self.trace {
            writeln!(f, "    {line}")?;
        }
        write!(f, "replay with SESSILE_SEED={}", self.seed)
    }
}

impl std::error::Error for Failure {}

/// Whether a run goes on.
enum Flow {
    On,
    /// The session was closed and accounted for, or never opened.
    Over,
}

pub(crate) struct Run {
    world: World,
    /// What people do; apart from the world's dice, so that either can be changed alone.
    dice: Prng,
    pub(crate) session: Session,
    pub(crate) reference: Reference,
    saved: Option<(Session, Reference)>,
    journal: Vec<Entry>,
    finished: bool,
    attached: u32,
    apps: u32,
    steps: usize,
    trace: Option<Vec<String>>,
}

/// Runs one seed with these faults and this mistake.
pub(crate) fn run_with(seed: u64, faults: Faults, wrong: Wrong, traced: bool) -> Result<Stats, Failure> {
    let mut dice = Prng::new(seed);
    let world_dice = Prng::new(dice.draw());
    let opening = invent(&mut dice);
    let world = World::new(opening.clone(), world_dice, faults, wrong, START);
    let now = Timestamp::from_millis(START);
    let mut effects = Effects::new();
    let mut run = Run {
        world,
        dice,
        session: Session::open(opening.clone(), now, &mut effects),
        reference: Reference::open(opening, now),
        saved: None,
        journal: Vec::new(),
        finished: false,
        attached: 0,
        apps: 0,
        steps: 0,
        trace: traced.then(Vec::new),
    };
    match run.live(effects) {
        Ok(()) => {
            run.world.stats.runs = 1;
            run.world.stats.events = run.steps as u64;
            Ok(run.world.stats)
        }
        Err(what) => Err(Failure { seed, step: run.steps, what, trace: run.trace.unwrap_or_default() }),
    }
}

fn invent(dice: &mut Prng) -> Opening {
    let span = |dice: &mut Prng, one_in: u64, low: i64, high: i64| {
        let span = Millis(dice.between(low, high).unsigned_abs());
        dice.one_in(one_in).then_some(span)
    };
    let linger = Millis(dice.between(1_000, 100_000).unsigned_abs());
    let command = match dice.below(6) {
        0 => MainCommand::None,
        1 => MainCommand::Kept,
        _ => MainCommand::Ends { linger },
    };
    let accept_weaker = Property::ALL.into_iter().filter(|_| dice.one_in(6)).collect();
    Opening {
        command,
        ttl: span(dice, 5, 500, 300_000),
        idle_timeout: span(dice, 4, 2_000, 60_000),
        accept_weaker,
    }
}

impl Run {
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.world.now)
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(line());
        }
    }

    fn live(&mut self, mut opened: Effects) -> Result<(), String> {
        let effects: Vec<Effect> = opened.drain().collect();
        let owed = self.reference.owed();
        self.check_acts(&effects, &owed, false)?;
        if let Flow::Over = self.carry(effects)? {
            return Ok(());
        }
        let length = if self.dice.one_in(64) { 900 } else { self.dice.between(20, 160) };
        for _ in 0..length {
            if let Flow::Over = self.turn(true)? {
                return Ok(());
            }
        }
        self.world.faults = Faults::NONE;
        let grace = Millis(self.dice.below(20_000));
        self.deliver(Event::EndRequested { by: EndedBy::Operator, grace })?;
        for _ in 0..PATIENCE {
            if let Flow::Over = self.turn(false)? {
                return Ok(());
            }
        }
        Err(format!("not closed {PATIENCE} events after its end was asked for"))
    }

    /// One thing happens.
    fn turn(&mut self, eventful: bool) -> Result<Flow, String> {
        if self.finished {
            return self.afterlife();
        }
        let crash = self.dice.one_in(100);
        if crash && self.world.faults.crashes {
            return self.crash();
        }
        let act = self.dice.one_in(3);
        if eventful && act {
            return self.happening();
        }
        let waits = match self.session.state() {
            State::Active | State::Paused => false,
            // What is verified has a deadline; a time to live is none to count on.
            State::Bringup => !self.reference.owed().iter().any(|o| matches!(o, Owed::Verdict(_))),
            State::Ending | State::Failed | State::Closed => true,
        };
        if waits && !self.world.is_busy() {
            return Err("nothing is on its way, and the session is not closed".into());
        }
        let deadline = self.session.next_deadline().map(Timestamp::as_millis);
        let next = [self.world.next_due(), deadline].into_iter().flatten().min();
        self.world.now = self.world.now.max(next.unwrap_or(self.world.now + 1_000));
        self.world.turn()?;
        if let Some(event) = self.world.arrive() {
            return self.deliver(event);
        }
        self.deliver(Event::Tick)
    }

    /// Something from outside.
    fn happening(&mut self) -> Result<Flow, String> {
        let faults = self.world.faults;
        match self.dice.below(16) {
            0 if faults.jumps => {
                self.world.stats.jumps += 1;
                let jump = match self.dice.below(4) {
                    0 => -self.dice.between(0, 5_000),
                    1 => self.dice.between(0, 200_000_000),
                    _ => self.dice.between(0, 30_000),
                };
                self.world.now += jump;
                self.deliver(Event::Tick)
            }
            1 if faults.deaths && self.dice.one_in(6) && !self.world.anchor_dead => {
                self.world.stats.anchors += 1;
                self.world.lose_anchor();
                Ok(Flow::On)
            }
            1 if faults.deaths && self.dice.one_in(8) => {
                self.world.break_component();
                Ok(Flow::On)
            }
            2 | 3 if faults.doubles => match self.world.stale() {
                Some(event) => {
                    self.world.stats.stale += 1;
                    self.deliver(event)
                }
                None => Ok(Flow::On),
            },
            _ if faults.clients => self.request(),
            _ => Ok(Flow::On),
        }
    }

    /// A client asks for something.
    fn request(&mut self) -> Result<Flow, String> {
        let app = if self.dice.one_in(2) { AppName::main() } else { self.app(self.apps) };
        let request = match self.dice.below(16) {
            0..=2 => Request::Attach,
            3 | 4 => Request::Exec,
            5 => Request::Input { app },
            6 | 7 => Request::Pause,
            8 | 9 => Request::Resume,
            10 if self.dice.one_in(6) => Request::End,
            11 => Request::Collect,
            12 => match self.dice.below(4) {
                0 => Request::Show,
                1 => Request::Export,
                2 => Request::Diff,
                _ => Request::Apply,
            },
            _ if self.attached > 0 => {
                self.attached -= 1;
                return self.deliver(Event::ClientDetached);
            }
            _ if self.dice.one_in(20) => {
                let [role, code] = ["A", "not-offered"].map(str::to_owned);
                let (label, ends) = (Some("m".to_owned()), self.dice.one_in(4));
                return self.deliver(Event::Violated { violation: Violation { role, code, label }, ends });
            }
            _ => return self.deliver(Event::Activity),
        };
        let answer = self.session.admit(&request);
        let expected = self.reference.may(&request);
        let got = answer.as_ref().ok().map(|a| *a == Admission::Granted);
        if got != expected {
            return Err(format!("{request:?} was answered {answer:?}, expected {expected:?}"));
        }
        self.world.stats.requests += 1;
        if got != Some(true) {
            self.world.stats.denied += u64::from(got.is_none());
            return Ok(Flow::On);
        }
        match request {
            Request::Show | Request::Diff => Ok(Flow::On),
            Request::Attach => {
                self.attached += 1;
                self.deliver(Event::ClientAttached)
            }
            Request::Input { .. } => self.deliver(Event::Activity),
            Request::Exec => {
                if !self.world.anchor_dead {
                    self.apps += 1;
                    let app = self.app(self.apps);
                    self.world.exec(app)?;
                }
                Ok(Flow::On)
            }
            Request::Pause => self.deliver(Event::PauseRequested),
            Request::Resume => self.deliver(Event::ResumeRequested),
            Request::Export | Request::Apply => self.deliver(Event::Noted(Note::Granted {
                grant: Grant::Tools { path: Some("/secret".into()) },
            })),
            Request::Collect => self.deliver(Event::Collected),
            Request::End => {
                let grace = Millis(self.dice.below(30_000));
                self.deliver(Event::EndRequested { by: EndedBy::Operator, grace })
            }
        }
    }

    fn app(&self, number: u32) -> AppName {
        format!("x{number}").parse().unwrap_or_else(|_| AppName::main())
    }

    /// A closed session stays as it is, whatever comes in.
    fn afterlife(&mut self) -> Result<Flow, String> {
        let before = self.session.clone();
        let late = [
            self.world.stale().unwrap_or(Event::Tick),
            Event::AnchorDied,
            Event::EndRequested { by: EndedBy::Operator, grace: Millis(1) },
            Event::ClientAttached,
        ];
        for event in late {
            let mut effects = Effects::new();
            self.session = self.session.clone().advance(event, self.now(), &mut effects);
            if self.session != before || !effects.is_empty() {
                return Err("a closed session changed".into());
            }
        }
        self.count_outcome()?;
        Ok(Flow::Over)
    }

    fn count_outcome(&mut self) -> Result<(), String> {
        let stats = &mut self.world.stats;
        let by = match self.session.outcome() {
            Some(Outcome::Ended { by }) => {
                stats.ended += 1;
                by
            }
            Some(Outcome::Cancelled { by }) => {
                stats.cancelled += 1;
                by
            }
            Some(Outcome::Failed { cause, .. }) => {
                stats.failed += 1;
                stats.by_silence += u64::from(cause.ends_with("no answer"));
                return Ok(());
            }
            Some(Outcome::Faulted { .. }) => {
                stats.faulted += 1;
                return Ok(());
            }
            None => return Err("closed without a sound outcome".into()),
        };
        match by {
            EndedBy::Operator => stats.by_operator += 1,
            EndedBy::MainExited => stats.by_exit += 1,
            EndedBy::TimeToLive => stats.by_time_to_live += 1,
            EndedBy::IdleTimeout => stats.by_idleness += 1,
            EndedBy::Linger => stats.by_linger += 1,
            EndedBy::Cancelled => {}
        }
        Ok(())
    }

    /// Hands in one event, compares, and carries out what is asked.
    fn deliver(&mut self, event: Event) -> Result<Flow, String> {
        let now = self.now();
        self.note(|| format!("{} <- {event:?}", now.as_millis() - START));
        self.steps += 1;
        self.world.heard(&event);
        let was = self.reference.state();
        let owed_before = self.reference.owed();
        let wiped_before = self.reference.wiped.len();
        let due = if event == Event::Tick { self.reference.wants_probes(now) } else { Vec::new() };

        let mut effects = Effects::new();
        let session = self.session.clone();
        self.session = session.advance(event.clone(), now, &mut effects);
        let mut effects: Vec<Effect> = effects.drain().collect();
        self.world.wrong.tamper(&mut effects);
        self.reference.observe(&event, now);

        let is = self.reference.state();
        let owed = self.reference.owed();
        let restarted = event == Event::KeeperRestarted;
        let failing = is == State::Failed && was != State::Failed;
        let answered = owed != owed_before;
        let hold_over = matches!(event, Event::Thawed { .. } | Event::FreezeFailed { .. }) && answered;
        let lives = is == State::Active && !owed.contains(&Owed::Freeze);
        let probes = lives && (!due.is_empty() || hold_over || restarted);

        let torn = matches!(is, State::Ending | State::Failed);
        let again = restarted || failing || (torn && event == Event::AnchorDied);
        let mut expected: BTreeSet<Owed> =
            if again { owed.clone() } else { owed.difference(&owed_before).copied().collect() };
        if is == State::Bringup {
            expected.extend(due.into_iter().map(Owed::Verdict));
        }
        if restarted && is == State::Paused && !owed.contains(&Owed::Thaw) {
            expected.insert(Owed::Freeze);
        }
        self.check_acts(&effects, &expected, probes)?;
        self.check_order(&effects)?;
        let cuts = effects.first() == Some(&Effect::CutRoute);
        if cuts != (failing || (restarted && is == State::Failed)) {
            return Err(format!("from {was} to {is}, the first effect is {:?}", effects.first()));
        }
        self.check_journal(&effects, was, is, wiped_before)?;
        let changed = owed != owed_before || was != is;
        self.check_checkpoint(&effects, changed)?;
        self.agree()?;
        if was != is {
            self.world.stats.active += u64::from(was == State::Bringup && is == State::Active);
            self.world.stats.paused += u64::from(is == State::Paused);
        }
        self.carry(effects)
    }

    /// Carries out effects in order; the keeper may die between any two.
    fn carry(&mut self, effects: Vec<Effect>) -> Result<Flow, String> {
        let torn = self.dice.one_in(100) && self.world.faults.crashes;
        let until = if torn { self.dice.below(effects.len() as u64 + 1) as usize } else { usize::MAX };
        let mut out = Vec::new();
        for (index, effect) in effects.into_iter().enumerate() {
            if index == until {
                self.world.stats.torn_effects += 1;
                return self.crash();
            }
            self.note(|| format!("      {effect:?}"));
            match effect {
                Effect::Journal(entry) => self.journal.push(entry),
                Effect::Checkpoint => {
                    if self.world.checkpoint_gone {
                        return Err("the checkpoint is written after it was overwritten".into());
                    }
                    self.saved = Some((self.session.clone(), self.reference.clone()));
                }
                Effect::RecordChanged => {}
                Effect::Finish => self.finish()?,
                Effect::CutRoute => {
                    self.world.begin(Effect::CutRoute);
                    if !self.world.route_is_cut() {
                        return Err("the route is open after it was cut".into());
                    }
                }
                act @ (Effect::Do(_)
                | Effect::Undo(_)
                | Effect::Probe(_)
                | Effect::StartMain
                | Effect::Freeze { .. }
                | Effect::Thaw { .. }
                | Effect::Wipe { .. }) => {
                    let wrong = self.world.wrong;
                    wrong.mislead(act, &mut out);
                    for effect in out.drain(..) {
                        self.world.begin(effect);
                    }
                }
            }
        }
        if self.session.state() == State::Failed && !self.world.route_is_cut() {
            return Err("failed, and the route is open".into());
        }
        Ok(Flow::On)
    }

    fn finish(&mut self) -> Result<(), String> {
        let Some(receipt) = self.session.wipe_receipt() else {
            return Err("finished without a receipt".into());
        };
        self.world.account(receipt.lines())?;
        self.finished = true;
        Ok(())
    }

    /// The keeper dies and another takes over.
    fn crash(&mut self) -> Result<Flow, String> {
        self.world.stats.crashes += 1;
        self.note(|| "      the keeper dies".to_owned());
        self.world.lose_keeper();
        self.attached = 0;
        self.finished = false;
        let damaged = self.dice.one_in(12);
        let saved = self.saved.take().filter(|_| !self.world.checkpoint_gone && !damaged);
        let flow = match saved {
            Some((session, reference)) => self.restore(session, reference)?,
            None => self.recover()?,
        };
        self.world.adopt();
        Ok(flow)
    }

    fn restore(&mut self, session: Session, reference: Reference) -> Result<Flow, String> {
        let stored = serde_json::to_vec(&session).map_err(|e| e.to_string())?;
        let restored: Session = serde_json::from_slice(&stored).map_err(|e| e.to_string())?;
        if restored != session {
            return Err("a restored session is another".into());
        }
        self.saved = Some((session, reference.clone()));
        self.session = restored;
        self.reference = reference;
        let event = Event::KeeperRestarted;
        if self.world.wrong.tells_restart(&event) { self.deliver(event) } else { Ok(Flow::On) }
    }

    fn recover(&mut self) -> Result<Flow, String> {
        let now = self.now();
        let mut effects = Effects::new();
        let recovered = Session::recover(&self.journal, LOST.0, LOST.1, now, &mut effects);
        let reference = Reference::from_journal(&self.journal, LOST, now);
        let (session, reference) = match (recovered, reference) {
            (Ok(session), Some(reference)) => (session, reference),
            (Err(_), None) => {
                self.world.stats.never_opened += 1;
                return Ok(Flow::Over);
            }
            (recovered, reference) => {
                return Err(format!("recovered {recovered:?}, expected {reference:?}"));
            }
        };
        self.world.stats.recoveries += 1;
        self.note(|| "      recovered from the journal".to_owned());
        self.session = session;
        self.reference = reference;
        let effects: Vec<Effect> = effects.drain().collect();
        let owed = self.reference.owed();
        self.check_acts(&effects, &owed, false)?;
        self.check_order(&effects)?;
        self.check_checkpoint(&effects, true)?;
        let is = self.reference.state();
        if (effects.first() == Some(&Effect::CutRoute)) != (is == State::Failed) {
            return Err("recovered as failed without cutting the route".into());
        }
        self.agree()?;
        self.carry(effects)
    }
}
