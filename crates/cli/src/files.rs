//! Files that the caller names: read whole, up to a limit, and not waited for without end.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use sessile_model::problem::ProblemKind;
use zeroize::Zeroizing;

use crate::failure::Failure;

/// A file's bytes.
///
/// # Errors
/// When it cannot be read, is a folder, or holds more than `most` bytes.
pub fn bytes(path: &Path, most: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let name = path.display().to_string();
    let file = open(path).map_err(|e| {
        let failure = Failure::system(format!("read {name}"), &e);
        match (e.kind(), std::env::current_dir()) {
            (io::ErrorKind::NotFound, Ok(folder)) if path.is_relative() => {
                failure.hint(format!("it was looked for in {}", folder.display()))
            }
            _ => failure,
        }
    })?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(bad(format!("{name} is a folder, not a file")).hint("name a file in it"));
    }
    bounded(file, &name, most)
}

/// A file's text.
///
/// # Errors
/// As [`bytes`], and when it is not UTF-8.
pub fn text(path: &Path, most: usize) -> Result<Zeroizing<String>, Failure> {
    utf8(bytes(path, most)?, &path.display().to_string())
}

/// What standard input holds, to its end.
///
/// # Errors
/// When it cannot be read, or holds more than `most` bytes.
pub fn standard_input(most: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    bounded(io::stdin().lock(), "standard input", most)
}

/// Bytes as text; the source is called `name`.
///
/// # Errors
/// When they are not UTF-8.
pub fn utf8(mut bytes: Zeroizing<Vec<u8>>, name: &str) -> Result<Zeroizing<String>, Failure> {
    String::from_utf8(std::mem::take(&mut *bytes)).map(Zeroizing::new).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let bytes = Zeroizing::new(e.into_bytes());
        let byte = bytes.get(at).copied().unwrap_or_default();
        let coding = match bytes.as_slice() {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "UTF-16",
            _ => "LATIN1",
        };
        bad(format!(
            "{name} is not valid UTF-8: the first byte that is none is at offset {at} (0x{byte:02x})"
        ))
        .hint(format!("`iconv -f {coding} -t UTF-8` makes it UTF-8, if {coding} is what it is"))
    })
}

/// What a file or, for `-`, standard input is called.
pub fn shown(path: &Path) -> String {
    if path.as_os_str() == "-" { "standard input".to_owned() } else { path.display().to_string() }
}

/// The text of a file or, for `-`, of standard input.
///
/// # Errors
/// As [`text`].
pub fn input(path: &Path, most: usize) -> Result<Zeroizing<String>, Failure> {
    match path.as_os_str() == "-" {
        true => utf8(standard_input(most)?, &shown(path)),
        false => text(path, most),
    }
}

/// Makes sure that at most one of a command's inputs, each as the command line calls it, is standard input.
///
/// # Errors
/// When two are.
pub fn one_standard<'a>(inputs: impl IntoIterator<Item = (&'a str, &'a Path)>) -> Result<(), Failure> {
    let mut standard = inputs.into_iter().filter(|(_, path)| path.as_os_str() == "-");
    let (Some((first, _)), Some((second, _))) = (standard.next(), standard.next()) else { return Ok(()) };
    Err(bad(format!("{first} and {second} cannot both be standard input"))
        .hint("name a file for one of them; `./-` is a file that is called so"))
}

/// A warning where other users may read a file that holds a secret.
pub fn exposure(path: &Path) -> Option<String> {
    let mode = path.metadata().ok().filter(std::fs::Metadata::is_file)?.mode();
    (mode & 0o077 != 0).then(|| {
        format!("{} can be read by other users (mode {:o}); `chmod 600` it", path.display(), mode & 0o777)
    })
}

/// How long a pipe may have nobody who writes to it.
const UNWRITTEN: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// Opens it. A pipe that nobody writes to yet is waited for, for a while.
fn open(path: &Path) -> io::Result<File> {
    let nonblocking = OFlags::NONBLOCK;
    let flags = (nonblocking | OFlags::NOCTTY).bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.file_type().is_fifo() {
        let mut pipe = [PollFd::new(&file, PollFlags::IN)];
        if poll(&mut pipe, Some(&UNWRITTEN))? == 0 {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody writes to this pipe"));
        }
    }
    let flags = fcntl_getfl(file.as_fd())?;
    fcntl_setfl(file.as_fd(), flags - nonblocking)?;
    Ok(file)
}

fn bounded(source: impl Read, name: &str, most: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut bytes = Zeroizing::new(Vec::new());
    // One byte more tells that there is too much.
    let read = source.take(most as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|e| Failure::system(format!("read {name}"), &e))?;
    if bytes.len() > most {
        return Err(bad(format!("{name} holds more than the {most} bytes that are taken")).hint(parts(most)));
    }
    Ok(bytes)
}

/// What to do with a text that is too long.
fn parts(most: usize) -> String {
    match most >> 20 {
        0 => "name a smaller file".to_owned(),
        mebibytes => {
            format!("take it in parts: `split -C {mebibytes}M FILE` cuts a text at the ends of its lines")
        }
    }
}

fn bad(detail: String) -> Failure {
    Failure::new(ProblemKind::BadRequest, detail)
}

#[cfg(test)]
mod tests {

    use super::*;

    fn why(result: Result<Zeroizing<String>, Failure>) -> (ProblemKind, String) {
        match result {
            Err(Failure::Problem(problem)) => (problem.kind, problem.detail),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("text"), "four").unwrap();
        std::fs::write(path("noise"), b"\xff").unwrap();
        assert_eq!(text(&path("text"), 4).unwrap().as_str(), "four");
        let cases = [
            (path("text"), ProblemKind::BadRequest, "more than the 3 bytes"),
            (path("noise"), ProblemKind::BadRequest, "not valid UTF-8"),
            (path("none"), ProblemKind::NotFound, "no such file"),
            (folder.path().to_owned(), ProblemKind::BadRequest, "is a folder"),
            ("/dev/zero".into(), ProblemKind::BadRequest, "more than the 3 bytes"),
        ];
        for (path, kind, said) in cases {
            let found = why(text(&path, 3));
            assert!(found.0 == kind && found.1.contains(said), "{found:?}");
        }
    }
}
