//! Output that tells a byte's offset.

/// The byte at an offset of a test's output: no two stretches are alike.
pub fn byte_at(offset: u64) -> u8 {
    (offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

/// Bytes from an offset on.
pub fn bytes_at(offset: u64, len: usize) -> Vec<u8> {
    (offset..).take(len).map(byte_at).collect()
}
