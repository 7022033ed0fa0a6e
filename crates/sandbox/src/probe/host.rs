//! What the host's `/proc` shows of an init.

use std::fs;
use std::io;

use rustix::fs::{AtFlags, CWD, makedev, statat};
use sessile_model::Property;

const NAMESPACES: [&str; 7] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];

/// What the host shows of an init.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct HostFacts {
    /// Namespaces that it shares with the caller.
    pub shared: Vec<&'static str>,
    /// Its real, effective, saved and file system user ids on the host.
    pub uids: Vec<u32>,
    /// Whether it can gain privileges by executing something.
    pub no_new_privs: bool,
    /// Its filter mode; 2 is a filter.
    pub seccomp: u32,
    /// Its effective, permitted, inheritable, bounding and ambient capabilities, joined.
    pub capabilities: u64,
    /// Its network interfaces.
    pub interfaces: Vec<String>,
    /// Its mounts.
    pub mounts: Vec<MountFact>,
    /// Its hard limit on core dumps, in bytes.
    pub core_limit: Option<u64>,
    /// Whether the host has swap.
    pub swap: bool,
}

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountFact {
    /// Where it is mounted.
    pub point: String,
    /// Its device number.
    pub device: u64,
    /// Its file system's type.
    pub kind: String,
    /// Whether the mount, not only its file system, can be written.
    pub writable: bool,
}

impl HostFacts {
    /// Looks at an init from outside.
    ///
    /// # Errors
    /// When the process is gone or may not be looked at.
    pub fn gather(pid: u32) -> io::Result<Self> {
        let mut facts = Self::cheap(pid)?;
        for name in NAMESPACES {
            let inode = |who: String| {
                statat(CWD, format!("/proc/{who}/ns/{name}"), AtFlags::empty()).map(|s| s.st_ino)
            };
            if inode(pid.to_string())? == inode("self".to_owned())? {
                facts.shared.push(name);
            }
        }
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}"));
        facts.mounts = read("mountinfo")?.lines().filter_map(parse_mount).collect();
        facts.core_limit = read("limits")?
            .lines()
            .find_map(|l| l.strip_prefix("Max core file size"))
            .and_then(|rest| rest.split_whitespace().nth(1))
            .and_then(|hard| hard.parse().ok());
        facts.swap = fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().count() > 1);
        Ok(facts)
    }

    /// The facts that can change while it runs and cost little to look at.
    fn cheap(pid: u32) -> io::Result<Self> {
        let mut facts = parse_status(&fs::read_to_string(format!("/proc/{pid}/status"))?);
        let devices = fs::read_to_string(format!("/proc/{pid}/net/dev"))?;
        facts.interfaces =
            devices.lines().skip(2).filter_map(|l| Some(l.split_once(':')?.0.trim().to_owned())).collect();
        Ok(facts)
    }

    /// What is wrong with its confinement, one sentence each.
    pub(super) fn confinement_faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !self.no_new_privs {
            faults.push("it can gain privileges".to_owned());
        }
        if self.seccomp != 2 {
            faults.push("its system calls are not filtered".to_owned());
        }
        if self.capabilities != 0 {
            faults.push(format!("it has capabilities: {:x}", self.capabilities));
        }
        faults
    }
}

/// Looks at what can be looked at every second: three small reads. Returns what no longer holds.
///
/// # Errors
/// When the process is gone.
pub fn quick(pid: u32) -> io::Result<Vec<(Property, String)>> {
    let facts = HostFacts::cheap(pid)?;
    let mut faults: Vec<(Property, String)> =
        facts.confinement_faults().into_iter().map(|f| (Property::Sandbox, f)).collect();
    if facts.uids.contains(&0) {
        faults.push((Property::Sandbox, "it runs as root on the host".to_owned()));
    }
    if facts.interfaces != ["lo"] {
        let fault = format!("network interfaces: {}", facts.interfaces.join(","));
        faults.push((Property::Routing, fault));
    }
    Ok(faults)
}

/// Reads what `/proc/PID/status` says of confinement.
pub fn parse_status(text: &str) -> HostFacts {
    let mut facts = HostFacts { capabilities: 0, ..HostFacts::default() };
    for (key, value) in text.lines().filter_map(|l| l.split_once(':')) {
        let value = value.trim();
        match key {
            "Uid" => facts.uids = value.split_whitespace().filter_map(|v| v.parse().ok()).collect(),
            "NoNewPrivs" => facts.no_new_privs = value == "1",
            "Seccomp" => facts.seccomp = value.parse().unwrap_or(0),
            "CapInh" | "CapPrm" | "CapEff" | "CapBnd" | "CapAmb" => {
                facts.capabilities |= u64::from_str_radix(value, 16).unwrap_or(u64::MAX);
            }
            _ => {}
        }
    }
    facts
}

/// Reads a line of mountinfo; see proc_pid_mountinfo(5).
pub fn parse_mount(line: &str) -> Option<MountFact> {
    let (front, back) = line.split_once(" - ")?;
    let mut front = front.split(' ').skip(2);
    let (major, minor) = front.next()?.split_once(':')?;
    let point = front.nth(1)?;
    let writable = front.next()?.split(',').any(|o| o == "rw");
    Some(MountFact {
        point: unescape(point),
        device: makedev(major.parse().ok()?, minor.parse().ok()?),
        kind: back.split(' ').next()?.to_owned(),
        writable,
    })
}

/// Undoes the octal escapes of blanks and backslashes.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let code = after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code.filter(u8::is_ascii) {
            Some(byte) => {
                out.push(char::from(byte));
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lines_are_read() {
        let facts = parse_status(
            "Name:\tinit\nUid:\t1 2 3 4\nCapEff:\t0000000000000001\nCapBnd:\t0000000000000010\n\
             NoNewPrivs:\t1\nSeccomp:\t2\n",
        );
        assert_eq!(facts.uids, [1, 2, 3, 4]);
        assert_eq!(facts.capabilities, 0x11);
        assert_eq!(facts.confinement_faults(), ["it has capabilities: 11"]);
    }

    #[test]
    fn mounts_are_read() {
        let line = r"60 59 8:1 /home/ann /srv/my\040app rw,nosuid - ext4 /dev/sda1 ro";
        let mount = parse_mount(line).unwrap();
        assert_eq!(mount.point, "/srv/my app");
        assert!(mount.writable);
        assert_eq!(mount.device, makedev(8, 1));
        assert_eq!(parse_mount("60 59"), None);
        assert_eq!(unescape(r"a\b\0401"), r"a\b 1");
    }

    #[test]
    fn an_unconfined_process_is_noticed() {
        let faults = quick(std::process::id()).unwrap();
        assert!(faults.iter().any(|(p, _)| *p == Property::Sandbox), "{faults:?}");
        assert!(quick(u32::MAX).is_err());
    }
}
