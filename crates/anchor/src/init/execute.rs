//! The child that becomes a command, as execvpe(3) would, without a heap.

use std::ffi::CStr;

use super::start::Pointers;
use super::sys;

/// Longest path tried while searching PATH.
const MAX_PATH: usize = 4096;
/// Where commands are found when the environment names no PATH.
const DEFAULT_PATH: &[u8] = b"/usr/local/bin:/usr/bin:/bin";
/// Runs scripts without an interpreter line.
const SHELL: &CStr = c"/bin/sh";

/// Becomes the command, or says why not. Kept out of line: its buffers stay off init's stack.
#[inline(never)]
pub(super) fn become_command(pointers: &Pointers<'_>, tty: bool, stdio: [i32; 3]) -> i32 {
    // SAFETY: plain calls on descriptors and a NUL-terminated string of the mapped block, in a
    // process with one thread.
    unsafe {
        if libc::setsid() < 0 {
            return sys::errno();
        }
        if tty && libc::ioctl(stdio[0], libc::TIOCSCTTY, 0) != 0 {
            return sys::errno();
        }
        // Above the three standard ones, so that no dup2 closes what a later one needs.
        let mut high = [0i32; 3];
        for (slot, fd) in high.iter_mut().zip(stdio) {
            *slot = libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 10);
        }
        for (target, fd) in (0..).zip(high) {
            if fd < 0 || libc::dup2(fd, target) < 0 {
                return sys::errno();
            }
        }
        // Everything else closes on execution, the control socket and the pipe to init among it.
        if libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) != 0 {
            return sys::errno();
        }
        sys::default_signals();
        if libc::chdir(pointers.cwd()) != 0 {
            return sys::errno();
        }
    }
    execute(pointers)
}

/// Executes by path, or by searching the PATH of the command's own environment.
fn execute(pointers: &Pointers<'_>) -> i32 {
    let program = pointers.program();
    let name = program.to_bytes();
    if name.is_empty() {
        return libc::ENOENT;
    }
    if name.contains(&b'/') {
        return execute_file(pointers, program);
    }
    let mut outcome = libc::ENOENT;
    for folder in pointers.variable(b"PATH=").unwrap_or(DEFAULT_PATH).split(|&b| b == b':') {
        let mut path = [0u8; MAX_PATH];
        let folder = if folder.is_empty() { b"." } else { folder };
        let whole = folder.iter().chain(b"/").chain(name).chain(b"\0");
        if folder.len() + 1 + name.len() + 1 > MAX_PATH {
            continue;
        }
        path.iter_mut().zip(whole).for_each(|(to, &from)| *to = from);
        let Ok(path) = CStr::from_bytes_until_nul(&path) else { continue };
        match execute_file(pointers, path) {
            // As execvpe(3) has it: not in this folder, or the folder is not there.
            libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT => {}
            // Found but not allowed: a later folder may still have it.
            libc::EACCES => outcome = libc::EACCES,
            errno => return errno,
        }
    }
    outcome
}

/// Returns only when the file cannot be executed.
fn execute_file(pointers: &Pointers<'_>, path: &CStr) -> i32 {
    // SAFETY: path and both arrays are NUL- and null-terminated and alive; on success a call does
    // not return.
    unsafe {
        libc::execve(path.as_ptr(), pointers.argv(), pointers.environment());
        let errno = sys::errno();
        if errno != libc::ENOEXEC {
            return errno;
        }
        // A script without an interpreter line. Without a shell the search is over as well.
        libc::execve(SHELL.as_ptr(), pointers.with_shell(SHELL, path), pointers.environment());
        libc::ENOEXEC
    }
}
