//! What a user may choose about a session's tor: where it enters the network, and lines that are
//! added to its configuration.
//!
//! Of lines, only options by which tor finds its way into the network and through it. What would open a port,
//! write a file elsewhere, change who controls it or tie circuits together is not among them, and
//! neither is an abbreviation, which tor would complete.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Whose entry guards a session's tor goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum TorEntry {
    /// Its own: no other session has them, and they are forgotten with it.
    #[default]
    Fresh,
    /// Those of the installation, which all such sessions share. Weakens the property `routing`.
    Pinned,
}

impl TorEntry {
    /// Whether it is [`TorEntry::Fresh`].
    pub fn is_fresh(&self) -> bool {
        *self == Self::Fresh
    }
}

impl fmt::Display for TorEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fresh => "fresh",
            Self::Pinned => "pinned",
        })
    }
}

impl FromStr for TorEntry {
    type Err = InvalidEntry;

    fn from_str(text: &str) -> Result<Self, InvalidEntry> {
        [Self::Fresh, Self::Pinned].into_iter().find(|e| e.to_string() == text).ok_or(InvalidEntry)
    }
}

/// A text is not a [`TorEntry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a way into the network (one of fresh, pinned)")]
pub struct InvalidEntry;

/// Most bytes of added lines.
pub const MAX_CONFIG: usize = 16 << 10;

/// Options that may be added, in lower case.
const OPTIONS: [&str; 38] = [
    "alternatebridgeauthority",
    "alternatedirauthority",
    "assumereachable",
    "bridge",
    "circuitbuildtimeout",
    "clientdnsrejectinternaladdresses",
    "clientpreferipv6orport",
    "clientrejectinternaladdresses",
    "clienttransportplugin",
    "clientuseipv4",
    "clientuseipv6",
    "connectionpadding",
    "dirauthority",
    "enforcedistinctsubnets",
    "entrynodes",
    "excludeexitnodes",
    "excludenodes",
    "exitnodes",
    "fallbackdir",
    "fascistfirewall",
    "firewallports",
    "httpsproxy",
    "httpsproxyauthenticator",
    "learncircuitbuildtimeout",
    "mapaddress",
    "middlenodes",
    "outboundbindaddress",
    "pathsneededtobuildcircuits",
    "reachableaddresses",
    "reducedconnectionpadding",
    "socks4proxy",
    "socks5proxy",
    "socks5proxypassword",
    "socks5proxyusername",
    "strictnodes",
    "testingtornetwork",
    "usebridges",
    "usedefaultfallbackdirs",
];

/// Why lines cannot be added.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidConfig {
    /// There are too many.
    #[error("the lines for tor have {0} bytes, at most {MAX_CONFIG} fit")]
    TooLong(usize),
    /// An option is not among those that may be added.
    #[error("line {line} of those for tor: the option {option} is not one that may be set")]
    Option {
        /// Counted from 1.
        line: usize,
        /// The line's first word, cut short.
        option: String,
    },
    /// A line goes on in the next one, or holds a control character.
    #[error("line {line} of those for tor goes on in the next, or holds a control character")]
    Form {
        /// Counted from 1.
        line: usize,
    },
}

/// Checks lines that are to be added to a session's tor.
///
/// # Errors
/// See [`InvalidConfig`].
pub fn check(text: &str) -> Result<(), InvalidConfig> {
    if text.len() > MAX_CONFIG {
        return Err(InvalidConfig::TooLong(text.len()));
    }
    for (index, content) in text.lines().enumerate() {
        let line = index + 1;
        let content = content.trim_matches([' ', '\t']);
        if content.ends_with('\\') || content.chars().any(|c| c.is_control() && c != '\t') {
            return Err(InvalidConfig::Form { line });
        }
        let word = content.split([' ', '\t']).next().unwrap_or_default();
        let known = OPTIONS.binary_search(&word.to_ascii_lowercase().as_str()).is_ok();
        if !(word.is_empty() || word.starts_with('#') || known) {
            return Err(InvalidConfig::Option { line, option: word.chars().take(40).collect() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_are_in_order_so_that_they_are_found() {
        assert!(OPTIONS.is_sorted());
    }

    #[test]
    fn entries_are_read_as_they_are_shown() {
        for entry in [TorEntry::Fresh, TorEntry::Pinned] {
            assert_eq!(entry.to_string().parse(), Ok(entry));
            assert_eq!(serde_json::to_value(entry).unwrap(), entry.to_string());
        }
        assert_eq!("Fresh".parse::<TorEntry>(), Err(InvalidEntry));
    }

    #[test]
    fn bridges_may_be_added() {
        let text = "# mine\n\nUseBridges 1\r\nbridge 192.0.2.1:443\n  ExitNodes {de}\n";
        assert_eq!(check(text), Ok(()));
    }

    #[test]
    fn what_breaks_isolation_may_not() {
        for option in [
            "SocksPort 9050",
            "ControlPort 9051",
            "DataDirectory /tmp",
            "User root",
            "+SocksPort 9050",
            "/SocksPort",
            "socksp 1",
            "%include /etc/tor/torrc",
            "__OwningControllerProcess 1",
            "Log info file /tmp/log",
            "HiddenServiceDir /tmp",
            "\"SocksPort\" 9050",
            "SafeLogging 0",
        ] {
            let text = format!("UseBridges 1\n{option}");
            assert!(matches!(check(&text), Err(InvalidConfig::Option { line: 2, .. })), "{option}");
        }
        assert_eq!(check("Bridge \\\nSocksPort 1"), Err(InvalidConfig::Form { line: 1 }));
        assert_eq!(check("Bridge a\rSocksPort 1"), Err(InvalidConfig::Form { line: 1 }));
        assert!(matches!(check(&"#".repeat(MAX_CONFIG + 1)), Err(InvalidConfig::TooLong(_))));
    }
}
