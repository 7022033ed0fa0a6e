//! What a keeper finds of a session's protocol: snapshots and events, and any course of a session.

#![no_main]

use std::sync::Arc;
use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use sessile_fuzz::{Draw, plant};
use sessile_protocol::machine::{
    Choice, Direction, Machine, Message, Protocol, Role, Signature, State, Step,
};
use sessile_protocol::monitor::event::{By, Close, Event, Payload};
use sessile_protocol::monitor::setup::{
    Authentication, Binding, Buffer, Channel, Closer, Handler, OnViolation, Participant, SessionId, Setup,
    WhenFull,
};
use sessile_protocol::monitor::{Line, Monitor, replay};
use sessile_protocol::plan::{Digest, Edge, Plan, Verdict};

static PLAN: LazyLock<Arc<Plan>> =
    LazyLock::new(|| Arc::new(Plan::compile(&protocol(), Verdict::Proved).expect("these are machines")));

fuzz_target!(init: plant(seeds()), |bytes: &[u8]| {
    let mut draw = Draw(bytes);
    match draw.byte() % 3 {
        0 => event(draw.0),
        1 => snapshot(draw.0),
        _ => course(draw),
    }
});

/// One asks the other, again and again, and tells a third in the end; who takes too long says so.
fn protocol() -> Protocol {
    use Direction::{Receive, Send};
    let step = |direction, peer, message, next, late| Step {
        direction,
        peer: Role(peer),
        message: Message(message),
        next: State(next),
        late,
    };
    let state = |steps: &[Step], seconds: u64| Choice {
        steps: steps.into(),
        within: (seconds > 0).then(|| Duration::from_secs(seconds)),
    };
    let done = || state(&[], 0);
    let first = [
        state(&[step(Send, 1, 0, 1, false), step(Send, 1, 1, 2, false), step(Send, 1, 2, 2, true)], 5),
        state(&[step(Receive, 1, 3, 0, false)], 0),
        state(&[step(Send, 2, 4, 3, false)], 0),
        done(),
    ];
    let second = [
        state(
            &[step(Receive, 0, 0, 1, false), step(Receive, 0, 1, 2, false), step(Receive, 0, 2, 2, false)],
            0,
        ),
        state(&[step(Send, 0, 3, 0, false)], 60),
        done(),
    ];
    let third = [state(&[step(Receive, 0, 4, 1, false)], 0), done()];
    Protocol {
        name: "Ask".into(),
        roles: ["a", "b", "c"].map(Into::into).into(),
        messages: ["ask", "enough", "late", "answer", "told"]
            .map(|label| Signature { label: label.into(), payload: Vec::new() })
            .into(),
        machines: [&first[..], &second, &third].map(|states| Machine { states: states.into() }).into(),
    }
}

fn setup(kind: u8) -> Setup {
    let when_full =
        [WhenFull::Block, WhenFull::Error, WhenFull::Grow { max: 3 }, WhenFull::Drop][usize::from(kind & 3)];
    let channel = |edge: &Edge| Channel {
        from: edge.from,
        to: edge.to,
        handler: Handler::Queue,
        buffer: Buffer::Fifo { capacity: 1, when_full },
        lossy: true,
    };
    Setup {
        session: SessionId([3; 16]),
        bindings: [0, 1, 2]
            .map(|role| Binding {
                role: Role(role),
                participant: Participant::new(&format!("p{role}")),
                key: None,
            })
            .into(),
        channels: PLAN.edges().iter().map(channel).collect(),
        closers: vec![Closer { role: Role(1), may_abort: false }],
        on_violation: if kind & 4 == 0 { OnViolation::Refuse } else { OnViolation::Fault },
        authentication: Authentication::Unsigned,
        longest_payload: 16,
    }
}

fn event(bytes: &[u8]) {
    if let Ok(event) = Event::decode(bytes) {
        assert_eq!(event.encode(), bytes, "an event has one form");
        let _ = replay(&PLAN, [event]);
    }
}

fn snapshot(content: &[u8]) {
    let bytes = [content, &Digest::of(content).0].concat();
    let Ok(mut monitor) = Monitor::restore(&PLAN, &bytes) else { return };
    assert_eq!(monitor.snapshot(), bytes, "a state has one form");
    for role in [0, 1, 2].map(Role) {
        let offered: Vec<_> = monitor.offered(role).collect();
        for offer in offered {
            let _ = monitor.recv(role, Some(offer.peer));
            let (to, message) = (offer.peer, offer.message);
            let _ = monitor.send(Line { from: role, to, message, payload: Payload::EMPTY, seal: None });
        }
    }
    monitor.tick(Duration::MAX);
    let _ = monitor.close(By::Operator, Close::Abort);
}

/// Whatever is done, the log makes the same state again, and so does a snapshot in the middle.
fn course(mut draw: Draw<'_>) {
    let kind = draw.byte();
    let mut monitor = Monitor::open(&PLAN, setup(kind)).expect("the setup fits");
    let mut log = Vec::new();
    let mut halfway = None;
    while !draw.is_empty() {
        act(&mut monitor, &mut draw);
        log.extend(std::iter::from_fn(|| monitor.next_event()));
        if halfway.is_none() && log.len() > 4 {
            halfway = Some((monitor.snapshot(), monitor.hash(), log.len()));
        }
    }
    log.extend(std::iter::from_fn(|| monitor.next_event()));
    let log: Vec<Event> =
        log.iter().map(|event| Event::decode(&event.encode()).expect("it was just written")).collect();
    let again = replay(&PLAN, log.iter().cloned()).expect("it happened");
    assert_eq!(again.hash(), monitor.hash(), "the log makes the same state");
    if let Some((bytes, hash, count)) = halfway {
        let mut restored = Monitor::restore(&PLAN, &bytes).expect("it was just written");
        assert_eq!(restored.hash(), hash, "the snapshot makes the same state");
        restored.follow(log[count..].iter().cloned()).expect("it happened");
        assert_eq!(restored.hash(), monitor.hash(), "and goes on to the same");
    }
}

fn act(monitor: &mut Monitor, draw: &mut Draw<'_>) {
    let choice = draw.byte();
    let (role, peer) = (Role(u16::from(choice >> 4 & 3)), Role(u16::from(choice >> 6)));
    let before = monitor.hash();
    match choice & 15 {
        0..=6 => {
            let (message, payload) = (Message(u32::from(draw.byte() % 6)), Payload::new(draw.run()));
            let is_offered = monitor.offered(role).any(|offer| {
                (offer.direction, offer.peer, offer.message) == (Direction::Send, peer, message)
            });
            let sent = monitor.send(Line { from: role, to: peer, message, payload, seal: None });
            assert!(sent.is_err() || is_offered, "only what is offered is sent");
        }
        7 | 8 => drop(monitor.recv(role, Some(peer))),
        9 | 10 => drop(monitor.recv(role, None)),
        11 | 12 => {
            let now = monitor.now() + Duration::from_millis(u64::from(draw.word()));
            monitor.tick(now);
        }
        13 => {
            let to = Participant::new(&String::from_utf8_lossy(draw.bytes(4)));
            let _ = monitor.delegate(By::Role(peer), role, to, None);
        }
        14 => {
            let how = if draw.byte() & 1 == 0 { Close::Drain } else { Close::Abort };
            let _ = monitor.close(By::Role(role), how);
        }
        _ => {
            let line =
                Line { from: role, to: peer, message: Message(0), payload: Payload::EMPTY, seal: None };
            let _ = monitor.admit(line);
            let _ = monitor.peek(role, Some(peer));
            assert_eq!(monitor.hash(), before, "asking changes nothing");
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let mut monitor = Monitor::open(&PLAN, setup(2)).expect("the setup fits");
    let said =
        Line { from: Role(0), to: Role(1), message: Message(0), payload: Payload::new(b"why"), seal: None };
    monitor.send(said).expect("it is offered");
    let bytes = monitor.snapshot();
    let mut seeds = vec![
        [&[1], &bytes[..bytes.len() - 32]].concat(),
        b"\x02\x00\x40\x00\x01x\x19\x10\x03\x00\x09\x40\x01\x00\x19\x80\x04\x00\x29".to_vec(),
        b"\x02\x06\x4b\xff\xff\x40\x02\x00\x1d\x1dnew\x1e\x00".to_vec(),
    ];
    let events = std::iter::from_fn(|| monitor.next_event());
    seeds.extend(events.map(|event| [&[0], &event.encode()[..]].concat()));
    seeds
}
