//! What is said and heard by a session's protocol.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sessile_model::Problem;
use sessile_model::protocol::{
    CloseTalk, Delegate, Delegated, Hear, Heard, Offer, ProtocolRecord, Said, Say, Stand, Standing, Take,
};
use sessile_model::wire::{Reply, Request};

use super::body::{Body, Word};
use super::inside::{mismatch, only, passed_on};
use super::{Refused, Shared};

/// Says a line as a role, once there is room for it. With one token it is said once.
#[utoipa::path(post, path = "/v1/sessions/{s}/say", tag = "protocol", operation_id = "say", request_body = Say,
    params(("s" = String, Path, description = "The session")),
    responses((status = 200, body = Said), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn say(
    State(daemon): Shared,
    Word(word): Word,
    Body(say): Body<Say>,
) -> Result<Json<Said>, Refused> {
    only!(passed_on(&daemon, &word, Request::Say(say)).await?, Reply::Said)
}

/// What a role hears next, once it has come. It stays until it is taken.
#[utoipa::path(post, path = "/v1/sessions/{s}/hear", tag = "protocol", operation_id = "hear", request_body = Hear,
    params(("s" = String, Path, description = "The session")),
    responses((status = 200, body = Heard), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn hear(
    State(daemon): Shared,
    Word(word): Word,
    Body(hear): Body<Hear>,
) -> Result<Json<Heard>, Refused> {
    only!(passed_on(&daemon, &word, Request::Hear(hear)).await?, Reply::Heard)
}

/// Takes a line that was heard. Taking it again changes nothing.
#[utoipa::path(post, path = "/v1/sessions/{s}/take", tag = "protocol", operation_id = "take", request_body = Take,
    params(("s" = String, Path, description = "The session")),
    responses((status = 204, description = "Taken"), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn take(
    State(daemon): Shared,
    Word(word): Word,
    Body(take): Body<Take>,
) -> Result<StatusCode, Refused> {
    passed_on(&daemon, &word, Request::Take(take)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a role may say or hear next.
#[utoipa::path(get, path = "/v1/sessions/{s}/roles/{role}", tag = "protocol", operation_id = "offered",
    params(("s" = String, Path, description = "The session"), ("role" = String, Path, description = "The role")),
    responses((status = 200, body = [Offer]), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn offered(
    State(daemon): Shared,
    axum::extract::Path((word, role)): axum::extract::Path<(String, String)>,
) -> Result<Json<Vec<Offer>>, Refused> {
    only!(passed_on(&daemon, &word, Request::Offered { role }).await?, Reply::Offers)
}

/// What is to be signed with a role's next line. Where another line is said first, it is to be asked again.
#[utoipa::path(post, path = "/v1/sessions/{s}/stand", tag = "protocol", operation_id = "stand", request_body = Stand,
    params(("s" = String, Path, description = "The session")),
    responses((status = 200, body = Standing), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn stand(
    State(daemon): Shared,
    Word(word): Word,
    Body(stand): Body<Stand>,
) -> Result<Json<Standing>, Refused> {
    only!(passed_on(&daemon, &word, Request::Stand(stand)).await?, Reply::Stands)
}

/// Closes the conversation: nothing more is said, and what was said is heard first unless it is aborted.
#[utoipa::path(post, path = "/v1/sessions/{s}/close", tag = "protocol", operation_id = "close_conversation", request_body = CloseTalk,
    params(("s" = String, Path, description = "The session")),
    responses((status = 200, body = ProtocolRecord), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn close(
    State(daemon): Shared,
    Word(word): Word,
    Body(close): Body<CloseTalk>,
) -> Result<Json<ProtocolRecord>, Refused> {
    only!(passed_on(&daemon, &word, Request::CloseTalk(close)).await?, Reply::TalkClosed)
}

/// Has another speak for a role, and withdraws the key that it was known by.
#[utoipa::path(post, path = "/v1/sessions/{s}/delegate", tag = "protocol", operation_id = "delegate", request_body = Delegate,
    params(("s" = String, Path, description = "The session")),
    responses((status = 200, body = Delegated), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn delegate(
    State(daemon): Shared,
    Word(word): Word,
    Body(delegate): Body<Delegate>,
) -> Result<Json<Delegated>, Refused> {
    only!(passed_on(&daemon, &word, Request::Delegate(delegate)).await?, Reply::Delegated)
}
