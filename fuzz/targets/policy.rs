//! Policy files, and the paths of requests that they judge.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sessile_model::network::PolicyText;
use sessile_policy::path::plain;
use sessile_policy::{Opinion, Request, load};

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let path = plain(&text);
    assert!(path.starts_with('/') && !path.contains("//"), "{path:?}");
    assert!(path.split('/').all(|segment| segment != "." && segment != ".."), "{path:?}");

    let texts = [PolicyText { name: "fuzz".to_owned(), text: text.into_owned() }];
    let Ok((policies, _)) = load(&texts) else { return };
    let _ = policies.connection("main", "a.example.org", 443);
    let request = Request { method: "GET", target: "/v1/models", tls: true };
    // What is forbidden although it can be seen is forbidden where it cannot.
    if let Opinion::Deny { .. } = policies.request("main", "a.example.org", 443, request) {
        let unseen = policies.unseen("main", "a.example.org", 443, true);
        assert!(matches!(unseen, Opinion::Deny { .. }), "{unseen:?}");
    }
});
