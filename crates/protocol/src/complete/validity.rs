//! The machine of one role, and whether it is right.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};

use crate::diagnostic::{Act, Problem};
use crate::limits::{Budget, Limits};
use crate::local::Action;
use crate::session::{Interaction, RoleId};
use crate::tables::{Table, check_alike};

use super::events::{Event, Events, Point};
use super::fault::{Done, Fault, Kind};

/// Where the run can be, as far as a role knows: sorted, and with all that happens without it.
type Subset = Vec<Point>;

/// Where the run is, and in which subset the role believes it.
type Joint = (Point, usize);

/// Where the run is, and which roles wait for the one that does nothing, as bits.
type Waiting = (Point, u64);

/// What each place costs to reach, in moves, and from where by which message.
type Ways = HashMap<Waiting, (usize, Option<(Waiting, Interaction)>)>;

/// What is wrong with a machine, somewhere.
#[derive(Debug)]
struct Flaw {
    kind: Kind,
    /// What is sent, or what may be there to be received.
    action: Action,
    subset: usize,
    /// The points of the subset where it is wrong.
    at: Vec<Point>,
    /// What shows it from there on.
    tail: Vec<Done>,
}

/// The subset construction of one role.
#[derive(Debug)]
pub(super) struct Subsets<'a> {
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
        events: &'a Events,
        role: RoleId,
        budget: &mut Budget,
    ) -> Result<Subsets<'a>, Problem> {
        let (subsets, steps, numbers) = (Vec::new(), Vec::new(), HashMap::new());
        let mut machine = Subsets { events, role, subsets, steps, numbers };
        machine.fill(budget)?;
        Ok(machine)
    }

    /// What is wrong with the machine, if anything is, with the shortest run that shows it in which each
    /// message is received, where it can be, before the next is sent.
    ///
    /// # Errors
    /// When a limit is reached before anything was found.
    pub(super) fn fault(&self, budget: &mut Budget) -> Result<Option<Fault>, Problem> {
        let mut flaws = Vec::new();
        let looked = (0..self.subsets.len()).try_for_each(|subset| {
            self.find_sends(subset, &mut flaws, budget)?;
            self.find_receives(subset, &mut flaws, budget)
        });
        if flaws.is_empty() {
            return looked.map(|()| None);
        }
        Ok(Some(self.shortest(&flaws, budget.limits())))
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
    fn find_sends(&self, subset: usize, flaws: &mut Vec<Flaw>, budget: &mut Budget) -> Result<(), Problem> {
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
            let at: Vec<Point> = points.iter().copied().filter(|point| !good.contains(point)).collect();
            if !at.is_empty() {
                let kind = Kind::Send;
                flaws.push(Flaw { kind, action: *action, subset, at, tail: vec![(self.role, *action)] });
            }
        }
        Ok(())
    }

    /// When the role takes a message of one branch, no message of another can be there instead.
    fn find_receives(
        &self,
        subset: usize,
        flaws: &mut Vec<Flaw>,
        budget: &mut Budget,
    ) -> Result<(), Problem> {
        let receives = || self.steps[subset].iter().filter(|(action, _)| action.act == Act::Receive);
        for (first, _) in receives() {
            for (second, _) in receives().filter(|(second, _)| second.peer != first.peer) {
                for at in &self.subsets[subset] {
                    let is_second = |event: &&Event| event.role == self.role && event.action.is_like(second);
                    for event in self.events.points[*at].iter().filter(is_second) {
                        if let Some(mut tail) = self.way_to(event.to, first, budget)? {
                            tail.push((self.role, *first));
                            let kind = Kind::Receive { other: *second };
                            flaws.push(Flaw { kind, action: *first, subset, at: vec![*at], tail });
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// The shortest way, from a point on, to where the message that `wanted` receives is the first that
    /// its sender sends to the role, with the role doing nothing; `None` where it never is.
    fn way_to(
        &self,
        from: Point,
        wanted: &Action,
        budget: &mut Budget,
    ) -> Result<Option<Vec<Done>>, Problem> {
        // Roles that wait, directly or not, for the role: they do nothing either.
        let begin: Waiting = (from, 1 << self.role);
        let mut came: Ways = HashMap::from([(begin, (0, None))]);
        let mut open = BinaryHeap::from([Reverse((0, begin))]);
        while let Some(Reverse((cost, at))) = open.pop() {
            let (point, blocked) = at;
            let waits = |role: RoleId| blocked & (1 << role) != 0;
            for (act, next) in self.events.messages(point) {
                budget.spend(1)?;
                if waits(act.from) {
                    // It is not sent yet: who waits for it waits as well.
                    let next = (*next, blocked | (1 << act.to));
                    reach(&mut came, &mut open, next, cost, (at, *act), budget)?;
                } else if act.from != wanted.peer || act.to != self.role {
                    let moves = if waits(act.to) { 1 } else { 2 };
                    reach(&mut came, &mut open, (*next, blocked), cost + moves, (at, *act), budget)?;
                } else if act.message == wanted.message {
                    return Ok(Some(way(&came, at, act)));
                }
            }
        }
        Ok(None)
    }

    /// The flaw that the shortest run shows, with that run.
    fn shortest(&self, flaws: &[Flaw], limits: &Limits) -> Fault {
        let mut by_subset: HashMap<usize, Vec<&Flaw>> = HashMap::new();
        for flaw in flaws {
            by_subset.entry(flaw.subset).or_default().push(flaw);
        }
        let begin: Joint = (0, 0);
        let mut came: HashMap<Joint, Option<(Joint, Event)>> = HashMap::from([(begin, None)]);
        let mut open = VecDeque::from([(begin, 0)]);
        let mut best: Option<(usize, Joint, &Flaw)> = None;
        // Finding a run may cost as much again as finding that there is one.
        let mut budget = Budget::new(*limits);
        while let Some((at, length)) = open.pop_front() {
            if best.is_some_and(|(least, ..)| least <= length) || budget.spend(1).is_err() {
                break;
            }
            for flaw in by_subset.get(&at.1).into_iter().flatten() {
                let total = length + flaw.tail.len();
                if flaw.at.contains(&at.0) && best.is_none_or(|(least, ..)| total < least) {
                    best = Some((total, at, flaw));
                }
            }
            for event in &self.events.points[at.0] {
                let known = self.steps[at.1].iter().find(|(action, _)| action.is_like(&event.action));
                let own = event.role == self.role;
                let next = (event.to, known.filter(|_| own).map_or(at.1, |(_, next)| *next));
                came.entry(next).or_insert_with(|| {
                    open.push_back((next, length + 1));
                    Some((at, *event))
                });
            }
        }
        let mut run = Vec::new();
        let flaw = best.map_or(&flaws[0], |(_, _, flaw)| flaw);
        if let Some((_, mut at, _)) = best {
            while let Some(Some((before, event))) = came.get(&at) {
                run.push((event.role, event.action));
                at = *before;
            }
            run.reverse();
            run.extend(&flaw.tail);
        }
        Fault { kind: flaw.kind, role: self.role, action: flaw.action, run }
    }
}

/// A cheaper way to a point is kept.
fn reach(
    came: &mut Ways,
    open: &mut BinaryHeap<Reverse<(usize, Waiting)>>,
    next: Waiting,
    cost: usize,
    by: (Waiting, Interaction),
    budget: &mut Budget,
) -> Result<(), Problem> {
    if came.get(&next).is_none_or(|(known, _)| cost < *known) {
        budget.state(came.len(), 2)?;
        came.insert(next, (cost, Some(by)));
        open.push(Reverse((cost, next)));
    }
    Ok(())
}

/// What is done on the way to a point, and the sending there.
fn way(came: &Ways, end: Waiting, last: &Interaction) -> Vec<Done> {
    let mut done: Vec<Done> = Action::of(last.from, last).map(|send| (last.from, send)).into_iter().collect();
    let mut at = end;
    while let Some((_, Some((before, act)))) = came.get(&at) {
        let waits = |role: RoleId| before.1 & (1 << role) != 0;
        if !waits(act.from) {
            // Backwards: what is received was sent before.
            let receives = Action::of(act.to, act).filter(|_| !waits(act.to)).map(|took| (act.to, took));
            done.extend(receives);
            done.extend(Action::of(act.from, act).map(|sent| (act.from, sent)));
        }
        at = *before;
    }
    done.reverse();
    done
}
