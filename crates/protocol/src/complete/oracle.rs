//! What the discipline promises, checked by looking: the machines of all roles are run together, and
//! every state that they get into is one of a run that the protocol has.
//!
//! Of protocols without recursion all runs are looked at: accepted ones have no bad state, and all others
//! have one. Of those with recursion the states of short runs are looked at.

use std::collections::{HashSet, VecDeque};
use std::fmt::Write as _;

use crate::diagnostic::{Act, Code, Move, Problem};
use crate::inline::{Types, inline};
use crate::limits::{Budget, Limits};
use crate::local::Action;
use crate::modules::{NoImports, Program, Source};
use crate::session::{MessageId, RoleId};
use crate::tables::Table;

use super::events::{Event, Events, Point, Words};
use super::validity::Subsets;

/// Of each queue the roles and what lies in it.
type Queues = Vec<((RoleId, RoleId), VecDeque<MessageId>)>;

/// What the machines are, run together.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// Every state that was looked at is right.
    Good,
    /// A role did what no run has, after so many moves, which are the fewest.
    Astray(usize),
    /// Nothing can happen, and not all is done.
    Halt,
}

fn key(words: &Words, states: &[usize]) -> String {
    let mut text = format!("{states:?}");
    for action in words.iter().flat_map(|word| word.iter().map(Some).chain([None])) {
        match action {
            Some(action) => write!(text, "{:?}{}{},", action.act, action.peer, action.message).unwrap(),
            None => text.push(';'),
        }
    }
    text
}

/// Runs the machines for so many steps.
fn look(events: &Events, tables: &[Table], most: usize) -> Found {
    let roles = tables.len();
    let first: (Vec<usize>, Queues, Words) = (vec![0; roles], Vec::new(), vec![Vec::new(); roles]);
    let mut seen = HashSet::from([key(&first.2, &first.0)]);
    let mut open = VecDeque::from([first]);
    while let Some((states, queues, words)) = open.pop_front() {
        if !is_of_a_run(events, &words) {
            return Found::Astray(words.iter().map(Vec::len).sum());
        }
        let mut stuck = true;
        for role in 0..roles {
            for (action, next) in &tables[role].states[states[role]] {
                let mut after = (states.clone(), queues.clone(), words.clone());
                after.0[role] = *next;
                after.2[role].push(*action);
                let (own, peer) = (role as RoleId, action.peer);
                let sends = action.act == Act::Send;
                let pair = if sends { (peer, own) } else { (own, peer) };
                if !after.1.iter().any(|(known, _)| *known == pair) {
                    after.1.push((pair, VecDeque::new()));
                }
                let queue = &mut after.1.iter_mut().find(|(known, _)| *known == pair).unwrap().1;
                if sends {
                    queue.push_back(action.message);
                } else if queue.front() == Some(&action.message) {
                    queue.pop_front();
                } else {
                    continue;
                }
                stuck = false;
                let length: usize = after.2.iter().map(Vec::len).sum();
                if length <= most && seen.insert(key(&after.2, &after.0)) {
                    open.push_back(after);
                }
            }
        }
        let left = queues.iter().any(|(_, queue)| !queue.is_empty());
        let done = states.iter().zip(tables).all(|(state, table)| table.ends[*state]);
        if stuck && (left || !done || !is_whole_run(events, &words)) {
            return Found::Halt;
        }
    }
    Found::Good
}

/// Whether a run of the protocol begins, for each role, with what it has done.
fn is_of_a_run(events: &Events, words: &Words) -> bool {
    walk(events, words, false)
}

/// Whether a run of the protocol is, for each role, what it has done.
fn is_whole_run(events: &Events, words: &Words) -> bool {
    walk(events, words, true)
}

fn walk(events: &Events, words: &Words, whole: bool) -> bool {
    let first: (Point, Vec<usize>) = (0, vec![0; words.len()]);
    let mut seen = HashSet::from([first.clone()]);
    let mut open = vec![first];
    while let Some((point, done)) = open.pop() {
        let matched = done.iter().zip(words).all(|(done, word)| *done == word.len());
        if matched && (!whole || events.is_end(point)) {
            return true;
        }
        for event in &events.points[point] {
            let role = usize::from(event.role);
            let mut next = (event.to, done.clone());
            match words[role].get(done[role]) {
                Some(action) if action.is_like(&event.action) => next.1[role] += 1,
                Some(_) => continue,
                None if whole => continue,
                None => {}
            }
            if seen.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    false
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

/// Makes up a block of a protocol whose choices are made by one sender, of few labels.
fn block(random: &mut Random, roles: u64, depth: u64, recursions: &mut Vec<u64>, text: &mut String) {
    let message = |random: &mut Random, from: u64, label: u64, text: &mut String| {
        let to = (from + 1 + random.below(roles - 1)) % roles;
        write!(text, "{label}() from R{from} to R{to};").unwrap();
    };
    for _ in 0..random.below(3) {
        let (from, label) = (random.below(roles), random.below(2));
        message(random, from, label, text);
    }
    if depth > 0 && random.below(4) > 0 {
        let from = random.below(roles);
        let recursion = (random.below(3) == 0 && recursions.first() != Some(&0)).then_some(depth);
        if let Some(name) = recursion {
            write!(text, "rec X{name} {{").unwrap();
            recursions.push(name);
        }
        for branch in 0..2 + random.below(2) {
            write!(text, "{} {{", if branch == 0 { format!("choice at R{from}") } else { "or".to_owned() })
                .unwrap();
            message(random, from, branch, text);
            block(random, roles, depth - 1, recursions, text);
            if let Some(name) = recursions.last()
                && *name > 0
                && random.below(3) == 0
            {
                write!(text, "continue X{name};").unwrap();
            }
            text.push('}');
        }
        if recursion.is_some() {
            recursions.pop();
            text.push('}');
        }
    } else {
        for _ in 0..random.below(3) {
            let (from, label) = (random.below(roles), random.below(2));
            message(random, from, label, text);
        }
    }
}

/// What the discipline says of a protocol that it speaks of, and what is found.
fn both(text: &str, most: usize) -> Option<(Option<Code>, Found)> {
    judged(text).map(|judged| (judged.said.as_ref().map(|problem| problem.code), judged.look(most)))
}

/// A protocol that the discipline speaks of, what it says of it, and the machines.
struct Judged {
    said: Option<Problem>,
    events: Events,
    tables: Vec<Table>,
    /// The run that comes with what is said.
    run: Vec<(RoleId, Action)>,
}

impl Judged {
    fn look(&self, most: usize) -> Found {
        look(&self.events, &self.tables, most)
    }

    /// What each role does in a run, if the machines can do it.
    fn replayed(&self, run: &[(RoleId, Action)]) -> Option<Words> {
        let roles = self.tables.len();
        let (mut words, mut states) = (vec![Vec::new(); roles], vec![0; roles]);
        for (role, action) in run {
            let role = usize::from(*role);
            let mut steps = self.tables[role].states[states[role]].iter();
            states[role] = steps.find(|(known, _)| known.is_like(action))?.1;
            words[role].push(*action);
        }
        Some(words)
    }

    /// Whether the machines can do this, and a run of the protocol has all of it but the last move.
    fn shows(&self, run: &[(RoleId, Action)]) -> bool {
        let Some((_, before)) = run.split_last() else { return false };
        let words = |run| self.replayed(run).filter(|_| is_in_order(run));
        let is_right = |words: &Words| is_of_a_run(&self.events, words);
        words(before).is_some_and(|words| is_right(&words))
            && words(run).is_some_and(|words| !is_right(&words))
    }
}

/// Whether only what lies first in its queue is received.
fn is_in_order(run: &[(RoleId, Action)]) -> bool {
    let mut queues: Queues = Vec::new();
    run.iter().all(|(role, action)| {
        let sends = action.act == Act::Send;
        let pair = if sends { (*role, action.peer) } else { (action.peer, *role) };
        let place = queues.iter().position(|(known, _)| *known == pair).unwrap_or(queues.len());
        if place == queues.len() {
            queues.push((pair, VecDeque::new()));
        }
        if sends {
            queues[place].1.push_back(action.message);
            return true;
        }
        queues[place].1.pop_front() == Some(action.message)
    })
}

fn judged(text: &str) -> Option<Judged> {
    let mut budget = Budget::new(Limits::default());
    let source = Source { name: "p.scr", text };
    let mut program = Program::load(&source, &mut NoImports, &mut budget).unwrap();
    let whole = inline(&mut program, (0, 0), Types::Canonical, &mut budget).unwrap();
    let said = super::check(&whole, &program.symbols, &mut budget).err();
    let code = said.as_ref().map(|problem| problem.code);
    if !matches!(code, None | Some(Code::SendValidity | Code::ReceiveValidity)) {
        return None;
    }
    let events = super::events(&whole, &program.symbols, &mut budget).unwrap();
    let tables: Vec<Table> = (0..whole.roles.len() as RoleId)
        .map(|role| Subsets::build(&events, role, &mut budget).unwrap().into_table())
        .collect();
    let number = |name: &str| name[1..].parse::<RoleId>().unwrap();
    let done = |step: &Move| {
        let (role, peer) = (number(&step.role), number(&step.peer));
        let alike = |event: &&Event| {
            (event.role, event.action.peer, event.action.act) == (role, peer, step.act)
                && *whole.messages.shown(event.action.message, &program.symbols) == *step.message
        };
        (role, events.points.iter().flatten().find(alike).unwrap().action)
    };
    let run = said.iter().flat_map(|problem| &problem.trace).map(done).collect();
    Some(Judged { said, events, tables, run })
}

fn made_up(seed: u64, recursive: bool) -> String {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let roles = 2 + random.below(3);
    let mut text = String::new();
    // A recursion called 0 keeps others away.
    let mut recursions = if recursive { Vec::new() } else { vec![0] };
    block(&mut random, roles, 2, &mut recursions, &mut text);
    let header: Vec<String> = (0..roles).map(|role| format!("role R{role}")).collect();
    format!("module p; global protocol P({}) {{ {text} }}", header.join(", "))
}

#[test]
fn without_recursion_it_accepts_what_can_be_implemented_and_nothing_else() {
    let (mut accepted, mut sends, mut receives) = (0, 0, 0);
    for seed in 1..=6_000 {
        let text = made_up(seed, false);
        let Some((said, found)) = both(&text, usize::MAX) else { continue };
        assert_eq!(said.is_none(), found == Found::Good, "seed {seed}: {said:?}, {found:?}\n{text}");
        match said {
            None => accepted += 1,
            Some(Code::SendValidity) => sends += 1,
            Some(_) => receives += 1,
        }
    }
    let counts = (accepted, sends, receives);
    assert!(accepted > 1_000 && sends > 1_000 && receives > 50, "{counts:?}");
}

#[test]
fn what_is_refused_comes_with_the_shortest_run_that_shows_it() {
    let (mut sends, mut receives, mut shortest) = (0, 0, 0);
    for seed in 1..=1_500 {
        for recursive in [false, true] {
            let text = made_up(seed, recursive);
            let Some(judged) = judged(&text) else { continue };
            let Some(said) = &judged.said else { continue };
            assert!(judged.shows(&judged.run), "seed {seed}\n{text}\n{said:?}");
            let kind = if said.code == Code::SendValidity { &mut sends } else { &mut receives };
            *kind += 1;
            if let Found::Astray(fewest) = judged.look(8) {
                assert_eq!(judged.run.len(), fewest, "seed {seed}\n{text}\n{said:?}");
                shortest += 1;
            }
        }
    }
    let counts = (sends, receives, shortest);
    assert!(sends > 500 && receives > 20 && shortest > 500, "{counts:?}");
}

#[test]
fn with_recursion_what_it_accepts_does_not_go_astray() {
    let (mut accepted, mut refused, mut shown) = (0, 0, 0);
    for seed in 1..=4_000 {
        let text = made_up(seed, true);
        if !text.contains("continue") {
            continue;
        }
        let Some((said, found)) = both(&text, 9) else { continue };
        if said.is_none() {
            accepted += 1;
            assert_eq!(found, Found::Good, "seed {seed}\n{text}");
        } else {
            refused += 1;
            shown += usize::from(found != Found::Good);
        }
    }
    assert!(accepted > 100 && shown > 100, "{accepted} accepted, {refused} refused, {shown} of these shown");
}
