//! The process whose terminal it is.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, open};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::hold::HoldError;

/// More than a process's state takes as text.
const STATE: usize = 1024;
/// More than the three numbers of `/proc/PID/schedstat` take as text.
const RUNS: usize = 64;
/// How long a process that has not run since it was seen in front is taken to be there.
const MOMENT: Duration = Duration::from_millis(1);

/// A process, as far as a terminal's owner is watched.
#[derive(Debug)]
pub struct Watched {
    process: OwnedFd,
    /// `/proc/PID/stat`, which goes on being this process's.
    state: OwnedFd,
    /// `/proc/PID/schedstat`, where there is one.
    runs: Option<OwnedFd>,
    /// When it was last seen in front, and what was counted of its running before that look.
    seen: Option<(Instant, [u8; RUNS])>,
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
        let of = |what| open(format!("/proc/{}/{what}", pid.as_raw_nonzero()), flags, Mode::empty());
        Ok(Self::new(process, of("stat")?, of("schedstat").ok()))
    }

    /// A process, and what is said of it.
    pub fn new(process: OwnedFd, state: OwnedFd, runs: Option<OwnedFd>) -> Self {
        Self { process, state, runs, seen: None }
    }

    /// It, to wait for its end.
    pub fn process(&self) -> BorrowedFd<'_> {
        self.process.as_fd()
    }

    /// Whether it runs, and in the foreground of its terminal, if it has a controlling one. What lasts longest of an
    /// echo's looks is spared where it was seen there a moment ago: to be stopped, a process has to run.
    pub fn owns_terminal(&mut self) -> bool {
        let runs = self.count_runs();
        if let (Some((at, before)), Some(runs)) = (self.seen, runs)
            && before == runs
            && at.elapsed() < MOMENT
        {
            return true;
        }
        let at = Instant::now();
        let mut text = [0; STATE];
        let read = rustix::io::pread(&self.state, &mut text, 0).unwrap_or(0);
        let in_front = text.get(..read).is_some_and(is_in_front);
        self.seen = runs.filter(|_| in_front).map(|runs| (at, runs));
        in_front
    }

    /// How long and how often it has run; nothing where that is not counted (CONFIG_SCHED_INFO).
    fn count_runs(&self) -> Option<[u8; RUNS]> {
        let mut text = [0; RUNS];
        let read = rustix::io::pread(self.runs.as_ref()?, &mut text, 0).ok()?;
        (read > 0 && read < RUNS && !text.starts_with(b"0 0 0")).then_some(text)
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
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;

    use super::*;

    const IN_FRONT: &[u8] = b"7 (client) S 1 7 7 34816 7 0";

    #[test]
    fn who_has_not_run_for_a_moment_is_still_in_front() {
        let (state, counted) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        state.write_all_at(IN_FRONT, 0).unwrap();
        let process = pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).unwrap();
        let again = |file: &File| file.try_clone().unwrap().into();
        let mut client = Watched::new(process, again(&state), Some(again(&counted)));
        let stops = |stat: &[u8]| state.write_all_at(stat, 0).unwrap();
        let runs = |runs: &[u8]| counted.write_all_at(runs, 0).unwrap();
        // Not counted here: it is looked at each time.
        for nothing in [&b""[..], b"0 0 0\n"] {
            runs(nothing);
            assert!(client.owns_terminal());
            stops(b"7 (client) T 1 7 7 34816 7 0");
            assert!(!client.owns_terminal());
            stops(IN_FRONT);
        }
        runs(b"61 20 3\n");
        assert!(client.owns_terminal());
        stops(b"7 (client) T 1 7 7 34816 7 0");
        runs(b"62 20 4\n");
        assert!(!client.owns_terminal(), "it has run");
        assert!(!client.owns_terminal(), "it was not in front");
        stops(IN_FRONT);
        assert!(client.owns_terminal());
        stops(b"7 (client) S 1 7 7 34816 9 0");
        std::thread::sleep(2 * MOMENT);
        assert!(!client.owns_terminal(), "another was put in front of it meanwhile");
    }

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
