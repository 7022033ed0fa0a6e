//! Starting a program of the session's own outside its sandboxes, as a child of the anchor.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::sys::{self, Forked};

/// What a service is started from.
#[derive(Debug)]
pub struct ServicePlan<'a> {
    /// Its name: argument 0.
    pub name: &'a CStr,
    /// Its further arguments.
    pub arguments: &'a [&'a CStr],
    /// The program that is executed: a sealed image, or a file of the host.
    pub image: BorrowedFd<'a>,
    /// Its descriptor 3, where it has one.
    pub socket: Option<BorrowedFd<'a>>,
    /// Its working folder; the caller's own when absent.
    pub folder: Option<BorrowedFd<'a>>,
    /// A pidfd of the anchor, whose child the caller is. The service dies with it.
    pub anchor: BorrowedFd<'a>,
    /// User and group id on the host; the caller's own when absent.
    pub user: Option<u32>,
}

/// Starts a service: it has its program, its socket, its folder, no environment, no core dumps, no capabilities when it has a
/// user of its own, and no way to new privileges. The caller must have one thread only. Returns
/// its process id and a pidfd. A service that cannot be executed ends at once.
///
/// # Errors
/// When the system starts no process.
pub fn start(plan: &ServicePlan<'_>) -> io::Result<(u32, OwnedFd)> {
    // SAFETY: the caller has one thread, as this function demands; the child ends in `execute` or
    // `leave`.
    match unsafe { sys::fork_with(libc::CLONE_PARENT as u64, None) }? {
        Forked::Parent(pid, pidfd) => Ok((pid, pidfd)),
        Forked::Child => {
            let _ = become_service(plan);
            sys::leave(127)
        }
    }
}

fn become_service(plan: &ServicePlan<'_>) -> Result<(), Errno> {
    if let Some(folder) = plan.folder {
        rustix::process::fchdir(folder)?;
    }
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    if let Some(id) = plan.user {
        let (uid, gid) = (rustix::process::Uid::from_raw(id), rustix::process::Gid::from_raw(id));
        set_thread_groups(&[])?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
    }
    sys::control_process(libc::PR_SET_NO_NEW_PRIVS, 1)?;
    // After the change of user, which takes it back.
    sys::control_process(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64)?;
    if sys::poll_one(&plan.anchor, Duration::ZERO)? {
        return Err(Errno::SRCH);
    }
    let image = sys::arrange(plan.image, plan.socket.as_slice())?;
    Err(sys::execute(image.as_fd(), plan.name, plan.arguments))
}
