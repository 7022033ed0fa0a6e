//! Leaving and returning, on a real terminal.

use crate::support::World;
use crate::support::processes;

const DETACH: &str = "\u{1c}";

/// Opens a session with a shell on a terminal of its own, whose prompt is `here> `.
fn shell(world: &World, name: &str) {
    world.must(&["run", "--detach", "--name", name, "--env", "PS1=here> ", "--", "sh", "-i"]);
    world.must(&["wait", name, "--pattern", "here> ", "--timeout", "30s"]);
}

for_root_and_user! {
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
