//! Memory for secrets, reachable again through a descriptor that another process holds.
//!
//! `memfd_secret(2)` where it works: its pages are absent from the kernel's direct map, never
//! swapped, unreadable through `/proc/PID/mem`, and cleared by the kernel when freed. Elsewhere a
//! memfd whose mapping is locked; that one is weaker and [`SecretMemory::protection`] says so.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{Ordering, compiler_fence};

use rustix::fs::{MemfdFlags, SealFlags};
use thiserror::Error;

/// Largest length accepted: secrets are keys, not data.
pub const MAX_LEN: usize = 1 << 20;

/// `f_type` of a `memfd_secret` descriptor (`SECRETMEM_MAGIC` of `linux/magic.h`).
const SECRETMEM_MAGIC: i64 = 0x5345_434d;

/// How well a [`SecretMemory`] is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// `memfd_secret(2)`.
    Secret,
    /// A memfd with a locked mapping. Weaker: root and debuggers can read it, and it may be
    /// swapped out while no process maps it.
    Locked,
    /// A memfd whose mapping could not be locked. Weaker still: it may be swapped out any time.
    Unlocked,
}

impl Protection {
    /// What is weaker than `memfd_secret`, in a sentence; `None` when nothing is.
    pub const fn weaker_because(self) -> Option<&'static str> {
        match self {
            Self::Secret => None,
            Self::Locked => Some(
                "keys are in a memfd with a locked mapping (memfd_secret is not available): \
                 they may be swapped out while no keeper runs",
            ),
            Self::Unlocked => {
                Some("keys are in a memfd that could not be locked (RLIMIT_MEMLOCK): they may be swapped out")
            }
        }
    }
}

/// Why secret memory could not be made or mapped.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The length is 0 or over [`MAX_LEN`].
    #[error("secret memory has 1 to {MAX_LEN} bytes, not {len}")]
    Length {
        /// The length asked for or found.
        len: u64,
    },
    /// The descriptor is neither a `memfd_secret` nor a sealed memfd of this module.
    #[error("the descriptor is not secret memory")]
    NotSecretMemory,
    /// The system refused.
    #[error("{call} for secret memory")]
    System {
        /// The call that failed.
        call: &'static str,
        /// Why.
        source: io::Error,
    },
}

fn system(call: &'static str) -> impl FnOnce(io::Error) -> SecretError {
    move |source| SecretError::System { call, source }
}

/// A mapped secret and the descriptor it lives in. Overwritten on drop; [`SecretMemory::release`]
/// lets go of it without that, for a successor that holds the descriptor.
pub struct SecretMemory {
    fd: OwnedFd,
    address: NonNull<u8>,
    len: usize,
    protection: Protection,
}

// SAFETY: the mapping belongs to this value alone, like the allocation of a Box<[u8]>.
unsafe impl Send for SecretMemory {}

impl SecretMemory {
    /// Makes zeroed secret memory of `len` bytes.
    ///
    /// # Errors
    /// When the length is out of range or the system has neither kind of memory.
    pub fn create(len: usize) -> Result<Self, SecretError> {
        check_len(len as u64)?;
        // A kernel may offer the call and still fail to map (no locked memory left).
        if let Ok(fd) = memfd_secret(len)
            && let Ok(memory) = Self::map(fd, len, Protection::Secret)
        {
            return Ok(memory);
        }
        Self::create_fallback(len)
    }

    /// Makes the weaker kind, whatever the kernel offers.
    ///
    /// # Errors
    /// As [`SecretMemory::create`].
    pub fn create_fallback(len: usize) -> Result<Self, SecretError> {
        check_len(len as u64)?;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = rustix::fs::memfd_create("secret", flags).map_err(|e| system("memfd_create")(e.into()))?;
        rustix::fs::ftruncate(&fd, len as u64).map_err(|e| system("ftruncate")(e.into()))?;
        // The size is fixed so that no holder can shrink it under a mapping (SIGBUS), and the
        // seals are closed so that none can make it unwritable before it is overwritten.
        rustix::fs::fcntl_add_seals(&fd, fallback_seals()).map_err(|e| system("F_ADD_SEALS")(e.into()))?;
        Self::map(fd, len, Protection::Locked)
    }

    /// Maps secret memory that another process made.
    ///
    /// # Errors
    /// When the descriptor is anything else, or cannot be mapped.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, SecretError> {
        let len = rustix::fs::fstat(&fd).map_err(|e| system("fstat")(e.into()))?.st_size as u64;
        let kind = rustix::fs::fstatfs(&fd).map_err(|e| system("fstatfs")(e.into()))?.f_type;
        let protection = if kind == SECRETMEM_MAGIC {
            Protection::Secret
        } else {
            let seals = rustix::fs::fcntl_get_seals(&fd).map_err(|_| SecretError::NotSecretMemory)?;
            if seals != fallback_seals() {
                return Err(SecretError::NotSecretMemory);
            }
            Protection::Locked
        };
        check_len(len)?;
        Self::map(fd, len as usize, protection)
    }

    fn map(fd: OwnedFd, len: usize, protection: Protection) -> Result<Self, SecretError> {
        // SAFETY: a fresh shared mapping at an address of the kernel's choice; the descriptor has
        // at least `len` bytes and cannot be shrunk (sealed, or memfd_secret which never shrinks).
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(system("mmap")(io::Error::last_os_error()));
        }
        let Some(address) = NonNull::new(address.cast::<u8>()) else {
            return Err(system("mmap")(io::Error::from_raw_os_error(libc::EFAULT)));
        };
        let mut memory = Self { fd, address, len, protection };
        // Launchers are forked from the keeper and must not inherit keys.
        memory.advise(libc::MADV_DONTFORK, "madvise(MADV_DONTFORK)")?;
        if protection != Protection::Secret {
            memory.advise(libc::MADV_DONTDUMP, "madvise(MADV_DONTDUMP)")?;
            // SAFETY: the range is this value's own mapping.
            let locked = unsafe { libc::mlock(memory.address.as_ptr().cast(), memory.len) } == 0;
            if !locked {
                memory.protection = Protection::Unlocked;
            }
        }
        Ok(memory)
    }

    fn advise(&self, advice: libc::c_int, call: &'static str) -> Result<(), SecretError> {
        // SAFETY: the range is this value's own mapping; neither advice changes its content.
        let done = unsafe { libc::madvise(self.address.as_ptr().cast(), self.len, advice) };
        if done == 0 { Ok(()) } else { Err(system(call)(io::Error::last_os_error())) }
    }

    /// Which kind of memory this is.
    pub fn protection(&self) -> Protection {
        self.protection
    }

    /// Its length in bytes.
    #[allow(clippy::len_without_is_empty)] // never empty
    pub fn len(&self) -> usize {
        self.len
    }

    /// The secret.
    pub fn expose(&self) -> &[u8] {
        // SAFETY: mapped readable for `len` bytes as long as `self` lives. Another process that
        // maps the descriptor could write meanwhile; by design only one keeper at a time does.
        unsafe { std::slice::from_raw_parts(self.address.as_ptr(), self.len) }
    }

    /// The secret, to be filled in.
    pub fn expose_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `expose`, and `&mut self` makes it the only reference here.
        unsafe { std::slice::from_raw_parts_mut(self.address.as_ptr(), self.len) }
    }

    /// Overwrites the secret with zeros for every holder of the descriptor; returns the bytes
    /// that were read back as zero.
    pub fn overwrite(&mut self) -> usize {
        for i in 0..self.len {
            // SAFETY: within the mapping; volatile because nobody reads it before it is unmapped.
            unsafe { self.address.as_ptr().add(i).write_volatile(0) };
        }
        compiler_fence(Ordering::SeqCst);
        // SAFETY: within the mapping; volatile so that the stores above are not taken on trust.
        (0..self.len).filter(|&i| unsafe { self.address.as_ptr().add(i).read_volatile() } == 0).count()
    }

    /// Unmaps without overwriting and returns the descriptor.
    pub fn release(self) -> OwnedFd {
        let memory = std::mem::ManuallyDrop::new(self);
        memory.unmap();
        // SAFETY: `memory` is never dropped or used again, so the descriptor has one owner.
        unsafe { std::ptr::read(&memory.fd) }
    }

    fn unmap(&self) {
        // SAFETY: this value's own mapping; both callers give up the value.
        unsafe { libc::munmap(self.address.as_ptr().cast(), self.len) };
    }
}

impl Drop for SecretMemory {
    fn drop(&mut self) {
        self.overwrite();
        self.unmap();
    }
}

impl AsFd for SecretMemory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl fmt::Debug for SecretMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretMemory({} bytes, {:?}, redacted)", self.len, self.protection)
    }
}

fn fallback_seals() -> SealFlags {
    SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL
}

fn check_len(len: u64) -> Result<(), SecretError> {
    if (1..=MAX_LEN as u64).contains(&len) { Ok(()) } else { Err(SecretError::Length { len }) }
}

fn memfd_secret(len: usize) -> Result<OwnedFd, io::Error> {
    // SAFETY: memfd_secret(2) takes flags only; libc has no wrapper for it.
    let fd = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel returned a new descriptor that nobody else owns.
    let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    rustix::fs::ftruncate(&fd, len as u64)?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds() -> Vec<SecretMemory> {
        let memory = SecretMemory::create(32).unwrap();
        if memory.protection() != Protection::Secret {
            eprintln!("skipped: memfd_secret is not available; only the fallback is tested");
        }
        vec![memory, SecretMemory::create_fallback(32).unwrap()]
    }

    #[test]
    fn another_holder_of_the_descriptor_sees_the_secret_and_its_end() {
        for mut memory in kinds() {
            memory.expose_mut().copy_from_slice(&[7; 32]);
            let protection = memory.protection();
            let fd = memory.as_fd().try_clone_to_owned().unwrap();
            let kept = memory.release();
            let mut again = SecretMemory::from_fd(kept).unwrap();
            assert_eq!(again.protection(), protection);
            assert_eq!(again.expose(), [7; 32]);
            assert_eq!(again.overwrite(), 32);
            assert_eq!(SecretMemory::from_fd(fd).unwrap().expose(), [0; 32]);
        }
    }

    #[test]
    fn dropping_overwrites() {
        for mut memory in kinds() {
            memory.expose_mut().fill(9);
            let fd = memory.as_fd().try_clone_to_owned().unwrap();
            drop(memory);
            assert_eq!(SecretMemory::from_fd(fd).unwrap().expose(), [0; 32]);
        }
    }

    #[test]
    fn it_cannot_be_shrunk_or_sealed_under_its_holder() {
        for memory in kinds() {
            assert!(rustix::fs::ftruncate(&memory, 1).is_err());
            assert!(rustix::fs::fcntl_add_seals(&memory, SealFlags::WRITE).is_err());
        }
    }

    #[test]
    fn other_descriptors_are_refused() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(32).unwrap();
        let refused = SecretMemory::from_fd(file.into());
        assert!(matches!(refused, Err(SecretError::NotSecretMemory)), "{refused:?}");
        let unsealed = rustix::fs::memfd_create("x", MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&unsealed, 32).unwrap();
        let refused = SecretMemory::from_fd(unsealed);
        assert!(matches!(refused, Err(SecretError::NotSecretMemory)), "{refused:?}");
        assert!(matches!(SecretMemory::create(0), Err(SecretError::Length { len: 0 })));
        assert!(matches!(SecretMemory::create(MAX_LEN + 1), Err(SecretError::Length { .. })));
    }

    #[test]
    fn debug_shows_no_secret() {
        let mut memory = SecretMemory::create(4).unwrap();
        memory.expose_mut().copy_from_slice(b"abcd");
        let text = format!("{memory:?}");
        assert!(text.contains("redacted") && !text.contains("97"), "{text}");
    }

    #[test]
    fn a_forked_child_has_no_mapping() {
        for memory in kinds() {
            let address = memory.address.as_ptr() as usize;
            // SAFETY: the child calls only async-signal-safe functions (msync, _exit).
            let pid = unsafe { libc::fork() };
            assert!(pid >= 0);
            if pid == 0 {
                let page = address & !0xfff;
                // SAFETY: msync on an unmapped page fails with ENOMEM; it writes nothing.
                let mapped = unsafe { libc::msync(page as *mut _, 4096, libc::MS_ASYNC) } == 0;
                // SAFETY: ends the child without running the parent's exit code.
                unsafe { libc::_exit(i32::from(mapped)) };
            }
            let mut status = 0;
            // SAFETY: waits for the child made above.
            assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
            assert_eq!(status, 0, "the child still maps {:?}", memory.protection());
        }
    }
}
