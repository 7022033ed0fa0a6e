//! What keepers of version 1 leave is understood: `version_1/` holds snapshots of the machine, as
//! a checkpoint has them, and every kind of entry of a session's log. The files stay as they are
//! when the types grow.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

#[allow(dead_code, reason = "of the beginnings there, this takes one")]
mod support;

use std::collections::BTreeSet;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sessile_model::State;
use sessile_session::{Effects, Entry, Event, Session};
use support::{Life, START};

const SNAPSHOTS: &str = include_str!("version_1/snapshots.json");
const ENTRIES: &str = include_str!("version_1/entries.json");

fn values(text: &str) -> Vec<Value> {
    serde_json::from_str(text).unwrap()
}

fn read<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap_or_else(|e| panic!("{e}: {value}"))
}

/// What is written today holds every value of version 1 at its place.
#[track_caller]
fn is_kept<T: Serialize>(read: &T, old: &Value) {
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
    let new = serde_json::to_value(read).unwrap();
    assert!(holds(&new, old), "{old}\nis now written as\n{new}");
}

#[test]
fn snapshots_are_read_and_go_on() {
    let mut states = BTreeSet::new();
    for value in values(SNAPSHOTS) {
        let session: Session = read(&value);
        is_kept(&session, &value);
        let state = session.state();
        states.insert(state.to_string());
        let mut life = Life::restored(session);
        life.hand_in(Event::KeeperRestarted).settle();
        let settled = life.session.state();
        // What was asked for is carried out.
        let turning = ["freezing", "thawing"].iter().any(|turn| value["stage"][turn].is_u64());
        let expected = match state {
            State::Active if turning => State::Paused,
            State::Paused if !turning => State::Paused,
            State::Active | State::Paused | State::Bringup => State::Active,
            State::Ending | State::Failed | State::Closed => State::Closed,
        };
        assert_eq!(settled, expected, "{value}");
    }
    let all = ["active", "bringup", "closed", "ending", "failed", "paused"];
    assert_eq!(states, all.map(str::to_owned).into());
}

#[test]
fn entries_are_read() {
    let mut kinds = BTreeSet::new();
    for value in values(ENTRIES) {
        let entry: Entry = read(&value);
        is_kept(&entry, &value);
        kinds.insert(value["fact"]["fact"].as_str().unwrap().to_owned());
    }
    let all = "opened step_done step_failed step_undone verified became app_started app_exited attached \
               detached granted keeper_restarted tearing_down wiped closed";
    assert_eq!(kinds, all.split_whitespace().map(str::to_owned).collect());
}

#[test]
fn a_session_can_be_wiped_by_entries_alone() {
    let entries: Vec<Entry> = values(ENTRIES)
        .iter()
        .filter(|value| ["opened", "step_done"].contains(&value["fact"]["fact"].as_str().unwrap()))
        .map(read)
        .collect();
    let mut effects = Effects::new();
    let component = sessile_model::state::Component::Keeper;
    let session = Session::recover(&entries, component, "it died", START, &mut effects).unwrap();
    assert_eq!(session.state(), State::Failed);
}

#[test]
fn fields_of_a_later_version_are_ignored_and_its_kinds_refused() {
    for value in values(ENTRIES) {
        let mut grown = value.clone();
        grown["of_a_later_version"] = json!(1);
        grown["fact"]["of_a_later_version"] = json!(1);
        assert_eq!(read::<Entry>(&grown), read::<Entry>(&value));
        grown["fact"]["fact"] = json!("danced");
        let error = serde_json::from_value::<Entry>(grown).unwrap_err().to_string();
        assert!(error.contains("unknown variant `danced`"), "{error}");
    }
    for value in values(SNAPSHOTS) {
        let mut grown = value.clone();
        grown["of_a_later_version"] = json!(1);
        grown["facts"]["of_a_later_version"] = json!(1);
        assert_eq!(read::<Session>(&grown), read::<Session>(&value));
        grown["version"] = json!(2);
        assert!(serde_json::from_value::<Session>(grown).is_err());
    }
}
