//! Files that are replaced as a whole.

use std::error::Error;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags, openat, renameat, unlinkat};

/// Writes a file so that after a crash at any moment it is either the old one or the new one, and
/// after success lastingly the new one. Only its owner may read it.
///
/// # Errors
/// When the system refuses; then the old file is as it was.
pub fn replace(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(folder, flags, Mode::empty())?;
    let temporary = format!(".{name}.new");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat(&dir, &temporary, flags, Mode::RUSR | Mode::WUSR)?;
    let mut file = File::from(fd);
    let written = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| Ok(renameat(&dir, &temporary, &dir, name)?));
    if let Err(error) = written {
        // What is left of the attempt is of no use; the next one would truncate it anyway.
        let _ = unlinkat(&dir, &temporary, rustix::fs::AtFlags::empty());
        return Err(error);
    }
    rustix::fs::fsync(&dir)?;
    Ok(())
}

/// Whether a disk that is full, or a used-up quota, is behind an error.
pub fn is_disk_full(error: &(dyn Error + 'static)) -> bool {
    let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
    std::iter::successors(Some(error), |&e| e.source())
        .filter_map(|e| e.downcast_ref::<io::Error>())
        .any(|e| full.contains(&e.kind()))
}

/// Takes room on the disk for a file to come, so that a disk that fills up meanwhile does not keep
/// it from being written: [`release`] gives the room back just before.
///
/// # Errors
/// When the disk has no such room now, or the system refuses.
pub fn reserve(folder: &Path, name: &str, bytes: u64) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(folder.join(name), flags, Mode::RUSR | Mode::WUSR)?;
    match rustix::fs::fallocate(&fd, rustix::fs::FallocateFlags::empty(), 0, bytes) {
        // A file system that cannot promise room is written to without that promise.
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
        Err(error) => {
            let _ = std::fs::remove_file(folder.join(name));
            Err(error.into())
        }
    }
}

/// Gives back the room that [`reserve`] took. None may be there.
pub fn release(folder: &Path, name: &str) {
    let _ = std::fs::remove_file(folder.join(name));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        replace(folder.path(), "receipt.json", b"a longer first").unwrap();
        replace(folder.path(), "receipt.json", b"second").unwrap();
        assert_eq!(std::fs::read(folder.path().join("receipt.json")).unwrap(), b"second");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(replace(&folder.path().join("absent"), "x", b"").is_err());
    }

    #[test]
    fn room_is_taken_and_given_back() {
        let folder = tempfile::tempdir().unwrap();
        reserve(folder.path(), "room", 64 << 10).unwrap();
        assert_eq!(std::fs::metadata(folder.path().join("room")).unwrap().len(), 64 << 10);
        release(folder.path(), "room");
        release(folder.path(), "room");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
