//! Reading and copying what files hold: holes stay holes, lengths are bounded beforehand.

use rustix::fd::BorrowedFd;
use rustix::fs::{SeekFrom, ftruncate, readlinkat, seek};
use rustix::io::{Errno, pread, pwrite};
use sha2::{Digest as _, Sha256};

use super::baseline::Digest;

/// Unit of the digest and of the holes that a copy gets.
const BLOCK: usize = 4096;
/// Bytes read at once; a whole number of blocks.
const BUFFER: usize = 64 * BLOCK;
static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// What a file was found to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) digest: Digest,
    pub(super) size: u64,
    /// Bytes of the blocks that are not all zero.
    pub(super) data: u64,
}

/// Why a file's content could not be carried over.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ContentError {
    Read(Errno),
    Write(Errno),
    /// It holds more data than was allowed.
    OverBudget,
}

/// A digest in the making; see [`Digest`].
struct Hasher {
    sha: Sha256,
    data: u64,
}

impl Hasher {
    fn new() -> Self {
        Self { sha: Sha256::new(), data: 0 }
    }

    /// Takes in one block; whether it holds anything but zeros.
    fn block(&mut self, offset: u64, block: &[u8]) -> bool {
        if block == &ZEROS[..block.len()] {
            return false;
        }
        self.sha.update(offset.to_le_bytes());
        self.sha.update(block);
        self.data += block.len() as u64;
        true
    }

    fn finish(mut self, size: u64) -> Held {
        self.sha.update(size.to_le_bytes());
        Held { digest: Digest(self.sha.finalize().into()), size, data: self.data }
    }
}

/// The digest of a file that holds these bytes.
pub(super) fn digest_of(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new();
    for (i, block) in bytes.chunks(BLOCK).enumerate() {
        hasher.block((i * BLOCK) as u64, block);
    }
    hasher.finish(bytes.len() as u64).digest
}

/// The digest of a link with this target.
pub(super) fn digest_of_target(target: &[u8]) -> Digest {
    Digest(Sha256::digest(target).into())
}

/// The digest of a file of `size` bytes; what it grows to meanwhile is not read.
pub(super) fn digest_file(file: BorrowedFd<'_>, size: u64) -> Result<Held, Errno> {
    scan(file, None, size, u64::MAX).map_err(|error| match error {
        ContentError::Read(errno) | ContentError::Write(errno) => errno,
        ContentError::OverBudget => Errno::FBIG,
    })
}

/// Copies the first `size` bytes of a file into an empty one, at most `budget` of data.
pub(super) fn copy_file(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    size: u64,
    budget: u64,
) -> Result<Held, ContentError> {
    scan(from, Some(to), size, budget)
}

/// The bytes of a file, if there are at most `max`.
pub(super) fn read_whole(file: BorrowedFd<'_>, size: u64, max: usize) -> Result<Option<Vec<u8>>, Errno> {
    if size > max as u64 {
        return Ok(None);
    }
    let mut bytes = vec![0; size as usize];
    let mut at = 0;
    while at < bytes.len() {
        match pread(file, &mut bytes[at..], at as u64)? {
            0 => bytes.truncate(at),
            n => at += n,
        }
    }
    Ok(Some(bytes))
}

/// A link's target.
pub(super) fn read_target(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<u8>, Errno> {
    Ok(readlinkat(dir, name, Vec::new())?.into_bytes())
}

/// The next stretch of data from `at` on, widened to whole blocks; `None` when only holes follow.
fn next_data(file: BorrowedFd<'_>, at: u64, size: u64) -> Result<Option<(u64, u64)>, Errno> {
    let start = match seek(file, SeekFrom::Data(at)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        // File systems that know no holes.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok((at < size).then_some((at, size))),
        Err(errno) => return Err(errno),
    };
    let block = BLOCK as u64;
    let start = (start / block * block).max(at);
    if start >= size {
        return Ok(None);
    }
    let end = match seek(file, SeekFrom::Hole(start)) {
        Ok(end) => end.checked_next_multiple_of(block).unwrap_or(size),
        Err(_) => size,
    };
    // A hole punched in between must not stop the progress.
    Ok(Some((start, end.max(start.saturating_add(block)).min(size))))
}

fn scan(
    from: BorrowedFd<'_>,
    to: Option<BorrowedFd<'_>>,
    size: u64,
    budget: u64,
) -> Result<Held, ContentError> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; BUFFER.min((size as usize).next_multiple_of(BLOCK)).max(BLOCK)];
    let mut size = size;
    let mut at = 0;
    while at < size {
        let Some((start, end)) = next_data(from, at, size).map_err(ContentError::Read)? else { break };
        at = start;
        while at < end {
            let want = (end - at).min(buffer.len() as u64) as usize;
            let got = fill(from, &mut buffer[..want], at).map_err(ContentError::Read)?;
            let full = &buffer[..got];
            let mut run = 0..0;
            for (i, block) in full.chunks(BLOCK).enumerate() {
                let offset = i * BLOCK;
                if hasher.block(at + offset as u64, block) {
                    run = if run.is_empty() { offset..offset } else { run };
                    run.end = offset + block.len();
                } else if let Some(to) = to {
                    write_all(to, &full[run.clone()], at + run.start as u64)?;
                    run = 0..0;
                }
            }
            if hasher.data > budget {
                return Err(ContentError::OverBudget);
            }
            if let Some(to) = to {
                write_all(to, &full[run.clone()], at + run.start as u64)?;
            }
            at += got as u64;
            if got < want {
                // It was cut short while it was read.
                size = at;
                break;
            }
        }
    }
    if let Some(to) = to {
        ftruncate(to, size).map_err(ContentError::Write)?;
    }
    Ok(hasher.finish(size))
}

fn fill(file: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    let mut got = 0;
    while got < buffer.len() {
        match pread(file, &mut buffer[got..], offset + got as u64) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(got)
}

fn write_all(file: BorrowedFd<'_>, mut bytes: &[u8], mut offset: u64) -> Result<(), ContentError> {
    while !bytes.is_empty() {
        match pwrite(file, bytes, offset) {
            Ok(0) => return Err(ContentError::Write(Errno::IO)),
            Ok(n) => {
                bytes = &bytes[n..];
                offset += n as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(ContentError::Write(errno)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::os::unix::fs::{FileExt, MetadataExt};

    use rustix::fd::AsFd;

    use super::*;

    #[test]
    fn holes_count_as_the_zeros_they_read_as() {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = vec![0; 3 * BLOCK + 17];
        bytes[BLOCK + 5] = 1;
        let mut dense =
            File::options().read(true).write(true).create_new(true).open(dir.path().join("d")).unwrap();
        dense.write_all(&bytes).unwrap();
        let sparse =
            File::options().read(true).write(true).create_new(true).open(dir.path().join("s")).unwrap();
        sparse.set_len(bytes.len() as u64).unwrap();
        sparse.write_at(&[1], BLOCK as u64 + 5).unwrap();
        let size = bytes.len() as u64;
        let held = digest_file(dense.as_fd(), size).unwrap();
        assert_eq!(held, digest_file(sparse.as_fd(), size).unwrap());
        assert_eq!(held.digest, digest_of(&bytes));
        assert_eq!(held.data, BLOCK as u64);
        assert_ne!(held.digest, digest_of(&bytes[..bytes.len() - 1]));
        let copy =
            File::options().read(true).write(true).create_new(true).open(dir.path().join("c")).unwrap();
        assert_eq!(copy_file(dense.as_fd(), copy.as_fd(), size, size).unwrap(), held);
        assert!(copy.metadata().unwrap().blocks() * 512 <= 2 * BLOCK as u64);
        assert_eq!(std::fs::read(dir.path().join("c")).unwrap(), bytes);
    }

    #[test]
    fn data_over_the_budget_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), vec![7; 10 * BLOCK]).unwrap();
        let from = File::open(dir.path().join("a")).unwrap();
        let to = File::create_new(dir.path().join("b")).unwrap();
        let result = copy_file(from.as_fd(), to.as_fd(), 10 * BLOCK as u64, 9 * BLOCK as u64);
        assert_eq!(result, Err(ContentError::OverBudget));
    }
}
