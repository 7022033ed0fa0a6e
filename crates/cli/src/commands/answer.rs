//! `answer`: decides what an app waits for.

use std::path::{Path, PathBuf};

use sessile_model::OperatorName;
use sessile_model::api::{self, AnswerSeal, Verdict};
use sessile_model::hex;
use sessile_model::problem::ProblemKind;
use sessile_model::protocol::Speaker;
use sessile_protocol::monitor::approval::Approval;
use sessile_protocol::monitor::setup::SessionId;

use crate::client::Daemon;
use crate::failure::{Failure, Outcome, Status};
use crate::output::{print_json, say};
use crate::startup;
use crate::talk::keys;

/// Answer what a session waits for you to decide
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile answer 1f0c2d3e-1 allow
  sessile answer 1f0c2d3e-2 deny --always --why 'not part of the task'
  sessile answer 1f0c2d3e-2000000007 allow --by ann

It is about a connection, a signature by your SSH agent, or a line, a tool's call, what it returned or a request
that the guard holds. Without --always it is for the connections that wait now; signatures and what the guard holds
are asked for one by one (`deny --always` takes the agent away). Nobody inside a session can answer.

Whoever said a line that is held may deny it, and not allow it: another operator does, and shows it by their key.
--by NAME signs with it where it lies in the state folder, or in --key-file; `sessile operators NAME` makes one, which
counts for what is held from then on. A name without a key is a word for the audit.")]
pub struct Args {
    /// The question, as `sessile questions` and the notice name it
    #[arg(value_name = "ID", value_parser = question)]
    id: String,
    /// What is decided
    #[arg(value_enum)]
    verdict: Word,
    /// Decide so for the rest of the session (connections, and signatures that are denied)
    #[arg(long)]
    always: bool,
    /// Why, for the session's journal and audit, which outlive it: kept word for word, so no secret
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
    /// As which operator, shown by their key where there is one
    #[arg(long, value_name = "NAME", value_parser = operator)]
    by: Option<OperatorName>,
    /// Where that operator's key lies, if not in the state folder
    #[arg(long, value_name = "FILE", requires = "by")]
    key_file: Option<PathBuf>,
}

/// A verdict as it is typed.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Word {
    /// It may go on
    Allow,
    /// It may not
    Deny,
}

impl Args {
    /// Answers.
    pub fn run(self, json: bool) -> Outcome {
        let verdict = match self.verdict {
            Word::Allow => Verdict::Allow,
            Word::Deny => Verdict::Deny,
        };
        let daemon = Daemon::reach()?;
        let seal = match &self.by {
            Some(by) => self.seal(&daemon, &Speaker::operator(by.clone()), verdict)?,
            None => None,
        };
        let answer = api::Answer { verdict, always: self.always, why: self.why, by: self.by, seal };
        let question: api::Question = daemon.post(&format!("/v1/questions/{}", self.id), &answer)?;
        if json {
            print_json(&question)?;
        } else {
            let done = if verdict == Verdict::Allow { "allowed" } else { "denied" };
            let what = super::questions::wanted(&question);
            say(&match (&question.line, &question.signature) {
                (Some(_), _) => format!("{done}: {what}"),
                // Whether one comes of it is the agent's to say.
                (None, Some(_)) => format!("{done}: {} asks your SSH agent for {what}", question.app),
                (None, None) => format!("{done}: {} to {what}", question.app),
            });
        }
        Ok(Status::OK)
    }

    /// What shows that this operator answers; nothing where they have no key here.
    fn seal(&self, daemon: &Daemon, by: &Speaker, verdict: Verdict) -> Result<Option<AnswerSeal>, Failure> {
        let kept = || Ok::<_, Failure>(keys::of_operator(&startup::folders()?.state, by));
        let path = self.key_file.clone().map_or_else(kept, Ok)?;
        let Some(key) = keys::held(&path)? else {
            return if self.key_file.is_some() { Err(no_key(&path)) } else { Ok(None) };
        };
        // Only the daemon knows the session's whole id.
        let all: Vec<api::Question> = daemon.get("/v1/questions")?;
        let asked = all.into_iter().find(|asked| asked.id == self.id);
        let number = self.id.rsplit_once('-').and_then(|(_, number)| number.parse().ok());
        let (Some(asked), Some(question)) = (asked, number) else { return Ok(None) };
        let (session, allows) = (SessionId(asked.session.as_bytes()), verdict == Verdict::Allow);
        let signature = Approval { session, question, allows, by: &by.to_string() }.sign(&key);
        Ok(Some(AnswerSeal { key: hex::text(&key.public().to_bytes()), signature: hex::text(&signature) }))
    }
}

fn no_key(path: &Path) -> Failure {
    Failure::new(ProblemKind::NotFound, format!("there is no key {}", path.display()))
        .hint("`sessile operators NAME` makes one in the state folder")
}

/// An operator's name, as `operator:NAME` too.
pub fn operator(text: &str) -> Result<OperatorName, String> {
    let name = text.strip_prefix("operator:").unwrap_or(text);
    name.parse().map_err(|error| format!("{error}"))
}

fn question(text: &str) -> Result<String, String> {
    let (session, number) = text.rsplit_once('-').unwrap_or_default();
    let valid = !session.is_empty()
        && session.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
        && number.parse::<u32>().is_ok();
    if valid {
        Ok(text.to_owned())
    } else {
        Err("not a question (`sessile questions` lists them)".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_a_session_and_a_number() {
        assert!(question("1f0c2d3e-12").is_ok());
        for bad in ["", "1f0c", "-1", "x-1", "1f0c-", "1f0c-x", "../x-1"] {
            assert!(question(bad).is_err(), "{bad}");
        }
    }
}
