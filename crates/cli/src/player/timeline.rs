//! When events are due, with pauses cut short.

use std::time::Duration;

/// Turns the times of a recording, in order, into times of its replay.
#[derive(Clone, Copy, Debug)]
pub struct Timeline {
    idle_limit: Option<Duration>,
    recorded: Duration,
    due: Duration,
}

impl Timeline {
    /// A replay whose pauses last no longer than this.
    pub fn new(idle_limit: Option<Duration>) -> Self {
        Self { idle_limit, recorded: Duration::ZERO, due: Duration::ZERO }
    }

    /// When the next event is due that was recorded at this time.
    pub fn due(&mut self, recorded: Duration) -> Duration {
        let pause = recorded.saturating_sub(self.recorded);
        self.recorded = recorded;
        self.due = self.due.saturating_add(self.idle_limit.map_or(pause, |limit| pause.min(limit)));
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_pauses_are_cut_short() {
        let times = [1, 2, 10, 11].map(Duration::from_secs);
        let due = |limit| {
            let mut timeline = Timeline::new(limit);
            times.map(|time| timeline.due(time).as_secs())
        };
        assert_eq!(due(None), [1, 2, 10, 11]);
        assert_eq!(due(Some(Duration::from_secs(3))), [1, 2, 5, 6]);
    }
}
