//! What an app asks its proxy for, where nothing is redirected: SOCKS5 (RFC 1928: no
//! authentication, CONNECT), HTTP CONNECT (RFC 9110, section 9.3.6) and requests in absolute form
//! (RFC 9112, section 3.2.2). All of it is spoken at one listener: the first byte tells which.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use sessile_model::network::host_name;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::http::{Refusal, refusal};

/// Longest head of a request, in bytes.
const MAX_HEAD: usize = 32 << 10;
/// Most header lines of a request.
const MAX_HEADERS: usize = 128;
/// The version in every message of SOCKS5.
const SOCKS: u8 = 5;

/// How an app came to ask for a host: its answers follow from that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It connected to it, and was redirected here.
    Redirected,
    /// By SOCKS5.
    Socks,
    /// By HTTP CONNECT.
    Connect,
    /// By a request in absolute form.
    Forward,
}

/// What an app asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// A name in lower case, or an address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// How it asks.
    pub manner: Manner,
    /// What it has said to the host already.
    pub first: Vec<u8>,
}

impl Manner {
    /// What an app is told when its host has been reached, before anything the host says.
    pub fn reached(self) -> &'static [u8] {
        match self {
            Self::Redirected | Self::Forward => b"",
            Self::Socks => &[SOCKS, 0, 0, 1, 0, 0, 0, 0, 0, 0],
            Self::Connect => b"HTTP/1.1 200 Connection established\r\n\r\n",
        }
    }

    /// What an app is told when its host is not reached; `None` where that depends on what it says
    /// next.
    pub fn refused(self, host: &str, refusal: &Refusal) -> Option<Vec<u8>> {
        match self {
            Self::Redirected => None,
            Self::Socks => {
                // Not allowed by the rules, or host unreachable (RFC 1928, section 6).
                let reply = match refusal {
                    Refusal::NotAllowed { .. } | Refusal::Capped { .. } => 2,
                    Refusal::Unreachable { .. } => 4,
                };
                Some(vec![SOCKS, reply, 0, 1, 0, 0, 0, 0, 0, 0])
            }
            Self::Connect | Self::Forward => Some(refusal.response(host)),
        }
    }
}

/// Hears what an app asks for. `None` when that is nothing a proxy does; the app has been told so
/// where its language has words for it.
///
/// # Errors
/// When the app leaves.
pub async fn hear(stream: &mut TcpStream) -> io::Result<Option<Wanted>> {
    let first = stream.read_u8().await?;
    if first == SOCKS {
        return hear_socks(stream).await;
    }
    let mut bytes = vec![first];
    loop {
        match heard(&bytes) {
            Heard::Wanted(wanted) => return Ok(Some(wanted)),
            Heard::More => {}
            Heard::Wrong => {
                let words = refusal("400 Bad Request", "This is a proxy for HTTP and SOCKS5.");
                stream.write_all(&words).await?;
                return Ok(None);
            }
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// SOCKS5 after its first byte.
async fn hear_socks(stream: &mut TcpStream) -> io::Result<Option<Wanted>> {
    let mut methods = vec![0; usize::from(stream.read_u8().await?)];
    stream.read_exact(&mut methods).await?;
    // No authentication, or none that will do.
    let method = if methods.contains(&0) { 0 } else { 0xff };
    stream.write_all(&[SOCKS, method]).await?;
    if method != 0 {
        return Ok(None);
    }
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [version, command, _, kind] = head;
    let host = match kind {
        1 => {
            let mut octets = [0; 4];
            stream.read_exact(&mut octets).await?;
            Some(Ipv4Addr::from(octets).to_string())
        }
        4 => {
            let mut octets = [0; 16];
            stream.read_exact(&mut octets).await?;
            Some(Ipv6Addr::from(octets).to_string())
        }
        3 => {
            let mut name = vec![0; usize::from(stream.read_u8().await?)];
            stream.read_exact(&mut name).await?;
            std::str::from_utf8(&name).ok().and_then(host_of)
        }
        _ => return Ok(None),
    };
    let port = stream.read_u16().await?;
    // 7: command not supported; 8: no such kind of address; 4: no such host.
    let code = match (version, command) {
        (SOCKS, 1) if host.is_none() || port == 0 => 4,
        (SOCKS, 1) => 0,
        (SOCKS, _) => 7,
        _ => return Ok(None),
    };
    match host.filter(|_| code == 0) {
        Some(host) => Ok(Some(Wanted { host, port, manner: Manner::Socks, first: Vec::new() })),
        None => {
            stream.write_all(&[SOCKS, code, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
            Ok(None)
        }
    }
}

/// What the first bytes of a connection ask for.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// This.
    Wanted(Wanted),
    /// More bytes are needed to tell.
    More,
    /// Nothing that a proxy does.
    Wrong,
}

/// What a connection to an HTTP proxy asks for, by its first bytes.
pub fn heard(bytes: &[u8]) -> Heard {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD => length,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return Heard::More,
        Ok(httparse::Status::Complete(_) | httparse::Status::Partial) | Err(_) => return Heard::Wrong,
    };
    let rest = bytes.get(length..).unwrap_or_default();
    let (Some(method), Some(target)) = (request.method, request.path) else { return Heard::Wrong };
    let wanted = match method {
        "CONNECT" => authority(target, None).map(|(host, port)| Wanted {
            host,
            port,
            manner: Manner::Connect,
            first: rest.to_vec(),
        }),
        _ => absolute(target).and_then(|(said, path)| {
            let (host, port) = authority(said, Some(80))?;
            let first = in_origin_form(method, said, path, request.version?, request.headers, rest);
            Some(Wanted { host, port, manner: Manner::Forward, first })
        }),
    };
    wanted.map_or(Heard::Wrong, Heard::Wanted)
}

/// Authority and path of a target in absolute form; the path is empty, or begins with `/` or `?`.
fn absolute(target: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = target.split_once("://")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    scheme.eq_ignore_ascii_case("http").then_some(rest.split_at(end))
}

/// The host and port of an authority. One with a user in it is refused.
fn authority(text: &str, default: Option<u16>) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            let port = after.strip_prefix(':');
            (after.is_empty() || port.is_some()).then_some((host, port))?
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = match port.filter(|port| !port.is_empty()) {
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => port.parse().ok()?,
        Some(_) => return None,
        None => default?,
    };
    (port != 0).then_some((host_of(host)?, port))
}

/// A host as rules have it. Names without a dot, and `localhost`, would mean something else here
/// than they do to the app.
fn host_of(text: &str) -> Option<String> {
    if let Ok(address) = text.parse::<std::net::IpAddr>() {
        return Some(address.to_string());
    }
    host_name(text).filter(|name| name.contains('.') && !name.ends_with(".localhost"))
}

/// The request as the host itself is asked: the proxy's own lines are left out, the host is the
/// one that was named in the target, and the connection is for this request alone, since the next
/// may be for another host.
fn in_origin_form(
    method: &str,
    authority: &str,
    path: &str,
    version: u8,
    headers: &[httparse::Header<'_>],
    rest: &[u8],
) -> Vec<u8> {
    const OWN: [&str; 5] = ["host", "connection", "proxy-connection", "proxy-authorization", "keep-alive"];
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut bytes =
        format!("{method} {slash}{path} HTTP/1.{version}\r\nHost: {authority}\r\nConnection: close\r\n")
            .into_bytes();
    for header in headers.iter().filter(|h| !OWN.iter().any(|own| h.name.eq_ignore_ascii_case(own))) {
        bytes.extend(header.name.as_bytes());
        bytes.extend(b": ");
        bytes.extend(header.value);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"\r\n");
    bytes.extend(rest);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::{Request, end_of_head};
    use proptest::prelude::*;
    use tokio::net::TcpListener;

    fn wanted(text: &str) -> Option<Wanted> {
        match heard(text.as_bytes()) {
            Heard::Wanted(wanted) => Some(wanted),
            Heard::More | Heard::Wrong => None,
        }
    }

    #[test]
    fn a_tunnel_is_asked_for_by_authority() {
        let said = wanted("CONNECT A.Example:443 HTTP/1.1\r\nHost: b.example\r\n\r\n\x16\x03").unwrap();
        assert_eq!((said.host.as_str(), said.port, said.manner), ("a.example", 443, Manner::Connect));
        assert_eq!(said.first, b"\x16\x03");
        assert_eq!(wanted("CONNECT [::1]:443 HTTP/1.1\r\n\r\n").unwrap().host, "::1");
        for wrong in [
            "a.example",
            "[::1]443",
            "a.example:0",
            "a.example:+1",
            "me@a.example:1",
            "localhost:1",
            "a:1",
            ":1",
        ] {
            let text = format!("CONNECT {wrong} HTTP/1.1\r\n\r\n");
            assert_eq!(heard(text.as_bytes()), Heard::Wrong, "{wrong}");
        }
        assert_eq!(heard(b"CONNECT a.example:443 HTTP/1.1\r\n"), Heard::More);
    }

    #[test]
    fn a_request_is_passed_on_as_the_host_itself_is_asked() {
        let said = wanted(
            "GET http://a.example:8080/x?y HTTP/1.1\r\nHost: other.example\r\nAccept: */*\r\n\
             Proxy-Authorization: Basic x\r\nProxy-Connection: keep-alive\r\n\r\nbody",
        )
        .unwrap();
        assert_eq!((said.host.as_str(), said.port, said.manner), ("a.example", 8080, Manner::Forward));
        assert_eq!(
            String::from_utf8(said.first).unwrap(),
            "GET /x?y HTTP/1.1\r\nHost: a.example:8080\r\nConnection: close\r\nAccept: */*\r\n\r\nbody"
        );
        let said = wanted("GET http://a.example?y HTTP/1.1\r\n\r\n").unwrap();
        assert!(said.first.starts_with(b"GET /?y HTTP/1.1\r\n") && said.port == 80);
        for wrong in ["/x", "https://a.example/", "http://localhost/", "http://a.example:x/", "*"] {
            let text = format!("GET {wrong} HTTP/1.1\r\nHost: a.example\r\n\r\n");
            assert_eq!(heard(text.as_bytes()), Heard::Wrong, "{wrong}");
        }
    }

    /// What is heard of an app that says this, and what it is told.
    async fn heard_of(said: &[u8]) -> (Option<Wanted>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut app = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        app.write_all(said).await.unwrap();
        app.shutdown().await.unwrap();
        let wanted = hear(&mut stream).await.ok().flatten();
        stream.shutdown().await.unwrap();
        let mut told = Vec::new();
        app.read_to_end(&mut told).await.unwrap();
        (wanted, told)
    }

    #[tokio::test]
    async fn socks_takes_names_and_addresses() {
        for (said, host, port) in [
            (&b"\x05\x01\x00\x05\x01\x00\x03\x09A.example\x01\xbb"[..], "a.example", 443),
            (b"\x05\x02\x01\x00\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x50", "192.0.2.1", 80),
            (b"\x05\x01\x00\x05\x01\x00\x03\x09192.0.2.1\x00\x50", "192.0.2.1", 80),
            (b"\x05\x01\x00\x05\x01\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x50", "::1", 80),
        ] {
            let (wanted, told) = heard_of(said).await;
            let expected = Wanted { host: host.into(), port, manner: Manner::Socks, first: Vec::new() };
            assert_eq!((wanted, told), (Some(expected), vec![5, 0]));
        }
        for (said, told) in [
            // Only with a password; binding; a name of the local network; cut short.
            (&b"\x05\x01\x02"[..], &b"\x05\xff"[..]),
            (b"\x05\x01\x00\x05\x02\x00\x01\x7f\x00\x00\x01\x00\x50", b"\x05\x00\x05\x07\0\x01\0\0\0\0\0\0"),
            (b"\x05\x01\x00\x05\x01\x00\x03\x09localhost\x00\x50", b"\x05\x00\x05\x04\0\x01\0\0\0\0\0\0"),
            (b"\x05\x01\x00\x05\x01", b"\x05\x00"),
        ] {
            assert_eq!(heard_of(said).await, (None, told.to_vec()));
        }
        let (wanted, told) = heard_of(b"hello proxy\r\n\r\n").await;
        assert!(wanted.is_none() && told.starts_with(b"HTTP/1.1 400"));
    }

    proptest! {
        #[test]
        fn what_is_passed_on_names_the_host_that_was_decided_about(
            host in "[a-z]{1,9}\\.[a-z]{2,5}",
            path in "[!-~]{0,20}",
            value in "[ -~]{0,20}",
        ) {
            let text = format!("GET http://{host}/{path} HTTP/1.1\r\nHost: {value}\r\nX: {value}\r\n\r\n");
            if let Some(said) = wanted(&text) {
                let end = end_of_head(&said.first).unwrap().unwrap();
                // What it says may still be refused when it is read as any request is.
                if let Ok(read) = Request::parse(&said.first[..end], "http") {
                    prop_assert_eq!(read.host, host);
                }
            }
        }

        #[test]
        fn arbitrary_bytes_are_heard_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = heard(&bytes);
        }
    }
}
