//! What a daemon does when it starts: finds every session, and settles those that are over.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sessile_journal::store::Stored;
use sessile_model::property::Properties;
use sessile_model::receipt::ClaimLevel;
use sessile_model::record::Usage;
use sessile_model::spec::Limits;
use sessile_model::{Phase, SessionId, SessionRecord, State, Timestamp};
use tokio::sync::oneshot;

use crate::daemon::Daemon;
use crate::follow::{Beginning, follow};
use crate::ledger::LedgerError;
use crate::{closing, spare};

/// How long the daemon waits for keepers before it answers its first request. Those that take
/// longer, because they are being replaced or wiped, are heard of when they are ready.
const PATIENCE: Duration = Duration::from_secs(3);

/// Finds sessions by their folders and by the journal, and follows each. Returns how many there
/// are.
///
/// # Errors
/// When the journal cannot be read or written.
pub async fn adopt(daemon: &Arc<Daemon>) -> Result<u32, LedgerError> {
    let mut known: BTreeMap<SessionId, Stored> = daemon
        .ledger
        .read(|store| store.not_closed())
        .await?
        .into_iter()
        .map(|session| (session.record.id, session))
        .collect();
    let ids = ids_in(&daemon.folders.runtime_sessions());
    let (spares, mut ids): (BTreeSet<SessionId>, BTreeSet<SessionId>) =
        ids.into_iter().partition(|&id| !known.contains_key(&id) && daemon.folders.spare_mark(id).exists());
    let running = ids.len();
    ids.extend(ids_in(&daemon.folders.state_sessions()));
    ids.retain(|id| !known.contains_key(id) && !spares.contains(id));
    for id in spares {
        let daemon = Arc::clone(daemon);
        tokio::spawn(async move { spare::remove(&daemon, id).await });
    }
    for id in ids {
        let session = match daemon.ledger.read(move |store| store.session(id)).await? {
            // Only its folders are left over, from a close that was cut short.
            Some(stored) if stored.record.state == State::Closed => {
                let daemon = Arc::clone(daemon);
                tokio::spawn(async move { closing::finish(&daemon, id).await });
                continue;
            }
            Some(stored) => stored,
            // Its keeper or its receipt tells the rest.
            None => Stored { record: blank(id), keep_record: false, slot: None },
        };
        let row = session.clone();
        daemon.ledger.write(move |store| store.put(&row)).await?;
        known.insert(id, session);
    }
    let mut settled = Vec::new();
    for (id, session) in known {
        // Stored records carry a name only when they are kept whole, so two cannot have one.
        if daemon.directory.enter(session).is_err() {
            daemon.notices.add(format!("session {} lost its name to another", id.short()));
            continue;
        }
        let (tell, told) = oneshot::channel();
        settled.push(told);
        tokio::spawn(follow(Arc::clone(daemon), id, Beginning::Found { settled: tell }));
    }
    // A sender that is dropped means that its session is closed: settled as well.
    let all = async {
        for told in settled {
            let _ = told.await;
        }
    };
    let _ = tokio::time::timeout(PATIENCE, all).await;
    Ok(u32::try_from(daemon.directory.len().min(running)).unwrap_or(u32::MAX))
}

/// The sessions that have a folder here. Whatever else is in it is left alone.
fn ids_in(folder: &Path) -> BTreeSet<SessionId> {
    let Ok(entries) = std::fs::read_dir(folder) else { return BTreeSet::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// The record of a session of which only the id is known; the id tells when it was made.
pub fn blank(id: SessionId) -> SessionRecord {
    let mut millis = [0u8; 8];
    millis[2..].copy_from_slice(&id.as_bytes()[..6]);
    let created_at = Timestamp::from_millis(i64::from_be_bytes(millis));
    SessionRecord {
        id,
        name: None,
        state: State::Bringup,
        phase: Phase::Creating,
        outcome: None,
        outcome_detail: None,
        user: None,
        channel: None,
        chat: None,
        labels: BTreeMap::new(),
        metadata: serde_json::Map::new(),
        created_at,
        last_activity: created_at,
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
