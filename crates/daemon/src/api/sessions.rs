//! Sessions from outside: opening, finding, ending.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use sessile_journal::store::Query;
use sessile_model::api::{Attachment, End, Opened};
use sessile_model::receipt::SignedReceipt;
use sessile_model::record::AppRecord;
use sessile_model::state::EndedBy;
use sessile_model::wire::Request;
use sessile_model::{Problem, ProblemKind, SessionId, SessionRecord, Spec};

use super::body::{Body, Pairs, Word};
use super::{Refused, Shared};
use crate::daemon::{Daemon, Found, ledger_problem};
use crate::{closing, inside, opening};

/// Opens a session and answers when it is active.
#[utoipa::path(post, path = "/v1/sessions", tag = "sessions", operation_id = "open", request_body = Spec,
    responses(
        (status = 201, body = Opened),
        (status = 409, description = "The name is taken", body = Problem, content_type = "application/problem+json"),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn open(State(daemon): Shared, Body(spec): Body<Spec>) -> Result<impl IntoResponse, Refused> {
    let record = opening::open(&daemon, spec).await?;
    let location = [(header::LOCATION, format!("/v1/sessions/{}", record.id))];
    let attachment = attachment(&daemon, record.id, None)?;
    Ok((StatusCode::CREATED, location, Json(Opened { record, attachment })))
}

/// Finds sessions, newest first. Every condition must hold; `label` may be given several times.
#[utoipa::path(get, path = "/v1/sessions", tag = "sessions", operation_id = "list",
    params(
        ("all" = Option<bool>, Query, description = "Closed ones too"),
        ("user" = Option<String>, Query, description = "Whose they are"),
        ("channel" = Option<String>, Query, description = "Their channel"),
        ("chat" = Option<String>, Query, description = "Their chat"),
        ("label" = Option<Vec<String>>, Query, description = "KEY=VALUE")),
    responses((status = 200, body = [SessionRecord]), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn list(State(daemon): Shared, pairs: Pairs) -> Result<Json<Vec<SessionRecord>>, Refused> {
    let pairs = pairs.known(&["all", "user", "channel", "chat", "label"])?;
    let all = match pairs.text("all") {
        Some("" | "1") => true,
        _ => pairs.value("all")?.unwrap_or(false),
    };
    let text = |name| pairs.text(name).map(str::to_owned);
    let label = |pair: &str| match pair.split_once('=') {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err(Problem::new(ProblemKind::BadRequest, "a label is KEY=VALUE")),
    };
    let query = Query {
        user: text("user"),
        channel: text("channel"),
        chat: text("chat"),
        labels: pairs.all("label").map(label).collect::<Result<_, _>>()?,
    };
    let mut found = daemon.directory.find(&query);
    if all {
        found.extend(daemon.ledger.read(move |store| store.closed(&query)).await.map_err(ledger_problem)?);
    }
    Ok(Json(found))
}

/// One session's record.
#[utoipa::path(get, path = "/v1/sessions/{s}", tag = "sessions", operation_id = "show",
    params(("s" = String, Path, description = "Its name, its id, its short id, or the beginning of one")),
    responses((status = 200, body = SessionRecord), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn show(State(daemon): Shared, Word(word): Word) -> Result<Json<SessionRecord>, Refused> {
    Ok(Json(record_of(&daemon, daemon.resolve(&word).await?).await?))
}

/// Leave to attach to a session, and where: a local client then talks to its keeper directly.
#[utoipa::path(post, path = "/v1/sessions/{s}/attachments", tag = "sessions", operation_id = "attachments",
    params(("s" = String, Path, description = "Its name, its id, its short id, or the beginning of one")),
    responses((status = 200, body = Attachment), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn attachments(State(daemon): Shared, Word(word): Word) -> Result<Json<Attachment>, Refused> {
    let id = live(&daemon, &word).await?;
    inside::findable(&daemon, id).await?;
    let apps = daemon.directory.record(id).map(|record| record.apps);
    Ok(Json(attachment(&daemon, id, apps)?))
}

fn attachment(
    daemon: &Daemon,
    session: SessionId,
    apps: Option<Vec<AppRecord>>,
) -> Result<Attachment, Problem> {
    let socket = daemon
        .folders
        .keeper_socket(session)
        .into_os_string()
        .into_string()
        .map_err(|_| Problem::new(ProblemKind::Unsupported, "the runtime folder's path is not UTF-8"))?;
    let keeper_starts_in = daemon.directory.keeper_starts_in(session);
    Ok(Attachment { session, socket, apps, keeper_starts_in })
}

/// A closed session's receipt.
#[utoipa::path(get, path = "/v1/sessions/{s}/receipt", tag = "sessions", operation_id = "receipt",
    params(("s" = String, Path, description = "Its name, its id, its short id, or the beginning of one")),
    responses((status = 200, body = SignedReceipt), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn receipt(State(daemon): Shared, Word(word): Word) -> Result<Json<SignedReceipt>, Refused> {
    match daemon.resolve(&word).await? {
        Found::Closed(id) => Ok(Json(inside::receipt(&daemon, id).await?)),
        // Closed, and not in the journal for want of room.
        Found::Live(id) => match closing::left_receipt(&daemon, id) {
            Some(receipt) => Ok(Json(receipt)),
            None => Err(Problem::new(ProblemKind::Conflict, "the session has not ended")
                .hint("a session's receipt is made by its wipe: sessile end")
                .into()),
        },
    }
}

/// Ends a session: wipes it and answers with the receipt when nothing of it is left. One that
/// has ended answers with its receipt again.
#[utoipa::path(post, path = "/v1/sessions/{s}/end", tag = "sessions", operation_id = "end", request_body = End,
    params(("s" = String, Path, description = "Its name, its id, its short id, or the beginning of one")),
    responses((status = 200, body = SignedReceipt), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn end(
    State(daemon): Shared,
    Word(word): Word,
    Body(end): Body<End>,
) -> Result<Json<SignedReceipt>, Refused> {
    let found = daemon.resolve(&word).await?;
    // On its own: a client that leaves does not call the end off.
    let request = Request::End { grace: end.grace, by: EndedBy::Operator };
    let ended = tokio::spawn(async move { inside::end(&daemon, found, request).await });
    let ended = ended.await.map_err(|_| Problem::new(ProblemKind::Internal, "the end was cut short"))?;
    Ok(Json(ended?))
}

/// The live session that a word means.
///
/// # Errors
/// `NotFound`, `Ambiguous`, or `Conflict` when it is closed.
pub async fn live(daemon: &Daemon, word: &str) -> Result<sessile_model::SessionId, Problem> {
    match daemon.resolve(word).await? {
        Found::Live(id) => Ok(id),
        Found::Closed(_) => Err(Problem::new(ProblemKind::Conflict, "the session has ended")
            .hint("its receipt is still there: sessile receipt")),
    }
}

async fn record_of(daemon: &Daemon, found: Found) -> Result<SessionRecord, Problem> {
    let id = match found {
        Found::Live(id) => match daemon.directory.record(id) {
            Some(mut record) => {
                if let Some(measured) = inside::measured(daemon, id).await {
                    record.usage = measured.usage;
                    record.apps = measured.apps;
                    record.attached = measured.attached;
                    record.protocol = measured.protocol;
                }
                return Ok(record);
            }
            None => id,
        },
        Found::Closed(id) => id,
    };
    let stored = daemon.ledger.read(move |store| store.session(id)).await.map_err(ledger_problem)?;
    let gone = || Problem::new(ProblemKind::NotFound, "the session is gone");
    Ok(stored.ok_or_else(gone)?.record)
}
