//! Bodies of HTTP/1 messages: where their parts begin and end (RFC 9112, section 7).

use thiserror::Error;

use super::head::Framing;

/// Most bytes of a line that says a chunk's size, and of a trailer's line.
const MAX_LINE: usize = 4096;
/// Most bytes of all trailers.
const MAX_TRAILERS: usize = 16 << 10;
/// Most digits of a chunk's size.
const MAX_DIGITS: usize = 15;

/// A body that is not in the form that its head promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("its body is not in chunks as the standard has them")]
pub struct BadBody;

/// Where in a body the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// So many bytes are left.
    Length(u64),
    /// Until the connection ends.
    UntilClose,
    /// Before the line with a chunk's size.
    Size,
    /// In a chunk with so many bytes left.
    Chunk(u64),
    /// Behind a chunk's bytes, before its line end.
    ChunkEnd,
    /// In the trailers, of which there were so many bytes.
    Trailers(usize),
    /// At its end.
    End,
}

/// What the next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Too few to tell.
    More,
    /// So many of them delimit parts.
    Framing(usize),
    /// So many of them are content.
    Content(usize),
    /// The body ended before them.
    End,
}

impl Body {
    /// At the begin of a body.
    pub fn new(framing: Framing) -> Self {
        match framing {
            Framing::Length(0) => Self::End,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Size,
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// Whether the connection's end may end it here.
    pub fn may_end(self) -> bool {
        matches!(self, Self::UntilClose | Self::End)
    }

    /// Goes over the next bytes, as far as the answer says.
    ///
    /// # Errors
    /// When they are not what they must be.
    pub fn step(&mut self, bytes: &[u8]) -> Result<Step, BadBody> {
        match *self {
            Self::End => Ok(Step::End),
            _ if bytes.is_empty() => Ok(Step::More),
            Self::UntilClose => Ok(Step::Content(bytes.len())),
            Self::Length(left) => {
                let (count, left) = part(left, bytes);
                *self = if left == 0 { Self::End } else { Self::Length(left) };
                Ok(Step::Content(count))
            }
            Self::Chunk(left) => {
                let (count, left) = part(left, bytes);
                *self = if left == 0 { Self::ChunkEnd } else { Self::Chunk(left) };
                Ok(Step::Content(count))
            }
            Self::ChunkEnd => match bytes {
                [b'\r', b'\n', ..] => {
                    *self = Self::Size;
                    Ok(Step::Framing(2))
                }
                [b'\r'] => Ok(Step::More),
                _ => Err(BadBody),
            },
            Self::Size => {
                let Some(line) = line(bytes)? else { return Ok(Step::More) };
                let size = size(line)?;
                *self = if size == 0 { Self::Trailers(0) } else { Self::Chunk(size) };
                Ok(Step::Framing(line.len() + 2))
            }
            Self::Trailers(before) => {
                let Some(line) = line(bytes)? else { return Ok(Step::More) };
                let so_far = before + line.len() + 2;
                let named = line.iter().position(|b| *b == b':').is_some_and(|at| at > 0);
                *self = match line {
                    [] => Self::End,
                    [b' ' | b'\t', ..] => return Err(BadBody),
                    _ if !named || so_far > MAX_TRAILERS => return Err(BadBody),
                    _ => Self::Trailers(so_far),
                };
                Ok(Step::Framing(line.len() + 2))
            }
        }
    }
}

fn part(left: u64, bytes: &[u8]) -> (usize, u64) {
    let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    (count, left - count as u64)
}

/// The next line without its end; `None` when its end is not there yet.
fn line(bytes: &[u8]) -> Result<Option<&[u8]>, BadBody> {
    let end = bytes.iter().take(MAX_LINE).position(|b| matches!(b, b'\r' | b'\n' | 0));
    match end.map(|end| (end, &bytes[end..])) {
        Some((end, [b'\r', b'\n', ..])) => Ok(Some(&bytes[..end])),
        Some((_, [b'\r'])) => Ok(None),
        None if bytes.len() < MAX_LINE => Ok(None),
        Some(_) | None => Err(BadBody),
    }
}

/// A chunk's size; extensions are left aside.
fn size(line: &[u8]) -> Result<u64, BadBody> {
    let digits = line.iter().position(|b| !b.is_ascii_hexdigit()).unwrap_or(line.len());
    let behind = line[digits..].trim_ascii_start();
    if !(1..=MAX_DIGITS).contains(&digits) || !matches!(behind.first(), None | Some(b';')) {
        return Err(BadBody);
    }
    // Blanks before nothing are no extension.
    if behind.is_empty() && digits != line.len() {
        return Err(BadBody);
    }
    std::str::from_utf8(&line[..digits]).ok().and_then(|d| u64::from_str_radix(d, 16).ok()).ok_or(BadBody)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The content of a body, fed in pieces, and what stands behind it.
    fn read(framing: Framing, bytes: &[u8], piece: usize) -> Result<Option<(Vec<u8>, usize)>, BadBody> {
        let (mut body, mut content, mut at, mut known) = (Body::new(framing), Vec::new(), 0, 0);
        loop {
            match body.step(&bytes[at..known])? {
                Step::More if known == bytes.len() => return Ok(None),
                Step::More => known = (known + piece).min(bytes.len()),
                Step::Framing(count) => at += count,
                Step::Content(count) => {
                    content.extend_from_slice(&bytes[at..at + count]);
                    at += count;
                }
                Step::End => return Ok(Some((content, at))),
            }
        }
    }

    #[test]
    fn chunks_are_joined_however_they_arrive() {
        let bytes = b"5\r\nhello\r\n6;name=\"x\"\r\n world\r\n0\r\nTrailer: x\r\n\r\nGET";
        for piece in 1..bytes.len() {
            let read = read(Framing::Chunked, bytes, piece).unwrap();
            assert_eq!(read, Some((b"hello world".to_vec(), bytes.len() - 3)), "{piece}");
        }
        assert_eq!(read(Framing::Length(3), b"abcdef", 2).unwrap(), Some((b"abc".to_vec(), 3)));
        assert_eq!(read(Framing::Length(0), b"abcdef", 2).unwrap(), Some((Vec::new(), 0)));
    }

    #[test]
    fn what_might_be_read_in_two_ways_is_no_body() {
        for bad in [
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhello0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5 \r\nhello\r\n0\r\n\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            "+5\r\nhello\r\n0\r\n\r\n",
            "-1\r\n",
            "\r\n",
            ";a\r\n",
            "5,5\r\nhello\r\n0\r\n\r\n",
            "10000000000000005\r\nhello\r\n0\r\n\r\n",
            "5\rX\nhello\r\n0\r\n\r\n",
            "5;a\nb\r\nhello\r\n0\r\n\r\n",
            "0\r\n folded\r\n\r\n",
            "0\r\nno colon\r\n\r\n",
            "0\r\nA: b\n\r\n",
            "0\r\n\rX",
        ] {
            assert_eq!(read(Framing::Chunked, bad.as_bytes(), 7), Err(BadBody), "{bad:?}");
        }
        assert_eq!(read(Framing::Chunked, "a".repeat(MAX_LINE).as_bytes(), 100), Err(BadBody));
        let trailers = format!("0\r\n{}", format!("A: {}\r\n", "x".repeat(2000)).repeat(20));
        assert_eq!(read(Framing::Chunked, trailers.as_bytes(), 5000), Err(BadBody));
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(bytes in "[0-9a-f;\r\n x]{0,40}", piece in 1usize..9) {
            let whole = read(Framing::Chunked, bytes.as_bytes(), 64);
            prop_assert_eq!(read(Framing::Chunked, bytes.as_bytes(), piece), whole);
        }
    }
}
