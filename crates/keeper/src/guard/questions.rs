//! Lines that are held until somebody outside has answered.

use sessile_model::api::{Answer, HeldLine, HeldPart, Question, Verdict};
use sessile_model::guarding::{AuditEntry, Judgement};
use sessile_model::ids::AppName;
use sessile_model::protocol::Speaker;
use sessile_model::quantity::{Millis, Timestamp};
use sessile_model::{Problem, ProblemKind};
use sessile_session::Note;

use super::answerer::{Answerer, Cause};
use super::outgoing::Asking;
use super::passage::{Passing, What};
use crate::keeper::Keeper;
use crate::rehearsal;

/// Questions about lines are numbered from here on; those about signatures stay below.
pub const FIRST_QUESTION: u32 = 2_000_000_000;
/// Who waits where an operator does.
const OPERATOR: &str = "operator";
/// How long one stays open.
const PATIENCE: Millis = Millis(120_000);
/// How confidential what is found has to be for its first speaker to be remembered: highly sensitive.
const KEPT: u8 = 3;
/// Most characters of a line that are shown.
const MOST_SHOWN: usize = 4096;

/// A line that is held.
#[derive(Debug)]
pub struct Held {
    cause: Cause,
    what: What,
    line: HeldLine,
    at: Timestamp,
    /// What was answered, by whom and why.
    answered: Option<(Verdict, Answerer, Option<String>)>,
    /// The part of a request that it is, where it is one.
    asking: Option<Asking>,
}

impl Held {
    pub(super) fn asking(&self) -> Option<&Asking> {
        self.asking.as_ref()
    }

    pub(super) fn ticket(&self) -> Option<u32> {
        self.asking.as_ref().map(|asking| asking.ticket)
    }
}

impl Keeper {
    /// Asks about a line, or a part of a request, with the matter's number; the question's number.
    pub(super) fn ask_operators(
        &mut self,
        number: u32,
        judgement: &Judgement,
        line: Passing<'_>,
        asking: Option<Asking>,
    ) -> u32 {
        let question = FIRST_QUESTION + number;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).chars().take(MOST_SHOWN).collect::<String>();
        let found = judgement.found.iter().map(|found| HeldPart {
            kind: found.kind.clone(),
            value: text(line.payload.get(found.span.0..found.span.1).unwrap_or_default()),
            // Who said it first is kept of what must not get around, and of nothing else.
            of: found.of.clone().or_else(|| (found.confidentiality >= KEPT).then(|| line.from.to_owned())),
        });
        let held = Held {
            cause: self.cause(line.by, line.key),
            what: line.what,
            line: HeldLine {
                from: line.from.to_owned(),
                by: line.by.to_string(),
                to: line.to.to_owned(),
                label: line.label.to_owned(),
                text: text(line.payload),
                found: found.collect(),
                policies: judgement.policies.clone(),
                because: judgement.because.clone(),
            },
            at: self.now,
            answered: None,
            asking,
        };
        let (wording, asked) = (self.line_wording(question, &held), self.line_question(question, &held));
        self.guard.held.insert(question, held);
        self.notice(&wording);
        self.ring_for(vec![asked], None);
        question
    }

    /// A question as everyone attached is told of it: without what the line carries.
    fn line_wording(&self, number: u32, held: &Held) -> String {
        let HeldLine { from, to, label, .. } = &held.line;
        let id = format!("{}-{number}", self.seat.id.short());
        let what = match held.what {
            What::Line if held.asking.is_some() => format!("{from} wants to send {label} to {to}"),
            What::Line if label.is_empty() => format!("{from} wants to say something to {to}"),
            What::Line => format!("{from} wants to say {label} to {to}"),
            What::Call(_) => format!("{from} wants to call {to}"),
            What::Returned => format!("{from} has returned something to {to}"),
        };
        format!("{what}, which is held · sessile answer {id} allow|deny")
    }

    fn line_question(&self, number: u32, held: &Held) -> Question {
        let app = match held.cause.by() {
            Speaker::App(app) => app.clone(),
            Speaker::Operator(_) => OPERATOR.parse().unwrap_or_else(|_| AppName::main()),
        };
        Question {
            id: format!("{}-{number}", self.seat.id.short()),
            session: self.seat.id,
            app,
            host: String::new(),
            port: 0,
            signature: None,
            line: Some(held.line.clone()),
            asked_at: held.at,
        }
    }

    /// What is asked about lines.
    pub(crate) fn line_questions(&self) -> Vec<Question> {
        let open = self.guard.held.iter().filter(|(_, held)| held.answered.is_none());
        open.map(|(&number, held)| self.line_question(number, held)).collect()
    }

    /// The same, as one who has just attached is told.
    pub(crate) fn line_wordings(&self) -> Vec<String> {
        let open = self.guard.held.iter().filter(|(_, held)| held.answered.is_none());
        open.map(|(&number, held)| self.line_wording(number, held)).collect()
    }

    /// Answers a question about a line, journaled before it is said. Whoever said it may deny it, and not allow it.
    pub(crate) fn answer_line_question(&mut self, question: u32, answer: &Answer) -> Result<(), Problem> {
        let session = self.seat.id;
        let Some(held) = self.guard.held.get_mut(&question).filter(|held| held.answered.is_none()) else {
            return Err(Problem::new(ProblemKind::NotFound, "there is no such question, or it was answered")
                .hint("`sessile questions` lists those that are open"));
        };
        let Answer { verdict, always, ref why, .. } = *answer;
        if always {
            return Err(Problem::new(ProblemKind::BadRequest, "each line is asked about by itself")
                .hint("leave out --always"));
        }
        let answerer = held.cause.answerer((session, question), answer)?;
        let why = why.as_deref().map(crate::route::short_reason);
        held.answered = Some((verdict, answerer, why.clone()));
        self.note(Note::Answered { question, verdict, always, timed_out: false, why });
        self.settle_parts();
        self.settle();
        self.sync_log();
        Ok(())
    }

    /// What was answered about a line, once something was: whether it may be said. Nobody's answer in time
    /// is a denial. It is in the audit before.
    pub(super) fn heard_about(&mut self, question: u32, number: u32) -> Option<Result<bool, Problem>> {
        let (at, answered) = match self.guard.held.get_mut(&question) {
            Some(held) => (held.at, held.answered.take()),
            None => return Some(Ok(false)),
        };
        let (verdict, answerer, why) = match answered {
            Some((verdict, answerer, why)) => (verdict, Some(answerer), why),
            None if self.now.since(at) < rehearsal::limit("patience", PATIENCE) => return None,
            None => {
                let (verdict, why) = (Verdict::Deny, None);
                self.note(Note::Answered { question, verdict, always: false, timed_out: true, why });
                (verdict, None, None)
            }
        };
        self.guard.held.remove(&question);
        let (by, key) = answerer.map_or((None, None), |by| (Some(by.by.to_string()), by.key));
        let entry = AuditEntry::Answered { number, at: self.now, verdict, by, key, why };
        Some(self.audit(&entry, true).map(|()| verdict == Verdict::Allow))
    }

    /// Nobody waits for an answer any more.
    pub(super) fn withdraw(&mut self, question: u32) {
        self.give_up_held("nobody waited for it any more", |number, _| number == question);
    }

    /// When the first question is over.
    pub(super) fn held_until(&self) -> Option<Timestamp> {
        self.guard.held.values().map(|held| held.at.plus(rehearsal::limit("patience", PATIENCE))).min()
    }
}
