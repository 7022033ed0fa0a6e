//! What Scribble asks of a protocol before it is projected: a role acts in a branch only once it knows
//! of it, hears of it from one role, and is connected.

use crate::diagnostic::{Code, Problem};
use crate::limits::Budget;
use crate::session::{Global, Interaction, Meeting, Node, RoleId, Whole};
use crate::syntax::Symbols;

/// A set of roles: those whose bit is set.
type Roles = u64;

fn bit(role: RoleId) -> Roles {
    1 << role
}

/// Scribble's three checks of a whole protocol.
///
/// # Errors
/// When one fails.
pub(crate) fn check(whole: &Whole, symbols: &Symbols, budget: &mut Budget) -> Result<(), Problem> {
    let roles = whole.roles.len();
    let all = (0..roles as RoleId).fold(0, |all, role| all | bit(role));
    let mut unfolding = Unfolding { whole, symbols, budget, bodies: Vec::new() };
    unfolding.enabled(&whole.body, true, all)?;
    let own = (0..roles as RoleId).map(Some).collect();
    unfolding.enablers(&whole.body, own)?;
    let first = if whole.explicit { Status::Apart } else { Status::Together };
    unfolding.connections(&whole.body, true, vec![first; roles * roles])?;
    Ok(())
}

/// Whether two roles are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Together,
    Apart,
    /// One or the other, by the branch that was taken.
    Either,
}

/// Walks a protocol in which each recursion is unfolded once: its `continue` stands for the body.
struct Unfolding<'a> {
    whole: &'a Whole,
    symbols: &'a Symbols,
    budget: &'a mut Budget,
    bodies: Vec<(u32, &'a Global)>,
}

impl<'a> Unfolding<'a> {
    fn body(&self, variable: u32) -> Option<&'a Global> {
        self.bodies.iter().rev().find(|(known, _)| *known == variable).map(|(_, body)| *body)
    }

    fn name(&self, role: RoleId) -> &'a str {
        self.whole.role(role, self.symbols)
    }

    /// The roles that know how the run goes on, after a body.
    fn enabled(&mut self, body: &'a Global, unfold: bool, mut enabled: Roles) -> Result<Roles, Problem> {
        for node in body {
            self.budget.spend(1)?;
            match node {
                Node::Act(act) => {
                    let both = act.meeting == Meeting::Disconnect;
                    let missing = [(act.from, true), (act.to, both)]
                        .into_iter()
                        .find(|(role, needed)| *needed && enabled & bit(*role) == 0);
                    if let Some((role, _)) = missing {
                        let text = format!("role {} does not know of this branch yet", self.name(role));
                        return Err(Problem::at(Code::NotEnabled, act.span, text));
                    }
                    enabled |= bit(act.to);
                }
                Node::Choice { subject, branches, span } => {
                    if enabled & bit(*subject) == 0 {
                        let text = format!("role {} does not know that it chooses", self.name(*subject));
                        return Err(Problem::at(Code::NotEnabled, *span, text));
                    }
                    let mut common = Roles::MAX;
                    for branch in branches {
                        common &= self.enabled(branch, unfold, bit(*subject))?;
                    }
                    enabled |= common;
                }
                Node::Recursion { variable, body } => {
                    self.bodies.push((*variable, body));
                    enabled = self.enabled(body, unfold, enabled)?;
                    self.bodies.pop();
                }
                Node::Continue { variable, .. } => {
                    if unfold && let Some(body) = self.body(*variable) {
                        enabled = self.enabled(body, false, enabled)?;
                    }
                }
            }
        }
        Ok(enabled)
    }

    /// For each role, from whom it heard first, after a body.
    fn enablers(
        &mut self,
        body: &'a Global,
        mut enablers: Vec<Option<RoleId>>,
    ) -> Result<Vec<Option<RoleId>>, Problem> {
        for node in body {
            self.budget.spend(1)?;
            match node {
                Node::Act(Interaction { meeting: Meeting::Disconnect, .. }) | Node::Continue { .. } => {}
                Node::Act(act) => {
                    enablers[usize::from(act.to)].get_or_insert(act.from);
                }
                Node::Recursion { body, .. } => enablers = self.enablers(body, enablers)?,
                Node::Choice { subject, branches, span } => {
                    let mut heard: Vec<Option<RoleId>> = vec![None; enablers.len()];
                    for branch in branches {
                        let mut own = vec![None; enablers.len()];
                        own[usize::from(*subject)] = Some(*subject);
                        for (role, from) in self.enablers(branch, own)?.into_iter().enumerate() {
                            let Some(from) = from else { continue };
                            let known = *heard[role].get_or_insert(from);
                            if known != from {
                                let role = self.name(role as RoleId);
                                let (one, other) = (self.name(known), self.name(from));
                                let text = format!("{role} hears of this choice from {one} or from {other}");
                                return Err(Problem::at(Code::InconsistentChoice, *span, text));
                            }
                        }
                    }
                    for (role, from) in enablers.iter_mut().zip(heard) {
                        *role = role.or(from);
                    }
                }
            }
        }
        Ok(enablers)
    }

    /// Who is connected to whom, after a body.
    fn connections(
        &mut self,
        body: &'a Global,
        unfold: bool,
        mut status: Vec<Status>,
    ) -> Result<Vec<Status>, Problem> {
        for node in body {
            self.budget.spend(1)?;
            match node {
                Node::Act(act) => self.meet(act, &mut status)?,
                Node::Choice { branches, .. } => {
                    let mut merged: Option<Vec<Status>> = None;
                    for branch in branches {
                        let after = self.connections(branch, unfold, status.clone())?;
                        self.budget.spend(after.len())?;
                        match &mut merged {
                            None => merged = Some(after),
                            Some(merged) => {
                                for (one, other) in merged.iter_mut().zip(after) {
                                    if *one != other {
                                        *one = Status::Either;
                                    }
                                }
                            }
                        }
                    }
                    status = merged.unwrap_or(status);
                }
                Node::Recursion { variable, body } => {
                    self.bodies.push((*variable, body));
                    status = self.connections(body, unfold, status)?;
                    self.bodies.pop();
                }
                Node::Continue { variable, .. } => {
                    if unfold && let Some(body) = self.body(*variable) {
                        status = self.connections(body, false, status)?;
                    }
                }
            }
        }
        Ok(status)
    }

    fn meet(&self, act: &Interaction, status: &mut [Status]) -> Result<(), Problem> {
        let roles = self.whole.roles.len();
        let pair = usize::from(act.from.min(act.to)) * roles + usize::from(act.from.max(act.to));
        let (wanted, after) = match act.meeting {
            Meeting::Message => (Status::Together, Status::Together),
            Meeting::Connect => (Status::Apart, Status::Together),
            Meeting::Disconnect => (Status::Together, Status::Apart),
        };
        if act.from != act.to && status[pair] == wanted {
            status[pair] = after;
            return Ok(());
        }
        let how = match (status[pair], act.from == act.to) {
            (_, true) => "are one role",
            (Status::Together, false) => "are connected already",
            (Status::Apart, false) => "are not connected",
            (Status::Either, false) => "are connected in some branches only",
        };
        let text = format!("{} and {} {how}", self.name(act.from), self.name(act.to));
        Err(Problem::at(Code::Connection, act.span, text))
    }
}
