//! What a connection's first bytes say of the host they are meant for.

use rustls::server::Acceptor;

/// Most bytes looked at: a ClientHello with post-quantum key shares and tickets fits.
pub const MOST: usize = 32 << 10;
/// Methods that servers know: with a path behind one, a line is taken for a request, whatever else is in it.
const METHODS: [&str; 26] = [
    "get",
    "head",
    "post",
    "put",
    "delete",
    "connect",
    "options",
    "trace",
    "patch",
    "propfind",
    "proppatch",
    "mkcol",
    "copy",
    "move",
    "lock",
    "unlock",
    "search",
    "report",
    "merge",
    "query",
    "purge",
    "link",
    "unlink",
    "subscribe",
    "notify",
    "source",
];

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
    /// Records of TLS that hold no ClientHello that could be read: some server may read one in them.
    BrokenTls,
    /// HTTP/1, in order or not.
    Http,
    /// Neither.
    Other,
}

/// Looks at the first bytes of a connection.
pub fn look(bytes: &[u8]) -> Sight {
    match bytes {
        // Some type of TLS record, and the version that all have (RFC 8446, section 5.1).
        [] | [0x14..=0x17] => Sight::Unclear,
        [0x16, 3, ..] => look_at_tls(bytes),
        [0x14 | 0x15 | 0x17, 3, ..] => Sight::BrokenTls,
        _ => look_at_http(bytes),
    }
}

fn look_at_tls(bytes: &[u8]) -> Sight {
    let mut acceptor = Acceptor::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        if !matches!(acceptor.read_tls(&mut rest), Ok(count) if count > 0) {
            return Sight::BrokenTls;
        }
    }
    match acceptor.accept() {
        Ok(Some(accepted)) => Sight::Tls { name: accepted.client_hello().server_name().map(str::to_owned) },
        Ok(None) if bytes.len() < MOST => Sight::Unclear,
        Ok(None) | Err(_) => Sight::BrokenTls,
    }
}

/// A request, if its first line says so; whether it is sound is for who reads it. What some servers put
/// up with (blanks before it and other blanks in it, a bare LF, no version) makes it nothing else.
fn look_at_http(bytes: &[u8]) -> Sight {
    let begin = bytes.iter().position(|b| !is_blank(*b)).unwrap_or(bytes.len());
    let bytes = bytes.get(begin..).unwrap_or_default();
    let end = bytes.iter().position(|b| *b == b'\n');
    let line = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
    let method = line.iter().position(|b| !is_token(*b)).unwrap_or(line.len());
    let (method, rest) = line.split_at(method);
    let blanks = rest.iter().position(|b| !is_blank(*b)).unwrap_or(rest.len());
    let (blanks, target) = rest.split_at(blanks);
    if line == b"PRI * HTTP/2.0\r" {
        return Sight::Other;
    }
    let begun = !method.is_empty() && !blanks.is_empty();
    let known = begun
        && METHODS.iter().any(|known| method.eq_ignore_ascii_case(known.as_bytes()))
        && (target.first() == Some(&b'/') || begins(target, b"http"));
    let versioned =
        begun && target.split(|b| is_blank(*b)).any(|w| begins(w, b"http/") || begins(w, b"icy/"));
    let text = line.iter().all(|b| b.is_ascii_graphic() || is_blank(*b));
    let may_become = text && (rest.is_empty() || begun);
    match end {
        Some(_) if known || versioned => Sight::Http,
        Some(_) => Sight::Other,
        None if (may_become || known || versioned) && line.len() < MOST => Sight::Unclear,
        // No server that anybody reaches takes more; who reads requests refuses it.
        None if known || versioned || (may_become && begun) => Sight::Http,
        None => Sight::Other,
    }
}

/// What some server takes for a blank: of Latin-1, what Python and others do.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | 0x1c..=0x1f | b' ' | 0x85 | 0xa0)
}

fn begins(text: &[u8], with: &[u8]) -> bool {
    text.get(..with.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(with))
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
        for other in [
            "SSH-2.0-x\r\n",
            "PRI * HTTP/2.0\r\n",
            "HTTP/1.1\r\n",
            "EHLO a\r\n",
            "get key\r\n",
            "0033git-upload-pack /project.git\0host=a\0",
            "OPTIONS rtsp://a/ RTSP/1.0\r\n",
            "a\0",
            "\0",
        ] {
            assert_eq!(http(other), Sight::Other, "{other:?}");
        }
    }

    /// Each of these is answered by some server as the request that it resembles.
    #[test]
    fn what_a_server_might_take_for_a_request_is_one() {
        let long = format!("{} / HTTP/1.1\r\n", "A".repeat(100));
        let endless = format!("GET /{}", "a".repeat(MOST));
        for request in [
            "GET /\r\nHost: a\r\n",
            " GET / HTTP/1.1\r\n",
            "\x0cGET / HTTP/1.1\r\n",
            "GET\x0b/\x0bHTTP/1.1\r\n",
            "GET / HTTP/3.1\r\n",
            "GET / ICY/1.1\r\n",
            "GET http://a/ FTP/1.1\r\n",
            "GET /\u{e9} HTTP/1.1\r\n",
            &long,
            &endless,
        ] {
            assert_eq!(http(request), Sight::Http, "{request:?}");
        }
        for request in [&b"\xa0GET / HTTP/1.1\r\n"[..], b"GET /\0 x\r\n", b"x\xa0/\xa0HTTP/1.1\n"] {
            assert_eq!(look(request), Sight::Http, "{request:?}");
            assert_eq!(look(&request[..request.len() - 2]), Sight::Unclear, "{request:?}");
        }
    }

    /// Servers pass over empty records, or put a ClientHello together in ways of their own.
    #[test]
    fn records_without_a_client_hello_are_not_another_protocol() {
        let hello = hello("a.example");
        let empty = [0x16, 3, 1, 0, 0];
        let between = [&[0x16, 3, 1, 0, 1, hello[5]][..], &empty, &hello[6..]].concat();
        for bytes in [
            [&empty, &hello[..]].concat(),
            between,
            [&[0x14, 3, 3, 0, 1, 1][..], &hello].concat(),
            [&[0x15, 3, 3, 0, 2, 1, 0][..], &hello].concat(),
            [0x16, 3, 1].iter().copied().chain([0x40; MOST]).collect(),
        ] {
            assert_eq!(look(&bytes), Sight::BrokenTls, "{:?}", &bytes[..12]);
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
