//! `guard trace`: what would have been decided about the calls of an agent's trace.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use sessile_guard::flow::trace::{Judged, NotRead, parse};
use sessile_guardhouse::post::trace::judge;
use sessile_model::problem::ProblemKind;

use super::{policy, tools};
use crate::failure::{Failure, Outcome, Status};
use crate::files;
use crate::output::{counted, print, print_json, printable, say};

/// Most bytes of a trace.
const MOST: usize = 256 << 20;

/// Judge the calls of an agent's trace by where their arguments came from
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile guard trace trace.json --tools tools.toml
  sessile guard trace trace.json --tools tools.toml --policy work --json
  my-recorder | sessile guard trace - --tools tools.toml

FILE is a list of tasks, or one:
  [{\"prompt\": \"Pay the bill\", \"calls\": [{\"fn\": \"read_file\", \"args\": {\"path\": \"bill\"}}],
    \"results\": [\"IBAN: …\"]}]
Results are in the order of their calls, and may be fewer. A task may be named by \"suite\", \"task\" and \"kind\". Other keys
are not read; one that looks like a misspelling of these is refused. Of a name that stands twice in \"args\" the last counts.
Each call is judged by what was said and returned before it, and by the secrets and other values of these that it holds, as
in a session. Of each argument that decides where a call goes, --json shows where its value stands. The exit code is 0
whatever is decided.")]
pub struct Args {
    /// The trace: a file, or - for standard input
    file: PathBuf,
    /// What the tools are declared to do; one that is not declared is destructive and open-world; - for standard input
    #[arg(long, value_name = "FILE")]
    tools: Option<PathBuf>,
    /// A folder of policies that takes the place of the one that is shipped
    #[arg(long, value_name = "DIR")]
    policy: Option<PathBuf>,
}

impl Args {
    pub fn run(self, json: bool) -> Outcome {
        let declared = self.tools.iter().map(|path| ("--tools", path.as_path()));
        files::one_standard(std::iter::once(("FILE", self.file.as_path())).chain(declared))?;
        let tools = tools::read(self.tools.as_deref())?;
        let policies = Arc::new(policy::read(self.policy.as_deref())?);
        let text = files::input(&self.file, MOST)?;
        let shown = files::shown(&self.file);
        let trace = parse(&text).map_err(|e| {
            Failure::new(ProblemKind::BadRequest, format!("{shown}: {e}"))
                .hint("`sessile guard trace --help` shows the form")
        })?;
        note(&shown, &trace.not_read);
        let judged =
            trace.tasks.iter().map(|task| judge(task, &tools, &policies)).collect::<Result<Vec<Judged>, _>>();
        let judged = judged.map_err(|e| Failure::new(ProblemKind::Internal, e.to_string()))?;
        let sum = |of: fn(&Judged) -> usize| judged.iter().map(of).sum::<usize>();
        let (questions, rejected) = (sum(|task| task.questions), sum(|task| task.rejected));
        let allowed = judged.iter().filter(|task| task.allowed).count();
        if json {
            print_json(&json!({
                "tasks": judged,
                "summary": {
                    "tasks": judged.len(),
                    "allowed": allowed,
                    "questions": questions,
                    "rejected": rejected,
                    "trusted_fields": tools.trusted_fields(),
                },
            }))?;
            return Ok(Status::OK);
        }
        let tasks: String = (1..).zip(&judged).map(|(number, task)| text_of(number, task)).collect();
        let (many, questions) = (judged.len(), counted(questions as u64, "question", "questions"));
        let last = format!("{allowed} of {many} without a question; {questions}, {rejected} rejected\n");
        print(&(tasks + &last))?;
        Ok(Status::OK)
    }
}

/// Says once which keys were not read.
fn note(shown: &str, not_read: &NotRead) {
    for (keys, of) in [(&not_read.of_tasks, "tasks"), (&not_read.of_calls, "calls")] {
        if !keys.is_empty() {
            say(&printable(&format!("sessile: note: {shown}: not read, of {of}: {}", listed(keys))));
        }
    }
}

/// The first few of them.
fn listed(keys: &BTreeSet<String>) -> String {
    const MOST: usize = 8;
    let named: Vec<String> = keys.iter().take(MOST).map(|key| format!("`{key}`")).collect();
    let more = keys.len().saturating_sub(MOST);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    named.join(", ") + &more
}

fn text_of(number: usize, task: &Judged) -> String {
    let said = ["suite", "task", "kind"].iter().filter_map(|key| task.more.get(*key).and_then(Value::as_str));
    let title: Vec<&str> = said.collect();
    let title = if title.is_empty() { format!("task {number}") } else { title.join(" ") };
    let mut text = format!("{}\n", printable(&title));
    for call in &task.calls {
        let (number, tool, decision, reason) = (call.number, &call.tool, call.decision, &call.reason);
        text += &printable(&format!("  {number} {tool}: {decision}, {reason}"));
        if !call.allowed && !call.policies.is_empty() {
            text += &printable(&format!(" ({})", call.policies.join(", ")));
        }
        text.push('\n');
    }
    text
}
