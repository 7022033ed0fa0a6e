//! The guard's end of the socket to its session's gateway. It never waits for the gateway.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, sendmsg};
use sessile_model::guarding::outgoing::{MAX_SHOWN, Showing, Word};
use zeroize::Zeroizing;

use crate::link::receive;

/// A socket to a gateway.
#[derive(Debug)]
pub struct Watch {
    socket: OwnedFd,
    /// When it was handed over, here and in the session's milliseconds.
    begun: (Instant, u64),
}

/// What the gateway did.
#[derive(Debug)]
pub enum Heard {
    /// It shows something.
    Shown(Box<Showing>),
    /// Nothing now.
    Nothing,
    /// It is gone, or says what nobody understands.
    Gone,
}

impl Watch {
    /// Takes over a SEQPACKET socket; now the session is so many milliseconds old.
    pub fn new(socket: OwnedFd, at_ms: u64) -> Self {
        Self { socket, begun: (Instant::now(), at_ms) }
    }

    /// How old the session is, in milliseconds.
    pub fn now_ms(&self) -> u64 {
        let since = u64::try_from(self.begun.0.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.begun.1.saturating_add(since)
    }

    /// The next showing, if one waits.
    pub fn next(&self) -> Heard {
        let mut bytes = Zeroizing::new(vec![0u8; MAX_SHOWN]);
        let length = match receive(&self.socket, &mut bytes, RecvFlags::DONTWAIT) {
            Ok((length, _)) => length,
            Err(Errno::AGAIN | Errno::INTR) => return Heard::Nothing,
            Err(_) => return Heard::Gone,
        };
        match serde_json::from_slice(bytes.get(..length).unwrap_or_default()) {
            Ok(showing) => Heard::Shown(Box::new(showing)),
            Err(_) => Heard::Gone,
        }
    }

    /// Tells the gateway something.
    ///
    /// # Errors
    /// When it is gone, or takes nothing: what waits for a word of this guard is refused then.
    pub fn say(&self, word: &Word) -> io::Result<()> {
        let bytes = serde_json::to_vec(word)?;
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let sent = sendmsg(&self.socket, &[IoSlice::new(&bytes)], &mut SendAncillaryBuffer::default(), flags);
        Ok(sent.map(drop)?)
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
