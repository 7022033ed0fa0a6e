//! Where git keeps what belongs to a project, as far as it lies within the project's folder.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, openat2, statat};
use rustix::io::Errno;

/// Most of them that are looked at.
pub(super) const MOST: usize = 128;
/// Most entries of their folders that are looked at: code in an earlier session can make many.
const ENTRIES: usize = 1024;
/// How deep names of submodules may nest.
const DEPTH: usize = 8;
/// Longest configuration or pointer that is read, in bytes.
const LONGEST: u64 = 1 << 20;

/// A folder of git's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Repository {
    /// Relative to the project's folder.
    pub path: String,
    /// It belongs to a linked work tree: its hooks and configuration are another's.
    pub is_linked: bool,
}

/// A folder or file of the project, reached through no link.
///
/// # Errors
/// `LOOP` when a link lies on the way or is what was asked for.
pub(super) fn beneath(folder: impl AsFd, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let path = if path.is_empty() { "." } else { path };
    openat2(folder, path, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// What a path is; `None` when nothing is there.
///
/// # Errors
/// As [`beneath`].
pub(super) fn kind_of(folder: impl AsFd, path: &str) -> Result<Option<FileType>, Errno> {
    let found = match beneath(folder, path, OFlags::PATH) {
        Ok(found) => found,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(error),
    };
    let kind = FileType::from_raw_mode(statat(&found, "", AtFlags::EMPTY_PATH)?.st_mode);
    if kind == FileType::Symlink { Err(Errno::LOOP) } else { Ok(Some(kind)) }
}

/// Every repository that git reaches from the project's own folder, submodules and linked work
/// trees among them. `whole` are the names by which the project's folder is known. One that lies
/// outside of it cannot be reached from inside either, and is left out.
///
/// # Errors
/// When one cannot be looked at; `LOOP` when a link stands in its place, `MFILE` when there are
/// more than [`MOST`], or more than [`ENTRIES`] to look at.
pub(super) fn find(project: &OwnedFd, whole: &[&Path]) -> Result<Vec<Repository>, Errno> {
    let mut found = Vec::new();
    match kind_of(project, ".git")? {
        Some(FileType::Directory) => add(&mut found, ".git".to_owned(), false)?,
        Some(_) => {
            // A file says where the folder is.
            if let Some(target) = pointer(project, ".git", "gitdir:").and_then(|to| within(whole, "", &to)) {
                add(&mut found, target, false)?;
            }
        }
        None => {}
    }
    let (mut next, mut left) = (0, ENTRIES);
    while let Some(repository) = found.get(next).cloned() {
        next += 1;
        let at = &repository.path;
        if kind_of(project, at)? != Some(FileType::Directory) {
            continue;
        }
        let common = pointer(project, &format!("{at}/commondir"), "").and_then(|to| within(whole, at, &to));
        // One that names itself is what stands in for a missing one.
        if let Some(common) = common.filter(|common| common != at) {
            found.iter_mut().filter(|one| one.path == *at).for_each(|one| one.is_linked = true);
            add(&mut found, common, false)?;
        }
        for name in folders_in(project, &format!("{at}/worktrees"), &mut left)? {
            add(&mut found, format!("{at}/worktrees/{name}"), true)?;
        }
        modules(project, &format!("{at}/modules"), DEPTH, &mut left, &mut found)?;
    }
    Ok(found)
}

/// Whether the repository's configuration has git read `config.worktree` as well.
pub(super) fn has_worktree_configuration(project: &OwnedFd, repository: &str) -> bool {
    read(project, &format!("{repository}/config"))
        .is_some_and(|text| text.to_ascii_lowercase().contains("worktreeconfig"))
}

/// Whether a folder has nothing in it.
pub(super) fn is_empty(project: &OwnedFd, path: &str) -> Result<bool, Errno> {
    let folder = beneath(project, path, OFlags::RDONLY | OFlags::DIRECTORY)?;
    for entry in Dir::read_from(&folder)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

fn add(found: &mut Vec<Repository>, path: String, is_linked: bool) -> Result<(), Errno> {
    if found.iter().any(|known| known.path == path) {
        return Ok(());
    }
    if found.len() >= MOST {
        return Err(Errno::MFILE);
    }
    found.push(Repository { path, is_linked });
    Ok(())
}

/// Submodules' repositories: their names may have several parts.
fn modules(
    project: &OwnedFd,
    at: &str,
    depth: usize,
    left: &mut usize,
    found: &mut Vec<Repository>,
) -> Result<(), Errno> {
    for name in folders_in(project, at, left)? {
        let path = format!("{at}/{name}");
        if kind_of(project, &format!("{path}/HEAD"))?.is_some() {
            add(found, path, false)?;
        } else if depth > 0 {
            modules(project, &path, depth - 1, left, found)?;
        }
    }
    Ok(())
}

fn folders_in(project: &OwnedFd, path: &str, left: &mut usize) -> Result<Vec<String>, Errno> {
    let folder = match beneath(project, path, OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(folder) => folder,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        let name = entry.file_name().to_str().unwrap_or_default();
        *left = left.checked_sub(1).ok_or(Errno::MFILE)?;
        if !matches!(name, "" | "." | "..") && kind_of(&folder, name)? == Some(FileType::Directory) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// What a file that points elsewhere says.
fn pointer(project: &OwnedFd, path: &str, prefix: &str) -> Option<String> {
    let text = read(project, path)?;
    Some(text.strip_prefix(prefix)?.trim().to_owned()).filter(|target| !target.is_empty())
}

fn read(project: &OwnedFd, path: &str) -> Option<String> {
    // Nothing but a regular file is opened: a pipe would wait for a writer.
    if kind_of(project, path).ok()? != Some(FileType::RegularFile) {
        return None;
    }
    let file = beneath(project, path, OFlags::RDONLY | OFlags::NONBLOCK).ok()?;
    let mut bytes = Vec::new();
    File::from(file).take(LONGEST).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A path as seen from the project's folder, when it lies in it; `from` is where it is relative to.
fn within(whole: &[&Path], from: &str, target: &str) -> Option<String> {
    let relative = if target.starts_with('/') {
        let inner = whole.iter().find_map(|whole| Path::new(target).strip_prefix(whole).ok())?;
        inner.to_str()?.to_owned()
    } else {
        format!("{from}/{target}")
    };
    let mut names = Vec::new();
    for name in relative.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()?),
            name => names.push(name),
        }
    }
    Some(names.join("/")).filter(|path| !path.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_seen_from_the_project() {
        let whole = [Path::new("/srv/p")];
        for (from, target, seen) in [
            ("", ".bare", Some(".bare")),
            ("", "./a/../.bare/", Some(".bare")),
            (".git/worktrees/x", "../..", Some(".git")),
            ("", "/srv/p/.bare", Some(".bare")),
            ("", "/srv/other/.git", None),
            ("", "../p/.bare", None),
            ("", ".", None),
        ] {
            assert_eq!(within(&whole, from, target).as_deref(), seen, "{from} {target}");
        }
    }

    #[test]
    fn repositories_are_found_wherever_git_keeps_them() {
        let top = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = top.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(".git", "gitdir: .bare/worktrees/main\n");
        write(".bare/worktrees/main/commondir", "../..\n");
        write(".bare/HEAD", "");
        write(".bare/config", "[extensions]\n\tworktreeConfig = true\n");
        write(".bare/modules/group/one/HEAD", "");
        write(".bare/modules/group/one/modules/two/HEAD", "");
        let project = OwnedFd::from(File::open(top.path()).unwrap());
        let found = find(&project, &[top.path()]).unwrap();
        let paths: Vec<(&str, bool)> = found.iter().map(|one| (&*one.path, one.is_linked)).collect();
        let expected = [
            (".bare/worktrees/main", true),
            (".bare", false),
            (".bare/modules/group/one", false),
            (".bare/modules/group/one/modules/two", false),
        ];
        assert_eq!(paths, expected);
        assert!(has_worktree_configuration(&project, ".bare"));
        for n in 0..ENTRIES {
            std::fs::create_dir_all(top.path().join(format!(".bare/worktrees/main/modules/{}/{n}", n / 64)))
                .unwrap();
        }
        assert_eq!(find(&project, &[top.path()]), Err(Errno::MFILE));
        std::fs::remove_dir_all(top.path().join(".bare/worktrees/main/modules")).unwrap();
        std::os::unix::fs::symlink("/", top.path().join(".bare/modules/link")).unwrap();
        assert_eq!(find(&project, &[top.path()]), Err(Errno::LOOP));
    }
}
