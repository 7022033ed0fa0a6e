//! Launching an app's sandbox.
//!
//! ```text
//!  keeper ──fork──► launcher ──clone3──► child ──exec──► init
//!                   joins the session's   makes the root folder,
//!                   namespaces, takes     gives everything up
//!                   its user id
//! ```
//!
//! Launcher and child are children of the anchor, not of the caller. Both report over one socket;
//! its end without a fault means that init was executed.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, MemfdFlags, Mode, OFlags, SealFlags, Uid, chmodat, chownat, fcntl_add_seals,
    memfd_create, mkdirat, openat, statat,
};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};
use sessile_model::AppName;
use thiserror::Error;

use crate::capture::{Capture, Listeners, Network, NetworkAhead, Watch};
use crate::cgroup::Cgroup;
use crate::launcher;
use crate::space::{INNER_ID, Space};
use crate::step::{Fault, Step};
use crate::sys::{self, Forked};
use crate::target;

/// The file of `/etc` with the certificates that a session's apps trust.
pub const CERTIFICATES: &str = "sessile-certificates.pem";

/// Longest time a launch may take; past it something in the kernel hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// What programs inside read about who and where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The host name.
    pub hostname: String,
    /// 32 hexadecimal digits.
    pub machine_id: String,
    /// A UUID in place of the kernel's boot id.
    pub boot_id: String,
    /// The value of `LANG`.
    pub locale: String,
    /// A name of the time zone database.
    pub timezone: String,
}

impl Identity {
    /// An identity with the neutral locale and time zone, and a boot id made of the machine id.
    pub fn new(hostname: &str, machine_id: &str) -> Self {
        let digits: String = machine_id.chars().rev().chain("0".repeat(32).chars()).take(32).collect();
        let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
        let boot_id = [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-");
        Self {
            hostname: hostname.to_owned(),
            machine_id: machine_id.to_owned(),
            boot_id,
            locale: "C.UTF-8".to_owned(),
            timezone: "Etc/UTC".to_owned(),
        }
    }
}

/// The project folder of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectMount {
    /// Absolute path on the host.
    pub source: PathBuf,
    /// Absolute path inside.
    pub target: PathBuf,
    /// Whether it may be written.
    pub writable: bool,
    /// Paths within it that stay read-only, where they exist.
    pub protected: Vec<String>,
    /// The source lies in session storage, where only the session's own namespaces see it, and
    /// belongs to the app already.
    pub from_storage: bool,
}

/// A host path shown inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindMount {
    /// Absolute path on the host.
    pub source: PathBuf,
    /// Absolute path inside.
    pub target: PathBuf,
    /// Whether it may be written.
    pub writable: bool,
}

/// What an app's sandbox is made from.
#[derive(Debug)]
pub struct AppPlan<'a> {
    /// Its name; the skeleton of its root is `apps/NAME` in the session's storage.
    pub name: AppName,
    /// What programs read about who and where they are.
    pub identity: Identity,
    /// Its project.
    pub project: Option<ProjectMount>,
    /// Further host paths.
    pub mounts: Vec<BindMount>,
    /// Further files of `/etc`: path within it and content. One named [`CERTIFICATES`] stands in for the
    /// host's own bundles of certificates too.
    pub extra_etc: Vec<(String, Vec<u8>)>,
    /// What its network is.
    pub network: Network,
    /// What was made before.
    pub ahead: &'a Ahead,
    /// Most processes and threads at once.
    pub max_processes: u32,
    /// The control group it starts in.
    pub cgroup: Option<&'a Cgroup>,
    /// The sealed image that is executed as `init`.
    pub image: BorrowedFd<'a>,
    /// A pidfd of the anchor. The caller is its child.
    pub anchor: BorrowedFd<'a>,
    /// The program init installs, as [`crate::seccomp::program`] makes it.
    pub seccomp: &'a [u8],
}

/// What takes time and can be made before an app is launched. It is used where it fits.
#[derive(Debug, Default)]
pub struct Ahead {
    network: Option<NetworkAhead>,
    owners: Option<OwnerMap>,
}

impl Ahead {
    /// Makes what the first app of a session is likely to want: a captured network, and for root
    /// sessions what shows the caller's own files as the app's. The caller must have one thread only.
    pub fn make(space: &Space) -> Self {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        // What cannot be made now is tried again by the launch, which says why.
        let owners = space.subordinate_base.and_then(|base| OwnerMap::make(uid, gid, base + INNER_ID).ok());
        Self { network: NetworkAhead::make(space).ok(), owners }
    }

    /// The network, for an app that wants one like it.
    pub(crate) fn network(&self, wanted: Network) -> Option<&NetworkAhead> {
        self.network.as_ref().filter(|_| wanted == Network::Captured)
    }
}

/// A user namespace whose maps show one owner's files as another's.
#[derive(Debug)]
struct OwnerMap {
    userns: OwnedFd,
    /// The owner outside, and whose files they seem to be.
    ids: (u32, u32, u32),
}

/// A launched app. Its init has been executed but not yet heard from.
#[derive(Debug)]
pub struct LaunchedApp {
    /// The process id of init on the host.
    pub pid: u32,
    /// A pidfd of init.
    pub init: OwnedFd,
    /// The caller's end of init's control socket.
    pub control: OwnedFd,
    /// The multiplexer of the app's terminals (`O_PATH`): opening `/proc/self/fd/N` for reading
    /// and writing gives a new terminal's master.
    pub ptmx: OwnedFd,
    /// The network namespace.
    pub netns: OwnedFd,
    /// The root folder as seen inside (`O_PATH`).
    pub root: OwnedFd,
    /// How its network is captured; `None` where it is [`Network::Closed`].
    pub capture: Option<Capture>,
    /// Where what it sends arrives, bound and listening; `None` where it is [`Network::Closed`].
    pub listeners: Option<Listeners>,
    /// Sees whether its rules stay; `None` where there are none.
    pub watch: Option<Watch>,
    /// The Landlock version that is enforced; 0 for none.
    pub landlock_abi: u8,
}

/// Why an app was not launched. Nothing of it runs.
#[derive(Debug, Error)]
pub enum LaunchError {
    /// A folder may not be mounted there.
    #[error("nothing may be mounted at {} inside", .target.display())]
    ForbiddenTarget {
        /// The path inside.
        target: PathBuf,
    },
    /// A granted folder cannot be opened.
    #[error("{} cannot be opened", .path.display())]
    Source {
        /// The path on the host.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The file system cannot show the folder's files as the app's own.
    #[error("the file system of {} cannot map its files' owners; use a copy of it", .path.display())]
    ProjectNotMappable {
        /// The path on the host.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The skeleton could not be begun, or the caller could not fork.
    #[error("the launch could not be begun")]
    Begin(#[source] io::Error),
    /// A step failed.
    #[error("{step}{}{what} failed", if .what.is_empty() { "" } else { ": " })]
    Step {
        /// Which.
        step: Step,
        /// What it was working on; may be empty.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The launcher did not answer in time, or ended without saying why.
    #[error("the launcher {}", if *.timed_out { "did not answer in time" } else { "ended early" })]
    Lost {
        /// Whether it was waited for in vain.
        timed_out: bool,
    },
}

impl From<Fault> for LaunchError {
    fn from(fault: Fault) -> Self {
        Self::Step { step: fault.step, what: fault.what, source: fault.errno.into() }
    }
}

/// A granted folder, ready to be mounted.
#[derive(Debug)]
pub(crate) struct Grant<'a> {
    pub source: &'a Path,
    /// Clean absolute path inside.
    pub target: &'a str,
    pub writable: bool,
    pub protected: &'a [String],
    pub is_file: bool,
    /// Whether its place lies within another granted folder.
    pub below_another: bool,
    /// A detached mount; opened inside by `source` when absent.
    pub tree: Option<BorrowedFd<'a>>,
}

/// A granted folder before it is opened.
struct Wanted<'a> {
    source: &'a Path,
    target: String,
    writable: bool,
    protected: &'a [String],
    from_storage: bool,
}

/// Launches an app's sandbox up to the execution of its init. The caller must have one thread
/// only.
///
/// # Errors
/// See [`LaunchError`].
pub fn launch(space: &Space, plan: &AppPlan<'_>) -> Result<LaunchedApp, LaunchError> {
    let wanted = order(space, plan)?;
    let mut opened = Vec::with_capacity(wanted.len());
    for want in &wanted {
        opened.push(open(space, want, plan.ahead)?);
    }
    let grants = wanted.iter().zip(&opened).enumerate().map(|(i, (want, (is_file, tree)))| Grant {
        source: want.source,
        target: &want.target,
        writable: want.writable,
        protected: want.protected,
        is_file: *is_file,
        below_another: wanted.iter().take(i).any(|w| Path::new(&want.target).starts_with(&w.target)),
        tree: tree.as_ref().map(AsFd::as_fd),
    });
    let begin = |e: Errno| LaunchError::Begin(e.into());
    make_folder(space, &plan.name).map_err(begin)?;
    let filter = make_filter(plan.seccomp).map_err(begin)?;
    let (control, inner_control) = sys::socket_pair().map_err(begin)?;
    let (ours, theirs) = sys::socket_pair().map_err(begin)?;
    let order = launcher::Order {
        space,
        plan,
        grants: grants.collect(),
        filter: filter.as_fd(),
        control: inner_control.as_fd(),
        report: theirs.as_fd(),
    };
    let group = plan.cgroup.and_then(Cgroup::unified);
    // SAFETY: the caller has one thread, as this function demands; `run` ends the child.
    let forked = unsafe { sys::fork_with(libc::CLONE_PARENT as u64, group) };
    let launcher = match forked.map_err(begin)? {
        Forked::Parent(_, pidfd) => pidfd,
        Forked::Child => launcher::run(order),
    };
    drop(order);
    drop((theirs, inner_control));
    let outcome = collect(&ours, control);
    if outcome.is_err() {
        let _ = pidfd_send_signal(&launcher, Signal::KILL);
    }
    outcome
}

/// Checks the targets and puts them in the order in which they are mounted: outer before inner.
fn order<'a>(space: &Space, plan: &'a AppPlan<'_>) -> Result<Vec<Wanted<'a>>, LaunchError> {
    let project = plan
        .project
        .iter()
        .map(|p| (&p.source, &p.target, p.writable, p.protected.as_slice(), p.from_storage));
    let mounts = plan.mounts.iter().map(|m| (&m.source, &m.target, m.writable, [].as_slice(), false));
    let mut wanted = Vec::new();
    for (source, target, writable, protected, from_storage) in project.chain(mounts) {
        let target = target::permitted(target)
            .ok_or_else(|| LaunchError::ForbiddenTarget { target: target.clone() })?;
        // Inside, the storage's root is the working folder; the app's user may not walk there.
        let within = source.strip_prefix(&space.mount_point).ok().filter(|_| from_storage);
        let source = within.unwrap_or(source);
        wanted.push(Wanted { source, target, writable, protected, from_storage });
    }
    wanted.sort_by_key(|w| w.target.matches('/').count());
    Ok(wanted)
}

/// Opens a granted folder. A root session gets it as a detached mount that shows its owner's
/// files as the app's own; a rootless one opens it inside, where the user is the same.
fn open(space: &Space, want: &Wanted<'_>, ahead: &Ahead) -> Result<(bool, Option<OwnedFd>), LaunchError> {
    if want.from_storage {
        return Ok((false, None));
    }
    let path = || want.source.to_owned();
    let stat = statat(CWD, want.source, AtFlags::empty())
        .map_err(|e| LaunchError::Source { path: path(), source: e.into() })?;
    let is_file = FileType::from_raw_mode(stat.st_mode) != FileType::Directory;
    let Some(base) = space.subordinate_base else { return Ok((is_file, None)) };
    let tree = sys::clone_tree(CWD, want.source)
        .map_err(|e| LaunchError::Source { path: path(), source: e.into() })?;
    let owner = statat(&tree, "", AtFlags::EMPTY_PATH)
        .map_err(|e| LaunchError::Source { path: path(), source: e.into() })?;
    let ids = (owner.st_uid, owner.st_gid, base + INNER_ID);
    let mapped = match &ahead.owners {
        Some(map) if map.ids == ids => sys::idmap_mount(&tree, map.userns.as_fd()),
        Some(_) | None => {
            OwnerMap::make(ids.0, ids.1, ids.2).and_then(|map| sys::idmap_mount(&tree, map.userns.as_fd()))
        }
    };
    match mapped {
        Ok(()) => Ok((is_file, Some(tree))),
        // Shown as it is: readable where anyone may read.
        Err(_) if !want.writable => Ok((is_file, Some(tree))),
        Err(e) => Err(LaunchError::ProjectNotMappable { path: path(), source: e.into() }),
    }
}

impl OwnerMap {
    /// Makes it: files of `uid` and `gid` seem to be `outer`'s. Forks a short helper.
    fn make(uid: u32, gid: u32, outer: u32) -> Result<Self, Errno> {
        let (ours, theirs) = sys::socket_pair()?;
        // SAFETY: the caller has one thread; the child only waits and ends in `leave`.
        let (pid, _pidfd) = match unsafe { sys::fork_with(libc::CLONE_NEWUSER as u64, None) }? {
            Forked::Parent(pid, pidfd) => (pid, pidfd),
            Forked::Child => {
                drop(ours);
                // Returns when the caller has opened the namespace or is gone.
                let _ = sys::receive(&theirs, Instant::now() + PATIENCE);
                sys::leave(0)
            }
        };
        let write = |file: &str, id: u32| {
            let map = format!("{id} {outer} 1");
            fs::write(format!("/proc/{pid}/{file}"), map).map_err(|e| errno_of(&e))
        };
        let userns = write("uid_map", uid).and_then(|()| write("gid_map", gid)).and_then(|()| {
            let path = format!("/proc/{pid}/ns/user");
            openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        });
        drop(ours);
        sys::reap(pid);
        Ok(Self { userns: userns?, ids: (uid, gid, outer) })
    }
}

fn errno_of(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Begins the skeleton: `apps/NAME`, owned by the app's user.
fn make_folder(space: &Space, name: &AppName) -> Result<(), Errno> {
    let make = |path: &str, mode: u32| match mkdirat(&space.storage, path, Mode::from_raw_mode(mode)) {
        Ok(()) => chmodat(&space.storage, path, Mode::from_raw_mode(mode), AtFlags::empty()),
        Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno),
    };
    make("apps", 0o711)?;
    let path = format!("apps/{name}");
    make(&path, 0o755)?;
    if space.subordinate_base.is_some() {
        let (uid, gid) = space.host_ids();
        let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        chownat(&space.storage, &path, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

/// The filter as a sealed file that is read from its beginning.
fn make_filter(program: &[u8]) -> Result<OwnedFd, Errno> {
    let fd = memfd_create("filter", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut offset = 0;
    while let Some(rest) = program.get(offset..).filter(|r| !r.is_empty()) {
        offset += rustix::io::pwrite(&fd, rest, offset as u64)?;
    }
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    fcntl_add_seals(&fd, seals)?;
    Ok(fd)
}

/// What the child handed over.
struct Handed {
    landlock_abi: u8,
    /// The multiplexer, the network namespace, the root folder.
    places: [OwnedFd; 3],
    captured: Option<(Capture, Listeners, Option<Watch>)>,
}

impl Handed {
    /// Reads what [`launcher`] says; `None` when it makes no sense.
    fn new(landlock_abi: u8, capture: u8, mut fds: Vec<OwnedFd>) -> Option<Self> {
        let sockets = fds.split_off(fds.len().min(3));
        let places = fds.try_into().ok()?;
        let mut sockets = sockets.into_iter();
        let listeners = <[OwnedFd; 4]>::try_from(sockets.by_ref().take(4).collect::<Vec<_>>());
        let rules = sockets.next();
        let captured = match (Capture::from_code(capture), listeners) {
            (Some(capture), Ok([tcp, tcp_v6, dns, dns_v6]))
                if rules.is_some() == (capture == Capture::Transparent) =>
            {
                let listeners = Listeners { tcp: [tcp, tcp_v6], dns: [dns, dns_v6] };
                Some((capture, listeners, rules.map(Watch::through)))
            }
            (None, Err(none)) if none.is_empty() => None,
            (None | Some(_), _) => return None,
        };
        Some(Self { landlock_abi, places, captured })
    }
}

/// Reads the reports of launcher and child until both have ended or become init.
fn collect(reports: &OwnedFd, control: OwnedFd) -> Result<LaunchedApp, LaunchError> {
    let deadline = Instant::now() + PATIENCE;
    let mut launched: Option<(u32, OwnedFd)> = None;
    let mut handed: Option<Handed> = None;
    let lost = |timed_out| LaunchError::Lost { timed_out };
    let failed = loop {
        let message = match sys::receive(reports, deadline) {
            Ok(Some(message)) => message,
            Ok(None) => break None,
            Err(errno) => break Some(lost(errno == Errno::TIMEDOUT)),
        };
        if let Some(fault) = Fault::decode(&message.bytes) {
            break Some(fault.into());
        }
        match message.bytes.as_slice() {
            [b'L', pid @ ..] => {
                let pid = pid.try_into().map(u32::from_le_bytes).unwrap_or(0);
                launched = message.fds.into_iter().next().map(|pidfd| (pid, pidfd));
            }
            [b'C', abi, capture] => match Handed::new(*abi, *capture, message.fds) {
                Some(all) => handed = Some(all),
                None => break Some(lost(false)),
            },
            _ => break Some(lost(false)),
        }
    };
    match (failed, launched, handed) {
        (None, Some((pid, init)), Some(handed)) => {
            let Handed { landlock_abi, places: [ptmx, netns, root], captured } = handed;
            let (capture, listeners, watch) = match captured {
                Some((capture, listeners, watch)) => (Some(capture), Some(listeners), watch),
                None => (None, None, None),
            };
            Ok(LaunchedApp { pid, init, control, ptmx, netns, root, capture, listeners, watch, landlock_abi })
        }
        (failed, launched, _) => {
            if let Some((_, init)) = launched {
                let _ = pidfd_send_signal(&init, Signal::KILL);
            }
            Err(failed.unwrap_or_else(|| lost(false)))
        }
    }
}
