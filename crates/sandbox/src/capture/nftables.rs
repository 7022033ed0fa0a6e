//! Messages of nf_tables: tables, counters, chains, and rules made of expressions.

use super::netlink::{self, ACK, APPEND, Attributes, CREATE, Messages};

/// The one table.
pub const TABLE: &str = "sessile";
/// The chain that refuses.
pub const REFUSE: &str = "refuse";

/// Kinds of messages and attributes, of `linux/netfilter/nf_tables.h`.
pub mod abi {
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

/// What becomes of a packet.
#[derive(Clone, Copy)]
pub enum Verdict {
    Accept,
    Return,
    Refuse,
}

pub fn kind(message: u8) -> u16 {
    u16::from(abi::SUBSYSTEM) << 8 | u16::from(message)
}

/// `struct nfgenmsg`: the resource is in network order.
pub fn header(family: i32, resource: u8) -> [u8; 4] {
    [family as u8, 0, 0, resource]
}

/// Adds a message about the table's family.
pub fn add(batch: &mut Messages, message: u8, flags: u16, fill: impl FnOnce(&mut Attributes<'_>)) {
    batch.add(kind(message), flags, &header(libc::NFPROTO_INET, 0), fill);
}

/// Adds a chain; a base chain has a type, a hook, a priority, and whether it lets through what
/// none of its rules decides.
pub fn chain(batch: &mut Messages, name: &str, base: Option<(&str, u32, i32, bool)>) {
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

/// Adds a rule at the end of a chain.
pub fn rule(batch: &mut Messages, chain: &str, fill: impl FnOnce(&mut Expressions<'_, '_>)) {
    add(batch, abi::NEW_RULE, ACK | APPEND, |a| {
        a.text(abi::RULE_TABLE, TABLE);
        a.text(abi::RULE_CHAIN, chain);
        a.nested(abi::RULE_EXPRESSIONS, |list| fill(&mut Expressions { list }));
    });
}

/// The expressions of a rule. Each loads into one register, which the next one looks at. The
/// numbers of their attributes count from 1 in the order of the header's `enum nft_*_attributes`.
pub struct Expressions<'a, 'b> {
    list: &'a mut Attributes<'b>,
}

impl Expressions<'_, '_> {
    fn named(&mut self, name: &str, fill: impl FnOnce(&mut Attributes<'_>)) {
        self.list.nested(abi::LIST_ELEMENT, |a| {
            a.text(abi::EXPRESSION_NAME, name);
            a.nested(abi::EXPRESSION_DATA, fill);
        });
    }

    pub fn meta(&mut self, key: u32, operator: u32, value: &[u8]) {
        self.named("meta", |a| {
            a.number(1, abi::REGISTER);
            a.number(2, key);
        });
        self.compare(operator, value);
    }

    pub fn family(&mut self, family: u8) {
        self.meta(abi::META_NFPROTO, abi::EQUAL, &[family]);
    }

    pub fn port(&mut self, protocol: u8, port: u16) {
        self.meta(abi::META_L4PROTO, abi::EQUAL, &[protocol]);
        self.payload(abi::BASE_TRANSPORT, 2, 2);
        self.compare(abi::EQUAL, &port.to_be_bytes());
    }

    pub fn destination_v4(&mut self, operator: u32, address: [u8; 4], mask: [u8; 4]) {
        self.payload(abi::BASE_NETWORK, 16, 4);
        self.mask(&mask);
        self.compare(operator, &address);
    }

    /// Compares the first bytes.
    pub fn destination_v6(&mut self, prefix: &[u8]) {
        self.payload(abi::BASE_NETWORK, 24, prefix.len() as u32);
        self.compare(abi::EQUAL, prefix);
    }

    pub fn payload(&mut self, base: u32, offset: u32, length: u32) {
        self.named("payload", |a| {
            a.number(1, abi::REGISTER);
            a.number(2, base);
            a.number(3, offset);
            a.number(4, length);
        });
    }

    pub fn mask(&mut self, mask: &[u8; 4]) {
        self.named("bitwise", |a| {
            a.number(1, abi::REGISTER);
            a.number(2, abi::REGISTER);
            a.number(3, 4);
            a.nested(4, |a| a.put(abi::DATA_VALUE, mask));
            a.nested(5, |a| a.put(abi::DATA_VALUE, &[0; 4]));
        });
    }

    pub fn compare(&mut self, operator: u32, value: &[u8]) {
        self.named("cmp", |a| {
            a.number(1, abi::REGISTER);
            a.number(2, operator);
            a.nested(3, |a| a.put(abi::DATA_VALUE, value));
        });
    }

    pub fn count(&mut self, counter: &str) {
        self.named("objref", |a| {
            a.number(1, abi::OBJECT_COUNTER);
            a.text(2, counter);
        });
    }

    /// Looks for a bit of the connection's status.
    pub fn connection_has(&mut self, status: u32) {
        self.named("ct", |a| {
            a.number(1, abi::REGISTER);
            a.number(2, abi::CT_STATUS);
        });
        self.mask(&status.to_ne_bytes());
        self.compare(abi::NOT_EQUAL, &[0; 4]);
    }

    pub fn reset(&mut self) {
        self.named("reject", |a| {
            a.number(1, abi::REJECT_TCP_RESET);
            a.put(2, &[0]);
        });
    }

    pub fn reject(&mut self) {
        self.named("reject", |a| {
            a.number(1, abi::REJECT_ICMPX);
            a.put(2, &[abi::ADMIN_PROHIBITED]);
        });
    }

    pub fn redirect(&mut self, port: u16) {
        self.named("immediate", |a| {
            a.number(1, abi::REGISTER);
            a.nested(2, |a| a.put(abi::DATA_VALUE, &port.to_be_bytes()));
        });
        self.named("redir", |a| {
            a.number(1, abi::REGISTER);
            a.number(3, abi::RANGE_PORT_GIVEN);
        });
    }

    pub fn decide(&mut self, verdict: Verdict) {
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

/// The value of an attribute of an answer.
pub fn find(payload: &[u8], wanted: u16) -> Option<&[u8]> {
    each_attribute(payload).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

/// A text's bytes, without the NUL at its end.
pub fn text(value: &[u8]) -> &[u8] {
    value.strip_suffix(&[0]).unwrap_or(value)
}
