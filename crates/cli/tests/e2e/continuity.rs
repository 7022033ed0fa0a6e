//! What a session's apps and clients notice of kills: nothing.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::time::{Duration, Instant};

use crate::support::World;
use crate::support::processes::{self, kill};

/// Numbers without end, one a line.
const COUNTER: &str = "i=0; while :; do i=$((i + 1)); echo n$i; sleep 0.002; done";

/// Kills the session's keeper and waits for the next one.
fn replace_keeper(world: &World, id: &str) {
    let keeper = processes::casts(world)[id].keeper.unwrap();
    kill(keeper.pid);
    processes::eventually("another keeper runs", || {
        processes::casts(world).get(id)?.keeper.filter(|next| *next != keeper)
    });
}

fn numbers(text: &str) -> Vec<u64> {
    text.lines().filter_map(|line| line.trim().strip_prefix('n')?.parse().ok()).collect()
}

#[track_caller]
fn is_consecutive(numbers: &[u64]) {
    assert!(numbers.len() > 10, "{numbers:?}");
    let broken = numbers.windows(2).find(|pair| pair[1] != pair[0] + 1);
    assert!(broken.is_none(), "a gap or a repeat at {broken:?}");
}

for_root_and_user! {
    fn output_has_no_gap_and_no_repeat(world) {
        let id = world.open("terminal", &["sh", "-c", COUNTER]);
        let mut piped = world.start(&["run", "--name", "piped", "--", "sh", "-c", COUNTER], std::process::Stdio::null());
        let mut output = piped.take_output();
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            output.read_to_end(&mut bytes).map(|_| bytes)
        });
        let piped_id = processes::eventually("the other session is known", || {
            let shown = world.sessile(&["show", "piped", "--json"]);
            let record: serde_json::Value = serde_json::from_str(&shown.text()).ok()?;
            (record["state"] == "active").then(|| record["id"].as_str().unwrap().to_owned())
        });
        let mut terminal = world.terminal(&["attach", "terminal"]);
        let mut since = 0;
        let mut text = String::new();
        // The daemon gives a session up when keepers die more often than five times a minute.
        for _ in 0..4 {
            replace_keeper(world, &id);
            replace_keeper(world, &piped_id);
            let end = world.json(&["output", "terminal", "--json"])["end"].as_u64().unwrap();
            text += &world.must(&["output", "terminal", "--raw", "--since", &since.to_string()]);
            since += u64::try_from(text.len()).unwrap() - since;
            assert!(since >= end, "output ends before its end");
            terminal.expect("n");
        }
        is_consecutive(&numbers(&text));
        // The client that was there all the time goes on by itself.
        let seen = numbers(&text).last().copied().unwrap();
        terminal.expect(&format!("n{}", seen + 50));
        terminal.send("\u{1c}");
        assert_eq!(terminal.finish(), 0);
        world.must(&["end", "piped", "--grace", "0s"]);
        drop(piped.finish());
        let bytes = reader.join().unwrap().unwrap();
        let all = numbers(&String::from_utf8(bytes).unwrap());
        assert_eq!(all.first(), Some(&1));
        is_consecutive(&all);
    }

    fn what_is_typed_arrives_once(world) {
        let script = "stty -echo; echo ready; while read line; do echo got-$line; done";
        let id = world.open("typist", &["sh", "-c", script]);
        world.must(&["wait", "typist", "--pattern", "ready", "--timeout", "30s"]);
        let mut terminal = world.terminal(&["attach", "typist"]);
        terminal.expect("ready");
        for round in 0..4 {
            let keeper = processes::casts(world)[&id].keeper.unwrap();
            for word in 0..50 {
                terminal.send(&format!("{round}-{word}\r"));
                if word == 25 {
                    kill(keeper.pid);
                }
            }
            terminal.expect(&format!("got-{round}-49"));
        }
        let text = world.must(&["output", "typist", "--raw"]);
        let got: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("got-")).collect();
        let distinct: BTreeSet<&str> = got.iter().copied().collect();
        assert_eq!(distinct.len(), got.len(), "something arrived twice: {got:?}");
        // Only what a keeper had read and not written yet may be lost, which is one read, and then it is said.
        let mut holes = 0;
        for round in 0..4 {
            let missing: Vec<u32> =
                (0..50).filter(|word| !distinct.contains(format!("{round}-{word}").as_str())).collect();
            let in_a_row = missing.windows(2).all(|pair| pair[1] == pair[0] + 1);
            assert!(in_a_row, "more than one read was lost in round {round}: {missing:?}");
            holes += usize::from(!missing.is_empty());
        }
        processes::eventually("what was lost is said", || {
            (terminal.text().matches("uncertain").count() >= holes).then_some(())
        });
        terminal.send("\u{1c}");
        assert_eq!(terminal.finish(), 0);
    }

    fn what_was_acknowledged_lasts(world) {
        for round in 0..5 {
            let name = format!("lasting-{round}");
            let id = world.open(&name, &["sleep", "infinity"]);
            let daemon = u32::try_from(world.json(&["daemon", "status", "--json"])["pid"].as_u64().unwrap()).unwrap();
            let cast = processes::casts(world)[&id];
            for pid in [Some(daemon), cast.anchor.map(|p| p.pid), cast.keeper.map(|p| p.pid)].into_iter().flatten() {
                processes::kill_quietly(pid);
            }
            let record = processes::eventually("the record is closed", || {
                let listed = world.json(&["ls", "--all", "--json"]);
                let record = listed.as_array().unwrap().iter().find(|record| record["id"] == *id).cloned();
                let record = record.unwrap_or_else(|| panic!("{name} is forgotten: {listed}"));
                (record["state"] == "closed").then_some(record)
            });
            assert_eq!(record["outcome"]["kind"], "failed", "{record}");
            world.must(&["receipt", &id, "--verify"]);
        }
    }

    fn how_long_it_takes(world) {
        const COUNT: usize = 100;
        let opened: Vec<_> = (0..COUNT)
            .map(|number| {
                let name = format!("many-{number}");
                world.start(&["run", "--detach", "--name", &name, "--", "sleep", "infinity"], std::process::Stdio::null())
            })
            .collect();
        opened.into_iter().for_each(|opening| drop(opening.finish().succeeded()));
        let id = world.show("many-0")["id"].as_str().unwrap().to_owned();
        let adopt = |what: &str| {
            let daemon = u32::try_from(world.json(&["daemon", "status", "--json"])["pid"].as_u64().unwrap()).unwrap();
            kill(daemon);
            let began = Instant::now();
            let daemon = world.start(&["daemon", "run"], std::process::Stdio::null());
            let socket = world.runtime().join("daemon.sock");
            while std::os::unix::net::UnixStream::connect(&socket).is_err() {
                assert!(began.elapsed() < Duration::from_secs(60), "no daemon");
                std::thread::sleep(Duration::from_micros(200));
            }
            let listening = began.elapsed();
            let listed = world.json(&["ls", "--json"]).as_array().unwrap().len();
            eprintln!("{what}: listens after {listening:?}, lists {listed} after {:?}", began.elapsed());
            daemon
        };
        let daemon = adopt("a daemon that finds 100 sessions");
        let began = Instant::now();
        kill(processes::casts(world)[&id].keeper.unwrap().pid);
        let killed = Instant::now();
        world.must(&["output", "many-0", "--raw"]);
        eprintln!("a keeper's replacement: {:?} after its end, {:?} in all", killed.elapsed(), began.elapsed());
        world.must(&["end", "--all", "--grace", "0s"]);
        world.must(&["daemon", "stop"]);
        drop(daemon);
        let one = world.open("one", &["sleep", "infinity"]);
        drop(adopt("a daemon that finds 1 session"));
        world.must(&["end", &one, "--grace", "0s"]);
    }
}

/// A request waits no longer than that for an app that reads nothing, and says what was taken.
#[test]
fn what_nobody_reads_is_given_up() {
    crate::support::as_own(|world| {
        let script = "stty raw -echo; echo ready; until [ -e /tmp/go ]; do sleep 0.1; done; exec cat -v";
        world.open("deaf", &["sh", "-c", script]);
        world.must(&["wait", "deaf", "--pattern", "ready", "--timeout", "30s"]);
        let refused = world.sessile(&["type", "deaf", &"x".repeat(60_000)]);
        refused.refused_with(124, &["main has taken", "of the last 60000 bytes", "reads no input now"]);
        // What comes later does not stand behind what was given up.
        world.must(&["exec", "deaf", "--", "touch", "/tmp/go"]);
        world.must(&["type", "deaf", "later"]);
        world.must(&["wait", "deaf", "--pattern", "xlater", "--timeout", "30s"]);
    });
}
