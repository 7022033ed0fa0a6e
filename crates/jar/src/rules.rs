//! Which cookies a jar takes (RFC 6265bis, sections 5.4 to 5.7).

use sessile_model::{Millis, Timestamp};
use thiserror::Error;

use crate::context::Context;
use crate::cookie::{Cookie, SameSite, Secret};
use crate::host;
use crate::parse::{self, LONGEST_ATTRIBUTE, LONGEST_PAIR, Parsed};

/// Longest life of a cookie: 400 days (section 5.5).
pub const LONGEST_LIFE: Millis = Millis(400 * 24 * 60 * 60 * 1_000);

/// Longest path, in octets of UTF-8: octets of an attribute that are none take three each.
pub const LONGEST_PATH: usize = 3 * LONGEST_ATTRIBUTE;

/// Why a cookie was not stored. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Ignored {
    /// A control character other than the tab (section 5.6, step 1).
    #[error("it has a control character")]
    ControlCharacter,
    /// Over [`LONGEST_PAIR`] (section 5.6, step 5).
    #[error("name and value are over {LONGEST_PAIR} octets together")]
    TooLong,
    /// The path is over [`LONGEST_PATH`], as that of a long URL may be, or does not start with a
    /// slash.
    #[error("the path is over {LONGEST_PATH} octets or does not start with /")]
    Path,
    /// `=` or `;` in the name, `;` in the value, or spaces around them: it would not come back.
    #[error("name or value cannot be written in a header")]
    Unwritable,
    /// Neither name nor value.
    #[error("it has neither name nor value")]
    Empty,
    /// No name, and the jar refuses those.
    #[error("it has no name")]
    Nameless,
    /// The `Domain` attribute has octets outside ASCII.
    #[error("the domain is not ASCII")]
    DomainNotAscii,
    /// The domain is a public suffix, and not the host itself.
    #[error("the domain is a public suffix")]
    PublicSuffix,
    /// The host is not within the domain.
    #[error("the host is not within the domain")]
    ForeignDomain,
    /// `Secure`, from a connection that is not.
    #[error("it is Secure and the connection is not")]
    SecureFromInsecure,
    /// `HttpOnly`, from a script.
    #[error("it is HttpOnly and comes from a script")]
    HttpOnlyFromScript,
    /// It would hide a secure cookie, from a connection that is not secure.
    #[error("it would hide a Secure cookie")]
    HidesSecure,
    /// It would replace an `HttpOnly` cookie, from a script.
    #[error("it would replace an HttpOnly cookie")]
    ReplacesHttpOnly,
    /// `SameSite` forbids that another site's request sets it.
    #[error("another site's request cannot set it")]
    CrossSite,
    /// `SameSite=None` without `Secure`.
    #[error("it is SameSite=None and not Secure")]
    NoneNotSecure,
    /// `Partitioned` without `Secure`.
    #[error("it is Partitioned and not Secure")]
    PartitionedNotSecure,
    /// The name, or the value of a nameless one, starts with `__Secure-` or `__Host-`, and the
    /// cookie is not what that promises.
    #[error("it is not what its prefix promises")]
    Prefix,
    /// Its end has come already.
    #[error("it has expired")]
    Expired,
    /// Of all that could be removed for it, it was the first (section 5.7, eviction).
    #[error("there is no room for it")]
    NoRoom,
}

/// The cookie that a header makes, before it is compared with those in the jar.
///
/// # Errors
/// When it must be ignored whatever the jar holds.
pub fn receive(parsed: &Parsed<'_>, context: &Context, now: Timestamp) -> Result<Cookie, Ignored> {
    let url = &context.url;
    let (domain, host_only) = domain(parsed, context)?;
    let path = match parsed.path {
        Some(path) if path.starts_with(b"/") => String::from_utf8_lossy(path).into_owned(),
        Some(_) | None => url.default_path().to_owned(),
    };
    let cookie = Cookie {
        name: parsed.name.to_owned(),
        value: Secret::new(parsed.value),
        domain,
        host_only,
        path,
        expires: end(parsed, now),
        secure: parsed.secure,
        http_only: parsed.http_only,
        same_site: parsed.same_site,
        partition: parsed.partitioned.then(|| context.partition.clone()),
    };
    if cookie.secure && !url.is_secure() {
        return Err(Ignored::SecureFromInsecure);
    }
    if cookie.http_only && context.script {
        return Err(Ignored::HttpOnlyFromScript);
    }
    // A top-level navigation may set what it would not have sent.
    let may_set = context.same_site || context.top_level && !context.script;
    if cookie.same_site != SameSite::None && !may_set {
        return Err(Ignored::CrossSite);
    }
    if has_prefix(&cookie.name, "__Host-") && parsed.path.is_none() {
        return Err(Ignored::Prefix);
    }
    check(&cookie)?;
    Ok(cookie)
}

/// The domain and whether it is the host alone (section 5.7, steps 6 to 9).
fn domain(parsed: &Parsed<'_>, context: &Context) -> Result<(host::Host, bool), Ignored> {
    let host = context.url.host();
    let attribute = parsed.domain.unwrap_or_default();
    if !attribute.is_ascii() {
        return Err(Ignored::DomainNotAscii);
    }
    let attribute = String::from_utf8_lossy(attribute).to_ascii_lowercase();
    if attribute.is_empty() {
        return Ok((host.clone(), true));
    }
    if host::is_public_suffix(&attribute) {
        return if attribute == host.as_str() {
            Ok((host.clone(), true))
        } else {
            Err(Ignored::PublicSuffix)
        };
    }
    let domain = host.ancestor(&attribute).ok_or(Ignored::ForeignDomain)?;
    Ok((domain, false))
}

/// When it ends: `Max-Age` before `Expires`, and at most [`LONGEST_LIFE`] from now.
fn end(parsed: &Parsed<'_>, now: Timestamp) -> Option<Timestamp> {
    match parsed.max_age {
        Some(0) => Some(Timestamp::from_millis(i64::MIN)),
        Some(seconds) => Some(now.plus(Millis(seconds.saturating_mul(1_000).min(LONGEST_LIFE.0)))),
        None => parsed.expires.map(|end| capped(end, now)),
    }
}

/// An end, moved to [`LONGEST_LIFE`] from now when it is later.
pub fn capped(end: Timestamp, now: Timestamp) -> Timestamp {
    end.min(now.plus(LONGEST_LIFE))
}

/// What holds for every cookie in a jar, wherever it came from.
///
/// # Errors
/// What does not hold.
pub fn check(cookie: &Cookie) -> Result<(), Ignored> {
    let (name, value) = (cookie.name.as_slice(), cookie.value.expose());
    if name.is_empty() && value.is_empty() {
        return Err(Ignored::Empty);
    }
    if parse::has_control(name) || parse::has_control(value) {
        return Err(Ignored::ControlCharacter);
    }
    if name.len() + value.len() > LONGEST_PAIR {
        return Err(Ignored::TooLong);
    }
    let trimmed = parse::trim(name) == name && parse::trim(value) == value;
    if !trimmed || name.iter().any(|b| matches!(b, b'=' | b';')) || value.contains(&b';') {
        return Err(Ignored::Unwritable);
    }
    if !cookie.path.starts_with('/') || cookie.path.len() > LONGEST_PATH {
        return Err(Ignored::Path);
    }
    if parse::has_control(cookie.path.as_bytes()) {
        return Err(Ignored::Path);
    }
    if !cookie.host_only && host::is_public_suffix(cookie.domain.as_str()) {
        return Err(Ignored::PublicSuffix);
    }
    if cookie.same_site == SameSite::None && !cookie.secure {
        return Err(Ignored::NoneNotSecure);
    }
    if cookie.partition.is_some() && !cookie.secure {
        return Err(Ignored::PartitionedNotSecure);
    }
    check_prefix(cookie)
}

/// Prefixes of names (section 5.4), in any case, so that servers that compare without case are
/// not deceived; nor by a nameless cookie whose value reads like such a name.
fn check_prefix(cookie: &Cookie) -> Result<(), Ignored> {
    let name = cookie.name.as_slice();
    let secure = has_prefix(name, "__Secure-");
    let host = has_prefix(name, "__Host-");
    let value = cookie.value.expose();
    let spoofs = name.is_empty() && (has_prefix(value, "__Secure-") || has_prefix(value, "__Host-"));
    let bound = cookie.host_only && cookie.path == "/";
    let kept = !spoofs && (!secure || cookie.secure) && (!host || cookie.secure && bound);
    if kept { Ok(()) } else { Err(Ignored::Prefix) }
}

fn has_prefix(text: &[u8], prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
}
