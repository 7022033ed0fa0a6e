//! `config.toml`: defaults, profiles, presets and tool sets, outside every session.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use sessile_model::ids::ProfileName;
use sessile_model::network::{Route, Unknown};
use sessile_model::problem::ProblemKind;
use sessile_model::property::Property;
use sessile_model::quantity::{ByteSize, Millis};
use sessile_model::spec::{Access, SizePolicy};
use sessile_model::tor::TorEntry;
use thiserror::Error;

use crate::credentials::CredentialArgument;
use crate::failure::{Failure, plain};
use crate::hosts::{HostArgument, Lists};
use crate::keys::DetachKey;
use crate::options::{Cpu, MountArgument};
use crate::presets::Preset;
use crate::servers::ServerArgument;
use crate::tools::ToolSet;

/// The whole file. An empty one is the same as none.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The key that leaves a session.
    pub detach_key: Option<DetachKey>,
    /// Defaults of `run`.
    pub run: RunDefaults,
    /// Defaults chosen by `run --profile NAME`, over those of `run`.
    #[serde(deserialize_with = "profiles")]
    pub profiles: BTreeMap<ProfileName, RunDefaults>,
    /// Agents, by name; one of the same name replaces a built-in one.
    pub presets: BTreeMap<String, Preset>,
    /// Lists of hosts for `--allow @NAME`; one of the same name replaces a built-in one.
    pub hosts: Lists,
    /// Tool sets, by name; one of the same name replaces a built-in one.
    pub tools: BTreeMap<String, ToolSet>,
}

/// Defaults of `run`'s options, by their names.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunDefaults {
    /// How much of the current folder: `"rw"`, `"ro"`, `"copy"` or `"none"`.
    pub project: Option<ProjectDefault>,
    /// Leave hooks writable.
    pub allow_hooks: Option<bool>,
    /// Show the caller's tools.
    pub tools: Option<bool>,
    /// `SRC[:DST][:ro|:rw]`, added to those of the command line.
    #[serde(deserialize_with = "texts")]
    pub mount: Vec<MountArgument>,
    /// See `--route`.
    pub route: Option<Route>,
    /// See `--route-credentials`.
    pub route_credentials: Option<PathBuf>,
    /// See `--tor-config`; used where the route is tor.
    pub tor_config: Option<PathBuf>,
    /// See `--tor-entry`; used where the route is tor.
    pub tor_entry: Option<TorEntry>,
    /// See `--allow`, added to those of the command line.
    pub allow: Vec<HostArgument>,
    /// See `--ask`, added to those of the command line.
    pub ask: Vec<HostArgument>,
    /// See `--deny`, added to those of the command line.
    pub deny: Vec<HostArgument>,
    /// See `--policy`, read before those of the command line.
    pub policy: Vec<PathBuf>,
    /// See `--mcp`, added to those of the command line.
    #[serde(deserialize_with = "texts")]
    pub mcp: Vec<ServerArgument>,
    /// See `--credential`, added to those of the command line.
    pub credential: Vec<CredentialArgument>,
    /// See `--intercept`, added to those of the command line.
    pub intercept: Vec<HostArgument>,
    /// See `--upstream-ca`.
    pub upstream_ca: Option<PathBuf>,
    /// What becomes of hosts that no rule names: `"ask"` or `"deny"`.
    pub unknown: Option<Unknown>,
    /// See `--on-question`.
    pub on_question: Option<String>,
    /// Names of variables to pass on where they are set.
    pub env: Vec<String>,
    /// Environment files, read before those of the command line.
    pub env_file: Vec<PathBuf>,
    /// See `--memory`.
    #[serde(deserialize_with = "text")]
    pub memory: Option<ByteSize>,
    /// See `--cpu`.
    #[serde(deserialize_with = "text")]
    pub cpu: Option<Cpu>,
    /// See `--pids`.
    pub pids: Option<u32>,
    /// See `--storage`.
    #[serde(deserialize_with = "text")]
    pub storage: Option<ByteSize>,
    /// See `--storage-inodes`.
    pub storage_inodes: Option<u64>,
    /// See `--ttl`.
    #[serde(deserialize_with = "text")]
    pub ttl: Option<Millis>,
    /// See `--idle-timeout`.
    #[serde(deserialize_with = "text")]
    pub idle_timeout: Option<Millis>,
    /// See `--linger`.
    #[serde(deserialize_with = "text")]
    pub linger: Option<Millis>,
    /// See `--size`.
    pub size: Option<SizePolicy>,
    /// See `--keep`.
    pub keep: Option<bool>,
    /// See `--keep-record`.
    pub keep_record: Option<bool>,
    /// See `--record`; where the command has a terminal.
    pub record: Option<bool>,
    /// See `--accept-weaker`, added to those of the command line.
    pub accept_weaker: Vec<Property>,
    /// See `--user`.
    pub user: Option<String>,
    /// See `--channel`.
    pub channel: Option<String>,
    /// See `--chat`.
    pub chat: Option<String>,
    /// See `--label`, added to those of the command line.
    pub labels: BTreeMap<String, String>,
}

/// How much of the current folder a session gets when nothing else is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProjectDefault {
    /// None of it.
    None,
    /// Read-only.
    Ro,
    /// Writable.
    Rw,
    /// A private copy.
    Copy,
}

impl ProjectDefault {
    /// The access it stands for.
    pub fn access(self) -> Option<Access> {
        match self {
            Self::None => None,
            Self::Ro => Some(Access::Ro),
            Self::Rw => Some(Access::Rw),
            Self::Copy => Some(Access::Copy),
        }
    }
}

impl RunDefaults {
    /// These, and where they say nothing, `base`.
    #[must_use]
    pub fn over(self, base: Self) -> Self {
        let joined = |mut first: Vec<_>, second: Vec<_>| {
            first.extend(second);
            first
        };
        let mut mcp = base.mcp;
        mcp.extend(self.mcp);
        let mut labels = base.labels;
        labels.extend(self.labels);
        let mut accept_weaker = base.accept_weaker;
        accept_weaker.extend(self.accept_weaker);
        let mut mount = base.mount;
        mount.extend(self.mount);
        let mut env_file = base.env_file;
        env_file.extend(self.env_file);
        let mut policy = base.policy;
        policy.extend(self.policy);
        Self {
            project: self.project.or(base.project),
            allow_hooks: self.allow_hooks.or(base.allow_hooks),
            tools: self.tools.or(base.tools),
            route: self.route.or(base.route),
            route_credentials: self.route_credentials.or(base.route_credentials),
            tor_config: self.tor_config.or(base.tor_config),
            tor_entry: self.tor_entry.or(base.tor_entry),
            allow: self.allow.into_iter().chain(base.allow).collect(),
            ask: self.ask.into_iter().chain(base.ask).collect(),
            deny: self.deny.into_iter().chain(base.deny).collect(),
            credential: self.credential.into_iter().chain(base.credential).collect(),
            intercept: self.intercept.into_iter().chain(base.intercept).collect(),
            upstream_ca: self.upstream_ca.or(base.upstream_ca),
            unknown: self.unknown.or(base.unknown),
            on_question: self.on_question.or(base.on_question),
            mount,
            mcp,
            env: joined(base.env, self.env),
            env_file,
            policy,
            memory: self.memory.or(base.memory),
            cpu: self.cpu.or(base.cpu),
            pids: self.pids.or(base.pids),
            storage: self.storage.or(base.storage),
            storage_inodes: self.storage_inodes.or(base.storage_inodes),
            ttl: self.ttl.or(base.ttl),
            idle_timeout: self.idle_timeout.or(base.idle_timeout),
            linger: self.linger.or(base.linger),
            size: self.size.or(base.size),
            keep: self.keep.or(base.keep),
            keep_record: self.keep_record.or(base.keep_record),
            record: self.record.or(base.record),
            accept_weaker,
            user: self.user.or(base.user),
            channel: self.channel.or(base.channel),
            chat: self.chat.or(base.chat),
            labels,
        }
    }
}

/// A value written as text (or as a whole number), in the same form as on the command line.
fn text<'de, D: Deserializer<'de>, T: FromStr>(d: D) -> Result<Option<T>, D::Error>
where
    T::Err: std::fmt::Display,
{
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a text such as \"2G\" or \"10s\", or a number")]
    enum Written {
        Text(String),
        Whole(u64),
        Decimal(f64),
    }
    let written = match Written::deserialize(d)? {
        Written::Text(text) => text,
        Written::Whole(number) => number.to_string(),
        Written::Decimal(number) => number.to_string(),
    };
    written.parse().map(Some).map_err(|e: T::Err| D::Error::custom(format!("`{written}`: {e}")))
}

fn texts<'de, D: Deserializer<'de>, T: FromStr>(d: D) -> Result<Vec<T>, D::Error>
where
    T::Err: std::fmt::Display,
{
    let written = Vec::<String>::deserialize(d)?;
    written.iter().map(|t| t.parse().map_err(|e: T::Err| D::Error::custom(format!("`{t}`: {e}")))).collect()
}

fn profiles<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<ProfileName, RunDefaults>, D::Error> {
    let written = BTreeMap::<String, RunDefaults>::deserialize(d)?;
    written.into_iter().map(|(name, p)| Ok((name.parse().map_err(D::Error::custom)?, p))).collect()
}

/// Why a text is not a configuration.
#[derive(Debug, Error, PartialEq, Eq, Clone)]
#[error("{}{message}", line.map(|l| format!("line {l}: ")).unwrap_or_default())]
pub struct InvalidConfig {
    /// The line, from 1, where one is to blame.
    pub line: Option<usize>,
    /// What is wrong there.
    pub message: String,
}

/// Reads a configuration.
///
/// # Errors
/// The first line that is wrong and why.
pub fn parse(text: &str) -> Result<Config, InvalidConfig> {
    toml::from_str(text).map_err(|e| InvalidConfig {
        line: e.span().map(|s| text[..s.start.min(text.len())].matches('\n').count() + 1),
        message: e.message().replace('\n', " "),
    })
}

/// Reads the configuration file; the default when there is none.
///
/// # Errors
/// When it cannot be read or is not valid.
pub fn load(path: &Path) -> Result<Config, Failure> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Config::default()),
        Err(e) => {
            let detail = if e.kind() == std::io::ErrorKind::InvalidData {
                format!("{} is not valid UTF-8", path.display())
            } else {
                format!("cannot read {}: {}", path.display(), plain(&e))
            };
            return Err(Failure::new(ProblemKind::BadRequest, detail)
                .hint("mend the file, move it away, or name another with SESSILE_CONFIG"));
        }
    };
    parse(&text).map_err(|e| {
        let place = e.line.map(|l| format!(":{l}")).unwrap_or_default();
        Failure::new(ProblemKind::BadRequest, format!("{}{place}: {}", path.display(), e.message))
            .hint("`sessile config --help` shows what can be in it")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_configuration() {
        let config = parse(
            r#"
            detach_key = "ctrl-]"
            [run]
            memory = "2G"
            cpu = 1.5
            ttl = 60
            project = "copy"
            mount = ["/data:/mnt/data:rw"]
            [run.labels]
            team = "red"
            [profiles.work]
            memory = "4G"
            accept_weaker = ["amnesia"]
            [presets.mine]
            binary = "mine"
            [tools.mine]
            paths = ["~/mine"]
            "#,
        )
        .unwrap();
        assert_eq!(config.detach_key.as_ref().map(DetachKey::name), Some("ctrl-]"));
        let work = config.profiles[&"work".parse().unwrap()].clone().over(config.run);
        assert_eq!(work.memory, Some(ByteSize(4 << 30)));
        assert_eq!((work.cpu, work.ttl), (Some(Cpu(150)), Some(Millis(60_000))));
        assert_eq!(work.labels["team"], "red");
        assert_eq!(work.mount.len(), 1);
        assert_eq!(work.project.and_then(ProjectDefault::access), Some(Access::Copy));
    }

    #[test]
    fn errors_name_the_line() {
        let error = |text: &str| parse(text).unwrap_err().to_string();
        assert!(
            error("[run]\nmemry = \"2G\"\n").starts_with("line 2: unknown field `memry`, expected one of")
        );
        insta::assert_snapshot!(error("\n[run]\nmemory = \"2X\"\n"), @"line 3: `2X`: not a size (examples: 4096, 512K, 64M, 2G)");
        insta::assert_snapshot!(error("[run]\n\nttl = true\n"), @r#"line 3: expected a text such as "2G" or "10s", or a number"#);
        insta::assert_snapshot!(error("detach_key = \"q\"\n"), @r"line 1: the detach key must be a control key such as ctrl-\ or ctrl-]");
        insta::assert_snapshot!(error("[profiles.\"A b\"]\n"), @"line 1: profile names are 1 to 40 characters of a-z, 0-9, '-', '_' and '.', starting with a letter or digit");
        insta::assert_snapshot!(error("[run\n"), @"line 1: unclosed table, expected `]`");
    }
}
