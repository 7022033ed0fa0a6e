//! What the fuzz targets reach.

use std::ops::Range;

use crate::files::unified::{Content, Side, Unified};
use crate::wipe::FileId;

pub use crate::probe::host::{parse_mount, parse_status};

/// A line of `/proc/PID/maps`: addresses, whether writable and shared, offset, file, name.
pub fn mapping(line: &[u8]) -> Option<(Range<u64>, [bool; 2], u64, FileId, String)> {
    let m = crate::wipe::maps::parse(line)?;
    Some((m.start..m.end, [m.writable, m.shared], m.offset, m.file, m.name))
}

/// The state letter of a line of `/proc/PID/stat`.
pub fn state_of(stat: &str) -> char {
    crate::processes::state_of(stat)
}

/// The diff of one file, whose sides are there or not.
pub fn unified(path: &str, old: Option<Vec<u8>>, new: Option<Vec<u8>>) -> String {
    let side = |bytes| Side { mode: "100644", content: Content::from_bytes(bytes) };
    let mut unified = Unified::new();
    unified.add(path, old.map(side).as_ref(), new.map(side).as_ref());
    unified.finish()
}
