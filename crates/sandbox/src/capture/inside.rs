//! Sockets in a network namespace that the caller is not in.
//!
//! A socket belongs to the namespace it is made in, whoever uses it. So a short process joins the
//! namespaces, makes the socket, hands it over and ends; what is done with it is done outside.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};

use crate::space::Space;
use crate::sys::{self, Forked};

/// Longest time the helper may take; past it something in the kernel hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// `NS_GET_USERNS` of `linux/nsfs.h`.
const OWNER_OF_NAMESPACE: u64 = 0xb701;

/// What socket is made: the arguments of socket(2).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub family: i32,
    pub kind: i32,
    pub protocol: i32,
}

/// A socket in an app's network namespace.
///
/// The session's user namespace is the caller's own child; the app's is a child of that one. A
/// network that was made ahead belongs to the former, any other to the latter.
pub(crate) fn socket(space: &Space, netns: BorrowedFd<'_>, kind: Kind) -> Result<OwnedFd, Errno> {
    let owner = owner_of(netns)?;
    let session = (space.userns.as_fd(), libc::CLONE_NEWUSER);
    if is_same(&owner, &space.userns)? {
        return socket_in(&[session, (netns, libc::CLONE_NEWNET)], kind);
    }
    socket_in(&[session, (owner.as_fd(), libc::CLONE_NEWUSER), (netns, libc::CLONE_NEWNET)], kind)
}

/// Whether two descriptors are of one namespace (namespaces(7)).
fn is_same(one: &OwnedFd, other: &OwnedFd) -> Result<bool, Errno> {
    let [one, other] = [rustix::fs::fstat(one)?, rustix::fs::fstat(other)?];
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

/// A socket made by a process that joined the namespaces one after the other.
pub(crate) fn socket_in(namespaces: &[(BorrowedFd<'_>, i32)], kind: Kind) -> Result<OwnedFd, Errno> {
    let (ours, theirs) = sys::socket_pair()?;
    // SAFETY: the child makes system calls on memory that was there before, allocates nothing,
    // takes no lock and ends in `leave`, so other threads of the caller do not matter.
    let (pid, pidfd) = match unsafe { sys::fork_with(0, None) }? {
        Forked::Parent(pid, pidfd) => (pid, pidfd),
        Forked::Child => {
            let (errno, made) = match make(namespaces, kind) {
                Ok(made) => (0, Some(made)),
                Err(errno) => (errno.raw_os_error(), None),
            };
            let fd = made.as_ref().map(AsFd::as_fd);
            // Nobody is left to tell when this fails.
            let _ = sys::send(&theirs, &errno.to_ne_bytes(), fd.as_slice());
            sys::leave(0)
        }
    };
    drop(theirs);
    let answer = sys::receive(&ours, Instant::now() + PATIENCE);
    // It has ended, or hangs.
    let _ = pidfd_send_signal(&pidfd, Signal::KILL);
    sys::reap(pid);
    let message = answer?.ok_or(Errno::PIPE)?;
    let errno = message.bytes.first_chunk().map_or(libc::EBADMSG, |code| i32::from_ne_bytes(*code));
    match (errno, message.fds.into_iter().next()) {
        (0, Some(fd)) => Ok(fd),
        (0, None) => Err(Errno::BADMSG),
        (errno, _) => Err(Errno::from_raw_os_error(errno)),
    }
}

fn make(namespaces: &[(BorrowedFd<'_>, i32)], kind: Kind) -> Result<OwnedFd, Errno> {
    for (fd, namespace) in namespaces {
        sys::join_namespace(fd, *namespace)?;
    }
    sys::new_socket(kind.family, kind.kind | libc::SOCK_CLOEXEC, kind.protocol)
}

/// The user namespace that a namespace belongs to.
fn owner_of(namespace: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    // SAFETY: this ioctl takes no argument and returns a new descriptor.
    let fd = unsafe { libc::ioctl(namespace.as_raw_fd(), OWNER_OF_NAMESPACE as libc::Ioctl) };
    if fd < 0 {
        return Err(sys::last_errno());
    }
    // SAFETY: the kernel returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
