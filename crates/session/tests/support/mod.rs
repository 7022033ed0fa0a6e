//! A driver that answers everything well and at once.

use std::collections::VecDeque;

use sessile_model::receipt::WipeEvidence;
use sessile_model::{AppName, PropertyStatus, State, Timestamp};
use sessile_session::{Effect, Effects, Entry, Event, MainCommand, Opening, Session};

pub const START: Timestamp = Timestamp::from_millis(1_760_000_000_000);

pub fn opening(command: MainCommand) -> Opening {
    Opening { command, ttl: None, idle_timeout: None, accept_weaker: Vec::new() }
}

pub fn good() -> PropertyStatus {
    PropertyStatus { holds: true, evidence: vec!["looked".into()], weaker_because: Vec::new() }
}

/// The outcome of an effect when all goes well; `None` for those without one.
pub fn outcome(effect: &Effect) -> Option<Event> {
    match effect {
        Effect::CutRoute
        | Effect::Journal(_)
        | Effect::Checkpoint
        | Effect::RecordChanged
        | Effect::Finish => None,
        Effect::Do(step) => Some(Event::StepDone { step: *step }),
        Effect::Undo(step) => Some(Event::UndoDone { step: *step }),
        Effect::Probe(property) => Some(Event::Probed { property: *property, status: good() }),
        Effect::StartMain => Some(Event::AppStarted { app: AppName::main() }),
        Effect::Freeze { turn } => Some(Event::Frozen { turn: *turn }),
        Effect::Thaw { turn } => Some(Event::Thawed { turn: *turn }),
        Effect::Wipe { step, attempt, .. } => Some(Event::WipeStepDone {
            step: *step,
            attempt: *attempt,
            evidence: WipeEvidence::NothingToDo,
            took_us: 1,
        }),
    }
}

/// A session and what it has asked for.
#[derive(Clone, Debug)]
pub struct Life {
    pub session: Session,
    pub now: Timestamp,
    pub journal: Vec<Entry>,
    /// Outcomes that were not handed in yet.
    pub pending: VecDeque<Event>,
    /// Every effect of the last call.
    pub last: Vec<Effect>,
}

impl Life {
    pub fn open(opening: Opening) -> Self {
        let mut effects = Effects::new();
        let session = Session::open(opening, START, &mut effects);
        let mut life =
            Self { session, now: START, journal: Vec::new(), pending: VecDeque::new(), last: Vec::new() };
        life.take(effects);
        life
    }

    /// As a new keeper finds it.
    #[allow(dead_code, reason = "not every test restores")]
    pub fn restored(session: Session) -> Self {
        Self { session, now: START, journal: Vec::new(), pending: VecDeque::new(), last: Vec::new() }
    }

    /// Opened and active, with the main command running if there is one.
    pub fn active(opening: Opening) -> Self {
        let mut life = Self::open(opening);
        life.settle();
        assert_eq!(life.session.state(), State::Active);
        life
    }

    pub fn hand_in(&mut self, event: Event) -> &mut Self {
        let mut effects = Effects::new();
        self.session = self.session.clone().advance(event, self.now, &mut effects);
        self.take(effects);
        self
    }

    /// Hands in outcomes until none is left.
    pub fn settle(&mut self) -> &mut Self {
        while let Some(event) = self.pending.pop_front() {
            self.hand_in(event);
        }
        self
    }

    fn take(&mut self, mut effects: Effects) {
        self.last = effects.drain().collect();
        self.pending.extend(self.last.iter().filter_map(outcome));
        for effect in &self.last {
            if let Effect::Journal(entry) = effect {
                self.journal.push(entry.clone());
            }
        }
    }
}
