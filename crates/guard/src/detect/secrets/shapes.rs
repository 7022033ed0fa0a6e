//! Secrets that are told apart by the shape of what they stand in: keys in PEM, tokens in three
//! parts, hashes of passwords, connection strings, headers, command lines.

use super::{secret, values};
use crate::detect::Local;

/// Looks at what stands around the word at `start..end`.
pub type Shape = fn(text: &[u8], start: usize, end: usize, found: &mut Vec<Local>);

/// Words and the shapes they may belong to.
pub const SHAPES: &[(&str, Shape)] = &[
    ("://", connection),
    ("eyj", three_parts),
    ("-----begin", pem),
    ("$1$", hash),
    ("$2a$", hash),
    ("$2b$", hash),
    ("$2y$", hash),
    ("$2x$", hash),
    ("$5$", hash),
    ("$6$", hash),
    ("$y$", hash),
    ("$7$", hash),
    ("$gy$", hash),
    ("$apr1$", hash),
    ("$argon2", hash),
    ("$scrypt$", hash),
    ("$pbkdf2", hash),
    ("$p$b", hash),
    ("$p$d", hash),
    ("$h$9", hash),
    ("$s$d", hash),
    ("$sha1$", hash),
    ("$md5", hash),
    ("$krb5asrep$", hash),
    ("$krb5tgs$", hash),
    ("$krb5pa$", hash),
    ("$ntlm", hash),
    ("$dcc2$", hash),
    ("pbkdf2_sha256$", hash),
    ("pbkdf2_sha1$", hash),
    ("pbkdf2:sha", hash),
    ("scrypt:", hash),
    ("argon2$", hash),
    ("bcrypt_sha256$", hash),
    ("{ssha}", hash),
    ("{sha}", hash),
    ("{ssha256}", hash),
    ("{ssha512}", hash),
    ("{crypt}", hash),
    ("{pbkdf2", hash),
    ("aad3b435b51404eeaad3b435b51404ee:", hash),
    ("basic ", header),
    ("bearer ", header),
    ("authorization: token ", header),
    ("authorization: apikey ", header),
    ("authorization: key ", header),
    ("x-api-key: ", header),
    ("apikey ", header),
    ("password=", pairs),
    ("password =", pairs),
    ("pwd=", pairs),
    ("pwd =", pairs),
    ("machine ", netrc),
    ("default login ", netrc),
    ("default\n", netrc),
    ("react_app_", account_name),
    ("convertto-securestring ", first_text),
    ("\"auth\"", docker),
    ("curl ", command),
    ("wget ", command),
    ("http ", command),
    ("mysql", command),
    ("mysqldump ", command),
    ("mariadb", command),
    ("sshpass ", command),
    ("psexec", command),
    ("net use ", command),
    ("ldapsearch ", command),
    ("redis-cli ", command),
    ("mongo ", command),
    ("mongosh ", command),
    ("smbclient ", command),
    ("docker login ", command),
    ("podman login ", command),
    ("rabbitmqadmin ", command),
    ("sqlcmd ", command),
    ("sqlplus ", command),
    ("xfreerdp ", command),
    ("rpcclient ", command),
    ("wmic ", command),
    ("winexe ", command),
    ("connect-viserver ", command),
    ("openssl ", command),
    (".s3", bucket),
    ("s3-", bucket),
    ("s3.amazonaws.com/", bucket),
    ("s3://", bucket),
    ("storage.googleapis.com/", bucket),
    (".blob.core.windows.net", account_host),
    (".myshopify.com", account_host),
    (".appsync-api.", account_host),
    (".execute-api.", account_host),
    (".oktapreview.com", account_host),
    (".okta.com", account_host),
    (".firebaseio.com", account_host),
    (".auth0.com", account_host),
    (".salesforce.com", account_host),
    (".digitaloceanspaces.com", account_host),
    ("user", pair_lines),
    ("password for ", told),
    ("password of ", told),
    ("password to ", told),
    ("networkcredential(", constructor),
    ("directoryentry(", constructor),
    ("pscredential(", constructor),
    ("usernamepasswordcredentials(", constructor),
    ("passwordauthentication(", constructor),
    ("passwordcredential(", constructor),
    ("httpbasicauth(", constructor),
    ("basicauth(", constructor),
    ("basic_auth(", constructor),
    ("setbasicauth(", constructor),
    ("mysql_connect(", constructor),
    ("mysqli_connect(", constructor),
    ("new mysqli(", constructor),
    ("new pdo(", constructor),
    ("getconnection(", constructor),
    (".login(", constructor),
    ("jdbc:oracle:thin:", oracle),
    ("ssws ", header),
    ("default:", connection),
];

/// `scheme://user:password@host`.
fn connection(text: &[u8], start: usize, end: usize, found: &mut Vec<Local>) {
    let scheme = text[..start]
        .iter()
        .rev()
        .take(24)
        .take_while(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b))
        .count();
    if scheme < 2 {
        return;
    }
    let rest = &text[end..];
    let within = |b: &u8| !b.is_ascii_whitespace() && !b"\"'<>`\\,".contains(b);
    let length = rest.iter().take(400).take_while(|b| within(b)).count();
    let authority = &rest[..length];
    let Some(colon) = authority.iter().position(|b| matches!(b, b':' | b'/' | b'?' | b'#' | b'@')) else {
        return;
    };
    if authority[colon] != b':' {
        return;
    }
    // A password may hold `@`, `/` and the like unescaped; the host after the last `@` does not.
    let stop = authority.iter().position(|b| *b == b'?').unwrap_or(length);
    let Some(at) = authority[..stop.max(colon)].iter().rposition(|b| *b == b'@') else { return };
    if at <= colon + 1 {
        return;
    }
    let password = &authority[colon + 1..at];
    let host = &authority[at + 1..];
    // A port and a path, as in `host:80/@name`.
    let port = password.iter().take_while(|b| b.is_ascii_digit()).count();
    if port > 0 && password.get(port) == Some(&b'/') {
        return;
    }
    let plain_host = host.first().is_some_and(|b| b.is_ascii_alphanumeric() || b"[$<{".contains(b));
    let absent = values::stands_for_another(password) && values::distinct(password) >= 3;
    if !plain_host || absent || host.starts_with(b"%2F") {
        return;
    }
    let scheme = &text[start - scheme..start];
    let kind = if scheme.starts_with(b"http") { "url_password" } else { "connection_password" };
    let weak =
        values::distinct(password) < 4 || [&b"password"[..], b"pass", b"pw", b"secret"].contains(&password);
    let confidence = if weak { 0.5 } else { 0.9 };
    found.push(secret(kind, end + colon + 1, end + at, confidence, "the password of a connection string"));
}

const fn is_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// A JSON Web Token, signed or encrypted, or another token whose head is JSON.
fn three_parts(text: &[u8], start: usize, _end: usize, found: &mut Vec<Local>) {
    if &text[start..start + 3] != b"eyJ" || start > 0 && is_part(text[start - 1]) && !escaped(text, start) {
        return;
    }
    let (mut at, mut parts, mut shortest) = (start, 0, usize::MAX);
    loop {
        let length = text[at..].iter().take_while(|b| is_part(**b)).count();
        parts += 1;
        if parts < 3 {
            shortest = shortest.min(length);
        }
        at += length;
        if parts < 5
            && text.get(at) == Some(&b'.')
            && text.get(at + 1).is_some_and(|b| is_part(*b) || *b == b'.')
        {
            at += 1;
        } else {
            break;
        }
    }
    let json_too = parts >= 2 && text[start..at].windows(4).any(|w| w == b".eyJ");
    if (parts >= 3 && shortest >= 10) || (json_too && at - start >= 40) {
        found.push(secret("jwt", start, at, 0.95, "a JSON Web Token"));
    } else if parts == 1 && at - start >= 60 && text[start..].starts_with(b"eyJhIjoi") {
        found.push(secret("tunnel_token", start, at, 0.7, "JSON in base64, as tokens of tunnels are"));
    }
}

fn escaped(text: &[u8], at: usize) -> bool {
    at > 1 && text[at - 2] == b'\\' && matches!(text[at - 1], b'n' | b't' | b'r')
}

/// A private key between its lines, or as much of it as is there.
fn pem(text: &[u8], start: usize, end: usize, found: &mut Vec<Local>) {
    let head = &text[end..text.len().min(end + 48)];
    // What is left open ends with what may be its end, and holds no other.
    let within = found.last().is_some_and(|last| last.kind == "private_key" && last.span.end > start);
    if within || !values::contains(head, "private key") {
        return;
    }
    let limit = text.len().min(start + 16 * 1024);
    let close = text[end..limit].windows(8).position(|w| w.eq_ignore_ascii_case(b"-----end"));
    let stop = close.map_or(limit, |place| {
        let from = end + place + 8;
        let line = &text[from..text.len().min(from + 48)];
        line.windows(5).position(|w| w == b"-----").map_or(from, |tail| from + tail + 5)
    });
    found.push(secret("private_key", start, stop, 0.97, "a private key in PEM"));
}

/// The hash of a password, in the formats of crypt(3), Django, LDAP and Kerberos.
fn hash(text: &[u8], start: usize, end: usize, found: &mut Vec<Local>) {
    if start > 0 && is_part(text[start - 1]) && text[start] != b'$' && text[start] != b'{' {
        return;
    }
    let within = |b: &&u8| b.is_ascii_alphanumeric() || b"$./+=,:@_*-".contains(b);
    let length = text[end..].iter().take(3072).take_while(within).count();
    let body = &text[end..end + length];
    let longest = body.split(|b| b"$:,@*".contains(b)).map(<[u8]>::len).max().unwrap_or(0);
    if longest >= 20 && values::distinct(body) >= 8 {
        found.push(secret("password_hash", start, end + length, 0.9, "the hash of a password"));
    }
}

/// `Authorization: Basic …` and `Bearer …`.
fn header(text: &[u8], start: usize, end: usize, found: &mut Vec<Local>) {
    let gap = text[end..].iter().take(4).take_while(|b| **b == b' ').count();
    let from = end + gap;
    let within = |b: &&u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(b);
    let length = text[from..].iter().take(4096).take_while(within).count();
    let value = &text[from..from + length];
    if length < 8 || values::stands_for_another(value) || start > 0 && text[start - 1].is_ascii_alphanumeric()
    {
        return;
    }
    // What a server asks for is told in parameters: `realm="…"`.
    if value.ends_with(b"=") && text.get(from + length) == Some(&b'"') {
        return;
    }
    let before = &text[start.saturating_sub(20)..start];
    let own = values::contains(&text[start..end], ":") || values::contains(&text[start..end], "ssws");
    let named = own || values::contains(before, "authorization");
    let random = (values::mixed(value) || value.ends_with(b"=")) && values::distinct(value) > 5;
    let basic = text[start..end].eq_ignore_ascii_case(b"basic ");
    if named && (random || length > 16 && !values::is_word(value)) {
        let kind = if basic { "http_basic" } else { "http_bearer" };
        found.push(secret(kind, from, from + length, 0.85, "credentials of an HTTP header"));
    } else if !basic && random && length >= 16 && !values::contains(&text[start..end], "apikey") {
        found.push(secret("http_bearer", from, from + length, 0.7, "what bears a request's rights"));
    }
}

/// `user id=…;password=…;` of databases, in either order.
fn pairs(text: &[u8], start: usize, end: usize, found: &mut Vec<Local>) {
    let from = end + text[end..].iter().take(4).take_while(|b| matches!(b, b' ' | b'"' | b'\'')).count();
    let before = &text[start.saturating_sub(3)..start];
    let joined = before.contains(&b';') || text[from..].iter().take(120).any(|b| *b == b';');
    if !joined {
        return;
    }
    let around = &text[start.saturating_sub(240)..text.len().min(end + 240)];
    let users = ["user id=", "uid=", "user=", "user =", "userid=", "username=", "user id ="];
    let places =
        ["server=", "server =", "data source=", "database=", "host=", "provider=", "dsn=", "initial catalog"];
    let database = places.iter().any(|place| values::contains(around, place));
    let user = users.iter().any(|user| values::contains(around, user));
    if !(user && database) {
        return;
    }
    let ends = |b: &u8| b";\"'&\r\n<>".contains(b);
    let length = text[from..].iter().take(120).position(ends).unwrap_or((text.len() - from).min(120));
    let value = &text[from..from + length];
    // What ends so is what anonymous logins say by custom (RFC 1635).
    if length > 1 && !values::stands_for_another(value) && !value.ends_with(b"@") {
        found.push(secret(
            "connection_password",
            from,
            from + length,
            0.85,
            "the password of a connection string",
        ));
    }
}

/// `machine HOST login USER password SECRET` of `.netrc`.
fn netrc(text: &[u8], start: usize, _end: usize, found: &mut Vec<Local>) {
    let words: Vec<(usize, &[u8])> = words(text, start, 240).take(9).collect();
    if !words.iter().any(|(_, word)| *word == b"login") {
        return;
    }
    if let Some(pair) = words.windows(2).find(|pair| pair[0].1 == b"password") {
        let (at, value) = pair[1];
        found.push(secret("netrc_password", at, at + value.len(), 0.9, "the password of a netrc entry"));
    }
}

/// Words of a line or a few, with where they begin.
fn words(text: &[u8], from: usize, reach: usize) -> impl Iterator<Item = (usize, &[u8])> {
    let slice = &text[from..text.len().min(from + reach)];
    slice
        .split(u8::is_ascii_whitespace)
        .scan(from, |at, word| {
            let here = *at;
            *at += word.len() + 1;
            Some((here, word))
        })
        .filter(|(_, word)| !word.is_empty())
}

/// `"auth": "base64 of user:password"` of a registry's configuration.
fn docker(text: &[u8], _start: usize, end: usize, found: &mut Vec<Local>) {
    let gap = text[end..].iter().take(6).take_while(|b| b" :\"".contains(b)).count();
    let within = |b: &&u8| b.is_ascii_alphanumeric() || b"+/=".contains(b);
    let length = text[end + gap..].iter().take(2048).take_while(within).count();
    if gap >= 2 && length >= 12 {
        found.push(secret("registry_auth", end + gap, end + gap + length, 0.9, "a registry's credentials"));
    }
}

/// Options that carry a password, by program.
const OPTIONS: &[(&str, &[&str])] = &[
    ("curl", &["-u", "--user", "-U", "--proxy-user"]),
    ("http ", &["-a", "--auth"]),
    ("wget", &["--password", "--http-password"]),
    ("mysql", &["-p", "--password"]),
    ("mariadb", &["-p", "--password"]),
    ("sshpass", &["-p"]),
    ("psexec", &["-p"]),
    ("net use", &["/user"]),
    ("ldapsearch", &["-w"]),
    ("redis-cli", &["-a"]),
    ("mongo", &["-p", "--password"]),
    ("smbclient", &["-U"]),
    ("docker login", &["-p", "--password"]),
    ("podman login", &["-p", "--password"]),
    ("rabbitmqadmin", &["-p"]),
    ("sqlcmd", &["-P"]),
    ("xfreerdp", &["/p"]),
    ("rpcclient", &["-U"]),
    ("winexe", &["-U"]),
    ("wmic", &["/password"]),
    ("connect-viserver", &["-Password", "-password"]),
    ("openssl", &["pass"]),
];

/// A password on a command line.
fn command(text: &[u8], start: usize, end: usize, found: &mut Vec<Local>) {
    if start > 0 && text[start - 1].is_ascii_alphanumeric() {
        return;
    }
    let program = &text[start..end];
    let Some((name, options)) = OPTIONS.iter().find(|(name, _)| values::contains(program, name.trim_end()))
    else {
        return;
    };
    // The line, and those that a backslash continues.
    let mut limit = end;
    while limit < text.len() && limit < end + 600 && (text[limit] != b'\n' || text[limit - 1] == b'\\') {
        limit += 1;
    }
    let mut words = words(text, end, limit - end).peekable();
    while let Some((at, word)) = words.next() {
        for option in *options {
            let Some(rest) = word.strip_prefix(option.as_bytes()) else { continue };
            let joined = at + option.len();
            let (at, value) = match rest.first() {
                Some(b'=' | b':') => (joined + 1, &rest[1..]),
                Some(_) if option.len() == 2 && *option != "-a" && *option != "-u" => (joined, rest),
                Some(_) => continue,
                // A lone `-p` of mysql asks for the password.
                None if *name == "mysql" || *name == "mariadb" => continue,
                None => match words.peek() {
                    Some((at, value)) if !value.starts_with(b"-") => (*at, *value),
                    _ => continue,
                },
            };
            let login = matches!(*option, "-u" | "--user" | "-U" | "--proxy-user" | "-a" | "--auth");
            let trimmed = value.iter().take_while(|b| b"\"'".contains(b)).count();
            let (at, value) = (at + trimmed, &value[trimmed..]);
            let stop = value.iter().position(|b| b"\"';".contains(b)).unwrap_or(value.len());
            let (mut at, mut value) = (at, &value[..stop]);
            if login && *name != "redis-cli" {
                // USER:PASSWORD, or USER%PASSWORD of Samba.
                let Some(colon) = value.iter().position(|b| matches!(b, b':' | b'%')) else { continue };
                (at, value) = (at + colon + 1, &value[colon + 1..]);
            }
            let variable = value.starts_with(b"$") && *name != "connect-viserver";
            if value.len() >= 3
                && !variable
                && (value.starts_with(b"$") || !values::stands_for_another(value))
            {
                let confidence = if value.starts_with(b"$") { 0.3 } else { 0.8 };
                found.push(secret(
                    "command_password",
                    at,
                    at + value.len(),
                    confidence,
                    "a password on a command line",
                ));
                return;
            }
        }
    }
}

/// A bucket's host or path.
fn bucket(text: &[u8], start: usize, end: usize, found: &mut Vec<Local>) {
    let host = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
    let before = text[..start].iter().rev().take(80).take_while(|b| host(b)).count();
    let after = text[end..].iter().take(80).take_while(|b| host(b) || **b == b'/').count();
    let (from, to) = (start - before, end + after);
    let whole = &text[from..to];
    let name_first = before >= 3 && values::contains(whole, "amazonaws.com");
    let name_last = text[start..end].ends_with(b"/") && after >= 3 && text[end].is_ascii_alphanumeric();
    if name_first || name_last {
        found.push(secret("bucket", from, to, 0.3, "names storage that belongs to an account"));
    }
}

/// A host that belongs to one account of a service.
fn account_host(text: &[u8], start: usize, end: usize, found: &mut Vec<Local>) {
    let name = |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
    let before = text[..start].iter().rev().take(64).take_while(name).count();
    let after = text[end..].iter().take(64).take_while(name).count();
    let account = &text[start - before..start];
    let own =
        [&b"www"[..], b"docs", b"help", b"login", b"developer", b"developers", b"trust", b"apps", b"support"];
    if before >= 3 && !own.contains(&account) {
        found.push(secret(
            "account_host",
            start - before,
            end + after,
            0.3,
            "names a host that belongs to an account",
        ));
    }
}

/// `username …` and, on this or one of the next lines, `password …`.
fn pair_lines(text: &[u8], _start: usize, end: usize, found: &mut Vec<Local>) {
    let reach = &text[end..text.len().min(end + 160)];
    let Some(place) = reach.windows(8).position(|w| w.eq_ignore_ascii_case(b"password")) else { return };
    // The user's name is a value as well.
    if !reach[..place].iter().any(|b| b"=:'\"".contains(b)) || reach[..place].contains(&b'&') {
        return;
    }
    let at = end + place + 8;
    let gap = text[at..].iter().take(24).take_while(|b| b" \t=:>".contains(b)).count();
    let equals = text[at..at + gap].contains(&b'=');
    let (from, length) = match text.get(at + gap) {
        Some(quote @ (b'"' | b'\'')) if gap > 0 => {
            let from = at + gap + 1;
            let Some(length) = text[from..].iter().take(64).position(|b| b == quote) else { return };
            (from, length)
        }
        Some(_) if equals => {
            let length = text[at + gap..]
                .iter()
                .take(64)
                .take_while(|b| b.is_ascii_alphanumeric() || b"_!@#%^-".contains(b))
                .count();
            (at + gap, length)
        }
        _ => return,
    };
    let value = &text[from..from + length];
    let last = text.get(from + length).copied().unwrap_or(b'\n');
    let whole = b"\r\n'\"; ".contains(&last);
    if length >= 4 && whole && !values::stands_for_another(value) && !value.starts_with(b"#") {
        found.push(secret("password", from, from + length, 0.5, "stands beside a user's name"));
    }
}

/// The password for somebody is `'…'`.
fn told(text: &[u8], _start: usize, end: usize, found: &mut Vec<Local>) {
    let line = text[end..].iter().take(80).take_while(|b| **b != b'\n').count();
    let Some(place) = text[end..end + line].windows(4).position(|w| w == b" is ") else { return };
    let at = end + place + 4;
    let Some(quote @ (b'"' | b'\'' | b'`')) = text.get(at) else { return };
    let Some(length) = text[at + 1..].iter().take(64).position(|b| b == quote) else { return };
    if length >= 3 && !values::stands_for_another(&text[at + 1..at + 1 + length]) {
        found.push(secret("password", at + 1, at + 1 + length, 0.6, "said to be a password"));
    }
}

/// Two or three texts in brackets of which the last is a password.
fn constructor(text: &[u8], _start: usize, end: usize, found: &mut Vec<Local>) {
    let (mut at, mut last, mut texts) = (end, None, 0);
    let limit = text.len().min(end + 240);
    while at < limit && text[at] != b')' {
        if matches!(text[at], b'"' | b'\'') {
            let quote = text[at];
            let Some(length) = text[at + 1..limit].iter().position(|b| *b == quote) else { return };
            texts += 1;
            // A database connection names its host first and the database last.
            if texts <= 3 {
                last = Some((at + 1, at + 1 + length));
            }
            at += length + 1;
        }
        at += 1;
    }
    if let Some((from, to)) = last.filter(|(from, to)| texts >= 2 && to - from >= 4)
        && !values::stands_for_another(&text[from..to])
        && !text[from..to].contains(&b' ')
    {
        found.push(secret("password", from, to, 0.7, "the password of an account in code"));
    }
}

/// The name of an account in what a build puts into a page.
fn account_name(text: &[u8], _start: usize, end: usize, found: &mut Vec<Local>) {
    let name = text[end..].iter().take(40).take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
    let named = &text[end..end + name];
    if text.get(end + name) != Some(&b'=') || !values::contains(named, "user") {
        return;
    }
    let from = end + name + 1;
    let length = text[from..].iter().take(80).take_while(|b| !b.is_ascii_whitespace()).count();
    if length >= 3 && !values::stands_for_another(&text[from..from + length]) {
        found.push(secret("account_name", from, from + length, 0.3, "names an account"));
    }
}

/// The first quoted text after it on its line.
fn first_text(text: &[u8], _start: usize, end: usize, found: &mut Vec<Local>) {
    let line = text[end..].iter().take(160).take_while(|b| **b != b'\n').count();
    let Some(open) = text[end..end + line].iter().position(|b| matches!(b, b'"' | b'\'')) else { return };
    let (from, quote) = (end + open + 1, text[end + open]);
    let Some(length) = text[from..end + line].iter().position(|b| *b == quote) else { return };
    if length >= 4 && !values::stands_for_another(&text[from..from + length]) {
        found.push(secret("password", from, from + length, 0.8, "a password in code"));
    }
}

/// `jdbc:oracle:thin:USER/PASSWORD@…`.
fn oracle(text: &[u8], _start: usize, end: usize, found: &mut Vec<Local>) {
    let length =
        text[end..].iter().take(160).take_while(|b| !b.is_ascii_whitespace() && !b"\"'".contains(b)).count();
    let rest = &text[end..end + length];
    let (Some(slash), Some(at)) =
        (rest.iter().position(|b| *b == b'/'), rest.iter().position(|b| *b == b'@'))
    else {
        return;
    };
    if slash > 0 && at > slash + 1 && !values::stands_for_another(&rest[slash + 1..at]) {
        found.push(secret(
            "connection_password",
            end + slash + 1,
            end + at,
            0.85,
            "the password of a connection string",
        ));
    }
}
