//! The key that lines are signed with: an operator's in their state folder, an app's in its own sandbox.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use sessile_model::hex;
use sessile_model::problem::ProblemKind;
use sessile_model::protocol::Speaker;
use sessile_protocol::monitor::seal::SecretKey;
use zeroize::Zeroizing;

use crate::failure::Failure;

/// The folder of operators' keys in the state folder.
const FOLDER: &str = "operators";
/// What stands before the key's digits in its file.
const HEAD: &str = "sessile-line-key ";
/// Of a file: its head, a key's digits, a line's end.
const LENGTH: usize = HEAD.len() + 64 + 1;

/// Where an operator's key lies, beside those of others of the same user.
pub fn of_operator(state: &Path, speaker: &Speaker) -> PathBuf {
    let name = match speaker {
        Speaker::Operator(Some(name)) => format!("operator-{name}.key"),
        // Apps have theirs inside.
        Speaker::Operator(None) | Speaker::App(_) => "operator.key".to_owned(),
    };
    state.join(FOLDER).join(name)
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
    let failed = |error: io::Error| Failure::system(format!("read the key {}", path.display()), &error);
    match read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(path).map_err(|e| Failure::system(format!("make the key {}", path.display()), &e))?;
            read(path).map_err(failed)?
        }
        read => read.map_err(failed)?,
    }
    .ok_or_else(|| {
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
    let folder = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(|e| io::Error::other(e.to_string()))?;
    let digits = Zeroizing::new(hex::text(&*seed));
    // The file that is not finished yet has a name of its own.
    let mut name = [0; 8];
    getrandom::fill(&mut name).map_err(|e| io::Error::other(e.to_string()))?;
    let unfinished = path.with_extension(format!("{}.new", hex::text(&name)));
    let written = written(&unfinished, &digits).and_then(|()| match fs::hard_link(&unfinished, path) {
        // Another was first.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    let _ = fs::remove_file(&unfinished);
    written?;
    File::open(folder)?.sync_all()
}

fn written(path: &Path, digits: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(HEAD.as_bytes())?;
    file.write_all(digits.as_bytes())?;
    file.write_all(b"\n")?;
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
