//! A keeper elsewhere: its frames come by WebSocket through a socket that leads to its daemon, such as one that
//! `ssh -L` forwards.
//!
//! ```text
//!  conversation ── socket pair ── this thread ── WebSocket ── daemon ── keeper
//! ```
//!
//! One that is away is tried again for a while. Frames wait in the socket pair meanwhile, and who gives up hangs up.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sessile_model::ids::SessionId;
use sessile_model::problem::{Problem, ProblemKind};
use sessile_model::wire::{self, FrameType, Reply};
use tungstenite::handshake::HandshakeError;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Error, Message, WebSocket, client::client_with_config};

use super::conversation::CHANNEL;
use crate::startup::check_owner;

/// How long one connection is tried for.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a daemon may take to answer the first request.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Longest pause between two tries.
const APART: Duration = Duration::from_secs(1);
/// After so long without a word the daemon is asked for one.
const SILENCE: Duration = Duration::from_secs(15);
/// After so long it is taken to be away.
const GONE: Duration = Duration::from_secs(45);
/// Bytes that wait in either direction at most, beyond one message.
const WAITING: usize = 64 << 10;
/// Largest message that is taken, in bytes: a daemon sends no more at once.
const LONGEST: usize = 4 << 20;

/// Connects in the background. What goes into the socket goes to the keeper as whole frames, and what comes from
/// there is to be read here; it ends with the connection.
///
/// # Errors
/// When the system gives no sockets or no thread.
pub fn bridge(socket: PathBuf, session: SessionId) -> io::Result<UnixStream> {
    let (ours, inner) = UnixStream::pair()?;
    let run = move || match connect(&socket, session, &inner) {
        Ok(Some(outer)) => Bridge::new(inner, outer).run(),
        Ok(None) => {}
        Err(problem) => refuse(inner, problem),
    };
    std::thread::Builder::new().name("remote".to_owned()).spawn(run)?;
    Ok(ours)
}

/// Tries until the daemon takes the connection, refuses it, or nobody waits for it any more.
fn connect(
    socket: &Path,
    session: SessionId,
    inner: &UnixStream,
) -> Result<Option<WebSocket<UnixStream>>, Problem> {
    let until = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(50);
    loop {
        match try_once(socket, session) {
            Ok(outer) => return Ok(Some(outer)),
            Err(Tried::Refused(problem)) => return Err(problem),
            Err(Tried::Away) if Instant::now() >= until || hung_up(inner, pause) => return Ok(None),
            Err(Tried::Away) => pause = (pause * 2).min(APART),
        }
    }
}

/// Why there is no connection.
enum Tried {
    /// Nobody answers.
    Away,
    /// Who answers will not have it.
    Refused(Problem),
}

fn try_once(socket: &Path, session: SessionId) -> Result<WebSocket<UnixStream>, Tried> {
    let stream = UnixStream::connect(socket).map_err(|_| Tried::Away)?;
    check_owner(&stream).map_err(|e| {
        Tried::Refused(Problem::new(ProblemKind::Denied, format!("{}: {e}", socket.display())))
    })?;
    let timed =
        stream.set_read_timeout(Some(HANDSHAKE)).and_then(|()| stream.set_write_timeout(Some(HANDSHAKE)));
    timed.map_err(|_| Tried::Away)?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(LONGEST))
        .max_frame_size(Some(LONGEST))
        .write_buffer_size(0);
    let url = format!("ws://sessile/v1/sessions/{session}/attach");
    match client_with_config(url, stream, Some(config)) {
        Ok((outer, _)) => {
            outer.get_ref().set_nonblocking(true).map_err(|_| Tried::Away)?;
            Ok(outer)
        }
        Err(HandshakeError::Failure(Error::Http(answer))) => Err(Tried::Refused(told(&answer))),
        Err(_) => Err(Tried::Away),
    }
}

/// What a daemon says that upgrades no connection.
fn told(answer: &tungstenite::http::Response<Option<Vec<u8>>>) -> Problem {
    let body = answer.body().as_deref().unwrap_or_default();
    serde_json::from_slice(body).unwrap_or_else(|_| {
        Problem::new(ProblemKind::Failed, format!("who answers at that socket says {}", answer.status()))
            .hint("it is to lead to the socket that `sessile daemon status` names elsewhere")
    })
}

/// Waits for so long, and tells whether the other end was closed.
fn hung_up(inner: &UnixStream, pause: Duration) -> bool {
    let pause = Timespec { tv_sec: pause.as_secs() as i64, tv_nsec: i64::from(pause.subsec_nanos()) };
    // Nothing is asked for: that it hangs up is told all the same.
    poll(&mut [PollFd::new(inner, PollFlags::empty())], Some(&pause)).is_ok_and(|count| count > 0)
}

/// Answers as a keeper that refuses would.
fn refuse(mut inner: UnixStream, problem: Problem) {
    if let Ok(json) = serde_json::to_vec(&Reply::Problem(problem)) {
        let mut frame = Vec::new();
        wire::put_frame(&mut frame, FrameType::Reply, CHANNEL, &[&json]);
        // Nobody waits for it any more.
        let _ = inner.write_all(&frame);
    }
}

/// Passes frames on, both ways.
struct Bridge {
    inner: UnixStream,
    outer: WebSocket<UnixStream>,
    /// What came from inside and is no whole frame yet.
    begun: Vec<u8>,
    /// What came from outside.
    inwards: Vec<u8>,
    /// A message is not sent in full yet.
    unsent: bool,
    heard: Instant,
    asked: bool,
}

/// The connection is over.
struct Over;

impl Bridge {
    fn new(inner: UnixStream, outer: WebSocket<UnixStream>) -> Self {
        let (begun, inwards) = (Vec::new(), Vec::new());
        Self { inner, outer, begun, inwards, unsent: false, heard: Instant::now(), asked: false }
    }

    fn run(mut self) {
        if self.inner.set_nonblocking(true).is_err() {
            return;
        }
        while self.turn().is_ok() {}
        // What was said last is read before the end shows.
        if self.inner.set_nonblocking(false).is_ok() {
            let _ = self.inner.write_all(&self.inwards);
        }
    }

    fn turn(&mut self) -> Result<(), Over> {
        let (inner, outer) = self.wait()?;
        if outer {
            self.hear()?;
        }
        self.flush()?;
        if !self.inwards.is_empty() {
            self.hand_in()?;
        }
        if inner && !self.unsent {
            self.take()?;
        }
        let silent = self.heard.elapsed();
        if silent >= GONE {
            return Err(Over);
        }
        if silent >= SILENCE && !self.asked {
            self.asked = true;
            self.say(Message::Ping(Vec::new().into()))?;
        }
        Ok(())
    }

    /// Waits for what can be done: whether something came from inside, and from outside.
    fn wait(&self) -> Result<(bool, bool), Over> {
        let wants = |reads: bool, writes: bool| {
            let reads = if reads { PollFlags::IN } else { PollFlags::empty() };
            reads | if writes { PollFlags::OUT } else { PollFlags::empty() }
        };
        let room = self.inwards.len() < WAITING;
        let mut fds = [
            PollFd::new(&self.inner, wants(!self.unsent, !self.inwards.is_empty())),
            PollFd::new(self.outer.get_ref(), wants(room, self.unsent)),
        ];
        let pause = Timespec { tv_sec: 5, tv_nsec: 0 };
        match poll(&mut fds, Some(&pause)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Err(Over),
        }
        let ended = PollFlags::HUP | PollFlags::ERR;
        let (inner, outer) = (fds[0].revents(), fds[1].revents());
        Ok((inner.intersects(PollFlags::IN | ended), outer.intersects(PollFlags::IN | ended)))
    }

    /// Reads every message that has arrived: none stays behind that nothing would tell of.
    fn hear(&mut self) -> Result<(), Over> {
        loop {
            match self.outer.read() {
                Ok(Message::Binary(frames)) => self.inwards.extend_from_slice(&frames),
                Ok(Message::Close(_)) => return Err(Over),
                Ok(Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
                Err(Error::Io(e)) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(_) => return Err(Over),
            }
            self.heard = Instant::now();
            self.asked = false;
        }
    }

    fn flush(&mut self) -> Result<(), Over> {
        self.unsent = match self.outer.flush() {
            Ok(()) => false,
            Err(Error::Io(e)) if e.kind() == ErrorKind::WouldBlock => true,
            Err(_) => return Err(Over),
        };
        Ok(())
    }

    fn say(&mut self, message: Message) -> Result<(), Over> {
        match self.outer.write(message) {
            Ok(()) => self.flush(),
            Err(Error::Io(e)) if e.kind() == ErrorKind::WouldBlock => {
                self.unsent = true;
                Ok(())
            }
            Err(_) => Err(Over),
        }
    }

    /// Gives what came from outside to who reads it here.
    fn hand_in(&mut self) -> Result<(), Over> {
        match self.inner.write(&self.inwards) {
            Ok(count) => {
                self.inwards.drain(..count);
                Ok(())
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
            Err(_) => Err(Over),
        }
    }

    /// Takes what is said here, and sends the frames of it that are whole.
    fn take(&mut self) -> Result<(), Over> {
        let mut chunk = vec![0; WAITING];
        match self.inner.read(&mut chunk) {
            Ok(0) => return Err(Over),
            Ok(count) => self.begun.extend_from_slice(&chunk[..count]),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(()),
            Err(_) => return Err(Over),
        }
        let mut whole = 0;
        while let Some((_, _, length)) = wire::take_frame(&self.begun[whole..]).map_err(|_| Over)? {
            whole += length;
        }
        if whole == 0 {
            return Ok(());
        }
        let rest = self.begun.split_off(whole);
        let frames = std::mem::replace(&mut self.begun, rest);
        self.say(Message::Binary(frames.into()))
    }
}
