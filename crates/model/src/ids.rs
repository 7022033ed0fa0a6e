//! Newtypes for every identifier in the system.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::quantity::Timestamp;

/// A session's identity: a UUID version 7 (RFC 9562 section 5.7), so that ids sort by age.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(u128);

impl SessionId {
    /// Builds a version 7 UUID from the creation time and ten bytes of entropy.
    pub fn new(created: Timestamp, entropy: [u8; 10]) -> Self {
        let millis = u128::from(created.as_millis().max(0) as u64 & 0xffff_ffff_ffff);
        let mut random = [0u8; 16];
        random[6..].copy_from_slice(&entropy);
        let random = u128::from_be_bytes(random);
        let cleared = random & !(0xf << 76) & !(0b11 << 62);
        Self((millis << 80) | cleared | (0x7 << 76) | (0b10 << 62))
    }

    /// The last eight hexadecimal digits: what tables print. Sessions opened within the same
    /// minute share their leading digits, so the tail is the part that tells them apart.
    pub fn short(&self) -> String {
        format!("{:08x}", self.0 as u32)
    }

    /// The sixteen bytes in network order.
    pub fn as_bytes(&self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v = self.0;
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            (v >> 96) as u32,
            (v >> 80) as u16,
            (v >> 64) as u16,
            (v >> 48) as u16,
            v & 0xffff_ffff_ffff
        )
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

impl FromStr for SessionId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let bytes = text.as_bytes();
        if bytes.len() != 36 || [8, 13, 18, 23].iter().any(|&i| bytes[i] != b'-') {
            return Err(InvalidId::NotAUuid);
        }
        let mut value: u128 = 0;
        for (i, &b) in bytes.iter().enumerate() {
            if matches!(i, 8 | 13 | 18 | 23) {
                continue;
            }
            let digit = (b as char).to_digit(16).ok_or(InvalidId::NotAUuid)?;
            value = (value << 4) | u128::from(digit);
        }
        Ok(Self(value))
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Why a text is not an identifier.
#[derive(Debug, Error, PartialEq, Eq, Clone)]
pub enum InvalidId {
    /// Not the 36 character form of a UUID.
    #[error("not a session id (expected the 36 character form of a UUID)")]
    NotAUuid,
    /// A name that breaks the rules of [`SessionName`].
    #[error(
        "{what}s are 1 to {max} characters of a-z, 0-9, '-', '_' and '.', starting with a letter or digit"
    )]
    BadName {
        /// The kind of name that was read.
        what: &'static str,
        /// Longest accepted length in bytes.
        max: usize,
    },
    /// A session name that could be taken for an id.
    #[error(
        "a session name must not look like an id (it has only hexadecimal digits and dashes, and at least 8 of them)"
    )]
    LooksLikeId,
}

fn check_name(text: &str, what: &'static str, max: usize) -> Result<(), InvalidId> {
    let ok = (1..=max).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b))
        && text.as_bytes()[0].is_ascii_alphanumeric();
    if ok { Ok(()) } else { Err(InvalidId::BadName { what, max }) }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal, $extra:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// Longest accepted length in bytes.
            pub const MAX_LEN: usize = $max;

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                check_name(text, $what, $max)?;
                let extra: fn(&str) -> Result<(), InvalidId> = $extra;
                extra(text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:?})", stringify!($name), self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// A session's human name, unique among the sessions that are not closed.
    SessionName,
    "session name",
    40,
    |text| {
        let hex = text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
        if hex && text.len() >= 8 { Err(InvalidId::LooksLikeId) } else { Ok(()) }
    }
);
name!(
    /// An app's name within its session; `main` is the one `run` starts.
    AppName,
    "app name",
    24,
    |_| Ok(())
);
name!(
    /// An operator's name; where there is one only, they are `operator`.
    OperatorName,
    "operator name",
    24,
    |_| Ok(())
);
name!(
    /// A profile's name in the configuration.
    ProfileName,
    "profile name",
    40,
    |_| Ok(())
);

impl AppName {
    /// The app that `run` starts.
    pub fn main() -> Self {
        Self("main".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_id_is_a_version_7_uuid() {
        let id = SessionId::new(Timestamp::from_millis(0x0123_4567_89ab), [0xff; 10]);
        let text = id.to_string();
        assert_eq!(text, "01234567-89ab-7fff-bfff-ffffffffffff");
        assert_eq!(text.parse::<SessionId>().unwrap(), id);
        assert_eq!(id.short(), "ffffffff");
    }

    #[test]
    fn names_are_checked() {
        assert!("amber-otter".parse::<SessionName>().is_ok());
        for bad in ["", "-x", "A", "a b", "a/b", "..", &"x".repeat(41)] {
            assert!(bad.parse::<SessionName>().is_err(), "{bad:?}");
        }
        assert_eq!("deadbeef".parse::<SessionName>(), Err(InvalidId::LooksLikeId));
    }
}
