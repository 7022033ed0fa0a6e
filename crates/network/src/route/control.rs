//! A tor's control port (control-spec, version 1), as far as a route needs it. No events are
//! asked for: whatever comes is the answer to what was asked.

use std::io;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

/// Longest answer, in bytes.
const MAX_ANSWER: u64 = 1 << 20;
/// Relays of a circuit that leads out.
const RELAYS: usize = 3;

/// A connection to a control port.
#[derive(Debug)]
pub struct Control(BufReader<UnixStream>);

impl Control {
    /// Speaks over this connection.
    pub fn new(stream: UnixStream) -> Self {
        Self(BufReader::new(stream))
    }

    /// Asks, and returns the lines of the answer without their codes.
    ///
    /// # Errors
    /// When the connection ends, the answer is malformed, or it is a refusal.
    pub async fn ask(&mut self, command: &str) -> io::Result<Vec<String>> {
        self.0.write_all(format!("{command}\r\n").as_bytes()).await?;
        let mut lines = Vec::new();
        let mut reader = (&mut self.0).take(MAX_ANSWER);
        loop {
            let line = line(&mut reader).await?;
            let malformed = || io::Error::new(io::ErrorKind::InvalidData, "tor's answer is malformed");
            let (code, rest) = line.split_at_checked(3).ok_or_else(malformed)?;
            let mut rest = rest.chars();
            let kind = rest.next().ok_or_else(malformed)?;
            if code != "250" {
                return Err(io::Error::other(format!("tor refuses: {}", rest.as_str())));
            }
            lines.push(rest.as_str().to_owned());
            match kind {
                ' ' => return Ok(lines),
                '-' => {}
                '+' => loop {
                    let data = self::line(&mut reader).await?;
                    if data == "." {
                        break;
                    }
                    lines.push(data);
                },
                _ => return Err(malformed()),
            }
        }
    }

    /// Waits until the other side ends the connection, or says what it was not asked.
    pub async fn ended(&mut self) {
        // What comes unasked is no part of this protocol: the route is not trusted any more.
        let _ = self.0.fill_buf().await;
    }
}

async fn line(reader: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> io::Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line).await?;
    match line.strip_suffix("\r\n") {
        Some(line) => Ok(line.to_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// How far a bootstrap is, in percent, from the answer to `GETINFO status/bootstrap-phase`.
pub fn progress(lines: &[String]) -> Option<u8> {
    let line = lines.iter().find(|line| line.starts_with("status/bootstrap-phase="))?;
    line.split(' ').find_map(|word| word.strip_prefix("PROGRESS="))?.parse().ok()
}

/// Whether a circuit that leads out is built, from the answer to `GETINFO circuit-status`.
pub fn has_circuit(lines: &[String]) -> bool {
    lines.iter().any(|line| {
        let line = line.strip_prefix("circuit-status=").unwrap_or(line);
        let mut words = line.split(' ');
        let (_, status, path) = (words.next(), words.next(), words.next().unwrap_or_default());
        status == Some("BUILT")
            && path.split(',').filter(|relay| relay.starts_with('$')).count() >= RELAYS
            && !words.any(|word| {
                word.strip_prefix("BUILD_FLAGS=").is_some_and(|f| f.split(',').any(|f| f == "IS_INTERNAL"))
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answered(text: &'static [u8]) -> io::Result<Vec<String>> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(text).await.unwrap();
        let answer = Control::new(ours).ask("GETINFO x").await;
        let mut asked = [0; 11];
        theirs.read_exact(&mut asked).await.unwrap();
        assert_eq!(&asked, b"GETINFO x\r\n");
        answer
    }

    #[tokio::test]
    async fn answers_of_every_form_are_read() {
        assert_eq!(answered(b"250 OK\r\n").await.unwrap(), ["OK"]);
        assert_eq!(answered(b"250-a=1\r\n250 OK\r\n").await.unwrap(), ["a=1", "OK"]);
        assert_eq!(
            answered(b"250+a=\r\n1 x\r\n2 y\r\n.\r\n250 OK\r\n").await.unwrap(),
            ["a=", "1 x", "2 y", "OK"]
        );
        assert!(answered(b"515 Bad authentication\r\n").await.unwrap_err().to_string().contains("Bad auth"));
        for bad in [&b"250"[..], b"250 OK", b"2\xc3\xa9 OK\r\n", b"250*OK\r\n", b"\r\n", b"250+a=\r\n1"] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(bad).await.unwrap();
            drop(theirs.shutdown().await);
            assert!(Control::new(ours).ask("x").await.is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_bootstrap_is_followed() {
        let lines = |text: &str| vec![text.to_owned(), "OK".to_owned()];
        let done = lines("status/bootstrap-phase=NOTICE BOOTSTRAP PROGRESS=100 TAG=done SUMMARY=\"Done\"");
        assert_eq!(progress(&done), Some(100));
        assert_eq!(progress(&lines("status/bootstrap-phase=NOTICE BOOTSTRAP")), None);
        assert_eq!(progress(&lines("")), None);
    }

    #[test]
    fn a_circuit_leads_out_when_it_is_built_and_whole() {
        let circuit = |text: &str| has_circuit(&["circuit-status=".to_owned(), text.to_owned()]);
        assert!(circuit("3 BUILT $A~a,$B~b,$C~c BUILD_FLAGS=NEED_CAPACITY PURPOSE=GENERAL"));
        assert!(has_circuit(&["circuit-status=3 BUILT $A~a,$B~b,$C~c PURPOSE=GENERAL".to_owned()]));
        for not in [
            "3 EXTENDED $A~a,$B~b,$C~c PURPOSE=GENERAL",
            "3 BUILT $A~a BUILD_FLAGS=ONEHOP_TUNNEL PURPOSE=GENERAL",
            "3 BUILT $A~a,$B~b,$C~c BUILD_FLAGS=IS_INTERNAL,NEED_UPTIME PURPOSE=HS_VANGUARDS",
            "3 LAUNCHED",
            "",
        ] {
            assert!(!circuit(not), "{not}");
        }
    }
}
