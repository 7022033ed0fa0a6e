//! The session's time: the wall clock of the moment at which the session opened, and what has passed
//! since, suspension of the host included.
//!
//! Deadlines, probes and lines of the log go by it. Whoever sets the host's clock, or a network that
//! does, thereby neither ends a session nor has one outlive its time, and no probe is put off.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use sessile_model::quantity::Timestamp;

/// What was added to the time since the host's start to have the wall clock, in milliseconds. A
/// successor goes on with its predecessor's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Clock(i64);

impl Clock {
    /// Begins at the wall clock's time.
    pub fn begin() -> Self {
        Self(wall_clock_ms().saturating_sub(since_start_ms()))
    }

    /// The time now.
    pub fn now(self) -> Timestamp {
        Timestamp::from_millis(self.0.saturating_add(since_start_ms()))
    }
}

/// The only place where the keeper reads the wall clock.
fn wall_clock_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let read = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    read.saturating_add(crate::rehearsal::clock_jump_ms())
}

fn since_start_ms() -> i64 {
    let since = clock_gettime(ClockId::Boottime);
    since.tv_sec.saturating_mul(1000).saturating_add(since.tv_nsec / 1_000_000)
}
