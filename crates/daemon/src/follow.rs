//! One task per live session: it hears the keeper, has a dead one replaced, and closes the
//! session at its end. It alone changes the session's entry.
//!
//! ```text
//!              link            EOF
//!  reach ───────────► listen ───────► reach
//!    │ a receipt, or      │ the receipt
//!    │ the anchor is gone ▼
//!    └──────────────► close
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sessile_journal::frame::Condition;
use sessile_journal::log;
use sessile_model::state::Component;
use sessile_model::wire::{Event, Reply, Request};
use sessile_model::{SessionId, SessionRecord, State};
use tokio::process::Child;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::account::Loss;
use crate::anchor_link::{self, Standing};
use crate::bell::Bell;
use crate::closing::{self, Ending};
use crate::daemon::Daemon;
use crate::keeper_link::{KeeperLink, LinkError, Said};
use crate::remnants;

/// Keepers that are started within [`WINDOW`]; the next waits until it is over, or the session is to be ended.
const RESPAWNS: usize = 5;
/// Failures to reach a keeper within [`WINDOW`] before the session is given up.
const FAILURES: usize = 20;
const WINDOW: Duration = Duration::from_secs(60);
/// How long a keeper may take to answer before its anchor is asked whether it still runs.
const FIRST_DOUBT: Duration = Duration::from_millis(100);
/// The same where one was just lost: it may hang up a moment before its anchor sees it dead.
const DOUBT_AFTER_LOSS: Duration = Duration::from_millis(2);
const LAST_DOUBT: Duration = Duration::from_secs(5);
/// How long a keeper whose socket was removed may take to put one back, or to finish a wipe. It
/// looks once a second, but may be busy.
const RETURN: Duration = Duration::from_secs(60);
/// How often a session that no socket leads to is looked at.
const FIRST_LOOK: Duration = Duration::from_millis(50);
const LAST_LOOK: Duration = Duration::from_secs(1);

/// How a follower begins.
#[derive(Debug)]
pub enum Beginning {
    /// With a link on which the keeper has just answered [`Request::Open`], and its anchor.
    Opened(KeeperLink, Box<Child>),
    /// By looking for what is left of the session, after a start of the daemon.
    Found {
        /// Told when the session's record is known or its end is settled.
        settled: oneshot::Sender<()>,
    },
}

enum Reached {
    Link(KeeperLink),
    Over(Ending),
}

/// Follows a session to its end.
pub async fn follow(daemon: Arc<Daemon>, id: SessionId, beginning: Beginning) {
    let mut was_reached = matches!(beginning, Beginning::Opened(..));
    let mut bell = Bell::new(&daemon.folders.state);
    let mut budgets = Budgets { respawns: Budget::of(RESPAWNS), failures: Budget::of(FAILURES) };
    let (mut link, anchor, mut settled) = match beginning {
        Beginning::Opened(link, anchor) => (subscribe(link).await, Some(*anchor), None),
        Beginning::Found { settled } => (None, None, Some(settled)),
    };
    loop {
        let reached = match link.take() {
            Some(link) => Reached::Link(link),
            None => reach(&daemon, id, was_reached, &mut budgets, &mut bell).await,
        };
        let ending = match reached {
            Reached::Link(mut found) => {
                was_reached = true;
                if let Some(settled) = settled.take() {
                    // The one who waits may have lost patience.
                    let _ = settled.send(());
                    look_at_log(&daemon, id);
                }
                listen(&daemon, id, &mut found, &mut bell).await
            }
            Reached::Over(ending) => Some(ending),
        };
        if let Some(ending) = ending {
            closing::close(&daemon, id, ending, anchor).await;
            return;
        }
    }
}

/// Takes note of what the keeper says until it has a receipt (`Some`) or is lost (`None`).
async fn listen(daemon: &Daemon, id: SessionId, link: &mut KeeperLink, bell: &mut Bell) -> Option<Ending> {
    bell.looks(false);
    loop {
        let said = tokio::select! {
            said = link.next() => said,
            () = bell.due() => {
                if link.send(&Request::Questions).await.is_err() {
                    return None;
                }
                bell.looks(true);
                continue;
            }
        };
        match said {
            Ok(Said::Event(_, Event::Record(record))) => note(daemon, id, *record),
            Ok(Said::Event(_, Event::Closed(receipt))) => {
                closing::await_silence(link).await;
                return Some(Ending::Receipt(*receipt));
            }
            Ok(Said::Event(_, Event::Asked { question, command })) => bell.ring(*question, command),
            Ok(Said::Reply(_, reply)) => {
                if let Reply::Record(record) = *reply {
                    note(daemon, id, *record);
                } else if let Reply::Questions(open) = *reply {
                    bell.tell_open(&open);
                }
            }
            Ok(Said::Event(
                _,
                Event::Exited { .. }
                | Event::Detached { .. }
                | Event::Notice { .. }
                | Event::Changed { .. }
                | Event::LetGo { .. }
                | Event::Leave
                | Event::More,
            )) => {}
            Err(_) => return None,
        }
    }
}

/// Takes a record over, into the directory at once and onto the disk behind it.
pub fn note(daemon: &Daemon, id: SessionId, record: SessionRecord) {
    if record.id != id {
        return;
    }
    let closed = record.state == State::Closed;
    for notice in &record.notices {
        daemon.tell_loss(format!("session {}: {notice}", id.short()));
    }
    if let Some(stored) = daemon.directory.update(record)
        // A closed record is written with its receipt, by the close.
        && !closed
    {
        // Nobody waits: what matters of it is also in the keeper's own log.
        drop(daemon.ledger.write(move |store| store.put(&stored)));
    }
}

/// Has the log of a session looked at that runs under a keeper of before: it only appends, and does
/// not see what others do to the file. One that has just been started said it in its record.
fn look_at_log(daemon: &Arc<Daemon>, id: SessionId) {
    let daemon = Arc::clone(daemon);
    tokio::spawn(async move {
        let folder = daemon.folders.state_of(id);
        let read = tokio::task::spawn_blocking(move || log::read::<serde::de::IgnoredAny>(&folder)).await;
        let runs = daemon.directory.record(id).is_some_and(|record| match record.state {
            State::Active | State::Paused => record.notices.is_empty(),
            State::Bringup | State::Ending | State::Failed | State::Closed => false,
        });
        let notice = match read {
            Ok(Ok((entries, Condition::Damaged { at }))) => {
                format!("the log is damaged from byte {at} on; {} entries can be read", entries.len())
            }
            Ok(Ok((entries, _))) if entries.is_empty() => "the log was emptied or removed".to_owned(),
            Ok(Ok(_)) | Err(_) => return,
            Ok(Err(error)) => error.to_string(),
        };
        if runs {
            daemon.tell_loss(format!("session {}: {notice}", id.short()));
            daemon.directory.notice(id, notice);
        }
    });
}

async fn subscribe(mut link: KeeperLink) -> Option<KeeperLink> {
    link.send(&Request::Show { follow: true }).await.ok()?;
    Some(link)
}

/// Finds the session's keeper, has one started where there is none, or finds that it is over.
async fn reach(
    daemon: &Daemon,
    id: SessionId,
    was_reached: bool,
    budgets: &mut Budgets,
    bell: &mut Bell,
) -> Reached {
    let anchor = daemon.folders.anchor_socket(id);
    let first_doubt = if was_reached { DOUBT_AFTER_LOSS } else { FIRST_DOUBT };
    let mut is_told = false;
    let mut hidden = Hidden { since: None, pause: FIRST_LOOK, ended: false };
    loop {
        if let Some(receipt) = closing::left_receipt(daemon, id) {
            return Reached::Over(Ending::Receipt(receipt));
        }
        if !daemon.folders.runtime_of(id).exists() {
            if hidden.goes_on(daemon, id).await {
                continue;
            }
            if closing::never_ran(daemon, id) {
                return Reached::Over(Ending::Never);
            }
            if was_reached || hidden.since.is_some() {
                return Reached::Over(lost(Component::Keeper, REMOVED));
            }
            return Reached::Over(lost(
                Component::Host,
                "the host stopped or restarted while the session ran",
            ));
        }
        let tried = match anchor_link::standing(anchor.clone()).await {
            Ok(Standing::KeeperRuns) => introduce(daemon, id, first_doubt, bell).await,
            Ok(Standing::KeeperDead) => {
                let now = Instant::now();
                if !budgets.respawns.spend(now) && !daemon.directory.takes_end(id) {
                    // The session and what was said in it are with its anchor: nothing is lost by waiting.
                    let until = budgets.respawns.room_at();
                    daemon.directory.awaits_keeper(id, until);
                    let wait = until.map_or(LAST_LOOK, |then| then - now);
                    if !std::mem::replace(&mut is_told, true) {
                        daemon.notices.add(format!(
                            "the keeper of session {} died {} times within a minute: the next one starts in {} s",
                            id.short(),
                            RESPAWNS + 1,
                            wait.as_secs() + 1
                        ));
                    }
                    tokio::time::sleep(wait.min(LAST_LOOK)).await;
                    continue;
                }
                daemon.directory.awaits_keeper(id, None);
                match anchor_link::start_keeper(anchor.clone(), &daemon.images.keeper).await {
                    Ok(()) => introduce(daemon, id, first_doubt, bell).await,
                    Err(_) => Err(LinkError::Lost),
                }
            }
            // Its keeper holds the other socket and may be about to wipe.
            Ok(Standing::Gone) => match introduce(daemon, id, first_doubt, bell).await {
                Err(LinkError::Nobody | LinkError::Lost) if closing::left_receipt(daemon, id).is_none() => {
                    if hidden.goes_on(daemon, id).await {
                        continue;
                    }
                    if hidden.since.is_some() {
                        return Reached::Over(lost(Component::Keeper, REMOVED));
                    }
                    if closing::never_ran(daemon, id) {
                        return Reached::Over(Ending::Never);
                    }
                    return Reached::Over(lost(Component::Anchor, "its anchor died, and its keeper with it"));
                }
                tried => tried,
            },
            Err(_) => Err(LinkError::Lost),
        };
        match tried {
            Ok(Introduced::Follows(link)) => return Reached::Link(link),
            Ok(Introduced::Unopened) if closing::never_ran(daemon, id) => {
                return Reached::Over(Ending::Never);
            }
            Ok(Introduced::Unopened) => {
                return Reached::Over(lost(Component::Keeper, "its keeper knows nothing of it"));
            }
            Ok(Introduced::Closed(receipt)) => return Reached::Over(Ending::Receipt(*receipt)),
            // Its keeper runs and puts a socket back, or is ended.
            Err(LinkError::Nobody) if hidden.goes_on(daemon, id).await => {}
            Err(_) if budgets.failures.spend(Instant::now()) => {
                tokio::time::sleep(Duration::from_millis(10)).await
            }
            Err(_) => return Reached::Over(lost(Component::Keeper, "its keeper cannot be reached")),
        }
    }
}

/// What happened to a session that is lost after it could not be reached.
const REMOVED: &str = "its sockets were removed while it ran, and its keeper ended without putting one back";

/// A session that runs but that no socket leads to: somebody removed them. Its keeper puts its own
/// back where it can.
struct Hidden {
    since: Option<Instant>,
    pause: Duration,
    ended: bool,
}

impl Hidden {
    /// Gives the keeper its time, then ends what still runs. False when there is nothing of it.
    async fn goes_on(&mut self, daemon: &Daemon, id: SessionId) -> bool {
        if self.ended || !remnants::are_left(&daemon.folders, id).await {
            return false;
        }
        if self.since.get_or_insert_with(Instant::now).elapsed() < RETURN {
            tokio::time::sleep(self.pause).await;
            self.pause = (self.pause * 2).min(LAST_LOOK);
        } else {
            remnants::end(&daemon.folders, id).await;
            self.ended = true;
        }
        true
    }
}

enum Introduced {
    Follows(KeeperLink),
    Unopened,
    Closed(Box<sessile_model::receipt::SignedReceipt>),
}

/// Connects and asks for the record, now and whenever it changes. A connection can also be
/// waiting for a keeper that is already dead: whenever the answer takes long, the anchor is
/// asked.
async fn introduce(
    daemon: &Daemon,
    id: SessionId,
    first_doubt: Duration,
    bell: &mut Bell,
) -> Result<Introduced, LinkError> {
    let mut link = KeeperLink::open(&daemon.folders.keeper_socket(id), daemon.version).await?;
    link.send(&Request::Show { follow: true }).await?;
    let mut doubt = first_doubt;
    loop {
        let said = match timeout(doubt, link.next()).await {
            Ok(said) => said?,
            Err(_) => {
                if let Ok(Standing::KeeperDead) =
                    anchor_link::standing(daemon.folders.anchor_socket(id)).await
                {
                    return Err(LinkError::Lost);
                }
                doubt = (doubt * 2).min(LAST_DOUBT);
                continue;
            }
        };
        match said {
            Said::Reply(_, reply) => match *reply {
                Reply::Record(record) => {
                    note(daemon, id, *record);
                    return Ok(Introduced::Follows(link));
                }
                Reply::Problem(_)
                | Reply::Done
                | Reply::Attached { .. }
                | Reply::HandedOver { .. }
                | Reply::ReadsTyped { .. }
                | Reply::Screen(_)
                | Reply::Commands(_)
                | Reply::Typed(_)
                | Reply::Recorded(_)
                | Reply::Output(_)
                | Reply::Started(_)
                | Reply::Waited(_)
                | Reply::Receipt(_)
                | Reply::Exported(_)
                | Reply::Changes(_)
                | Reply::Questions(_)
                | Reply::Traffic(_)
                | Reply::Cookies(_)
                | Reply::Said(_)
                | Reply::Heard(_)
                | Reply::Offers(_)
                | Reply::Stands(_)
                | Reply::TalkClosed(_)
                | Reply::Delegated(_)
                | Reply::Published(_)
                | Reply::Applied(_) => return Ok(Introduced::Unopened),
            },
            Said::Event(_, Event::Record(record)) => note(daemon, id, *record),
            Said::Event(_, Event::Asked { question, command }) => bell.ring(*question, command),
            Said::Event(_, Event::Closed(receipt)) => {
                closing::await_silence(&mut link).await;
                return Ok(Introduced::Closed(receipt));
            }
            Said::Event(
                _,
                Event::Exited { .. }
                | Event::Detached { .. }
                | Event::Notice { .. }
                | Event::Changed { .. }
                | Event::LetGo { .. }
                | Event::Leave
                | Event::More,
            ) => {}
        }
    }
}

fn lost(component: Component, cause: &str) -> Ending {
    Ending::Lost(Loss { component, cause: cause.to_owned() })
}

struct Budgets {
    respawns: Budget,
    failures: Budget,
}

/// At most so many in a [`WINDOW`].
#[derive(Debug)]
pub struct Budget {
    most: usize,
    spent: VecDeque<Instant>,
}

impl Budget {
    /// So many.
    pub fn of(most: usize) -> Self {
        Self { most, spent: VecDeque::new() }
    }

    /// From when on there is one, where there is none now.
    pub fn room_at(&self) -> Option<Instant> {
        self.spent.front().filter(|_| self.spent.len() >= self.most).map(|&then| then + WINDOW)
    }

    /// Takes one; false when there is none left.
    pub fn spend(&mut self, now: Instant) -> bool {
        while self.spent.front().is_some_and(|&then| now.duration_since(then) >= WINDOW) {
            self.spent.pop_front();
        }
        let allowed = self.spent.len() < self.most;
        if allowed {
            self.spent.push_back(now);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_keepers_a_minute_and_no_more() {
        let mut budget = Budget::of(RESPAWNS);
        let start = Instant::now();
        let mut allowed = |seconds| budget.spend(start + Duration::from_secs(seconds));
        assert!((0..5).all(&mut allowed));
        assert!(!allowed(59));
        assert!(allowed(60));
        assert!(!allowed(60));
    }
}
