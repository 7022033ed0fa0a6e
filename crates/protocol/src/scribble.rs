//! The discipline of Scribble: syntactic checks, projection, and a check of all runs with queues of
//! one message, first with choices that are fair and then with choices that need not be (Hu and
//! Yoshida, FASE 2016 and FASE 2017). Its verdicts are those of the reference tool, scribble-java.
//!
//! What it finds is found with queues of one message: a protocol that it accepts may need no more.

mod config;
mod model;
mod shape;
mod unfair;

use crate::automaton::{Automaton, StateKind};
use crate::diagnostic::{Code, Problem};
use crate::limits::Budget;
use crate::local::{check_reachable, project};
use crate::session::{Messages, RoleId, Whole};
use crate::syntax::Symbols;

/// The machines of a protocol that Scribble accepts.
///
/// # Errors
/// When it does not, or a limit is reached first.
pub(crate) fn check(
    whole: &Whole,
    symbols: &Symbols,
    budget: &mut Budget,
) -> Result<Vec<Automaton>, Problem> {
    shape::check(whole, symbols, budget)?;
    let mut machines = Vec::with_capacity(whole.roles.len());
    for role in 0..whole.roles.len() as RoleId {
        let local = project(&whole.body, role, budget)?;
        check_reachable(&local, |action| action.span, budget).map_err(|problem| {
            let text = format!("{}, for role {}", problem.message, whole.role(role, symbols));
            Problem { message: text, ..problem }
        })?;
        machines.push(Automaton::build(&local, budget)?);
    }
    for (role, machine) in machines.iter().enumerate() {
        check_states(machine, (&whole.messages, symbols), whole.role(role as RoleId, symbols), budget)?;
    }
    model::check(whole, symbols, &machines, model::Choices::Fair, budget)?;
    let unfair: Result<Vec<Automaton>, Problem> =
        machines.iter().map(|machine| unfair::unfair(machine, budget)).collect();
    model::check(whole, symbols, &unfair?, model::Choices::Unfair, budget)?;
    Ok(machines)
}

/// The machine of a role, whether or not the protocol is accepted.
///
/// # Errors
/// When it is larger than is allowed.
pub(crate) fn machine(whole: &Whole, role: RoleId, budget: &mut Budget) -> Result<Automaton, Problem> {
    Automaton::build(&project(&whole.body, role, budget)?, budget)
}

/// In one state a role sends or receives, and a label has one payload.
fn check_states(
    machine: &Automaton,
    (messages, symbols): (&Messages, &Symbols),
    role: &str,
    budget: &mut Budget,
) -> Result<(), Problem> {
    for (state, steps) in machine.states.iter().enumerate() {
        budget.spend(1 + steps.len() * steps.len())?;
        if machine.kind(state) == StateKind::Mixed {
            let span = steps[steps.len() - 1].0.span;
            let text = format!("role {role} may do this, or something of another kind");
            return Err(Problem::at(Code::Mixed, span, text));
        }
        for (i, (one, _)) in steps.iter().enumerate() {
            for (other, _) in &steps[..i] {
                let alike = one.peer == other.peer && messages.same_label(one.message, other.message);
                if alike && one.message != other.message {
                    let shown = |id| messages.shown(id, symbols);
                    let (one_text, other_text) = (shown(other.message), shown(one.message));
                    let text =
                        format!("for role {role}, {other_text} and {one_text} have one label in one choice");
                    return Err(Problem::at(Code::Payloads, one.span, text));
                }
            }
        }
    }
    Ok(())
}
