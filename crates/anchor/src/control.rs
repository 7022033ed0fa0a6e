//! The control socket of an init, and the keeper's end of it.
//!
//! A SEQPACKET socket; every packet starts with a [`Kind`] and a sequence, both `u32 LE`; every
//! number is little-endian. An answer carries its question's sequence, so that one that comes too
//! late, or that was asked for by a keeper that died, is told from the one that is waited for.
//! What init tells unasked has sequence 0. This is version 1.
//!
//! | packet | direction | after kind and sequence |
//! |---|---|---|
//! | Ready | init → | version u32, pid u32 |
//! | Start | → init | task u32, flags u32 (1: terminal); descriptors: block, then a terminal, or stdin, stdout, stderr |
//! | Started | init → | task u32, pid u32 |
//! | NotStarted | init → | task u32, errno i32 |
//! | Exited | init → | task u32, wait status i32 |
//! | Signal | → init | task u32, signal i32, scope u32 (0 process, 1 group) |
//! | SignalAll | → init | signal i32 |
//! | Probe | → init | nothing |
//! | Evidence | init → | lines `key=value` |
//! | List | → init | nothing |
//! | Task | init → | task u32, pid u32, state u32 (0 running, 1 exited), wait status i32 |
//! | Done | init → | errno i32; ends Signal, SignalAll and List, and answers what is refused |
//!
//! Init keeps Exited until the socket takes it, so a keeper that is late misses none; one that
//! takes over from another asks with List, since its predecessor may have read some. Of the tasks
//! that ended, init remembers the latest 256.
//!
//! A **block** is a memory file with a command: magic `SESSCMD1`, then as u32 the length of the
//! strings, their number in argv, their number in the environment; then the strings, each ended by
//! a NUL: the working folder, argv, the environment. Both ends overwrite it, whatever comes of the
//! command: init as soon as it can, the keeper in case init did not.

mod block;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::fds::{NO_WAIT, recv_with_fds, send};
use crate::sys;

#[cfg(feature = "fuzz")]
pub use self::block::Block;
#[cfg(not(feature = "fuzz"))]
use self::block::Block;

/// Version of this protocol.
pub const VERSION: u32 = 1;
/// First bytes of a block.
pub const BLOCK_MAGIC: [u8; 8] = *b"SESSCMD1";
/// Bytes before a block's strings.
pub const BLOCK_HEADER: usize = 20;
/// Largest block.
pub const MAX_BLOCK: usize = 4 << 20;
/// Largest number of strings in argv, and in the environment.
pub const MAX_STRINGS: usize = 16_384;
/// Largest packet.
pub const MAX_PACKET: usize = 16 << 10;
/// How long an init may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The first number of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[allow(missing_docs)] // the module's table says what each is
pub enum Kind {
    Ready = 1,
    Start = 2,
    Started = 3,
    NotStarted = 4,
    Exited = 5,
    Signal = 6,
    SignalAll = 7,
    Probe = 8,
    Evidence = 9,
    List = 10,
    Task = 11,
    Done = 12,
}

impl Kind {
    /// The kind with this number.
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::Ready,
            2 => Self::Start,
            3 => Self::Started,
            4 => Self::NotStarted,
            5 => Self::Exited,
            6 => Self::Signal,
            7 => Self::SignalAll,
            8 => Self::Probe,
            9 => Self::Evidence,
            10 => Self::List,
            11 => Self::Task,
            12 => Self::Done,
            _ => return None,
        })
    }
}

/// A command to execute.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// Its arguments, the program first.
    pub argv: &'a [String],
    /// Its whole environment, as `NAME=VALUE`.
    pub env: &'a [String],
    /// Its working folder, inside.
    pub cwd: &'a str,
}

/// What a command reads from and writes to.
#[derive(Clone, Copy, Debug)]
pub enum Stdio<'a> {
    /// A terminal, which becomes its controlling terminal.
    Terminal(BorrowedFd<'a>),
    /// Standard input, output and error.
    Pipes([BorrowedFd<'a>; 3]),
}

/// What came of starting a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// It runs with this process id inside.
    Pid(u32),
    /// It could not be executed.
    NotStarted {
        /// The system's error number.
        errno: i32,
    },
}

/// Whom a signal goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The command's first process.
    Process = 0,
    /// Its process group.
    Group = 1,
}

/// What an init knows of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskState {
    /// Its number.
    pub task: u32,
    /// Its process id inside.
    pub pid: u32,
    /// Its wait status, once it has ended.
    pub status: Option<i32>,
}

/// What an init tells unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlEvent {
    /// A command ended.
    Exited {
        /// Its number.
        task: u32,
        /// Its wait status.
        status: i32,
    },
    /// Init, and with it everything in its sandbox, is gone.
    Gone,
}

/// Why an init could not be asked.
#[derive(Debug, Error)]
pub enum ControlError {
    /// It is gone.
    #[error("the sandbox's first process is gone")]
    Gone,
    /// It did not answer in time.
    #[error("the sandbox's first process does not answer")]
    Silent,
    /// It answered something else.
    #[error("the sandbox's first process answers with packet {kind}")]
    Unexpected {
        /// The packet's kind.
        kind: u32,
    },
    /// It refused.
    #[error("the sandbox's first process refused: error {errno}")]
    Refused {
        /// The system's error number.
        errno: i32,
    },
    /// The command is too large to hand over, or a string of it holds a NUL.
    #[error("the command and its environment are too large, or hold a NUL byte")]
    BadCommand,
    /// The socket failed.
    #[error("the control socket")]
    Io(#[from] io::Error),
}

/// The keeper's end of an init's control socket.
#[derive(Debug)]
pub struct Control {
    socket: OwnedFd,
    queued: VecDeque<ControlEvent>,
    /// Of the latest question.
    sequence: u32,
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Control {
    /// Takes over the socket, also from a keeper that died: its answers are passed over.
    pub fn from_fd(socket: OwnedFd) -> Self {
        Self { socket, queued: VecDeque::new(), sequence: first_sequence() }
    }

    /// Waits until init is confined and listens. Returns its process id inside.
    ///
    /// # Errors
    /// When it died or is silent.
    pub fn wait_ready(&mut self, patience: Duration) -> Result<u32, ControlError> {
        let packet = self.answer(0, patience)?;
        match (packet.kind(), packet.word(0), packet.word(1)) {
            (Some(Kind::Ready), Some(VERSION), Some(pid)) => Ok(pid),
            _ => Err(packet.unexpected()),
        }
    }

    /// Starts a command under a number of the caller's choice.
    ///
    /// # Errors
    /// When it cannot be handed over or init does not answer; a command that cannot be executed is
    /// [`Started::NotStarted`].
    pub fn start(
        &mut self,
        task: u32,
        command: &Command<'_>,
        stdio: Stdio<'_>,
    ) -> Result<Started, ControlError> {
        let block = Block::of(command)?;
        let (flags, terminal, pipes);
        let stdio: &[BorrowedFd<'_>] = match stdio {
            Stdio::Terminal(tty) => {
                (flags, terminal) = (1, [block.as_fd(), tty]);
                &terminal
            }
            Stdio::Pipes([input, output, error]) => {
                (flags, pipes) = (0, [block.as_fd(), input, output, error]);
                &pipes
            }
        };
        let answer = self.ask(Kind::Start, &[task, flags], stdio)?;
        match (answer.kind(), answer.word(0), answer.word(1)) {
            (Some(Kind::Started), Some(t), Some(pid)) if t == task => Ok(Started::Pid(pid)),
            (Some(Kind::NotStarted), Some(t), Some(errno)) if t == task => {
                Ok(Started::NotStarted { errno: errno.cast_signed() })
            }
            _ => Err(answer.refused()),
        }
    }

    /// Sends a task a signal. A task that has ended is left alone.
    ///
    /// # Errors
    /// When init does not answer.
    pub fn signal(&mut self, task: u32, signal: i32, scope: Scope) -> Result<(), ControlError> {
        self.ask(Kind::Signal, &[task, signal.cast_unsigned(), scope as u32], &[])?.done()
    }

    /// Sends every process of the sandbox a signal.
    ///
    /// # Errors
    /// When init does not answer.
    pub fn signal_all(&mut self, signal: i32) -> Result<(), ControlError> {
        self.ask(Kind::SignalAll, &[signal.cast_unsigned()], &[])?.done()
    }

    /// Everything init knows of its tasks.
    ///
    /// # Errors
    /// When init does not answer.
    pub fn list(&mut self) -> Result<Vec<TaskState>, ControlError> {
        let mut tasks = Vec::new();
        let mut answer = self.ask(Kind::List, &[], &[])?;
        loop {
            match (answer.kind(), [0, 1, 2, 3].map(|place| answer.word(place))) {
                (Some(Kind::Task), [Some(task), Some(pid), Some(state), Some(status)]) => {
                    let status = (state == 1).then_some(status.cast_signed());
                    tasks.push(TaskState { task, pid, status });
                }
                _ => return answer.done().map(|()| tasks),
            }
            answer = self.answer(self.sequence, PATIENCE)?;
        }
    }

    /// What the sandbox looks like from inside: lines `key=value`.
    ///
    /// # Errors
    /// When init does not answer.
    pub fn probe(&mut self) -> Result<String, ControlError> {
        self.probe_while(|| ()).0
    }

    /// The same, doing something else until init has looked.
    pub fn probe_while<T>(&mut self, work: impl FnOnce() -> T) -> (Result<String, ControlError>, T) {
        let asked = self.put(Kind::Probe, &[], &[]);
        let done = work();
        let answer = asked.and_then(|sequence| self.answer(sequence, PATIENCE));
        let evidence = answer.and_then(|answer| match answer.kind() {
            Some(Kind::Evidence) => Ok(String::from_utf8_lossy(answer.payload()).into_owned()),
            _ => Err(answer.refused()),
        });
        (evidence, done)
    }

    /// Whether events wait that the socket does not show as readable.
    pub fn has_queued(&self) -> bool {
        !self.queued.is_empty()
    }

    /// The next thing init told, if any. Never waits.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn try_event(&mut self) -> Result<Option<ControlEvent>, ControlError> {
        if let Some(event) = self.queued.pop_front() {
            return Ok(Some(event));
        }
        loop {
            match self.receive() {
                Ok(Some(packet)) => {
                    if let Some(event) = packet.event() {
                        return Ok(Some(event));
                    }
                    // Not an event: the late answer to a question that was given up.
                }
                Ok(None) => return Ok(None),
                Err(ControlError::Gone) => return Ok(Some(ControlEvent::Gone)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends a question and waits for its answer.
    fn ask(&mut self, kind: Kind, words: &[u32], fds: &[BorrowedFd<'_>]) -> Result<Packet, ControlError> {
        let sequence = self.put(kind, words, fds)?;
        self.answer(sequence, PATIENCE)
    }

    /// Sends a question and returns its sequence number.
    fn put(&mut self, kind: Kind, words: &[u32], fds: &[BorrowedFd<'_>]) -> Result<u32, ControlError> {
        self.sequence = self.sequence.checked_add(1).unwrap_or(1);
        let numbers = [kind as u32, self.sequence];
        let bytes: Vec<u8> = numbers.iter().chain(words).flat_map(|word| word.to_le_bytes()).collect();
        match send(self.as_fd(), &bytes, fds, NO_WAIT) {
            Ok(()) => Ok(self.sequence),
            Err(e) if is_gone(&e) => Err(ControlError::Gone),
            // Full of questions that init did not take.
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Err(ControlError::Silent),
            Err(e) => Err(e.into()),
        }
    }

    /// The next answer to a question; events that come before it are queued.
    fn answer(&mut self, sequence: u32, patience: Duration) -> Result<Packet, ControlError> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(packet) = self.receive()? {
                match packet.event() {
                    Some(event) => self.queued.push_back(event),
                    None if packet.sequence() == Some(sequence) => return Ok(packet),
                    None => {}
                }
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ControlError::Silent);
            }
            // Rounded up, so that the last fraction of a millisecond does not spin.
            let millis = i32::try_from(left.as_millis() + 1).unwrap_or(i32::MAX);
            match sys::poll_one(self.as_fd(), libc::POLLIN, millis) {
                Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e.into()),
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// A packet, if one waits.
    fn receive(&self) -> Result<Option<Packet>, ControlError> {
        let mut bytes = vec![0u8; MAX_PACKET];
        match recv_with_fds(self.as_fd(), &mut bytes, NO_WAIT) {
            Ok((0, _)) => Err(ControlError::Gone),
            Ok((length, _)) => {
                bytes.truncate(length);
                Ok(Some(Packet(bytes)))
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(e) if is_gone(&e) => Err(ControlError::Gone),
            Err(e) => Err(e.into()),
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// Where this keeper's sequences begin: far from those of another that asked before it.
fn first_sequence() -> u32 {
    let mut bytes = [0u8; 4];
    // SAFETY: writes at most that many bytes. So few are always there at once; were they not,
    // zero would do for a first keeper.
    unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), libc::GRND_NONBLOCK) };
    u32::from_ne_bytes(bytes)
}

/// A packet of init's.
struct Packet(Vec<u8>);

impl Packet {
    const HEADER: usize = 8;

    fn number(&self, at: usize) -> Option<u32> {
        let bytes: [u8; 4] = self.0.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes))
    }

    fn kind(&self) -> Option<Kind> {
        Kind::from_number(self.number(0)?)
    }

    fn sequence(&self) -> Option<u32> {
        self.number(4)
    }

    /// The number at a place behind the sequence.
    fn word(&self, place: usize) -> Option<u32> {
        self.number(Self::HEADER + place * 4)
    }

    fn payload(&self) -> &[u8] {
        self.0.get(Self::HEADER..).unwrap_or_default()
    }

    fn event(&self) -> Option<ControlEvent> {
        match (self.kind(), self.word(0), self.word(1)) {
            (Some(Kind::Exited), Some(task), Some(status)) => {
                Some(ControlEvent::Exited { task, status: status.cast_signed() })
            }
            _ => None,
        }
    }

    fn done(&self) -> Result<(), ControlError> {
        match (self.kind(), self.word(0)) {
            (Some(Kind::Done), Some(0)) => Ok(()),
            _ => Err(self.refused()),
        }
    }

    /// The error of a packet that is not what was asked for.
    fn refused(&self) -> ControlError {
        match (self.kind(), self.word(0)) {
            (Some(Kind::Done), Some(errno)) if errno != 0 => {
                ControlError::Refused { errno: errno.cast_signed() }
            }
            _ => self.unexpected(),
        }
    }

    fn unexpected(&self) -> ControlError {
        ControlError::Unexpected { kind: self.number(0).unwrap_or(0) }
    }
}
