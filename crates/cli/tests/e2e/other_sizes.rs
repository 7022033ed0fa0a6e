//! A window that is smaller than the app's terminal shows a part of it, one that is larger all of it in its corner.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::{Duration, Instant};

use rustix::termios::{Action, tcflow};

use crate::elsewhere::Forwarder;
use crate::support::emulator::{Picture, picture, seen, seen_resized};
use crate::support::{Terminal, World, as_own, processes};

const DETACH: &str = "\u{1c}";
const APP: (usize, usize) = (100, 30);
const SMALL: (usize, usize) = (40, 10);
const NOTICE: &str = "smaller than the app's 100x30";

/// Fills the screen with rows that are told apart, and writes what it is told to.
const SCRIPT: &str = r"stty -echo; text=0123456789abcdefghijklmnopqrstuvwxyz; i=1; while [ $i -le 30 ]; do \
     printf '\033[%d;1H\033[3%dm%02d: %s%s%.24s\033[m' $i $((i % 8)) $i $text $text $text; i=$((i + 1)); done; \
     printf '\033[14;52H'; while read -r line; do printf $line; done";

/// Opens a session whose terminal is of a size that no window changes.
fn open(world: &World, script: &str) -> String {
    let size = format!("fixed:{}x{}", APP.0, APP.1);
    world.must(&["run", "--detach", "--name", "desk", "--size", &size, "--", "sh", "-c", script]);
    world.must(&["wait", "desk", "--pattern", "30: ", "--timeout", "30s"]);
    world.show("desk")["id"].as_str().unwrap().to_owned()
}

fn small(world: &World, options: &[&str]) -> Terminal {
    world.terminal_of((SMALL.0 as u16, SMALL.1 as u16), &[&["attach", "desk"], options].concat())
}

fn large(world: &World) -> Terminal {
    world.terminal_of((APP.0 as u16, APP.1 as u16), &["attach", "desk", "--read-only"])
}

/// Whether a window shows the part of a screen in which it has the cursor.
fn is_part_of(part: &Picture, whole: &Picture) -> bool {
    let origin = whole.cursor.0.checked_sub(part.cursor.0).zip(whole.cursor.1.checked_sub(part.cursor.1));
    let Some((top, left)) = origin else { return false };
    let rows = whole.cells.iter().skip(top).take(SMALL.1);
    rows.map(|row| row.get(left..left + SMALL.0)).eq(part.cells.iter().map(|row| Some(&row[..])))
}

#[track_caller]
fn shows_its_part(small: &Terminal, large: &Terminal) {
    let pictures = || (picture(&small.bytes(), SMALL.0, SMALL.1), picture(&large.bytes(), APP.0, APP.1));
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let (part, whole) = pictures();
        if is_part_of(&part, &whole) {
            return;
        }
        assert!(Instant::now() < deadline, "{part:#?} of {whole:#?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Has the app write something, and waits until it is on its screen.
fn write(world: &World, large: &Terminal, text: &str, shown: &str) {
    world.must(&["type", "desk", &format!("{text}\n")]);
    large.expect(shown);
}

for_root_and_user! {
    fn who_watches_in_a_smaller_window_sees_a_part(world) {
        open(world, SCRIPT);
        let large = large(world);
        large.expect("30: ");
        let mut small = small(world, &["--read-only"]);
        small.expect(NOTICE);
        shows_its_part(&small, &large);
        for (text, shown) in [
            (r"\033[1;1Hone", "one"),
            (r"\033[30;98Htwo", "two"),
            (r"\033[44mthree\033[K\033[m\033[12;30Hfour", "four"),
            (r"\033[?1049h\033[Halternate", "alternate"),
            (r"\033[?2004h\033[?25l\033[?1000;1006hmodes", "modes"),
        ] {
            write(world, &large, text, shown);
            shows_its_part(&small, &large);
        }
        let modes = |bytes: &[u8]| seen(bytes, SMALL.0, SMALL.1).pop().unwrap();
        let shown = modes(&small.bytes());
        assert!(shown.contains("BRACKETED_PASTE") && shown.contains("ALT_SCREEN"), "{shown}");
        assert!(!shown.contains("MOUSE") && !shown.contains("SHOW_CURSOR"), "{shown}");
        write(world, &large, r"\033[?1049l\033[?25h\033[?2004lback", "back");
        shows_its_part(&small, &large);
        // It grows, and sees what everybody does, and what follows.
        let mut sizes = vec![(SMALL, 0)];
        let resize = |sizes: &mut Vec<_>, size: (usize, usize)| {
            sizes.push((size, small.bytes().len()));
            small.resize(size.0 as u16, size.1 as u16);
        };
        let is_whole = |sizes: &[((usize, usize), usize)]| {
            processes::eventually("all of it is shown", || {
                let bytes = small.bytes();
                let ends = sizes.iter().skip(1).map(|&(_, from)| from).chain([bytes.len()]);
                let parts: Vec<_> = sizes.iter().zip(ends).map(|(&(size, from), to)| (size, &bytes[from..to])).collect();
                (seen_resized(&parts) == seen(&large.bytes(), APP.0, APP.1)).then_some(())
            });
        };
        resize(&mut sizes, APP);
        is_whole(&sizes);
        write(world, &large, r"\033[29;10Hlive\033[?2004h", "live");
        is_whole(&sizes);
        // And it becomes smaller again.
        resize(&mut sizes, SMALL);
        processes::eventually("it is said again", || {
            (small.text().matches(NOTICE).count() == 2).then_some(())
        });
        write(world, &large, r"\033[3;90Hlast", "last");
        shows_its_part(&small, &large);
        resize(&mut sizes, APP);
        is_whole(&sizes);
        small.send(DETACH);
        assert_eq!(small.finish(), 0);
    }

    fn a_larger_window_shows_all_in_its_corner(world) {
        open(world, SCRIPT);
        let exact = large(world);
        exact.expect("30: ");
        let wide = (APP.0 + 23, APP.1 + 5);
        let mut larger = world.terminal_of((wide.0 as u16, wide.1 as u16), &["attach", "desk"]);
        larger.expect("30: ");
        let shows_all = || {
            let blank = picture(b"", 1, 1).cells.remove(0).remove(0);
            processes::eventually("all of it is shown, and nothing else", || {
                let (whole, shown) = (picture(&exact.bytes(), APP.0, APP.1), picture(&larger.bytes(), wide.0, wide.1));
                let cells = |row: usize, column: usize| whole.cells.get(row).and_then(|row| row.get(column)).unwrap_or(&blank);
                let same = shown.cells.iter().enumerate().all(|(row, is)| is.iter().enumerate().all(|(column, cell)| cell == cells(row, column)));
                (same && shown.cursor == whole.cursor).then_some(())
            });
        };
        shows_all();
        let long = "x".repeat(150);
        for (text, shown) in [
            (format!(r"\033[2;1H{long}wrapped"), "wrapped"),
            (r"\033[30;1H\nscrolled".to_owned(), "scrolled"),
            (r"\033[44m\033[5;50H\033[Kblue\033[m".to_owned(), "blue"),
            (r"\033[?1049h\033[Halternate\033[999;999Hcorner".to_owned(), "corner"),
            (r"\033[?1049lback".to_owned(), "back"),
        ] {
            write(world, &exact, &text, shown);
            shows_all();
        }
        assert!(!larger.text().contains("[sessile:"), "nothing is hidden, so nothing is said");
        larger.send(DETACH);
        assert_eq!(larger.finish(), 0);
    }

    /// Where the window decides that was typed in last, the others' are of another size.
    fn who_watches_sees_what_a_smaller_window_has(world) {
        world.must(&["run", "--detach", "--name", "desk", "--", "sh", "-c", "stty -echo; while read -r line; do printf $line; done"]);
        let mut types = small(world, &[]);
        let watches = world.terminal_of((APP.0 as u16, APP.1 as u16), &["attach", "desk", "--read-only"]);
        let text = "y".repeat(2 * SMALL.0 + 7);
        types.send(&format!("{text}end\r"));
        watches.expect("end");
        processes::eventually("both show the same rows", || {
            let rows = |bytes: &[u8], size: (usize, usize)| {
                let text = |row: &Vec<String>| row.iter().filter_map(|cell| cell.chars().next()).collect::<String>();
                picture(bytes, size.0, size.1).cells.iter().take(SMALL.1).map(|row| text(row).trim_end().to_owned()).collect::<Vec<_>>()
            };
            (rows(&types.bytes(), SMALL) == rows(&watches.bytes(), APP)).then_some(())
        });
        types.send(DETACH);
        assert_eq!(types.finish(), 0);
    }

    fn who_types_in_a_smaller_window_sees_a_part(world) {
        open(world, SCRIPT);
        let large = large(world);
        let mut small = small(world, &[]);
        small.expect(NOTICE);
        small.send("\\033[2;3Htyped\r");
        large.expect("typed");
        shows_its_part(&small, &large);
        // No question is asked of a window that shows a part: the model answers.
        let asks = r"\033[6n\033[5;5Hasked";
        small.send(&format!("{asks}\r"));
        large.expect("asked");
        shows_its_part(&small, &large);
        assert!(!small.bytes().windows(4).any(|bytes| bytes == b"\x1b[6n"));
        small.send("\r");
        processes::eventually("the answer comes back as what was typed", || {
            world.must(&["output", "desk", "--raw", "--keep"]).contains("\u{1b}[2;8R").then_some(())
        });
        small.send(DETACH);
        assert_eq!(small.finish(), 0);
    }

    /// Nothing waits for a window that takes nothing, and what it missed is not drawn later.
    fn who_is_slow_skips_what_was_shown_meanwhile(world) {
        let flood = "printf '30: \\r\\n'; read go; i=0; while [ $i -lt 100 ]; do head -c 9000 /dev/zero | tr '\\0' x; i=$((i + 1)); \
             done; printf '\\r\\nall-%d' 2; read end";
        open(world, flood);
        let large = large(world);
        large.expect("30: ");
        let small = small(world, &["--read-only"]);
        small.expect("30: ");
        let client = processes::of_command(world, "attach").into_iter().map(|process| process.pid);
        let flags = rustix::fs::OFlags::NOCTTY.bits() as i32;
        let tty = client.map(|pid| fs::read_link(format!("/proc/{pid}/fd/1")).unwrap());
        let slow: Vec<File> = tty.map(|tty| File::options().write(true).custom_flags(flags).open(tty).unwrap()).collect();
        slow.iter().for_each(|slow| tcflow(slow, Action::OOff).unwrap());
        world.must(&["type", "desk", "go\n"]);
        world.must(&["wait", "desk", "--pattern", "all-2", "--timeout", "60s"]);
        assert!(!small.text().contains("all-2"));
        slow.iter().for_each(|slow| tcflow(slow, Action::OOn).unwrap());
        large.expect("all-2");
        small.expect("all-2");
        shows_its_part(&small, &large);
        assert!(small.bytes().len() < 60_000, "{} bytes", small.bytes().len());
    }
}

/// By frames as well; and what is shown after a lost connection is no output that a part is taken to go on with.
#[test]
fn a_part_is_shown_elsewhere() {
    as_own(|world| {
        open(world, SCRIPT);
        let forwarder = Forwarder::new(world);
        let large = large(world);
        large.expect("30: ");
        let mut small = small(world, &["--remote", forwarder.socket()]);
        small.expect(NOTICE);
        shows_its_part(&small, &large);
        small.send("\\033[2;3Hfirst\r");
        large.expect("first");
        shows_its_part(&small, &large);
        forwarder.cut();
        write(world, &large, r"\033[20;60Hsecond", "second");
        shows_its_part(&small, &large);
        // It comes back in a window in which everything fits.
        let before = small.bytes().len();
        small.resize(APP.0 as u16, APP.1 as u16);
        forwarder.cut();
        write(world, &large, r"\033[21;60Hthird", "third");
        processes::eventually("all of it is shown", || {
            let bytes = small.bytes();
            let ours = seen_resized(&[(SMALL, &bytes[..before]), (APP, &bytes[before..])]);
            (ours == seen(&large.bytes(), APP.0, APP.1)).then_some(())
        });
        small.send(DETACH);
        small.expect("--remote");
        assert_eq!(small.finish(), 0);
    });
}
