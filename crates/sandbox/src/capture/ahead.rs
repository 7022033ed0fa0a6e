//! A network namespace that is captured before its app is launched.
//!
//! It belongs to the session's user namespace, not to the app's, which has no rights over it from the
//! beginning.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};

use super::{Capture, Listeners, Network, Prepared, begin};
use crate::space::Space;
use crate::step::{At, Fault, Step};
use crate::sys::{self, Forked};

/// Longest time the helper may take; past it something in the kernel hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// A captured network that waits for an app.
#[derive(Debug)]
pub struct NetworkAhead {
    netns: OwnedFd,
    listeners: Listeners,
    rules: OwnedFd,
}

impl NetworkAhead {
    /// Makes one for an app of this session, with nothing but `lo`, as [`Network::Captured`] has it.
    /// The caller must have one thread only.
    ///
    /// # Errors
    /// When a step fails, or nothing can be redirected here.
    pub fn make(space: &Space) -> io::Result<Self> {
        let (ours, theirs) = sys::socket_pair()?;
        // SAFETY: the caller has one thread, as this function demands; the child ends in `leave`.
        let (pid, pidfd) = match unsafe { sys::fork_with(0, None) }? {
            Forked::Parent(pid, pidfd) => (pid, pidfd),
            Forked::Child => {
                drop(ours);
                // Its end without a word tells the caller.
                let made = inside(space).and_then(|(netns, prepared)| hand_over(&theirs, &netns, &prepared));
                sys::leave(i32::from(made.is_err()))
            }
        };
        drop(theirs);
        let answer = sys::receive(&ours, Instant::now() + PATIENCE);
        // It has ended, or hangs.
        let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        sys::reap(pid);
        let fds = answer?.ok_or(Errno::PIPE)?.fds;
        let [netns, tcp, tcp_v6, dns, dns_v6, rules] =
            <[OwnedFd; 6]>::try_from(fds).map_err(|_| io::Error::from(Errno::BADMSG))?;
        Ok(Self { netns, listeners: Listeners { tcp: [tcp, tcp_v6], dns: [dns, dns_v6] }, rules })
    }

    pub(crate) fn netns(&self) -> BorrowedFd<'_> {
        self.netns.as_fd()
    }

    /// What is in it, for whoever launches the app.
    pub(crate) fn prepared(&self) -> Result<Prepared, Fault> {
        let copy = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, 0).at(Step::Capture);
        let [tcp, dns] = [&self.listeners.tcp, &self.listeners.dns];
        Ok(Prepared {
            capture: Capture::Transparent,
            listeners: Listeners {
                tcp: [copy(&tcp[0])?, copy(&tcp[1])?],
                dns: [copy(&dns[0])?, copy(&dns[1])?],
            },
            rules: Some(copy(&self.rules)?),
        })
    }
}

/// The child's part: the namespace and what is in it.
fn inside(space: &Space) -> Result<(OwnedFd, Prepared), Fault> {
    sys::join_namespace(&space.userns, libc::CLONE_NEWUSER).on(Step::JoinSpace, "user")?;
    sys::leave_namespaces(libc::CLONE_NEWNET).at(Step::Namespaces)?;
    let prepared = begin(Network::Captured)?.ok_or(Errno::NOTSUP).at(Step::Capture)?;
    let netns = openat(CWD, "/proc/thread-self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .at(Step::Handover)?;
    Ok((netns, prepared))
}

fn hand_over(report: &OwnedFd, netns: &OwnedFd, prepared: &Prepared) -> Result<(), Fault> {
    let Prepared { listeners, rules: Some(rules), .. } = prepared else {
        return Err(Errno::NOTSUP).at(Step::Capture);
    };
    let sockets = listeners.tcp.iter().chain(&listeners.dns).chain([rules]);
    let fds: Vec<_> = [netns].into_iter().chain(sockets).map(AsFd::as_fd).collect();
    sys::send(report, b"N", &fds).at(Step::Handover)
}
