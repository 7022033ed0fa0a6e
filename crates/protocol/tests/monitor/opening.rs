//! What a session is opened with, and what is refused.

use std::sync::Arc;

use sessile_protocol::machine::{Choice, Machine, Protocol, Role, State};
use sessile_protocol::monitor::event::{Status, What};
use sessile_protocol::monitor::setup::{Buffer, Closer, OnViolation, OpenError, Participant, Setup};
use sessile_protocol::monitor::{Monitor, Sent};
use sessile_protocol::plan::{CompileError, Plan, Verdict, WrongState};

use crate::global::Global;
use crate::support::{A, B, BLOCK, C, events, fifo, global, key, line, open, plan, plan_of, setup, signed};

fn three() -> Global {
    global(&[(A, B, &[(0, 1), (1, 3)]), (B, C, &[(2, 2)]), (C, A, &[(3, 0)]), (B, C, &[(4, 9)])])
}

fn refused(change: impl FnOnce(&mut Setup)) -> OpenError {
    let plan = plan(&three().protocol().unwrap());
    let mut setup = setup(&plan, fifo(2, BLOCK));
    change(&mut setup);
    Monitor::open(&plan, setup).expect_err("it is to be refused")
}

#[test]
fn the_first_event_says_what_was_opened() {
    let plan = plan(&three().protocol().unwrap());
    let mut unsorted = setup(&plan, fifo(2, BLOCK));
    unsorted.bindings.reverse();
    unsorted.channels.reverse();
    let mut monitor = Monitor::open(&plan, unsorted).unwrap();
    let [opened] = &events(&mut monitor)[..] else { panic!("one event") };
    let sorted = Arc::new(setup(&plan, fifo(2, BLOCK)));
    assert_eq!(opened.what, What::Opened { plan: plan.hash(), setup: sorted });
    assert_eq!((opened.index, monitor.epoch(), monitor.status()), (0, 0, &Status::Active));
    assert_eq!(monitor.participant(B), Some(&Participant::new("p1")));
    assert_eq!(monitor.role_of(&Participant::new("p2")), Some(C));
    assert_eq!(monitor.role_of(&Participant::new("p3")), None);
}

#[test]
fn an_unproved_protocol_is_refused() {
    let plan = Arc::new(Plan::compile(&three().protocol().unwrap(), Verdict::Unknown).unwrap());
    let setup = setup(&plan, fifo(2, BLOCK));
    assert_eq!(Monitor::open(&plan, setup).unwrap_err(), OpenError::Unproved);
}

#[test]
fn each_role_is_bound_once_and_to_somebody_else() {
    let arity = OpenError::Arity { needed: 3, given: 2 };
    assert_eq!(refused(|setup| drop(setup.bindings.pop())), arity);
    assert_eq!(refused(|setup| setup.bindings[1].role = A), OpenError::BoundTwice("r0".into()));
    assert_eq!(refused(|setup| setup.bindings[1].role = Role(9)), OpenError::UnknownRole(Role(9)));
    let one = Participant::new("p0");
    let twice = |setup: &mut Setup| setup.bindings[2].participant = Participant::new("p0");
    assert_eq!(refused(twice), OpenError::TwoRoles(one.clone()));
    assert_eq!(refused(|setup| setup.bindings[0].participant = Participant::new("")), OpenError::Name);
    let needless = |setup: &mut Setup| setup.bindings[0].key = Some(key(A).public());
    assert_eq!(refused(needless), OpenError::Key(one));
    let shared = |setup: &mut Setup| {
        *setup = signed(setup.clone(), OnViolation::Refuse);
        setup.bindings[1].key = Some(key(A).public());
    };
    assert_eq!(refused(shared), OpenError::KeyTwice(Participant::new("p1")));
}

#[test]
fn each_direction_that_is_used_is_handled_once() {
    for index in 0..3 {
        let unhandled = refused(|setup| setup.channels.truncate(index));
        assert!(matches!(unhandled, OpenError::Unhandled { .. }), "{unhandled:?}");
    }
    let unused = OpenError::UnusedChannel { from: "r0".into(), to: "r1".into() };
    assert_eq!(refused(|setup| setup.channels.push(setup.channels[0])), unused);
    let backwards = |setup: &mut Setup| {
        let mut channel = setup.channels[0];
        (channel.from, channel.to) = (channel.to, channel.from);
        setup.channels.push(channel);
    };
    assert_eq!(refused(backwards), OpenError::UnusedChannel { from: "r1".into(), to: "r0".into() });
    let nowhere = |setup: &mut Setup| {
        let mut channel = setup.channels[0];
        channel.to = Role(7);
        setup.channels.push(channel);
    };
    assert_eq!(refused(nowhere), OpenError::UnknownRole(Role(7)));
    let closer = Closer { role: Role(5), may_abort: true };
    assert_eq!(refused(|setup| setup.closers.push(closer)), OpenError::UnknownRole(Role(5)));
    for capacity in [0, (1 << 16) + 1] {
        assert_eq!(refused(|setup| setup.channels[0].buffer = fifo(capacity, BLOCK)), OpenError::Capacity);
    }
}

#[test]
fn only_what_makes_no_difference_is_replaced() {
    let latest = |nodes| {
        let plan = plan_of(nodes);
        let mut setup = setup(&plan, fifo(1, BLOCK));
        setup.channels[0].buffer = Buffer::Latest;
        Monitor::open(&plan, setup)
    };
    let mut monitor = latest(&[(A, B, &[(0, 0)])]).unwrap();
    assert_eq!(monitor.send(line(A, B, 0)), Ok(Sent::Queued));
    assert_eq!(monitor.send(line(A, B, 0)), Ok(Sent::Replaced));
    assert_eq!(monitor.send(line(A, B, 0)), Ok(Sent::Replaced));
    let received = monitor.recv(B, None).unwrap();
    assert_eq!((received.sequence, received.woken), (2, None));
    assert_eq!(monitor.queued(A, B), 0);

    let not = OpenError::NotReplaceable { from: "r0".into(), to: "r1".into() };
    // Another label may follow; the receiver goes on to another state; it answers each.
    assert_eq!(latest(&[(A, B, &[(0, 0), (1, 9)])]).unwrap_err(), not);
    assert_eq!(latest(&[(A, B, &[(0, 0), (1, 0)])]).unwrap_err(), not);
    assert_eq!(latest(&[(A, B, &[(0, 1)]), (A, B, &[(0, 9)])]).unwrap_err(), not);
    assert_eq!(latest(&[(A, B, &[(0, 1)]), (B, A, &[(1, 0)])]).unwrap_err(), not);
}

#[test]
fn a_session_in_which_nobody_says_anything_is_over_at_once() {
    let protocol = Protocol {
        name: "Silent".into(),
        roles: vec!["r0".into()],
        messages: Vec::new(),
        machines: vec![Machine { states: vec![Choice::default()] }],
    };
    let mut monitor = open(&plan(&protocol), fifo(1, BLOCK));
    assert_eq!(*monitor.status(), Status::Closed { by: None });
    assert_eq!(events(&mut monitor).len(), 3);
}

#[test]
fn a_plan_does_not_depend_on_how_states_are_numbered() {
    let protocol = three().protocol().unwrap();
    let mut renumbered = protocol.clone();
    for machine in &mut renumbered.machines {
        // The states but the first in the opposite order, and one more that nothing leads to.
        let last = machine.states.len() as u32;
        machine.states[1..].reverse();
        let steps = machine.states.iter_mut().flat_map(|state| &mut state.steps);
        steps.filter(|step| step.next.0 > 0).for_each(|step| step.next = State(last - step.next.0));
        machine.states.iter_mut().for_each(|state| state.steps.reverse());
        machine.states.push(machine.states[0].clone());
    }
    assert_ne!(protocol, renumbered);
    assert_eq!(plan(&protocol).hash(), plan(&renumbered).hash());
    assert_eq!(plan(&protocol).edges(), plan(&renumbered).edges());

    let hash = plan(&protocol).hash();
    assert_eq!(
        hash.to_string(),
        "cacb9408aa2cb125eff946e8028cd2d9c63a1aace70a33f7f0da40a759a0b82e",
        "the same in every run"
    );
    let mut other = protocol.clone();
    other.messages[0].payload.push("String".into());
    assert_ne!(plan(&other).hash(), hash);
    let mut other = protocol;
    other.machines[0].states[0].within = Some(std::time::Duration::from_secs(1));
    assert_ne!(plan(&other).hash(), hash);
}

#[test]
fn names_and_labels_are_found() {
    let mut protocol = three().protocol().unwrap();
    for (index, label) in ["b", "a", "b", "c", "b"].into_iter().enumerate() {
        protocol.messages[index].label = label.into();
        protocol.messages[index].payload = vec![format!("T{index}").into()];
    }
    let plan = plan(&protocol);
    assert_eq!(plan.role("r1"), Some(B));
    assert_eq!(plan.role("r3"), None);
    let called = |label| plan.messages_called(label).iter().map(|message| message.0).collect::<Vec<_>>();
    assert_eq!(
        (called("a"), called("b"), called("c"), called("d")),
        (vec![1], vec![0, 2, 4], vec![3], vec![])
    );
}

#[test]
fn what_are_no_machines_is_no_plan() {
    let wrong = |change: fn(&mut Protocol)| {
        let mut protocol = three().protocol().unwrap();
        change(&mut protocol);
        Plan::compile(&protocol, Verdict::Proved).unwrap_err()
    };
    let state = |change: fn(&mut Protocol)| match wrong(change) {
        CompileError::Machine { what, .. } => what,
        other => panic!("{other}"),
    };
    assert_eq!(wrong(|p| drop(p.machines.pop())), CompileError::Machines { roles: 3, machines: 2 });
    assert_eq!(wrong(|p| p.roles[1] = "r0".into()), CompileError::Twice("r0".into()));
    assert_eq!(wrong(|p| p.messages[1].label = "m0".into()), CompileError::Twice("m0".into()));
    assert_eq!(
        wrong(|p| p.roles.extend((0..300).map(|n| n.to_string().into()))),
        CompileError::TooMany("roles")
    );
    assert_eq!(state(|p| p.machines[0].states.clear()), WrongState::Dangling);
    assert_eq!(state(|p| p.machines[0].states[0].steps[0].next = State(99)), WrongState::Dangling);
    assert_eq!(state(|p| p.machines[0].states[0].steps[0].peer = Role(99)), WrongState::Dangling);
    assert_eq!(state(|p| p.machines[0].states[0].steps[0].message.0 = 99), WrongState::Dangling);
    assert_eq!(state(|p| p.machines[0].states[0].steps[0].peer = A), WrongState::Oneself);
    assert_eq!(state(|p| p.machines[0].states[0].steps[1].message.0 = 0), WrongState::Ambiguous);
    assert_eq!(state(|p| p.machines[0].states[0].steps[1].late = true), WrongState::Late);
    let mixed = |p: &mut Protocol| {
        let receive = p.machines[1].states[0].steps[0];
        p.machines[2].states[0].steps.push(receive);
        p.machines[2].states[0].steps[0].direction = sessile_protocol::machine::Direction::Send;
    };
    assert_eq!(state(mixed), WrongState::Mixed);
}
