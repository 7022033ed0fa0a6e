//! Variables of an environment: whether what one holds is a secret, by what it is called.

/// Nouns for what people make up, and for what machines make.
const PASSWORDS: [&str; 6] = ["PASSWORD", "PASSWD", "PASSPHRASE", "PASSCODE", "PASS", "PWD"];
const TOKENS: [&str; 11] = [
    "TOKEN",
    "KEY",
    "APIKEY",
    "SECRET",
    "SECRETS",
    "CREDENTIAL",
    "CREDENTIALS",
    "CREDS",
    "PAT",
    "JWT",
    "BEARER",
];
/// Of them, those that are also written at the end of another word.
const ENDINGS: [&str; 8] =
    ["PASSWORD", "PASSWD", "PASSPHRASE", "PWD", "TOKEN", "APIKEY", "SECRET", "CREDENTIAL"];
/// Folders, by the shell's names.
const FOLDERS: [&str; 2] = ["PWD", "OLDPWD"];
/// Nouns at a name's end that stand for other things as well: what they hold has to look made.
const LOOSE: [&str; 9] = ["AUTH", "COOKIE", "COOKIES", "SALT", "PEPPER", "PIN", "DSN", "WEBHOOK", "WEBHOOKS"];
/// Words before the name of a secret, whatever that is.
const SECRET_THINGS: [&str; 2] = ["SIGNING", "PRIVATE"];
/// Schemes before what is sent in `Authorization`.
const SCHEMES: [&str; 4] = ["Bearer ", "Basic ", "Token ", "Digest "];
/// Words behind a noun, after which it is something about a secret.
const ABOUT: [&str; 36] = [
    "URL",
    "URI",
    "PATH",
    "FILE",
    "FILENAME",
    "DIR",
    "FOLDER",
    "NAME",
    "TYPE",
    "LENGTH",
    "SIZE",
    "LIMIT",
    "COUNT",
    "EXPIRY",
    "EXPIRES",
    "EXPIRATION",
    "TTL",
    "TIMEOUT",
    "HEADER",
    "FIELD",
    "ID",
    "ENDPOINT",
    "HOST",
    "PORT",
    "FORMAT",
    "ALGORITHM",
    "POLICY",
    "REGION",
    "PREFIX",
    "REQUIRED",
    "ENABLED",
    "DISABLED",
    "PARALLELISM",
    "PROMPT",
    "USER",
    "VERSION",
];
/// Words before `KEY`, with which it opens nothing.
const OPEN: [&str; 8] = ["PUBLIC", "PUB", "PRIMARY", "FOREIGN", "SORT", "PARTITION", "CACHE", "HOST"];
/// What people write where a password would stand.
const STAND_INS: [&str; 8] =
    ["password", "passwd", "passphrase", "secret", "changeme", "example", "placeholder", "unknown"];

/// Whether a variable of this name has the shell's folder, whatever that reads like.
#[must_use]
pub fn is_folder(name: &str) -> bool {
    FOLDERS.iter().any(|folder| name.eq_ignore_ascii_case(folder))
}

/// The secrets that a variable of this name holds in this value: all of it, or those parts of a cookie, an address or a
/// header field that are. Its name says that it holds one, and the value leads nowhere, as a path or an address does,
/// and is no word. People choose words for passwords; a token is made by a machine.
#[must_use]
pub fn secrets<'a>(name: &str, value: &'a str) -> Vec<&'a str> {
    let name = name.to_ascii_uppercase();
    let words: Vec<&str> =
        name.split('_').map(|word| word.trim_end_matches(|c: char| c.is_ascii_digit())).collect();
    if is_folder(&name) {
        return Vec::new();
    }
    if is_secret(&words, value) {
        let bare = SCHEMES.iter().find_map(|scheme| value.strip_prefix(scheme));
        return vec![bare.unwrap_or(value)];
    }
    let parts = match words.as_slice() {
        [.., "WEBHOOK" | "WEBHOOKS", "URL" | "URI"] => made_in_address(value),
        [.., last] => {
            match LOOSE.iter().find(|noun| last == *noun || noun.len() > 5 && last.ends_with(**noun)) {
                Some(&noun) => held_loosely(noun, value),
                None if words.iter().any(|word| SECRET_THINGS.contains(word)) => thing(&words, value),
                None => Vec::new(),
            }
        }
        [] => Vec::new(),
    };
    parts.into_iter().filter(|part| !reads_like_names(part)).collect()
}

fn is_secret(words: &[&str], value: &str) -> bool {
    let is_noun = |word: &&str| {
        PASSWORDS.contains(word) || TOKENS.contains(word) || ENDINGS.iter().any(|noun| word.ends_with(noun))
    };
    let Some(at) = words.iter().rposition(is_noun) else { return false };
    let (before, noun, after) = (&words[..at], words[at], &words[at + 1..]);
    let opens_nothing = noun == "KEY" && before.last().is_some_and(|word| OPEN.contains(word));
    if opens_nothing || after.iter().any(|word| ABOUT.contains(word)) || leads_somewhere(value) {
        return false;
    }
    let is_password = after.is_empty() && PASSWORDS.iter().any(|word| noun.ends_with(word));
    match is_password {
        true => !STAND_INS.iter().any(|word| value.eq_ignore_ascii_case(word)),
        false => is_made(value),
    }
}

/// What is secret in the value of a variable that is called so in the end.
fn held_loosely<'a>(noun: &str, value: &'a str) -> Vec<&'a str> {
    let is_address = value.contains("://");
    match noun {
        "COOKIE" | "COOKIES" => {
            let bare = |pair: &'a str| match pair.split_once('=') {
                Some((_, held)) if !held.trim_end_matches('=').is_empty() => held,
                Some(_) | None => pair,
            };
            value.split(';').map(|pair| bare(pair.trim())).filter(|held| is_made(held)).collect()
        }
        "PIN" => {
            let is_number = value.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b' '));
            Vec::from_iter(Some(value).filter(|value| is_number && !value.is_empty()))
        }
        "AUTH" if !is_address => {
            let bare = SCHEMES.iter().find_map(|scheme| value.strip_prefix(scheme)).unwrap_or(value);
            let bare = bare.split_once(':').map_or(bare, |(_, password)| password);
            Vec::from_iter(Some(bare).filter(|bare| is_made(bare) && !leads_somewhere(bare)))
        }
        _ if is_address => made_in_address(value),
        _ => Vec::from_iter(Some(value).filter(|value| is_made(value) && !leads_somewhere(value))),
    }
}

/// What a machine has made in an address: of whom it is for, its path and its query.
fn made_in_address(value: &str) -> Vec<&str> {
    let Some((_, rest)) = value.split_once("://") else { return Vec::new() };
    let (authority, path) = rest.find(['/', '?', '#']).map_or((rest, ""), |at| rest.split_at(at));
    let person = authority.rsplit_once('@').map(|(person, _)| person);
    let person = person.map(|person| person.split_once(':').map_or(person, |(_, password)| password));
    let parts = path.split(['/', '?', '#', '&', '=']);
    person.into_iter().chain(parts).filter(|part| is_made(part)).collect()
}

/// The value of what is called `SIGNING_…` or `PRIVATE_…`.
fn thing<'a>(words: &[&str], value: &'a str) -> Vec<&'a str> {
    let is_about = words.iter().any(|word| ABOUT.contains(word));
    Vec::from_iter(Some(value).filter(|value| !is_about && is_made(value) && !leads_somewhere(value)))
}

/// Whether it is of words and numbers, as names of hosts and versions are, in small letters.
fn reads_like_names(value: &str) -> bool {
    let is_word = |word: &str| {
        let rest = word.trim_start_matches(|c: char| c.is_ascii_lowercase());
        rest.bytes().all(|byte| byte.is_ascii_digit())
    };
    let is_number = value.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b' '));
    !is_number && value.split(['.', '-', '_', ':', '/', ' ', ',']).all(is_word)
}

/// Whether it is a path, or an address that holds no password.
fn leads_somewhere(value: &str) -> bool {
    let is_path = ["/", "./", "../", "~/"].iter().any(|start| value.starts_with(start));
    // A slash stands in base64 too; what is in a file system has folders that read as words.
    let is_base64 = value.len() >= 24
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='))
        && value.bytes().any(|byte| byte.is_ascii_digit())
        && value.bytes().filter(u8::is_ascii_uppercase).count() > 3;
    let is_address = value.split_once("://").is_some_and(|(_, rest)| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        !authority.contains('@') && !rest.contains('?')
    });
    is_path && !is_base64 || is_address
}

/// Whether a machine has made it: at least eight letters, with digits or both cases among them, or long.
fn is_made(value: &str) -> bool {
    let letters = value.chars().filter(|c| c.is_alphanumeric()).count();
    let digit = value.bytes().any(|byte| byte.is_ascii_digit());
    let inner = value.char_indices().skip(1).any(|(_, c)| c.is_ascii_uppercase())
        && value.bytes().any(|byte| byte.is_ascii_lowercase());
    letters >= 8 && (digit || inner || letters >= 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_says_so_makes_a_secret() {
        for (name, value) in [
            ("API_TOKEN", "k3Yq-Zt91-pLm4-wXyZ"),
            ("GITHUB_TOKEN", "ghp_16C7e42F292c6912E7710c838347Ae178B4a"),
            ("GITHUBTOKEN2", "a1b2c3d4e5"),
            ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMIK7MDENGbPxRfiCYzzzzzKEY"),
            ("STORAGE_KEY", "/x0Nk3Yq+Zt91pLm4wXyZAAbbCC12345=="),
            ("openai_api_key", "abcdefghijklmnop"),
            ("SECRET_KEY_BASE", "0123456789abcdef0123456789abcdef"),
            ("DB_PASSWORD", "swordfish"),
            ("PGPASSWORD", "correct horse"),
            ("DB_PASSWORD_STAGING", "Tr0ub4dor"),
            ("SIGNING_SECRET", "https://ann:k3Yq@host.example/x"),
            ("DB_PWD", "swordfish"),
            ("MYSQLPWD", "swordfish"),
            ("GPG_PASSPHRASE", "correct horse"),
            ("JWT", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"),
            ("BEARER", "k3Yq-Zt91-pLm4-wXyZ"),
            ("PRIVATE_PEM", "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg"),
            ("SIGNING_SEED", "9f86d081884c7d659a2feaa0c55ad015"),
            ("SIGNING_PRIVATE", "9f86d081884c7d659a2feaa0c55ad015"),
            ("AUTH", "k3Yq-Zt91-pLm4-wXyZ"),
            ("SESSION_COOKIE", "k3Yq-Zt91-pLm4-wXyZ"),
            ("PIN", "83920174"),
            ("CARD_PIN", "8392-0174"),
            ("PASSWORD_SALT", "k3Yq.Zt91"),
            ("SALT", "9f86d081884c7d65"),
            ("GOOGLE_CREDENTIALS", "{\"type\": \"service_account\", \"id\": 1}"),
        ] {
            assert_eq!(secrets(name, value), [value], "{name}");
        }
    }

    #[test]
    fn of_some_values_a_part_is_secret() {
        for (name, value, parts) in [
            ("COOKIE", "theme=dark; sid=k3YqZt91pLm4; lang=en", &["k3YqZt91pLm4"][..]),
            ("SESSION_COOKIE", "aGVsbG8gd29ybGQ0==", &["aGVsbG8gd29ybGQ0=="]),
            ("AUTH", "Bearer k3Yq-Zt91-pLm4-wXyZ", &["k3Yq-Zt91-pLm4-wXyZ"]),
            ("API_TOKEN", "Bearer k3Yq-Zt91-pLm4-wXyZ", &["k3Yq-Zt91-pLm4-wXyZ"]),
            ("BASIC_AUTH", "ann:Tr0ub4dor", &["Tr0ub4dor"]),
            ("SENTRY_DSN", "https://9f86d081884c7d659a2f@o1.ingest.example/42", &["9f86d081884c7d659a2f"]),
            ("DB_DSN", "postgres://ann:Tr0ub4dor@db.example/shop", &["Tr0ub4dor"]),
            (
                "SLACK_WEBHOOK",
                "https://hooks.example/services/T0AB1CD2E/k3YqZt91pLm4wXyZ",
                &["T0AB1CD2E", "k3YqZt91pLm4wXyZ"],
            ),
            ("WEBHOOK_URL", "https://hooks.example/in?key=k3YqZt91pLm4wXyZ", &["k3YqZt91pLm4wXyZ"]),
        ] {
            assert_eq!(secrets(name, value), parts, "{name}");
        }
    }

    #[test]
    fn what_only_speaks_of_one_holds_none() {
        for (name, value) in [
            ("PATH", "/usr/bin"),
            ("MONKEY", "k3Yq-Zt91-pLm4"),
            ("TOKENIZERS_PARALLELISM", "false1234"),
            ("TOKEN_URL", "https://auth.example/token12"),
            ("AUTH_TOKEN", "https://auth.example/token12"),
            ("PWD", "/home/ann/work1"),
            ("GOOGLE_APPLICATION_CREDENTIALS", "/home/ann/key-1234.json"),
            ("SSH_KEY_FILE", "id_ed25519_of_ann"),
            ("MAX_TOKEN_LIMIT", "100000000"),
            ("PRIMARY_KEY", "customer_number1"),
            ("DEPLOY_PUBLIC_KEY", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5"),
            ("AWS_ACCESS_KEY_ID", "AKIAQ3EGRKJ5ZXV2W7TD"),
            ("MODE_KEY", "production"),
            ("API_KEY", "debug"),
            ("DB_PASSWORD", "Password"),
            ("", "k3Yq-Zt91-pLm4"),
            ("PWD", "work-1234-Abcd"),
            ("OLDPWD", "work-1234-Abcd"),
            ("AUTH", "basic"),
            ("AUTH", "oauth2:github-enterprise"),
            ("AUTH_METHOD", "k3Yq-Zt91-pLm4"),
            ("COOKIE_DOMAIN", "k3Yq-Zt91.example"),
            ("COOKIE", "theme=dark; lang=en"),
            ("LED_PIN", "GPIO17"),
            ("VERSION_PIN", "1.2.3-stable"),
            ("SALT", "sea"),
            ("DSN", "postgres://db.example/shop"),
            ("WEBHOOK_URL", "https://hooks.example/incoming/messages"),
            ("PRIVATE_REGISTRY", "registry1.corp.example:5000"),
            ("PRIVATE_SUBNET", "192.168.100.0/24"),
            ("SIGNING_KEY_ID", "k3Yq-Zt91-pLm4"),
            ("PRIVATE_KEY_PATH", "keys/k3YqZt91"),
            ("COMPASS", "k3Yq-Zt91-pLm4"),
            ("SPIN", "83920174"),
            ("GAUTH", "83920174a"),
        ] {
            assert!(secrets(name, value).is_empty(), "{name}");
        }
    }
}
