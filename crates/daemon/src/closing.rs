//! The end of a session as the daemon sees it: its receipt, log and record go into the database,
//! then what it left in the runtime and state folders goes away.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::Duration;

use sessile_journal::audit::{self, Audit};
use sessile_journal::frame::{Condition, PREAMBLE_LEN};
use sessile_journal::log;
use sessile_journal::store::{StoreError, Stored, StoredEntry};
use sessile_model::guarding::{AuditEntry, Numbered};
use sessile_model::protocol::ProtocolStatus;
use sessile_model::receipt::{Receipt, SignedReceipt};
use sessile_model::{Phase, SessionId, SessionRecord, State};
use sessile_sandbox::cgroup::Cgroup;
use sessile_sandbox::files::places;
use tokio::process::Child;
use tokio::time::timeout;

use crate::account::{self, Loss, Remains, Told};
use crate::anchor_link;
use crate::daemon::{Daemon, now};
use crate::directory::storable;
use crate::keeper_link::KeeperLink;
use crate::ledger::LedgerError;
use crate::{launch, remnants};

/// A keeper's receipt in its session's state folder.
pub const RECEIPT: &str = "receipt.json";
/// Largest receipt that is read, in bytes.
const MAX_RECEIPT: u64 = 16 << 20;
/// How long processes of a wiped session may take to end.
const PATIENCE: Duration = Duration::from_secs(5);
/// What is said of an app whose end nobody saw.
const UNSEEN: &str = "how it ended is not known: it died with the processes that watched it";
/// How often a journal on a full disk is tried.
const NO_ROOM: Duration = Duration::from_secs(1);

/// How a session ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// Its keeper wiped it.
    Receipt(SignedReceipt),
    /// It was lost; the daemon accounts for it.
    Lost(Loss),
    /// It never came to be, and nobody was told that it had.
    Never,
}

/// Closes a session: everything about it is on the disk before it leaves the directory.
pub async fn close(daemon: &Daemon, id: SessionId, ending: Ending, anchor: Option<Child>) {
    let Some(session) = daemon.directory.whole(id) else { return };
    let began = now();
    let remains = clear_runtime(daemon, id, &ending, anchor).await;
    if let Err(why) = &remains.removed {
        daemon
            .notices
            .add(format!("the runtime folder of session {} could not be removed: {why}", id.short()));
    }
    let entries = match &ending {
        Ending::Receipt(_) | Ending::Lost(_) => entries_of(daemon, id),
        Ending::Never => Vec::new(),
    };
    let signed = match ending {
        Ending::Receipt(signed) => signed,
        Ending::Lost(loss) => {
            let told = Told::by(&entries);
            let guard = audit_of(daemon, id).as_ref().map(account::guard_of);
            let (record, version) = (&session.record, daemon.version);
            let receipt = account::receipt_of(record, &loss, (&told, guard), &remains, began, now(), version);
            daemon.key.sign(&receipt)
        }
        Ending::Never => {
            forget(daemon, id).await;
            return;
        }
    };
    let record = closed(session.record, receipt_in(&signed).as_ref());
    let stored = storable(record.clone(), session.keep_record, None);
    // What its keeper could not tell any more; here it is the same as in the journal to come.
    daemon.directory.update(record);
    match write_down(daemon, id, &entries, &signed, &stored).await {
        Ok(()) => remove_state(daemon, id),
        // The receipt and the log stay where they are; the next start takes them in.
        Err(e) => daemon.notices.add(format!("session {} is closed but not in the journal: {e}", id.short())),
    }
    daemon.directory.remove(id);
}

/// Takes a closed session into the journal. While the disk is full it waits for room: until then
/// the directory knows the session as closed, and its receipt is in its state folder.
async fn write_down(
    daemon: &Daemon,
    id: SessionId,
    entries: &[StoredEntry],
    signed: &SignedReceipt,
    stored: &Stored,
) -> Result<(), LedgerError> {
    let mut is_told = false;
    loop {
        let (entries, signed, stored) = (entries.to_vec(), signed.clone(), stored.clone());
        let written = daemon.ledger.write(move |store| {
            store.ingest(id, &entries)?;
            store.put_receipt(id, &signed)?;
            // Last: whoever finds the record closed takes the rest to be there.
            store.put(&stored)
        });
        match written.await {
            Err(LedgerError::Store(StoreError::DiskFull)) => {
                if !std::mem::replace(&mut is_told, true) {
                    let what =
                        format!("session {} is closed, but the disk of the journal is full", id.short());
                    daemon.notices.add(format!("{what}: free some space in the state folder"));
                    daemon.directory.linger(id);
                }
                tokio::time::sleep(NO_ROOM).await;
            }
            written => return written,
        }
    }
}

/// Removes what a close that was cut short left of a session that is closed in the journal.
pub async fn finish(daemon: &Daemon, id: SessionId) {
    let remains = clear_runtime(daemon, id, &Ending::Never, None).await;
    match remains.removed {
        Ok(_) => remove_state(daemon, id),
        Err(why) => daemon
            .notices
            .add(format!("the runtime folder of closed session {} could not be removed: {why}", id.short())),
    }
}

/// Whether a session that is still being opened has not begun: its log has no entry.
pub fn never_ran(daemon: &Daemon, id: SessionId) -> bool {
    let opening = daemon.directory.record(id).is_none_or(|record| record.state == State::Bringup);
    let log = std::fs::metadata(daemon.folders.state_of(id).join(log::FILE_NAME));
    opening && log.map_or(true, |log| log.len() <= PREAMBLE_LEN as u64)
}

async fn forget(daemon: &Daemon, id: SessionId) {
    if let Err(e) = daemon.ledger.write(move |store| store.forget(id)).await {
        daemon.notices.add(format!("session {} was not opened but is still in the journal: {e}", id.short()));
    }
    remove_state(daemon, id);
    daemon.directory.remove(id);
}

/// What a lost session's guard has decided, where that is whole. What was held was not done: that is added.
fn audit_of(daemon: &Daemon, id: SessionId) -> Option<Audit> {
    let folder = daemon.folders.state_of(id);
    folder.join(audit::FILE_NAME).metadata().ok().filter(|found| found.len() > 0)?;
    let mut audit = Audit::open(&folder, id).ok()?;
    let open = Numbered::of(&audit.take_entries()).open;
    let given_up = |number| AuditEntry::given_up(number, now(), "given up with its session");
    let written = open.into_iter().try_for_each(|number| audit.append(&given_up(number)));
    if let Err(e) = written.and_then(|()| audit.sync()) {
        daemon.notices.add(format!("the audit of session {} could not be closed: {e}", id.short()));
    }
    Some(audit).filter(|audit| audit.entries() > 0)
}

/// Takes the audit out of a folder that is about to be removed.
fn keep_audit(daemon: &Daemon, id: SessionId) -> std::io::Result<()> {
    let from = daemon.folders.state_of(id).join(audit::FILE_NAME);
    if !from.metadata().is_ok_and(|audit| audit.len() > 0) {
        return Ok(());
    }
    let to = daemon.folders.audit_of(id);
    if let Some(folder) = to.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    std::fs::rename(from, to)
}

fn remove_state(daemon: &Daemon, id: SessionId) {
    if let Err(e) = keep_audit(daemon, id) {
        // It stays where it is, and the next start tries again.
        return daemon.notices.add(format!("the audit of session {} could not be kept: {e}", id.short()));
    }
    if let Err(e) = std::fs::remove_dir_all(daemon.folders.state_of(id))
        && e.kind() != std::io::ErrorKind::NotFound
    {
        daemon.notices.add(format!("the state folder of session {} could not be removed: {e}", id.short()));
    }
}

/// The record of a session whose receipt this is.
pub fn closed(mut record: SessionRecord, receipt: Option<&Receipt>) -> SessionRecord {
    record.state = State::Closed;
    record.phase = Phase::Terminated;
    record.clients = 0;
    record.attached.clear();
    for app in &mut record.apps {
        app.pid = None;
        if app.exit.is_none() {
            app.note.get_or_insert_with(|| UNSEEN.to_owned());
        }
    }
    if let Some(protocol) = &mut record.protocol {
        match protocol.status {
            ProtocolStatus::Active | ProtocolStatus::Draining => {
                let why = "it was cut off, and what was said and never heard is not known";
                protocol.status = ProtocolStatus::Lost { why: why.to_owned() };
            }
            ProtocolStatus::Closed
            | ProtocolStatus::Cancelled
            | ProtocolStatus::Faulted { .. }
            | ProtocolStatus::Lost { .. } => {}
        }
    }
    match receipt {
        Some(receipt) => {
            record.outcome = Some(receipt.outcome.clone());
            record.outcome_detail.clone_from(&receipt.outcome_detail);
            record.ended_at = Some(receipt.ended_at);
            record.claim_level = receipt.claim_level;
        }
        None => record.ended_at = Some(now()),
    }
    record
}

/// The receipt that a keeper left in the state folder, if it is one of this installation's about
/// this session.
pub fn left_receipt(daemon: &Daemon, id: SessionId) -> Option<SignedReceipt> {
    let path = daemon.folders.state_of(id).join(RECEIPT);
    if std::fs::metadata(&path).ok()?.len() > MAX_RECEIPT {
        return None;
    }
    let signed: SignedReceipt = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
    let verified = sessile_vault::verify(&signed, Some(&daemon.key.public())).ok()?;
    (verified.receipt.session == id).then_some(signed)
}

/// Waits until a keeper that has sent its receipt closes the connection.
pub async fn await_silence(link: &mut KeeperLink) {
    // One that does not end in time is ended by way of its anchor.
    let _ = timeout(PATIENCE, async { while link.next().await.is_ok() {} }).await;
}

fn receipt_in(signed: &SignedReceipt) -> Option<Receipt> {
    serde_json::from_slice(&signed.payload_bytes().ok()?).ok()
}

async fn clear_runtime(daemon: &Daemon, id: SessionId, ending: &Ending, child: Option<Child>) -> Remains {
    let folder = daemon.folders.runtime_of(id);
    let anchor = daemon.folders.anchor_socket(id);
    // A session with a receipt ends by itself; one that is given up does not.
    let wait = match ending {
        Ending::Receipt(_) => PATIENCE,
        Ending::Lost(_) | Ending::Never => Duration::ZERO,
    };
    if !anchor_link::gone_within(&anchor, wait).await {
        // It is gone, or it cannot be asked: the check below decides.
        let _ = anchor_link::kill(anchor.clone()).await;
        if !anchor_link::gone_within(&anchor, PATIENCE).await {
            return Remains { removed: Err("the session's anchor does not end".to_owned()) };
        }
    }
    match ending {
        Ending::Receipt(_) => {}
        // Its sockets may have been removed from under it: what could not be asked is killed.
        Ending::Lost(_) | Ending::Never => remnants::kill(&daemon.folders, id).await,
    }
    if let Some(mut child) = child {
        // Its sockets can go before it does.
        let _ = timeout(PATIENCE, child.wait()).await;
    }
    let removed = tokio::task::spawn_blocking(move || removed(id, &folder)).await;
    Remains { removed: removed.unwrap_or_else(|e| Err(e.to_string())) }
}

/// Removes what a session left on the host: its control groups with whatever still runs in them,
/// what was made in its project only to be protected, and its runtime folder.
fn removed(id: SessionId, folder: &Path) -> Result<u32, String> {
    let mut count = 0;
    if let Some(mut group) = Cgroup::reopen(id) {
        group.kill().map_err(|e| e.to_string())?;
        group.remove().map_err(|e| e.to_string())?;
        count += 1;
    }
    count += places::release(&folder.join(places::NOTE));
    Ok(count + launch::remove_runtime(folder).map_err(|e| e.to_string())?)
}

/// The log's entries as they are stored. Those that cannot be read are said, never invented.
fn entries_of(daemon: &Daemon, id: SessionId) -> Vec<StoredEntry> {
    let (entries, condition) = match log::read::<serde_json::Value>(&daemon.folders.state_of(id)) {
        Ok(read) => read,
        Err(e) => {
            daemon.tell_loss(format!("the log of session {} was not read: {e}", id.short()));
            return Vec::new();
        }
    };
    if let Condition::Damaged { at } = condition {
        let kept = entries.len();
        daemon.tell_loss(format!(
            "the log of session {} is damaged from byte {at} on; {kept} entries were read",
            id.short()
        ));
    }
    entries
        .into_iter()
        .map(|(sequence, mut kind)| {
            let at = kind.as_object_mut().and_then(|fields| fields.remove("at"));
            let at = at.and_then(|at| at.as_str()?.parse().ok());
            StoredEntry { sequence, at, kind }
        })
        .collect()
}
