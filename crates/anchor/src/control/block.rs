//! A command on its way to init.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt as _;

use crate::sys;

use super::{BLOCK_HEADER, BLOCK_MAGIC, Command, ControlError, MAX_BLOCK, MAX_STRINGS};

/// A command in a memory file, which is overwritten when this is dropped.
#[derive(Debug)]
pub struct Block(File);

impl AsFd for Block {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Block {
    /// Writes a command down.
    pub fn of(command: &Command<'_>) -> Result<Self, ControlError> {
        let strings = std::iter::once(command.cwd)
            .chain(command.argv.iter().map(String::as_str))
            .chain(command.env.iter().map(String::as_str));
        let length: usize = strings.clone().map(|s| s.len() + 1).sum();
        if command.argv.is_empty()
            || command.argv.len() > MAX_STRINGS
            || command.env.len() > MAX_STRINGS
            || BLOCK_HEADER + length > MAX_BLOCK
            || strings.clone().any(|s| s.as_bytes().contains(&0))
        {
            return Err(ControlError::BadCommand);
        }
        let mut bytes = Vec::with_capacity(BLOCK_HEADER + length);
        bytes.extend_from_slice(&BLOCK_MAGIC);
        for number in [length, command.argv.len(), command.env.len()] {
            bytes.extend_from_slice(&(number as u32).to_le_bytes());
        }
        for string in strings {
            bytes.extend_from_slice(string.as_bytes());
            bytes.push(0);
        }
        let block = memory_file().map(Self);
        let written = block.and_then(|mut block| block.0.write_all(&bytes).map(|()| block));
        // The environment may hold secrets: no copy stays behind in freed memory.
        for byte in &mut bytes {
            // SAFETY: a valid, exclusive reference; volatile so that the store is not optimised
            // away.
            unsafe { std::ptr::write_volatile(byte, 0) };
        }
        let block = written?;
        // Init maps the file: it must not become shorter below it.
        let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW;
        // SAFETY: F_ADD_SEALS takes a number and touches no memory.
        sys::check(unsafe { libc::fcntl(block.0.as_raw_fd(), libc::F_ADD_SEALS, seals) })?;
        Ok(block)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let zeros = [0u8; 4096];
        let length = self.0.metadata().map_or(0, |metadata| metadata.len());
        let mut at = 0;
        while at < length {
            let part = (length - at).min(zeros.len() as u64) as usize;
            if self.0.write_all_at(&zeros[..part], at).is_err() {
                break;
            }
            at += part as u64;
        }
    }
}

fn memory_file() -> io::Result<File> {
    const MFD_NOEXEC_SEAL: u32 = 0x8;
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name is a C string that outlives the call.
    let create = |flags| sys::owned(unsafe { libc::memfd_create(c"sessile-command".as_ptr(), flags) });
    // Linux before 6.3 does not know the flag.
    create(flags | MFD_NOEXEC_SEAL).or_else(|_| create(flags)).map(File::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_written_as_told_and_overwritten_at_its_end() {
        let [argv, env] = [["/bin/true"], ["SECRET=canary"]].map(|strings| strings.map(str::to_owned));
        let block = Block::of(&Command { argv: &argv, env: &env, cwd: "/" }).unwrap();
        let copy = block.0.try_clone().unwrap();
        let mut bytes = vec![0; copy.metadata().unwrap().len() as usize];
        copy.read_exact_at(&mut bytes, 0).unwrap();
        let strings = b"/\0/bin/true\0SECRET=canary\0";
        let numbers = [strings.len() as u32, 1, 1].map(u32::to_le_bytes).concat();
        assert_eq!(bytes, [&BLOCK_MAGIC[..], &numbers, strings].concat());
        assert!(copy.set_len(1).is_err());
        drop(block);
        copy.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes.iter().all(|&byte| byte == 0));
    }
}
