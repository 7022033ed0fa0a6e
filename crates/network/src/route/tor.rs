//! By a tor of the session's own, which its keeper starts beside this process.
//!
//! tor is reached through two sockets in its folder: `control`, which this process owns, so that
//! tor ends when it does, and `socks`, where each app has credentials of its own, by which tor
//! keeps their circuits apart. Names go to tor; nothing is looked up here.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use sessile_model::AppName;
use sessile_model::network::Credentials;
use sessile_model::network::HOST_NAME;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

use super::control::{Control, has_circuit, progress};
use super::{ConnectError, socks5};

/// How long tor may take until a circuit is built.
const BOOTSTRAP: Duration = Duration::from_secs(120);
/// How long a control command may take, [`PERIODS`] times: of a pause of the whole machine only one
/// of them is lost.
const ANSWER: Duration = Duration::from_secs(5);
const PERIODS: usize = 2;
/// How often a tor that is ready is asked whether it still answers.
const CHECK: Duration = Duration::from_secs(2);
/// How often tor is asked how far it is.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Percent of its start at which tor knows enough relays to build circuits (`enough_dirinfo`).
const KNOWS_RELAYS: u8 = 75;

/// A tor.
#[derive(Debug)]
pub struct Tor {
    folder: OwnedFd,
    credentials: RefCell<HashMap<AppName, Credentials>>,
    /// Whether a circuit was built.
    ready: watch::Sender<bool>,
    /// Counts identities.
    identity: watch::Sender<u64>,
    renew: mpsc::Sender<oneshot::Sender<()>>,
    renewals: RefCell<Option<mpsc::Receiver<oneshot::Sender<()>>>>,
}

impl Tor {
    /// The tor whose sockets are in `tor` below this folder, now or soon.
    pub fn new(folder: OwnedFd) -> Self {
        let (renew, renewals) = mpsc::channel(8);
        Self {
            folder,
            credentials: RefCell::default(),
            ready: watch::Sender::new(false),
            identity: watch::Sender::new(0),
            renew,
            renewals: RefCell::new(Some(renewals)),
        }
    }

    /// Whether a circuit was built.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Takes tor into care: calls `ready` when it has built a circuit, carries out renewals, and
    /// returns why the route cannot be used any more: tor ended, does not answer, or refuses a new
    /// identity. A network that is away for a while is tor's to find again.
    pub async fn tend(&self, ready: impl FnOnce()) -> String {
        let mut percent = 0;
        let begun = timeout(BOOTSTRAP, self.bootstrap(&mut percent)).await;
        let mut control = match begun {
            Ok(Ok(control)) => control,
            Ok(Err(error)) => return format!("tor ended at {percent} % of its start: {error}"),
            Err(_) => {
                return format!(
                    "tor was at {percent} % of its start after {} s; look whether this host reaches the \
                     network, or give bridges",
                    BOOTSTRAP.as_secs()
                );
            }
        };
        self.ready.send_replace(true);
        ready();
        let Some(mut renewals) = self.renewals.borrow_mut().take() else {
            return "the route is tended twice".to_owned();
        };
        loop {
            tokio::select! {
                () = control.ended() => return "tor ended".to_owned(),
                Some(answer) = renewals.recv() => {
                    self.credentials.borrow_mut().clear();
                    self.identity.send_modify(|count| *count += 1);
                    if let Err(error) = ask(&mut control, "SIGNAL NEWNYM").await {
                        return format!("tor gives no new identity: {error}");
                    }
                    // The one who asked may have left.
                    let _ = answer.send(());
                }
                () = sleep(CHECK) => {
                    if let Err(error) = ask(&mut control, "GETINFO version").await {
                        return match error.kind() == io::ErrorKind::TimedOut {
                            true => "tor does not answer".to_owned(),
                            false => format!("tor ended: {error}"),
                        };
                    }
                }
            }
        }
    }

    async fn bootstrap(&self, percent: &mut u8) -> io::Result<Control> {
        let stream = loop {
            match self.socket("control").await {
                Ok(stream) => break stream,
                // tor has not made it yet. Should it never, the keeper sees it end, or time is up.
                Err(_) => sleep(LOOK_AGAIN).await,
            }
        };
        let mut control = Control::new(stream);
        ask(&mut control, "AUTHENTICATE").await?;
        ask(&mut control, "TAKEOWNERSHIP").await?;
        let mut asked = false;
        loop {
            *percent = progress(&ask(&mut control, "GETINFO status/bootstrap-phase").await?).unwrap_or(0);
            if *percent >= KNOWS_RELAYS && !asked {
                asked = true;
                // tor would begin one by itself, the next time that it looks at its circuits: once a
                // second. It chooses this one's relays just so. Where it cannot yet, that is waited for.
                match ask(&mut control, "EXTENDCIRCUIT 0").await {
                    Err(error) if error.kind() != io::ErrorKind::Other => return Err(error),
                    Ok(_) | Err(_) => {}
                }
            }
            if *percent == 100 && has_circuit(&ask(&mut control, "GETINFO circuit-status").await?) {
                return Ok(control);
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    async fn socket(&self, name: &str) -> io::Result<UnixStream> {
        // By the folder's descriptor: its path is in a mount namespace where this process is not.
        UnixStream::connect(format!("/proc/self/fd/{}/tor/{name}", self.folder.as_raw_fd())).await
    }

    /// Has tor connect to a host, on circuits that no other app shares.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(&self, app: &AppName, host: &str, port: u16) -> Result<UnixStream, ConnectError> {
        if host == HOST_NAME {
            return Err(ConnectError::NotByThisRoute);
        }
        let connecting = async {
            // Its sender lives as long as this.
            let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
            let credentials = self.credentials_of(app)?;
            let mut stream = self.socket("socks").await?;
            socks5::converse(&mut stream, Some(&credentials), host, port).await?;
            Ok(stream)
        };
        timeout(BOOTSTRAP, connecting).await.map_err(|_| ConnectError::TimedOut)?
    }

    fn credentials_of(&self, app: &AppName) -> io::Result<Credentials> {
        if let Some(known) = self.credentials.borrow().get(app) {
            return Ok(known.clone());
        }
        let fresh = Credentials { user: random()?, password: random()? };
        self.credentials.borrow_mut().insert(app.clone(), fresh.clone());
        Ok(fresh)
    }

    /// Takes on a new identity: other circuits from now on; what goes on over the old ones ends.
    ///
    /// # Errors
    /// When tor does not answer or refuses.
    pub async fn renew(&self) -> io::Result<()> {
        let (answer, outcome) = oneshot::channel();
        let gone = || io::Error::other("tor is not ready yet, or ended");
        self.renew.try_send(answer).map_err(|_| gone())?;
        in_time(outcome).await?.map_err(|_| gone())
    }

    /// Ends when the identity of now is over.
    pub fn renewed(&self) -> impl Future<Output = ()> + use<> {
        let mut identity = self.identity.subscribe();
        async move {
            // Its sender lives as long as the route.
            let _ = identity.changed().await;
        }
    }
}

async fn ask(control: &mut Control, command: &str) -> io::Result<Vec<String>> {
    in_time(control.ask(command)).await?
}

async fn in_time<T>(answer: impl Future<Output = T>) -> io::Result<T> {
    tokio::pin!(answer);
    for _ in 0..PERIODS {
        if let Ok(answer) = timeout(ANSWER, &mut answer).await {
            return Ok(answer);
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// 128 random bits as text.
fn random() -> io::Result<String> {
    let mut bytes = [0u8; 16];
    let mut filled = 0;
    while filled < bytes.len() {
        let rest = bytes.get_mut(filled..).unwrap_or_default();
        filled += rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_app_has_credentials_of_its_own() {
        let tor = Tor::new(std::fs::File::open("/").unwrap().into());
        let (one, two): (AppName, AppName) = ("one".parse().unwrap(), "two".parse().unwrap());
        let first = tor.credentials_of(&one).unwrap();
        assert_eq!(tor.credentials_of(&one).unwrap(), first);
        let other = tor.credentials_of(&two).unwrap();
        assert!(first.user != other.user && first.password != other.password);
        assert_eq!(first.user.len(), 32);
    }

    #[tokio::test]
    async fn the_hosts_own_loopback_is_not_asked_of_an_exit() {
        let tor = Tor::new(std::fs::File::open("/").unwrap().into());
        let reached = tor.connect(&"main".parse().unwrap(), HOST_NAME, 80).await;
        assert!(matches!(reached, Err(ConnectError::NotByThisRoute)));
    }
}
