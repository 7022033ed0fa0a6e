//! What the record says of the guard: what passes it, what does not, and what it has seen.

use sessile_model::guarding::{GuardRecord, degree_name};
use sessile_model::network::Route;

use crate::channels::Conversation;
use crate::keeper::Keeper;
use crate::task::Streams;

impl Keeper {
    /// What passes the guard and what does not.
    pub(crate) fn guard_record(&self) -> Option<GuardRecord> {
        let facts = self.facts.as_ref()?;
        let guard = facts.guard.clone();
        let mut blind: Vec<String> = self
            .tasks
            .values()
            .map(|task| match &task.streams {
                Streams::Terminal { .. } => format!("the terminal of {}", task.name),
                Streams::Pipes { .. } => format!("input and output of {}", task.name),
            })
            .collect();
        if facts.spec.network.route != Route::None {
            blind.push("the network: requests and answers, in TLS or not".to_owned());
        }
        if !self.apps.is_empty() {
            blind.push("what apps do by themselves: an agent's own tools, models and files".to_owned());
        }
        let mut guarded = Vec::new();
        if let Conversation::Held(channels) = &self.talk.conversation {
            let to = if guard.is_some() { &mut guarded } else { &mut blind };
            to.extend(channels.ways().map(|(from, to)| format!("{from} to {to}")));
        }
        let told = guard.unwrap_or_default();
        Some(GuardRecord {
            guarded,
            blind,
            sensitivity: degree_name(told.sensitivity.max(1)).to_owned(),
            risk: told.risk,
            tee: false,
            messages: self.messages(),
            refused: told.refused,
            redacted: told.redacted,
            asked: told.asked,
        })
    }

    /// How many messages were said.
    pub(super) fn messages(&self) -> u64 {
        match &self.talk.conversation {
            Conversation::Held(channels) => channels.said(),
            Conversation::None | Conversation::Lost { .. } => {
                let guard = self.facts.as_ref().and_then(|facts| facts.guard.as_ref());
                guard.map_or(0, |guard| guard.messages)
            }
        }
    }
}
