//! How lines are signed: what goes along with one, and what its sender has to know before.

use serde::{Deserialize, Serialize};

use super::Speaker;

/// Whether lines are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Signing {
    /// Each is, by a key that its sender alone has. One that is not is refused.
    #[default]
    Signed,
    /// None is: a line is its sender's who has the socket that it comes by.
    Unsigned,
}

/// What shows who said a line. Bytes are hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LineSeal {
    /// The sender's public key (Ed25519): 64 digits. With the first line of a role it becomes the role's.
    pub key: String,
    /// The session that it was signed for: 32 digits.
    pub session: String,
    /// In which epoch.
    pub epoch: u64,
    /// As the how-manieth line from that role to that other, from 0.
    pub sequence: u64,
    /// The link of the line before: 64 digits.
    pub link: String,
    /// The signature: 128 digits.
    pub signature: String,
}

/// Somebody asks what is to be signed with a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Stand {
    /// As which role it will be said; to be left out where there is no protocol.
    #[serde(default)]
    pub role: String,
    /// To which.
    pub to: String,
    /// What it is called.
    #[serde(default)]
    pub label: String,
}

/// What is to be signed with a role's next line. Bytes are hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Standing {
    /// Whether lines are signed at all.
    pub signing: Signing,
    /// Who speaks for the role.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub speaker: Speaker,
    /// The key that the role is known by; absent before its first line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The session.
    pub session: String,
    /// The hash of the protocol's tables.
    pub protocol: String,
    /// The epoch.
    pub epoch: u64,
    /// The how-manieth line from that role to that other it will be, from 0.
    pub sequence: u64,
    /// The link of the line before.
    pub link: String,
    /// The types of what the line carries, as the file names them.
    pub payload: Vec<String>,
    /// The session has no protocol: a line needs no label, and may carry anything.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub free: bool,
}
