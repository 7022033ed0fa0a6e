//! The daemon itself.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::{Extension, Json};
use sessile_model::Problem;
use sessile_model::api::DaemonStatus;

use super::Shared;

/// Sessions that were found at the daemon's start.
#[derive(Clone, Copy, Debug)]
pub struct Adopted(pub u32);

/// What the daemon is and what it has to say.
#[utoipa::path(get, path = "/v1/daemon", tag = "daemon", operation_id = "daemon",
    responses((status = 200, body = DaemonStatus), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn daemon(State(daemon): Shared, Extension(adopted): Extension<Adopted>) -> Json<DaemonStatus> {
    Json(DaemonStatus {
        version: daemon.version.to_owned(),
        pid: std::process::id(),
        sessions: u32::try_from(daemon.directory.len()).unwrap_or(u32::MAX),
        adopted: adopted.0,
        notices: daemon.notices.all(),
        key: daemon.key.public().to_string(),
        socket: daemon.folders.socket().display().to_string(),
    })
}

/// Stops the daemon. Sessions and attached clients go on.
#[utoipa::path(post, path = "/v1/daemon/stop", tag = "daemon", operation_id = "stop",
    responses((status = 204, description = "It stops"), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn stop(State(daemon): Shared) -> StatusCode {
    daemon.stop.notify_one();
    StatusCode::NO_CONTENT
}

/// This description.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "daemon", operation_id = "openapi",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
pub async fn description() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], super::openapi())
}
