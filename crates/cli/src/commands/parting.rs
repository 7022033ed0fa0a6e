//! What `run`, `exec` and `attach` say and return when their attachment is over.

use std::io::IsTerminal as _;
use std::path::Path;
use std::time::{Duration, Instant};

use sessile_model::api;
use sessile_model::receipt::{Receipt, SignedReceipt, WipeEvidence};
use sessile_model::state::{EndedBy, Exit, Outcome as SessionOutcome, State};
use sessile_model::{ProblemKind, SessionId, SessionRecord};

use super::text::outcome_sentence;
use crate::attachment::{Mode, Parting};
use crate::client::Daemon;
use crate::failure::{Failure, Outcome, Status};
use crate::output::{printable, say};
use crate::selector::SessionSelector;

/// How long the daemon may take to learn that a session whose keeper went away is over.
const PATIENCE: Duration = Duration::from_secs(3);

/// What an attachment was about, for what is said of its end.
#[derive(Clone, Copy, Debug)]
pub struct Watch<'a> {
    /// The session.
    pub session: SessionId,
    /// The command's name, where we started it.
    pub command: Option<&'a str>,
    /// How we were attached.
    pub mode: &'a Mode,
    /// Through which socket, where it is elsewhere.
    pub remote: Option<&'a Path>,
    /// Say it as JSON.
    pub json: bool,
}

impl Watch<'_> {
    /// What attaches again.
    fn attach(&self) -> String {
        let short = self.session.short();
        let remote =
            self.remote.map(|socket| format!(" --remote {}", printable(&socket.display().to_string())));
        format!("sessile attach {short}{}", remote.unwrap_or_default())
    }
}

/// Says how it ended, where somebody watches, and passes on the exit status.
///
/// # Errors
/// When the session was lost, or nobody reads our output.
pub fn conclude(daemon: &Daemon, watch: &Watch<'_>, parting: Parting) -> Outcome {
    let short = watch.session.short();
    match parting {
        Parting::Detached => {
            if watch.json {
                say(&serde_json::json!({ "session": watch.session, "detached": true }).to_string());
            } else if watch.by_a_person() {
                say(&format!("left session {short}; it goes on: {}", watch.attach()));
            }
            Ok(Status::OK)
        }
        Parting::Exited { exit, receipt: None } => {
            watch.report(Some(&exit), None);
            say_why(daemon, watch.session, &exit);
            Ok(Status(exit.shell_code()))
        }
        Parting::Exited { exit, receipt: Some(receipt) } => {
            await_closed(daemon, watch.session);
            watch.report(Some(&exit), Some(&receipt));
            match read(&receipt).map(|receipt| receipt.outcome) {
                // How the command ended is then no more than a consequence.
                Some(SessionOutcome::Failed { .. }) => Err(ended_meanwhile(&short, &receipt)),
                Some(
                    SessionOutcome::Ended { .. }
                    | SessionOutcome::Cancelled { .. }
                    | SessionOutcome::Faulted { .. },
                )
                | None => Ok(Status(exit.shell_code())),
            }
        }
        Parting::Closed(receipt) => {
            await_closed(daemon, watch.session);
            watch.report(None, Some(&receipt));
            Err(ended_meanwhile(&short, &receipt))
        }
        Parting::Dismissed(why) => {
            Err(Failure::new(ProblemKind::Conflict, format!("no longer attached to session {short}: {why}")))
        }
        // The signal's own meaning has been carried out: we left. The status says why.
        Parting::Signalled(signal) => Ok(Status(128u8.wrapping_add(signal as u8))),
        Parting::Unread => Err(Failure::ClosedPipe),
        Parting::Lost(exit) => {
            let failure =
                Failure::new(ProblemKind::Failed, format!("lost the connection to session {short}"))
                    .hint(watch.attach());
            lost(daemon, watch, exit, failure)
        }
    }
}

/// Joins what was just opened. One that ended before that ends as one that was watched.
///
/// # Errors
/// Those of [`conclude`], and when it cannot be joined.
pub fn attend(
    daemon: &Daemon,
    watch: &Watch<'_>,
    join: impl FnOnce() -> Result<Parting, Failure>,
) -> Outcome {
    match join() {
        Ok(parting) => conclude(daemon, watch, parting),
        Err(Failure::Problem(problem)) if problem.kind == ProblemKind::Conflict => {
            lost(daemon, watch, None, Failure::Problem(problem))
        }
        Err(failure) => Err(failure),
    }
}

/// Waits until the daemon has taken the end in: from then on the receipt is found, the name is
/// free and nothing of the session is left.
fn await_closed(daemon: &Daemon, session: SessionId) {
    let path = SessionSelector::from(session).path("/end");
    // Its keeper has told how it ended; what the daemon makes of it changes nothing about that.
    let _: Result<SignedReceipt, Failure> = daemon.post(&path, &api::End { grace: None });
}

/// Says why a session ends, where that is what ended a command whose client does not stay for it.
pub fn say_why(daemon: &Daemon, session: SessionId, exit: &Exit) {
    if !matches!(exit, Exit::Signal { .. }) {
        return;
    }
    let path = SessionSelector::from(session).path("");
    // That it cannot be asked is no news of the command.
    let Ok(SessionRecord { outcome: Some(outcome), outcome_detail, .. }) = daemon.get(&path) else { return };
    if !is_own(&outcome) {
        let how = outcome_sentence(&outcome, outcome_detail.as_deref());
        say(&format!("sessile: session {} {how}", session.short()));
    }
}

/// Whether a session ended because its command did.
fn is_own(outcome: &SessionOutcome) -> bool {
    matches!(outcome, SessionOutcome::Ended { by: EndedBy::MainExited })
}

/// The keeper went away for good: the daemon knows how the session ended. Where it does not,
/// what happened here is all there is to say.
fn lost(daemon: &Daemon, watch: &Watch<'_>, exit: Option<Exit>, otherwise: Failure) -> Outcome {
    let short = watch.session.short();
    let selector = SessionSelector::from(watch.session);
    // The daemon may be gone as well; the next one closes what was lost.
    let daemon = Daemon::reach().unwrap_or_else(|_| daemon.clone());
    let mut record: SessionRecord = daemon.get(&selector.path(""))?;
    // It takes the end in from what the keeper left behind.
    let deadline = Instant::now() + PATIENCE;
    while record.outcome.is_none() && exit.is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
        record = daemon.get(&selector.path(""))?;
    }
    if matches!(record.state, State::Ending | State::Failed) {
        await_closed(&daemon, watch.session);
        record = daemon.get(&selector.path(""))?;
    }
    let receipt: Option<SignedReceipt> = match record.state {
        State::Closed => daemon.get(&selector.path("/receipt")).ok(),
        State::Bringup | State::Active | State::Paused | State::Ending | State::Failed => None,
    };
    match (exit, &record.outcome) {
        (Some(exit), Some(SessionOutcome::Ended { .. }) | None) => {
            watch.report(Some(&exit), receipt.as_ref());
            Ok(Status(exit.shell_code()))
        }
        (_, Some(outcome)) => {
            let how = outcome_sentence(outcome, record.outcome_detail.as_deref());
            let detail = format!("session {short} {how}");
            Err(Failure::new(ProblemKind::Failed, detail).hint(format!("sessile receipt {short}")))
        }
        (None, None) => Err(otherwise),
    }
}

fn ended_meanwhile(short: &str, receipt: &SignedReceipt) -> Failure {
    let how = read(receipt)
        .map_or_else(|| "ended".to_owned(), |r| outcome_sentence(&r.outcome, r.outcome_detail.as_deref()));
    Failure::new(ProblemKind::Failed, format!("session {short} {how}"))
        .hint(format!("sessile receipt {short}"))
}

impl Watch<'_> {
    /// Whether a person looks on.
    fn by_a_person(&self) -> bool {
        matches!(self.mode, Mode::Terminal { .. }) && std::io::stderr().is_terminal()
    }

    /// One line about the end, with what could not be started and what the wipe could not do.
    fn report(&self, exit: Option<&Exit>, signed: Option<&SignedReceipt>) {
        if self.json {
            let value = serde_json::json!({ "session": self.session, "exit": exit, "receipt": signed });
            return say(&value.to_string());
        }
        if let Some(Exit::NotStarted { errno }) = exit {
            let why = crate::failure::plain(&std::io::Error::from_raw_os_error(*errno));
            let command = self.command.map_or_else(|| "the command".to_owned(), printable);
            say(&format!("sessile: error: {command} could not be started inside: {why}"));
            if matches!(*errno, 2 | 20) {
                say(
                    "hint: a session shows the host's /usr and your project; `--tools` or `--mount` shows more",
                );
            }
        }
        let Some(receipt) = signed.and_then(read) else { return };
        let short = self.session.short();
        let failed = failed_steps(&receipt);
        let how = outcome_sentence(&receipt.outcome, receipt.outcome_detail.as_deref());
        if matches!(receipt.outcome, SessionOutcome::Failed { .. }) || (exit.is_none() && failed.is_empty()) {
            // That is the error which follows.
        } else if !is_own(&receipt.outcome) && failed.is_empty() {
            say(&format!("sessile: session {short} {how}, wiped; receipt: sessile receipt {short}"));
        } else if !failed.is_empty() {
            let failed = failed.join("; ");
            say(&format!(
                "sessile: warning: session {short} ended, but its wipe failed in part: {failed}; see: sessile receipt {short}"
            ));
        } else if self.by_a_person() {
            say(&format!("session {short} ended, wiped; receipt: sessile receipt {short}"));
        }
    }
}

fn read(signed: &SignedReceipt) -> Option<Receipt> {
    serde_json::from_slice(&signed.payload_bytes().ok()?).ok()
}

/// The steps of a wipe that did not do what they are for.
pub fn failed_steps(receipt: &Receipt) -> Vec<String> {
    let failed = receipt.steps.iter().filter_map(|line| match &line.evidence {
        WipeEvidence::Failed { why } => Some(format!("{}: {}", line.step.as_str(), printable(why))),
        WipeEvidence::Refused { .. }
        | WipeEvidence::Signalled { .. }
        | WipeEvidence::NoRoute
        | WipeEvidence::RouteCut
        | WipeEvidence::Frozen { .. }
        | WipeEvidence::Overwritten { .. }
        | WipeEvidence::Killed { .. }
        | WipeEvidence::Unmounted { .. }
        | WipeEvidence::KeyDestroyed { .. }
        | WipeEvidence::Retired { .. }
        | WipeEvidence::Finalised { .. }
        | WipeEvidence::Removed { .. }
        | WipeEvidence::NothingFound { .. }
        | WipeEvidence::NothingToDo
        | WipeEvidence::NotPossible { .. } => None,
    });
    failed.collect()
}
