//! Trains the model of injected instructions and writes its weights: `cargo xtask train`.
//!
//! Logistic regression over words and pairs of words that stand in several texts, with stochastic
//! gradients. Texts of an attack say where in them it stands no more than that it is somewhere, so
//! that after a first round over whole texts their highest windows count instead; of benign texts
//! every window counts; of what lies on a machine for development (`ordinary`) those that look most like an attack, for
//! there are too many of the others. Cross-validation over five parts says what to expect of other texts.

#[path = "../measure/corpus.rs"]
mod corpus;
#[path = "../measure/ordinary.rs"]
mod ordinary;

use std::collections::{HashMap, HashSet};

use sessile_guard::training::{Model, Term, read, spelled, windows};

/// Texts that a term stands in at least, so that no text can be read out of the weights.
const LEAST_TEXTS: usize = 4;
/// Most terms kept: those with the largest weights.
const MOST_TERMS: usize = 6000;
const PARTS: usize = 5;
const PASSES: usize = 20;
/// Rounds, each with the windows that the one before misjudges most.
const ROUNDS: usize = 3;
/// Windows of an ordinary text that count in a round.
const MOST_WINDOWS: usize = 12;
/// What an ordinary text is called where a source is.
const ORDINARY: &str = "ordinary";
/// Short texts of one line each whose words attacks use as well.
const PLAIN: &str = "plain";
const PLAIN_TEXTS: &str = include_str!("plain.txt");

/// Features, the label, and how much it counts.
type Example = (Vec<(usize, f32)>, f32, f32);

struct Text {
    attack: bool,
    source: String,
    text: String,
    terms: Vec<Term>,
    windows: Vec<(usize, usize)>,
}

fn main() {
    let Some(lines) = corpus::lines("injection/dev.jsonl") else { return };
    let (held_out, known): (Vec<_>, Vec<_>) = ordinary::texts().into_iter().partition(|text| text.held_out);
    let known = known.into_iter().map(|ordinary| prepare(ordinary.text, ORDINARY, false));
    let given = lines.iter().map(|line| {
        let word = |name: &str| line[name].as_str().unwrap_or_default();
        prepare(word("text").to_owned(), word("source"), line["attack"] == true)
    });
    let plain = PLAIN_TEXTS.lines().map(|line| prepare(line.to_owned(), PLAIN, false));
    let texts: Vec<Text> = given.chain(known).chain(plain).collect();
    let all: Vec<usize> = (0..texts.len()).collect();
    let mut held: Vec<(usize, f32)> = Vec::new();
    for part in 0..PARTS {
        let (test, train): (Vec<usize>, Vec<usize>) =
            all.iter().partition(|at| hash(&texts[**at].text) % PARTS as u64 == part as u64);
        let model = train_on(&texts, &train).0;
        held.extend(test.into_iter().map(|at| (at, model.score(&texts[at].text))));
    }
    let threshold = threshold(&texts, &held);
    report("cross-validated", &texts, &held, threshold);
    let (model, weights, bias) = train_on(&texts, &all);
    let alarms = held_out.iter().filter(|ordinary| model.score(&ordinary.text) >= threshold).count();
    eprintln!(
        "ordinary texts held out: {alarms} of {} ({})",
        held_out.len(),
        corpus::percent(alarms, held_out.len())
    );
    let names: HashMap<Term, String> = texts.iter().flat_map(names).collect();
    write(&weights, bias, threshold, &names);
}

fn prepare(text: String, source: &str, attack: bool) -> Text {
    let mut terms = Vec::new();
    let sentences = read(&text, &mut terms);
    let windows = windows(&sentences)
        .map(|(from, to)| (sentences[from].terms.start, sentences[to - 1].terms.end))
        .collect();
    Text { attack, source: source.to_owned(), text, terms, windows }
}

fn names(text: &Text) -> Vec<(Term, String)> {
    text.terms.iter().copied().zip(spelled(&text.text)).collect()
}

/// FNV-1a: the same parts in every run.
fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
        >> 7
}

/// How much a text counts: attacks in few words are rare here and not elsewhere.
fn importance(text: &Text) -> f32 {
    match text.source.as_str() {
        "CyberSecEval-prompt-injection" | "BIPIA-text" => 2.0,
        "NotInject_one" | "BIPIA-email-benign" => 2.0,
        // Easily told apart, and many.
        ORDINARY => 0.05,
        _ => 1.0,
    }
}

fn train_on(texts: &[Text], chosen: &[usize]) -> (Model, HashMap<Term, f32>, f32) {
    let mut spread: HashMap<Term, usize> = HashMap::new();
    for at in chosen {
        let unique: HashSet<Term> = texts[*at].terms.iter().copied().collect();
        unique.into_iter().for_each(|term| *spread.entry(term).or_default() += 1);
    }
    let known: HashMap<Term, usize> = spread
        .into_iter()
        .filter(|(_, texts)| *texts >= LEAST_TEXTS)
        .map(|(term, _)| term)
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .enumerate()
        .map(|(place, term)| (term, place))
        .collect();
    let features = |terms: &[Term]| -> Vec<(usize, f32)> {
        let norm = (terms.len() as f32).max(6.0).sqrt();
        let mut counts: HashMap<usize, f32> = HashMap::new();
        terms
            .iter()
            .filter_map(|term| known.get(term))
            .for_each(|place| *counts.entry(*place).or_default() += 1.0 / norm);
        let mut features: Vec<_> = counts.into_iter().collect();
        features.sort_by_key(|(place, _)| *place);
        features
    };
    let (mut weights, mut bias) = (vec![0.0f32; known.len()], 0.0f32);
    for round in 0..ROUNDS {
        let mut examples: Vec<Example> = Vec::new();
        for at in chosen {
            let text = &texts[*at];
            let importance = importance(text);
            let score = |(from, to): &(usize, usize)| {
                let norm = ((to - from) as f32).max(6.0).sqrt();
                let known = text.terms[*from..*to].iter().filter_map(|term| known.get(term));
                known.map(|place| weights[*place]).sum::<f32>() / norm
            };
            if !text.attack {
                let mut windows = text.windows.clone();
                if text.source == ORDINARY {
                    windows.sort_by(|a, b| score(b).total_cmp(&score(a)));
                    windows.truncate(MOST_WINDOWS);
                }
                let share = importance / (windows.len() as f32).sqrt();
                examples
                    .extend(windows.iter().map(|(from, to)| (features(&text.terms[*from..*to]), 0.0, share)));
                continue;
            }
            examples.push((features(&text.terms), 1.0, importance * if round == 0 { 1.0 } else { 0.5 }));
            if round > 0 {
                let best = text.windows.iter().max_by(|a, b| score(a).total_cmp(&score(b)));
                if let Some((from, to)) = best {
                    examples.push((features(&text.terms[*from..*to]), 1.0, importance * 0.5));
                }
            }
        }
        descend(&examples, &mut weights, &mut bias);
    }
    let by_term: HashMap<Term, f32> = known.iter().map(|(term, place)| (*term, weights[*place])).collect();
    let kept = keep(by_term);
    let rows: Vec<(Term, f32)> = kept.iter().map(|(term, weight)| (*term, *weight)).collect();
    (Model::new(&rows, bias, 0.0), kept, bias)
}

/// Stochastic gradients with weights that decay, from where they are.
fn descend(examples: &[Example], weights: &mut [f32], bias: &mut f32) {
    let decay = 3e-4;
    let mut order: Vec<usize> = (0..examples.len()).collect();
    let mut state = 88_172_645_463_325_252u64;
    for pass in 0..PASSES {
        for at in (1..order.len()).rev() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            order.swap(at, (state % (at as u64 + 1)) as usize);
        }
        let rate = 0.5 / (1.0 + pass as f32 * 0.3);
        for at in &order {
            let (features, label, importance) = &examples[*at];
            let sum: f32 = *bias + features.iter().map(|(place, value)| weights[*place] * value).sum::<f32>();
            let error = (label - 1.0 / (1.0 + (-sum).exp())) * importance;
            for (place, value) in features {
                weights[*place] += rate * (error * value - decay * weights[*place]);
            }
            *bias += rate * 0.1 * error;
        }
    }
}

fn keep(weights: HashMap<Term, f32>) -> HashMap<Term, f32> {
    let mut rows: Vec<(Term, f32)> = weights.into_iter().filter(|(_, weight)| weight.abs() >= 0.05).collect();
    rows.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()).then(a.0.cmp(&b.0)));
    rows.truncate(MOST_TERMS);
    rows.into_iter().map(|(term, weight)| (term, (weight * 1000.0).round() / 1000.0)).collect()
}

/// The lowest score at which less than one benign text in two hundred, less than two of a hundred of NotInject and less
/// than one ordinary text in a hundred count as an attack.
fn threshold(texts: &[Text], scores: &[(usize, f32)]) -> f32 {
    let nth = |share: f64, only: Option<&str>| {
        let mut benign: Vec<f32> = scores
            .iter()
            .filter(|(at, _)| !texts[*at].attack)
            .filter(|(at, _)| {
                only.map_or(!matches!(texts[*at].source.as_str(), ORDINARY | PLAIN), |only| {
                    texts[*at].source == only
                })
            })
            .map(|(_, score)| *score)
            .collect();
        benign.sort_by(|a, b| b.total_cmp(a));
        let allowed = (benign.len() as f64 * share) as usize;
        benign.get(allowed).copied().unwrap_or(0.0)
    };
    nth(0.005, None).max(nth(0.02, Some("NotInject_one"))).max(nth(0.01, Some(ORDINARY))) + 0.001
}

fn report(title: &str, texts: &[Text], scores: &[(usize, f32)], threshold: f32) {
    let mut sources: Vec<&str> = texts.iter().map(|text| text.source.as_str()).collect();
    sources.sort_unstable();
    sources.dedup();
    eprintln!("{title}, threshold {threshold:.3}:");
    for source in sources {
        let of: Vec<f32> =
            scores.iter().filter(|(at, _)| texts[*at].source == source).map(|(_, score)| *score).collect();
        let over = of.iter().filter(|score| **score >= threshold).count();
        eprintln!("  {source}: {over} of {} ({})", of.len(), corpus::percent(over, of.len()));
    }
    for attack in [true, false] {
        let of: Vec<f32> =
            scores.iter().filter(|(at, _)| texts[*at].attack == attack).map(|(_, score)| *score).collect();
        let over = of.iter().filter(|score| **score >= threshold).count();
        eprintln!(
            "  {}: {over} of {} ({})",
            if attack { "all attacks" } else { "all benign" },
            of.len(),
            corpus::percent(over, of.len())
        );
    }
}

#[expect(clippy::disallowed_methods, reason = "no part of the pure crate")]
fn write(weights: &HashMap<Term, f32>, bias: f32, threshold: f32, names: &HashMap<Term, String>) {
    let mut rows: Vec<(&str, f32)> =
        weights.iter().filter_map(|(term, weight)| Some((names.get(term)?.as_str(), *weight))).collect();
    rows.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
    let mut file = String::from(
        "# Weights of words and pairs of words in texts that instruct a model. Written by `cargo xtask train`.\n",
    );
    file += &format!("(bias)\t{bias:.4}\n(threshold)\t{threshold:.4}\n");
    for (name, weight) in rows {
        file += &format!("{name}\t{weight}\n");
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/detect/injection/weights.tsv");
    std::fs::write(path, file).expect("the file of weights can be written");
    eprintln!("wrote {path}: {} terms", weights.len());
}
