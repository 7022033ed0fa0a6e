//! The ways out.

mod direct;
mod socks5;

use std::io;

use sessile_model::network::{Credentials, Route as Choice};
use thiserror::Error;
use tokio::net::TcpStream;

pub use direct::Direct;
pub use socks5::Socks5;

/// Why a host was not reached.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// Its name has no address.
    #[error("{host} has no address")]
    NoAddress {
        /// The name.
        host: String,
    },
    /// The name could not be looked up.
    #[error("{host} could not be looked up: {why}")]
    Lookup {
        /// The name.
        host: String,
        /// What the resolver says.
        why: String,
    },
    /// Its addresses lie where no rule allows.
    #[error("{host} has an address in a private network, and no rule names this host")]
    Private {
        /// The name.
        host: String,
    },
    /// Its addresses are this host's own, or its link's.
    #[error("{host} has an address of this host or its link; only a rule for that address opens it")]
    Near {
        /// The name.
        host: String,
    },
    /// Nobody answers, or with a refusal.
    #[error("{0}")]
    Connect(#[from] io::Error),
    /// It took too long.
    #[error("no answer in time")]
    TimedOut,
    /// The proxy refused.
    #[error("the proxy refused: {0}")]
    Proxy(String),
    /// This session has no way out.
    #[error("the session's route is none")]
    NoRoute,
}

/// A way out.
#[derive(Debug)]
pub enum Route {
    /// None.
    None,
    /// By this host's own addresses.
    Direct(Box<Direct>),
    /// By a proxy.
    Socks5(Socks5),
}

impl Route {
    /// The way that was chosen; the credentials are for a proxy.
    ///
    /// # Errors
    /// When this program cannot go it.
    pub fn new(choice: &Choice, credentials: Option<&Credentials>) -> Result<Self, String> {
        match choice {
            Choice::None => Ok(Self::None),
            Choice::Direct => Direct::new().map(|direct| Self::Direct(Box::new(direct))),
            Choice::Socks5 { host, port } => {
                let proxy = Socks5::new(host, *port);
                Ok(Self::Socks5(match credentials {
                    Some(credentials) => proxy.with_credentials(credentials.clone()),
                    None => proxy,
                }))
            }
            Choice::Tor => Err("the route tor is not there yet".to_owned()),
        }
    }

    /// Connects to a host: a name, or an address where the app used none. `by_name` says that a
    /// rule names this host, so that it may lie in a private network.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(&self, host: &str, port: u16, by_name: bool) -> Result<TcpStream, ConnectError> {
        match self {
            Self::None => Err(ConnectError::NoRoute),
            Self::Direct(direct) => direct.connect(host, port, by_name).await,
            Self::Socks5(proxy) => proxy.connect(host, port).await,
        }
    }
}
