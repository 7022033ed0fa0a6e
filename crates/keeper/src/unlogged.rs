//! What becomes of a log that a keeper finds and cannot open when it takes over.
//!
//! Where the folder can be written, what is in the log's place is moved aside and a new log begun.
//! Where it cannot, the session goes on all the same: what it would log is held in memory, it is tried
//! again once a second, and what was held follows. A session that has more to log than may be held is
//! ended, since it could not be accounted for. A keeper that dies meanwhile takes what it held along.

use std::io;

use sessile_journal::log::{Log, OpenError};
use sessile_session::Entry;

use crate::bringup::causes;
use crate::keeper::Keeper;

/// Most entries that are held.
const MOST: usize = 4096;

impl Keeper {
    /// Begins a new log, or holds what it would say. Returns what the user is to know of it.
    pub(crate) fn do_without_log(&mut self, error: &OpenError) -> String {
        let why = causes(error);
        if is_anothers(error) {
            return format!("{why}; nothing more is logged");
        }
        match Log::begin_anew(&self.seat.state) {
            Ok((log, name)) => {
                self.log = Some(log);
                format!("{why}; it was moved aside to {name}, and a new one begun")
            }
            Err(_) => {
                self.unlogged = Some(Vec::new());
                format!("{why}; what it is to say is held in memory until it can be written")
            }
        }
    }

    /// Holds an entry that cannot be logged now, where it is to be logged later.
    pub(crate) fn hold_entry(&mut self, entry: Entry) {
        let Some(held) = &mut self.unlogged else { return };
        if held.len() < MOST {
            return held.push(entry);
        }
        let error = io::Error::from(io::ErrorKind::StorageFull);
        self.log_failed("the session's log cannot be written, and no more can be held", &error);
    }

    /// Tries again to open the log, and writes what was held.
    pub(crate) fn retry_log(&mut self) {
        if self.unlogged.is_none() {
            return;
        }
        let opened = match Log::open::<Entry>(&self.seat.state) {
            Ok(opened) => Ok(opened.log),
            Err(error) if is_anothers(&error) => return,
            Err(_) => Log::begin_anew(&self.seat.state).map(|(log, _)| log),
        };
        let Ok(mut log) = opened else { return };
        let held = self.unlogged.take().unwrap_or_default();
        let mut left = held.into_iter();
        while let Some(entry) = left.next() {
            if log.append(&entry).is_err() {
                self.unlogged = Some(std::iter::once(entry).chain(left).collect());
                return;
            }
        }
        self.log = Some(log);
        self.log_dirty = true;
        if let Some(facts) = &mut self.facts {
            facts.notices.push("the log can be written again, and what was held was added to it".to_owned());
        }
        self.changed = true;
    }
}

/// Whether a later program wrote the log: it is left as it is.
fn is_anothers(error: &OpenError) -> bool {
    match error {
        OpenError::Newer { .. } | OpenError::Entry { .. } => true,
        OpenError::Io { .. } | OpenError::TooLarge { .. } => false,
    }
}
