//! Captured networks, as root and as an unprivileged user: what arrives where, what is refused,
//! and that nothing gets out when rules or listeners are gone.

#![allow(clippy::unwrap_used)] // the whole file is a test

mod world;

use std::net::UdpSocket;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, recv};
use world::{World, expect, modes};

/// Functions for scripts: what came of a connection or a datagram, in a word or two.
const PREAMBLE: &str = r#"
import errno, socket, struct, sys
V4, V6, TCP, UDP = socket.AF_INET, socket.AF_INET6, socket.SOCK_STREAM, socket.SOCK_DGRAM
def does(f, *a):
    try: return f(*a)
    except socket.timeout: return "in vain"
    except OSError as e: return errno.errorcode.get(e.errno, str(e))
def patient(*a):
    s = socket.socket(*a)
    s.settimeout(20)
    return s
def said(family, address, bound=None, protocol=0):
    s = patient(family, TCP, protocol)
    if bound:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(bound)
    s.connect(address)
    text = b""
    while part := s.recv(100): text += part
    return text.decode().strip()
def sent(family, address, protocol=0):
    s = patient(family, UDP, protocol)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    s.sendto(b"sessile-canary", address)
    return "sent"
"#;

/// The arguments that run a script in Python.
fn python(options: &[&str], script: &str) -> Vec<String> {
    let script = format!("exec python3 - <<'EOF'\n{PREAMBLE}{script}\nEOF");
    options.iter().map(|&o| o.to_owned()).chain([script]).collect()
}

fn expect_python(options: &[&str], script: &str, lines: &[&str]) {
    let arguments = python(options, script);
    expect(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), lines);
}

#[test]
fn connections_to_any_address_arrive_and_say_where_they_were_going() {
    expect_python(
        &["--captured", "--gateway", "--refused"],
        r#"
print(said(V4, ("192.0.2.1", 80)))
print(said(V4, ("10.0.0.1", 65535)))
print(said(V4, ("198.18.0.1", 1012)))
print(said(V4, ("198.18.0.2", 53)))
print(said(V6, ("2001:db8::1", 443)))
print(said(V6, ("fdfe:dcba:5e55::1", 22)))
print(said(V6, ("fe80::1", 80, 0, 1)))
print(said(V6, ("::ffff:192.0.2.7", 80)))
print(said(V4, ("192.0.2.1", 80), ("127.0.0.1", 0)))
# One port of origin for many: the tracker tells them apart.
print([said(V4, (f"192.0.2.{n}", 80), ("198.18.0.1", 4444)) for n in (1, 2, 3)])
print([said(V6, (f"2001:db8::{n}", 80), ("::", 4444)) for n in (1, 2, 3)])
s = socket.create_connection(("192.0.2.1", 80)); print(s.getsockname()[0], s.getpeername())
s = socket.create_connection(("2001:db8::1", 80)); print(s.getsockname()[0], s.getpeername()[:2])
"#,
        &[
            "192.0.2.1:80",
            "10.0.0.1:65535",
            "198.18.0.1:1012",
            "198.18.0.2:53",
            "[2001:db8::1]:443",
            "[fdfe:dcba:5e55::1]:22",
            "[fe80::1]:80",
            "192.0.2.7:80",
            "192.0.2.1:80",
            "['192.0.2.1:80', '192.0.2.2:80', '192.0.2.3:80']",
            "['[2001:db8::1]:80', '[2001:db8::2]:80', '[2001:db8::3]:80']",
            "198.18.0.1 ('192.0.2.1', 80)",
            "fdfe:dcba:5e55::1 ('2001:db8::1', 443)".replace("443", "80").as_str(),
            "Ok(Refused { tcp: 0, udp: 0, other: 0 })",
        ],
    );
}

#[test]
fn names_are_asked_for_and_answers_come_from_the_server_that_was_asked() {
    expect_python(
        &["--captured", "--gateway", "--refused"],
        r#"
query = bytes.fromhex("123401000001000000000000") + b"\x04name\x07example\0" + b"\0\1\0\1"
def asked(family, address, connected):
    s = patient(family, UDP)
    if connected:
        s.connect(address); s.send(query)
    else:
        s.sendto(query, address)
    reply, server = s.recvfrom(512)
    return socket.inet_ntoa(reply[-4:]), server[:2]
print(open("/etc/resolv.conf").read().strip())
for connected in (True, False):
    print(asked(V4, ("192.0.2.53", 53), connected))
    print(asked(V4, ("198.18.0.2", 53), connected))
    print(asked(V6, ("2001:db8::53", 53), connected))
print(socket.getaddrinfo("name.example", 80, type=TCP)[0][4])
"#,
        &[
            "nameserver 198.18.0.2",
            "('203.0.113.9', ('192.0.2.53', 53))",
            "('203.0.113.9', ('198.18.0.2', 53))",
            "('203.0.113.9', ('2001:db8::53', 53))",
            "('203.0.113.9', ('192.0.2.53', 53))",
            "('203.0.113.9', ('198.18.0.2', 53))",
            "('203.0.113.9', ('2001:db8::53', 53))",
            "('203.0.113.9', 80)",
            "Ok(Refused { tcp: 0, udp: 0, other: 0 })",
        ],
    );
}

#[test]
fn what_an_app_serves_to_itself_is_left_alone() {
    expect_python(
        &["--captured", "--gateway", "--refused"],
        r#"
def own(family, host, kind, to=None):
    server, client = patient(family, kind), patient(family, kind)
    server.bind((host, 0))
    port = server.getsockname()[1]
    if kind == TCP: server.listen()
    client.connect((to or host, port))
    client.send(b"x")
    if kind == TCP: server = server.accept()[0]
    data, origin = server.recvfrom(9)
    server.send(data) if kind == TCP else server.sendto(data, origin)
    return client.recv(9).decode()
for kind in (TCP, UDP):
    print(own(V4, "127.0.0.1", kind), own(V4, "127.1.2.3", kind), own(V6, "::1", kind),
          own(V4, "0.0.0.0", kind, "127.0.0.1"), own(V6, "::", kind, "::1"))
print(own(V4, "0.0.0.0", UDP, "198.18.0.1"), own(V6, "::", UDP, "fdfe:dcba:5e55::1"))
print(own(V4, socket.gethostname(), TCP), own(V4, "localhost", UDP))
print(does(said, V4, ("127.0.0.1", 9)), does(said, V6, ("::1", 9)))
s = patient(V4, UDP); s.connect(("127.0.0.1", 9)); s.send(b"x"); print(does(s.recv, 9))
"#,
        &[
            "x x x x x",
            "x x x x x",
            "x x",
            "x x",
            "ECONNREFUSED ECONNREFUSED",
            "ECONNREFUSED",
            "Ok(Refused { tcp: 0, udp: 0, other: 0 })",
        ],
    );
}

#[test]
fn the_listeners_cannot_be_reached_or_replaced_by_the_app() {
    expect_python(
        &["--captured", "--gateway", "--refused"],
        r#"
print(does(said, V4, ("127.0.0.1", 1012)), does(said, V4, ("0.0.0.0", 1012)), does(said, V6, ("::1", 1012)),
      does(said, V4, ("127.0.0.1", 1012), ("198.18.0.1", 0)), does(said, V6, ("::ffff:127.0.0.1", 1012)))
print(does(sent, V4, ("127.0.0.1", 1013)), does(sent, V6, ("::1", 1013)))
for kind, port in ((TCP, 1012), (UDP, 1013), (UDP, 53)):
    print(does(patient(V4, kind).bind, ("127.0.0.9", port)), does(patient(V6, kind).bind, ("::", port)))
"#,
        &[
            "ECONNREFUSED ECONNREFUSED ECONNREFUSED ECONNREFUSED ECONNREFUSED",
            "EPERM EPERM",
            "EACCES EACCES",
            "EACCES EACCES",
            "EACCES EACCES",
            "Ok(Refused { tcp: 5, udp: 2, other: 0 })",
        ],
    );
}

#[test]
fn all_else_is_refused_at_once_and_counted() {
    expect_python(
        &["--captured", "--gateway", "--refused"],
        r#"
# An app's own servers hear nothing of what goes elsewhere.
hears = [patient(V4, UDP), patient(V6, UDP)]
hears[1].setsockopt(41, 26, 1); hears[0].bind(("0.0.0.0", 8080)); hears[1].bind(("::", 8080))
print([does(sent, V4, (host, 8080)) for host in ("192.0.2.1", "198.18.0.2", "169.254.1.1", "224.0.0.251")])
print([does(sent, V6, (host, 8080, 0, 1)) for host in ("2001:db8::1", "fe80::1", "ff02::fb", "ff05::2")])
print(does(sent, V4, ("192.0.2.1", 443)), does(sent, V6, ("2001:db8::1", 443)))
print([does(sent, V4, (host, port)) for host in ("255.255.255.255", "224.0.0.251", "240.0.0.1") for port in (53, 67)])
for s in hears:
    s.setblocking(False); print(does(s.recv, 99))
# QUIC's way: connected.
s = patient(V4, UDP); s.connect(("192.0.2.1", 443)); print(does(s.send, b"x"))
s = patient(V6, UDP); s.connect(("2001:db8::1", 443)); print(does(s.send, b"x"), does(s.recv, 9))
print(does(sent, V4, ("192.0.2.1", 9), 136), does(sent, V6, ("2001:db8::1", 9), 136))
"#,
        &[
            "['EPERM', 'EPERM', 'EPERM', 'EPERM']",
            "['EPERM', 'EPERM', 'EPERM', 'EPERM']",
            "EPERM EPERM",
            "['EPERM', 'EPERM', 'EPERM', 'EPERM', 'EPERM', 'EPERM']",
            "EAGAIN",
            "EAGAIN",
            "EPERM",
            "EPERM EACCES",
            "EPERM EPERM",
            "Ok(Refused { tcp: 0, udp: 18, other: 2 })",
        ],
    );
}

#[test]
fn an_app_has_no_way_around_the_rules() {
    expect_python(
        &["--captured", "--gateway", "--refused"],
        r#"
s = patient(V4, TCP)
s6 = patient(V6, TCP)
print(does(s.setsockopt, socket.SOL_SOCKET, 36, 1), does(s.setsockopt, 0, 19, 1), does(s6.setsockopt, 41, 75, 1))
print([does(socket.socket, *a) for a in ((V4, 3, 1), (V4, 3, 255), (V6, 3, 58), (V4, UDP, 1), (17, 3, 0), (16, 3, 12))])
def told(kind, body):
    s = patient(16, 3, 0)
    s.send(struct.pack("=IHHII", 16 + len(body), kind, 5, 1, 0) + body)
    return errno.errorcode[-struct.unpack("=i", s.recv(9999)[16:20])[0]]
print("address", told(21, struct.pack("=BBBBI", 2, 32, 0, 0, 1) + struct.pack("=HH4s", 8, 2, bytes([198, 18, 0, 1]))))
print("route", told(25, struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 4, 253, 1, 0) + struct.pack("=HHI", 8, 4, 1)))
print("device", told(19, struct.pack("=BBHiII", 0, 0, 0, 1, 0, 1)))
# A made-up origin does not help.
s = patient(V4, TCP); s.setsockopt(0, 15, 1); s.bind(("192.0.2.99", 0)); print(does(s.connect, ("192.0.2.1", 80)))
"#,
        &[
            "EPERM EPERM EPERM",
            "['EPERM', 'EPERM', 'EPERM', 'EACCES', 'EAFNOSUPPORT', 'EAFNOSUPPORT']",
            "address EPERM",
            "route EPERM",
            "device EPERM",
            "ENETUNREACH",
            "Ok(Refused { tcp: 0, udp: 0, other: 0 })",
        ],
    );
}

#[test]
fn without_redirection_the_listeners_are_a_proxy_and_nothing_else_leads_anywhere() {
    expect_python(
        &["--explicit", "--gateway", "--refused"],
        r#"
print(repr(open("/etc/resolv.conf").read()))
print(said(V4, ("127.0.0.1", 1012)))
print(said(V6, ("::1", 1012)))
print(does(said, V4, ("192.0.2.1", 80)), does(said, V6, ("2001:db8::1", 80)), does(sent, V4, ("192.0.2.1", 53)))
"#,
        &[
            "''",
            "the connection was not redirected: it was made to the listener itself",
            "the connection was not redirected: it was made to the listener itself",
            "ENETUNREACH ENETUNREACH ENETUNREACH",
            "Err(NoRules)",
        ],
    );
}

#[test]
fn a_port_inside_can_be_dialled_from_outside() {
    let serve = r#"
import socketserver, threading
class Six(socketserver.ThreadingTCPServer): address_family = V6
class Hello(socketserver.BaseRequestHandler):
    def handle(self): self.request.send(b"hello from " + self.client_address[0].encode())
for kind, host in ((socketserver.ThreadingTCPServer, "127.0.0.1"), (Six, "::1")):
    threading.Thread(target=kind((host, 8080), Hello).serve_forever).start()
print("ready", flush=True)
"#;
    for network in [&["--captured", "--gateway"][..], &["--explicit", "--gateway"], &[]] {
        let options = [network, &["--dial", "8080"]].concat();
        expect_python(
            &options,
            serve,
            &[
                "hello from 127.0.0.1",
                "hello from ::1",
                "127.0.0.1:9: Some(ConnectionRefused)",
                "127.0.0.1:1013: Some(ConnectionRefused)",
                "127.0.0.1:1012: Some(InvalidInput)",
                "192.0.2.1:80: Some(InvalidInput)",
            ],
        );
    }
}

#[test]
fn routing_holds_while_the_rules_are_there() {
    for mode in modes() {
        for (options, holds) in
            [(&["--captured"][..], true), (&["--explicit"], true), (&["--captured", "--flush"], false)]
        {
            let arguments = [options, &["--probe", "true"]].concat();
            let Some(text) = World::new(mode).printed(&arguments) else { continue };
            assert!(text.contains(&format!("routing holds: {holds}")), "{mode:?} {options:?}: {text}");
            for property in ["identity", "sandbox", "amnesia"] {
                assert!(text.contains(&format!("{property} holds: true")), "{mode:?}: {text}");
            }
            // What is looked at every second is the seal itself, which stands without the rules.
            assert!(text.contains("quick: []"), "{text}");
        }
    }
}

/// A socket that receives a copy of every packet of every device here; a visible skip without.
fn sniffer() -> Option<OwnedFd> {
    let everything = (libc::ETH_P_ALL as u16).to_be();
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: takes numbers; the descriptor is new and owned by nobody else.
    let fd = unsafe { libc::socket(libc::AF_PACKET, kind, i32::from(everything)) };
    if fd < 0 {
        eprintln!("skipped: packets can only be watched by root");
        return None;
    }
    // SAFETY: as above.
    let sniffer = unsafe { OwnedFd::from_raw_fd(fd) };
    // Room for what all of the machine sends before it is read: none of it may be dropped.
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&sniffer, 256 << 20).unwrap();
    Some(sniffer)
}

/// How many of the packets that were seen by now carry each of `marks`, after one with `last` was
/// seen, which is sent until it is.
fn seen(sniffer: &OwnedFd, last: &[u8], send: impl Fn(), marks: &[&[u8]]) -> Vec<usize> {
    let holds = |packet: &[u8], mark: &[u8]| packet.windows(mark.len()).any(|part| part == mark);
    let mut counts = vec![0; marks.len()];
    let mut packet = vec![0u8; 70_000];
    let mut sent = 0;
    loop {
        let patience = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
        if sent == 0 || poll(&mut [PollFd::new(sniffer, PollFlags::IN)], Some(&patience)).unwrap() == 0 {
            assert!(sent < 100, "the sniffer does not see its own packet");
            send();
            sent += 1;
        }
        let Ok((length, _)) = recv(sniffer.as_fd(), &mut packet[..], RecvFlags::empty()) else { continue };
        for (count, mark) in counts.iter_mut().zip(marks) {
            *count += usize::from(holds(&packet[..length], mark));
        }
        if holds(&packet[..length], last) {
            return counts;
        }
    }
}

#[test]
fn nothing_gets_out_with_or_without_rules_and_listeners() {
    // Addresses that nobody else on this machine speaks to, as they are in packets.
    let script = r#"
print(does(said, V4, ("198.51.100.77", 80)), does(said, V6, ("2001:db8:77::77", 80)))
print(does(sent, V4, ("198.51.100.77", 80)), does(sent, V4, ("198.51.100.77", 53)))
print(does(sent, V6, ("2001:db8:77::77", 80)), does(sent, V6, ("2001:db8:77::77", 53)))
"#;
    let script =
        format!("real = patient\ndef patient(*a):\n    s = real(*a); s.settimeout(1); return s\n{script}");
    let marks: &[&[u8]] = &[
        b"sessile-canary",
        &[198, 51, 100, 77],
        &[0x20, 0x01, 0x0d, 0xb8, 0, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x77],
        b"sessile-control",
    ];
    for (options, lines) in [
        (
            &["--captured", "--gateway"][..],
            &["198.51.100.77:80 [2001:db8:77::77]:80", "EPERM sent", "EPERM sent"],
        ),
        // Nothing listens: refused at once by the app's own kernel.
        (&["--captured", "--gone"], &["ECONNREFUSED ECONNREFUSED", "EPERM sent", "EPERM sent"]),
        // No rules: what goes out on lo comes back from there.
        (&["--captured", "--gateway", "--flush"], &["in vain ECONNREFUSED", "sent sent", "sent sent"]),
        (&["--captured", "--gone", "--flush"], &["in vain ECONNREFUSED", "sent sent", "sent sent"]),
    ] {
        let sniffer = sniffer();
        expect_python(options, &script, lines);
        let Some(sniffer) = sniffer else { continue };
        let control = UdpSocket::bind("127.0.0.1:0").unwrap();
        let send = || {
            control.send_to(b"sessile-control", control.local_addr().unwrap()).unwrap();
        };
        let counts = seen(&sniffer, b"sessile-control", send, marks);
        assert_eq!(counts, [0, 0, 0, 1], "{options:?}: packets of an app were seen outside");
    }
}
