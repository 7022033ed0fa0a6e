//! Every dependency's licence is one of those that `deny.toml` allows, and none is banned there.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};

use super::Finding;
use super::crates::Package;
use crate::command;

/// What `deny.toml` says.
#[derive(Debug, Default)]
pub struct Rules {
    allowed: BTreeSet<String>,
    /// Further licences of single crates, by the crate's name.
    exceptions: BTreeMap<String, BTreeSet<String>>,
    banned: BTreeSet<String>,
}

impl Rules {
    /// Reads `deny.toml`.
    ///
    /// # Errors
    /// When it cannot be read or lacks the list of licences.
    pub fn read() -> Result<Self> {
        Self::parse(&std::fs::read_to_string(command::root().join("deny.toml"))?)
    }

    fn parse(text: &str) -> Result<Self> {
        let table: toml::Table = text.parse()?;
        let list =
            |section: &str, key: &str| table.get(section).and_then(|s| s.get(key)).and_then(|v| v.as_array());
        let allowed = list("licenses", "allow").context("deny.toml lacks licenses.allow")?;
        let texts =
            |values: &[toml::Value]| values.iter().filter_map(|v| v.as_str()).map(str::to_owned).collect();
        let exceptions = list("licenses", "exceptions").into_iter().flatten().filter_map(|entry| {
            Some((entry.get("crate")?.as_str()?.to_owned(), texts(entry.get("allow")?.as_array()?)))
        });
        let banned = list("bans", "deny").into_iter().flatten().filter_map(|entry| entry.get("crate"));
        Ok(Self {
            allowed: texts(allowed),
            exceptions: exceptions.collect(),
            banned: banned.filter_map(|v| v.as_str()).map(str::to_owned).collect(),
        })
    }
}

impl Rules {
    fn allowed_for(&self, krate: &str) -> BTreeSet<String> {
        let further = self.exceptions.get(krate).into_iter().flatten();
        self.allowed.iter().chain(further).cloned().collect()
    }
}

/// Checks every package that is not our own.
pub fn check(packages: &[Package], rules: &Rules) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages.iter().filter(|package| package.source.is_some()) {
        let place = format!("{} {}", package.name, package.version);
        if rules.banned.contains(&package.name) {
            findings.push(Finding::new(&place, "is banned in deny.toml"));
        }
        match &package.licence {
            None => findings.push(Finding::new(place, "states no licence")),
            Some(licence) if !is_allowed(licence, &rules.allowed_for(&package.name)) => {
                findings.push(Finding::new(place, format!("licence {licence} is not in deny.toml")));
            }
            Some(_) => {}
        }
    }
    findings
}

/// Whether an SPDX expression can be satisfied with the allowed licences. `AND` binds tighter
/// than `OR`; a slash is the old spelling of `OR`. What cannot be read is not allowed.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    either(&mut rest, allowed) == Some(true) && rest.is_empty()
}

fn either(words: &mut &[&str], allowed: &BTreeSet<String>) -> Option<bool> {
    let mut holds = both(words, allowed)?;
    while let Some((&"OR", rest)) = words.split_first() {
        *words = rest;
        holds |= both(words, allowed)?;
    }
    Some(holds)
}

fn both(words: &mut &[&str], allowed: &BTreeSet<String>) -> Option<bool> {
    let mut holds = one(words, allowed)?;
    while let Some((&"AND", rest)) = words.split_first() {
        *words = rest;
        holds &= one(words, allowed)?;
    }
    Some(holds)
}

fn one(words: &mut &[&str], allowed: &BTreeSet<String>) -> Option<bool> {
    let (&first, rest) = words.split_first()?;
    *words = rest;
    if first == "(" {
        let holds = either(words, allowed)?;
        let (&close, rest) = words.split_first()?;
        *words = rest;
        return (close == ")").then_some(holds);
    }
    if let [with, exception, rest @ ..] = *words
        && *with == "WITH"
    {
        *words = rest;
        return Some(allowed.contains(&format!("{first} WITH {exception}")));
    }
    Some(allowed.contains(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = r#"
        [licenses]
        allow = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"]
        exceptions = [{ crate = "odd", allow = ["NCSA"] }]
        [bans]
        deny = [{ crate = "bad" }]
    "#;

    #[test]
    fn expressions_are_read_as_spdx_has_them() {
        let rules = Rules::parse(RULES).unwrap();
        let table = [
            ("MIT", true),
            ("MIT OR GPL-3.0", true),
            ("GPL-3.0", false),
            ("MIT AND GPL-3.0", false),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
            ("(MIT OR Apache-2.0) AND LGPL-2.1", false),
            ("GPL-3.0 OR MIT AND GPL-2.0", false),
            ("MIT/Apache-2.0", true),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("GPL-2.0 WITH Classpath-exception-2.0", false),
            ("(MIT", false),
            ("", false),
        ];
        for (expression, expected) in table {
            assert_eq!(is_allowed(expression, &rules.allowed), expected, "{expression}");
        }
    }

    #[test]
    fn banned_and_unlicensed_packages_are_found() {
        let rules = Rules::parse(RULES).unwrap();
        let package = |name: &str, licence: Option<&str>, source: Option<&str>| Package {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            licence: licence.map(str::to_owned),
            source: source.map(str::to_owned),
            needs: Vec::new(),
        };
        let from = Some("registry");
        assert_eq!(check(&[package("good", Some("MIT"), from)], &rules), []);
        let ncsa = Some("(MIT OR Apache-2.0) AND NCSA");
        assert_eq!(check(&[package("odd", ncsa, from)], &rules), []);
        assert_eq!(check(&[package("good", ncsa, from)], &rules).len(), 1);
        assert_eq!(check(&[package("ours", None, None)], &rules), []);
        assert_eq!(check(&[package("bad", Some("MIT"), from), package("bare", None, from)], &rules).len(), 2);
    }
}
