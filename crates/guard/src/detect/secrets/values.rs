//! What a value itself says: whether it is random, a word, or stands for another.

/// Whether digits and letters stand in it: no plain word, no plain number.
pub fn mixed(value: &[u8]) -> bool {
    value.iter().any(u8::is_ascii_digit) && value.iter().any(u8::is_ascii_alphabetic)
}

/// How many different bytes stand in it.
pub fn distinct(value: &[u8]) -> u32 {
    let mut seen = [0u64; 4];
    value.iter().for_each(|byte| seen[usize::from(byte >> 6)] |= 1 << (byte & 63));
    seen.iter().map(|word| word.count_ones()).sum()
}

/// Bits per byte, by how often each byte stands in it.
pub fn entropy(value: &[u8]) -> f32 {
    let mut counts = [0u16; 256];
    value.iter().take(512).for_each(|byte| counts[usize::from(*byte)] += 1);
    #[expect(clippy::cast_precision_loss, reason = "at most 512")]
    let length = value.len().min(512) as f32;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f32::from(*count) / length)
        .map(|p| -p * p.log2())
        .sum()
}

/// Whether it reads as a word or a name of code rather than as something random.
pub fn is_word(value: &[u8]) -> bool {
    let letters = value.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    if letters * 100 < value.len() * 88 {
        return false;
    }
    // Names of code change case seldom; random text in two cases does so every other letter.
    let changes =
        value.windows(2).filter(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase()).count();
    !value.iter().any(u8::is_ascii_digit) && changes * 6 <= value.len() && distinct(value) > 4
}

/// The confidence in a token whose form is right, and why: one of few different letters stands
/// for another.
pub fn weigh(token: &[u8], confidence: f32) -> (f32, &'static str) {
    let tail = &token[token.len() - token.len().min(16)..];
    if (token.starts_with(b"gh") || token.starts_with(b"npm_"))
        && let Some(holds) = checksum_holds(token)
    {
        return if holds {
            (0.99, "its checksum holds")
        } else {
            (0.6, "its form; its checksum does not hold")
        };
    }
    if token.len() >= 16 && distinct(tail) <= 3 {
        (confidence.min(0.4), "its form; it repeats few letters and may stand for another")
    } else if confidence < 0.5 {
        (confidence, "names what belongs to an account")
    } else {
        (confidence, "the form of its issuer's tokens")
    }
}

/// Whether the last six letters are the CRC-32 in base 62 of what stands between them and the
/// prefix, as in tokens of GitHub and npm of 40 letters; `None` for another length.
pub fn checksum_holds(token: &[u8]) -> Option<bool> {
    if token.len() != 40 || token[3] != b'_' {
        return None;
    }
    let (body, sum) = token[4..].split_at(30);
    let mut rest = crc32(body);
    let mut written = [b'0'; 6];
    for place in written.iter_mut().rev() {
        *place = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[(rest % 62) as usize];
        rest /= 62;
    }
    Some(written == *sum)
}

/// Whether a span is cut out of base64 that goes on before or after it. A path has few capitals.
pub fn in_base64(text: &[u8], start: usize, end: usize) -> bool {
    let goes_on = |bytes: &mut dyn Iterator<Item = &u8>| {
        let (mut length, mut capitals) = (0, 0);
        for byte in bytes.take(20).take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/')) {
            length += 1;
            capitals += usize::from(byte.is_ascii_uppercase());
        }
        length == 20 && capitals > 3
    };
    goes_on(&mut text[..start].iter().rev()) || goes_on(&mut text[end..].iter())
}

/// The CRC-32 of IEEE 802.3.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// Whether the needle, in small letters, stands in the text in any case.
pub fn contains(text: &[u8], needle: &str) -> bool {
    text.windows(needle.len()).any(|window| window.eq_ignore_ascii_case(needle.as_bytes()))
}

/// Whether it counts up or down for long, as `abcdef`, `123456` and `a1b2c3d4` do.
pub fn counts(value: &[u8]) -> bool {
    let next = |a: u8, b: u8| a.to_ascii_lowercase().wrapping_add(1) == b.to_ascii_lowercase();
    let ones = value.windows(6).any(|w| (0..5).all(|at| next(w[at], w[at + 1])));
    ones || value.windows(8).any(|w| (0..6).all(|at| next(w[at], w[at + 2])))
}

/// Whether it is a UUID.
pub fn is_uuid(value: &[u8]) -> bool {
    value.len() == 36
        && value.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Words that stand where a value would, and are none.
const NO_VALUES: [&str; 43] = [
    "none",
    "null",
    "nil",
    "true",
    "false",
    "undefined",
    "string",
    "str",
    "bool",
    "boolean",
    "required",
    "optional",
    "here",
    "empty",
    "unset",
    "void",
    "char",
    "text",
    "hidden",
    "redacted",
    "secret_name",
    "with",
    "your_password",
    "yourpassword",
    "your-password",
    "varchar",
    "default",
    "object",
    "number",
    "integer",
    "todo",
    "unknown",
    "this",
    "self",
    "request",
    "response",
    "config",
    "settings",
    "params",
    "options",
    "await",
    "new",
    "return",
];

/// Whether it stands for a value that is elsewhere: a variable, a call, a blank to fill in.
pub fn stands_for_another(value: &[u8]) -> bool {
    let starts =
        |word: &str| value.len() >= word.len() && value[..word.len()].eq_ignore_ascii_case(word.as_bytes());
    if matches!(value.first(), None | Some(b'$' | b'<' | b'{' | b'[' | b'*' | b'(' | b'&' | b'@' | b'|')) {
        return true;
    }
    if value.first() == Some(&b'%') && (value.last() == Some(&b'%') || value.get(1) == Some(&b'(')) {
        return true;
    }
    if starts("your")
        || starts("process.env")
        || starts("os.")
        || starts("env.")
        || starts("http://")
        || starts("https://")
    {
        return true;
    }
    if contains(value, "${") || contains(value, "{{") || contains(value, "$(") || contains(value, "...") {
        return true;
    }
    distinct(value) < 3 || NO_VALUES.iter().any(|word| value.eq_ignore_ascii_case(word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_tell_a_token_from_what_looks_like_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        let body = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5";
        let sums: Vec<bool> = (0u32..3)
            .map(|more| {
                let mut rest = crc32(body.as_bytes()).wrapping_add(more);
                let mut sum = Vec::new();
                for _ in 0..6 {
                    let digit = (rest % 62) as u8;
                    sum.insert(
                        0,
                        char::from(match digit {
                            0..=9 => b'0' + digit,
                            10..=35 => b'A' + digit - 10,
                            _ => b'a' + digit - 36,
                        }),
                    );
                    rest /= 62;
                }
                let token = format!("ghp_{body}{}", sum.iter().collect::<String>());
                checksum_holds(token.as_bytes()).expect("forty letters")
            })
            .collect();
        assert_eq!(sums, [true, false, false]);
        assert_eq!(checksum_holds(b"ghp_short"), None);
    }

    #[test]
    fn random_text_is_no_word() {
        assert!(is_word(b"addComponentsFromRegistry"));
        assert!(is_word(b"username"));
        assert!(!is_word(b"a8f5f167f44f4964e6c998dee827110c"));
        assert!(!is_word(b"qRtYpLmNbVcXzAsDfGhJ1"));
    }
}
