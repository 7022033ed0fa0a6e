//! What is found in texts that others wrote, which lie beside the repository in `shared/corpora`
//! or where `SESSILE_CORPORA` says. The floors are a little below what `cargo xtask bench guard`
//! measures.

#[path = "../examples/measure/corpus.rs"]
mod corpus;

use sessile_guard::{Category, Inspected, Inspector, Raw};

fn inspect(text: &serde_json::Value) -> Inspected {
    Inspector::default().inspect(Raw::new(text.as_str().unwrap_or_default().to_owned()))
}

fn has(inspected: &Inspected, category: Category) -> bool {
    inspected.findings().iter().any(|finding| finding.category == category)
}

/// How many of those chosen have a finding of the category, and how many are chosen.
fn count(
    lines: &[serde_json::Value],
    category: Category,
    chosen: impl Fn(&serde_json::Value) -> bool,
) -> (usize, usize) {
    let chosen: Vec<_> = lines.iter().filter(|line| chosen(line)).collect();
    let hits = chosen.iter().filter(|line| has(&inspect(&line["text"]), category)).count();
    (hits, chosen.len())
}

#[test]
fn secrets_are_found() {
    let Some(lines) = corpus::lines("secrets/noseyparker-half.jsonl") else { return };
    let (found, all) = count(&lines, Category::Secret, |line| line["secret"] == true);
    assert!(found * 100 >= all * 95, "{found} of {all}");
}

#[test]
fn what_is_no_secret_by_any_rule_is_seldom_taken_for_one() {
    let Some(lines) = corpus::lines("secrets/noseyparker-half.jsonl") else { return };
    let secrets: Vec<_> =
        lines.iter().filter(|line| line["secret"] == true).map(|line| &line["text"]).collect();
    let (alarms, all) =
        count(&lines, Category::Secret, |line| line["secret"] == false && !secrets.contains(&&line["text"]));
    assert!(alarms * 100 <= all * 8, "{alarms} of {all}");
}

#[test]
fn attacks_are_found_and_benign_texts_left_alone() {
    let Some(lines) = corpus::lines("injection/dev.jsonl") else { return };
    let (found, all) = count(&lines, Category::Injection, |line| line["attack"] == true);
    assert!(found * 100 >= all * 90, "{found} of {all}");
    let (alarms, all) = count(&lines, Category::Injection, |line| line["attack"] == false);
    assert!(alarms * 100 <= all, "{alarms} of {all}");
}

#[test]
fn personal_data_is_found_where_it_stands() {
    let Some(text) = corpus::read("pii/presidio-generated-small.json") else { return };
    let sentences: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    for (theirs, ours) in [("CREDIT_CARD", "card"), ("PHONE_NUMBER", "phone"), ("EMAIL_ADDRESS", "email")] {
        for sentence in &sentences {
            let inspected = inspect(&sentence["full_text"]);
            for span in
                sentence["spans"].as_array().unwrap().iter().filter(|span| span["entity_type"] == theirs)
            {
                let value = span["entity_value"].as_str().unwrap();
                let found = inspected.findings().iter().any(|finding| {
                    finding.kind == ours && inspected.text()[finding.span.clone()].contains(value)
                });
                assert!(found, "{theirs} {value:?} in {:?}", inspected.text());
            }
        }
    }
}
