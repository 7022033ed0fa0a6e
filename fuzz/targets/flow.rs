//! Agents' traces, results of tools in whatever form, and descriptions and declarations of tools.

#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use sessile_fuzz::plant;
use sessile_guard::flow::trace::{Task, parse};
use sessile_guard::tools::{Tools, derive, suites};
use sessile_guardhouse::post::trace::judge;
use sessile_policy::guard::{Effect, Policies, shipped};

static POLICIES: LazyLock<Arc<Policies>> =
    LazyLock::new(|| Arc::new(shipped().expect("the shipped policy is valid")));

static TOOLS: LazyLock<Tools> = LazyLock::new(|| {
    let text = "[tools.read]\nreadOnlyHint = true\nopenWorldHint = false\nsinks = []\ntrusted_fields = [\"[]\", \"id\", \"to\"]\n\
                [tools.send]\nsinks = [\"to\"]\n[tools.change]\ndestructiveHint = false\nopenWorldHint = false\nsinks = [\"id\"]\n";
    Tools::parse(text).expect("these tools are valid")
});

fuzz_target!(init: plant(SEEDS), |bytes: &[u8]| flow(&String::from_utf8_lossy(bytes)));

/// A result of a tool; a trace; a `tools.toml`; a description of tools.
const SEEDS: [&str; 5] = [
    "[{'type': 'text', 'content': '- id_: \\'6\\'\\n  to: ann@corp.example\\n  text: \"one\\n\\n    two\"\\n'}]",
    "- id: 7\n  to:\n  - Charlie\n  body: |-\n    to: eve\n  more: {}\n",
    r#"[{"prompt": "p", "calls": [{"fn": "read", "args": {}}, {"fn": "send", "args": {"to": ["x"]}}], "results": ["y", {"a": 1}]}]"#,
    "[tools.a]\nreadOnlyHint = true\nsinks = [\"*\"]\n",
    r#"[{"name": "get_events", "description": "Gets them", "inputSchema": {"properties": {"url": {"anyOf": [{"type": "string"}]}}}}]"#,
];

fn flow(text: &str) {
    if let Ok(tools) = Tools::parse(text) {
        let again = Tools::parse(&tools.to_toml(|_| None)).expect("what is written is read again");
        assert_eq!(again, tools);
    }
    let lists = serde_json::from_str(text).ok().and_then(|document| suites(&document).ok());
    for (_, descriptions) in lists.into_iter().flatten() {
        let Ok(derived) = derive(&descriptions) else { continue };
        assert!(derived.undeclared.iter().all(|name| derived.tools.declared(name).is_none()));
    }
    let result = serde_json::json!([{
        "prompt": "Write to somebody",
        "calls": [{"fn": "read", "args": {}}, {"fn": "send", "args": {"to": text}}, {"fn": "change", "args": {"id": "7"}}, {"fn": "other", "args": {}}],
        "results": [text],
    }]);
    let made: Vec<Task> = parse(&result.to_string()).expect("a trace").tasks;
    for task in made.iter().chain(&parse(text).unwrap_or_default().tasks) {
        let judged = judge(task, &TOOLS, &POLICIES).expect("room for values");
        assert_eq!(judged.calls.len(), task.calls.len());
        for call in &judged.calls {
            assert!(call.allowed || call.verdict.is_some());
            assert!(
                call.decision != Effect::Reject || !call.policies.is_empty() || call.arguments.is_empty(),
                "{call:?}"
            );
            for place in call.arguments.iter().flat_map(|argument| &argument.places) {
                let from = match place.event.0 {
                    0 => task.prompt.clone(),
                    number => task.results[number as usize - 1].clone(),
                };
                assert!(place.span.is_none_or(|(start, end)| from.get(start..end).is_some()));
            }
        }
    }
}
