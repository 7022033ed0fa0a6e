//! Whoever comes back sees what they would have seen had they stayed.

use crate::support::emulator::seen;
use crate::support::processes::{self, kill, part};
use crate::support::{Terminal, World, skip};

const DETACH: &str = "\u{1c}";
const SIZE: (usize, usize) = (80, 24);

/// A program, what shows that it is ready, and what is typed while one client is away and the other
/// is not.
struct Case {
    command: &'static [&'static str],
    ready: &'static str,
    typed: &'static [&'static str],
    done: &'static str,
}

/// Two clients watch the program; one of them leaves while it goes on, and comes back on another
/// terminal. Both then see the same.
#[track_caller]
fn both_see_the_same(world: &World, case: &Case) {
    let program = std::path::Path::new("/usr/bin").join(case.command[0]);
    if !program.exists() {
        skip(&format!("there is no {}: cargo xtask setup installs it", program.display()));
        return;
    }
    let name = case.command[0];
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

fn attached(world: &World, name: &str, clients: u64) {
    processes::eventually("clients are attached", || (world.show(name)["clients"] == clients).then_some(()));
}

fn seen_by(terminal: &Terminal) -> Vec<String> {
    seen(&terminal.bytes(), SIZE.0, SIZE.1)
}

for_root_and_user! {
    fn an_editor(world) {
        world.write("notes.txt", &(1..=60).map(|n| format!("line {n} of the notes\n")).collect::<String>());
        let typed = &["Goadded at the end\u{1b}", "gg/line 30\r", ":set hlsearch\r", "10jvj"];
        both_see_the_same(world, &Case { command: &["vim", "-u", "NONE", "-N", "-n", "-c", "set showmode", "notes.txt"], ready: "line 1 of", typed, done: "VISUAL" });
    }

    fn a_pager(world) {
        world.write("long.txt", &(1..=300).map(|n| format!("\u{1b}[3{}mline {n}\u{1b}[m with \u{4f60}\u{597d} \u{e9}\n", n % 8)).collect::<String>());
        let typed = &["  ", "/line 200\r"];
        both_see_the_same(world, &Case { command: &["less", "-R", "long.txt"], ready: "line 1 ", typed, done: "line 210" });
    }

    fn a_monitor(world) {
        both_see_the_same(world, &Case { command: &["htop", "-d", "5"], ready: "F10", typed: &["t"], done: "F10" });
    }

    fn a_multiplexer(world) {
        let command = &["tmux", "-f", "/dev/null", "-L", "inner", "new", "sh"];
        let typed = &["\u{2}%", "echo right-$((1 + 1))\r", "\u{2}\""];
        both_see_the_same(world, &Case { command, ready: "0:sh", typed, done: "right-2" });
    }

    fn an_interpreter(world) {
        let typed = &["for n in range(40): print('number', n)\r\r", "'half a line' + "];
        both_see_the_same(world, &Case { command: &["python3", "-q"], ready: ">>>", typed, done: "number 39" });
    }

    fn a_progress_bar(world) {
        const SCRIPT: &str = "read go; i=0; while [ $i -lt 70 ]; do i=$((i+1)); printf '\\r\\033[K\\033[32m%*s\\033[m %d of 70' $i '#' $i; done; read end";
        both_see_the_same(world, &Case { command: &["sh", "-c", SCRIPT], ready: "", typed: &["go\r"], done: "70 of 70" });
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
