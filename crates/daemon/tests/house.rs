//! A daemon on real folders and sockets, and a keeper's socket served by the test.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test ends at the first thing that is not as expected"
)]

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sessile_daemon::paths::Folders;
use sessile_daemon::serve::KEY_FILE;
use sessile_daemon::{Config, DaemonError, recovery, run};
use sessile_journal::store::{Store, Stored};
use sessile_model::receipt::{Receipt, SignedReceipt};
use sessile_model::state::{Component, EndedBy, Outcome};
use sessile_model::wire::{self, Event, FrameType, Hello, Reply, Request};
use sessile_model::{SessionId, SessionRecord, State, Timestamp, api};
use sessile_vault::InstallationKey;

const PATIENCE: Duration = Duration::from_secs(20);
/// A program that ends at once, in the anchor's place.
static NO_ANCHOR: &[u8] = b"#!/bin/false\n";

struct House {
    _top: tempfile::TempDir,
    folders: Folders,
    daemon: Option<JoinHandle<Result<(), DaemonError>>>,
}

impl House {
    fn empty() -> Self {
        let top = tempfile::tempdir().unwrap();
        let folders = Folders { runtime: top.path().join("r"), state: top.path().join("s") };
        folders.prepare().unwrap();
        Self { _top: top, folders, daemon: None }
    }

    fn start(&mut self) {
        let folders = self.folders.clone();
        self.daemon = Some(std::thread::spawn(move || run_in(&folders)));
        let socket = self.folders.socket();
        until(|| UnixStream::connect(&socket).is_ok());
    }

    fn started() -> Self {
        let mut house = Self::empty();
        house.start();
        house
    }

    fn ask(&self, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
        ask(&self.folders.socket(), method, path, body)
    }

    fn get(&self, path: &str) -> (u16, Value) {
        self.ask("GET", path, b"")
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.ask("POST", path, body.to_string().as_bytes())
    }

    fn stop(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            assert_eq!(self.ask("POST", "/v1/daemon/stop", b"").0, 204);
            daemon.join().unwrap().unwrap();
            assert!(!self.folders.socket().exists());
        }
    }

    fn key(&self) -> InstallationKey {
        InstallationKey::load_or_create(&self.folders.state.join(KEY_FILE), &[7; 32]).unwrap()
    }

    fn store(&self, session: &SessionRecord) {
        let (mut store, _) = Store::open(&self.folders.state, Timestamp::from_millis(0)).unwrap();
        store.put(&Stored { record: session.clone(), keep_record: false, slot: None }).unwrap();
    }

    fn receipt(&self, id: SessionId) -> (SignedReceipt, Receipt) {
        until(|| self.get(&format!("/v1/sessions/{id}/receipt")).0 == 200);
        let signed: SignedReceipt =
            serde_json::from_value(self.get(&format!("/v1/sessions/{id}/receipt")).1).unwrap();
        let receipt = sessile_vault::verify(&signed, Some(&self.key().public())).unwrap().receipt;
        (signed, receipt)
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
    }
}

fn run_in(folders: &Folders) -> Result<(), DaemonError> {
    run(Config {
        runtime_dir: &folders.runtime,
        state_dir: &folders.state,
        anchor_image: NO_ANCHOR,
        keeper_image: NO_ANCHOR,
        gateway_image: NO_ANCHOR,
        guard_image: NO_ANCHOR,
        version: "test",
        listening: None,
    })
}

fn until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "it did not happen in time");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn ask(socket: &Path, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: sessile\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    // A refusal may come before the whole body was taken.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
    if status >= 300 {
        assert!(head.contains("application/problem+json"), "{head}");
    }
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

fn record(n: u8, name: &str, state: State) -> SessionRecord {
    let id = SessionId::new(Timestamp::from_millis(1_700_000_000_000), [n; 10]);
    SessionRecord { name: Some(name.parse().unwrap()), state, ..recovery::blank(id) }
}

fn receipt_of(record: &SessionRecord) -> Receipt {
    Receipt {
        session: record.id,
        outcome: Outcome::Ended { by: EndedBy::Operator },
        outcome_detail: None,
        created_at: record.created_at,
        wipe_started_at: record.created_at,
        ended_at: Timestamp::from_millis(1_700_000_005_000),
        claim_level: sessile_model::receipt::ClaimLevel::L1,
        steps: Vec::new(),
        residue: Vec::new(),
        outside: Vec::new(),
        recordings: Vec::new(),
        guard: None,
        weaker: Vec::new(),
        program: "test".into(),
    }
}

/// A keeper's socket whose anchor is gone: what a daemon meets while a keeper finishes alone.
struct KeeperSocket {
    listener: UnixListener,
    record: SessionRecord,
    folder: PathBuf,
}

impl KeeperSocket {
    fn at(house: &House, record: SessionRecord) -> Self {
        let folder = house.folders.runtime_of(record.id);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::create_dir_all(house.folders.state_of(record.id)).unwrap();
        let listener = UnixListener::bind(house.folders.keeper_socket(record.id)).unwrap();
        Self { listener, record, folder }
    }

    /// Serves until a request that ends the session, then tells everyone and removes the folder.
    fn serve(self, key: InstallationKey) -> JoinHandle<()> {
        std::thread::spawn(move || {
            let mut followers: Vec<UnixStream> = Vec::new();
            loop {
                let (mut peer, _) = self.listener.accept().unwrap();
                let (kind, hello) = read_frame(&mut peer);
                assert_eq!(kind, FrameType::Hello as u8);
                assert_eq!(serde_json::from_slice::<Hello>(&hello).unwrap().version, wire::VERSION);
                let (_, request) = read_frame(&mut peer);
                match serde_json::from_slice(&request).unwrap() {
                    Request::Show { follow } => {
                        send(&mut peer, &Reply::Record(Box::new(self.record.clone())));
                        if follow {
                            followers.push(peer);
                        }
                    }
                    Request::Screen { .. } => send(&mut peer, &Reply::Screen(screen())),
                    // Anything here has the keeper die without a word.
                    Request::Pause => return,
                    Request::End { .. } => {
                        let signed = key.sign(&receipt_of(&self.record));
                        std::fs::remove_dir_all(&self.folder).unwrap();
                        for follower in &mut followers {
                            event(follower, &Event::Closed(Box::new(signed.clone())));
                        }
                        send(&mut peer, &Reply::Receipt(signed));
                        return;
                    }
                    other => panic!("unexpected {other:?}"),
                }
            }
        })
    }
}

fn screen() -> api::Screen {
    api::Screen {
        cols: 80,
        rows: 24,
        lines: vec!["$ hello".into()],
        cursor: (0, 7),
        cursor_visible: true,
        alternate: false,
        title: String::new(),
        offset: 9,
        grid: Vec::new(),
        history: Vec::new(),
        history_lines: 0,
    }
}

fn read_frame(peer: &mut UnixStream) -> (u8, Vec<u8>) {
    let mut head = [0; wire::HEADER_LEN];
    peer.read_exact(&mut head).unwrap();
    let header = wire::Header::decode(head).unwrap();
    let mut payload = vec![0; header.len as usize];
    peer.read_exact(&mut payload).unwrap();
    (header.kind, payload)
}

fn send(peer: &mut UnixStream, reply: &Reply) {
    let mut out = Vec::new();
    wire::put_frame(&mut out, FrameType::Reply, 0, &[&serde_json::to_vec(reply).unwrap()]);
    peer.write_all(&out).unwrap();
}

fn event(peer: &mut UnixStream, event: &Event) {
    let mut out = Vec::new();
    wire::put_frame(&mut out, FrameType::Event, 0, &[&serde_json::to_vec(event).unwrap()]);
    peer.write_all(&out).unwrap();
}

#[test]
fn every_refusal_is_a_problem() {
    let house = House::started();
    for (method, path, body, status, kind) in [
        ("GET", "/nowhere", &b""[..], 404, "not_found"),
        ("DELETE", "/v1/sessions", b"", 405, "bad_request"),
        ("POST", "/v1/sessions", b"{", 400, "bad_request"),
        ("POST", "/v1/sessions", b"{\"comand\":[]}", 400, "bad_request"),
        ("GET", "/v1/sessions?colour=red", b"", 400, "bad_request"),
        ("GET", "/v1/sessions?label=red", b"", 400, "bad_request"),
        ("GET", "/v1/sessions/nobody", b"", 404, "not_found"),
        ("POST", "/v1/sessions/nobody/end", b"", 404, "not_found"),
        ("GET", "/v1/sessions/%ff", b"", 400, "bad_request"),
    ] {
        let (got, problem) = house.ask(method, path, body);
        assert_eq!((got, problem["kind"].as_str()), (status, Some(kind)), "{method} {path}: {problem}");
    }
    let (status, problem) = house.ask("POST", "/v1/sessions", &vec![b' '; (8 << 20) + 1]);
    assert_eq!((status, problem["kind"].as_str()), (413, Some("bad_request")));
    // A value that may be a secret is not repeated.
    let (_, problem) = house.ask("POST", "/v1/sessions", br#"{"env":"hunter2"}"#);
    assert!(!problem.to_string().contains("hunter2"), "{problem}");
    assert_eq!(house.get("/v1/sessions?all").1, json!([]));
    assert_eq!(house.get("/v1/daemon").1["sessions"], 0);
    assert_eq!(house.get("/v1/openapi.json").1["info"]["title"], "Sessile");
}

#[test]
fn a_second_daemon_is_refused_and_a_stale_socket_replaced() {
    let mut house = House::started();
    assert!(matches!(run_in(&house.folders), Err(DaemonError::AlreadyRunning { .. })));
    assert_eq!(house.get("/v1/daemon").0, 200);
    house.stop();
    drop(UnixListener::bind(house.folders.socket()).unwrap());
    assert!(UnixStream::connect(house.folders.socket()).is_err());
    house.start();
    assert_eq!(house.get("/v1/daemon").0, 200);
}

#[test]
fn a_damaged_journal_is_moved_aside_and_said() {
    let mut house = House::empty();
    std::fs::write(house.folders.state.join("journal.sqlite"), [0x5a; 8192]).unwrap();
    house.start();
    let notices = house.get("/v1/daemon").1["notices"].to_string();
    assert!(notices.contains("moved aside"), "{notices}");
}

#[test]
fn a_session_that_cannot_start_leaves_nothing() {
    let house = House::started();
    let (status, problem) = house.post("/v1/sessions", &json!({"command": ["sh"], "name": "fox"}));
    assert_eq!(status, 502, "{problem}");
    assert_eq!(house.get("/v1/sessions?all=true").1, json!([]));
    for folder in [house.folders.runtime_sessions(), house.folders.state_sessions()] {
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
    }
}

#[test]
fn a_running_session_is_adopted_and_ended() {
    let mut house = House::empty();
    let key = house.key();
    let session = record(1, "amber-fox", State::Active);
    house.store(&SessionRecord { name: None, ..session.clone() });
    let keeper = KeeperSocket::at(&house, session.clone()).serve(key);
    house.start();
    assert_eq!(house.get("/v1/daemon").1["adopted"], 1);
    let (_, shown) = house.get("/v1/sessions/amber-f");
    assert_eq!((shown["name"].as_str(), shown["state"].as_str()), (Some("amber-fox"), Some("active")));
    assert_eq!(house.get("/v1/sessions/fo").0, 404);
    assert_eq!(house.get("/v1/sessions/amber-fox/screen").1["lines"][0], "$ hello");
    assert_eq!(house.get("/v1/sessions/amber-fox/receipt").0, 409);
    let attachment = house.post("/v1/sessions/amber-fox/attachments", &json!({})).1;
    assert_eq!(attachment["socket"], house.folders.keeper_socket(session.id).to_str().unwrap());
    let taken = house.post("/v1/sessions", &json!({"name": "amber-fox"}));
    assert_eq!((taken.0, taken.1["kind"].as_str()), (409, Some("conflict")));
    let (status, ended) = house.post("/v1/sessions/amber-fox/end", &json!({"grace": 100}));
    keeper.join().unwrap();
    assert_eq!(status, 200, "{ended}");
    // Nothing is left, and what is kept is without its name.
    assert!(!house.folders.runtime_of(session.id).exists() && !house.folders.state_of(session.id).exists());
    let (_, all) = house.get("/v1/sessions?all=true");
    assert_eq!((all[0]["state"].as_str(), &all[0]["name"]), (Some("closed"), &Value::Null));
    let (_, again) = house.post(&format!("/v1/sessions/{}/end", session.id), &json!({}));
    assert_eq!(again, ended);
    assert_eq!(house.receipt(session.id).1.outcome, Outcome::Ended { by: EndedBy::Operator });
}

#[test]
fn a_session_whose_processes_die_is_closed_with_an_honest_receipt() {
    let mut house = House::empty();
    let key = house.key();
    let session = record(2, "amber-fox", State::Active);
    house.store(&session);
    let keeper = KeeperSocket::at(&house, session.clone()).serve(key);
    house.start();
    assert_eq!(house.get("/v1/sessions/amber-fox").0, 200);
    house.post("/v1/sessions/amber-fox/pause", &json!({}));
    keeper.join().unwrap();
    let (_, receipt) = house.receipt(session.id);
    assert!(matches!(receipt.outcome, Outcome::Failed { component: Component::Anchor, .. }), "{receipt:?}");
    assert!(!receipt.residue.is_empty());
    assert!(!house.folders.runtime_of(session.id).exists());
}

#[test]
fn sessions_that_a_restart_of_the_host_took_are_closed() {
    let mut house = House::empty();
    let lost = record(3, "amber-fox", State::Active);
    house.store(&lost);
    // Asked for, but never begun: nobody was told that it existed.
    let never = record(4, "amber-hen", State::Bringup);
    house.store(&never);
    house.start();
    let (_, receipt) = house.receipt(lost.id);
    assert!(matches!(receipt.outcome, Outcome::Failed { component: Component::Host, .. }), "{receipt:?}");
    until(|| house.get(&format!("/v1/sessions/{}", never.id)).0 == 404);
}

#[test]
fn a_receipt_that_a_keeper_left_is_taken_in_and_a_forged_one_is_not() {
    let mut house = House::empty();
    let (ended, forged) = (record(5, "amber-fox", State::Active), record(6, "amber-hen", State::Active));
    let stranger =
        InstallationKey::load_or_create(&house.folders.runtime.join("other.key"), &[9; 32]).unwrap();
    for (session, key) in [(&ended, &house.key()), (&forged, &stranger)] {
        house.store(session);
        let folder = house.folders.state_of(session.id);
        std::fs::create_dir(&folder).unwrap();
        let signed = key.sign(&receipt_of(session));
        std::fs::write(folder.join("receipt.json"), serde_json::to_vec(&signed).unwrap()).unwrap();
        let mut log = sessile_journal::Log::open::<Value>(&folder).unwrap().log;
        log.append(&json!({"at": "2023-11-14T22:13:20Z", "fact": {"fact": "opened"}})).unwrap();
        log.sync().unwrap();
    }
    house.start();
    assert!(matches!(house.receipt(ended.id).1.outcome, Outcome::Ended { .. }));
    assert!(matches!(house.receipt(forged.id).1.outcome, Outcome::Failed { component: Component::Host, .. }));
    until(|| !house.folders.state_of(ended.id).exists());
    house.stop();
    let (store, _) = Store::open(&house.folders.state, Timestamp::from_millis(0)).unwrap();
    let entries = store.entries(ended.id).unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].kind["fact"]["fact"], "opened");
    assert!(entries[0].at.is_some());
}

#[test]
fn a_keeper_that_dies_at_once_is_told_and_leaves_nothing() {
    let Some(program) = std::env::var_os("SESSILE_TEST_ANCHOR") else {
        eprintln!("skipped: SESSILE_TEST_ANCHOR names no anchor program");
        return;
    };
    let image: &'static [u8] = std::fs::read(program).unwrap().leak();
    let mut house = House::empty();
    let folders = house.folders.clone();
    house.daemon = Some(std::thread::spawn(move || {
        run(Config {
            runtime_dir: &folders.runtime,
            state_dir: &folders.state,
            anchor_image: image,
            keeper_image: NO_ANCHOR,
            gateway_image: NO_ANCHOR,
            guard_image: NO_ANCHOR,
            version: "test",
            listening: None,
        })
    }));
    let socket = house.folders.socket();
    until(|| UnixStream::connect(&socket).is_ok());
    let start = Instant::now();
    let (status, problem) = house.post("/v1/sessions", &json!({"command": ["sh"]}));
    assert_eq!((status, problem["kind"].as_str()), (502, Some("failed")), "{problem}");
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(house.get("/v1/daemon").1["notices"], json!([]));
    for folder in [house.folders.runtime_sessions(), house.folders.state_sessions()] {
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
    }
}

#[test]
fn a_hundred_sessions_are_adopted_at_once() {
    let mut house = House::empty();
    let key = || house.key();
    let sessions: Vec<_> = (1..=100).map(|n| record(n, &format!("fox-{n}x"), State::Active)).collect();
    for session in &sessions {
        house.store(session);
    }
    let keepers: Vec<_> = sessions.iter().map(|s| KeeperSocket::at(&house, s.clone()).serve(key())).collect();
    let start = Instant::now();
    house.start();
    assert_eq!(house.get("/v1/daemon").1["adopted"], 100);
    let took = start.elapsed();
    eprintln!("100 sessions adopted, and the first request answered, in {} ms", took.as_millis());
    // The floor is 50 ms on a quiet machine with a release build; this is for a busy one.
    assert!(took < Duration::from_secs(2), "{took:?}");
    for session in &sessions {
        let id = session.id;
        assert_eq!(house.post(&format!("/v1/sessions/{id}/end"), &json!({})).0, 200);
    }
    keepers.into_iter().for_each(|keeper| keeper.join().unwrap());
    assert_eq!(house.get("/v1/sessions").1, json!([]));
}

/// Runs as a daemon when [`another_users_daemon_refuses`] starts this program again as another
/// user; otherwise it has nothing to do.
#[test]
fn as_another_user() {
    let Some(top) = std::env::var_os("SESSILE_TEST_OTHER").map(PathBuf::from) else { return };
    run_in(&Folders { runtime: top.join("r"), state: top.join("s") }).unwrap();
}

#[test]
fn another_users_daemon_refuses() {
    use std::os::unix::process::CommandExt as _;
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: becoming another user needs root");
        return;
    }
    const NOBODY: u32 = 65534;
    let top = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(top.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    // The program lies where that user may not look, so it is handed over as a copy.
    let program = top.path().join("tests");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut child = std::process::Command::new(program)
        .args(["--exact", "as_another_user", "--nocapture"])
        .env("SESSILE_TEST_OTHER", top.path())
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let socket = top.path().join("r/daemon.sock");
    let start = Instant::now();
    while UnixStream::connect(&socket).is_err() && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
    }
    let answers = UnixStream::connect(&socket)
        .ok()
        .map(|_| [("GET", "/v1/daemon"), ("POST", "/v1/daemon/stop")].map(|(m, p)| ask(&socket, m, p, b"")));
    child.kill().unwrap();
    child.wait().unwrap();
    for (status, problem) in answers.expect("the daemon of the other user did not start") {
        assert_eq!((status, problem["kind"].as_str()), (403, Some("denied")), "{problem}");
    }
}

#[test]
fn a_web_socket_carries_the_keepers_frames() {
    let mut house = House::empty();
    let session = record(7, "amber-fox", State::Active);
    house.store(&session);
    let key = house.key();
    let keeper = KeeperSocket::at(&house, session).serve(key);
    house.start();
    assert_eq!(house.get("/v1/sessions/amber-fox").0, 200);
    assert_eq!(house.get("/v1/sessions/amber-fox/attach").0, 400);
    let mut socket = UnixStream::connect(house.folders.socket()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
        .write_all(
            b"GET /v1/sessions/amber-fox/attach HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
              sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    let mut frames = Vec::new();
    let hello = Hello { version: wire::VERSION, program: "test".into() };
    wire::put_frame(&mut frames, FrameType::Hello, 0, &[&serde_json::to_vec(&hello).unwrap()]);
    let request = Request::Screen { app: None, history: None };
    wire::put_frame(&mut frames, FrameType::Request, 0, &[&serde_json::to_vec(&request).unwrap()]);
    // RFC 6455: a final binary frame, masked with zeros, shorter than 126 or with 16 bits of length.
    let mut message = vec![0x82, 0x80 | 126];
    message.extend_from_slice(&u16::try_from(frames.len()).unwrap().to_be_bytes());
    message.extend_from_slice(&[0; 4]);
    message.extend_from_slice(&frames);
    socket.write_all(&message).unwrap();
    let mut head = [0; 4];
    socket.read_exact(&mut head).unwrap();
    assert_eq!(head[..2], [0x82, 126]);
    let mut answer = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]]))];
    socket.read_exact(&mut answer).unwrap();
    let (header, payload, used) = wire::take_frame(&answer).unwrap().unwrap();
    assert_eq!((header.kind, used), (FrameType::Reply as u8, answer.len()));
    assert_eq!(serde_json::from_slice::<Reply>(payload).unwrap(), Reply::Screen(screen()));
    assert_eq!(house.post("/v1/sessions/amber-fox/end", &json!({})).0, 200);
    keeper.join().unwrap();
}
