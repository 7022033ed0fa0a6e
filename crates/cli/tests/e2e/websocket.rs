//! Attaching over a WebSocket of the daemon's: what is seen and typed has no gap and nothing twice,
//! however often the connection is lost.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sessile_model::spec::WindowSize;
use sessile_model::wire::{self, Attach, Event, FrameType, Hello, Reply, Request};
use sessile_terminal::Terminal;
use tungstenite::{Message, WebSocket, client};

use crate::support::{TIME_LIMIT, World, processes};

const CHANNEL: u16 = 1;
const SIZE: WindowSize = WindowSize { cols: 80, rows: 24 };
/// Says again what it is told, and on demand more than is kept.
const SCRIPT: &str = "stty -echo; echo ready; while read line; do \
     [ \"$line\" != flood ] || seq 1 300000; echo \"got $line\"; done";

/// What a client has across its connections.
#[derive(Default)]
struct Seen {
    /// What its terminal was written last by a dump, and since.
    shown: Vec<u8>,
    dumps: usize,
    /// Where the first dump was made.
    from: u64,
    /// All output behind that.
    output: Vec<u8>,
    /// Offset behind the last byte.
    offset: u64,
    /// The last answer: input that was written, and that was begun.
    attached: (u64, u64),
    /// Input that was confirmed.
    confirmed: u64,
    /// Records that were told.
    records: usize,
}

struct Connection {
    socket: WebSocket<UnixStream>,
    received: Vec<u8>,
}

impl Connection {
    /// Attaches to a session named desk, from an offset or to a fresh screen.
    fn open(world: &World, resume_from: Option<u64>) -> Self {
        Self::open_sized(world, SIZE, resume_from)
    }

    fn open_sized(world: &World, size: WindowSize, resume_from: Option<u64>) -> Self {
        let stream = UnixStream::connect(world.runtime().join("daemon.sock")).unwrap();
        stream.set_read_timeout(Some(TIME_LIMIT)).unwrap();
        let (socket, _) = client("ws://sessile/v1/sessions/desk/attach", stream).unwrap();
        let mut frames = Vec::new();
        let hello = Hello { version: wire::VERSION, program: "test".into() };
        wire::put_frame(&mut frames, FrameType::Hello, 0, &[&serde_json::to_vec(&hello).unwrap()]);
        let attach =
            Request::Attach(Attach { size: Some(size), resume_from, client: 7, ..Attach::default() });
        wire::put_frame(&mut frames, FrameType::Request, CHANNEL, &[&serde_json::to_vec(&attach).unwrap()]);
        let mut connection = Self { socket, received: Vec::new() };
        connection.send(frames);
        connection
    }

    fn send(&mut self, frames: Vec<u8>) {
        self.socket.send(Message::Binary(frames.into())).unwrap();
    }

    fn type_line(&mut self, sequence: u64, line: &str) {
        let mut frames = Vec::new();
        let bytes = format!("{line}\n");
        let parts = [&sequence.to_le_bytes()[..], bytes.as_bytes()];
        wire::put_frame(&mut frames, FrameType::Input, CHANNEL, &parts);
        self.send(frames);
    }

    fn next(&mut self) -> (FrameType, Vec<u8>) {
        loop {
            if let Some((header, payload, used)) = wire::take_frame(&self.received).unwrap() {
                let frame = (FrameType::from_byte(header.kind).unwrap(), payload.to_vec());
                self.received.drain(..used);
                return frame;
            }
            let message = self.socket.read().unwrap();
            let Message::Binary(bytes) = message else { panic!("{message}") };
            self.received.extend_from_slice(&bytes);
        }
    }

    /// Takes what comes until this is shown, and all that was typed so far is confirmed.
    fn see(&mut self, seen: &mut Seen, text: &str, typed: u64) {
        let is_shown = |seen: &Seen| seen.shown.windows(text.len()).any(|part| part == text.as_bytes());
        while !is_shown(seen) || seen.confirmed < typed {
            let (kind, payload) = self.next();
            match kind {
                FrameType::Dump => {
                    let (offset, bytes) = wire::split_number(&payload).unwrap();
                    if seen.dumps == 0 {
                        seen.from = offset;
                    }
                    seen.dumps += 1;
                    seen.offset = offset;
                    seen.shown = bytes.to_vec();
                }
                FrameType::Output => {
                    let (offset, bytes) = wire::split_number(&payload).unwrap();
                    assert_eq!(offset, seen.offset, "a gap, or something twice");
                    seen.offset += bytes.len() as u64;
                    seen.output.extend_from_slice(bytes);
                    seen.shown.extend_from_slice(bytes);
                }
                FrameType::InputDone => seen.confirmed = wire::split_number(&payload).unwrap().0,
                FrameType::Reply => {
                    let reply = serde_json::from_slice(&payload).unwrap();
                    if let Reply::Attached { input_done, input_started, .. } = reply {
                        seen.attached = (input_done, input_started);
                        seen.confirmed = input_done;
                    } else {
                        assert!(matches!(reply, Reply::Record(_)), "{reply:?}");
                    }
                }
                FrameType::Event => {
                    let event = serde_json::from_slice(&payload).unwrap();
                    seen.records += usize::from(matches!(event, Event::Record(_)));
                }
                FrameType::Hello => {}
                other @ (FrameType::Request | FrameType::Input | FrameType::OutputDone) => {
                    panic!("{other:?}")
                }
            }
        }
    }

    /// Loses the connection, with whatever is under way.
    fn cut(self) {
        self.socket.get_ref().shutdown(Shutdown::Both).unwrap();
    }
}

/// What an app has written from this offset on.
fn written(world: &World, since: u64) -> Vec<u8> {
    let output = world.json(&["output", "desk", "--json", "--since", &since.to_string()]);
    STANDARD.decode(output["data"].as_str().unwrap()).unwrap()
}

/// Types past the client, and waits until that is answered.
fn meanwhile(world: &World, line: &str) {
    world.must(&["type", "desk", line, "--key", "enter"]);
    world.must(&["wait", "desk", "--pattern", &format!("got {line}"), "--timeout", "60s"]);
}

#[test]
fn what_was_missed_follows_from_where_the_connection_was_lost() {
    crate::support::as_own(|world| {
        world.open("desk", &["sh", "-c", SCRIPT]);
        let mut seen = Seen::default();
        let mut connection = Connection::open(world, None);
        connection.see(&mut seen, "ready", 0);
        connection.type_line(1, "one");
        connection.see(&mut seen, "got one", 1);
        connection.cut();

        meanwhile(world, "two");
        let mut connection = Connection::open(world, Some(seen.offset));
        connection.see(&mut seen, "got two", 1);
        assert_eq!((seen.dumps, seen.attached), (1, (1, 1)), "what was missed is drawn, not sent");
        connection.type_line(2, "three");
        connection.see(&mut seen, "got three", 2);

        // The daemon passes the frames on: with it each connection is lost.
        processes::kill(processes::daemon_of(world).unwrap().pid);
        meanwhile(world, "four");
        let mut connection = Connection::open(world, Some(seen.offset));
        connection.see(&mut seen, "got four", 2);
        assert_eq!((seen.dumps, seen.attached), (1, (2, 2)));
        assert_eq!(seen.output, written(world, seen.from));
        connection.cut();
    });
}

/// What was written meanwhile may be for another size: it is not sent as it was.
#[test]
fn who_missed_a_change_of_size_gets_the_screen() {
    crate::support::as_own(|world| {
        world.open("desk", &["sh", "-c", SCRIPT]);
        let mut seen = Seen::default();
        let mut connection = Connection::open(world, None);
        connection.see(&mut seen, "ready", 0);
        connection.cut();

        for (size, line) in [(WindowSize { cols: 2 * SIZE.cols, ..SIZE }, "wide"), (SIZE, "narrow")] {
            let mut other = Connection::open_sized(world, size, None);
            other.see(&mut Seen::default(), "ready", 0);
            meanwhile(world, line);
            other.cut();
        }
        let mut connection = Connection::open(world, Some(seen.offset));
        connection.see(&mut seen, "got narrow", 0);
        assert_eq!(seen.dumps, 2, "it was sent what another size was written for");
        connection.cut();
    });
}

#[test]
fn who_missed_more_than_is_kept_gets_the_screen() {
    crate::support::as_own(|world| {
        world.open("desk", &["sh", "-c", SCRIPT]);
        let mut seen = Seen::default();
        let mut connection = Connection::open(world, None);
        connection.see(&mut seen, "ready", 0);
        let before = seen.offset;
        connection.cut();

        meanwhile(world, "flood");
        let mut connection = Connection::open(world, Some(before));
        connection.see(&mut seen, "got flood", 0);
        assert!(seen.dumps == 2 && seen.offset > before + (1 << 20));
        assert_eq!(seen.output.len() as u64, before - seen.from, "old output was sent first");
        let mut terminal = Terminal::new(SIZE, 0);
        terminal.feed(&seen.shown);
        assert_eq!(terminal.text().trim_end(), world.must(&["screen", "desk"]).trim_end());
        // And goes on from there.
        connection.type_line(1, "on");
        connection.see(&mut seen, "got on", 1);
        connection.cut();
    });
}

/// Keys are no news of a session: nobody is told a record, and no screen is saved, for each of them.
#[test]
fn what_is_typed_changes_no_record() {
    const LINES: u64 = 60;
    crate::support::as_own(|world| {
        world.open("desk", &["sh", "-c", SCRIPT]);
        let mut seen = Seen::default();
        let mut connection = Connection::open(world, None);
        connection.see(&mut seen, "ready", 0);
        let mut frames = Vec::new();
        let show = serde_json::to_vec(&Request::Show { follow: true }).unwrap();
        wire::put_frame(&mut frames, FrameType::Request, 0, &[&show]);
        connection.send(frames);
        let mut typed = 0;
        for number in 1..=LINES {
            let line = format!("line {number}");
            typed += line.len() + 1;
            connection.type_line(number, &line);
            connection.see(&mut seen, &format!("got {line}\r\n"), number);
        }
        // That something goes on at all is told once a second.
        assert!(seen.records < LINES as usize / 2, "{} records", seen.records);
        // Who asks hears of it all the same.
        assert_eq!(world.show("desk")["attached"][0]["typed_bytes"], typed);
        connection.cut();
    });
}

/// Whoever goes on behind it would be told that it was written.
#[test]
fn input_that_is_too_long_ends_its_attachment() {
    crate::support::as_own(|world| {
        world.open("desk", &["sh", "-c", SCRIPT]);
        let mut connection = Connection::open(world, None);
        connection.see(&mut Seen::default(), "ready", 0);
        connection.type_line(1, &"x".repeat(wire::MAX_INPUT));
        connection.type_line(2, "behind");
        let why = loop {
            let (kind, payload) = connection.next();
            assert_ne!(kind, FrameType::InputDone, "{payload:?}");
            if kind == FrameType::Event
                && let Event::Detached { why } = serde_json::from_slice(&payload).unwrap()
            {
                break why;
            }
        };
        assert!(why.contains("more than 4096 bytes"), "{why}");
        meanwhile(world, "next");
        assert!(!world.must(&["screen", "desk"]).contains("behind"));
        connection.cut();
    });
}
