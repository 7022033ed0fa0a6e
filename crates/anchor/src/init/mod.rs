//! The first process of an app's sandbox: confines itself, starts commands when told, reaps.
//!
//! It is executed from a sealed image with three things: descriptor 3, its control socket (see
//! [`crate::control`]); descriptor 4, the seccomp program; and no_new_privs, which the launcher
//! has set. What it starts inherits namespaces, Landlock, no_new_privs and the filter, so nothing
//! has to be set up again for a further command. It uses no heap, keeps a fixed table of tasks,
//! waits for nothing without an end, and ends when nobody holds the other end of its socket.

mod evidence;
mod execute;
mod start;
mod sys;
mod tasks;
mod tries;

use crate::control::{Kind, VERSION};

#[cfg(feature = "fuzz")]
pub use self::start::read_block;

use self::start::Outcome;
use self::sys::{Packet, Received, Wake, fatal};
use self::tasks::Tasks;

/// The control socket.
const CONTROL: i32 = 3;
/// The seccomp program.
const FILTER: i32 = 4;
/// Longest accepted seccomp program, in instructions (the kernel's own limit).
const MAX_FILTER: usize = 4096;

/// All zeros until used, so that the table takes no memory until used.
static mut TASKS: Tasks = Tasks::EMPTY;

/// Runs as the first process of a sandbox until the control socket closes. To be called once.
pub fn run() -> ! {
    confine();
    sys::watch_children();
    let tasks = &raw mut TASKS;
    // SAFETY: `run` is called once and the process has one thread: the only reference.
    let tasks = unsafe { &mut *tasks };
    if !sys::send(CONTROL, &[Kind::Ready as u32, 0, VERSION, sys::own_pid() as u32]) {
        fatal(b"init: nobody listens\n");
    }
    let mut packet = Packet::new();
    loop {
        let all_reaped = tasks.reap();
        // A full socket means that the keeper is away or behind: the rest is told when it reads.
        let all_told =
            tasks.tell(|task, status| sys::send(CONTROL, &[Kind::Exited as u32, 0, task, status as u32]));
        match sys::wait(CONTROL, all_told, all_reaped) {
            Wake::Other => {}
            Wake::Closed => sys::exit(0),
            Wake::Packet => {
                match packet.receive(CONTROL) {
                    Received::Whole => handle(tasks, &packet),
                    Received::Cut => done(packet.word(4), libc::EMSGSIZE),
                    Received::Nothing => {}
                }
                packet.close_descriptors();
            }
        }
    }
}

/// Makes itself opaque to the apps, then installs the filter that all of them inherit.
fn confine() {
    sys::name(c"init");
    sys::close_from(FILTER + 1);
    // Before the filter, which turns this very call into a no-op for apps.
    sys::make_undumpable();
    if !sys::has_no_new_privs() {
        fatal(b"init: no_new_privs is not set\n");
    }
    if !sys::install_filter(FILTER, MAX_FILTER) {
        fatal(b"init: the seccomp program cannot be installed\n");
    }
    sys::close(FILTER);
}

/// Answers a packet; every one gets exactly one last answer.
fn handle(tasks: &mut Tasks, packet: &Packet) {
    let word = |at| packet.word(at);
    let sequence = word(4);
    let errno = match (word(0).and_then(Kind::from_number), sequence) {
        (_, None) => libc::EBADMSG,
        (Some(Kind::Start), Some(sequence)) => match start::start(tasks, packet) {
            Outcome::Started { task, pid } => {
                return answer(&[Kind::Started as u32, sequence, task, pid as u32]);
            }
            Outcome::NotStarted { task, errno } => {
                return answer(&[Kind::NotStarted as u32, sequence, task, errno as u32]);
            }
            Outcome::Refused(errno) => errno,
        },
        (Some(Kind::Probe), Some(sequence)) => match evidence::send(CONTROL, sequence) {
            Ok(()) => return,
            Err(errno) => errno,
        },
        (Some(Kind::Signal), _) => match (word(8), word(12), word(16)) {
            (Some(task), Some(signal), Some(scope @ (0 | 1))) => {
                tasks.signal(task, signal as i32, scope == 1)
            }
            _ => libc::EINVAL,
        },
        (Some(Kind::SignalAll), _) => match word(8) {
            Some(signal) => sys::signal_everyone(signal as i32),
            None => libc::EINVAL,
        },
        (Some(Kind::List), Some(sequence)) => {
            let all = tasks.each(|number, pid, exited| {
                let (state, status) = exited.map_or((0, 0), |status| (1, status));
                let words = [Kind::Task as u32, sequence, number, pid as u32, state, status as u32];
                sys::send_in_time(CONTROL, &words)
            });
            // One that does not read for so long does not wait for the end either.
            if !all {
                return;
            }
            0
        }
        (
            Some(
                Kind::Ready
                | Kind::Started
                | Kind::NotStarted
                | Kind::Exited
                | Kind::Evidence
                | Kind::Task
                | Kind::Done,
            )
            | None,
            _,
        ) => libc::ENOSYS,
    };
    done(sequence, errno);
}

fn done(sequence: Option<u32>, errno: i32) {
    answer(&[Kind::Done as u32, sequence.unwrap_or(0), errno as u32]);
}

/// Sends an answer. Whoever asked reads, so a full socket is waited for; one that stays full has
/// no reader, and a later one asks with List.
fn answer(words: &[u32]) {
    sys::send_in_time(CONTROL, words);
}
