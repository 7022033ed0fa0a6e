//! Messages between a session's gateway and its guard: requests that the gateway can see.
//!
//! A SEQPACKET socket of their own, which the keeper pairs. Every packet is one JSON message of at most
//! [`MAX_SHOWN`] bytes: a [`Showing`] from the gateway, a [`Word`] from the guard. The gateway sends on what a
//! word says may go, and nothing else: without a word, or with one that it does not know, the request is refused.
//! It keeps what may not go yet, and shows it again with what follows, so the guard keeps nothing of a body but what
//! it needs to undo a packed one.

use serde::{Deserialize, Serialize};

use super::{Judgement, Text};
use crate::ids::AppName;

/// Largest packet.
pub const MAX_SHOWN: usize = 128 << 10;
/// Bytes of a body after which they are shown.
pub const WINDOW: usize = 8 << 10;
/// Most bytes of a body that may be kept back once they were shown.
pub const MOST_KEPT: usize = 64 << 10;
/// Most bytes of a body that are shown at once: what was kept, a window, and what one read adds to it.
pub const MOST_BODY: usize = MOST_KEPT + WINDOW + (16 << 10);
/// Most bytes of a head and a body that are shown together.
pub const MOST_TOGETHER: usize = 32 << 10;
/// Most bytes around what was found that a keeper is told.
pub const MOST_EXCERPT: usize = 8 << 10;
/// Most findings that a keeper is told of one part of a request.
pub const MOST_TOLD: usize = 32;

/// What a gateway tells the guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "showing", rename_all = "snake_case")]
pub enum Showing {
    /// May this go?
    Part(Box<Shown>),
    /// Nobody waits for the word on it any more, or nothing more of this body comes.
    Left {
        /// As in the part: its own number, or the body's.
        number: u64,
    },
    /// From a later version.
    #[serde(other)]
    Unknown,
}

/// Some of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Comes back with the word.
    pub number: u64,
    /// The app that sends it.
    pub app: AppName,
    /// The host that it goes to: a name in lower case, or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its method.
    pub method: String,
    /// The head as it is passed on, in base64; nothing where it went before.
    pub head: Text,
    /// What of the body has not gone yet, in base64.
    pub body: Text,
    /// How the body is coded.
    pub coding: Coding,
    /// The body ends with it.
    pub is_last: bool,
    /// A number of the gateway's for the body: a guard that undoes a packed one remembers it by this, until its
    /// end or until it is left.
    #[serde(default)]
    pub stream: u64,
    /// Where in the body it begins: so much went before.
    #[serde(default)]
    pub at: u64,
    /// Where in a body that is not coded something begins that looks packed ([`packed_heads`]), the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packed_from: Option<u64>,
}

/// How something begins that looks packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackedHead {
    /// As a member of gzip does (RFC 1952).
    Gzip,
    /// As zlib does (RFC 1950).
    Zlib,
}

impl PackedHead {
    /// How many bytes tell of it.
    const fn length(self) -> usize {
        match self {
            Self::Gzip => 4,
            Self::Zlib => 2,
        }
    }
}

/// Bytes before a place that decide whether something packed begins there, and a head that is cut.
pub const HEAD_REACH: usize = 5;

/// Where in these bytes something begins that looks packed: gzip anywhere; zlib, which begins as other things do as
/// well, at the begin, and behind the head of a part (RFC 2046). Of those whose head ends within the first `before`
/// bytes nothing is said.
pub fn packed_heads(bytes: &[u8], before: usize, is_begin: bool) -> Vec<(usize, PackedHead)> {
    let head = |at: usize| match &bytes[at..] {
        [0x1f, 0x8b, 8, flags, ..] if flags & 0xe0 == 0 => Some(PackedHead::Gzip),
        [0x78, check, ..] if (0x7800 | u16::from(*check)).is_multiple_of(31) => {
            let is_there = at == 0 && is_begin || bytes[..at].ends_with(b"\r\n\r\n");
            is_there.then_some(PackedHead::Zlib)
        }
        [..] => None,
    };
    let from = before.saturating_sub(HEAD_REACH);
    let may = bytes.iter().enumerate().skip(from).filter(|(_, byte)| matches!(byte, 0x1f | 0x78));
    may.filter_map(|(at, _)| head(at).map(|head| (at, head)))
        .filter(|(at, head)| at + head.length() > before)
        .collect()
}

/// How a body is coded (RFC 9110, section 8.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coding {
    /// Not at all.
    Identity,
    /// By gzip.
    Gzip,
    /// By deflate.
    Deflate,
    /// In a way that nobody undoes here.
    Unseen,
}

/// What the guard says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "word", rename_all = "snake_case")]
pub enum Word {
    /// The head goes on, where one was shown, and so much of the body.
    Goes {
        /// As in what was shown.
        number: u64,
        /// Bytes from its begin. All of it, where it was the last.
        body: u32,
    },
    /// Somebody is asked; the word comes later.
    Held {
        /// As in what was shown.
        number: u64,
    },
    /// It does not go on.
    Refused {
        /// As in what was shown.
        number: u64,
    },
    /// From a later version.
    #[serde(other)]
    Unknown,
}

/// What a guard tells its keeper of a part of a request before anything is done about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weighed {
    /// The app that sends it.
    pub app: AppName,
    /// The host that it goes to.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What of it this is.
    pub place: Place,
    /// How many bytes were looked at.
    pub bytes: u64,
    /// Some bytes of them, with what was found, in base64; at most [`MOST_EXCERPT`].
    pub excerpt: Text,
    /// What is to be done. Spans are those of the excerpt; at most [`MOST_TOLD`].
    pub judgement: Judgement,
}

/// A part of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// What it asks for, and its header fields.
    Head,
    /// What it carries.
    Body,
}

impl Place {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Body => "body",
        }
    }
}

/// Who reads what is sent to a host, as values name their readers.
pub fn reader(host: &str, port: u16) -> String {
    format!("host:{host}:{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_that_is_shown_fits_a_packet() {
        let coded = |bytes: usize| Text("A".repeat(bytes.div_ceil(3) * 4));
        let mut shown = Shown {
            number: u64::MAX,
            app: AppName::main(),
            host: "h".repeat(255),
            port: u16::MAX,
            method: "M".repeat(64),
            head: Text::default(),
            body: coded(MOST_BODY),
            coding: Coding::Unseen,
            is_last: false,
            stream: u64::MAX,
            at: u64::MAX,
            packed_from: Some(u64::MAX),
        };
        let length = |shown: &Shown| {
            serde_json::to_vec(&Showing::Part(Box::new(shown.clone()))).expect("it is JSON").len()
        };
        assert!(length(&shown) <= MAX_SHOWN, "{}", length(&shown));
        // A head alone is at most as long as a gateway reads.
        (shown.head, shown.body) = (coded(66 << 10), Text::default());
        assert!(length(&shown) <= MAX_SHOWN, "{}", length(&shown));
    }

    #[test]
    fn what_looks_packed_is_seen_wherever_bytes_are_cut() {
        use PackedHead::{Gzip, Zlib};
        let gzip = b"some \x1f\x8b\x08\x00 and \x1f\x8b\x08\xff or \x1f\x8b\x09\x00";
        assert_eq!(packed_heads(gzip, 0, true), [(5, Gzip)]);
        let parts = b"x\x9c, then x\x9c\r\n\r\nx\xda";
        assert_eq!(packed_heads(parts, 0, true), [(0, Zlib), (15, Zlib)]);
        assert_eq!(packed_heads(parts, 0, false), [(15, Zlib)]);
        for (bytes, all) in [(&gzip[..], vec![5]), (&parts[..], vec![15])] {
            for cut in 1..bytes.len() {
                let (a, b) = bytes.split_at(cut);
                let tail = &a[a.len().saturating_sub(HEAD_REACH)..];
                let first = packed_heads(a, 0, false).into_iter().map(|(at, _)| at);
                let joined = [tail, b].concat();
                let then = packed_heads(&joined, tail.len(), false).into_iter();
                let both: Vec<usize> = first.chain(then.map(|(at, _)| a.len() - tail.len() + at)).collect();
                assert_eq!(both, all, "{cut}");
            }
        }
    }

    #[test]
    fn what_is_shown_does_not_show() {
        let shown = Shown {
            number: 1,
            app: AppName::main(),
            host: "a.example".to_owned(),
            port: 80,
            method: "POST".to_owned(),
            head: Text("aHVzaA==".to_owned()),
            body: Text("aHVzaA==".to_owned()),
            coding: Coding::Identity,
            is_last: true,
            stream: 0,
            at: 0,
            packed_from: None,
        };
        assert!(!format!("{shown:?}").contains("aHVzaA"));
    }
}
