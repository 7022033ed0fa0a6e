//! From texts to policies about connections and requests.

use core::net::IpAddr;

use cedar_policy::{ActionConstraint, Effect, EntityUid, Policy, PolicySet};
use serde_json::Value;
use sessile_model::network::{HostPattern, PolicyText, Target};

use crate::SCHEMA;
use crate::texts::{Flaw, checked, flaw, id};

/// What is known only of a request that can be seen.
const SEEN: [&str; 2] = ["method", "path"];

/// Policies that were checked against the schema.
#[derive(Debug, Default)]
pub struct Policies {
    /// All of them; an id is what a decision is reported by.
    pub(crate) all: PolicySet,
    /// For requests that cannot be seen: the same without the conditions that look at them.
    pub(crate) hidden: PolicySet,
}

impl Policies {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.all.num_of_policies()
    }
}

/// Reads and checks policies. The second part of the answer is doubtful, not wrong: a policy that
/// never applies, for instance.
///
/// # Errors
/// All that is wrong: what is no Cedar, what the schema does not know, annotations other than `@id`,
/// `@description` and `@decision("ask")`, and `permit` about requests alone.
pub fn load(texts: &[PolicyText]) -> Result<(Policies, Vec<Flaw>), Vec<Flaw>> {
    let mut policies = Policies::default();
    let doubtful = checked(SCHEMA, texts, |text, policy| {
        let policy = named(text, policy)?;
        policies.add(&policy).map_err(|what| flaw(text, None, what))
    })?;
    Ok((policies, doubtful))
}

/// A policy under the name by which decisions are reported.
fn named(text: &PolicyText, (number, policy): (usize, &Policy)) -> Result<Policy, Flaw> {
    let id = id(text, number, policy)?;
    let wrong = |what: String| Err(flaw(text, None, format!("policy {number}: {what}")));
    for (key, value) in policy.annotations() {
        match (key, value) {
            ("id" | "description", _) => {}
            ("decision", "ask") if policy.effect() == Effect::Permit => {}
            ("decision", "ask") => {
                return wrong(
                    "@decision(\"ask\") goes with permit: what is forbidden is not asked about".to_owned(),
                );
            }
            ("decision", other) => {
                return wrong(format!("@decision({other:?}) is not known; write @decision(\"ask\")"));
            }
            (other, _) => {
                return wrong(format!(
                    "the annotation @{other} is not known (known: @id, @description, @decision)"
                ));
            }
        }
    }
    let about_requests = match policy.action_constraint() {
        ActionConstraint::Any => false,
        ActionConstraint::Eq(action) => is_request(&action),
        ActionConstraint::In(actions) => !actions.is_empty() && actions.iter().all(is_request),
    };
    if about_requests && policy.effect() == Effect::Permit {
        return wrong(
            "a permit about requests changes nothing, since what is not forbidden is sent; write \
             `forbid (…) unless { … };`"
                .to_owned(),
        );
    }
    Ok(policy.new_id(id))
}

/// What is wrong with a host that is named in a way in which no host is ever asked for: a policy that
/// forbids it would forbid nothing.
fn unmatched_host(policy: &Value) -> Option<String> {
    let mut parts = vec![policy];
    while let Some(part) = parts.pop() {
        match part {
            Value::Object(fields) => {
                let field = |key: &str| fields.get(key).and_then(Value::as_str);
                if let (Some("Host"), Some(id)) = (field("type"), field("id"))
                    && let Some(what) = misnamed(id)
                {
                    return Some(what);
                }
                parts.extend(fields.values());
            }
            Value::Array(more) => parts.extend(more),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    None
}

fn misnamed(id: &str) -> Option<String> {
    let is_address = id.parse::<IpAddr>().is_ok_and(|address| address.to_string() == id);
    match id.parse::<Target>() {
        _ if is_address => None,
        Ok(Target { host: HostPattern::Exact(name), port: None }) if name == id => None,
        Ok(Target { host: HostPattern::Below(name), port: None }) => {
            Some(format!("no host is called {id:?}; write `resource in Host::{name:?}`"))
        }
        Ok(_) | Err(_) => Some(format!(
            "no host is called {id:?}; write a name in lower case, without a dot at its end or a port, and \
             one beyond ASCII as xn--…"
        )),
    }
}

fn is_request(action: &EntityUid) -> bool {
    action.id().unescaped() == "request"
}

impl Policies {
    fn add(&mut self, policy: &Policy) -> Result<(), String> {
        let twice = || format!("two policies are called {:?}; an @id is for one", policy.id().to_string());
        self.all.add(policy.clone()).map_err(|_| twice())?;
        let blind = blinded(policy).map_err(|e| format!("{}: {e}", policy.id()))?;
        self.hidden.add(blind).map_err(|_| twice())
    }
}

/// The policy without the conditions that look at a request.
fn blinded(policy: &Policy) -> Result<Policy, String> {
    if policy.effect() == Effect::Permit {
        return Ok(policy.clone());
    }
    let mut json = policy.to_json().map_err(|e| e.to_string())?;
    if let Some(what) = unmatched_host(&json) {
        return Err(what);
    }
    if let Some(Value::Array(conditions)) = json.get_mut("conditions") {
        conditions.retain(|condition| !looks_at_request(condition));
    }
    Policy::from_json(Some(policy.id().clone()), json).map_err(|e| e.to_string())
}

fn looks_at_request(part: &Value) -> bool {
    match part {
        Value::Object(fields) => fields.iter().any(|(key, value)| {
            let is_attribute = key == "attr" && value.as_str().is_some_and(|v| SEEN.contains(&v));
            is_attribute || looks_at_request(value)
        }),
        Value::Array(parts) => parts.iter().any(looks_at_request),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sessile_model::network::MAX_POLICY_BYTES;

    fn text(text: &str) -> PolicyText {
        PolicyText { name: "work.cedar".to_owned(), text: text.to_owned() }
    }

    fn said(policy: &str) -> String {
        let flaws = load(&[text(policy)]).unwrap_err();
        flaws.iter().map(Flaw::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_host_that_is_never_asked_for_is_said() {
        let policy = |host: &str| format!("forbid (principal, action, resource == Host::\"{host}\");");
        for host in ["*.example.org", "EXAMPLE.org", "example.org.", "example.org:443", "b\u{fc}cher.example"]
        {
            assert!(said(&policy(host)).contains("no host is called"), "{host}");
        }
        let within = "forbid (principal, action, resource) when { resource in [Host::\"A.example\"] };";
        assert!(said(within).contains("no host is called \"A.example\""));
        for host in
            ["example.org", "org", "192.0.2.1", "2001:db8::1", "xn--bcher-kva.example", "host.sessile"]
        {
            assert!(load(&[text(&policy(host))]).is_ok(), "{host}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (policy, expected) in [
            ("permit (principal, action, resource)\nwhen { contex.port == 1 };", "work.cedar:2:8: "),
            ("permit (principal, action, resource)", "work.cedar:1:"),
            ("\n\nallow (principal, action, resource);", "work.cedar:3:1: "),
            (
                "permit (principal, action == Action::\"connect\", resource) when { context.method == \"GET\" };",
                "work.cedar:1:66: ",
            ),
            ("permit (principal == User::\"me\", action, resource);", "User"),
            ("permit (principal, action == Action::\"delete\", resource);", "delete"),
            (
                "permit (principal, action == Action::\"connect\", resource) when { context.port == \"1\" };",
                ":1:",
            ),
            ("@aks permit (principal, action, resource);", "the annotation @aks is not known"),
            (
                "@decision(\"reject\") forbid (principal, action, resource);",
                "@decision(\"reject\") is not known",
            ),
            ("@decision(\"ask\") forbid (principal, action, resource);", "goes with permit"),
            ("permit (principal, action == Action::\"request\", resource);", "changes nothing"),
            ("permit (principal == ?principal, action, resource);", "templates"),
            (
                "@id(\"a\") permit (principal, action, resource); @id(\"a\") forbid (principal, action, resource);",
                "two policies",
            ),
        ] {
            let said = said(policy);
            assert!(said.contains(expected), "{policy}\n{said}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_once_for_each_place_and_in_order() {
        let policy = "permit (principal, action, resource) when { context.prot == 1 };\n\
                      permit (principal, action, resource) when { context.prat == 1 };";
        let flaws = load(&[text(policy)]).unwrap_err();
        let lines: Vec<_> = flaws.iter().filter_map(|flaw| flaw.place).map(|(line, _)| line).collect();
        assert_eq!(lines, [1, 2], "{flaws:?}");
    }

    #[test]
    fn what_never_applies_is_doubtful() {
        let policy = "permit (principal, action == Action::\"connect\", resource) when { false };";
        let (policies, doubtful) = load(&[text(policy)]).unwrap();
        assert_eq!(policies.len(), 1);
        assert_eq!(doubtful.len(), 1, "{doubtful:?}");
    }

    #[test]
    fn no_text_brings_it_down() {
        let policy = |when: &str| format!("permit (principal, action, resource) when {{ {when} }};");
        let nested =
            |n: usize, open: &str, close: &str| policy(&format!("{}true{}", open.repeat(n), close.repeat(n)));
        let mut all = Vec::new();
        for n in [20, 180, 50_000] {
            all.extend([nested(n, "(", ")"), nested(n, "[", "]"), nested(n, "!", ""), nested(n, "if ", "")]);
            all.push(policy(&vec!["true"; n].join(" && ")));
            all.push(policy(&format!("context.port{} == 1", " - 1".repeat(n))));
            all.push(policy(&format!("context{}", ".port".repeat(n))));
            all.push(policy(&format!("true {}", "in true ".repeat(n))));
        }
        for policy in all {
            // Refused or taken, in bounded time and stack.
            if let Ok((policies, _)) = load(&[text(&policy)]) {
                let _ = policies.connection("main", "a.example", 443);
            }
        }
        assert!(said(&" ".repeat(MAX_POLICY_BYTES + 1)).contains("at most"));
    }
}
