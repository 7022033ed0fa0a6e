//! The compiled program is installed in a forked child, which then makes the calls.

use std::os::fd::AsRawFd;

use super::*;

type Call = (&'static str, i64, [u64; 6]);

/// Makes calls under the filter and returns each one's result, an error as a negative number.
fn answers(calls: &[Call]) -> Vec<i32> {
    let bytes = program();
    let count = bytes.len() / size_of::<sock_filter>();
    let (reader, writer) = std::io::pipe().unwrap();
    let out = writer.as_raw_fd();
    // SAFETY: the child only makes system calls on memory prepared before, and ends in `_exit`.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let prog = libc::sock_fprog { len: count as u16, filter: bytes.as_ptr() as *mut sock_filter };
        // SAFETY: as above; the program outlives the call that installs it.
        unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            if libc::syscall(libc::SYS_seccomp, 1, 0, &raw const prog) != 0 {
                libc::_exit(9);
            }
            for (_, number, a) in calls {
                let rc = libc::syscall(*number, a[0], a[1], a[2], a[3], a[4], a[5]);
                let result = if rc < 0 { -*libc::__errno_location() } else { rc as i32 };
                libc::write(out, (&raw const result).cast(), 4);
            }
            libc::_exit(0);
        }
    }
    drop(writer);
    let mut all = Vec::new();
    std::io::Read::read_to_end(&mut &reader, &mut all).unwrap();
    let mut status = 0;
    // SAFETY: waits for the child made above.
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(status, 0, "the filter could not be installed, or a call killed the child");
    all.chunks(4).map(|c| i32::from_ne_bytes(c.try_into().unwrap())).collect()
}

const NONE: u64 = u64::MAX; // -1: an invalid descriptor

fn path(text: &'static std::ffi::CStr) -> u64 {
    text.as_ptr() as u64
}

#[test]
fn calls_get_the_answers_the_table_says() {
    let bad = path(c"/nonexistent/file");
    let here = libc::AT_FDCWD as u64;
    let creat = libc::O_CREAT as u64;
    let tmpfile = libc::O_TMPFILE as u64;
    let limit = [0u64, 0];
    let limit = limit.as_ptr() as u64;
    let user = libc::CLONE_NEWUSER as u64;
    let table: &[(Call, i32)] = &[
        (("getpid", libc::SYS_getpid, [0; 6]), 0),
        (("clone user namespace", libc::SYS_clone, [user | 17, 0, 0, 0, 0, 0]), libc::EPERM),
        (("clone3", libc::SYS_clone3, [0; 6]), libc::ENOSYS),
        (("unshare files", libc::SYS_unshare, [0x400, 0, 0, 0, 0, 0]), 0),
        (("unshare user", libc::SYS_unshare, [user, 0, 0, 0, 0, 0]), libc::EPERM),
        (("unshare time", libc::SYS_unshare, [0x80, 0, 0, 0, 0, 0]), libc::EPERM),
        (("setns", libc::SYS_setns, [NONE, 0, 0, 0, 0, 0]), libc::EPERM),
        (("mount", libc::SYS_mount, [0; 6]), libc::EPERM),
        (("fsopen", libc::SYS_fsopen, [0; 6]), libc::EPERM),
        (("keyctl", libc::SYS_keyctl, [0; 6]), libc::EPERM),
        (("bpf", libc::SYS_bpf, [0; 6]), libc::EPERM),
        (("perf_event_open", libc::SYS_perf_event_open, [0; 6]), libc::EPERM),
        (("io_uring_setup", libc::SYS_io_uring_setup, [0; 6]), libc::ENOSYS),
        (("io_uring_enter", libc::SYS_io_uring_enter, [NONE, 0, 0, 0, 0, 0]), libc::ENOSYS),
        (("userfaultfd", libc::SYS_userfaultfd, [0; 6]), libc::EPERM),
        (("open_by_handle_at", libc::SYS_open_by_handle_at, [0; 6]), libc::EPERM),
        (("openat2", libc::SYS_openat2, [0; 6]), libc::ENOSYS),
        (("fchmodat2", libc::SYS_fchmodat2, [0; 6]), libc::ENOSYS),
        (("memfd_secret", libc::SYS_memfd_secret, [0; 6]), libc::ENOSYS),
        (("number from the future", 9999, [0; 6]), libc::ENOSYS),
        (("x32 getpid", 0x4000_0000 + libc::SYS_getpid, [0; 6]), libc::EPERM),
        (("unix socket", libc::SYS_socket, [1, 1, 0, 0, 0, 0]), 0),
        (("inet socket", libc::SYS_socket, [2, 1, 0, 0, 0, 0]), 0),
        (("inet6 socket", libc::SYS_socket, [10, 2, 0, 0, 0, 0]), 0),
        (("netlink route", libc::SYS_socket, [16, 3, 0, 0, 0, 0]), 0),
        (("netlink audit", libc::SYS_socket, [16, 3, 9, 0, 0, 0]), libc::EAFNOSUPPORT),
        (("netlink netfilter", libc::SYS_socket, [16, 3, 12, 0, 0, 0]), libc::EAFNOSUPPORT),
        (("netlink generic", libc::SYS_socket, [16, 3, 16, 0, 0, 0]), libc::EAFNOSUPPORT),
        (("netlink netfilter, dirty", libc::SYS_socket, [16, 3, 12 | 1 << 32, 0, 0, 0]), libc::EAFNOSUPPORT),
        (("xdp socket", libc::SYS_socket, [44, 3, 0, 0, 0, 0]), libc::EAFNOSUPPORT),
        (("packet socket", libc::SYS_socket, [17, 3, 0, 0, 0, 0]), libc::EAFNOSUPPORT),
        (("vsock", libc::SYS_socket, [40, 1, 0, 0, 0, 0]), libc::EAFNOSUPPORT),
        (("alg socket", libc::SYS_socket, [38, 5, 0, 0, 0, 0]), libc::EAFNOSUPPORT),
        (("vsock pair", libc::SYS_socketpair, [40, 1, 0, 0, 0, 0]), libc::EAFNOSUPPORT),
        (("TIOCSTI", libc::SYS_ioctl, [NONE, libc::TIOCSTI, 0, 0, 0, 0]), libc::EPERM),
        (("TIOCLINUX", libc::SYS_ioctl, [NONE, libc::TIOCLINUX, 0, 0, 0, 0]), libc::EPERM),
        (("TIOCSTI, dirty", libc::SYS_ioctl, [NONE, libc::TIOCSTI | 1 << 32, 0, 0, 0, 0]), libc::EPERM),
        (("TIOCGWINSZ", libc::SYS_ioctl, [NONE, libc::TIOCGWINSZ, 0, 0, 0, 0]), libc::EBADF),
        (("personality query", libc::SYS_personality, [0xffff_ffff, 0, 0, 0, 0, 0]), 0),
        (("personality linux", libc::SYS_personality, [0, 0, 0, 0, 0, 0]), 0),
        (("read implies exec", libc::SYS_personality, [0x40_0000, 0, 0, 0, 0, 0]), libc::EPERM),
        (("chmod 755", libc::SYS_chmod, [bad, 0o755, 0, 0, 0, 0]), libc::ENOENT),
        (("chmod 4755", libc::SYS_chmod, [bad, 0o4755, 0, 0, 0, 0]), libc::EPERM),
        (("fchmod 2755", libc::SYS_fchmod, [NONE, 0o2755, 0, 0, 0, 0]), libc::EPERM),
        (("fchmod 1777", libc::SYS_fchmod, [NONE, 0o1777, 0, 0, 0, 0]), libc::EBADF),
        (("fchmodat 6755", libc::SYS_fchmodat, [here, bad, 0o6755, 0, 0, 0]), libc::EPERM),
        (("mknodat 4755", libc::SYS_mknodat, [here, bad, 0o104_755, 0, 0, 0]), libc::EPERM),
        (("creat 4755", libc::SYS_creat, [bad, 0o4755, 0, 0, 0, 0]), libc::EPERM),
        (("open 4755", libc::SYS_open, [bad, creat, 0o4755, 0, 0, 0]), libc::EPERM),
        (("open, stray mode", libc::SYS_open, [bad, 0, 0o4755, 0, 0, 0]), libc::ENOENT),
        (("openat 4755", libc::SYS_openat, [here, bad, creat, 0o4755, 0, 0]), libc::EPERM),
        (("openat tmpfile", libc::SYS_openat, [here, bad, tmpfile, 0o4755, 0, 0]), libc::EPERM),
        (("openat folder", libc::SYS_openat, [here, bad, 0o200_000, 0o4755, 0, 0]), libc::ENOENT),
        (("core limit", libc::SYS_setrlimit, [4, NONE, 0, 0, 0, 0]), 0),
        (("core limit by prlimit", libc::SYS_prlimit64, [0, 4, limit, 0, 0, 0]), 0),
        (("file limit, bad address", libc::SYS_prlimit64, [0, 7, 8, 0, 0, 0]), libc::EFAULT),
        (("core limit, read", libc::SYS_prlimit64, [0, 4, 0, 8, 0, 0]), libc::EFAULT),
    ];
    let calls: Vec<Call> = table.iter().map(|(call, _)| *call).collect();
    let found = answers(&calls);
    for ((call, expected), found) in table.iter().zip(&found) {
        assert_eq!(found.min(&0), &-expected, "{}", call.0);
    }
    assert_eq!(found.len(), table.len());
}

#[test]
fn memory_stays_dumpable_whatever_the_program_is_told() {
    let (set, get) = (libc::PR_SET_DUMPABLE as u64, libc::PR_GET_DUMPABLE as u64);
    let calls: &[Call] = &[
        ("before", libc::SYS_prctl, [get, 0, 0, 0, 0, 0]),
        ("undumpable", libc::SYS_prctl, [set, 0, 0, 0, 0, 0]),
        ("after", libc::SYS_prctl, [get, 0, 0, 0, 0, 0]),
    ];
    assert_eq!(answers(calls), [1, 0, 1]);
}

#[test]
fn the_program_is_small_and_every_jump_lands_inside() {
    let program = assemble();
    assert!(program.len() < 1500, "{} instructions", program.len());
    for (place, op) in program.iter().enumerate() {
        let far = match op.code {
            JUMP => op.k as usize,
            IF_EQUAL | IF_AT_LEAST | IF_ANY_BIT => usize::from(op.jt.max(op.jf)),
            _ => continue,
        };
        assert!(place + 1 + far < program.len());
    }
}
