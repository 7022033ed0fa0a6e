//! Commands: what they are given, how they end, what they are sent.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::fd::{AsFd as _, FromRawFd as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use sessile_anchor::control::{Command, ControlError, Scope, Started, Stdio};

use crate::support::{Init, folder, read_until};

fn put(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_command_runs_and_its_end_is_told() {
    let mut init = Init::ready();
    let streams = init.script(7, "read line; echo \"out $line\"; echo err >&2; exit 3");
    (&streams.stdin).write_all(b"in\n").unwrap();
    assert_eq!(streams.drain(), ("out in\n".to_owned(), "err\n".to_owned()));
    assert_eq!(init.exit_of(7), 3 << 8);
    let streams = init.script(8, "kill -9 $$");
    let pid = streams.pid;
    assert_eq!(init.exit_of(8), 9);
    let tasks = init.control().list().unwrap();
    let states: Vec<_> = tasks.iter().map(|t| (t.task, t.status)).collect();
    assert_eq!(states, [(7, Some(3 << 8)), (8, Some(9))]);
    assert_eq!(tasks[1].pid, pid);
}

#[test]
fn a_command_has_what_it_was_given_and_nothing_else() {
    let mut init = Init::ready();
    let env = init.output(1, &["/usr/bin/env"], &["A=1", "B=two words"], "/");
    assert_eq!(env, "A=1\nB=two words\n");
    assert_eq!(init.output(2, &["/bin/pwd"], &[], "/usr"), "/usr\n");
    // `ls` itself opens the folder it lists.
    assert_eq!(init.output(3, &["/bin/ls", "/proc/self/fd"], &[], "/"), "0\n1\n2\n3\n");
    let signals = init.output(4, &["/bin/grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"], &[], "/");
    for line in signals.lines() {
        assert!(line.ends_with("0000000000000000"), "{signals}");
    }
    assert_eq!(signals.lines().count(), 2);
    // A session and a process group of its own.
    let ids = init.output(5, &["/bin/sh", "-c", "cut -d' ' -f1,5,6 /proc/$$/stat"], &["PATH=/usr/bin"], "/");
    let ids: Vec<&str> = ids.split_whitespace().collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
fn what_cannot_be_executed_says_why() {
    let mut init = Init::ready();
    let folder = folder();
    let plain = folder.path().join("plain");
    put(&plain, "echo no\n", 0o644);
    let plain = plain.to_str().unwrap();
    let mut errno = |argv: &[&str], cwd: &str| init.run(1, argv, &["PATH=/usr/bin"], cwd).err();
    assert_eq!(errno(&["/no/such/file"], "/"), Some(libc::ENOENT));
    assert_eq!(errno(&["no-such-command"], "/"), Some(libc::ENOENT));
    assert_eq!(errno(&[""], "/"), Some(libc::ENOENT));
    assert_eq!(errno(&[plain], "/"), Some(libc::EACCES));
    assert_eq!(errno(&["/usr/bin"], "/"), Some(libc::EACCES));
    assert_eq!(errno(&["/bin/true"], "/no/such/folder"), Some(libc::ENOENT));
    assert_eq!(errno(&["/bin/true"], plain), Some(libc::ENOTDIR));
    assert_eq!(errno(&["/bin/true", &"x".repeat(256 << 10)], "/"), Some(libc::E2BIG));
    // None of them took the number.
    assert_eq!(init.output(1, &["/bin/echo", "yes"], &[], "/"), "yes\n");
    assert_eq!(init.control().list().unwrap().len(), 1);
}

#[test]
fn a_program_is_searched_for_as_execvpe_does() {
    let mut init = Init::ready();
    let folder = folder();
    let [first, second, third] = ["first", "second", "third"].map(|name| folder.path().join(name));
    for folder in [&first, &second, &third] {
        fs::create_dir(folder).unwrap();
    }
    put(&first.join("tool"), "#!/bin/sh\necho first\n", 0o644);
    put(&second.join("tool"), "#!/bin/sh\necho second\n", 0o755);
    // No interpreter line: the shell runs it, with its path and arguments.
    put(&third.join("tool"), "echo \"third $0 $*\"\n", 0o755);
    let [first, second, third] = [first, second, third].map(|path| path.to_str().unwrap().to_owned());
    let found = format!("PATH=/no/such:{first}:{second}");
    assert_eq!(init.output(1, &["tool"], &["X=1", &found], "/"), "second\n");
    let only = format!("PATH={first}:/no/such");
    assert_eq!(init.run(2, &["tool"], &[&only], "/").err(), Some(libc::EACCES));
    assert_eq!(init.output(3, &["tool"], &["PATH=/no/such:"], &second), "second\n");
    let output = init.output(4, &["tool", "a", "b c"], &[&format!("PATH={third}")], "/");
    assert_eq!(output, format!("third {third}/tool a b c\n"));
    assert_eq!(init.output(5, &["./tool", "d"], &[], &third), "third ./tool d\n");
    // Without a PATH, the usual folders.
    assert_eq!(init.output(6, &["echo", "hello"], &[], "/"), "hello\n");
    let long = format!("PATH={}:{second}", "x".repeat(5000));
    assert_eq!(init.output(7, &["tool"], &[&long], "/"), "second\n");
}

#[test]
fn large_arguments_and_environments_arrive() {
    let mut init = Init::ready();
    let many: Vec<String> = (0..64).map(|i| format!("{i:01024}")).collect();
    let variables: Vec<String> = (0..64).map(|i| format!("V{i}={i:01020}")).collect();
    let one = "y".repeat(64 << 10);
    let script = "printf '%s' \"$@\" | wc -c; env | wc -c";
    let mut argv = vec!["/bin/sh", "-c", script, "sh", &one];
    argv.extend(many.iter().map(String::as_str));
    let mut env = vec!["PATH=/usr/bin:/bin"];
    env.extend(variables.iter().map(String::as_str));
    let output = init.output(1, &argv, &env, "/");
    let numbers: Vec<usize> = output.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(numbers[0], 128 << 10);
    assert!(numbers[1] > 64 << 10, "{numbers:?}");
}

#[test]
fn a_command_too_large_is_refused_before_it_is_sent() {
    let mut init = Init::ready();
    let null = File::open("/dev/null").unwrap();
    let pipes = Stdio::Pipes([null.as_fd(); 3]);
    let mut refused = |argv: &[String]| {
        let command = Command { argv, env: &[], cwd: "/" };
        matches!(init.control().start(1, &command, pipes), Err(ControlError::BadCommand))
    };
    assert!(refused(&[]));
    assert!(refused(&["nul\0".to_owned()]));
    assert!(refused(&["x".repeat(4 << 20)]));
    assert!(refused(&vec![String::new(); 16_385]));
}

#[test]
fn a_signal_goes_to_the_process_or_to_its_group() {
    let mut init = Init::ready();
    let script = "trap 'echo term' TERM; trap 'echo hup' HUP; trap 'echo usr; exit' USR1; echo $$; \
                  while :; do sleep 0.1; done";
    let group = format!("/bin/sh -c \"{}\" & wait", script.replace('$', "\\$"));
    let mut streams = init.script(1, &group);
    let other: i32 = streams.line().parse().unwrap();
    init.control().signal(1, libc::SIGTERM, Scope::Process).unwrap();
    assert_eq!(init.exit_of(1), libc::SIGTERM);
    // A task that has ended is left alone, its group too.
    init.control().signal(1, libc::SIGHUP, Scope::Group).unwrap();
    // Traps run in the order of signals, so that neither would come too late to be seen.
    // SAFETY: numbers; the process is one that this test has made and that has not ended.
    assert_eq!(unsafe { libc::kill(other, libc::SIGUSR1) }, 0);
    assert_eq!(streams.drain().0, "usr\n");

    let script = "sleep 30 & echo $!; wait";
    let mut streams = init.script(2, script);
    streams.line();
    init.control().signal(2, libc::SIGTERM, Scope::Group).unwrap();
    assert_eq!(init.exit_of(2), libc::SIGTERM);
    // Ends only when the sleeper, which holds the pipe too, has ended.
    streams.drain();

    let refused = init.control().signal(3, libc::SIGTERM, Scope::Process);
    assert!(matches!(refused, Err(ControlError::Refused { errno: libc::ESRCH })), "{refused:?}");
    let streams = init.script(4, "read line");
    let refused = init.control().signal(4, 999, Scope::Process);
    assert!(matches!(refused, Err(ControlError::Refused { errno: libc::EINVAL })), "{refused:?}");
    streams.drain();
}

#[test]
fn a_terminal_becomes_the_controlling_one() {
    // SAFETY: numbers, and descriptors that are checked and new.
    let (mut master, slave) = unsafe {
        let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
        let master = libc::posix_openpt(flags);
        assert!(master >= 0 && libc::unlockpt(master) == 0);
        let slave = libc::ioctl(master, libc::TIOCGPTPEER, flags);
        assert!(slave >= 0);
        (File::from_raw_fd(master), File::from_raw_fd(slave))
    };
    let mut init = Init::ready();
    let script = "test -t 0 && test -t 1 && test -t 2 && echo ready > /dev/tty && exec sleep 30";
    let argv = ["/bin/sh", "-c", script].map(str::to_owned);
    let command = Command { argv: &argv, env: &["PATH=/usr/bin:/bin".to_owned()], cwd: "/" };
    let started = init.control().start(1, &command, Stdio::Terminal(slave.as_fd())).unwrap();
    assert!(matches!(started, Started::Pid(_)), "{started:?}");
    drop(slave);
    read_until(&master, |said| said.ends_with("ready\r\n"));
    // Ctrl-C reaches the terminal's foreground group.
    master.write_all(b"\x03").unwrap();
    assert_eq!(init.exit_of(1), libc::SIGINT);
    // A pipe is not a terminal.
    let (reader, _writer) = std::io::pipe().unwrap();
    let started = init.control().start(2, &command, Stdio::Terminal(reader.as_fd())).unwrap();
    assert_eq!(started, Started::NotStarted { errno: libc::ENOTTY });
}
