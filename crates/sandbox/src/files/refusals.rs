//! Which changes are never written back, whatever the original is.

use std::collections::HashSet;

use rustix::fd::{AsFd as _, BorrowedFd};

use super::baseline::Kind;
use super::beneath::{PLACE, look, open};
use super::changes::Delta;
use super::protected::{is_in_a_repository, is_protected, names_a_repository};
use super::tree::LeftOut;

/// Names in a bare repository from which git takes commands.
const OBEYED: [&[u8]; 4] = [b"config", b"config.worktree", b"commondir", b"hooks"];
/// What makes a folder one (gitrepository-layout(5)).
const HEAD: &[u8] = b"head";

/// What is known of a project's changes before they are judged one by one.
#[derive(Debug)]
pub(super) struct Refusals {
    allow_hooks: bool,
    /// Folders that git takes for a repository when it is started in them, before or after.
    bare: HashSet<Vec<u8>>,
}

impl Refusals {
    /// Looks for repositories among what was changed.
    pub(super) fn of(
        original: BorrowedFd<'_>,
        copy: BorrowedFd<'_>,
        deltas: &[Delta],
        allow_hooks: bool,
    ) -> Self {
        let mut bare = HashSet::new();
        let mut seen = HashSet::new();
        if !allow_hooks {
            for (folder, _) in deltas.iter().flat_map(|delta| parts_of_one(&delta.path)) {
                if seen.insert(folder) && (is_bare(copy, folder) || is_bare(original, folder)) {
                    bare.insert(folder.to_vec());
                }
            }
        }
        Self { allow_hooks, bare }
    }

    /// Why a change is never applied.
    pub(super) fn why(&self, delta: &Delta) -> Option<LeftOut> {
        if std::str::from_utf8(&delta.path).is_err() {
            return Some(LeftOut::NotText);
        }
        let kind = delta.new.map(|new| new.meta.kind);
        let sends_git_elsewhere = names_a_repository(&delta.path) && kind == Some(Kind::File)
            || is_in_a_repository(&delta.path) && kind == Some(Kind::Link);
        let makes_a_repository = || {
            parts_of_one(&delta.path)
                .any(|(folder, name)| self.bare.contains(folder) && (name != HEAD || delta.old.is_none()))
        };
        let is_refused = sends_git_elsewhere || is_protected(&delta.path) || makes_a_repository();
        (!self.allow_hooks && is_refused).then_some(LeftOut::Protected)
    }
}

/// The folders that would be bare repositories if this path were what its names say, and that name.
fn parts_of_one(path: &[u8]) -> impl Iterator<Item = (&[u8], Vec<u8>)> {
    let starts =
        std::iter::once(0).chain(path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(i, _)| i + 1));
    starts.filter_map(|start| {
        let rest = path.get(start..)?;
        let end = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
        let name = rest.get(..end)?.to_ascii_lowercase();
        let is_last = end == rest.len();
        let counts = OBEYED.contains(&&name[..]) || is_last && name == HEAD;
        let folder = path.get(..start.saturating_sub(1))?;
        counts.then_some((folder, name))
    })
}

/// Whether git, started there, would take the folder for a repository.
fn is_bare(tree: BorrowedFd<'_>, folder: &[u8]) -> bool {
    let path = if folder.is_empty() { b"." } else { folder };
    let Ok(folder) = open(tree, path, PLACE) else { return false };
    [b"HEAD".as_slice(), b"objects", b"refs"].iter().all(|name| look(folder.as_fd(), name).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_above_may_be_one() {
        let parts = |path: &'static str| -> Vec<(String, String)> {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            parts_of_one(path.as_bytes()).map(|(folder, name)| (text(folder), text(&name))).collect()
        };
        let pair = |folder: &str, name: &str| (folder.to_owned(), name.to_owned());
        assert_eq!(parts("config"), [pair("", "config")]);
        assert_eq!(parts("HEAD"), [pair("", "head")]);
        assert_eq!(parts("HEAD/x"), []);
        assert_eq!(parts("a/b.git/hooks/post-checkout"), [pair("a/b.git", "hooks")]);
        assert_eq!(parts("config/Config"), [pair("", "config"), pair("config", "config")]);
        assert_eq!(parts("src/main.rs"), []);
    }
}
