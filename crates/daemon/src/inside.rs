//! Passing requests about a session's inside on to its keeper.

use std::time::{Duration, Instant};

use sessile_model::quantity::Millis;
use sessile_model::receipt::SignedReceipt;
use sessile_model::record::SessionRecord;
use sessile_model::wire::{Reply, Request};
use sessile_model::{Problem, ProblemKind, SessionId, State};
use tokio::time::timeout;

use crate::anchor_link;
use crate::closing;
use crate::daemon::{Daemon, Found, ledger_problem, link_problem};
use crate::keeper_link::{KeeperLink, LinkError};
use crate::{rehearsal, remnants};

/// How long a keeper may take for what needs no waiting.
const PROMPT: Duration = Duration::from_secs(30);
/// How long it may take where another keeper has to start first: five start within a minute.
const NEXT_KEEPER: Duration = Duration::from_secs(75);
/// How long it may take to say what is not worth waiting for.
const AT_ONCE: Duration = Duration::from_millis(500);
/// How long a session may take to end beyond its grace before its keeper is looked at.
const SILENCE: Duration = Duration::from_secs(15);
/// Time that apps get to save when the request names none.
const DEFAULT_GRACE: Duration = Duration::from_secs(10);
/// How long what is left of a session that was wiped or lost may take to go away.
const REMOVAL: Duration = Duration::from_secs(20);
/// How often in a row a keeper is seen stopped before nobody waits for it.
const SEEN_STOPPED: u32 = 4;
/// How often it is looked at, first and at last.
const LOOKS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(64)];
/// How often something that may be asked twice is asked.
const TRIES: u32 = 5;
/// How long a keeper whose socket was removed may take to put one back; it looks once a second.
const RETURN: Duration = Duration::from_secs(5);
/// How often its socket is looked for meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Asks the keeper of a live session and returns its answer. A keeper that dies meanwhile is
/// asked again, once it is replaced, where asking twice does no harm; one whose socket was removed
/// is asked once it has put one back.
///
/// # Errors
/// What the keeper refuses, and `Failed` when it cannot be reached.
pub async fn ask(daemon: &Daemon, id: SessionId, request: Request) -> Result<Reply, Problem> {
    told(daemon, answer(daemon, id, &request).await, id)
}

fn told(daemon: &Daemon, answer: Result<Reply, Unanswered>, id: SessionId) -> Result<Reply, Problem> {
    match answer {
        Ok(Reply::Problem(problem)) => Err(problem),
        Ok(reply) => Ok(reply),
        Err(Unanswered::Late(waited, repeatable)) => {
            Err(late(waited, daemon.directory.keeper_starts_in(id), repeatable))
        }
        Err(Unanswered::Stopped(pid, later)) => Err(is_stopped(pid, id, later)),
        Err(Unanswered::Hidden) => Err(hidden(id)),
        Err(Unanswered::Link(e)) => Err(link_problem(&e)),
    }
}

/// Why a keeper did not answer.
enum Unanswered {
    /// It was asked and said nothing for so long; and whether asking again does no harm.
    Late(Duration, bool),
    /// It was asked, and is stopped by a signal: the process id, and whether it does what it was asked once it
    /// goes on.
    Stopped(i32, bool),
    /// No socket leads to it.
    Hidden,
    /// The connection failed.
    Link(LinkError),
}

async fn answer(daemon: &Daemon, id: SessionId, request: &Request) -> Result<Reply, Unanswered> {
    let nature = nature(request);
    let began = Instant::now();
    let mut tries = 0;
    let mut hidden_since = None;
    loop {
        let left = after(request, began.elapsed());
        let asked = once(daemon, id, left.as_ref().unwrap_or(request));
        let patience = async {
            match nature.patience {
                Some(patience) => tokio::time::sleep(patience).await,
                None => std::future::pending().await,
            }
        };
        let answer = tokio::select! {
            answer = asked => answer,
            () = patience => return Err(Unanswered::Late(began.elapsed(), nature.repeatable)),
            // What may have been done already is waited for.
            pid = stopped(daemon, id), if nature.patience.is_some() || nature.repeatable => {
                return Err(Unanswered::Stopped(pid, is_done_later(request)));
            }
        };
        tries += 1;
        match answer {
            Ok(reply) => return Ok(reply),
            Err(LinkError::Lost)
                if nature.repeatable && tries < TRIES && daemon.directory.gone(id).is_some() => {}
            // Nothing was asked yet. A session that ends removes its socket itself.
            Err(LinkError::Nobody) if runs(daemon, id) => {
                if hidden_since.get_or_insert_with(Instant::now).elapsed() > RETURN {
                    return Err(Unanswered::Hidden);
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Err(e) => return Err(Unanswered::Link(e)),
        }
    }
}

/// The process id of a session's keeper once that has been stopped for some seconds.
async fn stopped(daemon: &Daemon, id: SessionId) -> i32 {
    if rehearsal::keepers_stop() {
        return std::future::pending().await;
    }
    let (mut pause, mut seen) = (LOOKS[0], 0);
    loop {
        tokio::time::sleep(pause).await;
        match remnants::stopped_keeper(&daemon.folders, id).await {
            Some(pid) => {
                seen += 1;
                pause = LOOKS[0];
                if seen == SEEN_STOPPED {
                    return pid;
                }
            }
            // Most requests that take long do so by design: they are not to cost anything.
            None => {
                seen = 0;
                pause = LOOKS[1].min(pause * 2);
            }
        }
    }
}

/// Whether a session is one that clients are to find.
fn runs(daemon: &Daemon, id: SessionId) -> bool {
    daemon.directory.record(id).is_some_and(|record| match record.state {
        State::Active | State::Paused => true,
        State::Bringup | State::Ending | State::Failed | State::Closed => false,
    })
}

/// A session's record as its keeper has it now, measured; `None` when it does not answer at once. What
/// changes all the time, such as what was typed, is in no record that was told before.
pub async fn measured(daemon: &Daemon, id: SessionId) -> Option<Box<SessionRecord>> {
    if !runs(daemon, id) {
        return None;
    }
    match timeout(AT_ONCE, once(daemon, id, &Request::Show { follow: false })).await {
        Ok(Ok(Reply::Record(record))) => Some(record),
        Ok(Ok(_) | Err(_)) | Err(_) => None,
    }
}

/// Waits until a session's socket is where a client looks for it.
///
/// # Errors
/// `Failed` when it was removed and its keeper does not put one back.
pub async fn findable(daemon: &Daemon, id: SessionId) -> Result<(), Problem> {
    if daemon.folders.keeper_socket(id).exists() {
        return Ok(());
    }
    ask(daemon, id, Request::Show { follow: false }).await.map(drop)
}

/// Ends a session, or finds that it has ended, and returns its receipt once nothing is left of it.
///
/// # Errors
/// What the keeper refuses, and `Failed` when there is no receipt.
pub async fn end(daemon: &Daemon, found: Found, request: Request) -> Result<SignedReceipt, Problem> {
    let id = match found {
        Found::Live(id) => id,
        Found::Closed(id) => return receipt(daemon, id).await,
    };
    let Some(gone) = daemon.directory.gone(id) else { return receipt(daemon, id).await };
    daemon.directory.is_to_end(id);
    let asked = if let Request::End { grace, .. } = &request { *grace } else { None };
    let grace = asked.map_or(DEFAULT_GRACE, sessile_model::Millis::as_duration);
    let mut forced = false;
    let answered = loop {
        tokio::select! {
            answer = answer(daemon, id, &request) => match answer {
                Err(Unanswered::Hidden | Unanswered::Stopped(..)) if !forced => {}
                answer => break Some(told(daemon, answer, id)),
            },
            () = gone.clone().wait() => break None,
            // A wipe that goes on tells the record; a keeper that is stopped tells nothing.
            () = silence(daemon, id, grace) => {}
        }
        // Its follower has another keeper started, or closes the session as lost.
        let first = !std::mem::replace(&mut forced, true);
        if anchor_link::kill_keeper(daemon.folders.anchor_socket(id)).await.is_err()
            && !(first && remnants::kill_keeper(&daemon.folders, id).await)
        {
            remnants::end(&daemon.folders, id).await;
            break None;
        }
    };
    match answered {
        // The keeper is past answering; its follower finds out how it ended.
        Some(Err(problem)) if !matches!(problem.kind, ProblemKind::Failed | ProblemKind::Conflict) => {
            return Err(problem);
        }
        Some(_) | None => drop(timeout(REMOVAL, gone.wait()).await),
    }
    match (receipt(daemon, id).await, answered) {
        (Ok(receipt), _) | (Err(_), Some(Ok(Reply::Receipt(receipt)))) => Ok(receipt),
        (Err(_), Some(Err(problem))) | (Err(problem), _) => Err(problem),
    }
}

/// Returns when a keeper that was asked to end its session has had its time and does not even say
/// how it is.
async fn silence(daemon: &Daemon, id: SessionId, grace: Duration) {
    let silence = rehearsal::silence(SILENCE);
    tokio::time::sleep(grace + silence).await;
    while let Ok(Ok(_)) = timeout(silence * 2, once(daemon, id, &Request::Show { follow: false })).await {
        tokio::time::sleep(silence).await;
    }
}

/// A closed session's receipt.
///
/// # Errors
/// `NotFound` when there is none.
pub async fn receipt(daemon: &Daemon, id: SessionId) -> Result<SignedReceipt, Problem> {
    let found = daemon.ledger.read(move |store| store.receipt(id)).await.map_err(ledger_problem)?;
    // Its keeper's, while the journal has no room for it.
    let found = found.or_else(|| closing::left_receipt(daemon, id));
    found.ok_or_else(|| Problem::new(ProblemKind::NotFound, "there is no receipt of this session"))
}

struct Nature {
    /// How long an answer may take.
    patience: Option<Duration>,
    /// Asking twice is the same as asking once.
    repeatable: bool,
}

fn nature(request: &Request) -> Nature {
    let (prompt, repeatable) = match request {
        // Where keepers died again and again, the next one may be long in coming; what was said is kept.
        Request::Offered { .. } | Request::Take(_) | Request::Stand(_) => {
            return Nature { patience: Some(NEXT_KEEPER), repeatable: true };
        }
        Request::Show { .. } | Request::Screen { .. } | Request::Output { .. } => (true, true),
        Request::Commands { .. } => (true, true),
        Request::Questions | Request::Traffic | Request::Cookies => (true, true),
        Request::Answer { .. } | Request::Publish(_) | Request::KeepCookies(_) => (true, false),
        Request::NewIdentity | Request::Record(_) | Request::ResetRisk(_) => (true, false),
        Request::Diff | Request::Recorded { .. } => (false, true),
        // What is closed stays closed; what was handed over would be refused the second time.
        Request::CloseTalk(_) => (true, true),
        Request::Delegate(_) => (true, false),
        // With its token a line is said once, however often it is asked for.
        Request::Say(_) | Request::Hear(_) => (false, true),
        Request::Pause | Request::Resume | Request::Resize(_) => (true, true),
        Request::End { .. } | Request::Collect | Request::Wait(_) => (false, true),
        Request::Input(_) | Request::Exec(_) | Request::Signal { .. } | Request::CloseInput => (true, false),
        Request::Export(_) | Request::Apply(_) | Request::Open(_) => (false, false),
        Request::Attach(_) | Request::Detach => (true, false),
        Request::HandOver(_) | Request::ReadTyped(_) | Request::LetGo | Request::Tell { .. } => (true, false),
    };
    Nature { patience: prompt.then_some(PROMPT), repeatable }
}

/// The request with what is left of its time, where it has one.
fn after(request: &Request, waited: Duration) -> Option<Request> {
    if let Request::Say(say) = request {
        return Some(Request::Say(say.after(waited)));
    }
    if let Request::Hear(hear) = request {
        return Some(Request::Hear(hear.after(waited)));
    }
    if let Request::Wait(wait) = request { Some(Request::Wait(wait.after(waited))) } else { None }
}

/// Whether a keeper does it also if nobody waits for the answer any more.
fn is_done_later(request: &Request) -> bool {
    !matches!(
        request,
        Request::Say(_)
            | Request::Hear(_)
            | Request::Wait(_)
            | Request::Show { .. }
            | Request::Screen { .. }
            | Request::Output { .. }
            | Request::Commands { .. }
            | Request::Questions
            | Request::Traffic
            | Request::Cookies
            | Request::Diff
            | Request::Recorded { .. }
            | Request::Offered { .. }
            | Request::Stand(_)
    )
}

async fn once(daemon: &Daemon, id: SessionId, request: &Request) -> Result<Reply, LinkError> {
    let mut link = KeeperLink::open(&daemon.folders.keeper_socket(id), daemon.version).await?;
    link.ask(request).await
}

fn late(waited: Duration, starts_in: Option<Millis>, repeatable: bool) -> Problem {
    let detail = match starts_in {
        Some(time) => {
            format!("the session's keeper died too often within a minute: the next one starts in {time}")
        }
        None => format!("the session's keeper did not answer in {} s", waited.as_secs()),
    };
    Problem::new(ProblemKind::Timeout, detail).hint(match repeatable {
        true => "nothing is lost by asking again",
        false => "look at the session, then decide whether to ask again",
    })
}

fn is_stopped(pid: i32, id: SessionId, later: bool) -> Problem {
    let then = if later { ", and then does what it was asked" } else { "" };
    Problem::new(ProblemKind::Timeout, format!("the session's keeper, process {pid}, is stopped by a signal"))
        .hint(format!(
            "`kill -CONT {pid}` lets it go on{then}; `sessile end {}` ends and wipes the session",
            id.short()
        ))
}

fn hidden(id: SessionId) -> Problem {
    Problem::new(
        ProblemKind::Failed,
        "the session's socket was removed, and its keeper did not put one back; the session runs on",
    )
    .hint(format!("`sessile end {}` ends and wipes it all the same", id.short()))
}
