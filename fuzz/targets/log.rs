//! A session's log: its bytes, and what opening a broken one makes of it.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sessile_fuzz::{Draw, plant};
use sessile_journal::frame::{self, Condition, Scan};
use sessile_journal::log::{self, FILE_NAME, Log, OpenError};
use sessile_model::receipt::{WipeEvidence, WipeLine, WipeStep};
use sessile_model::{ByteSize, State, Timestamp};
use sessile_session::{Entry, Fact};
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let memory = std::path::Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a folder for logs")
});

fuzz_target!(init: plant(seeds()), |data: &[u8]| {
    bytes(data);
    // The same with right checksums, which no mutation finds.
    let mended = mended(data);
    bytes(&mended);
    open(&mended);
});

fn bytes(bytes: &[u8]) {
    let scan = frame::scan(bytes);
    sound(bytes, &scan);
    // Its intact beginning is a whole log by itself.
    let again = frame::scan(&bytes[..scan.good_len]);
    assert_eq!((again.condition, &again.records), (Condition::Whole, &scan.records));
}

fn sound(bytes: &[u8], scan: &Scan) {
    assert!(scan.good_len <= bytes.len());
    let mut end = frame::PREAMBLE_LEN;
    for (number, (sequence, place)) in scan.records.iter().enumerate() {
        assert_eq!(*sequence, number as u64 + 1);
        assert_eq!(place.start, end + frame::HEAD_LEN);
        assert!(place.len() <= frame::MAX_PAYLOAD);
        end = place.end;
    }
    if scan.good_len > 0 {
        assert_eq!(scan.good_len, end);
    }
    match scan.condition {
        Condition::Whole => assert_eq!(scan.good_len, bytes.len()),
        Condition::Torn { bytes: torn } => assert_eq!(scan.good_len as u64 + torn, bytes.len() as u64),
        Condition::Damaged { at } => assert_eq!(at, scan.good_len as u64),
        Condition::Newer { version } => assert!(version > frame::VERSION && scan.records.is_empty()),
    }
}

/// Records cut by the input's own choices: payloads, gaps in the sequence, garbage between them.
fn mended(data: &[u8]) -> Vec<u8> {
    let mut draw = Draw(data);
    let mut out = frame::preamble().to_vec();
    let mut sequence = 1;
    while !draw.is_empty() {
        match draw.byte() % 16 {
            0 => out.extend_from_slice(draw.run()),
            1 => sequence += u64::from(draw.byte()),
            2 => out.truncate(out.len().saturating_sub(usize::from(draw.byte()))),
            _ => {
                let length = usize::from(draw.word() % 1024);
                frame::put_record(&mut out, sequence, draw.bytes(length));
                sequence += 1;
            }
        }
    }
    out
}

fn open(bytes: &[u8]) {
    let folder = FOLDER.path();
    for entry in std::fs::read_dir(folder).expect("the folder").flatten() {
        std::fs::remove_file(entry.path()).expect("an old log");
    }
    std::fs::write(folder.join(FILE_NAME), bytes).expect("a log");
    let scan = frame::scan(bytes);
    let read = log::read::<Entry>(folder);
    let mut opened = match Log::open::<Entry>(folder) {
        Ok(opened) => opened,
        Err(OpenError::Entry { sequence, .. }) => {
            assert!(read.is_err() && scan.records.iter().any(|(known, _)| *known == sequence));
            assert_eq!(std::fs::read(folder.join(FILE_NAME)).expect("the log"), bytes, "it is left alone");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let (entries, condition) = read.expect("what can be opened can be read");
    assert_eq!((&entries, condition), (&opened.entries, scan.condition));
    assert_eq!(opened.notice.is_some(), condition != Condition::Whole);
    if matches!(condition, Condition::Damaged { .. }) {
        assert_eq!(std::fs::read(folder.join("log.damaged-1")).expect("what was moved aside"), bytes);
    }
    // It takes further entries, and the next reader finds all of them.
    let entry = Entry { at: Timestamp::from_millis(0), fact: Fact::KeeperRestarted };
    let sequence = opened.log.append(&entry).expect("an entry");
    assert_eq!(sequence, scan.next_sequence());
    let (mut after, condition) = log::read::<Entry>(folder).expect("the log");
    assert_eq!(condition, Condition::Whole);
    assert_eq!(after.pop(), Some((sequence, entry)));
    assert_eq!(after, entries);
}

fn seeds() -> Vec<Vec<u8>> {
    let line = WipeLine {
        step: WipeStep::ScrubMemory,
        app: None,
        evidence: WipeEvidence::Overwritten { bytes: ByteSize(1), objects: 1 },
        took_us: 1,
    };
    let facts = [Fact::Became { state: State::Active }, Fact::KeeperRestarted, Fact::Wiped { line }];
    let mut whole = frame::preamble().to_vec();
    let mut choices = Vec::new();
    for (number, fact) in facts.into_iter().enumerate() {
        let entry = Entry { at: Timestamp::from_millis(1_700_000_000_000), fact };
        let json = serde_json::to_vec(&entry).expect("an entry is JSON");
        frame::put_record(&mut whole, number as u64 + 1, &json);
        choices.push(3);
        choices.extend_from_slice(&(json.len() as u16).to_le_bytes());
        choices.extend_from_slice(&json);
    }
    let torn = [&choices[..], &[2, 3]].concat();
    let damaged = [&choices[..], &[0, 4, 1, 2, 3, 4], &choices[..]].concat();
    vec![whole, choices, torn, damaged]
}
