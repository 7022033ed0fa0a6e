//! The kernel of the emulated machine: Debian's, unpacked below `target`, not installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::command;

/// The package that depends on the newest kernel.
const PACKAGE: &str = "linux-image-cloud-amd64";

/// The kernel's image, fetched when it is not there yet. One that the environment names is taken
/// instead.
///
/// # Errors
/// When it cannot be fetched or unpacked.
pub fn kernel() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("SESSILE_GUEST_KERNEL") {
        return Ok(named.into());
    }
    let folder = command::root().join("target/guest");
    if let Some(kernel) = find(&folder.join("boot"), "vmlinuz") {
        return Ok(kernel);
    }
    std::fs::create_dir_all(&folder)?;
    let depends = command::read(Command::new("apt-cache").args(["depends", PACKAGE]))?;
    let package = depends
        .split_whitespace()
        .find(|word| word.starts_with("linux-image-") && *word != PACKAGE)
        .with_context(|| format!("{PACKAGE} is not known: apt-get update"))?;
    eprintln!("setup: fetching {package}");
    command::run(Command::new("apt-get").args(["--quiet", "download", package]).current_dir(&folder))?;
    let archive = find(&folder, "linux-image-").with_context(|| format!("{package} was not fetched"))?;
    command::run(Command::new("dpkg-deb").arg("--extract").arg(archive).arg(&folder))?;
    find(&folder.join("boot"), "vmlinuz").with_context(|| format!("{package} holds no kernel"))
}

fn find(folder: &Path, start: &str) -> Option<PathBuf> {
    let paths = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    paths.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start))).max()
}
