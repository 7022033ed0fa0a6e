//! A whole jar for a checkpoint. **What is written holds the values**: it belongs into memory or
//! files that are wiped.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize, Serializer};
use sessile_model::Timestamp;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::context::Partition;
use crate::cookie::{Cookie, Kept, SameSite, Secret};
use crate::host::Host;
use crate::jar::{Jar, Limits, Nameless};
use crate::rules::{self, Ignored};

/// Why a saved jar is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
enum InvalidJar {
    #[error("a name or value is not base64")]
    Base64,
    #[error("a saved cookie is none: {0}")]
    Cookie(#[from] Ignored),
    #[error("two saved cookies are the same")]
    Twice,
    #[error("there are more saved cookies than the jar holds")]
    TooMany,
    #[error("saved cookies are not in the order in which they came")]
    Order,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedJar {
    per_domain: usize,
    total: usize,
    refuses_nameless: bool,
    next_sequence: u64,
    cookies: Vec<SavedCookie>,
}

/// Times are milliseconds of the epoch, octets base64.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedCookie {
    name: String,
    value: Zeroizing<String>,
    domain: Host,
    host_only: bool,
    path: String,
    expires: Option<i64>,
    secure: bool,
    http_only: bool,
    same_site: SavedSameSite,
    partition: Option<Partition>,
    created: i64,
    accessed: i64,
    sequence: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SavedSameSite {
    Default,
    None,
    Lax,
    Strict,
}

impl From<&Kept> for SavedCookie {
    fn from(kept: &Kept) -> Self {
        let cookie = &kept.cookie;
        Self {
            name: STANDARD.encode(&cookie.name),
            value: Zeroizing::new(STANDARD.encode(cookie.value.expose())),
            domain: cookie.domain.clone(),
            host_only: cookie.host_only,
            path: cookie.path.clone(),
            expires: cookie.expires.map(Timestamp::as_millis),
            secure: cookie.secure,
            http_only: cookie.http_only,
            same_site: match cookie.same_site {
                SameSite::Default => SavedSameSite::Default,
                SameSite::None => SavedSameSite::None,
                SameSite::Lax => SavedSameSite::Lax,
                SameSite::Strict => SavedSameSite::Strict,
            },
            partition: cookie.partition.clone(),
            created: kept.created.as_millis(),
            accessed: kept.accessed.as_millis(),
            sequence: kept.sequence,
        }
    }
}

impl TryFrom<SavedCookie> for Kept {
    type Error = InvalidJar;

    fn try_from(saved: SavedCookie) -> Result<Self, InvalidJar> {
        let octets = |text: &str| STANDARD.decode(text).map(Zeroizing::new).map_err(|_| InvalidJar::Base64);
        let cookie = Cookie {
            name: octets(&saved.name)?.to_vec(),
            value: Secret::new(&octets(&saved.value)?),
            domain: saved.domain,
            host_only: saved.host_only,
            path: saved.path,
            expires: saved.expires.map(Timestamp::from_millis),
            secure: saved.secure,
            http_only: saved.http_only,
            same_site: match saved.same_site {
                SavedSameSite::Default => SameSite::Default,
                SavedSameSite::None => SameSite::None,
                SavedSameSite::Lax => SameSite::Lax,
                SavedSameSite::Strict => SameSite::Strict,
            },
            partition: saved.partition,
        };
        rules::check(&cookie)?;
        Ok(Self {
            cookie,
            created: Timestamp::from_millis(saved.created),
            accessed: Timestamp::from_millis(saved.accessed),
            sequence: saved.sequence,
        })
    }
}

impl Serialize for Jar {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let saved = SavedJar {
            per_domain: self.limits.per_domain,
            total: self.limits.total,
            refuses_nameless: match self.nameless {
                Nameless::Refuse => true,
                Nameless::Keep => false,
            },
            next_sequence: self.next_sequence,
            cookies: self.cookies.iter().map(SavedCookie::from).collect(),
        };
        saved.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Jar {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        SavedJar::deserialize(deserializer)?.try_into().map_err(serde::de::Error::custom)
    }
}

impl TryFrom<SavedJar> for Jar {
    type Error = InvalidJar;

    fn try_from(saved: SavedJar) -> Result<Self, InvalidJar> {
        let limits = Limits { per_domain: saved.per_domain, total: saved.total };
        let nameless = if saved.refuses_nameless { Nameless::Refuse } else { Nameless::Keep };
        let mut jar = Self::with(limits, nameless);
        jar.next_sequence = saved.next_sequence;
        for cookie in saved.cookies {
            let kept = Kept::try_from(cookie)?;
            let after = jar.cookies.last().is_none_or(|last| last.sequence < kept.sequence);
            if !after || kept.sequence >= jar.next_sequence {
                return Err(InvalidJar::Order);
            }
            if jar.cookies.iter().any(|other| other.is_same(&kept)) {
                return Err(InvalidJar::Twice);
            }
            let shares = |o: &&Kept| o.domain == kept.domain && o.partition == kept.partition;
            if jar.cookies.len() >= limits.total
                || jar.cookies.iter().filter(shares).count() >= limits.per_domain
            {
                return Err(InvalidJar::TooMany);
            }
            jar.cookies.push(kept);
        }
        Ok(jar)
    }
}
