//! What is said of an end: to who watches, and in the record.

use std::process::Stdio;

use crate::support::World;
use crate::support::processes::{self, kill, part};

/// The newest session's record.
fn newest(world: &World) -> serde_json::Value {
    world.json(&["ls", "--all", "--json"])[0].clone()
}

for_root_and_user! {
    fn a_deadline_that_ends_a_session_is_said(world) {
        let finished = world.sessile(&["run", "--ttl", "4s", "--", "sleep", "infinity"]);
        finished.ended_with(143);
        assert_eq!(finished.err.matches("its ttl of 4s passed").count(), 1, "{}", finished.err);
        assert_eq!(newest(world)["outcome"]["by"], "time_to_live");
        // Nobody watches one that is idle.
        world.must(&["run", "--detach", "--name", "idle", "--idle-timeout", "1s", "--", "sleep", "infinity"]);
        let id = newest(world)["id"].as_str().unwrap().to_owned();
        let shown = processes::eventually("it ends", || {
            Some(world.must(&["show", &id])).filter(|shown| shown.contains("closed"))
        });
        assert!(shown.contains("nothing happened for its idle timeout of 1s"), "{shown}");
        // A command that joined it is told as well.
        world.must(&["run", "--detach", "--name", "brief", "--ttl", "4s", "--", "sleep", "infinity"]);
        let follower = world.start(&["output", "brief", "--follow"], Stdio::null());
        let finished = world.sessile(&["exec", "brief", "--", "sleep", "infinity"]);
        assert!(finished.err.contains("its ttl of 4s passed"), "{}", finished.err);
        let followed = follower.finish();
        followed.ended_with(0);
        assert!(followed.err.contains("its ttl of 4s passed"), "{}", followed.err);
    }

    /// Wherever its opener is at that moment: it is told why.
    fn a_deadline_that_passes_while_one_opens_is_said(world) {
        for ttl in ["1ms", "6ms", "9ms", "12ms", "15ms", "20ms"] {
            let finished = world.sessile(&["run", "--ttl", ttl, "--", "sleep", "infinity"]);
            assert!([75, 143].contains(&finished.code), "{}: {}", finished.code, finished.err);
            assert!(finished.err.contains(&format!("its ttl of {ttl} passed")), "{}", finished.err);
        }
        for record in world.json(&["ls", "--all", "--json"]).as_array().unwrap() {
            assert_eq!(record["outcome"]["by"], "time_to_live", "{record}");
        }
    }

    fn an_end_of_the_commands_own_needs_no_word(world) {
        assert_eq!(world.sessile(&["run", "--", "sh", "-c", "kill -9 $$"]).ended_with(137).err, "");
        assert_eq!(world.sessile(&["run", "--", "true"]).ended_with(0).err, "");
    }

    fn the_memory_cap_is_said(world) {
        // `tail` keeps the last line, which never ends.
        let finished = world.sessile(&["run", "--memory", "40M", "--", "tail", "/dev/zero"]);
        if finished.code == 69 {
            return crate::support::skip("no control group limits memory here");
        }
        finished.ended_with(137);
        assert_eq!(finished.err.matches("memory cap was reached").count(), 1, "{}", finished.err);
        let note = newest(world)["apps"][0]["note"].to_string();
        assert!(note.contains("memory cap"), "{note}");
        assert_eq!(newest(world)["outcome_detail"], "its memory cap of 40 MiB was reached");
        let id = newest(world)["id"].as_str().unwrap().to_owned();
        let told = world.must(&["receipt", &id]);
        assert!(told.contains("ended (its command exited; its memory cap of 40 MiB was reached)"), "{told}");
    }

    /// Whether or not a control group counts it.
    fn the_memory_in_use_is_shown(world) {
        let id = world.open("filled", &["sh", "-c", "x=$(head -c 8000000 /dev/zero | tr '\\0' x); echo full; cat"]);
        world.must(&["wait", &id, "--pattern", "full", "--timeout", "30s"]);
        let used = world.show(&id)["usage"]["memory"].as_u64().unwrap();
        assert!((8_000_000..200_000_000).contains(&used), "{used}");
        let shown = world.must(&["show", &id]);
        assert!(!shown.contains("not accounted for here"), "{shown}");
        assert!(world.show(&id)["usage"]["cpu_ms"].is_u64());
    }

    /// A command that ended when it was asked to is not said to be killed, however late its init tells.
    fn how_a_command_ended_is_waited_for(world) {
        let running = world.start(&["run", "--name", "asked", "--", "sleep", "infinity"], Stdio::null());
        let app = processes::eventually("it runs", || {
            let record = world.json(&["ls", "--json"])[0].clone();
            record["apps"][0]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok())
        });
        let init = processes::all()[&app];
        processes::signal(init, rustix::process::Signal::STOP);
        let end = world.start(&["end", "asked"], Stdio::null());
        assert!(processes::wait_for_end(app, crate::support::TIME_LIMIT));
        // Time for the keeper to look, more than once.
        std::thread::sleep(std::time::Duration::from_millis(200));
        processes::signal(init, rustix::process::Signal::CONT);
        end.finish().ended_with(0);
        running.finish().ended_with(143);
    }

    fn an_anchor_that_dies_under_a_client_is_said_once(world) {
        let terminal = world.terminal(&["run", "--name", "doomed", "--", "sh", "-c", "echo ready; exec cat"]);
        terminal.expect("ready");
        let id = world.show("doomed")["id"].as_str().unwrap().to_owned();
        kill(part(world, "anchor", &id).unwrap());
        terminal.expect("failed: anchor");
        let said = terminal.text();
        assert_eq!(terminal.finish(), 75);
        assert!(!said.contains("ended, wiped"), "{said}");
    }

    fn an_end_that_nobody_saw_is_said_to_be_unknown(world) {
        let id = world.open("lost", &["sleep", "infinity"]);
        let (anchor, keeper) = (part(world, "anchor", &id).unwrap(), part(world, "keeper", &id).unwrap());
        world.must(&["daemon", "stop"]);
        processes::signal(keeper, rustix::process::Signal::STOP);
        kill(anchor);
        kill(keeper);
        let record = processes::eventually("the record is closed", || {
            Some(world.show(&id)).filter(|record| record["state"] == "closed")
        });
        assert_eq!(record["apps"][0]["exit"], serde_json::Value::Null);
        assert!(record["apps"][0]["note"].as_str().unwrap().contains("not known"), "{record}");
        assert!(world.must(&["show", &id]).contains("end unknown"));
    }
}
