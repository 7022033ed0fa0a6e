//! Colours and attributes of what is written: select graphic rendition (ECMA-48 8.3.117, and the
//! extensions of xterm and kitty for colours and underlines).

use std::fmt::Write as _;

/// A colour as the app named it; what it looks like is for the terminal that draws it to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Color {
    /// The terminal's own.
    #[default]
    Default,
    /// One of the palette's 256.
    Indexed(u8),
    /// Red, green, blue.
    Rgb(u8, u8, u8),
}

/// How text is underlined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Underline {
    #[default]
    None = 0,
    Single = 1,
    Double = 2,
    Curly = 3,
    Dotted = 4,
    Dashed = 5,
}

impl Underline {
    /// From the number after the colon in `4:3`.
    #[must_use]
    pub fn from_number(number: u16) -> Self {
        match number {
            0 => Self::None,
            2 => Self::Double,
            3 => Self::Curly,
            4 => Self::Dotted,
            5 => Self::Dashed,
            _ => Self::Single,
        }
    }
}

/// Attributes that are either set or not, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attributes(pub u8);

#[allow(missing_docs)]
impl Attributes {
    pub const BOLD: Self = Self(1);
    pub const DIM: Self = Self(2);
    pub const ITALIC: Self = Self(4);
    pub const BLINK: Self = Self(8);
    pub const INVERSE: Self = Self(16);
    pub const HIDDEN: Self = Self(32);
    pub const STRIKE: Self = Self(64);
    pub const OVERLINE: Self = Self(128);

    /// Each with the parameter that sets it and the name it has in a grid.
    pub const ALL: [(Self, u16, &'static str); 8] = [
        (Self::BOLD, 1, "bold"),
        (Self::DIM, 2, "dim"),
        (Self::ITALIC, 3, "italic"),
        (Self::BLINK, 5, "blink"),
        (Self::INVERSE, 7, "inverse"),
        (Self::HIDDEN, 8, "hidden"),
        (Self::STRIKE, 9, "strike"),
        (Self::OVERLINE, 53, "overline"),
    ];

    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub fn set(&mut self, other: Self, on: bool) {
        if on {
            self.0 |= other.0;
        } else {
            self.0 &= !other.0;
        }
    }
}

/// What spares a character from being erased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Protection {
    #[default]
    None = 0,
    /// From selective erasing (DECSCA).
    Selective = 1,
    /// From the other (SPA).
    Ordinary = 2,
}

/// Everything but the character that a cell has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Style {
    /// Of the character.
    pub foreground: Color,
    /// Behind it.
    pub background: Color,
    /// Of the underline; `Default`: as the character's.
    pub underline_color: Color,
    /// Bold and its like.
    pub attributes: Attributes,
    /// The line below.
    pub underline: Underline,
    pub(crate) protection: Protection,
    /// A hyperlink's place in the table of links; 0: none.
    pub(crate) link: u32,
}

impl Style {
    /// The style that erasing leaves: background alone (`bce` in terminfo).
    pub(crate) fn erased(self) -> Self {
        Self { background: self.background, ..Self::default() }
    }

    /// A number that differs for most styles.
    pub(crate) fn digest(&self) -> u32 {
        let color = |color: Color| match color {
            Color::Default => 0,
            Color::Indexed(index) => 0x100 | u32::from(index),
            Color::Rgb(red, green, blue) => 1 << 24 | u32::from_be_bytes([0, red, green, blue]),
        };
        let kind = (self.protection as u32) << 4 | self.underline as u32;
        let rest = u32::from(self.attributes.0) << 8 | kind | self.link << 16;
        let mut digest = color(self.foreground);
        for part in [color(self.background), color(self.underline_color), rest] {
            digest = digest.rotate_left(7).wrapping_mul(0x9e37_79b1) ^ part;
        }
        digest.wrapping_mul(0x9e37_79b1) >> 16
    }

    /// Carries out the parameters of one SGR sequence.
    pub(crate) fn select<'a>(&mut self, mut parameters: impl Iterator<Item = &'a [u16]>) {
        while let Some(parameter) = parameters.next() {
            self.select_one(parameter, &mut parameters);
        }
    }

    fn select_one<'a>(&mut self, parameter: &[u16], rest: &mut impl Iterator<Item = &'a [u16]>) {
        let &[number, ref sub @ ..] = parameter else { return };
        match number {
            0 if sub.is_empty() => {
                *self = Self { link: self.link, protection: self.protection, ..Self::default() };
            }
            1 => self.attributes.set(Attributes::BOLD, true),
            2 => self.attributes.set(Attributes::DIM, true),
            3 => self.attributes.set(Attributes::ITALIC, true),
            4 => self.underline = sub.first().map_or(Underline::Single, |&n| Underline::from_number(n)),
            5 | 6 => self.attributes.set(Attributes::BLINK, true),
            7 => self.attributes.set(Attributes::INVERSE, true),
            8 => self.attributes.set(Attributes::HIDDEN, true),
            9 => self.attributes.set(Attributes::STRIKE, true),
            // Not bold, as on the Linux console; ECMA-48 has a double underline here, which is 4:2.
            21 => self.attributes.set(Attributes::BOLD, false),
            22 => {
                self.attributes.set(Attributes::BOLD, false);
                self.attributes.set(Attributes::DIM, false);
            }
            23 => self.attributes.set(Attributes::ITALIC, false),
            24 => self.underline = Underline::None,
            25 => self.attributes.set(Attributes::BLINK, false),
            27 => self.attributes.set(Attributes::INVERSE, false),
            28 => self.attributes.set(Attributes::HIDDEN, false),
            29 => self.attributes.set(Attributes::STRIKE, false),
            30..=37 => self.foreground = Color::Indexed((number - 30) as u8),
            38 => set(&mut self.foreground, color(sub, rest)),
            39 => self.foreground = Color::Default,
            40..=47 => self.background = Color::Indexed((number - 40) as u8),
            48 => set(&mut self.background, color(sub, rest)),
            49 => self.background = Color::Default,
            53 => self.attributes.set(Attributes::OVERLINE, true),
            55 => self.attributes.set(Attributes::OVERLINE, false),
            58 => set(&mut self.underline_color, color(sub, rest)),
            59 => self.underline_color = Color::Default,
            90..=97 => self.foreground = Color::Indexed((number - 90 + 8) as u8),
            100..=107 => self.background = Color::Indexed((number - 100 + 8) as u8),
            _ => {}
        }
    }

    /// Writes the sequence that selects this style, whatever was selected before. Not the link, nor what spares it.
    pub(crate) fn write(self, out: &mut String) {
        out.push_str("\x1b[0");
        for (attribute, number, _) in Attributes::ALL {
            if self.attributes.contains(attribute) {
                let _ = write!(out, ";{number}");
            }
        }
        match self.underline {
            Underline::None => {}
            Underline::Single => out.push_str(";4"),
            Underline::Double | Underline::Curly | Underline::Dotted | Underline::Dashed => {
                let _ = write!(out, ";4:{}", self.underline as u8);
            }
        }
        write_color(out, self.foreground, 30, 38);
        write_color(out, self.background, 40, 48);
        // Terminals that know no underline colours take its colons for one parameter and skip it.
        match self.underline_color {
            Color::Default => {}
            Color::Indexed(index) => {
                let _ = write!(out, ";58:5:{index}");
            }
            Color::Rgb(red, green, blue) => {
                let _ = write!(out, ";58:2::{red}:{green}:{blue}");
            }
        }
        out.push('m');
    }
}

fn set(color: &mut Color, to: Option<Color>) {
    if let Some(to) = to {
        *color = to;
    }
}

/// The colour after 38, 48 or 58: either all in one parameter with colons (ISO 8613-6), or spread
/// over those that follow (xterm).
fn color<'a>(sub: &[u16], rest: &mut impl Iterator<Item = &'a [u16]>) -> Option<Color> {
    if sub.is_empty() {
        let mut next = || rest.next().and_then(|parameter| parameter.first().copied());
        return match next()? {
            2 => rgb(next()?, next()?, next()?),
            5 => Some(Color::Indexed(u8::try_from(next()?).ok()?)),
            _ => None,
        };
    }
    match *sub {
        // With a colour space, which nobody uses, and without.
        [2, _, red, green, blue, ..] => rgb(red, green, blue),
        [2, red, green, blue] => rgb(red, green, blue),
        [5, index, ..] => Some(Color::Indexed(u8::try_from(index).ok()?)),
        _ => None,
    }
}

fn rgb(red: u16, green: u16, blue: u16) -> Option<Color> {
    Some(Color::Rgb(red.try_into().ok()?, green.try_into().ok()?, blue.try_into().ok()?))
}

fn write_color(out: &mut String, color: Color, base: u16, extended: u16) {
    let _ = match color {
        Color::Default => Ok(()),
        Color::Indexed(index @ 0..=7) => write!(out, ";{}", base + u16::from(index)),
        Color::Indexed(index @ 8..=15) => write!(out, ";{}", base + 60 + u16::from(index) - 8),
        Color::Indexed(index) => write!(out, ";{extended};5;{index}"),
        Color::Rgb(red, green, blue) => write!(out, ";{extended};2;{red};{green};{blue}"),
    };
}
