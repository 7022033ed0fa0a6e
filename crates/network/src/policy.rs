//! Which connections may be made.

use std::collections::HashMap;
use std::net::IpAddr;

use sessile_model::api::Verdict;
use sessile_model::network::{HOST_NAME, HostPattern, Network, Target, Unknown};

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

/// A session's rules, and what was answered for good.
///
/// Of the rules that are about a host and port the most specific decides: one host before hosts
/// below a name, a longer name before a shorter one, a port before none. Among equals `deny` wins
/// over `ask`, and `ask` over `allow`.
#[derive(Debug, Default)]
pub struct Policy {
    rules: Network,
    answered: HashMap<(String, u16), Verdict>,
}

/// The order among rules that are about the same connection.
type Weight = (u8, usize, bool, u8);

#[derive(Clone, Copy)]
enum Effect {
    Allow = 0,
    Ask = 1,
    Deny = 2,
}

impl Policy {
    /// These rules.
    pub fn new(rules: Network) -> Self {
        Self { rules, answered: HashMap::new() }
    }

    /// Remembers an answer for the rest of the session.
    pub fn remember(&mut self, host: &str, port: u16, verdict: Verdict) {
        self.answered.insert((host.to_owned(), port), verdict);
    }

    /// What is to become of a connection to a host: a name in lower case, or an address.
    pub fn decide(&self, host: &str, port: u16) -> Decision {
        let address: Option<IpAddr> = host.parse().ok();
        if let Some(verdict) = self.answered.get(&(host.to_owned(), port)) {
            return match verdict {
                Verdict::Allow => Decision::Allow { by: "answered: always".to_owned(), by_name: true },
                Verdict::Deny => Decision::Deny { by: "answered: always".to_owned() },
            };
        }
        let strongest = self.strongest(host, port);
        let is_named = strongest.is_some_and(|(_, target)| target.is_exact());
        let decided = match strongest {
            Some((Effect::Allow, target)) => {
                Decision::Allow { by: format!("allow {target}"), by_name: is_named }
            }
            Some((Effect::Deny, target)) => Decision::Deny { by: format!("deny {target}") },
            Some((Effect::Ask, _)) => Decision::Ask,
            None => match self.rules.unknown {
                Unknown::Ask => Decision::Ask,
                Unknown::Deny => Decision::Deny { by: "no rule allows it".to_owned() },
            },
        };
        match address.map(place) {
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

fn weight(effect: Effect, target: &Target) -> Weight {
    let (kind, length) = match &target.host {
        HostPattern::Any => (0, 0),
        HostPattern::Below(name) => (1, name.len()),
        HostPattern::Exact(_) | HostPattern::Address(_) => (2, 0),
    };
    (kind, length, target.port.is_some(), effect as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allow: &[&str], ask: &[&str], deny: &[&str], unknown: Unknown) -> Policy {
        let targets = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect();
        Policy::new(Network {
            allow: targets(allow),
            ask: targets(ask),
            deny: targets(deny),
            unknown,
            ..Network::default()
        })
    }

    fn said(policy: &Policy, host: &str, port: u16) -> String {
        match policy.decide(host, port) {
            Decision::Allow { by, by_name } => format!("{by} {by_name}"),
            Decision::Deny { by } => by,
            Decision::Ask => "ask".to_owned(),
        }
    }

    #[test]
    fn the_most_specific_rule_decides() {
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
            ("api.bad.example", 443, "allow api.bad.example:443 true"),
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
    fn an_answer_for_good_is_about_one_host_and_port() {
        let mut p = policy(&[], &[], &[], Unknown::Ask);
        p.remember("a.example", 443, Verdict::Allow);
        p.remember("b.example", 443, Verdict::Deny);
        assert_eq!(said(&p, "a.example", 443), "answered: always true");
        assert_eq!(said(&p, "a.example", 80), "ask");
        assert_eq!(said(&p, "b.example", 443), "answered: always");
    }
}
