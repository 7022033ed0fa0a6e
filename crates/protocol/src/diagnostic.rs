//! What is wrong with a protocol, where, and what to do about it.

use std::fmt;

/// What kind of thing is wrong. The text of a code is stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Code {
    /// The files are too large or too many.
    TooLarge,
    /// It is not Scribble.
    Syntax,
    /// Blocks are nested too deeply.
    TooDeep,
    /// A construct that is read but has no meaning here.
    Unsupported,
    /// The module is not called as its file.
    ModuleName,
    /// An imported module is not there.
    MissingModule,
    /// Two modules are visible under one name.
    DuplicateModule,
    /// Two declarations have one name.
    DuplicateDeclaration,
    /// No such protocol.
    UnknownProtocol,
    /// No such type, signature or parameter.
    UnknownName,
    /// A name of another kind than is needed.
    WrongKind,
    /// A role that the protocol does not declare.
    UnknownRole,
    /// One role twice.
    DuplicateRole,
    /// `do` with too few or too many arguments.
    Arity,
    /// `continue` outside the `rec` that it names.
    UnboundRecursion,
    /// A message from a role to itself.
    ToItself,
    /// A declared role that does nothing.
    UnusedRole,
    /// A role acts before it can know that it should.
    NotEnabled,
    /// A role hears of a choice from different roles.
    InconsistentChoice,
    /// A message without a connection, or a connection twice.
    Connection,
    /// Something follows a `continue`, or a `do` that comes back to itself.
    Unreachable,
    /// A recursion comes back to itself without a message.
    Unguarded,
    /// One label with different payloads in one choice.
    Payloads,
    /// A role may both send and receive, or end.
    Mixed,
    /// A message arrives that its receiver cannot take.
    StuckMessage,
    /// Roles wait for each other.
    Deadlock,
    /// A message is left when its receiver is done.
    Orphan,
    /// Nothing can happen any more, and a role is not done.
    Unfinished,
    /// A role may wait for ever while others go on.
    Starved,
    /// A message may never be received while others go on.
    NeverReceived,
    /// A choice is not made by one sender.
    NotSenderDriven,
    /// Two branches of a choice begin alike.
    SameBeginning,
    /// A role would have to know of a choice to send.
    SendValidity,
    /// A role cannot tell from what it receives which branch was taken.
    ReceiveValidity,
    /// The discipline does not speak of this.
    OutsideDiscipline,
    /// Deadlines of one choice differ.
    Deadlines,
    /// A branch for a timeout that cannot be one.
    Late,
    /// A limit was reached before there was an answer.
    Unknown,
}

impl Code {
    /// The code as users see it.
    pub fn text(self) -> &'static str {
        self.entry().0
    }

    fn help(self) -> &'static str {
        self.entry().1
    }

    /// Whether a limit was reached before there was an answer: such a protocol is neither accepted nor shown wrong.
    #[must_use]
    pub fn is_limit(self) -> bool {
        matches!(self, Code::TooLarge | Code::TooDeep | Code::Unknown)
    }

    fn entry(self) -> (&'static str, &'static str) {
        match self {
            Code::TooLarge => ("P001", "split it into protocols that are opened one after the other"),
            Code::Syntax => ("P002", "see the page on protocols for the syntax"),
            Code::TooDeep => ("P003", "nest blocks less deeply: each `do` brings those of what it names"),
            Code::Unsupported => ("P004", "write it with messages, `choice`, `rec` and `do`"),
            Code::ModuleName => ("P010", "name the module as its file, without the ending"),
            Code::MissingModule => (
                "P011",
                "a.b is looked for as a/b.scr beside the file; `protocol check` takes further folders by --import-path",
            ),
            Code::DuplicateModule => ("P012", "give the import another name with `as`"),
            Code::DuplicateDeclaration => ("P013", "rename or remove one of them"),
            Code::UnknownProtocol => (
                "P014",
                "declare it, or import its module and name it with the module; FILE#NAME is one of a file's",
            ),
            Code::UnknownName => ("P015", "declare it with `type` or `sig`, or as a parameter"),
            Code::WrongKind => ("P016", "types stand in payloads, signatures where messages stand"),
            Code::UnknownRole => ("P017", "declare the role in the protocol's header"),
            Code::DuplicateRole => ("P018", "each role stands for one participant"),
            Code::Arity => ("P019", "pass as many roles and arguments as the protocol declares"),
            Code::UnboundRecursion => ("P020", "name a `rec` that is around the `continue`"),
            Code::ToItself => ("P021", "a message goes to another role"),
            Code::UnusedRole => ("P022", "remove the role, or give it something to do"),
            Code::NotEnabled => ("P030", "send the role a message in this branch first"),
            Code::InconsistentChoice => ("P031", "let one role tell it in every branch"),
            Code::Connection => ("P032", "connect before the first message, disconnect after the last"),
            Code::Unreachable => ("P033", "put it before, or leave the `rec` by another branch"),
            Code::Unguarded => ("P034", "send a message before going round again"),
            Code::Payloads => ("P035", "use different labels"),
            Code::Mixed => ("P036", "let one role decide, and tell the others"),
            Code::StuckMessage => ("P040", "make the branches tell the receiver which was taken"),
            Code::Deadlock => ("P041", "let one of them send first in every branch"),
            Code::Orphan => ("P042", "let the receiver take the message in every branch"),
            Code::Unfinished => ("P043", "tell the role in every branch, also that nothing comes"),
            Code::Starved => ("P044", "send it something in each round, or let the round end"),
            Code::NeverReceived => ("P045", "let the receiver take it in each round"),
            Code::NotSenderDriven => ("P050", "begin every branch with a message from the role that chooses"),
            Code::SameBeginning => ("P051", "give the first messages different labels"),
            Code::SendValidity => ("P052", "send the role a message that tells the branches apart"),
            Code::ReceiveValidity => ("P053", "let the role hear from the same sender first"),
            Code::OutsideDiscipline => ("P054", "check it with the discipline `scribble`"),
            Code::Deadlines => ("P060", "give all messages of one choice the same `within`"),
            Code::Late => ("P061", "begin it with a message of the role that chooses, without `within`"),
            Code::Unknown => ("P099", "make the protocol smaller: the limits are the program's own"),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// One action of a counterexample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// Who acts.
    pub role: Box<str>,
    /// What it does.
    pub act: Act,
    /// With whom.
    pub peer: Box<str>,
    /// The message as the file writes it; empty for an [`Act::Disconnect`].
    pub message: Box<str>,
}

/// What a role does in a [`Move`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Act {
    /// Sends to the peer.
    Send,
    /// Receives from the peer.
    Receive,
    /// Connects to the peer, which accepts.
    Connect,
    /// Accepts the peer's connection.
    Accept,
    /// Closes its side of a connection.
    Disconnect,
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Move { role, act, peer, message } = self;
        match act {
            Act::Send => write!(f, "{role} sends {message} to {peer}"),
            Act::Receive => write!(f, "{role} receives {message} from {peer}"),
            Act::Connect => write!(f, "{role} connects to {peer} with {message}"),
            Act::Accept => write!(f, "{role} accepts {peer} with {message}"),
            Act::Disconnect => write!(f, "{role} disconnects from {peer}"),
        }
    }
}

/// Where in a file something is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file as its loader names it.
    pub file: Box<str>,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// How many characters of the line are meant; at least 1.
    pub width: usize,
    /// The line, or what is around the place in a long one.
    pub text: Box<str>,
    /// Characters of the line that are left out before the text.
    pub skipped: usize,
}

/// What is wrong with a protocol. Its `Display` is what users see, over several lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Its kind.
    pub code: Code,
    /// One line.
    pub message: String,
    /// Where; `None` for a file as a whole.
    pub place: Option<Place>,
    /// The shortest run that shows it, where there is one.
    pub trace: Vec<Move>,
    /// What to do about it.
    pub help: &'static str,
}

impl std::error::Error for Diagnostic {}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.code, self.message)?;
        let margin = self.place.as_ref().map_or(1, |place| place.line.to_string().len());
        let blank = " ".repeat(margin);
        if let Some(place) = &self.place {
            let Place { file, line, column, width, text, skipped } = place;
            // A tab is as wide below as above, so that the caret stands where it should.
            let indent: String =
                text.chars().take(column - 1 - skipped).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            write!(f, "\n{blank}--> {file}:{line}:{column}\n{blank} |\n{line} | {text}\n")?;
            write!(f, "{blank} | {indent}{}", "^".repeat(*width))?;
        }
        if !self.trace.is_empty() {
            write!(f, "\n{blank} = shortest run that shows it:")?;
            for (i, step) in self.trace.iter().enumerate() {
                write!(f, "\n{blank}     {}. {step}", i + 1)?;
            }
        }
        write!(f, "\n{blank} = help: {}", self.help)
    }
}

/// How much of a line is shown, in characters, and how much of that before the place.
const MOST_SHOWN: usize = 160;
const MOST_BEFORE: usize = 80;

/// A part of a file, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    pub file: u16,
    pub start: u32,
    pub end: u32,
}

impl Span {
    /// From the beginning of this to the end of the other.
    pub(crate) fn to(self, end: Span) -> Span {
        Span { end: end.end, ..self }
    }
}

/// A [`Diagnostic`] before its place is looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub code: Code,
    pub message: String,
    pub span: Option<Span>,
    pub trace: Vec<Move>,
}

impl Problem {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Problem { code, message: message.into(), span: None, trace: Vec::new() }
    }

    pub(crate) fn at(code: Code, span: Span, message: impl Into<String>) -> Self {
        Problem { span: Some(span), ..Problem::new(code, message) }
    }

    /// With this place, where it has none yet.
    pub(crate) fn or_at(mut self, span: Span) -> Self {
        self.span.get_or_insert(span);
        self
    }

    pub(crate) fn with_trace(mut self, trace: Vec<Move>) -> Self {
        self.trace = trace;
        self
    }
}

/// The files that were read.
#[derive(Debug, Default)]
pub(crate) struct Files {
    files: Vec<(Box<str>, Box<str>)>,
}

impl Files {
    /// Keeps a file and gives its number.
    pub(crate) fn add(&mut self, name: &str, text: &str) -> u16 {
        self.files.push((name.into(), text.into()));
        u16::try_from(self.files.len() - 1).unwrap_or(u16::MAX)
    }

    pub(crate) fn text(&self, file: u16) -> &str {
        self.files.get(usize::from(file)).map_or("", |(_, text)| text)
    }

    /// The problem with its place.
    pub(crate) fn diagnostic(&self, problem: Problem) -> Diagnostic {
        let Problem { code, message, span, trace } = problem;
        Diagnostic { code, message, place: span.and_then(|s| self.place(s)), trace, help: code.help() }
    }

    fn place(&self, span: Span) -> Option<Place> {
        let (name, text) = self.files.get(usize::from(span.file))?;
        let start = floor(text, span.start as usize);
        let begin = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let end = text[start..].find(['\n', '\r']).map_or(text.len(), |at| start + at);
        let last = floor(text, span.end as usize).clamp(start, end);
        let before = text[begin..start].chars().count();
        let skipped = before.saturating_sub(MOST_BEFORE);
        let shown: String = text[begin..end].chars().skip(skipped).take(MOST_SHOWN).collect();
        let room = shown.chars().count() + skipped - before;
        Some(Place {
            file: name.clone(),
            line: text[..start].matches('\n').count() + 1,
            column: before + 1,
            width: text[start..last].chars().count().clamp(1, room.max(1)),
            text: shown.into(),
            skipped,
        })
    }
}

/// The nearest boundary of a character at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnostic_shows_the_place_the_run_and_what_to_do() {
        let mut files = Files::default();
        let file = files.add("talk.scr", "module talk;\n\tm() from A to C;\n");
        let step = |role: &str, act, peer: &str| Move {
            role: role.into(),
            act,
            peer: peer.into(),
            message: "m()".into(),
        };
        let problem = Problem::at(Code::UnknownRole, Span { file, start: 28, end: 29 }, "no role C")
            .with_trace(vec![step("A", Act::Send, "B"), step("B", Act::Receive, "A")]);
        let shown = files.diagnostic(problem).to_string();
        let expected = "error[P017]: no role C
 --> talk.scr:2:16
  |
2 | \tm() from A to C;
  | \t              ^
  = shortest run that shows it:
      1. A sends m() to B
      2. B receives m() from A
  = help: declare the role in the protocol's header";
        assert_eq!(shown, expected);
    }
}
