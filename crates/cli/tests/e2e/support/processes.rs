//! Looking at processes and signalling those of a test.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};

use super::{TIME_LIMIT, World};

/// A process that cannot be taken for a later one with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    start: u64,
}

impl Process {
    /// The process with this number, while it runs.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may contain anything; fields after it are counted from 3.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        if matches!(*fields.first()?, "Z" | "X") {
            return None;
        }
        Some(Self { pid, start: fields.get(19)?.parse().ok()? })
    }

    /// Whether it still runs.
    pub fn runs(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Its arguments, or its name without any.
    pub fn line(self) -> String {
        let arguments = arguments(self.pid);
        if arguments.is_empty() {
            return fs::read_to_string(format!("/proc/{}/comm", self.pid)).unwrap_or_default();
        }
        arguments.join(" ")
    }
}

/// Waits until a process has ended; false when it has not in this time.
pub fn wait_for_end(pid: u32, limit: Duration) -> bool {
    let Ok(descriptor) = pidfd_open(number(pid), PidfdFlags::empty()) else { return true };
    let deadline = Instant::now() + limit;
    loop {
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).unwrap();
        match poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&left)) {
            Ok(count) => return count > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("poll: {error}"),
        }
    }
}

/// Kills a process of this test with SIGKILL and waits for its end.
pub fn kill(pid: u32) {
    signal(pid, Signal::KILL);
    assert!(wait_for_end(pid, TIME_LIMIT), "{pid} does not die");
}

/// The same without a word when it cannot be done.
pub fn kill_quietly(pid: u32) {
    if kill_process(number(pid), Signal::KILL).is_ok() {
        wait_for_end(pid, Duration::from_secs(5));
    }
}

/// Kills a process group of this test with SIGKILL and waits for its leader's end.
pub fn kill_group(leader: u32) {
    kill_process_group(number(leader), Signal::KILL).unwrap_or_else(|e| panic!("cannot kill {leader}: {e}"));
    assert!(wait_for_end(leader, TIME_LIMIT), "{leader} does not die");
}

/// Sends a process of this test a signal.
pub fn signal(pid: u32, signal: Signal) {
    kill_process(number(pid), signal).unwrap_or_else(|e| panic!("cannot signal {pid}: {e}"));
}

fn number(pid: u32) -> Pid {
    i32::try_from(pid).ok().and_then(Pid::from_raw).unwrap()
}

/// Every process and its parent.
pub fn all() -> BTreeMap<u32, u32> {
    let numbers =
        fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
    numbers
        .filter_map(|pid: u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            Some((pid, status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()?))
        })
        .collect()
}

/// A process's arguments.
pub fn arguments(pid: u32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = bytes.split(|&byte| byte == 0).filter(|word| !word.is_empty());
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// The process that plays this part (`anchor`, `keeper`) for a session of a world. It has short-lived
/// helpers that look the same, and are younger.
pub fn part(world: &World, part: &str, session: &str) -> Option<u32> {
    let runtime = world.runtime();
    let plays = |pid: &u32| {
        let arguments = arguments(*pid);
        arguments.iter().take(2).any(|argument| argument.ends_with(part))
            && arguments.iter().any(|argument| argument == session)
            && arguments.iter().any(|argument| Path::new(argument) == runtime)
    };
    let players = all().into_keys().filter(plays).filter_map(Process::of);
    players.min_by_key(|process| process.start).map(|process| process.pid)
}

/// A session's own processes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cast {
    /// Its anchor.
    pub anchor: Option<Process>,
    /// Its keeper.
    pub keeper: Option<Process>,
}

/// The processes of every session of a world, by the session's id.
pub fn casts(world: &World) -> BTreeMap<String, Cast> {
    let runtime = world.runtime();
    let mut casts: BTreeMap<String, Cast> = BTreeMap::new();
    for pid in all().into_keys() {
        let arguments = arguments(pid);
        let at =
            arguments.iter().take(2).position(|word| word.ends_with("anchor") || word.ends_with("keeper"));
        let Some(at) = at else { continue };
        let rest: Vec<&String> = arguments.iter().skip(at + 1).filter(|word| *word != "anchor").collect();
        let [id, folder, ..] = rest.as_slice() else { continue };
        if Path::new(folder) != runtime {
            continue;
        }
        let cast = casts.entry((*id).clone()).or_default();
        let place = if arguments[at].ends_with("anchor") { &mut cast.anchor } else { &mut cast.keeper };
        // As above: the oldest.
        let found = [*place, Process::of(pid)].into_iter().flatten();
        *place = found.min_by_key(|process| process.start);
    }
    casts
}

/// The daemon of a world, while one runs.
pub fn daemon_of(world: &World) -> Option<Process> {
    let program = world.folder().join("bin/sessile");
    let runs = |pid: &u32| {
        arguments(*pid).windows(2).any(|pair| Path::new(&pair[0]) == program && pair[1] == "daemon")
            && fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == program)
    };
    all().into_keys().find(runs).and_then(Process::of)
}

/// The processes of a world whose command (their first argument) is this.
pub fn of_command(world: &World, command: &str) -> Vec<Process> {
    let program = world.folder().join("bin/sessile");
    let is_such = |pid: &u32| {
        arguments(*pid).get(1).is_some_and(|argument| argument == command)
            && fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == program)
    };
    all().into_keys().filter(is_such).filter_map(Process::of).collect()
}

/// Whether a process is stopped by a signal.
pub fn is_stopped(process: Process) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.pid)).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
}

/// A process and everything below it.
pub fn tree(root: u32) -> Vec<Process> {
    let parents = all();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(parents.iter().filter(|&(_, &p)| p == parent).map(|(&pid, _)| pid));
        next += 1;
    }
    found.into_iter().filter_map(Process::of).collect()
}

/// Waits until a condition holds that no descriptor announces.
#[track_caller]
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + TIME_LIMIT;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
