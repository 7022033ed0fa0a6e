//! How a conversation is closed, and how a role is handed over.

use serde::{Deserialize, Serialize};

use super::Speaker;

/// How a conversation is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Closing {
    /// Nothing more is said; what was said is heard first, as far as it can be.
    #[default]
    Drain,
    /// At once.
    Abort,
}

/// Somebody closes a session's conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CloseTalk {
    /// As which role; without it as an operator, which no app is.
    #[serde(default)]
    pub role: Option<String>,
    /// How.
    #[serde(default)]
    pub how: Closing,
}

/// Somebody has another speak for a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Delegate {
    /// The role. An app gives its own, and no other.
    pub role: String,
    /// Who speaks for it from then on: `operator`, `operator:NAME` or `app:NAME`. Who does already loses the
    /// key that the role is known by, and comes with another.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub to: Speaker,
}

/// The receipt of a delegation. Bytes are hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Delegated {
    /// The session.
    pub session: String,
    /// The role.
    pub role: String,
    /// Whose role it was to give: `operator`, or the role itself.
    pub by: String,
    /// Who spoke for it.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub from: Speaker,
    /// Who speaks for it now.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub to: Speaker,
    /// The key that was withdrawn; absent where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<String>,
    /// The epoch that began with it.
    pub epoch: u64,
    /// The hash of the conversation's state before it.
    pub state: String,
}
