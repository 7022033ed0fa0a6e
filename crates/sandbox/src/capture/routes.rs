//! Addresses and routes on the loopback device, by rtnetlink(7).
//!
//! With them every address can be connected to: the packets leave on `lo`, where the rules take
//! them. What leaves on `lo` the kernel delivers to the namespace itself, whatever its address:
//! should a rule let something through, or all of them be gone, the app speaks to itself.
//!
//! Version 4 has an ordinary default route, which makes no address the app's own to bind to.
//! Version 6 turns such a route by `lo` into a refusal, so its default route is of the kind that
//! delivers locally; to bind to an address takes more than that there.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::netlink::{self, ACK, CREATE, Messages};
use super::{SOURCE_V4, SOURCE_V6};

/// The loopback device's number in every network namespace.
const LO: u32 = 1;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
/// Used at once: nobody else could have it.
const IFA_F_NODAD: u32 = 2;
const IFLA_GSO_MAX_SIZE: u16 = 41;
const IFLA_GSO_IPV4_MAX_SIZE: u16 = 63;
/// Most bytes that the loopback device takes as one packet: what kernels from 5.19 on (version 4: 6.3) let it.
const LARGEST_PACKET: u32 = 8 * 65_535;
const RTA_OIF: u16 = 4;
const RTA_PREFSRC: u16 = 7;

/// Lets the loopback device take large pieces of a stream as one packet, so that rules and wakes cost less for each byte.
pub(super) fn enlarge(socket: &OwnedFd) -> Result<(), Errno> {
    let mut messages = Messages::default();
    // `struct ifinfomsg`: family, type, device, flags, and which of them change.
    let mut header = vec![0; 4];
    header.extend(LO.to_ne_bytes());
    header.extend([0; 8]);
    messages.add(libc::RTM_NEWLINK, ACK, &header, |a| {
        for kind in [IFLA_GSO_MAX_SIZE, IFLA_GSO_IPV4_MAX_SIZE] {
            a.put(kind, &LARGEST_PACKET.to_ne_bytes());
        }
    });
    let last = messages.last;
    netlink::carry_out(socket, &messages, last)
}

/// Gives the loopback device its addresses and default routes.
pub(super) fn install(socket: &OwnedFd, with_v6: bool) -> Result<(), Errno> {
    let mut messages = Messages::default();
    let v4 = SOURCE_V4.octets();
    address(&mut messages, libc::AF_INET, &v4);
    route(&mut messages, libc::AF_INET, libc::RTN_UNICAST, &v4);
    if with_v6 {
        let v6 = SOURCE_V6.octets();
        address(&mut messages, libc::AF_INET6, &v6);
        route(&mut messages, libc::AF_INET6, libc::RTN_LOCAL, &v6);
    }
    let last = messages.last;
    netlink::carry_out(socket, &messages, last)
}

fn address(messages: &mut Messages, family: i32, address: &[u8]) {
    let bits = (address.len() * 8) as u8;
    // `struct ifaddrmsg`: family, prefix, flags, scope (0 is global), device.
    let mut header = vec![family as u8, bits, 0, 0];
    header.extend(LO.to_ne_bytes());
    messages.add(libc::RTM_NEWADDR, ACK | CREATE, &header, |a| {
        a.put(IFA_LOCAL, address);
        a.put(IFA_ADDRESS, address);
        a.put(IFA_FLAGS, &IFA_F_NODAD.to_ne_bytes());
    });
}

fn route(messages: &mut Messages, family: i32, kind: u8, source: &[u8]) {
    let scope = if kind == libc::RTN_UNICAST { libc::RT_SCOPE_LINK } else { libc::RT_SCOPE_UNIVERSE };
    // `struct rtmsg`: family, lengths of destination and source, type of service, table, protocol,
    // scope, kind, flags.
    let header = [family as u8, 0, 0, 0, libc::RT_TABLE_MAIN, libc::RTPROT_STATIC, scope, kind, 0, 0, 0, 0];
    messages.add(libc::RTM_NEWROUTE, ACK | CREATE, &header, |a| {
        a.put(RTA_OIF, &LO.to_ne_bytes());
        a.put(RTA_PREFSRC, source);
    });
}
