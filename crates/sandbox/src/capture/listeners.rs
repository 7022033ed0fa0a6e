//! Where what an app sends arrives, and where it was sent to.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with};
use thiserror::Error;

use super::{DNS_PORT, TCP_PORT};
use crate::sys;

/// Connections that may wait to be accepted, up to the kernel's own limit.
const BACKLOG: i32 = 4096;

/// Takes the place of `::1` where the kernel has no version 6: nothing arrives there.
const STAND_IN: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);

/// Sockets in the app's network namespace, version 4 before version 6. None of them blocks.
#[derive(Debug)]
pub struct Listeners {
    /// Listen at [`TCP_PORT`]; what is accepted has an
    /// [`original_destination`](super::original_destination).
    pub tcp: [OwnedFd; 2],
    /// Receive what was sent to port 53 by UDP, bound to [`DNS_PORT`]. An answer seems to come
    /// from the server that was asked.
    pub dns: [OwnedFd; 2],
}

/// A connection that came to a listener by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the connection was not redirected: it was made to the listener itself")]
pub struct NotRedirected;

/// Makes the listeners, and says whether the kernel has version 6 here.
pub(super) fn make() -> Result<(Listeners, bool), Errno> {
    let v4 = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let tcp = make_one(v4, SocketType::STREAM)?;
    let dns = make_one(v4, SocketType::DGRAM)?;
    let (tcp_v6, dns_v6, has_v6) = match make_one(v6, SocketType::STREAM) {
        Ok(tcp) => (tcp, make_one(v6, SocketType::DGRAM)?, true),
        Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) => {
            let stand_in = IpAddr::V4(STAND_IN);
            (make_one(stand_in, SocketType::STREAM)?, make_one(stand_in, SocketType::DGRAM)?, false)
        }
        Err(errno) => return Err(errno),
    };
    Ok((Listeners { tcp: [tcp, tcp_v6], dns: [dns, dns_v6] }, has_v6))
}

fn make_one(address: IpAddr, kind: SocketType) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    let port = if kind == SocketType::STREAM { TCP_PORT } else { DNS_PORT };
    bind(&socket, &SocketAddr::new(address, port))?;
    if kind == SocketType::STREAM {
        listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}

/// Where an accepted connection was going before it was redirected.
///
/// # Errors
/// With [`NotRedirected`] as its source when the connection was made to the listener itself;
/// otherwise the system's answer.
pub fn original_destination(connection: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let local: SocketAddr = getsockname(connection)?.try_into()?;
    let original = match local {
        SocketAddr::V4(_) => original_v4(connection),
        SocketAddr::V6(_) => original_v6(connection),
    };
    match original {
        Ok(original) if original != local => Ok(original),
        // The tracker does not know it, or is not there.
        Ok(_) | Err(Errno::NOENT | Errno::NOPROTOOPT) => {
            Err(io::Error::new(io::ErrorKind::AddrNotAvailable, NotRedirected))
        }
        Err(errno) => Err(errno.into()),
    }
}

fn original_v4(connection: BorrowedFd<'_>) -> Result<SocketAddr, Errno> {
    // SAFETY: all-zero bytes are a valid `sockaddr_in`.
    let mut address: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    read_option(connection, libc::SOL_IP, libc::SO_ORIGINAL_DST, &mut address)?;
    let ip = Ipv4Addr::from(address.sin_addr.s_addr.to_ne_bytes());
    Ok(SocketAddrV4::new(ip, u16::from_be(address.sin_port)).into())
}

fn original_v6(connection: BorrowedFd<'_>) -> Result<SocketAddr, Errno> {
    // SAFETY: all-zero bytes are a valid `sockaddr_in6`.
    let mut address: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
    read_option(connection, libc::SOL_IPV6, libc::IP6T_SO_ORIGINAL_DST, &mut address)?;
    let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
    Ok(SocketAddrV6::new(ip, u16::from_be(address.sin6_port), 0, 0).into())
}

/// Reads a socket option that fills `value`, which is plain data.
fn read_option<T>(socket: BorrowedFd<'_>, level: i32, option: i32, value: &mut T) -> Result<(), Errno> {
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the value is plain data of the length that is passed, and outlives the call. rustix
    // has no wrapper for these two options.
    let rc = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            std::ptr::from_mut(value).cast(),
            &raw mut length,
        )
    };
    if rc == 0 { Ok(()) } else { Err(sys::last_errno()) }
}
