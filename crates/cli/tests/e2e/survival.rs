//! What dies, and what goes on.

use rustix::process::Signal;

use crate::support::World;
use crate::support::processes::{self, Process, is_stopped, kill, part};

/// A session whose app writes numbers until it dies.
fn counting(world: &World) -> (String, Process) {
    let id =
        world.open("counter", &["sh", "-c", "i=0; while :; do i=$((i + 1)); echo n$i; sleep 0.01; done"]);
    world.must(&["wait", "counter", "--pattern", "n3", "--timeout", "30s"]);
    let app = Process::of(world.main_pid("counter")).unwrap();
    (id, app)
}

fn daemon(world: &World) -> u32 {
    u32::try_from(world.json(&["daemon", "status", "--json"])["pid"].as_u64().unwrap()).unwrap()
}

/// Output since an offset is a run of consecutive numbers: nothing was lost, nothing doubled.
#[track_caller]
fn is_without_gap(world: &World) {
    let text = world.must(&["output", "counter", "--raw"]);
    let numbers: Vec<u64> =
        text.lines().filter_map(|line| line.trim().strip_prefix('n')?.parse().ok()).collect();
    assert!(numbers.len() > 3, "{text}");
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "a gap in: {numbers:?}");
}

/// The app goes on writing.
#[track_caller]
fn goes_on(world: &World, app: Process) {
    let end = world.json(&["output", "counter", "--json"])["end"].as_u64().unwrap().to_string();
    processes::eventually("output goes on", || {
        world.must(&["output", "counter", "--since", &end]).contains('n').then_some(())
    });
    assert!(app.runs(), "the app is another");
    assert_eq!(world.main_pid("counter"), app.pid);
    is_without_gap(world);
}

for_root_and_user! {
    fn the_daemon_dies(world) {
        let (_, app) = counting(world);
        let mut terminal = world.terminal(&["attach", "counter"]);
        terminal.expect("n");
        kill(daemon(world));
        terminal.expect("n");
        goes_on(world, app);
        let first = daemon(world);
        assert_eq!(world.json(&["ls", "--json"])[0]["name"], "counter");
        assert_eq!(daemon(world), first, "one daemon was started, and stays");
        terminal.send("\u{1c}");
        assert_eq!(terminal.finish(), 0);
    }

    fn the_keeper_dies(world) {
        let (id, app) = counting(world);
        let mut terminal = world.terminal(&["attach", "counter"]);
        terminal.expect("n");
        let keeper = part(world, "keeper", &id).unwrap();
        kill(keeper);
        goes_on(world, app);
        let next = processes::eventually("another keeper runs", || part(world, "keeper", &id));
        assert_ne!(next, keeper);
        terminal.expect("n");
        terminal.send("\u{1c}");
        assert_eq!(terminal.finish(), 0);
    }

    fn the_daemon_and_the_keeper_die(world) {
        let (id, app) = counting(world);
        kill(daemon(world));
        kill(part(world, "keeper", &id).unwrap());
        goes_on(world, app);
    }

    fn the_anchor_dies(world) {
        let (id, app) = counting(world);
        let anchor = part(world, "anchor", &id).unwrap();
        let tree = processes::tree(anchor);
        kill(anchor);
        has_failed(world, &id);
        for process in tree {
            assert!(
                processes::wait_for_end(process.pid, crate::support::TIME_LIMIT) || !process.runs(),
                "{} survived its anchor",
                process.line()
            );
        }
        assert!(!app.runs());
    }

    fn all_three_die(world) {
        let (id, app) = counting(world);
        kill(daemon(world));
        kill(part(world, "keeper", &id).unwrap());
        kill(part(world, "anchor", &id).unwrap());
        has_failed(world, &id);
        assert!(!app.runs());
    }

    /// An anchor lets its keeper go before it ends, and the daemon lets the anchor go: neither is
    /// left to whatever process 1 is.
    fn nobody_is_left_behind_by_an_end(world) {
        let (id, _) = counting(world);
        let cast = processes::casts(world)[&id];
        world.must(&["end", "counter", "--grace", "0s"]);
        for process in [cast.keeper, cast.anchor].into_iter().flatten() {
            let entry = std::path::PathBuf::from(format!("/proc/{}", process.pid));
            processes::eventually("it is let go", || {
                let status = std::fs::read_to_string(entry.join("status")).unwrap_or_default();
                assert!(!status.contains("PPid:\t1\n"), "left to process 1: {status}");
                (!entry.exists()).then_some(())
            });
        }
    }

    fn a_stopped_daemon_is_started_by_the_next_command(world) {
        let (_, app) = counting(world);
        world.must(&["daemon", "stop"]);
        goes_on(world, app);
    }

    fn two_first_commands_start_one_daemon(world) {
        let commands: Vec<_> =
            (0..8).map(|_| world.start(&["ls", "--json"], std::process::Stdio::null())).collect();
        for command in commands {
            assert_eq!(command.finish().succeeded().trim(), "[]");
        }
        let pid = daemon(world);
        let runtime = world.runtime().to_string_lossy().into_owned();
        let daemons: Vec<u32> = processes::all()
            .into_keys()
            .filter(|&other| {
                let environment = std::fs::read(format!("/proc/{other}/environ")).unwrap_or_default();
                String::from_utf8_lossy(&environment).contains(&runtime)
                    && processes::arguments(other).iter().any(|argument| argument == "daemon")
            })
            .collect();
        assert!(daemons.len() <= 1, "{daemons:?} (the daemon says {pid})");
    }
}

for_root_and_user! {
    /// Its answer comes when nobody waits for it any more.
    fn an_anchor_that_was_stopped_for_a_while_loses_nothing(world) {
        let (id, app) = counting(world);
        let anchor = Process::of(part(world, "anchor", &id).unwrap()).unwrap();
        let keeper = part(world, "keeper", &id);
        processes::signal(anchor.pid, Signal::STOP);
        processes::eventually("the anchor is stopped", || is_stopped(anchor).then_some(()));
        world.sessile(&["exec", "counter", "--", "true"]).refused_with(75, &["anchor", "does not answer"]);
        processes::signal(anchor.pid, Signal::CONT);
        world.sessile(&["exec", "counter", "--", "sh", "-c", "echo back; exit 3"]).ended_with(3);
        goes_on(world, app);
        assert_eq!((part(world, "anchor", &id), part(world, "keeper", &id)), (Some(anchor.pid), keeper));
        world.must(&["end", "counter", "--grace", "0s"]);
        // Nor is anything left of the command that was not started.
        let receipt = world.must(&["receipt", &id, "--verify"]);
        assert!(!receipt.contains("FAILED"), "{receipt}");
        assert!(!anchor.runs());
    }

    fn an_end_says_that_the_session_failed(world) {
        let (id, _) = counting(world);
        kill(part(world, "anchor", &id).unwrap());
        has_failed(world, &id);
        let ended = world.sessile(&["end", &id]);
        ended.refused_with(75, &["failed: anchor"]);
        assert!(!format!("{}{}", ended.text(), ended.err).contains("ended, wiped"));
    }
}

/// Waits until the record is closed as failed, with a receipt that says so.
#[track_caller]
fn has_failed(world: &World, id: &str) {
    let record = processes::eventually("the record is closed", || {
        Some(world.show(id)).filter(|record| record["state"] == "closed")
    });
    assert_eq!(record["outcome"]["kind"], "failed", "{record}");
    assert_eq!(record["outcome"]["component"], "anchor", "{record}");
    world.must(&["receipt", id, "--verify"]);
}

/// However often keepers die, the session is there: the next one has to wait for a while.
#[test]
fn keepers_that_die_all_the_time_lose_nothing() {
    crate::support::as_user(|world| {
        let (id, app) = counting(world);
        for _ in 0..6 {
            kill(processes::eventually("a keeper runs", || part(world, "keeper", &id)));
        }
        processes::eventually("it is said", || {
            world.sessile(&["daemon", "status"]).err.contains("the next one starts in").then_some(())
        });
        assert_eq!(world.show("counter")["state"], "active");
        processes::eventually("the minute is over", || part(world, "keeper", &id));
        goes_on(world, app);
    });
}

for_root_and_user! {
    /// A daemon that was just killed takes connections for a moment.
    fn the_command_after_a_kill_of_the_daemon_is_carried_out_once(world) {
        let id = world.open("kept", &["cat"]);
        for round in 0..4 {
            let script = format!("echo {round} >> carried");
            let pid = daemon(world);
            processes::signal(pid, Signal::KILL);
            world.must(&["exec", &id, "--", "sh", "-c", &script]);
        }
        assert_eq!(std::fs::read_to_string(world.project().join("carried")).unwrap(), "0\n1\n2\n3\n");
    }
}
