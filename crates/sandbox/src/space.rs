//! A session's namespaces and storage.
//!
//! One user namespace and one mount namespace own the session's tmpfs. Nothing of them shows in
//! the host's mount table, and only descriptors keep them alive: when the last holder dies, the
//! kernel frees the storage.
//!
//! | | root | rootless |
//! |---|---|---|
//! | ids | host `base…base+65535` are 0…65535 | host user U is 1000 |
//! | storage | made outside, `noswap` | made inside, can be swapped |

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, mount_change,
};
use thiserror::Error;

use crate::sys::{self, Forked};

/// The user id of apps inside.
pub const INNER_ID: u32 = 1000;
/// Host ids that a root session takes.
pub const SUBORDINATE_COUNT: u32 = 65536;

/// Longest time that making a space may take; past it something in the kernel hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a space is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpacePlan {
    /// An existing empty folder, where the storage is mounted inside the session's namespace.
    pub mount_point: PathBuf,
    /// Most bytes of storage.
    pub storage_bytes: u64,
    /// Most files and folders.
    pub storage_inodes: u64,
    /// First host id of a root session; `None` for a rootless one.
    pub subordinate_base: Option<u32>,
}

/// A session's namespaces and storage, held by descriptors.
#[derive(Debug)]
pub struct Space {
    /// The user namespace.
    pub userns: OwnedFd,
    /// The mount namespace in which the storage is mounted.
    pub mntns: OwnedFd,
    /// The storage's root folder.
    pub storage: OwnedFd,
    /// Whether the kernel promised never to swap the storage out.
    pub storage_noswap: bool,
    /// First host id of a root session; `None` for a rootless one.
    pub subordinate_base: Option<u32>,
    /// Where the storage is mounted in `mntns`.
    pub mount_point: PathBuf,
}

/// Why a space could not be made. Nothing is left behind.
#[derive(Debug, Error)]
pub enum SpaceError {
    /// The system does not let this user make user namespaces.
    #[error("this system does not allow user namespaces here")]
    NamespacesRefused(#[source] io::Error),
    /// The storage could not be made.
    #[error("session storage could not be made")]
    Storage(#[source] io::Error),
    /// The ids could not be mapped.
    #[error("the session's user ids could not be mapped")]
    IdMap(#[source] io::Error),
    /// The storage could not be mounted at its place.
    #[error("session storage could not be mounted at {}", .path.display())]
    Mount {
        /// The mount point.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The process that assembles the namespaces ended early or did not answer in time.
    #[error("the session's namespaces could not be assembled")]
    Assembly(#[source] io::Error),
}

impl Space {
    /// A space that was made before, from descriptors that outlived its maker.
    pub fn from_parts(
        userns: OwnedFd,
        mntns: OwnedFd,
        storage: OwnedFd,
        storage_noswap: bool,
        subordinate_base: Option<u32>,
        mount_point: PathBuf,
    ) -> Self {
        Self { userns, mntns, storage, storage_noswap, subordinate_base, mount_point }
    }

    /// The host ids of the session's apps: what their files and processes are owned by outside.
    pub fn host_ids(&self) -> (u32, u32) {
        match self.subordinate_base {
            Some(base) => (base + INNER_ID, base + INNER_ID),
            None => (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw()),
        }
    }
}

/// Makes a session's namespaces and storage. The caller must have one thread only.
///
/// # Errors
/// See [`SpaceError`].
pub fn create(plan: &SpacePlan) -> Result<Space, SpaceError> {
    let outside = match plan.subordinate_base {
        Some(base) => Some(make_storage(plan, base).map_err(|e| SpaceError::Storage(e.into()))?),
        None => None,
    };
    let (ours, theirs) = sys::socket_pair().map_err(|e| SpaceError::Assembly(e.into()))?;
    let ids = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let flags = (libc::CLONE_NEWUSER | libc::CLONE_NEWNS) as u64;
    // SAFETY: the caller has one thread, as this function demands; the child ends in `leave`.
    let forked = unsafe { sys::fork_with(flags, None) };
    let (pid, _pidfd) = match forked.map_err(|e| SpaceError::NamespacesRefused(e.into()))? {
        Forked::Parent(pid, pidfd) => (pid, pidfd),
        Forked::Child => {
            drop(ours);
            let storage = outside.as_ref().map(|s| s.mount.as_fd());
            assemble(plan, ids, storage, &theirs);
            sys::leave(0)
        }
    };
    drop(theirs);
    let made = collect(plan, pid, &ours, outside);
    // The child waits for this end to close, so that its namespaces can be opened before it ends.
    drop(ours);
    sys::reap(pid);
    made
}

/// The parent's side: writes a root session's maps and opens what the child made.
fn collect(
    plan: &SpacePlan,
    pid: u32,
    socket: &OwnedFd,
    outside: Option<Storage>,
) -> Result<Space, SpaceError> {
    if let Some(base) = plan.subordinate_base {
        let map = format!("0 {base} {SUBORDINATE_COUNT}");
        fs::write(format!("/proc/{pid}/uid_map"), &map).map_err(SpaceError::IdMap)?;
        fs::write(format!("/proc/{pid}/gid_map"), &map).map_err(SpaceError::IdMap)?;
    }
    let message = sys::receive(socket, Instant::now() + PATIENCE)
        .and_then(|m| m.ok_or(Errno::PIPE))
        .map_err(|e| SpaceError::Assembly(e.into()))?;
    let (step, errno) = read_report(&message.bytes);
    match step {
        b'D' => {}
        b'I' => return Err(SpaceError::IdMap(errno)),
        b'S' => return Err(SpaceError::Storage(errno)),
        _ => return Err(SpaceError::Mount { path: plan.mount_point.clone(), source: errno }),
    }
    let (storage, storage_noswap) = match outside {
        Some(storage) => (storage.root, storage.noswap),
        None => {
            let fd = message.fds.into_iter().next();
            (fd.ok_or_else(|| SpaceError::Assembly(Errno::BADMSG.into()))?, false)
        }
    };
    let namespace = |kind: &str| {
        openat(CWD, format!("/proc/{pid}/ns/{kind}"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| SpaceError::Assembly(e.into()))
    };
    Ok(Space {
        userns: namespace("user")?,
        mntns: namespace("mnt")?,
        storage,
        storage_noswap,
        subordinate_base: plan.subordinate_base,
        mount_point: plan.mount_point.clone(),
    })
}

fn read_report(bytes: &[u8]) -> (u8, io::Error) {
    let step = bytes.first().copied().unwrap_or(0);
    let code = bytes.get(1..5).and_then(|b| b.try_into().ok()).map_or(libc::EIO, i32::from_le_bytes);
    (step, io::Error::from_raw_os_error(code))
}

/// The child's side, inside the new namespaces.
fn assemble(plan: &SpacePlan, (uid, gid): (u32, u32), storage: Option<BorrowedFd<'_>>, socket: &OwnedFd) {
    let report = |step: u8, errno: Errno| {
        let mut bytes = vec![step];
        bytes.extend(errno.raw_os_error().to_le_bytes());
        // Nobody is left to tell when this fails.
        let _ = sys::send(socket, &bytes, &[]);
    };
    // A copy of an undumpable process could not write its own maps, and the caller could not
    // open its namespaces.
    let _ = sys::control_process(libc::PR_SET_DUMPABLE, 1);
    // Mounts made on the host later show up here; none made here shows up there.
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    if let Err(errno) = mount_change("/", slave) {
        return report(b'M', errno);
    }
    let inside = if storage.is_none() {
        if let Err(errno) = map_self(uid, gid, INNER_ID) {
            return report(b'I', errno);
        }
        match make_storage(plan, INNER_ID) {
            Ok(storage) => Some(storage),
            Err(errno) => return report(b'S', errno),
        }
    } else {
        None
    };
    let Some(mount) = storage.or(inside.as_ref().map(|s| s.mount.as_fd())) else { return };
    if let Err(errno) = sys::attach(mount, CWD, &plan.mount_point) {
        return report(b'M', errno);
    }
    let root: Vec<BorrowedFd<'_>> = inside.iter().map(|s| s.root.as_fd()).collect();
    if sys::send(socket, b"D", &root).is_ok() {
        // Ends when the caller has opened the namespaces or is gone.
        let _ = sys::receive(socket, Instant::now() + PATIENCE);
    }
}

/// Maps the process's own ids in its new user namespace, which needs no privilege.
pub(crate) fn map_self(uid: u32, gid: u32, inner: u32) -> Result<(), Errno> {
    write_proc("/proc/self/setgroups", "deny")?;
    write_proc("/proc/self/uid_map", &format!("{inner} {uid} 1"))?;
    write_proc("/proc/self/gid_map", &format!("{inner} {gid} 1"))
}

pub(crate) fn write_proc(path: impl AsRef<Path>, text: &str) -> Result<(), Errno> {
    let fd = openat(CWD, path.as_ref(), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&fd, text.as_bytes()).map(drop)
}

/// A mounted tmpfs that is attached nowhere yet.
struct Storage {
    mount: OwnedFd,
    root: OwnedFd,
    noswap: bool,
}

/// Makes the tmpfs, its root owned by `owner` and open to passage only. Kernels before 6.4 and
/// user namespaces refuse `noswap`; then it is made without.
fn make_storage(plan: &SpacePlan, owner: u32) -> Result<Storage, Errno> {
    match make_tmpfs(plan, owner, true) {
        Ok(storage) => Ok(storage),
        Err(Errno::INVAL | Errno::PERM | Errno::NOSYS) => make_tmpfs(plan, owner, false),
        Err(errno) => Err(errno),
    }
}

fn make_tmpfs(plan: &SpacePlan, owner: u32, noswap: bool) -> Result<Storage, Errno> {
    let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let owner = owner.to_string();
    fsconfig_set_string(&fs, "source", "session")?;
    fsconfig_set_string(&fs, "size", plan.storage_bytes.to_string())?;
    fsconfig_set_string(&fs, "nr_inodes", plan.storage_inodes.to_string())?;
    fsconfig_set_string(&fs, "mode", "0711")?;
    fsconfig_set_string(&fs, "uid", &owner)?;
    fsconfig_set_string(&fs, "gid", &owner)?;
    if noswap {
        fsconfig_set_flag(&fs, "noswap")?;
    }
    fsconfig_create(&fs)?;
    let attrs = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let mount = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attrs)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(&mount, ".", flags, Mode::empty())?;
    Ok(Storage { mount, root, noswap })
}
