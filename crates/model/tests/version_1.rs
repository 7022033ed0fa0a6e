//! What version 1 of the protocol sends is understood: `version_1/` holds every kind of message
//! as version 1 writes it. The files stay as they are when the types grow.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::collections::BTreeSet;
use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sessile_model::SessionRecord;
use sessile_model::wire::{Event, FrameType, Hello, Reply, Request};

const HELLO: &str = include_str!("version_1/hello.json");
const REQUESTS: &str = include_str!("version_1/requests.json");
const REPLIES: &str = include_str!("version_1/replies.json");
const EVENTS: &str = include_str!("version_1/events.json");
const RECORDS: &str = include_str!("version_1/records.json");

/// Requests that say what is to be done in a body of their own: a field that is not known there
/// is refused, since to leave it out would do something else than was asked.
const STRICT: [&str; 6] = ["open", "input", "exec", "wait", "export", "apply"];

fn messages(text: &str) -> Vec<Value> {
    serde_json::from_str(text).unwrap()
}

/// Each is read, and what is written today holds all that version 1 had in it.
#[track_caller]
fn are_read<T: Serialize + DeserializeOwned + PartialEq + Debug>(text: &str) {
    for message in messages(text) {
        let read: T = serde_json::from_value(message.clone()).unwrap_or_else(|e| panic!("{e}: {message}"));
        let written = serde_json::to_value(&read).unwrap();
        assert!(holds(&written, &message), "{message}\nis now written as\n{written}");
    }
}

/// Each is read as the same when a later version has added fields everywhere.
#[track_caller]
fn may_grow<T: DeserializeOwned + PartialEq + Debug>(text: &str) {
    for message in messages(text) {
        let mut grown = message.clone();
        grow(&mut grown);
        let read = |message: &Value| serde_json::from_value::<T>(message.clone());
        assert_eq!(read(&grown).unwrap_or_else(|e| panic!("{e}: {grown}")), read(&message).unwrap());
    }
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

/// Adds a field to every object but those whose names are their user's.
fn grow(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (_, field) in fields.iter_mut().filter(|(name, _)| *name != "labels" && *name != "metadata") {
                grow(field);
            }
            fields.insert("of_a_later_version".to_owned(), json!({"x": 1}));
        }
        Value::Array(values) => values.iter_mut().for_each(grow),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn kinds(text: &str, tag: &str) -> BTreeSet<String> {
    messages(text).iter().map(|message| message[tag].as_str().unwrap().to_owned()).collect()
}

fn set(names: &str) -> BTreeSet<String> {
    names.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn the_first_frame_is_read() {
    let text = format!("[{HELLO}]");
    are_read::<Hello>(&text);
    may_grow::<Hello>(&text);
}

#[test]
fn requests_are_read() {
    let all = "open show attach detach resize close_input signal screen output input exec wait pause \
               resume end export diff apply collect";
    assert_eq!(kinds(REQUESTS, "request"), set(all));
    are_read::<Request>(REQUESTS);
}

#[test]
fn replies_are_read() {
    let all = "done record attached screen output started waited receipt exported changes applied problem";
    assert_eq!(kinds(REPLIES, "reply"), set(all));
    are_read::<Reply>(REPLIES);
    may_grow::<Reply>(REPLIES);
}

#[test]
fn events_are_read() {
    assert_eq!(kinds(EVENTS, "event"), set("record exited detached notice closed"));
    are_read::<Event>(EVENTS);
    may_grow::<Event>(EVENTS);
}

#[test]
fn records_are_read() {
    assert_eq!(kinds(RECORDS, "state"), set("bringup active paused ending failed closed"));
    are_read::<SessionRecord>(RECORDS);
    may_grow::<SessionRecord>(RECORDS);
}

#[test]
fn a_field_of_a_later_request_is_refused_where_it_could_matter() {
    for message in messages(REQUESTS) {
        let mut grown = message.clone();
        grow(&mut grown);
        let kind = message["request"].as_str().unwrap();
        match serde_json::from_value::<Request>(grown) {
            Ok(read) => {
                assert!(!STRICT.contains(&kind), "{kind} ignores it");
                assert_eq!(read, serde_json::from_value(message).unwrap());
            }
            Err(error) => {
                assert!(STRICT.contains(&kind), "{kind}: {error}");
                assert!(error.to_string().contains("unknown field `of_a_later_version`"), "{error}");
            }
        }
    }
}

#[test]
fn kinds_of_a_later_version_are_said_to_be_unknown() {
    let request = serde_json::from_value::<Request>(json!({"request": "dance"}));
    let reply = serde_json::from_value::<Reply>(json!({"reply": "danced", "body": {}}));
    let event = serde_json::from_value::<Event>(json!({"event": "dancing", "body": {}}));
    for error in [request.err(), reply.err(), event.err()] {
        assert!(error.unwrap().to_string().contains("unknown variant `danc"));
    }
    assert_eq!(FrameType::from_byte(10), None);
}

#[test]
fn frame_types_are_frozen() {
    use FrameType::{Dump, Event, Hello, Input, InputDone, Output, OutputDone, Reply, Request};
    let types = [Hello, Request, Reply, Event, Output, Dump, Input, InputDone, OutputDone];
    assert_eq!(types.map(|kind| kind as u8), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert!(types.iter().all(|&kind| FrameType::from_byte(kind as u8) == Some(kind)));
}
