//! Text written as escapes, as lists of numbers, as dots and dashes.

use super::Made;

type Sink<'a> = &'a mut dyn FnMut(Made, &'static str);

/// Most bytes of one run of escapes.
const MOST_RUN: usize = 64 * 1024;

/// Runs of text with escapes in them: percent, backslash, HTML and quoted-printable.
pub fn escapes(text: &[u8], sink: Sink<'_>) {
    let mut at = 0;
    while at < text.len() {
        // A run: words that hold escapes, and the spaces between them.
        let Some(first) = (at..text.len())
            .find(|at| matches!(text[*at], b'%' | b'\\' | b'&' | b'=') && escape(text, *at).is_some())
        else {
            return;
        };
        let start =
            first - text[at..first].iter().rev().take(80).take_while(|b| !b.is_ascii_whitespace()).count();
        let mut made = Made::default();
        let (mut here, mut telling, mut last) = (start, 0, first);
        while here < text.len() && here - start < MOST_RUN {
            if let Some((c, length)) = escape(text, here) {
                match c {
                    Unescaped::Char(c) => {
                        telling += usize::from(c.is_alphanumeric() || "@.-_:/+=".contains(c));
                        made.push_char(c, here, here + length);
                    }
                    Unescaped::Byte(byte) => {
                        telling += usize::from(!byte.is_ascii_control() && byte != b' ' && byte != b'"');
                        made.push(byte, here, here + length);
                    }
                    Unescaped::Nothing => {}
                }
                here += length;
                last = here;
            } else {
                if here.saturating_sub(last) > 80 && text[here].is_ascii_whitespace() {
                    break;
                }
                made.push(text[here], here, here + 1);
                here += 1;
            }
        }
        if telling > 0 {
            sink(made, "escaped");
        }
        at = here.max(first + 1);
    }
}

enum Unescaped {
    Char(char),
    Byte(u8),
    Nothing,
}

/// The escape at `at`, and its length.
fn escape(text: &[u8], at: usize) -> Option<(Unescaped, usize)> {
    let hex = |from: usize, length: usize| {
        let digits = text.get(from..from + length)?;
        digits.iter().try_fold(0u32, |n, digit| Some(n << 4 | char::from(*digit).to_digit(16)?))
    };
    let byte = |value: u32| Unescaped::Byte(value as u8);
    match text[at] {
        b'%' => {
            if text.get(at + 1) == Some(&b'u') {
                return hex(at + 2, 4).and_then(char::from_u32).map(|c| (Unescaped::Char(c), 6));
            }
            hex(at + 1, 2).map(|value| (byte(value), 3))
        }
        b'=' => {
            let upper =
                text.get(at + 1..at + 3)?.iter().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(b));
            if text.get(at + 1) == Some(&b'\n') {
                return None;
            }
            upper.then(|| hex(at + 1, 2)).flatten().filter(|value| *value > 31).map(|value| (byte(value), 3))
        }
        b'\\' => match *text.get(at + 1)? {
            b'x' => match text.get(at + 2) {
                Some(b'{') => braced(text, at + 3).map(|(c, length)| (Unescaped::Char(c), length + 3)),
                _ => hex(at + 2, 2).map(|value| (byte(value), 4)),
            },
            b'u' => match text.get(at + 2) {
                Some(b'{') => braced(text, at + 3).map(|(c, length)| (Unescaped::Char(c), length + 3)),
                _ => {
                    let high = hex(at + 2, 4)?;
                    if (0xd800..0xdc00).contains(&high) && text.get(at + 6..at + 8) == Some(b"\\u") {
                        let low = hex(at + 8, 4)?;
                        let c = char::from_u32(0x10000 + ((high - 0xd800) << 10) + low.checked_sub(0xdc00)?)?;
                        return Some((Unescaped::Char(c), 12));
                    }
                    char::from_u32(high).map(|c| (Unescaped::Char(c), 6))
                }
            },
            b'U' => hex(at + 2, 8).and_then(char::from_u32).map(|c| (Unescaped::Char(c), 10)),
            digit @ b'0'..=b'3' => {
                let rest = text.get(at + 2..at + 4)?;
                let octal = rest.iter().all(|b| (b'0'..=b'7').contains(b));
                octal.then(|| {
                    (
                        byte(
                            u32::from(digit - b'0') << 6
                                | u32::from(rest[0] - b'0') << 3
                                | u32::from(rest[1] - b'0'),
                        ),
                        4,
                    )
                })
            }
            b'n' => Some((byte(10), 2)),
            b't' => Some((byte(9), 2)),
            b'r' => Some((byte(13), 2)),
            other @ (b'"' | b'\'' | b'\\' | b'/') => Some((byte(u32::from(other)), 2)),
            b'\n' => Some((Unescaped::Nothing, 2)),
            _ => None,
        },
        b'&' => entity(text, at),
        _ => None,
    }
}

/// `HEX}` from `at`.
fn braced(text: &[u8], at: usize) -> Option<(char, usize)> {
    let length = text[at..].iter().take(8).take_while(|b| b.is_ascii_hexdigit()).count();
    let digits = core::str::from_utf8(&text[at..at + length]).ok()?;
    let c = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
    (text.get(at + length) == Some(&b'}')).then_some((c, length + 1))
}

fn entity(text: &[u8], at: usize) -> Option<(Unescaped, usize)> {
    if text.get(at + 1) == Some(&b'#') {
        let hex = matches!(text.get(at + 2), Some(b'x' | b'X'));
        let from = at + 2 + usize::from(hex);
        let length = text[from..].iter().take(8).take_while(|b| b.is_ascii_hexdigit()).count();
        let digits = core::str::from_utf8(&text[from..from + length]).ok()?;
        let c = char::from_u32(u32::from_str_radix(digits, if hex { 16 } else { 10 }).ok()?)?;
        let semicolon = usize::from(text.get(from + length) == Some(&b';'));
        return Some((Unescaped::Char(c), from + length + semicolon - at));
    }
    let named = [
        ("&amp;", '&'),
        ("&lt;", '<'),
        ("&gt;", '>'),
        ("&quot;", '"'),
        ("&apos;", '\''),
        ("&nbsp;", ' '),
        ("&lowbar;", '_'),
        ("&period;", '.'),
        ("&hyphen;", '-'),
        ("&commat;", '@'),
        ("&colon;", ':'),
        ("&sol;", '/'),
        ("&plus;", '+'),
        ("&equals;", '='),
        ("&dollar;", '$'),
        ("&num;", '#'),
        ("&excl;", '!'),
    ];
    let (name, c) = named.iter().find(|(name, _)| text[at..].starts_with(name.as_bytes()))?;
    Some((Unescaped::Char(*c), name.len()))
}

/// Least numbers of a list; of longer groups of digits fewer are as much.
const LEAST_NUMBERS: usize = 6;
/// Most digits of a number.
const MOST_NUMBER: usize = 32;
/// Least digits that groups of them have together.
const LEAST_GROUPED: usize = 16;

/// Lists of bytes as numbers: decimal, hexadecimal, octal or binary, with whatever stands between.
pub fn lists(text: &[u8], sink: Sink<'_>) {
    let mut at = 0;
    let mut tokens: Vec<(usize, usize)> = Vec::new();
    while let Some(skipped) = text[at..].iter().position(u8::is_ascii_hexdigit) {
        at += skipped;
        tokens.clear();
        let mut here = at;
        // Numbers with at most eight bytes of the same kind between them.
        while here < text.len() && tokens.len() < MOST_RUN {
            let length = number_length(&text[here..]);
            if length == 0 {
                break;
            }
            tokens.push((here, here + length));
            here += length;
            let gap = text[here..].iter().take(9).take_while(|b| between(**b)).count();
            // `chr(104)+chr(101)` has letters between.
            let gap = if gap > 0 && gap < 9 { gap + call_length(&text[here + gap..]) } else { 0 };
            if gap == 0 {
                break;
            }
            here += gap;
        }
        if tokens.len() >= LEAST_NUMBERS {
            read_list(text, &tokens, sink);
        } else if tokens.len() > 1
            && tokens.iter().map(|(from, to)| to - from).sum::<usize>() >= LEAST_GROUPED
            && let Some(made) = joined(text, &tokens)
        {
            sink(made, "numbers");
        }
        at = here.max(at + 1);
        // Not into the middle of a word.
        while at < text.len() && text[at].is_ascii_alphanumeric() && text[at - 1].is_ascii_alphanumeric() {
            at += 1;
        }
    }
}

const fn between(byte: u8) -> bool {
    matches!(
        byte,
        b' ' | b','
            | b';'
            | b':'
            | b'-'
            | b'\n'
            | b'\t'
            | b'|'
            | b'.'
            | b'+'
            | b')'
            | b'('
            | b'/'
            | b'_'
            | b'\\'
            | b'"'
            | b'\''
    )
}

fn number_length(text: &[u8]) -> usize {
    let prefix = if matches!(text, [b'0', b'x' | b'X' | b'b' | b'o', ..]) { 2 } else { 0 };
    let length = text[prefix..].iter().take(MOST_NUMBER + 1).take_while(|b| b.is_ascii_hexdigit()).count();
    let whole = prefix + length;
    let follows = text.get(whole).is_some_and(u8::is_ascii_alphanumeric);
    if (1..=MOST_NUMBER).contains(&length) && !follows { whole } else { 0 }
}

/// The letters of a call before a number, as `chr(`.
fn call_length(text: &[u8]) -> usize {
    ["chr(", "Chr(", "char(", "CHAR(", "String.fromCharCode(", "&#"]
        .iter()
        .find(|call| text.starts_with(call.as_bytes()))
        .map_or(0, |call| call.len())
}

fn read_list(text: &[u8], tokens: &[(usize, usize)], sink: Sink<'_>) {
    let token = |(from, to): &(usize, usize)| core::str::from_utf8(&text[*from..*to]).unwrap_or_default();
    let all = |holds: &dyn Fn(&str) -> bool| tokens.iter().all(|place| holds(token(place)));
    let read = |radix: u32, skip: usize| {
        let mut made = Made::default();
        for place in tokens {
            let value = u32::from_str_radix(token(place).get(skip..)?, radix).ok()?;
            made.push(u8::try_from(value).ok()?, place.0, place.1);
        }
        made.reads().then_some(made)
    };
    let prefixed =
        |prefix: &str| all(&|token: &str| token.len() > 2 && token[..2].eq_ignore_ascii_case(prefix));
    let lengths = |most: usize, least: usize| all(&|token: &str| (least..=most).contains(&token.len()));
    // What reads both ways is both: digits alone do not say in which base they are.
    let found = if prefixed("0x") {
        vec![read(16, 2)]
    } else if prefixed("0b") {
        vec![read(2, 2)]
    } else if prefixed("0o") {
        vec![read(8, 2)]
    } else if all(&|token| token.len() >= 7 && token.bytes().all(|b| matches!(b, b'0' | b'1'))) {
        vec![read(2, 0)]
    } else {
        vec![
            lengths(3, 1).then(|| read(10, 0)).flatten(),
            lengths(2, 2).then(|| read(16, 0)).flatten(),
            lengths(3, 3).then(|| read(8, 0)).flatten(),
            joined(text, tokens),
        ]
    };
    found.into_iter().flatten().for_each(|made| sink(made, "numbers"));
}

/// Groups of bytes in hexadecimal, as dumps have them: of two or four, or all of one length but the last.
fn joined(text: &[u8], tokens: &[(usize, usize)]) -> Option<Made> {
    let (last, groups) = tokens.split_last()?;
    let length = |(from, to): &(usize, usize)| to - from;
    let first = length(groups.first()?);
    let short = groups.iter().all(|group| matches!(length(group), 4 | 8));
    let alike = first >= 4 && groups.iter().all(|group| length(group) == first) && length(last) <= first;
    if !(short || alike) || !length(last).is_multiple_of(2) || !first.is_multiple_of(2) {
        return None;
    }
    let mut made = Made::default();
    for (from, to) in tokens {
        for at in (*from..*to).step_by(2) {
            let digits = core::str::from_utf8(&text[at..at + 2]).ok()?;
            made.push(u8::from_str_radix(digits, 16).ok()?, at, at + 2);
        }
    }
    made.reads().then_some(made)
}

/// Letters and digits in Morse's code.
const MORSE: &[(&str, u8)] = &[
    (".-", b'a'),
    ("-...", b'b'),
    ("-.-.", b'c'),
    ("-..", b'd'),
    (".", b'e'),
    ("..-.", b'f'),
    ("--.", b'g'),
    ("....", b'h'),
    ("..", b'i'),
    (".---", b'j'),
    ("-.-", b'k'),
    (".-..", b'l'),
    ("--", b'm'),
    ("-.", b'n'),
    ("---", b'o'),
    (".--.", b'p'),
    ("--.-", b'q'),
    (".-.", b'r'),
    ("...", b's'),
    ("-", b't'),
    ("..-", b'u'),
    ("...-", b'v'),
    (".--", b'w'),
    ("-..-", b'x'),
    ("-.--", b'y'),
    ("--..", b'z'),
    ("-----", b'0'),
    (".----", b'1'),
    ("..---", b'2'),
    ("...--", b'3'),
    ("....-", b'4'),
    (".....", b'5'),
    ("-....", b'6'),
    ("--...", b'7'),
    ("---..", b'8'),
    ("----.", b'9'),
    (".-.-.-", b'.'),
    ("..--.-", b'_'),
    ("-....-", b'-'),
    ("-..-.", b'/'),
    (".--.-.", b'@'),
    ("---...", b':'),
];

/// Text in Morse's code: dots and dashes, letters apart by a space, words by a slash.
pub fn morse(text: &[u8], sink: Sink<'_>) {
    let mut at = 0;
    while at < text.len() {
        if !matches!(text[at], b'.' | b'-') {
            at += 1;
            continue;
        }
        let length = text[at..]
            .iter()
            .take(MOST_RUN)
            .take_while(|b| matches!(b, b'.' | b'-' | b' ' | b'/' | b'\n'))
            .count();
        if length > 24 {
            let mut made = Made::default();
            let mut from = at;
            for word in text[at..at + length].split(|b| matches!(b, b' ' | b'\n')) {
                let written = core::str::from_utf8(word).unwrap_or_default();
                if let Some((_, letter)) = MORSE.iter().find(|(code, _)| *code == written) {
                    made.push(*letter, from, from + word.len());
                } else if written == "/" {
                    made.push(b' ', from, from + 1);
                }
                from += word.len() + 1;
            }
            if made.bytes.len() >= 8 {
                sink(made, "morse");
            }
        }
        at += length.max(1);
    }
}
