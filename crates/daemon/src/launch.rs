//! Starting a session's anchor, and removing what a session leaves in the runtime folder.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use command_fds::{CommandFdExt as _, FdMapping, FdMappingCollision};
use rustix::mount::UnmountFlags;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use sessile_model::SessionId;
use thiserror::Error;
use tokio::process::Child;

use crate::keeper_link::{KeeperLink, LinkError};
use crate::paths::Folders;

/// Connections that wait while no keeper runs.
const BACKLOG: i32 = 128;
/// The anchor's descriptors, as ARCHITECTURE.md numbers them.
const ANCHOR_LISTENER: i32 = 3;
const KEEPER_LISTENER: i32 = 4;
const ANCHOR_IMAGE: i32 = 5;
const KEEPER_IMAGE: i32 = 6;
const GATEWAY_IMAGE: i32 = 7;
const GUARD_IMAGE: i32 = 8;
/// Where programs that a keeper needs are found (`newuidmap`).
pub(crate) const PROGRAMS: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The sealed programs that sessions run on.
#[derive(Debug)]
pub struct Images {
    /// The anchor's.
    pub anchor: OwnedFd,
    /// The keeper's.
    pub keeper: OwnedFd,
    /// The gateway's.
    pub gateway: OwnedFd,
    /// The guard's.
    pub guard: OwnedFd,
}

/// Why a session's anchor could not be started. Nothing is left of it.
#[derive(Debug, Error)]
pub enum LaunchError {
    /// A folder could not be made.
    #[error("the session's folder could not be made")]
    Folder(#[source] io::Error),
    /// A socket could not be bound.
    #[error("the session's socket could not be bound")]
    Socket(#[source] io::Error),
    /// The keeper-to-be cannot be connected to.
    #[error("the session's socket could not be connected to")]
    Connect(#[source] LinkError),
    /// A descriptor could not be copied.
    #[error("a descriptor could not be copied")]
    Descriptor(#[source] io::Error),
    /// Two descriptors were given one number: our own mistake.
    #[error("descriptors collide")]
    Collision(#[from] FdMappingCollision),
    /// The system starts no process.
    #[error("the session's anchor could not be started")]
    Spawn(#[source] io::Error),
}

/// What an anchor is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A session that is being opened.
    Session,
    /// One to come: a mark in its runtime folder says so, and which host user ids it will have.
    Spare {
        /// The first of them; `None` for a rootless session.
        subordinate_base: Option<u32>,
    },
}

/// An anchor that was started, and the way to its keeper.
#[derive(Debug)]
pub struct Started {
    /// The session's id.
    pub id: SessionId,
    /// The slot that is held for it.
    pub slot: Option<u32>,
    /// The anchor.
    pub anchor: Child,
    /// A connection to the keeper. It ends with this process: a keeper that was told nothing then
    /// ends as well.
    pub link: KeeperLink,
}

/// Makes the session's folders and sockets and starts its anchor, which starts its keeper. When
/// it returns, both sockets take connections; this process holds neither.
///
/// # Errors
/// When any step fails; the folders are removed again.
pub async fn start(
    folders: &Folders,
    id: SessionId,
    images: &Images,
    version: &str,
    purpose: Purpose,
) -> Result<Started, LaunchError> {
    let started = match make_folders(folders, id, purpose) {
        Ok(()) => start_in(folders, id, images, version).await,
        Err(e) => Err(e),
    };
    if started.is_err() {
        // The error at hand says more than one about the removal would.
        let _ = std::fs::remove_dir_all(folders.runtime_of(id));
        let _ = std::fs::remove_dir_all(folders.state_of(id));
    }
    started
}

fn make_folders(folders: &Folders, id: SessionId, purpose: Purpose) -> Result<(), LaunchError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.mode(0o700);
    builder.create(folders.runtime_of(id)).map_err(LaunchError::Folder)?;
    match purpose {
        Purpose::Session => {}
        Purpose::Spare { subordinate_base } => {
            let mark = subordinate_base.map(|base| base.to_string()).unwrap_or_default();
            let mut file = File::create_new(folders.spare_mark(id)).map_err(LaunchError::Folder)?;
            file.write_all(mark.as_bytes()).map_err(LaunchError::Folder)?;
        }
    }
    builder.create(folders.state_of(id)).map_err(LaunchError::Folder)
}

async fn start_in(
    folders: &Folders,
    id: SessionId,
    images: &Images,
    version: &str,
) -> Result<Started, LaunchError> {
    let anchor_listener = listener(&folders.anchor_socket(id), SocketType::SEQPACKET)?;
    let keeper_listener = listener(&folders.keeper_socket(id), SocketType::STREAM)?;
    // Before there is anybody to hear it: no keeper is without a connection from its birth on.
    let link = KeeperLink::open(&folders.keeper_socket(id), version).await.map_err(LaunchError::Connect)?;
    let copy = |fd: &OwnedFd| fd.try_clone().map_err(LaunchError::Descriptor);
    let mappings = vec![
        FdMapping { parent_fd: anchor_listener, child_fd: ANCHOR_LISTENER },
        FdMapping { parent_fd: keeper_listener, child_fd: KEEPER_LISTENER },
        FdMapping { parent_fd: copy(&images.anchor)?, child_fd: ANCHOR_IMAGE },
        FdMapping { parent_fd: copy(&images.keeper)?, child_fd: KEEPER_IMAGE },
        FdMapping { parent_fd: copy(&images.gateway)?, child_fd: GATEWAY_IMAGE },
        FdMapping { parent_fd: copy(&images.guard)?, child_fd: GUARD_IMAGE },
    ];
    // Resolved in the child after the descriptors have their numbers there.
    let mut command = Command::new(format!("/proc/self/fd/{ANCHOR_IMAGE}"));
    command
        .arg0("sessile-anchor")
        .arg("anchor")
        .arg(id.to_string())
        .arg(&folders.runtime)
        .arg(&folders.state)
        .current_dir("/")
        // Nothing of the opener's surroundings reaches a session but what was granted to it.
        .env_clear()
        .env("PATH", PROGRAMS)
        // It makes itself the leader of a session of its own, which the leader of a process group
        // could not. In the daemon's it would lose a stopped keeper (SIGHUP) when the daemon dies.
        .stdin(Stdio::null());
    let debug = std::env::var_os("SESSILE_DEBUG").filter(|v| !v.is_empty());
    if let Some(level) = debug {
        command.env("SESSILE_DEBUG", level);
        let path = folders.state.join("keeper-debug.log");
        let log = File::options().create(true).append(true).open(path).map_err(LaunchError::Folder)?;
        command.stdout(log.try_clone().map_err(LaunchError::Descriptor)?).stderr(log);
    } else {
        command.stdout(Stdio::null()).stderr(Stdio::null());
    }
    command.fd_mappings(mappings)?;
    // The command owns the listeners and drops them on return.
    let anchor = tokio::process::Command::from(command).spawn().map_err(LaunchError::Spawn)?;
    Ok(Started { id, slot: None, anchor, link })
}

fn listener(path: &Path, kind: SocketType) -> Result<OwnedFd, LaunchError> {
    let bind = || {
        let address = SocketAddrUnix::new(path)?;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
        rustix::net::bind(&socket, &address)?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(socket)
    };
    bind().map_err(|e: rustix::io::Errno| LaunchError::Socket(e.into()))
}

/// Removes a session's runtime folder when nothing of the session runs any more. Returns how
/// many mounts and entries were there.
///
/// # Errors
/// When something in it cannot be removed.
pub fn remove_runtime(folder: &Path) -> io::Result<u32> {
    let device = match std::fs::symlink_metadata(folder) {
        Ok(found) => found.dev(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(e) => return Err(e),
    };
    let mut count = 0;
    // Storage that is mounted here can be seen through: unmounted first, so that the removal
    // stays on this file system.
    let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
    while rustix::mount::unmount(folder.join("storage"), flags).is_ok() {
        count += 1;
    }
    count += remove_tree(folder, device)?;
    Ok(count)
}

fn remove_tree(folder: &Path, device: u64) -> io::Result<u32> {
    let mut count = 1;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let found = std::fs::symlink_metadata(&path)?;
        if found.dev() != device {
            return Err(io::Error::other("something is still mounted in the session's runtime folder"));
        }
        if found.is_dir() {
            count += remove_tree(&path, device)?;
        } else {
            std::fs::remove_file(&path)?;
            count += 1;
        }
    }
    std::fs::remove_dir(folder)?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::tests::record;

    /// A program that is on the disk, in an image's place.
    fn image_of(path: &str) -> OwnedFd {
        File::open(path).unwrap().into()
    }

    fn folders(top: &Path) -> Folders {
        let folders = Folders { runtime: top.join("r"), state: top.join("s") };
        folders.prepare().unwrap();
        folders
    }

    #[tokio::test]
    async fn what_is_started_has_exactly_its_descriptors_and_no_foreign_environment() {
        sessile_anchor::inherit::keep_to_ourselves().unwrap();
        // As in a daemon, low numbers are taken for good: what tells of a failed exec then has a
        // number that the mapping does not touch.
        let _held = [(); 9].map(|()| File::open("/dev/null").unwrap());
        let top = tempfile::tempdir().unwrap();
        let folders = folders(top.path());
        let id = record(1, None, sessile_model::State::Bringup).id;
        // A program that stays, in the anchor's place: its descriptors can be looked at.
        let images = Images {
            anchor: image_of("/usr/bin/sleep"),
            keeper: image_of("/bin/true"),
            gateway: image_of("/bin/true"),
            guard: image_of("/bin/true"),
        };
        let mut command = Command::new("/proc/self/fd/5");
        command.arg0("sleep").arg("1000").env_clear().stdin(Stdio::null()).process_group(0);
        let listeners = [("a", SocketType::SEQPACKET), ("k", SocketType::STREAM)]
            .map(|(name, kind)| listener(&folders.runtime.join(name), kind).unwrap());
        let [anchor, keeper] = listeners;
        command
            .fd_mappings(vec![
                FdMapping { parent_fd: anchor, child_fd: ANCHOR_LISTENER },
                FdMapping { parent_fd: keeper, child_fd: KEEPER_LISTENER },
                FdMapping { parent_fd: images.anchor.try_clone().unwrap(), child_fd: ANCHOR_IMAGE },
                FdMapping { parent_fd: images.keeper.try_clone().unwrap(), child_fd: KEEPER_IMAGE },
                FdMapping { parent_fd: images.gateway, child_fd: GATEWAY_IMAGE },
                FdMapping { parent_fd: images.guard, child_fd: GUARD_IMAGE },
            ])
            .unwrap();
        let mut child = command.spawn().unwrap();
        drop(command);
        let open_in_child = || {
            let mut numbers: Vec<i32> = std::fs::read_dir(format!("/proc/{}/fd", child.id()))
                .unwrap()
                .map(|e| e.unwrap().file_name().to_str().unwrap().parse().unwrap())
                .collect();
            numbers.sort_unstable();
            numbers
        };
        // The exec closes what is to be closed one by one, and has the parent go on amid that.
        let began = std::time::Instant::now();
        let mut numbers = open_in_child();
        while numbers.len() != 9 && began.elapsed() < std::time::Duration::from_secs(5) {
            numbers = open_in_child();
        }
        let connected = std::os::unix::net::UnixStream::connect(folders.runtime.join("k")).is_ok();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert!(connected);
        // Nobody else holds the listener, but for a moment what another test starts, until it execs.
        let is_held = || std::os::unix::net::UnixStream::connect(folders.runtime.join("k")).is_ok();
        let began = std::time::Instant::now();
        while is_held() && began.elapsed() < std::time::Duration::from_secs(5) {
            std::thread::yield_now();
        }
        assert!(!is_held());
        // And the real way in: the program runs, gets its arguments, and ends.
        let images = Images {
            anchor: image_of("/usr/bin/env"),
            keeper: image_of("/bin/true"),
            gateway: image_of("/bin/true"),
            guard: image_of("/bin/true"),
        };
        let mut started = start(&folders, id, &images, "1", Purpose::Session).await.unwrap();
        assert!(!started.anchor.wait().await.unwrap().success());
        assert!(folders.keeper_socket(id).exists() && folders.state_of(id).is_dir());
    }

    #[tokio::test]
    async fn nothing_is_left_of_a_start_that_fails() {
        let top = tempfile::tempdir().unwrap();
        let folders = folders(top.path());
        let id = record(1, None, sessile_model::State::Bringup).id;
        let not_a_program = tempfile::NamedTempFile::new().unwrap();
        let anchor = image_of(not_a_program.path().to_str().unwrap());
        let [keeper, gateway, guard] = [(); 3].map(|()| image_of("/bin/true"));
        let images = Images { anchor, keeper, gateway, guard };
        let started = start(&folders, id, &images, "1", Purpose::Spare { subordinate_base: None }).await;
        assert!(matches!(started, Err(LaunchError::Spawn(_))));
        assert!(!folders.runtime_of(id).exists() && !folders.state_of(id).exists());
    }

    #[test]
    fn a_runtime_folder_is_removed_whole() {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("f");
        std::fs::create_dir_all(folder.join("storage/deep")).unwrap();
        std::fs::write(folder.join("anchor.sock"), "").unwrap();
        assert_eq!(remove_runtime(&folder).unwrap(), 4);
        assert_eq!(remove_runtime(&folder).unwrap(), 0);
    }
}
