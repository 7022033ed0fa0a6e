//! Whose key is whose: how a role comes to be known by one, and is no longer.

use std::sync::Arc;

use sessile_protocol::machine::Role;
use sessile_protocol::monitor::endpoint::Endpoint;
use sessile_protocol::monitor::event::{By, Close, Code, Event, Payload, Status};
use sessile_protocol::monitor::setup::{Authentication, OnViolation, Participant};
use sessile_protocol::monitor::{DelegateError, IntroduceError, Line, Monitor, SendError, Sent, replay};
use sessile_protocol::plan::Plan;

use crate::support::{A, B, BLOCK, code, events, fifo, key, line, plan_of, setup};

/// A says 0 or 1 to B as often as it likes, in a session in which nobody's key is known yet.
fn opened(plan: &Arc<Plan>, capacity: u32) -> Monitor {
    let mut setup = setup(plan, fifo(capacity, BLOCK));
    setup.authentication = Authentication::Signed { on_forgery: OnViolation::Fault };
    Monitor::open(plan, setup).unwrap()
}

fn talk() -> Arc<Plan> {
    plan_of(&[(A, B, &[(0, 0), (1, 0)])])
}

/// The next message, signed where the monitor says.
fn signed(monitor: &Monitor, secret: Role, message: u32, payload: &str) -> Line {
    let plan = monitor.plan();
    let mut endpoint = Endpoint::new(key(secret), monitor.session(), plan.hash(), monitor.epoch(), "r0");
    endpoint.resume("r1", monitor.position(A, B).unwrap());
    let sealed = endpoint.seal("r1", &plan.messages()[message as usize], payload.as_bytes());
    let payload = Payload::new(payload.as_bytes());
    Line { payload, seal: Some(Box::new(sealed.seal)), ..line(A, B, message) }
}

#[test]
fn a_role_is_known_by_the_key_of_its_first_message() {
    let plan = talk();
    let mut monitor = opened(&plan, 8);
    let first = signed(&monitor, A, 0, "x");
    assert_eq!(
        (monitor.key(A), code(monitor.admit(first.clone()).map(|_| Sent::Queued))),
        (None, Code::Forged)
    );
    let before = monitor.hash();
    let forged = monitor.introduce(&first, key(Role(5)).public()).unwrap_err();
    assert!(
        matches!(&forged, IntroduceError::Message(SendError::Violation(found)) if found.code == Code::Forged)
    );
    let unsigned = Line { seal: None, ..first.clone() };
    assert_eq!(monitor.introduce(&unsigned, key(A).public()), Err(IntroduceError::NotSigned));
    assert_eq!((monitor.hash(), monitor.status()), (before, &Status::Active));
    for _ in 0..2 {
        assert_eq!(monitor.introduce(&first, key(A).public()), Ok(()));
    }
    assert_eq!(monitor.key(A), Some(&key(A).public()));
    assert_eq!(monitor.send(first), Ok(Sent::Queued));
    let other = signed(&monitor, Role(5), 0, "y");
    assert_eq!(monitor.introduce(&other, key(Role(5)).public()), Err(IntroduceError::HasKey));
    let theirs = Line { from: B, to: A, ..other };
    assert_eq!(monitor.introduce(&theirs, key(A).public()), Err(IntroduceError::AnothersKey));

    let restored = Monitor::restore(&plan, &monitor.snapshot()).unwrap();
    assert_eq!((restored.key(A), restored.hash()), (Some(&key(A).public()), monitor.hash()));
    let log = events(&mut monitor).into_iter().map(|event| Event::decode(&event.encode()).unwrap());
    assert_eq!(replay(&plan, log.collect::<Vec<_>>()).unwrap().hash(), monitor.hash());
}

/// Who asks at the same time where the next message stands is not taken for who repeats one.
#[test]
fn one_who_was_overtaken_is_told_from_one_who_repeats() {
    let plan = talk();
    let mut monitor = opened(&plan, 1);
    let first = signed(&monitor, A, 0, "one");
    let (second, repeated) = (signed(&monitor, A, 1, "two"), first.clone());
    let theirs = signed(&monitor, B, 1, "two");
    monitor.introduce(&first, key(A).public()).unwrap();
    monitor.send(first).unwrap();
    for mut monitor in [Monitor::restore(&plan, &monitor.snapshot()).unwrap(), monitor] {
        while monitor.next_event().is_some() {}
        let before = monitor.hash();
        assert_eq!(monitor.send(second.clone()), Err(SendError::Overtaken));
        assert_eq!((monitor.hash(), monitor.status()), (before, &Status::Active));
        // Also where there is room again, and some have gone by since.
        for round in 0..63 {
            monitor.recv(B, None).unwrap();
            let next = signed(&monitor, A, 0, &round.to_string());
            monitor.send(next).unwrap();
            assert_eq!(monitor.send(second.clone()), Err(SendError::Overtaken), "{round}");
        }
        assert_eq!(code(monitor.admit(repeated.clone()).map(|_| Sent::Queued)), Code::Replayed);
        assert_eq!(code(monitor.admit(theirs.clone()).map(|_| Sent::Queued)), Code::Replayed);
        // What was signed longer ago than is remembered is taken for the worse.
        monitor.recv(B, None).unwrap();
        monitor.send(signed(&monitor, A, 0, "")).unwrap();
        assert_eq!(code(monitor.send(second.clone())), Code::Replayed);
        assert!(matches!(monitor.status(), Status::Faulted { .. }));
    }
}

#[test]
fn a_key_that_was_withdrawn_is_refused_until_the_role_is_given_back() {
    let plan = talk();
    let mut monitor = opened(&plan, 8);
    let [own, carol] = ["p0", "carol"].map(Participant::new);
    // There is nothing to withdraw yet.
    assert_eq!(monitor.delegate(By::Operator, A, own.clone(), None), Err(DelegateError::HasRole));
    let first = signed(&monitor, A, 0, "");
    monitor.introduce(&first, key(A).public()).unwrap();
    monitor.send(first.clone()).unwrap();

    // The key is lost: the same participant comes with another.
    let crossing = signed(&monitor, A, 0, "");
    let receipt = monitor.delegate(By::Operator, A, own.clone(), None).unwrap();
    assert_eq!((&receipt.from, &receipt.to, receipt.key, monitor.key(A)), (&own, &own, None, None));
    assert_eq!(
        monitor.introduce(&crossing, key(Role(5)).public()),
        Err(IntroduceError::Message(SendError::Stale { current: 1 }))
    );
    let old = signed(&monitor, A, 0, "");
    assert_eq!(monitor.introduce(&old, key(A).public()), Err(IntroduceError::Withdrawn));
    let mut monitor = Monitor::restore(&plan, &monitor.snapshot()).unwrap();
    assert_eq!(monitor.introduce(&old, key(A).public()), Err(IntroduceError::Withdrawn));
    let new = signed(&monitor, Role(5), 0, "");
    monitor.introduce(&new, key(Role(5)).public()).unwrap();
    assert_eq!(monitor.send(new), Ok(Sent::Queued));

    // Given to another and back, it may be known as it was.
    monitor.delegate(By::Role(A), A, carol, None).unwrap();
    assert_eq!(
        monitor.introduce(&signed(&monitor, Role(5), 0, ""), key(Role(5)).public()),
        Err(IntroduceError::Withdrawn)
    );
    monitor.delegate(By::Operator, A, own.clone(), None).unwrap();
    let back = signed(&monitor, A, 0, "");
    monitor.introduce(&back, key(A).public()).unwrap();
    assert_eq!(monitor.send(back), Ok(Sent::Queued));
    let restored = Monitor::restore(&plan, &monitor.snapshot()).unwrap();
    assert_eq!(restored.hash(), monitor.hash());

    // Whoever does nothing else does not make the state grow for ever.
    for number in 0..63 {
        monitor.delegate(By::Operator, A, own.clone(), None).unwrap();
        let line = signed(&monitor, Role(100 + number), 0, "");
        monitor.introduce(&line, key(Role(100 + number)).public()).unwrap();
    }
    monitor.delegate(By::Operator, A, own.clone(), None).unwrap();
    assert_eq!(
        monitor.delegate(By::Operator, A, Participant::new("dave"), None),
        Err(DelegateError::TooOften)
    );
    monitor.close(By::Operator, Close::Drain).unwrap();
    let late = signed(&monitor, Role(7), 0, "");
    assert_eq!(monitor.introduce(&late, key(Role(7)).public()), Err(IntroduceError::Ended));
}
