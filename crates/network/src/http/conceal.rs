//! Secrets that come back in a body, made unreadable as it passes. Lengths stay as they are.

/// What stands in the place of each byte.
const MASK: u8 = b'*';

/// Looks for secrets across the parts of one body.
#[derive(Debug)]
pub struct Conceal<'a> {
    secrets: Vec<&'a [u8]>,
    /// Bytes that a secret might begin with, until it is clear.
    held: Vec<u8>,
}

impl<'a> Conceal<'a> {
    /// These secrets.
    pub fn new(secrets: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self { secrets: secrets.into_iter().collect(), held: Vec::new() }
    }

    /// The next bytes that may go on. All of a body goes on in the end: see [`Conceal::rest`].
    pub fn pass(&mut self, part: &[u8]) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.held);
        bytes.extend_from_slice(part);
        for secret in &self.secrets {
            let mut from = 0;
            while let Some(at) = find(bytes.get(from..).unwrap_or_default(), secret) {
                let found = from + at..from + at + secret.len();
                from = found.end;
                bytes[found].fill(MASK);
            }
        }
        let held = self.secrets.iter().map(|secret| begun(&bytes, secret)).max().unwrap_or(0);
        self.held = bytes.split_off(bytes.len() - held);
        bytes
    }

    /// What was held back, at the end of the body.
    pub fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

/// The first place of a secret.
pub fn find(within: &[u8], secret: &[u8]) -> Option<usize> {
    let first = *secret.first()?;
    let mut from = 0;
    while let Some(at) = within.get(from..)?.iter().position(|b| *b == first) {
        if within[from + at..].starts_with(secret) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

/// How many of the last bytes might be the first of a secret.
fn begun(bytes: &[u8], secret: &[u8]) -> usize {
    let most = bytes.len().min(secret.len().saturating_sub(1));
    (1..=most).rev().find(|&count| bytes.ends_with(&secret[..count])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn through(secrets: &[&[u8]], bytes: &[u8], piece: usize) -> Vec<u8> {
        let mut conceal = Conceal::new(secrets.iter().copied());
        let mut out: Vec<u8> = bytes.chunks(piece).flat_map(|part| conceal.pass(part)).collect();
        out.extend(conceal.rest());
        out
    }

    #[test]
    fn a_secret_is_masked_in_whatever_pieces_it_comes() {
        let text = b"{\"token\": \"aab-aabc\", \"aabc\": \"aab\"}";
        for piece in 1..=text.len() {
            let out = through(&[b"aabc"], text, piece);
            assert_eq!(out, b"{\"token\": \"aab-****\", \"****\": \"aab\"}", "{piece}");
        }
        assert_eq!(through(&[], text, 3), text);
    }

    #[test]
    fn only_what_might_be_a_secret_is_held_back() {
        let mut conceal = Conceal::new([&b"aabc"[..]]);
        assert_eq!(conceal.pass(b"xaab"), b"x");
        assert_eq!(conceal.pass(b"x\n"), b"aabx\n");
        assert_eq!(conceal.pass(b"a"), b"");
        assert_eq!(conceal.rest(), b"a");
    }

    proptest! {
        #[test]
        fn nothing_else_changes(text in "[ab]{0,60}", secret in "[ab]{2,5}", piece in 1usize..9) {
            let out = through(&[secret.as_bytes()], text.as_bytes(), piece);
            prop_assert_eq!(out.len(), text.len());
            prop_assert!(find(&out, secret.as_bytes()).is_none());
            let same = |(new, old): (&u8, u8)| *new == old || *new == MASK;
            prop_assert!(out.iter().zip(text.bytes()).all(same));
        }
    }
}
