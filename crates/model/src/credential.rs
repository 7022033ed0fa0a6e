//! Secrets that a gateway sets on requests, and that no app sees.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::network::Target;

/// Most credentials of a session.
pub const MAX_CREDENTIALS: usize = 64;
/// Most bytes of all their values.
pub const MAX_VALUES: usize = 16 << 10;
/// Fewest bytes of a value.
const SHORTEST_VALUE: usize = 8;
/// The port of a credential that names none.
pub const HTTPS: u16 = 443;

/// A secret text. It never shows in `Debug` and is overwritten when dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretText(pub String);

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

impl Drop for SecretText {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A header that is set on every request to a host, over TLS alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Credential {
    /// The host, by its whole name or address; port 443 when none is said.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub target: Target,
    /// The header's name.
    pub header: String,
    /// Its value.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub value: SecretText,
}

/// Whether a header of this name can be a credential: it says nothing of how a message is read or
/// where it goes.
pub fn is_header(name: &str) -> bool {
    const OTHERS: [&str; 13] = [
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
    ];
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    (1..=64).contains(&name.len())
        && name.bytes().all(token)
        && OTHERS.binary_search(&name.to_ascii_lowercase().as_str()).is_err()
}

/// Whether a credential can have this value: visible characters of ASCII, with blanks between them,
/// and enough of them to be told apart from other text.
pub fn is_value(value: &str) -> bool {
    value.len() >= SHORTEST_VALUE
        && value.trim() == value
        && value.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_does_not_show() {
        let credential = Credential {
            target: "a.example".parse().unwrap(),
            header: "Authorization".into(),
            value: SecretText("hush".into()),
        };
        assert!(!format!("{credential:?}").contains("hush"));
    }

    #[test]
    fn what_decides_how_a_message_is_read_is_no_credential() {
        for name in ["Authorization", "X-Api-Key", "cookie"] {
            assert!(is_header(name), "{name}");
        }
        for name in ["", "a b", "a:", "Host", "content-LENGTH", "Transfer-Encoding", "Upgrade", "Connection"]
        {
            assert!(!is_header(name), "{name}");
        }
        assert!(is_value("Bearer abc"));
        for value in ["", "short", " 12345678", "12345678 ", "123456\r\nB: c", "1234567\0", "1234567é"] {
            assert!(!is_value(value), "{value:?}");
        }
    }
}
