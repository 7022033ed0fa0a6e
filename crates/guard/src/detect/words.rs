//! Many words looked for at once, whatever their case in ASCII.
//!
//! A table of four KiB tells of three bytes whether any word begins so, and nearly all places end
//! there; what passes is compared. An automaton answers the same and reads its states, megabytes of
//! them, from wherever they lie: with this what a text costs hangs less on what the caches hold.

use core::ops::Range;

/// Places that are compared before those of them that nothing can stand before are told.
const MOST_PENDING: usize = if cfg!(test) { 4 } else { 256 };
/// Values of three bytes in the table.
const KEYS: usize = 1 << 15;

/// A word that stands in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hit {
    end: usize,
    start: usize,
    /// Which of the words, as they were listed.
    pub word: usize,
}

impl Hit {
    /// Where it stands, in bytes.
    pub const fn span(&self) -> Range<usize> {
        self.start..self.end
    }
}

#[derive(Clone, Debug)]
struct Word {
    /// Its first eight bytes in small letters, and which of these it has.
    head: u64,
    mask: u64,
    /// In small letters.
    letters: Box<[u8]>,
    place: usize,
}

/// The words.
#[derive(Clone, Debug)]
pub struct Words {
    /// A bit for each key that a word begins with.
    known: Box<[u64; KEYS / 64]>,
    /// The words of each key among `words`: from here to the next one's.
    from: Box<[u16]>,
    words: Vec<Word>,
}

impl Words {
    /// Those of a list, of at least two bytes each.
    ///
    /// # Panics
    /// When one is shorter, or there are too many: the lists are constants, and tests read each.
    pub fn new<T: AsRef<[u8]>>(list: impl IntoIterator<Item = T>) -> Self {
        let mut keyed: Vec<(usize, Word)> = Vec::new();
        for (place, word) in list.into_iter().enumerate() {
            let letters: Box<[u8]> = word.as_ref().to_ascii_lowercase().into();
            assert!(letters.len() >= 2, "a word of one letter");
            let (head, shown) = (head(&letters), letters.len().min(8));
            let word = Word { head, mask: u64::MAX >> (64 - 8 * shown), letters, place };
            let key = usize::from(CLASSES[usize::from(word.letters[0])]) << 10
                | usize::from(CLASSES[usize::from(word.letters[1])]) << 5;
            match word.letters.get(2) {
                Some(third) => keyed.push((key | usize::from(CLASSES[usize::from(*third)]), word)),
                None => keyed.extend((0..32).map(|third| (key | third, word.clone()))),
            }
        }
        keyed.sort_by_key(|(key, _)| *key);
        let mut known = Box::new([0; KEYS / 64]);
        let mut from = vec![0u16; KEYS + 1];
        for (key, _) in &keyed {
            known[key / 64] |= 1 << (key % 64);
            from[key + 1] += 1;
        }
        for key in 0..KEYS {
            from[key + 1] = from[key + 1].checked_add(from[key]).expect("fewer than 65,536 words");
        }
        Self { known, from: from.into(), words: keyed.into_iter().map(|(_, word)| word).collect() }
    }

    /// Tells of every place of every word, by where they end, of one end the longest first.
    pub fn each(&self, text: &[u8], mut tell: impl FnMut(Hit)) {
        let mut pending: Vec<Hit> = Vec::new();
        let mut from = 0;
        while let Some((at, key)) = self.next(text, from) {
            // What begins here or later ends later than all that ends here.
            if pending.len() > MOST_PENDING {
                pending.sort_unstable();
                let over = pending.partition_point(|hit| hit.end <= at);
                pending.drain(..over).for_each(&mut tell);
            }
            pending.extend(self.at(text, at, key));
            from = at + 1;
        }
        pending.sort_unstable();
        pending.into_iter().for_each(tell);
    }

    /// Tells of the words that begin first, of these the longest, and nothing that it overlaps.
    pub fn leftmost(&self, text: &[u8], mut tell: impl FnMut(Hit)) {
        let mut from = 0;
        while let Some((at, key)) = self.next(text, from) {
            let longest = self.at(text, at, key).max();
            from = longest.map_or(at + 1, |hit| hit.end);
            longest.into_iter().for_each(&mut tell);
        }
    }

    /// The next place at which a word may begin, and the key of what stands there.
    #[inline]
    fn next(&self, text: &[u8], from: usize) -> Option<(usize, usize)> {
        let rest = text.get(from..).filter(|rest| rest.len() >= 2)?;
        let known = |key: u32| self.known[key as usize / 64] >> (key % 64) & 1 == 1;
        let class = |byte: u8| u32::from(CLASSES[usize::from(byte)]);
        let mut key = class(rest[0]) << 5 | class(rest[1]);
        for (place, third) in rest[2..].iter().enumerate() {
            key = (key << 5 | class(*third)) & (KEYS as u32 - 1);
            if known(key) {
                return Some((from + place, key as usize));
            }
        }
        // Nothing stands behind the last two.
        key = key << 5 & (KEYS as u32 - 1);
        known(key).then_some((text.len() - 2, key as usize))
    }

    fn at<'a>(&'a self, text: &'a [u8], at: usize, key: usize) -> impl Iterator<Item = Hit> + 'a {
        let rest = &text[at..];
        let read = head(rest);
        self.words[usize::from(self.from[key])..usize::from(self.from[key + 1])]
            .iter()
            .filter(move |word| {
                let length = word.letters.len();
                read & word.mask == word.head
                    && rest.len() >= length
                    && (length <= 8 || rest[8..length].eq_ignore_ascii_case(&word.letters[8..]))
            })
            .map(move |word| Hit { end: at + word.letters.len(), start: at, word: word.place })
    }
}

/// The first eight bytes in small letters; zeros where there are fewer.
fn head(bytes: &[u8]) -> u64 {
    let mut read = [0; 8];
    let length = bytes.len().min(8);
    read[..length].copy_from_slice(&bytes[..length]);
    u64::from_le_bytes(read.map(|byte| byte.to_ascii_lowercase()))
}

/// Five bits of each byte, the same for a letter and its capital. What words of two bytes are made of
/// is told apart from all else.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let small = (byte as u8).to_ascii_lowercase();
        classes[byte] = match small {
            b'j' | b'q' | b'x' | b'z' => 23,
            b'a'..=b'i' => small - b'a' + 1,
            b'k'..=b'p' => small - b'k' + 10,
            b'r'..=b'w' => small - b'r' + 16,
            b'y' => 22,
            b'1' => 24,
            b'2' => 25,
            b'0'..=b'9' => 26,
            b'.' => 27,
            b'/' => 28,
            b'_' | b'-' => 29,
            b' ' => 30,
            0x80.. => small & 31,
            _ => 31,
        };
        byte += 1;
    }
    classes
};

#[cfg(test)]
mod tests {
    use aho_corasick::{AhoCorasick, MatchKind};
    use proptest::prelude::*;

    use super::*;

    fn automaton(words: &[String], kind: MatchKind) -> AhoCorasick {
        AhoCorasick::builder().ascii_case_insensitive(true).match_kind(kind).build(words).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn they_are_found_where_an_automaton_finds_them_and_in_its_order(
            words in proptest::collection::hash_set("[abAé. ]{1,5}[ab]", 1..40),
            text in "[abABé. ]{0,900}",
        ) {
            // Of two words that differ in case alone one is enough.
            let mut words: Vec<String> = words.into_iter().map(|word| word.to_ascii_lowercase()).collect();
            words.sort();
            words.dedup();
            let mut hits = Vec::new();
            Words::new(&words).each(text.as_bytes(), |hit| hits.push((hit.word, hit.span())));
            let theirs: Vec<_> = automaton(&words, MatchKind::Standard)
                .find_overlapping_iter(&text).map(|hit| (hit.pattern().as_usize(), hit.range())).collect();
            prop_assert_eq!(hits, theirs);
            let mut hits = Vec::new();
            Words::new(&words).leftmost(text.as_bytes(), |hit| hits.push((hit.word, hit.span())));
            let theirs: Vec<_> = automaton(&words, MatchKind::LeftmostLongest)
                .find_iter(&text).map(|hit| (hit.pattern().as_usize(), hit.range())).collect();
            prop_assert_eq!(hits, theirs);
        }
    }
}
