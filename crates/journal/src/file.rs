//! Files that are replaced as a whole.

use std::error::Error;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;

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
    let kinds = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
    let numbers = [Errno::NOSPC, Errno::DQUOT];
    std::iter::successors(Some(error), |&e| e.source()).any(|e| {
        e.downcast_ref::<io::Error>().is_some_and(|e| kinds.contains(&e.kind()))
            || e.downcast_ref::<Errno>().is_some_and(|e| numbers.contains(e))
    })
}

/// Takes room on the disk for a file to come, so that a disk that fills up meanwhile does not keep
/// it from being written: [`replace_in`] uses the room up.
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

/// Writes a file into the room that [`reserve`] took for it, then gives it its name: nothing
/// between can take the room away. Without room it is as [`replace`].
///
/// # Errors
/// As [`replace`].
pub fn replace_in(folder: &Path, room: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let from = folder.join(room);
    let written = File::options().write(true).open(&from).and_then(|mut file| {
        file.write_all(bytes)?;
        file.set_len(bytes.len() as u64)?;
        file.sync_all()?;
        std::fs::rename(&from, folder.join(name))?;
        File::open(folder)?.sync_all()
    });
    match written {
        Ok(()) => Ok(()),
        Err(_) => {
            let _ = std::fs::remove_file(&from);
            replace(folder, name, bytes)
        }
    }
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
    fn room_is_taken_and_used_up() {
        let folder = tempfile::tempdir().unwrap();
        reserve(folder.path(), "room", 64 << 10).unwrap();
        assert_eq!(std::fs::metadata(folder.path().join("room")).unwrap().len(), 64 << 10);
        for content in [&b"into the room"[..], b"without"] {
            replace_in(folder.path(), "room", "receipt.json", content).unwrap();
            assert_eq!(std::fs::read(folder.path().join("receipt.json")).unwrap(), content);
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        }
    }
}
