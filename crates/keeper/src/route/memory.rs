//! What a gateway leaves to the next one of its session. It is in the checkpoint, so that a keeper's
//! successor has it too.

use serde::{Deserialize, Serialize};
use sessile_model::Problem;
use sessile_model::api::Verdict;
use sessile_model::gateway::{Answered, NAMES_AHEAD, Order};

use crate::keeper::Keeper;

/// Answers that are remembered; the oldest gives way, and its host is asked about again.
const MOST_ANSWERS: usize = 1024;

/// What outlives a gateway.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RouteFacts {
    /// The highest number that a question had.
    question: u32,
    /// What was answered for the rest of the session, the latest last.
    answers: Vec<Answered>,
    /// Bytes that connections moved, as far as gateways told.
    spent: u64,
    /// Names have numbers below this one.
    #[serde(default)]
    names: u64,
}

impl RouteFacts {
    fn answered(&mut self, host: &str, port: u16, verdict: Verdict) {
        self.answers.retain(|earlier| (earlier.host.as_str(), earlier.port) != (host, port));
        if self.answers.len() >= MOST_ANSWERS {
            self.answers.remove(0);
        }
        self.answers.push(Answered { host: host.to_owned(), port, verdict });
    }
}

impl Keeper {
    /// What a gateway is to know of those before it.
    pub(super) fn what_was_before(&self) -> Result<Order, Problem> {
        let RouteFacts { question, answers, spent, names } = self.facts()?.route.clone();
        Ok(Order::Before { question, answers, spent, names })
    }

    /// Sets numbers of names aside for a gateway that begins.
    pub(super) fn set_names_aside(&mut self) {
        if let Some(facts) = &self.facts {
            self.note_names(facts.route.names.saturating_add(NAMES_AHEAD));
        }
    }

    /// Names have numbers below this one, and none of a later gateway has one of these.
    pub(super) fn note_names(&mut self, below: u64) {
        let Some(facts) = self.facts.as_mut().filter(|facts| facts.route.names < below) else { return };
        facts.route.names = below;
        self.write_checkpoint();
    }

    /// A question has this number, and no other may have it.
    pub(super) fn note_question(&mut self, number: u32) {
        let Some(facts) = self.facts.as_mut().filter(|facts| facts.route.question < number) else { return };
        facts.route.question = number;
        self.write_checkpoint();
    }

    /// A question was answered for the rest of the session. Noted with the event that follows.
    pub(super) fn note_answer(&mut self, host: &str, port: u16, verdict: Verdict) {
        if let Some(facts) = &mut self.facts {
            facts.route.answered(host, port, verdict);
        }
    }

    /// So many bytes were moved by now.
    pub(super) fn note_spent(&mut self, bytes: u64) {
        let Some(facts) = self.facts.as_mut().filter(|facts| facts.route.spent < bytes) else { return };
        facts.route.spent = bytes;
        self.write_checkpoint();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_answer_counts_and_their_number_is_bounded() {
        let mut facts = RouteFacts::default();
        for number in 0..MOST_ANSWERS {
            facts.answered(&format!("h{number}.example"), 443, Verdict::Allow);
        }
        facts.answered("h0.example", 443, Verdict::Deny);
        facts.answered("one.more", 443, Verdict::Allow);
        let named = |name: &str| facts.answers.iter().find(|a| a.host == name).map(|a| a.verdict);
        assert_eq!(facts.answers.len(), MOST_ANSWERS);
        assert_eq!((named("h0.example"), named("h1.example")), (Some(Verdict::Deny), None));
        assert_eq!(named("one.more"), Some(Verdict::Allow));
    }
}
