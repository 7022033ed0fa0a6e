//! Where the anchor's socket is, and binding it again when somebody has removed it.
//!
//! Nothing can give a bound socket its name back, so another takes its place: without one, no
//! other keeper could be asked for, and what the anchor holds would be lost.

use std::ffi::c_char;
use std::io;
use std::mem::{offset_of, zeroed};
use std::os::fd::{AsRawFd as _, OwnedFd};

use super::held::Held;
use crate::sys;

/// Connections that wait.
const BACKLOG: i32 = 128;
/// How long it is tried to bind another socket when nobody else can reach the anchor, in seconds.
const PATIENCE: i64 = 5;
/// Folders that are made where they are missing: the session's, that of all sessions, the runtime
/// folder.
const FOLDERS: usize = 3;
/// Bytes of an address, and one that ends its path.
const MAX_PATH: usize = size_of::<libc::sockaddr_un>() - offset_of!(libc::sockaddr_un, sun_path) + 1;

/// All zeros when it is not known.
pub(super) struct Place {
    /// The socket's path, behind which all is NUL.
    path: [u8; MAX_PATH],
    /// The file that it is bound to.
    file: File,
    /// Since when it has been gone and no other could be bound; 0: it is not.
    gone_since: i64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct File {
    device: libc::dev_t,
    inode: libc::ino_t,
}

impl Place {
    pub(super) const UNKNOWN: Self =
        Self { path: [0; MAX_PATH], file: File { device: 0, inode: 0 }, gone_since: 0 };

    /// Notes where a listener is bound.
    pub(super) fn note(&mut self, listener: &Held) {
        // SAFETY: an address of zeros is a valid value; `address` has the length that is passed.
        let address = unsafe {
            let mut address: libc::sockaddr_un = zeroed();
            let mut len = size_of::<libc::sockaddr_un>() as libc::socklen_t;
            if libc::getsockname(listener.number(), (&raw mut address).cast(), &raw mut len) != 0 {
                return;
            }
            address
        };
        for (to, from) in self.path.iter_mut().zip(address.sun_path) {
            *to = from as u8;
        }
        if let Ok(found) = look(&self.path) {
            self.file = file_of(&found);
        }
    }

    /// Whether the socket was removed or replaced. When that cannot be seen, it is not.
    pub(super) fn is_gone(&self) -> bool {
        if self.path[0] != b'/' {
            return false;
        }
        match look(&self.path) {
            Ok(found) => file_of(&found) != self.file,
            Err(error) => matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)),
        }
    }

    /// Puts another socket in the place of one that is gone, and makes what is missing of its
    /// folders.
    pub(super) fn restore(&mut self, listener: &mut Held) -> io::Result<()> {
        if !self.is_gone() {
            self.gone_since = 0;
            return Ok(());
        }
        make_folders(&self.path)?;
        let socket = bind(&self.path)?;
        self.file = file_of(&look(&self.path)?);
        listener.set(socket);
        self.gone_since = 0;
        Ok(())
    }

    /// The same when no keeper lives. False when it has failed for so long that it is given up.
    pub(super) fn insist(&mut self, listener: &mut Held) -> bool {
        if self.restore(listener).is_ok() {
            return true;
        }
        let now = seconds();
        if self.gone_since == 0 {
            self.gone_since = now;
        }
        now - self.gone_since < PATIENCE
    }
}

fn seconds() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: fills `time`, which outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec.max(1)
}

fn file_of(found: &libc::stat) -> File {
    File { device: found.st_dev, inode: found.st_ino }
}

fn look(path: &[u8; MAX_PATH]) -> io::Result<libc::stat> {
    // SAFETY: a stat of zeros is a valid value; the path's last byte is NUL.
    unsafe {
        let mut found: libc::stat = zeroed();
        sys::check(libc::lstat(path.as_ptr().cast::<c_char>(), &raw mut found))?;
        Ok(found)
    }
}

/// Makes what is missing. What is there must be our own and closed to others: what is below it
/// then is as well.
fn make_folders(socket: &[u8; MAX_PATH]) -> io::Result<()> {
    let mut ends = [0; FOLDERS];
    let mut end = socket.len();
    for place in ends.iter_mut().rev() {
        end = socket[..end]
            .iter()
            .rposition(|&byte| byte == b'/')
            .filter(|&end| end > 0)
            .ok_or_else(refused)?;
        *place = end;
    }
    for end in ends {
        let mut folder = *socket;
        folder[end..].fill(0);
        // SAFETY: the path's last byte is NUL; geteuid takes nothing.
        let own = unsafe {
            if libc::mkdir(folder.as_ptr().cast::<c_char>(), 0o700) != 0 && sys::errno() != libc::EEXIST {
                return Err(io::Error::last_os_error());
            }
            libc::geteuid()
        };
        let found = look(&folder)?;
        if found.st_mode & libc::S_IFMT != libc::S_IFDIR || found.st_uid != own || found.st_mode & 0o077 != 0
        {
            return Err(refused());
        }
    }
    Ok(())
}

fn refused() -> io::Error {
    io::Error::from_raw_os_error(libc::EACCES)
}

fn bind(path: &[u8; MAX_PATH]) -> io::Result<OwnedFd> {
    // SAFETY: numbers; a path whose last byte is NUL; and an address, valid when all zeros, with
    // its length.
    unsafe {
        if libc::unlink(path.as_ptr().cast::<c_char>()) != 0 && sys::errno() != libc::ENOENT {
            return Err(io::Error::last_os_error());
        }
        let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        let socket = sys::owned(libc::socket(libc::AF_UNIX, kind, 0))?;
        let mut address: libc::sockaddr_un = zeroed();
        address.sun_family = libc::AF_UNIX as libc::sa_family_t;
        for (to, from) in address.sun_path.iter_mut().zip(path) {
            *to = *from as c_char;
        }
        let len = size_of::<libc::sockaddr_un>() as libc::socklen_t;
        sys::check(libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len))?;
        sys::check(libc::listen(socket.as_raw_fd(), BACKLOG))?;
        Ok(socket)
    }
}
