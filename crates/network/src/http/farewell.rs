//! Last words of a connection.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

/// How long an app has to hear the last words.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A response that ends a connection, with a sentence for whoever reads it.
pub fn refusal(status: &str, text: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{text}\n",
        text.len() + 1
    )
    .into_bytes()
}

/// Why a connection does not reach its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Rules, policies or a person do not allow it.
    NotAllowed {
        /// Which.
        by: String,
    },
    /// A cap of the session's is reached.
    Capped {
        /// Which.
        by: String,
    },
    /// It was allowed, and cannot be made.
    Unreachable {
        /// Why.
        why: String,
    },
}

impl Refusal {
    /// The same as a response.
    pub fn response(&self, host: &str) -> Vec<u8> {
        match self {
            Self::NotAllowed { by } => not_allowed(host, by),
            Self::Capped { by } => {
                let text = format!(
                    "This session does not reach {host}: {by}. Do not retry at once: the person who runs \
                     the session may open one with a higher cap."
                );
                refusal("503 Service Unavailable", &text)
            }
            Self::Unreachable { why } => {
                refusal("502 Bad Gateway", &format!("{host} was not reached: {why}."))
            }
        }
    }
}

/// A response to who may not reach a host, and why.
pub fn not_allowed(host: &str, by: &str) -> Vec<u8> {
    let text = format!(
        "This session may not reach {host} ({by}). Do not retry: ask the person who runs the session to \
         allow it."
    );
    refusal("403 Forbidden", &text)
}

/// Says last words and ends the connection.
pub async fn farewell(mut app: impl AsyncRead + AsyncWrite + Unpin, words: &[u8]) {
    let saying = async {
        app.write_all(words).await?;
        app.flush().await?;
        app.shutdown().await?;
        // What the app still sends is read, or its system would throw the answer away.
        let mut rest = [0; 4096];
        while app.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    // One who has left, or does not listen, misses nothing.
    let _ = timeout(LAST_WORDS, saying).await;
}
