//! What monitors have got wrong, each with the case that shows it.

use std::sync::Arc;

use sessile_protocol::machine::{Direction, Message};
use sessile_protocol::monitor::event::{By, Close, Status, What};
use sessile_protocol::monitor::setup::{Closer, OpenError, WhenFull};
use sessile_protocol::monitor::{CloseError, Monitor, Offer, RecvError, SendError, Sent};

use crate::support::{A, B, BLOCK, C, events, fifo, line, open, plan_of, setup};

/// `rec X { a A→B; rec Y { b A→B; c B→A; continue X } }`: the inner loop's name must not shadow
/// the outer one's, nor unfolding it lose where the outer one begins.
#[test]
fn an_inner_loop_returns_to_the_outer_one() {
    let plan = plan_of(&[(A, B, &[(0, 1)]), (A, B, &[(1, 2)]), (B, A, &[(2, 0)])]);
    let mut monitor = open(&plan, fifo(4, BLOCK));
    for _ in 0..50 {
        assert!(monitor.send(line(A, B, 1)).is_err(), "b comes after a");
        assert_eq!(monitor.send(line(A, B, 0)), Ok(Sent::Queued));
        assert!(monitor.send(line(A, B, 0)).is_err(), "a comes once");
        assert_eq!(monitor.send(line(A, B, 1)), Ok(Sent::Queued));
        for message in [0, 1] {
            assert_eq!(monitor.recv(B, None).unwrap().message, Message(message));
        }
        assert_eq!(monitor.send(line(B, A, 2)), Ok(Sent::Queued));
        assert_eq!(monitor.recv(A, Some(B)).unwrap().message, Message(2));
    }
    let first = Offer { direction: Direction::Send, peer: B, message: Message(0), ready: true };
    assert_eq!(monitor.offered(A).collect::<Vec<_>>(), [first]);
    assert_eq!(plan.steps(plan.start(A).unwrap()).len(), 1);
}

#[test]
fn a_sender_that_waits_for_room_is_woken_by_whoever_makes_it() {
    let plan = plan_of(&[(A, B, &[(0, 0), (1, 1)])]);
    let mut monitor = open(&plan, fifo(2, BLOCK));
    monitor.send(line(A, B, 0)).unwrap();
    monitor.send(line(A, B, 0)).unwrap();
    let before = monitor.hash();
    assert_eq!(monitor.send(line(A, B, 0)), Err(SendError::Full));
    assert!(!monitor.offered(A).any(|offer| offer.ready));
    assert_eq!(monitor.hash(), before);

    // Also by one that was restored meanwhile: that somebody waits is in no memory.
    let mut monitor = Monitor::restore(&plan, &monitor.snapshot()).unwrap();
    assert_eq!(monitor.recv(B, None).unwrap().woken, Some(A));
    assert_eq!(monitor.send(line(A, B, 0)), Ok(Sent::Queued));
    assert_eq!(monitor.recv(B, None).unwrap().woken, Some(A));
    assert_eq!(monitor.recv(B, None).unwrap().woken, None);
}

#[test]
fn what_is_lost_leaves_its_sender_where_it_was() {
    // A says two different things; were it to advance past a lost one, B would wait in vain.
    let plan = plan_of(&[(A, B, &[(0, 1)]), (A, B, &[(1, 2)]), (B, A, &[(2, 9)])]);
    let mut monitor = open(&plan, fifo(1, WhenFull::Drop));
    assert_eq!(monitor.send(line(A, B, 0)), Ok(Sent::Queued));
    let (before, position) = (monitor.hash(), monitor.position(A, B));
    assert_eq!(monitor.send(line(A, B, 1)), Ok(Sent::Lost));
    assert_eq!((monitor.hash(), monitor.position(A, B)), (before, position));
    assert_eq!(monitor.recv(B, None).unwrap().message, Message(0));
    assert_eq!(monitor.send(line(A, B, 1)), Ok(Sent::Queued));
    assert_eq!(monitor.recv(B, None).unwrap().message, Message(1));
    monitor.send(line(B, A, 2)).unwrap();
    monitor.recv(A, None).unwrap();
    assert_eq!(*monitor.status(), Status::Closed { by: None });
}

#[test]
fn nothing_is_lost_where_that_was_not_declared() {
    let plan = plan_of(&[(A, B, &[(0, 0)])]);
    let mut wrong = setup(&plan, fifo(1, WhenFull::Drop));
    wrong.channels[0].lossy = false;
    let names = |from: &str, to: &str| OpenError::NotLossy { from: from.into(), to: to.into() };
    assert_eq!(Monitor::open(&plan, wrong).unwrap_err(), names("r0", "r1"));
}

#[test]
fn a_buffer_grows_to_its_limit_and_no_further() {
    let plan = plan_of(&[(A, B, &[(0, 0)])]);
    let mut monitor = open(&plan, fifo(3, WhenFull::Grow { max: 4 }));
    for _ in 0..4 {
        assert_eq!(monitor.send(line(A, B, 0)), Ok(Sent::Queued));
    }
    assert_eq!(monitor.send(line(A, B, 0)), Err(SendError::Full));
    assert_eq!(monitor.queued(A, B), 4);
    assert_eq!(monitor.recv(B, None).unwrap().woken, Some(A));
    let shrinks = setup(&plan, fifo(3, WhenFull::Grow { max: 2 }));
    assert_eq!(Monitor::open(&plan, shrinks).unwrap_err(), OpenError::Capacity);
}

#[test]
fn an_overflow_is_an_error_and_nothing_else() {
    let plan = plan_of(&[(A, B, &[(0, 0)])]);
    let mut monitor = open(&plan, fifo(1, WhenFull::Error));
    monitor.send(line(A, B, 0)).unwrap();
    let before = monitor.hash();
    assert_eq!(monitor.send(line(A, B, 0)), Err(SendError::Overflow));
    assert_eq!(monitor.hash(), before);
    assert_eq!(monitor.recv(B, None).unwrap().woken, None);
}

#[test]
fn a_message_that_has_to_wait_uses_up_no_sequence() {
    let plan = plan_of(&[(A, B, &[(0, 0)])]);
    let mut monitor = open(&plan, fifo(1, BLOCK));
    monitor.send(line(A, B, 0)).unwrap();
    for _ in 0..5 {
        assert_eq!(monitor.send(line(A, B, 0)), Err(SendError::Full));
    }
    assert_eq!(monitor.position(A, B).unwrap().sequence, 1);
    assert_eq!(monitor.recv(B, None).unwrap().sequence, 0);
    monitor.send(line(A, B, 0)).unwrap();
    assert_eq!(monitor.recv(B, None).unwrap().sequence, 1);
}

#[test]
fn a_refused_opening_leaves_nothing() {
    let plan = plan_of(&[(A, B, &[(0, 1)]), (B, C, &[(1, 9)])]);
    let mut wrong = setup(&plan, fifo(1, BLOCK));
    wrong.channels.pop();
    for _ in 0..10 {
        let unhandled = OpenError::Unhandled { from: "r1".into(), to: "r2".into() };
        assert_eq!(Monitor::open(&plan, wrong.clone()).unwrap_err(), unhandled);
    }
    assert_eq!(Arc::strong_count(&plan), 1);
}

#[test]
fn a_role_closes_only_where_it_may_and_not_over_what_was_sent() {
    let plan = plan_of(&[(A, B, &[(0, 1)]), (B, C, &[(1, 9)])]);
    let mut may = setup(&plan, fifo(1, BLOCK));
    may.closers.push(Closer { role: A, may_abort: false });
    let mut monitor = Monitor::open(&plan, may).unwrap();
    monitor.send(line(A, B, 0)).unwrap();
    assert_eq!(monitor.close(By::Role(B), Close::Drain), Err(CloseError::NotAllowed));
    assert_eq!(monitor.close(By::Role(A), Close::Abort), Err(CloseError::NotAllowed));
    assert_eq!(*monitor.status(), Status::Active);

    monitor.close(By::Role(A), Close::Drain).unwrap();
    assert_eq!(*monitor.status(), Status::Draining { by: By::Role(A) });
    assert_eq!(monitor.close(By::Operator, Close::Drain), Err(CloseError::Ended));
    assert_eq!(monitor.send(line(B, C, 1)), Err(SendError::Ended));
    assert_eq!(monitor.recv(C, None), Err(RecvError::Ended), "nothing will come");
    assert_eq!(monitor.recv(B, None).unwrap().message, Message(0));
    assert_eq!(*monitor.status(), Status::Closed { by: Some(By::Role(A)) });
    assert_eq!(monitor.lost(), []);
    let closed = events(&mut monitor).pop().unwrap();
    assert_eq!(closed.what, What::Closed { lost: Box::default() });
}
