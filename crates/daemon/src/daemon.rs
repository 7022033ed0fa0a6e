//! What every part of the daemon shares.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sessile_journal::store::{Notice, StoreError};
use sessile_model::{Problem, ProblemKind, SessionId, Timestamp};
use sessile_vault::InstallationKey;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::directory::{Directory, Meaning};
use crate::keeper_link::LinkError;
use crate::launch::Images;
use crate::ledger::{Ledger, LedgerError};
use crate::paths::Folders;
use crate::spare::Spare;

/// How long a session that is closed may take to leave the directory.
const CLOSING: Duration = Duration::from_secs(20);
/// Most notices of a kind.
const MOST_NOTICES: usize = 100;
/// How long the loss of something is told.
pub const NOTICE_DAYS: i64 = 30;

/// The daemon's own state: where things are, what lives, and what is on the disk.
#[derive(Debug)]
pub struct Daemon {
    /// Where things are.
    pub folders: Folders,
    /// What lives.
    pub directory: Directory,
    /// What is on the disk.
    pub ledger: Ledger,
    /// Programs for new sessions.
    pub images: Images,
    /// Signs receipts of sessions whose keepers cannot.
    pub key: InstallationKey,
    /// The program's version.
    pub version: &'static str,
    /// What the next session starts from.
    pub spare: Spare,
    /// Wakes the server when it is asked to stop.
    pub stop: Notify,
    /// What a user should know.
    pub notices: Notices,
}

/// Sentences for the user, at most a hundred of each kind.
#[derive(Debug, Default)]
pub struct Notices(Mutex<Sentences>);

#[derive(Debug, Default)]
struct Sentences {
    /// Of this daemon.
    passing: Vec<String>,
    /// In the journal as well: what was lost, whichever daemon found it.
    lasting: Vec<Notice>,
}

impl Notices {
    /// Adds one, unless it is there or there are too many.
    pub fn add(&self, notice: String) {
        let passing = &mut self.lock().passing;
        if passing.len() < MOST_NOTICES && !passing.contains(&notice) {
            passing.push(notice);
        }
    }

    /// Takes over those of earlier daemons.
    pub fn remember(&self, mut notices: Vec<Notice>) {
        let lasting = &mut self.lock().lasting;
        notices.append(lasting);
        *lasting = notices;
    }

    /// All of them, those that last first and with their time.
    pub fn all(&self) -> Vec<String> {
        let found = self.lock();
        let lasting = found.lasting.iter().map(|notice| format!("{}: {}", notice.at, notice.text));
        lasting.chain(found.passing.iter().cloned()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Sentences> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Daemon {
    /// Says that something was lost, here and by later daemons, for [`NOTICE_DAYS`] days.
    pub fn tell_loss(&self, text: String) {
        let notice = Notice { at: now(), text, told: false };
        {
            let lasting = &mut self.notices.lock().lasting;
            if lasting.len() >= MOST_NOTICES || lasting.iter().any(|known| known.text == notice.text) {
                return;
            }
            lasting.push(notice.clone());
        }
        // Nobody waits; this daemon knows it in any case.
        drop(self.ledger.write(move |store| store.put_notice(&notice)));
    }

    /// The losses that no command has said; from now on they count as said.
    pub fn untold_losses(&self) -> Vec<String> {
        let mut untold = Vec::new();
        for notice in self.notices.lock().lasting.iter_mut().filter(|notice| !notice.told) {
            notice.told = true;
            untold.push(notice.clone());
        }
        for notice in untold.clone() {
            drop(self.ledger.write(move |store| store.put_notice(&notice)));
        }
        untold.into_iter().map(|notice| notice.text).collect()
    }
}

/// A session that a word means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It lives.
    Live(SessionId),
    /// It is closed.
    Closed(SessionId),
}

impl Daemon {
    /// The session that a word means: first among those that live, then among the closed ones.
    ///
    /// # Errors
    /// `NotFound`, or `Ambiguous` with the candidates.
    pub async fn resolve(&self, word: &str) -> Result<Found, Problem> {
        if word.len() > 64 || word.is_empty() {
            return Err(unknown());
        }
        match self.directory.resolve(word) {
            // What its keeper has closed answers nothing any more: the journal is about to know it.
            Meaning::One(id) if self.directory.is_closed(id) => {
                if let Some(gone) = self.directory.gone(id) {
                    let _ = timeout(CLOSING, gone.wait()).await;
                }
                if self.directory.gone(id).is_some() {
                    return Ok(Found::Live(id));
                }
            }
            Meaning::One(id) => return Ok(Found::Live(id)),
            Meaning::Several(candidates) => return Err(ambiguous(word, candidates)),
            Meaning::None => {}
        }
        let asked = word.to_owned();
        let found = self.ledger.read(move |store| store.resolve(&asked)).await.map_err(ledger_problem)?;
        match found.as_slice() {
            [] => Err(unknown()),
            // A row that is not closed belongs to a session that is being opened or closed.
            [id] if self.directory.gone(*id).is_some() => Ok(Found::Live(*id)),
            [id] => Ok(Found::Closed(*id)),
            several => Err(ambiguous(word, several.iter().map(ToString::to_string).collect())),
        }
    }
}

/// The time now.
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

fn unknown() -> Problem {
    Problem::new(ProblemKind::NotFound, "there is no such session")
        .hint("sessile ls --all lists them; one that has ended is found by its id, for its name is dropped")
}

fn ambiguous(word: &str, candidates: Vec<String>) -> Problem {
    let shown = candidates.iter().take(10).map(String::as_str).collect::<Vec<_>>().join(", ");
    Problem::new(ProblemKind::Ambiguous, format!("several sessions begin with {word}: {shown}"))
        .hint("give more of the name or id")
}

/// The problem that a client is told when the journal fails.
pub fn ledger_problem(e: LedgerError) -> Problem {
    match e {
        LedgerError::Store(StoreError::DiskFull) => {
            Problem::new(ProblemKind::Exhausted, "the disk that holds the journal is full")
                .hint("free some space in the state folder")
        }
        LedgerError::Store(StoreError::Taken) => {
            Problem::new(ProblemKind::Conflict, "another open session has this name")
        }
        LedgerError::Store(
            e @ (StoreError::Damaged(_)
            | StoreError::Newer { .. }
            | StoreError::Row(_)
            | StoreError::Foreign
            | StoreError::MoveAside(_)
            | StoreError::Database(_)),
        ) => Problem::new(ProblemKind::Internal, e.to_string()),
        LedgerError::Closed => Problem::new(ProblemKind::Failed, "the daemon is stopping").hint("try again"),
    }
}

/// The problem that a client is told when a keeper cannot be reached or understood.
pub fn link_problem(e: &LinkError) -> Problem {
    match e {
        LinkError::Nobody => Problem::new(ProblemKind::Conflict, "the session is ending or has ended"),
        LinkError::Lost => Problem::new(
            ProblemKind::Failed,
            "the session's keeper was lost before it answered; whether the request was carried out is uncertain",
        )
        .hint("look at the session, then decide whether to ask again"),
        LinkError::TooLarge { .. } => Problem::new(ProblemKind::BadRequest, e.to_string()),
        LinkError::Version { .. } | LinkError::Frame(_) | LinkError::Message(_) | LinkError::Io(_) => {
            Problem::new(ProblemKind::Failed, e.to_string())
        }
    }
}
