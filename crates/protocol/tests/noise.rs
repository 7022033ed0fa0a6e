//! Files with words and signs changed at random: nothing panics, a check says the same each time, and
//! what is accepted is what a monitor can rely on. The fuzz target `scribble` does the same for longer.

#![allow(clippy::unwrap_used)]

use sessile_protocol::machine::{Direction, Protocol};
use sessile_protocol::{Discipline, Limits, Source, check, check_all};

const LIMITS: Limits =
    Limits { bytes: 8192, modules: 4, nesting: 32, statements: 300, roles: 8, states: 2_000, steps: 100_000 };

const SEEDS: [&str; 5] = [
    "module p; global protocol P(role A, role B) { rec X { choice at A { 1(T) from A to B; continue X; }
     or { 2() from A to B; } } 3() from B to A; }",
    "module p; import m as M; type <rust> \"u8\" from \"core\" as T; global protocol P<sig S>(role A, role B) {
     do M.Q<T, 4(T)>(B, A); S from A to B; (P@B) from B to A; }",
    "module p; explicit global protocol P(role A, role B, role C) { connect A to B; m() connect B to C;
     6() from C to B; disconnect B and C; disconnect A and B; }",
    "module p; global protocol P(role A, role B) { choice at A { 7() from A to B within 5s; }
     or { 8() from A to B within 5s; } or late { 9() from A to B; } }",
    "module p; global protocol P(role A, role B, role C) { choice at A { 1() from A to B; 2() from B to C;
     do Q(A, B, C); } or { 3() from A to C; 4() from C to B; } } aux global protocol Q(role C, role B, role A)
     { rec Y { 5() from C to B; choice at B { 6() from B to A; continue Y; } or { 7() from B to A; } } }",
];

const IMPORTED: &str = "module m; aux global protocol Q<type U, sig V>(role X, role Y) { V from X to Y;
    5(U) from Y to X; }";

/// A generator of numbers that are the same each time (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % most as u64) as usize
    }
}

/// Words, signs and blanks.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    let mut word = false;
    for c in text.chars() {
        let part = c.is_ascii_alphanumeric();
        match pieces.last_mut() {
            Some(last) if part && word => last.push(c),
            _ => pieces.push(c.to_string()),
        }
        word = part;
    }
    pieces
}

fn changed(random: &mut Random) -> String {
    let mut text = pieces(SEEDS[random.below(SEEDS.len())]);
    for _ in 0..=random.below(4) {
        let other = pieces(SEEDS[random.below(SEEDS.len())]);
        let at = random.below(text.len());
        match random.below(6) {
            0 => {
                text.remove(at);
            }
            1 => text.insert(at, other[random.below(other.len())].clone()),
            2 => text[at] = other[random.below(other.len())].clone(),
            3 => {
                let to = random.below(text.len());
                text.swap(at, to);
            }
            4 => {
                let from = random.below(other.len());
                let to = (from + random.below(30)).min(other.len());
                text.splice(at..at, other[from..to].iter().cloned());
            }
            _ => {
                let to = (at + random.below(30)).min(text.len());
                let again: Vec<String> = text[at..to].to_vec();
                text.splice(at..at, again);
            }
        }
        if text.is_empty() {
            text.push(" ".to_owned());
        }
    }
    text.concat()
}

/// What a monitor relies on.
fn holds(protocol: &Protocol) -> bool {
    protocol.machines.iter().enumerate().all(|(role, machine)| {
        machine.states.iter().all(|choice| {
            let sends = choice.steps.iter().filter(|step| step.direction == Direction::Send).count();
            let alike = |i: usize| {
                let step = &choice.steps[i];
                choice.steps[..i].iter().any(|s| (s.peer, s.message) == (step.peer, step.message))
            };
            let leads = choice.steps.iter().all(|step| {
                (step.next.0 as usize) < machine.states.len()
                    && (step.message.0 as usize) < protocol.messages.len()
                    && usize::from(step.peer.0) < protocol.roles.len()
                    && usize::from(step.peer.0) != role
            });
            leads
                && (sends == 0 || sends == choice.steps.len())
                && (choice.within.is_none() || sends > 0)
                && (choice.within.is_some() || choice.steps.iter().all(|step| !step.late))
                && !(0..choice.steps.len()).any(alike)
        })
    })
}

#[test]
fn noise_is_answered() {
    let (mut accepted, mut refused) = (0, 0);
    for seed in 1..=40_000_u64 {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let text = changed(&mut random);
        let discipline = if seed % 2 == 0 { Discipline::Complete } else { Discipline::Scribble };
        let source = Source { name: "p.scr", text: &text };
        let mut loader = |module: &str| (module == "m").then(|| IMPORTED.to_owned());
        let first = check(&source, &mut loader, None, discipline, LIMITS);
        match &first {
            Ok((protocol, _)) => {
                accepted += 1;
                assert!(holds(protocol), "seed {seed}: {text}\n{protocol:?}");
            }
            Err(diagnostics) => {
                refused += 1;
                assert!(diagnostics.iter().all(|d| d.to_string().starts_with("error[P")), "seed {seed}");
            }
        }
        if seed % 16 == 0 {
            let second = check(&source, &mut loader, None, discipline, LIMITS);
            assert_eq!(first, second, "seed {seed}: {text}");
            let _all = check_all(&source, &mut loader, discipline, LIMITS);
        }
    }
    println!("noise: {accepted} accepted, {refused} refused");
    assert!(accepted > 1_000 && refused > 1_000, "{accepted} accepted, {refused} refused");
}
