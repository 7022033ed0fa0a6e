//! Starting a program of the session's own outside its sandboxes, as a child of the anchor.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::sys::{self, Forked};

/// What a service is started from.
#[derive(Debug)]
pub struct ServicePlan<'a> {
    /// Its name: argument 0.
    pub name: &'a CStr,
    /// The sealed image that is executed.
    pub image: BorrowedFd<'a>,
    /// Its descriptor 3.
    pub socket: BorrowedFd<'a>,
    /// A pidfd of the anchor, whose child the caller is. The service dies with it.
    pub anchor: BorrowedFd<'a>,
    /// User and group id on the host; the caller's own when absent.
    pub user: Option<u32>,
}

/// Starts a service: it has its image, its socket, no environment, no capabilities when it has a
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
    let image = fcntl_dupfd_cloexec(plan.image, 10)?;
    let socket = fcntl_dupfd_cloexec(plan.socket, 10)?;
    let null = openat(CWD, c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let null = fcntl_dupfd_cloexec(null, 10)?;
    for (from, to) in [(&null, 0), (&null, 1), (&null, 2), (&socket, 3)] {
        // SAFETY: replaces descriptors of a process that is about to become another program;
        // nothing here uses the old ones again.
        if unsafe { libc::dup2(from.as_raw_fd(), to) } < 0 {
            return Err(sys::last_errno());
        }
    }
    // SAFETY: marks descriptors; closes none.
    let rc = unsafe { libc::syscall(libc::SYS_close_range, 4u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if rc != 0 {
        return Err(sys::last_errno());
    }
    Err(execute(plan.name, image.as_fd()))
}

fn execute(name: &CStr, image: BorrowedFd<'_>) -> Errno {
    let arguments = [name.as_ptr(), std::ptr::null()];
    let environment: [*const libc::c_char; 1] = [std::ptr::null()];
    // SAFETY: both arrays end in null and outlive the call, which returns on failure only.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            image.as_raw_fd(),
            c"".as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    sys::last_errno()
}
