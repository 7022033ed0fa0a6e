//! What a process gives up before it becomes init: capabilities, new privileges, file rights.

use landlock::{
    ABI, Access, AccessFs, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetStatus, Scope,
};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use crate::step::{At, Fault, Step};
use crate::sys;

/// Every secure bit but KEEP_CAPS, and every lock: no user id brings capabilities, none can be kept or raised.
const SECURE_BITS: u64 = 0b1110_1111;

/// Drops every capability from every set, so that nothing can bring one back.
pub(crate) fn drop_capabilities() -> Result<(), Errno> {
    for capability in 0..64 {
        match sys::control_process(libc::PR_CAPBSET_DROP, capability) {
            Ok(()) => {}
            // The kernel's last capability was passed.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    sys::control_process(libc::PR_SET_SECUREBITS, SECURE_BITS)?;
    sys::control_process(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64)?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, none)?;
    sys::control_process(libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// Limits the number of processes, and keeps memory out of core dumps.
///
/// The limit on core dumps is 1 byte, not 0: the kernel ignores 0 when dumps are piped to a
/// program of the host, and refuses to dump at 1. The filter keeps it from being changed.
pub(crate) fn limit_resources(processes: u32) -> Result<(), Errno> {
    let both = |value: u64| Rlimit { current: Some(value), maximum: Some(value) };
    setrlimit(Resource::Core, both(1))?;
    // A machine with little memory allows fewer from the start, and a limit cannot be raised.
    let most = getrlimit(Resource::Nproc).maximum.unwrap_or(u64::MAX);
    setrlimit(Resource::Nproc, both(u64::from(processes).min(most)))
}

/// The Landlock version this kernel enforces; 0 for none.
pub(crate) fn landlock_abi() -> u8 {
    // SAFETY: a null attribute with size 0 and flag 1 asks for the version and touches nothing.
    let rc =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0usize, 1u32) };
    u8::try_from(rc).unwrap_or(0)
}

/// Confines the process to its root folder's writable trees, after the mounts are made. Kernels
/// that know fewer rights enforce fewer; the version is reported by [`landlock_abi`].
pub(crate) fn enforce_landlock(writable: &[String]) -> Result<(), Fault> {
    if landlock_abi() == 0 {
        return Ok(());
    }
    let all = AccessFs::from_all(ABI::V7);
    let read = AccessFs::from_read(ABI::V7);
    let device = read | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev;
    let failed = |what: &str| Fault { step: Step::Landlock, errno: sys::last_errno(), what: what.to_owned() };
    let mut rules = Ruleset::default()
        .handle_access(all)
        .and_then(|r| r.scope(Scope::from_all(ABI::V7)))
        .and_then(Ruleset::create)
        .map_err(|_| failed("ruleset"))?;
    rules = allow(rules, "/", read)?;
    rules = allow(rules, "/dev", device)?;
    rules = allow(rules, "/proc", read | AccessFs::WriteFile | AccessFs::Truncate)?;
    for path in ["/home/user", "/tmp", "/run", "/var/tmp", "/dev/shm"] {
        rules = allow(rules, path, all)?;
    }
    for path in writable {
        rules = allow(rules, path, all)?;
    }
    let status = rules.restrict_self().map_err(|_| failed("restrict"))?;
    match status.ruleset {
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
        RulesetStatus::NotEnforced => Err(Errno::OPNOTSUPP).at(Step::Landlock),
    }
}

fn allow(rules: RulesetCreated, path: &str, access: BitFlags<AccessFs>) -> Result<RulesetCreated, Fault> {
    let fail = || Fault { step: Step::Landlock, errno: sys::last_errno(), what: path.to_owned() };
    let fd = PathFd::new(path).map_err(|_| fail())?;
    rules.add_rule(PathBeneath::new(fd, access)).map_err(|_| fail())
}
