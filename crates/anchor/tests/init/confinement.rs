//! What init is before it listens, what it shows of its sandbox, and being process 1.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::io::Read as _;
use std::time::Instant;

use sessile_anchor::control::ControlError;

use crate::support::{ALLOW, Init, PATIENCE, PLAIN, Plan, folder, is_root, lease, wait_end};

const ALONE: Plan = Plan { namespaces: true, ..PLAIN };

/// Not an instruction.
const INVALID: &[libc::sock_filter] = &[libc::sock_filter { code: 0xffff, jt: 0, jf: 0, k: 0 }];
/// One instruction more than the kernel takes.
const TOO_LONG: &[libc::sock_filter] = &[ALLOW[0]; 4097];
/// Fails chdir with error 77 and allows the rest.
const NO_CHDIR: &[libc::sock_filter] = &[
    libc::sock_filter { code: 0x20, jt: 0, jf: 0, k: 0 },
    libc::sock_filter { code: 0x15, jt: 0, jf: 1, k: libc::SYS_chdir as u32 },
    libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: libc::SECCOMP_RET_ERRNO | 77 },
    ALLOW[0],
];

#[test]
fn it_refuses_to_run_unconfined() {
    let plans = [
        (Plan { no_new_privs: false, ..PLAIN }, "no_new_privs"),
        (Plan { filter: &[], ..PLAIN }, "seccomp"),
        (Plan { filter: INVALID, ..PLAIN }, "seccomp"),
        (Plan { filter: TOO_LONG, ..PLAIN }, "seccomp"),
    ];
    for (plan, why) in plans {
        let mut init = Init::start(plan);
        let ready = init.control().wait_ready(PATIENCE);
        assert!(matches!(ready, Err(ControlError::Gone)), "{why}: {ready:?}");
        assert_eq!(wait_end(&mut init.child).code(), Some(125));
        let mut said = String::new();
        init.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn commands_inherit_the_filter() {
    let mut init = Init::ready_as(Plan { filter: NO_CHDIR, ..PLAIN });
    assert_eq!(init.run(1, &["/bin/true"], &[], "/").err(), Some(77));
}

#[test]
fn init_cannot_be_looked_into() {
    let init = Init::ready();
    if !is_root() {
        // Root may look into everything; others may not even list descriptors.
        assert!(fs::read_dir(format!("/proc/{}/fd", init.child.id())).is_err());
    } else {
        eprintln!("skipped in part: root may list every process's descriptors");
        let fds = fs::read_dir(format!("/proc/{}/fd", init.child.id())).unwrap();
        let mut fds: Vec<_> = fds.map(|fd| fd.unwrap().file_name().into_string().unwrap()).collect();
        fds.sort();
        assert_eq!(fds, ["0", "1", "2", "3"]);
    }
    let status = fs::read_to_string(format!("/proc/{}/status", init.child.id())).unwrap();
    assert!(status.starts_with("Name:\tinit\n"), "{status}");
}

#[test]
fn evidence_has_every_line() {
    if !is_root() {
        eprintln!("skipped: namespaces without a user namespace need root");
        return;
    }
    let mut init = Init::ready_as(ALONE);
    let text = init.control().probe().unwrap();
    let lines: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
    for key in [
        "uid",
        "gid",
        "groups",
        "no_new_privs",
        "seccomp",
        "cap_inh",
        "cap_prm",
        "cap_eff",
        "cap_bnd",
        "cap_amb",
        "hostname",
        "domainname",
        "machine_id",
        "boot_id",
        "timezone",
        "cmdline",
        "cgroup",
        "interfaces",
        "routes",
        "passwd_users",
        "root_write",
        "usr_write",
        "etc_write",
        "tmp_write",
        "core_pattern_write",
        "sysrq_write",
        "kcore_read",
        "kmsg_read",
        "mem_read",
        "host_root_read",
        "sys_entries",
        "home_entries",
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
    ] {
        assert!(lines.contains_key(key), "no {key} in\n{text}");
    }
    assert_eq!(text.lines().count(), lines.len());
    let shows = |key: &str, value: &str| assert_eq!(lines[key], value, "{key} in\n{text}");
    shows("uid", "65534");
    shows("no_new_privs", "1");
    shows("seccomp", "2");
    shows("interfaces", "lo");
    shows("routes", "0");
    for set in ["cap_inh", "cap_prm", "cap_eff", "cap_amb"] {
        shows(set, "0000000000000000");
    }
    // Refused by the user id, the empty capabilities and init's own opacity; this filter allows all.
    for key in ["root_write", "etc_write", "packet_socket", "raw_socket", "mount_tmpfs", "setns", "chroot"] {
        assert!(lines[key].parse::<i32>().is_ok(), "{key} in\n{text}");
    }
    shows("sethostname", "1");
    shows("ptrace_init", "1");
    shows("init_mem", "13");
    // Allowed ones are seen to be: what a filter refuses is what tells it apart.
    for key in ["tmp_write", "audit_socket", "clone3", "chmod_setuid"] {
        shows(key, "allowed");
    }
    // It can be asked again, and leaves nothing.
    init.control().probe().unwrap();
    assert!(
        !fs::exists("/tmp/.sessile-probe").unwrap() && !fs::exists("/tmp/.sessile-setuid-probe").unwrap()
    );
    wait_childless(&mut init);
}

#[test]
fn evidence_that_hangs_is_cut_short() {
    if !is_root() {
        eprintln!("skipped: namespaces without a user namespace need root");
        return;
    }
    let folder = folder();
    let path = folder.path().join("timezone");
    fs::write(&path, "Etc/UTC\n").unwrap();
    let Some(_lease) = lease(&path) else {
        eprintln!("skipped: no lease on this file system");
        return;
    };
    let etc = CString::new(folder.path().to_str().unwrap()).unwrap();
    let mut init = Init::ready_as(Plan { etc: Some(Box::leak(etc.into_boxed_c_str())), ..ALONE });
    let text = init.control().probe().unwrap();
    // What came before is there, and what hung does not stay.
    assert!(text.starts_with("uid=") && text.contains("\nmachine_id=-\n"), "{text}");
    assert!(text.ends_with("\ngathering=timed out\n"), "{text}");
    wait_childless(&mut init);
}

/// Waits until init has no children, not even dead ones.
fn wait_childless(init: &mut Init) {
    let children = format!("/proc/{0}/task/{0}/children", init.child.id());
    let deadline = Instant::now() + PATIENCE;
    while !fs::read_to_string(&children).unwrap().is_empty() {
        assert!(Instant::now() < deadline, "children are left");
        // A question and its answer: init has had a turn.
        init.control().list().unwrap();
    }
}

#[test]
fn orphans_are_reaped() {
    if !is_root() {
        eprintln!("skipped: a process namespace without a user namespace needs root");
        return;
    }
    let mut init = Init::ready_as(ALONE);
    // Their parent ends at once; they end when they read the end of the pipe.
    let script = "exec 9<&0; for i in $(seq 150); do (read line <&9; exit 1) & done; exit 0";
    let streams = init.script(1, script);
    assert_eq!(init.exit_of(1), 0);
    streams.drain();
    wait_childless(&mut init);
    assert!(init.control().try_event().unwrap().is_none());
}

#[test]
fn everyone_is_signalled_by_process_1_alone() {
    let mut init = Init::ready();
    let streams = init.script(1, "read line");
    let refused = init.control().signal_all(libc::SIGKILL);
    assert!(matches!(refused, Err(ControlError::Refused { errno: libc::EPERM })), "{refused:?}");
    streams.drain();
    assert_eq!(init.exit_of(1), 1 << 8);
    if !is_root() {
        eprintln!("skipped in part: a process namespace without a user namespace needs root");
        return;
    }
    let mut init = Init::ready_as(ALONE);
    init.control().signal_all(libc::SIGKILL).unwrap();
    let mut streams = init.script(1, "setsid sleep 30 & echo; exec sleep 30");
    streams.line();
    init.control().signal_all(libc::SIGKILL).unwrap();
    assert_eq!(init.exit_of(1), 9);
    streams.drain();
    wait_childless(&mut init);
}
