//! Choices that are made the same way for ever.
//!
//! Without fairness, a role that comes back to a choice may choose again what it chose before, and
//! nothing else. The machine whose states remember such choices has these runs as its only ones.

use std::collections::HashMap;

use crate::automaton::{Automaton, StateKind};
use crate::diagnostic::Problem;
use crate::limits::Budget;

/// Which way was chosen in states that can be come back to, sorted.
type Chosen = Vec<(usize, usize)>;

/// The machine in which every choice that can be come back to is made once.
///
/// # Errors
/// When it is larger than is allowed.
pub(crate) fn unfair(machine: &Automaton, budget: &mut Budget) -> Result<Automaton, Problem> {
    let mut numbers: HashMap<(usize, Chosen), usize> = HashMap::from([((0, Vec::new()), 0)]);
    let mut order = vec![(0, Vec::new())];
    let mut states = Vec::new();
    while states.len() < order.len() {
        let (state, chosen) = order[states.len()].clone();
        let mut steps = Vec::new();
        let all = &machine.states[state];
        let choice = machine.kind(state) == StateKind::Output && all.len() > 1;
        let before = chosen.iter().find(|(known, _)| *known == state);
        for (way, (action, next)) in all.iter().enumerate() {
            if before.is_some_and(|(_, only)| *only != way) {
                continue;
            }
            let mut after = chosen.clone();
            let reached = reached(machine, *next, &chosen, budget)?;
            if choice && before.is_none() && reached[state] {
                after.push((state, way));
                after.sort_unstable();
            }
            after = keep(machine, *next, after, budget)?;
            let key = (*next, after);
            let number = match numbers.get(&key) {
                Some(number) => *number,
                None => {
                    budget.state(order.len(), key.1.len())?;
                    numbers.insert(key.clone(), order.len());
                    order.push(key);
                    order.len() - 1
                }
            };
            steps.push((*action, number));
        }
        states.push(steps);
    }
    Ok(Automaton { states })
}

/// Without choices that are not come back to.
fn keep(machine: &Automaton, from: usize, chosen: Chosen, budget: &mut Budget) -> Result<Chosen, Problem> {
    if chosen.is_empty() {
        return Ok(chosen);
    }
    let reached = reached(machine, from, &chosen, budget)?;
    Ok(chosen.into_iter().filter(|(state, _)| reached[*state]).collect())
}

/// Which states can be reached from one, itself included, with these choices made.
fn reached(
    machine: &Automaton,
    from: usize,
    chosen: &Chosen,
    budget: &mut Budget,
) -> Result<Vec<bool>, Problem> {
    let mut reached = vec![false; machine.states.len()];
    let mut open = vec![from];
    budget.spend(machine.states.len() / 8)?;
    while let Some(state) = open.pop() {
        if std::mem::replace(&mut reached[state], true) {
            continue;
        }
        let only = chosen.iter().find(|(known, _)| *known == state).map(|(_, way)| *way);
        for (way, (_, next)) in machine.states[state].iter().enumerate() {
            budget.spend(1)?;
            if only.is_none_or(|only| only == way) {
                open.push(*next);
            }
        }
    }
    Ok(reached)
}
