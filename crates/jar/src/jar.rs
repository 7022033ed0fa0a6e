//! The jar: storing, sending, listing, removing.

use std::cmp::Reverse;

use sessile_model::Timestamp;
use zeroize::Zeroizing;

use crate::context::{self, Context};
use crate::cookie::{Cookie, Kept, SameSite};
use crate::filter::Filter;
use crate::parse;
use crate::rules::{self, Ignored};

/// How many cookies a jar holds (RFC 6265bis, section 6.1, asks for at least 50 and 3000).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Cookies of one domain, in one partition.
    pub per_domain: usize,
    /// Cookies altogether.
    pub total: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { per_domain: 180, total: 3_000 }
    }
}

/// What becomes of cookies without a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Nameless {
    /// They are kept, and sent as their value alone (RFC 6265bis, section 5.6, step 3).
    #[default]
    Keep,
    /// They are refused (RFC 6265, section 5.2, steps 2 and 5).
    Refuse,
}

/// What storing a cookie did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is there, besides the others.
    Added {
        /// How many had to go for it: expired ones, and those of [`Limits`].
        evicted: usize,
    },
    /// It took the place of one with the same name, domain and path.
    Replaced,
    /// It had expired: one with the same name, domain and path is gone.
    Removed,
}

/// A session's cookies.
///
/// Values are secret: `Debug` does not show them and they are overwritten when dropped.
#[derive(Debug, Default)]
pub struct Jar {
    pub(crate) limits: Limits,
    pub(crate) nameless: Nameless,
    pub(crate) cookies: Vec<Kept>,
    pub(crate) next_sequence: u64,
}

impl Jar {
    /// An empty jar.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty jar with other limits and another treatment of nameless cookies.
    pub fn with(limits: Limits, nameless: Nameless) -> Self {
        Self { limits, nameless, ..Self::default() }
    }

    /// Takes in one `Set-Cookie` header of a response to this request, or one `document.cookie =`
    /// of a script (section 5.7).
    ///
    /// # Errors
    /// Why it was ignored; nothing has changed then.
    pub fn store(&mut self, set_cookie: &[u8], context: &Context, now: Timestamp) -> Result<Stored, Ignored> {
        let cookie = rules::receive(&parse::parse(set_cookie)?, context, now)?;
        if !cookie.secure && !context.url.is_secure() && self.cookies.iter().any(|old| hides(&cookie, old)) {
            return Err(Ignored::HidesSecure);
        }
        if context.script && self.cookies.iter().any(|old| old.http_only && old.is_same(&cookie)) {
            return Err(Ignored::ReplacesHttpOnly);
        }
        self.insert(cookie, now)
    }

    /// Puts in a cookie that came from no response: from the user, a file, a browser. An end
    /// further off than [`LONGEST_LIFE`](crate::LONGEST_LIFE) is moved.
    ///
    /// # Errors
    /// What is wrong with it; nothing has changed then. One that has expired is refused.
    pub fn set(&mut self, mut cookie: Cookie, now: Timestamp) -> Result<Stored, Ignored> {
        rules::check(&cookie)?;
        if cookie.is_expired(now) {
            return Err(Ignored::Expired);
        }
        cookie.expires = cookie.expires.map(|end| rules::capped(end, now));
        self.insert(cookie, now)
    }

    fn insert(&mut self, cookie: Cookie, now: Timestamp) -> Result<Stored, Ignored> {
        match self.nameless {
            Nameless::Refuse if cookie.name.is_empty() => return Err(Ignored::Nameless),
            Nameless::Refuse | Nameless::Keep => {}
        }
        let old = self.cookies.iter().position(|old| old.is_same(&cookie));
        if cookie.is_expired(now) {
            if let Some(old) = old {
                self.cookies.remove(old);
            }
            return Ok(Stored::Removed);
        }
        if let Some(old) = old {
            // The old one's place in the order stays.
            let old = &mut self.cookies[old];
            old.cookie = cookie;
            old.accessed = now;
            return Ok(Stored::Replaced);
        }
        let room = self.room_for(&cookie, now)?;
        let evicted = room.len();
        let mut index = 0;
        self.cookies.retain(|_| {
            index += 1;
            !room.contains(&(index - 1))
        });
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.cookies.push(Kept { cookie, created: now, accessed: now, sequence });
        Ok(Stored::Added { evicted })
    }

    /// The places of the cookies that have to go for a new one (section 5.7): expired ones first,
    /// then of a domain that is full those that are not secure, then its others, then any; among
    /// equals those that were not used for longest.
    fn room_for(&self, cookie: &Cookie, now: Timestamp) -> Result<Vec<usize>, Ignored> {
        let shares = |old: &Cookie| old.domain == cookie.domain && old.partition == cookie.partition;
        let shared = self.cookies.iter().filter(|old| shares(old)).count();
        if shared < self.limits.per_domain && self.cookies.len() < self.limits.total {
            return Ok(Vec::new());
        }
        let (mut gone, mut open): (Vec<usize>, Vec<usize>) =
            (0..self.cookies.len()).partition(|i| self.cookies[*i].is_expired(now));
        open.sort_by_key(|i| self.age(*i));
        let domain_over = |gone: &[usize]| {
            let left = shared - gone.iter().filter(|i| shares(&self.cookies[**i])).count();
            left >= self.limits.per_domain
        };
        if domain_over(&gone) {
            let oldest = |secure: bool| {
                open.iter().copied().find(|i| shares(&self.cookies[*i]) && self.cookies[*i].secure == secure)
            };
            let insecure = oldest(false);
            // The new one is itself among those that could go, and the youngest of its kind.
            if insecure.is_none() && !cookie.secure {
                return Err(Ignored::NoRoom);
            }
            let first = insecure.or_else(|| oldest(true)).ok_or(Ignored::NoRoom)?;
            open.retain(|i| *i != first);
            gone.push(first);
        }
        if self.cookies.len() - gone.len() >= self.limits.total {
            gone.push(*open.first().ok_or(Ignored::NoRoom)?);
        }
        Ok(gone)
    }

    fn age(&self, index: usize) -> (Timestamp, u64) {
        (self.cookies[index].accessed, self.cookies[index].sequence)
    }

    /// The value of the `Cookie` header for a request, or what a script sees (section 5.8);
    /// `None` when there is no cookie for it. The buffer is overwritten when dropped.
    pub fn header(&mut self, context: &Context, now: Timestamp) -> Option<Zeroizing<Vec<u8>>> {
        let sent = self.select(context, now);
        for index in &sent {
            self.cookies[*index].accessed = now;
        }
        let size =
            sent.iter().map(|i| self.cookies[*i].name.len() + self.cookies[*i].value.expose().len() + 3);
        let mut header = Zeroizing::new(Vec::with_capacity(size.sum()));
        for cookie in sent.iter().map(|index| &self.cookies[*index]) {
            if !header.is_empty() {
                header.extend_from_slice(b"; ");
            }
            if !cookie.name.is_empty() {
                header.extend_from_slice(&cookie.name);
                header.push(b'=');
            }
            header.extend_from_slice(cookie.value.expose());
        }
        (!sent.is_empty()).then_some(header)
    }

    /// The cookies for a request, in the order in which they are sent. Does not count as use.
    pub fn matching(&self, context: &Context, now: Timestamp) -> Vec<&Kept> {
        self.select(context, now).into_iter().map(|index| &self.cookies[index]).collect()
    }

    /// Longest path first, then the oldest (section 5.8.3).
    fn select(&self, context: &Context, now: Timestamp) -> Vec<usize> {
        let mut sent: Vec<usize> = (0..self.cookies.len())
            .filter(|i| !self.cookies[*i].is_expired(now) && is_for(&self.cookies[*i], context))
            .collect();
        sent.sort_by_key(|i| {
            let kept = &self.cookies[*i];
            (Reverse(kept.path.len()), kept.created, kept.sequence)
        });
        sent
    }

    /// The cookies that are meant, in the order in which they came.
    pub fn list<'a>(&'a self, filter: &'a Filter) -> impl Iterator<Item = &'a Kept> {
        self.cookies.iter().filter(|kept| filter.admits(kept))
    }

    /// Removes the cookies that are meant, and says how many.
    pub fn delete(&mut self, filter: &Filter) -> usize {
        self.keep(|kept| !filter.admits(kept))
    }

    /// Removes what has expired, and says how many.
    pub fn sweep(&mut self, now: Timestamp) -> usize {
        self.keep(|kept| !kept.is_expired(now))
    }

    /// Removes the cookies that end with the session, and says how many.
    pub fn end_session(&mut self) -> usize {
        self.keep(|kept| kept.expires.is_some())
    }

    fn keep(&mut self, keep: impl Fn(&Kept) -> bool) -> usize {
        let before = self.cookies.len();
        self.cookies.retain(keep);
        before - self.cookies.len()
    }

    /// How many cookies there are, expired ones that were not swept yet among them.
    pub fn len(&self) -> usize {
        self.cookies.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.cookies.is_empty()
    }
}

/// Whether a cookie from a connection that is not secure would be sent in place of a secure one
/// (section 5.7, step 15). Only cookies outside partitions: a partition tells nothing to others.
fn hides(new: &Cookie, old: &Cookie) -> bool {
    old.secure
        && old.partition.is_none()
        && old.name == new.name
        && (old.domain.is_within(new.domain.as_str()) || new.domain.is_within(old.domain.as_str()))
        && context::path_matches(&new.path, &old.path)
}

/// Whether a request carries a cookie (section 5.8.3, step 1).
fn is_for(cookie: &Cookie, context: &Context) -> bool {
    let url = &context.url;
    let lax = context.safe_method && context.top_level && !context.script;
    let site = context.same_site
        || match cookie.same_site {
            SameSite::None => true,
            SameSite::Lax | SameSite::Default => lax,
            SameSite::Strict => false,
        };
    cookie.belongs_to(url.host())
        && context::path_matches(url.path(), &cookie.path)
        && (!cookie.secure || url.is_secure())
        && (!cookie.http_only || !context.script)
        && site
        && cookie.partition.as_ref().is_none_or(|partition| *partition == context.partition)
}
