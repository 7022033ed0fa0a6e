//! Where a URL really leads: the host that a browser connects to, whatever the text makes it look.
//!
//! After the URL standard of WHATWG for the schemes that have hosts: a backslash is a slash, tabs
//! and line breaks are nothing, what stands before the last `@` is a login, numbers are addresses
//! in any base and with any parts left out, and names are compared in their ASCII form (IDNA).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Serialize;

/// Where it leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Destination {
    /// The host: a name in ASCII and small letters, or an address in its usual form.
    pub host: String,
    /// The port, if it says one.
    pub port: Option<u16>,
    /// What is there to mislead who reads it.
    pub tricks: Vec<Trick>,
}

/// A way to make a URL look as if it led elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trick {
    /// A login before the host, which may look like one.
    Userinfo,
    /// A backslash for a slash.
    Backslash,
    /// Line breaks, tabs or what is not seen.
    Invisible,
    /// An address as a number, in octal, or in hexadecimal.
    Number,
    /// An IPv4 address inside of IPv6.
    Mapped,
    /// A name with letters beyond ASCII, which may look like another's.
    Unicode,
    /// Percent signs in the host.
    Encoded,
    /// A host with a dot at its end.
    Dot,
}

/// Where the URL leads; `None` where it has no host, or one that nobody connects to.
#[must_use]
pub fn destination(url: &str) -> Option<Destination> {
    let mut tricks = Vec::new();
    let mut note = |trick: Trick, holds: bool| {
        if holds && !tricks.contains(&trick) {
            tricks.push(trick);
        }
    };
    let unseen = |c: char| {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let trimmed = url.trim_matches(|c: char| c <= ' ');
    note(Trick::Invisible, trimmed.contains(unseen));
    let plain: String = trimmed.chars().filter(|c| !unseen(*c)).collect();
    let rest = after_scheme(&plain)?;
    let end = rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len());
    note(Trick::Backslash, plain[..plain.len() - rest.len()].contains('\\') || rest[end..].starts_with('\\'));
    let authority = &rest[..end];
    let host = match authority.rfind('@') {
        Some(at) => {
            note(Trick::Userinfo, true);
            &authority[at + 1..]
        }
        None => authority,
    };
    let (host, port) = split_port(host)?;
    let host = if let Some(inside) = host.strip_prefix('[') {
        let address: Ipv6Addr = inside.strip_suffix(']')?.parse().ok()?;
        let embedded = embedded(address);
        note(Trick::Mapped, embedded.is_some());
        embedded.map_or(IpAddr::V6(address), IpAddr::V4).to_string()
    } else {
        note(Trick::Encoded, host.contains('%'));
        let decoded = percent_decoded(host)?;
        note(
            Trick::Unicode,
            !decoded.is_ascii()
                || decoded.to_ascii_lowercase().split('.').any(|label| label.starts_with("xn--")),
        );
        let name = idna::domain_to_ascii(&decoded).ok()?;
        note(Trick::Dot, name.ends_with('.'));
        let name = name.strip_suffix('.').unwrap_or(&name).to_owned();
        if name.is_empty() || name.contains(|c: char| c.is_ascii_control() || " #%/:<>?@[\\]^|".contains(c)) {
            return None;
        }
        match number(&name) {
            Number::Address(address) => {
                note(Trick::Number, address.to_string() != decoded);
                address.to_string()
            }
            Number::Malformed => return None,
            Number::Name => name,
        }
    };
    Some(Destination { host, port, tricks })
}

/// What follows the scheme and its slashes; a browser takes any number of them, forward or back.
fn after_scheme(url: &str) -> Option<&str> {
    if let Some(rest) = url.strip_prefix("//").or_else(|| url.strip_prefix("\\\\")) {
        return Some(rest.trim_start_matches(['/', '\\']));
    }
    let (scheme, rest) = url.split_once(':')?;
    let mut letters = scheme.chars();
    let named = letters.next().is_some_and(|c| c.is_ascii_alphabetic())
        && letters.all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    if !named {
        return None;
    }
    let special =
        ["http", "https", "ws", "wss", "ftp"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    if special { Some(rest.trim_start_matches(['/', '\\'])) } else { rest.strip_prefix("//") }
}

fn split_port(host: &str) -> Option<(&str, Option<u16>)> {
    let after = host.rfind(']').map_or(0, |bracket| bracket + 1);
    match host[after..].rfind(':') {
        Some(colon) => {
            let port = &host[after + colon + 1..];
            let port = if port.is_empty() { None } else { Some(port.parse().ok()?) };
            Some((&host[..after + colon], port))
        }
        None => Some((host, None)),
    }
}

fn percent_decoded(host: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(host.len());
    let mut rest = host.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            let digits = core::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

enum Number {
    Address(Ipv4Addr),
    Malformed,
    Name,
}

/// A host whose last part is a number is an address: of one to four parts, each decimal, octal
/// (`0…`) or hexadecimal (`0x…`), the last one filling what is left.
fn number(host: &str) -> Number {
    let parts: Vec<&str> = host.split('.').collect();
    let value = |part: &str| -> Option<u64> {
        let lower = part.to_ascii_lowercase();
        match lower.strip_prefix("0x") {
            Some("") => Some(0),
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None if lower.len() > 1 && lower.starts_with('0') => u64::from_str_radix(&lower[1..], 8).ok(),
            None => lower.parse().ok(),
        }
    };
    let Some((last, heads)) = parts.split_last() else { return Number::Name };
    let numeric = value(last).is_some() || !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit());
    if !numeric {
        return Number::Name;
    }
    if parts.len() > 4 {
        return Number::Malformed;
    }
    let mut address: u64 = 0;
    for head in heads {
        match value(head) {
            Some(value @ 0..=255) => address = address << 8 | value,
            _ => return Number::Malformed,
        }
    }
    let room = 8 * (4 - heads.len() as u32);
    match value(last) {
        Some(value) if value < 1 << room => {
            Number::Address(Ipv4Addr::from(u32::try_from(address << room | value).unwrap_or(0)))
        }
        _ => Number::Malformed,
    }
}

/// The IPv4 address that stands in this one: mapped, translated (RFC 6052) or of 6to4 (RFC 3056).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let low = Ipv4Addr::from(u32::from(segments[6]) << 16 | u32::from(segments[7]));
    match segments {
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => Some(low),
        [0x2002, high, next, ..] => Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(next))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_leads_where_a_browser_goes() {
        use Trick::{Backslash, Dot, Encoded, Invisible, Mapped, Number, Unicode, Userinfo};
        let table: &[(&str, Option<&str>, &[Trick])] = &[
            ("https://api.example.com/v1?x=1#y", Some("api.example.com"), &[]),
            ("https://evil.com#@api.example.com", Some("evil.com"), &[]),
            ("https://evil.com?@api.example.com/", Some("evil.com"), &[]),
            ("https://evil.com/@api.example.com", Some("evil.com"), &[]),
            ("https://api.example.com@evil.com/", Some("evil.com"), &[Userinfo]),
            ("https://api.example.com:443@evil.com", Some("evil.com"), &[Userinfo]),
            ("https://api.example.com%2f@evil.com", Some("evil.com"), &[Userinfo]),
            ("https://a@b@evil.com", Some("evil.com"), &[Userinfo]),
            ("https://evil.com\\@api.example.com", Some("evil.com"), &[Backslash]),
            ("https:\\\\evil.com\\.api.example.com", Some("evil.com"), &[Backslash]),
            ("https:evil.com", Some("evil.com"), &[]),
            ("https:////evil.com", Some("evil.com"), &[]),
            ("//evil.com/path", Some("evil.com"), &[]),
            ("https://api.example.com.evil.com", Some("api.example.com.evil.com"), &[]),
            ("https://ev\til.co\nm", Some("evil.com"), &[Invisible]),
            ("https://e\u{200b}vil.com", Some("evil.com"), &[Invisible]),
            ("HTTPS://API.EXAMPLE.COM", Some("api.example.com"), &[]),
            ("https://api.example.com.", Some("api.example.com"), &[Dot]),
            ("https://%61pi.example.com", Some("api.example.com"), &[Encoded]),
            ("https://аpple.com", Some("xn--pple-43d.com"), &[Unicode]),
            ("https://xn--pple-43d.com", Some("xn--pple-43d.com"), &[Unicode]),
            ("https://ｅｖｉｌ.com", Some("evil.com"), &[Unicode]),
            ("https://evil。com", Some("evil.com"), &[Unicode]),
            ("http://2130706433/", Some("127.0.0.1"), &[Number]),
            ("http://0x7f000001", Some("127.0.0.1"), &[Number]),
            ("http://0177.0.0.1", Some("127.0.0.1"), &[Number]),
            ("http://127.1", Some("127.0.0.1"), &[Number]),
            ("http://0xa9.0xfe.0xa9.0xfe", Some("169.254.169.254"), &[Number]),
            ("http://169.254.43518", Some("169.254.169.254"), &[Number]),
            ("http://①②⑦.0.0.1", Some("127.0.0.1"), &[Unicode, Number]),
            ("http://[::ffff:169.254.169.254]/", Some("169.254.169.254"), &[Mapped]),
            ("http://[::ffff:a9fe:a9fe]:80/", Some("169.254.169.254"), &[Mapped]),
            ("http://[64:ff9b::7f00:1]/", Some("127.0.0.1"), &[Mapped]),
            ("http://[2001:db8::1]:8080", Some("2001:db8::1"), &[]),
            ("http://127.0.0.1", Some("127.0.0.1"), &[]),
            ("http://256.256.256.256", None, &[]),
            ("http://1.2.3.4.5", None, &[]),
            ("http://", None, &[]),
            ("mailto:ann@example.org", None, &[]),
            ("javascript:alert(1)", None, &[]),
            ("/relative", None, &[]),
            ("http://a b.com", None, &[]),
        ];
        for (url, host, tricks) in table {
            let found = destination(url);
            assert_eq!(found.as_ref().map(|found| found.host.as_str()), *host, "{url:?}");
            if let Some(found) = found {
                assert_eq!(found.tricks, *tricks, "{url:?}");
            }
        }
        assert_eq!(destination("https://evil.com:8443/x").and_then(|found| found.port), Some(8443));
    }
}
