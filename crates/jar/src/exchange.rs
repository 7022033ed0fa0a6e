//! Cookies to and from files of other programs.

use std::str::FromStr;

use sessile_model::Timestamp;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::cookie::Cookie;
use crate::jar::{Jar, Stored};
use crate::rules::Ignored;
use crate::{netscape, storage_state};

/// Largest file that is imported, in octets.
pub const MOST_INPUT: usize = 16 << 20;
/// Most cookies that one file may have.
pub const MOST_ENTRIES: usize = 20_000;

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Netscape's `cookies.txt`, as curl, wget and yt-dlp read and write it.
    Netscape,
    /// Playwright's `storageState`, in JSON: its cookies.
    StorageState,
}

/// A text names no [`Format`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a cookie file is `netscape` or `storage-state`")]
pub struct UnknownFormat;

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        match text {
            "netscape" => Ok(Self::Netscape),
            "storage-state" => Ok(Self::StorageState),
            _ => Err(UnknownFormat),
        }
    }
}

/// Something that a format cannot say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Its `SameSite` is not written.
    SameSite,
    /// `SameSite` was not said; it is written as `Lax`, which is the same to a browser.
    DefaultSameSite,
    /// Left out: it lives in a partition and would come back outside any.
    Partitioned,
    /// Left out: the format has no way to write its name, value or path.
    Unwritable,
}

impl Lost {
    /// Whether the cookie is not in the file at all.
    pub const fn is_left_out(self) -> bool {
        match self {
            Self::Partitioned | Self::Unwritable => true,
            Self::SameSite | Self::DefaultSameSite => false,
        }
    }
}

/// A file, and what is not in it. Neither format holds when a cookie was made and last used, and
/// Netscape's rounds ends down to seconds.
#[derive(Clone)]
pub struct Exported {
    /// The file. It holds the values; overwritten when dropped.
    pub text: Zeroizing<Vec<u8>>,
    /// How many cookies are in it.
    pub cookies: usize,
    /// What the format loses, with the name and the domain of the cookie.
    pub lost: Vec<(String, String, Lost)>,
}

impl std::fmt::Debug for Exported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exported").field("cookies", &self.cookies).field("lost", &self.lost).finish()
    }
}

/// Why an entry of a file was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// Not as many fields as the format has, or one that is missing.
    #[error("a field is missing")]
    Fields,
    /// The domain is none.
    #[error("the domain is none")]
    Domain,
    /// TRUE, FALSE, a number or a text was expected.
    #[error("a field has another kind of value than the format says")]
    Value,
    /// The partition's site is none.
    #[error("the partition is none")]
    Partition,
    /// The jar does not take such a cookie.
    #[error(transparent)]
    Ignored(#[from] Ignored),
}

/// An entry that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its line in `cookies.txt`, or its place in the list of cookies; from 1.
    pub at: usize,
    /// Why.
    pub why: Refused,
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Cookies that are new.
    pub added: usize,
    /// Cookies that took another's place.
    pub replaced: usize,
    /// Cookies that had expired and were passed over.
    pub expired: usize,
    /// Cookies that had to go because the jar was full.
    pub evicted: usize,
    /// Entries that were refused.
    pub refused: Vec<Refusal>,
    /// Origins with local storage in the file; they are not cookies and were passed over.
    pub origins_ignored: usize,
}

/// Why a file was not imported. Nothing has changed.
#[derive(Debug, Error)]
pub enum ImportError {
    /// Over [`MOST_INPUT`].
    #[error("a cookie file has at most {MOST_INPUT} octets")]
    TooLong,
    /// Over [`MOST_ENTRIES`].
    #[error("a cookie file has at most {MOST_ENTRIES} cookies")]
    TooMany,
    /// Not JSON.
    #[error("not JSON: line {line}, column {column}")]
    Json {
        /// Where; from 1.
        line: usize,
        /// Where in the line.
        column: usize,
    },
    /// No object with a list `cookies`.
    #[error("a storage state is an object with a list `cookies`")]
    Shape,
}

/// A file taken apart.
#[derive(Default)]
pub(crate) struct Entries {
    pub cookies: Vec<(usize, Result<Cookie, Refused>)>,
    pub origins: usize,
}

impl Jar {
    /// Writes the cookies that have not expired into a file.
    pub fn export(&self, format: Format, now: Timestamp) -> Exported {
        let cookies = self.cookies.iter().map(|kept| &kept.cookie).filter(|cookie| !cookie.is_expired(now));
        let mut lost = Vec::new();
        let mut written = Vec::new();
        for cookie in cookies {
            let loss = match format {
                Format::Netscape => netscape::lost(cookie),
                Format::StorageState => storage_state::lost(cookie),
            };
            if let Some(loss) = loss {
                lost.push((cookie.name_text(), cookie.domain.to_string(), loss));
            }
            if !loss.is_some_and(Lost::is_left_out) {
                written.push(cookie);
            }
        }
        let text = match format {
            Format::Netscape => netscape::write(&written),
            Format::StorageState => storage_state::write(&written),
        };
        Exported { text, cookies: written.len(), lost }
    }

    /// Takes in the cookies of a file, by the rules of [`Jar::set`].
    ///
    /// # Errors
    /// When the file as a whole is not of this format. Single entries are refused in
    /// [`Imported::refused`].
    pub fn import(&mut self, format: Format, file: &[u8], now: Timestamp) -> Result<Imported, ImportError> {
        if file.len() > MOST_INPUT {
            return Err(ImportError::TooLong);
        }
        let entries = match format {
            Format::Netscape => netscape::read(file)?,
            Format::StorageState => storage_state::read(file)?,
        };
        let mut imported = Imported { origins_ignored: entries.origins, ..Imported::default() };
        for (at, entry) in entries.cookies {
            match entry.and_then(|cookie| Ok(self.set(cookie, now)?)) {
                Ok(Stored::Added { evicted }) => {
                    imported.added += 1;
                    imported.evicted += evicted;
                }
                Ok(Stored::Replaced) => imported.replaced += 1,
                Ok(Stored::Removed) | Err(Refused::Ignored(Ignored::Expired)) => imported.expired += 1,
                Err(why) => imported.refused.push(Refusal { at, why }),
            }
        }
        Ok(imported)
    }
}
