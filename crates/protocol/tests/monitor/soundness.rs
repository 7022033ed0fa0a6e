//! Protocols that are well-formed by construction never deadlock, leave an orphan or are refused
//! what they allow, whatever the schedule and the buffers; and nothing else is let through.
//!
//! `SESSILE_SEED=N` runs one seed, `SESSILE_FIRST_SEED=N` and `SESSILE_SEEDS=N` say which.

use std::collections::BTreeMap;

use sessile_protocol::monitor::Monitor;

use crate::draw::{Draw, Drawn, protocol};
use crate::support::plan;
use crate::world::{Seen, draw_setup, replays, run};

/// Protocols; each is run with [`SCHEDULES`] schedules and buffers.
const PROTOCOLS: u64 = 10_000;
const SCHEDULES: u64 = 10;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

fn check(seed: u64, drawn: &Drawn, seen: &mut Seen) -> Result<(), String> {
    let plan = plan(&drawn.protocol);
    for schedule in 0..SCHEDULES {
        let mut draw = Draw(seed ^ (schedule << 48) ^ 0xabcd);
        let setup = draw_setup(&plan, &mut draw);
        let mut monitor = Monitor::open(&plan, setup.clone()).map_err(|error| error.to_string())?;
        let log = run(drawn, &setup, &mut monitor, &mut draw, seen)
            .map_err(|what| format!("schedule {schedule}: {what}"))?;
        if schedule == 0 && seed.is_multiple_of(10) {
            replays(&plan, &monitor, &log).map_err(|what| format!("schedule {schedule}: {what}"))?;
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
        if let Err(what) = check(seed, &drawn, &mut seen) {
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
        let Seen { mutations, completed, drained, aborted, undelivered, .. } = seen;
        let counts = [sent, replaced, lost, full, overflow, grown, woken, received];
        let ends = [mutations, completed, drained, aborted, undelivered];
        assert!(counts.iter().chain(&ends).all(|n| *n > 0), "something was never seen: {seen:?}");
    }
}
