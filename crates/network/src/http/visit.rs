//! One connection's requests and responses, one after the other.
//!
//! ```text
//!  idle ─ head ─► judged ─► passed on ─┬─ body ──────────────► sent ─┐
//!   ▲               │ refused: last    └─ response ─► answered ──────┤
//!   │               ▼ words, end                      101: relay     │
//!   └────────────────────────── neither side wants to close ◄────────┘
//! ```

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::BorrowedFd;
use std::pin::pin;
use std::time::Instant;

use sessile_model::AppName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf, split};

use super::body::{BadBody, Body, Step};
use super::conceal::Conceal;
use super::farewell::{farewell, not_allowed, refusal};
use super::head::{BadHead, Framing, Request, Response};
use super::inlet::{HeadError, Inlet};
use super::inspection::{Inspection, Kept};
use crate::flows::{Flows, Way};
use crate::guard::{Guard, Withheld};
use crate::policy::Policy;
use crate::relay::{Closing, closes_as};
use crate::secret::Secret;

/// A header that is set on every request, and that its app never sees.
#[derive(Clone, Copy, Debug)]
pub struct Brokered<'a> {
    /// Its name.
    pub header: &'a str,
    /// Its value, a secret.
    pub value: &'a Secret,
}

/// Who says which requests may be sent.
#[derive(Clone, Copy, Debug)]
pub struct Judge<'a> {
    /// The session's rules and policies.
    pub policy: &'a RefCell<Policy>,
    /// The app that sends.
    pub app: &'a AppName,
    /// The port that it sends to.
    pub port: u16,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug)]
pub struct Visit<'a> {
    /// Where its bytes are counted.
    pub flows: &'a RefCell<Flows>,
    /// Its number there.
    pub flow: u64,
    /// The host that was asked for.
    pub host: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// What is set on each request.
    pub brokered: &'a [Brokered<'a>],
    /// Who judges each request.
    pub judge: Judge<'a>,
    /// Who looks at what each carries.
    pub guard: &'a Guard,
    /// The app's socket, which closes with a reset until its end was said: an answer may end with the connection,
    /// and one that was cut off must not look whole.
    pub socket: Option<BorrowedFd<'a>>,
}

/// Why a connection ended early.
#[derive(Debug, Error)]
pub enum Stopped {
    /// A request was for another host.
    #[error("a request was for {said}")]
    OtherHost {
        /// The host that it named.
        said: String,
    },
    /// A policy forbids a request.
    #[error("a request was refused by {by}")]
    Forbidden {
        /// The policy.
        by: String,
    },
    /// The session's guard does not let it pass.
    #[error("a request was not sent: {0}")]
    Withheld(#[from] Withheld),
    /// The app's request is refused.
    #[error("a request was refused: {0}")]
    Request(BadHead),
    /// The body of the app's request is refused.
    #[error("a request was refused: {0}")]
    RequestBody(BadBody),
    /// The host's response is refused.
    #[error("the host's response was refused: {0}")]
    Response(BadHead),
    /// The body of the host's response is refused.
    #[error("the host's response was refused: {0}")]
    ResponseBody(BadBody),
    /// The host left without a response.
    #[error("the host ended the connection without a response")]
    NoResponse,
    /// One side ended within a message.
    #[error("the connection ended within a message")]
    Cut,
    /// A side failed, or a cap is reached.
    #[error("{0}")]
    Failed(#[from] io::Error),
}

/// What an app is told of the end, where it still can be.
impl Stopped {
    fn words(&self, host: &str) -> Option<Vec<u8>> {
        match self {
            Self::OtherHost { said } => Some(not_allowed(said, &differs(host, said))),
            Self::Forbidden { by } => {
                let text = format!(
                    "This session may not send this request to {host} ({by}). Do not retry: ask the person who \
                     runs the session to allow it."
                );
                Some(refusal("403 Forbidden", &text))
            }
            Self::Withheld(Withheld::Refused) => {
                let text = format!(
                    "This session may not send this request to {host}: refused by policy. Do not retry: ask the \
                     person who runs the session to allow it."
                );
                Some(refusal("403 Forbidden", &text))
            }
            Self::Withheld(Withheld::Unguarded) => Some(refusal(
                "503 Service Unavailable",
                "The session's guard does not look at requests now; this one was not sent. It may be sent again.",
            )),
            Self::Request(_) | Self::RequestBody(_) => Some(refusal(
                "400 Bad Request",
                &format!("The session's gateway does not pass this on: {self}."),
            )),
            Self::Response(_) | Self::NoResponse => {
                Some(refusal("502 Bad Gateway", &format!("The session's gateway: {self} ({host}).")))
            }
            Self::Withheld(Withheld::Left) | Self::ResponseBody(_) | Self::Cut | Self::Failed(_) => None,
        }
    }
}

/// The rule that refuses what is meant for another host.
pub fn differs(host: &str, said: &str) -> String {
    format!("it asked for {host} and then spoke to {said}")
}

enum After {
    Next,
    Close,
    Relay,
}

struct Sides<A, W> {
    app_in: Inlet<ReadHalf<A>>,
    app_out: WriteHalf<A>,
    world_in: Inlet<ReadHalf<W>>,
    world_out: WriteHalf<W>,
}

/// Passes requests and responses on until one side ends. `first` are the app's first bytes.
///
/// # Errors
/// See [`Stopped`]; the app has been told of it where its protocol has words for it.
pub async fn serve<A, W>(visit: &Visit<'_>, app: A, world: W, first: Vec<u8>) -> Result<(), Stopped>
where
    A: AsyncRead + AsyncWrite + Unpin,
    W: AsyncRead + AsyncWrite + Unpin,
{
    let ((app_read, app_out), (world_read, world_out)) = (split(app), split(world));
    let (app_in, world_in) = (Inlet::new(app_read, first), Inlet::new(world_read, Vec::new()));
    let mut sides = Sides { app_in, app_out, world_in, world_out };
    let begun = Cell::new(false);
    let outcome = loop {
        begun.set(false);
        match exchange(visit, &mut sides, &begun).await {
            Ok(After::Next) => {}
            Ok(After::Close) => break Ok(()),
            Ok(After::Relay) => break relay(visit, &mut sides).await.map_err(Stopped::from),
            Err(stopped) => break Err(stopped),
        }
    };
    let Sides { app_in, app_out, mut world_out, .. } = sides;
    // The host may have left; what matters was passed on.
    let _ = world_out.shutdown().await;
    let words = match &outcome {
        Ok(()) => Some(Vec::new()),
        Err(stopped) if !begun.get() => stopped.words(visit.host),
        Err(_) => None,
    };
    if let Some(words) = words {
        closes_as(Closing::End, visit.socket);
        farewell(app_in.into_inner().unsplit(app_out), &words).await;
    }
    outcome
}

/// One request and its response.
async fn exchange<A, W>(
    visit: &Visit<'_>,
    sides: &mut Sides<A, W>,
    begun: &Cell<bool>,
) -> Result<After, Stopped>
where
    A: AsyncRead + AsyncWrite + Unpin,
    W: AsyncRead + AsyncWrite + Unpin,
{
    let Sides { app_in, app_out, world_in, world_out } = sides;
    let head = tokio::select! {
        biased;
        head = app_in.head() => head,
        // A host that ends, or speaks, while nothing is asked of it closes the connection.
        said = world_in.more() => return said.map(|_| After::Close).map_err(Stopped::from),
    };
    let Some(head) = head.map_err(|e| of_head(e, Stopped::Request))? else { return Ok(After::Close) };
    let request = judged(visit, Request::parse(&head, visit.scheme).map_err(Stopped::Request)?)?;
    let Judge { app, port, policy: _ } = visit.judge;
    let inspection = Inspection { guard: visit.guard, app, host: visit.host, port, socket: visit.socket };
    let kept = inspection.head(&request, app_in.rest()).await?;
    let request = armed(visit, request);
    pass(visit, Way::Out, world_out, &request.write()).await?;
    let mut sending = pin!(body(visit, Sieve::Out(kept), request.framing, app_in, world_out));
    let mut answering = pin!(answer(visit, &request, world_in, app_out, begun));
    let mut sent = None;
    let after = loop {
        tokio::select! {
            biased;
            outcome = &mut sending, if sent.is_none() => match outcome {
                Ok(()) => sent = Some(true),
                // A host that takes no more may yet say why.
                Err(BodyError::Outlet(_)) => sent = Some(false),
                Err(other) => return Err(of_body(other, Stopped::RequestBody)),
            },
            after = &mut answering => break after?,
        }
    };
    // A request that was answered before its end leaves the connection in between.
    let whole = sent == Some(true) && !request.close;
    Ok(match (after, whole) {
        (After::Relay, _) => After::Relay,
        (After::Next, true) => After::Next,
        (After::Next | After::Close, _) => After::Close,
    })
}

/// A request as it is passed on, if it is.
fn judged(visit: &Visit<'_>, mut request: Request) -> Result<Request, Stopped> {
    if request.host != visit.host {
        return Err(Stopped::OtherHost { said: request.host });
    }
    let Judge { policy, app, port } = visit.judge;
    let (method, target) = (request.method.as_str(), request.target.as_str());
    let asked = sessile_policy::Request { method, target, tls: visit.scheme == "https" };
    if let Some(by) = policy.borrow().forbids(app, visit.host, port, asked) {
        return Err(Stopped::Forbidden { by });
    }
    for Brokered { header, value: _ } in visit.brokered {
        // TRACE sends back what it was sent.
        if request.method.eq_ignore_ascii_case("TRACE") {
            return Err(Stopped::Request(BadHead::Method));
        }
        // What the app has there does not leave.
        request.headers.remove(header);
    }
    Ok(request)
}

/// The same with what is set on it, which is for the host alone.
fn armed(visit: &Visit<'_>, mut request: Request) -> Request {
    for Brokered { header, value } in visit.brokered {
        request.headers.set(header, value.expose());
        // What comes back compressed could not be looked through.
        request.headers.set("Accept-Encoding", b"identity");
    }
    request
}

/// Passes on responses up to the last one to a request.
async fn answer<R, O>(
    visit: &Visit<'_>,
    request: &Request,
    world: &mut Inlet<R>,
    app: &mut O,
    begun: &Cell<bool>,
) -> Result<After, Stopped>
where
    R: AsyncRead + Unpin,
    O: AsyncWrite + Unpin,
{
    loop {
        let head = world.head().await.map_err(|e| of_head(e, Stopped::Response))?;
        let Some(head) = head else { return Err(Stopped::NoResponse) };
        let mut response = Response::parse(&head, &request.method).map_err(Stopped::Response)?;
        if response.status == 101 && !request.upgrade {
            return Err(Stopped::Response(BadHead::Syntax));
        }
        for Brokered { header, value } in visit.brokered {
            response.headers.remove(header);
            response.conceal(value.core());
        }
        begun.set(response.status >= 200 || response.status == 101);
        pass(visit, Way::In, app, &response.write()).await?;
        match response.status {
            101 => return Ok(After::Relay),
            100..=199 => {}
            _ => {
                let secrets = visit.brokered.iter().map(|b| b.value.core());
                let sieve = Sieve::In(Conceal::new(secrets));
                let outcome = body(visit, sieve, response.framing, world, app).await;
                outcome.map_err(|e| of_body(e, Stopped::ResponseBody))?;
                return Ok(if response.close { After::Close } else { After::Next });
            }
        }
    }
}

/// What a body passes.
enum Sieve<'a> {
    /// Out: what may not go yet is kept back.
    Out(Kept<'a>),
    /// In: what was set on the request does not come back.
    In(Conceal<'a>),
}

impl Sieve<'_> {
    fn way(&self) -> Way {
        match self {
            Self::Out(_) => Way::Out,
            Self::In(_) => Way::In,
        }
    }

    async fn pass(&mut self, part: &[u8]) -> Result<Vec<u8>, BodyError> {
        match self {
            Self::Out(kept) => kept.pass(part).await.map_err(BodyError::Withheld),
            Self::In(conceal) => Ok(conceal.pass(part)),
        }
    }

    async fn rest(&mut self) -> Result<Vec<u8>, BodyError> {
        match self {
            Self::Out(kept) => kept.rest().await.map_err(BodyError::Withheld),
            Self::In(conceal) => Ok(conceal.rest()),
        }
    }
}

enum BodyError {
    Bad(BadBody),
    Withheld(Withheld),
    Cut,
    Inlet(io::Error),
    Outlet(io::Error),
}

fn of_head(error: HeadError, bad: fn(BadHead) -> Stopped) -> Stopped {
    match error {
        HeadError::Bad(why) => bad(why),
        HeadError::Failed(error) => Stopped::Failed(error),
    }
}

fn of_body(error: BodyError, bad: fn(BadBody) -> Stopped) -> Stopped {
    match error {
        BodyError::Bad(why) => bad(why),
        BodyError::Withheld(why) => Stopped::Withheld(why),
        BodyError::Cut => Stopped::Cut,
        BodyError::Inlet(error) | BodyError::Outlet(error) => Stopped::Failed(error),
    }
}

/// Passes a body on, part by part. Chunks are made anew; extensions and trailers are left out, and
/// what was set on the request does not come back.
async fn body<R, O>(
    visit: &Visit<'_>,
    mut sieve: Sieve<'_>,
    framing: Framing,
    from: &mut Inlet<R>,
    to: &mut O,
) -> Result<(), BodyError>
where
    R: AsyncRead + Unpin,
    O: AsyncWrite + Unpin,
{
    let chunked = framing == Framing::Chunked;
    let mut body = Body::new(framing);
    let way = sieve.way();
    loop {
        match body.step(from.rest()).map_err(BodyError::Bad)? {
            Step::More => match from.more().await.map_err(BodyError::Inlet)? {
                0 if body.may_end() => return content((visit, way), chunked, &sieve.rest().await?, to).await,
                0 => return Err(BodyError::Cut),
                _ => {}
            },
            Step::Framing(count) => from.take(count),
            Step::Content(count) => {
                let part = sieve.pass(from.rest().get(..count).unwrap_or_default()).await?;
                content((visit, way), chunked, &part, to).await?;
                from.take(count);
            }
            Step::End => {
                content((visit, way), chunked, &sieve.rest().await?, to).await?;
                let end: &[u8] = if chunked { b"0\r\n\r\n" } else { b"" };
                return pass(visit, way, to, end).await.map_err(BodyError::Outlet);
            }
        }
    }
}

/// Passes a part of a body on.
async fn content<O: AsyncWrite + Unpin>(
    (visit, way): (&Visit<'_>, Way),
    chunked: bool,
    part: &[u8],
    to: &mut O,
) -> Result<(), BodyError> {
    if part.is_empty() {
        // As a chunk it would end the body.
        return Ok(());
    }
    let passed = match chunked {
        true => {
            let line = format!("{:x}\r\n", part.len());
            pass(visit, way, to, &[line.as_bytes(), part, b"\r\n"].concat()).await
        }
        false => pass(visit, way, to, part).await,
    };
    passed.map_err(BodyError::Outlet)
}

/// Passes bytes on both ways without looking at them.
async fn relay<A, W>(visit: &Visit<'_>, sides: &mut Sides<A, W>) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin,
    W: AsyncRead + AsyncWrite + Unpin,
{
    let Sides { app_in, app_out, world_in, world_out } = sides;
    let out = one_way(visit, Way::Out, app_in, world_out);
    let back = one_way(visit, Way::In, world_in, app_out);
    tokio::try_join!(out, back).map(drop)
}

async fn one_way<R, O>(visit: &Visit<'_>, way: Way, from: &mut Inlet<R>, to: &mut O) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    O: AsyncWrite + Unpin,
{
    loop {
        let count = from.rest().len();
        if count > 0 {
            pass(visit, way, to, from.rest()).await?;
            from.take(count);
        } else if from.more().await? == 0 {
            return to.shutdown().await;
        }
    }
}

/// Writes bytes, counts them, and waits as the session's rate says.
async fn pass(
    visit: &Visit<'_>,
    way: Way,
    to: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    to.write_all(bytes).await?;
    to.flush().await?;
    let (count, now) = (bytes.len() as u64, Instant::now());
    let (counted, delay) = {
        let mut flows = visit.flows.borrow_mut();
        (flows.count(visit.flow, way, count, now), flows.delay(count, now))
    };
    counted.map_err(io::Error::other)?;
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    Ok(())
}

#[cfg(test)]
#[path = "visit_tests.rs"]
mod tests;
