//! Agents by name: finding the installed program and what it needs to start.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sessile_model::problem::ProblemKind;
use sessile_model::spec::Mount;

use crate::failure::Failure;
use crate::hosts::HostArgument;
use crate::project::utf8;
use crate::tools::{expanded, read_only};

/// The presets that are built in.
const BUILT_IN: &str = include_str!("../data/presets.toml");
/// Interpreters of interpreters that are followed.
const MAX_DEPTH: usize = 4;
/// Folders that are too wide to show for the sake of one program, below a home.
const WIDE_IN_HOME: [&str; 6] = ["", ".local", ".local/bin", ".local/share", "bin", ".config"];
/// Folders that are too wide to show, or are there anyway.
const WIDE: [&str; 6] = ["/", "/opt", "/usr/local", "/home", "/root", "/srv"];
/// What every session shows of the host.
const SHOWN: [&str; 6] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64"];

/// One preset; the data file says what each part means.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// The program's name on PATH.
    pub binary: String,
    /// What else it needs.
    #[serde(default)]
    pub install: Vec<String>,
    /// Hosts it may reach.
    #[serde(default)]
    pub hosts: Vec<HostArgument>,
    /// Variables passed on when set.
    #[serde(default)]
    pub env: Vec<String>,
}

/// A preset's program as installed here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The program, its links resolved.
    pub program: String,
    /// What it needs, read-only.
    pub mounts: Vec<Mount>,
    /// Folders of its interpreters, for PATH.
    pub bins: Vec<String>,
}

/// The built-in presets with the caller's own; one of the same name replaces a built-in one.
///
/// # Errors
/// Never in a released program: the built-in data is checked by a test.
pub fn presets(own: &BTreeMap<String, Preset>) -> Result<BTreeMap<String, Preset>, Failure> {
    let mut presets: BTreeMap<String, Preset> = toml::from_str(BUILT_IN)
        .map_err(|e| Failure::new(ProblemKind::Internal, format!("the built-in presets: {e}")))?;
    presets.extend(own.clone());
    Ok(presets)
}

/// Finds a preset's program on `search` (as PATH is written) and what it needs.
///
/// # Errors
/// When it is not installed, or a path is not UTF-8.
pub fn find(name: &str, preset: &Preset, search: &str, home: &Path) -> Result<Installed, Failure> {
    let binary = &preset.binary;
    let found = on_path(binary, search).ok_or_else(|| {
        Failure::new(ProblemKind::NotFound, format!("{binary} is not installed: it is not on your PATH"))
            .hint(format!("install {binary}, or name the program under [presets.{name}] in config.toml"))
    })?;
    let program =
        fs::canonicalize(&found).map_err(|e| Failure::system(format!("use {}", found.display()), &e))?;
    let mut needs = Needs { folders: Vec::new(), bins: Vec::new(), search, home };
    needs.add_program(&program, 0);
    for path in &preset.install {
        let path = expanded(path, home);
        if path.exists() {
            needs.add_folder(path);
        }
    }
    let mounts = needs.folders.iter().map(|p| read_only(p, p)).collect::<Result<_, _>>()?;
    let bins = needs.bins.iter().map(|p| utf8(p)).collect::<Result<_, _>>()?;
    Ok(Installed { program: utf8(&program)?, mounts, bins })
}

struct Needs<'a> {
    folders: Vec<PathBuf>,
    bins: Vec<PathBuf>,
    search: &'a str,
    home: &'a Path,
}

impl Needs<'_> {
    fn add_program(&mut self, program: &Path, depth: usize) {
        self.add_folder(install_root(program, self.home));
        if depth == MAX_DEPTH {
            return;
        }
        let Some(interpreter) = interpreter(program, self.search) else { return };
        // The name in the first line must be found inside as well, and what it links to.
        if let Some(bin) = interpreter.parent()
            && !is_shown(bin)
        {
            self.add_folder(install_root(&interpreter, self.home));
            if !self.bins.iter().any(|b| b == bin) {
                self.bins.push(bin.to_owned());
            }
        }
        if let Ok(real) = fs::canonicalize(&interpreter) {
            self.add_program(&real, depth + 1);
        }
    }

    fn add_folder(&mut self, folder: PathBuf) {
        if is_shown(&folder) || self.folders.iter().any(|f| folder.starts_with(f)) {
            return;
        }
        self.folders.retain(|f| !f.starts_with(&folder));
        self.folders.push(folder);
    }
}

fn is_shown(path: &Path) -> bool {
    SHOWN.iter().any(|s| path.starts_with(s))
}

fn on_path(binary: &str, search: &str) -> Option<PathBuf> {
    if binary.contains('/') {
        return Some(PathBuf::from(binary)).filter(|p| p.is_file());
    }
    let folders = search.split(':').filter(|f| f.starts_with('/'));
    folders.map(|f| Path::new(f).join(binary)).find(|p| p.is_file())
}

/// The folder a program is installed in: its npm package, or all that was installed beside it where
/// its dependencies are there; its Python environment, the folder over its `bin`, or its own; the file alone where that folder holds other things as well.
fn install_root(program: &Path, home: &Path) -> PathBuf {
    let parts: Vec<_> = program.components().collect();
    if let Some(at) = parts.iter().rposition(|c| c.as_os_str() == "node_modules") {
        let scoped = parts.get(at + 1).is_some_and(|c| c.as_os_str().to_string_lossy().starts_with('@'));
        let end = at + if scoped { 3 } else { 2 };
        if end < parts.len() {
            let package: PathBuf = parts.iter().take(end).collect();
            let beside = parts.iter().take(at + 1).collect();
            return if depends_on_others(&package) { beside } else { package };
        }
    }
    let environment = program.ancestors().skip(1).take(3).find(|a| a.join("pyvenv.cfg").is_file());
    if let Some(environment) = environment {
        return environment.to_owned();
    }
    let is_wide = |folder: &Path| {
        WIDE.iter().any(|w| folder == Path::new(w)) || WIDE_IN_HOME.iter().any(|w| folder == home.join(w))
    };
    let Some(parent) = program.parent() else { return program.to_owned() };
    let folder = if parent.ends_with("bin") { parent.parent().unwrap_or(parent) } else { parent };
    if is_wide(folder) || is_wide(parent) { program.to_owned() } else { folder.to_owned() }
}

/// Whether an npm package names dependencies that it does not hold itself: npm then installed them
/// beside it (<https://docs.npmjs.com/cli/configuring-npm/folders>).
fn depends_on_others(package: &Path) -> bool {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Manifest {
        dependencies: BTreeMap<String, serde_json::Value>,
        optional_dependencies: BTreeMap<String, serde_json::Value>,
    }
    let text = fs::read(package.join("package.json")).unwrap_or_default();
    let manifest: Manifest = serde_json::from_slice(&text).unwrap_or_default();
    let mut names = manifest.dependencies.keys().chain(manifest.optional_dependencies.keys());
    names.any(|name| {
        let beside = package.ancestors().find(|a| a.ends_with("node_modules"));
        !package.join("node_modules").join(name).is_dir() && beside.is_some_and(|b| b.join(name).is_dir())
    })
}

/// The interpreter that a script's first line names, looked up as `env` would.
fn interpreter(program: &Path, search: &str) -> Option<PathBuf> {
    let mut head = [0u8; 256];
    let mut file = fs::File::open(program).ok()?;
    let count = file.read(&mut head).ok()?;
    let line = head[..count].strip_prefix(b"#!")?.split(|&b| b == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_whitespace();
    let first = words.next()?;
    if !first.ends_with("/env") {
        return Some(PathBuf::from(first)).filter(|p| p.is_absolute() && p.exists());
    }
    let name = words.find(|w| !w.starts_with('-') && !w.contains('='))?;
    on_path(name, search)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn shown(installed: &Installed, home: &Path) -> String {
        let text = format!(
            "{}\n{}\n{}",
            installed.program,
            installed.mounts.iter().map(|m| m.source.clone()).collect::<Vec<_>>().join(" "),
            installed.bins.join(" ")
        );
        text.replace(home.to_str().unwrap(), "~")
    }

    #[test]
    fn the_built_in_presets_are_valid_and_pass_no_variables() {
        let presets = presets(&BTreeMap::new()).unwrap();
        assert_eq!(presets.keys().collect::<Vec<_>>(), ["aider", "claude", "codex", "gemini"]);
        assert!(presets.values().all(|p| p.env.is_empty()));
    }

    #[test]
    fn an_npm_package_brings_its_node() {
        let home = tempfile::tempdir().unwrap();
        let home = fs::canonicalize(home.path()).unwrap();
        let prefix = home.join(".nvm/versions/node/v20");
        let script = prefix.join("lib/node_modules/@acme/agent/cli.js");
        write(&script, "#!/usr/bin/env -S node --flag\n");
        write(&prefix.join("bin/node"), "\x7fELF");
        symlink("../lib/node_modules/@acme/agent/cli.js", prefix.join("bin/codex")).unwrap();
        let preset = presets(&BTreeMap::new()).unwrap()["codex"].clone();
        let search = format!("relative:{}", prefix.join("bin").display());
        let installed = find("codex", &preset, &search, &home).unwrap();
        insta::assert_snapshot!(shown(&installed, &home), @r"
        ~/.nvm/versions/node/v20/lib/node_modules/@acme/agent/cli.js
        ~/.nvm/versions/node/v20
        ~/.nvm/versions/node/v20/bin
        ");
    }

    #[test]
    fn an_npm_package_brings_what_was_installed_beside_it() {
        let home = tempfile::tempdir().unwrap();
        let home = fs::canonicalize(home.path()).unwrap();
        let modules = home.join("tools/node_modules");
        let package = modules.join("@acme/agent");
        write(&package.join("bin/agent.exe"), "\x7fELF");
        write(
            &package.join("package.json"),
            r#"{"name": "x", "optionalDependencies": {"@acme/linux": "1", "@acme/mac": "1"}}"#,
        );
        let program = package.join("bin/agent.exe");
        assert_eq!(install_root(&program, &home), package);
        write(&modules.join("@acme/linux/lib.node"), "");
        assert_eq!(install_root(&program, &home), modules);
        write(&package.join("node_modules/@acme/linux/lib.node"), "");
        assert_eq!(install_root(&program, &home), package);
    }

    #[test]
    fn a_python_environment_brings_its_python() {
        let home = tempfile::tempdir().unwrap();
        let home = fs::canonicalize(home.path()).unwrap();
        let tool = home.join(".local/share/uv/tools/aider-chat");
        let python = home.join(".local/share/uv/python/cpython-3.12/bin/python3.12");
        write(&python, "\x7fELF");
        write(&tool.join("pyvenv.cfg"), "");
        write(&tool.join("bin/aider"), &format!("#!{}\n", tool.join("bin/python").display()));
        symlink(&python, tool.join("bin/python")).unwrap();
        fs::create_dir_all(home.join(".local/bin")).unwrap();
        symlink(tool.join("bin/aider"), home.join(".local/bin/aider")).unwrap();
        let preset = presets(&BTreeMap::new()).unwrap()["aider"].clone();
        let installed = find("aider", &preset, home.join(".local/bin").to_str().unwrap(), &home).unwrap();
        insta::assert_snapshot!(shown(&installed, &home), @r"
        ~/.local/share/uv/tools/aider-chat/bin/aider
        ~/.local/share/uv/tools/aider-chat ~/.local/share/uv/python/cpython-3.12
        ~/.local/share/uv/tools/aider-chat/bin
        ");
    }

    #[test]
    fn a_lone_binary_does_not_bring_its_wide_folder() {
        let home = tempfile::tempdir().unwrap();
        let home = fs::canonicalize(home.path()).unwrap();
        let binary = home.join(".local/bin/gemini");
        write(&binary, "\x7fELF");
        let preset = presets(&BTreeMap::new()).unwrap()["gemini"].clone();
        let installed = find("gemini", &preset, home.join(".local/bin").to_str().unwrap(), &home).unwrap();
        assert_eq!(installed.mounts.len(), 1);
        assert_eq!(Path::new(&installed.mounts[0].source), binary);
        assert!(find("gemini", &preset, "/nowhere", &home).is_err());
    }
}
