//! Conditions that clients wait for.

use regex::Regex;
use sessile_model::api::{Wait, Waited};
use sessile_model::ids::AppName;
use sessile_model::quantity::{Millis, Timestamp};
use sessile_model::{Problem, ProblemKind};

use crate::client::ClientId;
use crate::task::Task;

/// Longest accepted pattern, in bytes.
const MAX_PATTERN: usize = 4096;
/// Largest compiled pattern, in bytes.
const MAX_PROGRAM: usize = 1 << 20;
/// Output since the call that a pattern is looked for in; older bytes are forgotten.
const WINDOW: usize = 64 << 10;

/// One client's wait.
#[derive(Debug)]
pub struct PendingWait {
    /// The connection to answer.
    pub connection: ClientId,
    /// Its channel.
    pub channel: u16,
    /// The task it is about.
    pub task: AppName,
    pattern: Option<Regex>,
    quiet: Option<Millis>,
    exit: bool,
    deadline: Option<Timestamp>,
    timeout: Option<Millis>,
    /// Output offset up to which bytes are in `seen`.
    offset: u64,
    /// Bytes written since the call, of tasks without a screen.
    seen: Vec<u8>,
    /// When output last moved.
    moved_at: Timestamp,
}

impl PendingWait {
    /// Checks what is asked for and starts to wait.
    ///
    /// # Errors
    /// When no condition is named or the pattern is not a regular expression.
    pub fn new(
        connection: ClientId,
        channel: u16,
        wait: &Wait,
        task: &Task,
        now: Timestamp,
    ) -> Result<Self, Problem> {
        let bad = |detail: String| Problem::new(ProblemKind::BadRequest, detail);
        if wait.pattern.is_none() && wait.quiet.is_none() && !wait.exit {
            return Err(bad("nothing to wait for".into()).hint("name --pattern, --quiet or --exit"));
        }
        let pattern = match &wait.pattern {
            None => None,
            Some(text) if text.len() > MAX_PATTERN => return Err(bad("the pattern is too long".into())),
            Some(text) => Some(
                regex::RegexBuilder::new(text)
                    .size_limit(MAX_PROGRAM)
                    .multi_line(true)
                    .build()
                    .map_err(|e| bad(format!("the pattern is not a regular expression: {e}")))?,
            ),
        };
        Ok(Self {
            connection,
            channel,
            task: task.name.clone(),
            pattern,
            quiet: wait.quiet,
            exit: wait.exit,
            deadline: wait.timeout.map(|t| now.plus(t)),
            timeout: wait.timeout,
            offset: task.output().ring.head(),
            seen: Vec::new(),
            moved_at: now,
        })
    }

    /// Whether it is over: with what it saw, or with the problem that it saw nothing in time.
    pub fn check(&mut self, task: &Task, now: Timestamp) -> Option<Result<Waited, Problem>> {
        self.follow(task, now);
        if let Some(pattern) = &self.pattern
            && let Some(text) = self.find(pattern, task)
        {
            return Some(Ok(Waited::Matched { text }));
        }
        if self.exit
            && task.is_drained(now)
            && let Some(exit) = task.exit.clone()
        {
            return Some(Ok(Waited::Exited { exit }));
        }
        if self.quiet.is_some_and(|quiet| now.since(self.moved_at) >= quiet) {
            return Some(Ok(Waited::Quiet));
        }
        // A pattern in the output of a command that has ended will not come any more.
        if self.pattern.is_some() && !self.exit && task.is_drained(now) {
            let what = Problem::new(ProblemKind::Failed, "the command ended before the pattern was seen");
            return Some(Err(what.hint("`sessile output` shows what it wrote")));
        }
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            let after = self.timeout.unwrap_or_default();
            return Some(Err(Problem::new(ProblemKind::Timeout, format!("nothing of that within {after}"))
                .hint("`sessile screen` shows what is there; --timeout takes a longer time")));
        }
        None
    }

    /// When to look again if nothing else happens.
    pub fn next(&self, task: &Task, now: Timestamp) -> Option<Timestamp> {
        let quiet = self.quiet.map(|quiet| self.moved_at.plus(quiet));
        let drained = task.drained_by().filter(|&at| at > now);
        [quiet, self.deadline, drained].into_iter().flatten().min()
    }

    fn follow(&mut self, task: &Task, now: Timestamp) {
        let ring = &task.output().ring;
        if ring.head() == self.offset {
            return;
        }
        self.moved_at = now;
        if task.screen().is_some() || self.pattern.is_none() {
            self.offset = ring.head();
            return;
        }
        let mut chunk = vec![0; 16 << 10];
        loop {
            let got = ring.read(self.offset, &mut chunk);
            if got.len == 0 {
                break;
            }
            self.offset = got.start + got.len as u64;
            self.seen.extend_from_slice(&chunk[..got.len]);
            if self.seen.len() > WINDOW {
                self.seen.drain(..self.seen.len() - WINDOW);
            }
        }
    }

    fn find(&self, pattern: &Regex, task: &Task) -> Option<String> {
        let found = |text: &str| pattern.find(text).map(|found| found.as_str().to_owned());
        match task.screen() {
            // With trailing blanks for a prompt such as `$ `, and without for `$` at a line's end.
            Some(screen) => found(&screen.text()).or_else(|| found(&screen.untrimmed_text())),
            None => found(&String::from_utf8_lossy(&self.seen)),
        }
    }
}
