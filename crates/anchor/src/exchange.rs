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

/// Sends a request and waits for the reply with its sequence, passing over late answers to
/// earlier requests.
pub(crate) fn ask(
    socket: BorrowedFd<'_>,
    request: &Request,
    fds: &[BorrowedFd<'_>],
    patience: Duration,
) -> Result<(Reply, Option<OwnedFd>), ExchangeError> {
    let until = Instant::now() + patience;
    let packet = request.encode();
    while let Err(error) = fds::send(socket, &packet, fds, libc::MSG_DONTWAIT) {
        if error.kind() != io::ErrorKind::WouldBlock {
            return Err(socket_error(error));
        }
        wait(socket, libc::POLLOUT, until)?;
    }
    // Room for what later versions may add behind this one's reply.
    let mut packet = [0; 4 * REPLY_LEN];
    loop {
        wait(socket, libc::POLLIN, until)?;
        let (len, mut fds) = match fds::recv_with_fds(socket, &mut packet, fds::NO_WAIT) {
            Ok((0, _)) => return Err(ExchangeError::Gone),
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
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
