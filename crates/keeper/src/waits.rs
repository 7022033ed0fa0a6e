//! Conditions that clients wait for.

use regex::Regex;
use sessile_model::api::{AwaitedCommand, Wait, Waited};
use sessile_model::ids::AppName;
use sessile_model::quantity::{Millis, Timestamp};
use sessile_model::{Problem, ProblemKind};

use sessile_terminal::Commands;

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
    command: Option<Awaited>,
    deadline: Option<Timestamp>,
    timeout: Option<Millis>,
    /// Output offset up to which bytes are in `seen`.
    offset: u64,
    /// Bytes written since the call, of tasks without a screen.
    seen: Vec<u8>,
    /// When output last moved.
    moved_at: Timestamp,
}

/// A command of a shell that is waited for.
#[derive(Clone, Copy, Debug)]
struct Awaited {
    number: u64,
    blanks: Option<u64>,
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
        if wait.pattern.is_none() && wait.quiet.is_none() && !wait.exit && wait.command.is_none() {
            return Err(
                bad("nothing to wait for".into()).hint("name --pattern, --quiet, --exit or --command")
            );
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
            command: wait.command.map(|wanted| awaited(wanted, task)).transpose()?,
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
        if let Some(outcome) = self.command.and_then(|awaited| awaited.check(task, now)) {
            return Some(outcome);
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
            if self.command.is_some() && task.commands().is_some_and(|commands| !commands.is_known()) {
                return Some(Err(Problem::new(
                    ProblemKind::Timeout,
                    format!("no shell showed a prompt within {after}"),
                )
                .hint("`sessile screen` shows what is there")));
            }
            return Some(Err(self.nothing_within(task, after)));
        }
        None
    }

    /// The problem that nothing of what is waited for came in time.
    fn nothing_within(&self, task: &Task, after: Millis) -> Problem {
        let waited: Vec<String> = [
            self.pattern.is_some().then(|| "the pattern was not seen".to_owned()),
            self.quiet.map(|quiet| format!("there was always output within {quiet}")),
            self.exit.then(|| format!("{} did not end", task.name)),
            self.command.map(|awaited| awaited.late(task)),
        ]
        .into_iter()
        .flatten()
        .collect();
        let hint = match self.command {
            Some(_) => {
                "it goes on, and `sessile wait SESSION --command` waits for it; `sessile screen` shows whether it waits for \
                 something to be typed; where that shows a prompt again, the shell says no more how its commands end: its PROMPT_COMMAND or precmd_functions was replaced \
                 (bash: PROMPT_COMMAND=\". /etc/sessile/bash; $PROMPT_COMMAND\" goes before it again)"
            }
            None => "`sessile screen` shows what is there; --timeout takes a longer time",
        };
        Problem::new(ProblemKind::Timeout, format!("within {after} {}", waited.join(", and "))).hint(hint)
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

impl Awaited {
    fn late(self, task: &Task) -> String {
        match task.commands().is_some_and(|commands| commands.runs(self.number)) {
            true => format!("command {} did not end", self.number),
            false => format!("command {} did not begin", self.number),
        }
    }

    fn check(self, task: &Task, now: Timestamp) -> Option<Result<Waited, Problem>> {
        let commands = task.commands()?;
        if let Some(command) = commands.finished(self.number) {
            return Some(Ok(Waited::Command { command }));
        }
        if commands.runs(self.number) {
            return None;
        }
        if !commands.is_to_come(self.number) {
            let what = format!("what became of command {} is no longer known", self.number);
            return Some(Err(Problem::new(ProblemKind::NotFound, what)
                .hint("too many have ended since; `sessile output` shows what they wrote")));
        }
        if self.blanks.is_some_and(|blanks| commands.blanks() > blanks) {
            let what = "the shell ran no command, and shows its prompt again";
            return Some(Err(Problem::new(ProblemKind::Conflict, what)
                .hint("it was empty, interrupted, or makes no sense to the shell: `sessile screen` shows what it said; \
                       `sessile type SESSION --key ctrl-c` clears a line that still stands there")));
        }
        let exit = task.exit.clone().filter(|_| task.is_drained(now))?;
        Some(Ok(Waited::Exited { exit }))
    }
}

fn awaited(wanted: AwaitedCommand, task: &Task) -> Result<Awaited, Problem> {
    let current = speaking(task)?.current();
    let number = wanted.number.unwrap_or(current.command);
    Ok(Awaited { number, blanks: wanted.blanks })
}

/// What the task's shell says of its commands, where it is one that does.
pub fn speaking(task: &Task) -> Result<&Commands, Problem> {
    let silent = |what: &str| {
        Problem::new(ProblemKind::Conflict, format!("{} {what}", task.name)).hint(
            "bash, zsh and fish that Sessile starts on a terminal do: `sessile run -- bash`; for others there is \
             `sessile wait` with --pattern, --quiet or --exit",
        )
    };
    let commands =
        task.commands().ok_or_else(|| silent("has no terminal, so no shell there tells its commands"))?;
    if commands.is_known() || crate::shell::is_told_of(&task.argv) {
        Ok(commands)
    } else {
        Err(silent("shows no shell that tells its commands"))
    }
}
