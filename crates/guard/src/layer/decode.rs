//! What stands encoded in a text: found by form, decoded, and kept where the result reads as text.

use super::{Layer, MOST_DECODED, MOST_DEPTH, MOST_LAYERS, bases, numbers};

/// Every layer that the text holds: itself first, each followed by what is encoded in it.
///
/// At most [`MOST_LAYERS`] of [`MOST_DECODED`] bytes together, [`MOST_DEPTH`] deep.
pub fn unfold<'a>(first: Layer<'a>) -> Vec<Layer<'a>> {
    let mut layers: Vec<Layer<'a>> = vec![first];
    let (mut at, mut decoded) = (0, 0);
    while at < layers.len() {
        if layers[at].depth < MOST_DEPTH {
            let mut more = Vec::new();
            look(&layers[at], &mut more);
            for layer in more {
                decoded += layer.text.len();
                if layers.len() >= MOST_LAYERS || decoded > MOST_DECODED {
                    return layers;
                }
                // An encoding of what is disguised.
                let plain = super::normalise(&layer);
                layers.push(plain.unwrap_or(layer));
            }
        }
        at += 1;
    }
    layers
}

/// What the one pass that looks for encoded runs asks of bytes: whether it is part of a run, whether a
/// digit, whether escapes may begin with it, whether Morse or markup is made of it.
const RUN: u8 = 1;
const DIGIT: u8 = 2;
const ESCAPE: u8 = 4;
const SIGN: u8 = 8;

const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'0'..=b'9' => RUN | DIGIT,
            b'A'..=b'Z' | b'a'..=b'z' | b'+' | b'/' | b'-' | b'_' => RUN,
            b'%' | b'\\' | b'&' | b'=' => ESCAPE,
            b'.' | b'!' | b'"' | b'<' | b'*' => SIGN,
            _ => 0,
        };
        byte += 1;
    }
    classes
};

const fn run_byte(byte: u8) -> bool {
    CLASSES[byte as usize] & RUN != 0
}

/// Least length of a run that is looked at.
const LEAST_RUN: usize = 16;

fn look(layer: &Layer<'_>, more: &mut Vec<Layer<'static>>) {
    let text = layer.text.as_bytes();
    let mut at = 0;
    let (mut seen, mut signs) = (0, 0usize);
    while at < text.len() && more.len() < MOST_LAYERS {
        let class = CLASSES[usize::from(text[at])];
        seen |= class;
        if class & RUN != 0 {
            let start = at;
            at += 1;
            while at < text.len() && run_byte(text[at]) {
                seen |= CLASSES[usize::from(text[at])];
                at += 1;
            }
            if at - start >= LEAST_RUN {
                at = run(layer, start, at, more);
            }
        } else {
            signs += usize::from(class & SIGN != 0);
            at += 1;
        }
    }
    let (escapes, numbered) = (seen & ESCAPE != 0, seen & DIGIT != 0);
    if escapes {
        numbers::escapes(text, &mut |made, coding| more.push(layer.made(&made, coding)));
    }
    if numbered {
        numbers::lists(text, &mut |made, coding| more.push(layer.made(&made, coding)));
    }
    bases::words85(text, &mut |made, coding| more.push(layer.made(&made, coding)));
    if signs > 8 || text.len() < 400 {
        numbers::morse(text, &mut |made, coding| more.push(layer.made(&made, coding)));
    }
}

/// Looks at a run of letters and digits; answers where to go on.
fn run(layer: &Layer<'_>, start: usize, end: usize, more: &mut Vec<Layer<'static>>) -> usize {
    let text = layer.text.as_bytes();
    // Lines of a block follow each other.
    let mut places: Vec<usize> = (start..end).take(MOST_DECODED / 4).collect();
    let mut last = end;
    while places.len() < MOST_DECODED && end - start >= 32 {
        let escaped = text[last..].starts_with(b"\\n") || text[last..].starts_with(b"\\r");
        let gap =
            text[last..].iter().take(6).take_while(|b| matches!(b, b'\n' | b'\r' | b' ' | b'\t')).count();
        let gap = if escaped { 2 } else { gap };
        let length = text[last + gap..].iter().take_while(|b| run_byte(**b)).count();
        if gap == 0 || length < 4 {
            break;
        }
        // A line as long as the ones before, or the shorter last one; no words.
        let piece = &text[last + gap..last + gap + length];
        if length > end - start
            || length < 16 && last + gap + length < text.len() && text[last + gap + length] != b'='
        {
            break;
        }
        if length < end - start && piece.iter().all(u8::is_ascii_lowercase) {
            break;
        }
        places.extend(last + gap..last + gap + length);
        last = last + gap + length;
        if length < end - start {
            break;
        }
    }
    // Long runs are decoded in part: nothing is gained by more.
    places.truncate(MOST_DECODED / 4);
    let before = more.len();
    let padded = last + padding(text, last);
    bases::decode(text, &places, &mut |mut made, coding| {
        for (_, to) in made.places.iter_mut().filter(|(_, to)| *to as usize == last) {
            *to = u32::try_from(padded).unwrap_or(u32::MAX);
        }
        more.push(layer.made(&made, coding));
    });
    if more.len() > before { last } else { end }
}

/// How many signs behind a run fill it up, as of base 64 and 32; none where one stands before a value.
fn padding(text: &[u8], end: usize) -> usize {
    let signs = text[end..].iter().take(7).take_while(|byte| **byte == b'=').count();
    let is_end = text.get(end + signs).is_none_or(|byte| !run_byte(*byte));
    if signs < 7 && is_end { signs } else { 0 }
}
