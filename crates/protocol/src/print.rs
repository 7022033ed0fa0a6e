//! Writes a file that was read, for tests: what is written is read as what it was.

use std::fmt::{self, Write as _};
use std::time::Duration;

use crate::diagnostic::{Files, Problem};
use crate::limits::{Budget, Limits};
use crate::parse::parse;
use crate::syntax::{Kind, Message, Module, Name, Payload, Statement, Symbols};

struct Printer<'a> {
    symbols: &'a Symbols,
    text: String,
}

impl Printer<'_> {
    fn name(&self, name: Name) -> &str {
        self.symbols.text(name.symbol)
    }

    fn names(&self, names: &[Name]) -> String {
        names.iter().map(|name| self.name(*name)).collect::<Vec<_>>().join(", ")
    }

    fn kind(kind: Kind) -> &'static str {
        match kind {
            Kind::Type => "type",
            Kind::Signature => "sig",
        }
    }

    fn module(&mut self, module: &Module) -> fmt::Result {
        self.text = format!("module {};\n", self.name(module.name));
        for import in &module.imports {
            let alias = import.alias.map_or(String::new(), |alias| format!(" as {}", self.name(alias)));
            let line = format!("import {}{alias};", self.name(import.module));
            writeln!(self.text, "{line}")?;
        }
        for declaration in &module.declarations {
            let name = self.name(declaration.name).to_owned();
            writeln!(self.text, "{} <x> \"x\" from \"x\" as {name};", Self::kind(declaration.kind))?;
        }
        for protocol in &module.protocols {
            let aux = if protocol.aux { "aux " } else { "" };
            let explicit = if protocol.explicit { "explicit " } else { "" };
            let parameters = protocol.parameters.iter();
            let parameters: Vec<String> = parameters
                .map(|(kind, name)| format!("{} {}", Self::kind(*kind), self.name(*name)))
                .collect();
            let roles: Vec<String> =
                protocol.roles.iter().map(|role| format!("role {}", self.name(*role))).collect();
            let header = format!(
                "{aux}{explicit}global protocol {}<{}>({})",
                self.name(protocol.name),
                parameters.join(", "),
                roles.join(", ")
            );
            self.text.push_str(&header);
            self.block(&protocol.body)?;
        }
        Ok(())
    }

    fn block(&mut self, body: &[Statement]) -> fmt::Result {
        self.text.push_str(" {\n");
        for statement in body {
            self.statement(statement)?;
        }
        self.text.push_str("}\n");
        Ok(())
    }

    fn statement(&mut self, statement: &Statement) -> fmt::Result {
        let line = match statement {
            Statement::Message { message, from, to, connect, within, .. } => {
                let how = if *connect { "connect" } else { "from" };
                let bound = |within: &Duration| format!(" within {}ms", within.as_millis());
                let within = within.as_ref().map(bound).unwrap_or_default();
                let (message, to) = (self.message(message), self.names(to));
                format!("{message} {how} {} to {to}{within};", self.name(*from))
            }
            Statement::Disconnect { left, right, .. } => {
                format!("disconnect {} and {};", self.name(*left), self.name(*right))
            }
            Statement::Wrap { from, to, .. } => format!("wrap {} to {};", self.name(*from), self.name(*to)),
            Statement::Continue { name, .. } => format!("continue {};", self.name(*name)),
            Statement::Do { protocol, arguments, roles, .. } => {
                let arguments: Vec<String> = arguments.iter().map(|a| self.message(a)).collect();
                let arguments = arguments.join(", ");
                format!("do {}<{arguments}>({});", self.name(*protocol), self.names(roles))
            }
            Statement::Recursion { name, body } => {
                self.text = format!("{}rec {}", self.text, self.name(*name));
                return self.block(body);
            }
            Statement::Choice { subject, branches, .. } => {
                self.text = format!("{}choice at {}", self.text, self.name(*subject));
                for (i, branch) in branches.iter().enumerate() {
                    let late = if branch.late.is_some() { " late" } else { "" };
                    let or = if i == 0 { "" } else { "or" };
                    write!(self.text, "{or}{late}")?;
                    self.block(&branch.body)?;
                }
                return Ok(());
            }
        };
        writeln!(self.text, "{line}")
    }

    fn message(&self, message: &Message) -> String {
        match message {
            Message::Name(name) => self.name(*name).to_owned(),
            Message::Literal { label, payload, .. } => {
                let payload: Vec<String> = payload
                    .iter()
                    .map(|element| match element {
                        Payload::Type(name) => self.name(*name).to_owned(),
                        Payload::Delegation { protocol, role } => {
                            format!("{}@{}", self.name(*protocol), self.name(*role))
                        }
                    })
                    .collect();
                format!("{}({})", label.map_or("", |label| self.name(label)), payload.join(", "))
            }
        }
    }
}

/// The text that a text is read as.
fn printed(text: &str) -> Result<String, Problem> {
    let mut files = Files::default();
    let file = files.add("p.scr", text);
    let mut symbols = Symbols::default();
    let module = parse(&files, file, &mut symbols, &mut Budget::new(Limits::default()))?;
    let mut printer = Printer { symbols: &symbols, text: String::new() };
    printer.module(&module).map(|()| printer.text).map_err(|_| unreachable!("a string takes everything"))
}

#[test]
fn what_is_written_is_read_as_what_it_was() {
    let text = "/* all of it */ module a.b.p; import a.c; import d as e;
        type <java> \"java.lang.String\" from \"rt.jar\" as String;
        data<x>\"x\"from\"x\"as 0T;sig <x> \"x\" from \"x\" as M; // to the end
        global protocol P(role A, role B) { } aux explicit global protocol 1_Q<type T, sig S>(role A, role B) {
            () from A to B; 1st(T, a.b.c, P@A, a.P@B) from A to B; M from B to A; l() from A to B, C, D;
            connect A to B; () connect A to B; M connect A to B; disconnect A and B; wrap A to B;
            rec X { choice at A { continue X; } or { } or late { m() from A to B within 2m; } }
            do R(A); do a.b.R<>(A, B); do R<M, m(T), (), a.b.T, T>(A); within() from A to B within 1s;
        }";
    let once = printed(text).unwrap();
    assert_eq!(printed(&once).unwrap(), once);
    for part in [
        "module a.b.p;",
        "import d as e;",
        "sig <x> \"x\" from \"x\" as M;",
        "type <x> \"x\" from \"x\" as 0T;",
        "aux explicit global protocol 1_Q<type T, sig S>(role A, role B)",
        "() from A to B;",
        "1st(T, a.b.c, P@A, a.P@B) from A to B;",
        "l() from A to B, C, D;",
        "() connect A to B;",
        "or late {",
        "m() from A to B within 120000ms;",
        "do R<M, m(T), (), a.b.T, T>(A);",
        "within() from A to B within 1000ms;",
        "wrap A to B;",
        "continue X;",
    ] {
        assert!(once.contains(part), "{part} is not in\n{once}");
    }
}
