//! What a session's guard holds and has decided.

use serde::{Deserialize, Serialize};

use crate::ids::SessionId;

/// `POST /v1/sessions/{s}/risk`: sets a session's risk to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResetRisk {
    /// Why, for the audit.
    pub why: String,
}

/// `GET /v1/sessions/{s}/audit`: what a session's guard decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditTrail {
    /// The session.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub session: SessionId,
    /// Lines as they are written: a link of the chain, a space, and an entry in JSON.
    pub lines: Vec<String>,
}

/// What shows who answers. Bytes are hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AnswerSeal {
    /// The public key (Ed25519): 64 digits.
    pub key: String,
    /// The signature, of what `docs/lines.md` says: 128 digits.
    pub signature: String,
}

/// A line that the session's guard holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HeldLine {
    /// The role that says it.
    pub from: String,
    /// Who speaks for that role: `operator`, `operator:NAME` or `app:NAME`.
    pub by: String,
    /// The role that is to hear it.
    pub to: String,
    /// What it is called.
    pub label: String,
    /// What it carries, as text: it may come from inside.
    pub text: String,
    /// What was found in it.
    pub found: Vec<HeldPart>,
    /// The policies that have somebody asked.
    pub policies: Vec<String>,
    /// What it rests on where no text is judged but where a value came from: that value, and its origin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

/// Something that was found in a line that is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HeldPart {
    /// What: `card`, `instruction`.
    pub kind: String,
    /// The exact value.
    pub value: String,
    /// The role that said it first, where that is known: of what is found by its form alone, an email for
    /// instance, it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
}
