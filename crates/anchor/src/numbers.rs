//! Numbers in a memory file that outlive the process that writes them, at the cost of a store each.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys;

/// So many numbers of 64 bits, in the machine's byte order. One process at a time writes.
#[derive(Debug)]
pub struct Numbers {
    base: NonNull<AtomicU64>,
    count: usize,
    file: OwnedFd,
}

// SAFETY: the mapping is shared memory by nature, and all access to it is atomic.
unsafe impl Send for Numbers {}

impl Numbers {
    /// Zeros in a new memory file of this name.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(name: &std::ffi::CStr, count: usize) -> io::Result<Self> {
        // SAFETY: the name is a C string that outlives the call.
        let file = sys::owned(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) })?;
        Self::open(file, count)
    }

    /// Those in a memory file, which is made longer where it is too short for so many. Nobody may make it
    /// shorter afterwards.
    ///
    /// # Errors
    /// `InvalidInput` for none; otherwise what the system says.
    pub fn open(file: OwnedFd, count: usize) -> io::Result<Self> {
        let length = count * size_of::<u64>();
        // SAFETY: a `stat` of zeros is valid, and the calls fill it and take numbers.
        unsafe {
            let mut stat: libc::stat = std::mem::zeroed();
            sys::check(libc::fstat(file.as_raw_fd(), &raw mut stat))?;
            if (stat.st_size as u64) < length as u64 {
                sys::check(libc::ftruncate(file.as_raw_fd(), length as libc::off_t))?;
            }
        }
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice, of a file at least as long.
        let base =
            unsafe { libc::mmap(ptr::null_mut(), length, protection, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok(Self { base, count, file })
    }

    /// The number at a place; 0 beyond the last.
    pub fn get(&self, at: usize) -> u64 {
        self.all().get(at).map_or(0, |number| number.load(Ordering::Relaxed))
    }

    /// Sets the number at a place. Whoever finds what was set behind it finds this one too.
    pub fn set(&self, at: usize, number: u64) {
        if let Some(place) = self.all().get(at) {
            place.store(number, Ordering::SeqCst);
        }
    }

    fn all(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page-aligned, holds so many numbers, lives as long as `self`, and is
        // accessed atomically alone.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.count) }
    }
}

impl AsFd for Numbers {
    /// The memory file, for the anchor's store.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Numbers {
    fn drop(&mut self) {
        // SAFETY: exactly the range that was mapped; no reference into it outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.count * size_of::<u64>()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_finds_what_was_set() {
        let numbers = Numbers::create(c"test", 3).unwrap();
        numbers.set(0, 7);
        numbers.set(2, u64::MAX);
        numbers.set(3, 1);
        let again = Numbers::open(numbers.as_fd().try_clone_to_owned().unwrap(), 600).unwrap();
        assert_eq!([0, 1, 2, 3].map(|at| again.get(at)), [7, 0, u64::MAX, 0]);
        again.set(599, 5);
        assert_eq!((again.get(599), again.get(600), numbers.get(599)), (5, 0, 0));
        assert!(Numbers::create(c"test", 0).is_err());
    }
}
