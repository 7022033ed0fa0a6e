//! Colours that apps give the palette (OSC 4 and 10 to 19, xterm's control sequences).

/// Longest colour kept, in bytes.
pub(crate) const MAX_SPEC: usize = 64;

/// `#rrggbb` and `rgb:r/g/b` as the latter with four digits each.
pub(crate) fn as_rgb(spec: &str) -> Option<String> {
    let parts: Vec<&str> = match (spec.strip_prefix("rgb:"), spec.strip_prefix('#')) {
        (Some(parts), _) => parts.split('/').collect(),
        (None, Some(digits))
            if digits.is_ascii() && digits.len() % 3 == 0 && (3..=12).contains(&digits.len()) =>
        {
            let width = digits.len() / 3;
            (0..3).map(|part| &digits[part * width..(part + 1) * width]).collect()
        }
        (None, _) => return None,
    };
    let scaled = |part: &str| -> Option<String> {
        let value = u32::from_str_radix(part, 16).ok()?;
        let most = match part.len() {
            1 => 0xf,
            2 => 0xff,
            3 => 0xfff,
            4 => 0xffff,
            _ => return None,
        };
        Some(format!("{:04x}", value * 0xffff / most))
    };
    match parts[..] {
        [red, green, blue] => Some(format!("rgb:{}/{}/{}", scaled(red)?, scaled(green)?, scaled(blue)?)),
        _ => None,
    }
}
