//! Reading here what an app answers to what is typed.
//!
//! The anchor reads what apps write, and rings the keeper. Whoever types waits for the echo of each key: as long as
//! they do, the keeper has borrowed the anchor's turn and reads the terminal itself
//! ([`Ring::borrow`](sessile_anchor::ring::Ring::borrow)). A flood is the anchor's again.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use sessile_anchor::ring::WriteOutcome;
use sessile_model::ids::AppName;
use sessile_model::quantity::Millis;

use crate::client::Client;
use crate::keeper::Keeper;
use crate::rehearsal;
use crate::sources::timespec;
use crate::task::{Output, Streams, Task};

/// Most bytes that are read here of what follows a key.
const ECHO: u64 = 16 << 10;
/// How long an answer is waited for while nothing else is seen to.
const MOMENT: Duration = Duration::from_micros(300);
/// The same while it is seen when anything else happens, but for what goes by time. Longer than to the clock's next
/// tick: a timer that is due before is one that the processor has to be set to, which takes as long as all else.
const BESIDE: Millis = Millis(10);

impl Output {
    /// Somebody types: what a terminal answers is read here, if that can be had.
    pub fn borrow(&mut self) {
        if self.ring.borrow() {
            self.read_until = self.ring.head().saturating_add(ECHO);
        }
    }
}

impl Task {
    /// Whether its terminal is read here.
    pub fn awaits_echo(&self) -> bool {
        matches!(&self.streams, Streams::Terminal { output, .. } if output.ring.is_lent())
    }
}

impl Keeper {
    /// Waits a moment for what a task answers to what was typed, one of those to which it was, and shows it. Most
    /// answer within tens of microseconds, less than a look at everything else takes. Returns whether there is more to
    /// show.
    pub(crate) fn await_echo(&mut self, typed_to: &[AppName]) -> bool {
        let typist = |name: &AppName| self.typist.as_ref().filter(|typist| typist.task == *name);
        let awaited = |name: &&AppName| {
            let task = self.tasks.get(*name);
            task.is_some_and(|task| task.awaits_echo() && task.pending.is_empty())
                && typist(name).is_none_or(|typist| typist.is_keys)
        };
        let Some(name) = typed_to.iter().find(awaited) else { return false };
        let Some(master) = self.tasks.get(name).and_then(Task::sink) else { return false };
        // A bundle knows nothing of others who type, nor of what was queued since.
        let sees_all = typist(name).is_some() && !self.clients.values().any(Client::has_output);
        let bundle = self.bundle.as_ref().filter(|_| sees_all);
        let moment = match bundle {
            Some(_) => rehearsal::limit("echo", BESIDE).as_duration(),
            None => MOMENT,
        };
        let mut awaited = vec![PollFd::from_borrowed_fd(master, PollFlags::IN)];
        awaited.extend(bundle.map(|bundle| PollFd::from_borrowed_fd(bundle.fd(), PollFlags::IN)));
        let comes = poll(&mut awaited, Some(&timespec(moment))).is_ok()
            && awaited.first().is_some_and(|master| master.revents().contains(PollFlags::IN));
        if comes {
            self.read_echo(name);
        }
        comes && self.show_news()
    }

    /// Reads a terminal into its ring.
    pub(crate) fn read_echo(&self, name: &AppName) {
        let Some(Task { streams: Streams::Terminal { master, output, .. }, .. }) = self.tasks.get(name)
        else {
            return;
        };
        let is_over = match output.ring.read_borrowed(std::os::fd::AsFd::as_fd(master)) {
            Ok(Some(WriteOutcome::Bytes(_))) => output.ring.head() >= output.read_until,
            Ok(Some(WriteOutcome::WouldBlock) | None) => false,
            // The anchor sees the same, and says so.
            Ok(Some(WriteOutcome::Full | WriteOutcome::Ended)) | Err(_) => true,
        };
        if is_over {
            output.ring.give_back();
            // A dead anchor pumps nothing; its death is told by its pidfd.
            let _ = self.seat.link.poke(output.io);
        }
    }
}
