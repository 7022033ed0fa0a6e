//! The host's clock jumps while sessions run. It is not set here: keepers are told that it was, by an
//! order for tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Running, World, processes, skip};

/// Has every keeper's wall clock stand so many hours from the host's.
fn jump(file: &Path, hours: i64) {
    // Replaced at once: one that is empty for a moment would be no jump.
    let fresh = file.with_extension("fresh");
    fs::write(&fresh, (hours * 60 * 60 * 1000).to_string()).unwrap();
    fs::rename(fresh, file).unwrap();
}

/// A daemon whose keepers heed the file.
fn begin(world: &World) -> (PathBuf, Running) {
    let file = world.folder().join("clock");
    jump(&file, 0);
    let daemon = world.daemon_with(&format!("clock={}", file.display()));
    (file, daemon)
}

fn closed(world: &World, session: &str) -> serde_json::Value {
    processes::eventually("the session is closed", || {
        let record = world.show(session);
        (record["state"] == "closed").then_some(record)
    })
}

fn open(world: &World, name: &str, options: &[&str]) -> String {
    let run = ["run", "--detach", "--name", name];
    world.must(&[&run, options, &["--", "sleep", "infinity"]].concat());
    world.show(name)["id"].as_str().unwrap().to_owned()
}

for_root_and_user! {
    fn a_clock_that_jumps_ends_no_session_and_no_question(world) {
        let (file, daemon) = begin(world);
        let id = open(world, "long", &["--ttl", "2h", "--idle-timeout", "2h"]);
        let ask = "exec 3<>/dev/tcp/unknown.example/80";
        world.must(&["exec", "long", "--detach", "--", "bash", "-c", ask]);
        let is_asked = || world.must(&["questions", "long"]).contains("unknown.example");
        processes::eventually("somebody is asked", || is_asked().then_some(()));
        for hours in [5, -5, 7] {
            jump(&file, hours);
            // A keeper's turn, and then a successor's.
            world.must(&["exec", "long", "--", "true"]);
            processes::kill(processes::part(world, "keeper", &id).unwrap());
            world.must(&["exec", "long", "--", "true"]);
            assert_eq!(world.show("long")["state"], "active", "{hours} h");
            assert!(is_asked(), "the question is gone");
        }
        world.must(&["end", "long", "--grace", "0s"]);
        world.must(&["daemon", "stop"]);
        daemon.finish().ended_with(0);
    }

    fn a_clock_that_goes_back_puts_no_end_off_and_no_probe(world) {
        let (file, daemon) = begin(world);
        let short = open(world, "short", &["--ttl", "3s"]);
        let probed = open(world, "probed", &[]);
        let app = world.main_pid("probed");
        jump(&file, -5);
        let record = closed(world, &short);
        assert!(record["outcome"].to_string().contains("time_to_live"), "{record:#}");
        if rustix::process::getuid().is_root() {
            let flush = ["--target", &app.to_string(), "--net", "nft", "flush", "ruleset"];
            assert!(Command::new("nsenter").args(flush).status().unwrap().success());
            let outcome = closed(world, &probed)["outcome"].to_string();
            assert!(outcome.contains("failed") && outcome.contains("routing"), "{outcome}");
        } else {
            skip("rules are taken away by root alone");
            world.must(&["end", "probed", "--grace", "0s"]);
        }
        world.must(&["daemon", "stop"]);
        daemon.finish().ended_with(0);
    }
}
