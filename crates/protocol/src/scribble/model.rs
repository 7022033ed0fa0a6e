//! Every run of a protocol's machines with queues of one message.

use std::collections::HashMap;

use crate::automaton::{Automaton, StateKind};
use crate::diagnostic::{Act, Code, Move, Problem, Span};
use crate::limits::Budget;
use crate::local::Action;
use crate::session::{RoleId, Whole};
use crate::syntax::Symbols;

use super::config::{Config, System};

/// Whether a choice that comes again and again is made in every way some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choices {
    Fair,
    Unfair,
}

/// Looks at every state that can be reached, nearest first, and at the sets of states that are never
/// left.
///
/// # Errors
/// With a shortest run to what is wrong, or when a limit is reached.
pub(crate) fn check(
    whole: &Whole,
    symbols: &Symbols,
    machines: &[Automaton],
    choices: Choices,
    budget: &mut Budget,
) -> Result<(), Problem> {
    let system = System::new(machines, whole.explicit);
    let mut model =
        Model { whole, symbols, system, choices, configs: Vec::new(), ways: Vec::new(), came: Vec::new() };
    model.explore(budget)?;
    model.check_progress(budget)
}

struct Model<'a> {
    whole: &'a Whole,
    symbols: &'a Symbols,
    system: System<'a>,
    choices: Choices,
    configs: Vec<Config>,
    /// Who acts and where that leads, for each state.
    ways: Vec<Vec<(RoleId, usize)>>,
    /// From where each state but the first was reached first, and how.
    came: Vec<Option<(usize, RoleId, Action)>>,
}

impl Model<'_> {
    fn explore(&mut self, budget: &mut Budget) -> Result<(), Problem> {
        let first = self.system.first();
        let cost = first.len();
        let mut numbers: HashMap<Config, usize> = HashMap::from([(first.clone(), 0)]);
        self.configs.push(first);
        self.came.push(None);
        while self.ways.len() < self.configs.len() {
            let at = self.ways.len();
            let config = self.configs[at].clone();
            budget.spend(self.system.roles() * self.system.roles())?;
            let fired = self.system.fired(&config);
            self.check_safety(at, fired.is_empty())?;
            let mut ways = Vec::with_capacity(fired.len());
            for step in fired {
                budget.spend(cost)?;
                let number = match numbers.get(&step.next) {
                    Some(number) => *number,
                    None => {
                        budget.state(self.configs.len(), cost)?;
                        numbers.insert(step.next.clone(), self.configs.len());
                        self.configs.push(step.next);
                        self.came.push(Some((at, step.role, step.action)));
                        self.configs.len() - 1
                    }
                };
                ways.push((step.role, number));
            }
            self.ways.push(ways);
        }
        Ok(())
    }

    fn check_safety(&self, at: usize, over: bool) -> Result<(), Problem> {
        let config = &self.configs[at];
        let roles = 0..self.system.roles();
        for role in roles.clone() {
            let steps = self.system.steps(config, role);
            if self.system.kind(config, role) != StateKind::Input {
                continue;
            }
            let peer = usize::from(steps[0].0.peer);
            let Some(message) = self.system.waiting(config, role, peer) else { continue };
            let taken = steps.iter().any(|(a, _)| usize::from(a.peer) == peer && a.message == message);
            if !taken {
                let message = self.whole.messages.shown(message, self.symbols);
                let text = format!(
                    "{message} comes from {} and {} cannot take it",
                    self.name(peer),
                    self.name(role)
                );
                return Err(self.problem(Code::StuckMessage, at, Some(steps[0].0.span), text));
            }
        }
        for role in roles.clone() {
            if let Some(cycle) = self.system.cycle(config, role) {
                let names: Vec<&str> = cycle.iter().map(|role| self.name(*role)).collect();
                let text = format!("{} wait for each other for ever", names.join(" and "));
                return Err(self.problem(Code::Deadlock, at, self.here(config, role), text));
            }
        }
        for role in roles.clone() {
            let done = self.system.kind(config, role) == StateKind::End;
            for peer in roles.clone() {
                let Some(message) = self.system.waiting(config, role, peer) else { continue };
                if done || !self.system.connected(config, role, peer) {
                    let span = self.sent(at, peer, role);
                    let message = self.whole.messages.shown(message, self.symbols);
                    let text = format!("{message} is left: {} is done and does not take it", self.name(role));
                    return Err(self.problem(Code::Orphan, at, span, text));
                }
            }
        }
        if over && let Some(role) = roles.clone().find(|role| !self.system.may_stop(config, *role)) {
            let text = format!("nothing can happen any more, and {} is not done", self.name(role));
            return Err(self.problem(Code::Unfinished, at, self.here(config, role), text));
        }
        Ok(())
    }

    /// In states that are never left, every role acts or may stop, and every message is taken.
    fn check_progress(&self, budget: &mut Budget) -> Result<(), Problem> {
        let mut components = self.last_components(budget)?;
        // States are numbered as they are reached: the nearest of a component is its first.
        components.sort_by_key(|component| component.iter().copied().min());
        for component in components {
            let nearest = component.iter().copied().min().unwrap_or(0);
            let config = &self.configs[nearest];
            let acting: Vec<RoleId> =
                component.iter().flat_map(|at| self.ways[*at].iter().map(|(role, _)| *role)).collect();
            for role in 0..self.system.roles() {
                budget.spend(1 + component.len())?;
                let acts = acting.contains(&(role as RoleId));
                if !acts && !self.system.may_stop(config, role) && self.system.is_empty(config, role) {
                    let text =
                        format!("{} may wait for ever while others go on{}", self.name(role), self.how());
                    return Err(self.problem(Code::Starved, nearest, self.here(config, role), text));
                }
                for peer in 0..self.system.roles() {
                    budget.spend(component.len())?;
                    let always = component
                        .iter()
                        .all(|at| self.system.waiting(&self.configs[*at], role, peer).is_some());
                    if always {
                        let message = self.system.waiting(config, role, peer).unwrap_or(0);
                        let message = self.whole.messages.shown(message, self.symbols);
                        let text = format!("{} may never take {message}{}", self.name(role), self.how());
                        let span = self.sent(nearest, peer, role);
                        return Err(self.problem(Code::NeverReceived, nearest, span, text));
                    }
                }
            }
        }
        Ok(())
    }

    fn how(&self) -> &'static str {
        match self.choices {
            Choices::Fair => "",
            Choices::Unfair => ", if a choice is made the same way each time",
        }
    }

    /// Sets of states of which each can be reached from each, and from which nothing else can, where
    /// something still happens (Tarjan, 1972).
    fn last_components(&self, budget: &mut Budget) -> Result<Vec<Vec<usize>>, Problem> {
        const NONE: usize = usize::MAX;
        let count = self.configs.len();
        let mut order = vec![NONE; count];
        let mut low = vec![0; count];
        let mut component = vec![NONE; count];
        let mut components: Vec<Vec<usize>> = Vec::new();
        let mut path: Vec<usize> = Vec::new();
        let mut visits: Vec<(usize, usize)> = vec![(0, 0)];
        let mut next = 0;
        while let Some((at, way)) = visits.last_mut() {
            budget.spend(1)?;
            let at = *at;
            if *way == 0 {
                (order[at], low[at]) = (next, next);
                next += 1;
                path.push(at);
            }
            if let Some((_, to)) = self.ways[at].get(*way) {
                *way += 1;
                if order[*to] == NONE {
                    visits.push((*to, 0));
                } else if component[*to] == NONE {
                    low[at] = low[at].min(order[*to]);
                }
                continue;
            }
            visits.pop();
            if let Some((above, _)) = visits.last() {
                low[*above] = low[*above].min(low[at]);
            }
            if low[at] == order[at] {
                let mut members = Vec::new();
                while let Some(member) = path.pop() {
                    component[member] = components.len();
                    members.push(member);
                    if member == at {
                        break;
                    }
                }
                components.push(members);
            }
        }
        let stays = |members: &Vec<usize>| {
            let number = component[members[0]];
            let mut ways = members.iter().flat_map(|at| &self.ways[*at]).peekable();
            ways.peek().is_some() && ways.all(|(_, to)| component[*to] == number)
        };
        components.retain(stays);
        Ok(components)
    }

    fn name(&self, role: usize) -> &str {
        self.whole.role(role as RoleId, self.symbols)
    }

    /// Where the file says what a role waits for.
    fn here(&self, config: &Config, role: usize) -> Option<Span> {
        self.system.steps(config, role).first().map(|(action, _)| action.span)
    }

    /// Where the file says what was sent last.
    fn sent(&self, at: usize, from: usize, to: usize) -> Option<Span> {
        let sent = |role: &RoleId, action: &Action| {
            usize::from(*role) == from && usize::from(action.peer) == to && action.act == Act::Send
        };
        let run = self.run(at);
        run.iter().rev().find(|(role, action)| sent(role, action)).map(|(_, action)| action.span)
    }

    fn run(&self, mut at: usize) -> Vec<(RoleId, Action)> {
        let mut run = Vec::new();
        while let Some((before, role, action)) = self.came[at] {
            run.push((role, action));
            at = before;
        }
        run.reverse();
        run
    }

    fn problem(&self, code: Code, at: usize, span: Option<Span>, text: String) -> Problem {
        let trace = self.run(at).into_iter().map(|(role, action)| Move {
            role: self.name(usize::from(role)).into(),
            act: action.act,
            peer: self.name(usize::from(action.peer)).into(),
            message: self.whole.messages.shown(action.message, self.symbols).into(),
        });
        let problem = Problem::new(code, text).with_trace(trace.collect());
        problem.or_at(span.unwrap_or(self.whole.span))
    }
}
