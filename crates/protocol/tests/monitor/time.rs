//! Deadlines, by the time that the monitor is told.

use std::sync::Arc;
use std::time::Duration;

use sessile_protocol::machine::Message;
use sessile_protocol::monitor::event::{Code, Offending, Status, What};
use sessile_protocol::monitor::{Monitor, ReplayError, SendError, Sent, replay};
use sessile_protocol::plan::Plan;

use crate::support::{A, B, BLOCK, C, code, events, fifo, global, line, open, plan};

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A says 0 to B within five seconds, again and again; with `late`, it says 1 once they have passed,
/// and that is the end.
fn ping(late: bool) -> Arc<Plan> {
    let mut protocol = global(&[(A, B, &[(0, 0), (1, 9)])]).protocol().unwrap();
    for machine in &mut protocol.machines {
        // What the receiver's machine says of deadlines is the sender's to keep.
        machine.states[0].within = Some(seconds(5));
        machine.states[0].steps[1].late = late;
    }
    plan(&protocol)
}

fn said(monitor: &Monitor) -> Vec<u32> {
    monitor.offered(A).map(|offer| offer.message.0).collect()
}

#[test]
fn what_is_late_is_offered_when_the_rest_has_expired() {
    let plan = ping(true);
    let mut monitor = open(&plan, fifo(4, BLOCK));
    assert_eq!(said(&monitor), [0]);
    assert_eq!(code(monitor.send(line(A, B, 1))), Code::TooEarly);
    assert_eq!(monitor.tick(seconds(4)), []);
    assert_eq!(monitor.send(line(A, B, 0)), Ok(Sent::Queued));

    // Saying something entered the state again, four seconds in.
    assert_eq!(monitor.next_deadline(), Some(seconds(9)));
    assert_eq!(monitor.tick(seconds(8)), []);
    assert_eq!(said(&monitor), [0]);
    assert_eq!(monitor.tick(seconds(9)), [A]);
    assert_eq!(said(&monitor), [1]);
    assert_eq!((monitor.next_deadline(), monitor.tick(seconds(10))), (None, vec![]));
    assert_eq!(code(monitor.send(line(A, B, 0))), Code::TooLate);
    assert_eq!(monitor.send(line(A, B, 1)), Ok(Sent::Queued));

    // What was sent in time is received whenever.
    monitor.tick(seconds(1000));
    assert_eq!(monitor.recv(B, None).unwrap().message, Message(0));
    assert_eq!(monitor.recv(B, None).unwrap().message, Message(1));
    assert_eq!(*monitor.status(), Status::Closed { by: None });
    let log = events(&mut monitor);
    assert_eq!(replay(&plan, log).unwrap().hash(), monitor.hash());
}

#[test]
fn silence_without_an_alternative_ends_the_session() {
    let plan = ping(false);
    let mut monitor = open(&plan, fifo(4, BLOCK));
    monitor.tick(seconds(3));
    monitor.send(line(A, B, 0)).unwrap();
    monitor.tick(seconds(8) - Duration::from_nanos(1));
    assert_eq!(*monitor.status(), Status::Active);
    monitor.tick(seconds(8));
    let Status::Faulted { violation } = monitor.status() else { panic!("{:?}", monitor.status()) };
    assert_eq!((violation.code, violation.role), (Code::Deadline, A));
    assert_eq!(violation.offending, Offending::Silence { within: seconds(5) });
    assert_eq!(monitor.lost().len(), 1);
    let log = events(&mut monitor);
    assert!(matches!(&log.last().unwrap().what, What::Faulted { lost, .. } if lost.len() == 1));
    assert_eq!(replay(&plan, log).unwrap().hash(), monitor.hash());
}

/// The count that the monitor is told stands still while the session is paused, and whatever dies
/// meanwhile: the time since the state was entered is what is kept.
#[test]
fn time_that_is_not_told_does_not_pass() {
    let plan = ping(true);
    let mut monitor = open(&plan, fifo(4, BLOCK));
    monitor.tick(seconds(3));
    monitor.send(line(A, B, 0)).unwrap();
    monitor.tick(seconds(4));
    let mut monitor = Monitor::restore(&plan, &monitor.snapshot()).unwrap();
    assert_eq!((monitor.now(), monitor.next_deadline()), (seconds(4), Some(seconds(8))));
    monitor.tick(seconds(2));
    assert_eq!(monitor.now(), seconds(4), "nor does it go back");
    assert_eq!(said(&monitor), [0]);
    assert_eq!(monitor.tick(seconds(8)), [A]);
}

#[test]
fn a_message_that_is_refused_or_has_to_wait_gains_no_time() {
    let mut monitor = open(&ping(false), fifo(1, BLOCK));
    monitor.send(line(A, B, 0)).unwrap();
    monitor.tick(seconds(4));
    assert_eq!(monitor.send(line(A, B, 0)), Err(SendError::Full));
    assert!(monitor.send(line(B, A, 0)).is_err());
    monitor.tick(seconds(5));
    assert!(matches!(monitor.status(), Status::Faulted { .. }));
}

#[test]
fn a_session_that_drains_waits_for_nobody_to_speak() {
    use sessile_protocol::monitor::event::{By, Close};
    let mut monitor = open(&ping(false), fifo(4, BLOCK));
    monitor.send(line(A, B, 0)).unwrap();
    monitor.close(By::Operator, Close::Drain).unwrap();
    assert_eq!((monitor.next_deadline(), monitor.tick(seconds(100))), (None, vec![]));
    monitor.recv(B, None).unwrap();
    assert_eq!(*monitor.status(), Status::Closed { by: Some(By::Operator) });
}

/// Of two that are late at once, the one who was first is at fault, whatever the time is told.
#[test]
fn the_first_deadline_to_pass_is_what_ended_it() {
    let mut protocol = global(&[(A, C, &[(0, 1)]), (B, C, &[(1, 9)])]).protocol().unwrap();
    protocol.machines[0].states[0].within = Some(seconds(9));
    protocol.machines[1].states[0].within = Some(seconds(2));
    let mut monitor = open(&plan(&protocol), fifo(4, BLOCK));
    assert_eq!(monitor.next_deadline(), Some(seconds(2)));
    monitor.tick(seconds(100));
    let Status::Faulted { violation } = monitor.status() else { panic!("{:?}", monitor.status()) };
    assert_eq!((violation.role, &violation.offending), (B, &Offending::Silence { within: seconds(2) }));
}

#[test]
fn a_log_in_which_time_goes_back_is_none() {
    let plan = ping(true);
    let mut monitor = open(&plan, fifo(4, BLOCK));
    for second in 1..3 {
        monitor.tick(seconds(second));
        monitor.send(line(A, B, 0)).unwrap();
    }
    let mut log = events(&mut monitor);
    assert!(replay(&plan, log.clone()).is_ok());
    log[2].at = seconds(0);
    assert_eq!(replay(&plan, log).unwrap_err(), ReplayError::Impossible { index: 2 });
}

/// What the guard held for too long is too late.
#[test]
fn what_was_admitted_before_a_deadline_is_asked_again_after_it() {
    let mut monitor = open(&ping(true), fifo(4, BLOCK));
    let held = monitor.admit(line(A, B, 0)).unwrap();
    monitor.tick(seconds(5));
    assert_eq!(code(monitor.commit(held)), Code::TooLate);
}
