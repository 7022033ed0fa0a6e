//! A protocol as an automaton of sends and receives: each message is first sent, then received.

use std::collections::HashSet;

use crate::automaton::Graph;
use crate::diagnostic::Problem;
use crate::limits::Budget;
use crate::local::Action;
use crate::session::{Interaction, RoleId};

/// A state of the automaton. Those of the protocol come first, then those between a send and its
/// receive.
pub(crate) type Point = usize;

/// What each role has done.
pub(crate) type Words = Vec<Vec<Action>>;

/// A send or a receive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    /// Who does it.
    pub role: RoleId,
    pub action: Action,
    pub to: Point,
}

/// The automaton.
#[derive(Debug)]
pub(crate) struct Events {
    /// What can happen next, for each point.
    pub points: Vec<Vec<Event>>,
    /// The messages of each point that is the protocol's.
    messages: Vec<Vec<(Interaction, usize)>>,
}

impl Events {
    pub(crate) fn of(graph: Graph<Interaction>) -> Events {
        let count = graph.states.len();
        let mut points: Vec<Vec<Event>> = (0..count).map(|_| Vec::new()).collect();
        for (state, steps) in graph.states.iter().enumerate() {
            for (act, next) in steps {
                let between = points.len();
                let event = |role, to| Action::of(role, act).map(|action| Event { role, action, to });
                points[state].extend(event(act.from, between));
                points.push(event(act.to, *next).into_iter().collect());
            }
        }
        Events { points, messages: graph.states }
    }

    /// What is sent next, from a point of the protocol.
    pub(crate) fn messages(&self, point: Point) -> &[(Interaction, usize)] {
        self.messages.get(point).map_or(&[], |steps| steps)
    }

    /// Whether a run of the protocol begins, for each role, with what it has done.
    ///
    /// # Errors
    /// When a limit is reached first.
    pub(crate) fn have(&self, words: &Words, budget: &mut Budget) -> Result<bool, Problem> {
        let first: (Point, Vec<usize>) = (0, vec![0; words.len()]);
        let mut seen = HashSet::from([first.clone()]);
        let mut open = vec![first];
        while let Some((point, done)) = open.pop() {
            if done.iter().zip(words).all(|(done, word)| *done == word.len()) {
                return Ok(true);
            }
            for event in &self.points[point] {
                budget.spend(1 + words.len())?;
                let role = usize::from(event.role);
                let mut next = (event.to, done.clone());
                match words[role].get(done[role]) {
                    Some(action) if action.is_like(&event.action) => next.1[role] += 1,
                    Some(_) => continue,
                    None => {}
                }
                if seen.insert(next.clone()) {
                    open.push(next);
                }
            }
        }
        Ok(false)
    }

    /// Whether all is over.
    pub(crate) fn is_end(&self, point: Point) -> bool {
        self.points[point].is_empty()
    }
}
