//! The user's SSH agent, for apps that are given it: they see its keys, and each signature is a
//! question.
//!
//! ```text
//!  app ─► /run/ssh-agent ─► keeper ─► keys ──────────────────────► the user's agent
//!                              └────► signature: question ─ allow ─┘
//! ```
//!
//! The socket lies in the app's own `/run`, on session storage. Nothing but the list of keys and
//! signatures is passed on. Connections end with their keeper, and what they asked with them; a
//! successor listens anew.

mod connection;
pub mod protocol;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid, chownat, fchmod, openat, unlinkat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
};
use serde::{Deserialize, Serialize};
use sessile_model::api::{Answer, Question, Signature, Verdict};
use sessile_model::ids::AppName;
use sessile_model::quantity::{Millis, Timestamp};
use sessile_model::record::Grant;
use sessile_model::{Problem, ProblemKind};
use sessile_session::Note;

use self::connection::{Connection, Doing, Over, Pipe};
use self::protocol::{Request, SignRequest};
use crate::bringup::failed;
use crate::keeper::Keeper;
use crate::listening::BACKLOG;

/// The socket's name in the app's `/run`.
const NAME: &str = "ssh-agent";
/// The variable that names it to commands.
pub const VARIABLE: &str = "SSH_AUTH_SOCK=/run/ssh-agent";
/// Questions about signatures are numbered from here on; those of gateways stay below.
pub const FIRST_QUESTION: u32 = 1_000_000_000;
/// Most connections at once.
const MAX_CONNECTIONS: usize = 32;
/// Most requests of a connection between two looks at everything else.
const MESSAGES: usize = 64;
/// How long a question stays open: servers give who logs in two minutes.
const PATIENCE: Millis = Millis(110_000);
/// How long the agent may take: it may ask its user, too.
const AGENT_TIME: Millis = Millis(110_000);

/// An app that is given an agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AgentFacts {
    /// The app.
    pub app: AppName,
    /// The agent's socket on the host.
    pub socket: String,
}

/// What a descriptor that is watched is.
#[derive(Clone, Debug)]
pub enum Part {
    /// Where an app's connections come.
    Listener(AppName),
    /// An app's side of a connection.
    App(u32),
    /// The agent's side.
    Agent(u32),
}

/// A descriptor to watch, what it is, and for what: reading and writing.
pub type Watched<'a> = (Part, BorrowedFd<'a>, bool, bool);

/// Agents that are passed on.
#[derive(Debug, Default)]
pub struct Agents {
    listeners: BTreeMap<AppName, OwnedFd>,
    connections: BTreeMap<u32, Connection>,
    last: u32,
}

impl Agents {
    /// What is to be watched.
    pub fn watched(&self) -> Vec<Watched<'_>> {
        let mut all = Vec::new();
        if self.connections.len() < MAX_CONNECTIONS {
            all.extend(
                self.listeners.iter().map(|(app, fd)| (Part::Listener(app.clone()), fd.as_fd(), true, false)),
            );
        }
        for (&number, connection) in &self.connections {
            let (fd, reads, writes) = connection.app_fd();
            all.push((Part::App(number), fd, reads, writes));
            if let Some((fd, writes)) = connection.agent_fd() {
                all.push((Part::Agent(number), fd, true, writes));
            }
        }
        all
    }

    /// When one has to be looked at.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let due = |c: &Connection| if c.has_request() { Some(now) } else { c.deadline };
        self.connections.values().filter_map(due).min()
    }

    /// What is asked: number, app, about what, since when.
    fn asked(&self) -> impl Iterator<Item = (u32, &AppName, &Signature, Timestamp)> {
        self.connections.values().filter_map(|connection| match &connection.doing {
            Doing::Asking { question, about, at, .. } => Some((*question, &connection.app, about, *at)),
            Doing::Nothing | Doing::Listing { .. } | Doing::Signing { .. } => None,
        })
    }
}

impl Keeper {
    /// Whether commands of this app are given an agent.
    pub(crate) fn has_agent(&self, app: &AppName) -> bool {
        self.agents.listeners.contains_key(app)
    }

    /// Gives an app the user's agent, where it is to have it. Done again when the app or the keeper
    /// is another.
    pub(crate) fn offer_agent(&mut self, app: &AppName) -> Result<(), Problem> {
        if self.agent_of(app).is_none() {
            return Ok(());
        }
        let listener = self.listen_in(app, NAME).map_err(|e| failed("the socket of the SSH agent", &e))?;
        self.agents.listeners.insert(app.clone(), listener);
        Ok(())
    }

    /// Gives an app the user's agent from now on.
    pub(crate) fn forward_agent(&mut self, app: &AppName, socket: &str) -> Result<(), Problem> {
        let known = self.agent_of(app).map(Path::to_owned);
        if known.as_deref() == Some(Path::new(socket)) && self.has_agent(app) {
            return Ok(());
        }
        let fresh = known.is_none();
        if let Some(facts) = &mut self.facts {
            facts.agents.retain(|agent| agent.app != *app);
            facts.agents.push(AgentFacts { app: app.clone(), socket: socket.to_owned() });
        }
        self.offer_agent(app)?;
        if fresh {
            self.grant(Grant::SshAgent { app: app.clone(), signatures: 0 });
        }
        Ok(())
    }

    /// Listens again where a predecessor did.
    pub(crate) fn offer_agents_again(&mut self) {
        let running = self.apps.iter().filter(|(_, app)| !app.gone).map(|(name, _)| name.clone());
        for app in running.collect::<Vec<_>>() {
            // Without a socket nothing is signed: the app sees that its agent is gone.
            let _ = self.offer_agent(&app);
        }
    }

    fn agent_of(&self, app: &AppName) -> Option<&Path> {
        let agents = &self.facts.as_ref()?.agents;
        agents.iter().find(|agent| agent.app == *app).map(|agent| Path::new(&agent.socket))
    }

    /// Where an app may reach the socket: its own `/run`, which it cannot replace.
    fn run_folder(&self, app: &AppName) -> Result<OwnedFd, Errno> {
        let storage = &self.space.as_ref().ok_or(Errno::NODEV)?.storage;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(storage, format!("apps/{app}/run"), flags, Mode::empty())
    }

    /// A socket of this name in an app's own `/run`, in place of one that a predecessor left.
    pub(crate) fn listen_in(&self, app: &AppName, name: &str) -> Result<OwnedFd, Errno> {
        let space = self.space.as_ref().ok_or(Errno::NODEV)?;
        let folder = self.run_folder(app)?;
        match unlinkat(&folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // The file gets the mode that the socket has.
        fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        // By the folder's descriptor: a name of it is too long, or not there at all.
        let place = PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()));
        bind(&socket, &SocketAddrUnix::new(&place)?)?;
        if space.subordinate_base.is_some() {
            let (uid, gid) = space.host_ids();
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            chownat(&folder, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        listen(&socket, BACKLOG)?;
        Ok(socket)
    }

    /// Looks at what is ready.
    pub(crate) fn tend_agent(&mut self, part: &Part, hung_up: bool) {
        match part {
            Part::Listener(app) => self.accept_from(app),
            Part::App(number) if hung_up => drop(self.agents.connections.remove(number)),
            Part::App(number) => self.tend_connection(*number, false),
            Part::Agent(number) => self.tend_connection(*number, true),
        }
    }

    fn accept_from(&mut self, app: &AppName) {
        let Some(listener) = self.agents.listeners.get(app) else { return };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // Whoever left again is nobody's loss.
        let Ok(socket) = accept_with(listener, flags) else { return };
        self.agents.last += 1;
        self.agents.connections.insert(self.agents.last, Connection::new(app.clone(), socket));
    }

    /// Goes on with a connection; one that cannot go on is closed, and what it asked is gone.
    fn tend_connection(&mut self, number: u32, agent: bool) {
        let Some(mut connection) = self.agents.connections.remove(&number) else { return };
        let outcome = match agent {
            false => self.hear_app_side(&mut connection),
            true => {
                self.hear_agent(&mut connection);
                Ok(())
            }
        };
        if outcome.and_then(|()| connection.app_side().flush()).is_ok() {
            self.agents.connections.insert(number, connection);
        }
    }

    fn hear_app_side(&mut self, connection: &mut Connection) -> Result<(), Over> {
        connection.app_side().flush()?;
        // One that does not read its answers is not heard meanwhile.
        for _ in 0..MESSAGES {
            if !connection.is_idle() {
                return Ok(());
            }
            let Some(message) = connection.app_side().receive()? else { return Ok(()) };
            match protocol::request(&message) {
                Ok(Request::List) => self.ask_for_keys(connection, None),
                Ok(Request::Sign(wanted)) => self.ask_for_keys(connection, Some(wanted)),
                Ok(Request::Other) => connection.answer(protocol::REFUSAL),
                Err(_) => return Err(Over),
            }
            connection.app_side().flush()?;
        }
        Ok(())
    }

    fn ask_for_keys(&self, connection: &mut Connection, wanted: Option<SignRequest>) {
        match self.dial_agent(&connection.app, protocol::list()) {
            Some(agent) => {
                connection.doing = Doing::Listing { agent, wanted };
                connection.deadline = Some(self.now.plus(AGENT_TIME));
            }
            None => connection.answer(protocol::REFUSAL),
        }
    }

    /// Asks the real agent something, where the session is one that may.
    fn dial_agent(&self, app: &AppName, message: Vec<u8>) -> Option<Pipe> {
        let path = self.agent_of(app).filter(|_| self.may_route())?;
        Pipe::to_agent(path, message).ok()
    }

    fn hear_agent(&mut self, connection: &mut Connection) {
        let (Doing::Listing { agent, .. } | Doing::Signing { agent }) = &mut connection.doing else { return };
        let heard = agent.flush().and_then(|()| agent.receive());
        let message = match heard {
            Ok(None) => return,
            Ok(Some(message)) => message,
            Err(Over) => return connection.answer(protocol::REFUSAL),
        };
        match std::mem::replace(&mut connection.doing, Doing::Nothing) {
            Doing::Listing { wanted: None, .. } => match protocol::keys(&message) {
                Ok(keys) => connection.answer(&protocol::told(&keys)),
                Err(_) => connection.answer(protocol::REFUSAL),
            },
            Doing::Listing { wanted: Some(wanted), .. } => {
                let keys = protocol::keys(&message).unwrap_or_default();
                match keys.into_iter().find(|key| key.blob == wanted.key) {
                    Some(key) => self.ask_about(connection, wanted, key.comment),
                    None => connection.answer(protocol::REFUSAL),
                }
            }
            Doing::Signing { .. } => match protocol::signature(&message) {
                Some(signature) => {
                    self.count_signature(&connection.app);
                    connection.answer(&signature);
                }
                None => connection.answer(protocol::REFUSAL),
            },
            Doing::Nothing | Doing::Asking { .. } => {}
        }
    }

    fn ask_about(&mut self, connection: &mut Connection, wanted: SignRequest, comment: String) {
        let question = FIRST_QUESTION + self.next_signature_question();
        let about = Signature {
            key: protocol::fingerprint(&wanted.key),
            kind: protocol::kind(&wanted.key),
            comment,
            purpose: wanted.purpose(),
        };
        let text = self.signature_wording(question, &connection.app, &about);
        let asked = self.asked_question(question, &connection.app, &about, self.now);
        connection.doing = Doing::Asking { question, wanted, about, at: self.now };
        connection.deadline = Some(self.now.plus(PATIENCE));
        self.notice(&text);
        self.ring_for(vec![asked], None);
    }

    /// A number that no question had, whichever keeper asked it.
    fn next_signature_question(&mut self) -> u32 {
        let Some(facts) = &mut self.facts else { return 0 };
        facts.signature_questions += 1;
        let number = facts.signature_questions;
        self.write_checkpoint();
        number
    }

    /// A question as everyone attached is told of it.
    fn signature_wording(&self, number: u32, app: &AppName, about: &Signature) -> String {
        let Signature { key, comment, purpose, .. } = about;
        let id = format!("{}-{number}", self.seat.id.short());
        format!("{app} wants your SSH key {key} ({comment}) for {purpose} · sessile answer {id} allow|deny")
    }

    fn asked_question(&self, number: u32, app: &AppName, about: &Signature, at: Timestamp) -> Question {
        Question {
            id: format!("{}-{number}", self.seat.id.short()),
            session: self.seat.id,
            app: app.clone(),
            host: String::new(),
            port: 0,
            signature: Some(about.clone()),
            line: None,
            asked_at: at,
        }
    }

    /// What is asked about signatures.
    pub(crate) fn signature_questions(&self) -> Vec<Question> {
        self.agents.asked().map(|(n, app, about, at)| self.asked_question(n, app, about, at)).collect()
    }

    /// The same, as one who has just attached is told.
    pub(crate) fn signature_wordings(&self) -> Vec<String> {
        self.agents.asked().map(|(n, app, about, _)| self.signature_wording(n, app, about)).collect()
    }

    /// Answers a question about a signature, journaled before anything is signed. Denied always, the
    /// app has no agent any more.
    pub(crate) fn answer_signature(&mut self, question: u32, answer: &Answer) -> Result<(), Problem> {
        let asked = |connection: &Connection| matches!(connection.doing, Doing::Asking { question: asked, .. } if asked == question);
        let number = self.agents.connections.iter().find(|(_, c)| asked(c)).map(|(&number, _)| number);
        let number = number.ok_or_else(|| {
            Problem::new(ProblemKind::NotFound, "there is no such question, or it was answered")
                .hint("`sessile questions` lists those that are open")
        })?;
        let Answer { verdict, always, ref why, by: _, seal: _ } = *answer;
        if always && verdict == Verdict::Allow {
            return Err(Problem::new(ProblemKind::BadRequest, "each signature is asked for by itself")
                .hint("leave out --always"));
        }
        let why = why.as_deref().map(crate::route::short_reason);
        self.note(Note::Answered { question, verdict, always, timed_out: false, why });
        self.settle();
        self.sync_log();
        let Some(mut connection) = self.agents.connections.remove(&number) else { return Ok(()) };
        let doing = std::mem::replace(&mut connection.doing, Doing::Nothing);
        match (doing, verdict) {
            (Doing::Asking { wanted, .. }, Verdict::Allow) => {
                match self.dial_agent(&connection.app, wanted.message()) {
                    Some(agent) => {
                        connection.doing = Doing::Signing { agent };
                        connection.deadline = Some(self.now.plus(AGENT_TIME));
                    }
                    None => connection.answer(protocol::REFUSAL),
                }
            }
            (Doing::Nothing | Doing::Listing { .. } | Doing::Asking { .. } | Doing::Signing { .. }, _) => {
                connection.answer(protocol::REFUSAL);
            }
        }
        let app = connection.app.clone();
        if connection.app_side().flush().is_ok() {
            self.agents.connections.insert(number, connection);
        }
        if always {
            self.take_agent_back(&app);
        }
        Ok(())
    }

    /// Denies what nobody answered in time, gives up on an agent that says nothing, and goes on with
    /// what was read before.
    pub(crate) fn look_at_agents(&mut self) {
        let late = |connection: &Connection| connection.deadline.is_some_and(|at| at <= self.now);
        let numbers: Vec<u32> =
            self.agents.connections.iter().filter(|(_, c)| late(c)).map(|(&number, _)| number).collect();
        for number in numbers {
            let Some(mut connection) = self.agents.connections.remove(&number) else { continue };
            if let Doing::Asking { question, .. } = connection.doing {
                let (verdict, always, timed_out, why) = (Verdict::Deny, false, true, None);
                self.note(Note::Answered { question, verdict, always, timed_out, why });
            }
            connection.answer(protocol::REFUSAL);
            if connection.app_side().flush().is_ok() {
                self.agents.connections.insert(number, connection);
            }
        }
        let waiting: Vec<u32> = self
            .agents
            .connections
            .iter()
            .filter(|(_, c)| c.has_request())
            .map(|(&number, _)| number)
            .collect();
        for number in waiting {
            self.tend_connection(number, false);
        }
    }

    fn count_signature(&mut self, by: &AppName) {
        let grants = self.facts.iter_mut().flat_map(|facts| &mut facts.grants);
        for grant in grants {
            if let Grant::SshAgent { app, signatures } = grant
                && app == by
            {
                *signatures += 1;
            }
        }
        self.changed = true;
    }

    fn take_agent_back(&mut self, app: &AppName) {
        self.agents.listeners.remove(app);
        self.agents.connections.retain(|_, connection| connection.app != *app);
        if let Some(facts) = &mut self.facts {
            facts.agents.retain(|agent| agent.app != *app);
        }
        if let Ok(folder) = self.run_folder(app) {
            // A name without a listener leads nowhere.
            let _ = unlinkat(&folder, NAME, AtFlags::empty());
        }
        self.changed = true;
    }

    /// Nothing is signed any more.
    pub(crate) fn cut_agents(&mut self) {
        self.agents = Agents { last: self.agents.last, ..Agents::default() };
        if let Some(facts) = &mut self.facts {
            facts.agents.clear();
        }
    }
}
