//! Recall and false alarms over examples of secrets.

use std::collections::BTreeSet;

use sessile_guard::{Category, Inspector, Raw};

use crate::corpus::{lines, percent, row};

pub fn rows(inspector: &Inspector, verbose: bool) {
    let Some(examples) = lines("secrets/noseyparker-half.jsonl") else { return };
    let text = |example: &serde_json::Value| example["text"].as_str().unwrap_or_default().to_owned();
    let positives: BTreeSet<String> = examples.iter().filter(|e| e["secret"] == true).map(text).collect();
    let mut counts = [[0usize; 2]; 2];
    let mut truly = [0usize; 2];
    for example in &examples {
        let secret = example["secret"] == true;
        let text = text(example);
        let inspected = inspector.inspect(Raw::new(text.clone()));
        let hits: Vec<_> = inspected.findings().iter().filter(|f| f.category == Category::Secret).collect();
        let counted = !hits.is_empty();
        counts[usize::from(secret)][usize::from(counted)] += 1;
        if !secret && !positives.contains(&text) {
            truly[usize::from(counted)] += 1;
        }
        if verbose && counted != secret {
            let kinds: Vec<_> = hits.iter().map(|f| (f.kind, &text[f.span.clone()])).collect();
            eprintln!("{} {} {text:?} {kinds:?}", if secret { "missed" } else { "alarm" }, example["rule"]);
        }
    }
    let [[quiet, alarms], [missed, caught]] = counts;
    row("secrets: recall", &percent(caught, caught + missed), ">= 90 %", caught + missed);
    row("secrets: false alarms", &percent(alarms, alarms + quiet), "<= 5 %", alarms + quiet);
    prose(inspector, verbose);
    row(
        "secrets: false alarms, without texts that are another rule's secret",
        &percent(truly[1], truly[0] + truly[1]),
        "<= 5 %",
        truly[0] + truly[1],
    );
}

/// Texts of people, in which no secret stands.
fn prose(inspector: &Inspector, verbose: bool) {
    let Some(texts) = lines("injection/dev.jsonl") else { return };
    let benign: Vec<&str> = texts
        .iter()
        .filter(|text| text["attack"] == false)
        .filter_map(|text| text["text"].as_str())
        .collect();
    let alarms = benign.iter().filter(|text| {
        let inspected = inspector.inspect(Raw::new((**text).to_owned()));
        let alarm = inspected.findings().iter().find(|finding| finding.category == Category::Secret);
        if let (true, Some(alarm)) = (verbose, alarm) {
            eprintln!("alarm in prose {:?} {}", &text[alarm.span.clone()], alarm.kind);
        }
        alarm.is_some()
    });
    row("secrets: alarms in prose and mail", &percent(alarms.count(), benign.len()), "", benign.len());
}
