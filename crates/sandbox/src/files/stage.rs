//! Changes to a folder that come about together: everything is written into a hidden folder on
//! the same file system first, then names are exchanged, and each exchange can be undone.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, RenameFlags, Uid, chownat, fchmod, fchown, mkdirat, openat, renameat,
    renameat_with, symlinkat, syncfs, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;
use rustix::rand::{GetRandomFlags, getrandom};

use super::baseline::Digest;
use super::beneath::{FOLDER, Meta, Parents, look, meta, open, open_file};
use super::content::{ContentError, copy_file, read_target};

/// What the hidden folders' names start with.
const PREFIX: &str = ".sessile-apply-";

/// User and group of something new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner(pub(super) u32, pub(super) u32);

/// Why a step was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum StageError {
    /// What was to be written is not what was looked at before.
    NewChanged,
    /// What was to be replaced is not what was looked at before.
    OldChanged,
    /// The system refuses it.
    Refused(Errno),
}

impl From<Errno> for StageError {
    fn from(errno: Errno) -> Self {
        Self::Refused(errno)
    }
}

/// A step that was taken, for undoing it.
#[derive(Debug)]
enum Step {
    Took { slot: String, path: Vec<u8> },
    Exchanged { slot: String, path: Vec<u8> },
    Installed { slot: String, path: Vec<u8> },
    Made { path: Vec<u8> },
    Removed { path: Vec<u8>, was: Meta },
}

/// Changes to the tree below a root.
#[derive(Debug)]
pub(super) struct Stage<'root> {
    root: BorrowedFd<'root>,
    places: Parents<'root>,
    name: String,
    folder: OwnedFd,
    slots: Vec<String>,
    steps: Vec<Step>,
    is_root: bool,
}

impl<'root> Stage<'root> {
    pub(super) fn new(root: BorrowedFd<'root>) -> Result<Self, Errno> {
        let mut random = [0; 8];
        getrandom(&mut random, GetRandomFlags::empty())?;
        let name = format!("{PREFIX}{:016x}", u64::from_ne_bytes(random));
        mkdirat(root, name.as_str(), Mode::RWXU)?;
        let folder = open(root, name.as_bytes(), FOLDER)?;
        Ok(Self {
            root,
            places: Parents::new(root),
            name,
            folder,
            slots: Vec::new(),
            steps: Vec::new(),
            is_root: geteuid().is_root(),
        })
    }

    fn slot(&mut self) -> String {
        let slot = self.slots.len().to_string();
        self.slots.push(slot.clone());
        slot
    }

    /// Writes a file's new content aside, if it still has this digest.
    pub(super) fn file(
        &mut self,
        (dir, name): (BorrowedFd<'_>, &[u8]),
        digest: Digest,
        mode: u32,
        owner: Option<Owner>,
    ) -> Result<String, StageError> {
        let Some((from, found)) = open_file(dir, name).map_err(|_| StageError::NewChanged)? else {
            return Err(StageError::NewChanged);
        };
        let slot = self.slot();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let to = openat(&self.folder, slot.as_str(), flags, Mode::RUSR | Mode::WUSR)?;
        let held =
            copy_file(from.as_fd(), to.as_fd(), found.size, u64::MAX).map_err(|error| match error {
                ContentError::Write(errno) => StageError::Refused(errno),
                ContentError::Read(_) | ContentError::OverBudget => StageError::NewChanged,
            })?;
        if held.digest != digest {
            return Err(StageError::NewChanged);
        }
        self.give(to.as_fd(), owner)?;
        fchmod(&to, Mode::from_raw_mode(mode & 0o777))?;
        Ok(slot)
    }

    /// Makes a link aside.
    pub(super) fn link(&mut self, target: &[u8], owner: Option<Owner>) -> Result<String, StageError> {
        let slot = self.slot();
        symlinkat(target, &self.folder, slot.as_str())?;
        if let Some(Owner(uid, gid)) = owner.filter(|_| self.is_root) {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            chownat(&self.folder, slot.as_str(), uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(slot)
    }

    /// Root gives files to their owner; others can only try to keep the group.
    fn give(&self, fd: BorrowedFd<'_>, owner: Option<Owner>) -> Result<(), Errno> {
        let Some(Owner(uid, gid)) = owner else { return Ok(()) };
        if self.is_root {
            return fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        }
        let _ = fchown(fd, None, Some(Gid::from_raw(gid)));
        Ok(())
    }

    /// Makes what was written durable, so that no name ever points to an unwritten file.
    pub(super) fn sync(&self) -> Result<(), Errno> {
        if self.slots.is_empty() { Ok(()) } else { syncfs(&self.folder) }
    }

    /// Takes a file or link away, if it still is what it was.
    pub(super) fn take(&mut self, path: &[u8], was: &Meta) -> Result<(), StageError> {
        let slot = self.slot();
        let (dir, name) = self.places.of(path)?;
        let found = look(dir, name)?;
        if !is_still(&found, was) {
            return Err(StageError::OldChanged);
        }
        renameat(dir, name, &self.folder, slot.as_str())?;
        let taken = look(self.folder.as_fd(), slot.as_bytes())?;
        self.steps.push(Step::Took { slot, path: path.to_vec() });
        if is_still(&taken, was) { Ok(()) } else { Err(StageError::OldChanged) }
    }

    /// Removes an empty folder.
    pub(super) fn remove_folder(&mut self, path: &[u8]) -> Result<(), StageError> {
        let (dir, name) = self.places.of(path)?;
        let was = look(dir, name)?;
        unlinkat(dir, name, AtFlags::REMOVEDIR)?;
        self.steps.push(Step::Removed { path: path.to_vec(), was });
        self.places.forget();
        Ok(())
    }

    /// Makes a folder.
    pub(super) fn make_folder(
        &mut self,
        path: &[u8],
        mode: u32,
        owner: Option<Owner>,
    ) -> Result<(), StageError> {
        let (dir, name) = self.places.of(path)?;
        mkdirat(dir, name, Mode::RWXU)?;
        self.steps.push(Step::Made { path: path.to_vec() });
        let fd = open(self.root, path, FOLDER)?;
        let inherited = meta(fd.as_fd())?.mode & 0o2000;
        self.give(fd.as_fd(), owner)?;
        fchmod(&fd, Mode::from_raw_mode(mode & 0o777 | inherited))?;
        Ok(())
    }

    /// Puts what was written aside in its place: over what it was, or where nothing is.
    pub(super) fn install(&mut self, slot: &str, path: &[u8], was: Option<&Meta>) -> Result<(), StageError> {
        let (slot, path) = (slot.to_owned(), path.to_vec());
        let Some(was) = was else {
            let (dir, name) = self.places.of(&path)?;
            match renameat_with(&self.folder, slot.as_str(), dir, name, RenameFlags::NOREPLACE) {
                Ok(()) => {}
                Err(Errno::EXIST) => return Err(StageError::OldChanged),
                // File systems without that flag.
                Err(Errno::INVAL | Errno::NOSYS) if look(dir, name) == Err(Errno::NOENT) => {
                    renameat(&self.folder, slot.as_str(), dir, name)?;
                }
                Err(errno) => return Err(errno.into()),
            }
            self.steps.push(Step::Installed { slot, path });
            return Ok(());
        };
        let (dir, name) = self.places.of(&path)?;
        match renameat_with(&self.folder, slot.as_str(), dir, name, RenameFlags::EXCHANGE) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Err(StageError::OldChanged),
            // File systems without that flag: two renames, with a moment between them.
            Err(Errno::INVAL | Errno::NOSYS) => {
                self.take(&path, was)?;
                return self.install(&slot, &path, None);
            }
            Err(errno) => return Err(errno.into()),
        }
        let replaced = look(self.folder.as_fd(), slot.as_bytes())?;
        self.steps.push(Step::Exchanged { slot, path });
        if is_still(&replaced, was) { Ok(()) } else { Err(StageError::OldChanged) }
    }

    /// Takes every step back and leaves nothing.
    ///
    /// # Errors
    /// The hidden folder's name, when a step could not be taken back: it holds what was replaced.
    pub(super) fn undo(mut self) -> Result<(), String> {
        self.places.forget();
        while let Some(step) = self.steps.pop() {
            if self.undo_step(&step).is_err() {
                return Err(self.name);
            }
        }
        self.finish();
        Ok(())
    }

    fn undo_step(&mut self, step: &Step) -> Result<(), Errno> {
        match step {
            Step::Took { slot, path } => {
                let (dir, name) = self.places.of(path)?;
                match renameat_with(&self.folder, slot.as_str(), dir, name, RenameFlags::NOREPLACE) {
                    Err(Errno::INVAL | Errno::NOSYS) => renameat(&self.folder, slot.as_str(), dir, name),
                    done => done,
                }
            }
            Step::Exchanged { slot, path } => {
                let (dir, name) = self.places.of(path)?;
                renameat_with(&self.folder, slot.as_str(), dir, name, RenameFlags::EXCHANGE)
            }
            Step::Installed { slot, path } => {
                let (dir, name) = self.places.of(path)?;
                renameat(dir, name, &self.folder, slot.as_str())
            }
            Step::Made { path } => {
                let (dir, name) = self.places.of(path)?;
                unlinkat(dir, name, AtFlags::REMOVEDIR)?;
                self.places.forget();
                Ok(())
            }
            Step::Removed { path, was } => {
                let (dir, name) = self.places.of(path)?;
                mkdirat(dir, name, Mode::RWXU)?;
                let fd = open(self.root, path, FOLDER)?;
                self.give(fd.as_fd(), Some(Owner(was.owner.0, was.owner.1)))?;
                fchmod(&fd, Mode::from_raw_mode(was.mode))
            }
        }
    }

    /// Removes what was replaced, and the hidden folder.
    pub(super) fn finish(self) {
        for slot in &self.slots {
            let _ = unlinkat(&self.folder, slot.as_str(), AtFlags::empty());
        }
        let _ = unlinkat(self.root, self.name.as_str(), AtFlags::REMOVEDIR);
    }
}

/// Whether an inode is the same and unwritten; renaming alone changes its `ctime`.
fn is_still(found: &Meta, was: &Meta) -> bool {
    (found.kind, found.stamp.inode, found.size, found.mtime_ns)
        == (was.kind, was.stamp.inode, was.size, was.mtime_ns)
}

/// A link's target, if it still has this digest.
pub(super) fn same_target(
    (dir, name): (BorrowedFd<'_>, &[u8]),
    digest: Digest,
) -> Result<Vec<u8>, StageError> {
    let target = read_target(dir, name).map_err(|_| StageError::NewChanged)?;
    if super::content::digest_of_target(&target) == digest { Ok(target) } else { Err(StageError::NewChanged) }
}
