//! A connection to a keeper: frames in, frames out, never blocking.

use std::io::{self, ErrorKind, IoSlice, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use sessile_model::wire::{self, FrameError, FrameType, Header, Hello, Request};

/// Bytes read at once.
const CHUNK: usize = 64 << 10;
/// Most descriptors handed over at once: the terminal, and the guardian's line.
const MOST_HANDED: usize = 2;

/// A connection to a keeper.
#[derive(Debug)]
pub struct Link {
    stream: UnixStream,
    /// What is read goes through here.
    chunk: Vec<u8>,
    received: Vec<u8>,
    unsent: Vec<u8>,
    /// Descriptors that go with what is sent next.
    handed: Vec<OwnedFd>,
    ended: bool,
}

impl Link {
    /// Connects and introduces itself.
    ///
    /// # Errors
    /// When nobody listens there, or the socket belongs to neither the caller nor root.
    pub fn open(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        crate::startup::check_owner(&stream)?;
        Self::over(stream)
    }

    /// Introduces itself over this connection.
    ///
    /// # Errors
    /// When it cannot be made not to wait.
    pub fn over(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let mut link = Self {
            stream,
            chunk: vec![0; CHUNK],
            received: Vec::new(),
            unsent: Vec::new(),
            handed: Vec::new(),
            ended: false,
        };
        let hello = Hello { version: wire::VERSION, program: sessile_model::version().to_owned() };
        link.put_json(FrameType::Hello, 0, &hello)?;
        Ok(link)
    }

    /// Queues a request.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn request(&mut self, channel: u16, request: &Request) -> io::Result<()> {
        self.put_json(FrameType::Request, channel, request)
    }

    /// Queues a request that these descriptors go with.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn hand(&mut self, channel: u16, request: &Request, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        self.handed = descriptors;
        self.request(channel, request)
    }

    /// Queues a frame that starts with a number.
    pub fn put_numbered(&mut self, kind: FrameType, flags: u8, channel: u16, number: u64, bytes: &[u8]) {
        wire::put_flagged_frame(&mut self.unsent, kind, flags, channel, &[&number.to_le_bytes(), bytes]);
    }

    fn put_json(&mut self, kind: FrameType, channel: u16, value: &impl serde::Serialize) -> io::Result<()> {
        let json = serde_json::to_vec(value)?;
        wire::put_frame(&mut self.unsent, kind, channel, &[&json]);
        Ok(())
    }

    /// Whether bytes wait to be sent.
    pub fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Whether the keeper closed the connection and every whole frame was taken.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Sends what the socket takes now. A lost connection shows in [`Self::has_ended`].
    pub fn flush(&mut self) {
        while !self.unsent.is_empty() {
            match self.send() {
                Ok(n) => {
                    self.unsent.drain(..n);
                    self.handed.clear();
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // What the keeper said before it went may still be there to read.
                Err(_) => return self.unsent.clear(),
            }
        }
    }

    fn send(&self) -> Result<usize, Errno> {
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_HANDED))];
        let mut along = SendAncillaryBuffer::new(&mut room);
        let handed: Vec<BorrowedFd<'_>> = self.handed.iter().map(AsFd::as_fd).collect();
        if !handed.is_empty() && !along.push(SendAncillaryMessage::ScmRights(&handed)) {
            return Err(Errno::INVAL);
        }
        sendmsg(&self.stream, &[IoSlice::new(&self.unsent)], &mut along, SendFlags::NOSIGNAL)
    }

    /// Reads what has arrived.
    pub fn receive(&mut self) {
        match self.stream.read(&mut self.chunk) {
            Ok(0) => self.ended = true,
            Ok(n) => self.received.extend_from_slice(&self.chunk[..n]),
            Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            Err(_) => self.ended = true,
        }
    }

    /// Takes the next whole frame.
    ///
    /// # Errors
    /// When what arrived is not a frame.
    pub fn next_frame(&mut self) -> Result<Option<(Header, Vec<u8>)>, FrameError> {
        let Some((header, payload, used)) = wire::take_frame(&self.received)? else { return Ok(None) };
        let payload = payload.to_vec();
        self.received.drain(..used);
        Ok(Some((header, payload)))
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
