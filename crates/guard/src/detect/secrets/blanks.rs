//! What stands where a secret would and is none: blanks to fill in, documented examples, names of
//! algorithms, digests, ids, logins of nobody, what a page tells each of its readers.

use super::values;
use crate::detect::Local;

/// Words that ask for a value or say that this is none.
const MARKS: [&str; 28] = [
    "bar",
    "blank",
    "change",
    "changeit",
    "changeme",
    "dummy",
    "enter",
    "example",
    "fake",
    "fill",
    "fixme",
    "foo",
    "foobar",
    "goes",
    "here",
    "insert",
    "mock",
    "placeholder",
    "put",
    "redacted",
    "removed",
    "replace",
    "replaceme",
    "sample",
    "tbd",
    "todo",
    "xxx",
    "your",
];
/// Words that stand beside those.
const BESIDE: [&str; 47] = [
    "a",
    "access",
    "account",
    "admin",
    "an",
    "and",
    "api",
    "apikey",
    "app",
    "auth",
    "client",
    "credential",
    "credentials",
    "db",
    "default",
    "demo",
    "generated",
    "id",
    "in",
    "it",
    "key",
    "keys",
    "me",
    "my",
    "name",
    "new",
    "of",
    "one",
    "own",
    "pass",
    "passwd",
    "password",
    "please",
    "private",
    "pwd",
    "real",
    "root",
    "secret",
    "server",
    "some",
    "string",
    "super",
    "test",
    "the",
    "token",
    "user",
    "value",
];
/// Algorithms by which secrets are hashed and signed.
const ALGORITHMS: [&str; 22] = [
    "aes", "argon2", "argon2i", "argon2id", "bcrypt", "blake2b", "blake3", "crypt", "des", "ed25519",
    "es256", "hmac", "hs256", "hs512", "md5", "pbkdf2", "rs256", "scrypt", "sha1", "sha256", "sha384",
    "sha512",
];
/// How digests of packages and images begin.
const DIGESTS: [&str; 8] = ["md5:", "md5-", "sha1:", "sha1-", "sha256:", "sha256-", "sha384-", "sha512-"];

/// Whether a finding is of something that only stands where a secret would.
pub fn is_none(text: &[u8], found: &Local) -> bool {
    let (value, before) = (&text[found.span.clone()], &text[..found.span.start]);
    let is_login = matches!(found.kind, "password" | "command_password" | "connection_password");
    let is_any = |words: &[&str]| words.iter().any(|word| value.eq_ignore_ascii_case(word.as_bytes()));
    is_blank(value)
        || is_one_letter(value)
        || is_documented(value)
        || is_login && is_any(&ALGORITHMS)
        || found.kind == "password" && is_nobodys(before)
        || matches!(found.kind, "password" | "command_password")
            && !before.ends_with(b"'")
            && !before.ends_with(b"\"")
            && is_any(&["pass", "passwd", "password"])
        || !is_login && found.confidence < 0.9 && is_dotted(value)
        || found.kind == "secret_value" && DIGESTS.iter().any(|digest| value.starts_with(digest.as_bytes()))
        || found.kind == "private_key" && is_hollow(value)
        || values::is_uuid(value) && named_id(before)
        || matches!(found.kind, "client_secret" | "secret_value") && is_published(before)
}

/// Whether it is written in words for a value: `change_me`, `your-api-key-here`, `dummyToken123`.
fn is_blank(value: &[u8]) -> bool {
    let Ok(value) = core::str::from_utf8(value) else { return false };
    if value.len() > 64 {
        return false;
    }
    let end = value.trim_end_matches(|c: char| c.is_ascii_digit());
    // A number at its end counts on from one.
    if !value[end.len()..].bytes().zip(b'1'..).all(|(digit, next)| digit == next) {
        return false;
    }
    let words = crate::tools::words::split(end);
    let is_any = |list: &[&str], word: &String| list.contains(&word.as_str());
    words.iter().any(|word| is_any(&MARKS, word))
        && words.iter().all(|word| is_any(&MARKS, word) || is_any(&BESIDE, word))
}

/// Whether it is a name of code: words of small letters, with points or lines between them.
fn is_dotted(value: &[u8]) -> bool {
    let words = || value.split(|b| matches!(b, b'.' | b'_' | b'-'));
    words().all(|word| word.len() < 14 && word.iter().all(u8::is_ascii_lowercase))
        && words().filter(|word| !word.is_empty()).count() > 2
        && (value.contains(&b'.') || value.contains(&b'_'))
}

/// Whether one character stands for all that are left out.
fn is_one_letter(value: &[u8]) -> bool {
    let Ok(value) = core::str::from_utf8(value) else { return false };
    let mut chars = value.chars();
    let first = chars.next();
    chars.all(|c| Some(c) == first)
}

/// Whether nothing of a key stands between the lines of PEM.
fn is_hollow(value: &[u8]) -> bool {
    let is_key = |b: &u8| b.is_ascii_alphanumeric() || b"+/=".contains(b);
    let mut lines = value.split(|b| b.is_ascii_whitespace() || b"\\\"'".contains(b));
    // Words of prose and of code have few capitals, or nothing else.
    let is_random = |line: &[u8]| {
        let capitals = line.iter().filter(|b| b.is_ascii_uppercase()).count();
        let is_mixed = line.iter().any(u8::is_ascii_lowercase) && capitals * 3 >= line.len();
        line.iter().any(u8::is_ascii_digit) || is_mixed
    };
    !lines.any(|line| line.len() >= 12 && line.iter().all(is_key) && is_random(line))
}

/// Whether it ends as the keys do that issuers print in their documentation.
fn is_documented(value: &[u8]) -> bool {
    value.len() >= 16 && (value.ends_with(b"EXAMPLE") || value.ends_with(b"EXAMPLEKEY"))
}

/// Whether the user before it is the one that anybody is (RFC 1635).
fn is_nobodys(before: &[u8]) -> bool {
    let near = &before[before.len().saturating_sub(80)..];
    let last = |word: &str| near.windows(word.len()).rposition(|w| w.eq_ignore_ascii_case(word.as_bytes()));
    let Some(nobody) = last("anonymous") else { return false };
    let user = last("user").max(last("login"));
    user.is_some_and(|user| user < nobody && nobody - user < 24)
}

/// Boxes for comments under a page that hand the secret of their OAuth application to every reader's browser,
/// since nothing else stands behind the page: <https://github.com/gitalk/gitalk#usage>, and the one it comes from.
const PUBLISHED: [&[u8]; 2] = [b"gitalk({", b"gitment({"];

/// Whether it is among the options of such a box.
fn is_published(before: &[u8]) -> bool {
    let near = &before[before.len().saturating_sub(400)..];
    PUBLISHED.iter().any(|begins| {
        let at = near.windows(begins.len()).rposition(|window| window.eq_ignore_ascii_case(begins));
        let Some(options) = at.map(|at| &near[at + begins.len()..]) else { return false };
        let mut open = 1u32;
        options.iter().all(|byte| {
            open = match byte {
                b'{' => open + 1,
                b'}' => open - 1,
                _ => open,
            };
            open > 0
        })
    })
}

/// Whether the name before it is that of an id, which tells apart and opens nothing.
fn named_id(before: &[u8]) -> bool {
    let name = before.iter().rev().take(64).skip_while(|b| b"\"'`=: \t".contains(b));
    let name: Vec<u8> = name.take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').copied().collect();
    let name: Vec<u8> = name.into_iter().rev().collect();
    crate::tools::words::split(&String::from_utf8_lossy(&name)).last().is_some_and(|word| word == "id")
}

#[cfg(test)]
mod tests {
    use super::super::tests::kinds;

    #[test]
    fn what_stands_where_a_secret_would() {
        for text in [
            "password: \"changeme\"",
            "DB_PASSWORD=change_me",
            "SECRET_KEY=my_super_secret_key_example",
            "API_TOKEN=dummy-token-1234",
            "clientSecret: \"yourClientSecretHere\"",
            "apiKey: \"xxxxxxxxxxxxxxxxxxxx\"",
            "\"password\": \"••••••••\"",
            "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE",
            "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "password_hash: sha256",
            "curl -u username:password https://api.example.com",
            "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
            "-----BEGIN RSA PRIVATE KEY-----\n<your key here>\n-----END RSA PRIVATE KEY-----",
            "It begins so:\n-----BEGIN PRIVATE KEY-----\nas the documentation of PrivateKeyInfo and PRIVATEKEYINFO says.",
            "new Gitalk({\n clientID: '2e62dee7b9895e3eede6',\n clientSecret: 'ca6819a54657af0d87960af15315319f8a628a53'",
            "new Gitment({owner: 'a', oauth: {client_id: 'b', client_secret: 'ca6819a54657af0d87960af15315319f8a628a53'}})",
            "HEROKU_APP_ID=98fc74a8-ff56-4a21-85f6-7a1fcac895c9",
            "join --token <token> --discovery-token-ca-cert-hash sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934c",
            "user = 'anonymous'\npassword = 'me@example.org'",
            "token: ${TOKEN:-default-token-123}",
            "password2 = password1",
            "newPassword: formData.newPassword2",
            "fn sign(private_key: pkcs8::PrivateKeyInfo<'_>) {",
            "let raw_private_key: Curve25519SeedBin<'_> = seed;",
            "client_auth: self.client_auth, server_auth: conn.server_auth.clone,",
            "client_auth: ctx.Tls.Auth.Cfg.Own,",
            "trivially_copy_pass_by_ref = \"warn\"",
            "pub log_passwd: __u32,",
            "LOCALBYPASS: _bindgen_ty_24 = 24;",
            "bypass=always, compass: north-west-4",
            "UserPass = 0x02,",
            "self.username = username\nself.password = password",
            "exports.SOCKS5_NO_ACCEPTABLE_AUTH = SOCKS5_NO_ACCEPTABLE_AUTH;",
            "{token: \"string.quoted.double.source.rust\", regex: x}",
            "client_secret: str\ndef get_request_token_secret(self):",
            "data: \"kPhRbT4yZsQm8WvNcXu2V/EAAGyP4QAAbJHhAABskwA7MAEAAQAAkAABABkAIwAiPwEAdT8CABxJAACTTAMAr0wEAGdYAACQWQEA31oCANNc\"",
            "db.store_password(\"alice\", \"x\")",
            "for file in [\"/etc/passwd\", \"/dev/null\"] {",
            "WWW-Authenticate: Bearer resource_metadata=\"https://auth.example/.well-known\"",
            "`ExpandedSecretKey`, `raw_sign()`",
        ] {
            assert_eq!(kinds(text), Vec::<&str>::new(), "{text}");
        }
    }

    #[test]
    fn what_only_begins_so_is_one() {
        for text in [
            "password: \"changeme8Kq\"",
            "DB_PASSWORD=Change-It-4711",
            "API_TOKEN=dummy-9f3a7c21e8b04d56",
            "password: \"hunter2\"",
            "DB_PASSWORD=smtp_password",
            "clientSecret: 'ca6819a54657af0d87960af15315319f8a628a53'",
            "new Gitalk({id: 'a'}); const login = {clientSecret: 'ca6819a54657af0d87960af15315319f8a628a53'}",
            "HEROKU_API_KEY=98fc74a8-ff56-4a21-85f6-7a1fcac895c9",
            "user = 'ann'\npassword = 'Tr0ub4dor@'",
            "set_password(\"Tr0ub4dor\")",
            "password: Tr0ub4dor_3",
            "smtpPass: Tr0ub4dor3",
            "https://graph.example/api/resource/collections/items/EAAGyP4QAAbJHhAABskwA7MAEAAQAAkAABABkAIwAiPwEAdT8CABxJAACTTAMAr0wEAGdYAACQWQEA31oCANNc",
            "token: q7.Zk2mPx9wLt4Rb8Vn",
            "curl -u ann:passw0rd https://api.example.com",
            "Without anonymous logins: password = 'Tr0ub4dor'",
            "user = 'anonymous'\nuser = 'ann'\npassword = 'Tr0ub4dor'",
            "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----",
        ] {
            assert!(!kinds(text).is_empty(), "{text}");
        }
    }
}
