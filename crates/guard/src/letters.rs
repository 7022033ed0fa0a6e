//! Small letters of the scripts that most texts are in, without a search in Unicode's tables.

use std::sync::OnceLock;

/// Characters up to here are looked up by their number: Latin with accents, Greek, Cyrillic,
/// Hebrew, Arabic.
const NEAR: usize = 0x700;

/// What stands in the table for no letter or digit, and for a letter whose small form is several.
const NONE: u16 = 0;
const SEVERAL: u16 = u16::MAX;

fn near(c: char) -> Option<u16> {
    static TABLE: OnceLock<Vec<u16>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let entry = |c: char| {
            let mut small = c.to_lowercase();
            match (c.is_alphanumeric(), small.next(), small.next()) {
                (false, ..) => NONE,
                (true, Some(small), None) => u16::try_from(u32::from(small)).unwrap_or(SEVERAL),
                (true, ..) => SEVERAL,
            }
        };
        (0..NEAR as u32).map(|number| char::from_u32(number).map_or(NONE, entry)).collect()
    });
    table.get(c as usize).copied()
}

/// Whether it is a letter or a digit, as [`char::is_alphanumeric`].
pub fn is_alphanumeric(c: char) -> bool {
    near(c).map_or_else(|| c.is_alphanumeric(), |small| small != NONE)
}

/// Hands on the small letters of a letter or digit, as [`char::to_lowercase`]; whether it is one.
pub fn lower(c: char, mut each: impl FnMut(char)) -> bool {
    match near(c) {
        Some(NONE) => return false,
        Some(small) if small != SEVERAL => each(char::from_u32(u32::from(small)).unwrap_or(c)),
        None if !c.is_alphanumeric() => return false,
        Some(_) | None => c.to_lowercase().for_each(each),
    }
    true
}

#[cfg(test)]
mod tests {
    #[test]
    fn they_are_what_unicode_says() {
        for c in '\0'..=char::MAX {
            let mut small = Vec::new();
            assert_eq!(super::lower(c, |small_one| small.push(small_one)), c.is_alphanumeric(), "{c:?}");
            assert_eq!(super::is_alphanumeric(c), c.is_alphanumeric(), "{c:?}");
            if c.is_alphanumeric() {
                assert_eq!(small, c.to_lowercase().collect::<Vec<char>>(), "{c:?}");
            }
        }
    }
}
