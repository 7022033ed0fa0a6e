//! What policies say of a connection or a request.

use core::net::IpAddr;
use std::collections::HashSet;

use cedar_policy::{
    Authorizer, Context, Decision, Effect, Entities, Entity, EntityId, EntityUid, PolicyId, PolicySet,
    ResourceConstraint, Response, RestrictedExpression,
};

use crate::load::Policies;
use crate::path;

/// What policies say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opinion {
    /// None of them is about it.
    Silent,
    /// It may be.
    Allow {
        /// The policy that says so.
        by: String,
        /// Whether that policy names the host: `resource == Host::"…"`.
        by_name: bool,
    },
    /// Somebody is to be asked.
    Ask {
        /// The policy that says so.
        by: String,
        /// As for [`Opinion::Allow`].
        by_name: bool,
    },
    /// It may not be.
    Deny {
        /// The policy that says so, or could not be evaluated.
        by: String,
    },
}

/// A request of HTTP, as it leaves.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method as it was sent.
    pub method: &'a str,
    /// The target's path, with or without its query.
    pub target: &'a str,
    /// Whether it leaves over TLS.
    pub tls: bool,
}

/// Which action, as the schema names it.
#[derive(Clone, Copy)]
enum Action {
    Connect,
    Request,
}

impl Action {
    const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Request => "request",
        }
    }
}

impl Policies {
    /// What they say of a connection of an app to a host: a name in lower case, or an address.
    pub fn connection(&self, app: &str, host: &str, port: u16) -> Opinion {
        self.ask(&self.all, Action::Connect, (app, host), context(port, None))
    }

    /// What they say of a request over a connection that may be made: [`Opinion::Deny`] or
    /// [`Opinion::Silent`].
    pub fn request(&self, app: &str, host: &str, port: u16, request: Request<'_>) -> Opinion {
        self.forbidden(&self.all, (app, host), context(port, Some(request)))
    }

    /// What they say of requests that cannot be seen, over a connection that may be made: denied
    /// where a policy would have to look at one.
    pub fn unseen(&self, app: &str, host: &str, port: u16, tls: bool) -> Opinion {
        let request = Request { method: "", target: "", tls };
        self.forbidden(&self.hidden, (app, host), context(port, Some(request)))
    }

    fn forbidden(&self, set: &PolicySet, who: (&str, &str), context: Option<Context>) -> Opinion {
        match self.ask(set, Action::Request, who, context) {
            denied @ Opinion::Deny { .. } => denied,
            Opinion::Silent | Opinion::Allow { .. } | Opinion::Ask { .. } => Opinion::Silent,
        }
    }

    fn ask(
        &self,
        set: &PolicySet,
        action: Action,
        (app, host): (&str, &str),
        context: Option<Context>,
    ) -> Opinion {
        if set.is_empty() {
            return Opinion::Silent;
        }
        match authorize(set, action, (app, host), context) {
            Some(response) => self.opinion(&response),
            None => Opinion::Deny { by: "the policies could not be asked".to_owned() },
        }
    }

    fn opinion(&self, response: &Response) -> Opinion {
        // A policy that fails is left out by Cedar, also one that would forbid.
        if let Some(error) = response.diagnostics().errors().next() {
            return Opinion::Deny { by: format!("a policy failed: {error}") };
        }
        let reasons: Vec<&PolicyId> = response.diagnostics().reason().collect();
        let Some(first) = reasons.iter().min() else { return Opinion::Silent };
        if response.decision() == Decision::Deny {
            return Opinion::Deny { by: format!("policy {first}") };
        }
        let policies = || reasons.iter().filter_map(|id| self.all.policy(id));
        let by_name = policies().any(|p| {
            p.effect() == Effect::Permit && matches!(p.resource_constraint(), ResourceConstraint::Eq(_))
        });
        match policies().filter(|p| p.annotation("decision") == Some("ask")).map(|p| p.id()).min() {
            Some(id) => Opinion::Ask { by: format!("policy {id}"), by_name },
            None => Opinion::Allow { by: format!("policy {first}"), by_name },
        }
    }
}

fn authorize(
    set: &PolicySet,
    action: Action,
    (app, host): (&str, &str),
    context: Option<Context>,
) -> Option<Response> {
    let app = uid("App", app)?;
    let (resource, entities) = host_entities(host)?;
    let action = uid("Action", action.name())?;
    let request = cedar_policy::Request::new(app, action, resource, context?, None).ok()?;
    Some(Authorizer::new().is_authorized(&request, set, &entities))
}

fn uid(kind: &str, id: &str) -> Option<EntityUid> {
    Some(EntityUid::from_type_name_and_id(kind.parse().ok()?, EntityId::new(id)))
}

/// A host and the names above it.
fn host_entities(host: &str) -> Option<(EntityUid, Entities)> {
    let resource = uid("Host", host)?;
    let (mut attributes, mut parents) = (Vec::new(), HashSet::new());
    match host.parse::<IpAddr>() {
        Ok(address) => {
            attributes.push(("address".to_owned(), RestrictedExpression::new_ip(address.to_string())));
        }
        Err(_) => {
            let mut rest = host;
            while let Some((_, above)) = rest.split_once('.') {
                parents.insert(uid("Host", above)?);
                rest = above;
            }
        }
    }
    let entity = Entity::new(resource.clone(), attributes.into_iter().collect(), parents).ok()?;
    Some((resource, Entities::from_entities([entity], None).ok()?))
}

fn context(port: u16, request: Option<Request<'_>>) -> Option<Context> {
    let mut pairs = vec![("port".to_owned(), RestrictedExpression::new_long(i64::from(port)))];
    if let Some(Request { method, target, tls }) = request {
        pairs.push(("method".to_owned(), RestrictedExpression::new_string(method.to_ascii_uppercase())));
        pairs.push(("path".to_owned(), RestrictedExpression::new_string(path::plain(target))));
        pairs.push(("tls".to_owned(), RestrictedExpression::new_bool(tls)));
    }
    Context::from_pairs(pairs).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sessile_model::network::PolicyText;

    const WORK: &str = r#"
        @id("api") permit (principal == App::"main", action, resource == Host::"api.example.org")
        when { context.port == 443 };
        @id("org") permit (principal, action == Action::"connect", resource in Host::"example.org");
        @id("new") @decision("ask") permit (principal, action, resource in Host::"new.example.org");
        @id("bad") forbid (principal, action, resource in Host::"bad.example.org");
        @id("lan") permit (principal, action, resource)
        when { resource has address && resource.address.isInRange(ip("192.0.2.0/24")) };
        @id("reads") forbid (principal, action == Action::"request", resource in Host::"example.org")
        when { context.port == 443 }
        unless { context.method == "GET" && context.path like "/v1/*" };
        @id("plain") forbid (principal, action == Action::"request", resource == Host::"plain.example")
        unless { context.tls };
        @id("writes") forbid (principal, action == Action::"request", resource == Host::"writes.example")
        when { context.method == "POST" };
    "#;

    fn policies() -> Policies {
        let texts = [PolicyText { name: "work.cedar".to_owned(), text: WORK.to_owned() }];
        crate::load(&texts).unwrap().0
    }

    fn said(opinion: &Opinion) -> String {
        match opinion {
            Opinion::Silent => "silent".to_owned(),
            Opinion::Allow { by, by_name } => format!("allow {by} {by_name}"),
            Opinion::Ask { by, by_name } => format!("ask {by} {by_name}"),
            Opinion::Deny { by } => format!("deny {by}"),
        }
    }

    #[test]
    fn connections() {
        let policies = policies();
        for (app, host, port, expected) in [
            ("main", "api.example.org", 443, "allow policy api true"),
            ("other", "api.example.org", 443, "allow policy org false"),
            ("main", "example.org", 80, "allow policy org false"),
            ("main", "xexample.org", 80, "silent"),
            ("main", "a.new.example.org", 80, "ask policy new false"),
            ("main", "a.bad.example.org", 80, "deny policy bad"),
            ("main", "192.0.2.7", 80, "allow policy lan false"),
            ("main", "192.0.3.7", 80, "silent"),
            ("main", "2001:db8::1", 80, "silent"),
        ] {
            assert_eq!(said(&policies.connection(app, host, port)), expected, "{app} {host} {port}");
        }
        assert_eq!(Policies::default().connection("main", "a.example", 1), Opinion::Silent);
    }

    #[test]
    fn requests() {
        let policies = policies();
        for (host, port, method, target, tls, expected) in [
            ("api.example.org", 443, "GET", "/v1/models?limit=3", true, "silent"),
            ("api.example.org", 443, "POST", "/v1/models", true, "deny policy reads"),
            ("api.example.org", 443, "GET", "/v1/../admin", true, "deny policy reads"),
            ("api.example.org", 443, "GET", "/%76%31/x", true, "silent"),
            ("api.example.org", 80, "POST", "/", false, "silent"),
            ("plain.example", 80, "GET", "/", false, "deny policy plain"),
            ("plain.example", 443, "GET", "/", true, "silent"),
            ("elsewhere.example", 443, "POST", "/", true, "silent"),
            // Some servers take a method in any case.
            ("writes.example", 80, "POST", "/", false, "deny policy writes"),
            ("writes.example", 80, "pOsT", "/", false, "deny policy writes"),
        ] {
            let opinion = policies.request("main", host, port, Request { method, target, tls });
            assert_eq!(said(&opinion), expected, "{host} {port} {method} {target}");
        }
    }

    #[test]
    fn what_cannot_be_seen_is_denied_where_a_policy_would_have_to_look() {
        let policies = policies();
        for (host, port, tls, expected) in [
            ("api.example.org", 443, true, "deny policy reads"),
            ("api.example.org", 80, false, "silent"),
            ("plain.example", 443, true, "silent"),
            ("plain.example", 80, false, "deny policy plain"),
            ("elsewhere.example", 443, true, "silent"),
        ] {
            assert_eq!(said(&policies.unseen("main", host, port, tls)), expected, "{host} {port}");
        }
    }

    #[test]
    fn a_policy_that_fails_denies() {
        let text = r#"forbid (principal, action == Action::"connect", resource)
            when { context.port * 9223372036854775807 > 1 };
            permit (principal, action, resource);"#;
        let texts = [PolicyText { name: "w".to_owned(), text: text.to_owned() }];
        let policies = crate::load(&texts).unwrap().0;
        assert!(said(&policies.connection("main", "a.example", 443)).starts_with("deny a policy failed"));
    }
}
