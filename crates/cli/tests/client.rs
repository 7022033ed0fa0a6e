//! The client's side of the protocols, where a keeper that dies at a chosen moment is needed: the
//! real binary between a daemon's socket and a keeper's socket that are played here, step by step.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use sessile_model::SessionId;
use sessile_model::api::{Attachment, Opened};
use sessile_model::problem::{Problem, ProblemKind};
use sessile_model::property::Properties;
use sessile_model::quantity::{ByteSize, Timestamp};
use sessile_model::receipt::ClaimLevel;
use sessile_model::record::{SessionRecord, Usage};
use sessile_model::spec::Limits;
use sessile_model::state::{Component, Exit, Outcome, Phase, State};
use sessile_model::wire::{
    self, Attach, Event, FLAG_STDERR, FrameType, HandOver, Hello, ReadTyped, Reply, Request,
};
use sessile_terminal::TerminalModes;

/// Nothing here takes longer unless it hangs.
const LIMIT: Duration = Duration::from_secs(20);

fn id() -> SessionId {
    SessionId::new(Timestamp::from_millis(1_700_000_000_000), [7; 10])
}

fn record(outcome: Option<Outcome>) -> SessionRecord {
    let at = Timestamp::from_millis(1_700_000_000_000);
    SessionRecord {
        id: id(),
        name: Some("amber".parse().unwrap()),
        state: if outcome.is_some() { State::Closed } else { State::Active },
        phase: Phase::Active,
        outcome,
        outcome_detail: None,
        user: None,
        channel: None,
        chat: None,
        labels: [].into(),
        metadata: serde_json::Map::new(),
        created_at: at,
        last_activity: at,
        ended_at: None,
        apps: vec![],
        clients: 0,
        attached: Vec::new(),
        size: Default::default(),
        grants: vec![],
        protocol: None,
        guard: None,
        properties: Properties::default(),
        claim_level: ClaimLevel::L1,
        limits: Limits::default(),
        usage: Usage { memory: None, cpu_ms: None, storage: ByteSize(0) },
        notices: vec![],
    }
}

/// Both sockets in a folder of their own, and the client's environment.
struct Stage {
    dir: tempfile::TempDir,
    project: tempfile::TempDir,
    keeper: UnixListener,
}

impl Stage {
    fn set(outcome: Option<Outcome>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keeper = UnixListener::bind(dir.path().join("keeper.sock")).unwrap();
        let daemon = UnixListener::bind(dir.path().join("daemon.sock")).unwrap();
        let socket = dir.path().join("keeper.sock").to_str().unwrap().to_owned();
        std::thread::spawn(move || {
            while let Ok((stream, _)) = daemon.accept() {
                serve(stream, &socket, outcome.clone());
            }
        });
        Self { dir, project: tempfile::tempdir().unwrap(), keeper }
    }

    fn run(&self, arguments: &[&str]) -> Child {
        let stream = || Stdio::piped();
        self.run_on(arguments, [stream(), stream(), stream()])
    }

    fn run_on(&self, arguments: &[&str], [stdin, stdout, stderr]: [Stdio; 3]) -> Child {
        let path = |name: &str| -> PathBuf { self.dir.path().join(name) };
        Command::new(env!("CARGO_BIN_EXE_sessile"))
            .args(arguments)
            .current_dir(self.project.path())
            .env_remove("SESSILE_SESSION")
            .env("SESSILE_RUNTIME_DIR", self.dir.path())
            .env("SESSILE_STATE_DIR", path("state"))
            .env("SESSILE_CONFIG", path("config.toml"))
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap()
    }

    /// Takes the client's connection and its Hello and Attach.
    fn accept(&self) -> (Peer, Attach) {
        let mut ready = [PollFd::new(&self.keeper, PollFlags::IN)];
        let limit = Timespec { tv_sec: LIMIT.as_secs() as i64, tv_nsec: 0 };
        assert_eq!(poll(&mut ready, Some(&limit)), Ok(1), "the client does not come");
        let (stream, _) = self.keeper.accept().unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut peer = Peer { stream, received: Vec::new() };
        peer.put(
            FrameType::Hello,
            0,
            0,
            &serde_json::to_vec(&Hello { version: wire::VERSION, program: "t".into() }).unwrap(),
        );
        assert_eq!(peer.next().0, FrameType::Hello);
        let Request::Attach(attach) = peer.request() else { panic!("the first request is to attach") };
        (peer, attach)
    }
}

/// Answers the requests of a connection as the daemon does.
fn serve(stream: UnixStream, keeper: &str, outcome: Option<Outcome>) {
    let mut reader = BufReader::new(stream);
    while answer(&mut reader, keeper, outcome.clone()) {}
}

/// Answers one request, where there is one more.
fn answer(reader: &mut BufReader<UnixStream>, keeper: &str, outcome: Option<Outcome>) -> bool {
    let mut head = String::new();
    if reader.read_line(&mut head).unwrap_or(0) == 0 {
        return false;
    }
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    reader.read_exact(&mut vec![0; length]).unwrap();
    let body = match head.split(' ').take(2).collect::<Vec<_>>()[..] {
        ["POST", "/v1/sessions"] => {
            let attachment =
                Attachment { session: id(), socket: keeper.to_owned(), apps: None, keeper_starts_in: None };
            serde_json::to_string(&Opened { record: record(None), attachment })
        }
        ["POST", "/v1/sessions/amber/attachments"] => {
            let apps = Some(record(outcome).apps);
            serde_json::to_string(&Attachment {
                session: id(),
                socket: keeper.to_owned(),
                apps,
                keeper_starts_in: None,
            })
        }
        ["GET", _] => serde_json::to_string(&record(outcome)),
        _ => panic!("an unexpected request: {head}"),
    };
    let body = body.unwrap();
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    reader.get_mut().write_all(answer.as_bytes()).is_ok()
}

/// A client's connection, from the keeper's side.
struct Peer {
    stream: UnixStream,
    received: Vec<u8>,
}

impl Peer {
    fn put(&mut self, kind: FrameType, flags: u8, channel: u16, payload: &[u8]) {
        let mut frame = Vec::new();
        wire::put_flagged_frame(&mut frame, kind, flags, channel, &[payload]);
        self.stream.write_all(&frame).unwrap();
    }

    fn reply(&mut self, reply: &Reply) {
        self.put(FrameType::Reply, 0, 1, &serde_json::to_vec(reply).unwrap());
    }

    fn attached(&mut self, input_done: u64, input_started: u64) {
        self.reply(&Reply::Attached { input_done, input_started, offset: 0, exclusive: false });
    }

    fn tell(&mut self, event: &Event) {
        self.put(FrameType::Event, 0, 1, &serde_json::to_vec(event).unwrap());
    }

    fn output(&mut self, flags: u8, offset: u64, bytes: &[u8]) {
        self.put(FrameType::Output, flags, 1, &[&offset.to_le_bytes(), bytes].concat());
    }

    fn exited(&mut self, exit: Exit) {
        self.tell(&Event::Exited { exit });
    }

    /// The next frame: type, flags, payload.
    fn next(&mut self) -> (FrameType, u8, Vec<u8>) {
        loop {
            if let Some((header, payload, used)) = wire::take_frame(&self.received).unwrap() {
                let frame = (FrameType::from_byte(header.kind).unwrap(), header.flags, payload.to_vec());
                self.received.drain(..used);
                return frame;
            }
            let mut chunk = [0; 4096];
            let count = self.stream.read(&mut chunk).expect("the client sends something in time");
            assert_ne!(count, 0, "the client left");
            self.received.extend_from_slice(&chunk[..count]);
        }
    }

    /// The next frame of this type; confirmations of output may come before it.
    fn next_of(&mut self, wanted: FrameType) -> (u8, Vec<u8>) {
        loop {
            let (kind, flags, payload) = self.next();
            if kind == wanted {
                return (flags, payload);
            }
            assert_eq!(kind, FrameType::OutputDone, "a frame that was not expected");
        }
    }

    fn request(&mut self) -> Request {
        serde_json::from_slice(&self.next_of(FrameType::Request).1).unwrap()
    }

    fn input(&mut self) -> (u64, Vec<u8>) {
        let payload = self.next_of(FrameType::Input).1;
        let (number, bytes) = wire::split_number(&payload).unwrap();
        (number, bytes.to_vec())
    }
}

fn finish(child: Child) -> (Option<i32>, String, String) {
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

const RUN: [&str; 5] = ["run", "--keep", "--", "some", "command"];

#[test]
fn streams_stay_apart_and_are_confirmed() {
    let stage = Stage::set(None);
    let child = stage.run(&RUN);
    let (mut peer, attach) = stage.accept();
    assert!(attach.raw && !attach.read_only && attach.size.is_none() && attach.client != 0);
    peer.attached(0, 0);
    peer.output(0, 0, b"out");
    peer.output(FLAG_STDERR, 0, b"error");
    // The same bytes again, as after an adoption, and then more.
    peer.output(0, 0, b"output");
    let mut confirmed = [0, 0];
    while confirmed != [6, 5] {
        let (flags, payload) = peer.next_of(FrameType::OutputDone);
        confirmed[usize::from(flags)] = wire::split_number(&payload).unwrap().0;
    }
    peer.exited(Exit::Code { code: 7 });
    assert_eq!(finish(child), (Some(7), "output".into(), "error".into()));
}

#[test]
fn uncertain_input_is_said_and_never_sent_again() {
    let stage = Stage::set(None);
    let mut child = stage.run(&RUN);
    let (mut peer, first) = stage.accept();
    peer.attached(0, 0);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"one").unwrap();
    assert_eq!(peer.input(), (1, b"one".to_vec()));
    stdin.write_all(b"two").unwrap();
    assert_eq!(peer.input(), (2, b"two".to_vec()));
    peer.output(0, 0, b"seen ");
    peer.next_of(FrameType::OutputDone);
    drop(peer);
    let (mut peer, again) = stage.accept();
    assert_eq!((again.client, again.resume_from), (first.client, Some(5)));
    // The write of the first was begun; that of the second was not.
    peer.attached(0, 1);
    assert_eq!(peer.input(), (2, b"two".to_vec()));
    drop(stdin);
    assert_eq!(peer.request(), Request::CloseInput);
    peer.output(0, 0, b"seen again");
    peer.exited(Exit::Code { code: 0 });
    let (code, out, err) = finish(child);
    assert_eq!((code, out.as_str()), (Some(0), "seen again"));
    assert!(err.contains("the last 3 bytes typed arrived is uncertain"), "{err}");
}

#[test]
fn at_most_sixteen_frames_wait_for_their_confirmation() {
    let stage = Stage::set(None);
    let mut child = stage.run(&RUN);
    let (mut peer, _) = stage.accept();
    peer.attached(0, 0);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&[b'x'; wire::MAX_INPUT * 20]).unwrap();
    drop(stdin);
    let mut total = 0;
    for expected in 1..=16 {
        let (number, bytes) = peer.input();
        assert_eq!(number, expected);
        total += bytes.len();
    }
    peer.stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(peer.stream.read(&mut [0; 1]).is_err(), "a seventeenth frame came");
    peer.stream.set_read_timeout(Some(LIMIT)).unwrap();
    peer.put(FrameType::InputDone, 0, 1, &16u64.to_le_bytes());
    while total < wire::MAX_INPUT * 20 {
        total += peer.input().1.len();
    }
    assert_eq!(peer.request(), Request::CloseInput);
    peer.exited(Exit::Signal { signal: 15 });
    assert_eq!(finish(child).0, Some(143));
}

#[test]
fn a_reader_that_left_is_told_to_the_app() {
    let stage = Stage::set(None);
    let mut child = stage.run(&RUN);
    let (mut peer, _) = stage.accept();
    peer.attached(0, 0);
    drop(child.stdout.take());
    let mut app = Peer { stream: peer.stream.try_clone().unwrap(), received: Vec::new() };
    let told = Arc::new(AtomicBool::new(false));
    let writes = Arc::clone(&told);
    // Like `yes`: once is not enough, since a child that another test is just starting holds the
    // pipe open until it is started.
    let writer = std::thread::spawn(move || {
        for line in 0.. {
            if writes.load(Ordering::SeqCst) {
                return;
            }
            app.output(0, line * 2, b"y\n");
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    assert_eq!(peer.request(), Request::Signal { signal: 13 });
    told.store(true, Ordering::SeqCst);
    writer.join().unwrap();
    // It does not mind; then it is killed.
    assert_eq!(peer.request(), Request::Signal { signal: 9 });
    peer.exited(Exit::Signal { signal: 9 });
    let status = child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(13), "{status}");
}

#[test]
fn signals_are_the_apps() {
    let stage = Stage::set(None);
    let child = stage.run(&RUN);
    let (mut peer, _) = stage.accept();
    peer.attached(0, 0);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(peer.request(), Request::Signal { signal: 15 });
    peer.exited(Exit::Code { code: 3 });
    assert_eq!(finish(child).0, Some(3));
}

#[test]
fn a_session_that_was_lost_is_said_with_its_cause() {
    let failed = Outcome::Failed { component: Component::Anchor, cause: "it was killed".into() };
    let stage = Stage::set(Some(failed));
    let child = stage.run(&RUN);
    let (mut peer, _) = stage.accept();
    peer.attached(0, 0);
    peer.output(0, 0, b"partial");
    std::fs::remove_file(stage.dir.path().join("keeper.sock")).unwrap();
    drop(peer);
    let (code, out, err) = finish(child);
    assert_eq!((code, out.as_str()), (Some(75), "partial"));
    assert!(err.contains("failed: anchor: it was killed"), "{err}");
}

#[test]
fn a_refusal_keeps_its_kind() {
    let stage = Stage::set(None);
    let child = stage.run(&["attach", "amber", "--json", "--app", "none"]);
    let (code, _, err) = finish(child);
    assert_eq!(code, Some(64), "without a terminal: {err}");
    let problem: Problem = serde_json::from_str(&err).unwrap();
    assert_eq!(problem.kind, ProblemKind::BadRequest);
    let child = stage.run(&RUN);
    let (mut peer, _) = stage.accept();
    peer.reply(&Reply::Problem(Problem::new(ProblemKind::Conflict, "it is ending")));
    let (code, _, err) = finish(child);
    assert_eq!((code, err.as_str()), (Some(73), "sessile: error: it is ending\n"));
}

#[test]
fn sessions_are_not_nested() {
    let output = Command::new(env!("CARGO_BIN_EXE_sessile"))
        .args(["attach", "amber"])
        .env("SESSILE_SESSION", "1")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(77));
    assert!(String::from_utf8(output.stderr).unwrap().contains("inside a session: sessions are not nested"));
}

/// A client on a terminal, its keeper's side, what it handed over, and both ends of the terminal.
fn on_a_terminal(stage: &Stage) -> (Child, Peer, HandOver, File, File) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let path = ptsname(&master, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let slave = File::from(open(path.as_c_str(), flags, Mode::empty()).unwrap());
    let stream = || Stdio::from(slave.try_clone().unwrap());
    let child = stage.run_on(&["attach", "amber"], [stream(), stream(), stream()]);
    let (mut peer, attach) = stage.accept();
    assert!(attach.size.is_some() && !attach.raw);
    let Request::HandOver(handed) = peer.request() else { panic!("it hands over its terminal") };
    peer.attached(0, 0);
    (child, peer, handed, File::from(master), slave)
}

/// Reads what is shown until this is in it.
fn shown_until(master: &mut File, end: &[u8]) -> Vec<u8> {
    let mut shown = Vec::new();
    while !shown.windows(end.len()).any(|window| window == end) {
        let mut chunk = [0; 4096];
        let count = master.read(&mut chunk).unwrap();
        shown.extend_from_slice(&chunk[..count]);
    }
    shown
}

/// The client gives its terminal back and ends.
#[track_caller]
fn has_left(child: &mut Child, master: &mut File) {
    shown_until(master, b"\x1b[0m\r\n");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_terminal_is_reset_behind_the_keepers_last_word() {
    let stage = Stage::set(None);
    let (mut child, mut peer, handed, mut master, mut slave) = on_a_terminal(&stage);
    peer.reply(&Reply::HandedOver { number: handed.number, taken: true });
    let Request::ReadTyped(asked) = peer.request() else { panic!("it has what is typed read") };
    assert_eq!((asked.number, asked.last), (handed.number, 0));
    peer.reply(&Reply::ReadsTyped { number: handed.number, taken: false, last: None });
    let mut modes: TerminalModes = serde_json::from_str(&handed.modes).unwrap();
    modes.watch(b"\x1b[?25l");
    let modes = serde_json::to_string(&modes).unwrap();
    peer.tell(&Event::Changed { modes: modes.clone() });
    slave.write_all(b"\x1b[?25lshown").unwrap();
    master.write_all(b"ls\x1c").unwrap();
    // What was typed before, and the wish to leave, come in either order.
    let (mut typed, mut asked) = (false, false);
    while !asked {
        match peer.next() {
            (FrameType::Input, _, payload) => {
                typed = wire::split_number(&payload).unwrap() == (1, b"ls");
                peer.put(FrameType::InputDone, 0, 1, &1u64.to_le_bytes());
            }
            (FrameType::Request, _, payload) => {
                asked = serde_json::from_slice::<Request>(&payload).unwrap() == Request::LetGo;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(child.try_wait().unwrap().is_none());
    slave.write_all(b" and the last").unwrap();
    peer.tell(&Event::LetGo { number: handed.number, modes, lost: false, last: None });
    let shown = shown_until(&mut master, b"\x1b[0m\r\n");
    let text = String::from_utf8(shown).unwrap();
    assert!(text.contains("shown and the last\x1b[23;0t\x1b[?25h\x1b[0m\r\n"), "{}", text.escape_debug());
    if !typed {
        assert_eq!(peer.input(), (1, b"ls".to_vec()));
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// A keeper on a terminal that it was handed, which also reads what is typed there.
fn reading(stage: &Stage) -> (Child, Peer, HandOver, ReadTyped, File, File) {
    let (child, mut peer, handed, master, slave) = on_a_terminal(stage);
    peer.reply(&Reply::HandedOver { number: handed.number, taken: true });
    let Request::ReadTyped(asked) = peer.request() else { panic!("it has what is typed read") };
    peer.reply(&Reply::ReadsTyped { number: handed.number, taken: true, last: None });
    (child, peer, handed, asked, master, slave)
}

#[test]
fn what_the_keeper_reads_is_not_read_here() {
    let stage = Stage::set(None);
    let (mut child, mut peer, handed, asked, mut master, mut slave) = reading(&stage);
    assert_eq!(asked.leave, ["\x1c", "\x1b[92;5u"]);
    master.write_all(b"typed").unwrap();
    let mut typed = [0; 5];
    slave.read_exact(&mut typed).unwrap();
    assert_eq!(&typed, b"typed");
    // Lost, as when the client is not in front: the numbers go on here.
    let modes = handed.modes;
    peer.tell(&Event::LetGo { number: handed.number, modes, lost: true, last: Some(5) });
    master.write_all(b"x").unwrap();
    assert_eq!(peer.input(), (6, b"x".to_vec()));
    master.write_all(b"\x1c").unwrap();
    has_left(&mut child, &mut master);
}

#[test]
fn the_key_that_leaves_is_the_keepers_to_find() {
    let stage = Stage::set(None);
    let (mut child, mut peer, handed, _, mut master, _slave) = reading(&stage);
    peer.tell(&Event::Leave);
    assert_eq!(peer.request(), Request::LetGo);
    peer.tell(&Event::LetGo { number: handed.number, modes: handed.modes, lost: false, last: Some(8) });
    has_left(&mut child, &mut master);
}

/// Until it says that it reads no more, nothing is read here; one that hangs is not waited for.
#[test]
fn what_the_keeper_leaves_is_read_here() {
    for hangs in [false, true] {
        let stage = Stage::set(None);
        let (mut child, mut peer, handed, _, mut master, _slave) = reading(&stage);
        master.write_all(b"typed").unwrap();
        let Request::ReadTyped(asked) = peer.request() else { panic!("it takes back what is typed") };
        assert_eq!(asked.number, handed.number);
        if !hangs {
            peer.reply(&Reply::ReadsTyped { number: handed.number, taken: false, last: Some(2) });
        }
        assert_eq!(peer.input(), (if hangs { 1 } else { 3 }, b"typed".to_vec()));
        master.write_all(b"\x1c").unwrap();
        assert_eq!(peer.request(), Request::LetGo);
        peer.tell(&Event::LetGo { number: handed.number, modes: handed.modes, lost: false, last: None });
        has_left(&mut child, &mut master);
    }
}

#[test]
fn what_a_dead_keeper_read_last_is_uncertain() {
    let stage = Stage::set(None);
    let (mut child, peer, _, _, mut master, _slave) = reading(&stage);
    drop(peer);
    let (mut peer, _) = stage.accept();
    let Request::HandOver(handed) = peer.request() else { panic!("it hands over its terminal") };
    peer.attached(2, 3);
    let Request::Tell { text } = peer.request() else { panic!("it is said") };
    assert!(text.contains("whether what was typed last arrived is uncertain"), "{text}");
    peer.reply(&Reply::HandedOver { number: handed.number, taken: false });
    master.write_all(b"x").unwrap();
    assert_eq!(peer.input(), (4, b"x".to_vec()));
    master.write_all(b"\x1c").unwrap();
    has_left(&mut child, &mut master);
}

#[test]
fn a_terminal_that_hangs_up_while_the_keeper_reads() {
    let stage = Stage::set(None);
    let (mut child, mut peer, handed, _, master, slave) = reading(&stage);
    drop((master, slave));
    assert_eq!(peer.request(), Request::LetGo);
    peer.tell(&Event::LetGo { number: handed.number, modes: handed.modes, lost: false, last: None });
    assert_eq!(child.wait().unwrap().code(), Some(129));
}

/// One of the version before answers that it does not know what it is asked.
#[test]
fn a_keeper_that_takes_no_terminal_is_shown_by_frames() {
    let stage = Stage::set(None);
    let (mut child, mut peer, _, mut master, _slave) = on_a_terminal(&stage);
    peer.reply(&Reply::Problem(Problem::new(ProblemKind::BadRequest, "the request does not parse")));
    peer.output(0, 0, b"by frames");
    shown_until(&mut master, b"by frames");
    master.write_all(b"\x1c").unwrap();
    has_left(&mut child, &mut master);
}
