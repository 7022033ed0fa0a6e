//! Taking over descriptors that the parent process handed down by number.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys;

const WORDS: usize = 16;
/// One bit per number that was taken.
static TAKEN: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];

/// Takes over inherited descriptor `number` (3 to 1023) and sets its close-on-exec flag.
///
/// Call it at the start of `main`, before anything else opens descriptors: a number stands for
/// what the parent put there only until then.
///
/// # Errors
/// `InvalidInput` for other numbers, `AlreadyExists` when it was taken before, EBADF when it is
/// not open.
pub fn take(number: i32) -> io::Result<OwnedFd> {
    let index = usize::try_from(number).ok().filter(|&n| (3..WORDS * 64).contains(&n));
    let index = index.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    sys::set_cloexec(number)?;
    let bit = 1 << (index % 64);
    if TAKEN[index / 64].fetch_or(bit, Ordering::Relaxed) & bit != 0 {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    // SAFETY: the descriptor is open, and the bitmap gives each number away once. Nothing else in
    // this process has opened it, since it came from the parent; a number alone cannot prove that,
    // which is why the documentation asks for calls at the start of `main`.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Sets the close-on-exec flag of every descriptor from 3 on: what this process was started with
/// does not reach those that it starts.
///
/// # Errors
/// ENOSYS before Linux 5.9.
pub fn keep_to_ourselves() -> io::Result<()> {
    let flags = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: the call takes numbers, closes nothing and touches no memory.
    let done = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, flags) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::IntoRawFd;

    #[test]
    fn a_number_is_taken_once_and_only_if_open() {
        let number = std::fs::File::open("/dev/null").unwrap().into_raw_fd();
        let taken = take(number).unwrap();
        assert_eq!(take(number).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        drop(taken);
        assert_eq!(take(1000).unwrap_err().raw_os_error(), Some(libc::EBADF));
        for number in [-1, 0, 2, 1024, i32::MAX] {
            assert_eq!(take(number).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }
}
