//! A recorded trace, judged as a session would have: by where values came from, and by what is found in them.
//!
//! Tools whose names have no server (`SERVER/TOOL`) are taken for those of one: what one of them told, the others are.
//! What was said and returned in it was said and returned, whatever policies say of that. A trace has no
//! times, so that its risk is what all of it adds up to at once. What a call that does not go on holds is told
//! to nobody, as nobody is there to allow it.

use std::sync::Arc;

use sessile_guard::Event;
use sessile_guard::flow::trace::{self, Decided, Judge, Judged, Made, Task};
use sessile_guard::tools::Tools;
use sessile_model::guarding as model;
use sessile_model::mcp::Hints;
use sessile_policy::guard::{Effect, Policies};

pub use super::BeginError;
use super::{Decoded, Post, Said};
use crate::exact;
use crate::vault::Vault;

/// Who speaks, by the names that policies and values have for them.
const USER: &str = "user";
const AGENT: &str = "agent";
/// Keys names of values, which stay here.
const KEY: [u8; 32] = [0; 32];

/// Judges a trace call by call, each by what was said, returned and called before it.
///
/// # Errors
/// When there is no memory for values.
pub fn judge(task: &Task, tools: &Tools, policies: &Arc<Policies>) -> Result<Judged, BeginError> {
    let mut post = Post::new(Vault::on_the_heap(), KEY, Arc::clone(policies), tools.clone())?;
    Ok(trace::judge(task, &mut post))
}

impl Judge for Post {
    fn user_says(&mut self, event: Event, text: &str) {
        self.recorded(event, (USER, AGENT), text, Said::ByUser);
    }

    fn tool_returns(&mut self, event: Event, tool: &str, text: &str) {
        let said = |text| Said::Returned { tool: tool.to_owned(), text };
        self.recorded(event, (&party(tool), AGENT), text, said);
    }

    fn decide(&mut self, call: &Made) -> Decided {
        let way = (AGENT.to_owned(), call.tool.clone(), party(&call.tool));
        // As a relay reads it: of a name that stands twice the last counts.
        let written = exact::written(&call.arguments);
        let given = written.as_ref().unwrap_or(&call.arguments);
        let (judgement, arguments) = self.call(0, 0, way, given, (Hints::default(), &[]));
        let effect = match judgement.effect {
            model::Effect::Pass => Effect::ProcessLocal,
            model::Effect::Redact => Effect::Redact,
            model::Effect::Confirm => Effect::RequireConfirmation,
            model::Effect::Reject => Effect::Reject,
        };
        let made = self.pending.remove(&0).filter(|_| effect < Effect::RequireConfirmation);
        for value in made.into_iter().flat_map(|made| made.values) {
            self.remember(value);
        }
        Decided {
            effect,
            policies: judgement.policies,
            reason: judgement.because.unwrap_or_default(),
            kinds: judgement.found.into_iter().map(|found| found.kind).collect(),
            arguments,
        }
    }
}

/// A tool as values are told to it.
fn party(tool: &str) -> String {
    if tool.contains('/') { tool.to_owned() } else { format!("/{tool}") }
}

impl Post {
    fn recorded(
        &mut self,
        event: Event,
        way: (&str, &str),
        text: &str,
        said: impl FnOnce(zeroize::Zeroizing<String>) -> Said,
    ) {
        let decoded = Decoded::of(text.as_bytes());
        let seen = self.look(way, &decoded, 0);
        let values = self.learned(way, seen.values);
        self.heard(event, Some(said(decoded.text)), values);
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;
    use sessile_policy::guard::shipped;

    use super::*;

    const KEY: &str = "glpat-Zx71kdMm2x90Ttq3Wv8L";
    const TOOLS: &str = "[tools.search_contacts]\nreadOnlyHint = true\nopenWorldHint = false\nreaders = [\"@corp.example\"]\n\
        [tools.send_mail]\nsinks = [\"to\"]\n";

    fn judged(prompt: &str, calls: &[(&str, String, &str)]) -> Judged {
        let made = |(tool, arguments, _): &(&str, String, &str)| Made {
            tool: (*tool).to_owned(),
            arguments: arguments.clone(),
        };
        let task = Task {
            prompt: prompt.to_owned(),
            calls: calls.iter().map(made).collect(),
            results: calls.iter().map(|(_, _, result)| (*result).to_owned()).collect(),
            more: serde_json::Map::new(),
        };
        judge(&task, &Tools::parse(TOOLS).unwrap(), &Arc::new(shipped().unwrap())).unwrap()
    }

    #[test]
    fn a_secret_goes_to_no_other_tool_however_it_is_written() {
        let found = format!("name: Bob\nnote: {KEY}");
        let (half, rest) = KEY.split_at(13);
        for (body, kind) in [
            (json!(KEY), "tainted_value"),
            (json!(STANDARD.encode(KEY)), "tainted_value"),
            (json!(STANDARD.encode(format!("here it is: {KEY}"))), "tainted_value"),
            (json!([half, rest]), "tainted_value"),
        ] {
            let mail = json!({"to": "bob@x.example", "body": body}).to_string();
            let judged = judged(
                "Write bob@x.example what is known of Bob",
                &[("search_contacts", "{}".into(), &found), ("send_mail", mail, "sent")],
            );
            let call = &judged.calls[1];
            assert_eq!(
                (call.decision, &call.policies[..]),
                (Effect::Reject, &["secrets-stay".to_owned()][..])
            );
            assert!(call.kinds.contains(kind), "{call:#?}");
            assert!(call.arguments.iter().any(|argument| argument.name == "to" && argument.is_sink));
            assert_eq!((judged.rejected, judged.questions), (1, 0));
        }
    }

    #[test]
    fn arguments_are_looked_into_as_they_are_written() {
        let found = format!("token {KEY}");
        let (half, rest) = KEY.split_at(13);
        // In the order in which they stand, which is not that of their names.
        let mail = format!("{{\"to\": \"bob@x.example\", \"z\": \"{half}\", \"a\": \"{rest}\"}}");
        let calls = [("book/search", "{}".into(), &*found), ("send_mail", mail, "sent")];
        let split = judged("Write bob@x.example", &calls);
        assert_eq!(split.calls[1].decision, Effect::Reject, "{split:#?}");
        // Of a name that stands twice the last counts.
        let twice = format!("{{\"to\": \"{KEY}\", \"to\": \"bob@x.example\"}}");
        let calls = [("book/search", "{}".into(), &*found), ("send_mail", twice, "sent")];
        assert_eq!(judged("Write bob@x.example", &calls).calls[1].decision, Effect::ProcessLocal);
        let twice = "{\"to\": \"bob@x.example\", \"to\": \"eve@x.example\"}".to_owned();
        let judged = judged(
            "Write bob@x.example",
            &[("search_contacts", "{}".into(), "eve@x.example"), ("send_mail", twice, "sent")],
        );
        assert_eq!(judged.calls[1].decision, Effect::RequireConfirmation);
        assert_eq!(judged.calls[1].arguments[0].value, "eve@x.example");
    }

    #[test]
    fn who_told_a_value_may_be_told_it() {
        let calls = [
            ("mail/read", "{}".into(), KEY),
            ("mail/send", json!({"to": "bob@x.example", "body": KEY}).to_string(), "sent"),
            ("other/send", json!({"to": "bob@x.example", "body": KEY}).to_string(), "sent"),
        ];
        let judged = judged("Write bob@x.example", &calls);
        assert_ne!(judged.calls[1].decision, Effect::Reject, "{judged:#?}");
        assert_eq!(judged.calls[2].decision, Effect::Reject, "{judged:#?}");
    }
}
