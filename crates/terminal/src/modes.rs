//! Modes that apps set and reset (ECMA-48 SM and RM, DEC private modes).

use std::collections::BTreeMap;

/// Private modes that change how this terminal writes, by their numbers.
#[allow(missing_docs)]
pub mod private {
    pub const APPLICATION_CURSOR: u16 = 1;
    pub const ORIGIN: u16 = 6;
    pub const AUTOWRAP: u16 = 7;
    pub const SHOW_CURSOR: u16 = 25;
    pub const MORE_FIX: u16 = 41;
    pub const NATIONAL: u16 = 42;
    pub const REVERSE_WRAP: u16 = 45;
    pub const KEYPAD: u16 = 66;
    pub const SIDES: u16 = 69;
    pub const KEEP_ON_COLUMN_MODE: u16 = 95;
    pub const FOCUS: u16 = 1004;
    pub const EXTENDED_REVERSE_WRAP: u16 = 1045;
    pub const BRACKETED_PASTE: u16 = 2004;
    pub const SYNCHRONIZED: u16 = 2026;
}

/// ANSI modes that do, by their numbers.
pub(crate) mod ansi {
    pub(crate) const KEYBOARD_ACTION: u16 = 2;
    pub(crate) const INSERT: u16 = 4;
    pub(crate) const SEND_RECEIVE: u16 = 12;
    pub(crate) const NEW_LINE: u16 = 20;
}

/// What reports the mouse: only one at a time.
const MOUSE: [u16; 4] = [9, 1000, 1002, 1003];
/// How it is reported: only one at a time.
const MOUSE_ENCODING: [u16; 4] = [1005, 1006, 1015, 1016];
/// Modes of whose number nothing is known are kept as well, but not any number of them.
const MAX_KEPT: usize = 64;
/// Private modes that a terminal may be left in by whoever used it before, and that are off at first.
const OFF: [u16; 22] = [
    1, 5, 6, 9, 41, 42, 45, 69, 1000, 1002, 1003, 1004, 1005, 1006, 1015, 1016, 1045, 2004, 2026, 2027, 2031,
    2048,
];
/// Others that are off until they are set.
const OFF_TOO: [u16; 11] = [4, 8, 12, 18, 19, 40, 47, 67, 95, 1047, 1049];

/// Modes by number, those that were ever set or reset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Modes {
    private: BTreeMap<u16, bool>,
    ansi: BTreeMap<u16, bool>,
}

impl Modes {
    pub(crate) fn private(&self, number: u16) -> bool {
        let default = matches!(number, private::AUTOWRAP | private::SHOW_CURSOR);
        self.private.get(&number).copied().unwrap_or(default)
    }

    pub(crate) fn ansi(&self, number: u16) -> bool {
        self.ansi.get(&number).copied().unwrap_or(false)
    }

    pub(crate) fn set_private(&mut self, number: u16, on: bool) {
        for group in [MOUSE, MOUSE_ENCODING] {
            if on && group.contains(&number) {
                self.private.retain(|other, _| !group.contains(other));
            }
        }
        set(&mut self.private, number, on);
    }

    pub(crate) fn set_ansi(&mut self, number: u16, on: bool) {
        set(&mut self.ansi, number, on);
    }

    /// Whether a mode's value is known and can be put aside.
    pub(crate) fn is_known(&self, number: u16) -> bool {
        OFF.contains(&number) || matches!(number, 7 | 25) || self.private.contains_key(&number)
    }

    /// What DECRQM answers: 1 set, 2 reset, 4 always reset, 0 not known (VT510 manual).
    pub(crate) fn report_private(&self, number: u16) -> u8 {
        let known = OFF.contains(&number) || OFF_TOO.contains(&number) || matches!(number, 7 | 25 | 1007);
        if number == 3 {
            // How many columns there are is for the window to say.
            return 4;
        }
        match self.private.get(&number) {
            Some(true) => 1,
            Some(false) => 2,
            None if !known => 0,
            None if self.private(number) => 1,
            None => 2,
        }
    }

    pub(crate) fn report_ansi(&self, number: u16) -> u8 {
        match number {
            ansi::KEYBOARD_ACTION | ansi::INSERT | ansi::SEND_RECEIVE | ansi::NEW_LINE => {
                2 - u8::from(self.ansi(number))
            }
            1 | 5 | 7 | 10 | 11 | 13..=19 => 4,
            _ => 0,
        }
    }

    /// Takes every mode that changes where and how text is written to what it is at first, and the
    /// others that terminals have in common.
    pub(crate) fn write_initial(out: &mut String) {
        out.push_str("\x1b[?");
        for number in OFF {
            out.push_str(&format!("{number};"));
        }
        out.pop();
        out.push_str("l\x1b[?7;25h\x1b[4;20l");
    }

    /// Writes those that differ from [`Modes::write_initial`], all but the given.
    pub(crate) fn write(&self, but: &[u16], out: &mut String) {
        let initial = |prefix: &str, number: u16| match (prefix, number) {
            ("?", private::AUTOWRAP | private::SHOW_CURSOR) => Some(true),
            ("?", _) => OFF.contains(&number).then_some(false),
            (_, ansi::INSERT | ansi::NEW_LINE) => Some(false),
            _ => None,
        };
        for (map, prefix) in [(&self.ansi, ""), (&self.private, "?")] {
            // What is off first: resetting one of the mouse's modes resets all of them.
            for wanted in [false, true] {
                for (&number, &on) in map {
                    let passed_over = prefix == "?" && but.contains(&number);
                    if on == wanted && initial(prefix, number) != Some(on) && !passed_over {
                        let action = if on { 'h' } else { 'l' };
                        out.push_str(&format!("\x1b[{prefix}{number}{action}"));
                    }
                }
            }
        }
    }
}

fn set(map: &mut BTreeMap<u16, bool>, number: u16, on: bool) {
    if map.len() < MAX_KEPT || map.contains_key(&number) {
        map.insert(number, on);
    }
}
