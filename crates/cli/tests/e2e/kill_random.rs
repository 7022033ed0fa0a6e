//! Opening, attaching, typing, pausing and ending, while at random times something is killed.
//!
//! `SESSILE_SEED` repeats a run's choices, `SESSILE_LOOP_SECONDS` makes it longer.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::support::processes;
use crate::support::{Leftovers, Running, Terminal, World};

/// Sessions at once.
const CROWD: usize = 4;
/// Answers what it reads, until its input ends.
const ECHO: &str = "stty -echo; echo ready; while read line; do echo got-$line; done";

/// Numbers that look random and are the same for the same seed (xorshift64, Marsaglia 2003).
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn pick<'a>(&mut self, from: &'a [String]) -> Option<&'a String> {
        let len = u64::try_from(from.len()).unwrap();
        (len > 0).then(|| &from[usize::try_from(self.below(len)).unwrap()])
    }
}

/// A loop's state.
struct Loop<'a> {
    world: &'a World,
    dice: Dice,
    /// Names of sessions whose opening was acknowledged and whose end was not asked for.
    open: Vec<String>,
    /// Everything that was acknowledged, by name.
    acknowledged: BTreeMap<String, String>,
    running: Vec<Running>,
    terminals: Vec<Terminal>,
    opened: u64,
    typed: u64,
    kills: BTreeMap<&'static str, u32>,
}

for_root_and_user! {
    fn whatever_is_killed_whenever_everything_ends(world) {
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let seed = number("SESSILE_SEED").unwrap_or(clock as u64 & 0xffff_ffff) | 1;
        eprintln!("SESSILE_SEED={seed}");
        let mut turn = Loop {
            world,
            dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            open: Vec::new(),
            acknowledged: BTreeMap::new(),
            running: Vec::new(),
            terminals: Vec::new(),
            opened: 0,
            typed: 0,
            kills: BTreeMap::new(),
        };
        let until = Instant::now() + Duration::from_secs(number("SESSILE_LOOP_SECONDS").unwrap_or(10));
        while Instant::now() < until {
            turn.act();
        }
        turn.close();
    }
}

impl Loop<'_> {
    fn act(&mut self) {
        match self.dice.below(12) {
            0..=2 if self.open.len() < CROWD => self.open_one(),
            0..=3 => self.end_one(),
            4 => self.attach(),
            5 | 6 => self.write(),
            7 => {
                let what = if self.dice.below(2) == 0 { "pause" } else { "resume" };
                self.ask(&[what]);
            }
            _ => self.kill_something(),
        }
        self.running.retain_mut(|running| !running.has_ended());
    }

    /// Opens a session; half the time something is killed meanwhile.
    fn open_one(&mut self) {
        self.opened += 1;
        let name = format!("loop-{}", self.opened);
        let line = ["run", "--detach", "--name", &name, "--", "sh", "-c", ECHO];
        let opening = self.world.start(&line, Stdio::null());
        if self.dice.below(2) == 0 {
            self.rest(60);
            self.kill_something();
        }
        if opening.finish().code == 0 {
            let record = processes::eventually("an acknowledged session is known", || {
                let listed = self.list();
                listed.into_iter().find(|record| {
                    record["name"] == *name || record["state"] == "closed" && !self.is_known(record)
                })
            });
            self.acknowledged.insert(name.clone(), record["id"].as_str().unwrap().to_owned());
            self.open.push(name);
        }
    }

    fn is_known(&self, record: &Value) -> bool {
        self.acknowledged.values().any(|id| record["id"] == **id)
    }

    fn end_one(&mut self) {
        if let Some(name) = self.dice.pick(&self.open).cloned() {
            self.open.retain(|open| *open != name);
            self.running.push(self.world.start(&["end", &name, "--grace", "20ms"], Stdio::null()));
            self.rest(40);
        }
    }

    fn attach(&mut self) {
        if let Some(name) = self.dice.pick(&self.open) {
            self.terminals.push(self.world.terminal(&["attach", name]));
        }
        if self.terminals.len() > 3 {
            drop(self.terminals.remove(0));
        }
    }

    fn write(&mut self) {
        self.typed += 1;
        let text = format!("{}\n", self.typed);
        match self.terminals.last_mut() {
            Some(terminal) if self.dice.below(2) == 0 => terminal.try_send(&text),
            Some(_) | None => self.ask(&["type", &text]),
        }
    }

    /// Has a command, its session's name put second, carried out by and by.
    fn ask(&mut self, words: &[&str]) {
        if let Some(name) = self.dice.pick(&self.open) {
            let line: Vec<&str> = words
                .iter()
                .take(1)
                .copied()
                .chain([name.as_str()])
                .chain(words.iter().skip(1).copied())
                .collect();
            self.running.push(self.world.start(&line, Stdio::null()));
        }
        self.rest(10);
    }

    fn kill_something(&mut self) {
        let casts = processes::casts(self.world);
        let ids: Vec<String> = casts.keys().cloned().collect();
        let cast = self.dice.pick(&ids).map(|id| casts[id]).unwrap_or_default();
        let daemon = processes::daemon_of(self.world);
        let (what, victims) = match self.dice.below(10) {
            0..=3 => ("daemon", vec![daemon]),
            4..=6 => ("keeper", vec![cast.keeper]),
            7 => ("anchor", vec![cast.anchor]),
            8 => ("daemon and keeper", vec![daemon, cast.keeper]),
            _ => ("all", vec![daemon, cast.anchor, cast.keeper]),
        };
        *self.kills.entry(what).or_default() += 1;
        for victim in victims.into_iter().flatten() {
            processes::kill_quietly(victim.pid);
        }
        self.rest(30);
    }

    /// Some milliseconds: the time at which the next thing happens is part of what is tried.
    fn rest(&mut self, most: u64) {
        std::thread::sleep(Duration::from_millis(self.dice.below(most)));
    }

    fn list(&self) -> Vec<Value> {
        let listed = self.world.sessile(&["ls", "--all", "--json"]);
        serde_json::from_str(&listed.text()).unwrap_or_default()
    }

    /// Everything ends, is on record, and leaves nothing.
    fn close(mut self) {
        self.terminals.clear();
        drop(std::mem::take(&mut self.running));
        let count = self.acknowledged.len();
        eprintln!(
            "{} openings, {count} acknowledged, {} inputs, kills: {:?}",
            self.opened, self.typed, self.kills
        );
        let listed = processes::eventually("every session is closed", || {
            drop(self.world.sessile(&["end", "--all", "--grace", "0s"]));
            let listed = self.list();
            (!listed.is_empty() && listed.iter().all(|record| record["state"] == "closed")).then_some(listed)
        });
        let ids: BTreeSet<&str> = listed.iter().map(|record| record["id"].as_str().unwrap()).collect();
        for (name, id) in &self.acknowledged {
            assert!(ids.contains(id.as_str()), "{name} ({id}) is forgotten");
        }
        for record in &listed {
            let id = record["id"].as_str().unwrap();
            assert!(!record["outcome"].is_null(), "{record}");
            self.world.must(&["receipt", id, "--verify"]);
        }
        let leftovers = Leftovers::expect_none_of(self.world).and_of(ids.into_iter().map(str::to_owned));
        self.world.must(&["daemon", "stop"]);
        leftovers.check();
    }
}
