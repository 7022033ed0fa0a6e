//! A cookie, and the octets of it that are secret.

use std::fmt;
use std::ops::Deref;

use sessile_model::Timestamp;
use zeroize::Zeroize as _;

use crate::context::Partition;
use crate::host::Host;

/// A cookie's value. Overwritten when dropped; `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Takes a copy of these octets.
    pub fn new(value: &[u8]) -> Self {
        Self(value.into())
    }

    /// The octets.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Which requests of other sites carry a cookie (RFC 6265bis, section 5.6.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SameSite {
    /// Not said, or not understood: as [`SameSite::Lax`].
    #[default]
    Default,
    /// Every request does.
    None,
    /// Navigations of a top-level page with a safe method do.
    Lax,
    /// None does.
    Strict,
}

impl SameSite {
    /// From the attribute's value.
    pub(crate) fn of_attribute(value: &[u8]) -> Self {
        let is = |known: &str| value.eq_ignore_ascii_case(known.as_bytes());
        if is("None") {
            Self::None
        } else if is("Strict") {
            Self::Strict
        } else if is("Lax") {
            Self::Lax
        } else {
            Self::Default
        }
    }
}

/// A cookie (RFC 6265bis, section 5.7).
///
/// Names and values are octets. A cookie without a name is sent as its value alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Cookie {
    /// Its name; may be empty when the value is not.
    pub name: Vec<u8>,
    /// Its value; may be empty when the name is not.
    pub value: Secret,
    /// The host it belongs to.
    pub domain: Host,
    /// Whether names below that host do not get it.
    pub host_only: bool,
    /// The path it belongs to; starts with `/`.
    pub path: String,
    /// When it ends; `None` with the session.
    pub expires: Option<Timestamp>,
    /// Whether only secure connections carry it.
    pub secure: bool,
    /// Whether scripts neither see nor change it.
    pub http_only: bool,
    /// Which requests of other sites carry it.
    pub same_site: SameSite,
    /// The partition it lives in, if it is partitioned.
    pub partition: Option<Partition>,
}

impl Cookie {
    /// A cookie of one host, for the session, with path `/` and nothing else set.
    pub fn new(domain: Host, name: &[u8], value: &[u8]) -> Self {
        Self {
            name: name.to_owned(),
            value: Secret::new(value),
            domain,
            host_only: true,
            path: "/".to_owned(),
            expires: None,
            secure: false,
            http_only: false,
            same_site: SameSite::Default,
            partition: None,
        }
    }

    /// Whether its end has come.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }

    /// Whether it belongs to this host: is of it, or of a domain that it is within.
    pub fn belongs_to(&self, host: &Host) -> bool {
        if self.host_only { *host == self.domain } else { host.is_within(self.domain.as_str()) }
    }

    /// Whether the two cannot both be in a jar: name, domain, path and partition are the same.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.name == other.name
            && self.domain == other.domain
            && self.host_only == other.host_only
            && self.path == other.path
            && self.partition == other.partition
    }

    /// The name as text, for people.
    pub fn name_text(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }
}

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cookie")
            .field("name", &self.name_text())
            .field("value", &self.value)
            .field("domain", &self.domain.as_str())
            .field("host_only", &self.host_only)
            .field("path", &self.path)
            .field("expires", &self.expires)
            .field("secure", &self.secure)
            .field("http_only", &self.http_only)
            .field("same_site", &self.same_site)
            .field("partition", &self.partition)
            .finish()
    }
}

/// A cookie in a jar, with its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub(crate) cookie: Cookie,
    pub(crate) created: Timestamp,
    pub(crate) accessed: Timestamp,
    /// Orders cookies that were made in the same millisecond.
    pub(crate) sequence: u64,
}

impl Kept {
    /// When a cookie of this name, domain and path was first stored.
    pub const fn created(&self) -> Timestamp {
        self.created
    }

    /// When it was last sent or stored.
    pub const fn accessed(&self) -> Timestamp {
        self.accessed
    }
}

impl Deref for Kept {
    type Target = Cookie;

    fn deref(&self) -> &Cookie {
        &self.cookie
    }
}
