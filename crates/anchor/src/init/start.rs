//! Starting a command: its block is mapped, checked, executed from and overwritten.

use std::cell::Cell;
use std::ffi::{CStr, c_char};
use std::marker::PhantomData;
use std::ptr;

use crate::control::{BLOCK_HEADER, BLOCK_MAGIC, MAX_BLOCK, MAX_STRINGS};

use super::execute;
use super::sys::{self, Packet, Patience};
use super::tasks::Tasks;

/// How long an execution may take: a file on a folder that hangs must not hang init.
const EXECUTION_MS: u32 = 8_000;

/// What came of a request to start something.
pub(super) enum Outcome {
    Started { task: u32, pid: i32 },
    NotStarted { task: u32, errno: i32 },
    Refused(i32),
}

/// Starts the command that a packet describes. Its block is overwritten whatever comes of it.
pub(super) fn start(tasks: &mut Tasks, packet: &Packet) -> Outcome {
    let block = packet.descriptors().first().and_then(|&file| Block::map(file));
    let (Some(task), Some(flags @ (0 | 1))) = (packet.word(8), packet.word(12)) else {
        return Outcome::Refused(libc::EINVAL);
    };
    let tty = flags == 1;
    let stdio = match (tty, packet.descriptors()) {
        (true, &[_, tty]) => [tty, tty, tty],
        (false, &[_, input, output, error]) => [input, output, error],
        _ => return Outcome::Refused(libc::EBADF),
    };
    let Some(block) = block else { return Outcome::Refused(libc::EINVAL) };
    let Some(pointers) = Pointers::of(&block) else { return Outcome::Refused(libc::EINVAL) };
    if tasks.knows(task) {
        return Outcome::Refused(libc::EEXIST);
    }
    if !tasks.make_room() {
        return Outcome::Refused(libc::EAGAIN);
    }
    match spawn(&pointers, tty, stdio) {
        Ok(pid) => {
            tasks.add(task, pid);
            Outcome::Started { task, pid }
        }
        Err(errno) => Outcome::NotStarted { task, errno },
    }
}

/// What init makes of a block: the working folder, argv, the environment. Overwrites it.
#[cfg(feature = "fuzz")]
pub fn read_block(file: i32) -> Option<[Vec<std::ffi::CString>; 3]> {
    let block = Block::map(file)?;
    let pointers = Pointers::of(&block)?;
    let strings = |slots: std::ops::Range<usize>| {
        slots.map_while(|slot| pointers.string(slot)).map(CStr::to_owned).collect::<Vec<_>>()
    };
    // SAFETY: the working folder is a string of the block, which ends with a NUL.
    let folder = unsafe { CStr::from_ptr(pointers.cwd()) }.to_owned();
    let argc = pointers.argc;
    Some([vec![folder], strings(1..1 + argc), strings(2 + argc..pointers.slots)])
}

/// A mapped block. Dropping it overwrites the command, for every holder of the file, and unmaps
/// it: neither arguments nor environment stay here.
struct Block {
    address: *mut u8,
    length: usize,
}

impl Block {
    /// Maps a file that begins as a block does; others are left alone.
    fn map(file: i32) -> Option<Self> {
        let length = sys::length_of(file)?;
        if !(BLOCK_HEADER..=MAX_BLOCK).contains(&length) {
            return None;
        }
        // SAFETY: a mapping of exactly the file's length; the keeper, which alone could shrink the
        // file, seals it.
        let address = unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(ptr::null_mut(), length, protection, libc::MAP_SHARED, file, 0)
        };
        if address == libc::MAP_FAILED {
            return None;
        }
        let address = address.cast::<u8>();
        // SAFETY: the mapping is at least a header long.
        let magic = unsafe { address.cast::<[u8; BLOCK_MAGIC.len()]>().read() };
        if magic != BLOCK_MAGIC {
            // SAFETY: the mapping was made just above and is not used after.
            unsafe { libc::munmap(address.cast(), length) };
            return None;
        }
        Some(Self { address, length })
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping lives as long as the block and is written only when that ends.
        unsafe { std::slice::from_raw_parts(self.address, self.length) }
    }

    /// The number of strings in argv and in the environment, when both and the length are right.
    fn counts(&self) -> Option<(usize, usize)> {
        let word = |at: usize| -> Option<usize> {
            let bytes: [u8; 4] = self.bytes().get(at..at + 4)?.try_into().ok()?;
            usize::try_from(u32::from_le_bytes(bytes)).ok()
        };
        let (strings, argc, envc) = (word(8)?, word(12)?, word(16)?);
        let right =
            BLOCK_HEADER + strings == self.length && (1..=MAX_STRINGS).contains(&argc) && envc <= MAX_STRINGS;
        right.then_some((argc, envc))
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, writable, of that length, shared with the file, so that the
        // stores are seen outside; it is not used after.
        unsafe {
            ptr::write_bytes(self.address, 0, self.length);
            libc::munmap(self.address.cast(), self.length);
        }
    }
}

/// The strings of a block as execve takes them: arrays of pointers, in pages of their own.
pub(super) struct Pointers<'a> {
    address: *mut *const c_char,
    slots: usize,
    argc: usize,
    cwd: *const c_char,
    block: PhantomData<&'a Block>,
}

impl<'a> Pointers<'a> {
    /// Points at every string of a block. `None` when they do not add up.
    fn of(block: &'a Block) -> Option<Self> {
        let (argc, envc) = block.counts()?;
        // One slot before argv is for an interpreter, and each array ends with a null.
        let slots = 1 + argc + 1 + envc + 1;
        // SAFETY: fresh anonymous memory, zeroed by the kernel.
        let address = unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            libc::mmap(ptr::null_mut(), slots * size_of::<*const c_char>(), protection, flags, -1, 0)
        };
        if address == libc::MAP_FAILED {
            return None;
        }
        let mut pointers =
            Self { address: address.cast(), slots, argc, cwd: ptr::null(), block: PhantomData };
        let strings = block.bytes().get(BLOCK_HEADER..).unwrap_or_default();
        let mut count = 0;
        for string in strings.split_inclusive(|&b| b == 0) {
            if string.last() != Some(&0) {
                return None;
            }
            let pointer = string.as_ptr().cast::<c_char>();
            match count {
                0 => pointers.cwd = pointer,
                n if n <= argc => pointers.set(n, pointer),
                n if n <= argc + envc => pointers.set(n + 1, pointer),
                _ => return None,
            }
            count += 1;
        }
        (count == 1 + argc + envc).then_some(pointers)
    }

    fn slots(&self) -> &[Cell<*const c_char>] {
        // SAFETY: the mapping holds that many slots and lives as long as `self`; null is a value
        // of theirs.
        unsafe { std::slice::from_raw_parts(self.address.cast(), self.slots) }
    }

    fn set(&self, slot: usize, pointer: *const c_char) {
        if let Some(cell) = self.slots().get(slot) {
            cell.set(pointer);
        }
    }

    /// The array from a slot on, which never is past the last null.
    fn array(&self, slot: usize) -> *const *const c_char {
        self.slots().get(slot..).unwrap_or_default().as_ptr().cast()
    }

    /// The working folder, NUL-terminated.
    pub(super) fn cwd(&self) -> *const c_char {
        self.cwd
    }

    /// argv, null-terminated, never empty.
    pub(super) fn argv(&self) -> *const *const c_char {
        self.array(1)
    }

    /// The environment, null-terminated.
    pub(super) fn environment(&self) -> *const *const c_char {
        self.array(1 + self.argc + 1)
    }

    /// argv with a shell before it and a script in the program's place.
    pub(super) fn with_shell(&self, shell: &CStr, script: &CStr) -> *const *const c_char {
        self.set(0, shell.as_ptr());
        self.set(1, script.as_ptr());
        self.array(0)
    }

    /// The program: the first of argv.
    pub(super) fn program(&self) -> &CStr {
        self.string(1).unwrap_or_default()
    }

    /// The value of a variable of the environment; the name comes with its `=`.
    pub(super) fn variable(&self, name: &[u8]) -> Option<&[u8]> {
        let environment = 1 + self.argc + 1..self.slots;
        environment.filter_map(|slot| self.string(slot)).find_map(|v| v.to_bytes().strip_prefix(name))
    }

    fn string(&self, slot: usize) -> Option<&CStr> {
        let string = self.slots().get(slot)?.get();
        // SAFETY: pointers other than null were set by `of`, to strings of the block, which
        // outlives `self` and of which each ends with a NUL.
        (!string.is_null()).then(|| unsafe { CStr::from_ptr(string) })
    }
}

impl Drop for Pointers<'_> {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this size and is not used after.
        unsafe { libc::munmap(self.address.cast(), self.slots * size_of::<*const c_char>()) };
    }
}

/// Forks and executes. An error number when the command could not be executed.
fn spawn(pointers: &Pointers<'_>, tty: bool, stdio: [i32; 3]) -> Result<i32, i32> {
    let (read_end, write_end) = sys::pipe()?;
    let pid = sys::fork();
    if pid == Ok(0) {
        let errno = execute::become_command(pointers, tty, stdio);
        sys::write(write_end, &errno.to_le_bytes());
        sys::exit(127);
    }
    sys::close(write_end);
    let outcome = pid.and_then(|pid| {
        let mut errno = [0u8; 4];
        // The pipe closes when the command is executed; then nothing is read.
        match sys::read_in_time(read_end, &mut errno, &mut Patience::of_ms(EXECUTION_MS)) {
            Some(4) => Err(i32::from_le_bytes(errno)),
            Some(_) => Ok(pid),
            None => {
                sys::kill(pid, libc::SIGKILL);
                Err(libc::ETIMEDOUT)
            }
        }
    });
    sys::close(read_end);
    outcome
}
