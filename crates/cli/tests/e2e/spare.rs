//! The anchor and keeper that wait for the next session: used once, seen by nobody, and never left.

use std::fs;
use std::process::Stdio;

use rustix::process::Signal;

use crate::support::processes::{self, Cast, daemon_of, eventually, kill};
use crate::support::{TIME_LIMIT, World};

/// The one that waits, once it does and has made ready what it can: its id and its processes.
fn spare(world: &World) -> (String, Cast) {
    eventually("one waits", || {
        let (id, cast) = processes::casts(world).into_iter().find(|(id, _)| is_marked(world, id))?;
        let is_whole = cast.anchor.is_some() && cast.keeper.is_some();
        let room = world.state().join("sessions").join(&id).join("receipt.room");
        (is_whole && room.exists()).then_some((id, cast))
    })
}

fn is_marked(world: &World, id: &str) -> bool {
    world.runtime().join("sessions").join(id).join("spare").exists()
}

/// Neither a process nor a folder is left of it, and no record ever was.
#[track_caller]
fn is_gone(world: &World, id: &str, cast: Cast) {
    for process in [cast.anchor, cast.keeper].into_iter().flatten() {
        let ended = processes::wait_for_end(process.pid, TIME_LIMIT) || !process.runs();
        assert!(ended, "{} runs on", process.line());
    }
    for folder in [world.runtime(), world.state()] {
        let folder = folder.join("sessions").join(id);
        eventually("its folder is removed", || (!folder.exists()).then_some(()));
    }
}

fn ids(world: &World) -> Vec<String> {
    let listed = world.json(&["ls", "--all", "--json"]);
    let id = |record: &serde_json::Value| record["id"].as_str().unwrap().to_owned();
    listed.as_array().unwrap().iter().map(id).collect()
}

/// Two sessions at once that work, each its own.
fn two_at_once(world: &World) -> [String; 2] {
    let names = ["one", "two"];
    let open = |name: &str| {
        world.start(&["run", "--detach", "--name", name, "--", "sleep", "infinity"], Stdio::null())
    };
    for opening in names.map(open) {
        opening.finish().succeeded();
    }
    names.map(|name| {
        assert_eq!(world.must(&["exec", name, "--", "echo", name]).trim(), name);
        world.show(name)["id"].as_str().unwrap().to_owned()
    })
}

/// The namespaces of a kind (`mnt`, `net`) that a process holds.
fn held_namespaces(pid: u32, kind: &str) -> Vec<String> {
    let held = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let links = held.filter_map(|entry| fs::read_link(entry.path()).ok());
    links
        .filter_map(|link| link.to_str().map(str::to_owned))
        .filter(|link| link.strip_prefix(kind).is_some_and(|rest| rest.starts_with(":[")))
        .collect()
}

/// Opens a session when a spare has its namespaces, and says whether they became the session's.
fn takes_namespaces(world: &World, options: &[&str]) -> bool {
    let (waits, cast) = spare(world);
    let keeper = cast.keeper.unwrap().pid;
    let held = eventually("it has namespaces", || {
        Some(held_namespaces(keeper, "mnt")).filter(|held| !held.is_empty())
    });
    let name = format!("of-{}", &waits[24..]);
    let run = [&["run", "--detach", "--name", &name], options, &["--", "sleep", "infinity"]].concat();
    world.must(&run);
    assert_eq!(world.show(&name)["id"], waits.as_str());
    // The keeper lets go of what it does not use.
    let holds = held_namespaces(keeper, "mnt");
    held.iter().all(|held| holds.contains(held))
}

for_root_and_user! {
    fn its_namespaces_become_the_sessions(world) {
        world.open("first", &["sleep", "infinity"]);
        // Not where storage of another size is wanted, nor where something was mounted meanwhile,
        // as another program may do at any time.
        assert!(!takes_namespaces(world, &["--storage", "64M"]));
        assert!((0..5).any(|_| takes_namespaces(world, &[])));
    }

    /// With its rules, and the gateway where what is sent arrives.
    fn its_network_becomes_the_first_apps(world) {
        world.open("first", &["sleep", "infinity"]);
        let takes = |name: &str, options: &[&str]| {
            let (_, cast) = spare(world);
            let keeper = cast.keeper.unwrap().pid;
            let held = eventually("it has a network", || held_namespaces(keeper, "net").pop());
            let run = [&["run", "--detach", "--name", name], options, &["--", "sleep", "infinity"]].concat();
            world.must(&run);
            let app = world.show(name)["apps"][0]["pid"].as_u64().unwrap();
            let own = fs::read_link(format!("/proc/{app}/ns/net")).unwrap();
            held == own.to_str().unwrap()
        };
        // Unless something was mounted meanwhile, as another program may do at any time.
        let taken = (0..5).map(|n| format!("by-name-{n}")).find(|name| takes(name, &["--deny", "*.example"])).unwrap();
        let resolve = "getent ahostsv4 any.example | head -1";
        let address = world.must(&["exec", &taken, "--", "sh", "-c", resolve]);
        assert!(address.starts_with("198.18."), "{address}");
        let asked = world.sessile(&["exec", &taken, "--", "curl", "-sSf", "-m", "20", "http://any.example"]);
        assert_ne!(asked.code, 0);
        let flows = world.must(&["net", &taken]);
        assert!(flows.contains("any.example"), "{flows}");
        // Another app has one of its own.
        world.must(&["exec", &taken, "--app", "other", "--detach", "--", "sleep", "infinity"]);
        let network = |app: &str| {
            world.must(&["exec", &taken, "--app", app, "--", "readlink", "/proc/self/ns/net"]).trim().to_owned()
        };
        assert_ne!(network("main"), network("other"));
        assert!(!takes("closed", &["--route", "none"]));
    }

    fn it_is_used_once_and_shows_nowhere(world) {
        let first = world.open("first", &["sleep", "infinity"]);
        let (waits, _) = spare(world);
        assert_eq!(ids(world), std::slice::from_ref(&first));
        world.sessile(&["show", &waits]).refused_with(66, &[]);
        let second = world.open("second", &["sleep", "infinity"]);
        assert_eq!(second, waits);
        assert!(!is_marked(world, &second));
        let (next, _) = spare(world);
        assert_ne!(next, second);
        assert_eq!(ids(world), [second, first]);
        // It belongs to whom it was given, wiped like any other.
        world.must(&["end", &waits, "--grace", "0s"]);
        assert!(!world.must(&["receipt", &waits, "--verify"]).contains("FAILED"));
    }

    fn of_two_that_open_at_once_one_has_it(world) {
        world.open("first", &["sleep", "infinity"]);
        let (waits, _) = spare(world);
        let opened = two_at_once(world);
        assert_ne!(opened[0], opened[1]);
        assert_eq!(opened.iter().filter(|&id| *id == waits).count(), 1);
    }

    fn it_ends_with_a_daemon_that_is_killed(world) {
        let first = world.open("first", &["sleep", "infinity"]);
        let (waits, cast) = spare(world);
        kill(daemon_of(world).unwrap().pid);
        // By itself: no command has been run.
        is_gone(world, &waits, cast);
        assert!(daemon_of(world).is_none());
        assert_eq!(ids(world), [first]);
    }

    fn it_ends_with_a_daemon_that_stops(world) {
        let first = world.open("first", &["sleep", "infinity"]);
        let (waits, cast) = spare(world);
        world.must(&["daemon", "stop"]);
        for process in [cast.anchor, cast.keeper].into_iter().flatten() {
            assert!(!process.runs(), "{} runs on", process.line());
        }
        is_gone(world, &waits, cast);
        assert_eq!(ids(world), [first]);
    }

    fn one_that_is_killed_holds_up_nobody(world) {
        let mut opened = vec![world.open("first", &["sleep", "infinity"])];
        for (name, victim) in [("second", 0), ("third", 1)] {
            let (waits, cast) = spare(world);
            kill([cast.anchor, cast.keeper][victim].unwrap().pid);
            let id = world.open(name, &["sleep", "infinity"]);
            assert_ne!(id, waits);
            opened.insert(0, id);
            is_gone(world, &waits, cast);
        }
        assert_eq!(ids(world), opened);
    }

    fn one_whose_folder_is_gone_is_not_used(world) {
        world.open("first", &["sleep", "infinity"]);
        for (name, top) in [("second", world.runtime()), ("third", world.state())] {
            let (waits, cast) = spare(world);
            fs::remove_dir_all(top.join("sessions").join(&waits)).unwrap();
            // It takes its time to end: the next one comes after it.
            processes::signal(cast.anchor.unwrap().pid, Signal::STOP);
            assert_ne!(world.open(name, &["sleep", "infinity"]), waits);
            is_gone(world, &waits, cast);
        }
        spare(world);
    }

    fn what_is_left_of_one_is_no_session(world) {
        let first = world.open("first", &["sleep", "infinity"]);
        let (waits, cast) = spare(world);
        // Its keeper cannot see to it, nor can the daemon; its anchor stays, and answers nobody.
        let (anchor, keeper) = (cast.anchor.unwrap(), cast.keeper.unwrap());
        processes::signal(anchor.pid, Signal::STOP);
        processes::signal(keeper.pid, Signal::STOP);
        kill(daemon_of(world).unwrap().pid);
        kill(keeper.pid);
        assert!(anchor.runs());
        assert_eq!(ids(world), [first]);
        is_gone(world, &waits, cast);
    }
}
