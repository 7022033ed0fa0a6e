//! Whether an app still waits at the other end of its socket. One that only has no more to say may wait for an
//! answer, and from here looks as one that is gone: it is asked for a sign of life.

use std::future::pending;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt;
use tokio::time::sleep;

/// How often it is asked.
pub const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// Has the kernel ask for signs of life. False when it does not.
pub fn ask_for_life(socket: impl AsFd) -> bool {
    let socket = socket.as_fd();
    sockopt::set_tcp_keepidle(socket, SIGN_OF_LIFE)
        .and_then(|()| sockopt::set_tcp_keepintvl(socket, SIGN_OF_LIFE))
        .and_then(|()| sockopt::set_socket_keepalive(socket, true))
        .is_ok()
}

/// Asks no more: its end shows by itself.
pub fn stop_asking(socket: impl AsFd) {
    // What is no socket any more asks for nothing.
    let _ = sockopt::set_socket_keepalive(socket, false);
}

/// Returns when the app is gone, of which nothing is looked at in the first moment. Never where there is no socket.
pub async fn gone(socket: Option<BorrowedFd<'_>>) {
    let Some(socket) = socket else { return pending().await };
    sleep(SIGN_OF_LIFE).await;
    let _asking = ask_for_life(socket).then_some(Asking(socket));
    while !has_ended(socket) {
        sleep(SIGN_OF_LIFE).await;
    }
}

struct Asking<'a>(BorrowedFd<'a>);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        stop_asking(self.0);
    }
}

fn has_ended(socket: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(socket, PollFlags::empty())];
    poll(&mut fds, Some(&Timespec::default())).is_ok()
        && fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}
