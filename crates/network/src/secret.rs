//! A secret that the gateway holds for its apps.

use std::fmt;

use sessile_vault::secret::{SecretError, SecretMemory};

/// Fewest bytes of what is taken for a secret by itself, without its scheme.
const SHORTEST: usize = 4;

/// In secret memory, overwritten when dropped, never shown.
pub struct Secret(SecretMemory);

impl Secret {
    /// Copies it into secret memory.
    ///
    /// # Errors
    /// When there is none, or nothing to copy.
    pub fn new(bytes: &[u8]) -> Result<Self, SecretError> {
        let mut memory = SecretMemory::create(bytes.len())?;
        memory.expose_mut().copy_from_slice(bytes);
        Ok(Self(memory))
    }

    /// The secret itself.
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }

    /// What must not be seen of it: what follows its scheme (`Bearer`), or the whole where there is
    /// none.
    pub fn core(&self) -> &[u8] {
        let whole = self.expose();
        let token = whole.iter().position(|b| *b == b' ').and_then(|at| whole.get(at + 1..));
        token.filter(|token| token.len() >= SHORTEST).unwrap_or(whole)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(<redacted>)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_is_no_secret() {
        let core =
            |text: &str| String::from_utf8(Secret::new(text.as_bytes()).unwrap().core().to_vec()).unwrap();
        assert_eq!(core("Bearer s3cret"), "s3cret");
        assert_eq!(core("s3cret"), "s3cret");
        // Too short to be one by itself.
        assert_eq!(core("abc de"), "abc de");
        assert_eq!(format!("{:?}", Secret::new(b"hush").unwrap()), "Secret(<redacted>)");
        assert!(Secret::new(b"").is_err());
    }
}
