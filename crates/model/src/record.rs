//! The session record: what `ls` and `show` print.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::guarding::GuardRecord;
use crate::ids::{AppName, SessionId, SessionName};
use crate::property::Properties;
use crate::protocol::ProtocolRecord;
use crate::quantity::{ByteSize, Timestamp};
use crate::receipt::ClaimLevel;
use crate::spec::{Access, Limits, SizePolicy};
use crate::state::{Exit, Outcome, Phase, State};

/// Everything there is to know about a session without looking inside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionRecord {
    /// Its id.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: SessionId,
    /// Its name; dropped at the close unless the record was to be kept.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub name: Option<SessionName>,
    /// Where it is in its life.
    pub state: State,
    /// The same in the words of chat systems.
    pub phase: Phase,
    /// How it ended; `None` while it has not.
    pub outcome: Option<Outcome>,
    /// What the outcome leaves open: the figure of the limit that ended it, or that the memory cap was
    /// reached by its main command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome_detail: Option<String>,
    /// Whose it is, in the caller's own terms.
    pub user: Option<String>,
    /// Its channel, in the caller's own terms.
    pub channel: Option<String>,
    /// Its chat, in the caller's own terms.
    pub chat: Option<String>,
    /// Pairs to find it by.
    pub labels: BTreeMap<String, String>,
    /// The caller's own data.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// When it was asked for.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub created_at: Timestamp,
    /// When input, output or a client was last seen.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub last_activity: Timestamp,
    /// When its wipe was complete.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub ended_at: Option<Timestamp>,
    /// Its apps.
    pub apps: Vec<AppRecord>,
    /// Clients attached now.
    pub clients: u32,
    /// Those of them that its keeper knows, one by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attached: Vec<ClientRecord>,
    /// Who decides how large its terminals are: `last`, `smallest` or `fixed:COLSxROWS`.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub size: SizePolicy,
    /// What it was given from outside.
    pub grants: Vec<Grant>,
    /// How its conversation stands, where it has a protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<ProtocolRecord>,
    /// What passes its guard and what does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<GuardRecord>,
    /// The four properties as last probed.
    pub properties: Properties,
    /// How far the wipe's claim reaches on this machine.
    pub claim_level: ClaimLevel,
    /// Caps in force.
    #[serde(deserialize_with = "KnownLimits::deserialize")]
    pub limits: Limits,
    /// What it uses now.
    pub usage: Usage,
    /// What became of its log that a user should know, such as damage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

/// One app of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AppRecord {
    /// Its name; `main` is the one `run` starts.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: AppName,
    /// Its command; dropped at the close unless the record was to be kept.
    pub argv: Vec<String>,
    /// The process id on the host; `None` when it does not run.
    pub pid: Option<u32>,
    /// How its command ended; `None` while it runs.
    pub exit: Option<Exit>,
    /// Columns of its terminal; `None` without one.
    pub cols: Option<u16>,
    /// Rows of its terminal; `None` without one.
    pub rows: Option<u16>,
    /// Output bytes it has ever written.
    pub output_bytes: u64,
    /// What its exit does not say: that the memory cap was reached, or, of a closed session's app
    /// without an exit, that nobody was there to see how it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// One client that is attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClientRecord {
    /// Its number, in hexadecimal; it keeps it when its keeper is replaced.
    pub client: String,
    /// The app, or `APP.N` for a further command in its sandbox.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub app: AppName,
    /// What it may do.
    pub role: Role,
    /// Columns of its window; `None` without one.
    pub cols: Option<u16>,
    /// Rows of its window; `None` without one.
    pub rows: Option<u16>,
    /// Bytes that it typed, since its keeper took over.
    pub typed_bytes: u64,
}

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Role {
    /// Type.
    Operator,
    /// Type, and nobody else.
    Exclusive,
    /// Watch: it asked for no more, or another has taken over typing.
    Observer,
}

/// Something outside the session that it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Grant {
    /// The project folder.
    Project {
        /// Path on the host; dropped at the close unless the record was to be kept.
        path: Option<String>,
        /// How much of it.
        access: Access,
        /// Paths in it that stay read-only although the rest is writable.
        protected: Vec<String>,
    },
    /// A further host path.
    Mount {
        /// Path on the host; dropped at the close unless the record was to be kept.
        source: Option<String>,
        /// Path inside; dropped like the source.
        target: Option<String>,
        /// Whether it may be written.
        writable: bool,
    },
    /// A tool folder of the user, read-only.
    Tools {
        /// Path on the host; dropped at the close unless the record was to be kept.
        path: Option<String>,
    },
    /// An environment variable inherited from the caller.
    Env {
        /// Its name, never its value.
        name: String,
    },
    /// A host that it may reach, or hosts.
    Host {
        /// Which, with the port where only one is meant; dropped at the close unless the record was
        /// to be kept.
        target: Option<String>,
    },
    /// A file of policies that decide where it may go.
    Policy {
        /// The file's name, without its folder; dropped at the close unless the record was to be
        /// kept.
        name: Option<String>,
    },
    /// A header that the gateway sets on requests to a host.
    Credential {
        /// The host; dropped at the close unless the record was to be kept.
        target: Option<String>,
        /// The header's name, never its value.
        header: String,
    },
    /// A port of an app that is published on the host's loopback.
    Port {
        /// The app.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        app: AppName,
        /// Its port.
        port: u16,
        /// The port on the host.
        local: u16,
    },
    /// A file or folder that was exported.
    Export {
        /// Bytes that left.
        #[cfg_attr(feature = "openapi", schema(value_type = u64))]
        bytes: ByteSize,
    },
    /// Changes of a copied project that were applied to the original.
    Applied {
        /// Files that were written or removed.
        files: u64,
    },
    /// The user's SSH agent: its keys, and the signatures that somebody allowed.
    SshAgent {
        /// The app.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        app: AppName,
        /// How many were made.
        signatures: u64,
    },
    /// The recording of a terminal, on session storage.
    Recording {
        /// The app, or `APP.N` for a further command in its sandbox.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        app: AppName,
        /// Whether it holds what was typed.
        input: bool,
        /// What became of it.
        state: RecordingState,
    },
}

/// What became of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum RecordingState {
    /// It goes on.
    Running,
    /// Somebody stopped it.
    Stopped,
    /// The recorded command ended.
    Ended,
    /// Its share of session storage, or all of it, was used up.
    Full,
    /// It could not be written.
    Failed,
    /// It was overwritten with the session's storage.
    Wiped,
    /// The kernel freed it with the session's storage; nothing overwrote it.
    Freed,
}

impl Grant {
    /// The same grant with every path left out.
    pub fn without_paths(self) -> Self {
        match self {
            Self::Project { access, .. } => Self::Project { path: None, access, protected: Vec::new() },
            Self::Mount { writable, .. } => Self::Mount { source: None, target: None, writable },
            Self::Tools { .. } => Self::Tools { path: None },
            Self::Host { .. } => Self::Host { target: None },
            Self::Policy { .. } => Self::Policy { name: None },
            Self::Credential { header, .. } => Self::Credential { target: None, header },
            kept @ (Self::Env { .. }
            | Self::Port { .. }
            | Self::Export { .. }
            | Self::Applied { .. }
            | Self::Recording { .. }
            | Self::SshAgent { .. }) => kept,
        }
    }
}

/// Limits as a record has them: one that a later version knows is ignored, where a specification
/// with such a limit is refused.
#[derive(Deserialize)]
#[serde(remote = "Limits")]
struct KnownLimits {
    #[serde(default)]
    memory: Option<ByteSize>,
    #[serde(default)]
    cpu_percent: Option<u32>,
    #[serde(default)]
    pids: Option<u32>,
    #[serde(default)]
    storage: Option<ByteSize>,
    #[serde(default)]
    storage_inodes: Option<u64>,
}

/// What a session uses at the moment of the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Usage {
    /// Memory of its apps, in bytes: what a control group counts, storage included. Without one, the
    /// sum of its processes' proportional shares (PSS), measured when a single record is asked for;
    /// `None` in lists and of a session that does not run.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
    pub memory: Option<ByteSize>,
    /// Processor time used so far, in milliseconds: what a control group counts, else that of its
    /// processes and those they waited for, measured and `None` as memory is.
    pub cpu_ms: Option<u64>,
    /// Bytes in session storage.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub storage: ByteSize,
}

impl SessionRecord {
    /// The record as it is kept after the close: without name, labels, metadata, argv, the paths of
    /// grants, the hosts to which TLS was opened, and what was said and not heard.
    pub fn reduced(mut self) -> Self {
        self.name = None;
        self.labels.clear();
        self.metadata.clear();
        for app in &mut self.apps {
            app.argv.clear();
        }
        self.grants = self.grants.into_iter().map(Grant::without_paths).collect();
        self.properties = self.properties.without_paths();
        self.guard = self.guard.map(GuardRecord::without_hosts);
        if let Some(protocol) = &mut self.protocol {
            protocol.unheard.clear();
            protocol.last_violations.clear();
        }
        self
    }
}
