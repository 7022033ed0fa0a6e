//! What a session changed in its copy of a project, and how the original stands to it.

use std::collections::HashSet;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use sessile_model::api::ChangeKind;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::baseline::{Baseline, Digest, Kind, Original, Stamp};
use super::beneath::{Meta, Parents, look, open_file, split};
use super::content::{digest_file, digest_of_target, read_target};
use super::tree::{LeftOut, ListError, Listing, Node, Omissions, list};

/// Files, folders and links in a session's copy that are looked at.
const MAX_ENTRIES: u64 = 2_000_000;

/// What a path is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) meta: Meta,
    pub(super) digest: Digest,
}

impl State {
    pub(super) fn executable(&self) -> bool {
        is_executable(self.meta.mode)
    }

    /// This state of the copy as what the original has too. The original's inode is not known; its
    /// content is compared.
    pub(super) fn as_agreed(&self) -> Original {
        Original {
            kind: self.meta.kind,
            mode: self.meta.mode & 0o777,
            size: self.meta.size,
            mtime_ns: self.meta.mtime_ns,
            stamp: Stamp::UNKNOWN,
            copy: self.meta.stamp,
            digest: self.digest,
        }
    }

    /// Whether both are the same to a project: kind, content and executable bit.
    fn same_as(&self, other: &Self) -> bool {
        self.alike(other.meta.kind, other.meta.mode, other.digest)
    }

    fn is_as_copied(&self, original: &Original) -> bool {
        self.alike(original.kind, original.mode, original.digest)
    }

    fn alike(&self, kind: Kind, mode: u32, digest: Digest) -> bool {
        self.meta.kind == kind
            && self.digest == digest
            && (kind != Kind::File || self.executable() == is_executable(mode))
    }
}

pub(super) fn is_executable(mode: u32) -> bool {
    mode & 0o100 != 0
}

/// How the original stands to a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// As it was copied.
    Untouched(Option<State>),
    /// As the session wants it.
    Done(Option<State>),
    /// Something else: a conflict.
    Changed(Option<State>),
    /// Not to be found out, or in a place that is no folder any more: a conflict.
    Blocked,
}

impl Standing {
    pub(super) fn is_conflict(self) -> bool {
        matches!(self, Self::Changed(_) | Self::Blocked)
    }

    /// What the original is now.
    pub(super) fn state(self) -> Option<State> {
        match self {
            Self::Untouched(state) | Self::Done(state) | Self::Changed(state) => state,
            Self::Blocked => None,
        }
    }
}

/// One changed path.
#[derive(Clone, Debug)]
pub(super) struct Delta {
    pub(super) path: Vec<u8>,
    pub(super) old: Option<Original>,
    pub(super) new: Option<State>,
    pub(super) standing: Standing,
}

impl Delta {
    pub(super) fn change(&self) -> ChangeKind {
        match (&self.old, &self.new) {
            (None, _) => ChangeKind::Added,
            (Some(_), Some(_)) => ChangeKind::Modified,
            (Some(_), None) => ChangeKind::Removed,
        }
    }
}

/// All changes, sorted by path.
#[derive(Debug)]
pub(super) struct Deltas {
    pub(super) list: Vec<Delta>,
    pub(super) omitted: Omissions,
}

impl Deltas {
    /// Stands for exactly these changes, content included.
    pub(super) fn seen(&self) -> String {
        let mut sha = Sha256::new();
        for delta in &self.list {
            sha.update((delta.path.len() as u64).to_le_bytes());
            sha.update(&delta.path);
            match &delta.new {
                None => sha.update([0]),
                Some(new) => {
                    sha.update([1 + new.meta.kind as u8, u8::from(new.executable())]);
                    sha.update(new.digest.0);
                }
            }
        }
        Digest(sha.finalize().into()).to_string()
    }
}

/// Why the changes are not known.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ChangesError {
    /// The copy holds too many files.
    #[error("the session's copy holds more than {max} files")]
    TooManyFiles {
        /// Files, folders and links allowed.
        max: u64,
    },
    /// The copy's root cannot be read.
    #[error("the session's copy cannot be read: {source}")]
    Copy {
        /// The system's error.
        source: Errno,
    },
}

/// Compares the copy with the baseline, and the original with both.
pub(super) fn changes(
    original: BorrowedFd<'_>,
    copy: BorrowedFd<'_>,
    baseline: &Baseline,
) -> Result<Deltas, ChangesError> {
    let Listing { nodes, mut omitted } = list(copy, MAX_ENTRIES).map_err(|error| match error {
        ListError::TooMany(max) => ChangesError::TooManyFiles { max },
        ListError::Root(source) => ChangesError::Copy { source },
    })?;
    let mut found = Vec::new();
    let mut present: HashSet<&[u8]> = HashSet::with_capacity(nodes.len());
    let mut copies = Parents::new(copy);
    for Node { path, .. } in &nodes {
        let old = baseline.paths.get(path);
        let known = old.and_then(|old| known(old, old.copy, baseline.finished_ns));
        match state_at(&mut copies, path, known) {
            Ok(Some(new)) => {
                present.insert(path);
                if !old.is_some_and(|old| new.is_as_copied(old)) {
                    found.push((path.clone(), old.copied(), Some(new)));
                }
            }
            Ok(None) => {}
            Err(why) => omitted.add(path, why),
        }
    }
    let left: HashSet<&[u8]> = omitted.0.iter().map(|(path, _)| &path[..]).collect();
    // A folder comes before what it holds, so looking at the next one above is enough.
    let mut hidden: HashSet<&[u8]> = left.get(&b""[..]).copied().into_iter().collect();
    for (path, old) in &baseline.paths {
        if left.contains(&path[..]) || hidden.contains(split(path).0) {
            hidden.insert(path);
        } else if !present.contains(&path[..]) {
            found.push((path.clone(), Some(*old), None));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let mut originals = Parents::new(original);
    // Where the session made a folder of a file, the original cannot have anything below it.
    let mut unfolded: HashSet<Vec<u8>> = HashSet::new();
    let mut list = Vec::with_capacity(found.len());
    for (path, old, new) in found {
        let is_below_one = unfolded.contains(split(&path).0);
        let standing = if is_below_one {
            Standing::Untouched(None)
        } else {
            standing(&mut originals, &path, old.as_ref(), new.as_ref(), baseline)
        };
        let was_something_else = standing.state().is_some_and(|state| state.meta.kind != Kind::Folder);
        if new.is_some_and(|new| new.meta.kind == Kind::Folder) && (was_something_else || is_below_one) {
            unfolded.insert(path.clone());
        }
        list.push(Delta { path, old, new, standing });
    }
    Ok(Deltas { list, omitted })
}

/// A path and the folders it is in, up to but without the root.
pub(super) fn at_or_above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = path.iter().enumerate().rev().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
    std::iter::once(path.len()).chain(ends).map(|end| &path[..end])
}

/// What may be taken as the content of an inode with this stamp; see [`Baseline::started_ns`].
fn known(old: &Original, stamp: Stamp, before_ns: i64) -> Option<(Stamp, u64, Digest)> {
    (stamp.ctime_ns < before_ns).then_some((stamp, old.size, old.digest))
}

fn standing(
    originals: &mut Parents<'_>,
    path: &[u8],
    old: Option<&Original>,
    new: Option<&State>,
    baseline: &Baseline,
) -> Standing {
    let known = old.and_then(|old| known(old, old.stamp, baseline.started_ns));
    let now = match state_at(originals, path, known) {
        Ok(now) => now,
        // Its folder is none any more, so it is as gone as the session wants it.
        Err(LeftOut::Raced) if new.is_none() => return Standing::Done(None),
        Err(_) => return Standing::Blocked,
    };
    match (&now, old, new) {
        (None, None, _) => Standing::Untouched(now),
        (Some(state), Some(old), _) if state.is_as_copied(old) => Standing::Untouched(now),
        (None, _, None) => Standing::Done(now),
        (Some(state), _, Some(new)) if state.same_as(new) => Standing::Done(now),
        (None, Some(_), Some(_)) | (Some(_), _, _) => Standing::Changed(now),
    }
}

/// What `path` is now: `None` if nothing is there. Content with a known stamp is not read again.
pub(super) fn state_at(
    parents: &mut Parents<'_>,
    path: &[u8],
    known: Option<(Stamp, u64, Digest)>,
) -> Result<Option<State>, LeftOut> {
    let state = (|| {
        let (dir, name) = parents.of(path)?;
        let meta = look(dir, name)?;
        if known.is_some_and(|(stamp, size, _)| stamp == meta.stamp && size == meta.size) {
            let digest = known.map_or(Digest([0; 32]), |(_, _, digest)| digest);
            return Ok(Ok(State { meta, digest }));
        }
        if let Some(why) = LeftOut::from_kind(meta.kind) {
            return Ok(Err(why));
        }
        if meta.kind == Kind::Folder {
            return Ok(Ok(State { meta, digest: Digest([0; 32]) }));
        }
        if meta.kind == Kind::Link {
            let digest = digest_of_target(&read_target(dir, name)?);
            return Ok(Ok(State { meta, digest }));
        }
        match open_file(dir, name)? {
            Some((file, meta)) => {
                let held = digest_file(file.as_fd(), meta.size)?;
                Ok(Ok(State { meta: Meta { size: held.size, ..meta }, digest: held.digest }))
            }
            None => Ok(Err(LeftOut::Raced)),
        }
    })();
    match state {
        Ok(Ok(state)) => Ok(Some(state)),
        Ok(Err(why)) => Err(why),
        Err(errno) => LeftOut::from_errno(errno).map_or(Ok(None), Err),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::super::testing::{copied, folder_fd, pair, write};
    use super::*;

    fn listed(
        original: &std::path::Path,
        copy: &std::path::Path,
        baseline: &Baseline,
    ) -> Vec<(String, ChangeKind, bool)> {
        let deltas = changes(folder_fd(original).as_fd(), folder_fd(copy).as_fd(), baseline).unwrap();
        let entry =
            |d: &Delta| (String::from_utf8_lossy(&d.path).into_owned(), d.change(), d.standing.is_conflict());
        deltas.list.iter().map(entry).collect()
    }

    #[test]
    fn finds_every_way_to_change_and_nothing_else() {
        let (from, to) = pair();
        for name in ["same", "content", "mode", "gone", "folder/x", "touched", "rewritten"] {
            write(from.path(), name, "1234\n");
        }
        symlink("a", from.path().join("link")).unwrap();
        let baseline = copied(from.path(), to.path());
        assert_eq!(listed(from.path(), to.path(), &baseline), []);

        write(to.path(), "content", "4321\n");
        std::fs::set_permissions(to.path().join("mode"), PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::set_permissions(to.path().join("touched"), PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::remove_file(to.path().join("gone")).unwrap();
        std::fs::remove_dir_all(to.path().join("folder")).unwrap();
        write(to.path(), "folder", "now a file");
        write(to.path(), "rewritten", "1234\n");
        write(to.path(), "new/file", "x");
        std::fs::remove_file(to.path().join("link")).unwrap();
        symlink("b", to.path().join("link")).unwrap();
        use ChangeKind::{Added, Modified, Removed};
        let expected = [
            ("content", Modified),
            ("folder", Modified),
            ("folder/x", Removed),
            ("gone", Removed),
            ("link", Modified),
            ("mode", Modified),
            ("new", Added),
            ("new/file", Added),
        ];
        let expected: Vec<_> = expected.map(|(path, change)| (path.to_owned(), change, false)).into();
        assert_eq!(listed(from.path(), to.path(), &baseline), expected);
    }

    #[test]
    fn conflicts_are_what_changed_outside_to_something_else() {
        let (from, to) = pair();
        for name in ["both", "same", "session", "outside", "gone", "removed"] {
            write(from.path(), name, "old");
        }
        let baseline = copied(from.path(), to.path());
        write(from.path(), "both", "outside");
        write(to.path(), "both", "session");
        write(from.path(), "same", "equal");
        write(to.path(), "same", "equal");
        write(to.path(), "session", "new");
        write(from.path(), "outside", "new");
        std::fs::remove_file(from.path().join("gone")).unwrap();
        write(to.path(), "gone", "new");
        write(from.path(), "removed", "edited");
        std::fs::remove_file(to.path().join("removed")).unwrap();
        write(from.path(), "added", "1");
        write(to.path(), "added", "2");
        let conflicts: Vec<_> = listed(from.path(), to.path(), &baseline)
            .into_iter()
            .filter_map(|(path, _, conflict)| conflict.then_some(path))
            .collect();
        assert_eq!(conflicts, ["added", "both", "gone", "removed"]);
    }

    #[test]
    fn set_back_times_hide_nothing() {
        let (from, to) = pair();
        write(from.path(), "f", "aaaa");
        let baseline = copied(from.path(), to.path());
        let path = to.path().join("f");
        let time = path.metadata().unwrap().modified().unwrap();
        write(to.path(), "f", "bbbb");
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        assert_eq!(listed(from.path(), to.path(), &baseline).len(), 1);
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_for_removed() {
        let (from, to) = pair();
        write(from.path(), "f", "x");
        let baseline = copied(from.path(), to.path());
        std::fs::remove_file(to.path().join("f")).unwrap();
        super::super::testing::mkfifo(&to.path().join("f"));
        assert_eq!(listed(from.path(), to.path(), &baseline), []);
    }

    #[test]
    fn a_stamp_proves_nothing_within_the_tick_of_the_clock() {
        let (from, to) = pair();
        write(from.path(), "f", "aaaa");
        let mut baseline = copied(from.path(), to.path());
        write(to.path(), "f", "bbbb");
        // As if the write had come in the same tick as the copy's last step.
        let copy = folder_fd(to.path());
        let stamp = look(copy.as_fd(), b"f").unwrap().stamp;
        baseline.paths.get_mut(&b"f"[..]).unwrap().copy = stamp;
        baseline.finished_ns = stamp.ctime_ns;
        assert_eq!(listed(from.path(), to.path(), &baseline).len(), 1);
        // A tick later an equal stamp is enough.
        baseline.finished_ns += 1;
        assert_eq!(listed(from.path(), to.path(), &baseline).len(), 0);
    }

    #[test]
    fn what_hides_a_folder_hides_all_of_it() {
        let (from, to) = pair();
        for name in ["d/e/f", "d!", "x"] {
            write(from.path(), name, "x");
        }
        let baseline = copied(from.path(), to.path());
        std::fs::remove_dir_all(to.path().join("d")).unwrap();
        super::super::testing::mkfifo(&to.path().join("d"));
        std::fs::remove_file(to.path().join("x")).unwrap();
        write(to.path(), "x/y/z", "new");
        let list = listed(from.path(), to.path(), &baseline);
        let paths: Vec<_> = list.iter().map(|(path, _, conflict)| (&path[..], *conflict)).collect();
        assert_eq!(paths, [("x", false), ("x/y", false), ("x/y/z", false)]);
    }
}
