//! A secret that the gateway holds for its apps.

use std::fmt;

use zeroize::Zeroizing;

/// Fewest bytes of what is taken for a secret by itself, without its scheme.
const SHORTEST: usize = 4;

/// Overwritten when dropped; never shown.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes it over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The secret itself.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// What must not be seen of it: the whole, then what follows its scheme (`Bearer`).
    pub fn forms(&self) -> impl Iterator<Item = &[u8]> {
        let token = self.0.iter().position(|b| *b == b' ').and_then(|at| self.0.get(at + 1..));
        [Some(self.expose()), token.filter(|t| t.len() >= SHORTEST)].into_iter().flatten()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(<redacted>)")
    }
}
