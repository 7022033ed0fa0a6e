//! What a connection's first bytes say of the host they are meant for.

use rustls::server::Acceptor;
use sessile_model::network::host_name;

/// Most bytes looked at: a ClientHello with post-quantum key shares and tickets fits.
pub const MOST: usize = 32 << 10;
/// Most header lines of a request that are looked at.
const MAX_HEADERS: usize = 128;

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// More bytes are needed to tell.
    Unclear,
    /// TLS, with the server's name, if one is said (RFC 6066, section 3).
    Tls {
        /// The name.
        name: Option<String>,
    },
    /// HTTP/1, with the host that the request is for (RFC 9112, section 3.2).
    Http {
        /// The name or address, without a port; `None` when none is said.
        host: Option<String>,
    },
    /// Neither, or broken.
    Other,
}

/// Looks at the first bytes of a connection.
pub fn look(bytes: &[u8]) -> Sight {
    match bytes.first() {
        None => Sight::Unclear,
        // A TLS record of type handshake (RFC 8446, section 5.1).
        Some(0x16) => look_at_tls(bytes),
        Some(first) if first.is_ascii_uppercase() => look_at_http(bytes),
        Some(_) => Sight::Other,
    }
}

fn look_at_tls(bytes: &[u8]) -> Sight {
    let mut acceptor = Acceptor::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        if !matches!(acceptor.read_tls(&mut rest), Ok(count) if count > 0) {
            return Sight::Other;
        }
    }
    match acceptor.accept() {
        Ok(Some(accepted)) => Sight::Tls { name: accepted.client_hello().server_name().map(str::to_owned) },
        Ok(None) if bytes.len() < MOST => Sight::Unclear,
        Ok(None) | Err(_) => Sight::Other,
    }
}

fn look_at_http(bytes: &[u8]) -> Sight {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {
            let mut named = request.headers.iter().filter(|h| h.name.eq_ignore_ascii_case("host"));
            let host = named.next().and_then(|h| std::str::from_utf8(h.value).ok());
            if named.next().is_some() {
                return Sight::Http { host: None };
            }
            // The absolute form wins over the header (RFC 9112, section 3.2.2).
            let target = request.path.and_then(|path| path.strip_prefix("http://"));
            let authority = target.map(|rest| rest.split(['/', '?']).next().unwrap_or_default());
            Sight::Http { host: authority.or(host).and_then(host_of) }
        }
        Ok(httparse::Status::Partial) if bytes.len() < MOST => Sight::Unclear,
        Ok(httparse::Status::Partial) | Err(_) => Sight::Other,
    }
}

/// The host of an authority, as rules have it.
fn host_of(authority: &str) -> Option<String> {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next()?,
        None => authority.split(':').next()?,
    };
    let address = host.parse::<std::net::IpAddr>().ok().map(|a| a.to_string());
    address.or_else(|| host_name(host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn http(text: &str) -> Sight {
        look(text.as_bytes())
    }

    /// The first flight of a real client.
    fn hello(name: &str) -> Vec<u8> {
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let name = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
        let mut client = rustls::ClientConnection::new(config.into(), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_client_hello_says_the_name() {
        let bytes = hello("api.example.com");
        assert_eq!(look(&bytes), Sight::Tls { name: Some("api.example.com".into()) });
        for cut in 1..bytes.len() {
            assert_eq!(look(&bytes[..cut]), Sight::Unclear, "{cut}");
        }
        assert_eq!(look(&hello("192.0.2.1")), Sight::Tls { name: None });
    }

    #[test]
    fn a_request_says_the_host() {
        let host = |h: &str| Sight::Http { host: Some(h.into()) };
        assert_eq!(http("GET / HTTP/1.1\r\nHost: A.Example:80\r\n\r\n"), host("a.example"));
        assert_eq!(http("GET / HTTP/1.1\r\nhost: [2001:db8::1]:80\r\n\r\n"), host("2001:db8::1"));
        assert_eq!(http("GET http://b.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n"), host("b.example"));
        for unsaid in [
            "GET / HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        ] {
            assert_eq!(http(unsaid), Sight::Http { host: None }, "{unsaid}");
        }
        assert_eq!(http("GET / HTTP/1.1\r\nHost: a"), Sight::Unclear);
        assert_eq!(http("SSH-2.0-x\r\n"), Sight::Other);
        assert_eq!(look(b"\x00"), Sight::Other);
        assert_eq!(look(b""), Sight::Unclear);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_looked_at_in_bounds(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            look(&bytes);
            look(&[&[0x16, 3, 1][..], &bytes].concat());
            look(&[&b"GET / HTTP/1.1\r\nHost:"[..], &bytes].concat());
        }
    }
}
