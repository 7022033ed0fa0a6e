//! Looking for a canary in processes and files.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::FileExt as _;
use std::ptr::NonNull;

use rustix::fs::{FileType, OFlags};
use rustix::process::Pid;

use super::canary::{Canary, Encoding, MAX_LEN};
use super::extents::each_extent;
use super::open_files::{open_files, reopen};
use super::pages::{PageMap, Want};
use super::walk::{open_entry, walk};
use super::{ScrubError, maps};

const BUFFER_LEN: usize = 1 << 20;
/// Hits after which a search stops: it has been shown by then.
const MAX_HITS: usize = 10_000;

/// Where a canary was found.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// In a process's memory.
    Memory {
        /// The process.
        pid: i32,
        /// Address of its first byte.
        address: u64,
        /// The mapping's permissions and name, as `/proc/PID/maps` has them.
        mapping: String,
    },
    /// In a file's content.
    Content {
        /// Where the file is.
        path: String,
        /// Offset of its first byte.
        offset: u64,
    },
    /// In a file's name.
    Name {
        /// Folder of the file.
        folder: String,
    },
    /// In the target of a symbolic link.
    LinkTarget {
        /// The link.
        path: String,
    },
    /// In an extended attribute.
    Attribute {
        /// The file.
        path: String,
    },
}

/// A canary that was found.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hit {
    /// Where.
    pub place: Place,
    /// How it was written there.
    pub encoding: Encoding,
}

/// The buffer that is searched: a mapping of its own, so that a search of this very process can
/// leave it out, and cleared at the end.
struct Buffer(NonNull<u8>);

impl Buffer {
    fn new() -> io::Result<Self> {
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                BUFFER_LEN,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(address.cast()).map(Self).ok_or_else(|| io::Error::from_raw_os_error(libc::EFAULT))
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: mapped for BUFFER_LEN bytes as long as `self` lives; `&mut self` makes it the
        // only reference.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_ptr(), BUFFER_LEN) }
    }

    /// The parts of an address range that are not this buffer.
    fn cut_out(&self, start: u64, end: u64) -> [(u64, u64); 2] {
        let own = self.0.as_ptr() as u64;
        let own_end = own + BUFFER_LEN as u64;
        if end <= own || start >= own_end {
            [(start, end), (end, end)]
        } else {
            [(start, own), (own_end, end)]
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.bytes().fill(0);
        std::hint::black_box(self.0);
        // SAFETY: this value's own mapping.
        unsafe { libc::munmap(self.0.as_ptr().cast(), BUFFER_LEN) };
    }
}

/// Searches `start..end` of something that `read` reads, in overlapping pieces. `read` returns 0
/// for what cannot be read.
fn search(
    canary: &Canary,
    buffer: &mut Buffer,
    (start, end): (u64, u64),
    mut read: impl FnMut(&mut [u8], u64) -> usize,
    mut hit: impl FnMut(u64, Encoding),
) {
    let mut seen = BTreeSet::new();
    let mut at = start;
    while at < end {
        let len = (BUFFER_LEN as u64).min(end - at) as usize;
        let bytes = buffer.bytes();
        let mut got = 0;
        while got < len {
            match read(&mut bytes[got..len], at + got as u64) {
                0 => break,
                n => got += n,
            }
        }
        canary.find(&bytes[..got], &mut |offset, encoding| {
            let found = at + offset as u64;
            // Pieces overlap, so that one over their border is found; what lies in the overlap
            // is found twice.
            if seen.len() < MAX_HITS && seen.insert((found, encoding)) {
                hit(found, encoding);
            }
        });
        at += if got < len {
            // Behind what cannot be read: the next page.
            (got as u64 + 1).next_multiple_of(super::extents::page_size())
        } else if at + (len as u64) < end {
            (len - (MAX_LEN - 1)) as u64 & !7
        } else {
            len as u64
        };
    }
}

/// Searches all memory of a process that exists, also what it may not read itself. Works on this
/// very process, too.
///
/// # Errors
/// When the process has ended or may not be read.
pub fn scan_process(pid: Pid, canary: &Canary) -> Result<Vec<Hit>, ScrubError> {
    let mut buffer = Buffer::new().map_err(ScrubError::from_io("mmap"))?;
    let mappings = maps::read(pid)?;
    let mut hits = Vec::new();
    if mappings.is_empty() {
        return Ok(hits);
    }
    let raw = pid.as_raw_pid();
    let mem = File::open(format!("/proc/{raw}/mem")).map_err(ScrubError::from_io("mem"))?;
    let pages = PageMap::open(pid)?;
    let own = rustix::process::getpid() == pid;
    let shared_device = memory_device().map_err(ScrubError::from_io("memfd_create"))?;
    for mapping in mappings {
        if mapping.is_kernel_page() || mapping.name.starts_with("/secretmem") {
            continue;
        }
        // Shared memory may exist without being in this process's page tables.
        if mapping.shared
            && mapping.file.dev == shared_device
            && let Ok(file) =
                File::open(format!("/proc/{raw}/map_files/{:x}-{:x}", mapping.start, mapping.end))
        {
            let path = format!("process {raw}: {}", mapping.name);
            hits.extend(
                scan_content(file.as_fd(), &path, canary, &mut buffer)
                    .map_err(ScrubError::from_io("map_files"))?,
            );
        }
        let runs = match pages.runs(mapping.start, mapping.end, Want::Any) {
            // A process that is not frozen may have unmapped it meanwhile.
            Err(e) if e.raw_os_error() == Some(libc::EFAULT) => continue,
            other => other.map_err(ScrubError::from_io("pagemap"))?,
        };
        for run in runs {
            let parts = if own {
                buffer.cut_out(run.start, run.end)
            } else {
                [(run.start, run.end), (run.end, run.end)]
            };
            for part in parts {
                let read = |bytes: &mut [u8], at| mem.read_at(bytes, at).unwrap_or(0);
                search(canary, &mut buffer, part, read, |address, encoding| {
                    let access = if mapping.shared { "shared" } else { "private" };
                    let mapping = format!("{access} {}", mapping.name);
                    hits.push(Hit { place: Place::Memory { pid: raw, address, mapping }, encoding });
                });
            }
        }
    }
    Ok(hits)
}

/// Searches the content of the regular files that a process holds open, except those of file
/// systems other than `devices`.
///
/// # Errors
/// When the process has ended or may not be looked into.
pub fn scan_open_files(pid: Pid, devices: &[u64], canary: &Canary) -> Result<Vec<Hit>, ScrubError> {
    let mut hits = Vec::new();
    let mut seen = BTreeSet::new();
    for file in open_files(pid)? {
        if !devices.contains(&file.stat.st_dev) || !seen.insert(file.id()) {
            continue;
        }
        let fd = reopen(&file, OFlags::RDONLY).map_err(ScrubError::from_io("fd"))?;
        hits.extend(scan_file(fd.as_fd(), &file.path, canary).map_err(ScrubError::from_io("fd"))?);
    }
    Ok(hits)
}

/// The device of memfds and shared memory, for [`scan_open_files`].
///
/// # Errors
/// When the system refuses a memfd.
pub fn memory_device() -> io::Result<u64> {
    super::memfd_device(rustix::fs::MemfdFlags::empty())
}

/// Searches the content of one file, called `path` in hits.
///
/// # Errors
/// When it cannot be read.
pub fn scan_file(fd: BorrowedFd<'_>, path: &str, canary: &Canary) -> io::Result<Vec<Hit>> {
    scan_content(fd, path, canary, &mut Buffer::new()?)
}

fn scan_content(
    fd: BorrowedFd<'_>,
    path: &str,
    canary: &Canary,
    buffer: &mut Buffer,
) -> io::Result<Vec<Hit>> {
    let size = rustix::fs::fstat(fd)?.st_size as u64;
    let mut hits = Vec::new();
    let mut failed = None;
    each_extent(fd, size, |start, end| {
        let read = |bytes: &mut [u8], at| match rustix::io::pread(fd, bytes, at) {
            Ok(n) => n,
            Err(e) => {
                failed = Some(io::Error::from(e));
                0
            }
        };
        search(canary, buffer, (start, end), read, |offset, encoding| {
            hits.push(Hit { place: Place::Content { path: path.to_owned(), offset }, encoding });
        });
        Ok(())
    })?;
    match failed {
        Some(e) => Err(e),
        None => Ok(hits),
    }
}

/// Searches a tree: contents, names, targets of links, attributes. Does not enter mounts.
///
/// # Errors
/// When a folder or file of it cannot be read: a search must not pass over anything.
pub fn scan_tree(root: BorrowedFd<'_>, canary: &Canary) -> io::Result<Vec<Hit>> {
    let mut buffer = Buffer::new()?;
    let mut hits = Vec::new();
    let mut failed: Option<io::Error> = None;
    let unwalked = walk(root, &mut |entry| {
        let folder = || String::from_utf8_lossy(entry.path).into_owned();
        let path = || format!("{}{}", folder(), entry.name.to_string_lossy());
        let mut look = |bytes: &[u8], place: Place| {
            canary.find(bytes, &mut |_, encoding| hits.push(Hit { place: place.clone(), encoding }));
        };
        look(entry.name.to_bytes(), Place::Name { folder: folder() });
        if entry.kind == FileType::Symlink {
            match rustix::fs::readlinkat(entry.folder, entry.name, Vec::new()) {
                Ok(target) => look(target.to_bytes(), Place::LinkTarget { path: path() }),
                Err(e) => failed = Some(e.into()),
            }
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        if matches!(entry.kind, FileType::RegularFile | FileType::Directory) {
            let searched = match open_entry(entry.folder, entry.name, flags) {
                Ok(fd) => {
                    for value in attributes(fd.as_fd()) {
                        look(&value, Place::Attribute { path: path() });
                    }
                    if entry.kind == FileType::RegularFile {
                        scan_content(fd.as_fd(), &path(), canary, &mut buffer)
                    } else {
                        Ok(Vec::new())
                    }
                }
                // A mount: not of this tree.
                Err(rustix::io::Errno::XDEV) => Ok(Vec::new()),
                Err(e) => Err(e.into()),
            };
            match searched {
                Ok(found) => hits.extend(found),
                Err(e) => failed = Some(e),
            }
        }
    })?;
    if unwalked.folders > 0 {
        failed = Some(io::Error::from(io::ErrorKind::PermissionDenied));
    }
    match failed {
        Some(e) => Err(e),
        None => Ok(hits),
    }
}

/// Names and values of a file's extended attributes.
fn attributes(fd: BorrowedFd<'_>) -> Vec<Vec<u8>> {
    let mut names = vec![0u8; 64 << 10];
    let Ok(len) = rustix::fs::flistxattr(fd, &mut names) else { return Vec::new() };
    names.truncate(len);
    let mut found = vec![names.clone()];
    for name in names.split(|&b| b == 0).filter(|n| !n.is_empty()) {
        let mut value = vec![0u8; 64 << 10];
        if let Ok(len) = rustix::fs::fgetxattr(fd, name, &mut value) {
            value.truncate(len);
            found.push(value);
        }
    }
    found
}

impl fmt::Display for Hit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encoding = self.encoding;
        match &self.place {
            Place::Memory { pid, address, mapping } => {
                write!(f, "{encoding:?} at {address:#x} of process {pid} ({mapping})")
            }
            Place::Content { path, offset } => write!(f, "{encoding:?} at {offset} of {path}"),
            Place::Name { folder } => write!(f, "{encoding:?} in a name in {folder:?}"),
            Place::LinkTarget { path } => write!(f, "{encoding:?} in the target of {path}"),
            Place::Attribute { path } => write!(f, "{encoding:?} in an attribute of {path}"),
        }
    }
}
