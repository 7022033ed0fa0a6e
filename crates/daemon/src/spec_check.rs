//! Whether a specification may be carried out at all. Nothing is started before it has passed.

use std::ffi::OsStr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Component, Path};

use sessile_anchor::control::MAX_STRINGS;
use sessile_guard::tools::Tools;
use sessile_model::credential::{Credential, MAX_CREDENTIALS, MAX_VALUES, is_header, is_value};
use sessile_model::guarding::{GuardSpec, MAX_TOOLS_BYTES};
use sessile_model::mcp::{LONGEST_SERVER, MOST_SERVERS, McpServer};
use sessile_model::network::{MAX_RULES, MAX_UPSTREAM_CA, Network, Route};
use sessile_model::protocol::ProtocolSpec;
use sessile_model::quantity::{ByteSize, Millis};
use sessile_model::spec::{EnvVar, Limits};
use sessile_model::{Problem, ProblemKind, Property, Spec};
use sessile_protocol::held::{Unplanned, planned};

use crate::launch::PROGRAMS;
use crate::mounts;
use crate::paths::Folders;

/// Bytes of arguments and environment together, each with its final NUL.
const MAX_ARGUMENTS: usize = 1 << 20;
/// Longest single argument or `NAME=VALUE`: the kernel's MAX_ARG_STRLEN, with its final NUL.
const MAX_ARGUMENT: usize = 128 << 10;
const MAX_MOUNTS: usize = 256;
/// Longest command that tells of a question.
const MAX_NOTICE: usize = 4096;
const MAX_LABELS: usize = 64;
const MAX_LABEL_KEY: usize = 64;
const MAX_WORD: usize = 256;
const MAX_METADATA: usize = 64 << 10;
const MAX_TERM: usize = 64;
/// A hundred years: sums of times stay far from overflow.
const MAX_DURATION: Millis = Millis(100 * 365 * 86_400_000);
const RING: (ByteSize, ByteSize) = (ByteSize(4 << 10), ByteSize(64 << 20));

/// Checks a specification and returns it with its terminal's size within bounds and without
/// repeated properties.
///
/// # Errors
/// `BadRequest`, `NotFound` or `Denied`, with a sentence about the first fault.
pub fn checked(mut spec: Spec, folders: &Folders, home: Option<&Path>) -> Result<Spec, Problem> {
    arguments(&spec.command, &spec.env)?;
    if let Some(project) = &spec.project {
        folder_grant(&project.path, "the project", folders)?;
        refuse_home(Path::new(&project.path), home)?;
    }
    if spec.mounts.len() > MAX_MOUNTS {
        return Err(bad(format!("more than {MAX_MOUNTS} mounts")));
    }
    for mount in &spec.mounts {
        granted_path(&mount.source, "a mount's source", folders)?;
        plain_path(&mount.target, "a mount's target")?;
        if mount.target == "/" {
            return Err(bad("a mount's target is the root folder"));
        }
    }
    mounts::check(&spec.mounts, spec.project.as_ref())?;
    if spec.on_question.as_ref().is_some_and(|c| c.is_empty() || c.contains('\0') || c.len() > MAX_NOTICE) {
        return Err(bad(format!("on_question must be a command of 1 to {MAX_NOTICE} bytes without NUL")));
    }
    if spec.record.is_some() && (spec.terminal.is_none() || spec.command.is_empty()) {
        return Err(bad("only a command on a terminal can be recorded"));
    }
    spec.ssh_agent.as_deref().map_or(Ok(()), ssh_agent)?;
    limits(&spec.limits)?;
    if let Some(protocol) = &spec.protocol {
        protocol.check_size().map_err(|e| bad(e.to_string()))?;
    }
    guard(&spec.guard)?;
    servers(&spec.mcp)?;
    network(&spec.network)?;
    tor_choices(&spec)?;
    credentials(&spec.credentials, &spec.network)?;
    for (what, value) in [("ttl", spec.ttl), ("idle_timeout", spec.idle_timeout), ("linger", spec.linger)] {
        if value.is_some_and(|v| v.0 == 0 || v > MAX_DURATION) {
            return Err(bad(format!("{what} must be longer than nothing and at most 100 years")));
        }
    }
    if spec.output_ring.is_some_and(|ring| ring < RING.0 || ring > RING.1) {
        return Err(bad(format!("output_ring must lie between {} and {}", RING.0, RING.1)));
    }
    words(&spec)?;
    spec.terminal = spec.terminal.map(|size| size.clamped());
    spec.accept_weaker.sort_unstable();
    spec.accept_weaker.dedup();
    Ok(spec)
}

/// Checks a command and environment, as for `exec`.
///
/// # Errors
/// `BadRequest` about the first fault.
pub fn arguments(command: &[String], env: &[EnvVar]) -> Result<(), Problem> {
    if command.first().is_some_and(String::is_empty) {
        return Err(bad("the command's name is empty"));
    }
    for (what, count) in [("arguments", command.len()), ("environment variables", env.len())] {
        if count > MAX_STRINGS {
            return Err(bad(format!("{count} {what}, at most {MAX_STRINGS} fit"))
                .hint("pass them through a file or standard input"));
        }
    }
    let mut total = 0;
    for argument in command {
        if argument.contains('\0') {
            return Err(bad("an argument contains a NUL byte"));
        }
        total += counted(argument.len() + 1, "an argument")?;
    }
    for var in env {
        let mut letters = var.name.bytes();
        let starts = letters.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        if !starts || !letters.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(bad("an environment variable's name is not letters, digits and '_'"));
        }
        if var.value.contains('\0') {
            return Err(bad(format!("the value of {} contains a NUL byte", var.name)));
        }
        total += counted(var.name.len() + var.value.len() + 2, "an environment variable")?;
    }
    if total > MAX_ARGUMENTS {
        return Err(bad(format!(
            "arguments and environment have {total} bytes, at most {MAX_ARGUMENTS} fit"
        )));
    }
    Ok(())
}

fn counted(len: usize, what: &str) -> Result<usize, Problem> {
    if len > MAX_ARGUMENT {
        return Err(bad(format!("{what} has {len} bytes, the kernel takes at most {MAX_ARGUMENT}"))
            .hint("pass it through a file or standard input"));
    }
    Ok(len)
}

fn network(network: &Network) -> Result<(), Problem> {
    if let Some(credentials) = &network.credentials {
        if !matches!(network.route, Route::Socks5 { .. }) {
            return Err(bad("credentials are for a route socks5://HOST:PORT"));
        }
        if !credentials.is_valid() {
            return Err(bad("a proxy's user and password have 1 to 255 bytes each"));
        }
    }
    let rules = network.allow.len() + network.ask.len() + network.deny.len() + network.intercept.len();
    if network.upstream_ca.len() > MAX_UPSTREAM_CA {
        return Err(bad(format!("upstream_ca has more than {MAX_UPSTREAM_CA} bytes")));
    }
    if !network.upstream_ca.is_empty() && !network.upstream_ca.contains("-----BEGIN CERTIFICATE-----") {
        return Err(bad("upstream_ca holds no certificate in PEM"));
    }
    if rules > MAX_RULES {
        return Err(bad(format!("{rules} rules for hosts, at most {MAX_RULES} fit")));
    }
    if network.limits.connections == Some(0) {
        return Err(bad("no connections at all: that is the route none"));
    }
    if let Err(flaws) = sessile_policy::load(&network.policies) {
        let all: Vec<String> = flaws.iter().map(ToString::to_string).collect();
        return Err(bad(all.join("\n")).hint("`sessile policy schema` shows what policies may speak of"));
    }
    Ok(())
}

/// By what the guard decides.
fn guard(guard: &GuardSpec) -> Result<(), Problem> {
    if !guard.policies.is_empty()
        && let Err(flaws) = sessile_policy::guard::load(&guard.policies)
    {
        let all: Vec<String> = flaws.iter().map(ToString::to_string).collect();
        return Err(bad(all.join("\n"))
            .hint("`sessile guard policy --schema` shows what policies of the guard may speak of"));
    }
    let Some(tools) = &guard.tools else { return Ok(()) };
    if tools.len() > MAX_TOOLS_BYTES {
        return Err(bad(format!("what tools do has at most {MAX_TOOLS_BYTES} bytes")));
    }
    Tools::parse(tools).map(drop).map_err(|e| bad(format!("what tools do: {e}")))
}

/// What is to be started as MCP servers.
fn servers(servers: &[McpServer]) -> Result<(), Problem> {
    if servers.len() > MOST_SERVERS {
        return Err(bad(format!("a session has at most {MOST_SERVERS} MCP servers")));
    }
    for (at, server) in servers.iter().enumerate() {
        let name = &server.name;
        if name.to_string().len() > LONGEST_SERVER {
            return Err(bad(format!("an MCP server's name has at most {LONGEST_SERVER} letters")));
        }
        if servers[..at].iter().any(|other| other.name == *name) {
            return Err(bad(format!("two MCP servers are called {name}")));
        }
        if server.command.is_empty() || server.command.iter().any(|word| word.contains('\0')) {
            return Err(bad(format!("the MCP server {name} has no command, or one with NUL in it")));
        }
    }
    Ok(())
}

/// What is chosen about tor, where that is the route at all.
fn tor_choices(spec: &Spec) -> Result<(), Problem> {
    let Network { route, tor_config, tor_entry, .. } = &spec.network;
    match route {
        Route::Tor => {
            let lines = tor_config.as_deref().unwrap_or_default();
            sessile_model::tor::check(lines).map_err(|e| bad(e.to_string()))?;
            if !tor_entry.is_fresh() && !spec.accept_weaker.contains(&Property::Routing) {
                return Err(bad("pinned entry guards are shared by sessions, which can be linked by them")
                    .hint("add --accept-weaker routing, or leave --tor-entry out"));
            }
            Ok(())
        }
        Route::None | Route::Direct | Route::Socks5 { .. } => {
            if tor_config.is_some() || !tor_entry.is_fresh() {
                return Err(bad(format!("options of tor, and the route {route}")).hint("add --route tor"));
            }
            Ok(())
        }
    }
}

/// Where the host's tor is, for a session whose route it is.
///
/// # Errors
/// `Unsupported` when there is none.
pub fn tor(network: &Network, search: Option<&OsStr>) -> Result<Option<String>, Problem> {
    match network.route {
        Route::None | Route::Direct | Route::Socks5 { .. } => Ok(None),
        Route::Tor => {
            let folders = std::env::split_paths(search.unwrap_or(OsStr::new(PROGRAMS)));
            let found = folders.filter(|f| f.is_absolute()).map(|f| f.join("tor")).find(|program| {
                let known = std::fs::metadata(program);
                known.is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
            });
            let path = found.and_then(|path| path.into_os_string().into_string().ok());
            let absent = || {
                Problem::new(ProblemKind::Unsupported, "the route tor needs tor, which is not on this host")
                    .hint("apt install tor")
            };
            path.ok_or_else(absent).map(Some)
        }
    }
}

fn credentials(credentials: &[Credential], network: &Network) -> Result<(), Problem> {
    if credentials.len() > MAX_CREDENTIALS {
        return Err(bad(format!("more than {MAX_CREDENTIALS} credentials")));
    }
    if credentials.iter().map(|c| c.value.0.len()).sum::<usize>() > MAX_VALUES {
        return Err(bad(format!("the values of credentials have more than {MAX_VALUES} bytes")));
    }
    let opens = !credentials.is_empty() || !network.intercept.is_empty();
    if opens && network.route == Route::None {
        return Err(bad("with the route none there is no gateway that could open TLS or set a header"));
    }
    for Credential { target, header, value } in credentials {
        if !target.is_exact() {
            return Err(bad(format!("a credential is for one host, not for {target}")));
        }
        if !is_header(header) {
            return Err(bad(format!("{header:?} is not a header that can be a credential")));
        }
        if !is_value(&value.0) {
            return Err(bad(format!(
                "the value of the credential for {target} has fewer than 8 characters, or holds more than \
                 visible ASCII characters with blanks between them"
            )));
        }
    }
    Ok(())
}

fn limits(limits: &Limits) -> Result<(), Problem> {
    let least = |what: &str, value: Option<u64>, least: u64| match value {
        Some(value) if value < least => {
            Err(bad(format!("the {what} limit is {value}, the least is {least}")))
        }
        _ => Ok(()),
    };
    let room = |what: &str, value: Option<ByteSize>, least: u64| match value {
        Some(value) if value.0 < least => {
            Err(bad(format!("the {what} limit is {value}, the least is {}", ByteSize(least))))
        }
        _ => Ok(()),
    };
    room("memory", limits.memory, 4 << 20)?;
    least("cpu_percent", limits.cpu_percent.map(u64::from), 1)?;
    least("pids", limits.pids.map(u64::from), 2)?;
    room("storage", limits.storage, 1 << 20)?;
    least("storage_inodes", limits.storage_inodes, 128)?;
    let most = |what: &str, value: Option<u64>, most: u64| match value {
        Some(value) if value > most => Err(bad(format!("the {what} limit is {value}, the most is {most}"))),
        _ => Ok(()),
    };
    most("memory", limits.memory.map(|m| m.0), i64::MAX as u64)?;
    most("cpu_percent", limits.cpu_percent.map(u64::from), 1_000_000)?;
    most("pids", limits.pids.map(u64::from), 4_194_304)?;
    most("storage", limits.storage.map(|s| s.0), i64::MAX as u64)
}

fn words(spec: &Spec) -> Result<(), Problem> {
    let own =
        [("user", &spec.user), ("channel", &spec.channel), ("chat", &spec.chat), ("preset", &spec.preset)];
    for (what, value) in own {
        if let Some(value) = value {
            word(what, value)?;
        }
    }
    if let Some(term) = &spec.term {
        let printable = term.bytes().all(|b| b.is_ascii_graphic());
        if term.is_empty() || term.len() > MAX_TERM || !printable {
            return Err(bad(format!("term is 1 to {MAX_TERM} printable characters")));
        }
    }
    if spec.labels.len() > MAX_LABELS {
        return Err(bad(format!("more than {MAX_LABELS} labels")));
    }
    for (key, value) in &spec.labels {
        let plain = key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b));
        if key.is_empty() || key.len() > MAX_LABEL_KEY || !plain {
            return Err(bad(format!(
                "a label's key is 1 to {MAX_LABEL_KEY} letters, digits, '-', '_', '.' and '/'"
            )));
        }
        if !value.is_empty() {
            word(&format!("the label {key}"), value)?;
        }
    }
    if spec.is_too_deep() {
        return Err(bad(format!("metadata is nested deeper than {}", Spec::MAX_METADATA_DEPTH)));
    }
    let metadata = serde_json::to_vec(&spec.metadata).map_or(usize::MAX, |json| json.len());
    if metadata > MAX_METADATA {
        return Err(bad(format!("metadata has more than {MAX_METADATA} bytes")));
    }
    Ok(())
}

fn word(what: &str, value: &str) -> Result<(), Problem> {
    if value.is_empty() || value.len() > MAX_WORD || value.chars().any(char::is_control) {
        return Err(bad(format!("{what} is 1 to {MAX_WORD} bytes without control characters")));
    }
    Ok(())
}

/// An absolute path without NUL bytes and `..`.
fn plain_path(path: &str, what: &str) -> Result<(), Problem> {
    let climbs = Path::new(path).components().any(|c| c == Component::ParentDir);
    if !path.starts_with('/') || path.contains('\0') || path.len() >= 4096 || climbs {
        return Err(bad(format!("{what} is not an absolute path without '..'")));
    }
    Ok(())
}

/// Whether a path is one of a socket, where an agent may be.
pub fn ssh_agent(path: &str) -> Result<(), Problem> {
    plain_path(path, "the SSH agent's socket")?;
    match std::fs::metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => Ok(()),
        Ok(_) => Err(bad(format!("{path} is no socket"))),
        Err(e) => Err(Problem::new(
            ProblemKind::NotFound,
            format!("the SSH agent's socket {path} cannot be found: {}", e.kind()),
        )),
    }
}

/// Whether a protocol is one that a session can be held to. The keeper asks the same; here it is refused
/// before there is one. May take a second.
pub fn protocol(spec: &ProtocolSpec) -> Result<(), Problem> {
    let files: Vec<(&str, &str)> = spec.files.iter().map(|file| (&*file.name, &*file.text)).collect();
    let speakers: Vec<(&str, String)> =
        spec.roles.iter().map(|(role, speaker)| (&**role, speaker.to_string())).collect();
    let roles = speakers.iter().map(|(role, speaker)| (*role, &**speaker));
    let error = match planned(&files, spec.name.as_deref(), roles) {
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    let kind = match &error {
        Unplanned::Undecided(_) => ProblemKind::Exhausted,
        Unplanned::NoFile
        | Unplanned::Refused(_)
        | Unplanned::UnknownRole { .. }
        | Unplanned::Unbound(_)
        | Unplanned::TwoRoles { .. }
        | Unplanned::Compile(_) => ProblemKind::BadRequest,
    };
    let hint = match &error {
        Unplanned::UnknownRole { .. } | Unplanned::Unbound(_) | Unplanned::TwoRoles { .. } => {
            "each role has one speaker: --role ROLE=operator, ROLE=operator:NAME or ROLE=app:NAME"
        }
        Unplanned::NoFile | Unplanned::Refused(_) | Unplanned::Undecided(_) | Unplanned::Compile(_) => {
            "`sessile protocol check` and `sessile protocol explain` say more"
        }
    };
    Err(Problem::new(kind, error.to_string()).hint(hint))
}

fn granted_path(path: &str, what: &str, folders: &Folders) -> Result<(), Problem> {
    plain_path(path, what)?;
    let real = std::fs::canonicalize(path).map_err(|e| {
        Problem::new(ProblemKind::NotFound, format!("{what} {path} cannot be found: {}", e.kind()))
    })?;
    for own in [&folders.runtime, &folders.state] {
        let own = std::fs::canonicalize(own).unwrap_or_else(|_| own.clone());
        if own.starts_with(&real) || real.starts_with(&own) {
            return Err(denied(format!("{what} {path} contains or lies in sessile's own folders"))
                .hint("name a folder further down"));
        }
    }
    Ok(())
}

fn folder_grant(path: &str, what: &str, folders: &Folders) -> Result<(), Problem> {
    if path == "/" {
        return Err(denied(format!("{what} is the root folder")).hint("name the folder you work in"));
    }
    granted_path(path, what, folders)?;
    if !Path::new(path).is_dir() {
        return Err(bad(format!("{what} {path} is not a folder")));
    }
    Ok(())
}

fn refuse_home(project: &Path, home: Option<&Path>) -> Result<(), Problem> {
    let Some(home) = home else { return Ok(()) };
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if real(home).starts_with(real(project)) {
        return Err(denied("the project is or contains your home folder").hint("name the folder you work in"));
    }
    Ok(())
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::BadRequest, detail)
}

fn denied(detail: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::Denied, detail)
}

#[cfg(test)]
mod tests {
    use sessile_model::Property;
    use sessile_model::spec::{Access, Mount, Project, WindowSize};

    use super::*;

    struct Place {
        top: tempfile::TempDir,
        folders: Folders,
    }

    fn place() -> Place {
        let top = tempfile::tempdir().unwrap();
        let folders = Folders { runtime: top.path().join("ours/run"), state: top.path().join("ours/state") };
        folders.prepare().unwrap();
        std::fs::create_dir_all(top.path().join("home/work")).unwrap();
        Place { top, folders }
    }

    impl Place {
        fn path(&self, rest: &str) -> String {
            self.top.path().join(rest).to_str().unwrap().to_owned()
        }

        fn verdict(&self, spec: Spec) -> Result<Spec, Problem> {
            checked(spec, &self.folders, Some(&self.top.path().join("home")))
        }

        fn kind(&self, change: impl FnOnce(&mut Spec)) -> Option<ProblemKind> {
            let mut spec = Spec { command: vec!["sh".into()], ..Spec::default() };
            change(&mut spec);
            self.verdict(spec).err().map(|p| p.kind)
        }
    }

    #[test]
    fn credentials_are_for_one_host_each() {
        let p = place();
        let with = |target: &str, header: &str, value: &str| Credential {
            target: target.parse().unwrap(),
            header: header.into(),
            value: sessile_model::credential::SecretText(value.into()),
        };
        assert_eq!(p.kind(|s| s.credentials.push(with("a.example", "Authorization", "Bearer x"))), None);
        for (target, header, value) in [
            ("*.example", "Authorization", "12345678"),
            ("*", "Authorization", "12345678"),
            ("a.example", "Host", "12345678"),
            ("a.example", "Authorization", "12345678\r\nHost: b"),
            ("a.example", "Authorization", "1234567"),
        ] {
            assert_eq!(p.kind(|s| s.credentials.push(with(target, header, value))), BAD, "{target} {header}");
        }
        let shut = p.kind(|s| {
            s.credentials.push(with("a.example", "Authorization", "12345678"));
            s.network.route = Route::None;
        });
        assert_eq!(shut, BAD);
        assert_eq!(p.kind(|s| s.network.upstream_ca = "no certificate".into()), BAD);
    }

    fn var(name: &str, value: &str) -> EnvVar {
        EnvVar { name: name.into(), value: value.into() }
    }

    const BAD: Option<ProblemKind> = Some(ProblemKind::BadRequest);

    #[test]
    fn commands_and_environments() {
        let p = place();
        assert_eq!(p.kind(|_| {}), None);
        assert_eq!(p.kind(|s| s.command.clear()), None);
        assert_eq!(p.kind(|s| s.command = vec![String::new()]), BAD);
        assert_eq!(p.kind(|s| s.command.push("a\0b".into())), BAD);
        assert_eq!(p.kind(|s| s.command.push("x".repeat((64 << 10) - 1))), None);
        assert_eq!(p.kind(|s| s.command.push("x".repeat(MAX_ARGUMENT))), BAD);
        assert_eq!(p.kind(|s| s.command.extend(std::iter::repeat_n("x".repeat(100_000), 11))), BAD);
        for (name, ok) in
            [("A_1", true), ("_", true), ("", false), ("1A", false), ("A=B", false), ("Ä", false)]
        {
            assert_eq!(p.kind(|s| s.env.push(var(name, "v"))).is_none(), ok, "{name}");
        }
        assert_eq!(p.kind(|s| s.env.push(var("A", "\0"))), BAD);
    }

    #[test]
    fn projects_and_mounts() {
        let p = place();
        let project = |path: String| Some(Project { path, access: Access::Rw, allow_hooks: false });
        let mount = |source: String, target: &str| Mount {
            source,
            target: target.into(),
            writable: false,
            from_tools: false,
        };
        assert_eq!(p.kind(|s| s.project = project(p.path("home/work"))), None);
        assert_eq!(p.kind(|s| s.project = project("work".into())), BAD);
        assert_eq!(p.kind(|s| s.project = project(p.path("home/../home/work"))), BAD);
        assert_eq!(p.kind(|s| s.project = project(p.path("none"))), Some(ProblemKind::NotFound));
        for denied in
            ["/".to_owned(), p.path("home"), p.path(""), p.path("ours"), p.path("ours/state/sessions")]
        {
            assert_eq!(
                p.kind(|s| s.project = project(denied.clone())),
                Some(ProblemKind::Denied),
                "{denied}"
            );
        }
        assert_eq!(p.kind(|s| s.mounts.push(mount(p.path("home"), "/mnt"))), None);
        assert_eq!(p.kind(|s| s.mounts.push(mount(p.path("home"), "/"))), BAD);
        assert_eq!(p.kind(|s| s.mounts.push(mount("/".into(), "/mnt"))), Some(ProblemKind::Denied));
        std::os::unix::fs::symlink(p.path("ours"), p.path("home/way")).unwrap();
        assert_eq!(p.kind(|s| s.mounts.push(mount(p.path("home/way"), "/mnt"))), Some(ProblemKind::Denied));
    }

    #[test]
    fn words_limits_and_times() {
        let p = place();
        assert_eq!(p.kind(|s| s.user = Some("ann@example.org".into())), None);
        assert_eq!(p.kind(|s| s.user = Some("a\nb".into())), BAD);
        assert_eq!(p.kind(|s| s.chat = Some("x".repeat(257))), BAD);
        assert_eq!(p.kind(|s| drop(s.labels.insert("a/b".into(), String::new()))), None);
        assert_eq!(p.kind(|s| drop(s.labels.insert("a=b".into(), "c".into()))), BAD);
        assert_eq!(p.kind(|s| drop(s.metadata.insert("k".into(), "x".repeat(70_000).into()))), BAD);
        let deep: serde_json::Value =
            serde_json::from_str(&format!("{}{}", "[".repeat(40), "]".repeat(40))).unwrap();
        assert_eq!(p.kind(|s| drop(s.metadata.insert("k".into(), deep))), BAD);
        assert_eq!(p.kind(|s| s.term = Some("xterm-256color".into())), None);
        assert_eq!(p.kind(|s| s.term = Some("x y".into())), BAD);
        assert_eq!(p.kind(|s| s.ttl = Some(Millis(0))), BAD);
        assert_eq!(p.kind(|s| s.ttl = Some(Millis(u64::MAX))), BAD);
        assert_eq!(p.kind(|s| s.output_ring = Some(ByteSize(1))), BAD);
        assert_eq!(p.kind(|s| s.limits.memory = Some(ByteSize(1))), BAD);
        assert_eq!(p.kind(|s| s.limits.storage = Some(ByteSize(u64::MAX))), BAD);
        assert_eq!(p.kind(|s| s.limits.pids = Some(0)), BAD);
    }

    #[test]
    fn what_can_be_put_right_is() {
        let p = place();
        let spec = Spec {
            terminal: Some(WindowSize { cols: 0, rows: 10_000 }),
            accept_weaker: vec![Property::Amnesia, Property::Routing, Property::Amnesia],
            ..Spec::default()
        };
        let spec = p.verdict(spec).unwrap();
        assert_eq!(spec.terminal, Some(WindowSize { cols: 1, rows: 1000 }));
        assert_eq!(spec.accept_weaker, [Property::Routing, Property::Amnesia]);
    }
}
