//! A session's conversation, from outside through the daemon, or from inside by the socket that
//! `SESSILE_SOCKET` names.

pub mod keys;
mod signing;
pub mod waiting;

use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use sessile_model::problem::ProblemKind;
use sessile_model::protocol::{
    Asked, CloseTalk, Delegate, Delegated, Hear, Heard, Offer, ProtocolRecord, Said, Say, Stand, Standing,
    Take, Told,
};

use crate::client::Daemon;
use crate::failure::Failure;
use crate::selector::{InvalidSelector, SessionSelector};

/// The variable that names the socket.
const SOCKET: &str = "SESSILE_SOCKET";
/// How often, and how much apart, the socket is tried while the session's keeper is replaced by another.
const TRIES: u32 = 150;
const APART: Duration = Duration::from_millis(100);
/// What the operator is called where there is no protocol.
const OPERATOR: &str = "operator";
/// Longest answer: a payload in base64, or many offers.
const LONGEST_TOLD: u64 = 16 << 20;

/// Whose conversation is meant: that of a session, or with `.` of the one that this runs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The one around.
    Here,
    /// A session of the caller's daemon.
    Session(SessionSelector),
}

impl FromStr for Place {
    type Err = InvalidSelector;

    fn from_str(text: &str) -> Result<Self, InvalidSelector> {
        if text == "." { Ok(Self::Here) } else { text.parse().map(Self::Session) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here => f.write_str("."),
            Self::Session(session) => session.fmt(f),
        }
    }
}

/// The way to it.
#[derive(Debug)]
pub enum Talk {
    /// By the socket.
    Inside(PathBuf),
    /// Through the daemon.
    Outside(Daemon, SessionSelector),
}

impl Talk {
    /// Finds the way.
    ///
    /// # Errors
    /// When there is no daemon to ask, or no session around this.
    pub fn reach(place: Place) -> Result<Self, Failure> {
        match place {
            Place::Session(session) => Ok(Self::Outside(Daemon::reach()?, session)),
            Place::Here => socket_here().map(Self::Inside),
        }
    }

    /// Says a line as it is, unsigned or signed already.
    ///
    /// # Errors
    /// When it is refused, or there is no room in time.
    pub(crate) fn say_once(&self, say: &Say) -> Result<Said, Failure> {
        match self {
            Self::Outside(daemon, session) => {
                daemon.post_timed(&session.path("/say"), |waited| say.after(waited))
            }
            Self::Inside(socket) => {
                let told = ask(socket, &Asked::Say(say.clone()))?;
                if let Told::Said(said) = told { Ok(said) } else { Err(mismatch(told)) }
            }
        }
    }

    /// What is to be signed with a line.
    ///
    /// # Errors
    /// When it is refused.
    pub(crate) fn stand(&self, stand: &Stand) -> Result<Standing, Failure> {
        match self {
            Self::Outside(daemon, session) => daemon.post(&session.path("/stand"), stand),
            Self::Inside(socket) => {
                let told = ask(socket, &Asked::Stand(stand.clone()))?;
                if let Told::Stands(standing) = told { Ok(standing) } else { Err(mismatch(told)) }
            }
        }
    }

    /// Closes the conversation.
    ///
    /// # Errors
    /// When it is refused.
    pub fn close(&self, close: CloseTalk) -> Result<ProtocolRecord, Failure> {
        match self {
            Self::Outside(daemon, session) => daemon.post(&session.path("/close"), &close),
            Self::Inside(socket) => {
                let told = ask(socket, &Asked::Close(close))?;
                if let Told::Closed(record) = told { Ok(record) } else { Err(mismatch(told)) }
            }
        }
    }

    /// Has another speak for a role.
    ///
    /// # Errors
    /// When it is refused.
    pub fn delegate(&self, wanted: Delegate) -> Result<Delegated, Failure> {
        match self {
            Self::Outside(daemon, session) => daemon.post(&session.path("/delegate"), &wanted),
            Self::Inside(socket) => {
                let told = ask(socket, &Asked::Delegate(wanted))?;
                if let Told::Delegated(given) = told { Ok(given) } else { Err(mismatch(told)) }
            }
        }
    }

    /// What a role hears next.
    ///
    /// # Errors
    /// When it is refused, or nothing comes in time.
    pub fn hear(&self, hear: Hear) -> Result<Heard, Failure> {
        match self {
            Self::Outside(daemon, session) => {
                daemon.post_timed(&session.path("/hear"), |waited| hear.after(waited))
            }
            Self::Inside(socket) => {
                let told = ask(socket, &Asked::Hear(hear))?;
                if let Told::Heard(heard) = told { Ok(heard) } else { Err(mismatch(told)) }
            }
        }
    }

    /// Takes what was heard.
    ///
    /// # Errors
    /// When it is refused.
    pub fn take(&self, take: Take) -> Result<(), Failure> {
        match self {
            Self::Outside(daemon, session) => daemon.post(&session.path("/take"), &take),
            Self::Inside(socket) => {
                let told = ask(socket, &Asked::Take(take))?;
                if let Told::Taken = told { Ok(()) } else { Err(mismatch(told)) }
            }
        }
    }

    /// What a role may do next.
    ///
    /// # Errors
    /// When it is refused.
    pub fn offered(&self, role: &str) -> Result<Vec<Offer>, Failure> {
        match self {
            Self::Outside(daemon, session) => {
                let role = if role.is_empty() { OPERATOR } else { role };
                daemon.get(&session.path(&format!("/roles/{role}")))
            }
            Self::Inside(socket) => {
                let told = ask(socket, &Asked::Offered { role: role.to_owned() })?;
                if let Told::Offers(offers) = told { Ok(offers) } else { Err(mismatch(told)) }
            }
        }
    }
}

/// The socket of the session that this runs in.
///
/// # Errors
/// When it runs in none that has one.
pub fn socket_here() -> Result<PathBuf, Failure> {
    match std::env::var_os(SOCKET).filter(|path| !path.is_empty()) {
        Some(path) => Ok(path.into()),
        None => Err(Failure::new(
            ProblemKind::Conflict,
            format!("`.` is the session around this command, and {SOCKET} names none"),
        )
        .hint("outside, name the session; `sessile ls` shows them")),
    }
}

/// Asks by the socket. Asking again does no more, so it is done where the keeper died meanwhile.
fn ask(socket: &Path, asked: &Asked) -> Result<Told, Failure> {
    let began = Instant::now();
    let mut tries = 0;
    loop {
        tries += 1;
        let left = match asked {
            Asked::Say(say) => Some(Asked::Say(say.after(began.elapsed()))),
            Asked::Hear(hear) => Some(Asked::Hear(hear.after(began.elapsed()))),
            Asked::Offered { .. }
            | Asked::Stand(_)
            | Asked::Take(_)
            | Asked::Close(_)
            | Asked::Delegate(_)
            | Asked::Mcp { .. } => None,
        };
        let mut line = serde_json::to_vec(left.as_ref().unwrap_or(asked))
            .map_err(|e| Failure::new(ProblemKind::Internal, format!("cannot write the request: {e}")))?;
        line.push(b'\n');
        match exchange(socket, &line) {
            Ok(told) => return Ok(told),
            Err(error) if tries < TRIES && is_away(&error) => std::thread::sleep(APART),
            Err(error) => {
                return Err(Failure::system(format!("ask at {}", socket.display()), &error)
                    .hint("the session may be ending"));
            }
        }
    }
}

fn exchange(path: &Path, line: &[u8]) -> io::Result<Told> {
    let mut stream = UnixStream::connect(path)?;
    stream.write_all(line)?;
    let mut answer = Vec::new();
    BufReader::new(stream).take(LONGEST_TOLD).read_until(b'\n', &mut answer)?;
    if answer.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&answer)?)
}

/// Whether nobody answers there just now.
fn is_away(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
    )
}

/// What an answer is that nobody expected.
pub fn mismatch(told: Told) -> Failure {
    match told {
        Told::Problem(problem) => problem.into(),
        Told::Said(_)
        | Told::Heard(_)
        | Told::Taken
        | Told::Offers(_)
        | Told::Stands(_)
        | Told::Closed(_)
        | Told::Delegated(_)
        | Told::Connected => {
            Failure::new(ProblemKind::Internal, "the session's keeper answered something else")
        }
    }
}
