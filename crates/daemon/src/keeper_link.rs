//! One connection to a keeper, in the frames of [`sessile_model::wire`].

use std::io;
use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;
use sessile_model::wire::{self, Event, FrameError, FrameType, Hello, Reply, Request};
use thiserror::Error;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

/// Bytes asked of the socket at once.
const CHUNK: usize = 16 << 10;

/// An open connection.
#[derive(Debug)]
pub struct KeeperLink {
    stream: UnixStream,
    buffer: Vec<u8>,
    used: usize,
}

/// What a keeper said.
#[derive(Debug, PartialEq)]
pub enum Said {
    /// It answered the request on this channel.
    Reply(u16, Box<Reply>),
    /// It told something about this channel.
    Event(u16, Event),
}

/// Why a keeper could not be reached or understood.
#[derive(Debug, Error)]
pub enum LinkError {
    /// Nobody holds its socket, or there is none.
    #[error("nobody listens on the session's socket")]
    Nobody,
    /// The connection ended.
    #[error("the connection to the session's keeper was lost")]
    Lost,
    /// It speaks a version that this program does not.
    #[error(
        "the session's keeper speaks version {theirs} of the protocol, this daemon speaks {}",
        wire::VERSION
    )]
    Version {
        /// Its version.
        theirs: u32,
    },
    /// What it sent is not a frame.
    #[error("the session's keeper sent a malformed frame")]
    Frame(#[from] FrameError),
    /// What it sent is not a message.
    #[error("the session's keeper sent a message that cannot be read")]
    Message(#[from] serde_json::Error),
    /// The request is larger than a frame may be.
    #[error("the request of {len} bytes is over the limit")]
    TooLarge {
        /// Its length.
        len: usize,
    },
    /// The system refused.
    #[error("the session's socket could not be used")]
    Io(#[source] io::Error),
}

impl LinkError {
    fn from_io(e: io::Error) -> Self {
        use io::ErrorKind as Kind;
        if [Kind::ConnectionRefused, Kind::NotFound].contains(&e.kind()) {
            Self::Nobody
        } else if [Kind::BrokenPipe, Kind::ConnectionReset, Kind::UnexpectedEof].contains(&e.kind()) {
            Self::Lost
        } else {
            Self::Io(e)
        }
    }
}

/// Connects to a session's socket. While no keeper runs but its anchor does, the connection
/// waits in the socket's backlog for the next keeper.
///
/// # Errors
/// When nobody holds the socket or the system refuses.
pub async fn connect(socket: &Path) -> Result<UnixStream, LinkError> {
    let mut pause = Duration::from_millis(1);
    loop {
        match UnixStream::connect(socket).await {
            // The backlog is full; there is no event for room in it.
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && pause < Duration::from_secs(2) => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            result => return result.map_err(LinkError::from_io),
        }
    }
}

impl KeeperLink {
    /// Connects and says hello.
    ///
    /// # Errors
    /// When nobody holds the socket or the system refuses.
    pub async fn open(socket: &Path, program: &str) -> Result<Self, LinkError> {
        let mut link = Self { stream: connect(socket).await?, buffer: Vec::new(), used: 0 };
        let hello = Hello { version: wire::VERSION, program: program.to_owned() };
        link.write(FrameType::Hello, 0, &serde_json::to_vec(&hello)?).await?;
        Ok(link)
    }

    /// Waits until the connection ends. What is said meanwhile is lost.
    pub async fn lost(&mut self) {
        while self.next().await.is_ok() {}
    }

    /// Sends a request on the connection's own channel.
    ///
    /// # Errors
    /// When the keeper is gone or the request is too large.
    pub async fn send(&mut self, request: &Request) -> Result<(), LinkError> {
        let body = serde_json::to_vec(request)?;
        self.write(FrameType::Request, 0, &body).await
    }

    /// Sends a request and waits for its answer; events that come before are dropped.
    ///
    /// # Errors
    /// When the keeper is gone or cannot be understood.
    pub async fn ask(&mut self, request: &Request) -> Result<Reply, LinkError> {
        self.send(request).await?;
        loop {
            if let Said::Reply(0, reply) = self.next().await? {
                return Ok(*reply);
            }
        }
    }

    /// The next thing the keeper says. Can be called off at any time without losing anything.
    ///
    /// # Errors
    /// [`LinkError::Lost`] when the keeper has closed the connection or died.
    pub async fn next(&mut self) -> Result<Said, LinkError> {
        loop {
            if let Some(said) = self.take()? {
                return Ok(said);
            }
            self.fill().await?;
        }
    }

    fn take(&mut self) -> Result<Option<Said>, LinkError> {
        while let Some((header, payload, len)) = wire::take_frame(&self.buffer[self.used..])? {
            let channel = header.channel;
            let said = match FrameType::from_byte(header.kind) {
                Some(FrameType::Reply) => Some(Said::Reply(channel, Box::new(decoded(payload)?))),
                // One of a kind that this version does not know is ignored like such a frame.
                Some(FrameType::Event) => {
                    serde_json::from_slice(payload).ok().map(|event| Said::Event(channel, event))
                }
                Some(FrameType::Hello) => {
                    let hello: Hello = decoded(payload)?;
                    if hello.version < wire::VERSION.saturating_sub(1) || hello.version == 0 {
                        return Err(LinkError::Version { theirs: hello.version });
                    }
                    None
                }
                // Frames of attachments are none of ours, and those from the future are ignored.
                Some(
                    FrameType::Request
                    | FrameType::Output
                    | FrameType::Dump
                    | FrameType::Input
                    | FrameType::InputDone
                    | FrameType::OutputDone,
                )
                | None => None,
            };
            self.used += len;
            if said.is_some() {
                return Ok(said);
            }
        }
        self.buffer.drain(..self.used);
        self.used = 0;
        self.give_back();
        Ok(None)
    }

    async fn fill(&mut self) -> Result<(), LinkError> {
        loop {
            self.stream.readable().await.map_err(LinkError::from_io)?;
            self.buffer.reserve(CHUNK);
            match self.stream.try_read_buf(&mut self.buffer) {
                Ok(0) => return Err(LinkError::Lost),
                Ok(_) => return Ok(()),
                // The runtime takes a socket for readable until a read says otherwise.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.give_back(),
                Err(e) => return Err(LinkError::from_io(e)),
            }
        }
    }

    /// An idle session's link should cost next to nothing.
    fn give_back(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = Vec::new();
        }
    }

    async fn write(&mut self, kind: FrameType, channel: u16, body: &[u8]) -> Result<(), LinkError> {
        if body.len() > wire::MAX_PAYLOAD {
            return Err(LinkError::TooLarge { len: body.len() });
        }
        let mut frame = Vec::with_capacity(wire::HEADER_LEN + body.len());
        wire::put_frame(&mut frame, kind, channel, &[body]);
        self.stream.write_all(&frame).await.map_err(LinkError::from_io)
    }
}

fn decoded<T: DeserializeOwned>(payload: &[u8]) -> Result<T, LinkError> {
    Ok(serde_json::from_slice(payload)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_link_that_waits_holds_no_buffer() {
        let (stream, mut keeper) = UnixStream::pair().unwrap();
        let mut link = KeeperLink { stream, buffer: Vec::new(), used: 0 };
        let mut frame = Vec::new();
        let said = serde_json::to_vec(&Event::Notice { text: "a word".to_owned() }).unwrap();
        wire::put_frame(&mut frame, FrameType::Event, 0, &[&said]);
        keeper.write_all(&frame).await.unwrap();
        assert!(matches!(link.next().await, Ok(Said::Event(0, Event::Notice { .. }))));
        let waits = tokio::time::timeout(Duration::from_millis(50), link.next()).await;
        assert!(waits.is_err());
        assert_eq!(link.buffer.capacity(), 0);
    }
}
