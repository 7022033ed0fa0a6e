//! Which cookies somebody means.

use sessile_model::Timestamp;

use crate::cookie::Cookie;
use crate::host::Host;

/// Which cookies are meant: those for which everything said holds. By default, all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Those of this host, and of names below it.
    pub within: Option<Host>,
    /// Those that belong to this host.
    pub of_host: Option<Host>,
    /// Those of exactly this name.
    pub name: Option<Vec<u8>>,
    /// Those of exactly this path.
    pub path: Option<String>,
    /// Those that end with the session (true), or at a time (false).
    pub session: Option<bool>,
    /// Those that are partitioned (true), or not (false).
    pub partitioned: Option<bool>,
    /// Those that end before this time.
    pub ends_before: Option<Timestamp>,
}

impl Filter {
    /// Every cookie.
    pub fn all() -> Self {
        Self::default()
    }

    /// Cookies of this host and of names below it.
    pub fn within(host: Host) -> Self {
        Self { within: Some(host), ..Self::default() }
    }

    /// Only those of this name.
    pub fn named(self, name: impl Into<Vec<u8>>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// Whether a cookie is meant.
    pub fn admits(&self, cookie: &Cookie) -> bool {
        self.within.as_ref().is_none_or(|host| cookie.domain.is_within(host.as_str()))
            && self.of_host.as_ref().is_none_or(|host| cookie.belongs_to(host))
            && self.name.as_ref().is_none_or(|name| *name == cookie.name)
            && self.path.as_ref().is_none_or(|path| *path == cookie.path)
            && self.session.is_none_or(|session| session == cookie.expires.is_none())
            && self.partitioned.is_none_or(|partitioned| partitioned == cookie.partition.is_some())
            && self.ends_before.is_none_or(|time| cookie.expires.is_some_and(|end| end < time))
    }
}
