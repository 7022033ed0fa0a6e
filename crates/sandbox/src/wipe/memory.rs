//! Overwriting the memory of frozen processes.
//!
//! Only pages that exist are written, so that a sparse mapping costs what it holds. What a
//! mapping is decides how its pages are reached:
//!
//! | mapping | pages | reached by |
//! |---|---|---|
//! | private, writable | anonymous and copied file pages | `process_vm_writev(2)` |
//! | private, otherwise (also `PROT_NONE`) | the same | `/proc/PID/mem`, which may write them |
//! | shared memory | all of the file's | `/proc/PID/map_files`, else through the mapping |
//! | other files | none: they are grants or the host's | |
//!
//! A process must be frozen and is to be killed afterwards: it would crash. What it had in
//! registers lies in kernel memory that cannot be reached from here; the receipt names it. Apps
//! must not be able to use `userfaultfd(2)`: a write to a page it protects would wait for them.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;

use super::extents::{ZEROS_LEN, overwrite_extents, page_size};
use super::maps::{self, Mapping};
use super::pages::{PageMap, Run, Want};
use super::report::{ScrubReport, Skipped};
use super::{FileId, Scrub, ScrubError, ScrubKinds, ScrubPlan};

/// Most runs of pages in one `process_vm_writev` (the kernel's `UIO_MAXIOV`).
const MAX_RUNS: usize = 1024;
/// Most bytes in one `process_vm_writev`.
const MAX_BATCH: u64 = 512 << 20;
/// Pages that may refuse one after the other before the rest of a run is given up.
const MAX_REFUSALS: u32 = 256;
/// Pages of one file whose overwriting is remembered: 64 GiB at 4 KiB. Beyond, pages that several
/// processes map are overwritten more than once.
const MAX_COVERED: u64 = 1 << 24;

/// Overwrites the memory of one frozen process: [`Scrub::memory`] for a single one.
///
/// # Errors
/// When the process has ended or may not be touched.
pub fn scrub_process(pid: Pid, plan: &ScrubPlan) -> Result<ScrubReport, ScrubError> {
    Scrub::new(plan.clone())?.memory(pid)
}

/// What is to be done with a mapping.
#[derive(Debug, PartialEq, Eq)]
enum Class {
    Skip(Skipped),
    /// Private pages only.
    Private,
    /// Private pages, and the file's own, which nothing else reaches.
    PrivateOfUnlinked,
    Shared,
}

/// The process being scrubbed.
struct Target {
    pid: Pid,
    mem: File,
    pages: PageMap,
}

impl Scrub {
    /// Overwrites the memory of one frozen process. Shared memory that an earlier process of this
    /// scrub had, too, is not overwritten again.
    ///
    /// # Errors
    /// When the process has ended or may not be touched.
    pub fn memory(&mut self, pid: Pid) -> Result<ScrubReport, ScrubError> {
        let mappings = maps::read(pid)?;
        let mut report = ScrubReport::default();
        if mappings.is_empty() {
            return Ok(report);
        }
        let mem = File::options()
            .read(true)
            .write(true)
            .open(format!("/proc/{}/mem", pid.as_raw_pid()))
            .map_err(ScrubError::from_io("mem"))?;
        let target = Target { pid, mem, pages: PageMap::open(pid)? };
        self.scrub_mappings(&target, &mappings, &mut report)?;
        Ok(report)
    }

    fn scrub_mappings(
        &mut self,
        target: &Target,
        mappings: &[Mapping],
        report: &mut ScrubReport,
    ) -> Result<(), ScrubError> {
        for mapping in mappings {
            match self.class(mapping) {
                Class::Skip(why) => report.skip(why),
                Class::Private => self.scrub_private(target, mapping, report)?,
                Class::PrivateOfUnlinked => {
                    self.scrub_private(target, mapping, report)?;
                    self.scrub_unlinked(target, mapping, report)?;
                }
                Class::Shared => self.scrub_shared(target, mapping, report)?,
            }
        }
        Ok(())
    }

    fn class(&self, mapping: &Mapping) -> Class {
        let ours = self.is_storage(mapping.file.dev);
        if mapping.is_kernel_page() {
            Class::Skip(Skipped::KernelPage)
        } else if mapping.name.starts_with("/secretmem") {
            Class::Skip(Skipped::SecretMemory)
        } else if !mapping.shared {
            if ours && mapping.is_deleted() { Class::PrivateOfUnlinked } else { Class::Private }
        } else if self.plan.spare.contains(&mapping.file) {
            Class::Skip(Skipped::Spare)
        } else if ours || self.is_memory(mapping.file.dev) {
            Class::Shared
        } else if mapping.name.starts_with("anon_inode:") {
            Class::Skip(Skipped::KernelObject)
        } else {
            Class::Skip(Skipped::Outside)
        }
    }

    fn scrub_private(
        &self,
        target: &Target,
        mapping: &Mapping,
        report: &mut ScrubReport,
    ) -> Result<(), ScrubError> {
        let kind = if mapping.writable { ScrubKinds::PRIVATE } else { ScrubKinds::READ_ONLY };
        if !self.plan.kinds.has(kind) {
            return Ok(());
        }
        let runs = target
            .pages
            .runs(mapping.start, mapping.end, Want::Private)
            .map_err(ScrubError::from_io("pagemap"))?;
        if self.write_runs(target, &runs, mapping.writable, report) > 0 {
            report.objects += 1;
        }
        Ok(())
    }

    /// The pages of an unlinked file of session storage that is mapped but not open.
    fn scrub_unlinked(
        &mut self,
        target: &Target,
        mapping: &Mapping,
        report: &mut ScrubReport,
    ) -> Result<(), ScrubError> {
        if !self.plan.kinds.has(ScrubKinds::SHARED) || self.done.contains(&mapping.file) {
            return Ok(());
        }
        if self.overwrite_mapped_file(target, mapping, report) {
            return Ok(());
        }
        let runs = target
            .pages
            .runs(mapping.start, mapping.end, Want::File)
            .map_err(ScrubError::from_io("pagemap"))?;
        report.unwritable_bytes += runs.iter().map(|r| r.end - r.start).sum::<u64>();
        Ok(())
    }

    fn scrub_shared(
        &mut self,
        target: &Target,
        mapping: &Mapping,
        report: &mut ScrubReport,
    ) -> Result<(), ScrubError> {
        if !self.plan.kinds.has(ScrubKinds::SHARED)
            || self.done.contains(&mapping.file)
            || self.overwrite_mapped_file(target, mapping, report)
        {
            return Ok(());
        }
        self.scrub_shared_pages(target, mapping, report)
    }

    /// Shared memory whose file this process may not open: reached page by page.
    fn scrub_shared_pages(
        &mut self,
        target: &Target,
        mapping: &Mapping,
        report: &mut ScrubReport,
    ) -> Result<(), ScrubError> {
        let runs = target
            .pages
            .runs(mapping.start, mapping.end, Want::Any)
            .map_err(ScrubError::from_io("pagemap"))?;
        let fresh = self.uncovered(mapping, &runs);
        if !mapping.writable {
            // A shared page can be written only where it is mapped writable: another process of
            // the session may, otherwise it is freed as it is.
            report.unwritable_bytes += fresh.iter().map(|r| r.end - r.start).sum::<u64>();
            return Ok(());
        }
        let mut written = self.write_runs(target, &fresh, true, report);
        self.cover(mapping, &fresh);
        let gaps = self.uncovered(mapping, &gaps_between(mapping, &runs));
        let (fill, unseen) = self.take_fill(&gaps);
        report.unseen_bytes += unseen;
        written += self.write_runs(target, &fill, true, report);
        self.cover(mapping, &fill);
        if written > 0 {
            report.objects += 1;
        }
        Ok(())
    }

    /// Overwrites the whole file behind a mapping. False when this process may not open it.
    fn overwrite_mapped_file(
        &mut self,
        target: &Target,
        mapping: &Mapping,
        report: &mut ScrubReport,
    ) -> bool {
        let path =
            format!("/proc/{}/map_files/{:x}-{:x}", target.pid.as_raw_pid(), mapping.start, mapping.end);
        let Ok(fd) = rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) else {
            return false;
        };
        let same = |s: &rustix::fs::Stat| FileId { dev: s.st_dev, ino: s.st_ino } == mapping.file;
        if !rustix::fs::fstat(&fd).is_ok_and(|s| same(&s)) {
            return false;
        }
        let Ok(bytes) = overwrite_extents(fd.as_fd(), &self.zeros) else { return false };
        self.done.insert(mapping.file);
        report.bytes += bytes;
        report.objects += u64::from(bytes > 0);
        true
    }

    /// Writes zeros over runs of pages; returns the bytes written and counts them.
    fn write_runs(&self, target: &Target, runs: &[Run], writable: bool, report: &mut ScrubReport) -> u64 {
        let mut written = 0;
        let mut batch = Vec::with_capacity(runs.len().min(MAX_RUNS));
        let mut batch_len = 0;
        for piece in runs.iter().flat_map(|run| split(*run, MAX_BATCH / 2)) {
            batch.push(piece);
            batch_len += piece.end - piece.start;
            if batch.len() == MAX_RUNS || batch_len >= MAX_BATCH / 2 {
                written += self.write_batch(target, &batch, batch_len, writable, report);
                batch.clear();
                batch_len = 0;
            }
        }
        if !batch.is_empty() {
            written += self.write_batch(target, &batch, batch_len, writable, report);
        }
        report.bytes += written;
        written
    }

    fn write_batch(
        &self,
        target: &Target,
        runs: &[Run],
        len: u64,
        writable: bool,
        report: &mut ScrubReport,
    ) -> u64 {
        let plain = writable && runs.iter().all(|r| !r.maybe_zero);
        let written = if plain && self.write_remote(target.pid, runs, len) {
            len
        } else {
            runs.iter().map(|run| self.write_through_mem(target, *run, report)).sum()
        };
        report.swapped_bytes += runs.iter().filter(|r| r.swapped).map(|r| r.end - r.start).sum::<u64>();
        written
    }

    /// Whether `process_vm_writev` wrote everything.
    fn write_remote(&self, pid: Pid, runs: &[Run], len: u64) -> bool {
        let zeros = self.zeros.bytes();
        let mut local = Vec::with_capacity((len as usize).div_ceil(ZEROS_LEN));
        let mut left = len as usize;
        while left > 0 {
            let part = left.min(ZEROS_LEN);
            local.push(libc::iovec { iov_base: zeros.as_ptr().cast_mut().cast(), iov_len: part });
            left -= part;
        }
        let remote: Vec<_> = runs
            .iter()
            .map(|r| libc::iovec {
                iov_base: std::ptr::with_exposed_provenance_mut(r.start as usize),
                iov_len: (r.end - r.start) as usize,
            })
            .collect();
        // SAFETY: the kernel only reads the local vectors, which all lie in `zeros`; the remote
        // ones are addresses of another process and never dereferenced here. There is no safe
        // wrapper.
        let wrote = unsafe {
            libc::process_vm_writev(
                pid.as_raw_pid(),
                local.as_ptr(),
                local.len() as libc::c_ulong,
                remote.as_ptr(),
                remote.len() as libc::c_ulong,
                0,
            )
        };
        wrote == len as isize
    }

    /// Writes through `/proc/PID/mem`, which may write private pages that are not writable.
    fn write_through_mem(&self, target: &Target, run: Run, report: &mut ScrubReport) -> u64 {
        if run.maybe_zero {
            return self.write_what_is_not_zero(target, run, report);
        }
        let page = page_size();
        let (mut at, mut written, mut refusals) = (run.start, 0, 0);
        while at < run.end {
            let len = (run.end - at).min(ZEROS_LEN as u64) as usize;
            match target.mem.write_at(&self.zeros.bytes()[..len], at) {
                Ok(n) if n > 0 => {
                    written += n as u64;
                    at += n as u64;
                    refusals = 0;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => {
                    refusals += 1;
                    let next = if refusals > MAX_REFUSALS { run.end } else { (at + page).min(run.end) };
                    report.failed_bytes += next - at;
                    at = next;
                }
            }
        }
        written
    }

    /// For kernels that do not tell the zero page from others: writing it would make a copy of it
    /// for every page of what may be a huge mapping that was only ever read.
    fn write_what_is_not_zero(&self, target: &Target, run: Run, report: &mut ScrubReport) -> u64 {
        let page = page_size() as usize;
        let mut buffer = vec![0u8; ZEROS_LEN.min((run.end - run.start) as usize)];
        let (mut at, mut written) = (run.start, 0);
        while at < run.end {
            let len = buffer.len().min((run.end - at) as usize);
            let got = target.mem.read_at(&mut buffer[..len], at).unwrap_or(0);
            // What cannot be read is written, to be on the safe side.
            buffer[got..len].fill(1);
            for (i, bytes) in buffer[..len].chunks(page).enumerate() {
                if bytes != &self.zeros.bytes()[..bytes.len()] {
                    let start = at + (i * page) as u64;
                    let one = Run { start, end: start + bytes.len() as u64, maybe_zero: false, ..run };
                    written += self.write_through_mem(target, one, report);
                }
            }
            at += len as u64;
        }
        buffer.fill(0);
        std::hint::black_box(&buffer);
        written
    }

    /// The parts of runs whose pages of the file were not overwritten through another mapping.
    fn uncovered(&self, mapping: &Mapping, runs: &[Run]) -> Vec<Run> {
        let Some(bits) = self.covered.get(&mapping.file) else { return runs.to_vec() };
        let page = page_size();
        let index = |at: u64| (mapping.offset + (at - mapping.start)) / page;
        let is_covered = |i: u64| bits.get((i / 64) as usize).is_some_and(|word| word >> (i % 64) & 1 == 1);
        let mut out: Vec<Run> = Vec::new();
        for run in runs {
            // Beyond what is remembered nothing is covered, and huge gaps are not walked.
            let known = (bits.len() as u64 * 64).saturating_sub(index(run.start)).saturating_mul(page);
            let walked_end = run.start.saturating_add(known).min(run.end);
            let walked = (run.start..walked_end).step_by(page as usize).filter(|&at| !is_covered(index(at)));
            let rest = (walked_end < run.end).then_some((walked_end, run.end));
            for (start, end) in walked.map(|at| (at, at + page)).chain(rest) {
                match out.last_mut() {
                    Some(last) if last.end == start && last.swapped == run.swapped => last.end = end,
                    Some(_) | None => out.push(Run { start, end, ..*run }),
                }
            }
        }
        out
    }

    fn cover(&mut self, mapping: &Mapping, runs: &[Run]) {
        let page = page_size();
        let bits = self.covered.entry(mapping.file).or_default();
        for run in runs {
            let first = (mapping.offset + (run.start - mapping.start)) / page;
            let last = (first + (run.end - run.start) / page).min(MAX_COVERED);
            for i in first..last {
                let word = (i / 64) as usize;
                if bits.len() <= word {
                    bits.resize(word + 1, 0);
                }
                bits[word] |= 1 << (i % 64);
            }
        }
    }

    /// Takes from gaps what the plan still allows to fill; returns it and the bytes left out.
    fn take_fill(&mut self, gaps: &[Run]) -> (Vec<Run>, u64) {
        let (mut fill, mut unseen) = (Vec::new(), 0);
        for gap in gaps {
            let len = (gap.end - gap.start).min(self.fill_left / page_size() * page_size());
            if len > 0 {
                fill.push(Run { end: gap.start + len, ..*gap });
                self.fill_left -= len;
            }
            unseen += gap.end - gap.start - len;
        }
        (fill, unseen)
    }
}

fn split(run: Run, most: u64) -> impl Iterator<Item = Run> {
    (run.start..run.end).step_by(most as usize).map(move |start| Run {
        start,
        end: run.end.min(start + most),
        ..run
    })
}

/// What of a mapping lies between its runs.
fn gaps_between(mapping: &Mapping, runs: &[Run]) -> Vec<Run> {
    let gap = |start, end| Run { start, end, swapped: false, maybe_zero: false };
    let mut at = mapping.start;
    let mut gaps = Vec::new();
    for run in runs {
        if at < run.start {
            gaps.push(gap(at, run.start));
        }
        at = run.end;
    }
    if at < mapping.end {
        gaps.push(gap(at, mapping.end));
    }
    gaps
}

#[cfg(test)]
mod tests;
