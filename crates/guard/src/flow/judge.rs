//! From a call's arguments to what policies are asked, and what is said of their answer.

use core::fmt;
use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value};
use sessile_policy::guard::{Effect, Payload, Policies, Ruling};

use super::known::{Place, Source, Standing};
use super::{Conversation, Event};
use crate::marking::{Integrity, Marking, Readers};
use crate::tools::words::{self, About};
use crate::tools::{Tool, Tools};

/// How deep arguments may be nested; what is deeper is untrusted.
const MAX_DEPTH: usize = 16;

/// What was found in a call's arguments, beside where they came from: of values that a session keeps.
#[derive(Clone, Copy, Debug)]
pub struct Carried<'a> {
    /// From 0, public, to 4, critical.
    pub confidentiality: u8,
    /// Whether the tool may be told it.
    pub within_readers: bool,
    /// What was found.
    pub kinds: &'a BTreeSet<String>,
}

/// A call that is to be made.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Who calls.
    pub speaker: &'a str,
    /// The tool's name.
    pub tool: &'a str,
    /// What it is given.
    pub arguments: &'a Map<String, Value>,
    /// What was found in that, where it was looked into.
    pub carried: Option<Carried<'a>>,
    /// The session's risk.
    pub risk: u32,
    /// Whether the tool runs in a trusted execution environment that was verified.
    pub tee: bool,
    /// Arguments that nothing says what they do: where a call goes may rest on them, and nothing shows who wanted it.
    pub undeclared: &'a [String],
}

/// One value of a call's arguments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Argument {
    /// The argument's name.
    pub name: String,
    /// The value, as text.
    pub value: String,
    /// Whether it decides where the call goes or on what it acts.
    pub is_sink: bool,
    /// How it is marked.
    pub marking: Marking,
    /// Where it stands; nowhere where it matches nothing.
    pub places: Vec<Place>,
}

/// What is to be done with a call, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What the policies say.
    pub ruling: Ruling,
    /// What it rests on.
    pub because: Because,
    /// What the call is given, and where that came from.
    pub arguments: Vec<Argument>,
}

/// What a judgement rests on, for the user's eyes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Because {
    /// It only reads what is the session's own.
    Free,
    /// It adds to or changes the session's own records.
    Own,
    /// Nothing untrusted was read before.
    NothingRead,
    /// Where it goes was said by the user or is a trusted field.
    Trusted,
    /// An argument came from elsewhere.
    Untrusted {
        /// Its name.
        argument: String,
        /// The exact value.
        value: String,
        /// Where it stands, first of all; nowhere where it matches nothing.
        place: Option<Place>,
    },
    /// It has no argument that shows who wanted it.
    NoDestination,
    /// Nobody declared the tool.
    UnknownTool,
    /// Those it goes to may not read what it carries.
    NotForThem,
    /// The policies alone.
    Policy,
    /// No policy is about it.
    NoPolicy,
    /// The policies could not be asked, or one failed.
    Failure(String),
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Free => f.write_str("it only reads what is the session's own"),
            Self::Own => f.write_str("it touches the session's own records alone"),
            Self::NothingRead => f.write_str("nothing but the user's words was read before"),
            Self::Trusted => {
                f.write_str("the user, or a trusted field, says where it goes or on what it acts")
            }
            Self::Untrusted { argument, value, place: None } => write!(
                f,
                "{argument} is {value:?}, which neither the user said nor a trusted field holds, and text from \
                 elsewhere was read before"
            ),
            Self::Untrusted { argument, value, place: Some(place) } => {
                write!(f, "{argument} is {value:?}, which came from {place}")
            }
            Self::NoDestination => f.write_str(
                "nothing it is given shows who wanted it, and text from elsewhere was read before",
            ),
            Self::UnknownTool => {
                f.write_str("the tool is not declared, and text from elsewhere was read before")
            }
            Self::NotForThem => f.write_str("it carries what those it goes to may not read"),
            Self::Policy => f.write_str("a policy says so"),
            Self::NoPolicy => f.write_str("no policy is about it"),
            Self::Failure(failure) => f.write_str(failure),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Event(number) = self.event;
        match &self.source {
            Source::User => f.write_str("the user")?,
            Source::Result { tool } => write!(f, "result {number}, of {tool}")?,
        }
        if let Some(field) = &self.field {
            write!(f, ", field {field}")?;
        }
        if let Some((start, end)) = self.span {
            write!(f, ", bytes {start} to {end}")?;
        }
        Ok(())
    }
}

/// What a model is told of a call that does not go on: nothing of why.
#[must_use]
pub fn verdict(effect: Effect) -> Option<&'static str> {
    match effect {
        Effect::Reject | Effect::RequireConfirmation => {
            Some("This call was refused. Do not try it again, in this form or another.")
        }
        Effect::ProcessLocal | Effect::Redact | Effect::ProcessInTee => None,
    }
}

impl Conversation {
    /// What is known of a call's arguments, and what the policies say of the call.
    #[must_use]
    pub fn judge(&self, tools: &Tools, policies: &Policies, call: &Call<'_>) -> Judgement {
        let declared = tools.declared(call.tool);
        let unknown = Tool::unknown();
        let tool = declared.unwrap_or(&unknown);
        let arguments = self.arguments((call.tool, tool), call);
        let is_declared = |argument: &&Argument| !call.undeclared.contains(&argument.name);
        let sinks = || arguments.iter().filter(|argument| argument.is_sink);
        let lowest = sinks().map(|argument| argument.marking.integrity).max().unwrap_or(Integrity::System);
        let nothing = Marking { integrity: Integrity::System, ..Marking::default() };
        let together = arguments.iter().fold(nothing, |all, argument| all.join(&argument.marking));
        let mut payload = Payload {
            confidentiality: together.confidentiality.degree(),
            within_readers: reaches_readers(tool, (&arguments, call.undeclared), &together.readers),
            kinds: together.kinds.iter().map(|kind| kind.clone().into_owned()).collect(),
            risk: call.risk,
            tee: call.tee,
        };
        // Both have to allow it.
        if let Some(carried) = call.carried {
            payload.confidentiality = payload.confidentiality.max(carried.confidentiality);
            payload.within_readers &= carried.within_readers;
            payload.kinds.extend(carried.kinds.iter().cloned());
        }
        let asked = sessile_policy::guard::Call {
            speaker: call.speaker,
            tool: call.tool,
            is_known: declared.is_some(),
            is_read_only: tool.is_read_only,
            is_destructive: tool.is_destructive,
            is_idempotent: tool.is_idempotent,
            is_open_world: tool.is_open_world,
            after_untrusted_read: self.has_untrusted(),
            control: rank(lowest),
            is_anchored: sinks().any(|argument| is_declared(&argument)) && lowest != Integrity::Untrusted,
            payload,
        };
        let ruling = policies.call(&asked);
        let because = because(&ruling, tool, &asked, &arguments);
        Judgement { ruling, because, arguments }
    }

    fn arguments(&self, tool: (&str, &Tool), call: &Call<'_>) -> Vec<Argument> {
        let mut all = Vec::new();
        for (name, value) in call.arguments {
            let is_sink = tool.1.is_sink(name) || call.undeclared.contains(name);
            let mut values = Vec::new();
            let is_whole = leaves(value, 0, &mut values);
            for value in values {
                let whole = self.standing(tool, name, &value);
                let parts = if is_sink && whole.marking.integrity > Integrity::User {
                    destinations(name, &value)
                } else {
                    Vec::new()
                };
                if parts.is_empty() {
                    all.push(argument(name, value, is_sink, whole));
                } else {
                    all.extend(parts.into_iter().map(|part| {
                        argument(name, part.to_owned(), is_sink, self.standing(tool, name, part))
                    }));
                }
            }
            if !is_whole {
                let standing = Standing { marking: Marking::default(), places: Vec::new() };
                all.push(argument(name, "…".to_owned(), is_sink, standing));
            }
        }
        all
    }

    fn standing(&self, tool: (&str, &Tool), argument: &str, value: &str) -> Standing {
        let mut standing = self.known.standing(tool, argument, value);
        let found = self.known.found_in(value);
        // What was found is about who may read it. That it stands inside says nothing of trust.
        let integrity = standing.marking.integrity;
        standing.marking = Marking { integrity, ..standing.marking.join(&found) };
        standing
    }
}

fn argument(name: &str, value: String, is_sink: bool, standing: Standing) -> Argument {
    Argument { name: name.to_owned(), value, is_sink, marking: standing.marking, places: standing.places }
}

/// The destinations that a value names, each judged on its own: of a list, and of `Name <address>`, which
/// goes to the address alone. None where it is one destination as it stands.
fn destinations<'a>(argument: &str, value: &'a str) -> Vec<&'a str> {
    if words::about(argument) != About::Destination {
        return Vec::new();
    }
    let parts: Vec<&str> = value.split([',', ';']).map(str::trim).filter(|part| !part.is_empty()).collect();
    let bare = |part: &'a str| {
        let named = part.strip_suffix('>').and_then(|part| part.split_once('<'));
        let (name, address) = named.unwrap_or(("", part));
        if name.contains(['<', '>', '@', '\n']) || address.contains(['<', '>']) {
            part
        } else {
            address.trim()
        }
    };
    let parts: Vec<&str> = parts.into_iter().map(bare).collect();
    if parts.len() < 2 && parts.first() == Some(&value.trim()) { Vec::new() } else { parts }
}

/// The texts of a value, without what is empty; whether that is all of them.
fn leaves(value: &Value, depth: usize, all: &mut Vec<String>) -> bool {
    let mut is_all = true;
    match value {
        Value::Null => {}
        Value::Bool(value) => all.push(value.to_string()),
        Value::Number(value) => all.push(value.to_string()),
        Value::String(value) => all.extend((!value.is_empty()).then(|| value.clone())),
        Value::Array(_) | Value::Object(_) if depth == MAX_DEPTH => is_all = false,
        Value::Array(items) => {
            for item in items {
                is_all &= leaves(item, depth + 1, all);
            }
        }
        Value::Object(table) => {
            for (key, item) in table {
                all.push(key.clone());
                is_all &= leaves(item, depth + 1, all);
            }
        }
    }
    is_all
}

const fn rank(integrity: Integrity) -> u8 {
    match integrity {
        Integrity::System => 3,
        Integrity::User => 2,
        Integrity::TrustedTool => 1,
        Integrity::Untrusted => 0,
    }
}

/// Whether those a call goes to may read what it carries.
fn reaches_readers(
    tool: &Tool,
    (arguments, undeclared): (&[Argument], &[String]),
    readers: &Readers,
) -> bool {
    if *readers == Readers::Anyone {
        return true;
    }
    let is_destination = |argument: &&Argument| match words::about(&argument.name) {
        About::Destination | About::Url | About::Other => argument.is_sink,
        About::PathOrCommand | About::Credential | About::Identifier | About::Content => {
            argument.is_sink && tool.is_open_world
        }
    };
    let mut destinations = arguments.iter().filter(is_destination);
    let reaches_somebody = destinations.clone().any(|argument| !undeclared.contains(&argument.name));
    destinations.all(|argument| readers.admit(&argument.value)) && (reaches_somebody || !tool.is_open_world)
}

fn because(
    ruling: &Ruling,
    tool: &Tool,
    asked: &sessile_policy::guard::Call<'_>,
    arguments: &[Argument],
) -> Because {
    if let Some(failure) = &ruling.failure {
        return Because::Failure(failure.clone());
    }
    if ruling.policies.is_empty() {
        return Because::NoPolicy;
    }
    let untrusted = arguments.iter().find(|a| a.is_sink && a.marking.integrity == Integrity::Untrusted);
    match untrusted {
        _ if tool.is_free() && ruling.effect == Effect::ProcessLocal => Because::Free,
        _ if !asked.payload.within_readers => Because::NotForThem,
        _ if tool.is_free() => Because::Policy,
        Some(argument) => Because::Untrusted {
            argument: argument.name.clone(),
            value: argument.value.clone(),
            place: argument.places.first().cloned(),
        },
        None if !asked.is_known && asked.after_untrusted_read => Because::UnknownTool,
        None if !asked.is_anchored && asked.after_untrusted_read && !tool.is_own_change() => {
            Because::NoDestination
        }
        None if ruling.effect != Effect::ProcessLocal => Because::Policy,
        None if !asked.after_untrusted_read => Because::NothingRead,
        None if asked.is_anchored => Because::Trusted,
        None => Because::Own,
    }
}
