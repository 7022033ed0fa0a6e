//! `answer`: decides what an app waits for.

use sessile_model::AppName;
use sessile_model::api::{self, Verdict};

use crate::client::Daemon;
use crate::failure::{Outcome, Status};
use crate::output::{print_json, say};

/// Answer a question of a session
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile answer 1f0c2d3e-1 allow
  sessile answer 1f0c2d3e-2 deny --always --why 'not part of the task'

Without --always the answer is for the connections that wait now. Each signature by your SSH agent is
asked for by itself; `deny --always` takes the agent away. So is each line that the guard holds; whoever
said it may deny it, and not allow it. Nobody inside a session can answer.")]
pub struct Args {
    /// The question, as `sessile questions` and the notice name it
    #[arg(value_name = "ID", value_parser = question)]
    id: String,
    /// What is decided
    #[arg(value_enum)]
    verdict: Word,
    /// Decide so for the rest of the session
    #[arg(long)]
    always: bool,
    /// Why, for the session's journal
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
    /// As which operator (of a line that is held: whoever said it may not allow it)
    #[arg(long, value_name = "NAME")]
    by: Option<AppName>,
}

/// A verdict as it is typed.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Word {
    /// The connection may be made
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
        let answer = api::Answer { verdict, always: self.always, why: self.why, by: self.by };
        let question: api::Question =
            Daemon::reach()?.post(&format!("/v1/questions/{}", self.id), &answer)?;
        if json {
            print_json(&question)?;
        } else {
            let done = if verdict == Verdict::Allow { "allowed" } else { "denied" };
            let what = super::questions::wanted(&question);
            say(&match (&question.line, &question.signature) {
                (Some(_), _) => format!("{done}: {what}"),
                (None, Some(_)) => format!("{done}: {} gets {what}", question.app),
                (None, None) => format!("{done}: {} to {what}", question.app),
            });
        }
        Ok(Status::OK)
    }
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
