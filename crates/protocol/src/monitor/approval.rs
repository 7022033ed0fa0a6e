//! How an answer is signed: whoever has the key of an operator shows by it that the answer is theirs.
//!
//! Signed are the 24 bytes `sessile answer to line 1` and the SHA-256 of the following, in the encoding of
//! [`seal`](super::seal): session (byte string), number of the question (64 bits), 1 where it is allowed and else 0
//! (64 bits), the operator's name (text). A question's number is never another's, so a signature fits one question.

use ed25519_dalek::{Signature, Signer as _};
use sha2::{Digest as _, Sha256};

use super::seal::{PublicKey, SecretKey};
use super::setup::SessionId;
use crate::codec::Sink as _;

const DOMAIN: &[u8; 24] = b"sessile answer to line 1";

/// What is signed with an answer.
#[derive(Debug, Clone, Copy)]
pub struct Approval<'a> {
    /// The session.
    pub session: SessionId,
    /// The question's number.
    pub question: u32,
    /// Whether it is allowed.
    pub allows: bool,
    /// Who answers: `operator` or `operator:NAME`.
    pub by: &'a str,
}

impl Approval<'_> {
    /// Signs it.
    pub fn sign(&self, key: &SecretKey) -> [u8; 64] {
        key.0.sign(&self.signed()).to_bytes()
    }

    /// Whether this signature of it is by this key.
    pub fn is_signed_by(&self, key: &PublicKey, signature: &[u8; 64]) -> bool {
        key.0.verify_strict(&self.signed(), &Signature::from_bytes(signature)).is_ok()
    }

    fn signed(&self) -> [u8; 56] {
        let mut out = Sha256::new();
        out.bytes(&self.session.0);
        out.u64(self.question.into());
        out.u64(self.allows.into());
        out.text(self.by);
        let mut bytes = [0; 56];
        bytes[..24].copy_from_slice(DOMAIN);
        bytes[24..].copy_from_slice(&out.finalize());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_fits_one_answer() {
        let key = SecretKey::from_seed(&[7; 32]);
        let answer = Approval { session: SessionId([1; 16]), question: 5, allows: true, by: "operator:ann" };
        let signature = answer.sign(&key);
        assert!(answer.is_signed_by(&key.public(), &signature));
        let others = [
            Approval { session: SessionId([2; 16]), ..answer },
            Approval { question: 6, ..answer },
            Approval { allows: false, ..answer },
            Approval { by: "operator:bob", ..answer },
        ];
        assert!(others.iter().all(|other| !other.is_signed_by(&key.public(), &signature)));
        assert!(!answer.is_signed_by(&SecretKey::from_seed(&[8; 32]).public(), &signature));
    }
}
