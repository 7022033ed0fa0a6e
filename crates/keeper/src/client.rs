//! One connection on the keeper's socket: its buffers and what it has attached.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use sessile_anchor::fds::{NO_WAIT, recv_with_fds};
use sessile_model::ids::AppName;
use sessile_model::quantity::{Millis, Timestamp};
use sessile_model::spec::WindowSize;
use sessile_model::wire::{self, Event, FrameType, Reply};
use sessile_terminal::Replies;
use zeroize::Zeroize as _;

use crate::hold::Hold;
use crate::view::View;

/// Most bytes queued for a client before its output waits in the ring.
pub const OUTPUT_QUEUE: usize = 256 << 10;
/// Most bytes queued for a client at all; one that lets more pile up is dropped.
const HARD_QUEUE: usize = 24 << 20;
/// How long the confirmation of input waits for something to go with: shorter than any two keys.
const CONFIRM_WITHIN: Millis = Millis(10);
/// Most bytes of a frame that somebody types.
const KEYSTROKES: usize = 256;
/// Frames that a client may have sent without a confirmation, and go on: half of those it has.
const MAX_UNCONFIRMED: u32 = 8;
/// Bytes read from a client at once.
const READ_CHUNK: usize = 16 << 10;

/// Names a connection for the keeper's lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u32);

/// One connection.
#[derive(Debug)]
pub struct Client {
    socket: OwnedFd,
    input: Vec<u8>,
    /// Descriptors that came with what was received last.
    handed: Vec<OwnedFd>,
    output: Vec<u8>,
    /// Bytes of `output` already sent.
    sent: usize,
    /// It wants the record whenever it changes.
    pub follows: bool,
    /// Its attachments by channel.
    pub attachments: BTreeMap<u16, Attachment>,
    /// Input that was written and is not confirmed yet: the last number of each channel.
    written: BTreeMap<u16, u64>,
    /// When they are confirmed at the latest, and how many frames that is for.
    confirm_by: Option<Timestamp>,
    unconfirmed: u32,
    /// Nothing more is read; it is dropped when its output is sent.
    pub closing: bool,
    /// It has gone; what it had sent before is read to its end.
    has_left: bool,
}

/// One channel's view of a task.
#[derive(Debug)]
pub struct Attachment {
    /// The task.
    pub task: AppName,
    /// It only watches.
    pub read_only: bool,
    /// It takes bytes as they are, in order and complete, and confirms them.
    pub raw: bool,
    /// The number its input frames are counted under.
    pub client: u64,
    /// The client's window.
    pub size: Option<WindowSize>,
    /// It has not been given a screen yet.
    pub fresh: bool,
    /// Ring offset of the next byte to send: standard output or the terminal.
    pub out: u64,
    /// Ring offset of the next byte to send: standard error.
    pub err: u64,
    /// Offsets the client confirmed, when raw.
    pub confirmed: (u64, u64),
    /// The end of the task was told.
    pub told_exit: bool,
    /// Reads what the terminal answers among what is typed.
    pub replies: Replies,
    /// Where what it is to show goes.
    pub shows: Shows,
    /// What it is shown in place of the app's bytes, while its window is smaller than the app's terminal.
    pub view: Option<Box<View>>,
    /// Whether a sentence stands among what the app has drawn.
    pub notice: Notice,
}

/// A sentence among what an app has drawn, which is drawn anew after a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Notice {
    /// There is none.
    #[default]
    None,
    /// One was told just now.
    Told,
    /// One stands there until then.
    Until(Timestamp),
    /// It has stood there for long enough.
    Over,
}

/// Where what an attachment is to show goes.
#[derive(Debug, Default)]
pub enum Shows {
    /// To its client, by frames.
    #[default]
    ByFrames,
    /// To its client's terminal.
    On(Box<Hold>),
    /// Nowhere, until its client hands its terminal over again.
    Away,
}

impl Shows {
    /// The terminal that is written to.
    pub fn hold(&self) -> Option<&Hold> {
        match self {
            Self::On(hold) => Some(hold),
            Self::ByFrames | Self::Away => None,
        }
    }

    /// Whether it is for now shown nothing.
    pub fn is_away(&self) -> bool {
        match self {
            Self::Away => true,
            Self::ByFrames | Self::On(_) => false,
        }
    }
}

/// Why a connection is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl Client {
    /// Takes over an accepted connection.
    pub fn new(socket: OwnedFd) -> Self {
        let mut client = Self {
            socket,
            input: Vec::new(),
            handed: Vec::new(),
            output: Vec::new(),
            sent: 0,
            follows: false,
            attachments: BTreeMap::new(),
            written: BTreeMap::new(),
            confirm_by: None,
            unconfirmed: 0,
            closing: false,
            has_left: false,
        };
        let hello = wire::Hello { version: wire::VERSION, program: sessile_model::version().to_owned() };
        client.put_json(FrameType::Hello, 0, &hello);
        client
    }

    /// The socket, for polling.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether bytes wait to be sent.
    pub fn has_output(&self) -> bool {
        self.sent < self.output.len()
    }

    /// Room for more of an app's output.
    pub fn room(&self) -> usize {
        OUTPUT_QUEUE.saturating_sub(self.output.len() - self.sent)
    }

    /// Reads what has arrived.
    ///
    /// # Errors
    /// When the peer is gone.
    pub fn receive(&mut self) -> Result<(), Gone> {
        let mut chunk = [0u8; READ_CHUNK];
        match recv_with_fds(self.socket.as_fd(), &mut chunk, NO_WAIT) {
            Ok((0, _)) => Err(Gone),
            Ok((n, handed)) => {
                self.input.extend_from_slice(&chunk[..n]);
                chunk[..n].zeroize();
                if !handed.is_empty() {
                    self.handed = handed;
                }
                Ok(())
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(_) => Err(Gone),
        }
    }

    /// Takes the descriptors that came with the frame that was received last.
    pub fn take_handed(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.handed)
    }

    /// Takes the next whole frame that was received.
    ///
    /// # Errors
    /// When what was received is not a frame.
    pub fn next_frame(&mut self) -> Result<Option<(wire::Header, Vec<u8>)>, Gone> {
        let Some((header, payload, used)) = wire::take_frame(&self.input).map_err(|_| Gone)? else {
            return Ok(None);
        };
        let payload = payload.to_vec();
        self.input.drain(..used);
        if self.input.is_empty() {
            self.input = Vec::new();
        }
        Ok(Some((header, payload)))
    }

    /// Has a frame of input of so many bytes confirmed that was written. Keystrokes are together with
    /// what the app answers to them, if that comes soon, so that each wakes its client once; who sends
    /// much is not kept waiting.
    pub fn confirm(&mut self, channel: u16, sequence: u64, bytes: usize, now: Timestamp) {
        self.written.insert(channel, sequence);
        self.unconfirmed += 1;
        let waits = bytes <= KEYSTROKES && self.unconfirmed < MAX_UNCONFIRMED;
        let by = if waits { now.plus(CONFIRM_WITHIN) } else { now };
        self.confirm_by = Some(self.confirm_by.map_or(by, |before| before.min(by)));
    }

    /// When input has to be confirmed, if any has.
    pub fn confirm_by(&self) -> Option<Timestamp> {
        self.confirm_by
    }

    /// Queues the confirmations that are due, or that can go with something else.
    fn put_confirmations(&mut self, now: Timestamp) {
        if self.has_output() || self.confirm_by.is_some_and(|at| at <= now) {
            self.confirm_by = None;
            self.unconfirmed = 0;
            for (channel, sequence) in std::mem::take(&mut self.written) {
                self.put_numbered(FrameType::InputDone, 0, channel, sequence, &[]);
            }
        }
    }

    /// Sends what the socket takes now. A peer that has gone is sent nothing, and known by what is received.
    ///
    /// # Errors
    /// When the peer lets too much pile up.
    pub fn flush(&mut self, now: Timestamp) -> Result<(), Gone> {
        self.put_confirmations(now);
        while self.has_output() && !self.has_left {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match send(&self.socket, &self.output[self.sent..], flags) {
                Ok(n) => self.sent += n,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(_) => self.has_left = true,
            }
        }
        if self.has_left {
            self.sent = self.output.len();
        }
        if self.has_output() {
            if self.output.len() - self.sent > HARD_QUEUE {
                return Err(Gone);
            }
            if self.sent > OUTPUT_QUEUE {
                self.output.drain(..self.sent);
                self.sent = 0;
            }
        } else {
            // A buffer of its own size is not kept while idle.
            self.output = Vec::new();
            self.sent = 0;
        }
        Ok(())
    }

    /// Queues an answer.
    pub fn reply(&mut self, channel: u16, reply: &Reply) {
        self.put_json(FrameType::Reply, channel, reply);
    }

    /// Queues an event. A sentence goes where the attachment shows.
    pub fn tell(&mut self, channel: u16, event: &Event) {
        let attachment = self.attachments.get_mut(&channel).filter(|attachment| !attachment.told_exit);
        match (event, attachment) {
            (Event::Notice { text }, Some(Attachment { view: Some(view), .. })) => view.tell(text),
            (Event::Notice { text }, Some(Attachment { shows: Shows::On(hold), notice, .. })) => {
                *notice = Notice::Told;
                hold.tell(text);
            }
            (_, attachment) => {
                if let (Event::Notice { .. }, Some(attachment)) = (event, attachment) {
                    attachment.notice = Notice::Told;
                }
                self.put_json(FrameType::Event, channel, event);
            }
        }
    }

    /// Queues bytes of an app, numbered.
    pub fn put_numbered(&mut self, kind: FrameType, flags: u8, channel: u16, number: u64, bytes: &[u8]) {
        wire::put_flagged_frame(&mut self.output, kind, flags, channel, &[&number.to_le_bytes(), bytes]);
    }

    fn put_json(&mut self, kind: FrameType, channel: u16, value: &impl serde::Serialize) {
        // Our own types always serialise; a frame over the limit is replaced by closing.
        match serde_json::to_vec(value) {
            Ok(json) if json.len() <= wire::MAX_PAYLOAD => {
                wire::put_frame(&mut self.output, kind, channel, &[&json]);
            }
            Ok(_) | Err(_) => self.closing = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// Who types and leaves at once is heard, whatever it was still to be told.
    #[test]
    fn what_was_sent_before_leaving_is_read() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut client = Client::new(ours.into());
        let now = Timestamp::from_millis(1);
        client.flush(now).unwrap();
        let mut frame = Vec::new();
        wire::put_frame(&mut frame, FrameType::Input, 1, &[&1u64.to_le_bytes(), b"last"]);
        theirs.write_all(&frame).unwrap();
        drop(theirs);
        client.reply(1, &Reply::Done);
        client.flush(now).unwrap();
        assert!(!client.has_output());
        client.receive().unwrap();
        let (header, payload) = client.next_frame().unwrap().unwrap();
        assert_eq!((header.kind, &payload[8..]), (FrameType::Input as u8, &b"last"[..]));
        assert_eq!(client.receive(), Err(Gone));
    }
}
