//! Recordings: begun, exported, replayed, and gone with their session.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::Value;

use crate::support::processes::{self, Process, kill};
use crate::support::rehearsal::storage_of;
use crate::support::{World, skip};
use crate::wipe::receipt;

const DETACH: &str = "\u{1c}";

/// A recording that an independent parser has read.
struct Cast {
    header: Value,
    /// Code and data of each event.
    events: Vec<(String, String)>,
}

impl Cast {
    #[track_caller]
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.ends_with('\n'), "the last line is cut: {text}");
        let mut lines = text.lines();
        let header: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
        assert_eq!(header["version"], 3, "{header}");
        assert!(header["timestamp"].as_i64().unwrap() > 1_600_000_000, "{header}");
        let event = |line: &str| {
            let event: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
            let event = event.as_array().unwrap();
            assert!(event.len() == 3 && event[0].as_f64().unwrap() >= 0.0, "{line}");
            (event[1].as_str().unwrap().to_owned(), event[2].as_str().unwrap().to_owned())
        };
        Self { header, events: lines.map(event).collect() }
    }

    /// All data of events with this code.
    fn all(&self, code: &str) -> Vec<&str> {
        self.events.iter().filter(|(c, _)| c == code).map(|(_, data)| &**data).collect()
    }

    fn output(&self) -> String {
        self.all("o").concat()
    }
}

/// Opens a detached session that is recorded.
fn record(world: &World, name: &str, options: &[&str], script: &str) -> String {
    let run = ["run", "--detach", "--name", name];
    world.must(&[&run[..], options, &["--", "sh", "-c", script]].concat());
    world.show(name)["id"].as_str().unwrap().to_owned()
}

fn wait(world: &World, name: &str, pattern: &str) {
    world.must(&["wait", name, "--pattern", pattern, "--timeout", "30s"]);
}

fn export(world: &World, name: &str, file: &str) -> Cast {
    world.must(&["export", name, "--recording", file]);
    Cast::read(&world.project().join(file))
}

/// What became of the recording of main, as the record says.
fn state(record: &Value) -> Option<String> {
    let grants = record["grants"].as_array().unwrap();
    let found: Vec<&Value> = grants.iter().filter(|grant| grant["kind"] == "recording").collect();
    assert!(found.len() <= 1, "{record}");
    Some(found.first()?["state"].as_str().unwrap().to_owned())
}

/// What a terminal of this size shows of these bytes, without blank lines.
fn shown(bytes: &[u8], cols: u16, rows: u16) -> Vec<String> {
    let mut terminal = sessile_terminal::Terminal::new(sessile_model::spec::WindowSize { cols, rows }, 100);
    terminal.feed(bytes);
    let text = terminal.text();
    text.lines().map(|line| line.trim_end().to_owned()).filter(|line| !line.is_empty()).collect()
}

for_root_and_user! {
    /// Who follows a recording misses nothing, however late it reads, also past a keeper's death.
    fn who_follows_it_misses_nothing(world) {
        let id = record(world, "long", &["--record", "--keep"], "seq 1 300000; read go; echo at the end");
        let mut follower = world.start(&["output", "long", "--follow", "--lossless"], std::process::Stdio::null());
        let mut output = follower.take_output();
        // It is not read meanwhile, and far more is written than the ring holds.
        wait(world, "long", "^300000$");
        kill(processes::part(world, "keeper", &id).unwrap());
        world.must(&["type", "long", "go", "--key", "enter"]);
        world.must(&["wait", "long", "--exit", "--timeout", "60s"]);
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        follower.finish().succeeded();
        let numbers = text.lines().filter_map(|line| line.trim().parse::<u32>().ok());
        assert!(numbers.eq(1..=300_000), "a number is missing, or comes twice");
        assert!(text.ends_with("at the end\r\n"), "{:?}", text.lines().last());
        // Without a recording that is refused, with what would make one.
        record(world, "other", &[], "exec cat");
        for command in [&["output", "other", "--follow", "--lossless"][..], &["attach", "other", "--lossless"]] {
            let refused = world.sessile(command);
            refused.refused_with(66, &["no recording of main", "record SESSION start"]);
        }
        // One that is stopped ends who follows it, and says that more may come.
        world.must(&["record", "other", "start"]);
        let follower = world.start(&["output", "other", "--follow", "--lossless"], std::process::Stdio::null());
        world.must(&["type", "other", "seen", "--key", "enter"]);
        wait(world, "other", "(?s)seen.*seen");
        world.must(&["record", "other", "stop"]);
        let stopped = follower.finish();
        stopped.refused_with(75, &["it was stopped"]);
        assert!(stopped.text().contains("seen"), "{:?}", stopped.text());
    }

    /// A client that records is never drawn a screen in place of what it has not read yet.
    fn a_recorder_that_attaches_gets_every_byte(world) {
        record(world, "long", &["--record", "--keep"], "seq 1 300000; read go; echo at the end");
        let mut recorder = world.start(&["attach", "long", "--lossless"], std::process::Stdio::null());
        let mut output = recorder.take_output();
        wait(world, "long", "^300000$");
        world.must(&["type", "long", "go", "--key", "enter"]);
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        recorder.finish().succeeded();
        let lines: Vec<&str> = text.lines().collect();
        let numbers = lines.iter().filter_map(|line| line.parse::<u32>().ok());
        assert!(numbers.eq(1..=300_000), "a number is missing, or comes twice");
        assert!(lines.last() == Some(&"at the end") && lines[0] == "1", "{:?}", lines.last());
        // On a terminal it is somebody who looks.
        let terminal = world.terminal(&["attach", "long", "--lossless"]);
        terminal.expect("--lossless is for recorders");
        assert_eq!(terminal.finish(), 64);
    }

    /// `record` in config.toml is the default of `run --record`, for what has a terminal.
    fn by_default(world) {
        let file = world.folder().join("config/sessile/config.toml");
        fs::create_dir(file.parent().unwrap()).unwrap();
        fs::write(&file, "[run]\nrecord = true\n[profiles.quiet]\nrecord = false\n").unwrap();
        let is_recorded = |name: &str| {
            let record = world.show(name);
            record["grants"].as_array().unwrap().iter().any(|grant| grant["kind"] == "recording")
        };
        record(world, "loud", &[], "echo shown; exec cat");
        wait(world, "loud", "shown");
        assert!(is_recorded("loud"));
        let cast = world.project().join("loud.cast");
        world.must(&["export", "loud", "--recording", cast.to_str().unwrap()]);
        assert!(Cast::read(&cast).output().starts_with("shown"), "from the first byte");
        record(world, "hushed", &["--profile", "quiet"], "exec cat");
        assert!(!is_recorded("hushed"));
        // No terminal, no recording, no complaint.
        assert_eq!(world.must(&["run", "--", "echo", "piped"]), "piped\n");
        world.must(&["run", "--detach", "--name", "empty"]);
        assert!(!is_recorded("empty"));
    }

    fn a_recording_is_whole_and_replayed(world) {
        let script = r"stty -echo; printf 'one\n'; read x; stty size; printf '\033[1;31mtwo\033[0m ü€\n'
            read y; printf '\342'; sleep 0.1; printf '\202'; sleep 0.1; printf '\254\nlast\033[3;7Hline'; exit 3";
        record(world, "rec", &["--record"], script);
        wait(world, "rec", "one");
        assert_eq!(state(&world.show("rec")).as_deref(), Some("running"));
        let mut terminal = world.terminal(&["attach", "rec"]);
        terminal.expect("main is recorded");
        terminal.resize(100, 30);
        processes::eventually("the size arrives", || (world.show("rec")["apps"][0]["cols"] == 100).then_some(()));
        terminal.send("secret\r");
        terminal.expect("30 100");
        terminal.expect("two ü€");
        terminal.send(DETACH);
        assert_eq!(terminal.finish(), 0);
        world.must(&["type", "rec", "hush\n"]);
        let screen = processes::eventually("the end is noted", || {
            (state(&world.show("rec")).as_deref() == Some("ended")).then(|| world.json(&["screen", "rec", "--json"]))
        });

        let cast = export(world, "rec", "rec.cast");
        assert_eq!((&cast.header["term"]["cols"], &cast.header["term"]["rows"]), (&80.into(), &24.into()));
        assert_eq!(cast.output(), world.must(&["output", "rec", "--raw", "--keep"]));
        assert!(cast.output().contains("€\r\nlast"), "a character was not joined: {:?}", cast.events);
        assert_eq!(cast.all("r"), ["100x30"]);
        assert_eq!(cast.events.last().unwrap(), &("x".to_owned(), "3".to_owned()));
        assert_eq!((cast.all("i").len(), cast.all("m").len()), (0, 0), "{:?}", cast.events);
        let place = |wanted: &str| cast.events.iter().position(|(_, data)| data.contains(wanted)).unwrap();
        assert!(place("one") < place("100x30") && place("100x30") < place("two"), "{:?}", cast.events);

        world.sessile(&["export", "rec", "--recording", "rec.cast"]).refused_with(73, &["exists already"]);
        symlink(world.project().join("elsewhere"), world.project().join("link.cast")).unwrap();
        world.sessile(&["export", "rec", "--recording", "link.cast"]).refused_with(73, &["exists already"]);
        assert!(!world.project().join("elsewhere").exists(), "a link was followed");
        let grants = world.show("rec")["grants"].to_string();
        assert!(grants.contains("\"export\""), "{grants}");

        let lines: Vec<String> = screen["lines"].as_array().unwrap().iter().map(|l| l.as_str().unwrap().to_owned()).collect();
        let wanted: Vec<String> = lines.into_iter().filter(|line| !line.is_empty()).collect();
        assert_eq!(wanted.last().map(String::as_str), Some("last"), "{screen}");
        let mut terminal = world.terminal(&["play", "--speed", "1000", "rec.cast"]);
        terminal.expect("last");
        terminal.expect("line");
        let bytes = terminal.bytes();
        terminal.try_send("q");
        assert_eq!(terminal.finish(), 0);
        assert_eq!(shown(&bytes, 100, 30), wanted);
        let printed = world.must(&["play", "--to-end", "rec.cast"]);
        assert_eq!(printed, cast.output());
    }

    fn what_is_typed_is_recorded_only_if_asked(world) {
        let script = "stty -echo; echo ready; read line; echo got it; exec sleep infinity";
        for (name, options, is_there) in [("without", &["--record"][..], false), ("with", &["--record-input"], true)] {
            record(world, name, options, script);
            wait(world, name, "ready");
            world.must(&["type", name, "hunter2\n"]);
            wait(world, name, "got it");
            let shows = world.must(&["show", name]);
            assert_eq!(shows.contains("with what is typed"), is_there, "{shows}");
            let cast = export(world, name, &format!("{name}.cast"));
            let text = fs::read_to_string(world.project().join(format!("{name}.cast"))).unwrap();
            assert_eq!(text.contains("hunter2"), is_there, "{text}");
            assert_eq!(cast.all("i").concat(), if is_there { "hunter2\n" } else { "" });
        }
        let mut terminal = world.terminal(&["attach", "with"]);
        terminal.expect("passwords among it");
        terminal.send(DETACH);
        assert_eq!(terminal.finish(), 0);
    }

    fn a_keeper_that_is_killed_records_on(world) {
        let script = "i=0; while :; do i=$((i + 1)); echo n$i; sleep 0.002; done";
        let id = record(world, "rec", &["--record"], script);
        wait(world, "rec", "n10");
        for _ in 0..3 {
            let keeper = processes::casts(world)[&id].keeper.unwrap();
            kill(keeper.pid);
            processes::eventually("another keeper runs", || {
                processes::casts(world).get(&id)?.keeper.filter(|next| *next != keeper)
            });
            world.must(&["output", "rec", "--tail", "1"]);
        }
        wait(world, "rec", "n[0-9]{3}");
        assert_eq!(state(&world.show("rec")).as_deref(), Some("running"));
        world.must(&["record", "rec", "stop"]);
        let cast = export(world, "rec", "rec.cast");
        let numbers: Vec<u64> =
            cast.output().lines().filter_map(|line| line.trim().strip_prefix('n')?.parse().ok()).collect();
        assert!(numbers.len() >= 100, "{numbers:?}");
        assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "a gap or a repeat: {numbers:?}");
        assert_eq!(cast.all("m").len(), 0, "{:?}", cast.all("m"));
        assert_eq!(state(&world.show("rec")).as_deref(), Some("stopped"));
    }

    fn a_recording_is_started_and_stopped(world) {
        record(world, "rec", &[], "PS1='here> ' exec sh -i");
        wait(world, "rec", "here> ");
        world.sessile(&["export", "rec", "--recording", "none.cast"]).refused_with(66, &["no recording of main"]);
        world.sessile(&["record", "rec", "stop"]).refused_with(73, &["not recorded"]);
        world.must(&["type", "rec", "echo before-$((1 + 1))\n"]);
        wait(world, "rec", "before-2");
        let mut terminal = world.terminal(&["attach", "rec"]);
        terminal.expect("before-2");
        world.must(&["record", "rec", "start"]);
        terminal.expect("main is recorded");
        world.sessile(&["record", "rec", "start"]).refused_with(73, &["recorded already"]);
        let typed = |text: &str, shown: &str| {
            world.must(&["type", "rec", text]);
            wait(world, "rec", shown);
        };
        typed("echo during-$((1 + 2))\n", "during-3");
        world.must(&["record", "rec", "stop"]);
        terminal.expect("recording of main was stopped");
        typed("echo between-$((1 + 3))\n", "between-4");
        let first = export(world, "rec", "first.cast").output();
        assert!(first.contains("before-2") && first.contains("during-3") && !first.contains("between-4"), "{first}");
        world.must(&["record", "rec", "start", "--input"]);
        typed("echo after-$((1 + 4))\n", "after-5");
        let cast = export(world, "rec", "second.cast");
        assert!(cast.output().starts_with(&first) && cast.output().contains("after-5"));
        assert_eq!(cast.all("m"), ["recording goes on"]);
        assert!(cast.all("i").concat().contains("after-"), "{:?}", cast.events);
        world.must(&["exec", "rec", "--app", "other", "--", "true"]);
        world.sessile(&["record", "rec", "start", "--app", "other"]).refused_with(73, &["no terminal"]);
        world.sessile(&["run", "--record", "--", "true"]).refused_with(64, &["on a terminal", "--detach"]);
        terminal.send(DETACH);
        assert_eq!(terminal.finish(), 0);
    }

    fn nothing_of_it_is_left_after_the_end(world) {
        let daemon = world.daemon_with("stop=wipe.unmount_storage@rec");
        let id = record(world, "rec", &["--record"], "echo canary-$((40 + 2)); exec sleep infinity");
        wait(world, "rec", "canary-42");
        let keeper = processes::casts(world)[&id].keeper.unwrap();
        let content = |keeper: Process| {
            let storage = storage_of(world, &id, keeper)?;
            let path = format!("/proc/self/fd/{}/recordings/main.cast", std::os::fd::AsRawFd::as_raw_fd(&storage));
            let mut bytes = Vec::new();
            fs::File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
            Some(bytes)
        };
        let Some(before) = content(keeper) else { return skip("a keeper cannot be looked into") };
        assert!(String::from_utf8_lossy(&before).contains("canary-42"));
        let ending = world.start(&["end", "rec", "--grace", "0s"], std::process::Stdio::null());
        processes::eventually("the keeper stops", || processes::is_stopped(keeper).then_some(()));
        let after = content(keeper).unwrap();
        assert!(after.len() >= before.len() && after.iter().all(|byte| *byte == 0), "it was not overwritten");
        processes::signal(keeper.pid, rustix::process::Signal::CONT);
        ending.finish().succeeded();
        let told = receipt(world, &id);
        assert_eq!(told["recordings"][0]["state"], "wiped", "{told}");
        assert!(!told["outside"].to_string().contains("recording"), "{told}");
        assert!(world.must(&["receipt", &id]).contains("recording of main (wiped)"));
        world.sessile(&["export", &id, "--recording", "late.cast"]).ended_with(73);
        assert!(!world.project().join("late.cast").exists());
        world.must(&["daemon", "stop"]);
        drop(daemon);
    }

    fn a_full_storage_stops_it_and_not_the_session(world) {
        let script = "echo begun; read x; cat /dev/zero > /tmp/filler 2>/dev/null; seq 1 20000; rm /tmp/filler; echo done
            exec sleep infinity";
        record(world, "rec", &["--record", "--storage", "8M"], script);
        wait(world, "rec", "begun");
        world.must(&["type", "rec", "\n"]);
        wait(world, "rec", "done");
        let record = world.show("rec");
        assert_eq!((state(&record).as_deref(), &record["state"]), (Some("full"), &"active".into()), "{record}");
        assert!(record["notices"].to_string().contains("recording of main stopped"), "{record}");
        let cast = export(world, "rec", "full.cast");
        assert!(cast.output().contains("begun") && !cast.output().contains("done"));
    }

    fn a_recording_takes_no_more_than_its_share(world) {
        record(world, "rec", &["--record", "--storage", "2M"], "seq 1 200000; echo done; exec sleep infinity");
        wait(world, "rec", "done");
        assert_eq!(state(&world.show("rec")).as_deref(), Some("full"));
        export(world, "rec", "share.cast");
        let len = fs::metadata(world.project().join("share.cast")).unwrap().len();
        assert!((400 << 10..=512 << 10).contains(&len), "{len}");
        world.must(&["exec", "rec", "--", "sh", "-c", "head -c 1M /dev/zero > /tmp/room"]);
    }

    fn a_replay_obeys_keys_and_gives_the_terminal_back(world) {
        let header = r#"{"version":2,"width":80,"height":24}"#;
        let events = [
            r#"[0.0,"o","\u001b[?1049h\u001b[?25lbegin "]"#,
            r#"[3600.0,"o","middle "]"#,
            r#"[3600.1,"o","\u001b[6n"]"#,
            r#"[7200.0,"o","end"]"#,
        ];
        world.write("long.cast", &format!("{header}\n{}\n", events.join("\n")));
        let mut terminal = world.terminal(&["play", "long.cast"]);
        terminal.expect("begin");
        terminal.send(" .");
        terminal.expect("middle");
        // What a terminal answers is no key.
        terminal.send(".\u{1b}[1;1R\u{1b}]11;q\u{7}");
        terminal.send("q");
        assert_eq!(terminal.finish(), 0);

        let mut terminal = world.terminal(&["play", "--seek", "1h", "long.cast"]);
        terminal.expect("begin middle");
        // Back and, behind the blank screen, on again.
        terminal.send(" \u{1b}[D");
        terminal.expect("begin");
        terminal.send("\u{1b}[C");
        terminal.expect("middle");
        terminal.send("\u{3}");
        let bytes = terminal.bytes();
        assert!(!String::from_utf8_lossy(&bytes).contains("end"), "it did not wait");
        assert_eq!(terminal.finish(), 0);

        let mut terminal = world.terminal(&["play", "--idle-limit", "10ms", "long.cast"]);
        terminal.expect("begin middle end");
        // A full screen stays until a key, from where there is a way back as well.
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert!(!terminal.bytes().windows(8).any(|part| part == b"\x1b[?1049l"), "it is gone");
        terminal.send("\u{1b}[D");
        processes::eventually("it is shown again", || (terminal.text().matches("end").count() == 2).then_some(()));
        terminal.send(" ");
        terminal.expect_bytes(b"\x1b[?25h\x1b[?1049l");
        terminal.try_send("q");
        let shown = terminal.bytes();
        assert_eq!(terminal.finish(), 0);
        // Nothing is asked of the terminal that it is shown on.
        let to_end = world.terminal(&["play", "--to-end", "long.cast"]);
        to_end.expect("begin middle end");
        for shown in [shown, to_end.bytes()] {
            assert!(!shown.windows(4).any(|part| part == b"\x1b[6n"));
        }
        let told = world.json(&["play", "--json", "long.cast"]);
        assert_eq!((&told["length_ms"], &told["events"]), (&7_200_000.into(), &4.into()), "{told}");
    }

    fn what_is_no_recording_is_said(world) {
        world.write("good.cast", "{\"version\":3,\"term\":{\"cols\":80,\"rows\":24}}\n[1,\"o\",\"x\"]\n");
        world.sessile(&["play", "good.cast"]).refused_with(64, &["terminal", "--to-end"]);
        world.write("text.cast", "hello\n");
        world.write("bad.cast", "{\"version\":3,\"term\":{\"cols\":80,\"rows\":24}}\n[1,\"o\"]\n");
        world.sessile(&["play", "--to-end", "text.cast"]).refused_with(64, &["text.cast", "not a recording"]);
        world.sessile(&["play", "--to-end", "bad.cast"]).refused_with(64, &["line 2"]);
        world.sessile(&["play", "--to-end", "none.cast"]).ended_with(66);
        world.sessile(&["play", "--to-end", "."]).refused_with(64, &["not a file"]);
        world.sessile(&["play", "--speed", "0", "good.cast"]).ended_with(64);
    }
}
