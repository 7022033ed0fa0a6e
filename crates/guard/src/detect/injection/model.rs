//! A linear model over words and pairs of words.
//!
//! A window's score is the sum of its terms' weights divided by the square root of their number,
//! and the bias. The weights are data: `weights.tsv` is written by `cargo xtask train`, a word or
//! a pair and its weight on each line, and read once.

use std::sync::OnceLock;

use super::words::{Sentence, Term, pair, read, term};

/// Windows in sentences; the last is the whole text.
pub const WINDOWS: [usize; 4] = [1, 3, 8, usize::MAX];

/// Bits of the filter before the table, as a power of two.
const KNOWN_BITS: u32 = 17;

/// Terms below which a window is too short to be judged by its words.
const LEAST_TERMS: f32 = 6.0;

/// Weights by term, in an open table.
#[derive(Clone, Debug)]
pub struct Model {
    slots: Vec<(Term, f32)>,
    /// A bit for each term, so that what has no weight is seldom looked up.
    known: Vec<u64>,
    bias: f32,
    /// A window with this score or more counts.
    threshold: f32,
}

/// A window of sentences and its score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Its first sentence.
    pub from: usize,
    /// The sentence after its last.
    pub to: usize,
    /// Above the threshold where it is an attack.
    pub score: f32,
}

impl Model {
    /// The shipped one.
    ///
    /// # Panics
    /// When the file of weights is malformed: a test reads it.
    #[must_use]
    pub fn shipped() -> &'static Self {
        static SHIPPED: OnceLock<Model> = OnceLock::new();
        SHIPPED.get_or_init(|| Self::parse(include_str!("weights.tsv")).expect("the weights are well formed"))
    }

    /// Reads a file of weights; `None` where it is malformed.
    #[must_use]
    pub fn parse(file: &str) -> Option<Self> {
        let (mut weights, mut bias, mut threshold) = (Vec::new(), None, None);
        for line in file.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let (name, weight) = line.split_once('\t')?;
            let weight: f32 = weight.parse().ok()?;
            match name {
                "(bias)" => bias = Some(weight),
                "(threshold)" => threshold = Some(weight),
                _ => {
                    let hash =
                        name.split_once(' ').map_or_else(|| term(name), |(a, b)| pair(term(a), term(b)));
                    weights.push((hash, weight));
                }
            }
        }
        Some(Self::new(&weights, bias?, threshold?))
    }

    /// A model of these weights.
    #[must_use]
    pub fn new(weights: &[(Term, f32)], bias: f32, threshold: f32) -> Self {
        let mut slots = vec![(0, 0.0); (weights.len() * 2 + 1).next_power_of_two()];
        let mut known = vec![0u64; 1 << (KNOWN_BITS - 6)];
        for (hash, weight) in weights {
            let bit = Self::bit(*hash);
            known[bit >> 6] |= 1 << (bit & 63);
            let mut slot = Self::slot(*hash, slots.len());
            while slots[slot].0 != 0 && slots[slot].0 != *hash {
                slot = (slot + 1) & (slots.len() - 1);
            }
            slots[slot] = (*hash, *weight);
        }
        Self { slots, known, bias, threshold }
    }

    #[inline]
    const fn bit(hash: Term) -> usize {
        (hash >> 42) as usize & ((1 << KNOWN_BITS) - 1)
    }

    #[inline]
    const fn slot(hash: Term, slots: usize) -> usize {
        (hash >> 20) as usize & (slots - 1)
    }

    /// The weight of a term.
    #[inline]
    #[must_use]
    pub fn weight(&self, hash: Term) -> f32 {
        let bit = Self::bit(hash);
        if self.known[bit >> 6] >> (bit & 63) & 1 == 0 {
            return 0.0;
        }
        let mut slot = Self::slot(hash, self.slots.len());
        loop {
            let (other, weight) = self.slots[slot];
            if other == hash {
                return weight;
            }
            if other == 0 {
                return 0.0;
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }

    /// A window with this score or more counts as an attack.
    #[must_use]
    pub const fn threshold(&self) -> f32 {
        self.threshold
    }

    /// The sentences of a text, and their windows with the score of each.
    #[must_use]
    pub fn judge(&self, text: &str) -> (Vec<Sentence>, Vec<Window>) {
        let mut terms = Vec::with_capacity(text.len() / 2);
        let sentences = read(text, &mut terms);
        let mut sums = Vec::with_capacity(sentences.len() + 1);
        sums.push(0.0f32);
        let mut sum = 0.0;
        for sentence in &sentences {
            for term in &terms[sentence.terms.clone()] {
                sum += self.weight(*term);
            }
            sums.push(sum);
        }
        let windows = windows(&sentences)
            .map(|(from, to)| {
                let count = (sentences[to - 1].terms.end - sentences[from].terms.start) as f32;
                let score = self.bias + (sums[to] - sums[from]) / count.max(LEAST_TERMS).sqrt();
                Window { from, to, score }
            })
            .collect();
        (sentences, windows)
    }

    /// The score of a text: that of its highest window.
    #[must_use]
    pub fn score(&self, text: &str) -> f32 {
        self.judge(text).1.iter().map(|window| window.score).fold(f32::MIN, f32::max)
    }
}

/// Every window of every size, as its first sentence and the one after its last.
pub fn windows(sentences: &[Sentence]) -> impl Iterator<Item = (usize, usize)> {
    let count = sentences.len();
    WINDOWS.into_iter().enumerate().flat_map(move |(place, size)| {
        let smaller = place.checked_sub(1).map_or(0, |place| WINDOWS[place]);
        // Windows longer than the text are the text, once.
        let size = if count > smaller { size.min(count) } else { 0 };
        let starts = if size == 0 { 0 } else { count - size + 1 };
        (0..starts).map(move |from| (from, from + size))
    })
}
