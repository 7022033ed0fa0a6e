//! Values that leave in disguise: how many are caught, and what benign text is taken for one.

use sessile_guard::{Category, Inspector, Raw, Registry, Trail};

use crate::corpus::{lines, percent, row};
use crate::transformations::{WAYS, values};

/// How many values of each kind.
const VALUES: u64 = 8;

pub fn rows(verbose: bool) {
    let mut sums = [[0usize; 2]; 2];
    for (name, held_out, way) in WAYS {
        let (mut caught, mut all) = (0, 0);
        for number in 0..VALUES {
            for (kind, value) in values(number) {
                all += 1;
                let hit = caught_in(&value, &way(&value));
                caught += usize::from(hit);
                if verbose && !hit {
                    eprintln!("missed {name}, {kind}: {value:?} {:?}", way(&value));
                }
            }
        }
        sums[usize::from(*held_out)][0] += caught;
        sums[usize::from(*held_out)][1] += all;
        let mark = if *held_out { " (held out)" } else { "" };
        row(&format!("leaks: {name}{mark}"), &percent(caught, all), "", all);
    }
    let [[built_caught, built], [held_caught, held]] = sums;
    row("leaks: ways held out", &percent(held_caught, held), "", held);
    row("leaks: all ways", &percent(built_caught + held_caught, built + held), ">= 95 %", built + held);
    benign();
}

fn registry(value: &str) -> Registry {
    let mut registry = Registry::new([3; 32]);
    registry.add(value).expect("a value that can be told");
    registry
}

/// Whether any of these messages, in order, is found to hold the value.
pub fn caught_in(value: &str, messages: &[String]) -> bool {
    let inspector = Inspector::with_registry(registry(value));
    let mut trail = Trail::default();
    messages.iter().any(|message| {
        let inspected = inspector.inspect_next(Raw::new(message.clone()), &mut trail);
        inspected.findings().iter().any(|finding| finding.category == Category::Taint)
    })
}

/// Benign texts against two thousand values.
fn benign() {
    let mut registry = Registry::new([3; 32]);
    for (_, value) in (0..334).flat_map(values) {
        registry.add(&value).expect("a value that can be told");
    }
    let inspector = Inspector::with_registry(registry);
    let Some(texts) = lines("injection/dev.jsonl") else { return };
    let alarms = texts.iter().filter(|text| {
        let text = text["text"].as_str().unwrap_or_default().to_owned();
        inspector.inspect(Raw::new(text)).findings().iter().any(|finding| finding.category == Category::Taint)
    });
    row(
        "leaks: texts without any taken for one",
        &percent(alarms.count(), texts.len()),
        "< 0.1 %",
        texts.len(),
    );
}
