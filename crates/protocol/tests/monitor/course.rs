//! A session's course: holding and committing, violations, delegation, its end.

use std::sync::Arc;

use sessile_protocol::machine::{Choice, Direction, Machine, Message, Role, State, Step};
use sessile_protocol::monitor::event::{
    By, Cause, Close, Code, Event, Expected, Offending, Payload, Status, What,
};
use sessile_protocol::monitor::setup::{Buffer, Closer, Handler, OnViolation, Participant};
use sessile_protocol::monitor::{
    CloseError, DelegateError, Line, Monitor, RecvError, SendError, Sent, replay,
};
use sessile_protocol::plan::Plan;

use crate::support::{A, B, BLOCK, C, events, fifo, global, line, open, plan, plan_of, setup};

/// A asks B (0) and then C (1), who answer (2, 3); or it says that it is done (4, 5).
fn asking() -> Arc<Plan> {
    plan_of(&[
        (A, B, &[(0, 1), (4, 4)]),
        (A, C, &[(1, 2)]),
        (B, A, &[(2, 3)]),
        (C, A, &[(3, 0)]),
        (A, C, &[(5, 9)]),
    ])
}

#[test]
fn a_message_is_admitted_and_held_and_changes_nothing_until_it_is_committed() {
    let plan = asking();
    let mut monitor = open(&plan, fifo(1, BLOCK));
    events(&mut monitor);
    let before = (monitor.hash(), monitor.snapshot());
    let said = Line { payload: Payload::new(b"secret and more"), ..line(A, B, 0) };
    let held = monitor.admit(said.clone()).unwrap();
    assert_eq!((held.outcome(), held.line()), (Sent::Queued, &said));
    assert_eq!((monitor.hash(), monitor.snapshot()), before);
    assert_eq!(monitor.next_event(), None);

    // The guard decided that a part of it is left out.
    let again = monitor.admit(said).unwrap().delivering(Payload::new(b"and more"));
    assert_eq!(monitor.commit(again), Ok(Sent::Queued));
    assert_eq!(monitor.peek(B, None).unwrap().payload.bytes(), b"and more");
    assert_eq!(monitor.recv(B, Some(A)).unwrap().payload.bytes(), b"and more");

    // What was held is not let in by having been admitted once.
    let refused = monitor.commit(held);
    assert!(matches!(refused, Err(SendError::Violation(_))), "{refused:?}");
}

#[test]
fn nothing_passes_the_guard_by() {
    let plan = plan_of(&[(A, B, &[(0, 0)])]);
    let mut guarded = setup(&plan, fifo(1, BLOCK));
    guarded.channels[0].handler = Handler::Guard;
    let mut monitor = Monitor::open(&plan, guarded).unwrap();
    let before = monitor.hash();
    assert_eq!(monitor.send(line(A, B, 0)), Err(SendError::Guarded));
    assert_eq!(monitor.hash(), before);
    let inspected = monitor.admit(line(A, B, 0)).unwrap();
    assert_eq!(monitor.commit(inspected), Ok(Sent::Queued));
    let log = events(&mut monitor);
    assert_eq!(replay(&plan, log).unwrap().hash(), monitor.hash());
}

#[test]
fn what_was_admitted_before_something_else_happened_is_asked_again() {
    let plan = plan_of(&[(A, B, &[(0, 0)])]);
    let mut monitor = open(&plan, fifo(1, BLOCK));
    let (one, other) = (monitor.admit(line(A, B, 0)).unwrap(), monitor.admit(line(A, B, 0)).unwrap());
    assert_eq!(monitor.commit(one), Ok(Sent::Queued));
    assert_eq!(monitor.commit(other.clone()), Err(SendError::Full));
    monitor.recv(B, None).unwrap();
    assert_eq!(monitor.commit(other.clone()), Ok(Sent::Queued));
    let too_long = other.delivering(Payload::new(&[0; 2000]));
    assert_eq!(monitor.commit(too_long), Err(SendError::TooLong { longest: 1 << 10 }));
}

#[test]
fn a_violation_says_what_was_expected_and_what_happened() {
    let mut monitor = open(&asking(), fifo(4, BLOCK));
    let before = monitor.hash();
    let Err(SendError::Violation(violation)) = monitor.send(line(A, C, 1)) else { panic!("it is one") };
    let expected = |message| Expected { direction: Direction::Send, peer: B, message: Message(message) };
    assert_eq!((violation.code, violation.role), (Code::NotOffered, A));
    assert_eq!(*violation.expected, [expected(0), expected(4)]);
    assert_eq!(violation.offending, Offending::Said { to: C, message: Message(1) });
    assert_eq!(violation.to_string(), "not-offered: the protocol does not offer that here");

    let Err(RecvError::Violation(violation)) = monitor.recv(A, Some(B)) else { panic!("it is one") };
    assert_eq!(violation.offending, Offending::Listened { from: Some(B) });
    assert_eq!(monitor.recv(B, None), Err(RecvError::Empty));
    assert!(matches!(monitor.recv(B, Some(C)), Err(RecvError::Violation(_))));
    assert_eq!(monitor.hash(), before);

    assert_eq!(monitor.send(line(Role(9), B, 0)), Err(SendError::UnknownRole(Role(9))));
    assert_eq!(monitor.send(line(A, Role(9), 0)), Err(SendError::UnknownRole(Role(9))));
    assert_eq!(monitor.send(line(A, B, 99)), Err(SendError::UnknownMessage(Message(99))));
    assert_eq!(monitor.recv(Role(9), None), Err(RecvError::UnknownRole(Role(9))));
    let long = Line { payload: Payload::new(&[0; 1025]), ..line(A, B, 0) };
    assert_eq!(monitor.send(long), Err(SendError::TooLong { longest: 1 << 10 }));
    assert_eq!(monitor.offered(Role(9)).count(), 0);
}

#[test]
fn a_violation_ends_the_session_where_that_was_asked_for() {
    let plan = asking();
    let mut strict = setup(&plan, fifo(4, BLOCK));
    strict.on_violation = OnViolation::Fault;
    let mut monitor = Monitor::open(&plan, strict).unwrap();
    monitor.send(line(A, B, 0)).unwrap();
    assert!(monitor.admit(line(A, B, 0)).is_err());
    assert_eq!(*monitor.status(), Status::Active, "it was only asked");
    let Err(SendError::Violation(violation)) = monitor.send(line(A, B, 0)) else { panic!("it is one") };
    assert_eq!(*monitor.status(), Status::Faulted { violation });
    assert_eq!(monitor.lost().len(), 1);
    assert_eq!(monitor.recv(B, None), Err(RecvError::Ended));
    assert_eq!(monitor.close(By::Operator, Close::Abort), Err(CloseError::Ended));
    let log = events(&mut monitor);
    assert_eq!(replay(&plan, log).unwrap().hash(), monitor.hash());
}

#[test]
fn a_label_means_what_may_be_said_there() {
    let mut protocol = global(&[(A, B, &[(0, 1), (1, 9)]), (A, B, &[(2, 9)])]).protocol().unwrap();
    for (index, (label, payload)) in [("go", "Int"), ("stop", ""), ("go", "Text")].into_iter().enumerate() {
        protocol.messages[index].label = label.into();
        protocol.messages[index].payload = vec![payload.into()];
    }
    let mut monitor = open(&plan(&protocol), fifo(4, BLOCK));
    assert_eq!(monitor.message_called(A, B, "go"), Ok(Message(0)));
    assert_eq!(monitor.message_called(A, B, "stop"), Ok(Message(1)));
    monitor.send(line(A, B, 0)).unwrap();
    assert_eq!(monitor.message_called(A, B, "go"), Ok(Message(2)));
    // What may not be said there is refused when it is sent.
    assert_eq!(monitor.message_called(A, B, "stop"), Ok(Message(1)));
    assert!(monitor.send(line(A, B, 1)).is_err());
    let Err(SendError::Violation(violation)) = monitor.message_called(A, B, "halt") else { panic!() };
    assert_eq!(violation.code, Code::UnknownMessage);
    assert_eq!(violation.offending, Offending::SaidUnknown { to: B, label: "halt".into() });
}

#[test]
fn a_role_is_given_away_once_and_to_nobody_who_has_one() {
    let plan = asking();
    let mut monitor = open(&plan, fifo(4, BLOCK));
    let to = |name: &str| Participant::new(name);
    assert_eq!(monitor.delegate(By::Role(B), A, to("x"), None), Err(DelegateError::NotAllowed));
    assert_eq!(monitor.delegate(By::Operator, A, to("p1"), None), Err(DelegateError::HasRole));
    assert_eq!(monitor.delegate(By::Operator, A, to("p0"), None), Err(DelegateError::HasRole));
    assert_eq!(monitor.delegate(By::Operator, A, to(""), None), Err(DelegateError::Name));
    assert_eq!(
        monitor.delegate(By::Operator, Role(9), to("x"), None),
        Err(DelegateError::UnknownRole(Role(9)))
    );
    let key = Some(crate::support::key(A).public());
    assert_eq!(monitor.delegate(By::Operator, A, to("x"), key), Err(DelegateError::Key));
    assert_eq!((monitor.epoch(), monitor.count()), (0, 1));

    let receipt = monitor.delegate(By::Operator, A, to("x"), None).unwrap();
    assert_eq!(monitor.delegate(By::Role(A), A, to("p0"), None).unwrap().epoch, 2);
    let log = events(&mut monitor);
    let advanced = What::EpochAdvanced { epoch: 1, cause: Cause::Delegated(Box::new(receipt)) };
    assert_eq!(log[1].what, advanced);
    assert_eq!(replay(&plan, log).unwrap().hash(), monitor.hash());

    monitor.close(By::Operator, Close::Abort).unwrap();
    assert_eq!(monitor.delegate(By::Operator, A, to("y"), None), Err(DelegateError::Ended));
}

#[test]
fn closing_drains_what_can_be_heard_and_lists_the_rest() {
    let plan = asking();
    let mut monitor = open(&plan, fifo(4, BLOCK));
    monitor.send(line(A, B, 0)).unwrap();
    monitor.recv(B, None).unwrap();
    monitor.send(line(A, C, 1)).unwrap();
    monitor.send(line(B, A, 2)).unwrap();
    monitor.recv(A, None).unwrap();
    // A now waits for C, who has not yet heard what it is to answer.
    events(&mut monitor);
    monitor.close(By::Operator, Close::Drain).unwrap();
    assert_eq!(monitor.offered(A).count(), 0, "C says nothing more");
    assert_eq!(monitor.recv(A, None), Err(RecvError::Ended));
    assert_eq!(monitor.recv(C, None).unwrap().message, Message(1));
    let drained: Vec<What> = events(&mut monitor).into_iter().map(|event| event.what).collect();
    let cause = Cause::Closing { by: By::Operator, how: Close::Drain };
    let received = What::Received { from: A, to: C, message: Message(1), sequence: 0 };
    let closed = What::Closed { lost: Box::default() };
    assert_eq!(drained, [What::EpochAdvanced { epoch: 1, cause }, received, closed]);
}

#[test]
fn what_nobody_can_hear_any_more_is_lost_and_listed() {
    // B first tells C something; until then it does not listen to A.
    let plan = plan_of(&[(B, C, &[(0, 1)]), (A, B, &[(1, 2)]), (A, B, &[(2, 9)])]);
    let mut monitor = open(&plan, fifo(4, BLOCK));
    monitor.send(line(A, B, 1)).unwrap();
    monitor.send(line(A, B, 2)).unwrap();
    monitor.close(By::Operator, Close::Drain).unwrap();
    assert_eq!(*monitor.status(), Status::Closed { by: Some(By::Operator) });
    let lost: Vec<(u32, u64)> = monitor.lost().iter().map(|lost| (lost.message.0, lost.sequence)).collect();
    assert_eq!(lost, [(1, 0), (2, 1)]);
    let log = events(&mut monitor);
    assert_eq!(replay(&plan, log).unwrap().hash(), monitor.hash());
}

#[test]
fn who_may_abort_also_ends_what_drains() {
    let plan = asking();
    let mut may = setup(&plan, fifo(4, BLOCK));
    may.closers = vec![Closer { role: C, may_abort: true }];
    let mut monitor = Monitor::open(&plan, may).unwrap();
    monitor.send(line(A, B, 0)).unwrap();
    assert_eq!(monitor.offered(A).count(), 1);
    monitor.close(By::Operator, Close::Drain).unwrap();
    assert_eq!(monitor.offered(A).count(), 0, "nothing is to be said any more");
    monitor.close(By::Role(C), Close::Abort).unwrap();
    assert_eq!((monitor.status(), monitor.epoch()), (&Status::Cancelled { by: By::Role(C) }, 2));
    assert_eq!(monitor.lost().len(), 1);
}

/// When a process dies between two entries of its log, the second is made again.
#[test]
fn what_a_torn_log_does_not_have_is_left_to_be_taken() {
    let plan = asking();
    let mut monitor = open(&plan, fifo(4, BLOCK));
    monitor.send(line(A, B, 0)).unwrap();
    monitor.close(By::Operator, Close::Abort).unwrap();
    let log: Vec<Event> = events(&mut monitor);
    assert_eq!(log.len(), 4);
    let mut torn = replay(&plan, log[..3].iter().cloned()).unwrap();
    assert_eq!(torn.hash(), monitor.hash());
    assert_eq!(events(&mut torn), log[3..]);
}

/// Where a checker allows that a role listens for something that need not come, it does not listen for
/// ever.
#[test]
fn who_listens_in_vain_is_told_so() {
    let short = |nodes| global(nodes).protocol().unwrap();
    let mut protocol = short(&[(A, B, &[(0, 1), (1, 1)]), (B, C, &[(2, 9)])]);
    // B tells C of the one, and not of the other.
    let state = &mut protocol.machines[1].states;
    let done = state.len() as u32;
    state.push(Default::default());
    state[0].steps[1].next = sessile_protocol::machine::State(done);
    let plan = plan(&protocol);
    let mut monitor = open(&plan, fifo(1, BLOCK));
    monitor.send(line(A, B, 1)).unwrap();
    assert_eq!(monitor.recv(C, None), Err(RecvError::Empty));
    monitor.recv(B, None).unwrap();
    assert_eq!(*monitor.status(), Status::Closed { by: None });
    assert_eq!(monitor.recv(C, None), Err(RecvError::Ended));
    let log = events(&mut monitor);
    assert_eq!(replay(&plan, log).unwrap().hash(), monitor.hash());
    let restored = Monitor::restore(&plan, &monitor.snapshot()).unwrap();
    assert_eq!(restored.hash(), monitor.hash());
}

fn choice(direction: Direction, steps: &[(Role, u32, u32)]) -> Choice {
    let step = |(peer, message, next): &(Role, u32, u32)| Step {
        direction,
        peer: *peer,
        message: Message(*message),
        next: State(*next),
        late: false,
    };
    Choice { steps: steps.iter().map(step).collect(), within: None }
}

/// Something else has come from one, and what is waited for may still come from another.
#[test]
fn who_listens_to_two_waits_for_both() {
    let mut protocol = global(&[(A, B, &[(0, 1)]), (C, B, &[(1, 2)]), (A, B, &[(2, 9)])]).protocol().unwrap();
    let send =
        |message| Machine { states: vec![choice(Direction::Send, &[(B, message, 1)]), Choice::default()] };
    let receive = [
        choice(Direction::Receive, &[(A, 0, 2), (C, 1, 1)]),
        choice(Direction::Receive, &[(A, 2, 2)]),
        Choice::default(),
    ];
    protocol.machines = vec![send(2), Machine { states: receive.into() }, send(1)];
    let mut monitor = open(&plan(&protocol), fifo(1, BLOCK));
    monitor.send(line(A, B, 2)).unwrap();
    assert_eq!(monitor.recv(B, None), Err(RecvError::Empty));
    assert_eq!(monitor.recv(B, Some(A)), Err(RecvError::Empty));
    monitor.send(line(C, B, 1)).unwrap();
    assert_eq!(monitor.recv(B, None).unwrap().message, Message(1));
    assert_eq!(monitor.recv(B, None).unwrap().message, Message(2));
    assert_eq!(*monitor.status(), Status::Closed { by: None });
}

/// What was replaced waits no more.
#[test]
fn who_listens_in_vain_for_the_latest_is_told_so_too() {
    // A tells B as often as it likes, then C once, and is done.
    let mut protocol = global(&[(A, B, &[(0, 0)]), (A, C, &[(1, 9)])]).protocol().unwrap();
    protocol.machines = vec![
        Machine { states: vec![choice(Direction::Send, &[(B, 0, 0), (C, 1, 1)]), Choice::default()] },
        Machine { states: vec![choice(Direction::Receive, &[(A, 0, 0)])] },
        Machine { states: vec![choice(Direction::Receive, &[(A, 1, 1)]), Choice::default()] },
    ];
    let plan = plan(&protocol);
    let mut latest = setup(&plan, fifo(1, BLOCK));
    latest.channels[0].buffer = Buffer::Latest;
    let mut monitor = Monitor::open(&plan, latest).unwrap();
    assert_eq!(monitor.send(line(A, B, 0)), Ok(Sent::Queued));
    assert_eq!(monitor.send(line(A, B, 0)), Ok(Sent::Replaced));
    monitor.send(line(A, C, 1)).unwrap();
    monitor.recv(C, None).unwrap();
    assert_eq!(*monitor.status(), Status::Active);
    monitor.recv(B, None).unwrap();
    assert_eq!(*monitor.status(), Status::Closed { by: None });
}

/// Tables that nobody checked: everyone is done and something waits. The session does not wait for it.
#[test]
fn what_is_for_somebody_who_is_done_is_lost() {
    let mut protocol = global(&[(A, B, &[(0, 9)])]).protocol().unwrap();
    protocol.machines[1].states[0].steps.clear();
    let mut monitor = open(&plan(&protocol), fifo(1, BLOCK));
    monitor.send(line(A, B, 0)).unwrap();
    assert_eq!((monitor.status(), monitor.lost().len()), (&Status::Closed { by: None }, 1));
}

/// Tables that nobody checked: what arrives cannot be received. The session is ended, not stuck.
#[test]
fn what_cannot_be_received_ends_the_session() {
    let mut protocol = global(&[(A, B, &[(0, 9)])]).protocol().unwrap();
    protocol.messages.push(sessile_protocol::machine::Signature { label: "other".into(), payload: vec![] });
    protocol.machines[1].states[0].steps[0].message = Message(1);
    let mut monitor = open(&plan(&protocol), fifo(1, BLOCK));
    monitor.send(line(A, B, 0)).unwrap();
    assert!(matches!(monitor.peek(B, None), Err(RecvError::Violation(_))));
    let Err(RecvError::Violation(violation)) = monitor.recv(B, None) else { panic!("it is one") };
    assert_eq!(violation.code, Code::Incoherent);
    assert_eq!(*monitor.status(), Status::Faulted { violation });
}
