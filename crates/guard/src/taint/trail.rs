//! What was last said in a channel, so that a value in pieces is found in the one that ends it.

use zeroize::Zeroizing;

use super::{Folded, Registry};

/// The last canonical letters of a channel.
#[derive(Default)]
pub struct Trail {
    letters: Zeroizing<Vec<u8>>,
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

    /// Keeps as much of it as the longest value can reach back.
    pub(crate) fn keep(&mut self, folded: &Folded<'_>, registry: &Registry) {
        let letters = folded.letters();
        let from = letters.len() - letters.len().min(registry.longest().saturating_sub(1));
        self.letters = Zeroizing::new(letters[from..].to_vec());
    }
}
