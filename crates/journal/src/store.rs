//! The daemon's database: one row per session ever opened, its receipt, its log's entries.
//!
//! SQLite in WAL mode with `synchronous=FULL`: what a call here returned from is on the disk.
//! One connection, used by one thread. A database that cannot be trusted is moved aside, a new
//! one takes its place, and every row that can still be read is carried over.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use rusqlite::ffi::SQLITE_IOERR_SHMSIZE;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Row, params};
use serde::Serialize;
use sessile_model::receipt::SignedReceipt;
use sessile_model::{SessionId, SessionRecord, State, Timestamp};
use thiserror::Error;

use crate::salvage;

/// The database's name in the state folder.
pub const FILE_NAME: &str = "journal.sqlite";
/// Version of the tables.
pub const VERSION: i64 = 1;

/// Each step takes the tables from its index to the next version.
const MIGRATIONS: [&str; VERSION as usize] = ["
    CREATE TABLE sessions (
        id TEXT PRIMARY KEY,
        short TEXT NOT NULL,
        name TEXT,
        state TEXT NOT NULL,
        closed INTEGER NOT NULL,
        created INTEGER NOT NULL,
        user TEXT, channel TEXT, chat TEXT,
        keep_record INTEGER NOT NULL,
        slot INTEGER,
        record TEXT NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX open_names ON sessions(name) WHERE closed = 0 AND name IS NOT NULL;
    CREATE UNIQUE INDEX open_slots ON sessions(slot) WHERE closed = 0 AND slot IS NOT NULL;
    CREATE INDEX shorts ON sessions(short);
    CREATE TABLE receipts (
        session TEXT PRIMARY KEY REFERENCES sessions(id) ON DELETE CASCADE,
        receipt TEXT NOT NULL
    ) STRICT;
    CREATE TABLE entries (
        session TEXT NOT NULL REFERENCES sessions(id) ON DELETE CASCADE,
        sequence INTEGER NOT NULL,
        at INTEGER,
        kind TEXT NOT NULL,
        PRIMARY KEY (session, sequence)
    ) STRICT, WITHOUT ROWID;
"];

/// Beside the versioned tables, so that an earlier program still takes the database for its own.
const NOTICES: &str = "CREATE TABLE IF NOT EXISTS notices (text TEXT PRIMARY KEY, at INTEGER NOT NULL, told INTEGER NOT NULL) STRICT";

/// Every column that is read or written.
const COLUMNS: [&str; 4] = [
    "SELECT id, short, name, state, closed, created, user, channel, chat, keep_record, slot, record FROM sessions",
    "SELECT session, receipt FROM receipts",
    "SELECT session, sequence, at, kind FROM entries",
    "SELECT text, at, told FROM notices",
];

/// The open database.
#[derive(Debug)]
pub struct Store {
    db: Connection,
}

/// One session as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Its record, already without what must not outlive it.
    pub record: SessionRecord,
    /// Whether its record is kept whole at the close.
    pub keep_record: bool,
    /// The slot of its subordinate user ids; freed at the close.
    pub slot: Option<u32>,
}

/// One entry of a session's log.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEntry {
    /// Its sequence number in the log.
    pub sequence: u64,
    /// When, if the entry says so.
    pub at: Option<Timestamp>,
    /// What, as JSON.
    pub kind: serde_json::Value,
}

/// Something that a user should know also after the daemon that found it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// When it was found.
    pub at: Timestamp,
    /// What, in a sentence.
    pub text: String,
    /// Whether a command has said it.
    pub told: bool,
}

/// What to find. Every field that is set must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Whose it is.
    pub user: Option<String>,
    /// Its channel.
    pub channel: Option<String>,
    /// Its chat.
    pub chat: Option<String>,
    /// Labels it has.
    pub labels: Vec<(String, String)>,
}

impl Query {
    /// Whether a record matches.
    pub fn matches(&self, record: &SessionRecord) -> bool {
        let same = |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
        same(&self.user, &record.user)
            && same(&self.channel, &record.channel)
            && same(&self.chat, &record.chat)
            && self.labels.iter().all(|(k, v)| record.labels.get(k) == Some(v))
    }
}

/// Why the database could not do it. Nothing was changed.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The disk is full.
    #[error("the disk that holds the journal is full")]
    DiskFull,
    /// Its content contradicts itself.
    #[error("the journal is damaged; restart the daemon to have it moved aside and rebuilt")]
    Damaged(#[source] rusqlite::Error),
    /// It is a database of something else.
    #[error("what was in the journal's place is no journal")]
    Foreign,
    /// A newer program wrote it.
    #[error("the journal has version {found}, this program knows up to {VERSION}; use the newer program")]
    Newer {
        /// Its version.
        found: i64,
    },
    /// Another session that is not closed has the name or the slot.
    #[error("another open session has this name")]
    Taken,
    /// A row is not what this program writes.
    #[error("a row of the journal has an unexpected form")]
    Row(#[source] serde_json::Error),
    /// The file could not be moved aside.
    #[error("the damaged journal could not be moved aside")]
    MoveAside(#[source] std::io::Error),
    /// SQLite says no.
    #[error("the journal could not be used")]
    Database(#[source] rusqlite::Error),
}

impl StoreError {
    /// Whether a database that gives this when it is opened is to be moved aside. What opening
    /// says to SQLite is right, so an error in it is one of the database.
    fn is_damage(&self) -> bool {
        match self {
            Self::Damaged(_) | Self::Row(_) => true,
            Self::Database(e) => match e.sqlite_error_code() {
                Some(code) => matches!(code, ErrorCode::Unknown | ErrorCode::TypeMismatch),
                // A column holds something of another type.
                None => true,
            },
            Self::DiskFull | Self::Newer { .. } | Self::Foreign | Self::Taken | Self::MoveAside(_) => false,
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(e: rusqlite::Error) -> Self {
        match e.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            // Where the file that readers share cannot be made larger, the disk is full.
            _ if e.sqlite_error().is_some_and(|e| e.extended_code == SQLITE_IOERR_SHMSIZE) => Self::DiskFull,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(e),
            Some(ErrorCode::ConstraintViolation) if is_unique(&e) => Self::Taken,
            _ => Self::Database(e),
        }
    }
}

fn is_unique(e: &rusqlite::Error) -> bool {
    e.sqlite_error().is_some_and(|e| e.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE)
}

impl From<serde_json::Error> for StoreError {
    fn from(e: serde_json::Error) -> Self {
        Self::Row(e)
    }
}

impl Store {
    /// Opens `FOLDER/journal.sqlite`, making it when absent. A damaged one, or one with a row of an
    /// open session that does not read, is moved aside to
    /// `journal.damaged-TIMESTAMP`; the second value then says so.
    ///
    /// # Errors
    /// When the system refuses, the disk is full, or a newer program wrote it.
    pub fn open(folder: &Path, now: Timestamp) -> Result<(Self, Option<String>), StoreError> {
        let path = folder.join(FILE_NAME);
        match Self::open_checked(&path) {
            Ok(store) => Ok((store, None)),
            Err(error @ StoreError::Foreign) => {
                let aside = move_aside(folder, now).map_err(StoreError::MoveAside)?;
                Ok((
                    Self::open_checked(&path)?,
                    Some(format!("{error}; it was moved aside to {}", aside.display())),
                ))
            }
            Err(error) if error.is_damage() => {
                let aside = move_aside(folder, now).map_err(StoreError::MoveAside)?;
                let mut store = Self::open_checked(&path)?;
                let saved = salvage::carry_over(&aside, &mut store);
                let notice = format!(
                    "the journal was damaged and was moved aside to {}; {} sessions and {} receipts were read from it",
                    aside.display(),
                    saved.sessions,
                    saved.receipts
                );
                Ok((store, Some(notice)))
            }
            Err(e) => Err(e),
        }
    }

    /// The same in a folder where a journal was before: that it is empty or not there is a loss,
    /// which the second value then tells.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_again(folder: &Path, now: Timestamp) -> Result<(Self, Option<String>), StoreError> {
        let lost = match std::fs::metadata(folder.join(FILE_NAME)) {
            Ok(found) => (found.len() == 0).then_some("empty"),
            Err(error) => (error.kind() == std::io::ErrorKind::NotFound).then_some("gone"),
        };
        let Some(how) = lost else { return Self::open(folder, now) };
        // Before it is opened: SQLite drops what was written ahead of an empty database.
        let aside = move_aside(folder, now).map_err(StoreError::MoveAside)?;
        let (store, _) = Self::open(folder, now)?;
        let left = if aside.exists() {
            format!("; it was moved aside to {}", aside.display())
        } else {
            String::new()
        };
        let what = format!("the journal was {how}{left}");
        Ok((store, Some(format!("{what}; records and receipts of sessions that had ended are lost"))))
    }

    /// Opens a database that can be used: every row that the daemon cannot start without reads.
    fn open_checked(path: &Path) -> Result<Self, StoreError> {
        if has_other_format(path) {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
            return Err(StoreError::Damaged(rusqlite::Error::SqliteFailure(code, None)));
        }
        let mut db = Connection::open(path)?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "FULL")?;
        db.pragma_update(None, "foreign_keys", true)?;
        db.pragma_update(None, "secure_delete", true)?;
        // Small on purpose: the daemon's resident memory is counted against every idle session.
        db.pragma_update(None, "cache_size", -512)?;
        let verdict: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
            return Err(StoreError::Damaged(rusqlite::Error::SqliteFailure(code, Some(verdict))));
        }
        let found: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let Some(steps) = usize::try_from(found).ok().and_then(|from| MIGRATIONS.get(from..)) else {
            return Err(StoreError::Newer { found });
        };
        if found == 0
            && db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))? > 0
        {
            let own = "SELECT count(*) FROM sqlite_schema WHERE name IN ('sessions', 'receipts', 'entries')";
            if db.query_row(own, [], |row| row.get::<_, i64>(0))? == 0 {
                return Err(StoreError::Foreign);
            }
        }
        if !steps.is_empty() {
            let transaction = db.transaction()?;
            for step in steps {
                transaction.execute_batch(step)?;
            }
            transaction.pragma_update(None, "user_version", VERSION)?;
            transaction.commit()?;
        }
        db.execute_batch(NOTICES)?;
        for columns in COLUMNS {
            db.prepare(columns)?;
        }
        let store = Self { db };
        store.not_closed()?;
        Ok(store)
    }

    /// Runs several calls as one commit: all of them are on the disk when it returns, or none.
    ///
    /// # Errors
    /// When the commit fails, or `work` says so.
    pub fn batch<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.db.execute_batch("BEGIN IMMEDIATE")?;
        let done = work(self).and_then(|value| Ok(self.db.execute_batch("COMMIT").map(|()| value)?));
        if done.is_err() && !self.db.is_autocommit() {
            // A rollback that fails leaves the transaction open; SQLite ends it with the file.
            let _ = self.db.execute_batch("ROLLBACK");
        }
        done
    }

    /// Writes a session's row, new or not.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when another session that is not closed has its name or slot.
    pub fn put(&mut self, session: &Stored) -> Result<(), StoreError> {
        let r = &session.record;
        let slot = if r.state == State::Closed { None } else { session.slot };
        self.db
            .prepare_cached(
                "INSERT INTO sessions (id, short, name, state, closed, created, user, channel, chat, keep_record, slot, record)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
                 ON CONFLICT (id) DO UPDATE SET name = ?3, state = ?4, closed = ?5, user = ?7, channel = ?8,
                    chat = ?9, keep_record = ?10, slot = ?11, record = ?12",
            )?
            .execute(params![
                r.id.to_string(), r.id.short(), r.name.as_ref().map(|n| n.as_str()), r.state.to_string(),
                r.state == State::Closed, r.created_at.as_millis(), r.user, r.channel, r.chat,
                session.keep_record, slot, serde_json::to_string(r)?,
            ])?;
        Ok(())
    }

    /// Files a session's receipt. The first one counts; the session must have a row.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_receipt(&mut self, session: SessionId, receipt: &SignedReceipt) -> Result<(), StoreError> {
        self.db
            .prepare_cached("INSERT OR IGNORE INTO receipts (session, receipt) VALUES (?1, ?2)")?
            .execute(params![session.to_string(), serde_json::to_string(receipt)?])?;
        Ok(())
    }

    /// Files entries of a session's log; those it already has are left as they are. Returns how
    /// many were new.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn ingest(&mut self, session: SessionId, entries: &[StoredEntry]) -> Result<usize, StoreError> {
        let mut insert = self.db.prepare_cached(
            "INSERT OR IGNORE INTO entries (session, sequence, at, kind) VALUES (?1, ?2, ?3, ?4)",
        )?;
        let id = session.to_string();
        let mut new = 0;
        for entry in entries {
            let kind = json(&entry.kind)?;
            new += insert.execute(params![
                id,
                entry.sequence as i64,
                entry.at.map(Timestamp::as_millis),
                kind
            ])?;
        }
        Ok(new)
    }

    /// The entries of a session's log, oldest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn entries(&self, session: SessionId) -> Result<Vec<StoredEntry>, StoreError> {
        let mut query = self
            .db
            .prepare_cached("SELECT sequence, at, kind FROM entries WHERE session = ?1 ORDER BY sequence")?;
        let rows = query.query_map([session.to_string()], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?, row.get::<_, String>(2)?))
        })?;
        rows.map(|row| {
            let (sequence, at, kind) = row?;
            let kind = serde_json::from_str(&kind)?;
            Ok(StoredEntry { sequence: sequence as u64, at: at.map(Timestamp::from_millis), kind })
        })
        .collect()
    }

    /// Removes every trace of a session that never came to be.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn forget(&mut self, session: SessionId) -> Result<(), StoreError> {
        self.db.prepare_cached("DELETE FROM sessions WHERE id = ?1")?.execute([session.to_string()])?;
        Ok(())
    }

    /// Every session that is not closed, oldest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn not_closed(&self) -> Result<Vec<Stored>, StoreError> {
        let mut query = self.db.prepare_cached(
            "SELECT record, keep_record, slot FROM sessions WHERE closed = 0 ORDER BY created, id",
        )?;
        let rows = query.query_map([], columns)?;
        rows.map(|row| stored(row?)).collect()
    }

    /// One session.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn session(&self, id: SessionId) -> Result<Option<Stored>, StoreError> {
        let mut query =
            self.db.prepare_cached("SELECT record, keep_record, slot FROM sessions WHERE id = ?1")?;
        query.query_row([id.to_string()], columns).optional()?.map(stored).transpose()
    }

    /// A closed session's receipt.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn receipt(&self, session: SessionId) -> Result<Option<SignedReceipt>, StoreError> {
        let mut query = self.db.prepare_cached("SELECT receipt FROM receipts WHERE session = ?1")?;
        let found: Option<String> = query.query_row([session.to_string()], |row| row.get(0)).optional()?;
        Ok(found.map(|text| serde_json::from_str(&text)).transpose()?)
    }

    /// Closed sessions that match, newest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn closed(&self, query: &Query) -> Result<Vec<SessionRecord>, StoreError> {
        let mut select = self.db.prepare_cached(
            "SELECT record, keep_record, slot FROM sessions
             WHERE closed = 1 AND (?1 IS NULL OR user = ?1) AND (?2 IS NULL OR channel = ?2) AND (?3 IS NULL OR chat = ?3)
             ORDER BY created DESC, id DESC",
        )?;
        let mut found = Vec::new();
        for row in select.query_map(params![query.user, query.channel, query.chat], columns)? {
            let record = stored(row?)?.record;
            if query.matches(&record) {
                found.push(record);
            }
        }
        Ok(found)
    }

    /// Keeps a notice; one with the same text counts as the same.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_notice(&mut self, notice: &Notice) -> Result<(), StoreError> {
        self.db
            .prepare_cached(
                "INSERT INTO notices (text, at, told) VALUES (?1, ?2, ?3)
                 ON CONFLICT (text) DO UPDATE SET told = max(told, ?3)",
            )?
            .execute(params![notice.text, notice.at.as_millis(), notice.told])?;
        Ok(())
    }

    /// The notices since then, oldest first. Earlier ones are removed.
    ///
    /// # Errors
    /// When they cannot be read or removed.
    pub fn notices(&mut self, since: Timestamp) -> Result<Vec<Notice>, StoreError> {
        self.db.prepare_cached("DELETE FROM notices WHERE at < ?1")?.execute([since.as_millis()])?;
        let mut select = self.db.prepare_cached("SELECT at, text, told FROM notices ORDER BY at, text")?;
        let rows = select.query_map([], |row| {
            Ok(Notice { at: Timestamp::from_millis(row.get(0)?), text: row.get(1)?, told: row.get(2)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Sessions that a word may mean, by the first rule that fits any: whole id, short id, name
    /// (open before closed, newest first, only one), beginning of an id or of a name. At most ten.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn resolve(&self, word: &str) -> Result<Vec<SessionId>, StoreError> {
        let rules = [
            "SELECT id FROM sessions WHERE id = ?1",
            "SELECT id FROM sessions WHERE short = ?1 LIMIT 10",
            "SELECT id FROM sessions WHERE name = ?1 ORDER BY closed, created DESC, id DESC LIMIT 1",
            "SELECT id FROM sessions WHERE substr(id, 1, length(?1)) = ?1 OR substr(name, 1, length(?1)) = ?1
             ORDER BY closed, created DESC, id DESC LIMIT 10",
        ];
        for rule in rules {
            let mut query = self.db.prepare_cached(rule)?;
            let rows = query.query_map([word], |row| row.get::<_, String>(0))?;
            let ids = rows.collect::<Result<Vec<_>, _>>()?;
            if !ids.is_empty() {
                return Ok(ids.iter().filter_map(|id| id.parse().ok()).collect());
            }
        }
        Ok(Vec::new())
    }
}

/// The first free slot of `count`, beginning at the one the id itself points to: a journal that
/// lost its rows then still rarely hands out a slot that a running session has.
pub fn free_slot(id: SessionId, count: u32, taken: impl Fn(u32) -> bool) -> Option<u32> {
    let tail = id.as_bytes();
    let home = u32::from_be_bytes([tail[12], tail[13], tail[14], tail[15]]) % count.max(1);
    (0..count).map(|step| (home + step) % count).find(|&slot| !taken(slot))
}

type Columns = (String, bool, Option<u32>);

fn columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn stored((record, keep_record, slot): Columns) -> Result<Stored, StoreError> {
    Ok(Stored { record: serde_json::from_str(&record)?, keep_record, slot })
}

fn json(value: &impl Serialize) -> Result<String, StoreError> {
    Ok(serde_json::to_string(value)?)
}

/// Whether the header's format numbers are others than those of a rollback journal (1) and of WAL
/// (2). SQLite takes such a file for one that may only be read, as if its mode forbade writing.
fn has_other_format(path: &Path) -> bool {
    let mut header = [0; 20];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut header));
    read.is_ok() && header[18..].iter().any(|number| !(1..=2).contains(number))
}

/// Moves the database and its companions aside and returns the new path.
fn move_aside(folder: &Path, now: Timestamp) -> std::io::Result<PathBuf> {
    let mut stamp = now.as_millis();
    let mut aside = folder.join(format!("journal.damaged-{stamp}"));
    while aside.exists() {
        stamp += 1;
        aside = folder.join(format!("journal.damaged-{stamp}"));
    }
    for suffix in ["", "-wal", "-shm"] {
        let mut to = aside.clone().into_os_string();
        to.push(suffix);
        match std::fs::rename(folder.join(format!("{FILE_NAME}{suffix}")), to) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Ok(aside)
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
