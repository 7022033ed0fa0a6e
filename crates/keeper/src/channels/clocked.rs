//! How much of the conversation's time had passed when, so that a successor goes on counting.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sessile_model::quantity::Timestamp;

/// The first byte of one in a record, which no event begins with.
const TAG: u8 = 0xff;
const LEN: usize = 18;

/// The time as it was last told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Clocked {
    /// The session's time then.
    pub told: Timestamp,
    /// The conversation's time then.
    pub passed: Duration,
    /// Whether time counted from then on.
    pub counts: bool,
}

impl Clocked {
    /// A field of a record.
    pub fn encoded(&self) -> [u8; LEN] {
        let mut field = [0; LEN];
        field[0] = TAG;
        field[1] = u8::from(self.counts);
        field[2..10].copy_from_slice(&self.told.as_millis().to_le_bytes());
        let passed = u64::try_from(self.passed.as_nanos()).unwrap_or(u64::MAX);
        field[10..].copy_from_slice(&passed.to_le_bytes());
        field
    }

    /// Takes a field for one, where it is.
    pub fn decoded(field: &[u8]) -> Option<Self> {
        let [TAG, counts, rest @ ..] = field else { return None };
        let (told, passed) = rest.split_first_chunk::<8>()?;
        let passed = u64::from_le_bytes(passed.try_into().ok()?);
        Some(Self {
            told: Timestamp::from_millis(i64::from_le_bytes(*told)),
            passed: Duration::from_nanos(passed),
            counts: *counts == 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_was_written() {
        let (told, passed) = (Timestamp::from_millis(-7), Duration::from_nanos(12_345_678_901));
        for counts in [true, false] {
            let clocked = Clocked { told, passed, counts };
            assert_eq!(Clocked::decoded(&clocked.encoded()), Some(clocked));
        }
        assert_eq!(Clocked::decoded(&[TAG, 1, 2]), None);
        assert_eq!(Clocked::decoded(&[0; LEN]), None);
    }
}
