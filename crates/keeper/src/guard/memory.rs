//! What guards know, in secret memory that the anchor holds for a successor: values of the session, and who
//! may read them. The keeper reads it for a moment where it is to be told or changed, and holds no other copy.
//!
//! It is a JSON document in two copies, as [`crate::halves`] has them: one of which a keeper was killed while it
//! wrote it leaves the other as it was.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{Ordering, compiler_fence};

use sessile_model::guarding::Memory;
use sessile_vault::secret::{MAX_LEN, Protection, SecretError, SecretMemory};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::checkpoint::Checkpoint;
use crate::halves::{HEADER, header, is_of, told};

/// Bytes of a copy with its header.
const HALF: usize = MAX_LEN / 2;

/// Why it could not be written or read.
#[derive(Debug, Error)]
pub enum KeptError {
    /// There is no memory for it.
    #[error("secret memory for what guards know")]
    Memory(#[from] SecretError),
    /// No whole copy is there.
    #[error("what guards knew is damaged")]
    Missing,
    /// It does not fit this version.
    #[error("what guards knew does not parse")]
    Json(#[from] serde_json::Error),
    /// It is larger than a copy can be.
    #[error("{0} bytes are more than guards may know")]
    TooLarge(usize),
}

/// What guards know.
#[derive(Debug)]
pub struct Kept {
    memory: SecretMemory,
    sequence: u64,
    /// Something was judged before.
    pub has_judged: bool,
}

impl Kept {
    /// Nothing yet.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn create() -> Result<Self, KeptError> {
        let mut kept = Self { memory: SecretMemory::create(2 * HALF)?, sequence: 0, has_judged: false };
        kept.write(&Memory::default())?;
        Ok(kept)
    }

    /// Takes over what a predecessor left.
    ///
    /// # Errors
    /// When it is no secret memory, or has no whole copy.
    pub fn adopt(file: OwnedFd) -> Result<Self, KeptError> {
        let memory = SecretMemory::from_fd(file)?;
        let newest = [0, 1].into_iter().filter_map(|half| copy(&memory, half)).max_by_key(|copy| copy.0);
        let Some((sequence, bytes)) = newest else {
            // For whoever can still read it: dropping it would overwrite it.
            drop(memory.release());
            return Err(KeptError::Missing);
        };
        let has_judged = serde_json::from_slice::<Memory>(bytes).map(|memory| memory.has_judged);
        match has_judged {
            Ok(has_judged) => Ok(Self { memory, sequence, has_judged }),
            Err(error) => {
                drop(memory.release());
                Err(error.into())
            }
        }
    }

    /// What it is.
    ///
    /// # Errors
    /// When no copy is whole any more.
    pub fn read(&self) -> Result<Memory, KeptError> {
        let (_, bytes) = copy(&self.memory, half(self.sequence)).ok_or(KeptError::Missing)?;
        Ok(serde_json::from_slice(bytes)?)
    }

    /// Changes it.
    ///
    /// # Errors
    /// When it would be larger than it may be; then it stays as it was.
    pub fn change(&mut self, change: impl FnOnce(&mut Memory)) -> Result<(), KeptError> {
        let mut memory = self.read()?;
        change(&mut memory);
        self.write(&memory)
    }

    fn write(&mut self, memory: &Memory) -> Result<(), KeptError> {
        let mut json = Zeroizing::new(Vec::with_capacity(HALF));
        serde_json::to_writer(&mut *json, memory)?;
        if json.len() > HALF - HEADER {
            return Err(KeptError::TooLarge(json.len()));
        }
        let sequence = self.sequence + 1;
        let base = half(sequence) * HALF;
        let place = &mut self.memory.expose_mut()[base..base + HALF];
        let before = place.first_chunk().and_then(told).map_or(0, |(_, length)| length);
        let before = usize::try_from(before).unwrap_or(HALF).min(HALF - HEADER);
        // The header goes last, so that an interrupted copy does not fit it.
        place[..HEADER].fill(0);
        compiler_fence(Ordering::SeqCst);
        place[HEADER..HEADER + json.len()].copy_from_slice(&json);
        if before > json.len() {
            place[HEADER + json.len()..HEADER + before].fill(0);
        }
        compiler_fence(Ordering::SeqCst);
        place[..HEADER].copy_from_slice(&header(sequence, &json));
        self.sequence = sequence;
        self.has_judged = memory.has_judged;
        Ok(())
    }

    /// Why it is less protected than memory can be, in a sentence; nothing where it is not.
    pub fn weaker_because(&self) -> Option<&'static str> {
        match self.memory.protection() {
            Protection::Secret => None,
            Protection::Locked => Some(
                "what guards are to know after a death is in a memfd with a locked mapping (memfd_secret is not \
                 available): it may be swapped out while no keeper runs",
            ),
            Protection::Unlocked => Some(
                "what guards are to know after a death is in a memfd that could not be locked (RLIMIT_MEMLOCK): \
                 it may be swapped out",
            ),
        }
    }

    /// Overwrites it for every holder; the bytes that were, each read back.
    ///
    /// # Errors
    /// When not all of them were.
    pub fn overwrite(mut self) -> std::io::Result<u64> {
        let done = self.memory.overwrite();
        if done == self.memory.len() {
            Ok(done as u64)
        } else {
            Err(std::io::Error::other("what guards knew could not be overwritten"))
        }
    }
}

impl AsFd for Kept {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }
}

/// What a keeper of the version before left, in an ordinary memory file.
#[derive(Debug)]
pub struct Former {
    file: Checkpoint,
    memory: Memory,
}

impl Former {
    /// Reads it.
    pub fn adopt(file: OwnedFd) -> Option<Self> {
        let (file, memory) = Checkpoint::adopt(file).ok()?;
        Some(Self { file, memory })
    }

    /// The same in secret memory.
    ///
    /// # Errors
    /// When there is none for it, or too little.
    pub fn kept(&self) -> Result<Kept, KeptError> {
        let mut kept = Kept::create()?;
        kept.write(&self.memory)?;
        Ok(kept)
    }

    /// The file, which is to be overwritten.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.fd()
    }
}

const fn half(sequence: u64) -> usize {
    (sequence % 2) as usize
}

/// A copy that is whole, and its number.
fn copy(memory: &SecretMemory, half: usize) -> Option<(u64, &[u8])> {
    let place = memory.expose().get(half * HALF..(half + 1) * HALF)?;
    let header = place.first_chunk::<HEADER>()?;
    let (sequence, length) = told(header)?;
    let bytes = place[HEADER..].get(..usize::try_from(length).ok()?)?;
    is_of(header, bytes).then_some((sequence, bytes))
}

#[cfg(test)]
mod tests {
    use std::mem::ManuallyDrop;

    use sessile_model::guarding::{MOST_VALUE_BYTES, MOST_VALUES, Text, Value};

    use super::*;

    fn value(text: &str) -> Value {
        Value {
            value: Text(text.to_owned()),
            confidentiality: 4,
            owner: "main".to_owned(),
            readers: ["host:a.example:443".to_owned(), "desk/send_mail".to_owned()].into(),
        }
    }

    /// What a successor reads. It is not dropped, which would overwrite it for both.
    fn successor(kept: &Kept) -> Result<(Memory, bool), KeptError> {
        let next = ManuallyDrop::new(Kept::adopt(kept.as_fd().try_clone_to_owned().unwrap())?);
        Ok((next.read()?, next.has_judged))
    }

    #[test]
    fn a_successor_reads_what_was_written_last() {
        let mut kept = Kept::create().unwrap();
        assert_eq!(successor(&kept).unwrap(), (Memory::default(), false));
        for number in 0..5 {
            kept.change(|memory| memory.learn(vec![value(&format!("value {number}"))])).unwrap();
        }
        kept.change(|memory| memory.has_judged = true).unwrap();
        let (next, has_judged) = successor(&kept).unwrap();
        assert!(has_judged && next.has_judged);
        assert_eq!((next.values.len(), &next), (5, &kept.read().unwrap()));
    }

    #[test]
    fn a_copy_that_was_not_finished_leaves_the_one_before() {
        let mut kept = Kept::create().unwrap();
        kept.change(|memory| memory.learn(vec![value("one")])).unwrap();
        kept.change(|memory| memory.learn(vec![value("two")])).unwrap();
        let base = half(kept.sequence) * HALF;
        kept.memory.expose_mut()[base + HEADER + 5] ^= 1;
        assert_eq!(successor(&kept).unwrap().0.values.len(), 1);
        kept.memory.expose_mut()[..HALF].fill(0);
        kept.memory.expose_mut()[HALF..].fill(0);
        assert!(matches!(successor(&kept), Err(KeptError::Missing)));
    }

    #[test]
    fn all_that_guards_can_know_has_room_and_what_has_none_changes_nothing() {
        let length = MOST_VALUE_BYTES / MOST_VALUES;
        let mut kept = Kept::create().unwrap();
        let values = (0..MOST_VALUES).map(|number| value(&format!("{number:0length$}"))).collect();
        kept.change(|memory| memory.learn(values)).unwrap();
        assert_eq!(kept.read().unwrap().values.len(), MOST_VALUES);
        let readers = (0..4000).map(|number| format!("host:{number:0100}:443")).collect();
        let more = Value { readers, ..value(&format!("{:0length$}", 0)) };
        assert!(matches!(kept.change(|memory| memory.learn(vec![more])), Err(KeptError::TooLarge(_))));
        assert_eq!(kept.read().unwrap().values[0].readers.len(), 2);
    }

    #[test]
    fn what_is_shorter_now_leaves_nothing_of_what_was_longer() {
        let mut kept = Kept::create().unwrap();
        for _ in 0..2 {
            kept.change(|memory| memory.learn(vec![value(&format!("{:0200}planted", 0))])).unwrap();
        }
        for _ in 0..2 {
            kept.change(|memory| memory.values.clear()).unwrap();
        }
        assert!(!kept.memory.expose().windows(7).any(|window| window == b"planted"));
    }

    #[test]
    fn the_wipe_overwrites_it_for_who_holds_it_too() {
        let mut kept = Kept::create().unwrap();
        kept.change(|memory| memory.learn(vec![value("planted here")])).unwrap();
        let held = kept.as_fd().try_clone_to_owned().unwrap();
        assert_eq!(kept.overwrite().unwrap(), 2 * HALF as u64);
        let held = SecretMemory::from_fd(held).unwrap();
        assert!(held.expose().iter().all(|byte| *byte == 0));
    }

    #[test]
    fn what_the_version_before_left_is_taken_over() {
        let mut file = Checkpoint::create().unwrap();
        let mut memory = Memory { has_judged: true, ..Memory::default() };
        memory.learn(vec![value("one")]);
        file.write(&memory).unwrap();
        let file = file.fd().try_clone_to_owned().unwrap();
        assert!(matches!(
            Kept::adopt(file.try_clone().unwrap()),
            Err(KeptError::Memory(SecretError::NotSecretMemory))
        ));
        let kept = Former::adopt(file).unwrap().kept().unwrap();
        assert_eq!((kept.read().unwrap(), kept.has_judged), (memory, true));
    }
}
