//! The keeper's end of its link to the anchor.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use thiserror::Error;

use crate::exchange::{self, ExchangeError};
use crate::protocol::{Code, Name, Operation, Reply, Request};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it may take from an anchor that left the last question unanswered.
const DOUBT: Duration = Duration::from_millis(100);

/// Why an operation on the link came to nothing.
#[derive(Debug, Error)]
pub enum LinkError {
    /// A name that [`crate::protocol`] does not allow; nothing was sent.
    #[error("{0:?} cannot name an entry of the anchor's store")]
    BadName(String),
    /// The anchor answered with this code and changed nothing.
    #[error("the anchor refused: {0:?}")]
    Refused(Code),
    /// The system refused the anchor.
    #[error("the anchor was refused by the system")]
    System(#[source] io::Error),
    /// The anchor has closed the link: it is dead.
    #[error("the anchor is gone")]
    Gone,
    /// No answer came in time.
    #[error("the anchor does not answer")]
    Silent,
    /// The answer does not follow the protocol.
    #[error("the anchor's answer does not follow the protocol")]
    Garbled,
    /// The socket failed.
    #[error("the link to the anchor")]
    Socket(#[source] io::Error),
}

/// One operation among several that [`Link::carry_out`] sends together.
#[derive(Clone, Copy, Debug)]
pub enum Order<'a> {
    /// As [`Link::put`].
    Put {
        /// The descriptor's name.
        name: &'a str,
        /// The descriptor.
        fd: BorrowedFd<'a>,
    },
    /// As [`Link::pump`].
    Pump {
        /// The pump's number.
        id: u32,
        /// Name of the stored descriptor to read from.
        source: &'a str,
        /// Name of the stored ring.
        ring: &'a str,
        /// Name of the stored descriptor to ring: an eventfd or a pipe.
        notify: &'a str,
    },
}

/// The link. Operations are synchronous; each waits at most 5 s for its answer, and a moment only
/// while the anchor owes an answer.
#[derive(Debug)]
pub struct Link {
    socket: OwnedFd,
    sequence: AtomicU32,
    silent: AtomicBool,
}

impl AsFd for Link {
    /// For `poll`: hangs up when the anchor dies, and becomes readable otherwise only by answers
    /// that come too late, which [`Link::take_late`] takes.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Link {
    /// Uses the inherited descriptor.
    pub fn from_fd(socket: OwnedFd) -> Self {
        Self { socket, sequence: AtomicU32::new(1), silent: AtomicBool::new(false) }
    }

    /// The version of the protocol that this anchor speaks.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn version(&self) -> Result<u16, LinkError> {
        Ok(self.ask(self.request(Operation::Hello), &[])?.0.version)
    }

    /// Stores a descriptor under a name, replacing what had it.
    ///
    /// # Errors
    /// [`LinkError`]; `Refused(StoreFull)` at 512 entries.
    pub fn put(&self, name: &str, fd: impl AsFd) -> Result<(), LinkError> {
        self.carry_out(&[Order::Put { name, fd: fd.as_fd() }])
    }

    /// Closes a stored descriptor. Pumps that use it go on.
    ///
    /// # Errors
    /// [`LinkError`]; `Refused(NotFound)` when there is none.
    pub fn remove(&self, name: &str) -> Result<(), LinkError> {
        let mut request = self.request(Operation::Drop);
        request.names[0] = checked(name)?;
        self.ask(request, &[]).map(drop)
    }

    /// Duplicates of everything in the store, closed at exec.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn list(&self) -> Result<Vec<(String, OwnedFd)>, LinkError> {
        let mut entries = Vec::new();
        loop {
            let mut request = self.request(Operation::List);
            request.id = u32::try_from(entries.len()).map_err(|_| LinkError::Garbled)?;
            let (reply, fd) = match self.ask(request, &[]) {
                Err(LinkError::Refused(Code::NoMore)) => return Ok(entries),
                other => other?,
            };
            let name = reply.name.as_str().filter(|name| !name.is_empty());
            let (Some(name), Some(fd)) = (name, fd) else { return Err(LinkError::Garbled) };
            entries.push((name.to_owned(), fd));
        }
    }

    /// Carries out several operations in this order, and waits once for all answers. One that is
    /// refused does not hold up those behind it; the first refusal is returned.
    ///
    /// # Errors
    /// [`LinkError`], as of the single operations. A bad name is found before anything is sent.
    pub fn carry_out(&self, orders: &[Order<'_>]) -> Result<(), LinkError> {
        let requests: Vec<_> =
            orders.iter().map(|order| self.request_of(order)).collect::<Result<_, LinkError>>()?;
        self.heard(exchange::ask_all(self.socket.as_fd(), &requests, self.patience()))
    }

    fn request_of<'a>(&self, order: &Order<'a>) -> Result<(Request, Option<BorrowedFd<'a>>), LinkError> {
        Ok(match *order {
            Order::Put { name, fd } => {
                let mut request = self.request(Operation::Put);
                request.names[0] = checked(name)?;
                (request, Some(fd))
            }
            Order::Pump { id, source, ring, notify } => {
                let mut request = self.request(Operation::Pump);
                request.id = id;
                request.names = [checked(source)?, checked(ring)?, checked(notify)?];
                (request, None)
            }
        })
    }

    /// Starts pumping bytes from one stored descriptor into a stored ring, ringing a stored
    /// eventfd or pipe. The source becomes nonblocking for all who share its open file.
    ///
    /// # Errors
    /// [`LinkError`]; `Refused` with `NotFound`, `BadRing`, `PumpExists` or `PumpsFull`.
    pub fn pump(&self, id: u32, source: &str, ring: &str, notify: &str) -> Result<(), LinkError> {
        self.carry_out(&[Order::Pump { id, source, ring, notify }])
    }

    /// Stops pumping. Bytes that the source still holds stay there.
    ///
    /// # Errors
    /// [`LinkError`]; `Refused(NotFound)` when no such pump runs.
    pub fn unpump(&self, id: u32) -> Result<(), LinkError> {
        let mut request = self.request(Operation::Unpump);
        request.id = id;
        self.ask(request, &[]).map(drop)
    }

    /// Lets a pump try again that the floor had stopped or whose source was at its end.
    ///
    /// # Errors
    /// [`LinkError`]; `Refused(NotFound)` when no such pump runs.
    pub fn poke(&self, id: u32) -> Result<(), LinkError> {
        let mut request = self.request(Operation::Poke);
        request.id = id;
        self.ask(request, &[]).map(drop)
    }

    /// Has the anchor bind its own socket again where somebody has removed it, and make what is
    /// missing of the session's runtime folder.
    ///
    /// # Errors
    /// [`LinkError`]; `Refused(UnknownOperation)` by an anchor of a version that cannot.
    pub fn listen(&self) -> Result<(), LinkError> {
        self.ask(self.request(Operation::Listen), &[]).map(drop)
    }

    /// Makes the anchor exit. The store's descriptors close; children that asked for it die.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn quit(&self) -> Result<(), LinkError> {
        self.ask(self.request(Operation::Quit), &[]).map(drop)
    }

    /// Takes answers that came after their question was given up on. Returns how many: what they
    /// answer was carried out, or refused, all the same.
    ///
    /// # Errors
    /// [`LinkError`]; `Gone` when the anchor has closed the link.
    pub fn take_late(&self) -> Result<usize, LinkError> {
        let late = exchange::take_late(self.socket.as_fd())?;
        if late > 0 {
            self.silent.store(false, Ordering::Relaxed);
        }
        Ok(late)
    }

    fn request(&self, operation: Operation) -> Request {
        Request::new(operation, self.sequence.fetch_add(1, Ordering::Relaxed))
    }

    fn ask(&self, request: Request, fds: &[BorrowedFd<'_>]) -> Result<(Reply, Option<OwnedFd>), LinkError> {
        self.heard(exchange::ask(self.socket.as_fd(), &request, fds, self.patience()))
    }

    fn patience(&self) -> Duration {
        if self.silent.load(Ordering::Relaxed) { DOUBT } else { PATIENCE }
    }

    fn heard<T>(&self, answer: Result<T, ExchangeError>) -> Result<T, LinkError> {
        self.silent.store(matches!(answer, Err(ExchangeError::Silent)), Ordering::Relaxed);
        answer.map_err(LinkError::from)
    }
}

fn checked(name: &str) -> Result<Name, LinkError> {
    Name::new(name).ok_or_else(|| LinkError::BadName(name.to_owned()))
}

impl From<ExchangeError> for LinkError {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Refused(code) => Self::Refused(code),
            ExchangeError::System(error) => Self::System(error),
            ExchangeError::Gone => Self::Gone,
            ExchangeError::Silent => Self::Silent,
            ExchangeError::Garbled => Self::Garbled,
            ExchangeError::Socket(error) => Self::Socket(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An anchor that hangs holds up the first question for long, not each of those behind it.
    #[test]
    fn who_owes_an_answer_is_waited_for_a_moment() {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().expect("a socket");
        let link = Link::from_fd(ours.into());
        assert_eq!(link.patience(), PATIENCE);
        assert!(matches!(link.heard::<()>(Err(ExchangeError::Silent)), Err(LinkError::Silent)));
        assert_eq!(link.patience(), DOUBT);
        assert!(link.heard::<()>(Err(ExchangeError::Refused(Code::NotFound))).is_err());
        assert_eq!(link.patience(), PATIENCE);
    }
}
