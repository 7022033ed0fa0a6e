//! The processes of an app, found by their pid namespace, for machines without a control group
//! that could freeze and kill them.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, statat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use thiserror::Error;

/// Why an app's processes could not be frozen.
#[derive(Debug, Error)]
pub enum FreezeError {
    /// The host's processes cannot be listed.
    #[error("the host's processes cannot be listed")]
    List(#[source] io::Error),
    /// Processes kept appearing faster than they could be stopped.
    #[error("{running} processes could not be stopped in time")]
    StillRunning {
        /// How many were left.
        running: usize,
    },
}

/// What identifies a pid namespace: device and inode of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PidNamespace(u64, u64);

/// The pid namespace that process `pid` is in.
///
/// # Errors
/// When the process is gone or may not be looked at.
pub fn namespace_of(pid: u32) -> io::Result<PidNamespace> {
    let stat = statat(CWD, format!("/proc/{pid}/ns/pid"), AtFlags::empty())?;
    Ok(PidNamespace(stat.st_dev, stat.st_ino))
}

/// Host process ids of everything that lives in a pid namespace, its init among them, in ascending
/// order. What only waits to be reaped does not live.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn list(namespace: PidNamespace) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        if namespace_of(pid).is_ok_and(|n| n == namespace) && is_alive(pid) {
            found.push(pid);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Bytes of memory that a process holds: its share of what it has in common with others where that
/// may be read, else all that is resident. `None` when it is gone.
pub fn memory(pid: u32) -> Option<u64> {
    let share = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok().and_then(|text| {
        let kilobytes = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        Some(kilobytes.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
    });
    share.or_else(|| {
        let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
        let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
        Some(pages.saturating_mul(rustix::param::page_size() as u64))
    })
}

/// Processor time of a process and of the children it has waited for, in milliseconds. `None` when
/// it is gone. Summed over a parent and its living children, nothing counts twice.
pub fn cpu_ms(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything. utime, stime, cutime and cstime are fields 14 to 17.
    let (_, fields) = text.rsplit_once(") ")?;
    let ticks: u64 = fields.split(' ').skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum();
    Some(ticks.saturating_mul(1000) / rustix::param::clock_ticks_per_second().max(1))
}

/// Stops everything in a pid namespace but its init, until a whole pass finds nothing running. Init
/// is left to answer the keeper: it runs no code of the app's. Returns how many were stopped.
///
/// # Errors
/// When processes appear faster than they can be stopped, until `patience` is over.
pub fn freeze(init: u32, patience: Duration) -> Result<usize, FreezeError> {
    let namespace = namespace_of(init).map_err(FreezeError::List)?;
    let deadline = Instant::now() + patience;
    loop {
        let mut running = 0;
        let all = list(namespace).map_err(FreezeError::List)?;
        for &pid in all.iter().filter(|&&pid| pid != init) {
            if !is_stopped(pid) {
                running += 1;
                signal(pid, namespace, Signal::STOP);
            }
        }
        if running == 0 {
            return Ok(all.len().saturating_sub(1));
        }
        if Instant::now() > deadline {
            return Err(FreezeError::StillRunning { running });
        }
        // A signal takes effect when its receiver next runs: let it.
        std::thread::yield_now();
    }
}

/// Continues everything in a pid namespace.
///
/// # Errors
/// When the processes cannot be listed.
pub fn thaw(init: u32) -> Result<(), FreezeError> {
    let namespace = namespace_of(init).map_err(FreezeError::List)?;
    for pid in list(namespace).map_err(FreezeError::List)?.into_iter().filter(|&p| p != init) {
        signal(pid, namespace, Signal::CONT);
    }
    Ok(())
}

/// Kills an app by its init: the kernel kills everything else in its pid namespace. Killing what
/// is already dead succeeds.
///
/// # Errors
/// When the system refuses.
pub fn kill(init: impl AsFd) -> io::Result<()> {
    match pidfd_send_signal(init, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Host process ids of a process's own children. None when it is gone or the kernel lists none.
pub fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// Host process ids of everything below an app's init, which is everything in its sandbox:
/// orphans become its children. Looks only at those processes, not at all of the host's.
///
/// # Errors
/// When init is gone, or the kernel lists no children (before 4.2, or built without it) and
/// `/proc` cannot be read.
pub fn descendants(init: u32) -> io::Result<Vec<u32>> {
    let own = PathBuf::from(format!("/proc/{init}/task/{init}/children"));
    if !own.exists() {
        let all = list(namespace_of(init)?)?;
        return Ok(all.into_iter().filter(|&pid| pid != init).collect());
    }
    let mut found = Vec::new();
    let mut open = vec![init];
    while let Some(pid) = open.pop() {
        // A process that ended meanwhile has left its children to init, which a later look sees.
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for thread in threads.flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            let children = children.split_whitespace().filter_map(|child| child.parse::<u32>().ok());
            for child in children.filter(|&child| is_alive(child)) {
                found.push(child);
                open.push(child);
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Asks everything below an app's init to end: SIGTERM, or SIGHUP for what ignores SIGTERM, as
/// interactive shells do; then SIGCONT for what is stopped. Returns how many were asked.
///
/// # Errors
/// When the processes cannot be listed.
pub fn ask_to_end(init: u32) -> io::Result<usize> {
    let namespace = namespace_of(init)?;
    let all = descendants(init)?;
    for &pid in &all {
        let asked = if ignores_sigterm(pid) { Signal::HUP } else { Signal::TERM };
        signal(pid, namespace, asked);
        signal(pid, namespace, Signal::CONT);
    }
    Ok(all.len())
}

/// Whether SIGTERM is in the process's set of ignored signals (proc(5), `SigIgn`).
fn ignores_sigterm(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(0);
    mask & (1 << (Signal::TERM.as_raw() - 1)) != 0
}

/// Whether a process is more than an entry that waits to be reaped.
fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

/// The host's process id of a direct child of `init`, by its process id inside the namespace.
pub fn outer_pid(init: u32, inner: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{init}/task/{init}/children")).ok()?;
    let is_it = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        line.and_then(|pids| pids.split_whitespace().last()?.parse::<u32>().ok()) == Some(inner)
    };
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(is_it)
}

/// Sends a signal to a process of the namespace, not to a stranger that took over its number.
fn signal(pid: u32, namespace: PidNamespace, signal: Signal) {
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    let Ok(pidfd) = pidfd_open(raw, PidfdFlags::empty()) else {
        return;
    };
    // The descriptor is held: the number now belongs to this process or to none.
    if namespace_of(pid).is_ok_and(|n| n == namespace)
        && pidfd_send_signal(&pidfd, signal) == Err(Errno::NOSYS)
    {
        let _ = kill_process(raw, signal);
    }
}

/// Whether every thread of a process is stopped, or the process has ended.
fn is_stopped(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    threads.flatten().all(|thread| match fs::read_to_string(thread.path().join("stat")) {
        Ok(stat) => matches!(state_of(&stat), 'T' | 't' | 'Z' | 'X'),
        Err(_) => true,
    })
}

/// The state letter of a line of `/proc/PID/stat`. The name before it may contain anything.
pub fn state_of(stat: &str) -> char {
    stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).unwrap_or('?')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_read_past_any_name() {
        assert_eq!(state_of("12 (bash) S 1 2"), 'S');
        assert_eq!(state_of("12 (a) T (b) R) T 1 2"), 'T');
        assert_eq!(state_of("broken"), '?');
    }

    #[test]
    fn a_process_finds_itself_in_its_namespace() {
        let own = std::process::id();
        let namespace = namespace_of(own).unwrap();
        assert!(list(namespace).unwrap().contains(&own));
        assert!(!is_stopped(own));
    }
}
