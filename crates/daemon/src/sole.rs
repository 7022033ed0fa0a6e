//! One daemon for a runtime folder and for a state folder: its locks, its socket, and noticing
//! that the socket is gone.
//!
//! The lock in the runtime folder goes with the folder when somebody removes it; the one in the
//! state folder still keeps a second daemon from the journal. A daemon whose socket was removed
//! or replaced can be reached by nobody: it notices and ends, and sessions go on.

use std::fs::{File, symlink_metadata};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{FlockOperation, Mode, OFlags};
use tokio::io::unix::AsyncFd;
use tokio::net::UnixListener;

use crate::paths::Folders;
use crate::serve::DaemonError;

/// How long a daemon that is on its way out may still hold a lock.
const STOPPING: Duration = Duration::from_secs(10);
/// Longest note in a lock, in bytes.
const MAX_NOTE: u64 = 8 << 10;

/// The locks of the only daemon; given back when dropped.
#[derive(Debug)]
pub struct Locks {
    _runtime: File,
    _state: File,
}

impl Locks {
    /// Takes both locks. Waits for a daemon that is on its way out.
    ///
    /// # Errors
    /// `AlreadyRunning` when another daemon answers, `Unresponsive` when one holds a lock and
    /// neither answers nor ends.
    pub fn take(folders: &Folders) -> Result<Self, DaemonError> {
        Ok(Self { _runtime: lock(&folders.lock(), folders)?, _state: lock(&folders.state_lock(), folders)? })
    }
}

fn lock(path: &Path, folders: &Folders) -> Result<File, DaemonError> {
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let failed = |e: io::Error| DaemonError::Lock(e);
    // To open it also has a daemon without a socket look again: it watches the file.
    let fd = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR).map_err(|e| failed(e.into()))?;
    let mut file = File::from(fd);
    let deadline = Instant::now() + STOPPING;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let holder = Holder::noted_in(&mut file);
                let runtime = holder.as_ref().map_or(&folders.runtime, |holder| &holder.runtime);
                if UnixStream::connect(runtime.join("daemon.sock")).is_ok() {
                    return Err(DaemonError::AlreadyRunning { runtime: runtime.clone() });
                }
                // One that holds the lock and does not answer is on its way out, or in.
                if Instant::now() > deadline {
                    let pid = holder.map_or(0, |holder| holder.pid);
                    return Err(DaemonError::Unresponsive { pid, path: path.to_owned() });
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(e) => return Err(failed(e.into())),
        }
    }
    Holder { pid: std::process::id(), runtime: folders.runtime.clone() }
        .note_in(&mut file)
        .map_err(failed)?;
    Ok(file)
}

/// Who holds a lock, as written into it.
struct Holder {
    pid: u32,
    runtime: PathBuf,
}

impl Holder {
    fn noted_in(file: &mut File) -> Option<Self> {
        let mut text = String::new();
        file.rewind().ok()?;
        file.take(MAX_NOTE).read_to_string(&mut text).ok()?;
        let (pid, runtime) = text.strip_suffix('\n')?.split_once('\n')?;
        Some(Self { pid: pid.parse().ok()?, runtime: runtime.into() })
    }

    fn note_in(&self, file: &mut File) -> io::Result<()> {
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(format!("{}\n{}\n", self.pid, self.runtime.display()).as_bytes())
    }
}

/// The daemon's socket and the file it is bound to.
#[derive(Clone, Debug)]
pub struct Place {
    path: PathBuf,
    /// Device and inode.
    file: (u64, u64),
}

impl Place {
    /// Binds the socket; what a dead daemon left there goes. The lock makes sure that it is dead.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn bind(path: PathBuf) -> io::Result<(UnixListener, Self)> {
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&path)?;
        let file = identity(&path)?;
        Ok((listener, Self { path, file }))
    }

    /// Whether the socket is where it was bound.
    pub fn is_kept(&self) -> bool {
        identity(&self.path).is_ok_and(|file| file == self.file)
    }

    /// Removes the socket, if it is still this one.
    pub fn give_up(&self) {
        if self.is_kept() {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    /// Begins to watch what can take the socket away: its folder, and a newcomer at the state
    /// folder's lock, for what happened further up.
    ///
    /// # Errors
    /// When the system has no watch to give.
    pub fn watch(&self, folders: &Folders) -> io::Result<Watch> {
        let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let changes = WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        inotify::add_watch(&watch, &folders.runtime, changes)?;
        inotify::add_watch(&watch, folders.state_lock(), WatchFlags::OPEN)?;
        #[expect(deprecated, reason = "unsound for what is no owned descriptor; this is one")]
        let changes = AsyncFd::new(watch)?;
        Ok(Watch { changes, place: self.clone() })
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

/// Tells when the socket is gone.
#[derive(Debug)]
pub struct Watch {
    changes: AsyncFd<OwnedFd>,
    place: Place,
}

impl Watch {
    /// Returns when the socket was removed or replaced.
    pub async fn lost(&self) {
        let mut events = [0u8; 4096];
        while self.place.is_kept() {
            let Ok(mut ready) = self.changes.readable().await else { return std::future::pending().await };
            // What happened is not read: the look at the socket says what it means.
            while rustix::io::read(&self.changes, &mut events).is_ok_and(|read| read > 0) {}
            ready.clear_ready();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(top: &Path) -> Folders {
        let folders = Folders { runtime: top.join("r"), state: top.join("s") };
        folders.prepare().unwrap();
        folders
    }

    #[test]
    fn a_state_folder_has_one_daemon_wherever_its_socket_is() {
        let top = tempfile::tempdir().unwrap();
        let first = folders(top.path());
        let locks = Locks::take(&first).unwrap();
        let listener = std::os::unix::net::UnixListener::bind(first.socket()).unwrap();
        let second = Folders { runtime: top.path().join("other"), state: first.state.clone() };
        second.prepare().unwrap();
        let Err(DaemonError::AlreadyRunning { runtime }) = Locks::take(&second) else { panic!() };
        assert_eq!(runtime, first.runtime);
        drop((locks, listener));
        Locks::take(&second).unwrap();
    }

    #[tokio::test]
    async fn a_socket_that_goes_or_is_replaced_is_noticed() {
        type Change = fn(&Folders);
        let changes: [Change; 4] = [
            |folders| std::fs::remove_file(folders.socket()).unwrap(),
            |folders| std::fs::remove_dir_all(&folders.runtime).unwrap(),
            |folders| std::fs::rename(&folders.runtime, folders.runtime.with_extension("old")).unwrap(),
            |folders| {
                let other = folders.runtime.join("other");
                std::fs::write(&other, "").unwrap();
                std::fs::rename(other, folders.socket()).unwrap();
            },
        ];
        for change in changes {
            let top = tempfile::tempdir().unwrap();
            let folders = folders(top.path());
            let _locks = Locks::take(&folders).unwrap();
            let (_listener, place) = Place::bind(folders.socket()).unwrap();
            let watch = place.watch(&folders).unwrap();
            change(&folders);
            watch.lost().await;
            place.give_up();
        }
    }

    #[tokio::test]
    async fn a_newcomer_has_the_socket_looked_at() {
        let top = tempfile::tempdir().unwrap();
        let folders = folders(&top.path().join("deep"));
        let _locks = Locks::take(&folders).unwrap();
        let (_listener, place) = Place::bind(folders.socket()).unwrap();
        let moved = Folders { state: top.path().join("moved/s"), ..folders.clone() };
        let watch = place.watch(&folders).unwrap();
        // Neither folder changes itself.
        std::fs::rename(top.path().join("deep"), top.path().join("moved")).unwrap();
        let opened = File::open(moved.state_lock());
        watch.lost().await;
        drop(opened);
    }
}
