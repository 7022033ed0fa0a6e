//! Reading here what an app answers to what is typed.
//!
//! The anchor reads what apps write, and rings the keeper. Whoever types waits for the echo of each key: as long as
//! they do, the keeper has borrowed the anchor's turn and reads the terminal itself
//! ([`Ring::borrow`](sessile_anchor::ring::Ring::borrow)). A flood is the anchor's again.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sessile_anchor::ring::WriteOutcome;
use sessile_model::ids::AppName;

use crate::keeper::Keeper;
use crate::task::{Output, Streams, Task};

/// Most bytes that are read here of what follows a key.
const ECHO: u64 = 16 << 10;
/// How long an answer is waited for while nothing else is seen to.
const MOMENT: Timespec = Timespec { tv_sec: 0, tv_nsec: 300_000 };
/// The same while it is seen when anything else happens, but for what goes by time. Longer than to the clock's next
/// tick: a timer that is due before is one that the processor has to be set to, which takes as long as all else.
const BESIDE: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };

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
    /// Waits a moment for what a task answers to what was typed, and shows it. Most answer within tens of
    /// microseconds, less than a look at everything else takes.
    pub(crate) fn await_echo(&mut self, name: &AppName) {
        let Some(task) = self.tasks.get(name).filter(|task| task.awaits_echo() && task.pending.is_empty())
        else {
            return;
        };
        let Some(master) = task.sink() else { return };
        let mut awaited = vec![PollFd::from_borrowed_fd(master, PollFlags::IN)];
        awaited.extend(self.bundle.as_ref().map(|all| PollFd::from_borrowed_fd(all.fd(), PollFlags::IN)));
        let moment = if awaited.len() > 1 { BESIDE } else { MOMENT };
        let comes = poll(&mut awaited, Some(&moment)).is_ok()
            && awaited.first().is_some_and(|master| master.revents().contains(PollFlags::IN));
        if comes {
            self.read_echo(name);
            self.show_news();
        }
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
