//! A protocol run at random against what it must do, worked out from the graph of messages alone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use sessile_protocol::machine::{Direction, Message, Role};
use sessile_protocol::monitor::event::{By, Close, Code, Event, Lost, Payload, Status};
use sessile_protocol::monitor::setup::{Buffer, Channel, Setup, WhenFull};
use sessile_protocol::monitor::{
    CloseError, Line, Monitor, Offer, Received, RecvError, SendError, Sent, replay,
};
use sessile_protocol::plan::Plan;

use crate::draw::{Draw, Drawn};
use crate::global::{Action, Global, Node};
use crate::support::{fifo, setup};

/// What is under test: a monitor, or one that is wrong on purpose.
pub trait Subject {
    fn send(&mut self, line: Line) -> Result<Sent, SendError>;
    fn recv(&mut self, role: Role, from: Option<Role>) -> Result<Received, RecvError>;
    fn offered(&self, role: Role) -> Vec<Offer>;
    fn close(&mut self, how: Close) -> Result<(), CloseError>;
    fn monitor(&mut self) -> &mut Monitor;
}

impl Subject for Monitor {
    fn send(&mut self, line: Line) -> Result<Sent, SendError> {
        Monitor::send(self, line)
    }

    fn recv(&mut self, role: Role, from: Option<Role>) -> Result<Received, RecvError> {
        Monitor::recv(self, role, from)
    }

    fn offered(&self, role: Role) -> Vec<Offer> {
        Monitor::offered(self, role).collect()
    }

    fn close(&mut self, how: Close) -> Result<(), CloseError> {
        Monitor::close(self, By::Operator, how)
    }

    fn monitor(&mut self) -> &mut Monitor {
        self
    }
}

/// What came up in schedules.
#[derive(Debug, Default)]
pub struct Seen {
    pub sent: u64,
    pub replaced: u64,
    pub lost: u64,
    pub full: u64,
    pub overflow: u64,
    pub grown: u64,
    pub woken: u64,
    pub received: u64,
    pub mutations: u64,
    pub completed: u64,
    pub drained: u64,
    pub aborted: u64,
    pub undelivered: u64,
    pub late: u64,
    pub silent: u64,
}

/// The same setup for every run of a seed: any buffers that the plan allows.
pub fn draw_setup(plan: &Plan, draw: &mut Draw) -> Setup {
    let mut setup = setup(plan, fifo(1, WhenFull::Block));
    for (index, channel) in setup.channels.iter_mut().enumerate() {
        let capacity = 1 + draw.below(3) as u32;
        let edge = plan.edge(channel.from, channel.to).unwrap();
        debug_assert_eq!(plan.edges()[index].from, channel.from);
        channel.buffer = match draw.below(8) {
            0..=2 if plan.is_replaceable(edge) => Buffer::Latest,
            0..=3 => fifo(capacity, WhenFull::Block),
            4 => fifo(capacity, WhenFull::Error),
            5 => fifo(capacity, WhenFull::Grow { max: capacity + draw.below(4) as u32 }),
            6 => {
                channel.lossy = true;
                fifo(capacity, WhenFull::Drop)
            }
            _ => fifo(64, WhenFull::Block),
        };
    }
    setup
}

type Way = (Role, Role);

struct World<'a> {
    global: &'a Global,
    at: Vec<BTreeSet<usize>>,
    channels: BTreeMap<Way, Channel>,
    capacity: BTreeMap<Way, usize>,
    queues: BTreeMap<Way, VecDeque<(Message, u64)>>,
    sequences: BTreeMap<Way, u64>,
    /// Who was told that there is no room.
    asleep: BTreeSet<Way>,
    /// What each role did, in its order.
    did: Vec<VecDeque<Action>>,
    number: u64,
    now: Duration,
    /// When each role came where it is.
    entered: Vec<Duration>,
}

impl<'a> World<'a> {
    fn new(global: &'a Global, setup: &Setup) -> Self {
        let way = |channel: &Channel| (channel.from, channel.to);
        let capacity = |channel: &Channel| match channel.buffer {
            Buffer::Latest => 1,
            Buffer::Fifo { capacity, .. } => capacity as usize,
        };
        let start = BTreeSet::from([0]);
        Self {
            at: (0..global.roles).map(|role| global.frontier(Role(role), &start)).collect(),
            global,
            channels: setup.channels.iter().map(|channel| (way(channel), *channel)).collect(),
            capacity: setup.channels.iter().map(|channel| (way(channel), capacity(channel))).collect(),
            queues: setup.channels.iter().map(|channel| (way(channel), VecDeque::new())).collect(),
            sequences: BTreeMap::new(),
            asleep: BTreeSet::new(),
            did: vec![VecDeque::new(); usize::from(global.roles)],
            number: 0,
            now: Duration::ZERO,
            entered: vec![Duration::ZERO; usize::from(global.roles)],
        }
    }

    fn actions(&self, role: Role) -> BTreeMap<Action, BTreeSet<usize>> {
        let mut actions = self.global.actions(role, &self.at[usize::from(role.0)]);
        if let Some((deadline, late)) = self.deadline(role) {
            let expired = deadline <= self.now;
            actions.retain(|(_, _, message), _| (late == Some(*message)) == expired);
        }
        actions
    }

    /// When what a role may say expires, and what it may say then.
    fn deadline(&self, role: Role) -> Option<(Duration, Option<Message>)> {
        let (within, late) = self.global.deadline(role, &self.at[usize::from(role.0)])?;
        Some((self.entered[usize::from(role.0)] + within, late))
    }

    /// Some time passes. Gives who was silent for too long.
    fn wait(&mut self, subject: &mut impl Subject, draw: &mut Draw) -> Result<Option<Role>, String> {
        let before = self.now;
        self.now += Duration::from_millis(draw.below(6000) as u64);
        let told = subject.monitor().tick(self.now);
        let expired: Vec<_> = self
            .roles()
            .filter_map(|role| self.deadline(role).map(|(deadline, late)| (deadline, role, late)))
            .filter(|(deadline, ..)| *deadline <= self.now)
            .collect();
        let silent = expired.iter().filter(|(.., late)| late.is_none()).min().map(|(_, role, _)| *role);
        let passed = expired.iter().filter(|(deadline, ..)| before < *deadline).map(|(_, role, _)| *role);
        match (silent, subject.monitor().status()) {
            (None, Status::Active) if told == passed.collect::<Vec<_>>() => Ok(None),
            (Some(role), Status::Faulted { violation })
                if violation.code == Code::Deadline && violation.role == role =>
            {
                Ok(Some(role))
            }
            (silent, status) => Err(format!("silent: {silent:?}; told: {told:?}; {status:?}")),
        }
    }

    fn enter(&mut self, role: Role, action: Action) {
        let next = self.actions(role).remove(&action).expect("an action that is allowed");
        self.at[usize::from(role.0)] = self.global.frontier(role, &next);
        self.entered[usize::from(role.0)] = self.now;
        self.did[usize::from(role.0)].push_back(action);
    }

    fn is_done(&self, role: Role) -> bool {
        self.actions(role).is_empty()
    }

    fn roles(&self) -> impl Iterator<Item = Role> + use<> {
        (0..self.global.roles).map(Role)
    }

    /// What becomes of one more message.
    fn outcome(&self, way: Way) -> Result<Sent, SendError> {
        let (waiting, capacity) = (self.queues[&way].len(), self.capacity[&way]);
        match self.channels[&way].buffer {
            Buffer::Latest if waiting == 1 => Ok(Sent::Replaced),
            Buffer::Latest => Ok(Sent::Queued),
            Buffer::Fifo { .. } if waiting < capacity => Ok(Sent::Queued),
            Buffer::Fifo { when_full, .. } => match when_full {
                WhenFull::Block => Err(SendError::Full),
                WhenFull::Error => Err(SendError::Overflow),
                WhenFull::Grow { max } if capacity < max as usize => Ok(Sent::Queued),
                WhenFull::Grow { .. } => Err(SendError::Full),
                WhenFull::Drop => Ok(Sent::Lost),
            },
        }
    }

    fn is_ready(&self, role: Role, (direction, peer, message): Action) -> bool {
        match direction {
            Direction::Send => self.outcome((role, peer)).is_ok(),
            Direction::Receive => self.queues[&(peer, role)].front().is_some_and(|(m, _)| *m == message),
        }
    }

    /// Everything that moves something.
    fn moves(&self) -> Vec<(Role, Action)> {
        let moves = |role| self.actions(role).into_keys().map(move |action| (role, action));
        let all = self.roles().flat_map(moves);
        all.filter(|(role, action)| {
            self.is_ready(*role, *action)
                && (action.0 == Direction::Receive || self.outcome((*role, action.1)) != Ok(Sent::Lost))
        })
        .collect()
    }

    fn send(&mut self, subject: &mut impl Subject, from: Role, action: Action) -> Result<Sent, SendError> {
        let (_, to, message) = action;
        let (way, number) = ((from, to), self.number);
        self.number += 1;
        let payload = Payload::new(&number.to_be_bytes());
        let sent = subject.send(Line { from, to, message, payload, seal: None });
        let queue = self.queues.get_mut(&way).expect("a channel");
        match &sent {
            Ok(Sent::Queued) => {
                let (capacity, limit) = (self.capacity[&way], self.channels[&way].buffer);
                if let Buffer::Fifo { when_full: WhenFull::Grow { max }, .. } = limit
                    && queue.len() == capacity
                {
                    self.capacity.insert(way, (2 * capacity).min(max as usize));
                }
            }
            Ok(Sent::Replaced) => queue.clear(),
            Err(SendError::Full) => drop(self.asleep.insert(way)),
            Ok(Sent::Lost) | Err(_) => {}
        }
        if matches!(sent, Ok(Sent::Queued | Sent::Replaced)) {
            queue.push_back((message, number));
            *self.sequences.entry(way).or_default() += 1;
            self.enter(from, action);
        }
        sent
    }

    fn receive(&mut self, subject: &mut impl Subject, role: Role, action: Action) -> Result<bool, String> {
        let (_, peer, message) = action;
        let way = (peer, role);
        let was_full = self.outcome(way) == Err(SendError::Full);
        let received = subject.recv(role, Some(peer)).map_err(|error| format!("false: {error:?}"))?;
        let waiting = self.queues[&way].len() as u64;
        let (_, number) = self.queues.get_mut(&way).and_then(VecDeque::pop_front).expect("it is ready");
        let expected = Received {
            from: peer,
            message,
            sequence: self.sequences[&way] - waiting,
            payload: Payload::new(&number.to_be_bytes()),
            woken: was_full.then_some(peer),
        };
        if received != expected || received.payload.bytes() != number.to_be_bytes() {
            return Err(format!("{received:?} was received instead of {expected:?}"));
        }
        self.enter(role, action);
        if self.asleep.remove(&way) && received.woken != Some(peer) {
            return Err(format!("{peer:?} sleeps on"));
        }
        Ok(received.woken.is_some())
    }

    /// What is offered is what may be done, to each role.
    fn compare(&self, subject: &mut impl Subject) -> Result<(), String> {
        for role in self.roles() {
            let offered = subject.offered(role);
            let found: BTreeMap<Action, bool> = offered
                .iter()
                .map(|offer| ((offer.direction, offer.peer, offer.message), offer.ready))
                .collect();
            let ready = |action: Action| (action, self.is_ready(role, action));
            let expected: BTreeMap<Action, bool> = self.actions(role).into_keys().map(ready).collect();
            // What would be lost is ready: the sender may say it, and is where it was.
            if found != expected || found.len() != offered.len() {
                return Err(format!("{role:?} is offered {found:?} instead of {expected:?}"));
            }
        }
        Ok(())
    }

    /// Something that is not to be done is refused, and nothing comes of it.
    fn mutate(&self, subject: &mut impl Subject, draw: &mut Draw) -> Result<bool, String> {
        let roles = usize::from(self.global.roles);
        let role = Role(draw.below(roles) as u16);
        let peer = Role(draw.below(roles) as u16);
        let actions = self.actions(role);
        let before = subject.monitor().count();
        if draw.one_in(3) {
            let listens = |(direction, from, _): &Action| *direction == Direction::Receive && *from == peer;
            if actions.keys().any(listens) || actions.is_empty() {
                return Ok(false);
            }
            match subject.recv(role, Some(peer)) {
                Err(RecvError::Violation(_)) => {}
                other => return Err(format!("{role:?} listened to {peer:?}: {other:?}")),
            }
        } else {
            let message = Message(draw.below(self.global.messages as usize) as u32);
            if actions.contains_key(&(Direction::Send, peer, message)) {
                return Ok(false);
            }
            let payload = Payload::EMPTY;
            match subject.send(Line { from: role, to: peer, message, payload, seal: None }) {
                Err(SendError::Violation(_)) => {}
                other => return Err(format!("{role:?} said {message:?} to {peer:?}: {other:?}")),
            }
        }
        if subject.monitor().count() == before { Ok(true) } else { Err("a refusal had events".to_owned()) }
    }

    /// What the roles did is what one run of the protocol has each of them do.
    fn conforms(&self) -> Result<(), String> {
        let (mut did, mut node) = (self.did.clone(), 0);
        loop {
            let Node::Message { from, to, branches, .. } = &self.global.nodes[node] else {
                let idle = did.iter().all(VecDeque::is_empty);
                return if idle { Ok(()) } else { Err("something was done after the end".to_owned()) };
            };
            let Some((direction, peer, message)) = did[usize::from(from.0)].pop_front() else {
                return Ok(());
            };
            let next = branches.iter().find(|(branch, _)| *branch == message);
            let (Direction::Send, true, Some((_, next))) = (direction, peer == *to, next) else {
                return Err(format!("{from:?} did {direction:?} {peer:?} {message:?} at node {node}"));
            };
            match did[usize::from(to.0)].pop_front() {
                None => {}
                Some(action) if action == (Direction::Receive, *from, message) => {}
                Some(action) => return Err(format!("{to:?} did {action:?} at node {node}")),
            }
            node = *next;
        }
    }
}

/// Runs one schedule. The error says what is wrong.
pub fn run<S: Subject>(
    drawn: &Drawn,
    setup: &Setup,
    subject: &mut S,
    draw: &mut Draw,
    seen: &mut Seen,
) -> Result<Vec<Event>, String> {
    const STEPS: usize = 40;
    let mut world = World::new(&drawn.global, setup);
    let mut log = Vec::new();
    for _ in 0..STEPS {
        let monitor = subject.monitor();
        log.extend(std::iter::from_fn(|| monitor.next_event()));
        let (done, waiting) = (
            world.roles().all(|role| world.is_done(role)),
            world.queues.values().any(|queue| !queue.is_empty()),
        );
        if done && waiting {
            return Err("a message is an orphan".to_owned());
        }
        if done != (*subject.monitor().status() == Status::Closed { by: None }) {
            return Err(format!("all is done: {done}; the session is {:?}", subject.monitor().status()));
        }
        if done {
            seen.completed += 1;
            break;
        }
        if draw.one_in(5)
            && let Some(_) = world.wait(subject, draw)?
        {
            seen.silent += 1;
            break;
        }
        world.compare(subject)?;
        seen.mutations += u64::from(world.mutate(subject, draw)?);
        let moves = world.moves();
        if moves.is_empty() {
            return Err("nothing moves, and not all is done".to_owned());
        }
        let hopeless: Vec<(Role, Action)> = world
            .roles()
            .flat_map(|role| world.actions(role).into_keys().map(move |action| (role, action)))
            .filter(|(role, action)| action.0 == Direction::Send && !moves.contains(&(*role, *action)))
            .collect();
        let (role, action) = if !hopeless.is_empty() && draw.one_in(2) {
            hopeless[draw.below(hopeless.len())]
        } else {
            moves[draw.below(moves.len())]
        };
        match action.0 {
            Direction::Receive => {
                seen.received += 1;
                seen.woken += u64::from(world.receive(subject, role, action)?);
            }
            Direction::Send => {
                let (expected, before) = (world.outcome((role, action.1)), world.capacity[&(role, action.1)]);
                let is_late = world.deadline(role).is_some_and(|(_, late)| late == Some(action.2));
                let sent = world.send(subject, role, action);
                seen.late += u64::from(is_late && sent.is_ok());
                if sent != expected {
                    return Err(format!("{role:?} did {action:?}: {sent:?} instead of {expected:?}"));
                }
                match sent {
                    Ok(Sent::Queued) => seen.sent += 1,
                    Ok(Sent::Replaced) => seen.replaced += 1,
                    Ok(Sent::Lost) => seen.lost += 1,
                    Err(SendError::Full) => seen.full += 1,
                    Err(_) => seen.overflow += 1,
                }
                seen.grown += u64::from(world.capacity[&(role, action.1)] > before);
            }
        }
    }
    if setup.channels.iter().all(|channel| channel.buffer != Buffer::Latest) {
        world.conforms()?;
    }
    finish(&mut world, subject, draw, seen)?;
    let monitor = subject.monitor();
    log.extend(std::iter::from_fn(|| monitor.next_event()));
    Ok(log)
}

/// Closes a session that still goes on, and compares what is lost.
fn finish(
    world: &mut World,
    subject: &mut impl Subject,
    draw: &mut Draw,
    seen: &mut Seen,
) -> Result<(), String> {
    if *subject.monitor().status() != Status::Active || draw.one_in(3) {
        return Ok(());
    }
    let how = if draw.one_in(3) { Close::Abort } else { Close::Drain };
    subject.close(how).map_err(|error| error.to_string())?;
    if how == Close::Drain {
        loop {
            let receives = |(_, action): &(Role, Action)| action.0 == Direction::Receive;
            let moves: Vec<_> = world.moves().into_iter().filter(receives).collect();
            let over = *subject.monitor().status() == Status::Closed { by: Some(By::Operator) };
            if moves.is_empty() != over {
                return Err(format!("{} can be received, over: {over}", moves.len()));
            }
            if over {
                break;
            }
            let (role, action) = moves[draw.below(moves.len())];
            world.receive(subject, role, action)?;
        }
        seen.drained += 1;
    } else {
        seen.aborted += 1;
    }
    let mut lost = Vec::new();
    for ((from, to), queue) in &world.queues {
        let first = world.sequences.get(&(*from, *to)).map_or(0, |next| next - queue.len() as u64);
        lost.extend((first..).zip(queue).map(|(sequence, (message, _))| Lost {
            from: *from,
            to: *to,
            message: *message,
            sequence,
        }));
    }
    seen.undelivered += lost.len() as u64;
    if subject.monitor().lost() == lost {
        Ok(())
    } else {
        Err("what is lost is not what was left".to_owned())
    }
}

/// A log makes the same state, and so does a snapshot at any event with the rest of the log.
pub fn replays(plan: &Arc<Plan>, monitor: &Monitor, log: &[Event]) -> Result<(), String> {
    let again = replay(plan, log.iter().cloned()).map_err(|error| error.to_string())?;
    if again.hash() != monitor.hash() {
        return Err("the log makes another state".to_owned());
    }
    for count in 1..=log.len() {
        let mut part = replay(plan, log[..count].iter().cloned()).map_err(|error| error.to_string())?;
        if part.next_event().is_some() {
            continue;
        }
        let mut restored = Monitor::restore(plan, &part.snapshot()).map_err(|error| error.to_string())?;
        if restored.hash() != part.hash() {
            return Err(format!("the snapshot after {count} events is another state"));
        }
        for (event, bytes) in log[count..].iter().map(|event| (event, event.encode())) {
            if Event::decode(&bytes).as_ref() != Ok(event) {
                return Err(format!("{event:?} is read back as another"));
            }
        }
        restored.follow(log[count..].iter().cloned()).map_err(|error| format!("after {count}: {error}"))?;
        if restored.hash() != monitor.hash() {
            return Err(format!("from the snapshot after {count} events on it is another state"));
        }
    }
    Ok(())
}
