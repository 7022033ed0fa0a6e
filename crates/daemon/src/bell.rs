//! Tells somebody outside of a session's questions, by the command that its opener named
//! (`on_question`).
//!
//! The command is the opener's text and is run by the shell as it stands. What is asked, which
//! includes a host's name from inside, is never part of that text: it is in variables of the
//! environment, and as JSON on standard input.

use std::collections::HashSet;
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

/// Why nobody was told.
#[derive(Debug, Error)]
enum Silent {
    #[error("more than {PER_MINUTE} questions in a minute")]
    TooOften,
    #[error("{AT_ONCE} commands for earlier questions still run")]
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
}

impl Bell {
    /// The bell of a session whose failures are noted in this folder.
    pub fn new(state: &Path) -> Self {
        Self {
            state: state.to_owned(),
            told: HashSet::new(),
            running: Arc::new(Semaphore::new(AT_ONCE)),
            budget: Budget::of(PER_MINUTE),
        }
    }

    /// Has the command run for a question, once. A failure is noted and changes nothing else.
    pub fn ring(&mut self, question: Question, command: String) {
        if self.told.len() >= REMEMBERED {
            self.told.clear();
        }
        if !self.told.insert((question.id.clone(), question.asked_at)) {
            return;
        }
        let state = self.state.clone();
        if !self.budget.spend(Instant::now()) {
            return note(&state, &question.id, &Silent::TooOften);
        }
        let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() else {
            return note(&state, &question.id, &Silent::TooMany);
        };
        tokio::spawn(async move {
            if let Err(why) = run(&command, &question).await {
                note(&state, &question.id, &why);
            }
            drop(permit);
        });
    }
}

async fn run(command: &str, question: &Question) -> Result<(), Silent> {
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

    #[tokio::test]
    async fn their_number_is_bounded() {
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
        let numbers = 1..=u32::try_from(PER_MINUTE).unwrap() + 1;
        for number in numbers {
            bell.ring(question(number, "a.example"), format!("cat {}", gate.display()));
        }
        let log = std::fs::read_to_string(folder.path().join(LOG)).unwrap();
        assert_eq!(log.matches("still run").count(), PER_MINUTE - AT_ONCE, "{log}");
        assert_eq!(log.matches("in a minute").count(), 1, "{log}");
        // Each opens it for itself; the writer stays until the last has.
        let opened = tokio::task::spawn_blocking(move || OpenOptions::new().write(true).open(gate));
        let writer = opened.await.unwrap().unwrap();
        drop(writer);
        bell.running.close();
    }
}
