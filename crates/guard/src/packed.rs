//! Bodies that are compressed, undone as they come, within bounds.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_COMPUTE_ADLER32, TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_PARSE_ZLIB_HEADER,
};
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::layer::gzip_body;

/// Most bytes that are made of a body.
pub const MOST_UNPACKED: u64 = 256 << 20;
/// Most bytes that are made of each packed one, beside [`FREE`]. What people send has a tenth of it.
const MOST_RATIO: u64 = 256;
const FREE: u64 = 64 << 10;
/// Most bytes of the head of a gzip member: it may have a name and a comment.
const MOST_HEAD: usize = 4096;
/// Bytes of such a head that are always there, and of those before anything that can be chosen.
const LEAST_HEAD: usize = 10;
const FIXED: usize = 4;
/// What follows the content of a gzip member: a checksum and a length.
const TRAILER: usize = 8;
/// How far back deflate refers (RFC 1951).
const REACH: usize = 32 << 10;

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// By gzip: exactly one member (RFC 1952). Who reads on behind it would read what nobody looked at.
    Gzip,
    /// By deflate as HTTP means it (RFC 9110, section 8.4.1.2: in zlib's form), or bare as some send it.
    Deflate,
}

/// Why what a body holds is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unseen {
    /// It is not packed as it says, or something stands behind it.
    #[error("the body is not packed as it says")]
    Malformed,
    /// It holds more than [`MOST_UNPACKED`], or too much for its length.
    #[error("the body holds too much")]
    TooMuch,
}

/// Where in a body the next byte stands.
enum Stage {
    /// In its head, of which there was so much.
    Head(Zeroizing<Vec<u8>>),
    Content,
    /// Behind its content.
    Trailer(Vec<u8>),
    End,
}

/// A body that is undone as it comes.
pub struct Unpacking {
    packing: Packing,
    stage: Stage,
    inflater: Box<DecompressorOxide>,
    flags: u32,
    /// What was made last, which what comes refers to, and where the next byte of it goes.
    ring: Zeroizing<Vec<u8>>,
    place: usize,
    crc: u32,
    length: u32,
    /// Bytes of what was made that are of its head.
    of_head: usize,
    packed: u64,
    unpacked: u64,
}

impl core::fmt::Debug for Unpacking {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Unpacking({} bytes to {})", self.packed, self.unpacked)
    }
}

impl Unpacking {
    /// Before its first byte.
    #[must_use]
    pub fn new(packing: Packing) -> Self {
        Self {
            packing,
            stage: Stage::Head(Zeroizing::default()),
            inflater: Box::default(),
            flags: 0,
            ring: Zeroizing::new(vec![0; REACH]),
            place: 0,
            crc: u32::MAX,
            length: 0,
            of_head: 0,
            packed: 0,
            unpacked: 0,
        }
    }

    /// Undoes the next bytes, and adds to `made` all that they give; what of a head can be chosen is given too.
    ///
    /// # Errors
    /// See [`Unseen`]; from then on nothing is to be asked of it.
    pub fn push(&mut self, bytes: &[u8], made: &mut Vec<u8>) -> Result<(), Unseen> {
        if self.push_to_end(bytes, made)? { Ok(()) } else { Err(Unseen::Malformed) }
    }

    /// The same where something may stand behind it; whether nothing does.
    ///
    /// # Errors
    /// See [`Unseen`]; from then on nothing is to be asked of it. What was made before then is what it holds.
    pub fn push_to_end(&mut self, bytes: &[u8], made: &mut Vec<u8>) -> Result<bool, Unseen> {
        let before = made.len();
        self.packed += bytes.len() as u64;
        let mut rest = self.head(bytes, made)?;
        if matches!(self.stage, Stage::Content) {
            let used = self.content(&rest, before, made)?;
            rest.drain(..used);
        }
        match &mut self.stage {
            Stage::Trailer(trailer) if trailer.len() + rest.len() < TRAILER => trailer.append(&mut rest),
            Stage::Trailer(trailer) => {
                trailer.extend(rest.drain(..TRAILER - trailer.len()));
                let told = [!self.crc, self.length].map(u32::to_le_bytes).concat();
                if *trailer != told {
                    return Err(Unseen::Malformed);
                }
                self.stage = Stage::End;
            }
            Stage::Head(_) | Stage::Content | Stage::End => {}
        }
        self.unpacked += (made.len() - before) as u64;
        Ok(rest.is_empty())
    }

    /// Whether it may end here.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        matches!(self.stage, Stage::End)
    }

    /// How many of the first bytes that were made are of its head, as far as it has come.
    #[must_use]
    pub const fn of_head(&self) -> usize {
        self.of_head
    }

    /// Takes what belongs to the head; what is left is content.
    fn head(&mut self, bytes: &[u8], made: &mut Vec<u8>) -> Result<Zeroizing<Vec<u8>>, Unseen> {
        let Stage::Head(head) = &mut self.stage else { return Ok(Zeroizing::new(bytes.to_vec())) };
        head.extend_from_slice(bytes);
        let content = match self.packing {
            Packing::Gzip => match head.as_slice() {
                [0x1f, 0x8b, 8, flags, rest @ ..] if flags & 0xe0 == 0 => {
                    let length = gzip_body(*flags, rest).map(|content| head.len() - content.len());
                    if let Some(length) = length {
                        made.extend_from_slice(&head[FIXED..length]);
                        made.push(b'\n');
                        self.of_head = length - FIXED + 1;
                    }
                    length
                }
                [_, _, _, _, ..] => return Err(Unseen::Malformed),
                [..] => None,
            },
            Packing::Deflate => match head.as_slice() {
                [method, check, ..] => {
                    let is_zlib = method & 15 == 8 && u16::from_be_bytes([*method, *check]) % 31 == 0;
                    self.flags =
                        if is_zlib { TINFL_FLAG_PARSE_ZLIB_HEADER | TINFL_FLAG_COMPUTE_ADLER32 } else { 0 };
                    Some(0)
                }
                [..] => None,
            },
        };
        match content {
            Some(length) => {
                let content = Zeroizing::new(head[length..].to_vec());
                self.stage = Stage::Content;
                Ok(content)
            }
            None if head.len() > MOST_HEAD + LEAST_HEAD => Err(Unseen::Malformed),
            None => Ok(Zeroizing::default()),
        }
    }

    /// Undoes content; returns how many bytes of it there are before its end.
    fn content(&mut self, bytes: &[u8], before: usize, made: &mut Vec<u8>) -> Result<usize, Unseen> {
        let most = MOST_UNPACKED.min(FREE + self.packed * MOST_RATIO);
        let mut read = 0;
        loop {
            let flags = self.flags | TINFL_FLAG_HAS_MORE_INPUT;
            let (status, used, put) =
                decompress(&mut self.inflater, &bytes[read..], &mut self.ring, self.place, flags);
            let fresh = &self.ring[self.place..self.place + put];
            if self.packing == Packing::Gzip {
                self.crc = crc32(self.crc, fresh);
                self.length = self.length.wrapping_add(put as u32);
            }
            made.extend_from_slice(fresh);
            self.place = (self.place + put) % REACH;
            read += used;
            if self.unpacked + (made.len() - before) as u64 > most {
                return Err(Unseen::TooMuch);
            }
            if status == TINFLStatus::Done {
                self.stage = match self.packing {
                    Packing::Gzip => Stage::Trailer(Vec::with_capacity(TRAILER)),
                    Packing::Deflate => Stage::End,
                };
                return Ok(read);
            }
            if status == TINFLStatus::NeedsMoreInput {
                return Ok(read);
            }
            // Whatever else it says, it failed.
            if status != TINFLStatus::HasMoreOutput {
                return Err(Unseen::Malformed);
            }
        }
    }
}

const CRC: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut crc, mut bit) = (byte as u32, 0);
        while bit < 8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// Goes on with a CRC-32 of IEEE 802.3.
fn crc32(crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, byte| CRC[((crc ^ u32::from(*byte)) & 255) as usize] ^ (crc >> 8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use miniz_oxide::deflate::{compress_to_vec, compress_to_vec_zlib};
    use proptest::prelude::*;

    fn gzip(text: &[u8], flags: u8, extra: &[u8]) -> Vec<u8> {
        let head = [0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 3];
        let trailer = [!crc32(u32::MAX, text), text.len() as u32].map(u32::to_le_bytes).concat();
        [&head[..], extra, &compress_to_vec(text, 6), &trailer].concat()
    }

    /// What a whole body holds, shown in parts of this length.
    fn undone(packing: Packing, bytes: &[u8], part: usize) -> Result<Vec<u8>, Unseen> {
        let (mut unpacking, mut made) = (Unpacking::new(packing), Vec::new());
        for part in bytes.chunks(part) {
            unpacking.push(part, &mut made)?;
        }
        if unpacking.is_whole() { Ok(made) } else { Err(Unseen::Malformed) }
    }

    fn holds(made: Result<Vec<u8>, Unseen>, text: &[u8]) {
        let made = made.unwrap();
        assert!(made.ends_with(text) && made.len() <= text.len() + 40, "{} of {}", made.len(), text.len());
    }

    #[test]
    fn one_member_and_nothing_behind_it() {
        let text =
            (0..9000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect::<Vec<_>>().repeat(9);
        for part in [1, 7, 64, 1 << 20] {
            holds(undone(Packing::Gzip, &gzip(&text, 0, b""), part), &text);
            let named = undone(Packing::Gzip, &gzip(&text, 24, b"a name\0and a word\0"), part).unwrap();
            assert!(
                named.windows(19).any(|window| window == b"a name\0and a word\0\n"),
                "it is looked at as well"
            );
            holds(undone(Packing::Deflate, &compress_to_vec_zlib(&text, 6), part), &text);
            holds(undone(Packing::Deflate, &compress_to_vec(&text, 6), part), &text);
            let bad =
                |packing, bytes: &[u8]| assert_eq!(undone(packing, bytes, part), Err(Unseen::Malformed));
            bad(Packing::Gzip, &[gzip(b"harmless", 0, b""), gzip(b"hidden", 0, b"")].concat());
            bad(Packing::Gzip, &gzip(&text, 0, b"")[..40]);
            bad(Packing::Gzip, &gzip(&text, 0x80, b""));
            bad(Packing::Gzip, b"\x1f\x8b\x08");
            bad(Packing::Gzip, &text);
            bad(Packing::Deflate, &[&compress_to_vec(&text, 6)[..], b"x"].concat());
            bad(Packing::Deflate, b"x");
            let (mut unpacking, mut made) = (Unpacking::new(Packing::Gzip), Vec::new());
            let ends = [gzip(b"one", 0, b""), b"more".to_vec()].concat();
            assert_eq!(unpacking.push_to_end(&ends, &mut made), Ok(false));
            assert!(made.ends_with(b"one") && unpacking.is_whole());
            // Nobody chooses what a checksum is.
            let mut told = gzip(&text, 0, b"");
            *told.last_mut().unwrap() ^= 1;
            bad(Packing::Gzip, &told);
        }
        let long = format!("{}\0", "x".repeat(MOST_HEAD * 2));
        assert_eq!(undone(Packing::Gzip, &gzip(b"", 8, long.as_bytes()), 64), Err(Unseen::Malformed));
    }

    #[test]
    fn what_would_be_too_much_is_nothing() {
        let most = |length: usize| undone(Packing::Deflate, &compress_to_vec(&vec![b'a'; length], 6), 64);
        assert!(most(FREE as usize).is_ok());
        assert_eq!(most(1 << 20), Err(Unseen::TooMuch));
    }

    proptest! {
        #[test]
        fn whatever_comes_has_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            for packing in [Packing::Gzip, Packing::Deflate] {
                let made = undone(packing, &bytes, 64).unwrap_or_default();
                prop_assert!(made.len() as u64 <= FREE + 600 * MOST_RATIO);
            }
        }

        /// What some of a body gives whoever has it is no more than was given here for it.
        #[test]
        fn no_part_gives_more_than_was_made(
            words in proptest::collection::vec("[a-d]{1,9}", 1..300),
            level in 0u8..10,
            at in 0usize..4000,
            part in 1usize..80,
        ) {
            let text = words.join(" ");
            let packed = compress_to_vec(text.as_bytes(), level);
            let at = at.min(packed.len());
            let (mut unpacking, mut made) = (Unpacking::new(Packing::Deflate), Vec::new());
            for part in packed[..at].chunks(part) {
                unpacking.push(part, &mut made).unwrap();
            }
            let mut room = vec![0; 1 << 16];
            let all = decompress(&mut DecompressorOxide::new(), &packed[..at], &mut room, 0, TINFL_FLAG_HAS_MORE_INPUT | 4).2;
            prop_assert_eq!(&room[..all], &made[..]);
        }
    }
}
