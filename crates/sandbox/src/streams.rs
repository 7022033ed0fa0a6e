//! Standard streams that this program was started without.
//!
//! The standard library opens the null device in their places before `main`, so they are looked at before it starts.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::stdio::dup2_stdout;

/// A bit for each of the three that was closed.
static CLOSED: AtomicU8 = AtomicU8::new(0);

// SAFETY: the loader calls what this section lists, one after the other, before any thread is there; `look` has
// the C calling convention and uses nothing that the standard library prepares.
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    for number in 0..3 {
        // SAFETY: the number is only asked about, whether it is a descriptor or not.
        let missing = rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(number) }).is_err();
        CLOSED.fetch_or(u8::from(missing) << number, Ordering::Relaxed);
    }
}

/// Whether standard output was closed.
pub fn output_was_closed() -> bool {
    CLOSED.load(Ordering::Relaxed) & 0b010 != 0
}

/// Makes a standard output that was closed one that nobody reads, so that what is written to it fails as it does for any
/// program instead of disappearing.
///
/// # Errors
/// When no descriptors are left.
pub fn closed_output_fails() -> io::Result<()> {
    if output_was_closed() {
        let (_nobody, output) = pipe_with(PipeFlags::CLOEXEC)?;
        dup2_stdout(&output)?;
    }
    Ok(())
}
