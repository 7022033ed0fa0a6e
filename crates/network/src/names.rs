//! Fake addresses: what an app is told instead of a host's own, so that names reach the policy.
//!
//! IPv4 addresses come from 198.18.0.0/15 (RFC 2544, set aside for tests and routed nowhere), IPv6
//! addresses from a unique local prefix (RFC 4193). Each name has one of each, by its number. A
//! gateway's numbers begin behind those of the gateway before it: an app that still knows an address
//! of then is refused, not led to another name.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Names remembered at once; the oldest gives way.
const CAPACITY: usize = 65_536;
/// First fake IPv4 address. Those below it are the namespace's own.
const FIRST_V4: u32 = u32::from_be_bytes([198, 18, 1, 1]);
/// Addresses that there are; behind the last one comes the first again.
const ADDRESSES: u32 = u32::from_be_bytes([198, 19, 255, 255]) - FIRST_V4 + 1;
/// The prefix of fake IPv6 addresses; those with a zero before the last group are the namespace's
/// own.
const PREFIX_V6: [u16; 4] = [0xfdfe, 0xdcba, 0x5e55, 1];

/// Fake addresses of one app.
#[derive(Debug, Default)]
pub struct Names {
    numbers: HashMap<String, u64>,
    /// The oldest first.
    names: VecDeque<String>,
    /// The number of the oldest.
    first: u64,
}

impl Names {
    /// None yet; the first has this number.
    pub fn begin_at(number: u64) -> Self {
        Self { first: number, ..Self::default() }
    }

    /// The number that the next new name has.
    pub fn next(&self) -> u64 {
        self.first + self.names.len() as u64
    }

    /// The addresses of a name, in lower case and without a dot at its end; made up when it is new.
    pub fn addresses(&mut self, name: &str) -> (Ipv4Addr, Ipv6Addr) {
        let number = self.numbers.get(name).copied().unwrap_or_else(|| self.add(name));
        let place = (number % u64::from(ADDRESSES)) as u32;
        let [p0, p1, p2, p3] = PREFIX_V6;
        // The first address of a network is every router's (RFC 4291, section 2.6.1).
        let last = place + 1;
        let (high, low) = ((last >> 16) as u16, last as u16);
        (Ipv4Addr::from(FIRST_V4 + place), Ipv6Addr::new(p0, p1, p2, p3, 0, 0, high, low))
    }

    /// The name that was given this address.
    pub fn name(&self, address: IpAddr) -> Option<&str> {
        let place = match address {
            IpAddr::V4(address) => u32::from(address).checked_sub(FIRST_V4)?,
            IpAddr::V6(address) => {
                let [p0, p1, p2, p3, a, b, high, low] = address.segments();
                let last = u32::from(high) << 16 | u32::from(low);
                ([p0, p1, p2, p3] == PREFIX_V6 && (a, b) == (0, 0)).then_some(last)?.checked_sub(1)?
            }
        };
        let first = (self.first % u64::from(ADDRESSES)) as u32;
        let after = (place < ADDRESSES).then(|| (place + ADDRESSES - first) % ADDRESSES)?;
        self.names.get(after as usize).map(String::as_str)
    }

    fn add(&mut self, name: &str) -> u64 {
        if self.names.len() == CAPACITY
            && let Some(oldest) = self.names.pop_front()
        {
            self.numbers.remove(&oldest);
            self.first += 1;
        }
        let number = self.next();
        self.names.push_back(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }
}

/// Whether an address can only be a fake one, known or forgotten.
pub fn is_fake(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => matches!(address.octets(), [198, 18 | 19, _, _]),
        IpAddr::V6(address) => address.segments()[..3] == PREFIX_V6[..3],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_its_addresses_and_they_have_the_name() {
        let mut names = Names::default();
        let (a4, a6) = names.addresses("a.example");
        let b = names.addresses("b.example");
        assert_eq!(names.addresses("a.example"), (a4, a6));
        assert_ne!(b.0, a4);
        assert_eq!(names.name(a4.into()), Some("a.example"));
        assert_eq!(names.name(a6.into()), Some("a.example"));
        assert_eq!(names.name(b.1.into()), Some("b.example"));
        assert!(is_fake(a4.into()) && is_fake(a6.into()));
        for other in ["198.18.0.1", "198.19.255.255", "192.0.2.1", "fdfe:dcba:5e55:1::9:9", "::1"] {
            assert_eq!(names.name(other.parse().unwrap()), None, "{other}");
        }
    }

    #[test]
    fn the_oldest_name_gives_way_and_its_address_leads_nowhere() {
        let mut names = Names::default();
        let first = names.addresses("n0").0;
        for n in 1..=CAPACITY {
            let (v4, v6) = names.addresses(&format!("n{n}"));
            assert!(is_fake(v4.into()) && is_fake(v6.into()));
        }
        assert_eq!(names.name(first.into()), None);
        assert_eq!((names.numbers.len(), names.names.len()), (CAPACITY, CAPACITY));
        assert_ne!(names.addresses("n0").0, first);
    }

    #[test]
    fn an_address_of_the_gateway_before_leads_nowhere() {
        let mut before = Names::begin_at(u64::from(ADDRESSES) - 1);
        let (a, b) = (before.addresses("a.example"), before.addresses("b.example"));
        assert_eq!(a.0, Ipv4Addr::new(198, 19, 255, 255));
        assert_eq!(b.0, Ipv4Addr::new(198, 18, 1, 1));
        assert_eq!(
            (before.name(a.1.into()), before.name(b.0.into())),
            (Some("a.example"), Some("b.example"))
        );
        let mut names = Names::begin_at(before.next());
        let c = names.addresses("c.example");
        for old in [a.0.into(), IpAddr::from(a.1), b.0.into(), b.1.into()] {
            assert_eq!(names.name(old), None);
        }
        assert_eq!((names.name(c.0.into()), names.name(c.1.into())), (Some("c.example"), Some("c.example")));
    }
}
