//! Descriptors of paths below a folder that somebody else may be changing.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Statx, StatxFlags, openat2, statx};
use rustix::io::Errno;

use super::baseline::{Kind, Stamp};
use super::tree::is_at_or_below;

/// Longest path below a root, in bytes. More than `PATH_MAX`, so that deep trees can be handled
/// and removed, yet bounded, so that they cannot exhaust memory.
pub(super) const MAX_PATH: usize = 16 << 10;

/// Longest path given to the kernel at once; `PATH_MAX` is 4096 with the final NUL.
const CHUNK: usize = 4000;

/// Flags for a folder whose names are going to be read.
pub(super) const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NONBLOCK);
/// Flags for a folder that is only a place to look up names in.
pub(super) const PLACE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);
/// Flags for a file that is going to be read; never blocks on a FIFO or a lease.
pub(super) const FILE: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

const BELOW: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// Opens `path` below `root`; the empty path is the root itself.
pub(super) fn open(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    walk(root, path, flags, BELOW | ResolveFlags::NO_XDEV)
}

/// The same, onto what is mounted below `root` too: for a root whose mounts are ours.
pub(super) fn open_across(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    walk(root, path, flags, BELOW)
}

fn walk(root: BorrowedFd<'_>, path: &[u8], flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    // NO_SYMLINKS covers the last name too; with O_NOFOLLOW beside it, the kernel would say
    // "not a folder" of a link instead of "a link".
    let flags = flags | OFlags::CLOEXEC;
    let mut held: Option<OwnedFd> = None;
    let mut rest = path;
    loop {
        let base = held.as_ref().map_or(root, AsFd::as_fd);
        if rest.len() <= CHUNK {
            let last = if rest.is_empty() { b"." } else { rest };
            return openat2(base, last, flags, Mode::empty(), resolve);
        }
        let cut = rest[..CHUNK].iter().rposition(|b| *b == b'/').ok_or(Errno::NAMETOOLONG)?;
        let place = PLACE | OFlags::CLOEXEC;
        let next = openat2(base, &rest[..cut], place, Mode::empty(), resolve)?;
        rest = &rest[cut + 1..];
        held = Some(next);
    }
}

/// Opens the regular file `name` in `dir` for reading, and says what was opened. `Ok(None)`:
/// something else has that name.
pub(super) fn open_file(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Option<(OwnedFd, Meta)>, Errno> {
    // Looking first keeps devices closed that do something when they are opened.
    if look(dir, name)?.kind != Kind::File {
        return Ok(None);
    }
    let file = open(dir, name, FILE)?;
    let meta = meta(file.as_fd())?;
    Ok((meta.kind == Kind::File).then_some((file, meta)))
}

/// What `fstat(2)` says, as far as it is used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) kind: Kind,
    /// All twelve permission bits.
    pub(super) mode: u32,
    pub(super) size: u64,
    /// Bytes that storage holds for it; less than `size` when it has holes.
    pub(super) held: u64,
    pub(super) owner: (u32, u32),
    pub(super) mtime_ns: i64,
    pub(super) stamp: Stamp,
}

fn nanos(seconds: i64, nanos: u32) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(nanos))
}

impl From<Statx> for Meta {
    fn from(s: Statx) -> Self {
        let kind = match u32::from(s.stx_mode) & 0o170_000 {
            0o100_000 => Kind::File,
            0o040_000 => Kind::Folder,
            0o120_000 => Kind::Link,
            0o010_000 => Kind::Fifo,
            0o140_000 => Kind::Socket,
            _ => Kind::Device,
        };
        Self {
            kind,
            mode: u32::from(s.stx_mode) & 0o7777,
            size: s.stx_size,
            held: s.stx_size.min(s.stx_blocks.saturating_mul(512)),
            owner: (s.stx_uid, s.stx_gid),
            mtime_ns: nanos(s.stx_mtime.tv_sec, s.stx_mtime.tv_nsec),
            stamp: Stamp { inode: s.stx_ino, ctime_ns: nanos(s.stx_ctime.tv_sec, s.stx_ctime.tv_nsec) },
        }
    }
}

/// What `name` in `dir` is; a link is itself.
pub(super) fn look(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Meta, Errno> {
    Ok(statx(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, StatxFlags::BASIC_STATS)?.into())
}

/// What an open descriptor is.
pub(super) fn meta(fd: BorrowedFd<'_>) -> Result<Meta, Errno> {
    Ok(statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?.into())
}

/// A path's folder and its last name.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// Looks up the folders of paths below a root, and keeps the last one open: listings are sorted,
/// so the next path is mostly in the same folder.
#[derive(Debug)]
pub(super) struct Parents<'root> {
    root: BorrowedFd<'root>,
    last: Option<(Vec<u8>, OwnedFd)>,
}

impl<'root> Parents<'root> {
    pub(super) fn new(root: BorrowedFd<'root>) -> Self {
        Self { root, last: None }
    }

    /// The folder that holds `path`, and the path's last name.
    pub(super) fn of<'p>(&mut self, path: &'p [u8]) -> Result<(BorrowedFd<'_>, &'p [u8]), Errno> {
        let (folder, name) = split(path);
        Ok((self.folder(folder)?, name))
    }

    /// The folder `path`. One below the last one is looked up from there, so that a chain of
    /// folders costs a step each and not a walk each.
    pub(super) fn folder(&mut self, path: &[u8]) -> Result<BorrowedFd<'_>, Errno> {
        let fd = match self.last.take() {
            Some((kept, fd)) if kept == path => fd,
            Some((kept, fd)) if !kept.is_empty() && is_at_or_below(path, &kept) => {
                open(fd.as_fd(), &path[kept.len() + 1..], PLACE)?
            }
            Some(_) | None => open(self.root, path, PLACE)?,
        };
        let kept = self.last.insert((path.to_vec(), fd));
        Ok(kept.1.as_fd())
    }

    /// Forgets the folder kept open, because names have moved.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }
}

/// Whether a link in a folder `depth` levels below the root can only lead to places below it.
///
/// `..` counts only in front: behind a name it could climb from wherever another link led. With
/// that, links that each stay within the tree cannot leave it together either.
pub(super) fn link_stays_within(depth: usize, target: &[u8]) -> bool {
    if target.is_empty() || target[0] == b'/' {
        return false;
    }
    let mut climbed = 0;
    let mut named = false;
    for part in target.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." if named => return false,
            b".." => climbed += 1,
            _ => named = true,
        }
    }
    climbed <= depth
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_can_lead_out_are_told_apart() {
        for (depth, target, stays) in [
            (0, &b"a"[..], true),
            (0, b"./a/b", true),
            (0, b"..", false),
            (1, b"..", true),
            (1, b"../x", true),
            (1, b"../../x", false),
            (2, b".././../x", true),
            (5, b"a/../../x", false),
            (5, b"/etc/passwd", false),
            (5, b"", false),
        ] {
            assert_eq!(link_stays_within(depth, target), stays, "{depth} {:?}", target.escape_ascii());
        }
    }
}
