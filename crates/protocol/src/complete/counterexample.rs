//! The shortest run in which machines do what their protocol does not say.
//!
//! The machines of all roles run together, breadth first, each message lying in its queue until it is
//! taken. Runs may be very many: where a limit is reached before the search is over, there is none.

use std::collections::{HashSet, VecDeque};

use crate::diagnostic::{Act, Problem};
use crate::limits::{Budget, Limits};
use crate::local::Action;
use crate::session::{MessageId, RoleId};
use crate::tables::Table;

use super::events::{Events, Words};
use super::fault::{Done, Fault, Kind};

/// Steps that a search may take; a check may take many more.
const MOST_STEPS: u64 = 500_000;

/// The fault that the shortest run of all shows, if that has fewer moves than this and is found.
pub(super) fn shorter(events: &Events, tables: &[Table], than: usize, limits: &Limits) -> Option<Fault> {
    let budget = Budget::new(Limits { steps: limits.steps.min(MOST_STEPS), ..*limits });
    Search { events, tables, budget, than }.run().ok()?
}

struct Search<'a> {
    events: &'a Events,
    tables: &'a [Table],
    budget: Budget,
    /// Only runs with fewer moves are of interest.
    than: usize,
}

/// Where the machines are after a run.
#[derive(Clone)]
struct Place {
    run: Vec<Done>,
    states: Vec<usize>,
    words: Words,
    /// Of each pair of roles what is sent and not yet received.
    queues: Vec<((RoleId, RoleId), VecDeque<MessageId>)>,
}

impl Place {
    fn waiting(&self, to: RoleId, action: &Action) -> bool {
        let queue = self.queues.iter().find(|(pair, _)| *pair == (action.peer, to));
        queue.and_then(|(_, queue)| queue.front()) == Some(&action.message)
    }

    /// The place after one more move, which must be possible.
    fn after(&self, role: RoleId, action: Action, state: usize) -> Place {
        let mut place = self.clone();
        place.run.push((role, action));
        place.states[usize::from(role)] = state;
        place.words[usize::from(role)].push(action);
        let sends = action.act == Act::Send;
        let pair = if sends { (role, action.peer) } else { (action.peer, role) };
        let found = place.queues.iter().position(|(known, _)| *known == pair);
        let number = found.unwrap_or_else(|| {
            place.queues.push((pair, VecDeque::new()));
            place.queues.len() - 1
        });
        let queue = &mut place.queues[number].1;
        if sends {
            queue.push_back(action.message);
        } else {
            queue.pop_front();
        }
        place
    }

    /// What tells the place from others: what each role has done.
    fn key(&self) -> Vec<Option<(Act, RoleId, MessageId)>> {
        let word = |word: &Vec<Action>| -> Vec<_> {
            word.iter().map(|action| Some((action.act, action.peer, action.message))).chain([None]).collect()
        };
        self.words.iter().flat_map(word).collect()
    }
}

impl Search<'_> {
    /// Goes through the runs, shorter ones first.
    fn run(&mut self) -> Result<Option<Fault>, Problem> {
        let roles = self.tables.len();
        let (states, words) = (vec![0; roles], vec![Vec::new(); roles]);
        let first = Place { run: Vec::new(), states, words, queues: Vec::new() };
        let mut seen = HashSet::from([first.key()]);
        let mut open = VecDeque::from([first]);
        while let Some(place) = open.pop_front() {
            for role in 0..roles as RoleId {
                let table = &self.tables[usize::from(role)];
                for (action, state) in &table.states[place.states[usize::from(role)]] {
                    self.budget.spend(1)?;
                    if action.act == Act::Receive && !place.waiting(role, action) {
                        continue;
                    }
                    let after = place.after(role, *action, *state);
                    if !self.events.have(&after.words, &mut self.budget)? {
                        if let Some((kind, action)) = self.kind(&place, role, action) {
                            return Ok(Some(Fault { kind, role, action, run: after.run }));
                        }
                    } else if after.run.len() + 1 < self.than && seen.insert(after.key()) {
                        self.budget.state(seen.len(), after.run.len())?;
                        open.push_back(after);
                    }
                }
            }
        }
        Ok(None)
    }

    /// What is wrong with a move that no run of the protocol has, and which action that is about.
    fn kind(&self, place: &Place, role: RoleId, action: &Action) -> Option<(Kind, Action)> {
        if action.act == Act::Send {
            return Some((Kind::Send, *action));
        }
        let steps = &self.tables[usize::from(role)].states[place.states[usize::from(role)]];
        let mut others = steps.iter().map(|(other, _)| other);
        let beside = others.clone().find(|other| other.act == Act::Receive && other.peer != action.peer);
        // Or the role receives where it should send.
        let instead = || others.find(|other| other.act == Act::Send).map(|send| (Kind::Send, *send));
        beside.map(|other| (Kind::Receive { other: *other }, *action)).or_else(instead)
    }
}
