use super::*;

fn good_evidence() -> String {
    let mut text = String::from(
        "uid=1000\ngid=1000\nno_new_privs=1\nseccomp=2\ncap_inh=0000\ncap_prm=0000\ncap_eff=0000\n\
         cap_bnd=0000\ncap_amb=0000\nhostname=sealed\ndomainname=(none)\n\
         machine_id=0123456789abcdef0123456789abcdef\ntimezone=Etc/UTC\ncmdline=-\n\
         cgroup=4:memory:/ 0::/\ninterfaces=lo\nroutes=0\npasswd_users=user,nobody\n\
         tmp_write=allowed\nhost_root_read=2\nsys_entries=0\nhome_entries=1\n",
    );
    text.push_str(&format!("boot_id={}\n", identity().boot_id));
    for key in MUST_FAIL {
        text.push_str(&format!("{key}=1\n"));
    }
    text
}

fn identity() -> Identity {
    Identity::new("sealed", "0123456789abcdef0123456789abcdef")
}

fn good_host() -> HostFacts {
    let mount = |point: &str, device, kind: &str, writable| MountFact {
        point: point.to_owned(),
        device,
        kind: kind.to_owned(),
        writable,
    };
    HostFacts {
        shared: Vec::new(),
        uids: vec![101_000; 4],
        no_new_privs: true,
        seccomp: 2,
        capabilities: 0,
        interfaces: vec!["lo".to_owned()],
        default_routes: Vec::new(),
        mounts: vec![
            mount("/", 7, "tmpfs", false),
            mount("/tmp", 7, "tmpfs", true),
            mount("/usr", 1, "ext4", false),
            mount("/dev/null", 2, "devtmpfs", true),
            mount("/proc", 3, "proc", true),
            mount("/srv/x", 1, "ext4", true),
        ],
        core_limit: Some(1),
        swap: true,
    }
}

fn status(property: Property, evidence: &str, host: &HostFacts, abi: u8) -> PropertyStatus {
    let grants = ["/srv/x".to_owned()];
    let inputs = ProbeInputs {
        evidence,
        host,
        identity: &identity(),
        capture: None,
        rules: None,
        landlock_abi: abi,
        storage_device: 7,
        storage_noswap: true,
        grants: &grants,
    };
    verify(property, &inputs)
}

#[test]
fn everything_in_place_holds() {
    for property in Property::ALL {
        let status = status(property, &good_evidence(), &good_host(), 7);
        assert!(status.holds, "{property}: {:?}", status.evidence);
        assert!(status.weaker_because.is_empty());
        assert!(!status.evidence.is_empty());
    }
}

#[test]
fn each_changed_line_of_evidence_breaks_a_property() {
    for line in good_evidence().lines() {
        let (key, _) = line.split_once('=').unwrap();
        if matches!(key, "host_root_read") {
            continue;
        }
        for changed in [format!("{key}=allowed!"), format!("missing_{key}=")] {
            let evidence = good_evidence().replace(line, &changed);
            let broken = Property::ALL.iter().any(|&p| !status(p, &evidence, &good_host(), 7).holds);
            assert!(broken, "{changed} went unnoticed");
        }
    }
}

#[test]
fn each_changed_fact_of_the_host_breaks_its_property() {
    type Change = fn(&mut HostFacts);
    let changes: [(Property, Change); 9] = [
        (Property::Sandbox, |h| h.shared.push("pid")),
        (Property::Routing, |h| h.shared.push("net")),
        (Property::Identity, |h| h.shared.push("uts")),
        (Property::Sandbox, |h| h.uids = vec![0; 4]),
        (Property::Sandbox, |h| h.seccomp = 0),
        (Property::Sandbox, |h| h.capabilities = 1),
        (Property::Routing, |h| h.interfaces.push("eth0".to_owned())),
        (Property::Amnesia, |h| h.core_limit = None),
        (Property::Amnesia, |h| h.mounts[2].writable = true),
    ];
    for (property, change) in changes {
        let mut host = good_host();
        change(&mut host);
        assert!(!status(property, &good_evidence(), &host, 7).holds, "{property}: {host:?}");
    }
}

#[test]
fn a_captured_network_has_its_rules_and_leads_nowhere_else() {
    let routing = |capture, rules, routes: &str, devices: &[&str]| {
        let mut host = good_host();
        host.default_routes = devices.iter().map(|&d| d.to_owned()).collect();
        let evidence = good_evidence().replace("routes=0", &format!("routes={routes}"));
        let inputs = ProbeInputs {
            evidence: &evidence,
            host: &host,
            identity: &identity(),
            capture,
            rules,
            landlock_abi: 7,
            storage_device: 7,
            storage_noswap: true,
            grants: &[],
        };
        verify(Property::Routing, &inputs).holds
    };
    let whole = Rules { generation: 2, chains: 5, rules: 19 };
    let transparent = Some(Capture::Transparent);
    assert!(whole.are_complete());
    assert!(routing(transparent, Some(whole), "1", &["lo", "lo"]));
    assert!(!routing(transparent, None, "1", &["lo", "lo"]));
    assert!(!routing(transparent, Some(Rules { rules: 18, ..whole }), "1", &["lo"]));
    assert!(!routing(transparent, Some(Rules { chains: 4, ..whole }), "1", &["lo"]));
    assert!(!routing(transparent, Some(whole), "2", &["lo", "lo"]));
    assert!(!routing(transparent, Some(whole), "1", &["lo", "eth0"]));
    assert!(!routing(transparent, Some(whole), "0", &[]));
    assert!(routing(Some(Capture::Explicit), None, "0", &[]));
    assert!(!routing(Some(Capture::Explicit), None, "1", &["lo"]));
    assert!(!routing(None, Some(whole), "1", &["lo"]));
}

#[test]
fn a_missing_kernel_feature_is_a_weakness_not_a_violation() {
    let status = status(Property::Sandbox, &good_evidence(), &good_host(), 0);
    assert!(status.holds);
    assert_eq!(status.weaker_because, ["this kernel has no Landlock"]);
}
