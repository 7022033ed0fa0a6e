//! An agent's trace, judged call by call as it would have been when it was made.

use serde::Serialize;
use serde_json::{Map, Value};
use sessile_policy::guard::{Effect, Policies};
use thiserror::Error;

use super::{Argument, Call, Conversation, verdict};
use crate::marking::Event;
use crate::tools::{Tools, kind};

/// What an agent was asked, what it called, and what it got back.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// What the user said.
    pub prompt: String,
    /// The calls, in order.
    pub calls: Vec<Made>,
    /// What each returned: texts, or lists and objects, which are then taken as JSON. May be fewer.
    pub results: Vec<Value>,
    /// Whatever else is said of the task.
    pub more: Map<String, Value>,
}

/// A call of a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// The tool.
    pub tool: String,
    /// What it is given.
    pub arguments: Map<String, Value>,
}

/// What is said of a task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judged {
    /// Whatever else the trace says of it.
    #[serde(flatten)]
    pub more: Map<String, Value>,
    /// What the user said.
    pub prompt: String,
    /// Whether all of it goes on without a question.
    pub allowed: bool,
    /// How many calls ask first.
    pub questions: usize,
    /// How many calls are rejected.
    pub rejected: usize,
    /// Call by call.
    pub calls: Vec<JudgedCall>,
}

/// What is said of a call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JudgedCall {
    /// Its number, from 1; its result has the same.
    pub number: usize,
    /// The tool.
    #[serde(rename = "fn")]
    pub tool: String,
    /// What is to be done with it.
    pub decision: Effect,
    /// Whether it goes on without a question.
    pub allowed: bool,
    /// Why, for the user.
    pub reason: String,
    /// The policies that determined it.
    pub policies: Vec<String>,
    /// What it is given, and where that came from.
    pub arguments: Vec<Argument>,
    /// What the model is told, where it does not go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<&'static str>,
}

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

/// Reads a trace: a list of tasks, or one.
///
/// # Errors
/// When it has another form: the first thing that has.
pub fn parse(text: &str) -> Result<Vec<Task>, TraceError> {
    match serde_json::from_str(text)? {
        Value::Array(tasks) => {
            (1..).zip(tasks).map(|(number, task)| read(task, number, &format!("/{}", number - 1))).collect()
        }
        task @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
            Ok(vec![read(task, 1, "")?])
        }
    }
}

/// One task of a trace.
fn read(task: Value, number: usize, pointer: &str) -> Result<Task, TraceError> {
    let form = |at: &str, what: String| {
        let path = format!("{pointer}{at}");
        let place =
            if path.is_empty() { format!("task {number}") } else { format!("task {number} ({path})") };
        TraceError::Form { place, what }
    };
    let Value::Object(mut more) = task else {
        return Err(form(
            "",
            format!("it is {}, not an object with `prompt`, `calls` and `results`", kind(&task)),
        ));
    };
    let prompt = match more.remove("prompt") {
        Some(Value::String(prompt)) => prompt,
        Some(other) => {
            return Err(form("/prompt", format!("what the user said is {}, not a text", kind(&other))));
        }
        None => return Err(form("", "it has no `prompt`, which is what the user said".to_owned())),
    };
    let mut list = |key: &str| match more.remove(key) {
        None => Ok(None),
        Some(Value::Array(list)) => Ok(Some(list)),
        Some(other) => Err(form(&format!("/{key}"), format!("it is {}, not a list", kind(&other)))),
    };
    let (made, results) = (list("calls")?, list("results")?.unwrap_or_default());
    let Some(made) = made else {
        return Err(form(
            "",
            "it has no `calls`, which is what the agent called: a list, empty for none".to_owned(),
        ));
    };
    let mut calls = Vec::with_capacity(made.len());
    for (at, call) in made.into_iter().enumerate() {
        let form =
            |key: &str, what: String| form(&format!("/calls/{at}{key}"), format!("call {}: {what}", at + 1));
        let Value::Object(mut call) = call else {
            return Err(form("", format!("it is {}, not an object with `fn` and `args`", kind(&call))));
        };
        let tool = match call.remove("fn") {
            Some(Value::String(tool)) => tool,
            Some(other) => return Err(form("/fn", format!("the tool is {}, not a text", kind(&other)))),
            None => return Err(form("", "it has no `fn`, which is the tool's name".to_owned())),
        };
        let arguments = match call.remove("args") {
            None => {
                return Err(form(
                    "",
                    "it has no `args`, which is what the tool is given: {} for nothing".to_owned(),
                ));
            }
            Some(Value::Object(arguments)) => arguments,
            Some(other) => {
                return Err(form("/args", format!("the arguments are {}, not an object", kind(&other))));
            }
        };
        calls.push(Made { tool, arguments });
    }
    if results.len() > calls.len() {
        let counted = |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
        let (results, calls) = (counted(results.len(), "result"), counted(calls.len(), "call"));
        return Err(form(
            "/results",
            format!("{results} for {calls}: each result is that of the call with its number"),
        ));
    }
    for (at, result) in results.iter().enumerate() {
        match result {
            Value::String(_) | Value::Array(_) | Value::Object(_) => {}
            Value::Null | Value::Bool(_) | Value::Number(_) => {
                let what = format!(
                    "result {} is {}, not a text or what a tool returned as JSON",
                    at + 1,
                    kind(result)
                );
                return Err(form(&format!("/results/{at}"), what));
            }
        }
    }
    Ok(Task { prompt, calls, results, more })
}

/// Judges each call by what was said and returned before it. The prompt is event 0, the result of call
/// N event N.
#[must_use]
pub fn judge(task: &Task, tools: &Tools, policies: &Policies) -> Judged {
    let mut conversation = Conversation::default();
    conversation.user_says(Event(0), &task.prompt, &[]);
    let mut calls = Vec::new();
    for ((number, made), event) in (1..).zip(&task.calls).zip(1..) {
        let call = Call {
            speaker: "agent",
            tool: &made.tool,
            arguments: &made.arguments,
            carried: None,
            risk: 0,
            tee: false,
            undeclared: &[],
        };
        let judgement = conversation.judge(tools, policies, &call);
        let effect = judgement.ruling.effect;
        calls.push(JudgedCall {
            number,
            tool: made.tool.clone(),
            decision: effect,
            allowed: effect < Effect::RequireConfirmation,
            reason: judgement.because.to_string(),
            policies: judgement.ruling.policies,
            arguments: judgement.arguments,
            verdict: verdict(effect),
        });
        if let Some(result) = task.results.get(number - 1) {
            let text = result.as_str().map_or_else(|| result.to_string(), str::to_owned);
            conversation.tool_returns(Event(event), &made.tool, tools.declared(&made.tool), &text, &[]);
        }
    }
    let count = |effect| calls.iter().filter(|call| call.decision == effect).count();
    Judged {
        more: task.more.clone(),
        prompt: task.prompt.clone(),
        allowed: calls.iter().all(|call| call.allowed),
        questions: count(Effect::RequireConfirmation),
        rejected: count(Effect::Reject),
        calls,
    }
}
