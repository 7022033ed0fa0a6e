//! What a connection's first bytes say of the host they are meant for.

use rustls::server::Acceptor;

/// Most bytes looked at: a ClientHello with post-quantum key shares and tickets fits.
pub const MOST: usize = 32 << 10;
/// Most bytes of a method.
const MAX_METHOD: usize = 32;

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
    /// HTTP/1, in order or not.
    Http,
    /// Neither, or broken.
    Other,
}

/// Looks at the first bytes of a connection.
pub fn look(bytes: &[u8]) -> Sight {
    match bytes.first() {
        None => Sight::Unclear,
        // A TLS record of type handshake (RFC 8446, section 5.1).
        Some(0x16) => look_at_tls(bytes),
        Some(_) => look_at_http(bytes),
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

/// A request, if its first line says so; whether the rest is sound is for who reads it. What some
/// servers put up with (empty lines before it, tabs, a bare LF) does not make it anything else.
fn look_at_http(bytes: &[u8]) -> Sight {
    let begin = bytes.iter().position(|b| !matches!(b, b'\r' | b'\n')).unwrap_or(bytes.len());
    let bytes = bytes.get(begin..).unwrap_or_default();
    let end = bytes.iter().position(|b| *b == b'\n');
    let line = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
    let method = line.iter().position(|b| !is_token(*b)).unwrap_or(line.len());
    let text = line.iter().all(|b| b.is_ascii_graphic() || matches!(b, b' ' | b'\t' | b'\r'));
    let behind = line.get(method).is_none_or(|b| matches!(b, b' ' | b'\t'));
    match end {
        None if text && behind && method <= MAX_METHOD && line.len() < MOST => Sight::Unclear,
        None => Sight::Other,
        Some(_) => {
            let line = line.trim_ascii_end();
            let last = line.rsplit(|b| matches!(b, b' ' | b'\t')).next().unwrap_or_default();
            let version = last.get(..7).is_some_and(|v| v.eq_ignore_ascii_case(b"HTTP/1."));
            if method > 0 && version && last.len() < line.len() { Sight::Http } else { Sight::Other }
        }
    }
}

/// Bytes of a method (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
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
    fn a_request_is_seen_by_its_first_line() {
        for request in
            ["GET / HTTP/1.1\r\n", "get / HTTP/1.1\r\n", "\r\n\nGET / HTTP/1.1\n", "X-Y\t/\thttp/1.0 \r\n"]
        {
            assert_eq!(http(request), Sight::Http, "{request:?}");
            for cut in 0..request.trim_end().len() {
                assert_eq!(http(&request[..cut]), Sight::Unclear, "{request:?} {cut}");
            }
        }
        for other in ["SSH-2.0-x\r\n", "PRI * HTTP/2.0\r\n", "HTTP/1.1\r\n", "EHLO a\r\n", "a\0", "\0"] {
            assert_eq!(http(other), Sight::Other, "{other:?}");
        }
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
