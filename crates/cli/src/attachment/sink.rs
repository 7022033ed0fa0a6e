//! One stream of an app's output on its way to one of ours: in order, each byte once.

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// Bytes written at once. A pipe that polls writable takes this many without blocking.
const WRITE: usize = 4096;
/// Written bytes after which the keeper is told, if it is not told sooner.
const CONFIRM: u64 = 64 << 10;

/// Output between the keeper and one of our streams.
#[derive(Debug, Default)]
pub struct Sink {
    pending: Vec<u8>,
    /// Bytes of `pending` already written.
    start: usize,
    /// Offset behind the last byte received.
    received: u64,
    /// Offset up to which the keeper was told.
    confirmed: u64,
    closed: bool,
    failure: Option<Errno>,
}

/// What became of an attempt to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Some bytes went, or none could yet.
    Some,
    /// Nobody reads the stream any more; what is pending is dropped, as is all that comes.
    Closed,
}

impl Sink {
    /// A stream that goes on from this offset.
    pub fn from(offset: u64) -> Self {
        Self { received: offset, confirmed: offset, ..Self::default() }
    }

    /// Takes bytes that start at `offset`, without those that were taken before. Returns how
    /// many in between were lost.
    pub fn take(&mut self, offset: u64, bytes: &[u8]) -> u64 {
        let lost = offset.saturating_sub(self.received);
        let known = usize::try_from(self.received.saturating_sub(offset)).unwrap_or(usize::MAX);
        let fresh = bytes.get(known..).unwrap_or_default();
        self.received = self.received.max(offset.saturating_add(bytes.len() as u64));
        if !self.closed {
            self.pending.extend_from_slice(fresh);
        }
        lost
    }

    /// Takes bytes that draw the screen as of `offset`.
    pub fn redraw(&mut self, offset: u64, bytes: &[u8]) {
        self.received = offset;
        self.confirmed = offset;
        self.pending.extend_from_slice(bytes);
    }

    /// Offset behind the last byte received.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Bytes not yet written.
    pub fn pending(&self) -> usize {
        self.pending.len() - self.start
    }

    /// The bytes that the next [`Self::write`] tries to write.
    pub fn next_piece(&self) -> &[u8] {
        &self.pending[self.start..self.pending.len().min(self.start + WRITE)]
    }

    /// Whether nobody reads the stream any more.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Why the stream could not be written, where it is not that nobody reads it any more.
    pub fn failure(&self) -> Option<std::io::Error> {
        self.failure.map(std::io::Error::from)
    }

    /// Writes what goes without blocking; call when the stream polls writable.
    pub fn write(&mut self, stream: impl AsFd) -> Written {
        match rustix::io::write(stream, self.next_piece()) {
            Ok(n) => self.start += n,
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(errno) => {
                self.failure = (errno != Errno::PIPE).then_some(errno);
                self.closed = true;
                self.start = self.pending.len();
            }
        }
        if self.start == self.pending.len() {
            self.pending.clear();
            self.start = 0;
        } else if self.start > 1 << 20 {
            self.pending.drain(..self.start);
            self.start = 0;
        }
        if self.closed { Written::Closed } else { Written::Some }
    }

    /// The offset to confirm to the keeper now, if it is time to.
    pub fn confirm(&mut self) -> Option<u64> {
        let written = self.received - self.pending() as u64;
        let due = written > self.confirmed && (self.pending() == 0 || written - self.confirmed >= CONFIRM);
        due.then(|| {
            self.confirmed = written;
            written
        })
    }
}

/// Waits until a stream takes more.
pub fn wait_writable(stream: impl AsFd) {
    // An interrupted wait is tried again by the caller's loop.
    let _ = poll(&mut [PollFd::new(&stream, PollFlags::OUT)], None);
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::pipe;

    #[test]
    fn overlaps_are_taken_once_and_gaps_are_counted() {
        let mut sink = Sink::default();
        assert_eq!(sink.take(0, b"abcd"), 0);
        assert_eq!(sink.take(2, b"cdef"), 0);
        assert_eq!(sink.take(0, b"ab"), 0);
        assert_eq!(sink.take(9, b"jk"), 3);
        assert_eq!((sink.received(), sink.next_piece()), (11, &b"abcdefjk"[..]));
    }

    #[test]
    fn bytes_are_confirmed_when_written() {
        let (reader, writer) = pipe().unwrap();
        let mut sink = Sink::default();
        sink.take(0, &[7; 6000]);
        assert_eq!(sink.confirm(), None);
        assert_eq!(sink.write(&writer), Written::Some);
        assert_eq!(sink.confirm(), None);
        sink.write(&writer);
        assert_eq!((sink.confirm(), sink.confirm()), (Some(6000), None));
        drop(reader);
        sink.take(6000, b"x");
        assert_eq!(sink.write(&writer), Written::Closed);
        assert_eq!(sink.confirm(), Some(6001));
        sink.take(6001, b"yz");
        assert_eq!((sink.pending(), sink.confirm()), (0, Some(6003)));
    }
}
