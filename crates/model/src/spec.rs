//! What a client asks for when it opens a session.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroize;

use crate::credential::Credential;
use crate::guarding::GuardSpec;
use crate::ids::{ProfileName, SessionName};
use crate::mcp::McpServer;
use crate::network::Network;
use crate::property::Property;
use crate::protocol::ProtocolSpec;
use crate::quantity::{ByteSize, Millis};

/// Everything that decides what a session is. Checked by the daemon, carried out by the keeper.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Spec {
    /// Its name; one is invented when absent.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub name: Option<SessionName>,
    /// The main app's command. Empty: no app is started (an empty session).
    pub command: Vec<String>,
    /// The folder it works on.
    pub project: Option<Project>,
    /// Further host paths it may see.
    pub mounts: Vec<Mount>,
    /// Environment for its apps, added to the synthetic one.
    pub env: Vec<EnvVar>,
    /// Where its packets may go.
    pub network: Network,
    /// A shell's command that tells somebody outside of each question, run outside the session by
    /// its user. What is asked is in `SESSILE_QUESTION_…` of its environment and on its input.
    pub on_question: Option<String>,
    /// Headers that its gateway sets, and that no app sees.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<Credential>,
    /// A protocol that its roles are held to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<ProtocolSpec>,
    /// By what its guard decides, besides what is shipped.
    #[serde(skip_serializing_if = "GuardSpec::is_empty")]
    pub guard: GuardSpec,
    /// MCP servers that are started with it; what apps call of them passes its guard.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mcp: Vec<McpServer>,
    /// The terminal of the main app; `None`: its standard streams are pipes.
    pub terminal: Option<WindowSize>,
    /// Who decides how large its terminals are.
    #[serde(skip_serializing_if = "SizePolicy::is_default")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub size: SizePolicy,
    /// The value of `TERM` inside.
    pub term: Option<String>,
    /// Record the main app's terminal from its first byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<Recording>,
    /// Socket of the SSH agent on the host that the main app is given: each signature is a question.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_agent: Option<String>,
    /// Caps on what it may use.
    pub limits: Limits,
    /// Ends the session this long after it opened.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
    pub ttl: Option<Millis>,
    /// Ends the session after this long without input, output or a client.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
    pub idle_timeout: Option<Millis>,
    /// How long results wait to be collected when the command exits unwatched.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
    pub linger: Option<Millis>,
    /// Keep the session when its command exits.
    pub keep: bool,
    /// Keep name, labels, metadata, argv and grants' paths in the record after the close.
    pub keep_record: bool,
    /// Properties that may be weaker than defined, by name.
    pub accept_weaker: Vec<Property>,
    /// A client will attach at once: hold the command's output back rather than lose any of it
    /// before the client is there. Only for a command without a terminal.
    pub hold_output: bool,
    /// The profile it was opened with.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub profile: Option<ProfileName>,
    /// The preset that chose grants for the command, by name.
    pub preset: Option<String>,
    /// Whose it is, in the caller's own terms.
    pub user: Option<String>,
    /// The channel it belongs to, in the caller's own terms.
    pub channel: Option<String>,
    /// The chat it belongs to, in the caller's own terms.
    pub chat: Option<String>,
    /// Short key-value pairs to find it by.
    pub labels: BTreeMap<String, String>,
    /// Anything else the caller wants to keep with it.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// Bytes of output kept per terminal; 1 MiB when absent.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
    pub output_ring: Option<ByteSize>,
}

impl Spec {
    /// Deepest nesting of [`Self::metadata`]. The record holds it further down, inside messages,
    /// and JSON is read only so deep.
    pub const MAX_METADATA_DEPTH: usize = 32;

    /// Whether anything in it passes a guard.
    pub fn is_guarded(&self) -> bool {
        self.protocol.is_some() || !self.mcp.is_empty()
    }

    /// Whether its metadata is nested deeper than [`Self::MAX_METADATA_DEPTH`].
    pub fn is_too_deep(&self) -> bool {
        self.metadata.values().any(|value| is_deeper(value, Self::MAX_METADATA_DEPTH - 1))
    }
}

fn is_deeper(value: &serde_json::Value, most: usize) -> bool {
    let mut parts: Box<dyn Iterator<Item = &serde_json::Value>> = match value {
        serde_json::Value::Array(values) => Box::new(values.iter()),
        serde_json::Value::Object(map) => Box::new(map.values()),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => return false,
    };
    most == 0 || parts.any(|part| is_deeper(part, most - 1))
}

/// How much of a host folder a session gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Access {
    /// Read-only.
    Ro,
    /// Writable in place.
    Rw,
    /// A private copy; changes come back by `apply` only.
    Copy,
}

/// The project folder. Inside, it has the same path as outside unless that path is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Project {
    /// Absolute path on the host.
    pub path: String,
    /// How much of it.
    pub access: Access,
    /// Leave `.git/hooks`, `.git/config`, `.envrc`, `.vscode` and `.idea` writable.
    #[serde(default)]
    pub allow_hooks: bool,
}

/// What is recorded of a terminal. A recording lies on session storage, where no app sees it, and is
/// wiped with it unless it was exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Recording {
    /// Also what is typed, passwords among it, and not only what is written.
    pub input: bool,
}

/// A host path shown inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Mount {
    /// Absolute path on the host.
    pub source: String,
    /// Absolute path inside.
    pub target: String,
    /// Whether it may be written.
    pub writable: bool,
    /// Whether it was added by `--tools` or a preset rather than by name.
    #[serde(default)]
    pub from_tools: bool,
}

/// One environment variable. Its value may be a secret: it never shows in `Debug` and is
/// overwritten when dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnvVar {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl fmt::Debug for EnvVar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EnvVar({}=<redacted>)", self.name)
    }
}

impl Drop for EnvVar {
    fn drop(&mut self) {
        self.value.zeroize();
    }
}

/// A terminal's size in character cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WindowSize {
    /// Columns, 1 to 1000.
    pub cols: u16,
    /// Rows, 1 to 1000.
    pub rows: u16,
}

impl WindowSize {
    /// Largest accepted value of either side.
    pub const MAX: u16 = 1000;
    /// Largest number of cells; a wide terminal has fewer rows.
    pub const MAX_CELLS: u32 = 200_000;

    /// The nearest size that a terminal can have: both sides from 1 to [`Self::MAX`], at most
    /// [`Self::MAX_CELLS`] cells.
    pub fn clamped(self) -> Self {
        let cols = self.cols.clamp(1, Self::MAX);
        let most = (Self::MAX_CELLS / u32::from(cols)).min(u32::from(Self::MAX));
        Self { cols, rows: self.rows.clamp(1, most as u16) }
    }

    /// Whether it is within bounds.
    pub fn is_valid(self) -> bool {
        self == self.clamped()
    }
}

impl Default for WindowSize {
    fn default() -> Self {
        Self { cols: 80, rows: 24 }
    }
}

/// Who decides how large a session's terminals are. As text: `last`, `smallest`, `fixed:COLSxROWS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SizePolicy {
    /// The client that typed last, attached last, or whose window changed last.
    #[default]
    Last,
    /// All clients that may type: as large as the smallest of their windows.
    Smallest,
    /// Nobody: always this size.
    Fixed(WindowSize),
}

/// A text that names no size policy.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("not `last`, `smallest` or `fixed:COLSxROWS` (both from 1 to 1000), such as fixed:120x40")]
pub struct InvalidSizePolicy;

impl SizePolicy {
    /// Whether it is what is done where nothing else was asked for.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for SizePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Last => f.write_str("last"),
            Self::Smallest => f.write_str("smallest"),
            Self::Fixed(WindowSize { cols, rows }) => write!(f, "fixed:{cols}x{rows}"),
        }
    }
}

impl FromStr for SizePolicy {
    type Err = InvalidSizePolicy;

    fn from_str(text: &str) -> Result<Self, InvalidSizePolicy> {
        match text {
            "last" => return Ok(Self::Last),
            "smallest" => return Ok(Self::Smallest),
            _ => {}
        }
        let (cols, rows) =
            text.strip_prefix("fixed:").and_then(|size| size.split_once('x')).ok_or(InvalidSizePolicy)?;
        let side = |text: &str| text.parse().map_err(|_| InvalidSizePolicy);
        let size = WindowSize { cols: side(cols)?, rows: side(rows)? };
        if size.is_valid() { Ok(Self::Fixed(size)) } else { Err(InvalidSizePolicy) }
    }
}

impl TryFrom<String> for SizePolicy {
    type Error = InvalidSizePolicy;

    fn try_from(text: String) -> Result<Self, InvalidSizePolicy> {
        text.parse()
    }
}

impl From<SizePolicy> for String {
    fn from(policy: SizePolicy) -> Self {
        policy.to_string()
    }
}

/// Caps on what a session may use. `None` is the documented default, which for memory and
/// processor time is no cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Limits {
    /// Memory of all its apps and its storage, in bytes.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
    pub memory: Option<ByteSize>,
    /// Processor time in hundredths of one processor (150 is one and a half).
    pub cpu_percent: Option<u32>,
    /// Processes and threads at once.
    pub pids: Option<u32>,
    /// Session storage in bytes.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
    pub storage: Option<ByteSize>,
    /// Files and folders in session storage.
    pub storage_inodes: Option<u64>,
}

impl Limits {
    /// Processes and threads when nothing else is asked for.
    pub const DEFAULT_PIDS: u32 = 4096;
    /// Bytes of session storage when nothing else is asked for.
    pub const DEFAULT_STORAGE: ByteSize = ByteSize(2 << 30);
    /// Files and folders in session storage when nothing else is asked for.
    pub const DEFAULT_STORAGE_INODES: u64 = 262_144;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_environment_do_not_show() {
        let spec =
            Spec { env: vec![EnvVar { name: "TOKEN".into(), value: "hunter2".into() }], ..Spec::default() };
        assert!(!format!("{spec:?}").contains("hunter2"));
    }

    #[test]
    fn numbers_of_metadata_stay_what_they_are() {
        let read = |json: &str| serde_json::from_str::<Spec>(json).unwrap();
        let spec = read(r#"{"metadata":{"x":0.5011e+300}}"#);
        assert_eq!(read(&serde_json::to_string(&spec).unwrap()), spec);
        assert_eq!(spec.metadata["x"].as_f64(), Some(0.5011e300));
    }

    #[test]
    fn size_policies_are_texts() {
        let size = WindowSize { cols: 120, rows: 40 };
        for (text, policy) in [
            ("last", SizePolicy::Last),
            ("smallest", SizePolicy::Smallest),
            ("fixed:120x40", SizePolicy::Fixed(size)),
        ] {
            assert_eq!((text.parse(), policy.to_string().as_str()), (Ok(policy), text));
            assert_eq!(serde_json::to_string(&policy).unwrap(), format!("\"{text}\""));
        }
        for text in
            ["", "Last", "fixed", "fixed:", "fixed:80", "fixed:0x24", "fixed:80x1001", "fixed:1000x999"]
        {
            assert_eq!(text.parse::<SizePolicy>(), Err(InvalidSizePolicy), "{text}");
        }
        assert!(
            !serde_json::to_string(&Spec::default()).unwrap().contains("\"size\""),
            "an earlier keeper knows it not"
        );
    }

    #[test]
    fn unknown_fields_are_refused() {
        assert!(serde_json::from_str::<Spec>(r#"{"comand":["sh"]}"#).is_err());
        assert!(serde_json::from_str::<Spec>(r#"{"command":["sh"]}"#).is_ok());
    }
}
