//! How a user names a session on the command line.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A session's name, its id, or a unique beginning or short form of either. The daemon says which
/// session is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSelector(String);

/// Why a text can name no session.
#[derive(Debug, Error, PartialEq, Eq, Clone)]
#[error("a session is named by its name, its id, or a unique beginning of either (`sessile ls` shows them)")]
pub struct InvalidSelector;

impl SessionSelector {
    /// The path of the session, or of something of it, in the API.
    pub fn path(&self, rest: &str) -> String {
        format!("/v1/sessions/{}{rest}", self.0)
    }
}

impl From<sessile_model::SessionId> for SessionSelector {
    fn from(id: sessile_model::SessionId) -> Self {
        Self(id.to_string())
    }
}

impl FromStr for SessionSelector {
    type Err = InvalidSelector;

    fn from_str(text: &str) -> Result<Self, InvalidSelector> {
        // The characters of names and ids; none of them has a meaning in a URI. `.` and `..` do.
        let valid = (1..=40).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b))
            && text.as_bytes()[0].is_ascii_alphanumeric();
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidSelector) }
    }
}

impl fmt::Display for SessionSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_cannot_leave_their_place_in_a_path() {
        assert_eq!(
            "amber-otter".parse::<SessionSelector>().unwrap().path("/screen"),
            "/v1/sessions/amber-otter/screen"
        );
        for bad in ["", "..", ".", "a/b", "a?b", "a%2e", "A", "é", "a b", "-a"] {
            assert!(bad.parse::<SessionSelector>().is_err(), "{bad}");
        }
    }
}
