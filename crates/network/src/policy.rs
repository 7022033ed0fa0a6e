//! Which connections may be made.

use std::collections::HashMap;
use std::net::IpAddr;

use sessile_model::AppName;
use sessile_model::api::Verdict;
use sessile_model::network::{HOST_NAME, HostPattern, Network, Target, Unknown};
use sessile_policy::{Opinion, Policies, Request};

use crate::addresses::{Place, place};

/// What is to become of a connection, and which rule says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may be made.
    Allow {
        /// The rule.
        by: String,
        /// Whether the rule names this host rather than a kind of hosts: only then may its
        /// addresses lie in a private network.
        by_name: bool,
    },
    /// It may not.
    Deny {
        /// The rule.
        by: String,
    },
    /// Somebody outside is to be asked.
    Ask,
}

/// What a rule or a policy says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    effect: Effect,
    by: String,
    by_name: bool,
}

/// A session's rules and policies, and what was answered for good.
///
/// What a policy forbids is denied, whatever else is said. Where a policy and a rule are both about
/// a connection the stricter counts; where one of them is, it.
///
/// What a rule denies is denied. Of the other rules that are about a host and port the most specific
/// decides: one host before hosts below a name, a longer name before a shorter one, a port before
/// none. Among equals `ask` wins over `allow`.
#[derive(Debug, Default)]
pub struct Policy {
    rules: Network,
    policies: Policies,
    answered: HashMap<(String, u16), Verdict>,
}

/// The order among rules that are about the same connection.
type Weight = (bool, u8, usize, bool, u8);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Effect {
    Allow = 0,
    Ask = 1,
    Deny = 2,
}

impl Policy {
    /// These rules and policies.
    ///
    /// # Errors
    /// What is wrong with a policy.
    pub fn new(mut rules: Network) -> Result<Self, String> {
        let texts = std::mem::take(&mut rules.policies);
        let (policies, _) = sessile_policy::load(&texts)
            .map_err(|flaws| flaws.first().map(ToString::to_string).unwrap_or_default())?;
        Ok(Self { rules, policies, answered: HashMap::new() })
    }

    /// Remembers an answer for the rest of the session.
    pub fn remember(&mut self, host: &str, port: u16, verdict: Verdict) {
        self.answered.insert((host.to_owned(), port), verdict);
    }

    /// What is to become of a connection of an app to a host: a name in lower case, or an address.
    pub fn decide(&self, app: &AppName, host: &str, port: u16) -> Decision {
        let opinion = match self.policies.connection(app.as_str(), host, port) {
            Opinion::Deny { by } => return Decision::Deny { by },
            Opinion::Silent => None,
            Opinion::Allow { by, by_name } => Some(Said { effect: Effect::Allow, by, by_name }),
            Opinion::Ask { by, by_name } => Some(Said { effect: Effect::Ask, by, by_name }),
        };
        if let Some(verdict) = self.answered.get(&(host.to_owned(), port)) {
            return match verdict {
                Verdict::Allow => Decision::Allow { by: "answered: always".to_owned(), by_name: true },
                Verdict::Deny => Decision::Deny { by: "answered: always".to_owned() },
            };
        }
        let rule = self.strongest(host, port).map(|(effect, target)| Said {
            effect,
            by: format!("{} {target}", effect.word()),
            by_name: target.is_exact(),
        });
        let is_named = [&opinion, &rule].into_iter().flatten().any(|said| said.by_name);
        // Among equals the rule, which is nearer at hand.
        let decided = match opinion.into_iter().chain(rule).max_by_key(|said| said.effect) {
            Some(Said { effect: Effect::Allow, by, .. }) => Decision::Allow { by, by_name: is_named },
            Some(Said { effect: Effect::Deny, by, .. }) => Decision::Deny { by },
            Some(Said { effect: Effect::Ask, .. }) => Decision::Ask,
            None => match self.rules.unknown {
                Unknown::Ask => Decision::Ask,
                Unknown::Deny => Decision::Deny { by: "no rule allows it".to_owned() },
            },
        };
        match host.parse::<IpAddr>().ok().map(place) {
            // Nobody is asked about addresses that only a rule may open.
            Some(Place::Near | Place::Private) if !is_named => {
                Decision::Deny { by: "private addresses need a rule that names them".to_owned() }
            }
            None if host == HOST_NAME && !is_named => Decision::Deny {
                by: format!("the host needs a rule that names it: allow {HOST_NAME}:{port}"),
            },
            Some(_) | None => decided,
        }
    }

    /// The rule that denies an address, by whatever name it is reached.
    pub fn denies_address(&self, address: IpAddr, port: u16) -> Option<String> {
        let host = address.to_string();
        if self.answered.get(&(host.clone(), port)) == Some(&Verdict::Deny) {
            return Some("answered: always".to_owned());
        }
        let rule = self.rules.deny.iter().find(|target| target.matches(&host, port));
        rule.map(|target| format!("{} {target}", Effect::Deny.word()))
    }

    /// The policy that forbids a request over a connection that may be made.
    pub fn forbids(&self, app: &AppName, host: &str, port: u16, request: Request<'_>) -> Option<String> {
        denied(self.policies.request(app.as_str(), host, port, request))
    }

    /// The policy that would have to look at requests which cannot be seen.
    pub fn forbids_unseen(&self, app: &AppName, host: &str, port: u16, tls: bool) -> Option<String> {
        denied(self.policies.unseen(app.as_str(), host, port, tls))
    }

    fn strongest(&self, host: &str, port: u16) -> Option<(Effect, &Target)> {
        let all = [
            (Effect::Allow, &self.rules.allow),
            (Effect::Ask, &self.rules.ask),
            (Effect::Deny, &self.rules.deny),
        ];
        all.into_iter()
            .flat_map(|(effect, targets)| targets.iter().map(move |target| (effect, target)))
            .filter(|(_, target)| target.matches(host, port))
            .max_by_key(|(effect, target)| weight(*effect, target))
    }
}

impl Effect {
    const fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Deny => "deny",
        }
    }
}

fn denied(opinion: Opinion) -> Option<String> {
    match opinion {
        Opinion::Deny { by } => Some(by),
        Opinion::Silent | Opinion::Allow { .. } | Opinion::Ask { .. } => None,
    }
}

fn weight(effect: Effect, target: &Target) -> Weight {
    let (kind, length) = match &target.host {
        HostPattern::Any => (0, 0),
        HostPattern::Below(name) => (1, name.len()),
        HostPattern::Exact(_) | HostPattern::Address(_) => (2, 0),
    };
    (effect == Effect::Deny, kind, length, target.port.is_some(), effect as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sessile_model::network::PolicyText;

    fn policy(allow: &[&str], ask: &[&str], deny: &[&str], unknown: Unknown) -> Policy {
        let targets = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect();
        Policy::new(Network {
            allow: targets(allow),
            ask: targets(ask),
            deny: targets(deny),
            unknown,
            ..Network::default()
        })
        .unwrap()
    }

    fn said(policy: &Policy, host: &str, port: u16) -> String {
        match policy.decide(&AppName::main(), host, port) {
            Decision::Allow { by, by_name } => format!("{by} {by_name}"),
            Decision::Deny { by } => by,
            Decision::Ask => "ask".to_owned(),
        }
    }

    #[test]
    fn a_denial_decides_then_the_most_specific_rule() {
        let p = policy(
            &["*.example.org", "api.bad.example:443"],
            &["new.example.org"],
            &["*.secret.example.org", "*.bad.example"],
            Unknown::Ask,
        );
        for (host, port, expected) in [
            ("a.example.org", 443, "allow *.example.org false"),
            ("x.secret.example.org", 443, "deny *.secret.example.org"),
            ("new.example.org", 443, "ask"),
            ("api.bad.example", 443, "deny *.bad.example"),
            ("api.bad.example", 80, "deny *.bad.example"),
            ("elsewhere.example", 1, "ask"),
        ] {
            assert_eq!(said(&p, host, port), expected, "{host}:{port}");
        }
    }

    #[test]
    fn among_equals_the_stricter_wins() {
        let p =
            policy(&["a.example", "b.example"], &["a.example", "b.example"], &["b.example"], Unknown::Deny);
        assert_eq!(said(&p, "a.example", 1), "ask");
        assert_eq!(said(&p, "b.example", 1), "deny b.example");
        assert_eq!(said(&p, "c.example", 1), "no rule allows it");
    }

    #[test]
    fn what_is_near_opens_by_its_own_name_only() {
        let p = policy(&["*", "10.0.0.5:5432"], &[], &[], Unknown::Ask);
        for (host, expected) in [
            ("1.1.1.1", "allow * false"),
            ("10.0.0.5", "allow 10.0.0.5:5432 true"),
            ("10.0.0.6", "private addresses need a rule that names them"),
            ("169.254.169.254", "private addresses need a rule that names them"),
            ("::ffff:127.0.0.1", "private addresses need a rule that names them"),
            ("host.sessile", "the host needs a rule that names it: allow host.sessile:5432"),
        ] {
            assert_eq!(said(&p, host, 5432), expected, "{host}");
        }
        let p = policy(&["host.sessile:5432", "127.0.0.1"], &[], &[], Unknown::Ask);
        assert_eq!(said(&p, "host.sessile", 5432), "allow host.sessile:5432 true");
        assert_eq!(said(&p, "127.0.0.1", 1), "allow 127.0.0.1 true");
    }

    #[test]
    fn an_address_is_denied_by_whatever_name_it_is_reached() {
        let mut p = policy(&["*"], &[], &["192.0.34.1:443", "bad.example"], Unknown::Ask);
        p.remember("192.0.34.2", 443, Verdict::Deny);
        let denies = |address: &str, port| p.denies_address(address.parse().unwrap(), port);
        assert_eq!(denies("192.0.34.1", 443).as_deref(), Some("deny 192.0.34.1:443"));
        assert_eq!(denies("192.0.34.2", 443).as_deref(), Some("answered: always"));
        assert_eq!((denies("192.0.34.1", 80), denies("192.0.34.3", 443)), (None, None));
    }

    #[test]
    fn an_answer_for_good_is_about_one_host_and_port() {
        let mut p = policy(&[], &[], &[], Unknown::Ask);
        p.remember("a.example", 443, Verdict::Allow);
        p.remember("b.example", 443, Verdict::Deny);
        assert_eq!(said(&p, "a.example", 443), "answered: always true");
        assert_eq!(said(&p, "a.example", 80), "ask");
        assert_eq!(said(&p, "b.example", 443), "answered: always");
    }

    #[test]
    fn where_rules_and_policies_both_speak_the_stricter_counts() {
        let text = r#"
            @id("no") forbid (principal, action, resource in Host::"bad.example");
            @id("yes") permit (principal, action, resource in Host::"good.example");
            @id("ask") @decision("ask") permit (principal, action, resource in Host::"new.example");
            @id("lan") permit (principal, action, resource == Host::"10.0.0.5");
            @id("net") permit (principal, action, resource)
            when { resource has address && resource.address.isInRange(ip("10.0.0.0/8")) };
        "#;
        let targets = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect();
        let mut p = Policy::new(Network {
            allow: targets(&["a.bad.example", "a.new.example", "mine.example"]),
            ask: targets(&["ask.good.example"]),
            deny: targets(&["deny.good.example", "deny.new.example"]),
            unknown: Unknown::Deny,
            policies: vec![PolicyText { name: "work.cedar".into(), text: text.into() }],
            ..Network::default()
        })
        .unwrap();
        p.remember("x.bad.example", 1, Verdict::Allow);
        for (host, expected) in [
            ("a.bad.example", "policy no"),
            ("x.bad.example", "policy no"),
            ("good.example", "policy yes false"),
            ("ask.good.example", "ask"),
            ("deny.good.example", "deny deny.good.example"),
            ("a.new.example", "ask"),
            ("deny.new.example", "deny deny.new.example"),
            ("mine.example", "allow mine.example true"),
            ("else.example", "no rule allows it"),
            ("10.0.0.5", "policy lan true"),
            ("10.0.0.6", "private addresses need a rule that names them"),
        ] {
            assert_eq!(said(&p, host, 1), expected, "{host}");
        }
    }
}
