//! The daemon's REST API over its unix socket.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sessile_model::api::{DaemonStatus, LOSSES};
use sessile_model::problem::{Problem, ProblemKind};
use sessile_sandbox::processes::state_of;
use tokio::time::timeout;

use crate::at_once;
use crate::failure::{Failure, plain};
use crate::output::{printable, say};
use crate::startup::{self, Reached, check_owner};

/// A running daemon of the caller's own.
#[derive(Clone, Debug)]
pub struct Daemon {
    socket: PathBuf,
    /// It may run elsewhere: another is not started here should it be gone.
    remote: bool,
    /// The connection by which it was found, for the first request.
    first: Arc<Mutex<Option<UnixStream>>>,
}

impl From<Reached> for Daemon {
    fn from(reached: Reached) -> Self {
        Self { socket: reached.socket, remote: false, first: Arc::new(Mutex::new(Some(reached.stream))) }
    }
}

impl Daemon {
    /// The caller's daemon, started if it does not run.
    ///
    /// # Errors
    /// When it cannot be started, when the socket belongs to someone else, or inside a session.
    pub fn reach() -> Result<Self, Failure> {
        startup::ensure().map(Self::from)
    }

    /// The caller's daemon; `None` when it does not run.
    ///
    /// # Errors
    /// When the socket belongs to someone else, or inside a session.
    pub fn find() -> Result<Option<Self>, Failure> {
        Ok(startup::running()?.map(Self::from))
    }

    /// A daemon that may run elsewhere, behind this socket.
    ///
    /// # Errors
    /// When nobody listens there, or it belongs to someone else.
    pub fn behind(socket: &Path) -> Result<Self, Failure> {
        let found = UnixStream::connect(socket).and_then(|stream| check_owner(&stream).map(|()| stream));
        let stream = found.map_err(|e| {
            Failure::system(format!("reach a daemon at {}", socket.display()), &e)
                .hint("`ssh -L` brings the socket of one here, which `sessile daemon status` names there")
        })?;
        let socket = socket.to_owned();
        Ok(Self { socket, remote: true, first: Arc::new(Mutex::new(Some(stream))) })
    }

    /// `GET`.
    ///
    /// # Errors
    /// The daemon's problem, or that it did not answer.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        block_on(self.send(Method::GET, path, &|_| Ok(Bytes::new())))
    }

    /// `POST` with a JSON body.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        let body = json(body)?;
        block_on(self.send(Method::POST, path, &|_| Ok(body.clone())))
    }

    /// `POST` of what is asked again, should the daemon die, with what is left of its time.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn post_timed<T: DeserializeOwned, B: Serialize>(
        &self,
        path: &str,
        body: impl Fn(Duration) -> B + Sync,
    ) -> Result<T, Failure> {
        block_on(self.send(Method::POST, path, &|waited| json(&body(waited))))
    }

    /// `POST` of an empty object, which takes the daemon no time and may be repeated, with something to do while it
    /// answers.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn post_at_once<T: DeserializeOwned>(
        &self,
        path: &str,
        meanwhile: impl FnOnce(),
    ) -> Result<T, Failure> {
        let first = self.first.lock().ok().and_then(|mut first| first.take());
        let asked = first.and_then(|stream| at_once::post(stream, path));
        meanwhile();
        match asked.and_then(at_once::Asked::answer) {
            Some(at_once::Answer { losses, body }) => {
                say_losses(losses.as_deref());
                answer(path, &body)
            }
            None => self.post(path, &serde_json::json!({})),
        }
    }

    /// `POST` of one body to many paths at once; the answers come in the order of the paths.
    ///
    /// # Errors
    /// When nothing could be sent at all; otherwise each answer has its own.
    pub fn post_each<T: DeserializeOwned + Send + 'static>(
        &self,
        paths: Vec<String>,
        body: &impl Serialize,
    ) -> Result<Vec<Result<T, Failure>>, Failure> {
        let body = json(body)?;
        block_on(async {
            let started: Vec<_> = paths
                .into_iter()
                .map(|path| {
                    let (daemon, body) = (self.clone(), body.clone());
                    tokio::spawn(async move { daemon.send(Method::POST, &path, &|_| Ok(body.clone())).await })
                })
                .collect();
            let mut answers = Vec::with_capacity(started.len());
            for task in started {
                answers.push(
                    task.await.unwrap_or_else(|e| Err(Failure::new(ProblemKind::Internal, e.to_string()))),
                );
            }
            Ok(answers)
        })
    }

    /// Sends a request, again should the daemon die before it was asked; one that may be repeated also if it dies
    /// later. The body is made anew each time, of how long this has taken.
    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &(dyn Fn(Duration) -> Result<Bytes, Failure> + Sync),
    ) -> Result<T, Failure> {
        let began = Instant::now();
        let mut left = REPEATS;
        let once = !is_repeatable(&method, path);
        loop {
            match self.send_once(method.clone(), path, body(began.elapsed())?).await {
                Err(Sent::Lost(failure)) if once => return Err(uncertain(failure)),
                Err(Sent::Unasked(_) | Sent::Lost(_)) if left > 0 => {
                    // One that was just killed still takes connections for a moment.
                    tokio::time::sleep(APART * (REPEATS - left)).await;
                    left -= 1;
                    if !self.remote
                        && let Ok(mut first) = self.first.lock()
                    {
                        *first = Some(startup::ensure()?.stream);
                    }
                }
                Err(Sent::Unasked(failure) | Sent::Lost(failure) | Sent::Refused(failure)) => {
                    return Err(failure);
                }
                Ok(answer) => return Ok(answer),
            }
        }
    }

    async fn connect(&self) -> io::Result<tokio::net::UnixStream> {
        let first = self.first.lock().ok().and_then(|mut first| first.take());
        let Some(stream) = first else { return tokio::net::UnixStream::connect(&self.socket).await };
        stream.set_nonblocking(true)?;
        tokio::net::UnixStream::from_std(stream)
    }

    /// As [`Self::exchange`], given up on when the daemon answers nothing else either: an answer may
    /// be long in coming by design.
    async fn send_once<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, Sent> {
        let stream = self.connect().await.map_err(|e| Sent::Unasked(gone(&plain(&e))))?;
        let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
        let mut answer = pin!(self.exchange(stream, method, path, body));
        tokio::select! {
            answer = &mut answer => answer,
            () = self.falls_silent() => Err(Sent::Refused(silent(pid, 2 * UNANSWERED))),
            pid = stopped(pid), if !self.remote => Err(Sent::Refused(is_stopped(pid))),
        }
    }

    /// Returns when the daemon does not answer a question that takes it no time.
    async fn falls_silent(&self) {
        loop {
            tokio::time::sleep(UNANSWERED).await;
            let asked = async {
                let stream = tokio::net::UnixStream::connect(&self.socket)
                    .await
                    .map_err(|e| Sent::Lost(gone(&plain(&e))))?;
                self.exchange::<DaemonStatus>(stream, Method::GET, "/v1/daemon", Bytes::new()).await
            };
            // One that refuses is not silent: the request itself hears of it.
            if timeout(UNANSWERED, asked).await.is_err() {
                return;
            }
        }
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        stream: tokio::net::UnixStream,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, Sent> {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| Sent::Unasked(gone(&e.to_string())))?;
        let driver = tokio::spawn(connection);
        if !is_repeatable(&method, path) {
            // One that was just killed still takes connections for a moment, and nobody would know whether it had
            // read this.
            let alive = request(Method::GET, "/v1/daemon", Bytes::new())?;
            let alive = async { sender.send_request(alive).await?.into_body().collect().await };
            alive.await.map_err(|e| Sent::Unasked(gone(&e.to_string())))?;
            sender.ready().await.map_err(|e| Sent::Unasked(gone(&e.to_string())))?;
        }
        let lost = |e: hyper::Error| Sent::Lost(gone(&e.to_string()));
        let response = sender.send_request(request(method, path, body)?).await.map_err(lost)?;
        let status = response.status();
        tell_losses(response.headers());
        let body = response.into_body().collect().await.map_err(lost)?.to_bytes();
        driver.abort();
        if status.is_success() {
            return answer(path, &body).map_err(Sent::Refused);
        }
        let failure = refusal(status.as_u16(), &body);
        let session = path.strip_prefix("/v1/sessions/").and_then(|p| p.split(['/', '?']).next());
        Err(Sent::Refused(match session {
            Some(session) => failure.about(ProblemKind::NotFound, session),
            None => failure,
        }))
    }
}

fn request(method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, Sent> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "sessile")
        .header(CONTENT_TYPE, "application/json")
        .header(LOSSES, "tell")
        .body(Full::new(body))
        .map_err(|e| {
            Sent::Refused(Failure::new(ProblemKind::Internal, format!("cannot build the request: {e}")))
        })
}

/// Says on standard error what the daemon found lost. It hands it to one command only.
fn tell_losses(headers: &HeaderMap) {
    say_losses(headers.get(LOSSES).map(HeaderValue::as_bytes));
}

fn say_losses(told: Option<&[u8]>) {
    let losses: Option<Vec<String>> = told.and_then(|told| serde_json::from_slice(told).ok());
    for loss in losses.unwrap_or_default() {
        say(&format!("sessile: notice: {}", printable(&loss)));
    }
}

fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    runtime.map_err(|e| Failure::system("wait for the daemon", &e))?.block_on(future)
}

fn json(body: &impl Serialize) -> Result<Bytes, Failure> {
    serde_json::to_vec(body)
        .map(Bytes::from)
        .map_err(|e| Failure::new(ProblemKind::Internal, format!("cannot write the request: {e}")))
}

/// An empty body stands for JSON's null, so that answers without content fit `()`.
fn answer<T: DeserializeOwned>(path: &str, body: &[u8]) -> Result<T, Failure> {
    let body = if body.is_empty() { &b"null"[..] } else { body };
    serde_json::from_slice(body).map_err(|e| {
        Failure::new(ProblemKind::Internal, format!("the daemon's answer to {path} is not understood: {e}"))
            .hint(
                "`sessile daemon stop`, then try again: the daemon may be of another version; sessions go on",
            )
    })
}

fn refusal(status: u16, body: &[u8]) -> Failure {
    match serde_json::from_slice::<Problem>(body) {
        // What this program says is of its own version; a daemon that runs on from before an update
        // may not know it.
        Ok(problem) if problem.detail.starts_with("the body is not what this path takes") => problem
            .hint("if sessile was updated: `sessile daemon stop`; sessions go on, and the next command starts the new daemon")
            .into(),
        Ok(problem) => problem.into(),
        Err(_) => {
            let text = String::from_utf8_lossy(body);
            let text = text.lines().next().unwrap_or_default();
            Failure::new(ProblemKind::Internal, format!("the daemon answered {status}: {text}"))
        }
    }
}

/// How long a daemon may leave a request without an answer before it is asked whether it lives, and
/// then that.
const UNANSWERED: Duration = Duration::from_secs(15);

/// What is said of a daemon that has not answered for so long.
pub fn silent(pid: Option<i32>, waited: Duration) -> Failure {
    let seconds = waited.as_secs();
    let (who, pid) = match pid {
        Some(pid) => (format!("the daemon (process {pid})"), pid.to_string()),
        None => ("the daemon".to_owned(), "its process id".to_owned()),
    };
    Failure::new(ProblemKind::Timeout, format!("{who} has not answered for {seconds} s")).hint(format!(
        "if it is stopped, `kill -CONT {pid}` lets it go on; `kill -9 {pid}` ends it, sessions go on, and the next command starts another"
    ))
}

/// How often it is looked whether a daemon that has not answered is stopped, and how often in a row it is found so
/// before that is said: who looks into one with a debugger stops it for a moment.
const LOOK: Duration = Duration::from_millis(500);
const SEEN_STOPPED: u32 = 3;

/// Returns once the daemon has been stopped by a signal for some time.
async fn stopped(pid: Option<i32>) -> i32 {
    let Some(pid) = pid else { return std::future::pending().await };
    let mut seen = 0;
    while seen < SEEN_STOPPED {
        tokio::time::sleep(LOOK).await;
        // One that hides what it does is found out by its silence.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        seen = if state_of(&stat) == 'T' { seen + 1 } else { 0 };
    }
    pid
}

fn is_stopped(pid: i32) -> Failure {
    Failure::new(ProblemKind::Timeout, format!("the daemon (process {pid}) is stopped by a signal")).hint(format!(
        "`kill -CONT {pid}` lets it go on, and do what it was asked; `kill -9 {pid}` ends it, sessions go on, and the next command starts another"
    ))
}

/// How often a request is repeated whose daemon died.
const REPEATS: u32 = 8;
/// How much longer it waits each time before it is sent again; the first time not at all.
const APART: Duration = Duration::from_millis(50);

/// Why there is no answer.
enum Sent {
    /// The daemon went away before it was asked.
    Unasked(Failure),
    /// The daemon went away before it answered in full.
    Lost(Failure),
    /// It answered otherwise, or could not be asked.
    Refused(Failure),
}

/// Whether a request does no more when it is sent twice.
fn is_repeatable(method: &Method, path: &str) -> bool {
    let last = path.split('?').next().and_then(|p| p.rsplit('/').next());
    *method == Method::GET
        || matches!(last, Some("say" | "hear" | "take" | "stand" | "close" | "wait" | "end"))
        || matches!(last, Some("attachments" | "pause" | "resume"))
}

fn gone(why: &str) -> Failure {
    Failure::new(ProblemKind::Failed, format!("the daemon stopped answering: {why}"))
        .hint("try again: sessions go on without the daemon, and the next command starts another")
}

/// What is said of a request that may have been carried out.
fn uncertain(failure: Failure) -> Failure {
    failure.hint(
        "whether it was carried out is not known: `sessile ls` and `sessile show` say how things stand; sessions go on, and \
         the next command starts another daemon",
    )
}

/// A path with a query; pairs without a value are left out.
pub fn with_query(path: &str, pairs: &[(&str, Option<String>)]) -> String {
    let mut text = path.to_owned();
    let mut separator = '?';
    for (name, value) in pairs {
        if let Some(value) = value {
            text.push(separator);
            text += &format!("{name}={}", encoded(value));
            separator = '&';
        }
    }
    text
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_encoded() {
        let path =
            with_query("/v1/x", &[("a", Some("b c&d=é".into())), ("n", None), ("e", Some(String::new()))]);
        assert_eq!(path, "/v1/x?a=b%20c%26d%3D%C3%A9&e=");
    }

    #[test]
    fn answers_without_content_fit_unit() {
        assert!(answer::<()>("/", b"").is_ok());
        assert!(answer::<u8>("/", b"").is_err());
    }

    #[test]
    fn refusals_keep_the_problem_or_say_the_status() {
        let problem = Problem::new(ProblemKind::Conflict, "taken").hint("another");
        let Failure::Problem(got) = refusal(409, &serde_json::to_vec(&problem).unwrap()) else { panic!() };
        assert_eq!(*got, problem);
        let older =
            Problem::new(ProblemKind::BadRequest, "the body is not what this path takes: unknown field");
        let Failure::Problem(got) = refusal(400, &serde_json::to_vec(&older).unwrap()) else { panic!() };
        assert!(got.hint.unwrap().contains("daemon stop"));
        let Failure::Problem(got) = refusal(404, b"not here\nx") else { panic!() };
        assert_eq!(got.detail, "the daemon answered 404: not here");
    }
}
