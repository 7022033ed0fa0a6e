//! What a secret says once it is read as those read it whom it is for: the password of a `user:password` in base 64
//! (RFC 7617), and what the percent signs of one in an address stand for (RFC 3986, section 2.1).
//!
//! Who has the encoded one has this too, and would write it with another user, or alone.

use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sessile_guard::variable;

use super::*;

/// What stands in a password's place where the secret is the user, or by custom for everybody.
const BY_CUSTOM: [&str; 14] = [
    "x-oauth-basic",
    "x-oauth-token",
    "x-oauth",
    "x-token-auth",
    "x-access-token",
    "api_token",
    "api-token",
    "api_key",
    "apikey",
    "api-key",
    "oauth2",
    "oauth",
    "anonymous",
    "unused",
];
/// Longest encoded one that is read.
const MOST_ENCODED: usize = 4096;
/// Most letters of a user with a password that are looked for together: the halves of more would be the user's name.
const MOST_TOGETHER: usize = 17;
/// Least letters of the password then.
const LEAST_TOGETHER: usize = 4;

/// The `user:password` that this is in base 64.
pub fn login(token: &str) -> Option<Zeroizing<String>> {
    const EITHER: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    if token.len() > MOST_ENCODED {
        return None;
    }
    let alphabet = if token.contains(['-', '_']) { &alphabet::URL_SAFE } else { &alphabet::STANDARD };
    let bytes = GeneralPurpose::new(alphabet, EITHER).decode(token).map(Zeroizing::new).ok()?;
    let text = core::str::from_utf8(&bytes).ok()?;
    let is_one = text.contains(':') && !text.contains(char::is_control);
    is_one.then(|| Zeroizing::new(text.to_owned()))
}

/// Secrets in a secret: what is to be known beside it.
pub fn within(secret: &str) -> Vec<Zeroizing<String>> {
    if let Some(login) = login(secret) {
        return of_login(&login);
    }
    if secret.len() > MOST_ENCODED {
        return Vec::new();
    }
    Vec::from_iter(unescaped(secret))
}

fn of_login(login: &str) -> Vec<Zeroizing<String>> {
    let Some((user, password)) = login.split_once(':') else { return Vec::new() };
    let by_custom = BY_CUSTOM.iter().any(|word| password.eq_ignore_ascii_case(word));
    // As what is called a password in an environment: words that stand where one would be are none.
    let is_one = !by_custom && !variable::secrets("PASSWORD", password).is_empty() && !password.is_empty();
    if !is_one {
        let made = variable::secrets("TOKEN", user).into_iter();
        return made.map(|user| Zeroizing::new(user.to_owned())).collect();
    }
    let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).count();
    let mut all = vec![Zeroizing::new(password.to_owned())];
    if !Registry::tells(password)
        && letters(password) >= LEAST_TOGETHER
        && letters(login) <= MOST_TOGETHER
        && !user.eq_ignore_ascii_case(password)
    {
        all.push(Zeroizing::new(login.to_owned()));
    }
    all
}

/// The text with its percent signs undone, where it has some.
fn unescaped(text: &str) -> Option<Zeroizing<String>> {
    let (mut bytes, mut rest) = (Zeroizing::new(Vec::with_capacity(text.len())), text.as_bytes());
    while let Some((first, behind)) = rest.split_first() {
        let digit = |at: usize| char::from(*behind.get(at)?).to_digit(16);
        match (digit(0), digit(1)) {
            (Some(high), Some(low)) if *first == b'%' => {
                bytes.push((high * 16 + low) as u8);
                rest = &behind[2..];
            }
            _ => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    let read = core::str::from_utf8(&bytes).ok()?;
    (read != text && !read.contains(char::is_control)).then(|| Zeroizing::new(read.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(login: &str) -> Vec<String> {
        let encoded = base64::engine::general_purpose::STANDARD.encode(login);
        within(&encoded).iter().map(|text| text.to_string()).collect()
    }

    #[test]
    fn of_a_login_the_password_is_known() {
        assert_eq!(of("ann:Tr0ub4dor3xyz"), ["Tr0ub4dor3xyz"]);
        assert_eq!(of("ann:a:b:Tr0ub4"), ["a:b:Tr0ub4"]);
        assert_eq!(of(":k3YqZt91pLm4"), ["k3YqZt91pLm4"]);
        // The secret is the user where nothing stands for a password.
        for login in ["k3YqZt91pLm4:", "k3YqZt91pLm4:x-oauth-basic", "k3YqZt91pLm4:API_TOKEN"] {
            assert_eq!(of(login), ["k3YqZt91pLm4"]);
        }
        // One that cannot be told from other text is known with its user.
        assert_eq!(of("ann:1234"), ["1234", "ann:1234"]);
        assert_eq!(of("anne.smith@corp.example:1234"), ["1234"], "whose halves are an address");
    }

    #[test]
    fn words_that_stand_where_one_would_be_are_none() {
        for login in ["ann:", "ann:password", "ann:changeme", "token:x-oauth-basic", ":", "ann:anonymous"] {
            assert!(of(login).is_empty(), "{login}");
        }
        assert!(of("no login").is_empty());
        assert!(within("k3Yq-Zt91-pLm4-wXyZ").is_empty() && within("").is_empty());
        assert!(of(&format!("ann:{}", "k3Yq".repeat(1000))).is_empty(), "it is too long");
    }

    #[test]
    fn what_is_escaped_in_an_address_is_read() {
        let read = |text: &str| within(text).iter().map(|text| text.to_string()).collect::<Vec<_>>();
        assert_eq!(read("Tr0ub%2D4dor%40x"), ["Tr0ub-4dor@x"]);
        assert_eq!(read("100%"), [""; 0]);
        assert_eq!(read("a%00b%zz"), [""; 0]);
    }
}
