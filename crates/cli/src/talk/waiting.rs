//! Waiting for a keeper that may have been stopped: no longer than was said.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use sessile_model::problem::ProblemKind;
use sessile_model::quantity::Millis;

use super::Talk;
use crate::failure::Failure;

/// How long a keeper may take for what needs no waiting. Where keepers died again and again, the next one may take a
/// minute to come.
const PROMPT: Duration = Duration::from_secs(80);
/// After so long it is looked whether somebody answers at all.
const LOOK: Duration = Duration::from_secs(30);
/// How much longer than a request may wait its answer may take: its keeper may be replaced meanwhile.
const BEYOND: Duration = Duration::from_secs(5);

/// Asks, and gives up where no answer comes although the time is over. Without a time it is looked whether
/// somebody still answers for this role.
///
/// # Errors
/// The request's own, and when the keeper does not answer.
pub fn asked<T: Send + 'static>(
    talk: &Arc<Talk>,
    role: &str,
    timeout: Option<Millis>,
    ask: impl FnOnce(&Talk) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let answers = begun(talk, ask);
    let Some(timeout) = timeout else {
        loop {
            match answers.recv_timeout(LOOK) {
                Ok(answer) => return answer,
                Err(RecvTimeoutError::Disconnected) => return Err(broken()),
                Err(RecvTimeoutError::Timeout) => {
                    let role = role.to_owned();
                    // Whatever is answered, somebody answers.
                    let looked = begun(talk, move |talk| talk.offered(&role).map(drop));
                    if let Err(RecvTimeoutError::Timeout) = looked.recv_timeout(PROMPT) {
                        return Err(silent());
                    }
                }
            }
        }
    };
    within(&answers, timeout.as_duration().saturating_add(BEYOND))
}

/// Asks for what needs no waiting.
///
/// # Errors
/// As [`asked`].
pub fn promptly<T: Send + 'static>(
    talk: &Arc<Talk>,
    ask: impl FnOnce(&Talk) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    within(&begun(talk, ask), PROMPT)
}

fn within<T>(answers: &mpsc::Receiver<Result<T, Failure>>, limit: Duration) -> Result<T, Failure> {
    match answers.recv_timeout(limit) {
        Ok(answer) => answer,
        Err(RecvTimeoutError::Timeout) => Err(silent()),
        Err(RecvTimeoutError::Disconnected) => Err(broken()),
    }
}

/// Asks beside the caller. One that nobody waits for any more ends with this process.
fn begun<T: Send + 'static>(
    talk: &Arc<Talk>,
    ask: impl FnOnce(&Talk) -> Result<T, Failure> + Send + 'static,
) -> mpsc::Receiver<Result<T, Failure>> {
    let (tells, answers) = mpsc::channel();
    let talk = Arc::clone(talk);
    thread::spawn(move || {
        // Nobody waits any more.
        let _ = tells.send(ask(&talk));
    });
    answers
}

fn silent() -> Failure {
    Failure::new(ProblemKind::Timeout, "the session's keeper has not answered in time")
        .hint("the session goes on once it does; `sessile show` says how it is")
}

fn broken() -> Failure {
    Failure::new(ProblemKind::Internal, "asking the session's keeper ended without an answer")
}
