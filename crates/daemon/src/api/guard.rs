//! What a session's guard decided.

use std::fs::{Metadata, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use rustix::fs::OFlags;
use sessile_journal::audit;
use sessile_model::api::{AuditTrail, ResetRisk};
use sessile_model::wire::Request;
use sessile_model::{Problem, ProblemKind};

use super::body::{Body, Word};
use super::inside::passed_on;
use super::{Refused, Shared};
use crate::daemon::Found;

/// What a session's guard decided, while it lives and after.
#[utoipa::path(get, path = "/v1/sessions/{s}/audit", tag = "guard", operation_id = "audit",
    params(("s" = String, Path, description = "Its name, its id, its short id, or the beginning of one")),
    responses((status = 200, body = AuditTrail), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn audit(State(daemon): Shared, Word(word): Word) -> Result<Json<AuditTrail>, Refused> {
    let found = daemon.resolve(&word).await?;
    let session = match found {
        Found::Live(id) | Found::Closed(id) => id,
    };
    let live = daemon.folders.state_of(session).join(audit::FILE_NAME);
    let paths = [live, daemon.folders.audit_of(session)];
    let text = tokio::task::spawn_blocking(move || paths.iter().find_map(|path| text_of(path)));
    // A thread that cannot be had finds nothing.
    let text = text.await.ok().flatten().unwrap_or_default();
    // A last line without its end is being written, while the session lives.
    let is_over = matches!(found, Found::Closed(_));
    let whole = text
        .split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n').or(Some(line).filter(|_| is_over)));
    let lines: Vec<String> = whole.map(str::to_owned).collect();
    if lines.is_empty() {
        return Err(Problem::new(ProblemKind::NotFound, "nothing of this session has passed a guard").into());
    }
    Ok(Json(AuditTrail { session, lines }))
}

/// What a file has: of anything else, which may keep whoever opens it waiting, nothing.
fn text_of(path: &Path) -> Option<String> {
    let flags = OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path).ok()?;
    let mut text = String::new();
    file.metadata().ok().filter(Metadata::is_file)?;
    file.read_to_string(&mut text).ok()?;
    Some(text)
}

/// Sets a session's risk to nothing.
#[utoipa::path(post, path = "/v1/sessions/{s}/risk", tag = "guard", operation_id = "reset_risk", request_body = ResetRisk,
    params(("s" = String, Path, description = "The session")),
    responses((status = 204, description = "It is"), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn reset_risk(
    State(daemon): Shared,
    Word(word): Word,
    Body(reset): Body<ResetRisk>,
) -> Result<StatusCode, Refused> {
    passed_on(&daemon, &word, Request::ResetRisk(reset)).await?;
    Ok(StatusCode::NO_CONTENT)
}
