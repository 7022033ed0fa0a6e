//! What an app finds in `/etc`: synthetic files, and entries of the host's `/etc` that programs
//! need and that identify nobody.

use std::path::Path;

use crate::app::Identity;
use crate::capture::{Capture, NAME_SERVER};

/// The user's name inside.
pub const USER: &str = "user";
/// The user's home folder inside.
pub const HOME: &str = "/home/user";

/// Entries of the host's `/etc` that are shown read-only, when present.
const HOST_ENTRIES: &[&str] = &[
    "alternatives",
    "bash.bashrc",
    "bindresvport.blacklist",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "debian_version",
    "ethertypes",
    "fonts",
    "gai.conf",
    "groff",
    "inputrc",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "magic",
    "magic.mime",
    "manpath.config",
    "maven",
    "mime.types",
    "os-release",
    "pki",
    "profile",
    "protocols",
    "rpc",
    "services",
    "ssl",
    "terminfo",
    "vim",
    "wgetrc",
];

/// Further entries, by how their names begin.
const HOST_PREFIXES: &[&str] = &["java-", "perl", "python3", "php", "lua", "ghc"];

/// Whether the host's `/etc/NAME` is shown inside.
pub(crate) fn is_shown(name: &str) -> bool {
    HOST_ENTRIES.binary_search(&name).is_ok() || HOST_PREFIXES.iter().any(|p| name.starts_with(p))
}

/// The synthetic files: name within `/etc` and content.
pub(crate) fn synthetic(identity: &Identity, capture: Option<Capture>) -> Vec<(&'static str, String)> {
    let host = &identity.hostname;
    let shell = if Path::new("/bin/bash").exists() { "/bin/bash" } else { "/bin/sh" };
    vec![
        (
            "passwd",
            format!(
                "{USER}:x:1000:1000::{HOME}:{shell}\n\
                 nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
            ),
        ),
        ("group", format!("{USER}:x:1000:\nnogroup:x:65534:\n")),
        ("hostname", format!("{host}\n")),
        ("hosts", format!("127.0.0.1\tlocalhost {host}\n::1\tlocalhost ip6-localhost ip6-loopback\n")),
        ("machine-id", format!("{}\n", identity.machine_id)),
        (
            "nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n\
             ethers: files\nrpc: files\n"
                .to_owned(),
        ),
        ("host.conf", "multi on\n".to_owned()),
        ("resolv.conf", resolver(capture)),
        ("locale.conf", format!("LANG={}\n", identity.locale)),
        ("timezone", format!("{}\n", identity.timezone)),
        ("shells", "/bin/sh\n/bin/bash\n/usr/bin/zsh\n/usr/bin/fish\n".to_owned()),
        ("environment", String::new()),
    ]
}

/// Where names are asked for. Not a loopback address: what goes there is not redirected.
fn resolver(capture: Option<Capture>) -> String {
    match capture {
        Some(Capture::Transparent) => format!("nameserver {NAME_SERVER}\n"),
        Some(Capture::Explicit) | None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_shown_entries_is_sorted_for_its_search() {
        assert!(HOST_ENTRIES.is_sorted());
    }

    #[test]
    fn what_identifies_the_host_is_not_shown() {
        let hidden = [
            "hostname",
            "hosts",
            "machine-id",
            "passwd",
            "shadow",
            "group",
            "ssh",
            "resolv.conf",
            "gitconfig",
            "fstab",
            "npmrc",
            "pip.conf",
            "krb5.conf",
            "sudoers",
            "profile.d",
        ];
        for name in hidden {
            assert!(!is_shown(name), "{name} is shown");
        }
        for name in ["ssl", "ld.so.cache", "java-17-openjdk", "python3.11", "alternatives"] {
            assert!(is_shown(name), "{name} is not shown");
        }
    }

    #[test]
    fn synthetic_files_say_nothing_of_the_host() {
        let identity = Identity::new("sealed", "0123456789abcdef0123456789abcdef");
        let of = |capture, name| {
            let files = synthetic(&identity, capture);
            files.into_iter().find(|f| f.0 == name).map(|f| f.1).unwrap()
        };
        let content = |name| of(None, name);
        assert_eq!(content("hostname"), "sealed\n");
        assert_eq!(content("machine-id"), "0123456789abcdef0123456789abcdef\n");
        assert!(!content("passwd").contains("root"));
        assert_eq!(content("resolv.conf"), "");
        assert_eq!(of(Some(Capture::Explicit), "resolv.conf"), "");
        assert_eq!(of(Some(Capture::Transparent), "resolv.conf"), "nameserver 198.18.0.2\n");
    }
}
