//! Requests about a session's inside: checked for form here, carried out by its keeper.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use sessile_model::api::{
    Applied, Apply, Changes, Commands, Exec, ExecStarted, Export, Exported, Input, Output, Record, Recorded,
    Screen, Typed, Wait, Waited,
};
use sessile_model::wire::{Reply, Request};
use sessile_model::{AppName, Problem, ProblemKind, SessionId, State as SessionState};

use super::body::{Body, Pairs, Word};
use super::sessions::live;
use super::{Refused, Shared};
use crate::daemon::Daemon;
use crate::inside::ask;
use crate::spec_check;

/// How long a record may take to follow the answer that it is about, in milliseconds.
const HEARING_MS: u32 = 1_000;

/// Takes one kind of reply apart; any other is the keeper's mistake.
macro_rules! only {
    ($reply:expr, $kind:path) => {
        match $reply {
            $kind(body) => Ok(Json(body)),
            #[allow(clippy::wildcard_enum_match_arm)]
            _ => Err(Refused(mismatch())),
        }
    };
}
pub(super) use only;

/// What is on an app's screen.
#[utoipa::path(get, path = "/v1/sessions/{s}/screen", tag = "inside", operation_id = "screen",
    params(("s" = String, Path, description = "The session"), ("app" = Option<String>, Query, description = "The app; main when absent"),
        ("history" = Option<u32>, Query, description = "Most lines wanted of those that scrolled off; none when absent")),
    responses((status = 200, body = Screen), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn screen(State(daemon): Shared, Word(word): Word, pairs: Pairs) -> Result<Json<Screen>, Refused> {
    let pairs = pairs.known(&["app", "history"])?;
    let (app, history) = (pairs.value::<AppName>("app")?, pairs.value("history")?);
    only!(passed_on(&daemon, &word, Request::Screen { app, history }).await?, Reply::Screen)
}

/// What the shell on an app's terminal said of its commands.
#[utoipa::path(get, path = "/v1/sessions/{s}/commands", tag = "inside", operation_id = "commands",
    params(("s" = String, Path, description = "The session"), ("app" = Option<String>, Query, description = "The app; main when absent")),
    responses((status = 200, body = Commands), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn commands(
    State(daemon): Shared,
    Word(word): Word,
    pairs: Pairs,
) -> Result<Json<Commands>, Refused> {
    let app = pairs.known(&["app"])?.value::<AppName>("app")?;
    only!(passed_on(&daemon, &word, Request::Commands { app }).await?, Reply::Commands)
}

/// A stretch of an app's output.
#[utoipa::path(get, path = "/v1/sessions/{s}/output", tag = "inside", operation_id = "output",
    params(("s" = String, Path, description = "The session"), ("app" = Option<String>, Query, description = "The app; main when absent"),
        ("since" = Option<u64>, Query, description = "First offset wanted; the oldest when absent"),
        ("max" = Option<u32>, Query, description = "Most bytes wanted"),
        ("keep" = Option<bool>, Query, description = "Leave the result of a command that has ended to be collected by somebody else")),
    responses((status = 200, body = Output), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn output(State(daemon): Shared, Word(word): Word, pairs: Pairs) -> Result<Json<Output>, Refused> {
    let pairs = pairs.known(&["app", "since", "max", "keep"])?;
    let request = Request::Output {
        app: pairs.value("app")?,
        since: pairs.value("since")?,
        max: pairs.value("max")?,
        keep: pairs.value("keep")?.unwrap_or_default(),
    };
    only!(passed_on(&daemon, &word, request).await?, Reply::Output)
}

/// Types into an app. Answered when the bytes were written; with what they are for where that is
/// asked.
#[utoipa::path(post, path = "/v1/sessions/{s}/input", tag = "inside", operation_id = "input", request_body = Input,
    params(("s" = String, Path, description = "The session")),
    responses((status = 200, description = "Written, and for which command", body = Typed), (status = 204, description = "Written"), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn input(
    State(daemon): Shared,
    Word(word): Word,
    Body(input): Body<Input>,
) -> Result<Response, Refused> {
    let asks = input.command;
    let reply = passed_on(&daemon, &word, Request::Input(input)).await?;
    if asks {
        let typed: Result<Json<Typed>, Refused> = only!(reply, Reply::Typed);
        return Ok(typed?.into_response());
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Starts a command.
#[utoipa::path(post, path = "/v1/sessions/{s}/exec", tag = "inside", operation_id = "exec", request_body = Exec,
    params(("s" = String, Path, description = "The session")),
    responses((status = 200, body = ExecStarted), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn exec(
    State(daemon): Shared,
    Word(word): Word,
    Body(mut exec): Body<Exec>,
) -> Result<Json<ExecStarted>, Refused> {
    if exec.command.is_empty() {
        return Err(Problem::new(ProblemKind::BadRequest, "there is no command").into());
    }
    spec_check::arguments(&exec.command, &exec.env)?;
    exec.ssh_agent.as_deref().map_or(Ok(()), spec_check::ssh_agent)?;
    exec.terminal = exec.terminal.map(|size| size.clamped());
    only!(passed_on(&daemon, &word, Request::Exec(exec)).await?, Reply::Started)
}

/// Waits for a condition.
#[utoipa::path(post, path = "/v1/sessions/{s}/wait", tag = "inside", operation_id = "wait", request_body = Wait,
    params(("s" = String, Path, description = "The session")),
    responses((status = 200, body = Waited),
        (status = 408, description = "None of the conditions held in time", body = Problem, content_type = "application/problem+json"),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn wait(
    State(daemon): Shared,
    Word(word): Word,
    Body(wait): Body<Wait>,
) -> Result<Json<Waited>, Refused> {
    // The keeper keeps the time; one that is stopped does not.
    let patience = wait.timeout.map(|t| t.as_duration() + Duration::from_secs(2));
    let asked = passed_on(&daemon, &word, Request::Wait(wait));
    let reply = match patience {
        None => asked.await?,
        Some(patience) => tokio::time::timeout(patience, asked).await.map_err(|_| {
            Problem::new(ProblemKind::Timeout, "the session's keeper did not answer in time")
                .hint("`sessile show` says how it is")
        })??,
    };
    only!(reply, Reply::Waited)
}

/// A stretch of a terminal's recording.
#[utoipa::path(get, path = "/v1/sessions/{s}/recording", tag = "inside", operation_id = "recorded",
    params(("s" = String, Path, description = "The session"), ("app" = Option<String>, Query, description = "The app, or APP.N; main when absent"),
        ("from" = Option<u64>, Query, description = "First byte wanted; 0 when absent"),
        ("wait" = Option<bool>, Query, description = "Answer when there is more than that, or will be no more")),
    responses((status = 200, body = Recorded), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn recorded(
    State(daemon): Shared,
    Word(word): Word,
    pairs: Pairs,
) -> Result<Json<Recorded>, Refused> {
    let pairs = pairs.known(&["app", "from", "wait"])?;
    let request = Request::Recorded {
        app: pairs.value("app")?,
        from: pairs.value("from")?.unwrap_or_default(),
        wait: pairs.value("wait")?.unwrap_or_default(),
    };
    only!(passed_on(&daemon, &word, request).await?, Reply::Recorded)
}

/// Freezes the session's apps.
#[utoipa::path(post, path = "/v1/sessions/{s}/pause", tag = "inside", operation_id = "pause",
    params(("s" = String, Path, description = "The session")),
    responses((status = 204, description = "Frozen"), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn pause(State(daemon): Shared, Word(word): Word) -> Result<StatusCode, Refused> {
    let id = live(&daemon, &word).await?;
    ask(&daemon, id, Request::Pause).await?;
    heard(&daemon, id, SessionState::Active).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Thaws the session's apps.
#[utoipa::path(post, path = "/v1/sessions/{s}/resume", tag = "inside", operation_id = "resume",
    params(("s" = String, Path, description = "The session")),
    responses((status = 204, description = "Thawed"), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn resume(State(daemon): Shared, Word(word): Word) -> Result<StatusCode, Refused> {
    let id = live(&daemon, &word).await?;
    ask(&daemon, id, Request::Resume).await?;
    heard(&daemon, id, SessionState::Paused).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Marks the result of a lingering session as collected, which ends it.
#[utoipa::path(post, path = "/v1/sessions/{s}/collect", tag = "inside", operation_id = "collect",
    params(("s" = String, Path, description = "The session")),
    responses((status = 204, description = "Collected"), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn collect(State(daemon): Shared, Word(word): Word) -> Result<StatusCode, Refused> {
    done(&daemon, &word, Request::Collect).await
}

/// Copies a file or folder out.
#[utoipa::path(post, path = "/v1/sessions/{s}/export", tag = "inside", operation_id = "export", request_body = Export,
    params(("s" = String, Path, description = "The session")),
    responses((status = 200, body = Exported), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn export(
    State(daemon): Shared,
    Word(word): Word,
    Body(export): Body<Export>,
) -> Result<Json<Exported>, Refused> {
    only!(passed_on(&daemon, &word, Request::Export(export)).await?, Reply::Exported)
}

/// Starts or stops the recording of a terminal.
#[utoipa::path(post, path = "/v1/sessions/{s}/recording", tag = "inside", operation_id = "record", request_body = Record,
    params(("s" = String, Path, description = "The session")),
    responses((status = 204, description = "Started, or stopped"), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn record(
    State(daemon): Shared,
    Word(word): Word,
    Body(record): Body<Record>,
) -> Result<StatusCode, Refused> {
    done(&daemon, &word, Request::Record(record)).await
}

/// What a copied project changed.
#[utoipa::path(get, path = "/v1/sessions/{s}/diff", tag = "inside", operation_id = "diff",
    params(("s" = String, Path, description = "The session")),
    responses((status = 200, body = Changes), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn diff(State(daemon): Shared, Word(word): Word) -> Result<Json<Changes>, Refused> {
    only!(passed_on(&daemon, &word, Request::Diff).await?, Reply::Changes)
}

/// Writes a copied project's changes back, and answers with those that were written.
#[utoipa::path(post, path = "/v1/sessions/{s}/apply", tag = "inside", operation_id = "apply", request_body = Apply,
    params(("s" = String, Path, description = "The session")),
    responses((status = 200, body = Applied), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn apply(
    State(daemon): Shared,
    Word(word): Word,
    Body(apply): Body<Apply>,
) -> Result<Json<Applied>, Refused> {
    only!(passed_on(&daemon, &word, Request::Apply(apply)).await?, Reply::Applied)
}

/// Waits until the directory has heard that a session left a state, as its keeper has just
/// answered: the record comes on another connection, and whoever asks next must not be told of the
/// state before.
async fn heard(daemon: &Daemon, id: SessionId, left: SessionState) {
    for _ in 0..HEARING_MS {
        if daemon.directory.record(id).is_none_or(|record| record.state != left) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A request about a live session's inside, passed on to its keeper.
pub(super) async fn passed_on(daemon: &Daemon, word: &str, request: Request) -> Result<Reply, Problem> {
    ask(daemon, live(daemon, word).await?, request).await
}

async fn done(daemon: &Daemon, word: &str, request: Request) -> Result<StatusCode, Refused> {
    passed_on(daemon, word, request).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The keeper's mistake.
pub(super) fn mismatch() -> Problem {
    Problem::new(ProblemKind::Internal, "the session's keeper answered something else than was asked")
}
