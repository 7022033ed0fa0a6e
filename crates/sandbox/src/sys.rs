//! System calls that neither rustix nor the standard library wraps, and messages between a
//! launcher and its caller.

use std::ffi::CStr;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// First descriptor that [`arrange`] takes out of the way of the places it fills.
const ASIDE: RawFd = 10;

/// Puts `/dev/null` at descriptors 0 to 2 and the given ones from 3 on, and lets everything else
/// close when the image is executed, which is returned at a descriptor behind them. Only for a
/// process that is about to become another program: its own descriptors are replaced.
pub(crate) fn arrange(image: BorrowedFd<'_>, given: &[BorrowedFd<'_>]) -> Result<OwnedFd, Errno> {
    // First out of the way of the places they are put in.
    let image = fcntl_dupfd_cloexec(image, ASIDE)?;
    let null = openat(CWD, c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let null = fcntl_dupfd_cloexec(null, ASIDE)?;
    let mut next = 0;
    let mut put = |fd: &OwnedFd| {
        // SAFETY: replaces descriptors of a process that is about to become another program;
        // nothing here uses the old ones again.
        let put = unsafe { libc::dup2(fd.as_raw_fd(), next) };
        next += 1;
        if put < 0 { Err(last_errno()) } else { Ok(()) }
    };
    let given: Vec<OwnedFd> =
        given.iter().map(|fd| fcntl_dupfd_cloexec(fd, ASIDE)).collect::<Result<_, _>>()?;
    [&null, &null, &null].into_iter().chain(&given).try_for_each(&mut put)?;
    let (first, last) = (libc::c_uint::try_from(next).unwrap_or_default(), u32::MAX);
    // SAFETY: marks descriptors; closes none.
    let rc = unsafe { libc::syscall(libc::SYS_close_range, first, last, libc::CLOSE_RANGE_CLOEXEC) };
    if rc == 0 { Ok(image) } else { Err(last_errno()) }
}

/// Becomes the program of an image, with its name and these arguments and no environment. Returns
/// on failure only.
pub(crate) fn execute(image: BorrowedFd<'_>, name: &CStr, given: &[&CStr]) -> Errno {
    let given = given.iter().map(|argument| argument.as_ptr());
    let arguments: Vec<_> = std::iter::once(name.as_ptr()).chain(given).chain([std::ptr::null()]).collect();
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
    last_errno()
}

pub(crate) const ATTR_RDONLY: u64 = 0x1;
pub(crate) const ATTR_NOSUID: u64 = 0x2;
pub(crate) const ATTR_NODEV: u64 = 0x4;
pub(crate) const ATTR_NOEXEC: u64 = 0x8;
const ATTR_IDMAP: u64 = 0x0010_0000;

/// `struct mount_attr` of mount_setattr(2).
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

fn mount_setattr(mount: BorrowedFd<'_>, recursive: bool, attr: &MountAttr) -> Result<(), Errno> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a literal with its NUL, `attr` outlives the call and its true size is
    // passed. Neither libc nor rustix wraps this call.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    };
    if rc == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Sets attributes of a mount and, where asked, of all mounts below it.
pub(crate) fn restrict_mount(mount: impl AsFd, recursive: bool, attrs: u64) -> Result<(), Errno> {
    let attr = MountAttr { set: attrs, clear: 0, propagation: 0, userns_fd: 0 };
    mount_setattr(mount.as_fd(), recursive, &attr)
}

/// Maps the owners of a detached mount's files by a user namespace's maps.
pub(crate) fn idmap_mount(mount: impl AsFd, userns: BorrowedFd<'_>) -> Result<(), Errno> {
    let userns_fd = u64::from(userns.as_raw_fd().unsigned_abs());
    let attr = MountAttr { set: ATTR_IDMAP, clear: 0, propagation: 0, userns_fd };
    mount_setattr(mount.as_fd(), true, &attr)
}

/// A detached copy of the mount at `path`, with all below it.
pub(crate) fn clone_tree(folder: impl AsFd, path: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    open_tree(folder, path, flags)
}

/// Like [`clone_tree`], of what a descriptor stands for.
pub(crate) fn clone_tree_of(fd: impl AsFd) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(fd, c"", flags)
}

/// Attaches a detached mount at a path.
pub(crate) fn attach(mount: impl AsFd, folder: impl AsFd, path: impl rustix::path::Arg) -> Result<(), Errno> {
    move_mount(mount, c"", folder, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Attaches a detached mount on what a descriptor stands for.
pub(crate) fn attach_on(mount: impl AsFd, place: impl AsFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", place, c"", flags)
}

/// `struct clone_args` of clone3(2), up to `cgroup`.
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Which side of a fork one is on.
pub(crate) enum Forked {
    /// The new process.
    Child,
    /// The caller: the child's process id, in the caller's pid namespace, and its pidfd.
    Parent(u32, OwnedFd),
}

/// Forks with `CLONE_*` flags, directly into a version 2 control group where one is given. The
/// child has no exit signal of its own: without `CLONE_PARENT` it is waited for with `__WALL`.
///
/// # Safety
/// The caller has one thread only: the child's copy of locks held by others would never be
/// released. The child must end by `exec` or [`leave`].
pub(crate) unsafe fn fork_with(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Forked, Errno> {
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: flags | libc::CLONE_PIDFD as u64,
        pidfd: std::ptr::from_mut(&mut pidfd) as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= 0x2_0000_0000; // CLONE_INTO_CGROUP
        args.cgroup = u64::from(cgroup.as_raw_fd().unsigned_abs());
    }
    // SAFETY: `args` is the kernel's layout and outlives the call; without CLONE_VM the child
    // runs on its own copy of this stack. libc has no wrapper that forks with these flags.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone3, std::ptr::from_mut(&mut args), size_of::<CloneArgs>()) };
    match pid {
        0 => Ok(Forked::Child),
        1.. => {
            // SAFETY: the kernel stored a new descriptor that nothing else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Forked::Parent(u32::try_from(pid).unwrap_or(0), pidfd))
        }
        _ => Err(last_errno()),
    }
}

/// Ends a forked child without running anything of its parent's.
pub(crate) fn leave(code: i32) -> ! {
    // SAFETY: ends the process at once; it touches no memory.
    unsafe { libc::_exit(code) }
}

/// Waits for a child made without an exit signal.
pub(crate) fn reap(pid: u32) {
    loop {
        // SAFETY: a null status pointer is allowed. rustix has no `__WALL`.
        let rc = unsafe { libc::waitpid(pid.cast_signed(), std::ptr::null_mut(), libc::__WALL) };
        if rc >= 0 || last_errno() != Errno::INTR {
            return;
        }
    }
}

/// Joins one namespace.
pub(crate) fn join_namespace(fd: impl AsFd, kind: i32) -> Result<(), Errno> {
    // SAFETY: takes two numbers; the process has one thread, so no other is left behind.
    let rc = unsafe { libc::setns(fd.as_fd().as_raw_fd(), kind) };
    if rc == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Leaves namespaces for new ones.
pub(crate) fn leave_namespaces(kinds: i32) -> Result<(), Errno> {
    // SAFETY: takes a number; the process has one thread, so no other is left behind.
    let rc = unsafe { libc::unshare(kinds) };
    if rc == 0 { Ok(()) } else { Err(last_errno()) }
}

/// `prctl(2)` for options that take plain numbers.
pub(crate) fn control_process(option: i32, value: u64) -> Result<(), Errno> {
    // SAFETY: every option used here takes numbers, no pointers.
    let rc = unsafe { libc::prctl(option, value, 0, 0, 0) };
    if rc >= 0 { Ok(()) } else { Err(last_errno()) }
}

/// The calling thread's last error.
pub(crate) fn last_errno() -> Errno {
    let code = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
    Errno::from_raw_os_error(code)
}

/// A pair of connected sockets that keep message boundaries.
pub(crate) fn socket_pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// A new socket: for families and protocols that rustix has no names for.
pub(crate) fn new_socket(family: i32, kind: i32, protocol: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: takes numbers.
    let fd = unsafe { libc::socket(family, kind, protocol) };
    if fd < 0 {
        return Err(last_errno());
    }
    // SAFETY: the kernel returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Brings the loopback device up in the network namespace of an internet socket.
pub(crate) fn bring_loopback_up(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: all-zero bytes are a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
        *place = byte.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: the request is the one this ioctl reads, and outlives it.
    let rc = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if rc == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Most descriptors in a message.
const MAX_FDS: usize = 8;

/// Sends one message with at most eight descriptors.
pub(crate) fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::NOBUFS);
    }
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).map(drop)
}

/// One received message.
pub(crate) struct Message {
    pub bytes: Vec<u8>,
    pub fds: Vec<OwnedFd>,
}

/// Receives one message; `None` at the end of the stream.
///
/// # Errors
/// `ETIMEDOUT` when nothing comes before `deadline`.
pub(crate) fn receive(socket: impl AsFd, deadline: Instant) -> Result<Option<Message>, Errno> {
    wait_readable(&socket, deadline)?;
    let mut buffer = [0u8; 512];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received =
        recvmsg(socket, &mut [IoSliceMut::new(&mut buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    let bytes = buffer.get(..received.bytes).unwrap_or_default().to_vec();
    Ok(Some(Message { bytes, fds }))
}

/// Waits until a descriptor can be read or is at its end.
fn wait_readable(fd: &impl AsFd, deadline: Instant) -> Result<(), Errno> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match poll_one(fd, left) {
            Ok(true) => return Ok(()),
            Ok(false) => return Err(Errno::TIMEDOUT),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// A duration as poll(2) takes it.
pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

/// Whether a descriptor becomes readable (or hangs up) within `timeout`.
pub(crate) fn poll_one(fd: &impl AsFd, timeout: Duration) -> Result<bool, Errno> {
    let timeout = timespec(timeout);
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    Ok(poll(&mut fds, Some(&timeout))? > 0)
}
