//! What a keeper's successor must know of channels: a memory file that the anchor holds.
//!
//! ```text
//! MAGIC | length, checksum | body, to a multiple of 8 | length, checksum | body … | 0
//! ```
//!
//! A body is written before its header, and a header lies on one page, so it is written as a whole or
//! not at all: where a keeper dies while it writes, the log ends before that record. A header that is
//! there and does not fit its body is damage, and never taken for an end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, fstat, ftruncate, memfd_create};
use thiserror::Error;

use crate::halves::{read_exact, write_all};

const MAGIC: &[u8; 8] = b"SESSCHN1";
/// Of a record: its length and its checksum.
const HEADER: u64 = 8;
/// From what length on a log is written anew, once most of it is over.
const WORTH_RENEWING: u64 = 1 << 20;
/// Largest file.
pub const MOST_BYTES: u64 = 64 << 20;

/// Records, appended.
#[derive(Debug)]
pub struct Log {
    file: OwnedFd,
    /// Where the first record ends.
    base: u64,
    /// Where the next record begins.
    end: u64,
}

/// Why a log cannot be written or read.
#[derive(Debug, Error)]
pub enum LogError {
    /// The memory file failed.
    #[error("the channels' memory file")]
    Io(#[from] io::Error),
    /// It would be too large.
    #[error("the channels' log is full")]
    Full,
    /// It is not what was written.
    #[error("the channels' log is damaged at byte {0}")]
    Damaged(u64),
}

impl Log {
    /// A new one, which begins with this record.
    ///
    /// # Errors
    /// When the machine has no memory file to give.
    pub fn begin(record: &[u8]) -> Result<Self, LogError> {
        let mut log = Self::create()?;
        log.append(record)?;
        log.base = log.end;
        Ok(log)
    }

    fn create() -> Result<Self, LogError> {
        let file = memfd_create("sessile-channels", MemfdFlags::CLOEXEC).map_err(io::Error::from)?;
        write_all(file.as_fd(), MAGIC, 0)?;
        Ok(Self { file, base: 0, end: MAGIC.len() as u64 })
    }

    /// Takes over the one a predecessor wrote, with its records.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn adopt(file: OwnedFd) -> Result<(Self, Vec<Vec<u8>>), LogError> {
        let size = fstat(&file).map_err(io::Error::from)?.st_size as u64;
        let mut magic = [0; 8];
        if !(8..=MOST_BYTES + HEADER).contains(&size) {
            return Err(LogError::Damaged(0));
        }
        read_exact(file.as_fd(), &mut magic, 0)?;
        if magic != *MAGIC {
            return Err(LogError::Damaged(0));
        }
        let (mut at, mut base, mut records) = (8, 0, Vec::new());
        while at + HEADER <= size {
            let mut header = [0; HEADER as usize];
            read_exact(file.as_fd(), &mut header, at)?;
            if header == [0; HEADER as usize] {
                break;
            }
            let [length, sum] = split(header);
            if u64::from(length) > size - at - HEADER {
                return Err(LogError::Damaged(at));
            }
            let mut body = vec![0; length as usize];
            read_exact(file.as_fd(), &mut body, at + HEADER)?;
            if checksum(length, &body) != sum {
                return Err(LogError::Damaged(at));
            }
            records.push(body);
            at += HEADER + u64::from(length).next_multiple_of(8);
            base = if records.len() == 1 { at } else { base };
        }
        // What a predecessor had begun to write is not taken for a part of what comes.
        ftruncate(&file, at).map_err(io::Error::from)?;
        Ok((Self { file, base, end: at }, records))
    }

    /// Appends a record. When it returns, whoever takes over finds it.
    ///
    /// # Errors
    /// When there is no room for it; then the log is as it was.
    pub fn append(&mut self, body: &[u8]) -> Result<(), LogError> {
        let room = MOST_BYTES.saturating_sub(self.end + HEADER);
        let length = u32::try_from(body.len()).ok().filter(|length| u64::from(*length) <= room);
        let length = length.ok_or(LogError::Full)?;
        let next = self.end + HEADER + u64::from(length).next_multiple_of(8);
        write_all(self.file.as_fd(), body, self.end + HEADER)?;
        let mut header = [0; HEADER as usize];
        header[..4].copy_from_slice(&length.to_le_bytes());
        header[4..].copy_from_slice(&checksum(length, body).to_le_bytes());
        write_all(self.file.as_fd(), &header, self.end)?;
        self.end = next;
        Ok(())
    }

    /// How many bytes it has.
    #[cfg(test)]
    pub fn len(&self) -> u64 {
        self.end
    }

    /// Whether most of it comes after a state that it begins with, and so is over.
    pub fn is_worth_renewing(&self) -> bool {
        self.end > WORTH_RENEWING.max(2 * self.base)
    }

    /// Goes on as a new one that begins with this record, once it is `kept` in the place of the one before, which
    /// is overwritten.
    ///
    /// # Errors
    /// When there is no memory for it, or it is not kept; then this one is as it was.
    pub fn renew<E: From<LogError>>(
        &mut self,
        record: &[u8],
        kept: impl FnOnce(BorrowedFd<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let next = Self::begin(record)?;
        kept(next.fd())?;
        Ok(std::mem::replace(self, next).overwrite()?)
    }

    /// Overwrites everything in it.
    ///
    /// # Errors
    /// When the memory file fails.
    fn overwrite(self) -> Result<(), LogError> {
        let size = fstat(&self.file).map_err(io::Error::from)?.st_size as u64;
        let zeros = vec![0; 64 << 10];
        let mut at = 0;
        while at < size {
            let part = zeros.len().min((size - at) as usize);
            write_all(self.file.as_fd(), &zeros[..part], at)?;
            at += part as u64;
        }
        Ok(())
    }

    /// The memory file, for the anchor's store.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn split(header: [u8; HEADER as usize]) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = header;
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}

/// Of a record; never 0, so that no header of one is taken for the end.
fn checksum(length: u32, body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length.to_le_bytes()), body).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> Log {
        let mut log = Log::create().unwrap();
        for body in [&b"first"[..], b"", b"the third one"] {
            log.append(body).unwrap();
        }
        log
    }

    fn adopted(log: &Log) -> Result<Vec<Vec<u8>>, LogError> {
        Log::adopt(log.file.try_clone().unwrap()).map(|(_, records)| records)
    }

    #[test]
    fn a_log_is_renewed_once_most_of_it_is_over_whoever_keeps_it() {
        let state = vec![1; WORTH_RENEWING as usize];
        let mut log = Log::begin(&state).unwrap();
        for _ in 0..2 {
            assert!(!log.is_worth_renewing());
            log.append(&state[1..]).unwrap();
            assert!(!log.is_worth_renewing());
            log.append(b"over").unwrap();
            assert!(log.is_worth_renewing());
            let again = log.fd().try_clone_to_owned().unwrap();
            assert!(Log::adopt(again).unwrap().0.is_worth_renewing());
            log.renew(&state, |_| Ok::<(), LogError>(())).unwrap();
            let again = log.fd().try_clone_to_owned().unwrap();
            log = Log::adopt(again).unwrap().0;
        }
    }

    #[test]
    fn a_successor_reads_what_was_appended_and_goes_on() {
        let log = written();
        let (mut log, records) = Log::adopt(log.file).unwrap();
        assert_eq!(records, [&b"first"[..], b"", b"the third one"]);
        log.append(b"fourth").unwrap();
        assert_eq!(adopted(&log).unwrap().len(), 4);
    }

    #[test]
    fn what_was_not_finished_is_no_record() {
        // A keeper dies before the header: any part of the body is there.
        for length in 0..24 {
            let log = written();
            let end = log.end;
            write_all(log.file.as_fd(), &vec![7; length], end + HEADER).unwrap();
            let (mut log, records) = Log::adopt(log.file).unwrap();
            assert_eq!((records.len(), log.end), (3, end));
            log.append(b"x").unwrap();
            assert_eq!(adopted(&log).unwrap()[3], b"x");
        }
    }

    #[test]
    fn damage_to_any_byte_is_seen() {
        let whole = written();
        let mut content = vec![0; fstat(&whole.file).unwrap().st_size as usize];
        read_exact(whole.fd(), &mut content, 0).unwrap();
        // Between the first body and the next record is nothing.
        for at in (0..content.len()).filter(|at| !(21..24).contains(at)) {
            let log = written();
            write_all(log.file.as_fd(), &[content[at] ^ 0x40], at as u64).unwrap();
            match adopted(&log) {
                Err(LogError::Damaged(_)) => {}
                other => panic!("byte {at}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_is_overwritten_is_gone() {
        let log = written();
        let file = log.file.try_clone().unwrap();
        log.overwrite().unwrap();
        let size = fstat(&file).unwrap().st_size as usize;
        let mut content = vec![1; size];
        read_exact(file.as_fd(), &mut content, 0).unwrap();
        assert!(content.iter().all(|byte| *byte == 0));
    }
}
