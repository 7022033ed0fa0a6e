//! What may be left of a world when it has ended: nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::World;
use super::processes::{self, Process};

/// What belongs to a world and must go with it.
#[derive(Debug)]
pub struct Leftovers {
    folder: PathBuf,
    sessions: Vec<String>,
    processes: Vec<Process>,
}

impl Leftovers {
    /// Notes what there is now.
    pub fn expect_none_of(world: &World) -> Self {
        let folder = world.folder().to_owned();
        let mut sessions = names(&world.state().join("sessions"));
        sessions.extend(names(&world.runtime().join("sessions")));
        sessions.sort();
        sessions.dedup();
        let mut processes: Vec<_> = named(&folder).into_iter().flat_map(processes::tree).collect();
        processes.sort();
        processes.dedup();
        Self { folder, sessions, processes }
    }

    /// Looks for what these sessions left as well.
    pub fn and_of(mut self, sessions: impl IntoIterator<Item = String>) -> Self {
        self.sessions.extend(sessions);
        self
    }

    /// Checks that all of it is gone.
    #[track_caller]
    pub fn check(&self) {
        let mut found = Vec::new();
        for process in
            self.processes.iter().copied().chain(named(&self.folder).into_iter().filter_map(Process::of))
        {
            // The daemon's last breath may be later than its answer.
            if !processes::wait_for_end(process.pid, Duration::from_secs(10)) && process.runs() {
                found.push(format!("process {} ({})", process.pid, process.line()));
            }
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let ours = |line: &&str| self.names(line);
        found.extend(mounts.lines().filter(ours).map(|line| format!("mount {line}")));
        for place in ["/sys/fs/cgroup", "/dev/shm"] {
            found.extend(self.below(Path::new(place)).iter().map(|path| path.display().to_string()));
        }
        let runtime = names(&self.folder.join("run/sessions"));
        found.extend(runtime.into_iter().map(|name| format!("runtime folder of {name}")));
        assert!(found.is_empty(), "left over:\n{}", found.join("\n"));
    }

    /// Takes away what a failed test left. Never panics: it may run while a panic is under way.
    pub fn remove(&self) {
        for process in self.processes.iter().filter(|process| process.runs()) {
            processes::kill_quietly(process.pid);
        }
        // The file system of control groups removes a group without processes, folder by folder.
        for group in self.below(Path::new("/sys/fs/cgroup")) {
            for inner in fs::read_dir(&group).into_iter().flatten().flatten() {
                let _ = fs::remove_dir(inner.path());
            }
            let _ = fs::remove_dir(group);
        }
    }

    fn names(&self, text: &str) -> bool {
        text.contains(&*self.folder.to_string_lossy()) || self.sessions.iter().any(|id| text.contains(id))
    }

    /// Entries below a folder whose names name a session.
    fn below(&self, folder: &Path) -> Vec<PathBuf> {
        below(folder, 6, &|name| self.names(name))
    }
}

/// Entries below a folder, not too deep, whose names are such.
pub fn below(folder: &Path, depth: u32, is_such: &dyn Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if is_such(&entry.file_name().to_string_lossy()) {
            found.push(entry.path());
        } else if depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(below(&entry.path(), depth - 1, is_such));
        }
    }
    found
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Processes whose arguments, environment, program or folder name this one. Not the test itself.
fn named(folder: &Path) -> Vec<u32> {
    let text = folder.to_string_lossy();
    let own = std::process::id();
    let names = |pid: u32| {
        let file = |name: &str| {
            let bytes = fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
            String::from_utf8_lossy(&bytes).contains(&*text)
        };
        let link = |name: &str| {
            fs::read_link(format!("/proc/{pid}/{name}")).is_ok_and(|target| target.starts_with(folder))
        };
        file("cmdline") || file("environ") || link("exe") || link("cwd")
    };
    processes::all().into_keys().filter(|&pid| pid != own && names(pid)).collect()
}
