//! Pens put aside (XTPUSHSGR), each with which of its attributes come back (XTPOPSGR).

use crate::attributes::{Attributes, Style};
use crate::parameters::Parameters;

/// Most pens kept; those beyond are counted, so that each pop is of its own push (xterm).
pub(crate) const MAX_PENS: usize = 10;
/// The attributes that are named by the number that sets them.
const NAMED: [(u16, Attributes); 7] = [
    (1, Attributes::BOLD),
    (2, Attributes::DIM),
    (3, Attributes::ITALIC),
    (5, Attributes::BLINK),
    (7, Attributes::INVERSE),
    (8, Attributes::HIDDEN),
    (9, Attributes::STRIKE),
];
const UNDERLINE: u16 = 4;
const DOUBLE_UNDERLINE: u16 = 21;
const FOREGROUND: u16 = 30;
const BACKGROUND: u16 = 31;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pens {
    kept: Vec<Pen>,
    /// Pushed while there was no room.
    surplus: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pen {
    /// With nothing in it that does not come back.
    style: Style,
    /// Bits by the numbers of what does; 0: all.
    which: u32,
}

impl Pens {
    pub(crate) fn push(&mut self, pen: Style, parameters: &Parameters) {
        if self.kept.len() == MAX_PENS {
            self.surplus = self.surplus.saturating_add(1);
            return;
        }
        let which = parameters.iter().filter_map(|parameter| bit(parameter[0])).fold(0, |all, one| all | one);
        let style = only(which, pen, Style::default());
        self.kept.push(Pen { style, which });
    }

    /// The pen as it is with what was put aside last.
    pub(crate) fn pop(&mut self, pen: Style) -> Style {
        if self.surplus > 0 {
            self.surplus -= 1;
            return pen;
        }
        self.kept.pop().map_or(pen, |kept| only(kept.which, kept.style, pen))
    }

    /// Writes what puts them aside again.
    pub(crate) fn write(&self, mut select: impl FnMut(Style, &str)) {
        for pen in &self.kept {
            let numbers = (0..u32::BITS).filter(|at| pen.which >> at & 1 != 0);
            let numbers: Vec<String> = numbers.map(|at| (at + 1).to_string()).collect();
            select(pen.style, &format!("\x1b[{}#{{", numbers.join(";")));
        }
        for _ in 0..self.surplus {
            select(Style::default(), "\x1b[#{");
        }
    }

    /// Writes what takes away all that a terminal may have.
    pub(crate) fn write_none(out: &mut String) {
        (0..MAX_PENS).for_each(|_| out.push_str("\x1b[#}"));
    }
}

/// What stands for an attribute, by its number; colours have had others, too (xterm).
fn bit(number: u16) -> Option<u32> {
    let number = match number {
        10 => FOREGROUND,
        11 => BACKGROUND,
        number => number,
    };
    let known = matches!(number, UNDERLINE | DOUBLE_UNDERLINE | FOREGROUND | BACKGROUND)
        || NAMED.iter().any(|&(named, _)| named == number);
    known.then(|| 1 << (number - 1))
}

/// A style with these attributes of one and all others of another. Links, and what spares text, are no attributes.
fn only(which: u32, of: Style, others: Style) -> Style {
    if which == 0 {
        return Style { link: others.link, protection: others.protection, ..of };
    }
    let has = |number| bit(number).is_some_and(|bit| which & bit != 0);
    let mut style = others;
    for (number, attribute) in NAMED {
        if has(number) {
            style.attributes.set(attribute, of.attributes.contains(attribute));
        }
    }
    if has(UNDERLINE) || has(DOUBLE_UNDERLINE) {
        style.underline = of.underline;
    }
    if has(FOREGROUND) {
        style.foreground = of.foreground;
    }
    if has(BACKGROUND) {
        style.background = of.background;
    }
    style
}
