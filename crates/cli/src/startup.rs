//! Finding the daemon, and starting it on first use.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use sessile_daemon::paths::{Folders, PathError};
use sessile_model::problem::ProblemKind;

use crate::client::silent;
use crate::failure::{Failure, kind_of, plain};

/// The line with which a started daemon says that it listens.
pub const READY: &str = "ready\n";
/// What to do about a full disk.
pub const NO_ROOM: &str = "the disk is full: free some space in the state folder (SESSILE_STATE_DIR)";
/// How long a daemon may let nobody in.
const UNHEARD: Duration = Duration::from_secs(15);
/// Variables that a daemon needs; no other of the caller's comes along, least of all secrets.
const KEPT_ENV: [&str; 11] = [
    "HOME",
    "PATH",
    "USER",
    "LOGNAME",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
    "XDG_CONFIG_HOME",
    "SESSILE_RUNTIME_DIR",
    "SESSILE_STATE_DIR",
    "SESSILE_CONFIG",
    "RUST_BACKTRACE",
];

/// The caller's folders.
///
/// # Errors
/// When the environment names none that can be used.
pub fn folders() -> Result<Folders, Failure> {
    Folders::of_process().map_err(|e| unusable(&e))
}

/// The folder that the command was started in.
///
/// # Errors
/// When it was removed meanwhile.
pub fn current_folder() -> Result<PathBuf, Failure> {
    std::env::current_dir()
        .map_err(|e| Failure::system("use the current folder", &e).hint("change to a folder that exists: cd"))
}

/// The caller's home, where the environment names one.
pub fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").map(PathBuf::from)
}

/// The configuration file's path.
///
/// # Errors
/// When the environment names none that can be used.
pub fn config_file() -> Result<PathBuf, Failure> {
    sessile_daemon::paths::config_file(|name| std::env::var_os(name)).map_err(|e| unusable(&e))
}

fn unusable(error: &PathError) -> Failure {
    let cause = std::error::Error::source(error).map(|s| format!(": {s}")).unwrap_or_default();
    let kind = match error {
        PathError::NotAFolder { .. } | PathError::Foreign { .. } | PathError::Open { .. } => {
            ProblemKind::Denied
        }
        PathError::NoHome { .. } | PathError::Relative { .. } | PathError::TooLong { .. } => {
            ProblemKind::BadRequest
        }
        PathError::Io { source, .. } => kind_of(source),
    };
    let failure = Failure::new(kind, format!("{error}{cause}"));
    match error {
        PathError::TooLong { .. } => failure.hint("set SESSILE_RUNTIME_DIR to a folder with a shorter path"),
        PathError::Io { path, .. } if kind == ProblemKind::Exhausted => {
            failure.hint(format!("free some space where {} is", path.display()))
        }
        PathError::Io { .. }
        | PathError::NoHome { .. }
        | PathError::Relative { .. }
        | PathError::NotAFolder { .. }
        | PathError::Foreign { .. }
        | PathError::Open { .. } => failure,
    }
}

/// Refuses to go on inside a session, where no daemon can be reached.
fn refuse_nested() -> Result<(), Failure> {
    match std::env::var("SESSILE_SESSION") {
        Ok(name) if !name.is_empty() => {
            Err(Failure::new(ProblemKind::Denied, "this is inside a session: sessions are not nested")
                .hint("leave it (detach, or exit the shell) and run sessile outside"))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// A daemon of the caller's own that listens.
#[derive(Debug)]
pub struct Reached {
    /// Its socket.
    pub socket: PathBuf,
    /// A connection to it.
    pub stream: UnixStream,
}

/// The running daemon; `None` when none runs.
///
/// # Errors
/// Inside a session, and when the socket is someone else's.
pub fn running() -> Result<Option<Reached>, Failure> {
    refuse_nested()?;
    connect(&folders()?.socket())
}

/// The daemon, started if need be.
///
/// # Errors
/// As [`running`], and when the daemon does not start; the reason is its own.
pub fn ensure() -> Result<Reached, Failure> {
    refuse_nested()?;
    let folders = folders()?;
    let socket = folders.socket();
    if let Some(reached) = connect(&socket)? {
        return Ok(reached);
    }
    folders.prepare().map_err(|e| unusable(&e))?;
    // Held while starting, so that of two first commands the second finds the first one's daemon.
    let _lock = start_lock(&folders).map_err(|e| Failure::system("lock the daemon's start", &e))?;
    if let Some(reached) = connect(&socket)? {
        return Ok(reached);
    }
    let started = start();
    if let Some(reached) = connect(&socket)? {
        return Ok(reached);
    }
    // One that lost the race against a daemon started by hand is no failure; this is.
    started?;
    Err(Failure::new(ProblemKind::Failed, "the daemon started but does not listen")
        .hint("`sessile daemon run` in a terminal shows what it says"))
}

fn start_lock(folders: &Folders) -> io::Result<impl Sized> {
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(folders.runtime.join("start.lock"), flags, Mode::from_raw_mode(0o600))?;
    loop {
        match flock(&file, FlockOperation::LockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Connects to a daemon of the caller's own; `None` when none listens.
fn connect(socket: &Path) -> Result<Option<Reached>, Failure> {
    match dial(socket) {
        Ok(stream) => match check_owner(&stream) {
            Ok(()) => Ok(Some(Reached { socket: socket.to_owned(), stream })),
            Err(e) => Err(Failure::new(ProblemKind::Denied, format!("{}: {}", socket.display(), plain(&e)))),
        },
        // Nothing there, or the socket of a daemon that is gone.
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Ok(None),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Err(silent(None, UNHEARD)),
        Err(e) => Err(Failure::system(format!("connect to {}", socket.display()), &e)),
    }
}

/// Connects; `WouldBlock` when so many wait already that nobody is let in.
fn dial(socket: &Path) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(socket)?;
    let stream = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // It bounds how long a connection waits to be let in, see unix(7).
    set_socket_timeout(&stream, Timeout::Send, Some(UNHEARD))?;
    rustix::net::connect(&stream, &address)?;
    set_socket_timeout(&stream, Timeout::Send, None)?;
    Ok(stream.into())
}

/// Checks that the process at the other end is the caller's own or root's.
///
/// # Errors
/// When it is neither, or the system does not tell.
pub fn check_owner(stream: impl AsFd) -> io::Result<()> {
    let peer = rustix::net::sockopt::socket_peercred(stream)?;
    if peer.uid.is_root() || peer.uid == rustix::process::geteuid() {
        return Ok(());
    }
    let text = format!("user {} answers there, not you", peer.uid.as_raw());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

/// Starts the daemon and waits for it to say that it listens.
fn start() -> Result<(), Failure> {
    let doing = |e: &io::Error| Failure::system("start the daemon", e);
    let program = std::env::current_exe().map_err(|e| doing(&e))?;
    let mut command = Command::new(program);
    command.args(["daemon", "run", "--started"]).current_dir("/").env_clear();
    command.envs(KEPT_ENV.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| doing(&e))?;
    let mut said = String::new();
    if let Some(mut out) = child.stdout.take() {
        // It closes its end after the line, or by ending.
        out.read_to_string(&mut said).map_err(|e| doing(&e))?;
    }
    if said == READY {
        return Ok(());
    }
    let mut why = String::new();
    if let Some(mut err) = child.stderr.take() {
        err.read_to_string(&mut why).map_err(|e| doing(&e))?;
    }
    let status = child.wait().map_err(|e| doing(&e))?;
    let why = why.trim().trim_start_matches("sessile: error: ");
    let (why, hint) = match why.split_once("\nhint: ") {
        Some((why, hint)) => (why, Some(hint)),
        None => (why, None),
    };
    let why = if why.is_empty() { status.to_string() } else { why.replace('\n', "; ") };
    // Its exit code says what kind of problem it had.
    let kind = ProblemKind::ALL.into_iter().find(|k| status.code() == Some(k.exit_code().into()));
    let kind = kind.unwrap_or(ProblemKind::Failed);
    let failure = Failure::new(kind, format!("the daemon did not start: {why}"));
    Err(match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    })
}

/// Leaves the caller's terminal and process group. The streams stay until [`announce`].
///
/// # Errors
/// When the system refuses.
pub fn detach() -> io::Result<()> {
    rustix::process::setsid()?;
    Ok(())
}

/// Says that the daemon listens, then lets go of the caller's streams.
///
/// # Errors
/// When the system refuses.
pub fn announce() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    // A starter that is gone does not stop the daemon.
    let _ = rustix::io::write(io::stdout(), READY.as_bytes());
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}
