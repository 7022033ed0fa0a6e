//! What policies say of requests that leave.

use cedar_policy::RestrictedExpression;

use super::{Payload, Policies, Ruling, carried};

/// A part of a request that the gateway sees, as [`SCHEMA`](super::SCHEMA) describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing<'a> {
    /// The app that sends it.
    pub app: &'a str,
    /// The host that it goes to: a name in lower case, or an address.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
    /// Its method.
    pub method: &'a str,
    /// `head` or `body`.
    pub place: &'a str,
    /// Whether all of it could be looked at.
    pub is_seen: bool,
    /// From 0 to 100.
    pub suspicion: u8,
    /// What it carries.
    pub payload: Payload,
}

impl Policies {
    /// What they say of a part of a request.
    pub fn outgoing(&self, part: &Outgoing<'_>) -> Ruling {
        let pairs = [
            ("port", RestrictedExpression::new_long(i64::from(part.port))),
            ("method", RestrictedExpression::new_string(part.method.to_owned())),
            ("place", RestrictedExpression::new_string(part.place.to_owned())),
            ("seen", RestrictedExpression::new_bool(part.is_seen)),
            ("suspicion", RestrictedExpression::new_long(i64::from(part.suspicion))),
        ];
        let pairs = pairs.into_iter().chain(carried(&part.payload));
        let by = self.otherwise.as_deref().unwrap_or(self);
        let words = (&by.words.sender, part.app, &by.words.destination, part.host);
        by.ruling(&by.sends, words, &by.words.send, pairs, part.payload.tee)
    }
}

#[cfg(test)]
mod tests {
    use sessile_model::network::PolicyText;

    use super::super::{Effect, load, shipped};
    use super::*;

    fn part() -> Outgoing<'static> {
        Outgoing {
            app: "main",
            host: "a.example",
            port: 80,
            method: "POST",
            place: "body",
            is_seen: true,
            suspicion: 0,
            payload: Payload { confidentiality: 1, within_readers: true, ..Payload::default() },
        }
    }

    fn unread(confidentiality: u8) -> Outgoing<'static> {
        Outgoing { payload: Payload { confidentiality, ..Payload::default() }, ..part() }
    }

    fn read(text: &str) -> Policies {
        load(&[PolicyText { name: "work.cedar".to_owned(), text: text.to_owned() }]).unwrap().0
    }

    #[test]
    fn the_shipped_policy_about_requests() {
        let policies = shipped().unwrap();
        let said = |part: &Outgoing<'_>| {
            let ruling = policies.outgoing(part);
            format!("{} {}", ruling.effect, ruling.policies.join(","))
        };
        assert_eq!(said(&part()), "ProcessLocal requests");
        assert_eq!(said(&unread(2)), "ProcessLocal requests");
        assert_eq!(said(&unread(3)), "Reject values-stay");
        assert_eq!(said(&unread(4)), "Reject values-stay");
        assert_eq!(said(&Outgoing { is_seen: false, ..part() }), "Reject unseen-bodies");
    }

    #[test]
    fn policies_that_say_nothing_of_requests_leave_them_to_the_shipped_ones() {
        let messages = r#"@id("all") permit (principal, action == Action::"message", resource);"#;
        let policies = read(messages);
        assert_eq!(policies.outgoing(&part()).effect, Effect::ProcessLocal);
        assert_eq!(policies.outgoing(&unread(4)).policies, ["values-stay"]);
        // A name of theirs that is also a shipped one's is theirs.
        let same = r#"@id("values-stay") permit (principal, action == Action::"message", resource);"#;
        assert_eq!(read(same).outgoing(&unread(4)).effect, Effect::Reject);
        // Those that say something stand in their place.
        let asks = r#"@id("ask") @effect("RequireConfirmation") permit (principal == Sender::"main",
            action == Action::"send", resource == Destination::"a.example")
            when { context.place == "body" && context.port == 80 && context.method == "POST" && context.seen };"#;
        assert_eq!(read(asks).outgoing(&unread(4)).effect, Effect::RequireConfirmation);
        assert_eq!(read(asks).outgoing(&Outgoing { port: 81, ..part() }).effect, Effect::Reject);
    }
}
