//! Finding sessions: listing, showing, names, prefixes.

use crate::support::World;
use crate::support::processes::eventually;

fn names(world: &World, arguments: &[&str]) -> Vec<String> {
    let listed = world.json(arguments);
    let records = listed.as_array().unwrap().iter();
    let mut names: Vec<_> = records.filter_map(|record| record["name"].as_str().map(str::to_owned)).collect();
    names.sort();
    names
}

for_root_and_user! {
    fn nothing_is_listed_at_first(world) {
        assert_eq!(world.json(&["ls", "--json"]), serde_json::json!([]));
    }

    fn a_record_says_what_there_is(world) {
        let id = world.open("one", &["sleep", "infinity"]);
        let record = world.show("one");
        assert_eq!(record["id"], id);
        assert_eq!(record["name"], "one");
        assert_eq!(record["state"], "active");
        assert_eq!(record["phase"], "active");
        assert_eq!(record["clients"], 0);
        assert_eq!(record["apps"][0]["name"], "main");
        assert_eq!(record["apps"][0]["argv"], serde_json::json!(["sleep", "infinity"]));
        assert_eq!(record["grants"][0]["kind"], "project");
        for property in ["routing", "identity", "sandbox", "amnesia"] {
            let status = &record["properties"][property];
            assert!(!status["evidence"].as_array().unwrap().is_empty(), "{property}: {status}");
        }
        let measured_apart = |mut record: serde_json::Value| {
            record["usage"].take();
            record
        };
        let by_id = measured_apart(world.show(&id));
        assert_eq!(measured_apart(record.clone()), by_id, "by its id it is the same");
        assert_eq!(record["id"], world.show(&id[..30])["id"], "and by the start of its id");
        assert_eq!(names(world, &["ls", "--json"]), ["one"]);
        assert!(world.must(&["ls"]).contains("one"));
    }

    fn sessions_are_found_by_whose_they_are(world) {
        let detached = ["run", "--detach", "--name"];
        let command = ["--", "sleep", "infinity"];
        let open = |name: &str, more: &[&str]| {
            let arguments: Vec<&str> = detached.iter().chain(&[name]).chain(more).chain(&command).copied().collect();
            world.must(&arguments);
        };
        open("a", &["--user", "ann", "--channel", "c1", "--chat", "t1", "--label", "team=red"]);
        open("b", &["--user", "bob", "--channel", "c1", "--label", "team=blue"]);
        assert_eq!(names(world, &["find", "--user", "ann", "--json"]), ["a"]);
        assert_eq!(names(world, &["find", "--channel", "c1", "--json"]), ["a", "b"]);
        assert_eq!(names(world, &["find", "--channel", "c1", "--label", "team=blue", "--json"]), ["b"]);
        assert_eq!(names(world, &["find", "--chat", "none", "--json"]), [""; 0]);
    }

    fn a_name_is_taken_until_its_session_ends(world) {
        world.open("only", &["sleep", "infinity"]);
        world.sessile(&["run", "--detach", "--name", "only", "--", "true"]).refused_with(73, &["only"]);
        world.must(&["end", "only", "--grace", "0s"]);
        world.open("only", &["sleep", "infinity"]);
    }

    fn an_unknown_session_is_said(world) {
        for command in ["show", "screen", "output", "pause", "end", "receipt"] {
            world.sessile(&[command, "nobody"]).refused_with(66, &["nobody"]);
        }
        world.sessile(&["exec", "nobody", "--", "true"]).refused_with(66, &["nobody"]);
    }

    fn a_prefix_must_mean_one_session(world) {
        world.open("twin-a", &["sleep", "infinity"]);
        world.open("twin-b", &["sleep", "infinity"]);
        world.sessile(&["show", "twin-"]).refused_with(65, &["twin-a", "twin-b"]);
        assert_eq!(world.show("twin-b")["name"], "twin-b");
        world.must(&["end", "twin-a", "--grace", "0s"]);
        assert_eq!(world.show("twin-")["name"], "twin-b", "the only one left");
    }

    fn pausing_freezes_and_resuming_goes_on(world) {
        let script = "i=0; while :; do i=$((i + 1)); echo $i; sleep 0.02; done";
        world.open("clock", &["sh", "-c", script]);
        world.must(&["wait", "clock", "--pattern", "3", "--timeout", "30s"]);
        world.must(&["pause", "clock"]);
        assert_eq!(world.show("clock")["state"], "paused");
        let frozen = world.json(&["output", "clock", "--json"])["end"].as_u64();
        assert_eq!(world.sessile(&["wait", "clock", "--quiet", "300ms", "--timeout", "10s"]).code, 0);
        assert_eq!(world.json(&["output", "clock", "--json"])["end"].as_u64(), frozen, "a frozen app wrote");
        world.must(&["resume", "clock"]);
        assert_eq!(world.show("clock")["state"], "active");
        let since = frozen.unwrap().to_string();
        eventually("the thawed app writes again", || {
            let text = world.must(&["output", "clock", "--since", &since]);
            (!text.is_empty()).then_some(())
        });
    }

    fn every_command_has_help(world) {
        let commands = [
            "run", "attach", "ls", "show", "find", "exec", "screen", "output", "type", "wait", "diff", "apply",
            "pause", "resume", "end", "receipt", "export", "doctor", "config", "daemon",
        ];
        for command in commands {
            assert!(world.must(&[command, "--help"]).contains("Usage"), "{command}");
        }
    }

    fn the_doctor_speaks_of_every_property(world) {
        let finished = world.sessile(&["doctor"]);
        for property in ["routing", "identity", "sandbox", "amnesia"] {
            assert!(finished.text().to_lowercase().contains(property), "{}", finished.text());
        }
        // Of the folders that are used, not of others.
        for folder in [world.runtime(), world.state()] {
            assert!(finished.text().contains(folder.to_str().unwrap()), "{}", finished.text());
        }
        let below_a_file = world.write("file", "").join("state");
        let finished = world.sessile_where("SESSILE_STATE_DIR", &below_a_file, &["doctor"]);
        finished.ended_with(1);
        let missing = format!("MISSING  state folder ({} cannot be used", below_a_file.display());
        assert!(finished.text().contains(&missing), "{}", finished.text());
    }
}
