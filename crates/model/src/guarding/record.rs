//! What a session's record says of its guard.

use serde::{Deserialize, Serialize};

/// How a session is guarded, as its record shows it.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GuardRecord {
    /// What passes the guard.
    pub guarded: Vec<String>,
    /// What does not: nothing is found there.
    pub blind: Vec<String>,
    /// The most confidential that has passed: from `public` to `critical`.
    pub sensitivity: String,
    /// From 0 to 100, when it was last another.
    pub risk: u32,
    /// Whether a trusted execution environment was verified.
    pub tee: bool,
    /// Messages that were said.
    pub messages: u64,
    /// Messages that were refused.
    pub refused: u64,
    /// Messages that went on without what was found in them.
    pub redacted: u64,
    /// Messages that somebody was asked about.
    pub asked: u64,
    /// Why what the guard knows is less protected than memory can be; nothing where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weaker_because: Option<String>,
}

/// Requests that pass the guard, as [`GuardRecord::guarded`] has them; `opened` are the hosts to which TLS is opened.
pub fn requests_guarded(opened: &[String]) -> String {
    match opened {
        [] => REQUESTS.to_owned(),
        hosts => format!("{REQUESTS}{IN_TLS}{}", hosts.join(", ")),
    }
}

const REQUESTS: &str = "requests of apps: HTTP/1 in plaintext";
const IN_TLS: &str = ", and in TLS to ";
/// Stands for hosts where they are not kept.
const SOME_HOSTS: &str = "hosts that were named";

impl GuardRecord {
    /// The same without the names of hosts.
    pub fn without_hosts(mut self) -> Self {
        for guarded in &mut self.guarded {
            if guarded.strip_prefix(REQUESTS).is_some_and(|rest| rest.starts_with(IN_TLS)) {
                *guarded = format!("{REQUESTS}{IN_TLS}{SOME_HOSTS}");
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_host_is_kept() {
        let host = ["bank.example:443".to_owned()];
        let guarded = vec!["User to Agent".to_owned(), requests_guarded(&host), requests_guarded(&[])];
        let kept = GuardRecord { guarded, ..GuardRecord::default() }.without_hosts();
        let requests = "requests of apps: HTTP/1 in plaintext";
        let in_tls = format!("{requests}, and in TLS to hosts that were named");
        assert_eq!(kept.guarded, ["User to Agent", &in_tls, requests]);
        assert_eq!(kept.clone().without_hosts(), kept);
    }
}
