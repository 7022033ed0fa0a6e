//! A log as version 1 wrote it is read, appended to and left alone where it must be. The file
//! stays as it is when the format grows.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::path::Path;

use serde_json::{Value, json};
use sessile_journal::frame::{self, Condition};
use sessile_journal::log::{self, FILE_NAME, Log, OpenError};

/// Three entries.
const LOG: &[u8] = include_bytes!("version_1/log");

fn folder_with(bytes: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(FILE_NAME), bytes).unwrap();
    folder
}

fn bytes_in(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join(FILE_NAME)).unwrap()
}

#[test]
fn it_is_read() {
    let folder = folder_with(LOG);
    let (entries, condition) = log::read::<Value>(folder.path()).unwrap();
    assert_eq!(condition, Condition::Whole);
    assert_eq!(entries.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>(), [1, 2, 3]);
    let facts = entries.iter().map(|(_, entry)| entry["fact"]["fact"].as_str().unwrap());
    assert_eq!(facts.collect::<Vec<_>>(), ["attached", "detached", "keeper_restarted"]);
}

#[test]
fn it_is_appended_to() {
    let folder = folder_with(LOG);
    let opened = Log::open::<Value>(folder.path()).unwrap();
    assert_eq!((opened.entries.len(), opened.notice), (3, None));
    let mut log = opened.log;
    assert_eq!(log.append(&json!({"fact": {"fact": "attached", "clients": 1}})).unwrap(), 4);
    let bytes = bytes_in(folder.path());
    assert!(bytes.starts_with(LOG));
    assert_eq!(log::read::<Value>(folder.path()).unwrap().0.len(), 4);
}

#[test]
fn it_is_written_alike() {
    let mut bytes = frame::preamble().to_vec();
    for (sequence, place) in frame::scan(LOG).records {
        frame::put_record(&mut bytes, sequence, &LOG[place]);
    }
    assert_eq!(bytes, LOG);
}

/// The daemon passes over entries of a kind it does not know; a keeper, which would have to go
/// on from them, says that it cannot. Either way the log stays as it is.
#[test]
fn an_entry_of_another_kind_is_passed_on_or_refused() {
    #[derive(Debug, serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Known {
        #[allow(dead_code, reason = "it is only read")]
        Fact(u8),
    }
    let folder = folder_with(LOG);
    let refused = Log::open::<Known>(folder.path());
    assert!(matches!(refused, Err(OpenError::Entry { sequence: 1, .. })));
    assert_eq!(bytes_in(folder.path()), LOG);
    assert!(log::read::<Value>(folder.path()).is_ok());
}

#[test]
fn a_log_of_a_later_version_is_refused_and_left_alone() {
    let mut later = LOG.to_vec();
    later[8] = 2;
    let sum = crc32c::crc32c(&later[..12]);
    later[12..16].copy_from_slice(&sum.to_le_bytes());
    let folder = folder_with(&later);
    let Err(error) = Log::open::<Value>(folder.path()) else { panic!() };
    assert_eq!(error.to_string(), "the session's log has version 2, this program reads up to 1");
    assert!(matches!(log::read::<Value>(folder.path()), Err(OpenError::Newer { version: 2 })));
    assert_eq!(bytes_in(folder.path()), later);
}
