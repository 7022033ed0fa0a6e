//! The discipline `complete`: a protocol whose choices are each made by one sender is accepted if and
//! only if machines can do what it says and nothing else, without coming to a halt, whatever the queues
//! hold (Li, Stutz, Wies and Zufferey, CAV 2023).
//!
//! The protocol is read as an automaton of sends and receives. A role's machine is the subset
//! construction over what the role takes part in. It is right if two things hold: a role that sends
//! may do so wherever the run can be, as far as the role knows (send validity), and a role that may
//! receive from several roles cannot mistake a message for one of another branch (receive validity).
//! Subsets may be exponentially many: a limit that is reached is no acceptance.

mod counterexample;
mod events;
mod fault;
#[cfg(test)]
mod oracle;
mod validity;

use crate::automaton::graph;
use crate::diagnostic::{Code, Problem};
use crate::limits::Budget;
use crate::local::check_reachable;
use crate::session::{Global, Interaction, Meeting, Node, RoleId, Whole, visit};
use crate::syntax::Symbols;
use crate::tables::Table;

use events::Events;
use fault::Fault;
use validity::Subsets;

/// The machines of a protocol that can be implemented.
///
/// # Errors
/// When it cannot, with a run that shows it; when a choice is not made by one sender; or when a limit
/// is reached first.
pub(crate) fn check(whole: &Whole, symbols: &Symbols, budget: &mut Budget) -> Result<Vec<Table>, Problem> {
    check_meetings(&whole.body)?;
    check_reachable(&whole.body, |act| act.span, budget)?;
    check_subjects(whole, &whole.body, symbols, budget)?;
    let events = events(whole, symbols, budget)?;
    let mut tables = Vec::with_capacity(whole.roles.len());
    let mut faults: Vec<Fault> = Vec::new();
    for role in 0..whole.roles.len() as RoleId {
        let machine = Subsets::build(&events, role, budget)
            .and_then(|machine| machine.fault(budget).map(|fault| (machine.into_table(), fault)));
        match machine {
            Ok((table, fault)) => {
                tables.push(table);
                faults.extend(fault);
            }
            // What is wrong is worth more than a limit that is reached after it.
            Err(problem) if faults.is_empty() => return Err(problem),
            Err(_) => break,
        }
    }
    let Some(fault) = faults.into_iter().min_by_key(Fault::moves) else { return Ok(tables) };
    let is_whole = tables.len() == whole.roles.len();
    let shorter =
        is_whole.then(|| counterexample::shorter(&events, &tables, fault.moves(), budget.limits())).flatten();
    Err(shorter.unwrap_or(fault).problem(whole, symbols))
}

/// The automaton of a protocol whose choices are each made by one sender.
fn events(whole: &Whole, symbols: &Symbols, budget: &mut Budget) -> Result<Events, Problem> {
    let graph = graph(&whole.body, budget)?;
    for (steps, ends) in graph.states.iter().zip(&graph.ends) {
        check_choice(whole, symbols, steps, *ends, budget)?;
    }
    Ok(Events::of(graph))
}

/// There are messages alone.
fn check_meetings(body: &Global) -> Result<(), Problem> {
    let mut found = None;
    visit(body, &mut |node| {
        if let Node::Act(act) = node
            && act.meeting != Meeting::Message
        {
            found.get_or_insert(act.span);
        }
    });
    let text = "this discipline does not speak of connections that come and go";
    found.map_or(Ok(()), |span| Err(Problem::at(Code::OutsideDiscipline, span, text)))
}

/// Every branch begins with a message of the role that chooses.
fn check_subjects(
    whole: &Whole,
    body: &[Node<Interaction>],
    symbols: &Symbols,
    budget: &mut Budget,
) -> Result<(), Problem> {
    for node in body {
        budget.spend(1)?;
        match node {
            Node::Act(_) | Node::Continue { .. } => {}
            Node::Recursion { body, .. } => check_subjects(whole, body, symbols, budget)?,
            Node::Choice { subject, branches, .. } => {
                for branch in branches {
                    if let Some(first) = first(branch, *subject, budget)? {
                        let (chooses, begins) =
                            (whole.role(*subject, symbols), whole.role(first.from, symbols));
                        let text = format!("{chooses} chooses, but this branch begins with {begins}");
                        return Err(Problem::at(Code::NotSenderDriven, first.span, text));
                    }
                    check_subjects(whole, branch, symbols, budget)?;
                }
            }
        }
    }
    Ok(())
}

/// A first message of a branch that another role sends.
fn first<'a>(
    branch: &'a [Node<Interaction>],
    subject: RoleId,
    budget: &mut Budget,
) -> Result<Option<&'a Interaction>, Problem> {
    budget.spend(1)?;
    match branch.first() {
        Some(Node::Act(act)) => Ok(Some(act).filter(|act| act.from != subject)),
        Some(Node::Recursion { body, .. }) => first(body, subject, budget),
        Some(Node::Choice { branches, .. }) => {
            for branch in branches {
                if let Some(found) = first(branch, subject, budget)? {
                    return Ok(Some(found));
                }
            }
            Ok(None)
        }
        // Where it leads is a state that is checked with the others.
        Some(Node::Continue { .. }) | None => Ok(None),
    }
}

/// What can be done in a state is sent by one role, and its receiver and label say what it is.
fn check_choice(
    whole: &Whole,
    symbols: &Symbols,
    steps: &[(Interaction, usize)],
    ends: bool,
    budget: &mut Budget,
) -> Result<(), Problem> {
    let Some((begin, _)) = steps.first() else {
        let text = "a recursion comes back to itself without a message";
        return if ends { Ok(()) } else { Err(Problem::at(Code::Unguarded, whole.span, text)) };
    };
    if ends {
        let text = "this may be sent, or all may be over without a word";
        return Err(Problem::at(Code::NotSenderDriven, begin.span, text));
    }
    budget.spend(steps.len() * steps.len())?;
    for (i, (one, _)) in steps.iter().enumerate() {
        if one.from != begin.from {
            let (first, second) = (whole.role(begin.from, symbols), whole.role(one.from, symbols));
            let text = format!("{second} may send this, or {first} something else");
            return Err(Problem::at(Code::NotSenderDriven, one.span, text));
        }
        let alike = steps[..i]
            .iter()
            .find(|(other, _)| one.to == other.to && whole.messages.same_label(one.message, other.message));
        if alike.is_some() {
            let text =
                format!("another branch begins with this label to {} too", whole.role(one.to, symbols));
            return Err(Problem::at(Code::SameBeginning, one.span, text));
        }
    }
    Ok(())
}
