//! Attacks and benign texts at the shipped threshold.

use sessile_guard::{Category, Inspector, Raw};

use crate::corpus::{lines, percent, row};
use crate::ordinary;

pub fn rows(inspector: &Inspector, verbose: bool) {
    ordinary_rows(inspector, verbose);
    let Some(texts) = lines("injection/dev.jsonl") else { return };
    let mut sources: Vec<(String, bool, usize, usize)> = Vec::new();
    for text in &texts {
        let (words, source, attack) =
            (&text["text"], text["source"].as_str().unwrap_or_default(), text["attack"] == true);
        let words = words.as_str().unwrap_or_default();
        let inspected = inspector.inspect(Raw::new(words.to_owned()));
        let hit = inspected.findings().iter().any(|finding| finding.category == Category::Injection);
        if verbose && hit != attack {
            let whys: Vec<_> = inspected
                .findings()
                .iter()
                .filter(|f| f.category == Category::Injection)
                .map(|f| (&f.why, &words[f.span.clone()]))
                .collect();
            eprintln!("{} {source} {:?} {whys:?}", if attack { "missed" } else { "alarm" }, words);
        }
        let place = sources.iter().position(|(other, ..)| other == source).unwrap_or_else(|| {
            sources.push((source.to_owned(), attack, 0, 0));
            sources.len() - 1
        });
        sources[place].2 += usize::from(hit);
        sources[place].3 += 1;
    }
    for (attack, name, target) in [(true, "attacks found", ""), (false, "benign alarms", "<= 1 %")] {
        for (source, _, hits, all) in sources.iter().filter(|(_, of, ..)| *of == attack) {
            let target = if source.starts_with("NotInject") { "<= 3 %" } else { "" };
            row(&format!("injection: {name}, {source}"), &percent(*hits, *all), target, *all);
        }
        let (hits, all) = sources
            .iter()
            .filter(|(_, of, ..)| *of == attack)
            .fold((0, 0), |sum, (_, _, hits, all)| (sum.0 + hits, sum.1 + all));
        row(&format!("injection: {name}"), &percent(hits, all), target, all);
    }
}

/// Files for development that the model was not trained on.
fn ordinary_rows(inspector: &Inspector, verbose: bool) {
    let texts: Vec<_> = ordinary::texts().into_iter().filter(|text| text.held_out).collect();
    if texts.is_empty() {
        return;
    }
    let mut hits = 0;
    for ordinary in &texts {
        let inspected = inspector.inspect(Raw::new(ordinary.text.clone()));
        let mut injected =
            inspected.findings().iter().filter(|f| f.category == Category::Injection).peekable();
        hits += usize::from(injected.peek().is_some());
        if verbose {
            injected.for_each(|f| {
                eprintln!("alarm {} {} {:?}", ordinary.path.display(), f.why, &ordinary.text[f.span.clone()])
            });
        }
    }
    row("injection: benign alarms, documentation and programs", &percent(hits, texts.len()), "", texts.len());
}
