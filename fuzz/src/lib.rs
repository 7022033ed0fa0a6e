//! What the fuzz targets share: where seeds go, and how bytes become choices.
//!
//! A target states properties and holds code to them; whatever panics is a finding. Seeds are
//! written by the targets themselves, from the code's own writers, so none can go stale.

#![forbid(unsafe_code)]

use std::path::Path;

/// Names the folder that a target writes its seeds to when it starts.
pub const SEEDS: &str = "SESSILE_FUZZ_SEEDS";

/// Writes seeds where the fuzzer, which starts after this, reads them.
///
/// # Panics
/// When the folder cannot be written to: without seeds, a target hardly gets anywhere.
pub fn plant<S: AsRef<[u8]>>(seeds: impl IntoIterator<Item = S>) {
    let Some(folder) = std::env::var_os(SEEDS) else { return };
    for (number, seed) in seeds.into_iter().enumerate() {
        let path = Path::new(&folder).join(format!("seed-{number}"));
        std::fs::write(&path, seed).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
    }
}

/// Takes choices off the front of an input. What is missing counts as zeros.
#[derive(Clone, Copy, Debug)]
pub struct Draw<'a>(pub &'a [u8]);

impl<'a> Draw<'a> {
    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// The next two bytes.
    pub fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// The next bytes, as many as there are up to `count`.
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A short run of bytes: its length is drawn first.
    pub fn run(&mut self) -> &'a [u8] {
        let count = usize::from(self.byte());
        self.bytes(count)
    }

    /// Whether all bytes are taken.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Checks that a value survives being written and read again: what one process accepts, the next
/// one reads as the same.
///
/// # Panics
/// When it does not.
pub fn survives<T>(value: &T)
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let json = serde_json::to_vec(value).expect("what was read can be written");
    let again: T = serde_json::from_slice(&json).expect("what was written can be read");
    assert_eq!(*value, again, "what is written is what was read");
}
