//! Where in the bytes a terminal is: in text, or within a sequence or a character that is not
//! complete. What is not complete is kept, so that a dump can begin it and the bytes that follow
//! can end it.
//!
//! The states are those of ECMA-48 as far as they tell where sequences end. Strings are cut: the
//! parser would keep them whole in memory.

/// Longest string that is read, in bytes; longer ones are ignored.
const MAX_STRING: usize = 16 << 10;
/// Longest part of a sequence that is kept for a dump.
const MAX_HELD: usize = MAX_STRING;

#[derive(Clone, Debug, Default)]
pub(crate) struct Scanner {
    place: Place,
    /// The sequence's or the character's bytes so far.
    held: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Ground,
    /// After ESC.
    Escape,
    /// After what comes between ESC and the final byte.
    Intermediate,
    /// Within a control sequence.
    Control,
    /// Within an operating system command of so many bytes, which BEL ends as well.
    Command(usize),
    /// Within another string of so many bytes.
    String(usize),
    /// Within a command, or another string, that is too long.
    Surplus { command: bool },
}

impl Scanner {
    /// Whether a string that is too long is open.
    pub(crate) fn is_surplus(&self) -> bool {
        matches!(self.place, Place::Surplus { .. })
    }

    /// Whether no sequence is open.
    pub(crate) fn is_ground(&self) -> bool {
        self.place == Place::Ground
    }

    pub(crate) fn has_partial_character(&self) -> bool {
        self.is_ground() && !self.held.is_empty()
    }

    pub(crate) fn hold_character(&mut self, bytes: &[u8]) {
        self.held.clear();
        self.held.extend_from_slice(bytes);
    }

    pub(crate) fn held(&self) -> &[u8] {
        &self.held
    }

    pub(crate) fn release(&mut self) {
        self.held.clear();
    }

    /// ESC came.
    pub(crate) fn begin(&mut self) {
        self.place = Place::Escape;
        self.held.clear();
        self.held.push(0x1b);
    }

    /// Takes bytes until the sequence ends. Returns how many, and how many of them the parser is to
    /// read: not those of a string that is too long, nor what it would misread.
    pub(crate) fn scan(&mut self, bytes: &[u8]) -> (usize, usize) {
        let mut used = 0;
        while used < bytes.len() && !self.is_ground() {
            let byte = bytes[used];
            let before = self.place;
            if let Place::Surplus { command } = before
                && !(byte == 0x1b || byte == 0x18 || byte == 0x1a || (command && byte == 0x07))
            {
                // Nothing of it goes to the parser, which waits for the end.
                let rest = &bytes[used..];
                let ends = |byte: &u8| matches!(byte, 0x1b | 0x18 | 0x1a) || (command && *byte == 0x07);
                let length = rest.iter().position(ends).unwrap_or(rest.len());
                return (used + length, used);
            }
            if matches!(before, Place::String(_)) && byte == 0x9c {
                // Within UTF-8 no string terminator, as the parser would have it.
                return (used + 1, used);
            }
            self.place = before.after(byte);
            self.keep(before, byte);
            used += 1;
        }
        (used, used)
    }

    /// What begins the sequence again in another terminal.
    pub(crate) fn prefix(&self) -> Vec<u8> {
        match self.place {
            // An unknown command, or an application's, which swallows the rest.
            Place::Surplus { command: true } => b"\x1b]99999;".to_vec(),
            Place::Surplus { command: false } => b"\x1b_".to_vec(),
            Place::Ground
            | Place::Escape
            | Place::Intermediate
            | Place::Control
            | Place::Command(_)
            | Place::String(_) => self.held.clone(),
        }
    }

    fn keep(&mut self, before: Place, byte: u8) {
        if byte == 0x1b {
            self.begin();
            return;
        }
        match self.place {
            Place::Ground | Place::Surplus { .. } => self.held = Vec::new(),
            // Controls within a sequence were carried out already.
            Place::Escape | Place::Intermediate | Place::Control if byte < 0x20 => {}
            Place::Escape | Place::Intermediate | Place::Control | Place::Command(_) | Place::String(_) => {
                if self.held.len() < MAX_HELD + 16 && before != Place::Ground {
                    self.held.push(byte);
                }
            }
        }
    }
}

impl Place {
    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (_, 0x1b) => Self::Escape,
            // CAN and SUB end everything.
            (_, 0x18 | 0x1a) => Self::Ground,
            (Self::Command(_) | Self::Surplus { command: true }, 0x07) => Self::Ground,
            (Self::Command(length), _) if length >= MAX_STRING => Self::Surplus { command: true },
            (Self::Command(length), _) => Self::Command(length + 1),
            (Self::String(length), _) if length >= MAX_STRING => Self::Surplus { command: false },
            (Self::String(length), _) => Self::String(length + 1),
            (state @ (Self::Surplus { .. } | Self::Ground), _) => state,
            // Other controls are carried out in the middle of a sequence; the rest is ignored there.
            (state, 0x00..0x20 | 0x7f..) => state,
            (Self::Escape, b']') => Self::Command(0),
            (Self::Escape, b'[') => Self::Control,
            (Self::Escape, b'P' | b'X' | b'^' | b'_') => Self::String(0),
            (Self::Escape | Self::Intermediate, 0x20..0x30) => Self::Intermediate,
            (Self::Control, 0x20..0x40) => Self::Control,
            (Self::Escape | Self::Intermediate | Self::Control, _) => Self::Ground,
        }
    }
}
