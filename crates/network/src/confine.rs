//! What a gateway gives up before it listens: it reads the host's resolver and certificates, and
//! no other file.

use std::io;
use std::os::fd::OwnedFd;

use landlock::{
    ABI, Access, AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, Scope,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use sessile_anchor::inherit;

/// The socket to the keeper.
const LINK: i32 = 3;
/// Folders that are read: resolver, hosts, certificates. systemd and others keep what
/// `/etc/resolv.conf` links to below `/run`.
const READ: [&str; 6] = [
    "/etc",
    "/usr/share/ca-certificates",
    "/usr/lib/ssl",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
];

/// The socket to the keeper. To be called before any descriptor is opened.
///
/// # Errors
/// When this process was not started by a keeper.
pub fn link() -> io::Result<OwnedFd> {
    inherit::take(LINK)
        .map_err(|e| io::Error::new(e.kind(), "a gateway is started by a keeper, with its socket at 3"))
}

/// Confines the process. Where the kernel knows no Landlock its files are confined by its user id
/// alone.
///
/// # Errors
/// When the system refuses.
pub fn confine() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most })?;
    restrict_files().map_err(io::Error::other)
}

fn restrict_files() -> Result<(), RulesetError> {
    let read = AccessFs::from_read(ABI::V7) & !AccessFs::Execute;
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V7))?
        .scope(Scope::from_all(ABI::V7))?
        .create()?;
    for path in READ {
        // What this host does not have needs no rule.
        if let Ok(folder) = PathFd::new(path) {
            rules = rules.add_rule(PathBeneath::new(folder, read))?;
        }
    }
    rules.restrict_self().map(drop)
}
