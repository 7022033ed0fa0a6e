//! Capturing what an app sends: in its own network namespace, with nothing but `lo`, everything
//! arrives at listeners that are handed out, so that a gateway outside can serve it.
//!
//! ```text
//!  app ──connect──► lo ──redirected──► Listeners::tcp ┐
//!  app ──UDP :53──► lo ──redirected──► Listeners::dns ┴─► a gateway, in another namespace
//!  app ──the rest─► refused at once and counted
//! ```
//!
//! The seal is the namespace, not the rules: it has no other device, so that whatever the rules
//! let through, or everything when they are gone, has nowhere to go. The rules decide what arrives
//! at the gateway. Only a process with rights over the app's user namespace can change them, and
//! that is none inside.

mod ahead;
mod inside;
mod listeners;
mod netlink;
mod nftables;
mod routes;
mod rules;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use thiserror::Error;

use crate::space::{Space, write_proc};
use crate::step::{At, Fault, Step};
use crate::sys;

pub use ahead::NetworkAhead;
pub use listeners::{Listeners, NotRedirected, original_destination};

/// Where TCP connections arrive, on 127.0.0.1 and ::1. No app can take a port below 1024 itself.
pub const TCP_PORT: u16 = 1012;
/// Where queries for names arrive by UDP, on 127.0.0.1 and ::1.
pub const DNS_PORT: u16 = 1013;
/// What connections of an app come from, in version 4 (RFC 2544).
pub const SOURCE_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// What connections of an app come from, in version 6 (RFC 4193).
pub const SOURCE_V6: Ipv6Addr = Ipv6Addr::new(0xfdfe, 0xdcba, 0x5e55, 0, 0, 0, 0, 1);
/// The name server of `/etc/resolv.conf` inside: no address of the namespace.
pub const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);

/// Longest time that [`dial`] takes.
const DIAL_PATIENCE: Duration = Duration::from_secs(5);

/// What an app's network is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// Nothing but itself.
    #[default]
    Closed,
    /// Everything it sends arrives at [`Listeners`].
    Captured,
    /// As [`Network::Captured`] where nf_tables is missing: [`Listeners`] to be named as a proxy.
    Explicit,
}

/// How an app's network is captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capture {
    /// Whatever address it connects to, it arrives at the listeners.
    Transparent,
    /// Nothing is redirected and there are no routes: it reaches the listeners as a proxy at
    /// 127.0.0.1, port [`TCP_PORT`], and names are not resolved inside.
    Explicit,
}

impl Capture {
    /// As a byte of a launcher's report; 0 is none.
    pub(crate) fn code(capture: Option<Self>) -> u8 {
        match capture {
            None => 0,
            Some(Self::Transparent) => 1,
            Some(Self::Explicit) => 2,
        }
    }

    /// Reads back what [`Self::code`] wrote.
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        [Self::Transparent, Self::Explicit].into_iter().find(|known| Self::code(Some(*known)) == code)
    }
}

/// Packets that were refused, by protocol, since the app was launched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// TCP to the listeners themselves.
    pub tcp: u64,
    /// UDP to anything but port 53, and to the listeners themselves.
    pub udp: u64,
    /// All else.
    pub other: u64,
}

/// What answers of the rules in an app's network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Changes with every change of the rules.
    pub generation: u32,
    /// Chains of the table.
    pub chains: u32,
    /// Rules of the table.
    pub rules: u32,
}

impl Rules {
    /// Whether everything is there that was installed.
    pub fn are_complete(&self) -> bool {
        (self.chains, self.rules) == (rules::CHAINS, rules::RULES)
    }
}

/// Why the rules in an app's network namespace did not answer.
#[derive(Debug, Error)]
pub enum LookError {
    /// The namespace cannot be entered.
    #[error("the app's network namespace cannot be entered")]
    Enter(#[source] io::Error),
    /// There are no rules: nothing is redirected there.
    #[error("the app's network has no rules")]
    NoRules,
    /// The kernel does not answer.
    #[error("the rules of the app's network cannot be read")]
    Ask(#[source] io::Error),
}

/// What was made in an app's network namespace.
pub(crate) struct Prepared {
    pub capture: Capture,
    pub listeners: Listeners,
    /// Where the rules were sent and answer; none where there are none.
    pub rules: Option<OwnedFd>,
}

/// Brings `lo` up in the process's own new network namespace and prepares what is wanted there.
pub(crate) fn begin(network: Network) -> Result<Option<Prepared>, Fault> {
    sys::new_socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0)
        .and_then(|socket| sys::bring_loopback_up(socket.as_fd()))
        .at(Step::Loopback)?;
    prepare(network)
}

/// Makes listeners, rules, addresses and routes in the process's own network namespace, in which
/// it has every right and `lo` is up. Routes come last: without rules there are none.
fn prepare(network: Network) -> Result<Option<Prepared>, Fault> {
    let step = Step::Capture;
    let wanted = match network {
        Network::Closed => return Ok(None),
        Network::Captured => Capture::Transparent,
        Network::Explicit => Capture::Explicit,
    };
    // A connection that its program has let go of is gone soon, so that the gateway can tell it from one
    // that only has no more to say. Where it cannot be set, after a minute.
    let _ = write_proc("/proc/sys/net/ipv4/tcp_fin_timeout", "2");
    let (listeners, has_v6) = listeners::make().on(step, "listeners")?;
    let install = || {
        let socket = netlink::open(libc::NETLINK_NETFILTER)?;
        rules::install(&socket).map(|()| socket)
    };
    let Some(rules) = (wanted == Capture::Transparent).then(install).and_then(Result::ok) else {
        return Ok(Some(Prepared { capture: Capture::Explicit, listeners, rules: None }));
    };
    let socket = netlink::open(libc::NETLINK_ROUTE).on(step, "routes")?;
    // Where the kernel takes no larger packets, it is slower.
    let _ = routes::enlarge(&socket);
    routes::install(&socket, has_v6).on(step, "routes")?;
    Ok(Some(Prepared { capture: Capture::Transparent, listeners, rules: Some(rules) }))
}

/// Captures one connection in a fresh network namespace and looks whether it arrives as it must.
pub(crate) fn try_out(userns: BorrowedFd<'_>, netns: BorrowedFd<'_>) -> io::Result<()> {
    let namespaces = [(userns, libc::CLONE_NEWUSER), (netns, libc::CLONE_NEWNET)];
    let socket =
        |family, kind, protocol| inside::socket_in(&namespaces, inside::Kind { family, kind, protocol });
    let wanted = SocketAddr::from((NAME_SERVER, 443));
    let listener = socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)?;
    sys::bring_loopback_up(listener.as_fd())?;
    rustix::net::bind(&listener, &SocketAddr::from((Ipv4Addr::LOCALHOST, TCP_PORT)))?;
    rustix::net::listen(&listener, 1)?;
    rules::install(&socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_NETFILTER)?)?;
    routes::install(&socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)?, false)?;
    let client = socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)?;
    match rustix::net::connect(&client, &wanted) {
        Ok(()) => {}
        Err(Errno::INPROGRESS) => finish(&client)?,
        Err(errno) => return Err(errno.into()),
    }
    let arrived = rustix::net::accept(&listener)?;
    if original_destination(arrived.as_fd())? == wanted { Ok(()) } else { Err(Errno::PROTO.into()) }
}

/// What was refused in an app's network namespace so far. Forks a short helper.
///
/// # Errors
/// See [`LookError`]. [`LookError::NoRules`] where the capture is [`Capture::Explicit`].
pub fn refused(space: &Space, netns: BorrowedFd<'_>) -> Result<Refused, LookError> {
    read(space, netns, rules::refused)
}

/// What answers of the rules in an app's network namespace. Forks a short helper.
///
/// # Errors
/// See [`LookError`].
pub fn look(space: &Space, netns: BorrowedFd<'_>) -> Result<Rules, LookError> {
    read(space, netns, rules::look)
}

fn read<T>(
    space: &Space,
    netns: BorrowedFd<'_>,
    question: fn(&OwnedFd) -> Result<T, Errno>,
) -> Result<T, LookError> {
    question(&netlink_in(space, netns)?).map_err(look_error)
}

fn netlink_in(space: &Space, netns: BorrowedFd<'_>) -> Result<OwnedFd, LookError> {
    let kind =
        inside::Kind { family: libc::AF_NETLINK, kind: libc::SOCK_RAW, protocol: libc::NETLINK_NETFILTER };
    inside::socket(space, netns, kind).map_err(|e| LookError::Enter(e.into()))
}

fn look_error(errno: Errno) -> LookError {
    match errno {
        Errno::NOENT => LookError::NoRules,
        errno => LookError::Ask(errno.into()),
    }
}

/// The rules in an app's network namespace, looked at again and again through one socket.
#[derive(Debug)]
pub struct Watch {
    socket: OwnedFd,
    found: Option<Rules>,
}

impl Watch {
    /// Through the socket by which the rules were made.
    pub(crate) fn through(socket: OwnedFd) -> Self {
        Self { socket, found: None }
    }

    /// Of an app that another keeper launched. Forks a short helper.
    ///
    /// # Errors
    /// See [`LookError`].
    pub fn begin(space: &Space, netns: BorrowedFd<'_>) -> Result<Self, LookError> {
        netlink_in(space, netns).map(Self::through)
    }

    /// Looks: one question, as long as nothing has changed.
    ///
    /// # Errors
    /// See [`LookError`].
    pub fn look(&mut self) -> Result<Rules, LookError> {
        match self.found {
            Some(found) if rules::generation(&self.socket).map_err(look_error)? == found.generation => {
                Ok(found)
            }
            Some(_) | None => Ok(*self.found.insert(rules::look(&self.socket).map_err(look_error)?)),
        }
    }
}

/// Connects to a port inside an app's network namespace, at a loopback address. Forks a short
/// helper, and takes no longer than a few seconds.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] for an address that is not the app's own loopback, or that is
/// a listener's; otherwise the system's answer.
pub fn dial(space: &Space, netns: BorrowedFd<'_>, address: SocketAddr) -> io::Result<OwnedFd> {
    if !address.ip().is_loopback() || address.port() == TCP_PORT {
        let what = format!("{address} is not a port of the app's own");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = inside::Kind { family, kind: libc::SOCK_STREAM | libc::SOCK_NONBLOCK, protocol: 0 };
    let socket = inside::socket(space, netns, kind)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) => {}
        Err(Errno::INPROGRESS) => finish(&socket)?,
        Err(errno) => return Err(errno.into()),
    }
    let flags = rustix::fs::fcntl_getfl(&socket)?;
    rustix::fs::fcntl_setfl(&socket, flags - rustix::fs::OFlags::NONBLOCK)?;
    Ok(socket)
}

/// Waits for a connection that was begun.
fn finish(socket: &OwnedFd) -> io::Result<()> {
    let deadline = Instant::now() + DIAL_PATIENCE;
    let mut fds = [PollFd::new(socket, PollFlags::OUT)];
    loop {
        let left = sys::timespec(deadline.saturating_duration_since(Instant::now()));
        match rustix::event::poll(&mut fds, Some(&left)) {
            Ok(0) => return Err(Errno::TIMEDOUT.into()),
            Ok(_) => return Ok(rustix::net::sockopt::socket_error(socket.as_fd())??),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
