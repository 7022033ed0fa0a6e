//! Bodies that are compressed: what they hold is looked at as it comes, and of them goes what holds nothing but what
//! was passed.
//!
//! ```text
//!  packed  ├── went ──┼── may go ──┼───────── kept by the gateway ─────────┤
//!                     ▲            ▲ last mark whose text was passed       ▲ fed
//!  text    ├───────── passed ──────┴────────┼──── kept here ───────────────┤
//! ```
//!
//! What a guard keeps of a body dies with it: one that goes on with another guard is not seen.

use std::collections::VecDeque;

use sessile_guard::packed::{Packing, Unpacking, Unseen};
use sessile_model::guarding::outgoing::MOST_KEPT;

use super::*;

/// Bodies that are undone at once; of more the oldest is not seen any further.
const MOST_STREAMS: usize = 64;
/// Packed bytes after which it is noted what they hold.
const PIECE: usize = 64;
/// Bytes of text that are looked at together, beside what is kept.
const STEP: usize = 16 << 10;
/// Most bytes that are made of what is shown at once: a guard has to say something in time.
const MOST_AT_ONCE: usize = 4 << 20;

/// Bodies that are undone, by their numbers.
#[derive(Default)]
pub(in super::super) struct Streams(BTreeMap<u64, Stream>);

/// One of them.
struct Stream {
    unpacking: Unpacking,
    /// Packed bytes that were undone.
    fed: u64,
    /// Text that may not go yet.
    text: Zeroizing<Vec<u8>>,
    /// Bytes of text that may.
    passed: u64,
    /// How much text so many packed bytes hold, for those that may not go yet.
    marks: VecDeque<(u64, u64)>,
    /// How far packed bytes may go.
    clear: u64,
    /// All that it was fed was looked at.
    is_looked_at: bool,
    /// Bytes that were made of what is shown now.
    at_once: usize,
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

    fn take(&mut self, number: u64, at: u64, packing: Packing) -> Option<Stream> {
        let known = self.0.remove(&number);
        // One that has begun elsewhere cannot be read from its middle.
        known.or_else(|| (at == 0).then(|| Stream::new(packing)))
    }

    fn put(&mut self, number: u64, stream: Stream) {
        self.0.insert(number, stream);
        if self.0.len() > MOST_STREAMS {
            self.0.pop_first();
        }
    }
}

impl Stream {
    fn new(packing: Packing) -> Self {
        Self {
            unpacking: Unpacking::new(packing),
            fed: 0,
            text: Zeroizing::default(),
            passed: 0,
            marks: VecDeque::new(),
            clear: 0,
            is_looked_at: true,
            at_once: 0,
        }
    }

    /// Undoes some more of these bytes, which begin at `at`; whether all of them are undone.
    fn undo(&mut self, bytes: &[u8], at: u64) -> Result<bool, Unseen> {
        let from = self.fed.checked_sub(at).and_then(|from| usize::try_from(from).ok());
        let rest = from.and_then(|from| bytes.get(from..)).ok_or(Unseen::Malformed)?;
        let (mut pieces, before) = (rest.chunks(PIECE), self.text.len());
        while self.text.len() < before + STEP {
            let Some(piece) = pieces.next() else { break };
            let length = self.text.len();
            self.unpacking.push(piece, &mut self.text)?;
            self.at_once += self.text.len() - length;
            self.fed += piece.len() as u64;
            self.marks.push_back((self.fed, self.passed + self.text.len() as u64));
            self.is_looked_at = false;
        }
        if self.at_once > MOST_AT_ONCE {
            return Err(Unseen::TooMuch);
        }
        Ok(pieces.next().is_none())
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
}

impl Post {
    /// Looks at what a packed part of a body holds, and answers once all of it was looked at. `None` where it
    /// cannot be seen.
    pub(super) fn pass_packed(
        &mut self,
        shown: &Shown,
        packing: Packing,
        body: &[u8],
        at_ms: u64,
    ) -> Option<Vec<Act>> {
        let mut stream = self.streams.take(shown.stream, shown.at, packing)?;
        loop {
            let is_undone = stream.undo(body, shown.at).ok()?;
            let is_end = is_undone && shown.is_last;
            if is_end && !stream.unpacking.is_whole() {
                return None;
            }
            if !stream.is_looked_at {
                let content = stream.text.clone();
                let mut looked = self.look_at_window(shown, &content, is_end, at_ms);
                stream.pass(looked.clear);
                // What may go is said once all of it was looked at.
                looked.clear = 0;
                if let Some(acts) = self.weigh(shown, Place::Body, &content, looked, at_ms) {
                    self.streams.put(shown.stream, stream);
                    return Some(acts);
                }
            }
            if is_end {
                return Some(vec![gone(shown.number, body.len())]);
            }
            if is_undone {
                let clear = stream.clear.saturating_sub(shown.at);
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
