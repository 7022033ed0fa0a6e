//! What a guard knows, and what it says of what passes.
//!
//! A value that must not get around is told by whoever said it first: they may tell it to anyone, and
//! those they told it to may tell it to each other. Said by somebody else to somebody else, it is not within
//! its readers. What follows is for policies to say.

pub(crate) mod arguments;
mod calls;
mod login;
pub mod outgoing;
pub mod trace;
mod values;
mod variables;

use core::ops::Range;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sessile_guard::flow::Conversation;
use sessile_guard::risk::Risk;
use sessile_guard::tools::{Annotations, NotRead, Tools};
use sessile_guard::{
    Category, Confidentiality, Event, Finding, Inspected, Inspector, Integrity, Raw, Registry, Trail,
};
use sessile_model::guarding::{
    Effect, Found, GuardSpec, Judgement, MOST_FOUND, MOST_LEARNED, Matter, Memory, Order, Report, Text,
    Value, without,
};
use sessile_model::hex;
use sessile_model::mcp::Hints;
use sessile_model::spec::EnvVar;
use sessile_policy::guard::{self as policy, Message, Payload, Policies, Ruling};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::bytes::Decoded;
use crate::vault::Vault;
use values::{Known, Values};

/// Judged, and not known to be delivered or dropped, at most; of older ones nothing is learned.
const MOST_PENDING: usize = 512;
/// Directions in which what was said last is known.
const MOST_TRAILS: usize = 512;
/// Bytes of texts that arguments of calls are looked for in.
const MOST_SAID: usize = 8 << 20;
/// Why what was to be left out is refused.
const LEFT: &str = "what was left out did not take everything along";

/// Why a guard cannot begin.
#[derive(Debug, Error)]
pub enum BeginError {
    /// The policies are wrong.
    #[error("the guard's policies: {0}")]
    Policies(String),
    /// The tools are.
    #[error("the guard's tools: {0}")]
    Tools(#[from] NotRead),
    /// What keys the names of values is no key.
    #[error("the guard's key is malformed")]
    Key,
    /// There is no memory to know anything in.
    #[error("the guard has no memory for values")]
    Memory,
}

/// A guard.
pub struct Post {
    policies: Arc<Policies>,
    tools: Tools,
    inspector: Inspector,
    values: Values,
    trails: BTreeMap<(String, String), Trail>,
    risk: Risk,
    conversation: Conversation,
    said_bytes: usize,
    events: u64,
    pending: BTreeMap<u32, Pending>,
    waiting: outgoing::Waiting,
    streams: outgoing::Streams,
}

impl core::fmt::Debug for Post {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Post").field("values", &self.values.len()).finish_non_exhaustive()
    }
}

/// What is known once something was delivered.
struct Pending {
    /// What it says, where an operator says it or a tool has returned it.
    said: Option<Said>,
    values: Vec<Value>,
}

enum Said {
    ByUser(Zeroizing<String>),
    Returned { tool: String, text: Zeroizing<String> },
}

/// What an inspection comes to, before policies are asked.
struct Seen {
    found: Vec<Found>,
    values: Vec<(Zeroizing<String>, u8)>,
    kinds: BTreeSet<String>,
    /// From 0, public, to 4, critical.
    confidentiality: u8,
    within_readers: bool,
    suspicion: u8,
}

impl Default for Seen {
    /// Of a text in which nothing was found.
    fn default() -> Self {
        Self {
            found: Vec::new(),
            values: Vec::new(),
            kinds: BTreeSet::new(),
            confidentiality: Confidentiality::Normal.degree(),
            within_readers: true,
            suspicion: 0,
        }
    }
}

impl Seen {
    /// Whether nothing that must not get around is in it.
    fn is_clean(&self) -> bool {
        self.within_readers && self.confidentiality < Confidentiality::HighlySensitive.degree()
    }
}

impl Post {
    /// One that decides by this, and knows what guards before it knew.
    ///
    /// # Errors
    /// See [`BeginError`].
    pub fn begin(spec: &GuardSpec, key: &Text, memory: Memory) -> Result<Self, BeginError> {
        Self::begin_given(Vault::on_the_heap(), spec, key, memory, Vec::new(), &[])
    }

    /// The same, which knows it in this memory, and which knows besides what others keep: values, and what of an environment is secret. These have
    /// room before what was learned, and who was told them since stays their reader.
    ///
    /// # Errors
    /// See [`BeginError`].
    pub fn begin_given(
        vault: Vault,
        spec: &GuardSpec,
        key: &Text,
        memory: Memory,
        given: Vec<Value>,
        variables: &[EnvVar],
    ) -> Result<Self, BeginError> {
        let policies = if spec.policies.is_empty() {
            policy::shipped()
        } else {
            policy::load(&spec.policies).map(|(policies, _)| policies)
        };
        let policies = policies.map_err(|flaws| {
            BeginError::Policies(flaws.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        })?;
        let tools = spec.tools.as_deref().map_or_else(|| Ok(Tools::default()), Tools::parse)?;
        let key = hex::bytes(&key.0).ok_or(BeginError::Key)?;
        let mut post = Self::new(vault, key, Arc::new(policies), tools)?;
        post.risk = serde_json::from_value(memory.risk).unwrap_or_default();
        post.give(given);
        post.give_variables(variables);
        for value in memory.values {
            post.remember(value);
        }
        if memory.has_judged {
            // What was read before is not known: from here on it may be what suggests a call.
            post.forget_texts();
        }
        Ok(post)
    }

    /// One that knows nothing yet.
    fn new(vault: Vault, key: [u8; 32], policies: Arc<Policies>, tools: Tools) -> Result<Self, BeginError> {
        let Vault { registry, values } = vault;
        let registry = Registry::within(registry, key).ok_or(BeginError::Memory)?;
        Ok(Self {
            policies,
            tools,
            inspector: Inspector::with_registry(registry),
            values: Values::within(values),
            trails: BTreeMap::new(),
            risk: Risk::default(),
            conversation: Conversation::default(),
            said_bytes: 0,
            events: 0,
            pending: BTreeMap::new(),
            waiting: outgoing::Waiting::default(),
            streams: outgoing::Streams::default(),
        })
    }

    /// Obeys an order.
    pub fn obey(&mut self, order: Order) -> Vec<Report> {
        match order {
            Order::Judge { number, at_ms, matter } => {
                let before = self.risk.clone();
                let judgement = Box::new(self.judge(number, at_ms, matter));
                // Before the answer, so that who acts by it has it.
                let mut reports = Vec::new();
                if self.risk != before {
                    reports.push(self.risk_report(at_ms));
                }
                reports.push(Report::Judged { number, judgement });
                reports
            }
            Order::Delivered { number } => {
                self.delivered(number);
                Vec::new()
            }
            Order::Dropped { number } => {
                self.pending.remove(&number);
                Vec::new()
            }
            Order::ResetRisk { at_ms, who, why } => {
                self.risk.reset(&who, &why, at_ms);
                vec![self.risk_report(at_ms)]
            }
            Order::Given { variables } => {
                self.give_variables(&variables);
                Vec::new()
            }
            Order::Begin { .. } | Order::Watch { .. } | Order::Release { .. } => Vec::new(),
            Order::Quit | Order::Unknown => Vec::new(),
        }
    }

    /// Knows these values as well, and what they say.
    pub fn give(&mut self, values: Vec<Value>) {
        for value in values {
            for text in login::within(&value.value.0) {
                if self.value_of(&text).is_none() {
                    self.remember(Value { value: Text(text.to_string()), ..value.clone() });
                }
            }
            self.remember(value);
        }
    }

    pub(crate) fn risk(&self) -> &Risk {
        &self.risk
    }

    pub(crate) fn risk_report(&self, at_ms: u64) -> Report {
        let level = rounded(self.risk.level(at_ms));
        Report::Risk { level, risk: serde_json::to_value(&self.risk).unwrap_or_default() }
    }

    fn judge(&mut self, number: u32, at_ms: u64, matter: Matter) -> Judgement {
        if self.pending.len() >= MOST_PENDING {
            self.pending.pop_first();
        }
        match matter {
            Matter::Line { label, speaker, to, .. }
                if self.tells((&speaker, &to), &label.0, at_ms).is_some() =>
            {
                Judgement { policies: vec![LABEL.to_owned()], ..refused("the label is not one") }
            }
            Matter::Line { speaker, by_operator, to, payload, .. } => {
                let Ok(payload) = STANDARD.decode(payload.0.as_bytes()).map(Zeroizing::new) else {
                    return refused("the payload is not base64");
                };
                let decoded = Decoded::of(&payload);
                let integrity = if by_operator { Integrity::User } else { Integrity::Untrusted };
                let (ruling, seen) = self.message((&speaker, &to), integrity, &decoded, at_ms);
                let said = by_operator.then(|| Said::ByUser(decoded.text.clone()));
                self.settle(number, (speaker, to), said, &payload, (ruling, seen), at_ms)
            }
            Matter::Returned { tool, to, text } => {
                let decoded = Decoded::of(text.0.as_bytes());
                let (ruling, seen) = self.message((&tool, &to), Integrity::Untrusted, &decoded, at_ms);
                let said = Said::Returned { tool: tool.clone(), text: decoded.text.clone() };
                self.settle(number, (tool, to), Some(said), text.0.as_bytes(), (ruling, seen), at_ms)
            }
            Matter::Call { speaker, tool, arguments, hints, undeclared } => {
                let party = tool.clone();
                self.call(number, at_ms, (speaker, tool, party), &arguments.0, (hints, &undeclared)).0
            }
        }
    }

    /// What policies say of a text that one says to another.
    fn message(
        &mut self,
        (speaker, to): (&str, &str),
        integrity: Integrity,
        decoded: &Decoded,
        at_ms: u64,
    ) -> (Ruling, Seen) {
        let seen = self.look((speaker, to), decoded, at_ms);
        let ruling = self.policies.message(&Message {
            speaker,
            channel: &format!("{speaker}-{to}"),
            integrity: match integrity {
                Integrity::System => 3,
                Integrity::User => 2,
                Integrity::TrustedTool => 1,
                Integrity::Untrusted => 0,
            },
            suspicion: seen.suspicion,
            payload: Payload {
                confidentiality: seen.confidentiality,
                within_readers: seen.within_readers,
                kinds: seen.kinds.clone(),
                risk: rounded(self.risk.level(at_ms)),
                tee: false,
            },
        });
        (ruling, seen)
    }

    /// Whether a label, which is for a protocol or for who speaks to choose, holds what nobody calls a line.
    fn tells(&mut self, way: (&str, &str), label: &str, at_ms: u64) -> Option<Seen> {
        // A trail of its own: no name has a space.
        let trail = (way.0.to_owned(), format!("{} label", way.1));
        let seen =
            (!label.is_empty()).then(|| self.look_along(trail, way, &Decoded::of(label.as_bytes()), at_ms));
        seen.filter(|seen| !seen.found.is_empty())
    }

    fn look(&mut self, (speaker, to): (&str, &str), decoded: &Decoded, at_ms: u64) -> Seen {
        self.look_along((speaker.to_owned(), to.to_owned()), (speaker, to), decoded, at_ms)
    }

    fn look_along(
        &mut self,
        way: (String, String),
        (speaker, to): (&str, &str),
        decoded: &Decoded,
        at_ms: u64,
    ) -> Seen {
        if !self.trails.contains_key(&way) {
            self.make_room_for_trail();
        }
        let trail = self.trails.entry(way).or_default();
        let inspected = self.inspector.inspect_next(Raw::new(decoded.text.to_string()), trail);
        let (seen, counted) = self.seen((speaker, to), decoded, &inspected);
        self.risk.add(&counted, at_ms);
        seen
    }

    fn make_room_for_trail(&mut self) {
        if self.trails.len() >= MOST_TRAILS {
            self.trails.pop_first();
        }
    }

    /// What was found in a text, and what of it counts: who knows a value may say it.
    fn seen(&self, way: (&str, &str), decoded: &Decoded, inspected: &Inspected) -> (Seen, Vec<Finding>) {
        let (mut seen, mut counted) = (Seen::default(), Vec::new());
        for finding in inspected.findings() {
            self.add((&mut seen, &mut counted), way, finding, &[decoded.origin(&finding.span)]);
        }
        (seen, counted)
    }

    /// Adds a finding, which stands at these places.
    fn add(
        &self,
        (seen, counted): (&mut Seen, &mut Vec<Finding>),
        (speaker, to): (&str, &str),
        finding: &Finding,
        places: &[Range<usize>],
    ) {
        let must_stay = finding.confidentiality() >= Confidentiality::HighlySensitive;
        let known = match finding.taint {
            Some(id) => self.values.get(id),
            None if must_stay => self.value_of(finding.value.expose()),
            None => None,
        };
        // A value that is known is what it was when it was found first.
        let confidentiality =
            known.map_or_else(|| finding.confidentiality().degree(), |value| value.confidentiality);
        let mut is_within = known.is_none_or(|known| calls::may_tell(known, speaker, to));
        if let Some(known) = known {
            seen.values.push((Zeroizing::new(self.values.text(known).to_owned()), confidentiality));
        } else if must_stay {
            seen.values.push((Zeroizing::new(finding.value.expose().to_owned()), confidentiality));
        }
        // What it says is told with it.
        if matches!(finding.category, Category::Secret | Category::Taint) && (must_stay || known.is_some()) {
            let whole = known.map_or_else(|| finding.value.expose(), |known| self.values.text(known));
            for text in login::within(whole) {
                match self.value_of(&text) {
                    Some(inner) => is_within &= calls::may_tell(inner, speaker, to),
                    None if known.is_some() => continue,
                    None => {}
                }
                seen.values.push((text, confidentiality));
            }
        }
        seen.within_readers &= is_within;
        if known.is_none() || !is_within {
            counted.push(finding.clone());
        }
        if finding.category == Category::Injection {
            seen.suspicion = seen.suspicion.max(percent(finding.confidence));
        }
        seen.confidentiality = seen.confidentiality.max(confidentiality);
        seen.kinds.insert(finding.kind.to_owned());
        for place in places {
            let found = Found {
                kind: finding.kind.to_owned(),
                span: (place.start, place.end),
                confidentiality,
                of: known.map(|value| &value.owner).filter(|owner| *owner != speaker).cloned(),
            };
            let is_full = seen.found.len() >= MOST_FOUND;
            match seen.found.last_mut().filter(|_| is_full) {
                Some(last) => {
                    last.span = (last.span.0.min(found.span.0), last.span.1.max(found.span.1));
                    last.confidentiality = last.confidentiality.max(found.confidentiality);
                }
                None => seen.found.push(found),
            }
        }
    }

    fn value_of(&self, text: &str) -> Option<&Known> {
        self.values.spelled(self.inspector.registry()?, text)
    }

    /// Makes a judgement of a ruling, and keeps what is learned if it is delivered.
    fn settle(
        &mut self,
        number: u32,
        (speaker, to): (String, String),
        said: Option<Said>,
        payload: &[u8],
        (ruling, seen): (Ruling, Seen),
        at_ms: u64,
    ) -> Judgement {
        let mut effect = match ruling.effect {
            policy::Effect::ProcessLocal => Effect::Pass,
            policy::Effect::Redact => Effect::Redact,
            policy::Effect::RequireConfirmation => Effect::Confirm,
            // No environment is ever verified: what policies say for that case was taken before.
            policy::Effect::ProcessInTee | policy::Effect::Reject => Effect::Reject,
        };
        let policies = if ruling.failure.is_some() { vec![FAILED.to_owned()] } else { ruling.policies };
        let mut because = ruling.failure;
        if effect == Effect::Redact && !self.is_clean(&without(payload, &seen.found), (&speaker, &to)) {
            effect = Effect::Reject;
            because.get_or_insert_with(|| LEFT.to_owned());
        }
        // What is left out is told to nobody.
        let values = if effect == Effect::Redact { Vec::new() } else { seen.values };
        let learns = self.learned((&speaker, &to), values);
        self.pending.insert(number, Pending { said, values: learns.clone() });
        Judgement {
            effect,
            policies,
            because,
            found: seen.found,
            confidentiality: seen.confidentiality,
            suspicion: seen.suspicion,
            risk: rounded(self.risk.level(at_ms)),
            learns,
        }
    }

    /// What is known of values once they are told, where that is more than before.
    fn learned(&self, (speaker, to): (&str, &str), values: Vec<(Zeroizing<String>, u8)>) -> Vec<Value> {
        let (mut learned, mut room) = (Vec::<Value>::new(), MOST_LEARNED);
        for (text, confidentiality) in values {
            let known = self.value_of(&text);
            let owner = known.map_or_else(|| speaker.to_owned(), |value| value.owner.clone());
            let mut readers = known.map(|value| value.readers.clone()).unwrap_or_default();
            let grows = readers.insert(speaker.to_owned()) | readers.insert(to.to_owned());
            let is_new = learned.iter().all(|value| value.value.0 != *text);
            if grows && is_new && text.len() <= room {
                room -= text.len();
                learned.push(Value { value: Text(text.to_string()), confidentiality, owner, readers });
            }
        }
        learned
    }

    /// Whether nothing that must not get around is left in a payload.
    fn is_clean(&self, payload: &[u8], way: (&str, &str)) -> bool {
        let decoded = Decoded::of(payload);
        let inspected = self.inspector.inspect(Raw::new(decoded.text.to_string()));
        let (seen, _) = self.seen(way, &decoded, &inspected);
        seen.is_clean()
    }

    fn delivered(&mut self, number: u32) {
        let Some(Pending { said, values }) = self.pending.remove(&number) else { return };
        self.events += 1;
        self.heard(Event(self.events), said, values);
    }

    /// Knows what was said, and the values in it.
    fn heard(&mut self, event: Event, said: Option<Said>, values: Vec<Value>) {
        match said {
            Some(_) if self.said_bytes >= MOST_SAID => self.forget_texts(),
            Some(Said::ByUser(text)) => {
                self.said_bytes += text.len();
                self.conversation.user_says(event, &text, &[]);
            }
            Some(Said::Returned { tool, text }) => {
                self.said_bytes += text.len();
                let declared = self.tools.declared(&tool);
                self.conversation.tool_returns(event, &tool, declared, &text, &[]);
            }
            None => {}
        }
        for value in values {
            self.remember(value);
        }
    }

    /// Remembers a value, unless there is no room.
    fn remember(&mut self, value: Value) {
        if let Some(registry) = self.inspector.registry_mut() {
            self.values.remember(registry, value);
        }
    }

    /// From here on something may have been read that is not known.
    fn forget_texts(&mut self) {
        self.events += 1;
        let (event, what) = (Event(self.events), "texts of before");
        self.conversation.tool_returns(event, what, None, what, &[]);
    }
}

fn said_of(hints: Hints) -> Annotations {
    Annotations {
        read_only_hint: hints.read_only_hint,
        destructive_hint: hints.destructive_hint,
        idempotent_hint: hints.idempotent_hint,
        open_world_hint: hints.open_world_hint,
    }
}

/// Stands for the policies where a line is refused for its label.
pub(crate) const LABEL: &str = "label";

/// Stands for them where what is to be judged has another form than it must have.
const FORM: &str = "form";
/// Stands for them where one failed, or they could not be asked.
const FAILED: &str = "a policy that failed";

fn refused(why: &str) -> Judgement {
    Judgement {
        effect: Effect::Reject,
        policies: vec![FORM.to_owned()],
        because: Some(why.to_owned()),
        found: Vec::new(),
        confidentiality: 1,
        suspicion: 0,
        risk: 0,
        learns: Vec::new(),
    }
}

fn rounded(level: f64) -> u32 {
    level.round().clamp(0.0, 100.0) as u32
}

fn percent(confidence: f32) -> u8 {
    (confidence * 100.0).round().clamp(0.0, 100.0) as u8
}

#[cfg(test)]
mod tests;
