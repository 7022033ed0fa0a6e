//! What a keeper that takes over shows: the screen as it was, however old its drawing is.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sessile_model::spec::WindowSize;
use sessile_model::wire::{self, Attach, FrameType, Hello, Request};

use crate::support::World;
use crate::support::emulator::seen;
use crate::support::processes::{self, kill, part};

/// More than a ring holds, below a drawing that is made once.
const OLD_DRAWING: &str = "printf '\\033]2;drawn once\\033\\\\\\033[?2004h\\033[1;33mHEADER\\033[m of old\\033[3;23r\\033[23;1H'; \
     seq 1 LAST; printf '\\033[32mthe end\\033[4'; read line; printf 'mand after'; read line";

/// The same, where another screen is drawn over meanwhile.
const OTHER_SCREEN: &str = "printf 'the first screen\\n\\033[?1049h\\033[?1000h\\033[3;3Hframe'; \
     i=0; while [ $i -lt 200000 ]; do i=$((i+1)); printf '\\033[5;5H%d' $i; done; \
     read line; printf '\\033[?1049l'; read line";

fn screen(world: &World, name: &str) -> Value {
    world.json(&["screen", name, "--json"])
}

/// Kills the keeper; the next command has another take over.
fn lose_keeper(world: &World, id: &str) {
    let keeper = part(world, "keeper", id).unwrap();
    kill(keeper);
    assert!(processes::wait_for_end(keeper, crate::support::TIME_LIMIT));
}

/// What the wipe overwrote of rings and what lies beside them: objects and bytes.
fn overwritten(world: &World, id: &str) -> (u64, u64) {
    let envelope = world.json(&["receipt", id, "--json"]);
    let payload = STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
    let receipt: Value = serde_json::from_slice(&payload).unwrap();
    let steps = receipt["steps"].as_array().unwrap_or_else(|| panic!("{receipt}"));
    let step = steps.iter().find(|line| line["step"] == "overwrite_rings").unwrap();
    let count = |name: &str| step["evidence"][name].as_u64().unwrap_or_else(|| panic!("{step}"));
    (count("objects"), count("bytes"))
}

for_root_and_user! {
    /// More was written since than any ring holds, and an escape sequence is half written.
    fn a_drawing_older_than_the_ring(world) {
        let id = world.open("old", &["sh", "-c", &OLD_DRAWING.replace("LAST", "300000")]);
        world.must(&["wait", "old", "--pattern", "the end", "--timeout", "60s"]);
        let output = world.json(&["output", "old", "--json", "--tail", "1"]);
        assert!(output["end"].as_u64().unwrap() > 2 << 20, "{output}");
        let stays = world.terminal(&["attach", "old"]);
        stays.expect("the end");
        let before = screen(world, "old");
        assert!(before["lines"][0] == "HEADER of old" && before["title"] == "drawn once", "{before}");

        lose_keeper(world, &id);
        assert_eq!(screen(world, "old"), before);
        let returns = world.terminal(&["attach", "old"]);
        returns.expect("the end");
        // The sequence that was begun goes on where it was.
        world.must(&["type", "old", "go\n"]);
        world.must(&["wait", "old", "--pattern", "and after", "--timeout", "30s"]);
        let after = screen(world, "old");
        assert!(after["lines"][22].as_str().unwrap().contains("and after"), "{after}");
        processes::eventually("both terminals show the same", || {
            (seen(&stays.bytes(), 80, 24) == seen(&returns.bytes(), 80, 24)).then_some(())
        });
        let shown = seen(&returns.bytes(), 80, 24);
        assert!(shown[0].contains("HEADER"), "{shown:#?}");

        // What was saved is wiped as the ring is, and counted.
        world.must(&["end", "old", "--grace", "0s"]);
        let (objects, bytes) = overwritten(world, &id);
        assert!(objects >= 4 && bytes > 1 << 20, "{objects} objects, {bytes} bytes");
    }

    fn another_screen_than_the_one_that_is_drawn_over(world) {
        let id = world.open("other", &["sh", "-c", OTHER_SCREEN]);
        world.must(&["wait", "other", "--pattern", "200000", "--timeout", "60s"]);
        world.must(&["wait", "other", "--quiet", "300ms", "--timeout", "30s"]);
        let before = screen(world, "other");
        assert!(before["lines"][2] == "  frame" && before["alternate"] == true, "{before}");
        lose_keeper(world, &id);
        assert_eq!(screen(world, "other"), before);
        world.must(&["type", "other", "go\n"]);
        world.must(&["wait", "other", "--pattern", "the first screen", "--timeout", "30s"]);
    }

    /// Its keeper dies again and again while the app writes as fast as it can.
    fn a_flood_that_outlives_keepers(world) {
        let id = world.open("flood", &["sh", "-c", &OLD_DRAWING.replace("LAST", "1500000")]);
        world.must(&["wait", "flood", "--pattern", "(?m)^[0-9]+$", "--timeout", "30s"]);
        for _ in 0..4 {
            lose_keeper(world, &id);
            let shown = screen(world, "flood");
            assert_eq!(shown["lines"][0], "HEADER of old", "{shown}");
        }
        world.must(&["wait", "flood", "--pattern", "the end", "--timeout", "120s"]);
        lose_keeper(world, &id);
        let shown = screen(world, "flood");
        assert!(shown["lines"][0] == "HEADER of old" && shown["lines"][21] == "1500000", "{shown}");
        assert_eq!(shown["title"], "drawn once");
    }

    /// No more than five a minute are started. Who is attached is told and leaves as ever, and who ends it does not wait.
    fn one_that_comes_late(world) {
        let id = world.open("often", &["sh", "-c", "echo here; exec cat"]);
        let mut terminal = world.terminal(&["attach", "often"]);
        terminal.expect("here");
        for _ in 0..5 {
            lose_keeper(world, &id);
            assert!(screen(world, "often")["lines"][0] == "here");
        }
        lose_keeper(world, &id);
        terminal.expect("the next one starts in ");
        terminal.send("\u{1c}");
        assert_eq!(terminal.finish(), 0);
        let back = world.terminal(&["attach", "often"]);
        back.expect("the next one starts in ");
        world.must(&["end", "often", "--grace", "0s"]);
        back.expect("ended");
    }

    /// What was written before a resize was written for another size.
    fn a_terminal_that_was_resized(world) {
        let script = "for i in 1 2 3 4 5; do printf '%0100d\\n' $i; done; printf '\\033[12;70Hmark'; exec cat";
        let id = world.open("sized", &["sh", "-c", script]);
        world.must(&["wait", "sized", "--pattern", "mark", "--timeout", "30s"]);
        let mut terminal = world.terminal(&["attach", "sized"]);
        terminal.expect("mark");
        terminal.resize(120, 40);
        processes::eventually("the size arrives", || (screen(world, "sized")["cols"] == 120).then_some(()));
        terminal.send("\u{1c}");
        assert_eq!(terminal.finish(), 0);
        let before = screen(world, "sized");
        lose_keeper(world, &id);
        assert_eq!(screen(world, "sized"), before);
    }
}

/// Nobody is shown a screen of before, however much was written while no keeper ran: who waits for the
/// next one is drawn all of it, first.
#[test]
fn what_was_written_while_no_keeper_ran() {
    crate::support::as_own(|world| {
        let script = "echo ready; until [ -e go ]; do sleep 0.02; done; seq 1 100000; printf 'the end'; \
                      : > written; read line";
        let id = world.open("left", &["sh", "-c", script]);
        world.must(&["wait", "left", "--pattern", "ready", "--timeout", "30s"]);
        kill(processes::daemon_of(world).unwrap().pid);
        let keeper = part(world, "keeper", &id).unwrap();
        kill(keeper);
        assert!(processes::wait_for_end(keeper, crate::support::TIME_LIMIT));
        // In the backlog before there is another, so that it is the first that is heard.
        let mut waiting =
            UnixStream::connect(world.runtime().join("sessions").join(&id).join("keeper.sock")).unwrap();
        waiting.set_read_timeout(Some(crate::support::TIME_LIMIT)).unwrap();
        let mut frames = Vec::new();
        let hello = Hello { version: wire::VERSION, program: "test".into() };
        wire::put_frame(&mut frames, FrameType::Hello, 0, &[&serde_json::to_vec(&hello).unwrap()]);
        let size = Some(WindowSize { cols: 80, rows: 24 });
        let attach = Request::Attach(Attach { size, client: 7, ..Attach::default() });
        wire::put_frame(&mut frames, FrameType::Request, 1, &[&serde_json::to_vec(&attach).unwrap()]);
        waiting.write_all(&frames).unwrap();
        world.write("go", "");
        let written = world.project().join("written");
        processes::eventually("all is written", || written.exists().then_some(()));
        world.must(&["ls"]);

        let (mut received, mut chunk) = (Vec::new(), [0; 4096]);
        let drawn = loop {
            if let Some((header, payload, used)) = wire::take_frame(&received).unwrap() {
                let payload = payload.to_vec();
                received.drain(..used);
                if header.kind == FrameType::Dump as u8 {
                    break payload;
                }
                assert_ne!(header.kind, FrameType::Output as u8, "output before the screen");
                continue;
            }
            let count = waiting.read(&mut chunk).unwrap();
            assert_ne!(count, 0, "the keeper has left");
            received.extend_from_slice(&chunk[..count]);
        };
        let (offset, bytes) = wire::split_number(&drawn).unwrap();
        let end = world.json(&["output", "left", "--json", "--tail", "1"])["end"].as_u64().unwrap();
        assert_eq!(offset, end, "a screen of before");
        assert!(String::from_utf8_lossy(bytes).contains("the end"));
    });
}
