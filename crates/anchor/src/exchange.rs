//! One question, one answer: what the link and the supervisor's end have in common.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::protocol::{Code, REPLY_LEN, Reply, Request};
use crate::{fds, sys};

/// Why a question got no good answer.
#[derive(Debug)]
pub(crate) enum ExchangeError {
    /// A code other than done.
    Refused(Code),
    /// [`Code::System`] with this error.
    System(io::Error),
    /// The peer closed the socket.
    Gone,
    /// The peer did not answer in time.
    Silent,
    /// The answer does not follow the protocol.
    Garbled,
    /// The socket failed.
    Socket(io::Error),
}

/// Requests that are sent before the first answer is taken: their answers fit the socket's buffer
/// several times over, so that neither end has to wait for the other to read.
const AHEAD: usize = 32;

/// Sends a request and waits for the reply with its sequence, passing over late answers to
/// earlier requests.
pub(crate) fn ask(
    socket: BorrowedFd<'_>,
    request: &Request,
    fds: &[BorrowedFd<'_>],
    patience: Duration,
) -> Result<(Reply, Option<OwnedFd>), ExchangeError> {
    let until = Instant::now() + patience;
    send(socket, request, fds, until)?;
    answer(socket, request, until)
}

/// Sends requests, each with its descriptor, before it waits for their answers. They are carried
/// out in this order; the first that is refused is the error, and those behind it are carried out
/// all the same.
pub(crate) fn ask_all(
    socket: BorrowedFd<'_>,
    requests: &[(Request, Option<BorrowedFd<'_>>)],
    patience: Duration,
) -> Result<(), ExchangeError> {
    let until = Instant::now() + patience;
    let mut outcome = Ok(());
    for some in requests.chunks(AHEAD) {
        for (request, fd) in some {
            send(socket, request, fd.as_slice(), until)?;
        }
        for (request, _) in some {
            match answer(socket, request, until) {
                Ok(_) => {}
                Err(refused @ (ExchangeError::Refused(_) | ExchangeError::System(_))) => {
                    outcome = outcome.and(Err(refused));
                }
                Err(
                    lost @ (ExchangeError::Gone
                    | ExchangeError::Silent
                    | ExchangeError::Garbled
                    | ExchangeError::Socket(_)),
                ) => return Err(lost),
            }
        }
    }
    outcome
}

fn send(
    socket: BorrowedFd<'_>,
    request: &Request,
    fds: &[BorrowedFd<'_>],
    until: Instant,
) -> Result<(), ExchangeError> {
    let packet = request.encode();
    while let Err(error) = fds::send(socket, &packet, fds, libc::MSG_DONTWAIT) {
        if error.kind() != io::ErrorKind::WouldBlock {
            return Err(socket_error(error));
        }
        wait(socket, libc::POLLOUT, until)?;
    }
    Ok(())
}

fn answer(
    socket: BorrowedFd<'_>,
    request: &Request,
    until: Instant,
) -> Result<(Reply, Option<OwnedFd>), ExchangeError> {
    // Room for what later versions may add behind this one's reply.
    let mut packet = [0; 4 * REPLY_LEN];
    loop {
        let (len, mut fds) = match fds::recv_with_fds(socket, &mut packet, fds::NO_WAIT) {
            Ok((0, _)) => return Err(ExchangeError::Gone),
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait(socket, libc::POLLIN, until)?;
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(ExchangeError::Garbled),
            Err(error) => return Err(socket_error(error)),
        };
        let reply = Reply::decode(&packet[..len]).ok_or(ExchangeError::Garbled)?;
        if reply.sequence != request.sequence {
            continue;
        }
        return match Code::from_number(reply.code) {
            Some(Code::Done) if reply.operation == request.operation => Ok((reply, fds.pop())),
            Some(Code::Done) | None => Err(ExchangeError::Garbled),
            Some(Code::System) => {
                Err(ExchangeError::System(io::Error::from_raw_os_error(reply.values[0] as i32)))
            }
            Some(code) => Err(ExchangeError::Refused(code)),
        };
    }
}

/// Takes what has come unasked: late answers to requests that were given up on, with what they
/// carry. Returns how many there were.
pub(crate) fn take_late(socket: BorrowedFd<'_>) -> Result<usize, ExchangeError> {
    let mut packet = [0; 4 * REPLY_LEN];
    let mut count = 0;
    loop {
        match fds::recv_with_fds(socket, &mut packet, fds::NO_WAIT) {
            Ok((0, _)) => return Err(ExchangeError::Gone),
            Ok((len, _)) if Reply::decode(&packet[..len]).is_some() => count += 1,
            Ok(_) => return Err(ExchangeError::Garbled),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(count),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(ExchangeError::Garbled),
            Err(error) => return Err(socket_error(error)),
        }
    }
}

fn wait(socket: BorrowedFd<'_>, events: i16, until: Instant) -> Result<(), ExchangeError> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ExchangeError::Silent);
        }
        let left = i32::try_from(left.as_millis()).unwrap_or(i32::MAX).saturating_add(1);
        match sys::poll_one(socket, events, left) {
            Ok(0) => {}
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ExchangeError::Socket(error)),
        }
    }
}

fn socket_error(error: io::Error) -> ExchangeError {
    if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) {
        ExchangeError::Gone
    } else {
        ExchangeError::Socket(error)
    }
}
