//! Small wrappers over libc that allocate nothing, for the program and its users alike.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// The calling thread's last error number.
pub(crate) fn errno() -> i32 {
    // SAFETY: the location is valid for the life of the thread.
    unsafe { *libc::__errno_location() }
}

/// Turns the convention of system calls (-1 and an error number) into a result.
pub(crate) fn check(rc: i32) -> io::Result<i32> {
    if rc == -1 { Err(io::Error::last_os_error()) } else { Ok(rc) }
}

/// As [`check`] for calls that count bytes.
pub(crate) fn check_len(rc: isize) -> io::Result<usize> {
    usize::try_from(rc).map_err(|_| io::Error::last_os_error())
}

/// Takes ownership of a descriptor a system call has just returned.
pub(crate) fn owned(rc: i32) -> io::Result<OwnedFd> {
    // SAFETY: a non-negative answer is a new descriptor that nobody else knows.
    check(rc).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Another descriptor of the same open file, closed at exec.
pub(crate) fn duplicate(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes a number and touches no memory.
    owned(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3) })
}

/// Sets O_NONBLOCK on the open file.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: these commands take and return numbers only.
    unsafe {
        let flags = check(libc::fcntl(fd.as_raw_fd(), libc::F_GETFL))?;
        check(libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK))?;
    }
    Ok(())
}

/// Sets FD_CLOEXEC; fails when the number is not open.
pub(crate) fn set_cloexec(fd: RawFd) -> io::Result<()> {
    // SAFETY: these commands take and return numbers only.
    unsafe {
        let flags = check(libc::fcntl(fd, libc::F_GETFD))?;
        check(libc::fcntl(fd, libc::F_SETFD, flags | libc::FD_CLOEXEC))?;
    }
    Ok(())
}

/// Waits for events on one descriptor. Returns those that came; 0 after `timeout_ms`.
pub(crate) fn poll_one(fd: BorrowedFd<'_>, events: i16, timeout_ms: i32) -> io::Result<i16> {
    let mut one = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    // SAFETY: exactly one entry is passed, and it outlives the call.
    check(unsafe { libc::poll(&raw mut one, 1, timeout_ms) })?;
    Ok(one.revents)
}
