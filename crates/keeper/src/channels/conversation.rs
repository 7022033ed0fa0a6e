//! A session's conversation from its opening to its end, whoever keeps it.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};
use sessile_model::protocol::{PastViolation, ProtocolRecord, ProtocolSpec, ProtocolStatus};
use sessile_model::state::State;
use sessile_model::{Problem, ProblemKind};
use sessile_protocol::held::Unplanned;
use sessile_protocol::monitor::event::Close;
use sessile_session::Event;

use super::door::Doors;
use super::free::{self, Free};
use super::log::LogError;
use super::{Channels, LineError, NAME, OpeningError, PendingLine};
use crate::bringup::{causes, failed};
use crate::keeper::Keeper;

/// How many violations are journaled one by one; of those beyond, the record has the count.
const MOST_JOURNALED: u64 = 256;

/// How many of the last the record shows.
const MOST_SHOWN: usize = 8;

/// What a keeper has of its session's conversation.
#[derive(Debug, Default)]
pub struct Talk {
    /// What was said, and may be.
    pub conversation: Conversation,
    /// Those who wait for a line, or for room for one.
    pub lines: Vec<PendingLine>,
    /// Where apps say and hear them.
    pub doors: Doors,
}

/// What is known of a conversation besides what was said.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TalkFacts {
    /// How much was refused because the protocol did not offer it.
    pub violations: u64,
    /// The last few of it.
    #[serde(default)]
    pub last_violations: VecDeque<PastViolation>,
    /// How it ended, once it has.
    pub ended: Option<ProtocolRecord>,
    /// Whether there are lines although there is no protocol.
    #[serde(default)]
    pub free: bool,
}

/// What there is of a session's conversation.
#[derive(Debug, Default)]
pub enum Conversation {
    /// There is none: no protocol and nothing was said, or the session is so far in its end.
    #[default]
    None,
    /// It is kept.
    Held(Box<Channels>),
    /// It is kept, and held to no protocol.
    Free(Box<Free>),
    /// What was said is lost.
    Lost {
        /// Why.
        why: String,
        /// What there is of the log.
        file: Option<OwnedFd>,
    },
}

impl Conversation {
    /// Takes over what a predecessor kept with the anchor.
    pub fn adopt(store: &mut BTreeMap<String, OwnedFd>) -> Self {
        let typed = store.remove(NAME);
        let is_typed = typed.is_some();
        let Some(file) = typed.or_else(|| store.remove(free::NAME)) else { return Self::None };
        let copy = file.try_clone().map_err(|error| LogError::Io(error).into());
        let adopted = copy.and_then(|copy| match is_typed {
            true => Channels::adopt(copy).map(|channels| Self::Held(Box::new(channels))),
            false => Free::adopt(copy).map(|free| Self::Free(Box::new(free))),
        });
        adopted.unwrap_or_else(|error| Self::Lost { why: causes(&error), file: Some(file) })
    }

    /// What is to be overwritten at the session's end.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::None => None,
            Self::Held(channels) => Some(channels.fd()),
            Self::Free(free) => Some(free.fd()),
            Self::Lost { file, .. } => file.as_ref().map(|file| file.as_fd()),
        }
    }
}

impl Keeper {
    /// Opens the session's protocol, where it has one.
    pub(crate) fn open_channels(&mut self, spec: Option<&ProtocolSpec>) -> Result<(), Problem> {
        let Some(spec) = spec else { return Ok(()) };
        let channels = Channels::open(spec.clone(), self.seat.id.as_bytes()).map_err(unopened)?;
        self.keep(NAME, &channels.fd()).map_err(|e| failed("the anchor", &e))?;
        self.talk.conversation = Conversation::Held(Box::new(channels));
        Ok(())
    }

    /// Looks whether what a predecessor kept is whole. What is to be told where it is not.
    pub(crate) fn heed_conversation(&mut self) -> Option<String> {
        let facts = self.facts.as_ref()?;
        let is_held = facts.spec.protocol.is_some() && facts.talk.ended.is_none();
        let expected = is_held || facts.talk.free;
        if expected && matches!(self.talk.conversation, Conversation::None) {
            let why = "the log of what was said is gone".to_owned();
            self.talk.conversation = Conversation::Lost { why, file: None };
        }
        match &self.talk.conversation {
            Conversation::Lost { why, .. } => Some(lost(why)),
            Conversation::None | Conversation::Held(_) | Conversation::Free(_) => None,
        }
    }

    /// How the conversation stands, for the record.
    pub(crate) fn protocol_record(&self) -> Option<ProtocolRecord> {
        let facts = self.facts.as_ref()?;
        match &self.talk.conversation {
            Conversation::Held(channels) => Some(channels.record(&facts.talk)),
            Conversation::None | Conversation::Free(_) => facts.talk.ended.clone(),
            Conversation::Lost { why, .. } => {
                let spec = facts.spec.protocol.as_ref()?;
                Some(ProtocolRecord {
                    name: spec.name.clone().unwrap_or_default(),
                    roles: spec.roles.clone(),
                    on_violation: spec.on_violation,
                    signing: spec.signing,
                    closers: spec.closers.clone(),
                    epoch: 0,
                    status: ProtocolStatus::Lost { why: why.clone() },
                    violations: facts.talk.violations,
                    last_violations: facts.talk.last_violations.iter().cloned().collect(),
                    unheard: Vec::new(),
                })
            }
        }
    }

    /// The conversation, where lines can be said or heard.
    pub(super) fn channels(&mut self) -> Result<&mut Channels, Problem> {
        let has_protocol = self.facts()?.spec.protocol.is_some();
        match &mut self.talk.conversation {
            Conversation::Held(channels) => Ok(channels),
            Conversation::Lost { why, .. } => Err(Problem::new(ProblemKind::Failed, lost(why))),
            Conversation::None if has_protocol => Err(Problem::new(
                ProblemKind::Conflict,
                "the session is ending, and its conversation is over",
            )),
            Conversation::None | Conversation::Free(_) => {
                Err(Problem::new(ProblemKind::Conflict, "the session has no protocol")
                    .hint("`sessile run --protocol FILE` opens one with it"))
            }
        }
    }

    /// Lets time pass for the conversation, and ends it with its session: first nothing more is said.
    pub(super) fn tend_conversation(&mut self) {
        let Some(state) = self.machine.as_ref().map(|machine| machine.state()) else { return };
        if let Conversation::Free(free) = &mut self.talk.conversation {
            match state {
                State::Bringup | State::Active | State::Paused => {}
                State::Ending | State::Failed | State::Closed => free.close(),
            }
        }
        let Conversation::Held(channels) = &mut self.talk.conversation else { return };
        let was_active = channels.is_active();
        let tended = match state {
            State::Bringup | State::Paused => channels.pass(self.now, false),
            State::Active => channels.pass(self.now, true),
            State::Ending if was_active => channels.close(Close::Drain),
            State::Failed if was_active => channels.close(Close::Abort),
            State::Ending | State::Failed | State::Closed => Ok(()),
        };
        if let Err(error) = tended {
            self.heed_loss(error);
        }
        self.journal_violations();
    }

    /// What cannot be logged has not happened and is tried again; what cannot be gone back to is lost.
    pub(super) fn heed_loss(&mut self, error: LineError) -> LineError {
        if let LineError::Lost(cause) = &error {
            let why = causes(cause);
            let notice = lost(&why);
            if let Some(facts) = &mut self.facts {
                facts.notices.push(notice.clone());
            }
            self.notice(&notice);
            self.changed = true;
            let file = self.talk.conversation.fd().and_then(|file| file.try_clone_to_owned().ok());
            self.talk.conversation = Conversation::Lost { why, file };
        }
        error
    }

    /// Journals what was refused, ends the session where that was asked for, and shows how the conversation
    /// stands.
    pub(super) fn journal_violations(&mut self) {
        let Conversation::Held(channels) = &mut self.talk.conversation else { return };
        self.changed |= channels.has_changed();
        let (violations, ends) = channels.take_violations();
        for violation in violations {
            let Some(facts) = &mut self.facts else { return };
            facts.talk.violations += 1;
            if facts.talk.last_violations.len() == MOST_SHOWN {
                facts.talk.last_violations.pop_front();
            }
            let past = PastViolation { at: self.now, violation: violation.to_string() };
            facts.talk.last_violations.push_back(past);
            let few = facts.talk.violations <= MOST_JOURNALED;
            // Whoever goes on and on does not keep everybody busy who follows the record.
            self.changed |= few || facts.talk.violations.is_power_of_two();
            if ends || few {
                self.advance(Event::Violated { violation, ends });
            }
        }
    }

    /// Ends what is left of the conversation, and notes how it ended.
    pub(crate) fn end_conversation(&mut self) -> Conversation {
        if let Conversation::Held(channels) = &mut self.talk.conversation {
            // Where it cannot be logged, nobody goes on with it either.
            let _ = channels.close(Close::Abort);
        }
        self.talk.doors = Doors::default();
        let record = self.protocol_record();
        if let Some(facts) = &mut self.facts {
            facts.talk.ended = record;
            facts.talk.free = false;
        }
        std::mem::take(&mut self.talk.conversation)
    }

    /// Writes the log anew where most of it is over. Where that fails the one before goes on.
    pub(super) fn renew_channels(&mut self) {
        let Self { talk, seat, .. } = self;
        let keep = |name, file: BorrowedFd<'_>| {
            let kept = seat.link.put(name, file);
            kept.map_err(|e| LogError::Io(std::io::Error::other(e.to_string())))
        };
        let _ = match &mut talk.conversation {
            Conversation::Held(channels) if channels.is_worth_renewing() => {
                channels.renew(|file| keep(NAME, file))
            }
            Conversation::Free(free) if free.is_worth_renewing() => free.renew(|file| keep(free::NAME, file)),
            Conversation::None
            | Conversation::Held(_)
            | Conversation::Free(_)
            | Conversation::Lost { .. } => Ok(()),
        };
    }
}

fn lost(why: &str) -> String {
    format!("what was said in the session is lost, and nothing more can be: {why}")
}

fn unopened(error: OpeningError) -> Problem {
    let kind = match &error {
        OpeningError::Log(error) => return failed("the channels", error),
        OpeningError::Plan(Unplanned::Undecided(_)) => ProblemKind::Exhausted,
        OpeningError::TooLarge(_)
        | OpeningError::Plan(_)
        | OpeningError::TooManyWays(_)
        | OpeningError::Closer(_)
        | OpeningError::Open(_) => ProblemKind::BadRequest,
    };
    let problem = Problem::new(kind, error.to_string());
    match error {
        // What `check` finds nothing wrong with.
        OpeningError::TooManyWays(_) | OpeningError::Log(_) => problem,
        OpeningError::TooLarge(_)
        | OpeningError::Plan(_)
        | OpeningError::Closer(_)
        | OpeningError::Open(_) => {
            problem.hint("`sessile protocol check` and `sessile protocol explain` say more")
        }
    }
}
