//! The values of a session that must not leave it, found again in any text, however spelled.
//!
//! Values and texts are compared in a canonical form ([`fold`]) that knows neither case nor
//! spacing, digits that stand for letters, nor lookalikes. A value is kept forwards, backwards, in
//! its halves, and with its letters exchanged (rot13, rot47, Atbash); encodings are undone before
//! the search.
//!
//! The search is one pass: the first [`GRAM`] canonical letters at each place are looked up in a
//! filter of some kilobytes, and where that says yes, in a table of the values that begin so. It
//! stands in for an automaton (Aho and Corasick, 1975) and finds the same in about the same time
//! (`cargo xtask bench guard latency` measures both). The states of one are the values themselves,
//! spread over tens of megabytes that nothing erases and that are built anew for each value; here
//! every value lies in one piece that is overwritten when it is forgotten.

mod fold;
mod trail;

use core::ops::Range;

use sha2::{Digest as _, Sha256};
use thiserror::Error;
use zeroize::{Zeroize as _, Zeroizing};

pub use fold::{Folded, letters, shifted};
pub use trail::Trail;

/// Canonical letters that a place is looked up by.
const GRAM: usize = 6;
/// Least canonical letters of a value.
pub const LEAST: usize = 6;
/// Canonical letters from which a value is found across spaces.
const SPACED: usize = 9;
/// Bits of the filter, as a power of two.
const FILTER_BITS: u32 = 18;
/// Most bytes of a value.
pub const MOST_VALUE: usize = 16 * 1024;

/// A name for a value that says nothing about it to who lacks the session's key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TaintId(u64);

impl core::fmt::Debug for TaintId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "t-{:016x}", self.0)
    }
}

impl core::fmt::Display for TaintId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "t-{:016x}", self.0)
    }
}

/// Why a value is not registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// So short or uniform that it stands in every other text.
    #[error("the value is too short or too uniform to be told from other text")]
    TooPlain,
    /// Longer than [`MOST_VALUE`].
    #[error("the value is longer than {MOST_VALUE} bytes")]
    TooLong,
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Itself,
    Half,
    Backwards,
    Exchanged,
}

impl Form {
    const fn told(self) -> &'static str {
        match self {
            Self::Itself => "a registered value",
            Self::Half => "half of a registered value",
            Self::Backwards => "a registered value backwards",
            Self::Exchanged => "a registered value with its letters exchanged",
        }
    }
}

struct Needle {
    id: TaintId,
    form: Form,
    letters: Zeroizing<Vec<u8>>,
}

/// The registered values.
pub struct Registry {
    key: Zeroizing<[u8; 32]>,
    needles: Vec<Needle>,
    /// A bit for what two hashes of a needle's first letters say.
    filter: Vec<u64>,
    /// Needles by the hash of their first letters: slots of an open table, 0 for none.
    table: Vec<u32>,
    longest: usize,
    values: usize,
}

impl core::fmt::Debug for Registry {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Registry").field("values", &self.values).finish_non_exhaustive()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.filter.zeroize();
        self.table.zeroize();
    }
}

/// A value found in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Which one.
    pub id: TaintId,
    /// How it is written there.
    pub told: &'static str,
    /// Whether only a half of it stands there.
    pub half: bool,
    /// The canonical letters it takes.
    pub letters: Range<usize>,
}

impl Registry {
    /// A registry whose ids are keyed with this key, which is the session's.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self {
            key: Zeroizing::new(key),
            needles: Vec::new(),
            filter: vec![0; 1 << (FILTER_BITS - 6)],
            table: vec![0; 1 << 6],
            longest: 0,
            values: 0,
        }
    }

    /// Whether nothing is registered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.needles.is_empty()
    }

    /// Canonical letters of the longest value: what a stream has to hold back.
    #[must_use]
    pub const fn longest(&self) -> usize {
        self.longest
    }

    /// The id of a value, registered or not.
    #[must_use]
    pub fn id(&self, value: &str) -> TaintId {
        let digest = Sha256::new().chain_update(*self.key).chain_update(value.as_bytes()).finalize();
        TaintId(u64::from_be_bytes(core::array::from_fn(|at| digest[at])))
    }

    /// Registers a value.
    ///
    /// # Errors
    /// See [`Refused`]. Nothing is registered then.
    pub fn add(&mut self, value: &str) -> Result<TaintId, Refused> {
        if value.len() > MOST_VALUE {
            return Err(Refused::TooLong);
        }
        let letters = Zeroizing::new(fold::letters(value));
        if !telling(value, &letters) {
            return Err(Refused::TooPlain);
        }
        let id = self.id(value);
        if self.needles.iter().any(|needle| needle.id == id) {
            return Ok(id);
        }
        self.values += 1;
        self.longest = self.longest.max(letters.len());
        let half = letters.len() / 2;
        if half >= SPACED {
            self.keep(id, Form::Half, letters[..half].to_vec());
            self.keep(id, Form::Half, letters[half..].to_vec());
        }
        self.keep(id, Form::Backwards, letters.iter().rev().copied().collect());
        for exchange in fold::EXCHANGES {
            let exchanged = Zeroizing::new(value.chars().map(exchange).collect::<String>());
            let exchanged = fold::letters(&exchanged);
            if exchanged.len() >= SPACED && exchanged != *letters {
                self.keep(id, Form::Exchanged, exchanged);
            }
        }
        self.keep(id, Form::Itself, letters.to_vec());
        Ok(id)
    }

    fn keep(&mut self, id: TaintId, form: Form, letters: Vec<u8>) {
        self.needles.push(Needle { id, form, letters: Zeroizing::new(letters) });
        if self.needles.len() * 4 > self.table.len() {
            self.table.zeroize();
            self.table.clear();
            self.table.resize(self.needles.len().next_power_of_two() * 8, 0);
            (0..self.needles.len()).for_each(|place| self.enter(place));
        } else {
            self.enter(self.needles.len() - 1);
        }
    }

    fn enter(&mut self, place: usize) {
        let hash = gram_hash(gram(&self.needles[place].letters));
        for bit in bits(hash) {
            self.filter[bit >> 6] |= 1 << (bit & 63);
        }
        let mask = self.table.len() - 1;
        let mut slot = (hash >> 40) as usize & mask;
        while self.table[slot] != 0 {
            slot = (slot + 1) & mask;
        }
        self.table[slot] = u32::try_from(place + 1).unwrap_or(u32::MAX);
    }

    /// Every registered value in the folded text; of those at one place the longest.
    pub fn search(&self, text: &Folded<'_>, hits: &mut Vec<Hit>) {
        let alone = |letters: &Range<usize>| text.stands_alone(letters);
        self.search_letters(text.letters(), &alone, hits);
    }

    /// Every registered value of which only each second letter is of it.
    pub fn search_between(&self, text: &Folded<'_>, hits: &mut Vec<Hit>) {
        for phase in 0..2 {
            let letters = Zeroizing::new(text.every_second(phase));
            let from = hits.len();
            self.search_letters(&letters, &|_| false, hits);
            for hit in &mut hits[from..] {
                hit.letters = hit.letters.start * 2 + phase..hit.letters.end * 2 - 1 + phase;
            }
        }
    }

    fn search_letters(&self, letters: &[u8], alone: &dyn Fn(&Range<usize>) -> bool, hits: &mut Vec<Hit>) {
        if self.needles.is_empty() || letters.len() < GRAM {
            return;
        }
        let mut gram =
            letters[..GRAM - 1].iter().rev().fold(0u64, |gram, letter| gram << 8 | u64::from(*letter)) << 8;
        for (at, letter) in letters[GRAM - 1..].iter().enumerate() {
            gram = gram >> 8 | u64::from(*letter) << (8 * (GRAM - 1));
            let hash = gram_hash(gram);
            let [first, second] = bits(hash);
            if self.filter[first >> 6] >> (first & 63) & 1 == 1
                && self.filter[second >> 6] >> (second & 63) & 1 == 1
            {
                self.verify(letters, alone, at, hash, hits);
            }
        }
    }

    #[cold]
    fn verify(
        &self,
        letters: &[u8],
        alone: &dyn Fn(&Range<usize>) -> bool,
        at: usize,
        hash: u64,
        hits: &mut Vec<Hit>,
    ) {
        let mask = self.table.len() - 1;
        let mut slot = (hash >> 40) as usize & mask;
        let mut best: Option<&Needle> = None;
        while let Some(needle) = (self.table[slot] as usize).checked_sub(1).map(|place| &self.needles[place])
        {
            slot = (slot + 1) & mask;
            let fits = letters[at..].starts_with(&needle.letters);
            if fits && best.is_none_or(|best| best.letters.len() < needle.letters.len()) {
                let end = at + needle.letters.len();
                if needle.letters.len() >= SPACED || alone(&(at..end)) {
                    best = Some(needle);
                }
            }
        }
        let Some(needle) = best else { return };
        hits.push(Hit {
            id: needle.id,
            told: needle.form.told(),
            half: needle.form == Form::Half,
            letters: at..at + needle.letters.len(),
        });
    }
}

/// The first letters of a needle as one number.
fn gram(letters: &[u8]) -> u64 {
    letters[..GRAM].iter().rev().fold(0, |gram, letter| gram << 8 | u64::from(*letter))
}

/// A hash of the first letters. No key: the table is no longer there when its values are not.
#[inline]
const fn gram_hash(gram: u64) -> u64 {
    gram.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[inline]
const fn bits(hash: u64) -> [usize; 2] {
    [(hash >> (64 - FILTER_BITS)) as usize, (hash >> 28) as usize & ((1 << FILTER_BITS) - 1)]
}

/// Whether a value can be told from other text: long enough, and of enough different letters for
/// its length. Four digits are not; six of a mixed password are.
fn telling(value: &str, letters: &[u8]) -> bool {
    let mut seen: Vec<char> = value.chars().filter(|c| c.is_alphanumeric()).collect();
    let digits = seen.iter().all(char::is_ascii_digit);
    seen.sort_unstable();
    seen.dedup();
    let least = if digits { 8 } else { LEAST };
    letters.len() >= least && seen.len() >= if letters.len() < 12 { 4 } else { 3 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(values: &[&str]) -> Registry {
        let mut registry = Registry::new([7; 32]);
        for value in values {
            registry.add(value).unwrap();
        }
        registry
    }

    fn found(registry: &Registry, text: &str) -> Vec<(TaintId, Range<usize>)> {
        let folded = Folded::new(text);
        let mut hits = Vec::new();
        registry.search(&folded, &mut hits);
        hits.into_iter().map(|hit| (hit.id, folded.span(&hit.letters))).collect()
    }

    #[test]
    fn a_value_is_found_however_it_is_spaced_cased_or_turned() {
        let registry = registry(&["k3Yq-Zt91-pLm4"]);
        let id = registry.id("k3Yq-Zt91-pLm4");
        for text in [
            "k3Yq-Zt91-pLm4",
            "K3YQ-ZT91-PLM4",
            "k 3 Y q - Z t 9 1 - p L m 4",
            "k3yqzt91plm4",
            "4mLp-19tZ-qY3k",
            "x3Ld-Mg91-cYz4",
            "k\n3\nY\nq\nZ\nt\n9\n1\np\nL\nm\n4",
            "key is kEYqZt91pLm4!",
        ] {
            assert_eq!(found(&registry, text).first().map(|(id, _)| *id), Some(id), "{text}");
        }
        assert_eq!(found(&registry, "value: k3Yq-Zt91-pLm4."), vec![(id, 7..21)]);
        assert_eq!(found(&registry, "k3Yq-Zt91-pLm"), vec![]);
    }

    #[test]
    fn what_stands_everywhere_is_not_registered() {
        let mut registry = Registry::new([0; 32]);
        for value in ["1234", "", "aaaaaaaaaaaa", "----------", "202611", "abc"] {
            assert_eq!(registry.add(value), Err(Refused::TooPlain), "{value}");
        }
        assert_eq!(registry.add(&"ab3d".repeat(5000)), Err(Refused::TooLong));
        assert!(registry.is_empty());
    }

    #[test]
    fn ids_depend_on_the_key_and_say_nothing() {
        let ids = [[1; 32], [2; 32]].map(|key| Registry::new(key).id("correct horse battery"));
        assert_ne!(ids[0], ids[1]);
        let debug = format!("{:?}", registry(&["correct horse battery"]));
        assert!(!debug.contains("horse") && debug.contains("values: 1"), "{debug}");
    }

    #[test]
    fn thousands_of_values_are_each_found_and_nothing_else() {
        let values: Vec<String> =
            (0u64..2000).map(|n| format!("v{:016x}", (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
        let registry = registry(&values.iter().map(String::as_str).collect::<Vec<_>>());
        for value in &values {
            assert_eq!(found(&registry, &format!("see {value} there"))[0].0, registry.id(value));
        }
        assert_eq!(
            found(&registry, "the quick brown fox jumps over the lazy dog ".repeat(99).as_str()),
            vec![]
        );
    }
}
