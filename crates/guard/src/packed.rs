//! Bodies that are compressed, undone within bounds.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_COMPUTE_ADLER32, TINFL_FLAG_PARSE_ZLIB_HEADER, TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
};
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};
use zeroize::Zeroizing;

use crate::layer::gzip_body;

/// Most bytes that are made of a body.
pub const MOST_UNPACKED: usize = 512 << 10;
/// What follows the content of a gzip member: a checksum and a length.
const TRAILER: usize = 8;

/// What gzip has packed: exactly one member (RFC 1952). `None` where it is not, or is longer than
/// [`MOST_UNPACKED`]: who reads on behind it would read what nobody looked at.
#[must_use]
pub fn gunzip(bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let [0x1f, 0x8b, 8, flags, rest @ ..] = bytes else { return None };
    let content = gzip_body(*flags, rest)?.split_last_chunk::<TRAILER>()?.0;
    inflate(content, 0)
}

/// What deflate has packed, as HTTP means it (RFC 9110, section 8.4.1.2: in zlib's form), or bare as some
/// send it. `None` as with [`gunzip`].
#[must_use]
pub fn inflated(bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    inflate(bytes, TINFL_FLAG_PARSE_ZLIB_HEADER | TINFL_FLAG_COMPUTE_ADLER32).or_else(|| inflate(bytes, 0))
}

fn inflate(bytes: &[u8], flags: u32) -> Option<Zeroizing<Vec<u8>>> {
    let mut made = Zeroizing::new(Vec::new());
    let mut state = DecompressorOxide::new();
    let (mut read, mut written) = (0, 0);
    loop {
        if written == made.len() {
            if written > MOST_UNPACKED {
                return None;
            }
            // Growing leaves no copy behind: what it was is overwritten first.
            let mut more = Zeroizing::new(vec![0; (made.len() * 4).clamp(4096, MOST_UNPACKED + 1)]);
            more[..written].copy_from_slice(&made);
            made = more;
        }
        let flags = flags | TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
        let (status, used, put) = decompress(&mut state, &bytes[read..], &mut made, written, flags);
        (read, written) = (read + used, written + put);
        if status == TINFLStatus::Done {
            made.truncate(written);
            return Some(made).filter(|_| read == bytes.len() && written <= MOST_UNPACKED);
        }
        if status != TINFLStatus::HasMoreOutput {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use miniz_oxide::deflate::{compress_to_vec, compress_to_vec_zlib};
    use proptest::prelude::*;

    fn gzip(text: &[u8], flags: u8, extra: &[u8]) -> Vec<u8> {
        let head = [0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 3];
        [&head[..], extra, &compress_to_vec(text, 6), &[0; TRAILER]].concat()
    }

    #[test]
    fn one_member_and_nothing_behind_it() {
        let text = b"all is well".repeat(1000);
        assert_eq!(gunzip(&gzip(&text, 0, b"")).as_deref(), Some(&text));
        assert_eq!(gunzip(&gzip(&text, 8, b"name\0")).as_deref(), Some(&text));
        let twice = [gzip(b"harmless", 0, b""), gzip(b"hidden", 0, b"")].concat();
        assert!(gunzip(&twice).is_none());
        assert!(gunzip(&gzip(&text, 0, b"")[..40]).is_none());
        assert!(gunzip(b"\x1f\x8b\x08").is_none() && gunzip(&text).is_none());
        assert_eq!(inflated(&compress_to_vec_zlib(&text, 6)).as_deref(), Some(&text));
        assert_eq!(inflated(&compress_to_vec(&text, 6)).as_deref(), Some(&text));
        assert!(inflated(&[&compress_to_vec(&text, 6)[..], b"x"].concat()).is_none());
    }

    #[test]
    fn what_would_be_too_much_is_nothing() {
        let exact = vec![b'a'; MOST_UNPACKED];
        assert_eq!(inflated(&compress_to_vec(&exact, 6)).map(|made| made.len()), Some(MOST_UNPACKED));
        let more = vec![b'a'; MOST_UNPACKED + 1];
        assert!(inflated(&compress_to_vec(&more, 6)).is_none());
    }

    proptest! {
        #[test]
        fn whatever_comes_has_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            for made in [gunzip(&bytes), inflated(&bytes)].into_iter().flatten() {
                prop_assert!(made.len() <= MOST_UNPACKED);
            }
        }
    }
}
