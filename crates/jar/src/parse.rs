//! What a `Set-Cookie` header says (RFC 6265bis, section 5.6).

use sessile_model::Timestamp;

use crate::cookie::SameSite;
use crate::date;
use crate::rules::Ignored;

/// Longest name and value together, in octets.
pub const LONGEST_PAIR: usize = 4_096;
/// Longest value of an attribute, in octets; a longer attribute counts as absent.
pub const LONGEST_ATTRIBUTE: usize = 1_024;

/// A header taken apart. Of an attribute that is there several times, the last one.
#[derive(Default)]
pub struct Parsed<'a> {
    pub name: &'a [u8],
    pub value: &'a [u8],
    pub expires: Option<Timestamp>,
    /// Seconds; zero when the cookie is to be removed.
    pub max_age: Option<u64>,
    /// Without the leading dot.
    pub domain: Option<&'a [u8]>,
    pub path: Option<&'a [u8]>,
    pub secure: bool,
    pub http_only: bool,
    pub same_site: SameSite,
    pub partitioned: bool,
}

/// Takes a header apart.
///
/// # Errors
/// When it has control characters, or name and value are too long.
pub fn parse(header: &[u8]) -> Result<Parsed<'_>, Ignored> {
    if has_control(header) {
        return Err(Ignored::ControlCharacter);
    }
    let mut parts = header.split(|b| *b == b';');
    let pair = parts.next().unwrap_or_default();
    let (name, value) = split_at_equals(pair).unwrap_or((b"", pair));
    let (name, value) = (trim(name), trim(value));
    if name.len() + value.len() > LONGEST_PAIR {
        return Err(Ignored::TooLong);
    }
    let mut parsed = Parsed { name, value, ..Parsed::default() };
    for attribute in parts {
        let (name, value) = split_at_equals(attribute).unwrap_or((attribute, b""));
        let (name, value) = (trim(name), trim(value));
        if value.len() <= LONGEST_ATTRIBUTE {
            parsed.take(name, value);
        }
    }
    Ok(parsed)
}

impl<'a> Parsed<'a> {
    fn take(&mut self, name: &[u8], value: &'a [u8]) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("Expires") {
            self.expires = date::parse(value).or(self.expires);
        } else if is("Max-Age") {
            self.max_age = max_age(value).or(self.max_age);
        } else if is("Domain") {
            self.domain = Some(value.strip_prefix(b".").unwrap_or(value));
        } else if is("Path") {
            self.path = Some(value);
        } else if is("Secure") {
            self.secure = true;
        } else if is("HttpOnly") {
            self.http_only = true;
        } else if is("SameSite") {
            self.same_site = SameSite::of_attribute(value);
        } else if is("Partitioned") {
            self.partitioned = true;
        }
    }
}

/// Seconds to live (section 5.6.2); `None` when it is no number.
fn max_age(value: &[u8]) -> Option<u64> {
    let negative = value.first() == Some(&b'-');
    let digits = &value[usize::from(negative)..];
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds =
        digits.iter().fold(0_u64, |sum, d| sum.saturating_mul(10).saturating_add(u64::from(d - b'0')));
    Some(if negative { 0 } else { seconds })
}

fn split_at_equals(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|b| *b == b'=')?;
    Some((&text[..at], &text[at + 1..]))
}

/// Whether there is a control character other than the tab.
pub fn has_control(text: &[u8]) -> bool {
    text.iter().any(|b| matches!(b, 0..=8 | 0x0a..=0x1f | 0x7f))
}

/// Without spaces and tabs around it.
pub fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(header: &str) -> (&[u8], &[u8]) {
        let parsed = parse(header.as_bytes()).ok().unwrap();
        (parsed.name, parsed.value)
    }

    #[test]
    fn the_first_equals_sign_divides() {
        assert_eq!(pair("a=b=c; d=e"), (&b"a"[..], &b"b=c"[..]));
        assert_eq!(pair(" \ta\t = b c \t;"), (&b"a"[..], &b"b c"[..]));
        assert_eq!(pair("just a value"), (&b""[..], &b"just a value"[..]));
        assert_eq!(pair("=b"), (&b""[..], &b"b"[..]));
        assert_eq!(pair(""), (&b""[..], &b""[..]));
    }

    #[test]
    fn attributes_come_in_any_case_and_the_last_counts() {
        let parsed =
            parse(b"a=b; SECURE; hTTPonly=x; path=/a; Path = /b ; domain=.c; samesite=Strict; SameSite=LAX");
        let parsed = parsed.ok().unwrap();
        assert!(parsed.secure && parsed.http_only && !parsed.partitioned);
        assert_eq!((parsed.path, parsed.domain), (Some(&b"/b"[..]), Some(&b"c"[..])));
        assert_eq!(parsed.same_site, SameSite::Lax);
        let parsed = parse(b"a=b; SameSite=Strict; SameSite=other").ok().unwrap();
        assert_eq!(parsed.same_site, SameSite::Default);
    }

    #[test]
    fn a_bad_age_or_date_leaves_the_one_before() {
        for (value, expected) in [
            ("10", Some(10)),
            ("-10", Some(0)),
            ("-0", Some(0)),
            ("0", Some(0)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("-99999999999999999999999", Some(0)),
            ("", None),
            ("-", None),
            ("+1", None),
            ("1.5", None),
            ("--1", None),
            ("1 ", Some(1)),
        ] {
            let header = format!("a=b; Max-Age={value}");
            assert_eq!(parse(header.as_bytes()).ok().unwrap().max_age, expected, "{value}");
        }
        let parsed =
            parse(b"a=b; max-age=1; max-age=x; expires=1 Jan 2020 0:0:0; expires=never").ok().unwrap();
        assert_eq!(parsed.max_age, Some(1));
        assert!(parsed.expires.is_some());
    }

    #[test]
    fn limits_are_exact() {
        let sized = |name: usize, value: usize| format!("{}={}", "n".repeat(name), "v".repeat(value));
        assert!(parse(sized(96, 4000).as_bytes()).is_ok());
        assert!(parse(sized(97, 4000).as_bytes()).is_err_and(|why| why == Ignored::TooLong));
        assert!(parse("v".repeat(4097).as_bytes()).is_err());
        let path = |length: usize| format!("a=b; path=/x; path={}", "/".repeat(length));
        assert_eq!(parse(path(1024).as_bytes()).ok().unwrap().path.map(<[u8]>::len), Some(1024));
        assert_eq!(parse(path(1025).as_bytes()).ok().unwrap().path, Some(&b"/x"[..]));
    }

    #[test]
    fn control_characters_anywhere_spoil_a_header() {
        for byte in 0..=0xff_u8 {
            let refused = byte != b'\t' && (byte < 0x20 || byte == 0x7f);
            for header in [&[b'a', b'=', b'b', byte, b'c'][..], &[b'a', b'=', b';', byte][..]] {
                assert_eq!(parse(header).is_err(), refused, "{byte:#x}");
            }
        }
    }
}
