//! What the record says of the guard: what passes it, what does not, and what it has seen.

use serde::{Deserialize, Serialize};
use sessile_model::guarding::{GuardRecord, degree_name};
use sessile_model::mcp::McpServer;
use sessile_model::network::Route;

use crate::channels::Conversation;
use crate::keeper::Keeper;
use crate::task::Streams;

/// What passes the guard, and what does not.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Watched {
    guarded: Vec<String>,
    blind: Vec<String>,
}

impl Watched {
    /// Of a session of which nothing else is known either.
    pub fn unknown() -> Self {
        Self {
            guarded: vec!["not known: the session's keeper died, and its checkpoint is lost".to_owned()],
            blind: Vec::new(),
        }
    }
}

impl Keeper {
    /// What the record says of the guard.
    pub(crate) fn guard_record(&self) -> Option<GuardRecord> {
        let facts = self.facts.as_ref()?;
        let Watched { guarded, blind } = facts.watched.clone().unwrap_or_else(|| self.watched());
        let told = facts.guard.clone().unwrap_or_default();
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
            weaker_because: told.weaker_because,
        })
    }

    /// Remembers what passed the guard, before the wipe takes apart what shows it.
    pub(crate) fn remember_watched(&mut self) {
        let watched = self.watched();
        if let Some(facts) = &mut self.facts {
            facts.watched.get_or_insert(watched);
        }
    }

    fn watched(&self) -> Watched {
        let Some(facts) = &self.facts else { return Watched::default() };
        let guard = &facts.guard;
        let servers: Vec<_> = facts.spec.mcp.iter().filter_map(McpServer::app).collect();
        let mut blind: Vec<String> = self
            .tasks
            .values()
            .map(|task| match &task.streams {
                Streams::Terminal { .. } => format!("the terminal of {}", task.name),
                Streams::Pipes { .. } if servers.contains(&task.app) => {
                    format!("what {} writes to standard error", task.name)
                }
                Streams::Pipes { .. } => format!("input and output of {}", task.name),
            })
            .collect();
        let seen = self.seen_of_network();
        match &seen {
            Some((_, unseen)) => blind.push(unseen.clone()),
            None if facts.spec.network.route != Route::None => {
                blind.push("the network: requests and answers, in TLS or not".to_owned());
            }
            None => {}
        }
        if !self.apps.is_empty() {
            blind.push("what apps do by themselves: an agent's own tools, models and files".to_owned());
        }
        let mut guarded = Vec::new();
        match &self.talk.conversation {
            Conversation::Held(channels) => {
                let to = if guard.is_some() { &mut guarded } else { &mut blind };
                to.extend(channels.ways().map(|(from, to)| format!("{from} to {to}")));
            }
            Conversation::None | Conversation::Free(_) | Conversation::Lost { .. } => {
                // Where nobody has said anything yet, a guard begins with the first line.
                if facts.spec.protocol.is_none() && guard.is_some() {
                    guarded.push("lines between the operator and apps".to_owned());
                }
            }
        }
        guarded.extend(seen.map(|(requests, _)| requests));
        for server in &facts.spec.mcp {
            guarded.push(format!("tools of {}: calls, results, descriptions", server.name));
        }
        Watched { guarded, blind }
    }

    /// How many messages were said.
    pub(super) fn messages(&self) -> u64 {
        match &self.talk.conversation {
            Conversation::Held(channels) => channels.said(),
            Conversation::Free(free) => free.said(),
            Conversation::None | Conversation::Lost { .. } => {
                let guard = self.facts.as_ref().and_then(|facts| facts.guard.as_ref());
                guard.map_or(0, |guard| guard.messages)
            }
        }
    }
}
