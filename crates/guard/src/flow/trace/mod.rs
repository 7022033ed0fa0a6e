//! An agent's trace, judged call by call as it would have been when it was made.

mod keys;
mod read;

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value};
use sessile_policy::guard::Effect;

use super::{Argument, verdict};
use crate::marking::Event;

pub use read::{NotRead, Trace, TraceError, parse};

/// What an agent was asked, what it called, and what it got back.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// What the user said.
    pub prompt: String,
    /// The calls, in order.
    pub calls: Vec<Made>,
    /// What each returned, as a text. May be fewer.
    pub results: Vec<String>,
    /// Whatever else is said of the task.
    pub more: Map<String, Value>,
}

/// A call of a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// The tool.
    pub tool: String,
    /// What it is given: a JSON object, as it was written.
    pub arguments: String,
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
    /// What was found in what it is given.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub kinds: BTreeSet<String>,
    /// What it is given, and where that came from.
    pub arguments: Vec<Argument>,
    /// What the model is told, where it does not go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<&'static str>,
}

/// What is decided about a call, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// What is to be done with it.
    pub effect: Effect,
    /// The policies that determined it.
    pub policies: Vec<String>,
    /// Why, for the user.
    pub reason: String,
    /// What was found in what it is given.
    pub kinds: BTreeSet<String>,
    /// What it is given, and where that came from.
    pub arguments: Vec<Argument>,
}

/// Who hears what was said, and decides about calls.
pub trait Judge {
    /// The user says something.
    fn user_says(&mut self, event: Event, text: &str);

    /// A tool returns something.
    fn tool_returns(&mut self, event: Event, tool: &str, text: &str);

    /// Decides about a call that is to be made.
    fn decide(&mut self, call: &Made) -> Decided;
}

/// Has each call judged by what was said and returned before it. The prompt is event 0, the result of call
/// N event N.
pub fn judge(task: &Task, judge: &mut impl Judge) -> Judged {
    judge.user_says(Event(0), &task.prompt);
    let mut calls = Vec::new();
    for ((number, made), event) in (1..).zip(&task.calls).zip(1..) {
        let Decided { effect, policies, reason, kinds, arguments } = judge.decide(made);
        calls.push(JudgedCall {
            number,
            tool: made.tool.clone(),
            decision: effect,
            allowed: effect < Effect::RequireConfirmation,
            reason,
            policies,
            kinds,
            arguments,
            verdict: verdict(effect),
        });
        if let Some(result) = task.results.get(number - 1) {
            judge.tool_returns(Event(event), &made.tool, result);
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

/// Judges by where values came from, and by nothing else.
#[cfg(test)]
pub(super) struct ByOrigin<'a> {
    pub conversation: super::Conversation,
    pub tools: &'a crate::tools::Tools,
    pub policies: &'a sessile_policy::guard::Policies,
}

#[cfg(test)]
impl Judge for ByOrigin<'_> {
    fn user_says(&mut self, event: Event, text: &str) {
        self.conversation.user_says(event, text, &[]);
    }

    fn tool_returns(&mut self, event: Event, tool: &str, text: &str) {
        self.conversation.tool_returns(event, tool, self.tools.declared(tool), text, &[]);
    }

    fn decide(&mut self, call: &Made) -> Decided {
        let call = super::Call {
            speaker: "agent",
            tool: &call.tool,
            arguments: &serde_json::from_str(&call.arguments).unwrap(),
            carried: None,
            risk: 0,
            tee: false,
            undeclared: &[],
        };
        let judged = self.conversation.judge(self.tools, self.policies, &call);
        Decided {
            effect: judged.ruling.effect,
            policies: judged.ruling.policies,
            reason: judged.because.to_string(),
            kinds: BTreeSet::new(),
            arguments: judged.arguments,
        }
    }
}
