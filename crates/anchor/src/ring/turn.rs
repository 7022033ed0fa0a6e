//! Whose turn it is to read the source: the anchor's, unless a keeper has borrowed it.
//!
//! Somebody waits for the echo of a key. As long as one types, the keeper that shows it reads the terminal
//! itself, and one process less has to be woken. Whoever reads has the turn to itself, and what is
//! borrowed comes back: when the keeper gives it, when it has not borrowed it anew for a while, and when it
//! is dead.
//!
//! ```text
//! NONE ──a pump starts──► FREE ◄──► ANCHOR                READING: what may be read now
//!                         │  ▲                            was made zero before, so that an anchor
//!                  borrow │  │ given or taken back        finds what a keeper had read just before
//!                         ▼  │                            it died
//!                         LENT ──► CLEARING ──► READING ──► LENT
//! ```
//!
//! Zeros at the very end of what a keeper read as it was killed are the one thing that is not found: a
//! terminal shows nothing for them.

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr;
use std::sync::atomic::Ordering::SeqCst;

use super::{Ring, WriteOutcome};

/// No pump of an anchor that lends writes here.
const NONE: u32 = 0;
const FREE: u32 = 1;
const ANCHOR: u32 = 2;
const LENT: u32 = 3;
const CLEARING: u32 = 4;
const READING: u32 = 5;
/// The highest value there is.
pub(super) const LAST: u32 = READING;
/// Most bytes of one read by who has borrowed the turn: more than a terminal gives at once.
const MOST: u64 = 4096;

impl Ring {
    /// Keeper: takes the turn to read the source, or has it for longer. Returns whether it has it now. No bell
    /// is rung meanwhile for what comes.
    pub fn borrow(&self) -> bool {
        let header = self.header();
        header.borrowed.fetch_add(1, SeqCst);
        matches!(header.turn.compare_exchange(FREE, LENT, SeqCst, SeqCst), Ok(_) | Err(LENT))
    }

    /// Keeper: whether it has the turn.
    pub fn is_lent(&self) -> bool {
        matches!(self.header().turn.load(SeqCst), LENT | CLEARING | READING)
    }

    /// Keeper: gives the turn back. The pump is to be poked then.
    pub fn give_back(&self) {
        let _ = self.header().turn.compare_exchange(LENT, FREE, SeqCst, SeqCst);
    }

    /// Keeper: reads once from the source, as [`write_from`](Self::write_from) does. `None`: it does not have
    /// the turn.
    ///
    /// # Errors
    /// As `write_from`.
    pub fn read_borrowed(&self, fd: BorrowedFd<'_>) -> io::Result<Option<WriteOutcome>> {
        let turn = &self.header().turn;
        if turn.compare_exchange(LENT, CLEARING, SeqCst, SeqCst).is_err() {
            return Ok(None);
        }
        let head = self.head();
        let room = self.claim(head, MOST);
        for (at, len) in self.spans(head, room) {
            // SAFETY: the span lies within the data part.
            unsafe { ptr::write_bytes(self.data().add(at), 0, len) };
        }
        turn.store(READING, SeqCst);
        let outcome = self.write_claimed(fd, head, room);
        turn.store(LENT, SeqCst);
        outcome.map(Some)
    }

    /// Anchor: lends the turn from now on, or no more.
    pub(crate) fn lend(&self, lends: bool) {
        self.header().turn.store(if lends { FREE } else { NONE }, SeqCst);
    }

    /// Anchor: begins to read, if it is its turn.
    pub(crate) fn begin(&self) -> bool {
        self.header().turn.compare_exchange(FREE, ANCHOR, SeqCst, SeqCst).is_ok()
    }

    /// Anchor: has read.
    pub(crate) fn finish(&self) {
        let _ = self.header().turn.compare_exchange(ANCHOR, FREE, SeqCst, SeqCst);
    }

    /// Anchor: how often the turn was borrowed or borrowed for longer.
    pub(crate) fn borrowed(&self) -> u32 {
        self.header().borrowed.load(SeqCst)
    }

    /// Anchor: takes the turn back from a keeper that lives, unless it reads just now. Returns whether it is
    /// lent no more.
    pub(crate) fn take_back(&self) -> bool {
        let turn = &self.header().turn;
        matches!(turn.compare_exchange(LENT, FREE, SeqCst, SeqCst), Ok(_) | Err(NONE | FREE | ANCHOR))
    }

    /// Anchor: takes the turn back from a keeper that is dead, with what that had read.
    pub(crate) fn inherit(&self) {
        let header = self.header();
        let turn = header.turn.load(SeqCst);
        if turn == READING {
            let head = self.head();
            let room = header.claimed.load(SeqCst).saturating_sub(head).min(MOST);
            let room = usize::try_from(room).unwrap_or(0);
            let mut before = 0;
            let mut read = 0;
            for (at, len) in self.spans(head, room) {
                let mut byte = [0];
                for i in 0..len {
                    self.copy_span(at + i, &mut byte);
                    if byte != [0] {
                        read = before + i + 1;
                    }
                }
                before += len;
            }
            self.publish(head, read);
        }
        if matches!(turn, LENT | CLEARING | READING) {
            header.claimed.store(self.head(), SeqCst);
            header.turn.store(FREE, SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::AsFd as _;

    use super::*;

    /// A ring of 16 KiB whose next byte is its last but nine, with what lies there not zero.
    fn worn() -> Ring {
        let (ring, _file) = Ring::create(16 << 10).unwrap();
        let (source, mut sink) = std::io::pipe().unwrap();
        let end = (32 << 10) - 10;
        while ring.head() < end {
            let chunk = (end - ring.head()).min(4096) as usize;
            sink.write_all(&vec![b'#'; chunk]).unwrap();
            assert_eq!(ring.write_from(source.as_fd()).unwrap(), WriteOutcome::Bytes(chunk));
        }
        ring.lend(true);
        assert_eq!(ring.head() % (16 << 10), (16 << 10) - 10);
        ring
    }

    fn text(ring: &Ring, from: u64) -> Vec<u8> {
        let mut bytes = vec![0; 8192];
        let got = ring.read(from, &mut bytes);
        assert_eq!(got.start, from);
        bytes.truncate(got.len);
        bytes
    }

    #[test]
    fn one_reads_at_a_time() {
        let ring = worn();
        let (source, mut sink) = std::io::pipe().unwrap();
        sink.write_all(b"key").unwrap();
        assert!(ring.begin());
        assert!(!ring.borrow() && !ring.is_lent(), "the anchor reads");
        assert_eq!(ring.read_borrowed(source.as_fd()).unwrap(), None);
        ring.finish();
        assert!(ring.borrow() && ring.borrow() && ring.is_lent());
        assert!(!ring.begin(), "the keeper has it");
        let head = ring.head();
        assert_eq!(ring.read_borrowed(source.as_fd()).unwrap(), Some(WriteOutcome::Bytes(3)));
        assert_eq!(text(&ring, head), b"key");
        assert_eq!(ring.borrowed(), 3);
        assert!(ring.take_back() && ring.take_back());
        assert_eq!(ring.read_borrowed(source.as_fd()).unwrap(), None);
        assert!(ring.begin());
        ring.finish();
        assert!(ring.borrow());
        ring.give_back();
        assert!(ring.begin());
        ring.finish();
        ring.lend(false);
        assert!(!ring.borrow(), "its pump has stopped");
    }

    /// Whatever a keeper that was killed had read is found, also around the ring's end, and nothing that
    /// lay there before.
    #[test]
    fn what_a_dead_keeper_had_read_is_found() {
        for read in [0, 1, 9, 10, 11, 300, 4095, 4096] {
            let ring = worn();
            let (source, mut sink) = std::io::pipe().unwrap();
            let bytes: Vec<u8> =
                (0..read).map(|i| if i % 7 == 3 { 0 } else { b'a' + (i % 26) as u8 }).collect();
            sink.write_all(&bytes).unwrap();
            sink.write_all(&[0; 2][..usize::from(read < 4000)]).unwrap();
            assert!(ring.borrow());
            let (head, was) = (ring.head(), ring.header().claimed.load(SeqCst));
            if read > 0 {
                ring.read_borrowed(source.as_fd()).unwrap();
            } else {
                let room = ring.claim(head, MOST);
                for (at, len) in ring.spans(head, room) {
                    // SAFETY: the span lies within the data part.
                    unsafe { ptr::write_bytes(ring.data().add(at), 0, len) };
                }
            }
            // As it was before the read was told of.
            ring.header().head.store(head, SeqCst);
            ring.header().claimed.store(was + MOST, SeqCst);
            ring.header().turn.store(READING, SeqCst);
            ring.inherit();
            let found = text(&ring, head);
            let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1);
            assert_eq!(found, bytes[..end], "{read}");
            assert!(ring.begin());
        }
    }

    #[test]
    fn nothing_is_made_up_of_what_was_not_read() {
        for turn in [LENT, CLEARING] {
            let ring = worn();
            let head = ring.head();
            ring.header().claimed.store(head + MOST, SeqCst);
            ring.header().turn.store(turn, SeqCst);
            ring.inherit();
            assert_eq!((ring.head(), text(&ring, head)), (head, Vec::new()));
            assert!(ring.begin());
        }
        // One that died after it had told of what it read, and before it said so.
        let ring = worn();
        let (source, mut sink) = std::io::pipe().unwrap();
        sink.write_all(b"key").unwrap();
        assert!(ring.borrow());
        let head = ring.head();
        ring.read_borrowed(source.as_fd()).unwrap();
        ring.header().claimed.store(head + MOST, SeqCst);
        ring.header().turn.store(READING, SeqCst);
        ring.inherit();
        assert_eq!(text(&ring, head), b"key");
    }
}
