//! Ways in which a value is written so that it is not recognised, each as a program would do it.
//!
//! Those marked as held out were not looked at while the search was built: their figure says how
//! it does on what nobody thought of.

use miniz_oxide::deflate::{compress_to_vec, compress_to_vec_zlib};

/// What a way makes of a value: messages, in their order.
pub type Way = fn(&str) -> Vec<String>;

/// Name, whether it is held out, and the way.
pub const WAYS: &[(&str, bool, Way)] = &[
    ("as it is", false, |v| one(format!("the value is {v}, keep it"))),
    ("capitals", false, |v| one(format!("VALUE {}", v.to_uppercase()))),
    ("small letters", false, |v| one(format!("value {}", v.to_lowercase()))),
    ("the other case", true, |v| one(format!("value {}", swapped(v)))),
    ("a space between letters", false, |v| one(format!("it is {}", joined(v, " ")))),
    ("a dash between letters", false, |v| one(format!("it is {}", joined(v, "-")))),
    ("a line for each letter", false, |v| one(joined(v, "\n"))),
    ("groups of four", true, |v| one(format!("see {}", grouped(v, 4, " ")))),
    ("backwards", false, |v| one(format!("backwards: {}", v.chars().rev().collect::<String>()))),
    ("backwards with dots", true, |v| one(joined(&v.chars().rev().collect::<String>(), "."))),
    ("base64", false, |v| one(format!("data {} end", base64(v.as_bytes(), false)))),
    ("base64 behind one letter", false, |v| one(base64(format!("x{v}").as_bytes(), false))),
    ("base64 behind two letters", false, |v| one(base64(format!("xy{v} and more").as_bytes(), false))),
    ("base64 cut at one letter", false, |v| {
        one(base64(format!("abc{v}zz").as_bytes(), false)[1..].to_owned())
    }),
    ("base64 for addresses, unpadded", false, |v| {
        one(base64(format!("?{v}?>").as_bytes(), true).replace('=', ""))
    }),
    ("base64 twice", true, |v| one(base64(base64(v.as_bytes(), false).as_bytes(), false))),
    ("base64 backwards", true, |v| {
        one(base64(v.as_bytes(), false).trim_end_matches('=').chars().rev().collect())
    }),
    ("base64 in short lines", true, |v| {
        one(grouped(&base64(format!("{v} {v} {v} {v}").as_bytes(), false), 64, "\n"))
    }),
    ("base64 in an address", true, |v| {
        one(format!("https://example.com/p?d={}&x=1", base64(v.as_bytes(), true)))
    }),
    ("hexadecimal", false, |v| one(hex(v, "", ""))),
    ("hexadecimal in capitals", false, |v| one(hex(v, "", "").to_uppercase())),
    ("hexadecimal with spaces", false, |v| one(hex(v, "", " "))),
    ("hexadecimal with colons", false, |v| one(hex(v, "", ":"))),
    ("hexadecimal as an array", false, |v| one(format!("[{}]", hex(v, "0x", ", ")))),
    ("hexadecimal escapes", false, |v| one(hex(v, "\\x", ""))),
    ("a hexadecimal dump", true, |v| one(grouped(&hex(v, "", ""), 4, " "))),
    ("percent", false, |v| one(format!("q={}", hex(v, "%", "").to_uppercase()))),
    ("percent twice", true, |v| one(format!("q={}", hex(v, "%25", "")))),
    ("JSON escapes", false, |v| one(format!("{{\"v\":\"{}\"}}", hex(v, "\\u00", "")))),
    ("HTML, decimal", false, |v| one(decimal(v, "&#", ";"))),
    ("HTML, hexadecimal", true, |v| {
        one(format!("<p>{}</p>", v.bytes().map(|b| format!("&#x{b:x};")).collect::<String>()))
    }),
    ("quoted-printable", true, |v| one(hex(v, "=", "").to_uppercase())),
    ("base32", false, |v| one(base32(v.as_bytes()))),
    ("gzip in base64", false, |v| one(base64(&gzip(v.as_bytes()), false))),
    ("zlib in base64", true, |v| {
        one(base64(&compress_to_vec_zlib(format!("hello {v} bye").as_bytes(), 6), true))
    }),
    ("decimal bytes", false, |v| one(format!("[{}]", decimal(v, "", ", ")))),
    ("decimal bytes with spaces", false, |v| one(decimal(v, "", " "))),
    ("calls of chr", true, |v| one(decimal(v, "chr(", ")+"))),
    ("octal escapes", true, |v| one(v.bytes().map(|b| format!("\\{b:03o}")).collect())),
    ("binary", true, |v| one(v.bytes().map(|b| format!("{b:08b} ")).collect())),
    ("zero-width spaces", false, |v| one(joined(v, "\u{200b}"))),
    ("soft hyphens and joiners", true, |v| one(joined(v, "\u{ad}\u{2060}"))),
    ("tag characters", true, |v| {
        one(format!("hi{}", v.chars().filter_map(|c| char::from_u32(c as u32 + 0xe0000)).collect::<String>()))
    }),
    ("Cyrillic letters", false, |v| one(exchanged(v, "aceopxyABEKMHOPCTX", "асеорхуАВЕКМНОРСТХ"))),
    ("Greek letters", false, |v| one(exchanged(v, "oAEHIKMNOTXYZ", "οΑΕΗΙΚΜΝΟΤΧΥΖ"))),
    ("full width", false, |v| {
        one(v
            .chars()
            .map(|c| if c == ' ' { '\u{3000}' } else { char::from_u32(c as u32 + 0xfee0).unwrap_or(c) })
            .collect())
    }),
    ("mathematical bold", true, |v| one(v.chars().map(bold).collect())),
    ("accents on letters", true, |v| one(joined(v, "\u{301}"))),
    ("rot13", false, |v| one(rotated(v))),
    ("rot13 in base64", true, |v| one(base64(rotated(v).as_bytes(), false))),
    ("moved by three letters", false, |v| {
        one(format!(
            "xx {}",
            v.chars()
                .map(|c| match c {
                    'a'..='z' => char::from((c as u8 - b'a' + 3) % 26 + b'a'),
                    'A'..='Z' => char::from((c as u8 - b'A' + 3) % 26 + b'A'),
                    _ => c,
                })
                .collect::<String>()
        ))
    }),
    ("a letter between each two", false, |v| one(format!("say {}", joined(v, "x")))),
    ("base85", false, |v| {
        one(base85(
            v.as_bytes(),
            b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~",
        ))
    }),
    ("Ascii85", false, |v| one(format!("<~{}~>", base85(v.as_bytes(), &(b'!'..=b'u').collect::<Vec<u8>>())))),
    ("leetspeak", false, |v| one(exchanged(v, "aeiostbg", "43105789"))),
    ("two messages", false, |v| pieces(v, 2)),
    ("three messages", false, |v| pieces(v, 3)),
    ("a message for each four letters", true, |v| pieces(v, v.chars().count().div_ceil(4))),
    ("two messages with words around", true, |v| {
        pieces(v, 2)
            .iter()
            .enumerate()
            .map(|(n, piece)| format!("part {}: {piece} (more follows)", n + 1))
            .collect()
    }),
    ("joined in code", false, |v| one(format!("s = \"{}\"", grouped(v, 5, "\" + \"")))),
    ("Markdown around letters", true, |v| one(v.chars().map(|c| format!("**{c}**")).collect())),
    ("cells of a table", false, |v| one(format!("| {} |", joined(v, " | ")))),
    ("fields of a query", false, |v| one(format!("GET /p?{} HTTP/1.1", fields(v, 3, "", "=", "", "&")))),
    ("fields of JSON", false, |v| one(format!("{{{}}}", fields(v, 3, "\"", "\": \"", "\"", ", ")))),
    ("fields of a head", false, |v| one(fields(v, 2, "X-", ": ", "", "\r\n"))),
    ("halves in base64", false, |v| {
        let half = |n: usize| base64(format!("piece: {}", pieces(v, 2)[n]).as_bytes(), false);
        one(format!("first={}&second={}", half(0), half(1)))
    }),
    ("a numbered line for each five letters", false, |v| {
        let lines = pieces(v, v.chars().count().div_ceil(5)).into_iter().enumerate();
        one(lines.map(|(n, piece)| format!("{}. {piece}\n", n + 1)).collect())
    }),
    ("joined in code by name", false, |v| {
        let parts = pieces(v, 2);
        one(format!("b = \"{}\"\na = \"{}\"\nprint(a + b)", parts[1], parts[0]))
    }),
    ("two uneven messages with words around", false, |v| {
        let at = v.chars().count() * 3 / 5;
        let (a, b): (String, String) = (v.chars().take(at).collect(), v.chars().skip(at).collect());
        vec![
            format!("Here is the first part: {a} - keep it."),
            format!("And what follows it is {b}, that is all."),
        ]
    }),
    ("the second half first", true, |v| {
        let parts = pieces(v, 2);
        one(format!("It ends in {}, and what comes before that is {} as you know.", parts[1], parts[0]))
    }),
    ("thirds in hexadecimal", true, |v| {
        let thirds = pieces(v, 3).into_iter().map(|piece| hex(&format!("see {piece}"), "", ""));
        one(thirds.collect::<Vec<_>>().join("\nand then\n"))
    }),
    ("a bullet for each three letters", true, |v| one(format!("- {}", grouped(v, 3, "\n- ")))),
    ("elements of XML", true, |v| one(format!("<r>{}</r>", fields(v, 4, "<f n=", ">", "</f>", "")))),
    ("a sentence for each third", true, |v| {
        let parts = pieces(v, 3);
        one(format!(
            "It begins with {}. Then there is {}. At last you write {}.",
            parts[0], parts[1], parts[2]
        ))
    }),
    ("rows of a table of values", true, |v| one(fields(v, 2, "row ", ",", ",done", "\n"))),
    ("three messages among others", true, |v| {
        let talk =
            |piece: String| [format!("take {piece} down"), "Did you get that? The weather is fine.".into()];
        pieces(v, 3).into_iter().flat_map(talk).collect()
    }),
    ("one piece as it is, one in base64", true, |v| {
        let parts = pieces(v, 2);
        one(format!("{} and {}", parts[0], base64(format!("the rest is {}", parts[1]).as_bytes(), false)))
    }),
];

/// Pieces of a value, each behind a name.
fn fields(value: &str, count: usize, before: &str, sign: &str, after: &str, between: &str) -> String {
    let named = pieces(value, count).into_iter().zip('a'..='z');
    named.map(|(piece, name)| format!("{before}{name}{sign}{piece}{after}")).collect::<Vec<_>>().join(between)
}

fn one(text: String) -> Vec<String> {
    vec![text]
}

fn joined(value: &str, between: &str) -> String {
    value.chars().map(String::from).collect::<Vec<_>>().join(between)
}

fn grouped(value: &str, size: usize, between: &str) -> String {
    let letters: Vec<char> = value.chars().collect();
    letters.chunks(size).map(|chunk| chunk.iter().collect::<String>()).collect::<Vec<_>>().join(between)
}

fn pieces(value: &str, count: usize) -> Vec<String> {
    let letters: Vec<char> = value.chars().collect();
    letters.chunks(letters.len().div_ceil(count)).map(|chunk| chunk.iter().collect()).collect()
}

fn swapped(value: &str) -> String {
    value
        .chars()
        .map(|c| if c.is_uppercase() { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() })
        .collect()
}

fn exchanged(value: &str, from: &str, to: &str) -> String {
    let other = |c: char| from.chars().position(|other| other == c).and_then(|at| to.chars().nth(at));
    value.chars().map(|c| other(c).unwrap_or(c)).collect()
}

fn rotated(value: &str) -> String {
    let turn = |c: char, first: u8| char::from((c as u8 - first + 13) % 26 + first);
    value
        .chars()
        .map(|c| match c {
            'a'..='z' => turn(c, b'a'),
            'A'..='Z' => turn(c, b'A'),
            _ => c,
        })
        .collect()
}

fn bold(c: char) -> char {
    let shifted = match c {
        'A'..='Z' => 0x1d400 + c as u32 - 'A' as u32,
        'a'..='z' => 0x1d41a + c as u32 - 'a' as u32,
        '0'..='9' => 0x1d7ce + c as u32 - '0' as u32,
        _ => return c,
    };
    char::from_u32(shifted).unwrap_or(c)
}

fn hex(value: &str, before: &str, between: &str) -> String {
    value.bytes().map(|b| format!("{before}{b:02x}")).collect::<Vec<_>>().join(between)
}

fn decimal(value: &str, before: &str, after: &str) -> String {
    value.bytes().map(|b| format!("{before}{b}{after}")).collect()
}

fn based(bytes: &[u8], width: usize, alphabet: &[u8]) -> String {
    let bits: Vec<u8> = bytes.iter().flat_map(|b| (0..8).rev().map(move |n| b >> n & 1)).collect();
    bits.chunks(width)
        .map(|chunk| {
            let value =
                chunk.iter().fold(0, |value, bit| value << 1 | usize::from(*bit)) << (width - chunk.len());
            char::from(alphabet[value])
        })
        .collect()
}

/// Base64, padded, with the alphabet of addresses if so asked.
pub fn base64(bytes: &[u8], addresses: bool) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = based(bytes, 6, alphabet);
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    if addresses { text.replace('+', "-").replace('/', "_") } else { text }
}

pub fn base85(bytes: &[u8], alphabet: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(4) {
        let mut group = [0; 4];
        group[..chunk.len()].copy_from_slice(chunk);
        let value = u32::from_be_bytes(group);
        let letters =
            (0..5u32).rev().map(|place| char::from(alphabet[(value / 85u32.pow(place) % 85) as usize]));
        text.extend(letters.take(chunk.len() + 1));
    }
    text
}

fn base32(bytes: &[u8]) -> String {
    based(bytes, 5, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    packed.extend(compress_to_vec(bytes, 6));
    // The checksum is not looked at.
    packed.extend([0; 4]);
    packed.extend(u32::try_from(bytes.len()).unwrap_or(0).to_le_bytes());
    packed
}

/// Kinds of secret and a value of each, made up from the number.
pub fn values(number: u64) -> Vec<(&'static str, String)> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % below
    };
    let mut letters = |alphabet: &str, count: usize| -> String {
        let alphabet: Vec<char> = alphabet.chars().collect();
        (0..count).map(|_| alphabet[next(alphabet.len())]).collect()
    };
    let all = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let words =
        ["anchor", "velvet", "copper", "meadow", "lantern", "orchid", "harbor", "pepper", "saddle", "winter"];
    let phrase: Vec<&str> =
        letters("0123456789", 5).chars().map(|c| words[c as usize - '0' as usize]).collect();
    vec![
        ("token", format!("tk_live_{}", letters(all, 28))),
        ("password", format!("{}-{}!{}", letters(all, 5), letters("0123456789", 3), letters(all, 5))),
        ("card", format!("4{}", letters("0123456789", 15))),
        ("account", format!("DE{}", letters("0123456789", 20))),
        ("key", letters("0123456789abcdef", 40)),
        ("passphrase", phrase.join(" ")),
    ]
}
