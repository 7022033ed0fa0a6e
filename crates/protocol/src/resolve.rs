//! Whether every name stands for something of the kind that is needed, in every module.

use std::collections::HashSet;

use crate::diagnostic::{Code, Problem};
use crate::modules::{Program, Scope};
use crate::syntax::{Kind, Message, Name, Payload, Protocol, Statement, Symbol};

/// More are not worth reading at once.
const MOST: usize = 20;

/// What is wrong with the names of a program, up to some number.
pub(crate) fn resolve(program: &Program) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (module, scope) in program.modules.iter().zip(&program.scopes) {
        let declared = module.declarations.iter().map(|declaration| declaration.name);
        duplicates(program, declared, Code::DuplicateDeclaration, &mut problems);
        let protocols = module.protocols.iter().map(|protocol| protocol.name);
        duplicates(program, protocols, Code::DuplicateDeclaration, &mut problems);
        for protocol in &module.protocols {
            let parameters = protocol.parameters.iter().map(|(_, name)| *name);
            duplicates(program, parameters, Code::DuplicateDeclaration, &mut problems);
            duplicates(program, protocol.roles.iter().copied(), Code::DuplicateRole, &mut problems);
            let mut names = Names { program, scope, protocol, recursions: Vec::new(), problems };
            names.statements(&protocol.body);
            problems = names.problems;
            problems.truncate(MOST);
        }
    }
    problems.truncate(MOST);
    problems
}

fn duplicates(program: &Program, names: impl Iterator<Item = Name>, code: Code, problems: &mut Vec<Problem>) {
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name.symbol) {
            let text = format!("{} is there twice", program.symbols.text(name.symbol));
            problems.push(Problem::at(code, name.span, text));
        }
    }
}

struct Names<'a> {
    program: &'a Program,
    scope: &'a Scope,
    protocol: &'a Protocol,
    recursions: Vec<Symbol>,
    problems: Vec<Problem>,
}

/// What a name stands for where a message or a type may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Declared(Kind),
    Parameter(Kind),
}

impl<'a> Names<'a> {
    fn problem(&mut self, code: Code, name: Name, text: &str) {
        let text = format!("{} {text}", self.program.symbols.text(name.symbol));
        self.problems.push(Problem::at(code, name.span, text));
    }

    fn statements(&mut self, statements: &[Statement]) {
        for statement in statements {
            self.statement(statement);
        }
    }

    fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Message { message, from, to, span, .. } => {
                self.message(message);
                self.role(*from);
                for role in to {
                    self.role(*role);
                    if role.symbol == from.symbol {
                        self.problem(Code::ToItself, *role, "would send to itself");
                    }
                }
                if to.len() > 1 {
                    let text = "one message goes to one role: write one for each";
                    self.problems.push(Problem::at(Code::Unsupported, *span, text));
                }
            }
            Statement::Disconnect { left, right, .. } => {
                self.role(*left);
                self.role(*right);
                if left.symbol == right.symbol {
                    self.problem(Code::ToItself, *right, "would disconnect from itself");
                }
            }
            Statement::Wrap { from, to, span } => {
                self.role(*from);
                self.role(*to);
                let text = "`wrap` says how a connection is kept, which this does not follow";
                self.problems.push(Problem::at(Code::Unsupported, *span, text));
            }
            Statement::Choice { subject, branches, .. } => {
                self.role(*subject);
                let mut late = branches.iter().filter_map(|branch| branch.late);
                if let (Some(_), Some(second)) = (late.next(), late.next()) {
                    let text = "a choice has one branch for when the time is over";
                    self.problems.push(Problem::at(Code::Late, second, text));
                }
                for branch in branches {
                    if let Some(span) = branch.late
                        && !begins_late(&branch.body, subject.symbol)
                    {
                        let text = "the branch for when the time is over";
                        self.problems.push(Problem::at(Code::Late, span, text));
                    }
                    self.statements(&branch.body);
                }
            }
            Statement::Recursion { name, body } => {
                self.recursions.push(name.symbol);
                self.statements(body);
                self.recursions.pop();
            }
            Statement::Continue { name, .. } => {
                if !self.recursions.contains(&name.symbol) {
                    self.problem(Code::UnboundRecursion, *name, "is no `rec` around this");
                }
            }
            Statement::Do { protocol, arguments, roles, .. } => self.call(*protocol, arguments, roles),
        }
    }

    fn role(&mut self, role: Name) {
        if !self.protocol.roles.iter().any(|known| known.symbol == role.symbol) {
            self.problem(Code::UnknownRole, role, "is no role of this protocol");
        }
    }

    /// A message that is sent: a literal, or a name for a signature.
    fn message(&mut self, message: &Message) {
        match message {
            Message::Literal { payload, .. } => self.payload(payload),
            Message::Name(name) => match self.meaning(*name) {
                // A declared type hides a parameter.
                Some(Meaning::Declared(Kind::Type) | Meaning::Parameter(Kind::Type)) => {
                    self.problem(Code::WrongKind, *name, "is a type, no message");
                }
                Some(Meaning::Declared(Kind::Signature) | Meaning::Parameter(Kind::Signature)) => {}
                None => self.problem(Code::UnknownName, *name, "is not declared"),
            },
        }
    }

    fn payload(&mut self, payload: &[Payload]) {
        for element in payload {
            match element {
                Payload::Type(name) => match self.meaning(*name) {
                    Some(Meaning::Declared(Kind::Type) | Meaning::Parameter(Kind::Type)) => {}
                    Some(Meaning::Declared(Kind::Signature) | Meaning::Parameter(Kind::Signature)) => {
                        self.problem(Code::WrongKind, *name, "is a message, no type");
                    }
                    None => self.problem(Code::UnknownName, *name, "is not declared"),
                },
                Payload::Delegation { protocol, role } => {
                    let Some(target) = self.target(*protocol) else { continue };
                    if !target.roles.iter().any(|known| known.symbol == role.symbol) {
                        self.problem(Code::UnknownRole, *role, "is no role of that protocol");
                    }
                }
            }
        }
    }

    fn meaning(&self, name: Name) -> Option<Meaning> {
        if self.scope.types.contains_key(&name.symbol) {
            return Some(Meaning::Declared(Kind::Type));
        }
        if self.scope.signatures.contains_key(&name.symbol) {
            return Some(Meaning::Declared(Kind::Signature));
        }
        let parameter = self.protocol.parameters.iter().find(|(_, known)| known.symbol == name.symbol);
        parameter.map(|(kind, _)| Meaning::Parameter(*kind))
    }

    /// The protocol that a name stands for.
    fn target(&mut self, name: Name) -> Option<&'a Protocol> {
        let Some(&(module, member)) = self.scope.protocols.get(&name.symbol) else {
            self.problem(Code::UnknownProtocol, name, "is no protocol that is visible here");
            return None;
        };
        self.program.modules[module].protocols.iter().find(|protocol| protocol.name.symbol == member)
    }

    fn call(&mut self, protocol: Name, arguments: &[Message], roles: &[Name]) {
        for role in roles {
            self.role(*role);
        }
        duplicates(self.program, roles.iter().copied(), Code::DuplicateRole, &mut self.problems);
        let Some(target) = self.target(protocol) else { return };
        let (wanted, given) = (target.roles.len(), roles.len());
        if wanted != given {
            self.problem(Code::Arity, protocol, &format!("has {wanted} roles, not {given}"));
        }
        let (wanted, given) = (target.parameters.len(), arguments.len());
        if wanted != given {
            self.problem(Code::Arity, protocol, &format!("has {wanted} parameters, not {given}"));
        }
        let kinds: Vec<Kind> = target.parameters.iter().map(|(kind, _)| *kind).collect();
        for (argument, kind) in arguments.iter().zip(kinds) {
            self.argument(argument, kind);
        }
    }

    fn argument(&mut self, argument: &Message, wanted: Kind) {
        let given = match argument {
            Message::Literal { payload, .. } => {
                self.payload(payload);
                Kind::Signature
            }
            Message::Name(name) => match self.meaning(*name) {
                Some(Meaning::Declared(kind) | Meaning::Parameter(kind)) => kind,
                None => return self.problem(Code::UnknownName, *name, "is not declared"),
            },
        };
        if given != wanted {
            let text = match wanted {
                Kind::Type => "this parameter is for a type",
                Kind::Signature => "this parameter is for a message",
            };
            self.problems.push(Problem::at(Code::WrongKind, argument.span(), text));
        }
    }
}

/// Whether a branch for when the time is over begins as it must.
fn begins_late(body: &[Statement], subject: Symbol) -> bool {
    match body.first() {
        Some(Statement::Message { from, connect, within, .. }) => {
            from.symbol == subject && !connect && within.is_none()
        }
        Some(
            Statement::Disconnect { .. }
            | Statement::Wrap { .. }
            | Statement::Choice { .. }
            | Statement::Recursion { .. }
            | Statement::Continue { .. }
            | Statement::Do { .. },
        )
        | None => false,
    }
}
