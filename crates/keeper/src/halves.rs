//! A memory file with two alternating copies of what a successor must find whole.
//!
//! Each copy has a sequence number, a length and a checksum over all of it. A keeper killed while it
//! writes one leaves the other as it was.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::{pread, pwrite};
use thiserror::Error;

const MAGIC: u64 = u64::from_le_bytes(*b"SESSCKP1");
/// Bytes of a copy's header.
pub const HEADER: usize = 32;
/// Largest copy with its header.
pub const HALF: u64 = 4 << 20;

/// The file. Behind the two halves there may be more, which is its owner's.
#[derive(Debug)]
pub struct Halves {
    file: OwnedFd,
    sequence: u64,
}

/// Why a copy could not be written.
#[derive(Debug, Error)]
pub enum HalvesError {
    /// The memory file failed.
    #[error("the memory file")]
    Io(#[from] io::Error),
    /// It is larger than a half.
    #[error("{0} bytes are over the limit")]
    TooLarge(u64),
}

impl Halves {
    /// An empty one, with room for so many bytes behind the halves.
    ///
    /// # Errors
    /// When the machine has no memory file to give.
    pub fn create(name: &str, behind: u64) -> io::Result<Self> {
        let file = memfd_create(name, MemfdFlags::CLOEXEC)?;
        ftruncate(&file, 2 * HALF + behind)?;
        Ok(Self { file, sequence: 0 })
    }

    /// Takes over the one a predecessor wrote, with the newest copy that is whole, if one is.
    pub fn adopt(file: OwnedFd) -> (Self, Option<Vec<u8>>) {
        let best = [0, 1].into_iter().filter_map(|half| read_half(file.as_fd(), half)).max_by_key(|h| h.0);
        let (sequence, bytes) = best.map_or((0, None), |(sequence, bytes)| (sequence, Some(bytes)));
        (Self { file, sequence }, bytes)
    }

    /// Writes a copy over the older one.
    ///
    /// # Errors
    /// When it is too large or the memory file fails.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), HalvesError> {
        let length = bytes.len() as u64;
        if length + HEADER as u64 > HALF {
            return Err(HalvesError::TooLarge(length));
        }
        let sequence = self.sequence + 1;
        let base = (sequence % 2) * HALF;
        let header = header(sequence, bytes);
        // The header goes last: an interrupted write leaves this half with a checksum that does
        // not fit, and the other half as it was.
        write_all(self.fd(), &[0; HEADER], base)?;
        write_all(self.fd(), bytes, base + HEADER as u64)?;
        write_all(self.fd(), &header, base)?;
        self.sequence = sequence;
        Ok(())
    }

    /// The memory file, for the anchor's store.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The header of a copy.
pub fn header(sequence: u64, bytes: &[u8]) -> [u8; HEADER] {
    let mut header = [0u8; HEADER];
    header[..8].copy_from_slice(&MAGIC.to_le_bytes());
    header[8..16].copy_from_slice(&sequence.to_le_bytes());
    header[16..24].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
    let sum = checksum(&header, bytes);
    header[24..28].copy_from_slice(&sum.to_le_bytes());
    header
}

/// The sequence number and the length that a header tells, where it is one.
pub fn told(header: &[u8; HEADER]) -> Option<(u64, u64)> {
    let word =
        |at: usize| -> Option<u64> { Some(u64::from_le_bytes(header.get(at..at + 8)?.try_into().ok()?)) };
    (word(0)? == MAGIC).then_some((word(8)?, word(16)?))
}

/// Whether a header is that of these bytes.
pub fn is_of(header: &[u8; HEADER], bytes: &[u8]) -> bool {
    header[24..28] == checksum(header, bytes).to_le_bytes()
}

/// Of a half's header before the checksum, and its content.
fn checksum(header: &[u8; HEADER], bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&header[..24]), bytes)
}

fn read_half(file: BorrowedFd<'_>, half: u64) -> Option<(u64, Vec<u8>)> {
    let mut header = [0u8; HEADER];
    read_exact(file, &mut header, half * HALF).ok()?;
    let (sequence, len) = told(&header).filter(|(_, len)| *len <= HALF - HEADER as u64)?;
    let mut bytes = vec![0; len as usize];
    read_exact(file, &mut bytes, half * HALF + HEADER as u64).ok()?;
    is_of(&header, &bytes).then_some((sequence, bytes))
}

/// Writes bytes at this place of a file.
///
/// # Errors
/// What the system says.
pub fn write_all(file: BorrowedFd<'_>, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = pwrite(file, bytes, at)?;
        bytes = &bytes[n..];
        at += n as u64;
    }
    Ok(())
}

/// Reads as many bytes as there is room for from this place of a file.
///
/// # Errors
/// What the system says; `UnexpectedEof` where there are not as many.
pub fn read_exact(file: BorrowedFd<'_>, mut bytes: &mut [u8], mut at: u64) -> io::Result<()> {
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

    fn newest(halves: &Halves) -> Option<Vec<u8>> {
        Halves::adopt(halves.file.try_clone().unwrap()).1
    }

    #[test]
    fn a_successor_reads_the_newest_whole_half() {
        let mut halves = Halves::create("test", 0).unwrap();
        assert_eq!(newest(&halves), None);
        halves.write(b"one").unwrap();
        halves.write(b"two, longer").unwrap();
        // A third write dies before its checksum: the half holds torn bytes.
        write_all(halves.fd(), b"torn", HALF + HEADER as u64).unwrap();
        assert_eq!(newest(&halves), Some(b"two, longer".to_vec()));
        let (mut adopted, _) = Halves::adopt(halves.file);
        adopted.write(b"four").unwrap();
        assert_eq!(newest(&adopted), Some(b"four".to_vec()));
    }

    #[test]
    fn damage_to_any_byte_leaves_the_other_half() {
        for at in (0..28).chain([HEADER as u64]) {
            for damage in [0u8, 0xff] {
                let mut halves = Halves::create("test", 0).unwrap();
                halves.write(b"\x7fold").unwrap();
                halves.write(b"\x7fnew").unwrap();
                // Up to the checksum's end, so that nothing of it stays.
                let len = if at < 28 { 28 - at as usize } else { 1 };
                write_all(halves.fd(), &vec![damage; len], at).unwrap();
                assert_eq!(newest(&halves), Some(b"\x7fold".to_vec()), "{at}");
            }
        }
    }

    #[test]
    fn what_is_too_large_changes_nothing() {
        let mut halves = Halves::create("test", 0).unwrap();
        halves.write(b"one").unwrap();
        let large = vec![1; HALF as usize - HEADER + 1];
        assert!(matches!(halves.write(&large), Err(HalvesError::TooLarge(_))));
        halves.write(&large[1..]).unwrap();
        assert_eq!(newest(&halves).map(|bytes| bytes.len()), Some(large.len() - 1));
    }
}
