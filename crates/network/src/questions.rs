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

/// Somebody's place among those who wait.
pub type Waiting = watch::Receiver<Option<Verdict>>;

impl Questions {
    /// Gives no number up to this one, which another gateway of the session gave.
    pub fn begin_after(&mut self, number: u32) {
        self.last = self.last.max(number);
    }

    /// Waits for the answer to a question, which is asked if it is not yet: then its number comes
    /// along. `None` when too many are open.
    pub fn ask(&mut self, subject: &Subject) -> Option<(Waiting, Option<u32>)> {
        if let Some(open) = self.open.get(subject) {
            return Some((open.verdict.subscribe(), None));
        }
        if self.open.len() >= MOST {
            return None;
        }
        self.last += 1;
        let (verdict, waiting) = watch::channel(None);
        self.open.insert(subject.clone(), Open { number: self.last, verdict });
        Some((waiting, Some(self.last)))
    }

    /// Answers a question; its subject, unless it was settled before.
    pub fn settle(&mut self, number: u32, verdict: Verdict) -> Option<Subject> {
        let subject = self.open.iter().find(|(_, open)| open.number == number).map(|(s, _)| s.clone())?;
        let open = self.open.remove(&subject)?;
        open.verdict.send_replace(Some(verdict));
        Some(subject)
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
        let (first, number) = questions.ask(&subject("a.example")).unwrap();
        let (second, again) = questions.ask(&subject("a.example")).unwrap();
        assert_eq!((number, again), (Some(1), None));
        assert_eq!(questions.settle(1, Verdict::Allow), Some(subject("a.example")));
        assert_eq!((*first.borrow(), *second.borrow()), (Some(Verdict::Allow), Some(Verdict::Allow)));
        assert_eq!(questions.settle(1, Verdict::Deny), None);
        assert_eq!(questions.ask(&subject("a.example")).unwrap().1, Some(2));
    }

    #[test]
    fn numbers_of_an_earlier_gateway_are_not_given_again() {
        let mut questions = Questions::default();
        questions.begin_after(7);
        assert_eq!(questions.ask(&subject("a.example")).unwrap().1, Some(8));
        questions.begin_after(7);
        assert_eq!(questions.ask(&subject("b.example")).unwrap().1, Some(9));
    }

    #[test]
    fn there_is_a_bound() {
        let mut questions = Questions::default();
        for n in 0..MOST {
            questions.ask(&subject(&format!("h{n}"))).unwrap();
        }
        assert!(questions.ask(&subject("one.more")).is_none());
        assert_eq!(questions.open().count(), MOST);
    }
}
