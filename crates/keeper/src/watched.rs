//! The process whose terminal it is.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::hold::HoldError;

/// More than a process's state takes as text.
const STATE: usize = 1024;

/// A process, as far as a terminal's owner is watched.
#[derive(Debug)]
pub struct Watched {
    process: OwnedFd,
    /// `/proc/PID/stat`, which goes on being this process's.
    state: OwnedFd,
}

impl Watched {
    /// The process at the other end of this socket.
    ///
    /// # Errors
    /// [`HoldError`]: it is of another pid namespace, or there is no `/proc`.
    pub fn of_peer(socket: impl AsFd) -> Result<Self, HoldError> {
        let peer = socket_peercred(socket)?;
        // What is not of our pid namespace has number 0 here.
        let pid = Pid::from_raw(Pid::as_raw(Some(peer.pid))).ok_or(HoldError::NotItsOwn)?;
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let state = open(format!("/proc/{}/stat", pid.as_raw_nonzero()), flags, Mode::empty())?;
        Ok(Self::new(process, state))
    }

    /// A process, and what is said of it.
    pub fn new(process: OwnedFd, state: OwnedFd) -> Self {
        Self { process, state }
    }

    /// It, to wait for its end.
    pub fn process(&self) -> BorrowedFd<'_> {
        self.process.as_fd()
    }

    /// Whether it runs, and in the foreground of its terminal, if it has a controlling one.
    pub fn owns_terminal(&self) -> bool {
        let mut text = [0; STATE];
        let read = rustix::io::pread(&self.state, &mut text, 0).unwrap_or(0);
        text.get(..read).is_some_and(is_in_front)
    }
}

/// What `/proc/PID/stat` says (proc_pid_stat(5)): state, process group and foreground process group.
fn is_in_front(stat: &[u8]) -> bool {
    // The name before may hold anything, a closing parenthesis too.
    let Some(at) = stat.iter().rposition(|&byte| byte == b')') else { return false };
    let mut fields = stat[at + 1..].split(|&byte| byte == b' ').skip(1);
    let (state, group) = (fields.next(), fields.nth(1));
    let foreground = fields.nth(2);
    let runs = matches!(state, Some(b"R" | b"S" | b"D" | b"I"));
    runs && foreground.is_some_and(|front| front == b"-1" || Some(front) == group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_in_front() {
        let stat = |state: &str, group: i32, front: i32| {
            is_in_front(format!("7 (a) b) {state} 1 {group} 7 34816 {front} 4194304 0").as_bytes())
        };
        assert!(stat("S", 7, 7) && stat("R", 7, -1));
        assert!(!stat("T", 7, 7) && !stat("t", 7, 7) && !stat("Z", 7, 7) && !stat("S", 7, 9));
        assert!(!is_in_front(b"") && !is_in_front(b"7 (a) S 1"));
    }
}
