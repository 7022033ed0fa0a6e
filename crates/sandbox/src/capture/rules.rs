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

use super::netlink::{self, ACK, APPEND, Attributes, CREATE, DUMP, Messages};
use super::{DNS_PORT, Refused, Rules, SOURCE_V4, SOURCE_V6, TCP_PORT};

const TABLE: &str = "sessile";
const COUNTERS: [&str; 3] = ["refused_tcp", "refused_udp", "refused_other"];
const REFUSE: &str = "refuse";
const REDIRECT: &str = "redirect";
const OUTPUT: &str = "output";
const INPUT: &str = "input";
const FORWARD: &str = "forward";

/// Rules that are installed.
pub(super) const RULES: u32 = 3 + 6 + 9 + 1;
/// Chains that are installed.
pub(super) const CHAINS: u32 = 5;

/// Kinds of messages and attributes, of `linux/netfilter/nf_tables.h`.
mod abi {
    pub const NEW_TABLE: u8 = 0;
    pub const NEW_CHAIN: u8 = 3;
    pub const GET_CHAIN: u8 = 4;
    pub const NEW_RULE: u8 = 6;
    pub const GET_RULE: u8 = 7;
    pub const GET_GENERATION: u8 = 16;
    pub const NEW_OBJECT: u8 = 18;
    pub const GET_OBJECT: u8 = 19;

    pub const BATCH_BEGIN: u16 = 16;
    pub const BATCH_END: u16 = 17;
    pub const SUBSYSTEM: u8 = 10;

    pub const TABLE_NAME: u16 = 1;
    pub const CHAIN_TABLE: u16 = 1;
    pub const CHAIN_NAME: u16 = 3;
    pub const CHAIN_HOOK: u16 = 4;
    pub const CHAIN_POLICY: u16 = 5;
    pub const CHAIN_TYPE: u16 = 7;
    pub const HOOK_NUMBER: u16 = 1;
    pub const HOOK_PRIORITY: u16 = 2;
    pub const RULE_TABLE: u16 = 1;
    pub const RULE_CHAIN: u16 = 2;
    pub const RULE_EXPRESSIONS: u16 = 4;
    pub const LIST_ELEMENT: u16 = 1;
    pub const EXPRESSION_NAME: u16 = 1;
    pub const EXPRESSION_DATA: u16 = 2;
    pub const OBJECT_TABLE: u16 = 1;
    pub const OBJECT_NAME: u16 = 2;
    pub const OBJECT_TYPE: u16 = 3;
    pub const OBJECT_DATA: u16 = 4;
    pub const OBJECT_COUNTER: u32 = 1;
    pub const COUNTER_PACKETS: u16 = 2;
    pub const GENERATION_ID: u16 = 1;

    pub const DATA_VALUE: u16 = 1;
    pub const DATA_VERDICT: u16 = 2;
    pub const VERDICT_CODE: u16 = 1;
    pub const VERDICT_CHAIN: u16 = 2;

    pub const REGISTER_VERDICT: u32 = 0;
    pub const REGISTER: u32 = 1;

    pub const META_IIF: u32 = 4;
    pub const META_OIF: u32 = 5;
    pub const META_NFPROTO: u32 = 15;
    pub const META_L4PROTO: u32 = 16;
    pub const CT_STATUS: u32 = 2;
    pub const BASE_NETWORK: u32 = 1;
    pub const BASE_TRANSPORT: u32 = 2;
    pub const EQUAL: u32 = 0;
    pub const NOT_EQUAL: u32 = 1;
    pub const AT_LEAST: u32 = 5;
    pub const REJECT_TCP_RESET: u32 = 1;
    pub const REJECT_ICMPX: u32 = 2;
    pub const ADMIN_PROHIBITED: u8 = 3;
    pub const RANGE_PORT_GIVEN: u32 = 2;
}

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

#[derive(Clone, Copy)]
enum Verdict {
    Accept,
    Return,
    Refuse,
}

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
    batch.add(kind(abi::NEW_RULE), ACK | APPEND, &header(libc::NFPROTO_INET, 0), |a| {
        rule_within(a, INPUT, |e| {
            e.meta(abi::META_IIF, abi::EQUAL, &LO.to_ne_bytes());
            e.decide(Verdict::Accept);
        });
    });
    batch
}

/// Installs the rules in the network namespace of the socket.
pub(super) fn install(socket: &OwnedFd) -> Result<(), Errno> {
    let mut batch = batch();
    // Of the messages, the last rule asks for an answer; the end of the batch has none.
    let last = batch.last;
    batch.add(abi::BATCH_END, 0, &header(libc::AF_UNSPEC, abi::SUBSYSTEM), |_| {});
    netlink::carry_out(socket, &batch, last)
}

fn refuse(batch: &mut Messages) {
    let [tcp, udp, other] = COUNTERS;
    rule(batch, REFUSE, |e| {
        e.meta(abi::META_L4PROTO, abi::EQUAL, &[PROTO_TCP]);
        e.count(tcp);
        e.named("reject", |a| {
            a.number(1, abi::REJECT_TCP_RESET);
            a.put(2, &[0]);
        });
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
        e.named("ct", |a| {
            a.number(1, abi::REGISTER);
            a.number(2, abi::CT_STATUS);
        });
        e.mask(&STATUS_DNAT.to_ne_bytes());
        e.compare(abi::NOT_EQUAL, &[0; 4]);
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

fn kind(message: u8) -> u16 {
    u16::from(abi::SUBSYSTEM) << 8 | u16::from(message)
}

/// `struct nfgenmsg`: the resource is in network order.
fn header(family: i32, resource: u8) -> [u8; 4] {
    [family as u8, 0, 0, resource]
}

fn add(batch: &mut Messages, message: u8, flags: u16, fill: impl FnOnce(&mut Attributes<'_>)) {
    batch.add(kind(message), flags, &header(libc::NFPROTO_INET, 0), fill);
}

/// Adds a chain; a base chain has a type, a hook, a priority, and whether it lets through what
/// none of its rules decides.
fn chain(batch: &mut Messages, name: &str, base: Option<(&str, u32, i32, bool)>) {
    add(batch, abi::NEW_CHAIN, CREATE, |a| {
        a.text(abi::CHAIN_TABLE, TABLE);
        a.text(abi::CHAIN_NAME, name);
        let Some((kind, hook, priority, lets_through)) = base else { return };
        a.nested(abi::CHAIN_HOOK, |a| {
            a.number(abi::HOOK_NUMBER, hook);
            a.number(abi::HOOK_PRIORITY, priority.cast_unsigned());
        });
        a.number(abi::CHAIN_POLICY, u32::from(lets_through));
        a.text(abi::CHAIN_TYPE, kind);
    });
}

fn rule(batch: &mut Messages, chain: &str, fill: impl FnOnce(&mut Expressions<'_, '_>)) {
    add(batch, abi::NEW_RULE, APPEND, |a| rule_within(a, chain, fill));
}

fn rule_within(a: &mut Attributes<'_>, chain: &str, fill: impl FnOnce(&mut Expressions<'_, '_>)) {
    a.text(abi::RULE_TABLE, TABLE);
    a.text(abi::RULE_CHAIN, chain);
    a.nested(abi::RULE_EXPRESSIONS, |list| fill(&mut Expressions { list }));
}

/// The expressions of a rule. Each loads into one register, which the next one looks at.
struct Expressions<'a, 'b> {
    list: &'a mut Attributes<'b>,
}

impl Expressions<'_, '_> {
    fn named(&mut self, name: &str, fill: impl FnOnce(&mut Attributes<'_>)) {
        self.list.nested(abi::LIST_ELEMENT, |a| {
            a.text(abi::EXPRESSION_NAME, name);
            a.nested(abi::EXPRESSION_DATA, fill);
        });
    }

    fn meta(&mut self, key: u32, operator: u32, value: &[u8]) {
        self.named("meta", |a| {
            a.number(1, abi::REGISTER);
            a.number(2, key);
        });
        self.compare(operator, value);
    }

    fn family(&mut self, family: u8) {
        self.meta(abi::META_NFPROTO, abi::EQUAL, &[family]);
    }

    fn port(&mut self, protocol: u8, port: u16) {
        self.meta(abi::META_L4PROTO, abi::EQUAL, &[protocol]);
        self.payload(abi::BASE_TRANSPORT, 2, 2);
        self.compare(abi::EQUAL, &port.to_be_bytes());
    }

    fn destination_v4(&mut self, operator: u32, address: [u8; 4], mask: [u8; 4]) {
        self.payload(abi::BASE_NETWORK, 16, 4);
        self.mask(&mask);
        self.compare(operator, &address);
    }

    /// Compares the first bytes.
    fn destination_v6(&mut self, prefix: &[u8]) {
        self.payload(abi::BASE_NETWORK, 24, prefix.len() as u32);
        self.compare(abi::EQUAL, prefix);
    }

    fn payload(&mut self, base: u32, offset: u32, length: u32) {
        self.named("payload", |a| {
            a.number(1, abi::REGISTER);
            a.number(2, base);
            a.number(3, offset);
            a.number(4, length);
        });
    }

    fn mask(&mut self, mask: &[u8; 4]) {
        self.named("bitwise", |a| {
            a.number(1, abi::REGISTER);
            a.number(2, abi::REGISTER);
            a.number(3, 4);
            a.nested(4, |a| a.put(abi::DATA_VALUE, mask));
            a.nested(5, |a| a.put(abi::DATA_VALUE, &[0; 4]));
        });
    }

    fn compare(&mut self, operator: u32, value: &[u8]) {
        self.named("cmp", |a| {
            a.number(1, abi::REGISTER);
            a.number(2, operator);
            a.nested(3, |a| a.put(abi::DATA_VALUE, value));
        });
    }

    fn count(&mut self, counter: &str) {
        self.named("objref", |a| {
            a.number(1, abi::OBJECT_COUNTER);
            a.text(2, counter);
        });
    }

    fn reject(&mut self) {
        self.named("reject", |a| {
            a.number(1, abi::REJECT_ICMPX);
            a.put(2, &[abi::ADMIN_PROHIBITED]);
        });
    }

    fn redirect(&mut self, port: u16) {
        self.named("immediate", |a| {
            a.number(1, abi::REGISTER);
            a.nested(2, |a| a.put(abi::DATA_VALUE, &port.to_be_bytes()));
        });
        self.named("redir", |a| {
            a.number(1, abi::REGISTER);
            a.number(3, abi::RANGE_PORT_GIVEN);
        });
    }

    fn decide(&mut self, verdict: Verdict) {
        let (code, chain) = match verdict {
            Verdict::Accept => (1, None),
            Verdict::Return => (-5i32, None),
            Verdict::Refuse => (-4, Some(REFUSE)),
        };
        self.named("immediate", |a| {
            a.number(1, abi::REGISTER_VERDICT);
            a.nested(2, |a| {
                a.nested(abi::DATA_VERDICT, |a| {
                    a.number(abi::VERDICT_CODE, code.cast_unsigned());
                    if let Some(chain) = chain {
                        a.text(abi::VERDICT_CHAIN, chain);
                    }
                });
            });
        });
    }
}

/// The nfgenmsg header's length, which precedes the attributes of answers.
const ANSWER_HEADER: usize = 4;

fn each_attribute(payload: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    netlink::attributes(payload.get(ANSWER_HEADER..).unwrap_or_default())
}

fn find(payload: &[u8], wanted: u16) -> Option<&[u8]> {
    each_attribute(payload).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

fn text(value: &[u8]) -> &[u8] {
    value.strip_suffix(&[0]).unwrap_or(value)
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

/// What answers of the rules.
pub(super) fn look(socket: &OwnedFd) -> Result<Rules, Errno> {
    let mut question = Messages::default();
    add(&mut question, abi::GET_GENERATION, 0, |_| {});
    let mut generation = 0;
    netlink::ask(socket, &question, |payload| {
        let id = find(payload, abi::GENERATION_ID).and_then(|value| value.try_into().ok());
        generation = id.map_or(0, u32::from_be_bytes);
        Ok(())
    })?;
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
