//! The REST API: routes, who may call, and what an error looks like.

pub mod attach;
pub mod body;
pub mod guard;
pub mod inside;
pub mod lines;
pub mod network;
pub mod sessions;
pub mod status;

use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use axum::{Json, extract::connect_info::Connected};
use sessile_model::api::LOSSES;
use sessile_model::{Problem, ProblemKind};
use tokio::net::UnixListener;
use utoipa::OpenApi;

use crate::daemon::Daemon;

/// Largest request body, in bytes.
pub const MAX_BODY: usize = 8 << 20;

/// What handlers share.
pub type Shared = axum::extract::State<Arc<Daemon>>;

/// A problem on its way to a client.
#[derive(Debug)]
pub struct Refused(pub Problem);

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self.0)).into_response();
        let problem = header::HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, problem);
        response
    }
}

/// A problem that HTTP has a status of its own for.
pub fn with_status(kind: ProblemKind, status: StatusCode, detail: impl Into<String>) -> Problem {
    Problem { status: status.as_u16(), ..Problem::new(kind, detail) }
}

/// The user at the other end of a connection; `None` when the system does not say.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub Option<u32>);

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self(stream.io().peer_cred().ok().map(|credentials| credentials.uid()))
    }
}

/// Everything the daemon serves.
pub fn router(daemon: Arc<Daemon>) -> Router {
    let session = Router::new()
        .route("/", get(sessions::show))
        .route("/attachments", post(sessions::attachments))
        .route("/receipt", get(sessions::receipt))
        .route("/end", post(sessions::end))
        .route("/screen", get(inside::screen))
        .route("/commands", get(inside::commands))
        .route("/output", get(inside::output))
        .route("/input", post(inside::input))
        .route("/exec", post(inside::exec))
        .route("/wait", post(inside::wait))
        .route("/pause", post(inside::pause))
        .route("/resume", post(inside::resume))
        .route("/collect", post(inside::collect))
        .route("/export", post(inside::export))
        .route("/recording", get(inside::recorded).post(inside::record))
        .route("/diff", get(inside::diff))
        .route("/apply", post(inside::apply))
        .route("/questions", get(network::questions))
        .route("/net", get(network::traffic))
        .route("/ports", post(network::publish))
        .route("/cookies", get(network::cookies).post(network::keep_cookies))
        .route("/say", post(lines::say))
        .route("/hear", post(lines::hear))
        .route("/take", post(lines::take))
        .route("/stand", post(lines::stand))
        .route("/close", post(lines::close))
        .route("/delegate", post(lines::delegate))
        .route("/roles/{role}", get(lines::offered))
        .route("/identity", post(network::new_identity))
        .route("/audit", get(guard::audit))
        .route("/risk", post(guard::reset_risk))
        .route("/attach", get(attach::attach));
    Router::new()
        .route("/v1/daemon", get(status::daemon))
        .route("/v1/daemon/stop", post(status::stop))
        .route("/v1/openapi.json", get(status::description))
        .route("/v1/sessions", get(sessions::list).post(sessions::open))
        .route("/v1/questions", get(network::all_questions))
        .route("/v1/questions/{id}", post(network::answer))
        .nest("/v1/sessions/{s}", session)
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(Arc::clone(&daemon), with_losses))
        .layer(middleware::from_fn(same_user))
        .with_state(daemon)
}

/// Lets only the daemon's own user through, whoever else may reach the socket.
async fn same_user(ConnectInfo(peer): ConnectInfo<Peer>, request: Request, next: Next) -> Response {
    if peer.0 == Some(rustix::process::geteuid().as_raw()) {
        return next.run(request).await;
    }
    let problem = Problem::new(ProblemKind::Denied, "this daemon belongs to another user")
        .hint("each user has a daemon of their own; run sessile without SESSILE_RUNTIME_DIR");
    Refused(problem).into_response()
}

/// Adds what was lost to the first answer whose receiver says that it tells users.
async fn with_losses(State(daemon): Shared, request: Request, next: Next) -> Response {
    let tells = request.headers().contains_key(LOSSES);
    let mut response = next.run(request).await;
    let losses = if tells { daemon.untold_losses() } else { Vec::new() };
    if !losses.is_empty()
        && let Ok(value) = header::HeaderValue::try_from(sessile_model::api::in_header(&losses))
    {
        response.headers_mut().insert(LOSSES, value);
    }
    response
}

async fn no_such_path() -> Refused {
    Problem::new(ProblemKind::NotFound, "there is nothing at this path").hint("GET /v1/openapi.json").into()
}

async fn no_such_method() -> Refused {
    let status = StatusCode::METHOD_NOT_ALLOWED;
    with_status(ProblemKind::BadRequest, status, "this path does not take this method").into()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sessile",
        version = "1",
        description = "Sealed, persistent sessions on this machine. Served on the daemon's unix socket; \
                       only the daemon's own user is let in. Every error is problem details (RFC 9457).",
        license(name = "MIT OR Apache-2.0")
    ),
    paths(
        status::daemon,
        status::stop,
        status::description,
        sessions::open,
        sessions::list,
        sessions::show,
        sessions::attachments,
        sessions::receipt,
        sessions::end,
        inside::screen,
        inside::commands,
        inside::output,
        inside::input,
        inside::exec,
        inside::wait,
        inside::pause,
        inside::resume,
        inside::collect,
        inside::export,
        inside::record,
        inside::recorded,
        inside::diff,
        inside::apply,
        network::all_questions,
        network::questions,
        network::answer,
        network::traffic,
        network::publish,
        network::cookies,
        network::keep_cookies,
        network::new_identity,
        lines::say,
        lines::hear,
        lines::take,
        lines::offered,
        lines::stand,
        lines::close,
        lines::delegate,
        guard::audit,
        guard::reset_risk,
        attach::attach,
    ),
    components(schemas(Problem, sessile_model::receipt::Receipt))
)]
struct Description;

/// The API's description in OpenAPI 3.1, as JSON with a final newline.
pub fn openapi() -> String {
    let mut text = Description::openapi().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECKED_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../api/openapi.json");

    #[test]
    fn the_description_that_is_checked_in_is_this_one() {
        if std::env::var_os("SESSILE_BLESS").is_some() {
            std::fs::write(CHECKED_IN, openapi()).unwrap();
        }
        let found = std::fs::read_to_string(CHECKED_IN).unwrap_or_default();
        assert!(found == openapi(), "api/openapi.json is out of date; run this test with SESSILE_BLESS=1");
    }

    #[test]
    fn every_route_is_described() {
        let description: serde_json::Value = serde_json::from_str(&openapi()).unwrap();
        let operations: usize =
            description["paths"].as_object().unwrap().values().map(|p| p.as_object().unwrap().len()).sum();
        assert_eq!(operations, 41);
        assert!(description["components"]["schemas"]["SessionRecord"].is_object());
    }

    #[test]
    fn every_problem_has_its_status_and_media_type() {
        for kind in ProblemKind::ALL {
            let response = Refused(Problem::new(kind, "x")).into_response();
            assert_eq!(response.status().as_u16(), kind.status());
            assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        }
    }
}
