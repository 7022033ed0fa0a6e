//! One terminal's recording, as files of session storage that no app sees.
//!
//! `NAME.cast` holds whole lines. `NAME.mark` says how far they reach: it is written after them and
//! before the terminal's ring may let go of what they hold, so that a keeper that takes over goes on
//! at the very byte, whatever its predecessor died of.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ftruncate, mkdirat, openat};
use rustix::io::{Errno, pread, pwrite};
use sessile_model::ids::AppName;
use sessile_model::quantity::Timestamp;
use sessile_model::record::RecordingState;
use sessile_model::recording::{Partial, Writer, header};
use sessile_model::spec::{Recording, WindowSize};

/// The folder on session storage.
pub const FOLDER: &str = "recordings";
/// Bytes of a mark.
const MARK: usize = 40;
/// Bytes of a screen that one line holds.
const PIECE: usize = 16 << 10;

/// What a recording begins with.
#[derive(Debug)]
pub struct Beginning<'a> {
    /// The task's name.
    pub name: &'a AppName,
    /// What is recorded.
    pub what: Recording,
    /// The terminal's size.
    pub size: WindowSize,
    /// The value of `TERM` inside.
    pub term: Option<&'a str>,
    /// Ring offset of the first byte that is recorded.
    pub offset: u64,
    /// What draws the screen as it is there.
    pub screen: &'a [u8],
    /// Most bytes of the file.
    pub limit: u64,
}

/// A recording that goes on, until a write fails.
#[derive(Debug)]
pub struct Recorder {
    file: OwnedFd,
    mark: OwnedFd,
    writer: Writer,
    /// What is recorded.
    what: Recording,
    /// Ring offset of the first byte that is not recorded.
    offset: u64,
    /// Bytes of whole lines in the file.
    len: u64,
    limit: u64,
    size: WindowSize,
    state: RecordingState,
}

/// A mark's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    offset: u64,
    len: u64,
    at: Timestamp,
    size: WindowSize,
    output: Partial,
    input: Partial,
    what: Recording,
    state: RecordingState,
}

/// The states that a mark tells, by their numbers in it. What is wiped has no mark.
const STATES: [RecordingState; 5] = [
    RecordingState::Stopped,
    RecordingState::Running,
    RecordingState::Ended,
    RecordingState::Full,
    RecordingState::Failed,
];

impl Recorder {
    /// Begins a recording, or goes on with one of the same name that was stopped.
    ///
    /// # Errors
    /// When its files cannot be made or written.
    pub fn begin(storage: BorrowedFd<'_>, begin: &Beginning<'_>, now: Timestamp) -> Result<Self, Errno> {
        match mkdirat(storage, FOLDER, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        let (file, mark) = open_both(storage, begin.name, OFlags::CREATE)?;
        let known = read_mark(mark.as_fd())?;
        let mut recorder = Self {
            file,
            mark,
            writer: Writer::begin(now),
            what: begin.what,
            offset: begin.offset,
            len: known.map_or(0, |known| known.len),
            limit: begin.limit,
            size: begin.size,
            state: RecordingState::Running,
        };
        ftruncate(&recorder.file, recorder.len)?;
        let mut text = match known {
            Some(known) => {
                let marker = recorder.writer.marker(now, "recording goes on");
                let resized = known.size != begin.size;
                marker + &if resized { recorder.writer.resize(now, begin.size) } else { String::new() }
            }
            None => header(begin.size, begin.term, now),
        };
        for piece in begin.screen.chunks(PIECE) {
            text += &recorder.writer.output(now, piece);
        }
        recorder.append(&text);
        if recorder.has_failed() { Err(Errno::NOSPC) } else { Ok(recorder) }
    }

    /// Takes over the recording that a predecessor left running; `None` where there is none. The ring
    /// holds output from `oldest` on.
    pub fn adopt(
        storage: BorrowedFd<'_>,
        name: &AppName,
        limit: u64,
        oldest: u64,
        now: Timestamp,
    ) -> Option<Self> {
        let (file, mark) = open_both(storage, name, OFlags::empty()).ok()?;
        let known = read_mark(mark.as_fd()).ok()?.filter(|known| known.state == RecordingState::Running)?;
        // A line that was written and not marked is written again.
        ftruncate(&file, known.len).ok()?;
        let mut recorder = Self {
            file,
            mark,
            writer: Writer::resume(known.at, known.output, known.input),
            what: known.what,
            offset: known.offset,
            len: known.len,
            limit,
            size: known.size,
            state: RecordingState::Running,
        };
        if oldest > recorder.offset {
            let lost = oldest - recorder.offset;
            let text = recorder.writer.marker(now, &format!("{lost} bytes of output are missing here"));
            recorder.offset = oldest;
            recorder.append(&text);
        }
        Some(recorder)
    }

    /// Records output that starts at this ring offset, as far as it is not recorded.
    pub fn output(&mut self, start: u64, bytes: &[u8], now: Timestamp) {
        let known = usize::try_from(self.offset.saturating_sub(start)).unwrap_or(usize::MAX);
        let Some(fresh) = bytes.get(known..).filter(|fresh| !fresh.is_empty()) else { return };
        self.offset = start + bytes.len() as u64;
        let text = self.writer.output(now, fresh);
        self.append(&text);
    }

    /// Records what was typed, where that is wanted.
    pub fn input(&mut self, bytes: &[u8], now: Timestamp) {
        if self.what.input {
            let text = self.writer.input(now, bytes);
            self.append(&text);
        }
    }

    /// Records the terminal's size, where it is another.
    pub fn resize(&mut self, size: WindowSize, now: Timestamp) {
        if self.size != size {
            self.size = size;
            let text = self.writer.resize(now, size);
            self.append(&text);
        }
    }

    /// Ends it: with the command's exit status, or before.
    pub fn end(mut self, exit: Option<i32>, now: Timestamp) -> RecordingState {
        let text = match exit {
            Some(status) => self.writer.exit(now, status),
            None => self.writer.finish(now),
        };
        self.append(&text);
        if self.state == RecordingState::Running {
            self.state = exit.map_or(RecordingState::Stopped, |_| RecordingState::Ended);
        }
        // It was written before: there is room for it.
        let _ = self.write_mark();
        self.state
    }

    /// What is recorded.
    pub fn what(&self) -> Recording {
        self.what
    }

    /// Bytes of whole lines that are recorded.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing more can be recorded.
    pub fn has_failed(&self) -> bool {
        self.state != RecordingState::Running
    }

    /// Writes lines, then how far they reach. Where they cannot be written whole, none of them stays,
    /// and nothing follows.
    fn append(&mut self, text: &str) {
        if self.state != RecordingState::Running {
            return;
        }
        let end = self.len + text.len() as u64;
        let written =
            if end > self.limit { Err(Errno::NOSPC) } else { write_all(self.file.as_fd(), self.len, text) };
        let outcome = written.and_then(|()| {
            self.len = end;
            self.write_mark()
        });
        if let Err(errno) = outcome {
            self.state = match errno {
                Errno::NOSPC | Errno::DQUOT | Errno::FBIG => RecordingState::Full,
                _ => RecordingState::Failed,
            };
            // What is cut off here was never marked.
            let _ = ftruncate(&self.file, self.len);
            let _ = self.write_mark();
        }
    }

    fn write_mark(&self) -> Result<(), Errno> {
        let (at, output, input) = self.writer.state();
        let mark = Mark {
            offset: self.offset,
            len: self.len,
            at,
            size: self.size,
            output,
            input,
            what: self.what,
            state: self.state,
        };
        // Within one page, so that no kill leaves half of it.
        match pwrite(&self.mark, &mark.encode(), 0)? {
            MARK => Ok(()),
            _ => Err(Errno::NOSPC),
        }
    }
}

impl Mark {
    fn encode(&self) -> [u8; MARK] {
        let mut bytes = [0; MARK];
        bytes[..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.len.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.at.as_millis().to_le_bytes());
        bytes[24..26].copy_from_slice(&self.size.cols.to_le_bytes());
        bytes[26..28].copy_from_slice(&self.size.rows.to_le_bytes());
        for (place, partial) in [(28, self.output), (32, self.input)] {
            let held = partial.bytes();
            bytes[place] = held.len() as u8;
            bytes[place + 1..place + 1 + held.len()].copy_from_slice(held);
        }
        bytes[36] = u8::from(self.what.input);
        bytes[37] = STATES.iter().position(|state| *state == self.state).unwrap_or(0) as u8;
        bytes
    }

    fn decode(bytes: &[u8; MARK]) -> Self {
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let side = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let partial = |at: usize| Partial::from_bytes(&bytes[at + 1..at + 1 + usize::from(bytes[at].min(3))]);
        Self {
            offset: number(0),
            len: number(8),
            at: Timestamp::from_millis(number(16).cast_signed()),
            size: WindowSize { cols: side(24), rows: side(26) },
            output: partial(28),
            input: partial(32),
            what: Recording { input: bytes[36] != 0 },
            state: STATES.get(usize::from(bytes[37])).copied().unwrap_or(RecordingState::Failed),
        }
    }
}

/// The file's name in [`FOLDER`].
pub fn file_name(name: &AppName) -> String {
    format!("{name}.cast")
}

/// What was recorded under this name and what became of it, where something was.
pub fn state_of(storage: BorrowedFd<'_>, name: &AppName) -> Option<(Recording, RecordingState)> {
    let (_, mark) = open_both(storage, name, OFlags::empty()).ok()?;
    let mark = read_mark(mark.as_fd()).ok()??;
    Some((mark.what, mark.state))
}

/// A stretch of a recording, in whole lines or not, how long all of it is by now, and what becomes of
/// it. `None` where there is none.
pub fn read(
    storage: BorrowedFd<'_>,
    name: &AppName,
    from: u64,
    most: usize,
) -> Result<Option<(Vec<u8>, u64, RecordingState)>, Errno> {
    let (file, mark) = match open_both(storage, name, OFlags::empty()) {
        Ok(both) => both,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let Some(mark) = read_mark(mark.as_fd())? else { return Ok(None) };
    let wanted = usize::try_from(mark.len.saturating_sub(from)).unwrap_or(usize::MAX).min(most);
    let mut bytes = vec![0; wanted];
    let mut filled = 0;
    while filled < wanted {
        match pread(&file, &mut bytes[filled..], from + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    bytes.truncate(filled);
    Ok(Some((bytes, mark.len, mark.state)))
}

fn open_both(storage: BorrowedFd<'_>, name: &AppName, create: OFlags) -> Result<(OwnedFd, OwnedFd), Errno> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | create;
    let open = |file: String| openat(storage, format!("{FOLDER}/{file}"), flags, Mode::RUSR | Mode::WUSR);
    Ok((open(file_name(name))?, open(format!("{name}.mark"))?))
}

/// What a mark says; `None` where nothing was marked yet.
fn read_mark(file: BorrowedFd<'_>) -> Result<Option<Mark>, Errno> {
    let mut bytes = [0; MARK];
    match pread(file, &mut bytes, 0)? {
        MARK => Ok(Some(Mark::decode(&bytes))),
        _ => Ok(None),
    }
}

fn write_all(file: BorrowedFd<'_>, mut at: u64, text: &str) -> Result<(), Errno> {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match pwrite(file, rest, at) {
            Ok(0) => return Err(Errno::NOSPC),
            Ok(written) => {
                rest = &rest[written..];
                at += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use sessile_model::recording::{Happening, Reader};

    use super::*;

    const SIZE: WindowSize = WindowSize { cols: 80, rows: 24 };

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    struct Storage(tempfile::TempDir, OwnedFd);

    impl Storage {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let fd = openat(rustix::fs::CWD, folder.path(), OFlags::DIRECTORY, Mode::empty()).unwrap();
            Self(folder, fd)
        }

        fn begin(&self, offset: u64, limit: u64) -> Result<Recorder, Errno> {
            let name = AppName::main();
            let what = Recording { input: true };
            let begin = Beginning { name: &name, what, size: SIZE, term: None, offset, screen: b"", limit };
            Recorder::begin(self.1.as_fd(), &begin, at(0))
        }

        fn adopt(&self, oldest: u64) -> Option<Recorder> {
            Recorder::adopt(self.1.as_fd(), &AppName::main(), 1 << 20, oldest, at(50))
        }

        fn path(&self) -> std::path::PathBuf {
            self.0.path().join("recordings/main.cast")
        }

        fn happened(&self) -> Vec<Happening> {
            let text = fs::read_to_string(self.path()).unwrap();
            assert!(text.ends_with('\n'), "{text:?}");
            let mut reader = Reader::default();
            text.lines().filter_map(|l| reader.line(l.as_bytes()).unwrap()).map(|h| h.what).collect()
        }

        fn output(&self) -> String {
            let mut all = String::new();
            for happening in self.happened() {
                if let Happening::Output(text) = happening {
                    all += &text;
                }
            }
            all
        }
    }

    #[test]
    fn a_successor_goes_on_at_the_very_byte() {
        let storage = Storage::new();
        let mut recorder = storage.begin(100, 1 << 20).unwrap();
        recorder.output(90, b"not this: a\xe2\x82", at(10));
        drop(recorder);
        // A predecessor that died between a line and its mark.
        let half = fs::read(storage.path()).unwrap();
        fs::write(storage.path(), [&half[..], b"[0.0, \"o\", \"ha"].concat()).unwrap();
        let mut recorder = storage.adopt(0).unwrap();
        assert!(recorder.what().input);
        recorder.output(0, &[b'x'; 90], at(20));
        recorder.output(90, b"not this: a\xe2\x82\xacb", at(20));
        recorder.resize(SIZE, at(20));
        recorder.input(b"typed", at(21));
        assert_eq!(recorder.end(Some(3), at(30)), RecordingState::Ended);
        assert_eq!(storage.output(), "a€b");
        let tail = &storage.happened()[2..];
        assert_eq!(tail, [Happening::Input("typed".into()), Happening::Exit("3".into())]);
        assert!(storage.adopt(0).is_none(), "one that has ended goes on");
    }

    #[test]
    fn a_gap_is_said() {
        let storage = Storage::new();
        storage.begin(0, 1 << 20).unwrap().output(0, b"abc", at(1));
        drop(storage.adopt(10).unwrap());
        let Some(Happening::Marker(label)) = storage.happened().pop() else { panic!() };
        assert_eq!(label, "7 bytes of output are missing here");
    }

    #[test]
    fn one_that_was_stopped_goes_on_in_the_same_file() {
        let storage = Storage::new();
        let mut recorder = storage.begin(0, 1 << 20).unwrap();
        recorder.output(0, b"one\xc3", at(1));
        assert_eq!(recorder.end(None, at(2)), RecordingState::Stopped);
        let mut recorder = storage.begin(20, 1 << 20).unwrap();
        recorder.output(20, b"two", at(3));
        assert_eq!(storage.output(), "one\u{fffd}two");
        assert!(storage.happened().contains(&Happening::Marker("recording goes on".into())));
    }

    #[test]
    fn one_that_is_full_ends_with_a_whole_line() {
        let storage = Storage::new();
        let mut recorder = storage.begin(0, 200).unwrap();
        recorder.output(0, b"short", at(1));
        recorder.output(5, &[b'x'; 200], at(2));
        assert!(recorder.has_failed());
        recorder.output(205, b"no more", at(3));
        assert_eq!(recorder.end(Some(0), at(4)), RecordingState::Full);
        assert_eq!(storage.output(), "short");
        assert!(storage.adopt(0).is_none());
        assert!(storage.begin(300, 10).is_err());
    }
}
