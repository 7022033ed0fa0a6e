//! Whatever is accepted runs as it should: every run of its machines, with queues of up to two messages,
//! of the corpus and of protocols that are made up.
//!
//! A run fails when a role waits for one peer and finds a message that it cannot take, when nothing can
//! happen and a role is not done, or when a message is left at the end.

#![allow(clippy::unwrap_used)]
// The crate reads no file; this test reads the corpus.
#![allow(clippy::disallowed_methods)]

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt::Write as _;

use sessile_protocol::machine::{Direction, Protocol, Role, State};
use sessile_protocol::{Code, Discipline, Limits, NoImports, Report, Source, check};

/// Messages that a queue holds.
const ROOM: usize = 2;
/// States that are looked at, of each protocol.
const MOST: usize = 20_000;

/// The state of each role, and what lies in the queues: (to, from) to messages.
type Config = (Vec<u32>, Vec<((u16, u16), VecDeque<u32>)>);

struct Runs<'a> {
    protocol: &'a Protocol,
    /// Where a role may be left waiting.
    waiting: HashSet<(Role, State)>,
}

impl Runs<'_> {
    /// What can happen next, or what is wrong. `full` where a send finds no room.
    fn next(&self, (states, queues): &Config) -> Result<(Vec<Config>, bool), String> {
        let queue =
            |to: u16, from: u16| queues.iter().find(|(pair, _)| *pair == (to, from)).map(|(_, queue)| queue);
        let mut configs = Vec::new();
        let mut full = false;
        for (role, state) in states.iter().enumerate() {
            let role = role as u16;
            let steps = &self.protocol.machines[usize::from(role)].states[*state as usize].steps;
            let mut taken = false;
            for step in steps {
                let mut after = (states.clone(), queues.clone());
                after.0[usize::from(role)] = step.next.0;
                let pair = match step.direction {
                    Direction::Send => (step.peer.0, role),
                    Direction::Receive => (role, step.peer.0),
                };
                if !after.1.iter().any(|(known, _)| *known == pair) {
                    after.1.push((pair, VecDeque::new()));
                    after.1.sort_unstable_by_key(|(pair, _)| *pair);
                }
                let lies = &mut after.1.iter_mut().find(|(known, _)| *known == pair).unwrap().1;
                match step.direction {
                    Direction::Send if lies.len() == ROOM => full = true,
                    Direction::Send => {
                        lies.push_back(step.message.0);
                        configs.push(after);
                    }
                    Direction::Receive if lies.front() == Some(&step.message.0) => {
                        lies.pop_front();
                        taken = true;
                        configs.push(after);
                    }
                    Direction::Receive => {}
                }
            }
            let peers: HashSet<u16> = steps.iter().map(|step| step.peer.0).collect();
            let receives = steps.iter().any(|step| step.direction == Direction::Receive);
            if receives && !taken && peers.len() == 1 {
                let peer = *peers.iter().next().unwrap();
                if queue(role, peer).is_some_and(|queue| !queue.is_empty()) {
                    return Err(format!("role {role} in state {state} cannot take what {peer} sent"));
                }
            }
        }
        Ok((configs, full))
    }

    fn check(&self) -> Result<usize, String> {
        let first: Config = (vec![0; self.protocol.roles.len()], Vec::new());
        let mut seen = HashSet::from([first.clone()]);
        let mut open = VecDeque::from([first]);
        while let Some(config) = open.pop_front() {
            let (next, full) = self.next(&config)?;
            if next.is_empty() && !full {
                self.check_over(&config)?;
            }
            for mut config in next {
                config.1.retain(|(_, queue)| !queue.is_empty());
                if seen.len() < MOST && seen.insert(config.clone()) {
                    open.push_back(config);
                }
            }
        }
        Ok(seen.len())
    }

    fn check_over(&self, (states, queues): &Config) -> Result<(), String> {
        if queues.iter().any(|(_, queue)| !queue.is_empty()) {
            return Err(format!("messages are left: {queues:?}"));
        }
        for (role, state) in states.iter().enumerate() {
            let done = self.protocol.machines[role].states[*state as usize].steps.is_empty();
            if !done && !self.waiting.contains(&(Role(role as u16), State(*state))) {
                return Err(format!("role {role} is not done, in state {state}"));
            }
        }
        Ok(())
    }
}

fn run(protocol: &Protocol, report: &Report) -> Result<usize, String> {
    Runs { protocol, waiting: report.waiting.iter().copied().collect() }.check()
}

/// A generator of numbers that are the same each time (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

/// Makes up the body of a protocol in which roles mostly say what they should.
struct Writer {
    random: Random,
    roles: u64,
    text: String,
    recursions: usize,
    labels: usize,
    nested: bool,
    wide: bool,
}

impl Writer {
    fn pair(&mut self) -> (u64, u64) {
        let from = self.random.below(self.roles);
        (from, (from + 1 + self.random.below(self.roles - 1)) % self.roles)
    }

    fn message(&mut self, from: u64, to: u64) {
        // Few labels, so that branches are alike now and then.
        self.labels += 1;
        let label = if self.random.below(3) == 0 { self.random.below(3) as usize } else { self.labels };
        writeln!(self.text, "m{label}() from R{from} to R{to};").unwrap();
    }

    fn block(&mut self, depth: usize, open: &[usize]) {
        for _ in 0..self.random.below(3) {
            let (from, to) = self.pair();
            self.message(from, to);
        }
        if depth == 0 {
            return self.end(open);
        }
        match self.random.below(5) {
            0 | 1 => {
                let (from, first) = self.pair();
                let branches = 2 + self.random.below(3);
                self.wide |= branches > 2;
                for branch in 0..branches {
                    let start = if branch == 0 { format!("choice at R{from}") } else { "or".to_owned() };
                    writeln!(self.text, "{start} {{").unwrap();
                    let to = if self.random.below(4) == 0 { (from + 1) % self.roles } else { first };
                    self.message(from, to);
                    // Now and then all others are told.
                    if self.random.below(3) > 0 {
                        for other in (0..self.roles).filter(|other| *other != from && *other != to) {
                            self.message(from, other);
                        }
                    }
                    self.block(depth - 1, open);
                    self.text.push_str("}\n");
                }
            }
            2 | 3 => {
                self.recursions += 1;
                let name = self.recursions;
                self.nested |= !open.is_empty();
                writeln!(self.text, "rec X{name} {{").unwrap();
                let (from, to) = self.pair();
                self.message(from, to);
                let inner: Vec<usize> = open.iter().copied().chain([name]).collect();
                self.block(depth - 1, &inner);
                self.text.push_str("}\n");
            }
            _ => self.end(open),
        }
    }

    fn end(&mut self, open: &[usize]) {
        if !open.is_empty() && self.random.below(2) == 0 {
            let name = open[self.random.below(open.len() as u64) as usize];
            writeln!(self.text, "continue X{name};").unwrap();
        }
    }
}

/// How many protocols are made up for each discipline.
const MADE_UP: u64 = 6_000;

#[test]
fn what_is_accepted_of_made_up_protocols_runs() {
    for discipline in [Discipline::Complete, Discipline::Scribble] {
        let (mut accepted, mut three, mut nested, mut wide, mut configs) = (0, 0, 0, 0, 0);
        let mut refused: HashMap<Code, usize> = HashMap::new();
        for seed in 1..=MADE_UP {
            let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let roles = 2 + random.below(3);
            let mut writer = Writer {
                random,
                roles,
                text: String::new(),
                recursions: 0,
                labels: 2,
                nested: false,
                wide: false,
            };
            writer.block(3, &[]);
            let header: Vec<String> = (0..roles).map(|role| format!("role R{role}")).collect();
            let text = format!("module p; global protocol P({}) {{\n{}}}", header.join(", "), writer.text);
            let source = Source { name: "p.scr", text: &text };
            match check(&source, &mut NoImports, None, discipline, Limits::default()) {
                Ok((protocol, report)) => {
                    accepted += 1;
                    three += usize::from(roles > 2);
                    nested += usize::from(writer.nested);
                    wide += usize::from(writer.wide);
                    match run(&protocol, &report) {
                        Ok(seen) => configs += seen,
                        Err(wrong) => panic!("{discipline:?}, seed {seed}: {wrong}\n{text}\n{protocol:?}"),
                    }
                }
                Err(diagnostics) => *refused.entry(diagnostics[0].code).or_default() += 1,
            }
        }
        let mut refused: Vec<(Code, usize)> = refused.into_iter().collect();
        refused.sort();
        println!(
            "{discipline:?}: {accepted} of {MADE_UP} accepted, with three roles or more {three}, nested"
        );
        println!(
            "  recursion {nested}, choices of three or more {wide}; {configs} states; refused {refused:?}"
        );
        assert!(accepted > 500, "{accepted} accepted");
    }
}

#[test]
fn what_is_accepted_of_the_corpus_runs() {
    let folder = std::env::var_os("SESSILE_CORPORA").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpora"),
        std::path::PathBuf::from,
    );
    let folder = folder.join("scribble");
    let Ok(labels) = std::fs::read_to_string(folder.join("labels.tsv")) else {
        println!("skipped: no scribble corpus (set SESSILE_CORPORA to the folder that has it)");
        return;
    };
    let mut ran = 0;
    for file in labels.lines().skip(1).map(|line| line.split('\t').nth(1).unwrap()) {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        let names = text.match_indices("global protocol ").map(|(at, found)| {
            let rest = &text[at + found.len()..];
            &rest[..rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap()]
        });
        let mut loader = |module: &str| {
            std::fs::read_to_string(folder.join(format!("{}.scr", module.replace('.', "/")))).ok()
        };
        for name in names {
            for discipline in [Discipline::Complete, Discipline::Scribble] {
                let source = Source { name: file, text: &text };
                let checked = check(&source, &mut loader, Some(name), discipline, Limits::default());
                let Ok((protocol, report)) = checked else { continue };
                ran += 1;
                if let Err(wrong) = run(&protocol, &report) {
                    panic!("{file} {name} {discipline:?}: {wrong}\n{protocol:?}");
                }
            }
        }
    }
    println!("{ran} protocols of the corpus ran");
    assert!(ran > 200, "{ran}");
}
