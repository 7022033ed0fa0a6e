//! Running programs: where the repository is, and what to do when one fails.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// A program ended without success and has told the user why.
#[derive(Debug)]
pub struct Unsuccessful {
    /// The exit code to pass on; never 0.
    pub code: u8,
}

impl fmt::Display for Unsuccessful {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ended with code {}", self.code)
    }
}

impl std::error::Error for Unsuccessful {}

/// The repository's root folder.
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Cargo, in the repository's root, as the toolchain that started this program has it.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Cargo about to run an example of a package, optimised, with the arguments that are added.
pub fn example(package: &str, name: &str) -> Command {
    let mut command = cargo();
    command.args(["run", "--release", "--locked", "--quiet"]);
    command.args(["--package", package, "--example", name, "--"]);
    command
}

/// The platform that the compiler builds for.
///
/// # Errors
/// When the compiler cannot tell.
pub fn host() -> Result<String> {
    let version = read(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc names no host")
}

/// Runs it with this program's own streams.
///
/// # Errors
/// [`Unsuccessful`] with its exit code when it fails; another error when it does not start.
pub fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("cannot start {name}"))?;
    if status.success() {
        return Ok(());
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok()).filter(|&code| code != 0);
    Err(Unsuccessful { code: code.unwrap_or(1) }.into())
}

/// Runs it and returns what it printed.
///
/// # Errors
/// When it does not start, fails (with its last words), or prints something other than UTF-8.
pub fn read(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot start {name}"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        let arguments: Vec<_> = command.get_args().map(|a| a.to_string_lossy().into_owned()).collect();
        bail!("`{name} {}` failed ({}): {}", arguments.join(" "), output.status, words.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{name} printed something other than UTF-8"))
}

/// Where a program is, by `PATH` and the folders that only root's `PATH` has.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// Whether this program runs as root.
pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
