//! The commands this init started.

use super::sys;

/// Tasks remembered; exited ones give way to new ones, oldest first.
const CAPACITY: usize = 256;
/// Children collected before the control socket gets its turn: a sandbox full of short-lived
/// processes cannot keep init from being heard.
const REAPED_PER_TURN: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    Running,
    /// Ended; the keeper has not been told.
    Untold,
    /// Ended; the keeper's socket has the news.
    Told,
}

/// One command.
#[derive(Clone, Copy)]
struct Task {
    /// Grows with every task: tells the oldest.
    age: u64,
    number: u32,
    pid: i32,
    /// Its wait status, once it has ended.
    status: i32,
    state: State,
}

impl Task {
    /// All zeros.
    const FREE: Self = Self { age: 0, number: 0, pid: 0, status: 0, state: State::Free };
}

/// A fixed table of tasks.
pub(super) struct Tasks {
    slots: [Task; CAPACITY],
    next_age: u64,
    untold: usize,
}

impl Tasks {
    /// No tasks; all zeros.
    pub(super) const EMPTY: Self = Self { slots: [Task::FREE; CAPACITY], next_age: 0, untold: 0 };

    fn used(&self) -> impl Iterator<Item = &Task> {
        self.slots.iter().filter(|task| task.state != State::Free)
    }

    /// Whether this number names a task that is remembered.
    pub(super) fn knows(&self, number: u32) -> bool {
        self.used().any(|task| task.number == number)
    }

    /// Makes room for one more; false when everything remembered still runs.
    pub(super) fn make_room(&mut self) -> bool {
        if self.slots.iter().any(|task| task.state == State::Free) {
            return true;
        }
        let ended = |task: &&mut Task| task.state != State::Running;
        let oldest = |task: &&mut Task| (task.state == State::Untold, task.age);
        let Some(task) = self.slots.iter_mut().filter(ended).min_by_key(oldest) else { return false };
        self.untold -= usize::from(task.state == State::Untold);
        *task = Task::FREE;
        true
    }

    /// Remembers a started command; [`Self::make_room`] said yes before.
    pub(super) fn add(&mut self, number: u32, pid: i32) {
        let age = self.next_age;
        self.next_age += 1;
        if let Some(slot) = self.slots.iter_mut().find(|task| task.state == State::Free) {
            *slot = Task { age, number, pid, status: 0, state: State::Running };
        }
    }

    /// Shows number, process id and, once ended, wait status of every task, until one is not
    /// taken. Whether all were.
    pub(super) fn each(&self, mut show: impl FnMut(u32, i32, Option<i32>) -> bool) -> bool {
        self.used()
            .all(|task| show(task.number, task.pid, (task.state != State::Running).then_some(task.status)))
    }

    /// Collects what has ended, ours and orphans. False when there may be more.
    pub(super) fn reap(&mut self) -> bool {
        for _ in 0..REAPED_PER_TURN {
            let Some((pid, status)) = sys::reap_one() else { return true };
            let running = |task: &&mut Task| task.state == State::Running && task.pid == pid;
            if let Some(task) = self.slots.iter_mut().find(running) {
                task.status = status;
                task.state = State::Untold;
                self.untold += 1;
            }
        }
        false
    }

    /// Tells of what has ended, oldest first, until one is not taken. Whether all is told.
    pub(super) fn tell(&mut self, mut tell: impl FnMut(u32, i32) -> bool) -> bool {
        while self.untold > 0 {
            let untold = self.slots.iter_mut().filter(|task| task.state == State::Untold);
            let Some(task) = untold.min_by_key(|task| task.age) else { break };
            if !tell(task.number, task.status) {
                return false;
            }
            task.state = State::Told;
            self.untold -= 1;
        }
        true
    }

    /// Signals a task that runs. Returns an error number; 0 also when it has ended.
    pub(super) fn signal(&self, number: u32, signal: i32, group: bool) -> i32 {
        match self.used().find(|task| task.number == number) {
            None => libc::ESRCH,
            Some(task) if task.state != State::Running => 0,
            Some(task) => sys::kill(if group { -task.pid } else { task.pid }, signal),
        }
    }
}
