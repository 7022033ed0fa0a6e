//! The thread that owns the database.
//!
//! Jobs go in by a channel and wait there while a commit is under way; those that have gathered
//! meanwhile share the next commit, so that a hundred sessions cost a few syncs and not a hundred.
//! The thread sleeps when there is nothing to do.

use std::fmt;
use std::future::Future;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use sessile_journal::store::{Store, StoreError};
use thiserror::Error;
use tokio::sync::oneshot;

/// Jobs that may wait; whoever brings another one then waits as well.
const QUEUE: usize = 1024;
/// Writes that share one commit.
const GROUP: usize = 128;
const STACK: usize = 512 << 10;

type Work = Box<dyn FnMut(&mut Store) -> Result<(), StoreError> + Send>;

enum Job {
    Write { work: Work, done: oneshot::Sender<Result<(), StoreError>> },
    Read(Box<dyn FnOnce(&mut Store) + Send>),
    Close,
}

/// Sends work to the thread.
#[derive(Clone)]
pub struct Ledger {
    jobs: SyncSender<Job>,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ledger")
    }
}

/// Why the ledger could not do it.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// The database could not.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The thread has ended.
    #[error("the journal is closed")]
    Closed,
}

impl Ledger {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(store: Store) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (jobs, queue) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("ledger".to_owned())
            .stack_size(STACK)
            .spawn(move || carry_out(store, &queue))?;
        Ok((Self { jobs }, thread))
    }

    /// Hands in changes at once; the answer comes when they are on the disk. `work` may be run
    /// a second time after a rollback.
    pub fn write(
        &self,
        work: impl FnMut(&mut Store) -> Result<(), StoreError> + Send + 'static,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send + 'static {
        let (done, answer) = oneshot::channel();
        let sent = self.jobs.try_send(Job::Write { work: Box::new(work), done }).is_ok();
        async move {
            match answer.await {
                Ok(result) if sent => Ok(result?),
                _ => Err(LedgerError::Closed),
            }
        }
    }

    /// Asks for something that is on the disk.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (done, answer) = oneshot::channel();
        // Whoever asked may have left; the answer then goes nowhere.
        let job = Job::Read(Box::new(move |store| drop(done.send(work(store)))));
        self.jobs.try_send(job).map_err(|_| LedgerError::Closed)?;
        Ok(answer.await.map_err(|_| LedgerError::Closed)??)
    }

    /// Has the thread end when everything handed in so far is done.
    pub fn close(&self) {
        // A full queue means that the thread is stuck in the disk; the process ends regardless.
        let _ = self.jobs.try_send(Job::Close);
    }
}

type Group = Vec<(Work, oneshot::Sender<Result<(), StoreError>>)>;

fn carry_out(mut store: Store, queue: &Receiver<Job>) {
    let mut group: Group = Vec::new();
    while let Ok(job) = queue.recv() {
        let mut next = Some(job);
        while let Some(job) = next {
            match job {
                Job::Write { work, done } => group.push((work, done)),
                Job::Read(work) => {
                    // A read sees every write that was handed in before it.
                    commit(&mut store, &mut group);
                    work(&mut store);
                }
                Job::Close => {
                    commit(&mut store, &mut group);
                    return;
                }
            }
            next = if group.len() < GROUP { queue.try_recv().ok() } else { None };
        }
        commit(&mut store, &mut group);
    }
}

fn commit(store: &mut Store, group: &mut Group) {
    let together = store.batch(|store| group.iter_mut().try_for_each(|(work, _)| work(store)));
    for (mut work, done) in group.drain(..) {
        let result = match together {
            Ok(()) => Ok(()),
            // One that cannot be written must not take the others with it.
            Err(_) => store.batch(|store| work(store)),
        };
        // Whoever asked may have left; the change stands.
        let _ = done.send(result);
    }
}

#[cfg(test)]
mod tests {
    use sessile_journal::store::Stored;
    use sessile_model::{State, Timestamp};

    use super::*;
    use crate::directory::tests::record;

    fn stored(n: u8, name: &str) -> Stored {
        Stored { record: record(n, Some(name), State::Active), keep_record: true, slot: None }
    }

    #[tokio::test]
    async fn a_write_that_fails_leaves_its_neighbours() {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(folder.path(), Timestamp::from_millis(0)).unwrap();
        let (ledger, thread) = Ledger::start(store).unwrap();
        let writes = [(1, "fox"), (2, "fox"), (3, "hen")]
            .map(|(n, name)| ledger.write(move |store| store.put(&stored(n, name))));
        let mut failed = Vec::new();
        for write in writes {
            failed.push(write.await.is_err());
        }
        assert_eq!(failed, [false, true, false]);
        assert_eq!(ledger.read(|store| store.not_closed()).await.unwrap().len(), 2);
        ledger.close();
        thread.join().unwrap();
        assert!(matches!(ledger.read(|store| store.not_closed()).await, Err(LedgerError::Closed)));
    }
}
