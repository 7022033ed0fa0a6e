//! Several clients on one terminal.

use rustix::process::Signal;

use crate::support::emulator::{picture, seen};
use crate::support::processes::{self, kill, part};
use crate::support::{TIME_LIMIT, Terminal, World};

const DETACH: &str = "\u{1c}";
const QUESTION: &[u8] = b"\x1b[6n";

/// An app that shows each byte it reads. On `q` it asks where the cursor is, on `h` it begins to ask,
/// on `i` it goes on with that.
const ASKS: &str = "stty raw -echo; printf 'ready\\r\\n'; while :; do c=$(dd bs=1 count=1 2>/dev/null); case $c in \
     q) printf '\\033[6nasked\\r\\n';; h) printf 'begun\\033[';; i) printf '6nasked\\r\\n';; \
     *) printf %s \"$c\" | cat -v;; esac; done";

fn asks(world: &World) -> String {
    let id = world.open("asks", &["sh", "-c", ASKS]);
    world.must(&["wait", "asks", "--pattern", "ready", "--timeout", "30s"]);
    id
}

fn attach(world: &World, name: &str, options: &[&str], clients: u64) -> Terminal {
    let terminal = world.terminal(&[&["attach", name], options].concat());
    terminal.expect("ready");
    processes::eventually("clients are attached", || (world.show(name)["clients"] == clients).then_some(()));
    terminal
}

/// How often a terminal was asked.
fn asked(terminal: &Terminal) -> usize {
    terminal.bytes().windows(QUESTION.len()).filter(|window| *window == QUESTION).count()
}

/// Answers as often as the terminal was asked since, as any would.
fn answer(terminal: &mut Terminal, before: usize, text: &str) {
    for _ in before..asked(terminal) {
        terminal.send(&format!("\u{1b}[{text}R"));
    }
}

/// Waits until the app has read so many answers; it reads no more of them.
#[track_caller]
fn heard(world: &World, answers: &[&str]) {
    let pattern = answers.last().unwrap().replace('[', "\\[").replace('^', "\\^");
    world.must(&["wait", "asks", "--pattern", &pattern, "--timeout", "30s"]);
    world.must(&["type", "asks", "."]);
    world.must(&["wait", "asks", "--pattern", "\\.$", "--timeout", "30s"]);
    let output = world.must(&["output", "asks"]);
    let found: Vec<&str> = output.match_indices("^[[").map(|(at, _)| &output[at..]).collect();
    assert_eq!(found.len(), answers.len(), "{output:?}");
    assert!(found.iter().zip(answers).all(|(found, answer)| found.starts_with(answer)), "{output:?}");
}

for_root_and_user! {
    /// Who typed last is asked, and nobody else.
    fn one_of_several_terminals_answers(world) {
        asks(world);
        let mut one = attach(world, "asks", &[], 1);
        let mut other = attach(world, "asks", &[], 2);
        let watcher = attach(world, "asks", &["--read-only"], 3);
        one.send("q");
        one.expect_bytes(b"\x1b[6nasked");
        other.expect_bytes(b"\0\0\0\0asked");
        watcher.expect_bytes(b"\0\0\0\0asked");
        answer(&mut one, 0, "9;1");
        answer(&mut other, 0, "9;2");
        heard(world, &["^[[9;1R"]);
        // The answer was not typed: whoever types now is asked.
        other.send("q");
        other.expect_bytes(b"\x1b[6nasked");
        one.expect_bytes(b"\0\0\0\0asked");
        answer(&mut one, 1, "9;1");
        answer(&mut other, 0, "9;2");
        heard(world, &["^[[9;1R", "^[[9;2R"]);
        assert_eq!([asked(&one), asked(&other), asked(&watcher)], [1, 1, 0]);
    }

    /// The keeper answers in the place of a client that left.
    fn a_client_that_leaves_before_it_answers(world) {
        asks(world);
        let stays = attach(world, "asks", &[], 1);
        let mut leaves = attach(world, "asks", &[], 2);
        leaves.send("q");
        leaves.expect_bytes(QUESTION);
        leaves.send(DETACH);
        assert_eq!(leaves.finish(), 0);
        heard(world, &["^[[2;1R"]);
        let mut dies = attach(world, "asks", &[], 2);
        dies.send("q");
        dies.expect_bytes(QUESTION);
        kill(dies.pid());
        assert!(processes::wait_for_end(dies.pid(), TIME_LIMIT));
        processes::eventually("it is gone", || (world.show("asks")["clients"] == 1).then_some(()));
        heard(world, &["^[[2;1R", "^[[3;"]);
        assert_eq!(asked(&stays), 0);
    }

    /// Nobody is given half a question, nor what came of it.
    fn a_question_that_is_cut(world) {
        asks(world);
        let mut one = attach(world, "asks", &[], 1);
        one.send("h");
        one.expect("begun");
        let other = attach(world, "asks", &[], 2);
        one.send("i");
        one.expect_bytes(b"\x1b[6nasked");
        other.expect_bytes(b"\0\0\0\0asked");
        answer(&mut one, 0, "9;1");
        heard(world, &["^[[9;1R"]);
        assert_eq!(asked(&other), 0);
        processes::eventually("both terminals show the same", || {
            (seen(&one.bytes(), 80, 24) == seen(&other.bytes(), 80, 24)).then_some(())
        });
    }

    /// Who only watches is not asked, whoever else is there.
    fn a_watcher_alone(world) {
        asks(world);
        let watcher = attach(world, "asks", &["--read-only"], 1);
        world.must(&["type", "asks", "q"]);
        watcher.expect_bytes(b"\0\0\0\0asked");
        heard(world, &["^[[2;1R"]);
        assert_eq!(asked(&watcher), 0);
    }

    /// The client that was asked answers the next keeper.
    fn a_keeper_that_dies_before_the_answer(world) {
        let id = asks(world);
        let mut one = attach(world, "asks", &[], 1);
        one.send("q");
        one.expect_bytes(b"\x1b[6nasked");
        let keeper = part(world, "keeper", &id).unwrap();
        kill(keeper);
        assert!(processes::wait_for_end(keeper, TIME_LIMIT));
        answer(&mut one, 0, "9;1");
        heard(world, &["^[[9;1R"]);
        assert_eq!(asked(&one), 1);
    }

    /// A terminal whose output goes into the session that it shows: nothing goes round for ever.
    fn a_terminal_that_is_shown_in_itself(world) {
        world.open("loop", &["sh", "-c", "stty raw -echo; echo ready; exec cat"]);
        let mut outside = attach(world, "loop", &[], 1);
        let inside = attach(world, "loop", &[], 2);
        let shown = inside.bytes();
        world.sessile_with_input(&["type", "loop", "-"], &shown).succeeded();
        inside.expect("its terminal writes into this very session");
        assert_eq!(inside.finish(), 73);
        assert_eq!(world.show("loop")["clients"], 1, "who is not shown in it stays");
        outside.send("on it goes");
        outside.expect("on it goes");
    }

    /// Nothing inside can attach: no session is given what it would need.
    fn a_terminal_inside(world) {
        world.must(&["ls"]);
        let runtime = world.runtime();
        for mount in [runtime.to_str().unwrap(), world.folder().to_str().unwrap()] {
            let refused = world.sessile(&["run", "--no-project", "--mount", mount, "--", "true"]);
            refused.refused_with(77, &["sessile's own folders"]);
        }
    }

    /// A sentence stands among what the app has drawn for some seconds, and is drawn over then.
    fn what_is_said_between_is_taken_away_again(world) {
        let script = r"printf '\033[2J\033[3;1Hone\033[5;7Htwo\033[4;2Hready'; exec cat";
        world.open("desk", &["sh", "-c", script]);
        let first = attach(world, "desk", &[], 1);
        let second = attach(world, "desk", &["--exclusive"], 2);
        first.expect("another client has taken over typing");
        let pictures = || [&first, &second].map(|terminal| picture(&terminal.bytes(), 80, 24));
        assert_ne!(pictures()[0], pictures()[1], "it is shown");
        processes::eventually("it is taken away", || {
            let [first, second] = pictures();
            (first == second).then_some(())
        });
    }

    /// Who takes typing over types alone, also from requests; who had it before has it back.
    fn typing_is_taken_over_and_handed_back(world) {
        let id = world.open("desk", &["sh", "-c", "echo ready; exec cat"]);
        let mut first = attach(world, "desk", &[], 1);
        let mut second = attach(world, "desk", &["--exclusive"], 2);
        first.expect("another client has taken over typing");
        first.send("intruder\r");
        second.send("second\r");
        world.must(&["wait", "desk", "--pattern", "second", "--timeout", "30s"]);
        world.sessile(&["type", "desk", "intruder\n"]).refused_with(73, &["taken over typing in main"]);
        let roles = || {
            let record = world.show("desk");
            let attached = record["attached"].as_array().unwrap_or_else(|| panic!("{record}"));
            attached.iter().map(|client| client["role"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(roles(), ["observer", "exclusive"]);
        first.resize(50, 10);
        let mut late = attach(world, "desk", &[], 3);
        assert!(late.text().contains("another client has taken over typing"), "{}", late.text());
        // Not even a key that begins a sequence.
        late.send("\u{1b}");
        late.send(DETACH);
        assert_eq!(late.finish(), 0);

        let mut third = attach(world, "desk", &["--exclusive"], 3);
        second.expect("another client has taken over typing");
        second.send("intruder\r");
        third.send("third\r");
        world.must(&["wait", "desk", "--pattern", "third", "--timeout", "30s"]);
        assert_eq!(roles(), ["observer", "observer", "exclusive"]);
        third.send(DETACH);
        assert_eq!(third.finish(), 0);
        second.expect("typing was handed back");
        first.send("intruder\r");
        second.send("again\r");
        world.must(&["wait", "desk", "--pattern", "again", "--timeout", "30s"]);
        kill(second.pid());
        first.expect("typing was handed back");
        assert_eq!(world.show("desk")["apps"][0]["cols"], 80, "who watches decides no size");
        first.send("first\r");
        world.must(&["wait", "desk", "--pattern", "first", "--timeout", "30s"]);
        let output = world.must(&["output", "desk"]);
        assert!(!output.contains("intruder") && !output.contains("^["), "{output}");

        first.send(DETACH);
        assert_eq!(first.finish(), 0);

        // How much was typed by whom is journaled, and nothing of it.
        let path = world.state().join("sessions").join(&id).join("log");
        let log = processes::eventually("who left is noted", || {
            let log = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            (log.matches("\"fact\":\"typed\"").count() == 3).then_some(log)
        });
        for (count, times) in [("third\r".len(), 2), ("second\ragain\r".len(), 1)] {
            assert_eq!(log.matches(&format!("\"bytes\":{count}")).count(), times, "{log}");
        }
        assert!(!log.contains("intruder") && !log.contains("again"), "{log}");
    }

    /// Also of one who never comes back.
    fn how_much_was_typed_outlives_keepers(world) {
        let id = world.open("desk", &["sh", "-c", "echo ready; exec cat"]);
        let mut stays = attach(world, "desk", &[], 1);
        let mut goes = attach(world, "desk", &[], 2);
        let arrives = |word: &str| {
            world.must(&["wait", "desk", "--pattern", &format!("{word}\n{word}"), "--timeout", "30s"]);
        };
        stays.send("stays\r");
        arrives("stays");
        goes.send("goes\r");
        arrives("goes");
        world.must(&["type", "desk", "requested", "--key", "enter"]);
        arrives("requested");
        let keeper = part(world, "keeper", &id).unwrap();
        processes::signal(keeper, Signal::STOP);
        kill(goes.pid());
        assert!(processes::wait_for_end(goes.pid(), TIME_LIMIT));
        kill(keeper);
        world.must(&["type", "desk", "more", "--key", "enter"]);
        arrives("more");
        stays.send("on\r");
        arrives("on");
        processes::eventually("what one has typed in all is shown", || {
            (world.show("desk")["attached"][0]["typed_bytes"] == "stays\ron\r".len()).then_some(())
        });
        stays.send(DETACH);
        assert_eq!(stays.finish(), 0);
        let path = world.state().join("sessions").join(&id).join("log");
        let keep = world.state().join("log-of-typing");
        std::fs::hard_link(&path, &keep).unwrap();
        world.must(&["end", "desk", "--grace", "0s"]);
        let log = String::from_utf8_lossy(&std::fs::read(&keep).unwrap()).into_owned();
        let counts = ["stays\ron\r", "goes\r", "requested\rmore\r"].map(str::len);
        for count in counts {
            assert_eq!(log.matches(&format!("\"bytes\":{count}")).count(), 1, "{count}: {log}");
        }
        assert_eq!(log.matches("\"fact\":\"typed\"").count(), counts.len(), "{log}");
    }

    fn the_smallest_window_decides_where_it_is_to(world) {
        world.must(&["run", "--detach", "--name", "small", "--size", "smallest", "--", "sh", "-c", "echo ready; exec cat"]);
        let size = || {
            let app = &world.show("small")["apps"][0];
            (app["cols"].as_u64().unwrap(), app["rows"].as_u64().unwrap())
        };
        let becomes = |cols, rows| processes::eventually("the size is another", || (size() == (cols, rows)).then_some(()));
        let wide = attach(world, "small", &[], 1);
        wide.resize(120, 20);
        becomes(120, 20);
        let mut tall = attach(world, "small", &[], 2);
        becomes(80, 20);
        let watcher = world.terminal_of((30, 10), &["attach", "small", "--read-only"]);
        watcher.expect("ready");
        tall.resize(70, 40);
        becomes(70, 20);
        tall.send("x");
        tall.send(DETACH);
        assert_eq!(tall.finish(), 0);
        becomes(120, 20);
        assert_eq!(world.show("small")["size"], "smallest");
        wide.resize(60, 15);
        becomes(60, 15);
    }

    fn a_fixed_size_is_nobodys_to_change(world) {
        let config = world.folder().join("config/sessile/config.toml");
        std::fs::create_dir_all(config.parent().unwrap()).unwrap();
        std::fs::write(&config, "[run]\nsize = \"fixed:100x30\"\n").unwrap();
        world.give_to_caller(config.parent().unwrap());
        let id = world.open("fixed", &["sh", "-c", "echo ready; stty size; exec cat"]);
        world.must(&["wait", "fixed", "--pattern", "30 100", "--timeout", "30s"]);
        let mut terminal = attach(world, "fixed", &[], 1);
        terminal.resize(90, 20);
        terminal.send("typed\r");
        world.must(&["wait", "fixed", "--pattern", "typed", "--timeout", "30s"]);
        let record = world.show("fixed");
        assert_eq!((&record["apps"][0]["cols"], &record["size"]), (&100.into(), &"fixed:100x30".into()));
        kill(part(world, "keeper", &id).unwrap());
        let record = world.show("fixed");
        assert_eq!((&record["apps"][0]["cols"], &record["size"]), (&100.into(), &"fixed:100x30".into()));
        let other = world.must(&["run", "--detach", "--name", "last", "--size", "last", "--", "cat"]);
        assert_eq!(world.show(other.trim())["size"], "last");
        let refused = world.sessile(&["run", "--size", "fixed:80", "--", "true"]);
        refused.refused_with(64, &["fixed:COLSxROWS"]);
    }
}
