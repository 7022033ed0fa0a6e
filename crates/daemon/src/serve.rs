//! A daemon's start and its stop.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use rustix::fs::Mode;
use sessile_anchor::image;
use sessile_journal::store::{Store, StoreError};
use sessile_model::Timestamp;
use sessile_vault::InstallationKey;
use sessile_vault::installation::InstallationError;
use thiserror::Error;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::api::status::Adopted;
use crate::api::{self, Peer};
use crate::daemon::{Daemon, NOTICE_DAYS, Notices, now};
use crate::directory::Directory;
use crate::launch::Images;
use crate::ledger::{Ledger, LedgerError};
use crate::paths::{Folders, PathError};
use crate::recovery;
use crate::sole::{Locks, Place};
use crate::spare::Spare;

/// The installation's signing key in the state folder.
pub const KEY_FILE: &str = "installation.key";
/// How long requests under way may take when the daemon is asked to stop.
const FAREWELL: Duration = Duration::from_secs(1);

/// What a daemon is started with.
#[derive(Clone, Copy, Debug)]
pub struct Config<'a> {
    /// Where sockets are.
    pub runtime_dir: &'a Path,
    /// Where the journal, the installation's key, logs and receipts are.
    pub state_dir: &'a Path,
    /// The anchor's program.
    pub anchor_image: &'static [u8],
    /// The keeper's program.
    pub keeper_image: &'static [u8],
    /// The gateway's program.
    pub gateway_image: &'static [u8],
    /// The guard's program.
    pub guard_image: &'static [u8],
    /// The program's version.
    pub version: &'static str,
    /// Called once when requests are about to be answered.
    pub listening: Option<fn() -> io::Result<()>>,
}

/// Why a daemon could not start or go on.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// A folder cannot be used.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Another daemon has the runtime folder, or works with this state folder from elsewhere.
    #[error("another daemon already runs in {runtime}")]
    AlreadyRunning {
        /// The runtime folder that it runs in.
        runtime: PathBuf,
    },
    /// Another daemon holds a lock, and neither answers nor ends.
    #[error("another daemon (process {pid}) holds {path} and does not answer")]
    Unresponsive {
        /// Its process id; 0 when it is not known.
        pid: u32,
        /// The lock.
        path: PathBuf,
    },
    /// The lock cannot be taken.
    #[error("the daemon's lock could not be taken")]
    Lock(#[source] io::Error),
    /// The socket cannot be bound.
    #[error("the daemon's socket could not be bound")]
    Socket(#[source] io::Error),
    /// The key cannot be used.
    #[error("the installation's key could not be used")]
    Key(#[from] InstallationError),
    /// The journal cannot be used.
    #[error("the journal could not be opened")]
    Store(#[from] StoreError),
    /// The journal cannot be read.
    #[error("the journal could not be read")]
    Ledger(#[from] LedgerError),
    /// The programs cannot be sealed in memory.
    #[error("the programs of sessions could not be put into memory")]
    Image(#[source] io::Error),
    /// The system refused something that every program needs.
    #[error("the daemon could not be set up")]
    System(#[source] io::Error),
}

impl DaemonError {
    /// Whether a full disk is the cause.
    pub fn is_disk_full(&self) -> bool {
        matches!(
            self,
            Self::Store(StoreError::DiskFull) | Self::Ledger(LedgerError::Store(StoreError::DiskFull))
        ) || sessile_journal::file::is_disk_full(self)
    }
}

/// Runs a daemon until it is asked to stop by request or by SIGTERM, SIGINT or SIGHUP. Sessions
/// go on without it.
///
/// # Errors
/// When it cannot start; [`DaemonError::AlreadyRunning`] when there is one.
pub fn run(config: Config<'_>) -> Result<(), DaemonError> {
    // Whatever the starter left open would otherwise live on in every anchor.
    sessile_anchor::inherit::keep_to_ourselves().map_err(DaemonError::System)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Only anchors are asked there, briefly.
        .max_blocking_threads(8)
        .thread_stack_size(256 << 10)
        .build()
        .map_err(DaemonError::System)?;
    let done = runtime.block_on(live(config));
    // A thread that still waits for an anchor holds nobody up.
    runtime.shutdown_background();
    done
}

async fn live(config: Config<'_>) -> Result<(), DaemonError> {
    // Whatever is made from here on is closed to others, sockets included.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let folders = Folders { runtime: config.runtime_dir.to_owned(), state: config.state_dir.to_owned() };
    folders.prepare()?;
    let had_journal = had_journal(&folders);
    let locks = Locks::take(&folders)?;
    let (listener, place) = Place::bind(folders.socket()).map_err(DaemonError::Socket)?;
    let served = serve(config, folders, listener, &place, had_journal).await;
    place.give_up();
    drop(locks);
    served
}

async fn serve(
    config: Config<'_>,
    folders: Folders,
    listener: UnixListener,
    place: &Place,
    had_journal: bool,
) -> Result<(), DaemonError> {
    // Without a watch, a newcomer is told which daemon stands in its way.
    let watch = place.watch(&folders).ok();
    let (mut store, loss) = match had_journal {
        true => Store::open_again(&folders.state, now())?,
        false => Store::open(&folders.state, now())?,
    };
    let since = now().as_millis() - NOTICE_DAYS * 24 * 60 * 60 * 1000;
    let notices = store.notices(Timestamp::from_millis(since))?;
    let (ledger, thread) = Ledger::start(store).map_err(DaemonError::System)?;
    let daemon = Arc::new(Daemon {
        key: installation_key(&folders)?,
        images: Images {
            anchor: image::seal("sessile-anchor", config.anchor_image).map_err(DaemonError::Image)?,
            keeper: image::seal("sessile-keeper", config.keeper_image).map_err(DaemonError::Image)?,
            gateway: image::seal("sessile-gateway", config.gateway_image).map_err(DaemonError::Image)?,
            guard: image::seal("sessile-guard", config.guard_image).map_err(DaemonError::Image)?,
        },
        folders,
        directory: Directory::default(),
        ledger: ledger.clone(),
        version: config.version,
        spare: Spare::default(),
        stop: Notify::new(),
        notices: Notices::default(),
    });
    daemon.notices.remember(notices);
    if let Some(loss) = loss {
        daemon.tell_loss(loss);
    }
    let mut signals = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()]
        .map(signal)
        .into_iter()
        .collect::<Result<Vec<_>, _>>()
        .map_err(DaemonError::System)?;
    let adopted = Adopted(recovery::adopt(&daemon).await?);
    if let Some(listening) = config.listening {
        listening().map_err(DaemonError::System)?;
    }
    let app = api::router(Arc::clone(&daemon)).layer(Extension(adopted));
    // What was needed to start is not needed to serve.
    image::give_back_code();
    let (stopping, stopped) = tokio::sync::oneshot::channel::<()>();
    let asked = Arc::clone(&daemon);
    let stop = async move {
        let signalled = futures_util::future::select_all(signals.iter_mut().map(|s| Box::pin(s.recv())));
        tokio::select! {
            () = asked.stop.notified() => {}
            _ = signalled => {}
            // Nobody can reach this daemon any more. The next one finds the sessions.
            () = async {
                match &watch {
                    Some(watch) => watch.lost().await,
                    None => std::future::pending().await,
                }
            } => {}
        }
        // The receiver is there as long as the server is.
        let _ = stopping.send(());
    };
    let server = axum::serve(listener, app.into_make_service_with_connect_info::<Peer>());
    let server = std::future::IntoFuture::into_future(server.with_graceful_shutdown(stop));
    tokio::select! {
        served = server => served.map_err(DaemonError::Socket)?,
        () = async {
            // Long waits and attachments are not waited for; their clients come back.
            let _ = stopped.await;
            tokio::time::sleep(FAREWELL).await;
        } => {}
    }
    daemon.spare.close().await;
    ledger.close();
    // A ledger thread that panicked has nothing more to write.
    let _ = tokio::task::spawn_blocking(move || thread.join()).await;
    Ok(())
}

/// Whether a daemon has worked in this state folder: it takes its lock, then opens the journal, then
/// makes the key. To be asked before this one does.
fn had_journal(folders: &Folders) -> bool {
    folders.state_lock().exists() && folders.state.join(KEY_FILE).exists()
}

fn installation_key(folders: &Folders) -> Result<InstallationKey, DaemonError> {
    let mut entropy = [0; 32];
    getrandom::fill(&mut entropy).map_err(|e| DaemonError::System(io::Error::other(e.to_string())))?;
    Ok(InstallationKey::load_or_create(&folders.state.join(KEY_FILE), &entropy)?)
}
