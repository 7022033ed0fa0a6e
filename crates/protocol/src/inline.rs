//! Takes in what every `do` names, with its roles and arguments.

use crate::diagnostic::{Code, Problem, Span};
use crate::limits::Budget;
use crate::modules::Program;
use crate::session::{Global, Interaction, Label, Meeting, MessageId, Messages, Node, RoleId, Whole, prune};
use crate::syntax::{Kind, Message, Name, Payload, Protocol, Statement, Symbol};

/// How types of payloads are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Types {
    /// As the reference tool does: parameters within a literal stay, and so do simple names.
    Verbatim,
    /// Each type under one name, and parameters replaced by what is passed.
    Canonical,
}

/// A protocol with everything that it does. Names are resolved before.
///
/// # Errors
/// When it is larger than is allowed.
pub(crate) fn inline(
    program: &mut Program,
    (module, protocol): (usize, usize),
    types: Types,
    budget: &mut Budget,
) -> Result<Whole, Problem> {
    let declared = &program.modules[module].protocols[protocol];
    let (name, explicit) = (declared.name, declared.explicit);
    let roles: Vec<Symbol> = declared.roles.iter().map(|role| role.symbol).collect();
    let parameters: Vec<(Kind, Symbol)> = declared.parameters.iter().map(|(k, p)| (*k, p.symbol)).collect();
    let mut messages = Messages::default();
    let arguments = parameters.iter().map(|(kind, parameter)| match kind {
        Kind::Type => Argument::Type(*parameter),
        Kind::Signature => Argument::Message(messages.intern(Label::Named(*parameter))),
    });
    let arguments = arguments.collect();
    let call = Call { module, protocol, roles: (0..roles.len() as RoleId).collect(), arguments };
    // Statements are read while names are made: the modules step aside.
    let modules = std::mem::take(&mut program.modules);
    let mut inliner = Inliner {
        program,
        modules: &modules,
        types,
        budget,
        messages,
        calls: Vec::new(),
        variables: 0,
        statements: 0,
        depth: 0,
    };
    let body = inliner.call(call);
    let messages = inliner.messages;
    program.modules = modules;
    let body = prune(vec![body.map_err(|problem| problem.or_at(name.span))?]);
    Ok(Whole { name: name.symbol, roles, explicit, body, messages, span: name.span })
}

/// What is passed for a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Argument {
    Type(Symbol),
    Message(MessageId),
}

/// A protocol with its roles and arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Call {
    module: usize,
    protocol: usize,
    roles: Vec<RoleId>,
    arguments: Vec<Argument>,
}

struct Inliner<'a> {
    program: &'a mut Program,
    modules: &'a [crate::syntax::Module],
    types: Types,
    budget: &'a mut Budget,
    messages: Messages,
    /// Those under way, and the recursions that they are.
    calls: Vec<(Call, u32)>,
    variables: u32,
    statements: usize,
    depth: usize,
}

/// What the names of a protocol stand for in one call of it.
struct Frame<'a> {
    protocol: &'a Protocol,
    call: Call,
    recursions: Vec<(Symbol, u32)>,
}

impl Frame<'_> {
    fn role(&self, name: Name) -> RoleId {
        let at = self.protocol.roles.iter().position(|role| role.symbol == name.symbol);
        at.map_or(0, |at| self.call.roles[at])
    }

    fn argument(&self, name: Symbol) -> Option<Argument> {
        let at = self.protocol.parameters.iter().position(|(_, parameter)| parameter.symbol == name);
        at.map(|at| self.call.arguments[at])
    }
}

impl<'a> Inliner<'a> {
    fn variable(&mut self) -> u32 {
        self.variables += 1;
        self.variables
    }

    fn deeper(&mut self) -> Result<(), Problem> {
        self.depth += 1;
        let most = self.budget.limits().depth();
        if self.depth > most {
            return Err(Problem::new(
                Code::TooDeep,
                format!("with every `do`, more than {most} blocks deep"),
            ));
        }
        Ok(())
    }

    /// The recursion that a call is.
    fn call(&mut self, call: Call) -> Result<Node<Interaction>, Problem> {
        self.deeper()?;
        let variable = self.variable();
        self.calls.push((call.clone(), variable));
        let protocol: &'a Protocol = &self.modules[call.module].protocols[call.protocol];
        let mut frame = Frame { protocol, call, recursions: Vec::new() };
        let body = self.statements(&protocol.body, &mut frame)?;
        self.calls.pop();
        self.depth -= 1;
        Ok(Node::Recursion { variable, body })
    }

    fn block(&mut self, statements: &'a [Statement], frame: &mut Frame<'a>) -> Result<Global, Problem> {
        self.deeper()?;
        let body = self.statements(statements, frame)?;
        self.depth -= 1;
        Ok(body)
    }

    fn statements(&mut self, statements: &'a [Statement], frame: &mut Frame<'a>) -> Result<Global, Problem> {
        statements.iter().map(|statement| self.statement(statement, frame)).collect()
    }

    fn statement(
        &mut self,
        statement: &'a Statement,
        frame: &mut Frame<'a>,
    ) -> Result<Node<Interaction>, Problem> {
        self.statements += 1;
        self.budget.spend(1 + self.calls.len())?;
        let most = self.budget.limits().statements;
        if self.statements > most {
            return Err(Problem::new(
                Code::TooLarge,
                format!("with every `do`, more than {most} statements"),
            ));
        }
        Ok(match statement {
            Statement::Message { message, from, to, connect, within, span } => {
                let meeting = if *connect { Meeting::Connect } else { Meeting::Message };
                let message = self.message(message, frame)?;
                let (from, to) = (frame.role(*from), frame.role(to[0]));
                let (within, span) = (*within, *span);
                Node::Act(Interaction { meeting, from, to, message, within, late: false, span })
            }
            Statement::Disconnect { left, right, span } => {
                let message = self.messages.intern(Label::Literal(None, Vec::new()));
                let (from, to) = (frame.role(*left), frame.role(*right));
                let meeting = Meeting::Disconnect;
                Node::Act(Interaction { meeting, from, to, message, within: None, late: false, span: *span })
            }
            Statement::Wrap { span, .. } => {
                return Err(Problem::at(Code::Unsupported, *span, "`wrap` is not followed"));
            }
            Statement::Choice { subject, branches, span } => {
                let mut inlined = Vec::with_capacity(branches.len());
                for branch in branches {
                    let mut body = self.block(&branch.body, frame)?;
                    if let (Some(_), Some(Node::Act(first))) = (branch.late, body.first_mut()) {
                        first.late = true;
                    }
                    inlined.push(body);
                }
                Node::Choice { subject: frame.role(*subject), branches: inlined, span: *span }
            }
            Statement::Recursion { name, body } => {
                let variable = self.variable();
                frame.recursions.push((name.symbol, variable));
                let body = self.block(body, frame)?;
                frame.recursions.pop();
                Node::Recursion { variable, body }
            }
            Statement::Continue { name, span } => {
                let bound = frame.recursions.iter().rev().find(|(known, _)| *known == name.symbol);
                let Some((_, variable)) = bound else {
                    return Err(Problem::at(Code::UnboundRecursion, *span, "is no `rec` around this"));
                };
                Node::Continue { variable: *variable, span: *span }
            }
            Statement::Do { protocol, arguments, roles, span } => {
                self.call_of(*protocol, arguments, roles, *span, frame)?
            }
        })
    }

    fn call_of(
        &mut self,
        target: Name,
        arguments: &[Message],
        roles: &[Name],
        span: Span,
        frame: &Frame<'a>,
    ) -> Result<Node<Interaction>, Problem> {
        let scope = &self.program.scopes[frame.call.module];
        let found = scope.protocols.get(&target.symbol).and_then(|(module, member)| {
            let protocols = &self.modules[*module].protocols;
            protocols.iter().position(|protocol| protocol.name.symbol == *member).map(|at| (*module, at))
        });
        let Some((module, protocol)) = found else {
            return Err(Problem::at(Code::UnknownProtocol, target.span, "no such protocol"));
        };
        let roles = roles.iter().map(|role| frame.role(*role)).collect();
        let kinds = self.modules[module].protocols[protocol].parameters.iter().map(|(kind, _)| *kind);
        let arguments = arguments.iter().zip(kinds).map(|(argument, kind)| match (argument, kind) {
            (Message::Name(name), Kind::Type) => Ok(Argument::Type(self.type_name(name.symbol, frame))),
            (message, Kind::Type | Kind::Signature) => self.message(message, frame).map(Argument::Message),
        });
        let arguments = arguments.collect::<Result<_, _>>()?;
        let call = Call { module, protocol, roles, arguments };
        if let Some((_, variable)) = self.calls.iter().find(|(known, _)| *known == call) {
            return Ok(Node::Continue { variable: *variable, span });
        }
        self.call(call)
    }

    fn message(&mut self, message: &Message, frame: &Frame<'a>) -> Result<MessageId, Problem> {
        let label = match message {
            Message::Name(name) => {
                let hidden = self.program.scopes[frame.call.module].signatures.contains_key(&name.symbol);
                match frame.argument(name.symbol).filter(|_| !hidden) {
                    Some(Argument::Message(message)) => return Ok(message),
                    Some(Argument::Type(_)) | None => Label::Named(name.symbol),
                }
            }
            Message::Literal { label, payload, .. } => {
                self.budget.spend(8 * payload.len())?;
                let payload = payload.iter().map(|element| self.payload(element, frame)).collect();
                Label::Literal(label.map(|label| label.symbol), payload)
            }
        };
        Ok(self.messages.intern(label))
    }

    fn payload(&mut self, element: &Payload, frame: &Frame<'a>) -> Symbol {
        match (element, self.types) {
            (Payload::Delegation { protocol, role }, Types::Verbatim | Types::Canonical) => {
                let scope = &self.program.scopes[frame.call.module];
                let symbols = &mut self.program.symbols;
                let text = match scope.protocols.get(&protocol.symbol) {
                    Some((module, member)) => {
                        let module = symbols.text(self.modules[*module].name.symbol);
                        format!("{module}.{}@{}", symbols.text(*member), symbols.text(role.symbol))
                    }
                    None => format!("{}@{}", symbols.text(protocol.symbol), symbols.text(role.symbol)),
                };
                symbols.intern(&text)
            }
            (Payload::Type(name), Types::Verbatim) => {
                let qualified = self.program.symbols.text(name.symbol).contains('.');
                let full = self.program.scopes[frame.call.module].types.get(&name.symbol);
                full.copied().filter(|_| qualified).unwrap_or(name.symbol)
            }
            (Payload::Type(name), Types::Canonical) => self.type_name(name.symbol, frame),
        }
    }

    /// The one name of a type: that of the checked file's own is short.
    fn type_name(&mut self, name: Symbol, frame: &Frame<'a>) -> Symbol {
        let Some(full) = self.program.scopes[frame.call.module].types.get(&name) else {
            return match frame.argument(name) {
                Some(Argument::Type(name)) => name,
                Some(Argument::Message(_)) | None => name,
            };
        };
        let symbols = &mut self.program.symbols;
        let own = symbols.text(self.modules[0].name.symbol);
        let short = symbols.text(*full).strip_prefix(own).and_then(|rest| rest.strip_prefix('.'));
        match short.map(str::to_owned) {
            Some(short) => symbols.intern(&short),
            None => *full,
        }
    }
}
