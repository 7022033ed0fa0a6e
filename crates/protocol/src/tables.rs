//! From machines that may have two steps alike in one state to those that are handed on.

use std::collections::{BTreeSet, HashMap};

use crate::automaton::Automaton;
use crate::diagnostic::{Act, Code, Problem};
use crate::limits::Budget;
use crate::local::Action;
use crate::machine::{Choice, Direction, Machine, Message, Protocol, Role, Signature, State, Step};
use crate::modules::simple;
use crate::session::{Label, MessageId, RoleId, Whole};
use crate::syntax::Symbols;

/// A machine that has no two steps alike in one state.
#[derive(Debug)]
pub(crate) struct Table {
    pub states: Vec<Vec<(Action, usize)>>,
    /// Whether the role may be done in a state.
    pub ends: Vec<bool>,
}

/// The machine with the same runs and no two steps alike in one state.
///
/// # Errors
/// When it is larger than is allowed.
pub(crate) fn determinise(machine: &Automaton, budget: &mut Budget) -> Result<Table, Problem> {
    let first = BTreeSet::from([0]);
    let mut numbers = HashMap::from([(first.clone(), 0)]);
    let mut order = vec![first];
    let mut table = Table { states: Vec::new(), ends: Vec::new() };
    while table.states.len() < order.len() {
        let members = order[table.states.len()].clone();
        let mut grouped: Vec<(Action, BTreeSet<usize>)> = Vec::new();
        for (action, next) in members.iter().flat_map(|state| &machine.states[*state]) {
            budget.spend(1 + grouped.len())?;
            match grouped.iter_mut().find(|(known, _)| known.is_like(action)) {
                Some((known, targets)) => {
                    check_alike(known, action)?;
                    targets.insert(*next);
                }
                None => grouped.push((*action, BTreeSet::from([*next]))),
            }
        }
        let mut steps = Vec::with_capacity(grouped.len());
        for (action, targets) in grouped {
            let number = match numbers.get(&targets) {
                Some(number) => *number,
                None => {
                    budget.state(order.len(), targets.len())?;
                    numbers.insert(targets.clone(), order.len());
                    order.push(targets);
                    order.len() - 1
                }
            };
            steps.push((action, number));
        }
        table.ends.push(members.iter().any(|state| machine.states[*state].is_empty()));
        table.states.push(steps);
    }
    Ok(table)
}

/// The table with the same runs and the fewest states: those that can do the same are one (Moore, 1956).
///
/// # Errors
/// When that takes more steps than are left.
pub(crate) fn minimise(table: &Table, budget: &mut Budget) -> Result<Table, Problem> {
    let mut classes = vec![0; table.states.len()];
    let mut count = 1;
    loop {
        let mut numbers = HashMap::new();
        let mut finer = Vec::with_capacity(classes.len());
        for (state, steps) in table.states.iter().enumerate() {
            budget.spend(1 + steps.len())?;
            let mut can: Vec<_> = steps.iter().map(|(action, next)| (action.key(), classes[*next])).collect();
            can.sort_unstable();
            let next = numbers.len();
            finer.push(*numbers.entry((table.ends[state], can)).or_insert(next));
        }
        let changed = numbers.len() != count;
        (classes, count) = (finer, numbers.len());
        if !changed {
            break;
        }
    }
    // In the order in which they are met, from the first on.
    let mut minimal = Table { states: Vec::new(), ends: Vec::new() };
    for (state, class) in classes.iter().enumerate() {
        if *class == minimal.states.len() {
            let steps = table.states[state].iter().map(|(action, next)| (*action, classes[*next]));
            minimal.states.push(steps.collect());
            minimal.ends.push(table.ends[state]);
        }
    }
    Ok(minimal)
}

/// Two ways of doing one thing have one bound.
pub(crate) fn check_alike(known: &Action, other: &Action) -> Result<(), Problem> {
    if (known.within, known.late) == (other.within, other.late) {
        return Ok(());
    }
    Err(Problem::at(Code::Deadlines, other.span, "the same message has another bound in another branch"))
}

/// Deadlines of every state of every table.
pub(crate) fn check_bounds(whole: &Whole, symbols: &Symbols, tables: &[Table]) -> Result<(), Problem> {
    for (role, table) in tables.iter().enumerate() {
        for steps in &table.states {
            check_deadlines(whole.role(role as RoleId, symbols), steps)?;
        }
    }
    Ok(())
}

/// The tables as they are handed on, and where a role may be left waiting though all is done.
///
/// # Errors
/// When a table is none that a monitor can hold a role to.
pub(crate) fn hand_on(
    whole: &Whole,
    symbols: &Symbols,
    tables: &[Table],
) -> Result<(Protocol, Vec<(Role, State)>), Problem> {
    let mut numbers: HashMap<MessageId, Message> = HashMap::new();
    let mut messages = Vec::new();
    let mut waiting = Vec::new();
    let mut machines = Vec::with_capacity(tables.len());
    for (role, table) in tables.iter().enumerate() {
        let mut states = Vec::with_capacity(table.states.len());
        for (state, steps) in table.states.iter().enumerate() {
            let name = whole.role(role as RoleId, symbols);
            let sends = check_direction(name, steps, table.ends[state])?;
            if !sends && table.ends[state] && !steps.is_empty() {
                waiting.push((Role(role as u16), State(state as u32)));
            }
            check_labels(whole, symbols, name, steps)?;
            let within = check_deadlines(name, steps)?;
            let steps = steps.iter().map(|(action, next)| Step {
                direction: if sends { Direction::Send } else { Direction::Receive },
                peer: Role(action.peer),
                message: *numbers.entry(action.message).or_insert_with(|| {
                    messages.push(signature(whole, symbols, action.message));
                    Message(messages.len() as u32 - 1)
                }),
                next: State(*next as u32),
                late: action.late,
            });
            states.push(Choice { steps: steps.collect(), within });
        }
        machines.push(Machine { states });
    }
    let protocol = Protocol {
        name: simple(symbols.text(whole.name)).into(),
        roles: whole.roles.iter().map(|role| symbols.text(*role).into()).collect(),
        messages,
        machines,
    };
    Ok((protocol, waiting))
}

fn signature(whole: &Whole, symbols: &Symbols, message: MessageId) -> Signature {
    match whole.messages.label(message) {
        Label::Named(name) => Signature { label: symbols.text(*name).into(), payload: Vec::new() },
        Label::Literal(label, payload) => Signature {
            label: label.map_or("", |label| symbols.text(label)).into(),
            payload: payload.iter().map(|name| symbols.text(*name).into()).collect(),
        },
    }
}

/// Whether the steps of a state are sends.
fn check_direction(role: &str, steps: &[(Action, usize)], ends: bool) -> Result<bool, Problem> {
    let mut sends = false;
    for (i, (action, _)) in steps.iter().enumerate() {
        let send = match action.act {
            Act::Send => true,
            Act::Receive => false,
            Act::Connect | Act::Accept | Act::Disconnect => {
                let text = "connections that come and go are checked, but cannot be held to yet";
                return Err(Problem::at(Code::Unsupported, action.span, text));
            }
        };
        if i > 0 && send != sends {
            let text = format!("role {role} may send or receive here, as it likes");
            return Err(Problem::at(Code::Mixed, action.span, text));
        }
        if send && ends {
            let text = format!("role {role} may send this, or be done, as it likes");
            return Err(Problem::at(Code::Mixed, action.span, text));
        }
        sends = send;
    }
    Ok(sends)
}

/// A label has one payload in one state.
fn check_labels(
    whole: &Whole,
    symbols: &Symbols,
    role: &str,
    steps: &[(Action, usize)],
) -> Result<(), Problem> {
    let mut seen: HashMap<(RoleId, String), MessageId> = HashMap::new();
    for (action, _) in steps {
        let label = match whole.messages.label(action.message) {
            Label::Named(name) | Label::Literal(Some(name), _) => format!("{name:?}"),
            Label::Literal(None, _) => String::new(),
        };
        let first = *seen.entry((action.peer, label)).or_insert(action.message);
        if first != action.message {
            let (one, other) = (first, action.message);
            let text = format!(
                "for role {role}, {} and {} have one label in one choice",
                whole.messages.shown(one, symbols),
                whole.messages.shown(other, symbols)
            );
            return Err(Problem::at(Code::Payloads, action.span, text));
        }
    }
    Ok(())
}

/// The bound that all steps of a state have in common, but those for when it is over.
fn check_deadlines(role: &str, steps: &[(Action, usize)]) -> Result<Option<std::time::Duration>, Problem> {
    let mut bounds = steps.iter().filter(|(action, _)| !action.late).map(|(action, _)| action);
    let late = steps.iter().find(|(action, _)| action.late);
    let Some(first) = bounds.next() else {
        return match late {
            None => Ok(None),
            Some((late, _)) => {
                let text = format!("role {role} has nothing to do in time before this");
                Err(Problem::at(Code::Late, late.span, text))
            }
        };
    };
    if let Some(other) = bounds.find(|other| other.within != first.within) {
        let text = format!("role {role} has other bounds for other messages of this choice");
        return Err(Problem::at(Code::Deadlines, other.span, text));
    }
    match (first.within, late) {
        (None, Some((late, _))) => {
            let text = format!("no `within` says when the time of role {role} is over");
            Err(Problem::at(Code::Deadlines, late.span, text))
        }
        (within, _) => Ok(within),
    }
}
