//! Character sets (ISO 2022 as far as terminals have it): which of G0 to G3 is in use, and what each is.

/// A character set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Charset {
    #[default]
    Ascii,
    /// DEC special graphics: lines and boxes.
    Graphics,
    /// With a pound sign.
    British,
}

impl Charset {
    /// The byte that designates it.
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Ascii => b'B',
            Self::Graphics => b'0',
            Self::British => b'A',
        }
    }

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Ascii, Self::Graphics, Self::British].into_iter().find(|set| set.byte() == byte)
    }

    fn map(self, character: char) -> char {
        match (self, character) {
            (Self::Graphics, '_'..='~') => GRAPHICS[character as usize - '_' as usize],
            (Self::British, '#') => '£',
            (Self::Ascii | Self::Graphics | Self::British, other) => other,
        }
    }
}

/// What `_` to `~` show (VT220 programmer reference, table 2-4).
const GRAPHICS: [char; 32] = [
    ' ', '◆', '▒', '␉', '␌', '␍', '␊', '°', '±', '␤', '␋', '┘', '┐', '┌', '└', '┼', '⎺', '⎻', '─', '⎼', '⎽',
    '├', '┤', '┴', '┬', '│', '≤', '≥', 'π', '≠', '£', '·',
];

/// The four sets and the one in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Charsets {
    pub(crate) sets: [Charset; 4],
    pub(crate) active: usize,
}

impl Charsets {
    /// Whether characters are what they are.
    pub(crate) fn is_plain(&self) -> bool {
        self.sets[self.active] == Charset::Ascii
    }

    pub(crate) fn map(&self, character: char) -> char {
        self.sets[self.active].map(character)
    }
}
