//! The cookie-date algorithm of `Expires` (RFC 6265bis, section 5.1.1).
//!
//! Servers write dates in many ways, so the algorithm looks for four tokens in any order, time,
//! day, month and year, and takes whatever else is there for decoration: time zones too.

use sessile_model::Timestamp;

const MONTHS: [&[u8; 3]; 12] =
    [b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];

/// Reads a cookie-date; `None` when it is none (then the attribute is ignored).
pub fn parse(text: &[u8]) -> Option<Timestamp> {
    let mut time: Option<(u32, u32, u32)> = None;
    let mut day: Option<u32> = None;
    let mut month: Option<u32> = None;
    let mut year: Option<u32> = None;
    for token in text.split(|byte| is_delimiter(*byte)).filter(|token| !token.is_empty()) {
        if time.is_none()
            && let Some(found) = hms(token)
        {
            time = Some(found);
        } else if day.is_none()
            && let Some((found, rest)) = number(token, 1, 2)
            && ends(rest)
        {
            day = Some(found);
        } else if month.is_none()
            && let Some(found) = month_of(token)
        {
            month = Some(found);
        } else if year.is_none()
            && let Some((found, rest)) = number(token, 2, 4)
            && ends(rest)
        {
            year = Some(found);
        }
    }
    let (hour, minute, second) = time?;
    let (day, month) = (day?, month?);
    let year = match year? {
        short @ 70..=99 => short + 1900,
        short @ 0..=69 => short + 2000,
        full => full,
    };
    let possible = (1..=days_in(year, month)).contains(&day)
        && year >= 1601
        && hour <= 23
        && minute <= 59
        && second <= 59;
    let seconds = days_since_epoch(year, month, day) * 86_400
        + i64::from(hour) * 3_600
        + i64::from(minute) * 60
        + i64::from(second);
    possible.then(|| Timestamp::from_millis(seconds * 1_000))
}

/// `delimiter`: tab, and the printable octets that are neither digits, letters nor a colon.
fn is_delimiter(byte: u8) -> bool {
    matches!(byte, 0x09 | 0x20..=0x2f | 0x3b..=0x40 | 0x5b..=0x60 | 0x7b..=0x7e)
}

/// A run of `least` to `most` digits at the start, and what follows it.
fn number(token: &[u8], least: usize, most: usize) -> Option<(u32, &[u8])> {
    let length = token.iter().take_while(|byte| byte.is_ascii_digit()).take(most).count();
    let (digits, rest) = token.split_at(length);
    (length >= least).then(|| (digits.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')), rest))
}

/// Whether a number ends here: at the token's end or before something that is no digit.
fn ends(rest: &[u8]) -> bool {
    !rest.first().is_some_and(u8::is_ascii_digit)
}

fn hms(token: &[u8]) -> Option<(u32, u32, u32)> {
    let (hour, rest) = number(token, 1, 2)?;
    let (minute, rest) = number(rest.strip_prefix(b":")?, 1, 2)?;
    let (second, rest) = number(rest.strip_prefix(b":")?, 1, 2)?;
    ends(rest).then_some((hour, minute, second))
}

fn month_of(token: &[u8]) -> Option<u32> {
    let start = token.first_chunk::<3>()?.to_ascii_lowercase();
    let index = MONTHS.iter().position(|month| start == **month)?;
    Some(index as u32 + 1)
}

fn days_in(year: u32, month: u32) -> u32 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. The year is counted from March, so
/// that the leap day is its last.
fn days_since_epoch(year: u32, month: u32, day: u32) -> i64 {
    let (year, month) =
        if month > 2 { (i64::from(year), month - 3) } else { (i64::from(year) - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let day_of_year = (153 * i64::from(month) + 2) / 5 + i64::from(day) - 1;
    // 719468 days lie between 0000-03-01 and 1970-01-01.
    year * 365 + leap_days + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn reads(text: &str, expected: Option<&str>) {
        assert_eq!(parse(text.as_bytes()).map(|t| t.to_string()).as_deref(), expected, "{text}");
    }

    #[test]
    fn tokens_come_in_any_order() {
        reads("Wed, 09 Nov 1999 23:12:40 GMT", Some("1999-11-09T23:12:40Z"));
        reads("23:12:40 1999 Nov 9", Some("1999-11-09T23:12:40Z"));
        reads("23:12:40 9 1999 Nov", Some("1999-11-09T23:12:40Z"));
        reads("1999november9x;9@4:5:6Z", None); // One token: a year, and no month.
        reads("NOVEMBER-09-1999 4:5:6Z", Some("1999-11-09T04:05:06Z"));
        reads("09-feb-1999 00:00:00 feb mar apr 10 2000", Some("1999-02-09T00:00:00Z"));
    }

    #[test]
    fn short_years_are_of_two_centuries() {
        reads("1 Jan 69 00:00:00", Some("2069-01-01T00:00:00Z"));
        reads("1 Jan 70 00:00:00", Some("1970-01-01T00:00:00Z"));
        reads("1 Jan 00 00:00:00", Some("2000-01-01T00:00:00Z"));
        reads("1 Jan 110 00:00:00", None);
        reads("1 Jan 20100 00:00:00", None);
    }

    #[test]
    fn dates_that_do_not_exist_are_none() {
        for text in [
            "",
            "GMT",
            "30 Feb 2020 00:00:00",
            "29 Feb 2100 00:00:00",
            "0 Jan 2020 00:00:00",
            "32 Jan 2020 00:00:00",
            "1 Jan 1600 00:00:00",
            "1 Jan 2020 24:00:00",
            "1 Jan 2020 00:60:00",
            "1 Jan 2020 00:00:60",
            "1 Jan 2020 000:00:00",
            "1 Jan 2020 00:00",
        ] {
            reads(text, None);
        }
        reads("29 Feb 2000 23:59:59", Some("2000-02-29T23:59:59Z"));
        reads("1 Jan 1601 00:00:00", Some("1601-01-01T00:00:00Z"));
        reads("31 Dec 9999 23:59:59", Some("9999-12-31T23:59:59Z"));
    }
}
