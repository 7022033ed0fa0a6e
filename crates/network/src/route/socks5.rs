//! By a SOCKS5 proxy (RFC 1928), which is given names, so that nothing is looked up here.

use std::net::IpAddr;
use std::time::Duration;

use sessile_model::network::{Credentials, HOST_NAME};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::ConnectError;

/// How long a proxy may take to connect.
const PATIENCE: Duration = Duration::from_secs(60);

/// A proxy.
#[derive(Debug)]
pub struct Socks5 {
    host: String,
    port: u16,
    /// User and password (RFC 1929).
    credentials: Option<Credentials>,
}

impl Socks5 {
    /// The proxy at this place.
    pub fn new(host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port, credentials: None }
    }

    /// The same with user and password.
    pub fn with_credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// Has the proxy connect to a host.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, ConnectError> {
        if host == HOST_NAME {
            return Err(ConnectError::NotByThisRoute);
        }
        let connecting = async {
            // Its address is no concern of the app's, which hears of this too.
            let reached = TcpStream::connect((self.host.as_str(), self.port)).await;
            let mut stream = reached.map_err(ConnectError::ProxyUnreachable)?;
            converse(&mut stream, self.credentials.as_ref(), host, port).await?;
            Ok(stream)
        };
        timeout(PATIENCE, connecting).await.map_err(|_| ConnectError::TimedOut)?
    }
}

/// Has the proxy at the other end of a stream connect it to a host, with user and password
/// (RFC 1929) where there are some.
///
/// # Errors
/// See [`ConnectError`].
pub async fn converse(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    credentials: Option<&Credentials>,
    host: &str,
    port: u16,
) -> Result<(), ConnectError> {
    let refused = |why: &str| ConnectError::Proxy(why.to_owned());
    let method: u8 = if credentials.is_some() { 2 } else { 0 };
    stream.write_all(&[5, 1, method]).await?;
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen).await?;
    if chosen != [5, method] {
        return Err(refused("it does not take this kind of authentication"));
    }
    if let Some(Credentials { user, password }) = credentials {
        let length =
            |text: &str| u8::try_from(text.len()).map_err(|_| refused("user or password is too long"));
        let mut message = vec![1, length(user)?];
        message.extend(user.as_bytes());
        message.push(length(password)?);
        message.extend(password.as_bytes());
        stream.write_all(&message).await?;
        let mut status = [0; 2];
        stream.read_exact(&mut status).await?;
        if status[1] != 0 {
            return Err(refused("user or password is wrong"));
        }
    }
    let mut request = vec![5, 1, 0];
    match host.parse() {
        Ok(IpAddr::V4(address)) => {
            request.push(1);
            request.extend(address.octets());
        }
        Ok(IpAddr::V6(address)) => {
            request.push(4);
            request.extend(address.octets());
        }
        Err(_) => {
            request.push(3);
            request.push(u8::try_from(host.len()).map_err(|_| refused("the host's name is too long"))?);
            request.extend(host.as_bytes());
        }
    }
    request.extend(port.to_be_bytes());
    stream.write_all(&request).await?;
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    if head[1] != 0 {
        return Err(refused(reason(head[1])));
    }
    let bound = match head[3] {
        1 => 4,
        4 => 16,
        3 => usize::from(stream.read_u8().await?),
        _ => return Err(refused("its answer is malformed")),
    };
    let mut rest = vec![0; bound + 2];
    stream.read_exact(&mut rest).await?;
    Ok(())
}

/// RFC 1928, section 6.
fn reason(code: u8) -> &'static str {
    match code {
        2 => "its rules forbid this host",
        3 => "the network is unreachable",
        4 => "the host is unreachable",
        5 => "the host refuses the connection",
        6 => "it took too long",
        7 | 8 => "it does not know this kind of request",
        _ => "a general failure",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// A proxy that answers as told and returns what it was asked.
    async fn proxy(script: Vec<(usize, Vec<u8>)>) -> (u16, tokio::task::JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut all = Vec::new();
            for (length, answer) in script {
                let mut heard = vec![0; length];
                stream.read_exact(&mut heard).await.unwrap();
                all.extend(heard);
                stream.write_all(&answer).await.unwrap();
            }
            all
        });
        (port, asked)
    }

    #[tokio::test]
    async fn the_proxy_is_given_the_name() {
        let done = vec![5, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let (port, asked) = proxy(vec![(3, vec![5, 0]), (4 + 1 + 9 + 2, done)]).await;
        Socks5::new("127.0.0.1", port).connect("a.example", 443).await.unwrap();
        assert_eq!(asked.await.unwrap(), b"\x05\x01\x00\x05\x01\x00\x03\x09a.example\x01\xbb");
    }

    #[tokio::test]
    async fn it_is_told_who_asks() {
        let done = vec![5, 0, 0, 3, 1, b'x', 0, 0];
        let (port, asked) = proxy(vec![(3, vec![5, 2]), (7, vec![1, 0]), (10, done)]).await;
        let proxy = Socks5::new("127.0.0.1", port).with_credentials("me:pw".parse().unwrap());
        proxy.connect("192.0.2.1", 80).await.unwrap();
        assert_eq!(
            asked.await.unwrap(),
            b"\x05\x01\x02\x01\x02me\x02pw\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x50"
        );
    }

    #[tokio::test]
    async fn what_is_meant_for_this_host_goes_to_no_proxy() {
        let reached = Socks5::new("127.0.0.1", 1).connect(HOST_NAME, 80).await;
        assert!(matches!(reached, Err(ConnectError::NotByThisRoute)));
    }

    #[tokio::test]
    async fn a_refusal_says_why() {
        let (port, _) = proxy(vec![(3, vec![5, 0]), (16, vec![5, 2, 0, 1])]).await;
        let error = Socks5::new("127.0.0.1", port).connect("a.example", 443).await.unwrap_err();
        assert_eq!(error.to_string(), "the proxy refused: its rules forbid this host");
        let (port, _) = proxy(vec![(3, vec![5, 255])]).await;
        assert!(Socks5::new("127.0.0.1", port).connect("a.example", 443).await.is_err());
    }
}
