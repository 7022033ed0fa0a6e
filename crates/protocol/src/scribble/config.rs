//! Where all machines are, with what lies in their queues of one message and who is connected.

use crate::automaton::{Automaton, StateKind};
use crate::diagnostic::Act;
use crate::local::Action;
use crate::session::{MessageId, RoleId};

/// One global state: the state of each role; for each queue the message that waits, plus one; and, where
/// connections come and go, for each role and peer whether the role considers them connected.
pub(crate) type Config = Box<[u32]>;

/// What can happen next, and where it leads.
#[derive(Debug, Clone)]
pub(crate) struct Fired {
    pub role: RoleId,
    pub action: Action,
    pub next: Config,
}

/// The machines of a protocol, and where in a [`Config`] what lies.
#[derive(Debug)]
pub(crate) struct System<'a> {
    pub machines: &'a [Automaton],
    /// For each receiver and sender the place of their queue, where there is one.
    queues: Vec<Option<usize>>,
    /// Where connections begin, where they come and go.
    links: Option<usize>,
    words: usize,
    explicit: bool,
}

impl<'a> System<'a> {
    /// Machines that have to connect first, or are connected from the beginning.
    pub(crate) fn new(machines: &'a [Automaton], explicit: bool) -> System<'a> {
        let roles = machines.len();
        let mut queues = vec![None; roles * roles];
        let mut words = roles;
        let mut come_and_go = explicit;
        for (role, machine) in machines.iter().enumerate() {
            for (action, _) in machine.states.iter().flatten() {
                let peer = usize::from(action.peer);
                let queue = match action.act {
                    Act::Send => peer * roles + role,
                    Act::Receive => role * roles + peer,
                    Act::Connect | Act::Accept | Act::Disconnect => {
                        come_and_go = true;
                        continue;
                    }
                };
                if queues[queue].is_none() {
                    queues[queue] = Some(words);
                    words += 1;
                }
            }
        }
        let links = come_and_go.then_some(words);
        words += links.map_or(0, |_| roles * roles);
        System { machines, queues, links, words, explicit }
    }

    pub(crate) fn roles(&self) -> usize {
        self.machines.len()
    }

    pub(crate) fn first(&self) -> Config {
        let mut config = vec![0; self.words];
        if let Some(links) = self.links {
            config[links..].fill(u32::from(!self.explicit));
        }
        config.into()
    }

    fn queue(&self, to: usize, from: usize) -> Option<usize> {
        self.queues[to * self.roles() + from]
    }

    fn link(&self, role: usize, peer: usize) -> Option<usize> {
        self.links.map(|links| links + role * self.roles() + peer)
    }

    pub(crate) fn waiting(&self, config: &Config, to: usize, from: usize) -> Option<MessageId> {
        config[self.queue(to, from)?].checked_sub(1)
    }

    pub(crate) fn connected(&self, config: &Config, role: usize, peer: usize) -> bool {
        self.link(role, peer).is_none_or(|link| config[link] != 0)
    }

    pub(crate) fn state(&self, config: &Config, role: usize) -> usize {
        config[role] as usize
    }

    pub(crate) fn steps(&self, config: &Config, role: usize) -> &[(Action, usize)] {
        &self.machines[role].states[self.state(config, role)]
    }

    pub(crate) fn kind(&self, config: &Config, role: usize) -> StateKind {
        self.machines[role].kind(self.state(config, role))
    }

    /// Whether nothing waits for the role.
    pub(crate) fn is_empty(&self, config: &Config, role: usize) -> bool {
        (0..self.roles()).all(|from| self.waiting(config, role, from).is_none())
    }

    /// Whether the role may be left as it is: it is done, or was never connected to.
    pub(crate) fn may_stop(&self, config: &Config, role: usize) -> bool {
        let idle = match self.kind(config, role) {
            StateKind::End => true,
            StateKind::Accept => self.state(config, role) == 0,
            StateKind::Output | StateKind::Input | StateKind::Mixed => false,
        };
        idle && self.is_empty(config, role)
    }

    /// Everything that can happen next. A connection is there once, as its client's.
    pub(crate) fn fired(&self, config: &Config) -> Vec<Fired> {
        let mut fired = Vec::new();
        for role in 0..self.roles() {
            for (action, next) in self.steps(config, role) {
                let peer = usize::from(action.peer);
                let (change, ready) = match action.act {
                    Act::Send => {
                        let free = self.waiting(config, peer, role).is_none();
                        (
                            (self.queue(peer, role), action.message + 1),
                            free && self.connected(config, role, peer),
                        )
                    }
                    Act::Receive => {
                        let there = self.waiting(config, role, peer) == Some(action.message);
                        ((self.queue(role, peer), 0), there)
                    }
                    Act::Disconnect => ((self.link(role, peer), 0), self.connected(config, role, peer)),
                    Act::Connect => {
                        self.connect(config, role, action, *next, &mut fired);
                        continue;
                    }
                    Act::Accept => continue,
                };
                if ready {
                    let mut after = config.clone();
                    after[role] = *next as u32;
                    if let Some(place) = change.0 {
                        after[place] = change.1;
                    }
                    fired.push(Fired { role: role as RoleId, action: *action, next: after });
                }
            }
        }
        fired
    }

    fn connect(&self, config: &Config, role: usize, action: &Action, next: usize, fired: &mut Vec<Fired>) {
        let peer = usize::from(action.peer);
        let apart = !self.connected(config, role, peer) && !self.connected(config, peer, role);
        if !apart || self.kind(config, peer) != StateKind::Accept {
            return;
        }
        for (accept, accepted) in self.steps(config, peer) {
            if accept.is_like(&action.dual(role as RoleId)) {
                let mut after = config.clone();
                after[role] = next as u32;
                after[peer] = *accepted as u32;
                for link in [self.link(role, peer), self.link(peer, role)].into_iter().flatten() {
                    after[link] = 1;
                }
                fired.push(Fired { role: role as RoleId, action: *action, next: after });
            }
        }
    }

    /// For whom a role has to wait before it can do anything; `None` where it need not.
    pub(crate) fn waits_for(&self, config: &Config, role: usize) -> Option<Vec<usize>> {
        let steps = self.steps(config, role);
        let offered = |peer: usize, action: &Action| {
            let dual = action.dual(role as RoleId);
            self.steps(config, peer).iter().any(|(other, _)| other.is_like(&dual))
        };
        match self.kind(config, role) {
            StateKind::End | StateKind::Mixed => None,
            StateKind::Input => {
                let peer = usize::from(steps[0].0.peer);
                self.waiting(config, role, peer).is_none().then(|| vec![peer])
            }
            StateKind::Accept if self.state(config, role) == 0 => None,
            StateKind::Accept => {
                let peer = usize::from(steps[0].0.peer);
                let met =
                    steps.iter().any(|(action, _)| usize::from(action.peer) == peer && offered(peer, action));
                (!met).then(|| vec![peer])
            }
            StateKind::Output => {
                let clients = steps.iter().all(|(action, _)| action.act == Act::Connect);
                let met = steps.iter().any(|(action, _)| offered(usize::from(action.peer), action));
                (clients && !met).then(|| steps.iter().map(|(a, _)| usize::from(a.peer)).collect())
            }
        }
    }

    /// Roles of which each waits for another of them, from this one on.
    pub(crate) fn cycle(&self, config: &Config, first: usize) -> Option<Vec<usize>> {
        let mut cycle = vec![first];
        let mut at = 0;
        while at < cycle.len() {
            for peer in self.waits_for(config, cycle[at])? {
                if !cycle.contains(&peer) {
                    cycle.push(peer);
                }
            }
            at += 1;
        }
        Some(cycle)
    }
}
