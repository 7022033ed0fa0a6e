//! Numbers that check themselves: cards, bank accounts, social security, network addresses.

use core::net::{Ipv4Addr, Ipv6Addr};

use super::personal;
use crate::detect::Local;

/// Issuers by the first digits of a card's number: from, to (of as many digits) and lengths.
const ISSUERS: &[(u32, u32, &[usize])] = &[
    (4, 4, &[13, 16, 19]),
    (51, 55, &[16]),
    (2221, 2720, &[16]),
    (34, 34, &[15]),
    (37, 37, &[15]),
    (300, 305, &[14, 16]),
    (3095, 3095, &[14, 16]),
    (36, 36, &[14, 16]),
    (38, 39, &[14, 16]),
    (6011, 6011, &[16, 19]),
    (644, 649, &[16, 19]),
    (65, 65, &[16, 19]),
    (3528, 3589, &[16, 17, 18, 19]),
    (1800, 1800, &[15]),
    (2131, 2131, &[15]),
    (62, 62, &[16, 17, 18, 19]),
    (81, 81, &[16, 17, 18, 19]),
    (5018, 5018, &[12, 13, 14, 15, 16, 17, 18, 19]),
    (5020, 5020, &[12, 13, 14, 15, 16, 17, 18, 19]),
    (5038, 5038, &[12, 13, 14, 15, 16, 17, 18, 19]),
    (5893, 5893, &[12, 13, 14, 15, 16, 17, 18, 19]),
    (6304, 6304, &[12, 13, 14, 15, 16, 17, 18, 19]),
    (6759, 6763, &[12, 13, 14, 15, 16, 17, 18, 19]),
    (50, 50, &[16]),
    (56, 58, &[12, 13, 14, 15, 16, 17, 18, 19]),
    (6390, 6390, &[12, 13, 14, 15, 16, 17, 18, 19]),
    (60, 60, &[16]),
    (2200, 2204, &[16, 17, 18, 19]),
    (9792, 9792, &[16]),
];

/// Most digits of a card's number.
const MOST_DIGITS: usize = 19;

/// A card's number: the issuer's digits and length, and Luhn's check. What stands behind it in a group of its own,
/// such as when it expires, is not of it.
pub fn card(text: &str, at: usize, found: &mut Vec<Local>) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut digits = [0u8; MOST_DIGITS];
    let (mut count, mut here, mut end) = (0, at, at);
    let mut separator = None;
    // How many digits there are up to the end of each group, and where that is.
    let mut groups: Vec<(usize, usize)> = Vec::new();
    let mut more = false;
    while here < bytes.len() {
        let byte = bytes[here];
        if byte.is_ascii_digit() {
            if count == MOST_DIGITS {
                more = true;
                break;
            }
            digits[count] = byte - b'0';
            count += 1;
            end = here + 1;
        } else if matches!(byte, b' ' | b'-' | b'.' | b'/' | b'_') && count >= 3 {
            // A blank may stand twice.
            here += usize::from(byte == b' ' && bytes.get(here + 1) == Some(&b' '));
            if !bytes.get(here + 1).is_some_and(u8::is_ascii_digit) {
                break;
            }
            groups.push((count, end));
            // One kind of separator throughout.
            if *separator.get_or_insert(byte) != byte {
                break;
            }
        } else {
            break;
        }
        here += 1;
    }
    if count < 12 {
        return None;
    }
    let follows = more || bytes.get(end).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    groups.push((count, end));
    // Dates and names are parted by these, seldom into fours.
    let strict = separator.is_some_and(|separator| matches!(separator, b'/' | b'_'));
    let whole = (!follows && (!strict || is_grouped(&groups))).then_some((count, end));
    groups.pop();
    let parts = (1..=groups.len())
        .rev()
        .filter(|length| is_grouped(&groups[..*length]))
        .map(|length| groups[length - 1]);
    let (_, end) = whole.into_iter().chain(parts).find(|(count, _)| is_card(&digits[..*count], text, at))?;
    found.push(personal("card", at, end, 0.97, "an issuer's digits and length, and the check digit holds"));
    Some(end)
}

/// Whether these groups are how a card's digits are written: as one, in fours, or as American Express has them.
fn is_grouped(groups: &[(usize, usize)]) -> bool {
    let counts = || groups.iter().map(|(count, _)| *count);
    groups.len() == 1 || counts().eq((1..=groups.len()).map(|number| 4 * number)) || counts().eq([4, 10, 15])
}

fn is_card(digits: &[u8], text: &str, at: usize) -> bool {
    let count = digits.len();
    if !(12..=MOST_DIGITS).contains(&count) || !luhn(digits) {
        return false;
    }
    let first =
        |length: usize| digits[..length].iter().fold(0u32, |number, digit| number * 10 + u32::from(*digit));
    let known = ISSUERS.iter().any(|(from, to, lengths)| {
        let length = from.ilog10() as usize + 1;
        lengths.contains(&count) && (*from..=*to).contains(&first(length))
    });
    // So short a number is a card's only where the words say so.
    let named = || {
        let from = text.floor_char_boundary(at.saturating_sub(60));
        let before = text[from..at].to_lowercase();
        ["card", "credit", "debit", "visa", "maestro", "charge", "karte", "carte", "tarjeta", "cart"]
            .iter()
            .any(|word| before.contains(word))
    };
    known && (count >= 14 || digits[0] == 4 || named()) && digits.windows(2).any(|pair| pair[0] != pair[1])
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match (place % 2, u32::from(*digit)) {
            (0, digit) => digit,
            (_, digit) if digit > 4 => digit * 2 - 9,
            (_, digit) => digit * 2,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// An IPv4 address that is somebody's.
pub fn ip4(text: &str, at: usize, found: &mut Vec<Local>) -> Option<usize> {
    let bytes = text.as_bytes();
    let length = bytes[at..].iter().take(16).take_while(|b| b.is_ascii_digit() || **b == b'.').count();
    let length = if length > 0 && bytes[at + length - 1] == b'.' { length - 1 } else { length };
    let follows = bytes.get(at + length).is_some_and(|b| b.is_ascii_alphanumeric())
        || bytes.get(at + length) == Some(&b'.')
            && bytes.get(at + length + 1).is_some_and(u8::is_ascii_digit);
    if follows || length < 7 {
        return None;
    }
    let address: Ipv4Addr = text[at..at + length].parse().ok()?;
    let before = &bytes[at.saturating_sub(9)..at];
    let version = before.last().is_some_and(|b| matches!(b, b'v' | b'V' | b'-'))
        || before.windows(7).any(|w| w.eq_ignore_ascii_case(b"version"));
    if address.is_loopback() || address.is_unspecified() || address.is_broadcast() || version {
        return Some(at + length);
    }
    let confidence = if address.is_private() || address.is_link_local() { 0.5 } else { 0.9 };
    found.push(personal("ip", at, at + length, confidence, "an address of the Internet"));
    Some(at + length)
}

/// An IPv6 address around the colon at `colon`.
pub fn ip6(text: &str, colon: usize, found: &mut Vec<Local>) -> usize {
    let bytes = text.as_bytes();
    let part = |b: &&u8| b.is_ascii_hexdigit() || matches!(b, b':' | b'.');
    let before = bytes[..colon].iter().rev().take(4).take_while(|b| b.is_ascii_hexdigit()).count();
    let start = colon - before;
    let mut length = bytes[start..].iter().take(46).take_while(part).count();
    while length > 0 && bytes[start + length - 1] == b'.' {
        length -= 1;
    }
    let next = (start + length).max(colon + 1);
    let beside = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b':' | b'_'));
    let colons = bytes[start..start + length].iter().filter(|b| **b == b':').count();
    let digits = bytes[start..start + length].iter().filter(|b| b.is_ascii_digit()).count();
    if colons < 2 || digits < 2 || length < 6 || beside(bytes.get(start + length)) {
        return next;
    }
    if start > 0 && beside(bytes.get(start - 1)) {
        return next;
    }
    if let Ok(address) = text[start..start + length].parse::<Ipv6Addr>()
        && !address.is_loopback()
        && !address.is_unspecified()
    {
        found.push(personal("ip", start, start + length, 0.9, "an address of the Internet"));
    }
    next
}

/// A social security number of the United States: what was never given out is none.
pub fn ssn(text: &str, at: usize, found: &mut Vec<Local>) -> Option<usize> {
    let bytes = text.as_bytes();
    let shape = |shape: &str| {
        bytes.len() >= at + shape.len()
            && shape
                .bytes()
                .zip(&bytes[at..])
                .all(|(s, b)| if s == b'd' { b.is_ascii_digit() } else { s == *b })
            && !bytes.get(at + shape.len()).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'-')
    };
    let named = || {
        let before = &bytes[at.saturating_sub(40)..at];
        ["ssn", "social security", "soc sec"]
            .iter()
            .any(|name| before.windows(name.len()).any(|w| w.eq_ignore_ascii_case(name.as_bytes())))
    };
    // Few numbers have its form, so that this is asked first.
    let (length, named) = if shape("ddd-dd-dddd") {
        (11, named())
    } else if shape("ddd dd dddd") && named() {
        (11, true)
    } else if shape("ddddddddd") && named() {
        (9, true)
    } else {
        return None;
    };
    let digits: Vec<u32> =
        bytes[at..at + length].iter().filter(|b| b.is_ascii_digit()).map(|b| u32::from(b - b'0')).collect();
    let number = |from: usize, to: usize| digits[from..to].iter().fold(0, |n, d| n * 10 + d);
    let (area, group, serial) = (number(0, 3), number(3, 5), number(5, 9));
    let after_dash = at > 0 && matches!(bytes[at - 1], b'-' | b'/');
    if area == 0 || area == 666 || area >= 900 || group == 0 || serial == 0 || after_dash {
        return None;
    }
    let confidence = if named { 0.97 } else { 0.8 };
    found.push(personal("us_ssn", at, at + length, confidence, "the form of a social security number"));
    Some(at + length)
}

/// Countries and the length of their account numbers (ISO 13616).
const IBAN_LENGTHS: &[(&[u8; 2], usize)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NL", 18),
    (b"NO", 15),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"SA", 24),
    (b"SC", 31),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
];

/// A bank account's international number, by country, length and its check digits (ISO 7064).
pub fn iban(bytes: &[u8], at: usize, found: &mut Vec<Local>) -> Option<usize> {
    let [country, check] = [at, at + 2].map(|from| bytes.get(from..from + 2));
    let (Some(country), Some(check)) = (country, check) else { return None };
    if !check.iter().all(u8::is_ascii_digit) || at > 0 && bytes[at - 1].is_ascii_alphanumeric() {
        return None;
    }
    let (_, length) = IBAN_LENGTHS.iter().find(|(code, _)| code.eq_ignore_ascii_case(country))?;
    let mut letters = Vec::with_capacity(*length);
    let mut here = at;
    while here < bytes.len() && letters.len() < *length {
        match bytes[here] {
            byte if byte.is_ascii_alphanumeric() => letters.push(byte.to_ascii_uppercase()),
            b' ' | b'-' if bytes[here - 1] != bytes[here] => {}
            _ => break,
        }
        here += 1;
    }
    if letters.len() != *length || bytes.get(here).is_some_and(u8::is_ascii_alphanumeric) {
        return None;
    }
    letters.rotate_left(4);
    let rest = letters.iter().fold(0u32, |rest, letter| match letter {
        b'0'..=b'9' => (rest * 10 + u32::from(letter - b'0')) % 97,
        _ => (rest * 100 + u32::from(letter - b'A') + 10) % 97,
    });
    if rest == 1 {
        found.push(personal("iban", at, here, 0.98, "a country's length, and the check digits hold"));
        return Some(here);
    }
    None
}
