//! A session's processes that no socket leads to, found by what they were started with.
//!
//! Only for a session whose sockets were removed: whoever can be asked is asked. An app cannot
//! pass for one of them, since what runs inside has a process id of its own inside.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use sessile_model::SessionId;

use crate::paths::Folders;

/// How long a keeper whose anchor was killed may take to overwrite what it holds.
const WIPE: Duration = Duration::from_secs(20);
/// How long a killed process may take to be gone.
const DEATH: Duration = Duration::from_secs(5);

/// An anchor or a keeper.
#[derive(Debug)]
struct Part {
    pid: i32,
    is_anchor: bool,
    stopped: bool,
    process: OwnedFd,
}

/// Whether an anchor or a keeper of this session runs.
pub async fn are_left(folders: &Folders, id: SessionId) -> bool {
    let folders = folders.clone();
    // A thread that cannot be had finds nothing.
    tokio::task::spawn_blocking(move || !parts(&folders, id).is_empty()).await.unwrap_or(false)
}

/// The process id of the keeper, where that is stopped by a signal.
pub async fn stopped_keeper(folders: &Folders, id: SessionId) -> Option<i32> {
    let folders = folders.clone();
    let found = tokio::task::spawn_blocking(move || {
        parts(&folders, id).into_iter().find(|part| !part.is_anchor && part.stopped).map(|part| part.pid)
    });
    found.await.ok().flatten()
}

/// Kills the keeper alone: its anchor then binds its own socket again, by which another is asked
/// for. False when there is no keeper, or no anchor that could.
pub async fn kill_keeper(folders: &Folders, id: SessionId) -> bool {
    let folders = folders.clone();
    let killed = tokio::task::spawn_blocking(move || {
        let (anchors, keepers): (Vec<Part>, Vec<Part>) =
            parts(&folders, id).into_iter().partition(|part| part.is_anchor);
        let replaceable = anchors.iter().any(|anchor| !anchor.stopped) && !keepers.is_empty();
        if replaceable {
            keepers.iter().for_each(Part::kill);
        }
        replaceable && keepers.iter().all(|keeper| keeper.ends_within(DEATH))
    });
    killed.await.unwrap_or(false)
}

/// Ends them: the anchor first, so that a keeper which still works overwrites what it holds and
/// leaves a receipt, then the keeper.
pub async fn end(folders: &Folders, id: SessionId) {
    let folders = folders.clone();
    let ended = tokio::task::spawn_blocking(move || {
        let parts = parts(&folders, id);
        for anchor in parts.iter().filter(|part| part.is_anchor) {
            anchor.kill();
        }
        for keeper in parts.iter().filter(|part| !part.is_anchor) {
            if keeper.stopped || !keeper.ends_within(WIPE) {
                keeper.kill();
            }
        }
        for part in parts {
            part.ends_within(DEATH);
        }
    });
    // What is left shows at the next look.
    let _ = ended.await;
}

/// Kills them at once.
pub async fn kill(folders: &Folders, id: SessionId) {
    let folders = folders.clone();
    let killed = tokio::task::spawn_blocking(move || {
        let parts = parts(&folders, id);
        parts.iter().for_each(Part::kill);
        for part in parts {
            part.ends_within(DEATH);
        }
    });
    let _ = killed.await;
}

impl Part {
    fn kill(&self) {
        // One that has ended meanwhile is what was wanted.
        let _ = pidfd_send_signal(&self.process, Signal::KILL);
    }

    fn ends_within(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
            match poll(&mut [PollFd::new(&self.process, PollFlags::IN)], Some(&left)) {
                Err(rustix::io::Errno::INTR) => {}
                ready => return ready == Ok(1),
            }
        }
    }
}

fn parts(folders: &Folders, id: SessionId) -> Vec<Part> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| part(folders, id, pid)).collect()
}

fn part(folders: &Folders, id: SessionId, pid: i32) -> Option<Part> {
    // Opened first: what is read after belongs to the process that would be signalled, or to none.
    let is_anchor = is_anchor(&fs::read(format!("/proc/{pid}/cmdline")).ok()?, folders, id)?;
    let process = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    if is_anchor != self::is_anchor(&fs::read(format!("/proc/{pid}/cmdline")).ok()?, folders, id)? {
        return None;
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let outside = line("NSpid:")?.split_whitespace().count() == 1;
    let owner: u32 = line("Uid:")?.split_whitespace().nth(1)?.parse().ok()?;
    let state = line("State:")?;
    let runs = !state.starts_with(['Z', 'X']);
    let ours = outside && runs && owner == rustix::process::geteuid().as_raw();
    ours.then(|| Part { pid, is_anchor, stopped: state.starts_with('T'), process })
}

/// Whether these arguments, as ARCHITECTURE.md has them, are this session's anchor's (`true`) or
/// keeper's (`false`).
fn is_anchor(arguments: &[u8], folders: &Folders, id: SessionId) -> Option<bool> {
    use std::os::unix::ffi::OsStrExt as _;
    let path = |path: &Path| path.as_os_str().as_bytes().to_vec();
    let wanted = [id.to_string().into_bytes(), path(&folders.runtime), path(&folders.state)];
    let words: Vec<&[u8]> = arguments.strip_suffix(b"\0")?.split(|&byte| byte == 0).collect();
    match words.as_slice() {
        [_, b"anchor", rest @ ..] if *rest == wanted => Some(true),
        [b"keeper", rest @ ..] if *rest == wanted => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::directory::tests::record;

    #[tokio::test]
    async fn only_this_sessions_anchor_and_keeper_are_found() {
        let top = tempfile::tempdir().unwrap();
        let folders = Folders { runtime: top.path().join("r"), state: top.path().join("s") };
        let id = record(1, None, sessile_model::State::Active).id;
        let other = record(2, None, sessile_model::State::Active).id;
        let own = id.to_string();
        let tail = [own.as_str(), folders.runtime.to_str().unwrap(), folders.state.to_str().unwrap()];
        // Shells in the places of the two programs; the first word names the script that they read.
        for script in ["anchor", &own] {
            fs::write(top.path().join(script), "read line").unwrap();
        }
        let start = |name: &str, words: &[&str]| {
            let mut command = Command::new("/bin/sh");
            command.arg0(name).args(words).current_dir(top.path()).stdin(Stdio::piped());
            command.spawn().unwrap()
        };
        let mut anchor = start("sessile-anchor", &[&["anchor"], &tail[..]].concat());
        let mut keeper = start("keeper", &tail);
        let mut stranger = start("keeper", &["-c", "read line"]);
        while parts(&folders, id).len() < 2 {
            assert!(anchor.try_wait().unwrap().is_none() && keeper.try_wait().unwrap().is_none());
            std::thread::yield_now();
        }
        assert_eq!(parts(&folders, id).iter().filter(|part| part.is_anchor).count(), 1);
        assert!(!are_left(&folders, other).await);
        kill(&folders, id).await;
        assert!(!are_left(&folders, id).await);
        assert!(stranger.try_wait().unwrap().is_none());
        for child in [&mut anchor, &mut keeper, &mut stranger] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
