//! From a trace's JSON to tasks. Of what a call is given each letter stays as it was written.

use core::fmt;
use std::collections::BTreeSet;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use thiserror::Error;

use super::keys::Part;
use super::{Made, Task};
use crate::tools::kind;

/// What is wrong with a trace.
#[derive(Debug, Error)]
pub enum TraceError {
    /// It is not JSON.
    #[error("it is not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Something in it has another form.
    #[error("{place}: {what}")]
    Form {
        /// Where: a task and a call by their numbers, from 1, and as a JSON pointer.
        place: String,
        /// What is wrong.
        what: String,
    },
}

/// A trace, and what of it was not read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// Its tasks, in order.
    pub tasks: Vec<Task>,
    /// Keys that mean nothing here.
    pub not_read: NotRead,
}

/// Keys of a trace that mean nothing here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotRead {
    /// Those of tasks.
    pub of_tasks: BTreeSet<String>,
    /// Those of calls.
    pub of_calls: BTreeSet<String>,
}

/// Reads a trace: a list of tasks, or one.
///
/// # Errors
/// When it has another form: the first thing that has.
pub fn parse(text: &str) -> Result<Trace, TraceError> {
    // From here on the grammar holds.
    let is_list = serde_json::from_str::<Value>(text)?.is_array();
    let mut trace = Trace::default();
    if is_list {
        for (at, task) in serde_json::from_str::<Vec<&RawValue>>(text)?.into_iter().enumerate() {
            let place = Place { task: at + 1, call: None, pointer: format!("/{at}") };
            let task = place.task(task, &mut trace.not_read)?;
            trace.tasks.push(task);
        }
    } else {
        let place = Place { task: 1, call: None, pointer: String::new() };
        let task = place.task(serde_json::from_str(text)?, &mut trace.not_read)?;
        trace.tasks.push(task);
    }
    Ok(trace)
}

/// The members of an object, as they were written and as often as they stand there.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Deserialize<'a> for Members<'a> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'a> Visitor<'a> for Reader {
            type Value = Members<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Members<'a>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

impl<'a> Members<'a> {
    fn take(&mut self, key: &str) -> Option<&'a RawValue> {
        let at = self.0.iter().position(|(name, _)| name == key)?;
        Some(self.0.remove(at).1)
    }
}

/// A task of a trace, or a call of one.
struct Place {
    task: usize,
    call: Option<usize>,
    pointer: String,
}

impl Place {
    fn wrong(&self, at: &str, what: &str) -> TraceError {
        let Self { task, call, pointer } = self;
        let path = format!("{pointer}{at}");
        let place = if path.is_empty() { format!("task {task}") } else { format!("task {task} ({path})") };
        let call = call.map(|number| format!("call {number}: ")).unwrap_or_default();
        TraceError::Form { place, what: format!("{call}{what}") }
    }

    fn task(&self, raw: &RawValue, not_read: &mut NotRead) -> Result<Task, TraceError> {
        let Ok(mut members) = serde_json::from_str::<Members<'_>>(raw.get()) else {
            let what = format!("it is {}, not an object with `prompt`, `calls` and `results`", named(raw)?);
            return Err(self.wrong("", &what));
        };
        not_read.of_tasks.extend(self.keys(&members, Part::Task)?);
        let prompt =
            match members.take("prompt").map(|raw| serde_json::from_str::<Value>(raw.get())).transpose()? {
                Some(Value::String(prompt)) => prompt,
                Some(other) => {
                    let what = format!("what the user said is {}, not a text", kind(&other));
                    return Err(self.wrong("/prompt", &what));
                }
                None => return Err(self.wrong("", "it has no `prompt`, which is what the user said")),
            };
        let (made, results) = (self.list(&mut members, "calls")?, self.list(&mut members, "results")?);
        let Some(made) = made else {
            let what = "it has no `calls`, which is what the agent called: a list, empty for none";
            return Err(self.wrong("", what));
        };
        let mut calls = Vec::with_capacity(made.len());
        for (at, call) in made.into_iter().enumerate() {
            let pointer = format!("{}/calls/{at}", self.pointer);
            let place = Self { task: self.task, call: Some(at + 1), pointer };
            calls.push(place.call(call, not_read)?);
        }
        let results = self.results(&results.unwrap_or_default(), calls.len())?;
        let mut more = Map::new();
        for (key, raw) in members.0 {
            more.insert(key, serde_json::from_str(raw.get())?);
        }
        Ok(Task { prompt, calls, results, more })
    }

    fn call(&self, raw: &RawValue, not_read: &mut NotRead) -> Result<Made, TraceError> {
        let Ok(mut members) = serde_json::from_str::<Members<'_>>(raw.get()) else {
            return Err(self.wrong("", &format!("it is {}, not an object with `fn` and `args`", named(raw)?)));
        };
        not_read.of_calls.extend(self.keys(&members, Part::Call)?);
        let tool = match members.take("fn").map(|raw| serde_json::from_str::<Value>(raw.get())).transpose()? {
            Some(Value::String(tool)) => tool,
            Some(other) => {
                return Err(self.wrong("/fn", &format!("the tool is {}, not a text", kind(&other))));
            }
            None => return Err(self.wrong("", "it has no `fn`, which is the tool's name")),
        };
        match members.take("args") {
            None => Err(self.wrong("", "it has no `args`, which is what the tool is given: {} for nothing")),
            Some(raw) if raw.get().starts_with('{') => Ok(Made { tool, arguments: raw.get().to_owned() }),
            Some(raw) => {
                let what = format!("the arguments are {}, not an object", named(raw)?);
                Err(self.wrong("/args", &what))
            }
        }
    }

    /// Keys that are not read. One that stands twice, or that may be meant for another, is an error: what it
    /// has would be judged by nobody.
    fn keys(&self, members: &Members<'_>, part: Part) -> Result<Vec<String>, TraceError> {
        let (what, form) = part.form();
        let mut seen = BTreeSet::new();
        let mut not_read = Vec::new();
        for (key, _) in &members.0 {
            let at = format!("/{}", key.replace('~', "~0").replace('/', "~1"));
            if !seen.insert(key) {
                return Err(self.wrong(&at, &format!("`{key}` stands twice in one {what}")));
            }
            if part.has(key) {
                continue;
            }
            if let Some(meant) = part.meant(key) {
                let what = format!(
                    "`{key}` is no key of a {what}; did you mean `{meant}`? {form}",
                    form = sentence(form)
                );
                return Err(self.wrong(&at, &what));
            }
            not_read.push(key.clone());
        }
        Ok(not_read)
    }

    fn list<'a>(
        &self,
        members: &mut Members<'a>,
        key: &str,
    ) -> Result<Option<Vec<&'a RawValue>>, TraceError> {
        let Some(raw) = members.take(key) else { return Ok(None) };
        match serde_json::from_str(raw.get()) {
            Ok(list) => Ok(Some(list)),
            Err(_) => Err(self.wrong(&format!("/{key}"), &format!("it is {}, not a list", named(raw)?))),
        }
    }

    /// What calls returned; lists and objects are texts of JSON.
    fn results(&self, results: &[&RawValue], calls: usize) -> Result<Vec<String>, TraceError> {
        if results.len() > calls {
            let counted =
                |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
            let (results, calls) = (counted(results.len(), "result"), counted(calls, "call"));
            let what = format!("{results} for {calls}: each result is that of the call with its number");
            return Err(self.wrong("/results", &what));
        }
        let mut texts = Vec::with_capacity(results.len());
        for (at, raw) in results.iter().enumerate() {
            match serde_json::from_str(raw.get())? {
                Value::String(text) => texts.push(text),
                Value::Array(_) | Value::Object(_) => texts.push(raw.get().to_owned()),
                result @ (Value::Null | Value::Bool(_) | Value::Number(_)) => {
                    let what = kind(&result);
                    let what =
                        format!("result {} is {what}, not a text or what a tool returned as JSON", at + 1);
                    return Err(self.wrong(&format!("/results/{at}"), &what));
                }
            }
        }
        Ok(texts)
    }
}

fn named(raw: &RawValue) -> Result<&'static str, TraceError> {
    Ok(kind(&serde_json::from_str(raw.get())?))
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
