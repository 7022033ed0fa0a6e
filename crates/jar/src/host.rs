//! Hosts and their sites: canonical names, domain match, public suffixes.

use core::net::{Ipv4Addr, Ipv6Addr};
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest host name, in octets, without a trailing dot. A label has 1 to 63 (RFC 1035, section
/// 2.3.4).
const LONGEST_NAME: usize = 253;
/// Longest text that is looked at; a name in Unicode may shorten.
const LONGEST_TEXT: usize = 1_024;

/// Why a text names no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("this names no host")]
pub struct InvalidHost;

/// A canonical host (RFC 6265bis, section 5.1.2): a name in lower case with A-labels, an IPv4
/// address in dotted decimal, or an IPv6 address in brackets. A trailing dot is part of a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Host(String);

impl Host {
    /// Canonicalises a host: a name in any case or script, or an address.
    ///
    /// # Errors
    /// When a label is empty or too long, it is not IDNA, or looks like an address and is none.
    pub fn parse(text: &str) -> Result<Self, InvalidHost> {
        if text.is_empty() || text.len() > LONGEST_TEXT {
            return Err(InvalidHost);
        }
        if let Some(inner) = text.strip_prefix('[') {
            let address: Ipv6Addr =
                inner.strip_suffix(']').ok_or(InvalidHost)?.parse().map_err(|_| InvalidHost)?;
            return Ok(Self(format!("[{address}]")));
        }
        let name = idna::domain_to_ascii_cow(text.as_bytes(), idna::AsciiDenyList::URL)
            .map_err(|_| InvalidHost)?
            .into_owned();
        let bare = without_dot(&name);
        if bare.len() > LONGEST_NAME || bare.split('.').any(|label| label.is_empty() || label.len() > 63) {
            return Err(InvalidHost);
        }
        if ends_in_number(bare) {
            let address: Ipv4Addr = bare.parse().map_err(|_| InvalidHost)?;
            return Ok(Self(address.to_string()));
        }
        Ok(Self(name))
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is an address and not a name.
    pub fn is_address(&self) -> bool {
        self.0.starts_with('[') || ends_in_number(&self.0)
    }

    /// Whether it domain-matches (section 5.1.3): it is `domain`, or a name below it.
    pub fn is_within(&self, domain: &str) -> bool {
        self.0 == domain
            || !domain.is_empty()
                && !self.is_address()
                && self.0.strip_suffix(domain).is_some_and(|above| above.ends_with('.'))
    }

    /// The name one level below its public suffix; itself for an address or a public suffix.
    pub fn registrable(&self) -> &str {
        if self.is_address() {
            return &self.0;
        }
        let bare = without_dot(&self.0);
        match psl::domain_str(bare) {
            Some(domain) => &self.0[bare.len() - domain.len()..],
            None => &self.0,
        }
    }

    /// A domain that this host is known to be within.
    pub(crate) fn ancestor(&self, domain: &str) -> Option<Self> {
        self.is_within(domain).then(|| Self(domain.to_owned()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Host {
    type Error = InvalidHost;

    fn try_from(text: String) -> Result<Self, InvalidHost> {
        Self::parse(&text)
    }
}

impl From<Host> for String {
    fn from(host: Host) -> Self {
        host.0
    }
}

/// Whether names below `domain` belong to different parties (section 5.7, "public suffixes").
/// Every top-level name does, also those that the list does not know.
pub(crate) fn is_public_suffix(domain: &str) -> bool {
    let bare = without_dot(domain);
    let address = domain.starts_with('[') || ends_in_number(bare);
    !address && !bare.is_empty() && psl::suffix_str(bare).is_none_or(|suffix| suffix.len() == bare.len())
}

fn without_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// Whether the last label is a number, so that the whole can only be an IPv4 address.
fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let hexadecimal = last
        .strip_prefix("0x")
        .or_else(|| last.strip_prefix("0X"))
        .is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    hexadecimal || !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Host {
        Host::parse(text).unwrap()
    }

    #[test]
    fn hosts_are_canonical() {
        for (text, canonical) in [
            ("hoMe.eXaMplE.org", "home.example.org"),
            ("home.example.org.", "home.example.org."),
            ("élève.example", "xn--lve-6lad.example"),
            ("ÉLÈVE.example", "xn--lve-6lad.example"),
            ("xn--lve-6lad.example", "xn--lve-6lad.example"),
            ("under_score.example", "under_score.example"),
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1.", "127.0.0.1"),
            ("[0:0::1]", "[::1]"),
        ] {
            assert_eq!(host(text).as_str(), canonical);
        }
        let long = format!("{}example", "a.".repeat(200));
        let label = format!("{}.org", "a".repeat(64));
        for text in [
            "",
            ".",
            "a..org",
            ".org",
            "org..",
            &label,
            "a b",
            "a/b",
            "a%2eb",
            "1.2.3",
            "0x7f.1",
            "[::1",
            "::1",
            "xn--zzzzzz--",
            &long,
        ] {
            assert_eq!(Host::parse(text), Err(InvalidHost), "{text}");
        }
    }

    #[test]
    fn a_host_is_within_itself_and_what_is_above() {
        let deep = host("a.b.example.org");
        for domain in ["a.b.example.org", "b.example.org", "example.org", "org"] {
            assert!(deep.is_within(domain), "{domain}");
        }
        for domain in ["", ".", "rg", "xample.org", ".example.org", "example.org.", "c.a.b.example.org"] {
            assert!(!deep.is_within(domain), "{domain}");
        }
        assert!(host("10.0.0.1").is_within("10.0.0.1"));
        assert!(!host("10.0.0.1").is_within("0.0.1"));
        assert!(!host("[::1]").is_within("1]"));
    }

    #[test]
    fn public_suffixes_are_known() {
        for domain in ["org", "co.uk", "github.io", "xn--p1ai", "org.", "unknown", "foo.ck", "localhost"] {
            assert!(is_public_suffix(domain), "{domain}");
        }
        for domain in ["example.org", "example.co.uk", "www.ck", "1.2.3.4", "[::1]", "", "a.unknown"] {
            assert!(!is_public_suffix(domain), "{domain}");
        }
    }

    #[test]
    fn sites_are_one_level_below() {
        for (text, registrable) in [
            ("a.b.example.org", "example.org"),
            ("a.example.org.", "example.org."),
            ("a.example.co.uk", "example.co.uk"),
            ("me.github.io", "me.github.io"),
            ("github.io", "github.io"),
            ("localhost", "localhost"),
            ("10.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(host(text).registrable(), registrable);
        }
    }
}
