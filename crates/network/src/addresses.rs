//! Which addresses are whose (RFC 6890 and its registries).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What kind of place an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Anywhere on the internet.
    Public,
    /// A private network: reachable when a rule names the host.
    Private,
    /// This host, its link (the metadata services of clouds among it), nobody or everybody:
    /// reachable only when a rule names the address.
    Near,
}

/// What kind of place an address is. One that carries an IPv4 address is judged by that.
pub fn place(address: IpAddr) -> Place {
    match address {
        IpAddr::V4(address) => place_v4(address),
        IpAddr::V6(address) => place_v6(address),
    }
}

fn place_v4(address: Ipv4Addr) -> Place {
    match address.octets() {
        // This network, loopback, link-local, protocol assignments, multicast, reserved, broadcast.
        [0 | 127, ..] | [169, 254, ..] | [192, 0, 0, _] | [224..=255, ..] => Place::Near,
        // Private, shared, documentation, tests, and the anycast relays of 6to4.
        [10, ..]
        | [172, 16..=31, ..]
        | [192, 168, ..]
        | [100, 64..=127, ..]
        | [192, 0, 2, _]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        | [198, 18..=19, ..]
        | [192, 88, 99, _] => Place::Private,
        _ => Place::Public,
    }
}

fn place_v6(address: Ipv6Addr) -> Place {
    let segments = address.segments();
    let carried = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        place_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        // Unspecified and loopback.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Place::Near,
        // IPv4-mapped, IPv4-compatible and IPv4-translated.
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => carried(high, low),
        // NAT64 (RFC 6052), also with a local prefix (RFC 8215).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => carried(high, low),
        [0x64, 0xff9b, 1, ..] => Place::Private,
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => carried(high, low),
        // Teredo, documentation, and what is for special purposes or discarded.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] | [0x100, 0, 0, ..] => {
            Place::Private
        }
        // Unique local, and site-local as it once was.
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Place::Private,
        // Link-local and multicast.
        [0xfe80..=0xfebf, ..] | [0xff00..=0xffff, ..] => Place::Near,
        // Global unicast is 2000::/3; the rest is not assigned.
        [0x2000..=0x3fff, ..] => Place::Public,
        _ => Place::Private,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart_whatever_carries_them() {
        for (address, expected) in [
            ("192.0.34.1", Place::Public),
            ("8.8.8.8", Place::Public),
            ("2606:4700::1", Place::Public),
            ("64:ff9b::808:808", Place::Public),
            ("2002:808:808::1", Place::Public),
            ("10.1.2.3", Place::Private),
            ("172.31.0.1", Place::Private),
            ("172.32.0.1", Place::Public),
            ("192.168.1.1", Place::Private),
            ("100.64.0.1", Place::Private),
            ("198.18.0.1", Place::Private),
            ("fd00::1", Place::Private),
            ("::ffff:10.0.0.1", Place::Private),
            ("127.0.0.1", Place::Near),
            ("127.8.8.8", Place::Near),
            ("0.0.0.0", Place::Near),
            ("169.254.169.254", Place::Near),
            ("224.0.0.251", Place::Near),
            ("255.255.255.255", Place::Near),
            ("::", Place::Near),
            ("::1", Place::Near),
            ("::ffff:127.0.0.1", Place::Near),
            ("::127.0.0.1", Place::Near),
            ("::ffff:0:127.0.0.1", Place::Near),
            ("::ffff:169.254.169.254", Place::Near),
            ("64:ff9b::7f00:1", Place::Near),
            ("2002:a9fe:a9fe::", Place::Near),
            ("fe80::1", Place::Near),
            ("fd00:ec2::254", Place::Private),
            ("ff02::fb", Place::Near),
        ] {
            assert_eq!(place(address.parse().unwrap()), expected, "{address}");
        }
    }
}
