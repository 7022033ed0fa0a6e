//! Whether the four properties hold: what init reports from inside, held against what the host
//! shows from outside.
//!
//! A **violation** means that a property does not hold. A **weakness** means that this machine
//! cannot give all of it: it holds, and `weaker_because` says what is missing; the caller refuses
//! the session unless its specification accepts that.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use sessile_model::property::GRANTED_PATH;
use sessile_model::{Property, PropertyStatus};

use crate::app::Identity;
use crate::capture::{Capture, Rules};
use crate::identity;

pub(crate) mod host;

pub use host::{HostFacts, MountFact, quick};

/// What a verification looks at.
#[derive(Clone, Debug)]
pub struct ProbeInputs<'a> {
    /// Lines `key=value` that init gathered inside.
    pub evidence: &'a str,
    /// What the host shows of init.
    pub host: &'a HostFacts,
    /// What the session is meant to look like.
    pub identity: &'a Identity,
    /// How its network is captured; `None` where it is closed.
    pub capture: Option<Capture>,
    /// What answers of the rules, as [`crate::capture::look`] finds it.
    pub rules: Option<Rules>,
    /// The Landlock version in force; 0 for none.
    pub landlock_abi: u8,
    /// Device of the session's storage (`st_dev`).
    pub storage_device: u64,
    /// Whether the storage is never swapped out.
    pub storage_noswap: bool,
    /// Clean absolute paths inside of everything that was granted.
    pub grants: &'a [String],
}

/// Attempts that must fail inside.
const MUST_FAIL: &[&str] = &[
    "root_write",
    "usr_write",
    "etc_write",
    "core_pattern_write",
    "sysrq_write",
    "kcore_read",
    "kmsg_read",
    "mem_read",
    "vsock_socket",
    "packet_socket",
    "raw_socket",
    "audit_socket",
    "io_uring_setup",
    "keyctl",
    "bpf",
    "perf_event_open",
    "clone3",
    "ptrace_init",
    "init_mem",
    "chroot",
    "sethostname",
    "tiocsti",
    "chmod_setuid",
    "mount_tmpfs",
    "setns",
    "unshare_user",
];

/// Sets of capabilities that must be empty inside.
const CAPABILITY_SETS: &[&str] = &["cap_inh", "cap_prm", "cap_eff", "cap_bnd", "cap_amb"];

/// Looks whether one property holds.
pub fn verify(property: Property, inputs: &ProbeInputs<'_>) -> PropertyStatus {
    let inside = parse(inputs.evidence);
    let mut found = Findings::default();
    match property {
        Property::Routing => routing(&inside, inputs, &mut found),
        Property::Identity => identity_property(&inside, inputs, &mut found),
        Property::Sandbox => sandbox(&inside, inputs, &mut found),
        Property::Amnesia => amnesia(&inside, inputs, &mut found),
    }
    found.into_status()
}

/// Reads lines `key=value`; the first of a key counts.
fn parse(evidence: &str) -> BTreeMap<&str, &str> {
    let mut map = BTreeMap::new();
    for (key, value) in evidence.lines().filter_map(|l| l.split_once('=')) {
        map.entry(key).or_insert(value.trim());
    }
    map
}

#[derive(Default)]
struct Findings {
    good: Vec<String>,
    violations: Vec<String>,
    weaknesses: Vec<String>,
}

impl Findings {
    fn expect(&mut self, holds: bool, good: impl Into<String>, bad: impl Into<String>) {
        if holds { self.good.push(good.into()) } else { self.violations.push(bad.into()) }
    }

    fn into_status(self) -> PropertyStatus {
        let holds = self.violations.is_empty();
        // What is wrong comes first: it is what a reader looks for.
        let evidence = self.violations.into_iter().chain(self.good).collect();
        PropertyStatus { holds, evidence, weaker_because: self.weaknesses }
    }
}

type Inside<'a> = BTreeMap<&'a str, &'a str>;

/// Expects attempts to have failed, and says so in one sentence.
fn expect_failures(inside: &Inside<'_>, keys: &[&str], found: &mut Findings) {
    let mut refused = 0;
    for key in keys {
        match inside.get(key) {
            Some(value) if value.parse::<i32>().is_ok() => refused += 1,
            Some(value) => found.violations.push(format!("{key} inside: {value}")),
            None => found.violations.push(format!("{key} was not tried inside")),
        }
    }
    if refused == keys.len() {
        found.good.push(format!("{refused} forbidden attempts inside were refused"));
    }
}

fn routing(inside: &Inside<'_>, inputs: &ProbeInputs<'_>, found: &mut Findings) {
    let interfaces = inside.get("interfaces").copied().unwrap_or("unknown");
    let same = inputs.host.interfaces == ["lo"] && interfaces == "lo";
    let outside = inputs.host.interfaces.join(",");
    found.expect(
        same,
        "the only network interface is lo, seen from inside and outside",
        format!("network interfaces: {interfaces} inside, {outside} outside"),
    );
    let routes = inside.get("routes").copied().unwrap_or("unknown");
    let no_routes = |found: &mut Findings| {
        found.expect(routes == "0", "there are no routes", format!("routes inside: {routes}"));
    };
    match inputs.capture {
        None => no_routes(found),
        Some(Capture::Explicit) => {
            no_routes(found);
            let place = "nothing is redirected: programs that use the proxy they are given reach hosts";
            found.good.push(place.to_owned());
        }
        Some(Capture::Transparent) => captured(routes, inputs, found),
    }
    found.expect(
        !inputs.host.shared.contains(&"net"),
        "the network namespace is its own",
        "the network namespace is the host's",
    );
    expect_failures(inside, &["vsock_socket", "packet_socket", "raw_socket"], found);
}

/// What holds where everything is redirected. The routes lead nowhere but to the rules.
fn captured(routes: &str, inputs: &ProbeInputs<'_>, found: &mut Findings) {
    let devices = &inputs.host.default_routes;
    found.expect(
        routes == "1" && !devices.is_empty() && devices.iter().all(|device| device == "lo"),
        "the default route leads to lo, seen from inside and outside",
        format!("routes inside: {routes}; default routes lead to {}", devices.join(",")),
    );
    match inputs.rules {
        Some(rules) => found.expect(
            rules.are_complete(),
            format!("{} rules redirect what is sent, or refuse it", rules.rules),
            format!("of the rules, {} in {} chains are there", rules.rules, rules.chains),
        ),
        None => found.violations.push("the rules that redirect what is sent do not answer".to_owned()),
    }
}

fn identity_property(inside: &Inside<'_>, inputs: &ProbeInputs<'_>, found: &mut Findings) {
    let mut kept = 0;
    for row in identity::ROWS {
        let Some(key) = row.key else { continue };
        match inside.get(key) {
            Some(read) if identity::is_kept(row, read, inputs.identity) => kept += 1,
            Some(read) => found.violations.push(format!("{} shows {read:?}", row.what)),
            None => found.violations.push(format!("{} was not read", row.what)),
        }
    }
    found.good.push(format!("{kept} sources inside show only the session's own identity"));
    let homes = homes_of(inputs.grants);
    let entries = inside.get("home_entries").copied().unwrap_or("unknown");
    found.expect(
        entries.parse() == Ok(homes),
        "no home folder of the host shows",
        format!("{entries} home folders show"),
    );
    for what in ["uts", "user"] {
        if inputs.host.shared.contains(&what) {
            found.violations.push(format!("the {what} namespace is the host's"));
        }
    }
    found.good.extend(identity::links().map(|link| format!("named link: {link}")));
    found.good.extend(inputs.grants.iter().map(|grant| format!("{GRANTED_PATH}{grant}")));
}

/// Entries that /home must have: the user's, and those that lead to granted folders.
fn homes_of(grants: &[String]) -> usize {
    let mut names = vec!["user"];
    for grant in grants {
        if let Some(name) = grant.strip_prefix("/home/").and_then(|rest| rest.split('/').next()) {
            names.push(name);
        }
    }
    names.sort_unstable();
    names.dedup();
    names.len()
}

fn sandbox(inside: &Inside<'_>, inputs: &ProbeInputs<'_>, found: &mut Findings) {
    let host = inputs.host;
    found.expect(
        host.shared.is_empty(),
        "seven namespaces are its own",
        format!("namespaces shared with the host: {}", host.shared.join(", ")),
    );
    found.expect(
        host.uids.iter().all(|&uid| uid != 0),
        format!("its user id on the host is {}", host.uids.first().copied().unwrap_or_default()),
        "it runs as root on the host",
    );
    found.violations.extend(host.confinement_faults());
    if host.confinement_faults().is_empty() {
        found.good.push("no new privileges, filter and empty capabilities, seen from outside".to_owned());
    }
    let full: Vec<&str> = CAPABILITY_SETS
        .iter()
        .copied()
        .filter(|key| !inside.get(key).is_some_and(|v| v.bytes().all(|b| b == b'0')))
        .collect();
    found.expect(
        full.is_empty(),
        "every set of capabilities is empty",
        format!("capabilities inside: {}", full.join(", ")),
    );
    found.expect(
        inside.get("no_new_privs") == Some(&"1") && inside.get("seccomp") == Some(&"2"),
        "no new privileges and a filter, seen from inside",
        "no_new_privs or the filter is missing inside",
    );
    expect_failures(inside, MUST_FAIL, found);
    if inputs.landlock_abi > 0 {
        found.good.push(format!("Landlock version {} is enforced", inputs.landlock_abi));
    } else {
        found.weaknesses.push("this kernel has no Landlock".to_owned());
    }
}

fn amnesia(inside: &Inside<'_>, inputs: &ProbeInputs<'_>, found: &mut Findings) {
    let host = inputs.host;
    let on_storage = |m: &MountFact| m.device == inputs.storage_device;
    found.expect(
        host.mounts.iter().any(|m| m.point == "/" && on_storage(m)),
        "the root folder is on session storage",
        "the root folder is not on session storage",
    );
    let mut granted = 0;
    for mount in host.mounts.iter().filter(|m| m.writable) {
        let is_grant = inputs.grants.iter().any(|g| Path::new(&mount.point).starts_with(g));
        let is_device = mount.point.starts_with("/dev/") && mount.kind != "tmpfs";
        if is_grant {
            granted += 1;
        } else if !on_storage(mount) && !is_device && mount.point != "/proc" {
            found.violations.push(format!("{} can be written and is not granted", mount.point));
        }
    }
    if found.violations.is_empty() {
        found.good.push(format!("only session storage and {granted} granted mounts can be written"));
    }
    let writes = inside.get("tmp_write").copied().unwrap_or("unknown");
    found.expect(writes == "allowed", "session storage takes writes", format!("writes to /tmp: {writes}"));
    found.expect(host.core_limit.is_some_and(|limit| limit <= 1), "core dumps are off", "core dumps are on");
    found.good.push(match (inputs.storage_noswap, host.swap) {
        (true, _) => "session storage is never swapped out".to_owned(),
        (false, false) => "the host has no swap".to_owned(),
        (false, true) => "session storage can be swapped out: the receipt names it as residue".to_owned(),
    });
}

/// Gathers what the host shows of an init.
///
/// # Errors
/// When the process is gone.
pub fn look(pid: u32) -> io::Result<HostFacts> {
    HostFacts::gather(pid)
}

#[cfg(test)]
mod tests;
