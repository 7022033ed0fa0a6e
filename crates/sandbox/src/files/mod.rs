//! A project's way into session storage and back, and exports.
//!
//! One side of every operation is a tree that code inside a session may change at the same time:
//! swap folders for links, plant FIFOs, nest without end, name files with line breaks. So every
//! path is walked from a descriptor with `openat2(2)`, never through a link, never onto another
//! file system and never out of its tree ([`beneath`]); listings are flat and bounded ([`tree`]);
//! and only regular files are opened, whose holes stay holes ([`content`]).
//!
//! ```text
//! original ── copy_in ──► copy + Baseline          (Baseline stays with the keeper)
//! original, copy, Baseline ── changes ──► diff     (shown, with a digest of what was shown)
//!                                    └──► apply    (staged, then committed with undo)
//! a tree on session storage ── export ──► the host
//! ```

mod apply;
mod baseline;
mod beneath;
mod changes;
mod content;
mod copy;
mod diff;
mod export;
pub mod places;
mod protected;
mod refusals;
mod repositories;
mod stage;
mod tree;
pub(crate) mod unified;

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod testing;

pub use apply::{ApplyError, apply};
pub use baseline::{Baseline, Digest, Kind, Original, Stamp};
pub use copy::{CopyCap, CopyError, CopyReport, copy_in};
pub use diff::{DiffError, diff};
pub use export::{ExportError, export};
pub use protected::is_protected;
pub use sessile_model::api::Applied;
pub use tree::LeftOut;
