//! What the kernel and an init say: lines of `/proc` in which an app chose the names, and evidence.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sessile_fuzz::{Draw, plant};
use sessile_model::Property;
use sessile_sandbox::app::Identity;
use sessile_sandbox::fuzz::{mapping, parse_mount, parse_status, state_of};
use sessile_sandbox::probe::{HostFacts, ProbeInputs, verify};

fuzz_target!(init: plant(seeds()), |data: &[u8]| {
    maps(data);
    let text = String::from_utf8_lossy(data);
    mounts(&text);
    status(&text);
    evidence(&text);
});

fn maps(data: &[u8]) {
    if let Some((range, [writable, shared], offset, file, name)) = mapping(data) {
        let (w, s) = (if writable { 'w' } else { '-' }, if shared { 's' } else { 'p' });
        let (major, minor) = (rustix::fs::major(file.dev), rustix::fs::minor(file.dev));
        let line = format!(
            "{:x}-{:x} r{w}-{s} {offset:x} {major:x}:{minor:x} {} {name}",
            range.start, range.end, file.ino
        );
        assert_eq!(mapping(line.as_bytes()), mapping(data), "{line}");
        assert!(name.len() <= 3 * data.len());
    }
    // A name changes nothing before it.
    let front = b"7f0a-8f0b rw-s 00001000 00:01 2051                       ";
    let (range, rights, offset, file, _) = mapping(&[front, data].concat()).expect("a mapping");
    assert_eq!((range, rights, offset, file.ino), (0x7f0a..0x8f0b, [true, true], 0x1000, 2051));
}

fn mounts(text: &str) {
    for line in text.lines() {
        let _ = parse_mount(line);
    }
    // Any name, as the kernel writes it.
    let escaped: String = text
        .chars()
        .map(|c| if matches!(c, ' ' | '\t' | '\n' | '\\') { format!("\\{:03o}", c as u32) } else { c.into() })
        .collect();
    let mount =
        parse_mount(&format!("60 59 8:1 / /{escaped} ro,nosuid - ext4 /dev/sda1 rw")).expect("a mount");
    assert_eq!(mount.point.strip_prefix('/'), Some(text));
    assert!(!mount.writable && mount.kind == "ext4");
}

fn status(text: &str) {
    let facts = parse_status(text);
    assert!(facts.uids.len() <= text.len());
    // The name of a program, escaped as the kernel does, changes nothing.
    let name = text.replace('\\', "\\\\").replace('\n', "\\n");
    let confined = "NoNewPrivs:\t1\nSeccomp:\t2\nCapEff:\t0\nUid:\t5\t5\t5\t5\n";
    let facts = parse_status(&format!("Name:\t{name}\n{confined}"));
    assert!(facts.no_new_privs && facts.seccomp == 2 && facts.capabilities == 0 && facts.uids == [5; 4]);
    let name = text.replace('\n', "");
    assert_eq!(state_of(&format!("12 ({name}) T 1 2 3")), 'T');
}

/// No evidence an init can give makes up for what the host sees.
fn evidence(text: &str) {
    let host = HostFacts { shared: vec!["net", "user", "uts"], ..HostFacts::default() };
    let identity = Identity::new("fuzz", &"0".repeat(32));
    let inputs = ProbeInputs {
        evidence: text,
        host: &host,
        identity: &identity,
        landlock_abi: 1,
        storage_device: 1,
        storage_noswap: true,
        grants: &[],
        capture: None,
        rules: None,
    };
    for property in Property::ALL {
        let status = verify(property, &inputs);
        assert!(!status.holds, "{property}");
        let told: usize = status.evidence.iter().map(String::len).sum();
        assert!(told <= 16 * text.len() + 8192, "{told}");
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = [
        "7f0a-8f0b rw-s 00001000 00:01 2051                       /dev/zero (deleted)",
        "60 59 8:1 /home/ann /srv/my\\040app rw,nosuid - ext4 /dev/sda1 ro",
        "Name:\tinit\nUid:\t1 2 3 4\nCapEff:\t0000000000000001\nNoNewPrivs:\t1\nSeccomp:\t2\n",
        "interfaces=lo\nroutes=0\nhome_entries=1\ntmp_write=allowed\nno_new_privs=1\nseccomp=2\nmount_tmpfs=1\n",
        "a) T (b",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into();
    let mut draw = Draw(&[7, 3]);
    seeds.push(vec![draw.byte(), 0xff, draw.byte()]);
    seeds
}
