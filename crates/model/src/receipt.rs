//! The receipt: a signed account of what a wipe erased and what it could not.
//!
//! A receipt is a DSSE envelope (Dead Simple Signing Envelope, version 1.0.2) round the JSON of
//! a [`Receipt`]. The signature is Ed25519 (RFC 8032) over the envelope's pre-authentication
//! encoding, so that it can be verified offline with standard tools.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::guarding::GuardReceipt;
use crate::ids::{AppName, SessionId};
use crate::property::Property;
use crate::quantity::{ByteSize, Timestamp};
use crate::record::Grant;
use crate::state::Outcome;

/// The envelope's payload type.
pub const PAYLOAD_TYPE: &str = "application/vnd.sessile.receipt+json;version=1";

/// How far a receipt's claim reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ClaimLevel {
    /// What this program controls: apps' memory and open files, session storage, keys, its own
    /// buffers.
    L1,
    /// Also what the kernel keeps in pages it has freed (only with `init_on_free=1`).
    L2,
}

/// The account of one wipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Receipt {
    /// The session.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub session: SessionId,
    /// How it came to its end.
    pub outcome: Outcome,
    /// What the outcome leaves open: the figure of the limit that ended it, or that the memory cap was
    /// reached by its main command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome_detail: Option<String>,
    /// When it was opened.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub created_at: Timestamp,
    /// When the wipe began.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub wipe_started_at: Timestamp,
    /// When the wipe was complete.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub ended_at: Timestamp,
    /// How far the claim reaches.
    pub claim_level: ClaimLevel,
    /// What was done, in the order in which it was done.
    pub steps: Vec<WipeLine>,
    /// What may remain and why; empty only if nothing may.
    pub residue: Vec<Residue>,
    /// What was outside the session and therefore not wiped, without paths.
    pub outside: Vec<Grant>,
    /// Recordings of terminals that lay on session storage, and what became of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recordings: Vec<Grant>,
    /// What became of what its guard knew, where it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<GuardReceipt>,
    /// Properties that were weaker than defined, as accepted at open.
    pub weaker: Vec<Property>,
    /// The version of the program that wiped.
    pub program: String,
}

impl Receipt {
    /// Grants as a receipt has them, without paths: [`Self::recordings`] and [`Self::outside`].
    pub fn apart(grants: impl Iterator<Item = Grant>) -> (Vec<Grant>, Vec<Grant>) {
        grants.map(Grant::without_paths).partition(|grant| matches!(grant, Grant::Recording { .. }))
    }

    /// Whether no step was tried and failed.
    pub fn is_clean(&self) -> bool {
        self.steps.iter().all(|line| !matches!(line.evidence, WipeEvidence::Failed { .. }))
    }

    /// Steps that could not be done at all.
    pub fn not_possible(&self) -> usize {
        self.steps.iter().filter(|line| matches!(line.evidence, WipeEvidence::NotPossible { .. })).count()
    }
}

/// One step of a wipe and what it found and did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WipeLine {
    /// The step.
    pub step: WipeStep,
    /// The app it was about, where it was about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub app: Option<AppName>,
    /// What was done, as a kind of evidence with its figures; never a bare yes.
    pub evidence: WipeEvidence,
    /// How long it took, in microseconds.
    pub took_us: u64,
}

/// The steps of a wipe, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum WipeStep {
    /// New clients and new work are refused.
    RefuseAttaches,
    /// Apps are asked to end and given time to save.
    SignalApps,
    /// The route is cut.
    CutRoute,
    /// What still runs is frozen.
    Freeze,
    /// Unlinked but open files and memfds are overwritten.
    ScrubOpenFiles,
    /// Shared and private mappings are overwritten.
    ScrubMemory,
    /// Everything is killed.
    Kill,
    /// App roots are unmounted.
    UnmountApps,
    /// Session storage is overwritten in place.
    OverwriteStorage,
    /// Session storage is unmounted.
    UnmountStorage,
    /// Terminal rings and the checkpoint are overwritten.
    OverwriteRings,
    /// Keys are overwritten.
    DestroyKeys,
    /// The routing identity is declared dead.
    RetireRoute,
    /// The audit is closed.
    FinaliseAudit,
    /// Control groups and runtime files are removed.
    RemoveTraces,
    /// What is left is looked for.
    Verify,
}

impl WipeStep {
    /// Every step, in order.
    pub const ALL: [Self; 16] = [
        Self::RefuseAttaches,
        Self::SignalApps,
        Self::CutRoute,
        Self::Freeze,
        Self::ScrubOpenFiles,
        Self::ScrubMemory,
        Self::Kill,
        Self::UnmountApps,
        Self::OverwriteStorage,
        Self::UnmountStorage,
        Self::OverwriteRings,
        Self::DestroyKeys,
        Self::RetireRoute,
        Self::FinaliseAudit,
        Self::RemoveTraces,
        Self::Verify,
    ];

    /// The name used in JSON and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RefuseAttaches => "refuse_attaches",
            Self::SignalApps => "signal_apps",
            Self::CutRoute => "cut_route",
            Self::Freeze => "freeze",
            Self::ScrubOpenFiles => "scrub_open_files",
            Self::ScrubMemory => "scrub_memory",
            Self::Kill => "kill",
            Self::UnmountApps => "unmount_apps",
            Self::OverwriteStorage => "overwrite_storage",
            Self::UnmountStorage => "unmount_storage",
            Self::OverwriteRings => "overwrite_rings",
            Self::DestroyKeys => "destroy_keys",
            Self::RetireRoute => "retire_route",
            Self::FinaliseAudit => "finalise_audit",
            Self::RemoveTraces => "remove_traces",
            Self::Verify => "verify",
        }
    }
}

/// What a step of a wipe can show for itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum WipeEvidence {
    /// Work was refused from then on; the clients that were attached were told.
    Refused {
        /// Clients that were attached.
        clients: u32,
    },
    /// Processes were signalled; some ended by themselves in the grace.
    Signalled {
        /// Processes signalled.
        signalled: u32,
        /// Processes that ended in the grace.
        ended: u32,
    },
    /// There was no way out to begin with.
    NoRoute,
    /// The route was closed.
    RouteCut,
    /// Processes were frozen.
    Frozen {
        /// Processes found frozen.
        count: u32,
        /// How (`cgroup`, `sigstop`).
        how: String,
    },
    /// Bytes were overwritten in place.
    Overwritten {
        /// Bytes overwritten.
        #[cfg_attr(feature = "openapi", schema(value_type = u64))]
        bytes: ByteSize,
        /// Files, mappings or descriptors they were in.
        objects: u64,
    },
    /// Processes were killed and reaped.
    Killed {
        /// Processes that were there to be killed.
        count: u32,
    },
    /// Mounts went away.
    Unmounted {
        /// Mounts that were there.
        count: u32,
    },
    /// A key was overwritten. Never counts for data that was in plain text.
    KeyDestroyed {
        /// What it encrypted or authenticated.
        protected: String,
    },
    /// An identity will not be used again.
    Retired {
        /// What kind of identity.
        what: String,
    },
    /// A log was closed at this many entries.
    Finalised {
        /// Entries in it.
        entries: u64,
    },
    /// Directories and files of ours were removed.
    Removed {
        /// How many.
        count: u32,
    },
    /// Nothing of the session was found in these places.
    NothingFound {
        /// Places looked at.
        places: Vec<String>,
    },
    /// There was nothing for this step to do.
    NothingToDo,
    /// This machine or this end could not do it.
    NotPossible {
        /// Why.
        why: String,
    },
    /// It was tried and did not succeed.
    Failed {
        /// Why.
        why: String,
    },
}

/// Something that may remain after the wipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Residue {
    /// What (`swap`, `freed memory`, `kernel buffers`, …).
    pub what: String,
    /// Why it may remain.
    pub why: String,
    /// The command or setting that would prevent it, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

/// A receipt with its signature, as it is stored and handed out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignedReceipt {
    /// Always [`PAYLOAD_TYPE`].
    pub payload_type: String,
    /// The receipt's JSON in standard base64.
    pub payload: String,
    /// One signature by the installation's key.
    pub signatures: Vec<Signature>,
}

/// One signature of an envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Signature {
    /// The installation's public key: `ed25519:` and 64 hexadecimal digits.
    pub keyid: String,
    /// The 64 byte signature in standard base64.
    pub sig: String,
}

impl SignedReceipt {
    /// The payload's bytes.
    ///
    /// # Errors
    /// When the payload is not base64.
    pub fn payload_bytes(&self) -> Result<Vec<u8>, base64::DecodeError> {
        STANDARD.decode(&self.payload)
    }
}

/// The bytes that are signed: DSSE's pre-authentication encoding of a payload.
pub fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pre_authentication_encoding_matches_the_specification() {
        // The example of the DSSE protocol document.
        let got = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
        assert_eq!(got, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }
}
