//! What an active or paused session keeps track of: apps, clients, probes.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sessile_model::state::Exit;
use sessile_model::{AppName, Millis, Property, Timestamp};

use crate::event::Turn;

/// How often each property is probed.
pub const PROBE_INTERVAL: Millis = Millis(1_000);

/// Probes of one property that may go unanswered in a row before it counts as not holding.
/// Counted in asks, not in time: a machine that slept asked nothing meanwhile.
pub const SILENT_PROBES: u8 = 30;

/// The main command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Main {
    /// There is none.
    None,
    /// It was asked for.
    Starting,
    /// It runs.
    Running,
    /// It ended.
    Exited { exit: Exit },
}

/// What is true of a session while its apps exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Running {
    pub(crate) main: Main,
    /// Every command that runs, the main one among them.
    pub(crate) apps: BTreeSet<AppName>,
    pub(crate) clients: u32,
    /// Since when the main command's result waits with nothing else running.
    pub(crate) result_since: Option<Timestamp>,
    pub(crate) probes: Probes,
    turn: Turn,
}

impl Running {
    /// At the moment of becoming active, when everything was just verified.
    pub(crate) fn begin(main: Main, now: Timestamp) -> Self {
        Self {
            main,
            apps: BTreeSet::new(),
            clients: 0,
            result_since: None,
            probes: Probes::begin(now),
            turn: 0,
        }
    }

    /// The number of a new ask to freeze or thaw.
    pub(crate) fn next_turn(&mut self) -> Turn {
        self.turn = self.turn.wrapping_add(1);
        self.turn
    }

    /// Takes note of a start. False if it was known, or is the main command's after its exit.
    pub(crate) fn started(&mut self, app: &AppName) -> bool {
        if *app == AppName::main() {
            match self.main {
                Main::Starting => self.main = Main::Running,
                Main::None | Main::Running | Main::Exited { .. } => return false,
            }
        }
        self.result_since = None;
        self.apps.insert(app.clone())
    }

    /// Takes note of an exit. False if it did not run. The main command may exit before its
    /// start was reported.
    pub(crate) fn exited(&mut self, app: &AppName, exit: &Exit, now: Timestamp) -> bool {
        let ran = self.apps.remove(app);
        let main = *app == AppName::main()
            && match self.main {
                Main::Starting | Main::Running => true,
                Main::None | Main::Exited { .. } => false,
            };
        if main {
            self.main = Main::Exited { exit: exit.clone() };
        }
        if (ran || main) && self.has_result() && self.apps.is_empty() {
            self.result_since = Some(now);
        }
        ran || main
    }

    /// Whether the main command has ended.
    pub(crate) fn has_result(&self) -> bool {
        self.exit().is_some()
    }

    /// How the main command ended.
    pub(crate) fn exit(&self) -> Option<&Exit> {
        match &self.main {
            Main::Exited { exit } => Some(exit),
            Main::None | Main::Starting | Main::Running => None,
        }
    }
}

/// When to probe next, and how many probes of each property were not answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Probes {
    pub(crate) due: Timestamp,
    silent: [u8; 4],
}

impl Probes {
    /// Nothing is asked yet; the first time is one interval from now.
    pub(crate) fn begin(now: Timestamp) -> Self {
        Self { due: now.plus(PROBE_INTERVAL), silent: [0; 4] }
    }

    /// Whether it is time. A clock that went back does not put probes off.
    pub(crate) fn are_due(&self, now: Timestamp) -> bool {
        now >= self.due || now.plus(PROBE_INTERVAL) < self.due
    }

    /// Asks about these properties; the first that has been silent for too long, if one has.
    pub(crate) fn ask(&mut self, about: &[Property], now: Timestamp) -> Option<Property> {
        self.due = now.plus(PROBE_INTERVAL);
        for &property in about {
            let count = &mut self.silent[property as usize];
            *count = count.saturating_add(1);
        }
        about.iter().copied().find(|&p| self.silent[p as usize] > SILENT_PROBES)
    }

    /// An answer came.
    pub(crate) fn answered(&mut self, property: Property) {
        self.silent[property as usize] = 0;
    }

    /// Nothing that was asked will be answered any more.
    pub(crate) fn forget(&mut self) {
        self.silent = [0; 4];
    }
}
