//! One anchor with its keeper that no session uses yet, so that the next session need not wait for
//! them to start.
//!
//! ```text
//!   a session opened        a moment later           the next one opens
//!  none ─────────────► coming ───────────► waiting ───────────────────► leaving ──► none
//!    ▲                    ▲                   │                            │
//!    └────────────────────│── it died, or ────┘                            │
//!                         │   nobody wanted it                             │
//!                         └──── a session opened before it had left ───────┘
//! ```
//!
//! It has an id and folders of its own, is in no directory and no journal, and serves one session
//! at most. Its keeper ends when the connection to it does, so none outlives its daemon; by a mark
//! in its runtime folder the next daemon finds one that was killed and could not.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sessile_journal::store::free_slot;
use sessile_model::SessionId;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::daemon::{Daemon, now};
use crate::launch::{self, Purpose, Started};
use crate::opening::{SLOTS, subordinate_base};
use crate::paths::Folders;
use crate::{anchor_link, remnants};

/// How long after an opening it is started: by then the new session's client has attached.
const QUIET: Duration = Duration::from_millis(25);
/// How long one waits for a session.
const LIFE: Duration = Duration::from_secs(600);
/// How long one may take to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// Keeps one at hand.
#[derive(Debug, Default)]
pub struct Spare(Mutex<Keeping>);

#[derive(Debug, Default)]
struct Keeping {
    slot: Slot,
    /// What sees to it, to its end.
    task: Option<JoinHandle<()>>,
}

/// Where the one who wants it is told to.
type Asked = oneshot::Sender<Started>;

#[derive(Debug, Default)]
enum Slot {
    #[default]
    None,
    Coming,
    Waiting(oneshot::Sender<Asked>),
    /// It is given away, or ended where it was of no use. There is never more than one, so one
    /// wanted meanwhile comes after it.
    Leaving {
        wanted: bool,
    },
    /// The daemon stops.
    Closed,
}

impl Spare {
    /// Takes it; nobody else gets the same. `None` when there is none, or it is not whole any more.
    pub async fn take(&self) -> Option<Started> {
        let waiting = {
            let mut keeping = self.lock();
            match std::mem::replace(&mut keeping.slot, Slot::Leaving { wanted: false }) {
                Slot::Waiting(waiting) => waiting,
                slot @ (Slot::None | Slot::Coming | Slot::Leaving { .. } | Slot::Closed) => {
                    keeping.slot = slot;
                    return None;
                }
            }
        };
        let (asked, given) = oneshot::channel();
        waiting.send(asked).ok()?;
        given.await.ok()
    }

    /// Ends it, and has no other started.
    pub async fn close(&self) {
        let task = {
            let mut keeping = self.lock();
            keeping.slot = Slot::Closed;
            keeping.task.take()
        };
        if let Some(task) = task {
            // One that panicked has nothing more to end.
            let _ = task.await;
        }
    }

    fn is_closed(&self) -> bool {
        matches!(self.lock().slot, Slot::Closed)
    }

    /// Notes what became of the one that was coming or waiting, unless the daemon stops.
    fn put(&self, slot: Slot) {
        let mut keeping = self.lock();
        if !matches!(keeping.slot, Slot::Closed) {
            keeping.slot = slot;
        }
    }

    /// Notes that it has left, and says whether another is wanted.
    fn left(&self) -> bool {
        let mut keeping = self.lock();
        let (slot, is_wanted) = match keeping.slot {
            Slot::Closed => return false,
            Slot::Leaving { wanted: true } => (Slot::Coming, true),
            Slot::None | Slot::Coming | Slot::Waiting(_) | Slot::Leaving { wanted: false } => {
                (Slot::None, false)
            }
        };
        keeping.slot = slot;
        is_wanted
    }

    fn lock(&self) -> MutexGuard<'_, Keeping> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has one started in a moment, unless there is one. To be called when a session was opened.
pub fn renew(daemon: &Arc<Daemon>) {
    let mut keeping = daemon.spare.lock();
    match &mut keeping.slot {
        Slot::None => {
            keeping.slot = Slot::Coming;
            keeping.task = Some(tokio::spawn(keep(Arc::clone(daemon))));
        }
        Slot::Leaving { wanted } => *wanted = true,
        Slot::Coming | Slot::Waiting(_) | Slot::Closed => {}
    }
}

/// Removes one that another daemon left. Its keeper may be about to do the same.
pub async fn remove(daemon: &Daemon, id: SessionId) {
    if let Err(why) = clear(&daemon.folders, id).await {
        daemon.notices.add(format!("what session {} was to become could not be removed: {why}", id.short()));
    }
}

async fn keep(daemon: Arc<Daemon>) {
    loop {
        sleep(QUIET).await;
        if daemon.spare.is_closed() {
            return;
        }
        // Where it cannot be started, the next opening says why, should that one not be possible either.
        let Some(started) = start(&daemon).await else { return daemon.spare.put(Slot::None) };
        let (waiting, asked) = oneshot::channel();
        daemon.spare.put(Slot::Waiting(waiting));
        if let Some(unwanted) = wait(&daemon.folders, started, asked).await {
            end(&daemon, unwanted).await;
        }
        if !daemon.spare.left() {
            return;
        }
    }
}

async fn start(daemon: &Daemon) -> Option<Started> {
    let mut random = [0; 10];
    getrandom::fill(&mut random).ok()?;
    let id = SessionId::new(now(), random);
    let slot = match rustix::process::geteuid().is_root() {
        true => Some(free_slot(id, SLOTS, |slot| daemon.directory.has_slot(slot))?),
        false => None,
    };
    daemon.directory.hold_slot(slot);
    let purpose = Purpose::Spare { subordinate_base: slot.map(subordinate_base) };
    match launch::start(&daemon.folders, id, &daemon.images, daemon.version, purpose).await {
        Ok(started) => Some(Started { slot, ..started }),
        Err(_) => {
            daemon.directory.hold_slot(None);
            None
        }
    }
}

/// Gives it to the one who asks. Returns it when nobody will, or when it is of no use.
async fn wait(folders: &Folders, mut started: Started, asked: oneshot::Receiver<Asked>) -> Option<Started> {
    let asked = tokio::select! {
        biased;
        () = started.link.lost() => return Some(started),
        asked = asked => asked.ok(),
        () = sleep(LIFE) => None,
    };
    let Some(asked) = asked else { return Some(started) };
    if !is_whole(folders, &mut started) {
        return Some(started);
    }
    asked.send(started).err()
}

/// Whether it lives, and everything is where it was put. From here on it is no spare.
fn is_whole(folders: &Folders, started: &mut Started) -> bool {
    let id = started.id;
    let places = [folders.anchor_socket(id), folders.keeper_socket(id), folders.state_of(id)];
    matches!(started.anchor.try_wait(), Ok(None))
        && places.iter().all(|place| place.exists())
        && std::fs::remove_file(folders.spare_mark(id)).is_ok()
}

/// Ends one that no session came to use.
pub async fn end(daemon: &Daemon, started: Started) {
    let Started { id, slot: _, mut anchor, link } = started;
    drop(link);
    let socket = daemon.folders.anchor_socket(id);
    let ended = timeout(PATIENCE, anchor_link::kill(socket)).await;
    if !matches!(ended, Ok(Ok(()))) {
        // It is gone, or cannot be asked.
        let _ = anchor.start_kill();
    }
    let _ = timeout(PATIENCE, anchor.wait()).await;
    remove(daemon, id).await;
    // There is one at most, so it is its own.
    daemon.directory.hold_slot(None);
}

async fn clear(folders: &Folders, id: SessionId) -> std::io::Result<()> {
    remnants::kill(folders, id).await;
    let remove = |folder: &Path| match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
        Ok(()) | Err(_) => Ok(()),
    };
    remove(&folders.state_of(id))?;
    // Last: its mark says what it is.
    remove(&folders.runtime_of(id))
}
