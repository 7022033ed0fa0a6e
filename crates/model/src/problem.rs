//! Error kinds, their exit codes, and problem details (RFC 9457).

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The few kinds of error a user can meet. Each has one HTTP status and one exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ProblemKind {
    /// The request itself is wrong.
    BadRequest,
    /// No such session, app or file.
    NotFound,
    /// A prefix fits several sessions.
    Ambiguous,
    /// A name is taken, or the state does not allow it.
    Conflict,
    /// Denied by policy or by the session's own rules.
    Denied,
    /// This machine cannot give what was asked.
    Unsupported,
    /// A cap or the machine's own space is used up.
    Exhausted,
    /// It did not happen in time.
    Timeout,
    /// A part of the session failed.
    Failed,
    /// Our own mistake.
    Internal,
}

impl ProblemKind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::BadRequest,
        Self::NotFound,
        Self::Ambiguous,
        Self::Conflict,
        Self::Denied,
        Self::Unsupported,
        Self::Exhausted,
        Self::Timeout,
        Self::Failed,
        Self::Internal,
    ];

    /// HTTP status code.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::NotFound => 404,
            Self::Ambiguous => 300,
            Self::Conflict => 409,
            Self::Denied => 403,
            Self::Unsupported => 422,
            Self::Exhausted => 507,
            Self::Timeout => 408,
            Self::Failed => 502,
            Self::Internal => 500,
        }
    }

    /// The CLI's exit code. They lie in 64 to 78 (sysexits) so that they rarely meet the codes of
    /// commands run inside; 124 is `timeout(1)`'s.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::BadRequest => 64,
            Self::NotFound => 66,
            Self::Ambiguous => 65,
            Self::Conflict => 73,
            Self::Denied => 77,
            Self::Unsupported => 69,
            Self::Exhausted => 71,
            Self::Timeout => 124,
            Self::Failed => 75,
            Self::Internal => 70,
        }
    }

    /// A short name, also the last part of the problem's type URI.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::NotFound => "not-found",
            Self::Ambiguous => "ambiguous",
            Self::Conflict => "conflict",
            Self::Denied => "denied",
            Self::Unsupported => "unsupported",
            Self::Exhausted => "exhausted",
            Self::Timeout => "timeout",
            Self::Failed => "failed",
            Self::Internal => "internal",
        }
    }
}

/// An error as it crosses a process boundary: problem details with our kind and a hint.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error("{detail}")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// `urn:sessile:problem:` and the kind's short name.
    #[serde(rename = "type")]
    pub type_uri: String,
    /// The kind's short name.
    pub title: String,
    /// HTTP status code.
    pub status: u16,
    /// What went wrong, in a sentence that is safe to show.
    pub detail: String,
    /// The kind.
    pub kind: ProblemKind,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Problem {
    /// A problem of this kind with its sentence.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            type_uri: format!("urn:sessile:problem:{}", kind.as_str()),
            title: kind.as_str().to_owned(),
            status: kind.status(),
            detail: detail.into(),
            kind,
            hint: None,
        }
    }

    /// The same with what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
