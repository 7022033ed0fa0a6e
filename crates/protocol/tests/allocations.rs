//! What a session that goes on takes from the allocator: nothing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::sync::Arc;
use std::time::Duration;

use sessile_protocol::machine::{
    Choice, Direction, Machine, Message, Protocol, Role, Signature, State, Step,
};
use sessile_protocol::monitor::event::Payload;
use sessile_protocol::monitor::setup::{
    Authentication, Binding, Buffer, Channel, Handler, OnViolation, Participant, SessionId, Setup, WhenFull,
};
use sessile_protocol::monitor::{Line, Monitor, SendError};
use sessile_protocol::plan::{Plan, Verdict};

const A: Role = Role(0);
const B: Role = Role(1);

/// A says something to B and is answered, or says it again, for ever.
fn plan() -> Arc<Plan> {
    let machine = |direction, peer| {
        let step = |message, next| Step {
            direction,
            peer,
            message: Message(message),
            next: State(next),
            late: false,
        };
        let other = match direction {
            Direction::Send => Direction::Receive,
            Direction::Receive => Direction::Send,
        };
        let answer = Step { direction: other, ..step(2, 0) };
        let within = Some(Duration::from_secs(3600));
        Machine {
            states: vec![
                Choice { steps: vec![step(0, 0), step(1, 1)], within },
                Choice { steps: vec![answer], within: None },
            ],
        }
    };
    let protocol = Protocol {
        name: "Talk".into(),
        roles: vec!["a".into(), "b".into()],
        messages: ["more", "ask", "answer"]
            .map(|label| Signature { label: label.into(), payload: vec![] })
            .into(),
        machines: vec![machine(Direction::Send, B), machine(Direction::Receive, A)],
    };
    Arc::new(Plan::compile(&protocol, Verdict::Proved).unwrap())
}

fn open(plan: &Arc<Plan>) -> Monitor {
    let setup = Setup {
        session: SessionId([1; 16]),
        bindings: [A, B]
            .map(|role| Binding {
                role,
                participant: Participant::new(["p", "q"][usize::from(role.0)]),
                key: None,
            })
            .into(),
        channels: Channel::each(
            plan,
            Handler::Queue,
            Buffer::Fifo { capacity: 2, when_full: WhenFull::Block },
        ),
        closers: Vec::new(),
        on_violation: OnViolation::Refuse,
        authentication: Authentication::Unsigned,
        longest_payload: 100,
    };
    Monitor::open(plan, setup).unwrap()
}

fn talk(monitor: &mut Monitor, payload: &Payload, rounds: u64) {
    let line = |from, to, message| Line {
        from,
        to,
        message: Message(message),
        payload: payload.clone(),
        seal: None,
    };
    for _ in 0..rounds {
        monitor.send(line(A, B, 0)).unwrap();
        monitor.send(line(A, B, 1)).unwrap();
        assert_eq!(monitor.offered(B).filter(|offer| offer.ready).count(), 1);
        monitor.recv(B, None).unwrap();
        monitor.recv(B, Some(A)).unwrap();
        monitor.send(line(B, A, 2)).unwrap();
        monitor.recv(A, None).unwrap();
        monitor.send(line(A, B, 0)).unwrap();
        monitor.send(line(A, B, 0)).unwrap();
        assert_eq!(monitor.send(line(A, B, 0)), Err(SendError::Full));
        assert_eq!(monitor.recv(B, None).unwrap().woken, Some(A));
        monitor.recv(B, None).unwrap();
        let now = monitor.now() + Duration::from_millis(1);
        assert!(monitor.tick(now).is_empty());
        while monitor.next_event().is_some() {}
    }
}

#[test]
fn a_session_that_goes_on_allocates_nothing() {
    let (plan, payload) = (plan(), Payload::new(b"words"));
    let mut monitor = open(&plan);
    // Buffers are made when they are first used.
    talk(&mut monitor, &payload, 2);
    let counted = allocation_counter::measure(|| talk(&mut monitor, &payload, 10_000));
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

#[test]
fn a_session_that_ends_gives_everything_back() {
    let plan = plan();
    let counted = allocation_counter::measure(|| {
        let mut monitor = open(&plan);
        talk(&mut monitor, &Payload::new(b"words"), 10);
        assert!(
            monitor
                .send(Line { from: B, to: A, message: Message(0), payload: Payload::EMPTY, seal: None })
                .is_err()
        );
    });
    assert!(counted.count_total > 0);
    assert_eq!((counted.count_current, counted.bytes_current), (0, 0));
    assert_eq!(Arc::strong_count(&plan), 1);
}
