//! Opening a session: check, reserve, start, hand over, acknowledge.
//!
//! The journal's intent is written while the keeper works and is on the disk before the answer.
//! What fails leaves nothing behind.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sessile_journal::store::{Stored, free_slot};
use sessile_model::protocol::PROGRAM_FOLDER;
use sessile_model::spec::Mount;
use sessile_model::wire::{Open, Reply, Request};
use sessile_model::{Problem, ProblemKind, SessionId, SessionRecord, Spec, State};
use tokio::process::Child;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::anchor_link::{self, Standing};
use crate::closing::{self, Ending};
use crate::daemon::{Daemon, ledger_problem, link_problem, now};
use crate::directory::storable;
use crate::follow::{Beginning, follow, note};
use crate::keeper_link::{KeeperLink, LinkError, Said};
use crate::launch::{LaunchError, Purpose, Started};
use crate::{launch, names, recovery, spare, spec_check};

/// How long bring-up may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much longer one may take whose route is tor; a little more than its gateway gives tor.
const TOR_PATIENCE: Duration = Duration::from_secs(130);
/// How long a keeper may take to answer before its anchor is asked whether it still runs.
const DOUBT: Duration = Duration::from_millis(200);
/// First host user id of slot 0. systemd's table of user ids has 1879048192 to 2147352575 unused.
const SUBORDINATE_BASE: u32 = 1_879_048_192;
/// Host user ids of one session.
const SUBORDINATE_COUNT: u32 = 65_536;
/// Slots in that range.
pub const SLOTS: u32 = (2_147_352_576 - SUBORDINATE_BASE) / SUBORDINATE_COUNT;

/// Opens a session and returns its record when it is active. A caller who leaves before that, by
/// dropping this, calls it off.
///
/// # Errors
/// When the specification is refused, its name is taken, or a part of the session fails.
pub async fn open(daemon: &Arc<Daemon>, spec: Spec) -> Result<SessionRecord, Problem> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let mut spec = spec_check::checked(spec, &daemon.folders, home.as_deref())?;
    if let Some(protocol) = spec.protocol.clone() {
        let checked = tokio::task::spawn_blocking(move || spec_check::protocol(&protocol)).await;
        checked.unwrap_or_else(|_| {
            Err(Problem::new(ProblemKind::Internal, "the protocol's check was cut short"))
        })?;
    }
    spec.mounts.extend(program_inside(&spec));
    let tor = spec_check::tor(&spec.network, std::env::var_os("PATH").as_deref())?;
    let daemon = Arc::clone(daemon);
    // On its own: a client that leaves in the middle must not leave half a session.
    let (stays, left) = oneshot::channel::<Infallible>();
    let opened = tokio::spawn(async move {
        let spare = daemon.spare.take().await;
        let id = match &spare {
            Some(spare) => spare.id,
            None => SessionId::new(now(), random()?),
        };
        let slot = spare.as_ref().and_then(|spare| spare.slot);
        let (session, spec) = match reserve(&daemon, id, slot, spec) {
            Ok(reserved) => reserved,
            Err(problem) => {
                if let Some(spare) = spare {
                    spare::end(&daemon, spare).await;
                }
                return Err(problem);
            }
        };
        let opened = assemble(&daemon, session, (spec, tor), spare, left).await;
        if opened.is_ok() {
            spare::renew(&daemon);
        }
        opened
    });
    let opened = opened.await;
    drop(stays);
    opened.unwrap_or_else(|_| Err(Problem::new(ProblemKind::Internal, "the opening was cut short")))
}

/// This program as sessions have it, so that programs inside can take part in what is said there. Where the place is
/// another grant's, they do without.
fn program_inside(spec: &Spec) -> Option<Mount> {
    let target = format!("{PROGRAM_FOLDER}/sessile");
    let project = spec.project.iter().map(|project| &project.path);
    if spec
        .mounts
        .iter()
        .map(|mount| &mount.target)
        .chain(project)
        .any(|taken| Path::new(&target).starts_with(taken))
    {
        return None;
    }
    let program = std::env::current_exe().ok()?;
    // One that was replaced by an update: what stands there now speaks the same.
    let source = program.to_str()?.trim_end_matches(" (deleted)").to_owned();
    Path::new(&source).exists().then_some(Mount { source, target, writable: false, from_tools: false })
}

/// Gives the session its name and its slot. Nobody else can have them from here on.
fn reserve(
    daemon: &Daemon,
    id: SessionId,
    held: Option<u32>,
    mut spec: Spec,
) -> Result<(Stored, Spec), Problem> {
    let created = now();
    if spec.name.is_none() {
        let numbers: [u8; 32] = random()?;
        let mut random = [0u32; 8];
        for (number, bytes) in random.iter_mut().zip(numbers.as_chunks::<4>().0) {
            *number = u32::from_le_bytes(*bytes);
        }
        spec.name = names::invent(random, |name| daemon.directory.has_name(name));
    }
    let root = rustix::process::geteuid().is_root();
    let slot = if root {
        let slot = held.or_else(|| free_slot(id, SLOTS, |slot| daemon.directory.has_slot(slot)));
        let none = || Problem::new(ProblemKind::Exhausted, "every range of subordinate user ids is in use");
        Some(slot.ok_or_else(none)?)
    } else {
        None
    };
    let record = SessionRecord {
        name: spec.name.clone(),
        user: spec.user.clone(),
        channel: spec.channel.clone(),
        chat: spec.chat.clone(),
        labels: spec.labels.clone(),
        metadata: spec.metadata.clone(),
        limits: spec.limits,
        size: spec.size,
        created_at: created,
        last_activity: created,
        ..recovery::blank(id)
    };
    let session = Stored { record, keep_record: spec.keep_record, slot };
    daemon.directory.enter(session.clone()).map_err(|_| {
        Problem::new(ProblemKind::Conflict, "another open session has this name")
            .hint("choose another name, or leave it out to have one invented")
    })?;
    if held.is_some() {
        daemon.directory.hold_slot(None);
    }
    Ok((session, spec))
}

/// The first host user id of a slot.
pub fn subordinate_base(slot: u32) -> u32 {
    SUBORDINATE_BASE + slot * SUBORDINATE_COUNT
}

async fn assemble(
    daemon: &Arc<Daemon>,
    session: Stored,
    (spec, tor): (Spec, Option<String>),
    spare: Option<Started>,
    left: oneshot::Receiver<Infallible>,
) -> Result<SessionRecord, Problem> {
    // tor has to find its way into the network first, for which its keeper gives it time.
    let patience = if tor.is_some() { PATIENCE + TOR_PATIENCE } else { PATIENCE };
    let id = session.record.id;
    let subordinate_base = session.slot.map(subordinate_base);
    let intent = storable(session.record, session.keep_record, session.slot);
    let intent = daemon.ledger.write(move |store| store.put(&intent));
    let started = match spare {
        Some(spare) => Ok(spare),
        None => launch::start(&daemon.folders, id, &daemon.images, daemon.version, Purpose::Session).await,
    };
    let (anchor, link) = match started {
        Ok(Started { anchor, link, .. }) => (anchor, link),
        Err(e) => {
            closing::close(daemon, id, Ending::Never, None).await;
            return Err(launch_problem(&e));
        }
    };
    let request = Request::Open(Box::new(Open { spec, subordinate_base, tor }));
    let handed = tokio::select! {
        handed = timeout(patience, hand_over(daemon, id, link, &request)) => {
            handed.unwrap_or_else(|_| Err(late(patience)))
        }
        _ = left => Err(Problem::new(ProblemKind::Failed, "whoever opened the session has left")),
    };
    let problem = match handed {
        Ok((link, record)) => match intent.await {
            Ok(()) => {
                note(daemon, id, record.clone());
                tokio::spawn(follow(Arc::clone(daemon), id, Beginning::Opened(link, Box::new(anchor))));
                return Ok(record);
            }
            Err(e) => ledger_problem(e),
        },
        Err(problem) => problem,
    };
    give_up(daemon, id, anchor).await;
    Err(problem)
}

async fn hand_over(
    daemon: &Daemon,
    id: SessionId,
    mut link: KeeperLink,
    request: &Request,
) -> Result<(KeeperLink, SessionRecord), Problem> {
    let failed = |e: LinkError| match e {
        LinkError::Nobody | LinkError::Lost => {
            Problem::new(ProblemKind::Failed, "the session's keeper ended while it was opening the session")
                .hint("SESSILE_DEBUG=1 has the daemon keep what it says in keeper-debug.log")
        }
        e @ (LinkError::Version { .. }
        | LinkError::Frame(_)
        | LinkError::Message(_)
        | LinkError::TooLarge { .. }
        | LinkError::Io(_)) => link_problem(&e),
    };
    link.send(request).await.map_err(failed)?;
    match answer(daemon, id, &mut link).await.map_err(failed)? {
        Reply::Record(record) if matches!(record.state, State::Active | State::Paused) => Ok((link, *record)),
        Reply::Problem(problem) => Err(problem),
        Reply::Record(_)
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
        | Reply::Applied(_) => {
            Err(Problem::new(ProblemKind::Failed, "the session ended while it was opened"))
        }
    }
}

/// The keeper's answer. While its anchor lives, a keeper that died before it took the connection
/// does not end it: so the anchor is asked when the answer takes long.
async fn answer(daemon: &Daemon, id: SessionId, link: &mut KeeperLink) -> Result<Reply, LinkError> {
    let mut dead = 0;
    loop {
        match timeout(DOUBT, link.next()).await {
            Ok(said) => {
                if let Said::Reply(_, reply) = said? {
                    return Ok(*reply);
                }
            }
            Err(_) => match anchor_link::standing(daemon.folders.anchor_socket(id)).await {
                // Twice, since an anchor on a busy machine may not have started it yet.
                Ok(Standing::KeeperDead) if dead == 1 => return Err(LinkError::Lost),
                Ok(Standing::KeeperDead) => dead += 1,
                // Without an anchor the connection ends with the keeper.
                Ok(Standing::KeeperRuns | Standing::Gone) | Err(_) => dead = 0,
            },
        }
    }
}

/// Removes a session that did not come to be. One whose keeper wiped it keeps its receipt.
async fn give_up(daemon: &Daemon, id: SessionId, anchor: Child) {
    let ending = closing::left_receipt(daemon, id).map_or(Ending::Never, Ending::Receipt);
    closing::close(daemon, id, ending, Some(anchor)).await;
}

fn launch_problem(error: &LaunchError) -> Problem {
    let why = std::error::Error::source(error).map(|s| format!(": {s}")).unwrap_or_default();
    let text = format!("{error}{why}");
    if sessile_journal::file::is_disk_full(error) {
        Problem::new(ProblemKind::Exhausted, text).hint("free some space in the state and runtime folders")
    } else {
        Problem::new(ProblemKind::Failed, text)
    }
}

fn late(patience: Duration) -> Problem {
    Problem::new(ProblemKind::Timeout, format!("the session was not ready after {} s", patience.as_secs()))
}

fn random<const N: usize>() -> Result<[u8; N], Problem> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|_| Problem::new(ProblemKind::Internal, "the system gives no random numbers"))?;
    Ok(bytes)
}
