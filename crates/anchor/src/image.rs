//! Programs as sealed memory files, so that what runs is what was built, whatever happens to the
//! files on disk.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd, OwnedFd};

use crate::sys;

const MFD_EXEC: u32 = 0x10;
const F_SEAL_EXEC: i32 = 0x20;

/// Makes an executable memory file of these bytes that can no longer be changed.
///
/// `name` shows in `/proc` only. The descriptor is closed at exec.
///
/// # Errors
/// `InvalidInput` for a name with a NUL; otherwise what the system says.
pub fn seal(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let name = CString::new(name).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name is a C string that outlives the calls.
    let create = |flags| sys::owned(unsafe { libc::memfd_create(name.as_ptr(), flags) });
    // Linux before 6.3 knows no MFD_EXEC and makes every memory file executable.
    let file = create(flags | MFD_EXEC).or_else(|_| create(flags))?;
    let mut file = File::from(file);
    file.write_all(bytes)?;
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: F_ADD_SEALS takes a number and touches no memory.
    let add = |seals: i32| sys::check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) });
    add(seals | F_SEAL_EXEC).or_else(|_| add(seals))?;
    add(libc::F_SEAL_SEAL)?;
    page_out(bytes);
    Ok(file.into())
}

/// Tells the kernel that these bytes are not needed in memory for now: a program that embeds
/// images reads them once. They stay what they are; at worst nothing happens.
fn page_out(bytes: &[u8]) {
    const PAGE: usize = 4096;
    let start = bytes.as_ptr().addr().next_multiple_of(PAGE);
    let end = (bytes.as_ptr().addr() + bytes.len()) & !(PAGE - 1);
    if start < end {
        let first = bytes.as_ptr().with_addr(start).cast_mut().cast();
        // SAFETY: whole pages within a live slice; MADV_PAGEOUT (madvise(2)) keeps their content.
        unsafe { libc::madvise(first, end - start, libc::MADV_PAGEOUT) };
    }
}

/// Gives back the memory of this program's code; what is needed again is read from its file's cache. What
/// a program does once, at its start, then weighs on it no longer. At worst nothing happens.
pub fn give_back_code() {
    let (Ok(maps), Ok(program)) = (std::fs::read_to_string("/proc/self/maps"), std::env::current_exe())
    else {
        return;
    };
    for (first, end) in maps.lines().filter_map(|line| code_in(line, program.to_str()?)) {
        let address = std::ptr::without_provenance_mut(first);
        // SAFETY: code is mapped from its file and written to by nobody, so that each page reads as before
        // (madvise(2), MADV_DONTNEED).
        unsafe { libc::madvise(address, end - first, libc::MADV_DONTNEED) };
    }
}

/// The first address and the end of a mapping that is this program's code, by its line in proc_pid_maps(5).
fn code_in(line: &str, program: &str) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (first, end) = words.next()?.split_once('-')?;
    let is_code = words.next()? == "r-xp" && line.ends_with(program) && words.nth(3)? == program;
    let number = |text| usize::from_str_radix(text, 16).ok();
    is_code.then(|| Some((number(first)?, number(end)?)))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_that_was_given_back_runs() {
        let program = std::env::current_exe().unwrap();
        let resident = || {
            let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
            let mut lines =
                text.lines().skip_while(|line| code_in(line, program.to_str().unwrap()).is_none());
            let line = lines.find_map(|line| line.strip_prefix("Rss:")).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
        };
        let before = resident();
        give_back_code();
        let after = resident();
        assert!(after < before, "{before} KiB, then {after} KiB");
    }

    #[test]
    fn only_the_programs_own_code_is_found() {
        let line = "00400000-00c51000 r-xp 00200000 fe:00 1234                     /usr/bin/sessile";
        assert_eq!(code_in(line, "/usr/bin/sessile"), Some((0x40_0000, 0xc5_1000)));
        assert_eq!(code_in(line, "/bin/sessile"), None);
        assert_eq!(code_in(&line.replace("r-xp", "rw-p"), "/usr/bin/sessile"), None);
        assert_eq!(code_in("7f00-7fff r-xp 0 00:00 0 ", "/usr/bin/sessile"), None);
        assert_eq!(code_in("", ""), None);
    }

    use std::io::Seek as _;

    #[test]
    fn an_image_runs_and_cannot_be_changed() {
        let bytes = std::fs::read("/bin/true").unwrap();
        let image = seal("test-image", &bytes).unwrap();
        let path = format!("/proc/self/fd/{}", image.as_raw_fd());
        // The child opens the path before its exec closes the descriptor.
        assert!(std::process::Command::new(path).status().unwrap().success());
        let mut file = File::from(image);
        file.rewind().unwrap();
        assert!(file.write_all(b"x").is_err());
        assert!(file.set_len(0).is_err());
    }
}
