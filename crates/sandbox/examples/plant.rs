//! Plants patterns in every kind of memory that a scrub must reach, then stops itself.
//!
//! `plant FOLDER` reads records from standard input, each a kind (one byte, see `Kind`), a length
//! (one byte) and the pattern. FOLDER is on a tmpfs. A record's pattern ends up in one place only:
//! what it passed through is cleared.

use std::ffi::CString;
use std::io;

/// Bytes of each mapping that is made.
const LEN: usize = 64 << 10;
/// Patterns lie this far into their page or file.
const AT: usize = 1000;

fn check(result: libc::c_int) -> libc::c_int {
    assert!(result >= 0, "{}", io::Error::last_os_error());
    result
}

fn map(protection: libc::c_int, flags: libc::c_int, fd: libc::c_int) -> *mut u8 {
    // SAFETY: a fresh mapping at an address of the kernel's choice.
    let p = unsafe { libc::mmap(std::ptr::null_mut(), LEN, protection, flags, fd, 0) };
    assert_ne!(p, libc::MAP_FAILED, "{}", io::Error::last_os_error());
    p.cast()
}

fn put(to: *mut u8, pattern: &[u8]) {
    // SAFETY: callers pass mappings of LEN bytes; patterns are at most 255 bytes.
    unsafe { std::ptr::copy_nonoverlapping(pattern.as_ptr(), to.add(AT), pattern.len()) };
}

fn protect(p: *mut u8, protection: libc::c_int) {
    // SAFETY: the range is a mapping of this program that nothing refers to.
    check(unsafe { libc::mprotect(p.cast(), LEN, protection) });
}

fn unlinked_file(folder: &str) -> libc::c_int {
    let path = CString::new(format!("{folder}/unlinked")).expect("a path without NUL");
    // SAFETY: the path is a valid C string.
    unsafe {
        let fd = check(libc::open(path.as_ptr(), libc::O_RDWR | libc::O_CREAT | libc::O_EXCL, 0o600));
        check(libc::unlink(path.as_ptr()));
        fd
    }
}

fn memfd(flags: libc::c_uint) -> libc::c_int {
    // SAFETY: the name is a valid C string.
    check(unsafe { libc::memfd_create(c"plant".as_ptr(), flags) })
}

fn write_file(fd: libc::c_int, pattern: &[u8]) {
    // SAFETY: the pattern is valid for its length.
    let n = unsafe { libc::pwrite(fd, pattern.as_ptr().cast(), pattern.len(), AT as libc::off_t) };
    assert_eq!(n, pattern.len() as isize);
}

fn grow(fd: libc::c_int) {
    // SAFETY: takes a descriptor of this program.
    check(unsafe { libc::ftruncate(fd, LEN as libc::off_t) });
}

fn close(fd: libc::c_int) {
    // SAFETY: takes a descriptor of this program that nothing else owns.
    check(unsafe { libc::close(fd) });
}

const READ_WRITE: libc::c_int = libc::PROT_READ | libc::PROT_WRITE;
const SHARED_MEMORY: libc::c_int = libc::MAP_SHARED | libc::MAP_ANONYMOUS;

fn plant(kind: u8, pattern: &[u8], folder: &str) {
    match kind {
        b'h' => std::mem::forget(pattern.to_vec()),
        b'r' | b'n' => {
            let p = map(READ_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1);
            put(p, pattern);
            protect(p, if kind == b'r' { libc::PROT_READ } else { libc::PROT_NONE });
        }
        b's' => put(map(READ_WRITE, SHARED_MEMORY, -1), pattern),
        b'd' => {
            // In memory, but no longer in this process's page tables.
            let p = map(READ_WRITE, SHARED_MEMORY, -1);
            put(p, pattern);
            // SAFETY: the range is a mapping of this program that nothing refers to.
            check(unsafe { libc::madvise(p.cast(), LEN, libc::MADV_DONTNEED) });
        }
        b'o' => {
            let p = map(READ_WRITE, SHARED_MEMORY, -1);
            put(p, pattern);
            protect(p, libc::PROT_READ);
        }
        b'c' => {
            // A private copy of a page of this program's file.
            let exe = std::fs::File::open("/proc/self/exe").expect("/proc is mounted");
            put(map(READ_WRITE, libc::MAP_PRIVATE, std::os::fd::AsRawFd::as_raw_fd(&exe)), pattern);
        }
        b'm' => {
            let fd = memfd(0);
            write_file(fd, pattern);
        }
        b'M' => {
            // Reachable through its mapping only.
            let fd = memfd(0);
            grow(fd);
            put(map(READ_WRITE, libc::MAP_SHARED, fd), pattern);
            close(fd);
        }
        b'x' => {
            let fd = memfd(libc::MFD_ALLOW_SEALING);
            write_file(fd, pattern);
            // SAFETY: takes a descriptor of this program.
            check(unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, libc::F_SEAL_WRITE) });
        }
        b'u' => {
            let fd = unlinked_file(folder);
            write_file(fd, pattern);
            // Nobody but its owner may open it again, and not as it is.
            // SAFETY: takes a descriptor of this program.
            check(unsafe { libc::fchmod(fd, 0) });
        }
        b'U' => {
            let fd = unlinked_file(folder);
            grow(fd);
            put(map(READ_WRITE, libc::MAP_SHARED, fd), pattern);
            close(fd);
        }
        b'v' => {
            // SAFETY: a new System V segment of LEN bytes, attached at an address of the kernel's
            // choice, and marked to go with this process.
            let p = unsafe {
                let id = check(libc::shmget(libc::IPC_PRIVATE, LEN, 0o600));
                let p = libc::shmat(id, std::ptr::null(), 0);
                check(libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()));
                p
            };
            put(p.cast(), pattern);
        }
        other => panic!("no such kind: {other}"),
    }
}

fn main() {
    let folder = std::env::args().nth(1).expect("the folder is the first argument");
    // Not through std's buffer: the only copies are those that are planted.
    let mut input = [0u8; 8192];
    let mut len = 0;
    loop {
        // SAFETY: reads into what is left of the array.
        let n = unsafe { libc::read(0, input[len..].as_mut_ptr().cast(), input.len() - len) };
        assert!(n >= 0);
        if n == 0 {
            break;
        }
        len += n as usize;
    }
    let mut on_stack = [0u8; 256];
    let mut at = 0;
    while at < len {
        let (kind, size) = (input[at], input[at + 1] as usize);
        let pattern = &input[at + 2..at + 2 + size];
        if kind == b'k' {
            on_stack[..size].copy_from_slice(pattern);
        } else {
            plant(kind, pattern, &folder);
        }
        at += 2 + size;
    }
    input.fill(0);
    std::hint::black_box(&input);
    std::hint::black_box(&on_stack);
    // SAFETY: stops this process, as a frozen one is.
    unsafe { libc::raise(libc::SIGSTOP) };
    std::hint::black_box(&on_stack);
}
