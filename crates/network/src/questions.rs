//! Connections that wait for somebody outside to decide. Identical ones share a question.

use std::collections::HashMap;

use sessile_model::AppName;
use sessile_model::api::Verdict;
use tokio::sync::watch;

/// Questions open at once; further connections are denied.
const MOST: usize = 64;

/// What a question is about.
pub type Subject = (AppName, String, u16);

/// The questions of a session.
#[derive(Debug, Default)]
pub struct Questions {
    last: u32,
    open: HashMap<Subject, Open>,
}

#[derive(Debug)]
struct Open {
    number: u32,
    verdict: watch::Sender<Option<Verdict>>,
}

/// Somebody's place among those who wait for an answer.
#[derive(Debug)]
pub struct Waiting {
    /// The question's number.
    pub number: u32,
    /// Whether nobody asked it before.
    pub is_new: bool,
    verdict: watch::Receiver<Option<Verdict>>,
}

impl Waiting {
    /// Waits for the verdict. `None` when there will be none. Can be called off.
    pub async fn verdict(&mut self) -> Option<Verdict> {
        // What ends without a verdict has none.
        let _ = self.verdict.wait_for(Option::is_some).await;
        *self.verdict.borrow()
    }
}

impl Questions {
    /// Gives no number up to this one, which another gateway of the session gave.
    pub fn begin_after(&mut self, number: u32) {
        self.last = self.last.max(number);
    }

    /// Waits for the answer to a question, which is asked if it is not yet. `None` when too many are
    /// open.
    pub fn ask(&mut self, subject: &Subject) -> Option<Waiting> {
        if let Some(open) = self.open.get(subject) {
            let (number, verdict) = (open.number, open.verdict.subscribe());
            return Some(Waiting { number, is_new: false, verdict });
        }
        if self.open.len() >= MOST {
            return None;
        }
        self.last += 1;
        let (sender, verdict) = watch::channel(None);
        self.open.insert(subject.clone(), Open { number: self.last, verdict: sender });
        Some(Waiting { number: self.last, is_new: true, verdict })
    }

    /// Answers a question; its subject, unless it was settled before.
    pub fn settle(&mut self, number: u32, verdict: Verdict) -> Option<Subject> {
        let subject = self.open.iter().find(|(_, open)| open.number == number).map(|(s, _)| s.clone())?;
        let open = self.open.remove(&subject)?;
        open.verdict.send_replace(Some(verdict));
        Some(subject)
    }

    /// Somebody waits no longer. True when nobody else does either: then the question is over.
    pub fn leave(&mut self, waiting: Waiting) -> bool {
        let number = waiting.number;
        drop(waiting);
        let open = self.open.len();
        self.open.retain(|_, open| open.number != number || open.verdict.receiver_count() > 0);
        self.open.len() < open
    }

    /// All that are open.
    pub fn open(&self) -> impl Iterator<Item = (u32, &Subject)> {
        self.open.iter().map(|(subject, open)| (open.number, subject))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(host: &str) -> Subject {
        (AppName::main(), host.to_owned(), 443)
    }

    #[test]
    fn identical_questions_are_one() {
        let mut questions = Questions::default();
        let first = questions.ask(&subject("a.example")).unwrap();
        let second = questions.ask(&subject("a.example")).unwrap();
        assert_eq!((first.number, first.is_new, second.number, second.is_new), (1, true, 1, false));
        assert_eq!(questions.settle(1, Verdict::Allow), Some(subject("a.example")));
        let verdicts = (*first.verdict.borrow(), *second.verdict.borrow());
        assert_eq!(verdicts, (Some(Verdict::Allow), Some(Verdict::Allow)));
        assert_eq!(questions.settle(1, Verdict::Deny), None);
        assert_eq!(questions.ask(&subject("a.example")).unwrap().number, 2);
        assert!(!questions.leave(second));
    }

    #[test]
    fn numbers_of_an_earlier_gateway_are_not_given_again() {
        let mut questions = Questions::default();
        questions.begin_after(7);
        assert_eq!(questions.ask(&subject("a.example")).unwrap().number, 8);
        questions.begin_after(7);
        assert_eq!(questions.ask(&subject("b.example")).unwrap().number, 9);
    }

    #[test]
    fn a_question_is_over_when_the_last_who_waits_has_left() {
        let mut questions = Questions::default();
        let first = questions.ask(&subject("a.example")).unwrap();
        let second = questions.ask(&subject("a.example")).unwrap();
        let other = questions.ask(&subject("b.example")).unwrap();
        assert!(!questions.leave(first));
        assert!(questions.leave(second));
        assert_eq!(questions.settle(1, Verdict::Allow), None);
        assert_eq!(questions.settle(other.number, Verdict::Allow), Some(subject("b.example")));
    }

    #[test]
    fn there_is_a_bound() {
        let mut questions = Questions::default();
        let waiting: Vec<Waiting> =
            (0..MOST).map(|n| questions.ask(&subject(&format!("h{n}"))).unwrap()).collect();
        assert!(questions.ask(&subject("one.more")).is_none());
        assert_eq!((questions.open().count(), waiting.len()), (MOST, MOST));
    }
}
