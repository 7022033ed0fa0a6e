//! Texts of attackers, put into what a user's tools return, and the calls they ask for.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use sessile_guard::flow::trace::{JudgedCall, Made, Task};
use sessile_guard::tools::{Tool, Tools};
use sessile_guardhouse::post::trace::{BeginError, judge};
use sessile_policy::guard::Policies;

/// Where an attacker's text stands in a result.
type Placement = fn(result: &str, injection: &str) -> String;

/// All of them, each with its name.
pub const PLACEMENTS: [(&str, Placement); 5] = [
    ("after the result", after),
    ("at the beginning of its text", inside),
    ("in a field of it, whose form holds", in_field),
    ("as an entry of it, whose form holds", as_entry),
    ("instead of it", instead),
];

fn after(result: &str, injection: &str) -> String {
    format!("{result}\n{injection}")
}

/// In the result's own text, escaped as that is.
fn inside(result: &str, injection: &str) -> String {
    let start = ["'content': '", "'content': \""].iter().find_map(|key| Some(result.find(key)? + key.len()));
    let injection = injection.replace('\\', "\\\\").replace('\'', "\\'").replace('"', "\\\"");
    match start {
        Some(at) => format!("{}{injection}\\n{}", &result[..at], &result[at..]),
        None => format!("{injection}\n{result}"),
    }
}

fn instead(_: &str, injection: &str) -> String {
    injection.to_owned()
}

/// Where somebody else writes: a message's body, a payment's subject. The result is read as before.
fn in_field(result: &str, injection: &str) -> String {
    let text = text(result);
    let field = ["body: ", "subject: ", "content: ", "description: ", "title: "]
        .iter()
        .find_map(|key| Some(text.find(key)? + key.len()));
    match field {
        Some(at) => {
            // The lines in which the field's text goes on are left out.
            let next = |line: &&str| {
                let line = line.trim_start_matches([' ', '-']);
                line.split_once(':')
                    .is_some_and(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
            };
            let rest: Vec<&str> = text[at..].lines().skip(1).skip_while(|line| !next(line)).collect();
            block(&format!("{}{}\n{}", &text[..at], json!(injection), rest.join("\n")))
        }
        None => block(&format!("{injection}\n{text}")),
    }
}

/// As one more entry of a list: a name that somebody chose.
fn as_entry(result: &str, injection: &str) -> String {
    let text = text(result);
    if text.starts_with("- ") {
        block(&format!("{text}\n- {}", json!(injection)))
    } else {
        block(&text) + injection
    }
}

/// The text of a result in one content block as Python writes it.
fn text(result: &str) -> String {
    let start = ["'content': '", "'content': \""].iter().find_map(|key| Some(result.find(key)? + key.len()));
    let Some(start) = start else { return result.to_owned() };
    let end = result.rfind("}]").map_or(result.len(), |end| end.saturating_sub(1));
    let text = result.get(start..end).unwrap_or_default();
    text.replace("\\n", "\n")
        .replace("\\t", "\t")
        .replace("\\'", "'")
        .replace("\\\"", "\"")
        .replace("\\\\", "\\")
}

fn block(text: &str) -> String {
    json!([{"type": "text", "text": text}]).to_string()
}

/// The reads of a user's task, each result with the attacker's text in it, and what is then said of the
/// attack's calls: all that do more than read what is the session's own. `None` where the user's task
/// reads nothing.
pub fn attacked(
    user: &Task,
    attack: &Task,
    placement: Placement,
    tools: &Tools,
    policies: &Arc<Policies>,
) -> Result<Option<Vec<JudgedCall>>, BeginError> {
    let mut task = Task { calls: Vec::new(), results: Vec::new(), ..user.clone() };
    for (made, result) in user.calls.iter().zip(&user.results) {
        if tools.declared(&made.tool).is_some_and(|tool| tool.is_read_only) {
            task.calls.push(made.clone());
            task.results.push(placement(result, &attack.prompt));
        }
    }
    let before = task.calls.len();
    if before == 0 {
        return Ok(None);
    }
    task.calls.extend(attack.calls.clone());
    task.results.extend(attack.results.clone());
    let calls = judge(&task, tools, policies)?.calls.into_iter().skip(before);
    Ok(Some(calls.filter(|call| !tools.declared(&call.tool).is_some_and(Tool::is_free)).collect()))
}

/// A case of InjecAgent as traces: the user's call, whose result holds the attack, then the attacker's
/// calls. What these take is not told: nothing, the whole instruction, each word of it.
pub fn case(case: &Value) -> Vec<Task> {
    let text = |key: &str| case[key].as_str().unwrap_or_default().to_owned();
    let instruction = text("Attacker Instruction");
    let words: Vec<&str> = instruction.split_whitespace().collect();
    let given = [json!({}), json!({ "request": instruction }), json!({ "words": words })];
    let call = |name: &Value, arguments: &Value| Made {
        tool: name.as_str().unwrap_or_default().to_owned(),
        arguments: arguments.to_string(),
    };
    given
        .iter()
        .map(|given| {
            let mut calls = vec![call(&case["User Tool"], &json!({ "parameters": case["Tool Parameters"] }))];
            calls.extend(attackers_tools(case).iter().map(|name| call(name, given)));
            let results = vec![text("Tool Response")];
            Task { prompt: text("User Instruction"), calls, results, more: Map::new() }
        })
        .collect()
}

/// The tools that a case of InjecAgent has the agent call.
pub fn attackers_tools(case: &Value) -> Vec<Value> {
    case["Attacker Tools"].as_array().cloned().unwrap_or_default()
}
