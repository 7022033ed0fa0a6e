//! Checks protocols and hands on their machines.

use crate::automaton::Automaton;
use crate::diagnostic::{Code, Diagnostic, Move, Problem};
use crate::inline::{Types, inline};
use crate::limits::{Budget, Limits};
use crate::machine;
use crate::modules::{Loader, Program, Source};
use crate::resolve::resolve;
use crate::session::{Node, RoleId, Whole, visit};
use crate::syntax::Symbols;
use crate::tables::{Table, check_bounds, determinise, hand_on, minimise};
use crate::{complete, scribble};

/// What a protocol must be to be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Discipline {
    /// Implementable: the machines do what the protocol says, whatever the queues hold, and never
    /// come to a halt before it ends. Every choice must be made by one sender.
    #[default]
    Complete,
    /// Scribble's own: safe, and live, with queues of one message.
    Scribble,
}

/// What a check found besides the machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The full name of the protocol's module.
    pub module: String,
    /// How it was checked.
    pub discipline: Discipline,
    /// States in which a role waits for a message that need not come: the others may be done.
    pub waiting: Vec<(machine::Role, machine::State)>,
    /// Elementary steps that the check took.
    pub steps: u64,
}

/// What became of one protocol of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The full name of its module.
    pub module: String,
    /// Its name there.
    pub protocol: String,
    /// What is wrong, if something is; [`Code::Unknown`] where a limit was reached first.
    pub problem: Option<Diagnostic>,
}

/// The machine of one role as its local type gives it: two steps of a state may be alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projection {
    /// The first is where the role begins. Each step leads to a state.
    pub states: Vec<Vec<(Move, usize)>>,
}

/// Checks one protocol of a file; without a name, the only one that is not `aux`.
///
/// # Errors
/// With everything that is wrong with the names of the files, or the first thing that is wrong with
/// the protocol.
pub fn check(
    source: &Source<'_>,
    loader: &mut dyn Loader,
    protocol: Option<&str>,
    discipline: Discipline,
    limits: Limits,
) -> Result<(machine::Protocol, Report), Vec<Diagnostic>> {
    let mut budget = Budget::new(limits);
    let mut program = read(source, loader, &mut budget)?;
    let checked =
        choose(&program, protocol).and_then(|chosen| machines(&mut program, chosen, discipline, &mut budget));
    let (protocol, waiting) = checked.map_err(|problem| vec![program.files.diagnostic(problem)])?;
    let module = program.symbols.text(program.modules[0].name.symbol).to_owned();
    Ok((protocol, Report { module, discipline, waiting, steps: budget.steps() }))
}

/// Checks every protocol of a file and of those that it imports, but for those that are `aux`.
///
/// # Errors
/// With everything that is wrong with the names of the files.
pub fn check_all(
    source: &Source<'_>,
    loader: &mut dyn Loader,
    discipline: Discipline,
    limits: Limits,
) -> Result<Vec<Judgement>, Vec<Diagnostic>> {
    let mut budget = Budget::new(limits);
    let mut program = read(source, loader, &mut budget)?;
    let mut judgements = Vec::new();
    for module in 0..program.modules.len() {
        for protocol in 0..program.modules[module].protocols.len() {
            let checked = judge(&mut program, (module, protocol), discipline, &mut budget);
            let problem = checked.err().map(|problem| program.files.diagnostic(problem));
            let declared = &program.modules[module].protocols[protocol];
            if !declared.aux || problem.is_some() {
                judgements.push(Judgement {
                    module: program.symbols.text(program.modules[module].name.symbol).to_owned(),
                    protocol: program.symbols.text(declared.name.symbol).to_owned(),
                    problem,
                });
            }
        }
    }
    Ok(judgements)
}

/// What one role does of a protocol, whether or not it is accepted, by Scribble's projection.
///
/// # Errors
/// When the files cannot be read, or have no such protocol or role.
pub fn project(
    source: &Source<'_>,
    loader: &mut dyn Loader,
    protocol: Option<&str>,
    role: &str,
    limits: Limits,
) -> Result<Projection, Vec<Diagnostic>> {
    let mut budget = Budget::new(limits);
    let mut program = read(source, loader, &mut budget)?;
    let projected = choose(&program, protocol).and_then(|chosen| {
        let whole = inline(&mut program, chosen, Types::Verbatim, &mut budget)?;
        let found = whole.roles.iter().position(|known| program.symbols.text(*known) == role);
        let found = found.ok_or_else(|| {
            let roles: Vec<&str> = whole.roles.iter().map(|role| program.symbols.text(*role)).collect();
            let text = format!("no role {role}: there are {}", roles.join(", "));
            Problem::at(Code::UnknownRole, whole.span, text)
        })? as RoleId;
        let machine = scribble::machine(&whole, found, &mut budget)?;
        Ok(shown(&program, &whole, found, &machine))
    });
    projected.map_err(|problem| vec![program.files.diagnostic(problem)])
}

fn shown(program: &Program, whole: &Whole, role: RoleId, machine: &Automaton) -> Projection {
    let step = |(action, next): &(crate::local::Action, usize)| {
        let step = Move {
            role: whole.role(role, &program.symbols).into(),
            act: action.act,
            peer: whole.role(action.peer, &program.symbols).into(),
            message: whole.messages.shown(action.message, &program.symbols).into(),
        };
        (step, *next)
    };
    Projection { states: machine.states.iter().map(|steps| steps.iter().map(step).collect()).collect() }
}

pub(crate) fn read(
    source: &Source<'_>,
    loader: &mut dyn Loader,
    budget: &mut Budget,
) -> Result<Program, Vec<Diagnostic>> {
    let program = Program::load(source, loader, budget)?;
    let problems = resolve(&program);
    if problems.is_empty() {
        return Ok(program);
    }
    Err(problems.into_iter().map(|problem| program.files.diagnostic(problem)).collect())
}

/// The protocol of the checked file with this name.
pub(crate) fn choose(program: &Program, name: Option<&str>) -> Result<(usize, usize), Problem> {
    let module = &program.modules[0];
    let found = match name {
        Some(name) => {
            let named = |symbol| program.symbols.text(symbol) == name;
            module.protocols.iter().position(|protocol| named(protocol.name.symbol))
        }
        None => {
            let mut open = module.protocols.iter().enumerate().filter(|(_, protocol)| !protocol.aux);
            open.next().filter(|_| open.next().is_none()).map(|(at, _)| at)
        }
    };
    found.map(|at| (0, at)).ok_or_else(|| {
        let names: Vec<&str> =
            module.protocols.iter().take(10).map(|p| program.symbols.text(p.name.symbol)).collect();
        let text = match (name, names.is_empty()) {
            (_, true) => "the file has no protocol".to_owned(),
            (Some(name), false) => format!("no protocol {name}: there are {}", names.join(", ")),
            (None, false) => format!("name the protocol: there are {}", names.join(", ")),
        };
        Problem::at(Code::UnknownProtocol, module.name.span, text)
    })
}

fn machines(
    program: &mut Program,
    chosen: (usize, usize),
    discipline: Discipline,
    budget: &mut Budget,
) -> Result<(machine::Protocol, Vec<(machine::Role, machine::State)>), Problem> {
    let (whole, tables) = accept(program, chosen, discipline, budget)?;
    hand_on(&whole, &program.symbols, &tables)
}

/// What is wrong with a protocol; with an `aux` one only whether its roles do something.
fn judge(
    program: &mut Program,
    chosen: (usize, usize),
    discipline: Discipline,
    budget: &mut Budget,
) -> Result<(), Problem> {
    if program.modules[chosen.0].protocols[chosen.1].aux {
        let whole = inline(program, chosen, types(discipline), budget)?;
        return check_used(&whole, &program.symbols);
    }
    match discipline {
        Discipline::Complete => machines(program, chosen, discipline, budget).map(|_| ()),
        // Scribble's verdict does not depend on whether a monitor can hold roles to it.
        Discipline::Scribble => accept(program, chosen, discipline, budget).map(|_| ()),
    }
}

fn types(discipline: Discipline) -> Types {
    match discipline {
        Discipline::Complete => Types::Canonical,
        Discipline::Scribble => Types::Verbatim,
    }
}

/// The tables of a protocol that the discipline accepts.
fn accept(
    program: &mut Program,
    chosen: (usize, usize),
    discipline: Discipline,
    budget: &mut Budget,
) -> Result<(Whole, Vec<Table>), Problem> {
    let whole = inline(program, chosen, types(discipline), budget)?;
    check_used(&whole, &program.symbols)?;
    let tables: Vec<Table> = match discipline {
        Discipline::Complete => complete::check(&whole, &program.symbols, budget)?,
        Discipline::Scribble => {
            let machines = scribble::check(&whole, &program.symbols, budget)?;
            machines.iter().map(|machine| determinise(machine, budget)).collect::<Result<_, _>>()?
        }
    };
    check_bounds(&whole, &program.symbols, &tables)?;
    let tables = tables.iter().map(|table| minimise(table, budget)).collect::<Result<_, _>>()?;
    Ok((whole, tables))
}

/// Every declared role does something.
fn check_used(whole: &Whole, symbols: &Symbols) -> Result<(), Problem> {
    let mut used = vec![false; whole.roles.len()];
    visit(&whole.body, &mut |node| match node {
        Node::Act(act) => {
            used[usize::from(act.from)] = true;
            used[usize::from(act.to)] = true;
        }
        Node::Choice { subject, .. } => used[usize::from(*subject)] = true,
        Node::Recursion { .. } | Node::Continue { .. } => {}
    });
    let Some(idle) = used.iter().position(|used| !used) else { return Ok(()) };
    let text = format!("role {} does nothing", whole.role(idle as RoleId, symbols));
    Err(Problem::at(Code::UnusedRole, whole.span, text))
}
