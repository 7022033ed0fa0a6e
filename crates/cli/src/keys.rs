//! Names of keys and the bytes that a terminal sends for them.

use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use thiserror::Error;

/// A key by name, as the bytes an application reads for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(Vec<u8>);

/// Keys by name, separated by commas: `ctrl-c,enter`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys(Vec<Key>);

impl Keys {
    /// What an application reads for them.
    pub fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|k| k.0.iter().copied()).collect()
    }
}

/// Why a text names no key.
#[derive(Debug, Error, PartialEq, Eq, Clone)]
pub enum InvalidKey {
    /// Not a key's name.
    #[error(
        "`{0}` is not a key (examples: ctrl-c, alt-x, enter, tab, esc, space, backspace, up, pageup, home, f1, comma, x)"
    )]
    Unknown(String),
    /// A detach key that is not a control key.
    #[error("the detach key must be a control key such as ctrl-\\ or ctrl-]")]
    NotControl,
}

const NAMED: [(&str, &[u8]); 24] = [
    ("enter", b"\r"),
    ("return", b"\r"),
    ("tab", b"\t"),
    ("shift-tab", b"\x1b[Z"),
    ("esc", b"\x1b"),
    ("escape", b"\x1b"),
    ("space", b" "),
    ("comma", b","),
    ("backspace", b"\x7f"),
    ("delete", b"\x1b[3~"),
    ("insert", b"\x1b[2~"),
    ("up", b"\x1b[A"),
    ("down", b"\x1b[B"),
    ("right", b"\x1b[C"),
    ("left", b"\x1b[D"),
    ("home", b"\x1b[H"),
    ("end", b"\x1b[F"),
    ("pageup", b"\x1b[5~"),
    ("pagedown", b"\x1b[6~"),
    ("f1", b"\x1bOP"),
    ("f2", b"\x1bOQ"),
    ("f3", b"\x1bOR"),
    ("f4", b"\x1bOS"),
    ("f5", b"\x1b[15~"),
];

/// The control byte of a character: `ctrl-c` is 3, `ctrl-\` is 28, `ctrl-space` is 0.
fn control(name: &str) -> Option<u8> {
    let mut chars = name.chars();
    match (name, chars.next(), chars.next()) {
        ("space", ..) => Some(0),
        (_, Some(c), None) => match c.to_ascii_uppercase() {
            c @ ('@'..='_') => Some(c as u8 & 0x1f),
            '?' => Some(0x7f),
            _ => None,
        },
        _ => None,
    }
}

impl FromStr for Key {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let unknown = || InvalidKey::Unknown(text.to_owned());
        let lower = text.to_ascii_lowercase();
        if let Some((_, bytes)) = NAMED.iter().find(|(name, _)| *name == lower) {
            return Ok(Self(bytes.to_vec()));
        }
        if let Some(number @ 6..=12) = lower.strip_prefix('f').and_then(|n| n.parse::<u8>().ok()) {
            // DEC numbered the keys with gaps: 17-21 for F6-F10, 23 and 24 for F11 and F12.
            let code = if number <= 10 { number + 11 } else { number + 12 };
            return Ok(Self(format!("\x1b[{code}~").into_bytes()));
        }
        if let Some(rest) = lower.strip_prefix("ctrl-") {
            return control(rest).map(|b| Self(vec![b])).ok_or_else(unknown);
        }
        if lower.starts_with("alt-") {
            let inner: Self = text[4..].parse().map_err(|_| unknown())?;
            let mut bytes = vec![0x1b];
            bytes.extend(inner.0);
            return Ok(Self(bytes));
        }
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (Some(c), None) if !c.is_control() => Ok(Self(text.as_bytes().to_vec())),
            _ => Err(unknown()),
        }
    }
}

impl FromStr for Keys {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        text.split(',').map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

/// The key that leaves a session, as a terminal sends it: its control byte, or the sequence of
/// terminals that report keys by number (the kitty keyboard protocol).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetachKey {
    byte: u8,
    name: String,
}

impl DetachKey {
    /// What terminals send for it.
    pub fn sent(&self) -> [String; 2] {
        let number = u32::from(match self.byte {
            byte @ 1..=26 => byte + 0x60,
            byte => byte + 0x40,
        });
        [char::from(self.byte).to_string(), format!("\x1b[{number};5u")]
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Default for DetachKey {
    fn default() -> Self {
        Self { byte: 0x1c, name: "ctrl-\\".to_owned() }
    }
}

impl FromStr for DetachKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let name = text.to_ascii_lowercase();
        let rest = name.strip_prefix("ctrl-").ok_or(InvalidKey::NotControl)?;
        match control(rest) {
            // ESC begins every function key; it cannot tell itself from them.
            Some(byte @ 1..0x20) if byte != 0x1b => Ok(Self { byte, name }),
            _ => Err(InvalidKey::NotControl),
        }
    }
}

impl<'de> Deserialize<'de> for DetachKey {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_by_name() {
        for (text, bytes) in [
            ("ctrl-c", &b"\x03"[..]),
            ("Ctrl-C", b"\x03"),
            ("ctrl-\\", b"\x1c"),
            ("ctrl-space", b"\0"),
            ("enter", b"\r"),
            ("alt-x", b"\x1bx"),
            ("alt-X", b"\x1bX"),
            ("alt-enter", b"\x1b\r"),
            ("up,down", b"\x1b[A\x1b[B"),
            ("f1", b"\x1bOP"),
            ("f6", b"\x1b[17~"),
            ("f10", b"\x1b[21~"),
            ("f11", b"\x1b[23~"),
            ("f12", b"\x1b[24~"),
            ("x,Y,é,comma", "xYé,".as_bytes()),
            ("f", b"f"),
        ] {
            assert_eq!(text.parse::<Keys>().unwrap().bytes(), bytes, "{text}");
        }
        for bad in ["", "ctrl-", "ctrl-é", "f0", "f13", "entr", "a,,b", "alt-", "hyper-x"] {
            assert!(bad.parse::<Keys>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_detach_key_is_sent_in_either_encoding() {
        assert_eq!(DetachKey::default().sent(), ["\x1c", "\x1b[92;5u"]);
        let key: DetachKey = "ctrl-q".parse().unwrap();
        assert_eq!(key.sent(), ["\x11", "\x1b[113;5u"]);
        for bad in ["q", "enter", "ctrl-[", "ctrl-space", "ctrl-?"] {
            assert!(bad.parse::<DetachKey>().is_err(), "{bad}");
        }
    }
}
