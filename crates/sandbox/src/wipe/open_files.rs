//! Overwriting memfds and unlinked files that processes hold open.
//!
//! They are found in `/proc/PID/task/TID/fd` and opened again from there: the app's own
//! descriptor may be read-only or append-only, a fresh one is neither.

use std::ffi::c_ulong;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{Mode, OFlags, SealFlags, Stat};
use rustix::io::Errno;
use rustix::process::Pid;

use super::extents::overwrite_extents;
use super::report::{ScrubReport, Skipped};
use super::{FileId, Scrub, ScrubError, ScrubKinds};

/// `KCMP_FILES` of `linux/kcmp.h`.
const KCMP_FILES: c_ulong = 2;

/// A regular file that a process holds open.
#[derive(Debug)]
pub(super) struct OpenFile {
    /// Its place in `/proc`.
    pub path: String,
    pub stat: Stat,
}

impl OpenFile {
    pub fn id(&self) -> FileId {
        FileId { dev: self.stat.st_dev, ino: self.stat.st_ino }
    }
}

impl Scrub {
    /// Overwrites the memfds and the unlinked files of session storage that one frozen process
    /// holds open. Files that an earlier process of this scrub had, too, are not overwritten
    /// again.
    ///
    /// # Errors
    /// When the process has ended or may not be looked into.
    pub fn open_files(&mut self, pid: Pid) -> Result<ScrubReport, ScrubError> {
        let mut report = ScrubReport::default();
        for file in open_files(pid)? {
            let id = file.id();
            let kind = if self.is_memory(id.dev) {
                ScrubKinds::MEMFDS
            } else if self.is_storage(id.dev) && file.stat.st_nlink == 0 {
                ScrubKinds::UNLINKED
            } else {
                continue;
            };
            if self.plan.spare.contains(&id) {
                report.skip(Skipped::Spare);
            } else if self.plan.kinds.has(kind) && self.done.insert(id) {
                self.overwrite_open_file(&file, &mut report);
            }
        }
        Ok(report)
    }

    fn overwrite_open_file(&mut self, file: &OpenFile, report: &mut ScrubReport) {
        let allocated = file.stat.st_blocks as u64 * 512;
        let overwritten = reopen(file, OFlags::RDWR).and_then(|fd| {
            let sealed = rustix::fs::fcntl_get_seals(&fd)
                .is_ok_and(|s| s.intersects(SealFlags::WRITE | SealFlags::FUTURE_WRITE));
            if sealed { Ok(None) } else { overwrite_extents(fd.as_fd(), &self.zeros).map(Some) }
        });
        match overwritten {
            Ok(Some(bytes)) => {
                report.bytes += bytes;
                report.objects += u64::from(bytes > 0);
            }
            Ok(None) => {
                report.sealed_files += 1;
                report.sealed_bytes += allocated;
                // A mapping made before F_SEAL_FUTURE_WRITE can still be written.
                self.done.remove(&file.id());
            }
            // A program that runs cannot be opened for writing.
            Err(e) if e.raw_os_error() == Some(libc::ETXTBSY) => report.unwritable_bytes += allocated,
            Err(_) => {
                report.failed_bytes += allocated;
                self.done.remove(&file.id());
            }
        }
    }
}

/// Opens the file again, whatever its mode.
pub(super) fn reopen(file: &OpenFile, access: OFlags) -> io::Result<OwnedFd> {
    let flags = access | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = match rustix::fs::open(&file.path, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            // Its owner may change the mode, and the file has no name that others could use.
            rustix::fs::chmod(&file.path, Mode::RUSR | Mode::WUSR)?;
            rustix::fs::open(&file.path, flags, Mode::empty())?
        }
        other => other?,
    };
    let stat = rustix::fs::fstat(&fd)?;
    if (stat.st_dev, stat.st_ino) == (file.stat.st_dev, file.stat.st_ino) {
        Ok(fd)
    } else {
        Err(Errno::STALE.into())
    }
}

/// The regular files that a process's threads hold open, and the one it executes.
pub(super) fn open_files(pid: Pid) -> Result<Vec<OpenFile>, ScrubError> {
    let raw = pid.as_raw_pid();
    let mut files = Vec::new();
    push_regular(&mut files, format!("/proc/{raw}/exe"));
    let tasks = fs::read_dir(format!("/proc/{raw}/task")).map_err(ScrubError::from_io("task"))?;
    for task in tasks {
        let task = task.map_err(ScrubError::from_io("task"))?;
        let Some(tid) = task.file_name().to_str().and_then(|t| t.parse::<i32>().ok()) else { continue };
        if tid != raw && share_descriptors(raw, tid) {
            continue;
        }
        let descriptors = match fs::read_dir(task.path().join("fd")) {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => continue,
            other => other.map_err(ScrubError::from_io("fd"))?,
        };
        for descriptor in descriptors {
            let descriptor = match descriptor {
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => break,
                other => other.map_err(ScrubError::from_io("fd"))?,
            };
            if let Ok(path) = descriptor.path().into_os_string().into_string() {
                push_regular(&mut files, path);
            }
        }
    }
    Ok(files)
}

fn push_regular(files: &mut Vec<OpenFile>, path: String) {
    // Follows the link to the file itself without opening it.
    if let Ok(stat) = rustix::fs::stat(&path)
        && stat.st_mode & libc::S_IFMT == libc::S_IFREG
    {
        files.push(OpenFile { path, stat });
    }
}

/// Whether two tasks have one descriptor table. When it cannot be told, each is looked through.
fn share_descriptors(a: i32, b: i32) -> bool {
    // SAFETY: kcmp(2) with KCMP_FILES takes two task ids and touches no memory of ours; there is
    // no wrapper.
    unsafe { libc::syscall(libc::SYS_kcmp, a, b, KCMP_FILES, 0 as c_ulong, 0 as c_ulong) == 0 }
}
