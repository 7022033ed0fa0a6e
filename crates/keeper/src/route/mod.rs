//! The session's gateway, as the keeper sees it: started when the first packet comes, told of apps
//! and answers, listened to, cut.
//!
//! The keeper's end of the link, and a pidfd of the gateway, are with the anchor: the gateway goes
//! on while the keeper is replaced. A gateway that dies is started again when the next packet
//! comes, and told what was before it (`memory`); its connections are gone.

mod guards;
pub mod interception;
pub(crate) mod link;
mod memory;
mod ports;
mod questions;
mod tor;

pub use memory::RouteFacts;
use questions::Asked;
pub use questions::short_reason;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};
use sessile_model::api::{Flow, Traffic};
use sessile_model::gateway::{Order, Report, VERSION};
use sessile_model::ids::AppName;
use sessile_model::network::{Network, Route};
use sessile_model::quantity::{Millis, Timestamp};
use sessile_model::receipt::{Residue, WipeEvidence};
use sessile_model::record::Grant;
use sessile_model::state::Component;
use sessile_model::tor::TorEntry;
use sessile_model::wire::Reply;
use sessile_model::{Problem, ProblemKind};
use sessile_sandbox::capture::{self, Capture, Listeners};
use sessile_sandbox::service::{self, ServicePlan};
use sessile_session::{BringupStep, Event, Note};
use sessile_vault::secret::SecretMemory;

use crate::bringup::failed;
use crate::client::ClientId;
use crate::keeper::Keeper;
use crate::rehearsal;

/// Gateways that are started within [`WINDOW`] before the route is given up.
const STARTS: usize = 5;
const WINDOW: Millis = Millis(60_000);
/// How long a gateway may take to end by itself.
const FAREWELL: Duration = Duration::from_millis(500);
/// How long a gateway may take to send its flows.
const FLOWS_TIME: Millis = Millis(3_000);
/// How long one may take to tell of a new identity; more than it gives tor.
const RENEWAL_TIME: Millis = Millis(20_000);
/// How far the gateway's user id is from the first of the session's.
const USER_OFFSET: u32 = 1001;
/// Names under which the anchor keeps what is the gateway's.
const IMAGE: &str = "gateway/image";
const LINK: &str = "gateway/link";
const PROCESS: &str = "gateway/process";
const TOR: &str = "tor/process";
/// Names of an app's listeners behind `app/NAME/`.
pub const LISTENERS: [&str; 4] = ["tcp4", "tcp6", "dns4", "dns6"];

/// What the keeper holds of its route.
#[derive(Debug, Default)]
pub struct RouteState {
    image: Option<OwnedFd>,
    gateway: Option<Gateway>,
    /// The session's tor, where that is the route: it lives as long as the gateway.
    tor: Option<OwnedFd>,
    /// The step of bring-up waits for the gateway to say that it is ready.
    raising: bool,
    /// When gateways were started.
    starts: Vec<Timestamp>,
    questions: BTreeMap<u32, Asked>,
    /// Who waits for the flows, and those that came.
    viewers: BTreeMap<u32, Viewer>,
    /// Who waits for a new identity.
    renewals: BTreeMap<u32, Renewal>,
    last_sequence: u32,
    /// Listeners on the host's loopback, by app, its port, and the host's.
    ports: BTreeMap<(AppName, u16, u16), TcpListener>,
    /// When the session's tor last wrote its state, as far as its guards are kept (pinned).
    guards_at: Option<(i64, u64)>,
    /// The certificate authority and the credentials, where TLS is opened.
    interception: Option<SecretMemory>,
    /// One was killed rather than asked to end.
    killed: bool,
}

#[derive(Debug)]
struct Gateway {
    link: OwnedFd,
    process: OwnedFd,
}

#[derive(Debug)]
struct Viewer {
    client: ClientId,
    channel: u16,
    at: Timestamp,
    flows: Vec<Flow>,
}

#[derive(Debug)]
struct Renewal {
    client: ClientId,
    channel: u16,
    at: Timestamp,
}

impl RouteState {
    /// What a predecessor left with the anchor.
    pub(crate) fn adopt(store: &mut BTreeMap<String, OwnedFd>) -> Self {
        let gateway = match (store.remove(LINK), store.remove(PROCESS)) {
            (Some(link), Some(process)) => Some(Gateway { link, process }),
            (None, _) | (_, None) => None,
        };
        let kept =
            store.remove(interception::KEPT).filter(|_| rehearsal::proceed(None, "adopt", "interception"));
        let interception = kept.and_then(|file| SecretMemory::from_fd(file).ok());
        Self { image: store.remove(IMAGE), gateway, tor: store.remove(TOR), interception, ..Self::default() }
    }

    /// The gateway's process, and tor's.
    pub(crate) fn processes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.gateway.iter().map(|gateway| gateway.process.as_fd()).chain(self.tor())
    }

    /// The tor to watch.
    pub(crate) fn tor(&self) -> Option<BorrowedFd<'_>> {
        self.tor.as_ref().map(AsFd::as_fd)
    }

    /// The link to watch.
    pub(crate) fn link(&self) -> Option<BorrowedFd<'_>> {
        self.gateway.as_ref().map(|gateway| gateway.link.as_fd())
    }
}

/// What the rules give, as the record shows it.
pub fn grants(network: &Network) -> impl Iterator<Item = Grant> {
    let routed = network.route != Route::None;
    let hosts = network.allow.iter().map(|target| Grant::Host { target: Some(target.to_string()) });
    let policies = network.policies.iter().map(|policy| Grant::Policy { name: Some(policy.name.clone()) });
    hosts.chain(policies).filter(move |_| routed)
}

/// Why the route is weaker than defined, where it is.
pub fn weakness(network: &Network) -> Option<String> {
    match network.tor_entry {
        TorEntry::Fresh => None,
        TorEntry::Pinned => Some("tor's entry guards are shared with other sessions (pinned)".to_owned()),
    }
}

/// What a route shows of this host, for the record.
pub fn sight(network: &Network) -> Option<String> {
    match &network.route {
        Route::None => None,
        Route::Direct => Some("route direct: whoever is reached sees this host's address".to_owned()),
        Route::Tor => Some(format!(
            "route tor: whoever is reached sees an exit of the network; entry guards: {}",
            match network.tor_entry {
                TorEntry::Fresh => "this session's alone",
                TorEntry::Pinned => "shared with other sessions (pinned)",
            }
        )),
        Route::Socks5 { .. } => Some("route socks5: whoever is reached sees the proxy's address".to_owned()),
    }
}

impl Keeper {
    /// What an app's network is to be.
    pub(crate) fn network(&self) -> capture::Network {
        match self.facts.as_ref().map(|facts| &facts.spec.network.route) {
            None | Some(Route::None) => capture::Network::Closed,
            Some(Route::Direct | Route::Tor | Route::Socks5 { .. }) => {
                let name = self.facts.as_ref().and_then(|facts| facts.spec.name.as_ref());
                match rehearsal::chooses(name.map(|name| name.as_str()), "capture", "explicit") {
                    true => capture::Network::Explicit,
                    false => capture::Network::Captured,
                }
            }
        }
    }

    /// Listeners that nobody serves: a packet at one of them asks for the gateway.
    pub(crate) fn unserved(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let idle = self.route.gateway.is_none() && self.may_route();
        let apps = self.apps.values().filter(move |app| idle && !app.gone);
        let ports = self.route.ports.values().filter(move |_| idle).map(AsFd::as_fd);
        apps.filter_map(|app| app.listeners.as_ref())
            .flat_map(|l| [&l.tcp[0], &l.tcp[1], &l.dns[0], &l.dns[1]].map(AsFd::as_fd))
            .chain(ports)
    }

    /// Whether packets may leave now.
    pub(crate) fn may_route(&self) -> bool {
        use sessile_model::State;
        self.machine.as_ref().is_some_and(|machine| match machine.state() {
            State::Active | State::Paused => true,
            State::Bringup | State::Ending | State::Failed | State::Closed => false,
        })
    }

    /// Starts the gateway and hands it every app. More starts than [`STARTS`] in a while fail the
    /// session.
    pub(crate) fn start_gateway(&mut self) {
        if self.route.gateway.is_some() || !self.may_route() {
            return;
        }
        let now = self.now;
        self.route.starts.retain(|&at| now.since(at) < WINDOW);
        let outcome = if self.route.starts.len() >= STARTS {
            Err(Problem::new(ProblemKind::Failed, "the gateway does not stay up"))
        } else {
            self.route.starts.push(now);
            self.begin_gateway()
        };
        if let Err(problem) = outcome {
            self.cut_gateway();
            self.advance(Event::ComponentFailed { component: Component::Route, cause: problem.detail });
        }
    }

    fn begin_gateway(&mut self) -> Result<(), Problem> {
        let missing = || Problem::new(ProblemKind::Failed, "this session was opened without a gateway");
        let image = self.route.image.as_ref().ok_or_else(missing)?;
        let (ours, theirs) = link::pair().map_err(|e| failed("the gateway's link", &e))?;
        let user = self.facts()?.subordinate_base.map(|base| base + USER_OFFSET);
        let plan = ServicePlan {
            name: c"sessile-gateway",
            arguments: &[],
            image: image.as_fd(),
            socket: Some(theirs.as_fd()),
            folder: None,
            anchor: self.seat.anchor.as_fd(),
            user,
        };
        let (pid, process) = service::start(&plan).map_err(|e| failed("the gateway", &e))?;
        let kept = self.keep_all(&[(LINK, ours.as_fd()), (PROCESS, process.as_fd())]);
        self.route.gateway = Some(Gateway { link: ours, process });
        kept?;
        let folder = match self.facts()?.spec.network.route {
            Route::Tor => Some(self.start_tor(pid, user)?),
            Route::None | Route::Direct | Route::Socks5 { .. } => None,
        };
        let fds: Vec<BorrowedFd<'_>> = folder.iter().map(AsFd::as_fd).collect();
        self.order(&Order::Begin { version: VERSION, network: self.plan()? }, &fds)?;
        let before = self.what_was_before()?;
        self.set_names_aside();
        self.order(&before, &[])?;
        self.order_interception()?;
        let apps: Vec<AppName> = self.apps.keys().cloned().collect();
        for app in apps {
            self.order_app(&app)?;
        }
        let ports: Vec<_> = self.route.ports.keys().cloned().collect();
        for (app, port, local) in ports {
            self.order_publish(&app, port, local)?;
        }
        Ok(())
    }

    /// What the gateway works by.
    fn plan(&self) -> Result<Box<Network>, Problem> {
        // Bridges and the like are tor's alone.
        Ok(Box::new(Network { tor_config: None, ..self.facts()?.spec.network.clone() }))
    }

    fn order(&self, order: &Order, fds: &[BorrowedFd<'_>]) -> Result<(), Problem> {
        let Some(gateway) = &self.route.gateway else { return Ok(()) };
        link::send(&gateway.link, order, fds).map_err(|e| failed("the gateway takes no orders", &e))
    }

    /// Tells the gateway something, if it runs.
    pub(crate) fn order_gateway(&self, order: &Order, fds: &[BorrowedFd<'_>]) -> Result<(), Problem> {
        self.order(order, fds)
    }

    fn order_interception(&self) -> Result<(), Problem> {
        self.interception_order()?.map_or(Ok(()), |order| self.order(&order, &[]))
    }

    /// Hands an app's listeners to the gateway, if it runs.
    pub(crate) fn order_app(&self, name: &AppName) -> Result<(), Problem> {
        let Some(app) = self.apps.get(name) else { return Ok(()) };
        let Some(Listeners { tcp, dns }) = &app.listeners else { return Ok(()) };
        let fds = [&tcp[0], &tcp[1], &dns[0], &dns[1]].map(AsFd::as_fd);
        let explicit = app.capture == Some(Capture::Explicit);
        self.order(&Order::App { name: name.clone(), explicit }, &fds)
    }

    fn order_publish(&self, app: &AppName, port: u16, local: u16) -> Result<(), Problem> {
        let Some(listener) = self.route.ports.get(&(app.clone(), port, local)) else { return Ok(()) };
        self.order(&Order::Publish { app: app.clone(), port }, &[listener.as_fd()])
    }

    /// Greets a gateway that outlived the keeper before this one.
    pub(crate) fn greet_gateway(&mut self) {
        let Ok(network) = self.plan() else { return };
        // The one before may have died between the two.
        let greeted = self.order(&Order::Begin { version: VERSION, network }, &[]);
        let reminded = greeted.and_then(|()| self.order(&self.what_was_before()?, &[]));
        if reminded.and_then(|()| self.order_interception()).is_err() {
            self.gateway_died();
        }
    }

    /// Takes what the gateway tells.
    pub(crate) fn hear_gateway(&mut self) {
        loop {
            let Some(gateway) = &self.route.gateway else { return };
            match link::receive(&gateway.link) {
                Ok(Some(report)) => self.take_report(report),
                Ok(None) => return,
                Err(_) => return self.gateway_died(),
            }
        }
    }

    fn take_report(&mut self, report: Report) {
        match report {
            Report::Unknown => {}
            Report::Ready => {
                if std::mem::take(&mut self.route.raising) {
                    self.advance(Event::StepDone { step: BringupStep::Route });
                }
            }
            Report::Failed { cause } => self.route_failed(cause),
            Report::Renewed { sequence, problem } => self.renewed(sequence, problem),
            Report::Asked { question, app, host, port } => self.asked(question, app, host, port),
            Report::Settled { question, verdict, timed_out, withdrawn } => {
                // One that somebody answered is noted when it is.
                if self.route.questions.remove(&question).is_some() {
                    let why = withdrawn.then(|| "nobody waits any more".to_owned());
                    self.note(Note::Answered { question, verdict, always: false, timed_out, why });
                }
            }
            Report::Spent { bytes } => self.note_spent(bytes),
            Report::Named { below } => self.note_names(below),
            Report::Refused { app, host, port, by } => {
                self.notice(&format!("{app} was refused {host}:{port} ({by})"));
            }
            Report::Flows { sequence, flows, last } => self.take_flows(sequence, flows, last),
            Report::Unguarded { sequence, failed } => self.lend_guard(sequence, failed),
            Report::Dial { sequence, app, port } => self.dial(sequence, &app, port),
        }
    }

    /// Gives the route up.
    fn route_failed(&mut self, cause: String) {
        let raising = std::mem::take(&mut self.route.raising);
        let cause = self.with_last_words(cause);
        self.cut_gateway();
        let event = if raising {
            self.open_problem = Some(Problem::new(ProblemKind::Failed, format!("the route: {cause}")));
            Event::StepFailed { step: BringupStep::Route, cause }
        } else {
            Event::ComponentFailed { component: Component::Route, cause }
        };
        self.advance(event);
    }

    fn gateway_died(&mut self) {
        if self.route.raising {
            return self.route_failed("the gateway ended".to_owned());
        }
        self.cut_gateway();
        if self.may_route() {
            self.notice("the gateway ended; its connections are gone, and the next one starts another");
        }
    }

    /// Ends every way out at once.
    pub(crate) fn cut_route(&mut self) {
        self.cut_agents();
        self.cut_servers();
        self.cut_gateway();
    }

    /// Ends the gateway at once. What is not sent by then is not sent.
    pub(crate) fn cut_gateway(&mut self) {
        self.cut_tor();
        self.route.raising = false;
        let Some(gateway) = self.route.gateway.take() else { return };
        let _ = pidfd_send_signal(&gateway.process, Signal::KILL);
        self.route.killed |= true;
        self.let_gateway_go();
    }

    fn let_gateway_go(&mut self) {
        for name in [LINK, PROCESS] {
            let _ = self.seat.link.remove(name);
        }
        self.route.questions.clear();
        let gone = Problem::new(ProblemKind::Failed, "the gateway ended").hint("ask again");
        for renewal in std::mem::take(&mut self.route.renewals).into_values() {
            self.reply(renewal.client, renewal.channel, &Reply::Problem(gone.clone()));
        }
        for viewer in std::mem::take(&mut self.route.viewers).into_values() {
            self.reply(viewer.client, viewer.channel, &Reply::Problem(gone.clone()));
        }
    }

    /// The wipe's step: the gateway overwrites what it knows and ends.
    pub(crate) fn close_route(&mut self) -> WipeEvidence {
        self.cut_agents();
        self.part_from_relays();
        self.route.image = None;
        let _ = self.seat.link.remove(IMAGE);
        if self.network() == capture::Network::Closed {
            return WipeEvidence::NoRoute;
        }
        self.close_ports();
        if let Some(gateway) = self.route.gateway.take() {
            let asked = link::send(&gateway.link, &Order::Quit, &[]).is_ok();
            if !(asked && ends(&gateway.process, FAREWELL)) {
                let _ = pidfd_send_signal(&gateway.process, Signal::KILL);
                self.route.killed = true;
                if !ends(&gateway.process, FAREWELL) {
                    return WipeEvidence::Failed { why: "the gateway does not end".to_owned() };
                }
            }
            self.let_gateway_go();
        }
        self.part_from_tor();
        if !self.cut_tor() {
            return WipeEvidence::Failed { why: "tor does not end".to_owned() };
        }
        WipeEvidence::RouteCut
    }

    /// What a gateway that was killed may have left in memory.
    pub(crate) fn gateway_residue(&self) -> Option<Residue> {
        self.route.killed.then(|| Residue {
            what: "the gateway's memory".to_owned(),
            why: "a gateway was killed before it could overwrite what it knew of connections".to_owned(),
            mend: Some("boot with init_on_free=1".to_owned()),
        })
    }

    /// Asks for the flows. Answered when they are there, now when no gateway runs.
    pub(crate) fn view_traffic(
        &mut self,
        client: ClientId,
        channel: u16,
    ) -> Result<Option<Traffic>, Problem> {
        if self.route.gateway.is_none() {
            return self.traffic(Vec::new()).map(Some);
        }
        self.route.last_sequence += 1;
        let sequence = self.route.last_sequence;
        self.order(&Order::Flows { sequence }, &[])?;
        let at = self.now;
        self.route.viewers.insert(sequence, Viewer { client, channel, at, flows: Vec::new() });
        Ok(None)
    }

    /// Tells those who have waited too long that the gateway does not answer.
    pub(crate) fn give_up_on_answers(&mut self) {
        let now = self.now;
        let viewers = self.route.viewers.extract_if(.., |_, viewer| now.since(viewer.at) > FLOWS_TIME);
        let viewers = viewers.map(|(_, viewer)| (viewer.client, viewer.channel));
        let mut late: Vec<(ClientId, u16)> = viewers.collect();
        let renewals = self.route.renewals.extract_if(.., |_, waiting| now.since(waiting.at) > RENEWAL_TIME);
        late.extend(renewals.map(|(_, waiting)| (waiting.client, waiting.channel)));
        for (client, channel) in late {
            let problem = Problem::new(ProblemKind::Failed, "the session's gateway does not answer").hint(
                "is it stopped? What goes through it waits too; `sessile end` ends it with its session",
            );
            self.reply(client, channel, &Reply::Problem(problem));
        }
    }

    fn take_flows(&mut self, sequence: u32, flows: Vec<Flow>, last: bool) {
        let Some(viewer) = self.route.viewers.get_mut(&sequence) else { return };
        viewer.flows.extend(flows);
        if !last {
            return;
        }
        if let Some(viewer) = self.route.viewers.remove(&sequence) {
            let reply = self.traffic(viewer.flows).map_or_else(Reply::Problem, Reply::Traffic);
            self.reply(viewer.client, viewer.channel, &reply);
        }
    }

    fn traffic(&self, flows: Vec<Flow>) -> Result<Traffic, Problem> {
        let route = self.facts()?.spec.network.route.clone();
        let mut refused_packets = 0;
        if let Some(space) = &self.space {
            for netns in self.apps.values().filter(|app| !app.gone).filter_map(|app| app.netns.as_ref()) {
                // An app without rules refuses nothing: it has no way to send at all.
                let refused = capture::refused(space, netns.as_fd()).unwrap_or_default();
                refused_packets += refused.tcp + refused.udp + refused.other;
            }
        }
        Ok(Traffic { route, flows, refused_packets })
    }
}

/// Whether the process of a pidfd ends in time.
pub(crate) fn ends(process: &OwnedFd, patience: Duration) -> bool {
    let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(patience.subsec_nanos()) };
    matches!(poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout)), Ok(1))
}
