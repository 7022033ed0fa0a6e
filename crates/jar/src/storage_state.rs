//! Playwright's `storageState`: an object with `cookies` and `origins`. Only cookies are read and
//! written; an empty `origins` is written because readers expect it.
//!
//! A domain with a leading dot is for names below it too, `expires` is in seconds and -1 for a
//! session's. A partition is `partitionKey`, a site, with `_crHasCrossSiteAncestor`.

use serde::Serialize;
use serde_json::Value;
use sessile_model::Timestamp;
use zeroize::Zeroizing;

use crate::context::{Partition, Site};
use crate::cookie::{Cookie, SameSite};
use crate::exchange::{Entries, ImportError, Lost, MOST_ENTRIES, Refused};
use crate::host::Host;

/// What an entry cannot say of this cookie.
pub fn lost(cookie: &Cookie) -> Option<Lost> {
    let text = |octets: &[u8]| std::str::from_utf8(octets).is_ok();
    if !text(&cookie.name) || !text(cookie.value.expose()) {
        return Some(Lost::Unwritable);
    }
    match cookie.same_site {
        SameSite::Default => Some(Lost::DefaultSameSite),
        SameSite::None | SameSite::Lax | SameSite::Strict => None,
    }
}

#[derive(Serialize)]
struct State<'a> {
    cookies: Vec<Entry<'a>>,
    origins: [(); 0],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    name: &'a str,
    value: &'a str,
    domain: String,
    path: &'a str,
    expires: f64,
    http_only: bool,
    secure: bool,
    same_site: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition_key: Option<String>,
    #[serde(rename = "_crHasCrossSiteAncestor", skip_serializing_if = "Option::is_none")]
    cross_site_ancestor: Option<bool>,
}

/// The file with these cookies.
pub fn write(cookies: &[&Cookie]) -> Zeroizing<Vec<u8>> {
    let size: usize = cookies
        .iter()
        .map(|c| 512 + c.domain.as_str().len() + 6 * (c.path.len() + c.name.len() + c.value.expose().len()))
        .sum();
    let state = State { cookies: cookies.iter().filter_map(|cookie| entry(cookie)).collect(), origins: [] };
    let mut text = Zeroizing::new(Vec::with_capacity(size + 64));
    // Writing text and numbers into memory does not fail.
    if serde_json::to_writer_pretty(&mut *text, &state).is_err() {
        text.clear();
    }
    text.push(b'\n');
    text
}

fn entry(cookie: &Cookie) -> Option<Entry<'_>> {
    let dot = if cookie.host_only { "" } else { "." };
    Some(Entry {
        name: std::str::from_utf8(&cookie.name).ok()?,
        value: std::str::from_utf8(cookie.value.expose()).ok()?,
        domain: format!("{dot}{}", cookie.domain),
        path: &cookie.path,
        expires: cookie.expires.map_or(-1.0, |end| end.as_millis() as f64 / 1_000.0),
        http_only: cookie.http_only,
        secure: cookie.secure,
        same_site: match cookie.same_site {
            SameSite::None => "None",
            SameSite::Lax | SameSite::Default => "Lax",
            SameSite::Strict => "Strict",
        },
        partition_key: cookie.partition.as_ref().map(|partition| partition.top_level.to_string()),
        cross_site_ancestor: cookie.partition.as_ref().map(|partition| partition.cross_site_ancestor),
    })
}

/// The cookies of a file, with their places in the list.
///
/// # Errors
/// When it is no such file, or has too many.
pub fn read(file: &[u8]) -> Result<Entries, ImportError> {
    let state: Value = serde_json::from_slice(file)
        .map_err(|error| ImportError::Json { line: error.line(), column: error.column() })?;
    let list = state["cookies"].as_array().ok_or(ImportError::Shape)?;
    if list.len() > MOST_ENTRIES {
        return Err(ImportError::TooMany);
    }
    let cookies = list.iter().enumerate().map(|(index, entry)| (index + 1, cookie(entry))).collect();
    Ok(Entries { cookies, origins: state["origins"].as_array().map_or(0, Vec::len) })
}

fn cookie(entry: &Value) -> Result<Cookie, Refused> {
    let text = |key: &str| entry[key].as_str().ok_or(Refused::Fields);
    let domain = text("domain")?;
    let host = Host::parse(domain.strip_prefix('.').unwrap_or(domain)).map_err(|_| Refused::Domain)?;
    let mut cookie = Cookie::new(host, text("name")?.as_bytes(), text("value")?.as_bytes());
    cookie.host_only = !domain.starts_with('.');
    cookie.path = text("path")?.to_owned();
    cookie.expires = end(&entry["expires"])?;
    cookie.http_only = flag(&entry["httpOnly"])?;
    cookie.secure = flag(&entry["secure"])?;
    cookie.same_site = match &entry["sameSite"] {
        Value::Null => SameSite::Default,
        Value::String(text) => match SameSite::of_attribute(text.as_bytes()) {
            SameSite::Default => return Err(Refused::Value),
            known @ (SameSite::None | SameSite::Lax | SameSite::Strict) => known,
        },
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => return Err(Refused::Value),
    };
    cookie.partition = match &entry["partitionKey"] {
        Value::Null => None,
        Value::String(site) => Some(Partition {
            top_level: Site::of(site).map_err(|_| Refused::Partition)?,
            cross_site_ancestor: flag(&entry["_crHasCrossSiteAncestor"])?,
        }),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            return Err(Refused::Partition);
        }
    };
    Ok(cookie)
}

/// Seconds of the epoch; a negative number, or none at all, is a session's.
fn end(value: &Value) -> Result<Option<Timestamp>, Refused> {
    if value.is_null() {
        return Ok(None);
    }
    let seconds = value.as_f64().ok_or(Refused::Value)?;
    // The conversion saturates.
    Ok((seconds >= 0.0).then(|| Timestamp::from_millis((seconds * 1_000.0).round() as i64)))
}

fn flag(value: &Value) -> Result<bool, Refused> {
    if value.is_null() { Ok(false) } else { value.as_bool().ok_or(Refused::Value) }
}
