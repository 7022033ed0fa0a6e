//! Files that are replaced as a whole.

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
}
