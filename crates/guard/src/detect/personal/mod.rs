//! Data about persons: cards, accounts, telephone numbers, addresses of mail and machines, numbers
//! that states give, and names where the words around say that it is one.

mod names;
mod numbers;
mod phone;

use std::borrow::Cow;

use super::Local;
use crate::finding::Category;

/// Bytes at which anything is looked at.
const BEGINS: [bool; 256] = {
    let mut begins = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        begins[byte] = b.is_ascii_digit() || b.is_ascii_uppercase() || matches!(b, b'+' | b'(' | b'@' | b':');
        byte += 1;
    }
    begins
};

/// Every piece of personal data found in the text.
pub fn scan(text: &str, found: &mut Vec<Local>) {
    let bytes = text.as_bytes();
    let mut budget = phone::Budget::default();
    let mut at = 0;
    while let Some(skipped) = bytes[at..].iter().position(|byte| BEGINS[usize::from(*byte)]) {
        at += skipped;
        let byte = bytes[at];
        if byte.is_ascii_digit() || (byte == b'+' || byte == b'(') && next_is_digit(bytes, at) {
            let account = small_country(bytes, at).and_then(|start| numbers::iban(bytes, start, found));
            at = account.unwrap_or_else(|| number(text, at, &mut budget, found));
        } else if byte == b'@' {
            email(bytes, at, found);
            at += 1;
        } else if byte == b':' && bytes.get(at + 1).is_some_and(|b| b.is_ascii_hexdigit() || *b == b':') {
            at = numbers::ip6(text, at, found);
        } else if byte.is_ascii_uppercase() {
            at = numbers::iban(bytes, at, found).unwrap_or(at + 1);
        } else {
            at += 1;
        }
    }
    names::scan(text, found);
}

/// Where an account's number would begin whose country is in small letters, before its first digit.
fn small_country(bytes: &[u8], digit: usize) -> Option<usize> {
    let start = digit.checked_sub(2)?;
    bytes[start..digit].iter().all(u8::is_ascii_lowercase).then_some(start)
}

/// A finding of this detector.
fn personal(kind: &'static str, start: usize, end: usize, confidence: f32, why: &'static str) -> Local {
    Local {
        kind,
        category: Category::Personal,
        span: start..end,
        confidence,
        why: Cow::Borrowed(why),
        taint: None,
    }
}

fn next_is_digit(bytes: &[u8], at: usize) -> bool {
    bytes.get(at + 1).is_some_and(u8::is_ascii_digit)
}

/// Looks at the number that begins at `at`; answers where to go on.
fn number(text: &str, at: usize, budget: &mut phone::Budget, found: &mut Vec<Local>) -> usize {
    let bytes = text.as_bytes();
    let whole = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let digits = bytes[at..].iter().take(64).take_while(|b| b.is_ascii_digit()).count();
    let glued =
        at > 0 && (whole(bytes[at - 1]) || bytes[at - 1] == b'.' && at > 1 && bytes[at - 2].is_ascii_digit());
    if glued {
        // Digits inside of a word belong to it.
        return at + digits.max(1);
    }
    for look in [numbers::card, numbers::ip4, numbers::ssn] {
        if let Some(end) = look(text, at, found) {
            return end;
        }
    }
    // The rest of a number that is none to call is none either.
    let continued =
        at > 1 && matches!(bytes[at - 1], b' ' | b'-' | b'.' | b'/') && bytes[at - 2].is_ascii_digit();
    if continued && bytes[at].is_ascii_digit() {
        return at + digits;
    }
    if let Some(end) = phone::look(text, at, budget, found) {
        return end;
    }
    at + digits.max(1)
}

/// An address of mail around the `@`.
fn email(bytes: &[u8], at: usize, found: &mut Vec<Local>) {
    let local = |b: &&u8| b.is_ascii_alphanumeric() || b"._%+-".contains(b);
    let before = bytes[..at].iter().rev().take(64).take_while(local).count();
    let domain = |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
    let mut after = bytes[at + 1..].iter().take(190).take_while(domain).count();
    while after > 0 && matches!(bytes[at + after], b'.' | b'-') {
        after -= 1;
    }
    let name = &bytes[at + 1..=at + after];
    let Some(dot) = name.iter().rposition(|b| *b == b'.') else { return };
    let ending = &name[dot + 1..];
    let wordy = ending.len() >= 2 && ending.iter().all(u8::is_ascii_alphabetic);
    let mut start = at - before;
    while start < at && bytes[start] == b'.' {
        start += 1;
    }
    // The password of an address on the web ends with `@` as well.
    let password = start > 0
        && matches!(bytes[start - 1], b':' | b'/')
        && bytes.get(start.wrapping_sub(2)) != Some(&b'o')
        && bytes[..start].iter().rev().take(40).any(|b| *b == b'/');
    if start < at && dot > 0 && wordy && !password {
        found.push(personal("email", start, at + 1 + after, 0.95, "an address of mail"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(&'static str, &str)> {
        let mut found = Vec::new();
        scan(text, &mut found);
        found.iter().map(|local| (local.kind, &text[local.span.clone()])).collect()
    }

    #[test]
    fn each_kind_is_found_and_its_near_miss_is_not() {
        for (text, expected) in [
            ("pay with 4111 1111 1111 1111 today", vec![("card", "4111 1111 1111 1111")]),
            ("pay with 4111 1111 1111 1112 today", vec![]),
            ("4111 1111 1111 1111 12/29 cvv 123", vec![("card", "4111 1111 1111 1111")]),
            ("4111111111111111 12 29 123", vec![("card", "4111111111111111")]),
            ("3782 822463 10005 1234", vec![("card", "3782 822463 10005")]),
            (
                "4111-1111-1111-1111-5500-0000-0000-0004",
                vec![("card", "4111-1111-1111-1111"), ("card", "5500-0000-0000-0004")],
            ),
            ("411 1111 1111 11111 12", vec![]),
            ("41111111111111111111", vec![]),
            ("amex 378282246310005.", vec![("card", "378282246310005")]),
            ("IBAN DE89 3704 0044 0532 0130 00, thanks", vec![("iban", "DE89 3704 0044 0532 0130 00")]),
            ("iban de89370400440532013000, thanks", vec![("iban", "de89370400440532013000")]),
            ("4111  1111  1111  1111", vec![("card", "4111  1111  1111  1111")]),
            ("4111/1111/1111/1111", vec![("card", "4111/1111/1111/1111")]),
            ("4111_1111_1111_1111", vec![("card", "4111_1111_1111_1111")]),
            ("41/11111111111111", vec![]),
            ("411111/1111111111", vec![]),
            ("IBAN DE88 3704 0044 0532 0130 00, thanks", vec![]),
            ("my SSN is 536-22-1234", vec![("us_ssn", "536-22-1234")]),
            ("order 000-22-1234 and 666-12-1234", vec![]),
            ("write to ann.lee@example.org.", vec![("email", "ann.lee@example.org")]),
            ("scp file you@host:/tmp", vec![]),
            ("from 203.0.113.9 port 22", vec![("ip", "203.0.113.9")]),
            ("version 1.2.3.4.5 and 300.1.1.1", vec![]),
            ("at 2001:db8::8a2e:370:7334 now", vec![("ip", "2001:db8::8a2e:370:7334")]),
            ("std::mem::take at 12:30:45", vec![]),
            ("call me at +44 20 7946 0958", vec![("phone", "+44 20 7946 0958")]),
            ("Tel. (030) 901820", vec![("phone", "(030) 901820")]),
            ("on 1998-06-28 14:48:14 it rained", vec![]),
            ("My name is Ada Lovelace and", vec![("name", "Ada Lovelace")]),
            ("Ask Mrs. Ayers, please", vec![("name", "Ayers")]),
            ("The name is not known", vec![]),
            ("id 123e4567-e89b-12d3-a456-426614174000", vec![]),
            ("3f786850e387550fdab836ed7e6dc881de23001b", vec![]),
        ] {
            assert_eq!(found(text), expected, "{text}");
        }
    }
}
