//! What a successor must know, kept in a memory file that the anchor holds.
//!
//! The checkpoint is a JSON document in [`Halves`], so that a keeper killed while writing leaves a
//! whole one. What changes with every key is in the [ledger](crate::ledger).

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use serde::{Serialize, de::DeserializeOwned};
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
}
