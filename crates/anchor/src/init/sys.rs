//! The system calls of an init, each behind a function that cannot panic and uses no heap.

use std::ffi::CStr;
use std::mem::{MaybeUninit, size_of};

/// Descriptors that fit in [`CONTROL_SPACE`]; with more, a packet is cut.
const MAX_DESCRIPTORS: usize = 12;
/// Bytes for a control message.
const CONTROL_SPACE: usize = 64;
/// Most numbers in a packet that is sent.
const MAX_WORDS: usize = 6;
/// How long an answer waits for room in the socket, in milliseconds.
const ANSWER_MS: u32 = 5_000;

/// The calling thread's last error number.
pub(super) fn errno() -> i32 {
    // SAFETY: the address is valid for the thread's life.
    unsafe { *libc::__errno_location() }
}

/// Ends at once.
pub(super) fn exit(code: i32) -> ! {
    // SAFETY: never returns, runs no destructors, touches no memory.
    unsafe { libc::_exit(code) }
}

/// Says why on standard error and ends.
pub(super) fn fatal(why: &[u8]) -> ! {
    write(2, why);
    exit(125)
}

/// Writes as far as it goes.
pub(super) fn write(fd: i32, bytes: &[u8]) -> isize {
    // SAFETY: the slice is valid for its length.
    unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) }
}

/// Reads as far as it goes; negative on error.
pub(super) fn read(fd: i32, bytes: &mut [u8]) -> isize {
    // SAFETY: the slice is valid and writable for its length.
    unsafe { libc::read(fd, bytes.as_mut_ptr().cast(), bytes.len()) }
}

/// Opens a file; negative on error.
pub(super) fn open(path: &CStr, flags: i32) -> i32 {
    // SAFETY: a NUL-terminated path; the mode is only read with O_CREAT.
    unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, 0o600) }
}

/// Closes a descriptor.
pub(super) fn close(fd: i32) {
    // SAFETY: init owns every descriptor it closes.
    unsafe { libc::close(fd) };
}

/// Closes every descriptor from this one on.
pub(super) fn close_from(fd: i32) {
    // SAFETY: nothing of this process owns any of them yet.
    unsafe { libc::syscall(libc::SYS_close_range, fd, u32::MAX, 0) };
}

/// The length of a file; `None` for what has none.
pub(super) fn length_of(fd: i32) -> Option<usize> {
    // SAFETY: stat is plain data, which fstat fills in when it succeeds.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        if libc::fstat(fd, &mut stat) != 0 {
            return None;
        }
        usize::try_from(stat.st_size).ok()
    }
}

/// A pipe's ends, to read from and to write to, closed at exec. Or an error number.
pub(super) fn pipe() -> Result<(i32, i32), i32> {
    let mut ends = [0i32; 2];
    // SAFETY: two descriptors are written on success.
    match unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } {
        0 => Ok((ends[0], ends[1])),
        _ => Err(errno()),
    }
}

/// Forks: 0 in the child, its id in init. Or an error number.
pub(super) fn fork() -> Result<i32, i32> {
    // SAFETY: one thread, no heap and no locks, so the child may do what init may.
    match unsafe { libc::fork() } {
        pid if pid >= 0 => Ok(pid),
        _ => Err(errno()),
    }
}

/// This process's id.
pub(super) fn own_pid() -> i32 {
    // SAFETY: always succeeds.
    unsafe { libc::getpid() }
}

/// Time left for something, used up in slices: while the sandbox is frozen at most one passes.
pub(super) struct Patience {
    slices: u32,
}

impl Patience {
    const SLICE_MS: u32 = 100;

    pub(super) fn of_ms(ms: u32) -> Self {
        Self { slices: ms.div_ceil(Self::SLICE_MS) }
    }

    /// Waits for events on one descriptor. False when the time is up.
    fn poll(&mut self, fd: i32, events: i16) -> bool {
        let mut poll = libc::pollfd { fd, events, revents: 0 };
        while self.slices > 0 {
            // SAFETY: one pollfd, alive for the call.
            if unsafe { libc::poll(&mut poll, 1, Self::SLICE_MS as i32) } > 0 {
                return true;
            }
            self.slices -= 1;
        }
        false
    }
}

/// Reads once, as far as it goes; 0 at the end, `None` when the time is up.
pub(super) fn read_in_time(fd: i32, bytes: &mut [u8], patience: &mut Patience) -> Option<usize> {
    patience.poll(fd, libc::POLLIN).then(|| usize::try_from(read(fd, bytes)).unwrap_or(0))
}

/// Names the process for listings.
pub(super) fn name(name: &CStr) {
    // SAFETY: a NUL-terminated name; the kernel copies at most 16 bytes.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) };
}

/// Keeps the apps, which have the same user id, from reading this process's memory.
pub(super) fn make_undumpable() {
    // SAFETY: no pointers.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
}

/// Whether no_new_privs is set.
pub(super) fn has_no_new_privs() -> bool {
    // SAFETY: no pointers.
    unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 }
}

/// Installs the filter that `fd` holds, an array of `struct sock_filter`.
pub(super) fn install_filter(fd: i32, max: usize) -> bool {
    let size = size_of::<libc::sock_filter>();
    let Some(length) = length_of(fd) else { return false };
    if length == 0 || !length.is_multiple_of(size) || length / size > max {
        return false;
    }
    // SAFETY: maps a file of that length read-only; the program points into it only during the
    // call, and the kernel validates every instruction.
    unsafe {
        let map = libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ, libc::MAP_PRIVATE, fd, 0);
        if map == libc::MAP_FAILED {
            return false;
        }
        let program =
            libc::sock_fprog { len: (length / size) as u16, filter: map.cast::<libc::sock_filter>() };
        let outcome = libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &program);
        libc::munmap(map, length);
        outcome == 0
    }
}

extern "C" fn on_child(_: i32) {}

/// Lets a child's end interrupt [`wait`] and nothing else.
pub(super) fn watch_children() {
    // SAFETY: the handler does nothing, which is safe at any time; sets are initialised by
    // sigemptyset before use.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_child as extern "C" fn(i32) as usize;
        libc::sigemptyset(&mut action.sa_mask);
        libc::sigaction(libc::SIGCHLD, &action, std::ptr::null_mut());
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGCHLD);
        libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
    }
}

/// Gives a child what a program expects at its start: default signals, none blocked.
pub(super) fn default_signals() {
    // The kernel's `sigaction`: handler, flags, restorer, mask; all zeros is the default.
    let default = [0u64; 4];
    // SAFETY: the structure and the sets outlive the calls; one thread. The C library's own call
    // would leave out two signals that it keeps for itself, which a parent may have ignored.
    unsafe {
        for signal in 1..=64 {
            let none = std::ptr::null::<u64>();
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), none, size_of::<u64>());
        }
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut());
    }
}

/// Why [`wait`] returned.
pub(super) enum Wake {
    /// A child ended, or the socket has room again.
    Other,
    Packet,
    Closed,
}

/// Waits for a packet or a child's end; unless all is told also for room in the socket, and
/// unless all is reaped not at all.
pub(super) fn wait(fd: i32, all_told: bool, all_reaped: bool) -> Wake {
    let events = if all_told { libc::POLLIN } else { libc::POLLIN | libc::POLLOUT };
    let mut poll = libc::pollfd { fd, events: events | libc::POLLRDHUP, revents: 0 };
    let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let timeout: *const libc::timespec = if all_reaped { std::ptr::null() } else { &at_once };
    // SAFETY: one pollfd; the empty mask lets SIGCHLD in only while waiting, so none is missed.
    let n = unsafe {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        libc::ppoll(&mut poll, 1, timeout, set.as_ptr())
    };
    // With nobody to answer to, packets from before the end are void.
    const ENDED: i16 = libc::POLLHUP | libc::POLLRDHUP | libc::POLLERR | libc::POLLNVAL;
    if n <= 0 {
        Wake::Other
    } else if poll.revents & ENDED != 0 {
        Wake::Closed
    } else if poll.revents & libc::POLLIN != 0 {
        Wake::Packet
    } else {
        Wake::Other
    }
}

/// Collects one child that has ended.
pub(super) fn reap_one() -> Option<(i32, i32)> {
    let mut status = 0;
    // SAFETY: the status word is ours.
    let pid = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) };
    (pid > 0).then_some((pid, status))
}

/// Sends a signal; an error number, 0 if it was sent.
pub(super) fn kill(pid: i32, signal: i32) -> i32 {
    // SAFETY: no pointers.
    if unsafe { libc::kill(pid, signal) } == 0 { 0 } else { errno() }
}

/// Signals every other process of the sandbox. Refused outside a process namespace of our own,
/// where "everyone" would be more than the sandbox.
pub(super) fn signal_everyone(signal: i32) -> i32 {
    if own_pid() != 1 {
        return libc::EPERM;
    }
    match kill(-1, signal) {
        // Nobody is there to be signalled.
        libc::ESRCH => 0,
        errno => errno,
    }
}

/// Sends a packet of at most six numbers. False when the socket is full or closed.
pub(super) fn send(fd: i32, words: &[u32]) -> bool {
    let mut bytes = [0u8; MAX_WORDS * 4];
    for (slot, word) in bytes.chunks_exact_mut(4).zip(words) {
        slot.copy_from_slice(&word.to_le_bytes());
    }
    bytes.get(..words.len() * 4).is_some_and(|bytes| send_bytes(fd, bytes))
}

/// As [`send`], with time for the peer to read. False when it did not, or is gone.
pub(super) fn send_in_time(fd: i32, words: &[u32]) -> bool {
    in_time(fd, || send(fd, words))
}

/// As [`send_in_time`], of bytes.
pub(super) fn send_bytes_in_time(fd: i32, bytes: &[u8]) -> bool {
    in_time(fd, || send_bytes(fd, bytes))
}

fn in_time(fd: i32, send: impl Fn() -> bool) -> bool {
    let mut patience = Patience::of_ms(ANSWER_MS);
    loop {
        if send() {
            return true;
        }
        if errno() != libc::EAGAIN || !patience.poll(fd, libc::POLLOUT) {
            return false;
        }
    }
}

/// Sends a packet. False when the socket is full or closed.
fn send_bytes(fd: i32, bytes: &[u8]) -> bool {
    // SAFETY: the slice is valid for its length.
    let n = unsafe {
        libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT)
    };
    n == bytes.len() as isize
}

/// What came.
pub(super) enum Received {
    Nothing,
    Whole,
    /// Bytes or descriptors of it are missing.
    Cut,
}

/// A received packet with its descriptors.
pub(super) struct Packet {
    bytes: [u8; 64],
    length: usize,
    descriptors: [i32; MAX_DESCRIPTORS],
    count: usize,
}

impl Packet {
    pub(super) fn new() -> Self {
        Self { bytes: [0; 64], length: 0, descriptors: [-1; MAX_DESCRIPTORS], count: 0 }
    }

    /// The number at a byte offset.
    pub(super) fn word(&self, at: usize) -> Option<u32> {
        let bytes: [u8; 4] = self.bytes.get(..self.length)?.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes))
    }

    /// The descriptors that came with it.
    pub(super) fn descriptors(&self) -> &[i32] {
        self.descriptors.get(..self.count).unwrap_or_default()
    }

    /// Closes the descriptors that came with it.
    pub(super) fn close_descriptors(&mut self) {
        for &fd in self.descriptors() {
            close(fd);
        }
        self.count = 0;
    }

    /// Receives one packet without waiting.
    pub(super) fn receive(&mut self, fd: i32) -> Received {
        self.length = 0;
        self.count = 0;
        // SAFETY: message, vector and control buffer live through the call; the control buffer is
        // aligned for cmsghdr; headers are walked by the CMSG macros within what was received.
        unsafe {
            let mut control = [0u64; CONTROL_SPACE / 8];
            let mut vector =
                libc::iovec { iov_base: self.bytes.as_mut_ptr().cast(), iov_len: self.bytes.len() };
            let mut message: libc::msghdr = std::mem::zeroed();
            message.msg_iov = &mut vector;
            message.msg_iovlen = 1;
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = CONTROL_SPACE as _;
            let n = libc::recvmsg(fd, &mut message, libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT);
            let Ok(length) = usize::try_from(n) else { return Received::Nothing };
            self.length = length;
            let mut header = libc::CMSG_FIRSTHDR(&message);
            while !header.is_null() {
                if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                    let bytes = ((*header).cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
                    let data = libc::CMSG_DATA(header).cast::<i32>();
                    for index in 0..bytes / size_of::<i32>() {
                        self.keep(data.add(index).read_unaligned());
                    }
                }
                header = libc::CMSG_NXTHDR(&message, header);
            }
            if message.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) == 0 {
                Received::Whole
            } else {
                Received::Cut
            }
        }
    }

    fn keep(&mut self, descriptor: i32) {
        match self.descriptors.get_mut(self.count) {
            Some(slot) => {
                *slot = descriptor;
                self.count += 1;
            }
            None => close(descriptor),
        }
    }
}
