//! The gateway's loop: takes orders, serves apps, tells the keeper.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, UdpSocket as StdSocket};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sessile_model::api::Verdict;
use sessile_model::gateway::{Answered, FLOWS_PER_PACKET, NAMES_AHEAD, Order, Report, VERSION};
use sessile_model::network::{Network, Target};
use sessile_model::{AppName, Timestamp};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinHandle, spawn_local};
use tokio::time::MissedTickBehavior;

use crate::connection;
use crate::dns;
use crate::flows::Flows;
use crate::guard::Guard;
use crate::intercept::Interception;
use crate::link::Link;
use crate::names::Names;
use crate::policy::Policy;
use crate::questions::Questions;
use crate::relay::Buffers;
use crate::route::Route;

/// Reports that wait for the keeper at most; further ones are dropped.
const REPORTS: usize = 1024;
/// How often the keeper hears what was spent, where bytes are capped.
const COUNTED_EVERY: Duration = Duration::from_secs(1);
/// Refusals that were told, remembered so that each is told once.
const TOLD: usize = 4096;

/// What all connections of a session share. One thread: no lock.
#[derive(Debug)]
pub struct Shared {
    /// The rules.
    pub policy: RefCell<Policy>,
    /// The connections.
    pub flows: RefCell<Flows>,
    /// What somebody is asked.
    pub questions: RefCell<Questions>,
    /// The hosts whose TLS is opened.
    pub intercepted: Vec<Target>,
    /// What it is opened with, once the keeper has said so.
    pub interception: RefCell<Option<Rc<Interception>>>,
    /// Who looks at requests.
    pub guard: Guard,
    /// The way out.
    pub route: Route,
    /// What connections borrow to move bytes.
    pub buffers: Buffers,
    reports: mpsc::Sender<Report>,
    told: RefCell<HashSet<(AppName, String, u16, String)>>,
    dials: RefCell<HashMap<u32, oneshot::Sender<Option<OwnedFd>>>>,
    last_dial: Cell<u32>,
    told_spent: Cell<u64>,
    /// The first number of a name, once the keeper has said so.
    names_from: Cell<Option<u64>>,
    /// Names have numbers below this one, as the keeper knows.
    names_below: Cell<u64>,
}

impl Shared {
    /// Nothing goes on yet.
    pub fn new(network: &Network, policy: Policy, route: Route, reports: mpsc::Sender<Report>) -> Self {
        Self {
            flows: RefCell::new(Flows::new(network.limits)),
            policy: RefCell::new(policy),
            intercepted: network.intercept.clone(),
            interception: RefCell::default(),
            questions: RefCell::default(),
            guard: Guard::new(reports.clone()),
            route,
            buffers: Buffers::default(),
            reports,
            told: RefCell::default(),
            dials: RefCell::default(),
            last_dial: Cell::new(0),
            told_spent: Cell::new(0),
            names_from: Cell::new(None),
            names_below: Cell::new(NAMES_AHEAD),
        }
    }

    /// Tells the keeper something, if there is room.
    pub fn tell(&self, report: Report) {
        // A keeper that is away asks for what it needs when it is back.
        let _ = self.reports.try_send(report);
    }

    /// Tells the keeper of a refusal, once.
    pub fn tell_refused(&self, app: &AppName, host: &str, port: u16, by: &str) {
        let mut told = self.told.borrow_mut();
        if told.len() >= TOLD {
            told.clear();
        }
        if told.insert((app.clone(), host.to_owned(), port, by.to_owned())) {
            let (app, host, by) = (app.clone(), host.to_owned(), by.to_owned());
            self.tell(Report::Refused { app, host, port, by });
        }
    }

    /// Tells the keeper what was spent, where bytes are capped and it does not know.
    fn tell_spent(&self) {
        let Some(bytes) = self.flows.borrow().spent() else { return };
        if bytes != self.told_spent.get() && self.reports.try_send(Report::Spent { bytes }).is_ok() {
            self.told_spent.set(bytes);
        }
    }

    /// Begins where the gateway before ended. What was begun stays.
    fn begin_names(&self, number: u64) {
        if self.names_from.get().is_none() {
            self.names_from.set(Some(number));
            self.names_below.set(number.saturating_add(NAMES_AHEAD));
        }
    }

    /// Answers a question about a name, and has the keeper set more numbers aside in time.
    pub fn answer_dns(&self, question: &[u8], names: &RefCell<Names>) -> Option<Vec<u8>> {
        let answer = dns::answer(question, &mut names.borrow_mut());
        let next = names.borrow().next();
        if next + NAMES_AHEAD / 2 > self.names_below.get() {
            let below = next + NAMES_AHEAD;
            if self.reports.try_send(Report::Named { below }).is_ok() {
                self.names_below.set(below);
            }
        }
        answer
    }

    /// A connection to a port inside an app's namespace, which the keeper makes.
    pub async fn dial(&self, app: &AppName, port: u16) -> Option<OwnedFd> {
        let sequence = self.last_dial.get() + 1;
        self.last_dial.set(sequence);
        let (answer, waiting) = oneshot::channel();
        self.dials.borrow_mut().insert(sequence, answer);
        self.tell(Report::Dial { sequence, app: app.clone(), port });
        let dialled = tokio::time::timeout(Duration::from_secs(10), waiting).await;
        self.dials.borrow_mut().remove(&sequence);
        dialled.ok()?.ok()?
    }
}

/// An app's tasks, ended with it.
struct Served(Vec<AbortHandle>);

impl Drop for Served {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

/// Serves a session until its keeper says Quit, or nobody holds the other end of the link. To be
/// called on a [`tokio::task::LocalSet`].
///
/// # Errors
/// When the link fails or the route cannot be begun.
pub async fn serve(link: Link) -> io::Result<()> {
    let Some((network, folder)) = begin(&link).await? else { return Ok(()) };
    let route = match Route::new(&network.route, network.credentials.as_ref(), folder) {
        Ok(route) => route,
        Err(cause) => {
            link.tell(&Report::Failed { cause: cause.clone() }).await;
            return Err(io::Error::other(cause));
        }
    };
    let policy = match Policy::new(network.clone()) {
        Ok(policy) => policy,
        Err(cause) => {
            link.tell(&Report::Failed { cause: cause.clone() }).await;
            return Err(io::Error::other(cause));
        }
    };
    let (reports, mut outgoing) = mpsc::channel(REPORTS);
    let shared = Rc::new(Shared::new(&network, policy, route, reports));
    let tending = shared.route.tend(|| shared.tell(Report::Ready));
    tokio::pin!(tending);
    let mut apps: HashMap<AppName, Served> = HashMap::new();
    let mut ports: HashMap<(AppName, u16, SocketAddr), Served> = HashMap::new();
    let mut counting = tokio::time::interval(COUNTED_EVERY);
    counting.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let (order, fds) = tokio::select! {
            Some(report) = outgoing.recv() => {
                link.tell(&report).await;
                continue;
            }
            _ = counting.tick(), if network.limits.bytes.is_some() => {
                shared.tell_spent();
                continue;
            }
            cause = &mut tending => {
                // With this process every connection ends.
                link.tell(&Report::Failed { cause }).await;
                return Ok(());
            }
            order = link.next() => match order? {
                Some(order) => order,
                None => return Ok(()),
            },
        };
        match order {
            Order::Begin { .. } => tell_again(&shared),
            Order::Before { question, answers, spent, names } => {
                shared.begin_names(names);
                shared.questions.borrow_mut().begin_after(question);
                shared.flows.borrow_mut().begin_after(spent);
                for Answered { host, port, verdict } in answers {
                    shared.policy.borrow_mut().remember(&host, port, verdict);
                }
            }
            // From a keeper that took over; it changes nothing.
            Order::Intercept { .. } if shared.interception.borrow().is_some() => {}
            Order::Intercept { key, credentials } => match Interception::new(&network, &key, &credentials) {
                Ok(made) => *shared.interception.borrow_mut() = Some(Rc::new(made)),
                Err(error) => {
                    let cause = error.to_string();
                    link.tell(&Report::Failed { cause: cause.clone() }).await;
                    return Err(io::Error::other(cause));
                }
            },
            Order::App { name, explicit } => {
                if let Ok(served) = serve_app(&shared, &name, explicit, fds) {
                    apps.insert(name, served);
                }
            }
            Order::Answer { question, verdict, always } => answer(&shared, question, verdict, always),
            Order::Flows { sequence } => tell_flows(&shared, sequence),
            Order::Renew { sequence } => {
                let shared = Rc::clone(&shared);
                spawn_local(async move {
                    let problem = shared.route.renew().await.err().map(|error| error.to_string());
                    shared.tell(Report::Renewed { sequence, problem });
                });
            }
            Order::Publish { app, port } => {
                if let Some((local, served)) =
                    fds.into_iter().next().and_then(|fd| publish(&shared, &app, port, fd).ok())
                {
                    ports.insert((app, port, local), served);
                }
            }
            Order::Withdraw { app, port } => ports.retain(|(of, at, _), _| (of, *at) != (&app, port)),
            Order::Dialled { sequence } => {
                if let Some(waiting) = shared.dials.borrow_mut().remove(&sequence) {
                    // The one who waited may have left.
                    let _ = waiting.send(fds.into_iter().next());
                }
            }
            Order::Guard { sequence } => shared.guard.found(sequence, fds.into_iter().next()),
            Order::Quit => return Ok(()),
            Order::Unknown => {}
        }
    }
}

/// Waits for the plan, and what comes along for the route.
async fn begin(link: &Link) -> io::Result<Option<(Network, Option<OwnedFd>)>> {
    loop {
        match link.next().await? {
            None | Some((Order::Quit, _)) => return Ok(None),
            Some((Order::Begin { version: VERSION, network }, fds)) => {
                return Ok(Some((*network, fds.into_iter().next())));
            }
            Some((Order::Begin { version, .. }, _)) => {
                let cause = format!("the keeper speaks version {version} of the gateway's protocol");
                link.tell(&Report::Failed { cause: cause.clone() }).await;
                return Err(io::Error::other(cause));
            }
            Some(_) => {}
        }
    }
}

/// Tells a keeper that took over what its predecessor knew.
fn tell_again(shared: &Shared) {
    if shared.route.is_ready() {
        shared.tell(Report::Ready);
    }
    shared.guard.ask_again();
    shared.told_spent.set(0);
    shared.tell_spent();
    for (question, (app, host, port)) in shared.questions.borrow().open() {
        let (app, host, port) = (app.clone(), host.clone(), *port);
        shared.tell(Report::Asked { question, app, host, port });
    }
}

fn answer(shared: &Shared, question: u32, verdict: Verdict, always: bool) {
    let settled = shared.questions.borrow_mut().settle(question, verdict);
    if let Some((_, host, port)) = settled {
        if always {
            shared.policy.borrow_mut().remember(&host, port, verdict);
        }
        shared.tell(Report::Settled { question, verdict, timed_out: false, withdrawn: false });
    }
}

fn tell_flows(shared: &Shared, sequence: u32) {
    shared.tell_spent();
    let all = shared.flows.borrow_mut().view(Instant::now());
    let mut parts = all.chunks(FLOWS_PER_PACKET).peekable();
    if parts.peek().is_none() {
        return shared.tell(Report::Flows { sequence, flows: Vec::new(), last: true });
    }
    while let Some(part) = parts.next() {
        shared.tell(Report::Flows { sequence, flows: part.to_vec(), last: parts.peek().is_none() });
    }
}

fn serve_app(shared: &Rc<Shared>, app: &AppName, explicit: bool, fds: Vec<OwnedFd>) -> io::Result<Served> {
    let [tcp4, tcp6, dns4, dns6] =
        <[OwnedFd; 4]>::try_from(fds).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let names = Rc::new(RefCell::new(Names::begin_at(shared.names_from.get().unwrap_or_default())));
    let mut tasks = Vec::new();
    for listener in [tcp4, tcp6] {
        let listener = StdListener::from(listener);
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let (shared, app, names) = (Rc::clone(shared), app.clone(), Rc::clone(&names));
        let accepting = accept(listener, move |stream| {
            let (shared, app, names) = (Rc::clone(&shared), app.clone(), Rc::clone(&names));
            spawn_local(async move {
                match explicit {
                    true => connection::serve_as_proxy(&shared, &app, &names, stream).await,
                    false => connection::serve(&shared, &app, &names, stream).await,
                }
            })
        });
        tasks.push(spawn_local(accepting).abort_handle());
    }
    for socket in [dns4, dns6] {
        let socket = StdSocket::from(socket);
        socket.set_nonblocking(true)?;
        let socket = UdpSocket::from_std(socket)?;
        tasks.push(spawn_local(answer_dns(Rc::clone(shared), socket, Rc::clone(&names))).abort_handle());
    }
    Ok(Served(tasks))
}

/// Accepts until it is ended; what was accepted ends with it.
async fn accept(listener: TcpListener, serve: impl Fn(TcpStream) -> JoinHandle<()>) {
    let mut open = Served(Vec::new());
    loop {
        match listener.accept().await {
            Ok((stream, _)) => open.0.push(serve(stream).abort_handle()),
            // Out of descriptors or memory, or a connection that has left: the next may do.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
        open.0.retain(|task| !task.is_finished());
    }
}

async fn answer_dns(shared: Rc<Shared>, socket: UdpSocket, names: Rc<RefCell<Names>>) {
    let mut bytes = vec![0u8; dns::MAX_QUESTION];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut bytes).await else {
            // A refusal of an earlier answer; the socket itself goes on.
            tokio::task::yield_now().await;
            continue;
        };
        let answer = shared.answer_dns(bytes.get(..length).unwrap_or_default(), &names);
        if let Some(answer) = answer {
            // A question whose asker has left needs no answer.
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

/// Takes connections for a port, and says where they come.
fn publish(
    shared: &Rc<Shared>,
    app: &AppName,
    port: u16,
    listener: OwnedFd,
) -> io::Result<(SocketAddr, Served)> {
    let listener = StdListener::from(listener);
    let local = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let (shared, app) = (Rc::clone(shared), app.clone());
    let accepting = accept(listener, move |stream| {
        let (shared, app) = (Rc::clone(&shared), app.clone());
        spawn_local(async move { connection::serve_published(&shared, &app, port, stream).await })
    });
    Ok((local, Served(vec![spawn_local(accepting).abort_handle()])))
}

/// The wall clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
