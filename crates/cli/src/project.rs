//! Which folder a session may work on.

use std::fs;
use std::path::{Path, PathBuf};

use sessile_model::problem::ProblemKind;
use sessile_model::spec::Access;
use thiserror::Error;

use crate::failure::Failure;

/// Folders of the system: neither they nor what contains them is a project.
const SYSTEM: [&str; 23] = [
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/lib32",
    "/lib64",
    "/media",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/var",
    "/usr/local",
    "/var/tmp",
];
/// Folders below which nothing is a project either.
const SYSTEM_TREES: [&str; 12] = [
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/sbin", "/sys", "/usr/bin",
    "/usr/lib",
];

/// The value of `--project`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectArgument {
    /// The folder as given.
    pub path: PathBuf,
    /// How much of it, where that was said.
    pub access: Option<Access>,
}

impl std::str::FromStr for ProjectArgument {
    type Err = NoFolder;

    fn from_str(text: &str) -> Result<Self, NoFolder> {
        let (path, access) = match text.rsplit_once(':') {
            Some((path, "ro")) => (path, Some(Access::Ro)),
            Some((path, "rw")) => (path, Some(Access::Rw)),
            Some((path, "copy")) => (path, Some(Access::Copy)),
            _ => (text, None),
        };
        if text.is_empty() {
            return Err(NoFolder);
        }
        Ok(Self { path: PathBuf::from(if path.is_empty() { "." } else { path }), access })
    }
}

/// A project without a folder: a variable that is not set, as a rule.
#[derive(Debug, Error, PartialEq, Eq, Clone, Copy)]
#[error("names no folder (examples: ., ~/work, .:ro)")]
pub struct NoFolder;

/// Why a folder is not to be a session's project.
#[derive(Debug, Error, PartialEq, Eq, Clone)]
pub enum Unfit {
    /// It is, or contains, a home folder.
    #[error("is a home folder")]
    Home,
    /// It contains a home folder.
    #[error("contains the home folder {0}")]
    ContainsHome(PathBuf),
    /// It belongs to the system.
    #[error("is a folder of the system")]
    System,
    /// It has our own files in it.
    #[error("contains sessile's own files ({0})")]
    Ours(PathBuf),
}

/// What a project must keep away from.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Home folders of the caller, and of other people.
    pub homes: Vec<PathBuf>,
    /// Our folders and files: run time, state, configuration.
    pub ours: Vec<PathBuf>,
}

impl Surroundings {
    /// The caller's: `$HOME` and every home that the user database gives the caller's user id or people's.
    pub fn of_caller(ours: Vec<PathBuf>) -> Self {
        let uid = rustix::process::getuid().as_raw();
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let mut homes = homes_in(&passwd, uid);
        homes.extend(std::env::var_os("HOME").map(PathBuf::from));
        let resolved = |paths: Vec<PathBuf>| paths.into_iter().map(|p| resolved(&p)).collect();
        Self { homes: resolved(homes), ours: resolved(ours) }
    }

    /// Checks a folder, its links resolved.
    ///
    /// # Errors
    /// Why it is unfit.
    pub fn check(&self, folder: &Path) -> Result<(), Unfit> {
        if SYSTEM.iter().any(|s| folder == Path::new(s)) || SYSTEM_TREES.iter().any(|s| folder.starts_with(s))
        {
            return Err(Unfit::System);
        }
        let real = |home: &&PathBuf| home.is_absolute() && home.as_path() != Path::new("/");
        if let Some(home) = self.homes.iter().filter(real).find(|h| h.starts_with(folder)) {
            return Err(if home == folder { Unfit::Home } else { Unfit::ContainsHome(home.clone()) });
        }
        match self.ours.iter().find(|o| o.starts_with(folder) || (o.is_dir() && folder.starts_with(o))) {
            Some(ours) => Err(Unfit::Ours(ours.clone())),
            None => Ok(()),
        }
    }

    /// The folder with its links resolved, if it may be a project.
    ///
    /// # Errors
    /// When there is no such folder, or it is unfit.
    pub fn accept(&self, folder: &Path) -> Result<String, Failure> {
        let doing = format!("use {} as the project", folder.display());
        let real = fs::canonicalize(folder).map_err(|e| {
            let failure = Failure::system(&doing, &e);
            match folder.to_str().and_then(|text| text.rsplit_once(':')) {
                Some((_, access)) if !access.contains('/') => {
                    failure.hint("what may follow a folder is :ro, :rw or :copy")
                }
                Some(_) | None => failure,
            }
        })?;
        if !real.is_dir() {
            return Err(Failure::new(ProblemKind::BadRequest, format!("cannot {doing}: it is not a folder")));
        }
        self.check(&real).map_err(|why| {
            Failure::new(ProblemKind::Denied, format!("cannot {doing}: {} {why}", real.display()))
                .hint("change into a project's own folder, name one with `--project DIR`, or give none with `--no-project`")
        })?;
        utf8(&real)
    }
}

/// A path as text.
///
/// # Errors
/// When it is not UTF-8.
pub fn utf8(path: &Path) -> Result<String, Failure> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Failure::new(ProblemKind::BadRequest, format!("the path {} is not valid UTF-8", path.display()))
    })
}

/// The path with as many of its links resolved as exist.
fn resolved(path: &Path) -> PathBuf {
    for ancestor in path.ancestors() {
        if let Ok(real) = fs::canonicalize(ancestor) {
            let rest = path.strip_prefix(ancestor).unwrap_or(Path::new(""));
            return if rest.as_os_str().is_empty() { real } else { real.join(rest) };
        }
    }
    path.to_owned()
}

/// User ids of people, as Debian, Fedora and others give them out (`UID_MIN` and `UID_MAX` of login.defs(5)).
const PEOPLE: std::ops::RangeInclusive<u32> = 1000..=60_000;

/// The home folders of a user id and of people in the text of `/etc/passwd`.
fn homes_in(passwd: &str, uid: u32) -> Vec<PathBuf> {
    let entry = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let of = fields.get(2).and_then(|id| id.parse::<u32>().ok());
        let is_it = fields.len() >= 7 && of.is_some_and(|of| of == uid || PEOPLE.contains(&of));
        is_it.then(|| PathBuf::from(fields[5]))
    };
    passwd.lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings() -> Surroundings {
        Surroundings {
            homes: vec!["/home/ann".into(), "/srv/ann".into()],
            ours: vec![
                "/home/ann/.local/state/sessile".into(),
                "/home/ann/.config/sessile/config.toml".into(),
            ],
        }
    }

    #[test]
    fn unfit_folders() {
        let check = |path: &str| surroundings().check(Path::new(path)).err();
        for fit in
            ["/home/ann/work", "/home/bob/x", "/srv/www", "/tmp/x", "/usr/src/x", "/opt/x", "/home/alice"]
        {
            assert_eq!(check(fit), None, "{fit}");
        }
        for system in ["/", "/etc", "/etc/ssh", "/usr", "/proc/self/cwd", "/home", "/root", "/var", "/tmp"] {
            assert_eq!(check(system), Some(Unfit::System), "{system}");
        }
        assert_eq!(check("/home/ann"), Some(Unfit::Home));
        assert_eq!(check("/srv/ann"), Some(Unfit::Home));
        let config = PathBuf::from("/home/ann/.config/sessile/config.toml");
        assert_eq!(check("/home/ann/.config"), Some(Unfit::Ours(config)));
        assert!(matches!(check("/home/ann/.local"), Some(Unfit::Ours(_))));
    }

    #[test]
    fn folders_above_a_home_are_unfit() {
        let surroundings = Surroundings { homes: vec!["/data/people/ann".into()], ours: vec![] };
        let want = Unfit::ContainsHome("/data/people/ann".into());
        assert_eq!(surroundings.check(Path::new("/data/people")), Err(want));
    }

    #[test]
    fn links_do_not_hide_what_a_folder_is() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("ann");
        fs::create_dir(&home).unwrap();
        std::os::unix::fs::symlink(&home, dir.path().join("link")).unwrap();
        let surroundings = Surroundings { homes: vec![fs::canonicalize(&home).unwrap()], ours: vec![] };
        assert!(
            matches!(surroundings.accept(&dir.path().join("link")), Err(Failure::Problem(p)) if p.kind == ProblemKind::Denied)
        );
        fs::create_dir(home.join("work")).unwrap();
        assert!(surroundings.accept(&dir.path().join("link/work")).is_ok());
        assert!(surroundings.accept(&dir.path().join("none")).is_err());
    }

    #[test]
    fn homes_come_from_the_user_database() {
        let passwd = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000:A:/home/ann:/bin/sh\nann2:x:1000:1000::/srv/ann:/bin/sh\nbad:x\nwww:x:33:33::/var/www:/bin/sh\nbob:x:1001:1001::/home/bob:/bin/sh\n";
        assert_eq!(
            homes_in(passwd, 1000),
            [PathBuf::from("/home/ann"), "/srv/ann".into(), "/home/bob".into()]
        );
    }

    #[test]
    fn arguments() {
        let parse = |text: &str| text.parse::<ProjectArgument>().unwrap();
        assert_eq!(parse("a:b:ro"), ProjectArgument { path: "a:b".into(), access: Some(Access::Ro) });
        assert_eq!(parse(":copy"), ProjectArgument { path: ".".into(), access: Some(Access::Copy) });
        assert_eq!("".parse::<ProjectArgument>(), Err(NoFolder));
        assert_eq!(parse("/x:y"), ProjectArgument { path: "/x:y".into(), access: None });
    }
}
