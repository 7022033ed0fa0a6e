//! The log's bytes.
//!
//! A log is a sixteen byte preamble and records, all numbers little endian:
//!
//! ```text
//!  preamble   magic "SESSLOG\0" | version u32 | crc32c of the twelve bytes before
//!  record     length u32 | sequence u64 | crc32c of payload u32 | crc32c of the sixteen before
//!             payload: `length` bytes
//! ```
//!
//! The record's head has a checksum of its own so that a broken length is told apart from a
//! record that was cut off: the first is damage, the second is what a crash during an append
//! leaves and loses nothing that was acknowledged.

use std::ops::Range;

/// First bytes of every log.
pub const MAGIC: [u8; 8] = *b"SESSLOG\0";
/// Version of the format.
pub const VERSION: u32 = 1;
/// Bytes of the preamble.
pub const PREAMBLE_LEN: usize = 16;
/// Bytes of a record's head.
pub const HEAD_LEN: usize = 20;
/// Largest payload of a record, in bytes.
pub const MAX_PAYLOAD: usize = 4 << 20;

/// The preamble of a new log.
pub fn preamble() -> [u8; PREAMBLE_LEN] {
    let mut out = [0u8; PREAMBLE_LEN];
    out[..8].copy_from_slice(&MAGIC);
    out[8..12].copy_from_slice(&VERSION.to_le_bytes());
    let crc = crc32c::crc32c(&out[..12]);
    out[12..].copy_from_slice(&crc.to_le_bytes());
    out
}

/// Appends one record to `out`.
///
/// # Panics
/// When the payload is larger than [`MAX_PAYLOAD`]; callers refuse before.
pub fn put_record(out: &mut Vec<u8>, sequence: u64, payload: &[u8]) {
    assert!(payload.len() <= MAX_PAYLOAD, "record over the limit");
    let mut head = [0u8; HEAD_LEN];
    head[..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    head[4..12].copy_from_slice(&sequence.to_le_bytes());
    head[12..16].copy_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    let crc = crc32c::crc32c(&head[..16]);
    head[16..].copy_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(payload);
}

/// The state in which a log was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Every byte belongs to a whole record.
    Whole,
    /// The last append did not complete: bytes behind the last whole record.
    Torn {
        /// How many.
        bytes: u64,
    },
    /// Something in it changed after it was written.
    Damaged {
        /// Offset of the first byte that is not to be trusted.
        at: u64,
    },
    /// It was written by a newer program. Nothing in it was read.
    Newer {
        /// Its version.
        version: u32,
    },
}

/// What is in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Sequence number and place of the payload of each whole record before the first fault.
    pub records: Vec<(u64, Range<usize>)>,
    /// Length of the preamble and those records; 0 when even the preamble is incomplete.
    pub good_len: usize,
    /// Whether that is all of it.
    pub condition: Condition,
}

impl Scan {
    /// The sequence number of the next record.
    pub fn next_sequence(&self) -> u64 {
        self.records.last().map_or(1, |(sequence, _)| sequence + 1)
    }
}

/// Reads as much of a log as is intact. Never panics, whatever the bytes.
pub fn scan(bytes: &[u8]) -> Scan {
    let mut scan = Scan { records: Vec::new(), good_len: 0, condition: Condition::Whole };
    let Some(found) = bytes.first_chunk::<PREAMBLE_LEN>() else {
        scan.condition = match bytes.len() {
            0 => Condition::Whole,
            len if preamble().starts_with(bytes) || bytes.iter().all(|&b| b == 0) => {
                Condition::Torn { bytes: len as u64 }
            }
            _ => Condition::Damaged { at: 0 },
        };
        return scan;
    };
    if let Some(fault) = preamble_fault(found, bytes) {
        scan.condition = fault;
        return scan;
    }
    let mut at = PREAMBLE_LEN;
    scan.good_len = at;
    loop {
        let rest = &bytes[at..];
        if rest.is_empty() {
            return scan;
        }
        match record(rest, scan.next_sequence()) {
            Ok((sequence, len)) => {
                let payload = at + HEAD_LEN..at + HEAD_LEN + len;
                at = payload.end;
                scan.records.push((sequence, payload));
                scan.good_len = at;
            }
            Err(Fault::Torn) => {
                scan.condition = Condition::Torn { bytes: rest.len() as u64 };
                return scan;
            }
            Err(Fault::Damaged) => {
                scan.condition = Condition::Damaged { at: at as u64 };
                return scan;
            }
        }
    }
}

enum Fault {
    Torn,
    Damaged,
}

fn preamble_fault(found: &[u8; PREAMBLE_LEN], bytes: &[u8]) -> Option<Condition> {
    if *found == preamble() {
        return None;
    }
    // A file that was extended but whose data never reached the disk reads as zeros.
    if bytes.iter().all(|&b| b == 0) {
        return Some(Condition::Torn { bytes: bytes.len() as u64 });
    }
    let crc_holds = crc32c::crc32c(&found[..12]).to_le_bytes() == found[12..];
    let version = u32::from_le_bytes([found[8], found[9], found[10], found[11]]);
    if found.starts_with(&MAGIC) && crc_holds && version > VERSION {
        return Some(Condition::Newer { version });
    }
    Some(Condition::Damaged { at: 0 })
}

/// The sequence and payload length of the record that `rest` begins with.
fn record(rest: &[u8], expected: u64) -> Result<(u64, usize), Fault> {
    let Some(head) = rest.first_chunk::<HEAD_LEN>() else { return Err(Fault::Torn) };
    let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if number(16) != crc32c::crc32c(&head[..16]) {
        let zeros = rest.iter().all(|&b| b == 0);
        return Err(if zeros { Fault::Torn } else { Fault::Damaged });
    }
    let len = number(0) as usize;
    let sequence = u64::from(number(4)) | u64::from(number(8)) << 32;
    if len > MAX_PAYLOAD || sequence != expected {
        return Err(Fault::Damaged);
    }
    let Some(payload) = rest.get(HEAD_LEN..HEAD_LEN + len) else { return Err(Fault::Torn) };
    if number(12) != crc32c::crc32c(payload) {
        // Pages of one append may reach the disk in any order, so the last record may be torn in
        // its middle; an earlier one was complete before the next was begun.
        let last = rest.len() == HEAD_LEN + len;
        return Err(if last { Fault::Torn } else { Fault::Damaged });
    }
    Ok((sequence, len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn log_of(payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut out = preamble().to_vec();
        for (i, payload) in payloads.iter().enumerate() {
            put_record(&mut out, i as u64 + 1, payload);
        }
        out
    }

    fn payloads_of<'a>(bytes: &'a [u8], scan: &Scan) -> Vec<&'a [u8]> {
        scan.records.iter().map(|(_, place)| &bytes[place.clone()]).collect()
    }

    fn some_payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
        proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..8)
    }

    #[test]
    fn a_newer_version_is_left_alone() {
        let mut bytes = preamble();
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..12]);
        bytes[12..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(scan(&bytes).condition, Condition::Newer { version: 2 });
    }

    #[test]
    fn unwritten_pages_behind_the_last_record_are_a_torn_tail() {
        let mut bytes = log_of(&[b"one".to_vec()]);
        bytes.extend_from_slice(&[0; 100]);
        let scan = scan(&bytes);
        assert_eq!(scan.condition, Condition::Torn { bytes: 100 });
        assert_eq!(scan.records.len(), 1);
    }

    proptest! {
        #[test]
        fn whole_logs_read_back(payloads in some_payloads()) {
            let bytes = log_of(&payloads);
            let scan = scan(&bytes);
            prop_assert_eq!(scan.condition, Condition::Whole);
            prop_assert_eq!(payloads_of(&bytes, &scan), payloads);
        }

        #[test]
        fn any_cut_keeps_a_prefix(payloads in some_payloads(), cut in any::<prop::sample::Index>()) {
            let whole = log_of(&payloads);
            let bytes = &whole[..cut.index(whole.len() + 1)];
            let scan = scan(bytes);
            let kept = payloads_of(bytes, &scan);
            prop_assert!(payloads.iter().map(Vec::as_slice).collect::<Vec<_>>().starts_with(&kept));
            let torn = bytes.len() - scan.good_len;
            let expected = match torn { 0 => Condition::Whole, n => Condition::Torn { bytes: n as u64 } };
            prop_assert_eq!(scan.condition, expected);
        }

        #[test]
        fn any_flipped_bit_is_detected(
            payloads in some_payloads(), place in any::<prop::sample::Index>(), bit in 0u8..8,
        ) {
            let mut bytes = log_of(&payloads);
            let at = place.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let scan = scan(&bytes);
            prop_assert_ne!(scan.condition, Condition::Whole);
            let kept = payloads_of(&bytes, &scan);
            prop_assert!(payloads.iter().map(Vec::as_slice).collect::<Vec<_>>().starts_with(&kept));
            // Only the last record may pass for torn.
            if scan.records.len() + 1 < payloads.len() {
                let damaged = matches!(scan.condition, Condition::Damaged { .. });
                prop_assert!(damaged);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = scan(&bytes);
        }
    }
}
