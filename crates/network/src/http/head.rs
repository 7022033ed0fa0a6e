//! Heads of HTTP/1 messages, read strictly (RFC 9112): what two programs might read differently is
//! refused, and what is passed on is written anew from what was understood.

use sessile_model::network::host_name;
use thiserror::Error;

use super::conceal::find;

/// Most bytes of a head.
pub const MAX_HEAD: usize = 64 << 10;
/// Most header lines.
pub const MAX_HEADERS: usize = 128;

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadHead {
    /// It is too long.
    #[error("the head has more than {MAX_HEAD} bytes or {MAX_HEADERS} lines")]
    TooLong,
    /// A line does not end in CR LF, or one of them stands elsewhere.
    #[error("a line does not end in CR LF")]
    LineEnd,
    /// It is not HTTP/1, or a line is folded, or has a space before its colon.
    #[error("it is not HTTP/1.0 or HTTP/1.1 as the standard has it")]
    Syntax,
    /// Not exactly one host, or not one.
    #[error("it does not name one host")]
    Host,
    /// The target is of a form that has no place here, or disagrees with the header Host.
    #[error("its target is not a path, or names another host than its header Host")]
    Target,
    /// Content-Length and Transfer-Encoding contradict each other or themselves.
    #[error("how long its body is can be read in two ways")]
    Framing,
    /// A method that has no place here.
    #[error("its method is not passed on")]
    Method,
}

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// By its length; 0 where there is none.
    Length(u64),
    /// In chunks.
    Chunked,
    /// By the connection's end; responses alone.
    UntilClose,
}

/// Header lines, in order.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Headers(Vec<(String, Vec<u8>)>);

impl Headers {
    /// Values of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_slice())
    }

    /// Removes every line of a name.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
    }

    /// Makes this the only line of its name.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        self.remove(name);
        self.0.push((name.to_owned(), value.to_owned()));
    }

    /// Replaces a secret wherever it stands in a value, and drops lines that have it in their name.
    pub fn conceal(&mut self, secret: &[u8]) {
        let named = |name: &str| {
            name.as_bytes().windows(secret.len().max(1)).any(|part| part.eq_ignore_ascii_case(secret))
        };
        self.0.retain(|(name, _)| !named(name));
        for (_, value) in &mut self.0 {
            let mut from = 0;
            while let Some(at) = find(value.get(from..).unwrap_or_default(), secret) {
                value.splice(from + at..from + at + secret.len(), *b"-");
                from += at + 1;
            }
        }
    }

    /// Words of a list, in lower case (RFC 9110, section 5.6.1).
    fn words(&self, name: &str) -> Vec<String> {
        let text = |value: &[u8]| String::from_utf8_lossy(value).to_ascii_lowercase();
        let lists: Vec<String> = self.all(name).map(text).collect();
        let words = lists.iter().flat_map(|list| list.split(',')).map(str::trim);
        words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    fn write(&self, to: &mut Vec<u8>) {
        for (name, value) in &self.0 {
            to.extend_from_slice(name.as_bytes());
            to.extend_from_slice(b": ");
            to.extend_from_slice(value);
            to.extend_from_slice(b"\r\n");
        }
        to.extend_from_slice(b"\r\n");
    }

    /// What is said of the body's length: `None` when nothing is.
    fn framing(&self, minor: u8) -> Result<Option<Framing>, BadHead> {
        let mut lengths = self.all("content-length");
        let mut codings = self.all("transfer-encoding");
        match (lengths.next(), codings.next()) {
            (None, None) => Ok(None),
            (Some(length), None) if lengths.next().is_none() => {
                let digits = (1..=18).contains(&length.len()) && length.iter().all(u8::is_ascii_digit);
                let length = std::str::from_utf8(length).ok().filter(|_| digits);
                length.and_then(|l| l.parse().ok()).map(|l| Some(Framing::Length(l))).ok_or(BadHead::Framing)
            }
            (None, Some(coding))
                if codings.next().is_none() && minor == 1 && coding.eq_ignore_ascii_case(b"chunked") =>
            {
                Ok(Some(Framing::Chunked))
            }
            (Some(_), _) | (None, Some(_)) => Err(BadHead::Framing),
        }
    }
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its method.
    pub method: String,
    /// Its target: a path with or without a query, or `*`.
    pub target: String,
    /// The host that it names, as rules have it.
    pub host: String,
    /// The last digit of the version.
    minor: u8,
    /// Its headers.
    pub headers: Headers,
    /// How its body is delimited.
    pub framing: Framing,
    /// It asks to go on as a WebSocket.
    pub upgrade: bool,
    /// The connection is not used again.
    pub close: bool,
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Its status.
    pub status: u16,
    reason: String,
    minor: u8,
    /// Its headers.
    pub headers: Headers,
    /// How its body is delimited.
    pub framing: Framing,
    /// The connection is not used again.
    pub close: bool,
}

/// The length of the head that these bytes begin with; `None` when its end is not there yet.
///
/// # Errors
/// When it is too long, or a line ends otherwise than in CR LF.
pub fn end_of_head(bytes: &[u8]) -> Result<Option<usize>, BadHead> {
    let mut line = 0;
    for (at, byte) in bytes.iter().enumerate().take(MAX_HEAD) {
        match byte {
            b'\n' if at == 0 || bytes[at - 1] != b'\r' => return Err(BadHead::LineEnd),
            b'\n' if at == line + 1 && line > 0 => return Ok(Some(at + 1)),
            b'\n' => line = at + 1,
            _ if at > 0 && bytes[at - 1] == b'\r' => return Err(BadHead::LineEnd),
            0 => return Err(BadHead::Syntax),
            _ => {}
        }
    }
    if bytes.len() >= MAX_HEAD { Err(BadHead::TooLong) } else { Ok(None) }
}

impl Request {
    /// Reads a whole head, that is one as long as [`end_of_head`] says.
    ///
    /// # Errors
    /// See [`BadHead`].
    pub fn parse(head: &[u8], scheme: &str) -> Result<Self, BadHead> {
        let mut lines = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Request::new(&mut lines);
        if complete(parsed.parse(head))? != head.len() {
            return Err(BadHead::Syntax);
        }
        let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
            return Err(BadHead::Syntax);
        };
        let mut headers = collect(parsed.headers);
        if method == "CONNECT" {
            return Err(BadHead::Method);
        }
        let said = one_host(&headers)?;
        let target = origin_form(method, target, scheme, &said)?;
        let framing = headers.framing(minor)?.unwrap_or(Framing::Length(0));
        let connection = headers.words("connection");
        let close = connection.iter().any(|w| w == "close")
            || (minor == 0 && !connection.iter().any(|w| w == "keep-alive"));
        let upgrade = connection.iter().any(|w| w == "upgrade") && headers.words("upgrade") == ["websocket"];
        clean(&mut headers, &connection, upgrade)?;
        Ok(Self { method: method.to_owned(), target, host: said.0, minor, headers, framing, upgrade, close })
    }

    /// The head as it is passed on.
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.{}\r\n", self.method, self.target, self.minor).into_bytes();
        self.headers.write(&mut bytes);
        bytes
    }
}

impl Response {
    /// Reads a whole head. `method` is that of the request it answers.
    ///
    /// # Errors
    /// See [`BadHead`].
    pub fn parse(head: &[u8], method: &str) -> Result<Self, BadHead> {
        let mut lines = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Response::new(&mut lines);
        if complete(parsed.parse(head))? != head.len() {
            return Err(BadHead::Syntax);
        }
        let (Some(status), Some(minor)) = (parsed.code, parsed.version) else { return Err(BadHead::Syntax) };
        let reason = parsed.reason.unwrap_or_default().to_owned();
        let headers = collect(parsed.headers);
        let said = headers.framing(minor)?;
        let bare = method == "HEAD" || status < 200 || status == 204 || status == 304;
        let framing = if bare { Framing::Length(0) } else { said.unwrap_or(Framing::UntilClose) };
        let connection = headers.words("connection");
        let close = connection.iter().any(|w| w == "close")
            || (minor == 0 && !connection.iter().any(|w| w == "keep-alive"))
            || framing == Framing::UntilClose;
        Ok(Self { status, reason, minor, headers, framing, close })
    }

    /// Replaces a secret wherever the head says it.
    pub fn conceal(&mut self, secret: &[u8]) {
        self.headers.conceal(secret);
        if find(self.reason.as_bytes(), secret).is_some() {
            self.reason.clear();
        }
    }

    /// The head as it is passed on.
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = format!("HTTP/1.{} {:03} {}\r\n", self.minor, self.status, self.reason).into_bytes();
        self.headers.write(&mut bytes);
        bytes
    }
}

fn complete(parsed: httparse::Result<usize>) -> Result<usize, BadHead> {
    match parsed {
        Ok(httparse::Status::Complete(length)) => Ok(length),
        Err(httparse::Error::TooManyHeaders) => Err(BadHead::TooLong),
        Ok(httparse::Status::Partial) | Err(_) => Err(BadHead::Syntax),
    }
}

fn collect(lines: &[httparse::Header<'_>]) -> Headers {
    Headers(lines.iter().map(|h| (h.name.to_owned(), h.value.to_owned())).collect())
}

/// The host and port of the one header Host.
fn one_host(headers: &Headers) -> Result<(String, Option<u16>), BadHead> {
    let mut named = headers.all("host");
    let (Some(host), None) = (named.next(), named.next()) else { return Err(BadHead::Host) };
    std::str::from_utf8(host).ok().and_then(authority).ok_or(BadHead::Host)
}

/// Splits `HOST[:PORT]`.
fn authority(text: &str) -> Option<(String, Option<u16>)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match rest {
        "" | ":" => None,
        port => {
            let digits = port.strip_prefix(':')?;
            Some(digits.parse().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))?)
        }
    };
    let address = host.parse::<std::net::IpAddr>().ok().map(|a| a.to_string());
    Some((address.or_else(|| host_name(host))?, port))
}

/// The target as a path. A whole address must agree with the header Host (RFC 9112, section 3.2.2).
fn origin_form(
    method: &str,
    target: &str,
    scheme: &str,
    said: &(String, Option<u16>),
) -> Result<String, BadHead> {
    // What follows a # is never sent; a backslash is read as / by some programs.
    if target.bytes().any(|b| matches!(b, b'#' | b'\\') || !b.is_ascii_graphic()) {
        return Err(BadHead::Target);
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok(target.to_owned());
    }
    let rest = target.split_once("://").filter(|(s, _)| s.eq_ignore_ascii_case(scheme)).map(|(_, rest)| rest);
    let rest = rest.ok_or(BadHead::Target)?;
    let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    match authority(host) {
        Some(named) if named == *said => {}
        Some(_) | None => return Err(BadHead::Target),
    }
    Ok(if path.starts_with('/') { path.to_owned() } else { format!("/{path}") })
}

/// Removes what is between the app and its next hop alone (RFC 9110, section 7.6.1), and every
/// upgrade but the one that is understood.
fn clean(headers: &mut Headers, connection: &[String], upgrade: bool) -> Result<(), BadHead> {
    for word in connection {
        match word.as_str() {
            "close" | "keep-alive" | "upgrade" => {}
            "host" | "content-length" | "transfer-encoding" => return Err(BadHead::Framing),
            other => headers.remove(other),
        }
    }
    headers.remove("proxy-connection");
    headers.remove("http2-settings");
    if !connection.is_empty() {
        let kept: Vec<&str> = connection
            .iter()
            .map(String::as_str)
            .filter(|w| matches!(*w, "close" | "keep-alive") || (upgrade && *w == "upgrade"))
            .collect();
        headers.remove("connection");
        if !kept.is_empty() {
            headers.set("Connection", kept.join(", ").as_bytes());
        }
    }
    if !upgrade {
        headers.remove("upgrade");
    }
    Ok(())
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
