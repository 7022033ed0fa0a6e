//! `questions`: what apps wait for somebody to decide.

use sessile_model::api::{HeldLine, HeldPart, Question, Signature};

use super::text::now;
use crate::client::Daemon;
use crate::failure::{Outcome, Status};
use crate::output::{print, print_json, printable, say, table};
use crate::selector::SessionSelector;

/// List what sessions wait for you to decide
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile questions
  sessile questions amber --json

A connection to a host that no rule names waits for an answer, for five minutes at most; a signature by
your SSH agent (`run --forward-agent`), and a line, a tool's call or a request that the guard holds, for two. Then it is denied. `sessile answer ID allow|deny` answers.")]
pub struct Args {
    /// Only of this session
    session: Option<SessionSelector>,
}

impl Args {
    /// Prints them, oldest first.
    pub fn run(self, json: bool) -> Outcome {
        let daemon = Daemon::reach()?;
        let path = self.session.map_or_else(|| "/v1/questions".to_owned(), |s| s.path("/questions"));
        let questions: Vec<Question> = daemon.get(&path)?;
        if json {
            print_json(&questions)?;
        } else if questions.is_empty() {
            say("nobody waits for an answer");
        } else {
            let mut rows = vec![["ID", "APP", "WANTS", "WAITS"].map(str::to_owned).to_vec()];
            let now = now();
            rows.extend(questions.iter().map(|q| {
                let waits = now.since(q.asked_at).0 / 1000;
                vec![q.id.clone(), q.app.to_string(), wanted(q), format!("{waits}s")]
            }));
            print(&table(&rows))?;
        }
        Ok(Status::OK)
    }
}

/// A line that is held: what it says, and what was found in it and came from whom.
fn held(line: &HeldLine) -> String {
    let HeldLine { from, by, to, label, text, found, policies, because } = line;
    let part = |part: &HeldPart| {
        let of = part.of.as_ref().map(|of| format!(", first said by {of}")).unwrap_or_default();
        format!("{} {:?}{of}", part.kind, part.value)
    };
    let parts: Vec<String> = found.iter().map(part).collect();
    let found = if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") };
    let blank = if label.is_empty() { "" } else { " " };
    let because = because.as_ref().map_or_else(String::new, |because| format!("; {because}"));
    printable(&format!(
        "{from} ({by}) says {label}{blank}to {to}: {text:?}; found: {found}{because}; by {}",
        policies.join(", ")
    ))
}

/// What an app wants.
pub fn wanted(question: &Question) -> String {
    if let Some(line) = &question.line {
        return held(line);
    }
    match &question.signature {
        None => format!("{}:{}", printable(&question.host), question.port),
        Some(Signature { key, kind, comment, purpose }) => printable(&format!(
            "a signature by {key} ({kind}{}{comment}) for {purpose}",
            if comment.is_empty() { "" } else { ", " }
        )),
    }
}
