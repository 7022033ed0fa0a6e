//! `cargo xtask fuzz [TARGET…]`: coverage-guided fuzzing on the pinned toolchain.
//!
//! The targets are a workspace of their own in `fuzz`. They are built with the compiler's coverage
//! instrumentation, which a stable toolchain has, and without a sanitizer, which it has not.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::command;

/// Names the folder that a target writes its seeds to when it starts.
const SEEDS: &str = "SESSILE_FUZZ_SEEDS";
/// Seconds that one input may take.
const TIMEOUT_S: u32 = 10;
/// Memory that a target may use, in MiB.
const MEMORY_MIB: u32 = 1024;

/// What libFuzzer needs of the compiler: edges counted in a table, with their places, and the
/// operands of comparisons. The same as cargo-fuzz without a sanitizer.
const INSTRUMENTATION: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    // Backtraces, and no counter thrown away by the linker.
    "-Cforce-frame-pointers=yes",
    "-Clink-dead-code",
];

/// A target and the longest input that is worth its while, in bytes.
struct Target {
    name: &'static str,
    max_len: u32,
}

const TARGETS: [Target; 21] = [
    Target { name: "agent", max_len: 2048 },
    Target { name: "anchor", max_len: 512 },
    Target { name: "checkpoint", max_len: 512 },
    Target { name: "database", max_len: 256 },
    Target { name: "flow", max_len: 1024 },
    Target { name: "guard", max_len: 2048 },
    Target { name: "guarding", max_len: 1024 },
    Target { name: "http", max_len: 1024 },
    Target { name: "log", max_len: 4096 },
    Target { name: "mcp", max_len: 1024 },
    Target { name: "monitor", max_len: 1024 },
    Target { name: "policy", max_len: 512 },
    Target { name: "proc", max_len: 2048 },
    Target { name: "project", max_len: 2048 },
    Target { name: "receipt", max_len: 4096 },
    Target { name: "recording", max_len: 2048 },
    Target { name: "screen", max_len: 1024 },
    Target { name: "scribble", max_len: 2048 },
    Target { name: "settings", max_len: 2048 },
    Target { name: "spec", max_len: 2048 },
    Target { name: "wire", max_len: 2048 },
];

/// Builds the targets and runs those named, or all, one after the other.
///
/// # Errors
/// When something is missing, a target is unknown or does not build, or one found something.
pub fn run(names: &[String], seconds: u32) -> Result<()> {
    let chosen = chosen(names)?;
    build(&chosen)?;
    let mut found = Vec::new();
    for target in chosen {
        eprintln!("fuzz: {} for {seconds} s", target.name);
        found.extend(fuzz(target, seconds)?);
    }
    if found.is_empty() {
        return Ok(());
    }
    for (target, input) in &found {
        let input = input.strip_prefix(command::root()).unwrap_or(input);
        eprintln!("found: cargo xtask fuzz {target} --replay {}", input.display());
    }
    bail!("fuzzing found {} inputs to look at", found.len())
}

/// Runs one target on one input.
///
/// # Errors
/// When the target is unknown or does not build, or the input still makes it fail.
pub fn replay(names: &[String], input: &Path) -> Result<()> {
    let [target] = chosen(names)?[..] else { bail!("name the one target that the input is for") };
    let input = std::path::absolute(input)?;
    if !input.is_file() {
        bail!("there is no {}", input.display());
    }
    build(&[target])?;
    command::run(program(target)?.arg(format!("-timeout={TIMEOUT_S}")).arg(input))
}

fn chosen(names: &[String]) -> Result<Vec<&'static Target>> {
    if names.is_empty() {
        return Ok(TARGETS.iter().collect());
    }
    let known = || TARGETS.map(|target| target.name).join(", ");
    names
        .iter()
        .map(|name| {
            let target = TARGETS.iter().find(|target| target.name == name);
            target.with_context(|| format!("no target {name}; there are {}", known()))
        })
        .collect()
}

/// Where everything is built and kept.
fn folder() -> PathBuf {
    command::root().join("target/fuzz")
}

/// Cargo for the fuzz workspace.
pub fn cargo(subcommand: &str) -> Command {
    let mut cargo = command::cargo();
    cargo.arg(subcommand).arg("--manifest-path").arg(command::root().join("fuzz/Cargo.toml"));
    cargo
}

/// Whether there is what builds libFuzzer.
pub fn compiler() -> bool {
    std::env::var_os("CXX").is_some() || command::find("c++").is_some()
}

fn build(targets: &[&Target]) -> Result<()> {
    if !compiler() {
        bail!(
            "missing: a C++ compiler, which builds libFuzzer. On Debian: apt-get install g++. \
             One that is not called c++ is named by CXX."
        );
    }
    // With a target named, build scripts and macros are built without instrumentation.
    command::run(
        cargo("build")
            .args(["--locked", "--release", "--target", &command::host()?, "--target-dir"])
            .arg(folder())
            .args(targets.iter().flat_map(|target| ["--bin", target.name]))
            .env("CARGO_ENCODED_RUSTFLAGS", INSTRUMENTATION.join("\x1f")),
    )
}

fn program(target: &Target) -> Result<Command> {
    let built = folder().join(command::host()?).join("release").join(target.name);
    let mut program = Command::new(built);
    program.current_dir(command::root()).env("RUST_BACKTRACE", "1");
    Ok(program)
}

/// Fuzzes one target. Returns what it found.
fn fuzz(target: &'static Target, seconds: u32) -> Result<Vec<(&'static str, PathBuf)>> {
    let place = |kind: &str| folder().join(kind).join(target.name);
    let [corpus, seeds, finds] = ["corpus", "seeds", "found"].map(place);
    if seeds.exists() {
        std::fs::remove_dir_all(&seeds)?;
    }
    for folder in [&corpus, &seeds, &finds] {
        std::fs::create_dir_all(folder)?;
    }
    let before = files(&finds)?;
    let status = program(target)?
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={}", target.max_len))
        .arg(format!("-timeout={TIMEOUT_S}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB}"))
        .arg(format!("-artifact_prefix={}/", finds.display()))
        .args(["-print_final_stats=1", "-verbosity=0"])
        .args([&corpus, &seeds])
        .env(SEEDS, &seeds)
        .status()
        .with_context(|| format!("cannot start the target {}", target.name))?;
    if status.success() {
        return Ok(Vec::new());
    }
    let found: Vec<_> = files(&finds)?.into_iter().filter(|file| !before.contains(file)).collect();
    if found.is_empty() {
        bail!("the target {} ended with {status} and left no input", target.name);
    }
    Ok(found.into_iter().map(|file| (target.name, file)).collect())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_and_the_manifest_name_the_same_targets() {
        let manifest = std::fs::read_to_string(command::root().join("fuzz/Cargo.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        let bins = manifest["bin"].as_array().unwrap();
        let built: Vec<_> = bins.iter().filter_map(|bin| bin["name"].as_str()).collect();
        assert_eq!(built, TARGETS.map(|target| target.name));
    }

    #[test]
    fn an_unknown_target_is_refused_with_those_there_are() {
        let error = chosen(&["wires".to_owned()]).err().unwrap().to_string();
        assert!(error.starts_with("no target wires; there are agent, "), "{error}");
        assert_eq!(chosen(&[]).unwrap().len(), TARGETS.len());
    }
}
