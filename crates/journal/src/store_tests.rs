//! Tests of the database on real files.

use std::io::{Seek as _, SeekFrom, Write as _};

use sessile_model::receipt::ClaimLevel;
use sessile_model::record::Usage;
use sessile_model::spec::Limits;
use sessile_model::{Phase, Properties};

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn record(n: u8, name: Option<&str>, state: State) -> SessionRecord {
    SessionRecord {
        id: SessionId::new(Timestamp::from_millis(i64::from(n) << 40), [n; 10]),
        name: name.map(|n| n.parse().unwrap()),
        state,
        phase: Phase::Active,
        outcome: None,
        outcome_detail: None,
        user: Some(format!("user-{n}")),
        channel: None,
        chat: None,
        labels: [("n".to_owned(), n.to_string())].into(),
        metadata: serde_json::Map::new(),
        created_at: Timestamp::from_millis(i64::from(n)),
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
    }
}

fn stored_as(n: u8, name: Option<&str>, state: State) -> Stored {
    Stored { record: record(n, name, state), keep_record: false, slot: Some(u32::from(n)) }
}

fn receipt(text: &str) -> SignedReceipt {
    SignedReceipt { payload_type: "t".into(), payload: text.into(), signatures: Vec::new() }
}

fn open(folder: &Path) -> Store {
    let (store, notice) = Store::open(folder, NOW).unwrap();
    assert_eq!(notice, None);
    store
}

#[test]
fn what_was_written_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let session = stored_as(1, Some("quiet-fox"), State::Active);
    let id = session.record.id;
    open(folder.path()).put(&session).unwrap();
    let mut store = open(folder.path());
    assert_eq!(store.not_closed().unwrap(), std::slice::from_ref(&session));
    assert_eq!(store.session(id).unwrap(), Some(session));
    store.put(&stored_as(1, None, State::Closed)).unwrap();
    store.put_receipt(id, &receipt("first")).unwrap();
    store.put_receipt(id, &receipt("second")).unwrap();
    assert_eq!(store.receipt(id).unwrap(), Some(receipt("first")));
    assert_eq!(store.not_closed().unwrap(), []);
    assert_eq!(store.session(id).unwrap().unwrap().slot, None);
}

#[test]
fn names_and_slots_are_unique_among_open_sessions_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    store.put(&stored_as(1, Some("fox"), State::Active)).unwrap();
    assert!(matches!(store.put(&stored_as(2, Some("fox"), State::Bringup)), Err(StoreError::Taken)));
    let same_slot = Stored { slot: Some(1), ..stored_as(2, None, State::Bringup) };
    assert!(matches!(store.put(&same_slot), Err(StoreError::Taken)));
    store.put(&stored_as(1, Some("fox"), State::Closed)).unwrap();
    store.put(&stored_as(2, Some("fox"), State::Bringup)).unwrap();
}

#[test]
fn words_find_sessions_by_the_first_rule_that_fits() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    for (n, name, state) in
        [(1, "fox", State::Closed), (2, "fox", State::Active), (3, "foxtrot", State::Active)]
    {
        store.put(&stored_as(n, Some(name), state)).unwrap();
    }
    let id = |n| record(n, None, State::Active).id;
    assert_eq!(store.resolve("fox").unwrap(), [id(2)]);
    assert_eq!(store.resolve("foxt").unwrap(), [id(3)]);
    assert_eq!(store.resolve("fo").unwrap(), [id(3), id(2), id(1)]);
    assert_eq!(store.resolve(&id(1).to_string()).unwrap(), [id(1)]);
    assert_eq!(store.resolve(&id(3).short()).unwrap(), [id(3)]);
    assert_eq!(store.resolve(&id(2).to_string()[..8]).unwrap(), [id(2)]);
    assert_eq!(store.resolve("%").unwrap(), []);
}

#[test]
fn closed_sessions_are_found_by_what_they_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    store.put(&stored_as(1, None, State::Closed)).unwrap();
    store.put(&stored_as(2, None, State::Closed)).unwrap();
    store.put(&stored_as(3, None, State::Active)).unwrap();
    let by = |query: &Query| store.closed(query).unwrap().iter().map(|r| r.id).collect::<Vec<_>>();
    assert_eq!(by(&Query::default()).len(), 2);
    let user = Query { user: Some("user-2".into()), ..Query::default() };
    assert_eq!(by(&user), [record(2, None, State::Closed).id]);
    let label = Query { labels: vec![("n".into(), "1".into())], ..Query::default() };
    assert_eq!(by(&label), [record(1, None, State::Closed).id]);
}

#[test]
fn entries_are_taken_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let session = stored_as(1, None, State::Active);
    store.put(&session).unwrap();
    let entry =
        |sequence| StoredEntry { sequence, at: Some(NOW), kind: serde_json::json!({"kind": "opened"}) };
    assert_eq!(store.ingest(session.record.id, &[entry(1), entry(2)]).unwrap(), 2);
    assert_eq!(store.ingest(session.record.id, &[entry(2), entry(3)]).unwrap(), 1);
    assert_eq!(store.entries(session.record.id).unwrap(), [entry(1), entry(2), entry(3)]);
    store.forget(session.record.id).unwrap();
    assert_eq!(store.entries(session.record.id).unwrap(), []);
}

#[test]
fn a_batch_is_all_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let failed = store.batch(|s| {
        s.put(&stored_as(1, Some("fox"), State::Active))?;
        s.put(&stored_as(2, Some("fox"), State::Active))
    });
    assert!(matches!(failed, Err(StoreError::Taken)));
    assert_eq!(store.not_closed().unwrap(), []);
    store.batch(|s| s.put(&stored_as(1, Some("fox"), State::Active))).unwrap();
    assert_eq!(store.not_closed().unwrap().len(), 1);
}

#[test]
fn a_file_that_is_no_database_is_moved_aside() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(FILE_NAME), [0x5a; 9000]).unwrap();
    let (store, notice) = Store::open(folder.path(), NOW).unwrap();
    assert!(notice.unwrap().contains("moved aside"));
    assert_eq!(store.not_closed().unwrap(), []);
    let aside = folder.path().join(format!("journal.damaged-{}", NOW.as_millis()));
    assert_eq!(std::fs::read(aside).unwrap(), [0x5a; 9000]);
}

#[test]
fn a_damaged_database_is_moved_aside_and_what_is_readable_is_carried_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    for n in 1..=40 {
        store.put(&stored_as(n, None, State::Closed)).unwrap();
        store.put_receipt(record(n, None, State::Closed).id, &receipt("r")).unwrap();
    }
    drop(store);
    let path = folder.path().join(FILE_NAME);
    let mut file = std::fs::File::options().write(true).open(&path).unwrap();
    let len = file.metadata().unwrap().len();
    // The last pages hold rows, not the schema.
    file.seek(SeekFrom::Start(len - 3 * 4096)).unwrap();
    file.write_all(&[0xee; 4096]).unwrap();
    drop(file);
    let (store, notice) = Store::open(folder.path(), NOW).unwrap();
    let notice = notice.unwrap();
    assert!(notice.contains("damaged"), "{notice}");
    let kept = store.closed(&Query::default()).unwrap().len();
    assert!((1..=40).contains(&kept), "{kept} rows were carried over");
}

#[test]
fn no_damage_keeps_the_journal_from_being_opened() {
    type Damage = dyn Fn(&Path);
    let statement =
        |sql: &'static str| move |path: &Path| Connection::open(path).unwrap().execute_batch(sql).unwrap();
    let file_format = |path: &Path| {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[18] = 9;
        std::fs::write(path, bytes).unwrap();
    };
    let damages: [(&str, Box<Damage>, usize); 4] = [
        ("format", Box::new(file_format), 2),
        ("version", Box::new(statement("PRAGMA user_version = 0")), 2),
        ("column", Box::new(statement("ALTER TABLE entries RENAME COLUMN kind TO kinf")), 2),
        ("row", Box::new(statement("UPDATE sessions SET record = '{' || record WHERE slot = 1")), 1),
    ];
    for (what, damage, kept) in damages {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(folder.path());
        for n in [1, 2] {
            store.put(&stored_as(n, None, State::Active)).unwrap();
        }
        drop(store);
        damage(&folder.path().join(FILE_NAME));
        let (store, notice) = Store::open(folder.path(), NOW).unwrap();
        assert!(notice.is_some_and(|text| text.contains("moved aside")), "{what}");
        assert_eq!(store.not_closed().unwrap().len(), kept, "{what}");
    }
}

#[test]
fn a_journal_that_was_emptied_or_removed_is_said_where_one_was() {
    for (how, lose) in [
        ("empty", (|path: &Path| drop(std::fs::File::create(path).unwrap())) as fn(&Path)),
        ("gone", |path| std::fs::remove_file(path).unwrap()),
    ] {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path()).put(&stored_as(1, None, State::Closed)).unwrap();
        assert_eq!(Store::open_again(folder.path(), NOW).unwrap().1, None);
        lose(&folder.path().join(FILE_NAME));
        let (store, notice) = Store::open_again(folder.path(), NOW).unwrap();
        let notice = notice.unwrap();
        assert!(notice.contains(how) && notice.contains("lost"), "{notice}");
        assert_eq!(notice.contains("moved aside"), how == "empty", "{notice}");
        assert_eq!(store.closed(&Query::default()).unwrap(), []);
        drop(store);
        // Said once; and where none was, there is nothing to say.
        assert_eq!(Store::open_again(folder.path(), NOW).unwrap().1, None);
    }
    assert_eq!(Store::open(tempfile::tempdir().unwrap().path(), NOW).unwrap().1, None);
}

#[test]
fn a_database_of_something_else_is_moved_aside_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE recipes (name TEXT)").unwrap();
    let (store, notice) = Store::open(folder.path(), NOW).unwrap();
    assert!(notice.unwrap().contains("no journal"));
    assert_eq!(store.not_closed().unwrap(), []);
    let aside = folder.path().join(format!("journal.damaged-{}", NOW.as_millis()));
    Connection::open(aside).unwrap().prepare("SELECT name FROM recipes").unwrap();
}

#[test]
fn notices_stay_until_they_are_old() {
    let folder = tempfile::tempdir().unwrap();
    let notice = |at, text: &str, told| Notice { at: Timestamp::from_millis(at), text: text.into(), told };
    let mut store = open(folder.path());
    for some in [notice(5, "old", false), notice(20, "b", false), notice(10, "a", false)] {
        store.put_notice(&some).unwrap();
    }
    store.put_notice(&notice(99, "a", true)).unwrap();
    store.put_notice(&notice(99, "a", false)).unwrap();
    drop(store);
    let mut store = open(folder.path());
    let kept = [notice(10, "a", true), notice(20, "b", false)];
    assert_eq!(store.notices(Timestamp::from_millis(6)).unwrap(), kept);
    assert_eq!(store.notices(Timestamp::from_millis(0)).unwrap(), kept);
}

#[test]
fn a_newer_database_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).db.pragma_update(None, "user_version", VERSION + 1).unwrap();
    assert!(
        matches!(Store::open(folder.path(), NOW), Err(StoreError::Newer { found }) if found == VERSION + 1)
    );
    assert!(folder.path().join(FILE_NAME).exists());
}

#[test]
fn a_full_disk_is_said_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    store.put(&stored_as(1, None, State::Active)).unwrap();
    let pages: i64 = store.db.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    store.db.pragma_update(None, "max_page_count", pages).unwrap();
    let full = store.batch(|s| (2..200).try_for_each(|n| s.put(&stored_as(n, None, State::Active))));
    assert!(matches!(full, Err(StoreError::DiskFull)), "{full:?}");
    assert_eq!(store.not_closed().unwrap().len(), 1);
}

#[test]
fn slots_start_at_home_and_step_over_taken_ones() {
    let id = record(7, None, State::Active).id;
    let home = free_slot(id, 4094, |_| false).unwrap();
    assert_eq!(free_slot(id, 4094, |slot| slot == home), Some((home + 1) % 4094));
    assert_eq!(free_slot(id, 4, |_| true), None);
}
