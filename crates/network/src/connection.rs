//! One connection of an app, from its acceptance to its end.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use sessile_model::AppName;
use sessile_model::api::Verdict;
use sessile_model::gateway::Report;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::dns;
use crate::flows::Way;
use crate::gateway::{Shared, now};
use crate::guard::Withheld;
use crate::http::visit::{self, Judge, Stopped, Visit, differs};
use crate::http::{Refusal, farewell, refusal};
use crate::intercept::Interception;
use crate::life;
use crate::names::{Names, is_fake};
use crate::policy::Decision;
use crate::proxy::{self, Manner, Wanted};
use crate::questions::Waiting;
use crate::relay::{self, Closing};
use crate::route::ConnectError;
use crate::sight::{self, Sight};
use crate::stream::Stream;

/// How long somebody has to answer a question.
const ANSWER_TIME: Duration = Duration::from_secs(300);
/// How long a refused app's first bytes are waited for, to refuse it in its own language.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long an app may take over its first whole request or ClientHello.
const FIRST_WORDS: Duration = Duration::from_secs(60);
/// Bytes of the host that are passed on at once before the app has spoken.
const MOST_AT_ONCE: usize = 16 << 10;
/// A TLS alert, fatal, access_denied (RFC 8446, section 6).
const TLS_DENIED: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 49];

/// Serves a connection that the app made to anywhere and that was redirected here.
pub async fn serve(shared: &Shared, app: &AppName, names: &RefCell<Names>, stream: TcpStream) {
    let Some(meant) = original_destination(&stream) else {
        // It came to this listener itself, not to anywhere.
        return reset(stream);
    };
    let (host, port) = (meant.ip().to_string(), meant.port());
    let wanted = Wanted { host, port, manner: Manner::Redirected, first: Vec::new() };
    serve_wanted(shared, app, names, wanted, stream).await;
}

/// Serves a connection that the app made to this listener, as to a proxy.
pub async fn serve_as_proxy(shared: &Shared, app: &AppName, names: &RefCell<Names>, mut stream: TcpStream) {
    match timeout(FIRST_WORDS, proxy::hear(&mut stream)).await {
        Ok(Ok(Some(wanted))) => serve_wanted(shared, app, names, wanted, stream).await,
        // It has been told what there was to say.
        Ok(Ok(None)) => drop(stream),
        Ok(Err(_)) | Err(_) => reset(stream),
    }
}

async fn serve_wanted(
    shared: &Shared,
    app: &AppName,
    names: &RefCell<Names>,
    wanted: Wanted,
    mut stream: TcpStream,
) {
    let Wanted { host, port, manner, first } = wanted;
    if port == 53 {
        if stream.write_all(manner.reached()).await.is_ok() {
            answer_dns(shared, stream, names).await;
        }
        return;
    }
    let host = match host.parse().map(unmapped) {
        Err(_) => host,
        Ok(address) => match names.borrow().name(address) {
            Some(name) => name.to_owned(),
            // An address that was made up for a name that is forgotten leads nowhere.
            None if is_fake(address) => return reset(stream),
            None => address.to_string(),
        },
    };
    let began = shared.flows.borrow_mut().begin(app.clone(), host.clone(), port, (now(), Instant::now()));
    let flow = match began {
        Ok(flow) => flow,
        Err(reached) => {
            let by = reached.to_string();
            shared.tell_refused(app, &host, port, &by);
            return refuse(Stream::Tcp(stream), manner, first, &host, &Refusal::Capped { by }).await;
        }
    };
    let ended = Ended { shared, flow, problem: RefCell::new(Some("the app's sandbox is gone".to_owned())) };
    let wanted = Wanted { host, port, manner, first };
    let outcome = go_through(shared, app, flow, wanted, stream).await;
    *ended.problem.borrow_mut() = outcome.err();
}

/// Enters the end of a flow, also when its task is ended from outside.
struct Ended<'a> {
    shared: &'a Shared,
    flow: u64,
    problem: RefCell<Option<String>>,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.shared.flows.borrow_mut().end(self.flow, self.problem.take());
    }
}

async fn go_through(
    shared: &Shared,
    app: &AppName,
    flow: u64,
    wanted: Wanted,
    stream: TcpStream,
) -> Result<(), String> {
    let Wanted { host, port, manner, first } = wanted;
    let host = host.as_str();
    let decided = decide(shared, app, (host, port), &stream).await;
    let stream = Stream::Tcp(stream);
    let by_name = match decided {
        Ok((by, by_name)) => {
            shared.flows.borrow_mut().decided(flow, Verdict::Allow, &by);
            by_name
        }
        Err(by) => {
            shared.flows.borrow_mut().decided(flow, Verdict::Deny, &by);
            shared.tell_refused(app, host, port, &by);
            refuse(stream, manner, first, host, &Refusal::NotAllowed { by }).await;
            return Ok(());
        }
    };
    // From before the connection is made, which belongs to the identity of then.
    let renewed = shared.route.renewed();
    tokio::pin!(renewed);
    let denied = |address| shared.policy.borrow().denies_address(address, port);
    let connected = tokio::select! {
        biased;
        () = &mut renewed => Err(ConnectError::Renewed),
        connected = shared.route.connect(app, (host, port), by_name, denied) => connected,
    };
    let world = match connected {
        Ok(world) => world,
        Err(error) => {
            let why = error.to_string();
            refuse(stream, manner, first, host, &Refusal::Unreachable { why: why.clone() }).await;
            return Err(why);
        }
    };
    let passing = async {
        write_all(&stream, manner.reached()).await.map_err(|e| e.to_string())?;
        pass_through(shared, (app, flow, host, port), first, stream, world).await
    };
    tokio::select! {
        biased;
        () = &mut renewed => Err(ConnectError::Renewed.to_string()),
        passed = passing => passed,
    }
}

/// Passes on what goes over a connection that was made, as far as it is meant for that host.
async fn pass_through(
    shared: &Shared,
    (app, flow, host, port): (&AppName, u64, &str, u16),
    first: Vec<u8>,
    stream: Stream,
    world: Stream,
) -> Result<(), String> {
    // Neither end waits for more to send.
    let _ = (stream.set_nodelay(), world.set_nodelay());
    let intercepted = shared.intercepted.iter().any(|target| target.matches(host, port));
    relay::closes_as(Closing::Reset, [&stream, &world]);
    let introduced = introduce(shared, (app, flow, host, port), intercepted, first, &stream, &world).await;
    if matches!(introduced, Ok(Introduced::Tls { .. } | Introduced::Http { .. } | Introduced::Refused { .. }))
    {
        // A request says itself where it ends.
        relay::closes_as(Closing::End, [&world]);
    }
    match introduced {
        Ok(Introduced::Tls { first }) => {
            let Some(interception) = shared.interception.borrow().clone() else {
                return Err("what TLS is opened with is not here yet".to_owned());
            };
            open_tls(shared, &interception, (app, flow), (host, port), (stream, first), world).await
        }
        Ok(Introduced::Relay) => {
            relay::both_ways(shared, flow, &stream, &world).await.map_err(|e| e.to_string())
        }
        Ok(Introduced::Http { first }) => {
            let judge = Judge { policy: &shared.policy, app, port };
            let (flows, guard) = (&shared.flows, &shared.guard);
            let socket = stream.as_fd().try_clone_to_owned().map_err(|e| e.to_string())?;
            let socket = Some(socket.as_fd());
            let visit = Visit { flows, flow, host, scheme: "http", brokered: &[], judge, guard, socket };
            ended(shared, app, flow, (host, port), visit::serve(&visit, stream, world, first).await)
        }
        Ok(Introduced::Refused { by, first }) => {
            drop(world);
            relay::closes_as(Closing::End, [&stream]);
            shared.flows.borrow_mut().decided(flow, Verdict::Deny, &by);
            shared.tell_refused(app, host, port, &by);
            // What the app hears now comes from where it wanted to go.
            refuse(stream, Manner::Redirected, first, host, &Refusal::NotAllowed { by }).await;
            Ok(())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Opens TLS on both sides. The host is verified before the app is answered.
async fn open_tls(
    shared: &Shared,
    interception: &Interception,
    (app, flow): (&AppName, u64),
    (host, port): (&str, u16),
    (stream, first): (Stream, Vec<u8>),
    world: Stream,
) -> Result<(), String> {
    let socket = stream.as_fd().try_clone_to_owned().map_err(|e| e.to_string())?;
    let socket = Some(socket.as_fd());
    let (world, (read, write)) =
        (timeout(FIRST_WORDS, interception.connect(host, world)).await, tokio::io::split(stream));
    let said_first = tokio::io::join(io::Cursor::new(first).chain(read), write);
    let accepted = timeout(FIRST_WORDS, interception.accept(host, said_first)).await;
    let inside = accepted.map_err(|_| "the app did not finish TLS in time")?.map_err(|e| e.to_string())?;
    let why = match world {
        Ok(Ok(world)) => {
            let brokered = interception.brokered(host, port);
            let judge = Judge { policy: &shared.policy, app, port };
            let (flows, guard) = (&shared.flows, &shared.guard);
            let visit =
                Visit { flows, flow, host, scheme: "https", brokered: &brokered, judge, guard, socket };
            let outcome = visit::serve(&visit, inside, world, Vec::new()).await;
            return ended(shared, app, flow, (host, port), outcome);
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("{host} did not finish TLS in time"),
    };
    relay::closes_as(Closing::End, socket);
    farewell(inside, &refusal("502 Bad Gateway", &format!("The session's gateway: {why}."))).await;
    Err(why)
}

/// Enters how a connection with requests ended.
fn ended(
    shared: &Shared,
    app: &AppName,
    flow: u64,
    (host, port): (&str, u16),
    outcome: Result<(), Stopped>,
) -> Result<(), String> {
    if let Err(Stopped::OtherHost { said }) = &outcome {
        let by = differs(host, said);
        shared.flows.borrow_mut().decided(flow, Verdict::Deny, &by);
        shared.tell_refused(app, host, port, &by);
        return Ok(());
    }
    if let Err(Stopped::Forbidden { by }) = &outcome {
        // The connection was allowed, and others of its requests may have been.
        shared.tell_refused(app, host, port, by);
    }
    if let Err(Stopped::Withheld(Withheld::Refused)) = &outcome {
        shared.tell_refused(app, host, port, "the session's guard");
    }
    outcome.map_err(|e| e.to_string())
}

/// What decides, and whether by the host's own name; or what refuses.
async fn decide(
    shared: &Shared,
    app: &AppName,
    (host, port): (&str, u16),
    stream: &TcpStream,
) -> Result<(String, bool), String> {
    match shared.policy.borrow().decide(app, host, port) {
        Decision::Allow { by, by_name } => return Ok((by, by_name)),
        Decision::Deny { by } => return Err(by),
        Decision::Ask => {}
    }
    let subject = (app.clone(), host.to_owned(), port);
    let asked = shared.questions.borrow_mut().ask(&subject);
    let Some(waiting) = asked else { return Err("too many questions are open".to_owned()) };
    let question = waiting.number;
    if waiting.is_new {
        let (app, host, port) = subject;
        shared.tell(Report::Asked { question, app, host, port });
    }
    let mut place = Place { shared, waiting: Some(waiting) };
    let answered = tokio::select! {
        biased;
        answered = timeout(ANSWER_TIME, place.verdict()) => answered,
        () = left(stream) => return Err("the app has left".to_owned()),
    };
    // From here on its end shows by itself.
    life::stop_asking(stream);
    match answered {
        Ok(Some(Verdict::Allow)) => Ok(("answered".to_owned(), true)),
        Ok(Some(Verdict::Deny)) => Err("answered".to_owned()),
        Ok(None) => Err("nobody answered".to_owned()),
        Err(_) => {
            let verdict = Verdict::Deny;
            if shared.questions.borrow_mut().settle(question, verdict).is_some() {
                shared.tell(Report::Settled { question, verdict, timed_out: true, withdrawn: false });
            }
            Err("nobody answered in time".to_owned())
        }
    }
}

/// A connection's place among those who wait for an answer. A question for which nobody waits any more
/// is withdrawn, also when the task is ended from outside.
struct Place<'a> {
    shared: &'a Shared,
    waiting: Option<Waiting>,
}

impl Place<'_> {
    async fn verdict(&mut self) -> Option<Verdict> {
        self.waiting.as_mut()?.verdict().await
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(waiting) = self.waiting.take() else { return };
        let question = waiting.number;
        if self.shared.questions.borrow_mut().leave(waiting) {
            let verdict = Verdict::Deny;
            self.shared.tell(Report::Settled { question, verdict, timed_out: true, withdrawn: true });
        }
    }
}

/// Returns when the app's socket is gone.
async fn left(stream: &TcpStream) {
    let asked = life::ask_for_life(stream);
    loop {
        match stream.ready(Interest::ERROR).await {
            Ok(ready) if ready.is_error() => return,
            Ok(_) if asked => {}
            Ok(_) | Err(_) => return std::future::pending().await,
        }
    }
}

enum Introduced {
    /// The first bytes were passed on; the rest follows unseen.
    Relay,
    /// They begin TLS that is to be opened. Nothing of it was passed on.
    Tls { first: Vec<u8> },
    /// They begin a request. Nothing of it was passed on.
    Http { first: Vec<u8> },
    /// They are meant for another host, or hide what a policy would look at.
    Refused { by: String, first: Vec<u8> },
}

/// Passes on the app's first bytes once it is clear that they are meant for the host that was
/// asked for. What the host says before is passed on meanwhile: in some protocols it speaks first.
async fn introduce(
    shared: &Shared,
    (of, flow, host, port): (&AppName, u64, &str, u16),
    intercepted: bool,
    mut first: Vec<u8>,
    app: &Stream,
    world: &Stream,
) -> io::Result<Introduced> {
    let patience = tokio::time::sleep(FIRST_WORDS);
    tokio::pin!(patience);
    while sight::look(&first) == Sight::Unclear {
        tokio::select! {
            biased;
            ready = app.readable() => {
                ready?;
                match app.try_read_buf(&mut first) {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
                    Err(e) => return Err(e),
                }
            }
            ready = world.readable(), if first.is_empty() => {
                ready?;
                if intercepted {
                    return Err(not_opened());
                }
                if !pass_on(shared, flow, world, app).await? {
                    break;
                }
            }
            () = &mut patience, if !first.is_empty() => break,
        }
    }
    let sight = sight::look(&first);
    match &sight {
        Sight::Tls { name: Some(name) } if !name.eq_ignore_ascii_case(host) => {
            return Ok(Introduced::Refused { by: differs(host, &name.to_ascii_lowercase()), first });
        }
        Sight::Tls { .. } if intercepted => return Ok(Introduced::Tls { first }),
        Sight::BrokenTls => {
            let by = "its TLS does not say which host is meant".to_owned();
            return Ok(Introduced::Refused { by, first });
        }
        Sight::Http => return Ok(Introduced::Http { first }),
        Sight::Other if intercepted => return Err(not_opened()),
        // What never becomes clear might yet become what would be refused.
        Sight::Unclear if !first.is_empty() => {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "its first words were never finished"));
        }
        Sight::Tls { .. } | Sight::Unclear | Sight::Other => {}
    }
    let tls = matches!(sight, Sight::Tls { .. });
    if let Some(by) = shared.policy.borrow().forbids_unseen(of, host, port, tls) {
        return Ok(Introduced::Refused {
            by: format!("{by} is about requests, and these cannot be seen"),
            first,
        });
    }
    write_all(world, &first).await?;
    let count = first.len() as u64;
    let counted = shared.flows.borrow_mut().count(flow, Way::Out, count, Instant::now());
    counted.map_err(io::Error::other).map(|()| Introduced::Relay)
}

/// What ends a connection to an intercepted host that is no TLS.
fn not_opened() -> io::Error {
    let what = "this host is intercepted, and what is spoken with it is neither TLS nor HTTP/1";
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Passes on what the world says now. False at its end.
async fn pass_on(shared: &Shared, flow: u64, world: &Stream, app: &Stream) -> io::Result<bool> {
    let most = shared.flows.borrow().chunk().unwrap_or(MOST_AT_ONCE).min(MOST_AT_ONCE);
    let mut bytes = vec![0u8; most];
    match world.try_read(&mut bytes) {
        Ok(0) => Ok(false),
        Ok(count) => {
            write_all(app, bytes.get(..count).unwrap_or_default()).await?;
            let now = Instant::now();
            let (counted, delay) = {
                let mut flows = shared.flows.borrow_mut();
                (flows.count(flow, Way::In, count as u64, now), flows.delay(count as u64, now))
            };
            counted.map_err(io::Error::other)?;
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            Ok(true)
        }
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(e) => Err(e),
    }
}

async fn write_all(to: &Stream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Refuses a connection in the language that the app speaks, where that is clear from how it asked
/// or from its first bytes, of which some may have been read.
async fn refuse(mut stream: Stream, manner: Manner, mut first: Vec<u8>, host: &str, refusal: &Refusal) {
    if let Some(words) = manner.refused(host, refusal) {
        return farewell(stream, &words).await;
    }
    let looking = async {
        while sight::look(&first) == Sight::Unclear {
            if stream.read_buf(&mut first).await? == 0 {
                break;
            }
        }
        io::Result::Ok(())
    };
    let _ = timeout(LAST_WORDS, looking).await;
    let words = match sight::look(&first) {
        Sight::Http => refusal.response(host),
        // A host that is not there has no words of TLS.
        Sight::Tls { .. } | Sight::BrokenTls if !matches!(refusal, Refusal::Unreachable { .. }) => {
            TLS_DENIED.to_vec()
        }
        Sight::Tls { .. } | Sight::BrokenTls | Sight::Unclear | Sight::Other => return reset(stream),
    };
    farewell(stream, &words).await;
}

/// Ends a connection at once.
fn reset(stream: impl AsFd) {
    let _ = sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
}

/// Serves a connection from outside to a published port of an app.
pub async fn serve_published(shared: &Shared, app: &AppName, port: u16, stream: TcpStream) {
    let Some(inside) = shared.dial(app, port).await else { return reset(stream) };
    let inside = std::net::TcpStream::from(inside);
    let connected = inside.set_nonblocking(true).and_then(|()| TcpStream::from_std(inside));
    let Ok(inside) = connected else { return reset(stream) };
    // No flow of the app's: somebody outside came in.
    let _ = relay::both_ways(shared, 0, &Stream::Tcp(inside), &Stream::Tcp(stream)).await;
}

async fn answer_dns(shared: &Shared, mut stream: TcpStream, names: &RefCell<Names>) {
    // RFC 1035, section 4.2.2: a length of two bytes before each message.
    let talk = async {
        loop {
            let length = usize::from(stream.read_u16().await?);
            if length > dns::MAX_QUESTION {
                break;
            }
            let mut question = vec![0; length];
            stream.read_exact(&mut question).await?;
            let Some(answer) = shared.answer_dns(&question, names) else { break };
            let Ok(length) = u16::try_from(answer.len()) else { break };
            stream.write_all(&[&length.to_be_bytes()[..], &answer].concat()).await?;
        }
        io::Result::Ok(())
    };
    let _ = timeout(FIRST_WORDS, talk).await;
}

/// Where the app's connection was meant to go, before it was redirected here.
fn original_destination(stream: &TcpStream) -> Option<SocketAddr> {
    let own = stream.local_addr().ok()?;
    let meant = match own {
        SocketAddr::V4(_) => SocketAddr::V4(sockopt::ip_original_dst(stream).ok()?),
        SocketAddr::V6(_) => SocketAddr::V6(sockopt::ipv6_original_dst(stream).ok()?),
    };
    (meant != own).then_some(meant)
}

/// An IPv4 address that an IPv6 one stands for.
fn unmapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
