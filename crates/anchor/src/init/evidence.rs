//! What the sandbox looks like from inside, gathered after the filter is in force.
//!
//! One line `key=value` each. A try's value is `allowed` or the system's error number. Everything
//! is gathered by a child, as an app would see it: what hangs there does not hang init, a try that
//! succeeds changes nothing here, and the memory it takes goes with it.

use std::ffi::CStr;
use std::fmt::{self, Write as _};
use std::mem::size_of;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::control::{Kind, MAX_PACKET};

use super::sys::{self, Patience};
use super::tries;

/// How long the child may take, in milliseconds.
const GATHERING_MS: u32 = 8_000;
/// How long one that was killed may take to end, in milliseconds.
const FAREWELL_MS: u32 = 500;

/// Gathers the evidence and sends it. An error number when it cannot be gathered.
pub(super) fn send(control: i32, sequence: u32) -> Result<(), i32> {
    let mut packet = Pages::new()?;
    packet.put(&(Kind::Evidence as u32).to_le_bytes());
    packet.put(&sequence.to_le_bytes());
    packet.publish();
    let (read_end, write_end) = sys::pipe()?;
    let child = sys::fork();
    if child == Ok(0) {
        sys::default_signals();
        gather(&mut Text { pages: packet });
        sys::exit(0);
    }
    sys::close(write_end);
    let sent = child.map(|child| {
        // Nothing is written into the pipe: that nobody holds its other end says that all is there.
        let ends = |ms| sys::read_in_time(read_end, &mut [0], &mut Patience::of_ms(ms)).is_some();
        let has_ended = ends(GATHERING_MS);
        // It has ended, or hangs.
        sys::kill(child, libc::SIGKILL);
        if !has_ended {
            // What the kernel still holds does not come back to write.
            ends(FAREWELL_MS);
        }
        packet.take_published();
        if !has_ended {
            packet.put(b"gathering=timed out\n");
        }
        sys::send_bytes_in_time(control, packet.bytes());
    });
    sys::close(read_end);
    sent
}

/// A packet in pages of its own, which are given back. A child shares them: what it publishes is
/// there at once, whatever becomes of it. The page behind the packet holds the length published.
struct Pages {
    address: *mut u8,
    length: usize,
}

/// Bytes that are mapped.
const MAPPED: usize = MAX_PACKET + size_of::<AtomicU32>();

impl Pages {
    fn new() -> Result<Self, i32> {
        // SAFETY: fresh anonymous memory, zeroed by the kernel.
        let address = unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
            libc::mmap(ptr::null_mut(), MAPPED, protection, flags, -1, 0)
        };
        if address == libc::MAP_FAILED {
            return Err(sys::errno());
        }
        Ok(Self { address: address.cast(), length: 0 })
    }

    fn published(&self) -> &AtomicU32 {
        // SAFETY: within the pages and aligned, since the packet's size is a multiple of four; it
        // is used as this type alone, by both processes.
        unsafe { &*self.address.add(MAX_PACKET).cast() }
    }

    /// Lets the other process see what was put so far. It is not changed any more.
    fn publish(&self) {
        self.published().store(self.length as u32, Ordering::Release);
    }

    /// Goes on behind what the other process has published.
    fn take_published(&mut self) {
        self.length = (self.published().load(Ordering::Acquire) as usize).min(MAX_PACKET);
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the pages live as long as `self`, the length is within them, and the other
        // process writes only behind what it has published.
        unsafe { std::slice::from_raw_parts(self.address, self.length) }
    }

    /// Appends what fits.
    fn put(&mut self, bytes: &[u8]) {
        let count = bytes.len().min(MAX_PACKET - self.length);
        // SAFETY: so many bytes fit behind the length, where nobody else reads or writes.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.address.add(self.length), count) };
        self.length += count;
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the pages were mapped with this size and are not used after.
        unsafe { libc::munmap(self.address.cast(), MAPPED) };
    }
}

/// Text that init sees line by line, so that what is known by the time something hangs arrives.
pub(super) struct Text {
    pages: Pages,
}

impl Text {
    fn put(&mut self, bytes: &[u8]) {
        self.pages.put(bytes);
        if bytes.ends_with(b"\n") {
            self.pages.publish();
        }
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.put(s.as_bytes());
        Ok(())
    }
}

/// Says all evidence.
fn gather(text: &mut Text) {
    who(text);
    names(text);
    files(text);
    tries::all(text);
}

/// Says text, on one line.
pub(super) fn line(text: &mut Text, key: &str, value: &[u8]) {
    let _ = write!(text, "{key}=");
    for &byte in value.iter().filter(|&&b| b != 0) {
        text.put(&[if byte.is_ascii_control() { b' ' } else { byte }]);
    }
    text.put(b"\n");
}

/// Says a number.
pub(super) fn number(text: &mut Text, key: &str, value: i64) {
    let _ = writeln!(text, "{key}={value}");
}

/// Reads the start of a file; what does not fit is left out.
fn slurp<'a>(path: &CStr, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let fd = sys::open(path, libc::O_RDONLY);
    if fd < 0 {
        return None;
    }
    let mut length = 0;
    while let Some(room) = buffer.get_mut(length..).filter(|room| !room.is_empty()) {
        let n = sys::read(fd, room);
        if n <= 0 {
            break;
        }
        length += n as usize;
    }
    sys::close(fd);
    buffer.get(..length)
}

fn trimmed(bytes: &[u8]) -> &[u8] {
    bytes.trim_ascii()
}

fn who(text: &mut Text) {
    // SAFETY: these calls always succeed and take no pointers.
    let (uid, gid) = unsafe { (libc::getuid(), libc::getgid()) };
    number(text, "uid", uid.into());
    number(text, "gid", gid.into());
    let mut buffer = [0u8; 4096];
    let Some(status) = slurp(c"/proc/self/status", &mut buffer) else { return };
    for row in status.split(|&b| b == b'\n') {
        for (field, key) in [
            (&b"Groups:"[..], "groups"),
            (b"NoNewPrivs:", "no_new_privs"),
            (b"Seccomp:", "seccomp"),
            (b"CapInh:", "cap_inh"),
            (b"CapPrm:", "cap_prm"),
            (b"CapEff:", "cap_eff"),
            (b"CapBnd:", "cap_bnd"),
            (b"CapAmb:", "cap_amb"),
        ] {
            if let Some(value) = row.strip_prefix(field) {
                line(text, key, trimmed(value));
            }
        }
    }
}

fn names(text: &mut Text) {
    // SAFETY: utsname is plain data that uname fills in.
    let uts = unsafe {
        let mut uts: libc::utsname = std::mem::zeroed();
        libc::uname(&mut uts);
        uts
    };
    for (key, field) in [("hostname", &uts.nodename), ("domainname", &uts.domainname)] {
        let mut bytes = [0u8; 65];
        for (byte, &c) in bytes.iter_mut().zip(field.iter()) {
            *byte = c as u8;
        }
        line(text, key, &bytes);
    }
    let mut buffer = [0u8; 4096];
    for (key, path) in [
        ("machine_id", c"/etc/machine-id"),
        ("boot_id", c"/proc/sys/kernel/random/boot_id"),
        ("timezone", c"/etc/timezone"),
        ("cmdline", c"/proc/cmdline"),
        ("cgroup", c"/proc/self/cgroup"),
    ] {
        line(text, key, slurp(path, &mut buffer).map_or(b"-", trimmed));
    }
    let _ = write!(text, "interfaces=");
    if let Some(table) = slurp(c"/proc/net/dev", &mut buffer) {
        let rows = table.split(|&b| b == b'\n').skip(2).filter(|row| row.contains(&b':'));
        for (index, row) in rows.enumerate() {
            if index > 0 {
                text.put(b",");
            }
            text.put(row.split(|&b| b == b':').next().map_or(b"", trimmed));
        }
    }
    text.put(b"\n");
    let routes = slurp(c"/proc/net/route", &mut buffer).map_or(-1, |table| {
        table.split(|&b| b == b'\n').skip(1).filter(|row| !row.is_empty()).count() as i64
    });
    number(text, "routes", routes);
    let _ = write!(text, "passwd_users=");
    if let Some(table) = slurp(c"/etc/passwd", &mut buffer) {
        let rows = table.split(|&b| b == b'\n').filter(|row| !row.is_empty());
        for (index, row) in rows.enumerate() {
            if index > 0 {
                text.put(b",");
            }
            text.put(row.split(|&b| b == b':').next().unwrap_or_default());
        }
    }
    text.put(b"\n");
}

/// Whether a file can be opened so: `allowed` or the error number.
fn opened(text: &mut Text, key: &str, path: &CStr, flags: i32) {
    let mut fd = sys::open(path, flags | libc::O_NONBLOCK);
    if fd < 0 && sys::errno() == libc::EEXIST {
        // Left by a gathering that was cut short.
        // SAFETY: a NUL-terminated path of a file only this function makes.
        unsafe { libc::unlink(path.as_ptr()) };
        fd = sys::open(path, flags | libc::O_NONBLOCK);
    }
    if fd < 0 {
        return number(text, key, sys::errno().into());
    }
    sys::close(fd);
    if flags & libc::O_CREAT != 0 {
        // SAFETY: a NUL-terminated path of a file this function just made.
        unsafe { libc::unlink(path.as_ptr()) };
    }
    line(text, key, b"allowed");
}

/// Entries of a folder other than `.` and `..`; -1 when it cannot be read.
fn entries(path: &CStr) -> i64 {
    let fd = sys::open(path, libc::O_RDONLY | libc::O_DIRECTORY);
    if fd < 0 {
        return -1;
    }
    let mut count = 0;
    let mut buffer = [0u64; 512];
    loop {
        let size = size_of_val(&buffer);
        // SAFETY: the buffer is writable for its size and aligned for the records.
        let n = unsafe { libc::syscall(libc::SYS_getdents64, fd, buffer.as_mut_ptr(), size) };
        if n <= 0 {
            break;
        }
        // SAFETY: the kernel filled `n` bytes of the buffer.
        let bytes = unsafe { std::slice::from_raw_parts(buffer.as_ptr().cast::<u8>(), n as usize) };
        let mut at = 0;
        // linux_dirent64: u64 inode, i64 offset, u16 length, u8 type, name.
        while let Some(&[low, high]) = bytes.get(at + 16..at + 18) {
            count += 1;
            at += usize::from(u16::from_ne_bytes([low, high])).max(1);
        }
    }
    sys::close(fd);
    (count - 2).max(0)
}

fn files(text: &mut Text) {
    let create = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL;
    opened(text, "root_write", c"/.sessile-probe", create);
    opened(text, "usr_write", c"/usr/.sessile-probe", create);
    opened(text, "etc_write", c"/etc/.sessile-probe", create);
    opened(text, "tmp_write", c"/tmp/.sessile-probe", create);
    opened(text, "core_pattern_write", c"/proc/sys/kernel/core_pattern", libc::O_WRONLY);
    opened(text, "sysrq_write", c"/proc/sysrq-trigger", libc::O_WRONLY);
    opened(text, "kcore_read", c"/proc/kcore", libc::O_RDONLY);
    opened(text, "kmsg_read", c"/dev/kmsg", libc::O_RDONLY);
    opened(text, "mem_read", c"/dev/mem", libc::O_RDONLY);
    opened(text, "host_root_read", c"/root", libc::O_RDONLY | libc::O_DIRECTORY);
    number(text, "sys_entries", entries(c"/sys"));
    number(text, "home_entries", entries(c"/home"));
}
