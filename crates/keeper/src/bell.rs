//! Telling people: who is attached, and who follows the record.

use sessile_model::api::Question;
use sessile_model::wire::Event as Told;
use sessile_session::Event;

use crate::client::ClientId;
use crate::keeper::Keeper;

impl Keeper {
    /// Has who follows the record run the command that tells of a question (all open ones where none
    /// is named), where there is such a command. One who has just begun to follow is named.
    pub(crate) fn ring(&mut self, number: Option<u32>, client: Option<ClientId>) {
        let suffix = number.map(|number| format!("-{number}"));
        let meant = |id: &str| suffix.as_ref().is_none_or(|suffix| id.ends_with(suffix));
        let questions = self.questions().into_iter().filter(|question| meant(&question.id));
        self.ring_for(questions.collect(), client);
    }

    /// The same for these questions.
    pub(crate) fn ring_for(&mut self, questions: Vec<Question>, client: Option<ClientId>) {
        let Some(command) = self.facts.as_ref().and_then(|f| f.spec.on_question.clone()) else { return };
        let events: Vec<Told> = questions
            .into_iter()
            .map(|question| Told::Asked { question: Box::new(question), command: command.clone() })
            .collect();
        for (id, follower) in self.clients.iter_mut().filter(|(_, follower)| follower.follows) {
            if client.is_none_or(|client| client == *id) {
                events.iter().for_each(|event| follower.tell(0, event));
            }
        }
    }

    /// Says a sentence to everyone attached.
    pub(crate) fn notice(&mut self, text: &str) {
        for client in self.clients.values_mut() {
            let channels: Vec<u16> = client.attachments.keys().copied().collect();
            for channel in channels {
                client.tell(channel, &Told::Notice { text: text.to_owned() });
            }
        }
    }

    /// Notes activity: at most once a second, since nothing needs it finer.
    pub(crate) fn active_now(&mut self) {
        let Some(facts) = &mut self.facts else { return };
        if self.now.since(facts.last_activity).0 >= 1_000 {
            facts.last_activity = self.now;
            self.advance(Event::Activity);
        }
    }
}
