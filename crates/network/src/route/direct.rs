//! From this host's own addresses, with its own resolver.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use sessile_model::network::HOST_NAME;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::ConnectError;
use crate::addresses::{Place, place};

/// How long a host may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the next address of a host waits for the one before (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);
/// Most addresses of a host that are tried.
const MAX_ADDRESSES: usize = 8;
/// Most names remembered; beyond that all are forgotten.
const MAX_NAMES: usize = 16_384;

/// Addresses of a name, looked up once.
type Pinned = Rc<OnceCell<Vec<IpAddr>>>;

/// The host's own way out. A name is looked up once and keeps its addresses for the session's life
/// while one of them answers, so that a second look cannot lead elsewhere.
#[derive(Debug)]
pub struct Direct {
    resolver: TokioResolver,
    pinned: RefCell<HashMap<String, Pinned>>,
}

impl Direct {
    /// Reads the host's resolver configuration.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn new() -> Result<Self, String> {
        let mut builder = TokioResolver::builder_tokio().map_err(|e| format!("the host's resolver: {e}"))?;
        let options = builder.options_mut();
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        // Names are whole: nothing of the host's search list is added to them.
        options.ndots = 0;
        let resolver = builder.build().map_err(|e| format!("the host's resolver: {e}"))?;
        Ok(Self { resolver, pinned: RefCell::default() })
    }

    /// Connects to a host by one of its addresses.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(
        &self,
        host: &str,
        port: u16,
        by_name: bool,
        denied: impl Fn(IpAddr) -> Option<String>,
    ) -> Result<TcpStream, ConnectError> {
        if host == HOST_NAME {
            return race(
                &["127.0.0.1", "::1"].map(|a| a.parse().unwrap_or(IpAddr::from([127, 0, 0, 1]))),
                port,
            )
            .await;
        }
        if let Ok(address) = host.parse() {
            // The policy has judged the address itself, but does not know which are this host's.
            if !by_name && is_own(address) {
                return Err(ConnectError::Near { host: host.to_owned() });
            }
            return race(&[address], port).await;
        }
        let addresses = timeout(PATIENCE, self.look_up(host)).await.map_err(|_| ConnectError::TimedOut)??;
        let addresses = allowed(host, &addresses, by_name, is_own, denied)?;
        let connected = race(&addresses, port).await;
        if connected.is_err() {
            self.pinned.borrow_mut().remove(host);
        }
        connected
    }

    async fn look_up(&self, host: &str) -> Result<Vec<IpAddr>, ConnectError> {
        let pinned = {
            let mut pinned = self.pinned.borrow_mut();
            if pinned.len() >= MAX_NAMES {
                pinned.clear();
            }
            Rc::clone(pinned.entry(host.to_owned()).or_default())
        };
        let found = pinned
            .get_or_try_init(|| async {
                // With a dot at its end: no search list.
                let found = self.resolver.lookup_ip(format!("{host}.")).await;
                let found = found.map_err(|e| match e.is_no_records_found() {
                    true => ConnectError::NoAddress { host: host.to_owned() },
                    false => ConnectError::Lookup { host: host.to_owned(), why: e.to_string() },
                })?;
                Ok::<_, ConnectError>(found.iter().take(MAX_ADDRESSES).collect())
            })
            .await;
        if found.is_err() {
            self.pinned.borrow_mut().remove(host);
        }
        found.cloned()
    }
}

/// Those addresses that may be used.
fn allowed(
    host: &str,
    addresses: &[IpAddr],
    by_name: bool,
    is_own: impl Fn(IpAddr) -> bool,
    denied: impl Fn(IpAddr) -> Option<String>,
) -> Result<Vec<IpAddr>, ConnectError> {
    let named = || host.to_owned();
    let mut why = ConnectError::NoAddress { host: named() };
    let mut kept = Vec::new();
    // The first address tells why none is left.
    for &address in addresses.iter().rev() {
        let refused = match place(address) {
            Place::Near => Some(ConnectError::Near { host: named() }),
            Place::Private if !by_name => Some(ConnectError::Private { host: named() }),
            Place::Private | Place::Public if is_own(address) => Some(ConnectError::Near { host: named() }),
            Place::Private | Place::Public => {
                denied(address).map(|by| ConnectError::DeniedAddress { host: named(), by })
            }
        };
        match refused {
            Some(refused) => why = refused,
            None => kept.push(address),
        }
    }
    kept.reverse();
    if kept.is_empty() { Err(why) } else { Ok(kept) }
}

/// Whether an address is one of this host's: what is sent there comes from there. One that nothing
/// leads to is not.
fn is_own(address: IpAddr) -> bool {
    let family = match address {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    // Connecting a socket of UDP sends nothing; the port does not matter.
    let socket = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
    let Ok(socket) = socket.map(std::net::UdpSocket::from) else { return true };
    let source = socket.connect((address, 9)).and_then(|()| socket.local_addr());
    source.is_ok_and(|source| source.ip() == address || source.ip().is_loopback())
}

/// The first of these addresses that answers; the next is tried when one fails or takes long.
async fn race(addresses: &[IpAddr], port: u16) -> Result<TcpStream, ConnectError> {
    let connect = |address: &IpAddr| TcpStream::connect(SocketAddr::new(*address, port));
    let Some((first, others)) = addresses.split_first() else {
        return Err(std::io::Error::from(std::io::ErrorKind::NotFound).into());
    };
    let racing = async {
        // Most hosts answer at the first, which is waited for without a task of its own.
        let mut first = pin!(connect(first));
        let mut first_failed = false;
        let mut waiting = others.iter();
        let mut tried = JoinSet::new();
        loop {
            let more = !waiting.as_slice().is_empty();
            let ended = tokio::select! {
                outcome = &mut first, if !first_failed => {
                    first_failed = true;
                    Some(outcome)
                }
                Some(Ok(outcome)) = tried.join_next() => Some(outcome),
                () = sleep(STAGGER), if more => None,
            };
            let error = match ended {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => Some(error),
                None => None,
            };
            match (waiting.next(), error) {
                (Some(address), _) => drop(tried.spawn(connect(address))),
                (None, Some(error)) if first_failed && tried.is_empty() => return Err(error),
                (None, _) => {}
            }
        }
    };
    Ok(timeout(PATIENCE, racing).await.map_err(|_| ConnectError::TimedOut)??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_does_not_lead_into_private_networks_unless_a_rule_names_it() {
        let parse = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect::<Vec<IpAddr>>();
        let is_own = |address: IpAddr| address == IpAddr::from([192, 0, 34, 9]);
        let denied =
            |address: IpAddr| (address == IpAddr::from([192, 0, 34, 2])).then(|| "deny it".to_owned());
        let allowed = |texts: &[&str], by_name| allowed("h", &parse(texts), by_name, is_own, denied);
        let mixed = ["10.0.0.1", "192.0.34.1", "127.0.0.1", "192.0.34.2", "192.0.34.9"];
        assert_eq!(allowed(&mixed, false).unwrap(), parse(&["192.0.34.1"]));
        assert_eq!(allowed(&mixed, true).unwrap(), parse(&["10.0.0.1", "192.0.34.1"]));
        assert!(matches!(allowed(&["10.0.0.1"], false), Err(ConnectError::Private { .. })));
        assert!(matches!(allowed(&["127.0.0.1"], true), Err(ConnectError::Near { .. })));
        assert!(matches!(allowed(&["192.0.34.9", "10.0.0.1"], false), Err(ConnectError::Near { .. })));
        assert!(matches!(allowed(&["192.0.34.2"], true), Err(ConnectError::DeniedAddress { .. })));
        assert!(matches!(allowed(&[], true), Err(ConnectError::NoAddress { .. })));
    }

    #[test]
    fn this_hosts_own_addresses_are_known() {
        for (address, own) in [("127.0.0.1", true), ("127.3.2.1", true), ("192.0.2.1", false)] {
            assert_eq!(is_own(address.parse().unwrap()), own, "{address}");
        }
    }

    #[tokio::test]
    async fn an_address_that_fails_gives_way_to_the_next() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let addresses = ["127.0.0.9", "127.0.0.1"].map(|a| a.parse().unwrap());
        assert!(race(&addresses, port).await.is_ok());
        drop(listener);
        assert!(matches!(race(&addresses, port).await, Err(ConnectError::Connect(_))));
    }
}
