//! A session's protocol while it goes on: who may say what, what waits for whom, and that none of it is
//! lost with the keeper.
//!
//! ```text
//! a line ─► speaker? ─► monitor: admitted ─► guard ─► monitor: still admitted ─► log ─► acknowledged
//! a recv ─► speaker? ─► looked at ─► written out by who asked ─► taken: monitor ─► log
//! ```
//!
//! Without a protocol lines are free ([`free`]). Nothing is acknowledged before it is in the log, and what could
//! not be logged did not happen.

mod clocked;
mod conversation;
pub mod door;
mod either;
mod error;
pub mod free;
mod holds;
mod listening;
pub(crate) mod log;
mod office;
mod repeats;
mod requests;
mod saying;
mod seals;
mod told;

use std::collections::BTreeMap;
use std::mem::{Discriminant, discriminant};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sessile_model::ids::AppName;
use sessile_model::protocol::{LONGEST_PAYLOAD, OnViolation, ProtocolSpec, Signing, Speaker};
use sessile_model::quantity::{Millis, Timestamp};
use sessile_protocol::held::planned;
use sessile_protocol::machine::{Direction, Role};
use sessile_protocol::monitor::Monitor;
use sessile_protocol::monitor::event::{By, Close, Event, Status, Violation, What};
use sessile_protocol::monitor::setup::{
    Authentication, Binding, Buffer, Channel, Handler, Participant, SessionId, Setup, WhenFull,
};
use sessile_protocol::plan::{Edge, Plan};

use clocked::Clocked;
pub use conversation::{Conversation, Talk, TalkFacts};
pub use error::{AdoptError, LineError, OpeningError};
use holds::Holds;
use listening::Takes;
use log::{Log, LogError};
use repeats::{Mark, Repeats};
pub use requests::{Caller, PendingLine};
pub use seals::Sealed;

/// The name under which the anchor keeps the log.
pub const NAME: &str = "channels";
/// How many messages wait from one role to another, where few do; one more waits with its sender.
const CAPACITY: u32 = 16;
/// How many messages wait at most, so that the log has room for all of them several times.
const MOST_WAITING: u32 = 256;
/// In how many directions roles may talk to each other.
const MOST_WAYS: usize = MOST_WAITING as usize;

impl Channels {
    /// The role that an app speaks for; of several the first.
    pub fn role_of(&self, app: &AppName) -> Option<&str> {
        let is_meant = |speaker: &Speaker| matches!(speaker, Speaker::App(name) if name == app);
        self.speakers.iter().find(|(_, speaker)| is_meant(speaker)).map(|(role, _)| role.as_str())
    }
}

/// Names a line, so that it is said once however often its sender tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token(pub [u8; 16]);

/// A protocol under way.
#[derive(Debug)]
pub struct Channels {
    spec: ProtocolSpec,
    plan: Arc<Plan>,
    monitor: Monitor,
    /// Who speaks for each role now.
    speakers: BTreeMap<String, Speaker>,
    /// Lines that were said: the last ones.
    said: Repeats,
    /// Lines that were taken: the last ones.
    taken: Takes,
    /// When it was last told the time.
    told: Option<Timestamp>,
    /// Whether time counts, as last told.
    counts: Option<bool>,
    log: Log,
    held: Holds<Role>,
    /// What was refused, or ended the conversation, and is not journaled yet.
    violations: Vec<sessile_session::Violation>,
    /// The status that was last shown.
    shown: Discriminant<Status>,
}

/// The first record of a log, without the state.
#[derive(Serialize, Deserialize)]
struct Base {
    #[serde(default)]
    clocked: Option<Clocked>,
    spec: ProtocolSpec,
    said: Repeats,
    taken: Takes,
}

/// What a role would hear next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Who said it.
    pub from: String,
    /// What it is called.
    pub label: String,
    /// What it carries.
    pub payload: Vec<u8>,
    /// The how-manieth it is from that role: with this it is taken.
    pub sequence: u64,
}

/// Something that a role may do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// Whether it says or hears it.
    pub says: bool,
    /// To or from whom.
    pub peer: String,
    /// What it is called.
    pub label: String,
    /// The types of what it carries, as the file names them.
    pub payload: Vec<String>,
    /// Whether it can be done at once.
    pub ready: bool,
    /// For how long it may still be said, where that is bounded.
    pub left: Option<Millis>,
}

impl Channels {
    /// Checks a protocol and opens it.
    ///
    /// # Errors
    /// When it is not accepted, or its roles are not all spoken for.
    pub fn open(spec: ProtocolSpec, session: [u8; 16]) -> Result<Self, OpeningError> {
        let plan = plan_of(&spec)?;
        let bind = |(name, speaker): (&String, &Speaker)| {
            let participant = Participant::new(&speaker.to_string());
            plan.role(name).map(|role| Binding { role, participant, key: None })
        };
        let bindings = spec.roles.iter().filter_map(bind).collect();
        let ways = plan.edges().len();
        if ways > MOST_WAYS {
            return Err(OpeningError::TooManyWays(ways));
        }
        let capacity = (MOST_WAITING / (ways as u32).max(1)).clamp(1, CAPACITY);
        let buffer = Buffer::Fifo { capacity, when_full: WhenFull::Block };
        let on_violation = match spec.on_violation {
            OnViolation::Refuse => sessile_protocol::monitor::setup::OnViolation::Refuse,
            OnViolation::Fault => sessile_protocol::monitor::setup::OnViolation::Fault,
        };
        let setup = Setup {
            session: SessionId(session),
            bindings,
            channels: Channel::each(&plan, Handler::Guard, buffer),
            closers: office::closers(&spec, &plan)?,
            on_violation,
            authentication: match spec.signing {
                Signing::Signed => Authentication::Signed { on_forgery: on_violation },
                // Who hands a line over is known by the socket that it comes by.
                Signing::Unsigned => Authentication::Unsigned,
            },
            longest_payload: LONGEST_PAYLOAD as u32,
        };
        let mut monitor = Monitor::open(&plan, setup)?;
        while monitor.next_event().is_some() {}
        let known = (Repeats::default(), Takes::default());
        let log = Log::begin(&record_of(&spec, (&known.0, &known.1), None, &monitor)?)?;
        Ok(Self::of(spec, plan, monitor, known, log))
    }

    fn of(
        spec: ProtocolSpec,
        plan: Arc<Plan>,
        monitor: Monitor,
        (said, taken): (Repeats, Takes),
        log: Log,
    ) -> Self {
        let (told, counts, held, violations) = (None, None, Holds::default(), Vec::new());
        let shown = discriminant(monitor.status());
        let speakers = office::speakers(&plan, &monitor);
        Self { spec, plan, monitor, speakers, said, taken, told, counts, log, held, violations, shown }
    }

    /// Takes over what a predecessor kept.
    ///
    /// # Errors
    /// When it is damaged, or not of a protocol that is accepted.
    pub fn adopt(file: OwnedFd) -> Result<Self, AdoptError> {
        let (log, records) = Log::adopt(file)?;
        let mut records = records.into_iter();
        let first = records.next().ok_or(AdoptError::Record)?;
        let mut rest = Fields(&first);
        let Base { mut clocked, spec, mut said, mut taken } =
            serde_json::from_slice(rest.field()?).map_err(|_| AdoptError::Record)?;
        let plan = plan_of(&spec)?;
        let mut monitor = Monitor::restore(&plan, rest.field()?)?;
        for record in records {
            let mut rest = Fields(&record);
            let note = rest.field()?;
            let mut events = Vec::new();
            while !rest.0.is_empty() {
                let field = rest.field()?;
                match Clocked::decoded(field) {
                    Some(then) => clocked = Some(then),
                    None => events.push(Event::decode(field)?),
                }
            }
            if let Some(mark) = Mark::decoded(note) {
                said.remember(mark, sequence_of(&events));
            }
            taken.follow(note, &events);
            monitor.follow(events)?;
        }
        let mut adopted = Self::of(spec, plan, monitor, (said, taken), log);
        if let Some(then) = clocked {
            // What has passed since passes with the next word of the time.
            adopted.monitor.tick(then.passed.max(adopted.monitor.now()));
            adopted.told = then.counts.then_some(then.told);
            adopted.counts = Some(then.counts);
        }
        if let (Status::Faulted { violation }, OnViolation::Fault) =
            (adopted.monitor.status(), adopted.spec.on_violation)
        {
            // The session is to end with it, and may not have been told.
            let noted = adopted.noted(violation);
            adopted.violations.push(noted);
        }
        Ok(adopted)
    }

    /// What a role may say or hear next.
    ///
    /// # Errors
    /// When there is no such role, or somebody else speaks for it.
    pub fn offered(&self, asked: &Speaker, role: &str) -> Result<Vec<Offered>, LineError> {
        let role = self.spoken(asked, role)?;
        let until = self.monitor.deadline(role).and_then(|until| until.checked_sub(self.monitor.now()));
        let left = until.map(|left| Millis(u64::try_from(left.as_millis()).unwrap_or(u64::MAX)));
        let offered = |offer: sessile_protocol::monitor::Offer| {
            let signature = &self.plan.messages()[offer.message.0 as usize];
            let says = offer.direction == Direction::Send;
            Offered {
                says,
                left: left.filter(|left| says && left.0 > 0),
                peer: self.name(offer.peer).to_owned(),
                label: signature.label.to_string(),
                payload: signature.payload.iter().map(ToString::to_string).collect(),
                ready: offer.ready,
            }
        };
        Ok(self.monitor.offered(role).map(offered).collect())
    }

    /// Says what time it is, and whether time has counted since it was last said: while a session is
    /// paused, it does not.
    ///
    /// # Errors
    /// When what expires cannot be logged.
    pub fn pass(&mut self, now: Timestamp, counts: bool) -> Result<(), LineError> {
        let before = self.told.replace(now);
        let passed = before.filter(|_| counts).map_or(Millis(0), |before| now.since(before));
        self.monitor.tick(self.monitor.now() + passed.as_duration());
        let has_changed = self.counts.replace(counts) != Some(counts);
        if self.settle(&[])?.is_empty() && has_changed {
            // A successor counts from here on, or does not.
            self.write(&[], &[])?;
        }
        Ok(())
    }

    /// When something expires next, as long as time counts: when to [`pass`](Self::pass) at the latest.
    pub fn expires(&self) -> Option<Timestamp> {
        let left = self.monitor.next_deadline()?.saturating_sub(self.monitor.now());
        // A part of a millisecond is waited for as a whole one.
        let left = Millis(u64::try_from(left.as_millis()).unwrap_or(u64::MAX).saturating_add(1));
        self.told.map(|told| told.plus(left))
    }

    /// Who may say something to whom.
    pub fn ways(&self) -> impl Iterator<Item = (&str, &str)> {
        self.plan.edges().iter().map(|edge| (self.name(edge.from), self.name(edge.to)))
    }

    /// How many lines were said.
    pub fn said(&self) -> u64 {
        let said = |edge: &Edge| self.monitor.position(edge.from, edge.to).map_or(0, |place| place.sequence);
        self.plan.edges().iter().map(said).sum()
    }

    /// Who speaks for a role.
    pub fn speaker(&self, role: &str) -> Option<&Speaker> {
        self.speakers.get(role)
    }

    /// Ends the conversation with its session: nothing more is said, and what was said can be heard until
    /// it is aborted.
    ///
    /// # Errors
    /// When it cannot be logged.
    pub fn close(&mut self, how: Close) -> Result<(), LineError> {
        match self.monitor.close(By::Operator, how) {
            Ok(()) => self.settle(&[]).map(drop),
            // It was over before.
            Err(_) => Ok(()),
        }
    }

    /// Whether the conversation stands otherwise than when this was last asked.
    pub fn has_changed(&mut self) -> bool {
        let now = discriminant(self.monitor.status());
        std::mem::replace(&mut self.shown, now) != now
    }

    /// Whether lines can still be said.
    pub fn is_active(&self) -> bool {
        *self.monitor.status() == Status::Active
    }

    /// The log's file, for the anchor's store.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.log.fd()
    }

    /// Whether most of the log is over.
    pub fn is_worth_renewing(&self) -> bool {
        self.log.is_worth_renewing()
    }

    /// Goes on with a new log, once it is `kept` under the name of the one before, which is overwritten.
    ///
    /// # Errors
    /// When there is no memory for it, or it is not kept; then the log before goes on.
    pub fn renew<E: From<LogError>>(
        &mut self,
        kept: impl FnOnce(BorrowedFd<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let known = (&self.said, &self.taken);
        let record = record_of(&self.spec, known, self.clocked(), &self.monitor)?;
        self.log.renew(&record, kept)
    }

    /// Logs what has happened, with a note of which line was said or who took one. Where that fails it has not: the state is that of the log again.
    fn settle(&mut self, note: &[u8]) -> Result<Vec<Event>, LineError> {
        let events: Vec<Event> = std::iter::from_fn(|| self.monitor.next_event()).collect();
        if events.is_empty() {
            return Ok(events);
        }
        self.write(note, &events)?;
        for event in &events {
            if let What::Faulted { violation, .. } = &event.what {
                let noted = self.noted(violation);
                self.violations.push(noted);
            }
        }
        Ok(events)
    }

    fn write(&mut self, note: &[u8], events: &[Event]) -> Result<(), LineError> {
        let mut record = Vec::new();
        put_field(&mut record, note);
        if let Some(clocked) = self.clocked() {
            put_field(&mut record, &clocked.encoded());
        }
        for event in events {
            put_field(&mut record, &event.encode());
        }
        let Err(error) = self.log.append(&record) else { return Ok(()) };
        let file = self.log.fd().try_clone_to_owned().map_err(LogError::Io).map_err(AdoptError::Log)?;
        let adopted = Self::adopt(file)?;
        *self = Self { told: adopted.told.or(self.told), ..adopted };
        Err(error.into())
    }

    fn clocked(&self) -> Option<Clocked> {
        let (told, counts) = (self.told?, self.counts?);
        Some(Clocked { told, passed: self.monitor.now(), counts })
    }

    /// Does with a violation what the protocol's policy says. One that ends the conversation is noted with
    /// its event.
    fn refuse(&mut self, violation: &Violation) {
        if self.is_active() {
            self.monitor.refused(violation);
        }
        if !matches!(self.monitor.status(), Status::Faulted { .. }) {
            self.violations.push(self.noted(violation));
        }
    }

    fn role(&self, name: &str) -> Result<Role, LineError> {
        let unknown = || LineError::UnknownRole(name.to_owned(), self.plan.roles().join(", "));
        self.plan.role(name).ok_or_else(unknown)
    }

    /// The role, if this is who speaks for it.
    fn spoken(&self, asked: &Speaker, name: &str) -> Result<Role, LineError> {
        let role = self.role(name)?;
        match self.speakers.get(name) {
            Some(speaker) if speaker == asked => Ok(role),
            Some(speaker) => Err(LineError::NotYours {
                role: name.to_owned(),
                speaker: speaker.clone(),
                asked: asked.clone(),
            }),
            None => Err(LineError::UnknownRole(name.to_owned(), self.plan.roles().join(", "))),
        }
    }

    fn name(&self, role: Role) -> &str {
        &self.plan.roles()[usize::from(role.0)]
    }
}

/// Checks a protocol, and makes the tables that it is held to.
fn plan_of(spec: &ProtocolSpec) -> Result<Arc<Plan>, OpeningError> {
    spec.check_size()?;
    let files: Vec<(&str, &str)> = spec.files.iter().map(|file| (&*file.name, &*file.text)).collect();
    let speakers: Vec<(&str, String)> =
        spec.roles.iter().map(|(role, speaker)| (&**role, speaker.to_string())).collect();
    let roles = speakers.iter().map(|(role, speaker)| (*role, &**speaker));
    Ok(planned(&files, spec.name.as_deref(), roles)?)
}

/// This state, as a log begins with it.
fn record_of(
    spec: &ProtocolSpec,
    (said, taken): (&Repeats, &Takes),
    clocked: Option<Clocked>,
    monitor: &Monitor,
) -> Result<Vec<u8>, LogError> {
    let base = Base { clocked, spec: spec.clone(), said: said.clone(), taken: taken.clone() };
    let mut record = Vec::new();
    put_field(&mut record, &serde_json::to_vec(&base).map_err(std::io::Error::from)?);
    put_field(&mut record, &monitor.snapshot());
    Ok(record)
}

fn sequence_of(events: &[Event]) -> u64 {
    let sequence = events.iter().find_map(|event| match &event.what {
        What::Sent { sequence, .. } => Some(*sequence),
        What::Opened { .. }
        | What::Received { .. }
        | What::Introduced { .. }
        | What::EpochAdvanced { .. }
        | What::Closed { .. }
        | What::Faulted { .. } => None,
    });
    sequence.unwrap_or_default()
}

fn put_field(record: &mut Vec<u8>, field: &[u8]) {
    record.extend_from_slice(&(field.len() as u64).to_le_bytes());
    record.extend_from_slice(field);
}

/// Takes a record apart.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn field(&mut self) -> Result<&'a [u8], AdoptError> {
        let (length, rest) = self.0.split_first_chunk::<8>().ok_or(AdoptError::Record)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| AdoptError::Record)?;
        let (field, rest) = rest.split_at_checked(length).ok_or(AdoptError::Record)?;
        self.0 = rest;
        Ok(field)
    }
}

#[cfg(test)]
mod tests;
