//! Who has heard a line that is not taken yet: for a moment it is theirs alone.

use sessile_model::quantity::{Millis, Timestamp};

use super::Token;

/// How long who has a line may take to write it out, while others listen as the same one.
const TIME: Millis = Millis(5_000);

/// One line for each who listens, whatever they are named by.
#[derive(Debug)]
pub(super) struct Holds<N>(Vec<Hold<N>>);

#[derive(Debug)]
struct Hold<N> {
    listener: N,
    by: Option<Token>,
    from: N,
    sequence: u64,
    until: Timestamp,
}

impl<N> Default for Holds<N> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<N: PartialEq> Holds<N> {
    /// Whether a line for this one is others' than with this token.
    pub(super) fn is_anothers(&self, listener: &N, token: Option<Token>, now: Timestamp) -> bool {
        let is_kept = |hold: &Hold<N>| hold.listener == *listener && hold.until > now;
        self.0.iter().any(|hold| is_kept(hold) && (hold.by.is_none() || hold.by != token))
    }

    /// This one has heard a line, the how-manieth from somebody.
    pub(super) fn put(&mut self, listener: N, by: Option<Token>, (from, sequence): (N, u64), now: Timestamp) {
        self.drop_of(&listener);
        self.0.push(Hold { listener, by, from, sequence, until: now.plus(TIME) });
    }

    /// With which token a line was heard, if it was.
    pub(super) fn by(&self, listener: &N, (from, sequence): (&N, u64)) -> Option<Option<Token>> {
        let is_this =
            |hold: &&Hold<N>| (&hold.listener, &hold.from, hold.sequence) == (listener, from, sequence);
        self.0.iter().find(is_this).map(|hold| hold.by)
    }

    /// This one has no line.
    pub(super) fn drop_of(&mut self, listener: &N) {
        self.0.retain(|hold| hold.listener != *listener);
    }

    /// When a line is others' again.
    pub(super) fn released(&self, now: Timestamp) -> Option<Timestamp> {
        self.0.iter().map(|hold| hold.until).filter(|until| *until > now).min()
    }
}
