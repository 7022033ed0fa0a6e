//! Copying a file or folder out of a session, onto the host.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, PROC_SUPER_MAGIC, Uid, chownat, fstatfs, mkdirat, openat, symlinkat, unlinkat,
};
use rustix::io::Errno;
use sessile_model::api;
use sessile_model::quantity::ByteSize;
use thiserror::Error;

use super::baseline::Kind;
use super::beneath::{
    FILE, FOLDER, Meta, PLACE, Parents, link_stays_within, meta, open, open_across, open_file,
};
use super::content::{ContentError, copy_file, read_target};
use super::copy::set_owner;
use super::tree::{LeftOut, ListError, Listing, Node, Omissions, list, shown};
use crate::root::SYSTEM;

/// Files, folders and links that one export may hold.
const MAX_ENTRIES: u64 = 2_000_000;

/// Why nothing was exported. What was written until then is removed again.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ExportError {
    /// The path inside climbs or is empty.
    #[error("{path} is not a path below the session's folder")]
    BadPath {
        /// The path.
        path: String,
    },
    /// There is nothing of that name inside.
    #[error("{path} does not exist in the session")]
    NotFound {
        /// The path.
        path: String,
    },
    /// It is, or lies behind, a link.
    #[error(
        "{path} is a link or lies behind one, and links are never followed out of a session: name the place itself"
    )]
    Link {
        /// The path.
        path: String,
    },
    /// It is no file and no folder.
    #[error("{path} {why}")]
    NotAFile {
        /// The path.
        path: String,
        /// What it is.
        why: LeftOut,
    },
    /// It cannot be read.
    #[error("cannot read {path} in the session: {source}")]
    Source {
        /// The path.
        path: String,
        /// The system's error.
        source: Errno,
    },
    /// It holds too many files.
    #[error("the folder holds more than {max} files: export parts of it")]
    TooManyFiles {
        /// Files, folders and links allowed.
        max: u64,
    },
    /// The destination is not an absolute path to a new name.
    #[error("the destination {path} is not an absolute path that ends in a name")]
    BadDestination {
        /// The destination.
        path: String,
    },
    /// Something has that name already.
    #[error("{path} exists already: choose another destination, nothing is ever overwritten")]
    Exists {
        /// The destination.
        path: String,
    },
    /// The folder that should hold it does not exist.
    #[error("the folder {path} does not exist: make it first")]
    NoParent {
        /// The folder.
        path: String,
    },
    /// The destination's file system is full.
    #[error("no room left for {path} at the destination: nothing was left there")]
    Full {
        /// Where it stopped.
        path: String,
    },
    /// The destination cannot be written.
    #[error("cannot write {path} at the destination: {source}")]
    Destination {
        /// Where it stopped.
        path: String,
        /// The system's error.
        source: Errno,
    },
}

/// Copies the file or folder `path` below `root` to the new path `destination` on the host.
///
/// `path` is relative to `root` (a leading `/` is ignored), and may lie in what is mounted below it.
/// No link is followed but those at its top that an app's root has for the system's folders, such as
/// `/bin`. Files become 0644, or 0755 where they
/// are executable, under the process's umask and never wider than they were. Links inside an
/// exported folder stay links when they can only lead to places inside it. With `owner`,
/// everything gets that user and group.
///
/// # Errors
/// As [`ExportError`]; a partial result is removed.
pub fn export(
    root: BorrowedFd<'_>,
    path: &Path,
    destination: &Path,
    owner: Option<(u32, u32)>,
) -> Result<api::Exported, ExportError> {
    let inside = past_system_link(root, inside(path)?);
    let source = Source::find(root, &inside)?;
    let (parent, name) = parent_of(destination)?;
    let mut exporting = Exporting { owner, files: 0, bytes: 0, left: Omissions::default(), made: Vec::new() };
    let result = exporting.all(source, &inside, parent.as_fd(), &name);
    if let Err(error) = result {
        exporting.remove(parent.as_fd(), &name);
        // Before anything was made, only the destination itself can be in the way.
        let is_taken = exporting.made.is_empty() && matches!(error, ExportError::Exists { .. });
        let path = shown(destination.as_os_str().as_bytes());
        return Err(if is_taken { ExportError::Exists { path } } else { error });
    }
    Ok(api::Exported {
        files: exporting.files,
        bytes: ByteSize(exporting.bytes),
        skipped: exporting.left.sentences(),
    })
}

/// The path without what means nothing; it must not climb.
fn inside(path: &Path) -> Result<Vec<u8>, ExportError> {
    let mut names = Vec::new();
    for part in path.components() {
        match part {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => names.push(name.as_bytes()),
            Component::ParentDir | Component::Prefix(_) => {
                return Err(ExportError::BadPath { path: shown(path.as_os_str().as_bytes()) });
            }
        }
    }
    Ok(names.join(&b'/'))
}

/// The path with what a link of the system's at the top of the root stands for (`bin`: `usr/bin`). An
/// app can change none of them.
fn past_system_link(root: BorrowedFd<'_>, path: Vec<u8>) -> Vec<u8> {
    let first = path.split(|b| *b == b'/').next().unwrap_or_default();
    if !SYSTEM.iter().any(|name| name.as_bytes() == first) {
        return path;
    }
    match read_target(root, first) {
        Ok(target) => {
            let target = target.strip_prefix(b"/").unwrap_or(&target);
            [target, &path[first.len()..]].concat()
        }
        Err(_) => path,
    }
}

/// A path inside as the user knows it.
fn inner(path: &[u8]) -> String {
    format!("/{}", shown(path))
}

/// The folder that the destination goes into, and its name there.
fn parent_of(destination: &Path) -> Result<(OwnedFd, Vec<u8>), ExportError> {
    let bad = || ExportError::BadDestination { path: shown(destination.as_os_str().as_bytes()) };
    let (Some(parent), Some(name)) = (destination.parent(), destination.file_name()) else {
        return Err(bad());
    };
    if !destination.is_absolute() {
        return Err(bad());
    }
    let flags = PLACE | OFlags::CLOEXEC;
    let fd = rustix::fs::open(parent, flags, Mode::empty()).map_err(|source| {
        let path = shown(parent.as_os_str().as_bytes());
        match source {
            Errno::NOENT | Errno::NOTDIR => ExportError::NoParent { path },
            source => ExportError::Destination { path, source },
        }
    })?;
    Ok((fd, name.as_bytes().to_vec()))
}

/// What is exported.
enum Source {
    File(OwnedFd, Meta),
    Folder(OwnedFd, Meta),
}

impl Source {
    fn find(root: BorrowedFd<'_>, path: &[u8]) -> Result<Self, ExportError> {
        let refused = |errno| {
            let path = inner(path);
            match errno {
                Errno::NOENT | Errno::NOTDIR => ExportError::NotFound { path },
                Errno::LOOP => ExportError::Link { path },
                source => ExportError::Source { path, source },
            }
        };
        let left_out = |why| ExportError::NotAFile { path: inner(path), why };
        // Looking first keeps devices closed that do something when they are opened.
        let place = open_across(root, path, OFlags::PATH).map_err(refused)?;
        let found = meta(place.as_fd()).map_err(refused)?;
        if fstatfs(&place).map_err(refused)?.f_type == PROC_SUPER_MAGIC {
            return Err(left_out(LeftOut::MadeUp));
        }
        match found.kind {
            Kind::Folder => Ok(Self::Folder(open(place.as_fd(), b"", FOLDER).map_err(refused)?, found)),
            Kind::File => {
                let file = open_across(root, path, FILE).map_err(refused)?;
                let opened = meta(file.as_fd()).map_err(refused)?;
                match opened.kind {
                    Kind::File => Ok(Self::File(file, opened)),
                    Kind::Folder | Kind::Link | Kind::Fifo | Kind::Socket | Kind::Device => {
                        Err(left_out(LeftOut::Raced))
                    }
                }
            }
            Kind::Link | Kind::Fifo | Kind::Socket | Kind::Device => {
                Err(left_out(LeftOut::from_kind(found.kind).unwrap_or(LeftOut::Raced)))
            }
        }
    }
}

struct Exporting {
    owner: Option<(u32, u32)>,
    files: u64,
    bytes: u64,
    left: Omissions,
    /// What was made below the destination, for taking it back; whether it is a folder.
    made: Vec<(Vec<u8>, bool)>,
}

fn refused(path: &[u8]) -> impl Fn(Errno) -> ExportError {
    move |source| {
        let path = shown(path);
        match source {
            Errno::NOSPC | Errno::DQUOT => ExportError::Full { path },
            Errno::EXIST => ExportError::Exists { path },
            source => ExportError::Destination { path, source },
        }
    }
}

impl Exporting {
    fn all(
        &mut self,
        source: Source,
        path: &[u8],
        parent: BorrowedFd<'_>,
        name: &[u8],
    ) -> Result<(), ExportError> {
        match source {
            Source::File(file, meta) => {
                let written = self.file((file.as_fd(), &meta), (parent, name), name, b"")?;
                match self.left.0.pop() {
                    Some((_, why)) if !written => Err(ExportError::NotAFile { path: inner(path), why }),
                    Some(_) | None => Ok(()),
                }
            }
            Source::Folder(folder, meta) => {
                let Listing { nodes, omitted } = list(folder.as_fd(), MAX_ENTRIES).map_err(|e| match e {
                    ListError::TooMany(max) => ExportError::TooManyFiles { max },
                    ListError::Root(source) => ExportError::Source { path: inner(path), source },
                })?;
                self.left = omitted;
                self.folder(&meta, (parent, name), b"")?;
                let top = open_made(parent, name).map_err(refused(name))?;
                set_owner(top.as_fd(), self.owner).map_err(refused(name))?;
                let (mut from, mut to) = (Parents::new(folder.as_fd()), Parents::new(top.as_fd()));
                nodes.iter().try_for_each(|node| self.node(node, &mut from, &mut to))
            }
        }
    }

    fn node(&mut self, node: &Node, from: &mut Parents<'_>, to: &mut Parents<'_>) -> Result<(), ExportError> {
        let path = &node.path;
        let place = to.of(path).map_err(refused(path))?;
        match node.meta.kind {
            Kind::Folder => {
                self.folder(&node.meta, place, path)?;
                let fd = open_made(place.0, place.1).map_err(refused(path))?;
                set_owner(fd.as_fd(), self.owner).map_err(refused(path))
            }
            Kind::File => match from.of(path).and_then(|(dir, name)| open_file(dir, name)) {
                Ok(Some((file, meta))) => self.file((file.as_fd(), &meta), place, path, path).map(|_| ()),
                Ok(None) => {
                    self.left.add(path, LeftOut::Raced);
                    Ok(())
                }
                Err(errno) => {
                    self.unreadable(path, errno);
                    Ok(())
                }
            },
            Kind::Link => match from.of(path).and_then(|(dir, name)| read_target(dir, name)) {
                Ok(target) => self.link(&target, place, path),
                Err(Errno::INVAL) => {
                    self.left.add(path, LeftOut::Raced);
                    Ok(())
                }
                Err(errno) => {
                    self.unreadable(path, errno);
                    Ok(())
                }
            },
            Kind::Fifo | Kind::Socket | Kind::Device => Ok(()),
        }
    }

    fn unreadable(&mut self, path: &[u8], errno: Errno) {
        if let Some(why) = LeftOut::from_errno(errno) {
            self.left.add(path, why);
        }
    }

    fn folder(
        &mut self,
        meta: &Meta,
        (dir, name): (BorrowedFd<'_>, &[u8]),
        path: &[u8],
    ) -> Result<(), ExportError> {
        mkdirat(dir, name, Mode::from_raw_mode(meta.mode & 0o755 | 0o700)).map_err(refused(path))?;
        self.made.push((path.to_vec(), true));
        Ok(())
    }

    /// Writes one file; false when it was left out.
    fn file(
        &mut self,
        (file, meta): (BorrowedFd<'_>, &Meta),
        (dir, name): (BorrowedFd<'_>, &[u8]),
        path: &[u8],
        made: &[u8],
    ) -> Result<bool, ExportError> {
        let allowed = if meta.mode & 0o100 != 0 { 0o755 } else { 0o644 };
        let mode = Mode::from_raw_mode(meta.mode & allowed | 0o600);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let to = openat(dir, name, flags, mode).map_err(refused(path))?;
        self.made.push((made.to_vec(), false));
        let why = match copy_file(file, to.as_fd(), meta.size, u64::MAX) {
            Ok(held) => {
                set_owner(to.as_fd(), self.owner).map_err(refused(path))?;
                self.files += 1;
                self.bytes += held.size;
                return Ok(true);
            }
            Err(ContentError::Write(Errno::FBIG)) => LeftOut::TooLong,
            Err(ContentError::Write(errno)) => return Err(refused(path)(errno)),
            Err(ContentError::Read(errno)) => LeftOut::from_errno(errno).unwrap_or(LeftOut::Raced),
            Err(ContentError::OverBudget) => LeftOut::TooLong,
        };
        unlinkat(dir, name, AtFlags::empty()).map_err(refused(path))?;
        self.made.pop();
        self.left.add(path, why);
        Ok(false)
    }

    fn link(
        &mut self,
        target: &[u8],
        (dir, name): (BorrowedFd<'_>, &[u8]),
        path: &[u8],
    ) -> Result<(), ExportError> {
        let depth = path.iter().filter(|b| **b == b'/').count();
        if !link_stays_within(depth, target) {
            self.left.add(path, LeftOut::LeadsOut);
            return Ok(());
        }
        symlinkat(target, dir, name).map_err(refused(path))?;
        self.made.push((path.to_vec(), false));
        if let Some((uid, gid)) = self.owner {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(refused(path))?;
        }
        Ok(())
    }

    /// Takes back what was made, and nothing that was not.
    fn remove(&self, parent: BorrowedFd<'_>, name: &[u8]) {
        let remove = |dir: BorrowedFd<'_>, name: &[u8], is_folder: bool| {
            let _ = unlinkat(dir, name, if is_folder { AtFlags::REMOVEDIR } else { AtFlags::empty() });
        };
        if let Ok(top) = open_made(parent, name) {
            let mut places = Parents::new(top.as_fd());
            for (path, is_folder) in self.made.iter().rev().filter(|(path, _)| !path.is_empty()) {
                if let Ok((dir, name)) = places.of(path) {
                    remove(dir, name, *is_folder);
                }
            }
        }
        if let Some((_, is_folder)) = self.made.first() {
            remove(parent, name, *is_folder);
        }
    }
}

/// Opens a folder that was just made; a link in its place is refused.
fn open_made(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    open(dir, name, FOLDER)
}

#[cfg(test)]
#[path = "export_tests.rs"]
mod tests;
