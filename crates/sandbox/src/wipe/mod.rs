//! Overwriting what a session leaves in memory, and looking for what is left.
//!
//! | module | subject |
//! |---|---|
//! | [`memory`] | the memory of frozen processes |
//! | [`open_files`] | memfds and unlinked files that processes hold open |
//! | [`storage`] | a tree of files on session storage; single files such as rings |
//! | [`canary`], [`scan`] | planting and finding a pattern, to prove the others |
//!
//! Overwriting happens in place: killing a process or unmounting a tmpfs gives the pages back to
//! the kernel with their content. What cannot be overwritten is counted, never passed over.

pub mod canary;
mod extents;
pub(crate) mod maps;
pub mod memory;
pub mod open_files;
mod pages;
mod report;
pub mod scan;
pub mod storage;
mod walk;

use std::collections::{HashMap, HashSet};
use std::io;

use rustix::fs::MemfdFlags;
use thiserror::Error;

pub use canary::{Canary, Encoding};
pub use extents::Zeros;
pub use report::{ScrubReport, Skipped};
pub use scan::{Hit, Place};
pub use storage::{Overwritten, overwrite_file, overwrite_tree};

/// What kinds of memory a scrub overwrites. Production overwrites [`ScrubKinds::ALL`]; tests
/// leave one out to see that it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubKinds(u8);

impl ScrubKinds {
    /// Private pages of writable mappings: heap, stack, environment, copied file pages.
    pub const PRIVATE: Self = Self(1);
    /// Private pages of mappings that are not writable now.
    pub const READ_ONLY: Self = Self(2);
    /// Shared mappings of memory: anonymous, memfd, System V, session storage.
    pub const SHARED: Self = Self(4);
    /// Memfds held open.
    pub const MEMFDS: Self = Self(8);
    /// Unlinked files of session storage held open.
    pub const UNLINKED: Self = Self(16);
    /// All of them.
    pub const ALL: Self = Self(31);

    /// All of these but `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether `other` is among them.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A file's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// `st_dev` of its file system.
    pub dev: u64,
    /// Its inode number.
    pub ino: u64,
}

/// What to overwrite and what to leave alone.
#[derive(Clone, Debug)]
pub struct ScrubPlan {
    /// Kinds to overwrite.
    pub kinds: ScrubKinds,
    /// `st_dev` of the session's own tmpfs. Files of other file systems are grants: outside.
    pub storage: Vec<u64>,
    /// Memfds that hold nothing of an app's, such as the image that inits are executed from.
    pub spare: Vec<FileId>,
    /// Most bytes that may be newly allocated to reach pages of shared memory that exist but are
    /// mapped by nobody. Needed only where `/proc/PID/map_files` is closed (without root).
    pub fill_limit: u64,
}

impl ScrubPlan {
    /// Everything, for a session whose storage is on these devices.
    pub fn new(storage: Vec<u64>) -> Self {
        Self { kinds: ScrubKinds::ALL, storage, spare: Vec::new(), fill_limit: 16 << 20 }
    }
}

/// Why a process could not be scrubbed or scanned.
#[derive(Debug, Error)]
pub enum ScrubError {
    /// It has ended: the kernel took its memory back as it was.
    #[error("the process has ended")]
    Gone,
    /// This process may not touch it.
    #[error("no access to the process ({what})")]
    Denied {
        /// The file of `/proc/PID` or the call that was refused.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The system failed otherwise.
    #[error("{what}")]
    System {
        /// The file of `/proc/PID` or the call that failed.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl ScrubError {
    fn from_io(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| match source.raw_os_error() {
            Some(libc::ESRCH | libc::ENOENT) => Self::Gone,
            Some(libc::EACCES | libc::EPERM) => Self::Denied { what, source },
            Some(_) | None => Self::System { what, source },
        }
    }
}

/// One scrub over the processes of a session, which remembers what it has overwritten already:
/// shared memory is overwritten once, not once per process.
#[derive(Debug)]
pub struct Scrub {
    plan: ScrubPlan,
    /// Devices whose files are memory and die with their last user.
    memory_devices: Vec<u64>,
    /// Files overwritten as a whole.
    done: HashSet<FileId>,
    /// Pages overwritten through mappings, by file: one bit per page.
    covered: HashMap<FileId, Vec<u64>>,
    fill_left: u64,
    zeros: Zeros,
}

impl Scrub {
    /// Prepares a scrub.
    ///
    /// # Errors
    /// When the system refuses a memfd, which tells the device of the kernel's own tmpfs.
    pub fn new(plan: ScrubPlan) -> Result<Self, ScrubError> {
        let mut memory_devices =
            vec![memfd_device(MemfdFlags::empty()).map_err(ScrubError::from_io("memfd_create"))?];
        // A kernel without huge pages has no such memory either.
        memory_devices.extend(memfd_device(MemfdFlags::HUGETLB).ok());
        Ok(Self {
            fill_left: plan.fill_limit,
            plan,
            memory_devices,
            done: HashSet::new(),
            covered: HashMap::new(),
            zeros: Zeros::new().map_err(ScrubError::from_io("mmap"))?,
        })
    }

    fn is_storage(&self, dev: u64) -> bool {
        self.plan.storage.contains(&dev)
    }

    fn is_memory(&self, dev: u64) -> bool {
        self.memory_devices.contains(&dev)
    }
}

/// Whether the kernel tells quickly which pages of a process exist (`PAGEMAP_SCAN`, Linux 6.7).
/// Without it, overwriting a sparse mapping takes time in proportion to its size.
pub fn has_page_scan() -> bool {
    pages::PageMap::open(rustix::process::getpid()).is_ok_and(|map| map.has_scan())
}

/// The device of the file system that the kernel makes memfds and shared mappings on.
fn memfd_device(kind: MemfdFlags) -> io::Result<u64> {
    let fd = rustix::fs::memfd_create("device", kind | MemfdFlags::CLOEXEC)?;
    Ok(rustix::fs::fstat(&fd)?.st_dev)
}
