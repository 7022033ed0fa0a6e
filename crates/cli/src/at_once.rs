//! A request to the daemon that is answered at once, without what waiting for an answer takes: a client
//! that attaches is to show its screen before anything else of this program is even loaded.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use sessile_model::api::LOSSES;

/// Longest wait for a part of an answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Largest answer in bytes, its head included.
const MOST: usize = 4 << 20;
/// Most header lines.
const MAX_HEADERS: usize = 32;

/// A good answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// What was lost, as the daemon tells it to one command.
    pub losses: Option<Vec<u8>>,
    /// The body.
    pub body: Vec<u8>,
}

/// A request that was sent.
#[derive(Debug)]
pub struct Asked(UnixStream);

/// Posts an empty object. `None` for anything but success, as with [`Asked::answer`].
pub fn post(mut stream: UnixStream, path: &str) -> Option<Asked> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: sessile\r\ncontent-type: application/json\r\ncontent-length: 2\r\n{LOSSES}: tell\r\n\r\n{{}}"
    );
    stream.write_all(request.as_bytes()).ok()?;
    Some(Asked(stream))
}

impl Asked {
    /// Reads the answer. `None` for anything but success, told plainly and in time: then the request is to be made
    /// again in the ordinary way, which knows what to do.
    pub fn answer(mut self) -> Option<Answer> {
        let mut received = Vec::new();
        let mut chunk = [0; 8192];
        loop {
            let count = self.0.read(&mut chunk).ok().filter(|count| *count > 0)?;
            received.extend_from_slice(chunk.get(..count)?);
            if received.len() > MOST {
                return None;
            }
            if let Some(answer) = whole(&received)? {
                return Some(answer);
            }
        }
    }
}

/// The answer, once it is there; `None` within where more of it is to come.
fn whole(received: &[u8]) -> Option<Option<Answer>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(received).ok()? else { return Some(None) };
    if head.code != Some(200) {
        return None;
    }
    let field = |name: &str| head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    let body = std::str::from_utf8(field("content-length")?.value).ok()?.parse::<usize>().ok()?;
    let Some(body) = received.get(length..length.checked_add(body)?) else { return Some(None) };
    let losses = field(LOSSES).map(|header| header.value.to_vec());
    Some(Some(Answer { losses, body: body.to_vec() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of an answer that arrives in these parts.
    fn answered(parts: &[&str]) -> Option<Answer> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        for part in parts {
            theirs.write_all(part.as_bytes()).unwrap();
        }
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        post(ours, "/v1/x")?.answer()
    }

    #[test]
    fn a_plain_answer_is_taken() {
        let answer = answered(&["HTTP/1.1 200 OK\r\nContent-Le", "ngth: 5\r\n\r\nhel", "lo"]);
        assert_eq!(answer, Some(Answer { losses: None, body: b"hello".to_vec() }));
        let head = format!("HTTP/1.1 200 OK\r\n{LOSSES}: [\"a log\"]\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(
            answered(&[&head]),
            Some(Answer { losses: Some(b"[\"a log\"]".to_vec()), body: Vec::new() })
        );
    }

    #[test]
    fn anything_else_is_left_to_the_ordinary_way() {
        for other in [
            "",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\n",
            "nothing of the kind\r\n\r\n",
        ] {
            assert_eq!(answered(&[other]), None, "{other:?}");
        }
    }
}
