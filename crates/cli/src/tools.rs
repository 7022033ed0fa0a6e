//! `--tools`: the caller's own tools, shown read-only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sessile_model::problem::ProblemKind;
use sessile_model::spec::{EnvVar, Mount};

use crate::failure::Failure;
use crate::project::utf8;

/// The sets that are built in.
const BUILT_IN: &str = include_str!("../data/tools.toml");
/// The home inside.
const INNER_HOME: &str = "/home/user";
/// PATH inside without tools.
pub const INNER_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One set; the data file says what each part means.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ToolSet {
    /// Shown at the same path.
    pub paths: Vec<String>,
    /// Under the home, shown under the home inside.
    pub home: Vec<String>,
    /// Put in front of PATH.
    pub bins: Vec<String>,
    /// Set inside.
    pub env: BTreeMap<String, String>,
}

/// What was found of the caller's tools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Read-only mounts.
    pub mounts: Vec<Mount>,
    /// Folders for PATH, in order.
    pub bins: Vec<String>,
    /// Variables.
    pub env: Vec<EnvVar>,
}

/// The built-in sets with the caller's own; one of the same name replaces a built-in one.
///
/// # Errors
/// Never in a released program: the built-in data is checked by a test.
pub fn sets(own: &BTreeMap<String, ToolSet>) -> Result<BTreeMap<String, ToolSet>, Failure> {
    let mut sets: BTreeMap<String, ToolSet> = toml::from_str(BUILT_IN)
        .map_err(|e| Failure::new(ProblemKind::Internal, format!("the built-in tool sets: {e}")))?;
    sets.extend(own.clone());
    Ok(sets)
}

/// Looks for the sets' folders below `home`.
///
/// # Errors
/// When a path is not UTF-8.
pub fn find(sets: &BTreeMap<String, ToolSet>, home: &Path) -> Result<Found, Failure> {
    let mut found = Found::default();
    for set in sets.values() {
        let before = found.mounts.len();
        for path in &set.paths {
            for path in existing(&expanded(path, home)) {
                found.mounts.push(read_only(&path, &path)?);
            }
        }
        for rest in &set.home {
            for path in existing(&home.join(rest)) {
                let inside =
                    path.strip_prefix(home).map(|r| Path::new(INNER_HOME).join(r)).unwrap_or(path.clone());
                found.mounts.push(read_only(&path, &inside)?);
            }
        }
        if found.mounts.len() == before {
            continue;
        }
        for bin in &set.bins {
            for path in existing(&expanded(bin, home)) {
                found.bins.push(utf8(&path)?);
            }
        }
        for (name, value) in &set.env {
            let value = if value.starts_with('~') { utf8(&expanded(value, home))? } else { value.clone() };
            found.env.push(EnvVar { name: name.clone(), value });
        }
    }
    Ok(found)
}

/// The variable that puts folders in front of PATH inside; `None` without any.
pub fn path_variable(bins: &[String]) -> Option<EnvVar> {
    let mut folders: Vec<&str> = Vec::new();
    for bin in bins.iter().map(String::as_str).chain(INNER_PATH.split(':')) {
        // A colon cannot be written in PATH.
        if !folders.contains(&bin) && (!bin.contains(':')) {
            folders.push(bin);
        }
    }
    (!bins.is_empty()).then(|| EnvVar { name: "PATH".to_owned(), value: folders.join(":") })
}

/// A read-only mount that a tool or preset brings along.
///
/// # Errors
/// When a path is not UTF-8.
pub fn read_only(source: &Path, target: &Path) -> Result<Mount, Failure> {
    Ok(Mount { source: utf8(source)?, target: utf8(target)?, writable: false, from_tools: true })
}

/// A path with `~` at its start replaced.
pub fn expanded(path: &str, home: &Path) -> PathBuf {
    match path.strip_prefix("~/") {
        Some(rest) => home.join(rest),
        None if path == "~" => home.to_owned(),
        None => PathBuf::from(path),
    }
}

/// The paths that exist for one in which a component may be `*`, sorted.
fn existing(pattern: &Path) -> Vec<PathBuf> {
    let mut paths = vec![PathBuf::new()];
    for part in pattern.components() {
        if part.as_os_str() == "*" {
            paths = paths
                .iter()
                .flat_map(|p| std::fs::read_dir(p).into_iter().flatten().flatten().map(|e| e.path()))
                .collect();
            paths.sort();
        } else {
            paths.iter_mut().for_each(|p| p.push(part));
        }
    }
    paths.retain(|p| p.exists());
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::create_dir_all;

    #[test]
    fn the_built_in_sets_are_valid_and_hold_no_credentials() {
        let sets = sets(&BTreeMap::new()).unwrap();
        for (name, set) in sets {
            for path in set.paths.iter().chain(&set.bins) {
                assert!(path.starts_with("~/"), "{name}: {path}");
                for open in
                    ["~/.cargo", "~/.config", "~/.local", "~/.local/share", "~/.deno", "~/.bun", "~/go"]
                {
                    assert_ne!(path, open, "{name}");
                }
            }
            assert!(set.home.iter().all(|p| p.starts_with('.') || p.starts_with("go/")), "{name}");
        }
    }

    #[test]
    fn only_what_exists_is_shown() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        create_dir_all(home.join(".cargo/bin")).unwrap();
        create_dir_all(home.join(".cargo/registry")).unwrap();
        create_dir_all(home.join(".nvm/versions/node/v20/bin")).unwrap();
        create_dir_all(home.join(".nvm/versions/node/v18/bin")).unwrap();
        std::fs::write(home.join(".cargo/credentials.toml"), "secret").unwrap();
        let found = find(&sets(&BTreeMap::new()).unwrap(), home).unwrap();
        let text = found
            .mounts
            .iter()
            .map(|m| format!("{} -> {}", m.source, m.target))
            .collect::<Vec<_>>()
            .join("\n");
        insta::assert_snapshot!(text.replace(home.to_str().unwrap(), "~"), @r"
        ~/.cargo/bin -> ~/.cargo/bin
        ~/.cargo/registry -> /home/user/.cargo/registry
        ~/.nvm/versions -> ~/.nvm/versions
        ");
        assert!(found.mounts.iter().all(|m| !m.writable && m.from_tools));
        let path = path_variable(&found.bins).unwrap().value.replace(home.to_str().unwrap(), "~");
        insta::assert_snapshot!(path, @"~/.cargo/bin:~/.nvm/versions/node/v18/bin:~/.nvm/versions/node/v20/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        assert!(found.env.is_empty());
    }

    #[test]
    fn without_tools_path_is_left_alone() {
        assert_eq!(path_variable(&[]), None);
    }
}
