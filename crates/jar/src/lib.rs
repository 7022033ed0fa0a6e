//! A session's cookies, as RFC 6265bis (`draft-ietf-httpbis-rfc6265bis-22`) has them.
//!
//! Pure: no clock, no randomness, no file, no network. Time and the request come in as arguments.
//! The same jar serves whoever sends requests for a session, a gateway or a browser.
//!
//! | module | subject |
//! |---|---|
//! | `jar` | storing, sending, listing, removing: [`Jar`] |
//! | `context` | what a request is: [`Context`], [`RequestUrl`], [`Site`], [`Partition`] |
//! | `cookie` | a [`Cookie`] and its [`Secret`] value |
//! | `rules` | which cookies are [`Ignored`], and why |
//! | `parse`, `date` | the `Set-Cookie` header and its dates |
//! | `host` | canonical names, domain match, public suffixes |
//! | `exchange` | files of other programs: `netscape`, `storage_state` |
//! | `saved` | the whole jar, for a checkpoint |
//!
//! What holds, and the test that holds it:
//! - No clock, entropy or file is touched (`clippy.toml`, `cargo xtask tidy`).
//! - A cookie goes only to its domain, on its path, over its kind of connection
//!   (`tests/properties.rs`).
//! - Nothing that comes in makes it panic or grow past its [`Limits`] (`tests/properties.rs`).
//! - A value is in no `Debug` text (`tests/rules.rs`).
//!
//! Left to the caller: whether a request is same-site along its redirects, whether a host that is
//! not reached by `https` is secure all the same (here it never is), and whether cookies of third
//! parties are wanted at all. An unsafe cross-site navigation never carries a cookie without
//! `SameSite` ("Lax-allowing-unsafe", section 5.6.7.2, is not offered).

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod context;
mod cookie;
mod date;
mod exchange;
mod filter;
mod host;
mod jar;
mod netscape;
mod parse;
mod rules;
mod saved;
mod storage_state;

pub use context::{Context, InvalidUrl, LONGEST_URL, Partition, RequestUrl, Site, path_matches};
pub use cookie::{Cookie, Kept, SameSite, Secret};
pub use date::parse as parse_date;
pub use exchange::{
    Exported, Format, ImportError, Imported, Lost, MOST_ENTRIES, MOST_INPUT, Refusal, Refused, UnknownFormat,
};
pub use filter::Filter;
pub use host::{Host, InvalidHost};
pub use jar::{Jar, Limits, Nameless, Stored};
pub use parse::{LONGEST_ATTRIBUTE, LONGEST_PAIR};
pub use rules::{Ignored, LONGEST_LIFE, LONGEST_PATH};
