//! A command on a real terminal, as a person sits before it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::fchown;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Instant;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, OptionalActions, Termios, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

use super::processes;
use super::running::{TIME_LIMIT, code};

/// A terminal, the command on it, and everything it has shown.
pub struct Terminal {
    master: File,
    child: Child,
    shown: Arc<Shown>,
    before: String,
}

#[derive(Default)]
struct Shown {
    bytes: Mutex<Screenful>,
    more: Condvar,
}

#[derive(Default)]
struct Screenful {
    bytes: Vec<u8>,
    over: bool,
    /// Characters of the plain text that expectations have used up.
    used: usize,
}

impl Terminal {
    /// Starts a command as the leader of a session of its own on a new terminal of so many columns and
    /// rows, which is this user's; `command` gets the words that must stand before it.
    pub(super) fn start(
        (cols, rows): (u16, u16),
        owner: u32,
        command: impl FnOnce(&[&str]) -> Command,
    ) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap();
        let slave: OwnedFd = fs::File::options()
            .read(true)
            .write(true)
            .open(OsStr::from_bytes(path.as_bytes()))
            .unwrap()
            .into();
        fchown(&slave, Some(owner), None).unwrap();
        set_size(&master, cols, rows);
        // Whoever writes beside the foreground is stopped, unless it knows how not to be.
        let mut strict = tcgetattr(&master).unwrap();
        strict.local_modes |= LocalModes::TOSTOP;
        tcsetattr(&master, OptionalActions::Now, &strict).unwrap();
        let before = settings(&tcgetattr(&master).unwrap());
        let stream = || Stdio::from(slave.try_clone().unwrap());
        let child =
            command(&["setsid", "--ctty"]).stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
        drop(slave);
        let master = File::from(master);
        let shown = Arc::new(Shown::default());
        let (mut reader, writer) = (master.try_clone().unwrap(), Arc::clone(&shown));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // Ends with EIO when the last program on the terminal has gone.
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                writer.bytes.lock().unwrap().bytes.extend_from_slice(&buffer[..count]);
                writer.more.notify_all();
            }
            writer.bytes.lock().unwrap().over = true;
            writer.more.notify_all();
        });
        Self { master, child, shown, before }
    }

    /// The client's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Types.
    pub fn send(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Types, even when nobody may be there to read it.
    pub fn try_send(&mut self, text: &str) {
        drop(self.master.write_all(text.as_bytes()));
    }

    /// Changes the window's size.
    pub fn resize(&self, cols: u16, rows: u16) {
        set_size(&self.master, cols, rows);
    }

    /// Waits until this is shown, after what an earlier call waited for.
    #[track_caller]
    pub fn expect(&self, text: &str) {
        let deadline = Instant::now() + TIME_LIMIT;
        let mut shown = self.shown.bytes.lock().unwrap();
        loop {
            let plain = plain(&shown.bytes);
            if let Some(at) = plain.get(shown.used..).and_then(|rest| rest.find(text)) {
                shown.used += at + text.len();
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!shown.over && !left.is_zero(), "never shown: {text:?}; shown was:\n{plain}");
            shown = self.shown.more.wait_timeout(shown, left).unwrap().0;
        }
    }

    /// Waits until these very bytes have been shown.
    #[track_caller]
    pub fn expect_bytes(&self, bytes: &[u8]) {
        processes::eventually("the terminal receives the bytes", || {
            let shown = self.shown.bytes.lock().unwrap();
            shown.bytes.windows(bytes.len()).any(|window| window == bytes).then_some(())
        });
    }

    /// All that has been shown.
    pub fn text(&self) -> String {
        plain(&self.shown.bytes.lock().unwrap().bytes)
    }

    /// The bytes that have been shown.
    pub fn bytes(&self) -> Vec<u8> {
        self.shown.bytes.lock().unwrap().bytes.clone()
    }

    /// Whether the terminal's modes are what they were at first.
    pub fn is_as_before(&self) -> bool {
        settings(&tcgetattr(&self.master).unwrap()) == self.before
    }

    /// Waits for the command's end and returns its code. The terminal must be as it was.
    #[track_caller]
    pub fn finish(mut self) -> i32 {
        let ended = processes::wait_for_end(self.child.id(), TIME_LIMIT);
        let shown = plain(&self.shown.bytes.lock().unwrap().bytes);
        assert!(ended, "the client hangs; shown was:\n{shown}");
        let after = settings(&tcgetattr(&self.master).unwrap());
        assert_eq!(after, self.before, "the terminal was not restored; shown was:\n{shown}");
        code(self.child.wait().unwrap())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn set_size(master: impl std::os::fd::AsFd, cols: u16, rows: u16) {
    tcsetwinsize(master, Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}

/// The modes that a client changes and must put back.
fn settings(termios: &Termios) -> String {
    format!(
        "{:?} {:?} {:?} {:?} {:?}",
        termios.input_modes,
        termios.output_modes,
        termios.control_modes,
        termios.local_modes,
        termios.special_codes
    )
}

/// Text without escape sequences, as far as tests need it.
fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '\u{1b}' {
            out.push(c);
            continue;
        }
        match rest.next() {
            Some('[') => while rest.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
            Some(']' | 'P') => {
                while let Some(c) = rest.next() {
                    if c == '\u{7}' || (c == '\u{1b}' && rest.next_if_eq(&'\\').is_some()) {
                        break;
                    }
                }
            }
            Some('(' | ')') => drop(rest.next()),
            Some(_) | None => {}
        }
    }
    out
}

#[test]
fn escape_sequences_are_left_out() {
    assert_eq!(plain(b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07x\x1b(By"), "red xy");
}
