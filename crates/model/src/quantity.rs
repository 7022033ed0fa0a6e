//! Byte sizes, durations and timestamps.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A point in time: milliseconds since the Unix epoch, UTC. Serialised as RFC 3339 text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp(i64);

/// Years 0000 to 9999 in UTC.
const YEARS: std::ops::Range<i64> = -62_167_219_200_000..253_402_300_800_000;

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Time elapsed since `earlier`; zero if the clock went back.
    pub fn since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0).max(0) as u64)
    }

    /// This time plus a duration, saturating.
    pub fn plus(self, duration: Millis) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.0).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = i128::from(self.0) * 1_000_000;
        let text =
            OffsetDateTime::from_unix_timestamp_nanos(nanos).ok().and_then(|t| t.format(&Rfc3339).ok());
        match text {
            Some(text) => f.write_str(&text),
            None => write!(f, "@{}ms", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let t = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| InvalidQuantity::Timestamp)?;
        let time = Self(t.unix_timestamp_nanos().div_euclid(1_000_000) as i64);
        // An offset may lead out of the years that RFC 3339 has: such a time could not be written.
        if YEARS.contains(&time.0) { Ok(time) } else { Err(InvalidQuantity::Timestamp) }
    }
}

/// A duration in whole milliseconds. Serialised as that number, parsed from `300ms`, `10s`,
/// `5m`, `24h`, `7d` or a bare number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    /// What is left of it when so much has passed.
    #[must_use]
    pub fn less(self, passed: std::time::Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)))
    }

    /// As the standard library's duration.
    pub const fn as_duration(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }
}

impl FromStr for Millis {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let (number, unit) = split_unit(text);
        let factor = match unit {
            "ms" => 1,
            "" | "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(InvalidQuantity::Duration),
        };
        scaled(number, factor).map(Self).ok_or(InvalidQuantity::Duration)
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
        for (factor, unit) in units {
            if self.0 >= factor && self.0.is_multiple_of(factor) {
                return write!(f, "{}{unit}", self.0 / factor);
            }
        }
        write!(f, "{}ms", self.0)
    }
}

/// A number of bytes. Serialised as that number, parsed from `4096`, `512K`, `64M`, `2G`, `1T`
/// (powers of 1024; an `iB` or `B` suffix is accepted).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let (number, unit) = split_unit(text);
        let shift = match unit {
            "" | "B" => 0,
            "K" | "k" | "KB" | "kB" | "KiB" | "kiB" => 10,
            "M" | "MB" | "MiB" => 20,
            "G" | "GB" | "GiB" => 30,
            "T" | "TB" | "TiB" => 40,
            _ => return Err(InvalidQuantity::ByteSize),
        };
        scaled(number, 1 << shift).map(Self).ok_or(InvalidQuantity::ByteSize)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        for (shift, unit) in units {
            if self.0 >= 1 << shift {
                let tenths = (u128::from(self.0) * 10) >> shift;
                return if tenths.is_multiple_of(10) {
                    write!(f, "{} {unit}", tenths / 10)
                } else {
                    write!(f, "{}.{} {unit}", tenths / 10, tenths % 10)
                };
            }
        }
        write!(f, "{} B", self.0)
    }
}

/// Splits `12.5M` into `12.5` and `M`.
fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

/// `number * factor` in exact integer arithmetic, with up to six decimals in `number`.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 6 {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let mut value = u128::from(whole) * u128::from(factor);
    if !fraction.is_empty() {
        let digits: u128 = fraction.parse().ok()?;
        value += digits * u128::from(factor) / 10u128.pow(fraction.len() as u32);
    }
    u64::try_from(value).ok()
}

/// Why a text is not a quantity.
#[derive(Debug, Error, PartialEq, Eq, Clone, Copy)]
pub enum InvalidQuantity {
    /// Not a byte size.
    #[error("not a size (examples: 4096, 512K, 64M, 2G)")]
    ByteSize,
    /// Not a duration.
    #[error("not a duration (examples: 300ms, 10s, 5m, 24h, 7d)")]
    Duration,
    /// Not an RFC 3339 time.
    #[error("not a time (example: 2026-01-31T12:00:00Z)")]
    Timestamp,
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_time() {
        let left = |passed| Millis(500).less(std::time::Duration::from_micros(passed));
        assert_eq!(
            (left(0), left(1_999), left(499_000), left(u64::MAX)),
            (Millis(500), Millis(499), Millis(1), Millis(0))
        );
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("0", 0), ("4096", 4096), ("1K", 1024), ("1.5M", 1_572_864), ("2GiB", 2 << 30)]
        {
            assert_eq!(text.parse::<ByteSize>().unwrap().0, bytes, "{text}");
        }
        for bad in ["", "M", "-1", "1X", "99999999999T", "1.2.3", "1e3", "1KBB", "1iB", "1iBiB"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
        assert_eq!(ByteSize(1_572_864).to_string(), "1.5 MiB");
        assert_eq!(ByteSize(u64::MAX).to_string(), "16777215.9 TiB");
    }

    #[test]
    fn durations() {
        for (text, ms) in [("300ms", 300), ("10", 10_000), ("1.5s", 1_500), ("24h", 86_400_000)] {
            assert_eq!(text.parse::<Millis>().unwrap().0, ms, "{text}");
        }
        assert!("5 parsecs".parse::<Millis>().is_err());
        assert_eq!(Millis(86_400_000).to_string(), "1d");
        assert_eq!(Millis(1_500).to_string(), "1500ms");
    }

    #[test]
    fn timestamps_are_rfc_3339() {
        let t = Timestamp::from_millis(1_700_000_000_123);
        assert_eq!(t.to_string(), "2023-11-14T22:13:20.123Z");
        assert_eq!(t.to_string().parse::<Timestamp>().unwrap(), t);
        assert_eq!(t.since(t.plus(Millis(5))), Millis(0));
        for (text, again) in [
            ("0000-01-01T00:00:00Z", Some("0000-01-01T00:00:00Z")),
            ("1969-12-31T23:59:59.9995Z", Some("1969-12-31T23:59:59.999Z")),
            ("9999-12-31T23:59:59.999Z", Some("9999-12-31T23:59:59.999Z")),
            ("0000-01-01T00:00:00+23:59", None),
            ("9999-12-31T23:59:59-23:59", None),
        ] {
            let read = text.parse::<Timestamp>().ok();
            assert_eq!(read.map(|t| t.to_string()).as_deref(), again, "{text}");
        }
    }
}
