//! What was last said in a channel, so that a value in pieces is found in the one that ends it.

use zeroize::Zeroizing;

use super::{Before, Folded, Registry};

/// The last canonical letters of a channel, and which values it has pieces of.
#[derive(Default)]
pub struct Trail {
    letters: Zeroizing<Vec<u8>>,
    pub(crate) before: Before,
}

impl core::fmt::Debug for Trail {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Trail({} letters)", self.letters.len())
    }
}

impl Trail {
    /// Folds the next text behind what was said before.
    pub(crate) fn fold<'a>(&self, text: &'a str) -> Folded<'a> {
        Folded::after(&self.letters, text)
    }

    /// What it knows of pieces, to look at a text that does not go on its letters.
    pub(crate) fn without_letters(&mut self) -> Self {
        Self { letters: Zeroizing::default(), before: core::mem::take(&mut self.before) }
    }

    /// Knows of pieces what this one does.
    pub(crate) fn take_pieces(&mut self, other: Self) {
        self.before = other.before;
    }

    /// Keeps as much of it as the longest value can reach back.
    pub(crate) fn keep(&mut self, folded: &Folded<'_>, registry: &Registry) {
        let letters = folded.letters();
        let from = letters.len() - letters.len().min(registry.longest().saturating_sub(1));
        self.letters = Zeroizing::new(letters[from..].to_vec());
    }
}
