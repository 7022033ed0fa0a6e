//! The route under load, when something of it dies, stops or is taken away: what the app receives
//! is right or nothing, nothing takes another way, and the end is told as it was.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use rustix::process::Signal;

use crate::leaks::Sniffer;
use crate::network::gateway;
use crate::support::World;
use crate::support::processes::{self, Process, kill, part};

/// Sends something to the host, has it sent back and compares it, in four threads without end.
/// Beside it, it sends datagrams and connections to elsewhere, which must not be seen.
const LOAD: &str = r"
import collections, os, socket, sys, threading
port, marker = int(sys.argv[1]), sys.argv[2].encode()
def differs(data, got):
    at = next((n for n, (a, b) in enumerate(zip(data, got)) if a != b), len(data))
    sent, came = data[at:at + 16], got[at:at + 16]
    whose = [('own' if d is data else 'other', d.find(came)) for d in under_way if came in d]
    return f'WRONG at {at} of {len(got)}: sent {sent.hex()}, came {came.hex()}, which is {whose}'
def transfer():
    # As it begins, no gateway answers it itself (begun by chance as TLS is, it would be refused),
    # and no part of it is like another.
    data = b'\0' + os.urandom((1 << 19) - 1)
    under_way.append(data)
    s = socket.create_connection(('host.sessile', port))
    s.sendall(data)
    s.shutdown(socket.SHUT_WR)
    got = bytearray()
    while more := s.recv(1 << 16):
        got += more
    if not data.startswith(got):
        return differs(data, got)
    return 'whole' if len(got) == len(data) else 'lost'
def load():
    while True:
        try:
            outcome = transfer()
        except OSError as error:
            outcome = 'lost'
        with lock:
            print(outcome, flush=True)
lock = threading.Lock()
under_way = collections.deque(maxlen=8)
for _ in range(4):
    threading.Thread(target=load).start()

while True:
    for kind in [socket.SOCK_DGRAM, socket.SOCK_STREAM]:
        try:
            s = socket.socket(socket.AF_INET, kind)
            s.settimeout(1)
            s.connect(('203.0.113.9', 443))
            s.send(marker)
            s.recv(1)
        except OSError:
            pass
    with open('rounds', 'a') as file:
        file.write('x')
    threading.Event().wait(0.02)
";

/// A server on the host's loopback that says back what it has heard, once it has heard all.
struct Mirror {
    port: u16,
    stopped: Arc<AtomicBool>,
    open: Arc<AtomicUsize>,
    accepted: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Mirror {
    fn begin() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let stopped = Arc::new(AtomicBool::new(false));
        let (open, accepted) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let thread = {
            let (stopped, open, accepted) = (stopped.clone(), open.clone(), accepted.clone());
            std::thread::spawn(move || {
                for stream in listener.incoming().map(Result::unwrap) {
                    if stopped.load(Ordering::SeqCst) {
                        return;
                    }
                    accepted.fetch_add(1, Ordering::SeqCst);
                    open.fetch_add(1, Ordering::SeqCst);
                    let open = open.clone();
                    std::thread::spawn(move || {
                        Self::serve(stream);
                        open.fetch_sub(1, Ordering::SeqCst);
                    });
                }
            })
        };
        Self { port, stopped, open, accepted, thread: Some(thread) }
    }

    fn serve(mut stream: TcpStream) {
        let mut heard = Vec::new();
        match stream.read_to_end(&mut heard) {
            Ok(_) => drop(stream.write_all(&heard)),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }

    /// Waits until nobody is connected any more.
    fn is_left(&self) {
        processes::eventually("every connection has ended", || {
            (self.open.load(Ordering::SeqCst) == 0).then_some(())
        });
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A session under load, as its test sees it.
struct Load<'w> {
    world: &'w World,
    mirror: Mirror,
    id: String,
    marker: String,
}

impl<'w> Load<'w> {
    fn begin(world: &'w World) -> Self {
        let mirror = Mirror::begin();
        let port = mirror.port.to_string();
        let marker = format!("load{}x{}", mirror.port, world.uid());
        world.write("load.py", LOAD);
        let rule = format!("host.sessile:{port}");
        let command = ["--", "python3", "load.py", &port, &marker];
        let open = ["run", "--detach", "--name", "load", "--no-questions", "--allow", &rule];
        world.must(&[&open[..], &command].concat());
        let id = world.show("load")["id"].as_str().unwrap().to_owned();
        let load = Self { world, mirror, id, marker };
        load.goes_on();
        load
    }

    fn gateway(&self) -> u32 {
        processes::eventually("a gateway runs", || gateway(self.world, &self.id))
    }

    /// How many transfers came out so. None ever brings other bytes than were sent.
    fn count(&self, outcome: &str) -> usize {
        let text = self.world.must(&["output", "load", "--raw"]);
        let wrong = text.lines().find(|line| line.contains("WRONG"));
        assert_eq!(wrong, None, "something else came back than was sent");
        text.lines().filter(|line| line.trim() == outcome).count()
    }

    /// Waits for transfers that begin from now on.
    fn goes_on(&self) {
        let before = self.count("whole");
        // Four threads: with more than that, one began after this call.
        processes::eventually("transfers go on", || (self.count("whole") > before + 8).then_some(()));
    }

    fn end(self) {
        self.world.must(&["end", "load", "--grace", "0s"]);
        self.is_told_honestly("ended");
    }

    /// The record is closed, its receipt verifies, and nobody is connected.
    fn is_told_honestly(&self, outcome: &str) -> String {
        let record = processes::eventually("the record is closed", || {
            let record = self.world.show(&self.id);
            (record["state"] == "closed").then_some(record)
        });
        assert_eq!(record["outcome"]["kind"], outcome, "{record}");
        self.mirror.is_left();
        assert_eq!(gateway(self.world, &self.id), None);
        let receipt = self.world.must(&["receipt", &self.id, "--verify"]);
        assert!(!receipt.contains("FAILED"), "{receipt}");
        let shown = self.world.must(&["receipt", &self.id]);
        format!("{shown}\n{}", record["outcome"])
    }

    /// Connections that have arrived outside, once those that were under way have.
    fn settled(&self) -> usize {
        processes::eventually("what was under way has arrived", || {
            let before = self.mirror.accepted.load(Ordering::SeqCst);
            std::thread::sleep(std::time::Duration::from_millis(500));
            Some(before).filter(|before| self.mirror.accepted.load(Ordering::SeqCst) == *before)
        })
    }

    /// Waits until the app has sent to elsewhere twice more.
    fn sends_elsewhere(&self) {
        let rounds = || std::fs::metadata(self.world.project().join("rounds")).map_or(0, |m| m.len());
        let before = rounds();
        processes::eventually("the app sends elsewhere", || (rounds() > before + 2).then_some(()));
    }
}

for_root_and_user! {
    fn rules_that_are_taken_away_open_nothing_and_end_the_session(world) {
        let load = Load::begin(world);
        let Some(sniffer) = Sniffer::begin(&load.marker) else { return load.end() };
        // The keeper must not be quicker than this test.
        let keeper = Process::of(part(world, "keeper", &load.id).unwrap()).unwrap();
        let app = world.main_pid("load");
        processes::signal(keeper.pid, Signal::STOP);
        processes::eventually("the keeper is stopped", || processes::is_stopped(keeper).then_some(()));
        let target = app.to_string();
        // Root of the host has every right in it.
        let flush = ["--target", &target, "--net", "nft", "flush", "ruleset"];
        assert!(Command::new("nsenter").args(flush).status().unwrap().success());
        load.sends_elsewhere();
        let accepted = load.settled();
        load.sends_elsewhere();
        assert_eq!(load.mirror.accepted.load(Ordering::SeqCst), accepted, "a way out is left");
        processes::signal(keeper.pid, Signal::CONT);
        let told = load.is_told_honestly("failed");
        assert!(told.contains("routing"), "{told}");
        let seen = sniffer.end();
        assert!(seen.is_empty(), "{seen:#?}");
    }

    fn the_gateway_dies_under_load(world) {
        let load = Load::begin(world);
        let sniffer = Sniffer::begin(&load.marker);
        for _ in 0..3 {
            let before = load.gateway();
            kill(before);
            load.goes_on();
            assert_ne!(load.gateway(), before);
        }
        load.end();
        let seen = sniffer.map(Sniffer::end).unwrap_or_default();
        assert!(seen.is_empty(), "{seen:#?}");
    }

    fn the_keeper_and_the_daemon_die_under_load(world) {
        let load = Load::begin(world);
        let before = load.gateway();
        for _ in 0..3 {
            let keeper = part(world, "keeper", &load.id).unwrap();
            kill(keeper);
            load.goes_on();
            kill(processes::daemon_of(world).unwrap().pid);
            load.goes_on();
        }
        assert_eq!((load.gateway(), load.count("lost")), (before, 0));
        load.end();
    }

    /// A gateway that is stopped lets nothing through, and holds up nobody.
    fn the_gateway_stops_under_load(world) {
        let load = Load::begin(world);
        let stopped = Process::of(load.gateway()).unwrap();
        processes::signal(stopped.pid, Signal::STOP);
        processes::eventually("the gateway is stopped", || processes::is_stopped(stopped).then_some(()));
        let accepted = load.settled();
        load.sends_elsewhere();
        assert_eq!(load.mirror.accepted.load(Ordering::SeqCst), accepted);
        world.must(&["exec", "load", "--", "true"]);
        world.sessile(&["net", "load"]).refused_with(75, &["gateway does not answer"]);
        world.must(&["end", "load", "--grace", "0s"]);
        assert!(!stopped.runs());
        let told = load.is_told_honestly("ended");
        assert!(told.contains("the gateway's memory"), "{told}");
    }

    fn a_session_pauses_under_load(world) {
        let load = Load::begin(world);
        let before = load.gateway();
        world.must(&["pause", "load"]);
        assert_eq!(world.show("load")["state"], "paused");
        world.must(&["resume", "load"]);
        load.goes_on();
        assert_eq!((load.gateway(), load.count("lost")), (before, 0));
        world.must(&["pause", "load"]);
        load.end();
    }

    fn a_session_ends_under_load(world) {
        let load = Load::begin(world);
        let app = Process::of(world.main_pid("load")).unwrap();
        world.must(&["end", "load", "--grace", "0s"]);
        assert!(!app.runs());
        let told = load.is_told_honestly("ended");
        assert!(!told.contains("the gateway's memory"), "{told}");
    }
}
