//! Standard input and output where what goes through them must not get lost unseen.
//!
//! The standard library opens the null device for reading and writing in place of a descriptor that was closed,
//! and takes a write that is refused as bad (`EBADF`) for one that succeeded; [`streams`] knows of the first.

use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat, major, minor};
use rustix::io::{Errno, write};
use rustix::stdio::{stdin, stdout};
use sessile_model::problem::ProblemKind;
use sessile_sandbox::streams;

use crate::failure::Failure;
use crate::output::printable;

/// Makes sure that standard output is open for writing.
///
/// # Errors
/// When it is closed, or open for reading alone.
pub fn output_is_open() -> Result<(), Failure> {
    let closed = streams::output_was_closed();
    open("output", stdout(), closed, OFlags::RDONLY, "`> /dev/null` throws away what is written")
}

/// Makes sure that standard input is open for reading.
///
/// # Errors
/// When it is closed, or open for writing alone.
pub fn input_is_open() -> Result<(), Failure> {
    open("input", stdin(), false, OFlags::WRONLY, "`< /dev/null` gives nothing")
}

fn open(
    name: &str,
    descriptor: BorrowedFd<'_>,
    was_closed: bool,
    useless: OFlags,
    hint: &str,
) -> Result<(), Failure> {
    let mode = fcntl_getfl(descriptor).map(|flags| flags & OFlags::RWMODE);
    let closed = match mode {
        Ok(OFlags::RDWR) => fstat(descriptor).is_ok_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
                && (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3)
        }),
        Ok(mode) => mode == useless,
        Err(_) => true,
    };
    if was_closed || closed {
        let detail = format!("standard {name} is closed");
        return Err(Failure::new(ProblemKind::BadRequest, detail).hint(hint));
    }
    Ok(())
}

/// Writes all of it to standard output.
///
/// # Errors
/// When not all of it was written; [`Failure::ClosedPipe`] when nobody reads it any more.
pub fn write_all(mut bytes: &[u8]) -> Result<(), Failure> {
    while !bytes.is_empty() {
        match write(stdout(), bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                // Interrupted or not, it is tried again.
                let _ = poll(&mut [PollFd::new(&stdout(), PollFlags::OUT)], None);
            }
            Err(Errno::PIPE) => return Err(Failure::ClosedPipe),
            Err(error) => return Err(Failure::system("write the output", &error.into())),
        }
    }
    Ok(())
}

/// Bytes as a terminal may have them: lines of text, with everything else that it would act on made visible.
pub fn visible(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let cells = |line: &str| line.split('\t').map(printable).collect::<Vec<_>>().join("\t");
    text.split('\n').map(cells).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_hides_or_turns_what_is_read() {
        assert_eq!(
            visible("pay\u{202e}lla\u{200b}\u{2066}x\u{e0041}".as_bytes()),
            "pay\\u{202e}lla\\u{200b}\\u{2066}x\\u{e0041}"
        );
        // What joins letters is written in words, and in pictures.
        assert_eq!(visible("a\u{200c}b\u{200d}c".as_bytes()), "a\u{200c}b\u{200d}c");
    }

    #[test]
    fn a_terminal_has_lines_and_nothing_that_it_acts_on() {
        assert_eq!(visible(b"a\tb\x1b[2J\r\n\xffc\n"), "a\tb\\u{1b}[2J\\r\n\u{fffd}c\n");
    }
}
