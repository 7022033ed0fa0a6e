//! The whole state of a session as bytes, and its hash.
//!
//! A snapshot is read back strictly: what is not exactly what a monitor of this plan can have
//! written is refused, and no more is reserved than the bytes are long.

use std::collections::VecDeque;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::event::{Payload, Status};
use super::keys::MOST_WITHDRAWN;
use super::record::{
    by, key, lost, put_by, put_key, put_list, put_lost, put_setup, put_violation, setup, some_key, violation,
};
use super::setup::{Buffer, LONGEST_NAME, OpenError, Participant, Setup, WhenFull};
use super::{Monitor, Queued, REMEMBERED, Way};
use crate::codec::{Digest, Malformed, Reader, Sink};
use crate::machine::{Message, Role};
use crate::plan::{EdgeId, Place, Plan};

const MAGIC: &[u8; 18] = b"sessile snapshot 2";

/// Why bytes are no snapshot of a session of this plan.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RestoreError {
    /// They have not the form of a snapshot.
    #[error("the snapshot is malformed: {0}")]
    Malformed(#[from] Malformed),
    /// Some of them are others than were written.
    #[error("the snapshot is damaged")]
    Damaged,
    /// They are the snapshot of a session of another plan.
    #[error("the snapshot is of another protocol, {0}")]
    OtherPlan(Digest),
    /// What it says the session was opened with would not have been admitted.
    #[error("the snapshot is of no session that can be opened")]
    Setup(#[from] OpenError),
    /// It says something that cannot be.
    #[error("the snapshot contradicts itself: {0}")]
    Impossible(&'static str),
}

impl Monitor {
    /// The state as bytes. Events that were not taken out are not in it: they come first.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.duration(self.now);
        self.put_state(&mut out);
        let digest = Digest::of(&out);
        out.put(&digest.0);
        out
    }

    /// The session whose state these bytes are.
    ///
    /// # Errors
    /// When they are not the snapshot of a session of this plan.
    pub fn restore(plan: &Arc<Plan>, bytes: &[u8]) -> Result<Self, RestoreError> {
        let (content, digest) = bytes.split_last_chunk::<32>().ok_or(Malformed::Short)?;
        if Digest::of(content).0 != *digest {
            return Err(RestoreError::Damaged);
        }
        let mut from = Reader::new(content);
        if from.array::<18>()? != *MAGIC {
            return Err(Malformed::Value("its beginning").into());
        }
        let monitor = restore(plan, &mut from)?;
        from.end()?;
        // Whatever could be written in two ways is taken in one.
        if monitor.snapshot() == bytes { Ok(monitor) } else { Err(RestoreError::Impossible("its form")) }
    }

    /// The hash of everything that the log determines: all but the present time.
    pub fn hash(&self) -> Digest {
        let mut out = Sha256::new();
        self.put_state(&mut out);
        Digest(out.finalize().into())
    }

    fn put_state(&self, out: &mut impl Sink) {
        out.put(&self.plan.hash().0);
        put_setup(out, &self.setup);
        out.u64(self.epoch);
        out.u64(self.count);
        for seat in &self.seats {
            out.u32(seat.place.0);
            out.duration(seat.entered);
            out.text(seat.participant.name());
            put_key(out, seat.key.as_ref());
            put_list(out, &seat.withdrawn, |out, (participant, key)| {
                out.text(participant.name());
                out.put(&key.to_bytes());
            });
        }
        for way in &self.ways {
            out.u32(way.capacity);
            out.u64(way.sequence);
            out.count(way.links.len());
            way.links.iter().for_each(|link| out.put(&link.0));
            out.count(way.queue.len());
            for queued in &way.queue {
                out.u32(queued.message.0);
                out.u64(queued.sequence);
                out.bytes(queued.payload.bytes());
            }
        }
        match &self.status {
            Status::Active => out.u8(0),
            Status::Draining { by } => {
                out.u8(1);
                put_by(out, *by);
            }
            Status::Closed { by: None } => out.u8(2),
            Status::Closed { by: Some(by) } => {
                out.u8(3);
                put_by(out, *by);
            }
            Status::Cancelled { by } => {
                out.u8(4);
                put_by(out, *by);
            }
            Status::Faulted { violation } => {
                out.u8(5);
                put_violation(out, violation);
            }
        }
        put_list(out, &self.lost, put_lost);
    }
}

fn restore(plan: &Arc<Plan>, from: &mut Reader) -> Result<Monitor, RestoreError> {
    let now = from.duration()?;
    let found = Digest(from.array()?);
    if found != plan.hash() {
        return Err(RestoreError::OtherPlan(found));
    }
    let mut setup = setup(from)?;
    setup.admit(plan)?;
    let mut monitor = Monitor::begin(Arc::clone(plan), Arc::new(setup));
    monitor.now = now;
    (monitor.epoch, monitor.count) = (from.u64()?, from.u64()?);
    if monitor.count == 0 {
        return Err(RestoreError::Impossible("nothing has happened"));
    }
    for role in monitor.roles() {
        seat(&mut monitor, role, from)?;
    }
    admit_seats(&monitor)?;
    for edge in 0..monitor.ways.len() as u32 {
        monitor.ways[edge as usize] = way(&monitor.setup, plan, EdgeId(edge), from)?;
    }
    monitor.count_up();
    monitor.status = match from.u8()? {
        0 => Status::Active,
        1 => Status::Draining { by: by(from)? },
        2 => Status::Closed { by: None },
        3 => Status::Closed { by: Some(by(from)?) },
        4 => Status::Cancelled { by: by(from)? },
        5 => Status::Faulted { violation: Box::new(violation(from)?) },
        _ => return Err(Malformed::Value("a status").into()),
    };
    monitor.lost = from.list(lost)?.into();
    let is_over = match monitor.status {
        Status::Active | Status::Draining { .. } => false,
        Status::Closed { .. } | Status::Cancelled { .. } | Status::Faulted { .. } => true,
    };
    if is_over && monitor.waiting > 0 || !is_over && !monitor.lost.is_empty() {
        return Err(RestoreError::Impossible("something waits and is lost"));
    }
    if monitor.status == Status::Active && monitor.is_still() {
        return Err(RestoreError::Impossible("it goes on after its end"));
    }
    Ok(monitor)
}

fn seat(monitor: &mut Monitor, role: Role, from: &mut Reader) -> Result<(), RestoreError> {
    let place = Place(from.u32()?);
    if !monitor.plan.has_place(role, place) {
        return Err(RestoreError::Impossible("a role is where it cannot be"));
    }
    let seat = &mut monitor.seats[usize::from(role.0)];
    (seat.place, seat.entered) = (place, from.duration()?);
    (seat.participant, seat.key) = (Participant::new(from.text()?), key(from)?);
    seat.withdrawn = from.list(|from| Ok((Participant::new(from.text()?), some_key(from)?)))?;
    if seat.entered > monitor.now {
        return Err(RestoreError::Impossible("a role came where it is in the future"));
    }
    Ok(())
}

/// Holds of whoever speaks for the roles now what held at the opening.
fn admit_seats(monitor: &Monitor) -> Result<(), RestoreError> {
    for (index, seat) in monitor.seats.iter().enumerate() {
        let others = &monitor.seats[..index];
        let is_alone = others.iter().all(|other| {
            other.participant != seat.participant && (other.key.is_none() || other.key != seat.key)
        });
        let length = seat.participant.name().len();
        if !is_alone
            || !(1..=LONGEST_NAME).contains(&length)
            || (seat.key.is_some() || !seat.withdrawn.is_empty()) && !monitor.setup.is_signed()
            || seat.withdrawn.len() > MOST_WITHDRAWN
            || seat.withdrawn.iter().any(|(_, withdrawn)| seat.key.as_ref() == Some(withdrawn))
        {
            return Err(RestoreError::Impossible("who speaks for a role"));
        }
    }
    Ok(())
}

fn way(setup: &Setup, plan: &Plan, edge: EdgeId, from: &mut Reader) -> Result<Way, RestoreError> {
    let (capacity, sequence) = (from.u32()?, from.u64()?);
    let fits = match setup.channels[edge.0 as usize].buffer {
        Buffer::Latest => capacity == 1,
        Buffer::Fifo { capacity: least, when_full: WhenFull::Grow { max } } => {
            (least..=max).contains(&capacity)
        }
        Buffer::Fifo { capacity: only, when_full: WhenFull::Block | WhenFull::Error | WhenFull::Drop } => {
            capacity == only
        }
    };
    let links: VecDeque<Digest> = from.list(|from| Ok(Digest(from.array()?)))?.into();
    let queue: VecDeque<Queued> = from
        .list(|from| {
            let (message, sequence) = (Message(from.u32()?), from.u64()?);
            Ok(Queued { message, sequence, payload: Payload::new(from.bytes()?) })
        })?
        .into();
    let first = sequence.checked_sub(queue.len() as u64);
    let in_order = first.is_some_and(|first| (first..).zip(&queue).all(|(n, queued)| queued.sequence == n));
    let exist = queue.iter().all(|queued| {
        (queued.message.0 as usize) < plan.messages().len()
            && queued.payload.bytes().len() <= setup.longest_payload as usize
    });
    if !fits || queue.len() > capacity as usize || !in_order || !exist {
        return Err(RestoreError::Impossible("what waits"));
    }
    let known = if setup.is_signed() { sequence.min(REMEMBERED as u64) } else { 0 };
    if links.len() as u64 != known {
        return Err(RestoreError::Impossible("a link"));
    }
    Ok(Way { queue, capacity, sequence, links })
}
