//! `cargo xtask tidy`: rules of the house that no lint knows.
//!
//! Every check takes what it looks at as an argument and returns what it found, so that its
//! tests can show it something broken.

mod crates;
mod documents;
mod licences;
mod sources;

use std::fmt;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::command;

/// The workspaces: what is shipped and tested, and the fuzz targets.
const MANIFESTS: [&str; 2] = ["Cargo.toml", "fuzz/Cargo.toml"];

/// A rule that does not hold, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// Path in the repository, with the line where there is one.
    place: String,
    /// What is wrong and what to do.
    what: String,
}

impl Finding {
    fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into() }
    }

    fn at(path: &str, line_index: usize, what: impl Into<String>) -> Self {
        Self::new(format!("{path}:{}", line_index + 1), what)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// A tracked text file.
#[derive(Debug)]
pub struct File {
    /// Path in the repository.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// Runs every check and prints every finding.
///
/// # Errors
/// When a check finds something, or the repository cannot be read.
pub fn run() -> Result<()> {
    let tracked = tracked_paths()?;
    let files = text_files(&tracked)?;
    let mut findings = Vec::new();
    for file in &files {
        findings.extend(sources::check(file));
        findings.extend(documents::check(file, &|path| command::root().join(path).exists()));
    }
    findings.extend(required(&tracked));
    let rules = licences::Rules::read()?;
    for manifest in MANIFESTS {
        let packages = crates::metadata(manifest)?;
        findings.extend(crates::check(&packages));
        findings.extend(licences::check(&packages, &rules));
        if command::find("cargo-deny").is_some() {
            let mut deny = command::cargo();
            deny.args(["deny", "--manifest-path", manifest, "--offline", "check", "--config", "deny.toml"]);
            command::run(deny.args(["licenses", "bans", "sources"]))?;
        }
    }
    if findings.is_empty() {
        return Ok(());
    }
    for finding in &findings {
        eprintln!("{finding}");
    }
    anyhow::bail!("tidy found {} things to mend", findings.len())
}

/// Files without which the repository is not whole.
fn required(tracked: &[String]) -> Vec<Finding> {
    let needed = [
        "Cargo.lock",
        "README.md",
        "ARCHITECTURE.md",
        "SECURITY.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "api/openapi.json",
        "fuzz/Cargo.lock",
    ];
    needed
        .into_iter()
        .filter(|path| !tracked.iter().any(|known| known == path))
        .map(|path| Finding::new(path, "is not in the repository"))
        .collect()
}

fn tracked_paths() -> Result<Vec<String>> {
    let listed = command::read(Command::new("git").arg("ls-files").current_dir(command::root()))?;
    Ok(listed.lines().map(str::to_owned).collect())
}

fn text_files(tracked: &[String]) -> Result<Vec<File>> {
    let mut files = Vec::new();
    for path in tracked {
        let full = command::root().join(path);
        if !full.is_file() {
            continue;
        }
        let bytes = std::fs::read(&full).with_context(|| format!("cannot read {path}"))?;
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(File { path: path.clone(), text });
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_named() {
        let found = required(&["Cargo.lock".to_owned()]);
        assert!(found.iter().any(|finding| finding.place == "api/openapi.json"));
        assert!(!found.iter().any(|finding| finding.place == "Cargo.lock"));
    }
}
