//! Requests that the gateway sees: the keeper pairs gateway and guard, and hears of a part of a request only
//! where something was found in it. What was decided is in the audit before the guard is told to go on.
//!
//! ```text
//!  gateway ─Unguarded─► keeper ─Guard, Watch─► gateway ◄══ parts, words ══► guard
//!                       keeper ◄─Weighed── guard         audit, a question; then ──Release─► guard
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::fd::AsFd as _;
use sessile_model::Problem;
use sessile_model::gateway;
use sessile_model::guarding::outgoing::{Weighed, reader};
use sessile_model::guarding::{AuditEntry, Effect, Order, Value, requests_guarded};
use sessile_model::hex;
use sessile_model::network::Route;
use sessile_model::protocol::Speaker;
use sessile_vault::keys::Purpose;

use super::passage::{Passing, What, decided};
use super::{FIRST_QUESTION, GuardFacts, down};
use crate::keeper::Keeper;
use crate::route::link;

/// Characters of a host's commitment that the audit has.
const HOST_LENGTH: usize = 12;

impl Keeper {
    /// Gives the gateway a socket to the guard, which is started where none runs; without one it refuses
    /// requests. One that `failed` is ended first.
    pub(crate) fn lend_guard(&mut self, sequence: u32, failed: bool) {
        if failed {
            self.cut_guard();
        }
        let lent = self.pair_guard();
        // Who is attached is told once of what is wrong, until it is something else.
        let unfit = lent.as_ref().err().map(|problem| problem.detail.clone());
        if self.guard.unfit != unfit {
            unfit.iter().for_each(|why| self.notice(why));
            self.guard.unfit = unfit;
        }
        let lent = lent.ok();
        let fds: Vec<_> = lent.iter().map(|socket| socket.as_fd()).collect();
        // A gateway that takes no orders is found out by its link.
        let _ = self.order_gateway(&gateway::Order::Guard { sequence }, &fds);
    }

    fn pair_guard(&mut self) -> Result<rustix::fd::OwnedFd, Problem> {
        if !self.may_route() {
            return Err(down("the session ends"));
        }
        self.guard_from_now_on()?;
        self.start_guard()?;
        let paired = self.hand_to_guard();
        // One that takes no orders is of no use.
        paired.inspect_err(|_| self.cut_guard())
    }

    /// Makes ready what a guard needs: a session without a protocol is guarded from its first request or line on.
    pub(crate) fn guard_from_now_on(&mut self) -> Result<(), Problem> {
        if self.facts()?.guard.is_none() {
            let prepared: GuardFacts = self.prepare_guard()?;
            if let Some(facts) = &mut self.facts {
                facts.guard = Some(prepared);
            }
            self.write_checkpoint();
            self.changed = true;
        }
        Ok(())
    }

    fn hand_to_guard(&self) -> Result<rustix::fd::OwnedFd, Problem> {
        let (ours, theirs) = link::pair().map_err(|e| crate::bringup::failed("the guard's link", &e))?;
        let house = self.guard.house.as_ref().ok_or_else(|| down("it does not run"))?;
        let order = Order::Watch { at_ms: self.session_ms() };
        link::send(&house.link, &order, &[theirs.as_fd()])
            .map_err(|e| crate::bringup::failed("the guard takes no orders", &e))?;
        Ok(ours)
    }

    /// A part of a request waits. What cannot be written does not go.
    pub(super) fn weigh(&mut self, ticket: u32, weighed: Weighed) {
        match self.journal_part(ticket, &weighed) {
            Ok(Decision::Asked) => {}
            Ok(Decision::Goes) => {
                self.let_go(ticket, &weighed.judgement.learns, weighed.judgement.confidentiality)
            }
            Ok(Decision::Stays) | Err(_) => self.refuse_part(ticket),
        }
    }

    fn journal_part(&mut self, ticket: u32, weighed: &Weighed) -> Result<Decision, Problem> {
        let Weighed { app, host, port, place, bytes, excerpt, judgement } = weighed;
        let excerpt = STANDARD.decode(excerpt.0.as_bytes()).map(zeroize::Zeroizing::new);
        let excerpt = excerpt.map_err(|_| down("it says what nobody understands"))?;
        let key = self.root_key.as_ref().map(|key| key.derive(&Purpose::Audit));
        let key = key.ok_or_else(|| down("the session has no keys"))?;
        self.guard.last += 1;
        let number = self.guard.last;
        let by = Speaker::App(app.clone());
        let label = format!("request {}", place.name());
        let to = reader(host, *port);
        // A host's name may itself be what somebody wants to tell.
        let committed = hex::text(&key.commit(to.as_bytes()));
        let unnamed = format!("host {}", committed.get(..HOST_LENGTH).unwrap_or_default());
        let from = app.to_string();
        let line = Passing {
            what: What::Line,
            undeclared: &[],
            from: &from,
            by: &by,
            key: None,
            to: &unnamed,
            label: &label,
            payload: &excerpt,
        };
        let mut entry = decided(&key, (number, self.now), judgement, line);
        entry.bytes = *bytes;
        self.audit(&AuditEntry::Decided(Box::new(entry)), judgement.effect != Effect::Pass)?;
        Ok(match judgement.effect {
            Effect::Pass => Decision::Goes,
            Effect::Redact | Effect::Reject => Decision::Stays,
            Effect::Confirm => {
                self.note_guard(|guard| guard.asked += 1);
                let line = Passing { to: to.strip_prefix("host:").unwrap_or(&to), ..line };
                self.ask_operators(
                    number,
                    judgement,
                    line,
                    Some(Asking { ticket, learns: judgement.learns.clone() }),
                );
                Decision::Asked
            }
        })
    }

    /// Lets a part go on, once what follows from it is kept.
    fn let_go(&mut self, ticket: u32, learns: &[Value], confidentiality: u8) {
        if !learns.is_empty() && !self.keep_memory(|memory| memory.learn(learns.to_vec())) {
            return self.refuse_part(ticket);
        }
        if self
            .facts
            .as_ref()
            .and_then(|facts| facts.guard.as_ref())
            .is_some_and(|g| g.sensitivity < confidentiality)
        {
            self.note_guard(|guard| guard.sensitivity = confidentiality);
        }
        self.release(ticket, true);
    }

    fn refuse_part(&mut self, ticket: u32) {
        self.note_guard(|guard| guard.refused += 1);
        self.release(ticket, false);
    }

    fn release(&self, ticket: u32, goes: bool) {
        // One that takes no orders is found out by its link, and what waits for it is refused.
        let _ = self.order_guard(&Order::Release { ticket, goes });
    }

    /// Nobody waits for a part any more.
    pub(super) fn leave_part(&mut self, ticket: u32) {
        self.give_up_held("nobody waited for it any more", |_, held| held.ticket() == Some(ticket));
    }

    /// Nobody waits for any part: their guard is gone.
    pub(super) fn leave_parts(&mut self) {
        self.give_up_held("given up with its guard", |_, held| held.ticket().is_some());
    }

    /// Acts on what was answered about requests.
    pub(super) fn settle_parts(&mut self) {
        let asked: Vec<u32> = self
            .guard
            .held
            .iter()
            .filter(|(_, held)| held.ticket().is_some())
            .map(|(question, _)| *question)
            .collect();
        for question in asked {
            let asking = self.guard.held.get(&question).and_then(|held| held.asking().cloned());
            let (Some(Asking { ticket, learns }), Some(is_allowed)) =
                (asking, self.heard_about(question, question - FIRST_QUESTION))
            else {
                continue;
            };
            match is_allowed {
                Ok(true) => {
                    self.let_go(ticket, &learns, learns.iter().map(|v| v.confidentiality).max().unwrap_or(0))
                }
                Ok(false) | Err(_) => self.refuse_part(ticket),
            }
        }
    }

    /// Which requests pass the guard, and what of the network does not.
    pub(super) fn seen_of_network(&self) -> Option<(String, String)> {
        let network = &self.facts.as_ref()?.spec.network;
        if network.route == Route::None || !self.has_guard() {
            return None;
        }
        let opened: Vec<String> = network.intercept.iter().map(ToString::to_string).collect();
        let guarded = requests_guarded(&opened);
        let blind = "the network beyond that: other TLS, WebSockets, other protocols, and what hosts answer";
        Some((guarded, blind.to_owned()))
    }

    fn has_guard(&self) -> bool {
        self.guard.image.is_some()
    }
}

/// What is to be done with a part.
enum Decision {
    Goes,
    Stays,
    Asked,
}

/// A part of a request that somebody is asked about.
#[derive(Clone, Debug)]
pub(super) struct Asking {
    /// Its number with the guard.
    pub ticket: u32,
    /// What follows where it is allowed.
    pub learns: Vec<Value>,
}
