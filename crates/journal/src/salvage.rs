//! Carries over what can still be read from a damaged database.
//!
//! Rows are taken one by one until the damage is met, and only those that decode. A receipt
//! needs no trust in the file it came from: its signature is checked by whoever relies on it.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use sessile_model::receipt::SignedReceipt;
use sessile_model::{SessionId, Timestamp};

use crate::store::{Notice, Store, Stored};

/// How much was carried over.
#[derive(Debug, Default)]
pub(crate) struct Saved {
    /// Sessions.
    pub(crate) sessions: u32,
    /// Receipts.
    pub(crate) receipts: u32,
}

/// Copies readable rows of the database at `damaged` into `store`.
pub(crate) fn carry_over(damaged: &Path, store: &mut Store) -> Saved {
    let mut saved = Saved::default();
    let Ok(old) = Connection::open_with_flags(damaged, OpenFlags::SQLITE_OPEN_READ_ONLY) else {
        return saved;
    };
    let sessions = rows(&old, "SELECT record, keep_record, slot FROM sessions", |row| {
        Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?))
    });
    let receipts = rows(&old, "SELECT session, receipt FROM receipts", |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
    });
    let notices = rows(&old, "SELECT at, text, told FROM notices", |row| {
        Ok(Notice { at: Timestamp::from_millis(row.get(0)?), text: row.get(1)?, told: row.get(2)? })
    });
    // What does not fit any more is left behind, row by row; a disk that is full shows again at
    // the first write that matters.
    let _ = store.batch(|store| {
        for (record, keep_record, slot) in sessions {
            let Ok(record) = serde_json::from_str(&record) else { continue };
            saved.sessions += u32::from(store.put(&Stored { record, keep_record, slot }).is_ok());
        }
        for (session, receipt) in receipts {
            let (Ok(session), Ok(receipt)) =
                (session.parse::<SessionId>(), serde_json::from_str::<SignedReceipt>(&receipt))
            else {
                continue;
            };
            saved.receipts += u32::from(store.put_receipt(session, &receipt).is_ok());
        }
        for notice in notices {
            let _ = store.put_notice(&notice);
        }
        Ok(())
    });
    saved
}

fn rows<T>(db: &Connection, sql: &str, read: impl Fn(&rusqlite::Row<'_>) -> rusqlite::Result<T>) -> Vec<T> {
    let mut found = Vec::new();
    let Ok(mut statement) = db.prepare(sql) else { return found };
    let Ok(mut rows) = statement.query([]) else { return found };
    while let Ok(Some(row)) = rows.next() {
        found.extend(read(row).ok());
    }
    found
}
