//! Bytes that arrive, before they are understood.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::head::{BadHead, end_of_head};

/// Bytes that are read at once.
const PIECE: usize = 16 << 10;

/// A side that is read, and what of it is not used up.
#[derive(Debug)]
pub struct Inlet<R> {
    from: R,
    bytes: Vec<u8>,
    used: usize,
}

impl<R: AsyncRead + Unpin> Inlet<R> {
    /// Reads from here; these bytes came first.
    pub fn new(from: R, first: Vec<u8>) -> Self {
        Self { from, bytes: first, used: 0 }
    }

    /// The side itself; what has arrived of it is let go.
    pub fn into_inner(self) -> R {
        self.from
    }

    /// What has arrived and is not used up.
    pub fn rest(&self) -> &[u8] {
        self.bytes.get(self.used..).unwrap_or_default()
    }

    /// Uses up so many bytes.
    pub fn take(&mut self, count: usize) {
        self.used = (self.used + count).min(self.bytes.len());
        if self.used == self.bytes.len() {
            self.bytes.clear();
            self.used = 0;
        }
    }

    /// Waits for more; 0 at the end. Nothing is lost when the wait is given up.
    ///
    /// # Errors
    /// When the side fails.
    pub async fn more(&mut self) -> io::Result<usize> {
        if self.used > 0 {
            self.bytes.drain(..self.used);
            self.used = 0;
        }
        self.bytes.reserve(PIECE);
        self.from.read_buf(&mut self.bytes).await
    }

    /// Waits for a whole head and uses it up; `None` when the side ends before one begins.
    ///
    /// # Errors
    /// When the side fails, ends within a head, or the head is refused.
    pub async fn head(&mut self) -> Result<Option<Vec<u8>>, HeadError> {
        loop {
            // An empty line before a request is left aside (RFC 9112, section 2.2).
            if self.rest().starts_with(b"\r\n") {
                self.take(2);
            }
            if let Some(end) = end_of_head(self.rest()).map_err(HeadError::Bad)? {
                let head = self.rest().get(..end).unwrap_or_default().to_vec();
                self.take(end);
                return Ok(Some(head));
            }
            if self.more().await.map_err(HeadError::Failed)? == 0 {
                return match self.rest() {
                    [] => Ok(None),
                    _ => Err(HeadError::Failed(io::ErrorKind::UnexpectedEof.into())),
                };
            }
        }
    }
}

/// Why there is no head.
#[derive(Debug)]
pub enum HeadError {
    /// It is refused.
    Bad(BadHead),
    /// The side failed.
    Failed(io::Error),
}
