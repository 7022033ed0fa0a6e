//! What a session's protocol is, and who speaks for its roles.

mod ending;
mod operators;
mod signing;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use ending::{CloseTalk, Closing, Delegate, Delegated};
pub use operators::{OPERATORS_FOLDER, key_name, public_line, public_of};
pub use signing::{LineSeal, Signing, Stand, Standing};

use crate::ids::{AppName, OperatorName};
use crate::problem::Problem;
use crate::quantity::{Millis, Timestamp};

/// The folder inside where sessions have this program.
pub const PROGRAM_FOLDER: &str = "/sessile/bin";
/// Most bytes of a protocol's files together.
pub const MAX_PROTOCOL_BYTES: usize = 256 << 10;
/// Most files of a protocol: its own and those that it imports.
pub const MAX_PROTOCOL_FILES: usize = 64;
/// Longest payload of a line, in bytes.
pub const LONGEST_PAYLOAD: usize = 64 << 10;
/// Longest request of an app, in bytes: a payload in base64 and what goes with it.
pub const LONGEST_ASKED: usize = 128 << 10;
/// Longest name of a role, label or protocol that is looked up, in bytes.
pub const LONGEST_WORD: usize = 256;
/// What an operator without a name is called.
const OPERATOR: &str = "operator";

/// A protocol that a session is held to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProtocolSpec {
    /// The protocol's file, then those that it imports.
    pub files: Vec<ProtocolFile>,
    /// Which protocol of the first file; `None` for the only one.
    #[serde(default)]
    pub name: Option<String>,
    /// Who speaks for each role: `operator`, `operator:NAME` or `app:NAME`.
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, String>))]
    pub roles: BTreeMap<String, Speaker>,
    /// What is made of what the protocol does not offer.
    #[serde(default)]
    pub on_violation: OnViolation,
    /// Whether lines are signed.
    #[serde(default)]
    pub signing: Signing,
    /// Which roles may close the conversation, and how at most. An operator always may.
    #[serde(default)]
    pub closers: BTreeMap<String, Closing>,
}

/// A protocol whose files are too many or too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a protocol has at most {MAX_PROTOCOL_FILES} files with {MAX_PROTOCOL_BYTES} bytes together")]
pub struct TooLarge;

impl ProtocolSpec {
    /// Checks how much there is to read, before anybody reads it.
    ///
    /// # Errors
    /// When it is too much.
    pub fn check_size(&self) -> Result<(), TooLarge> {
        let words = self.roles.keys().chain(self.closers.keys()).chain(&self.name).map(String::len);
        let bytes: usize = self.files.iter().map(|file| file.text.len() + file.name.len()).chain(words).sum();
        match self.files.len() > MAX_PROTOCOL_FILES || bytes > MAX_PROTOCOL_BYTES {
            true => Err(TooLarge),
            false => Ok(()),
        }
    }
}

/// A file of protocols.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProtocolFile {
    /// The first file's name, without its folder; of the others the module's full name.
    pub name: String,
    /// What stands in it.
    pub text: String,
}

/// What is made of a violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum OnViolation {
    /// It is refused and journaled, and changes nothing.
    #[default]
    Refuse,
    /// It ends the conversation, and the session as Faulted.
    Fault,
}

/// How a session's conversation stands, as its record shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProtocolRecord {
    /// The protocol's name behind its module's.
    pub name: String,
    /// Who speaks for each role: `operator`, `operator:NAME` or `app:NAME`.
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, String>))]
    pub roles: BTreeMap<String, Speaker>,
    /// What is made of what the protocol does not offer.
    pub on_violation: OnViolation,
    /// Whether lines are signed.
    #[serde(default)]
    pub signing: Signing,
    /// Which roles may close it, and how at most.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub closers: BTreeMap<String, Closing>,
    /// The epoch that lines are signed for: with a role that is handed over, and with the end, another begins.
    #[serde(default)]
    pub epoch: u64,
    /// Whether the conversation goes on.
    pub status: ProtocolStatus,
    /// How much was refused because the protocol did not offer it.
    pub violations: u64,
    /// The last few of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_violations: Vec<PastViolation>,
    /// What was said and never heard, once the conversation is over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unheard: Vec<Unheard>,
}

/// Something that the protocol did not offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PastViolation {
    /// When.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    /// Its stable code, whose it is, and what was said by its name alone.
    pub violation: String,
}

/// Whether a conversation goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ProtocolStatus {
    /// It goes on.
    Active,
    /// Nothing more is said; what was said can be heard.
    Draining,
    /// It is over as the protocol has it, or after everything was heard.
    Closed,
    /// It was cut off, by the session's end or by who may.
    Cancelled,
    /// It was violated, and that ended it; or a deadline passed.
    Faulted {
        /// The violation: its stable code, whose it is, and what was said by its name alone.
        violation: String,
    },
    /// What was said is lost, and nothing more can be.
    Lost {
        /// Why.
        why: String,
    },
}

/// A line that was said and never heard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Unheard {
    /// Who said it.
    pub from: String,
    /// Who was to hear it.
    pub to: String,
    /// What it is called.
    pub label: String,
    /// The how-manieth it is from that role to that other, from 0.
    pub sequence: u64,
}

/// Who speaks for a role: `operator`, `operator:NAME` or `app:NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Speaker {
    /// A client of the daemon; the name tells one from another. `operator` is the one without a name.
    Operator(Option<OperatorName>),
    /// A program inside this app's sandbox.
    App(AppName),
}

/// A line that somebody says as a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Say {
    /// As which role. Without a protocol, `operator` or the app that asks; so it is where it is left out.
    #[serde(default)]
    pub role: String,
    /// To which. Without a protocol, `operator` or the name of an app.
    pub to: String,
    /// What it is called. Without a protocol it needs no name.
    #[serde(default)]
    pub label: String,
    /// What it carries, in base64.
    #[serde(default)]
    pub payload: String,
    /// 32 hexadecimal digits, chosen by the sender: with the same ones it is said once, however often it
    /// is sent.
    pub token: String,
    /// How long to wait for room; without it, as long as it takes.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
    pub timeout: Option<Millis>,
    /// What shows who says it, where lines are signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<LineSeal>,
}

/// A line was said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Said {
    /// The how-manieth it is from that role to that other, from 0.
    pub sequence: u64,
}

/// Somebody listens as a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Hear {
    /// As which role; to be left out where there is no protocol.
    #[serde(default)]
    pub role: String,
    /// From whom; from whomever without it.
    #[serde(default)]
    pub from: Option<String>,
    /// 32 hexadecimal digits, chosen by who listens. While somebody has a line and has not taken it yet,
    /// others who listen as the same role wait for five seconds; without a token, all are others.
    #[serde(default)]
    pub token: Option<String>,
    /// For how long; without it, until something comes.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
    pub timeout: Option<Millis>,
}

impl Say {
    /// The same, asked again once so much of its time has passed.
    #[must_use]
    pub fn after(&self, waited: Duration) -> Self {
        Self { timeout: self.timeout.map(|timeout| timeout.less(waited)), ..self.clone() }
    }
}

impl Hear {
    /// The same, asked again once so much of its time has passed.
    #[must_use]
    pub fn after(&self, waited: Duration) -> Self {
        Self { timeout: self.timeout.map(|timeout| timeout.less(waited)), ..self.clone() }
    }
}

/// What a role hears next. It stays until it is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Heard {
    /// Who said it.
    pub from: String,
    /// What it is called.
    pub label: String,
    /// What it carries, in base64.
    pub payload: String,
    /// The how-manieth it is from that role: with this it is taken.
    pub sequence: u64,
}

/// What was heard is written where it was to go, and is not to be heard again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Take {
    /// As which role; to be left out where there is no protocol.
    #[serde(default)]
    pub role: String,
    /// Who said it.
    pub from: String,
    /// The how-manieth it is.
    pub sequence: u64,
    /// The one that it was heard with: where another has it meanwhile, it is refused. Without one it is
    /// taken whoever has heard it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// What is said of a line that is taken and was not heard, or by a keeper that has died since: it is to be
/// heard again.
pub const NOT_HEARD: &str = "nobody has heard that message yet: it is heard first, and then taken";

/// Something that a role may do next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Offer {
    /// Whether it says it; else it hears it.
    pub says: bool,
    /// To or from whom.
    pub peer: String,
    /// What it is called.
    pub label: String,
    /// The types of what it carries, as the file names them.
    pub payload: Vec<String>,
    /// Whether it can be done at once.
    pub ready: bool,
    /// For how long it may still be said, in milliseconds, where the protocol bounds that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
    pub left: Option<Millis>,
    /// Whether the other is an app that has ended.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ended: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// What an app asks by the socket that `SESSILE_SOCKET` names: a line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// To say a line.
    Say(Say),
    /// What its role hears next.
    Hear(Hear),
    /// To take what was heard.
    Take(Take),
    /// What its role may do next.
    Offered {
        /// The role; to be left out where there is no protocol.
        #[serde(default)]
        role: String,
    },
    /// What is to be signed with a line.
    Stand(Stand),
    /// To close the conversation.
    Close(CloseTalk),
    /// To have another speak for its role.
    Delegate(Delegate),
    /// To call the tools of an MCP server: from the answer on, the connection is one to it.
    Mcp {
        /// The server.
        name: String,
    },
}

/// The answer to it: a line of JSON as well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// It was said.
    Said(Said),
    /// It was heard, and stays until it is taken.
    Heard(Heard),
    /// It was taken.
    Taken,
    /// What the role may do next.
    Offers(Vec<Offer>),
    /// What is to be signed.
    Stands(Standing),
    /// How the conversation stands, now that it is closed.
    Closed(ProtocolRecord),
    /// The role was handed over.
    Delegated(Delegated),
    /// What follows is the server's.
    Connected,
    /// It was refused or failed.
    Problem(Problem),
}

/// A speaker that cannot be meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("who speaks for a role is operator, operator:NAME or app:NAME")]
pub struct InvalidSpeaker;

impl Speaker {
    /// The operator of this name: who is called `operator` is the one without.
    pub fn operator(name: OperatorName) -> Self {
        Self::Operator(Some(name).filter(|name| name.as_str() != OPERATOR))
    }
}

impl FromStr for Speaker {
    type Err = InvalidSpeaker;

    fn from_str(text: &str) -> Result<Self, InvalidSpeaker> {
        match text.split_once(':') {
            None if text == OPERATOR => Ok(Self::Operator(None)),
            Some((OPERATOR, name)) => name.parse().map(Self::operator).map_err(|_| InvalidSpeaker),
            Some(("app", name)) => name.parse().map(Self::App).map_err(|_| InvalidSpeaker),
            None | Some(_) => Err(InvalidSpeaker),
        }
    }
}

impl fmt::Display for Speaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator(None) => f.write_str("operator"),
            Self::Operator(Some(name)) => write!(f, "operator:{name}"),
            Self::App(name) => write!(f, "app:{name}"),
        }
    }
}

impl Serialize for Speaker {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Speaker {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speakers_are_read_as_they_are_written() {
        for text in ["operator", "operator:ann", "app:main"] {
            assert_eq!(text.parse::<Speaker>().unwrap().to_string(), text);
        }
        assert_eq!("operator:operator".parse(), Ok(Speaker::Operator(None)));
        for text in ["", "app", "app:", "operator:", "user:ann", "app:main:x", "Operator"] {
            assert_eq!(text.parse::<Speaker>(), Err(InvalidSpeaker), "{text}");
        }
    }
}
