//! Overwriting a file's allocated extents with zeros.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// Length of [`Zeros`] in bytes.
pub(super) const ZEROS_LEN: usize = 1 << 20;

/// A read-only run of zeros to write from. All its pages are the kernel's one zero page, so that
/// it costs no memory and stays in the first-level cache.
pub struct Zeros(NonNull<u8>);

// SAFETY: the mapping is read-only and belongs to this value.
unsafe impl Send for Zeros {}

impl Zeros {
    /// Maps the zeros.
    ///
    /// # Errors
    /// When the system refuses the mapping.
    pub fn new() -> io::Result<Self> {
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                ZEROS_LEN,
                libc::PROT_READ,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(address.cast()).map(Self).ok_or_else(|| io::Error::from_raw_os_error(libc::EFAULT))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: mapped readable for ZEROS_LEN bytes as long as `self` lives, never written.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr(), ZEROS_LEN) }
    }
}

impl Drop for Zeros {
    fn drop(&mut self) {
        // SAFETY: this value's own mapping.
        unsafe { libc::munmap(self.0.as_ptr().cast(), ZEROS_LEN) };
    }
}

impl fmt::Debug for Zeros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Zeros")
    }
}

pub(super) fn page_size() -> u64 {
    rustix::param::page_size() as u64
}

/// Calls `each` with the start and end of every allocated extent below `size`.
pub(super) fn each_extent(
    fd: BorrowedFd<'_>,
    size: u64,
    mut each: impl FnMut(u64, u64) -> io::Result<()>,
) -> io::Result<()> {
    let mut at = 0;
    while at < size {
        let start = match rustix::fs::seek(fd, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(e) => return Err(e.into()),
        };
        let end = match rustix::fs::seek(fd, SeekFrom::Hole(start)) {
            Ok(end) => end,
            Err(Errno::NXIO) => size,
            Err(e) => return Err(e.into()),
        };
        each(start, end)?;
        at = end;
    }
    Ok(())
}

/// Overwrites every allocated page of a file in place, the last one to its end: a mapping can
/// have put data behind the end of the file. Returns the bytes written. May grow the file to a
/// whole page.
pub(super) fn overwrite_extents(fd: BorrowedFd<'_>, zeros: &Zeros) -> io::Result<u64> {
    let stat = rustix::fs::fstat(fd)?;
    let (size, allocated) = (stat.st_size as u64, stat.st_blocks as u64 * 512);
    if size == 0 || allocated == 0 {
        return Ok(0);
    }
    let mut written = 0;
    let mut last_end = 0;
    if allocated >= size {
        written += write_zeros(fd, 0, size, zeros)?;
        last_end = size;
    } else {
        each_extent(fd, size, |start, end| {
            last_end = end;
            written += write_zeros(fd, start, end.min(size), zeros)?;
            Ok(())
        })?;
    }
    let page = page_size();
    if last_end >= size && !size.is_multiple_of(page) {
        let end = size.next_multiple_of(page);
        written += match write_zeros(fd, size, end, zeros) {
            Ok(n) => n,
            // Sealed against growing, or at a limit of size: the mapped page reaches as far.
            Err(_) => clear_mapped_page(fd, size, page)?,
        };
    }
    Ok(written)
}

fn write_zeros(fd: BorrowedFd<'_>, start: u64, end: u64, zeros: &Zeros) -> io::Result<u64> {
    let mut at = start;
    while at < end {
        let len = (end - at).min(ZEROS_LEN as u64) as usize;
        match rustix::io::pwrite(fd, &zeros.bytes()[..len], at) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero)),
            Ok(n) => at += n as u64,
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(end - start)
}

/// Clears the page that holds byte `at` from there to its end, through a mapping.
fn clear_mapped_page(fd: BorrowedFd<'_>, at: u64, page: u64) -> io::Result<u64> {
    let inside = (at % page) as usize;
    let len = page as usize;
    // SAFETY: a fresh shared mapping of one page of the file at an address of the kernel's choice.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            fd.as_raw_fd(),
            (at - inside as u64) as libc::off_t,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the page holds the file's last byte, so it exists; the range is inside the mapping,
    // which nothing else refers to and which ends here.
    unsafe {
        std::ptr::write_bytes(address.cast::<u8>().add(inside), 0, len - inside);
        libc::munmap(address, len);
    }
    Ok((len - inside) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, SealFlags};
    use std::fs::File;
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::FileExt as _;

    fn memfd() -> File {
        rustix::fs::memfd_create("extents", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC).unwrap().into()
    }

    /// Puts a byte behind the end of the file, in its last page.
    fn hide_behind_end(file: &File, offset: usize) -> u8 {
        // SAFETY: maps one page of a file that has it.
        unsafe {
            let p = libc::mmap(std::ptr::null_mut(), 4096, 3, libc::MAP_SHARED, file.as_raw_fd(), 0);
            assert_ne!(p, libc::MAP_FAILED);
            let p = p.cast::<u8>().add(offset);
            *p = 77;
            *p
        }
    }

    fn byte_in_last_page(file: &File, offset: usize) -> u8 {
        // SAFETY: maps one page of a file that has it.
        unsafe {
            let p = libc::mmap(std::ptr::null_mut(), 4096, 1, libc::MAP_SHARED, file.as_raw_fd(), 0);
            assert_ne!(p, libc::MAP_FAILED);
            *p.cast::<u8>().add(offset)
        }
    }

    #[test]
    fn holes_stay_holes_and_data_goes() {
        let file = memfd();
        file.write_all_at(b"first", 10).unwrap();
        file.write_all_at(b"second", 100 << 30).unwrap();
        let before = rustix::fs::fstat(&file).unwrap().st_blocks;
        let written = overwrite_extents(file.as_fd(), &Zeros::new().unwrap()).unwrap();
        assert_eq!(written, 8192);
        assert_eq!(rustix::fs::fstat(&file).unwrap().st_blocks, before);
        let mut back = [1u8; 16];
        for at in [0, 100 << 30] {
            file.read_exact_at(&mut back, at).unwrap();
            assert_eq!(back, [0; 16]);
        }
    }

    #[test]
    fn bytes_hidden_behind_the_end_go_too() {
        for seals in [SealFlags::empty(), SealFlags::GROW] {
            let file = memfd();
            file.write_all_at(b"data", 0).unwrap();
            assert_eq!(hide_behind_end(&file, 3000), 77);
            rustix::fs::fcntl_add_seals(&file, seals).unwrap();
            assert_eq!(overwrite_extents(file.as_fd(), &Zeros::new().unwrap()).unwrap(), 4096);
            assert_eq!(byte_in_last_page(&file, 3000), 0, "{seals:?}");
        }
    }

    #[test]
    fn a_sealed_file_is_an_error() {
        let file = memfd();
        file.write_all_at(b"data", 0).unwrap();
        rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE).unwrap();
        let refused = overwrite_extents(file.as_fd(), &Zeros::new().unwrap()).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
    }
}
