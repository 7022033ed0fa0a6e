//! What a guard gives up before it listens: every file, every network, and all system calls but those of
//! a program that reads a socket and computes.

use std::io;
use std::os::fd::OwnedFd;

use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetError, Scope};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use sessile_anchor::{inherit, seclusion};

/// The socket to the keeper.
const LINK: i32 = 3;

/// The socket to the keeper. To be called before any descriptor is opened.
///
/// # Errors
/// When this process was not started by a keeper.
pub fn link() -> io::Result<OwnedFd> {
    inherit::take(LINK)
        .map_err(|e| io::Error::new(e.kind(), "a guard is started by a keeper, with its socket at 3"))
}

/// Confines the process. Where the kernel knows no Landlock, the filter of system calls alone keeps it
/// from files.
///
/// # Errors
/// When the system refuses.
pub fn confine() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    restrict().map_err(io::Error::other)?;
    seclusion::begin()
}

fn restrict() -> Result<(), RulesetError> {
    Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V7))?
        .handle_access(AccessNet::from_all(ABI::V7))?
        .scope(Scope::from_all(ABI::V7))?
        .create()?
        .restrict_self()
        .map(drop)
}
