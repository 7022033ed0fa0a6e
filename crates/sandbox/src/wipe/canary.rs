//! A random pattern to plant where an app's data lives and to look for afterwards.
//!
//! The pattern is kept masked, so that a search of this very process finds plants, not the
//! searcher. Its search never unmasks it either.

use std::fmt;

/// Length of the pattern in bytes: whole groups of base64.
const RAW_LEN: usize = 33;
/// Length of its longest encoding.
pub(super) const MAX_LEN: usize = 2 * RAW_LEN;
const MASK_LEN: usize = 64 - RAW_LEN;
/// Multiplier of Fibonacci hashing: 2^64 divided by the golden ratio.
const HASH: u64 = 0x9e37_79b9_7f4a_7c15;

/// How a pattern is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Encoding {
    /// As it is.
    Raw,
    /// Standard base64.
    Base64,
    /// Lower-case hexadecimal digits.
    Hex,
}

impl Encoding {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Raw, Self::Base64, Self::Hex];

    const fn len(self) -> usize {
        match self {
            Self::Raw => RAW_LEN,
            Self::Base64 => RAW_LEN / 3 * 4,
            Self::Hex => 2 * RAW_LEN,
        }
    }
}

/// A pattern and what is needed to find it fast.
///
/// Every occurrence covers at least one aligned word of eight bytes that starts at one of its
/// first eight bytes. So a search hashes each aligned word once and looks closer only at the few
/// that a bitmap lets through.
pub struct Canary {
    masked: [u8; RAW_LEN],
    mask: [u8; MASK_LEN],
    filter: Box<[u64; 1024]>,
    words: Vec<Word>,
}

#[derive(Clone, Copy)]
struct Word {
    masked: u64,
    encoding: Encoding,
    /// Of the word in the encoded pattern.
    offset: usize,
}

impl Canary {
    /// Makes a pattern from entropy, which it overwrites.
    pub fn new(entropy: &mut [u8; 64]) -> Self {
        let mut canary = Self {
            masked: [0; RAW_LEN],
            mask: [0; MASK_LEN],
            filter: Box::new([0; 1024]),
            words: Vec::with_capacity(24),
        };
        canary.mask.copy_from_slice(&entropy[RAW_LEN..]);
        for (i, byte) in canary.masked.iter_mut().enumerate() {
            // A mask byte of zero would leave a byte of the pattern in the open.
            *byte = entropy[i] ^ canary.mask[i % MASK_LEN];
        }
        for byte in entropy.iter_mut() {
            // SAFETY: a valid reference; volatile so that the store is kept.
            unsafe { std::ptr::write_volatile(byte, 0) };
        }
        for encoding in Encoding::ALL {
            for offset in 0..8 {
                let word = (0..8).fold(0, |w, i| w | u64::from(canary.byte(encoding, offset + i)) << (8 * i));
                let slot = slot(word);
                canary.filter[slot / 64] |= 1 << (slot % 64);
                canary.words.push(Word { masked: word ^ canary.word_mask(), encoding, offset });
            }
        }
        canary
    }

    /// The pattern in the open, for planting.
    pub fn reveal(&self, encoding: Encoding) -> Vec<u8> {
        (0..encoding.len()).map(|i| self.byte(encoding, i)).collect()
    }

    fn word_mask(&self) -> u64 {
        (0..8).fold(0, |w, i| w << 8 | u64::from(self.mask[i]))
    }

    fn raw(&self, i: usize) -> u8 {
        self.masked[i] ^ self.mask[i % MASK_LEN]
    }

    /// One byte of the encoded pattern.
    fn byte(&self, encoding: Encoding, i: usize) -> u8 {
        match encoding {
            Encoding::Raw => self.raw(i),
            Encoding::Base64 => {
                const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
                let at = i / 4 * 3;
                let group = u32::from(self.raw(at)) << 16
                    | u32::from(self.raw(at + 1)) << 8
                    | u32::from(self.raw(at + 2));
                DIGITS[(group >> (18 - 6 * (i % 4)) & 63) as usize]
            }
            Encoding::Hex => {
                let byte = self.raw(i / 2);
                b"0123456789abcdef"[usize::from(if i.is_multiple_of(2) { byte >> 4 } else { byte & 15 })]
            }
        }
    }

    /// Calls `hit` with the offset and encoding of every occurrence that lies wholly in `bytes`.
    pub fn find(&self, bytes: &[u8], hit: &mut dyn FnMut(usize, Encoding)) {
        let (words, _) = bytes.as_chunks::<8>();
        for (index, chunk) in words.iter().enumerate() {
            let word = u64::from_le_bytes(*chunk);
            let slot = slot(word);
            if self.filter[slot / 64] >> (slot % 64) & 1 == 1 {
                self.look_closer(bytes, index * 8, word, hit);
            }
        }
    }

    #[cold]
    fn look_closer(&self, bytes: &[u8], at: usize, word: u64, hit: &mut dyn FnMut(usize, Encoding)) {
        let masked = word ^ self.word_mask();
        for candidate in self.words.iter().filter(|w| w.masked == masked) {
            let Some(start) = at.checked_sub(candidate.offset) else { continue };
            let Some(found) = bytes.get(start..start + candidate.encoding.len()) else { continue };
            if found.iter().enumerate().all(|(i, &b)| b == self.byte(candidate.encoding, i)) {
                hit(start, candidate.encoding);
            }
        }
    }
}

fn slot(word: u64) -> usize {
    (word.wrapping_mul(HASH) >> 48) as usize
}

impl fmt::Debug for Canary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Canary(redacted)")
    }
}

#[cfg(test)]
pub(super) fn test_canary() -> Canary {
    let mut entropy = [0; 64];
    let got = rustix::rand::getrandom(&mut entropy[..], rustix::rand::GetRandomFlags::empty()).unwrap();
    assert_eq!(got, 64);
    Canary::new(&mut entropy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn encodings_are_the_standard_ones() {
        let mut entropy = [0u8; 64];
        entropy[..RAW_LEN].copy_from_slice(b"The quick brown fox jumps over th");
        entropy[RAW_LEN..].fill(0x5a);
        let canary = Canary::new(&mut entropy);
        assert_eq!(entropy, [0; 64]);
        let text = |e| String::from_utf8(canary.reveal(e)).unwrap();
        assert_eq!(text(Encoding::Raw), "The quick brown fox jumps over th");
        assert_eq!(text(Encoding::Base64), "VGhlIHF1aWNrIGJyb3duIGZveCBqdW1wcyBvdmVyIHRo");
        assert_eq!(text(Encoding::Hex), "54686520717569636b2062726f776e20666f78206a756d7073206f766572207468");
    }

    proptest! {
        #[test]
        fn it_is_found_at_every_offset_and_only_whole(
            before in 0usize..40, after in 0usize..20, which in 0usize..3, cut in any::<bool>()
        ) {
            let canary = test_canary();
            let encoding = Encoding::ALL[which];
            let mut bytes = vec![0x20u8; before];
            bytes.extend(canary.reveal(encoding));
            if cut && let Some(last) = bytes.last_mut() {
                *last ^= 1;
            }
            bytes.extend(vec![0u8; after]);
            let mut hits = Vec::new();
            canary.find(&bytes, &mut |at, e| hits.push((at, e)));
            let expected = if cut { vec![] } else { vec![(before, encoding)] };
            prop_assert_eq!(hits, expected);
        }
    }
}
