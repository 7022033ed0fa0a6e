//! What a command in a session cannot do, learn or keep.

use std::fs;

use crate::support::processes;

/// A value that nothing else contains.
const SECRET: &str = "s3cret-7d1f0c5e9b2a4846";

for_root_and_user! {
    fn nobody_is_root(world) {
        let text = world.must(&["run", "--", "sh", "-c", "id -u; id -un; hostname; pwd >&2"]);
        assert!(text.starts_with("1000\nuser\n"), "{text}");
        let own = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert!(!text.lines().any(|line| line == own.trim()), "the host's name shows: {text}");
    }

    fn an_app_is_not_the_hosts_root(world) {
        world.open("app", &["sleep", "infinity"]);
        let pid = world.main_pid("app");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert!(field("Uid:").iter().all(|uid| uid != "0"), "{status}");
        assert!(field("Gid:").iter().all(|gid| gid != "0"), "{status}");
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(field(set), ["0000000000000000"], "{set}");
        }
        assert_eq!(field("NoNewPrivs:"), ["1"]);
        assert_eq!(field("Seccomp:"), ["2"]);
    }

    fn the_kernels_settings_are_out_of_reach(world) {
        let path = "/proc/sys/kernel/core_pattern";
        let before = fs::read_to_string(path).unwrap();
        let finished = world.sessile(&["run", "--", "sh", "-c", &format!("echo '|/tmp/x' > {path}")]);
        let after = fs::read_to_string(path).unwrap();
        if after != before {
            fs::write(path, &before).unwrap();
        }
        assert_eq!(after, before, "a sealed command wrote core_pattern");
        assert_ne!(finished.code, 0);
        for path in ["/proc/sysrq-trigger", "/proc/kcore", "/sys/kernel/uevent_helper"] {
            world.sessile(&["run", "--", "sh", "-c", &format!("test ! -w {path}")]).succeeded();
        }
    }

    fn there_is_no_way_out(world) {
        let interfaces = world.must(&["run", "--route", "none", "--", "sh", "-c", "ls /sys/class/net 2>/dev/null || cut -d: -f1 /proc/net/dev | tail -n +3"]);
        let names: Vec<_> = interfaces.split_whitespace().filter(|name| *name != "lo").collect();
        assert!(names.is_empty(), "{names:?}");
        let connect = "import socket\nsocket.create_connection(('192.0.2.1', 9), 1)";
        assert_ne!(world.sessile(&["run", "--route", "none", "--", "python3", "-c", connect]).code, 0);
        for family in ["AF_VSOCK", "AF_PACKET"] {
            let open = format!("import socket\nsocket.socket(socket.{family}, socket.SOCK_STREAM)");
            assert_ne!(world.sessile(&["run", "--", "python3", "-c", &open]).code, 0, "{family}");
        }
    }

    fn host_processes_and_folders_do_not_show(world) {
        let text = world.must(&["run", "--", "sh", "-c", "ls -d /proc/[0-9]* | wc -l; ls -A \"$HOME\" | wc -l"]);
        let counts: Vec<u32> = text.split_whitespace().map(|count| count.parse().unwrap()).collect();
        assert!(counts[0] < 10, "{text}");
        assert_eq!(counts[1], 0, "home is not empty");
        fs::write(world.home().join("diary"), SECRET).unwrap();
        let path = world.home().join("diary");
        world.sessile(&["run", "--", "cat", path.to_str().unwrap()]).ended_with(1);
        for path in [world.state(), world.runtime()] {
            let finished = world.sessile(&["run", "--", "ls", path.to_str().unwrap()]);
            assert_ne!(finished.code, 0, "{} shows inside", path.display());
        }
    }

    fn two_sessions_do_not_meet(world) {
        world.open("left", &["sh", "-c", "echo left > /tmp/mark; sleep infinity"]);
        let script = "cat /tmp/mark; hostname; cat /etc/machine-id";
        let seen = |name: &str| world.sessile(&["exec", name, "--", "sh", "-c", script]).text();
        world.open("right", &["sleep", "infinity"]);
        let left = processes::eventually("the mark is made", || Some(seen("left")).filter(|text| text.contains("left")));
        assert!(!seen("right").contains("left"));
        let host = fs::read_to_string("/etc/machine-id").unwrap_or_else(|_| "none".to_owned());
        assert!(!left.contains(host.trim()), "the host's machine-id shows");
    }

    fn a_secret_is_in_no_argument_and_no_file(world) {
        let mut command = world.command(&["run", "--detach", "--name", "keyed", "--env", "TOKEN", "--", "sleep", "infinity"]);
        command.env("TOKEN", SECRET);
        assert!(command.status().unwrap().success());
        assert_eq!(world.must(&["exec", "keyed", "--", "printenv", "TOKEN"]), format!("{SECRET}\n"));
        for pid in processes::all().into_keys() {
            assert!(!processes::arguments(pid).iter().any(|argument| argument.contains(SECRET)), "arguments of {pid}");
        }
        let record = world.must(&["show", "keyed", "--json"]);
        assert!(!record.contains(SECRET) && record.contains("TOKEN"), "{record}");
        for folder in [world.state(), world.runtime()] {
            assert_eq!(files_with(&folder, SECRET.as_bytes()), [""; 0]);
        }
    }

    fn an_inline_value_is_warned_about(world) {
        let finished = world.sessile(&["run", "--env", "TOKEN=abc", "--", "printenv", "TOKEN"]);
        assert_eq!(finished.succeeded(), "abc\n");
        assert!(finished.err.contains("TOKEN"), "no warning: {}", finished.err);
        assert!(!finished.err.contains("abc"), "the warning repeats the value: {}", finished.err);
    }

    fn storage_is_capped(world) {
        let script = "head -c 64M /dev/zero > /tmp/big; echo $?; df -k /tmp | tail -1";
        let text = world.must(&["run", "--storage", "16M", "--", "sh", "-c", script]);
        assert!(text.starts_with("1\n"), "{text}");
    }
}

/// Files below a folder that contain these bytes.
fn files_with(folder: &std::path::Path, bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files_with(&entry.path(), bytes));
        } else if kind.is_file()
            && fs::read(entry.path())
                .is_ok_and(|text| text.windows(bytes.len()).any(|window| window == bytes))
        {
            found.push(entry.path().display().to_string());
        }
    }
    found
}

#[test]
fn the_search_finds_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("sub")).unwrap();
    fs::write(folder.path().join("sub/file"), format!("x{SECRET}x")).unwrap();
    assert_eq!(files_with(folder.path(), SECRET.as_bytes()).len(), 1);
}
