//! A client's terminal in the keeper's hand, so that what is shown and typed there passes through no other process.
//!
//! ```text
//!            HandOver                    LetGo asked, the client stopped, gone or in the
//!  frames ───────────► held: written to ─────────────────────────────────────────────► away
//!     ▲                 and, by ReadTyped, background, or the terminal hung up          │
//!     │                 read                                                            │
//!     └── the next attachment      held ◄──────────────── HandOver ─────────────────────┘
//! ```
//!
//! The keeper writes and reads through open files of its own: what it sets there (it never waits for a terminal)
//! is nobody else's. Before each read and behind it, and before each write but that of an echo that comes at once, it
//! looks at the client: one that is stopped, has ended, or is not in the foreground no longer owns the terminal, and a
//! shell may. What is away is shown nothing, neither here nor by frames, until its client hands a terminal over again
//! and gets a fresh screen.
//!
//! The client's guardian is told what would undo the output before any of that is written, and its line
//! ends only when both client and keeper have let go of it: nothing is written behind what it gives back.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{FileType, Mode, OFlags, fcntl_getfl, fstat, major, open};
use rustix::io::Errno;
use rustix::pipe::PIPE_BUF;
use rustix::termios::isatty;
use sessile_model::spec::WindowSize;
use sessile_model::wire::{HandOver, MAX_INPUT, Pastes, ReadTyped};
use sessile_terminal::TerminalModes;
use thiserror::Error;
use zeroize::Zeroize as _;

use crate::watched::Watched;

/// Bytes written at once.
const WRITE: usize = 4096;
/// How long the look behind what was typed counts for the first write that follows.
const AT_ONCE: Duration = Duration::from_micros(500);
/// Device numbers under which each process finds another terminal: `/dev/tty` and `/dev/ptmx`.
const OF_WHOEVER_OPENS: u32 = 5;

/// A terminal that a client has handed over.
#[derive(Debug)]
pub struct Hold {
    /// Which of the client's it is.
    pub number: u32,
    /// It is to be drawn anew.
    pub redraw: bool,
    terminal: OwnedFd,
    client: Watched,
    guardian: Option<OwnedFd>,
    /// What the guardian was last told.
    told: Vec<u8>,
    modes: TerminalModes,
    pending: Vec<u8>,
    /// Bytes of `pending` already written.
    written: usize,
    /// Sentences that go between two pieces of output.
    sentences: Vec<String>,
    blocked: bool,
    typed: Option<Typed>,
    /// When the client was looked at behind what it typed last; taken by the next write.
    looked: Option<Instant>,
}

/// What is typed there, read here.
#[derive(Debug)]
struct Typed {
    terminal: OwnedFd,
    /// The number of the last input.
    last: u64,
    /// What a terminal sends for the key that leaves.
    leave: Vec<String>,
    pastes: Pastes,
    /// Read here since then.
    since: Instant,
    /// That key was typed.
    left: bool,
}

/// What came behind what was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing.
    Nothing,
    /// The key that leaves.
    Leave,
    /// The same, and more at once behind it, which is nobody's.
    LeaveAndMore,
}

/// What was typed.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// These bytes, of which nothing may be left behind, and what came next.
    Bytes(Vec<u8>, Next),
    /// Nothing.
    Nothing,
    /// The terminal is not the client's any more, or not there.
    Lost,
}

/// Why a terminal is not taken; the client goes on writing to it.
#[derive(Debug, Error)]
pub enum HoldError {
    /// No descriptor came with the request.
    #[error("no terminal came with the request")]
    Nothing,
    /// It is a file, a pipe, a device that is none, or one that may not be written to.
    #[error("not a terminal that its client may write to")]
    NoTerminal,
    /// The client is in no process of this system's, or not in the foreground.
    #[error("the client does not own the terminal")]
    NotItsOwn,
    /// The system refused: it is another user's, or there is no `/proc`.
    #[error("the terminal cannot be opened again")]
    System(#[from] Errno),
}

/// What became of an attempt to write.
#[derive(Debug, PartialEq, Eq)]
pub enum Shown {
    /// All that was there is written.
    All,
    /// The terminal takes no more now.
    Blocked,
    /// The terminal is not the client's any more, or not there.
    Lost,
}

impl Hold {
    /// Takes a terminal over from the process at the other end of this socket.
    ///
    /// # Errors
    /// [`HoldError`]; nothing has changed then.
    pub fn take(
        asked: &HandOver,
        mut descriptors: Vec<OwnedFd>,
        socket: impl AsFd,
    ) -> Result<Self, HoldError> {
        if descriptors.is_empty() {
            return Err(HoldError::Nothing);
        }
        let theirs = descriptors.remove(0);
        let terminal = reopen(&theirs, OFlags::WRONLY)?;
        let client = Watched::of_peer(socket)?;
        if !client.owns_terminal() {
            return Err(HoldError::NotItsOwn);
        }
        Ok(Self::new(asked, terminal, client, descriptors.pop()))
    }

    fn new(asked: &HandOver, terminal: OwnedFd, client: Watched, guardian: Option<OwnedFd>) -> Self {
        let modes: TerminalModes = serde_json::from_str(&asked.modes).unwrap_or_default();
        let mut hold = Self {
            number: asked.number,
            redraw: asked.again,
            terminal,
            client,
            guardian,
            told: Vec::new(),
            modes,
            pending: Vec::new(),
            written: 0,
            sentences: Vec::new(),
            blocked: false,
            typed: None,
            looked: None,
        };
        if !hold.modes.is_between_sequences() {
            hold.pending.push(CANCEL);
        }
        hold
    }

    /// The terminal, to wait until it takes more; `None` while nothing waits for it.
    pub fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        self.blocked.then(|| self.terminal.as_fd())
    }

    /// The client's process, to notice its end.
    pub fn process(&self) -> BorrowedFd<'_> {
        self.client.process()
    }

    /// Whether everything is written that was put here.
    pub fn is_empty(&self) -> bool {
        self.written == self.pending.len()
    }

    /// Whether the terminal took less than it was given when it was last written to.
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// What is changed of the terminal.
    pub fn modes(&self) -> String {
        serde_json::to_string(&self.modes).unwrap_or_default()
    }

    /// What goes before a whole screen.
    pub fn before_dump(&self) -> Vec<u8> {
        self.modes.before_dump()
    }

    /// Where the next bytes to write go; only when all before are written.
    pub fn put(&mut self) -> &mut Vec<u8> {
        debug_assert!(self.is_empty(), "output on its way is not overtaken");
        if self.is_empty() {
            self.forget();
        }
        &mut self.pending
    }

    /// Has a sentence written where it parts no sequence.
    pub fn tell(&mut self, text: &str) {
        self.sentences.push(format!("[sessile: {text}]"));
    }

    /// Writes what the terminal takes now. `changes` are told what it is next changed to.
    pub fn write(&mut self, mut changes: impl FnMut(&TerminalModes)) -> Shown {
        self.blocked = false;
        loop {
            if self.is_empty() {
                self.forget();
                if self.sentences.is_empty() || !self.modes.is_between_sequences() {
                    return Shown::All;
                }
                let texts = std::mem::take(&mut self.sentences);
                self.pending = sessile_terminal::notices(&texts, window(&self.terminal), &self.modes);
            }
            let at_once = self.looked.take().is_some_and(|looked| looked.elapsed() < AT_ONCE);
            if !at_once && !self.client.owns_terminal() {
                return Shown::Lost;
            }
            let piece = &self.pending[self.written..self.pending.len().min(self.written + WRITE)];
            let plain = self.modes.is_unchanged_by(piece);
            if !plain {
                // Told first: whatever of it is written before somebody's end can be undone.
                let worst = self.modes.at_worst(piece);
                if tell(self.guardian.as_ref(), &mut self.told, worst.undo()) {
                    changes(&worst);
                }
            }
            let outcome = rustix::io::write(&self.terminal, piece);
            let count = outcome.unwrap_or(0);
            if !plain {
                self.modes.watch(&piece[..count]);
                if tell(self.guardian.as_ref(), &mut self.told, self.modes.undo()) {
                    changes(&self.modes);
                }
            }
            self.written += count;
            match outcome {
                Ok(1..) | Err(Errno::INTR) => {}
                Ok(0) | Err(Errno::AGAIN) => {
                    self.blocked = true;
                    return Shown::Blocked;
                }
                Err(_) => return Shown::Lost,
            }
        }
    }

    /// Reads what is typed from now on, at the terminal that came with the request.
    ///
    /// # Errors
    /// [`HoldError`]; nothing has changed then.
    pub fn read_typed(&mut self, asked: ReadTyped, descriptors: Vec<OwnedFd>) -> Result<(), HoldError> {
        let theirs = descriptors.into_iter().next().ok_or(HoldError::Nothing)?;
        let terminal = reopen(&theirs, OFlags::RDONLY)?;
        self.typed = Some(Typed {
            terminal,
            last: asked.last,
            leave: asked.leave,
            pastes: Pastes::default(),
            since: Instant::now(),
            left: false,
        });
        Ok(())
    }

    /// Reads no more of what is typed. Returns the number of the last input that was.
    pub fn stop_reading(&mut self) -> Option<u64> {
        self.typed.take().map(|typed| typed.last)
    }

    /// Where it is typed, to wait for that.
    pub fn typed(&self) -> Option<BorrowedFd<'_>> {
        self.typed.as_ref().filter(|typed| !typed.left).map(|typed| typed.terminal.as_fd())
    }

    /// The number of the last input that was read, where it is read here.
    pub fn last_typed(&self) -> Option<u64> {
        self.typed.as_ref().map(|typed| typed.last)
    }

    /// Reads what was typed, once it is noted that input of this number is begun. Nothing more is read behind the
    /// key that leaves.
    pub fn next_typed(&mut self, begin: impl FnOnce(u64)) -> Read {
        let Some(typed) = self.typed.as_mut().filter(|typed| !typed.left) else { return Read::Nothing };
        let next = typed.last.saturating_add(1);
        if !self.client.owns_terminal() {
            return Read::Lost;
        }
        begin(next);
        typed.last = next;
        let mut read = [0; MAX_INPUT];
        match rustix::io::read(&typed.terminal, &mut read) {
            Ok(0) => Read::Lost,
            Ok(count) => {
                // Stopped just now: what was read may have been typed to a shell. It is nobody's then, and no app's.
                let outcome = if self.client.owns_terminal() {
                    self.looked = Some(Instant::now());
                    let leaves = typed.pastes.find(&typed.leave, &read[..count], typed.since.elapsed());
                    typed.left = leaves.is_some();
                    let (end, next) = match leaves {
                        None => (count, Next::Nothing),
                        Some(key) if key.end == count => (key.start, Next::Leave),
                        Some(key) => (key.start, Next::LeaveAndMore),
                    };
                    Read::Bytes(read[..end].to_vec(), next)
                } else {
                    Read::Lost
                };
                read[..count].zeroize();
                outcome
            }
            Err(Errno::AGAIN | Errno::INTR) => Read::Nothing,
            Err(_) => Read::Lost,
        }
    }

    fn forget(&mut self) {
        self.pending.zeroize();
        // A buffer of its own size is not kept while idle.
        self.pending = Vec::new();
        self.written = 0;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.pending.zeroize();
    }
}

/// Ends a sequence that was cut off.
const CANCEL: u8 = 0x18;

/// Tells the guardian what would undo the output, where that is news. Returns whether it is.
fn tell(guardian: Option<&OwnedFd>, told: &mut Vec<u8>, undo: Vec<u8>) -> bool {
    if undo == *told {
        return false;
    }
    if let (Some(line), Ok(length)) = (guardian, u16::try_from(undo.len())) {
        let message = [&length.to_le_bytes()[..], &undo].concat();
        if message.len() <= PIPE_BUF {
            // One that does not listen holds nobody up: its line was made not to wait.
            let _ = rustix::io::write(line, &message);
        }
    }
    *told = undo;
    true
}

fn window(terminal: &OwnedFd) -> WindowSize {
    let size = rustix::termios::tcgetwinsize(terminal).ok().filter(|size| size.ws_row > 0 && size.ws_col > 0);
    size.map_or_else(WindowSize::default, |size| WindowSize { cols: size.ws_col, rows: size.ws_row })
}

/// The same terminal as an open file of our own, for writing or for reading.
fn reopen(theirs: &OwnedFd, to: OFlags) -> Result<OwnedFd, HoldError> {
    let found = fstat(theirs)?;
    let may = fcntl_getfl(theirs)? & OFlags::RWMODE;
    let device = FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice;
    if (may != to && may != OFlags::RDWR)
        || !device
        || major(found.st_rdev) == OF_WHOEVER_OPENS
        || !isatty(theirs)
    {
        return Err(HoldError::NoTerminal);
    }
    let path = format!("/proc/self/fd/{}", theirs.as_raw_fd());
    let flags = to | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let ours = open(path, flags, Mode::empty())?;
    let opened = fstat(&ours)?;
    let same = (opened.st_dev, opened.st_ino, opened.st_rdev) == (found.st_dev, found.st_ino, found.st_rdev);
    if same && isatty(&ours) { Ok(ours) } else { Err(HoldError::NoTerminal) }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io;
    use std::os::unix::fs::FileExt as _;

    use rustix::process::{PidfdFlags, pidfd_open};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::*;

    fn pair() -> (OwnedFd, File, String) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = open(path.as_str(), flags, Mode::empty()).unwrap();
        (master, File::from(slave), path)
    }

    /// The terminal as a client makes it.
    fn raw(slave: File) -> OwnedFd {
        let mut modes = rustix::termios::tcgetattr(&slave).unwrap();
        modes.make_raw();
        rustix::termios::tcsetattr(&slave, rustix::termios::OptionalActions::Now, &modes).unwrap();
        slave.into()
    }

    fn await_typed(slave: &OwnedFd) {
        let mut fds = [rustix::event::PollFd::new(slave, rustix::event::PollFlags::IN)];
        assert_eq!(rustix::event::poll(&mut fds, None).unwrap(), 1);
    }

    fn begin(_: u64) {}

    const IN_FRONT: &[u8] = b"7 (client) S 1 7 7 34816 7 0";

    /// A terminal, and what is said of the client whose it is.
    fn taken(terminal: &OwnedFd) -> Result<(Hold, File), HoldError> {
        let state = tempfile::tempfile().unwrap();
        state.write_all_at(IN_FRONT, 0).unwrap();
        let process = pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).unwrap();
        let client = Watched::new(process, state.try_clone().unwrap().into());
        Ok((Hold::new(&HandOver::default(), reopen(terminal, OFlags::WRONLY)?, client, None), state))
    }

    #[test]
    fn only_a_terminal_that_its_client_may_write_to_is_taken() {
        let (master, slave, path) = pair();
        let read_only = open(path.as_str(), OFlags::RDONLY | OFlags::NOCTTY, Mode::empty()).unwrap();
        let file = tempfile::tempfile().unwrap().into();
        let (_, pipe) = io::pipe().unwrap();
        let null = File::options().write(true).open("/dev/null").unwrap().into();
        for other in [master, read_only, file, pipe.into(), null] {
            assert!(matches!(reopen(&other, OFlags::WRONLY), Err(HoldError::NoTerminal)));
        }
        drop(slave);
    }

    #[test]
    fn no_flag_of_the_client_changes() {
        let (master, slave, _) = pair();
        let slave = OwnedFd::from(slave);
        let (mut hold, _) = taken(&slave).unwrap();
        *hold.put() = b"shown".to_vec();
        assert_eq!(hold.write(|_| ()), Shown::All);
        let mut shown = [0; 16];
        assert_eq!(rustix::io::read(&master, &mut shown).unwrap(), 5);
        assert!(!fcntl_getfl(&slave).unwrap().contains(OFlags::NONBLOCK));
        assert!(fcntl_getfl(&hold.terminal).unwrap().contains(OFlags::NONBLOCK));
    }

    #[test]
    fn changes_are_told_before_they_are_written() {
        let (_master, slave, _) = pair();
        let (mut hold, _) = taken(&slave.into()).unwrap();
        *hold.put() = b"plain".to_vec();
        hold.write(|_| panic!("nothing is changed"));
        *hold.put() = b"\x1b[?2004h\x1b[?2004l".to_vec();
        let mut told = Vec::new();
        hold.write(|modes| told.push(modes.undo()));
        assert_eq!(told, [&b"\x1b[?2004l\x1b[0m"[..], b"\x1b[0m"]);
    }

    #[test]
    fn a_sentence_parts_no_sequence() {
        let (master, slave, _) = pair();
        let (mut hold, _) = taken(&slave.into()).unwrap();
        *hold.put() = b"\x1b[3".to_vec();
        hold.tell("a \x1b b");
        assert_eq!(hold.write(|_| ()), Shown::All);
        *hold.put() = b"1m".to_vec();
        hold.write(|_| ());
        let mut shown = Vec::new();
        // A terminal may give out what was written at once in parts.
        while !(shown.contains(&b']') && shown.ends_with(b"\n")) {
            let mut part = [0; 64];
            let count = rustix::io::read(&master, &mut part).unwrap();
            shown.extend(&part[..count]);
        }
        let shown = String::from_utf8_lossy(&shown).replace("\r\r", "\r");
        assert!(shown.starts_with("\x1b[31m\r\n") && shown.contains("[sessile: a  b]"), "{shown:?}");
    }

    #[test]
    fn nothing_is_written_for_who_is_stopped() {
        let (master, slave, _) = pair();
        let (mut hold, state) = taken(&slave.into()).unwrap();
        *hold.put() = b"one".to_vec();
        assert_eq!(hold.write(|_| ()), Shown::All);
        state.write_all_at(b"7 (client) T 1 7 7 34816 7 0", 0).unwrap();
        *hold.put() = b"two".to_vec();
        assert_eq!(hold.write(|_| ()), Shown::Lost);
        let mut shown = [0; 16];
        assert_eq!(rustix::io::read(&master, &mut shown).unwrap(), 3);
    }

    #[test]
    fn the_look_behind_what_was_typed_counts_for_one_write_at_once() {
        let (master, slave, _) = pair();
        let slave = raw(slave);
        let (mut hold, state) = taken(&slave).unwrap();
        hold.read_typed(ReadTyped::default(), vec![slave.try_clone().unwrap()]).unwrap();
        let type_one = |hold: &mut Hold| {
            state.write_all_at(IN_FRONT, 0).unwrap();
            rustix::io::write(&master, b"k").unwrap();
            await_typed(&slave);
            assert_eq!(hold.next_typed(begin), Read::Bytes(b"k".to_vec(), Next::Nothing));
            state.write_all_at(b"7 (client) T 1 7 7 34816 7 0", 0).unwrap();
        };
        type_one(&mut hold);
        std::thread::sleep(2 * AT_ONCE);
        *hold.put() = b"late".to_vec();
        assert_eq!(hold.write(|_| ()), Shown::Lost);
        type_one(&mut hold);
        hold.looked = Some(Instant::now());
        hold.forget();
        *hold.put() = b"k".to_vec();
        assert_eq!(hold.write(|_| ()), Shown::All);
        *hold.put() = b"more".to_vec();
        assert_eq!(hold.write(|_| ()), Shown::Lost, "it counts for one");
    }

    #[test]
    fn what_is_typed_is_read_up_to_the_key_that_leaves() {
        let (master, slave, _) = pair();
        let slave = raw(slave);
        let (mut hold, _) = taken(&slave).unwrap();
        assert_eq!(hold.next_typed(begin), Read::Nothing);
        let asked =
            ReadTyped { last: 6, leave: vec!["\x1c".into(), "\x1b[92;5u".into()], ..Default::default() };
        hold.read_typed(asked, vec![slave.try_clone().unwrap()]).unwrap();
        assert_eq!((hold.next_typed(begin), hold.last_typed()), (Read::Nothing, Some(7)));
        let next = |hold: &mut Hold, typed: &[u8]| {
            rustix::io::write(&master, typed).unwrap();
            await_typed(&slave);
            hold.next_typed(begin)
        };
        assert_eq!(next(&mut hold, b"one"), Read::Bytes(b"one".to_vec(), Next::Nothing));
        assert!(hold.typed().is_some());
        assert_eq!(next(&mut hold, b"two\x1b[92;5u\x1c"), Read::Bytes(b"two".to_vec(), Next::LeaveAndMore));
        assert_eq!(next(&mut hold, b"three"), Read::Nothing);
        assert!(hold.typed().is_none() && hold.last_typed() == Some(9));
        assert!(!fcntl_getfl(&slave).unwrap().contains(OFlags::NONBLOCK));
        assert_eq!(hold.stop_reading(), Some(9));
    }

    /// Whoever stopped the client may have typed it for a shell.
    #[test]
    fn nothing_that_was_typed_for_another_is_given_on() {
        let (master, slave, _) = pair();
        let slave = raw(slave);
        let (mut hold, state) = taken(&slave).unwrap();
        hold.read_typed(ReadTyped::default(), vec![slave.try_clone().unwrap()]).unwrap();
        let stop = || state.write_all_at(b"7 (client) T 1 7 7 34816 7 0", 0).unwrap();
        rustix::io::write(&master, b"hunter2").unwrap();
        await_typed(&slave);
        assert_eq!(hold.next_typed(|_| stop()), Read::Lost, "it was stopped between the look and the read");
        rustix::io::write(&master, b"hunter3").unwrap();
        await_typed(&slave);
        assert_eq!(hold.next_typed(begin), Read::Lost);
        assert_eq!(rustix::io::ioctl_fionread(&slave).unwrap(), 7, "it stays where it was typed");
    }
}
