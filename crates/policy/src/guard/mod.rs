//! What policies say of calls of tools, of messages, and of requests that leave.
//!
//! The words they may use stand in [`SCHEMA`]. A policy's `@effect` says what a permit permits; of all
//! policies that apply the strictest effect is taken, and where none applies the answer is
//! [`Effect::Reject`].

mod load;
mod outgoing;

use core::fmt;
use std::collections::BTreeSet;

use cedar_policy::{
    Authorizer, Context, Decision, Entities, EntityId, EntityTypeName, EntityUid, PolicyId, PolicySet,
    RestrictedExpression,
};
use serde::{Deserialize, Serialize};

pub use load::{Policies, is_meant, load, shipped};
pub use outgoing::Outgoing;

/// The words that policies about calls, messages and outgoing requests may use.
pub const SCHEMA: &str = include_str!("guard.cedarschema");

/// The policy that holds where no other is named.
pub const SHIPPED: &str = include_str!("shipped.cedar");

/// What is to be done with a call or a message; ordered from the mildest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Effect {
    /// It goes on.
    ProcessLocal,
    /// It goes on without what was found in it.
    Redact,
    /// It goes on inside a trusted execution environment that was verified, and nowhere else.
    ProcessInTee,
    /// Somebody outside is asked first.
    RequireConfirmation,
    /// It does not go on.
    Reject,
}

impl Effect {
    /// All of them, from the mildest.
    pub const ALL: [Self; 5] =
        [Self::ProcessLocal, Self::Redact, Self::ProcessInTee, Self::RequireConfirmation, Self::Reject];

    /// As policies and reports write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ProcessLocal => "ProcessLocal",
            Self::Redact => "Redact",
            Self::ProcessInTee => "ProcessInTee",
            Self::RequireConfirmation => "RequireConfirmation",
            Self::Reject => "Reject",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|effect| effect.name() == name)
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What policies say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ruling {
    /// What is to be done.
    pub effect: Effect,
    /// The policies that determined it, in order; none where no policy applies.
    pub policies: Vec<String>,
    /// Why it is rejected although no policy says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// What is known of what is carried, by a call or a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    /// From 0, public, to 4, critical.
    pub confidentiality: u8,
    /// Whether those it goes to may read it.
    pub within_readers: bool,
    /// What was found in it.
    pub kinds: BTreeSet<String>,
    /// The session's risk.
    pub risk: u32,
    /// Whether it goes to a trusted execution environment that was verified.
    pub tee: bool,
}

/// A call of a tool, as [`SCHEMA`] describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call<'a> {
    /// Who calls.
    pub speaker: &'a str,
    /// What is called.
    pub tool: &'a str,
    /// Whether the tool is declared.
    pub is_known: bool,
    /// MCP's `readOnlyHint`.
    pub is_read_only: bool,
    /// MCP's `destructiveHint`.
    pub is_destructive: bool,
    /// MCP's `idempotentHint`.
    pub is_idempotent: bool,
    /// MCP's `openWorldHint`.
    pub is_open_world: bool,
    /// Whether untrusted text was read before.
    pub after_untrusted_read: bool,
    /// From 0, untrusted, to 3, system.
    pub control: u8,
    /// Whether an argument says where it goes, and none that does is untrusted.
    pub is_anchored: bool,
    /// What it carries.
    pub payload: Payload,
}

/// Something said on a channel, as [`SCHEMA`] describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Who speaks.
    pub speaker: &'a str,
    /// Where.
    pub channel: &'a str,
    /// From 0, untrusted, to 3, system.
    pub integrity: u8,
    /// From 0 to 100.
    pub suspicion: u8,
    /// What it carries.
    pub payload: Payload,
}

/// Names of the schema, parsed once.
#[derive(Debug)]
pub(crate) struct Words {
    speaker: EntityTypeName,
    tool: EntityTypeName,
    channel: EntityTypeName,
    sender: EntityTypeName,
    destination: EntityTypeName,
    call: EntityUid,
    message: EntityUid,
    send: EntityUid,
}

impl Words {
    pub(crate) fn parse() -> Option<Self> {
        let action: EntityTypeName = "Action".parse().ok()?;
        let action = |id: &str| EntityUid::from_type_name_and_id(action.clone(), EntityId::new(id));
        Some(Self {
            speaker: "Speaker".parse().ok()?,
            tool: "Tool".parse().ok()?,
            channel: "Channel".parse().ok()?,
            sender: "Sender".parse().ok()?,
            destination: "Destination".parse().ok()?,
            call: action("call"),
            message: action("message"),
            send: action("send"),
        })
    }
}

impl Policies {
    /// What they say of a call.
    pub fn call(&self, call: &Call<'_>) -> Ruling {
        let bools = [
            ("known", call.is_known),
            ("readOnly", call.is_read_only),
            ("destructive", call.is_destructive),
            ("idempotent", call.is_idempotent),
            ("openWorld", call.is_open_world),
            ("untrustedRead", call.after_untrusted_read),
            ("anchored", call.is_anchored),
        ];
        let bools = bools.map(|(name, value)| (name, RestrictedExpression::new_bool(value)));
        let control = [("control", RestrictedExpression::new_long(i64::from(call.control)))];
        let pairs = bools.into_iter().chain(control).chain(carried(&call.payload));
        let words = (&self.words.speaker, call.speaker, &self.words.tool, call.tool);
        self.ruling(&self.calls, words, &self.words.call, pairs, call.payload.tee)
    }

    /// What they say of a message.
    pub fn message(&self, message: &Message<'_>) -> Ruling {
        let longs = [("integrity", message.integrity), ("suspicion", message.suspicion)];
        let longs = longs.map(|(name, value)| (name, RestrictedExpression::new_long(i64::from(value))));
        let pairs = longs.into_iter().chain(carried(&message.payload));
        let words = (&self.words.speaker, message.speaker, &self.words.channel, message.channel);
        self.ruling(&self.messages, words, &self.words.message, pairs, message.payload.tee)
    }

    fn ruling(
        &self,
        set: &PolicySet,
        (principal, who, resource, what): (&EntityTypeName, &str, &EntityTypeName, &str),
        action: &EntityUid,
        pairs: impl Iterator<Item = (&'static str, RestrictedExpression)>,
        tee: bool,
    ) -> Ruling {
        let uid = |kind: &EntityTypeName, id: &str| {
            EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
        };
        let (principal, resource) = (uid(principal, who), uid(resource, what));
        let request = Context::from_pairs(pairs.map(|(name, value)| (name.to_owned(), value)))
            .map_err(|e| e.to_string())
            .and_then(|context| {
                cedar_policy::Request::new(principal, action.clone(), resource, context, None)
                    .map_err(|e| e.to_string())
            });
        let request = match request {
            Ok(request) => request,
            Err(error) => return rejected(format!("the policies could not be asked: {error}")),
        };
        let response = Authorizer::new().is_authorized(&request, set, &Entities::empty());
        // A policy that fails is left out by Cedar, also one that would forbid.
        if let Some(error) = response.diagnostics().errors().next() {
            return rejected(format!("a policy failed: {error}"));
        }
        let reasons: Vec<&PolicyId> = response.diagnostics().reason().collect();
        let effect = |id: &PolicyId| match response.decision() {
            Decision::Deny => Effect::Reject,
            Decision::Allow => self.effect(id, tee),
        };
        let strictest = reasons.iter().map(|id| effect(id)).max().unwrap_or(Effect::Reject);
        let determining = reasons.iter().filter(|id| effect(id) == strictest);
        let mut policies: Vec<String> = determining.map(|id| id.to_string()).collect();
        policies.sort();
        Ruling { effect: strictest, policies, failure: None }
    }

    /// What a permit permits. Without a verified environment, what it says for that case.
    fn effect(&self, id: &PolicyId, tee: bool) -> Effect {
        match self.effects.get(id) {
            Some((Effect::ProcessInTee, otherwise)) if !tee => *otherwise,
            Some((effect, _)) => *effect,
            None => Effect::Reject,
        }
    }
}

fn carried(payload: &Payload) -> [(&'static str, RestrictedExpression); 5] {
    let kinds = payload.kinds.iter().map(|kind| RestrictedExpression::new_string(kind.clone()));
    [
        ("confidentiality", RestrictedExpression::new_long(i64::from(payload.confidentiality))),
        ("withinReaders", RestrictedExpression::new_bool(payload.within_readers)),
        ("kinds", RestrictedExpression::new_set(kinds)),
        ("risk", RestrictedExpression::new_long(i64::from(payload.risk))),
        ("tee", RestrictedExpression::new_bool(payload.tee)),
    ]
}

fn rejected(failure: String) -> Ruling {
    Ruling { effect: Effect::Reject, policies: Vec::new(), failure: Some(failure) }
}

#[cfg(test)]
mod tests;
