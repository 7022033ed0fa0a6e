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
    /// A national replacement set, by its place among them.
    National(u8),
}

impl Charset {
    /// What designates it, behind the byte that says as which.
    pub(crate) fn designator(self) -> &'static str {
        match self {
            Self::Ascii => "B",
            Self::Graphics => "0",
            Self::British => "A",
            Self::National(place) => NATIONAL[usize::from(place)].0[0],
        }
    }

    /// National ones are there only in the mode that allows them.
    pub(crate) fn designated(designator: &[u8], national: bool) -> Option<Self> {
        let common = [Self::Ascii, Self::Graphics, Self::British];
        let known = common.into_iter().find(|set| set.designator().as_bytes() == designator);
        let place =
            || NATIONAL.iter().position(|(names, _)| names.iter().any(|name| name.as_bytes() == designator));
        known.or_else(|| place().filter(|_| national).map(|place| Self::National(place as u8)))
    }

    fn map(self, character: char) -> char {
        match (self, character) {
            (Self::Graphics, '_'..='~') => GRAPHICS[character as usize - '_' as usize],
            (Self::British, '#') => '£',
            (Self::National(place), _) => {
                let found = REPLACED.iter().position(|&replaced| replaced == character);
                found.map_or(character, |at| NATIONAL[usize::from(place)].1[at])
            }
            (Self::Ascii | Self::Graphics | Self::British, other) => other,
        }
    }
}

/// What `_` to `~` show (VT220 programmer reference, table 2-4).
const GRAPHICS: [char; 32] = [
    ' ', '◆', '▒', '␉', '␌', '␍', '␊', '°', '±', '␤', '␋', '┘', '┐', '┌', '└', '┼', '⎺', '⎻', '─', '⎼', '⎽',
    '├', '┤', '┴', '┬', '│', '≤', '≥', 'π', '≠', '£', '·',
];

/// The characters that national sets replace.
const REPLACED: [char; 12] = ['#', '@', '[', '\\', ']', '^', '_', '`', '{', '|', '}', '~'];

/// National replacement sets: what designates each, and what it has in their place (VT220 programmer
/// reference, appendix A; VT320's for Portuguese).
const NATIONAL: [(&[&str], [char; 12]); 11] = [
    // Dutch, Finnish, French, French Canadian, German, Italian.
    (&["4"], ['£', '¾', 'ÿ', '½', '|', '^', '_', '`', '¨', 'ƒ', '¼', '´']),
    (&["C", "5"], ['#', '@', 'Ä', 'Ö', 'Å', 'Ü', '_', 'é', 'ä', 'ö', 'å', 'ü']),
    (&["R", "f"], ['£', 'à', '°', 'ç', '§', '^', '_', '`', 'é', 'ù', 'è', '¨']),
    (&["Q", "9"], ['#', 'à', 'â', 'ç', 'ê', 'î', '_', 'ô', 'é', 'ù', 'è', 'û']),
    (&["K"], ['#', '§', 'Ä', 'Ö', 'Ü', '^', '_', '`', 'ä', 'ö', 'ü', 'ß']),
    (&["Y"], ['£', '§', '°', 'ç', 'é', '^', '_', 'ù', 'à', 'ò', 'è', 'ì']),
    // Norwegian and Danish, Portuguese, Spanish, Swedish, Swiss.
    (&["`", "E", "6"], ['#', 'Ä', 'Æ', 'Ø', 'Å', 'Ü', '_', 'ä', 'æ', 'ø', 'å', 'ü']),
    (&["%6"], ['#', '@', 'Ã', 'Ç', 'Õ', '^', '_', '`', 'ã', 'ç', 'õ', '~']),
    (&["Z"], ['£', '§', '¡', 'Ñ', '¿', '^', '_', '`', '°', 'ñ', 'ç', '~']),
    (&["H", "7"], ['#', 'É', 'Ä', 'Ö', 'Å', 'Ü', '_', 'é', 'ä', 'ö', 'å', 'ü']),
    (&["="], ['ù', 'à', 'é', 'ç', 'ê', 'î', 'è', 'ô', 'ä', 'ö', 'ü', 'û']),
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

    /// What a character shows, in the set in use or in another that was shifted in for it alone.
    #[inline]
    pub(crate) fn map(&self, character: char, single: Option<usize>) -> char {
        let set = self.sets[single.unwrap_or(self.active)];
        if set == Charset::Ascii { character } else { set.map(character) }
    }

    pub(crate) fn has_national(&self) -> bool {
        self.sets.iter().any(|set| matches!(set, Charset::National(_)))
    }
}
