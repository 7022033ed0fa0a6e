//! Policy files, and the paths of requests that they judge.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sessile_model::network::PolicyText;
use sessile_policy::guard::{self, Call, Effect, Payload};
use sessile_policy::path::plain;
use sessile_policy::{Opinion, Request, load};

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let path = plain(&text);
    assert!(path.starts_with('/') && !path.contains("//"), "{path:?}");
    assert!(path.split('/').all(|segment| segment != "." && segment != ".."), "{path:?}");

    let texts = [PolicyText { name: "fuzz".to_owned(), text: text.into_owned() }];
    judged(&texts);
    let Ok((policies, _)) = load(&texts) else { return };
    let _ = policies.connection("main", "a.example.org", 443);
    let request = Request { method: "GET", target: "/v1/models", tls: true };
    // What is forbidden although it can be seen is forbidden where it cannot.
    if let Opinion::Deny { .. } = policies.request("main", "a.example.org", 443, request) {
        let unseen = policies.unseen("main", "a.example.org", 443, true);
        assert!(matches!(unseen, Opinion::Deny { .. }), "{unseen:?}");
    }
});

/// Policies about calls: without a verified environment nothing is processed in one.
fn judged(texts: &[PolicyText]) {
    let Ok((policies, _)) = guard::load(texts) else { return };
    let call = Call {
        speaker: "agent",
        tool: "send_money",
        is_known: true,
        is_read_only: false,
        is_destructive: true,
        is_idempotent: false,
        is_open_world: true,
        after_untrusted_read: true,
        control: 0,
        is_anchored: false,
        payload: Payload::default(),
    };
    let ruling = policies.call(&call);
    assert_ne!(ruling.effect, Effect::ProcessInTee);
    assert!(!ruling.policies.is_empty() || ruling.effect == Effect::Reject);
}
