//! Bad input and bad surroundings: a clear error, an exit code, nothing hung, nothing left.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};

use crate::support::processes::{self, Process};

for_root_and_user! {
    fn bad_arguments_are_64(world) {
        let wrong: [&[&str]; 7] = [
            &["run", "--name", "Not A Name", "--", "true"],
            &["run", "--memory", "lots", "--", "true"],
            &["run", "--accept-weaker", "beauty", "--", "true"],
            &["run", "--no-such-flag"],
            &["type", "someone", "--key", "hyper-x"],
            &["wait", "someone", "--quiet", "soon"],
            &["no-such-command"],
        ];
        for arguments in wrong {
            let finished = world.sessile(arguments);
            finished.ended_with(64);
            assert!(!finished.err.is_empty(), "{arguments:?} says nothing");
        }
    }

    fn an_argument_that_is_not_utf8_is_named(world) {
        for arguments in [&["run", "--"][..], &["show"]] {
            let refused = world.command(arguments).arg(OsStr::from_bytes(b"odd\xff")).output().unwrap();
            let said = String::from_utf8_lossy(&refused.stderr);
            assert_eq!(refused.status.code(), Some(64), "{said}");
            assert!(said.contains("odd\u{fffd} is not UTF-8"), "{said}");
        }
    }

    fn a_bad_pattern_is_said(world) {
        world.open("any", &["sleep", "infinity"]);
        world.sessile(&["wait", "any", "--pattern", "(", "--timeout", "5s"]).ended_with(64);
    }

    fn an_unknown_key_in_the_configuration_is_refused(world) {
        let path = world.folder().join("config/sessile/config.toml");
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(&path, "no_such_key = 1\n").unwrap();
        world.sessile(&["config", "check"]).refused_with(64, &["no_such_key"]);
    }

    /// Sockets that a killed daemon left are no obstacle to the next.
    fn stale_sockets_are_replaced(world) {
        world.must(&["ls"]);
        let pid = world.json(&["daemon", "status", "--json"])["pid"].as_u64().unwrap();
        processes::kill(u32::try_from(pid).unwrap());
        let sockets = fs::read_dir(world.runtime()).unwrap().flatten();
        let sockets: Vec<_> = sockets.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "sock")).collect();
        assert!(!sockets.is_empty(), "the daemon has no socket in its runtime folder");
        for path in &sockets {
            fs::remove_file(path).unwrap();
            drop(UnixListener::bind(path).unwrap());
            std::os::unix::fs::chown(path, Some(world.uid()), None).unwrap();
        }
        world.must(&["ls"]);
    }

    fn a_corrupted_journal_is_moved_aside_and_said(world) {
        world.must(&["run", "--", "true"]);
        world.must(&["daemon", "stop"]);
        let path = world.state().join("journal.sqlite");
        fs::write(&path, vec![0xa5; 64 << 10]).unwrap();
        for more in ["journal.sqlite-wal", "journal.sqlite-shm"] {
            let _ = fs::remove_file(world.state().join(more));
        }
        world.must(&["ls"]);
        let status = world.json(&["daemon", "status", "--json"]);
        assert!(!status["notices"].as_array().unwrap().is_empty(), "nothing is said: {status}");
        world.must(&["run", "--", "true"]);
    }

    /// An empty file is a sound database: only what is beside it tells that one was there.
    fn an_emptied_journal_is_said_once_and_remembered(world) {
        world.must(&["run", "--", "true"]);
        world.must(&["daemon", "stop"]);
        fs::File::options().write(true).truncate(true).open(world.state().join("journal.sqlite")).unwrap();
        let told = world.sessile(&["ls"]);
        told.succeeded();
        assert!(told.err.contains("notice: the journal was empty") && told.err.contains("lost"), "{}", told.err);
        let again = world.sessile(&["ls"]);
        again.succeeded();
        assert!(!again.err.contains("notice"), "{}", again.err);
        // Whoever asks is told by later daemons too.
        world.must(&["daemon", "stop"]);
        let again = world.sessile(&["ls"]);
        again.succeeded();
        assert!(!again.err.contains("notice"), "{}", again.err);
        let status = world.sessile(&["daemon", "status"]);
        status.succeeded();
        assert!(status.err.contains("the journal was empty"), "{}", status.err);
    }

    fn a_damaged_log_of_a_session_that_runs_is_said(world) {
        let id = world.open("steady", &["cat"]);
        let app = world.main_pid("steady");
        world.must(&["daemon", "stop"]);
        let path = world.state().join("sessions").join(&id).join("log");
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let shown = processes::eventually("it is said", || {
            Some(world.must(&["show", "steady"])).filter(|shown| shown.contains("notice"))
        });
        assert!(shown.contains("the log is damaged from byte"), "{shown}");
        let status = world.json(&["daemon", "status", "--json"]);
        assert!(status["notices"][0].as_str().unwrap().contains("the log is damaged"), "{status}");
        // The next keeper moves it aside and says so itself.
        processes::kill(processes::part(world, "keeper", &id).unwrap());
        let shown = processes::eventually("its keeper says it", || {
            Some(world.must(&["show", "steady"])).filter(|shown| shown.contains("log.damaged-1"))
        });
        assert!(shown.contains("active"), "{shown}");
        assert_eq!(world.main_pid("steady"), app);
        world.must(&["end", "steady", "--grace", "0s"]);
        assert!(world.must(&["show", &id]).contains("log.damaged-1"));
    }

    fn a_log_that_cannot_be_opened_is_moved_aside(world) {
        let id = world.open("steady", &["cat"]);
        let app = world.main_pid("steady");
        let path = world.state().join("sessions").join(&id).join("log");
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        processes::kill(processes::part(world, "keeper", &id).unwrap());
        let shown = processes::eventually("its keeper says it", || {
            Some(world.must(&["show", "steady"])).filter(|shown| shown.contains("a new one begun"))
        });
        assert!(shown.contains("active"), "{shown}");
        assert_eq!(world.main_pid("steady"), app);
        world.must(&["exec", "steady", "--", "true"]);
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        world.must(&["end", "steady", "--grace", "0s"]);
    }

    fn a_log_that_cannot_be_written_follows_when_it_can(world) {
        if !rustix::process::geteuid().is_root() {
            return crate::support::skip("making a folder read-only for its owner needs root to mount");
        }
        let id = world.open("steady", &["cat"]);
        let app = world.main_pid("steady");
        let folder = world.state().join("sessions").join(&id);
        let before = fs::metadata(folder.join("log")).unwrap().len();
        rustix::mount::mount_bind(&folder, &folder).unwrap();
        let flags = rustix::mount::MountFlags::BIND | rustix::mount::MountFlags::RDONLY;
        rustix::mount::mount_remount(&folder, flags, "").unwrap();
        processes::kill(processes::part(world, "keeper", &id).unwrap());
        let shown = processes::eventually("its keeper says it", || {
            Some(world.must(&["show", "steady"])).filter(|shown| shown.contains("held in memory"))
        });
        assert!(shown.contains("active"), "{shown}");
        world.must(&["exec", "steady", "--", "true"]);
        assert_eq!(fs::metadata(folder.join("log")).unwrap().len(), before);
        rustix::mount::unmount(&folder, rustix::mount::UnmountFlags::DETACH).unwrap();
        processes::eventually("it is written again", || {
            Some(world.must(&["show", "steady"])).filter(|shown| shown.contains("can be written again"))
        });
        assert!(fs::metadata(folder.join("log")).unwrap().len() > before);
        assert_eq!(world.main_pid("steady"), app);
        world.must(&["end", "steady", "--grace", "0s"]);
    }

    /// Bytes that are no frame do not disturb a keeper or those who talk to it.
    fn hostile_frames_disturb_nobody(world) {
        if !world.is_root() {
            // The socket is the other user's.
            return crate::support::skip("writing to the socket of another user needs root");
        }
        let id = world.open("steady", &["sleep", "infinity"]);
        let app = Process::of(world.main_pid("steady")).unwrap();
        let path = world.runtime().join("sessions").join(&id).join("keeper.sock");
        for bytes in [&[0xff; 64][..], &[0; 8], b"GET / HTTP/1.1\r\n\r\n", &[0, 0, 0, 1, 2, 0, 0, 0]] {
            let mut stream = UnixStream::connect(&path).unwrap();
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            stream.set_read_timeout(Some(crate::support::TIME_LIMIT)).unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        }
        assert_eq!(world.main_pid("steady"), app.pid);
        assert!(app.runs());
    }

    fn hostile_output_disturbs_nobody(world) {
        let script = "head -c 300000 /dev/urandom; printf '\\033[99999;99999H\\033[9999999999@\\033]0;'; echo; echo e-n-d; sleep infinity";
        world.must(&["run", "--detach", "--name", "noise", "--", "sh", "-c", script]);
        // Noise asks questions, too; their answers, which nothing reads, are echoed behind the end.
        processes::eventually("the end is written", || {
            world.must(&["output", "noise", "--raw", "--tail", "20"]).contains("e-n-d").then_some(())
        });
        world.must(&["screen", "noise", "--json"]);
        assert_eq!(world.show("noise")["state"], "active");
    }

    fn a_full_storage_is_named(world) {
        world.must(&["run", "--detach", "--name", "small", "--storage", "8M", "--no-project"]);
        // All of it is used up, to the last page.
        world.sessile(&["exec", "small", "--", "sh", "-c", "cat /dev/zero > /tmp/x"]).ended_with(1);
        let other = world.sessile(&["exec", "small", "--app", "other", "--", "true"]);
        other.refused_with(71, &["the session's storage is full", "--storage"]);
        world.must(&["exec", "small", "--", "rm", "/tmp/x"]);
        world.must(&["exec", "small", "--app", "other", "--", "true"]);
    }

    fn a_fork_bomb_is_contained(world) {
        let script = "for i in $(seq 200); do sleep 30 & done 2>/dev/null; echo survived";
        let finished = world.sessile(&["run", "--pids", "40", "--", "sh", "-c", script]);
        if finished.code == 69 {
            return crate::support::skip("this machine cannot limit processes for this user");
        }
        assert!(finished.code != 0 || !finished.text().contains("survived") || finished.err.is_empty());
        world.must(&["run", "--", "true"]);
    }

    fn another_users_daemon_refuses(world) {
        if !world.is_root() {
            return crate::support::skip("taking another user's place needs root");
        }
        world.must(&["ls"]);
        let sockets = fs::read_dir(world.runtime()).unwrap().flatten();
        let path = sockets.map(|e| e.path()).find(|p| p.extension().is_some_and(|e| e == "sock")).unwrap();
        let connect = format!(
            "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect({:?})\ns.sendall(b'GET /v1/daemon HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')\nprint(s.recv(100))",
            path.display().to_string()
        );
        // Even a folder that lets others in does not help them.
        for folder in [world.folder().to_owned(), world.runtime()] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let output = std::process::Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "python3", "-c", &connect])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!text.contains(" 200 "), "another user was answered: {text}");
    }
}
