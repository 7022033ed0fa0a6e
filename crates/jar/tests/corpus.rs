//! The cases of the `http-state` corpus: what a jar sends back after `Set-Cookie` headers, and
//! dates. They lie beside the repository, in `shared/corpora`, or where `SESSILE_CORPORA` says.
//!
//! The corpus is RFC 6265's, which knows no nameless cookies: the jar is told to refuse them.

#![allow(clippy::unwrap_used)]
// The crate reads no file; this test reads the corpus.
#![allow(clippy::disallowed_methods)]

use std::path::{Path, PathBuf};

use serde_json::Value;
use sessile_jar::{Context, Jar, Limits, Nameless, RequestUrl, parse_date};
use sessile_model::Timestamp;

const HOST: &str = "http://home.example.org:8888";
/// A time at which none of the corpus's future dates has come.
const CLOCK: &str = "2019-01-01T00:00:00Z";

fn corpus() -> Option<PathBuf> {
    let folder = std::env::var_os("SESSILE_CORPORA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpora"), PathBuf::from);
    let folder = folder.join("http-state");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no http-state corpus (set SESSILE_CORPORA to the folder that has it)");
    None
}

/// The cases of every file whose cases have this key.
fn cases(folder: &Path, key: &str) -> Vec<Value> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|e| e == "json")) {
        let list: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        cases.extend(list.as_array().unwrap().iter().filter(|case| case.get(key).is_some()).cloned());
    }
    cases
}

fn context(url: &str) -> Context {
    Context::new(RequestUrl::parse(url).unwrap())
}

/// What the jar sends after a case's headers, and what it should.
fn sent(case: &Value) -> (String, String) {
    let now: Timestamp = CLOCK.parse().unwrap();
    let mut jar = Jar::with(Limits::default(), Nameless::Refuse);
    let test = case["test"].as_str().unwrap();
    let from = context(&format!("{HOST}/cookie-parser?{test}"));
    for header in case["received"].as_array().unwrap() {
        let _ignored = jar.store(header.as_str().unwrap().as_bytes(), &from, now);
    }
    let to = case["sent-to"].as_str().unwrap_or("/cookie-parser-result");
    let to = if to.starts_with('/') { context(&format!("{HOST}{to}")) } else { context(to) };
    let header = jar.header(&to, now).map(|header| String::from_utf8(header.to_vec()).unwrap());
    let expected: Vec<String> = case["sent"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| format!("{}={}", pair["name"].as_str().unwrap(), pair["value"].as_str().unwrap()))
        .collect();
    (header.unwrap_or_default(), expected.join("; "))
}

#[test]
fn the_jar_sends_what_the_corpus_says() {
    let Some(folder) = corpus() else { return };
    let cases = cases(&folder, "received");
    let mut wrong = Vec::new();
    for case in &cases {
        let (sent, expected) = sent(case);
        if sent != expected {
            wrong.push(format!("{}: sent {sent:?}, expected {expected:?}", case["test"]));
        }
    }
    println!("http-state: {} of {} cases hold", cases.len() - wrong.len(), cases.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(!cases.is_empty());
}

#[test]
fn dates_are_read_as_the_corpus_says() {
    let Some(folder) = corpus() else { return };
    let cases = cases(&folder, "expected");
    let mut wrong = Vec::new();
    for case in &cases {
        let read = parse_date(case["test"].as_str().unwrap().as_bytes());
        let expected = case["expected"].as_str().map(in_full);
        if read.map(|time| time.to_string()) != expected {
            wrong.push(format!("{}: read {read:?}, expected {expected:?}", case["test"]));
        }
    }
    println!("http-state: {} of {} dates hold", cases.len() - wrong.len(), cases.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(!cases.is_empty());
}

/// `Mon, 10 Dec 2007 17:02:24 GMT` as RFC 3339 writes it.
fn in_full(date: &str) -> String {
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words: Vec<&str> = date.split(' ').collect();
    let month = months.iter().position(|month| *month == words[2]).unwrap() + 1;
    format!("{}-{month:02}-{}T{}Z", words[3], words[1], words[4])
}
