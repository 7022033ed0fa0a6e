//! Bytes as hexadecimal digits.

use std::fmt::Write as _;

/// The bytes as lower-case digits, two for each.
pub fn text(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes that these digits are; `None` when they are not exactly so many.
pub fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_written_is_read() {
        assert_eq!(super::text(&[0, 0x1f, 0xff]), "001fff");
        assert_eq!(super::bytes("001FfF"), Some([0, 0x1f, 0xff]));
        for wrong in ["", "001ff", "001f", "001ffff", "001fff00", "+01fff", "001ffé"] {
            assert_eq!(super::bytes::<3>(wrong), None, "{wrong}");
        }
    }
}
