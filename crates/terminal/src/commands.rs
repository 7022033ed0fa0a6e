//! A shell's commands, by the [marks](Mark) it puts around them.
//!
//! ```text
//!             prompt            output                  done
//!  Unknown ──────────► Prompt ──────────► Running ──────────► Between ──prompt──► Prompt
//!                        │                   │
//!                        └─ done: a blank    └─ prompt of another shell: a shell inside
//! ```
//!
//! What is kept is bounded, whatever the marks are. Whoever writes to the terminal can write marks:
//! what they say is a shell's word, not a fact.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use sessile_model::api::{self, ShellCommand, ShellState};

use crate::marks::{Mark, MarkKind};

/// Most commands that ended and are kept.
const MAX_FINISHED: usize = 32;
/// Most shells within shells.
const MAX_OPEN: usize = 16;

/// What is known of a shell's commands. Offsets are those of the marks it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commands {
    state: State,
    /// Commands that run, the innermost last.
    open: Vec<Open>,
    finished: VecDeque<ShellCommand>,
    /// Number of the next command.
    next: u64,
    blanks: u64,
    /// Marks that end up to here are known.
    until: u64,
    /// Where a mark stands that told the end of nothing: that of the user's own prompt, before ours.
    stray: (u64, u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    Unknown,
    Prompt { shell: Option<u64>, start: u64 },
    Running,
    Between,
}

/// A command that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Open {
    shell: Option<u64>,
    command: ShellCommand,
}

impl Default for Commands {
    fn default() -> Self {
        Self {
            state: State::Unknown,
            open: Vec::new(),
            finished: VecDeque::new(),
            next: 1,
            blanks: 0,
            until: 0,
            stray: (0, 0),
        }
    }
}

impl Commands {
    /// Takes a mark; one that ends where another did that was taken already is passed over. Returns
    /// whether it was new.
    pub fn note(&mut self, mark: &Mark) -> bool {
        if mark.end <= self.until {
            return false;
        }
        self.until = mark.end;
        match mark.kind {
            MarkKind::Prompt => self.prompt(mark),
            MarkKind::Input => {}
            MarkKind::Output => self.begin(mark),
            MarkKind::Done(status) => self.done(mark, status),
            MarkKind::DoneLate(status) => self.done_late(mark, status),
        }
        true
    }

    /// The shell itself has ended with this status, and what it ran with it; its last byte of output
    /// is before `offset`. Returns whether anything ran.
    pub fn end(&mut self, offset: u64, status: Option<i32>) -> bool {
        let ran = !self.open.is_empty();
        self.close_down_to(0, offset, status);
        if self.is_known() {
            self.state = State::Between;
        }
        ran
    }

    /// The command that runs, else the one that comes next.
    #[must_use]
    pub fn current(&self) -> api::Typed {
        let running = self.open.last().filter(|_| self.state == State::Running);
        let command = running.map_or(self.next, |open| open.command.number);
        api::Typed { command, blanks: self.blanks, running: running.is_some(), pasted: false }
    }

    /// Whether any shell has said anything.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.state != State::Unknown
    }

    /// Whether the command of this number has not begun yet.
    #[must_use]
    pub fn is_to_come(&self, number: u64) -> bool {
        number >= self.next
    }

    /// Whether the command of this number runs.
    #[must_use]
    pub fn runs(&self, number: u64) -> bool {
        self.open.iter().any(|open| open.command.number == number)
    }

    /// The command of this number, where it has ended and is kept.
    #[must_use]
    pub fn finished(&self, number: u64) -> Option<ShellCommand> {
        self.finished.iter().find(|command| command.number == number).copied()
    }

    /// Times that a shell showed another prompt without having run a command.
    #[must_use]
    pub fn blanks(&self) -> u64 {
        self.blanks
    }

    /// As the API shows it.
    #[must_use]
    pub fn describe(&self) -> api::Commands {
        api::Commands {
            shell: match self.state {
                State::Unknown => ShellState::Unknown,
                State::Prompt { .. } => ShellState::Prompt,
                State::Running => ShellState::Running,
                State::Between => ShellState::Between,
            },
            next: self.next,
            blanks: self.blanks,
            running: self.open.iter().map(|open| open.command).collect(),
            finished: self.finished.iter().copied().collect(),
        }
    }

    fn prompt(&mut self, mark: &Mark) {
        // A shell that shows its prompt runs nothing, whether it said so or not.
        if let Some(at) = self.open.iter().rposition(|open| open.shell == mark.shell) {
            self.close_down_to(at, mark.start, None);
        }
        self.state = State::Prompt { shell: mark.shell, start: mark.start };
    }

    fn begin(&mut self, mark: &Mark) {
        let (shell, start) = match self.state {
            State::Prompt { shell, start } => (mark.shell.or(shell), start),
            // A second mark for the same command, by the user's own prompt or by ours.
            State::Running => {
                if let Some(last) = self.open.last_mut().filter(|o| o.command.output_from == mark.start) {
                    last.shell = last.shell.or(mark.shell);
                    last.command.output_from = mark.end;
                }
                return;
            }
            State::Unknown | State::Between => (mark.shell, mark.start),
        };
        if self.open.len() == MAX_OPEN {
            return;
        }
        let number = self.next;
        self.next += 1;
        let command = ShellCommand { number, start, output_from: mark.end, output_to: None, exit: None };
        self.open.push(Open { shell, command });
        self.state = State::Running;
    }

    fn done(&mut self, mark: &Mark, status: Option<i32>) {
        if let Some(at) = self.open.iter().rposition(|open| open.shell == mark.shell) {
            // Shells within that one have ended, and what they ran.
            let end = if self.stray.1 == mark.start { self.stray.0 } else { mark.start };
            self.close_down_to(at, end, status);
            self.state = State::Between;
            return;
        }
        self.stray = (mark.start, mark.end);
        match self.state {
            State::Prompt { shell, .. } if mark.shell.is_none() || shell.is_none() || shell == mark.shell => {
                self.blanks += 1;
                self.state = State::Between;
            }
            State::Prompt { .. } | State::Unknown | State::Running | State::Between => {}
        }
    }

    fn done_late(&mut self, mark: &Mark, status: Option<i32>) {
        if let Some(at) = self.open.iter().rposition(|open| open.shell == mark.shell) {
            self.close_down_to(at, mark.start, status);
            self.state = State::Prompt { shell: mark.shell, start: mark.start };
        }
    }

    fn close_down_to(&mut self, at: usize, offset: u64, status: Option<i32>) {
        while self.open.len() > at {
            let Some(Open { mut command, .. }) = self.open.pop() else { return };
            command.output_to = Some(offset.max(command.output_from));
            command.exit = status;
            if self.finished.len() == MAX_FINISHED {
                self.finished.pop_front();
            }
            self.finished.push_back(command);
        }
    }
}
