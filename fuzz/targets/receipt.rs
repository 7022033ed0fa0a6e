//! Signed receipts, as anyone may hand them to `receipt --verify`.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sessile_fuzz::{Draw, plant, survives};
use sessile_model::receipt::{ClaimLevel, Receipt, SignedReceipt, WipeEvidence, WipeLine, WipeStep};
use sessile_model::state::EndedBy;
use sessile_model::{AppName, ByteSize, Outcome, SessionId, Timestamp};
use sessile_vault::{InstallationKey, PublicKey, verify};

static KEY: LazyLock<InstallationKey> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder for the key");
    InstallationKey::load_or_create(&folder.path().join("key"), &[7; 32]).expect("a key")
});
static SIGNED: LazyLock<SignedReceipt> = LazyLock::new(|| KEY.sign(&receipt()));

fuzz_target!(init: plant(seeds()), |data: &[u8]| {
    if let Ok(signed) = serde_json::from_slice::<SignedReceipt>(data) {
        survives(&signed);
        believed(&signed);
    }
    altered(data);
    if let Ok(receipt) = serde_json::from_slice::<Receipt>(data) {
        survives(&receipt);
        // Whatever can be written down can be signed, and then verifies.
        let verified = verify(&KEY.sign(&receipt), Some(&KEY.public())).expect("our own signature");
        assert!(verified.anchored && verified.receipt == receipt);
    }
    if let Ok(key) = std::str::from_utf8(data).unwrap_or_default().parse::<PublicKey>() {
        assert_eq!(key.to_string().as_bytes(), data);
    }
});

/// Nobody but the installation signs for it.
fn believed(signed: &SignedReceipt) {
    if verify(signed, Some(&KEY.public())).is_ok() {
        assert_eq!(signed, &*SIGNED, "another receipt than the one that was signed");
    }
    if let Ok(verified) = verify(signed, None) {
        assert!(!verified.anchored);
        survives(&verified.receipt);
    }
}

/// The signed receipt with bytes of its text replaced.
fn altered(data: &[u8]) {
    let mut text = serde_json::to_vec(&*SIGNED).expect("a receipt is JSON");
    let mut draw = Draw(data);
    let at = usize::from(draw.word()) % text.len();
    for (byte, new) in text[at..].iter_mut().zip(draw.run()) {
        *byte = *new;
    }
    if let Ok(signed) = serde_json::from_slice::<SignedReceipt>(&text) {
        believed(&signed);
    }
}

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
            app: Some(AppName::main()),
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

fn seeds() -> [Vec<u8>; 4] {
    let json = |value: serde_json::Result<Vec<u8>>| value.expect("JSON");
    [
        json(serde_json::to_vec(&*SIGNED)),
        json(serde_json::to_vec(&receipt())),
        KEY.public().to_string().into_bytes(),
        vec![40, 0, 3, b'A', b'B', b'C'],
    ]
}
