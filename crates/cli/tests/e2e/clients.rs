//! Several clients on one terminal.

use crate::support::emulator::seen;
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
}
