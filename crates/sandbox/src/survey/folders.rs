//! The folders in which sockets and records are kept.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use sessile_model::Property;

use super::{Finding, Gives, weaker};

/// `TMPFS_MAGIC` of `linux/magic.h`.
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// Where a user's sockets and records are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// Sockets and running sessions.
    pub runtime: PathBuf,
    /// Records, receipts and the installation's key.
    pub state: PathBuf,
}

/// Looks at both; `Err` says why there are none.
pub(super) fn folders(given: Result<&Folders, &str>) -> Vec<Finding> {
    match given {
        Ok(Folders { runtime, state }) => vec![runtime_folder(runtime), state_folder(state)],
        Err(why) => {
            let mend = "set SESSILE_RUNTIME_DIR and SESSILE_STATE_DIR to folders of your own";
            vec![Finding::new(Property::Amnesia, "folders", Gives::Missing, why, Some(mend))]
        }
    }
}

fn runtime_folder(folder: &Path) -> Finding {
    let shown = folder.display();
    let found =
        |gives, detail: String, mend| Finding::new(Property::Amnesia, "runtime folder", gives, detail, mend);
    match is_on_tmpfs(folder) {
        Err(error) => found(
            Gives::Missing,
            format!("{shown} cannot be used: {error}"),
            Some("set SESSILE_RUNTIME_DIR to a folder of your own on a tmpfs"),
        ),
        Ok(_) if folder.starts_with("/tmp") => found(
            weaker("sessions are not found again when /tmp is cleaned"),
            format!("{shown} is under /tmp"),
            Some("log in by ssh or a login manager instead of su, or set SESSILE_RUNTIME_DIR"),
        ),
        Ok(true) => found(Gives::Full, format!("{shown} is on a tmpfs"), None),
        Ok(false) => found(
            weaker("names of sessions' sockets are on a disk; their storage is not"),
            format!("{shown} is not on a tmpfs"),
            Some("mount a tmpfs there, or set SESSILE_RUNTIME_DIR to a folder on one"),
        ),
    }
}

fn state_folder(folder: &Path) -> Finding {
    let shown = folder.display();
    let found =
        |gives, detail: String, mend| Finding::new(Property::Amnesia, "state folder", gives, detail, mend);
    match is_on_tmpfs(folder) {
        Err(error) => found(
            Gives::Missing,
            format!("{shown} cannot be used: {error}"),
            Some("set SESSILE_STATE_DIR to a folder of your own on a disk"),
        ),
        Ok(true) => found(
            weaker("records and receipts are gone after a restart of the machine"),
            format!("{shown} is on a tmpfs"),
            Some("set SESSILE_STATE_DIR to a folder of your own on a disk"),
        ),
        Ok(false) => found(Gives::Full, format!("{shown} is on a disk"), None),
    }
}

/// Whether a folder, or the place where it will be made, is on a tmpfs.
///
/// # Errors
/// When it is somebody else's, no folder, or cannot be made or written.
fn is_on_tmpfs(folder: &Path) -> io::Result<bool> {
    let there = folder.ancestors().find(|path| path.symlink_metadata().is_ok());
    let there = there.ok_or_else(|| io::Error::other("no folder above it exists"))?;
    let meta = there.metadata()?;
    if !meta.is_dir() {
        return Err(io::Error::other(format!("{} is not a folder", there.display())));
    }
    if there == folder && meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other(format!("it belongs to user {}", meta.uid())));
    }
    access(there, Access::WRITE_OK | Access::EXEC_OK)?;
    Ok(rustix::fs::statfs(there)?.f_type == TMPFS_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folders_that_are_used_are_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = folder.path().join("not/made/yet");
        let state = folder.path().join("state");
        std::fs::write(&state, "a file").unwrap();
        let found = folders(Ok(&Folders { runtime: runtime.clone(), state: state.clone() }));
        assert!(found[0].detail.contains(runtime.to_str().unwrap()) && found[0].gives != Gives::Missing);
        assert!(found[1].detail.contains("is not a folder") && found[1].gives == Gives::Missing);
        assert_eq!(runtime_folder(&state.join("below")).gives, Gives::Missing);
        std::fs::remove_file(&state).unwrap();
        assert_ne!(state_folder(&state).gives, Gives::Missing);
        assert_eq!(folders(Err("no home"))[0].gives, Gives::Missing);
    }
}
