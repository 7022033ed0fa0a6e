//! How many columns a character takes.

use unicode_width::UnicodeWidthChar as _;

/// Columns of a character that is shown: 0 for what combines with the one before it, 1 or 2, also
/// for the few that are wider: a cell has one neighbour at most.
pub(crate) fn width(character: char) -> usize {
    if character.is_ascii() { 1 } else { character.width().unwrap_or(0).min(2) }
}
