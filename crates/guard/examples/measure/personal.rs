//! Recall and precision over sentences with personal data.

use sessile_guard::{Category, Inspector, Raw};

use crate::corpus::{percent, read, row};

/// What the corpus calls what we call otherwise.
const KINDS: [(&str, &str); 7] = [
    ("CREDIT_CARD", "card"),
    ("PHONE_NUMBER", "phone"),
    ("US_SSN", "us_ssn"),
    ("EMAIL_ADDRESS", "email"),
    ("IP_ADDRESS", "ip"),
    ("IBAN_CODE", "iban"),
    ("US_DRIVER_LICENSE", "drivers_license"),
];

pub fn rows(inspector: &Inspector, verbose: bool) {
    let Some(text) = read("pii/presidio-generated-small.json") else { return };
    let sentences: Vec<serde_json::Value> = serde_json::from_str(&text).expect("JSON");
    let mut recalled = vec![(0usize, 0usize); KINDS.len()];
    let (mut right, mut told) = (0, 0);
    for sentence in &sentences {
        let text = sentence["full_text"].as_str().unwrap_or_default();
        let inspected = inspector.inspect(Raw::new(text.to_owned()));
        let findings: Vec<_> =
            inspected.findings().iter().filter(|f| f.category == Category::Personal).collect();
        // The corpus counts in characters.
        let byte = |at: u64| text.char_indices().nth(at as usize).map_or(text.len(), |(byte, _)| byte);
        let spans: Vec<(String, usize, usize)> = sentence["spans"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|span| {
                let place = |key: &str| byte(span[key].as_u64().unwrap_or_default());
                (
                    span["entity_type"].as_str().unwrap_or_default().to_owned(),
                    place("start_position"),
                    place("end_position"),
                )
            })
            .collect();
        for (kind, start, end) in &spans {
            let Some(place) = KINDS.iter().position(|(theirs, _)| theirs == kind) else { continue };
            let hit = findings
                .iter()
                .any(|f| f.kind == KINDS[place].1 && f.span.start < *end && f.span.end > *start);
            recalled[place].1 += 1;
            recalled[place].0 += usize::from(hit);
            if verbose && !hit {
                eprintln!("missed {kind} {:?} in {text:?}", &text[*start..*end]);
            }
        }
        for finding in findings {
            told += 1;
            let ours = |kind: &str| {
                KINDS.iter().find(|(theirs, _)| *theirs == kind).map_or("name", |(_, ours)| *ours)
            };
            let hit = spans.iter().any(|(kind, start, end)| {
                ours(kind) == finding.kind && finding.span.start < *end && finding.span.end > *start
            });
            right += usize::from(hit);
            if verbose && !hit {
                eprintln!("alarm {} {:?} in {text:?}", finding.kind, &text[finding.span.clone()]);
            }
        }
    }
    for ((_, kind), (hit, all)) in KINDS.iter().zip(&recalled).filter(|(_, (_, all))| *all > 0) {
        let target = match *kind {
            "card" => ">= 99 %",
            "phone" => ">= 80 %",
            _ => "",
        };
        row(&format!("personal: {kind} recall"), &percent(*hit, *all), target, *all);
    }
    row("personal: precision", &percent(right, told), ">= 95 %", told);
}
