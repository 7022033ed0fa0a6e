//! The sessions that are not closed, as last heard of.
//!
//! One lock, held for a lookup or a replacement and never across anything that waits. The
//! session's follower (see [`crate::follow`]) is the only one that changes or removes its entry.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use sessile_journal::store::{Query, Stored};
use sessile_model::quantity::Millis;
use sessile_model::{SessionId, SessionName, SessionRecord, State};
use thiserror::Error;
use tokio::sync::watch;

/// Finds live sessions; clones share their content.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    live: Arc<Mutex<BTreeMap<SessionId, Live>>>,
    /// The slot of a session to come.
    held: Arc<Mutex<Option<u32>>>,
}

#[derive(Debug)]
struct Live {
    record: SessionRecord,
    keep_record: bool,
    slot: Option<u32>,
    /// What this daemon found that its keeper does not know.
    notices: Vec<String>,
    /// When its next keeper starts, where keepers died too often.
    next_keeper: Option<Instant>,
    /// It is to be ended: its next keeper is not waited for.
    ends: bool,
    /// Dropped with the entry, which wakes whoever waits for the session to be gone. True when
    /// only the journal has no room for it.
    gone: watch::Sender<bool>,
}

/// Wakes when a session has left the directory, or all of it but its record has.
#[derive(Clone, Debug)]
pub struct Gone(watch::Receiver<bool>);

impl Gone {
    /// Waits until it has.
    pub async fn wait(mut self) {
        // The sender's end is the usual way.
        let _ = self.0.wait_for(|lingers| *lingers).await;
    }
}

/// The name is another live session's.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the name is taken")]
pub struct Taken;

/// What a word means among live sessions.
#[derive(Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Nothing.
    None,
    /// This session.
    One(SessionId),
    /// Several sessions begin with it: their names, or short ids where there is none.
    Several(Vec<String>),
}

impl Directory {
    /// Enters a session.
    ///
    /// # Errors
    /// When another one has its name.
    pub fn enter(&self, session: Stored) -> Result<(), Taken> {
        let mut live = self.lock();
        let id = session.record.id;
        if let Some(name) = &session.record.name
            && live.values().any(|l| l.record.id != id && l.record.name.as_ref() == Some(name))
        {
            return Err(Taken);
        }
        let Stored { record, keep_record, slot } = session;
        live.insert(
            id,
            Live {
                record,
                keep_record,
                slot,
                notices: Vec::new(),
                next_keeper: None,
                ends: false,
                gone: watch::Sender::new(false),
            },
        );
        Ok(())
    }

    /// Replaces a session's record by a newer one, as it may be stored. `None` when nothing that
    /// is worth storing has changed, or the session is not there.
    pub fn update(&self, record: SessionRecord) -> Option<Stored> {
        let mut live = self.lock();
        let entry = live.get_mut(&record.id)?;
        let changed = lasting(&record) != lasting(&entry.record);
        entry.record = record;
        changed.then(|| entry.stored())
    }

    /// Says that nothing is left of a session but its record, for which the journal has no room.
    pub fn linger(&self, id: SessionId) {
        if let Some(live) = self.lock().get(&id) {
            live.gone.send_replace(true);
        }
    }

    /// Adds what a user should know of a session.
    pub fn notice(&self, id: SessionId, notice: String) {
        if let Some(live) = self.lock().get_mut(&id) {
            live.notices.push(notice);
        }
    }

    /// Says when a session's next keeper starts, where that takes long.
    pub fn awaits_keeper(&self, id: SessionId, until: Option<Instant>) {
        if let Some(live) = self.lock().get_mut(&id) {
            live.next_keeper = until;
        }
    }

    /// Says that somebody wants a session ended.
    pub fn is_to_end(&self, id: SessionId) {
        if let Some(live) = self.lock().get_mut(&id) {
            live.ends = true;
        }
    }

    /// Whether somebody wants a session ended, each time that is said.
    pub fn takes_end(&self, id: SessionId) -> bool {
        self.lock().get_mut(&id).is_some_and(|live| std::mem::take(&mut live.ends))
    }

    /// How long until a session's next keeper starts, where that takes long, in whole seconds.
    pub fn keeper_starts_in(&self, id: SessionId) -> Option<Millis> {
        let left = self.lock().get(&id)?.next_keeper?.saturating_duration_since(Instant::now());
        Some(Millis(left.as_secs().saturating_add(1).saturating_mul(1_000)))
    }

    /// Takes a session out.
    pub fn remove(&self, id: SessionId) {
        self.lock().remove(&id);
    }

    /// A session's record.
    pub fn record(&self, id: SessionId) -> Option<SessionRecord> {
        self.lock().get(&id).map(Live::shown)
    }

    /// Whether the session is here still, but closed.
    pub fn is_closed(&self, id: SessionId) -> bool {
        self.lock().get(&id).is_some_and(|l| l.record.state == State::Closed)
    }

    /// A session with its whole record.
    pub fn whole(&self, id: SessionId) -> Option<Stored> {
        self.lock().get(&id).map(|l| Stored { record: l.shown(), keep_record: l.keep_record, slot: l.slot })
    }

    /// Something that wakes when the session is gone; `None` when it is already.
    pub fn gone(&self, id: SessionId) -> Option<Gone> {
        self.lock().get(&id).map(|l| Gone(l.gone.subscribe()))
    }

    /// Whether a live session has this name.
    pub fn has_name(&self, name: &SessionName) -> bool {
        self.lock().values().any(|l| l.record.name.as_ref() == Some(name))
    }

    /// Whether a live session has this slot, or the one to come.
    pub fn has_slot(&self, slot: u32) -> bool {
        *self.held() == Some(slot) || self.lock().values().any(|l| l.slot == Some(slot))
    }

    /// Holds a slot for a session to come; `None` holds none.
    pub fn hold_slot(&self, slot: Option<u32>) {
        *self.held() = slot;
    }

    fn held(&self) -> MutexGuard<'_, Option<u32>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ids of all.
    pub fn ids(&self) -> Vec<SessionId> {
        self.lock().keys().copied().collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Records that match, newest first.
    pub fn find(&self, query: &Query) -> Vec<SessionRecord> {
        let live = self.lock();
        live.values().rev().filter(|l| query.matches(&l.record)).map(Live::shown).collect()
    }

    /// What a word means: a whole name or id, a short id, or the beginning of one of them.
    pub fn resolve(&self, word: &str) -> Meaning {
        let live = self.lock();
        let name_is = |l: &&Live| l.record.name.as_ref().is_some_and(|n| n.as_str() == word);
        if let Some(found) = live.values().find(name_is) {
            return Meaning::One(found.record.id);
        }
        let short: Vec<&Live> =
            live.values().filter(|l| word.len() >= 4 && l.record.id.short().starts_with(word)).collect();
        let begins = |l: &&Live| {
            l.record.id.to_string().starts_with(word)
                || l.record.name.as_ref().is_some_and(|n| n.as_str().starts_with(word))
        };
        let found = if short.is_empty() { live.values().filter(begins).collect() } else { short };
        match found.as_slice() {
            [] => Meaning::None,
            [one] => Meaning::One(one.record.id),
            several => Meaning::Several(several.iter().map(|l| title(&l.record)).collect()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SessionId, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    fn shown(&self) -> SessionRecord {
        let mut record = self.record.clone();
        record.notices.extend(self.notices.iter().cloned());
        record
    }

    fn stored(&self) -> Stored {
        storable(self.record.clone(), self.keep_record, self.slot)
    }
}

/// A session as it may be stored. What must not outlive it never reaches the disk: while it
/// lives, its keeper knows it, and a new daemon asks there.
pub fn storable(record: SessionRecord, keep_record: bool, slot: Option<u32>) -> Stored {
    let record = if keep_record { record } else { record.reduced() };
    Stored { record, keep_record, slot }
}

/// A session's name, or its short id.
pub fn title(record: &SessionRecord) -> String {
    record.name.as_ref().map_or_else(|| record.id.short(), ToString::to_string)
}

/// What of a record is worth a sync: not the figures that change with every keystroke.
fn lasting(record: &SessionRecord) -> impl PartialEq + '_ {
    let exits: Vec<_> = record.apps.iter().map(|a| (&a.name, a.exit.as_ref())).collect();
    (record.state, &record.outcome, &record.name, &record.labels, &record.grants, exits, &record.notices)
}

#[cfg(test)]
pub(crate) mod tests {
    use sessile_model::receipt::ClaimLevel;
    use sessile_model::record::Usage;
    use sessile_model::spec::Limits;
    use sessile_model::{Phase, Properties, Timestamp};

    use super::*;

    pub(crate) fn record(n: u8, name: Option<&str>, state: State) -> SessionRecord {
        SessionRecord {
            id: SessionId::new(Timestamp::from_millis(i64::from(n) << 40), [n; 10]),
            name: name.map(|n| n.parse().unwrap()),
            state,
            phase: Phase::Active,
            outcome: None,
            outcome_detail: None,
            user: None,
            channel: None,
            chat: None,
            labels: BTreeMap::new(),
            metadata: serde_json::Map::new(),
            created_at: Timestamp::from_millis(i64::from(n)),
            last_activity: Timestamp::from_millis(0),
            ended_at: None,
            apps: Vec::new(),
            clients: 0,
            attached: Vec::new(),
            size: Default::default(),
            grants: Vec::new(),
            protocol: None,
            guard: None,
            properties: Properties::default(),
            claim_level: ClaimLevel::L1,
            limits: Limits::default(),
            usage: Usage::default(),
            notices: Vec::new(),
        }
    }

    fn directory(names: &[&str]) -> Directory {
        let directory = Directory::default();
        for (n, name) in (1..).zip(names) {
            let record = record(n, Some(name), State::Active);
            directory.enter(Stored { record, keep_record: false, slot: None }).unwrap();
        }
        directory
    }

    #[test]
    fn words_mean_sessions() {
        let d = directory(&["fox", "foxtrot", "hen"]);
        let id = |n| record(n, None, State::Active).id;
        assert_eq!(d.resolve("fox"), Meaning::One(id(1)));
        assert_eq!(d.resolve("foxt"), Meaning::One(id(2)));
        assert_eq!(d.resolve("fo"), Meaning::Several(vec!["fox".into(), "foxtrot".into()]));
        assert_eq!(d.resolve(&id(3).to_string()), Meaning::One(id(3)));
        assert_eq!(d.resolve(&id(3).short()), Meaning::One(id(3)));
        assert_eq!(d.resolve("owl"), Meaning::None);
    }

    #[test]
    fn a_name_is_one_live_sessions() {
        let d = directory(&["fox"]);
        let second =
            || Stored { record: record(2, Some("fox"), State::Active), keep_record: false, slot: None };
        assert_eq!(d.enter(second()), Err(Taken));
        d.remove(record(1, None, State::Active).id);
        assert_eq!(d.enter(second()), Ok(()));
    }

    #[test]
    fn only_lasting_changes_are_stored_and_without_what_must_not_last() {
        let d = directory(&["fox"]);
        let mut newer = record(1, Some("fox"), State::Active);
        newer.clients = 3;
        assert_eq!(d.update(newer.clone()), None);
        assert_eq!(d.record(newer.id).unwrap().clients, 3);
        newer.state = State::Paused;
        let stored = d.update(newer.clone()).unwrap();
        assert_eq!((stored.record.state, stored.record.name), (State::Paused, None));
    }

    #[tokio::test]
    async fn waiters_wake_when_a_session_is_gone() {
        let d = directory(&["fox"]);
        let id = record(1, None, State::Active).id;
        let gone = d.gone(id).unwrap();
        let waiter = tokio::spawn(gone.wait());
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        d.remove(id);
        waiter.await.unwrap();
        assert!(d.gone(id).is_none());
        let d = directory(&["fox"]);
        let gone = d.gone(id).unwrap();
        d.linger(id);
        gone.wait().await;
        d.gone(id).unwrap().wait().await;
    }
}
