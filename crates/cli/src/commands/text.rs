//! Records and their parts as text for people.

use sessile_model::SessionRecord;
use sessile_model::guarding::GuardRecord;
use sessile_model::property::Property;
use sessile_model::protocol::{
    OnViolation, PastViolation, ProtocolRecord, ProtocolStatus, Signing, Speaker, Unheard,
};
use sessile_model::quantity::{Millis, Timestamp};
use sessile_model::record::{AppRecord, ClientRecord, Grant, RecordingState, Role};
use sessile_model::spec::Access;
use sessile_model::state::{EndedBy, Exit, Outcome, State};

use crate::output::{counted, printable, table};

/// Longest project path in a table, in characters.
const PATH_WIDTH: usize = 40;

/// The current time.
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A time span in its largest unit: `5s`, `12m`, `3h`, `2d`.
pub fn age(span: Millis) -> String {
    let seconds = span.0 / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// How a program ended, in few words.
pub fn exit(exit: &Exit) -> String {
    match exit {
        Exit::Code { code } => format!("exit {code}"),
        Exit::Signal { signal } => format!("signal {signal}"),
        Exit::NotStarted { errno } => {
            format!("not started: {}", crate::failure::plain(&std::io::Error::from_raw_os_error(*errno)))
        }
    }
}

/// How a session ended, as the end of a sentence about it; `detail` is what the outcome leaves open.
pub fn outcome_sentence(outcome: &Outcome, detail: Option<&str>) -> String {
    let why = |by: &EndedBy| match (by, detail.map(printable)) {
        (EndedBy::TimeToLive | EndedBy::IdleTimeout, Some(detail)) => detail,
        (_, Some(detail)) => format!("{}; {detail}", ended_by(by)),
        (_, None) => ended_by(by).to_owned(),
    };
    match outcome {
        Outcome::Ended { by } => format!("ended ({})", why(by)),
        Outcome::Cancelled { by } => format!("was cancelled ({})", why(by)),
        Outcome::Faulted { violation } => {
            format!("ended for breaking its protocol ({})", printable(violation))
        }
        Outcome::Failed { component, cause } => format!("failed: {component}: {}", printable(cause)),
    }
}

fn ended_by(by: &EndedBy) -> &'static str {
    match by {
        EndedBy::Operator => "asked to",
        EndedBy::MainExited => "its command exited",
        EndedBy::TimeToLive => "its time to live passed",
        EndedBy::IdleTimeout => "nothing happened for its idle timeout",
        EndedBy::Linger => "nobody collected its result in time",
        EndedBy::Cancelled => "before it was active",
    }
}

/// The table of `ls` and `find`.
pub fn listing(records: &[SessionRecord], now: Timestamp) -> String {
    let heads = ["NAME", "ID", "STATE", "APPS", "CLIENTS", "AGE", "PROJECT"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for record in records {
        let running = record.apps.iter().filter(|a| a.exit.is_none()).count();
        let apps = if running == record.apps.len() {
            running.to_string()
        } else {
            format!("{running}/{}", record.apps.len())
        };
        rows.push(vec![
            record.name.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            record.id.short(),
            standing(record),
            apps,
            record.clients.to_string(),
            age(now.since(record.created_at)),
            project(record),
        ]);
    }
    table(&rows)
}

/// The state, and of a session that did not end as asked how it ended.
fn standing(record: &SessionRecord) -> String {
    let how = match record.outcome.as_ref().filter(|_| record.state == State::Closed) {
        Some(Outcome::Ended { .. }) | None => return record.state.to_string(),
        Some(Outcome::Cancelled { .. }) => "called off",
        Some(Outcome::Faulted { .. }) => "faulted",
        Some(Outcome::Failed { .. }) => "failed",
    };
    format!("{}, {how}", record.state)
}

fn project(record: &SessionRecord) -> String {
    let found = record.grants.iter().find_map(|g| match g {
        Grant::Project { path, access, .. } => Some((path.as_deref().unwrap_or("(not kept)"), access)),
        Grant::Mount { .. }
        | Grant::Tools { .. }
        | Grant::Env { .. }
        | Grant::Host { .. }
        | Grant::Policy { .. }
        | Grant::Credential { .. }
        | Grant::Port { .. }
        | Grant::Export { .. }
        | Grant::Applied { .. }
        | Grant::Recording { .. }
        | Grant::SshAgent { .. } => None,
    });
    match found {
        Some((path, access)) => {
            let path = printable(path);
            let count = path.chars().count();
            let shown = match count > PATH_WIDTH {
                true => format!("…{}", path.chars().skip(count - PATH_WIDTH + 1).collect::<String>()),
                false => path,
            };
            format!("{shown} ({})", access_name(*access))
        }
        None => "-".to_owned(),
    }
}

fn access_name(access: Access) -> &'static str {
    match access {
        Access::Ro => "ro",
        Access::Rw => "rw",
        Access::Copy => "copy",
    }
}

/// What `show` prints.
pub fn details(record: &SessionRecord, now: Timestamp) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
    row("name", record.name.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string));
    row("id", record.id.to_string());
    let detail = record.outcome_detail.as_deref();
    let ending =
        record.outcome.as_ref().map(|o| format!(", {}", outcome_sentence(o, detail))).unwrap_or_default();
    row("state", format!("{}{ending}", record.state));
    row("opened", format!("{} ({} ago)", record.created_at, age(now.since(record.created_at))));
    match record.ended_at {
        Some(at) => row("ended", at.to_string()),
        None => row("last activity", format!("{} ago", age(now.since(record.last_activity)))),
    }
    row("clients", record.clients.to_string());
    for client in &record.attached {
        row("client", client_line(client));
    }
    if !record.size.is_default() {
        row("size", record.size.to_string());
    }
    for (name, value) in [("user", &record.user), ("channel", &record.channel), ("chat", &record.chat)] {
        if let Some(value) = value {
            row(name, printable(value));
        }
    }
    for (key, value) in &record.labels {
        row("label", printable(&format!("{key}={value}")));
    }
    for (key, value) in &record.metadata {
        row("metadata", printable(&format!("{key}={value}")));
    }
    for app in &record.apps {
        row("app", app_line(app));
    }
    for grant in &record.grants {
        row("grant", grant_line(grant));
    }
    if let Some(protocol) = &record.protocol {
        row("protocol", protocol_line(protocol));
        for (role, speaker) in &protocol.roles {
            let ended = record
                .apps
                .iter()
                .any(|app| app.exit.is_some() && *speaker == Speaker::App(app.name.clone()));
            let note = if ended { " (ended)" } else { "" };
            row("role", printable(&format!("{role}={speaker}{note}")));
        }
        for PastViolation { at, violation } in &protocol.last_violations {
            row("violation", format!("{at} {}", printable(violation)));
        }
        for Unheard { from, to, label, sequence } in &protocol.unheard {
            row("unheard", printable(&format!("{label} from {from} to {to}, number {sequence}")));
        }
    }
    if let Some(guard) = &record.guard {
        for way in &guard.guarded {
            row("guarded", printable(way));
        }
        for way in &guard.blind {
            row("blind", printable(way));
        }
        if !guard.guarded.is_empty() || guard.messages > 0 {
            row("guard", guard_line(guard));
        }
    }
    row(
        "memory",
        usage(record.usage.memory.map(|m| m.to_string()), record.limits.memory.map(|m| m.to_string())),
    );
    let cpu = record.usage.cpu_ms.map(|ms| format!("{}.{:03} s", ms / 1000, ms % 1000));
    row("cpu", usage(cpu, record.limits.cpu_percent.map(|p| format!("{p} % of a processor"))));
    row(
        "storage",
        usage(Some(record.usage.storage.to_string()), record.limits.storage.map(|s| s.to_string())),
    );
    for notice in &record.notices {
        row("notice", printable(notice));
    }
    row("claim level", format!("{:?}", record.claim_level));
    let mut text = table(&rows);
    for property in Property::ALL {
        let status = record.properties.of(property);
        text += &format!("\n{property}: {}\n", if status.holds { "holds" } else { "does not hold" });
        for line in &status.evidence {
            text += &format!("  {}\n", printable(line));
        }
        for line in &status.weaker_because {
            text += &format!("  weaker, as accepted: {}\n", printable(line));
        }
    }
    text
}

fn usage(used: Option<String>, cap: Option<String>) -> String {
    let used = used.unwrap_or_else(|| "not accounted for here".to_owned());
    cap.map_or(used.clone(), |cap| format!("{used} of {cap}"))
}

fn client_line(client: &ClientRecord) -> String {
    let role = match client.role {
        Role::Operator => "types",
        Role::Exclusive => "types alone",
        Role::Observer => "watches",
    };
    let size = match (client.cols, client.rows) {
        (Some(cols), Some(rows)) => format!(", {cols}×{rows}"),
        _ => String::new(),
    };
    let typed = counted(client.typed_bytes, "byte", "bytes");
    format!("{}: {}, {role}{size}, typed {typed}", printable(&client.client), client.app)
}

fn app_line(app: &AppRecord) -> String {
    let state = match (&app.exit, app.pid) {
        (Some(ended), _) => exit(ended),
        (None, Some(pid)) => format!("pid {pid}"),
        (None, None) if app.note.is_some() => "end unknown".to_owned(),
        (None, None) => "starting".to_owned(),
    };
    let note = app.note.as_ref().map(|note| format!("; {}", printable(note))).unwrap_or_default();
    let size = match (app.cols, app.rows) {
        (Some(cols), Some(rows)) => format!(", {cols}x{rows}"),
        _ => String::new(),
    };
    let argv =
        if app.argv.is_empty() { String::new() } else { format!(": {}", printable(&app.argv.join(" "))) };
    format!("{} ({state}{size}){argv}{note}", app.name)
}

/// How a conversation stands, in one line.
fn guard_line(guard: &GuardRecord) -> String {
    format!(
        "{}, {} refused, {} redacted, {} asked about; the most confidential is {}; risk {} of 100",
        counted(guard.messages, "message", "messages"),
        guard.refused,
        guard.redacted,
        guard.asked,
        guard.sensitivity.replace('_', " "),
        guard.risk
    )
}

fn protocol_line(protocol: &ProtocolRecord) -> String {
    let status = match &protocol.status {
        ProtocolStatus::Active => "active".to_owned(),
        ProtocolStatus::Draining => "nothing more is said".to_owned(),
        ProtocolStatus::Closed => "over".to_owned(),
        ProtocolStatus::Cancelled => "cut off".to_owned(),
        ProtocolStatus::Faulted { violation } => format!("faulted: {}", printable(violation)),
        ProtocolStatus::Lost { why } => format!("lost: {}", printable(why)),
    };
    let signing = match protocol.signing {
        Signing::Signed => "",
        Signing::Unsigned => "; lines are not signed",
    };
    let policy = match protocol.on_violation {
        OnViolation::Refuse => "",
        OnViolation::Fault => "; a violation ends the session",
    };
    let violations = match protocol.violations {
        0 => String::new(),
        count => format!("; {}", counted(count, "violation", "violations")),
    };
    format!("{} ({status}{violations}{policy}{signing})", printable(&protocol.name))
}

/// A grant in one line.
pub fn grant_line(grant: &Grant) -> String {
    let path =
        |path: &Option<String>| path.as_deref().map_or_else(|| "(path not kept)".to_owned(), printable);
    let mode = |writable: &bool| if *writable { "rw" } else { "ro" };
    match grant {
        Grant::Project { path: at, access, protected } => {
            let kept = if protected.is_empty() {
                String::new()
            } else {
                format!(", read-only: {}", printable(&protected.join(" ")))
            };
            format!("project {} ({}{kept})", path(at), access_name(*access))
        }
        Grant::Mount { source, target, writable } => {
            format!("mount {} at {} ({})", path(source), path(target), mode(writable))
        }
        Grant::Tools { path: at } => format!("tools {} (ro)", path(at)),
        Grant::Env { name } => format!("variable {}", printable(name)),
        Grant::Host { target: Some(target) } => format!("host {}", printable(target)),
        Grant::Host { target: None } => "host (not kept)".to_owned(),
        Grant::Policy { name: Some(name) } => format!("policies {}", printable(name)),
        Grant::Policy { name: None } => "policies (not kept)".to_owned(),
        Grant::Credential { target, header } => {
            let target = target.as_deref().map_or("a host (not kept)".to_owned(), printable);
            format!("credential for {target} ({})", printable(header))
        }
        Grant::Port { app, port, local } => format!("port {port} of {app} at 127.0.0.1:{local}"),
        Grant::Export { bytes } => format!("export of {bytes}"),
        Grant::Applied { files } => format!("applied changes of {}", counted(*files, "file", "files")),
        Grant::SshAgent { app, signatures } => {
            format!("your SSH agent for {app} ({})", counted(*signatures, "signature", "signatures"))
        }
        Grant::Recording { app, input, state } => {
            let typed = if *input { ", with what is typed" } else { "" };
            format!("recording of {app}{typed} ({})", recording_state(*state))
        }
    }
}

fn recording_state(state: RecordingState) -> &'static str {
    match state {
        RecordingState::Running => "goes on",
        RecordingState::Stopped => "stopped",
        RecordingState::Ended => "its command ended",
        RecordingState::Full => "stopped: its share of session storage is full",
        RecordingState::Failed => "stopped: it could not be written",
        RecordingState::Wiped => "wiped",
        RecordingState::Freed => "freed by the kernel, not overwritten",
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use sessile_model::SessionId;
    use sessile_model::ids::AppName;
    use sessile_model::property::Properties;
    use sessile_model::quantity::ByteSize;
    use sessile_model::receipt::ClaimLevel;
    use sessile_model::record::Usage;
    use sessile_model::spec::{Limits, SizePolicy};
    use sessile_model::state::{Phase, State};

    /// A session as a daemon might show it, opened at `1_700_000_000_000`.
    pub fn record() -> SessionRecord {
        let created = Timestamp::from_millis(1_700_000_000_000);
        let mut properties = Properties::default();
        properties.routing.holds = true;
        properties.routing.evidence.push("only lo is there".into());
        properties.amnesia.weaker_because.push("swap is on".into());
        SessionRecord {
            id: SessionId::new(created, [7; 10]),
            name: Some("amber-otter".parse().unwrap()),
            state: State::Active,
            phase: Phase::Active,
            outcome: None,
            outcome_detail: None,
            user: Some("ann".into()),
            channel: None,
            chat: None,
            labels: [("team".to_owned(), "red".to_owned())].into(),
            metadata: serde_json::Map::new(),
            created_at: created,
            last_activity: created.plus(Millis(60_000)),
            ended_at: None,
            apps: vec![
                AppRecord {
                    name: AppName::main(),
                    argv: vec!["make".into(), "te\x1bst".into()],
                    pid: Some(42),
                    exit: None,
                    cols: Some(80),
                    rows: Some(24),
                    output_bytes: 5,
                    note: None,
                },
                AppRecord {
                    name: "tests".parse().unwrap(),
                    argv: vec![],
                    pid: None,
                    exit: Some(Exit::Signal { signal: 9 }),
                    cols: None,
                    rows: None,
                    output_bytes: 0,
                    note: None,
                },
            ],
            clients: 1,
            attached: vec![ClientRecord {
                client: "00000000000000a7".into(),
                app: AppName::main(),
                role: Role::Exclusive,
                cols: Some(80),
                rows: Some(24),
                typed_bytes: 12,
            }],
            size: SizePolicy::Smallest,
            grants: vec![
                Grant::Project {
                    path: Some("/home/ann/work".into()),
                    access: Access::Rw,
                    protected: vec![".envrc".into()],
                },
                Grant::Mount { source: None, target: None, writable: false },
            ],
            protocol: Some(ProtocolRecord {
                name: "Talk".into(),
                roles: [("Agent", "app:main"), ("User", "operator")]
                    .map(|(role, speaker)| (role.to_owned(), speaker.parse().unwrap()))
                    .into(),
                on_violation: OnViolation::Fault,
                signing: Signing::Unsigned,
                closers: [("Agent".to_owned(), sessile_model::protocol::Closing::Abort)].into(),
                epoch: 2,
                status: ProtocolStatus::Cancelled,
                violations: 1,
                last_violations: vec![PastViolation {
                    at: Timestamp::from_millis(1_790_000_000_000),
                    violation: "not-offered: User says a\x1bsk".into(),
                }],
                unheard: vec![Unheard {
                    from: "User".into(),
                    to: "Agent".into(),
                    label: "a\x1bsk".into(),
                    sequence: 3,
                }],
            }),
            guard: None,
            properties,
            claim_level: ClaimLevel::L1,
            limits: Limits { memory: Some(ByteSize(2 << 30)), ..Limits::default() },
            usage: Usage { memory: Some(ByteSize(5 << 20)), cpu_ms: Some(1234), storage: ByteSize(4096) },
            notices: vec![],
        }
    }

    #[test]
    fn the_listing() {
        let mut closed = record().reduced();
        closed.state = State::Closed;
        let mut long = record();
        long.grants = vec![Grant::Project {
            path: Some(format!("/{}/end", "long/".repeat(20))),
            access: Access::Copy,
            protected: vec![],
        }];
        let now = record().created_at.plus(Millis(3 * 3_600_000));
        insta::assert_snapshot!(listing(&[record(), closed, long], now), @r"
        NAME         ID        STATE   APPS  CLIENTS  AGE  PROJECT
        amber-otter  07070707  active  1/2   1        3h   /home/ann/work (rw)
        -            07070707  closed  1/2   1        3h   (not kept) (rw)
        amber-otter  07070707  active  1/2   1        3h   …long/long/long/long/long/long/long//end (copy)
        ");
    }

    #[test]
    fn the_details() {
        let now = record().created_at.plus(Millis(90_000));
        insta::assert_snapshot!(details(&record(), now), @r#"
        name           amber-otter
        id             018bcfe5-6800-7707-8707-070707070707
        state          active
        opened         2023-11-14T22:13:20Z (1m ago)
        last activity  30s ago
        clients        1
        client         00000000000000a7: main, types alone, 80×24, typed 12 bytes
        size           smallest
        user           ann
        label          team=red
        app            main (pid 42, 80x24): make te\u{1b}st
        app            tests (signal 9)
        grant          project /home/ann/work (rw, read-only: .envrc)
        grant          mount (path not kept) at (path not kept) (ro)
        protocol       Talk (cut off; 1 violation; a violation ends the session; lines are not signed)
        role           Agent=app:main
        role           User=operator
        violation      2026-09-21T14:13:20Z not-offered: User says a\u{1b}sk
        unheard        a\u{1b}sk from User to Agent, number 3
        memory         5 MiB of 2 GiB
        cpu            1.234 s
        storage        4 KiB
        claim level    L1

        routing: holds
          only lo is there

        identity: does not hold

        sandbox: does not hold

        amnesia: does not hold
          weaker, as accepted: swap is on
        "#);
    }

    #[test]
    fn ages() {
        for (ms, text) in [
            (0, "0s"),
            (59_999, "59s"),
            (60_000, "1m"),
            (3_600_000, "1h"),
            (47 * 3_600_000, "47h"),
            (48 * 3_600_000, "2d"),
        ] {
            assert_eq!(age(Millis(ms)), text);
        }
    }
}
