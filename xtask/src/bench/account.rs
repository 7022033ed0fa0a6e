//! An account of memory: of what this process starts, where the system keeps one, else of the whole machine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::processes;

/// Where memory cgroups of the first version are (cgroups(7)). Those of the second have no account here: sessions
/// leave the group that their daemon was started in.
const MEMORY: &str = "/sys/fs/cgroup/memory";

/// From when it is opened on, what this process starts is counted in it.
#[derive(Debug)]
pub struct Account {
    /// The group, and the one that this process was in.
    groups: Option<(PathBuf, PathBuf)>,
}

impl Account {
    /// Opens one, which ends with this value.
    pub fn open() -> Self {
        let home = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let home = home.lines().find_map(|line| line.split_once(":memory:")).map(|(_, path)| path.to_owned());
        let groups = home.and_then(|home| {
            let home = Path::new(MEMORY).join(home.trim_start_matches('/'));
            let group = home.join(format!("bench-{}", std::process::id()));
            fs::create_dir(&group).ok()?;
            Some((group, home))
        });
        match &groups {
            Some((group, _)) if enter(group).is_err() => {
                let _ = fs::remove_dir(group);
                Self { groups: None }
            }
            Some(_) | None => Self { groups },
        }
    }

    /// What the figures are of.
    pub fn scope(&self) -> &'static str {
        if self.groups.is_some() { "with the kernel's part" } else { "with all that goes on on the machine" }
    }

    /// Bytes that belong to no file: of processes, shared, and the kernel's own for them.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn bytes(&self) -> Result<u64> {
        let Some((group, _)) = &self.groups else { return processes::used_bytes() };
        let text = fs::read_to_string(group.join("memory.stat"))?;
        let of = |key: &str| {
            let value =
                text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse::<u64>().ok());
            value.with_context(|| format!("memory.stat has no {key}"))
        };
        let kernel = fs::read_to_string(group.join("memory.kmem.usage_in_bytes"))?;
        Ok(of("total_rss")? + of("total_shmem")? + kernel.trim().parse::<u64>()?)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if let Some((group, home)) = &self.groups {
            // One that something is left in stays; so does this process then.
            let _ = enter(home);
            let _ = fs::remove_dir(group);
        }
    }
}

fn enter(group: &Path) -> std::io::Result<()> {
    fs::write(group.join("cgroup.procs"), std::process::id().to_string())
}
