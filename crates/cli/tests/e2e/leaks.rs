//! Whatever a program in a session tries, nothing of it is outside: `leaks/battery.py` tries, and
//! `leaks/sniffer.py` looks.

use std::io::{BufRead as _, BufReader, ErrorKind, Lines};
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{World, skip};

const BATTERY: &str = include_str!("leaks/battery.py");
const SNIFFER: &str = include_str!("leaks/sniffer.py");
/// Networks that nobody but the battery sends to, and the last, on the loopback device, to see that
/// the sniffer sees.
const NETWORKS: [&str; 3] = ["203.0.113.0/24", "2001:db8:5e55::/48", "127.77.0.0/16"];
/// An address on the loopback device that is in none of them.
const BY_MARKER: &str = "127.78.0.1";
/// Attempts that the battery consists of, at least.
const ATTEMPTS: usize = 400;

/// Looks at every packet of this network namespace.
pub struct Sniffer {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Sniffer {
    /// Starts, and shows that it sees a packet by its marker and one by where it goes. `None` where
    /// this user may not look at packets.
    pub fn begin(marker: &str) -> Option<Self> {
        if !rustix::process::getuid().is_root() {
            skip("looking at packets needs root");
            return None;
        }
        let mut command = Command::new("python3");
        command.args(["-c", SNIFFER, marker]).args(NETWORKS);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut sniffer = Self { child, input, lines };
        assert_eq!(sniffer.next(), "listens");
        let socket = UdpSocket::bind((BY_MARKER, 0)).unwrap();
        let own = socket.local_addr().unwrap();
        for (bytes, to) in [(marker, own), ("without", "127.77.0.1:9".parse().unwrap())] {
            let expected = format!("seen {} lo", to.ip());
            let is_seen = AtomicBool::new(false);
            std::thread::scope(|scope| {
                // Where much else passes, a packet may be missed.
                scope.spawn(|| {
                    for _ in (0..600).take_while(|_| !is_seen.load(Ordering::SeqCst)) {
                        socket.send_to(bytes.as_bytes(), to).unwrap();
                        std::thread::sleep(Duration::from_millis(100));
                    }
                });
                while !sniffer.next().starts_with(&expected) {}
                is_seen.store(true, Ordering::SeqCst);
            });
        }
        Some(sniffer)
    }

    fn next(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }

    /// What it saw since, apart from what shows that it sees.
    pub fn end(mut self) -> Vec<String> {
        drop(self.input);
        let rest: Vec<_> = self.lines.map(Result::unwrap).collect();
        assert!(self.child.wait().unwrap().success());
        let shows = |line: &String| {
            line.starts_with("seen 127.77.") || line.starts_with(&format!("seen {BY_MARKER} "))
        };
        rest.into_iter().filter(|line| !shows(line)).collect()
    }
}

/// A session whose app listens on its own loopback; returns the port.
fn neighbour(world: &World, arguments: &[&str]) -> u16 {
    let serve = "import socket\ns = socket.create_server(('', 0))\n\
                 print('port', s.getsockname()[1], 'is open', flush=True)\n\
                 while True:\n  c, _ = s.accept()\n  c.sendall(b'hello\\n')\n  c.close()";
    world.must(&[arguments, &["--", "python3", "-c", serve]].concat());
    world.must(&["wait", "neighbour", "--pattern", "is open", "--timeout", "30s"]);
    let text = world.must(&["output", "neighbour"]);
    text.split("port ").nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

fn own_addresses() -> Vec<String> {
    let output = Command::new("hostname").arg("-I").output().unwrap();
    String::from_utf8(output.stdout).unwrap().split_whitespace().map(str::to_owned).collect()
}

for_root_and_user! {
    fn nothing_that_is_tried_inside_is_seen_outside(world) {
        let marker = format!("mark{}x{}", std::process::id(), world.uid());
        let tcp = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        let udp = UdpSocket::bind(("0.0.0.0", port)).unwrap();
        let local = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&marker).unwrap()).unwrap();
        let other = neighbour(world, &["run", "--detach", "--name", "neighbour"]).to_string();
        world.write("battery.py", BATTERY);
        world.must(&["run", "--detach", "--name", "leaky", "--no-questions", "--", "sleep", "infinity"]);
        let id = world.show("leaky")["id"].as_str().unwrap().to_owned();
        // The gateway is there once something was sent.
        let begin = "exec 3<>/dev/tcp/10.0.0.1/80; read -r line <&3; echo \"$line\"; exit 0";
        world.must(&["exec", "leaky", "--", "bash", "-c", begin]);
        let gateway = super::network::gateway(world, &id).unwrap().to_string();
        let sniffer = Sniffer::begin(&marker);
        let port = port.to_string();
        let addresses = own_addresses();
        let mut command = vec!["exec", "leaky", "--", "python3", "battery.py", &port, &other, &marker, &gateway, &marker];
        command.extend(addresses.iter().map(String::as_str));
        let said = world.must(&command);
        if let Some(sniffer) = sniffer {
            let seen = sniffer.end();
            assert!(seen.is_empty(), "{seen:#?}");
        }
        let broken: Vec<_> = said.lines().filter(|line| line.starts_with("BROKEN")).collect();
        assert!(broken.is_empty(), "{broken:#?}");
        let held = said.lines().filter(|line| line.starts_with("held")).count();
        assert!(held >= ATTEMPTS && said.ends_with(&format!("tried {held}\n")), "{said}");
        for nobody in [
            { tcp.set_nonblocking(true).unwrap(); tcp.accept().map(drop) },
            { local.set_nonblocking(true).unwrap(); local.accept().map(drop) },
            { udp.set_nonblocking(true).unwrap(); udp.recv(&mut [0]).map(drop) },
        ] {
            assert_eq!(nobody.unwrap_err().kind(), ErrorKind::WouldBlock);
        }
        let traffic = world.json(&["net", "leaky", "--json"]);
        assert!(traffic["refused_packets"].as_u64().unwrap() > 30, "{}", traffic["refused_packets"]);
        let reached = traffic["flows"].as_array().unwrap().iter().filter(|flow| flow["verdict"] == "allow").count();
        assert_eq!(reached, 0);
    }

    /// Two apps of a session have a loopback each.
    fn an_app_does_not_reach_another(world) {
        let port = neighbour(world, &["run", "--detach", "--name", "neighbour"]);
        let greet = |address: &str| super::network::greet(address, port);
        assert_eq!(world.must(&["exec", "neighbour", "--", "bash", "-c", &greet("127.0.0.1")]), "hello\n");
        for address in ["127.0.0.1", "0.0.0.0", "198.18.0.1", "::1"] {
            let command = greet(address);
            let finished = world.sessile(&["exec", "neighbour", "--app", "second", "--", "bash", "-c", &command]);
            finished.ended_with(1);
        }
    }
}
