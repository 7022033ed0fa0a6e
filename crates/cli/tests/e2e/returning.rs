//! Whoever comes back sees what they would have seen had they stayed.

use crate::support::emulator::{seen, seen_resized};
use crate::support::processes::{self, kill, part};
use crate::support::{TIME_LIMIT, Terminal, World, skip};

const DETACH: &str = "\u{1c}";
const SIZE: (usize, usize) = (80, 24);

/// A program, what shows that it is ready, and what is typed while one client is away and the other
/// is not.
struct Case {
    command: &'static [&'static str],
    ready: &'static str,
    typed: &'static [&'static str],
    done: &'static str,
    /// Its screen is drawn anew for another size; what is not is wrapped by each terminal in its own way.
    redraws: bool,
}

/// Two clients watch the program; one of them leaves while it goes on, and comes back on another
/// terminal. Both then see the same.
#[track_caller]
fn both_see_the_same(world: &World, case: &Case) {
    let name = case.command[0];
    let Some(stays) = worked_alone(world, name, case) else { return };
    let returns = world.terminal(&["attach", name]);
    attached(world, name, 2);
    // Nothing moves while the two are compared.
    world.must(&["pause", name]);
    processes::eventually("both terminals show the same", || {
        (seen_by(&stays) == seen_by(&returns)).then_some(())
    });
    let (stayed, returned) = (seen_by(&stays), seen_by(&returns));
    assert!(stayed.iter().any(|line| !line.trim().is_empty()), "nothing is shown");
    assert_eq!(stayed, returned);
    world.must(&["resume", name]);
}

/// Two clients watch the program; one of them leaves while it goes on, and comes back in a window of
/// another size, to which the program then keeps. The other's window follows. Both then see the same.
#[track_caller]
fn both_see_the_same_in_another_size(world: &World, case: &Case) {
    const OTHER: (usize, usize) = (101, 31);
    let name = "other-size";
    let Some(stays) = worked_alone(world, name, case) else { return };
    world.must(&["wait", name, "--quiet", "200ms", "--timeout", "30s"]);
    let before = processes::eventually("who stays has been given everything", || {
        let bytes = stays.bytes();
        (seen(&bytes, SIZE.0, SIZE.1) == shown_now(world, name)).then_some(bytes.len())
    });
    let returns = world.terminal_of((OTHER.0 as u16, OTHER.1 as u16), &["attach", name]);
    attached(world, name, 2);
    stays.resize(OTHER.0 as u16, OTHER.1 as u16);
    world.must(&["wait", name, "--quiet", "500ms", "--timeout", "30s"]);
    world.must(&["pause", name]);
    let shown = || {
        let bytes = stays.bytes();
        let stayed = seen_resized(&[(SIZE, &bytes[..before]), (OTHER, &bytes[before..])]);
        let returned = seen(&returns.bytes(), OTHER.0, OTHER.1);
        if case.redraws { (stayed, returned) } else { (text_of(&stayed), text_of(&returned)) }
    };
    let deadline = std::time::Instant::now() + TIME_LIMIT;
    while shown().0 != shown().1 && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let (stayed, returned) = shown();
    assert!(stayed.iter().any(|line| !line.trim().is_empty()), "nothing is shown");
    assert_eq!(stayed, returned);
    world.must(&["resume", name]);
}

/// The one who stays of two who watched, when the program has done what was typed after the other
/// left; `None` where there is no such program.
fn worked_alone(world: &World, name: &str, case: &Case) -> Option<Terminal> {
    let program = std::path::Path::new("/usr/bin").join(case.command[0]);
    if !program.exists() {
        skip(&format!("there is no {}: cargo xtask setup installs it", program.display()));
        return None;
    }
    world.open(name, case.command);
    world.must(&["wait", name, "--pattern", case.ready, "--timeout", "30s"]);
    let stays = world.terminal(&["attach", name]);
    let mut leaves = world.terminal(&["attach", name]);
    attached(world, name, 2);
    leaves.send(DETACH);
    assert_eq!(leaves.finish(), 0);
    for text in case.typed {
        world.must(&["type", name, text]);
    }
    world.must(&["wait", name, "--pattern", case.done, "--timeout", "30s"]);
    Some(stays)
}

/// What a terminal shows that is given the screen at a moment when the program has written nothing more.
fn shown_now(world: &World, name: &str) -> Vec<String> {
    let mut terminal = world.terminal(&["attach", name, "--read-only"]);
    processes::eventually("the screen is drawn", || {
        let drawn = terminal.bytes();
        // A dump ends with the cursor and the modes; nothing follows while the app is quiet.
        let end = || world.json(&["output", name, "--json", "--keep"])["end"].clone();
        (drawn.len() > 200 && world.json(&["screen", name, "--json"])["offset"] == end()).then_some(())
    });
    world.must(&["wait", name, "--quiet", "200ms", "--timeout", "30s"]);
    let shown = seen(&terminal.bytes(), SIZE.0, SIZE.1);
    terminal.send(DETACH);
    assert_eq!(terminal.finish(), 0);
    shown
}

/// Lines without attributes, blanks at their ends, and lines without text.
fn text_of(lines: &[String]) -> Vec<String> {
    let screen = &lines[..lines.len() - 2];
    let plain = |line: &String| {
        let mut text = String::new();
        for (index, part) in line.split('<').enumerate() {
            text.push_str(if index == 0 {
                part
            } else {
                part.split_once('>').map_or(part, |(_, rest)| rest)
            });
        }
        text.trim_end().to_owned()
    };
    screen.iter().map(plain).filter(|line| !line.is_empty()).collect()
}

fn attached(world: &World, name: &str, clients: u64) {
    processes::eventually("clients are attached", || (world.show(name)["clients"] == clients).then_some(()));
}

fn seen_by(terminal: &Terminal) -> Vec<String> {
    seen(&terminal.bytes(), SIZE.0, SIZE.1)
}

const PROGRESS: &str = "read go; i=0; while [ $i -lt 70 ]; do i=$((i+1)); printf '\\r\\033[K\\033[32m%*s\\033[m %d of 70' $i '#' $i; done; read end";

fn editor(world: &World) -> Case {
    world.write("notes.txt", &(1..=60).map(|n| format!("line {n} of the notes\n")).collect::<String>());
    let command = &["vim", "-u", "NONE", "-N", "-n", "-c", "set showmode", "notes.txt"];
    let typed = &["Goadded at the end\u{1b}", "gg/line 30\r", ":set hlsearch\r", "10jvj"];
    Case { command, ready: "line 1 of", typed, done: "VISUAL", redraws: true }
}

fn pager(world: &World) -> Case {
    let line = |n| format!("\u{1b}[3{}mline {n}\u{1b}[m with \u{4f60}\u{597d} \u{e9}\n", n % 8);
    world.write("long.txt", &(1..=300).map(line).collect::<String>());
    let typed = &["  ", "/line 200\r"];
    Case { command: &["less", "-R", "long.txt"], ready: "line 1 ", typed, done: "line 210", redraws: true }
}

fn monitor(_: &World) -> Case {
    Case { command: &["htop", "-d", "5"], ready: "F10", typed: &["t"], done: "F10", redraws: true }
}

fn multiplexer(_: &World) -> Case {
    let command = &["tmux", "-f", "/dev/null", "-L", "inner", "new", "sh"];
    let typed = &["\u{2}%", "echo right-$((1 + 1))\r", "\u{2}\""];
    Case { command, ready: "0:sh", typed, done: "right-2", redraws: true }
}

fn interpreter(_: &World) -> Case {
    let typed = &["for n in range(40): print('number', n)\r\r", "'half a line' + "];
    Case { command: &["python3", "-q"], ready: ">>>", typed, done: "number 39", redraws: false }
}

fn progress_bar(_: &World) -> Case {
    Case { command: &["sh", "-c", PROGRESS], ready: "", typed: &["go\r"], done: "70 of 70", redraws: false }
}

for_root_and_user! {
    fn an_editor(world) {
        both_see_the_same(world, &editor(world));
    }

    fn a_pager(world) {
        both_see_the_same(world, &pager(world));
    }

    fn a_monitor(world) {
        both_see_the_same(world, &monitor(world));
    }

    fn a_multiplexer(world) {
        both_see_the_same(world, &multiplexer(world));
    }

    fn an_interpreter(world) {
        both_see_the_same(world, &interpreter(world));
    }

    fn a_progress_bar(world) {
        both_see_the_same(world, &progress_bar(world));
    }

    fn an_editor_in_another_size(world) {
        both_see_the_same_in_another_size(world, &editor(world));
    }

    fn a_pager_in_another_size(world) {
        both_see_the_same_in_another_size(world, &pager(world));
    }

    fn a_multiplexer_in_another_size(world) {
        both_see_the_same_in_another_size(world, &multiplexer(world));
    }

    fn an_interpreter_in_another_size(world) {
        both_see_the_same_in_another_size(world, &interpreter(world));
    }

    fn a_progress_bar_in_another_size(world) {
        both_see_the_same_in_another_size(world, &progress_bar(world));
    }

    /// Lines that scrolled off are there, too.
    fn the_lines_that_scrolled_off(world) {
        world.open("tall", &["sh", "-c", "seq 1 200; exec cat"]);
        world.must(&["wait", "tall", "--pattern", "(?m)^200$", "--timeout", "30s"]);
        let terminal = world.terminal(&["attach", "tall"]);
        for number in [1, 100, 200] {
            terminal.expect(&format!("{number}\r\n"));
        }
    }

    /// What scrolled off is text, and data with its colours, in another width as well.
    fn what_scrolled_off_is_read_without_a_terminal(world) {
        world.open("long", &["sh", "-c", "i=1; while [ $i -le 3000 ]; do printf '\\033[3%dmnumber %d\\033[m\\n' $((i % 8)) $i; i=$((i+1)); done; \
            printf '%0100d\\n' 7; seq 1 23; printf end; exec cat"]);
        world.must(&["wait", "long", "--pattern", "^end$", "--timeout", "60s"]);
        let text = world.must(&["screen", "long", "--history"]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.iter().filter(|line| line.starts_with("number ")).count(), 1999, "2,000 lines are kept");
        assert!(text.contains(&format!("number 3000\n{:0100}\n1\n", 7)), "what was wrapped is one line");
        assert!(text.ends_with("\n23\nend\n"));
        let few = world.must(&["screen", "long", "--history", "2"]);
        assert!(few.starts_with(&format!("number 3000\n{:0100}\n1\n", 7)), "{few}");
        assert!(world.must(&["screen", "long"]).starts_with("1\n"));
        let data = world.json(&["screen", "long", "--history", "3", "--json"]);
        assert_eq!(data["history_lines"], 2000);
        let history = data["history"].as_array().unwrap();
        assert_eq!(history.len(), 3);
        assert_eq!(history[0]["runs"][0], serde_json::json!({"text": "number 2999", "foreground": "7"}));
        assert!(world.json(&["screen", "long", "--json"])["history"].is_null());
    }

    /// What an app asks of its terminal is answered while nobody is there, once.
    fn questions_while_nobody_is_there(world) {
        let script = "stty raw -echo; printf '\\033[3;7H\\033[6n\\033[c'; dd bs=1 count=6 2>/dev/null | cat -v; \
                      printf ' heard\\r\\n'; exec cat -v";
        let id = world.open("asks", &["sh", "-c", script]);
        world.must(&["wait", "asks", "--pattern", "heard", "--timeout", "30s"]);
        assert!(world.must(&["output", "asks"]).contains("^[[3;7R heard"));
        // The next keeper reads the questions again, and does not answer them again.
        world.must(&["wait", "asks", "--pattern", "22c", "--timeout", "30s"]);
        kill(part(world, "keeper", &id).unwrap());
        world.must(&["type", "asks", "over"]);
        world.must(&["wait", "asks", "--pattern", "over", "--timeout", "30s"]);
        let output = world.must(&["output", "asks"]);
        assert!(output.ends_with("22cover"), "{output:?}");
        assert_eq!(output.matches("22c").count(), 1, "{output:?}");
    }

    /// The terminal of whoever is there answers, and nobody else.
    fn questions_while_somebody_is_there(world) {
        let script = "stty raw -echo; printf 'ready\\r\\n'; dd bs=1 count=1 2>/dev/null >&2; printf '\\033[6n'; exec cat -v";
        world.open("asks", &["sh", "-c", script]);
        let mut terminal = world.terminal(&["attach", "asks"]);
        terminal.expect("ready");
        terminal.send("g");
        terminal.expect_bytes(b"\x1b[6n");
        terminal.send("\u{1b}[9;9R");
        world.must(&["wait", "asks", "--pattern", "R", "--timeout", "30s"]);
        let output = world.must(&["output", "asks"]);
        assert_eq!(output, "ready\n^[[9;9R");
    }
}
