//! What a session is to be, as the command line says it.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use sessile_model::ids::{ProfileName, SessionName};
use sessile_model::network::Route;
use sessile_model::property::Property;
use sessile_model::quantity::{ByteSize, Millis};
use sessile_model::spec::{Mount, SizePolicy};
use sessile_model::tor::TorEntry;
use thiserror::Error;

use crate::credentials::CredentialArgument;
use crate::environment::EnvArgument;
use crate::failure::Failure;
use crate::hosts::HostArgument;
use crate::project::{ProjectArgument, utf8};
use crate::protocols::Wanted;
use crate::protocols::asked::{CloserArgument, RoleArgument, ViolationArgument};
use crate::servers::ServerArgument;
use crate::tools;

/// What a session is to be, as `run` takes it.
#[derive(Clone, Debug, Default, Args)]
pub struct SessionOptions {
    /// Its name; one is invented otherwise
    #[arg(long, short = 'n', value_name = "NAME")]
    pub name: Option<SessionName>,
    /// Take defaults from [profiles.NAME] in config.toml
    #[arg(long, value_name = "NAME")]
    pub profile: Option<ProfileName>,
    /// Keep the session when its command exits
    #[arg(long)]
    pub keep: bool,
    /// Keep name, labels, metadata, command and paths in the record after the end
    #[arg(long)]
    pub keep_record: bool,

    /// Who decides how large its terminals are: who typed last, all who may type, or nobody [default: last]
    #[arg(long, value_name = "last|smallest|fixed:COLSxROWS")]
    pub size: Option<SizePolicy>,
    /// Record its terminal from the first byte (`sessile record --help`); wiped with it unless exported;
    /// `record = true` in config.toml makes it the default
    #[arg(long)]
    pub record: bool,
    /// Record what is typed as well, PASSWORDS AMONG IT
    #[arg(long)]
    pub record_input: bool,

    /// Give its main app your SSH agent (SSH_AUTH_SOCK): it sees the public keys, and each signature is
    /// a question (`sessile questions`, `answer`) that is denied when nobody answers
    #[arg(long, help_heading = "What it may see")]
    pub forward_agent: bool,
    /// The folder to work on [default: the current folder, rw]
    #[arg(
        long,
        value_name = "DIR[:ro|:rw|:copy]",
        conflicts_with = "no_project",
        help_heading = "What it may see"
    )]
    pub project: Option<ProjectArgument>,
    /// Give it no project folder
    #[arg(long, help_heading = "What it may see")]
    pub no_project: bool,
    /// Leave .git/hooks, .git/config, .envrc, .vscode and .idea of the project writable
    #[arg(long, help_heading = "What it may see")]
    pub allow_hooks: bool,
    /// Show a further host path, read-only unless :rw
    #[arg(long, value_name = "SRC[:DST][:ro|:rw]", help_heading = "What it may see")]
    pub mount: Vec<MountArgument>,
    /// Show your own tools (~/.cargo, ~/.rustup, ~/.nvm, ~/.local/bin, …) read-only; with a file that ends
    /// in .toml: what an agent's tools do, for the guard (see `sessile guard tools --help`)
    #[arg(long, value_name = "FILE.toml", num_args = 0..=1, require_equals = true, help_heading = "What it may see")]
    pub tools: Option<Option<PathBuf>>,
    /// Pass on a variable of yours, or (visible to every user of this machine) set one
    #[arg(long, short = 'e', value_name = "K[=V]", help_heading = "What it may see")]
    pub env: Vec<EnvArgument>,
    /// Read KEY=VALUE lines from a file
    #[arg(long, value_name = "FILE", help_heading = "What it may see")]
    pub env_file: Vec<PathBuf>,
    /// Read KEY=VALUE lines from standard input
    #[arg(long, help_heading = "What it may see")]
    pub env_stdin: bool,

    /// Its way out: none, direct, tor, or socks5://HOST:PORT [default: direct]
    #[arg(long, value_name = "ROUTE", help_heading = "What it may reach")]
    pub route: Option<Route>,
    /// A file with USER:PASSWORD for the proxy (or the variable SESSILE_ROUTE_CREDENTIALS holds them)
    #[arg(long, value_name = "FILE", help_heading = "What it may reach")]
    pub route_credentials: Option<PathBuf>,
    /// For --route tor: further lines of its configuration, such as bridges
    #[arg(long, value_name = "FILE", help_heading = "What it may reach")]
    pub tor_config: Option<PathBuf>,
    /// For --route tor: whose entry guards it goes by, fresh (its own) or pinned (shared by sessions;
    /// needs --accept-weaker routing) [default: fresh]
    #[arg(long, value_name = "GUARDS", help_heading = "What it may reach")]
    pub tor_entry: Option<TorEntry>,
    /// A host it may reach: api.example.com:443, '*.example.org', 192.0.2.1, or a list such as @github
    #[arg(long, value_name = "HOST[:PORT]", help_heading = "What it may reach")]
    pub allow: Vec<HostArgument>,
    /// A host about which you are asked; an --allow that is more specific goes before
    #[arg(long, value_name = "HOST[:PORT]", help_heading = "What it may reach")]
    pub ask: Vec<HostArgument>,
    /// A host it may not reach, whatever else is said
    #[arg(long, value_name = "HOST[:PORT]", help_heading = "What it may reach")]
    pub deny: Vec<HostArgument>,
    /// A file of policies in Cedar, or a folder of them (see `sessile policy --help`)
    #[arg(long, value_name = "FILE|DIR", help_heading = "What it may reach")]
    pub policy: Vec<PathBuf>,
    /// A protocol in Scribble that its roles are held to, or @NAME for one of `sessile protocol list`
    #[arg(long, value_name = "FILE[#NAME]", requires = "role", help_heading = "What is said")]
    pub protocol: Option<Wanted>,
    /// Who speaks for a role: operator, operator:NAME or app:NAME
    #[arg(long, value_name = "ROLE=SPEAKER", requires = "protocol", help_heading = "What is said")]
    pub role: Vec<RoleArgument>,
    /// What becomes of a line that the protocol does not allow [default: refuse]
    #[arg(long, value_name = "WHAT", requires = "protocol", value_enum, help_heading = "What is said")]
    pub on_violation: Option<ViolationArgument>,
    /// Do not have lines signed: whoever has the socket that they come by is taken for their sender
    #[arg(long, requires = "protocol", help_heading = "What is said")]
    pub unsigned: bool,
    /// A role that may close the conversation once what was said is heard, or with =abort at once
    #[arg(long, value_name = "ROLE[=abort]", requires = "protocol", help_heading = "What is said")]
    pub closer: Vec<CloserArgument>,
    /// An MCP server that is started as the app mcp-NAME; apps inside call its tools by `sessile mcp NAME`, past the
    /// guard. The command is cut into words as a shell would, and run by none
    #[arg(long, value_name = "NAME=COMMAND", help_heading = "What is said")]
    pub mcp: Vec<ServerArgument>,
    /// A shell command that tells you of each question, run outside the session; what is asked is in
    /// SESSILE_QUESTION_ID, _SESSION, _APP, _HOST and _PORT (of a signature _KEY and _PURPOSE, of a line
    /// that is held _LINE), and as JSON on its input. After 30 in a minute, _MORE of the next is how many
    /// wait until it is over
    #[arg(long, value_name = "CMD", help_heading = "What it may reach")]
    pub on_question: Option<String>,
    /// Set a header on requests to a host, over TLS, with a value that no program inside sees:
    /// env:VAR or file:PATH, behind `bearer:` with that scheme before it
    #[arg(long, value_name = "HOST=HEADER:env:VAR", help_heading = "What it may reach")]
    pub credential: Vec<CredentialArgument>,
    /// Open the TLS of a host in the gateway, with a certificate of the session's own towards programs
    /// inside
    #[arg(long, value_name = "HOST[:PORT]", help_heading = "What it may reach")]
    pub intercept: Vec<HostArgument>,
    /// Certificates (PEM) to trust beside this machine's where TLS is opened
    #[arg(long, value_name = "FILE", help_heading = "What it may reach")]
    pub upstream_ca: Option<PathBuf>,
    /// Deny hosts that no rule names, instead of asking
    #[arg(long, conflicts_with = "ask", help_heading = "What it may reach")]
    pub no_questions: bool,
    /// Connections at once [default: 1024]
    #[arg(long, value_name = "NUMBER", help_heading = "What it may reach")]
    pub net_connections: Option<u32>,
    /// Bytes in all, both ways, such as 500M
    #[arg(long, value_name = "SIZE", help_heading = "What it may reach")]
    pub net_bytes: Option<ByteSize>,
    /// Bytes in a second, both ways, such as 2M
    #[arg(long, value_name = "SIZE", help_heading = "What it may reach")]
    pub net_rate: Option<ByteSize>,

    /// Memory of all its programs and its storage, such as 2G
    #[arg(long, value_name = "SIZE", help_heading = "What it may use")]
    pub memory: Option<ByteSize>,
    /// Processors, such as 1.5 (or 150%)
    #[arg(long, value_name = "NUMBER", help_heading = "What it may use")]
    pub cpu: Option<Cpu>,
    /// Processes and threads at once [default: 4096]
    #[arg(long, value_name = "NUMBER", help_heading = "What it may use")]
    pub pids: Option<u32>,
    /// Storage of its own [default: 2G]
    #[arg(long, value_name = "SIZE", help_heading = "What it may use")]
    pub storage: Option<ByteSize>,
    /// Files and folders in its storage [default: 262144]
    #[arg(long, value_name = "NUMBER", help_heading = "What it may use")]
    pub storage_inodes: Option<u64>,
    /// End it this long after it opened, such as 8h
    #[arg(long, value_name = "TIME", help_heading = "What it may use")]
    pub ttl: Option<Millis>,
    /// End it after this long without input, output or an attached client
    #[arg(long, value_name = "TIME", help_heading = "What it may use")]
    pub idle_timeout: Option<Millis>,
    /// How long results wait when the command exits unwatched [default: 24h]
    #[arg(long, value_name = "TIME", help_heading = "What it may use")]
    pub linger: Option<Millis>,

    /// Whose it is, in your own terms
    #[arg(long, value_name = "TEXT", help_heading = "How to find it")]
    pub user: Option<String>,
    /// Its channel, in your own terms
    #[arg(long, value_name = "TEXT", help_heading = "How to find it")]
    pub channel: Option<String>,
    /// Its chat, in your own terms
    #[arg(long, value_name = "TEXT", help_heading = "How to find it")]
    pub chat: Option<String>,
    /// A label
    #[arg(long = "label", short = 'l', value_name = "K=V", help_heading = "How to find it")]
    pub labels: Vec<Label>,
    /// Data of your own, as JSON (or plain text)
    #[arg(long, value_name = "K=JSON", help_heading = "How to find it")]
    pub metadata: Vec<Metadata>,

    /// Open it although this property is weaker here than defined (routing, identity, sandbox, amnesia)
    #[arg(long, value_name = "PROPERTY")]
    pub accept_weaker: Vec<Property>,
}

impl SessionOptions {
    /// Whether the caller's own tools are shown.
    pub fn shows_tools(&self) -> bool {
        self.tools == Some(None)
    }

    /// The file that says what an agent's tools do.
    pub fn declarations(&self) -> Option<&PathBuf> {
        self.tools.as_ref()?.as_ref()
    }
}

/// Processor time in hundredths of one processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu(pub u32);

/// `SRC[:DST][:ro|:rw]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountArgument {
    source: PathBuf,
    target: Option<PathBuf>,
    writable: bool,
}

/// `K=V`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label(pub String, pub String);

/// `K=JSON`.
#[derive(Clone, Debug, PartialEq)]
pub struct Metadata(pub String, pub serde_json::Value);

/// Why a text is not an option's value.
#[derive(Debug, Error, PartialEq, Eq, Clone, Copy)]
pub enum InvalidOption {
    /// Not a number of processors.
    #[error("not a number of processors (examples: 2, 0.5, 150%)")]
    Cpu,
    /// Not a mount.
    #[error("not a mount (examples: /data, ~/notes:/notes, /data:/data:rw)")]
    Mount,
    /// Not a pair.
    #[error("expected KEY=VALUE")]
    Pair,
}

impl FromStr for Cpu {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, InvalidOption> {
        let (number, factor) = match text.strip_suffix('%') {
            Some(number) => (number, 1.0),
            None => (text, 100.0),
        };
        let number: f64 = number.trim().parse().map_err(|_| InvalidOption::Cpu)?;
        let percent = (number * factor).round();
        if (1.0..=1_000_000.0).contains(&percent) {
            Ok(Self(percent as u32))
        } else {
            Err(InvalidOption::Cpu)
        }
    }
}

impl FromStr for MountArgument {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, InvalidOption> {
        let (paths, writable) = match text.rsplit_once(':') {
            Some((paths, "rw")) => (paths, true),
            Some((paths, "ro")) => (paths, false),
            _ => (text, false),
        };
        let (source, target) = match paths.split_once(':') {
            Some((source, target)) => (source, Some(target)),
            None => (paths, None),
        };
        let is_target = |t: &str| t.starts_with('/') && !t.contains(':');
        if source.is_empty() || !target.is_none_or(is_target) {
            return Err(InvalidOption::Mount);
        }
        Ok(Self { source: source.into(), target: target.map(PathBuf::from), writable })
    }
}

impl MountArgument {
    /// The mount, seen from a folder and with this home.
    ///
    /// # Errors
    /// When there is no such path, or it is not UTF-8.
    pub fn resolve(&self, folder: &Path, home: &Path) -> Result<Mount, Failure> {
        let given = self.source.to_string_lossy();
        let source = folder.join(tools::expanded(&given, home));
        let real =
            std::fs::canonicalize(&source).map_err(|e| Failure::system(format!("mount {given}"), &e))?;
        let target = match &self.target {
            Some(target) => utf8(target)?,
            None => utf8(&lexical(&source))?,
        };
        Ok(Mount { source: utf8(&real)?, target, writable: self.writable, from_tools: false })
    }
}

/// The path without `.` and `..`, by its text alone.
fn lexical(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(out.pop()),
            std::path::Component::CurDir => {}
            std::path::Component::Normal(_)
            | std::path::Component::RootDir
            | std::path::Component::Prefix(_) => out.push(part),
        }
    }
    out
}

impl FromStr for Label {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, InvalidOption> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Self(key.to_owned(), value.to_owned())),
            _ => Err(InvalidOption::Pair),
        }
    }
}

impl FromStr for Metadata {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, InvalidOption> {
        let Label(key, value) = text.parse()?;
        let value = serde_json::from_str(&value).unwrap_or(serde_json::Value::String(value));
        Ok(Self(key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        assert_eq!("1.5".parse(), Ok(Cpu(150)));
        assert_eq!("50%".parse(), Ok(Cpu(50)));
        for bad in ["0", "-1", "NaN", "inf", "x", "%"] {
            assert!(bad.parse::<Cpu>().is_err(), "{bad}");
        }
        let mount = |s: &str, t: Option<&str>, writable| {
            Ok(MountArgument { source: s.into(), target: t.map(PathBuf::from), writable })
        };
        assert_eq!("/a".parse(), mount("/a", None, false));
        assert_eq!("/a:rw".parse(), mount("/a", None, true));
        assert_eq!("a:/b".parse(), mount("a", Some("/b"), false));
        assert_eq!("a:/b:ro".parse(), mount("a", Some("/b"), false));
        for bad in ["", ":/b", "a:b", "a:/b:c", "a:/b:/c:rw"] {
            assert!(bad.parse::<MountArgument>().is_err(), "{bad}");
        }
        assert_eq!("a={\"b\":1}".parse(), Ok(Metadata("a".into(), serde_json::json!({"b": 1}))));
        assert_eq!("a=text".parse(), Ok(Metadata("a".into(), "text".into())));
    }
}
