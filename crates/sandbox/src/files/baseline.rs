//! What a project was when it was copied: the manifest that `diff` and `apply` compare with.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A FIFO.
    Fifo,
    /// A socket.
    Socket,
    /// A character or block device.
    Device,
}

/// Identity and time of an inode. `ctime` cannot be set back, so an equal stamp means that
/// content and mode are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// The inode's number.
    pub inode: u64,
    /// Its last change, in nanoseconds since the Unix epoch.
    pub ctime_ns: i64,
}

/// SHA-256 of a link's target, or of a file's length and those of its 4 KiB blocks that are not
/// all zero, each with its offset: so a hole costs nothing and counts like the zeros it reads as.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(D::Error::custom("a digest has 64 hexadecimal digits"));
        }
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(D::Error::custom)?;
        }
        Ok(Self(bytes))
    }
}

impl Stamp {
    /// Proves nothing: no inode was last changed then.
    pub(super) const UNKNOWN: Self = Self { inode: 0, ctime_ns: i64::MAX };
}

/// One path as it was copied, or as it was when it was last written back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Original {
    /// What it was.
    pub kind: Kind,
    /// Its permission bits, without setuid, setgid and sticky.
    pub mode: u32,
    /// Its length in bytes.
    pub size: u64,
    /// Its modification time in nanoseconds since the Unix epoch.
    pub mtime_ns: i64,
    /// The original's inode.
    pub stamp: Stamp,
    /// The copy's inode.
    pub copy: Stamp,
    /// Its content; zeros for a folder.
    pub digest: Digest,
}

/// Every copied path and what it was. Kept by the keeper, out of the session's reach; serialises
/// to about 300 bytes a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// The kernel's coarse clock when copying began. The originals' stamps of that moment or
    /// later prove nothing: a write within the same tick of the clock leaves them equal.
    pub started_ns: i64,
    /// The coarse clock when copying ended; the same for the copies' stamps.
    pub finished_ns: i64,
    #[serde(with = "by_path")]
    pub(super) paths: BTreeMap<Vec<u8>, Original>,
}

impl Baseline {
    /// Number of paths: files, folders and links.
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// Whether an empty folder was copied.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// What original and copy have in common at a path from now on; `None`: nothing is there.
    pub(super) fn set(&mut self, path: &[u8], agreed: Option<Original>) {
        match agreed {
            Some(agreed) => drop(self.paths.insert(path.to_vec(), agreed)),
            None => drop(self.paths.remove(path)),
        }
    }
}

/// A path as text, or as numbers where it is not UTF-8.
struct PathBytes(Vec<u8>);

impl Serialize for PathBytes {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => s.serialize_str(text),
            Err(_) => s.collect_seq(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for PathBytes {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = PathBytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path as text or as bytes")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<PathBytes, E> {
                Ok(PathBytes(text.as_bytes().to_vec()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut bytes: A) -> Result<PathBytes, A::Error> {
                let mut path = Vec::new();
                while let Some(byte) = bytes.next_element()? {
                    path.push(byte);
                }
                Ok(PathBytes(path))
            }
        }
        d.deserialize_any(Text)
    }
}

mod by_path {
    use super::*;

    pub(super) fn serialize<S: Serializer>(
        paths: &BTreeMap<Vec<u8>, Original>,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        s.collect_seq(paths.iter().map(|(path, original)| (PathBytes(path.clone()), original)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<BTreeMap<Vec<u8>, Original>, D::Error> {
        let list = Vec::<(PathBytes, Original)>::deserialize(d)?;
        Ok(list.into_iter().map(|(path, original)| (path.0, original)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_baseline_survives_being_written_down() {
        let original = Original {
            kind: Kind::File,
            mode: 0o755,
            size: u64::MAX,
            mtime_ns: -1,
            stamp: Stamp { inode: 7, ctime_ns: i64::MAX },
            copy: Stamp { inode: 8, ctime_ns: 0 },
            digest: Digest([0xab; 32]),
        };
        let paths = [b"plain".to_vec(), b"caf\xe9".to_vec(), b"line\nbreak".to_vec()];
        let baseline = Baseline {
            started_ns: 1,
            finished_ns: 2,
            paths: paths.into_iter().map(|path| (path, original)).collect(),
        };
        let text = serde_json::to_string(&baseline).unwrap();
        assert_eq!(serde_json::from_str::<Baseline>(&text).unwrap(), baseline);
        assert!(text.contains(r#"[99,97,102,233]"#), "{text}");
        let signs = text.replace(&"ab".repeat(32), &"+a".repeat(32));
        assert!(serde_json::from_str::<Baseline>(&signs).is_err());
    }
}
