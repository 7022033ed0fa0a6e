//! Flat, bounded listings of a tree, and the names of what a listing leaves out.

use std::mem::MaybeUninit;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::RawDir;
use rustix::io::Errno;
use thiserror::Error;

use super::baseline::Kind;
use super::beneath::{FOLDER, MAX_PATH, Meta, Parents, look, open};

/// Bytes of all paths in a listing together.
const MAX_LISTING: usize = 256 << 20;

/// Left-out paths that a report names; the rest are counted.
const MAX_NAMED: usize = 1000;

/// Why a path was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LeftOut {
    /// Neither a file nor a folder nor a link.
    #[error("is a {0}, not a file")]
    Special(&'static str),
    /// The kernel makes up what it holds.
    #[error("is made up by the kernel as it is read: `sessile exec` reads it")]
    MadeUp,
    /// The system refuses to read it.
    #[error("cannot be read ({0})")]
    Unreadable(Errno),
    /// Something else is mounted there.
    #[error("is on another file system")]
    OtherFileSystem,
    /// The path is longer than any that is handled.
    #[error("is nested too deep")]
    TooDeep,
    /// It became something else while it was read.
    #[error("changed while it was read")]
    Raced,
    /// A link whose target is absolute or outside.
    #[error("is a link that leads out")]
    LeadsOut,
    /// The destination's file system cannot hold a file of this length.
    #[error("is too large for the destination's file system")]
    TooLong,
    /// It makes programs on the host run commands.
    #[error("is protected, since it can make the host run commands (allow it with --allow-hooks)")]
    Protected,
    /// Its name cannot be written as text.
    #[error("has a name that is not UTF-8 (copy it out with `sessile export`)")]
    NotText,
    /// It was going to be removed but is not as it was copied.
    #[error("is not removed, since it changed outside")]
    ChangedOutside,
    /// A folder that was going to be removed or replaced holds files that stay.
    #[error("is not removed, since it still holds other files")]
    NotEmpty,
    /// A folder on its way is not a folder any more, or it is one where a file should be.
    #[error("cannot be written, since something else took its place outside")]
    Blocked,
}

impl LeftOut {
    /// Why reading failed; `None` when there is nothing to read any more.
    pub(super) fn from_errno(errno: Errno) -> Option<Self> {
        match errno {
            Errno::NOENT => None,
            Errno::LOOP | Errno::NOTDIR => Some(Self::Raced),
            Errno::XDEV => Some(Self::OtherFileSystem),
            Errno::NAMETOOLONG => Some(Self::TooDeep),
            other => Some(Self::Unreadable(other)),
        }
    }

    /// Why something of this kind is not copied; `None` for files, folders and links.
    pub(super) fn from_kind(kind: Kind) -> Option<Self> {
        match kind {
            Kind::File | Kind::Folder | Kind::Link => None,
            Kind::Fifo => Some(Self::Special("FIFO")),
            Kind::Socket => Some(Self::Special("socket")),
            Kind::Device => Some(Self::Special("device")),
        }
    }
}

/// A path for people: control characters and bytes that are not UTF-8 are escaped, so that a name
/// can neither forge a line nor drive a terminal.
pub(super) fn shown(path: &[u8]) -> String {
    let mut out = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() {
                out.extend(c.escape_default());
            } else {
                out.push(c);
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02X}"));
        }
    }
    out
}

/// Paths left out, with why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Omissions(pub(super) Vec<(Vec<u8>, LeftOut)>);

impl Omissions {
    pub(super) fn add(&mut self, path: &[u8], why: LeftOut) {
        self.0.push((path.to_vec(), why));
    }

    /// One sentence per path, the first thousand of them.
    pub(super) fn sentences(&self) -> Vec<String> {
        let mut list: Vec<String> =
            self.0.iter().take(MAX_NAMED).map(|(path, why)| format!("{} {why}", shown(path))).collect();
        if self.0.len() > MAX_NAMED {
            list.push(format!("and {} more", self.0.len() - MAX_NAMED));
        }
        list
    }
}

/// Whether `path` is `top` or below it; everything is below the empty path.
pub(super) fn is_at_or_below(path: &[u8], top: &[u8]) -> bool {
    top.is_empty() || path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// A listed path.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) path: Vec<u8>,
    pub(super) meta: Meta,
}

/// A tree's files, folders and links, sorted by the bytes of their paths: a folder comes before
/// what it holds. The root itself is not listed.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) nodes: Vec<Node>,
    pub(super) omitted: Omissions,
}

/// Why there is no listing.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum ListError {
    #[error("more than {0} files")]
    TooMany(u64),
    #[error(transparent)]
    Root(#[from] Errno),
}

/// Lists the tree below `root`, at most `max` entries of it.
pub(super) fn list(root: BorrowedFd<'_>, max: u64) -> Result<Listing, ListError> {
    let mut listing = Listing::default();
    let mut places = Parents::new(root);
    let mut found = 0;
    let mut bytes = 0;
    let mut buffer = vec![MaybeUninit::uninit(); 32 << 10];
    let mut ahead: Vec<Vec<u8>> = vec![Vec::new()];
    while let Some(folder) = ahead.pop() {
        let fd = match places.folder(&folder).and_then(|place| open(place, b"", FOLDER)) {
            Ok(fd) => fd,
            Err(errno) if folder.is_empty() => return Err(errno.into()),
            Err(errno) => {
                if let Some(why) = LeftOut::from_errno(errno) {
                    listing.omitted.add(&folder, why);
                }
                continue;
            }
        };
        let mut names = RawDir::new(fd.as_fd(), &mut buffer);
        while let Some(entry) = names.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(errno) => {
                    listing.omitted.add(&folder, LeftOut::Unreadable(errno));
                    break;
                }
            };
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let path = if folder.is_empty() { name.to_vec() } else { [&folder, name].join(&b'/') };
            found += 1;
            bytes += path.len();
            if found > max || bytes > MAX_LISTING {
                return Err(ListError::TooMany(found - 1));
            }
            if path.len() > MAX_PATH {
                listing.omitted.add(&path, LeftOut::TooDeep);
                continue;
            }
            let meta = match look(fd.as_fd(), name) {
                Ok(meta) => meta,
                Err(errno) => {
                    if let Some(why) = LeftOut::from_errno(errno) {
                        listing.omitted.add(&path, why);
                    }
                    continue;
                }
            };
            if let Some(why) = LeftOut::from_kind(meta.kind) {
                listing.omitted.add(&path, why);
                continue;
            }
            if meta.kind == Kind::Folder {
                ahead.push(path.clone());
            }
            listing.nodes.push(Node { path, meta });
        }
    }
    // A folder renamed while it is read can show a name twice.
    listing.nodes.sort_by(|a, b| a.path.cmp(&b.path));
    listing.nodes.dedup_by(|a, b| a.path == b.path);
    Ok(listing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_forge_lines_or_drive_terminals() {
        assert_eq!(shown("grüß".as_bytes()), "grüß");
        assert_eq!(shown(b"a\nb\x1b[2Jc\xff"), "a\\nb\\u{1b}[2Jc\\xFF");
    }

    #[test]
    fn below_means_whole_names() {
        assert!(is_at_or_below(b"a/b", b"a"));
        assert!(is_at_or_below(b"a", b"a"));
        assert!(!is_at_or_below(b"ab", b"a"));
    }
}
