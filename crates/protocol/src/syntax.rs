//! What a file says, as written: names are not yet looked up.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use crate::diagnostic::Span;

/// A name, once in [`Symbols`]. A path is one name, with its dots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Symbol(u32);

/// Every name of the files.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    texts: Vec<Rc<str>>,
    numbers: HashMap<Rc<str>, u32>,
}

impl Symbols {
    pub(crate) fn intern(&mut self, text: &str) -> Symbol {
        if let Some(number) = self.numbers.get(text) {
            return Symbol(*number);
        }
        let number = self.texts.len() as u32;
        let text: Rc<str> = text.into();
        self.texts.push(text.clone());
        self.numbers.insert(text, number);
        Symbol(number)
    }

    pub(crate) fn text(&self, symbol: Symbol) -> &str {
        &self.texts[symbol.0 as usize]
    }
}

/// A name and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name {
    pub symbol: Symbol,
    pub span: Span,
}

/// A file.
#[derive(Debug)]
pub(crate) struct Module {
    pub name: Name,
    pub imports: Vec<Import>,
    pub declarations: Vec<Declaration>,
    pub protocols: Vec<Protocol>,
}

#[derive(Debug)]
pub(crate) struct Import {
    pub module: Name,
    pub alias: Option<Name>,
    pub span: Span,
}

/// Whether a name stands for a payload type or for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Type,
    Signature,
}

/// `type <schema> "external" from "source" as Name;`, or `sig` instead of `type`: of interest is the
/// name alone.
#[derive(Debug)]
pub(crate) struct Declaration {
    pub kind: Kind,
    pub name: Name,
}

#[derive(Debug)]
pub(crate) struct Protocol {
    pub aux: bool,
    pub explicit: bool,
    pub name: Name,
    pub parameters: Vec<(Kind, Name)>,
    pub roles: Vec<Name>,
    pub body: Vec<Statement>,
}

#[derive(Debug)]
pub(crate) enum Statement {
    /// `m() from A to B, C;`, or `m() connect A to B;`.
    Message {
        message: Message,
        from: Name,
        to: Vec<Name>,
        connect: bool,
        within: Option<Duration>,
        span: Span,
    },
    Disconnect {
        left: Name,
        right: Name,
        span: Span,
    },
    Wrap {
        from: Name,
        to: Name,
        span: Span,
    },
    Choice {
        subject: Name,
        branches: Vec<Branch>,
        span: Span,
    },
    Recursion {
        name: Name,
        body: Vec<Statement>,
    },
    Continue {
        name: Name,
        span: Span,
    },
    Do {
        protocol: Name,
        arguments: Vec<Message>,
        roles: Vec<Name>,
        span: Span,
    },
}

#[derive(Debug)]
pub(crate) struct Branch {
    /// `late`, where the branch is the one for when the time is over.
    pub late: Option<Span>,
    pub body: Vec<Statement>,
}

/// A message, or an argument for one or for a type.
#[derive(Debug)]
pub(crate) enum Message {
    /// `label(payload)`; the label may be absent.
    Literal { label: Option<Name>, payload: Vec<Payload>, span: Span },
    /// A signature, a parameter or, as an argument, a type.
    Name(Name),
}

impl Message {
    pub(crate) fn span(&self) -> Span {
        match self {
            Message::Literal { span, .. } => *span,
            Message::Name(name) => name.span,
        }
    }
}

#[derive(Debug)]
pub(crate) enum Payload {
    /// A type or a parameter for one.
    Type(Name),
    /// `Protocol@Role`.
    Delegation { protocol: Name, role: Name },
}
