//! What must fail inside, tried.
//!
//! Each try has the form that succeeds for one who may, so that a failure means something, and a
//! success changes nothing outside the process that tries.

use std::ffi::CStr;
use std::{io, ptr};

use super::evidence::{Text, line, number};
use super::sys;

/// One try: a system call's outcome.
fn tried(text: &mut Text, key: &str, outcome: i64) {
    if outcome < 0 { number(text, key, sys::errno().into()) } else { line(text, key, b"allowed") }
}

/// Makes every try.
pub(super) fn all(text: &mut Text) {
    try_sockets(text);
    try_kernel(text);
    try_init(text);
    try_terminal(text);
    try_setuid_file(text);
    try_namespaces(text);
}

fn try_sockets(text: &mut Text) {
    for (key, family, kind, protocol) in [
        ("vsock_socket", libc::AF_VSOCK, libc::SOCK_STREAM, 0),
        ("packet_socket", libc::AF_PACKET, libc::SOCK_RAW, 0),
        ("raw_socket", libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP),
        ("audit_socket", libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_AUDIT),
    ] {
        // SAFETY: no pointers.
        tried(text, key, unsafe { libc::socket(family, kind, protocol) }.into());
    }
}

/// Calls into parts of the kernel that no app needs.
fn try_kernel(text: &mut Text) {
    /// The session keyring, made when there is none.
    const KEYRING: (i64, i64, i64) = (0, -3, 1);
    // `bpf_attr` of an array of one byte: kind, size of keys, size of values, entries.
    let map = [2u32, 4, 1, 1];
    // `perf_event_attr`: a software event, this size, the one that never happens.
    let mut event = [0u64; 8];
    event[0] = 1 | (64 << 32);
    event[1] = 9;
    // `io_uring_params`.
    let mut ring = [0u32; 30];
    // `clone_args`: the fifth is the signal at the end.
    let mut clone = [0u64; 8];
    clone[4] = libc::SIGCHLD as u64;
    // SAFETY: every structure is plain data of the size that is passed or implied, and outlives
    // its call. A second process, made by clone3, ends at once.
    unsafe {
        tried(text, "io_uring_setup", libc::syscall(libc::SYS_io_uring_setup, 1, ring.as_mut_ptr()));
        tried(text, "keyctl", libc::syscall(libc::SYS_keyctl, KEYRING.0, KEYRING.1, KEYRING.2));
        tried(text, "bpf", libc::syscall(libc::SYS_bpf, 0, map.as_ptr(), size_of_val(&map)));
        let perf = libc::syscall(libc::SYS_perf_event_open, event.as_ptr(), 0, -1, -1, 0);
        tried(text, "perf_event_open", perf);
        let cloned = libc::syscall(libc::SYS_clone3, clone.as_ptr(), size_of_val(&clone));
        if cloned == 0 {
            sys::exit(0);
        }
        tried(text, "clone3", cloned);
    }
}

/// Reaching into init, which has the same user id.
fn try_init(text: &mut Text) {
    // SAFETY: getppid always succeeds. Seizing, unlike attaching, stops nothing, and ends with
    // this process.
    unsafe {
        let init = libc::getppid();
        tried(text, "ptrace_init", libc::ptrace(libc::PTRACE_SEIZE, init, 0, 0));
        let mut path = [0u8; 32];
        let _ = io::Write::write_fmt(&mut path.as_mut_slice(), format_args!("/proc/{init}/mem"));
        let path = CStr::from_bytes_until_nul(&path).unwrap_or_default();
        tried(text, "init_mem", sys::open(path, libc::O_RDWR).into());
    }
}

/// Whether a terminal takes injected input.
fn try_terminal(text: &mut Text) {
    // SAFETY: numbers, and a byte and a number that live through the calls.
    unsafe {
        let master = libc::open(c"/dev/ptmx".as_ptr(), libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
        let unlocked: libc::c_int = 0;
        libc::ioctl(master, libc::TIOCSPTLCK, &unlocked);
        let terminal = libc::ioctl(master, libc::TIOCGPTPEER, libc::O_RDWR | libc::O_NOCTTY);
        if terminal < 0 {
            return line(text, "tiocsti", b"no terminal");
        }
        // Only one's own terminal can be tried.
        libc::setsid();
        libc::ioctl(terminal, libc::TIOCSCTTY, 0);
        let byte = b'x';
        tried(text, "tiocsti", libc::ioctl(terminal, libc::TIOCSTI, &byte).into());
        // This process leads the terminal's session: what hangs it up must not end it.
        libc::signal(libc::SIGHUP, libc::SIG_IGN);
        sys::close(terminal);
        sys::close(master);
    }
}

/// Whether a file can be made to run as its owner.
fn try_setuid_file(text: &mut Text) {
    let path = c"/tmp/.sessile-setuid-probe";
    // SAFETY: a NUL-terminated path of a file this function makes and removes.
    unsafe {
        libc::unlink(path.as_ptr());
        let fd = sys::open(path, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL);
        if fd < 0 {
            return line(text, "chmod_setuid", b"no file");
        }
        tried(text, "chmod_setuid", libc::fchmod(fd, 0o4700).into());
        libc::unlink(path.as_ptr());
        sys::close(fd);
    }
}

/// Changing what the sandbox consists of. Last: a success changes what tries after it mean.
fn try_namespaces(text: &mut Text) {
    // SAFETY: NUL-terminated strings, and a name that uname fills in. The host name is set to what
    // it is, a mount is taken away again, and the rest is this process's alone.
    unsafe {
        let mut uts: libc::utsname = std::mem::zeroed();
        libc::uname(&mut uts);
        let length = uts.nodename.iter().take_while(|&&c| c != 0).count();
        tried(text, "sethostname", libc::sethostname(uts.nodename.as_ptr(), length).into());
        let (kind, place) = (c"tmpfs".as_ptr(), c"/tmp".as_ptr());
        let mounted = libc::mount(kind, place, kind, 0, ptr::null());
        tried(text, "mount_tmpfs", mounted.into());
        if mounted == 0 {
            libc::umount2(place, libc::MNT_DETACH);
        }
        let own = sys::open(c"/proc/self/ns/uts", libc::O_RDONLY);
        if own < 0 {
            line(text, "setns", b"no file");
        } else {
            tried(text, "setns", libc::setns(own, libc::CLONE_NEWUTS).into());
        }
        tried(text, "chroot", libc::chroot(c"/tmp".as_ptr()).into());
        tried(text, "unshare_user", libc::unshare(libc::CLONE_NEWUSER).into());
    }
}
