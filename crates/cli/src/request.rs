//! From the command line and the configuration to a specification.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use sessile_model::ids::{ProfileName, SessionName};
use sessile_model::network::Route;
use sessile_model::problem::ProblemKind;
use sessile_model::property::Property;
use sessile_model::quantity::{ByteSize, Millis};
use sessile_model::spec::{Access, EnvVar, Limits, Mount, Project, Spec};
use thiserror::Error;

use crate::config::{Config, ProjectDefault, RunDefaults};
use crate::credentials::CredentialArgument;
use crate::environment::{self, EnvArgument};
use crate::failure::Failure;
use crate::hosts::{self, HostArgument};
use crate::project::{ProjectArgument, Surroundings, utf8};
use crate::tools;
use crate::{policies, presets};

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
    /// Show your own tools (~/.cargo, ~/.rustup, ~/.nvm, ~/.local/bin, …) read-only
    #[arg(long, help_heading = "What it may see")]
    pub tools: bool,
    /// Pass on a variable of yours, or (visible to every user of this machine) set one
    #[arg(long, short = 'e', value_name = "K[=V]", help_heading = "What it may see")]
    pub env: Vec<EnvArgument>,
    /// Read KEY=VALUE lines from a file
    #[arg(long, value_name = "FILE", help_heading = "What it may see")]
    pub env_file: Vec<PathBuf>,
    /// Read KEY=VALUE lines from standard input
    #[arg(long, help_heading = "What it may see")]
    pub env_stdin: bool,

    /// Its way out: none, direct, or socks5://HOST:PORT [default: direct]
    #[arg(long, value_name = "ROUTE", help_heading = "What it may reach")]
    pub route: Option<Route>,
    /// A host it may reach: api.example.com:443, '*.example.org', 192.0.2.1, or a list such as @github
    #[arg(long, value_name = "HOST[:PORT]", help_heading = "What it may reach")]
    pub allow: Vec<HostArgument>,
    /// A host about which you are asked
    #[arg(long, value_name = "HOST[:PORT]", help_heading = "What it may reach")]
    pub ask: Vec<HostArgument>,
    /// A host it may not reach
    #[arg(long, value_name = "HOST[:PORT]", help_heading = "What it may reach")]
    pub deny: Vec<HostArgument>,
    /// A file of policies in Cedar (see `sessile policy --help`)
    #[arg(long, value_name = "FILE", help_heading = "What it may reach")]
    pub policy: Vec<PathBuf>,
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
    #[arg(long, help_heading = "What it may reach")]
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
    /// End it after this long without input, output or a client
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
pub struct Metadata(String, serde_json::Value);

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

/// Where `run` was called.
#[derive(Clone, Debug)]
pub struct Place {
    /// The current folder.
    pub folder: PathBuf,
    /// The caller's home.
    pub home: PathBuf,
    /// The caller's PATH.
    pub search: String,
    /// What a project keeps away from.
    pub surroundings: Surroundings,
}

/// A specification, and what to tell the user about it.
#[derive(Debug)]
pub struct Request {
    /// What is asked for. Terminal and command are the caller's to set.
    pub spec: Spec,
    /// Sentences for standard error.
    pub notices: Vec<String>,
}

/// What tools and presets give, beside what is asked for by name.
#[derive(Debug, Default)]
struct Given {
    mounts: Vec<Mount>,
    /// Folders for PATH.
    bins: Vec<String>,
    env: Vec<EnvVar>,
    hosts: Vec<HostArgument>,
    notices: Vec<String>,
}

/// Puts a specification together from options, configuration and surroundings.
///
/// # Errors
/// The first option that cannot be carried out, and why.
pub fn build(
    options: &SessionOptions,
    command: Vec<String>,
    config: &Config,
    place: &Place,
) -> Result<Request, Failure> {
    let defaults = chosen_defaults(options, config)?;
    let mut given = Given::default();
    for mount in defaults.mount.iter().chain(&options.mount) {
        given.mounts.push(mount.resolve(place)?);
    }
    if options.tools || defaults.tools == Some(true) {
        let found = tools::find(&tools::sets(&config.tools)?, &place.home)?;
        given.mounts.extend(found.mounts);
        given.bins.extend(found.bins);
        given.env = found.env;
    }
    let (command, preset) = apply_preset(command, config, place, &mut given)?;
    let Given { mounts, bins, env: mut tool_env, hosts, mut notices } = given;
    tool_env.extend(tools::path_variable(&bins));
    let env = environment::merged([tool_env, given_environment(options, &defaults, &mut notices)?]);
    let mut network = hosts::network(options, &defaults, &hosts, (config, place))?;
    let files: Vec<PathBuf> = defaults.policy.iter().chain(&options.policy).cloned().collect();
    let (policies, doubtful) = policies::read(&files, &place.folder, &place.home)?;
    network.policies = policies;
    notices.extend(doubtful);
    let mut labels = defaults.labels;
    labels.extend(options.labels.iter().map(|Label(k, v)| (k.clone(), v.clone())));
    let mut accept_weaker = defaults.accept_weaker;
    accept_weaker.extend(&options.accept_weaker);
    let mut spec = Spec {
        name: options.name.clone(),
        command,
        project: chosen_project(options, &defaults.project, defaults.allow_hooks, place)?,
        mounts: without_doubles(mounts),
        env,
        network,
        limits: Limits {
            memory: options.memory.or(defaults.memory),
            cpu_percent: options.cpu.or(defaults.cpu).map(|c| c.0),
            pids: options.pids.or(defaults.pids),
            storage: options.storage.or(defaults.storage),
            storage_inodes: options.storage_inodes.or(defaults.storage_inodes),
        },
        ttl: options.ttl.or(defaults.ttl),
        idle_timeout: options.idle_timeout.or(defaults.idle_timeout),
        linger: options.linger.or(defaults.linger),
        keep: options.keep || defaults.keep == Some(true),
        keep_record: options.keep_record || defaults.keep_record == Some(true),
        accept_weaker,
        profile: options.profile.clone(),
        preset,
        user: options.user.clone().or(defaults.user),
        channel: options.channel.clone().or(defaults.channel),
        chat: options.chat.clone().or(defaults.chat),
        labels,
        metadata: options.metadata.iter().map(|Metadata(k, v)| (k.clone(), v.clone())).collect(),
        ..Spec::default()
    };
    let credentials = defaults.credential.iter().chain(&options.credential);
    spec.credentials = credentials.map(|c| c.resolve(&spec, &place.home)).collect::<Result<_, Failure>>()?;
    Ok(Request { spec, notices })
}

fn chosen_defaults(options: &SessionOptions, config: &Config) -> Result<RunDefaults, Failure> {
    let base = config.run.clone();
    let Some(name) = &options.profile else { return Ok(base) };
    match config.profiles.get(name) {
        Some(profile) => Ok(profile.clone().over(base)),
        None => {
            Err(Failure::new(ProblemKind::NotFound, format!("there is no profile `{name}`")).hint(format!(
                "write a [profiles.{name}] table into config.toml (`sessile config check` shows where it is)"
            )))
        }
    }
}

fn chosen_project(
    options: &SessionOptions,
    default: &Option<ProjectDefault>,
    allow_hooks: Option<bool>,
    place: &Place,
) -> Result<Option<Project>, Failure> {
    let access = default.unwrap_or(ProjectDefault::Rw).access();
    let (folder, access) = match (&options.project, access) {
        _ if options.no_project => return Ok(None),
        (Some(given), access) => {
            (place.folder.join(&given.path), given.access.or(access).unwrap_or(Access::Rw))
        }
        (None, Some(access)) => (place.folder.clone(), access),
        (None, None) => return Ok(None),
    };
    let path = place.surroundings.accept(&folder)?;
    Ok(Some(Project { path, access, allow_hooks: options.allow_hooks || allow_hooks == Some(true) }))
}

/// Replaces a preset's name by its program, and adds what that needs.
fn apply_preset(
    mut command: Vec<String>,
    config: &Config,
    place: &Place,
    given: &mut Given,
) -> Result<(Vec<String>, Option<String>), Failure> {
    let Some(name) = command.first().cloned() else { return Ok((command, None)) };
    let presets = presets::presets(&config.presets)?;
    let Some(preset) = presets.get(&name) else { return Ok((command, None)) };
    let installed = presets::find(&name, preset, &place.search, &place.home)?;
    let mut granted: Vec<String> =
        installed.mounts.iter().map(|m| format!("{} (read-only)", m.source)).collect();
    for name in &preset.env {
        if let Ok(variable) = EnvArgument::Inherit(name.clone()).resolve() {
            granted.push(format!("the variable {name}"));
            given.env.push(variable);
        }
    }
    for target in hosts::resolve(&preset.hosts, &hosts::lists(&config.hosts, &place.home)?)? {
        granted.push(target.to_string());
        given.hosts.push(HostArgument::Target(target));
    }
    let granted = if granted.is_empty() { "nothing further".to_owned() } else { granted.join(", ") };
    given.notices.push(format!("preset {name}: runs {}, granted {granted}", installed.program));
    command[0] = installed.program;
    given.mounts.extend(installed.mounts);
    given.bins.extend(installed.bins);
    Ok((command, Some(name)))
}

fn given_environment(
    options: &SessionOptions,
    defaults: &RunDefaults,
    notices: &mut Vec<String>,
) -> Result<Vec<EnvVar>, Failure> {
    let mut lists = Vec::new();
    let inherited = defaults.env.iter().filter(|name| std::env::var_os(name).is_some());
    lists.push(
        inherited
            .map(|n| n.parse().map_err(|e| bad(&e)).and_then(|a: EnvArgument| a.resolve()))
            .collect::<Result<_, _>>()?,
    );
    for path in defaults.env_file.iter().chain(&options.env_file) {
        let (variables, warning) = environment::read_file(path)?;
        notices.extend(warning.map(|w| format!("warning: {w}")));
        lists.push(variables);
    }
    if options.env_stdin {
        lists.push(environment::read_stdin()?);
    }
    lists.push(options.env.iter().map(EnvArgument::resolve).collect::<Result<_, _>>()?);
    let inline = options.env.iter().filter_map(|e| match e {
        EnvArgument::Inline(variable) => Some(variable.name.as_str()),
        EnvArgument::Inherit(_) => None,
    });
    let inline: Vec<&str> = inline.collect();
    if !inline.is_empty() {
        notices.push(format!(
            "warning: the value of {} is visible to every user of this machine in the list of processes; for a secret use `--env K`, --env-file or --env-stdin",
            inline.join(", ")
        ));
    }
    Ok(environment::merged(lists))
}

fn bad(error: &impl std::fmt::Display) -> Failure {
    Failure::new(ProblemKind::BadRequest, error.to_string())
}

impl MountArgument {
    fn resolve(&self, place: &Place) -> Result<Mount, Failure> {
        let given = self.source.to_string_lossy();
        let source = place.folder.join(tools::expanded(&given, &place.home));
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

/// The mounts without a second one at the same target: the first, which is the user's own, stays.
fn without_doubles(mounts: Vec<Mount>) -> Vec<Mount> {
    let mut seen: BTreeMap<String, ()> = BTreeMap::new();
    mounts.into_iter().filter(|m| seen.insert(m.target.clone(), ()).is_none()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(dir: &Path) -> Place {
        Place {
            folder: dir.to_owned(),
            home: dir.join("no-home"),
            search: "/usr/bin:/bin".to_owned(),
            surroundings: Surroundings::default(),
        }
    }

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

    #[test]
    fn the_command_line_goes_over_the_profile_over_the_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let config = crate::config::parse(
            "[run]\nmemory = \"1G\"\nkeep = true\nproject = \"ro\"\nmount = [\"/usr/share:/share\"]\n[run.labels]\na = \"1\"\n\
             [profiles.p]\nmemory = \"2G\"\npids = 5\n[profiles.p.labels]\nb = \"2\"\n",
        )
        .unwrap();
        let options = SessionOptions {
            profile: Some("p".parse().unwrap()),
            pids: Some(7),
            labels: vec!["a=3".parse().unwrap()],
            mount: vec!["/usr/lib:/share".parse().unwrap(), "/usr/bin/../include".parse().unwrap()],
            ..SessionOptions::default()
        };
        let request = build(&options, vec!["sh".into()], &config, &place(dir.path())).unwrap();
        let spec = request.spec;
        assert_eq!(
            (spec.limits.memory, spec.limits.pids, spec.keep),
            (Some(ByteSize(2 << 30)), Some(7), true)
        );
        assert_eq!(
            spec.labels.into_iter().collect::<Vec<_>>(),
            [("a".into(), "3".into()), ("b".into(), "2".into())]
        );
        assert_eq!(spec.project.unwrap().access, Access::Ro);
        let targets: Vec<_> = spec.mounts.iter().map(|m| (m.source.as_str(), m.target.as_str())).collect();
        assert_eq!(targets, [("/usr/share", "/share"), ("/usr/include", "/usr/include")]);
        assert!(request.notices.is_empty());
        let unknown = SessionOptions { profile: Some("q".parse().unwrap()), ..SessionOptions::default() };
        assert!(build(&unknown, vec![], &config, &place(dir.path())).is_err());
    }

    #[test]
    fn inline_values_are_warned_about_without_showing_them() {
        let dir = tempfile::tempdir().unwrap();
        let options =
            SessionOptions { env: vec!["TOKEN=hunter2".parse().unwrap()], ..SessionOptions::default() };
        let request = build(&options, vec![], &Config::default(), &place(dir.path())).unwrap();
        assert_eq!(request.notices.len(), 1);
        assert!(request.notices[0].contains("TOKEN") && !request.notices[0].contains("hunter2"));
        assert_eq!(request.spec.env.len(), 1);
    }

    #[test]
    fn presets_say_what_they_grant() {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("agent/bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::write(bin.join("claude"), "\x7fELF").unwrap();
        let place = Place { search: bin.to_str().unwrap().to_owned(), ..place(dir.path()) };
        let request =
            build(&SessionOptions::default(), vec!["claude".into(), "-p".into()], &Config::default(), &place)
                .unwrap();
        let shown = request.notices.join("\n").replace(dir.path().to_str().unwrap(), "~");
        insta::assert_snapshot!(shown, @"preset claude: runs ~/agent/bin/claude, granted ~/agent (read-only), api.anthropic.com:443");
        assert_eq!(request.spec.preset.as_deref(), Some("claude"));
        assert_eq!(request.spec.command[1..], ["-p"]);
        assert!(build(&SessionOptions::default(), vec!["codex".into()], &Config::default(), &place).is_err());
    }
}
