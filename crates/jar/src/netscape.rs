//! Netscape's `cookies.txt`: a line a cookie, seven fields between tabs: domain, whether names
//! below it get it too, path, whether it is secure, end in seconds of the epoch (0: with the
//! session), name, value. `#HttpOnly_` before the domain says so; other lines with `#` are
//! comments (curl's `docs/HTTP-COOKIES`).

use sessile_model::Timestamp;
use zeroize::Zeroizing;

use crate::cookie::{Cookie, SameSite};
use crate::exchange::{Entries, ImportError, Lost, MOST_ENTRIES, Refused};
use crate::host::Host;

const FIRST_LINE: &[u8] = b"# Netscape HTTP Cookie File\n\n";
const HTTP_ONLY: &[u8] = b"#HttpOnly_";

/// What a line cannot say of this cookie.
pub fn lost(cookie: &Cookie) -> Option<Lost> {
    let tabs = cookie.name.contains(&b'\t') || cookie.value.expose().contains(&b'\t');
    if tabs || cookie.path.contains('\t') {
        return Some(Lost::Unwritable);
    }
    if cookie.partition.is_some() {
        return Some(Lost::Partitioned);
    }
    match cookie.same_site {
        SameSite::None | SameSite::Lax | SameSite::Strict => Some(Lost::SameSite),
        SameSite::Default => None,
    }
}

/// The file with these cookies.
pub fn write(cookies: &[&Cookie]) -> Zeroizing<Vec<u8>> {
    let flag = |set: bool| if set { "TRUE" } else { "FALSE" };
    // Enough that the buffer never moves and leaves a copy.
    let most =
        |c: &Cookie| 64 + c.domain.as_str().len() + c.path.len() + c.name.len() + c.value.expose().len();
    let size: usize = cookies.iter().map(|cookie| most(cookie)).sum();
    let mut text = Zeroizing::new(Vec::with_capacity(FIRST_LINE.len() + size));
    text.extend_from_slice(FIRST_LINE);
    for cookie in cookies {
        if cookie.http_only {
            text.extend_from_slice(HTTP_ONLY);
        }
        // 0 would be a session's.
        let end = cookie.expires.map_or(0, |end| end.as_millis().div_euclid(1_000).max(1));
        let fields = format!(
            "{}{}\t{}\t{}\t{}\t{end}\t",
            if cookie.host_only { "" } else { "." },
            cookie.domain,
            flag(!cookie.host_only),
            cookie.path,
            flag(cookie.secure),
        );
        text.extend_from_slice(fields.as_bytes());
        text.extend_from_slice(&cookie.name);
        text.push(b'\t');
        text.extend_from_slice(cookie.value.expose());
        text.push(b'\n');
    }
    text
}

/// The cookies of a file, with their lines.
///
/// # Errors
/// When there are too many.
pub fn read(file: &[u8]) -> Result<Entries, ImportError> {
    let mut entries = Entries::default();
    let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    for (index, line) in file.split(|b| *b == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (http_only, line) = match line.strip_prefix(HTTP_ONLY) {
            Some(rest) => (true, rest),
            None => (false, line),
        };
        if !http_only && line.starts_with(b"#") || line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if entries.cookies.len() == MOST_ENTRIES {
            return Err(ImportError::TooMany);
        }
        entries.cookies.push((index + 1, cookie(line, http_only)));
    }
    Ok(entries)
}

fn cookie(line: &[u8], http_only: bool) -> Result<Cookie, Refused> {
    let fields: Vec<&[u8]> = line.splitn(8, |b| *b == b'\t').collect();
    let (domain, below, path, secure, end, name, value) = match fields[..] {
        [domain, below, path, secure, end, name, value] => (domain, below, path, secure, end, name, value),
        // Some programs leave out the tab before an empty value.
        [domain, below, path, secure, end, name] => (domain, below, path, secure, end, name, &b""[..]),
        _ => return Err(Refused::Fields),
    };
    let domain = std::str::from_utf8(domain).map_err(|_| Refused::Domain)?;
    let domain = Host::parse(domain.strip_prefix('.').unwrap_or(domain)).map_err(|_| Refused::Domain)?;
    let end: i64 =
        std::str::from_utf8(end).ok().and_then(|text| text.trim().parse().ok()).ok_or(Refused::Value)?;
    let mut cookie = Cookie::new(domain, name, value);
    cookie.host_only = !flag(below)?;
    cookie.path = std::str::from_utf8(path).map_err(|_| Refused::Value)?.to_owned();
    cookie.secure = flag(secure)?;
    cookie.http_only = http_only;
    cookie.expires = (end != 0).then(|| Timestamp::from_millis(end.saturating_mul(1_000)));
    Ok(cookie)
}

fn flag(text: &[u8]) -> Result<bool, Refused> {
    if text.eq_ignore_ascii_case(b"TRUE") {
        Ok(true)
    } else if text.eq_ignore_ascii_case(b"FALSE") {
        Ok(false)
    } else {
        Err(Refused::Value)
    }
}
