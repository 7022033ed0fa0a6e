//! Random protocols, accepted by the checker and run by its machines, never deadlock, leave an orphan or
//! are refused what they allow, whatever the schedule, the buffers and the time; and nothing else is let
//! through. What they allow is worked out apart, from the graph of their messages.
//!
//! `SESSILE_SEED=N` runs one seed, `SESSILE_FIRST_SEED=N` and `SESSILE_SEEDS=N` say which.

use std::collections::BTreeMap;
use std::sync::Arc;

use sessile_protocol::machine::Role;
use sessile_protocol::monitor::endpoint::Endpoint;
use sessile_protocol::monitor::event::{Close, Payload};
use sessile_protocol::monitor::setup::OnViolation;
use sessile_protocol::monitor::{CloseError, Line, Monitor, Offer, Received, RecvError, SendError, Sent};
use sessile_protocol::plan::Plan;

use crate::draw::{Draw, Drawn, protocol};
use crate::scribble::checked;
use crate::support::{key, plan, signed};
use crate::world::{Seen, Subject, draw_setup, replays, run};

/// Protocols; each is run with [`SCHEDULES`] schedules and buffers.
const PROTOCOLS: u64 = 10_000;
const SCHEDULES: u64 = 10;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

fn check(seed: u64, drawn: &Drawn, plan: &Arc<Plan>, seen: &mut Seen) -> Result<(), String> {
    for schedule in 0..SCHEDULES {
        let mut draw = Draw(seed ^ (schedule << 48) ^ 0xabcd);
        let setup = draw_setup(plan, &mut draw);
        let mut monitor = Monitor::open(plan, setup.clone()).map_err(|error| error.to_string())?;
        let log = run(drawn, &setup, &mut monitor, &mut draw, seen)
            .map_err(|what| format!("schedule {schedule}: {what}"))?;
        if schedule == 0 && seed.is_multiple_of(10) {
            replays(plan, &monitor, &log).map_err(|what| format!("schedule {schedule}: {what}"))?;
        }
    }
    Ok(())
}

#[test]
fn what_is_well_formed_runs_and_nothing_else_does() {
    let one = number("SESSILE_SEED");
    let first = one.or_else(|| number("SESSILE_FIRST_SEED")).unwrap_or(0);
    let count = if one.is_some() { 1 } else { number("SESSILE_SEEDS").unwrap_or(PROTOCOLS) };
    let (mut seen, mut roles, mut redrawn) = (Seen::default(), BTreeMap::<u16, u64>::new(), 0);
    let [mut many, mut nested, mut multiway] = [0; 3];
    for seed in first..first + count {
        let drawn = protocol(seed);
        *roles.entry(drawn.traits.roles).or_default() += 1;
        many += u64::from(drawn.traits.roles >= 3);
        nested += u64::from(drawn.traits.nested);
        multiway += u64::from(drawn.traits.multiway);
        redrawn += u64::from(drawn.traits.redrawn);
        let plan = match checked(&drawn.global) {
            Ok(protocol) => plan(&protocol),
            Err(what) => panic!("SESSILE_SEED={seed}: the checker refuses it: {what}"),
        };
        if let Err(what) = check(seed, &drawn, &plan, &mut seen) {
            panic!("SESSILE_SEED={seed}: {what}\n{:#?}", drawn.global);
        }
    }
    println!(
        "seeds {first} to {}, {SCHEDULES} schedules each: {} schedules",
        first + count - 1,
        count * SCHEDULES
    );
    println!(
        "roles: {roles:?}; three or more: {many}; nested loops: {nested}; choices of three or more: {multiway}"
    );
    println!("drawn again because a role would not have known what to do: {redrawn}");
    println!("{seen:?}");
    if count >= 1000 {
        for (name, n) in [("three or more roles", many), ("nested loops", nested), ("multi-way", multiway)] {
            assert!(n * 3 >= count, "{name}: {n} of {count}");
        }
        let Seen { sent, replaced, lost, full, overflow, grown, woken, received, .. } = seen;
        let Seen { mutations, completed, drained, aborted, undelivered, late, silent, .. } = seen;
        let counts = [sent, replaced, lost, full, overflow, grown, woken, received];
        let ends = [mutations, completed, drained, aborted, undelivered, late, silent];
        assert!(counts.iter().chain(&ends).all(|n| *n > 0), "something was never seen: {seen:?}");
    }
}

/// A monitor whose lines are signed by endpoints that move on by its answers alone.
struct Signing {
    monitor: Monitor,
    endpoints: Vec<Endpoint>,
    draw: Draw,
    tampered: u64,
}

impl Signing {
    /// Tries the line with something about it that was not signed. None of it may be taken.
    fn tamper(&mut self, mut line: Line) {
        let seal = line.seal.as_mut().expect("it was just signed");
        match self.draw.below(5) {
            0 => seal.signature[self.draw.below(64)] ^= 1 << self.draw.below(8),
            1 => seal.position.sequence ^= 1 << self.draw.below(64),
            2 => seal.position.link.0[self.draw.below(32)] ^= 1,
            3 => seal.epoch += 1,
            _ => line.payload = Payload::new(b"something else"),
        }
        match self.monitor.send(line) {
            Err(SendError::Violation(violation)) if violation.code.is_forgery() => self.tampered += 1,
            other => panic!("tampered with and not seen: {other:?}"),
        }
    }
}

impl Subject for Signing {
    fn send(&mut self, mut line: Line) -> Result<Sent, SendError> {
        let (plan, from) = (self.monitor.plan().clone(), usize::from(line.from.0));
        let (to, message) =
            (&plan.roles()[usize::from(line.to.0)], &plan.messages()[line.message.0 as usize]);
        let sealed = self.endpoints[from].seal(to, message, line.payload.bytes());
        line.seal = Some(Box::new(sealed.seal.clone()));
        if self.draw.one_in(3) {
            self.tamper(line.clone());
        }
        let sent = self.monitor.send(line);
        if matches!(sent, Ok(Sent::Queued | Sent::Replaced)) {
            self.endpoints[from].taken(sealed);
        }
        sent
    }

    fn recv(&mut self, role: Role, from: Option<Role>) -> Result<Received, RecvError> {
        Subject::recv(&mut self.monitor, role, from)
    }

    fn offered(&self, role: Role) -> Vec<Offer> {
        Subject::offered(&self.monitor, role)
    }

    fn close(&mut self, how: Close) -> Result<(), CloseError> {
        Subject::close(&mut self.monitor, how)
    }

    fn monitor(&mut self) -> &mut Monitor {
        &mut self.monitor
    }
}

/// What waits, is lost or is refused leaves endpoint and monitor in step, and whatever was not signed
/// is seen.
#[test]
fn what_is_well_formed_runs_signed_too() {
    let (mut seen, mut tampered) = (Seen::default(), 0);
    for seed in 0..300 {
        let drawn = protocol(seed);
        let (plan, mut draw) = (plan(&drawn.protocol), Draw(seed));
        let setup = signed(draw_setup(&plan, &mut draw), OnViolation::Refuse);
        let monitor = Monitor::open(&plan, setup.clone()).unwrap();
        let endpoints = (0..)
            .zip(plan.roles())
            .map(|(role, name)| Endpoint::new(key(Role(role)), monitor.session(), plan.hash(), 0, name))
            .collect();
        let mut signing = Signing { monitor, endpoints, draw: draw.clone(), tampered: 0 };
        let log = run(&drawn, &setup, &mut signing, &mut draw, &mut seen)
            .and_then(|log| replays(&plan, &signing.monitor, &log));
        log.unwrap_or_else(|what| panic!("seed {seed}: {what}\n{:#?}", drawn.global));
        tampered += signing.tampered;
    }
    println!("tampered with and seen: {tampered}; {seen:?}");
    assert!(tampered > 1000 && seen.lost > 0 && seen.full > 0);
}
