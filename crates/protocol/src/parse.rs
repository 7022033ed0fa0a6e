//! Reads a file.
//!
//! ```text
//! module      = "module" path ";" import* declaration* protocol*
//! import      = "import" path [ "as" name ] ";"
//! declaration = ("type" | "data" | "sig") "<" name ">" quoted "from" quoted "as" name ";"
//! protocol    = ["aux"] ["explicit"] "global" "protocol" name
//!               ["<" [parameter ("," parameter)*] ">"] "(" "role" name ("," "role" name)* ")" block
//! parameter   = ("type" | "data" | "sig") name
//! block       = "{" statement* "}"
//! statement   = message "from" name "to" name ("," name)* [ "within" duration ] ";"
//!             | [message] "connect" name "to" name ";"
//!             | "disconnect" name "and" name ";" | "wrap" name "to" name ";"
//!             | "choice" "at" name block ("or" ["late"] block)*
//!             | "rec" name block | "continue" name ";"
//!             | "do" path ["<" [argument ("," argument)*] ">"] "(" name ("," name)* ")" ";"
//! message     = [name] "(" [payload ("," payload)*] ")" | name
//! payload     = path "@" name | path
//! argument    = message | path
//! duration    = a number and one of "ms", "s", "m", "h", without a blank
//! ```
//! `within` and `or late` are this project's; the rest is Scribble.

use std::time::Duration;

use crate::diagnostic::{Code, Files, Problem, Span};
use crate::limits::{Budget, Limits};
use crate::syntax::{
    Branch, Declaration, Import, Kind, Message, Module, Name, Payload, Protocol, Statement, Symbols,
};
use crate::token::{LONGEST_NAME, Token, TokenKind, is_keyword, tokens};

/// Reads the file with this number.
///
/// # Errors
/// When it is not Scribble, or larger than is allowed.
pub(crate) fn parse(
    files: &Files,
    file: u16,
    symbols: &mut Symbols,
    budget: &mut Budget,
) -> Result<Module, Problem> {
    let text = files.text(file);
    budget.spend(text.len() / 8)?;
    let tokens = tokens(file, text)?;
    Parser { text, tokens, at: 0, depth: 0, statements: 0, symbols, budget }.module()
}

/// What a text calls its module, if it begins as one does.
pub(crate) fn module_name(text: &str) -> Option<String> {
    let (mut symbols, mut budget) = (Symbols::default(), Budget::new(Limits::default()));
    let tokens = tokens(0, text).ok()?;
    let (symbols_of, budget_of) = (&mut symbols, &mut budget);
    let mut parser =
        Parser { text, tokens, at: 0, depth: 0, statements: 0, symbols: symbols_of, budget: budget_of };
    parser.keyword("module").ok()?;
    let name = parser.path().ok()?;
    parser.sign(b';').ok()?;
    Some(symbols.text(name.symbol).to_owned())
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    statements: usize,
    symbols: &'a mut Symbols,
    budget: &'a mut Budget,
}

impl<'a> Parser<'a> {
    fn module(mut self) -> Result<Module, Problem> {
        self.keyword("module")?;
        let name = self.path()?;
        self.sign(b';')?;
        let mut module =
            Module { name, imports: Vec::new(), declarations: Vec::new(), protocols: Vec::new() };
        while self.is("import") {
            module.imports.push(self.import()?);
        }
        while self.is("type") || self.is("data") || self.is("sig") {
            module.declarations.push(self.declaration()?);
        }
        while self.peek().kind != TokenKind::End {
            module.protocols.push(self.protocol()?);
        }
        Ok(module)
    }

    fn import(&mut self) -> Result<Import, Problem> {
        let start = self.keyword("import")?;
        let module = self.path()?;
        let alias = if self.take("as") { Some(self.name()?) } else { None };
        let end = self.sign(b';')?;
        Ok(Import { module, alias, span: start.to(end) })
    }

    fn declaration(&mut self) -> Result<Declaration, Problem> {
        let kind = self.kind()?;
        self.sign(b'<')?;
        self.name()?;
        self.sign(b'>')?;
        self.quoted()?;
        self.keyword("from")?;
        self.quoted()?;
        self.keyword("as")?;
        let name = self.name()?;
        self.sign(b';')?;
        Ok(Declaration { kind, name })
    }

    fn kind(&mut self) -> Result<Kind, Problem> {
        if self.take("type") || self.take("data") {
            return Ok(Kind::Type);
        }
        self.keyword("sig").map(|_| Kind::Signature)
    }

    fn protocol(&mut self) -> Result<Protocol, Problem> {
        let aux = self.take("aux");
        let explicit = self.take("explicit");
        self.keyword("global")?;
        self.keyword("protocol")?;
        let name = self.name()?;
        let mut parameters = Vec::new();
        if self.take_sign(b'<') && !self.take_sign(b'>') {
            loop {
                parameters.push((self.kind()?, self.name()?));
                self.few(parameters.len(), name, "parameters")?;
                if !self.another(b'>')? {
                    break;
                }
            }
        }
        self.sign(b'(')?;
        let mut roles = Vec::new();
        loop {
            self.keyword("role")?;
            roles.push(self.name()?);
            self.few(roles.len(), name, "roles")?;
            if !self.another(b')')? {
                break;
            }
        }
        let body = self.block()?;
        Ok(Protocol { aux, explicit, name, parameters, roles, body })
    }

    /// A header is looked through for every name: it is short.
    fn few(&self, count: usize, name: Name, what: &str) -> Result<(), Problem> {
        let most = self.budget.limits().roles.min(64);
        if count > most {
            return Err(Problem::at(Code::TooLarge, name.span, format!("more than {most} {what}")));
        }
        Ok(())
    }

    fn block(&mut self) -> Result<Vec<Statement>, Problem> {
        let open = self.sign(b'{')?;
        self.depth += 1;
        if self.depth > self.budget.limits().depth() {
            let deepest = self.budget.limits().depth();
            return Err(Problem::at(
                Code::TooDeep,
                open,
                format!("more than {deepest} blocks in each other"),
            ));
        }
        let mut statements = Vec::new();
        while !self.take_sign(b'}') {
            statements.push(self.statement()?);
        }
        self.depth -= 1;
        Ok(statements)
    }

    fn statement(&mut self) -> Result<Statement, Problem> {
        let start = self.peek().span;
        self.statements += 1;
        let most = self.budget.limits().statements;
        if self.statements > most {
            return Err(Problem::at(Code::TooLarge, start, format!("more than {most} statements")));
        }
        if self.is("choice") {
            return self.choice();
        }
        if self.take("rec") {
            return Ok(Statement::Recursion { name: self.name()?, body: self.block()? });
        }
        if self.take("continue") {
            let name = self.name()?;
            let end = self.sign(b';')?;
            return Ok(Statement::Continue { name, span: start.to(end) });
        }
        if self.take("do") {
            return self.call(start);
        }
        if self.take("disconnect") {
            let left = self.name()?;
            self.keyword("and")?;
            let right = self.name()?;
            let end = self.sign(b';')?;
            return Ok(Statement::Disconnect { left, right, span: start.to(end) });
        }
        if self.take("wrap") {
            let from = self.name()?;
            self.keyword("to")?;
            let to = self.name()?;
            let end = self.sign(b';')?;
            return Ok(Statement::Wrap { from, to, span: start.to(end) });
        }
        for word in ["par", "interruptible"] {
            if self.is(word)
                && self.tokens.get(self.at + 1).is_some_and(|next| next.kind == TokenKind::Sign(b'{'))
            {
                return Err(Problem::at(Code::Unsupported, start, format!("`{word}` is not followed")));
            }
        }
        self.message_statement(start)
    }

    fn message_statement(&mut self, start: Span) -> Result<Statement, Problem> {
        let message = if self.is("connect") {
            Message::Literal { label: None, payload: Vec::new(), span: start }
        } else {
            self.message()?
        };
        let connect = self.take("connect");
        if !connect {
            self.keyword("from")?;
        }
        let from = self.name()?;
        self.keyword("to")?;
        let mut to = vec![self.name()?];
        while !connect && self.take_sign(b',') {
            to.push(self.name()?);
        }
        let within = if !connect && self.take("within") { Some(self.duration()?) } else { None };
        let end = self.sign(b';')?;
        Ok(Statement::Message { message, from, to, connect, within, span: start.to(end) })
    }

    fn choice(&mut self) -> Result<Statement, Problem> {
        let start = self.keyword("choice")?;
        self.keyword("at")?;
        let subject = self.name()?;
        let mut branches = vec![Branch { late: None, body: self.block()? }];
        while self.take("or") {
            let late = self.is("late").then(|| self.next().span);
            branches.push(Branch { late, body: self.block()? });
        }
        Ok(Statement::Choice { subject, branches, span: start.to(subject.span) })
    }

    fn call(&mut self, start: Span) -> Result<Statement, Problem> {
        let protocol = self.path()?;
        let mut arguments = Vec::new();
        if self.take_sign(b'<') && !self.take_sign(b'>') {
            loop {
                arguments.push(self.argument()?);
                if !self.another(b'>')? {
                    break;
                }
            }
        }
        self.sign(b'(')?;
        let mut roles = Vec::new();
        loop {
            roles.push(self.name()?);
            if !self.another(b')')? {
                break;
            }
        }
        let end = self.sign(b';')?;
        Ok(Statement::Do { protocol, arguments, roles, span: start.to(end) })
    }

    fn message(&mut self) -> Result<Message, Problem> {
        let start = self.peek().span;
        let label = if self.peek().kind == TokenKind::Sign(b'(') { None } else { Some(self.name()?) };
        match label {
            Some(name) if self.peek().kind != TokenKind::Sign(b'(') => Ok(Message::Name(name)),
            label => {
                let (payload, end) = self.payload()?;
                Ok(Message::Literal { label, payload, span: start.to(end) })
            }
        }
    }

    fn argument(&mut self) -> Result<Message, Problem> {
        if self.tokens.get(self.at + 1).is_some_and(|token| token.kind == TokenKind::Sign(b'.')) {
            return Ok(Message::Name(self.path()?));
        }
        self.message()
    }

    fn payload(&mut self) -> Result<(Vec<Payload>, Span), Problem> {
        let open = self.sign(b'(')?;
        let mut payload = Vec::new();
        if self.peek().kind == TokenKind::Sign(b')') {
            let close = self.next().span;
            return Ok((payload, open.to(close)));
        }
        loop {
            let name = self.path()?;
            payload.push(if self.take_sign(b'@') {
                Payload::Delegation { protocol: name, role: self.name()? }
            } else {
                Payload::Type(name)
            });
            let close = self.peek().span;
            if !self.another(b')')? {
                return Ok((payload, open.to(close)));
            }
        }
    }

    /// A number with its unit.
    fn duration(&mut self) -> Result<Duration, Problem> {
        let token = self.next();
        let word = self.word(token);
        let digits = word.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit_ms = match &word[digits.len()..] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => 0,
        };
        let plain = unit_ms > 0 && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let number = match digits.parse::<u32>() {
            Ok(number) if plain && number > 0 => number,
            Ok(_) if plain => {
                let text = "a duration is not nothing: without `within` there is no bound";
                return Err(Problem::at(Code::Syntax, token.span, text));
            }
            Err(_) if plain => {
                let text = format!("the number of a duration is at most {}", u32::MAX);
                return Err(Problem::at(Code::Syntax, token.span, text));
            }
            Ok(_) | Err(_) => {
                let text = "a duration is a number with ms, s, m or h, as in 30s";
                return Err(Problem::at(Code::Syntax, token.span, text));
            }
        };
        Ok(Duration::from_millis(u64::from(number) * unit_ms))
    }

    fn path(&mut self) -> Result<Name, Problem> {
        let first = self.name()?;
        if self.peek().kind != TokenKind::Sign(b'.') {
            return Ok(first);
        }
        let mut text = self.symbols.text(first.symbol).to_owned();
        let mut span = first.span;
        while self.take_sign(b'.') {
            let next = self.name()?;
            text.push('.');
            text.push_str(self.symbols.text(next.symbol));
            span = span.to(next.span);
            if text.len() > LONGEST_NAME {
                let text = format!("a name is at most {LONGEST_NAME} characters long");
                return Err(Problem::at(Code::TooLarge, span, text));
            }
        }
        Ok(Name { symbol: self.symbols.intern(&text), span })
    }

    fn name(&mut self) -> Result<Name, Problem> {
        let token = self.peek();
        let word = self.word(token);
        if token.kind != TokenKind::Word || is_keyword(word) {
            return Err(self.expected("a name"));
        }
        let symbol = self.symbols.intern(word);
        self.next();
        Ok(Name { symbol, span: token.span })
    }

    fn quoted(&mut self) -> Result<(), Problem> {
        if self.peek().kind != TokenKind::Quoted {
            return Err(self.expected("a text in quotes"));
        }
        self.next();
        Ok(())
    }

    /// Whether a comma comes, and so another; if not, this closing sign does.
    fn another(&mut self, close: u8) -> Result<bool, Problem> {
        if self.take_sign(b',') {
            return Ok(true);
        }
        self.sign(close).map(|_| false)
    }

    fn keyword(&mut self, keyword: &str) -> Result<Span, Problem> {
        if self.is(keyword) {
            return Ok(self.next().span);
        }
        Err(self.expected(&format!("`{keyword}`")))
    }

    fn sign(&mut self, sign: u8) -> Result<Span, Problem> {
        if self.peek().kind == TokenKind::Sign(sign) {
            return Ok(self.next().span);
        }
        Err(self.expected(&format!("`{}`", char::from(sign))))
    }

    fn take(&mut self, keyword: &str) -> bool {
        let there = self.is(keyword);
        if there {
            self.next();
        }
        there
    }

    fn take_sign(&mut self, sign: u8) -> bool {
        let there = self.peek().kind == TokenKind::Sign(sign);
        if there {
            self.next();
        }
        there
    }

    fn is(&self, keyword: &str) -> bool {
        let token = self.peek();
        token.kind == TokenKind::Word && self.word(token) == keyword
    }

    fn peek(&self) -> Token {
        self.tokens[self.at]
    }

    fn next(&mut self) -> Token {
        let token = self.peek();
        if token.kind != TokenKind::End {
            self.at += 1;
        }
        token
    }

    fn word(&self, token: Token) -> &'a str {
        &self.text[token.span.start as usize..token.span.end as usize]
    }

    fn expected(&self, what: &str) -> Problem {
        let token = self.peek();
        let found = match token.kind {
            TokenKind::End => "the file ends".to_owned(),
            TokenKind::Word | TokenKind::Quoted | TokenKind::Sign(_) => {
                format!("there is `{}`", self.word(token).chars().take(40).collect::<String>())
            }
        };
        Problem::at(Code::Syntax, token.span, format!("{what} should stand here, but {found}"))
    }
}
