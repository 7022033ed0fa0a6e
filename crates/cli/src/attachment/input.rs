//! Input on its way to an app: numbered, bounded, and never sent twice.

use std::collections::VecDeque;
use std::fmt;

use sessile_model::wire::MAX_INPUT;

/// Frames that may be on their way unconfirmed.
const WINDOW: usize = 16;
/// Bytes read ahead of the app.
const AHEAD: usize = 1 << 20;

impl fmt::Display for Uncertain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(count) => {
                write!(f, "the last {} typed", crate::output::counted(*count as u64, "byte", "bytes"))
            }
            Self::ReadByKeeper => f.write_str("what was typed last"),
        }
    }
}

/// A client's input for one app.
#[derive(Debug, Default)]
pub struct InputQueue {
    waiting: VecDeque<u8>,
    /// Frames sent and not confirmed.
    sent: VecDeque<Frame>,
    last: u64,
    /// Of this number it was said that it is uncertain.
    uncertain: u64,
    ended: bool,
    end_sent: bool,
}

/// Input that may have arrived or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uncertain {
    /// So many bytes.
    Bytes(usize),
    /// What the keeper read last, at most [`MAX_INPUT`] bytes.
    ReadByKeeper,
}

#[derive(Debug)]
struct Frame {
    sequence: u64,
    bytes: Vec<u8>,
}

/// Something to send.
#[derive(Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// A frame of input.
    Bytes(u64, Vec<u8>),
    /// The end of the input.
    End,
}

impl InputQueue {
    /// Bytes of room; reading stops at 0.
    pub fn room(&self) -> usize {
        if self.ended { 0 } else { AHEAD.saturating_sub(self.waiting.len()) }
    }

    /// Queues bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.waiting.extend(bytes);
    }

    /// Bytes that were read and are not on their way.
    pub fn unsent(&self) -> usize {
        self.waiting.len()
    }

    /// Whether something was sent and is not confirmed.
    pub fn is_under_way(&self) -> bool {
        !self.sent.is_empty()
    }

    /// The number of the last frame, once everything has arrived that was read here.
    pub fn is_through(&self) -> Option<u64> {
        (self.waiting.is_empty() && self.sent.is_empty() && !self.ended).then_some(self.last)
    }

    /// Goes on from this number: input up to it was read by the keeper.
    pub fn go_on_from(&mut self, last: u64) {
        self.last = self.last.max(last);
    }

    /// Notes that no more will come.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// The next thing that may be sent now.
    pub fn next(&mut self) -> Option<Outgoing> {
        if self.sent.len() >= WINDOW {
            return None;
        }
        if self.waiting.is_empty() {
            let end = self.ended && !self.end_sent;
            self.end_sent |= end;
            return end.then_some(Outgoing::End);
        }
        let count = self.waiting.len().min(MAX_INPUT);
        let bytes: Vec<u8> = self.waiting.drain(..count).collect();
        self.last += 1;
        self.sent.push_back(Frame { sequence: self.last, bytes: bytes.clone() });
        Some(Outgoing::Bytes(self.last, bytes))
    }

    /// Input up to this number was written.
    pub fn confirmed(&mut self, sequence: u64) {
        while self.sent.front().is_some_and(|f| f.sequence <= sequence) {
            self.sent.pop_front();
        }
    }

    /// Takes up the queue on a new connection: what to send again, and what is uncertain (its write was
    /// begun when the keeper went away; it is not sent again).
    pub fn rejoined(&mut self, done: u64, started: u64) -> (Vec<Outgoing>, Option<Uncertain>) {
        self.confirmed(done);
        let mut bytes = 0;
        while self.sent.front().is_some_and(|f| f.sequence <= started) {
            bytes += self.sent.pop_front().map_or(0, |f| f.bytes.len());
        }
        self.go_on_from(started);
        self.end_sent = false;
        let news = started > done && std::mem::replace(&mut self.uncertain, started) != started;
        let uncertain = if bytes > 0 { Uncertain::Bytes(bytes) } else { Uncertain::ReadByKeeper };
        let again = self.sent.iter().map(|f| Outgoing::Bytes(f.sequence, f.bytes.clone())).collect();
        (again, news.then_some(uncertain))
    }
}

/// A number for a client's input, which tells it from others' across connections.
pub fn client_number() -> u64 {
    let mut bytes = [0u8; 8];
    // Never 0, and distinct from other clients of the session even without the system's entropy.
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(8) => u64::from_ne_bytes(bytes) | 1,
        Ok(_) | Err(_) => u64::from(std::process::id()) << 1 | 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequences(queue: &mut InputQueue) -> Vec<u64> {
        let mut seen = Vec::new();
        while let Some(outgoing) = queue.next() {
            match outgoing {
                Outgoing::Bytes(sequence, bytes) => {
                    assert!(bytes.len() <= MAX_INPUT);
                    seen.push(sequence);
                }
                Outgoing::End => seen.push(0),
            }
        }
        seen
    }

    #[test]
    fn at_most_sixteen_frames_are_on_their_way() {
        let mut queue = InputQueue::default();
        queue.push(&[1; MAX_INPUT * 17 + 1]);
        queue.end();
        assert_eq!(sequences(&mut queue), (1..=16).collect::<Vec<_>>());
        queue.confirmed(2);
        assert_eq!(sequences(&mut queue), [17, 18]);
        queue.confirmed(18);
        assert_eq!(sequences(&mut queue), [0]);
        assert!(sequences(&mut queue).is_empty());
    }

    #[test]
    fn a_new_connection_resends_only_what_was_not_begun() {
        let mut queue = InputQueue::default();
        for _ in 0..4 {
            queue.push(b"abc");
            queue.next();
        }
        queue.end();
        assert_eq!(queue.next(), Some(Outgoing::End));
        let (again, uncertain) = queue.rejoined(1, 2);
        assert_eq!(uncertain, Some(Uncertain::Bytes(3)));
        assert_eq!(again, [Outgoing::Bytes(3, b"abc".to_vec()), Outgoing::Bytes(4, b"abc".to_vec())]);
        assert_eq!(queue.next(), Some(Outgoing::End));
    }

    #[test]
    fn what_a_keeper_read_is_uncertain_once() {
        let mut queue = InputQueue::default();
        queue.push(b"abc");
        queue.next();
        queue.confirmed(1);
        assert_eq!(queue.is_through(), Some(1));
        assert_eq!(queue.rejoined(4, 5), (Vec::new(), Some(Uncertain::ReadByKeeper)));
        assert_eq!(queue.rejoined(4, 5), (Vec::new(), None));
        queue.push(b"d");
        assert_eq!(queue.is_through(), None);
        assert_eq!(queue.next(), Some(Outgoing::Bytes(6, b"d".to_vec())));
        queue.confirmed(6);
        queue.go_on_from(9);
        assert_eq!((queue.is_through(), queue.rejoined(9, 9).1), (Some(9), None));
    }

    #[test]
    fn reading_stops_when_the_app_does_not_read() {
        let mut queue = InputQueue::default();
        queue.push(&vec![0; AHEAD]);
        assert_eq!(queue.room(), 0);
        sequences(&mut queue);
        assert_eq!(queue.room(), MAX_INPUT * WINDOW);
    }
}
