//! `run` behaves like running the command.

use std::io::Read as _;
use std::process::Stdio;

use crate::lines_lost::shell;
use crate::support::processes;

for_root_and_user! {
    fn output_and_success_are_passed_on(world) {
        let finished = world.sessile(&["run", "--", "/bin/echo", "hello", "world"]);
        assert_eq!(finished.succeeded(), "hello world\n");
        assert_eq!(finished.err, "", "a plain run has nothing to say");
    }

    fn standard_error_stays_apart(world) {
        let finished = world.sessile(&["run", "--", "sh", "-c", "echo out; echo err >&2"]);
        assert_eq!(finished.succeeded(), "out\n");
        assert_eq!(finished.err, "err\n");
    }

    fn output_that_was_closed_before_the_start_is_no_success(world) {
        for arguments in [vec!["run", "--", "echo", "lost"], vec!["protocol", "list"], vec!["doctor", "--json"]] {
            assert_eq!(shell(world, &arguments, ">&-").code, 141, "{arguments:?}");
        }
        shell(world, &["run", "--", "true"], ">&-").succeeded();
        shell(world, &["run", "--", "echo", "thrown away"], "<> /dev/null >&0").succeeded();
    }

    fn the_exit_status_is_passed_on(world) {
        world.sessile(&["run", "--", "sh", "-c", "exit 7"]).ended_with(7);
        world.sessile(&["run", "--", "sh", "-c", "kill -TERM $$"]).ended_with(143);
        world.sessile(&["run", "--", "false"]).ended_with(1);
    }

    fn a_command_that_cannot_start_is_127_or_126(world) {
        world.sessile(&["run", "--", "no-such-command"]).refused_with(127, &["no-such-command"]);
        world.sessile(&["run", "--", "/etc/passwd"]).ended_with(126);
    }

    fn input_is_passed_on(world) {
        let finished = world.sessile_with_input(&["run", "--", "sort"], b"b\na\n");
        assert_eq!(finished.succeeded(), "a\nb\n");
    }

    fn much_input_comes_back_whole(world) {
        let input: Vec<u8> = (0..3_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let finished = world.sessile_with_input(&["run", "--", "cat"], &input);
        finished.ended_with(0);
        assert!(finished.out == input, "{} bytes of {} came back", finished.out.len(), input.len());
    }

    fn without_input_reading_ends_at_once(world) {
        assert_eq!(world.must(&["run", "--", "wc", "-c"]).trim(), "0");
    }

    /// More than the ring holds, to a reader that lets the writer wait.
    fn a_slow_reader_loses_nothing(world) {
        let mut running = world.start(&["run", "--", "seq", "1", "1000000"], Stdio::null());
        let mut output = running.take_output();
        let mut text = Vec::new();
        let mut buffer = [0; 65_536];
        for round in 0.. {
            match output.read(&mut buffer).unwrap() {
                0 => break,
                count => text.extend_from_slice(&buffer[..count]),
            }
            if round % 16 == 0 {
                // What is tested is a reader that pauses.
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
        running.finish().ended_with(0);
        let expected: String = (1..=1_000_000).map(|n| format!("{n}\n")).collect();
        assert!(text == expected.as_bytes(), "{} bytes of {} arrived", text.len(), expected.len());
    }

    fn a_reader_that_leaves_ends_the_run(world) {
        let mut running = world.start(&["run", "--name", "yes", "--", "yes"], Stdio::null());
        let mut output = running.take_output();
        output.read_exact(&mut [0; 10]).unwrap();
        drop(output);
        let finished = running.finish();
        assert_ne!(finished.code, 0, "a broken pipe is no success: {}", finished.err);
        processes::eventually("the session ends", || {
            let listed = world.json(&["ls", "--json"]);
            listed.as_array().unwrap().iter().all(|record| record["state"] == "closed").then_some(())
        });
    }

    fn an_interrupt_reaches_the_command(world) {
        let script = "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.1; done";
        let mut running = world.start(&["run", "--", "sh", "-c", script], Stdio::null());
        let mut output = running.take_output();
        let mut ready = [0; 6];
        output.read_exact(&mut ready).unwrap();
        // A client behind `setpriv` has taken its place: it is the same process.
        processes::signal(running.pid(), rustix::process::Signal::INT);
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "caught\n");
        running.finish().ended_with(3);
    }

    fn other_signals_reach_the_command_too(world) {
        for (name, signal) in [
            ("USR1", rustix::process::Signal::USR1),
            ("USR2", rustix::process::Signal::USR2),
            ("ALRM", rustix::process::Signal::ALARM),
        ] {
            let script = format!("trap 'exit 3' {name}; echo ready; while :; do sleep 0.1; done");
            let mut running = world.start(&["run", "--", "sh", "-c", &script], Stdio::null());
            running.take_output().read_exact(&mut [0; 6]).unwrap();
            processes::signal(running.pid(), signal);
            running.finish().ended_with(3);
        }
    }

    fn a_pipe_that_is_written_later_is_waited_for(world) {
        let pipe = world.project().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from_raw_mode(0o644)).unwrap();
        let running =
            world.start(&["run", "--env-file", "pipe", "--", "sh", "-c", "echo $LATE"], Stdio::null());
        // Whoever opens it for writing waits until it is open for reading.
        std::fs::write(&pipe, "LATE=here\n").unwrap();
        assert_eq!(running.finish().succeeded(), "here\n");
    }

    fn an_ended_run_leaves_no_session(world) {
        // The name is free again as soon as the command returns.
        for _ in 0..3 {
            world.must(&["run", "--name", "brief", "--", "true"]);
        }
        let open = world.json(&["ls", "--json"]);
        assert!(open.as_array().unwrap().iter().all(|record| record["state"] == "closed"), "{open}");
        world.sessile(&["screen", "brief"]).ended_with(66);
    }

    fn a_full_disk_behind_the_output_is_said(world) {
        let mut command = world.command(&["run", "--", "sh", "-c", "seq 100000"]);
        command.stdin(Stdio::null()).stdout(std::fs::File::create("/dev/full").unwrap());
        command.stderr(Stdio::piped());
        let finished = command.output().unwrap();
        let said = String::from_utf8_lossy(&finished.stderr);
        assert_eq!(finished.status.code(), Some(71), "{said}");
        assert!(said.contains("write the output"), "{said}");
    }

    fn nothing_of_the_project_is_in_the_state_after_the_end(world) {
        world.must(&["run", "--", "true"]);
        let path = world.project();
        let path = path.to_str().unwrap();
        assert!(!world.must(&["ls", "--all", "--json"]).contains(path));
        world.must(&["daemon", "stop"]);
        for entry in std::fs::read_dir(world.state()).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                let bytes = std::fs::read(entry.path()).unwrap();
                let found = bytes.windows(path.len()).any(|window| window == path.as_bytes());
                assert!(!found, "{} holds the project's path", entry.path().display());
            }
        }
    }

    fn keep_keeps_it(world) {
        world.must(&["run", "--keep", "--name", "kept", "--", "true"]);
        assert_eq!(world.show("kept")["state"], "active");
        assert_eq!(world.must(&["exec", "kept", "--", "echo", "again"]), "again\n");
    }

    fn exec_joins_the_same_sandbox(world) {
        let script = "echo mine > /tmp/note; sleep infinity";
        world.open("shared", &["sh", "-c", script]);
        let read = processes::eventually("the note is written", || {
            let finished = world.sessile(&["exec", "shared", "--", "cat", "/tmp/note"]);
            (finished.code == 0).then(|| finished.text())
        });
        assert_eq!(read, "mine\n");
        world.sessile(&["exec", "shared", "--", "sh", "-c", "exit 9"]).ended_with(9);
        // An app of its own has its own root.
        world.sessile(&["exec", "shared", "--app", "other", "--", "cat", "/tmp/note"]).ended_with(1);
    }

    fn an_unwatched_result_waits(world) {
        world.must(&["run", "--detach", "--name", "unwatched", "--", "sh", "-c", "echo done; exit 5"]);
        world.must(&["wait", "unwatched", "--exit", "--timeout", "30s"]);
        assert!(world.must(&["output", "unwatched"]).contains("done"));
    }

    fn the_argument_and_environment_limit_is_the_systems(world) {
        let long = "x".repeat(64 << 10);
        assert_eq!(world.must(&["run", "--", "echo", &long]).len(), long.len() + 1);
    }

    fn waiting_gives_up_in_time(world) {
        world.open("quiet", &["sleep", "infinity"]);
        let finished = world.sessile(&["wait", "quiet", "--pattern", "never", "--timeout", "300ms"]);
        finished.ended_with(124);
    }

    fn reading_a_result_collects_it_unless_it_is_to_be_kept(world) {
        world.must(&["run", "--detach", "--name", "done", "--", "sh", "-c", "echo one; echo two"]);
        world.must(&["wait", "done", "--exit", "--timeout", "60s"]);
        for _ in 0..2 {
            assert_eq!(world.must(&["output", "done", "--tail", "1", "--keep"]), "two\n");
        }
        assert_eq!(world.must(&["output", "done", "--tail", "1"]), "two\n");
        crate::support::processes::eventually("it is collected", || {
            (world.sessile(&["output", "done", "--keep"]).code == 66).then_some(())
        });
    }
}
