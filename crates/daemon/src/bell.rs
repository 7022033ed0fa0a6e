//! Tells somebody outside of a session's questions, by the command that its opener named
//! (`on_question`).
//!
//! The command is the opener's text and is run by the shell as it stands. What is asked, which
//! includes a host's name from inside, is never part of that text: it is in variables of the
//! environment, and as JSON on standard input.
//!
//! Those that come while too many commands run, or too many have run in the last minute, are held and
//! told later if they are still open then. The first that is over the minute's number is told at once,
//! with the number of those that are held (`SESSILE_QUESTION_MORE`).

use std::collections::{HashSet, VecDeque};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use sessile_model::api::{HeldLine, Question};
use sessile_model::quantity::Timestamp;
use thiserror::Error;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::daemon::now;
use crate::follow::Budget;

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Commands of a session that run at once.
const AT_ONCE: usize = 4;
/// Commands of a session in a minute.
const PER_MINUTE: usize = 30;
/// Questions that are remembered as told.
const REMEMBERED: usize = 4096;
/// The file in the state folder that says which commands failed.
pub const LOG: &str = "on-question.log";
/// Its bytes; then it begins anew.
const MAX_LOG: u64 = 64 << 10;

/// Questions that are held; more than a session has open.
const MOST_HELD: usize = 256;

/// Why nobody was told, or not yet.
#[derive(Debug, Error)]
enum Silent {
    #[error("more than {PER_MINUTE} questions in a minute: those after this one wait until it is over")]
    TooOften,
    #[error("more than {MOST_HELD} questions wait to be told of")]
    TooMany,
    #[error("the command cannot be started: {0}")]
    Start(std::io::Error),
    #[error("the command was killed, since it took longer than {} s", PATIENCE.as_secs())]
    Late,
    #[error("the command failed: {0}")]
    Failed(std::process::ExitStatus),
}

/// A session's bell.
#[derive(Debug)]
pub struct Bell {
    state: PathBuf,
    told: HashSet<(String, Timestamp)>,
    running: Arc<Semaphore>,
    budget: Budget,
    /// For the one that is told over the budget.
    last_call: Budget,
    held: VecDeque<(Question, String)>,
    /// Whether it was asked which questions are open.
    looks: bool,
}

impl Bell {
    /// The bell of a session whose failures are noted in this folder.
    pub fn new(state: &Path) -> Self {
        Self {
            state: state.to_owned(),
            told: HashSet::new(),
            running: Arc::new(Semaphore::new(AT_ONCE)),
            budget: Budget::of(PER_MINUTE),
            last_call: Budget::of(1),
            held: VecDeque::new(),
            looks: false,
        }
    }

    /// Has the command run for a question, once, now or when there is room. A failure is noted and changes nothing else.
    pub fn ring(&mut self, question: Question, command: String) {
        if self.told.len() >= REMEMBERED {
            self.told.clear();
        }
        if !self.told.insert((question.id.clone(), question.asked_at)) {
            return;
        }
        if self.held.len() >= MOST_HELD {
            return note(&self.state, &question.id, &Silent::TooMany);
        }
        // One keeper's question is told again by the next.
        self.held.retain(|(held, _)| held.id != question.id);
        self.held.push_back((question, command));
        if self.held.len() == 1 {
            self.tell(Instant::now());
        }
    }

    /// Returns when one that is held can be told, unless it was settled meanwhile: the keeper is then
    /// to be asked, and [`Self::tell_open`] takes its answer. Can be called off at any time.
    pub async fn due(&self) {
        if self.held.is_empty() || self.looks {
            return std::future::pending().await;
        }
        // Given back at once: whoever tells takes it.
        drop(self.running.acquire().await);
        let at = self.budget.room_at().min(self.last_call.room_at());
        if let Some(at) = at {
            tokio::time::sleep_until(at.into()).await;
        }
    }

    /// The keeper is asked which questions are open, or, after it was lost, is no longer.
    pub fn looks(&mut self, looks: bool) {
        self.looks = looks;
    }

    /// Tells of those that are held and still open, as many as may be.
    pub fn tell_open(&mut self, open: &[Question]) {
        self.tell_open_at(open, Instant::now());
    }

    fn tell_open_at(&mut self, open: &[Question], now: Instant) {
        self.looks = false;
        self.held.retain(|(held, _)| open.iter().any(|question| question.id == held.id));
        self.tell(now);
    }

    fn tell(&mut self, now: Instant) {
        while !self.held.is_empty() {
            let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() else { return };
            let is_last = !self.budget.spend(now);
            if is_last && !self.last_call.spend(now) {
                return;
            }
            let Some((question, command)) = self.held.pop_front() else { return };
            let more = is_last.then_some(self.held.len());
            if is_last {
                note(&self.state, &question.id, &Silent::TooOften);
            }
            let state = self.state.clone();
            tokio::spawn(async move {
                if let Err(why) = run(&command, &question, more).await {
                    note(&state, &question.id, &why);
                }
                drop(permit);
            });
        }
    }
}

async fn run(command: &str, question: &Question, more: Option<usize>) -> Result<(), Silent> {
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_dir());
    let mut child = Command::new("/bin/sh")
        .arg("-c")
        .arg(command)
        .current_dir(home.unwrap_or_else(|| PathBuf::from("/")))
        .env("SESSILE_QUESTION_ID", &question.id)
        .env("SESSILE_QUESTION_SESSION", question.session.to_string())
        .env("SESSILE_QUESTION_APP", question.app.as_str())
        .env("SESSILE_QUESTION_HOST", &question.host)
        .env("SESSILE_QUESTION_PORT", question.port.to_string())
        .env("SESSILE_QUESTION_KEY", question.signature.as_ref().map_or("", |signature| &signature.key))
        .env(
            "SESSILE_QUESTION_PURPOSE",
            question.signature.as_ref().map_or("", |signature| &signature.purpose),
        )
        .env("SESSILE_QUESTION_LINE", question.line.as_ref().map_or(String::new(), named))
        .env("SESSILE_QUESTION_MORE", more.map(|more| more.to_string()).unwrap_or_default())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(Silent::Start)?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let input = child.stdin.take();
    let told = async {
        if let (Some(mut input), Ok(json)) = (input, serde_json::to_vec(question)) {
            // Few commands read it.
            let _ = input.write_all(&json).await;
        }
        child.wait().await.map_err(Silent::Start)
    };
    match timeout(PATIENCE, told).await {
        Ok(status) => match status? {
            status if status.success() => Ok(()),
            status => Err(Silent::Failed(status)),
        },
        Err(_) => {
            // Not reaped yet, so its number is nobody else's.
            if let Some(group) = group {
                let _ = kill_process_group(group, Signal::KILL);
            }
            Err(Silent::Late)
        }
    }
}

/// A line that is held, by its names alone.
fn named(line: &HeldLine) -> String {
    format!("{} from {} to {}", line.label, line.from, line.to)
}

/// Notes who was not told of what, without what was asked: that ends with the session.
fn note(state: &Path, question: &str, why: &Silent) {
    let path = state.join(LOG);
    let begins_anew = std::fs::metadata(&path).is_ok_and(|meta| meta.len() > MAX_LOG);
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let mut options = OpenOptions::new();
    options.create(true).mode(0o600).custom_flags(flags);
    match begins_anew {
        true => options.write(true).truncate(true),
        false => options.append(true),
    };
    // Where a note cannot be taken there is nobody else to tell.
    let _ = options.open(path).and_then(|mut log| writeln!(log, "{} {question}: {why}", now()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use sessile_model::{AppName, SessionId};

    fn question(number: u32, host: &str) -> Question {
        Question {
            id: format!("1f0c2d3e-{number}"),
            session: SessionId::new(Timestamp::from_millis(0), [7; 10]),
            app: AppName::main(),
            host: host.to_owned(),
            port: 443,
            signature: None,
            line: None,
            asked_at: Timestamp::from_millis(1),
        }
    }

    async fn idle(bell: &Bell) {
        drop(bell.running.acquire_many(u32::try_from(AT_ONCE).unwrap()).await.unwrap());
    }

    #[tokio::test]
    async fn what_is_asked_is_told_once_and_is_not_part_of_the_command() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let command = format!(
            "printf '%s %s ' \"$SESSILE_QUESTION_ID\" \"$SESSILE_QUESTION_HOST\" >> {0}; cat >> {0}",
            out.display()
        );
        let mut bell = Bell::new(folder.path());
        let asked = question(1, "$(touch evil)`touch evil`;'\".example");
        bell.ring(asked.clone(), command.clone());
        bell.ring(asked.clone(), command);
        idle(&bell).await;
        let json = serde_json::to_string(&asked).unwrap();
        let text = std::fs::read_to_string(&out).unwrap();
        assert_eq!(text, format!("1f0c2d3e-1 {} {json}", asked.host));
        assert!(!folder.path().join(LOG).exists());
    }

    #[tokio::test]
    async fn a_failure_is_noted_without_what_was_asked() {
        let folder = tempfile::tempdir().unwrap();
        let mut bell = Bell::new(folder.path());
        bell.ring(question(1, "secret.example"), "exit 3".to_owned());
        bell.ring(question(2, "secret.example"), "/nonexistent".to_owned());
        idle(&bell).await;
        let log = std::fs::read_to_string(folder.path().join(LOG)).unwrap();
        assert!(log.contains("1f0c2d3e-1: the command failed: exit status: 3"), "{log}");
        assert!(log.contains("1f0c2d3e-2: the command failed: exit status: 127"), "{log}");
        assert!(!log.contains("secret"), "{log}");
    }

    /// Tells of these, of which all stay open, until no more may be told.
    async fn tell_all(bell: &mut Bell, open: &[Question], now: Instant) {
        loop {
            let held = bell.held.len();
            idle(bell).await;
            bell.tell_open_at(open, now);
            if bell.held.len() == held {
                return;
            }
        }
    }

    #[tokio::test]
    async fn so_many_run_at_once_and_the_others_wait() {
        let folder = tempfile::tempdir().unwrap();
        let gate = folder.path().join("gate");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &gate,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        let mut bell = Bell::new(folder.path());
        let open: Vec<Question> = (1..=6).map(|number| question(number, "a.example")).collect();
        for question in &open {
            bell.ring(question.clone(), format!("cat {}", gate.display()));
        }
        assert_eq!((bell.running.available_permits(), bell.held.len()), (0, 6 - AT_ONCE));
        bell.tell_open(&open);
        assert_eq!(bell.held.len(), 6 - AT_ONCE);
        // Each opens it for itself; the writer stays until the last has.
        let opened = tokio::task::spawn_blocking(move || OpenOptions::new().write(true).open(gate));
        drop(opened.await.unwrap().unwrap());
        bell.due().await;
        bell.tell_open(&open[..5]);
        assert!(bell.held.is_empty());
        bell.running.close();
    }

    #[tokio::test]
    async fn a_flood_says_that_more_wait_and_they_are_told_when_the_minute_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let command = format!("echo \"$SESSILE_QUESTION_ID:$SESSILE_QUESTION_MORE\" >> {}", out.display());
        let told = || std::fs::read_to_string(&out).unwrap_or_default();
        let mut bell = Bell::new(folder.path());
        let mut open: Vec<Question> = (1..=41).map(|number| question(number, "a.example")).collect();
        for question in &open {
            bell.ring(question.clone(), command.clone());
        }
        let start = Instant::now();
        tell_all(&mut bell, &open, start).await;
        let first = told();
        assert_eq!(first.lines().count(), PER_MINUTE + 1, "{first}");
        assert!(first.contains("-31:10\n") && first.matches(":\n").count() == PER_MINUTE, "{first}");
        assert!(tokio::time::timeout(Duration::from_millis(10), bell.due()).await.is_err());
        // One is settled meanwhile.
        open.remove(40);
        tell_all(&mut bell, &open, start + Duration::from_secs(61)).await;
        let then = told();
        assert_eq!(then.lines().count(), 40, "{then}");
        assert!(then.contains("-40:\n") && !then.contains("-41:"), "{then}");
    }
}
