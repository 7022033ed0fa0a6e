//! An app's root folder: a skeleton in session storage, host folders shown read-only, devices,
//! processes, and what was granted.
//!
//! Everything is assembled below the skeleton while the host's tree is still there, each part as
//! a detached mount that gets its attributes before it is attached. Then the root is swapped and
//! the host's tree is let go.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, readlinkat, statat,
    symlinkat,
};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, mount_change, unmount,
};
use rustix::process::{chdir, fchdir, pivot_root};
use sessile_model::network::TRUST_BUNDLES;

use crate::app::{CERTIFICATES, Grant, Identity};
use crate::capture::Capture;
use crate::etc;
use crate::step::{At, Fault, Step};
use crate::sys::{self, ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID, ATTR_RDONLY};

/// What the root folder is made from.
pub(crate) struct RootPlan<'a> {
    /// The skeleton, relative to the working folder (the root of the session's storage).
    pub skeleton: String,
    pub identity: &'a Identity,
    pub extra_etc: &'a [(String, Vec<u8>)],
    pub capture: Option<Capture>,
    /// Granted folders in the order in which they are mounted.
    pub grants: Vec<Grant<'a>>,
}

const SEALED: u64 = ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV;

/// Folders of the skeleton and their modes.
const FOLDERS: &[(&str, u32)] = &[
    ("dev", 0o755),
    ("dev/pts", 0o755),
    ("dev/shm", 0o1777),
    ("etc", 0o755),
    ("home", 0o755),
    ("home/user", 0o700),
    ("mnt", 0o755),
    ("proc", 0o555),
    ("run", 0o755),
    ("run/lock", 0o755),
    ("run/user", 0o755),
    ("run/user/1000", 0o700),
    ("srv", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("var", 0o755),
    ("var/cache", 0o755),
    ("var/lib", 0o755),
    ("var/log", 0o755),
    ("var/tmp", 0o1777),
];

/// The parts of the skeleton that stay writable.
const WRITABLE: &[&str] = &["home/user", "tmp", "run", "var/tmp", "dev/shm"];

/// Links of the skeleton.
const LINKS: &[(&str, &str)] = &[
    ("dev/ptmx", "pts/ptmx"),
    ("dev/fd", "/proc/self/fd"),
    ("dev/stdin", "/proc/self/fd/0"),
    ("dev/stdout", "/proc/self/fd/1"),
    ("dev/stderr", "/proc/self/fd/2"),
    ("etc/mtab", "/proc/mounts"),
    ("var/run", "../run"),
    ("var/lock", "../run/lock"),
];

/// Folders at the top of the host that are shown whole, or as the links they are.
pub(crate) const SYSTEM: &[&str] = &["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "opt"];

/// Device nodes of the host that are shown.
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

/// Parts of /proc that stay readable but cannot be written.
const PROC_READ_ONLY: &[&str] = &["sys", "irq", "bus", "fs"];

/// Parts of /proc that are hidden: they describe the host's hardware, kernel memory or keys.
const PROC_HIDDEN: &[&str] = &[
    "acpi",
    "asound",
    "cmdline",
    "config.gz",
    "driver",
    "dynamic_debug",
    "iomem",
    "ioports",
    "kallsyms",
    "kcore",
    "key-users",
    "keys",
    "kmsg",
    "kpagecgroup",
    "kpagecount",
    "kpageflags",
    "latency_stats",
    "mdstat",
    "modules",
    "mtrr",
    "partitions",
    "diskstats",
    "sched_debug",
    "scsi",
    "slabinfo",
    "swaps",
    "sysrq-trigger",
    "timer_list",
    "timer_stats",
    "vmallocinfo",
];

/// Assembles the root folder and makes it the process's root. The working folder is the root of
/// the session's storage in this mount namespace.
pub(crate) fn enter(plan: &RootPlan<'_>) -> Result<(), Fault> {
    rustix::process::umask(Mode::empty());
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).on(Step::Root, "propagation")?;
    let files = open_folder(CWD, &plan.skeleton).on(Step::Skeleton, &plan.skeleton)?;
    make_skeleton(&files, plan).map_err(|(errno, what)| Fault { step: Step::Skeleton, errno, what })?;
    let shown = make_etc(&files, plan)?;

    let root = sys::clone_tree_of(&files).on(Step::Root, "clone")?;
    sys::restrict_mount(&root, false, SEALED).on(Step::Root, "seal")?;
    sys::attach_on(&root, &files).on(Step::Root, "attach")?;
    drop(root);
    // The name now leads to the mount on top of the skeleton.
    let root = open_folder(CWD, &plan.skeleton).on(Step::Root, "open")?;

    for part in WRITABLE {
        let tree = sys::clone_tree(&files, *part).on(Step::Root, part)?;
        sys::restrict_mount(&tree, false, ATTR_NOSUID | ATTR_NODEV).on(Step::Root, part)?;
        sys::attach(&tree, &root, *part).on(Step::Root, part)?;
    }
    show_system(&root)?;
    for name in &shown {
        show(&root, &format!("/etc/{name}"), &format!("etc/{name}"), SEALED).on(Step::Etc, name)?;
    }
    if plan.extra_etc.iter().any(|(name, _)| name == CERTIFICATES) {
        show_certificates(&root, &files)?;
    }
    make_devices(&root)?;
    make_processes(&root, &files)?;
    drop(files);
    for grant in &plan.grants {
        mount_grant(&root, grant)?;
    }
    fchdir(&root).on(Step::Root, "chdir")?;
    drop(root);
    pivot_root(".", ".").on(Step::Root, "pivot_root")?;
    unmount(".", UnmountFlags::DETACH).on(Step::Root, "detach")?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    chdir("/").on(Step::Root, "chdir")
}

fn open_folder(at: impl AsFd, path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(at, path, flags, Mode::empty())
}

/// Accepts that something is there already: an app's skeleton is used again when it is reopened.
fn or_exists(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

fn make_skeleton(files: &OwnedFd, plan: &RootPlan<'_>) -> Result<(), (Errno, String)> {
    for (path, mode) in FOLDERS {
        let mode = Mode::from_raw_mode(*mode);
        or_exists(mkdirat(files, *path, mode)).map_err(|e| (e, (*path).to_owned()))?;
    }
    for (path, target) in LINKS {
        or_exists(symlinkat(*target, files, *path)).map_err(|e| (e, (*path).to_owned()))?;
    }
    for name in DEVICES {
        make_file(files, &format!("dev/{name}"), b"", 0o666).map_err(|e| (e, (*name).to_owned()))?;
    }
    // Below the place of the mount of /proc: seen by nobody but the bind over the real one.
    let boot_id = format!("{}\n", plan.identity.boot_id);
    make_file(files, "proc/boot_id", boot_id.as_bytes(), 0o444).map_err(|e| (e, "boot_id".to_owned()))?;
    for name in SYSTEM {
        let host = format!("/{name}");
        let made = match statat(CWD, &host, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                readlinkat(CWD, &host, Vec::new())
                    .and_then(|target| or_exists(symlinkat(target, files, *name)))
            }
            Ok(_) => or_exists(mkdirat(files, *name, Mode::from_raw_mode(0o755))),
            Err(_) => Ok(()),
        };
        made.map_err(|e| (e, host))?;
    }
    if is_folder("/nix/store") {
        make_folders(files, "nix/store").map_err(|e| (e, "/nix/store".to_owned()))?;
    }
    for grant in &plan.grants {
        if !grant.below_another {
            make_place(files, grant).map_err(|e| (e, grant.target.to_owned()))?;
        }
    }
    Ok(())
}

fn is_folder(path: &str) -> bool {
    statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Directory)
}

/// Makes a folder and the folders above it, following no link.
fn make_folders(at: impl AsFd, path: &str) -> Result<OwnedFd, Errno> {
    let mut folder = open_folder(&at, ".")?;
    for name in path.split('/').filter(|n| !n.is_empty()) {
        or_exists(mkdirat(&folder, name, Mode::from_raw_mode(0o755)))?;
        folder = open_folder(&folder, name)?;
    }
    Ok(folder)
}

/// Makes the place in the skeleton where a grant is mounted.
fn make_place(files: &OwnedFd, grant: &Grant<'_>) -> Result<(), Errno> {
    let path = grant.target.trim_start_matches('/');
    if !grant.is_file {
        return make_folders(files, path).map(drop);
    }
    let (folder, name) = path.rsplit_once('/').unwrap_or((".", path));
    let folder = make_folders(files, folder)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(&folder, name, flags, Mode::from_raw_mode(0o644)).map(drop)
}

fn make_file(at: &OwnedFd, path: &str, content: &[u8], mode: u32) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(at, path, flags, Mode::from_raw_mode(mode))?;
    let mut rest = content;
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// Writes the synthetic files of /etc and makes places for the host's entries; returns those.
fn make_etc(files: &OwnedFd, plan: &RootPlan<'_>) -> Result<Vec<String>, Fault> {
    let etc = open_folder(files, "etc").at(Step::Etc)?;
    for (name, content) in etc::synthetic(plan.identity, plan.capture) {
        make_file(&etc, name, content.as_bytes(), 0o644).on(Step::Etc, name)?;
    }
    for (path, content) in plan.extra_etc {
        match path.rsplit_once('/') {
            Some((folder, name)) => {
                let folder = make_folders(&etc, folder).on(Step::Etc, path)?;
                make_file(&folder, name, content, 0o644).on(Step::Etc, path)?;
            }
            None => make_file(&etc, path, content, 0o644).on(Step::Etc, path)?,
        }
    }
    let zone = format!("../usr/share/zoneinfo/{}", plan.identity.timezone);
    or_exists(symlinkat(&zone, &etc, "localtime")).on(Step::Etc, "localtime")?;

    let mut shown = Vec::new();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let host = openat(CWD, "/etc", flags, Mode::empty()).on(Step::Etc, "/etc")?;
    for entry in Dir::read_from(&host).on(Step::Etc, "/etc")? {
        let entry = entry.on(Step::Etc, "/etc")?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if !etc::is_shown(name) {
            continue;
        }
        let stat = statat(&host, name, AtFlags::SYMLINK_NOFOLLOW).on(Step::Etc, name)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Symlink {
            let target = readlinkat(&host, name, Vec::new()).on(Step::Etc, name)?;
            or_exists(symlinkat(target, &etc, name)).on(Step::Etc, name)?;
        } else if kind == FileType::Directory {
            or_exists(mkdirat(&etc, name, Mode::from_raw_mode(0o755))).on(Step::Etc, name)?;
            shown.push(name.to_owned());
        } else if kind == FileType::RegularFile {
            make_file(&etc, name, b"", 0o644).on(Step::Etc, name)?;
            shown.push(name.to_owned());
        }
    }
    Ok(shown)
}

/// Shows a host path below the root, with attributes on it and all mounts below it.
fn show(root: &OwnedFd, source: &str, place: &str, attrs: u64) -> Result<(), Errno> {
    let tree = sys::clone_tree(CWD, source)?;
    sys::restrict_mount(&tree, true, attrs)?;
    sys::attach(&tree, root, place)
}

/// Shows the session's certificates where the host has its own.
fn show_certificates(root: &OwnedFd, files: &OwnedFd) -> Result<(), Fault> {
    for bundle in TRUST_BUNDLES {
        // Where it leads to on the host, which inside is the same place.
        let Ok(path) = std::fs::canonicalize(bundle) else { continue };
        let Some(place) = path.to_str().filter(|p| p.starts_with("/etc/")) else { continue };
        if openat(root, &place[1..], OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).is_err() {
            continue;
        }
        let tree = sys::clone_tree(files, format!("etc/{CERTIFICATES}")).on(Step::Etc, bundle)?;
        sys::restrict_mount(&tree, false, SEALED).on(Step::Etc, bundle)?;
        sys::attach(&tree, root, &place[1..]).on(Step::Etc, bundle)?;
    }
    Ok(())
}

fn show_system(root: &OwnedFd) -> Result<(), Fault> {
    for name in SYSTEM {
        let host = format!("/{name}");
        if is_folder(&host) {
            show(root, &host, name, SEALED).on(Step::SystemTrees, &host)?;
        }
    }
    if is_folder("/nix/store") {
        show(root, "/nix/store", "nix/store", SEALED).on(Step::SystemTrees, "/nix/store")?;
    }
    Ok(())
}

fn make_devices(root: &OwnedFd) -> Result<(), Fault> {
    for name in DEVICES {
        let attrs = ATTR_NOSUID | ATTR_NOEXEC;
        show(root, &format!("/dev/{name}"), &format!("dev/{name}"), attrs).on(Step::Devices, name)?;
    }
    // Terminals belong to the user inside, whoever opens their master.
    let options = [("uid", "1000"), ("gid", "1000"), ("mode", "0620"), ("ptmxmode", "0666"), ("max", "256")];
    let terminals = make_filesystem("devpts", &options).on(Step::Devices, "devpts")?;
    sys::attach(&terminals, root, "dev/pts").on(Step::Devices, "devpts")
}

fn make_filesystem(kind: &str, options: &[(&str, &str)]) -> Result<OwnedFd, Errno> {
    let fs = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&fs, "source", kind)?;
    for (key, value) in options {
        fsconfig_set_string(&fs, *key, *value)?;
    }
    fsconfig_create(&fs)?;
    let mut attrs = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    if kind != "devpts" {
        attrs |= MountAttrFlags::MOUNT_ATTR_NODEV;
    }
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attrs)
}

fn make_processes(root: &OwnedFd, files: &OwnedFd) -> Result<(), Fault> {
    let fresh = make_filesystem("proc", &[]).at(Step::Processes)?;
    sys::attach(&fresh, root, "proc").at(Step::Processes)?;
    let proc = open_folder(root, "proc").at(Step::Processes)?;
    for name in PROC_READ_ONLY {
        let tree = match sys::clone_tree(&proc, *name) {
            Ok(tree) => tree,
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(errno).on(Step::Masks, name),
        };
        let attrs = SEALED | ATTR_NOEXEC;
        sys::restrict_mount(&tree, true, attrs).on(Step::Masks, name)?;
        sys::attach(&tree, &proc, *name).on(Step::Masks, name)?;
    }
    let nothing = open_path(CWD, "/dev/null").on(Step::Masks, "/dev/null")?;
    let empty = open_folder(root, "sys").on(Step::Masks, "sys")?;
    for name in PROC_HIDDEN {
        let kind = match statat(&proc, *name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode),
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(errno).on(Step::Masks, name),
        };
        let cover = if kind == FileType::Directory { &empty } else { &nothing };
        let tree = sys::clone_tree_of(cover).on(Step::Masks, name)?;
        sys::restrict_mount(&tree, false, SEALED | ATTR_NOEXEC).on(Step::Masks, name)?;
        sys::attach(&tree, &proc, *name).on(Step::Masks, name)?;
    }
    let boot_id = "sys/kernel/random/boot_id";
    let tree = sys::clone_tree(files, "proc/boot_id").on(Step::Masks, boot_id)?;
    sys::restrict_mount(&tree, false, SEALED | ATTR_NOEXEC).on(Step::Masks, boot_id)?;
    match sys::attach(&tree, &proc, boot_id) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno).on(Step::Masks, boot_id),
    }
}

fn open_path(at: impl AsFd, path: &str) -> Result<OwnedFd, Errno> {
    openat(at, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

/// Resolves a path below the root without leaving it and without following any link.
fn resolve(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(root, path, flags, Mode::empty(), how)
}

fn mount_grant(root: &OwnedFd, grant: &Grant<'_>) -> Result<(), Fault> {
    let target = grant.target;
    let path = target.trim_start_matches('/');
    let own;
    let tree = match grant.tree {
        Some(tree) => tree,
        None => {
            own = sys::clone_tree(CWD, grant.source).on(Step::Grants, &grant.source.display().to_string())?;
            own.as_fd()
        }
    };
    let sealed = if grant.writable { 0 } else { ATTR_RDONLY };
    sys::restrict_mount(tree, true, ATTR_NOSUID | ATTR_NODEV | sealed).on(Step::Grants, target)?;
    let place = resolve(root.as_fd(), path).on(Step::Grants, target)?;
    sys::attach_on(tree, &place).on(Step::Grants, target)?;
    if grant.writable && !grant.protected.is_empty() {
        let top = resolve(root.as_fd(), path).on(Step::Grants, target)?;
        for path in grant.protected {
            protect(&top, path)?;
        }
    }
    Ok(())
}

/// Mounts a path of a project on itself, read-only; nothing when it does not exist. The folders
/// above it are mounted on themselves too: what is mounted on cannot be renamed or removed, so
/// the path cannot be moved aside and made anew.
fn protect(top: &OwnedFd, path: &str) -> Result<(), Fault> {
    let mut reached = String::new();
    let mut names = path.split('/').filter(|n| !n.is_empty() && *n != ".").peekable();
    while let Some(name) = names.next() {
        if !reached.is_empty() {
            reached.push('/');
        }
        reached.push_str(name);
        let place = match resolve(top.as_fd(), &reached) {
            Ok(place) => place,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(errno).on(Step::Protection, &reached),
        };
        let stat = statat(&place, "", AtFlags::EMPTY_PATH).on(Step::Protection, &reached)?;
        // A file in place of a folder (`.git` of a worktree) says where the folder is.
        let is_last = names.peek().is_none() || FileType::from_raw_mode(stat.st_mode) != FileType::Directory;
        if !is_last && is_mounted_within(top, &place, &reached) {
            continue;
        }
        let tree = sys::clone_tree_of(&place).on(Step::Protection, &reached)?;
        if is_last {
            sys::restrict_mount(&tree, true, ATTR_RDONLY).on(Step::Protection, &reached)?;
        }
        sys::attach_on(&tree, &place).on(Step::Protection, &reached)?;
        if is_last {
            break;
        }
    }
    Ok(())
}

/// Whether an earlier protected path already made this folder a mount of its own.
fn is_mounted_within(top: &OwnedFd, place: &OwnedFd, path: &str) -> bool {
    let parent = match path.rsplit_once('/') {
        Some((parent, _)) => resolve(top.as_fd(), parent),
        None => resolve(top.as_fd(), "."),
    };
    let mount_of = |fd: &OwnedFd| {
        rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, rustix::fs::StatxFlags::MNT_ID).map(|s| s.stx_mnt_id)
    };
    match (parent.as_ref().map(mount_of), mount_of(place)) {
        (Ok(Ok(parent)), Ok(own)) => parent != own,
        _ => false,
    }
}
