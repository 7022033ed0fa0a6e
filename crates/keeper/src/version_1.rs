//! What a keeper of version 1 leaves for its successor is understood. `tests/version_1/` holds a
//! checkpoint's document; it stays as it is when the types grow.

use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, memfd_create};
use serde_json::{Value, json};

use crate::adopt::Snapshot;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::ledger::{InputLedger, LedgerRow};

const DOCUMENT: &str = include_str!("../tests/version_1/checkpoint.json");
/// Where the second half begins.
const HALF: u64 = 4 << 20;

/// A memory file with these bytes at these places.
fn file_with(parts: &[(u64, &[u8])]) -> OwnedFd {
    let file = memfd_create("test", MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&file, 2 * HALF).unwrap();
    for (at, bytes) in parts {
        assert_eq!(rustix::io::pwrite(&file, bytes, *at).unwrap(), bytes.len());
    }
    file
}

/// A half as version 1 writes it: `SESSCKP1`, sequence number, length, checksum over these and the
/// document, four zeros, and the document.
fn half(sequence: u8, document: &str) -> Vec<u8> {
    let mut bytes = b"SESSCKP1".to_vec();
    bytes.extend([sequence, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend((document.len() as u64).to_le_bytes());
    bytes.extend(crc32c::crc32c(&[&bytes, document.as_bytes()].concat()).to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(document.as_bytes());
    bytes
}

fn adopted(document: &str) -> Result<Value, CheckpointError> {
    let file = file_with(&[(0, &half(2, document)), (HALF, &half(1, "{}"))]);
    let (_, snapshot) = Checkpoint::adopt::<Snapshot>(file)?;
    Ok(serde_json::to_value(snapshot).unwrap())
}

/// Whether every value of `old` is in `new` at its place.
fn holds(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            old.iter().all(|(name, old)| new.get(name).is_some_and(|new| holds(new, old)))
        }
        (Value::Array(new), Value::Array(old)) => {
            new.len() == old.len() && new.iter().zip(old).all(|(new, old)| holds(new, old))
        }
        (new, old) => new == old,
    }
}

#[test]
fn its_checkpoint_is_read() {
    let old: Value = serde_json::from_str(DOCUMENT).unwrap();
    let new = adopted(DOCUMENT).unwrap();
    assert!(holds(&new, &old), "{old}\nis now written as\n{new}");
}

#[test]
fn its_checkpoint_is_written_alike() {
    let mut checkpoint = Checkpoint::create().unwrap();
    checkpoint.write(&json!({"a": 1})).unwrap();
    let mut bytes = [0; 39];
    rustix::io::pread(checkpoint.fd(), &mut bytes, HALF).unwrap();
    assert_eq!(bytes[..], half(1, r#"{"a":1}"#)[..]);
}

/// A keeper that reads one goes on, or wipes by the log: it never goes on from a half of it.
#[test]
fn fields_of_a_later_version_are_ignored_and_its_machine_refused() {
    let mut grown: Value = serde_json::from_str(DOCUMENT).unwrap();
    for place in ["/facts", "/facts/apps/0", "/facts/tasks/0", "/machine/facts", ""] {
        grown.pointer_mut(place).unwrap()["of_a_later_version"] = json!(1);
    }
    adopted(&grown.to_string()).unwrap();
    grown["machine"]["version"] = json!(2);
    assert!(matches!(adopted(&grown.to_string()), Err(CheckpointError::Json(_))));
    let other = [half(1, DOCUMENT), b"SESSCKP2".to_vec()];
    let file = file_with(&[(0, &other[0]), (0, &other[1])]);
    assert!(matches!(Checkpoint::adopt::<Snapshot>(file), Err(CheckpointError::Missing)));
}

#[test]
fn its_ledger_is_read_and_written_alike() {
    let row = |client: u8, started: u8, done: u8| {
        let number = |n: u8| [n, 0, 0, 0, 0, 0, 0, 0];
        [number(client), number(started), number(done)].concat()
    };
    let file = file_with(&[(0, &row(7, 3, 2)), (24, &row(9, 1, 1))]);
    let mut ledger = InputLedger::adopt(file).unwrap();
    assert_eq!(ledger.of(7), LedgerRow { client: 7, started: 3, done: 2 });
    assert_eq!(ledger.of(9), LedgerRow { client: 9, started: 1, done: 1 });
    ledger.finish(7, 3);
    let mut bytes = [0; 48];
    rustix::io::pread(ledger.fd(), &mut bytes, 0).unwrap();
    assert_eq!(bytes[..], [row(7, 3, 3), row(9, 1, 1)].concat()[..]);
}
