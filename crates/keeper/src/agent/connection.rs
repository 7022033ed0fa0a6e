//! One app's connection to the agent that it is given, and what is asked of the real one for it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, send,
    socket_with,
};
use sessile_model::api::Signature;
use sessile_model::ids::AppName;
use sessile_model::quantity::Timestamp;
use zeroize::Zeroize as _;

use super::protocol::{self, SignRequest};

/// Bytes read at once.
const CHUNK: usize = 16 << 10;

/// A connection of an app's.
#[derive(Debug)]
pub struct Connection {
    /// Whose.
    pub app: AppName,
    pipe: Pipe,
    /// What goes on for it: one thing at a time.
    pub doing: Doing,
    /// Until when that may go on.
    pub deadline: Option<Timestamp>,
}

/// What goes on for a connection.
#[derive(Debug)]
pub enum Doing {
    /// Nothing: the app's next request is read.
    Nothing,
    /// The agent is asked for its keys, because the app is, or wants this signature.
    Listing {
        /// The agent.
        agent: Pipe,
        /// The signature.
        wanted: Option<SignRequest>,
    },
    /// Somebody outside is asked.
    Asking {
        /// The question's number.
        question: u32,
        /// The signature.
        wanted: SignRequest,
        /// As whoever is asked is told of it.
        about: Signature,
        /// Since when.
        at: Timestamp,
    },
    /// The agent is asked to sign.
    Signing {
        /// The agent.
        agent: Pipe,
    },
}

/// A socket with what is to be sent and what has come.
#[derive(Debug)]
pub struct Pipe {
    socket: OwnedFd,
    input: Vec<u8>,
    output: Vec<u8>,
}

/// The other side is gone, or what it says is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over;

impl Pipe {
    /// Takes over a connected socket that never waits.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, input: Vec::new(), output: Vec::new() }
    }

    /// Connects to the agent at this path, with something to say.
    ///
    /// # Errors
    /// When nobody listens there, or too many are connected.
    pub fn to_agent(path: &Path, message: Vec<u8>) -> Result<Self, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(Self { output: message, ..Self::new(socket) })
    }

    /// To be watched.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether something is to be sent.
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Sends what is taken now.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub fn flush(&mut self) -> Result<(), Over> {
        while self.has_output() {
            match send(&self.socket, &self.output, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) => {
                    self.output[..sent].zeroize();
                    self.output.drain(..sent);
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(_) => return Err(Over),
            }
        }
        Ok(())
    }

    /// Reads what has come, and takes a message out of it where one is whole.
    ///
    /// # Errors
    /// When there is no more, or what came is no message.
    pub fn receive(&mut self) -> Result<Option<Vec<u8>>, Over> {
        if let Some(message) = self.take()? {
            return Ok(Some(message));
        }
        let mut chunk = [0u8; CHUNK];
        match recv(&self.socket, &mut chunk, RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Err(Over),
            Ok((count, _)) => self.input.extend_from_slice(&chunk[..count]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => return Err(Over),
        }
        self.take()
    }

    fn take(&mut self) -> Result<Option<Vec<u8>>, Over> {
        let Some((message, used)) = protocol::take(&self.input).map_err(|_| Over)? else { return Ok(None) };
        let message = message.to_vec();
        self.input.drain(..used);
        Ok(Some(message))
    }

    /// Whether a whole message waits that was read already.
    pub fn has_message(&self) -> bool {
        !matches!(protocol::take(&self.input), Ok(None))
    }
}

impl Connection {
    /// Takes over an accepted connection.
    pub fn new(app: AppName, socket: OwnedFd) -> Self {
        Self { app, pipe: Pipe::new(socket), doing: Doing::Nothing, deadline: None }
    }

    /// The app's side.
    pub fn app_side(&mut self) -> &mut Pipe {
        &mut self.pipe
    }

    /// Whether the app's next request is heard: one that does not read its answers is not.
    pub fn is_idle(&self) -> bool {
        matches!(self.doing, Doing::Nothing) && !self.pipe.has_output()
    }

    /// Whether a request that was read already can be heard.
    pub fn has_request(&self) -> bool {
        self.is_idle() && self.pipe.has_message()
    }

    /// To be watched: the app's side, for reading where a request would be heard, and for writing.
    pub fn app_fd(&self) -> (BorrowedFd<'_>, bool, bool) {
        (self.pipe.fd(), self.is_idle(), self.pipe.has_output())
    }

    /// The agent's side, where it is asked something, and whether something is to be sent to it.
    pub fn agent_fd(&self) -> Option<(BorrowedFd<'_>, bool)> {
        match &self.doing {
            Doing::Listing { agent, .. } | Doing::Signing { agent } => Some((agent.fd(), agent.has_output())),
            Doing::Nothing | Doing::Asking { .. } => None,
        }
    }

    /// Answers the app's request.
    pub fn answer(&mut self, message: &[u8]) {
        self.pipe.output.extend_from_slice(message);
        self.doing = Doing::Nothing;
        self.deadline = None;
    }
}
