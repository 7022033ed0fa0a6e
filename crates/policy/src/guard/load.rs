//! From texts to policies about calls, messages and outgoing requests.

use std::collections::HashMap;

use cedar_policy::{ActionConstraint, EntityUid, Policy, PolicyId, PolicySet};
use sessile_model::network::PolicyText;

use super::{Effect, SCHEMA, SHIPPED, Words};
use crate::texts::{Flaw, checked, flaw, id};

/// Policies about calls, messages and outgoing requests that were checked against the schema.
#[derive(Debug)]
pub struct Policies {
    /// Those that may be about calls.
    pub(crate) calls: PolicySet,
    /// Those that may be about messages.
    pub(crate) messages: PolicySet,
    /// Those that may be about outgoing requests.
    pub(crate) sends: PolicySet,
    /// Where none of them is, these say of outgoing requests what there is to say.
    pub(crate) otherwise: Option<Box<Policies>>,
    /// What each permits, and what it permits instead of [`Effect::ProcessInTee`] where no environment
    /// was verified.
    pub(crate) effects: HashMap<PolicyId, (Effect, Effect)>,
    pub(crate) words: Words,
}

impl Policies {
    /// How many.
    pub fn len(&self) -> usize {
        self.effects.len()
    }

    /// What none of them is about, so that it is rejected: calls of tools, messages.
    pub fn silent_about(&self) -> Vec<&'static str> {
        let sets = [(&self.calls, "calls of tools"), (&self.messages, "messages")];
        sets.into_iter().filter(|(set, _)| set.is_empty()).map(|(_, what)| what).collect()
    }

    /// Whether there are none, so that everything is rejected.
    pub fn is_empty(&self) -> bool {
        self.effects.is_empty()
    }

    fn add(&mut self, policy: &Policy, effects: (Effect, Effect)) -> Result<(), String> {
        let twice = || format!("two policies are called {:?}; an @id is for one", policy.id().to_string());
        if self.effects.insert(policy.id().clone(), effects).is_some() {
            return Err(twice());
        }
        let is_about = |name: &str| match policy.action_constraint() {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(action) => action.id().unescaped() == name,
            ActionConstraint::In(actions) => actions.iter().any(|action| action.id().unescaped() == name),
        };
        if is_about("call") {
            self.calls.add(policy.clone()).map_err(|_| twice())?;
        }
        if is_about("message") {
            self.messages.add(policy.clone()).map_err(|_| twice())?;
        }
        if is_about("send") {
            self.sends.add(policy.clone()).map_err(|_| twice())?;
        }
        Ok(())
    }
}

/// Reads and checks policies. Where none is about outgoing requests, the shipped ones are. The second part of the answer is doubtful, not wrong.
///
/// # Errors
/// All that is wrong: what is no Cedar, what the schema does not know, annotations other than `@id`,
/// `@description`, `@effect` and `@unverified`, and effects that do not go with what a policy is.
pub fn load(texts: &[PolicyText]) -> Result<(Policies, Vec<Flaw>), Vec<Flaw>> {
    let (mut policies, doubtful) = read(texts)?;
    if policies.sends.is_empty() {
        policies.otherwise = Some(Box::new(shipped()?));
    }
    Ok((policies, doubtful))
}

fn read(texts: &[PolicyText]) -> Result<(Policies, Vec<Flaw>), Vec<Flaw>> {
    let Some(words) = Words::parse() else {
        return Err(vec![Flaw { name: "schema".to_owned(), place: None, what: "its names".to_owned() }]);
    };
    let [calls, messages, sends] = [(); 3].map(|()| PolicySet::new());
    let (effects, otherwise) = (HashMap::new(), None);
    let mut policies = Policies { calls, messages, sends, otherwise, effects, words };
    let doubtful = checked(SCHEMA, texts, |text, (number, policy)| {
        let named = policy.new_id(id(text, number, policy)?);
        let wrong = |what: String| flaw(text, None, format!("policy {number}: {what}"));
        let effects = effects_of(&named).map_err(wrong)?;
        policies.add(&named, effects).map_err(wrong)
    })?;
    Ok((policies, doubtful))
}

/// Whether a text is about calls, messages or outgoing requests, and not about connections and requests.
pub fn is_meant(text: &PolicyText) -> bool {
    let is_ours = |action: &EntityUid| ["call", "message", "send"].contains(&action.id().unescaped());
    // What is not even Cedar is told by whoever reads it next.
    text.text.parse::<PolicySet>().is_ok_and(|set| {
        set.policies().any(|policy| match policy.action_constraint() {
            ActionConstraint::Any => false,
            ActionConstraint::Eq(action) => is_ours(&action),
            ActionConstraint::In(actions) => actions.iter().any(is_ours),
        })
    })
}

/// The policy that is shipped.
///
/// # Errors
/// None that this crate's tests have not seen.
pub fn shipped() -> Result<Policies, Vec<Flaw>> {
    let text = PolicyText { name: "shipped.cedar".to_owned(), text: SHIPPED.to_owned() };
    read(&[text]).map(|(policies, _)| policies)
}

/// What a policy permits, and what instead where no environment was verified.
fn effects_of(policy: &Policy) -> Result<(Effect, Effect), String> {
    let is_permit = policy.effect() == cedar_policy::Effect::Permit;
    let (mut effect, mut unverified) = (None, None);
    for (key, value) in policy.annotations() {
        let named = || {
            let names = Effect::ALL.map(Effect::name).join(", ");
            Effect::named(value).ok_or_else(|| format!("@{key}({value:?}) is not known (known: {names})"))
        };
        match key {
            "id" | "description" => {}
            "effect" => effect = Some(named()?),
            "unverified" => unverified = Some(named()?),
            other => {
                return Err(format!(
                    "the annotation @{other} is not known (known: @id, @description, @effect, @unverified)"
                ));
            }
        }
    }
    let effect = effect.unwrap_or(if is_permit { Effect::ProcessLocal } else { Effect::Reject });
    if is_permit == (effect == Effect::Reject) {
        return Err(format!(
            "@effect(\"{effect}\") does not go with it: forbid is for Reject, permit for the others"
        ));
    }
    if unverified.is_some() && effect != Effect::ProcessInTee {
        return Err("@unverified goes with @effect(\"ProcessInTee\") alone".to_owned());
    }
    if unverified == Some(Effect::ProcessInTee) {
        return Err("@unverified says what is done where ProcessInTee is not possible".to_owned());
    }
    Ok((effect, unverified.unwrap_or(Effect::Reject)))
}
