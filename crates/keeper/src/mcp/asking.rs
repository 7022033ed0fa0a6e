//! What relays ask about, on its way past the guard.

use sessile_model::ProblemKind;
use sessile_model::guarding::Text;
use sessile_model::ids::AppName;
use sessile_model::mcp::{Asked, MOST_ASKED, MOST_ASKED_BYTES, Order, Verdict, is_tool_name};
use sessile_model::protocol::Speaker;

use super::label;
use crate::channels::free;
use crate::guard::{Passage, Passed, Passing, What};
use crate::keeper::Keeper;

/// Something that a relay waits to hear of.
#[derive(Debug)]
pub struct Ask {
    server: AppName,
    number: u32,
    /// Who calls, or is to read it.
    app: AppName,
    what: Asked,
    text: Text,
    passage: Passage,
}

impl Keeper {
    /// Takes what a relay asks about. Returns whether it may ask so much.
    pub(super) fn take_ask(
        &mut self,
        server: &AppName,
        (number, app): (u32, &str),
        what: Asked,
        text: String,
    ) -> bool {
        let of_server = || self.servers.asks.iter().filter(|ask| ask.server == *server);
        let bytes: usize = of_server().map(|ask| ask.text.0.len()).sum();
        let is_much = of_server().count() >= MOST_ASKED || bytes + text.len() > MOST_ASKED_BYTES;
        let is_named = match &what {
            Asked::Call { tool, .. } | Asked::Returned { tool } => is_tool_name(tool),
            Asked::List => true,
        };
        let is_one = |app: &AppName| self.apps.contains_key(app) && !is_much && is_named;
        let Some(app) = app.parse().ok().filter(is_one) else {
            return false;
        };
        let (server, text, passage) = (server.clone(), Text(text), Passage::Waiting);
        self.servers.asks.push(Ask { server, number, app, what, text, passage });
        true
    }

    /// Answers relays as far as the guard has.
    pub(crate) fn check_asks(&mut self) {
        for mut ask in std::mem::take(&mut self.servers.asks) {
            match self.carry_ask_on(&mut ask) {
                None => self.servers.asks.push(ask),
                Some(verdict) => {
                    self.give_up(ask.passage);
                    self.tell_relay(&ask.server, &Order::Decided { number: ask.number, verdict });
                }
            }
        }
    }

    fn carry_ask_on(&mut self, ask: &mut Ask) -> Option<Verdict> {
        let role = match &self.talk.conversation {
            crate::channels::Conversation::Held(channels) => channels.role_of(&ask.app).map(str::to_owned),
            crate::channels::Conversation::None
            | crate::channels::Conversation::Free(_)
            | crate::channels::Conversation::Lost { .. } => None,
        };
        // Nobody is taken for the operator for being called so.
        let own = || Some(ask.app.to_string()).filter(|name| name != free::OPERATOR);
        let caller = role.or_else(own).unwrap_or_else(|| format!("app:{}", ask.app));
        let of_server = |tool: &str| format!("{}/{tool}", ask.server);
        let by_server =
            || Speaker::App(format!("mcp-{}", ask.server).parse().unwrap_or_else(|_| ask.server.clone()));
        let (from, to, by, what) = match &ask.what {
            Asked::Call { tool, hints, .. } => {
                (caller, of_server(tool), Speaker::App(ask.app.clone()), What::Call(*hints))
            }
            Asked::Returned { tool } => (of_server(tool), caller, by_server(), What::Returned),
            Asked::List => (ask.server.to_string(), caller, by_server(), What::Line),
        };
        let payload = ask.text.0.as_bytes();
        let undeclared = match &ask.what {
            Asked::Call { undeclared, .. } => undeclared.as_slice(),
            Asked::Returned { .. } | Asked::List => &[],
        };
        let label = label(&ask.what);
        let passing = Passing { from: &from, by: &by, key: None, to: &to, label, payload, what, undeclared };
        match self.pass_guard(&mut ask.passage, passing) {
            Ok(Passed::Waits) => None,
            Ok(Passed::Goes(_)) if self.learn(&ask.passage).is_err() => Some(Verdict::Failed),
            Ok(Passed::Goes(_)) => {
                let verdict = ask.passage.left_out().map_or(Verdict::Pass, Verdict::Without);
                self.passed(&mut ask.passage);
                Some(verdict)
            }
            Err(problem) if problem.kind == ProblemKind::Denied => Some(Verdict::Refused),
            Err(_) => Some(Verdict::Failed),
        }
    }

    /// Nobody waits for one any more.
    pub(super) fn give_up_ask(&mut self, server: &AppName, number: u32) {
        self.give_up_where(|ask| ask.server == *server && ask.number == number);
    }

    /// Nobody waits for those of a server any more.
    pub(super) fn give_up_asks(&mut self, server: &AppName) {
        self.give_up_where(|ask| ask.server == *server);
    }

    fn give_up_where(&mut self, is_meant: impl Fn(&Ask) -> bool) {
        let (given_up, rest) = std::mem::take(&mut self.servers.asks).into_iter().partition(is_meant);
        self.servers.asks = rest;
        for ask in given_up {
            self.give_up(ask.passage);
        }
    }
}
