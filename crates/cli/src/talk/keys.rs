//! The key that lines are signed with: an operator's in their state folder, an app's in its own sandbox. An operator's
//! public half lies beside it, where keepers find it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use sessile_model::hex;
use sessile_model::problem::ProblemKind;
use sessile_model::protocol::{OPERATORS_FOLDER, Speaker, key_name, public_line, public_of};
use sessile_protocol::monitor::seal::SecretKey;
use zeroize::Zeroizing;

use crate::failure::Failure;

/// What stands before the key's digits in its file.
const HEAD: &str = "sessile-line-key ";
/// Of a file: its head, a key's digits, a line's end.
const LENGTH: usize = HEAD.len() + 64 + 1;

/// Where an operator's key lies, beside those of others of the same user.
pub fn of_operator(state: &Path, speaker: &Speaker) -> PathBuf {
    state.join(OPERATORS_FOLDER).join(format!("{}.key", key_name(speaker)))
}

/// An operator who is known, by this public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub speaker: Speaker,
    pub key: [u8; 32],
    /// Whether the secret half lies here too.
    pub is_here: bool,
}

/// The operators who are known here.
///
/// # Errors
/// When the folder cannot be read.
pub fn known(state: &Path) -> io::Result<Vec<Known>> {
    let folder = state.join(OPERATORS_FOLDER);
    let files = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        files => files?,
    };
    let known = files.flatten().filter_map(|file| {
        let text = fs::read_to_string(file.path()).ok()?;
        let (speaker, key) = public_of(file.file_name().to_str()?, &text)?;
        let is_here = of_operator(state, &speaker).exists();
        Some(Known { speaker, key, is_here })
    });
    let mut known: Vec<Known> = known.collect();
    known.sort_by(|a, b| a.speaker.cmp(&b.speaker));
    Ok(known)
}

/// Makes known that this is an operator's public key; one that is known already stays.
///
/// # Errors
/// When it cannot be written.
pub fn publish(state: &Path, speaker: &Speaker, key: &[u8; 32]) -> Result<(), Failure> {
    let path = of_operator(state, speaker).with_extension("pub");
    placed(&path, public_line(key).as_bytes())
        .map_err(|e| Failure::system(format!("write the key {}", path.display()), &e))
}

/// An operator's key, made where there is none and known from then on.
///
/// # Errors
/// As [`load`], and when it cannot be made known.
pub fn load_operator(state: &Path, speaker: &Speaker) -> Result<SecretKey, Failure> {
    let key = load(&of_operator(state, speaker))?;
    publish(state, speaker, &key.public().to_bytes())?;
    Ok(key)
}

/// The key in a file, where there is one.
///
/// # Errors
/// When it cannot be read, is damaged, or is in reach of others.
pub fn held(path: &Path) -> Result<Option<SecretKey>, Failure> {
    match read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => usable(path, read).map(Some),
    }
}

/// Where an app's key lies: beside the socket by which it speaks, which no other app sees.
pub fn of_app(socket: &Path) -> PathBuf {
    socket.with_file_name("sessile.key")
}

/// Reads the key, or makes one. Of two that make one at once, both get the one that came first.
///
/// # Errors
/// When it cannot be read or made, is damaged, or is in reach of others.
pub fn load(path: &Path) -> Result<SecretKey, Failure> {
    match read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(path).map_err(|e| Failure::system(format!("make the key {}", path.display()), &e))?;
            usable(path, read(path))
        }
        read => usable(path, read),
    }
}

fn usable(path: &Path, read: io::Result<Option<SecretKey>>) -> Result<SecretKey, Failure> {
    let read = read.map_err(|e| Failure::system(format!("read the key {}", path.display()), &e))?;
    read.ok_or_else(|| {
        let detail = format!("{} is no key, or in reach of others", path.display());
        Failure::new(ProblemKind::Denied, detail).hint(
            "move it away to have another made; roles that are known by it are to be delegated: `sessile delegate --help`",
        )
    })
}

/// `None` where it is no key, or another user may read it.
fn read(path: &Path) -> io::Result<Option<SecretKey>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)?;
    let found = file.metadata()?;
    let own = found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o077 == 0;
    if !found.is_file() || !own || found.len() != LENGTH as u64 {
        return Ok(None);
    }
    let mut text = Zeroizing::new([0; LENGTH]);
    file.read_exact(&mut text[..])?;
    let digits = text.strip_prefix(HEAD.as_bytes()).and_then(|rest| rest.strip_suffix(b"\n"));
    let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
    let seed = digits.and_then(hex::bytes::<32>).map(Zeroizing::new);
    Ok(seed.map(|seed| SecretKey::from_seed(&seed)))
}

fn make(path: &Path) -> io::Result<()> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(|e| io::Error::other(e.to_string()))?;
    let line = Zeroizing::new(format!("{HEAD}{}\n", *Zeroizing::new(hex::text(&*seed))));
    placed(path, line.as_bytes())
}

/// Writes a file whole, unless there is one.
fn placed(path: &Path, text: &[u8]) -> io::Result<()> {
    if path.symlink_metadata().is_ok() {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // The file that is not finished yet has a name of its own.
    let mut name = [0; 8];
    getrandom::fill(&mut name).map_err(|e| io::Error::other(e.to_string()))?;
    let unfinished = path.with_extension(format!("{}.new", hex::text(&name)));
    let written = written(&unfinished, text).and_then(|()| match fs::hard_link(&unfinished, path) {
        // Another was first.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    let _ = fs::remove_file(&unfinished);
    written?;
    File::open(folder)?.sync_all()
}

fn written(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn public(path: &Path) -> [u8; 32] {
        load(path).unwrap().public().to_bytes()
    }

    #[test]
    fn a_key_is_made_once_for_whoever_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = of_operator(folder.path(), &"operator:bob".parse().unwrap());
        assert!(path.ends_with("operators/operator-bob.key"));
        let found: Vec<[u8; 32]> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(|| public(&path))).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(found.iter().all(|key| *key == found[0] && *key == public(&path)));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        let other = of_operator(folder.path(), &"operator".parse().unwrap());
        assert_ne!(public(&other), found[0]);
    }

    #[test]
    fn what_is_no_key_or_in_reach_of_others_is_not_used_nor_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = of_operator(folder.path(), &"operator".parse().unwrap());
        public(&path);
        let good = fs::read(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(load(&path).is_err());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for wrong in [&good[1..], &good[..LENGTH - 1], &[b'x'; LENGTH], &[]] {
            fs::write(&path, wrong).unwrap();
            assert!(load(&path).is_err());
            assert_eq!(fs::read(&path).unwrap(), wrong);
        }
        fs::rename(&path, path.with_extension("moved")).unwrap();
        std::os::unix::fs::symlink(path.with_extension("moved"), &path).unwrap();
        assert!(load(&path).is_err());
    }
}
