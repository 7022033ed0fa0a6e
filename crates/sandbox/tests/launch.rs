//! Real sandboxes, as root and as an unprivileged user, looked at from inside and outside.

#![allow(clippy::unwrap_used)] // the whole file is a test

mod world;

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use world::{Mode, STRANGER, World, modes};

/// A project owned by the user of the session.
fn project(world: &World) -> PathBuf {
    let project = world.folder.path().join("project");
    for path in ["", ".git", ".git/hooks", "src"] {
        fs::create_dir(project.join(path)).unwrap();
    }
    fs::write(project.join("src/main.c"), "int main(void) { return 0; }\n").unwrap();
    fs::write(project.join(".git/hooks/pre-commit"), "#!/bin/sh\n").unwrap();
    fs::write(project.join(".envrc"), "# nothing\n").unwrap();
    for path in ["", ".git", ".git/hooks", ".git/hooks/pre-commit", ".envrc", "src", "src/main.c"] {
        chown(project.join(path), Some(owner(world)), Some(owner(world))).unwrap();
    }
    project
}

/// Who owns the project on the host.
fn owner(world: &World) -> u32 {
    match world.mode {
        Mode::Root => 0,
        Mode::Rootless if rustix::process::geteuid().is_root() => STRANGER,
        Mode::Rootless => rustix::process::getuid().as_raw(),
    }
}

/// Runs a script in every mode and compares what it prints, line by line.
fn expect(script: &str, lines: &[&str]) {
    world::expect(&[script], lines);
}

#[test]
fn who_and_where_it_is_are_the_sessions_own() {
    expect(
        "id -u; id -un; id -G; hostname; cat /etc/machine-id /proc/sys/kernel/random/boot_id; \
         echo $HOME; cat /proc/self/cgroup | cut -d: -f3 | sort -u; pwd; cat /etc/timezone; \
         ls /home /sys; ls -d /root /work /srv/* 2>/dev/null; ls /etc/shadow /etc/ssh 2>&1 | wc -l; \
         tr -d '\\0' < /proc/1/cmdline",
        &[
            "1000",
            "user",
            "1000",
            "sealed",
            "0123456789abcdef0123456789abcdef",
            "fedcba98-7654-3210-fedc-ba9876543210",
            "/home/user",
            "/",
            "/home/user",
            "Etc/UTC",
            "/home:",
            "user",
            "",
            "/sys:",
            "2",
            "init",
        ],
    );
}

#[test]
fn the_kernel_cannot_be_told_anything() {
    expect(
        "exec 2>/dev/null; echo x > /proc/sys/kernel/core_pattern; echo $?; \
         echo b > /proc/sysrq-trigger; echo $?; echo 1 > /proc/sys/net/ipv4/ip_forward; echo $?; \
         cat /proc/kcore | head -c1; cat /proc/keys /proc/kallsyms /proc/timer_list /proc/modules | wc -c; \
         touch /x /usr/x /etc/x /proc/x; echo $?; echo 1 > /proc/sys/user/max_user_namespaces; echo $?; \
         cat /proc/sys/user/max_user_namespaces; grep -c ' /proc/sys ro,' /proc/self/mountinfo",
        &["1", "1", "1", "0", "1", "1", "0", "1"],
    );
}

#[test]
fn the_four_properties_hold_as_seen_from_inside_and_outside() {
    for mode in modes() {
        let world = World::new(mode);
        let project = project(&world);
        let Some(text) = world.printed(&["--probe", "--project", project.to_str().unwrap(), "true"]) else {
            continue;
        };
        for property in ["routing", "identity", "sandbox", "amnesia"] {
            assert!(text.contains(&format!("{property} holds: true")), "{mode:?}: {text}");
        }
        assert!(text.contains("quick: []"), "{text}");
    }
}

#[test]
fn forbidden_calls_are_refused_and_harmless_ones_work() {
    let script = r#"exec python3 - <<'EOF'
import ctypes, errno, fcntl, os, pty, socket, subprocess, resource
libc = ctypes.CDLL(None, use_errno=True)
def call(*a):
    return errno.errorcode.get(ctypes.get_errno()) if libc.syscall(*a) < 0 else "allowed"
def sock(*a):
    try: socket.socket(*a); return "allowed"
    except OSError as e: return errno.errorcode[e.errno]
def does(f):
    try: f(); return "allowed"
    except OSError as e: return errno.errorcode[e.errno]
print("vsock", sock(40, socket.SOCK_STREAM))
print("packet", sock(17, socket.SOCK_RAW))
print("audit", sock(socket.AF_NETLINK, socket.SOCK_RAW, 9))
print("io_uring", call(425, 8, 0))
print("unshare", call(272, 0x10000000))
print("clone", call(56, 0x10000011, 0, 0, 0, 0))
print("keyctl", call(250, 0, -3, 0))
m, s = pty.openpty()
print("tiocsti", does(lambda: fcntl.ioctl(s, 0x5412, b"x")))
open("f", "w").close()
print("setuid", does(lambda: os.chmod("f", 0o4755)))
print("setgid", does(lambda: os.open("g", os.O_CREAT | os.O_WRONLY, 0o2755)))
print("chmod", does(lambda: os.chmod("f", 0o755)))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
print("core", resource.getrlimit(resource.RLIMIT_CORE))
a = socket.create_server(("127.0.0.1", 0))
b = socket.create_connection(a.getsockname())
print("loopback", sorted(n for _, n in socket.if_nameindex()))
print("outside", does(lambda: socket.create_connection(("192.0.2.1", 80), 2)))
print("threads", subprocess.run(["bash", "-c", "echo $((6*7)) | cat"], capture_output=True).stdout)
EOF"#;
    expect(
        script,
        &[
            "vsock EAFNOSUPPORT",
            "packet EAFNOSUPPORT",
            "audit EAFNOSUPPORT",
            "io_uring ENOSYS",
            "unshare EPERM",
            "clone EPERM",
            "keyctl EPERM",
            "tiocsti EPERM",
            "setuid EPERM",
            "setgid EPERM",
            "chmod allowed",
            "core (1, 1)",
            "loopback ['lo']",
            "outside ENETUNREACH",
            "threads b'42\\n'",
        ],
    );
}

#[test]
fn tools_of_developers_run() {
    for (tool, script) in [
        (
            "git",
            "git init -q p && cd p && echo a > a && git add a && git -c user.name=u -c user.email=e commit -qm a && git log --format=%s",
        ),
        ("gcc", "echo 'int main(void){return 7;}' > a.c && gcc a.c && ./a.out; [ $? = 7 ] && echo a"),
        ("node", "node -e 'setTimeout(() => console.log(\"a\"), 1)'"),
        ("python3", "python3 -c 'import multiprocessing as m; print(m.Pool(2).map(chr, [97])[0])'"),
        ("tmux", "tmux -L x new -d 'sleep 9' && tmux -L x has && echo a"),
        ("vim", "vim --version | head -c0; echo a"),
        ("gdb", "gdb -q -batch -ex run -ex quit --args /bin/true >/dev/null 2>&1 && echo a"),
    ] {
        let installed = ["/usr/bin", "/usr/local/bin"].iter().any(|p| Path::new(p).join(tool).exists());
        if installed {
            expect(script, &["a"]);
        } else {
            eprintln!("skipped: {tool} is not installed");
        }
    }
}

#[test]
fn a_project_keeps_its_owner_and_its_protected_paths() {
    for mode in modes() {
        let world = World::new(mode);
        let project = project(&world);
        let path = project.to_str().unwrap();
        let script = format!(
            "cd {path} && stat -c '%u %g' . src/main.c && echo x > new && mkdir -p deep/er && \
             chmod 4755 new; echo evil > .git/hooks/pre-commit; echo evil > .envrc; rm -f .envrc; \
             mv .git .old; mv .git/hooks .git/old; mv .envrc y; echo a > .git/HEAD && echo done"
        );
        let output = world.launch(&[
            "--project",
            path,
            "--protect",
            ".git/hooks",
            "--protect",
            ".envrc",
            "--protect",
            ".git/config",
            "--protect",
            ".vscode",
            &script,
        ]);
        let text = String::from_utf8_lossy(&output.stdout);
        if text.starts_with("skipped:") {
            eprintln!("{text}");
            continue;
        }
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.starts_with("1000 1000\n1000 1000\n"), "{mode:?}: {text}");
        assert!(text.ends_with("done\n"), "{mode:?}: {text}");
        let hook = fs::read_to_string(project.join(".git/hooks/pre-commit")).unwrap();
        assert_eq!(hook, "#!/bin/sh\n", "{mode:?}");
        assert_eq!(fs::read_to_string(project.join(".envrc")).unwrap(), "# nothing\n");
        for new in ["new", "deep/er", ".git/HEAD"] {
            let metadata = fs::metadata(project.join(new)).unwrap();
            assert_eq!((metadata.uid(), metadata.gid()), (owner(&world), owner(&world)), "{mode:?} {new}");
            assert_eq!(metadata.mode() & 0o6000, 0);
        }
    }
}

#[test]
fn a_read_only_project_and_a_forbidden_target() {
    for mode in modes() {
        let world = World::new(mode);
        let project = project(&world);
        let path = project.to_str().unwrap();
        let script = "cat /srv/p/src/main.c; touch /srv/p/x 2>/dev/null || echo refused";
        let arguments = ["--project", path, "--target", "/srv/p", "--read-only", script];
        let Some(text) = world.printed(&arguments) else { continue };
        assert_eq!(text, "int main(void) { return 0; }\nrefused\n", "{mode:?}");
        for target in ["/etc", "/usr/x", "/proc/self", "/home", "/"] {
            let output = world.launch(&["--project", path, "--target", target, "true"]);
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(complaint.contains("nothing may be mounted at"), "{target}: {complaint}");
        }
        let output = world.launch(&["--project", "/nonexistent", "true"]);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(complaint.contains("/nonexistent cannot be opened"), "{complaint}");
    }
}

#[test]
fn a_file_system_that_cannot_map_owners_is_refused_for_writing() {
    if !modes().contains(&Mode::Root) {
        return;
    }
    let world = World::new(Mode::Root);
    let arguments = ["--project", "/proc/sys", "--target", "/srv/p", "true"];
    let output = world.launch(&arguments);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.contains("cannot map its files' owners; use a copy of it"), "{complaint}");
}

#[test]
fn a_link_in_a_project_leads_no_mount_astray() {
    for mode in modes() {
        let world = World::new(mode);
        let project = project(&world);
        fs::remove_file(project.join(".envrc")).unwrap();
        std::os::unix::fs::symlink("/etc", project.join(".envrc")).unwrap();
        let path = project.to_str().unwrap();
        let output = world.launch(&["--project", path, "--protect", ".envrc", "true"]);
        if String::from_utf8_lossy(&output.stdout).starts_with("skipped:") {
            continue;
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(complaint.contains("protecting a path of the project: .envrc failed"), "{complaint}");
    }
}

#[test]
fn storage_and_processes_are_capped() {
    for mode in modes() {
        let world = World::new(mode);
        let script = "head -c 20000000 /dev/zero > big 2>&1 | grep -o 'No space left'; \
                      stat -c %s big | grep -v 20000000 >/dev/null && echo capped";
        let Some(text) = world.printed(&["--storage", "4194304", script]) else { continue };
        assert!(text.contains("capped"), "{mode:?}: {text}");
        let bomb = r#"exec python3 -c '
import os, time
n = 0
try:
    while True:
        if os.fork() == 0:
            os.closerange(0, 3)
            time.sleep(50)
            os._exit(0)
        n += 1
except BlockingIOError:
    print("contained", 30 < n < 40)
'"#;
        let Some(text) = world.printed(&["--processes", "40", bomb]) else { continue };
        assert_eq!(text, "contained True\n", "{mode:?}");
    }
}

#[test]
fn apps_of_a_session_do_not_see_each_other() {
    for mode in modes() {
        let world = World::new(mode);
        let first = "echo secret > ~/s; echo secret > /tmp/s; sleep 50 >/dev/null 2>&1 & echo planted";
        let second = "ls -A ~ /tmp /dev/shm /var/tmp | grep -c s$; ps -e 2>/dev/null | grep -c sleep; \
                      ls /proc | grep -c '^[0-9]'";
        let Some(text) = world.printed(&["--second", second, first]) else { continue };
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.get(..3), Some(&["planted", "0", "0"][..]), "{mode:?}: {text}");
        assert!(lines.get(3).and_then(|n| n.parse::<u32>().ok()).is_some_and(|n| n < 8), "{text}");
    }
}

#[test]
fn an_app_dies_with_its_anchor() {
    for mode in modes() {
        // The whole tree's exit code is lost with its top; what the keeper prints is not.
        let output = World::new(mode).launch(&["--orphan", "sleep 50 > /dev/null 2>&1 & echo up"]);
        let text = String::from_utf8_lossy(&output.stdout);
        if text.starts_with("skipped:") {
            continue;
        }
        assert_eq!(text, "up\ndied\n", "{mode:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn processes_stand_still_go_on_and_end_by_signals() {
    for mode in modes() {
        let script = "for i in 1 2 3; do (while :; do echo x; done) & done; wait";
        let Some(text) = World::new(mode).printed(&["--freeze", script]) else { continue };
        let expected = "stopped several: true\nsilent while stopped: true\ngoes on: true\n\
                        left after the kill: 0\n";
        assert_eq!(text, expected, "{mode:?}");
    }
}

#[test]
fn control_groups_limit_freeze_and_kill() {
    for mode in modes() {
        let script = "exec 2>/dev/null; cut -d: -f3 /proc/self/cgroup | sort -u; \
                      python3 -c 'x = bytearray(200 << 20)'; echo $?";
        let Some(text) = World::new(mode).printed(&["--cgroup", script]) else { continue };
        let expected = "/\n137\ncounted: true\nfrozen: true\nkilled: true\nremoved: true\n";
        assert_eq!(text, expected, "{mode:?}");
    }
}

#[test]
fn terminals_come_from_the_apps_own_devices() {
    for mode in modes() {
        let script = "ls /dev/pts; stat -c '%u %g %a' /dev/pts/0";
        let Some(text) = World::new(mode).printed(&["--terminal", script]) else { continue };
        assert!(text.starts_with("terminal: /dev/pts/0\n"), "{mode:?}: {text}");
    }
}

#[test]
fn nothing_shows_in_the_hosts_mount_table() {
    for mode in modes() {
        let world = World::new(mode);
        let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
        if world.printed(&["true"]).is_none() {
            continue;
        }
        assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
        let left = fs::read_dir(world.folder.path().join("storage")).unwrap().count();
        assert_eq!(left, 0);
    }
}
