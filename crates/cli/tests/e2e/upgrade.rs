//! Sessions of the version before, under this one: found, used, taken over and wiped.
//!
//! The version before is this program with another number in it. What it leaves on the disk, in
//! memory and on its sockets is therefore what this one leaves; what earlier versions left is
//! held by the files in `version_1/` of model, session, keeper and journal.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::support::World;
use crate::support::processes::{self, Process, kill, part};

/// The version of this program.
const THIS: &str = env!("CARGO_PKG_VERSION");

/// The number before this one's, of the same length.
fn before() -> String {
    let digits: String = THIS.chars().filter(char::is_ascii_digit).collect();
    let number = digits.parse::<u64>().unwrap() - 1;
    let mut digits = format!("{number:0width$}", width = digits.len()).into_bytes().into_iter();
    let swap = |c: char| if c.is_ascii_digit() { digits.next().unwrap().into() } else { c };
    THIS.chars().map(swap).collect()
}

/// This program with another number in it, and in the programs that it embeds.
fn program_of(version: &str) -> Vec<u8> {
    let mut program = this_program();
    let (old, new) = (THIS.as_bytes(), version.as_bytes());
    assert_eq!(old.len(), new.len());
    let mut at = 0;
    while let Some(found) = program[at..].windows(old.len()).position(|bytes| bytes == old) {
        at += found;
        program[at..at + new.len()].copy_from_slice(new);
    }
    program
}

fn this_program() -> Vec<u8> {
    fs::read(env!("CARGO_BIN_EXE_sessile")).unwrap()
}

/// The version that a receipt says has wiped.
#[track_caller]
fn wiped_by(world: &World, session: &str) -> String {
    world.must(&["receipt", session, "--verify"]);
    let signed = world.json(&["receipt", session, "--json"]);
    let payload = STANDARD.decode(signed["payload"].as_str().unwrap()).unwrap();
    let receipt: Value = serde_json::from_slice(&payload).unwrap();
    receipt["program"].as_str().unwrap().to_owned()
}

fn daemon_version(world: &World) -> Value {
    world.json(&["daemon", "status", "--json"])["version"].clone()
}

/// What is typed comes back, from the same app.
#[track_caller]
fn echoes(world: &World, app: Process, word: &str) {
    world.must(&["type", "desk", word, "--key", "enter"]);
    world.must(&["wait", "desk", "--pattern", word, "--timeout", "30s"]);
    assert_eq!(Process::of(world.main_pid("desk")), Some(app), "the app is another");
}

for_root_and_user! {
    fn sessions_of_the_version_before_go_on(world) {
        let before = before();
        world.install(&program_of(&before));
        let id = world.open("desk", &["cat"]);
        let app = Process::of(world.main_pid("desk")).unwrap();
        world.must(&["exec", "desk", "--", "sh", "-c", "echo kept > /home/user/file"]);
        echoes(world, app, "first");
        let mut terminal = world.terminal(&["attach", "desk"]);
        terminal.expect("first");
        // It is another version, in all its parts.
        assert_eq!(daemon_version(world), *before);
        let early = world.open("early", &["cat"]);
        world.must(&["end", "early", "--grace", "0s"]);
        assert_eq!(wiped_by(world, &early), before);
        let other = world.open("other", &["cat"]);
        let paused = world.open("paused", &["cat"]);
        world.must(&["pause", "paused"]);
        let unchanged = ["id", "name", "state", "created_at", "grants", "limits", "claim_level"];
        let record = world.show("desk");

        world.must(&["daemon", "stop"]);
        world.install(&this_program());
        let keeper = part(world, "keeper", &id).unwrap();

        // Found, by name, as they were.
        assert_eq!(world.json(&["ls", "--json"]).as_array().unwrap().len(), 3);
        assert_eq!(daemon_version(world), THIS);
        let now = world.show("desk");
        for field in unchanged {
            assert_eq!(now[field], record[field], "{field}");
        }
        // Used, through the keeper of the version before.
        echoes(world, app, "second");
        terminal.expect("second");
        let output = world.must(&["output", "desk", "--raw"]);
        assert!(output.contains("first") && output.contains("second"), "{output}");
        assert_eq!(world.must(&["exec", "desk", "--", "cat", "/home/user/file"]), "kept\n");
        assert_eq!(part(world, "keeper", &id), Some(keeper));
        // Wiped by it.
        world.must(&["end", "other", "--grace", "0s"]);
        assert_eq!(wiped_by(world, &other), before);
        world.must(&["resume", "paused"]);
        world.must(&["end", "paused", "--grace", "0s"]);
        assert_eq!(wiped_by(world, &paused), before);
        // The old receipt is there and good.
        assert_eq!(wiped_by(world, &early), before);

        // Taken over: the next keeper is this version's.
        kill(keeper);
        echoes(world, app, "third");
        let next = processes::eventually("another keeper runs", || part(world, "keeper", &id));
        assert_ne!(next, keeper);
        // A client of the version before stays attached, one of this version sees the same.
        terminal.expect("third");
        terminal.send("\u{1c}");
        assert_eq!(terminal.finish(), 0);
        let mut terminal = world.terminal(&["attach", "desk"]);
        terminal.expect("third");
        terminal.send("\u{1c}");
        assert_eq!(terminal.finish(), 0);
        let output = world.must(&["output", "desk", "--raw"]);
        assert!(["first", "second", "third"].iter().all(|word| output.contains(word)), "{output}");
        assert_eq!(world.must(&["exec", "desk", "--", "cat", "/home/user/file"]), "kept\n");

        // Wiped by this one.
        world.must(&["end", "desk", "--grace", "0s"]);
        assert_eq!(wiped_by(world, &id), THIS);
        let record = world.show(&id);
        assert_eq!(record["outcome"]["kind"], "ended", "{record}");
        assert!(!app.runs());
    }

    /// The daemon and the keeper die with the upgrade: the first command finds the session all the
    /// same.
    fn a_session_of_the_version_before_is_taken_over_at_once(world) {
        world.install(&program_of(&before()));
        let id = world.open("desk", &["cat"]);
        let app = Process::of(world.main_pid("desk")).unwrap();
        echoes(world, app, "first");
        kill(processes::daemon_of(world).unwrap().pid);
        kill(part(world, "keeper", &id).unwrap());
        world.install(&this_program());
        echoes(world, app, "second");
        world.must(&["end", "desk", "--grace", "0s"]);
        assert_eq!(wiped_by(world, &id), THIS);
    }
}
