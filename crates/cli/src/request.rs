//! From the command line and the configuration to a specification.

use std::collections::BTreeSet;
use std::path::PathBuf;

use sessile_model::guarding::GuardSpec;
use sessile_model::problem::ProblemKind;
use sessile_model::spec::{Access, EnvVar, Limits, Mount, Project, Recording, Spec};

use crate::config::{Config, ProjectDefault, RunDefaults};
use crate::environment::{self, EnvArgument};
use crate::failure::Failure;
use crate::hosts::{self, HostArgument};
use crate::options::{Label, Metadata, SessionOptions};
use crate::project::Surroundings;
use crate::{declarations, policies, presets, protocols, tools};

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
    for mount in options.mount.iter().chain(&defaults.mount) {
        given.mounts.push(mount.resolve(&place.folder, &place.home)?);
    }
    if options.shows_tools() || defaults.tools == Some(true) {
        let found = tools::find(&tools::sets(&config.tools)?, &place.home)?;
        given.mounts.extend(found.mounts);
        given.bins.extend(found.bins);
        given.env = found.env;
    }
    let (command, preset) = apply_preset(command, config, place, &mut given)?;
    let Given { mounts, bins, env: mut tool_env, hosts, mut notices } = given;
    tool_env.extend(tools::path_variable(&bins));
    let env = environment::merged([tool_env, given_environment(options, &defaults, &mut notices)?]);
    let mut network = hosts::network(options, &defaults, &hosts, (config, place), &mut notices)?;
    let files: Vec<PathBuf> = defaults.policy.iter().chain(&options.policy).cloned().collect();
    let policies = policies::read(&files, &place.folder, &place.home)?;
    network.policies = policies.texts;
    let declarations = options.declarations().map(|file| declarations::text(&place.folder.join(file)));
    let guard = GuardSpec { policies: policies.guard, tools: declarations.transpose()? };
    notices.extend(policies.warnings);
    if !options.mcp.is_empty() || !defaults.mcp.is_empty() {
        notices
            .extend(policies::silence(&policies.silent, "what MCP servers are asked or answer of that kind"));
    }
    let mut labels = defaults.labels;
    labels.extend(options.labels.iter().map(|Label(k, v)| (k.clone(), v.clone())));
    let mut accept_weaker = defaults.accept_weaker;
    accept_weaker.extend(&options.accept_weaker);
    let mut spec = Spec {
        name: options.name.clone(),
        command,
        project: chosen_project(options, &defaults.project, defaults.allow_hooks, place)?,
        mounts: without_doubles(mounts, options.mount.len()),
        env,
        network,
        protocol: protocols::asked::asked(options, &place.folder)?,
        guard,
        mcp: defaults.mcp.iter().chain(&options.mcp).map(|server| server.0.clone()).collect(),
        on_question: options.on_question.clone().or(defaults.on_question),
        size: options.size.or(defaults.size).unwrap_or_default(),
        record: (options.record || options.record_input || defaults.record == Some(true))
            .then_some(Recording { input: options.record_input }),
        ssh_agent: options.forward_agent.then(environment::ssh_agent).transpose()?,
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
    let resolved = credentials.map(|c| c.resolve(&spec, &place.home, &mut notices));
    spec.credentials = resolved.collect::<Result<_, Failure>>()?;
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

/// The mounts without those of configuration and tools whose targets are taken. The first `own` are asked for: what
/// is wrong with them is said.
fn without_doubles(mut mounts: Vec<Mount>, own: usize) -> Vec<Mount> {
    let given = mounts.split_off(own);
    let mut taken: BTreeSet<String> = mounts.iter().map(|mount| mount.target.clone()).collect();
    mounts.extend(given.into_iter().filter(|mount| taken.insert(mount.target.clone())));
    mounts
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sessile_model::quantity::ByteSize;

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
        assert_eq!(targets, [("/usr/lib", "/share"), ("/usr/include", "/usr/include")]);
        assert!(request.notices.is_empty());
        let unknown = SessionOptions { profile: Some("q".parse().unwrap()), ..SessionOptions::default() };
        assert!(build(&unknown, vec![], &config, &place(dir.path())).is_err());
    }

    #[test]
    fn what_is_recorded() {
        let dir = tempfile::tempdir().unwrap();
        let config = "[run]\nrecord = true\n[profiles.quiet]\nrecord = false\n";
        let config = crate::config::parse(config).unwrap();
        let recorded = |options: &SessionOptions| {
            build(options, vec!["sh".into()], &config, &place(dir.path())).unwrap().spec.record
        };
        let quiet =
            || SessionOptions { profile: Some("quiet".parse().unwrap()), ..SessionOptions::default() };
        assert_eq!(recorded(&SessionOptions::default()), Some(Recording { input: false }));
        assert_eq!(recorded(&quiet()), None);
        assert_eq!(recorded(&SessionOptions { record: true, ..quiet() }), Some(Recording { input: false }));
        // What is typed is recorded only where that is said each time.
        let input = SessionOptions { record_input: true, ..SessionOptions::default() };
        assert_eq!(recorded(&input), Some(Recording { input: true }));
    }

    #[test]
    fn hosts_are_not_opened_without_a_route() {
        let dir = tempfile::tempdir().unwrap();
        let config = crate::config::parse("[run]\nroute = \"none\"\n[profiles.p]\nallow = [\"a.example\"]\n");
        let config = config.unwrap();
        let refused = |options: &SessionOptions| match build(options, vec![], &config, &place(dir.path())) {
            Ok(_) => None,
            Err(Failure::Problem(problem)) => Some((problem.kind, problem.detail)),
            Err(Failure::ClosedPipe) => unreachable!(),
        };
        let host = || vec!["b.example".parse().unwrap()];
        let direct = || Some("direct".parse().unwrap());
        let (kind, detail) = refused(&SessionOptions { allow: host(), ..SessionOptions::default() }).unwrap();
        assert_eq!(kind, ProblemKind::BadRequest);
        assert!(detail.starts_with("--allow opens nothing with `route = \"none\"`"), "{detail}");
        let none = Some("none".parse().unwrap());
        let (_, detail) =
            refused(&SessionOptions { ask: host(), route: none, ..SessionOptions::default() }).unwrap();
        assert!(detail.starts_with("--ask opens nothing with --route none"), "{detail}");
        let profile = Some("p".parse().unwrap());
        for fine in [
            SessionOptions { allow: host(), route: direct(), ..SessionOptions::default() },
            SessionOptions { deny: host(), ..SessionOptions::default() },
            SessionOptions { profile, ..SessionOptions::default() },
        ] {
            assert_eq!(refused(&fine), None);
        }
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
