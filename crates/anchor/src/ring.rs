//! A terminal's output in shared memory: bounded, with offsets that only grow.
//!
//! One process at a time writes, straight from the source with readv(2): the anchor, or a keeper that
//! borrowed its turn. Any number read. The memory file is a header of 4096 bytes, then `capacity` bytes; the byte at offset `n` of the
//! output lies at `n % capacity`.
//!
//! ```text
//!  0  u64  magic                     32  u64  floor   u64::MAX: none
//!  8  u64  version, 1                40  u64  claimed
//! 16  u64  capacity                  48  u32  ended   0 or 1
//! 24  u64  head                      52  u32  stopped 0 or 1
//! 56  u32  turn, 0 to 5              60  u32  borrowed
//! ```
//!
//! `head` counts the bytes ever written. Before the kernel touches any byte, the writer raises
//! `claimed` to the offset that this write may reach, so that a reader can tell after copying
//! which of its bytes may have been overwritten meanwhile. Bytes at or behind `floor` are not
//! overwritten: the writer stops at `floor + capacity` and sets `stopped` until it tries again.
//! Writer and reader each store their own word (`claimed`, `floor`) before they load the other's,
//! all sequentially consistent, so one of them always sees the other. `turn` and `borrowed` say who writes:
//! an anchor of before that does not know them leaves them at zero, which nobody may borrow.

mod turn;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};

use thiserror::Error;

use crate::sys;

/// Capacity of a ring unless something else is asked for, in bytes.
pub const DEFAULT_CAPACITY: u64 = 1 << 20;
/// Largest capacity in bytes.
pub const MAX_CAPACITY: u64 = 1 << 30;

const MAGIC: u64 = u64::from_le_bytes(*b"SESSRING");
const VERSION: u64 = 1;
const HEADER: usize = 4096;
/// Most bytes of one write: what a reader at the far end of a full ring may lose to it early.
const BATCH: u64 = 64 << 10;
const SEALS: i32 = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW;

#[repr(C)]
struct Header {
    magic: AtomicU64,
    version: AtomicU64,
    capacity: AtomicU64,
    head: AtomicU64,
    floor: AtomicU64,
    claimed: AtomicU64,
    ended: AtomicU32,
    stopped: AtomicU32,
    turn: AtomicU32,
    borrowed: AtomicU32,
}

/// Why a descriptor is no whole ring.
#[derive(Debug, Error)]
pub enum RingError {
    /// It could not be examined or mapped.
    #[error("the ring's memory file")]
    System(#[from] io::Error),
    /// It could shrink under its readers.
    #[error("the ring's memory file is not sealed against changes of size")]
    NotSealed,
    /// The magic number is wrong.
    #[error("not a ring")]
    NotARing,
    /// Another version's.
    #[error("a ring of version {0}")]
    Version(u64),
    /// No power of two, out of range, or not what the file's size says.
    #[error("a ring of capacity {capacity} in a file of {size} bytes")]
    Capacity {
        /// As the header has it.
        capacity: u64,
        /// The file's size.
        size: u64,
    },
    /// A counter or flag has a value that no writer gives it.
    #[error("the ring's {0} is damaged")]
    Damaged(&'static str),
}

/// What [`Ring::read`] copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadOutcome {
    /// Offset of the first byte: later than asked for if bytes were overwritten.
    pub start: u64,
    /// Bytes copied.
    pub len: usize,
}

/// What one [`Ring::write_from`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// So many bytes were read from the source.
    Bytes(usize),
    /// The floor leaves no room: the source was not read.
    Full,
    /// The source has nothing now.
    WouldBlock,
    /// The source is at its end, or a terminal that no program has open.
    Ended,
}

/// A mapped ring.
pub struct Ring {
    base: NonNull<u8>,
    capacity: u64,
    file: OwnedFd,
}

// SAFETY: the mapping is shared memory by nature; all access to it is atomic or by the kernel, and
// nothing is bound to a thread.
unsafe impl Send for Ring {}
// SAFETY: as above; `&self` methods only use atomics, and two writers at once would garble bytes,
// not memory.
unsafe impl Sync for Ring {}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("capacity", &self.capacity).field("head", &self.head()).finish()
    }
}

impl Ring {
    /// Makes an empty ring and the descriptor by which others open it. Memory is taken as it is
    /// written.
    ///
    /// # Errors
    /// `InvalidInput` unless `capacity` is a power of two, a multiple of the page size and at most
    /// [`MAX_CAPACITY`]; otherwise what the system says.
    pub fn create(capacity: u64) -> io::Result<(Self, OwnedFd)> {
        if !is_capacity(capacity) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
        const NOEXEC_SEAL: u32 = 0x8;
        // SAFETY: the name is a C string literal.
        let create = |flags| sys::owned(unsafe { libc::memfd_create(c"sessile-ring".as_ptr(), flags) });
        // Linux before 6.3 does not know the flag.
        let file = create(flags | NOEXEC_SEAL).or_else(|_| create(flags))?;
        let size = HEADER as u64 + capacity;
        // SAFETY: both calls take numbers only.
        unsafe {
            sys::check(libc::ftruncate(file.as_raw_fd(), size as libc::off_t))?;
            sys::check(libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, SEALS | libc::F_SEAL_SEAL))?;
        }
        let ring = Self::map(sys::duplicate(file.as_fd())?, capacity)?;
        let header = ring.header();
        header.version.store(VERSION, Ordering::Relaxed);
        header.capacity.store(capacity, Ordering::Relaxed);
        header.floor.store(u64::MAX, Ordering::Relaxed);
        header.magic.store(MAGIC, Ordering::Release);
        Ok((ring, file))
    }

    /// Maps a ring that another process made, after checking every field of its header.
    ///
    /// # Errors
    /// [`RingError`] when it is not a whole ring.
    pub fn open(fd: BorrowedFd<'_>) -> Result<Self, RingError> {
        // SAFETY: F_GET_SEALS takes and returns numbers only.
        let seals = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GET_SEALS) };
        if seals == -1 || seals & SEALS != SEALS {
            return Err(RingError::NotSealed);
        }
        let size = size_of_file(fd)?;
        let capacity = size.saturating_sub(HEADER as u64);
        if !is_capacity(capacity) {
            return Err(RingError::Capacity { capacity, size });
        }
        let ring = Self::map(sys::duplicate(fd)?, capacity)?;
        let header = ring.header();
        if header.magic.load(Ordering::Acquire) != MAGIC {
            return Err(RingError::NotARing);
        }
        let version = header.version.load(Ordering::Relaxed);
        if version != VERSION {
            return Err(RingError::Version(version));
        }
        let capacity = header.capacity.load(Ordering::Relaxed);
        if capacity != ring.capacity {
            return Err(RingError::Capacity { capacity, size });
        }
        // In this order: `head` may grow between the two loads, which the check allows for.
        let claimed = header.claimed.load(Ordering::SeqCst);
        let head = header.head.load(Ordering::SeqCst);
        if head > u64::MAX / 2 {
            return Err(RingError::Damaged("head"));
        }
        if claimed > head + capacity {
            return Err(RingError::Damaged("claim"));
        }
        let floor = header.floor.load(Ordering::Relaxed);
        if floor != u64::MAX && floor > u64::MAX / 2 {
            return Err(RingError::Damaged("floor"));
        }
        if header.ended.load(Ordering::Relaxed) > 1 || header.stopped.load(Ordering::Relaxed) > 1 {
            return Err(RingError::Damaged("flags"));
        }
        if header.turn.load(Ordering::Relaxed) > turn::LAST {
            return Err(RingError::Damaged("turn"));
        }
        Ok(ring)
    }

    /// Bytes ever written: the offset of the next one.
    pub fn head(&self) -> u64 {
        self.header().head.load(Ordering::Acquire)
    }

    /// Offset of the oldest byte that is still whole.
    pub fn oldest(&self) -> u64 {
        let claimed = self.header().claimed.load(Ordering::SeqCst);
        claimed.max(self.head()).saturating_sub(self.capacity)
    }

    /// Bytes that it holds at most.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Whether the source was at its end when it was last read.
    pub fn ended(&self) -> bool {
        self.header().ended.load(Ordering::Acquire) != 0
    }

    /// Whether a writer bound by the floor could write nothing now.
    pub fn is_full(&self) -> bool {
        let limit = self.header().floor.load(Ordering::SeqCst).saturating_add(self.capacity);
        self.head() >= limit
    }

    /// Copies bytes from offset `from` on. What may have been overwritten is left out, and
    /// `start` says so. Nothing is copied at the head or beyond.
    pub fn read(&self, from: u64, out: &mut [u8]) -> ReadOutcome {
        let mut start = from;
        // A writer may overtake a slow copy; each further round starts where it had got to.
        for _ in 0..16 {
            let head = self.head();
            if start >= head {
                break;
            }
            start = start.max(self.oldest());
            let whole = usize::try_from(head.saturating_sub(start)).unwrap_or(usize::MAX);
            let len = whole.min(out.len());
            self.copy_out(start, &mut out[..len]);
            fence(Ordering::Acquire);
            let lost = usize::try_from(self.oldest().saturating_sub(start)).unwrap_or(usize::MAX);
            if lost < len {
                out.copy_within(lost..len, 0);
                return ReadOutcome { start: start.saturating_add(lost as u64), len: len - lost };
            }
            if len == 0 {
                break;
            }
        }
        ReadOutcome { start, len: 0 }
    }

    /// The offset that was set with [`set_floor`](Self::set_floor).
    pub fn floor(&self) -> Option<u64> {
        Some(self.header().floor.load(Ordering::SeqCst)).filter(|&floor| floor != u64::MAX)
    }

    /// Forbids overwriting bytes at offset `floor` and later (`None`: nothing is forbidden).
    ///
    /// What [`oldest`](Self::oldest) says afterwards holds: if it is not beyond the floor, the
    /// bytes from the floor on stay. Returns whether the writer had stopped and now has room, so
    /// that its pump is to be poked.
    pub fn set_floor(&self, floor: Option<u64>) -> bool {
        let floor = floor.map_or(u64::MAX, |offset| offset.min(u64::MAX / 2));
        self.header().floor.store(floor, Ordering::SeqCst);
        self.header().stopped.load(Ordering::SeqCst) != 0 && !self.is_full()
    }

    /// Zeroes all data bytes that exist, and returns how many. The writer must have stopped: no other
    /// begins.
    pub fn overwrite(&self) -> u64 {
        self.lend(false);
        let mut bytes = 0;
        let end = HEADER as u64 + self.capacity;
        let mut at = HEADER as u64;
        while at < end {
            let Some(data) = self.seek(at, libc::SEEK_DATA) else { break };
            let from = data.clamp(at, end);
            let to = self.seek(from, libc::SEEK_HOLE).unwrap_or(end).clamp(from, end);
            if to == from {
                break;
            }
            // SAFETY: `from..to` lies within the mapping; the sealed file cannot have shrunk.
            unsafe { ptr::write_bytes(self.base.as_ptr().add(from as usize), 0, (to - from) as usize) };
            bytes += to - from;
            at = to;
        }
        bytes
    }

    /// Writer: reads once from `fd`, which should be nonblocking, straight into the ring.
    ///
    /// # Errors
    /// What readv(2) says, other than that there is nothing or that the source has ended.
    pub fn write_from(&self, fd: BorrowedFd<'_>) -> io::Result<WriteOutcome> {
        let head = self.head();
        let room = self.claim(head, BATCH);
        self.write_claimed(fd, head, room)
    }

    /// Writer: reads once from `fd` what fits `room` bytes, which are claimed.
    fn write_claimed(&self, fd: BorrowedFd<'_>, head: u64, room: usize) -> io::Result<WriteOutcome> {
        if room == 0 {
            return Ok(WriteOutcome::Full);
        }
        let [first, second] = self.spans(head, room).map(|(at, len)| {
            // SAFETY: the span lies within the data part of the mapping.
            libc::iovec { iov_base: unsafe { self.data().add(at) }.cast(), iov_len: len }
        });
        let count = if second.iov_len > 0 { 2 } else { 1 };
        // SAFETY: so many entries are given; the kernel writes within their spans.
        let rc = unsafe { libc::readv(fd.as_raw_fd(), [first, second].as_ptr(), count) };
        let error = if rc < 0 { sys::errno() } else { 0 };
        let read = usize::try_from(rc).unwrap_or(0);
        self.publish(head, read);
        match error {
            0 if read > 0 => Ok(WriteOutcome::Bytes(read)),
            // A terminal that no program has open answers EIO.
            0 | libc::EIO => {
                self.mark_ended();
                Ok(WriteOutcome::Ended)
            }
            libc::EAGAIN | libc::EINTR => Ok(WriteOutcome::WouldBlock),
            other => Err(io::Error::from_raw_os_error(other)),
        }
    }

    /// Writer: so many bytes at the head are there, and nothing is claimed behind them.
    fn publish(&self, head: u64, read: usize) {
        let header = self.header();
        if read > 0 {
            header.ended.store(0, Ordering::Relaxed);
        }
        let head = head.saturating_add(read as u64);
        header.head.store(head, Ordering::Release);
        header.claimed.store(head, Ordering::SeqCst);
    }

    /// Writer: says that the source cannot be read any more.
    pub(crate) fn mark_ended(&self) {
        self.header().ended.store(1, Ordering::Release);
    }

    /// Writer: announces how far the next write may reach, and returns its length: `most`, or less.
    fn claim(&self, head: u64, most: u64) -> usize {
        let header = self.header();
        let batch = most.min(self.capacity / 4);
        header.stopped.store(1, Ordering::SeqCst);
        loop {
            let floor = header.floor.load(Ordering::SeqCst);
            let room = floor.saturating_add(self.capacity).saturating_sub(head).min(batch);
            header.claimed.store(head.saturating_add(room), Ordering::SeqCst);
            // A floor that came between load and store has not seen the claim: look again.
            if header.floor.load(Ordering::SeqCst) == floor {
                if room > 0 {
                    header.stopped.store(0, Ordering::SeqCst);
                }
                fence(Ordering::SeqCst);
                return room as usize;
            }
        }
    }

    fn map(file: OwnedFd, capacity: u64) -> io::Result<Self> {
        let len = HEADER + capacity as usize;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice; the file is at least `len`
        // long and sealed against shrinking.
        let base =
            unsafe { libc::mmap(ptr::null_mut(), len, protection, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok(Self { base, capacity, file })
    }

    fn header(&self) -> &Header {
        // SAFETY: the mapping is page-aligned, larger than the header, lives as long as `self`,
        // and every field is atomic.
        unsafe { self.base.cast().as_ref() }
    }

    fn data(&self) -> *mut u8 {
        // SAFETY: the mapping is longer than the header.
        unsafe { self.base.as_ptr().add(HEADER) }
    }

    /// Where so many bytes from an offset on lie, at most `capacity`: place and length in the data part, in two
    /// pieces, of which the second may be empty.
    fn spans(&self, from: u64, len: usize) -> [(usize, usize); 2] {
        let at = (from & (self.capacity - 1)) as usize;
        let first = len.min(self.capacity as usize - at);
        [(at, first), (0, (len - first).min(at))]
    }

    /// Copies the bytes at offset `from` on, which need not be whole. `out` is at most `capacity`
    /// long.
    fn copy_out(&self, from: u64, out: &mut [u8]) {
        let [(at, first), (start, _)] = self.spans(from, out.len());
        let (head, tail) = out.split_at_mut(first);
        self.copy_span(at, head);
        self.copy_span(start, tail);
    }

    /// Loads atomically, since the kernel may be writing the same bytes: by words where aligned.
    fn copy_span(&self, at: usize, out: &mut [u8]) {
        const WORD: usize = size_of::<u64>();
        let data = self.data();
        // SAFETY: callers pass spans within the data part; `at` is raised only up to its end, and
        // words are loaded at multiples of eight from a page-aligned base.
        unsafe {
            let byte = |i: usize| (*data.add(i).cast::<AtomicU8>()).load(Ordering::Relaxed);
            let before = (at.wrapping_neg() % WORD).min(out.len());
            let (start, rest) = out.split_at_mut(before);
            for (i, b) in start.iter_mut().enumerate() {
                *b = byte(at + i);
            }
            let at = at + before;
            let mut words = rest.chunks_exact_mut(WORD);
            let mut done = 0;
            for chunk in &mut words {
                let word = (*data.add(at + done).cast::<AtomicU64>()).load(Ordering::Relaxed);
                chunk.copy_from_slice(&word.to_ne_bytes());
                done += WORD;
            }
            for (i, b) in words.into_remainder().iter_mut().enumerate() {
                *b = byte(at + done + i);
            }
        }
    }

    fn seek(&self, from: u64, whence: i32) -> Option<u64> {
        // SAFETY: takes numbers only; nobody uses this file's position.
        let rc = unsafe { libc::lseek(self.file.as_raw_fd(), from as libc::off_t, whence) };
        u64::try_from(rc).ok()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: exactly the range that `map` mapped; no reference into it outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), HEADER + self.capacity as usize) };
    }
}

fn is_capacity(capacity: u64) -> bool {
    // SAFETY: takes and returns numbers only.
    let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    capacity.is_power_of_two() && (page..=MAX_CAPACITY).contains(&capacity)
}

fn size_of_file(fd: BorrowedFd<'_>) -> io::Result<u64> {
    // SAFETY: a `stat` of zeros is valid, and the call fills it.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        sys::check(libc::fstat(fd.as_raw_fd(), &raw mut stat))?;
        Ok(stat.st_size as u64)
    }
}
