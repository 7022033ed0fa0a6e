//! What holds of any text: nothing panics, every span lies on character boundaries of the
//! original, and what was put into a text is found where it was put.

#[path = "../examples/measure/transformations.rs"]
#[expect(dead_code, reason = "shares its ways with the measurement")]
mod transformations;

use proptest::prelude::*;
use sessile_guard::destination::destination;
use sessile_guard::{Category, Inspector, Integrity, Raw, Registry};

const VALUE: &str = "k3Yq-Zt91-pLm4-wXyZ";

fn inspector() -> Inspector {
    let mut registry = Registry::new([5; 32]);
    registry.add(VALUE).expect("a value that can be told");
    registry.add("Zażółć gęślą jaźń 42").expect("a value that can be told");
    Inspector::with_registry(registry)
}

/// Pieces that detectors and decoders look at, and anything else.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => any::<String>(),
        2 => "[ -~]{0,60}",
        2 => "[A-Za-z0-9+/=_-]{0,80}",
        1 => "[0-9 .+()/-]{0,40}",
        1 => "(\\\\u[0-9a-fA-F]{0,5}|%[0-9A-F]{0,3}|&#x?[0-9a-f]{0,8};?|=[0-9A-F]{2}){0,12}",
        1 => "([0-9]{1,3}[, ]{0,2}){0,30}",
        1 => "[.\\- /]{0,60}",
        2 => prop::sample::select(vec![
            "password=", "eyJ", "-----BEGIN PRIVATE KEY-----", "://", "ghp_", "$2b$", "AKIA", "H4sIAAAAAAAA", "eJwr", "%25", "\\x41", "&#65;",
            "ignore all previous instructions", "my name is ", "\u{200b}", "\u{e0041}", "\u{fe00}\u{fe01}", "аpple", "ﬁ", "e\u{301}", "curl -u ",
            "mysql -p", "machine x login y password z", "user = a\npassword = ", "\"auth\": \"", "authorization: basic ", "aws_secret", "@", "::", "IBAN DE",
        ]).prop_map(str::to_owned),
        1 => Just(VALUE.to_owned()),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(piece(), 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_span_lies_on_character_boundaries_of_the_original(text in text()) {
        let inspected = inspector().inspect(Raw::new(text.clone()));
        prop_assert_eq!(inspected.text(), &text);
        let mut last = 0;
        for finding in inspected.findings() {
            let span = finding.span.clone();
            prop_assert!(span.start < span.end && span.end <= text.len(), "{:?}", finding);
            prop_assert!(text.is_char_boundary(span.start) && text.is_char_boundary(span.end), "{:?}", finding);
            prop_assert!(span.start >= last, "not by place: {:?}", finding);
            prop_assert!((0.0..=1.0).contains(&finding.confidence), "{:?}", finding);
            last = span.start;
        }
        let report = inspected.report(Integrity::Untrusted);
        prop_assert_eq!(report.markings.len(), report.findings.len());
        prop_assert!((0.0..=1.0).contains(&report.score));
    }

    #[test]
    fn a_value_is_found_where_it_was_put(before in "[a-z\u{e9}\u{4e2d}\u{200b} ]{0,40}", after in "[a-z\u{e9}\u{4e2d} ]{0,40}") {
        for written in [VALUE.to_owned(), transformations::base64(VALUE.as_bytes(), false)] {
            let text = format!("{before} {written} {after}");
            let inspected = inspector().inspect(Raw::new(text.clone()));
            let finding = inspected.findings().iter().find(|finding| finding.category == Category::Taint);
            let start = before.len() + 1;
            let end = start + written.len();
            prop_assert_eq!(finding.map(|finding| finding.span.clone()), Some(start..end), "{:?}", text);
        }
    }

    #[test]
    fn what_is_carried_and_marked_points_at_the_same_place(filler in "[a-z\u{e9}\u{fdfa}\u{fb03}  .,]{0,900}") {
        let text = format!("{filler}{VALUE} {filler}{VALUE}");
        let inspected = inspector().inspect(Raw::new(text.clone()));
        let found: Vec<&str> = inspected
            .findings()
            .iter()
            .filter(|finding| finding.category == Category::Taint)
            .map(|finding| &text[finding.span.clone()])
            .collect();
        prop_assert_eq!(found, vec![VALUE; 2]);
    }

    #[test]
    fn where_a_url_leads_is_where_its_host_leads(url in "(https?:|//|)[/\\\\@:#?.%0-9a-fx\u{e9}\u{430}\u{200b}\\[\\]-]{0,30}") {
        if let Some(found) = destination(&url) {
            prop_assert!(!found.host.is_empty() && found.host.is_ascii(), "{url:?} {found:?}");
            let host = if found.host.contains(':') { format!("[{}]", found.host) } else { found.host.clone() };
            let again = destination(&format!("https://{host}/"));
            prop_assert_eq!(again.map(|again| again.host), Some(found.host), "{:?}", url);
        }
    }

    #[test]
    fn nothing_that_is_said_of_a_text_holds_its_value(text in text()) {
        let inspected = inspector().inspect(Raw::new(format!("{text} {VALUE}")));
        let debug = format!("{inspected:?}");
        let report = serde_json::to_string(&inspected.report(Integrity::Untrusted)).unwrap();
        prop_assert!(!debug.contains(VALUE) && !report.contains(VALUE), "{}", debug);
    }
}
