//! Netlink messages: writing them, and exchanging them with the kernel (RFC 3549, netlink(7)).
//!
//! The kernel works on a message while it is being sent, so every answer is there when sending
//! returns, and nothing here waits.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::sys;

/// Asks the kernel for something; every message here does.
const REQUEST: u16 = libc::NLM_F_REQUEST as u16;
/// Asks for an answer also when nothing went wrong.
pub(super) const ACK: u16 = libc::NLM_F_ACK as u16;
/// Makes something that is not there yet.
pub(super) const CREATE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
/// Adds something behind what is there.
pub(super) const APPEND: u16 = (libc::NLM_F_CREATE | libc::NLM_F_APPEND) as u16;
/// Asks for everything there is.
pub(super) const DUMP: u16 = libc::NLM_F_DUMP as u16;

const HEADER: usize = 16;
const NESTED: u16 = 0x8000;
/// What answers are read into: dumps come in parts that fit.
const ANSWER_BYTES: usize = 32 * 1024;

/// Messages one after the other, sent at once.
#[derive(Debug, Default)]
pub(super) struct Messages {
    bytes: Vec<u8>,
    /// The number of the last message; they count from 1.
    pub last: u32,
}

impl Messages {
    /// Adds a message: its kind, what is asked beside [`REQUEST`], its family's own header, and
    /// its attributes.
    pub fn add(&mut self, kind: u16, flags: u16, header: &[u8], fill: impl FnOnce(&mut Attributes<'_>)) {
        let begin = self.bytes.len();
        self.last += 1;
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((REQUEST | flags).to_ne_bytes());
        self.bytes.extend(self.last.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend(header);
        fill(&mut Attributes { bytes: &mut self.bytes });
        let length = (self.bytes.len() - begin) as u32;
        if let Some(place) = self.bytes.get_mut(begin..begin + 4) {
            place.copy_from_slice(&length.to_ne_bytes());
        }
    }
}

/// The attributes of a message, or those within one.
pub(super) struct Attributes<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Attributes<'_> {
    /// Adds a value as it is.
    pub fn put(&mut self, kind: u16, value: &[u8]) {
        self.within(kind, |inner| inner.bytes.extend(value));
    }

    /// Adds text, which ends in NUL.
    pub fn text(&mut self, kind: u16, value: &str) {
        self.within(kind, |inner| {
            inner.bytes.extend(value.as_bytes());
            inner.bytes.push(0);
        });
    }

    /// Adds a number in network order, as nf_tables wants them.
    pub fn number(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_be_bytes());
    }

    /// Adds an attribute that holds others.
    pub fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes<'_>)) {
        self.within(kind | NESTED, fill);
    }

    fn within(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes<'_>)) {
        let begin = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend(kind.to_ne_bytes());
        fill(&mut Attributes { bytes: self.bytes });
        let length = (self.bytes.len() - begin) as u16;
        if let Some(place) = self.bytes.get_mut(begin..begin + 2) {
            place.copy_from_slice(&length.to_ne_bytes());
        }
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }
}

/// Opens a netlink socket in the process's network namespace.
pub(super) fn open(protocol: i32) -> Result<OwnedFd, Errno> {
    sys::new_socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol)
}

/// Sends messages of which the one numbered `last` asks for an [`ACK`]. Without that answer, or
/// with any error before it, the messages failed.
pub(super) fn carry_out(socket: &OwnedFd, messages: &Messages, last: u32) -> Result<(), Errno> {
    let mut done = false;
    talk(socket, messages, |message| match message {
        Answer::Outcome { sequence, errno: None } => {
            done |= sequence == last;
            Ok(())
        }
        Answer::Outcome { errno: Some(errno), .. } => Err(errno),
        Answer::Data { .. } => Ok(()),
    })?;
    if done { Ok(()) } else { Err(Errno::PROTO) }
}

/// Sends one question and hands over the data of its answers: what follows the netlink header.
pub(super) fn ask(
    socket: &OwnedFd,
    question: &Messages,
    mut read: impl FnMut(&[u8]) -> Result<(), Errno>,
) -> Result<(), Errno> {
    talk(socket, question, |message| match message {
        Answer::Data { payload } => read(payload),
        Answer::Outcome { errno, .. } => errno.map_or(Ok(()), Err),
    })
}

/// What came back.
enum Answer<'a> {
    /// How a message fared.
    Outcome { sequence: u32, errno: Option<Errno> },
    /// Something that was asked for.
    Data { payload: &'a [u8] },
}

fn talk(
    socket: &OwnedFd,
    messages: &Messages,
    mut each: impl FnMut(Answer<'_>) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let sent = send(socket, &messages.bytes, SendFlags::empty())?;
    if sent != messages.bytes.len() {
        return Err(Errno::MSGSIZE);
    }
    let mut buffer = vec![0u8; ANSWER_BYTES];
    loop {
        let (length, full) = match recv(socket, &mut buffer[..], RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
            Ok(got) => got,
            Err(Errno::AGAIN) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        if full > buffer.len() {
            return Err(Errno::MSGSIZE);
        }
        for (kind, sequence, payload) in split_messages(buffer.get(..length).unwrap_or_default()) {
            match i32::from(kind) {
                libc::NLMSG_ERROR => each(Answer::Outcome { sequence, errno: outcome(payload) })?,
                libc::NLMSG_DONE | libc::NLMSG_NOOP => {}
                _ => each(Answer::Data { payload })?,
            }
        }
    }
}

/// The error of `struct nlmsgerr`, where there is one.
fn outcome(payload: &[u8]) -> Option<Errno> {
    let code = payload.first_chunk().map_or(-libc::EBADMSG, |code| i32::from_ne_bytes(*code));
    (code != 0).then(|| Errno::from_raw_os_error(code.wrapping_neg()))
}

/// Kind, number and content of each message. What is cut short ends it.
fn split_messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, u32, &[u8])> {
    std::iter::from_fn(move || {
        let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        let (length, sequence) = (word(0)? as usize, word(8)?);
        let payload = bytes.get(HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, sequence, payload))
    })
}

/// Kind and value of each attribute. What is cut short ends it.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let half = |at: usize| Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let (length, kind) = (usize::from(half(0)?), half(2)? & !(NESTED | 0x4000));
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_attributes_are_read_back_as_written() {
        let mut messages = Messages::default();
        messages.add(7, ACK, &[1, 2, 3, 4], |attributes| {
            attributes.text(1, "abc");
            attributes.nested(2, |inner| inner.number(3, 0x0102_0304));
            attributes.put(4, &[9]);
        });
        messages.add(8, 0, &[], |_| {});
        let split: Vec<_> = split_messages(&messages.bytes).collect();
        assert_eq!(split.len(), 2);
        let (kind, sequence, payload) = split[0];
        assert_eq!((kind, sequence, &payload[..4]), (7, 1, &[1u8, 2, 3, 4][..]));
        let found: Vec<_> = attributes(&payload[4..]).collect();
        assert_eq!(found[0], (1, &b"abc\0"[..]));
        assert_eq!(attributes(found[1].1).collect::<Vec<_>>(), [(3, &[1u8, 2, 3, 4][..])]);
        assert_eq!(found[2], (4, &[9u8][..]));
        assert_eq!((split[1].0, split[1].1, split[1].2), (8, 2, &[][..]));
    }

    #[test]
    fn what_is_cut_short_is_not_read() {
        let mut messages = Messages::default();
        messages.add(7, 0, &[], |attributes| attributes.text(1, "abcdefg"));
        for length in 0..messages.bytes.len() {
            assert_eq!(split_messages(&messages.bytes[..length]).count(), 0, "{length}");
        }
        let (_, _, payload) = split_messages(&messages.bytes).next().unwrap();
        for length in 0..payload.len() {
            assert_eq!(attributes(&payload[..length]).count(), 0, "{length}");
        }
        // Lengths that lead nowhere.
        assert_eq!(attributes(&[0; 8]).count(), 0);
        assert_eq!(split_messages(&[0; 64]).count(), 0);
    }

    #[test]
    fn a_refused_message_says_why() {
        let socket = open(libc::NETLINK_ROUTE).unwrap();
        let mut messages = Messages::default();
        // An address for a device that cannot be.
        let header = [libc::AF_INET as u8, 32, 0, 0, 0xff, 0xff, 0xff, 0x7f];
        messages
            .add(libc::RTM_NEWADDR, ACK | CREATE, &header, |attributes| attributes.put(2, &[10, 0, 0, 1]));
        let refused = carry_out(&socket, &messages, 1).unwrap_err();
        assert!(matches!(refused, Errno::NODEV | Errno::PERM), "{refused}");
        // An answer that never comes is no success.
        let mut messages = Messages::default();
        messages.add(libc::RTM_GETLINK, 0, &[0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], |_| {});
        assert_eq!(carry_out(&socket, &messages, 1).unwrap_err(), Errno::PROTO);
    }
}
