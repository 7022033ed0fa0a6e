//! Random protocols, the same for the same seed.

use std::time::Duration;

use sessile_protocol::machine::{Message, Protocol, Role};

use crate::global::{Deadline, Global, Node};

/// SplitMix64 (Steele, Lea, Flood, 2014).
#[derive(Debug, Clone)]
pub struct Draw(pub u64);

impl Draw {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// What a protocol has in it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Traits {
    pub roles: u16,
    /// Loops in loops; mostly the inner one returns to the outer one too.
    pub nested: bool,
    /// Choices of three or more.
    pub multiway: bool,
    /// How often another was drawn, because a role would not have known what to do, or done nothing.
    pub redrawn: u32,
}

pub struct Drawn {
    pub global: Global,
    pub protocol: Protocol,
    pub traits: Traits,
}

/// A protocol that is well-formed by construction.
pub fn protocol(seed: u64) -> Drawn {
    let mut draw = Draw(seed);
    let (roles, shape, wide) = ([2, 3, 3, 4, 5][draw.below(5)], draw.below(4), draw.one_in(2));
    for redrawn in 0.. {
        let mut making = Making {
            draw: Draw(draw.next()),
            global: Global { roles, ..Global::default() },
            tells_all: redrawn > 3,
            wide,
            fuel: 6 + draw.below(10),
            traits: Traits { roles, redrawn, ..Traits::default() },
        };
        making.begin(shape);
        making.global.settle();
        let acts = |protocol: &Protocol| protocol.machines.iter().all(|m| !m.states[0].steps.is_empty());
        if let Some(protocol) = making.global.protocol().filter(acts) {
            return Drawn { global: making.global, protocol, traits: making.traits };
        }
    }
    unreachable!("a protocol in which everyone is told everything can be projected")
}

struct Making {
    draw: Draw,
    global: Global,
    /// Whether who chooses tells every role.
    tells_all: bool,
    /// Whether choices are of three or more.
    wide: bool,
    fuel: usize,
    traits: Traits,
}

impl Making {
    fn begin(&mut self, shape: usize) {
        // Node 0 leads to the rest; a first message fills it.
        let first = self.reserve();
        if shape == 0 {
            let count = self.width();
            self.choose(first, count, |making, _| making.rest(&[]));
        } else {
            self.fill_loop(first, &[], shape >= 2);
        }
    }

    fn reserve(&mut self) -> usize {
        self.global.nodes.push(Node::End);
        self.global.nodes.len() - 1
    }

    fn message(&mut self) -> Message {
        // Labels are used again now and then, as people do.
        if self.global.messages > 2 && self.draw.one_in(5) {
            return Message(self.draw.below(self.global.messages as usize) as u32);
        }
        self.global.messages += 1;
        Message(self.global.messages - 1)
    }

    fn width(&mut self) -> usize {
        if self.wide { 3 + self.draw.below(2) } else { 1 + self.draw.below(2) }
    }

    fn pair(&mut self) -> (Role, Role) {
        let roles = usize::from(self.traits.roles);
        let from = self.draw.below(roles);
        let to = (from + 1 + self.draw.below(roles - 1)) % roles;
        (Role(from as u16), Role(to as u16))
    }

    fn single(&mut self, node: usize, next: usize) {
        let (from, to) = self.pair();
        let message = self.message();
        self.global.nodes[node] = Node::message(from, to, vec![(message, next)]);
        if self.draw.one_in(20) {
            self.expire(node, false);
        }
    }

    fn expire(&mut self, node: usize, late: bool) {
        let within = Duration::from_secs(1 + self.draw.below(9) as u64);
        if let Node::Message { deadline, .. } = &mut self.global.nodes[node] {
            *deadline = Some(Deadline { within, late });
        }
    }

    /// What follows, within these loops: more, a choice, a loop, a return or the end.
    fn rest(&mut self, loops: &[usize]) -> usize {
        if self.fuel == 0 {
            return match loops {
                [] => self.reserve(),
                _ => loops[self.draw.below(loops.len())],
            };
        }
        self.fuel -= 1;
        match self.draw.below(8) {
            0..=3 => {
                let node = self.reserve();
                let next = self.rest(loops);
                self.single(node, next);
                node
            }
            4 | 5 => {
                let node = self.reserve();
                let count = self.width();
                self.choose(node, count, |making, _| making.rest(loops));
                node
            }
            6 if loops.len() < 3 => {
                let node = self.reserve();
                self.fill_loop(node, loops, false);
                node
            }
            _ => match loops {
                [] => self.reserve(),
                _ => loops[self.draw.below(loops.len())],
            },
        }
    }

    /// A loop that begins here. A nested one is `rec X { a; rec Y { b; continue X or Y or leave } }`.
    fn fill_loop(&mut self, node: usize, loops: &[usize], nested: bool) {
        let mut inside = loops.to_vec();
        inside.push(node);
        if nested {
            self.traits.nested = true;
            let inner = self.reserve();
            self.single(node, inner);
            let outer = node;
            let count = self.width();
            self.choose(inner, count, |making, branch| match branch {
                0 => {
                    let back = making.reserve();
                    making.single(back, outer);
                    back
                }
                1 => inner,
                _ => making.rest(&[]),
            });
        } else {
            self.traits.nested |= !loops.is_empty();
            let next = self.rest(&inside);
            self.single(node, next);
        }
    }

    /// A choice. Who chooses tells others what was chosen, everyone or some.
    fn choose(&mut self, node: usize, count: usize, mut branch: impl FnMut(&mut Self, usize) -> usize) {
        self.traits.multiway |= count > 2;
        let (from, to) = self.pair();
        let told: Vec<Role> = (0..self.traits.roles)
            .map(Role)
            .filter(|role| *role != from && *role != to)
            .filter(|_| self.tells_all || self.draw.one_in(2))
            .collect();
        let mut branches = Vec::new();
        for index in 0..count {
            let message = Message(self.global.messages);
            self.global.messages += 1;
            let first = self.global.nodes.len();
            let nodes: Vec<usize> = told.iter().map(|_| self.reserve()).collect();
            let next = branch(self, index);
            for (offset, role) in told.iter().enumerate() {
                let after = nodes.get(offset + 1).copied().unwrap_or(next);
                let branches = vec![(Message(self.global.messages), after)];
                self.global.messages += 1;
                self.global.nodes[nodes[offset]] = Node::message(from, *role, branches);
            }
            branches.push((message, if told.is_empty() { next } else { first }));
        }
        self.global.nodes[node] = Node::message(from, to, branches);
        if count > 1 && self.draw.one_in(4) {
            self.expire(node, true);
        }
    }
}
