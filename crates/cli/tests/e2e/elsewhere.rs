//! `attach --remote`: a session behind a socket that leads elsewhere, and a connection that is lost.

use std::fs;
use std::io;
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use sessile_model::spec::WindowSize;
use sessile_terminal::Terminal;

use crate::support::{World, as_own, processes};

/// Says again what it is told.
const SCRIPT: &str = "stty -echo; echo ready; while read line; do echo \"got $line\"; done";

/// Stands where `ssh -L` does: passes on what comes to a socket.
pub struct Forwarder {
    socket: PathBuf,
    to: PathBuf,
    under_way: Arc<Mutex<Vec<UnixStream>>>,
}

impl Forwarder {
    pub fn new(world: &World) -> Self {
        let folder = world.folder().join("far");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let (socket, to) = (folder.join("far.sock"), world.runtime().join("daemon.sock"));
        let forwarder = Self { socket, to, under_way: Arc::default() };
        forwarder.listen();
        forwarder
    }

    pub fn socket(&self) -> &str {
        self.socket.to_str().unwrap()
    }

    fn listen(&self) {
        let listener = UnixListener::bind(&self.socket).unwrap();
        fs::set_permissions(&self.socket, fs::Permissions::from_mode(0o777)).unwrap();
        let (to, under_way) = (self.to.clone(), Arc::clone(&self.under_way));
        thread::spawn(move || {
            for near in listener.incoming() {
                drop(near.and_then(|near| pass_on(near, &to, &under_way)));
            }
        });
    }

    /// Loses what is under way; what comes next is passed on.
    pub fn cut(&self) {
        for stream in self.under_way.lock().unwrap().drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    /// Nobody answers from now on.
    fn unplug(&self) {
        fs::remove_file(&self.socket).unwrap();
        self.cut();
    }
}

fn pass_on(near: UnixStream, to: &Path, under_way: &Mutex<Vec<UnixStream>>) -> io::Result<()> {
    let far = UnixStream::connect(to)?;
    under_way.lock().unwrap().extend([near.try_clone()?, far.try_clone()?]);
    for (mut from, mut into) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
        thread::spawn(move || {
            drop(io::copy(&mut from, &mut into));
            drop(into.shutdown(Shutdown::Both));
        });
    }
    Ok(())
}

#[test]
fn a_lost_connection_goes_on_where_it_was() {
    as_own(|world| {
        world.open("desk", &["sh", "-c", SCRIPT]);
        let forwarder = Forwarder::new(world);
        let mut terminal = world.terminal(&["attach", "desk", "--remote", forwarder.socket()]);
        terminal.expect("ready");
        terminal.send("one\r");
        terminal.expect("got one");
        // Lost for a moment: nothing is drawn anew, and nothing is lost or comes twice.
        for round in 0..5 {
            terminal.send(&format!("early {round}\r"));
            forwarder.cut();
            terminal.send(&format!("late {round}\r"));
            terminal.expect(&format!("got late {round}"));
        }
        let output = world.must(&["output", "desk", "--raw"]);
        let said: Vec<&str> = output.lines().filter_map(|line| line.trim().strip_prefix("got ")).collect();
        let late = (0..5).map(|round| format!("late {round}"));
        assert!(late.clone().all(|line| said.iter().filter(|said| **said == line).count() == 1), "{said:?}");
        let text = terminal.text();
        assert_eq!((text.matches("got one").count(), text.contains("is lost")), (1, false), "{text}");
        // The daemon is that of elsewhere: none is started here for it.
        processes::kill(processes::daemon_of(world).unwrap().pid);
        world.must(&["type", "desk", "between", "--key", "enter"]);
        terminal.expect("got between");
        // Lost for long: it is said, and what was said is not left on the screen.
        forwarder.unplug();
        terminal.expect("the connection is lost; trying again");
        world.must(&["type", "desk", "meanwhile", "--key", "enter"]);
        forwarder.listen();
        terminal.expect("got meanwhile");
        terminal.send("two\r");
        terminal.expect("got two");
        let mut screen = Terminal::new(WindowSize { cols: 80, rows: 24 }, 0);
        screen.feed(&terminal.bytes());
        let text = screen.text();
        assert!(text.contains("got meanwhile") && !text.contains("is lost"), "{text}");
        terminal.resize(100, 30);
        processes::eventually("the size is known", || {
            (world.show("desk")["apps"][0]["cols"] == 100).then_some(())
        });
        terminal.send("\u{1c}");
        terminal.expect(&format!("--remote {}", forwarder.socket()));
        assert_eq!(terminal.finish(), 0);
        world.must(&["show", "desk"]);
    });
}

#[test]
fn who_waits_for_a_lost_connection_can_leave() {
    as_own(|world| {
        world.open("desk", &["sh", "-c", SCRIPT]);
        let forwarder = Forwarder::new(world);
        let mut terminal = world.terminal(&["attach", "desk", "--remote", forwarder.socket()]);
        terminal.expect("ready");
        forwarder.unplug();
        terminal.expect("trying again");
        terminal.send("\u{1c}");
        assert_eq!(terminal.finish(), 0);
    });
}

#[test]
fn what_is_refused_elsewhere_is_said_here() {
    as_own(|world| {
        let id = world.open("desk", &["sh", "-c", SCRIPT]);
        let forwarder = Forwarder::new(world);
        let refused = |arguments: &[&str], code, words: &[&str]| {
            let terminal = world.terminal(arguments);
            words.iter().for_each(|word| terminal.expect(word));
            assert_eq!(terminal.finish(), code);
        };
        refused(&["attach", "none", "--remote", forwarder.socket()], 66, &["no such session"]);
        refused(
            &["attach", "desk", "--remote", "/nonexistent"],
            66,
            &["cannot reach a daemon at /nonexistent", "ssh -L"],
        );
        let terminal = world.terminal(&["attach", "desk", "--remote", forwarder.socket()]);
        terminal.expect("ready");
        world.must(&["end", &id, "--grace", "0s"]);
        terminal.expect("ended");
        assert_ne!(terminal.finish(), 0);
    });
}
