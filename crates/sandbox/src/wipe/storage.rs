//! Overwriting files of session storage in place.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use sessile_model::ByteSize;
use sessile_model::receipt::{Residue, WipeEvidence};

use super::extents::{Zeros, each_extent, overwrite_extents, page_size};
use super::walk::{Entry, open_entry, walk};

/// One file in so many is read back whole; of every file the first page is.
const READ_BACK_EVERY: u64 = 64;
/// Bytes read at once when reading back.
const READ_LEN: usize = 256 << 10;

/// Figures of an overwritten tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Overwritten {
    /// Bytes overwritten.
    pub bytes: u64,
    /// Files they were in; a file with several names counts once.
    pub files: u64,
    /// Bytes that were read back afterwards, all of them zero.
    pub read_back: u64,
    /// Files and folders that could not be opened, overwritten or read back as zeros.
    pub failed: u64,
    /// Names of files and folders, which stay until the storage is unmounted, and in freed memory
    /// after.
    pub names_left: u64,
    /// Symbolic links, whose targets stay in the same way.
    pub links_left: u64,
    /// Files and folders with extended attributes, which stay in the same way.
    pub attributes_left: u64,
    /// Mount points below, which were not entered: grants.
    pub mounts: u64,
}

impl Overwritten {
    /// The receipt's line for it.
    pub fn evidence(&self) -> WipeEvidence {
        if self.failed > 0 {
            let why = format!(
                "{} files or folders could not be overwritten, {} of {} were",
                self.failed,
                ByteSize(self.bytes),
                self.files
            );
            WipeEvidence::Failed { why }
        } else if self.bytes == 0 {
            WipeEvidence::NothingToDo
        } else {
            WipeEvidence::Overwritten { bytes: ByteSize(self.bytes), objects: self.files }
        }
    }

    /// The receipt's line for the names, links and attributes in it, if there are any.
    pub fn residue(&self) -> Option<Residue> {
        if self.names_left == 0 {
            return None;
        }
        let why = format!(
            "{} names of files, {} targets of links and the extended attributes of {} files are freed \
             by the kernel, not overwritten",
            self.names_left, self.links_left, self.attributes_left
        );
        Some(Residue {
            what: "names and attributes".to_owned(),
            why,
            mend: Some("boot with init_on_free=1".to_owned()),
        })
    }
}

/// Overwrites the content of every file below `root` with zeros, in place. The tree must be at
/// rest. Links are not followed, mounts not entered; modes that forbid access to their owner are
/// changed.
///
/// # Errors
/// When the root cannot be read or the tree changes meanwhile; what could not be overwritten
/// below it is counted.
pub fn overwrite_tree(root: BorrowedFd<'_>) -> io::Result<Overwritten> {
    let zeros = Zeros::new()?;
    let mut total = Overwritten::default();
    let mut seen = HashSet::new();
    let mut buffer = vec![0u8; READ_LEN];
    let unwalked = walk(root, &mut |entry| {
        total.names_left += 1;
        match entry.kind {
            FileType::RegularFile => {
                match overwrite_entry(&entry, &mut seen, &zeros, &mut buffer, &mut total) {
                    Ok(()) => {}
                    Err(Errno::XDEV) => total.mounts += 1,
                    Err(_) => total.failed += 1,
                }
            }
            FileType::Symlink => total.links_left += 1,
            // Sockets, pipes and devices hold nothing on the file system.
            FileType::Directory
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => {}
        }
    })?;
    total.mounts += unwalked.mounts;
    total.failed += unwalked.folders;
    Ok(total)
}

/// Overwrites one whole file, such as a terminal's ring; returns the bytes written.
///
/// # Errors
/// When it cannot be written (a memfd sealed against it) or does not read back as zeros.
pub fn overwrite_file(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let zeros = Zeros::new()?;
    let written = overwrite_extents(fd, &zeros)?;
    read_back(fd, u64::MAX, &zeros, &mut vec![0u8; READ_LEN])?;
    Ok(written)
}

fn overwrite_entry(
    entry: &Entry<'_>,
    seen: &mut HashSet<u64>,
    zeros: &Zeros,
    buffer: &mut [u8],
    total: &mut Overwritten,
) -> Result<(), Errno> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = open_entry(entry.folder, entry.name, flags)?;
    let stat = rustix::fs::fstat(&fd)?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFREG || (stat.st_nlink > 1 && !seen.insert(stat.st_ino)) {
        return Ok(());
    }
    if has_attributes(fd.as_fd()) {
        total.attributes_left += 1;
    }
    let errno = |e: io::Error| Errno::from_raw_os_error(e.raw_os_error().unwrap_or(libc::EIO));
    total.bytes += overwrite_extents(fd.as_fd(), zeros).map_err(errno)?;
    let most = if total.files.is_multiple_of(READ_BACK_EVERY) { u64::MAX } else { page_size() };
    total.files += 1;
    total.read_back += read_back(fd.as_fd(), most, zeros, buffer).map_err(errno)?;
    Ok(())
}

/// Whether a file has attributes of its own; labels of security modules are not the app's.
fn has_attributes(fd: BorrowedFd<'_>) -> bool {
    let mut names = [0u8; 512];
    match rustix::fs::flistxattr(fd, &mut names) {
        Ok(len) => {
            names[..len].split(|&b| b == 0).any(|n| n.starts_with(b"user.") || n.starts_with(b"trusted."))
        }
        // A longer list cannot be labels alone.
        Err(e) => e == Errno::RANGE,
    }
}

/// Reads up to `most` bytes of a file's extents; returns how many, all of them zero.
fn read_back(fd: BorrowedFd<'_>, most: u64, zeros: &Zeros, buffer: &mut [u8]) -> io::Result<u64> {
    let size = rustix::fs::fstat(fd)?.st_size as u64;
    let mut total = 0;
    if size <= most.min(page_size()) {
        // One page: asking for its extents costs more than reading it.
        return read_back_run(fd, 0, size, zeros, buffer);
    }
    each_extent(fd, size, |start, end| {
        let end = end.min(start.saturating_add(most - total)).min(size);
        if start < end {
            total += read_back_run(fd, start, end, zeros, buffer)?;
        }
        Ok(())
    })?;
    Ok(total)
}

fn read_back_run(
    fd: BorrowedFd<'_>,
    start: u64,
    end: u64,
    zeros: &Zeros,
    buffer: &mut [u8],
) -> io::Result<u64> {
    let mut at = start;
    while at < end {
        let len = buffer.len().min((end - at) as usize);
        let n = rustix::io::pread(fd, &mut buffer[..len], at)?;
        if n == 0 {
            break;
        }
        if buffer[..n] != zeros.bytes()[..n] {
            buffer.fill(0);
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        }
        at += n as u64;
    }
    Ok(at - start)
}
