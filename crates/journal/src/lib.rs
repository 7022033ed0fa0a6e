//! What is never forgotten: a keeper's checksummed log and the daemon's database.
//!
//! | module | subject |
//! |---|---|
//! | [`audit`] | what a session's guard decided, chained |
//! | [`file`] | files that are replaced as a whole |
//! | [`frame`] | the log's bytes: records, checksums, and what a reader makes of broken ones |
//! | [`log`] | one session's append-only log file, written by its keeper |
//! | `store` | the daemon's SQLite database (feature `store`) |
//!
//! Keepers write logs and never open the database; the daemon takes logs into the database and
//! never writes them. Both survive a crash at any byte: a log ends at its last whole record, the
//! database at its last commit.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod audit;
pub mod file;
pub mod frame;
pub mod log;
#[cfg(feature = "store")]
mod salvage;
#[cfg(feature = "store")]
pub mod store;

pub use frame::{Condition, Scan};
pub use log::{Log, Opened};
