//! Where an app finds its session's conversation: a socket in its own `/run`.
//!
//! ```text
//!  app ─► /run/sessile ─► keeper: this app's role? ─► monitor
//! ```
//!
//! A request is a line of JSON ([`Asked`]), its answer is one ([`Told`]); one at a time for each
//! connection. Who speaks is known by the socket. Connections end with their keeper; a successor listens anew.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send};
use sessile_model::ids::AppName;
use sessile_model::protocol::{Asked, LONGEST_ASKED, Told};
use sessile_model::wire::Reply;
use sessile_model::{Problem, ProblemKind};

use super::Caller;
use crate::bringup::failed;
use crate::keeper::Keeper;

/// The socket's name in the app's `/run`.
const NAME: &str = "sessile";
/// Most connections of one app at once: more than may wait for lines.
const MOST_OF_APP: usize = 112;
/// Most connections at once.
const MOST_CONNECTIONS: usize = 448;
/// Bytes read at once.
const CHUNK: usize = 16 << 10;

/// What a descriptor that is watched is.
#[derive(Clone, Debug)]
pub enum Part {
    /// Where an app's connections come.
    Listener(AppName),
    /// A connection.
    Guest(u32),
}

/// The sockets of apps, and who is connected.
#[derive(Debug, Default)]
pub struct Doors {
    listeners: BTreeMap<AppName, OwnedFd>,
    guests: BTreeMap<u32, Guest>,
    last: u32,
}

/// An app's connection.
#[derive(Debug)]
struct Guest {
    app: AppName,
    socket: OwnedFd,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Its request is not answered yet.
    waits: bool,
}

/// The other side is gone, or says too much at once.
struct Over;

impl Guest {
    /// Whether its next request is heard: one that does not read its answers is not.
    fn is_idle(&self) -> bool {
        !self.waits && self.output.is_empty()
    }

    fn has_request(&self) -> bool {
        self.is_idle() && self.input.contains(&b'\n')
    }

    fn flush(&mut self) -> Result<(), Over> {
        while !self.output.is_empty() {
            match send(&self.socket, &self.output, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) => drop(self.output.drain(..sent)),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(_) => return Err(Over),
            }
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<(), Over> {
        let mut chunk = [0u8; CHUNK];
        match recv(&self.socket, &mut chunk, RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Err(Over),
            Ok((count, _)) => self.input.extend_from_slice(&chunk[..count]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => return Err(Over),
        }
        match self.input.iter().take(LONGEST_ASKED).any(|byte| *byte == b'\n') {
            false if self.input.len() > LONGEST_ASKED => Err(Over),
            true | false => Ok(()),
        }
    }

    /// Takes its next request out.
    fn request(&mut self) -> Option<Result<Asked, serde_json::Error>> {
        if !self.is_idle() {
            return None;
        }
        let end = self.input.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.input.drain(..=end).collect();
        Some(serde_json::from_slice(&line))
    }

    fn answer(&mut self, told: &Told) {
        self.waits = false;
        // What this program writes it can write.
        self.output.extend(serde_json::to_vec(told).unwrap_or_default());
        self.output.push(b'\n');
    }
}

impl Doors {
    /// What is to be watched: for reading and writing.
    pub fn watched(&self) -> Vec<(Part, BorrowedFd<'_>, bool, bool)> {
        let mut all = Vec::new();
        for (app, listener) in &self.listeners {
            all.push((Part::Listener(app.clone()), listener.as_fd(), true, false));
        }
        let guests = self.guests.iter().map(|(&number, guest)| {
            (Part::Guest(number), guest.socket.as_fd(), guest.is_idle(), !guest.output.is_empty())
        });
        all.extend(guests);
        all
    }

    /// Whether somebody is connected by this number.
    pub(super) fn has(&self, number: u32) -> bool {
        self.guests.contains_key(&number)
    }

    /// The app whose connection this is.
    pub(super) fn app(&self, number: u32) -> Option<&AppName> {
        self.guests.get(&number).map(|guest| &guest.app)
    }

    /// Whether a request that was read already can be heard.
    pub(super) fn has_request(&self) -> bool {
        self.guests.values().any(Guest::has_request)
    }

    /// Answers a connection's request.
    pub(super) fn answer(&mut self, number: u32, told: &Told) {
        let Some(guest) = self.guests.get_mut(&number) else { return };
        guest.answer(told);
        if guest.flush().is_err() {
            self.guests.remove(&number);
        }
    }

    /// Tells a connection that what follows is a server's, and lets go of it. One that has not waited for that
    /// is closed.
    fn part_with(&mut self, number: u32) -> Option<OwnedFd> {
        let mut guest = self.guests.remove(&number)?;
        guest.answer(&Told::Connected);
        let is_told = guest.flush().is_ok() && guest.output.is_empty();
        (is_told && guest.input.is_empty()).then_some(guest.socket)
    }

    fn accept(&mut self, app: &AppName) {
        let Some(listener) = self.listeners.get(app) else { return };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // Whoever left again is nobody's loss.
        let Ok(socket) = accept_with(listener, flags) else { return };
        let of_app = self.guests.values().filter(|guest| guest.app == *app).count();
        if of_app >= MOST_OF_APP || self.guests.len() >= MOST_CONNECTIONS {
            let problem = Problem::new(
                ProblemKind::Exhausted,
                format!("{of_app} connections of {app} are open already"),
            )
            .hint("close one");
            // What this program writes it can write; a socket that is new has room for it.
            let mut line = serde_json::to_vec(&Told::Problem(problem)).unwrap_or_default();
            line.push(b'\n');
            let _ = rustix::io::write(&socket, &line);
            return;
        }
        self.last += 1;
        let guest = Guest { app: app.clone(), socket, input: Vec::new(), output: Vec::new(), waits: false };
        self.guests.insert(self.last, guest);
    }
}

impl Keeper {
    /// Gives an app the socket. Done again when the app or the keeper is another.
    ///
    /// # Errors
    /// When that is not possible where the session has a protocol or MCP servers; others do without.
    pub(crate) fn open_door(&mut self, app: &AppName) -> Result<(), Problem> {
        match self.listen_in(app, NAME) {
            Ok(listener) => {
                self.talk.doors.listeners.insert(app.clone(), listener);
                Ok(())
            }
            Err(errno) if self.facts()?.spec.is_guarded() => {
                Err(failed("the socket of the conversation", &errno))
            }
            Err(_) => Ok(()),
        }
    }

    /// Listens again where a predecessor did.
    pub(crate) fn open_doors_again(&mut self) {
        let running = self.apps.iter().filter(|(_, app)| !app.gone).map(|(name, _)| name.clone());
        for app in running.collect::<Vec<_>>() {
            // Without a socket the app says nothing: it sees that nobody listens.
            let _ = self.open_door(&app);
        }
    }

    /// Looks at what is ready.
    pub(crate) fn tend_door(&mut self, part: &Part, hung_up: bool) {
        match part {
            Part::Listener(app) => self.talk.doors.accept(app),
            Part::Guest(number) => {
                let Some(guest) = self.talk.doors.guests.get_mut(number) else { return };
                let reads = guest.is_idle();
                let tended = guest.flush().and_then(|()| if reads { guest.receive() } else { Ok(()) });
                if tended.is_err() || (hung_up && !guest.has_request()) {
                    self.talk.doors.guests.remove(number);
                }
            }
        }
    }

    /// Hears what was read from apps: of each one request.
    pub(super) fn hear_guests(&mut self) {
        let requests: Vec<_> = self
            .talk
            .doors
            .guests
            .iter_mut()
            .filter_map(|(&number, guest)| Some((number, guest.request()?)))
            .collect();
        for (number, request) in requests {
            if let Some(guest) = self.talk.doors.guests.get_mut(&number) {
                guest.waits = true;
            }
            let caller = Caller::Guest(number);
            let answer = match request {
                Ok(Asked::Say(say)) => self.say(caller, say).map(|()| None),
                Ok(Asked::Hear(hear)) => self.hear(caller, hear).map(|()| None),
                Ok(Asked::Take(take)) => self.take_line(&caller, &take).map(|()| Some(Told::Taken)),
                Ok(Asked::Offered { role }) => {
                    self.offers(&caller, &role).map(|offers| Some(Told::Offers(offers)))
                }
                Ok(Asked::Stand(stand)) => {
                    self.standing(&caller, &stand).map(|stands| Some(Told::Stands(stands)))
                }
                Ok(Asked::Close(close)) => {
                    self.close_talk(&caller, &close).map(|record| Some(Told::Closed(record)))
                }
                Ok(Asked::Delegate(wanted)) => {
                    self.delegate(&caller, &wanted).map(|given| Some(Told::Delegated(given)))
                }
                Ok(Asked::Mcp { name }) => self.lead_to_server(number, &name).map(|()| None),
                Err(error) => {
                    let detail = format!("the request does not parse: {error}");
                    Err(Problem::new(ProblemKind::BadRequest, detail))
                }
            };
            match answer {
                Ok(None) => {}
                Ok(Some(told)) => self.talk.doors.answer(number, &told),
                Err(problem) => self.talk.doors.answer(number, &Told::Problem(problem)),
            }
        }
    }

    /// Makes a connection one to an MCP server.
    fn lead_to_server(&mut self, number: u32, name: &str) -> Result<(), Problem> {
        let gone = || Problem::new(ProblemKind::Denied, "the app has hung up");
        let app = self.talk.doors.app(number).cloned().ok_or_else(gone)?;
        let server = self.connect_server(&app, name)?;
        if let Some(socket) = self.talk.doors.part_with(number) {
            self.hand_to_relay(&server, app, &socket);
        }
        Ok(())
    }

    /// Answers whoever waits for a line.
    pub(super) fn answer_line(&mut self, caller: &Caller, answer: Result<Told, Problem>) {
        let told = answer.unwrap_or_else(Told::Problem);
        match *caller {
            Caller::Guest(number) => self.talk.doors.answer(number, &told),
            Caller::Client { connection, channel } => {
                let reply = match told {
                    Told::Said(said) => Reply::Said(said),
                    Told::Heard(heard) => Reply::Heard(heard),
                    Told::Taken => Reply::Done,
                    Told::Offers(offers) => Reply::Offers(offers),
                    Told::Stands(standing) => Reply::Stands(standing),
                    Told::Closed(record) => Reply::TalkClosed(record),
                    Told::Delegated(given) => Reply::Delegated(given),
                    // Apps alone are led to servers.
                    Told::Connected => Reply::Done,
                    Told::Problem(problem) => Reply::Problem(problem),
                };
                self.reply(connection, channel, &reply);
            }
        }
    }
}
