//! Asking a session's anchor, off the daemon's own thread: an anchor that does not answer must
//! not hold up anyone else.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Pid, Signal, kill_process};
use sessile_anchor::supervisor::{self, SupervisorError};
use thiserror::Error;

/// What an anchor says of itself and its keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Both run.
    KeeperRuns,
    /// It runs without a keeper.
    KeeperDead,
    /// There is no anchor.
    Gone,
}

/// Why an anchor could not be asked.
#[derive(Debug, Error)]
pub enum AskError {
    /// It did not answer as it should.
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    /// The image could not be handed over.
    #[error("the keeper's image could not be handed over")]
    Image(#[source] io::Error),
    /// The thread that asked did not come to its end.
    #[error("the question was cut short")]
    CutShort,
}

/// What the anchor behind this socket says.
///
/// # Errors
/// When it does not answer as it should.
pub async fn standing(socket: PathBuf) -> Result<Standing, AskError> {
    if is_gone(&socket) {
        return Ok(Standing::Gone);
    }
    match apart(move || supervisor::status(&socket)).await {
        Ok(status) if status.keeper.is_some() => Ok(Standing::KeeperRuns),
        Ok(_) => Ok(Standing::KeeperDead),
        Err(AskError::Supervisor(SupervisorError::Gone)) => Ok(Standing::Gone),
        Err(e) => Err(e),
    }
}

/// Has the anchor start a keeper from this image.
///
/// # Errors
/// When it does not, or the image cannot be handed over.
pub async fn start_keeper(socket: PathBuf, image: &OwnedFd) -> Result<(), AskError> {
    let image = image.as_fd().try_clone_to_owned().map_err(AskError::Image)?;
    match apart(move || supervisor::spawn_keeper(&socket, image.as_fd())).await {
        Ok(_) | Err(AskError::Supervisor(SupervisorError::KeeperLives)) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Has the anchor kill everything under it and end.
///
/// # Errors
/// When it does not answer as it should.
pub async fn kill(socket: PathBuf) -> Result<(), AskError> {
    apart(move || supervisor::kill(&socket).map(drop)).await
}

/// Kills the keeper under an anchor, which makes its follower start another.
///
/// # Errors
/// When the anchor does not answer as it should. No keeper is no error.
pub async fn kill_keeper(socket: PathBuf) -> Result<(), AskError> {
    let status = apart(move || supervisor::status(&socket)).await?;
    let keeper = status.keeper.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    if let Some(keeper) = keeper {
        // Its anchor has not reaped it: the number is still its own.
        let _ = kill_process(keeper, Signal::KILL);
    }
    Ok(())
}

/// Whether nobody listens on the anchor's socket any more, now or before the time is over.
pub async fn gone_within(socket: &Path, patience: Duration) -> bool {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    // An anchor ends within milliseconds of its keeper; there is no descriptor to wait on for
    // one that an earlier daemon started.
    while !is_gone(socket) {
        if start.elapsed() >= patience {
            return false;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
    true
}

fn is_gone(socket: &Path) -> bool {
    let connect = || {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let probe = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        rustix::net::connect(&probe, &SocketAddrUnix::new(socket)?)
    };
    matches!(connect(), Err(rustix::io::Errno::CONNREFUSED | rustix::io::Errno::NOENT))
}

async fn apart<T: Send + 'static>(
    ask: impl FnOnce() -> Result<T, SupervisorError> + Send + 'static,
) -> Result<T, AskError> {
    Ok(tokio::task::spawn_blocking(ask).await.map_err(|_| AskError::CutShort)??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_without_a_listener_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("anchor.sock");
        assert!(is_gone(&path));
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let socket = socket.unwrap();
        rustix::net::bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&socket, 8).unwrap();
        assert!(!is_gone(&path));
        assert!(!gone_within(&path, Duration::ZERO).await);
        drop(socket);
        assert!(is_gone(&path));
        assert_eq!(standing(path).await.unwrap(), Standing::Gone);
    }
}
