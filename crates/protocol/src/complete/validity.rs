//! The machine of one role, and whether it is right.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::diagnostic::{Act, Code, Move, Problem};
use crate::limits::Budget;
use crate::local::Action;
use crate::session::{RoleId, Whole};
use crate::syntax::Symbols;
use crate::tables::{Table, check_alike};

use super::events::{Event, Events, Point};

/// Where the run can be, as far as a role knows: sorted, and with all that happens without it.
type Subset = Vec<Point>;

/// Where the run is, and in which subset the role believes it.
type Joint = (Point, usize);

/// The subset construction of one role.
#[derive(Debug)]
pub(super) struct Subsets<'a> {
    whole: &'a Whole,
    symbols: &'a Symbols,
    events: &'a Events,
    role: RoleId,
    subsets: Vec<Subset>,
    steps: Vec<Vec<(Action, usize)>>,
    numbers: HashMap<Subset, usize>,
}

impl<'a> Subsets<'a> {
    /// The role's machine, whether or not it is right.
    ///
    /// # Errors
    /// When it is larger than is allowed, or one message has several bounds.
    pub(super) fn build(
        whole: &'a Whole,
        symbols: &'a Symbols,
        events: &'a Events,
        role: RoleId,
        budget: &mut Budget,
    ) -> Result<Subsets<'a>, Problem> {
        let (subsets, steps, numbers) = (Vec::new(), Vec::new(), HashMap::new());
        let mut machine = Subsets { whole, symbols, events, role, subsets, steps, numbers };
        machine.fill(budget)?;
        Ok(machine)
    }

    /// Whether the machine is right.
    ///
    /// # Errors
    /// When it is not, with a run that shows it, or when a limit is reached first.
    pub(super) fn check(&self, budget: &mut Budget) -> Result<(), Problem> {
        for subset in 0..self.subsets.len() {
            self.check_sends(subset, budget)?;
            self.check_receives(subset, budget)?;
        }
        Ok(())
    }

    pub(super) fn into_table(self) -> Table {
        let over = |subset: &Subset| subset.iter().any(|point| self.events.is_end(*point));
        Table { ends: self.subsets.iter().map(over).collect(), states: self.steps }
    }

    fn fill(&mut self, budget: &mut Budget) -> Result<(), Problem> {
        self.number(vec![0], budget)?;
        while self.steps.len() < self.subsets.len() {
            let mut grouped: Vec<(Action, Subset)> = Vec::new();
            for event in self.own(self.steps.len()) {
                budget.spend(1 + grouped.len())?;
                match grouped.iter_mut().find(|(known, _)| known.is_like(&event.action)) {
                    Some((known, targets)) => {
                        check_alike(known, &event.action)?;
                        targets.push(event.to);
                    }
                    None => grouped.push((event.action, vec![event.to])),
                }
            }
            let mut steps = Vec::with_capacity(grouped.len());
            for (action, targets) in grouped {
                steps.push((action, self.number(targets, budget)?));
            }
            self.steps.push(steps);
        }
        Ok(())
    }

    /// What the role does next, from anywhere in a subset.
    fn own(&self, subset: usize) -> Vec<Event> {
        let events = self.subsets[subset].iter().flat_map(|point| &self.events.points[*point]);
        events.filter(|event| event.role == self.role).copied().collect()
    }

    /// The number of the subset that these points lead to without the role.
    fn number(&mut self, mut points: Vec<Point>, budget: &mut Budget) -> Result<usize, Problem> {
        let mut seen: HashSet<Point> = points.iter().copied().collect();
        while let Some(point) = points.pop() {
            for event in &self.events.points[point] {
                budget.spend(1)?;
                if event.role != self.role && seen.insert(event.to) {
                    points.push(event.to);
                }
            }
        }
        let mut subset: Subset = seen.into_iter().collect();
        subset.sort_unstable();
        if let Some(number) = self.numbers.get(&subset) {
            return Ok(*number);
        }
        budget.state(self.subsets.len(), subset.len())?;
        self.numbers.insert(subset.clone(), self.subsets.len());
        self.subsets.push(subset);
        Ok(self.subsets.len() - 1)
    }

    /// Wherever the run can be, what the role may send comes next for it.
    fn check_sends(&self, subset: usize, budget: &mut Budget) -> Result<(), Problem> {
        let points = &self.subsets[subset];
        for (action, _) in self.steps[subset].iter().filter(|(action, _)| action.act == Act::Send) {
            // From where the send is reached without the role: backwards, until nothing changes.
            let mut good: HashSet<Point> = HashSet::new();
            let mut changed = true;
            while changed {
                changed = false;
                for point in points.iter().rev() {
                    let leads = |event: &Event| {
                        let own = event.role == self.role;
                        if own { event.action.is_like(action) } else { good.contains(&event.to) }
                    };
                    budget.spend(1)?;
                    if !good.contains(point) && self.events.points[*point].iter().any(leads) {
                        changed |= good.insert(*point);
                    }
                }
            }
            let bad: Vec<Point> = points.iter().copied().filter(|point| !good.contains(point)).collect();
            if !bad.is_empty() {
                let role = self.whole.role(self.role, self.symbols);
                let text = format!("{role} may send {}, but cannot know that it should", self.shown(action));
                return Err(self.problem(Code::SendValidity, action, (&bad, subset), text, budget));
            }
        }
        Ok(())
    }

    /// When the role takes a message of one branch, no message of another can be there instead.
    fn check_receives(&self, subset: usize, budget: &mut Budget) -> Result<(), Problem> {
        let receives = || self.steps[subset].iter().filter(|(action, _)| action.act == Act::Receive);
        for (first, _) in receives() {
            for (second, next) in receives().filter(|(second, _)| second.peer != first.peer) {
                for event in self.own(subset).iter().filter(|event| event.action.is_like(second)) {
                    if self.is_available(event.to, first, budget)? {
                        let role = self.whole.role(self.role, self.symbols);
                        let (one, other) = (self.shown(first), self.shown(second));
                        let text = format!(
                            "{role} may find both {one} from {} and {other} from {}, and cannot tell the branch",
                            self.whole.role(first.peer, self.symbols),
                            self.whole.role(second.peer, self.symbols),
                        );
                        return Err(self.problem(
                            Code::ReceiveValidity,
                            first,
                            (&[event.to], *next),
                            text,
                            budget,
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the message that `wanted` receives can be the first that its sender sends to the role
    /// from a point on, with the role doing nothing.
    fn is_available(&self, from: Point, wanted: &Action, budget: &mut Budget) -> Result<bool, Problem> {
        // Roles that wait, directly or not, for the role: they do nothing either.
        let mut open: Vec<(Point, u64)> = vec![(from, 1 << self.role)];
        let mut seen: HashSet<(Point, u64)> = open.iter().copied().collect();
        while let Some((point, blocked)) = open.pop() {
            for (act, next) in self.events.messages(point) {
                budget.spend(1)?;
                let next = if blocked & (1 << act.from) != 0 {
                    (*next, blocked | (1 << act.to))
                } else if act.from == wanted.peer && act.to == self.role {
                    if act.message == wanted.message {
                        return Ok(true);
                    }
                    continue;
                } else {
                    (*next, blocked)
                };
                if seen.insert(next) {
                    budget.state(seen.len(), 2)?;
                    open.push(next);
                }
            }
        }
        Ok(false)
    }

    fn shown(&self, action: &Action) -> String {
        self.whole.messages.shown(action.message, self.symbols)
    }

    /// With the shortest run to one of some points that the role cannot tell from others of a subset.
    fn problem(
        &self,
        code: Code,
        action: &Action,
        (points, subset): (&[Point], usize),
        text: String,
        budget: &mut Budget,
    ) -> Problem {
        let begin = (0, 0);
        let mut came: HashMap<Joint, Option<(Joint, Event)>> = HashMap::from([(begin, None)]);
        let mut open = VecDeque::from([begin]);
        let mut end = None;
        while let Some(at) = open.pop_front() {
            if (at.1 == subset && points.contains(&at.0)) || budget.spend(1).is_err() {
                end = Some(at);
                break;
            }
            for event in &self.events.points[at.0] {
                let known = self.steps[at.1].iter().find(|(action, _)| action.is_like(&event.action));
                let own = event.role == self.role;
                let next = (event.to, known.filter(|_| own).map_or(at.1, |(_, next)| *next));
                came.entry(next).or_insert_with(|| {
                    open.push_back(next);
                    Some((at, *event))
                });
            }
        }
        let mut trace = Vec::new();
        let mut at = end.unwrap_or(begin);
        while let Some(Some((before, event))) = came.get(&at) {
            trace.push(Move {
                role: self.whole.role(event.role, self.symbols).into(),
                act: event.action.act,
                peer: self.whole.role(event.action.peer, self.symbols).into(),
                message: self.shown(&event.action).into(),
            });
            at = *before;
        }
        trace.reverse();
        Problem::at(code, action.span, text).with_trace(trace)
    }
}
