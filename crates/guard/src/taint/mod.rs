//! The values of a session that must not leave it, found again in any text, however spelled.
//!
//! Values and texts are compared in a canonical form ([`fold`]) that knows neither case nor
//! spacing, digits that stand for letters, nor lookalikes. A value is kept forwards, backwards, in
//! its halves, and with its letters exchanged (rot13, rot47, Atbash); encodings are undone before
//! the search. One that is cut into pieces with something between them is put together ([`pieces`]).
//!
//! The search is one pass: the first [`GRAM`] canonical letters at each place are looked up in a
//! filter of some kilobytes, and where that says yes, in a table of the values that begin so. It
//! stands in for an automaton (Aho and Corasick, 1975) and finds the same in about the same time
//! (`cargo xtask bench guard latency` measures both). The states of one are the values themselves,
//! spread over tens of megabytes that nothing erases and that are built anew for each value; here
//! every value lies once, and once for each exchange of letters, in memory that is lent ([`Rooms`]), and so does
//! what could tell of it: the filter, the table and the key. Its halves and its letters backwards are read there.

mod fold;
mod pieces;
mod room;
mod trail;

use core::ops::Range;

use sha2::{Digest as _, Sha256};
use thiserror::Error;
use zeroize::Zeroizing;

pub use fold::{Folded, letters, shifted};
pub use pieces::{Before, Starts};
pub use room::{Heap, Room, Rooms};
pub use trail::Trail;

/// Canonical letters that a place is looked up by.
const GRAM: usize = 6;
/// The bytes that they take of a number.
const GRAM_MASK: u64 = (1 << (8 * GRAM)) - 1;
/// Least canonical letters of a value.
pub const LEAST: usize = 6;
/// Canonical letters from which a value is found across spaces.
const SPACED: usize = 9;
/// Bits of the filter, as a power of two.
const FILTER_BITS: u32 = 18;
/// Bytes of the filter.
pub const FILTER_BYTES: usize = 1 << (FILTER_BITS - 3);
/// Bytes of the key, which lies before all letters.
const KEY: usize = 32;
/// Bytes of a slot of the table.
const SLOT: usize = 4;
/// Slots of the first table.
const FIRST_SLOTS: usize = 1 << 6;
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
    /// There is no more memory for values.
    #[error("there is no room for more values")]
    Full,
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Itself,
    Half,
    /// Its second half, where that is too short to tell of it alone.
    Later,
    Backwards,
    Exchanged,
}

impl Form {
    const fn told(self) -> &'static str {
        match self {
            Self::Itself => "a registered value",
            Self::Half | Self::Later => "half of a registered value",
            Self::Backwards => "a registered value backwards",
            Self::Exchanged => "a registered value with its letters exchanged",
        }
    }

    const fn is_whole(self) -> bool {
        match self {
            Self::Itself | Self::Backwards | Self::Exchanged => true,
            Self::Half | Self::Later => false,
        }
    }
}

/// A form of a value; its letters lie elsewhere.
#[derive(Clone, Copy)]
struct Needle {
    id: TaintId,
    form: Form,
    start: u32,
    length: u32,
}

impl Needle {
    const fn length(self) -> usize {
        self.length as usize
    }

    /// Where its letters lie, backwards or not.
    const fn place(self) -> Range<usize> {
        self.start as usize..self.start as usize + self.length as usize
    }
}

/// The registered values.
pub struct Registry {
    /// In `filter` a bit for what two hashes of a needle's first letters say. In `table` needles by the hash of
    /// their first letters: slots of an open table, 0 for none. In `letters` the key, and what needles are of.
    rooms: Rooms,
    slots: usize,
    /// Bytes of letters that are taken.
    taken: usize,
    needles: Vec<Needle>,
    longest: usize,
    values: usize,
}

impl core::fmt::Debug for Registry {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Registry").field("values", &self.values).finish_non_exhaustive()
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
    /// A registry whose ids are keyed with this key, which is the session's, on the heap.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        // A heap has room.
        Self::within(Rooms::on_the_heap(), key).expect("a heap grows")
    }

    /// One that keeps what it knows in these rooms; `None` where they have no room for anything.
    #[must_use]
    pub fn within(mut rooms: Rooms, key: [u8; 32]) -> Option<Self> {
        let key = Zeroizing::new(key);
        let is_room = rooms.filter.grow(FILTER_BYTES)
            && rooms.table.grow(FIRST_SLOTS * SLOT)
            && rooms.letters.grow(KEY);
        is_room.then(|| {
            rooms.letters.bytes_mut()[..KEY].copy_from_slice(&*key);
            Self { rooms, slots: FIRST_SLOTS, taken: KEY, needles: Vec::new(), longest: 0, values: 0 }
        })
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
        let key = &self.rooms.letters.bytes()[..KEY];
        let digest = Sha256::new().chain_update(key).chain_update(value.as_bytes()).finalize();
        TaintId(u64::from_be_bytes(core::array::from_fn(|at| digest[at])))
    }

    /// Whether a value can be told from other text, so that it would be registered.
    #[must_use]
    pub fn tells(value: &str) -> bool {
        value.len() <= MOST_VALUE && telling(value, &Zeroizing::new(fold::letters(value)))
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
        let exchanged = fold::EXCHANGES.map(|exchange| {
            let exchanged = Zeroizing::new(value.chars().map(exchange).collect::<String>());
            Zeroizing::new(fold::letters(&exchanged))
        });
        let exchanged = || exchanged.iter().filter(|other| other.len() >= SPACED && **other != letters);
        let bytes = letters.len() + exchanged().map(|letters| letters.len()).sum::<usize>();
        let forms = 4 + exchanged().count();
        if !self.rooms.letters.grow(self.taken + bytes) || !self.make_slots(self.needles.len() + forms) {
            return Err(Refused::Full);
        }
        self.values += 1;
        self.longest = self.longest.max(letters.len());
        let (start, length) = (self.put(&letters), letters.len());
        let half = length / 2;
        if half >= SPACED {
            self.keep(id, Form::Half, start, half);
            self.keep(id, Form::Half, start + half, length - half);
        } else if length >= pieces::LEAST_PIECED.max(2 * GRAM) {
            self.keep(id, Form::Later, start + half, length - half);
        }
        self.keep(id, Form::Backwards, start, length);
        for letters in exchanged() {
            let start = self.put(letters);
            self.keep(id, Form::Exchanged, start, letters.len());
        }
        self.keep(id, Form::Itself, start, length);
        Ok(id)
    }

    /// Lays letters where there is room for them.
    fn put(&mut self, letters: &[u8]) -> usize {
        let start = self.taken;
        self.taken += letters.len();
        self.rooms.letters.bytes_mut()[start..self.taken].copy_from_slice(letters);
        start
    }

    /// Makes a table for so many needles.
    fn make_slots(&mut self, needles: usize) -> bool {
        if needles * 4 > self.slots {
            let slots = needles.next_power_of_two() * 4;
            if !self.rooms.table.grow(slots * SLOT) {
                return false;
            }
            self.slots = slots;
            self.rooms.table.bytes_mut().fill(0);
            (0..self.needles.len()).for_each(|place| self.enter(place));
        }
        true
    }

    fn keep(&mut self, id: TaintId, form: Form, start: usize, length: usize) {
        let number = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        self.needles.push(Needle { id, form, start: number(start), length: number(length) });
        self.enter(self.needles.len() - 1);
    }

    fn enter(&mut self, place: usize) {
        let needle = self.needles[place];
        let letters = &self.rooms.letters.bytes()[needle.place()];
        let hash = gram_hash(match needle.form {
            Form::Backwards => gram(letters.iter().rev()),
            Form::Itself | Form::Half | Form::Later | Form::Exchanged => gram(letters.iter()),
        });
        for bit in bits(hash) {
            self.rooms.filter.bytes_mut()[bit >> 3] |= 1 << (bit & 7);
        }
        let mask = self.slots - 1;
        let mut slot = (hash >> 40) as usize & mask;
        while self.slot(slot) != 0 {
            slot = (slot + 1) & mask;
        }
        let number = u32::try_from(place + 1).unwrap_or(u32::MAX);
        self.rooms.table.bytes_mut()[slot * SLOT..(slot + 1) * SLOT].copy_from_slice(&number.to_ne_bytes());
    }

    fn slot(&self, slot: usize) -> u32 {
        let bytes = &self.rooms.table.bytes()[slot * SLOT..];
        bytes.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    }

    /// Every registered value in the folded text, of those at one place the longest; and of which of them it holds
    /// a head alone.
    pub fn search(&self, text: &Folded<'_>, hits: &mut Vec<Hit>, starts: &mut Starts) {
        let alone = |letters: &Range<usize>| text.stands_alone(letters);
        self.search_letters(text.letters(), &alone, hits, Some(starts));
    }

    /// The same for values that stand there whole, or half.
    pub fn search_whole(&self, text: &Folded<'_>, hits: &mut Vec<Hit>) {
        let alone = |letters: &Range<usize>| text.stands_alone(letters);
        self.search_letters(text.letters(), &alone, hits, None);
    }

    /// Every registered value of which only each second letter is of it.
    pub fn search_between(&self, text: &Folded<'_>, hits: &mut Vec<Hit>) {
        for phase in 0..2 {
            let letters = Zeroizing::new(text.every_second(phase));
            let from = hits.len();
            self.search_letters(&letters, &|_| false, hits, None);
            for hit in &mut hits[from..] {
                hit.letters = hit.letters.start * 2 + phase..hit.letters.end * 2 - 1 + phase;
            }
        }
    }

    fn search_letters(
        &self,
        letters: &[u8],
        alone: &dyn Fn(&Range<usize>) -> bool,
        hits: &mut Vec<Hit>,
        mut starts: Option<&mut Starts>,
    ) {
        if self.needles.is_empty() || letters.len() < GRAM {
            return;
        }
        let Some(filter) = self.rooms.filter.bytes().first_chunk::<FILTER_BYTES>() else { return };
        let mut look = |at: usize, gram: u64| {
            let hash = gram_hash(gram);
            let [first, second] = bits(hash);
            if filter[first >> 3] >> (first & 7) & 1 == 1 && filter[second >> 3] >> (second & 7) & 1 == 1 {
                self.verify(letters, alone, at, hash, hits, starts.as_deref_mut());
            }
        };
        // Read as one number each, as far as there are as many letters as one has bytes.
        let wide = letters.windows(size_of::<u64>()).map(|window| window.first_chunk().copied());
        for (at, window) in wide.enumerate() {
            look(at, u64::from_le_bytes(window.unwrap_or_default()) & GRAM_MASK);
        }
        for at in letters.len().saturating_sub(size_of::<u64>() - 1)..=letters.len() - GRAM {
            look(at, gram(letters[at..].iter()));
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
        mut starts: Option<&mut Starts>,
    ) {
        let mask = self.slots - 1;
        let mut slot = (hash >> 40) as usize & mask;
        let mut best: Option<Needle> = None;
        while let Some(place) = (self.slot(slot) as usize).checked_sub(1) {
            let needle = self.needles[place];
            slot = (slot + 1) & mask;
            let run = self.run(needle, &letters[at..]);
            let is_all = run == needle.length();
            if let Some(starts) = starts.as_deref_mut().filter(|_| run >= GRAM)
                && !(is_all && needle.form.is_whole())
                && let Some(whole) = self.counts(place, run)
            {
                starts.note(whole, run);
            }
            if is_all && needle.form != Form::Later && best.is_none_or(|best| best.length < needle.length) {
                let end = at + needle.length();
                if needle.length() >= SPACED || alone(&(at..end)) {
                    best = Some(needle);
                }
            }
        }
        let Some(needle) = best else { return };
        hits.push(Hit {
            id: needle.id,
            told: needle.form.told(),
            half: needle.form == Form::Half,
            letters: at..at + needle.length(),
        });
    }

    /// How much of it these letters begin with.
    fn run(&self, needle: Needle, letters: &[u8]) -> usize {
        let own = &self.rooms.letters.bytes()[needle.place()];
        match needle.form {
            Form::Backwards => own.iter().rev().zip(letters).take_while(|(own, there)| own == there).count(),
            Form::Itself | Form::Half | Form::Later | Form::Exchanged => pieces::common(own, letters),
        }
    }
}

/// The first letters of a needle as one number.
fn gram<'a>(letters: impl Iterator<Item = &'a u8>) -> u64 {
    letters.take(GRAM).enumerate().fold(0, |gram, (at, letter)| gram | u64::from(*letter) << (8 * at))
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
        registry.search_whole(&folded, &mut hits);
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
    fn a_value_is_found_wherever_it_stands() {
        let registry = registry(&["k3Yq9v", "k3Yq-Zt91-pLm4"]);
        for value in ["k3yq9v", "k3yqzt91plm4"] {
            for (before, after) in (0..20).flat_map(|before| (0..20).map(move |after| (before, after))) {
                let text = format!("{} {value} {}", "x".repeat(before), "y".repeat(after));
                assert_eq!(found(&registry, &text).len(), 1, "{text}");
            }
        }
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
