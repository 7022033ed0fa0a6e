//! The machine of one role, as its local type gives it: perhaps with two steps alike in one state.

use std::collections::{HashMap, HashSet};

use crate::diagnostic::{Act, Problem};
use crate::limits::Budget;
use crate::local::{Action, Local};
use crate::session::Node;

/// A machine. State 0 is the first; a state without steps is the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Automaton {
    pub states: Vec<Vec<(Action, usize)>>,
}

/// What can be done in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StateKind {
    /// Nothing.
    End,
    /// Sends and connects, or one disconnect.
    Output,
    Input,
    Accept,
    /// Something that no role can do by itself: both sends and receives, say.
    Mixed,
}

impl Automaton {
    pub(crate) fn kind(&self, state: usize) -> StateKind {
        let steps = &self.states[state];
        let all = |acts: &[Act]| steps.iter().all(|(action, _)| acts.contains(&action.act));
        if steps.is_empty() {
            StateKind::End
        } else if all(&[Act::Send, Act::Connect]) || (steps.len() == 1 && all(&[Act::Disconnect])) {
            StateKind::Output
        } else if all(&[Act::Receive]) {
            StateKind::Input
        } else if all(&[Act::Accept]) {
            StateKind::Accept
        } else {
            StateKind::Mixed
        }
    }

    /// The machine of a local type.
    ///
    /// # Errors
    /// When it is larger than is allowed.
    pub(crate) fn build(local: &Local, budget: &mut Budget) -> Result<Automaton, Problem> {
        Ok(Automaton { states: graph(local, budget)?.states })
    }
}

/// A session type as states and steps, of all roles or of one.
#[derive(Debug)]
pub(crate) struct Graph<A> {
    /// Steps lead to states; the first state is 0.
    pub states: Vec<Vec<(A, usize)>>,
    /// Whether all may be done in a state.
    pub ends: Vec<bool>,
}

/// The states and steps of a session type that can be reached, in the order in which they are.
///
/// # Errors
/// When they are more than is allowed.
pub(crate) fn graph<A: Copy + PartialEq>(body: &[Node<A>], budget: &mut Budget) -> Result<Graph<A>, Problem> {
    let mut builder = Builder { states: vec![Draft::default(), Draft::default()], entries: HashMap::new() };
    builder.sequence(body, 0, EXIT, budget)?;
    builder.finish(budget)
}

/// The state in which all is done.
const EXIT: usize = 1;

/// A state under construction.
#[derive(Debug)]
struct Draft<A> {
    ways: Vec<Way<A>>,
    /// The state that this is the same as.
    same: Option<usize>,
}

impl<A> Default for Draft<A> {
    fn default() -> Self {
        Draft { ways: Vec::new(), same: None }
    }
}

/// A way out of a state.
#[derive(Debug)]
enum Way<A> {
    Step(A, usize),
    /// What this other state can do, this one can.
    As(usize),
}

struct Builder<A> {
    states: Vec<Draft<A>>,
    /// Where each recursion begins.
    entries: HashMap<u32, usize>,
}

impl<A: Copy + PartialEq> Builder<A> {
    fn state(&mut self, budget: &mut Budget) -> Result<usize, Problem> {
        self.states.push(Draft::default());
        budget.state(self.states.len(), 1)?;
        Ok(self.states.len() - 1)
    }

    fn sequence(
        &mut self,
        body: &[Node<A>],
        mut entry: usize,
        exit: usize,
        budget: &mut Budget,
    ) -> Result<(), Problem> {
        if body.is_empty() {
            self.states[entry].ways.push(Way::As(exit));
        }
        for (i, node) in body.iter().enumerate() {
            let next = if i + 1 == body.len() { exit } else { self.state(budget)? };
            match node {
                Node::Act(action) => self.states[entry].ways.push(Way::Step(*action, next)),
                Node::Continue { variable, .. } => {
                    self.states[entry].same = self.entries.get(variable).copied();
                }
                Node::Recursion { variable, body } => {
                    self.entries.insert(*variable, entry);
                    self.sequence(body, entry, next, budget)?;
                }
                Node::Choice { branches, .. } => {
                    for branch in branches {
                        let guarded = matches!(branch.first(), Some(Node::Act(_) | Node::Choice { .. }));
                        if guarded {
                            self.sequence(branch, entry, next, budget)?;
                        } else {
                            // A state of its own: others come back to it alone.
                            let own = self.state(budget)?;
                            self.states[entry].ways.push(Way::As(own));
                            self.sequence(branch, own, next, budget)?;
                        }
                    }
                }
            }
            entry = next;
        }
        Ok(())
    }

    /// The state that this one stands for.
    fn resolve(&self, mut state: usize, budget: &mut Budget) -> Result<usize, Problem> {
        for _ in 0..self.states.len() {
            budget.spend(1)?;
            match self.states[state].same {
                Some(same) if same != state => state = same,
                Some(_) | None => break,
            }
        }
        Ok(state)
    }

    /// What can be done in a state, those that it is like included, in order and each once; and
    /// whether all may be done there.
    fn steps(&self, state: usize, budget: &mut Budget) -> Result<(Vec<(A, usize)>, bool), Problem> {
        let mut steps: Vec<(A, usize)> = Vec::new();
        let mut seen = HashSet::from([state]);
        let mut open = vec![&self.states[state].ways[..]];
        while let Some(ways) = open.pop() {
            budget.spend(1 + steps.len())?;
            let Some((first, rest)) = ways.split_first() else { continue };
            open.push(rest);
            match first {
                Way::Step(action, next) => {
                    let step = (*action, self.resolve(*next, budget)?);
                    if !steps.contains(&step) {
                        steps.push(step);
                    }
                }
                Way::As(other) => {
                    let other = self.resolve(*other, budget)?;
                    if seen.insert(other) {
                        open.push(&self.states[other].ways);
                    }
                }
            }
        }
        Ok((steps, seen.contains(&EXIT)))
    }

    fn finish(&self, budget: &mut Budget) -> Result<Graph<A>, Problem> {
        let first = self.resolve(0, budget)?;
        let mut numbers = HashMap::from([(first, 0)]);
        let mut order = vec![first];
        let mut graph = Graph { states: Vec::new(), ends: Vec::new() };
        while graph.states.len() < order.len() {
            let (mut steps, ends) = self.steps(order[graph.states.len()], budget)?;
            for (_, next) in &mut steps {
                let number = *numbers.entry(*next).or_insert_with(|| {
                    order.push(*next);
                    order.len() - 1
                });
                *next = number;
            }
            graph.states.push(steps);
            graph.ends.push(ends);
        }
        Ok(graph)
    }
}
