//! Snapshots and events as bytes: one form, read strictly.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use sessile_protocol::monitor::event::{By, Event, Payload};
use sessile_protocol::monitor::setup::{OnViolation, Participant, WhenFull};
use sessile_protocol::monitor::{Line, Malformed, Monitor, RestoreError};
use sessile_protocol::plan::{Digest, Plan};

use crate::support::{A, B, BLOCK, C, events, fifo, key, line, open, plan_of, setup, signed};

fn plan() -> Arc<Plan> {
    plan_of(&[(A, B, &[(0, 1), (1, 0)]), (B, C, &[(2, 0)])])
}

/// One session with something of everything in it.
fn busy(plan: &Arc<Plan>) -> Monitor {
    let mut monitor = open(plan, fifo(3, BLOCK));
    monitor.tick(Duration::from_millis(1500));
    monitor.send(Line { payload: Payload::new(b"words"), ..line(A, B, 1) }).unwrap();
    monitor.send(Line { payload: Payload::new(&[0; 40]), ..line(A, B, 0) }).unwrap();
    monitor.recv(B, None).unwrap();
    monitor.delegate(By::Operator, C, Participant::new("somebody"), None).unwrap();
    monitor
}

fn with_digest(mut content: Vec<u8>) -> Vec<u8> {
    content.extend(Digest::of(&content).0);
    content
}

#[test]
fn a_snapshot_with_any_byte_changed_is_refused() {
    let plan = plan();
    let bytes = busy(&plan).snapshot();
    for index in 0..bytes.len() {
        for flip in [1, 0x80] {
            let mut damaged = bytes.clone();
            damaged[index] ^= flip;
            assert!(Monitor::restore(&plan, &damaged).is_err(), "byte {index}");
        }
    }
    for length in 0..bytes.len() {
        assert!(Monitor::restore(&plan, &bytes[..length]).is_err(), "{length} bytes");
    }
}

/// Bytes whose digest fits were made by somebody who knows how: whatever they say, what comes of it is
/// an error or a session that a monitor can be in and goes on from.
#[test]
fn a_snapshot_that_was_made_up_is_refused_or_is_one() {
    let plan = plan();
    let bytes = busy(&plan).snapshot();
    let content = &bytes[..bytes.len() - 32];
    let (mut taken, mut refused) = (0, 0);
    for index in 0..content.len() {
        for value in [0, 1, 2, 0x7f, 0xff, content[index].wrapping_add(1), content[index].wrapping_sub(1)] {
            let mut made_up = content.to_vec();
            made_up[index] = value;
            match Monitor::restore(&plan, &with_digest(made_up.clone())) {
                Err(_) => refused += 1,
                Ok(mut monitor) => {
                    taken += 1;
                    assert_eq!(monitor.snapshot(), with_digest(made_up), "byte {index} to {value}");
                    exercise(&mut monitor);
                }
            }
        }
    }
    assert!(taken > 100 && refused > 1000, "{taken} taken, {refused} refused");
}

fn exercise(monitor: &mut Monitor) {
    monitor.tick(Duration::MAX);
    for role in [A, B, C] {
        let offered: Vec<_> = monitor.offered(role).collect();
        for offer in offered {
            let _ = monitor.send(Line { payload: Payload::EMPTY, ..line(role, offer.peer, offer.message.0) });
            let _ = monitor.recv(role, Some(offer.peer));
        }
        let _ = monitor.recv(role, None);
    }
    let _ = monitor.close(By::Operator, sessile_protocol::monitor::event::Close::Drain);
    monitor.hash();
}

/// Where the first of these bytes lie.
fn find(content: &[u8], wanted: &[u8]) -> usize {
    content.windows(wanted.len()).position(|window| window == wanted).unwrap()
}

/// What no session can be in, one thing at a time.
#[test]
fn a_snapshot_that_contradicts_itself_is_refused() {
    let plan = plan();
    let mut monitor = open(&plan, fifo(1, WhenFull::Grow { max: 4 }));
    monitor.tick(Duration::from_secs(9));
    monitor.delegate(By::Operator, C, Participant::new("p9"), None).unwrap();
    for (message, words) in [(1, "first words"), (0, "second words")] {
        monitor.send(Line { payload: Payload::new(words.as_bytes()), ..line(A, B, message) }).unwrap();
    }
    let bytes = monitor.snapshot();
    let content = &bytes[..bytes.len() - 32];
    // The queue begins with a message, its sequence and the payload's length; before it are the
    // buffer's capacity, the next sequence, how many links are known, and how many messages wait.
    let queue = find(content, b"first words") - 4 - 8 - 4;
    let cases: [(&str, usize, &[u8]); 8] = [
        ("a role came where it is in the future", 18, &[0; 12]),
        ("what waits", queue - 20, &1u32.to_be_bytes()),
        ("what waits", queue - 20, &9u32.to_be_bytes()),
        ("what waits", queue - 16, &1u64.to_be_bytes()),
        ("what waits", queue, &9u32.to_be_bytes()),
        ("what waits", queue + 4, &1u64.to_be_bytes()),
        ("who speaks for a role", find(content, b"p9"), b"p0"),
        ("something waits and is lost", content.len() - 5, &[2]),
    ];
    for (what, at, new) in cases {
        let mut wrong = content.to_vec();
        wrong[at..at + new.len()].copy_from_slice(new);
        assert_ne!(wrong, content, "{what} at {at}");
        let found = Monitor::restore(&plan, &with_digest(wrong)).unwrap_err();
        assert_eq!(found, RestoreError::Impossible(what), "at {at}");
    }
    assert!(Monitor::restore(&plan, &bytes).is_ok());

    // A session that is over does not go on.
    let plan = plan_of(&[(A, B, &[(0, 9)])]);
    let mut monitor = open(&plan, fifo(1, BLOCK));
    monitor.send(line(A, B, 0)).unwrap();
    monitor.recv(B, None).unwrap();
    let bytes = monitor.snapshot();
    let mut wrong = bytes[..bytes.len() - 32].to_vec();
    let status = wrong.len() - 5;
    assert_eq!(std::mem::replace(&mut wrong[status], 0), 2);
    let found = Monitor::restore(&plan, &with_digest(wrong)).unwrap_err();
    assert_eq!(found, RestoreError::Impossible("it goes on after its end"));
}

#[test]
fn a_snapshot_says_no_more_than_it_is_long() {
    // Counts that promise more than follows reserve nothing.
    let plan = plan();
    let mut content = b"sessile snapshot 2".to_vec();
    content.extend([0; 12]);
    content.extend(plan.hash().0);
    content.extend([7; 16]);
    content.extend(u32::MAX.to_be_bytes());
    let found = Monitor::restore(&plan, &with_digest(content)).unwrap_err();
    assert_eq!(found, RestoreError::Malformed(Malformed::Short));
}

#[test]
fn a_snapshot_of_another_protocol_is_refused() {
    let (plan, other) = (plan(), plan_of(&[(A, B, &[(0, 0)])]));
    let bytes = busy(&plan).snapshot();
    assert_eq!(Monitor::restore(&other, &bytes).unwrap_err(), RestoreError::OtherPlan(plan.hash()));
}

#[test]
fn the_state_of_a_signed_session_is_kept_whole() {
    let plan = plan();
    let setup = signed(setup(&plan, fifo(3, BLOCK)), OnViolation::Fault);
    let mut monitor = Monitor::open(&plan, setup).unwrap();
    let endpoint =
        sessile_protocol::monitor::endpoint::Endpoint::new(key(A), monitor.session(), plan.hash(), 0, "r0");
    let seal = Some(Box::new(endpoint.seal("r1", &plan.messages()[1], b"").seal));
    monitor.send(Line { seal, ..line(A, B, 1) }).unwrap();
    let restored = Monitor::restore(&plan, &monitor.snapshot()).unwrap();
    assert_eq!(restored.hash(), monitor.hash());
    assert_eq!(restored.position(A, B), monitor.position(A, B));
    for event in events(&mut monitor) {
        assert_eq!(Event::decode(&event.encode()), Ok(event));
    }
}

#[test]
fn arbitrary_bytes_are_refused_or_are_written_again_as_they_were() {
    let plan = plan();
    let mut monitor = busy(&plan);
    let samples: Vec<Vec<u8>> = events(&mut monitor).iter().map(Event::encode).collect();
    let config = Config { cases: 20_000, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let edits = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let strategy = (any::<prop::sample::Index>(), edits, proptest::collection::vec(any::<u8>(), 0..64));
    let run = runner.run(&strategy, |(sample, edits, noise)| {
        let mut bytes = samples[sample.index(samples.len())].clone();
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        for bytes in [bytes, noise] {
            if let Ok(event) = Event::decode(&bytes) {
                prop_assert_eq!(event.encode(), bytes.clone());
            }
            prop_assert!(Monitor::restore(&plan, &with_digest(bytes)).is_err());
        }
        Ok(())
    });
    run.unwrap();
}
