//! What a run exercised.

use std::fmt;
use std::ops::AddAssign;

macro_rules! stats {
    ($($(#[$doc:meta])* $field:ident),* $(,)?) => {
        /// Counts of what was exercised, over one seed or many.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Stats {
            $($(#[$doc])* pub $field: u64,)*
        }

        impl Stats {
            /// Each count with its name.
            pub fn each(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($field), self.$field),)*]
            }
        }

        impl AddAssign for Stats {
            fn add_assign(&mut self, other: Self) {
                $(self.$field += other.$field;)*
            }
        }

        impl fmt::Display for Stats {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.each().iter().try_for_each(|(name, n)| writeln!(f, "  {name:<16}{n:>12}"))
            }
        }
    };
}

stats! {
    /// Seeds that were run.
    runs,
    /// Events handed to the machine.
    events,
    /// Sessions that became active.
    active,
    /// Times apps were paused.
    paused,
    /// Sessions that ended as asked.
    ended,
    /// Of those, by an operator.
    by_operator,
    /// Of those, by the exit of their command.
    by_exit,
    /// Of those, because their result was not collected.
    by_linger,
    /// Of those, because they were idle.
    by_idleness,
    /// Of those and of the cancelled, because their time to live passed.
    by_time_to_live,
    /// Sessions that were called off.
    cancelled,
    /// Sessions that ended for breaking their protocol.
    faulted,
    /// Sessions that failed.
    failed,
    /// Of those, because a probe was not answered for too long.
    by_silence,
    /// Sessions whose keeper died before anything was written.
    never_opened,
    /// Keepers that died.
    crashes,
    /// Keepers that died while carrying out effects.
    torn_effects,
    /// Restarts that had only the journal.
    recoveries,
    /// Anchors that died.
    anchors,
    /// Steps of bring-up that failed.
    step_failures,
    /// Steps of bring-up that were undone.
    undone,
    /// Attempts at steps of the wipe that failed.
    wipe_failures,
    /// Outcomes that came twice.
    doubled,
    /// Outcomes that came again much later.
    stale,
    /// Effects that took long.
    slow,
    /// Times the clock jumped.
    jumps,
    /// Requests put to `admit`.
    requests,
    /// Requests refused.
    denied,
}
