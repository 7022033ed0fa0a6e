//! What a process beside a terminal's foreground needs, so that nothing the terminal does ends
//! or stops it.

use std::io;

/// Blocks the calling thread's signals that a terminal, its closing or a missing reader sends,
/// and `SIGTERM`. With `SIGTTOU` blocked, a background process may set a terminal's modes and
/// write to it (termios(3), "Job control").
///
/// # Errors
/// When the system refuses.
pub fn block_terminal_signals() -> io::Result<()> {
    let signals = [
        libc::SIGTTOU,
        libc::SIGTTIN,
        libc::SIGTSTP,
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGPIPE,
        libc::SIGTERM,
    ];
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the set is initialised by sigemptyset before anything reads it; the last pointer
    // may be null.
    let rc = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut())
    };
    if rc == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(rc)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocked_signals_wait() {
        // A thread of its own: the mask is a thread's.
        let status = std::thread::spawn(|| {
            block_terminal_signals().unwrap();
            std::fs::read_to_string("/proc/thread-self/status").unwrap()
        });
        let status = status.join().unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
        let mask = u64::from_str_radix(mask.trim(), 16).unwrap();
        for signal in [libc::SIGTTOU, libc::SIGHUP, libc::SIGTERM] {
            assert!(mask & 1 << (signal - 1) != 0, "signal {signal} is not in {mask:x}");
        }
    }
}
