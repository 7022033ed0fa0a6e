//! What an inspection costs.

use std::hint::black_box;
use std::time::Duration;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use regex::bytes::Regex;
use rustix::time::{ClockId, clock_gettime};
use sessile_guard::training::{letters, patterns};
use sessile_guard::{Inspector, Raw, Registry};

use crate::corpus::row;
use crate::transformations::values;

const ROUNDS: usize = 4000;

pub fn rows() {
    let texts = texts();
    let plain = Inspector::default();
    let mut registry = Registry::new([9; 32]);
    for (_, value) in (0..334).flat_map(values).take(2000) {
        registry.add(&value).expect("a value that can be told");
    }
    let tainted = Inspector::with_registry(registry);
    // Both in turn, so that what else the machine does is shared.
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let text = &texts[round % texts.len()];
        without.push(timed(&plain, text));
        with.push(timed(&tainted, text));
    }
    let (p50, p99) = (quantile(&mut without, 50), quantile(&mut without, 99));
    row("latency: 4 KiB, half of them below", &micros(p50), "", ROUNDS);
    row("latency: 4 KiB, 99 of 100 below", &micros(p99), "< 150 us", ROUNDS);
    let more = (quantile(&mut with, 50).as_secs_f64() / p50.as_secs_f64() - 1.0) * 100.0;
    row("latency: 2,000 registered values add", &format!("{more:.1} %"), "< 10 %", ROUNDS);
    let automaton = automaton(&texts).as_secs_f64() / p50.as_secs_f64() * 100.0;
    row("latency: an automaton over them would add", &format!("{automaton:.1} %"), "", ROUNDS);
    let naive = naive(&texts);
    row("latency: naive scan, a regular expression for each rule", &micros(naive), "", patterns().len());
    hostile(&tainted);
}

fn timed(inspector: &Inspector, text: &str) -> Duration {
    let raw = Raw::new(text.to_owned());
    let start = worked();
    black_box(inspector.inspect(raw));
    worked().saturating_sub(start)
}

/// The processor's time that this thread has had: what else runs on the machine is not in it.
fn worked() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn quantile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[times.len() * percent / 100]
}

fn micros(time: Duration) -> String {
    format!("{:.1} us", time.as_secs_f64() * 1e6)
}

/// Texts of 4 KiB as channels carry them: prose, code, JSON, each with something to find.
fn texts() -> Vec<String> {
    let prose = "The committee met on Tuesday to discuss the plan for the new library. Ann said that the budget, \
        which had been agreed in March, leaves room for two more readers; call the office at +44 20 7946 0958 or write \
        to office@example.org. Nobody objected. The next meeting is on 2026-03-04 at 14:30 in room 212.\n";
    let code = "fn read(path: &Path) -> Result<Config, Error> {\n    let text = std::fs::read_to_string(path)?;\n    \
        let config: Config = toml::from_str(&text).map_err(|error| Error::Parse { path: path.into(), error })?;\n    \
        if config.token.is_empty() && config.retries > 3 {\n        return Err(Error::NoToken);\n    }\n    Ok(config)\n}\n";
    let json = "{\"id\":\"7f9c2ba4-e88f-4d2a-9d1c-1f0b2c3d4e5f\",\"created\":\"2026-02-03T10:11:12Z\",\"items\":[{\"name\":\
        \"cable\",\"price\":12.5,\"sku\":\"CB-2231\"},{\"name\":\"lamp\",\"price\":80,\"sku\":\"LM-0042\"}],\"total\":92.5,\
        \"note\":\"leave at the door\",\"sha\":\"3f786850e387550fdab836ed7e6dc881de23001b\"}\n";
    let prose_accented = "Le comité s'est réuni à Genève pour discuter du budget ; où cela mène, personne ne le sait encore. \
        Die Größe der Räume genügt, für später ist mehr geplant. Увидимся в понедельник после обеда.\n";
    [prose, code, json, prose_accented]
        .iter()
        .map(|piece| {
            let mut text = piece.repeat(4096 / piece.len() + 1);
            text.truncate(text.floor_char_boundary(4096));
            text
        })
        .collect()
}

/// The time of a search for the same values, forwards, backwards and in halves, by an automaton whose
/// states are all laid out.
fn automaton(texts: &[String]) -> Duration {
    let mut needles = Vec::new();
    for (_, value) in (0..334).flat_map(values).take(2000) {
        let letters = letters(&value);
        needles.push(letters.iter().rev().copied().collect());
        needles.extend([
            letters[..letters.len() / 2].to_vec(),
            letters[letters.len() / 2..].to_vec(),
            letters,
        ]);
    }
    let automaton = AhoCorasick::builder().kind(Some(AhoCorasickKind::DFA)).prefilter(false).build(&needles);
    let automaton = automaton.expect("some thousand values fit an automaton");
    let texts: Vec<Vec<u8>> = texts.iter().map(|text| letters(text)).collect();
    let mut times: Vec<Duration> = texts
        .iter()
        .cycle()
        .take(ROUNDS)
        .map(|text| {
            let start = worked();
            black_box(automaton.find_overlapping_iter(text).count());
            worked().saturating_sub(start)
        })
        .collect();
    quantile(&mut times, 50)
}

/// The time of a scan by one regular expression after the other.
fn naive(texts: &[String]) -> Duration {
    let expressions: Vec<Regex> =
        patterns().iter().filter_map(|pattern| Regex::new(&expression(pattern)).ok()).collect();
    let mut times: Vec<Duration> = texts
        .iter()
        .cycle()
        .take(40)
        .map(|text| {
            let start = worked();
            for expression in &expressions {
                black_box(expression.find_iter(text.as_bytes()).count());
            }
            worked().saturating_sub(start)
        })
        .collect();
    quantile(&mut times, 50)
}

/// One of our patterns as a regular expression.
fn expression(pattern: &str) -> String {
    let classes = [
        ('d', "0-9"),
        ('h', "0-9a-f"),
        ('H', "0-9a-fA-F"),
        ('l', "0-9a-z"),
        ('u', "0-9A-Z"),
        ('a', "0-9a-zA-Z"),
        ('w', "0-9a-zA-Z_"),
        ('b', "0-9a-zA-Z+/"),
        ('s', "0-9a-zA-Z_\\-"),
    ];
    let (mut written, mut inside, mut chars) = (String::from("(?-u)\\b"), false, pattern.chars());
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                let next = chars.next().unwrap_or('\\');
                match classes.iter().find(|(letter, _)| *letter == next) {
                    Some((_, class)) if inside => written += class,
                    Some((_, class)) => written += &format!("[{class}]"),
                    None => written += &regex::escape(&next.to_string()),
                }
            }
            '[' => {
                inside = true;
                written.push('[');
            }
            ']' => {
                inside = false;
                written.push(']');
            }
            '{' | '}' | '?' | ',' | '-' => written.push(c),
            c if inside => written.push(c),
            c => written += &regex::escape(&c.to_string()),
        }
    }
    written
}

/// Texts made to cost: a mebibyte of each, and what the slowest takes for each 4 KiB.
fn hostile(inspector: &Inspector) {
    let heads: String = (0..64).map(|number| format!("{} ", &values(number)[0].1[..20])).collect();
    let texts: [String; 20] = [
        "eyJ".repeat(349_525),
        "password=".repeat(116_508),
        "4111 ".repeat(209_715),
        "%41".repeat(349_525),
        "QUFB".repeat(262_144),
        "ignore previous ".repeat(65_536),
        "a@b.".repeat(262_144),
        "(1".repeat(524_288),
        "://a:b@".repeat(149_796),
        "\u{200b}a".repeat(262_144),
        ". - ".repeat(262_144),
        "aws ".repeat(262_144),
        "+1 2".repeat(262_144),
        "$krb5tgs$".repeat(116_508),
        "-----begin private key".repeat(47_662),
        values(0)[1].1.repeat(69_905),
        values(0)[0].1.repeat(28_339),
        format!("{} and ", &values(0)[0].1[..20]).repeat(41_943),
        heads.repeat(780),
        "\u{e9}ab\u{200b}1".repeat(131_072),
    ];
    let mut slowest = Duration::ZERO;
    for text in &texts {
        slowest = slowest.max(timed(inspector, text));
    }
    row(
        "latency: 1 MiB made to cost, the slowest",
        &format!("{:.0} ms", slowest.as_secs_f64() * 1e3),
        "< 1000 ms",
        texts.len(),
    );
}
