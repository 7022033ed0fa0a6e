//! Leaving and returning, on a real terminal.

use rustix::process::Signal;

use crate::support::emulator::seen;
use crate::support::processes;
use crate::support::{TIME_LIMIT, World};

const DETACH: &str = "\u{1c}";

/// Opens a session with a shell on a terminal of its own, whose prompt is `here> `.
fn shell(world: &World, name: &str) {
    world.must(&["run", "--detach", "--name", name, "--env", "PS1=here> ", "--", "sh", "-i"]);
    world.must(&["wait", name, "--pattern", "here> ", "--timeout", "30s"]);
}

for_root_and_user! {
    /// As vim does where it was begun before somebody came: it takes icons' titles back that nobody saw put aside.
    fn the_title_comes_back_where_an_app_took_titles_back(world) {
        let script = r"printf '\033[22;2t\033[22;2tready'; read -r line; \
            printf '\033[23;2t\033[23;1t\033[22;2t\033[22;1t\033[23;2t\033[23;1t\033[23;0;0tdone'; read -r line";
        world.must(&["run", "--detach", "--name", "desk", "--", "sh", "-c", script]);
        world.must(&["wait", "desk", "--pattern", "ready", "--timeout", "30s"]);
        let mut terminal = world.terminal(&["attach", "desk"]);
        terminal.expect("ready");
        terminal.send("\r");
        terminal.expect("done");
        terminal.send("\x1c");
        terminal.expect_bytes(b"\x1b[23;2t\x1b[0m");
        assert_eq!(terminal.finish(), 0);
    }

    fn a_shell_on_a_terminal(world) {
        let mut terminal = world.terminal(&["run", "--env", "PS1=here> ", "--", "sh", "-i"]);
        terminal.expect("here> ");
        terminal.send("stty size; test -t 0 && echo $((40 + 2))\r");
        terminal.expect("24 80");
        terminal.expect("42");
        terminal.send("exit 6\r");
        assert_eq!(terminal.finish(), 6);
        let open = world.json(&["ls", "--json"]);
        assert!(open.as_array().unwrap().iter().all(|record| record["state"] == "closed"), "{open}");
    }

    fn leaving_and_returning(world) {
        let mut terminal = world.terminal(&["run", "--name", "desk", "--env", "PS1=here> ", "--", "sh", "-i"]);
        terminal.expect("here> ");
        terminal.send("echo first-$((1 + 1))\r");
        terminal.expect("first-2");
        terminal.send(DETACH);
        assert_eq!(terminal.finish(), 0);

        let mut terminal = world.terminal(&["attach", "desk"]);
        terminal.expect("first-2");
        terminal.send("echo second-$((1 + 2))\r");
        terminal.expect("second-3");
        terminal.send(DETACH);
        assert_eq!(terminal.finish(), 0);
        assert_eq!(world.show("desk")["state"], "active");
    }

    fn a_killed_client_is_no_matter(world) {
        shell(world, "desk");
        let mut terminal = world.terminal(&["attach", "desk"]);
        terminal.expect("here> ");
        terminal.send("echo before-$((1 + 1))\r");
        terminal.expect("before-2");
        processes::kill(terminal.pid());
        drop(terminal);
        processes::eventually("the client is gone", || (world.show("desk")["clients"] == 0).then_some(()));
        assert!(world.must(&["screen", "desk"]).contains("before-2"));
        world.must(&["type", "desk", "echo after-$((1 + 1))\n"]);
        world.must(&["wait", "desk", "--pattern", "after-2", "--timeout", "30s"]);
    }

    fn a_killed_client_leaves_the_terminal_as_it_was(world) {
        shell(world, "desk");
        let mut terminal = world.terminal_below_shell(&["attach", "desk"]);
        terminal.expect("here> ");
        let modes = r"\033[?1049h\033[?1000;1006h\033[?2004h\033[?25l\033[>1u";
        terminal.send(&format!("printf '{modes}full%s' -screen\r"));
        terminal.expect("full-screen");
        assert!(!terminal.is_as_before());
        let client = processes::of_command(world, "attach")[0];
        let guardian = processes::of_command(world, "guard-terminal")[0];
        let descriptors = |pid| std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        assert!(std::path::Path::new(&format!("/proc/{}/fd/7", client.pid)).exists());
        assert_eq!(descriptors(guardian.pid), 3, "it holds more than it needs");
        processes::kill_group(client.pid);

        terminal.expect("it ended with 137");
        processes::eventually("the modes are back", || terminal.is_as_before().then_some(()));
        terminal.expect_bytes(
            b"\x1b[<1u\x1b[?25h\x1b[?1000l\x1b[?1006l\x1b[?2004l\x1b[?1049l\x1b[0m\r\r\n",
        );
        assert!(processes::wait_for_end(guardian.pid, TIME_LIMIT), "the guardian does not end");
        assert_eq!(world.show("desk")["state"], "active");
        terminal.send("\r");
        assert_eq!(terminal.finish(), 0);
    }

    /// Mouse, keyboard, screen, cursor, title and colours are the shell's again.
    fn leaving_gives_back_the_terminal(world) {
        shell(world, "desk");
        let mut terminal = world.terminal_below_shell(&["attach", "desk"]);
        terminal.expect("here> ");
        let modes = r"\033[>1u\033[22;0t\033]2;of the app\007\033[?1049h\033[?1000;1002;1003;1006h\033[?2004h\033[?1004h\033[?25l\033[>5u\033[5 q\033=\033[4h\033]11;#000000\007\033[?1h\033[>4;2m\033[3;9r";
        terminal.send(&format!("printf '{modes}full%s' -screen\r"));
        terminal.expect("full-screen");
        let changed = seen(&terminal.bytes(), 80, 24);
        terminal.send(DETACH);
        terminal.expect("it ended with 0");
        assert!(terminal.is_as_before());
        let (bytes, fresh) = (terminal.bytes(), seen(b"", 80, 24));
        assert_ne!(changed.last(), fresh.last());
        assert_eq!(seen(&bytes, 80, 24).last(), fresh.last(), "{}", bytes.escape_ascii());
        for undone in [&b"\x1b[23;0t\x1b[23;0t"[..], b"\x1b]111\x1b\\", b"\x1b[>4;0m"] {
            terminal.expect_bytes(undone);
        }
        terminal.send("\r");
        assert_eq!(terminal.finish(), 0);
    }

    fn a_guardian_is_gone_with_its_client(world) {
        shell(world, "desk");
        let mut terminal = world.terminal(&["attach", "desk"]);
        terminal.expect("here> ");
        let guardians = processes::of_command(world, "guard-terminal");
        let [guardian] = guardians[..] else { panic!("{guardians:?}") };
        let environment = std::fs::read(format!("/proc/{}/environ", guardian.pid)).unwrap();
        assert_eq!(environment, b"", "{}", String::from_utf8_lossy(&environment));
        // One that is stopped holds nobody up.
        processes::signal(guardian.pid, Signal::STOP);
        terminal.send("echo on-$((1 + 1))\r");
        terminal.expect("on-2");
        terminal.send(DETACH);
        assert_eq!(terminal.finish(), 0);
        assert!(!std::path::Path::new(&format!("/proc/{}", guardian.pid)).exists(), "{}", guardian.line());
    }

    fn two_clients_see_the_same_and_a_watcher_cannot_type(world) {
        shell(world, "desk");
        let mut one = world.terminal(&["attach", "desk"]);
        let mut watcher = world.terminal(&["attach", "--read-only", "desk"]);
        one.expect("here> ");
        watcher.expect("here> ");
        watcher.send("echo intruder\r");
        one.send("echo both-$((1 + 1))\r");
        one.expect("both-2");
        watcher.expect("both-2");
        assert!(!world.must(&["screen", "desk"]).contains("intruder"));
        watcher.send(DETACH);
        assert_eq!(watcher.finish(), 0);
        one.send(DETACH);
        assert_eq!(one.finish(), 0);
    }

    fn the_last_typist_decides_the_size(world) {
        shell(world, "desk");
        let mut terminal = world.terminal(&["attach", "desk"]);
        terminal.expect("here> ");
        terminal.resize(101, 33);
        terminal.send("stty size\r");
        processes::eventually("the size arrives", || {
            terminal.send("stty size\r");
            world.must(&["screen", "desk"]).contains("33 101").then_some(())
        });
        terminal.send(DETACH);
        assert_eq!(terminal.finish(), 0);
    }

    fn sizes_that_no_terminal_has_hurt_nobody(world) {
        shell(world, "desk");
        let mut terminal = world.terminal(&["attach", "desk"]);
        terminal.expect("here> ");
        for (cols, rows) in [(0, 0), (10_000, 10_000), (1, 1), (80, 24)] {
            terminal.resize(cols, rows);
            terminal.send("\r");
        }
        terminal.send("echo alive-$((1 + 1))\r");
        terminal.expect("alive-2");
        terminal.send(DETACH);
        assert_eq!(terminal.finish(), 0);
    }

    fn programs_type_wait_and_look(world) {
        shell(world, "agent");
        world.must(&["type", "agent", "echo typed-$((2 * 3))\n"]);
        world.must(&["wait", "agent", "--pattern", "typed-6", "--timeout", "30s"]);
        let screen = world.json(&["screen", "agent", "--json"]);
        let lines = screen["lines"].as_array().unwrap();
        assert!(lines.iter().any(|line| line == "typed-6"), "{screen}");

        world.must(&["type", "agent", "cat\n"]);
        world.sessile_with_input(&["type", "agent", "-"], b"from standard input\n").succeeded();
        world.must(&["wait", "agent", "--pattern", "from standard input", "--timeout", "30s"]);
        world.must(&["type", "agent", "--key", "ctrl-c"]);
        world.must(&["type", "agent", "echo back-$((1 + 1))"]);
        world.must(&["type", "agent", "--key", "enter"]);
        world.must(&["wait", "agent", "--pattern", "back-2", "--timeout", "30s"]);
        world.must(&["wait", "agent", "--quiet", "300ms", "--timeout", "30s"]);
    }

    fn output_goes_on_from_an_offset(world) {
        shell(world, "agent");
        let first = world.json(&["output", "agent", "--json"]);
        let end = first["end"].as_u64().unwrap().to_string();
        world.must(&["type", "agent", "echo later-$((1 + 1))\n"]);
        world.must(&["wait", "agent", "--pattern", "later-2", "--timeout", "30s"]);
        let rest = world.must(&["output", "agent", "--since", &end]);
        assert!(rest.contains("later-2"), "{rest}");
        assert!(!rest.starts_with("here> "), "what was seen comes again: {rest}");
    }

    fn attaching_without_a_terminal_is_said(world) {
        shell(world, "desk");
        let finished = world.sessile(&["attach", "desk"]);
        assert_ne!(finished.code, 0);
        assert!(finished.err.contains("terminal"), "{}", finished.err);
    }
}
