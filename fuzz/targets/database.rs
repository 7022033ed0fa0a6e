//! The daemon's database with damage, and what is carried over from it.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sessile_fuzz::{Draw, plant};
use sessile_journal::store::{FILE_NAME, Query, Store, StoreError, Stored};
use sessile_model::receipt::{ClaimLevel, PAYLOAD_TYPE, SignedReceipt};
use sessile_model::record::{SessionRecord, Usage};
use sessile_model::spec::Limits;
use sessile_model::{Phase, Properties, SessionId, State, Timestamp};
use tempfile::TempDir;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

struct Place {
    folder: TempDir,
    whole: Vec<u8>,
}

static PLACE: LazyLock<Place> = LazyLock::new(|| {
    let memory = std::path::Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let folder = made.expect("a folder for databases");
    let (mut store, _) = Store::open(folder.path(), NOW).expect("a new database");
    for number in 1..=20 {
        let session = session(number);
        let id = session.record.id;
        store.put(&session).expect("a row");
        let receipt = SignedReceipt {
            payload_type: PAYLOAD_TYPE.to_owned(),
            payload: "e30=".repeat(usize::from(number)),
            signatures: Vec::new(),
        };
        store.put_receipt(id, &receipt).expect("a receipt");
    }
    drop(store);
    let whole = std::fs::read(folder.path().join(FILE_NAME)).expect("the database");
    Place { folder, whole }
});

fuzz_target!(init: plant(seeds()), |data: &[u8]| {
    let place = &*PLACE;
    let folder = place.folder.path();
    for entry in std::fs::read_dir(folder).expect("the folder").flatten() {
        std::fs::remove_file(entry.path()).expect("an old database");
    }
    let damaged = damaged(&place.whole, data);
    std::fs::write(folder.join(FILE_NAME), &damaged).expect("a database");
    let (store, notice) = match Store::open(folder, NOW) {
        Ok(opened) => opened,
        // A version from the future is no damage. Whatever else is wrong, the daemon starts.
        Err(StoreError::Newer { .. }) => return,
        Err(error) => panic!("{error}: {error:?}"),
    };
    let read = (store.not_closed(), store.closed(&Query::default()));
    drop(store);
    if notice.is_none() {
        return;
    }
    // What was carried over is a sound database, of rows that read and are where they belong.
    let aside = std::fs::read_dir(folder).expect("the folder").flatten();
    assert!(aside.into_iter().any(|e| e.file_name().to_string_lossy().starts_with("journal.damaged-")));
    let (open, closed) = (read.0.expect("open sessions"), read.1.expect("closed sessions"));
    let (store, notice) = Store::open(folder, NOW).expect("what was carried over");
    assert_eq!(notice, None);
    assert_eq!(store.not_closed().expect("open sessions"), open);
    for record in open.iter().map(|stored| &stored.record).chain(&closed) {
        assert_eq!(store.session(record.id).expect("a session").map(|s| s.record).as_ref(), Some(record));
        store.receipt(record.id).expect("a receipt that reads");
        store.entries(record.id).expect("entries that read");
    }
});

/// The input as damage: a place, then bytes that are written over it; or a cut.
fn damaged(whole: &[u8], data: &[u8]) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    let mut draw = Draw(data);
    while !draw.is_empty() {
        let at = (usize::from(draw.word()) * 2 + usize::from(draw.byte() & 1)) % bytes.len().max(1);
        let run = draw.run();
        match bytes.get_mut(at..at + run.len()) {
            Some(place) if !run.is_empty() => place.copy_from_slice(run),
            Some(_) | None => bytes.truncate(at),
        }
    }
    bytes
}

fn session(number: u8) -> Stored {
    let is_open = number.is_multiple_of(2);
    let record = SessionRecord {
        id: SessionId::new(Timestamp::from_millis(i64::from(number) << 32), [number; 10]),
        name: format!("name-{number}").parse().ok(),
        state: if is_open { State::Active } else { State::Closed },
        phase: Phase::Active,
        outcome: None,
        outcome_detail: None,
        user: Some("u".repeat(usize::from(number) * 8)),
        channel: None,
        chat: None,
        labels: [("n".to_owned(), number.to_string())].into(),
        metadata: serde_json::Map::new(),
        created_at: NOW,
        last_activity: NOW,
        ended_at: None,
        apps: Vec::new(),
        clients: 0,
        attached: Vec::new(),
        size: Default::default(),
        grants: Vec::new(),
        protocol: None,
        guard: None,
        properties: Properties::default(),
        claim_level: ClaimLevel::L1,
        limits: Limits::default(),
        usage: Usage::default(),
        notices: Vec::new(),
    };
    Stored { record, keep_record: number.is_multiple_of(3), slot: is_open.then_some(number.into()) }
}

fn seeds() -> [Vec<u8>; 4] {
    // The header's magic, the first page's tree, the middle of a page, a cut.
    [
        vec![0, 0, 0, 4, 1, 2, 3, 4],
        vec![50, 0, 0, 2, 0xff, 0xff],
        vec![0, 20, 1, 8, 9, 9, 9, 9, 9, 9, 9, 9],
        vec![0, 16, 0, 0],
    ]
}
