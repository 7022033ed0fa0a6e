//! Base 64, 32, 16 and 58, and what is compressed inside of them.

use core::ops::Range;

use miniz_oxide::inflate::{decompress_to_vec_with_limit, decompress_to_vec_zlib_with_limit};

use super::{MOST_DECODED, Made, reads};

type Sink<'a> = &'a mut dyn FnMut(Made, &'static str);

/// Decodes the letters at these places every way that yields text.
pub fn decode(text: &[u8], places: &[usize], sink: Sink<'_>) {
    if is_uuid(text, places) {
        return;
    }
    let letters: Vec<u8> = places.iter().map(|at| text[*at]).collect();
    let mut seen = [0u32; 4];
    for letter in &letters {
        match letter {
            b'0'..=b'9' => seen[0] += 1,
            b'A'..=b'Z' => seen[1] += 1,
            b'a'..=b'z' => seen[2] += 1,
            _ => seen[3] += 1,
        }
    }
    // A long word or a path in small letters is nothing encoded.
    if seen[0] == 0 && seen[1] == 0 && letters.len() < 40 || seen[0] + seen[1] == 0 && seen[3] > 0 {
        return;
    }
    if letters.iter().all(|letter| matches!(letter, b'0' | b'1')) {
        take(bits(&letters, places, 1, hex_value), "binary", sink);
        return;
    }
    let hex = letters.iter().all(u8::is_ascii_hexdigit);
    if hex {
        // Without any other letter in so many, it is nothing of more letters.
        if decode_hex(&letters, places, sink) || letters.len() > 24 {
            return;
        }
    } else {
        narrower(&letters, places, sink);
    }
    if seen[3] == 0 && letters.iter().all(|letter| base32_value(letter.to_ascii_uppercase()).is_some()) {
        let read = (0..8.min(letters.len())).any(|skip| {
            take(
                bits(&letters[skip..], &places[skip..], 5, |b| base32_value(b.to_ascii_uppercase())),
                "base32",
                sink,
            )
        });
        // Short runs may be of more letters and read so by chance.
        if read && letters.len() >= 64 {
            return;
        }
    }
    // Short runs read in more than one way by chance, so that no way ends the search.
    let mut read = false;
    for skip in 0..4 {
        read |= take(bits(&letters[skip..], &places[skip..], 6, base64_value), "base64", sink);
    }
    // What is glued before it, such as a path or a name, is not of it.
    if let Some(cut) = letters.iter().take(letters.len() / 2).rposition(|b| matches!(b, b'/' | b'_' | b'-')) {
        let (letters, places) = (&letters[cut + 1..], &places[cut + 1..]);
        if letters.len() >= 12 && !read {
            read |= take(bits(letters, places, 6, base64_value), "base64", sink);
        }
    }
    if !read || letters.len() < 64 {
        let (back, back_places) = reversed(&letters, places);
        for skip in 0..4 {
            read |= take(bits(&back[skip..], &back_places[skip..], 6, base64_value), "base64", sink);
        }
    }
    if !read && seen[3] == 0 && letters.len() <= 120 && seen[..3].iter().all(|count| *count > 0) {
        take(base58(&letters, places), "base58", sink);
    }
}

/// Digits in base 16, forwards or backwards.
fn decode_hex(letters: &[u8], places: &[usize], sink: Sink<'_>) -> bool {
    for skip in 0..2 {
        if take(bits(&letters[skip..], &places[skip..], 4, hex_value), "hex", sink) {
            return true;
        }
    }
    let (back, back_places) = reversed(letters, places);
    take(bits(&back, &back_places, 4, hex_value), "hex", sink)
}

/// Least letters of an encoding among others that are glued to it, and most of those in one run.
const LEAST_GLUED: usize = 16;
const MOST_GLUED: usize = 8;

/// What is of fewer letters than what is glued to it: digits in base 16 or 2 among others, and what a path or a name
/// with signs has in base 32 or 58.
fn narrower(letters: &[u8], places: &[usize], sink: Sink<'_>) {
    let pieces = |within: fn(&u8) -> bool| {
        let mut at = 0;
        let runs = letters.split(move |letter| !within(letter)).map(move |piece| {
            let from = at;
            at += piece.len() + 1;
            (from, piece)
        });
        runs.filter(|(_, piece)| piece.len() >= LEAST_GLUED).take(MOST_GLUED)
    };
    for (from, piece) in pieces(u8::is_ascii_hexdigit) {
        let places = &places[from..from + piece.len()];
        if piece.iter().all(|letter| matches!(letter, b'0' | b'1')) {
            take(bits(piece, places, 1, hex_value), "binary", sink);
        } else {
            decode_hex(piece, places, sink);
        }
    }
    for (from, piece) in pieces(u8::is_ascii_alphanumeric).filter(|(_, piece)| piece.len() < letters.len()) {
        let places = &places[from..from + piece.len()];
        if piece.iter().all(u8::is_ascii_hexdigit) {
            continue;
        }
        if piece.iter().all(|letter| base32_value(letter.to_ascii_uppercase()).is_some()) {
            for skip in 0..8.min(piece.len()) {
                let made = bits(&piece[skip..], &places[skip..], 5, |b| base32_value(b.to_ascii_uppercase()));
                take(made, "base32", sink);
            }
        }
        let kinds: [fn(&u8) -> bool; 3] =
            [u8::is_ascii_digit, u8::is_ascii_uppercase, u8::is_ascii_lowercase];
        if piece.len() <= 120 && kinds.iter().all(|kind| piece.iter().any(kind)) {
            take(base58(piece, places), "base58", sink);
        }
    }
}

fn reversed(letters: &[u8], places: &[usize]) -> (Vec<u8>, Vec<usize>) {
    (letters.iter().rev().copied().collect(), places.iter().rev().copied().collect())
}

/// Whether it is a UUID.
fn is_uuid(text: &[u8], places: &[usize]) -> bool {
    places.len() == 36
        && places.iter().enumerate().all(|(at, place)| match at {
            8 | 13 | 18 | 23 => text[*place] == b'-',
            _ => text[*place].is_ascii_hexdigit(),
        })
}

/// Hands it on if it reads as text, or holds something compressed that does.
fn take(made: Made, coding: &'static str, sink: Sink<'_>) -> bool {
    if made.reads() {
        sink(made, coding);
        return true;
    }
    let packed = match made.bytes.as_slice() {
        [0x1f, 0x8b, 8, flags, rest @ ..] => {
            gzip_body(*flags, rest).and_then(|body| decompress_to_vec_with_limit(body, MOST_DECODED / 4).ok())
        }
        [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] => {
            decompress_to_vec_zlib_with_limit(&made.bytes, MOST_DECODED / 4).ok()
        }
        _ => None,
    };
    let Some(bytes) = packed else { return false };
    // No byte of it comes from fewer than all.
    let start = made.places.iter().map(|(start, _)| *start).min().unwrap_or(0);
    let end = made.places.iter().map(|(_, end)| *end).max().unwrap_or(0);
    let places = vec![(start, end); bytes.len()];
    let unpacked = Made { bytes, places };
    let reads = unpacked.reads();
    if reads {
        sink(unpacked, "compressed");
    }
    reads
}

/// What follows the head of a gzip member (RFC 1952).
pub fn gzip_body(flags: u8, rest: &[u8]) -> Option<&[u8]> {
    let mut rest = rest.get(6..)?;
    if flags & 4 != 0 {
        let length = usize::from(*rest.first()?) | usize::from(*rest.get(1)?) << 8;
        rest = rest.get(2 + length..)?;
    }
    for flag in [8, 16] {
        if flags & flag != 0 {
            let end = rest.iter().position(|byte| *byte == 0)?;
            rest = rest.get(end + 1..)?;
        }
    }
    if flags & 2 != 0 { rest.get(2..) } else { Some(rest) }
}

/// Joins the bits of each letter to bytes.
fn bits(letters: &[u8], places: &[usize], width: u32, value: impl Fn(u8) -> Option<u32>) -> Made {
    let mut made = Made::default();
    let (mut held, mut count, mut from) = (0u32, 0, 0);
    for (letter, place) in letters.iter().zip(places) {
        let Some(value) = value(*letter) else { break };
        if count == 0 {
            from = *place;
        }
        held = held << width | value;
        count += width;
        if count >= 8 {
            count -= 8;
            made.push((held >> count) as u8, from.min(*place), from.max(*place) + 1);
            held &= (1 << count) - 1;
            from = *place;
            // The first letters already tell what is no text at all.
            if made.bytes.len() == 24 && !made.reads() && !matches!(made.bytes[0], 0x1f | 0x78) {
                return Made::default();
            }
        }
    }
    made
}

fn hex_value(byte: u8) -> Option<u32> {
    char::from(byte).to_digit(16)
}

fn base32_value(byte: u8) -> Option<u32> {
    match byte {
        b'A'..=b'Z' => Some(u32::from(byte - b'A')),
        b'2'..=b'7' => Some(u32::from(byte - b'2') + 26),
        _ => None,
    }
}

fn base64_value(byte: u8) -> Option<u32> {
    match byte {
        b'A'..=b'Z' => Some(u32::from(byte - b'A')),
        b'a'..=b'z' => Some(u32::from(byte - b'a') + 26),
        b'0'..=b'9' => Some(u32::from(byte - b'0') + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

/// A number in base 58, as Bitcoin writes it; no byte of it comes from fewer than all letters.
fn base58(letters: &[u8], places: &[usize]) -> Made {
    const ALPHABET: &[u8] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut bytes: Vec<u8> = Vec::new();
    for letter in letters {
        let Some(value) = ALPHABET.iter().position(|other| other == letter) else { return Made::default() };
        let mut carry = value as u32;
        for byte in &mut bytes {
            carry += u32::from(*byte) * 58;
            *byte = carry as u8;
            carry >>= 8;
        }
        while carry > 0 {
            bytes.push(carry as u8);
            carry >>= 8;
        }
    }
    let mut made = Made::default();
    let (from, to) = (places[0], places[places.len() - 1] + 1);
    bytes.iter().rev().for_each(|byte| made.push(*byte, from, to));
    made
}

/// The letters of base 85 as Git, Python and RFC 1924 have them.
const BASE85: &[u8; 85] =
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";

/// No digit.
const NONE: u8 = 255;

/// Digits by their letters: of Ascii85, and of [`BASE85`].
const ALPHABETS: [[u8; 256]; 2] = {
    let mut tables = [[NONE; 256]; 2];
    let mut digit = 0;
    while digit < 85 {
        tables[0][b'!' as usize + digit] = digit as u8;
        tables[1][BASE85[digit] as usize] = digit as u8;
        digit += 1;
    }
    tables
};

/// Lengths of a word in base 85.
const LEAST_WORD: usize = 10;
const MOST_WORD: usize = 4096;

/// Punctuation among what words are made of; [`NONE`] for what no word is made of.
const SIGNS: [u8; 256] = {
    let mut signs = [NONE; 256];
    let mut byte = 0;
    while byte < 128 {
        let b = byte as u8;
        if b.is_ascii_graphic() {
            signs[byte] = b.is_ascii_punctuation() as u8;
        }
        byte += 1;
    }
    signs
};

/// Words in base 85, of either alphabet.
pub fn words85(text: &[u8], sink: Sink<'_>) {
    let mut at = 0;
    while at < text.len() {
        let (mut length, mut signs) = (0, 0);
        for byte in text[at..].iter().take(MOST_WORD) {
            let sign = SIGNS[usize::from(*byte)];
            if sign == NONE {
                break;
            }
            length += 1;
            signs += usize::from(sign);
        }
        let (mut from, mut to) = (at, at + length);
        at = to + 1;
        if length < LEAST_WORD {
            continue;
        }
        if text[from..to].starts_with(b"<~") {
            from += 2;
            signs -= 2;
        }
        if text[from..to].ends_with(b"~>") {
            to -= 2;
            signs -= 2;
        }
        let word = &text[from..to];
        // Hardly a tenth of the signs of a word are punctuation, a quarter of base 85 is.
        if word.len() < LEAST_WORD || signs * 12 < word.len() {
            continue;
        }
        let mut is_read = false;
        for digits in ALPHABETS.iter().filter(|_| signs * 2 <= word.len()) {
            let made = fives(word, from, digits);
            if made.reads() {
                is_read = true;
                sink(made, "base85");
            }
        }
        if !is_read {
            glued85(text, from..to, sink);
        }
    }
}

/// Least bytes of what is glued to something.
const LEAST_OF_GLUED: usize = 8;

/// Base 85 within a word: behind a name, a quotation mark or another sign, up to what is no letter of it.
fn glued85(text: &[u8], word: Range<usize>, sink: Sink<'_>) {
    let (mut at, mut tried) = (word.start, 0);
    while at + LEAST_WORD < word.end && tried < MOST_GLUED {
        at += 1;
        if !BEFORE_GLUED[usize::from(text[at - 1])] {
            continue;
        }
        for digits in &ALPHABETS {
            if !begins_text(&text[at..word.end], digits) {
                continue;
            }
            tried += 1;
            let made = fives_until(&text[at..end_of_glued(text, at, word.end)], at, digits);
            if made.bytes.len() >= LEAST_OF_GLUED && made.reads() {
                at = made.places.last().map_or(at, |(_, end)| *end as usize);
                sink(made, "base85");
                break;
            }
        }
    }
}

/// Signs that stand before what is glued to them.
const BEFORE_GLUED: [bool; 256] = {
    let (mut table, signs, mut at) = ([false; 256], *b"=\"':,([>`~/", 0);
    while at < signs.len() {
        table[signs[at] as usize] = true;
        at += 1;
    }
    table
};

/// Whether the first two groups are of digits that read as text in ASCII: each begins then with a digit of these.
fn begins_text(letters: &[u8], digits: &[u8; 256]) -> bool {
    let is_first = |at: usize| letters.get(at).is_some_and(|b| (10..=40).contains(&digits[usize::from(*b)]));
    if !is_first(0) || !is_first(5) {
        return false;
    }
    let reads = |group: Option<&[u8]>| {
        let four = group.and_then(|group| five(group, digits));
        four.is_some_and(|four| four.iter().all(|byte| matches!(byte, b' '..=b'~')))
    };
    reads(letters.get(..5)) && reads(letters.get(5..10))
}

/// Where what begins here ends, of signs that may be digits as well: with the quotation mark that it began with, or
/// before the next field of a query.
fn end_of_glued(text: &[u8], from: usize, end: usize) -> usize {
    let (letters, before) = (&text[from..end], text[from - 1]);
    let ends = |at: &usize| {
        let rest = &letters[at + 1..];
        match before {
            b'"' | b'\'' | b'`' => {
                letters[*at] == before && rest.first().is_none_or(|next| b",}])>:;/".contains(next))
            }
            _ => {
                let name =
                    rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
                letters[*at] == b'&' && (1..=16).contains(&name) && rest.get(name) == Some(&b'=')
            }
        }
    };
    (0..letters.len()).find(ends).map_or(end, |at| from + at)
}

/// Groups of five as far as there are digits, and as it reads.
fn fives_until(letters: &[u8], from: usize, digits: &[u8; 256]) -> Made {
    let mut made = Made::default();
    for (group, letters) in letters.chunks(5).enumerate() {
        let length = letters.iter().take_while(|letter| digits[usize::from(**letter)] != NONE).count();
        let Some(four) = five(&letters[..length], digits).filter(|_| length > 1) else { break };
        let start = from + group * 5;
        four[..length - 1].iter().for_each(|byte| made.push(*byte, start, start + length));
        if length < 5 || group == 3 && !made.reads() {
            break;
        }
    }
    made
}

/// Groups of five letters as four bytes; a last group of fewer as one byte less.
fn fives(word: &[u8], from: usize, digits: &[u8; 256]) -> Made {
    // The first letters already tell what is no text at all.
    let mut first = [0; 12];
    for (letters, bytes) in word.chunks_exact(5).zip(first.chunks_exact_mut(4)) {
        let Some(four) = five(letters, digits) else { return Made::default() };
        bytes.copy_from_slice(&four);
    }
    if word.len() >= 15 && !reads(&first) {
        return Made::default();
    }
    let mut made = Made::default();
    for (group, letters) in word.chunks(5).enumerate() {
        let Some(four) = five(letters, digits) else { return Made::default() };
        let start = from + group * 5;
        for byte in &four[..letters.len().saturating_sub(1)] {
            made.push(*byte, start, start + letters.len());
        }
    }
    made
}

/// The number that up to five letters are; what is missing counts as the last digit.
fn five(letters: &[u8], digits: &[u8; 256]) -> Option<[u8; 4]> {
    let mut sum: u64 = 0;
    for place in 0..5 {
        let digit = letters.get(place).map_or(84, |letter| digits[usize::from(*letter)]);
        if digit == NONE {
            return None;
        }
        sum = sum * 85 + u64::from(digit);
    }
    u32::try_from(sum).ok().map(u32::to_be_bytes)
}
