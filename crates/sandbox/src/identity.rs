//! What identity means: the list of things a program can read about who and where it is, and what
//! each must show. The identity property promises exactly this list.

use crate::app::Identity;

/// What a program must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    /// The session's host name.
    Hostname,
    /// The session's machine id.
    MachineId,
    /// The session's boot id.
    BootId,
    /// The session's time zone.
    Timezone,
    /// The session's locale.
    Locale,
    /// The same text in every session.
    Same(&'static str),
    /// Nothing: it is absent, empty or refused.
    Nothing,
    /// Something of the host: a link that is named in the record instead of hidden.
    Link(&'static str),
}

/// One thing that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// What it is.
    pub what: &'static str,
    /// Where a program reads it.
    pub source: &'static str,
    /// What it must show.
    pub shows: Shows,
    /// The key under which init reports it when it is probed.
    pub key: Option<&'static str>,
}

const fn row(what: &'static str, source: &'static str, shows: Shows, key: Option<&'static str>) -> Row {
    Row { what, source, shows, key }
}

/// The list. Rows without a key hold by how the root folder is made, and are tested.
pub const ROWS: &[Row] = &[
    row("host name", "uname(2), /etc/hostname, /etc/hosts", Shows::Hostname, Some("hostname")),
    row("domain name", "uname(2)", Shows::Same("(none)"), Some("domainname")),
    row("machine id", "/etc/machine-id", Shows::MachineId, Some("machine_id")),
    row("boot id", "/proc/sys/kernel/random/boot_id", Shows::BootId, Some("boot_id")),
    row("user id", "getuid(2)", Shows::Same("1000"), Some("uid")),
    row("group id", "getgid(2)", Shows::Same("1000"), Some("gid")),
    row("user names", "/etc/passwd", Shows::Same("user,nobody"), Some("passwd_users")),
    row("time zone", "/etc/timezone, /etc/localtime", Shows::Timezone, Some("timezone")),
    row("control group", "/proc/self/cgroup", Shows::Same("/"), Some("cgroup")),
    row("kernel command line", "/proc/cmdline", Shows::Nothing, Some("cmdline")),
    row("network interfaces", "/proc/net/dev", Shows::Same("lo"), Some("interfaces")),
    row("hardware tree", "/sys", Shows::Nothing, Some("sys_entries")),
    row("locale", "/etc/locale.conf, LANG", Shows::Locale, None),
    row("home folder", "/etc/passwd, HOME", Shows::Same("/home/user"), None),
    row("environment", "environ(7)", Shows::Same("what the session set"), None),
    row("name servers", "/etc/resolv.conf", Shows::Same("none, or 198.18.0.2 where it is captured"), None),
    row("ssh keys and settings", "/etc/ssh, ~/.ssh", Shows::Nothing, None),
    row("kernel keys", "/proc/keys, /proc/key-users", Shows::Nothing, None),
    row("other processes", "/proc", Shows::Nothing, None),
    row("disks", "/proc/partitions, /proc/diskstats, /proc/swaps", Shows::Nothing, None),
    row(
        "the mount table",
        "/proc/self/mountinfo",
        Shows::Link(
            "mountinfo names the host's devices, the user's number there, and the paths of granted folders",
        ),
        None,
    ),
    row(
        "kernel version and processor",
        "uname(2), /proc/cpuinfo, /proc/meminfo",
        Shows::Link("kernel version, processor model and memory size are the host's"),
        None,
    ),
    row(
        "time since boot",
        "/proc/uptime, /proc/stat, sysinfo(2)",
        Shows::Link("the time since the host's boot is the host's"),
        None,
    ),
    row(
        "installed programs",
        "/usr",
        Shows::Link("installed programs and their versions are the host's"),
        None,
    ),
];

/// The links to the host that are named instead of hidden.
pub fn links() -> impl Iterator<Item = &'static str> {
    ROWS.iter().filter_map(|row| match row.shows {
        Shows::Link(link) => Some(link),
        Shows::Hostname
        | Shows::MachineId
        | Shows::BootId
        | Shows::Timezone
        | Shows::Locale
        | Shows::Same(_)
        | Shows::Nothing => None,
    })
}

/// Whether what was read is what the row promises.
pub fn is_kept(row: &Row, read: &str, identity: &Identity) -> bool {
    match row.shows {
        Shows::Hostname => read == identity.hostname,
        Shows::MachineId => read == identity.machine_id,
        Shows::BootId => read == identity.boot_id,
        Shows::Timezone => read == identity.timezone,
        Shows::Locale => read == identity.locale,
        // Every hierarchy of control groups has a line; in each the own group is the top.
        Shows::Same("/") => read.split_whitespace().all(|line| line.ends_with(":/")) && !read.is_empty(),
        Shows::Same(text) => read == text,
        Shows::Nothing => matches!(read, "" | "-" | "0"),
        Shows::Link(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_compare_with_the_sessions_own_identity() {
        let identity = Identity::new("sealed", "0123456789abcdef0123456789abcdef");
        let find = |key| *ROWS.iter().find(|r| r.key == Some(key)).unwrap();
        assert!(is_kept(&find("hostname"), "sealed", &identity));
        assert!(!is_kept(&find("hostname"), "workstation", &identity));
        assert!(is_kept(&find("cgroup"), "4:memory:/ 0::/", &identity));
        assert!(!is_kept(&find("cgroup"), "0::/user.slice/x", &identity));
        assert!(!is_kept(&find("cgroup"), "", &identity));
        assert!(is_kept(&find("sys_entries"), "0", &identity));
        assert!(!is_kept(&find("sys_entries"), "12", &identity));
        assert!(is_kept(&find("boot_id"), &identity.boot_id, &identity));
    }

    #[test]
    fn keys_are_unique_and_links_are_named() {
        let mut keys: Vec<_> = ROWS.iter().filter_map(|r| r.key).collect();
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), count);
        assert_eq!(links().count(), 4);
    }
}
