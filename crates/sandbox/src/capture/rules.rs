//! The nf_tables rules of a captured network, in one batch, and what they counted.
//!
//! ```text
//! table inet sessile {
//!     counter refused_tcp {} counter refused_udp {} counter refused_other {}
//!     chain refuse {
//!         meta l4proto tcp counter name refused_tcp reject with tcp reset
//!         meta l4proto udp counter name refused_udp reject with icmpx admin-prohibited
//!         counter name refused_other reject with icmpx admin-prohibited
//!     }
//!     chain redirect { type nat hook output priority dstnat
//!         ip daddr 127.0.0.0/8 return
//!         ip6 daddr ::1 return
//!         ip daddr >= 224.0.0.0 return
//!         ip6 daddr ff00::/8 return
//!         meta l4proto tcp redirect to :TCP_PORT
//!         udp dport 53 redirect to :DNS_PORT
//!     }
//!     chain output { type filter hook output priority filter; policy drop
//!         meta oif != lo goto refuse
//!         ct status dnat accept
//!         tcp dport TCP_PORT goto refuse
//!         udp dport DNS_PORT goto refuse
//!         ip daddr 127.0.0.0/8 accept
//!         ip6 daddr ::1 accept
//!         ip daddr SOURCE_V4 accept
//!         ip6 daddr SOURCE_V6 accept
//!         goto refuse
//!     }
//!     chain input { type filter hook input priority filter; policy drop
//!         meta iif lo accept
//!     }
//!     chain forward { type filter hook forward priority filter; policy drop }
//! }
//! ```
//!
//! What is refused never becomes a connection of the tracker's. Packets reach `output` whole:
//! they are cut into fragments after it. What goes to the namespace's own addresses is the app's
//! own too: among it the kernel's word that something was refused.

use std::net::Ipv6Addr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::netlink::{self, CREATE, DUMP, Messages};
use super::nftables::{REFUSE, TABLE, Verdict, abi, add, chain, find, header, rule, text};
use super::{DNS_PORT, Refused, Rules, SOURCE_V4, SOURCE_V6, TCP_PORT};

const COUNTERS: [&str; 3] = ["refused_tcp", "refused_udp", "refused_other"];
const REDIRECT: &str = "redirect";
const OUTPUT: &str = "output";
const INPUT: &str = "input";
const FORWARD: &str = "forward";

/// Rules that are installed.
pub(super) const RULES: u32 = 3 + 6 + 9 + 1;
/// Chains that are installed.
pub(super) const CHAINS: u32 = 5;

const HOOK_INPUT: u32 = 1;
const HOOK_FORWARD: u32 = 2;
const HOOK_OUTPUT: u32 = 3;
const PRIORITY_DSTNAT: i32 = -100;
const PRIORITY_FILTER: i32 = 0;

/// `IPS_DST_NAT` of `linux/netfilter/nf_conntrack_common.h`.
const STATUS_DNAT: u32 = 1 << 5;
/// The loopback device's number in every network namespace.
const LO: u32 = 1;

const PROTO_TCP: u8 = libc::IPPROTO_TCP as u8;
const PROTO_UDP: u8 = libc::IPPROTO_UDP as u8;
const V4: u8 = libc::AF_INET as u8;
const V6: u8 = libc::AF_INET6 as u8;

/// The rules as one batch: all of it or nothing.
pub(super) fn batch() -> Messages {
    let mut batch = Messages::default();
    batch.add(abi::BATCH_BEGIN, 0, &header(libc::AF_UNSPEC, abi::SUBSYSTEM), |_| {});
    add(&mut batch, abi::NEW_TABLE, CREATE, |a| a.text(abi::TABLE_NAME, TABLE));
    for name in COUNTERS {
        add(&mut batch, abi::NEW_OBJECT, CREATE, |a| {
            a.text(abi::OBJECT_TABLE, TABLE);
            a.text(abi::OBJECT_NAME, name);
            a.number(abi::OBJECT_TYPE, abi::OBJECT_COUNTER);
            a.nested(abi::OBJECT_DATA, |_| {});
        });
    }
    chain(&mut batch, REFUSE, None);
    chain(&mut batch, REDIRECT, Some(("nat", HOOK_OUTPUT, PRIORITY_DSTNAT, true)));
    chain(&mut batch, OUTPUT, Some(("filter", HOOK_OUTPUT, PRIORITY_FILTER, false)));
    chain(&mut batch, INPUT, Some(("filter", HOOK_INPUT, PRIORITY_FILTER, false)));
    chain(&mut batch, FORWARD, Some(("filter", HOOK_FORWARD, PRIORITY_FILTER, false)));
    refuse(&mut batch);
    redirect(&mut batch);
    output(&mut batch);
    rule(&mut batch, INPUT, |e| {
        e.meta(abi::META_IIF, abi::EQUAL, &LO.to_ne_bytes());
        e.decide(Verdict::Accept);
    });
    batch
}

/// Installs the rules in the network namespace of the socket.
pub(super) fn install(socket: &OwnedFd) -> Result<(), Errno> {
    let mut batch = batch();
    // The last rule answers; the end of the batch does not.
    let last = batch.last;
    batch.add(abi::BATCH_END, 0, &header(libc::AF_UNSPEC, abi::SUBSYSTEM), |_| {});
    netlink::carry_out(socket, &batch, last)
}

fn refuse(batch: &mut Messages) {
    let [tcp, udp, other] = COUNTERS;
    rule(batch, REFUSE, |e| {
        e.meta(abi::META_L4PROTO, abi::EQUAL, &[PROTO_TCP]);
        e.count(tcp);
        e.reset();
    });
    rule(batch, REFUSE, |e| {
        e.meta(abi::META_L4PROTO, abi::EQUAL, &[PROTO_UDP]);
        e.count(udp);
        e.reject();
    });
    rule(batch, REFUSE, |e| {
        e.count(other);
        e.reject();
    });
}

fn redirect(batch: &mut Messages) {
    own_loopback(batch, REDIRECT, Verdict::Return);
    rule(batch, REDIRECT, |e| {
        e.family(V4);
        e.destination_v4(abi::AT_LEAST, [224, 0, 0, 0], [255; 4]);
        e.decide(Verdict::Return);
    });
    rule(batch, REDIRECT, |e| {
        e.family(V6);
        e.destination_v6(&[0xff]);
        e.decide(Verdict::Return);
    });
    rule(batch, REDIRECT, |e| {
        e.meta(abi::META_L4PROTO, abi::EQUAL, &[PROTO_TCP]);
        e.redirect(TCP_PORT);
    });
    rule(batch, REDIRECT, |e| {
        e.port(PROTO_UDP, 53);
        e.redirect(DNS_PORT);
    });
}

fn output(batch: &mut Messages) {
    rule(batch, OUTPUT, |e| {
        e.meta(abi::META_OIF, abi::NOT_EQUAL, &LO.to_ne_bytes());
        e.decide(Verdict::Refuse);
    });
    rule(batch, OUTPUT, |e| {
        e.connection_has(STATUS_DNAT);
        e.decide(Verdict::Accept);
    });
    for (protocol, port) in [(PROTO_TCP, TCP_PORT), (PROTO_UDP, DNS_PORT)] {
        rule(batch, OUTPUT, |e| {
            e.port(protocol, port);
            e.decide(Verdict::Refuse);
        });
    }
    own_loopback(batch, OUTPUT, Verdict::Accept);
    rule(batch, OUTPUT, |e| {
        e.family(V4);
        e.destination_v4(abi::EQUAL, SOURCE_V4.octets(), [255; 4]);
        e.decide(Verdict::Accept);
    });
    rule(batch, OUTPUT, |e| {
        e.family(V6);
        e.destination_v6(&SOURCE_V6.octets());
        e.decide(Verdict::Accept);
    });
    rule(batch, OUTPUT, |e| e.decide(Verdict::Refuse));
}

/// Two rules for what an app sends to itself.
fn own_loopback(batch: &mut Messages, chain: &str, verdict: Verdict) {
    rule(batch, chain, |e| {
        e.family(V4);
        e.destination_v4(abi::EQUAL, [127, 0, 0, 0], [255, 0, 0, 0]);
        e.decide(verdict);
    });
    rule(batch, chain, |e| {
        e.family(V6);
        e.destination_v6(&Ipv6Addr::LOCALHOST.octets());
        e.decide(verdict);
    });
}

/// What was refused so far.
///
/// # Errors
/// `ENOENT` where the rules are not installed.
pub(super) fn refused(socket: &OwnedFd) -> Result<Refused, Errno> {
    let mut question = Messages::default();
    add(&mut question, abi::GET_OBJECT, DUMP, |a| {
        a.text(abi::OBJECT_TABLE, TABLE);
        a.number(abi::OBJECT_TYPE, abi::OBJECT_COUNTER);
    });
    let mut counts = [None; 3];
    netlink::ask(socket, &question, |payload| {
        let name = find(payload, abi::OBJECT_NAME).map(text);
        let data = find(payload, abi::OBJECT_DATA).unwrap_or_default();
        let packets = netlink::attributes(data)
            .find(|(kind, _)| *kind == abi::COUNTER_PACKETS)
            .and_then(|(_, value)| value.try_into().ok())
            .map(u64::from_be_bytes);
        for (counter, count) in COUNTERS.iter().zip(&mut counts) {
            if name == Some(counter.as_bytes()) {
                *count = packets;
            }
        }
        Ok(())
    })?;
    match counts {
        [Some(tcp), Some(udp), Some(other)] => Ok(Refused { tcp, udp, other }),
        _ => Err(Errno::NOENT),
    }
}

/// A number that changes with every change of the rules.
pub(super) fn generation(socket: &OwnedFd) -> Result<u32, Errno> {
    let mut question = Messages::default();
    add(&mut question, abi::GET_GENERATION, 0, |_| {});
    let mut generation = 0;
    netlink::ask(socket, &question, |payload| {
        let id = find(payload, abi::GENERATION_ID).and_then(|value| value.try_into().ok());
        generation = id.map_or(0, u32::from_be_bytes);
        Ok(())
    })?;
    Ok(generation)
}

/// What answers of the rules.
pub(super) fn look(socket: &OwnedFd) -> Result<Rules, Errno> {
    let generation = generation(socket)?;
    let count = |message: u8, table: u16| {
        let mut question = Messages::default();
        add(&mut question, message, DUMP, |_| {});
        let mut count = 0;
        netlink::ask(socket, &question, |payload| {
            if find(payload, table).map(text) == Some(TABLE.as_bytes()) {
                count += 1;
            }
            Ok(())
        })?;
        Ok::<u32, Errno>(count)
    };
    let chains = count(abi::GET_CHAIN, abi::CHAIN_TABLE)?;
    let rules = count(abi::GET_RULE, abi::RULE_TABLE)?;
    Ok(Rules { generation, chains, rules })
}
