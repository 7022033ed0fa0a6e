//! The installation's signing key: one Ed25519 key in one file, readable by its owner only.
//!
//! The file is one line: `sessile-installation-key-v1 SEED PUBLIC`, both as 64 hexadecimal
//! digits. The public key is there to tell damage from a key.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use sessile_model::hex;
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use crate::receipt::{PublicKey, hex_decode};

const HEAD: &str = "sessile-installation-key-v1 ";
const FILE_LEN: usize = HEAD.len() + 64 + 1 + 64 + 1;

/// Why there is no usable installation key.
#[derive(Debug, Error)]
pub enum InstallationError {
    /// The system refused.
    #[error("{call} {path}")]
    System {
        /// What was done to the file or its folder.
        call: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The path is a link, folder or device.
    #[error("{path} is not a regular file")]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// The file belongs to someone else.
    #[error("{path} belongs to user {owner}, not to this one")]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// The file's mode lets others in.
    #[error(
        "{path} can be read by others (mode {mode:03o}): treat the key as known, or run chmod 600 on it if it is not"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The content is not a key.
    #[error(
        "{path} is damaged ({what}): restore it from a backup, or move it aside to have a new key made \
         (receipts signed so far then verify only with their old public key)"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// This installation's signing key. Overwritten on drop.
pub struct InstallationKey {
    pub(crate) signing: SigningKey,
}

impl InstallationKey {
    /// Reads the key at `path`; makes one from `entropy` if there is none. Of two processes that
    /// make one at once, both get the one that came first.
    ///
    /// # Errors
    /// When the file cannot be read or made, is damaged, or is in reach of others.
    pub fn load_or_create(path: &Path, entropy: &[u8; 32]) -> Result<Self, InstallationError> {
        match Self::load(path) {
            Err(InstallationError::System { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                create(path, entropy)?;
                Self::load(path)
            }
            other => other,
        }
    }

    /// Reads the key at `path`.
    ///
    /// # Errors
    /// When there is none, or as [`InstallationKey::load_or_create`].
    pub fn load(path: &Path) -> Result<Self, InstallationError> {
        let damaged = |what| InstallationError::Damaged { path: path.to_owned(), what };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match rustix::fs::open(path, flags, Mode::empty()) {
            Err(Errno::LOOP) => return Err(InstallationError::NotAFile { path: path.to_owned() }),
            opened => opened.map_err(|e| system("open", path, e))?,
        };
        check_file(&fd, path)?;

        // Room for one byte too many, so that a longer file shows.
        let mut text = Zeroizing::new([0u8; FILE_LEN + 1]);
        let mut len = 0;
        let mut file = File::from(fd);
        while len < text.len() {
            match file.read(&mut text[len..]) {
                Ok(0) => break,
                Ok(n) => len += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(InstallationError::System { call: "read", path: path.to_owned(), source });
                }
            }
        }
        if len != FILE_LEN {
            return Err(damaged("its length is wrong"));
        }
        let body =
            text[..FILE_LEN].strip_prefix(HEAD.as_bytes()).ok_or(damaged("its first word is wrong"))?;
        if body[64] != b' ' || body[129] != b'\n' {
            return Err(damaged("its form is wrong"));
        }
        let seed =
            Zeroizing::new(hex_decode::<32>(&body[..64]).ok_or(damaged("its seed is not hexadecimal"))?);
        let public = hex_decode::<32>(&body[65..129]).ok_or(damaged("its public key is not hexadecimal"))?;
        let signing = SigningKey::from_bytes(&seed);
        if signing.verifying_key().to_bytes() != public {
            return Err(damaged("its two halves do not belong together"));
        }
        Ok(Self { signing })
    }

    /// The public half, as it stands in receipts.
    pub fn public(&self) -> PublicKey {
        PublicKey::of(&self.signing)
    }
}

impl fmt::Debug for InstallationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InstallationKey({}, seed redacted)", self.public())
    }
}

fn system(call: &'static str, path: &Path, errno: Errno) -> InstallationError {
    InstallationError::System { call, path: path.to_owned(), source: errno.into() }
}

fn check_file(fd: &OwnedFd, path: &Path) -> Result<(), InstallationError> {
    let stat = rustix::fs::fstat(fd).map_err(|e| system("stat", path, e))?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(InstallationError::NotAFile { path: path.to_owned() });
    }
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(InstallationError::Owner { path: path.to_owned(), owner: stat.st_uid });
    }
    let mode = stat.st_mode & 0o777;
    if mode & 0o077 != 0 {
        return Err(InstallationError::Exposed { path: path.to_owned(), mode });
    }
    Ok(())
}

/// Writes a new key file beside `path` and gives it its name only when it is on the disk. Leaves a
/// file that is already there alone.
fn create(path: &Path, entropy: &[u8; 32]) -> Result<(), InstallationError> {
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        Some(_) | None => Path::new("."),
    };
    let unfinished = folder.join(format!(".installation-key-{}", std::process::id()));
    // One that carries this process's number is of a dead process: it cannot be in use.
    match rustix::fs::unlink(&unfinished) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => return Err(system("remove", &unfinished, e)),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(&unfinished, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|e| system("create", &unfinished, e))?;
    let made = write_key(fd, entropy).and_then(|()| give_name(&unfinished, path));
    // Gone already when it was renamed.
    let _ = rustix::fs::unlink(&unfinished);
    made.map_err(|source| InstallationError::System { call: "write", path: path.to_owned(), source })?;
    let handle =
        rustix::fs::open(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| system("open", folder, e))?;
    rustix::fs::fsync(&handle).map_err(|e| system("fsync", folder, e))
}

fn write_key(fd: OwnedFd, entropy: &[u8; 32]) -> io::Result<()> {
    let signing = SigningKey::from_bytes(entropy);
    let mut text = Zeroizing::new(String::with_capacity(FILE_LEN));
    text.push_str(HEAD);
    let mut seed = hex::text(entropy);
    text.push_str(&seed);
    seed.zeroize();
    text.push(' ');
    text.push_str(&hex::text(signing.verifying_key().as_bytes()));
    text.push('\n');
    assert_eq!(text.len(), FILE_LEN, "a key file has one length");
    let mut file = File::from(fd);
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn give_name(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) | Err(Errno::EXIST) => return Ok(()),
        // Some file systems have no RENAME_NOREPLACE; a second name refuses to replace as well.
        Err(Errno::INVAL | Errno::NOSYS) => {}
        Err(e) => return Err(e.into()),
    }
    match rustix::fs::linkat(CWD, from, CWD, to, AtFlags::empty()) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    #[test]
    fn it_is_made_once_private_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("installation.key");
        let first = InstallationKey::load_or_create(&path, &[3; 32]).unwrap();
        let again = InstallationKey::load_or_create(&path, &[4; 32]).unwrap();
        assert_eq!(first.public(), again.public());
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing unfinished is left");
        assert!(format!("{first:?}").contains("redacted"));
    }

    #[test]
    fn many_makers_at_once_agree() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("installation.key");
        create(&path, &[1; 32]).unwrap();
        create(&path, &[2; 32]).unwrap();
        let key = InstallationKey::load(&path).unwrap();
        assert_eq!(key.signing.to_bytes(), [1; 32], "the first one stays");
    }

    #[test]
    fn files_in_reach_of_others_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("installation.key");
        InstallationKey::load_or_create(&path, &[3; 32]).unwrap();
        for mode in [0o640, 0o604, 0o610, 0o602] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let refused = InstallationKey::load_or_create(&path, &[4; 32]);
            assert!(matches!(refused, Err(InstallationError::Exposed { .. })), "{mode:o} {refused:?}");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(InstallationKey::load(&link), Err(InstallationError::NotAFile { .. })));
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
            let refused = InstallationKey::load_or_create(&path, &[4; 32]);
            assert!(matches!(refused, Err(InstallationError::Owner { owner: 12345, .. })), "{refused:?}");
        } else {
            eprintln!("skipped: only root can give a file away");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_damage_is_refused_and_left_alone(at in 0..FILE_LEN, flip in 1u8.., cut in any::<bool>()) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("installation.key");
            create(&path, &[3; 32]).unwrap();
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[at] ^= flip;
            if cut {
                bytes.truncate(at);
            }
            std::fs::write(&path, &bytes).unwrap();
            let refused = InstallationKey::load_or_create(&path, &[4; 32]);
            prop_assert!(matches!(refused, Err(InstallationError::Damaged { .. })), "{:?}", refused);
            prop_assert_eq!(std::fs::read(&path).unwrap(), bytes);
        }
    }
}
