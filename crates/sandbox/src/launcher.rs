//! The two processes between the keeper and init.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{Gid, Uid, chdir};

use crate::app::{AppPlan, Grant};
use crate::capture::{self, Capture, NetworkAhead, Prepared};
use crate::confine;
use crate::root::{self, RootPlan};
use crate::space::{INNER_ID, Space, map_self, write_proc};
use crate::step::{At, Fault, Step};
use crate::sys::{self, Forked};

/// What launcher and child work from.
pub(crate) struct Order<'a> {
    pub space: &'a Space,
    pub plan: &'a AppPlan<'a>,
    pub grants: Vec<Grant<'a>>,
    pub filter: BorrowedFd<'a>,
    pub control: BorrowedFd<'a>,
    pub report: BorrowedFd<'a>,
}

/// Runs the launcher, or the child that it makes. Neither returns.
pub(crate) fn run(order: Order<'_>) -> ! {
    let report = order.report;
    let outcome = launch(order);
    if let Err(fault) = &outcome {
        // Nobody is left to tell when this fails.
        let _ = sys::send(report, &fault.encode(), &[]);
    }
    sys::leave(i32::from(outcome.is_err()))
}

fn launch(order: Order<'_>) -> Result<(), Fault> {
    if let Some(cgroup) = order.plan.cgroup {
        cgroup.join_version_1().at(Step::JoinCgroup)?;
    }
    let ahead = order.plan.ahead.network(order.plan.network);
    join(order.space, ahead)?;
    let network = if ahead.is_some() { 0 } else { libc::CLONE_NEWNET };
    let flags = network
        | libc::CLONE_PARENT
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    // SAFETY: a launcher is the copy of one thread; both sides end in `leave` or `exec`.
    match unsafe { sys::fork_with(flags as u64, None) }.at(Step::Namespaces)? {
        Forked::Child => become_init(order).map(|never| match never {}),
        Forked::Parent(pid, pidfd) => {
            let mut bytes = vec![b'L'];
            bytes.extend(pid.to_le_bytes());
            sys::send(order.report, &bytes, &[pidfd.as_fd()]).at(Step::Handover)
        }
    }
}

/// Joins the session's namespaces and takes on its user id. The user namespace comes first: it
/// brings the right to enter the others.
fn join(space: &Space, network: Option<&NetworkAhead>) -> Result<(), Fault> {
    let step = Step::JoinSpace;
    sys::join_namespace(&space.userns, libc::CLONE_NEWUSER).on(step, "user")?;
    sys::join_namespace(&space.mntns, libc::CLONE_NEWNS).on(step, "mount")?;
    if let Some(network) = network {
        sys::join_namespace(network.netns(), libc::CLONE_NEWNET).on(step, "network")?;
    }
    // The child finds the storage by its working folder: the app's user may not walk there.
    chdir(&space.mount_point).on(step, "storage")?;
    if space.subordinate_base.is_some() {
        let (uid, gid) = (Uid::from_raw(INNER_ID), Gid::from_raw(INNER_ID));
        rustix::thread::set_thread_groups(&[]).on(Step::Ids, "groups")?;
        rustix::thread::set_thread_res_gid(gid, gid, gid).on(Step::Ids, "gid")?;
        rustix::thread::set_thread_res_uid(uid, uid, uid).on(Step::Ids, "uid")?;
    }
    // New credentials made the process undumpable, which would close /proc/self to its child.
    sys::control_process(libc::PR_SET_DUMPABLE, 1).at(Step::Ids)
}

/// The one value that cannot exist: a successful `exec` does not return.
enum Never {}

fn become_init(order: Order<'_>) -> Result<Never, Fault> {
    let plan = order.plan;
    map_self(INNER_ID, INNER_ID, INNER_ID).at(Step::IdMap)?;
    // The filter refuses these too; this holds for whatever the filter might miss.
    write_proc("/proc/sys/user/max_user_namespaces", "0").at(Step::Nesting)?;
    let captured = match plan.ahead.network(plan.network) {
        Some(network) => Some(network.prepared()?),
        None => capture::begin(plan.network)?,
    };
    rustix::system::sethostname(plan.identity.hostname.as_bytes()).at(Step::Hostname)?;

    let writable: Vec<String> =
        order.grants.iter().filter(|g| g.writable).map(|g| g.target.to_owned()).collect();
    let root = RootPlan {
        skeleton: format!("apps/{}", plan.name),
        identity: &plan.identity,
        extra_etc: &plan.extra_etc,
        capture: captured.as_ref().map(|c| c.capture),
        grants: order.grants,
    };
    root::enter(&root)?;
    hand_over(order.report, captured)?;

    confine::drop_capabilities().at(Step::Capabilities)?;
    confine::enforce_landlock(&writable)?;
    confine::limit_resources(plan.max_processes).at(Step::Limits)?;
    sys::control_process(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64).at(Step::Parent)?;
    // The anchor may have died before the signal was asked for.
    if sys::poll_one(&plan.anchor, Duration::ZERO).at(Step::Parent)? {
        return Err(Errno::SRCH).at(Step::Parent);
    }
    // The report socket closes at the execution: its end is what tells the caller.
    let image = sys::arrange(plan.image, &[order.control, order.filter]).at(Step::Descriptors)?;
    Err(sys::execute(image.as_fd(), c"init", &[])).at(Step::Exec)
}

/// Sends what only a process inside can open.
fn hand_over(report: BorrowedFd<'_>, captured: Option<Prepared>) -> Result<(), Fault> {
    let path = OFlags::PATH | OFlags::CLOEXEC;
    let open = |name: &str, flags| openat(CWD, name, flags, Mode::empty()).on(Step::Handover, name);
    let ptmx = open("/dev/pts/ptmx", path)?;
    let netns = open("/proc/self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC)?;
    let root = open("/", path | OFlags::DIRECTORY)?;
    let message = [b'C', confine::landlock_abi(), Capture::code(captured.as_ref().map(|c| c.capture))];
    let mut fds = vec![ptmx.as_fd(), netns.as_fd(), root.as_fd()];
    if let Some(Prepared { listeners, rules, .. }) = &captured {
        fds.extend(listeners.tcp.iter().chain(&listeners.dns).chain(rules).map(AsFd::as_fd));
    }
    sys::send(report, &message, &fds).at(Step::Handover)
}
