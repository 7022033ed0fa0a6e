//! What a request or a script is: its URL, its site, its partition.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::host::{Host, InvalidHost};

/// Longest URL accepted, in octets.
pub const LONGEST_URL: usize = 64 * 1024;

/// Why a text is no URL that cookies could belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidUrl {
    /// Over [`LONGEST_URL`].
    #[error("the URL is over {LONGEST_URL} octets")]
    TooLong,
    /// No `scheme://`.
    #[error("the URL has no scheme")]
    Scheme,
    /// The port is no number below 65536.
    #[error("the URL's port is none")]
    Port,
    /// The host is none.
    #[error("the URL's host is none")]
    Host(#[from] InvalidHost),
}

/// The parts of a URL that cookies depend on: scheme, host and path. Ports are none of them
/// (RFC 6265bis, section 8.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestUrl {
    scheme: String,
    host: Host,
    path: String,
}

impl RequestUrl {
    /// Reads an absolute URL. Userinfo, port, query and fragment are left out; the path stays as
    /// it is written.
    ///
    /// # Errors
    /// When there is no scheme or no host.
    pub fn parse(url: &str) -> Result<Self, InvalidUrl> {
        if url.len() > LONGEST_URL {
            return Err(InvalidUrl::TooLong);
        }
        let (scheme, rest) = url.split_once("://").ok_or(InvalidUrl::Scheme)?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.bytes().all(plain) {
            return Err(InvalidUrl::Scheme);
        }
        let end = rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                let number = port.bytes().all(|b| b.is_ascii_digit());
                if !number || !port.is_empty() && port.parse::<u16>().is_err() {
                    return Err(InvalidUrl::Port);
                }
                host
            }
            Some(_) | None => authority,
        };
        let path = &rest[..rest.find(['?', '#']).unwrap_or(rest.len())];
        let path = if path.is_empty() { "/" } else { path };
        Ok(Self { scheme: scheme.to_ascii_lowercase(), host: Host::parse(host)?, path: path.to_owned() })
    }

    /// The canonical host.
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// The path, without query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether the scheme is one that nobody on the way reads: `https` or `wss`.
    pub fn is_secure(&self) -> bool {
        matches!(self.scheme.as_str(), "https" | "wss")
    }

    /// The site: scheme and registrable domain.
    pub fn site(&self) -> Site {
        let scheme = match self.scheme.as_str() {
            "ws" => "http",
            "wss" => "https",
            other => other,
        };
        Site { scheme: scheme.to_owned(), host: self.host.registrable().to_owned() }
    }

    /// The directory of the path, which a cookie without `Path` gets (section 5.1.4).
    pub fn default_path(&self) -> &str {
        match self.path.rfind('/') {
            Some(at) if at > 0 && self.path.starts_with('/') => &self.path[..at],
            Some(_) | None => "/",
        }
    }
}

/// Whether a request's path path-matches a cookie's (section 5.1.4): it is the same, or below.
pub fn path_matches(request: &str, cookie: &str) -> bool {
    request
        .strip_prefix(cookie)
        .is_some_and(|rest| rest.is_empty() || cookie.ends_with('/') || rest.starts_with('/'))
}

/// A site: a scheme and a registrable domain (section 5.2). Written `https://example.org`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Site {
    scheme: String,
    host: String,
}

impl Site {
    /// The site of a URL.
    ///
    /// # Errors
    /// When it is no URL with a host.
    pub fn of(url: &str) -> Result<Self, InvalidUrl> {
        RequestUrl::parse(url).map(|url| url.site())
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)
    }
}

impl TryFrom<String> for Site {
    type Error = InvalidUrl;

    fn try_from(text: String) -> Result<Self, InvalidUrl> {
        Self::of(&text)
    }
}

impl From<Site> for String {
    fn from(site: Site) -> Self {
        site.to_string()
    }
}

/// Where a partitioned cookie lives (CHIPS, `draft-cutler-httpbis-partitioned-cookies`,
/// section 2): under the site of the page that the user sees.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Partition {
    /// The site of the top-level page.
    pub top_level: Site,
    /// Whether a frame between the page and the request is of another site.
    pub cross_site_ancestor: bool,
}

/// What a request (or a script that asks for cookies) is. Made for the most common one: a
/// same-site GET that loads something into a page, over HTTP, in its own site's partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    pub(crate) url: RequestUrl,
    pub(crate) same_site: bool,
    pub(crate) safe_method: bool,
    pub(crate) top_level: bool,
    pub(crate) script: bool,
    pub(crate) partition: Partition,
}

impl Context {
    /// A same-site GET of this URL.
    pub fn new(url: RequestUrl) -> Self {
        let partition = Partition { top_level: url.site(), cross_site_ancestor: false };
        Self { url, same_site: true, safe_method: true, top_level: false, script: false, partition }
    }

    /// Another site asked for it (section 5.2).
    pub fn cross_site(self) -> Self {
        Self { same_site: false, ..self }
    }

    /// The request's method; only GET, HEAD, OPTIONS and TRACE are safe (RFC 9110, section 9.2.1).
    pub fn method(self, method: &str) -> Self {
        Self { safe_method: matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE"), ..self }
    }

    /// It navigates a top-level page.
    pub fn top_level_navigation(self) -> Self {
        Self { top_level: true, ..self }
    }

    /// A script reads or writes cookies: a "non-HTTP" API.
    pub fn script(self) -> Self {
        Self { script: true, ..self }
    }

    /// It happens inside this partition.
    pub fn partition(self, partition: Partition) -> Self {
        Self { partition, ..self }
    }

    /// The URL.
    pub const fn url(&self) -> &RequestUrl {
        &self.url
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (url, host, path, secure) in [
            ("http://example.org", "example.org", "/", false),
            ("HTTPS://Ann:pass@EXAMPLE.org:8443/a/b?c/d#e", "example.org", "/a/b", true),
            ("wss://[::1]:9/x", "[::1]", "/x", true),
            ("http://[::1]", "[::1]", "/", false),
            ("http://example.org:/?/", "example.org", "/", false),
        ] {
            let read = RequestUrl::parse(url).unwrap();
            assert_eq!((read.host().as_str(), read.path(), read.is_secure()), (host, path, secure), "{url}");
        }
        for url in
            ["", "example.org/", "://x", "1a://x", "http://", "http://@/", "http://a:b/", "http://a:99999"]
        {
            assert!(RequestUrl::parse(url).is_err(), "{url}");
        }
        assert_eq!(RequestUrl::parse(&"x".repeat(LONGEST_URL + 1)), Err(InvalidUrl::TooLong));
    }

    #[test]
    fn the_default_path_is_the_directory() {
        for (path, directory) in [
            ("", "/"),
            ("/", "/"),
            ("/a", "/"),
            ("/a/", "/a"),
            ("/a/b", "/a"),
            ("/a/b/", "/a/b"),
            ("//", "/"),
            ("/a?b/c", "/"),
        ] {
            let url = RequestUrl::parse(&format!("http://example.org{path}")).unwrap();
            assert_eq!(url.default_path(), directory, "{path}");
        }
    }

    #[test]
    fn paths_match_at_slashes() {
        for (request, cookie) in [("/", "/"), ("/a", "/"), ("/a", "/a"), ("/a/", "/a"), ("/a/b", "/a/")] {
            assert!(path_matches(request, cookie), "{request} {cookie}");
        }
        for (request, cookie) in [("/", "/a"), ("/ab", "/a"), ("/a", "/a/"), ("/A", "/a"), ("/a%2fb", "/a")] {
            assert!(!path_matches(request, cookie), "{request} {cookie}");
        }
    }

    #[test]
    fn a_site_has_a_scheme() {
        let site = |url| Site::of(url).unwrap();
        assert_eq!(site("https://a.example.org:8/x"), site("wss://b.example.org"));
        assert_ne!(site("https://a.example.org"), site("http://a.example.org"));
        assert_ne!(site("https://a.github.io"), site("https://b.github.io"));
        assert_eq!(site("https://a.example.org/x").to_string(), "https://example.org");
    }
}
