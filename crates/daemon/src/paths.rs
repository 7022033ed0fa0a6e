//! Where things are: the runtime, state and configuration paths, and the rules for folders of
//! ours (owned by the user, closed to everyone else, no links).

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use sessile_model::SessionId;
use thiserror::Error;

/// Longest runtime path, in bytes: the sockets of a session must fit into a socket address,
/// which holds 107.
pub const MAX_RUNTIME_LEN: usize = 107 - "/sessions/01234567-89ab-cdef-0123-456789abcdef/keeper.sock".len();

/// The two folders that a daemon and its keepers work in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// Sockets; gone after a restart of the host.
    pub runtime: PathBuf,
    /// The journal, the installation's key, logs and receipts.
    pub state: PathBuf,
}

/// Why a path cannot be used.
#[derive(Debug, Error)]
pub enum PathError {
    /// No variable says where.
    #[error("there is no home folder to find {what} in; set HOME or {variable}")]
    NoHome {
        /// What would lie in it.
        what: &'static str,
        /// The variable that would name it.
        variable: &'static str,
    },
    /// A variable holds a relative path.
    #[error("{variable} must be an absolute path")]
    Relative {
        /// The variable.
        variable: &'static str,
    },
    /// Socket addresses would not fit.
    #[error(
        "the path of the runtime folder {path} has {length} bytes; sockets in it need at most {MAX_RUNTIME_LEN}"
    )]
    TooLong {
        /// The path.
        path: PathBuf,
        /// Its bytes.
        length: usize,
    },
    /// A link or a file is in its place.
    #[error("{path} is not a folder (a link is not accepted)")]
    NotAFolder {
        /// The path.
        path: PathBuf,
    },
    /// It belongs to someone else.
    #[error("{path} belongs to user {owner}, not to you")]
    Foreign {
        /// The path.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// Others may enter it.
    #[error("{path} is open to other users (mode {mode:o}); run: chmod 700 {path}")]
    Open {
        /// The path.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The system refused.
    #[error("{path} could not be made or opened")]
    Io {
        /// The path.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl Folders {
    /// The folders for this user, by the process's environment.
    ///
    /// # Errors
    /// When a variable is not usable, the runtime path is too long or there is no home folder.
    pub fn of_process() -> Result<Self, PathError> {
        let env = |name: &str| std::env::var_os(name);
        let uid = rustix::process::geteuid().as_raw();
        let folders = Self { runtime: runtime_dir(env, uid)?, state: state_dir(env, uid)? };
        folders.check_length()?;
        Ok(folders)
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.runtime.join("daemon.sock")
    }

    /// The file whose lock makes a daemon the only one.
    pub fn lock(&self) -> PathBuf {
        self.runtime.join("daemon.lock")
    }

    /// The file whose lock keeps a second daemon from the state folder.
    pub fn state_lock(&self) -> PathBuf {
        self.state.join("daemon.lock")
    }

    /// The folder of all sessions' runtime folders.
    pub fn runtime_sessions(&self) -> PathBuf {
        self.runtime.join("sessions")
    }

    /// The folder of all sessions' state folders.
    pub fn state_sessions(&self) -> PathBuf {
        self.state.join("sessions")
    }

    /// A session's runtime folder.
    pub fn runtime_of(&self, id: SessionId) -> PathBuf {
        self.runtime_sessions().join(id.to_string())
    }

    /// A session's state folder: its log and its receipt.
    pub fn state_of(&self, id: SessionId) -> PathBuf {
        self.state_sessions().join(id.to_string())
    }

    /// What a closed session's guard decided.
    pub fn audit_of(&self, id: SessionId) -> PathBuf {
        self.state.join("audits").join(id.to_string())
    }

    /// A session's anchor socket.
    pub fn anchor_socket(&self, id: SessionId) -> PathBuf {
        self.runtime_of(id).join("anchor.sock")
    }

    /// A session's keeper socket.
    pub fn keeper_socket(&self, id: SessionId) -> PathBuf {
        self.runtime_of(id).join("keeper.sock")
    }

    /// What says that a session's runtime folder is that of a session to come.
    pub fn spare_mark(&self, id: SessionId) -> PathBuf {
        self.runtime_of(id).join("spare")
    }

    fn check_length(&self) -> Result<(), PathError> {
        match self.runtime.as_os_str().len() {
            0..=MAX_RUNTIME_LEN => Ok(()),
            length => Err(PathError::TooLong { path: self.runtime.clone(), length }),
        }
    }

    /// Makes and checks both folders and what is in them for sessions.
    ///
    /// # Errors
    /// When one is a link, foreign, open to others, too long or cannot be made.
    pub fn prepare(&self) -> Result<(), PathError> {
        self.check_length()?;
        for folder in [&self.runtime, &self.state, &self.runtime_sessions(), &self.state_sessions()] {
            private_folder(folder)?;
        }
        Ok(())
    }
}

/// The runtime folder: `$SESSILE_RUNTIME_DIR`, else `/run/sessile` for root,
/// `$XDG_RUNTIME_DIR/sessile`, or `/tmp/sessile-UID`.
///
/// # Errors
/// When the first is set to a relative path.
pub fn runtime_dir(env: impl Fn(&str) -> Option<OsString>, uid: u32) -> Result<PathBuf, PathError> {
    if let Some(path) = ours(&env, "SESSILE_RUNTIME_DIR")? {
        return Ok(path);
    }
    Ok(match base(&env, "XDG_RUNTIME_DIR") {
        _ if uid == 0 => PathBuf::from("/run/sessile"),
        Some(base) => base.join("sessile"),
        None => PathBuf::from(format!("/tmp/sessile-{uid}")),
    })
}

/// The state folder: `$SESSILE_STATE_DIR`, else `/var/lib/sessile` for root,
/// `$XDG_STATE_HOME/sessile`, or `~/.local/state/sessile`.
///
/// # Errors
/// When the first is set to a relative path, or there is no home folder.
pub fn state_dir(env: impl Fn(&str) -> Option<OsString>, uid: u32) -> Result<PathBuf, PathError> {
    if let Some(path) = ours(&env, "SESSILE_STATE_DIR")? {
        return Ok(path);
    }
    if uid == 0 {
        return Ok(PathBuf::from("/var/lib/sessile"));
    }
    base(&env, "XDG_STATE_HOME")
        .or_else(|| Some(base(&env, "HOME")?.join(".local/state")))
        .map(|base| base.join("sessile"))
        .ok_or(PathError::NoHome { what: "the state folder", variable: "SESSILE_STATE_DIR" })
}

/// The configuration file: `$SESSILE_CONFIG`, else `$XDG_CONFIG_HOME/sessile/config.toml`, or
/// `~/.config/sessile/config.toml`.
///
/// # Errors
/// When the first is set to a relative path, or there is no home folder.
pub fn config_file(env: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, PathError> {
    if let Some(path) = ours(&env, "SESSILE_CONFIG")? {
        return Ok(path);
    }
    base(&env, "XDG_CONFIG_HOME")
        .or_else(|| Some(base(&env, "HOME")?.join(".config")))
        .map(|base| base.join("sessile/config.toml"))
        .ok_or(PathError::NoHome { what: "config.toml", variable: "SESSILE_CONFIG" })
}

/// Makes a folder when absent (mode 0700) and checks that it is one, ours, and closed to others.
///
/// # Errors
/// When it is not, or the system refuses.
pub fn private_folder(path: &Path) -> Result<(), PathError> {
    let io = |source| PathError::Io { path: path.to_owned(), source };
    let make = || std::fs::DirBuilder::new().mode(0o700).create(path);
    match make() {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            if let Some(parent) = path.parent() {
                std::fs::DirBuilder::new().mode(0o700).recursive(true).create(parent).map_err(io)?;
            }
            make().map_err(io)?;
        }
        Err(e) => return Err(io(e)),
    }
    // Opened first, then looked at: the answer is about the folder that was found, not about
    // whatever has its name a moment later.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {
            return Err(PathError::NotAFolder { path: path.to_owned() });
        }
        Err(e) => return Err(io(e.into())),
    };
    let found = std::fs::File::from(fd).metadata().map_err(io)?;
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(PathError::Foreign { path: path.to_owned(), owner: found.uid() });
    }
    if found.mode() & 0o077 != 0 {
        return Err(PathError::Open { path: path.to_owned(), mode: found.mode() & 0o7777 });
    }
    Ok(())
}

/// A variable of ours: relative paths are refused, since each process would read them its own way.
fn ours(
    env: &impl Fn(&str) -> Option<OsString>,
    variable: &'static str,
) -> Result<Option<PathBuf>, PathError> {
    match env(variable).filter(|v| !v.is_empty()).map(PathBuf::from) {
        Some(path) if !path.is_absolute() => Err(PathError::Relative { variable }),
        found => Ok(found),
    }
}

/// A base folder; the XDG specification has relative ones ignored.
fn base(env: &impl Fn(&str) -> Option<OsString>, variable: &str) -> Option<PathBuf> {
    env(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn env<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<OsString> + 'a {
        move |name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v))
    }

    #[test]
    fn places_follow_the_documented_order() {
        let all = [
            ("SESSILE_RUNTIME_DIR", "/a"),
            ("XDG_RUNTIME_DIR", "/b"),
            ("SESSILE_STATE_DIR", "/c"),
            ("XDG_STATE_HOME", "/d"),
            ("HOME", "/e"),
        ];
        let runtime = |skip: usize, uid| runtime_dir(env(&all[skip..]), uid).unwrap();
        assert_eq!(runtime(0, 0), Path::new("/a"));
        assert_eq!(runtime(1, 0), Path::new("/run/sessile"));
        assert_eq!(runtime(1, 7), Path::new("/b/sessile"));
        assert_eq!(runtime(2, 7), Path::new("/tmp/sessile-7"));
        let state = |skip: usize, uid| state_dir(env(&all[skip..]), uid).unwrap();
        assert_eq!(state(2, 0), Path::new("/c"));
        assert_eq!(state(3, 0), Path::new("/var/lib/sessile"));
        assert_eq!(state(3, 7), Path::new("/d/sessile"));
        assert_eq!(state(4, 7), Path::new("/e/.local/state/sessile"));
        assert_eq!(config_file(env(&all)).unwrap(), Path::new("/e/.config/sessile/config.toml"));
        assert!(matches!(state_dir(env(&[]), 7), Err(PathError::NoHome { .. })));
        let relative = [("SESSILE_STATE_DIR", "here")];
        assert!(matches!(state_dir(env(&relative), 7), Err(PathError::Relative { .. })));
    }

    #[test]
    fn a_folder_is_made_closed_and_found_again() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("a/b");
        private_folder(&path).unwrap();
        private_folder(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn links_files_and_open_folders_are_refused() {
        let top = tempfile::tempdir().unwrap();
        let (target, link, file) =
            (top.path().join("target"), top.path().join("link"), top.path().join("file"));
        private_folder(&target).unwrap();
        symlink(&target, &link).unwrap();
        std::fs::write(&file, "").unwrap();
        assert!(matches!(private_folder(&link), Err(PathError::NotAFolder { .. })));
        assert!(matches!(private_folder(&file), Err(PathError::NotAFolder { .. })));
        std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o750)).unwrap();
        assert!(matches!(private_folder(&target), Err(PathError::Open { mode: 0o750, .. })));
    }

    #[test]
    fn a_foreign_folder_is_refused() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: giving a folder away needs root");
            return;
        }
        let top = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(top.path(), Some(65534), None).unwrap();
        assert!(matches!(private_folder(top.path()), Err(PathError::Foreign { owner: 65534, .. })));
    }

    #[test]
    fn a_runtime_path_that_sockets_cannot_have_is_refused() {
        let top = tempfile::tempdir().unwrap();
        let folders = Folders { runtime: top.path().join("x".repeat(60)), state: top.path().join("s") };
        assert!(matches!(folders.prepare(), Err(PathError::TooLong { .. })));
    }
}
