//! MCP servers behind the guard: each an app of its own, with a relay between it and those who call its tools.
//!
//! ```text
//!  app ─► its socket ─► keeper hands the connection to ─► relay ◄─ pipes ─► server's app
//!                       keeper ◄── Asks ─────────────────┘  ▲
//!                         └──► guard ──► audit, question ───┘ Decided
//! ```
//!
//! The keeper reads nothing that an app or a server wrote of MCP: a relay does (`guardhouse/src/relay`), and asks.
//! Relays and connections outlive a keeper. A server that has ended, or whose relay has, is started again by the
//! next who connects, five times a minute at most.

mod asking;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::process::{Signal, pidfd_send_signal};
use sessile_anchor::control::Scope;
use sessile_model::ids::AppName;
use sessile_model::mcp::{Asked, MAX_TEXT, MOST_ASKED, McpServer, Order, Report, VERSION, is_tool_name};
use sessile_model::quantity::{Millis, Timestamp};
use sessile_model::receipt::Residue;
use sessile_model::state::{Exit, State};
use sessile_model::{Problem, ProblemKind};
use sessile_sandbox::service::{self, ServicePlan};

use crate::bringup::failed;
use crate::keeper::Keeper;
use crate::route::{ends, link};
use asking::Ask;

/// Starts of one server within [`WINDOW`]; then it is left alone until it has passed.
const STARTS: usize = 5;
const WINDOW: Millis = Millis(60_000);
/// How long a relay may take to end by itself.
const FAREWELL: Duration = Duration::from_millis(900);
/// How far its user id is from the first of the session's.
const USER_OFFSET: u32 = 1003;
/// Before and behind a server's name, where the anchor keeps what is its relay's.
const KEPT: &str = "mcp/";
const LINK: &str = "/link";
const PROCESS: &str = "/process";

/// What the keeper holds of its session's MCP servers.
#[derive(Debug, Default)]
pub struct Servers {
    relays: BTreeMap<AppName, Relay>,
    /// What relays have asked about.
    asks: Vec<Ask>,
    starts: BTreeMap<AppName, Vec<Timestamp>>,
    /// Relays that were told to end.
    leaving: Vec<OwnedFd>,
    /// One was killed.
    killed: bool,
}

#[derive(Debug)]
struct Relay {
    link: OwnedFd,
    process: OwnedFd,
    /// Its server has ended.
    is_over: bool,
    /// What was told so far of the next thing that it asks about.
    text: String,
}

impl Servers {
    /// What a predecessor left with the anchor.
    pub(crate) fn adopt(store: &mut BTreeMap<String, OwnedFd>) -> Self {
        let names: Vec<AppName> = store
            .keys()
            .filter_map(|name| name.strip_prefix(KEPT)?.strip_suffix(LINK)?.parse().ok())
            .collect();
        let mut servers = Self::default();
        for name in names {
            let link = store.remove(&format!("{KEPT}{name}{LINK}"));
            let process = store.remove(&format!("{KEPT}{name}{PROCESS}"));
            if let (Some(link), Some(process)) = (link, process) {
                servers.relays.insert(name, Relay { link, process, is_over: false, text: String::new() });
            }
        }
        servers
    }

    /// The links to watch.
    pub(crate) fn links(&self) -> impl Iterator<Item = (&AppName, BorrowedFd<'_>)> {
        self.relays.iter().map(|(name, relay)| (name, relay.link.as_fd()))
    }

    /// The relays' processes.
    pub(crate) fn processes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.relays.values().map(|relay| relay.process.as_fd())
    }
}

impl Keeper {
    /// Starts the session's servers. Where one cannot be started the session ends; returns whether all were.
    pub(crate) fn start_servers(&mut self) -> bool {
        let Ok(facts) = self.facts() else { return false };
        for server in facts.spec.mcp.clone() {
            if let Err(mut problem) = self.serve(&server.name) {
                problem.detail =
                    format!("the MCP server {} was not started: {}", server.name, problem.detail);
                self.not_opened(problem);
                return false;
            }
        }
        true
    }

    /// Tells whoever is attached that a server has ended while the session goes on.
    pub(crate) fn heed_server_end(&mut self, app: &AppName) {
        let is_active = self.session().is_ok_and(|machine| machine.state() == State::Active);
        let ended = self.ended_servers().into_iter().find(|(other, _)| other == app);
        if let Some((_, text)) = ended.filter(|_| is_active) {
            self.notice(&text);
        }
    }

    /// Servers that have ended and nobody has had started again, as one who has just attached is told.
    pub(crate) fn server_wordings(&self) -> Vec<String> {
        self.ended_servers().into_iter().map(|(_, text)| text).collect()
    }

    fn ended_servers(&self) -> Vec<(AppName, String)> {
        let servers = self.facts.iter().flat_map(|facts| &facts.spec.mcp);
        let ended = servers.filter_map(|server| {
            let app = server.app()?;
            let last = self.tasks.values().filter(|task| task.app == app).max_by_key(|task| task.number)?;
            let how = match last.exit.as_ref()? {
                Exit::Code { code } => format!(" (exit {code})"),
                // It may be this keeper that has killed what was left of it.
                Exit::Signal { .. } | Exit::NotStarted { .. } => String::new(),
            };
            let (name, id) = (&server.name, self.seat.id.short());
            let text = format!(
                "the MCP server {name} has ended{how}; `sessile output {id} --app {app} --follow` shows what it wrote"
            );
            Some((app, text))
        });
        ended.collect()
    }

    /// Gives a connection of an app's to a server's relay.
    pub(crate) fn connect_server(&mut self, app: &AppName, name: &str) -> Result<AppName, Problem> {
        if self.session()?.state() != State::Active {
            return Err(Problem::new(ProblemKind::Conflict, "the session is not active"));
        }
        let servers = &self.facts()?.spec.mcp;
        if servers.iter().any(|server| server.app().as_ref() == Some(app)) {
            return Err(Problem::new(ProblemKind::Denied, "a server calls no tools of others"));
        }
        let found = servers.iter().find(|server| server.name.to_string() == name);
        let found = found.map(|server| server.name.clone()).ok_or_else(|| {
            Problem::new(ProblemKind::NotFound, format!("the session has no MCP server {name:?}"))
                .hint("SESSILE_MCP names those that it has")
        })?;
        self.serve(&found)?;
        Ok(found)
    }

    /// Hands a connection over.
    pub(crate) fn hand_to_relay(&mut self, name: &AppName, app: AppName, socket: &OwnedFd) {
        let Some(relay) = self.servers.relays.get(name) else { return };
        let order = Order::Guest { app: app.to_string() };
        if link::send(&relay.link, &order, &[socket.as_fd()]).is_err() {
            self.cut_relay(name);
        }
    }

    /// Starts a server with its relay, unless it runs.
    fn serve(&mut self, name: &AppName) -> Result<(), Problem> {
        if self.servers.relays.get(name).is_some_and(|relay| !relay.is_over) {
            return Ok(());
        }
        let found = self.facts()?.spec.mcp.iter().find(|server| server.name == *name).cloned();
        let Some(server) = found else {
            return Err(Problem::new(ProblemKind::NotFound, "the session has no such MCP server"));
        };
        let now = self.now;
        let starts = self.servers.starts.entry(name.clone()).or_default();
        starts.retain(|&at| now.since(at) < WINDOW);
        if starts.len() >= STARTS {
            let detail = format!("the MCP server {name} does not stay up");
            return Err(Problem::new(ProblemKind::Failed, detail).hint("try again in a minute"));
        }
        starts.push(now);
        self.cut_relay(name);
        self.begin_server(&server).inspect_err(|_| self.cut_relay(name))
    }

    fn begin_server(&mut self, server: &McpServer) -> Result<(), Problem> {
        let long = || Problem::new(ProblemKind::BadRequest, "the MCP server's name is too long");
        let app = server.app().ok_or_else(long)?;
        let (ours, theirs) = link::pair().map_err(|e| failed("the relay's link", &e))?;
        let missing = || Problem::new(ProblemKind::Failed, "this session was opened without a relay");
        let image = self.guard.image().ok_or_else(missing)?;
        let plan = ServicePlan {
            name: c"sessile-mcp",
            arguments: &[c"relay"],
            image,
            socket: Some(theirs.as_fd()),
            folder: None,
            anchor: self.seat.anchor.as_fd(),
            user: self.facts()?.subordinate_base.map(|base| base + USER_OFFSET),
        };
        let (_, process) = service::start(&plan).map_err(|e| failed("the relay", &e))?;
        drop(theirs);
        let name = &server.name;
        let kept = self.keep(&format!("{KEPT}{name}{PROCESS}"), &process);
        let kept = kept.and_then(|()| self.keep(&format!("{KEPT}{name}{LINK}"), &ours));
        let relay = Relay { link: ours, process, is_over: false, text: String::new() };
        self.servers.relays.insert(name.clone(), relay);
        kept.map_err(|e| failed("the anchor", &e))?;
        let [input, output] = self.start_served(&app, &server.command)?;
        let Some(relay) = self.servers.relays.get(name) else { return Ok(()) };
        let order = Order::Begin { version: VERSION, name: name.to_string() };
        link::send(&relay.link, &order, &[input.as_fd(), output.as_fd()])
            .map_err(|e| failed("the relay takes no orders", &e))
    }

    /// Takes what a relay says.
    pub(crate) fn hear_relay(&mut self, name: &AppName) {
        loop {
            let Some(relay) = self.servers.relays.get_mut(name) else { return };
            match link::receive(&relay.link) {
                Ok(Some(Report::Part { text })) => {
                    relay.text.push_str(&text.0);
                    if relay.text.len() > MAX_TEXT {
                        return self.cut_relay(name);
                    }
                }
                Ok(Some(Report::Asks { number, app, what })) => {
                    let text = std::mem::take(&mut relay.text);
                    if !self.take_ask(name, (number, &app), what, text) {
                        return self.cut_relay(name);
                    }
                }
                Ok(Some(Report::GivenUp { number })) => self.give_up_ask(name, number),
                Ok(Some(Report::Unread { tools })) => self.tell_of_unread(name, &tools),
                Ok(Some(Report::Over { .. })) => {
                    relay.is_over = true;
                    self.end_served(name);
                }
                Ok(Some(Report::Unknown)) => {}
                Ok(None) => return,
                Err(_) => return self.cut_relay(name),
            }
        }
    }

    /// Tells whoever is attached that calls have no result.
    fn tell_of_unread(&mut self, name: &AppName, tools: &[String]) {
        let (id, mut named) = (self.seat.id.short(), String::new());
        for tool in tools.iter().filter(|tool| is_tool_name(tool)).take(MOST_ASKED) {
            named += &format!("{}{tool}", if named.is_empty() { "" } else { ", " });
        }
        self.notice(&format!(
            "the MCP server {name} wrote a line that cannot be read, so that what was called has no result ({named}); \
             `sessile output {id} --app mcp-{name} --follow` shows what else it wrote"
        ));
    }

    /// Tells a relay something; one that takes nothing more is ended.
    fn tell_relay(&mut self, name: &AppName, order: &Order) {
        let Some(relay) = self.servers.relays.get(name) else { return };
        if link::send(&relay.link, order, &[]).is_err() {
            self.cut_relay(name);
        }
    }

    /// Greets the relays of a predecessor: what they asked of it is not answered.
    pub(crate) fn greet_relays(&mut self) {
        for name in self.servers.relays.keys().cloned().collect::<Vec<_>>() {
            self.tell_relay(&name, &Order::Again);
        }
    }

    /// Ends a relay at once, and its server.
    fn cut_relay(&mut self, name: &AppName) {
        let Some(relay) = self.servers.relays.remove(name) else { return };
        let _ = pidfd_send_signal(&relay.process, Signal::KILL);
        self.servers.killed = true;
        self.let_relay_go(name);
        self.end_served(name);
    }

    fn let_relay_go(&mut self, name: &AppName) {
        for part in [LINK, PROCESS] {
            let _ = self.seat.link.remove(&format!("{KEPT}{name}{part}"));
        }
        self.give_up_asks(name);
    }

    /// Kills what is left of a server.
    fn end_served(&mut self, name: &AppName) {
        let Some(app) = format!("mcp-{name}").parse::<AppName>().ok() else { return };
        let running = self.tasks.values().filter(|task| task.app == app && task.exit.is_none());
        let numbers: Vec<u32> = running.map(|task| task.number).collect();
        let Some(app) = self.apps.get_mut(&app).filter(|app| !app.gone) else { return };
        for number in numbers {
            // Its input has ended: one that heeds that goes by itself.
            let _ = app.control.signal(number, Signal::KILL.as_raw(), Scope::Group);
        }
    }

    /// Ends the relays: nobody inside calls anything any more.
    pub(crate) fn cut_servers(&mut self) {
        for name in self.servers.relays.keys().cloned().collect::<Vec<_>>() {
            self.let_relay_go(&name);
            if let Some(relay) = self.servers.relays.remove(&name) {
                // With its link it has nobody to serve: it overwrites what it knew, and ends.
                self.servers.leaving.push(relay.process);
            }
        }
    }

    /// The wipe's part: relays have ended.
    pub(crate) fn part_from_relays(&mut self) {
        self.cut_servers();
        for process in std::mem::take(&mut self.servers.leaving) {
            if !ends(&process, FAREWELL) {
                let _ = pidfd_send_signal(&process, Signal::KILL);
                self.servers.killed = true;
            }
        }
    }

    /// What a relay that was killed may have left in memory.
    pub(crate) fn relay_residue(&self) -> Option<Residue> {
        self.servers.killed.then(|| Residue {
            what: "an MCP relay's memory".to_owned(),
            why: "a relay was killed, or died, before it could overwrite what passed it".to_owned(),
            mend: Some("boot with init_on_free=1".to_owned()),
        })
    }
}

/// What the audit and questions call what is asked about.
fn label(what: &Asked) -> &'static str {
    match what {
        Asked::Call { .. } => "call",
        Asked::Returned { .. } => "result",
        Asked::List => "tools",
    }
}
