//! What a scrub did and what it could not do.

use std::collections::BTreeMap;

use sessile_model::ByteSize;
use sessile_model::receipt::{Residue, WipeEvidence};

/// Why a mapping or file was left alone. None of these is a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Skipped {
    /// The kernel's own code and clocks (`[vdso]`, `[vvar]`).
    KernelPage,
    /// Secret memory, which the kernel clears when it frees it.
    SecretMemory,
    /// Of a file system outside the session (a grant, the host's programs).
    Outside,
    /// A kernel object such as a ring of io_uring.
    KernelObject,
    /// Named in the plan as holding nothing of an app's.
    Spare,
}

/// Figures of a scrub. Add up the reports of all processes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ScrubReport {
    /// Bytes overwritten with zeros.
    pub bytes: u64,
    /// Mappings or files they were in.
    pub objects: u64,
    /// Of these, bytes that were in swap: their old copy on the swap device is residue.
    pub swapped_bytes: u64,
    /// Bytes that could not be written although they should be.
    pub failed_bytes: u64,
    /// Files sealed against writing.
    pub sealed_files: u64,
    /// Their size in bytes.
    pub sealed_bytes: u64,
    /// Bytes of memory that may not be written by this process (shared and mapped read-only, or a
    /// running program's unlinked file).
    pub unwritable_bytes: u64,
    /// Bytes of shared memory of which this process cannot tell whether they exist.
    pub unseen_bytes: u64,
    /// What was left alone and how often.
    pub skipped: BTreeMap<Skipped, u64>,
}

impl ScrubReport {
    /// Adds another report's figures.
    pub fn add(&mut self, other: &Self) {
        self.bytes += other.bytes;
        self.objects += other.objects;
        self.swapped_bytes += other.swapped_bytes;
        self.failed_bytes += other.failed_bytes;
        self.sealed_files += other.sealed_files;
        self.sealed_bytes += other.sealed_bytes;
        self.unwritable_bytes += other.unwritable_bytes;
        self.unseen_bytes += other.unseen_bytes;
        for (why, count) in &other.skipped {
            *self.skipped.entry(*why).or_default() += count;
        }
    }

    pub(super) fn skip(&mut self, why: Skipped) {
        *self.skipped.entry(why).or_default() += 1;
    }

    /// The receipt's line for it.
    pub fn evidence(&self) -> WipeEvidence {
        if self.failed_bytes > 0 {
            let why = format!(
                "{} could not be overwritten, {} were",
                ByteSize(self.failed_bytes),
                ByteSize(self.bytes)
            );
            WipeEvidence::Failed { why }
        } else if self.bytes == 0 {
            WipeEvidence::NothingToDo
        } else {
            WipeEvidence::Overwritten { bytes: ByteSize(self.bytes), objects: self.objects }
        }
    }

    /// The receipt's lines for what may remain because of what was found.
    pub fn residue(&self) -> Vec<Residue> {
        let line = |what: &str, why: String, mend: Option<&str>| Residue {
            what: what.to_owned(),
            why,
            mend: mend.map(str::to_owned),
        };
        let mut lines = Vec::new();
        if self.sealed_files > 0 {
            let why = format!(
                "{} memfds of {} were sealed against writing by their app; freed, not overwritten",
                self.sealed_files,
                ByteSize(self.sealed_bytes)
            );
            lines.push(line("sealed memfds", why, None));
        }
        if self.swapped_bytes > 0 {
            let why =
                format!("{} had been swapped out: their copy in swap remains", ByteSize(self.swapped_bytes));
            lines.push(line("swap", why, Some("swapoff -a")));
        }
        if self.unwritable_bytes > 0 {
            let why = format!(
                "{} were shared memory mapped read-only, or an unlinked program; freed, not overwritten",
                ByteSize(self.unwritable_bytes)
            );
            lines.push(line("read-only shared memory", why, None));
        }
        if self.unseen_bytes > 0 {
            let why = format!(
                "{} of shared mappings were not mapped page by page; without root they cannot be looked into",
                ByteSize(self.unseen_bytes)
            );
            lines.push(line("unmapped shared memory", why, None));
        }
        if self.failed_bytes > 0 {
            let why = format!("{} could not be overwritten", ByteSize(self.failed_bytes));
            lines.push(line("memory", why, None));
        }
        lines
    }
}
