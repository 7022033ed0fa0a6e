//! One cell of the grid, in eight bytes: a character or a cluster of them, and a style's number.

use crate::tables::StyleId;

/// What stands in one column of one row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    /// A character or a cluster's number in the low 21 bits (0: never written, or erased), and
    /// which of them it is above.
    content: u32,
    pub(crate) style: StyleId,
}

const VALUE: u32 = (1 << 21) - 1;
const CLUSTER: u32 = 1 << 28;
const LEADING: u32 = 1 << 29;
const SPACER: u32 = 1 << 30;
const WIDE: u32 = 1 << 31;

/// How many clusters can be told apart.
pub(crate) const MAX_CLUSTERS: usize = VALUE as usize;

impl Cell {
    /// Never written, or erased with the default background.
    pub(crate) const BLANK: Self = Self { content: 0, style: StyleId::DEFAULT };

    pub(crate) fn new(character: char, style: StyleId) -> Self {
        Self { content: u32::from(character), style }
    }

    pub(crate) fn ascii(byte: u8, style: StyleId) -> Self {
        Self { content: u32::from(byte), style }
    }

    /// Erased with the background of that style.
    pub(crate) fn erased(style: StyleId) -> Self {
        Self { content: 0, style }
    }

    /// The left half of a character two columns wide.
    pub(crate) fn wide(character: char, style: StyleId) -> Self {
        Self { content: u32::from(character) | WIDE, style }
    }

    /// The right half.
    pub(crate) fn spacer(style: StyleId) -> Self {
        Self { content: SPACER, style }
    }

    /// In the last column, where a wide character did not fit and went to the next row.
    pub(crate) fn leading(style: StyleId) -> Self {
        Self { content: LEADING, style }
    }

    /// The same with a cluster in place of its character.
    pub(crate) fn with_cluster(self, number: u32) -> Self {
        Self { content: self.content & WIDE | CLUSTER | number & VALUE, style: self.style }
    }

    pub(crate) fn with_style(self, style: StyleId) -> Self {
        Self { content: self.content, style }
    }

    pub(crate) fn is_blank(self) -> bool {
        self.content == 0
    }

    pub(crate) fn is_wide(self) -> bool {
        self.content & WIDE != 0
    }

    pub(crate) fn is_spacer(self) -> bool {
        self.content & SPACER != 0
    }

    pub(crate) fn is_leading(self) -> bool {
        self.content & LEADING != 0
    }

    /// The single character, where it is one.
    pub(crate) fn character(self) -> Option<char> {
        if self.content & (CLUSTER | SPACER | LEADING) != 0 || self.content == 0 {
            return None;
        }
        char::from_u32(self.content & VALUE)
    }

    /// The cluster's number, where it is one.
    pub(crate) fn cluster(self) -> Option<u32> {
        (self.content & CLUSTER != 0).then_some(self.content & VALUE)
    }

    /// The byte, where this is a single ASCII character in the default style.
    pub(crate) fn plain(self) -> Option<u8> {
        (self.style == StyleId::DEFAULT && self.content < 0x80).then_some(self.content as u8)
    }
}
