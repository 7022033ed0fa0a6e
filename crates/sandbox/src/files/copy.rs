//! A host project's copy on session storage.

use std::collections::BTreeMap;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, chownat, fchmod, fchown, futimens,
    mkdirat, openat, symlinkat, utimensat,
};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};
use sessile_model::quantity::ByteSize;
use thiserror::Error;

use super::baseline::{Baseline, Digest, Kind, Original};
use super::beneath::{FOLDER, Meta, Parents, look, meta, open, open_file};
use super::content::{ContentError, copy_file, digest_of_target, read_target};
use super::tree::{LeftOut, ListError, Listing, Node, Omissions, list, shown};

/// How much may be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyCap {
    /// Bytes of data; holes do not count.
    pub bytes: u64,
    /// Files, folders and links.
    pub files: u64,
}

/// What was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyReport {
    /// Files, folders and links.
    pub files: u64,
    /// Bytes of data; holes do not count.
    pub bytes: u64,
    /// Paths left out and why, in sentences.
    pub skipped: Vec<String>,
}

/// Why a project was not copied. What was written until then stays on session storage.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CopyError {
    /// It holds too much data.
    #[error(
        "the project holds {needed} and its copy may hold {cap}: raise --storage, or share the folder with --project DIR:ro or DIR:rw"
    )]
    TooLarge {
        /// Data in the project.
        needed: ByteSize,
        /// Data allowed.
        cap: ByteSize,
    },
    /// It holds too many files.
    #[error(
        "the project holds more than {cap} files: raise --storage, or share the folder with --project DIR:ro or DIR:rw"
    )]
    TooManyFiles {
        /// Files, folders and links allowed.
        cap: u64,
    },
    /// Session storage is used up.
    #[error("session storage is full at {path}: raise --storage")]
    Full {
        /// Where copying stopped.
        path: String,
    },
    /// The project's folder cannot be read.
    #[error("the project's folder cannot be read: {source}")]
    Source {
        /// The system's error.
        source: Errno,
    },
    /// Session storage refuses a write.
    #[error("cannot write {path} to session storage: {source}")]
    Destination {
        /// Where copying stopped.
        path: String,
        /// The system's error.
        source: Errno,
    },
}

fn destination(path: &[u8], source: Errno) -> CopyError {
    let path = shown(path);
    match source {
        Errno::NOSPC | Errno::DQUOT => CopyError::Full { path },
        source => CopyError::Destination { path, source },
    }
}

/// Copies the tree below `source` into the empty folder `destination`, and writes down what it was.
///
/// Modes (without setuid, setgid and sticky) and modification times are kept, links stay links,
/// holes stay holes, hard links become files of their own. With `owner`, everything copied, and
/// the destination itself, gets that user and group.
///
/// # Errors
/// As [`CopyError`]; the caps are checked before anything is written.
pub fn copy_in(
    source: BorrowedFd<'_>,
    destination: BorrowedFd<'_>,
    owner: Option<(u32, u32)>,
    cap: &CopyCap,
) -> Result<(CopyReport, Baseline), CopyError> {
    let started_ns = coarse_now_ns();
    let Listing { nodes, omitted } = list(source, cap.files).map_err(|error| match error {
        ListError::TooMany(cap) => CopyError::TooManyFiles { cap },
        ListError::Root(source) => CopyError::Source { source },
    })?;
    let needed = nodes.iter().filter(|n| n.meta.kind == Kind::File).map(|n| n.meta.held).sum();
    if needed > cap.bytes {
        return Err(CopyError::TooLarge { needed: ByteSize(needed), cap: ByteSize(cap.bytes) });
    }
    let root = meta(source).map_err(|source| CopyError::Source { source })?;
    let mut copying = Copying {
        from: Parents::new(source),
        to: Parents::new(destination),
        owner,
        cap: cap.bytes,
        copied: 0,
        omitted,
        paths: BTreeMap::new(),
    };
    for node in &nodes {
        copying.node(node)?;
    }
    copying.finish_folders(destination, &root)?;
    let report = CopyReport {
        files: copying.paths.len() as u64,
        bytes: copying.copied,
        skipped: copying.omitted.sentences(),
    };
    Ok((report, Baseline { started_ns, finished_ns: coarse_now_ns(), paths: copying.paths }))
}

/// The clock that stamps inodes, never ahead of it.
fn coarse_now_ns() -> i64 {
    let now = clock_gettime(ClockId::RealtimeCoarse);
    now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec)
}

struct Copying<'a> {
    from: Parents<'a>,
    to: Parents<'a>,
    owner: Option<(u32, u32)>,
    cap: u64,
    copied: u64,
    omitted: Omissions,
    paths: BTreeMap<Vec<u8>, Original>,
}

impl Copying<'_> {
    fn node(&mut self, node: &Node) -> Result<(), CopyError> {
        let path = &node.path;
        let copied = match node.meta.kind {
            Kind::File => self.file(path)?,
            Kind::Link => self.link(path, &node.meta)?,
            Kind::Folder => self.folder(path, &node.meta)?,
            Kind::Fifo | Kind::Socket | Kind::Device => None,
        };
        if let Some(original) = copied {
            self.paths.insert(path.clone(), original);
        }
        Ok(())
    }

    /// Leaves out what cannot be read; what has vanished is not worth a word.
    fn unreadable(&mut self, path: &[u8], errno: Errno) {
        if let Some(why) = LeftOut::from_errno(errno) {
            self.omitted.add(path, why);
        }
    }

    fn file(&mut self, path: &[u8]) -> Result<Option<Original>, CopyError> {
        let opened = self.from.of(path).and_then(|(dir, name)| open_file(dir, name));
        let (from, found) = match opened {
            Ok(Some(opened)) => opened,
            Ok(None) => {
                self.omitted.add(path, LeftOut::Raced);
                return Ok(None);
            }
            Err(errno) => {
                self.unreadable(path, errno);
                return Ok(None);
            }
        };
        let refused = |errno| destination(path, errno);
        let (dir, name) = self.to.of(path).map_err(refused)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let to = openat(dir, name, flags, Mode::RUSR | Mode::WUSR).map_err(refused)?;
        let budget = self.cap - self.copied;
        let held = match copy_file(from.as_fd(), to.as_fd(), found.size, budget) {
            Ok(held) => held,
            Err(ContentError::Read(errno)) => {
                rustix::fs::unlinkat(dir, name, AtFlags::empty()).map_err(refused)?;
                self.unreadable(path, errno);
                return Ok(None);
            }
            Err(ContentError::Write(errno)) => return Err(destination(path, errno)),
            Err(ContentError::OverBudget) => {
                let needed = ByteSize(self.copied.saturating_add(found.held));
                return Err(CopyError::TooLarge { needed, cap: ByteSize(self.cap) });
            }
        };
        self.copied += held.data;
        set_owner(to.as_fd(), self.owner).map_err(refused)?;
        fchmod(&to, Mode::from_raw_mode(found.mode & 0o777)).map_err(refused)?;
        futimens(&to, &modified(found.mtime_ns)).map_err(refused)?;
        let copy = meta(to.as_fd()).map_err(refused)?;
        Ok(Some(original(&found, held.size, &copy, held.digest)))
    }

    fn link(&mut self, path: &[u8], found: &Meta) -> Result<Option<Original>, CopyError> {
        let target = match self.from.of(path).and_then(|(dir, name)| read_target(dir, name)) {
            Ok(target) => target,
            Err(Errno::INVAL) => {
                self.omitted.add(path, LeftOut::Raced);
                return Ok(None);
            }
            Err(errno) => {
                self.unreadable(path, errno);
                return Ok(None);
            }
        };
        let refused = |errno| destination(path, errno);
        let (dir, name) = self.to.of(path).map_err(refused)?;
        symlinkat(&target[..], dir, name).map_err(refused)?;
        if let Some((uid, gid)) = self.owner {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(refused)?;
        }
        utimensat(dir, name, &modified(found.mtime_ns), AtFlags::SYMLINK_NOFOLLOW).map_err(refused)?;
        let copy = look(dir, name).map_err(refused)?;
        Ok(Some(original(found, target.len() as u64, &copy, digest_of_target(&target))))
    }

    fn folder(&mut self, path: &[u8], found: &Meta) -> Result<Option<Original>, CopyError> {
        let refused = |errno| destination(path, errno);
        let (dir, name) = self.to.of(path).map_err(refused)?;
        mkdirat(dir, name, Mode::RWXU).map_err(refused)?;
        Ok(Some(original(found, 0, found, Digest([0; 32]))))
    }

    /// Sets the folders' owners, modes and times: last, since a folder may not be writable, and
    /// every file made in it changes its time.
    fn finish_folders(&mut self, root: BorrowedFd<'_>, root_meta: &Meta) -> Result<(), CopyError> {
        let folders = self.paths.iter_mut().rev().filter(|(_, original)| original.kind == Kind::Folder);
        for (path, original) in folders {
            let refused = |errno| destination(path, errno);
            let fd = open(root, path, FOLDER).map_err(refused)?;
            finish_folder(fd.as_fd(), self.owner, original.mode, original.mtime_ns).map_err(refused)?;
            original.copy = meta(fd.as_fd()).map_err(refused)?.stamp;
        }
        let refused = |errno| destination(b".", errno);
        let fd = open(root, b"", FOLDER).map_err(refused)?;
        // The project's own folder stays usable, whatever its original's mode was.
        finish_folder(fd.as_fd(), self.owner, root_meta.mode | 0o700, root_meta.mtime_ns).map_err(refused)
    }
}

fn finish_folder(
    fd: BorrowedFd<'_>,
    owner: Option<(u32, u32)>,
    mode: u32,
    mtime_ns: i64,
) -> Result<(), Errno> {
    set_owner(fd, owner)?;
    fchmod(fd, Mode::from_raw_mode(mode & 0o777))?;
    futimens(fd, &modified(mtime_ns))
}

fn original(found: &Meta, size: u64, copy: &Meta, digest: Digest) -> Original {
    Original {
        kind: found.kind,
        mode: found.mode & 0o777,
        size,
        mtime_ns: found.mtime_ns,
        stamp: found.stamp,
        copy: copy.stamp,
        digest,
    }
}

/// Gives a file an owner; nothing when there is none to give.
pub(super) fn set_owner(fd: BorrowedFd<'_>, owner: Option<(u32, u32)>) -> Result<(), Errno> {
    match owner {
        Some((uid, gid)) => fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))),
        None => Ok(()),
    }
}

fn modified(mtime_ns: i64) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec {
            tv_sec: mtime_ns.div_euclid(1_000_000_000),
            tv_nsec: mtime_ns.rem_euclid(1_000_000_000),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::super::testing::{self, folder_fd, write};
    use super::*;

    const CAP: CopyCap = CopyCap { bytes: 1 << 30, files: 100_000 };

    #[test]
    fn keeps_what_matters_and_drops_what_is_dangerous() {
        let (from, to) = testing::pair();
        write(from.path(), "bin/run", "#!/bin/sh\n");
        std::fs::set_permissions(from.path().join("bin/run"), PermissionsExt::from_mode(0o6755)).unwrap();
        symlink("/etc/passwd", from.path().join("link")).unwrap();
        std::fs::hard_link(from.path().join("bin/run"), from.path().join("hard")).unwrap();
        std::fs::create_dir(from.path().join("locked")).unwrap();
        write(from.path(), "locked/inside", "x");
        std::fs::set_permissions(from.path().join("locked"), PermissionsExt::from_mode(0o555)).unwrap();
        testing::mkfifo(&from.path().join("fifo"));
        let sparse = std::fs::File::create(from.path().join("sparse")).unwrap();
        sparse.set_len(1 << 40).unwrap();

        let (report, baseline) =
            copy_in(folder_fd(from.path()).as_fd(), folder_fd(to.path()).as_fd(), None, &CAP).unwrap();
        assert_eq!(report.skipped, ["fifo is a FIFO, not a file"]);
        assert_eq!(baseline.len(), 7);
        let run = to.path().join("bin/run").metadata().unwrap();
        assert_eq!(run.permissions().mode() & 0o7777, 0o755);
        let original = from.path().join("bin/run").metadata().unwrap();
        assert_eq!((run.mtime(), run.mtime_nsec()), (original.mtime(), original.mtime_nsec()));
        assert_eq!(std::fs::read_link(to.path().join("link")).unwrap().to_str(), Some("/etc/passwd"));
        assert_ne!(to.path().join("hard").metadata().unwrap().ino(), run.ino());
        assert_eq!(to.path().join("locked").metadata().unwrap().permissions().mode() & 0o777, 0o555);
        let copy = to.path().join("sparse").metadata().unwrap();
        assert_eq!((copy.len(), copy.blocks()), (1 << 40, 0));
    }

    #[test]
    fn caps_are_checked_before_anything_is_written() {
        let (from, to) = testing::pair();
        write(from.path(), "a", &"x".repeat(9000));
        write(from.path(), "b", "x");
        let copy = |cap| copy_in(folder_fd(from.path()).as_fd(), folder_fd(to.path()).as_fd(), None, &cap);
        let error = copy(CopyCap { bytes: 5000, files: 10 }).unwrap_err();
        assert!(matches!(error, CopyError::TooLarge { needed, cap: ByteSize(5000) } if needed.0 >= 9000));
        assert!(error.to_string().contains("--storage"));
        let error = copy(CopyCap { bytes: 1 << 20, files: 1 }).unwrap_err();
        assert_eq!(error, CopyError::TooManyFiles { cap: 1 });
        assert_eq!(std::fs::read_dir(to.path()).unwrap().count(), 0);
    }

    #[test]
    fn gives_the_copy_to_its_owner() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: changing owners needs root");
            return;
        }
        let (from, to) = testing::pair();
        write(from.path(), "d/f", "x");
        symlink("d/f", from.path().join("l")).unwrap();
        let owner = Some((123_456, 123_457));
        copy_in(folder_fd(from.path()).as_fd(), folder_fd(to.path()).as_fd(), owner, &CAP).unwrap();
        for path in ["", "d", "d/f", "l"] {
            let meta = to.path().join(path).symlink_metadata().unwrap();
            assert_eq!((meta.uid(), meta.gid()), (123_456, 123_457), "{path}");
        }
    }
}
