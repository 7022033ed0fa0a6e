//! What apps wait for: connections that somebody outside is to decide.

use sessile_model::api::{Answer, Question, Verdict};
use sessile_model::gateway::Order;
use sessile_model::ids::AppName;
use sessile_model::network::{HostPattern, Target};
use sessile_model::quantity::Timestamp;
use sessile_model::record::Grant;
use sessile_model::{Problem, ProblemKind};
use sessile_session::Note;

use crate::agent::FIRST_QUESTION;
use crate::guard;
use crate::keeper::Keeper;

/// Most characters of a reason that are journaled.
const MAX_WHY: usize = 500;

/// A question of the gateway's.
#[derive(Debug)]
pub struct Asked {
    app: AppName,
    host: String,
    port: u16,
    at: Timestamp,
}

impl Keeper {
    /// The gateway asks.
    pub(super) fn asked(&mut self, question: u32, app: AppName, host: String, port: u16) {
        if question >= FIRST_QUESTION {
            // Its number would be another's.
            let (verdict, always) = (Verdict::Deny, false);
            // One that takes no orders is found out by its link.
            let _ = self.order(&Order::Answer { question, verdict, always }, &[]);
            return;
        }
        let at = self.now;
        let asked = Asked { app, host, port, at };
        let text = self.wording(question, &asked);
        if self.route.questions.insert(question, asked).is_none() {
            self.note_question(question);
            self.notice(&text);
            self.ring(Some(question), None);
        }
    }

    /// A question as everyone attached is told of it.
    fn wording(&self, number: u32, asked: &Asked) -> String {
        let Asked { app, host, port, .. } = asked;
        let id = format!("{}-{number}", self.seat.id.short());
        format!("{app} wants {host}:{port} · sessile answer {id} allow|deny")
    }

    /// What one who has just attached is to know.
    pub(crate) fn open_questions(&self) -> Vec<String> {
        let hosts = self.route.questions.iter().map(|(number, asked)| self.wording(*number, asked));
        let questions = hosts.chain(self.signature_wordings()).chain(self.line_wordings());
        questions.chain(self.server_wordings()).collect()
    }

    /// What apps wait for.
    pub(crate) fn questions(&self) -> Vec<Question> {
        let question = |(number, asked): (&u32, &Asked)| Question {
            id: format!("{}-{number}", self.seat.id.short()),
            session: self.seat.id,
            app: asked.app.clone(),
            host: asked.host.clone(),
            port: asked.port,
            signature: None,
            line: None,
            asked_at: asked.at,
        };
        self.route
            .questions
            .iter()
            .map(question)
            .chain(self.signature_questions())
            .chain(self.line_questions())
            .collect()
    }

    /// Answers a question, journaled before the gateway is told.
    pub(crate) fn answer(&mut self, question: u32, answer: &Answer) -> Result<(), Problem> {
        if question >= guard::FIRST_QUESTION {
            return self.answer_line_question(question, answer);
        }
        if question >= FIRST_QUESTION {
            return self.answer_signature(question, answer);
        }
        // One whose gateway has died is gone with it.
        self.hear_gateway();
        let Some(asked) = self.route.questions.remove(&question) else {
            return Err(Problem::new(ProblemKind::NotFound, "there is no such question, or it was answered")
                .hint("`sessile questions` lists those that are open"));
        };
        let Answer { verdict, always, ref why, by: _, seal: _ } = *answer;
        let why = why.as_deref().map(short_reason);
        if always {
            self.note_answer(&asked.host, asked.port, verdict);
        }
        self.note(Note::Answered { question, verdict, always, timed_out: false, why });
        if verdict == Verdict::Allow {
            let target = host_target(&asked.host, asked.port);
            self.grant(Grant::Host { target: Some(target) });
        }
        self.settle();
        self.sync_log();
        self.order(&Order::Answer { question, verdict, always }, &[])
    }
}

/// A reason as it is journaled.
pub fn short_reason(why: &str) -> String {
    why.chars().take(MAX_WHY).collect()
}

/// A host and port as a rule would name them.
fn host_target(host: &str, port: u16) -> String {
    let pattern = host.parse().map_or_else(|_| HostPattern::Exact(host.to_owned()), HostPattern::Address);
    Target { host: pattern, port: Some(port) }.to_string()
}
