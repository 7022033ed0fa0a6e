//! Bodies that are compressed, or hold something that is: what they hold is looked at as it comes, and of them goes what
//! holds nothing but what was passed.
//!
//! ```text
//!  packed  ├── went ──┼── may go ──┼───────── kept by the gateway ─────────┤
//!                     ▲            ▲ last mark whose text was passed       ▲ fed
//!  text    ├───────── passed ──────┴────────┼──── kept here ───────────────┤
//!                                     └─ looks packed: a text of its own, with marks of its own
//! ```
//!
//! A body that says it is packed is, to its last byte, or it is not seen. What only looks packed, in a body or in what it
//! holds, is undone as far as it goes, and looked at as it is as well.
//! What a guard keeps of a body dies with it: one that goes on with another guard is not seen.

use std::collections::VecDeque;

use sessile_guard::packed::{Packing, Unpacking, Unseen};
use sessile_model::guarding::outgoing::{HEAD_REACH, MOST_KEPT, PackedHead, packed_heads};

use super::*;

/// Bodies that are undone at once; of more the oldest is not seen any further.
const MOST_STREAMS: usize = 64;
/// Packed bytes after which it is noted what they hold.
const PIECE: usize = 64;
/// Bytes of text that are looked at together, beside what is kept.
const STEP: usize = 16 << 10;
/// Most bytes that are made of what is shown at once: a guard has to say something in time.
const MOST_AT_ONCE: usize = 4 << 20;
/// How often something is packed that is undone.
const MOST_DEPTH: u8 = 3;
/// What is undone of one body at the same time.
const MOST_LEVELS: usize = 8;

/// Bodies that are undone, by their numbers.
#[derive(Default)]
pub(in super::super) struct Streams(BTreeMap<u64, Stream>);

/// One of them.
struct Stream {
    /// Bytes that were undone, or looked through for what looks packed.
    fed: u64,
    /// How far the bytes themselves may go, as they are shown now; of a body that says it is packed none is looked at.
    plain: Option<u64>,
    inside: Inside,
    /// Bytes that were made of what is shown now.
    at_once: usize,
}

/// Something that is undone.
struct Level {
    unpacking: Unpacking,
    depth: u8,
    /// The body says that it is this.
    is_declared: bool,
    /// More of it may come.
    is_open: bool,
    /// Bytes of what is fed next that stand before it.
    skip: usize,
    /// Text that may not go yet.
    text: Zeroizing<Vec<u8>>,
    /// Bytes of text that may.
    passed: u64,
    /// How much text so many bytes of the body hold, for those that may not go yet.
    marks: VecDeque<(u64, u64)>,
    /// How far bytes of the body may go.
    clear: u64,
    /// All that it holds so far was looked at.
    is_looked_at: bool,
    inside: Inside,
}

/// What looks packed in something that is read from its begin.
#[derive(Default)]
struct Inside {
    levels: Vec<Level>,
    /// The last bytes.
    tail: Zeroizing<Vec<u8>>,
    has_begun: bool,
}

impl Streams {
    /// Nobody shows more of this one.
    pub fn leave(&mut self, number: u64) {
        self.0.remove(&number);
    }

    /// Nobody shows more of any.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    fn take(&mut self, shown: &Shown) -> Option<Stream> {
        let known = self.0.remove(&shown.stream);
        // One that has begun elsewhere cannot be read from its middle.
        let begin = match shown.coding {
            Coding::Gzip | Coding::Deflate | Coding::Unseen => 0,
            Coding::Identity => shown.packed_from?,
        };
        known.or_else(|| (shown.at <= begin).then(|| Stream::new(begin, packing(shown.coding))))
    }

    fn put(&mut self, number: u64, stream: Stream) {
        self.0.insert(number, stream);
        if self.0.len() > MOST_STREAMS {
            self.0.pop_first();
        }
    }
}

impl Stream {
    fn new(begin: u64, packing: Option<Packing>) -> Self {
        let mut inside = Inside::default();
        if let Some(packing) = packing {
            inside.levels.push(Level { is_declared: true, ..Level::new(packing, 1, begin) });
        }
        Self { fed: begin, plain: None, inside, at_once: 0 }
    }

    /// Undoes some more of these bytes, which begin at `at`; whether all of them are undone.
    fn undo(&mut self, bytes: &[u8], at: u64, is_declared: bool) -> Result<bool, Unseen> {
        let from = self.fed.checked_sub(at).and_then(|from| usize::try_from(from).ok());
        let rest = from.and_then(|from| bytes.get(from..)).ok_or(Unseen::Malformed)?;
        let (mut pieces, mut made) = (rest.chunks(PIECE), 0);
        while made < STEP {
            let Some(piece) = pieces.next() else { break };
            let before = self.fed;
            self.fed += piece.len() as u64;
            if !is_declared {
                self.inside.find(piece, 0, before)?;
            }
            for level in &mut self.inside.levels {
                made += level.feed(piece, before, self.fed)?;
            }
            if self.inside.count() > MOST_LEVELS {
                return Err(Unseen::TooMuch);
            }
        }
        self.at_once += made;
        if self.at_once > MOST_AT_ONCE {
            return Err(Unseen::TooMuch);
        }
        Ok(pieces.next().is_none())
    }

    /// How far bytes may go.
    fn clear(&self) -> u64 {
        self.inside.clear().unwrap_or(self.fed).min(self.plain.unwrap_or(u64::MAX))
    }
}

impl Inside {
    /// Begins to undo what begins in these bytes, which are then to be fed to what is undone already. Of the body so
    /// much went into what was before them.
    fn find(&mut self, bytes: &[u8], depth: u8, before: u64) -> Result<(), Unseen> {
        let (known, is_begin) = (self.tail.len(), !self.has_begun);
        let joined = Zeroizing::new([&self.tail[..], bytes].concat());
        // A head is known by its last byte, which is one of these or the first of the tail.
        self.has_begun |= joined.len() > HEAD_REACH;
        let heads = packed_heads(&joined, known, is_begin);
        self.tail = Zeroizing::new(joined[joined.len().saturating_sub(HEAD_REACH)..].to_vec());
        for (at, head) in heads {
            let packing = match head {
                PackedHead::Gzip if depth >= MOST_DEPTH => return Err(Unseen::TooMuch),
                PackedHead::Zlib if depth >= MOST_DEPTH => continue,
                PackedHead::Gzip => Packing::Gzip,
                PackedHead::Zlib => Packing::Deflate,
            };
            let mut level = Level::new(packing, depth + 1, before);
            // What it begins with may have come before, or stand behind the first of these bytes.
            level.take(joined.get(at..known).unwrap_or_default(), before, before)?;
            level.skip = at.saturating_sub(known);
            self.levels.push(level);
        }
        Ok(())
    }

    fn count(&self) -> usize {
        self.levels.iter().map(|level| 1 + level.inside.count()).sum()
    }

    fn clear(&self) -> Option<u64> {
        self.levels.iter().filter_map(Level::cleared).min()
    }

    /// Something whose text was not looked at.
    fn unseen(&mut self) -> Option<&mut Level> {
        self.levels.iter_mut().find_map(Level::unseen)
    }

    /// Nothing more comes.
    fn end(&mut self) {
        for level in &mut self.levels {
            level.end();
        }
    }

    /// Forgets what has ended and was passed.
    fn settle(&mut self) {
        for level in &mut self.levels {
            level.inside.settle();
        }
        self.levels.retain(|level| {
            level.is_declared || level.is_open || !level.is_looked_at || !level.inside.levels.is_empty()
        });
    }
}

impl Level {
    /// One that begins in what the body holds behind so many of its bytes.
    fn new(packing: Packing, depth: u8, before: u64) -> Self {
        Self {
            unpacking: Unpacking::new(packing),
            depth,
            is_declared: false,
            is_open: true,
            skip: 0,
            text: Zeroizing::default(),
            passed: 0,
            marks: VecDeque::new(),
            clear: before,
            is_looked_at: true,
            inside: Inside::default(),
        }
    }

    fn feed(&mut self, bytes: &[u8], before: u64, fed: u64) -> Result<usize, Unseen> {
        let skip = std::mem::take(&mut self.skip);
        self.take(bytes.get(skip..).unwrap_or_default(), before, fed)
    }

    /// Undoes what follows, for which so much of the body was needed before and is now; how much was made of it.
    fn take(&mut self, bytes: &[u8], before: u64, fed: u64) -> Result<usize, Unseen> {
        if !self.is_open || bytes.is_empty() {
            return Ok(0);
        }
        let mut made = Zeroizing::new(Vec::new());
        let known = self.unpacking.of_head();
        let undone = self.unpacking.push_to_end(bytes, &mut made);
        let head = self.unpacking.of_head() - known;
        let goes_on = match undone {
            Ok(is_all) if self.is_declared => {
                if !is_all {
                    return Err(Unseen::Malformed);
                }
                true
            }
            Ok(_) => !self.unpacking.is_whole(),
            Err(Unseen::Malformed) if !self.is_declared => false,
            Err(unseen) => return Err(unseen),
        };
        let content = &made[head..];
        self.inside.find(content, self.depth, before)?;
        let mut count = made.len();
        for level in &mut self.inside.levels {
            count += level.feed(content, before, fed)?;
        }
        self.text.extend_from_slice(&made);
        self.marks.push_back((fed, self.passed + self.text.len() as u64));
        self.is_looked_at = false;
        if !goes_on {
            self.end();
        }
        Ok(count)
    }

    /// So much of the text may go.
    fn pass(&mut self, count: usize) {
        self.is_looked_at = true;
        let count = count.min(self.text.len());
        self.text.drain(..count);
        self.passed += count as u64;
        // The last bytes stay until the end: that it is one is seen there.
        while let Some(&(packed, unpacked)) = self.marks.front().filter(|_| self.marks.len() > 1) {
            if unpacked > self.passed {
                break;
            }
            self.clear = packed;
            self.marks.pop_front();
        }
    }

    /// How far bytes of the body may go for it.
    fn cleared(&self) -> Option<u64> {
        let own = (self.is_open || !self.text.is_empty()).then_some(self.clear);
        own.into_iter().chain(self.inside.clear()).min()
    }

    fn unseen(&mut self) -> Option<&mut Self> {
        if !self.is_looked_at {
            return Some(self);
        }
        self.inside.unseen()
    }

    fn end(&mut self) {
        self.is_open = false;
        self.is_looked_at &= self.text.is_empty();
        self.inside.end();
    }
}

impl Post {
    /// Looks at what a packed part of a body holds, and answers once all of it was looked at. `None` where it
    /// cannot be seen. Where it is looked at again, what was found in the part itself is known.
    pub(super) fn pass_packed(
        &mut self,
        shown: &Shown,
        body: &[u8],
        is_again: bool,
        at_ms: u64,
    ) -> Option<Vec<Act>> {
        let is_declared = packing(shown.coding).is_some();
        let mut stream = self.streams.take(shown)?;
        let is_looked_at = is_declared || is_again && stream.plain.is_some();
        if !is_looked_at {
            let mut looked = self.look_at_window(shown, way(shown), (body, shown.is_last), at_ms);
            stream.plain = Some(shown.at + looked.clear as u64);
            looked.clear = 0;
            if let Some(acts) = self.weigh(shown, Place::Body, body, looked, at_ms) {
                self.streams.put(shown.stream, stream);
                return Some(acts);
            }
        }
        loop {
            let is_undone = stream.undo(body, shown.at, is_declared).ok()?;
            let is_end = is_undone && shown.is_last;
            if is_end {
                if stream.inside.levels.iter().any(|level| level.is_declared && !level.unpacking.is_whole()) {
                    return None;
                }
                stream.inside.end();
            }
            while let Some(level) = stream.inside.unseen() {
                let (content, is_whole) = (level.text.clone(), !level.is_open);
                let (app, to) = way(shown);
                let way = if level.is_declared { (app, to) } else { (format!("{app} packed"), to) };
                let mut looked = self.look_at_window(shown, way, (&content, is_whole), at_ms);
                level.pass(looked.clear);
                // What may go is said once all of it was looked at.
                looked.clear = 0;
                if let Some(acts) = self.weigh(shown, Place::Body, &content, looked, at_ms) {
                    self.streams.put(shown.stream, stream);
                    return Some(acts);
                }
            }
            stream.inside.settle();
            if is_end {
                return Some(vec![gone(shown.number, body.len())]);
            }
            if is_undone {
                let clear = stream.clear().saturating_sub(shown.at);
                let clear = usize::try_from(clear).unwrap_or(usize::MAX).min(body.len());
                stream.at_once = 0;
                if body.len() - clear > MOST_KEPT {
                    return None;
                }
                self.streams.put(shown.stream, stream);
                return Some(vec![gone(shown.number, clear)]);
            }
        }
    }
}

#[cfg(test)]
mod tests;
