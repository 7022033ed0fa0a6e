//! `/proc/PID/maps` (proc_pid_maps(5)).

use std::fs;

use rustix::process::Pid;

use super::{FileId, ScrubError};

/// One mapping of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub start: u64,
    pub end: u64,
    pub writable: bool,
    pub shared: bool,
    /// Offset of `start` in the file.
    pub offset: u64,
    /// Device and inode; both 0 for anonymous memory.
    pub file: FileId,
    /// What the kernel calls it; may be empty.
    pub name: String,
}

impl Mapping {
    pub fn is_deleted(&self) -> bool {
        self.name.ends_with(" (deleted)")
    }

    /// Pages that belong to the kernel, whatever the process.
    pub fn is_kernel_page(&self) -> bool {
        ["[vdso]", "[vvar", "[vsyscall]", "[vectors]", "[sigpage]", "[uprobes]"]
            .iter()
            .any(|p| self.name.starts_with(p))
    }
}

/// The mappings of a process, by address. Empty for one that has ended but is not reaped.
pub(super) fn read(pid: Pid) -> Result<Vec<Mapping>, ScrubError> {
    let text = fs::read(format!("/proc/{}/maps", pid.as_raw_pid())).map_err(ScrubError::from_io("maps"))?;
    Ok(text.split(|&b| b == b'\n').filter_map(parse).collect())
}

pub(crate) fn parse(line: &[u8]) -> Option<Mapping> {
    let line = String::from_utf8_lossy(line);
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let permissions = fields.next()?.as_bytes();
    let offset = u64::from_str_radix(fields.next()?, 16).ok()?;
    let (major, minor) = fields.next()?.split_once(':')?;
    let dev = libc::makedev(u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?);
    let ino = fields.next()?.parse().ok()?;
    Some(Mapping {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        writable: permissions.get(1) == Some(&b'w'),
        shared: permissions.get(3) == Some(&b's'),
        offset,
        file: FileId { dev, ino },
        name: fields.next().unwrap_or("").trim_start().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_are_read_as_the_kernel_writes_them() {
        let got =
            parse(b"7f0a-8f0b rw-s 00001000 00:01 2051                       /dev/zero (deleted)").unwrap();
        assert_eq!((got.start, got.end, got.offset), (0x7f0a, 0x8f0b, 0x1000));
        assert!(got.writable && got.shared && got.is_deleted());
        assert_eq!(got.file, FileId { dev: libc::makedev(0, 1), ino: 2051 });
        let got = parse(b"7ffd-7ffe r--p 00000000 00:00 0                          [vvar_vclock]").unwrap();
        assert!(!got.writable && !got.shared && got.is_kernel_page());
        assert_eq!(parse(b"7ffd-7ffe r--p 00000000 00:00 0 ").unwrap().name, "");
    }

    proptest! {
        #[test]
        fn arbitrary_lines_never_panic(line in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = parse(&line);
        }
    }
}
