//! Signing and verifying receipts.
//!
//! An envelope is DSSE 1.0.2 with exactly one Ed25519 signature (RFC 8032). Verification fails
//! closed: whatever is not exactly what [`InstallationKey::sign`] writes is refused.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use sessile_model::hex;
use sessile_model::receipt::{PAYLOAD_TYPE, Receipt, Signature, SignedReceipt, pre_authentication_encoding};
use thiserror::Error;

use crate::installation::InstallationKey;

/// An installation's public key, written `ed25519:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    pub(crate) fn of(signing: &SigningKey) -> Self {
        Self(signing.verifying_key().to_bytes())
    }
}

/// Why a text is not a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidPublicKey {
    /// Not the written form.
    #[error("not a public key (expected ed25519: and 64 lower-case hexadecimal digits)")]
    Form,
    /// The bytes are no usable point of the curve.
    #[error("not a usable Ed25519 key")]
    Point,
}

impl FromStr for PublicKey {
    type Err = InvalidPublicKey;

    fn from_str(text: &str) -> Result<Self, InvalidPublicKey> {
        let hex = text.strip_prefix("ed25519:").ok_or(InvalidPublicKey::Form)?;
        let bytes = hex_decode::<32>(hex.as_bytes()).ok_or(InvalidPublicKey::Form)?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| InvalidPublicKey::Point)?;
        // A key of small order verifies signatures of anything.
        if key.is_weak() { Err(InvalidPublicKey::Point) } else { Ok(Self(bytes)) }
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519:{}", hex::text(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// A receipt whose signature is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The receipt.
    pub receipt: Receipt,
    /// The key that signed it.
    pub key: PublicKey,
    /// Whether that key is the one the caller trusts. `false`: the key came with the receipt and
    /// shows only that it was not altered since, by whoever made it.
    pub anchored: bool,
}

/// Why a receipt is not to be believed.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// The envelope holds something else.
    #[error("the payload type is not that of a receipt")]
    PayloadType,
    /// There must be exactly one signature.
    #[error("a receipt has exactly one signature, this one has {count}")]
    SignatureCount {
        /// How many there are.
        count: usize,
    },
    /// The payload or the signature is not canonical base64.
    #[error("the {part} is not canonical base64")]
    Base64 {
        /// `payload` or `signature`.
        part: &'static str,
    },
    /// The signature is not 64 bytes long.
    #[error("the signature is not 64 bytes long")]
    SignatureLength,
    /// The key id is not a key.
    #[error("the key id is not usable")]
    KeyId(#[source] InvalidPublicKey),
    /// The receipt names another key than the trusted one.
    #[error("signed by {found}, not by the trusted key")]
    OtherKey {
        /// The key it names.
        found: PublicKey,
    },
    /// The signature does not fit.
    #[error("the signature does not fit: the receipt was altered")]
    Signature,
    /// The payload is signed but is not a receipt.
    #[error("the payload is not a receipt")]
    Payload(#[source] serde_json::Error),
}

impl InstallationKey {
    /// Signs a receipt.
    pub fn sign(&self, receipt: &Receipt) -> SignedReceipt {
        let payload = serde_json::to_vec(receipt).expect("a receipt has no part that JSON lacks");
        let signature = self.signing.sign(&pre_authentication_encoding(PAYLOAD_TYPE, &payload));
        SignedReceipt {
            payload_type: PAYLOAD_TYPE.to_owned(),
            payload: STANDARD.encode(payload),
            signatures: vec![Signature {
                keyid: self.public().to_string(),
                sig: STANDARD.encode(signature.to_bytes()),
            }],
        }
    }
}

/// Verifies a receipt, against `trusted` if given, else against the key that it carries.
///
/// # Errors
/// When anything about the envelope differs from what was signed.
pub fn verify(signed: &SignedReceipt, trusted: Option<&PublicKey>) -> Result<Verified, VerifyError> {
    if signed.payload_type != PAYLOAD_TYPE {
        return Err(VerifyError::PayloadType);
    }
    let [signature] = signed.signatures.as_slice() else {
        return Err(VerifyError::SignatureCount { count: signed.signatures.len() });
    };
    let key: PublicKey = signature.keyid.parse().map_err(VerifyError::KeyId)?;
    if let Some(trusted) = trusted
        && *trusted != key
    {
        return Err(VerifyError::OtherKey { found: key });
    }
    let payload = decode("payload", &signed.payload)?;
    let sig: [u8; 64] =
        decode("signature", &signature.sig)?.try_into().map_err(|_| VerifyError::SignatureLength)?;
    let message = pre_authentication_encoding(PAYLOAD_TYPE, &payload);
    VerifyingKey::from_bytes(&key.0)
        .and_then(|k| k.verify_strict(&message, &ed25519_dalek::Signature::from_bytes(&sig)))
        .map_err(|_| VerifyError::Signature)?;
    let receipt = serde_json::from_slice(&payload).map_err(VerifyError::Payload)?;
    Ok(Verified { receipt, key, anchored: trusted.is_some() })
}

/// Decodes base64 and refuses every text but the one that encoding gives.
fn decode(part: &'static str, text: &str) -> Result<Vec<u8>, VerifyError> {
    let bytes = STANDARD.decode(text).map_err(|_| VerifyError::Base64 { part })?;
    if STANDARD.encode(&bytes) == text { Ok(bytes) } else { Err(VerifyError::Base64 { part }) }
}

/// Decodes exactly `2 * N` lower-case digits.
pub(crate) fn hex_decode<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    if text.len() != 2 * N {
        return None;
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sessile_model::receipt::{ClaimLevel, WipeEvidence, WipeLine, WipeStep};
    use sessile_model::state::EndedBy;
    use sessile_model::{ByteSize, Outcome, SessionId, Timestamp};
    use std::sync::LazyLock;

    fn key(seed: u8) -> InstallationKey {
        InstallationKey { signing: SigningKey::from_bytes(&[seed; 32]) }
    }

    static SIGNED: LazyLock<SignedReceipt> = LazyLock::new(|| key(1).sign(&receipt()));

    fn receipt() -> Receipt {
        Receipt {
            session: SessionId::new(Timestamp::from_millis(1), [5; 10]),
            outcome: Outcome::Ended { by: EndedBy::Operator },
            outcome_detail: None,
            created_at: Timestamp::from_millis(1),
            wipe_started_at: Timestamp::from_millis(2),
            ended_at: Timestamp::from_millis(3),
            claim_level: ClaimLevel::L1,
            steps: vec![WipeLine {
                step: WipeStep::ScrubMemory,
                app: Some("main".parse().unwrap()),
                evidence: WipeEvidence::Overwritten { bytes: ByteSize(4096), objects: 1 },
                took_us: 7,
            }],
            residue: Vec::new(),
            outside: Vec::new(),
            recordings: Vec::new(),
            guard: None,
            weaker: Vec::new(),
            program: "0.1.0".to_owned(),
        }
    }

    #[test]
    fn a_signed_receipt_verifies_and_says_whether_its_key_is_trusted() {
        let signed = key(1).sign(&receipt());
        let alone = verify(&signed, None).unwrap();
        assert_eq!(alone, Verified { receipt: receipt(), key: key(1).public(), anchored: false });
        assert!(verify(&signed, Some(&key(1).public())).unwrap().anchored);
        let other = verify(&signed, Some(&key(2).public()));
        assert!(matches!(other, Err(VerifyError::OtherKey { .. })), "{other:?}");
    }

    #[test]
    fn envelopes_of_another_shape_are_refused() {
        let good = key(1).sign(&receipt());
        let refused = |change: &dyn Fn(&mut SignedReceipt)| {
            let mut signed = good.clone();
            change(&mut signed);
            verify(&signed, None).unwrap_err()
        };
        assert!(matches!(refused(&|s| s.signatures.clear()), VerifyError::SignatureCount { count: 0 }));
        assert!(matches!(
            refused(&|s| s.signatures.push(s.signatures[0].clone())),
            VerifyError::SignatureCount { count: 2 }
        ));
        assert!(matches!(refused(&|s| s.payload_type.push(' ')), VerifyError::PayloadType));
        assert!(matches!(refused(&|s| s.payload.push('\n')), VerifyError::Base64 { part: "payload" }));
        // 64 bytes leave four unused bits before the padding: any of them set is not canonical.
        assert!(matches!(
            refused(&|s| {
                let sig = &mut s.signatures[0].sig;
                let at = sig.len() - 3;
                let last = sig.as_bytes()[at];
                sig.replace_range(at..at + 1, &char::from(last + 1).to_string());
            }),
            VerifyError::Base64 { part: "signature" }
        ));
        assert!(matches!(
            refused(&|s| s.signatures[0].sig = STANDARD.encode([0; 63])),
            VerifyError::SignatureLength
        ));
        assert!(matches!(
            refused(&|s| s.signatures[0].keyid = s.signatures[0].keyid.to_uppercase()),
            VerifyError::KeyId(InvalidPublicKey::Form)
        ));
        assert!(matches!(
            refused(&|s| s.signatures[0].keyid = key(2).public().to_string()),
            VerifyError::Signature
        ));
    }

    #[test]
    fn keys_of_small_order_are_refused() {
        let identity = format!("ed25519:01{}", "0".repeat(62));
        assert_eq!(identity.parse::<PublicKey>(), Err(InvalidPublicKey::Point));
    }

    #[test]
    fn public_keys_round_trip() {
        let public = key(3).public();
        assert_eq!(public.to_string().parse::<PublicKey>(), Ok(public));
        assert_eq!(public.to_string()[8..].parse::<PublicKey>(), Err(InvalidPublicKey::Form));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_flipped_byte_is_refused(at in any::<prop::sample::Index>(), flip in 1u8.., anchored in any::<bool>()) {
            let mut bytes = serde_json::to_vec(&*SIGNED).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            let public = key(1).public();
            if let Ok(signed) = serde_json::from_slice::<SignedReceipt>(&bytes) {
                prop_assert!(verify(&signed, anchored.then_some(&public)).is_err(), "byte {}", at);
            }
        }

        #[test]
        fn any_flipped_byte_of_the_payload_is_refused(at in any::<prop::sample::Index>(), flip in 1u8..) {
            let mut signed = SIGNED.clone();
            let mut payload = signed.payload_bytes().unwrap();
            let at = at.index(payload.len());
            payload[at] ^= flip;
            signed.payload = STANDARD.encode(payload);
            let refused = verify(&signed, None);
            prop_assert!(matches!(refused, Err(VerifyError::Signature)), "{:?}", refused);
        }
    }
}
