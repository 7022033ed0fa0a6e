//! Finding out by trying: what a kernel has and what its settings allow are two things.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::mount::{FsOpenFlags, OpenTreeFlags};
use rustix::process::Pid;

/// `MOUNT_ATTR_IDMAP` of `linux/mount.h`.
const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

/// `struct mount_attr`.
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// A child that has made namespaces, or failed to, and waits. Killed and reaped on drop.
pub(super) struct Child {
    pid: Pid,
}

impl Child {
    /// Forks a child that unshares each set of namespaces after the other.
    ///
    /// Returns the child, or the index of the set that was refused and why.
    pub fn unshare(sets: &[libc::c_int]) -> Result<Self, (usize, io::Error)> {
        let start = |e| (0, e);
        let (reader, writer) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|e| start(e.into()))?;
        // SAFETY: the child makes only system calls that are safe after a fork of a process with
        // threads, allocates nothing and never returns.
        let raw = unsafe { libc::fork() };
        if raw == 0 {
            // SAFETY: as above; the descriptors and `sets` are copies of the parent's.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                let mut answer = [0u8; 8];
                for (index, &set) in sets.iter().enumerate() {
                    if libc::unshare(set) != 0 {
                        answer[0] = index as u8 + 1;
                        answer[4..].copy_from_slice(&(*libc::__errno_location()).to_ne_bytes());
                        break;
                    }
                }
                // A new user namespace makes a process undumpable until it executes, which an
                // app's process has done.
                libc::prctl(libc::PR_SET_DUMPABLE, 1);
                libc::write(writer.as_raw_fd(), answer.as_ptr().cast(), answer.len());
                loop {
                    libc::pause();
                }
            }
        }
        let Some(pid) = Pid::from_raw(raw).filter(|_| raw > 0) else {
            return Err(start(io::Error::last_os_error()));
        };
        let child = Self { pid };
        drop(writer);
        let mut answer = [0u8; 8];
        let n = rustix::io::retry_on_intr(|| rustix::io::read(&reader, &mut answer[..]))
            .map_err(|e| start(e.into()))?;
        if n != answer.len() {
            return Err(start(io::Error::from(io::ErrorKind::UnexpectedEof)));
        }
        if answer[0] == 0 {
            return Ok(child);
        }
        let errno = i32::from_ne_bytes([answer[4], answer[5], answer[6], answer[7]]);
        Err((usize::from(answer[0]) - 1, io::Error::from_raw_os_error(errno)))
    }

    fn file(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.pid.as_raw_pid())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process(self.pid, rustix::process::Signal::KILL);
        let _ = rustix::process::waitpid(Some(self.pid), rustix::process::WaitOptions::empty());
    }
}

/// Captures a connection in network and user namespaces that end with the attempt.
pub(super) fn capture() -> io::Result<()> {
    let child = Child::unshare(&[libc::CLONE_NEWUSER | libc::CLONE_NEWNET]).map_err(|(_, e)| e)?;
    let (userns, netns) = (File::open(child.file("ns/user"))?, File::open(child.file("ns/net"))?);
    crate::capture::try_out(userns.as_fd(), netns.as_fd())
}

/// Makes an unattached tmpfs that is never swapped.
pub(super) fn tmpfs_noswap() -> io::Result<()> {
    let fs = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_flag(&fs, "noswap")?;
    Ok(rustix::mount::fsconfig_create(&fs)?)
}

/// Makes an unattached copy of a folder's mount with other owners.
pub(super) fn idmapped_mount(folder: &Path) -> io::Result<()> {
    let child = Child::unshare(&[libc::CLONE_NEWUSER]).map_err(|(_, e)| e)?;
    std::fs::write(child.file("uid_map"), "0 100000 65536")?;
    std::fs::write(child.file("gid_map"), "0 100000 65536")?;
    let userns = File::open(child.file("ns/user"))?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(rustix::fs::CWD, folder, flags)?;
    let attributes = MountAttributes {
        set: MOUNT_ATTR_IDMAP,
        clear: 0,
        propagation: 0,
        userns: userns.as_raw_fd() as u64,
    };
    // SAFETY: mount_setattr(2) reads a structure of the size it is told; there is no wrapper.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<MountAttributes>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes an empty secret memory.
pub(super) fn memfd_secret() -> io::Result<()> {
    // SAFETY: takes flags only and returns a new descriptor; there is no wrapper.
    let fd = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel returned a new descriptor that nobody else owns.
    drop(unsafe { OwnedFd::from_raw_fd(fd as i32) });
    Ok(())
}

/// Asks for the seccomp action that refuses calls with an error.
pub(super) fn seccomp_filter() -> io::Result<()> {
    let action: u32 = libc::SECCOMP_RET_ERRNO;
    // SAFETY: SECCOMP_GET_ACTION_AVAIL reads one u32 and changes nothing.
    let done =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether the kernel has `clone3(2)`: it refuses an empty argument in its own way.
pub(super) fn has_clone3() -> bool {
    // SAFETY: a size of 0 is refused before the pointer is read.
    let done = unsafe { libc::syscall(libc::SYS_clone3, std::ptr::null::<u8>(), 0usize) };
    done < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL)
}

/// Whether the kernel has `close_range(2)`.
pub(super) fn has_close_range() -> bool {
    // SAFETY: the range holds no descriptor.
    unsafe { libc::syscall(libc::SYS_close_range, u32::MAX, u32::MAX, 0) == 0 }
}

/// Overwrites a read-only page of a process in a user namespace of this user, as a scrub does.
pub(super) fn write_other_memory() -> io::Result<()> {
    const LEN: usize = 4096;
    // SAFETY: a fresh anonymous mapping at an address of the kernel's choice, unmapped below.
    let page = unsafe {
        libc::mmap(std::ptr::null_mut(), LEN, libc::PROT_READ, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // Where user namespaces are forbidden, that is another finding; a plain process tells the rest.
    let child = Child::unshare(&[libc::CLONE_NEWUSER]).or_else(|_| Child::unshare(&[]));
    let written = child.map_err(|(_, e)| e).and_then(|child| {
        File::options().write(true).open(child.file("mem"))?.write_all_at(&[0; 8], page as u64)
    });
    // SAFETY: the mapping made above, to which nothing refers.
    unsafe { libc::munmap(page, LEN) };
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_that_is_tried_arrives_where_it_must_or_is_refused_outright() {
        match capture() {
            Ok(()) => {}
            // Rules that are taken and do something else are a mistake of ours.
            Err(why) if why.raw_os_error() == Some(libc::EPROTO) => panic!("captured wrongly"),
            Err(why) => eprintln!("skipped: nf_tables redirects nothing here: {why}"),
        }
    }
}
