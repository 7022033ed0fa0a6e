//! A client's terminal in the keeper's hand. What is another user's stays with its client.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustix::termios::{Action, tcflow};

use crate::support::emulator::seen;
use crate::support::processes::{self, eventually, part};
use crate::support::{TIME_LIMIT, World, skip};

const DETACH: &str = "\u{1c}";
const NONBLOCK: u32 = 0o4000;
/// An app that shows nothing of what is typed.
const MUTE: &str = "stty -echo; echo mute; cat >/dev/null";
const NOCTTY: rustix::fs::OFlags = rustix::fs::OFlags::NOCTTY;

/// Opens a session with a shell on a terminal of its own, whose prompt is `here> `. Returns its id.
fn shell(world: &World, name: &str) -> String {
    world.must(&["run", "--detach", "--name", name, "--env", "PS1=here> ", "--", "sh", "-i"]);
    world.must(&["wait", name, "--pattern", "here> ", "--timeout", "30s"]);
    world.show(name)["id"].as_str().unwrap().to_owned()
}

fn client(world: &World) -> processes::Process {
    processes::of_command(world, "attach")[0]
}

/// The terminal that a process has as its standard output.
fn terminal_of(pid: u32) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/fd/1")).unwrap()
}

/// The numbers under which a process has a terminal open, and the flags of each.
fn opened(pid: u32, terminal: &Path) -> Vec<(u32, u32)> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let numbers = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        let is_it = fs::read_link(entry.path()).is_ok_and(|to| to == terminal);
        is_it.then(|| entry.file_name().to_str()?.parse::<u32>().ok()).flatten()
    });
    let flags = |number: &u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).ok()?;
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:"))?;
        u32::from_str_radix(flags.trim(), 8).ok()
    };
    numbers.filter_map(|number| Some((number, flags(&number)?))).collect()
}

/// The bytes that a process has read from files and terminals.
fn bytes_read(pid: u32) -> u64 {
    let counts = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    counts.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

/// Waits until a keeper both writes to a terminal and reads there, by open files of its own.
#[track_caller]
fn is_the_keepers(keeper: u32, terminal: &Path) {
    eventually("both ways are the keeper's", || {
        let held = opened(keeper, terminal);
        (held.len() == 2 && held.iter().all(|(_, flags)| flags & NONBLOCK != 0)).then_some(())
    });
}

/// How often a process has waited for something.
fn switches(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}

/// Has the session's shell run this and waits until it has written so.
fn run(world: &World, name: &str, line: &str, written: &str) {
    world.must(&["type", name, &format!("{line}\n")]);
    world.must(&["wait", name, "--pattern", written, "--timeout", "60s"]);
}

/// Waits until a terminal of 80 columns and 24 rows shows what one does that is attached only now.
#[track_caller]
fn is_exact(world: &World, name: &str, bytes: impl Fn() -> Vec<u8>) {
    world.must(&["wait", name, "--quiet", "200ms", "--timeout", "60s"]);
    let mut fresh = world.terminal(&["attach", name, "--read-only"]);
    eventually("both terminals show the same", || {
        let drawn = fresh.bytes();
        (drawn.len() > 200 && seen(&bytes(), 80, 24) == seen(&drawn, 80, 24)).then_some(())
    });
    fresh.send(DETACH);
    assert_eq!(fresh.finish(), 0);
}

for_root_and_user! {
    /// Nobody's flags change, and what the keeper opened is closed when the client leaves.
    fn the_keeper_writes_to_the_terminal_and_reads_there(world) {
        let id = shell(world, "desk");
        let mut terminal = world.terminal_below_shell(&["attach", "desk"]);
        terminal.expect("here> ");
        let (client, keeper) = (client(world).pid, part(world, "keeper", &id).unwrap());
        let tty = terminal_of(client);
        is_the_keepers(keeper, &tty);
        // Nor does the guardian act before the keeper has let go.
        let guardian = processes::of_command(world, "guard-terminal")[0];
        let line = fs::read_link(format!("/proc/{}/fd/0", guardian.pid)).unwrap();
        assert_eq!(opened(keeper, &line).len(), 1, "{line:?}");
        let theirs = opened(client, &tty);
        assert!(theirs.len() >= 3 && theirs.iter().all(|(_, flags)| flags & NONBLOCK == 0), "{theirs:?}");
        // What is typed passes through no client.
        let client = processes::of_command(world, "attach")[0];
        let before = switches(client.pid);
        for key in "echo direct-$((1 + 1))".chars() {
            terminal.send(&key.to_string());
            std::thread::sleep(Duration::from_millis(5));
        }
        terminal.send("\r");
        terminal.expect("direct-2");
        assert_eq!(switches(client.pid), before);
        // What comes behind the key that leaves is for who comes next, or for nobody.
        terminal.send(&format!("echo last{DETACH}"));
        terminal.expect("it ended with 0");
        assert_eq!(opened(keeper, &tty), []);
        assert!(world.must(&["screen", "desk"]).contains("here> echo last"));
        terminal.send("\r");
        assert_eq!(terminal.finish(), 0);
    }

    /// Everything else is seen to while somebody types without a pause, also what shows nothing of it.
    fn whoever_types_keeps_nobody_waiting(world) {
        world.must(&["run", "--detach", "--name", "desk", "--", "sh", "-c", MUTE]);
        let mut terminal = world.terminal(&["attach", "desk"]);
        terminal.expect("mute");
        let typed = || world.show("desk")["attached"][0]["typed_bytes"].as_u64();
        let (goes_on, limit) = (AtomicBool::new(true), Instant::now() + TIME_LIMIT);
        let mut terminal = std::thread::scope(|scope| {
            let types = scope.spawn(|| {
                while goes_on.load(Ordering::Relaxed) && Instant::now() < limit {
                    terminal.send("k");
                    std::thread::sleep(Duration::from_millis(2));
                }
                terminal
            });
            let before = eventually("something is typed", || typed().filter(|&bytes| bytes > 20));
            assert!(world.must(&["screen", "desk"]).contains("mute"));
            assert!(typed() > Some(before), "it goes on meanwhile");
            goes_on.store(false, Ordering::Relaxed);
            types.join().unwrap()
        });
        terminal.send(DETACH);
        assert_eq!(terminal.finish(), 0);
    }

    /// The keeper waits for what an app answers to a key, here for an hour. Another's keys end that.
    fn whoever_types_keeps_nobody_else_waiting_who_types(world) {
        let daemon = world.daemon_with("echo=3600000");
        world.must(&["run", "--detach", "--name", "desk", "--", "sh", "-c", MUTE]);
        let mut terminal = world.terminal(&["attach", "desk"]);
        let mut other = world.terminal(&["exec", "-t", "desk", "--", "cat"]);
        terminal.expect("mute");
        let keeper = part(world, "keeper", world.show("desk")["id"].as_str().unwrap()).unwrap();
        let clients = ["attach", "exec"].map(|command| processes::of_command(world, command)[0].pid);
        clients.iter().for_each(|pid| is_the_keepers(keeper, &terminal_of(*pid)));
        let before = clients.map(bytes_read);
        for key in ["a", "b", "c"] {
            for _ in 0..5 {
                terminal.send("k");
                std::thread::sleep(Duration::from_millis(20));
            }
            other.send(key);
            other.expect(key);
        }
        assert_eq!(clients.map(bytes_read), before, "clients read keys that a keeper leaves in the terminal");
        other.send("\r\u{4}");
        other.expect("\r\nabc");
        assert_eq!(other.finish(), 0);
        terminal.send(DETACH);
        assert_eq!(terminal.finish(), 0);
        world.must(&["daemon", "stop"]);
        daemon.finish().ended_with(0);
    }

    /// Who only watches keeps the reading, too.
    fn the_keeper_does_not_read_where_somebody_only_watches(world) {
        let id = shell(world, "desk");
        let mut terminal = world.terminal(&["attach", "desk", "--read-only"]);
        terminal.expect("here> ");
        run(world, "desk", "echo seen-$((1 + 1))", "seen-2");
        terminal.expect("seen-2");
        terminal.send("echo typed");
        let (keeper, tty) = (part(world, "keeper", &id).unwrap(), terminal_of(client(world).pid));
        std::thread::sleep(Duration::from_millis(300));
        assert!(matches!(opened(keeper, &tty)[..], [(_, flags)] if flags & NONBLOCK != 0));
        assert!(!world.must(&["screen", "desk"]).contains("typed"));
        terminal.send(DETACH);
        assert_eq!(terminal.finish(), 0);
    }

    /// A sentence among what an app has drawn on every row would leave none of them where it was.
    fn on_a_full_screen_a_sentence_covers_the_last_row_for_a_while(world) {
        let full = r"stty -echo; printf '\033[?1049h'; i=1; while [ $i -le 24 ]; do \
            printf '\033[%d;1Hrow %02d' $i $i; i=$((i + 1)); done; printf '\033[5;3H'; \
            while read -r line; do printf $line; done";
        world.must(&["run", "--detach", "--name", "desk", "--size", "fixed:80x24", "--", "sh", "-c", full]);
        world.must(&["wait", "desk", "--pattern", "row 24", "--timeout", "30s"]);
        let mut terminal = world.terminal(&["attach", "desk"]);
        terminal.expect("row 24");
        let before = seen(&terminal.bytes(), 80, 24);
        let is_recorded = |row: &String| row.contains("[sessile: main is recorded]");
        world.must(&["record", "desk", "start"]);
        eventually("it is said in the last row alone", || {
            let now = seen(&terminal.bytes(), 80, 24);
            let others = now.iter().zip(&before).enumerate().filter(|(row, _)| *row != 23);
            (is_recorded(&now[23]) && others.into_iter().all(|(_, (now, before))| now == before)).then_some(())
        });
        eventually("it goes", || (seen(&terminal.bytes(), 80, 24) == before).then_some(()));
        terminal.send(DETACH);
        assert_eq!(terminal.finish(), 0);
    }

    /// As behind `su`: who runs the session may write to it only by what its client has.
    fn another_users_terminal_stays_with_its_client(world) {
        if world.is_root() || !rustix::process::getuid().is_root() {
            return skip("a terminal of another user's takes root and a user");
        }
        let id = shell(world, "desk");
        let mut terminal = world.terminal_of_root(&["attach", "desk"]);
        terminal.expect("here> ");
        terminal.send("echo by-frames-$((1 + 1))\r");
        terminal.expect("by-frames-2");
        let tty = terminal_of(client(world).pid);
        assert_eq!(opened(part(world, "keeper", &id).unwrap(), &tty), []);
        is_exact(world, "desk", || terminal.bytes());
        terminal.send(DETACH);
        assert_eq!(terminal.finish(), 0);
    }

    /// Whoever stopped it may have given the terminal to somebody else.
    fn a_stopped_client_is_shown_nothing(world) {
        let id = shell(world, "desk");
        let mut terminal = world.terminal(&["attach", "desk"]);
        terminal.expect("here> ");
        let stopped = client(world);
        is_the_keepers(part(world, "keeper", &id).unwrap(), &terminal_of(stopped.pid));
        processes::signal(stopped.pid, Signal::STOP);
        eventually("the client is stopped", || processes::is_stopped(stopped).then_some(()));
        let before = terminal.bytes();
        run(world, "desk", "echo meanwhile-$((1 + 1))", "meanwhile-2");
        // What is typed meanwhile is whoever's that reads there now.
        terminal.send("echo ");
        std::thread::sleep(Duration::from_millis(300));
        assert!(!world.must(&["screen", "desk"]).ends_with("here> echo"));
        assert_eq!(terminal.bytes(), before);
        processes::signal(stopped.pid, Signal::CONT);
        terminal.expect("meanwhile-2");
        // Both ways again, before anything more is typed.
        is_the_keepers(part(world, "keeper", &id).unwrap(), &terminal_of(stopped.pid));
        terminal.send("on-$((1 + 1))\r");
        terminal.expect("on-2");
        is_exact(world, "desk", || terminal.bytes());
        terminal.send(DETACH);
        assert_eq!(terminal.finish(), 0);
    }

    /// The shell has its terminal as it was; back in the foreground, the screen is exact.
    fn a_client_that_is_told_to_stop(world) {
        shell(world, "desk");
        let script = "\"$@\"; echo it stopped; read line; fg >/dev/null; echo it ended with $?; read line";
        let mut terminal = world.terminal_below_script(script, &["attach", "desk"]);
        terminal.expect("here> ");
        terminal.send("printf '\\033[?1049h\\033[?25l\\033[31mfull%s' -screen\r");
        terminal.expect("full-screen");
        let stopped = client(world);
        processes::signal(stopped.pid, Signal::TSTP);
        terminal.expect("it stopped");
        assert!(processes::is_stopped(stopped) && terminal.is_as_before());
        terminal.expect_bytes(b"\x1b[23;0t\x1b[?25h\x1b[?1049l\x1b[0m\r\n");
        let before = terminal.bytes();
        run(world, "desk", "echo meanwhile-$((1 + 1))", "meanwhile-2");
        assert_eq!(terminal.bytes(), before);
        terminal.send("\r");
        terminal.expect("meanwhile-2");
        is_exact(world, "desk", || terminal.bytes());
        terminal.send("echo on-$((1 + 1))\r");
        terminal.expect("on-2");
        terminal.send(DETACH);
        terminal.expect("it ended with 0");
        assert!(terminal.is_as_before());
        terminal.send("\r");
        assert_eq!(terminal.finish(), 0);
    }

    /// Text that holds the key that leaves leaves nothing, whoever reads it, and no rest of it is the outer shell's.
    fn a_paste_with_the_key_that_leaves(world) {
        let script = "stty raw -echo; echo ready; exec cat -v";
        for name in ["kept", "read"] {
            let by_keeper = name == "kept";
            world.must(&["run", "--detach", "--name", name, "--", "sh", "-c", script]);
            world.must(&["wait", name, "--pattern", "ready", "--timeout", "30s"]);
            let id = world.show(name)["id"].as_str().unwrap().to_owned();
            let keeper = part(world, "keeper", &id).unwrap();
            let mut terminal = world.terminal_below_shell(&["attach", name]);
            terminal.expect("ready");
            is_the_keepers(keeper, &terminal_of(client(world).pid));
            let stopped = processes::Process::of(keeper).unwrap();
            if !by_keeper {
                processes::signal(keeper, Signal::STOP);
                eventually("the keeper is stopped", || processes::is_stopped(stopped).then_some(()));
            }
            terminal.send(&format!("\x1b[200~first{DETACH}\r"));
            terminal.send(&format!("echo within{DETACH}\r\x1b[201~"));
            if !by_keeper {
                // Until its client reads in its place.
                std::thread::sleep(Duration::from_secs(4));
                processes::signal(keeper, Signal::CONT);
            }
            let pasted = "first\\^\\\\\\^Mecho within\\^\\\\\\^M\\^\\[\\[201~";
            world.must(&["wait", name, "--pattern", pasted, "--timeout", "30s"]);
            terminal.send(DETACH);
            terminal.expect("it ended with 0");
            terminal.send("\r");
            assert_eq!(terminal.finish(), 0);
        }
        // Without marks it is a key; what comes at once behind it is nobody's.
        // Outside, all that arrives is read and shown.
        let script = "\"$@\"; echo it ended with $?; cat";
        let mut terminal = world.terminal_below_script(script, &["attach", "kept"]);
        terminal.expect("ready");
        let rest = "echo outside\r".repeat(3000);
        terminal.send(&format!("{DETACH}{rest}"));
        terminal.expect("thrown away");
        terminal.expect("it ended with 0");
        terminal.send("\rseen\r\u{4}");
        terminal.expect("seen");
        assert!(!String::from_utf8_lossy(&terminal.bytes()).contains("outside"));
        assert_eq!(terminal.finish(), 0);
    }

    /// What was typed before arrives, once it goes on.
    fn the_key_that_leaves_while_the_keeper_hangs(world) {
        let id = shell(world, "desk");
        let mut terminal = world.terminal_below_shell(&["attach", "desk"]);
        terminal.expect("here> ");
        let keeper = part(world, "keeper", &id).unwrap();
        is_the_keepers(keeper, &terminal_of(client(world).pid));
        processes::signal(keeper, Signal::STOP);
        terminal.send(&format!("echo before{DETACH}"));
        terminal.expect("it ended with 0");
        assert!(terminal.is_as_before());
        processes::signal(keeper, Signal::CONT);
        world.must(&["wait", "desk", "--pattern", "here> echo before", "--timeout", "30s"]);
        terminal.send("\r");
        assert_eq!(terminal.finish(), 0);
    }

    fn a_read_that_a_keepers_death_cut_off_is_uncertain(world) {
        let daemon = world.daemon_with("stop=typed.read");
        let id = shell(world, "desk");
        let mut terminal = world.terminal(&["attach", "desk"]);
        terminal.expect("here> ");
        let keeper = part(world, "keeper", &id).unwrap();
        is_the_keepers(keeper, &terminal_of(client(world).pid));
        terminal.send("lost");
        let stopped = processes::Process::of(keeper).unwrap();
        eventually("the keeper has read", || processes::is_stopped(stopped).then_some(()));
        processes::kill(keeper);
        terminal.expect("what was typed last arrived is uncertain");
        terminal.send("echo on-$((1 + 1))\r");
        terminal.expect("on-2");
        assert!(!world.must(&["screen", "desk"]).contains("lost"), "it was sent again");
        terminal.send(DETACH);
        assert_eq!(terminal.finish(), 0);
        drop(daemon);
    }

    /// Of what is typed meanwhile only the one read that was on its way may be missing, and that is said.
    fn what_is_typed_while_keepers_die(world) {
        let script = "stty raw -echo; echo ready; cat > /tmp/taken";
        world.must(&["run", "--detach", "--name", "desk", "--", "sh", "-c", script]);
        world.must(&["wait", "desk", "--pattern", "ready", "--timeout", "30s"]);
        let id = world.show("desk")["id"].as_str().unwrap().to_owned();
        let mut terminal = world.terminal(&["attach", "desk"]);
        terminal.expect("ready");
        let tty = terminal_of(client(world).pid);
        let typed: String = (0..2_000).map(|number| format!("{number:05} ")).collect();
        for (number, token) in typed.as_bytes().chunks(6).enumerate() {
            if number % 500 == 250 {
                // Its predecessor may have been killed just now.
                let keeper = eventually("a keeper runs", || part(world, "keeper", &id));
                is_the_keepers(keeper, &tty);
                processes::kill(keeper);
            }
            terminal.send(std::str::from_utf8(token).unwrap());
            std::thread::sleep(Duration::from_micros(300));
        }
        let taken = || world.must(&["exec", "desk", "--", "cat", "/tmp/taken"]);
        eventually("the last arrives", || taken().ends_with("01999 ").then_some(()));
        let taken = taken();
        let (mut at, mut gaps) = (0, 0);
        for token in taken.as_bytes().chunks(6) {
            let token = std::str::from_utf8(token).unwrap();
            let found = typed[at..].find(token).unwrap_or_else(|| panic!("{token:?} is not where it was typed"));
            gaps += usize::from(found > 0);
            assert!(found <= 4096, "{found} bytes are missing");
            at += found + token.len();
        }
        let said = terminal.text().matches("what was typed last arrived is uncertain").count();
        assert!(gaps <= said && said <= 4, "{gaps} reads are missing, {said} were said to be");
        terminal.send(DETACH);
        assert_eq!(terminal.finish(), 0);
    }

    /// What it does not take waits where it is typed, and comes in order once it does.
    fn the_key_that_leaves_while_the_app_takes_nothing(world) {
        let script = "stty raw -echo; echo ready; until [ -e /tmp/go ]; do sleep 0.1; done;
            head -c 30000 > /tmp/taken; echo taken-all; sleep 600";
        world.must(&["run", "--detach", "--name", "desk", "--", "sh", "-c", script]);
        world.must(&["wait", "desk", "--pattern", "ready", "--timeout", "30s"]);
        let typed: String = (0..5_000).map(|number| format!("{number:05} ")).collect();
        let mut terminal = world.terminal_below_shell(&["attach", "desk"]);
        terminal.expect("ready");
        let id = world.show("desk")["id"].as_str().unwrap().to_owned();
        is_the_keepers(part(world, "keeper", &id).unwrap(), &terminal_of(client(world).pid));
        terminal.send(&typed);
        terminal.send(DETACH);
        terminal.expect("it ended with 0");
        terminal.send("\r");
        assert_eq!(terminal.finish(), 0);
        world.must(&["exec", "desk", "--", "touch", "/tmp/go"]);
        world.must(&["wait", "desk", "--pattern", "taken-all", "--timeout", "30s"]);
        assert_eq!(world.must(&["exec", "desk", "--", "cat", "/tmp/taken"]), typed);
    }

    /// The keeper stops before the guardian gives the terminal back.
    fn nothing_is_written_behind_a_killed_client(world) {
        let id = shell(world, "desk");
        let mut terminal = world.terminal_below_shell(&["attach", "desk"]);
        terminal.expect("here> ");
        terminal.send("while :; do printf '\\033[?25lflood\\033[?25h\\r\\n'; done\r");
        for _ in 0..3 {
            terminal.expect("flood");
        }
        let (client, keeper) = (client(world), part(world, "keeper", &id).unwrap());
        let tty = terminal_of(client.pid);
        let guardian = processes::of_command(world, "guard-terminal")[0];
        processes::kill_group(client.pid);
        terminal.expect("it ended with 137");
        assert!(processes::wait_for_end(guardian.pid, TIME_LIMIT), "the guardian does not end");
        assert_eq!(opened(keeper, &tty), []);
        terminal.expect_bytes(b"\x1b[0m\r\r\n");
        eventually("the modes are back", || terminal.is_as_before().then_some(()));
        let bytes = terminal.bytes();
        let undone = bytes.windows(4).rposition(|window| window == b"\x1b[0m").unwrap();
        assert!(!bytes[undone..].windows(5).any(|window| window == b"flood"), "written behind the end");
        let end = || world.json(&["output", "desk", "--json", "--keep"])["end"].as_u64().unwrap();
        let now = end();
        eventually("it goes on", || (end() > now + 10_000).then_some(()));
        assert_eq!(terminal.bytes(), bytes);
        terminal.send("\r");
        assert_eq!(terminal.finish(), 0);
    }

    fn leaving_in_the_middle_of_much_output(world) {
        shell(world, "desk");
        world.must(&["type", "desk", "while :; do printf '\\033[?25lflood\\033[?25h\\r\\n'; done\n"]);
        for _ in 0..10 {
            let mut terminal = world.terminal_below_shell(&["attach", "desk"]);
            for _ in 0..50 {
                terminal.expect("flood");
            }
            terminal.send(DETACH);
            terminal.expect("it ended with 0");
            let bytes = terminal.bytes();
            let undone = bytes.windows(7).rposition(|window| window == b"\x1b[23;0t").unwrap();
            let rest = &bytes[undone..];
            assert!(!rest.windows(5).any(|window| window == b"flood"), "{}", rest.escape_ascii());
            assert!(terminal.is_as_before());
            terminal.send("\r");
            assert_eq!(terminal.finish(), 0);
        }
    }

    /// The session goes on at its speed, and the terminal has the whole screen when it takes it.
    fn a_terminal_that_takes_nothing(world) {
        shell(world, "desk");
        let mut terminal = world.terminal(&["attach", "desk"]);
        terminal.expect("here> ");
        let slow = File::options().write(true).custom_flags(NOCTTY.bits() as i32).open(terminal_of(client(world).pid)).unwrap();
        tcflow(&slow, Action::OOff).unwrap();
        run(world, "desk", "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo all-$((1 + 1))", "all-2");
        assert!(!terminal.text().contains("all-2"));
        tcflow(&slow, Action::OOn).unwrap();
        drop(slow);
        terminal.expect("all-2");
        assert!(terminal.bytes().len() < 2_000_000, "it is moved to a fresh screen");
        is_exact(world, "desk", || terminal.bytes());
        terminal.send("echo on-$((1 + 1))\r");
        terminal.expect("on-2");
        terminal.send(DETACH);
        assert_eq!(terminal.finish(), 0);
    }

    /// The next keeper is handed the terminal again, and what the first has changed is undone at the end.
    fn another_keeper_goes_on(world) {
        let id = shell(world, "desk");
        let mut terminal = world.terminal_below_shell(&["attach", "desk"]);
        terminal.expect("here> ");
        terminal.send("printf '\\033[22;0t\\033[?2004hmode%s' -set\r");
        terminal.expect("mode-set");
        let first = part(world, "keeper", &id).unwrap();
        processes::kill(first);
        assert!(processes::wait_for_end(first, TIME_LIMIT));
        terminal.send("echo on-$((1 + 1))\r");
        terminal.expect("on-2");
        let tty = terminal_of(client(world).pid);
        let keeper = part(world, "keeper", &id).unwrap();
        is_the_keepers(keeper, &tty);
        is_exact(world, "desk", || terminal.bytes());
        terminal.send(DETACH);
        terminal.expect("it ended with 0");
        terminal.expect_bytes(b"\x1b[23;0t\x1b[23;2t\x1b[?2004l\x1b[0m");
        terminal.send("\r");
        assert_eq!(terminal.finish(), 0);
    }
}
