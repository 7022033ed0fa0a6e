//! Events as bytes. Each event has one form, which is read strictly.

use std::sync::Arc;

use super::event::{
    By, Cause, Close, Code, Delegation, Event, Expected, Lost, Offending, Payload, Sealing, Violation, What,
};
use super::seal::{Position, PublicKey, Seal};
use super::setup::{
    Authentication, Binding, Buffer, Channel, Closer, Handler, OnViolation, Participant, SessionId, Setup,
    WhenFull,
};
pub use crate::codec::Malformed;
use crate::codec::{Digest, Reader, Sink};
use crate::machine::{Direction, Message, Role};

const VERSION: u8 = 1;

impl Event {
    /// The event as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.u64(self.index);
        out.duration(self.at);
        put_what(&mut out, &self.what);
        out
    }

    /// The event that these bytes are.
    ///
    /// # Errors
    /// When they are not the bytes of an event.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(bytes);
        if from.u8()? != VERSION {
            return Err(Malformed::Value("the version"));
        }
        let event = Self { index: from.u64()?, at: from.duration()?, what: what(&mut from)? };
        from.end()?;
        Ok(event)
    }
}

fn put_what(out: &mut impl Sink, what: &What) {
    match what {
        What::Opened { plan, setup } => {
            out.u8(0);
            out.put(&plan.0);
            put_setup(out, setup);
        }
        What::Sent { from, to, message, sequence, payload, sealing } => {
            out.u8(1);
            put_lost(out, &Lost { from: *from, to: *to, message: *message, sequence: *sequence });
            out.bytes(payload.bytes());
            out.bool(sealing.is_some());
            if let Some(Sealing { seal, payload }) = sealing.as_deref() {
                out.put(&seal.session.0);
                out.u64(seal.epoch);
                out.u64(seal.position.sequence);
                out.put(&seal.position.link.0);
                out.put(&seal.signature);
                out.put(&payload.0);
            }
        }
        What::Received { from, to, message, sequence } => {
            out.u8(2);
            put_lost(out, &Lost { from: *from, to: *to, message: *message, sequence: *sequence });
        }
        What::EpochAdvanced { epoch, cause } => {
            out.u8(3);
            out.u64(*epoch);
            put_cause(out, cause);
        }
        What::Closed { lost } => {
            out.u8(4);
            put_list(out, lost, put_lost);
        }
        What::Faulted { violation, lost } => {
            out.u8(5);
            put_violation(out, violation);
            put_list(out, lost, put_lost);
        }
        What::Introduced { role, key } => {
            out.u8(6);
            out.u16(role.0);
            out.put(&key.to_bytes());
        }
    }
}

fn what(from: &mut Reader) -> Result<What, Malformed> {
    Ok(match from.u8()? {
        0 => What::Opened { plan: Digest(from.array()?), setup: Arc::new(setup(from)?) },
        1 => {
            let sent = lost(from)?;
            let payload = Payload::new(from.bytes()?);
            let sealing = if from.bool()? { Some(Box::new(sealing(from)?)) } else { None };
            let Lost { from, to, message, sequence } = sent;
            What::Sent { from, to, message, sequence, payload, sealing }
        }
        2 => {
            let Lost { from, to, message, sequence } = lost(from)?;
            What::Received { from, to, message, sequence }
        }
        3 => What::EpochAdvanced { epoch: from.u64()?, cause: cause(from)? },
        4 => What::Closed { lost: from.list(lost)?.into() },
        5 => What::Faulted { violation: Box::new(violation(from)?), lost: from.list(lost)?.into() },
        6 => What::Introduced { role: Role(from.u16()?), key: some_key(from)? },
        _ => return Err(Malformed::Value("what happened")),
    })
}

pub(super) fn put_list<S: Sink, T>(out: &mut S, list: &[T], mut put: impl FnMut(&mut S, &T)) {
    out.count(list.len());
    list.iter().for_each(|element| put(out, element));
}

pub(super) fn put_lost(out: &mut impl Sink, lost: &Lost) {
    out.u16(lost.from.0);
    out.u16(lost.to.0);
    out.u32(lost.message.0);
    out.u64(lost.sequence);
}

pub(super) fn lost(from: &mut Reader) -> Result<Lost, Malformed> {
    let [sender, receiver] = [Role(from.u16()?), Role(from.u16()?)];
    Ok(Lost { from: sender, to: receiver, message: Message(from.u32()?), sequence: from.u64()? })
}

fn sealing(from: &mut Reader) -> Result<Sealing, Malformed> {
    let seal = Seal {
        session: SessionId(from.array()?),
        epoch: from.u64()?,
        position: Position { sequence: from.u64()?, link: Digest(from.array()?) },
        signature: from.array()?,
    };
    Ok(Sealing { seal, payload: Digest(from.array()?) })
}

fn put_cause(out: &mut impl Sink, cause: &Cause) {
    match cause {
        Cause::Completed => out.u8(0),
        Cause::Closing { by, how } => {
            out.u8(1);
            put_by(out, *by);
            out.bool(*how == Close::Abort);
        }
        Cause::Delegated(delegation) => {
            let Delegation { session, by, role, from, to, key, epoch, state } = &**delegation;
            out.u8(2);
            out.put(&session.0);
            put_by(out, *by);
            out.u16(role.0);
            out.text(from.name());
            out.text(to.name());
            put_key(out, key.as_ref());
            out.u64(*epoch);
            out.put(&state.0);
        }
    }
}

fn cause(from: &mut Reader) -> Result<Cause, Malformed> {
    Ok(match from.u8()? {
        0 => Cause::Completed,
        1 => Cause::Closing { by: by(from)?, how: if from.bool()? { Close::Abort } else { Close::Drain } },
        2 => Cause::Delegated(Box::new(Delegation {
            session: SessionId(from.array()?),
            by: by(from)?,
            role: Role(from.u16()?),
            from: Participant::new(from.text()?),
            to: Participant::new(from.text()?),
            key: key(from)?,
            epoch: from.u64()?,
            state: Digest(from.array()?),
        })),
        _ => return Err(Malformed::Value("a cause")),
    })
}

pub(super) fn put_by(out: &mut impl Sink, by: By) {
    match by {
        By::Operator => out.u8(0),
        By::Role(role) => {
            out.u8(1);
            out.u16(role.0);
        }
    }
}

pub(super) fn by(from: &mut Reader) -> Result<By, Malformed> {
    match from.u8()? {
        0 => Ok(By::Operator),
        1 => Ok(By::Role(Role(from.u16()?))),
        _ => Err(Malformed::Value("who closes")),
    }
}

pub(super) fn put_key(out: &mut impl Sink, key: Option<&PublicKey>) {
    out.bool(key.is_some());
    if let Some(key) = key {
        out.put(&key.to_bytes());
    }
}

pub(super) fn key(from: &mut Reader) -> Result<Option<PublicKey>, Malformed> {
    if !from.bool()? {
        return Ok(None);
    }
    some_key(from).map(Some)
}

pub(super) fn some_key(from: &mut Reader) -> Result<PublicKey, Malformed> {
    PublicKey::from_bytes(&from.array()?).map_err(|_| Malformed::Value("a key"))
}

pub(super) fn put_violation(out: &mut impl Sink, violation: &Violation) {
    let code = Code::ALL.iter().position(|code| *code == violation.code).unwrap_or_default();
    out.u8(code as u8);
    out.u16(violation.role.0);
    put_list(out, &violation.expected, |out, expected| {
        out.bool(expected.direction == Direction::Receive);
        out.u16(expected.peer.0);
        out.u32(expected.message.0);
    });
    match &violation.offending {
        Offending::Said { to, message } => {
            out.u8(0);
            out.u16(to.0);
            out.u32(message.0);
        }
        Offending::SaidUnknown { to, label } => {
            out.u8(1);
            out.u16(to.0);
            out.text(label);
        }
        Offending::Listened { from } => {
            out.u8(2);
            out.bool(from.is_some());
            from.iter().for_each(|from| out.u16(from.0));
        }
        Offending::Silence { within } => {
            out.u8(3);
            out.duration(*within);
        }
        Offending::Arrived { from, message } => {
            out.u8(4);
            out.u16(from.0);
            out.u32(message.0);
        }
    }
}

pub(super) fn violation(from: &mut Reader) -> Result<Violation, Malformed> {
    let code = Code::ALL.get(usize::from(from.u8()?)).ok_or(Malformed::Value("a violation's code"))?;
    let role = Role(from.u16()?);
    let expected = from.list(|from| {
        let direction = if from.bool()? { Direction::Receive } else { Direction::Send };
        Ok(Expected { direction, peer: Role(from.u16()?), message: Message(from.u32()?) })
    })?;
    let offending = match from.u8()? {
        0 => Offending::Said { to: Role(from.u16()?), message: Message(from.u32()?) },
        1 => Offending::SaidUnknown { to: Role(from.u16()?), label: from.text()?.into() },
        2 => Offending::Listened { from: if from.bool()? { Some(Role(from.u16()?)) } else { None } },
        3 => Offending::Silence { within: from.duration()? },
        4 => Offending::Arrived { from: Role(from.u16()?), message: Message(from.u32()?) },
        _ => return Err(Malformed::Value("what offended")),
    };
    Ok(Violation { code: *code, role, expected: expected.into(), offending })
}

pub(super) fn put_setup(out: &mut impl Sink, setup: &Setup) {
    out.put(&setup.session.0);
    put_list(out, &setup.bindings, |out, binding| {
        out.u16(binding.role.0);
        out.text(binding.participant.name());
        put_key(out, binding.key.as_ref());
    });
    put_list(out, &setup.channels, put_channel);
    put_list(out, &setup.closers, |out, closer| {
        out.u16(closer.role.0);
        out.bool(closer.may_abort);
    });
    out.bool(setup.on_violation == OnViolation::Fault);
    match setup.authentication {
        Authentication::Unsigned => out.u8(0),
        Authentication::Signed { on_forgery: OnViolation::Refuse } => out.u8(1),
        Authentication::Signed { on_forgery: OnViolation::Fault } => out.u8(2),
    }
    out.u32(setup.longest_payload);
}

pub(super) fn setup(from: &mut Reader) -> Result<Setup, Malformed> {
    let on_violation = |fault| if fault { OnViolation::Fault } else { OnViolation::Refuse };
    Ok(Setup {
        session: SessionId(from.array()?),
        bindings: from.list(|from| {
            let (role, participant) = (Role(from.u16()?), Participant::new(from.text()?));
            Ok(Binding { role, participant, key: key(from)? })
        })?,
        channels: from.list(channel)?,
        closers: from.list(|from| Ok(Closer { role: Role(from.u16()?), may_abort: from.bool()? }))?,
        on_violation: on_violation(from.bool()?),
        authentication: match from.u8()? {
            0 => Authentication::Unsigned,
            signed @ 1..=2 => Authentication::Signed { on_forgery: on_violation(signed == 2) },
            _ => return Err(Malformed::Value("whether messages are signed")),
        },
        longest_payload: from.u32()?,
    })
}

fn put_channel(out: &mut impl Sink, channel: &Channel) {
    out.u16(channel.from.0);
    out.u16(channel.to.0);
    out.u8(match channel.handler {
        Handler::Queue => 0,
        Handler::Guard => 1,
        Handler::Command => 2,
    });
    out.bool(channel.lossy);
    match channel.buffer {
        Buffer::Latest => out.u8(0),
        Buffer::Fifo { capacity, when_full } => {
            let (tag, max) = match when_full {
                WhenFull::Block => (1, capacity),
                WhenFull::Error => (2, capacity),
                WhenFull::Grow { max } => (3, max),
                WhenFull::Drop => (4, capacity),
            };
            out.u8(tag);
            out.u32(capacity);
            out.u32(max);
        }
    }
}

fn channel(from: &mut Reader) -> Result<Channel, Malformed> {
    let [sender, receiver] = [Role(from.u16()?), Role(from.u16()?)];
    let handler = match from.u8()? {
        0 => Handler::Queue,
        1 => Handler::Guard,
        2 => Handler::Command,
        _ => return Err(Malformed::Value("a handler")),
    };
    let (lossy, tag) = (from.bool()?, from.u8()?);
    let buffer = if tag == 0 {
        Buffer::Latest
    } else {
        let (capacity, max) = (from.u32()?, from.u32()?);
        let when_full = match tag {
            3 => WhenFull::Grow { max },
            _ if max != capacity => return Err(Malformed::Value("a limit")),
            1 => WhenFull::Block,
            2 => WhenFull::Error,
            4 => WhenFull::Drop,
            _ => return Err(Malformed::Value("a buffer")),
        };
        Buffer::Fifo { capacity, when_full }
    };
    Ok(Channel { from: sender, to: receiver, handler, buffer, lossy })
}
