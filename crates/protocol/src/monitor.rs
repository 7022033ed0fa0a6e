//! Lets each role of a session say and hear only what the protocol allows next.
//!
//! ```text
//!               nothing more can happen
//!          ┌───────────────────────────────────┐
//!          │        Drain          all heard   ▼
//! open → Active ─────────→ Draining ────────→ Closed
//!          │ │  Abort          │ Abort
//!          │ └─────────────────┴───────────→ Cancelled
//!          └─ a violation, by policy; a deadline ─→ Faulted
//! ```
//!
//! A monitor is a value: it reads no clock and does nothing but answer. Whoever has it takes the
//! [events](Monitor::next_event) out after each call and keeps them; the log of all of them makes
//! the same monitor again. Time is what [`Monitor::tick`] is told: a count since the session was
//! opened that never goes back and stands still while the session is paused.
//!
//! A role that is refused with [`SendError::Full`] changed nothing, and need not be remembered: the
//! [`Received`] that makes room names whoever can have waited for it.
//!
//! For a message that passes a guard, [`Monitor::admit`] says whether it may be sent and changes
//! nothing, however often it is asked; [`Monitor::commit`] sends it.
//!
//! | module | subject |
//! |---|---|
//! | [`setup`] | what a session is opened with, and whether it may be |
//! | [`event`] | what happened, what a session is, violations |
//! | [`seal`], [`endpoint`], `keys` | how messages are signed and verified, and whose keys are whose |

pub mod approval;
mod ending;
pub mod endpoint;
pub mod event;
mod hearing;
mod keys;
mod offer;
mod record;
mod replay;
pub mod seal;
pub mod setup;
mod snapshot;
mod speech;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

pub use ending::{CloseError, DelegateError};
pub use hearing::{Delivery, Received, RecvError};
pub use keys::IntroduceError;
pub use offer::Offer;
pub use record::Malformed;
pub use replay::{ReplayError, replay};
pub use snapshot::RestoreError;
pub use speech::{Admitted, Line, SendError, Sent};

use event::{Cause, Event, Lost, Payload, Status, What};
use seal::{Position, PublicKey};
use setup::{Buffer, OpenError, Participant, SessionId, Setup};

use crate::codec::Digest;
use crate::machine::{Direction, Message, Role};
use crate::plan::{EdgeId, Kind, Place, Plan};

/// Of how many messages in each direction it is known what was signed, so that one that was overtaken is
/// told from one that is repeated.
const REMEMBERED: usize = 64;

/// A session of a protocol.
#[derive(Debug)]
pub struct Monitor {
    plan: Arc<Plan>,
    setup: Arc<Setup>,
    status: Status,
    epoch: u64,
    now: Duration,
    /// How many events there were.
    count: u64,
    seats: Box<[Seat]>,
    ways: Box<[Way]>,
    lost: Box<[Lost]>,
    /// How many roles are where they send.
    speakers: usize,
    /// How many are where they receive.
    listeners: usize,
    /// How many are done.
    done: usize,
    /// How many messages wait.
    waiting: usize,
    /// Events that nobody has taken out yet.
    events: VecDeque<Event>,
}

/// A role: where it is, and who speaks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seat {
    place: Place,
    /// When it came there.
    entered: Duration,
    participant: Participant,
    key: Option<PublicKey>,
    /// Keys that were taken from those who spoke for it before.
    withdrawn: Vec<(Participant, PublicKey)>,
}

/// One direction between two roles.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Way {
    queue: VecDeque<Queued>,
    /// How many messages it may hold now.
    capacity: u32,
    /// The next message's sequence.
    sequence: u64,
    /// Where messages are signed: the links of the last ones, [`REMEMBERED`] at most.
    links: VecDeque<Digest>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Queued {
    message: Message,
    sequence: u64,
    payload: Payload,
}

impl Monitor {
    /// Opens a session. The first event is `Opened`.
    ///
    /// # Errors
    /// When the plan is not proved or the setup does not fit it; then there is no session.
    pub fn open(plan: &Arc<Plan>, mut setup: Setup) -> Result<Self, OpenError> {
        setup.admit(plan)?;
        let mut monitor = Self::begin(Arc::clone(plan), Arc::new(setup));
        let opened = What::Opened { plan: monitor.plan.hash(), setup: Arc::clone(&monitor.setup) };
        monitor.emit(opened);
        monitor.complete();
        Ok(monitor)
    }

    /// A session at its very beginning, with a setup that was admitted.
    fn begin(plan: Arc<Plan>, setup: Arc<Setup>) -> Self {
        let seat = |binding: &setup::Binding| Seat {
            place: plan.start(binding.role).expect("only roles are bound"),
            entered: Duration::ZERO,
            participant: binding.participant.clone(),
            key: binding.key.clone(),
            withdrawn: Vec::new(),
        };
        let way = |channel: &setup::Channel| Way {
            queue: VecDeque::new(),
            capacity: match channel.buffer {
                Buffer::Fifo { capacity, .. } => capacity,
                Buffer::Latest => 1,
            },
            sequence: 0,
            links: VecDeque::new(),
        };
        let seats: Box<[Seat]> = setup.bindings.iter().map(seat).collect();
        let mut monitor = Self {
            seats,
            ways: setup.channels.iter().map(way).collect(),
            plan,
            setup,
            status: Status::Active,
            epoch: 0,
            now: Duration::ZERO,
            count: 0,
            lost: Box::default(),
            events: VecDeque::with_capacity(4),
            speakers: 0,
            listeners: 0,
            done: 0,
            waiting: 0,
        };
        monitor.count_up();
        monitor
    }

    /// Counts what is counted from then on.
    fn count_up(&mut self) {
        let count = |kind| self.seats.iter().filter(|seat| self.plan.row(seat.place).kind == kind).count();
        (self.speakers, self.listeners, self.done) =
            (count(Kind::Sends), count(Kind::Receives), count(Kind::Done));
        self.waiting = self.ways.iter().map(|way| way.queue.len()).sum();
    }

    /// The session's id.
    pub fn session(&self) -> SessionId {
        self.setup.session
    }

    /// The tables that it steps through.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// What it was opened with.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// What it is.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// The epoch that messages are signed for.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The time it was last told.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// How many events there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// What was sent and never received, once the session is over.
    pub fn lost(&self) -> &[Lost] {
        &self.lost
    }

    /// Who speaks for a role.
    pub fn participant(&self, role: Role) -> Option<&Participant> {
        self.seats.get(usize::from(role.0)).map(|seat| &seat.participant)
    }

    /// The role that somebody speaks for.
    pub fn role_of(&self, participant: &Participant) -> Option<Role> {
        let index = self.seats.iter().position(|seat| seat.participant == *participant)?;
        u16::try_from(index).ok().map(Role)
    }

    /// Where the messages from one role to another have come; `None` when there never are any.
    pub fn position(&self, from: Role, to: Role) -> Option<Position> {
        self.plan.edge(from, to).map(|edge| self.position_of(edge))
    }

    /// How many messages wait on the way from one role to another.
    pub fn queued(&self, from: Role, to: Role) -> usize {
        self.plan.edge(from, to).map_or(0, |edge| self.ways[edge.0 as usize].queue.len())
    }

    /// Takes out the oldest event that was not yet taken.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn position_of(&self, edge: EdgeId) -> Position {
        let (way, pair) = (&self.ways[edge.0 as usize], self.plan.edges()[edge.0 as usize]);
        match way.links.back() {
            Some(link) => Position { sequence: way.sequence, link: *link },
            None => {
                let [from, to] = [pair.from, pair.to].map(|role| &*self.plan.roles()[usize::from(role.0)]);
                let first = Position::first(self.setup.session, self.plan.hash(), from, to);
                Position { sequence: way.sequence, ..first }
            }
        }
    }

    fn emit(&mut self, what: What) {
        self.events.push_back(Event { index: self.count, at: self.now, what });
        self.count += 1;
    }

    /// Moves a role on.
    #[inline]
    fn enter(&mut self, role: Role, place: Place) {
        let seat = &mut self.seats[usize::from(role.0)];
        let kinds = [seat.place, place].map(|place| self.plan.row(place).kind);
        (seat.place, seat.entered) = (place, self.now);
        if kinds[0] != kinds[1] {
            *self.counter(kinds[0]) -= 1;
            *self.counter(kinds[1]) += 1;
        }
    }

    fn counter(&mut self, kind: Kind) -> &mut usize {
        match kind {
            Kind::Sends => &mut self.speakers,
            Kind::Receives => &mut self.listeners,
            Kind::Done => &mut self.done,
        }
    }

    /// Whether nothing can happen any more: every role is done; or some listen, none speaks and
    /// nothing is on its way.
    #[inline]
    fn is_still(&self) -> bool {
        self.speakers == 0 && (self.waiting == 0 || self.listeners == 0)
    }

    #[inline]
    fn complete(&mut self) {
        if self.is_still() && self.status == Status::Active {
            self.advance_epoch(Cause::Completed);
            self.end(Status::Closed { by: None });
        }
    }

    fn advance_epoch(&mut self, cause: Cause) {
        self.epoch += 1;
        self.emit(What::EpochAdvanced { epoch: self.epoch, cause });
    }

    /// Ends the session, and lists and drops what was not received.
    fn end(&mut self, status: Status) {
        let mut lost = Vec::new();
        for (way, edge) in self.ways.iter_mut().zip(self.plan.edges()) {
            lost.extend(way.queue.drain(..).map(|queued| Lost {
                from: edge.from,
                to: edge.to,
                message: queued.message,
                sequence: queued.sequence,
            }));
        }
        self.waiting = 0;
        self.lost = lost.into();
        let what = match &status {
            Status::Faulted { violation } => {
                What::Faulted { violation: violation.clone(), lost: self.lost.clone() }
            }
            Status::Active | Status::Draining { .. } | Status::Closed { .. } | Status::Cancelled { .. } => {
                What::Closed { lost: self.lost.clone() }
            }
        };
        self.status = status;
        self.emit(what);
    }

    /// The first message on the way that a step receives, when it is that step's.
    fn arrived(&self, edge: EdgeId, message: Message) -> Option<&Queued> {
        self.ways[edge.0 as usize].queue.front().filter(|queued| queued.message == message)
    }
}

/// Which way a row's steps go.
fn direction(kind: Kind) -> Direction {
    match kind {
        Kind::Sends => Direction::Send,
        Kind::Done | Kind::Receives => Direction::Receive,
    }
}
