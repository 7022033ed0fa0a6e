//! What a successor must know, kept in memory files that the anchor holds.
//!
//! The checkpoint is written alternately into two halves, each with a sequence number, a length and
//! a checksum over all of it, so that a keeper killed while writing leaves the other half whole. The
//! input ledger is separate because it changes with every write to an app: one 24 byte row per
//! client.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, fstat, ftruncate, memfd_create};
use rustix::io::{pread, pwrite};
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

const MAGIC: u64 = u64::from_le_bytes(*b"SESSCKP1");
const HEADER: usize = 32;
/// Largest checkpoint.
const HALF: u64 = 4 << 20;

/// Two alternating copies of one JSON document.
#[derive(Debug)]
pub struct Checkpoint {
    file: OwnedFd,
    sequence: u64,
}

/// Why a checkpoint could not be written or read.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// The memory file failed.
    #[error("the checkpoint's memory file")]
    Io(#[from] io::Error),
    /// It is larger than a half.
    #[error("the checkpoint is over its limit")]
    TooLarge,
    /// Neither half is whole.
    #[error("no whole checkpoint was found")]
    Missing,
    /// It does not fit this version.
    #[error("the checkpoint does not parse")]
    Json(#[from] serde_json::Error),
}

impl Checkpoint {
    /// A new, empty one.
    ///
    /// # Errors
    /// When the machine has no memory file to give.
    pub fn create() -> io::Result<Self> {
        let file = memfd_create("sessile-checkpoint", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, 2 * HALF)?;
        Ok(Self { file, sequence: 0 })
    }

    /// Takes over the one a predecessor wrote, with its document.
    ///
    /// # Errors
    /// When neither half is whole or the document does not parse.
    pub fn adopt<T: DeserializeOwned>(file: OwnedFd) -> Result<(Self, T), CheckpointError> {
        let best = [0, 1].into_iter().filter_map(|half| read_half(file.as_fd(), half)).max_by_key(|h| h.0);
        let (sequence, bytes) = best.ok_or(CheckpointError::Missing)?;
        let document = serde_json::from_slice(&bytes)?;
        Ok((Self { file, sequence }, document))
    }

    /// Writes the document into the older half.
    ///
    /// # Errors
    /// When it is too large or the memory file fails.
    pub fn write(&mut self, document: &impl Serialize) -> Result<(), CheckpointError> {
        let bytes = serde_json::to_vec(document)?;
        if bytes.len() as u64 + HEADER as u64 > HALF {
            return Err(CheckpointError::TooLarge);
        }
        let sequence = self.sequence + 1;
        let base = (sequence % 2) * HALF;
        let mut header = [0u8; HEADER];
        header[..8].copy_from_slice(&MAGIC.to_le_bytes());
        header[8..16].copy_from_slice(&sequence.to_le_bytes());
        header[16..24].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        let sum = checksum(&header, &bytes);
        header[24..28].copy_from_slice(&sum.to_le_bytes());
        // The header goes last: an interrupted write leaves this half with a checksum that does
        // not fit, and the other half as it was.
        write_all(&self.file, &[0; HEADER], base)?;
        write_all(&self.file, &bytes, base + HEADER as u64)?;
        write_all(&self.file, &header, base)?;
        self.sequence = sequence;
        Ok(())
    }

    /// The memory file, for the anchor's store.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Of a half's header before the checksum, and its document.
fn checksum(header: &[u8; HEADER], bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&header[..24]), bytes)
}

fn read_half(file: BorrowedFd<'_>, half: u64) -> Option<(u64, Vec<u8>)> {
    let mut header = [0u8; HEADER];
    read_exact(file, &mut header, half * HALF).ok()?;
    let word =
        |at: usize| -> Option<u64> { Some(u64::from_le_bytes(header.get(at..at + 8)?.try_into().ok()?)) };
    let (magic, sequence, len) = (word(0)?, word(8)?, word(16)?);
    if magic != MAGIC || len > HALF - HEADER as u64 {
        return None;
    }
    let mut bytes = vec![0; len as usize];
    read_exact(file, &mut bytes, half * HALF + HEADER as u64).ok()?;
    let sum = u32::from_le_bytes(header.get(24..28)?.try_into().ok()?);
    (checksum(&header, &bytes) == sum).then_some((sequence, bytes))
}

/// Rows the ledger holds; the least recently begun one gives way.
const ROWS: usize = 128;
const ROW: usize = 24;

/// What became of each client's input: survives the keeper.
#[derive(Debug)]
pub struct InputLedger {
    file: OwnedFd,
    rows: Vec<LedgerRow>,
    next: usize,
}

/// One client's row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LedgerRow {
    /// The client's number.
    pub client: u64,
    /// Highest sequence number whose write was begun.
    pub started: u64,
    /// Highest sequence number that was written.
    pub done: u64,
}

impl InputLedger {
    /// A new, empty one.
    ///
    /// # Errors
    /// When the machine has no memory file to give.
    pub fn create() -> io::Result<Self> {
        let file = memfd_create("sessile-input", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, (ROWS * ROW) as u64)?;
        Ok(Self { file, rows: Vec::new(), next: 0 })
    }

    /// Takes over the one a predecessor kept.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn adopt(file: OwnedFd) -> io::Result<Self> {
        let size = (fstat(&file)?.st_size as usize).min(ROWS * ROW);
        let mut bytes = vec![0; size];
        read_exact(file.as_fd(), &mut bytes, 0)?;
        let number = |chunk: &[u8], at: usize| {
            chunk[at..at + 8].iter().rev().fold(0u64, |n, &b| (n << 8) | u64::from(b))
        };
        let rows: Vec<LedgerRow> = bytes
            .chunks_exact(ROW)
            .map(|c| LedgerRow { client: number(c, 0), started: number(c, 8), done: number(c, 16) })
            .take_while(|row| row.client != 0)
            .collect();
        let next = rows.len() % ROWS;
        Ok(Self { file, rows, next })
    }

    /// What is known of a client's input; zeros when nothing is.
    pub fn of(&self, client: u64) -> LedgerRow {
        let found = self.rows.iter().find(|row| row.client == client);
        found.copied().unwrap_or(LedgerRow { client, ..LedgerRow::default() })
    }

    /// Notes that a write begins.
    ///
    /// # Errors
    /// When the memory file fails: then the write must not begin.
    pub fn begin(&mut self, client: u64, sequence: u64) -> io::Result<()> {
        let row = LedgerRow { started: sequence, ..self.of(client) };
        self.store(row)
    }

    /// Notes that the write is over.
    ///
    /// # Errors
    /// When the memory file fails.
    pub fn finish(&mut self, client: u64, sequence: u64) -> io::Result<()> {
        let row = LedgerRow { done: sequence, ..self.of(client) };
        self.store(row)
    }

    /// The memory file, for the anchor's store.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn store(&mut self, row: LedgerRow) -> io::Result<()> {
        let index = match self.rows.iter().position(|r| r.client == row.client) {
            Some(index) => index,
            None if self.rows.len() < ROWS => {
                self.rows.push(row);
                self.rows.len() - 1
            }
            None => {
                self.next = (self.next + 1) % ROWS;
                self.next
            }
        };
        self.rows[index] = row;
        let mut bytes = [0u8; ROW];
        bytes[..8].copy_from_slice(&row.client.to_le_bytes());
        bytes[8..16].copy_from_slice(&row.started.to_le_bytes());
        bytes[16..].copy_from_slice(&row.done.to_le_bytes());
        write_all(&self.file, &bytes, (index * ROW) as u64)
    }
}

fn write_all(file: &OwnedFd, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = pwrite(file, bytes, at)?;
        bytes = &bytes[n..];
        at += n as u64;
    }
    Ok(())
}

fn read_exact(file: BorrowedFd<'_>, mut bytes: &mut [u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match pread(file, &mut *bytes, at)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                bytes = &mut bytes[n..];
                at += n as u64;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successor_reads_the_newest_whole_half() {
        let mut checkpoint = Checkpoint::create().unwrap();
        checkpoint.write(&vec![1]).unwrap();
        checkpoint.write(&vec![2, 3]).unwrap();
        // A third write dies before its checksum: the half holds torn bytes.
        write_all(&checkpoint.file, b"torn", HALF + HEADER as u64).unwrap();
        let (mut adopted, document): (_, Vec<u8>) =
            Checkpoint::adopt(checkpoint.file.try_clone().unwrap()).unwrap();
        assert_eq!(document, [2, 3]);
        adopted.write(&vec![4]).unwrap();
        let (_, document): (_, Vec<u8>) = Checkpoint::adopt(adopted.file).unwrap();
        assert_eq!(document, [4]);
    }

    #[test]
    fn damage_to_any_byte_leaves_the_other_half() {
        for at in (0..28).chain([HEADER as u64]) {
            for damage in [0u8, 0xff] {
                let mut checkpoint = Checkpoint::create().unwrap();
                checkpoint.write(&"old").unwrap();
                checkpoint.write(&"new").unwrap();
                // Up to the checksum's end, so that nothing of it stays.
                let len = if at < 28 { 28 - at as usize } else { 1 };
                write_all(&checkpoint.file, &vec![damage; len], at).unwrap();
                let (_, document): (_, String) = Checkpoint::adopt(checkpoint.file).unwrap();
                assert_eq!(document, "old", "{at}");
            }
        }
    }

    #[test]
    fn an_empty_file_is_no_checkpoint() {
        let checkpoint = Checkpoint::create().unwrap();
        let outcome = Checkpoint::adopt::<Vec<u8>>(checkpoint.file);
        assert!(matches!(outcome, Err(CheckpointError::Missing)));
    }

    #[test]
    fn the_ledger_tells_written_uncertain_and_unwritten_apart() {
        let mut ledger = InputLedger::create().unwrap();
        ledger.begin(7, 1).unwrap();
        ledger.finish(7, 1).unwrap();
        ledger.begin(7, 2).unwrap();
        let adopted = InputLedger::adopt(ledger.file.try_clone().unwrap()).unwrap();
        assert_eq!(adopted.of(7), LedgerRow { client: 7, started: 2, done: 1 });
        assert_eq!(adopted.of(8), LedgerRow { client: 8, started: 0, done: 0 });
    }
}
