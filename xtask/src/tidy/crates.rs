//! What crates depend on: the pure ones on nothing that reaches the system.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::Finding;
use crate::command;

// `protocol` is pure as well, and is not here: what verifies signatures has optional ways to the system,
// which Cargo's metadata lists whether or not they are built.
const PURE: [&str; 3] = ["sessile-model", "sessile-session", "sessile-jar"];
const IMPURE: [&str; 10] =
    ["tokio", "mio", "rustix", "libc", "nix", "getrandom", "rand", "log", "tracing", "rusqlite"];

/// A package and the packages it is built from.
#[derive(Debug)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its licence expression; `None` when it states none.
    pub licence: Option<String>,
    /// Where it comes from; `None` for our own.
    pub source: Option<String>,
    /// Indices of the packages it needs at run time.
    pub needs: Vec<usize>,
}

/// Every package of the workspace with this manifest and below, for this host's platform.
///
/// # Errors
/// When Cargo cannot tell.
pub fn metadata(manifest: &str) -> Result<Vec<Package>> {
    let manifest = command::root().join(manifest);
    let host = command::host()?;
    let text = command::read(
        command::cargo()
            .args(["metadata", "--format-version=1", "--locked", "--filter-platform", &host])
            .arg("--manifest-path")
            .arg(manifest),
    )?;
    parse(&serde_json::from_str(&text)?).context("Cargo's metadata has another shape")
}

fn parse(metadata: &Value) -> Option<Vec<Package>> {
    let nodes = metadata["resolve"]["nodes"].as_array()?;
    let index: BTreeMap<&str, usize> =
        nodes.iter().enumerate().filter_map(|(i, node)| Some((node["id"].as_str()?, i))).collect();
    let packages: BTreeMap<&str, &Value> =
        metadata["packages"].as_array()?.iter().filter_map(|p| Some((p["id"].as_str()?, p))).collect();
    nodes
        .iter()
        .map(|node| {
            let package = packages.get(node["id"].as_str()?)?;
            let needs = node["deps"].as_array()?.iter().filter(|dep| is_normal(dep));
            Some(Package {
                name: package["name"].as_str()?.to_owned(),
                version: package["version"].as_str()?.to_owned(),
                licence: package["license"].as_str().map(str::to_owned),
                source: package["source"].as_str().map(str::to_owned),
                needs: needs.filter_map(|dep| index.get(dep["pkg"].as_str()?).copied()).collect(),
            })
        })
        .collect()
}

fn is_normal(dependency: &Value) -> bool {
    let kinds = dependency["dep_kinds"].as_array();
    kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()))
}

/// Pure crates need, directly or not, nothing impure.
pub fn check(packages: &[Package]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (i, package) in packages.iter().enumerate().filter(|(_, p)| PURE.contains(&p.name.as_str())) {
        let mut seen = BTreeSet::new();
        let mut open = vec![i];
        while let Some(next) = open.pop() {
            if seen.insert(next) {
                open.extend(&packages[next].needs);
            }
        }
        for other in seen.into_iter().map(|j| &packages[j]).filter(|p| IMPURE.contains(&p.name.as_str())) {
            findings.push(Finding::new(&package.name, format!("is pure, but needs {}", other.name)));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_impure_dependency_of_a_dependency_is_found() {
        let metadata = serde_json::json!({
            "packages": [
                {"id": "m", "name": "sessile-model", "version": "0.1.0", "license": "MIT", "source": null},
                {"id": "t", "name": "time", "version": "1.0.0", "license": "MIT", "source": "registry"},
                {"id": "l", "name": "libc", "version": "1.0.0", "license": "MIT", "source": "registry"},
            ],
            "resolve": {"nodes": [
                {"id": "m", "deps": [{"pkg": "t", "dep_kinds": [{"kind": null}]}]},
                {"id": "t", "deps": [{"pkg": "l", "dep_kinds": [{"kind": null}]}]},
                {"id": "l", "deps": []},
            ]},
        });
        let found = check(&parse(&metadata).unwrap());
        assert_eq!(found, [Finding::new("sessile-model", "is pure, but needs libc")]);
        let dev = metadata.to_string().replacen("\"kind\":null", "\"kind\":\"dev\"", 1);
        assert_eq!(check(&parse(&serde_json::from_str(&dev).unwrap()).unwrap()), []);
    }
}
