//! A session's network: what is asked, what flows, what is published.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sessile_model::api::{Answer, Cookies, Publish, Published, Question, Traffic};
use sessile_model::wire::{Reply, Request};
use sessile_model::{Problem, ProblemKind};

use super::body::{Body, Word};
use super::inside::{mismatch, only, passed_on};
use super::{Refused, Shared};
use crate::inside::ask;

/// What every session waits for somebody to decide, oldest first.
#[utoipa::path(get, path = "/v1/questions", tag = "network", operation_id = "all_questions",
    responses((status = 200, body = [Question]), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn all_questions(State(daemon): Shared) -> Result<Json<Vec<Question>>, Refused> {
    let mut all = Vec::new();
    for id in daemon.directory.ids() {
        // One that ends meanwhile asks nothing.
        if let Ok(Reply::Questions(some)) = ask(&daemon, id, Request::Questions).await {
            all.extend(some);
        }
    }
    all.sort_by_key(|question| question.asked_at);
    Ok(Json(all))
}

/// What a session waits for somebody to decide, oldest first.
#[utoipa::path(get, path = "/v1/sessions/{s}/questions", tag = "network", operation_id = "questions",
    params(("s" = String, Path, description = "The session")),
    responses((status = 200, body = [Question]), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn questions(State(daemon): Shared, Word(word): Word) -> Result<Json<Vec<Question>>, Refused> {
    only!(passed_on(&daemon, &word, Request::Questions).await?, Reply::Questions)
}

/// Answers a question, and says which it was.
#[utoipa::path(post, path = "/v1/questions/{id}", tag = "network", operation_id = "answer", request_body = Answer,
    params(("id" = String, Path, description = "The question")),
    responses((status = 200, body = Question), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn answer(
    State(daemon): Shared,
    Word(word): Word,
    Body(answer): Body<Answer>,
) -> Result<Json<Question>, Refused> {
    let unknown = || {
        Problem::new(ProblemKind::NotFound, "there is no such question, or it was answered")
            .hint("`sessile questions` lists those that are open")
    };
    let (session, number) = word.rsplit_once('-').ok_or_else(unknown)?;
    let number: u32 = number.parse().map_err(|_| unknown())?;
    let Reply::Questions(open) = passed_on(&daemon, session, Request::Questions).await? else {
        return Err(mismatch().into());
    };
    let question = open.into_iter().find(|question| question.id.ends_with(&format!("-{number}")));
    let question = question.ok_or_else(unknown)?;
    passed_on(&daemon, session, Request::Answer { question: number, answer }).await?;
    Ok(Json(question))
}

/// Where a session's packets go.
#[utoipa::path(get, path = "/v1/sessions/{s}/net", tag = "network", operation_id = "traffic",
    params(("s" = String, Path, description = "The session")),
    responses((status = 200, body = Traffic), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn traffic(State(daemon): Shared, Word(word): Word) -> Result<Json<Traffic>, Refused> {
    only!(passed_on(&daemon, &word, Request::Traffic).await?, Reply::Traffic)
}

/// Publishes an app's port on the host's loopback, as long as the session lives.
#[utoipa::path(post, path = "/v1/sessions/{s}/ports", tag = "network", operation_id = "publish", request_body = Publish,
    params(("s" = String, Path, description = "The session")),
    responses((status = 200, body = Published), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn publish(
    State(daemon): Shared,
    Word(word): Word,
    Body(publish): Body<Publish>,
) -> Result<Json<Published>, Refused> {
    only!(passed_on(&daemon, &word, Request::Publish(publish)).await?, Reply::Published)
}

/// A session's cookies.
#[utoipa::path(get, path = "/v1/sessions/{s}/cookies", tag = "network", operation_id = "cookies",
    params(("s" = String, Path, description = "The session")),
    responses((status = 200, body = Cookies), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn cookies(State(daemon): Shared, Word(word): Word) -> Result<Json<Cookies>, Refused> {
    only!(passed_on(&daemon, &word, Request::Cookies).await?, Reply::Cookies)
}

/// Replaces a session's cookies, unless somebody else did meanwhile.
#[utoipa::path(post, path = "/v1/sessions/{s}/cookies", tag = "network", operation_id = "keep_cookies", request_body = Cookies,
    params(("s" = String, Path, description = "The session")),
    responses((status = 204, description = "Kept"), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn keep_cookies(
    State(daemon): Shared,
    Word(word): Word,
    Body(cookies): Body<Cookies>,
) -> Result<StatusCode, Refused> {
    passed_on(&daemon, &word, Request::KeepCookies(cookies)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes on a new identity on the session's route: what goes on under the old one ends.
#[utoipa::path(post, path = "/v1/sessions/{s}/identity", tag = "network", operation_id = "new_identity",
    params(("s" = String, Path, description = "The session")),
    responses((status = 204, description = "It has one"), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn new_identity(State(daemon): Shared, Word(word): Word) -> Result<StatusCode, Refused> {
    passed_on(&daemon, &word, Request::NewIdentity).await?;
    Ok(StatusCode::NO_CONTENT)
}
