//! The ways out.

mod control;
mod direct;
mod socks5;
mod tor;

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use sessile_model::AppName;
use sessile_model::network::{Credentials, Route as Choice};
use thiserror::Error;

use crate::stream::Stream;

pub use direct::Direct;
pub use socks5::Socks5;
pub use tor::Tor;

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
    /// The proxy does not answer.
    #[error("the session's proxy is not reached: {0}")]
    ProxyUnreachable(io::Error),
    /// The proxy refused.
    #[error("the proxy refused: {0}")]
    Proxy(String),
    /// It is this host, which nobody reaches from the network's other end.
    #[error("this host's own loopback is reached by the route direct alone")]
    NotByThisRoute,
    /// Each of its addresses is denied.
    #[error("{host} has an address that may not be reached ({by})")]
    DeniedAddress {
        /// The name.
        host: String,
        /// The rule.
        by: String,
    },
    /// The session has another identity since.
    #[error("the session took on a new identity")]
    Renewed,
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
    /// By a tor of the session's own.
    Tor(Box<Tor>),
}

impl Route {
    /// The way that was chosen. The credentials are for a proxy, `folder` is the one of the session's
    /// tor.
    ///
    /// # Errors
    /// When this program cannot go it.
    pub fn new(
        choice: &Choice,
        credentials: Option<&Credentials>,
        folder: Option<OwnedFd>,
    ) -> Result<Self, String> {
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
            Choice::Tor => {
                let folder = folder.ok_or("the route tor without the folder of a tor")?;
                Ok(Self::Tor(Box::new(Tor::new(folder))))
            }
        }
    }

    /// Connects an app to a host: a name, or an address where the app used none. `by_name` says
    /// that a rule names this host, so that it may lie in a private network; `denied` says which rule
    /// denies an address that the name turns out to have, where this program looks names up.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(
        &self,
        app: &AppName,
        (host, port): (&str, u16),
        by_name: bool,
        denied: impl Fn(IpAddr) -> Option<String>,
    ) -> Result<Stream, ConnectError> {
        match self {
            Self::None => Err(ConnectError::NoRoute),
            Self::Direct(direct) => direct.connect(host, port, by_name, denied).await.map(Stream::Tcp),
            Self::Socks5(proxy) => proxy.connect(host, port).await.map(Stream::Tcp),
            Self::Tor(tor) => tor.connect(app, host, port).await.map(Stream::Unix),
        }
    }

    /// Whether connections can be made.
    pub fn is_ready(&self) -> bool {
        match self {
            Self::None | Self::Direct(_) | Self::Socks5(_) => true,
            Self::Tor(tor) => tor.is_ready(),
        }
    }

    /// Sees to the route: calls `ready` once connections can be made, and returns why they can be
    /// no more.
    pub async fn tend(&self, ready: impl FnOnce()) -> String {
        match self {
            Self::None | Self::Direct(_) | Self::Socks5(_) => {
                ready();
                std::future::pending().await
            }
            Self::Tor(tor) => tor.tend(ready).await,
        }
    }

    /// Takes on a new identity, where the route has one.
    ///
    /// # Errors
    /// When it has none, or cannot.
    pub async fn renew(&self) -> io::Result<()> {
        match self {
            Self::None | Self::Direct(_) | Self::Socks5(_) => {
                Err(io::Error::new(io::ErrorKind::Unsupported, "this route has no identity of its own"))
            }
            Self::Tor(tor) => tor.renew().await,
        }
    }

    /// Ends when the identity of now is over.
    pub async fn renewed(&self) {
        match self {
            Self::None | Self::Direct(_) | Self::Socks5(_) => std::future::pending().await,
            Self::Tor(tor) => tor.renewed().await,
        }
    }
}
