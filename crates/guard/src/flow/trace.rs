//! An agent's trace, judged call by call as it would have been when it was made.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sessile_policy::guard::{Effect, Policies};

use super::{Argument, Call, Conversation, verdict};
use crate::marking::Event;
use crate::tools::Tools;

/// What an agent was asked, what it called, and what it got back.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Task {
    /// What the user said.
    pub prompt: String,
    /// The calls, in order.
    #[serde(default)]
    pub calls: Vec<Made>,
    /// What each returned: texts, or anything else, which is then taken as JSON. May be fewer.
    #[serde(default)]
    pub results: Vec<Value>,
    /// Whatever else is said of the task.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// A call of a trace.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Made {
    /// The tool.
    #[serde(rename = "fn")]
    pub tool: String,
    /// What it is given.
    #[serde(default, rename = "args")]
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

/// Reads a trace: a list of tasks, or one.
///
/// # Errors
/// When it has another form.
pub fn parse(text: &str) -> Result<Vec<Task>, serde_json::Error> {
    let trace: Value = serde_json::from_str(text)?;
    if trace.is_array() { serde_json::from_value(trace) } else { Ok(vec![serde_json::from_value(trace)?]) }
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
