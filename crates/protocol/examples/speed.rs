//! What the monitor costs: `cargo xtask bench protocol` runs it.
//!
//! Prints a line for each row: its name, the nanoseconds of one, how many allocations one makes. With a folder
//! of the reference tool's files as argument it checks these too.

#![allow(clippy::disallowed_methods, reason = "measuring takes a clock")]
#![allow(clippy::unwrap_used, reason = "what cannot go on ends there")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use sessile_protocol::machine::{
    Choice, Direction, Machine, Message, Protocol, Role, Signature, State, Step,
};
use sessile_protocol::monitor::endpoint::Endpoint;
use sessile_protocol::monitor::event::Payload;
use sessile_protocol::monitor::seal::SecretKey;
use sessile_protocol::monitor::setup::{
    Authentication, Binding, Buffer, Channel, Handler, OnViolation, Participant, SessionId, Setup, WhenFull,
};
use sessile_protocol::monitor::{Line, Monitor};
use sessile_protocol::plan::{Place, Plan, Verdict};
use sessile_protocol::{Discipline, Limits, Source, check_all};

const EVENTS: usize = 100_000_000;
const SEALED: usize = 5_000;
const OPENED: usize = 100;
const ROUNDS: usize = 2_001;

/// A conversation of three: a prompt, an answer in pieces, a word to whoever looks on.
const PROMPT: u32 = 0;
const PIECE: u32 = 1;
const DONE: u32 = 2;
const NOTE: u32 = 3;
const USER: Role = Role(0);
const AGENT: Role = Role(1);
const AUDIT: Role = Role(2);
/// One round, again and again.
const ROUND: [(Role, Role, u32); 6] = [
    (USER, AGENT, PROMPT),
    (AGENT, USER, PIECE),
    (AGENT, USER, PIECE),
    (AGENT, USER, PIECE),
    (AGENT, USER, DONE),
    (USER, AUDIT, NOTE),
];

fn protocol() -> Protocol {
    let step = |direction, peer, message, next| Step {
        direction,
        peer,
        message: Message(message),
        next: State(next),
        late: false,
    };
    let state = |steps: &[Step]| Choice { steps: steps.into(), within: None };
    use Direction::{Receive, Send};
    let user = [
        state(&[step(Send, AGENT, PROMPT, 1)]),
        state(&[step(Receive, AGENT, PIECE, 1), step(Receive, AGENT, DONE, 2)]),
        state(&[step(Send, AUDIT, NOTE, 0)]),
    ];
    let agent = [
        state(&[step(Receive, USER, PROMPT, 1)]),
        state(&[step(Send, USER, PIECE, 1), step(Send, USER, DONE, 0)]),
    ];
    let audit = [state(&[step(Receive, USER, NOTE, 0)])];
    Protocol {
        name: "Conversation".into(),
        roles: ["user", "agent", "audit"].map(Into::into).into(),
        messages: ["prompt", "piece", "done", "note"]
            .map(|label| Signature { label: label.into(), payload: vec!["Text".into()] })
            .into(),
        machines: [&user[..], &agent, &audit].map(|states| Machine { states: states.into() }).into(),
    }
}

fn key(role: Role) -> SecretKey {
    SecretKey::from_seed(&[role.0 as u8 + 1; 32])
}

fn setup(plan: &Plan, signed: bool) -> Setup {
    let binding = |index: usize| Binding {
        role: Role(index as u16),
        participant: Participant::new(["ann", "app:main", "app:audit"][index]),
        key: signed.then(|| key(Role(index as u16)).public()),
    };
    let buffer = Buffer::Fifo { capacity: 16, when_full: WhenFull::Block };
    Setup {
        session: SessionId([7; 16]),
        bindings: (0..3).map(binding).collect(),
        channels: Channel::each(plan, Handler::Queue, buffer),
        closers: Vec::new(),
        on_violation: OnViolation::Refuse,
        authentication: if signed {
            Authentication::Signed { on_forgery: OnViolation::Refuse }
        } else {
            Authentication::Unsigned
        },
        longest_payload: 1 << 20,
    }
}

/// Nanoseconds of each of `count`, and allocations of each.
fn measure(count: usize, mut work: impl FnMut()) -> (f64, f64) {
    let mut nanoseconds = 0.0;
    let counted = allocation_counter::measure(|| {
        let begun = Instant::now();
        work();
        nanoseconds = begun.elapsed().as_secs_f64() * 1e9;
    });
    (nanoseconds / count as f64, counted.count_total as f64 / count as f64)
}

fn row(name: &str, (nanoseconds, allocations): (f64, f64)) {
    println!("{name}\t{nanoseconds:.1}\t{allocations:.3}");
}

/// Finds the step of each event in the tables and moves on, first as who sends, then as who receives.
fn steps(plan: &Plan, places: &mut [Place; 3], events: usize) {
    let mut done = 0;
    while done < events {
        for (from, to, message) in black_box(ROUND) {
            let message = Message(message);
            for (role, direction, peer) in [(from, Direction::Send, to), (to, Direction::Receive, from)] {
                let place = &mut places[usize::from(role.0)];
                *place = plan.step(*place, direction, peer, message).expect("the protocol allows it").next;
                done += 1;
            }
        }
    }
}

fn pairs(monitor: &mut Monitor, count: usize) {
    let mut done = 0;
    while done < count {
        for (from, to, message) in black_box(ROUND) {
            let line = Line { from, to, message: Message(message), payload: Payload::EMPTY, seal: None };
            monitor.send(line).expect("the protocol allows it");
            black_box(monitor.next_event());
            black_box(monitor.recv(to, Some(from)).expect("it was sent"));
            black_box(monitor.next_event());
            done += 1;
        }
    }
}

/// Judges every file as the reference tool does; their number.
fn corpus(folder: &Path) -> usize {
    let labels = std::fs::read_to_string(folder.join("labels.tsv")).unwrap();
    let names = labels.lines().skip(1).filter_map(|line| line.split('\t').nth(1));
    let mut files = 0;
    for name in names {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        let mut loader = |module: &str| {
            std::fs::read_to_string(folder.join(format!("{}.scr", module.replace('.', "/")))).ok()
        };
        let source = Source { name, text: &text };
        let _ = black_box(check_all(&source, &mut loader, Discipline::Scribble, Limits::default()));
        files += 1;
    }
    files
}

fn main() {
    let plan = Arc::new(Plan::compile(&protocol(), Verdict::Proved).unwrap());

    let mut places = [USER, AGENT, AUDIT].map(|role| plan.start(role).unwrap());
    row("a step of the tables", measure(EVENTS, || steps(&plan, &mut places, EVENTS)));

    let mut monitor = Monitor::open(&plan, setup(&plan, false)).unwrap();
    pairs(&mut monitor, 6);
    let tenth = EVENTS / 2 / 10;
    let tenths: Vec<_> = (0..10).map(|_| measure(tenth, || pairs(&mut monitor, tenth))).collect();
    let mut sorted: Vec<f64> = tenths.iter().map(|tenth| tenth.0).collect();
    sorted.sort_by(f64::total_cmp);
    let median = (sorted[5], tenths.iter().map(|tenth| tenth.1).sum());
    let half = |pair: (f64, f64)| (pair.0 / 2.0, pair.1 / 2.0);
    row("a monitor step", half(median));
    row("  in the first tenth of 10^8", half(tenths[0]));
    row("  in the last tenth of 10^8", half(tenths[9]));
    row("send, queue and receive", median);

    let payload = Payload::new(&[b'x'; 100]);
    let mut monitor = Monitor::open(&plan, setup(&plan, true)).unwrap();
    let mut endpoints = [USER, AGENT, AUDIT].map(|role| {
        let name = &plan.roles()[usize::from(role.0)];
        Endpoint::new(key(role), monitor.session(), plan.hash(), 0, name)
    });
    let mut lines = Vec::new();
    let signing = measure(SEALED, || {
        for (from, to, message) in ROUND.into_iter().cycle().take(SEALED) {
            let (endpoint, name) = (&mut endpoints[usize::from(from.0)], &plan.roles()[usize::from(to.0)]);
            let sealed = endpoint.seal(name, &plan.messages()[message as usize], payload.bytes());
            let seal = Some(Box::new(sealed.seal.clone()));
            lines.push(Line { from, to, message: Message(message), payload: payload.clone(), seal });
            endpoint.taken(sealed);
        }
    });
    row("signing a message", signing);
    let verified = measure(SEALED, || {
        for line in lines.drain(..) {
            let (from, to) = (line.from, line.to);
            monitor.send(line).expect("it is signed");
            black_box(monitor.next_event());
            black_box(monitor.recv(to, Some(from)).expect("it was sent"));
            black_box(monitor.next_event());
        }
    });
    row("the same, signed", verified);

    let mut times: Vec<(f64, f64)> = (0..ROUNDS)
        .map(|_| {
            let mut setups: Vec<Setup> = (0..OPENED).map(|_| setup(&plan, false)).collect();
            let mut opened = Vec::with_capacity(OPENED);
            measure(OPENED, || {
                opened.extend(setups.drain(..).map(|setup| Monitor::open(&plan, setup).unwrap()));
            })
        })
        .collect();
    times.sort_by(|one, other| one.0.total_cmp(&other.0));
    row("opening from a compiled plan", times[ROUNDS / 2]);

    if let Some(folder) = std::env::args_os().nth(1) {
        let mut files = 0;
        let all = measure(1, || files = corpus(Path::new(&folder)));
        row(&format!("checking all {files} files of the corpus"), all);
    }
}
