//! What heads are understood, and which are refused.

use super::*;
use proptest::prelude::*;

fn request(text: &str) -> Result<Request, BadHead> {
    let end = end_of_head(text.as_bytes())?;
    Request::parse(&text.as_bytes()[..end.ok_or(BadHead::Syntax)?], "http")
}

fn response(text: &str, method: &str) -> Result<Response, BadHead> {
    let end = end_of_head(text.as_bytes())?;
    Response::parse(&text.as_bytes()[..end.ok_or(BadHead::Syntax)?], method)
}

fn with(lines: &str) -> Result<Request, BadHead> {
    request(&format!("POST /x HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n"))
}

#[test]
fn a_request_is_passed_on_as_it_was_understood() {
    let text = "GET /a?b=c HTTP/1.1\r\nHost: A.Example:8080\r\nX-Thing:  1 \r\n\r\n";
    let read = request(text).unwrap();
    assert_eq!((read.host.as_str(), read.framing, read.close), ("a.example", Framing::Length(0), false));
    assert_eq!(
        String::from_utf8(read.write()).unwrap(),
        "GET /a?b=c HTTP/1.1\r\nHost: A.Example:8080\r\nX-Thing: 1\r\n\r\n"
    );
    let absolute = request("GET http://a.example?q HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
    assert_eq!(absolute.target, "/?q");
    assert!(request("GET / HTTP/1.0\r\nHost: a.example\r\n\r\n").unwrap().close);
}

/// What some servers take for a request is read by nobody.
#[test]
fn first_lines_that_are_nearly_right_are_refused() {
    for line in [
        "GET /",
        " GET / HTTP/1.1",
        "\x0cGET / HTTP/1.1",
        "GET\x0b/\x0bHTTP/1.1",
        "GET / HTTP/3.1",
        "GET / ICY/1.1",
    ] {
        assert!(request(&format!("{line}\r\nHost: a.example\r\n\r\n")).is_err(), "{line:?}");
    }
}

#[test]
fn smuggling_is_refused() {
    for (lines, why) in [
        ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", BadHead::Framing),
        ("Content-Length: 3\r\nContent-Length: 4\r\n", BadHead::Framing),
        ("Content-Length: 3\r\nContent-Length: 3\r\n", BadHead::Framing),
        ("Content-Length: 3, 3\r\n", BadHead::Framing),
        ("Content-Length: +3\r\n", BadHead::Framing),
        ("Content-Length: -1\r\n", BadHead::Framing),
        ("Content-Length: 0x3\r\n", BadHead::Framing),
        ("Content-Length: \r\n", BadHead::Framing),
        ("Content-Length: 99999999999999999999\r\n", BadHead::Framing),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", BadHead::Framing),
        ("Transfer-Encoding: gzip, chunked\r\n", BadHead::Framing),
        ("Transfer-Encoding: xchunked\r\n", BadHead::Framing),
        ("Transfer-Encoding: \x0bchunked\r\n", BadHead::Syntax),
        ("Transfer-Encoding : chunked\r\n", BadHead::Syntax),
        ("X: a\r\n Transfer-Encoding: chunked\r\n", BadHead::Syntax),
        ("X: a\r\n\tb\r\n", BadHead::Syntax),
        ("Connection: content-length\r\nContent-Length: 3\r\n", BadHead::Framing),
        ("Connection: host\r\n", BadHead::Framing),
        ("X: a\nTransfer-Encoding: chunked\r\n", BadHead::LineEnd),
        ("X: a\rTransfer-Encoding: chunked\r\n", BadHead::LineEnd),
        ("X: a\0b\r\n", BadHead::Syntax),
        ("Host: b.example\r\n", BadHead::Host),
        ("Host: a.example\r\n", BadHead::Host),
        ("hOST: a.example\r\n", BadHead::Host),
    ] {
        assert_eq!(with(lines), Err(why), "{lines:?}");
    }
    assert_eq!(with("Transfer-Encoding: Chunked\r\n").unwrap().framing, Framing::Chunked);
    let old = "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(request(old), Err(BadHead::Framing));
}

#[test]
fn another_host_in_the_target_is_refused() {
    for (line, why) in [
        ("GET http://b.example/ HTTP/1.1", BadHead::Target),
        ("GET https://a.example/ HTTP/1.1", BadHead::Target),
        ("GET http://a.example:81/ HTTP/1.1", BadHead::Target),
        ("GET http://a.example@b.example/ HTTP/1.1", BadHead::Target),
        ("GET http://b.example\\@a.example/ HTTP/1.1", BadHead::Target),
        ("GET //b.example#/ HTTP/1.1", BadHead::Target),
        ("GET a.example HTTP/1.1", BadHead::Target),
        ("GET * HTTP/1.1", BadHead::Target),
        ("CONNECT a.example:443 HTTP/1.1", BadHead::Method),
        ("GET  / HTTP/1.1", BadHead::Syntax),
        ("GET / HTTP/2.0", BadHead::Syntax),
        ("GET /", BadHead::Syntax),
        ("GET / HTTP/1.1 ", BadHead::Syntax),
    ] {
        assert_eq!(request(&format!("{line}\r\nHost: a.example\r\n\r\n")), Err(why), "{line}");
    }
    for unsaid in ["", "Host: a b\r\n", "Host:\r\n", "Host: a.example, b\r\n", "Host: u@a.example\r\n"] {
        assert_eq!(request(&format!("GET / HTTP/1.1\r\n{unsaid}\r\n")), Err(BadHead::Host), "{unsaid}");
    }
}

#[test]
fn a_head_has_limits() {
    assert_eq!(with(&"X: y\r\n".repeat(MAX_HEADERS)), Err(BadHead::TooLong));
    assert_eq!(end_of_head(&vec![b'x'; MAX_HEAD]), Err(BadHead::TooLong));
    assert_eq!(end_of_head(&vec![b'x'; MAX_HEAD - 1]), Ok(None));
}

#[test]
fn only_websockets_are_gone_over_to() {
    let asks = |connection: &str, upgrade: &str| {
        with(&format!("Connection: {connection}\r\nUpgrade: {upgrade}\r\nX-Hop: 1\r\n")).unwrap()
    };
    let read = asks("Upgrade", "websocket");
    assert!(read.upgrade && read.headers.all("upgrade").count() == 1);
    for (connection, upgrade) in [("Upgrade", "h2c"), ("Upgrade", "websocket, h2c"), ("close", "websocket")] {
        let read = asks(connection, upgrade);
        assert!(!read.upgrade && read.headers.all("upgrade").count() == 0, "{connection} {upgrade}");
    }
    assert_eq!(asks("close, x-hop", "h2c").headers.all("x-hop").count(), 0);
}

#[test]
fn a_responses_body_depends_on_its_request() {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(response(ok, "GET").unwrap().framing, Framing::Length(5));
    assert_eq!(response(ok, "HEAD").unwrap().framing, Framing::Length(0));
    let none = response("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "GET").unwrap();
    assert_eq!(none.framing, Framing::Length(0));
    let open = response("HTTP/1.1 200 OK\r\n\r\n", "GET").unwrap();
    assert!(open.framing == Framing::UntilClose && open.close);
    let both = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(response(both, "GET"), Err(BadHead::Framing));
}

#[test]
fn a_secret_is_concealed_in_every_value_and_name() {
    let text = "HTTP/1.1 200 OK\r\nX: a Bearer s3 b Bearer s3\r\nY: no\r\nX-K3Y-s3: z\r\n\r\n";
    let mut read = response(text, "GET").unwrap();
    read.headers.conceal(b"Bearer s3");
    read.headers.conceal(b"k3y-S3");
    assert_eq!(read.headers.all("x").collect::<Vec<_>>(), [&b"a - b -"[..]]);
    assert_eq!(String::from_utf8(read.write()).unwrap(), "HTTP/1.1 200 OK\r\nX: a - b -\r\nY: no\r\n\r\n");
}

proptest! {
    /// What is passed on is understood again as the same.
    #[test]
    fn what_is_written_is_read_the_same(
        lines in proptest::collection::vec(
            "(Content-Length|Transfer-Encoding|Connection|Upgrade|Host|X-A): ?[a-z0-9, +;]{0,12}(\r\n|\n|\r\n )", 0..5)
    ) {
        if let Ok(read) = with(&lines.concat()) {
            let again = request(std::str::from_utf8(&read.write()).unwrap()).unwrap();
            prop_assert_eq!(read, again);
        }
    }

    #[test]
    fn arbitrary_bytes_are_read_in_bounds(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        for text in [bytes.clone(), [b"GET / HTTP/1.1\r\nHost: a\r\n", &bytes[..], b"\r\n\r\n"].concat()] {
            if let Ok(Some(end)) = end_of_head(&text) {
                let _ = (Request::parse(&text[..end], "http"), Response::parse(&text[..end], "GET"));
            }
        }
    }
}
