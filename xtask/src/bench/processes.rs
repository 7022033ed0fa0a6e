//! Which processes are ours, and the memory they use.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Processes of some sessions, and bytes of memory by kind.
#[derive(Debug, Default, PartialEq)]
pub struct Held {
    /// Anchors, keepers and inits that were found.
    pub ours: usize,
    /// Their proportional set size in bytes.
    pub ours_bytes: u64,
    /// The apps' proportional set size in bytes.
    pub apps_bytes: u64,
}

/// The process that plays this part for a session: its arguments name both.
///
/// # Errors
/// When there is none.
pub fn part(part: &str, session: &str, runtime: &Path) -> Result<u32> {
    let runtime = runtime.to_string_lossy();
    all()
        .into_keys()
        .find(|&pid| {
            let arguments = arguments(pid);
            let has = |wanted: &str| arguments.iter().any(|argument| argument == wanted);
            has(session) && has(&runtime) && arguments.iter().take(2).any(|argument| argument.ends_with(part))
        })
        .with_context(|| format!("no {part} of {session} runs"))
}

/// What a session's anchor started under this name: `sessile-gateway`, or `tor`.
///
/// # Errors
/// When none runs.
pub fn service(name: &str, session: &str, runtime: &Path) -> Result<u32> {
    let anchor = part("anchor", session, runtime)?;
    let is_it = |pid: u32| arguments(pid).first().is_some_and(|first| first == name);
    let children = all().into_iter().filter(|&(_, parent)| parent == anchor);
    children.map(|(pid, _)| pid).find(|&pid| is_it(pid)).with_context(|| format!("no {name} runs"))
}

/// What all sessions below a runtime folder hold. An anchor's children are its keeper and the
/// inits; what is below an init is an app.
///
/// # Errors
/// When a process of ours does not let its memory be read (it does to root).
pub fn held(runtime: &Path) -> Result<Held> {
    let runtime = runtime.to_string_lossy();
    let parents = all();
    let is_anchor = |pid: u32| {
        let arguments = arguments(pid);
        arguments.iter().any(|argument| *argument == runtime)
            && arguments.iter().take(2).any(|argument| argument.ends_with("anchor"))
    };
    let anchors: Vec<u32> = parents.keys().copied().filter(|&pid| is_anchor(pid)).collect();
    let mut held = Held::default();
    for (&pid, &parent) in &parents {
        // A helper may have ended since it was listed.
        if !Path::new(&format!("/proc/{pid}")).exists() {
            continue;
        }
        if anchors.contains(&pid) || anchors.contains(&parent) {
            held.ours += 1;
            held.ours_bytes += proportional_bytes(pid)?;
        } else if anchors.iter().any(|&anchor| is_below(pid, anchor, &parents)) {
            held.apps_bytes += proportional_bytes(pid)?;
        }
    }
    Ok(held)
}

/// The processes with such arguments and such an environment (proc(5), `environ`).
pub fn having(is_it: impl Fn(&[String], &str) -> bool) -> Vec<u32> {
    let is_such = |&pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        is_it(&arguments(pid), &String::from_utf8_lossy(&environment))
    };
    all().into_keys().filter(is_such).collect()
}

fn is_below(pid: u32, ancestor: u32, parents: &BTreeMap<u32, u32>) -> bool {
    let mut next = pid;
    while let Some(&parent) = parents.get(&next) {
        if parent == ancestor {
            return true;
        }
        next = parent;
    }
    false
}

/// Every process and its parent.
fn all() -> BTreeMap<u32, u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid: u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            Some((pid, status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()?))
        })
        .collect()
}

fn arguments(pid: u32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    bytes.split(|&byte| byte == 0).map(|argument| String::from_utf8_lossy(argument).into_owned()).collect()
}

/// The proportional set size in bytes of the processes whose environment names this folder.
///
/// # Errors
/// When a process does not let its memory be read (it does to root).
pub fn held_at(place: &Path) -> Result<u64> {
    let place = place.to_string_lossy();
    let mut bytes = 0;
    for pid in having(|_, environment| environment.contains(&*place)) {
        match proportional_bytes(pid) {
            Ok(own) => bytes += own,
            // It may have ended since it was listed.
            Err(_) if !Path::new(&format!("/proc/{pid}/exe")).exists() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

fn proportional_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    kibibytes(&text, "Pss:").with_context(|| format!("{path} has no Pss"))
}

/// The resident bytes of one process.
///
/// # Errors
/// When it is gone.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    kibibytes(&text, "VmRSS:").context("no VmRSS")
}

/// Bytes in use, the kernel's own among them: all but what is free and what is of files. What a build has left in
/// the cache may go meanwhile and says nothing.
///
/// # Errors
/// When the system does not say.
pub fn used_bytes() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let of = |key: &str| kibibytes(&text, key).with_context(|| format!("no {key}"));
    // Memory that is shared, and what a tmpfs holds, counts among what is cached.
    let files = (of("Buffers:")? + of("Cached:")?).saturating_sub(of("Shmem:")?);
    Ok(of("MemTotal:")?.saturating_sub(of("MemFree:")? + files))
}

/// Bytes that the kernel uses for objects of its own.
///
/// # Errors
/// When it does not say.
pub fn slab_bytes() -> Result<u64> {
    kibibytes(&fs::read_to_string("/proc/meminfo")?, "Slab:").context("no Slab")
}

fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(value.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_in_bytes() {
        assert_eq!(kibibytes("Rss:  9 kB\nPss:       12 kB\n", "Pss:"), Some(12 * 1024));
        assert_eq!(kibibytes("Pss: many\n", "Pss:"), None);
    }

    #[test]
    fn descent_is_followed_to_the_root() {
        let parents = BTreeMap::from([(2, 1), (3, 2), (4, 3), (9, 1)]);
        assert!(is_below(4, 2, &parents));
        assert!(!is_below(9, 2, &parents));
    }
}
