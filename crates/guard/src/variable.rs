//! Variables of an environment: whether what one holds is a secret, by what it is called.

/// Nouns for what people make up, and for what machines make.
const PASSWORDS: [&str; 6] = ["PASSWORD", "PASSWD", "PASSPHRASE", "PASSCODE", "PASS", "PWD"];
const TOKENS: [&str; 10] =
    ["TOKEN", "KEY", "APIKEY", "SECRET", "SECRETS", "CREDENTIAL", "CREDENTIALS", "CREDS", "PAT", "JWT"];
/// Of them, those that are also written at the end of another word.
const ENDINGS: [&str; 7] = ["PASSWORD", "PASSWD", "PASSPHRASE", "TOKEN", "APIKEY", "SECRET", "CREDENTIAL"];
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

/// Whether a variable of this name holds a secret in this value: its name says that it does, and the value
/// leads nowhere, as a path or an address does, and is no word. People choose words for passwords; a token is
/// made by a machine.
#[must_use]
pub fn is_secret(name: &str, value: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let words: Vec<&str> =
        name.split('_').map(|word| word.trim_end_matches(|c: char| c.is_ascii_digit())).collect();
    let is_noun = |word: &&str| {
        PASSWORDS.contains(word) || TOKENS.contains(word) || ENDINGS.iter().any(|noun| word.ends_with(noun))
    };
    let Some(at) = words.iter().rposition(is_noun) else { return false };
    let (before, noun, after) = (&words[..at], words[at], &words[at + 1..]);
    let opens_nothing = noun == "KEY" && before.last().is_some_and(|word| OPEN.contains(word));
    if opens_nothing || after.iter().any(|word| ABOUT.contains(word)) || leads_somewhere(value) {
        return false;
    }
    let is_password = after.is_empty()
        && PASSWORDS.iter().any(|word| *word == noun || word.len() > 5 && noun.ends_with(word));
    match is_password {
        true => !STAND_INS.iter().any(|word| value.eq_ignore_ascii_case(word)),
        false => is_made(value),
    }
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
            ("GOOGLE_CREDENTIALS", "{\"type\": \"service_account\", \"id\": 1}"),
        ] {
            assert!(is_secret(name, value), "{name}");
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
        ] {
            assert!(!is_secret(name, value), "{name}");
        }
    }
}
