//! What an app and a host say to a gateway: first bytes, heads and bodies of HTTP/1, what a proxy is
//! asked for.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sessile_fuzz::{Draw, plant};
use sessile_network::http::body::{BadBody, Body, Step};
use sessile_network::http::head::{BadHead, Framing, Headers, MAX_HEAD, Request, Response, end_of_head};
use sessile_network::proxy::{Heard, Manner, heard};
use sessile_network::sight::{Sight, look};

fuzz_target!(init: plant(seeds()), |data: &[u8]| {
    let mut draw = Draw(data);
    match draw.byte() % 4 {
        0 => request(draw.0),
        1 => response(draw),
        2 => body(draw),
        _ => proxy(draw.0),
    }
});

/// Where a head ends, which no byte behind it changes.
fn head(bytes: &[u8]) -> Option<&[u8]> {
    let end = end_of_head(bytes).ok()??;
    let head = &bytes[..end];
    assert!(end <= MAX_HEAD && head.ends_with(b"\r\n\r\n"));
    assert_eq!(end_of_head(head), Ok(Some(end)));
    assert_eq!(end_of_head(&bytes[..end - 1]), Ok(None), "it ends with its last byte");
    Some(head)
}

fn request(bytes: &[u8]) {
    let sight = look(bytes);
    let Some(head) = head(bytes) else { return };
    let Ok(read) = Request::parse(head, "http") else { return };
    assert_eq!(sight, Sight::Http, "what is a request is seen as one");
    let written = read.write();
    plain(&written, &read.headers);
    assert_eq!(read.headers.all("host").count(), 1);
    assert!(read.framing != Framing::UntilClose);
    assert!(read.target.starts_with('/') || read.target == "*");
    // The next to read it understands the same.
    assert_eq!(Request::parse(&written, "http"), Ok(read));
}

fn response(mut draw: Draw<'_>) {
    let method = ["GET", "HEAD", "POST"][usize::from(draw.byte() % 3)];
    let Some(head) = head(draw.0) else { return };
    let Ok(read) = Response::parse(head, method) else { return };
    let written = read.write();
    plain(&written, &read.headers);
    assert_eq!(Response::parse(&written, method), Ok(read.clone()));
    let mut concealed = read.headers;
    concealed.conceal(b"secret");
    let left = |value: &[u8]| value.windows(6).any(|window| window == b"secret");
    assert!(!["authorization", "x"].into_iter().any(|name| concealed.all(name).any(left)));
}

/// One head, and of lengths and codings one at most.
fn plain(written: &[u8], headers: &Headers) {
    assert_eq!(end_of_head(written), Ok(Some(written.len())));
    assert!(headers.all("content-length").count() + headers.all("transfer-encoding").count() <= 1);
}

/// A body reads the same in whatever pieces it comes, and once more when it is made anew.
fn body(mut draw: Draw<'_>) {
    let framing = match draw.byte() % 3 {
        0 => Framing::Length(draw.word().into()),
        1 => Framing::Chunked,
        _ => Framing::UntilClose,
    };
    let piece = usize::from(draw.byte()) + 1;
    let bytes = draw.0;
    let whole = parts(framing, bytes, bytes.len().max(1));
    let pieces = parts(framing, bytes, piece);
    match (&whole, &pieces) {
        (Ok((one, ended)), Ok((other, also))) => assert_eq!((one, ended), (other, also)),
        (one, other) => assert_eq!(one.is_err(), other.is_err()),
    }
    let Ok((content, Some(end))) = whole else { return };
    assert!(end <= bytes.len() && content.len() <= end);
    if framing == Framing::Chunked {
        let mut anew = Vec::new();
        for chunk in content.chunks(piece) {
            anew.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            anew.extend_from_slice(chunk);
            anew.extend_from_slice(b"\r\n");
        }
        anew.extend_from_slice(b"0\r\n\r\n");
        let length = anew.len();
        anew.extend_from_slice(b"GET");
        assert_eq!(parts(framing, &anew, piece), Ok((content, Some(length))));
    }
}

/// The content, and where the body ended if it did.
fn parts(framing: Framing, bytes: &[u8], piece: usize) -> Result<(Vec<u8>, Option<usize>), BadBody> {
    let (mut body, mut content, mut at, mut known) = (Body::new(framing), Vec::new(), 0, 0);
    loop {
        match body.step(&bytes[at..known])? {
            Step::More if known == bytes.len() => return Ok((content, None)),
            Step::More => known = (known + piece).min(bytes.len()),
            Step::Framing(count) => at += count,
            Step::Content(count) => {
                assert!(count > 0);
                content.extend_from_slice(&bytes[at..at + count]);
                at += count;
            }
            Step::End => return Ok((content, Some(at))),
        }
        assert!(at <= known);
    }
}

fn proxy(bytes: &[u8]) {
    let Heard::Wanted(wanted) = heard(bytes) else { return };
    assert!(wanted.port != 0 && !wanted.host.is_empty());
    match wanted.manner {
        Manner::Connect => assert!(bytes.ends_with(&wanted.first)),
        Manner::Forward => {
            let head = head(&wanted.first).expect("a whole head");
            // It may be refused; it is not for another host than the one that was decided about.
            match Request::parse(head, "http") {
                Ok(read) => assert_eq!(read.host, wanted.host),
                Err(why) => assert!(why != BadHead::Host, "the host was understood before"),
            }
        }
        Manner::Socks | Manner::Redirected => panic!("no request is one of these"),
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let texts: [&[u8]; 14] = [
        b"\0GET /a?b HTTP/1.1\r\nHost: a.example:80\r\nConnection: keep-alive, x\r\nX: 1\r\n\r\n",
        b"\0POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"\0GET / HTTP/1.1\r\nHost: [::1]\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"\0PUT / HTTP/1.0\r\nHost: 192.0.2.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
        b"\0OPTIONS * HTTP/1.1\r\nHost: a.example\r\nX: a\r\n b\r\n\r\n",
        b"\x01\0HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX: a secret\r\n\r\nabc",
        b"\x01\x01HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"\x02\x01\x035;a=b\r\nhello\r\n0\r\nTrailer: x\r\n\r\nGET",
        b"\x02\0\x05\0\x02hello world",
        b"\x02\x02\x04until the end",
        b"\x03CONNECT a.example:443 HTTP/1.1\r\nHost: b.example\r\n\r\n\x16\x03",
        b"\x03GET http://a.example:8080/x?y HTTP/1.1\r\nHost: other\r\nProxy-Authorization: x\r\n\r\nbody",
        b"\x03GET http://[::1]?y HTTP/1.1\r\n\r\n",
        b"\0\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
    ];
    texts.map(<[u8]>::to_vec).to_vec()
}
