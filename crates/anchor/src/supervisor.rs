//! The daemon's end: asks an anchor through its socket.

use std::io;
use std::mem::{offset_of, size_of, zeroed};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::exchange::{self, ExchangeError};
use crate::protocol::{Code, Operation, Reply, Request};
use crate::sys;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The anchor waits up to 5 s for its children before it answers [`kill`].
const PATIENCE_TO_KILL: Duration = Duration::from_secs(15);

/// What an anchor says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The version of the protocol that it speaks.
    pub version: u16,
    /// Its process id.
    pub anchor: u32,
    /// Its keeper's process id; `None` when none lives.
    pub keeper: Option<u32>,
    /// Pumps that run.
    pub pumps: u32,
    /// Entries of its store.
    pub entries: u32,
}

/// What [`kill`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Killed {
    /// Children that were killed and have gone.
    pub gone: u32,
    /// Children that were killed but had not gone after 5 s (frozen, or held up by the kernel).
    pub remaining: u32,
}

/// Why an anchor could not be asked.
#[derive(Debug, Error)]
pub enum SupervisorError {
    /// No anchor listens there: it is dead.
    #[error("the anchor is gone")]
    Gone,
    /// A keeper lives, so no other was started.
    #[error("a keeper lives")]
    KeeperLives,
    /// The anchor answered with this code and changed nothing.
    #[error("the anchor refused: {0:?}")]
    Refused(Code),
    /// The system refused the anchor.
    #[error("the anchor was refused by the system")]
    System(#[source] io::Error),
    /// No answer came in time.
    #[error("the anchor does not answer")]
    Silent,
    /// The answer does not follow the protocol.
    #[error("the anchor's answer does not follow the protocol")]
    Garbled,
    /// The socket failed.
    #[error("the anchor's socket")]
    Socket(#[source] io::Error),
}

/// Asks an anchor how it is.
///
/// # Errors
/// [`SupervisorError`].
pub fn status(socket_path: &Path) -> Result<Status, SupervisorError> {
    let reply = ask(socket_path, Operation::Status, &[], PATIENCE)?;
    let [keeper, pumps, entries, anchor, _] = reply.values;
    Ok(Status {
        version: reply.version,
        anchor,
        keeper: Some(keeper).filter(|&pid| pid != 0),
        pumps,
        entries,
    })
}

/// Has the anchor start a keeper from this image. Returns the keeper's process id.
///
/// # Errors
/// `KeeperLives` when there is one; otherwise [`SupervisorError`].
pub fn spawn_keeper(socket_path: &Path, image: BorrowedFd<'_>) -> Result<u32, SupervisorError> {
    Ok(ask(socket_path, Operation::SpawnKeeper, &[image], PATIENCE)?.values[0])
}

/// Has the anchor kill all its children (the keeper first), and exit.
///
/// # Errors
/// [`SupervisorError`].
pub fn kill(socket_path: &Path) -> Result<Killed, SupervisorError> {
    let [gone, remaining, ..] = ask(socket_path, Operation::Kill, &[], PATIENCE_TO_KILL)?.values;
    Ok(Killed { gone, remaining })
}

fn ask(
    path: &Path,
    operation: Operation,
    fds: &[BorrowedFd<'_>],
    patience: Duration,
) -> Result<Reply, SupervisorError> {
    let socket = connect(path).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOENT | libc::ECONNREFUSED) => SupervisorError::Gone,
        Some(libc::EAGAIN) => SupervisorError::Silent,
        Some(_) | None => SupervisorError::Socket(error),
    })?;
    let request = Request::new(operation, 1);
    match exchange::ask(socket.as_fd(), &request, fds, patience) {
        Ok((reply, _)) => Ok(reply),
        Err(ExchangeError::Refused(Code::KeeperLives)) => Err(SupervisorError::KeeperLives),
        Err(ExchangeError::Refused(code)) => Err(SupervisorError::Refused(code)),
        Err(ExchangeError::System(error)) => Err(SupervisorError::System(error)),
        Err(ExchangeError::Gone) => Err(SupervisorError::Gone),
        Err(ExchangeError::Silent) => Err(SupervisorError::Silent),
        Err(ExchangeError::Garbled) => Err(SupervisorError::Garbled),
        Err(ExchangeError::Socket(error)) => Err(SupervisorError::Socket(error)),
    }
}

fn connect(path: &Path) -> io::Result<OwnedFd> {
    // SAFETY: an address of zeros is a valid value.
    let mut address: libc::sockaddr_un = unsafe { zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    // An address holds 107 bytes of path; a longer one is reached through its folder.
    let (_folder, path) = if path.as_os_str().len() < address.sun_path.len() {
        (None, path.to_owned())
    } else {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
        let folder = std::fs::File::options().read(true).custom_flags(flags).open(folder)?;
        let short = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
        (Some(folder), short)
    };
    let bytes = path.as_os_str().as_bytes();
    if bytes.is_empty() || bytes.contains(&0) || bytes.len() >= address.sun_path.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in address.sun_path.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: takes numbers only.
    let socket = sys::owned(unsafe { libc::socket(libc::AF_UNIX, kind, 0) })?;
    let len = offset_of!(libc::sockaddr_un, sun_path) + bytes.len() + 1;
    debug_assert!(len <= size_of::<libc::sockaddr_un>());
    // SAFETY: `address` outlives the call, and `len` is at most its size.
    sys::check(unsafe {
        libc::connect(socket.as_raw_fd(), (&raw const address).cast(), len as libc::socklen_t)
    })?;
    Ok(socket)
}
