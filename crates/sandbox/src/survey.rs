//! What this machine gives, property by property, and the command that mends what it does not.
//!
//! Features are tried, not guessed from the kernel's version, wherever trying leaves no trace.

mod attempt;
mod folders;

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sessile_model::Property;
use sessile_model::receipt::{ClaimLevel, Residue};

use crate::cgroup::{Asker, Controller, Layout};
use crate::confine;
use crate::wipe;

pub use folders::Folders;

/// How far the machine gives a feature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Gives {
    /// As designed.
    Full,
    /// Less than that.
    Weaker {
        /// What is weaker for it, in a sentence.
        what: String,
    },
    /// Not at all: its property cannot hold.
    Missing,
}

/// One feature that a property rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The property.
    pub property: Property,
    /// The feature, as documentation calls it.
    pub feature: String,
    /// How far this machine gives it.
    pub gives: Gives,
    /// What was found.
    pub detail: String,
    /// The command or setting that mends it, where there is one.
    pub mend: Option<String>,
}

impl Finding {
    fn full(property: Property, feature: &str, detail: impl Into<String>) -> Self {
        Self::new(property, feature, Gives::Full, detail, None)
    }

    fn new(
        property: Property,
        feature: &str,
        gives: Gives,
        detail: impl Into<String>,
        mend: Option<&str>,
    ) -> Self {
        let (feature, mend) = (feature.to_owned(), mend.map(str::to_owned));
        Self { property, feature, gives, detail: detail.into(), mend }
    }
}

fn weaker(what: &str) -> Gives {
    Gives::Weaker { what: what.to_owned() }
}

/// Looks at this machine as this user, with `project` as the project; `folders` are where sockets and
/// records go, or why there are none.
pub fn survey(project: &Path, folders: Result<&Folders, &str>) -> Vec<Finding> {
    let root = rustix::process::geteuid().is_root();
    let mut findings = vec![namespaces(root), network_namespace(root), network_capture()];
    findings.extend([uts_namespace(), idmapped_mounts(root, project)]);
    findings.extend([no_new_privs(), seccomp()]);
    findings.extend(landlock());
    findings.extend(cgroups());
    findings.extend(calls());
    findings.extend([storage(root), swap(), secret_memory(), locked_memory()]);
    findings.extend([overwriting(), page_scan(), freed_memory()]);
    findings.extend([core_dumps(), lingering(root)]);
    findings.extend(folders::folders(folders));
    findings.sort_by_key(|f| f.property);
    findings
}

/// How far a receipt of this machine can claim, and what may remain after every wipe on it.
/// A wipe's own figures add to this; lines of the same name are about the same thing.
pub fn claim_level() -> (ClaimLevel, Vec<Residue>) {
    let swaps = read("/proc/swaps");
    residue(clears_freed_memory(), swaps.lines().skip(1).count())
}

fn residue(clears_freed: bool, swaps: usize) -> (ClaimLevel, Vec<Residue>) {
    let line = |what: &str, why: &str, mend: &str| Residue {
        what: what.to_owned(),
        why: why.to_owned(),
        mend: Some(mend.to_owned()),
    };
    let mut lines = Vec::new();
    if swaps > 0 {
        lines.push(line("swap", "swap is in use: pages of apps may have been written to it", "swapoff -a"));
    }
    if clears_freed {
        return (ClaimLevel::L2, lines);
    }
    let mend = "boot with init_on_free=1";
    lines.push(line(
        "freed memory",
        "pages that apps gave back or copied while they ran are freed, not overwritten",
        mend,
    ));
    lines.push(line(
        "kernel buffers",
        "what was in pipes, sockets, terminals, message queues and saved registers is freed, not overwritten",
        mend,
    ));
    lines.push(line(
        "names and attributes",
        "names of files, targets of links and extended attributes are freed, not overwritten",
        mend,
    ));
    (ClaimLevel::L1, lines)
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn namespaces(root: bool) -> Finding {
    let (property, feature) = (Property::Sandbox, "user namespaces");
    let inner = libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    let (step, why) = match attempt::Child::unshare(&[libc::CLONE_NEWUSER, inner]) {
        Ok(_) => return Finding::full(property, feature, "made, with all others inside"),
        Err(refused) => refused,
    };
    let set = |path: &str, value: &str| read(path).trim() == value;
    let mend = if !root && set("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "sysctl -w kernel.unprivileged_userns_clone=1"
    } else if set("/proc/sys/user/max_user_namespaces", "0") {
        "sysctl -w user.max_user_namespaces=15000"
    } else if !root && set("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    } else {
        "allow user namespaces here (a container must be started with them allowed)"
    };
    let what = if step == 0 { "a user namespace" } else { "the namespaces inside it" };
    Finding::new(property, feature, Gives::Missing, format!("{what} cannot be made: {why}"), Some(mend))
}

fn network_namespace(root: bool) -> Finding {
    let (property, feature) = (Property::Routing, "network namespace");
    let sets = [libc::CLONE_NEWUSER, libc::CLONE_NEWNET];
    match attempt::Child::unshare(if root { &sets[1..] } else { &sets }) {
        Ok(_) => Finding::full(property, feature, "made: an app without a route has no way out"),
        Err((_, why)) => Finding::new(
            property,
            feature,
            Gives::Missing,
            format!("cannot be made: {why}"),
            Some("see user namespaces"),
        ),
    }
}

fn network_capture() -> Finding {
    let (property, feature) = (Property::Routing, "network capture");
    match attempt::capture() {
        Ok(()) => {
            Finding::full(property, feature, "nf_tables redirects what an app sends, tried in a namespace")
        }
        Err(why) => Finding::new(
            property,
            feature,
            weaker("an app with a network reaches it by programs that obey a proxy, and resolves no names"),
            format!("nf_tables does not redirect: {why}"),
            Some("modprobe -a nf_tables nft_chain_nat nft_redir nft_reject_inet nft_ct"),
        ),
    }
}

fn uts_namespace() -> Finding {
    let (property, feature) = (Property::Identity, "host name namespace");
    if Path::new("/proc/self/ns/uts").exists() {
        Finding::full(property, feature, "apps see a host name of their own")
    } else {
        let detail = "apps would see the host's name";
        Finding::new(property, feature, Gives::Missing, detail, Some("use a kernel with CONFIG_UTS_NS"))
    }
}

fn idmapped_mounts(root: bool, folder: &Path) -> Finding {
    let (property, feature) = (Property::Identity, "idmapped mounts");
    if !root {
        return Finding::full(property, feature, "not needed: an ordinary user's files stay its own");
    }
    match attempt::idmapped_mount(folder) {
        Ok(()) => Finding::full(property, feature, "this folder's file system has them"),
        Err(why) => Finding::new(
            property,
            feature,
            weaker("a project in this folder can be given as a copy only"),
            format!("not on this folder's file system: {why}"),
            Some("use --project .:copy, or a project on ext4, xfs, btrfs or tmpfs"),
        ),
    }
}

fn no_new_privs() -> Finding {
    let (property, feature) = (Property::Sandbox, "no_new_privs");
    if read("/proc/self/status").contains("\nNoNewPrivs:") {
        Finding::full(property, feature, "set for every app")
    } else {
        let mend = "use Linux 4.10 or newer";
        Finding::new(property, feature, Gives::Missing, "this kernel does not show it", Some(mend))
    }
}

fn seccomp() -> Finding {
    let (property, feature) = (Property::Sandbox, "seccomp");
    match attempt::seccomp_filter() {
        Ok(()) => Finding::full(property, feature, "filters are available"),
        Err(why) => Finding::new(
            property,
            feature,
            Gives::Missing,
            format!("filters are not available: {why}"),
            Some("use a kernel with CONFIG_SECCOMP_FILTER"),
        ),
    }
}

fn landlock() -> Vec<Finding> {
    let abi = confine::landlock_abi();
    let features = [
        (1, "5.13", "files", "files are confined by mounts alone"),
        (2, "5.19", "moving files between folders", "moving files between folders is refused altogether"),
        (3, "6.2", "truncation", "files that may not be written could be truncated"),
        (4, "6.7", "TCP ports", "TCP is confined by the network namespace alone"),
        (5, "6.10", "device ioctls", "ioctls on devices are confined by seccomp alone"),
        (6, "6.12", "signals and abstract sockets", "those are confined by namespaces alone"),
    ];
    let finding = |(needs, since, what, without): (u8, &str, &str, &str)| {
        let feature = format!("Landlock: {what}");
        if abi >= needs {
            return Finding::full(Property::Sandbox, &feature, format!("ABI {abi}"));
        }
        let mend = if abi == 0 {
            "boot with landlock in the list of lsm=, on Linux 5.13 or newer".to_owned()
        } else {
            format!("use Linux {since} or newer")
        };
        let detail = format!("needs ABI {needs}, this kernel has {abi}");
        Finding::new(Property::Sandbox, &feature, weaker(without), detail, Some(&mend))
    };
    features.map(finding).into()
}

fn cgroups() -> Vec<Finding> {
    let property = Property::Sandbox;
    let layout = Layout::detect();
    let asker = Asker::here();
    let writable =
        |p: &PathBuf| rustix::fs::access(p.join("cgroup.procs"), rustix::fs::Access::WRITE_OK).is_ok();
    let mut findings = Vec::new();
    findings.push(match layout.unified.iter().find(|p| writable(p)) {
        Some(place) => {
            Finding::full(property, "freeze and kill", format!("control groups under {}", place.display()))
        }
        None => Finding::new(
            property,
            "freeze and kill",
            weaker("apps are frozen by repeated SIGSTOP and killed by their init"),
            "no control group of version 2 may be made here",
            Some(&asker.mend(&layout, "cpu memory pids")),
        ),
    });
    for controller in Controller::ALL {
        let feature = format!("{} limit", controller.name());
        let unified = layout.unified.iter().find(|p| {
            let list = fs::read_to_string(p.join("cgroup.controllers")).unwrap_or_default();
            writable(p) && list.split_whitespace().any(|c| c == controller.name())
        });
        let single = layout.single.iter().find(|(c, p)| *c == controller && writable(p));
        let place = unified.or(single.map(|(_, p)| p));
        findings.push(match place {
            Some(place) => Finding::full(property, &feature, format!("under {}", place.display())),
            None => Finding::new(
                property,
                &feature,
                weaker(if controller == Controller::Pids {
                    "RLIMIT_NPROC limits processes instead, per app"
                } else {
                    "asking for this limit is refused"
                }),
                "no control group with this controller may be made here",
                Some(&asker.mend(&layout, controller.name())),
            ),
        });
    }
    findings
}

fn calls() -> Vec<Finding> {
    let property = Property::Sandbox;
    let pidfd = rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty());
    [
        ("pidfd", pidfd.is_ok(), "5.3"),
        ("clone3", attempt::has_clone3(), "5.3"),
        ("close_range", attempt::has_close_range(), "5.9"),
    ]
    .map(|(call, has, since)| {
        if has {
            return Finding::full(property, call, "available");
        }
        let mend = format!("use Linux {since} or newer");
        Finding::new(property, call, Gives::Missing, "not available, or forbidden here", Some(&mend))
    })
    .into()
}

fn storage(root: bool) -> Finding {
    let (property, feature) = (Property::Amnesia, "tmpfs noswap");
    let swapped = read("/proc/swaps").lines().count() > 1;
    match attempt::tmpfs_noswap() {
        Ok(()) => Finding::full(property, feature, "session storage is never swapped"),
        Err(_) if !swapped => {
            Finding::full(property, feature, "not available, but no swap is in use: storage stays in memory")
        }
        Err(why) => {
            let mend = if root { "use Linux 6.4 or newer, or swapoff -a" } else { "swapoff -a" };
            let detail = format!("not available{}: {why}", if root { "" } else { " in a user namespace" });
            Finding::new(property, feature, weaker("session storage may be swapped"), detail, Some(mend))
        }
    }
}

fn swap() -> Finding {
    let (property, feature) = (Property::Amnesia, "swap");
    let swaps = read("/proc/swaps");
    let names: Vec<_> = swaps.lines().skip(1).filter_map(|l| l.split_whitespace().next()).collect();
    if names.is_empty() {
        return Finding::full(property, feature, "none is in use");
    }
    Finding::new(
        property,
        feature,
        weaker("memory of apps may be written to it and stays there"),
        format!("in use: {}", names.join(", ")),
        Some("swapoff -a, or encrypt it with a key that is new at every boot"),
    )
}

fn secret_memory() -> Finding {
    let (property, feature) = (Property::Amnesia, "memfd_secret");
    match attempt::memfd_secret() {
        Ok(()) => Finding::full(property, feature, "keys are out of the kernel's own reach"),
        Err(why) => Finding::new(
            property,
            feature,
            weaker("keys are in locked memory, which root can read"),
            format!("not available: {why}"),
            Some("boot with secretmem.enable=1 (on by default since Linux 6.5)"),
        ),
    }
}

fn locked_memory() -> Finding {
    let (property, feature) = (Property::Amnesia, "locked memory");
    match rustix::process::getrlimit(rustix::process::Resource::Memlock).current {
        Some(limit) if limit < 64 << 10 => Finding::new(
            property,
            feature,
            weaker("keys may be swapped"),
            format!("RLIMIT_MEMLOCK is {limit} bytes"),
            Some("ulimit -l 8192 (limits.conf: memlock)"),
        ),
        Some(limit) => Finding::full(property, feature, format!("RLIMIT_MEMLOCK is {limit} bytes")),
        None => Finding::full(property, feature, "RLIMIT_MEMLOCK is unlimited"),
    }
}

fn overwriting() -> Finding {
    let (property, feature) = (Property::Amnesia, "overwriting memory");
    match attempt::write_other_memory() {
        Ok(()) => Finding::full(property, feature, "/proc/PID/mem of own processes can be written"),
        Err(why) => Finding::new(
            property,
            feature,
            Gives::Missing,
            format!("memory of apps cannot be overwritten: {why}"),
            Some("set kernel.yama.ptrace_scope below 3, and boot without proc_mem.force_override"),
        ),
    }
}

fn page_scan() -> Finding {
    let (property, feature) = (Property::Amnesia, "PAGEMAP_SCAN");
    if wipe::has_page_scan() {
        Finding::full(property, feature, "sparse memory is overwritten at once")
    } else {
        let what = weaker("overwriting sparse memory takes time in proportion to its size");
        Finding::new(property, feature, what, "not available", Some("use Linux 6.7 or newer"))
    }
}

fn freed_memory() -> Finding {
    let (property, feature) = (Property::Amnesia, "init_on_free");
    if clears_freed_memory() {
        return Finding::full(property, feature, "the kernel clears what it frees: claim level L2");
    }
    Finding::new(
        property,
        feature,
        weaker("receipts claim level L1: freed memory and kernel buffers may remain"),
        "off",
        Some("boot with init_on_free=1 (costs a few per cent of speed)"),
    )
}

/// Whether the kernel clears memory when it frees it. Off when it cannot be told.
fn clears_freed_memory() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    clears_freed(&read("/proc/cmdline"), &read(&format!("/boot/config-{release}")))
}

fn clears_freed(command_line: &str, config: &str) -> bool {
    let last = command_line.split_whitespace().filter_map(|w| w.strip_prefix("init_on_free=")).next_back();
    match last {
        Some(value) => matches!(value, "1" | "y" | "Y" | "on"),
        None => config.lines().any(|l| l == "CONFIG_INIT_ON_FREE_DEFAULT_ON=y"),
    }
}

fn core_dumps() -> Finding {
    let (property, feature) = (Property::Amnesia, "core dumps");
    let pattern = read("/proc/sys/kernel/core_pattern");
    let pattern = pattern.trim();
    if !pattern.starts_with(['|', '@']) {
        return Finding::full(property, feature, "go to files; apps have RLIMIT_CORE 1, which prevents it");
    }
    // RLIMIT_CORE does not limit pipes, but the value 1 is a signal to leave the dump out (core(5)
    // and the kernel's coredump.c).
    Finding::full(property, feature, format!("go to {pattern}; apps have RLIMIT_CORE 1, which prevents it"))
}

fn lingering(root: bool) -> Finding {
    let (property, feature) = (Property::Amnesia, "lingering");
    if root || !Path::new("/run/systemd/system").exists() {
        return Finding::full(property, feature, "not needed: nothing ends these processes at logout");
    }
    let uid = rustix::process::getuid().as_raw();
    match user_name(&read("/etc/passwd"), uid) {
        Some(name) if Path::new("/var/lib/systemd/linger").join(name).exists() => {
            Finding::full(property, feature, "on: sessions outlive the logout")
        }
        Some(_) | None => Finding::new(
            property,
            feature,
            weaker("systemd may end sessions at logout before they are wiped"),
            "off",
            Some("loginctl enable-linger"),
        ),
    }
}

fn user_name(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_property_rests_on_something_and_what_lacks_says_how_to_mend_it() {
        let findings = survey(Path::new("."), Err("no home folder"));
        for property in Property::ALL {
            assert!(findings.iter().any(|f| f.property == property), "{property}");
        }
        for finding in &findings {
            assert_eq!(finding.gives == Gives::Full, finding.mend.is_none(), "{finding:?}");
            assert!(!finding.detail.is_empty(), "{finding:?}");
            eprintln!("{} {}: {:?} ({})", finding.property, finding.feature, finding.gives, finding.detail);
        }
    }

    #[test]
    fn the_last_word_on_the_command_line_counts() {
        let on = "CONFIG_INIT_ON_FREE_DEFAULT_ON=y\n";
        let off = "# CONFIG_INIT_ON_FREE_DEFAULT_ON is not set\n";
        for (line, config, expected) in [
            ("quiet", off, false),
            ("quiet", on, true),
            ("init_on_free=1 quiet", off, true),
            ("init_on_free=0", on, false),
            ("init_on_free=0 init_on_free=on", off, true),
            ("xinit_on_free=1", off, false),
            ("quiet", "", false),
        ] {
            assert_eq!(clears_freed(line, config), expected, "{line:?} {config:?}");
        }
    }

    #[test]
    fn only_a_kernel_that_clears_what_it_frees_allows_the_higher_claim() {
        let (level, lines) = residue(false, 1);
        let names: Vec<_> = lines.iter().map(|l| l.what.as_str()).collect();
        assert_eq!(level, ClaimLevel::L1);
        assert_eq!(names, ["swap", "freed memory", "kernel buffers", "names and attributes"]);
        assert!(lines.iter().all(|l| l.mend.is_some()));
        assert_eq!(residue(true, 0), (ClaimLevel::L2, Vec::new()));
        assert_eq!(residue(true, 1).1.len(), 1);
    }

    #[test]
    fn users_are_found_by_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\nbroken\n";
        assert_eq!(user_name(passwd, 1000), Some("ann"));
        assert_eq!(user_name(passwd, 7), None);
    }

    #[test]
    fn a_refused_namespace_is_told_with_its_reason() {
        let refused = attempt::Child::unshare(&[0, -1]).err().unwrap();
        assert_eq!((refused.0, refused.1.raw_os_error()), (1, Some(libc::EINVAL)));
    }
}
