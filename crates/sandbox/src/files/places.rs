//! What in a writable project stays as it is: paths from which programs on the host take commands.
//!
//! What is missing is made, empty, so that it can be mounted read-only: inside, a path that does
//! not exist could be made with any content. A folder does for all but git's configuration:
//! nothing on the host obeys an empty one, git lists none, and its removal fails, at once and for
//! good, when someone has put it to use.
//!
//! What was made is written down beforehand, in a note that outlives its maker, so that whoever
//! closes the session removes it. Sessions that share a project share these places: each holds a
//! lock on them, and only the last removes them.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{
    AtFlags, CWD, FileType, FlockOperation, Gid, Mode, OFlags, Uid, fchown, flock, fstat, linkat, mkdirat,
    openat, readlinkat, statat, unlinkat,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::repositories::{self, beneath, kind_of};

/// The note's usual name, in a session's runtime folder.
pub const NOTE: &str = "places";
/// Places at the top of every project.
const TOP: [&str; 3] = [".envrc", ".vscode", ".idea"];
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// How often a place is tried for that another session is removing.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// What stays as it is.
#[derive(Debug)]
pub struct Places {
    /// Paths below the project's folder that are to be mounted read-only. All are there.
    pub protected: Vec<String>,
    /// Locks on those that are to be removed after the last session. To be kept while it lives.
    pub held: Vec<OwnedFd>,
}

/// Why a project's places cannot be protected.
#[derive(Debug, Error)]
pub enum PlacesError {
    /// A link leads elsewhere, and what it leads to could be changed.
    #[error("{path} in the project is a link or behind one, and a link cannot be protected")]
    Link {
        /// Where.
        path: String,
    },
    /// There are too many repositories.
    #[error("the project has too many submodules or work trees, more than {}", repositories::MOST)]
    TooMany,
    /// The system refused.
    #[error("{} cannot be protected", if path.is_empty() { "what is in the project".to_owned() } else { format!("{path} in the project") })]
    System {
        /// Where; may be empty for the project itself.
        path: String,
        /// The system's answer.
        source: io::Error,
    },
}

/// What was made in a project for the time of a session.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    project: PathBuf,
    made: Vec<Place>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    path: String,
    is_folder: bool,
}

/// Makes what is missing and locks it. May be called again after a death in the middle. `note` is
/// where it is written down what [`release`] is to remove.
///
/// # Errors
/// When something cannot be protected. What was made is in the note.
pub fn hold(project: &Path, note: &Path) -> Result<Places, PlacesError> {
    let at = |path: &str| {
        let path = path.to_owned();
        move |errno: Errno| match errno {
            Errno::LOOP => PlacesError::Link { path },
            Errno::MFILE => PlacesError::TooMany,
            errno => PlacesError::System { path, source: errno.into() },
        }
    };
    let put = |noted: &Note| {
        write(note, noted).map_err(|source| PlacesError::System { path: String::new(), source })
    };
    let folder = openat(CWD, project, FOLDER, Mode::empty()).map_err(at(""))?;
    let mut noted = read(note).unwrap_or_else(|| Note { project: project.to_owned(), made: Vec::new() });
    let mut places = Places { protected: Vec::new(), held: Vec::new() };
    let mut found = Vec::new();
    for place in wanted(&folder, project).map_err(at(".git"))? {
        let is_there = kind_of(&folder, &place.path).map_err(at(&place.path))?.is_some();
        found.push((place, is_there));
    }
    let mut known = noted.made.len();
    for (place, is_there) in &found {
        if !is_there && !noted.made.contains(place) {
            noted.made.push(place.clone());
        }
    }
    // Once for all of them, and before any is made.
    if noted.made.len() > known {
        put(&noted)?;
        known = noted.made.len();
    }
    let outcome = found.into_iter().try_for_each(|(place, is_there)| {
        let is_noted = noted.made.contains(&place);
        match hold_one(&folder, &place, is_noted) {
            Ok(Some(lock)) => {
                places.held.push(lock);
                if !is_noted {
                    noted.made.push(place.clone());
                }
            }
            Ok(None) => {}
            // Where nobody may write, nothing has to be protected.
            Err(Errno::ROFS | Errno::ACCESS) if !is_there => return Ok(()),
            Err(errno) => return Err(at(&place.path)(errno)),
        }
        places.protected.push(place.path);
        Ok(())
    });
    // What others made and left while this session held it is this session's to remove.
    if noted.made.len() > known {
        put(&noted)?;
    }
    outcome.map(|()| places)
}

/// Removes what [`hold`] made and nobody has put to use, unless another session holds it, and the
/// note. The session's own locks must be gone. Returns how many were removed.
pub fn release(note: &Path) -> u32 {
    let mut count = 0;
    if let Some(Note { project, made }) = read(note)
        && let Ok(folder) = openat(CWD, &project, FOLDER, Mode::empty())
    {
        // Last made, first removed.
        for place in made.iter().rev() {
            count += u32::from(remove(&folder, place).is_ok());
        }
    }
    let _ = std::fs::remove_file(note);
    count
}

/// Everything that is to be protected, there or not.
fn wanted(folder: &OwnedFd, project: &Path) -> Result<Vec<Place>, Errno> {
    let place = |path: String, is_folder| Place { path, is_folder };
    let mut all = Vec::new();
    match kind_of(folder, ".git")? {
        // An empty one is no repository: git looks on in the folders above, as if it were not
        // there. Inside, none can be made in it.
        None => all.push(place(".git".to_owned(), true)),
        Some(FileType::Directory) if repositories::is_empty(folder, ".git")? => {
            all.push(place(".git".to_owned(), true));
        }
        Some(FileType::Directory) => {}
        Some(_) => all.push(place(".git".to_owned(), false)),
    }
    let there = if all.iter().any(|place| place.is_folder) {
        Vec::new()
    } else {
        let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(folder));
        let real = readlinkat(CWD, link, Vec::new())?;
        let real = real.to_str().map(PathBuf::from).unwrap_or_default();
        repositories::find(folder, &[project, &real])?
    };
    for repository in there {
        let at = &repository.path;
        if !repository.is_linked {
            all.push(place(format!("{at}/hooks"), true));
            all.push(place(format!("{at}/config"), false));
        }
        let mut add_if = |name: &str, or: bool| {
            let path = format!("{at}/{name}");
            if or || kind_of(folder, &path)?.is_some() {
                all.push(place(path, false));
            }
            Ok::<(), Errno>(())
        };
        // Those that git would obey; a missing `gitdir` cannot be stood in for, since git refuses an
        // empty one.
        add_if("config.worktree", repositories::has_worktree_configuration(folder, at))?;
        add_if("commondir", !repository.is_linked)?;
        if repository.is_linked {
            add_if("gitdir", false)?;
        }
    }
    all.extend(TOP.map(|name| place(name.to_owned(), true)));
    Ok(all)
}

/// Makes a place if it is missing. Returns a lock on it when it is `ours` to remove or another
/// session's.
fn hold_one(folder: &OwnedFd, place: &Place, ours: bool) -> Result<Option<OwnedFd>, Errno> {
    let (parent, name) = place.path.rsplit_once('/').unwrap_or(("", &place.path));
    let parent = beneath(folder, parent, FOLDER)?;
    for _ in 0..TRIES {
        let made = make(&parent, name, place.is_folder)?;
        let ours = ours || made;
        let Ok(lock) = beneath(&parent, name, OFlags::RDONLY | OFlags::NONBLOCK) else {
            // Gone again, or nothing that can be opened: a socket is protected as it is.
            if statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
                return Ok(None);
            }
            continue;
        };
        let is_alone = flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok();
        if flock(&lock, FlockOperation::NonBlockingLockShared).is_err() {
            if !ours && kind_of(&parent, name)? != Some(FileType::Directory) {
                return Ok(None);
            }
            std::thread::sleep(PAUSE);
            continue;
        }
        // The last of the others may have removed it meanwhile.
        if !is_at(&parent, name, &lock) {
            continue;
        }
        // Root makes it for the project's owner.
        if made && rustix::process::geteuid().is_root() {
            let owner = fstat(folder)?;
            fchown(&lock, Some(Uid::from_raw(owner.st_uid)), Some(Gid::from_raw(owner.st_gid)))?;
        }
        return Ok((ours || !is_alone).then_some(lock));
    }
    // Locked by something that lets nobody else have it: it is there, and somebody else's.
    Ok(None)
}

/// What stands in a file that was missing. To git a repository without `commondir` is its own
/// (gitrepository-layout(5)), which one that says so does not change.
fn stand_in(name: &str) -> &'static [u8] {
    if name == "commondir" { b".\n" } else { b"" }
}

fn make(parent: &OwnedFd, name: &str, is_folder: bool) -> Result<bool, Errno> {
    let made =
        if is_folder { mkdirat(parent, name, Mode::from_raw_mode(0o755)) } else { make_file(parent, name) };
    match made {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes a file with what stands in it, whole or not at all: git refuses half of one.
fn make_file(parent: &OwnedFd, name: &str) -> Result<(), Errno> {
    let content = stand_in(name);
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    if content.is_empty() {
        let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        return openat(parent, name, flags, Mode::from_raw_mode(0o644)).map(drop);
    }
    let mode = Mode::from_raw_mode(0o644);
    let file = match openat(parent, ".", flags | OFlags::TMPFILE, mode) {
        // Not every file system can; git may then come upon an empty one for an instant.
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => {
            let file = openat(parent, name, flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW, mode)?;
            return rustix::io::write(&file, content).map(drop);
        }
        opened => opened?,
    };
    if rustix::io::write(&file, content)? != content.len() {
        return Err(Errno::NOSPC);
    }
    let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    linkat(CWD, link, parent, name, AtFlags::SYMLINK_FOLLOW)
}

/// Whether a file holds no more than what [`make_file`] put there.
fn is_stand_in(file: &OwnedFd, name: &str) -> Result<bool, Errno> {
    let mut start = [0; 8];
    let count = rustix::io::pread(file, &mut start, 0)?;
    Ok(start.get(..count) == Some(stand_in(name)))
}

fn remove(folder: &OwnedFd, place: &Place) -> Result<(), Errno> {
    let (parent, name) = place.path.rsplit_once('/').unwrap_or(("", &place.path));
    let parent = beneath(folder, parent, FOLDER)?;
    let lock = beneath(&parent, name, OFlags::RDONLY | OFlags::NONBLOCK)?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    if place.is_folder {
        // Not empty: someone outside put it to use.
        return unlinkat(&parent, name, AtFlags::REMOVEDIR);
    }
    if !is_stand_in(&lock, name)? || !is_at(&parent, name, &lock) {
        return Err(Errno::NOTEMPTY);
    }
    unlinkat(&parent, name, AtFlags::empty())
}

/// Whether a name still leads to what is open.
fn is_at(parent: &OwnedFd, name: &str, open: impl AsFd) -> bool {
    let (Ok(named), Ok(open)) = (statat(parent, name, AtFlags::SYMLINK_NOFOLLOW), fstat(open)) else {
        return false;
    };
    (named.st_dev, named.st_ino) == (open.st_dev, open.st_ino)
}

fn read(note: &Path) -> Option<Note> {
    serde_json::from_slice(&std::fs::read(note).ok()?).ok()
}

/// Replaces the note as a whole: a death in the middle leaves the old one.
fn write(note: &Path, content: &Note) -> io::Result<()> {
    let new = note.with_extension("new");
    let written =
        std::fs::write(&new, serde_json::to_vec(content)?).and_then(|()| std::fs::rename(&new, note));
    if written.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scene {
        top: tempfile::TempDir,
    }

    impl Scene {
        fn new() -> Self {
            let top = tempfile::tempdir().unwrap();
            std::fs::create_dir(top.path().join("p")).unwrap();
            Self { top }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.top.path().join("p").join(name)
        }

        fn note(&self, session: &str) -> PathBuf {
            self.top.path().join(session)
        }

        fn hold(&self, session: &str) -> Places {
            hold(&self.path(""), &self.note(session)).unwrap()
        }

        fn names(&self) -> Vec<String> {
            let all = std::fs::read_dir(self.path("")).unwrap().flatten();
            let mut names: Vec<_> = all.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names
        }
    }

    #[test]
    fn the_last_session_removes_what_was_made() {
        let scene = Scene::new();
        let (one, two) = (scene.hold("one"), scene.hold("two"));
        assert_eq!(one.protected, [".git", ".envrc", ".vscode", ".idea"]);
        assert_eq!(one.protected, two.protected);
        drop(one);
        assert_eq!(release(&scene.note("one")), 0);
        assert_eq!(scene.names(), [".envrc", ".git", ".idea", ".vscode"]);
        std::fs::write(scene.path(".vscode/mine"), "").unwrap();
        drop(two);
        assert_eq!(release(&scene.note("two")), 3);
        assert_eq!(scene.names(), [".vscode"], "what was put to use stays");
        assert!(!scene.note("two").exists());
    }

    #[test]
    fn what_was_there_before_stays() {
        let scene = Scene::new();
        std::fs::create_dir(scene.path(".vscode")).unwrap();
        std::fs::create_dir(scene.path(".git")).unwrap();
        drop(scene.hold("one"));
        release(&scene.note("one"));
        assert_eq!(scene.names(), [".git", ".vscode"]);
    }

    #[test]
    fn a_repository_lacks_nothing_that_git_obeys() {
        let scene = Scene::new();
        std::fs::create_dir_all(scene.path(".git/modules/sub")).unwrap();
        std::fs::write(scene.path(".git/HEAD"), "").unwrap();
        std::fs::write(scene.path(".git/modules/sub/HEAD"), "").unwrap();
        std::fs::write(scene.path(".git/modules/sub/config"), "[extensions]\nworktreeconfig=1\n").unwrap();
        let places = scene.hold("one");
        let of_git = [
            ".git/hooks",
            ".git/config",
            ".git/commondir",
            ".git/modules/sub/hooks",
            ".git/modules/sub/config",
            ".git/modules/sub/config.worktree",
            ".git/modules/sub/commondir",
        ];
        assert_eq!(places.protected[..7], of_git);
        // To another session, and to the next one after a death, it is the same repository.
        let again = scene.hold("two");
        assert_eq!(again.protected, places.protected);
        drop(again);
        release(&scene.note("two"));
        assert!(of_git.iter().all(|path| scene.path(path).exists()));
        std::fs::write(scene.path(".git/config"), "[core]\n").unwrap();
        drop(places);
        release(&scene.note("one"));
        let left: Vec<bool> = of_git.iter().map(|path| scene.path(path).exists()).collect();
        assert_eq!(left, [false, true, false, false, true, false, false]);
    }

    #[test]
    fn git_works_beside_what_stands_in() {
        let scene = Scene::new();
        let git = |arguments: &[&str]| {
            let mut git = std::process::Command::new("git");
            let named = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"];
            git.args(named).args(arguments).current_dir(scene.path("")).env_remove("GIT_DIR");
            let done = git.output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            String::from_utf8(done.stdout).unwrap()
        };
        git(&["init", "-q"]);
        let places = scene.hold("one");
        std::fs::write(scene.path("file"), "1\n").unwrap();
        git(&["add", "file"]);
        git(&["commit", "-qm", "one"]);
        git(&["checkout", "-qb", "other"]);
        assert_eq!(git(&["status", "--short"]), "");
        assert!(git(&["rev-parse", "--git-common-dir"]).trim().ends_with("p/.git"));
        drop(places);
        release(&scene.note("one"));
        assert!(!scene.path(".git/commondir").exists());
        assert_eq!(git(&["log", "--format=%s"]), "one\n");
    }

    #[test]
    fn one_that_died_in_the_middle_is_gone_on_from() {
        let scene = Scene::new();
        let first = scene.hold("one");
        let again = scene.hold("one");
        assert_eq!(again.held.len(), 4);
        assert_eq!(read(&scene.note("one")).unwrap().made.len(), 4);
        drop((first, again));
        assert_eq!(release(&scene.note("one")), 4);
        assert_eq!(scene.names(), [""; 0]);
    }

    #[test]
    fn nothing_is_made_that_is_not_noted() {
        let scene = Scene::new();
        let refused = hold(&scene.path(""), &scene.top.path().join("no/such/folder/one"));
        assert!(matches!(refused, Err(PlacesError::System { .. })));
        assert_eq!(scene.names(), [""; 0]);
    }

    #[test]
    fn links_are_refused() {
        let scene = Scene::new();
        std::os::unix::fs::symlink("elsewhere", scene.path(".envrc")).unwrap();
        let refused = hold(&scene.path(""), &scene.note("one"));
        assert!(matches!(refused, Err(PlacesError::Link { path }) if path == ".envrc"));
        assert_eq!(scene.names(), [".envrc"], "what is refused is found before anything is made");
    }
}
