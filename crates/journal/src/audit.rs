//! A session's audit: what its guard decided, one line each, chained.
//!
//! ```text
//! LINK ENTRY\n        LINK = SHA-256("sessile audit 1\n" | link of the line before | ENTRY), in hexadecimal
//! ```
//!
//! An entry is an object of JSON on one line. Before the first line, the link is the SHA-256 of the session's
//! id as text. Whoever knows the last link and the number of lines knows whether anything was changed,
//! left out or added; the receipt, which is signed, has both. A last line without its end was never
//! acknowledged, and is cut off.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use serde::Serialize;
use sessile_model::SessionId;
use sessile_model::hex;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// The audit's name in its session's folder.
pub const FILE_NAME: &str = "audit";
/// Longest audit that is read or written, in bytes.
pub const MAX_LEN: u64 = 256 << 20;
const DOMAIN: &[u8] = b"sessile audit 1\n";
/// Characters of a link.
const LINK: usize = 64;

/// A link of the chain.
pub type Link = [u8; 32];

/// An open audit.
#[derive(Debug)]
pub struct Audit {
    file: File,
    len: u64,
    head: Link,
    entries: u64,
    /// Those that were there when it was opened.
    before: Vec<String>,
}

/// Why an audit cannot be opened, read or written. What was in it is as it was.
#[derive(Debug, Error)]
pub enum AuditError {
    /// The system refused.
    #[error("the session's audit: {0}")]
    Io(#[from] io::Error),
    /// An entry has no JSON form.
    #[error("the entry cannot be written as JSON")]
    Encode(#[from] serde_json::Error),
    /// It would be too long.
    #[error("the session's audit is full")]
    Full,
    /// It is not what was written.
    #[error(transparent)]
    Broken(#[from] Broken),
}

/// What is not as it was written: the line, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "line {0} of the audit does not follow from the one before: it was changed, or something was left out"
)]
pub struct Broken(pub u64);

/// Lines of an audit that are chained.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chained {
    /// The entries: JSON.
    pub entries: Vec<String>,
    /// The last link.
    pub head: Link,
    /// Bytes of whole lines.
    pub len: u64,
}

impl Audit {
    /// Opens `FOLDER/audit`, making it when absent; goes on behind its last whole line.
    ///
    /// # Errors
    /// When the system refuses, or it is not as it was written.
    pub fn open(folder: &Path, session: SessionId) -> Result<Self, AuditError> {
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let mut file =
            File::from(rustix::fs::open(folder.join(FILE_NAME), flags, mode).map_err(io::Error::from)?);
        let mut bytes = Vec::new();
        (&mut file).take(MAX_LEN + 1).read_to_end(&mut bytes)?;
        let Chained { entries, head, len } = read(&bytes, session)?;
        if len < bytes.len() as u64 {
            file.set_len(len)?;
        }
        Ok(Self { file, len, head, entries: entries.len() as u64, before: entries })
    }

    /// Appends an entry.
    ///
    /// # Errors
    /// When it cannot be written; then nothing was.
    pub fn append<T: Serialize>(&mut self, entry: &T) -> Result<(), AuditError> {
        let entry = serde_json::to_string(entry)?;
        let link = next(self.head, entry.as_bytes());
        let line = format!("{} {entry}\n", hex::text(&link));
        let len = self.len + line.len() as u64;
        if len > MAX_LEN {
            return Err(AuditError::Full);
        }
        if let Err(error) = self.file.write_all(line.as_bytes()) {
            // A part of it may be there.
            let _ = self.file.set_len(self.len);
            return Err(error.into());
        }
        (self.len, self.head, self.entries) = (len, link, self.entries + 1);
        Ok(())
    }

    /// Makes what was appended lasting.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn sync(&self) -> Result<(), AuditError> {
        Ok(self.file.sync_data()?)
    }

    /// Takes the entries that were there when it was opened.
    pub fn take_entries(&mut self) -> Vec<String> {
        std::mem::take(&mut self.before)
    }

    /// The last link, in hexadecimal.
    pub fn head(&self) -> String {
        hex::text(&self.head)
    }

    /// How many entries it has.
    pub fn entries(&self) -> u64 {
        self.entries
    }
}

/// Reads an audit up to its last whole line.
///
/// # Errors
/// Where a line does not follow from the one before.
pub fn read(bytes: &[u8], session: SessionId) -> Result<Chained, Broken> {
    let mut chained = Chained { head: first(session), ..Chained::default() };
    for (at, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let Some(whole) = line.strip_suffix(b"\n") else { break };
        let broken = || Broken(at as u64 + 1);
        let (told, entry) = whole.split_at_checked(LINK).ok_or_else(broken)?;
        let entry = entry.strip_prefix(b" ").ok_or_else(broken)?;
        let link = next(chained.head, entry);
        if told != hex::text(&link).as_bytes() {
            return Err(broken());
        }
        chained.entries.push(String::from_utf8(entry.to_vec()).map_err(|_| broken())?);
        chained.head = link;
        chained.len += line.len() as u64;
    }
    Ok(chained)
}

fn first(session: SessionId) -> Link {
    Sha256::digest(session.to_string()).into()
}

fn next(before: Link, entry: &[u8]) -> Link {
    Sha256::new().chain_update(DOMAIN).chain_update(before).chain_update(entry).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sessile_model::Timestamp;

    fn session() -> SessionId {
        SessionId::new(Timestamp::from_millis(0), [7; 10])
    }

    fn written(folder: &Path, entries: &[u32]) -> Vec<u8> {
        let mut audit = Audit::open(folder, session()).unwrap();
        entries.iter().for_each(|entry| audit.append(&serde_json::json!({ "n": entry })).unwrap());
        audit.sync().unwrap();
        std::fs::read(folder.join(FILE_NAME)).unwrap()
    }

    #[test]
    fn a_successor_goes_on_behind_the_last_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = written(folder.path(), &[1, 2]);
        let cut = &bytes[..bytes.len() - 1];
        std::fs::write(folder.path().join(FILE_NAME), cut).unwrap();
        let mut audit = Audit::open(folder.path(), session()).unwrap();
        assert_eq!(audit.entries(), 1);
        audit.append(&serde_json::json!({ "n": 3 })).unwrap();
        let chained = read(&std::fs::read(folder.path().join(FILE_NAME)).unwrap(), session()).unwrap();
        assert_eq!(chained.entries, [r#"{"n":1}"#, r#"{"n":3}"#]);
        assert_eq!(hex::text(&chained.head), audit.head());
        // It is of this session and no other.
        assert_eq!(read(&bytes, SessionId::new(Timestamp::from_millis(1), [7; 10])), Err(Broken(1)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_is_changed_is_seen(at in 0usize..1000, to in any::<u8>()) {
            let folder = tempfile::tempdir().unwrap();
            let bytes = written(folder.path(), &[1, 22, 333, 4444]);
            let whole = read(&bytes, session()).unwrap();
            let mut changed = bytes.clone();
            let at = at % bytes.len();
            changed[at] = to;
            // What loses its end is a line less; anything else does not follow.
            match read(&changed, session()) {
                Err(_) => prop_assert_ne!(to, bytes[at]),
                Ok(read) => prop_assert!(read.head != whole.head || to == bytes[at]),
            }
        }
    }
}
