//! One session's append-only log file, written by its keeper and read by the daemon.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::frame::{self, Condition, Scan};

/// The log's name in its session's folder.
pub const FILE_NAME: &str = "log";
/// Longest log that is read, in bytes.
pub const MAX_LEN: u64 = 256 << 20;

/// An open log.
#[derive(Debug)]
pub struct Log {
    file: File,
    /// Its folder, until a sync has made its name there lasting.
    folder: Option<OwnedFd>,
    len: u64,
    next_sequence: u64,
    buffer: Vec<u8>,
}

/// A log as it was found.
#[derive(Debug)]
pub struct Opened<T> {
    /// For appending.
    pub log: Log,
    /// Sequence number and entry of each intact record, oldest first.
    pub entries: Vec<(u64, T)>,
    /// What was wrong with it and what was done about it, in a sentence; `None` when whole.
    pub notice: Option<String>,
    /// Whether entries that were acknowledged may be lost.
    pub damaged: bool,
}

/// Why a log could not be opened or read.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The system refused.
    #[error("the session's log could not be {doing}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// A newer program wrote it.
    #[error("the session's log has version {version}, this program reads up to {}", frame::VERSION)]
    Newer {
        /// Its version.
        version: u32,
    },
    /// An intact record is not an entry of the expected type.
    #[error("entry {sequence} of the session's log is of an unknown kind")]
    Entry {
        /// Its sequence number.
        sequence: u64,
        /// What the decoder says.
        source: serde_json::Error,
    },
    /// It is larger than anything a keeper writes.
    #[error("the session's log has {len} bytes, over the limit")]
    TooLarge {
        /// Its length.
        len: u64,
    },
}

/// Why an entry could not be appended. The log is as it was before.
#[derive(Debug, Error)]
pub enum AppendError {
    /// It has no JSON form.
    #[error("the entry cannot be written as JSON")]
    Encode(#[source] serde_json::Error),
    /// It is over [`frame::MAX_PAYLOAD`].
    #[error("an entry of {len} bytes is over the limit")]
    TooLarge {
        /// Its length.
        len: usize,
    },
    /// The disk is full.
    #[error("the disk that holds the session's log is full")]
    DiskFull(#[source] io::Error),
    /// The system refused.
    #[error("the session's log could not be written")]
    Io(#[source] io::Error),
}

impl Log {
    /// Opens `FOLDER/log`, making it when absent; a new one is durable with the first [`Log::sync`],
    /// and not before. A torn tail is cut off. A damaged log is moved aside to `log.damaged-N`, and its intact beginning
    /// becomes the new log.
    ///
    /// # Errors
    /// When the system refuses, a newer program wrote it, or an intact record is not a `T`.
    pub fn open<T: DeserializeOwned>(folder: &Path) -> Result<Opened<T>, OpenError> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(folder, flags, Mode::empty()).map_err(failed("found"))?;
        Self::open_at(dir)
    }

    fn open_at<T: DeserializeOwned>(dir: OwnedFd) -> Result<Opened<T>, OpenError> {
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd =
            rustix::fs::openat(&dir, FILE_NAME, flags, Mode::RUSR | Mode::WUSR).map_err(failed("opened"))?;
        let mut file = File::from(fd);
        let bytes = read_all(&mut file)?;
        let scan = frame::scan(&bytes);
        let entries = entries_of(&bytes, &scan)?;
        let notice = match scan.condition {
            Condition::Whole => None,
            Condition::Torn { bytes } => {
                Some(format!("the last write to the log did not complete; its {bytes} bytes were cut off"))
            }
            Condition::Damaged { at } => {
                let name = move_aside(&dir)?;
                file = replacement(&dir, &bytes[..scan.good_len])?;
                Some(format!(
                    "the log is damaged from byte {at} on; it was moved aside to {name}, and {} entries were kept",
                    entries.len()
                ))
            }
            Condition::Newer { version } => return Err(OpenError::Newer { version }),
        };
        let mut len = scan.good_len as u64;
        if matches!(scan.condition, Condition::Torn { .. }) {
            rustix::fs::ftruncate(&file, len).map_err(failed("cut"))?;
            rustix::fs::fdatasync(&file).map_err(failed("synced"))?;
        }
        if len == 0 {
            file.write_all(&frame::preamble()).map_err(|source| OpenError::Io { doing: "begun", source })?;
            len = frame::PREAMBLE_LEN as u64;
        }
        // A predecessor may have ended before its first sync.
        let folder = Some(dir);
        let log = Self { file, folder, len, next_sequence: scan.next_sequence(), buffer: Vec::new() };
        let damaged = matches!(scan.condition, Condition::Damaged { .. });
        Ok(Opened { log, entries, notice, damaged })
    }

    /// Moves what is in the log's place aside, whatever it is, and begins an empty log. Returns it and
    /// the name under which the other is found.
    ///
    /// # Errors
    /// When the folder cannot be written; then what is there stays there.
    pub fn begin_anew(folder: &Path) -> Result<(Self, String), OpenError> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(folder, flags, Mode::empty()).map_err(failed("found"))?;
        let name = move_aside(&dir)?;
        let preamble = frame::preamble();
        let file = replacement(&dir, &preamble)?;
        let len = preamble.len() as u64;
        Ok((Self { file, folder: Some(dir), len, next_sequence: 1, buffer: Vec::new() }, name))
    }

    /// Appends an entry as JSON and returns its sequence number. Not durable before [`Log::sync`].
    ///
    /// # Errors
    /// When it has no JSON form, is too large, or cannot be written; then nothing was appended.
    pub fn append<T: Serialize>(&mut self, entry: &T) -> Result<u64, AppendError> {
        let payload = serde_json::to_vec(entry).map_err(AppendError::Encode)?;
        self.append_bytes(&payload)
    }

    /// Appends a payload as it is and returns its sequence number.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn append_bytes(&mut self, payload: &[u8]) -> Result<u64, AppendError> {
        if payload.len() > frame::MAX_PAYLOAD {
            return Err(AppendError::TooLarge { len: payload.len() });
        }
        let sequence = self.next_sequence;
        self.buffer.clear();
        frame::put_record(&mut self.buffer, sequence, payload);
        if let Err(e) = self.file.write_all(&self.buffer) {
            // A part of the record may be there: without the cut the next one would follow it and
            // the log would read as damaged.
            let _ = rustix::fs::ftruncate(&self.file, self.len);
            return Err(if crate::file::is_disk_full(&e) {
                AppendError::DiskFull(e)
            } else {
                AppendError::Io(e)
            });
        }
        self.len += self.buffer.len() as u64;
        self.next_sequence += 1;
        Ok(sequence)
    }

    /// Makes everything appended so far durable (`fdatasync`), the first time with the log's name
    /// in its folder.
    ///
    /// # Errors
    /// When the system could not write it; what was appended since the last sync may be lost.
    pub fn sync(&mut self) -> io::Result<()> {
        rustix::fs::fdatasync(&self.file)?;
        if let Some(folder) = &self.folder {
            rustix::fs::fsync(folder)?;
            self.folder = None;
        }
        Ok(())
    }

    /// Entries ever appended to it.
    pub fn entries(&self) -> u64 {
        self.next_sequence - 1
    }
}

/// Reads the intact entries of `FOLDER/log` without changing it, for the daemon. The condition
/// says whether that is all of it. No log at all is an empty one.
///
/// # Errors
/// As [`Log::open`].
pub fn read<T: DeserializeOwned>(folder: &Path) -> Result<(Vec<(u64, T)>, Condition), OpenError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = match rustix::fs::open(folder.join(FILE_NAME), flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::NOENT) => return Ok((Vec::new(), Condition::Whole)),
        Err(e) => return Err(failed("opened")(e)),
    };
    let bytes = read_all(&mut File::from(fd))?;
    let scan = frame::scan(&bytes);
    if let Condition::Newer { version } = scan.condition {
        return Err(OpenError::Newer { version });
    }
    Ok((entries_of(&bytes, &scan)?, scan.condition))
}

fn failed(doing: &'static str) -> impl Fn(rustix::io::Errno) -> OpenError {
    move |e| OpenError::Io { doing, source: e.into() }
}

fn read_all(file: &mut File) -> Result<Vec<u8>, OpenError> {
    let len = file.metadata().map_err(|source| OpenError::Io { doing: "read", source })?.len();
    if len > MAX_LEN {
        return Err(OpenError::TooLarge { len });
    }
    let mut bytes = Vec::with_capacity(len as usize);
    file.read_to_end(&mut bytes).map_err(|source| OpenError::Io { doing: "read", source })?;
    Ok(bytes)
}

fn entries_of<T: DeserializeOwned>(bytes: &[u8], scan: &Scan) -> Result<Vec<(u64, T)>, OpenError> {
    scan.records
        .iter()
        .map(|(sequence, place)| {
            let entry = serde_json::from_slice(&bytes[place.clone()])
                .map_err(|source| OpenError::Entry { sequence: *sequence, source })?;
            Ok((*sequence, entry))
        })
        .collect()
}

/// Renames `log` to the first free `log.damaged-N`.
fn move_aside(dir: &impl AsFd) -> Result<String, OpenError> {
    for n in 1..1000 {
        let name = format!("{FILE_NAME}.damaged-{n}");
        let no_replace = rustix::fs::RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(dir, FILE_NAME, dir, &name, no_replace) {
            Ok(()) => return Ok(name),
            Err(rustix::io::Errno::EXIST) => {}
            Err(e) => return Err(failed("moved aside")(e)),
        }
    }
    Err(failed("moved aside")(rustix::io::Errno::EXIST))
}

/// Makes a log with these bytes, complete before it has its name.
fn replacement(dir: &impl AsFd, bytes: &[u8]) -> Result<File, OpenError> {
    let name = OsStr::new("log.new");
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(e) => return Err(failed("replaced")(e)),
    }
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let fd: OwnedFd =
        rustix::fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR).map_err(failed("replaced"))?;
    let mut file = File::from(fd);
    file.write_all(bytes).map_err(|source| OpenError::Io { doing: "replaced", source })?;
    rustix::fs::fdatasync(&file).map_err(failed("synced"))?;
    rustix::fs::renameat(dir, name, dir, FILE_NAME).map_err(failed("replaced"))?;
    rustix::fs::fsync(dir).map_err(failed("synced with its folder"))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Kind = (i64, String);

    fn entry(n: i64) -> Kind {
        (n, format!("step {n}"))
    }

    fn with_entries(folder: &Path, count: i64) {
        let mut log = Log::open::<Kind>(folder).unwrap().log;
        for n in 0..count {
            log.append(&entry(n)).unwrap();
        }
        log.sync().unwrap();
    }

    #[test]
    fn entries_come_back_and_sequence_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        with_entries(folder.path(), 3);
        let mut opened = Log::open::<Kind>(folder.path()).unwrap();
        assert_eq!(opened.notice, None);
        assert_eq!(opened.entries.iter().map(|e| e.0).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(opened.log.append(&entry(3)).unwrap(), 4);
        assert_eq!(read::<Kind>(folder.path()).unwrap().0.len(), 4);
    }

    #[test]
    fn the_first_sync_makes_the_name_lasting_too() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::open::<Kind>(folder.path()).unwrap().log;
        log.append(&entry(0)).unwrap();
        assert!(log.folder.is_some());
        log.sync().unwrap();
        assert!(log.folder.is_none());
        // Whoever opened it before may have died before it synced anything.
        assert!(Log::open::<Kind>(folder.path()).unwrap().log.folder.is_some());
    }

    #[test]
    fn a_torn_tail_is_cut_and_said() {
        let folder = tempfile::tempdir().unwrap();
        with_entries(folder.path(), 3);
        let path = folder.path().join(FILE_NAME);
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(file.metadata().unwrap().len() - 5).unwrap();
        assert!(matches!(read::<Kind>(folder.path()).unwrap().1, Condition::Torn { .. }));
        let mut opened = Log::open::<Kind>(folder.path()).unwrap();
        assert_eq!(opened.entries.len(), 2);
        assert!(opened.notice.unwrap().contains("cut off") && !opened.damaged);
        assert_eq!(opened.log.append(&entry(9)).unwrap(), 3);
        assert_eq!(read::<Kind>(folder.path()).unwrap(), {
            let all = [(1, entry(0)), (2, entry(1)), (3, entry(9))];
            (all.to_vec(), Condition::Whole)
        });
    }

    #[test]
    fn a_damaged_log_is_moved_aside_and_its_beginning_kept() {
        let folder = tempfile::tempdir().unwrap();
        with_entries(folder.path(), 3);
        let path = folder.path().join(FILE_NAME);
        let mut bytes = std::fs::read(&path).unwrap();
        let second = frame::scan(&bytes).records[1].1.start;
        bytes[second] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let opened = Log::open::<Kind>(folder.path()).unwrap();
        assert_eq!(opened.entries.len(), 1);
        assert!(opened.notice.unwrap().contains("log.damaged-1") && opened.damaged);
        assert_eq!(std::fs::read(folder.path().join("log.damaged-1")).unwrap(), bytes);
        let again = Log::open::<Kind>(folder.path()).unwrap();
        assert_eq!((again.entries.len(), again.notice), (1, None));
    }

    #[test]
    fn a_link_in_its_place_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/null", folder.path().join(FILE_NAME)).unwrap();
        assert!(matches!(Log::open::<Kind>(folder.path()), Err(OpenError::Io { .. })));
        // Nothing is written through it, and it is kept.
        let (mut log, name) = Log::begin_anew(folder.path()).unwrap();
        assert_eq!((log.append(&entry(7)).unwrap(), name.as_str()), (1, "log.damaged-1"));
        assert_eq!(read::<Kind>(folder.path()).unwrap(), (vec![(1, entry(7))], Condition::Whole));
        assert!(std::fs::symlink_metadata(folder.path().join(name)).unwrap().is_symlink());
    }

    #[test]
    fn a_full_disk_leaves_the_log_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::open::<Kind>(folder.path()).unwrap().log;
        log.append(&entry(0)).unwrap();
        // /dev/full answers every write as a full disk does.
        let whole = std::mem::replace(&mut log.file, File::options().write(true).open("/dev/full").unwrap());
        assert!(matches!(log.append(&entry(1)), Err(AppendError::DiskFull(_))));
        log.file = whole;
        assert_eq!(log.append(&entry(2)).unwrap(), 2);
        assert_eq!(read::<Kind>(folder.path()).unwrap().1, Condition::Whole);
    }
}
