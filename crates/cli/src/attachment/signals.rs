//! Signals to this process, as something to poll.

use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::{flag, low_level::pipe};

/// Signals caught from now on, to the end of the process.
#[derive(Debug)]
pub struct Signals {
    wake: UnixStream,
    caught: Vec<(i32, Arc<AtomicBool>)>,
}

impl Signals {
    /// Catches these signals.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn catch(signals: &[i32]) -> io::Result<Self> {
        let (wake, ring) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let mut caught = Vec::new();
        for &signal in signals {
            let flag = Arc::new(AtomicBool::new(false));
            // In this order, so that a wake-up finds its flag set.
            flag::register(signal, Arc::clone(&flag))?;
            pipe::register(signal, ring.try_clone()?)?;
            caught.push((signal, flag));
        }
        Ok(Self { wake, caught })
    }

    /// The signals that arrived since the last call.
    pub fn take(&mut self) -> Vec<i32> {
        let mut drained = [0u8; 64];
        while matches!(self.wake.read(&mut drained), Ok(n) if n > 0) {}
        self.caught.iter().filter(|(_, flag)| flag.swap(false, Ordering::SeqCst)).map(|(s, _)| *s).collect()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
