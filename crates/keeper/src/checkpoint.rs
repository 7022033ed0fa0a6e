//! What a successor must know, kept in memory files that the anchor holds.
//!
//! The checkpoint is a JSON document in [`Halves`], so that a keeper killed while writing leaves a
//! whole one. The input ledger is separate because it changes with every write to an app, at the cost of a
//! few stores: three numbers per client.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Serialize, de::DeserializeOwned};
use sessile_anchor::numbers::Numbers;
use thiserror::Error;

use crate::halves::{Halves, HalvesError};

/// Two alternating copies of one JSON document.
#[derive(Debug)]
pub struct Checkpoint(Halves);

/// Why a checkpoint could not be written or read.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// It is too large, or the memory file failed.
    #[error("the checkpoint cannot be written")]
    Halves(#[from] HalvesError),
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
        Halves::create("sessile-checkpoint", 0).map(Self)
    }

    /// Takes over the one a predecessor wrote, with its document.
    ///
    /// # Errors
    /// When neither half is whole or the document does not parse.
    pub fn adopt<T: DeserializeOwned>(file: OwnedFd) -> Result<(Self, T), CheckpointError> {
        let (halves, bytes) = Halves::adopt(file);
        let document = serde_json::from_slice(&bytes.ok_or(CheckpointError::Missing)?)?;
        Ok((Self(halves), document))
    }

    /// Writes the document into the older half.
    ///
    /// # Errors
    /// When it is too large or the memory file fails.
    pub fn write(&mut self, document: &impl Serialize) -> Result<(), CheckpointError> {
        Ok(self.0.write(&serde_json::to_vec(document)?)?)
    }

    /// The memory file, for the anchor's store.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.fd()
    }
}

/// Rows the ledger holds; the least recently begun one gives way.
const ROWS: usize = 128;
/// Numbers of a row.
const ROW: usize = 3;
/// A row of no client, in the place of one that is being made: the rows behind it count.
const TORN: u64 = u64::MAX;

/// What became of each client's input: survives the keeper.
#[derive(Debug)]
pub struct InputLedger {
    numbers: Numbers,
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
        Ok(Self { numbers: Numbers::create(c"sessile-input", ROWS * ROW)?, rows: Vec::new(), next: 0 })
    }

    /// Takes over the one a predecessor kept.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn adopt(file: OwnedFd) -> io::Result<Self> {
        let numbers = Numbers::open(file, ROWS * ROW)?;
        let row = |index| {
            let [client, started, done] = [0, 1, 2].map(|at| u64::from_le(numbers.get(index * ROW + at)));
            LedgerRow { client, started, done }
        };
        let rows: Vec<LedgerRow> = (0..ROWS).map(row).take_while(|row| row.client != 0).collect();
        let next = rows.len() % ROWS;
        Ok(Self { numbers, rows, next })
    }

    /// What is known of a client's input; zeros when nothing is.
    pub fn of(&self, client: u64) -> LedgerRow {
        let found = self.rows.iter().find(|row| row.client == client);
        found.copied().unwrap_or(LedgerRow { client, ..LedgerRow::default() })
    }

    /// Notes that a write begins.
    pub fn begin(&mut self, client: u64, sequence: u64) {
        let row = LedgerRow { started: sequence, ..self.of(client) };
        self.store(row);
    }

    /// Notes that the write is over.
    pub fn finish(&mut self, client: u64, sequence: u64) {
        let row = LedgerRow { done: sequence, ..self.of(client) };
        self.store(row);
    }

    /// The memory file, for the anchor's store.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.numbers.as_fd()
    }

    fn store(&mut self, row: LedgerRow) {
        let (index, is_new) = match self.rows.iter().position(|r| r.client == row.client) {
            Some(index) => (index, false),
            None if self.rows.len() < ROWS => {
                self.rows.push(row);
                (self.rows.len() - 1, true)
            }
            None => {
                self.next = (self.next + 1) % ROWS;
                (self.next, true)
            }
        };
        self.rows[index] = row;
        let set = |at, number: u64| self.numbers.set(index * ROW + at, number.to_le());
        // Whose row it is comes last, and first that it is nobody's any more: what is found belongs together.
        if is_new {
            set(0, TORN);
        }
        set(1, row.started);
        set(2, row.done);
        if is_new {
            set(0, row.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successor_reads_what_was_written_last() {
        let mut checkpoint = Checkpoint::create().unwrap();
        checkpoint.write(&vec![1]).unwrap();
        checkpoint.write(&vec![2, 3]).unwrap();
        let file = checkpoint.fd().try_clone_to_owned().unwrap();
        let (_, document): (_, Vec<u8>) = Checkpoint::adopt(file).unwrap();
        assert_eq!(document, [2, 3]);
    }

    #[test]
    fn an_empty_file_is_no_checkpoint() {
        let checkpoint = Checkpoint::create().unwrap();
        let file = checkpoint.fd().try_clone_to_owned().unwrap();
        let outcome = Checkpoint::adopt::<Vec<u8>>(file);
        assert!(matches!(outcome, Err(CheckpointError::Missing)));
    }

    #[test]
    fn the_ledger_tells_written_uncertain_and_unwritten_apart() {
        let mut ledger = InputLedger::create().unwrap();
        ledger.begin(7, 1);
        ledger.finish(7, 1);
        ledger.begin(7, 2);
        let adopted = InputLedger::adopt(ledger.fd().try_clone_to_owned().unwrap()).unwrap();
        assert_eq!(adopted.of(7), LedgerRow { client: 7, started: 2, done: 1 });
        assert_eq!(adopted.of(8), LedgerRow { client: 8, started: 0, done: 0 });
    }
}
