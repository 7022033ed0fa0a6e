//! Which pages of a process exist, and of what kind: the `PAGEMAP_SCAN` ioctl (Linux 6.7), or
//! `/proc/PID/pagemap` on older kernels. Sparse mappings cost next to nothing with the first.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;

use rustix::process::Pid;

use super::ScrubError;
use super::extents::page_size;

// linux/fs.h
const PAGEMAP_SCAN: libc::c_ulong = 0xc060_6610;
const PAGE_IS_FILE: u64 = 1 << 2;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_SWAPPED: u64 = 1 << 4;
const PAGE_IS_PFNZERO: u64 = 1 << 5;
const PAGE_IS_GUARD: u64 = 1 << 8;

// Documentation/admin-guide/mm/pagemap.rst
const ENTRY_PRESENT: u64 = 1 << 63;
const ENTRY_SWAPPED: u64 = 1 << 62;
const ENTRY_FILE_OR_SHARED: u64 = 1 << 61;
const ENTRY_GUARD: u64 = 1 << 58;

/// `struct pm_scan_arg`.
#[repr(C)]
#[derive(Default)]
struct ScanArguments {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `struct page_region`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

/// Pages to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// Private pages: written by the process or its ancestors, not a file's.
    Private,
    /// A file's or shared memory's pages that this process maps.
    File,
    /// Both.
    Any,
}

/// Neighbouring pages of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub start: u64,
    pub end: u64,
    /// They are in swap.
    pub swapped: bool,
    /// They may be the kernel's zero page, of which writing would make copies.
    pub maybe_zero: bool,
}

/// How page tables are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Scan {
        /// The kernel knows guard pages.
        guards: bool,
    },
    Entries,
}

/// A process's page tables.
#[derive(Debug)]
pub(super) struct PageMap {
    file: File,
    method: Method,
}

impl PageMap {
    pub fn open(pid: Pid) -> Result<Self, ScrubError> {
        let file = File::open(format!("/proc/{}/pagemap", pid.as_raw_pid()))
            .map_err(ScrubError::from_io("pagemap"))?;
        let mut map = Self { file, method: Method::Scan { guards: true } };
        for method in [Method::Scan { guards: true }, Method::Scan { guards: false }] {
            map.method = method;
            if map.probe() {
                return Ok(map);
            }
        }
        map.method = Method::Entries;
        Ok(map)
    }

    /// The same, as on a kernel without the ioctl.
    #[cfg(test)]
    pub fn open_entries(pid: Pid) -> Self {
        let mut map = Self::open(pid).unwrap();
        map.method = Method::Entries;
        map
    }

    /// Whether the kernel has the ioctl in this form.
    pub fn has_scan(&self) -> bool {
        matches!(self.method, Method::Scan { .. })
    }

    fn probe(&self) -> bool {
        let page = page_size();
        self.scan_once(page, 2 * page, Want::Any, &mut [Region::default(); 1]).is_ok()
    }

    /// The runs of such pages between two addresses, in order.
    pub fn runs(&self, start: u64, end: u64, want: Want) -> io::Result<Vec<Run>> {
        match self.method {
            Method::Scan { .. } => self.scan(start, end, want),
            Method::Entries => self.entries(start, end, want),
        }
    }

    fn scan(&self, start: u64, end: u64, want: Want) -> io::Result<Vec<Run>> {
        let mut runs = Vec::new();
        let mut regions = [Region::default(); 512];
        let mut at = start;
        while at < end {
            let (found, walked) = match self.scan_once(at, end, want, &mut regions) {
                Err(e) if e.raw_os_error() == Some(libc::EINTR) => continue,
                other => other?,
            };
            for region in &regions[..found] {
                let swapped = region.categories & PAGE_IS_SWAPPED != 0;
                push(&mut runs, Run { start: region.start, end: region.end, swapped, maybe_zero: false });
            }
            if walked <= at {
                break;
            }
            at = walked;
        }
        Ok(runs)
    }

    fn scan_once(&self, start: u64, end: u64, want: Want, out: &mut [Region]) -> io::Result<(usize, u64)> {
        let guard = if self.method == (Method::Scan { guards: true }) { PAGE_IS_GUARD } else { 0 };
        let (inverted, mask) = match want {
            Want::Private => (PAGE_IS_FILE | PAGE_IS_PFNZERO | guard, PAGE_IS_FILE | PAGE_IS_PFNZERO | guard),
            Want::File => (guard, PAGE_IS_FILE | guard),
            Want::Any => (PAGE_IS_PFNZERO | guard, PAGE_IS_PFNZERO | guard),
        };
        let mut arguments = ScanArguments {
            size: size_of::<ScanArguments>() as u64,
            start,
            end,
            vec: out.as_mut_ptr() as u64,
            vec_len: out.len() as u64,
            category_inverted: inverted,
            category_mask: mask,
            category_anyof_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
            return_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
            ..ScanArguments::default()
        };
        // SAFETY: the argument has the layout the kernel expects and says so by its size; `vec`
        // points to `vec_len` regions that outlive the call. There is no safe wrapper.
        let found = unsafe { libc::ioctl(self.file.as_raw_fd(), PAGEMAP_SCAN, &raw mut arguments) };
        if found < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((found as usize, arguments.walk_end))
    }

    fn entries(&self, start: u64, end: u64, want: Want) -> io::Result<Vec<Run>> {
        let page = page_size();
        let mut runs = Vec::new();
        let mut buffer = vec![0u8; 64 << 10];
        let mut at = start;
        while at < end {
            let wanted = ((end - at) / page * 8).min(buffer.len() as u64) as usize;
            let got = self.file.read_at(&mut buffer[..wanted], at / page * 8)?;
            if got < 8 {
                break;
            }
            for (i, entry) in buffer[..got].chunks_exact(8).enumerate() {
                let entry = u64::from_ne_bytes(entry.try_into().unwrap_or_default());
                let exists = entry & (ENTRY_PRESENT | ENTRY_SWAPPED) != 0 && entry & ENTRY_GUARD == 0;
                let of_file = entry & ENTRY_FILE_OR_SHARED != 0;
                let wanted = match want {
                    Want::Private => !of_file,
                    Want::File => of_file,
                    Want::Any => true,
                };
                if exists && wanted {
                    let start = at + i as u64 * page;
                    let swapped = entry & ENTRY_SWAPPED != 0;
                    let run = Run { start, end: start + page, swapped, maybe_zero: !swapped && !of_file };
                    push(&mut runs, run);
                }
            }
            at += got as u64 / 8 * page;
        }
        Ok(runs)
    }
}

fn push(runs: &mut Vec<Run>, run: Run) {
    match runs.last_mut() {
        Some(last)
            if last.end == run.start && last.swapped == run.swapped && last.maybe_zero == run.maybe_zero =>
        {
            last.end = run.end;
        }
        Some(_) | None => runs.push(run),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: usize = 1 << 20;

    /// A private anonymous mapping; deliberately never unmapped.
    fn map(protection: libc::c_int) -> *mut u8 {
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let p = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                LEN,
                protection,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        assert_ne!(p, libc::MAP_FAILED);
        // SAFETY: the range is the mapping made above.
        assert_eq!(unsafe { libc::madvise(p, LEN, libc::MADV_NOHUGEPAGE) }, 0);
        p.cast()
    }

    #[test]
    fn both_ways_see_the_same_pages() {
        let own = rustix::process::getpid();
        let page = page_size() as usize;
        let p = map(libc::PROT_READ | libc::PROT_WRITE);
        for i in [0, 1, 7, 255] {
            // SAFETY: within the mapping.
            unsafe { p.add(i * page).write_volatile(1) };
        }
        // Read only: the kernel's zero page.
        // SAFETY: within the mapping.
        unsafe { p.add(9 * page).read_volatile() };
        let (start, end) = (p as u64, (p as usize + LEN) as u64);
        let pages = |map: &PageMap, want| -> Vec<u64> {
            let runs = map.runs(start, end, want).unwrap();
            runs.iter()
                .flat_map(|r| (r.start..r.end).step_by(page))
                .map(|a| (a - start) / page as u64)
                .collect()
        };
        let scan = PageMap::open(own).unwrap();
        if scan.has_scan() {
            assert_eq!(pages(&scan, Want::Private), [0, 1, 7, 255]);
        } else {
            eprintln!("skipped: this kernel has no PAGEMAP_SCAN; only its entries are tested");
        }
        let entries = PageMap::open_entries(own);
        // The entries do not tell the zero page; writers look at the content then.
        assert_eq!(pages(&entries, Want::Private), [0, 1, 7, 9, 255]);
        assert!(entries.runs(start, end, Want::Private).unwrap().iter().all(|r| r.maybe_zero));
        assert_eq!(pages(&entries, Want::File), [0; 0]);
    }
}
