//! Programs as sealed memory files, so that what runs is what was built, whatever happens to the
//! files on disk.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd, OwnedFd};

use crate::sys;

const MFD_EXEC: u32 = 0x10;
const F_SEAL_EXEC: i32 = 0x20;

/// Makes an executable memory file of these bytes that can no longer be changed.
///
/// `name` shows in `/proc` only. The descriptor is closed at exec.
///
/// # Errors
/// `InvalidInput` for a name with a NUL; otherwise what the system says.
pub fn seal(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let name = CString::new(name).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name is a C string that outlives the calls.
    let create = |flags| sys::owned(unsafe { libc::memfd_create(name.as_ptr(), flags) });
    // Linux before 6.3 knows no MFD_EXEC and makes every memory file executable.
    let file = create(flags | MFD_EXEC).or_else(|_| create(flags))?;
    let mut file = File::from(file);
    file.write_all(bytes)?;
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: F_ADD_SEALS takes a number and touches no memory.
    let add = |seals: i32| sys::check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) });
    add(seals | F_SEAL_EXEC).or_else(|_| add(seals))?;
    add(libc::F_SEAL_SEAL)?;
    page_out(bytes);
    Ok(file.into())
}

/// Tells the kernel that these bytes are not needed in memory for now: a program that embeds
/// images reads them once. They stay what they are; at worst nothing happens.
fn page_out(bytes: &[u8]) {
    const PAGE: usize = 4096;
    let start = bytes.as_ptr().addr().next_multiple_of(PAGE);
    let end = (bytes.as_ptr().addr() + bytes.len()) & !(PAGE - 1);
    if start < end {
        let first = bytes.as_ptr().with_addr(start).cast_mut().cast();
        // SAFETY: whole pages within a live slice; MADV_PAGEOUT (madvise(2)) keeps their content.
        unsafe { libc::madvise(first, end - start, libc::MADV_PAGEOUT) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Seek as _;

    #[test]
    fn an_image_runs_and_cannot_be_changed() {
        let bytes = std::fs::read("/bin/true").unwrap();
        let image = seal("test-image", &bytes).unwrap();
        let path = format!("/proc/self/fd/{}", image.as_raw_fd());
        // The child opens the path before its exec closes the descriptor.
        assert!(std::process::Command::new(path).status().unwrap().success());
        let mut file = File::from(image);
        file.rewind().unwrap();
        assert!(file.write_all(b"x").is_err());
        assert!(file.set_len(0).is_err());
    }
}
