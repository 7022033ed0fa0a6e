//! Heads: what a request asks for, and its header fields.

use super::*;

/// Header fields by which HTTP, or what is built on it, authenticates.
const AUTHENTICATE: [&str; 18] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "api-key",
    "apikey",
    "x-api-key",
    "x-apikey",
    "x-api-token",
    "x-auth-token",
    "x-access-token",
    "x-amz-security-token",
    "x-goog-api-key",
    "x-functions-key",
    "x-vault-token",
    "private-token",
    "job-token",
    "dd-api-key",
    "circle-token",
];
/// Schemes whose credentials are one token that stays the same.
const TOKENS: [&str; 5] = ["bearer", "basic", "token", "apikey", "key"];
/// What a token is called that nothing else is known of.
const KIND: &str = "credential";
/// Most bytes of one.
const MOST_TOKEN: usize = 4096;

/// A header field that authenticates: its value's place in the text.
struct Field<'a> {
    value: &'a str,
    at: usize,
    is_cookie: bool,
}

impl Post {
    /// What a head holds. The first line is what it asks for.
    pub(super) fn look_at_head(&mut self, shown: &Shown, head: &[u8], at_ms: u64) -> Looked {
        let decoded = Decoded::of(head);
        let way = way(shown);
        let mut trail = self.trails.remove(&way).unwrap_or_default();
        let inspected = self.inspector.inspect_beside(Raw::new(decoded.text.to_string()), &mut trail);
        self.make_room_for_trail();
        self.trails.insert(way, trail);
        let mut findings = inspected.findings().to_vec();
        let target = decoded.text.split("\r\n").next().unwrap_or_default();
        look_at_fields(&self.inspector, target, &mut findings);
        let fields: Vec<Field<'_>> = fields(&decoded.text).collect();
        let authenticates = |span: &Range<usize>| {
            fields.iter().any(|f| span.start >= f.at && span.end <= f.at + f.value.len())
        };
        let tokens: Vec<(&str, Range<usize>)> = fields
            .iter()
            .filter(|field| !field.is_cookie)
            .flat_map(|field| tokens(field.value).into_iter().map(move |(token, at)| (token, field.at + at)))
            .map(|(token, at)| (token, at..at + token.len()))
            .collect();
        for (token, span) in &tokens {
            self.look_at_login(token, span, &mut findings);
        }
        let mut looked = self.known_there(shown, &decoded, &findings, authenticates);
        self.count(&findings, &looked, &decoded, at_ms);
        for (token, span) in tokens {
            let span = decoded.origin(&span);
            let is_found = looked.found.iter().any(|found| {
                found.confidentiality >= Confidentiality::HighlySensitive.degree()
                    && found.span.0 <= span.start
                    && found.span.1 >= span.end
            });
            if !is_found {
                self.keep_token(shown, &mut looked, token, span.clone());
            }
            for text in login::within(token) {
                self.keep_token(shown, &mut looked, &text, span.clone());
            }
        }
        looked
    }

    /// Also finds what stands in a `user:password`, which is decoded elsewhere only where it is longer.
    fn look_at_login(&self, token: &str, span: &Range<usize>, findings: &mut Vec<Finding>) {
        let Some(login) = login::login(token) else { return };
        for finding in self.inspector.inspect(Raw::new(login.to_string())).findings() {
            let is_found = findings.iter().any(|known| {
                known.category == finding.category
                    && known.span.start < span.end
                    && known.span.end > span.start
            });
            if !is_found && finding.taint.is_some() {
                findings.push(Finding { span: span.clone(), ..finding.clone() });
            }
        }
    }

    /// A token that authenticates, and what it says, is the first host's also where nothing is known of its form.
    fn keep_token(&self, shown: &Shown, looked: &mut Looked, token: &str, span: Range<usize>) {
        if token.len() > MOST_TOKEN || self.value_of(token).is_some() || !self.has_room() {
            return;
        }
        let confidentiality = Confidentiality::Critical.degree();
        let before = looked.learns.len();
        looked.learn(Value {
            value: Text(token.to_owned()),
            confidentiality,
            owner: format!("app:{}", shown.app),
            readers: BTreeSet::from([reader(&shown.host, shown.port)]),
        });
        let is_told =
            looked.found.iter().any(|found| found.kind == KIND && found.span == (span.start, span.end));
        if looked.learns.len() > before && !is_told {
            looked.telling.push((span.start, span.end));
            looked.found.push(Found {
                kind: KIND.to_owned(),
                span: (span.start, span.end),
                confidentiality,
                of: None,
            });
        }
    }
}

/// The fields of a head that authenticate.
fn fields(head: &str) -> impl Iterator<Item = Field<'_>> {
    let mut at = 0;
    let lines = head.split_inclusive("\r\n").map(move |line| {
        at += line.len();
        (at - line.len(), line.trim_end_matches("\r\n"))
    });
    lines.skip(1).filter_map(|(start, line)| {
        let (name, value) = line.split_once(':')?;
        let name = name.to_ascii_lowercase();
        let is_one = AUTHENTICATE.contains(&name.as_str());
        is_one.then_some(Field { value, at: start + name.len() + 1, is_cookie: name == "cookie" })
    })
}

/// Tokens of a field's value, and where they begin in it. What is put together anew for every request is none.
fn tokens(value: &str) -> Vec<(&str, usize)> {
    let start = value.len() - value.trim_start().len();
    let whole = value.trim();
    let one = match whole.split_once(' ') {
        None => (whole, start),
        Some((scheme, token)) if TOKENS.iter().any(|known| scheme.eq_ignore_ascii_case(known)) => {
            (token.trim_start(), start + whole.len() - token.trim_start().len())
        }
        Some(_) => return Vec::new(),
    };
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, ',' | ';' | '"');
    if one.0.len() >= 8 && one.0.chars().all(plain) { vec![one] } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_token_that_stays_is_a_credential() {
        for (value, token) in [
            (" Bearer abcdefgh12", Some(("abcdefgh12", 8))),
            (" abcdefgh12 ", Some(("abcdefgh12", 1))),
            (" basic  dXNlcjpwYXNz", Some(("dXNlcjpwYXNz", 8))),
            (" Digest username=\"a\", nonce=\"b\"", None),
            (" AWS4-HMAC-SHA256 Credential=AKID/2026, Signature=00", None),
            (" Bearer short", None),
            ("", None),
        ] {
            assert_eq!(tokens(value).first().copied(), token, "{value}");
        }
    }

    #[test]
    fn fields_are_where_they_say() {
        let head = "GET / HTTP/1.1\r\nHost: a\r\nX-API-Key: one\r\ncookie: a=b\r\nX-Other: two\r\n\r\n";
        let fields: Vec<_> = fields(head).collect();
        assert_eq!(
            fields.iter().map(|f| &head[f.at..f.at + f.value.len()]).collect::<Vec<_>>(),
            [" one", " a=b"]
        );
        assert_eq!(fields.iter().map(|f| f.is_cookie).collect::<Vec<_>>(), [false, true]);
    }
}
