//! The way to the session's guard: what is shown to it, and what it says may go.
//!
//! The keeper pairs a socket with the guard when the first request comes, and again when the one before is gone.
//! A guard that is gone, says nothing in time or what nobody understands lets nothing pass: what waits for its
//! word is refused, and the next request has another.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, recvmsg, sendmsg};
use sessile_model::gateway::Report;
use sessile_model::guarding::outgoing::{MAX_SHOWN, MOST_KEPT, Showing, Shown, Word};
use thiserror::Error;
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_local;
use tokio::time::timeout;

/// How long a guard may take to say what may go.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long it may take where somebody is asked: a little more than they have.
const ASKED: Duration = Duration::from_secs(130);
/// How long a keeper may take to find a guard, or to be replaced itself.
const FINDING: Duration = Duration::from_secs(12);
/// Longest word, in bytes.
const MAX_WORD: usize = 4096;

/// Why something does not go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Withheld {
    /// The guard says so.
    #[error("refused by policy")]
    Refused,
    /// The app has left before the guard said so.
    #[error("the app has left")]
    Left,
    /// No guard says anything.
    #[error("the session's guard does not look at it now")]
    Unguarded,
}

/// The session's guard, as all connections share it.
#[derive(Debug)]
pub struct Guard {
    reports: mpsc::Sender<Report>,
    line: RefCell<Option<Rc<Line>>>,
    wanted: RefCell<Option<Wanted>>,
    /// The one before failed, and the keeper is not told yet.
    failed: Cell<bool>,
    last_sequence: Cell<u32>,
    last_number: Cell<u64>,
}

/// That the keeper was asked for a socket.
#[derive(Debug)]
struct Wanted {
    sequence: u32,
    failed: bool,
    found: watch::Sender<Option<Option<Rc<Line>>>>,
}

/// A socket to a guard.
#[derive(Debug)]
struct Line {
    socket: UnixDatagram,
    /// Who waits for a word. Nobody, once it is over.
    waiting: RefCell<HashMap<u64, mpsc::UnboundedSender<Word>>>,
    is_over: Cell<bool>,
    /// It said what nobody understands, or nothing in time.
    is_nonsense: Cell<bool>,
}

impl Guard {
    /// None is there yet; the keeper is told what is wanted here.
    pub fn new(reports: mpsc::Sender<Report>) -> Self {
        Self {
            reports,
            line: RefCell::default(),
            wanted: RefCell::default(),
            failed: Cell::default(),
            last_sequence: Cell::default(),
            last_number: Cell::default(),
        }
    }

    /// The keeper's answer: a socket, or that there is none. To be called on a [`tokio::task::LocalSet`].
    pub fn found(&self, sequence: u32, socket: Option<OwnedFd>) {
        let Some(wanted) = self.wanted.borrow_mut().take_if(|wanted| wanted.sequence == sequence) else {
            return;
        };
        let line = socket.and_then(|socket| Line::new(socket).ok()).map(Rc::new);
        if let Some(line) = &line {
            spawn_local(listen(Rc::clone(line)));
        }
        line.clone_into(&mut self.line.borrow_mut());
        // Those who wanted it may have left.
        let _ = wanted.found.send(Some(line));
    }

    /// Tells a keeper that took over what its predecessor was asked.
    pub fn ask_again(&self) {
        if let Some(Wanted { sequence, failed, .. }) = &*self.wanted.borrow() {
            let _ = self.reports.try_send(Report::Unguarded { sequence: *sequence, failed: *failed });
        }
    }

    /// Shows something. Returns how much of its body may go; its head may then, where it has one.
    ///
    /// # Errors
    /// See [`Withheld`].
    pub async fn show(&self, mut shown: Shown, length: usize) -> Result<usize, Withheld> {
        let line = self.line().await.ok_or(Withheld::Unguarded)?;
        let number = self.number();
        shown.number = number;
        let is_last = shown.is_last;
        let bytes = serde_json::to_vec(&Showing::Part(Box::new(shown))).map_err(|_| Withheld::Refused)?;
        if bytes.len() > MAX_SHOWN {
            return Err(Withheld::Refused);
        }
        let (word, mut words) = mpsc::unbounded_channel();
        line.waiting.borrow_mut().insert(number, word);
        let mut place = Place { line: &line, number, is_told: false };
        if !matches!(timeout(PATIENCE, line.send(&bytes)).await, Ok(Ok(()))) {
            Self::give_up(&line);
            return Err(Withheld::Unguarded);
        }
        let mut patience = PATIENCE;
        loop {
            let word = timeout(patience, words.recv()).await;
            place.is_told = matches!(word, Ok(Some(Word::Goes { .. } | Word::Refused { .. })));
            match word {
                Ok(Some(Word::Held { .. })) => patience = ASKED,
                Ok(Some(Word::Refused { .. })) => return Err(Withheld::Refused),
                Ok(Some(Word::Goes { body, .. })) => {
                    let body = usize::try_from(body).unwrap_or(usize::MAX);
                    let makes_sense =
                        if is_last { body == length } else { body <= length && length - body <= MOST_KEPT };
                    if makes_sense {
                        return Ok(body);
                    }
                    Self::give_up(&line);
                    return Err(Withheld::Unguarded);
                }
                Ok(Some(Word::Unknown)) | Err(_) => {
                    Self::give_up(&line);
                    return Err(Withheld::Unguarded);
                }
                Ok(None) => return Err(Withheld::Unguarded),
            }
        }
    }

    /// A number that nothing else has that is shown, or of which parts are.
    pub fn number(&self) -> u64 {
        self.last_number.set(self.last_number.get() + 1);
        self.last_number.get()
    }

    /// Nothing more comes of a body of which parts were shown.
    pub fn leave(&self, stream: u64) {
        if let Some(line) = self.line.borrow().as_ref().filter(|line| !line.is_over.get()) {
            line.leave(stream);
        }
    }

    /// The socket to the guard: the one that there is, or another.
    async fn line(&self) -> Option<Rc<Line>> {
        if let Some(line) = self.line.borrow().as_ref().filter(|line| !line.is_over.get()) {
            return Some(Rc::clone(line));
        }
        if let Some(line) = self.line.borrow_mut().take() {
            self.failed.set(self.failed.get() || line.is_nonsense.get());
        }
        let wanted = self.wanted.borrow().as_ref().map(|wanted| (wanted.sequence, wanted.found.subscribe()));
        let (sequence, mut found) = wanted.unwrap_or_else(|| self.want());
        let outcome = timeout(FINDING, found.wait_for(Option::is_some)).await;
        let line = match outcome {
            Ok(Ok(found)) => found.clone().flatten(),
            Ok(Err(_)) | Err(_) => None,
        };
        if line.is_none() {
            // Whoever comes next asks anew.
            self.wanted.borrow_mut().take_if(|wanted| wanted.sequence == sequence);
        }
        line
    }

    fn want(&self) -> (u32, watch::Receiver<Option<Option<Rc<Line>>>>) {
        let sequence = self.last_sequence.get().wrapping_add(1);
        self.last_sequence.set(sequence);
        let failed = self.failed.take();
        let (found, waiting) = watch::channel(None);
        *self.wanted.borrow_mut() = Some(Wanted { sequence, failed, found });
        // Without a keeper it is told again to the next.
        let _ = self.reports.try_send(Report::Unguarded { sequence, failed });
        (sequence, waiting)
    }

    /// Has no more to do with a guard that is of no use.
    fn give_up(line: &Line) {
        line.is_nonsense.set(!line.is_over.get());
        line.end();
    }
}

impl Line {
    fn new(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        // Packets over a connection: tokio's datagrams do, as long as nobody asks for an address.
        let socket = UnixDatagram::from_std(std::os::unix::net::UnixDatagram::from(socket))?;
        Ok(Self {
            socket,
            waiting: RefCell::default(),
            is_over: Cell::default(),
            is_nonsense: Cell::default(),
        })
    }

    async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let send = || {
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            let mut control = SendAncillaryBuffer::default();
            sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut control, flags).map_err(io::Error::from)
        };
        self.socket.async_io(Interest::WRITABLE, send).await.map(drop)
    }

    async fn next(&self) -> io::Result<Word> {
        let mut bytes = [0; MAX_WORD];
        let receive = || {
            let mut control = RecvAncillaryBuffer::default();
            let received = recvmsg(
                &self.socket,
                &mut [IoSliceMut::new(&mut bytes)],
                &mut control,
                RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC,
            );
            received.map(|received| received.bytes).map_err(io::Error::from)
        };
        let length = self.socket.async_io(Interest::READABLE, receive).await?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        serde_json::from_slice(bytes.get(..length).unwrap_or_default()).map_err(io::Error::other)
    }

    /// Tells the guard of one who has left.
    fn leave(&self, number: u64) {
        if let Ok(bytes) = serde_json::to_vec(&Showing::Left { number }) {
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            // One that takes nothing has what waits for it refused.
            let mut control = SendAncillaryBuffer::default();
            let _ = sendmsg(&self.socket, &[IoSlice::new(&bytes)], &mut control, flags);
        }
    }

    /// Nothing more comes of it: who waits for a word has none.
    fn end(&self) {
        self.is_over.set(true);
        self.waiting.borrow_mut().clear();
    }
}

/// Hands out words until the guard is gone.
async fn listen(line: Rc<Line>) {
    while !line.is_over.get() {
        let word = match line.next().await {
            Ok(word) => word,
            Err(error) => {
                // What is no word is no error of the socket's.
                line.is_nonsense.set(error.get_ref().is_some_and(|e| e.is::<serde_json::Error>()));
                break;
            }
        };
        let number = match word {
            Word::Goes { number, .. } | Word::Held { number } | Word::Refused { number } => number,
            Word::Unknown => {
                line.is_nonsense.set(true);
                break;
            }
        };
        // One who has left needs no word.
        if let Some(waiting) = line.waiting.borrow().get(&number) {
            let _ = waiting.send(word);
        }
    }
    line.end();
}

/// One's place among those who wait for a word. The guard is told of one who leaves before.
struct Place<'a> {
    line: &'a Line,
    number: u64,
    is_told: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.line.waiting.borrow_mut().remove(&self.number);
        if self.is_told || self.line.is_over.get() {
            return;
        }
        self.line.leave(self.number);
    }
}

#[cfg(test)]
#[path = "guard_tests.rs"]
pub(crate) mod tests;
