//! The keeper, which the anchor starts, and the processes that keepers made its children.

use std::ffi::{CStr, c_char};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::ptr;
use std::time::{Duration, Instant};

use super::exit;
use super::held::Held;
use crate::{fds, sys};

/// Most variables passed on to the keeper.
const MAX_VARIABLES: usize = 64;
/// Signal numbers end here.
const SIGNALS: i32 = 64;
/// How long children may take to go when they are killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// The keeper's descriptors, in the order of their numbers from 3 on.
const KEEPER_FIRST: RawFd = 3;

/// What waiting for children found.
pub(super) struct Reaped {
    pub(super) count: u32,
    /// Whether children are left that live.
    pub(super) others: bool,
}

/// What became of the children.
pub(super) struct Killed {
    pub(super) gone: u32,
    pub(super) remaining: u32,
}

pub(super) struct Children {
    /// Process id; 0 when none lives.
    keeper: libc::pid_t,
    keeper_listener: Held,
    image: Held,
    keeper_image: Held,
    own_pidfd: Held,
    arguments: [*const c_char; 5],
    environment: [*const c_char; MAX_VARIABLES + 1],
}

/// Ignores what would end the anchor, and returns a descriptor that tells of children's ends.
pub(super) fn watch() -> io::Result<OwnedFd> {
    let kept = [
        libc::SIGKILL,
        libc::SIGSTOP,
        libc::SIGCONT,
        libc::SIGABRT,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGILL,
        libc::SIGSEGV,
        libc::SIGSYS,
        libc::SIGTRAP,
    ];
    // SAFETY: sets dispositions to constants; the set is initialised before use.
    unsafe {
        for signal in (1..=SIGNALS).filter(|signal| !kept.contains(signal)) {
            // Children of a process that ignores SIGCHLD cannot be waited for.
            libc::signal(signal, if signal == libc::SIGCHLD { libc::SIG_DFL } else { libc::SIG_IGN });
        }
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        sys::check(libc::sigprocmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut()))?;
        sys::owned(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))
    }
}

impl Children {
    pub(super) const NONE: Self = Self {
        keeper: 0,
        keeper_listener: Held::NONE,
        image: Held::NONE,
        keeper_image: Held::NONE,
        own_pidfd: Held::NONE,
        arguments: [ptr::null(); 5],
        environment: [ptr::null(); MAX_VARIABLES + 1],
    };

    /// Notes what keepers are started with: the keeper listener, the anchor's own image and the
    /// keeper's.
    pub(super) fn start(
        &mut self,
        [listener, image, keeper_image]: [OwnedFd; 3],
        [id, runtime, state]: [*const c_char; 3],
        environment: *const *const c_char,
    ) -> io::Result<()> {
        self.keeper_listener.set(listener);
        self.image.set(image);
        self.keeper_image.set(keeper_image);
        // SAFETY: takes numbers only.
        let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0) };
        self.own_pidfd.set(sys::owned(pidfd as i32)?);
        self.arguments = [c"keeper".as_ptr(), id, runtime, state, ptr::null()];
        let mut used = 0;
        let mut next = environment;
        // SAFETY: a list of C strings with NULL at its end, as the caller of `run` promises.
        unsafe {
            while !(*next).is_null() && used < MAX_VARIABLES {
                if is_for_keeper(CStr::from_ptr(*next)) {
                    self.environment[used] = *next;
                    used += 1;
                }
                next = next.add(1);
            }
        }
        Ok(())
    }

    /// The keeper's process id; 0 when none lives.
    pub(super) fn keeper(&self) -> u32 {
        self.keeper.unsigned_abs()
    }

    pub(super) fn replace_image(&mut self, image: OwnedFd) {
        self.keeper_image.set(image);
    }

    /// Starts a keeper. Returns the anchor's end of the link to it.
    pub(super) fn spawn_keeper(&mut self) -> io::Result<OwnedFd> {
        let (ours, theirs) = fds::seqpacket_pair()?;
        sys::set_nonblocking(ours.as_fd())?;
        // SAFETY: this process has one thread, so the child may go on as if it were the parent.
        match sys::check(unsafe { libc::fork() })? {
            0 => self.become_keeper(&theirs),
            pid => {
                self.keeper = pid;
                Ok(ours)
            }
        }
    }

    /// In the child: descriptors, signals, exec. All else the anchor holds is closed at exec.
    fn become_keeper(&self, link: &OwnedFd) -> ! {
        let handed =
            [link.as_raw_fd(), self.keeper_listener.number(), self.image.number(), self.own_pidfd.number()];
        // SAFETY: numbers, and lists of C strings with NULL at their ends that live as long as
        // the process. The duplicates are out of the way of the numbers that are then replaced.
        unsafe {
            let aside = |fd: RawFd| libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, KEEPER_FIRST + 4);
            let image = aside(self.keeper_image.number());
            let handed = handed.map(aside);
            for (fd, wanted) in handed.into_iter().zip(KEEPER_FIRST..) {
                if libc::dup2(fd, wanted) != wanted {
                    exit(127);
                }
            }
            for signal in 1..=SIGNALS {
                libc::signal(signal, libc::SIG_DFL);
            }
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut());
            libc::syscall(
                libc::SYS_execveat,
                image,
                c"".as_ptr(),
                self.arguments.as_ptr(),
                self.environment.as_ptr(),
                libc::AT_EMPTY_PATH,
            );
        }
        exit(127)
    }

    /// Lets children go that have ended.
    pub(super) fn reap(&mut self, signals: &Held) -> Reaped {
        let mut information = [0u8; 1024];
        // SAFETY: the length is the buffer's. What it says is not needed: waiting tells all.
        unsafe { libc::read(signals.number(), information.as_mut_ptr().cast(), information.len()) };
        let mut count = 0;
        loop {
            // SAFETY: no status is asked for.
            let pid = unsafe { libc::waitpid(-1, ptr::null_mut(), libc::WNOHANG | libc::__WALL) };
            if pid <= 0 {
                return Reaped { count, others: pid == 0 };
            }
            count += 1;
            if pid == self.keeper {
                self.keeper = 0;
            }
        }
    }

    /// Waits for the end of a keeper that has said it goes; not for ever.
    pub(super) fn wait_for_keeper(&mut self, signals: &Held) {
        let until = Instant::now() + PATIENCE;
        loop {
            self.reap(signals);
            let left = until.saturating_duration_since(Instant::now());
            let Some(news) = signals.fd().filter(|_| self.keeper != 0 && !left.is_zero()) else { return };
            let _ = sys::poll_one(news, libc::POLLIN, left.as_millis() as i32 + 1);
        }
    }

    /// Kills every child, the keeper first so that it starts no more, and waits for their ends.
    pub(super) fn kill(&mut self, signals: &Held) -> Killed {
        let until = Instant::now() + PATIENCE;
        let mut gone = 0;
        loop {
            if self.keeper != 0 {
                kill_one(self.keeper);
            }
            let mut remaining = 0;
            each_child(|pid| {
                kill_one(pid);
                remaining += 1;
            });
            let reaped = self.reap(signals);
            gone += reaped.count;
            let left = until.saturating_duration_since(Instant::now());
            if !reaped.others || left.is_zero() {
                return Killed { gone, remaining: if reaped.others { remaining } else { 0 } };
            }
            // The next end of a child; a child made by the keeper just before it died is found
            // after the keeper's own.
            if reaped.count == 0
                && let Some(signals) = signals.fd()
            {
                let _ = sys::poll_one(signals, libc::POLLIN, left.as_millis() as i32 + 1);
            }
        }
    }
}

fn kill_one(pid: libc::pid_t) {
    // SAFETY: takes numbers only. A child keeps its number until this process waits for it.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

/// Calls back with each child's process id, zombies included. Does nothing on a kernel without
/// CONFIG_PROC_CHILDREN: its children then die as the anchor exits, which they asked for.
fn each_child(mut found: impl FnMut(libc::pid_t)) {
    // SAFETY: a C string literal.
    let list = sys::owned(unsafe {
        libc::open(c"/proc/thread-self/children".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC)
    });
    let Ok(list) = list else { return };
    let mut bytes = [0u8; 1024];
    let mut pid: libc::pid_t = 0;
    loop {
        // SAFETY: the length is the buffer's.
        let read = unsafe { libc::read(list.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len()) };
        let Some(read) = usize::try_from(read).ok().filter(|&read| read > 0) else { break };
        for byte in bytes.iter().take(read) {
            if byte.is_ascii_digit() {
                pid = pid.saturating_mul(10).saturating_add(libc::pid_t::from(byte - b'0'));
            } else if pid > 0 {
                found(std::mem::take(&mut pid));
            }
        }
    }
    if pid > 0 {
        found(pid);
    }
}

/// Whether a variable is one of those that keepers are given.
fn is_for_keeper(variable: &CStr) -> bool {
    let bytes = variable.to_bytes();
    [&b"SESSILE_"[..], b"PATH=", b"RUST_BACKTRACE="].iter().any(|prefix| bytes.starts_with(prefix))
}
