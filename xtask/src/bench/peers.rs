//! The peers, set up to do the same: run one program with the host's system folders read-only,
//! its own temporary folders, and the project folder writable.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::command;

/// What every contender runs; it prints one byte and more.
pub const COMMAND: [&str; 2] = ["/bin/echo", "x"];
/// Folders of the root that are links into `/usr` where the distribution has merged them.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];
const PRIVATE: [&str; 3] = ["/tmp", "/home", "/run"];

/// A mount of a session that a peer has to make too, beyond its own `/proc` and `/dev`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mount {
    /// The host's own, read-only.
    Bound(PathBuf),
    /// An empty folder.
    Empty(PathBuf),
    /// A file of `/proc` that shows nothing.
    Masked(PathBuf),
}

impl Mount {
    /// Reads a session's `/proc/self/mountinfo` (proc(5)). Folders of `/etc` that the session has
    /// in pieces stay in pieces.
    pub fn all(mountinfo: &str) -> Vec<Self> {
        let rows = mountinfo.lines().filter_map(|line| {
            let mut fields = line.split(' ').skip(3);
            Some((fields.next()?, fields.next()?))
        });
        rows.filter_map(|(root, point)| {
            let path = PathBuf::from(point);
            match () {
                () if point == "/" || point == "/proc" || point.starts_with("/dev/") => None,
                () if root == "/null" => Some(Self::Masked(path)),
                () if root.starts_with("/apps/") => Some(Self::Empty(path)),
                () if point.starts_with("/proc/") || root == point => Some(Self::Bound(path)),
                () => None,
            }
        })
        .filter(|mount| mount.path() != Path::new("/proc/sys/kernel/random/boot_id"))
        .collect()
    }

    fn path(&self) -> &Path {
        match self {
            Self::Bound(path) | Self::Empty(path) | Self::Masked(path) => path,
        }
    }
}

/// bubblewrap with everything unshared and a session's mounts.
pub fn bubblewrap(project: &Path, mounts: &[Mount]) -> Command {
    let mut command = Command::new("bwrap");
    command.args(["--unshare-all", "--die-with-parent", "--new-session", "--proc", "/proc", "--dev", "/dev"]);
    for mount in mounts.iter().filter(|mount| !mount.path().starts_with(project)) {
        match mount {
            Mount::Bound(path) => command.arg("--ro-bind").arg(path).arg(path),
            Mount::Empty(path) => command.arg("--tmpfs").arg(path),
            Mount::Masked(path) => command.args(["--ro-bind", "/dev/null"]).arg(path),
        };
    }
    for (name, target) in merged_links() {
        command.arg("--symlink").arg(target).arg(Path::new("/").join(name));
    }
    command.arg("--bind").arg(project).arg(project).arg("--chdir").arg(project);
    command.arg("--").args(COMMAND);
    command
}

fn merged_links() -> Vec<(&'static str, PathBuf)> {
    MERGED
        .into_iter()
        .filter_map(|name| Some((name, fs::read_link(Path::new("/").join(name)).ok()?)))
        .collect()
}

/// An OCI bundle for runc with the same mounts.
#[derive(Debug)]
pub struct Bundle {
    folder: PathBuf,
    runs: u32,
}

impl Bundle {
    /// Has runc write its own default configuration and adds the mounts.
    ///
    /// # Errors
    /// When the folders cannot be made or `runc spec` fails.
    pub fn new(folder: &Path, project: &Path, wanted: &[Mount]) -> Result<Self> {
        let folder = folder.join("bundle");
        let rootfs = folder.join("rootfs");
        let inside = |path: &Path| rootfs.join(path.strip_prefix("/").unwrap_or(path));
        for path in ["/usr", "/etc", "/proc", "/dev", "/sys"].into_iter().chain(PRIVATE) {
            fs::create_dir_all(inside(Path::new(path)))?;
        }
        let outside = |path: &&Path| !path.starts_with("/proc") && !path.starts_with(project);
        for path in wanted.iter().map(Mount::path).filter(outside) {
            if path.is_file() {
                fs::File::create(inside(path))?;
            } else {
                fs::create_dir_all(inside(path))?;
            }
        }
        for (name, target) in merged_links() {
            symlink(target, rootfs.join(name))?;
        }
        command::read(Command::new("runc").arg("spec").arg("--bundle").arg(&folder))?;
        let path = folder.join("config.json");
        let config = configured(serde_json::from_str(&fs::read_to_string(&path)?)?, project, wanted)?;
        fs::write(&path, serde_json::to_vec(&config)?)?;
        Ok(Self { folder, runs: 0 })
    }

    /// One run, under a name of its own.
    pub fn run(&mut self) -> Command {
        self.runs += 1;
        let mut command = Command::new("runc");
        command.arg("--root").arg(self.folder.join("state")).arg("run").arg("--bundle").arg(&self.folder);
        command.arg(format!("sessile-bench-{}-{}", std::process::id(), self.runs));
        command
    }
}

fn configured(mut config: Value, project: &Path, wanted: &[Mount]) -> Result<Value> {
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(COMMAND);
    config["process"]["cwd"] = json!(project);
    // The root folder holds mount points only; runc makes those that are missing in the tmpfs.
    config["root"]["readonly"] = json!(true);
    let mounts = config["mounts"].as_array_mut().context("runc's configuration has no mounts")?;
    // What hides parts of /proc runc does in its own way (masked and read-only paths).
    for mount in wanted.iter().filter(|m| !m.path().starts_with(project) && !m.path().starts_with("/proc")) {
        mounts.push(match mount {
            Mount::Bound(path) => bind(path, &["rbind", "ro"]),
            Mount::Empty(path) | Mount::Masked(path) => {
                json!({"destination": path, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev"]})
            }
        });
    }
    mounts.push(bind(project, &["rbind", "rw"]));
    Ok(config)
}

fn bind(path: &Path, options: &[&str]) -> Value {
    json!({"destination": path, "type": "bind", "source": path, "options": options})
}

/// A pipe with a name, through which a program that has no stream of ours tells that it runs.
#[derive(Debug)]
pub struct Signal {
    path: PathBuf,
    pipe: fs::File,
}

impl Signal {
    /// Makes it.
    ///
    /// # Errors
    /// When it cannot be made or opened.
    pub fn new(path: PathBuf) -> Result<Self> {
        command::read(Command::new("mkfifo").arg(&path))?;
        // Open both ways, so that neither opening nor reading meets an end of file.
        let pipe = fs::File::options().read(true).write(true).open(&path)?;
        Ok(Self { path, pipe })
    }

    /// A shell command that gives the signal.
    pub fn given(&self) -> String {
        format!("echo x > '{}'", self.path.display())
    }

    /// Runs what makes some program give the signal, and says how long that took.
    ///
    /// # Errors
    /// When it fails.
    pub fn time(&mut self, starter: &mut Command) -> Result<Duration> {
        let start = Instant::now();
        command::read(starter)?;
        self.pipe.read_exact(&mut [0u8; 2])?;
        Ok(start.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A few rows of a session's own view (proc(5)), and what peers make of them.
    const VIEW: &str = "1 0 0:1 /apps/main / ro - tmpfs none ro
2 1 0:1 /apps/main/home/user /home/user rw - tmpfs none rw
3 1 8:1 /usr /usr ro - ext4 none rw
4 1 8:1 /p /p rw - ext4 none rw
5 1 0:2 /null /dev/null rw - devtmpfs none rw
6 1 0:3 / /proc rw - proc none rw
7 6 0:3 /sys /proc/sys ro - proc none rw
8 6 0:2 /null /proc/cmdline ro - devtmpfs none rw";

    #[test]
    fn a_sessions_mounts_are_read() {
        let path = PathBuf::from;
        let mounts = [
            Mount::Empty(path("/home/user")),
            Mount::Bound(path("/usr")),
            Mount::Bound(path("/p")),
            Mount::Bound(path("/proc/sys")),
            Mount::Masked(path("/proc/cmdline")),
        ];
        assert_eq!(Mount::all(VIEW), mounts);
    }

    #[test]
    fn the_bundle_gets_the_command_and_the_mounts() {
        let mounts = Mount::all(VIEW);
        let config =
            configured(json!({"process": {}, "root": {}, "mounts": []}), Path::new("/p"), &mounts).unwrap();
        assert_eq!(config["process"]["args"], json!(COMMAND));
        let targets: Vec<_> =
            config["mounts"].as_array().unwrap().iter().map(|m| &m["destination"]).collect();
        assert_eq!(targets, ["/home/user", "/usr", "/p"]);
    }

    #[test]
    fn bubblewrap_runs_the_command_in_the_project() {
        if command::find("bwrap").is_none() {
            eprintln!("skipped: there is no bwrap");
            return;
        }
        let mounts = [Mount::Bound(PathBuf::from("/usr")), Mount::Masked(PathBuf::from("/proc/cmdline"))];
        let printed = command::read(&mut bubblewrap(&std::env::temp_dir(), &mounts)).unwrap();
        assert_eq!(printed, "x\n");
    }

    #[test]
    fn a_signal_is_awaited() {
        let path = std::env::temp_dir().join(format!("sessile-signal-{}", std::process::id()));
        let mut signal = Signal::new(path.clone()).unwrap();
        let given = signal.given();
        let took = signal.time(Command::new("sh").args(["-c", &format!("({given}) &")]));
        fs::remove_file(path).unwrap();
        took.unwrap();
    }
}
