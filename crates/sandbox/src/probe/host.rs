//! What the host's `/proc` shows of an init.

use std::fs;
use std::io::{self, Read as _};

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
    /// The devices to which its default routes lead.
    pub default_routes: Vec<String>,
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
        // Where the kernel has no version 6, that file is missing.
        let v6 = read("net/ipv6_route").unwrap_or_default();
        facts.default_routes = default_routes(&read("net/route")?, &v6);
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
        // Files of `/proc` do not say how long they are: room for all makes it one call.
        let read = |file: &str| {
            let mut text = String::with_capacity(8 << 10);
            fs::File::open(format!("/proc/{pid}/{file}"))?.read_to_string(&mut text).map(|_| text)
        };
        let mut facts = parse_status(&read("status")?);
        let devices = read("net/dev")?;
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

/// The devices of default routes, of `/proc/net/route` and `/proc/net/ipv6_route`. Routes that only
/// say that there is none are left out.
fn default_routes(v4: &str, v6: &str) -> Vec<String> {
    const REJECT: u32 = 0x200;
    let v4 = v4.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (device, to, flags, mask) = (fields.first()?, fields.get(1)?, fields.get(3)?, fields.get(7)?);
        let rejects = u32::from_str_radix(flags, 16).ok()? & REJECT != 0;
        (!rejects && *to == "00000000" && *mask == "00000000").then(|| (*device).to_owned())
    });
    let v6 = v6.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (bits, flags, device) = (fields.get(1)?, fields.get(8)?, fields.get(9)?);
        let rejects = u32::from_str_radix(flags, 16).ok()? & REJECT != 0;
        (!rejects && *bits == "00").then(|| (*device).to_owned())
    });
    v4.chain(v6).collect()
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
    fn default_routes_are_read() {
        let v4 = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                  lo\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n\
                  eth0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n";
        let (zero, one) = ("0".repeat(32), format!("{}1", "0".repeat(31)));
        let v6 = format!(
            "{zero} 00 {zero} 00 {zero} 00000400 00000001 00000000 80000001 eth1\n\
             {one} 80 {zero} 00 {zero} 00000000 00000002 00000000 80200001 lo\n\
             {zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200 lo\n"
        );
        assert_eq!(default_routes(v4, &v6), ["lo", "eth1"]);
        assert!(default_routes("", "").is_empty());
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
