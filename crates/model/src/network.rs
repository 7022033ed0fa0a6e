//! Where a session's packets may go: its route, and rules by host name.

use core::net::IpAddr;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use zeroize::Zeroize;

use crate::quantity::ByteSize;
use crate::tor::TorEntry;

/// The name that stands for the host's own loopback, where a rule allows it.
pub const HOST_NAME: &str = "host.sessile";
/// Longest host name, in bytes (RFC 1035, section 2.3.4).
const MAX_HOST: usize = 253;
/// Where systems keep the certificates that they trust, in PEM; the first that is there counts.
pub const TRUST_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Most bytes of [`Network::upstream_ca`].
pub const MAX_UPSTREAM_CA: usize = 16 << 10;
/// Most rules of a session.
pub const MAX_RULES: usize = 4096;
/// Most policies of a session.
pub const MAX_POLICIES: usize = 1000;
/// Most bytes of a session's policies.
pub const MAX_POLICY_BYTES: usize = 256 << 10;

/// The way by which a session's packets leave.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Route {
    /// There is none: a session reaches only itself.
    None,
    /// From this host's own addresses.
    #[default]
    Direct,
    /// By a tor process of the session's own.
    Tor,
    /// By a SOCKS5 proxy (RFC 1928).
    Socks5 {
        /// The proxy's name or address.
        host: String,
        /// Its port.
        port: u16,
    },
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Direct => f.write_str("direct"),
            Self::Tor => f.write_str("tor"),
            Self::Socks5 { host, port } if host.contains(':') => write!(f, "socks5://[{host}]:{port}"),
            Self::Socks5 { host, port } => write!(f, "socks5://{host}:{port}"),
        }
    }
}

/// Why a word is not a route or a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidNetwork {
    /// Not one of the routes.
    #[error("not a route (none, direct, tor, or socks5://HOST:PORT)")]
    Route,
    /// Credentials stand in it.
    #[error("credentials do not belong on a command line; name a file or a variable that holds them")]
    Credentials,
    /// Not a user and a password.
    #[error("not credentials (USER:PASSWORD, each of 1 to 255 bytes)")]
    NoCredentials,
    /// Not a host, pattern or address with an optional port.
    #[error(
        "not a host (api.example.com, '*.example.org', 192.0.2.1 or [2001:db8::1], with or without :PORT)"
    )]
    Target,
}

impl FromStr for Route {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        match text {
            "none" => return Ok(Self::None),
            "direct" => return Ok(Self::Direct),
            "tor" => return Ok(Self::Tor),
            _ => {}
        }
        // A scheme's case means nothing (RFC 3986, section 3.1).
        let (scheme, rest) = text.split_once("://").ok_or(InvalidNetwork::Route)?;
        if !scheme.eq_ignore_ascii_case("socks5") {
            return Err(InvalidNetwork::Route);
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('@') {
            return Err(InvalidNetwork::Credentials);
        }
        let (host, port) = split_port(rest).ok_or(InvalidNetwork::Route)?;
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let port = port.ok_or(InvalidNetwork::Route)?;
        let known = host.parse::<IpAddr>().is_ok() || host_name(host).is_some();
        if known { Ok(Self::Socks5 { host: host.to_owned(), port }) } else { Err(InvalidNetwork::Route) }
    }
}

/// Hosts that a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// Every host: `*`.
    Any,
    /// This host alone, in lower case, without a dot at its end.
    Exact(String),
    /// Every host below this one, but not it itself: `*.example.org`.
    Below(String),
    /// An address that is used without a name.
    Address(IpAddr),
}

/// Hosts and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// Which hosts.
    pub host: HostPattern,
    /// Which port; every one when absent.
    pub port: Option<u16>,
}

impl Target {
    /// Whether it is about this host (a name in lower case, or an address) and port.
    pub fn matches(&self, host: &str, port: u16) -> bool {
        let host_fits = match &self.host {
            HostPattern::Any => true,
            HostPattern::Exact(name) => name == host,
            HostPattern::Below(name) => {
                host.strip_suffix(name.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            HostPattern::Address(address) => host.parse::<IpAddr>().is_ok_and(|h| h == *address),
        };
        host_fits && self.port.is_none_or(|p| p == port)
    }

    /// Whether it names one host rather than a kind of hosts.
    pub fn is_exact(&self) -> bool {
        matches!(self.host, HostPattern::Exact(_) | HostPattern::Address(_))
    }
}

impl FromStr for Target {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let bad = InvalidNetwork::Target;
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self { host: HostPattern::Address(address), port: None });
        }
        let (host, port) = split_port(text).ok_or(bad)?;
        if let Some(inner) = host.strip_prefix('[') {
            let address: IpAddr = inner.strip_suffix(']').and_then(|i| i.parse().ok()).ok_or(bad)?;
            return Ok(Self { host: HostPattern::Address(address), port });
        }
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(Self { host: HostPattern::Address(address), port });
        }
        let host = match host.strip_prefix("*.") {
            Some(rest) => HostPattern::Below(host_name(rest).ok_or(bad)?),
            None if host == "*" => HostPattern::Any,
            None => HostPattern::Exact(host_name(host).ok_or(bad)?),
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            HostPattern::Any => f.write_str("*")?,
            HostPattern::Exact(name) => f.write_str(name)?,
            HostPattern::Below(name) => write!(f, "*.{name}")?,
            HostPattern::Address(IpAddr::V6(address)) => write!(f, "[{address}]")?,
            HostPattern::Address(address) => write!(f, "{address}")?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// A host name as rules hold it: lower case, no dot at its end; `None` when it is not one.
pub fn host_name(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let valid = !name.is_empty() && name.len() <= MAX_HOST && name.split('.').all(label);
    // A name whose last label is a number, also one in base 16, would be read as an address by some
    // programs (WHATWG URL).
    let is_number = |l: &str| match l.strip_prefix("0x").or_else(|| l.strip_prefix("0X")) {
        Some(digits) => digits.bytes().all(|b| b.is_ascii_hexdigit()),
        None => l.bytes().all(|b| b.is_ascii_digit()),
    };
    let number = name.rsplit('.').next().is_some_and(is_number);
    (valid && !number).then(|| name.to_ascii_lowercase())
}

/// Splits `HOST[:PORT]`; a port is 1 to 65535.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    if text.ends_with(']') {
        return Some((text, None));
    }
    match text.rsplit_once(':') {
        None => Some((text, None)),
        Some((host, _)) if host.contains(':') && !host.ends_with(']') => None,
        Some((host, port)) => {
            let digits = port.bytes().all(|b| b.is_ascii_digit());
            let port = port.parse::<u16>().ok().filter(|&p| p != 0 && digits)?;
            Some((host, Some(port)))
        }
    }
}

macro_rules! as_text {
    ($($kind:ty),*) => {$(
        impl Serialize for $kind {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                text.parse().map_err(|e| serde::de::Error::custom(format!("{text:?} is {e}")))
            }
        }
    )*};
}

as_text!(Route, Target);

/// What becomes of a host that no rule names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Unknown {
    /// Somebody outside is asked.
    #[default]
    Ask,
    /// It is denied.
    Deny,
}

/// Where a session's packets may go. What a rule denies is denied. Of the other rules that are about
/// a host and port the most specific decides; among equals `ask` wins over `allow`.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Network {
    /// The way out: `none`, `direct`, `tor` or `socks5://HOST:PORT`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub route: Route,
    /// Who the session is to its proxy, where the route is one that asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// Hosts that may be reached.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub allow: Vec<Target>,
    /// Hosts about which somebody is asked, each time.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub ask: Vec<Target>,
    /// Hosts that may not be reached.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub deny: Vec<Target>,
    /// All other hosts.
    pub unknown: Unknown,
    /// Policies in Cedar, beside these rules: what one forbids no rule and no answer allows; where
    /// both speak, the stricter counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<PolicyText>,
    /// Caps on the session's traffic.
    pub limits: NetworkLimits,
    /// For the route `tor`: further lines of its configuration (bridges, for example); see
    /// [`crate::tor`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tor_config: Option<String>,
    /// For the route `tor`: whose entry guards it goes by.
    #[serde(skip_serializing_if = "TorEntry::is_fresh")]
    pub tor_entry: TorEntry,
    /// Hosts whose TLS the gateway opens, with a certificate of the session's own towards the app.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub intercept: Vec<Target>,
    /// Certificates in PEM that are trusted beside this host's when TLS is opened.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub upstream_ca: String,
}

/// A file of policies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PolicyText {
    /// The file's name, without its folder; decisions and errors are told by it.
    pub name: String,
    /// What stands in it.
    pub text: String,
}

/// A user and a password for a proxy (RFC 1929). They never show in `Debug` and are overwritten when
/// dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Credentials {
    /// The user, 1 to 255 bytes.
    pub user: String,
    /// The password, 1 to 255 bytes.
    pub password: String,
}

impl Credentials {
    /// Whether both have a length that a proxy can be told.
    pub fn is_valid(&self) -> bool {
        [&self.user, &self.password].iter().all(|text| (1..=255).contains(&text.len()))
    }
}

impl FromStr for Credentials {
    type Err = InvalidNetwork;

    /// Reads `USER:PASSWORD`; the first colon parts them.
    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let (user, password) = text.split_once(':').ok_or(InvalidNetwork::NoCredentials)?;
        let read = Self { user: user.to_owned(), password: password.to_owned() };
        if read.is_valid() { Ok(read) } else { Err(InvalidNetwork::NoCredentials) }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(<redacted>)")
    }
}

impl Drop for Credentials {
    fn drop(&mut self) {
        self.user.zeroize();
        self.password.zeroize();
    }
}

/// Caps on a session's traffic. `None` is the documented default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NetworkLimits {
    /// Connections at once; 1,024 when absent.
    pub connections: Option<u32>,
    /// Bytes in all, both ways; no cap when absent.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
    pub bytes: Option<ByteSize>,
    /// Bytes in a second, both ways; no cap when absent.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
    pub rate: Option<ByteSize>,
}

impl NetworkLimits {
    /// Connections at once when nothing else is asked for.
    pub const DEFAULT_CONNECTIONS: u32 = 1024;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn target(text: &str) -> Target {
        text.parse().unwrap()
    }

    #[test]
    fn routes_are_written_as_they_are_read() {
        for text in ["none", "direct", "tor", "socks5://proxy.example:1080", "socks5://[::1]:9"] {
            assert_eq!(text.parse::<Route>().unwrap().to_string(), text);
        }
        assert_eq!("socks5://u:p@h:1".parse::<Route>(), Err(InvalidNetwork::Credentials));
        for text in
            ["", "vpn", "socks5://host", "socks5://:1", "socks5://h:0", "socks4://h:1", "socks5://a b:1"]
        {
            assert_eq!(text.parse::<Route>(), Err(InvalidNetwork::Route), "{text}");
        }
    }

    #[test]
    fn credentials_are_read_and_never_shown() {
        let read = "me:a:b".parse::<Credentials>().unwrap();
        assert_eq!((read.user.as_str(), read.password.as_str()), ("me", "a:b"));
        assert_eq!(format!("{read:?}"), "Credentials(<redacted>)");
        for text in ["", "me", ":pw", "me:", &format!("me:{}", "x".repeat(256))] {
            assert_eq!(text.parse::<Credentials>(), Err(InvalidNetwork::NoCredentials), "{text}");
        }
    }

    #[test]
    fn a_pattern_is_about_its_hosts_and_no_others() {
        for (pattern, host, port, fits) in [
            ("api.example.com:443", "api.example.com", 443, true),
            ("API.Example.com.:443", "api.example.com", 443, true),
            ("api.example.com:443", "api.example.com", 80, false),
            ("api.example.com", "api.example.com", 80, true),
            ("api.example.com", "xapi.example.com", 443, false),
            ("*.example.org", "a.example.org", 1, true),
            ("*.example.org", "a.b.example.org", 1, true),
            ("*.example.org", "example.org", 1, false),
            ("*.example.org", ".example.org", 1, false),
            ("*.example.org", "evilexample.org", 1, false),
            ("*", "anything", 1, true),
            ("192.0.2.1:80", "192.0.2.1", 80, true),
            ("[2001:db8::1]:80", "2001:db8:0::1", 80, true),
            ("2001:db8::1", "2001:db8::1", 9, true),
            ("*", "192.0.2.1", 80, true),
        ] {
            assert_eq!(target(pattern).matches(host, port), fits, "{pattern} {host} {port}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in [
            "",
            ":",
            ":80",
            "a:",
            "a:0",
            "a:65536",
            "a:+1",
            "a b",
            "-a",
            "a-",
            "a..b",
            "*a.b",
            "a.*.b",
            "*.",
            "http://a",
            "a/b",
            "user@a",
            "1.2.3",
            "0x7f.1",
            "256.1.1.1",
            "a.1",
            "[::1",
            "::1:80:",
            "bücher.de",
            "**",
            "a:80:80",
            &"a".repeat(64),
            &"a.".repeat(140),
        ] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn targets_round_trip(text in ".{0,40}") {
            if let Ok(target) = text.parse::<Target>() {
                prop_assert_eq!(target.to_string().parse::<Target>(), Ok(target));
            }
        }
    }
}
