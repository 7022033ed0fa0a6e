//! A machine's ways of having sessions, and the example that launches one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// First host id of the root sessions made here.
const BASE: u32 = 0x3000_0000;
/// A user that exists nowhere.
pub const STRANGER: u32 = 65533;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Root,
    Rootless,
}

/// The modes this machine can test; those it cannot are named.
pub fn modes() -> Vec<Mode> {
    if rustix::process::geteuid().is_root() {
        return vec![Mode::Root, Mode::Rootless];
    }
    eprintln!("skipped: root sessions need root");
    vec![Mode::Rootless]
}

pub struct World {
    pub mode: Mode,
    pub folder: TempDir,
}

impl World {
    pub fn new(mode: Mode) -> Self {
        let folder = tempfile::Builder::new().prefix("sessile-launch-").tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(folder.path().join("storage")).unwrap();
        Self { mode, folder }
    }

    pub fn launch(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(example());
        command.arg("--folder").arg(self.folder.path().join("storage"));
        match self.mode {
            Mode::Root => command.args(["--base", &BASE.to_string()]),
            Mode::Rootless if rustix::process::geteuid().is_root() => {
                command.args(["--drop", &STRANGER.to_string()])
            }
            Mode::Rootless => &mut command,
        };
        command.args(arguments).output().unwrap()
    }

    /// What a launch prints; `None` when this machine refuses, which is said.
    pub fn printed(&self, arguments: &[&str]) -> Option<String> {
        let output = self.launch(arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if text.starts_with("skipped:") {
            eprintln!("{text}");
            return None;
        }
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(complaints.is_empty(), "{:?}: {complaints}\n{text}", self.mode);
        Some(text)
    }
}

/// The example beside this test's own program.
fn example() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let profile = own.ancestors().find(|a| a.ends_with("deps")).and_then(Path::parent).unwrap();
    let example = profile.join("examples/launch");
    assert!(example.exists(), "{} is built by `cargo test`", example.display());
    example
}

/// Launches in every mode and compares what is printed, line by line.
pub fn expect(arguments: &[&str], lines: &[&str]) {
    for mode in modes() {
        let Some(text) = World::new(mode).printed(arguments) else { continue };
        let found: Vec<&str> = text.lines().collect();
        assert_eq!(found, lines, "{mode:?}");
    }
}
