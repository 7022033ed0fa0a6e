//! Sockets that are removed, stale or fought over: a session is found again or ended, and a state
//! folder has one daemon.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::Signal;

use crate::support::processes::{self, Process, daemon_of, is_stopped, kill, part};
use crate::support::{TIME_LIMIT, World};

/// A session whose app echoes lines. Its id, its app and its folder of sockets.
fn echoing(world: &World, name: &str) -> (String, Process, PathBuf) {
    let id = world.open(name, &["cat"]);
    let app = Process::of(world.main_pid(name)).unwrap();
    let folder = world.runtime().join("sessions").join(&id);
    (id, app, folder)
}

/// What is typed comes back, from the same app.
#[track_caller]
fn still_echoes(world: &World, name: &str, app: Process, word: &str) {
    world.must(&["type", name, word, "--key", "enter"]);
    world.must(&["wait", name, "--pattern", word, "--timeout", "30s"]);
    assert_eq!(world.main_pid(name), app.pid);
    assert!(app.runs(), "the app is another");
}

/// Ends the session; its keeper wiped it in full.
#[track_caller]
fn ends_clean(world: &World, name: &str, id: &str) {
    world.must(&["end", name, "--grace", "0s"]);
    let record = world.show(id);
    assert_eq!(record["outcome"]["kind"], "ended", "{record}");
    let receipt = world.must(&["receipt", id, "--verify"]);
    assert!(!receipt.contains("FAILED"), "{receipt}");
}

/// Nothing of a session runs any more.
#[track_caller]
fn nothing_runs(world: &World, id: &str, tree: &[Process]) {
    for process in tree {
        assert!(
            processes::wait_for_end(process.pid, TIME_LIMIT) || !process.runs(),
            "{} runs on",
            process.line()
        );
    }
    assert!(part(world, "anchor", id).is_none() && part(world, "keeper", id).is_none());
}

/// The command answers by another daemon, and the first one has ended.
#[track_caller]
fn another_daemon_answers(world: &World, first: Process) {
    assert_eq!(world.json(&["ls", "--json"])[0]["state"], "active");
    assert!(processes::wait_for_end(first.pid, TIME_LIMIT), "the daemon without a socket runs on");
    assert_ne!(daemon_of(world), Some(first));
}

for_root_and_user! {
    fn a_daemon_without_its_socket_ends(world) {
        let (id, app, _) = echoing(world, "echo");
        let first = daemon_of(world).unwrap();
        fs::remove_file(world.runtime().join("daemon.sock")).unwrap();
        // By itself: no command has been run.
        assert!(processes::wait_for_end(first.pid, TIME_LIMIT), "it runs on");
        another_daemon_answers(world, first);
        still_echoes(world, "echo", app, "again");
        ends_clean(world, "echo", &id);
    }

    fn a_daemon_whose_socket_is_replaced_ends(world) {
        let (_, app, _) = echoing(world, "echo");
        let first = daemon_of(world).unwrap();
        let socket = world.runtime().join("daemon.sock");
        let other = world.runtime().join("other.sock");
        drop(UnixListener::bind(&other).unwrap());
        world.give_to_caller(&other);
        fs::rename(&other, &socket).unwrap();
        // What is there now is stale: nobody listens.
        another_daemon_answers(world, first);
        still_echoes(world, "echo", app, "again");
    }

    fn the_runtime_folder_is_removed(world) {
        let (id, app, folder) = echoing(world, "echo");
        still_echoes(world, "echo", app, "before");
        let mut terminal = world.terminal(&["attach", "echo"]);
        terminal.expect("before");
        let first = daemon_of(world).unwrap();
        world.lose_runtime();
        another_daemon_answers(world, first);
        still_echoes(world, "echo", app, "again");
        // Who was attached is attached still, and others can.
        terminal.expect("again");
        terminal.send("\u{1c}");
        assert_eq!(terminal.finish(), 0);
        let mut terminal = world.terminal(&["attach", "echo"]);
        terminal.expect("again");
        terminal.send("\u{1c}");
        assert_eq!(terminal.finish(), 0);
        let tree = processes::tree(part(world, "anchor", &id).unwrap());
        ends_clean(world, "echo", &id);
        nothing_runs(world, &id, &tree);
        assert!(!folder.exists());
    }

    fn the_keepers_socket_is_removed(world) {
        let (id, app, folder) = echoing(world, "echo");
        fs::remove_file(folder.join("keeper.sock")).unwrap();
        still_echoes(world, "echo", app, "first");
        // The new socket is its successor's as well.
        kill(part(world, "keeper", &id).unwrap());
        still_echoes(world, "echo", app, "second");
        // Nor does it matter when none runs that could put it back.
        kill(part(world, "keeper", &id).unwrap());
        let _ = fs::remove_file(folder.join("keeper.sock"));
        still_echoes(world, "echo", app, "third");
        world.must(&["pause", "echo"]);
        fs::remove_file(folder.join("keeper.sock")).unwrap();
        world.must(&["resume", "echo"]);
        ends_clean(world, "echo", &id);
    }

    fn the_anchors_socket_is_removed(world) {
        let (id, app, folder) = echoing(world, "echo");
        let socket = folder.join("anchor.sock");
        fs::remove_file(&socket).unwrap();
        still_echoes(world, "echo", app, "first");
        // By itself: its keeper looks.
        processes::eventually("another socket is there", || socket.exists().then_some(()));
        kill(part(world, "keeper", &id).unwrap());
        still_echoes(world, "echo", app, "second");
        let tree = processes::tree(part(world, "anchor", &id).unwrap());
        ends_clean(world, "echo", &id);
        nothing_runs(world, &id, &tree);
    }

    /// At once, so that its keeper cannot have seen it: the anchor does.
    fn the_anchors_socket_is_removed_and_the_keeper_dies(world) {
        let (id, app, folder) = echoing(world, "echo");
        goes_on_without(world, &id, app, || fs::remove_file(folder.join("anchor.sock")).unwrap());
        // Another one in its place is none.
        goes_on_without(world, &id, app, || {
            let other = folder.join("other");
            drop(UnixListener::bind(&other).unwrap());
            fs::rename(&other, folder.join("anchor.sock")).unwrap();
        });
        let tree = processes::tree(part(world, "anchor", &id).unwrap());
        ends_clean(world, "echo", &id);
        nothing_runs(world, &id, &tree);
    }

    fn the_runtime_folder_is_removed_and_the_keeper_dies(world) {
        let (id, app, folder) = echoing(world, "echo");
        goes_on_without(world, &id, app, || world.lose_runtime());
        let tree = processes::tree(part(world, "anchor", &id).unwrap());
        ends_clean(world, "echo", &id);
        nothing_runs(world, &id, &tree);
        assert!(!folder.exists());
    }

    /// Nor is there anybody who would look.
    fn the_runtime_folder_is_removed_after_keeper_and_daemon(world) {
        let (id, app, _) = echoing(world, "echo");
        world.must(&["daemon", "stop"]);
        kill(part(world, "keeper", &id).unwrap());
        world.lose_runtime();
        still_echoes(world, "echo", app, "again");
        ends_clean(world, "echo", &id);
    }

    /// Nobody can ask anyone: the keeper is found and killed, and its anchor asked for another.
    fn all_sockets_are_removed_under_a_stopped_keeper(world) {
        let (id, _, _) = echoing(world, "echo");
        let (other, others, _) = echoing(world, "other");
        let keeper = Process::of(part(world, "keeper", &id).unwrap()).unwrap();
        let tree = processes::tree(part(world, "anchor", &id).unwrap());
        processes::signal(keeper.pid, Signal::STOP);
        processes::eventually("the keeper is stopped", || is_stopped(keeper).then_some(()));
        world.lose_runtime();
        // It is listed, by its id: only its keeper knows its name.
        let listed = world.json(&["ls", "--json"]);
        let found = listed.as_array().unwrap().iter().find(|record| record["id"] == *id);
        assert_eq!(found.unwrap()["state"], "active", "{listed}");
        // What cannot be done says what can.
        world.sessile(&["screen", &id]).refused_with(75, &["socket was removed", "sessile end"]);
        ends_clean(world, &id, &id);
        nothing_runs(world, &id, &tree);
        still_echoes(world, "other", others, "undisturbed");
        ends_clean(world, "other", &other);
    }

    fn a_state_folder_has_one_daemon(world) {
        world.must(&["daemon", "start"]);
        let first = daemon_of(world).unwrap();
        world.sessile(&["daemon", "run"]).refused_with(73, &["another daemon already runs"]);
        let elsewhere = world.folder().join("config/run");
        let mut command = world.command(&["ls"]);
        command.env("SESSILE_RUNTIME_DIR", &elsewhere);
        let runtime = world.runtime();
        world.run(command).refused_with(73, &["already runs in", &runtime.to_string_lossy(), "hint: "]);
        assert_eq!(daemon_of(world), Some(first));
        // Two at once: one stays, the other says so.
        world.must(&["daemon", "stop"]);
        let mut both = [(); 2].map(|()| world.start(&["daemon", "run"], Stdio::null()));
        let lost = processes::eventually("one of two gives up", || {
            both.iter_mut().position(crate::support::Running::has_ended)
        });
        let [one, two] = both;
        let (loser, winner) = if lost == 0 { (one, two) } else { (two, one) };
        loser.finish().refused_with(73, &["another daemon already runs"]);
        assert_eq!(world.must(&["ls", "--json"]).trim(), "[]");
        world.must(&["daemon", "stop"]);
        winner.finish().succeeded();
    }

    /// A daemon that is stopped notices nothing: the next one waits, then says who is in the way.
    fn a_stopped_daemon_without_its_socket_is_named(world) {
        world.must(&["daemon", "start"]);
        let first = daemon_of(world).unwrap();
        processes::signal(first.pid, Signal::STOP);
        fs::remove_file(world.runtime().join("daemon.sock")).unwrap();
        let advice = format!("kill -9 {}", first.pid);
        world.sessile(&["ls"]).refused_with(73, &["does not answer", &advice]);
        kill(first.pid);
        assert_eq!(world.must(&["ls", "--json"]).trim(), "[]");
    }
}

/// A keeper dies while its anchor's socket is gone by `removal`, and the session goes on.
#[track_caller]
fn goes_on_without(world: &World, id: &str, app: Process, removal: impl FnOnce()) {
    let keeper = Process::of(part(world, "keeper", id).unwrap()).unwrap();
    // Stopped first, so that it cannot put the socket back.
    processes::signal(keeper.pid, Signal::STOP);
    processes::eventually("the keeper is stopped", || is_stopped(keeper).then_some(()));
    removal();
    kill(keeper.pid);
    still_echoes(world, "echo", app, "again");
    assert_eq!(world.must(&["exec", "echo", "--", "echo", "inside"]).trim(), "inside");
    assert!(world.must(&["output", "echo"]).contains("again"));
    assert_ne!(part(world, "keeper", id), Some(keeper.pid));
}
