//! Letters that look like Latin ones (Unicode TS 39 has them all; these are the ones that pass
//! unseen in common fonts).

use std::collections::HashMap;
use std::sync::OnceLock;

/// Lookalikes by the Latin letter or digit they look like.
const LOOKALIKES: &[(char, &str)] = &[
    ('a', "аɑαаạą"),
    ('b', "ЬƄᏏ"),
    ('c', "сϲᴄⅽ"),
    ('d', "ԁᏧⅾɗ"),
    ('e', "еҽ℮ẹ"),
    ('f', "ƒẝ"),
    ('g', "ɡցġ"),
    ('h', "һհᏂ"),
    ('i', "іıɩιᎥӏí"),
    ('j', "јϳ"),
    ('k', "κкᴋ"),
    ('l', "ⅼӀ"),
    ('m', "мⅿ"),
    ('n', "ոռп"),
    ('o', "оοօσ०ѳᴏ"),
    ('p', "рρ"),
    ('q', "ԛգ"),
    ('r', "гᴦ"),
    ('s', "ѕꜱ"),
    ('t', "тτᴛ"),
    ('u', "υսᴜ"),
    ('v', "νѵⅴ"),
    ('w', "ԝѡωա"),
    ('x', "хⅹχ"),
    ('y', "уγүỵ"),
    ('z', "ᴢʐ"),
    ('A', "АΑᎪ"),
    ('B', "ВΒᏴ"),
    ('C', "СϹᏟⅭ"),
    ('D', "ᎠⅮ"),
    ('E', "ЕΕᎬ"),
    ('F', "Ϝ"),
    ('G', "ԌᏀ"),
    ('H', "НΗᎻ"),
    ('I', "ІΙ"),
    ('J', "ЈᎫ"),
    ('K', "КΚᏦ"),
    ('L', "ᏞⅬ"),
    ('M', "МΜᎷⅯ"),
    ('N', "Ν"),
    ('O', "ОΟՕ"),
    ('P', "РΡᏢ"),
    ('Q', "Ԛ"),
    ('R', "Ꭱ"),
    ('S', "ЅՏᏚ"),
    ('T', "ТΤᎢ"),
    ('U', "Ս"),
    ('V', "ᏙⅤ"),
    ('W', "ԜᎳ"),
    ('X', "ХΧⅩ"),
    ('Y', "ΥҮ"),
    ('Z', "ΖᏃ"),
    ('3', "Зз"),
    ('4', "Ꮞ"),
    ('6', "б"),
    ('-', "‐‑‒–—−﹣"),
    ('.', "․。"),
    ('/', "⁄∕"),
    (':', "ː꞉"),
    ('\'', "’‘‛ʼ"),
    ('"', "“”„"),
];

/// Letters up to here are looked up by their number.
const NEAR: usize = 0x2200;

/// The Latin letter that this one looks like, if it is another's.
pub fn latin(c: char) -> Option<char> {
    static TABLES: OnceLock<(Vec<u8>, HashMap<char, char>)> = OnceLock::new();
    if c.is_ascii() {
        return None;
    }
    let (near, far) = TABLES.get_or_init(|| {
        let (mut near, mut far) = (vec![0; NEAR], HashMap::new());
        for (latin, others) in LOOKALIKES {
            for other in others.chars() {
                match near.get_mut(other as usize) {
                    Some(place) => *place = *latin as u8,
                    None => drop(far.insert(other, *latin)),
                }
            }
        }
        (near, far)
    });
    match near.get(c as usize) {
        Some(0) => None,
        Some(latin) => Some(char::from(*latin)),
        // Few texts have any of these.
        None if matches!(c, '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}') => None,
        None => far.get(&c).copied(),
    }
}
