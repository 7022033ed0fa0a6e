//! A private installation to measure: its own state, runtime and project folders, and a daemon
//! that goes when it does.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::command;

/// Folders and the program under test.
pub struct House {
    folder: PathBuf,
    program: PathBuf,
}

impl House {
    /// Makes the folders. Nothing is started.
    ///
    /// # Errors
    /// When a folder cannot be made.
    pub fn new(program: &Path, name: &str) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("sessile-bench-{name}-{}", std::process::id()));
        for part in ["state", "run", "project", "home", "peers"] {
            let path = folder.join(part);
            fs::create_dir_all(&path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
        }
        Ok(Self { folder, program: program.to_owned() })
    }

    /// The project folder.
    pub fn project(&self) -> PathBuf {
        self.folder.join("project")
    }

    /// The runtime folder, which the arguments of every process of ours name.
    pub fn runtime(&self) -> PathBuf {
        self.folder.join("run")
    }

    /// A folder for what peers need.
    pub fn peers(&self) -> PathBuf {
        self.folder.join("peers")
    }

    /// The program with this house's environment.
    pub fn sessile(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(self.project())
            .env("SESSILE_STATE_DIR", self.folder.join("state"))
            .env("SESSILE_RUNTIME_DIR", self.runtime())
            .env("SESSILE_CONFIG", self.folder.join("config.toml"))
            .env("HOME", self.folder.join("home"))
            .stdin(Stdio::null());
        command
    }

    /// Runs a command and returns what it printed.
    ///
    /// # Errors
    /// When it fails.
    pub fn read(&self, arguments: &[&str]) -> Result<String> {
        command::read(&mut self.sessile(arguments))
    }

    /// The same, as JSON.
    ///
    /// # Errors
    /// When it fails or prints something else.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.read(arguments)?;
        serde_json::from_str(&text)
            .with_context(|| format!("sessile {} printed no JSON", arguments.join(" ")))
    }

    /// Runs a command and says how long it took.
    ///
    /// # Errors
    /// When it fails.
    pub fn time(&self, arguments: &[&str]) -> Result<Duration> {
        let start = Instant::now();
        self.read(arguments)?;
        Ok(start.elapsed())
    }

    /// The daemon's process id.
    ///
    /// # Errors
    /// When none runs.
    pub fn daemon(&self) -> Result<u32> {
        let status = self.json(&["daemon", "status", "--json"])?;
        let pid = status["pid"].as_u64().context("the daemon's status names no pid")?;
        Ok(u32::try_from(pid)?)
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let quiet = |arguments: &[&str]| {
            let _ = self.sessile(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
        };
        quiet(&["end", "--all", "--grace", "0s"]);
        quiet(&["daemon", "stop"]);
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Time from the start of a command to the first byte it prints. Waits for its end.
///
/// # Errors
/// When it prints nothing or fails.
pub fn first_byte(mut command: Command) -> Result<Duration> {
    let start = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut out = child.stdout.take().context("no pipe")?;
    let mut byte = [0u8];
    let count = out.read(&mut byte)?;
    let took = start.elapsed();
    let _ = out.read_to_end(&mut Vec::new());
    finish(child)?;
    ensure!(count == 1, "it printed nothing");
    Ok(took)
}

fn finish(child: Child) -> Result<()> {
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Ends a process at once.
///
/// # Errors
/// When it cannot be signalled.
pub fn kill(pid: u32) -> Result<()> {
    let status = Command::new("sh").args(["-c", "kill -9 \"$1\"", "sh", &pid.to_string()]).status()?;
    ensure!(status.success(), "cannot kill {pid}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_needs_a_byte_and_success() {
        let shell = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            first_byte(command)
        };
        assert!(shell("echo x").is_ok());
        assert!(shell("true").is_err());
        assert!(shell("echo x; exit 1").is_err());
    }
}
