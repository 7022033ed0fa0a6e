//! A socket on which requests come and answers go.

use std::io;
use std::os::fd::OwnedFd;

use super::held::Held;
use super::operations;
use crate::protocol::{Code, REQUEST_LEN, Reply, Request};
use crate::{fds, sys};

/// All zeros when there is none.
pub(super) struct Peer {
    socket: Held,
    /// It does not read its answers, so nothing more is read from it.
    stalled: bool,
}

/// What came.
pub(super) enum Packet {
    Request(Request, Option<OwnedFd>),
    /// Wrong length, or more than one descriptor.
    Malformed(Request),
    /// The peer has closed, and nothing is left to read.
    Closed,
}

impl Peer {
    pub(super) const NONE: Self = Self { socket: Held::NONE, stalled: false };

    /// Talks to another peer from now on.
    pub(super) fn set(&mut self, socket: OwnedFd) {
        self.socket.set(socket);
        self.stalled = false;
    }

    /// Closes the socket.
    pub(super) fn clear(&mut self) {
        self.socket.clear();
    }

    /// Whether there is none.
    pub(super) fn is_none(&self) -> bool {
        self.socket.is_none()
    }

    /// What to wait for.
    pub(super) fn wanted(&self) -> libc::pollfd {
        let events = if self.stalled { libc::POLLOUT } else { libc::POLLIN };
        libc::pollfd { fd: self.socket.number(), events, revents: 0 }
    }

    /// Takes one packet. `None` when there is nothing now, or no room for its answer.
    pub(super) fn receive(&mut self) -> Option<Packet> {
        let fd = self.socket.fd()?;
        let room = sys::poll_one(fd, libc::POLLOUT, 0).unwrap_or(0);
        self.stalled = room & (libc::POLLOUT | libc::POLLHUP) == 0;
        if self.stalled {
            return None;
        }
        let mut bytes = [0; REQUEST_LEN];
        let mut first = None;
        let mut count = 0;
        let received = fds::receive(fd, &mut bytes, fds::NO_WAIT, |fd| {
            count += 1;
            first.get_or_insert(fd);
        });
        match received {
            // An empty packet looks like a closed socket, which says more when asked.
            Ok(0) => match sys::poll_one(fd, libc::POLLIN, 0) {
                Ok(events) if events & libc::POLLHUP != 0 => Some(Packet::Closed),
                Ok(_) | Err(_) => Some(Packet::Malformed(Request::decode(&[]))),
            },
            Ok(REQUEST_LEN) if count <= 1 => Some(Packet::Request(Request::decode(&bytes), first)),
            Ok(len) => Some(Packet::Malformed(Request::decode(&bytes[..len.min(REQUEST_LEN)]))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            // Cut off: what fits has come.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Some(Packet::Malformed(Request::decode(&bytes)))
            }
            // A peer that died with answers unread resets the socket once; what it had sent can
            // still be read.
            Err(_) => Some(Packet::Malformed(Request::decode(&[]))),
        }
    }

    /// Sends a reply, and a descriptor with it.
    pub(super) fn answer(&self, reply: &Reply, fd: &Held) {
        let Some(socket) = self.socket.fd() else { return };
        let sent = fds::send(socket, &reply.encode(), fd.fd().as_slice(), libc::MSG_DONTWAIT);
        if let Err(error) = sent
            && !fd.is_none()
        {
            // The kernel limits descriptors in flight.
            let refused = operations::refused(reply, &error);
            let _ = fds::send(socket, &refused.encode(), &[], libc::MSG_DONTWAIT);
        }
    }

    /// Refuses a packet that is no request.
    pub(super) fn refuse(&self, request: &Request) {
        self.answer(&Reply::to(request, Code::Malformed), &Held::NONE);
    }
}
