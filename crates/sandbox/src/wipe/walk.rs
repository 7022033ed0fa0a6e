//! Walking a tree by descriptors: no recursion, no paths, two open folders at a time.
//!
//! The tree must not change meanwhile. Links are not followed and mounts not entered.

use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags};
use rustix::io::Errno;

use super::FileId;

/// One entry of a folder.
pub(super) struct Entry<'a> {
    /// The folder.
    pub folder: BorrowedFd<'a>,
    pub name: &'a CStr,
    pub kind: FileType,
    /// Path of the folder from the root of the walk, ending in `/` unless empty.
    pub path: &'a [u8],
}

/// What was not walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Unwalked {
    /// Mount points.
    pub mounts: u64,
    /// Folders that could not be read.
    pub folders: u64,
}

struct Level {
    id: FileId,
    /// Folders in it that are still to be walked.
    pending: Vec<CString>,
    path_len: usize,
}

/// Visits every entry below `root`, folders included, each folder's entries before those below.
pub(super) fn walk(root: BorrowedFd<'_>, visit: &mut dyn FnMut(Entry<'_>)) -> io::Result<Unwalked> {
    let mut unwalked = Unwalked::default();
    let mut path = Vec::new();
    let mut folder = open_folder(root, c".")?;
    let mut levels = vec![read_level(&folder, &path, visit)?];
    while let Some(level) = levels.last_mut() {
        path.truncate(level.path_len);
        let Some(name) = level.pending.pop() else {
            levels.pop();
            if let Some(parent) = levels.last() {
                folder = rustix::fs::openat(&folder, c"..", FOLDER, Mode::empty())?;
                // Somebody moved the folder: names would be taken for others.
                if id_of(&folder)? != parent.id {
                    return Err(Errno::STALE.into());
                }
            }
            continue;
        };
        match open_folder(folder.as_fd(), &name) {
            Ok(inner) => {
                path.extend_from_slice(name.to_bytes());
                path.push(b'/');
                match read_level(&inner, &path, visit) {
                    Ok(level) => {
                        levels.push(level);
                        folder = inner;
                    }
                    Err(_) => unwalked.folders += 1,
                }
            }
            Err(Errno::XDEV) => unwalked.mounts += 1,
            Err(_) => unwalked.folders += 1,
        }
    }
    Ok(unwalked)
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens an entry of a folder; never through a link or into a mount. Where its mode forbids that
/// to its owner, the mode is changed.
pub(super) fn open_entry(folder: BorrowedFd<'_>, name: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let open = |flags| rustix::fs::openat2(folder, name, flags, Mode::empty(), resolve);
    match open(flags) {
        Err(Errno::ACCESS) => {
            let handle = open(OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC)?;
            rustix::fs::chmod(format!("/proc/self/fd/{}", handle.as_raw_fd()), Mode::RWXU)?;
            open(flags)
        }
        other => other,
    }
}

fn open_folder(folder: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let fd = open_entry(folder, name, FOLDER)?;
    // A folder without the right to search it opens, but nothing in it would.
    if rustix::fs::accessat(&fd, c".", rustix::fs::Access::EXEC_OK, AtFlags::EACCESS) == Err(Errno::ACCESS) {
        rustix::fs::fchmod(&fd, Mode::RWXU)?;
    }
    Ok(fd)
}

fn id_of(fd: &OwnedFd) -> io::Result<FileId> {
    let stat = rustix::fs::fstat(fd)?;
    Ok(FileId { dev: stat.st_dev, ino: stat.st_ino })
}

fn read_level(folder: &OwnedFd, path: &[u8], visit: &mut dyn FnMut(Entry<'_>)) -> io::Result<Level> {
    let mut pending = Vec::new();
    let mut buffer = [const { MaybeUninit::uninit() }; 16 << 10];
    let mut entries = RawDir::new(folder, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let mut kind = entry.file_type();
        if kind == FileType::Unknown {
            kind = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
                .map_or(kind, |s| FileType::from_raw_mode(s.st_mode));
        }
        if kind == FileType::Directory {
            pending.push(name.to_owned());
        }
        visit(Entry { folder: folder.as_fd(), name, kind, path });
    }
    Ok(Level { id: id_of(folder)?, pending, path_len: path.len() })
}
